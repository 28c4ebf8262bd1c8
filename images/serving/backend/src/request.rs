//! Charter: one request as the model sees it: its inputs checked against the graph and borrowed from Triton's buffers.

use std::borrow::Cow;
use std::ffi::CStr;

use crate::datatypes::{element_count, DataType};
use crate::error::{check, Code, Failure, Result};
use crate::ffi;
use crate::graph::{Graph, TensorSpec};
use crate::model::ModelState;

/// One input: which of the graph's inputs it is, its shape, and its bytes in Triton's layout.
pub struct InputView<'r> {
    pub slot: usize,
    pub shape: &'r [i64],
    /// Borrowed when Triton holds the tensor in one buffer, which is nearly always.
    pub data: Cow<'r, [u8]>,
}

pub struct Parsed<'r> {
    /// In the order of the graph's inputs.
    pub inputs: Vec<InputView<'r>>,
    /// The wanted outputs as slots of the graph, in the request's order.
    pub outputs: Vec<usize>,
    /// Rows along the first dimension; 1 for a model without batching.
    pub batch: i64,
}

impl<'r> Parsed<'r> {
    /// # Safety
    /// `request` is valid and not released during `'r`.
    pub unsafe fn of(request: *mut ffi::Request, model: &ModelState) -> Result<Self> {
        let mut cancelled = false;
        // SAFETY: by this function's contract, as everywhere below.
        check(unsafe { ffi::TRITONBACKEND_RequestIsCancelled(request, &mut cancelled) })?;
        if cancelled {
            return Err(Failure::new(Code::Cancelled, "the request was cancelled by its client"));
        }
        // SAFETY: as above.
        let inputs = unsafe { read_inputs(request, model)? };
        let batch = check_inputs(&inputs, model)?;
        // SAFETY: as above.
        let outputs = unsafe { read_outputs(request, model)? };
        Ok(Self { inputs, outputs, batch })
    }

    /// Can the two run as one batch? They must have the same inputs, of the same shapes but for the batch dimension.
    pub fn joins(&self, other: &Self) -> bool {
        let same = |(a, b): (&InputView, &InputView)| a.slot == b.slot && a.shape.get(1..) == b.shape.get(1..);
        self.inputs.len() == other.inputs.len() && self.inputs.iter().zip(&other.inputs).all(same)
    }
}

/// # Safety
/// `request` is valid and not released during `'r`.
unsafe fn read_inputs<'r>(request: *mut ffi::Request, model: &ModelState) -> Result<Vec<InputView<'r>>> {
    let mut count = 0;
    // SAFETY: by this function's contract.
    check(unsafe { ffi::TRITONBACKEND_RequestInputCount(request, &mut count) })?;
    let mut inputs = Vec::with_capacity(count as usize);
    for index in 0..count {
        let mut input = std::ptr::null_mut();
        // SAFETY: as above; `index` is below the count.
        unsafe {
            check(ffi::TRITONBACKEND_RequestInputByIndex(request, index, &mut input))?;
            inputs.push(read_input(input, model)?);
        }
    }
    inputs.sort_unstable_by_key(|input| input.slot);
    Ok(inputs)
}

/// # Safety
/// `input` belongs to a request that is not released during `'r`.
unsafe fn read_input<'r>(input: *mut ffi::Input, model: &ModelState) -> Result<InputView<'r>> {
    let (mut name, mut datatype, mut shape) = (std::ptr::null(), 0, std::ptr::null());
    let (mut rank, mut size, mut buffers) = (0u32, 0u64, 0u32);
    // SAFETY: by this function's contract; name and shape live as long as the request.
    let (name, shape) = unsafe {
        check(ffi::TRITONBACKEND_InputProperties(
            input,
            &mut name,
            &mut datatype,
            &mut shape,
            &mut rank,
            &mut size,
            &mut buffers,
        ))?;
        let shape: &'r [i64] = if rank == 0 { &[] } else { std::slice::from_raw_parts(shape, rank as usize) };
        (CStr::from_ptr(name), shape)
    };
    let Some(slot) = model.graph.input_slot(name.to_bytes()) else {
        let known = Graph::names(&model.graph.inputs);
        return Err(Failure::invalid(format!(
            "input '{}' is not in the model, which has: {known}",
            name.to_string_lossy()
        )));
    };
    let spec = &model.graph.inputs[slot];
    if DataType::from_triton(datatype) != Some(spec.datatype) {
        let sent = DataType::from_triton(datatype).map_or("an unknown type", DataType::config_name);
        let wanted = spec.datatype.config_name();
        return Err(Failure::invalid(format!("input '{}' is {sent}, but the model takes {wanted}", spec.name)));
    }
    // SAFETY: as above.
    let data = unsafe { read_data(input, size, buffers, &spec.name)? };
    // Triton has no empty shape: [1] stands for a scalar where the model does not batch.
    let shape = if spec.is_scalar() && shape == [1] && !model.batching() { &[] } else { shape };
    check_data(spec, shape, &data)?;
    Ok(InputView { slot, shape, data })
}

