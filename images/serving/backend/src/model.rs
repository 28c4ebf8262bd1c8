//! Charter: one version of one model: its configuration, its session (shared by all instances) and its place in the tap.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::session::Session;
use serde_json::Value as Json;

use crate::autocomplete;
use crate::backend::{read_message, BackendState};
use crate::config::ModelConfig;
use crate::error::{check, log, text, Failure, Result};
use crate::ffi;
use crate::graph::Graph;
use crate::options::Options;
use crate::session;
use crate::tap::ModelTap;
use crate::validate;

const DEFAULT_FILENAME: &str = "model.onnx";

pub struct ModelState {
    pub name: String,
    pub version: u64,
    pub config: ModelConfig,
    pub graph: Graph,
    pub session: Session,
    pub tap: Option<Arc<ModelTap>>,
}

impl ModelState {
    /// # Safety
    /// `model` is the pointer that Triton passed to `TRITONBACKEND_ModelInitialize`.
    pub unsafe fn load(model: *mut ffi::Model, backend: &BackendState) -> Result<Self> {
        // SAFETY: by this function's contract, as everywhere below.
        let (name, version, folder) = unsafe { identify(model)? };
        let subject = format!("model '{name}' version {version}");
        // SAFETY: as above.
        unsafe { Self::open(model, backend, name, version, &folder) }.map_err(|failure| failure.about(&subject))
    }

    /// # Safety
    /// `model` is valid and being initialized.
    unsafe fn open(
        model: *mut ffi::Model,
        backend: &BackendState,
        name: String,
        version: u64,
        folder: &Path,
    ) -> Result<Self> {
        // SAFETY: by this function's contract.
        let mut json = unsafe { read_config(model)? };
        let options = Options::parse(&json)?;
        let path = file(folder, version, &json);
        let about_file = |failure: Failure| failure.about(&path.display().to_string());
        let session = session::open(&path, &options).map_err(about_file)?;
        let graph = Graph::of(&session).map_err(about_file)?;
        // SAFETY: as above.
        if unsafe { wants_completion(model)? } {
            if let Some(completed) = autocomplete::complete(&json, &graph, backend.default_max_batch)? {
                // SAFETY: as above.
                unsafe { write_config(model, &completed)? };
                json = completed;
                for (output, reason) in &graph.unserved {
                    log(ffi::LOG_WARN, &format!("model '{name}': output '{output}' is left out: {reason}"));
                }
            }
        }
        let config = ModelConfig::parse(&json)?;
        validate::check(&config, &graph)?;
        let tap = backend.tap.as_ref().map(|tap| tap.register(&name));
        Ok(Self { name, version, config, graph, session, tap })
    }

    pub fn batching(&self) -> bool {
        self.config.max_batch_size > 0
    }

    pub fn subject(&self) -> String {
        format!("model '{}' version {}", self.name, self.version)
    }
}

/// The ONNX file: `<folder>/<version>/<default_model_filename>`, or `model.onnx` inside when that is a folder.
fn file(folder: &Path, version: u64, json: &Json) -> PathBuf {
    let filename = json.get("default_model_filename").and_then(Json::as_str).filter(|found| !found.is_empty());
    let path = folder.join(version.to_string()).join(filename.unwrap_or(DEFAULT_FILENAME));
    if path.is_dir() {
        return path.join(DEFAULT_FILENAME);
    }
    path
}

/// # Safety
/// `model` is valid.
unsafe fn identify(model: *mut ffi::Model) -> Result<(String, u64, PathBuf)> {
    let (mut name, mut version, mut kind, mut location) = (std::ptr::null(), 0, 0, std::ptr::null());
    // SAFETY: by this function's contract; the strings live as long as the model and are copied here.
    unsafe {
        check(ffi::TRITONBACKEND_ModelName(model, &mut name))?;
        check(ffi::TRITONBACKEND_ModelVersion(model, &mut version))?;
        check(ffi::TRITONBACKEND_ModelRepository(model, &mut kind, &mut location))?;
        Ok((text(name), version, PathBuf::from(text(location))))
    }
}

/// # Safety
/// `model` is valid.
unsafe fn read_config(model: *mut ffi::Model) -> Result<Json> {
    let mut message = std::ptr::null_mut();
    // SAFETY: by this function's contract; the message is ours and is deleted after its only use.
    unsafe {
        check(ffi::TRITONBACKEND_ModelConfig(model, 1, &mut message))?;
        let json = read_message(message);
        check(ffi::TRITONSERVER_MessageDelete(message))?;
        json
    }
}

/// # Safety
/// `model` is valid and being initialized.
unsafe fn wants_completion(model: *mut ffi::Model) -> Result<bool> {
    let mut wanted = false;
    // SAFETY: by this function's contract.
    check(unsafe { ffi::TRITONBACKEND_ModelAutoCompleteConfig(model, &mut wanted) })?;
    Ok(wanted)
}

/// # Safety
/// `model` is valid and being initialized.
unsafe fn write_config(model: *mut ffi::Model, json: &Json) -> Result<()> {
    let text = json.to_string();
    let mut message = std::ptr::null_mut();
    // SAFETY: by this function's contract; Triton copies the text, and the message is deleted after its only use.
    unsafe {
        let base = text.as_ptr().cast::<std::ffi::c_char>();
        check(ffi::TRITONSERVER_MessageNewFromSerializedJson(&mut message, base, text.len()))?;
        let outcome = check(ffi::TRITONBACKEND_ModelSetConfig(model, 1, message));
        check(ffi::TRITONSERVER_MessageDelete(message))?;
        outcome
    }
}
