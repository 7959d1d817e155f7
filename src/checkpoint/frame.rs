//! Records in files: a header that says what follows, and both under checksums.
//!
//! ```text
//! byte  0  "MFsr"
//!       4  kind
//!       5  version of the payload's layout
//!       6  0, 0
//!       8  length of the payload, u32
//!      12  CRC-32 of the payload
//!      16  bytes of the file that were durable when this record was written, u64
//!      24  0, 0, 0, 0
//!      28  CRC-32 of the header up to here
//!      32  payload
//! ```
//! Numbers are little-endian. A bad record at the end of a file is most often one that a crash has torn: it was never
//! durable. It is damage when a later record says that it had been durable.

use crate::checkpoint::problem::{damaged, too_new, trouble};
use crate::checkpoint::volume::Volume;
use crate::error::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;

/// What a record is. Numbers are stored: none is ever given another meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The first of a file of the tick log.
    LogBegin = 1,
    /// A committed tick.
    Commit = 2,
    /// A bounded run is complete.
    Complete = 3,
    /// The first of a file of the spool.
    SpoolBegin = 4,
    /// Lines of a tick.
    Chunk = 5,
    /// The first of a segment.
    SegmentBegin = 6,
    /// The head of a manifest.
    Manifest = 7,
    /// Where saved state stands.
    Table = 8,
}

impl Kind {
    const ALL: [Kind; 8] = [
        Kind::LogBegin,
        Kind::Commit,
        Kind::Complete,
        Kind::SpoolBegin,
        Kind::Chunk,
        Kind::SegmentBegin,
        Kind::Manifest,
        Kind::Table,
    ];
}

/// Version of the layouts of all payloads.
pub const VERSION: u8 = 1;
/// Bytes of a header.
pub const HEADER: usize = 32;
const MAGIC: &[u8; 4] = b"MFsr";

/// Appends a record whose payload is `parts`, one behind the other. `durable`: how much of the file is known to be durable.
///
/// # Panics
/// When the payload has 4 GiB or more.
pub fn push(kind: Kind, durable: u64, parts: &[&[u8]], out: &mut Vec<u8>) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length).expect("a record is shorter than 4 GiB");
    let mut crc = crc32fast::Hasher::new();
    parts.iter().for_each(|part| crc.update(part));
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(MAGIC);
    header[4] = kind as u8;
    header[5] = VERSION;
    header[8..12].copy_from_slice(&length.to_le_bytes());
    header[12..16].copy_from_slice(&crc.finalize().to_le_bytes());
    header[16..24].copy_from_slice(&durable.to_le_bytes());
    let crc = crc32fast::hash(&header[..28]);
    header[28..].copy_from_slice(&crc.to_le_bytes());
    out.reserve(HEADER + length as usize);
    out.extend_from_slice(&header);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Appends a record whose payload is JSON.
pub fn push_json<T: Serialize>(kind: Kind, durable: u64, payload: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    let json = serde_json::to_vec(payload).map_err(|error| Error::internal(format!("{kind:?} as JSON: {error}")))?;
    push(kind, durable, &[&json], out);
    Ok(())
}

/// A header that is as it was written.
#[derive(Clone, Copy)]
struct Header {
    kind: u8,
    version: u8,
    length: u32,
    crc: u32,
    durable: u64,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if &bytes[..4] != MAGIC || crc32fast::hash(&bytes[..28]) != word(28) {
            return None;
        }
        let durable = u64::from(word(16)) | u64::from(word(20)) << 32;
        Some(Header { kind: bytes[4], version: bytes[5], length: word(8), crc: word(12), durable })
    }

    fn end(&self) -> usize {
        HEADER + self.length as usize
    }
}

/// A record.
#[derive(Clone, PartialEq, Debug)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Offset of its header.
    pub at: u64,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Reads a payload that is JSON.
    pub fn json<T: DeserializeOwned>(&self, place: &str) -> Result<T, Error> {
        serde_json::from_slice(&self.payload).map_err(|error| damaged(place, self.at, format!("{:?}: {error}", self.kind)))
    }

    /// Offset behind it.
    pub fn end(&self) -> u64 {
        self.at + (HEADER + self.payload.len()) as u64
    }
}

