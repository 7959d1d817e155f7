//! The state folder of a running job: what is recovered from it, and the threads that write to it.

pub(super) mod log;
mod spool;
mod vault;

use crate::checkpoint::files::{self, LocalFiles};
use crate::checkpoint::log::TickLog;
use crate::checkpoint::recover::{Recovered, recover};
use crate::checkpoint::snapshot::{self, Entry, Snapshot};
use crate::checkpoint::spool::Spool;
use crate::checkpoint::volume::{Folder, Volume};
use crate::checkpoint::{fault, lines_hash, trim};
use crate::drivers::coordinator::{TICKS, scopes};
use crate::drivers::health::Alive;
use crate::drivers::resume::Resume;
use crate::drivers::snapshot::{Snapshots, Vault};
use crate::drivers::standing::Standing;
use crate::error::Error;
use crate::flow::KeptLines;
use crate::model::commit::{JobRecord, PartitionRecord};
use crate::model::control::Counts;
use crate::model::job::JobState;
use crate::runtime::Cluster;
use crate::runtime::totals::Totals;
use crate::state::{Reader, State};
use log::{Logged, Writer};
use spool::SpoolThread;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use vault::Segments;

/// What there is to go on from.
pub(super) struct Found {
    volume: Arc<dyn Volume>,
    recovered: Option<Recovered>,
}

/// Reads a state folder; `before`: as it was when that incarnation began.
pub(super) fn find(folder: &Path, before: Option<u64>) -> Result<Found, Error> {
    let place = folder.display().to_string();
    let opened = Folder::open(folder).map_err(|error| {
        Error::output(place, error).with_hint("the state folder must be a folder that can be written to")
    })?;
    let volume: Arc<dyn Volume> = Arc::new(opened);
    fault::point("restore.before");
    let recovered = recover(&volume, before)?;
    fault::point("restore.after");
    Ok(Found { volume, recovered })
}

impl Found {
    /// The job that has begun there.
    pub(super) fn job(&self) -> Option<&JobRecord> {
        self.recovered.as_ref().map(|recovered| &recovered.job)
    }

    /// The newest incarnation; 0: there was none.
    pub(super) fn newest(&self) -> u64 {
        self.recovered.as_ref().map_or(0, |recovered| recovered.incarnation)
    }

    /// Whether ticks have been committed since the last snapshot.
    pub(super) fn is_unsettled(&self) -> bool {
        self.recovered.as_ref().is_some_and(|recovered| !recovered.commits.is_empty() && !recovered.complete)
    }

    /// What was counted, if the run is complete.
    pub(super) fn complete(&self) -> Option<Counts> {
        let recovered = self.recovered.as_ref().filter(|recovered| recovered.complete)?;
        let mut counts = recovered.snapshot.as_ref().map_or_else(Counts::default, |of| of.manifest.counts.clone());
        recovered.commits.iter().for_each(|commit| counts.add(&commit.counts));
        Some(counts)
    }

    /// Refuses a job that is not the one that has begun there.
    pub(super) fn check(&self, dataflow: &str, partitions: &[PartitionRecord]) -> Result<(), Error> {
        let Some(job) = self.job() else { return Ok(()) };
        let place = self.volume.describe();
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
        let place = self.volume.describe();
        let Some(recovered) = self.recovered.as_mut().filter(|_| !dropped.is_empty()) else { return Ok(()) };
        let snapshot = recovered.snapshot.as_ref().filter(|_| recovered.commits.is_empty());
        let snapshot = snapshot.ok_or_else(|| Error::refused(&place, "there is no snapshot to drop anything from"))?;
        let mut manifest = snapshot.manifest.clone();
        if let Some(unknown) = dropped.iter().find(|step| manifest.steps.iter().all(|known| known.step != **step)) {
            let names: Vec<&str> = manifest.steps.iter().map(|step| step.step.as_str()).collect();
            let message = format!("--drop-state {unknown}: stored are {}", names.join(", "));
            return Err(Error::usage(message));
        }
        manifest.steps.retain(|step| !dropped.contains(&step.step));
        let entries: Vec<Entry> = snapshot.entries().cloned().collect();
        let name = snapshot.name().to_owned();
        snapshot::publish(&*self.volume, manifest, &entries)?;
        recovered.snapshot = Some(Arc::new(Snapshot::open(self.volume.clone(), &name)?));
        Ok(())
    }

    /// Process 0: completes what was committed and begins the next incarnation.
    pub(super) fn begin(self, job: &JobRecord) -> Result<(Begun, TickLog), Error> {
        let Found { volume, recovered } = self;
        if let Some(recovered) = &recovered {
            recovered.unusable.iter().for_each(|reason| eprintln!("meterflow: a snapshot cannot be used: {reason}"));
            files::complete(&*volume, &mut LocalFiles, recovered)?;
        }
        let incarnation = recovered.as_ref().map_or(0, |recovered| recovered.incarnation) + 1;
        let log = TickLog::begin(volume.clone(), incarnation, job, recovered.as_ref())?;
        trim::old_spools(&*volume, incarnation)?;
        Ok((Begun { volume, recovered, incarnation }, log))
    }

    /// The other processes: join the incarnation that process 0 has begun.
    pub(super) fn join(self, incarnation: u64) -> Begun {
        Begun { volume: self.volume, recovered: self.recovered, incarnation }
    }
}

/// An incarnation that has begun.
pub(super) struct Begun {
    volume: Arc<dyn Volume>,
    recovered: Option<Recovered>,
    /// Its number.
    pub(super) incarnation: u64,
}

impl Begun {
    /// What the coordinator and the sources go on from.
    pub(super) fn resume(&self, only_replay: bool) -> Result<Resume, Error> {
        let Some(recovered) = &self.recovered else { return Ok(Resume { only_replay, ..Resume::default() }) };
        let (mut first, mut standing) = (0, None);
        if let Some(snapshot) = &recovered.snapshot {
            let count = snapshot.manifest.job.partitions.len();
            let mut stood = Standing::empty(count);
            for scope in scopes(count) {
                let Some(bytes) = snapshot.load(TICKS, scope)? else { continue };
                let mut reader = Reader::new(&bytes);
                let loaded = stood.load(scope, &mut reader).and_then(|()| reader.finish());
                loaded.map_err(|error| Error::refused(snapshot.name(), error))?;
            }
            first = snapshot.manifest.tick + 1;
            standing = Some(stood);
        }
        Ok(Resume { first, standing, commits: recovered.commits.clone(), only_replay })
    }

    /// Starts the threads of this process.
    pub(super) fn start(&self, cluster: &Cluster) -> Result<Threads, Error> {
        let process = cluster.process as u32;
        let spool = Spool::create(self.volume.clone(), self.incarnation, process)?;
        let spool = Arc::new(SpoolThread::start(spool)?);
        let snapshot = self.recovered.as_ref().and_then(|recovered| recovered.snapshot.clone());
        let vault =
            Segments::start(self.volume.clone(), self.incarnation, process, cluster.threads, snapshot, spool.clone())?;
        let ends = self.recovered.as_ref().map_or_else(Default::default, Recovered::ends);
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
        Logged::start(self.volume.clone(), log, job, self.recovered.as_ref(), totals, alive)
    }
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

/// What a fresh job is called: 128 random bits.
pub(super) fn new_uid() -> Result<String, Error> {
    let mut bits = [0; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bits));
    read.map_err(|error| Error::internal(format!("no random numbers: {error}")))?;
    Ok(format!("{:032x}", u128::from_le_bytes(bits)))
}
