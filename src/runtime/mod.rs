//! Runs a dataflow: opens its sources, starts the workers of this process, and brings back what they counted.

mod cluster;
mod connect;
mod door;
mod dry;
pub mod inspect;
mod kept;
pub mod lease;
pub mod link;
mod meet;
pub mod memory;
mod mesh;
mod open;
mod outlook;
mod random;
pub mod signals;
mod storage;
pub mod supervise;
mod totals;
pub mod watchdog;
mod wire;

#[cfg(test)]
mod tests;

pub use cluster::Cluster;
pub use outlook::{Outlook, Remake, fits, outlook};
pub use storage::Found;
pub use totals::{Outcome, Progress};

use crate::checkpoint::inspect as stored;
use crate::config::Settings;
use crate::drivers::commit::SharedManifest;
use crate::drivers::coordinator::Plan;
use crate::drivers::health::{Health, StopRequest};
use crate::drivers::plan;
use crate::drivers::resume::Resume;
use crate::drivers::snapshot::Snapshots;
use crate::drivers::source::{Place, Wakers};
use crate::error::{Error, fatal};
use crate::flow::{self, Dataflow, JobView};
use crate::model::control::Tick;
use crate::model::job::{Delivery, JobState};
use crate::time;
use link::{Link, Message};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use timely::WorkerConfig;
use totals::Totals;
use watchdog::Watchdog;

/// A dataflow with everything that is needed to run it.
#[derive(Clone)]
pub struct Job {
    /// The dataflow.
    pub dataflow: Dataflow,
    /// The settings.
    pub settings: Settings,
    /// The processes and threads that run it.
    pub cluster: Cluster,
    /// Save and restore all state after every tick, which must change nothing.
    pub check_state: bool,
    /// What it keeps; `None`: nothing.
    pub state: Option<JobState>,
    /// Asks it to stop.
    pub stop: StopRequest,
    /// What its settings were made from, to make them again.
    pub given: String,
    /// Make the committed ticks again, take a snapshot, and end.
    pub only_replay: bool,
}

impl Job {
    /// A job that keeps nothing.
    pub fn new(dataflow: Dataflow, settings: Settings, cluster: Cluster) -> Job {
        let (state, stop, given) = (None, StopRequest::default(), String::new());
        Job { dataflow, settings, cluster, check_state: false, state, stop, given, only_replay: false }
    }
}

/// The dataflow that a state folder is of; none: no job has begun there.
pub fn dataflow_of(folder: &Path) -> Result<Option<String>, Error> {
    let Some(volume) = storage::volume(folder)? else { return Ok(None) };
    Ok(stored::job(&*volume)?.map(|(job, _)| job.dataflow))
}

/// Reads what is stored of a job that keeps something. Process 0 has the folder for itself from then on.
pub fn find(job: &Job) -> Result<Option<Found>, Error> {
    job.state.as_ref().map(|state| storage::find(&state.folder, job.cluster.process == 0)).transpose()
}

/// Runs the job's share of this process to its end.
pub fn run(job: Job, progress: Arc<Progress>) -> Result<Outcome, Error> {
    let found = find(&job)?;
    run_from(job, found, progress)
}

/// The same from what has been read before. A job that keeps nothing has found nothing.
pub fn run_from(job: Job, found: Option<Found>, progress: Arc<Progress>) -> Result<Outcome, Error> {
    let started = time::Stopwatch::start();
    let process = job.cluster.process;
    let settings = job.settings.clone();
    let listing = open::list(&settings)?;
    match (job.state.clone(), found) {
        (Some(state), Some(found)) => kept::run(job, &state, found, &listing, progress, &started),
        _ => {
            let (now, connected) = (time::now_ms(), connect::connect(&job, open::hash(&listing), None, || Ok(0))?);
            let totals = Totals::new(job.settings.sources.keys().map(String::as_str), progress);
            let opened = open::open(&job, &listing, now, &Resume::default(), None)?;
            work(Work { job, now, opened, connected, resume: Resume::default(), totals: totals.clone(), stored: None })?;
            Ok(totals.outcome(&started, process))
        }
    }
}

