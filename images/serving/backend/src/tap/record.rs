//! Charter: one sampled request as bytes: a description (its schema), its id, and its values in Triton's layout.

use std::ffi::CStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::model::ModelTap;
use crate::datatypes::DataType;
use crate::error::check;
use crate::ffi;
use crate::model::ModelState;
use crate::outputs::OutputView;
use crate::request::Parsed;

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
/// Schema flag: the model batches, so the first dimension of every tensor counts rows.
pub const FLAG_BATCHED: u8 = 1;
/// An id is a client's free text; what goes beyond this is cut off.
const MAX_ID: usize = 256;

pub struct Record {
    pub model: Arc<ModelTap>,
    pub time_ns: u64,
    bytes: Vec<u8>,
    schema_length: usize,
    id_length: usize,
}

pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_nanos() as u64)
}

impl Record {
    pub fn of(
        tap: Arc<ModelTap>,
        model: &ModelState,
        request: *mut ffi::Request,
        parsed: &Parsed,
        outputs: &[OutputView],
    ) -> Self {
        let mut bytes = Vec::with_capacity(512);
        let flags = if model.batching() { FLAG_BATCHED } else { 0 };
        schema_start(&mut bytes, &model.name, model.version, flags, parsed.inputs.len() + outputs.len());
        for input in &parsed.inputs {
            let spec = &model.graph.inputs[input.slot];
            schema_tensor(&mut bytes, INPUT, spec.datatype, &spec.name, input.shape);
        }
        for output in outputs {
            let name = &model.graph.outputs[output.slot].name;
            schema_tensor(&mut bytes, OUTPUT, output.datatype, name, &output.shape);
        }
        let schema_length = bytes.len();
        let id_length = append_id(&mut bytes, request);
        for input in &parsed.inputs {
            bytes.extend_from_slice(&input.data);
        }
        for output in outputs {
            let start = bytes.len();
            bytes.resize(start + output.size(), 0);
            output.write(&mut bytes[start..]);
        }
        Self { model: tap, time_ns: unix_ns(), bytes, schema_length, id_length }
    }

    /// Bytes held in memory, for the queue's budget.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub fn schema(&self) -> &[u8] {
        &self.bytes[..self.schema_length]
    }

    pub fn id(&self) -> &[u8] {
        &self.bytes[self.schema_length..self.schema_length + self.id_length]
    }

    pub fn values(&self) -> &[u8] {
        &self.bytes[self.schema_length + self.id_length..]
    }

    /// A record of a model `m` with one input `x` of UINT8 values and no output.
    #[cfg(test)]
    pub fn for_tests(tap: &Arc<ModelTap>, time_ns: u64, values: &[u8]) -> Self {
        let mut bytes = Vec::new();
        schema_start(&mut bytes, "m", 1, 0, 1);
        schema_tensor(&mut bytes, INPUT, DataType::Uint8, "x", &[values.len() as i64]);
        let schema_length = bytes.len();
        bytes.extend_from_slice(b"id");
        bytes.extend_from_slice(values);
        Self { model: Arc::clone(tap), time_ns, bytes, schema_length, id_length: 2 }
    }

    /// What no encoder makes: a record that is shorter than its schema says.
    #[cfg(test)]
    pub fn without_values(mut self) -> Self {
        self.bytes.truncate(self.schema_length + self.id_length);
        self
    }
}

pub fn schema_start(bytes: &mut Vec<u8>, model: &str, version: u64, flags: u8, tensors: usize) {
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&(tensors as u16).to_le_bytes());
    bytes.push(flags);
    append_text(bytes, model);
}

pub fn schema_tensor(bytes: &mut Vec<u8>, role: u8, datatype: DataType, name: &str, shape: &[i64]) {
    bytes.extend_from_slice(&[role, datatype as u8, shape.len() as u8]);
    append_text(bytes, name);
    for dim in shape {
        bytes.extend_from_slice(&dim.to_le_bytes());
    }
}

fn append_text(bytes: &mut Vec<u8>, text: &str) {
    let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
    bytes.extend_from_slice(text);
}

fn append_id(bytes: &mut Vec<u8>, request: *mut ffi::Request) -> usize {
    let mut id = std::ptr::null();
    // SAFETY: the request is not released before its sample is taken; the id lives as long as it does.
    let known = unsafe { check(ffi::TRITONBACKEND_RequestId(request, &mut id)).is_ok() && !id.is_null() };
    if !known {
        return 0;
    }
    // SAFETY: not null, and NUL-terminated by Triton.
    let text = unsafe { CStr::from_ptr(id) }.to_bytes();
    let text = &text[..text.len().min(MAX_ID)];
    bytes.extend_from_slice(text);
    text.len()
}
