//! Dead letters: records that could not be decoded, with the reason and their bytes.

use serde::{Deserialize, Serialize};

/// Most bytes of a record that a dead letter keeps.
pub const RAW_LIMIT: usize = 64 << 10;

/// Why a record is dead. The names are part of the format.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Reason {
    /// The bytes are not UTF-8.
    NotUtf8,
    /// Not one JSON object (or not a CSV row).
    NotJson,
    /// Longer than `max_record`.
    TooLong,
    /// Nested deeper than 32 levels.
    TooDeep,
    /// No meter or no time.
    MissingField,
    /// A field of a type that it cannot have.
    WrongType,
    /// A value outside what is allowed.
    OutOfRange,
    /// An event time too far ahead.
    Future,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Reason; 8] = [
        Reason::NotUtf8,
        Reason::NotJson,
        Reason::TooLong,
        Reason::TooDeep,
        Reason::MissingField,
        Reason::WrongType,
        Reason::OutOfRange,
        Reason::Future,
    ];

    /// As it stands in lines, metrics and the summary.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NotUtf8 => "not_utf8",
            Reason::NotJson => "not_json",
            Reason::TooLong => "too_long",
            Reason::TooDeep => "too_deep",
            Reason::MissingField => "missing_field",
            Reason::WrongType => "wrong_type",
            Reason::OutOfRange => "out_of_range",
            Reason::Future => "future",
        }
    }
}

/// A record that could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Index of the partition in the job's list of partitions.
    pub partition: u32,
    /// Offset in the partition.
    pub offset: u64,
    /// Why.
    pub reason: Reason,
    /// What was found and what would be right.
    pub message: String,
    /// The record as it was, cut at [`RAW_LIMIT`].
    pub raw: Vec<u8>,
    /// Its whole length, bytes.
    pub raw_bytes: u64,
}
