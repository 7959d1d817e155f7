//! The state folder: what a job has committed, what is to be shown of it, and the state to go on from.
//!
//! * The *tick log* ([`log`]) holds a record of every tick; a tick is committed when its record is durable.
//! * The *spool* ([`spool`]) holds the lines of ticks, durable before their tick is committed, so that a file can be
//!   completed after a crash.
//! * A *snapshot* ([`manifest`], [`segment`]) is the state of all steps after one tick, and names the place in the log
//!   behind it.
//! * [`mod@recover`] reads what is there; [`keeper`] holds the order in which all this is written.
//!
//! Nothing here starts a thread or reads a clock, and every effect goes through [`volume::Volume`] or [`files::Files`], so
//! that a simulation can let each of them fail.
//!
//! Processes that were replaced and do not know it yet may go on for a while. Each start has a number, its *incarnation*,
//! and a log of its own that only it creates. The first record of that log says how much of the log before it counts;
//! what stands beyond is void. After each append a log looks whether a newer one exists, before anything is shown.

pub mod chain;
pub mod files;
pub mod frame;
pub mod give_up;
pub mod hash;
pub mod inspect;
pub mod keeper;
pub mod log;
pub mod manifest;
pub mod names;
mod problem;
pub mod recover;
pub mod segment;
pub mod snapshot;
pub mod spool;
pub mod trim;
pub mod volume;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use files::{Completed, Disk, Files, complete_files};
pub use hash::lines_hash;
pub use keeper::{Frozen, Keeper, Shelf};
pub use log::{Position, TickLog};
pub use manifest::{FileEnd, Manifest};
pub use recover::{Recovered, next_incarnation, recover};
pub use segment::{Segment, SegmentWriter};
pub use snapshot::Snapshot;
pub use spool::Spool;
pub use volume::{Appender, Folder, Volume};
