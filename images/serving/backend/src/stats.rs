//! Charter: the times that Triton's statistics are made of, and reporting them.

use crate::error::{check, log, Failure};
use crate::ffi;

/// Nanoseconds of the monotonic clock, which is the one that Triton's own timestamps use.
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place; CLOCK_MONOTONIC cannot fail on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// When one execution started, its computation started and ended, and it ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub exec_start: u64,
    pub compute_start: u64,
    pub compute_end: u64,
    pub exec_end: u64,
}

impl Times {
    /// For a request that never reached the computation.
    pub fn failed_before_compute(exec_start: u64) -> Self {
        let now = now_ns();
        Self { exec_start, compute_start: now, compute_end: now, exec_end: now }
    }
}

/// One answered request.
pub fn report_request(instance: *mut ffi::ModelInstance, request: *mut ffi::Request, success: bool, times: &Times) {
    // SAFETY: called during an execution, with the instance and a request that is not yet released.
    let outcome = unsafe {
        ffi::TRITONBACKEND_ModelInstanceReportStatistics(
            instance,
            request,
            success,
            times.exec_start,
            times.compute_start,
            times.compute_end,
            times.exec_end,
        )
    };
    complain(check(outcome));
}

/// One run of the model over `batch` rows (1 for a model without batching).
pub fn report_run(instance: *mut ffi::ModelInstance, batch: u64, times: &Times) {
    // SAFETY: called during an execution of this instance.
    let outcome = unsafe {
        ffi::TRITONBACKEND_ModelInstanceReportBatchStatistics(
            instance,
            batch,
            times.exec_start,
            times.compute_start,
            times.compute_end,
            times.exec_end,
        )
    };
    complain(check(outcome));
}

fn complain(outcome: std::result::Result<(), Failure>) {
    if let Err(failure) = outcome {
        log(ffi::LOG_WARN, &format!("cannot report statistics: {failure}"));
    }
}
