//! Charter: the rows of one schema, gathered as columns: what a block of a segment file is made of.

use std::sync::Arc;

use super::model::ModelTap;
use super::record::Record;
use crate::datatypes::{element_count, DataType};
use crate::request::Strings;

struct Column {
    /// Elements of one row.
    elements: usize,
    /// Bytes of one element; `None`: strings.
    size: Option<usize>,
    data: Vec<u8>,
    /// Strings only: the length of each.
    lengths: Vec<u32>,
}

pub struct Group {
    pub model: Arc<ModelTap>,
    /// The schema's number in the segment that is being written; `None` until it is written there.
    pub schema_id: Option<u32>,
    /// A record was begun and, for a panic, not finished: the columns are not of one length any more.
    pub torn: bool,
    times: Vec<u64>,
    id_lengths: Vec<u32>,
    ids: Vec<u8>,
    columns: Vec<Column>,
}

impl Group {
    /// For the schema of `record`; `None` when the schema cannot be read, which would be a defect of the encoder.
    pub fn for_schema_of(record: &Record) -> Option<Self> {
        Some(Self {
            model: Arc::clone(&record.model),
            schema_id: None,
            torn: false,
            times: Vec::new(),
            id_lengths: Vec::new(),
            ids: Vec::new(),
            columns: read_columns(record.schema())?,
        })
    }

    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// Appends a record of this schema.
    pub fn push(&mut self, record: &Record) {
        if !Arc::ptr_eq(&self.model, &record.model) {
            self.model = Arc::clone(&record.model);
        }
        self.torn = true;
        self.times.push(record.time_ns);
        self.id_lengths.push(record.id().len() as u32);
        self.ids.extend_from_slice(record.id());
        let mut values = record.values();
        for column in &mut self.columns {
            let Some(size) = column.size else {
                for item in Strings::new(values).take(column.elements) {
                    column.lengths.push(item.len() as u32);
                    column.data.extend_from_slice(item);
                    values = &values[4 + item.len()..];
                }
                continue;
            };
            let (own, rest) = values.split_at(column.elements * size);
            column.data.extend_from_slice(own);
            values = rest;
        }
        self.torn = false;
    }

    /// The block's body; see the README for the layout. The group is empty afterwards.
    pub fn take_block(&mut self) -> Vec<u8> {
        let mut body =
            Vec::with_capacity(64 + 16 * self.rows() + self.columns.iter().map(|c| c.data.len()).sum::<usize>());
        body.extend_from_slice(&(self.rows() as u32).to_le_bytes());
        body.extend_from_slice(&[0; 4]);
        body.extend(self.times.drain(..).flat_map(u64::to_le_bytes));
        append_lengths(&mut body, &mut self.id_lengths);
        append_bytes(&mut body, &mut self.ids);
        for column in &mut self.columns {
            if column.size.is_none() {
                append_lengths(&mut body, &mut column.lengths);
            }
            append_bytes(&mut body, &mut column.data);
        }
        body
    }
}

fn append_lengths(body: &mut Vec<u8>, lengths: &mut Vec<u32>) {
    body.extend(lengths.drain(..).flat_map(u32::to_le_bytes));
    pad(body);
}

fn append_bytes(body: &mut Vec<u8>, bytes: &mut Vec<u8>) {
    body.append(bytes);
    pad(body);
}

/// Every part starts at a multiple of 8 bytes, so that a reader can look at numbers in place.
pub fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

fn read_columns(mut schema: &[u8]) -> Option<Vec<Column>> {
    let mut take = |count: usize| {
        let (taken, rest) = schema.split_at_checked(count)?;
        schema = rest;
        Some(taken)
    };
    take(8)?;
    let tensors = u16::from_le_bytes(take(2)?.try_into().ok()?);
    take(1)?;
    let name = u16::from_le_bytes(take(2)?.try_into().ok()?);
    take(usize::from(name))?;
    let mut columns = Vec::with_capacity(usize::from(tensors));
    for _ in 0..tensors {
        let [_role, datatype, rank] = *take(3)? else { return None };
        let name = u16::from_le_bytes(take(2)?.try_into().ok()?);
        take(usize::from(name))?;
        let mut shape = Vec::with_capacity(usize::from(rank));
        for _ in 0..rank {
            shape.push(i64::from_le_bytes(take(8)?.try_into().ok()?));
        }
        let size = DataType::from_triton(i32::from(datatype))?.size();
        columns.push(Column { elements: element_count(&shape)?, size, data: Vec::new(), lengths: Vec::new() });
    }
    Some(columns)
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::tap;
    use super::*;

    #[test]
    fn rows_become_columns() {
        let (model, _receiver) = tap(1.0, 4, 1 << 20);
        let first = Record::for_tests(&model, 5, &[1, 2, 3]);
        let mut group = Group::for_schema_of(&first).unwrap();
        group.push(&first);
        group.push(&Record::for_tests(&model, 6, &[4, 5, 6]));
        let body = group.take_block();
        let mut expected = vec![2, 0, 0, 0, 0, 0, 0, 0];
        expected.extend(5u64.to_le_bytes());
        expected.extend(6u64.to_le_bytes());
        expected.extend([2, 0, 0, 0, 2, 0, 0, 0]);
        expected.extend(b"idid\0\0\0\0");
        expected.extend([1, 2, 3, 4, 5, 6, 0, 0]);
        assert_eq!(body, expected);
        assert_eq!(group.rows(), 0);
    }
}
