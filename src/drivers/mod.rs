//! Drivers: the only files that touch capabilities and frontiers.
//!
//! Data leaves the sources under the tick that it belongs to. [`gather`] holds a tick until it is complete on its worker,
//! puts it into canonical order and ends it with a [`Close`](crate::model::control::Close); from there on order and ends
//! travel in the stream itself, so that the logic of a step ([`apply`]) sees one event after the other and is pure.

pub mod apply;
pub mod commit;
pub mod coordinator;
pub mod decoded;
pub mod gather;
pub mod health;
pub mod keep;
pub mod plan;
pub mod publish;
pub mod reader;
pub mod resume;
pub mod snapshot;
pub mod source;
pub mod standing;

use crate::model::control::{Event, Report, Tick};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pushers;
use timely::dataflow::operators::generic::OutputBuilder;

/// Events of a step, in order.
pub type Events<'scope, B> = Stream<'scope, Tick, Vec<Event<B>>>;

/// What steps report to the committer.
pub type Reports<'scope> = Stream<'scope, Tick, Vec<Report>>;

/// A message for one worker.
pub type To<M> = (u64, M);

/// A copy of `message` for every worker.
fn to_all<M: Clone>(peers: usize, message: &M) -> Vec<To<M>> {
    (0..peers as u64).map(|worker| (worker, message.clone())).collect()
}

/// An output of an operator that sends vectors.
type Output<M> = OutputBuilder<Tick, CapacityContainerBuilder<Vec<M>>>;

fn output<M: Clone + 'static>(port: pushers::Output<Tick, Vec<M>>) -> Output<M> {
    OutputBuilder::from(port)
}
