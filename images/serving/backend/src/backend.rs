//! Charter: the state of the backend as a whole: libonnxruntime, the backend's settings, the tap, the housekeeper.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::config::integer;
use crate::error::{check, log, text, Code, Failure, Result};
use crate::ffi;
use crate::housekeeper::Housekeeper;
use crate::tap::Tap;
use crate::{library, memory};

/// What Triton's own onnxruntime backend takes when `--backend-config` says nothing.
const DEFAULT_MAX_BATCH: i64 = 4;

pub struct BackendState {
    pub default_max_batch: i64,
    pub tap: Option<Arc<Tap>>,
    pub housekeeper: Housekeeper,
}

impl BackendState {
    /// # Safety
    /// `backend` is the pointer that Triton passed to `TRITONBACKEND_Initialize`.
    pub unsafe fn new(backend: *mut ffi::Backend) -> Result<Self> {
        check_api()?;
        memory::set_up();
        // SAFETY: by this function's contract.
        let (folder, settings) = unsafe { (folder(backend)?, settings(backend)?) };
        let library = library::load(&folder)?;
        log(ffi::LOG_INFO, &format!("onnxruntime backend: using {}", library.display()));
        let tap = Tap::from_environment()?.map(Arc::new);
        if let Some(tap) = &tap {
            log(ffi::LOG_INFO, &format!("onnxruntime backend: sampling tap in {}", tap.folder().display()));
        }
        let default_max_batch = integer(settings.pointer("/cmdline/default-max-batch-size"));
        Ok(Self {
            default_max_batch: default_max_batch.unwrap_or(DEFAULT_MAX_BATCH),
            housekeeper: Housekeeper::start(tap.clone())?,
            tap,
        })
    }
}

fn check_api() -> Result<()> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: both results have places.
    check(unsafe { ffi::TRITONBACKEND_ApiVersion(&mut major, &mut minor) })?;
    if major == ffi::API_MAJOR && minor >= ffi::API_MINOR {
        return Ok(());
    }
    Err(Failure::new(
        Code::Unsupported,
        format!(
            "this onnxruntime backend needs TRITONBACKEND API {}.{} or newer of the same major version; the server has \
             {major}.{minor}",
            ffi::API_MAJOR,
            ffi::API_MINOR
        ),
    ))
}

/// # Safety
/// `backend` is valid.
unsafe fn folder(backend: *mut ffi::Backend) -> Result<PathBuf> {
    let (mut kind, mut location) = (0, std::ptr::null());
    // SAFETY: by this function's contract; Triton's string lives as long as the backend.
    unsafe {
        check(ffi::TRITONBACKEND_BackendArtifacts(backend, &mut kind, &mut location))?;
        Ok(PathBuf::from(text(location)))
    }
}

/// # Safety
/// `backend` is valid.
unsafe fn settings(backend: *mut ffi::Backend) -> Result<Json> {
    let mut message = std::ptr::null_mut();
    // SAFETY: by this function's contract; the message belongs to the backend and is only read here.
    unsafe {
        check(ffi::TRITONBACKEND_BackendConfig(backend, &mut message))?;
        read_message(message)
    }
}

/// The JSON of a Triton message, which is left to its owner.
///
/// # Safety
/// `message` is valid.
pub unsafe fn read_message(message: *mut ffi::Message) -> Result<Json> {
    let (mut base, mut size) = (std::ptr::null(), 0usize);
    // SAFETY: by this function's contract; the serialized text lives as long as the message.
    let bytes = unsafe {
        check(ffi::TRITONSERVER_MessageSerializeToJson(message, &mut base, &mut size))?;
        std::slice::from_raw_parts(base.cast::<u8>(), size)
    };
    serde_json::from_slice(bytes).map_err(|error| Failure::internal(format!("Triton sent JSON that is none: {error}")))
}