/// What stands at a place in a file.
#[derive(Clone, PartialEq, Debug)]
pub enum Next {
    /// A record.
    Frame(Frame),
    /// Nothing: the end of the file.
    End,
    /// Something that is no record, or not all of one.
    Bad(String),
}

/// Reads the records of a file one after the other, up to the end that it had, or to a given one.
pub struct Frames<'a> {
    volume: &'a dyn Volume,
    name: String,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    from: usize,
    bytes_read: u64,
}

/// Bytes that are read at a time.
const STEP: u64 = 1 << 20;

impl<'a> Frames<'a> {
    /// Reads `name` from the offset `from` on, to `end` if it is given.
    pub fn open(volume: &'a dyn Volume, name: &str, from: u64, end: Option<u64>) -> Result<Frames<'a>, Error> {
        let length = volume.length(name).map_err(|error| trouble("read", volume.place(name), &error))?;
        let end = end.map_or(length, |end| end.min(length));
        let name = name.to_owned();
        Ok(Frames { volume, name, at: from, end, buffer: Vec::new(), from: 0, bytes_read: 0 })
    }

    /// Offset of the next record.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// How messages name the file.
    pub fn place(&self) -> String {
        self.volume.place(&self.name)
    }

    /// The next record. After [`Next::Bad`] and [`Next::End`] it stays where it is.
    pub fn read(&mut self) -> Result<Next, Error> {
        self.fill(HEADER)?;
        if self.rest().is_empty() {
            return Ok(Next::End);
        }
        let Some(header) = Header::parse(self.rest()) else {
            let found = if self.rest().len() < HEADER { "the file ends in a header" } else { "no header of a record" };
            return Ok(Next::Bad(found.to_owned()));
        };
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == header.kind);
        let Some(kind) = kind.filter(|_| header.version == VERSION) else {
            let kind = kind.map_or(format!("a record of kind {}", header.kind), |kind| format!("{kind:?}"));
            return Err(too_new(self.place(), self.at, &kind, header.version));
        };
        self.fill(header.end())?;
        let Some(payload) = self.rest().get(HEADER..header.end()) else {
            return Ok(Next::Bad(format!("the file ends in a record of {} bytes", header.end())));
        };
        if crc32fast::hash(payload) != header.crc {
            return Ok(Next::Bad("the checksum of a record is wrong".to_owned()));
        }
        let frame = Frame { kind, at: self.at, payload: payload.to_vec() };
        self.from += header.end();
        self.at += header.end() as u64;
        Ok(Next::Frame(frame))
    }

    /// Whether a later record says that what stands here had been durable.
    pub fn was_durable(&mut self) -> Result<bool, Error> {
        let rest = (self.end - self.at) as usize;
        self.fill(rest)?;
        let (at, rest) = (self.at, self.rest());
        let found = memchr::memmem::find_iter(rest, MAGIC).any(|from| {
            let Some(header) = Header::parse(&rest[from..]) else { return false };
            let payload = rest[from..].get(HEADER..header.end());
            header.durable > at && payload.is_some_and(|payload| crc32fast::hash(payload) == header.crc)
        });
        Ok(found)
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.from..]
    }

    /// Has at least `length` bytes at hand, if the file has.
    fn fill(&mut self, length: usize) -> Result<(), Error> {
        let have = self.buffer.len() - self.from;
        let left = self.end.saturating_sub(self.at + have as u64);
        if have >= length || left == 0 {
            return Ok(());
        }
        self.buffer.drain(..self.from);
        self.from = 0;
        let wanted = ((length - have) as u64).max(STEP).min(left);
        let more = self.volume.read(&self.name, self.at + have as u64, wanted).map_err(|error| self.trouble(&error))?;
        self.bytes_read += more.len() as u64;
        self.buffer.extend_from_slice(&more);
        Ok(())
    }

    fn trouble(&self, error: &io::Error) -> Error {
        trouble("read", self.place(), error)
    }
}
