//! Publishes what sinks have been given, tick by tick, once the tick is committed.

use crate::drivers::gather::is_past;
use crate::drivers::snapshot::Snapshots;
use crate::drivers::{Events, Output, Reports, To, output};
use crate::model::control::{Counts, Event, Report, Tick};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use timely::ExchangeData;
use timely::communication::Pull;
use timely::dataflow::Stream;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::InputHandleCore;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// What a sink does with what it was given.
pub trait Publisher<L> {
    /// Whether it can take another tick now; if not, it is asked again after a while.
    fn is_ready(&mut self) -> bool {
        true
    }

    /// Shows the output of one committed tick: `parts` in the order of the workers that made them.
    fn publish(&mut self, tick: Tick, parts: Vec<L>, counts: &mut Counts);

    /// Nothing more will come: makes everything visible.
    fn finish(&mut self, counts: &mut Counts);
}

/// Output that one worker made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Made<L> {
    /// The worker.
    pub worker: u32,
    /// The output.
    pub part: L,
}

/// Which ticks are committed, for every worker.
pub type CommittedTicks<'scope> = Stream<'scope, Tick, Vec<To<Tick>>>;

/// Publishes on the worker `owner`; only there is a publisher needed.
pub fn publish_at<'scope, L: ExchangeData + Clone>(
    name: &str,
    owner: usize,
    events: Events<'scope, Made<L>>,
    committed: CommittedTicks<'scope>,
    publisher: Option<Box<dyn Publisher<L>>>,
    skip: Skip,
) -> Reports<'scope> {
    let pact = Exchange::new(move |_: &Event<Made<L>>| owner as u64);
    let mut builder = OperatorBuilder::new(format!("publish {name}"), events.scope());
    let input = builder.new_input(events, pact);
    build(builder, input, committed, publisher, skip)
}

/// Publishes on every worker what was made there.
pub fn publish_here<'scope, L: Clone + 'static>(
    name: &str,
    events: Events<'scope, Made<L>>,
    committed: CommittedTicks<'scope>,
    publisher: Option<Box<dyn Publisher<L>>>,
    skip: Skip,
) -> Reports<'scope> {
    let mut builder = OperatorBuilder::new(format!("publish {name}"), events.scope());
    let input = builder.new_input(events, Pipeline);
    build(builder, input, committed, publisher, skip)
}

/// What a publisher does not show, and whom it tells what it has shown.
#[derive(Clone, Default)]
pub struct Skip {
    /// Ticks before this one have been shown by an earlier run.
    pub before: Tick,
    /// Snapshots that wait for what was shown.
    pub snapshots: Snapshots,
}

impl Skip {
    /// Skips nothing: ticks that are made again are shown again. A snapshot waits until what came before it is in `file`,
    /// since it is not made again.
    pub fn nothing(file: PathBuf, snapshots: &Snapshots) -> Skip {
        snapshots.publisher(file);
        Skip { before: 0, snapshots: snapshots.clone() }
    }
}

/// How long a publisher that is not ready is left alone.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// The output of a tick that is not published yet.
struct Pending<L> {
    made: Vec<Made<L>>,
    committed: Option<Capability<Tick>>,
    /// Snapshots wait for this tick.
    snapshot: bool,
}

impl<L> Default for Pending<L> {
    fn default() -> Self {
        Pending { made: Vec::new(), committed: None, snapshot: false }
    }
}

fn build<'scope, L: Clone + 'static, P: Pull<Message<Tick, Vec<Event<Made<L>>>>> + 'static>(
    mut builder: OperatorBuilder<'scope, Tick>,
    mut input: InputHandleCore<Tick, Vec<Event<Made<L>>>, P>,
    committed: CommittedTicks<'scope>,
    mut publisher: Option<Box<dyn Publisher<L>>>,
    skip: Skip,
) -> Reports<'scope> {
    let mut committed = builder.new_input(committed, Exchange::new(|to: &To<Tick>| to.0));
    let (out, reports) = builder.new_output();
    let mut out: Output<Report> = output(out);
    let activator = reports.scope().activator_for(builder.operator_info().address);
    builder.build(move |_capabilities| {
        let mut pending: BTreeMap<Tick, Pending<L>> = BTreeMap::new();
        // Held for what becomes visible only at the end.
        let mut newest: Option<Capability<Tick>> = None;
        move |frontiers| {
            input.for_each(|capability, events| {
                let tick = *capability.least().expect("output travels under its tick");
                let pending = pending.entry(tick).or_default();
                for event in events.drain(..) {
                    match event {
                        Event::Data(made) => pending.made.push(made),
                        Event::Close(close) => pending.snapshot |= close.snapshot,
                    }
                }
            });
            committed.for_each(|capability, ticks| {
                for (_, tick) in ticks.drain(..) {
                    pending.entry(tick).or_default().committed = Some(capability.delayed(&tick, 0));
                }
            });
            let Some(sink) = &mut publisher else {
                pending.clear();
                return;
            };
            while let Some(entry) = pending.first_entry()
                && entry.get().committed.is_some()
                && is_past(&frontiers[0], *entry.key())
            {
                if !sink.is_ready() {
                    activator.activate_after(ASK_AGAIN);
                    break;
                }
                let (tick, Pending { mut made, committed, snapshot }) = entry.remove_entry();
                newest = committed;
                if tick >= skip.before {
                    // Stable: what one worker made stays in the order in which it made it.
                    made.sort_by_key(|made| made.worker);
                    let mut counts = Counts::default();
                    sink.publish(tick, made.into_iter().map(|made| made.part).collect(), &mut counts);
                    report(&mut out, &newest, counts);
                }
                if snapshot {
                    skip.snapshots.shown(tick);
                }
            }
            if pending.is_empty() && frontiers.iter().all(|frontier| frontier.is_empty()) {
                let mut counts = Counts::default();
                sink.finish(&mut counts);
                report(&mut out, &newest, counts);
                (newest, publisher) = (None, None);
            }
        }
    });
    reports
}

fn report(out: &mut Output<Report>, capability: &Option<Capability<Tick>>, counts: Counts) {
    if let Some(capability) = capability
        && !counts.is_empty()
    {
        out.activate().session(capability).give(Report::counted(counts));
    }
}
