//! The state folder of a running job: what is recovered from it, and the threads that write to it.

pub(super) mod log;
mod look;
mod spool;
mod vault;

pub(super) use look::{Comparing, Kinds};

use crate::checkpoint::give_up::give_up;
use crate::checkpoint::{Disk, Folder, Keeper, Recovered, Shelf, Snapshot, Spool, TickLog, Volume};
use crate::checkpoint::{complete_files, lines_hash, next_incarnation, recover};
use crate::drivers::coordinator::{TICKS, scopes};
use crate::drivers::health::Alive;
use crate::drivers::resume::Resume;
use crate::drivers::snapshot::{Snapshots, Vault};
use crate::drivers::standing::Standing;
use crate::error::Error;
use crate::flow::KeptLines;
use crate::model::commit::{JobRecord, PartitionRecord, StepRecord};
use crate::model::control::Counts;
use crate::model::job::JobState;
use crate::runtime::lease::Lease;
use crate::runtime::random::random;
use crate::runtime::totals::Totals;
use crate::runtime::{Cluster, Job, link};
use crate::state::{Reader, State};
use log::{Logged, Writer};
use spool::SpoolThread;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use vault::{Segments, Writes};

/// What a state folder holds to go on from.
pub struct Found {
    volume: Arc<dyn Volume>,
    pub(super) recovered: Option<Recovered>,
    /// Keeps others out of the folder; on process 0 of a job that is to run.
    pub(super) lease: Option<Lease>,
}

/// Reads a state folder; with the lease on it if it `is_mine`.
pub(super) fn find(folder: &Path, is_mine: bool) -> Result<Found, Error> {
    let volume: Arc<dyn Volume> = Arc::new(Folder::open(folder)?);
    // Before anything is read: nobody else may write there.
    let lease = is_mine.then(|| Lease::take(folder, |error| link::end(&error))).transpose()?;
    let recovered = recover(&volume, None)?;
    Ok(Found { volume, recovered, lease })
}

/// Reads a state folder and changes nothing in it; none when it is not there.
pub(super) fn look(folder: &Path) -> Result<Option<Found>, Error> {
    let Some(volume) = volume(folder)? else { return Ok(None) };
    let recovered = recover(&volume, None)?;
    Ok(Some(Found { volume, recovered, lease: None }))
}

/// A state folder to be read; none when it is not there.
pub(super) fn volume(folder: &Path) -> Result<Option<Arc<dyn Volume>>, Error> {
    if !folder.exists() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Folder::look(folder)?)))
}

impl Found {
    /// The job that has begun there.
    pub(super) fn job(&self) -> Option<&JobRecord> {
        self.recovered.as_ref().map(|recovered| &recovered.job)
    }

    /// The stored settings, if committed ticks must be made again with them, and a snapshot taken, before the job goes on
    /// with its own and without what is to be dropped.
    pub fn unsettled(&self, job: &Job) -> Option<String> {
        let recovered = self.recovered.as_ref().filter(|of| !of.commits.is_empty() && !of.complete)?;
        let drops = job.state.as_ref().is_some_and(|state| !state.dropped.is_empty());
        (recovered.job.settings != job.given || drops).then(|| recovered.job.settings.clone())
    }

    /// What was counted, if the run is complete.
    pub(super) fn complete(&self) -> Option<Counts> {
        let recovered = self.recovered.as_ref().filter(|recovered| recovered.complete)?;
        Some(recovered.counts())
    }

    /// Refuses a job that is not the one that has begun there.
    pub(super) fn check(&self, dataflow: &str, partitions: &[PartitionRecord]) -> Result<(), Error> {
        let Some(job) = self.job() else { return Ok(()) };
        let place = self.volume.place("");
        if job.dataflow != dataflow {
            let message = format!("holds the state of dataflow `{}`, not of `{dataflow}`", job.dataflow);
            return Err(Error::refused(place, message).with_hint("take another state folder"));
        }
        let hint = "put the input back as it was, or start over with another state folder and other outputs";
        for known in &job.partitions {
            let now = partitions.iter().find(|now| (&now.source, &now.name) == (&known.source, &known.name));
            let what = match now {
                None => "was read, and is not there any more".to_owned(),
                Some(now) if now.size != known.size => {
                    let bytes = |of: &PartitionRecord| of.size.map_or("?".to_owned(), |size| size.to_string());
                    format!("is not the file that was read: it had {} bytes and has {}", bytes(known), bytes(now))
                }
                Some(now) if now.content != known.content => "is not the file that was read: its content differs".to_owned(),
                Some(_) => continue,
            };
            return Err(Error::refused(format!("source {}, partition {}", known.source, known.name), what).with_hint(hint));
        }
        match partitions.get(job.partitions.len()).or_else(|| {
            partitions
                .iter()
                .find(|now| !job.partitions.iter().any(|known| (&known.source, &known.name) == (&now.source, &now.name)))
        }) {
            Some(new) => Err(Error::refused(
                format!("source {}, partition {}", new.source, new.name),
                "was not there when the job began",
            )
            .with_hint("which files a bounded run reads is settled at its first start: take another state folder for more")),
            None => Ok(()),
        }
    }

    /// Forgets what these steps remember, from now on in every start.
    pub(super) fn drop_steps(&mut self, dropped: &[String]) -> Result<(), Error> {
        let Some(recovered) = self.recovered.as_mut().filter(|_| !dropped.is_empty()) else { return Ok(()) };
        let snapshot = recovered.snapshot.as_ref().filter(|_| recovered.commits.is_empty());
        let nothing = || Error::refused(self.volume.place(""), "there is no snapshot to drop anything from");
        recovered.snapshot = Some(give_up(&self.volume, snapshot.ok_or_else(nothing)?, dropped)?);
        Ok(())
    }

