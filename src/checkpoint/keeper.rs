//! The order in which a job's state folder is written, on the process that has the tick log.
//!
//! 0. The process that holds the lease reads the folder ([`recover`](crate::checkpoint::recover())), begins the log of its
//!    incarnation ([`TickLog::begin`]), and only then completes the output files
//!    ([`complete_files`](crate::checkpoint::complete_files)): from then on no older incarnation can show a tick that was
//!    not read. All processes take what they go on from out of that log's first record.
//! 1. Every process makes the lines of a tick durable in its [`Spool`](crate::checkpoint::Spool), and then reports the tick.
//! 2. [`Keeper::commit`] makes the records of reported ticks durable in the log. Then they are committed.
//! 3. Every process shows their lines ([`show`](crate::checkpoint::files::show)).
//! 4. For a snapshot, every process writes what its steps have saved into a segment and makes that durable, then the files
//!    that it has shown the tick in ([`sync_all`](crate::checkpoint::files::sync_all)), and rotates its spool.
//! 5. [`Shelf::publish`] writes the manifest, and only then removes what is not needed any more.
//!
//! A snapshot can only be published of a tick that [`Keeper::frozen`] gives out, and that gives only committed ones.

use crate::checkpoint::log::{Position, TickLog, refuse_if_replaced};
use crate::checkpoint::manifest::{Cost, FileEnd, Manifest};
use crate::checkpoint::problem::trouble;
use crate::checkpoint::recover::Recovered;
use crate::checkpoint::segment::Segment;
use crate::checkpoint::trim::trim;
use crate::checkpoint::volume::Volume;
use crate::error::Error;
use crate::fault;
use crate::model::commit::{Commit, JobRecord, StepRecord};
use crate::model::control::{Counts, Tick};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A committed tick after which everything was frozen.
#[derive(Clone, PartialEq, Debug)]
pub struct Frozen {
    /// The tick.
    pub tick: Tick,
    /// The place in the log behind it.
    pub position: Position,
    /// What was counted in all ticks up to it.
    pub counts: Counts,
    /// Files and their ends after it.
    pub files: Vec<FileEnd>,
}

/// Commits ticks.
pub struct Keeper {
    log: TickLog,
    counts: Counts,
    /// By path: the sink and the committed end.
    files: BTreeMap<String, (String, u64)>,
    frozen: BTreeMap<Tick, Frozen>,
}

impl Keeper {
    /// Goes on from what was recovered, as `log`, which has begun for that. A snapshot may be taken of the last tick
    /// that was recovered.
    pub fn new(log: TickLog, recovered: Option<&Recovered>) -> Keeper {
        let (counts, files) = match recovered {
            Some(recovered) => (recovered.counts(), recovered.ends()),
            None => (Counts::default(), BTreeMap::new()),
        };
        let mut keeper = Keeper { log, counts, files, frozen: BTreeMap::new() };
        if let Some(tick) = recovered.and_then(Recovered::last_tick) {
            keeper.freeze(tick);
        }
        keeper
    }

    /// Commits ticks, in order; their lines are durable in the spools. On return they may be shown. Behind a tick with a
    /// snapshot the log goes on in a new file. An error is final: the process must end.
    pub fn commit(&mut self, commits: &[Commit]) -> Result<(), Error> {
        for part in commits.chunk_by(|before, _| !before.snapshot) {
            self.log.append(part)?;
            for commit in part {
                self.counts.add(&commit.counts);
                for shown in &commit.shown {
                    self.files.insert(shown.path.clone(), (shown.sink.clone(), shown.end));
                }
            }
            if let Some(last) = part.last().filter(|last| last.snapshot) {
                self.log.rotate()?;
                self.freeze(last.tick);
            }
        }
        Ok(())
    }

    /// A committed tick with a snapshot, once: what [`Shelf::publish`] needs to know of it. Earlier ones are forgotten.
    pub fn frozen(&mut self, tick: Tick) -> Option<Frozen> {
        let later = self.frozen.split_off(&(tick + 1));
        let frozen = self.frozen.remove(&tick);
        self.frozen = later;
        frozen
    }

