//! Charter: the tap's folder: its layout, what a crash left there, and how much the segments take on disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Failure, Result};

pub const PART: &str = "tap.part";
pub const COMPLETE: &str = "tap";

pub fn segments(folder: &Path) -> PathBuf {
    folder.join("segments")
}

pub fn segment(folder: &Path, pid: u32, sequence: u64, suffix: &str) -> PathBuf {
    segments(folder).join(format!("{pid}-{sequence:08}.{suffix}"))
}

/// Makes the folders, and hands segments that a dead server left unfinished to the reader, which stands a cut end.
pub fn prepare(folder: &Path) -> Result<()> {
    let about = |error: std::io::Error| {
        Failure::internal(format!(
            "TIDEMILL_TAP_DIR {}: {error}; it must be a folder that can be written",
            folder.display()
        ))
    };
    fs::create_dir_all(segments(folder)).map_err(about)?;
    for file in fs::read_dir(segments(folder)).map_err(about)? {
        let path = file.map_err(about)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((pid, _)) = parse(&name).filter(|_| name.ends_with(PART)) else { continue };
        if pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists() {
            fs::rename(&path, path.with_extension("")).map_err(about)?;
        }
    }
    Ok(())
}

/// The first number that no segment of this process has: a restarted container often has the same pid.
pub fn first_sequence(folder: &Path, pid: u32) -> u64 {
    let files = fs::read_dir(segments(folder)).into_iter().flatten().flatten();
    let names = files.filter_map(|file| parse(&file.file_name().to_string_lossy()));
    names.filter(|(owner, _)| *owner == pid).map(|(_, sequence)| sequence + 1).max().unwrap_or(0)
}

/// `<pid>-<sequence>.tap` and `<pid>-<sequence>.tap.part`
fn parse(name: &str) -> Option<(u32, u64)> {
    let (stem, suffix) = name.split_once('.')?;
    let (pid, sequence) = stem.split_once('-')?;
    (suffix == PART || suffix == COMPLETE).then_some(())?;
    Some((pid.parse().ok()?, sequence.parse().ok()?))
}

/// Bytes of all segments, finished or not.
pub fn used(folder: &Path) -> u64 {
    let files = fs::read_dir(segments(folder)).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|found| found.len()).sum()
}

/// Writes a small file so that a reader sees either the old or the new one.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let about = |error: std::io::Error| Failure::internal(format!("{}: {error}", path.display()));
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, content).map_err(about)?;
    fs::rename(&temporary, path).map_err(about)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(parse("7-00000012.tap"), Some((7, 12)));
        assert_eq!(parse("7-00000012.tap.part"), Some((7, 12)));
        assert_eq!(parse("7-12.tmp"), None);
        assert_eq!(parse("x-12.tap"), None);
    }
}
