//! Charter: the functions that Triton calls, each a thin shell: guard against panics, find the state, call the module.

use std::ffi::c_void;
use std::ptr;

use crate::backend::BackendState;
use crate::error::{check, guard, Failure, Result};
use crate::ffi;
use crate::instance::InstanceState;
use crate::model::ModelState;

/// # Safety
/// Called by Triton with a valid backend; so are all functions below with what they name.
#[no_mangle]
pub unsafe extern "C" fn TRITONBACKEND_Initialize(backend: *mut ffi::Backend) -> ffi::ErrorPtr {
    guard("initialize", || {
        // SAFETY: the pointer comes from Triton; the state is a box that Finalize takes back.
        unsafe {
            let state = Box::into_raw(Box::new(BackendState::new(backend)?));
            check(ffi::TRITONBACKEND_BackendSetState(backend, state.cast::<c_void>()))
        }
    })
}

/// # Safety
/// See `TRITONBACKEND_Initialize`.
#[no_mangle]
pub unsafe extern "C" fn TRITONBACKEND_Finalize(backend: *mut ffi::Backend) -> ffi::ErrorPtr {
    guard("finalize", || {
        let mut state = ptr::null_mut();
        // SAFETY: as above; Triton calls this once, after every model is gone.
        unsafe {
            check(ffi::TRITONBACKEND_BackendState(backend, &mut state))?;
            take::<BackendState>(state);
        }
        Ok(())
    })
}

/// One instance unless the model asks for more: instances share the session, a second one only adds a thread.
///
/// # Safety
/// See `TRITONBACKEND_Initialize`.
#[no_mangle]
pub unsafe extern "C" fn TRITONBACKEND_GetBackendAttribute(
    _backend: *mut ffi::Backend,
    attributes: *mut ffi::BackendAttribute,
) -> ffi::ErrorPtr {
    guard("attributes", || {
        let kind = ffi::INSTANCE_KIND_CPU;
        // SAFETY: the pointer comes from Triton; there are no device ids.
        check(unsafe {
            ffi::TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(attributes, kind, 1, ptr::null(), 0)
        })
    })
}

/// # Safety
/// See `TRITONBACKEND_Initialize`.
#[no_mangle]
pub unsafe extern "C" fn TRITONBACKEND_ModelInitialize(model: *mut ffi::Model) -> ffi::ErrorPtr {
    guard("load", || {
        let (mut backend, mut state) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: pointers come from Triton; the backend's state outlives its models.
        unsafe {
            check(ffi::TRITONBACKEND_ModelBackend(model, &mut backend))?;
            check(ffi::TRITONBACKEND_BackendState(backend, &mut state))?;
            let backend = borrow::<BackendState>(state)?;
            let loaded = ModelState::load(model, backend);
            if loaded.is_err() {
                backend.housekeeper.trim_soon();
            }
            let state = Box::into_raw(Box::new(loaded?));
            check(ffi::TRITONBACKEND_ModelSetState(model, state.cast::<c_void>()))
        }
    })
}

/// # Safety
/// See `TRITONBACKEND_Initialize`.
#[no_mangle]
pub unsafe extern "C" fn TRITONBACKEND_ModelFinalize(model: *mut ffi::Model) -> ffi::ErrorPtr {
    guard("unload", || {
        let (mut backend, mut state) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: Triton calls this once, after the model's instances are gone.
        unsafe {
            check(ffi::TRITONBACKEND_ModelState(model, &mut state))?;
            take::<ModelState>(state);
            check(ffi::TRITONBACKEND_ModelBackend(model, &mut backend))?;
            check(ffi::TRITONBACKEND_BackendState(backend, &mut state))?;
            borrow::<BackendState>(state)?.housekeeper.trim_soon();
        }
        Ok(())
    })
}

/// # Safety
/// See `TRITONBACKEND_Initialize`.
#[no_mangle]
pub unsafe extern "C" fn TRITONBACKEND_ModelInstanceInitialize(instance: *mut ffi::ModelInstance) -> ffi::ErrorPtr {
    guard("instance", || {
        let (mut model, mut state) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: pointers come from Triton; a model's state outlives its instances.
        unsafe {
            check(ffi::TRITONBACKEND_ModelInstanceModel(instance, &mut model))?;
            check(ffi::TRITONBACKEND_ModelState(model, &mut state))?;
            let created = InstanceState::new(instance, state.cast::<ModelState>())?;
            let state = Box::into_raw(Box::new(created));
            check(ffi::TRITONBACKEND_ModelInstanceSetState(instance, state.cast::<c_void>()))
        }
    })
}

/// # Safety
/// See `TRITONBACKEND_Initialize`.
#[no_mangle]
pub unsafe extern "C" fn TRITONBACKEND_ModelInstanceFinalize(instance: *mut ffi::ModelInstance) -> ffi::ErrorPtr {
    guard("instance end", || {
        let mut state = ptr::null_mut();
        // SAFETY: Triton calls this once, when no execution is running.
        unsafe {
            check(ffi::TRITONBACKEND_ModelInstanceState(instance, &mut state))?;
            take::<InstanceState>(state);
        }
        Ok(())
    })
}

/// Owns the requests from here on: each is answered and released, so the return value is always success, except when
/// the state cannot be found, in which case nothing was touched.
///
/// # Safety
/// See `TRITONBACKEND_Initialize`.
#[no_mangle]
pub unsafe extern "C" fn TRITONBACKEND_ModelInstanceExecute(
    instance: *mut ffi::ModelInstance,
    requests: *mut *mut ffi::Request,
    count: u32,
) -> ffi::ErrorPtr {
    guard("execute", || {
        let mut state = ptr::null_mut();
        // SAFETY: Triton passes `count` requests, and executes an instance on one thread at a time.
        unsafe {
            check(ffi::TRITONBACKEND_ModelInstanceState(instance, &mut state))?;
            let requests = std::slice::from_raw_parts(requests, count as usize);
            borrow::<InstanceState>(state)?.execute(requests);
        }
        Ok(())
    })
}

/// # Safety
/// `state` is null or a box of `T` that is not freed during the borrow.
unsafe fn borrow<'a, T>(state: *mut c_void) -> Result<&'a T> {
    // SAFETY: by this function's contract.
    unsafe { state.cast::<T>().as_ref() }.ok_or_else(|| Failure::internal("the backend's state is missing"))
}

/// # Safety
/// `state` is null or a box of `T` that nobody uses any more.
unsafe fn take<T>(state: *mut c_void) {
    if !state.is_null() {
        // SAFETY: by this function's contract.
        drop(unsafe { Box::from_raw(state.cast::<T>()) });
    }
}
