//! Charter: opening one ONNX file as a session of ONNX Runtime.

use std::path::Path;

use ort::ep;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::Session;

use crate::error::{Code, Failure, Result};
use crate::options::{Level, Options};

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
