//! Charter: the inputs and outputs of an ONNX graph, as served: names, element types, dimensions, which are required.

use std::collections::HashMap;
use std::ffi::{c_char, CString};

use ort::session::Session;
use ort::value::{Outlet, ValueType};

use crate::datatypes::DataType;
use crate::error::{to_c_string, Failure, Result};

#[derive(Clone, Debug)]
pub struct TensorSpec {
    pub name: String,
    pub c_name: CString,
    pub datatype: DataType,
    /// -1: not fixed by the graph.
    pub dims: Vec<i64>,
    /// The name that the graph gives to a variable first dimension; empty when it has none.
    pub first_symbol: String,
    /// The run fails without it: false for initializers that a request may override, and for optional types.
    pub required: bool,
}

impl TensorSpec {
    pub fn is_scalar(&self) -> bool {
        self.dims.is_empty()
    }

    pub fn c_name(&self) -> *const c_char {
        self.c_name.as_ptr()
    }
}

#[derive(Debug)]
pub struct Graph {
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
    /// Outputs that Triton cannot carry (sequences, maps): name and reason.
    pub unserved: Vec<(String, String)>,
    input_slots: HashMap<Vec<u8>, usize>,
    output_slots: HashMap<Vec<u8>, usize>,
}

impl Graph {
    pub fn of(session: &Session) -> Result<Self> {
        let mut inputs = Vec::new();
        for outlet in session.inputs() {
            inputs.push(spec(outlet, "input")?);
        }
        for initializer in session.overridable_initializers() {
            let outlet = Outlet::new(initializer.name(), initializer.dtype().clone());
            // One that Triton has no type for cannot be overridden; the graph's own value stays.
            if let Ok(found) = spec(&outlet, "initializer") {
                inputs.push(TensorSpec { required: false, ..found });
            }
        }
        let mut outputs = Vec::new();
        let mut unserved = Vec::new();
        for outlet in session.outputs() {
            match spec(outlet, "output") {
                Ok(found) => outputs.push(found),
                Err(failure) => unserved.push((outlet.name().to_owned(), failure.message)),
            }
        }
        if outputs.is_empty() {
            let reasons: Vec<&str> = unserved.iter().map(|(_, reason)| reason.as_str()).collect();
            return Err(Failure::unsupported(format!("no output can be served: {}", reasons.join("; "))));
        }
        let slots = |specs: &[TensorSpec]| {
            specs.iter().enumerate().map(|(slot, found)| (found.name.clone().into_bytes(), slot)).collect()
        };
        Ok(Self { input_slots: slots(&inputs), output_slots: slots(&outputs), inputs, outputs, unserved })
    }

    pub fn input_slot(&self, name: &[u8]) -> Option<usize> {
        self.input_slots.get(name).copied()
    }

    pub fn output_slot(&self, name: &[u8]) -> Option<usize> {
        self.output_slots.get(name).copied()
    }

    /// `name, name, …` for messages.
    pub fn names(specs: &[TensorSpec]) -> String {
        specs.iter().map(|found| found.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

fn spec(outlet: &Outlet, what: &str) -> Result<TensorSpec> {
    let (value_type, required) = match outlet.dtype() {
        ValueType::Optional(inner) => (inner.as_ref(), false),
        other => (other, true),
    };
    let name = outlet.name();
    let ValueType::Tensor { ty, shape, dimension_symbols } = value_type else {
        return Err(Failure::unsupported(format!(
            "{what} '{name}' is not a tensor but {value_type}; export the model without it (scikit-learn: zipmap=False)"
        )));
    };
    let datatype = DataType::from_element(*ty)
        .ok_or_else(|| Failure::unsupported(format!("{what} '{name}': Triton has no data type for ONNX's {ty:?}")))?;
    let first_symbol = dimension_symbols.first().cloned().unwrap_or_default();
    let (dims, c_name) = (shape.to_vec(), to_c_string(name));
    Ok(TensorSpec { name: name.to_owned(), c_name, datatype, dims, first_symbol, required })
}