/// # Safety
/// `input` belongs to a request that is not released during `'r`.
unsafe fn read_data<'r>(input: *mut ffi::Input, size: u64, buffers: u32, name: &str) -> Result<Cow<'r, [u8]>> {
    let mut joined = Vec::new();
    for index in 0..buffers {
        let (mut base, mut length, mut kind, mut id) = (std::ptr::null(), 0u64, ffi::MEMORY_CPU, 0i64);
        // SAFETY: by this function's contract; the buffer lives as long as the request.
        let piece: &'r [u8] = unsafe {
            check(ffi::TRITONBACKEND_InputBuffer(input, index, &mut base, &mut length, &mut kind, &mut id))?;
            if kind != ffi::MEMORY_CPU && kind != ffi::MEMORY_CPU_PINNED {
                return Err(Failure::unsupported(format!(
                    "input '{name}' lies in GPU memory; this backend runs on the CPU"
                )));
            }
            if base.is_null() || length == 0 {
                &[]
            } else {
                std::slice::from_raw_parts(base.cast::<u8>(), length as usize)
            }
        };
        if buffers == 1 {
            return Ok(Cow::Borrowed(piece));
        }
        joined.reserve(size as usize - joined.len().min(size as usize));
        joined.extend_from_slice(piece);
    }
    Ok(Cow::Owned(joined))
}

/// The bytes must be what the shape says: ONNX Runtime would otherwise read past the end.
fn check_data(spec: &TensorSpec, shape: &[i64], data: &[u8]) -> Result<()> {
    let name = &spec.name;
    let count = element_count(shape)
        .ok_or_else(|| Failure::invalid(format!("input '{name}' has the impossible shape {shape:?}")))?;
    let Some(size) = spec.datatype.size() else {
        let found = Strings::new(data).count_all().ok_or_else(|| {
            Failure::invalid(format!("input '{name}': its bytes are no sequence of 4-byte lengths and strings"))
        })?;
        if found == count {
            return Ok(());
        }
        return Err(Failure::invalid(format!(
            "input '{name}' has {found} strings, but the shape {shape:?} needs {count}"
        )));
    };
    if count.checked_mul(size) == Some(data.len()) {
        return Ok(());
    }
    Err(Failure::invalid(format!("input '{name}' has {} bytes, which do not fit the shape {shape:?}", data.len())))
}

/// Shapes against the graph, missing inputs, one batch size for all. Gives the batch size.
fn check_inputs(inputs: &[InputView], model: &ModelState) -> Result<i64> {
    for input in inputs {
        let spec = &model.graph.inputs[input.slot];
        let fits = |(sent, wanted): (&i64, &i64)| *wanted < 0 || sent == wanted;
        if input.shape.len() != spec.dims.len() || !input.shape.iter().zip(&spec.dims).all(fits) {
            return Err(Failure::invalid(format!(
                "input '{}' has the shape {:?}, but the model takes {:?} (-1: any)",
                spec.name, input.shape, spec.dims
            )));
        }
    }
    let present = |slot: usize| inputs.iter().any(|input| input.slot == slot);
    let missing = model.graph.inputs.iter().enumerate().find(|(slot, spec)| spec.required && !present(*slot));
    if let Some((_, spec)) = missing {
        return Err(Failure::invalid(format!("input '{}' is missing, and the model needs it", spec.name)));
    }
    if !model.batching() {
        return Ok(1);
    }
    let mut rows = inputs.iter().map(|input| input.shape[0]);
    let batch = rows.next().unwrap_or(1);
    if rows.all(|other| other == batch) {
        return Ok(batch);
    }
    Err(Failure::invalid("the inputs have different first dimensions, which must be the one batch size"))
}

/// # Safety
/// `request` is valid.
unsafe fn read_outputs(request: *mut ffi::Request, model: &ModelState) -> Result<Vec<usize>> {
    let mut count = 0;
    // SAFETY: by this function's contract.
    check(unsafe { ffi::TRITONBACKEND_RequestOutputCount(request, &mut count) })?;
    (0..count)
        .map(|index| {
            let mut name = std::ptr::null();
            // SAFETY: as above; the name lives as long as the request.
            let name = unsafe {
                check(ffi::TRITONBACKEND_RequestOutputName(request, index, &mut name))?;
                CStr::from_ptr(name)
            };
            model.graph.output_slot(name.to_bytes()).ok_or_else(|| {
                let known = Graph::names(&model.graph.outputs);
                Failure::invalid(format!("output '{}' is not in the model, which has: {known}", name.to_string_lossy()))
            })
        })
        .collect()
}

/// The strings in Triton's layout: each a little-endian 4-byte length and that many bytes.
pub struct Strings<'a>(&'a [u8]);

impl<'a> Strings<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// How many strings; `None` when the bytes end inside one.
    fn count_all(mut self) -> Option<usize> {
        let count = self.by_ref().count();
        self.0.is_empty().then_some(count)
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (item, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_counted_and_a_cut_is_seen() {
        let data = b"\x02\0\0\0ab\0\0\0\0\x01\0\0\0c";
        assert_eq!(Strings::new(data).collect::<Vec<_>>(), [&b"ab"[..], b"", b"c"]);
        assert_eq!(Strings::new(data).count_all(), Some(3));
        assert_eq!(Strings::new(&data[..data.len() - 1]).count_all(), None);
        assert_eq!(Strings::new(&[1, 0]).count_all(), None);
    }
}
