//! Rows of results as Parquet files: pure functions from rows to bytes.
//!
//! A file holds rows of one kind and one day, sorted by meter, then time. Row groups are small enough that
//! `WHERE meter = ... AND time BETWEEN ...` reads little of a file, and each has bounds, a page index and a bloom filter of
//! its meters. The same rows give the same bytes, in whatever order they were appended.
//!
//! Readers take the folders `kind=...` and `date=...` of the archive for columns. Therefore no channel's column has these
//! names, and anomalies have their kind as `anomaly_kind` too: DuckDB shows the folder's in place of a file's `kind`.

pub mod anomalies;
pub mod meters;
pub mod readings;
pub mod stats;

mod chunk;
mod doubles;
mod file;
mod hybrid;
mod order;

#[cfg(test)]
pub mod tests;

use crate::model::results::AnomalyBatch;
use std::fmt;
use std::sync::Arc;

/// Rows of a row group: with bounds on meters, a look-up reads about this many.
pub const GROUP_ROWS: usize = 128 << 10;
/// Rows of a page: what a reader that knows the page index reads at least.
const PAGE_ROWS: usize = 16 << 10;
/// Columns that readers find in the path of a file.
const PATH_COLUMNS: [&str; 2] = ["kind", "date"];

/// Ids of anomalies, one for each row of a batch: 32 hexadecimal digits.
pub type AnomalyIds = dyn Fn(&AnomalyBatch) -> Vec<[u8; 32]> + Send + Sync;

/// What the numbers in rows stand for.
#[derive(Clone)]
pub struct Names {
    /// The dataflow; stands in the metadata of a file.
    pub dataflow: String,
    /// The source that the readings come from.
    pub source: String,
    /// Its channels.
    pub channels: Vec<String>,
    /// Its partitions.
    pub partitions: Vec<String>,
    /// The detectors of the step that judges, each with its kinds of anomalies.
    pub detectors: Vec<(String, Vec<String>)>,
    /// Computes the ids of anomalies.
    pub anomaly_ids: Arc<AnomalyIds>,
}

impl Names {
    fn about(&self, kind: &'static str) -> Vec<(&str, &str)> {
        vec![("meterflow.kind", kind), ("meterflow.dataflow", &self.dataflow), ("meterflow.source", &self.source)]
    }

    fn partitions(&self) -> Vec<&[u8]> {
        self.partitions.iter().map(|name| name.as_bytes()).collect()
    }

    fn channels(&self) -> Vec<&[u8]> {
        self.channels.iter().map(|name| name.as_bytes()).collect()
    }
}

/// Rows that cannot be written as Parquet: names or numbers that do not fit each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodeError(
    /// What is wrong.
    pub String,
);

impl fmt::Display for EncodeError {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "rows cannot be written as Parquet: {}", self.0)
    }
}

impl std::error::Error for EncodeError {}
