//! Anomaly detectors: pure judges of readings, each with its own settings and its own state by meter.
//!
//! A detector is one file with a [`Spec`]: its keys with their defaults, a check of their values, and a function that
//! builds it. Adding one touches that file and [`ALL`].

pub mod limits;
pub mod moving_average;
pub mod status;

mod baseline;
mod set;

#[cfg(test)]
mod tests;

pub use set::Detectors;

use crate::model::reading::Batch;
use crate::model::results::Finding;
use crate::settings::{Key, Problem, Values};
use crate::state::State;

/// Every detector there is, in the order in which a step runs those that are configured.
pub const ALL: &[&Spec] = &[&moving_average::SPEC, &limits::SPEC, &status::SPEC];

/// A detector as it is configured: the table `[detectors.NAME]`.
pub struct Spec {
    /// Name of the table, and of the detector in lines.
    pub name: &'static str,
    /// What it finds, in a sentence.
    pub about: &'static str,
    /// Keys of the table.
    pub keys: &'static [Key],
    /// Keys of the sub-tables, which are named by channels; empty: it has none.
    pub per_channel: &'static [Key],
    /// Builds it from values whose types and ranges are right.
    pub build: Build,
    /// What is allowed but hardly meant.
    pub warnings: fn(&Values) -> Vec<Problem>,
}

/// Builds a detector, or says which value cannot be.
pub type Build = fn(&Values, &Context) -> Result<Box<dyn Detector>, Problem>;

/// What a detector has to know of the step that it runs in.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Channels of the source, by index.
    pub channels: &'a [String],
    /// How late a reading may be and still count, ms behind the watermark.
    pub allowed_lateness: i64,
}

/// Judges readings. There is one per worker; it sees only the meters of the worker's key groups, in batches that come in
/// canonical order (tick, partition name, offset).
pub trait Detector: State {
    /// Names of what it finds, by the index that a [`Finding`] gives.
    fn kinds(&self) -> &[String];

    /// Whether it judges late readings too: it must then remember nothing of the readings it sees.
    fn judges_late(&self) -> bool;

    /// Judges the readings of a batch, in their order, and learns from them.
    fn judge(&mut self, batch: &Batch, found: &mut Findings);

    /// Ends a tick: what can no longer matter behind the watermark (ms) may be forgotten.
    fn close(&mut self, watermark: i64);

    /// Bytes of memory that its state takes.
    fn memory(&self) -> usize;
}

/// What a detector found in a batch, in the order of the readings.
#[derive(Default, Debug)]
pub struct Findings {
    list: Vec<(u32, Finding)>,
}

impl Findings {
    /// Adds what was found in row `row` of the batch; rows come in ascending order, several findings of one are allowed.
    #[inline]
    pub fn push(&mut self, row: usize, finding: Finding) {
        debug_assert!(self.list.last().is_none_or(|(last, _)| *last as usize <= row), "findings come in row order");
        self.list.push((row as u32, finding));
    }

    /// The findings with the index of their row.
    pub fn list(&self) -> &[(u32, Finding)] {
        &self.list
    }

    /// Forgets all findings and keeps the memory.
    pub fn clear(&mut self) {
        self.list.clear();
    }
}

impl Context<'_> {
    /// The index of a channel of the source; `key` is the key that names it.
    fn channel(&self, key: &str, name: &str) -> Result<usize, Problem> {
        self.channels.iter().position(|channel| channel == name).ok_or_else(|| {
            let message = format!("`{name}` is not a channel of the source; it has {}", self.channels.join(", "));
            Problem { key: key.to_string(), message }
        })
    }
}

/// A problem with the value of `key`.
fn problem(key: &str, message: impl Into<String>) -> Problem {
    Problem { key: key.to_string(), message: message.into() }
}

/// A value that the configuration always has, since its key has a default.
fn given<T>(key: &str, value: Option<T>) -> Result<T, Problem> {
    value.ok_or_else(|| problem(key, "a value is needed"))
}
