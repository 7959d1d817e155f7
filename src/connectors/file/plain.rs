//! A plain file: any thread can read any block, because a block's first line is found by looking one byte back.

use crate::connectors::file::Cut;
use crate::connectors::{Block, Blocks};
use crate::model::dead::RAW_LIMIT;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A plain file that is read in blocks.
pub struct PlainFile {
    file: File,
    bytes: u64,
    cut: Cut,
    /// Where the data begin.
    skip: u64,
}

/// Read behind the end of a block at first, since its last line nearly always ends there.
const SLACK: u64 = 4 << 10;
/// Read at a time when a line is longer than that.
const CHUNK: usize = 64 << 10;

impl PlainFile {
    /// Reads the first `bytes` bytes of `file`.
    pub fn new(file: File, bytes: u64, cut: Cut) -> PlainFile {
        PlainFile { file, bytes, cut, skip: 0 }
    }

    /// Appends bytes `[from, to)` of the file, as far as there are.
    fn append(&self, from: u64, to: u64, into: &mut Block) -> io::Result<()> {
        let length = to.min(self.bytes).saturating_sub(from) as usize;
        self.file.read_exact_at(into.grow(length), from)
    }

    /// Where the next line feed at or after `from` is, or the end of the file.
    fn line_feed(&self, mut from: u64) -> io::Result<u64> {
        let mut buffer = vec![0; CHUNK];
        while from < self.bytes {
            let length = (self.bytes - from).min(CHUNK as u64) as usize;
            self.file.read_exact_at(&mut buffer[..length], from)?;
            if let Some(at) = memchr::memchr(b'\n', &buffer[..length]) {
                return Ok(from + at as u64);
            }
            from += length as u64;
        }
        Ok(self.bytes)
    }

    /// Where the record ends whose line feed, or the end of the file, is at `end`: a carriage return is not part of it.
    fn record_end(&self, end: u64) -> io::Result<u64> {
        let mut before = [0];
        if end < self.bytes {
            self.file.read_exact_at(&mut before, end - 1)?;
        }
        Ok(end - u64::from(before == *b"\r"))
    }

    /// Reads on until the line that reaches over the end of the block is whole, or too long to be kept.
    fn finish_last_line(&self, into: &mut Block, line: usize) -> io::Result<()> {
        let mut seen = into.lines().len();
        loop {
            let at = into.base + into.lines().len() as u64;
            if at == self.bytes {
                into.end = at;
                return Ok(());
            }
            if into.lines().len() - line > self.cut.longest_held() {
                let end = self.line_feed(at)?;
                into.last_line = Some(self.record_end(end)? - (into.base + line as u64));
                into.end = (end + 1).min(self.bytes);
                into.truncate(line + RAW_LIMIT);
                return Ok(());
            }
            self.append(at, at + CHUNK as u64, into)?;
            if let Some(feed) = memchr::memchr(b'\n', &into.lines()[seen..]) {
                into.truncate(seen + feed + 1);
                into.end = into.base + into.lines().len() as u64;
                return Ok(());
            }
            seen = into.lines().len();
        }
    }
}

impl Blocks for PlainFile {
    fn size(&self) -> Option<u64> {
        Some(self.bytes)
    }

    fn peek(&self, at_most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (self.bytes - self.skip).min(at_most as u64) as usize];
        self.file.read_exact_at(&mut bytes, self.skip)?;
        Ok(bytes)
    }

    fn skip(&mut self, bytes: u64) {
        self.skip = bytes.min(self.bytes);
    }

    fn start_at(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, block: u64, into: &mut Block) -> io::Result<()> {
        let begin = (block * self.cut.block).max(self.skip);
        let end = ((block + 1) * self.cut.block).min(self.bytes);
        into.clear(begin);
        into.is_last = end == self.bytes;
        if begin >= end {
            return Ok(());
        }
        // The byte before tells whether a line starts at the very beginning.
        let look_back = u64::from(begin > self.skip);
        into.base = begin - look_back;
        self.append(into.base, end + SLACK, into)?;
        if look_back == 1 {
            let start = memchr::memchr(b'\n', into.lines()).map_or(u64::MAX, |at| into.base + at as u64 + 1);
            if start >= end {
                into.clear(end);
                into.is_last = end == self.bytes;
                return Ok(());
            }
            into.advance((start - into.base) as usize);
        }
        // The last line that starts in the block: behind the last line feed before its end.
        let inside = (end - into.base) as usize;
        let line = memchr::memrchr(b'\n', &into.lines()[..inside - 1]).map_or(0, |at| at + 1);
        match memchr::memchr(b'\n', &into.lines()[inside - 1..]) {
            Some(feed) => {
                into.truncate(inside + feed);
                into.end = into.base + into.lines().len() as u64;
                Ok(())
            }
            None => self.finish_last_line(into, line),
        }
    }
}
