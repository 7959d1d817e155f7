//! The committer: when a tick is complete on all workers, it is committed, and only then do sinks show it.
//!
//! It acts on worker 0 of the job. Every source worker reports each tick, so a tick without anything else is seen too.

use crate::drivers::coordinator::Committed;
use crate::drivers::gather::is_past;
use crate::drivers::{Output, Reports, To, output, to_all};
use crate::model::control::{Counts, Report, Tick};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// What a commit is to the job.
pub trait Manifest {
    /// Records that `tick` is complete on all workers, with what it counted. When it returns, the tick is committed.
    fn commit(&mut self, tick: Tick, counts: &Counts);

    /// Counts what became visible only after its tick was committed.
    fn count(&mut self, counts: &Counts);
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

/// Builds the committer: takes what all steps report, says to every worker which ticks are committed.
pub fn committer<'scope>(
    reports: Reports<'scope>,
    manifest: SharedManifest,
    committed: Committed,
) -> Stream<'scope, Tick, Vec<To<Tick>>> {
    let scope = reports.scope();
    let mut builder = OperatorBuilder::new("committer".to_owned(), scope);
    let mut input = builder.new_input(reports, Exchange::new(|_: &Report| 0));
    let (out, ticks) = builder.new_output();
    let mut out: Output<To<Tick>> = output(out);
    let peers = scope.peers();
    builder.build(move |_capabilities| {
        let mut pending: BTreeMap<Tick, (Capability<Tick>, Counts)> = BTreeMap::new();
        move |frontiers| {
            input.for_each(|capability, reports| {
                let tick = *capability.least().expect("reports travel under their tick");
                let (_, counts) = pending.entry(tick).or_insert_with(|| (capability.delayed(&tick, 0), Counts::default()));
                reports.drain(..).for_each(|report| counts.add(&report.counts));
            });
            while let Some(entry) = pending.first_entry()
                && is_past(&frontiers[0], *entry.key())
            {
                let (tick, (capability, counts)) = entry.remove_entry();
                manifest.borrow_mut().commit(tick, &counts);
                committed.advance(tick + 1);
                out.activate().session(&capability).give_iterator(to_all(peers, &tick).into_iter());
            }
        }
    });
    ticks
}
