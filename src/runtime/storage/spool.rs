//! The thread of a process that writes what is to be shown to the spool: many ticks in one go when it is behind.

use crate::checkpoint::Spool;
use crate::drivers::keep::{Keeping, Spooler};
use crate::error::{Error, fatal};
use std::sync::atomic::Ordering::Release;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

/// Bytes that are written in one go at most.
const BATCH: usize = 16 << 20;

enum Order {
    Keep(Keeping),
    /// Go on in a new file.
    Rotate,
}

/// The thread, as others see it.
pub(in crate::runtime) struct SpoolThread(Mutex<Sender<Order>>);

impl SpoolThread {
    /// Begins to write to `spool`.
    pub(in crate::runtime) fn start(spool: Spool) -> Result<SpoolThread, Error> {
        let (orders, received) = channel();
        let thread = std::thread::Builder::new().name("spool".to_owned()).spawn(move || run(spool, &received));
        thread.map_err(|error| Error::internal(format!("no thread for the spool: {error}")))?;
        Ok(SpoolThread(Mutex::new(orders)))
    }

    fn order(&self, order: Order) {
        // The thread ends the process when it cannot go on, so somebody is always there.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(order);
    }

    /// Goes on in a new file.
    pub(in crate::runtime) fn rotate(&self) {
        self.order(Order::Rotate);
    }
}

impl Spooler for SpoolThread {
    fn keep(&self, keeping: Keeping) {
        self.order(Order::Keep(keeping));
    }
}

fn run(mut spool: Spool, orders: &Receiver<Order>) {
    let mut kept: Vec<Keeping> = Vec::new();
    while let Ok(first) = orders.recv() {
        let (mut next, mut bytes) = (Some(first), 0);
        while let Some(order) = next {
            match order {
                Order::Keep(keeping) => {
                    let parts: Vec<&[u8]> = keeping.parts.iter().map(|part| part.as_slice()).collect();
                    bytes += parts.iter().map(|part| part.len()).sum::<usize>();
                    let added = spool.append(keeping.tick, &keeping.path, keeping.offset, &parts);
                    added.unwrap_or_else(|error| fatal(&error));
                    kept.push(keeping);
                }
                Order::Rotate => {
                    sync(&mut spool, &mut kept).and_then(|()| spool.rotate()).unwrap_or_else(|error| fatal(&error));
                }
            }
            next = if bytes < BATCH { orders.try_recv().ok() } else { None };
        }
        sync(&mut spool, &mut kept).unwrap_or_else(|error| fatal(&error));
    }
}

/// Makes durable what was added, and tells its senders.
fn sync(spool: &mut Spool, kept: &mut Vec<Keeping>) -> Result<(), Error> {
    if kept.is_empty() {
        return Ok(());
    }
    spool.sync()?;
    for keeping in kept.drain(..) {
        keeping.done.store(keeping.number, Release);
        // Fails only when the workers have ended.
        let _ = keeping.wake.activate();
    }
    Ok(())
}
