//! Charter: the outputs of one run, and each request's rows of them.

use crate::batch::Ran;
use crate::datatypes::{element_count, DataType};
use crate::error::{Failure, Result};
use crate::model::ModelState;

enum Payload<'v> {
    /// Elements of `usize` bytes.
    Fixed(&'v [u8], usize),
    /// All strings in a row, and where each starts.
    Strings(Vec<u8>, Vec<usize>),
}

pub struct OutputTensor<'v> {
    pub slot: usize,
    pub datatype: DataType,
    shape: Vec<i64>,
    payload: Payload<'v>,
}

/// The part of an output that belongs to one request.
pub struct OutputView<'o> {
    pub slot: usize,
    pub datatype: DataType,
    pub shape: Vec<i64>,
    tensor: &'o OutputTensor<'o>,
    first: usize,
    count: usize,
}

/// Describes all outputs of a run, and checks that they can be split by rows when the model batches.
pub fn collect<'v>(model: &ModelState, ran: &'v Ran) -> Result<Vec<OutputTensor<'v>>> {
    ran.slots
        .iter()
        .zip(&ran.values)
        .map(|(slot, value)| {
            let spec = &model.graph.outputs[*slot];
            let about = |failure: Failure| failure.about(&format!("output '{}'", spec.name));
            let missing = || Failure::internal("the model gave no value (an empty optional)");
            let value = value.as_ref().ok_or_else(missing).map_err(about)?;
            let (datatype, mut shape) = value.describe().map_err(about)?;
            let payload = match datatype.size() {
                Some(size) => Payload::Fixed(value.bytes(datatype, &shape).map_err(about)?, size),
                None => {
                    let (bytes, starts) = value.text(&shape).map_err(about)?;
                    Payload::Strings(bytes, starts)
                }
            };
            if model.batching() && shape.first() != Some(&ran.batch) {
                return Err(about(Failure::internal(format!(
                    "its shape is {shape:?}, but with max_batch_size above 0 its first dimension must be the batch's {} \
                     rows; correct the model or set max_batch_size to 0",
                    ran.batch
                ))));
            }
            if !model.batching() && shape.is_empty() {
                // Triton has no empty shape.
                shape.push(1);
            }
            Ok(OutputTensor { slot: *slot, datatype, shape, payload })
        })
        .collect()
}

impl<'o> OutputTensor<'o> {
    /// The rows from `first` on; the whole tensor for a model without batching.
    pub fn rows(&'o self, first: i64, rows: i64, batching: bool) -> OutputView<'o> {
        let mut shape = self.shape.clone();
        let total = element_count(&shape).unwrap_or(0);
        if !batching || shape[0] == 0 {
            return OutputView {
                slot: self.slot,
                datatype: self.datatype,
                shape,
                tensor: self,
                first: 0,
                count: total,
            };
        }
        let row = total / shape[0] as usize;
        shape[0] = rows;
        let (first, count) = (first as usize * row, rows as usize * row);
        OutputView { slot: self.slot, datatype: self.datatype, shape, tensor: self, first, count }
    }
}

impl OutputView<'_> {
    /// Size in Triton's layout.
    pub fn size(&self) -> usize {
        match &self.tensor.payload {
            Payload::Fixed(_, size) => self.count * size,
            Payload::Strings(bytes, starts) => {
                let end = |index: usize| starts.get(index).copied().unwrap_or(bytes.len());
                4 * self.count + end(self.first + self.count) - end(self.first)
            }
        }
    }

    /// Writes the rows in Triton's layout; `target` has `size()` bytes.
    pub fn write(&self, target: &mut [u8]) {
        match &self.tensor.payload {
            Payload::Fixed(data, size) => {
                target.copy_from_slice(&data[self.first * size..(self.first + self.count) * size]);
            }
            Payload::Strings(bytes, starts) => {
                let end = |index: usize| starts.get(index).copied().unwrap_or(bytes.len());
                let mut offset = 0;
                for index in self.first..self.first + self.count {
                    let item = &bytes[end(index)..end(index + 1)];
                    target[offset..offset + 4].copy_from_slice(&(item.len() as u32).to_le_bytes());
                    target[offset + 4..offset + 4 + item.len()].copy_from_slice(item);
                    offset += 4 + item.len();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(view: &OutputView) -> Vec<u8> {
        let mut target = vec![0; view.size()];
        view.write(&mut target);
        target
    }

    #[test]
    fn rows_of_numbers() {
        let payload = Payload::Fixed(&[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0], 2);
        let tensor = OutputTensor { slot: 0, datatype: DataType::Int16, shape: vec![3, 2], payload };
        let view = tensor.rows(1, 2, true);
        assert_eq!(view.shape, [2, 2]);
        assert_eq!(written(&view), [3, 0, 4, 0, 5, 0, 6, 0]);
        assert_eq!(written(&tensor.rows(0, 1, false)).len(), 12);
    }

    #[test]
    fn rows_of_strings() {
        let payload = Payload::Strings(b"abcdef".to_vec(), vec![0, 1, 1]);
        let tensor = OutputTensor { slot: 0, datatype: DataType::Bytes, shape: vec![3], payload };
        assert_eq!(written(&tensor.rows(0, 2, true)), b"\x01\0\0\0a\0\0\0\0");
        assert_eq!(written(&tensor.rows(2, 1, true)), b"\x05\0\0\0bcdef");
    }

    #[test]
    fn no_rows() {
        let tensor =
            OutputTensor { slot: 0, datatype: DataType::Fp32, shape: vec![0, 4], payload: Payload::Fixed(&[], 4) };
        assert_eq!(tensor.rows(0, 0, true).size(), 0);
    }
}
