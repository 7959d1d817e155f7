//! The thread of a process that writes saved state to segments.

use crate::checkpoint::files::sync_all;
use crate::checkpoint::{Disk, Segment, SegmentWriter, Snapshot, Volume};
use crate::drivers::snapshot::{Piece, Saved, Vault};
use crate::error::{Error, fatal};
use crate::model::commit::StepRecord;
use crate::model::control::Tick;
use crate::runtime::storage::spool::SpoolThread;
use crate::state::Scope;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use timely::scheduling::SyncActivator;

/// Bytes of saved state that may wait for the thread.
const ROOM: usize = 64 << 20;

/// What a worker has saved: the words of this vault in [`Saved`].
#[derive(Serialize, Deserialize, Default)]
pub(super) struct Index {
    /// Names of the steps, as the places number them.
    steps: Vec<String>,
    /// A [`Segment`].
    segment: Vec<u8>,
}

impl Index {
    pub(super) fn decode(bytes: &[u8]) -> Result<Index, Error> {
        bincode::deserialize(bytes).map_err(|error| Error::internal(format!("the index of saved state: {error}")))
    }

    /// The places with the numbers that the steps have in `steps`.
    pub(super) fn numbered_as(&self, steps: &[StepRecord]) -> Result<Segment, Error> {
        let mut segment = Segment::from_bytes(&self.segment).map_err(Error::internal)?;
        let number = |name: &String| steps.iter().position(|step| step.step == *name).map(|at| at as u16);
        let numbers: Option<Vec<u16>> = self.steps.iter().map(number).collect();
        let numbers = numbers.ok_or_else(|| Error::internal("a step has saved state that worker 0 does not have"))?;
        segment.places.iter_mut().for_each(|place| place.step = numbers[place.step as usize]);
        Ok(segment)
    }
}

enum Order {
    Put(Piece),
    End { worker: usize, files: Vec<PathBuf>, wake: SyncActivator },
}

/// The vault of a process.
pub(in crate::runtime) struct Segments {
    restored: Option<Snapshot>,
    orders: Mutex<Sender<Order>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: AtomicUsize,
    ended: Mutex<BTreeMap<usize, Saved>>,
}

impl Segments {
    /// Begins to write segments of a process with so many workers.
    pub(in crate::runtime) fn start(
        writes: Writes,
        workers: usize,
        restored: Option<Snapshot>,
        spool: Arc<SpoolThread>,
    ) -> Result<Segments, Error> {
        let (orders, received) = channel();
        let shared = Arc::new(Shared::default());
        let (shared_too, written) = (shared.clone(), BTreeMap::new());
        let thread = Thread {
            writes,
            workers,
            spool,
            shared: shared_too,
            steps: Vec::new(),
            writer: None,
            written,
            ended: Vec::new(),
        };
        let spawned = std::thread::Builder::new().name("segments".to_owned()).spawn(move || thread.run(&received));
        spawned.map_err(|error| Error::internal(format!("no thread for snapshots: {error}")))?;
        Ok(Segments { restored, orders: Mutex::new(orders), shared })
    }

    fn order(&self, order: Order) {
        // The thread ends the process when it cannot go on, so somebody is always there.
        let _ = self.orders.lock().unwrap_or_else(PoisonError::into_inner).send(order);
    }
}

impl Vault for Segments {
    fn has_room(&self) -> bool {
        self.shared.waiting.load(Relaxed) < ROOM
    }

    fn put(&self, piece: Piece) {
        self.shared.waiting.fetch_add(piece.bytes.as_ref().map_or(0, Vec::len), Relaxed);
        self.order(Order::Put(piece));
    }

    fn end(&self, _: Tick, worker: usize, files: Vec<PathBuf>, wake: SyncActivator) {
        self.order(Order::End { worker, files, wake });
    }

    fn ended(&self, worker: usize) -> Option<Saved> {
        self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).remove(&worker)
    }

    fn load(&self, step: &str, scope: Scope) -> Result<Option<Vec<u8>>, Error> {
        self.restored.as_ref().map_or(Ok(None), |snapshot| snapshot.bytes(step, scope))
    }

    fn steps(&self) -> &[StepRecord] {
        self.restored.as_ref().map_or(&[], |snapshot| &snapshot.manifest.steps)
    }
}

/// Whose segments are written, and where.
pub(in crate::runtime) struct Writes {
    pub(in crate::runtime) volume: Arc<dyn Volume>,
    pub(in crate::runtime) uid: String,
    pub(in crate::runtime) incarnation: u64,
    pub(in crate::runtime) process: u32,
}

struct Thread {
    writes: Writes,
    workers: usize,
    spool: Arc<SpoolThread>,
    shared: Arc<Shared>,
    /// Names of steps, in the order in which they were first seen.
    steps: Vec<Arc<str>>,
    writer: Option<SegmentWriter>,
    /// By worker.
    written: BTreeMap<usize, Segment>,
    /// Workers that have saved everything.
    ended: Vec<(usize, Vec<PathBuf>, SyncActivator)>,
}

impl Thread {
    fn run(mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            let done = match order {
                Order::Put(piece) => self.put(piece),
                Order::End { worker, files, wake } => {
                    self.ended.push((worker, files, wake));
                    if self.ended.len() == self.workers { self.finish() } else { Ok(()) }
                }
            };
            done.unwrap_or_else(|error| fatal(&error));
        }
    }

    fn put(&mut self, piece: Piece) -> Result<(), Error> {
        let Piece { tick, worker, step, scope, bytes } = piece;
        let segment = self.written.entry(worker).or_default();
        let Some(bytes) = bytes else {
            segment.unchanged += 1;
            return Ok(());
        };
        let Writes { volume, uid, incarnation, process } = &self.writes;
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => SegmentWriter::create(volume, uid, tick, *incarnation, *process)?,
        };
        let number = self.steps.iter().position(|known| *known == step).unwrap_or_else(|| {
            self.steps.push(step);
            self.steps.len() - 1
        });
        segment.file = writer.name().to_owned();
        segment.places.push(writer.add(number as u32, scope, &bytes)?);
        self.writer = Some(writer);
        self.shared.waiting.fetch_sub(bytes.len(), Relaxed);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        if let Some(mut writer) = self.writer.take() {
            writer.sync()?;
        }
        let files: Vec<String> =
            self.ended.iter().flat_map(|(_, files, _)| files).map(|file| file.display().to_string()).collect();
        sync_all(&Disk, files.iter().map(String::as_str))?;
        self.spool.rotate();
        let steps: Vec<String> = self.steps.iter().map(|step| (**step).to_owned()).collect();
        for (worker, _, wake) in self.ended.drain(..) {
            let segment = self.written.remove(&worker).unwrap_or_default().to_bytes();
            let index = bincode::serialize(&Index { steps: steps.clone(), segment }).map_err(Error::internal)?;
            self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(worker, Saved { worker, index });
            // Fails only when the workers have ended.
            let _ = wake.activate();
        }
        Ok(())
    }
}
