//! The archive: every used reading, window and anomaly in Parquet files below `kind=.../date=YYYY-MM-DD/`, by event date.
//!
//! An [`Archiver`] buffers rows and says when some of them make a file ([`Cut`]); it knows no clock, no store and no
//! thread. An [`Uploader`] encodes cuts and puts them into a store on threads of its own. What a cut holds and its name are
//! a function of what was appended and of the moments that the caller tells.
//!
//! An archiver is state: what it holds is saved by key group ([`state`]). A start from stored state asks the store which of
//! the committed cuts are there ([`Recovered`]); their rows are dropped when they come in again, and those of all others are
//! cut anew. So each row is in one object, whatever number of workers there was and is.
//!
//! Memory is bounded twice: the buffers by `memory` (the largest is cut when all together exceed it), and what is on its
//! way by the uploader's capacity, which refuses more (backpressure) until the store has caught up.

pub mod cut;
pub mod held;
pub mod recovered;
pub mod state;
pub mod upload;

#[cfg(test)]
mod recovery;
#[cfg(test)]
mod tests;

pub use cut::{Cut, Kind, ObjectNames};
pub use recovered::{OnTheWay, Recovered};
pub use upload::{Busy, Report, Totals, UploadSettings, Uploader};

use crate::codec::parquet::Names;
use crate::connectors::archive::cut::{DAY_MS, Rows, day_of};
use crate::connectors::archive::held::Held;
use crate::connectors::archive::recovered::holds;
use crate::model::control::Tick;
use crate::model::meter::{MeterKey, group_of};
use crate::model::reading::Batch;
use crate::model::results::{AnomalyBatch, WindowBatch};
use crate::settings::{Key, Kind as Takes};
use crate::state::Changed;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
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
    held: Held,
    /// The tick of the first append.
    first: Tick,
    /// "Now" when the rows were first looked at.
    since: Option<i64>,
}

/// Rows that are cut and not known to be stored.
struct Pending {
    key: (Kind, i64),
    first: Tick,
    held: Held,
}

/// Buffers of one worker.
pub struct Archiver {
    settings: ArchiveSettings,
    names: Arc<Names>,
    objects: ObjectNames,
    buffers: BTreeMap<(Kind, i64), Buffer>,
    memory: usize,
    /// By the name of their object; only where state is kept.
    pending: BTreeMap<String, Pending>,
    /// The tick that was closed last.
    closed: Option<Tick>,
    changed: Changed,
    keeps_state: bool,
    on_the_way: Rc<OnTheWay>,
    recovered: Rc<Recovered>,
}

impl Archiver {
    /// Nothing is buffered yet.
    pub fn new(settings: ArchiveSettings, names: Arc<Names>, objects: ObjectNames) -> Archiver {
        Archiver {
            settings,
            names,
            objects,
            buffers: BTreeMap::new(),
            memory: 0,
            pending: BTreeMap::new(),
            closed: None,
            changed: Changed::default(),
            keeps_state: false,
            on_the_way: Rc::default(),
            recovered: Rc::default(),
        }
    }

    /// As part of a job whose state is kept: rows of cuts are remembered as long as they are `on_the_way`, and what is in
    /// objects already, by `recovered`, is not archived again.
    pub fn with_state(self, on_the_way: Rc<OnTheWay>, recovered: Rc<Recovered>) -> Archiver {
        Archiver { keeps_state: true, on_the_way, recovered, ..self }
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
        self.buffers.values().map(|buffer| buffer.held.rows().len()).sum()
    }

    /// Cuts that are not known to be stored, where state is kept.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Buffers used readings of `tick`. Late ones are not archived: they have a sink of their own.
    pub fn append_readings(&mut self, tick: Tick, batch: &Batch) {
        if batch.is_late() {
            return;
        }
        let row = |row: usize| (batch.rows[row].time, batch.rows[row].meter);
        self.append(Kind::Readings, tick, batch.len(), row, |rows, range| match rows {
            Rows::Readings(rows) => rows.append(batch, range),
            _ => unreachable!("a buffer has rows of its kind"),
        });
    }

    /// Buffers window statistics of `tick`; their day is that of the window's start.
    pub fn append_stats(&mut self, tick: Tick, batch: &WindowBatch) {
        let row = |row: usize| (batch.rows[row].start, batch.rows[row].meter);
        self.append(Kind::Stats, tick, batch.rows.len(), row, |rows, range| match rows {
            Rows::Stats(rows) => range.for_each(|row| rows.push(batch, row)),
            _ => unreachable!("a buffer has rows of its kind"),
        });
    }

    /// Buffers anomalies of `tick`; their day is that of the reading.
    pub fn append_anomalies(&mut self, tick: Tick, batch: &AnomalyBatch) {
        let row = |row: usize| (batch.rows[row].time, batch.rows[row].meter);
        self.append(Kind::Anomalies, tick, batch.rows.len(), row, |rows, range| match rows {
            Rows::Anomalies(rows) => range.for_each(|row| rows.push(batch, row)),
            _ => unreachable!("a buffer has rows of its kind"),
        });
    }

