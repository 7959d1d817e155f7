//! Sources: blocks in, readings dealt to the workers that own their meters, dead letters and control records out.
//!
//! Every worker holds the capability of a tick from its cut until each block of the tick has been taken by someone and
//! those that it took itself have been judged and sent.

use crate::codec::Decoder;
use crate::connectors::Block;
use crate::drivers::decoded::Decoded;
use crate::drivers::reader::{Reader, Settled, Task};
use crate::drivers::{Output, Reports, To, output};
use crate::error::{Error, fatal};
use crate::model::control::{Counts, Cut, Report, SourceReport, Tick};
use crate::model::dead::DeadLetter;
use crate::model::reading::Batch;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::SyncActivator;

/// The streams of a source on one worker.
pub struct Source<'scope> {
    /// Readings, used and late, for the workers that own them.
    pub readings: Stream<'scope, Tick, Vec<To<Batch>>>,
    /// Dead letters; those of a partition go to one worker.
    pub dead: Stream<'scope, Tick, Vec<To<DeadLetter>>>,
    /// Control records, for the coordinator.
    pub control: Stream<'scope, Tick, Vec<SourceReport>>,
    /// Counts, for the committer.
    pub reports: Reports<'scope>,
}

/// Where this worker stands in its process.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Index of the process.
    pub process: u32,
    /// Index of the worker in its process; worker 0 queues the process's blocks.
    pub local: usize,
}

/// The workers of a process that run a source, to wake each other.
#[derive(Default)]
pub struct Wakers(Mutex<Vec<(usize, SyncActivator)>>);

impl Wakers {
    fn add(&self, worker: usize, activator: SyncActivator) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((worker, activator));
    }

    fn wake(&self, wanted: impl Fn(usize) -> bool) {
        for (worker, activator) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if wanted(*worker) {
                // Fails only when that worker has ended, and then it has nothing to do.
                let _ = activator.activate();
            }
        }
    }
}

/// The capabilities of a tick, and what it counted.
struct Open {
    tick: Tick,
    readings: Capability<Tick>,
    dead: Capability<Tick>,
    control: Capability<Tick>,
    reports: Capability<Tick>,
    counts: Counts,
}

/// The outputs of the operator.
struct Outputs {
    readings: Output<To<Batch>>,
    dead: Output<To<DeadLetter>>,
    control: Output<SourceReport>,
    reports: Output<Report>,
}

/// Builds the source on this worker.
pub fn source<'scope>(
    scope: Scope<'scope, Tick>,
    cuts: Stream<'scope, Tick, Vec<To<Cut>>>,
    reader: Arc<Reader>,
    wakers: Arc<Wakers>,
    place: Place,
) -> Source<'scope> {
    let mut builder = OperatorBuilder::new(format!("source {}", reader.name), scope);
    let mut input = builder.new_input(cuts, Exchange::new(|cut: &To<Cut>| cut.0));
    let (readings_out, readings) = builder.new_output();
    let (dead_out, dead) = builder.new_output();
    let (control_out, control) = builder.new_output();
    let (reports_out, reports) = builder.new_output();
    let mut outputs = Outputs {
        readings: output(readings_out),
        dead: output(dead_out),
        control: output(control_out),
        reports: output(reports_out),
    };
    let address = builder.operator_info().address;
    let activator = scope.activator_for(address.clone());
    wakers.add(place.local, scope.worker().sync_activator_for(address.to_vec()));
    let mut hands = Hands::new(reader.clone(), scope.peers(), place.local);
    let worker = scope.index() as u32;
    builder.build(move |mut capabilities| {
        // Before the first tick a process says what it has opened; nothing else is said without a cut.
        let mut greeting = (place.local == 0).then(|| capabilities.swap_remove(2));
        drop(capabilities);
        let mut open: VecDeque<Open> = VecDeque::new();
        move |_frontiers| {
            if let Some(capability) = greeting.take() {
                let (process, list, partitions) = (place.process, reader.list, reader.opened());
                let opened = SourceReport::Opened { process, list, partitions };
                outputs.control.activate().session(&capability).give(opened);
            }
            input.for_each(|capability, cuts| {
                for (_, cut) in cuts.drain(..) {
                    let retain = |port| capability.delayed(&cut.tick, port);
                    let (readings, dead, control, reports) = (retain(0), retain(1), retain(2), retain(3));
                    open.push_back(Open { tick: cut.tick, readings, dead, control, reports, counts: Counts::default() });
                    if place.local == 0 {
                        reader.queue(&cut);
                        wakers.wake(|other| other != place.local);
                    }
                }
            });
            let (Some(first), Some(last)) = (open.front(), open.back()) else { return };
            let oldest = first.tick;
            let work = hands.work(last.tick + 1);
            for (task, mut decoded, settled) in work.settled {
                if let Some(next) = settled.next {
                    wakers.wake(|other| other == next);
                }
                let open = &mut open[(task.tick - oldest) as usize];
                send(&mut outputs, open, &mut decoded, settled, &reader.name, worker);
                hands.give_back(decoded.block);
            }
            while open.front().is_some_and(|open| hands.is_done(open.tick, work.taken_before))
                && let Some(done) = open.pop_front()
            {
                outputs.reports.activate().session(&done.reports).give(Report::counted(done.counts));
            }
            if work.wake_others {
                wakers.wake(|other| other != place.local);
            }
            if work.more {
                activator.activate();
            }
        }
    });
    Source { readings, dead, control, reports }
}

