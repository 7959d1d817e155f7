//! The door of a process: accepts connections, hears what each is for, and hands on those that belong here.
//!
//! Strangers (a port scan, a browser, somebody who connects and is silent) cost a thread for a second at most, never hold up
//! anybody else, and are mentioned at most once a second.

use crate::error::Error;
use crate::runtime::wire::{Deadline, Kind, greeted, wrap};
use crate::time::uptime_ms;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Callers that are heard at the same time; others are turned away.
const MOST_CALLERS: usize = 64;
/// How long a caller may take to say who it is, ms.
const TO_SAY: u64 = 1_000;
/// How often strangers are mentioned, ms.
const MENTION: u64 = 1_000;

/// A connection of somebody who speaks our protocol.
pub struct Call {
    /// What it is for.
    pub kind: Kind,
    /// Who the caller says that it is.
    pub hello: Vec<u8>,
    /// The connection.
    pub socket: TcpStream,
    /// Where it comes from.
    pub from: SocketAddr,
    /// Its place among those that are heard.
    _slot: Slot,
}

/// A listening process.
pub struct Door {
    calls: Receiver<Call>,
    address: Option<SocketAddr>,
    is_closed: Arc<AtomicBool>,
    notes: Notes,
    porter: Option<thread::JoinHandle<()>>,
}

impl Door {
    /// Listens at `address`.
    pub fn open(address: &str) -> Result<Door, Error> {
        let hint = "the host file says where each process listens: is -p right, and nobody else there?";
        let unusable = |error| Error::cluster(address, error).with_hint(hint);
        let listener = TcpListener::bind(address).map_err(unusable)?;
        let (sender, calls) = sync_channel(MOST_CALLERS);
        let (is_closed, notes) = (Arc::new(AtomicBool::new(false)), Notes::default());
        let address = listener.local_addr().ok();
        let porter = Porter { listener, sender, heard: Arc::default(), is_closed: is_closed.clone(), notes: notes.clone() };
        let started = thread::Builder::new().name("door".to_owned()).spawn(move || porter.serve());
        let porter = Some(started.map_err(unusable)?);
        Ok(Door { calls, address, is_closed, notes, porter })
    }

    /// The next caller, if one comes in this time.
    pub fn next(&self, wait: Duration) -> Option<Call> {
        self.calls.recv_timeout(wait).ok()
    }

    /// Mentions somebody who is turned away.
    pub fn mention(&self, from: SocketAddr, message: &str) {
        self.notes.mention(from, message);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.is_closed.store(true, SeqCst);
        let call = |address: SocketAddr| TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        // This wakes the thread that waits for a caller; with it the address is free again.
        if self.address.and_then(call).is_some() {
            drop(self.porter.take().map(thread::JoinHandle::join));
        }
    }
}

/// When somebody was mentioned last.
#[derive(Clone, Default)]
struct Notes(Arc<AtomicU64>);

impl Notes {
    fn mention(&self, from: SocketAddr, message: &str) {
        let (now, last) = (uptime_ms(), self.0.load(SeqCst));
        let is_due = last == 0 || now - last >= MENTION;
        if is_due && self.0.compare_exchange(last, now, SeqCst, SeqCst).is_ok() {
            eprintln!("meterflow: the caller at {from} is turned away: it {message}");
        }
    }
}

/// The place of a caller among those that are heard; free again when it is dropped.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(heard: &Arc<AtomicUsize>) -> Option<Slot> {
        let is_free = heard.fetch_add(1, SeqCst) < MOST_CALLERS;
        let slot = Slot(heard.clone());
        is_free.then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// The thread that accepts.
struct Porter {
    listener: TcpListener,
    sender: SyncSender<Call>,
    heard: Arc<AtomicUsize>,
    is_closed: Arc<AtomicBool>,
    notes: Notes,
}

impl Porter {
    fn serve(&self) {
        loop {
            let accepted = self.listener.accept();
            if self.is_closed.load(SeqCst) {
                return;
            }
            let Ok((socket, from)) = accepted else {
                // Too many files are open, or the caller has gone.
                thread::sleep(Duration::from_millis(50));
                continue;
            };
            let Some(slot) = Slot::take(&self.heard) else {
                self.notes.mention(from, "comes with too many others");
                continue;
            };
            let (sender, notes) = (self.sender.clone(), self.notes.clone());
            let hear = move || {
                let greeting = wrap(socket).map_err(|error| error.to_string());
                let greeting = greeting.and_then(|mut socket| {
                    let (kind, hello) = greeted(&mut socket, Deadline::within(TO_SAY))?;
                    Ok(Call { kind, hello, socket, from, _slot: slot })
                });
                match greeting {
                    // Nobody takes it when this process ends.
                    Ok(call) => drop(sender.try_send(call)),
                    Err(message) => notes.mention(from, &message),
                }
            };
            // Without a thread the caller is not heard; it will try again.
            drop(thread::Builder::new().name("caller".to_owned()).spawn(hear));
        }
    }
}
