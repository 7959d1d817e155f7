//! The state folder: tick log, spool, snapshots, and how a job recovers from them.
//!
//! ```text
//! log-INCARNATION-SEQUENCE              commit records, appended and synced; see [`log`]
//! spool-INCARNATION-PROCESS-SEQUENCE    lines of ticks, durable before their commit record; see [`spool`]
//! segment-TICK-INCARNATION-PROCESS      state of steps by key group; see [`snapshot`]
//! snapshot-TICK-INCARNATION             what a snapshot consists of; written when all its segments are durable
//! ```
//!
//! The order that makes it exactly once: lines are durable in the spool, then the commit record is durable in the log, then
//! lines are shown. A snapshot counts when its segments are durable, its tick is committed, and the files that lines went to
//! are durable as far as that tick; only then is what it replaces removed. Recovery ([`recover`](recover::recover)) cuts the
//! log where it is torn, completes the files from the spool ([`files`]), and hands back the ticks after the last snapshot.
//!
//! Every file begins with a record of who wrote it, and every record has kind, version, length and checksum ([`frame`]).
//! Nothing here knows timely, a clock or a thread.

pub mod fault;
pub mod files;
pub mod frame;
pub mod log;
pub mod recover;
pub mod snapshot;
pub mod spool;
pub mod trim;
pub mod volume;

#[cfg(test)]
mod tests;

use crate::codec::id::murmur3;
use crate::error::Error;
use crate::model::commit::LinesHash;
use std::fmt::Display;
use std::io;

/// The error of a file of the state folder that cannot be written or read.
fn unusable(volume: &dyn volume::Volume, name: &str, error: &io::Error) -> Error {
    let hint = "the state folder must be there, writable and have space; nothing that was committed is lost";
    Error::output(format!("{}/{name}", volume.describe()), error).with_hint(hint)
}

/// The error of a file of the state folder that does not hold what it should.
fn damaged(volume: &dyn volume::Volume, name: &str, message: impl Display) -> Error {
    Error::refused(format!("{}/{name}", volume.describe()), message)
}

/// An order-free hash of lines, each of which ends with a line feed; and their number.
pub fn lines_hash(lines: &[u8]) -> (u64, LinesHash) {
    let (mut rows, mut hash, mut start) = (0, LinesHash::default(), 0);
    for end in memchr::memchr_iter(b'\n', lines) {
        let [a, b] = murmur3(&lines[start..end], 0);
        hash.add(LinesHash(a, b));
        rows += 1;
        start = end + 1;
    }
    (rows, hash)
}
