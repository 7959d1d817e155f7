//! Runs a job that keeps state: recovers, joins the incarnation, runs, and says in the state folder that it is complete.

use crate::error::Error;
use crate::model::commit::{JobRecord, PartitionRecord};
use crate::model::job::JobState;
use crate::runtime::lease::Lease;
use crate::runtime::open::{self, Listing};
use crate::runtime::storage::{self, Found};
use crate::runtime::totals::Totals;
use crate::runtime::{Job, Outcome, Progress, Stored, Work, connect, work};
use crate::time::{self, Stopwatch};
use std::sync::Arc;

/// Runs the job's share of this process.
pub(super) fn run(
    job: Job,
    state: &JobState,
    mut found: Found,
    listing: &Listing,
    progress: Arc<Progress>,
    started: &Stopwatch,
) -> Result<Outcome, Error> {
    let process = job.cluster.process;
    let totals = Totals::new(job.settings.sources.keys().map(String::as_str), progress);
    let lease = found.lease.take();
    let records = open::records(listing)?;
    found.check(job.dataflow.name, &records)?;
    if let Some(counts) = found.complete() {
        eprintln!("meterflow: {}: this run is complete; there is nothing to do", state.folder.display());
        totals.count(&counts);
        lease.map(Lease::release).transpose()?;
        return Ok(totals.outcome(started, process));
    }
    let record = record(&job, &found, listing, records)?;
    let input = open::hash(listing);
    let (begun, log, connected) = match process {
        0 => {
            if !job.only_replay {
                found.drop_steps(&state.dropped)?;
            }
            let mut begun = None;
            let grant = || {
                let (of, log) = found.begin(&record)?;
                let incarnation = of.incarnation;
                begun = Some((of, log));
                Ok(incarnation)
            };
            let connected = connect::connect(&job, input, lease.as_ref(), grant)?;
            let (begun, log) = begun.ok_or_else(|| Error::internal("nothing was granted"))?;
            (begun, Some(log), connected)
        }
        _ => {
            let connected = connect::connect(&job, input, None, || Ok(0))?;
            (found.join(connected.incarnation)?, None, connected)
        }
    };
    if let Some(lease) = &lease {
        lease.set_incarnation(begun.incarnation)?;
    }
    let resume = begun.resume(job.only_replay)?;
    let stop = job.stop.clone();
    let threads = begun.start(&job.cluster)?;
    let now = record.now;
    let opened = open::open(&job, listing, now, &resume, Some(record.block))?;
    let (manifest, writer) = match log {
        Some(log) => {
            let (manifest, writer) = begun.commit_to(log, record, totals.clone(), connected.health.alive.clone())?;
            (Some(manifest), Some(writer))
        }
        None => (None, None),
    };
    let stored = Stored { threads, state: state.clone(), incarnation: begun.incarnation, manifest };
    work(Work { job, now, opened, connected, resume, totals: totals.clone(), stored: Some(stored) })?;
    if let Some(writer) = writer {
        writer.finish()?;
    }
    lease.map(Lease::release).transpose()?;
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
    check_block(job, known)?;
    Ok(JobRecord { settings: job.given.clone(), ..known.clone() })
}

/// Refuses blocks of another size than those that were read.
pub(super) fn check_block(job: &Job, known: &JobRecord) -> Result<(), Error> {
    let Some(wanted) = job.settings.engine.block_size.filter(|block| *block != known.block) else { return Ok(()) };
    let message = format!("is {wanted}, but what was read stands in blocks of {} bytes", known.block);
    Err(Error::refused("engine.block_size", message).with_hint("set it back, or take another state folder"))
}
