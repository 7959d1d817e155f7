//! Plain types that everything else speaks of: meters, readings, results, dead letters, control records.

pub mod commit;
pub mod control;
pub mod dead;
pub mod job;
pub mod meter;
pub mod pod;
pub mod reading;
pub mod results;
