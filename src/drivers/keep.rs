//! Keeps what is to be shown where it survives a crash, before its tick is committed.
//!
//! A committed tick must be shown whatever happens, byte for byte, by a run on any number of workers. So its lines are
//! written to the state folder first, on a thread of the process; the report of the tick waits for that, and with it the
//! commit. Where ticks are made again, their lines are only counted and hashed, for comparison.

use crate::drivers::gather::is_past;
use crate::drivers::publish::Made;
use crate::drivers::snapshot::Snapshots;
use crate::drivers::{Events, Output, Reports, output};
use crate::model::commit::{LinesHash, Shown};
use crate::model::control::{Close, Event, Report, Tick};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Acquire};
use timely::communication::Pull;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::InputHandleCore;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::SyncActivator;

/// Lines of a sink.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Lines {
    /// The bytes.
    pub bytes: Arc<ByteBuf>,
    /// How many.
    pub rows: u64,
    /// Their hash, if it was asked for.
    pub hash: LinesHash,
}

impl AsRef<[u8]> for Lines {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Lines of a tick on their way into the state folder.
pub struct Keeping {
    /// The tick.
    pub tick: Tick,
    /// The file that they are meant for, and where in it.
    pub path: Arc<str>,
    /// Length of the file before them.
    pub offset: u64,
    /// The lines.
    pub parts: Vec<Arc<ByteBuf>>,
    /// Receives `number` when they are durable, and then `wake` is told.
    pub done: Arc<AtomicU64>,
    /// Number of this among those of its sender; each is larger than the one before.
    pub number: u64,
    /// Wakes the sender.
    pub wake: SyncActivator,
}

/// The thread of a process that writes to the state folder what is to be shown.
pub trait Spooler: Send + Sync {
    /// Takes lines; returns at once.
    fn keep(&self, keeping: Keeping);
}

/// A file whose lines are kept.
pub struct Kept {
    /// The sink.
    pub sink: String,
    /// Path of the file.
    pub path: String,
    /// Its length when the first tick comes.
    pub end: u64,
    /// Ticks before this one are made again.
    pub live_from: Tick,
    /// Where lines are kept.
    pub spooler: Arc<dyn Spooler>,
}

/// Builds the step. Lines of all workers are kept on the worker `owner`, or without one those of each where they were made.
/// Where nothing is kept (`kept` is none), nothing comes out.
pub fn keep_lines<'scope>(
    name: &str,
    owner: Option<usize>,
    lines: Events<'scope, Made<Lines>>,
    kept: Option<Kept>,
    snapshots: &Snapshots,
) -> (Events<'scope, Made<Lines>>, Reports<'scope>) {
    let mut builder = OperatorBuilder::new(format!("keep {name}"), lines.scope());
    match owner {
        Some(owner) => {
            let input = builder.new_input(lines, Exchange::new(move |_: &Event<Made<Lines>>| owner as u64));
            build(builder, input, kept, snapshots)
        }
        None => {
            let input = builder.new_input(lines, Pipeline);
            build(builder, input, kept, snapshots)
        }
    }
}

/// The capabilities for the lines of a tick and for its report.
type Held = (Capability<Tick>, Capability<Tick>);

/// Lines of a tick that is not complete.
#[derive(Default)]
struct Pending {
    made: Vec<Made<Lines>>,
    close: Option<Close>,
    held: Option<Held>,
}

/// Lines of a tick that are not durable yet.
struct Waiting {
    number: u64,
    held: Held,
    made: Vec<Made<Lines>>,
    close: Option<Close>,
    shown: Vec<Shown>,
}

