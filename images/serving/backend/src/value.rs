//! Charter: ONNX Runtime tensors as owned handles: made over borrowed memory, made of strings, and read back.
//!
//! The crate `ort` gives safe tensors for Rust's own types; here the element type is known only at run time and the
//! memory belongs to Triton, so the handles are made through the C API that `ort` exposes.

use std::ffi::{c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use ort::sys;

use crate::datatypes::{element_count, DataType};
use crate::error::{Failure, Result};

/// Turns a status of the C API into a result and frees it.
fn status(code: sys::OrtStatusPtr) -> Result<()> {
    // SAFETY: every caller passes a status that a C API call returned just now; ownership moves here.
    unsafe { ort::Error::result_from_status(code) }.map_err(Failure::from)
}

/// The description of host memory that tensors over borrowed buffers need; made once, never freed.
fn host_memory() -> Result<*const sys::OrtMemoryInfo> {
    static INFO: OnceLock<usize> = OnceLock::new();
    if let Some(address) = INFO.get() {
        return Ok(*address as *const sys::OrtMemoryInfo);
    }
    let mut info: *mut sys::OrtMemoryInfo = ptr::null_mut();
    // SAFETY: `info` is a valid place for the result.
    status(unsafe {
        (ort::api().CreateCpuMemoryInfo)(
            sys::OrtAllocatorType::OrtDeviceAllocator,
            sys::OrtMemType::OrtMemTypeDefault,
            &mut info,
        )
    })?;
    Ok(*INFO.get_or_init(|| info as usize) as *const sys::OrtMemoryInfo)
}

/// An owned `OrtValue`.
pub struct Value(NonNull<sys::OrtValue>);

// SAFETY: a value is a plain heap object without ties to a thread; it is used by one thread at a time here.
unsafe impl Send for Value {}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: the handle is owned and released once.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) }
    }
}

impl Value {
    /// Takes ownership of what the C API returned; null means that an optional output has no value.
    pub fn from_raw(raw: *mut sys::OrtValue) -> Option<Self> {
        NonNull::new(raw).map(Self)
    }

    pub fn as_ptr(&self) -> *mut sys::OrtValue {
        self.0.as_ptr()
    }

