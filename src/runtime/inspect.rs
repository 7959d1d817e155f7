//! Looks into the state folder of a job that need not run, and tries whether it could be restored. Changes nothing.

use crate::checkpoint::inspect::{self, Overview};
use crate::checkpoint::spool::SpoolIndex;
use crate::checkpoint::{Disk, Files, Recovered, Snapshot, Volume, complete_files, recover};
use crate::error::Error;
use crate::model::commit::{Commit, JobRecord};
use crate::model::control::{Taken, Tick};
use crate::runtime::dry::{self, Dry};
use crate::runtime::outlook::Remake;
use crate::runtime::storage::{self, Comparing, Kinds};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The state folder at `folder`. Wrong usage when there is none.
fn volume(folder: &Path) -> Result<Arc<dyn Volume>, Error> {
    let nothing = || Error::usage(format!("{}: there is no such folder", folder.display()));
    storage::volume(folder)?.ok_or_else(nothing)
}

fn no_job(folder: &Path) -> Error {
    Error::usage(format!("{}: no job has begun in this folder", folder.display()))
}

/// What stands in a state folder.
pub fn overview(folder: &Path) -> Result<Overview, Error> {
    inspect::overview(&volume(folder)?)?.ok_or_else(|| no_job(folder))
}

/// A snapshot, with how far each partition had been read.
pub struct Details {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// By partition; none: nothing of it had been read.
    pub taken: Vec<Option<Taken>>,
}

/// The snapshot of a tick, or the newest.
pub fn details(folder: &Path, tick: Option<Tick>) -> Result<Details, Error> {
    let volume = volume(folder)?;
    let of = || tick.map_or("no snapshot".to_owned(), |tick| format!("no snapshot of tick {tick}"));
    let none = || Error::usage(format!("{}: there is {}", folder.display(), of()));
    let snapshot = inspect::open(&volume, tick)?.ok_or_else(none)?;
    let taken = storage::standing(&snapshot)?.newest();
    Ok(Details { snapshot, taken })
}

/// Hands over the commit records that are kept, oldest first, each with the incarnation that made it.
pub fn log(folder: &Path, show: &mut dyn FnMut(u64, &Commit) -> Result<(), Error>) -> Result<(), Error> {
    let volume = volume(folder)?;
    job(&*volume, folder)?;
    inspect::commits(&*volume, show)
}

fn job(volume: &dyn Volume, folder: &Path) -> Result<JobRecord, Error> {
    inspect::job(volume)?.map(|(job, _)| job).ok_or_else(|| no_job(folder))
}

/// Something that was looked at.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// Whether it is as it should be.
    pub is_well: bool,
    /// What it is.
    pub text: String,
}

/// What was looked at, in order.
#[derive(Default, Debug)]
struct Findings(Vec<Finding>);

impl Findings {
    fn well(&mut self, text: String) {
        self.0.push(Finding { is_well: true, text });
    }

    fn bad(&mut self, text: impl ToString) {
        self.0.push(Finding { is_well: false, text: text.to_string() });
    }

    fn note(&mut self, result: Result<String, Error>) {
        match result {
            Ok(text) => self.well(text),
            Err(error) => self.bad(error),
        }
    }
}

/// Reads everything in a state folder and restores the job's steps into memory, as `workers` workers would own them.
pub fn verify(folder: &Path, workers: usize, remake: Remake) -> Result<Vec<Finding>, Error> {
    let volume = volume(folder)?;
    let known = job(&*volume, folder)?;
    let mut findings = Findings::default();
    findings.note(log_is_whole(&*volume));
    findings.note(SpoolIndex::read(&*volume, &known.uid).map(|spools| match spools.torn() {
        torn if torn.is_empty() => "spools: every record is whole".to_owned(),
        torn => format!("spools: a crash may have cut {torn}; what is needed of them stands below under outputs"),
    }));
    snapshots(&volume, &mut findings)?;
    match recover(&volume, None) {
        Ok(Some(recovered)) => {
            let restored = restores(&recovered, workers, remake, &mut findings);
            restored.unwrap_or_else(|error| findings.bad(error));
            findings.note(outputs(&*volume, &recovered));
            findings.note(replay(&recovered));
        }
        Ok(None) => return Err(no_job(folder)),
        Err(error) => findings.bad(format!("nothing can be restored: {error}")),
    }
    Ok(findings.0)
}

