//! Runs a dataflow: opens its sources, starts the workers of this process, and brings back what they counted.

mod cluster;
mod connect;
pub mod memory;
mod open;
pub mod signals;
pub mod supervise;
mod totals;

pub use cluster::Cluster;
pub use totals::{Outcome, Progress};

use crate::config::Settings;
use crate::drivers::coordinator::Plan;
use crate::drivers::health::StopRequest;
use crate::drivers::plan;
use crate::drivers::snapshot::Snapshots;
use crate::drivers::source::{Place, Wakers};
use crate::error::{Error, fatal};
use crate::flow::{self, Dataflow, JobView};
use crate::model::control::Tick;
use crate::model::job::{Delivery, JobState};
use crate::time;
use std::rc::Rc;
use std::sync::Arc;
use timely::WorkerConfig;
use totals::Totals;

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
}

impl Job {
    /// A job that keeps nothing.
    pub fn new(dataflow: Dataflow, settings: Settings, cluster: Cluster) -> Job {
        Job { dataflow, settings, cluster, check_state: false, state: None, stop: StopRequest::default() }
    }
}

/// Runs the job's share of this process to its end.
pub fn run(job: Job, progress: Arc<Progress>) -> Result<Outcome, Error> {
    let started = time::Stopwatch::start();
    let now = time::now_ms();
    let opened = open::open(&job, now)?;
    let engine = &job.settings.engine;
    let plan = Plan {
        processes: job.cluster.processes as u32,
        out_of_orderness: opened.out_of_orderness,
        block: opened.block,
        tick_bytes: engine.tick_size,
        in_flight: (engine.max_ticks_in_flight as u64).max(plan::LAG),
        now,
        check_state: job.check_state,
        resume: Arc::default(),
        stop: job.stop.clone(),
    };
    let readers: Vec<_> = opened.readers.into_iter().map(|reader| (reader, Arc::new(Wakers::default()))).collect();
    let totals = Totals::new(readers.iter().map(|(reader, _)| reader.name.as_str()), progress);
    let (dataflow, settings, cluster, shared) = (job.dataflow, job.settings, job.cluster.clone(), totals.clone());
    let partitions = opened.partitions;
    let (builders, others) = connect::connect(&job.cluster)?;
    let workers = timely::execute::execute_from(builders, others, WorkerConfig::default(), move |worker| {
        let view = JobView {
            dataflow: dataflow.name.to_owned(),
            settings: settings.clone(),
            readers: readers.clone(),
            partitions: partitions.clone().into(),
            plan: plan.clone(),
            place: Place { process: cluster.process as u32, local: worker.index() % cluster.threads },
            run: format!("{now:013}"),
            check_state: job.check_state,
            snapshots: Snapshots::default(),
            kept: None,
            delivery: Delivery::ExactlyOnce,
        };
        let manifest = shared.manifest();
        worker.dataflow::<Tick, _, _>(|scope| {
            flow::build(scope, &dataflow, Rc::new(view), manifest).unwrap_or_else(|error| fatal(&error));
        });
        while worker.step_or_park(None) {}
    });
    let workers = workers.map_err(|message| Error::cluster("", message))?;
    for worker in workers.join() {
        worker.map_err(Error::internal)?;
    }
    Ok(totals.outcome(&started, job.cluster.process))
}
