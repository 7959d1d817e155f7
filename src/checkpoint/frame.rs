//! Records of a file: kind, version, length and checksum in front of a payload.
//!
//! `F5 | kind: u8 | version: u16 | length: u32 | crc32: u32 | payload`, numbers little-endian. The checksum covers
//! everything but the first byte and itself.

use std::fmt;

/// First byte of every record.
const MARK: u8 = 0xf5;
/// Bytes in front of a payload.
pub const HEAD: usize = 12;

/// What a record is. The numbers are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Who wrote a log file, and what its job is.
    LogHead = 1,
    /// A tick is committed.
    Commit = 2,
    /// A bounded run is complete: everything has been shown.
    Complete = 3,
    /// Who wrote a spool.
    SpoolHead = 4,
    /// Lines of a tick for a file.
    Lines = 5,
    /// State of a step.
    State = 6,
    /// What a snapshot is.
    Manifest = 7,
    /// Where the state of a snapshot stands.
    Table = 8,
}

impl Kind {
    const ALL: [Kind; 8] = [
        Kind::LogHead,
        Kind::Commit,
        Kind::Complete,
        Kind::SpoolHead,
        Kind::Lines,
        Kind::State,
        Kind::Manifest,
        Kind::Table,
    ];

    /// The version that this program writes, and the newest that it reads.
    pub fn version(self) -> u16 {
        1
    }
}

/// Appends a record whose payload consists of `parts`.
pub fn put(kind: Kind, parts: &[&[u8]], out: &mut Vec<u8>) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length).expect("a record has less than 4 GiB");
    let mut head = [0; HEAD];
    head[0] = MARK;
    head[1] = kind as u8;
    head[2..4].copy_from_slice(&kind.version().to_le_bytes());
    head[4..8].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(&head, parts);
    head[8..12].copy_from_slice(&crc.to_le_bytes());
    out.reserve(HEAD + length as usize);
    out.extend_from_slice(&head);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn checksum(head: &[u8], parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[1..8]);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// A record.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// What it holds.
    pub payload: &'a [u8],
    /// Where it begins in the bytes that are read.
    pub at: usize,
    /// Where the next one begins.
    pub end: usize,
}

/// Why there is no record where one should be.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// The bytes end within a record, or what is there is none, and no record follows.
    Torn,
    /// What is there is no record, but one follows: something has been changed.
    Flipped,
    /// A record of a later program.
    Newer(u8, u16),
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fault::Torn => write!(out, "the record there is incomplete"),
            Fault::Flipped => write!(out, "the record there is damaged, and valid ones follow"),
            Fault::Newer(kind, version) => {
                write!(out, "a later version of meterflow has written it (record kind {kind}, version {version})")
            }
        }
    }
}

/// The records in some bytes.
pub struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    /// Reads records from the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Frames<'a> {
        Frames { bytes, at: 0 }
    }

    /// How far has been read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next record; none at the end.
    pub fn next(&mut self) -> Result<Option<Frame<'a>>, Fault> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        match frame(self.bytes, self.at) {
            Ok(frame) => {
                self.at = frame.end;
                Ok(Some(frame))
            }
            Err(Some(newer)) => Err(newer),
            Err(None) if self.is_followed() => Err(Fault::Flipped),
            Err(None) => Err(Fault::Torn),
        }
    }

    /// Whether a valid record begins anywhere behind this place.
    fn is_followed(&self) -> bool {
        memchr::memchr_iter(MARK, &self.bytes[self.at + 1..])
            .any(|found| !matches!(frame(self.bytes, self.at + 1 + found), Err(None)))
    }
}

/// The record that begins at `at`; with its checksum right, but unknown, it is of a later version.
fn frame(bytes: &[u8], at: usize) -> Result<Frame<'_>, Option<Fault>> {
    let rest = &bytes[at..];
    let head = rest.get(..HEAD).filter(|head| head[0] == MARK).ok_or(None)?;
    let number = |from: usize| u32::from_le_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]]);
    let payload = rest[HEAD..].get(..number(4) as usize).ok_or(None)?;
    if checksum(head, &[payload]) != number(8) {
        return Err(None);
    }
    let version = u16::from_le_bytes([head[2], head[3]]);
    let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == head[1] && version <= kind.version());
    let kind = kind.ok_or(Some(Fault::Newer(head[1], version)))?;
    Ok(Frame { kind, payload, at, end: at + HEAD + payload.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn three() -> Vec<u8> {
        let mut bytes = Vec::new();
        put(Kind::LogHead, &[b"{}"], &mut bytes);
        put(Kind::Commit, &[b"one", b"two"], &mut bytes);
        put(Kind::Complete, &[], &mut bytes);
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<(Kind, Vec<u8>)>, Option<Fault>) {
        let (mut frames, mut all) = (Frames::new(bytes), Vec::new());
        loop {
            match frames.next() {
                Ok(Some(frame)) => all.push((frame.kind, frame.payload.to_vec())),
                Ok(None) => return (all, None),
                Err(fault) => return (all, Some(fault)),
            }
        }
    }

    #[test]
    fn what_is_put_is_read() {
        let wanted = [(Kind::LogHead, b"{}".to_vec()), (Kind::Commit, b"onetwo".to_vec()), (Kind::Complete, vec![])];
        assert_eq!(read(&three()), (wanted.to_vec(), None));
    }

    #[test]
    fn a_later_version_is_said() {
        let mut bytes = three();
        bytes[2] = 2;
        let crc = checksum(&bytes[..HEAD], &[b"{}"]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read(&bytes).1, Some(Fault::Newer(1, 2)));
    }

    proptest! {
        #[test]
        fn a_cut_is_torn_and_a_flip_is_noticed(cut in 0usize..49, flip in 0usize..49, bit in 0u8..8) {
            let whole = three();
            prop_assert_eq!(whole.len(), 3 * HEAD + 8);
            let (cut, flip) = (cut % whole.len(), flip % whole.len());
            let starts = [0, HEAD + 2, 2 * HEAD + 8];
            let expected = (!starts.contains(&cut)).then_some(Fault::Torn);
            prop_assert_eq!(read(&whole[..cut]).1, expected);
            let mut flipped = whole.clone();
            flipped[flip] ^= 1 << bit;
            let last = flip >= 2 * HEAD + 8;
            prop_assert_eq!(read(&flipped).1, Some(if last { Fault::Torn } else { Fault::Flipped }));
        }
    }
}