fn build<'scope, P: Pull<Message<Tick, Vec<Event<Made<Lines>>>>> + 'static>(
    mut builder: OperatorBuilder<'scope, Tick>,
    mut input: InputHandleCore<Tick, Vec<Event<Made<Lines>>>, P>,
    kept: Option<Kept>,
    snapshots: &Snapshots,
) -> (Events<'scope, Made<Lines>>, Reports<'scope>) {
    let (lines_out, lines) = builder.new_output();
    let (reports_out, reports) = builder.new_output();
    let (mut lines_out, mut reports_out): (Output<Event<Made<Lines>>>, Output<Report>) =
        (output(lines_out), output(reports_out));
    let wake = lines.scope().worker().sync_activator_for(builder.operator_info().address.to_vec());
    let mut keeper = kept.map(|kept| {
        snapshots.publisher(PathBuf::from(&kept.path));
        Keeper { path: kept.path.as_str().into(), kept, number: 0, done: Arc::default(), wake }
    });
    builder.build(move |_capabilities| {
        let mut pending: BTreeMap<Tick, Pending> = BTreeMap::new();
        let mut waiting: VecDeque<Waiting> = VecDeque::new();
        move |frontiers| {
            let Some(keeper) = &mut keeper else { return };
            input.for_each(|capability, events| {
                let tick = *capability.least().expect("lines travel under their tick");
                let pending = pending.entry(tick).or_default();
                pending.held.get_or_insert_with(|| (capability.delayed(&tick, 0), capability.delayed(&tick, 1)));
                for event in events.drain(..) {
                    match event {
                        Event::Data(made) => pending.made.push(made),
                        Event::Close(close) => pending.close = Some(close),
                    }
                }
            });
            while let Some(entry) = pending.first_entry()
                && is_past(&frontiers[0], *entry.key())
            {
                let (tick, pending) = entry.remove_entry();
                waiting.extend(keeper.keep(tick, pending));
            }
            let done = keeper.done.load(Acquire);
            while waiting.front().is_some_and(|waiting| waiting.number <= done)
                && let Some(Waiting { held, made, close, shown, .. }) = waiting.pop_front()
            {
                let events = made.into_iter().map(Event::Data).chain(close.map(Event::Close));
                lines_out.activate().session(&held.0).give_iterator(events);
                if !shown.is_empty() {
                    reports_out.activate().session(&held.1).give(Report { shown, ..Report::default() });
                }
            }
        }
    });
    (lines, reports)
}

/// Keeps the lines of one file.
struct Keeper {
    kept: Kept,
    path: Arc<str>,
    number: u64,
    done: Arc<AtomicU64>,
    wake: SyncActivator,
}

impl Keeper {
    /// Hands the lines of a complete tick over.
    fn keep(&mut self, tick: Tick, pending: Pending) -> Option<Waiting> {
        let Pending { mut made, close, held } = pending;
        // Stable: what one worker made stays in the order in which it made it.
        made.sort_by_key(|made| made.worker);
        let parts: Vec<Arc<ByteBuf>> = made.iter().map(|made| made.part.bytes.clone()).collect();
        let mut shown = self.count(&made);
        let is_live = tick >= self.kept.live_from;
        if let (true, Some(shown)) = (is_live, shown.last_mut()) {
            let offset = self.kept.end;
            self.kept.end += shown.bytes;
            shown.end = self.kept.end;
            self.number += 1;
            let (path, done, wake) = (self.path.clone(), self.done.clone(), self.wake.clone());
            self.kept.spooler.keep(Keeping { tick, path, offset, parts, done, number: self.number, wake });
        }
        Some(Waiting { number: self.number, held: held?, made, close, shown })
    }

    fn count(&self, made: &[Made<Lines>]) -> Vec<Shown> {
        if made.is_empty() {
            return Vec::new();
        }
        let (sink, path) = (self.kept.sink.clone(), self.kept.path.clone());
        let mut shown = Shown { sink, path, rows: 0, bytes: 0, hash: LinesHash::default(), end: 0 };
        for Made { part, .. } in made {
            shown.rows += part.rows;
            shown.bytes += part.bytes.len() as u64;
            shown.hash.add(part.hash);
        }
        vec![shown]
    }
}
