//! Connects the processes of a job: they meet, get their incarnation, and then the sockets that timely works on.
//!
//! timely can connect them itself, but asks nobody who it is, and never notices one that is stopped or cut off.

use crate::codec::id::murmur3;
use crate::drivers::health::{Alive, Health};
use crate::error::Error;
use crate::runtime::Job;
use crate::runtime::door::Door;
use crate::runtime::lease::Lease;
use crate::runtime::link::{Link, Message, Peer, end};
use crate::runtime::meet::{Identity, Meeting, SETTLE, host, join, turn_away};
use crate::runtime::mesh::mesh;
use crate::runtime::signals::stop_or_end;
use crate::runtime::supervise::has_all_here;
use crate::runtime::watchdog;
use signal_hook::consts::SIGTERM;
use std::any::Any;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::{Config, Hooks};

/// A process that is connected with the others.
pub(super) struct Connected {
    /// What timely needs to start workers.
    pub builders: Vec<AllocatorBuilder>,
    /// What must live as long as they do.
    pub others: Box<dyn Any + Send>,
    /// The control connections; `None` when it is alone.
    pub link: Option<Link>,
    /// What was granted.
    pub incarnation: u64,
    /// What its threads tell each other.
    pub health: Health,
}

/// Connects this process with the others; returns when all of them are there. `input` is a hash of what this process sees
/// as the input of the job; `lease` is that of process 0 on the state folder. `grant` is called on process 0, when all are
/// there, and gives the number of the incarnation.
pub(super) fn connect(
    job: &Job,
    input: u64,
    lease: Option<&Lease>,
    grant: impl FnOnce() -> Result<u64, Error>,
) -> Result<Connected, Error> {
    let mut health = Health { stop: job.stop.clone(), ..Health::default() };
    let held = lease.map_or_else(Alive::default, Lease::alive);
    let cluster = &job.cluster;
    if cluster.processes == 1 {
        let config = if cluster.threads == 1 { Config::Thread } else { Config::Process(cluster.threads) };
        let (builders, others) = config.try_build().map_err(|message| Error::cluster("", message))?;
        health.alive = held;
        return Ok(Connected { builders, others, link: None, incarnation: grant()?, health });
    }
    let (own, threads, addresses) = (cluster.process, cluster.threads, &cluster.addresses);
    let door = Door::open(&addresses[own])?;
    let identity = identity(job, input)?;
    let hash = identity.hash()?;
    // Of a run that has not given its lease back, processes on other hosts may not know yet that they are given up.
    let is_unclean = lease.is_some_and(|lease| !lease.was_released);
    let settle = if is_unclean && !has_all_here() { SETTLE } else { 0.0 };
    let state = job.state.as_ref().map(|state| state.folder.as_path());
    let meeting = Meeting { cluster, identity, state, settle };
    let peer = |process: usize, socket| Peer { process, address: addresses[process].clone(), socket };
    let (granted, peers) = match own {
        0 => {
            let (granted, sockets) = host(&meeting, &door, grant)?;
            (granted, sockets.into_iter().enumerate().map(|(index, socket)| peer(index + 1, socket)).collect())
        }
        _ => {
            let (granted, socket) = join(&meeting)?;
            (granted, vec![peer(0, socket)])
        }
    };
    let heard = health.clone();
    let hear = move |_: usize, message: Message| match message {
        Message::Stop => stop_or_end(&heard.stop, SIGTERM),
        Message::Dump => watchdog::print(&heard.steps.describe()),
    };
    let link = Link::start(peers, hear, |error| end(&error))?;
    health.alive = held.and(link.alive());
    if own != 0 {
        let link = link.clone();
        job.stop.on_raise(move || link.send(Message::Stop));
    }
    let sockets = mesh(cluster, &door, hash, granted)?;
    let porter = Porter::start(door)?;
    end_with_the_others(link.clone());
    let hooks = Hooks::default();
    let local = ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), hooks.spill.clone());
    let started = initialize_networking_from_sockets(local, sockets, own, threads, hooks);
    let (builders, guard) = started.map_err(|error| Error::cluster("", error))?;
    let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
    let (others, link) = (Box::new((guard, porter)), Some(link));
    Ok(Connected { builders, others, link, incarnation: granted.incarnation, health })
}

/// What this process is.
fn identity(job: &Job, input: u64) -> Result<Identity, Error> {
    let state = match &job.state {
        None => "without --state".to_owned(),
        Some(state) if state.dropped.is_empty() => format!("with --state, {:?}", state.delivery),
        Some(state) => format!("with --state, {:?}, --drop-state {}", state.delivery, state.dropped.join(", ")),
    };
    Ok(Identity {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build: build()?,
        dataflow: job.dataflow.name.to_owned(),
        settings: murmur3(format!("{:?}", job.settings).as_bytes(), 0),
        state,
        processes: job.cluster.processes,
        threads: job.cluster.threads,
        input,
    })
}

/// A hash of the program file.
fn build() -> Result<[u64; 2], Error> {
    let failed = |error| Error::input("this program's file", error);
    let mut file = File::open("/proc/self/exe").map_err(failed)?;
    let mut hashes = Vec::new();
    let mut piece = Vec::new();
    loop {
        piece.clear();
        Read::by_ref(&mut file).take(1 << 20).read_to_end(&mut piece).map_err(failed)?;
        if piece.is_empty() {
            return Ok(murmur3(&hashes, 0));
        }
        murmur3(&piece, 0).iter().for_each(|half| hashes.extend_from_slice(&half.to_le_bytes()));
    }
}

/// Answers the door while the job runs.
struct Porter {
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Porter {
    fn start(door: Door) -> Result<Porter, Error> {
        let is_over = Arc::new(AtomicBool::new(false));
        let told = is_over.clone();
        let serve = move || turn_away(&door, || told.load(SeqCst));
        let started = thread::Builder::new().name("porter".to_owned()).spawn(serve);
        let thread = Some(started.map_err(|error| Error::cluster("", error))?);
        Ok(Porter { is_over, thread })
    }
}

impl Drop for Porter {
    fn drop(&mut self) {
        self.is_over.store(true, SeqCst);
        // Afterwards the address is free for the next run of this process.
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

/// When a connection is lost, timely panics with this (and says that others may look for it).
const LOST: &str = "timely communication error: ";

/// How much later a loss is believed here than on a control connection.
const CONTROL_FIRST: Duration = Duration::from_millis(200);

/// From now on, a lost connection ends this process with a message: without one of them the job cannot go on.
fn end_with_the_others(link: Link) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>().and_then(|message| message.strip_prefix(LOST));
        let Some(message) = message else { return before(panic) };
        // The thread's name ends with the index of the other process.
        let thread = thread::current().name().unwrap_or_default().to_owned();
        let other = thread.rsplit('-').next().unwrap_or_default();
        let error = Error::cluster(format!("process {other}"), format!("the connection to it is lost ({message})"));
        // The control connections know better who was lost first.
        thread::sleep(CONTROL_FIRST);
        link.lose(error.with_hint("if it has ended, what it said tells why"));
        // A panic would abort before the process has ended with its message.
        loop {
            thread::park();
        }
    }));
}
