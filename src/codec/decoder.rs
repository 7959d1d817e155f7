//! The decoder: blocks of lines, or single messages, into readings and dead letters.

use crate::codec::cells::{Cells, Picked};
use crate::codec::csv::{self, CsvHeader};
use crate::codec::fields::{Fields, FormatError};
use crate::codec::json::Parser;
use crate::codec::layout::Ahead;
use crate::codec::problem;
use crate::codec::scan::{Fault, blanks};
use crate::codec::time::TimeReader;
use crate::codec::{BYTE_ORDER_MARK, Format, FormatKind};
use crate::model::dead::Reason;
use jiff::tz::TimeZone;

/// Whole lines of a partition; the last one may lack its line feed.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The lines.
    pub bytes: &'a [u8],
    /// Offset of the first byte in the decompressed file.
    pub base: u64,
    /// `Some`: the last line is longer than `max_record` and is not all here; this is its true length, bytes.
    pub last_line: Option<u64>,
}

/// A reading, as it stands in the block.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Record<'a> {
    /// Offset of its first byte in the partition.
    pub offset: u64,
    /// The meter id: 1 to 64 bytes of UTF-8.
    pub meter: &'a [u8],
    /// Event time, ms since the epoch, UTC.
    pub time: i64,
    /// The status, UTF-8.
    pub status: Option<&'a [u8]>,
    /// Bit c is set when the reading has channel c.
    pub present: u8,
    /// A value for each channel of the format; 0 where absent.
    pub values: &'a [f64],
}

/// A record that is no reading.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dead<'a> {
    /// Offset of its first byte in the partition.
    pub offset: u64,
    /// Why.
    pub reason: Reason,
    /// What was found, and what would be right.
    pub message: String,
    /// The record without its line end, as far as the block has it.
    pub raw: &'a [u8],
    /// Its whole length, bytes.
    pub raw_bytes: u64,
}

/// Takes what is decoded, in the order of the offsets.
pub trait Sink {
    /// Takes a reading.
    fn reading(&mut self, record: &Record);

    /// Takes a dead letter.
    fn dead(&mut self, dead: Dead);
}

/// Decodes the records of a source. Each thread has its own; blocks may go to any of them.
///
/// Allocates nothing per reading; reads with what it has learnt of the layout of the last records, which changes its speed
/// but never its result.
pub struct Decoder {
    kind: FormatKind,
    max_record: usize,
    fields: Fields,
    parser: Parser,
    cells: Cells,
    times: TimeReader,
    message: Vec<u8>,
}

impl Decoder {
    /// A decoder of records in this format.
    pub fn new(format: &Format) -> Result<Decoder, FormatError> {
        let fields = Fields::new(format)?;
        if format.time_unit_ms < 1 {
            return Err(FormatError::TimeUnit(format.time_unit_ms));
        }
        let zone = |name: &String| TimeZone::get(name).map_err(|_| FormatError::UnknownZone(name.clone()));
        let times = TimeReader::new(format.time_unit_ms, format.time_zone.as_ref().map(zone).transpose()?);
        let parser = Parser::new(&fields);
        let (kind, max_record) = (format.kind, format.max_record);
        Ok(Decoder { kind, max_record, fields, parser, cells: Cells::new(), times, message: Vec::new() })
    }

    /// A decoder that reads every record without what it learns of their layout.
    #[cfg(test)]
    pub fn that_learns_nothing(format: &Format) -> Result<Decoder, FormatError> {
        let mut decoder = Decoder::new(format)?;
        decoder.parser.give_up();
        Ok(decoder)
    }

