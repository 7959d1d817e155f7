//! What a state folder has to go on from.

use crate::checkpoint::chain::{self, Chain, Head, Link};
use crate::checkpoint::log::{Accepted, Position};
use crate::checkpoint::names::Name;
use crate::checkpoint::problem::{damaged, trouble};
use crate::checkpoint::snapshot::Snapshot;
use crate::checkpoint::volume::Volume;
use crate::error::Error;
use crate::model::commit::{Commit, JobRecord};
use crate::model::control::{Counts, Tick};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was found.
#[derive(Debug)]
pub struct Recovered {
    /// The job as the newest incarnation ran it.
    pub job: JobRecord,
    /// The newest incarnation whose log has begun.
    pub incarnation: u64,
    /// The snapshot to go on from; none: from the beginning.
    pub snapshot: Option<Snapshot>,
    /// The committed ticks after it, in order.
    pub commits: Vec<Commit>,
    /// The incarnation that committed each of them.
    pub makers: Vec<u64>,
    /// Whether a bounded run is complete.
    pub complete: bool,
    /// How much of the newest file of the log counts.
    pub accepted: Option<Accepted>,
    /// Snapshots that were passed over, and why; to be told.
    pub passed_over: Vec<String>,
    /// Bytes of the log and of snapshots that were read.
    pub bytes_read: u64,
}

impl Recovered {
    /// The last committed tick.
    pub fn last_tick(&self) -> Option<Tick> {
        let of_snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.manifest.tick);
        self.commits.last().map(|commit| commit.tick).or(of_snapshot)
    }

    /// What was counted in all committed ticks.
    pub fn counts(&self) -> Counts {
        let mut counts = self.snapshot.as_ref().map_or(Counts::default(), |snapshot| snapshot.manifest.counts.clone());
        self.commits.iter().for_each(|commit| counts.add(&commit.counts));
        counts
    }

    /// The committed ends of all files, by path, with the name of the sink.
    pub fn ends(&self) -> BTreeMap<String, (String, u64)> {
        let files = self.snapshot.iter().flat_map(|snapshot| &snapshot.manifest.files);
        let mut ends: BTreeMap<_, _> = files.map(|file| (file.path.clone(), (file.sink.clone(), file.end))).collect();
        for shown in self.commits.iter().flat_map(|commit| &commit.shown) {
            ends.insert(shown.path.clone(), (shown.sink.clone(), shown.end));
        }
        ends
    }
}

/// The number that the next incarnation has: above those of all files, so that none of it is ever mistaken for another's.
pub fn next_incarnation(volume: &dyn Volume) -> Result<u64, Error> {
    let names = volume.list().map_err(|error| trouble("list the state folder", volume.place(""), &error))?;
    let used = |name: &String| Name::parse(name).or_else(|| Name::left_over(name)).map(|name| name.incarnation());
    Ok(names.iter().filter_map(used).max().unwrap_or(0) + 1)
}

/// Reads a state folder; none: nothing was ever committed there.
///
/// `before` says whose view is wanted: with the number of an incarnation whose log has begun, what that one goes on from, as
/// its first record says, so that all its processes agree; else all there is, and then every byte of the snapshot is
/// verified. A snapshot that is damaged is passed over for the one before it, if the log reaches back to that.
pub fn recover(volume: &Arc<dyn Volume>, before: Option<u64>) -> Result<Option<Recovered>, Error> {
    let Some(view) = view(&**volume, before)? else { return Ok(None) };
    let chain = match view.head {
        Some(head) => chain::walk(&**volume, head, view.length)?,
        None => Chain::default(),
    };
    let mut passed_over = Vec::new();
    let mut bytes_read = 0;
    let snapshot = match view.chosen {
        Some(Some((tick, incarnation))) => Some(Snapshot::open(volume, tick, incarnation)??),
        Some(None) => None,
        None => choose(volume, &chain.links, &view.job, &mut passed_over, &mut bytes_read)?,
    };
    let mut recovered = Recovered {
        job: view.job,
        incarnation: view.incarnation,
        snapshot,
        commits: Vec::new(),
        makers: Vec::new(),
        complete: false,
        accepted: None,
        passed_over,
        bytes_read,
    };
    read_log(&**volume, &chain, &mut recovered)?;
    Ok(Some(recovered))
}

/// Where to begin, and whose view it is.
struct View {
    head: Option<Head>,
    length: Option<u64>,
    job: JobRecord,
    incarnation: u64,
    /// The snapshot that has been chosen.
    chosen: Option<Option<(Tick, u64)>>,
}

