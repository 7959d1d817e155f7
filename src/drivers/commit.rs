//! The committer: when a tick is complete on all workers, it is committed, and only then do sinks show it.
//!
//! It acts on worker 0 of the job. The coordinator sends the record of each tick, so a tick without anything else is seen
//! too. A tick that an earlier run has committed is compared with what was recorded: a wrong result is worse than a stop.

use crate::drivers::coordinator::Committed;
use crate::drivers::gather::is_past;
use crate::drivers::resume::Resume;
use crate::drivers::snapshot::Saved;
use crate::drivers::{Output, Reports, To, output, to_all};
use crate::error::{Error, fatal};
use crate::model::commit::{Commit, LinesHash, Shown, StepRecord};
use crate::model::control::{Counts, Report, Tick};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::SyncActivator;

/// What a commit is to the job. All calls come from worker 0; none of them blocks.
pub trait Manifest {
    /// Takes the record of a tick that is complete on all workers. Ticks come in order.
    fn submit(&mut self, commit: Commit);

    /// The tick before which all that have been submitted are committed.
    fn committed(&mut self) -> Tick;

    /// Counts a tick that an earlier run has committed, or what became visible only after its tick was committed.
    fn count(&mut self, counts: &Counts);

    /// Takes note that all workers have saved their state as it is after `tick`, in these steps.
    fn snapshot(&mut self, tick: Tick, saved: Vec<Saved>, steps: Vec<StepRecord>);

    /// Whether a snapshot has become durable since it was asked last.
    fn has_snapshot(&mut self) -> bool;

    /// Tells `wake` from now on when there is news.
    fn wake_with(&mut self, wake: SyncActivator);
}

/// A manifest that the operators of a worker share.
pub type SharedManifest = Rc<RefCell<dyn Manifest>>;

/// Hands what publishers report to the manifest, and tells the coordinator how far they have come; on worker 0.
pub fn collect(reports: Reports<'_>, manifest: SharedManifest, committed: Committed) {
    let mut builder = OperatorBuilder::new("collect".to_owned(), reports.scope());
    let mut input = builder.new_input(reports, Exchange::new(|_: &Report| 0));
    builder.build(move |_capabilities| {
        move |frontiers| {
            if let Some(tick) = frontiers[0].frontier().first() {
                committed.publish(*tick);
            }
            input.for_each(|_, reports| {
                let mut manifest = manifest.borrow_mut();
                reports.drain(..).for_each(|report| manifest.count(&report.counts));
            });
        }
    });
}

/// What is known of a tick that is not complete.
#[derive(Default)]
struct Pending {
    held: Option<[Capability<Tick>; 2]>,
    record: Option<Commit>,
    report: Report,
}

/// What the committer says, to every worker.
pub struct Committer<'scope> {
    /// Ticks that are complete on all workers.
    pub complete: Stream<'scope, Tick, Vec<To<Tick>>>,
    /// Ticks that are committed.
    pub committed: Stream<'scope, Tick, Vec<To<Tick>>>,
}

