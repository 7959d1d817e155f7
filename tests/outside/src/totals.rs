//! `totals`: how many readings has each meter sent so far, and how many meters have sent how many? With raw timely
//! operators and a differential collection below a step of meterflow.
//!
//! Reads meter readings. Writes a line to the sink `totals` for every change of the answer: `meters` meters more (or, when
//! negative, fewer) have sent `readings` readings.

use differential_dataflow::collection::AsCollection;
use differential_dataflow::operators::CountTotal;
use meterflow::prelude::*;
use std::collections::BTreeMap;
use std::io::Write;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

pub const TOTALS: Dataflow = Dataflow {
    name: "totals",
    about: "how many meters have sent how many readings",
    sources: &["readings"],
    sinks: &["totals"],
    build,
};

fn build(flow: &mut Flow) -> Result<(), Error> {
    let readings = flow.source("readings")?;
    let totals =
        updates(&readings).as_collection().count_total().map(|(_meter, readings)| readings).count_total().consolidate();
    let totals = events(totals.inner, &readings);
    flow.sink("totals", &Custom::new(totals, total_lines))
}

/// A change of a collection: what, when, and how many more or fewer.
type Update<D> = (D, Tick, isize);

/// A raw timely operator: the meter of every used reading, with the tick as the time of the change.
fn updates<'scope>(readings: &Readings<'scope>) -> Stream<'scope, Tick, Vec<Update<Vec<u8>>>> {
    type Builder = CapacityContainerBuilder<Vec<Update<Vec<u8>>>>;
    readings.stream().unary::<Builder, _, _, _>(Pipeline, "meters", |_, _| {
        move |input, output| {
            input.for_each(|capability, batches| {
                let Some(tick) = capability.least().copied() else { return };
                let mut session = output.session(&capability);
                for batch in batches.drain(..).filter(|batch| !batch.is_late()) {
                    session.give_iterator(batch.iter().map(|reading| (reading.meter().to_vec(), tick, 1)));
                }
            });
        }
    })
}

/// How many meters more, or fewer, have sent so many readings.
type Change = (isize, isize);

/// The way back to a step: the changes of each tick, in order, followed by its end. (A collection's updates carry their
/// own time, and are complete when the frontier has passed it.)
fn events<'scope>(
    changes: Stream<'scope, Tick, Vec<Update<Change>>>,
    readings: &Readings<'scope>,
) -> Events<'scope, Change> {
    type Builder = CapacityContainerBuilder<Vec<Event<Change>>>;
    changes.binary_frontier::<_, Builder, _, _, _, _>(readings.events.clone(), Pipeline, Pipeline, "events", |_, _| {
        let mut pending: BTreeMap<Tick, Vec<Change>> = BTreeMap::new();
        let mut ends: BTreeMap<Tick, (Capability<Tick>, Close)> = BTreeMap::new();
        move |(changes, complete), (events, _), output| {
            changes.for_each(|_, updates| {
                for ((readings, meters), tick, by) in updates.drain(..) {
                    pending.entry(tick).or_default().push((readings, meters * by));
                }
            });
            events.for_each(|capability, events| {
                for event in events.drain(..) {
                    if let Event::Close(close) = event {
                        ends.insert(close.tick, (capability.delayed(&close.tick, 0), close));
                    }
                }
            });
            while let Some(end) = ends.first_entry()
                && !complete.less_equal(end.key())
            {
                let (tick, (capability, close)) = end.remove_entry();
                let mut changes = pending.remove(&tick).unwrap_or_default();
                changes.sort_unstable();
                let changes = changes.into_iter().map(Event::Data);
                output.session(&capability).give_iterator(changes.chain([Event::Close(close)]));
            }
        }
    })
}

fn total_lines((readings, meters): &Change, out: &mut Vec<u8>) -> u64 {
    // Writing to memory cannot fail.
    let _ = writeln!(out, "{{\"readings\":{readings},\"meters\":{meters}}}");
    1
}
