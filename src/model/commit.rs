//! What is stored of a job and of its ticks, in words that every version of the program can read: field by field.
//!
//! A tick is committed when its [`Commit`] is durable; everything that a replay needs to make the tick again stands in it.

use crate::model::control::{Counts, Take, Taken, Tick};
use serde::{Deserialize, Serialize};

/// An order-free hash of lines: the sum of their 128-bit hashes, so that it is the same however many workers made them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct LinesHash(pub u64, pub u64);

impl LinesHash {
    /// Takes in the hash of a line, or of many.
    pub fn add(&mut self, other: LinesHash) {
        self.0 = self.0.wrapping_add(other.0);
        self.1 = self.1.wrapping_add(other.1);
    }
}

/// What a tick brings to one output file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// Name of the sink.
    pub sink: String,
    /// The file.
    pub path: String,
    /// Lines.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Hash of the lines.
    pub hash: LinesHash,
    /// Length of the file with them.
    pub end: u64,
}

/// Rows that make one object of the archive: those of a kind and event day, of the meters of some key groups, that came up
/// to a tick and are in no earlier object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArchiveCut {
    /// Name of the kind.
    pub kind: String,
    /// Event day, days since the epoch.
    pub day: i64,
    /// The key groups, `[first, end)`.
    pub groups: [u16; 2],
    /// The last tick.
    pub through: Tick,
    /// The object.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
}

/// The commit record of a tick.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Commit {
    /// The tick.
    pub tick: Tick,
    /// What counted as "now" in it, ms.
    pub now: i64,
    /// What was read, by partition and block.
    pub takes: Vec<Take>,
    /// How far the partitions that were read have come, by partition.
    pub taken: Vec<Taken>,
    /// The job's watermark.
    pub watermark: i64,
    /// Whether it is the last tick of the run.
    pub last: bool,
    /// Whether all state was frozen after it.
    pub snapshot: bool,
    /// What it brings to files, by path.
    pub shown: Vec<Shown>,
    /// What was cut for the archive, by name.
    pub cuts: Vec<ArchiveCut>,
    /// What was counted.
    pub counts: Counts,
}

/// A partition as the job has seen it first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartitionRecord {
    /// Its source.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Bytes, where known.
    pub size: Option<u64>,
    /// A hash of its first and last 64 KiB, where it can be read twice.
    pub content: Option<[u64; 2]>,
}

/// A step whose state is stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its name in the dataflow.
    pub step: String,
    /// The layout of its state.
    pub kind: String,
    /// Version of that layout.
    pub version: u16,
    /// The settings that the stored bytes depend on.
    pub shape: String,
}

/// What a job is: stored at its first start, and again when something of it has changed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct JobRecord {
    /// A random number, in 32 hexadecimal digits, that tells this job from all others.
    pub uid: String,
    /// The dataflow.
    pub dataflow: String,
    /// The settings in force, as the file that `meterflow config` prints would have them (TOML).
    pub settings: String,
    /// Bytes of a block.
    pub block: u64,
    /// The time of the first start, which files are judged by, ms.
    pub now: i64,
    /// All partitions, by index.
    pub partitions: Vec<PartitionRecord>,
}
