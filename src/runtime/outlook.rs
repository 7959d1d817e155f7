//! Tells beforehand whether a run can go on from a state folder, and from where. It changes nothing there.

use crate::config::Settings;
use crate::error::Error;
use crate::flow::Dataflow;
use crate::model::commit::{JobRecord, StepRecord};
use crate::model::control::Tick;
use crate::model::job::JobState;
use crate::runtime::dry::{self, Dry};
use crate::runtime::storage::{self, Found, Kinds};
use crate::runtime::{Job, kept, open};
use std::sync::Arc;

/// Makes the dataflow and the settings again that a job was last started with.
pub type Remake<'a> = &'a dyn Fn(&JobRecord) -> Result<(Dataflow, Settings), Error>;

/// What a run would find.
pub enum Outlook {
    /// Nothing: it begins.
    Begins,
    /// Everything has been done.
    IsComplete,
    /// It goes on.
    GoesOn {
        /// The last committed tick; none has been: `None`.
        last: Option<Tick>,
        /// The tick of the snapshot that state comes from; none: from the start.
        snapshot: Option<Tick>,
        /// Committed ticks after it, which are made again.
        replayed: u64,
        /// The settings that it had, if they were given otherwise.
        before: Option<Box<Settings>>,
    },
}

/// Whether a run of the job could go on. Fails with the reason why not.
pub fn outlook(job: &Job, remake: Remake) -> Result<Outlook, Error> {
    let Some(JobState { folder, .. }) = &job.state else { return Ok(Outlook::Begins) };
    let Some(found) = storage::look(folder)? else { return Ok(Outlook::Begins) };
    let Some(known) = found.job() else { return Ok(Outlook::Begins) };
    let listing = open::list(&job.settings)?;
    found.check(job.dataflow.name, &open::records(&listing)?)?;
    if found.complete().is_some() {
        return Ok(Outlook::IsComplete);
    }
    kept::check_block(job, known)?;
    fits(job, &found, remake)?;
    let before = (known.settings != job.given).then(|| remake(known)).transpose()?;
    let recovered = found.recovered.as_ref();
    Ok(Outlook::GoesOn {
        last: recovered.and_then(|recovered| recovered.last_tick()),
        snapshot: recovered.and_then(|recovered| recovered.snapshot.as_ref()).map(|snapshot| snapshot.manifest.tick),
        replayed: recovered.map_or(0, |recovered| recovered.commits.len() as u64),
        before: before.map(|(_, settings)| Box::new(settings)),
    })
}

/// Refuses a job whose steps do not fit what is stored, before anything is done.
pub fn fits(job: &Job, found: &Found, remake: Remake) -> Result<(), Error> {
    let Some(known) = found.job().filter(|known| known.dataflow == job.dataflow.name) else { return Ok(()) };
    if found.complete().is_some() {
        return Ok(());
    }
    let dropped = job.state.as_ref().map(|state| state.dropped.clone()).unwrap_or_default();
    let build = |dataflow: Dataflow, settings: Settings, steps: Vec<StepRecord>| {
        let vault = Arc::new(Kinds(steps));
        let partitions = known.partitions.clone();
        let dropped = dropped.iter().cloned().collect();
        dry::build(&Dry { dataflow, settings, partitions, resume: Arc::default(), vault, dropped }, 0, 1)
    };
    let snapshot = found.recovered.as_ref().and_then(|recovered| recovered.snapshot.as_ref());
    let mut steps = snapshot.map_or_else(Vec::new, |snapshot| snapshot.manifest.steps.clone());
    if found.unsettled(job).is_some() {
        // The stored settings hold until there is a snapshot of their steps.
        let (dataflow, settings) = remake(known)?;
        steps = build(dataflow, settings, steps)?;
    }
    if let Some(unknown) = dropped.iter().find(|step| steps.iter().all(|known| known.step != **step)) {
        return Err(storage::not_stored(unknown, &steps));
    }
    steps.retain(|step| !dropped.contains(&step.step));
    build(job.dataflow, job.settings.clone(), steps).map(drop)
}
