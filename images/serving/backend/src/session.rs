//! Charter: finding libonnxruntime and opening one ONNX file as a session.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::ep;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::Session;

use crate::error::{Code, Failure, Result};
use crate::options::{Level, Options};

pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Loads libonnxruntime once: from `ORT_DYLIB_PATH`, else from a `libonnxruntime.so*` in the backend's own folder.
pub fn load_library(backend_folder: &Path) -> Result<PathBuf> {
    static LOADED: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = LOADED.get() {
        return Ok(path.clone());
    }
    let path = find_library(backend_folder)?;
    let builder = ort::init_from(&path).map_err(|error| {
        Failure::new(Code::Unavailable, format!("cannot load {}: {}", path.display(), error.message()))
    })?;
    builder.with_name("triton").with_telemetry(false).commit();
    Ok(LOADED.get_or_init(|| path).clone())
}

fn find_library(folder: &Path) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(LIBRARY_VARIABLE).filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.filter(|file| file.file_name().to_string_lossy().starts_with("libonnxruntime.so"));
    names.map(|file| file.path()).max().ok_or_else(|| {
        Failure::new(
            Code::Unavailable,
            format!("no libonnxruntime.so* in {}; put it there or set {LIBRARY_VARIABLE}", folder.display()),
        )
    })
}

/// Opens the model; by path, so that external data files beside it are found.
pub fn open(path: &Path, options: &Options) -> Result<Session> {
    if !path.is_file() {
        return Err(Failure::new(Code::NotFound, "the file does not exist"));
    }
    let mut builder = configure(options).map_err(|failure| failure.about("session options"))?;
    builder.commit_from_file(path).map_err(|error| {
        // A file that cannot be opened is the user's to mend, whatever class ONNX Runtime gives the error.
        Failure::invalid(Failure::from(error).message)
    })
}

fn configure(options: &Options) -> Result<SessionBuilder> {
    let level = match options.level {
        Level::Disabled => GraphOptimizationLevel::Disable,
        Level::Basic => GraphOptimizationLevel::Level1,
        Level::Extended => GraphOptimizationLevel::Level2,
        Level::All => GraphOptimizationLevel::All,
    };
    let mut builder = Session::builder()?
        .with_execution_providers([ep::CPU::default().with_arena_allocator(options.arena).build()])?
        .with_intra_threads(options.intra_threads)?
        .with_inter_threads(options.inter_threads)?
        .with_parallel_execution(options.parallel)?
        .with_memory_pattern(options.memory_pattern)?
        .with_optimization_level(level)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?;
    for (key, value) in &options.entries {
        builder = builder.with_config_entry(key, value)?;
    }
    Ok(builder)
}