    /// A tensor over `data`, which is neither copied nor written to.
    ///
    /// # Safety
    /// `data` must outlive the value, and be aligned for the type.
    pub unsafe fn over(data: &[u8], shape: &[i64], datatype: DataType) -> Result<Self> {
        let mut raw: *mut sys::OrtValue = ptr::null_mut();
        let info = host_memory()?;
        // SAFETY: shape and result are valid during the call. ONNX Runtime does not write to the inputs of a run, so
        // the cast to mut does not lead to a write; the caller keeps `data` alive.
        status(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                info,
                data.as_ptr().cast_mut().cast::<c_void>(),
                data.len(),
                shape.as_ptr(),
                shape.len(),
                datatype.onnx(),
                &mut raw,
            )
        })?;
        Self::from_raw(raw).ok_or_else(|| Failure::internal("ONNX Runtime made no tensor"))
    }

    /// A tensor of strings; `items` must yield as many strings as the shape has elements.
    pub fn strings<'a>(shape: &[i64], items: impl Iterator<Item = &'a [u8]>) -> Result<Self> {
        let mut allocator: *mut sys::OrtAllocator = ptr::null_mut();
        let mut raw: *mut sys::OrtValue = ptr::null_mut();
        // SAFETY: the default allocator is a static of ONNX Runtime; all pointers are valid during the calls.
        status(unsafe { (ort::api().GetAllocatorWithDefaultOptions)(&mut allocator) })?;
        // SAFETY: as above.
        status(unsafe {
            (ort::api().CreateTensorAsOrtValue)(
                allocator,
                shape.as_ptr(),
                shape.len(),
                DataType::Bytes.onnx(),
                &mut raw,
            )
        })?;
        let value = Self::from_raw(raw).ok_or_else(|| Failure::internal("ONNX Runtime made no tensor"))?;
        for (index, item) in items.enumerate() {
            let mut buffer: *mut c_char = ptr::null_mut();
            // SAFETY: the call checks `index`, and returns a buffer of `item.len()` bytes inside the element's string.
            status(unsafe {
                (ort::api().GetResizedStringTensorElementBuffer)(value.as_ptr(), index, item.len(), &mut buffer)
            })?;
            // SAFETY: the buffer has item.len() bytes and cannot overlap a request's input.
            unsafe { ptr::copy_nonoverlapping(item.as_ptr(), buffer.cast::<u8>(), item.len()) };
        }
        Ok(value)
    }

    /// Element type and shape; an error when the value is not a tensor or has a type that Triton lacks.
    pub fn describe(&self) -> Result<(DataType, Vec<i64>)> {
        let mut is_tensor = 0;
        // SAFETY: the handle is valid and the result has a place.
        status(unsafe { (ort::api().IsTensor)(self.as_ptr(), &mut is_tensor) })?;
        if is_tensor == 0 {
            return Err(Failure::unsupported(
                "the value is not a tensor (sequences, maps and sparse tensors cannot be served)",
            ));
        }
        let mut info: *mut sys::OrtTensorTypeAndShapeInfo = ptr::null_mut();
        // SAFETY: the handle is valid; `info` is released below on every path.
        status(unsafe { (ort::api().GetTensorTypeAndShape)(self.as_ptr(), &mut info) })?;
        let described = read_info(info);
        // SAFETY: `info` was made above and is not used after this.
        unsafe { (ort::api().ReleaseTensorTypeAndShapeInfo)(info) };
        let (element, shape) = described?;
        let datatype = DataType::from_onnx(element)
            .ok_or_else(|| Failure::unsupported(format!("Triton has no data type for ONNX's {element:?}")))?;
        Ok((datatype, shape))
    }

    /// The bytes of a tensor of fixed-size elements.
    pub fn bytes(&self, datatype: DataType, shape: &[i64]) -> Result<&[u8]> {
        let size = datatype.size().ok_or_else(|| Failure::internal("a string tensor has no flat bytes"))?;
        let count = element_count(shape).ok_or_else(|| Failure::internal(format!("impossible shape {shape:?}")))?;
        if count == 0 {
            return Ok(&[]);
        }
        let mut data: *mut c_void = ptr::null_mut();
        // SAFETY: the handle is a tensor of a fixed-size type.
        status(unsafe { (ort::api().GetTensorMutableData)(self.as_ptr(), &mut data) })?;
        // SAFETY: a tensor holds count * size bytes, which live as long as the value.
        Ok(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), count * size) })
    }

    /// The strings of a string tensor: all bytes in a row, and where each string starts.
    pub fn text(&self, shape: &[i64]) -> Result<(Vec<u8>, Vec<usize>)> {
        let count = element_count(shape).ok_or_else(|| Failure::internal(format!("impossible shape {shape:?}")))?;
        let mut length = 0usize;
        // SAFETY: the handle is a string tensor.
        status(unsafe { (ort::api().GetStringTensorDataLength)(self.as_ptr(), &mut length) })?;
        let mut bytes = vec![0u8; length];
        let mut starts = vec![0usize; count];
        if count > 0 {
            // SAFETY: both buffers have the lengths that are passed.
            status(unsafe {
                (ort::api().GetStringTensorContent)(
                    self.as_ptr(),
                    bytes.as_mut_ptr().cast::<c_void>(),
                    length,
                    starts.as_mut_ptr(),
                    count,
                )
            })?;
        }
        Ok((bytes, starts))
    }
}

fn read_info(info: *const sys::OrtTensorTypeAndShapeInfo) -> Result<(sys::ONNXTensorElementDataType, Vec<i64>)> {
    let mut element = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    let mut rank = 0usize;
    // SAFETY: the caller owns `info`; results have places.
    status(unsafe { (ort::api().GetTensorElementType)(info, &mut element) })?;
    // SAFETY: as above.
    status(unsafe { (ort::api().GetDimensionsCount)(info, &mut rank) })?;
    let mut shape = vec![0i64; rank];
    // SAFETY: `shape` has `rank` places.
    status(unsafe { (ort::api().GetDimensions)(info, shape.as_mut_ptr(), rank) })?;
    Ok((element, shape))
}

/// Runs a session; the outputs come in the order of `output_names`.
pub fn run(
    session: &ort::session::Session,
    input_names: &[*const c_char],
    inputs: &[*const sys::OrtValue],
    output_names: &[*const c_char],
) -> Result<Vec<Option<Value>>> {
    use ort::AsPointer;
    let mut raw: Vec<*mut sys::OrtValue> = vec![ptr::null_mut(); output_names.len()];
    // SAFETY: all arrays have the lengths that are passed, and names and values live during the call. OrtApi::Run is
    // documented to be safe to call on one session from many threads, so the cast from a shared reference is sound.
    let outcome = status(unsafe {
        (ort::api().Run)(
            session.ptr().cast_mut(),
            ptr::null(),
            input_names.as_ptr(),
            inputs.as_ptr(),
            inputs.len(),
            output_names.as_ptr(),
            output_names.len(),
            raw.as_mut_ptr(),
        )
    });
    let values: Vec<Option<Value>> = raw.into_iter().map(Value::from_raw).collect();
    outcome.map(|()| values)
}
