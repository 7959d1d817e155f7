//! Event-time windows per meter and channel: tumbling, sliding and session windows, their statistics and revisions.
//!
//! * Computes: count, mean, standard deviation, extremes, first and last value of the readings in each window.
//! * Time: windows are half open, in event time, aligned to the epoch (sessions: first reading to last reading + gap).
//! * Emits: at the end of a tick, the windows that the watermark has closed, and once more with the next revision those
//!   already published that got readings in the tick; in the order of (end, key group, slot, channel).
//! * Late input never gets here; duplicates that are kept count like any other reading.
//! * Keeps, per meter and channel, one slice for each slide length with readings (sessions: one entry a session), until
//!   the watermark - allowed lateness has passed every window that it belongs to.

mod list;
mod sessions;
pub mod settings;
mod sliced;
mod stats;
mod timers;

use crate::model::reading::Batch;
use crate::model::results::{WindowBatch, WindowRow};
use crate::settings::format_duration;
use crate::state::keyed::Keyed;
use crate::state::{Corrupt, Reader, Scope, State, Writer};
use bytemuck::Pod;
use sessions::Sessions;
use sliced::Sliced;
use stats::Stats;
use timers::Key;

/// How a meter's readings are grouped; durations in ms, above 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Windows of `size`, one after the other.
    Tumbling {
        /// Their length.
        size: i64,
    },
    /// Windows of `size`, one beginning every `slide`.
    Sliding {
        /// Their length.
        size: i64,
        /// From one beginning to the next; divides `size`.
        slide: i64,
    },
    /// Maximal runs of readings that are less than `gap` apart.
    Session {
        /// The shortest silence that ends a session.
        gap: i64,
    },
}

/// Which windows there are, and how long they take readings in after they have been published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// How readings are grouped.
    pub kind: Kind,
    /// How far behind the watermark a reading still counts, ms.
    pub allowed_lateness: i64,
}

impl Spec {
    /// Windows that end at or before this instant can get no more readings.
    #[inline]
    fn horizon(&self, watermark: i64) -> i64 {
        watermark.saturating_sub(self.allowed_lateness)
    }

    /// How long after a window's start, by the watermark, results of it may still come, ms. A session has no bound; it is
    /// counted as one of two readings.
    pub fn longest_wait(&self) -> i64 {
        let length = match self.kind {
            Kind::Tumbling { size } | Kind::Sliding { size, .. } => size,
            Kind::Session { gap } => gap.saturating_mul(2),
        };
        length.saturating_add(self.allowed_lateness)
    }

    /// As it is stored, to see at a restore that nobody has changed it.
    fn code(&self) -> [i64; 4] {
        match self.kind {
            Kind::Tumbling { size } => [0, size, size, self.allowed_lateness],
            Kind::Sliding { size, slide } => [1, size, slide, self.allowed_lateness],
            Kind::Session { gap } => [2, gap, gap, self.allowed_lateness],
        }
    }

    /// The settings that stored windows depend on, in words. The allowed lateness is one: with a longer one, readings would
    /// count in windows that are forgotten; and what is published is remembered only when there is one.
    fn shape(&self) -> String {
        let lateness = format_duration(self.allowed_lateness);
        let kind = match self.kind {
            Kind::Tumbling { size } => format!("kind=tumbling size={}", format_duration(size)),
            Kind::Sliding { size, slide } => {
                format!("kind=sliding size={} slide={}", format_duration(size), format_duration(slide))
            }
            Kind::Session { gap } => format!("kind=session gap={}", format_duration(gap)),
        };
        format!("{kind} allowed_lateness={lateness}")
    }

    fn save(&self, watermark: i64, out: &mut Writer) {
        out.value(self.code());
        out.value(watermark);
    }

    /// The watermark that [`Spec::save`] was given.
    fn load(&self, from: &mut Reader) -> Result<i64, Corrupt> {
        let stored: [i64; 4] = from.value()?;
        if stored != self.code() {
            return Err(Corrupt(format!(
                "it is of windows {stored:?} (kind, size or gap, slide, allowed lateness in ms), not of {:?}; \
                 these cannot change while the step keeps its state",
                self.code()
            )));
        }
        from.value()
    }
}

/// The windows of all meters that one worker owns.
///
/// A tick is any number of [`Windows::apply`], then [`Windows::close`] until it returns true.
pub enum Windows {
    /// Tumbling and sliding windows.
    Sliced(Box<Sliced>),
    /// Session windows.
    Sessions(Box<Sessions>),
}

