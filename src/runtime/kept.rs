//! Runs a job that keeps state: recovers, joins the incarnation, runs, and says in the state folder that it is complete.

use crate::drivers::health::Alive;
use crate::error::Error;
use crate::model::commit::{JobRecord, PartitionRecord};
use crate::model::job::JobState;
use crate::runtime::open::{self, Listing};
use crate::runtime::storage::{self, Begun, Found};
use crate::runtime::totals::Totals;
use crate::runtime::{Job, Outcome, Progress, Stored, Work, connect, work};
use crate::time::{self, Stopwatch};
use std::sync::Arc;

/// Runs the job's share of this process.
pub(super) fn run(
    job: Job,
    state: &JobState,
    listing: &Listing,
    progress: Arc<Progress>,
    started: &Stopwatch,
) -> Result<Outcome, Error> {
    let process = job.cluster.process;
    let totals = Totals::new(job.settings.sources.keys().map(String::as_str), progress);
    let mut found = storage::find(&state.folder, None)?;
    let records = open::records(listing)?;
    found.check(job.dataflow.name, &records)?;
    if let Some(counts) = found.complete() {
        eprintln!("meterflow: {}: this run is complete; there is nothing to do", state.folder.display());
        totals.count(&counts);
        return Ok(totals.outcome(started, process));
    }
    let record = record(&job, &found, listing, records)?;
    let (begun, log, connected) = match job.cluster.process {
        0 => {
            if !job.only_replay {
                found.drop_steps(&state.dropped)?;
            }
            let (begun, log) = found.begin(&record)?;
            (begun, Some(log), connect::connect(&job.cluster)?)
        }
        _ => {
            let connected = connect::connect(&job.cluster)?;
            (join(state)?, None, connected)
        }
    };
    let resume = begun.resume(job.only_replay)?;
    let stop = job.stop.clone();
    let threads = begun.start(&job.cluster)?;
    let now = record.now;
    let opened = open::open(&job, listing, now, &resume, Some(record.block))?;
    let (manifest, writer) = match log {
        Some(log) => {
            let (manifest, writer) = begun.commit_to(log, record, totals.clone(), Alive::default())?;
            (Some(manifest), Some(writer))
        }
        None => (None, None),
    };
    let stored = Stored { threads, state: state.clone(), incarnation: begun.incarnation, manifest };
    work(Work { job, now, opened, connected, resume, totals: totals.clone(), stored: Some(stored) })?;
    if let Some(writer) = writer {
        writer.finish()?;
    }
    if stop.is_raised() {
        eprintln!("meterflow: stopped; started again with the same state folder it goes on");
    }
    Ok(totals.outcome(started, process))
}

/// What the job is from now on.
fn record(job: &Job, found: &Found, listing: &Listing, partitions: Vec<PartitionRecord>) -> Result<JobRecord, Error> {
    let wanted = open::block(&job.settings, listing);
    let Some(known) = found.job() else {
        return Ok(JobRecord {
            uid: storage::new_uid()?,
            dataflow: job.dataflow.name.to_owned(),
            settings: job.given.clone(),
            block: wanted,
            now: time::now_ms(),
            partitions,
        });
    };
    if job.settings.engine.block_size.is_some_and(|block| block != known.block) {
        let message = format!("is {wanted}, but what was read stands in blocks of {} bytes", known.block);
        return Err(Error::refused("engine.block_size", message).with_hint("set it back, or take another state folder"));
    }
    Ok(JobRecord { settings: job.given.clone(), ..known.clone() })
}

/// Another process than 0: what the newest incarnation, which process 0 has just begun, goes on from.
fn join(state: &JobState) -> Result<Begun, Error> {
    let incarnation = storage::find(&state.folder, None)?.newest();
    Ok(storage::find(&state.folder, Some(incarnation))?.join(incarnation))
}

/// The stored settings, if committed ticks must be made again with them, and a snapshot taken, before the job goes on with
/// its own and without what is to be dropped.
pub fn is_unsettled(job: &Job) -> Result<Option<String>, Error> {
    let Some(state) = &job.state else { return Ok(None) };
    let found = storage::find(&state.folder, None)?;
    let stored = found.job().map(|known| known.settings.clone());
    let stored = stored.filter(|stored| *stored != job.given || !state.dropped.is_empty());
    Ok(stored.filter(|_| found.is_unsettled()))
}