/// Everything that the workers of a process start with.
struct Work {
    job: Job,
    /// The time of the run, ms.
    now: i64,
    opened: open::Opened,
    connected: connect::Connected,
    resume: Resume,
    totals: Totals,
    stored: Option<Stored>,
}

/// What they have of a state folder.
struct Stored {
    threads: storage::Threads,
    state: JobState,
    incarnation: u64,
    /// On process 0.
    manifest: Option<storage::log::Logged>,
}

/// Runs the workers of this process to their end.
fn work(work: Work) -> Result<(), Error> {
    let Work { job, now, opened, connected, resume, totals, stored } = work;
    let (process, engine) = (job.cluster.process, job.settings.engine);
    let connect::Connected { builders, others, link, health, .. } = connected;
    let watchdog = (process == 0).then(|| watch(&health, link.clone(), engine.stall_timeout)).transpose()?;
    let plan = Plan {
        processes: job.cluster.processes as u32,
        out_of_orderness: opened.out_of_orderness,
        block: opened.block,
        tick_bytes: engine.tick_size,
        in_flight: (engine.max_ticks_in_flight as u64).max(plan::LAG),
        now,
        check_state: job.check_state,
        resume: Arc::new(resume),
        stop: job.stop.clone(),
    };
    let readers: Vec<_> = opened.readers.into_iter().map(|reader| (reader, Arc::new(Wakers::default()))).collect();
    let Job { dataflow, settings, cluster, check_state, .. } = job;
    let partitions = opened.partitions;
    let interval = engine.snapshot_interval as f64 / 1000.0;
    let (stored, manifest) = match stored {
        Some(Stored { threads, state, incarnation, manifest }) => (Some((threads, state, incarnation)), manifest),
        None => (None, None),
    };
    let manifest = Mutex::new(manifest);
    let workers = timely::execute::execute_from(builders, others, WorkerConfig::default(), move |worker| {
        let kept = stored.as_ref();
        let view = JobView {
            dataflow: dataflow.name.to_owned(),
            settings: settings.clone(),
            readers: readers.clone(),
            partitions: partitions.clone().into(),
            plan: plan.clone(),
            place: Place { process: cluster.process as u32, local: worker.index() % cluster.threads },
            run: kept.map_or_else(|| format!("{now:013}"), |(_, _, incarnation)| format!("{now:013}-{incarnation:04}")),
            check_state,
            is_dry: false,
            snapshots: kept.map_or_else(Snapshots::default, |(threads, state, _)| {
                threads.snapshots(worker.index(), worker.peers(), interval, state)
            }),
            kept: kept.map(|(threads, _, _)| threads.kept.clone()),
            delivery: kept.map_or(Delivery::ExactlyOnce, |(_, state, _)| state.delivery),
            health: health.clone(),
        };
        let logged = manifest.lock().unwrap_or_else(PoisonError::into_inner).take_if(|_| worker.index() == 0);
        let manifest: SharedManifest = match logged {
            Some(logged) => Rc::new(RefCell::new(logged)),
            None => totals.manifest(),
        };
        worker.dataflow::<Tick, _, _>(|scope| {
            flow::build(scope, &dataflow, Rc::new(view), manifest).unwrap_or_else(|error| fatal(&error));
        });
        while worker.step_or_park(None) {}
    });
    let workers = workers.map_err(|message| Error::cluster("", message))?;
    for worker in workers.join() {
        worker.map_err(Error::internal)?;
    }
    drop(watchdog);
    if let Some(link) = link {
        link.finish(process);
    }
    Ok(())
}

/// How long other processes have to print where they are before a job that hangs is ended.
const TO_PRINT: Duration = Duration::from_millis(300);

/// Starts the watchdog of process 0.
fn watch(health: &Health, link: Option<Link>, limit: u64) -> Result<Watchdog, Error> {
    let steps = health.steps.clone();
    let on_stall = move |error| {
        if let Some(link) = link {
            link.send(Message::Dump);
            std::thread::sleep(TO_PRINT);
        }
        link::end(&error)
    };
    watchdog::watch(health.vitals.clone(), limit, move || steps.describe(), on_stall)
}