fn log_is_whole(volume: &dyn Volume) -> Result<String, Error> {
    let (mut ticks, mut last) = (0u64, None);
    inspect::commits(volume, &mut |_, commit| {
        (ticks, last) = (ticks + 1, Some(commit.tick));
        Ok(())
    })?;
    Ok(format!("log: {ticks} ticks{}", last.map_or(String::new(), |last| format!(", the last is {last}"))))
}

fn snapshots(volume: &Arc<dyn Volume>, findings: &mut Findings) -> Result<(), Error> {
    for (tick, incarnation) in inspect::snapshots(&**volume)? {
        let verified = Snapshot::open(volume, tick, incarnation)?.map(|snapshot| (snapshot.verify(), snapshot));
        match verified {
            Ok((verified, snapshot)) => findings.note(verified?.map(|bytes| {
                format!("{}: {} pieces of state, {bytes} bytes", snapshot.manifest.name(), snapshot.manifest.places.len())
            })),
            Err(error) => findings.bad(error),
        }
    }
    Ok(())
}

/// Restores and compares every step.
fn restores(recovered: &Recovered, workers: usize, remake: Remake, findings: &mut Findings) -> Result<(), Error> {
    let (dataflow, settings) = remake(&recovered.job)?;
    let (partitions, dropped) = (recovered.job.partitions.clone(), Default::default());
    let resume = Arc::new(storage::resume(Some(recovered), false)?);
    let Some(snapshot) = &recovered.snapshot else {
        let dry = Dry { dataflow, settings, partitions, resume, vault: Arc::new(Kinds(Vec::new())), dropped };
        let steps = dry::build(&dry, 0, 1)?;
        findings.well(format!("no snapshot: {} steps begin empty", steps.len()));
        return Ok(());
    };
    let comparing = Arc::new(Comparing::new(snapshot.clone()));
    let dry = Dry { dataflow, settings, partitions, resume, vault: comparing.clone(), dropped };
    for worker in 0..workers {
        dry::build(&dry, worker, workers)?;
    }
    let compared = comparing.take();
    for of in inspect::steps(&snapshot.manifest) {
        let step = of.step.step.as_str();
        let Some(compared) = compared.get(step) else {
            findings.well(format!("step {step}: can be loaded; not compared, since it has other settings than stored"));
            continue;
        };
        if let Some(scope) = compared.different.first() {
            let count = compared.different.len();
            findings.bad(format!("step {step}: {count} pieces come back otherwise than they are stored, first {scope:?}"));
            continue;
        }
        let (groups, bytes) = (of.groups, of.bytes);
        findings.well(format!("step {step}: {groups} key groups, {bytes} bytes come back as stored on {workers} workers"));
    }
    Ok(())
}

/// Says what a run would begin with.
fn replay(recovered: &Recovered) -> Result<String, Error> {
    if recovered.complete {
        return Ok("the run is complete: nothing would be done".to_owned());
    }
    let mut newest: BTreeMap<u32, u64> = BTreeMap::new();
    for taken in recovered.commits.iter().flat_map(|commit| &commit.taken) {
        newest.insert(taken.partition, taken.end_offset);
    }
    let before = match &recovered.snapshot {
        Some(snapshot) => storage::standing(snapshot)?.newest(),
        None => Vec::new(),
    };
    let offset = |partition: u32| before.get(partition as usize).copied().flatten().map_or(0, |taken| taken.end_offset);
    let bytes: u64 = newest.iter().map(|(partition, end)| end.saturating_sub(offset(*partition))).sum();
    let from = match &recovered.snapshot {
        Some(snapshot) => format!("from {}", snapshot.manifest.name()),
        None => "from the start".to_owned(),
    };
    let (ticks, next) = (recovered.commits.len(), recovered.last_tick().map_or(0, |last| last + 1));
    Ok(format!("a run would restore {from}, make {ticks} ticks ({bytes} bytes of input) again, and go on with tick {next}"))
}

/// Whether output files have what they must, or can be given it.
fn outputs(volume: &dyn Volume, recovered: &Recovered) -> Result<String, Error> {
    let completed = complete_files(volume, &Untouched, recovered)?;
    let (count, missing) = (completed.len(), completed.iter().map(|file| file.restored).sum::<u64>());
    Ok(match missing {
        0 => format!("outputs: {count} files have what was committed"),
        missing => format!("outputs: {count} files; {missing} bytes that were committed would be written to them"),
    })
}

/// The files of this machine, without a change.
struct Untouched;

impl Files for Untouched {
    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        Disk.length(path)
    }

    fn read(&self, path: &str, from: u64, length: u64) -> io::Result<Vec<u8>> {
        Disk.read(path, from, length)
    }

    fn write(&self, _: &str, _: u64, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
}