fn view(volume: &dyn Volume, before: Option<u64>) -> Result<Option<View>, Error> {
    let Some(incarnation) = before else {
        let Some(head) = chain::find_head(volume, None)? else { return Ok(None) };
        let (job, incarnation) = (head.begin.job.clone(), head.begin.incarnation);
        return Ok(Some(View { head: Some(head), length: None, job, incarnation, chosen: None }));
    };
    let first = Name::Log { incarnation, sequence: 0 }.text();
    let own = chain::head_of(volume, &first)?;
    let (head, length) = match &own.begin.previous {
        Some(previous) => (Some(chain::head_of(volume, &previous.name())?), Some(previous.length)),
        None => (None, None),
    };
    Ok(Some(View { head, length, job: own.begin.job, incarnation, chosen: Some(own.begin.snapshot) }))
}

/// The newest snapshot that belongs to the log and can be read.
fn choose(
    volume: &Arc<dyn Volume>,
    links: &[Link],
    job: &JobRecord,
    passed_over: &mut Vec<String>,
    bytes_read: &mut u64,
) -> Result<Option<Snapshot>, Error> {
    let names = volume.list().map_err(|error| trouble("list the state folder", volume.place(""), &error))?;
    let mut found: Vec<(Tick, u64)> = Vec::new();
    for name in &names {
        if let Some(Name::Manifest { tick, incarnation }) = Name::parse(name) {
            found.push((tick, incarnation));
        }
    }
    found.sort();
    for (tick, incarnation) in found.into_iter().rev() {
        let name = Name::Manifest { tick, incarnation }.text();
        let snapshot = match Snapshot::open(volume, tick, incarnation)? {
            Ok(snapshot) => snapshot,
            Err(damage) => {
                passed_over.push(damage.to_string());
                continue;
            }
        };
        snapshot.manifest.refuse_other_job(&volume.place(&name), &job.uid)?;
        if !is_in_chain(links, snapshot.manifest.position) {
            passed_over.push(format!("{}: the log does not reach back to it", volume.place(&name)));
            continue;
        }
        match snapshot.verify()? {
            Ok(bytes) => {
                *bytes_read += bytes;
                return Ok(Some(snapshot));
            }
            Err(damage) => passed_over.push(damage.to_string()),
        }
    }
    Ok(None)
}

fn is_in_chain(links: &[Link], position: Position) -> bool {
    let own = |link: &&Link| (link.begin.incarnation, link.begin.sequence) == (position.incarnation, position.sequence);
    links.iter().find(own).is_some_and(|link| link.length.is_none_or(|length| position.offset <= length))
}

/// Reads the ticks behind the snapshot.
fn read_log(volume: &dyn Volume, chain: &Chain, recovered: &mut Recovered) -> Result<(), Error> {
    let position = recovered.snapshot.as_ref().map(|snapshot| snapshot.manifest.position);
    let start = position.map(|position| (position.incarnation, position.sequence));
    if let (None, Some(oldest)) = (start, chain.links.last())
        && oldest.begin.previous.is_some()
    {
        let broken = chain.broken.iter().chain(&recovered.passed_over).cloned().collect::<Vec<_>>().join("; ");
        let message = format!("no snapshot can be used, and the log does not reach back to the beginning: {broken}");
        let hint =
            "restore the state folder from a copy, or start the job over with another one and without the output files";
        return Err(Error::refused(volume.place(&oldest.name()), message).with_hint(hint));
    }
    let is_needed = |link: &&Link| start.is_none_or(|start| (link.begin.incarnation, link.begin.sequence) >= start);
    for link in chain.links.iter().rev().filter(is_needed) {
        let own = (link.begin.incarnation, link.begin.sequence);
        let from = position.filter(|_| start == Some(own)).map_or(0, |position| position.offset);
        let records = chain::read(volume, link, from)?;
        for commit in &records.commits {
            let expected = recovered.last_tick().map_or(commit.tick, |tick| tick + 1);
            if commit.tick != expected {
                let found = format!("tick {} where tick {expected} is expected", commit.tick);
                return Err(damaged(volume.place(&link.name()), from, found));
            }
            recovered.makers.push(link.begin.incarnation);
            recovered.commits.push(commit.clone());
        }
        recovered.bytes_read += records.bytes_read;
        recovered.complete = records.complete;
        recovered.accepted = Some(Accepted { incarnation: own.0, sequence: own.1, length: records.length });
    }
    Ok(())
}
