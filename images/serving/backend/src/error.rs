//! Charter: one error type for the whole backend, and its passage to and from Triton's and ONNX Runtime's errors.

use std::ffi::{CStr, CString};
use std::fmt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

use crate::ffi;

/// Triton's error codes (`TRITONSERVER_Error_Code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    Internal = 1,
    NotFound = 2,
    InvalidArg = 3,
    Unavailable = 4,
    Unsupported = 5,
    Cancelled = 7,
}

impl Code {
    fn from_triton(code: i32) -> Self {
        match code {
            2 => Self::NotFound,
            3 => Self::InvalidArg,
            4 => Self::Unavailable,
            5 => Self::Unsupported,
            7 => Self::Cancelled,
            _ => Self::Internal,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub code: Code,
    pub message: String,
}

pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArg, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Code::Unsupported, message)
    }

    /// The same failure, saying first what it is about.
    pub fn about(self, subject: &str) -> Self {
        Self { code: self.code, message: format!("{subject}: {}", self.message) }
    }

    /// Hands the failure to Triton, which owns the returned error.
    pub fn into_triton(self) -> ffi::ErrorPtr {
        let text = to_c_string(&self.message);
        // SAFETY: the text is NUL-terminated and Triton copies it.
        unsafe { ffi::TRITONSERVER_ErrorNew(self.code as i32, text.as_ptr()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<R> From<ort::Error<R>> for Failure {
    fn from(error: ort::Error<R>) -> Self {
        let code = match error.code() {
            ort::ErrorCode::InvalidArgument => Code::InvalidArg,
            ort::ErrorCode::NoSuchFile => Code::NotFound,
            ort::ErrorCode::NotImplemented => Code::Unsupported,
            _ => Code::Internal,
        };
        Self::new(code, error.message().trim_end())
    }
}

/// Turns an error returned by Triton's API into ours, and frees Triton's.
pub fn check(error: ffi::ErrorPtr) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null error came from Triton just now, is ours, and is deleted exactly once after its last use.
    unsafe {
        let code = Code::from_triton(ffi::TRITONSERVER_ErrorCode(error));
        let message = text(ffi::TRITONSERVER_ErrorMessage(error));
        ffi::TRITONSERVER_ErrorDelete(error);
        Err(Failure::new(code, message))
    }
}

/// Runs the body of an entry point: neither an error nor a panic crosses into Triton other than as its own error.
pub fn guard(what: &str, body: impl FnOnce() -> Result<()>) -> ffi::ErrorPtr {
    match catch(what, body) {
        Ok(()) => ptr::null_mut(),
        Err(failure) => failure.into_triton(),
    }
}

/// Runs `body`; a panic becomes a failure that carries the panic's text.
pub fn catch<T>(what: &str, body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let reason = payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown panic".to_owned());
        Err(Failure::internal(format!("{what}: internal error of the onnxruntime backend: {reason}")))
    })
}

/// Writes one line to Triton's log.
#[cfg(not(test))]
pub fn log(level: i32, message: &str) {
    let text = to_c_string(message);
    // SAFETY: both strings are NUL-terminated and only read during the call.
    let outcome = unsafe { ffi::TRITONSERVER_LogMessage(level, c"onnxruntime".as_ptr(), 0, text.as_ptr()) };
    if let Err(failure) = check(outcome) {
        eprintln!("onnxruntime backend: cannot log {message:?}: {failure}");
    }
}

/// Unit tests run without Triton and its log.
#[cfg(test)]
pub fn log(level: i32, message: &str) {
    eprintln!("onnxruntime backend, level {level}: {message}");
}

/// A C string of `s`; a NUL inside becomes a space, because messages may quote a user's names.
pub fn to_c_string(s: &str) -> CString {
    CString::new(s.replace('\0', " ")).unwrap_or_default()
}

/// The text of a C string that may be null.
///
/// # Safety
/// `pointer` is null or points to a NUL-terminated string that lives during the call.
pub unsafe fn text(pointer: *const std::ffi::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: not null, and NUL-terminated by this function's contract.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
