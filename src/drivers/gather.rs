//! Gathers what is meant for a worker, the readings of its meters above all: a tick is held until it is complete, then goes on in canonical order and
//! with its end in the stream.

use crate::drivers::source::Place;
use crate::drivers::{Events, Output, Reports, To, output};
use crate::event_time::{END_OF_TIME, START_OF_TIME};
use crate::model::control::{Close, Counts, Event, Report, Tick};
use crate::model::dead::DeadLetter;
use crate::model::reading::Batch;
use crate::time;
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::ExchangeData;
use timely::PartialOrder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;

/// Something that has a place in the canonical order of a tick.
pub trait Ordered: ExchangeData + Clone {
    /// Partition (they are numbered by name), offset, and used before late.
    fn order(&self) -> (u32, u64, bool);

    /// Readings in it that count.
    fn kept(&self) -> u64 {
        0
    }
}

impl Ordered for Batch {
    fn order(&self) -> (u32, u64, bool) {
        (self.partition, self.base, self.is_late())
    }

    fn kept(&self) -> u64 {
        if self.is_late() { 0 } else { self.len() as u64 }
    }
}

impl Ordered for DeadLetter {
    fn order(&self) -> (u32, u64, bool) {
        (self.partition, self.offset, false)
    }
}

struct Pending<D> {
    data: Vec<D>,
    close: Option<(Close, Capability<Tick>, Capability<Tick>)>,
}

impl<D> Default for Pending<D> {
    fn default() -> Self {
        Pending { data: Vec::new(), close: None }
    }
}

/// The data of a tick that is complete in canonical order: several workers sent them, and they came in any order.
fn in_order<D: Ordered>(mut data: Vec<D>) -> Vec<D> {
    data.sort_unstable_by_key(D::order);
    data
}

/// Whether nothing can come any more at `tick`.
pub(super) fn is_past(frontier: &MutableAntichain<Tick>, tick: Tick) -> bool {
    !frontier.frontier().iter().any(|time| time.less_equal(&tick))
}

/// What is counted of a tick: what was kept here and, once in a process or job, how far it has come.
fn counts(kept: u64, worker: u32, place: Place, close: &Close) -> Counts {
    let mut counts = Counts::default();
    if kept > 0 {
        counts.kept.insert(worker, kept);
    }
    if worker == 0 && close.watermark != START_OF_TIME && close.watermark != END_OF_TIME {
        counts.watermark = Some(close.watermark);
    }
    if close.last && place.local == 0 {
        counts.cpu_ms.insert(place.process, (time::cpu_seconds() * 1000.0) as u64);
    }
    counts
}

/// Builds the step on this worker.
pub fn gather<'scope, D: Ordered>(
    name: &str,
    data: Stream<'scope, Tick, Vec<To<D>>>,
    closes: Stream<'scope, Tick, Vec<To<Close>>>,
    place: Place,
) -> (Events<'scope, Rc<D>>, Reports<'scope>) {
    let scope = data.scope();
    let mut builder = OperatorBuilder::new(format!("gather {name}"), scope);
    let mut data = builder.new_input(data, Exchange::new(|to: &To<D>| to.0));
    let mut closes = builder.new_input(closes, Exchange::new(|to: &To<Close>| to.0));
    let (events_out, events) = builder.new_output();
    let (reports_out, reports) = builder.new_output();
    let (mut events_out, mut reports_out): (Output<Event<Rc<D>>>, Output<Report>) =
        (output(events_out), output(reports_out));
    let worker = scope.index() as u32;
    builder.build(move |_capabilities| {
        let mut pending: BTreeMap<Tick, Pending<D>> = BTreeMap::new();
        move |frontiers| {
            data.for_each(|capability, messages| {
                let tick = *capability.least().expect("data travel under their tick");
                pending.entry(tick).or_default().data.extend(messages.drain(..).map(|(_, data)| data));
            });
            closes.for_each(|capability, messages| {
                for (_, close) in messages.drain(..) {
                    let held = (close, capability.delayed(&close.tick, 0), capability.delayed(&close.tick, 1));
                    pending.entry(close.tick).or_default().close = Some(held);
                }
            });
            while let Some(entry) = pending.first_entry()
                && entry.get().close.is_some()
                && is_past(&frontiers[0], *entry.key())
            {
                let Pending { data, close } = entry.remove();
                let Some((close, events, reports)) = close else { continue };
                let data = in_order(data);
                let kept: u64 = data.iter().map(D::kept).sum();
                let data = data.into_iter().map(|data| Event::Data(Rc::new(data)));
                events_out.activate().session(&events).give_iterator(data.chain([Event::Close(close)]));
                let counts = counts(kept, worker, place, &close);
                if !counts.is_empty() {
                    reports_out.activate().session(&reports).give(Report::counted(counts));
                }
            }
        }
    });
    (events, reports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct At(u32, u64, bool);

    impl Ordered for At {
        fn order(&self) -> (u32, u64, bool) {
            (self.0, self.1, self.2)
        }
    }

    #[test]
    fn a_tick_is_ordered_by_partition_then_offset_then_used_before_late() {
        let wanted = [At(0, 5, false), At(0, 5, true), At(0, 70, false), At(1, 0, false), At(1, 9, true)];
        for turn in 0..wanted.len() {
            let mut arrived = wanted.to_vec();
            arrived.rotate_left(turn);
            assert_eq!(in_order(arrived.clone()), wanted);
            arrived.reverse();
            assert_eq!(in_order(arrived), wanted);
        }
    }
}
