//! Charter: does a model's configuration fit its graph? Checked at load, so that no request finds out. Pure.

use crate::config::{IoConfig, ModelConfig};
use crate::error::{Failure, Result};
use crate::graph::{Graph, TensorSpec};

pub fn check(config: &ModelConfig, graph: &Graph) -> Result<()> {
    let batching = config.max_batch_size > 0;
    for input in &config.inputs {
        let Some(slot) = graph.input_slot(input.name.as_bytes()) else {
            return Err(unknown("input", &input.name, &Graph::names(&graph.inputs)));
        };
        check_tensor("input", input, &graph.inputs[slot], batching)?;
    }
    for output in &config.outputs {
        let Some(slot) = graph.output_slot(output.name.as_bytes()) else {
            let unserved = graph.unserved.iter().find(|(name, _)| *name == output.name);
            return Err(unserved.map_or_else(
                || unknown("output", &output.name, &Graph::names(&graph.outputs)),
                |(_, reason)| Failure::unsupported(reason.clone()),
            ));
        };
        check_tensor("output", output, &graph.outputs[slot], batching)?;
    }
    let listed = |name: &str| config.inputs.iter().any(|input| input.name == name);
    let forgotten = graph.inputs.iter().find(|found| found.required && !listed(&found.name));
    match forgotten {
        Some(found) if !config.has_controls => Err(Failure::invalid(format!(
            "config.pbtxt: the model needs the input '{}', which the configuration does not list",
            found.name
        ))),
        _ => Ok(()),
    }
}

fn unknown(what: &str, name: &str, known: &str) -> Failure {
    Failure::invalid(format!("config.pbtxt: {what} '{name}' is not in the model, which has: {known}"))
}

fn check_tensor(what: &str, config: &IoConfig, found: &TensorSpec, batching: bool) -> Result<()> {
    let name = &config.name;
    if config.datatype != found.datatype {
        return Err(Failure::invalid(format!(
            "config.pbtxt: {what} '{name}' is {}, but the model has {}",
            config.datatype.config_name(),
            found.datatype.config_name()
        )));
    }
    let mut dims = config.dims.clone();
    if batching {
        if found.dims.first().is_none_or(|first| *first != -1) {
            return Err(Failure::invalid(format!(
                "config.pbtxt: max_batch_size is above 0, but {what} '{name}' has the shape {:?} in the model, whose \
                 first dimension is not variable; set max_batch_size to 0",
                found.dims
            )));
        }
        dims.insert(0, -1);
    } else if found.is_scalar() && dims == [1] {
        return Ok(());
    }
    let fits = |(ours, theirs): (&i64, &i64)| *ours < 0 || *theirs < 0 || ours == theirs;
    if dims.len() != found.dims.len() || !dims.iter().zip(&found.dims).all(fits) {
        let hint = if batching { " (the first is the batch)" } else { "" };
        return Err(Failure::invalid(format!(
            "config.pbtxt: {what} '{name}' has the dims {dims:?}{hint}, but the model has {:?}",
            found.dims
        )));
    }
    Ok(())
}