/// Sends what a judged block holds, under the capabilities of its tick.
fn send(outputs: &mut Outputs, open: &mut Open, decoded: &mut Decoded, settled: Settled, source: &str, worker: u32) {
    let used = std::mem::take(&mut decoded.batches).into_iter().enumerate();
    let late = settled.judged.late.into_iter().enumerate();
    let mut readings = outputs.readings.activate();
    let mut readings = readings.session(&open.readings);
    for (owner, batch) in used.chain(late).filter(|(_, batch)| !batch.is_empty()) {
        readings.give((owner as u64, batch));
    }
    if !decoded.dead.is_empty() {
        let dead = decoded.dead.drain(..).map(|letter| (u64::from(letter.partition), letter));
        outputs.dead.activate().session(&open.dead).give_iterator(dead);
    }
    if let Some(taken) = settled.taken {
        outputs.control.activate().session(&open.control).give(SourceReport::Taken(taken));
    }
    open.counts.source(source).add(&settled.judged.counts);
    *open.counts.decoded.entry(worker).or_default() += settled.judged.decoded;
}

/// What a worker has in hand of a source.
struct Hands {
    reader: Arc<Reader>,
    decoder: Decoder,
    peers: usize,
    local: usize,
    /// Decoded blocks whose turn has not come.
    waiting: Vec<(Task, Decoded)>,
    buffers: Vec<Block>,
}

/// What one step of work brought.
struct Work {
    settled: Vec<(Task, Decoded, Settled)>,
    /// Every block of the ticks before this one has been taken by someone.
    taken_before: Tick,
    /// Whether other workers must look again because a tick has been taken whole.
    wake_others: bool,
    /// Whether there is more to do at once.
    more: bool,
}

impl Hands {
    fn new(reader: Arc<Reader>, peers: usize, local: usize) -> Hands {
        let decoder = Decoder::new(&reader.format).unwrap_or_else(|error| fatal(&Error::internal(error)));
        Hands { reader, decoder, peers, local, waiting: Vec::new(), buffers: Vec::new() }
    }

    /// Settles blocks whose turn has come, and decodes one more.
    fn work(&mut self, before: Tick) -> Work {
        let mut settled = Vec::new();
        for (task, mut decoded) in std::mem::take(&mut self.waiting) {
            match self.reader.settle(&task, &mut decoded, self.local) {
                Some(done) => settled.push((task, decoded, done)),
                None => self.waiting.push((task, decoded)),
            }
        }
        let may_claim = self.waiting.len() < MOST_WAITING;
        let (task, taken_before) = self.reader.claim(if may_claim { before } else { 0 });
        let Some(task) = task else {
            return Work { settled, taken_before, wake_others: false, more: false };
        };
        let buffer = self.buffers.pop().unwrap_or_default();
        let decoded = self.reader.decode(&task, &mut self.decoder, buffer, self.peers);
        let mut decoded = decoded.unwrap_or_else(|error| fatal(&self.reader.unreadable(task.partition, &error)));
        match self.reader.settle(&task, &mut decoded, self.local) {
            Some(done) => settled.push((task, decoded, done)),
            None => self.waiting.push((task, decoded)),
        }
        Work { settled, taken_before, wake_others: taken_before > task.tick, more: true }
    }

    fn is_done(&self, tick: Tick, taken_before: Tick) -> bool {
        tick < taken_before && self.waiting.iter().all(|(task, _)| task.tick != tick)
    }

    fn give_back(&mut self, buffer: Block) {
        if self.buffers.len() < MOST_WAITING {
            self.buffers.push(buffer);
        }
    }
}

/// Decoded blocks that a worker keeps while they wait for their turn.
const MOST_WAITING: usize = 4;
