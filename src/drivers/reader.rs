//! The partitions that a process reads, shared by its workers: who decodes which block, and in which order blocks are
//! judged. No timely in here.

use crate::codec::{CsvHeader, Decoder, Format};
use crate::connectors::{Block, Blocks};
use crate::drivers::decoded::{Decoded, Judged};
use crate::error::{Error, fatal};
use crate::event_time::{Clock, Rules};
use crate::model::control::{Cut, Opened, Taken, Tick};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A source as one process sees it.
pub struct Reader {
    /// Its name in the configuration.
    pub name: String,
    /// How its records are read.
    pub format: Arc<Format>,
    /// How they are judged.
    pub rules: Rules,
    /// Those of its partitions that this process reads, by their index in the job's list.
    pub partitions: BTreeMap<u32, Partition>,
    /// A hash of the names and sizes of all its partitions.
    pub list: u64,
    /// Save and restore the state of a partition after every tick, which must change nothing.
    pub check_state: bool,
    queue: Mutex<Queue>,
}

/// A partition that this process reads.
pub struct Partition {
    name: String,
    blocks: Box<dyn Blocks>,
    header: Option<CsvHeader>,
    opened: Opened,
    turn: Mutex<Turn>,
}

/// Whose turn it is to be judged, and what judging remembers.
#[derive(Default)]
struct Turn {
    next: u64,
    clock: Clock,
    end_offset: u64,
    ended: bool,
    /// Workers that hold a decoded block whose turn has not come.
    waiting: BTreeMap<u64, usize>,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    /// The tasks of all ticks before this one have been put into the queue.
    queued: Tick,
}

/// A block to decode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Task {
    /// The tick that it belongs to.
    pub tick: Tick,
    /// The time of that tick.
    pub now: i64,
    /// The partition.
    pub partition: u32,
    /// The block.
    pub block: u64,
    /// Whether it is the last one of its partition in the tick.
    pub last: bool,
}

/// What settling a decoded block brought.
pub struct Settled {
    /// What judging added.
    pub judged: Judged,
    /// The partition's control record, with the last block of a tick.
    pub taken: Option<Taken>,
    /// A worker of this process whose block is next.
    pub next: Option<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panics ends the process, so a poisoned lock is never seen.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reader {
    /// A source of these partitions.
    pub fn new(name: &str, format: Arc<Format>, rules: Rules, list: u64, partitions: Vec<Partition>) -> Reader {
        let partitions = partitions.into_iter().map(|partition| (partition.opened.partition, partition)).collect();
        let queue = Mutex::default();
        Reader { name: name.to_owned(), format, rules, partitions, list, check_state: false, queue }
    }

    /// What is known of the partitions before they are read.
    pub fn opened(&self) -> Vec<Opened> {
        self.partitions.values().map(|partition| partition.opened).collect()
    }

    /// The error of a block that could not be read.
    pub fn unreadable(&self, partition: u32, error: &io::Error) -> Error {
        let name = self.partitions.get(&partition).map_or("", |partition| &partition.name);
        Error::input(format!("source {}, partition {name}", self.name), error)
    }

    /// Puts the blocks of a tick into the queue; one worker does so for its process, tick after tick.
    pub fn queue(&self, cut: &Cut) {
        let mut queue = lock(&self.queue);
        for take in cut.takes.iter().filter(|take| self.partitions.contains_key(&take.partition)) {
            queue.tasks.extend((take.first..take.end).map(|block| Task {
                tick: cut.tick,
                now: cut.now,
                partition: take.partition,
                block,
                last: block + 1 == take.end,
            }));
        }
        queue.queued = cut.tick + 1;
    }

    /// Takes the next block to decode out of the queue, of a tick before `before`; and the tick before which every
    /// block has been taken by someone.
    pub fn claim(&self, before: Tick) -> (Option<Task>, Tick) {
        let mut queue = lock(&self.queue);
        let task = match queue.tasks.front() {
            Some(task) if task.tick < before => queue.tasks.pop_front(),
            _ => None,
        };
        (task, queue.tasks.front().map_or(queue.queued, |task| task.tick))
    }

    /// Reads and decodes a block, dealing its readings to `workers` workers.
    pub fn decode(&self, task: &Task, decoder: &mut Decoder, mut buffer: Block, workers: usize) -> io::Result<Decoded> {
        let partition = &self.partitions[&task.partition];
        partition.blocks.read(task.block, &mut buffer)?;
        let mut decoded = Decoded::new(buffer, task.partition, self.format.channels.len(), workers);
        let (block, mut dealer) = decoded.parts();
        decoder.block(&view(block), partition.header.as_ref(), &mut dealer);
        Ok(decoded)
    }

    /// Judges a decoded block if its turn has come; if not, `worker` will be named when it has.
    pub fn settle(&self, task: &Task, decoded: &mut Decoded, worker: usize) -> Option<Settled> {
        let mut turn = lock(&self.partitions[&task.partition].turn);
        if turn.next != task.block {
            turn.waiting.insert(task.block, worker);
            return None;
        }
        let judged = decoded.judge(&mut turn.clock, &self.rules, task.now);
        turn.next += 1;
        turn.end_offset = turn.end_offset.max(decoded.block.end);
        turn.ended |= decoded.block.is_last;
        let taken = Taken {
            tick: task.tick,
            partition: task.partition,
            end_offset: turn.end_offset,
            blocks: turn.next,
            newest: turn.clock.newest(),
            run: turn.clock.run(),
            ended: turn.ended,
        };
        if self.check_state && task.last {
            let waiting = std::mem::take(&mut turn.waiting);
            *turn = Turn { waiting, ..Turn::after(&taken) };
        }
        let following = turn.next;
        let next = turn.waiting.remove(&following);
        Some(Settled { judged, taken: task.last.then_some(taken), next })
    }
}

impl Turn {
    /// The turn as the control record of a tick left it.
    fn after(taken: &Taken) -> Turn {
        let clock = Clock::restored(taken.newest, taken.run);
        let clock = clock.unwrap_or_else(|| fatal(&Error::internal(format!("no clock can be at {taken:?}"))));
        Turn { next: taken.blocks, clock, end_offset: taken.end_offset, ended: taken.ended, waiting: BTreeMap::new() }
    }
}

fn view(block: &Block) -> crate::codec::Block<'_> {
    crate::codec::Block { bytes: block.lines(), base: block.base, last_line: block.last_line }
}

