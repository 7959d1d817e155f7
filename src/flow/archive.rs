//! The archive of a dataflow: one step for each kind of result that is archived.

use crate::codec::parquet::Names;
use crate::codec::write::{self, Lines};
use crate::connectors::archive::{ArchiveSettings, Archiver, Kind, ObjectNames, Recovered, UploadSettings, Uploader};
use crate::connectors::store::{self, Author, ObjectStore};
use crate::drivers::Events;
use crate::drivers::publish::{Skip, publish_here};
use crate::error::{Error, fatal};
use crate::flow::Flow;
use crate::flow::steps::SourceNames;
use crate::model::commit::ArchiveCut;
use crate::model::control::Tick;
use crate::model::results::AnomalyBatch;
use crate::operators::archive::{Archivable, Archive, Together, Upload, groups_of};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How an archive starts.
struct Start {
    /// What was cut in the ticks after the snapshot, as it is committed.
    committed: Vec<ArchiveCut>,
    /// The last recorded tick.
    replayed: Option<Tick>,
    /// Whether this process may still write; false once another one has taken its place.
    may_write: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What the tags of all runs of this job begin with, where what dead ones left unfinished is to be removed.
    job: Option<String>,
    /// Whether the job has a state folder.
    keeps_state: bool,
}

/// Asks the store until it answers; a run cannot start without.
fn exists(store: &dyn ObjectStore, name: &str) -> bool {
    for _ in 0..ATTEMPTS {
        match store.exists(name) {
            Ok(exists) => return exists,
            Err(error) if error.is_transient() => std::thread::sleep(PAUSE),
            Err(error) => fatal(&Error::output(format!("archive {name}"), error)),
        }
    }
    fatal(&Error::output(format!("archive {name}"), "the store does not say whether this object is there"))
}

/// Opens the store of an archive, with what uploads to it. What dead runs of `job` left unfinished is removed.
fn open(url: &str, author: Author, job: Option<String>, memory: usize) -> Result<(Arc<dyn ObjectStore>, Uploader), Error> {
    let unusable = |error: &dyn std::fmt::Display| Error::output(format!("archive {url}"), error);
    let store = store::open_as(url, author).map_err(|error| unusable(&error))?;
    if let Some(job) = job {
        store.sweep(&job).map_err(|error| unusable(&error))?;
    }
    // One thread, so that cuts are stored in their order: see `connectors::archive::recovered`.
    let upload = UploadSettings { threads: 1, capacity: memory, ..UploadSettings::default() };
    let uploader = Uploader::start(store.clone(), upload, || {}).map_err(|error| unusable(&error))?;
    Ok((store, uploader))
}

/// How often a store is asked at the start.
const ATTEMPTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// Names of the detectors of a step with their kinds.
type Detectors = Rc<Vec<(&'static str, Vec<String>)>>;

/// Results that can be archived.
pub struct Archived<'scope, B> {
    /// What they are.
    pub kind: Kind,
    /// Their events.
    pub events: Events<'scope, Rc<B>>,
    /// Names that their rows carry.
    pub names: Rc<SourceNames>,
    /// The step that found them, with its detectors.
    pub found_by: Option<(String, Detectors)>,
}

/// A step whose results can be archived.
pub trait AsArchived<'scope> {
    /// What their rows are.
    type Rows: Archivable;

    /// The results with what the archive must know of them.
    fn archived(&self) -> Archived<'scope, Self::Rows>;
}

impl<'scope> Flow<'scope> {
    /// Archives results, if the configuration asks for their kind.
    pub fn archive<A: AsArchived<'scope>>(&mut self, results: &A) -> Result<(), Error> {
        let Archived { kind, events, names, found_by } = results.archived();
        let Some(archive) = &self.settings().archive else { return Ok(()) };
        let wanted = match kind {
            Kind::Readings => archive.readings,
            Kind::Stats => archive.stats,
            Kind::Anomalies => archive.anomalies,
        };
        if !wanted {
            return Ok(());
        }
        let url = format!("file://{}", archive.folder.display());
        let settings = ArchiveSettings {
            kinds: vec![kind],
            max_size: archive.max_size,
            max_age_ms: archive.max_age,
            memory: archive.memory / archive.kinds(),
            settle_ms: self.settings().windows.longest_wait(),
        };
        let dataflow = self.job.dataflow.clone();
        let (step, detectors) = found_by.unwrap_or_default();
        let lines = Lines::new(&write::Names {
            dataflow: &dataflow,
            step: &step,
            source: &names.source,
            detectors: &detectors,
            channels: &names.channels,
        });
        let partitions = names.partitions.to_vec();
        let ids = Arc::new(move |batch: &AnomalyBatch| lines.ids(batch, &partitions));
        let names = Arc::new(Names {
            dataflow,
            source: names.source.clone(),
            channels: names.channels.clone(),
            partitions: names.partitions.to_vec(),
            detectors: detectors.iter().map(|(name, kinds)| ((*name).to_owned(), kinds.clone())).collect(),
            anomaly_ids: ids,
        });
        let worker = self.scope.index();
        let objects = ObjectNames { tag: self.job.run.clone(), worker };
        let Start { committed, replayed, may_write, job, keeps_state } = self.archive_start();
        let author = Author { tag: objects.tag.clone(), may_write };
        let opened = if self.job.is_dry { None } else { Some(open(&url, author, job, settings.memory)?) };
        let (store, uploader) = opened.unzip();

        let place = [worker, self.scope.peers()];
        let groups = groups_of(worker, self.scope.peers());
        let mine = |cut: &ArchiveCut| cut.kind == kind.name() && cut.groups[0] < groups[1] && groups[0] < cut.groups[1];
        let committed: Vec<ArchiveCut> = committed.into_iter().filter(mine).collect();
        let exists = move |name: &str| store.as_ref().is_some_and(|store| exists(&**store, name));
        let recovered = Rc::new(Recovered::new(&committed, replayed, Box::new(exists)));
        let together: Rc<Together> = Rc::default();
        let publisher = uploader.map(|uploader| Upload::new(uploader, together.clone(), keeps_state));
        let remembers = keeps_state || self.job.check_state || self.job.is_dry;
        let make = move || {
            let archiver = Archiver::new(settings.clone(), names.clone(), objects.clone());
            let archiver = match remembers {
                true => archiver.with_state(together.on_the_way.clone(), recovered.clone()),
                false => archiver,
            };
            Archive::new(archiver, together.clone(), place)
        };
        let name = format!("archive {}", kind.name());
        let cuts = self.step(&name, events, make)?;
        self.publish.push(Box::new(move |ticks| {
            let publisher = publisher.map(|publisher| Box::new(publisher) as Box<_>);
            Ok(publish_here(&name, cuts, ticks.committed, publisher, Skip::default()))
        }));
        Ok(())
    }

    /// How the archive of this job starts.
    fn archive_start(&self) -> Start {
        let resume = &self.job.plan.resume;
        let committed = resume.commits.iter().flat_map(|commit| commit.cuts.iter().cloned()).collect();
        let replayed = resume.live_from().checked_sub(1);
        let keeps_state = self.job.kept.is_some();
        // As the tag of a run with a state folder begins.
        let job = keeps_state.then(|| format!("{:013}-", self.job.plan.now));
        let alive = self.job.health.alive.clone();
        Start { committed, replayed, job, keeps_state, may_write: Arc::new(move || alive.is_alive()) }
    }
}
