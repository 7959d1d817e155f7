//! Turns results into the bytes of a sink.
//!
//! * Computes: lines, in the order in which the results come.
//! * Time: none.
//! * Emits: at the end of a tick, or when a chunk is full.
//! * Late and duplicate input: encodes what it is given.
//! * Keeps: nothing from tick to tick.

use crate::drivers::apply::Logic;
use crate::drivers::publish::Made;
use crate::model::control::{Close, Counts};

/// Appends the lines of some results and returns how many there are.
pub type Lines<B> = Box<dyn FnMut(&B, &mut Vec<u8>) -> u64>;

/// Bytes after which a chunk goes on.
const CHUNK: usize = 1 << 20;

/// The logic of the step.
pub struct Encode<B> {
    sink: String,
    worker: u32,
    lines: Lines<B>,
    buffer: Vec<u8>,
    count: u64,
}

impl<B> Encode<B> {
    /// Encodes for the sink `sink` on worker `worker`.
    pub fn new(sink: &str, worker: u32, lines: Lines<B>) -> Encode<B> {
        Encode { sink: sink.to_owned(), worker, lines, buffer: Vec::new(), count: 0 }
    }
}

impl<B> Logic<B, Made<Vec<u8>>> for Encode<B> {
    fn data(&mut self, results: B, out: &mut Vec<Made<Vec<u8>>>) {
        self.count += (self.lines)(&results, &mut self.buffer);
        if self.buffer.len() > CHUNK {
            out.push(Made { worker: self.worker, part: std::mem::take(&mut self.buffer) });
        }
    }

    fn close(&mut self, _: &Close, out: &mut Vec<Made<Vec<u8>>>, counts: &mut Counts) -> bool {
        if !self.buffer.is_empty() {
            out.push(Made { worker: self.worker, part: std::mem::take(&mut self.buffer) });
        }
        if self.count > 0 {
            counts.lines.insert(self.sink.clone(), std::mem::take(&mut self.count));
        }
        true
    }
}
