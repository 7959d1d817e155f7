//! The thread of process 0 that writes the tick log: several ticks in one go when it is behind.

use crate::checkpoint::log::{Position, TickLog};
use crate::checkpoint::recover::Recovered;
use crate::checkpoint::snapshot::{self, Entry, Manifest as Stored};
use crate::checkpoint::trim;
use crate::checkpoint::volume::Volume;
use crate::drivers::commit::Manifest;
use crate::drivers::health::Alive;
use crate::drivers::snapshot::Saved;
use crate::error::{Error, fatal};
use crate::model::commit::{Commit, JobRecord, StepRecord};
use crate::model::control::{Counts, Tick};
use crate::runtime::storage::vault::Index;
use crate::runtime::totals::Totals;
use crate::time;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use timely::scheduling::SyncActivator;

/// Ticks that are written in one go at most.
const BATCH: usize = 64;

enum Order {
    Commit(Box<Commit>),
    /// Counted without a commit record: ticks that are made again, and what becomes visible later.
    Count(Box<Counts>),
    Snapshot {
        tick: Tick,
        saved: Vec<Saved>,
        steps: Vec<StepRecord>,
    },
}

/// What the thread tells.
#[derive(Default)]
struct News {
    before: AtomicU64,
    has_snapshot: AtomicBool,
    wake: Mutex<Vec<SyncActivator>>,
}

impl News {
    fn tell(&self) {
        for wake in self.wake.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // Fails only when the workers have ended.
            let _ = wake.activate();
        }
    }
}

/// The manifest of a job with a state folder.
pub(in crate::runtime) struct Logged {
    orders: Sender<Order>,
    news: Arc<News>,
    totals: Totals,
}

/// The thread, to be waited for.
pub(in crate::runtime) struct Writer(JoinHandle<(TickLog, bool)>);

impl Writer {
    /// Waits until everything that was handed over has been written. Everything has been shown; if the last tick of the run
    /// was among it, the run is complete.
    pub(in crate::runtime) fn finish(self) -> Result<(), Error> {
        let (mut log, ended) = self.0.join().map_err(|_| Error::internal("the log thread has panicked"))?;
        if ended { log.complete() } else { Ok(()) }
    }
}

impl Logged {
    /// Begins to write to `log`.
    pub(in crate::runtime) fn start(
        volume: Arc<dyn Volume>,
        log: TickLog,
        job: JobRecord,
        recovered: Option<&Recovered>,
        totals: Totals,
        alive: Alive,
    ) -> Result<(Logged, Writer), Error> {
        let (orders, received) = channel();
        let news = Arc::new(News::default());
        let stored = recovered.and_then(|recovered| recovered.snapshot.as_ref()).map(|snapshot| &snapshot.manifest);
        let counts = stored.map_or_else(Counts::default, |stored| stored.counts.clone());
        totals.count(&counts);
        let ends = recovered.map_or(BTreeMap::new(), Recovered::ends);
        let (told, counted) = (news.clone(), totals.clone());
        let thread = Thread { volume, log, job, counts, ends, mark: None, news: told, totals: counted, alive, ended: false };
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || thread.run(&received));
        let thread = thread.map_err(|error| Error::internal(format!("no thread for the log: {error}")))?;
        Ok((Logged { orders, news, totals }, Writer(thread)))
    }

    fn order(&self, order: Order) {
        // The thread ends the process when it cannot go on, so somebody is always there.
        let _ = self.orders.send(order);
    }
}

impl Manifest for Logged {
    fn submit(&mut self, commit: Commit) {
        self.order(Order::Commit(Box::new(commit)));
    }

    fn committed(&mut self) -> Tick {
        self.news.before.load(Acquire)
    }

    fn count(&mut self, counts: &Counts) {
        self.totals.count(counts);
        self.order(Order::Count(Box::new(counts.clone())));
    }

    fn snapshot(&mut self, tick: Tick, saved: Vec<Saved>, steps: Vec<StepRecord>) {
        self.order(Order::Snapshot { tick, saved, steps });
    }

    fn has_snapshot(&mut self) -> bool {
        self.news.has_snapshot.swap(false, AcqRel)
    }

