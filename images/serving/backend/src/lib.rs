//! Charter: a Triton backend named `onnxruntime`, a drop-in for NVIDIA's on CPU nodes.
//!
//! Triton loads this library as `libtriton_onnxruntime.so` and calls the functions of [`entry`]. A model is one ONNX
//! Runtime session shared by all of its instances; requests are run with inputs borrowed from Triton's buffers. The
//! [`tap`] copies a sampled share of the requests and their answers to files, off the request path.

mod autocomplete;
mod backend;
mod batch;
mod config;
mod datatypes;
mod entry;
mod error;
mod ffi;
mod graph;
mod housekeeper;
mod instance;
mod library;
mod memory;
mod model;
mod options;
mod outputs;
mod request;
mod response;
mod session;
mod stats;
mod tap;
mod validate;
mod value;
