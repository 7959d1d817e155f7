//! What a state folder knows of its job: the newest snapshot that is whole, and the ticks committed after it.

use crate::checkpoint::frame::{Frames, Kind};
use crate::checkpoint::log::{self, Head, Position};
use crate::checkpoint::snapshot::{self, Snapshot};
use crate::checkpoint::volume::Volume;
use crate::checkpoint::{damaged, unusable};
use crate::error::Error;
use crate::model::commit::{Commit, JobRecord};
use crate::model::control::Tick;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What has been found in a state folder.
pub struct Recovered {
    /// The job, as it was at its last start.
    pub job: JobRecord,
    /// The newest incarnation.
    pub incarnation: u64,
    /// The snapshot to restore from.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The committed ticks after it, in order.
    pub commits: Vec<Commit>,
    /// The incarnation that committed each of them.
    pub committed_by: Vec<u64>,
    /// The run is complete: everything has been shown.
    pub complete: bool,
    /// Where the log ends.
    pub end: Position,
    /// Bytes read of log and snapshot.
    pub bytes_read: u64,
    /// Snapshots that could not be used, with the reason.
    pub unusable: Vec<String>,
}

impl Recovered {
    /// The tick after the last committed one.
    pub fn next_tick(&self) -> Tick {
        let first = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.manifest.tick + 1);
        first + self.commits.len() as u64
    }

    /// The committed length of each output file.
    pub fn ends(&self) -> BTreeMap<String, u64> {
        let mut ends = self.snapshot.as_ref().map_or(BTreeMap::new(), |snapshot| snapshot.manifest.ends.clone());
        for shown in self.commits.iter().flat_map(|commit| &commit.shown) {
            ends.insert(shown.path.clone(), shown.end);
        }
        ends
    }
}

/// Reads a state folder; nothing when no job has begun there. `before`: as it was when that incarnation began, which is what
/// its first record says.
pub fn recover(volume: &Arc<dyn Volume>, before: Option<u64>) -> Result<Option<Recovered>, Error> {
    let names = volume.list().map_err(|error| unusable(&**volume, "", &error))?;
    let mut logs = Logs::find(&**volume, &names)?;
    let incarnation = logs.newest;
    if let Some(before) = before {
        logs.before(&**volume, before)?;
    }
    let Some(job) = logs.job()? else { return Ok(None) };
    let mut unusable = Vec::new();
    for name in names.iter().rev().filter(|name| snapshot::parse_manifest(name).is_some()) {
        match candidate(volume, name, &logs) {
            Ok(snapshot) => match replay(&**volume, &logs, Some(&snapshot)) {
                Ok(read) => return Ok(Some(read.recovered(job, incarnation, Some(snapshot), unusable))),
                Err(error) => return Err(error),
            },
            Err(error) => unusable.push(error.to_string()),
        }
    }
    match replay(&**volume, &logs, None) {
        Ok(read) => Ok(Some(read.recovered(job, incarnation, None, unusable))),
        Err(error) if unusable.is_empty() => Err(error),
        Err(_) => {
            let hint = "no snapshot can be used and the log does not reach back to the start: restore the folder from a backup, \
                        or start over with another state folder and other outputs";
            Err(damaged(&**volume, "", unusable.join("; ")).with_hint(hint))
        }
    }
}

/// A snapshot whose manifest and segments are whole, and whose place in the log counts.
fn candidate(volume: &Arc<dyn Volume>, name: &str, logs: &Logs) -> Result<Arc<Snapshot>, Error> {
    let snapshot = Snapshot::open(volume.clone(), name)?;
    let position = snapshot.manifest.position;
    let end = logs.end_of(position.incarnation);
    if end.is_none_or(|end| end.is_some_and(|end| position > end)) {
        return Err(damaged(&**volume, name, "it belongs to a part of the log that does not count"));
    }
    snapshot.verify()?;
    Ok(Arc::new(snapshot))
}

