//! What stands in a state folder, for a person who looks into it. Reads only; a job may be running there meanwhile.

use crate::checkpoint::chain;
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::names::Name;
use crate::checkpoint::problem::trouble;
use crate::checkpoint::snapshot::Snapshot;
use crate::checkpoint::volume::Volume;
use crate::error::Error;
use crate::model::commit::{Commit, JobRecord, StepRecord};
use crate::model::control::Tick;
use crate::state::Scope;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A state folder at a glance.
#[derive(Debug)]
pub struct Overview {
    /// The job.
    pub job: JobRecord,
    /// The newest incarnation.
    pub incarnation: u64,
    /// Snapshots, oldest first.
    pub snapshots: Vec<Listed>,
    /// The log by incarnation, oldest first.
    pub log: BTreeMap<u64, LogPart>,
    /// The run is complete.
    pub complete: bool,
    /// What cannot be read.
    pub damage: Vec<Error>,
}

/// A snapshot in a list.
#[derive(Debug)]
pub struct Listed {
    /// What it is.
    pub manifest: Manifest,
    /// Bytes of state in it, whenever they were written.
    pub bytes: u64,
}

/// What an incarnation has written to the log.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct LogPart {
    /// Files.
    pub files: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
    /// First and last tick; none: it committed nothing, or that is not kept any more.
    pub ticks: Option<(Tick, Tick)>,
}

/// Looks into a state folder; none when no job has begun there.
pub fn overview(volume: &Arc<dyn Volume>) -> Result<Option<Overview>, Error> {
    let Some((job, incarnation)) = job(&**volume)? else { return Ok(None) };
    let mut overview =
        Overview { job, incarnation, snapshots: Vec::new(), log: BTreeMap::new(), complete: false, damage: Vec::new() };
    for (tick, incarnation) in snapshots(&**volume)? {
        match Snapshot::open(volume, tick, incarnation)? {
            Ok(Snapshot { manifest, .. }) => {
                let bytes = manifest.places.iter().map(|place| u64::from(place.length)).sum();
                overview.snapshots.push(Listed { manifest, bytes });
            }
            Err(damage) => overview.damage.push(damage),
        }
    }
    match read_log(&**volume, &mut |incarnation, file, records| {
        let part = overview.log.entry(incarnation).or_default();
        part.files.push(file.to_owned());
        part.bytes += records.length;
        if let (Some(first), Some(last)) = (records.commits.first(), records.commits.last()) {
            part.ticks = Some((part.ticks.map_or(first.tick, |(first, _)| first), last.tick));
        }
        Ok(())
    }) {
        Ok(complete) => overview.complete = complete,
        Err(error) => overview.damage.push(error),
    }
    Ok(Some(overview))
}

/// The job that has begun in a state folder, as it was at its last start, and the newest incarnation.
pub fn job(volume: &dyn Volume) -> Result<Option<(JobRecord, u64)>, Error> {
    Ok(chain::find_head(volume, None)?.map(|head| (head.begin.job, head.begin.incarnation)))
}

/// Hands over the files of the log that count, oldest first: whose each is, its name, and what it holds. Returns whether the
/// run is complete.
pub fn read_log(
    volume: &dyn Volume,
    visit: &mut dyn FnMut(u64, &str, &chain::Records) -> Result<(), Error>,
) -> Result<bool, Error> {
    let Some(head) = chain::find_head(volume, None)? else { return Ok(false) };
    let mut complete = false;
    for link in chain::walk(volume, head, None)?.links.iter().rev() {
        let records = chain::read(volume, link, 0)?;
        complete = records.complete || (complete && records.commits.is_empty());
        visit(link.begin.incarnation, &link.name(), &records)?;
    }
    Ok(complete)
}

/// Hands over the commit records that are kept, oldest first, each with the incarnation that made it.
pub fn commits(volume: &dyn Volume, visit: &mut dyn FnMut(u64, &Commit) -> Result<(), Error>) -> Result<(), Error> {
    read_log(volume, &mut |incarnation, _, records| records.commits.iter().try_for_each(|commit| visit(incarnation, commit)))
        .map(drop)
}

/// Tick and incarnation of all snapshots, oldest first.
pub fn snapshots(volume: &dyn Volume) -> Result<Vec<(Tick, u64)>, Error> {
    let names = volume.list().map_err(|error| trouble("list the state folder", volume.place(""), &error))?;
    let of = |name: &String| match Name::parse(name) {
        Some(Name::Manifest { tick, incarnation }) => Some((tick, incarnation)),
        _ => None,
    };
    let mut all: Vec<(Tick, u64)> = names.iter().filter_map(of).collect();
    all.sort();
    Ok(all)
}

/// The snapshot of a tick, or without one the newest. Of two of the same tick it is that of the later incarnation.
pub fn open(volume: &Arc<dyn Volume>, tick: Option<Tick>) -> Result<Option<Snapshot>, Error> {
    let all = snapshots(&**volume)?;
    let wanted = all.into_iter().rev().find(|(of, _)| tick.is_none_or(|tick| *of == tick));
    wanted.map(|(tick, incarnation)| Snapshot::open(volume, tick, incarnation)?).transpose()
}

/// What a snapshot holds of a step.
#[derive(Clone, PartialEq, Debug)]
pub struct StepSize {
    /// The step.
    pub step: StepRecord,
    /// Key groups that have state.
    pub groups: u64,
    /// Bytes of all its state.
    pub bytes: u64,
    /// The pieces with the most bytes, largest first.
    pub largest: Vec<(Scope, u64)>,
}

/// Pieces that are named as the largest of a step.
const LARGEST: usize = 3;

/// What a snapshot holds, by step.
pub fn steps(manifest: &Manifest) -> Vec<StepSize> {
    let of = |(number, step): (usize, &StepRecord)| {
        let places = manifest.places.iter().filter(|place| usize::from(place.step) == number);
        let mut pieces: Vec<(Scope, u64)> = places.map(|place| (place.scope(), u64::from(place.length))).collect();
        pieces.sort_by_key(|(scope, bytes)| (std::cmp::Reverse(*bytes), *scope));
        let groups = pieces.iter().filter(|(scope, _)| matches!(scope, Scope::Group(_))).count() as u64;
        let bytes = pieces.iter().map(|(_, bytes)| bytes).sum();
        pieces.truncate(LARGEST);
        StepSize { step: step.clone(), groups, bytes, largest: pieces }
    };
    manifest.steps.iter().enumerate().map(of).collect()
}