impl Windows {
    /// No readings yet, of a source with `channels` channels.
    ///
    /// # Panics
    /// When a duration is not above 0 (lateness: below 0), or a slide does not divide its size: settings are checked
    /// before, see [`settings::read`].
    pub fn new(spec: Spec, channels: usize) -> Windows {
        assert!(spec.allowed_lateness >= 0, "the allowed lateness cannot be negative");
        match spec.kind {
            Kind::Tumbling { size } => Windows::Sliced(Box::new(Sliced::new(spec, size, size, channels))),
            Kind::Sliding { size, slide } => Windows::Sliced(Box::new(Sliced::new(spec, size, slide, channels))),
            Kind::Session { gap } => Windows::Sessions(Box::new(Sessions::new(spec, gap, channels))),
        }
    }

    /// Takes in the used readings of one batch; batches come in canonical order.
    ///
    /// # Panics
    /// When a reading lies behind the last watermark - allowed lateness: the source has to judge it late.
    pub fn apply(&mut self, batch: &Batch) {
        debug_assert!(!batch.is_late(), "late readings count in no window");
        match self {
            Windows::Sliced(sliced) => sliced.apply(batch),
            Windows::Sessions(sessions) => sessions.apply(batch),
        }
    }

    /// Ends a tick: appends to `out` what `watermark` has closed, and what was published before and has changed.
    ///
    /// Does about `budget` rows of work and returns false when more is due: call again with the same watermark before the
    /// next [`Windows::apply`]. A watermark of `i64::MAX` is the end of time.
    pub fn close(&mut self, watermark: i64, budget: usize, out: &mut WindowBatch) -> bool {
        match self {
            Windows::Sliced(sliced) => sliced.close(watermark, budget, out),
            Windows::Sessions(sessions) => sessions.close(watermark, budget, out),
        }
    }

    /// Number of meters that have had a reading with a channel.
    pub fn keys(&self) -> usize {
        match self {
            Windows::Sliced(sliced) => sliced.keys(),
            Windows::Sessions(sessions) => sessions.keys(),
        }
    }

    /// Bytes of memory taken, about.
    pub fn memory(&self) -> usize {
        match self {
            Windows::Sliced(sliced) => sliced.memory(),
            Windows::Sessions(sessions) => sessions.memory(),
        }
    }
}

impl State for Windows {
    fn kind(&self) -> (&'static str, u16) {
        match self {
            Windows::Sliced(_) => ("windows.sliced", 1),
            Windows::Sessions(_) => ("windows.sessions", 1),
        }
    }

    /// Without the channels: who makes the windows knows their names.
    fn shape(&self) -> String {
        match self {
            Windows::Sliced(sliced) => sliced.spec.shape(),
            Windows::Sessions(sessions) => sessions.spec.shape(),
        }
    }

    fn is_changed(&self, group: u16) -> bool {
        match self {
            Windows::Sliced(sliced) => sliced.heads.is_changed(group),
            Windows::Sessions(sessions) => sessions.heads.is_changed(group),
        }
    }

    fn mark_saved(&mut self, group: u16) {
        match self {
            Windows::Sliced(sliced) => sliced.heads.mark_saved(group),
            Windows::Sessions(sessions) => sessions.heads.mark_saved(group),
        }
    }

    fn save(&self, scope: Scope, out: &mut Writer) {
        match self {
            Windows::Sliced(sliced) => sliced.save(scope, out),
            Windows::Sessions(sessions) => sessions.save(scope, out),
        }
    }

    fn load(&mut self, scope: Scope, from: &mut Reader) -> Result<(), Corrupt> {
        if from.is_empty() {
            return Ok(());
        }
        match self {
            Windows::Sliced(sliced) => sliced.load(scope, from),
            Windows::Sessions(sessions) => sessions.load(scope, from),
        }
    }
}

/// Appends the row of one window; statistics of no readings are NaN.
#[inline]
fn publish<V: Pod>(out: &mut WindowBatch, heads: &Keyed<V>, key: Key, [start, end]: [i64; 2], revision: u32, stats: &Stats) {
    let (meter, heap) = heads.key(key.slot());
    let meter = meter.moved(heap, &mut out.heap);
    let or_nan = |value: f64| if stats.count == 0 { f64::NAN } else { value };
    out.rows.push(WindowRow {
        meter,
        start,
        end,
        count: stats.count,
        mean: or_nan(stats.mean),
        stddev: or_nan(stats.stddev()),
        min: or_nan(stats.min),
        max: or_nan(stats.max),
        first: or_nan(stats.first),
        last: or_nan(stats.last),
        revision,
        channel: key.channel() as u32,
    });
}

#[cfg(test)]
mod tests;
