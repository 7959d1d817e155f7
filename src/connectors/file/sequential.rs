//! Anything that can only be read in order: compressed files, standard input. Cut into the same blocks as a plain file.

use crate::connectors::file::{Cut, read_up_to};
use crate::connectors::{Block, Blocks};
use crate::model::dead::RAW_LIMIT;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A reader that is cut into blocks as it goes.
pub struct Sequential {
    state: Mutex<State>,
    cut: Cut,
}

struct State {
    reader: Box<dyn Read + Send>,
    /// Bytes that have been read and not yet handed out; the first one is at `base`.
    carry: Vec<u8>,
    base: u64,
    ended: bool,
    next: u64,
    /// Blocks that were passed on the way to a later one that was asked for first.
    passed: BTreeMap<u64, Block>,
}

const CHUNK: usize = 64 << 10;

impl Sequential {
    /// Cuts what `reader` reads.
    pub fn new(reader: Box<dyn Read + Send>, cut: Cut) -> Sequential {
        let passed = BTreeMap::new();
        let state = State { reader, carry: Vec::new(), base: 0, ended: false, next: 0, passed };
        Sequential { state: Mutex::new(state), cut }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Reads another chunk; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let start = self.carry.len();
        self.carry.resize(start + CHUNK, 0);
        let more = read_up_to(&mut *self.reader, &mut self.carry[start..]);
        self.carry.truncate(start + *more.as_ref().unwrap_or(&0));
        self.ended = more? < CHUNK;
        Ok(self.carry.len() > start)
    }

    /// Takes the lines that start before `end`. The carry always begins at the start of a line.
    fn take(&mut self, end: u64, longest_held: usize, into: &mut Block) -> io::Result<()> {
        into.clear(self.base);
        while self.base + (self.carry.len() as u64) < end && self.fill()? {}
        let inside = end.saturating_sub(self.base).min(self.carry.len() as u64) as usize;
        if inside > 0 {
            let line = memchr::memrchr(b'\n', &self.carry[..inside - 1]).map_or(0, |at| at + 1);
            let mut seen = inside - 1;
            loop {
                if let Some(feed) = memchr::memchr(b'\n', &self.carry[seen..]) {
                    self.hand_out(seen + feed + 1, into);
                    break;
                }
                seen = self.carry.len();
                if seen - line > longest_held {
                    self.skip_long_line(line, into)?;
                    break;
                }
                if !self.fill()? {
                    self.hand_out(seen, into);
                    break;
                }
            }
        }
        into.end = self.base;
        if self.carry.is_empty() {
            self.fill()?;
        }
        into.is_last = self.ended && self.carry.is_empty();
        Ok(())
    }

    fn hand_out(&mut self, length: usize, into: &mut Block) {
        into.grow(length).copy_from_slice(&self.carry[..length]);
        self.carry.drain(..length);
        self.base += length as u64;
    }

    /// Hands out what is kept of a line that is too long, and reads over the rest without holding it.
    fn skip_long_line(&mut self, line: usize, into: &mut Block) -> io::Result<()> {
        let start = self.base + line as u64;
        let kept = line + RAW_LIMIT;
        into.grow(kept).copy_from_slice(&self.carry[..kept]);
        let mut before = None;
        loop {
            before = self.carry.last().copied().or(before);
            self.base += self.carry.len() as u64;
            self.carry.clear();
            if !self.fill()? {
                into.last_line = Some(self.base - start);
                return Ok(());
            }
            if let Some(feed) = memchr::memchr(b'\n', &self.carry) {
                // A carriage return before the line feed is not part of the record.
                let before = if feed == 0 { before } else { Some(self.carry[feed - 1]) };
                into.last_line = Some(self.base + feed as u64 - u64::from(before == Some(b'\r')) - start);
                self.carry.drain(..=feed);
                self.base += feed as u64 + 1;
                return Ok(());
            }
        }
    }
}

impl Blocks for Sequential {
    fn size(&self) -> Option<u64> {
        None
    }

    fn peek(&self, at_most: usize) -> io::Result<Vec<u8>> {
        let mut state = self.lock();
        while state.carry.len() < at_most && state.fill()? {}
        Ok(state.carry[..at_most.min(state.carry.len())].to_vec())
    }

    fn skip(&mut self, bytes: u64) {
        let mut state = self.lock();
        let length = (bytes as usize).min(state.carry.len());
        state.carry.drain(..length);
        state.base += length as u64;
    }

    fn start_at(&mut self, block: u64) -> io::Result<()> {
        let mut state = self.lock();
        let mut passed = Block::default();
        while state.next < block {
            let end = (state.next + 1) * self.cut.block;
            state.take(end, self.cut.longest_held(), &mut passed)?;
            state.next += 1;
        }
        Ok(())
    }

    fn read(&self, block: u64, into: &mut Block) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(passed) = state.passed.remove(&block) {
            *into = passed;
            return Ok(());
        }
        while state.next < block {
            let mut early = Block::default();
            let number = state.next;
            state.take((number + 1) * self.cut.block, self.cut.longest_held(), &mut early)?;
            state.passed.insert(number, early);
            state.next += 1;
        }
        state.next = block + 1;
        state.take((block + 1) * self.cut.block, self.cut.longest_held(), into)
    }
}