    fn wake_with(&mut self, wake: SyncActivator) {
        self.news.wake.lock().unwrap_or_else(PoisonError::into_inner).push(wake);
    }
}

/// What was true when a tick had been committed after which state is frozen.
struct Mark {
    tick: Tick,
    position: Position,
    counts: Counts,
    ends: BTreeMap<String, u64>,
}

struct Thread {
    volume: Arc<dyn Volume>,
    log: TickLog,
    job: JobRecord,
    counts: Counts,
    ends: BTreeMap<String, u64>,
    mark: Option<Mark>,
    news: Arc<News>,
    totals: Totals,
    alive: Alive,
    /// The last tick of the run has been committed.
    ended: bool,
}

impl Thread {
    fn run(mut self, orders: &Receiver<Order>) -> (TickLog, bool) {
        let mut commits = Vec::new();
        while let Ok(first) = orders.recv() {
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Commit(commit) => {
                        // A snapshot begins behind the record of its tick, so that one is the last of its batch.
                        let is_full = commit.snapshot || commits.len() + 1 >= BATCH;
                        commits.push(*commit);
                        if is_full {
                            self.commit(&mut commits).unwrap_or_else(|error| fatal(&error));
                        }
                    }
                    Order::Count(counts) => self.counts.add(&counts),
                    Order::Snapshot { tick, saved, steps } => {
                        self.commit(&mut commits).unwrap_or_else(|error| fatal(&error));
                        self.snapshot(tick, &saved, steps).unwrap_or_else(|error| fatal(&error));
                    }
                }
                next = orders.try_recv().ok();
            }
            self.commit(&mut commits).unwrap_or_else(|error| fatal(&error));
        }
        (self.log, self.ended)
    }

    fn commit(&mut self, commits: &mut Vec<Commit>) -> Result<(), Error> {
        let Some(last) = commits.last() else { return Ok(()) };
        if !self.alive.is_alive() {
            return Err(replaced());
        }
        self.log.append(commits)?;
        self.news.before.store(last.tick + 1, Release);
        self.news.tell();
        for commit in commits.drain(..) {
            self.ended |= commit.last;
            self.totals.count(&commit.counts);
            self.counts.add(&commit.counts);
            for shown in commit.shown {
                self.ends.insert(shown.path, shown.end);
            }
            if commit.snapshot {
                self.log.rotate()?;
                let (position, counts, ends) = (self.log.position(), self.counts.clone(), self.ends.clone());
                self.mark = Some(Mark { tick: commit.tick, position, counts, ends });
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, tick: Tick, saved: &[Saved], steps: Vec<StepRecord>) -> Result<(), Error> {
        let mark = self.mark.take().filter(|mark| mark.tick == tick);
        // A tick that was frozen but made again has its record in an older part of the log.
        let Mark { position, counts, ends, .. } = match mark {
            Some(mark) => mark,
            None => Mark { tick, position: self.log.position(), counts: self.counts.clone(), ends: self.ends.clone() },
        };
        let indices: Vec<Index> = saved.iter().map(|saved| Index::decode(&saved.index)).collect::<Result<_, _>>()?;
        let entries: Vec<Entry> = indices.iter().flat_map(|index| index.entries.iter().cloned()).collect();
        let sum = |of: fn(&Index) -> u64| indices.iter().map(of).sum();
        let stored = Stored {
            tick,
            incarnation: position.incarnation,
            position,
            job: self.job.clone(),
            counts,
            ends,
            steps,
            written: sum(|index| index.written),
            unchanged: sum(|index| index.unchanged),
            bytes: sum(|index| index.bytes),
            time: time::now_ms(),
            segments: Vec::new(),
        };
        if !self.alive.is_alive() {
            return Err(replaced());
        }
        snapshot::publish(&*self.volume, stored, &entries)?;
        trim::trim(&self.volume)?;
        trim::remove(&*self.volume, indices.iter().flat_map(|index| &index.spools))?;
        self.news.has_snapshot.store(true, Release);
        self.news.tell();
        Ok(())
    }
}

/// The error of a process that must not write any more.
pub(in crate::runtime) fn replaced() -> Error {
    Error::cluster("", "this process was stopped or cut off for so long that the job goes on without it")
}