/// Builds the committer: takes the records of ticks and what all steps report, says to every worker which ticks are
/// committed.
pub fn committer<'scope>(
    records: Stream<'scope, Tick, Vec<Commit>>,
    reports: Reports<'scope>,
    manifest: SharedManifest,
    committed: Committed,
    resume: Arc<Resume>,
) -> Committer<'scope> {
    let scope = reports.scope();
    let mut builder = OperatorBuilder::new("committer".to_owned(), scope);
    let mut records = builder.new_input(records, Pipeline);
    let mut reports = builder.new_input(reports, Exchange::new(|_: &Report| 0));
    let (complete_out, complete_ticks) = builder.new_output();
    let (committed_out, committed_ticks) = builder.new_output();
    let (mut complete_out, mut committed_out): (Output<To<Tick>>, Output<To<Tick>>) =
        (output(complete_out), output(committed_out));
    let peers = scope.peers();
    manifest.borrow_mut().wake_with(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    committed.begin(resume.first);
    builder.build(move |_capabilities| {
        let mut pending: BTreeMap<Tick, Pending> = BTreeMap::new();
        // Complete and not known to be committed.
        let mut waiting: VecDeque<(Tick, Capability<Tick>)> = VecDeque::new();
        move |frontiers| {
            records.for_each(|capability, records| {
                for record in records.drain(..) {
                    let pending = pending.entry(record.tick).or_default();
                    pending.held = Some([0, 1].map(|port| capability.delayed(&record.tick, port)));
                    pending.record = Some(record);
                }
            });
            reports.for_each(|capability, reports| {
                let tick = *capability.least().expect("reports travel under their tick");
                let pending = pending.entry(tick).or_default();
                pending.held.get_or_insert_with(|| [0, 1].map(|port| capability.delayed(&tick, port)));
                for report in reports.drain(..) {
                    pending.report.counts.add(&report.counts);
                    pending.report.shown.extend(report.shown);
                    pending.report.cuts.extend(report.cuts);
                }
            });
            let mut manifest = manifest.borrow_mut();
            while let Some(entry) = pending.first_entry()
                && frontiers.iter().all(|frontier| is_past(frontier, *entry.key()))
            {
                let (tick, Pending { held, record, report }) = entry.remove_entry();
                let (Some(held), Some(record)) = (held, record) else { continue };
                let commit = complete(record, report);
                let [complete, committed] = held;
                complete_out.activate().session(&complete).give_iterator(to_all(peers, &tick).into_iter());
                waiting.push_back((tick, committed));
                match resume.recorded(tick) {
                    Some(recorded) => {
                        compare(recorded, &commit).unwrap_or_else(|error| fatal(&error));
                        manifest.count(&commit.counts);
                    }
                    None => manifest.submit(commit),
                }
            }
            let before = manifest.committed().max(resume.live_from());
            drop(manifest);
            while waiting.front().is_some_and(|(tick, _)| *tick < before)
                && let Some((tick, held)) = waiting.pop_front()
            {
                committed.advance(tick + 1);
                committed_out.activate().session(&held).give_iterator(to_all(peers, &tick).into_iter());
            }
        }
    });
    Committer { complete: complete_ticks, committed: committed_ticks }
}

/// The record of a tick with what all steps have reported of it.
fn complete(record: Commit, report: Report) -> Commit {
    let Report { counts, mut shown, mut cuts } = report;
    shown.sort_by(|a, b| a.path.cmp(&b.path));
    cuts.sort_by(|a, b| a.name.cmp(&b.name));
    Commit { shown, cuts, counts, ..record }
}

/// What two runs must have alike of what they show: by sink, for files may be dealt otherwise.
fn by_sink(shown: &[Shown]) -> BTreeMap<&str, (u64, u64, LinesHash)> {
    let mut sinks = BTreeMap::new();
    for of in shown {
        let (rows, bytes, hash): &mut (u64, u64, LinesHash) = sinks.entry(of.sink.as_str()).or_default();
        *rows += of.rows;
        *bytes += of.bytes;
        hash.add(of.hash);
    }
    sinks
}

/// Fails when a tick that is made again differs from its record.
fn compare(recorded: &Commit, made: &Commit) -> Result<(), Error> {
    let differs = |what: &str, was: &dyn std::fmt::Debug, is: &dyn std::fmt::Debug| {
        let message = format!("made again, it differs from its record in {what}: {is:?} instead of {was:?}");
        let hint = "nothing has been shown of it; was the input changed, or is this another build of the program?";
        Err(Error::refused(format!("tick {}", made.tick), message).with_hint(hint))
    };
    if recorded.taken != made.taken {
        return differs("what was read", &recorded.taken, &made.taken);
    }
    if recorded.watermark != made.watermark {
        return differs("its watermark", &recorded.watermark, &made.watermark);
    }
    let (was, is) = (by_sink(&recorded.shown), by_sink(&made.shown));
    let names: std::collections::BTreeSet<&str> = was.keys().chain(is.keys()).copied().collect();
    for sink in names {
        if was.get(sink) != is.get(sink) {
            return differs(&format!("rows, bytes and hash of the lines of sink `{sink}`"), &was.get(sink), &is.get(sink));
        }
    }
    let counts = |of: &Counts| (of.sources.clone(), of.windows, of.revisions, of.anomalies.clone());
    if counts(&recorded.counts) != counts(&made.counts) {
        return differs("what was counted", &counts(&recorded.counts), &counts(&made.counts));
    }
    Ok(())
}
