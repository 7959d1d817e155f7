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

    /// Appends one plain value.
    pub fn value<T: Pod>(&mut self, value: T) {
        self.bytes.extend_from_slice(bytemuck::bytes_of(&value));
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
