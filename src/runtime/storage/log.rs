//! The thread of process 0 that commits: several ticks in one go when it is behind, and snapshots in between.

use crate::checkpoint::{Keeper, Segment, Shelf};
use crate::drivers::commit::Manifest;
use crate::drivers::health::Alive;
use crate::drivers::snapshot::Saved;
use crate::error::{Error, fatal};
use crate::model::commit::{Commit, StepRecord};
use crate::model::control::{Counts, Tick};
use crate::runtime::storage::vault::Index;
use crate::runtime::totals::Totals;
use crate::time;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use timely::scheduling::SyncActivator;

/// Ticks that are written in one go at most.
const BATCH: usize = 64;

enum Order {
    Commit(Box<Commit>),
    Snapshot { tick: Tick, saved: Vec<Saved>, steps: Vec<StepRecord> },
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
pub(in crate::runtime) struct Writer(JoinHandle<(Keeper, bool)>);

impl Writer {
    /// Waits until everything that was handed over has been written. Everything has been shown; if the last tick of the run
    /// was among it, the run is complete.
    pub(in crate::runtime) fn finish(self) -> Result<(), Error> {
        let (mut keeper, ended) = self.0.join().map_err(|_| Error::internal("the log thread has panicked"))?;
        if ended { keeper.complete() } else { Ok(()) }
    }
}

impl Logged {
    /// Begins to commit; `counts` are those of all ticks of the snapshot that the job goes on from.
    pub(in crate::runtime) fn start(
        keeper: Keeper,
        shelf: Shelf,
        counts: &Counts,
        totals: Totals,
        alive: Alive,
    ) -> Result<(Logged, Writer), Error> {
        let (orders, received) = channel();
        let news = Arc::new(News::default());
        totals.count(counts);
        let (told, counted) = (news.clone(), totals.clone());
        let thread = Thread { keeper, shelf, news: told, totals: counted, alive, ended: false };
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

struct Thread {
    keeper: Keeper,
    shelf: Shelf,
    news: Arc<News>,
    totals: Totals,
    alive: Alive,
    /// The last tick of the run has been committed.
    ended: bool,
}

impl Thread {
    fn run(mut self, orders: &Receiver<Order>) -> (Keeper, bool) {
        let mut commits = Vec::new();
        while let Ok(first) = orders.recv() {
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Commit(commit) => {
                        commits.push(*commit);
                        if commits.len() >= BATCH {
                            self.commit(&mut commits).unwrap_or_else(|error| fatal(&error));
                        }
                    }
                    Order::Snapshot { tick, saved, steps } => {
                        self.commit(&mut commits).unwrap_or_else(|error| fatal(&error));
                        self.snapshot(tick, &saved, steps).unwrap_or_else(|error| fatal(&error));
                    }
                }
                next = orders.try_recv().ok();
            }
            self.commit(&mut commits).unwrap_or_else(|error| fatal(&error));
        }
        (self.keeper, self.ended)
    }

    fn commit(&mut self, commits: &mut Vec<Commit>) -> Result<(), Error> {
        let Some(last) = commits.last() else { return Ok(()) };
        self.refuse_if_replaced()?;
        self.ended |= last.last;
        self.keeper.commit(commits)?;
        self.news.before.store(last.tick + 1, Release);
        self.news.tell();
        commits.drain(..).for_each(|commit| self.totals.count(&commit.counts));
        Ok(())
    }

    fn snapshot(&mut self, tick: Tick, saved: &[Saved], steps: Vec<StepRecord>) -> Result<(), Error> {
        self.refuse_if_replaced()?;
        let frozen = self.keeper.frozen(tick);
        let frozen = frozen.ok_or_else(|| Error::internal(format!("tick {tick} was frozen and is not committed")))?;
        let segments = saved.iter().map(|saved| Index::decode(&saved.index)?.numbered_as(&steps));
        let segments: Vec<Segment> = segments.collect::<Result<_, Error>>()?;
        self.shelf.publish(frozen, &segments, steps, time::now_ms())?;
        self.news.has_snapshot.store(true, Release);
        self.news.tell();
        Ok(())
    }

    fn refuse_if_replaced(&self) -> Result<(), Error> {
        match self.alive.is_alive() {
            true => Ok(()),
            false => {
                Err(Error::cluster("", "this process was stopped or cut off for so long that the job goes on without it"))
            }
        }
    }
}
