//! Decoding of records into readings, and encoding of results into lines. Pure: bytes in, values out.
//!
//! The decoder in one paragraph: [`Decoder::block`] walks over the lines; `json` (or `csv`) reads a line once, with
//! `short`, `number`, `text` and `time` for its values, into the `cells` of the record, a cell for each name that `fields`
//! lists; the cells are then judged and make a [`Record`] or, with a message from `problem`, a [`Dead`] letter. `layout` is
//! why it is fast: it remembers what stands between the values. Where that is drawn anew for each record, `names` and
//! `marks` are.

mod cells;
mod csv;
mod decoder;
mod fields;
mod json;
mod layout;
mod marks;
mod names;
mod number;
#[cfg(test)]
mod oracle;
mod problem;
mod scan;
mod short;
#[cfg(test)]
mod tests;
mod text;
mod time;

pub use csv::{CsvHeader, HeaderError};
pub use decoder::{Block, Dead, Decoder, Record, Sink};
pub use fields::{FormatError, MAX_NAMES};

/// UTF-8 of U+FEFF, which may stand at the start of a file and is no part of the first record.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

pub mod id;
pub mod write;

pub mod parquet;

/// How records are read: which fields they have, of which format and unit.
///
/// Of a list of names the first is taken that the record has with a value that is not null (in CSV: not empty); the
/// others are not looked at, even if the one that is taken cannot be used.
#[derive(Clone, Debug)]
pub struct Format {
    /// JSON lines or CSV.
    pub kind: FormatKind,
    /// Names of the meter field; the first that a record has is taken.
    pub meter: Vec<String>,
    /// Names of the time field, likewise.
    pub time: Vec<String>,
    /// Names of the status field, likewise; may be empty.
    pub status: Vec<String>,
    /// Channels, each with the names of its field.
    pub channels: Vec<(String, Vec<String>)>,
    /// Milliseconds in a unit of numeric times: 1 or 1000.
    pub time_unit_ms: i64,
    /// IANA name of the zone of times without an offset; `None`: such times are dead letters.
    pub time_zone: Option<String>,
    /// Longest record, bytes.
    pub max_record: usize,
}

/// The syntax of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FormatKind {
    /// One JSON object a line.
    Json,
    /// RFC 4180 on one line; the first row of a partition names the fields.
    Csv,
}
