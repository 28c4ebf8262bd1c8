//! Charter: tensor element types, under the names that Triton's API, Triton's model configuration and ONNX give them.

use ort::sys::ONNXTensorElementDataType as Onnx;
use ort::value::TensorElementType as Element;

/// An element type that Triton and ONNX Runtime both have; the discriminant is Triton's `TRITONSERVER_DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DataType {
    Bool = 1,
    Uint8 = 2,
    Uint16 = 3,
    Uint32 = 4,
    Uint64 = 5,
    Int8 = 6,
    Int16 = 7,
    Int32 = 8,
    Int64 = 9,
    Fp16 = 10,
    Fp32 = 11,
    Fp64 = 12,
    Bytes = 13,
    Bf16 = 14,
}

/// type, name in config.pbtxt, bytes of one element (0: variable), ONNX's C enumeration, `ort`'s enumeration
const TABLE: [(DataType, &str, usize, Onnx, Element); 14] = [
    (DataType::Bool, "TYPE_BOOL", 1, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, Element::Bool),
    (DataType::Uint8, "TYPE_UINT8", 1, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, Element::Uint8),
    (DataType::Uint16, "TYPE_UINT16", 2, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, Element::Uint16),
    (DataType::Uint32, "TYPE_UINT32", 4, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32, Element::Uint32),
    (DataType::Uint64, "TYPE_UINT64", 8, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64, Element::Uint64),
    (DataType::Int8, "TYPE_INT8", 1, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, Element::Int8),
    (DataType::Int16, "TYPE_INT16", 2, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16, Element::Int16),
    (DataType::Int32, "TYPE_INT32", 4, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, Element::Int32),
    (DataType::Int64, "TYPE_INT64", 8, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, Element::Int64),
    (DataType::Fp16, "TYPE_FP16", 2, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, Element::Float16),
    (DataType::Fp32, "TYPE_FP32", 4, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, Element::Float32),
    (DataType::Fp64, "TYPE_FP64", 8, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, Element::Float64),
    (DataType::Bytes, "TYPE_STRING", 0, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, Element::String),
    (DataType::Bf16, "TYPE_BF16", 2, Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, Element::Bfloat16),
];

impl DataType {
    pub fn from_triton(value: i32) -> Option<Self> {
        TABLE.iter().map(|row| row.0).find(|t| *t as i32 == value)
    }

    pub fn from_config(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    pub fn from_onnx(value: Onnx) -> Option<Self> {
        TABLE.iter().find(|row| row.3 == value).map(|row| row.0)
    }

    pub fn from_element(value: Element) -> Option<Self> {
        TABLE.iter().find(|row| row.4 == value).map(|row| row.0)
    }

    fn row(self) -> &'static (DataType, &'static str, usize, Onnx, Element) {
        &TABLE[self as usize - 1]
    }

    pub fn config_name(self) -> &'static str {
        self.row().1
    }

    /// Bytes of one element; `None` for strings, whose elements have no fixed size.
    pub fn size(self) -> Option<usize> {
        (self.row().2 > 0).then_some(self.row().2)
    }

    pub fn onnx(self) -> Onnx {
        self.row().3
    }
}

/// The number of elements of a concrete shape; `None` when a dimension is negative or the product overflows.
pub fn element_count(shape: &[i64]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, dim| product.checked_mul(usize::try_from(*dim).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_tritons_numbers() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index + 1);
            assert_eq!(DataType::from_triton(row.0 as i32), Some(row.0));
            assert_eq!(DataType::from_config(row.0.config_name()), Some(row.0));
            assert_eq!(DataType::from_onnx(row.0.onnx()), Some(row.0));
        }
        assert_eq!(DataType::from_triton(0), None);
        assert_eq!(DataType::from_triton(15), None);
    }

    #[test]
    fn element_count_refuses_what_cannot_be_counted() {
        assert_eq!(element_count(&[]), Some(1));
        assert_eq!(element_count(&[3, 0, 5]), Some(0));
        assert_eq!(element_count(&[2, -1]), None);
        assert_eq!(element_count(&[i64::MAX, i64::MAX]), None);
    }
}
