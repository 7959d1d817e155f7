//! Builds a dataflow that never runs, to learn whether its steps can go on from stored state. It opens nothing.

use crate::config::Settings;
use crate::drivers::coordinator::Plan;
use crate::drivers::health::{Health, StopRequest};
use crate::drivers::reader::Reader;
use crate::drivers::resume::Resume;
use crate::drivers::snapshot::{Snapshots, Vault};
use crate::drivers::source::{Place, Wakers};
use crate::error::Error;
use crate::flow::{self, Dataflow, JobView};
use crate::model::commit::{PartitionRecord, StepRecord};
use crate::model::control::Tick;
use crate::model::job::Delivery;
use crate::runtime::open;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

/// What is built.
#[derive(Clone)]
pub(super) struct Dry {
    pub(super) dataflow: Dataflow,
    pub(super) settings: Settings,
    /// All partitions of the job.
    pub(super) partitions: Vec<PartitionRecord>,
    /// Where the job stands.
    pub(super) resume: Arc<Resume>,
    /// Has what is stored.
    pub(super) vault: Arc<dyn Vault>,
    /// Steps that may be missing.
    pub(super) dropped: BTreeSet<String>,
}

/// Builds it as worker `index` of `workers` would. Returns the steps with state; fails when what is stored does not fit.
pub(super) fn build(dry: &Dry, index: usize, workers: usize) -> Result<Vec<StepRecord>, Error> {
    let dry = dry.clone();
    timely::execute::execute_directly(move |worker| {
        let snapshots = Snapshots::new(dry.vault.clone(), index, workers, f64::INFINITY, dry.dropped.clone());
        let dataflow = dry.dataflow;
        let view = Rc::new(view(dry, snapshots.clone()));
        let built = worker.dataflow::<Tick, _, _>(|scope| flow::look(scope, &dataflow, view));
        for number in worker.installed_dataflows() {
            worker.drop_dataflow(number);
        }
        built.map(|()| snapshots.steps())
    })
}

fn view(dry: Dry, snapshots: Snapshots) -> JobView {
    let Dry { dataflow, settings, partitions, resume, .. } = dry;
    let out_of_orderness =
        |partition: &PartitionRecord| settings.sources.get(&partition.source).map_or(0, |source| source.out_of_orderness);
    let plan = Plan {
        processes: 1,
        out_of_orderness: partitions.iter().map(out_of_orderness).collect(),
        block: 1,
        tick_bytes: 1,
        in_flight: 1,
        now: 0,
        check_state: false,
        resume,
        stop: StopRequest::default(),
    };
    let reader = |(name, source): (&String, &crate::config::Source)| {
        let reader = Reader::new(name, Arc::new(source.format.clone()), open::rules(source, &settings), 0, Vec::new());
        (Arc::new(reader), Arc::new(Wakers::default()))
    };
    JobView {
        dataflow: dataflow.name.to_owned(),
        readers: settings.sources.iter().map(reader).collect(),
        partitions: partitions.into_iter().map(|partition| partition.name).collect(),
        plan,
        place: Place { process: 0, local: 0 },
        run: String::new(),
        check_state: false,
        is_dry: true,
        snapshots,
        kept: None,
        delivery: Delivery::ExactlyOnce,
        health: Health::default(),
        settings,
    }
}
