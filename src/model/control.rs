//! Control records: everything about a tick that is not a function of its input, and what workers report of it.
//!
//! A tick is cut by one coordinator and replayed from its records; nothing downstream of a source reads a clock.

use crate::model::commit::{ArchiveCut, Shown};
use crate::model::dead::Reason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Sequence number of a tick; the timestamp of the dataflow.
pub type Tick = u64;

/// Blocks of one partition that belong to a tick: `[first, end)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Take {
    /// Index of the partition.
    pub partition: u32,
    /// First block.
    pub first: u64,
    /// One behind the last block.
    pub end: u64,
}

/// What the coordinator orders of all sources for one tick.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cut {
    /// The tick.
    pub tick: Tick,
    /// The time of the run that counts as "now" in this tick, ms.
    pub now: i64,
    /// What to read.
    pub takes: Vec<Take>,
}

/// What a process knows of a partition before it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// Index of the partition.
    pub partition: u32,
    /// Bytes, where known.
    pub size: Option<u64>,
    /// The event time at which its clock will begin, where it could be looked up.
    pub begin: Option<i64>,
}

/// What a source says to the coordinator.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum SourceReport {
    /// A process has opened its partitions.
    Opened {
        /// The process.
        process: u32,
        /// A hash of the list of all partitions with their sizes, as this process sees it.
        list: u64,
        /// Those that this process reads.
        partitions: Vec<Opened>,
    },
    /// A take of a tick has been read, decoded and judged.
    Taken(Taken),
}

/// The control record of a partition: how far it has come with a tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// The tick.
    pub tick: Tick,
    /// Index of the partition.
    pub partition: u32,
    /// Offset behind the last record.
    pub end_offset: u64,
    /// Blocks read so far.
    pub blocks: u64,
    /// Newest event time.
    pub newest: Option<i64>,
    /// Records in a row that lie too far ahead to move it, and the smallest of their times.
    pub run: (u8, i64),
    /// Whether there is nothing more to come.
    pub ended: bool,
}

/// The end of a tick, the same for every worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Close {
    /// The tick.
    pub tick: Tick,
    /// The job's watermark with this tick.
    pub watermark: i64,
    /// Whether it is the last one of the run.
    pub last: bool,
    /// Whether all state is to be frozen as it is after this tick.
    pub snapshot: bool,
}

/// An element of a step's output: what a tick brought, then its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Event<B> {
    /// Data, in canonical order.
    Data(B),
    /// The tick is complete.
    Close(Close),
}

/// Records of one source, by what became of them: `read = used + late + duplicate + dead`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct SourceCounts {
    /// Records seen.
    pub read: u64,
    /// Readings that were late.
    pub late: u64,
    /// Readings that were dropped as duplicates.
    pub duplicate: u64,
    /// Dead letters, by the number of their [`Reason`].
    pub dead: [u64; Reason::ALL.len()],
    /// Earliest and latest event time among readings that were not late.
    pub event_time: Option<(i64, i64)>,
}

impl SourceCounts {
    /// Dead letters of all reasons.
    pub fn dead_total(&self) -> u64 {
        self.dead.iter().sum()
    }

    /// Readings that counted.
    pub fn used(&self) -> u64 {
        self.read - self.late - self.duplicate - self.dead_total()
    }

    /// Takes in an event time.
    pub fn see(&mut self, first: i64, last: i64) {
        let (low, high) = self.event_time.unwrap_or((first, last));
        self.event_time = Some((low.min(first), high.max(last)));
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &SourceCounts) {
        self.read += other.read;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.dead.iter_mut().zip(&other.dead).for_each(|(sum, more)| *sum += more);
        if let Some((first, last)) = other.event_time {
            self.see(first, last);
        }
    }
}

/// What a worker counted in one tick; the job's totals are their sum.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Counts {
    /// By source.
    pub sources: BTreeMap<String, SourceCounts>,
    /// Window results published, all revisions.
    pub windows: u64,
    /// Of those, republications (revision above 0).
    pub revisions: u64,
    /// Anomalies by kind.
    pub anomalies: BTreeMap<String, u64>,
    /// Lines handed to sinks, by sink.
    pub lines: BTreeMap<String, u64>,
    /// Objects, rows and bytes written to the archive.
    pub archive: [u64; 3],
    /// Records decoded, by the worker that decoded them.
    pub decoded: BTreeMap<u32, u64>,
    /// Readings kept, by the worker that owns their meter.
    pub kept: BTreeMap<u32, u64>,
    /// CPU time in ms, by process, as far as the last tick.
    pub cpu_ms: BTreeMap<u32, u64>,
    /// The job's watermark, ms, while it has one and is not at its end.
    pub watermark: Option<i64>,
}

impl Counts {
    /// The counts of one source.
    pub fn source(&mut self, name: &str) -> &mut SourceCounts {
        self.sources.entry(name.to_owned()).or_default()
    }

    /// Adds what another worker or tick counted.
    pub fn add(&mut self, other: &Counts) {
        for (name, counts) in &other.sources {
            self.source(name).add(counts);
        }
        self.windows += other.windows;
        self.revisions += other.revisions;
        self.archive.iter_mut().zip(&other.archive).for_each(|(sum, more)| *sum += more);
        add_all(&mut self.anomalies, &other.anomalies);
        add_all(&mut self.lines, &other.lines);
        add_all(&mut self.decoded, &other.decoded);
        add_all(&mut self.kept, &other.kept);
        add_all(&mut self.cpu_ms, &other.cpu_ms);
        self.watermark = self.watermark.max(other.watermark);
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Counts::default()
    }
}

fn add_all<K: Ord + Clone>(sums: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (key, count) in more {
        *sums.entry(key.clone()).or_default() += count;
    }
}

/// What a step reports of a tick to the committer.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What it counted.
    pub counts: Counts,
    /// What it brings to files.
    pub shown: Vec<Shown>,
    /// What it cut for the archive.
    pub cuts: Vec<ArchiveCut>,
}

impl Report {
    /// Nothing but what was counted.
    pub fn counted(counts: Counts) -> Report {
        Report { counts, ..Report::default() }
    }
}
