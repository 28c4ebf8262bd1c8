//! Charter: filling in what a model's configuration leaves out, from its graph, with the rules of NVIDIA's backend.
//!
//! A configuration that names its inputs and outputs is left as it is. Pure: JSON in, JSON out.

use serde_json::{json, Value as Json};

use crate::config::integer;
use crate::error::{Failure, Result};
use crate::graph::{Graph, TensorSpec};

/// The completed configuration, or `None` when nothing was missing.
pub fn complete(config: &Json, graph: &Graph, default_max_batch: i64) -> Result<Option<Json>> {
    let missing = |key: &str| config.get(key).and_then(Json::as_array).is_none_or(|items| items.is_empty());
    let (no_inputs, no_outputs) = (missing("input"), missing("output"));
    if !no_inputs && !no_outputs {
        return Ok(None);
    }
    let mut completed = config.clone();
    let max_batch = batch_size(config, graph, default_max_batch)?;
    completed["max_batch_size"] = json!(max_batch);
    let scheduled = ["dynamic_batching", "sequence_batching", "ensemble_scheduling"];
    if max_batch > 1 && !scheduled.iter().any(|key| config.get(key).is_some()) {
        completed["dynamic_batching"] = json!({});
    }
    if no_inputs {
        let required = graph.inputs.iter().filter(|found| found.required);
        completed["input"] = required.map(|found| describe(found, max_batch)).collect();
    }
    if no_outputs {
        completed["output"] = graph.outputs.iter().map(|found| describe(found, max_batch)).collect();
    }
    Ok(Some(completed))
}

/// Batching needs a variable first dimension on every input and output. Unlike NVIDIA's backend, this one does not take
/// dimensions with different names for a batch: joining requests along them would mix up their values.
fn batch_size(config: &Json, graph: &Graph, default_max_batch: i64) -> Result<i64> {
    let asked = integer(config.get("max_batch_size")).unwrap_or(0);
    let required = graph.inputs.iter().filter(|found| found.required);
    if asked == 0 && differently_named(graph) {
        return Ok(0);
    }
    let fixed = required.chain(&graph.outputs).find(|found| found.dims.first() != Some(&-1));
    match fixed {
        None if asked == 0 => Ok(default_max_batch.max(0)),
        None => Ok(asked),
        Some(_) if asked == 0 => Ok(0),
        Some(found) => Err(Failure::invalid(format!(
            "config.pbtxt: max_batch_size is {asked}, but the model does not batch: '{}' has the shape {:?}, whose \
             first dimension is not variable; set max_batch_size to 0",
            found.name, found.dims
        ))),
    }
}

fn differently_named(graph: &Graph) -> bool {
    let required = graph.inputs.iter().filter(|found| found.required);
    let mut names =
        required.chain(&graph.outputs).map(|found| found.first_symbol.as_str()).filter(|name| !name.is_empty());
    let first = names.next();
    names.any(|name| Some(name) != first)
}

fn describe(found: &TensorSpec, max_batch: i64) -> Json {
    let skip = usize::from(max_batch > 0);
    let mut dims: Vec<i64> = found.dims.iter().skip(skip).copied().collect();
    let mut entry = json!({"name": found.name, "data_type": found.datatype.config_name()});
    if dims.is_empty() {
        // Triton has no empty dims. With batching a reshape says it; without, [1] stands for the scalar.
        dims.push(1);
        if max_batch > 0 {
            entry["reshape"] = json!({"shape": []});
        }
    }
    entry["dims"] = json!(dims);
    entry
}
