//! Charter: what this backend reads of a model's configuration (config.pbtxt, which Triton hands over as JSON).

use serde_json::Value as Json;

use crate::datatypes::DataType;
use crate::error::{Failure, Result};

#[derive(Clone, Debug, PartialEq)]
pub struct IoConfig {
    pub name: String,
    pub datatype: DataType,
    /// As the model sees them: `reshape` applied, without the batch dimension.
    pub dims: Vec<i64>,
}

#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// 0: the model does not batch, shapes are complete. Above 0: shapes have a first dimension that `dims` lacks.
    pub max_batch_size: i64,
    pub inputs: Vec<IoConfig>,
    pub outputs: Vec<IoConfig>,
    /// Sequence batching adds control inputs that `input` does not list.
    pub has_controls: bool,
}

impl ModelConfig {
    pub fn parse(json: &Json) -> Result<Self> {
        refuse_unsupported(json)?;
        Ok(Self {
            max_batch_size: integer(json.get("max_batch_size")).unwrap_or(0),
            inputs: parse_all(json, "input")?,
            outputs: parse_all(json, "output")?,
            has_controls: json.get("sequence_batching").is_some(),
        })
    }
}

fn refuse_unsupported(json: &Json) -> Result<()> {
    let filled = |key: &str| json.get(key).and_then(Json::as_array).is_some_and(|items| !items.is_empty());
    for key in ["batch_input", "batch_output"] {
        if filled(key) {
            return Err(Failure::unsupported(format!(
                "config.pbtxt: {key} (ragged batching) is not supported by this backend; pad the inputs, or set \
                 max_batch_size to 0"
            )));
        }
    }
    for input in json.get("input").and_then(Json::as_array).into_iter().flatten() {
        if input.get("allow_ragged_batch").and_then(Json::as_bool).unwrap_or(false) {
            let name = input.get("name").and_then(Json::as_str).unwrap_or_default();
            return Err(Failure::unsupported(format!(
                "config.pbtxt: input '{name}': allow_ragged_batch is not supported by this backend; remove it \
                 (requests of different shapes are then run one after the other), or pad the input"
            )));
        }
    }
    let states = json.pointer("/sequence_batching/state").and_then(Json::as_array);
    if states.is_some_and(|items| !items.is_empty()) {
        return Err(Failure::unsupported(
            "config.pbtxt: sequence_batching.state (implicit state) is not supported by this backend; make the state \
             an input and an output of the model",
        ));
    }
    Ok(())
}

fn parse_all(json: &Json, key: &str) -> Result<Vec<IoConfig>> {
    json.get(key).and_then(Json::as_array).into_iter().flatten().map(|item| parse_io(item, key)).collect()
}

fn parse_io(json: &Json, key: &str) -> Result<IoConfig> {
    let name = json.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
    let type_name = json.get("data_type").and_then(Json::as_str).unwrap_or("TYPE_INVALID");
    let datatype = DataType::from_config(type_name).ok_or_else(|| {
        Failure::invalid(format!("config.pbtxt: {key} '{name}': data_type {type_name} cannot be served"))
    })?;
    let dims = json.pointer("/reshape/shape").or_else(|| json.get("dims"));
    let dims = dims.and_then(Json::as_array).into_iter().flatten();
    let dims = dims.map(|dim| integer(Some(dim)).unwrap_or(-1)).collect();
    // An empty reshape arrives as {} because protobuf's JSON leaves out empty lists.
    let dims = if json.get("reshape").is_some_and(|r| r.get("shape").is_none()) { Vec::new() } else { dims };
    Ok(IoConfig { name, datatype, dims })
}

/// Protobuf's JSON writes 64-bit integers as strings; Triton turns most, not all, back into numbers.
pub fn integer(json: Option<&Json>) -> Option<i64> {
    match json? {
        Json::String(text) => text.parse().ok(),
        other => other.as_i64(),
    }
}

/// The string of `parameters { key: … value { string_value: … } }`.
pub fn parameter<'a>(json: &'a Json, key: &str) -> Option<&'a str> {
    json.get("parameters")?.get(key)?.get("string_value")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_triton_sends() {
        let config = ModelConfig::parse(&json!({
            "max_batch_size": 8,
            "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1", 4]}],
            "output": [{"name": "y", "data_type": "TYPE_STRING", "dims": [1], "reshape": {}}],
        }))
        .unwrap();
        assert_eq!(config.max_batch_size, 8);
        assert_eq!(config.inputs[0].dims, vec![-1, 4]);
        assert_eq!(config.outputs[0].datatype, DataType::Bytes);
        assert!(config.outputs[0].dims.is_empty());
    }

    #[test]
    fn refuses_ragged_batches_by_name() {
        let ragged =
            json!({"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1], "allow_ragged_batch": true}]});
        let message = ModelConfig::parse(&ragged).unwrap_err().message;
        assert!(message.contains("'x'") && message.contains("ragged"), "{message}");
    }

    #[test]
    fn a_type_that_cannot_be_served_is_named() {
        let message = ModelConfig::parse(&json!({"output": [{"name": "y", "data_type": "TYPE_INVALID"}]}));
        assert!(message.unwrap_err().message.contains("TYPE_INVALID"));
    }
}
