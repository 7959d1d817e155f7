//! Connectors: where readings come from and results go to. None of them knows timely.
//!
//! A bounded source offers [`Blocks`]: partitions cut into blocks of whole lines, so that any thread can decode any block.

pub mod archive;
pub mod file;
pub mod lines;
pub mod simulated;
pub mod store;

use std::io;

/// One partition of a bounded source, cut into blocks.
///
/// Block n holds the lines that *start* in bytes `[n * size, (n + 1) * size)` of the (decompressed) partition, so where
/// a block ends is a function of the content, never of how it is read.
pub trait Blocks: Send + Sync {
    /// Bytes of the partition, where that is known before it is read.
    fn size(&self) -> Option<u64>;

    /// Fills `into` with block number `block` of `size` bytes.
    ///
    /// Blocks are asked for in order for each partition, but two threads may ask for neighbours at the same time.
    fn read(&self, block: u64, into: &mut Block) -> io::Result<()>;

    /// The first bytes of the data, for a look ahead; does not count as reading them.
    fn peek(&self, at_most: usize) -> io::Result<Vec<u8>>;

    /// The first `bytes` bytes, which have been peeked at, are not data but a header.
    fn skip(&mut self, bytes: u64);

    /// The blocks before `block` will not be asked for: they have been read by an earlier run.
    fn start_at(&mut self, block: u64) -> io::Result<()>;
}

/// Whole lines of a partition. Its memory is used again and again, so it only grows.
#[derive(Default, Debug)]
pub struct Block {
    buffer: Vec<u8>,
    /// Where the lines begin and end in `buffer`.
    from: usize,
    to: usize,
    /// Offset of the first byte.
    pub base: u64,
    /// The true length of the last line when it is longer than allowed and was cut.
    pub last_line: Option<u64>,
    /// Offset just behind the last line of this block.
    pub end: u64,
    /// Whether the partition ends with this block.
    pub is_last: bool,
}

impl Block {
    /// The lines; the last one of a partition may lack its line feed.
    pub fn lines(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    /// Makes it empty, beginning at offset `base`.
    fn clear(&mut self, base: u64) {
        *self = Block { buffer: std::mem::take(&mut self.buffer), base, end: base, ..Block::default() };
    }

    /// Makes room for `more` bytes behind the lines, for the caller to fill.
    fn grow(&mut self, more: usize) -> &mut [u8] {
        if self.buffer.len() < self.to + more {
            self.buffer.resize(self.to + more, 0);
        }
        self.to += more;
        &mut self.buffer[self.to - more..self.to]
    }

    /// Keeps the first `length` bytes of the lines.
    fn truncate(&mut self, length: usize) {
        self.to = self.to.min(self.from + length);
    }

    /// Drops the first `length` bytes of the lines.
    fn advance(&mut self, length: usize) {
        self.from += length;
        self.base += length as u64;
    }
}
