//! Files as a source: one file, those of a pattern, or standard input; plain, gzip or zstd by their first bytes.
//!
//! Each file is a partition, named by its path relative to the fixed part of the pattern. Plain files are read by any
//! thread at any place; compressed files and standard input are read in order.

mod plain;
mod sequential;

use crate::codec::id::murmur3;
use crate::connectors::Blocks;
use crate::model::dead::RAW_LIMIT;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

pub use plain::PlainFile;
pub use sequential::Sequential;

/// The path that means standard input.
pub const STDIN: &str = "-";

/// A file that a source reads.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// Name of the partition.
    pub name: String,
    /// Where the file is.
    pub path: PathBuf,
    /// Its size on disk in bytes when it was listed; 0 for standard input.
    pub bytes: u64,
}

/// How blocks are cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Bytes of a block.
    pub block: u64,
    /// Longest line that is kept.
    pub max_record: usize,
}

impl Cut {
    /// Bytes of a line without a line feed among them beyond which no more of it is held: it cannot be a record (and a
    /// carriage return) then, and what a dead letter shows of it is there.
    fn longest_held(&self) -> usize {
        self.max_record.max(RAW_LIMIT) + 1
    }
}

/// The files that a path or pattern names, sorted by partition name.
pub fn list(pattern: &str) -> io::Result<Vec<Entry>> {
    if pattern == STDIN {
        return Ok(vec![Entry { name: STDIN.into(), path: STDIN.into(), bytes: 0 }]);
    }
    let fixed = fixed_part(pattern);
    let invalid = |error: glob::PatternError| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
    let mut entries = Vec::new();
    for path in glob::glob(pattern).map_err(invalid)? {
        let path = path.map_err(|error| io::Error::new(error.error().kind(), error.to_string()))?;
        let metadata = std::fs::metadata(&path)?;
        if metadata.is_file() {
            let name = path.strip_prefix(&fixed).unwrap_or(&path).to_string_lossy().into_owned();
            entries.push(Entry { name, path, bytes: metadata.len() });
        }
    }
    entries.sort();
    match entries.is_empty() {
        false => Ok(entries),
        true => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    }
}

/// The folder in front of the first component with a wildcard; for a plain path, the folder of the file.
fn fixed_part(pattern: &str) -> PathBuf {
    let wild = |part: &std::ffi::OsStr| part.to_string_lossy().contains(['*', '?', '[']);
    let path = Path::new(pattern);
    let parent = path.parent().unwrap_or(Path::new(""));
    parent.iter().take_while(|part| !wild(part)).collect()
}

/// Bytes at either end of a file that tell it from others.
const END: u64 = 64 << 10;

/// A hash of the first and last 64 KiB of a file as it is on disk.
pub fn fingerprint(entry: &Entry) -> io::Result<[u64; 2]> {
    use std::os::unix::fs::FileExt;
    let file = File::open(&entry.path)?;
    let mut bytes = vec![0; entry.bytes.min(END) as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let first = bytes.len();
    bytes.resize(2 * first, 0);
    file.read_exact_at(&mut bytes[first..], entry.bytes - first as u64)?;
    Ok(murmur3(&bytes, 0))
}

/// Opens a listed file.
pub fn open(entry: &Entry, cut: Cut) -> io::Result<Box<dyn Blocks>> {
    if entry.path == Path::new(STDIN) {
        return Ok(Box::new(Sequential::new(Box::new(io::stdin()), cut)));
    }
    let mut file = File::open(&entry.path)?;
    let mut magic = [0u8; 4];
    let length = read_up_to(&mut file, &mut magic)?;
    let magic = &magic[..length];
    if !magic.starts_with(&GZIP) && magic != ZSTD {
        return Ok(Box::new(PlainFile::new(file, entry.bytes, cut)));
    }
    let file = BufReader::with_capacity(128 << 10, File::open(&entry.path)?);
    let reader: Box<dyn Read + Send> = match magic == ZSTD {
        true => Box::new(zstd::Decoder::with_buffer(file)?),
        false => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
    };
    Ok(Box::new(Sequential::new(reader, cut)))
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Fills `buffer` as far as the reader goes.
fn read_up_to(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
