//! Charter: finding and loading libonnxruntime, the one library that this backend needs beside itself.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{text, Code, Failure, Result};

const VARIABLE: &str = "ORT_DYLIB_PATH";

/// Loads it once: from `ORT_DYLIB_PATH`, else from a `libonnxruntime.so*` in the backend's own folder.
pub fn load(backend_folder: &Path) -> Result<PathBuf> {
    static LOADED: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = LOADED.get() {
        return Ok(path.clone());
    }
    let path = find(backend_folder)?;
    let about = |reason: String| Failure::new(Code::Unavailable, format!("cannot load {}: {reason}", path.display()));
    probe(&path).map_err(about)?;
    let builder = ort::init_from(&path).map_err(|error| about(error.message().to_owned()))?;
    builder.with_name("triton").with_telemetry(false).commit();
    Ok(LOADED.get_or_init(|| path).clone())
}

fn find(folder: &Path) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.filter(|file| file.file_name().to_string_lossy().starts_with("libonnxruntime.so"));
    names.map(|file| file.path()).max().ok_or_else(|| {
        Failure::new(
            Code::Unavailable,
            format!("no libonnxruntime.so* in {}; put it there or set {VARIABLE}", folder.display()),
        )
    })
}

/// Can the library be loaded, and is it new enough? Asked first, because `ort` makes its own errors with the help of the
/// library, and waits for itself for ever when that is what cannot be loaded.
fn probe(path: &Path) -> std::result::Result<(), String> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: the name is NUL-terminated. The handle is kept: `ort` opens the same library next.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if handle.is_null() {
        // SAFETY: dlerror gives a string that lives until the next call on this thread.
        return Err(unsafe { text(libc::dlerror()) });
    }
    // SAFETY: the handle is valid and the name NUL-terminated.
    let symbol = unsafe { libc::dlsym(handle, c"OrtGetApiBase".as_ptr()) };
    if symbol.is_null() {
        return Err("it is not ONNX Runtime (it has no OrtGetApiBase)".to_owned());
    }
    // SAFETY: OrtGetApiBase has had this signature in every release of ONNX Runtime.
    let base = unsafe {
        std::mem::transmute::<*mut libc::c_void, unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(symbol)()
    };
    // SAFETY: the library returns a static, or null; so are its members.
    let (api, version) = unsafe {
        let base = base.as_ref().ok_or("it gives no OrtApiBase")?;
        ((base.GetApi)(ort::MINOR_VERSION), text((base.GetVersionString)()))
    };
    if api.is_null() {
        return Err(format!("it is ONNX Runtime {version}; this backend needs 1.{} or newer", ort::MINOR_VERSION));
    }
    Ok(())
}
