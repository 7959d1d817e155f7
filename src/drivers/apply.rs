//! Runs the logic of a step over its events, one after the other. The logic is pure: it never sees a capability.

use crate::drivers::health::Steps;
use crate::drivers::snapshot::{Freezer, Snapshots};
use crate::drivers::{Events, Output, Reports, output};
use crate::error::Error;
use crate::model::commit::ArchiveCut;
use crate::model::control::{Close, Counts, Event, Report, Tick};
use crate::model::meter::GROUPS;
use crate::state::{Scope, State, restore};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// What a step does.
///
/// Events come in canonical order: the data of a tick, then its end. What is emitted for an event must be a function of
/// the events so far, never of time, threads or hash order.
pub trait Logic<A, B> {
    /// Takes in data and appends what follows from it.
    fn data(&mut self, input: A, out: &mut Vec<B>);

    /// Ends a tick and appends what follows from it. When much is due, appends some of it and returns false; it is
    /// then called again with the same tick before anything else, after other steps have had their turn.
    fn close(&mut self, close: &Close, out: &mut Vec<B>, counts: &mut Counts) -> bool;

    /// What it has cut for the archive since it was last asked, to be committed with the tick that is closing.
    fn cuts(&mut self) -> Vec<ArchiveCut> {
        Vec::new()
    }

    /// What it remembers from tick to tick; a step that remembers nothing has none.
    fn state(&mut self) -> Option<&mut dyn State> {
        None
    }
}

/// Makes the logic of a step, empty. Called again when state is restored.
pub type Make<A, B> = Box<dyn Fn() -> Box<dyn Logic<A, B>>>;

/// The logic as it comes back from a snapshot.
fn snapshot_of<A, B>(make: &Make<A, B>, logic: &mut dyn Logic<A, B>) -> Box<dyn Logic<A, B>> {
    let mut fresh = make();
    if let (Some(old), Some(new)) = (logic.state(), fresh.state()) {
        let groups = (0..GROUPS as u16).map(Scope::Group);
        restore(old, new, &[Scope::Global].into_iter().chain(groups).collect::<Vec<_>>());
    }
    fresh
}

/// Events that wait, under the capabilities for what follows from them and for what is reported of them.
type Waiting<A> = (Capability<Tick>, Capability<Tick>, VecDeque<Event<A>>);

/// What a step is built with, beside its logic.
pub struct Around<'a> {
    /// Save and restore its state after every tick, which must change nothing.
    pub check_state: bool,
    /// Where its state is saved, and comes from.
    pub snapshots: &'a Snapshots,
    /// Who asks how far it is.
    pub steps: &'a Steps,
}

/// How far a step is, for whoever asks from another thread.
#[derive(Default)]
struct Gauge {
    tick: AtomicU64,
    waiting: AtomicUsize,
}

/// Builds a step on this worker. With `check_state` it is saved and restored after every tick, which must change
/// nothing.
pub fn apply<'scope, A: Clone + 'static, B: Clone + 'static>(
    name: &str,
    input: Events<'scope, A>,
    make: Make<A, B>,
    around: Around,
) -> Result<(Events<'scope, B>, Reports<'scope>), Error> {
    let Around { check_state, snapshots, steps } = around;
    // First of all: timely panics when an operator that was begun is not built to its end.
    let mut logic = make();
    let mut freezer = Freezer::default();
    if let Some(state) = logic.state() {
        let scopes = snapshots.scopes();
        let as_stored = snapshots.restore(name, state, &scopes)?;
        freezer = snapshots.enter(name, state, scopes, as_stored);
    }
    let scope = input.scope();
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let mut input = builder.new_input(input, Pipeline);
    let (events_out, events) = builder.new_output();
    let (reports_out, reports) = builder.new_output();
    let (mut events_out, mut reports_out): (Output<Event<B>>, Output<Report>) = (output(events_out), output(reports_out));
    let activator = scope.activator_for(builder.operator_info().address);
    let gauge = Arc::new(Gauge::default());
    let (shown, title) = (gauge.clone(), format!("step `{name}` of worker {}", scope.index()));
    steps.add(move || {
        let (tick, waiting) = (shown.tick.load(Relaxed), shown.waiting.load(Relaxed));
        format!("{title}: at tick {tick}, {waiting} batches wait")
    });
    builder.build_reschedule(move |_capabilities| {
        let mut queue: VecDeque<Waiting<A>> = VecDeque::new();
        let mut made: Vec<B> = Vec::new();
        move |_frontiers| {
            input.for_each(|capability, events| {
                let tick = *capability.least().expect("events travel under their tick");
                let (events_cap, reports_cap) = (capability.delayed(&tick, 0), capability.delayed(&tick, 1));
                queue.push_back((events_cap, reports_cap, events.drain(..).collect()));
            });
            if let Some((capability, ..)) = queue.front() {
                gauge.tick.store(*capability.time(), Relaxed);
            }
            gauge.waiting.store(queue.len(), Relaxed);
            if !thaw(&mut freezer, &mut *logic) {
                activator.activate_after(SAVE_AGAIN);
                return true;
            }
            while let Some((may_send, may_report, events)) = queue.front_mut() {
                let mut out = events_out.activate();
                let mut session = out.session(may_send);
                while let Some(event) = events.pop_front() {
                    match event {
                        Event::Data(data) => {
                            logic.data(data, &mut made);
                            session.give_iterator(made.drain(..).map(Event::Data));
                        }
                        Event::Close(close) => {
                            let mut counts = Counts::default();
                            let done = logic.close(&close, &mut made, &mut counts);
                            session.give_iterator(made.drain(..).map(Event::Data));
                            let cuts = logic.cuts();
                            if !counts.is_empty() || !cuts.is_empty() {
                                reports_out.activate().session(&*may_report).give(Report {
                                    counts,
                                    cuts,
                                    ..Report::default()
                                });
                            }
                            if !done {
                                events.push_front(Event::Close(close));
                                activator.activate();
                                return true;
                            }
                            session.give(Event::Close(close));
                            if check_state {
                                logic = snapshot_of(&make, &mut *logic);
                            }
                            if close.snapshot {
                                freezer.freeze(close.tick);
                                activator.activate();
                                return true;
                            }
                        }
                    }
                }
                drop(session);
                drop(out);
                queue.pop_front();
            }
            false
        }
    });
    Ok((events, reports))
}

/// How long a step whose bytes nobody takes waits.
const SAVE_AGAIN: Duration = Duration::from_millis(1);

/// Saves more of a frozen step; whether it may go on.
fn thaw<A, B>(freezer: &mut Freezer, logic: &mut dyn Logic<A, B>) -> bool {
    !freezer.is_frozen() || logic.state().is_none_or(|state| freezer.save(state))
}
