//! The thread of a process that writes saved state to segments.

use crate::checkpoint::snapshot::{Entry, SegmentWriter, Snapshot};
use crate::checkpoint::volume::Volume;
use crate::drivers::snapshot::{Piece, Saved, Vault};
use crate::error::{Error, fatal};
use crate::model::commit::StepRecord;
use crate::model::control::Tick;
use crate::runtime::storage::spool::SpoolThread;
use crate::state::Scope;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
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
    pub(super) entries: Vec<Entry>,
    pub(super) written: u64,
    pub(super) unchanged: u64,
    pub(super) bytes: u64,
    /// Spool files of the process that are not needed once the snapshot counts.
    pub(super) spools: Vec<String>,
}

impl Index {
    pub(super) fn decode(bytes: &[u8]) -> Result<Index, Error> {
        bincode::deserialize(bytes).map_err(|error| Error::internal(format!("the index of saved state: {error}")))
    }
}

enum Order {
    Put(Piece),
    End { tick: Tick, worker: usize, files: Vec<PathBuf>, wake: SyncActivator },
}

/// The vault of a process.
pub(in crate::runtime) struct Segments {
    restored: Option<Arc<Snapshot>>,
    orders: Mutex<Sender<Order>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: AtomicUsize,
    ended: Mutex<BTreeMap<usize, Saved>>,
}

impl Segments {
    /// Begins to write segments; of `workers` workers of this process.
    pub(in crate::runtime) fn start(
        volume: Arc<dyn Volume>,
        incarnation: u64,
        process: u32,
        workers: usize,
        restored: Option<Arc<Snapshot>>,
        spool: Arc<SpoolThread>,
    ) -> Result<Segments, Error> {
        let (orders, received) = channel();
        let shared = Arc::new(Shared::default());
        let thread = Thread {
            volume,
            incarnation,
            process,
            workers,
            restored: restored.clone(),
            spool,
            shared: shared.clone(),
            last: BTreeMap::new(),
            writer: None,
            indices: BTreeMap::new(),
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

    fn end(&self, tick: Tick, worker: usize, files: Vec<PathBuf>, wake: SyncActivator) {
        self.order(Order::End { tick, worker, files, wake });
    }

    fn ended(&self, worker: usize) -> Option<Saved> {
        self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).remove(&worker)
    }

    fn load(&self, step: &str, scope: Scope) -> Result<Option<Vec<u8>>, Error> {
        self.restored.as_ref().map_or(Ok(None), |snapshot| snapshot.load(step, scope))
    }

    fn steps(&self) -> &[StepRecord] {
        self.restored.as_ref().map_or(&[], |snapshot| &snapshot.manifest.steps)
    }
}

struct Thread {
    volume: Arc<dyn Volume>,
    incarnation: u64,
    process: u32,
    workers: usize,
    restored: Option<Arc<Snapshot>>,
    spool: Arc<SpoolThread>,
    shared: Arc<Shared>,
    /// Where the state that was saved last stands; none: there was nothing to save.
    last: BTreeMap<(Arc<str>, Scope), Option<Entry>>,
    writer: Option<SegmentWriter>,
    indices: BTreeMap<usize, Index>,
    /// Workers that have saved everything.
    ended: Vec<(usize, Vec<PathBuf>, SyncActivator)>,
}

impl Thread {
    fn run(mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            let done = match order {
                Order::Put(piece) => self.put(piece),
                Order::End { tick, worker, files, wake } => {
                    self.ended.push((worker, files, wake));
                    if self.ended.len() == self.workers { self.finish(tick) } else { Ok(()) }
                }
            };
            done.unwrap_or_else(|error| fatal(&error));
        }
    }

    fn put(&mut self, piece: Piece) -> Result<(), Error> {
        let Piece { tick, worker, step, scope, bytes } = piece;
        let Some(bytes) = bytes else {
            let index = self.indices.entry(worker).or_default();
            let restored = || self.restored.as_ref().and_then(|snapshot| snapshot.entry(&step, scope)).cloned();
            let entry = self.last.get(&(step.clone(), scope)).cloned().unwrap_or_else(restored);
            index.unchanged += u64::from(entry.is_some());
            index.entries.extend(entry);
            return Ok(());
        };
        if self.writer.is_none() {
            // What is written from now on most likely belongs to later ticks.
            self.spool.rotate();
            let writer = SegmentWriter::create(self.volume.clone(), tick, self.incarnation, self.process)?;
            self.writer = Some(writer);
        }
        let index = self.indices.entry(worker).or_default();
        if let (Some(writer), false) = (&mut self.writer, bytes.is_empty()) {
            let entry = writer.add(&step, scope, &bytes)?;
            index.written += 1;
            index.bytes += entry.length;
            index.entries.push(entry.clone());
            self.last.insert((step, scope), Some(entry));
        } else {
            self.last.insert((step, scope), None);
        }
        self.shared.waiting.fetch_sub(bytes.len(), Relaxed);
        Ok(())
    }

    fn finish(&mut self, tick: Tick) -> Result<(), Error> {
        if let Some(writer) = self.writer.take() {
            writer.finish()?;
        }
        for file in self.ended.iter().flat_map(|(_, files, _)| files) {
            match File::open(file).and_then(|file| file.sync_all()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::output(file.display().to_string(), error));
                }
                _ => {}
            }
        }
        let mut spools = self.spool.finished_by(tick);
        for (worker, _, wake) in self.ended.drain(..) {
            let index = self.indices.remove(&worker).unwrap_or_default();
            let index = Index { spools: std::mem::take(&mut spools), ..index };
            let index = bincode::serialize(&index).map_err(Error::internal)?;
            self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(worker, Saved { worker, index });
            // Fails only when the workers have ended.
            let _ = wake.activate();
        }
        Ok(())
    }
}