    /// Appends rows, of each of which the time and the meter are told, but for those that are in objects already.
    fn append(
        &mut self,
        kind: Kind,
        tick: Tick,
        rows: usize,
        row: impl Fn(usize) -> (i64, MeterKey),
        mut append: impl FnMut(&mut Rows, Range<usize>),
    ) {
        if !self.wants(kind) {
            return;
        }
        let group = |at: usize| group_of(row(at).1.hash()) as u16;
        let channels = self.names.channels.len();
        for (day, range) in day_runs(rows, |at| row(at).0) {
            let stored = match self.recovered.is_replay(tick) {
                true => self.recovered.stored((kind, day), tick),
                false => Vec::new(),
            };
            for range in runs(range, |at| !holds(&stored, group(at))) {
                let new = || Buffer { held: Held::new(Rows::new(kind, channels, day)), first: tick, since: None };
                let buffer = self.buffers.entry((kind, day)).or_insert_with(new);
                let before = buffer.held.rows().memory();
                append(buffer.held.change(), range.clone());
                self.memory += buffer.held.rows().memory() - before;
                range.for_each(|at| self.changed.mark(group(at)));
            }
        }
    }

    /// Ends a tick: the rows that make a file now. None in a tick that is replayed, whose cuts have been made before.
    pub fn due(&mut self, tick: Tick, at: Moment) -> Vec<Cut> {
        self.close(tick);
        let mut due = Vec::new();
        for (key, buffer) in &mut self.buffers {
            buffer.since = buffer.since.or(at.now);
            let age = at.now.zip(buffer.since).map(|(now, since)| now.saturating_sub(since));
            let old = age.is_some_and(|age| age >= self.settings.max_age_ms);
            let over = at.watermark.saturating_sub(self.settings.settle_ms) >= (key.1 + 1) * DAY_MS;
            let rows = buffer.held.rows();
            let large = rows.encoded_bytes() >= self.settings.max_size || rows.len() >= MAX_ROWS;
            if old || over || large {
                due.push(*key);
            }
        }
        if self.recovered.is_replay(tick) {
            return Vec::new();
        }
        let mut cuts: Vec<Cut> = due.into_iter().filter_map(|key| self.cut(tick, key)).collect();
        while self.memory > self.settings.memory {
            // Of several that are as large the first: the same in every run.
            let largest = self.buffers.iter().rev().max_by_key(|(_, buffer)| buffer.held.rows().memory());
            match largest.map(|(key, _)| *key).and_then(|key| self.cut(tick, key)) {
                Some(cut) => cuts.push(cut),
                None => break,
            }
        }
        cuts
    }

    /// Ends the last tick: all that is left, unless it is replayed.
    pub fn finish(&mut self, tick: Tick) -> Vec<Cut> {
        self.close(tick);
        if self.recovered.is_replay(tick) {
            return Vec::new();
        }
        let keys: Vec<(Kind, i64)> = self.buffers.keys().copied().collect();
        keys.into_iter().filter_map(|key| self.cut(tick, key)).collect()
    }

    /// All that is left when the input stops and no state is kept.
    pub fn leave(&mut self) -> Vec<Cut> {
        self.finish(self.closed.unwrap_or_default())
    }

    /// Ends a tick; forgets cuts that are stored.
    fn close(&mut self, tick: Tick) {
        self.closed = Some(tick);
        let (on_the_way, changed) = (&self.on_the_way, &mut self.changed);
        self.pending.retain(|name, pending| {
            let kept = on_the_way.holds(name);
            if !kept {
                pending.held.groups().into_iter().for_each(|group| changed.mark(group));
            }
            kept
        });
    }

    fn cut(&mut self, through: Tick, key: (Kind, i64)) -> Option<Cut> {
        let Buffer { held, first, .. } = self.buffers.remove(&key)?;
        let rows = held.rows().clone();
        self.memory -= rows.memory();
        let name = self.objects.name(key, [first, through]);
        if self.keeps_state {
            held.groups().into_iter().for_each(|group| self.changed.mark(group));
            self.on_the_way.add(&name);
            self.pending.insert(name.clone(), Pending { key, first, held });
        }
        Some(Cut { kind: key.0, day: key.1, through, name, rows, names: self.names.clone() })
    }
}

/// The runs of rows that are wanted.
fn runs(rows: Range<usize>, wanted: impl Fn(usize) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut from = rows.start;
    std::iter::from_fn(move || {
        let start = (from..rows.end).find(|row| wanted(*row))?;
        let end = (start..rows.end).find(|row| !wanted(*row)).unwrap_or(rows.end);
        from = end;
        Some(start..end)
    })
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
