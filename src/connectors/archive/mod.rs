//! The archive: every used reading, window and anomaly in Parquet files below `kind=.../date=YYYY-MM-DD/`, by event date.
//!
//! An [`Archiver`] buffers rows and says when some of them make a file ([`Cut`]); it knows no clock, no store and no
//! thread. An [`Uploader`] encodes cuts and puts them into a store on threads of its own. What a cut holds and its name are
//! a function of what was appended and of the moments that the caller tells, so a replay makes the same objects again.
//!
//! Memory is bounded twice: the buffers by `memory` (the largest is cut when all together exceed it), and what is on its
//! way by the uploader's capacity, which refuses more (backpressure) until the store has caught up.

pub mod cut;
pub mod upload;

#[cfg(test)]
mod tests;

pub use cut::{Cut, Kind, ObjectNames};
pub use upload::{Busy, Report, Totals, UploadSettings, Uploader};

use crate::codec::parquet::Names;
use crate::connectors::archive::cut::{DAY_MS, Rows, day_of};
use crate::model::reading::Batch;
use crate::model::results::{AnomalyBatch, WindowBatch};
use crate::settings::{Key, Kind as Takes};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Rows of a cut at most: row numbers have 32 bits.
const MAX_ROWS: usize = 1 << 30;

/// The keys of the table `[archive]`.
pub const KEYS: &[Key] = &[
    Key {
        name: "url",
        kind: Takes::Text,
        default: None,
        doc: "Where the archive lies: file:///absolute/folder, or a path. It is made if it is not there.",
    },
    Key {
        name: "kinds",
        kind: Takes::List,
        default: Some("[\"readings\", \"stats\", \"anomalies\"]"),
        doc: "What is archived.",
    },
    Key {
        name: "max_size",
        kind: Takes::Size(64 << 10, 2 << 30),
        default: Some("\"128MB\""),
        doc: "About the largest size of a file; what `memory` has no room for makes smaller ones.",
    },
    Key {
        name: "max_age",
        kind: Takes::Duration(1_000, 86_400_000),
        default: Some("\"5m\""),
        doc: "How long a row waits for others before its file is written (live input only).",
    },
    Key {
        name: "memory",
        kind: Takes::Size(1 << 20, 4 << 30),
        default: Some("\"64MiB\""),
        doc: "Memory of each worker for rows that wait. A reading takes about 25 bytes and 8 for each channel.",
    },
];

/// What to archive, and when to cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArchiveSettings {
    /// The kinds that are archived, in their order.
    pub kinds: Vec<Kind>,
    /// A buffer whose file would be about this large is cut, bytes.
    pub max_size: u64,
    /// A buffer whose first row has waited that long is cut, ms.
    pub max_age_ms: i64,
    /// Bytes that all buffers may take together.
    pub memory: usize,
    /// How long after its end by the watermark rows of a day may still come, ms: a day is cut when it is over by this.
    pub settle_ms: i64,
}

/// What a tick knows of time; a replay tells the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// The recorded "now" of the tick, ms; `None` for input with an end, where no row waits for anybody.
    pub now: Option<i64>,
    /// The job's watermark, ms.
    pub watermark: i64,
}

/// Rows of one kind and day that wait.
struct Buffer {
    rows: Rows,
    /// Ticks of the first and of the last append.
    ticks: [u64; 2],
    /// "Now" when the rows were first looked at.
    since: Option<i64>,
}

/// Buffers of one worker.
pub struct Archiver {
    settings: ArchiveSettings,
    names: Arc<Names>,
    objects: ObjectNames,
    buffers: BTreeMap<(Kind, i64), Buffer>,
    memory: usize,
    cuts: u64,
}

impl Archiver {
    /// Nothing is buffered yet.
    pub fn new(settings: ArchiveSettings, names: Arc<Names>, objects: ObjectNames) -> Archiver {
        Archiver { settings, names, objects, buffers: BTreeMap::new(), memory: 0, cuts: 0 }
    }

    /// Whether rows of this kind are archived.
    pub fn wants(&self, kind: Kind) -> bool {
        self.settings.kinds.contains(&kind)
    }

    /// Takes other names from now on: with more partitions, for instance. Numbers keep what they stand for.
    pub fn set_names(&mut self, names: Arc<Names>) {
        self.names = names;
    }

    /// Bytes that the buffered rows take.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Rows that wait.
    pub fn rows(&self) -> usize {
        self.buffers.values().map(|buffer| buffer.rows.len()).sum()
    }

