//! Charter: one request with its response: answered exactly once, released exactly once, whatever happens in between.

use std::ptr;

use crate::error::{check, log, Failure, Result};
use crate::ffi;
use crate::graph::TensorSpec;
use crate::outputs::OutputView;

/// Owns a request and its unsent response.
pub struct Pending {
    pub request: *mut ffi::Request,
    response: *mut ffi::Response,
}

impl Pending {
    /// # Safety
    /// `request` is valid and owned by the caller, who gives it away.
    pub unsafe fn new(request: *mut ffi::Request) -> Self {
        let mut response = ptr::null_mut();
        // SAFETY: by this function's contract.
        if let Err(failure) = check(unsafe { ffi::TRITONBACKEND_ResponseNew(&mut response, request) }) {
            // Out of memory, or a client that is gone: nobody can be told but the log.
            log(ffi::LOG_ERROR, &format!("cannot make a response: {failure}"));
            response = ptr::null_mut();
        }
        Self { request, response }
    }

    pub fn answered(&self) -> bool {
        self.response.is_null()
    }

    /// Copies one output into the buffer that Triton gives for it.
    pub fn write(&mut self, spec: &TensorSpec, view: &OutputView) -> Result<()> {
        if self.response.is_null() {
            return Ok(());
        }
        let (mut output, mut buffer) = (ptr::null_mut(), ptr::null_mut());
        let (mut kind, mut id) = (ffi::MEMORY_CPU, 0i64);
        let size = view.size();
        // SAFETY: the response is ours and unsent; name and shape live during the call, and Triton copies them.
        unsafe {
            check(ffi::TRITONBACKEND_ResponseOutput(
                self.response,
                &mut output,
                spec.c_name(),
                view.datatype as i32,
                view.shape.as_ptr(),
                view.shape.len() as u32,
            ))?;
            check(ffi::TRITONBACKEND_OutputBuffer(output, &mut buffer, size as u64, &mut kind, &mut id))?;
        }
        if kind != ffi::MEMORY_CPU && kind != ffi::MEMORY_CPU_PINNED {
            return Err(Failure::unsupported("the response buffer lies in GPU memory; this backend runs on the CPU"));
        }
        if size == 0 {
            return Ok(());
        }
        if buffer.is_null() {
            return Err(Failure::internal(format!("Triton gave no buffer for output '{}'", spec.name)));
        }
        // SAFETY: Triton gave `size` bytes for this output, which nobody else touches before the response is sent.
        view.write(unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), size) });
        Ok(())
    }

    /// Sends the answer, or the failure instead of it; a second call does nothing.
    pub fn send(&mut self, outcome: Result<()>) {
        let response = std::mem::replace(&mut self.response, ptr::null_mut());
        if response.is_null() {
            return;
        }
        let error = outcome.err().map_or(ptr::null_mut(), Failure::into_triton);
        // SAFETY: the response is ours and unsent; Triton takes it, but not the error, which is deleted after.
        unsafe {
            if let Err(failure) = check(ffi::TRITONBACKEND_ResponseSend(response, ffi::RESPONSE_FINAL, error)) {
                log(ffi::LOG_ERROR, &format!("cannot send a response: {failure}"));
            }
            if !error.is_null() {
                ffi::TRITONSERVER_ErrorDelete(error);
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.send(Err(Failure::internal("the request was not executed")));
        // SAFETY: the request is owned and released once; nothing borrows from it any more.
        if let Err(failure) = check(unsafe { ffi::TRITONBACKEND_RequestRelease(self.request, ffi::RELEASE_ALL) }) {
            log(ffi::LOG_ERROR, &format!("cannot release a request: {failure}"));
        }
    }
}
