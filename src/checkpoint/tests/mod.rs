//! Tests of the state folder as a whole, on real files.

mod files;
mod fixtures;
mod log;
mod snapshots;