impl Partition {
    /// A partition that has been opened; `begin` is what [`look_ahead`] found.
    pub fn new(index: u32, name: &str, blocks: Box<dyn Blocks>, header: Option<CsvHeader>, begin: Option<i64>) -> Partition {
        let opened = Opened { partition: index, size: blocks.size(), begin };
        Partition { name: name.to_owned(), blocks, header, opened, turn: Mutex::default() }
    }

    /// Goes on where a control record left it.
    pub fn resume(&mut self, taken: &Taken) -> io::Result<()> {
        self.turn = Mutex::new(Turn::after(taken));
        self.blocks.start_at(taken.blocks)
    }
}

/// Bytes that a look ahead reads.
const LOOK_AHEAD: usize = 16 << 10;

/// The time at which a partition's clock will begin, if its first records tell: no reading that it uses is older.
pub fn look_ahead(
    blocks: &dyn Blocks,
    decoder: &mut Decoder,
    header: Option<&CsvHeader>,
    base: u64,
    rules: &Rules,
    now: i64,
) -> io::Result<Option<i64>> {
    let mut bytes = blocks.peek(LOOK_AHEAD)?;
    let whole = bytes.len() < LOOK_AHEAD;
    if !whole {
        bytes.truncate(memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1));
    }
    let latest = rules.future_limit.map_or(i64::MAX, |limit| now.saturating_add(limit));
    let mut first = First { clock: Clock::default(), rules, latest, min: None };
    decoder.block(&crate::codec::Block { bytes: &bytes, base, last_line: None }, header, &mut first);
    Ok(first.clock.newest().or(first.min.filter(|_| whole)))
}

/// Feeds a clock until it shows a time.
struct First<'a> {
    clock: Clock,
    rules: &'a Rules,
    latest: i64,
    min: Option<i64>,
}

impl crate::codec::Sink for First<'_> {
    fn reading(&mut self, record: &crate::codec::Record) {
        if self.clock.newest().is_none() && record.time <= self.latest {
            self.clock.advance(self.rules, record.time);
            self.min = Some(self.min.map_or(record.time, |min| min.min(record.time)));
        }
    }

    fn dead(&mut self, _: crate::codec::Dead) {}
}
