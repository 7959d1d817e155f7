//! Turns results into the bytes of a sink.
//!
//! * Computes: lines, in the order in which the results come.
//! * Time: none.
//! * Emits: at the end of a tick, or when a chunk is full.
//! * Late and duplicate input: encodes what it is given.
//! * Keeps: nothing from tick to tick.

use crate::drivers::apply::Logic;
use crate::drivers::keep::Lines;
use crate::drivers::publish::Made;
use crate::model::commit::LinesHash;
use crate::model::control::{Close, Counts};
use std::sync::Arc;

/// Appends the lines of some results and returns how many there are.
pub type LinesOf<B> = Box<dyn FnMut(&B, &mut Vec<u8>) -> u64>;

/// Bytes after which a chunk goes on.
const CHUNK: usize = 1 << 20;

/// The logic of the step.
pub struct Encode<B> {
    sink: String,
    worker: u32,
    lines: LinesOf<B>,
    hash: Option<HashOf>,
    buffer: Vec<u8>,
    rows: u64,
    count: u64,
}

/// Hashes a chunk of lines, whatever their order.
pub type HashOf = fn(&[u8]) -> LinesHash;

impl<B> Encode<B> {
    /// Encodes for the sink `sink` on worker `worker`, with a hash if it is wanted.
    pub fn new(sink: &str, worker: u32, lines: LinesOf<B>, hash: Option<HashOf>) -> Encode<B> {
        Encode { sink: sink.to_owned(), worker, lines, hash, buffer: Vec::new(), rows: 0, count: 0 }
    }

    fn chunk(&mut self) -> Made<Lines> {
        let bytes = std::mem::take(&mut self.buffer);
        let hash = self.hash.map_or(LinesHash::default(), |hash| hash(&bytes));
        let part = Lines { bytes: Arc::new(bytes.into()), rows: std::mem::take(&mut self.rows), hash };
        Made { worker: self.worker, part }
    }
}

impl<B> Logic<B, Made<Lines>> for Encode<B> {
    fn data(&mut self, results: B, out: &mut Vec<Made<Lines>>) {
        let rows = (self.lines)(&results, &mut self.buffer);
        self.rows += rows;
        self.count += rows;
        if self.buffer.len() > CHUNK {
            out.push(self.chunk());
        }
    }

    fn close(&mut self, _: &Close, out: &mut Vec<Made<Lines>>, counts: &mut Counts) -> bool {
        if !self.buffer.is_empty() {
            out.push(self.chunk());
        }
        if self.count > 0 {
            counts.lines.insert(self.sink.clone(), std::mem::take(&mut self.count));
        }
        true
    }
}
