//! Reading and writing state as bytes: little-endian numbers and columns of plain values with their length in front.

use bytemuck::Pod;
use std::fmt;

/// Bytes that are not what the state's kind and version promise.
#[derive(Debug, PartialEq, Eq)]
pub struct Corrupt(
    /// What was expected and what was found.
    pub String,
);

impl fmt::Display for Corrupt {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "stored state cannot be read: {}", self.0)
    }
}

impl std::error::Error for Corrupt {}

/// Appends values to a buffer.
#[derive(Default, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the bytes out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Forgets all bytes and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends one plain value.
    pub fn value<T: Pod>(&mut self, value: T) {
        self.bytes.extend_from_slice(bytemuck::bytes_of(&value));
    }

    /// Appends what `write` does, as a column of bytes, and returns whether that is anything; without any, nothing is
    /// appended, not even what `before` writes in front.
    pub fn nested(&mut self, before: impl FnOnce(&mut Writer), write: impl FnOnce(&mut Writer)) -> bool {
        let start = self.bytes.len();
        before(self);
        self.value(0u64);
        let from = self.bytes.len();
        write(self);
        let length = (self.bytes.len() - from) as u64;
        if length == 0 {
            self.bytes.truncate(start);
            return false;
        }
        self.bytes[from - size_of::<u64>()..from].copy_from_slice(&length.to_le_bytes());
        true
    }

    /// Appends many short lists as one column.
    pub fn lists<T: Pod>(&mut self, lists: &[Vec<T>]) {
        let length: usize = lists.iter().map(Vec::len).sum();
        self.bytes.reserve((length + 1) * size_of::<T>());
        self.value(length as u64);
        for list in lists {
            self.bytes.extend_from_slice(bytemuck::cast_slice(list));
        }
    }

    /// Appends a column with its length in front.
    pub fn column<T: Pod>(&mut self, column: &[T]) {
        self.value(column.len() as u64);
        self.bytes.extend_from_slice(bytemuck::cast_slice(column));
    }
}

/// Takes values from the front of a buffer.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Whether all has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Corrupt> {
        if length > self.rest.len() {
            return Err(Corrupt(format!("{length} bytes expected, {} left", self.rest.len())));
        }
        let (front, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(front)
    }

    /// Takes one plain value.
    pub fn value<T: Pod>(&mut self) -> Result<T, Corrupt> {
        Ok(bytemuck::pod_read_unaligned(self.take(size_of::<T>())?))
    }

    /// Takes a column of bytes where it stands.
    pub fn bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let length: u64 = self.value()?;
        self.take(usize::try_from(length).map_err(|_| Corrupt(format!("a column of {length} bytes")))?)
    }

    /// Takes a column.
    pub fn column<T: Pod>(&mut self) -> Result<Vec<T>, Corrupt> {
        let length: u64 = self.value()?;
        let bytes = usize::try_from(length).ok().and_then(|length| length.checked_mul(size_of::<T>()));
        let bytes = bytes.ok_or_else(|| Corrupt(format!("a column of {length} elements")))?;
        Ok(bytemuck::allocation::pod_collect_to_vec(self.take(bytes)?))
    }

    /// Fails unless all has been read.
    pub fn finish(self) -> Result<(), Corrupt> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(Corrupt(format!("{more} bytes too many"))),
        }
    }
}