    /// Buffers used readings of `tick`. Late ones are not archived: they have a sink of their own.
    pub fn append_readings(&mut self, tick: u64, batch: &Batch) {
        if !self.wants(Kind::Readings) || batch.is_late() {
            return;
        }
        for (day, range) in day_runs(batch.len(), |row| batch.rows[row].time) {
            self.append(Kind::Readings, day, tick, |rows| match rows {
                Rows::Readings(rows) => rows.append(batch, range),
                _ => unreachable!("a buffer has rows of its kind"),
            });
        }
    }

    /// Buffers window statistics of `tick`; their day is that of the window's start.
    pub fn append_stats(&mut self, tick: u64, batch: &WindowBatch) {
        if !self.wants(Kind::Stats) {
            return;
        }
        for (day, range) in day_runs(batch.rows.len(), |row| batch.rows[row].start) {
            self.append(Kind::Stats, day, tick, |rows| match rows {
                Rows::Stats(rows) => range.for_each(|row| rows.push(batch, row)),
                _ => unreachable!("a buffer has rows of its kind"),
            });
        }
    }

    /// Buffers anomalies of `tick`; their day is that of the reading.
    pub fn append_anomalies(&mut self, tick: u64, batch: &AnomalyBatch) {
        if !self.wants(Kind::Anomalies) {
            return;
        }
        for (day, range) in day_runs(batch.rows.len(), |row| batch.rows[row].time) {
            self.append(Kind::Anomalies, day, tick, |rows| match rows {
                Rows::Anomalies(rows) => range.for_each(|row| rows.push(batch, row)),
                _ => unreachable!("a buffer has rows of its kind"),
            });
        }
    }

    fn append(&mut self, kind: Kind, day: i64, tick: u64, append: impl FnOnce(&mut Rows)) {
        let channels = self.names.channels.len();
        let new = || Buffer { rows: Rows::new(kind, channels, day), ticks: [tick; 2], since: None };
        let buffer = self.buffers.entry((kind, day)).or_insert_with(new);
        let before = buffer.rows.memory();
        append(&mut buffer.rows);
        buffer.ticks[1] = tick;
        self.memory += buffer.rows.memory() - before;
    }

    /// The rows that make a file now. To be called after each tick, and between the batches of a large one: that bounds
    /// the memory.
    pub fn due(&mut self, at: Moment) -> Vec<Cut> {
        let mut due = Vec::new();
        for (key, buffer) in &mut self.buffers {
            buffer.since = buffer.since.or(at.now);
            let age = at.now.zip(buffer.since).map(|(now, since)| now.saturating_sub(since));
            let old = age.is_some_and(|age| age >= self.settings.max_age_ms);
            let over = at.watermark.saturating_sub(self.settings.settle_ms) >= (key.1 + 1) * DAY_MS;
            let large = buffer.rows.encoded_bytes() >= self.settings.max_size || buffer.rows.len() >= MAX_ROWS;
            if old || over || large {
                due.push(*key);
            }
        }
        let mut cuts: Vec<Cut> = due.into_iter().filter_map(|key| self.cut(key)).collect();
        while self.memory > self.settings.memory {
            // Of several that are as large the first: the same in every run.
            let largest = self.buffers.iter().rev().max_by_key(|(_, buffer)| buffer.rows.memory());
            match largest.map(|(key, _)| *key).and_then(|key| self.cut(key)) {
                Some(cut) => cuts.push(cut),
                None => break,
            }
        }
        cuts
    }

    /// All that is left, at the end of the input or at a clean stop.
    pub fn finish(&mut self) -> Vec<Cut> {
        let keys: Vec<(Kind, i64)> = self.buffers.keys().copied().collect();
        keys.into_iter().filter_map(|key| self.cut(key)).collect()
    }

    fn cut(&mut self, key: (Kind, i64)) -> Option<Cut> {
        let buffer = self.buffers.remove(&key)?;
        self.memory -= buffer.rows.memory();
        let name = self.objects.name(key, self.cuts, buffer.ticks);
        self.cuts += 1;
        Some(Cut { kind: key.0, name, rows: buffer.rows, names: self.names.clone() })
    }
}

/// The runs of rows of one day, as most batches have only one.
fn day_runs(rows: usize, time: impl Fn(usize) -> i64) -> impl Iterator<Item = (i64, Range<usize>)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        if from == rows {
            return None;
        }
        let day = day_of(time(from));
        let span = day * DAY_MS..(day + 1) * DAY_MS;
        let to = (from + 1..rows).find(|row| !span.contains(&time(*row))).unwrap_or(rows);
        let run = from..to;
        from = to;
        Some((day, run))
    })
}
