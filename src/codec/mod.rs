//! Decoding of records into readings, and encoding of results into lines. Pure: bytes in, values out.

/// How records are read: which fields they have, of which format and unit.
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