/// The log files that count, by incarnation.
struct Logs {
    /// Heads by incarnation and number.
    heads: BTreeMap<(u64, u32), Head>,
    /// Where the log of an incarnation ends when a later one says so.
    ends: BTreeMap<u64, Position>,
    newest: u64,
}

impl Logs {
    fn find(volume: &dyn Volume, names: &[String]) -> Result<Logs, Error> {
        let mut logs = Logs { heads: BTreeMap::new(), ends: BTreeMap::new(), newest: 0 };
        for (name, (incarnation, sequence)) in names.iter().filter_map(|name| Some((name, log::parse(name)?))) {
            logs.newest = logs.newest.max(incarnation);
            if let Some(head) = read_head(volume, name)? {
                logs.heads.insert((incarnation, sequence), head);
            }
        }
        logs.link(volume)?;
        Ok(logs)
    }

    /// Forgets this incarnation and those after it, but for where it says that the log before it ends.
    fn before(&mut self, volume: &dyn Volume, incarnation: u64) -> Result<(), Error> {
        let previous = self.heads.range((incarnation, 0)..).next().and_then(|(_, head)| head.previous);
        self.heads.retain(|(of, _), _| *of < incarnation && previous.is_some());
        self.link(volume)?;
        if let Some(end) = previous {
            self.ends.insert(end.incarnation, end);
        }
        Ok(())
    }

    /// Follows the heads from the newest incarnation back; what none of them leads to does not count.
    fn link(&mut self, volume: &dyn Volume) -> Result<(), Error> {
        self.ends.clear();
        let uid = self.heads.values().next_back().map(|head| head.job.uid.clone());
        let mut counts: Vec<u64> = Vec::new();
        let mut next = self.heads.keys().next_back().map(|(incarnation, _)| *incarnation);
        while let Some(incarnation) = next {
            counts.push(incarnation);
            let head = self.heads.range((incarnation, 0)..=(incarnation, u32::MAX)).next().map(|(_, head)| head);
            let previous = head.and_then(|head| head.previous);
            if let Some(end) = previous {
                self.ends.insert(end.incarnation, end);
            }
            next = previous.map(|end| end.incarnation);
        }
        self.heads.retain(|(incarnation, _), _| counts.contains(incarnation));
        match self.heads.iter().find(|(_, head)| Some(&head.job.uid) != uid.as_ref()) {
            Some(((incarnation, sequence), head)) => {
                let message =
                    format!("belongs to another job ({}; the newest log is of {})", head.job.uid, uid.unwrap_or_default());
                Err(damaged(volume, &log::name(*incarnation, *sequence), message)
                    .with_hint("files of two folders were mixed"))
            }
            None => Ok(()),
        }
    }

    fn job(&self) -> Result<Option<JobRecord>, Error> {
        Ok(self.heads.values().next_back().map(|head| head.job.clone()))
    }

    /// Where the log of an incarnation that counts ends; the inner none: with its last whole record.
    fn end_of(&self, incarnation: u64) -> Option<Option<Position>> {
        let counts = self.heads.keys().any(|(of, _)| *of == incarnation) || self.ends.contains_key(&incarnation);
        counts.then(|| self.ends.get(&incarnation).copied())
    }
}

/// The head of a log file; none when the incarnation died while it made the file, and so before it did anything.
fn read_head(volume: &dyn Volume, name: &str) -> Result<Option<Head>, Error> {
    // A head holds the settings and the list of partitions.
    let mut size = 64 << 10;
    loop {
        let bytes = volume.read(name, 0, size).map_err(|error| unusable(volume, name, &error))?;
        match Frames::new(&bytes).next() {
            Ok(Some(frame)) if frame.kind == Kind::LogHead => {
                return serde_json::from_slice(frame.payload).map(Some).map_err(|error| damaged(volume, name, error));
            }
            Ok(Some(frame)) => return Err(damaged(volume, name, format!("begins with {:?}, not with a head", frame.kind))),
            Ok(None) => return Ok(None),
            Err(_) if bytes.len() as u64 == size && size < 1 << 32 => size *= 16,
            Err(crate::checkpoint::frame::Fault::Torn) => return Ok(None),
            Err(fault) => return Err(damaged(volume, name, fault)),
        }
    }
}

