//! Charter: one segment file: header, then frames; written as `.tap.part`, renamed when complete.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::columns::pad;
use super::folder;
use super::record::unix_ns;
use crate::error::{Failure, Result};

pub const MAGIC: &[u8; 8] = b"TIDETAP\0";
pub const VERSION: u16 = 1;
pub const HEADER: u16 = 40;
const SCHEMA: u32 = 1;
const BLOCK: u32 = 2;
const FRAME_HEADER: usize = 16;

pub struct Segment {
    file: File,
    part: PathBuf,
    complete: PathBuf,
    pub opened: Instant,
    pub length: u64,
    schemas: u32,
}

impl Segment {
    pub fn create(root: &Path, pid: u32, sequence: u64) -> Result<Self> {
        let part = folder::segment(root, pid, sequence, folder::PART);
        let about = |error: std::io::Error| Failure::internal(format!("{}: {error}", part.display()));
        let mut header = Vec::with_capacity(usize::from(HEADER));
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&HEADER.to_le_bytes());
        header.extend_from_slice(&pid.to_le_bytes());
        header.extend_from_slice(&sequence.to_le_bytes());
        header.extend_from_slice(&unix_ns().to_le_bytes());
        header.resize(usize::from(HEADER), 0);
        let mut file = File::options().write(true).create_new(true).open(&part).map_err(about)?;
        file.write_all(&header).map_err(about)?;
        let complete = folder::segment(root, pid, sequence, folder::COMPLETE);
        Ok(Self { file, part, complete, opened: Instant::now(), length: u64::from(HEADER), schemas: 0 })
    }

    /// What a block of `body` bytes, and its schema when that is new here, add to the file.
    pub fn cost(body: usize, schema: Option<&[u8]>) -> u64 {
        let frame = |length: usize| (FRAME_HEADER + length.next_multiple_of(8)) as u64;
        frame(body) + schema.map_or(0, |bytes| frame(bytes.len()))
    }

    /// Appends a block; writes the schema before it when `schema_id` is `None`, and gives the schema's id.
    pub fn append(&mut self, schema_id: Option<u32>, schema: &[u8], body: &[u8]) -> Result<u32> {
        let id = schema_id.unwrap_or(self.schemas);
        let mut bytes = Vec::with_capacity(2 * FRAME_HEADER + schema.len() + body.len() + 16);
        if schema_id.is_none() {
            append_frame(&mut bytes, SCHEMA, id, schema);
        }
        append_frame(&mut bytes, BLOCK, id, body);
        if let Err(error) = self.file.write_all(&bytes) {
            // Half a frame would hide what comes after it; a failing cut is seen by the reader as the file's end.
            let cut = self.file.set_len(self.length).err().map_or(String::new(), |e| format!("; cannot cut it: {e}"));
            return Err(Failure::internal(format!("{}: {error}{cut}", self.part.display())));
        }
        self.schemas += u32::from(schema_id.is_none());
        self.length += bytes.len() as u64;
        Ok(id)
    }

    /// Hands the segment to the reader.
    pub fn finish(self) -> Result<()> {
        drop(self.file);
        fs::rename(&self.part, &self.complete)
            .map_err(|error| Failure::internal(format!("{}: {error}", self.part.display())))
    }
}

fn append_frame(bytes: &mut Vec<u8>, kind: u32, schema_id: u32, body: &[u8]) {
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&schema_id.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(body);
    pad(bytes);
}