    /// Decodes the lines of a block. `header` names the columns of CSV; the row it was read from is in no block.
    pub fn block<S: Sink>(&mut self, block: &Block, header: Option<&CsvHeader>, sink: &mut S) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2") {
            // SAFETY: the processor has what it is compiled for.
            return unsafe { self.block_on_newer(block, header, sink) };
        }
        self.lines(block, header, sink);
    }

    /// The same for processors of the last ten years, which need fewer instructions.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn block_on_newer<S: Sink>(&mut self, block: &Block, header: Option<&CsvHeader>, sink: &mut S) {
        self.lines(block, header, sink);
    }

    #[inline(always)]
    fn lines<S: Sink>(&mut self, block: &Block, header: Option<&CsvHeader>, sink: &mut S) {
        let marked = block.base == 0 && block.bytes.starts_with(BYTE_ORDER_MARK);
        let mut at = if marked { BYTE_ORDER_MARK.len() } else { 0 };
        let whole = match block.last_line {
            Some(_) => memchr::memrchr(b'\n', block.bytes).map_or(0, |feed| feed + 1),
            None => block.bytes.len(),
        };
        let lines = &block.bytes[..whole];
        while at < lines.len() {
            at = match self.kind {
                FormatKind::Json => self.json_line(lines, at, block.base, sink),
                FormatKind::Csv => self.csv_line(lines, at, block.base, header, sink),
            };
        }
        if let Some(length) = block.last_line {
            sink.dead(self.too_long(block.base + at as u64, &block.bytes[at..], length));
        }
    }

    /// Decodes one record that is no line, such as a message of Kafka. In JSON, line feeds are blanks then.
    pub fn record<S: Sink>(&mut self, offset: u64, bytes: &[u8], header: Option<&CsvHeader>, sink: &mut S) {
        if bytes.len() > self.max_record {
            return sink.dead(self.too_long(offset, bytes, bytes.len() as u64));
        }
        // A copy with a line feed and room behind it is a line like any other, read at full speed to its end.
        let mut line = std::mem::take(&mut self.message);
        line.clear();
        line.extend_from_slice(bytes);
        // A carriage return is a blank where a line feed is one, and wrong where it is wrong.
        let mut from = 0;
        while let Some(length) = memchr::memchr(b'\n', &line[from..]) {
            from += length;
            line[from] = b'\r';
        }
        line.extend_from_slice(&[b'\n'; size_of::<Ahead>()]);
        let sink = &mut Untouched { sink, bytes };
        match self.kind {
            FormatKind::Json => self.json_line(&line, 0, offset, sink),
            FormatKind::Csv if memchr::memchr(b'\n', bytes.trim_ascii_end()).is_some() => {
                let message = "more than one line".to_string();
                sink.dead(Dead { offset, reason: Reason::NotJson, message, raw: bytes, raw_bytes: bytes.len() as u64 });
                0
            }
            FormatKind::Csv => self.csv_line(&line, 0, offset, header, sink),
        };
        self.message = line;
    }

    /// Decodes the line at `start`; returns where the next one starts.
    #[inline(always)]
    fn json_line<S: Sink>(&mut self, bytes: &[u8], start: usize, base: u64, sink: &mut S) -> usize {
        if bytes[start] != b'{'
            && let Some(next) = self.blank_line(bytes, start)
        {
            return next;
        }
        self.cells.clear();
        match self.parser.record(bytes, start, &mut self.cells, &mut self.times) {
            Ok(end) => self.deliver(bytes, (start, end), base, sink),
            Err(fault) => {
                let end = line_end(bytes, start);
                self.broken(bytes, (start, end), base, fault, sink);
                end + 1
            }
        }
    }

    fn csv_line<S: Sink>(
        &mut self,
        bytes: &[u8],
        start: usize,
        base: u64,
        header: Option<&CsvHeader>,
        sink: &mut S,
    ) -> usize {
        if let Some(next) = self.blank_line(bytes, start) {
            return next;
        }
        let end = line_end(bytes, start);
        self.cells.clear();
        let none = CsvHeader::default();
        let row = (start, without_return(bytes, start, end));
        match csv::row(bytes, row, header.unwrap_or(&none), &self.fields, &mut self.cells, &mut self.times) {
            Ok(()) => self.deliver(bytes, (start, end), base, sink),
            Err(fault) => {
                self.broken(bytes, (start, end), base, fault, sink);
                end + 1
            }
        }
    }

    /// If the line at `start` is blank (and not too long even so), where the next one starts.
    fn blank_line(&self, bytes: &[u8], start: usize) -> Option<usize> {
        let end = blanks(bytes, start);
        let blank = matches!(bytes.get(end), None | Some(b'\n'));
        (blank && without_return(bytes, start, end) - start <= self.max_record).then_some(end + 1)
    }

    /// Hands on the values of the line in `start..end`; returns where the next one starts.
    #[inline(always)]
    fn deliver<S: Sink>(&mut self, bytes: &[u8], (start, end): (usize, usize), base: u64, sink: &mut S) -> usize {
        let offset = base + start as u64;
        if end - start > self.max_record && without_return(bytes, start, end) - start > self.max_record {
            let raw = &bytes[start..without_return(bytes, start, end)];
            sink.dead(self.too_long(offset, raw, raw.len() as u64));
            return end + 1;
        }
        match self.cells.pick(&self.fields, bytes) {
            Ok(Picked { meter, time, status, present, values }) => {
                sink.reading(&Record { offset, meter, time, status, present, values });
            }
            Err(unfit) => {
                let (reason, message) = problem::unfit(unfit, &self.fields, self.times.unit(), bytes);
                let raw = &bytes[start..without_return(bytes, start, end)];
                sink.dead(Dead { offset, reason, message, raw, raw_bytes: raw.len() as u64 });
            }
        }
        end + 1
    }

    #[cold]
    fn broken<S: Sink>(&self, bytes: &[u8], (start, end): (usize, usize), base: u64, fault: Fault, sink: &mut S) {
        let raw = &bytes[start..without_return(bytes, start, end)];
        let (offset, raw_bytes) = (base + start as u64, raw.len() as u64);
        if raw.len() > self.max_record {
            return sink.dead(self.too_long(offset, raw, raw_bytes));
        }
        let (reason, message) = problem::syntax(fault, raw, start);
        sink.dead(Dead { offset, reason, message, raw, raw_bytes });
    }

    #[cold]
    fn too_long<'a>(&self, offset: u64, raw: &'a [u8], raw_bytes: u64) -> Dead<'a> {
        let message = format!("{raw_bytes} bytes; the most is max_record = {}", self.max_record);
        Dead { offset, reason: Reason::TooLong, message, raw, raw_bytes }
    }
}

/// Where the line at `start` ends: at its line feed or the end of the block.
fn line_end(bytes: &[u8], start: usize) -> usize {
    memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |length| start + length)
}

/// The end of a record whose line ends at `end`: a carriage return before a line feed is not part of it.
fn without_return(bytes: &[u8], start: usize, end: usize) -> usize {
    let returned = end > start && end < bytes.len() && bytes[end - 1] == b'\r';
    if returned { end - 1 } else { end }
}

/// Puts the bytes of a record that was copied in place of the copy.
struct Untouched<'a, S> {
    sink: &'a mut S,
    bytes: &'a [u8],
}

impl<S: Sink> Sink for Untouched<'_, S> {
    #[inline]
    fn reading(&mut self, record: &Record) {
        self.sink.reading(record);
    }

    fn dead(&mut self, dead: Dead) {
        self.sink.dead(Dead { raw: self.bytes, raw_bytes: self.bytes.len() as u64, ..dead });
    }
}