/// What the log says behind a snapshot.
struct Read {
    commits: Vec<Commit>,
    committed_by: Vec<u64>,
    complete: bool,
    end: Position,
    bytes: u64,
}

impl Read {
    fn recovered(
        self,
        job: JobRecord,
        incarnation: u64,
        snapshot: Option<Arc<Snapshot>>,
        unusable: Vec<String>,
    ) -> Recovered {
        let Read { commits, committed_by, complete, end, bytes } = self;
        let bytes_read = bytes + snapshot.as_ref().map_or(0, |snapshot| snapshot.bytes());
        Recovered { job, incarnation, snapshot, commits, committed_by, complete, end, bytes_read, unusable }
    }
}

fn replay(volume: &dyn Volume, logs: &Logs, snapshot: Option<&Snapshot>) -> Result<Read, Error> {
    let first = logs.heads.keys().next().map(|(incarnation, sequence)| Position {
        incarnation: *incarnation,
        sequence: *sequence,
        offset: 0,
    });
    let zero = Position { incarnation: 0, sequence: 0, offset: 0 };
    let from = snapshot.map_or(first.unwrap_or(zero), |snapshot| snapshot.manifest.position);
    let mut next = snapshot.map_or(0, |snapshot| snapshot.manifest.tick + 1);
    let mut read = Read { commits: Vec::new(), committed_by: Vec::new(), complete: false, end: from, bytes: 0 };
    for (incarnation, sequence) in logs.heads.range((from.incarnation, from.sequence)..).map(|(key, _)| *key) {
        let name = log::name(incarnation, sequence);
        let limit = logs.ends.get(&incarnation);
        if limit.is_some_and(|limit| sequence > limit.sequence) {
            continue;
        }
        let start = if (incarnation, sequence) == (from.incarnation, from.sequence) { from.offset } else { 0 };
        let to = limit.filter(|limit| limit.sequence == sequence).map_or(u64::MAX, |limit| limit.offset);
        let bytes = volume.read(&name, start, to.saturating_sub(start)).map_err(|error| unusable(volume, &name, &error))?;
        read.bytes += bytes.len() as u64;
        let mut frames = Frames::new(&bytes);
        let is_last_file = logs.heads.range((incarnation, sequence + 1)..).next().is_none();
        loop {
            let at = start + frames.at() as u64;
            read.end = Position { incarnation, sequence, offset: at };
            let frame = match frames.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(crate::checkpoint::frame::Fault::Torn) if to == u64::MAX && is_last_file => break,
                Err(fault) => {
                    let hint = "restore the folder from a backup, or start over with another state folder and other outputs";
                    return Err(damaged(volume, &name, format!("at byte {at}: {fault}")).with_hint(hint));
                }
            };
            match frame.kind {
                Kind::LogHead => {}
                Kind::Complete => read.complete = true,
                Kind::Commit => {
                    let commit: Commit = serde_json::from_slice(frame.payload)
                        .map_err(|error| damaged(volume, &name, format!("at byte {at}: {error}")))?;
                    if commit.tick != next {
                        let message = format!("at byte {at}: tick {} where tick {next} should stand", commit.tick);
                        return Err(damaged(volume, &name, message).with_hint("is a log file missing?"));
                    }
                    next += 1;
                    read.commits.push(commit);
                    read.committed_by.push(incarnation);
                    read.complete = false;
                }
                other => return Err(damaged(volume, &name, format!("at byte {at}: a record of kind {other:?}"))),
            }
        }
    }
    Ok(read)
}
