//! Builds a dataflow on a worker: coordinator and sources in front, committer and publishers behind.

use crate::config::Settings;
use crate::drivers::commit::{SharedManifest, collect, committer};
use crate::drivers::coordinator::{Committed, Coordinator, Plan, coordinator};
use crate::drivers::gather::gather;
use crate::drivers::health::Health;
use crate::drivers::keep::Spooler;
use crate::drivers::reader::Reader;
use crate::drivers::snapshot::{self, Snapshots};
use crate::drivers::source::{Place, Wakers, source};
use crate::error::Error;
use crate::flow::{Dataflow, DeadLetters, Flow, Readings, SourceNames, Ticks};
use crate::model::control::{SourceReport, Tick};
use crate::model::job::Delivery;
use crate::operators::encode::HashOf;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::Scope;
use timely::dataflow::operators::{Concatenate, ConnectLoop, Feedback};

/// What a worker knows of the job.
pub struct JobView {
    /// Name of the dataflow.
    pub dataflow: String,
    /// The settings.
    pub settings: Settings,
    /// Sources, as this process sees them.
    pub readers: Vec<(Arc<Reader>, Arc<Wakers>)>,
    /// Names of all partitions of the job, by index.
    pub partitions: Rc<[String]>,
    /// How ticks are cut.
    pub plan: Plan,
    /// Where this worker stands.
    pub place: Place,
    /// A name of this run that its archive objects carry.
    pub run: String,
    /// Save and restore all state after every tick, which must change nothing.
    pub check_state: bool,
    /// It is built to be looked at, and never runs: nothing is opened.
    pub is_dry: bool,
    /// Where state is saved.
    pub snapshots: Snapshots,
    /// Where what is to be shown is kept, if it is to survive a crash.
    pub kept: Option<KeptLines>,
    /// When lines leave.
    pub delivery: Delivery,
    /// What is told beside the data: stop, still alive, how far.
    pub health: Health,
}

/// Where what is to be shown is kept.
#[derive(Clone)]
pub struct KeptLines {
    /// Writes it.
    pub spooler: Arc<dyn Spooler>,
    /// Lengths of the files that an earlier run has left, by path.
    pub ends: Arc<BTreeMap<String, u64>>,
    /// Hashes lines, whatever their order.
    pub hash: HashOf,
}

impl KeptLines {
    /// The committed length of a file.
    pub fn end(&self, path: &str) -> u64 {
        self.ends.get(path).copied().unwrap_or(0)
    }
}

/// Builds `dataflow` as far as its last step, with whatever state is stored of it: fails when that does not fit.
pub fn look(scope: Scope<'_, Tick>, dataflow: &Dataflow, job: Rc<JobView>) -> Result<(), Error> {
    steps(scope, dataflow, job, Committed::default()).map(drop)
}

/// Coordinator, sources and the steps of the dataflow.
fn steps<'scope>(
    scope: Scope<'scope, Tick>,
    dataflow: &Dataflow,
    job: Rc<JobView>,
    committed: Committed,
) -> Result<(Flow<'scope>, Coordinator<'scope>), Error> {
    let (control_loop, control) = scope.feedback::<Vec<SourceReport>>(1);
    let ticks = coordinator(scope, control, job.plan.clone(), committed, &job.snapshots)?;

    let (mut controls, mut reports, mut sources) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (reader, wakers) in &job.readers {
        let made = source(scope, ticks.cuts.clone(), reader.clone(), wakers.clone(), job.place);
        controls.push(made.control);
        reports.push(made.reports);
        let names = SourceNames {
            source: reader.name.clone(),
            channels: reader.format.channels.iter().map(|(name, _)| name.clone()).collect(),
            partitions: job.partitions.clone(),
        };
        let names = Rc::new(names);
        let (events, counted) = gather(&reader.name, made.readings, ticks.closes.clone(), job.place);
        let (letters, none) = gather(&format!("{} dead letters", reader.name), made.dead, ticks.closes.clone(), job.place);
        reports.extend([counted, none]);
        let dead = DeadLetters { events: letters, names: names.clone() };
        sources.insert(reader.name.clone(), Readings { events, dead, names });
    }
    scope.concatenate(controls).connect_loop(control_loop);

    let mut flow = Flow { scope, job, sources, steps: Default::default(), reports, publish: Vec::new() };
    (dataflow.build)(&mut flow)?;

    flow.job.snapshots.all_entered()?;
    Ok((flow, ticks))
}

/// Builds `dataflow` on this worker.
pub fn build(scope: Scope<'_, Tick>, dataflow: &Dataflow, job: Rc<JobView>, manifest: SharedManifest) -> Result<(), Error> {
    let committed = Committed::new(job.health.vitals.clone());
    let (flow, ticks) = steps(scope, dataflow, job, committed.clone())?;
    snapshot::collect(ticks.closes.clone(), &flow.job.snapshots, manifest.clone());
    let reports = scope.concatenate(flow.reports);
    let (resume, delivery) = (flow.job.plan.resume.clone(), flow.job.delivery);
    let made = committer(ticks.records, reports, manifest.clone(), committed.clone(), resume);
    let due = match delivery {
        Delivery::ExactlyOnce => made.committed.clone(),
        Delivery::AtLeastOnce => made.complete,
    };
    let ticks = Ticks { due, committed: made.committed };
    let late: Vec<_> = flow.publish.into_iter().map(|publish| publish(ticks.clone())).collect::<Result<_, _>>()?;
    if !late.is_empty() {
        collect(scope.concatenate(late), manifest, committed);
    }
    Ok(())
}
