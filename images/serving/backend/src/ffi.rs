//! Charter: the part of Triton's C API (tritonbackend.h, tritonserver.h) that this backend calls, declared by hand.
//!
//! Only declarations live here. The symbols are resolved from the server process that loads the library. Enumerations
//! are plain integers, because a newer server may send values that this build does not know.

use std::ffi::{c_char, c_void};

macro_rules! opaque {
    ($($name:ident),+ $(,)?) => {
        $(
            #[repr(C)]
            pub struct $name {
                _private: [u8; 0],
            }
        )+
    };
}

opaque!(Error, Message, Backend, BackendAttribute, Model, ModelInstance, Request, Response, Input, Output);

pub type ErrorPtr = *mut Error;

/// `TRITONBACKEND_API_VERSION_MAJOR`: another major version is another ABI.
pub const API_MAJOR: u32 = 1;
/// The oldest minor version that has every function declared below (request cancellation came last).
pub const API_MINOR: u32 = 16;

pub const MEMORY_CPU: i32 = 0;
pub const MEMORY_CPU_PINNED: i32 = 1;

pub const INSTANCE_KIND_CPU: i32 = 1;
pub const INSTANCE_KIND_GPU: i32 = 2;

pub const LOG_INFO: i32 = 0;
pub const LOG_WARN: i32 = 1;
pub const LOG_ERROR: i32 = 2;

pub const RELEASE_ALL: u32 = 1;
pub const RESPONSE_FINAL: u32 = 1;

extern "C" {
    pub fn TRITONSERVER_ErrorNew(code: i32, message: *const c_char) -> ErrorPtr;
    pub fn TRITONSERVER_ErrorDelete(error: ErrorPtr);
    pub fn TRITONSERVER_ErrorCode(error: ErrorPtr) -> i32;
    pub fn TRITONSERVER_ErrorMessage(error: ErrorPtr) -> *const c_char;
    #[cfg_attr(test, allow(dead_code))]
    pub fn TRITONSERVER_LogMessage(level: i32, file: *const c_char, line: i32, message: *const c_char) -> ErrorPtr;
    pub fn TRITONSERVER_MessageNewFromSerializedJson(
        message: *mut *mut Message,
        base: *const c_char,
        size: usize,
    ) -> ErrorPtr;
    pub fn TRITONSERVER_MessageSerializeToJson(
        message: *mut Message,
        base: *mut *const c_char,
        size: *mut usize,
    ) -> ErrorPtr;
    pub fn TRITONSERVER_MessageDelete(message: *mut Message) -> ErrorPtr;

    pub fn TRITONBACKEND_ApiVersion(major: *mut u32, minor: *mut u32) -> ErrorPtr;
    pub fn TRITONBACKEND_BackendConfig(backend: *mut Backend, config: *mut *mut Message) -> ErrorPtr;
    pub fn TRITONBACKEND_BackendArtifacts(
        backend: *mut Backend,
        kind: *mut i32,
        location: *mut *const c_char,
    ) -> ErrorPtr;
    pub fn TRITONBACKEND_BackendState(backend: *mut Backend, state: *mut *mut c_void) -> ErrorPtr;
    pub fn TRITONBACKEND_BackendSetState(backend: *mut Backend, state: *mut c_void) -> ErrorPtr;
    pub fn TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(
        attributes: *mut BackendAttribute,
        kind: i32,
        count: u64,
        device_ids: *const u64,
        id_count: u64,
    ) -> ErrorPtr;

    pub fn TRITONBACKEND_ModelName(model: *mut Model, name: *mut *const c_char) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelVersion(model: *mut Model, version: *mut u64) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelRepository(model: *mut Model, kind: *mut i32, location: *mut *const c_char) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelConfig(model: *mut Model, version: u32, config: *mut *mut Message) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelAutoCompleteConfig(model: *mut Model, wanted: *mut bool) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelSetConfig(model: *mut Model, version: u32, config: *mut Message) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelBackend(model: *mut Model, backend: *mut *mut Backend) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelState(model: *mut Model, state: *mut *mut c_void) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelSetState(model: *mut Model, state: *mut c_void) -> ErrorPtr;

    pub fn TRITONBACKEND_ModelInstanceKind(instance: *mut ModelInstance, kind: *mut i32) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelInstanceName(instance: *mut ModelInstance, name: *mut *const c_char) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelInstanceModel(instance: *mut ModelInstance, model: *mut *mut Model) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelInstanceState(instance: *mut ModelInstance, state: *mut *mut c_void) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelInstanceSetState(instance: *mut ModelInstance, state: *mut c_void) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelInstanceReportStatistics(
        instance: *mut ModelInstance,
        request: *mut Request,
        success: bool,
        exec_start_ns: u64,
        compute_start_ns: u64,
        compute_end_ns: u64,
        exec_end_ns: u64,
    ) -> ErrorPtr;
    pub fn TRITONBACKEND_ModelInstanceReportBatchStatistics(
        instance: *mut ModelInstance,
        batch_size: u64,
        exec_start_ns: u64,
        compute_start_ns: u64,
        compute_end_ns: u64,
        exec_end_ns: u64,
    ) -> ErrorPtr;

    pub fn TRITONBACKEND_RequestId(request: *mut Request, id: *mut *const c_char) -> ErrorPtr;
    pub fn TRITONBACKEND_RequestIsCancelled(request: *mut Request, cancelled: *mut bool) -> ErrorPtr;
    pub fn TRITONBACKEND_RequestInputCount(request: *mut Request, count: *mut u32) -> ErrorPtr;
    pub fn TRITONBACKEND_RequestInputByIndex(request: *mut Request, index: u32, input: *mut *mut Input) -> ErrorPtr;
    pub fn TRITONBACKEND_RequestOutputCount(request: *mut Request, count: *mut u32) -> ErrorPtr;
    pub fn TRITONBACKEND_RequestOutputName(request: *mut Request, index: u32, name: *mut *const c_char) -> ErrorPtr;
    pub fn TRITONBACKEND_RequestRelease(request: *mut Request, flags: u32) -> ErrorPtr;
    pub fn TRITONBACKEND_InputProperties(
        input: *mut Input,
        name: *mut *const c_char,
        datatype: *mut i32,
        shape: *mut *const i64,
        dims: *mut u32,
        byte_size: *mut u64,
        buffers: *mut u32,
    ) -> ErrorPtr;
    pub fn TRITONBACKEND_InputBuffer(
        input: *mut Input,
        index: u32,
        buffer: *mut *const c_void,
        byte_size: *mut u64,
        memory_type: *mut i32,
        memory_type_id: *mut i64,
    ) -> ErrorPtr;

    pub fn TRITONBACKEND_ResponseNew(response: *mut *mut Response, request: *mut Request) -> ErrorPtr;
    pub fn TRITONBACKEND_ResponseOutput(
        response: *mut Response,
        output: *mut *mut Output,
        name: *const c_char,
        datatype: i32,
        shape: *const i64,
        dims: u32,
    ) -> ErrorPtr;
    pub fn TRITONBACKEND_OutputBuffer(
        output: *mut Output,
        buffer: *mut *mut c_void,
        byte_size: u64,
        memory_type: *mut i32,
        memory_type_id: *mut i64,
    ) -> ErrorPtr;
    pub fn TRITONBACKEND_ResponseSend(response: *mut Response, flags: u32, error: ErrorPtr) -> ErrorPtr;
}