    /// Records that the run is complete: everything is shown and durable.
    pub fn complete(&mut self) -> Result<(), Error> {
        self.log.complete()
    }

    /// The place behind the last committed tick.
    pub fn position(&self) -> Position {
        self.log.position()
    }

    /// The committed end of a file.
    pub fn end(&self, path: &str) -> u64 {
        self.files.get(path).map_or(0, |(_, end)| *end)
    }

    /// What was counted in all committed ticks.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    fn freeze(&mut self, tick: Tick) {
        let files =
            self.files.iter().map(|(path, (sink, end))| FileEnd { sink: sink.clone(), path: path.clone(), end: *end });
        let frozen = Frozen { tick, position: self.log.position(), counts: self.counts.clone(), files: files.collect() };
        self.frozen.insert(tick, frozen);
    }
}

/// Publishes snapshots, and keeps two of them.
pub struct Shelf {
    volume: Arc<dyn Volume>,
    incarnation: u64,
    job: JobRecord,
    /// Steps whose stored state is given up.
    dropped: BTreeSet<String>,
    newest: Option<Manifest>,
}

impl Shelf {
    /// Goes on from the snapshot that was recovered. What is stored of the steps `dropped` is not taken over.
    pub fn new(
        volume: Arc<dyn Volume>,
        incarnation: u64,
        job: JobRecord,
        recovered: Option<&Recovered>,
        dropped: impl IntoIterator<Item = String>,
    ) -> Shelf {
        let snapshot = recovered.and_then(|recovered| recovered.snapshot.as_ref());
        let newest = snapshot.map(|snapshot| snapshot.manifest.clone());
        Shelf { volume, incarnation, job, dropped: dropped.into_iter().collect(), newest }
    }

    /// The newest snapshot.
    pub fn newest(&self) -> Option<&Manifest> {
        self.newest.as_ref()
    }

    /// Publishes the snapshot after a tick, then removes what is no longer needed. `saved` is what all processes have saved,
    /// all of it durable, and the tick is shown in files that are durable; `steps` are those that `saved` numbers; `time` is
    /// now, ms. What nobody has saved anew is taken over from the snapshot before.
    pub fn publish(
        &mut self,
        frozen: Frozen,
        saved: &[Segment],
        steps: Vec<StepRecord>,
        time: i64,
    ) -> Result<&Manifest, Error> {
        let manifest = self.draft(frozen, saved, steps, time);
        self.store(&manifest)?;
        if let Some(older) = &self.newest {
            trim(&*self.volume, self.incarnation, older, &manifest)?;
        }
        Ok(self.newest.insert(manifest))
    }

    pub(super) fn draft(&self, frozen: Frozen, saved: &[Segment], steps: Vec<StepRecord>, time: i64) -> Manifest {
        let mut manifest = Manifest {
            tick: frozen.tick,
            incarnation: self.incarnation,
            position: frozen.position,
            time,
            counts: frozen.counts,
            files: frozen.files,
            steps,
            segments: Vec::new(),
            cost: Cost::default(),
            job: self.job.clone(),
            places: Vec::new(),
        };
        // What has been given up is given up once: the first snapshot of this incarnation has what replaces it.
        let restored = self.newest.as_ref().filter(|newest| newest.incarnation != self.incarnation);
        let without_dropped = restored.filter(|_| !self.dropped.is_empty()).map(|restored| restored.without(&self.dropped));
        manifest.fill(without_dropped.as_ref().or(self.newest.as_ref()), saved);
        manifest
    }

    pub(super) fn store(&self, manifest: &Manifest) -> Result<(), Error> {
        refuse_if_replaced(&*self.volume, self.incarnation, (self.incarnation + 1, 0))?;
        let (name, bytes) = (manifest.name(), manifest.to_bytes()?);
        fault::point("manifest.replace.before");
        let written = self.volume.replace(&name, &bytes);
        written.map_err(|error| trouble("write a snapshot", self.volume.place(&name), &error))?;
        fault::point("manifest.replace.after");
        Ok(())
    }
}