    /// Process 0: begins the next incarnation, then completes what was committed. In this order: from then on no older
    /// incarnation can show a tick that was not read.
    pub(super) fn begin(self, job: &JobRecord) -> Result<(Begun, TickLog), Error> {
        let Found { volume, recovered, .. } = self;
        let incarnation = next_incarnation(&*volume)?;
        let log = TickLog::begin(volume.clone(), incarnation, job, recovered.as_ref())?;
        if let Some(recovered) = &recovered {
            recovered.passed_over.iter().for_each(|reason| eprintln!("meterflow: a snapshot is passed over: {reason}"));
            complete_files(&*volume, &Disk, recovered)?;
        }
        Ok((Begun { volume, recovered, incarnation, uid: job.uid.clone() }, log))
    }

    /// The other processes: join the incarnation that process 0 has begun, and go on from what that one says that it goes on
    /// from.
    pub(super) fn join(self, incarnation: u64) -> Result<Begun, Error> {
        let volume = self.volume;
        let recovered = recover(&volume, Some(incarnation))?;
        let uid = recovered.as_ref().map_or(String::new(), |recovered| recovered.job.uid.clone());
        Ok(Begun { volume, recovered, incarnation, uid })
    }
}

/// An incarnation that has begun.
pub(super) struct Begun {
    volume: Arc<dyn Volume>,
    recovered: Option<Recovered>,
    uid: String,
    /// Its number.
    pub(super) incarnation: u64,
}

impl Begun {
    /// What the coordinator and the sources go on from.
    pub(super) fn resume(&self, only_replay: bool) -> Result<Resume, Error> {
        resume(self.recovered.as_ref(), only_replay)
    }

    /// Starts the threads of this process.
    pub(super) fn start(&self, cluster: &Cluster) -> Result<Threads, Error> {
        let process = cluster.process as u32;
        let spool = Spool::create(self.volume.clone(), &self.uid, self.incarnation, process)?;
        let spool = Arc::new(SpoolThread::start(spool)?);
        let snapshot = self.recovered.as_ref().and_then(|recovered| recovered.snapshot.clone());
        let (volume, uid, incarnation) = (self.volume.clone(), self.uid.clone(), self.incarnation);
        let writes = Writes { volume, uid, incarnation, process };
        let vault = Segments::start(writes, cluster.threads, snapshot, spool.clone())?;
        let ends = self.recovered.as_ref().map_or_else(Default::default, Recovered::ends);
        let ends = ends.into_iter().map(|(path, (_, end))| (path, end)).collect();
        let kept = KeptLines { spooler: spool, ends: Arc::new(ends), hash: |lines| lines_hash(lines).1 };
        Ok(Threads { kept, vault: Arc::new(vault) })
    }

    /// Process 0: starts the thread that commits.
    pub(super) fn commit_to(
        &self,
        log: TickLog,
        job: JobRecord,
        totals: Totals,
        alive: Alive,
    ) -> Result<(Logged, Writer), Error> {
        let recovered = self.recovered.as_ref();
        let keeper = Keeper::new(log, recovered);
        let shelf = Shelf::new(self.volume.clone(), self.incarnation, job, recovered, []);
        let snapshot = recovered.and_then(|recovered| recovered.snapshot.as_ref());
        let counts = snapshot.map_or_else(Counts::default, |snapshot| snapshot.manifest.counts.clone());
        Logged::start(keeper, shelf, &counts, totals, alive)
    }
}

/// What the coordinator and the sources go on from.
pub(super) fn resume(recovered: Option<&Recovered>, only_replay: bool) -> Result<Resume, Error> {
    let Some(recovered) = recovered else { return Ok(Resume { only_replay, ..Resume::default() }) };
    let snapshot = recovered.snapshot.as_ref();
    let first = snapshot.map_or(0, |snapshot| snapshot.manifest.tick + 1);
    let standing = snapshot.map(standing).transpose()?;
    Ok(Resume { first, standing, commits: recovered.commits.clone(), only_replay })
}

/// Where the job stood at a snapshot.
pub(super) fn standing(snapshot: &Snapshot) -> Result<Standing, Error> {
    let count = snapshot.manifest.job.partitions.len();
    let mut standing = Standing::empty(count);
    for scope in scopes(count) {
        let Some(bytes) = snapshot.bytes(TICKS, scope)? else { continue };
        let mut reader = Reader::new(&bytes);
        let loaded = standing.load(scope, &mut reader).and_then(|()| reader.finish());
        loaded.map_err(|error| Error::refused(snapshot.manifest.name(), error))?;
    }
    Ok(standing)
}

/// What the workers of a process need.
#[derive(Clone)]
pub(super) struct Threads {
    /// Where lines are kept.
    pub(super) kept: KeptLines,
    vault: Arc<dyn Vault>,
}

impl Threads {
    /// The snapshots of one worker.
    pub(super) fn snapshots(&self, worker: usize, workers: usize, interval: f64, state: &JobState) -> Snapshots {
        let dropped: BTreeSet<String> = state.dropped.iter().cloned().collect();
        Snapshots::new(self.vault.clone(), worker, workers, interval, dropped)
    }
}

/// The error of a step that is to be forgotten but was not remembered.
pub(super) fn not_stored(step: &str, steps: &[StepRecord]) -> Error {
    let names: Vec<&str> = steps.iter().map(|step| step.step.as_str()).filter(|step| *step != TICKS).collect();
    Error::usage(format!("--drop-state {step}: there is no stored state of it; stored are {}", names.join(", ")))
}

/// What a fresh job is called: 128 random bits.
pub(super) fn new_uid() -> Result<String, Error> {
    let [low, high] = random()?;
    Ok(format!("{high:016x}{low:016x}"))
}
