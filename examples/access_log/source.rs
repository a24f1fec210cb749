//! Where the log comes from: a file, standard input, or the sample.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::lines::Lines;

/// A log that can be read, and what to say of the reading.
pub(crate) struct Source {
    pub lines: Lines<Box<dyn BufRead>>,
    /// Its size in bytes, where it has one that is known.
    pub size: Option<u64>,
    /// Whether nobody named a log, so that this is the sample.
    pub is_sample: bool,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read: {cause}", .path.display())]
pub(crate) struct SourceError {
    pub path: PathBuf,
    pub cause: io::Error,
}

impl Source {
    /// Opens the file, `-` for standard input, none for the sample. Waits until it has something
    /// to read or ends.
    pub(crate) fn open(file: Option<&Path>) -> Result<Self, SourceError> {
        let Some(path) = file else {
            let lines = Lines::new(Box::new(SAMPLE) as Box<dyn BufRead>);
            return Ok(Self {
                lines,
                size: Some(SAMPLE.len() as u64),
                is_sample: true,
            });
        };
        let failed = |cause| SourceError {
            path: path.to_owned(),
            cause,
        };
        let (input, size): (Box<dyn BufRead>, _) = if path == Path::new("-") {
            (
                Box::new(BufReader::with_capacity(BUFFER, io::stdin())),
                None,
            )
        } else {
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if metadata.is_dir() {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            // Pipes and devices have a size of 0, and more to read.
            let size = metadata.is_file().then_some(metadata.len());
            (Box::new(BufReader::with_capacity(BUFFER, file)), size)
        };
        let mut lines = Lines::new(input);
        lines.probe().map_err(failed)?;
        Ok(Self {
            lines,
            size,
            is_sample: false,
        })
    }
}

/// Some 200 lines that are made up; every address and name in them is reserved for documentation.
const SAMPLE: &[u8] = include_bytes!("sample.log");

/// Bytes per read.
const BUFFER: usize = 256 << 10;
