//! The rendezvous: process 0 waits for all others, makes sure that they are the same job, and grants the incarnation.
//!
//! Others call process 0 until it answers. Whoever differs is told how, and so is whoever runs process 0.

use crate::codec::id::murmur3;
use crate::error::Error;
use crate::runtime::Cluster;
use crate::runtime::door::{Call, Door};
use crate::runtime::random::random;
use crate::runtime::wire::{Deadline, Kind, call, decode, receive, send};
use crate::time::Stopwatch;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How often it is looked who has come, and tried to reach process 0.
const LOOK: Duration = Duration::from_millis(10);
/// Seconds between two signs to those who wait.
const SIGN: f64 = 0.5;
/// Milliseconds in which an answer must come.
const ANSWER: u64 = 10_000;
/// Seconds after which it is said who is missing, and after which it is given up.
const PATIENCE: f64 = 5.0;
const GIVE_UP: f64 = 600.0;
/// Seconds before process 0 grants anything while others of an earlier incarnation may not know yet that they are given up.
pub const SETTLE: f64 = 5.0;

/// What makes processes the same job.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Version of the program.
    pub version: String,
    /// A hash of the program file.
    pub build: [u64; 2],
    /// The dataflow.
    pub dataflow: String,
    /// A hash of the settings.
    pub settings: [u64; 2],
    /// What is kept, in words.
    pub state: String,
    /// Processes of the job.
    pub processes: usize,
    /// Threads of each.
    pub threads: usize,
    /// A hash of the names and sizes of all input.
    pub input: u64,
}

impl Identity {
    /// A hash of all of it.
    pub fn hash(&self) -> Result<[u64; 2], Error> {
        bincode::serialize(self).map(|bytes| murmur3(&bytes, 0)).map_err(Error::internal)
    }

    /// What is different in process `index`, which is `other`; this one is process 0.
    fn refuse(&self, index: usize, other: &Identity) -> Option<Refusal> {
        let differs = |message: String, hint: &str, is_final| {
            Some(Refusal { process: index, message, hint: hint.to_owned(), is_final })
        };
        let build = |of: &Identity| format!("meterflow {} (build {:016x})", of.version, of.build[0]);
        if (&self.version, self.build) != (&other.version, other.build) {
            let message = format!("runs {}, process 0 runs {}", build(other), build(self));
            return differs(message, "all hosts need the same program file", true);
        }
        if self.dataflow != other.dataflow {
            let message = format!("runs the dataflow {}, process 0 runs {}", other.dataflow, self.dataflow);
            return differs(message, "does a host file name another job's process?", true);
        }
        if self.processes != other.processes || !(1..self.processes).contains(&index) {
            let message = format!("is one of {} processes (-n), process 0 one of {}", other.processes, self.processes);
            return differs(message, "all hosts need the same -n", true);
        }
        if self.threads != other.threads {
            let message = format!("has {} threads (-w), process 0 has {}", other.threads, self.threads);
            return differs(message, "all hosts need the same -w", true);
        }
        if self.state != other.state {
            let message = format!("runs {}, process 0 runs {}", other.state, self.state);
            return differs(message, "all hosts need the same flags", true);
        }
        if self.settings != other.settings {
            let hint = "all hosts need the same configuration file, METERFLOW_ variables and --set";
            return differs("has other settings than process 0".to_owned(), hint, true);
        }
        if self.input != other.input {
            let hint = "every host must see the same list of files, with the same sizes, under the configured path";
            // It may be seen when both look again.
            return differs("does not see the same input files as process 0".to_owned(), hint, false);
        }
        None
    }
}

/// Why a process is not part of the job.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Refusal {
    process: usize,
    message: String,
    hint: String,
    /// Whether to try again is no use.
    is_final: bool,
}

impl Refusal {
    fn error(&self) -> Error {
        let place = format!("process {}", self.process);
        let error = match self.is_final {
            true => Error::refused(place, &self.message),
            false => Error::cluster(place, &self.message),
        };
        error.with_hint(&self.hint)
    }
}

/// What a process says when it calls process 0.
#[derive(Serialize, Deserialize)]
struct Hello {
    process: usize,
    identity: Identity,
}

/// What process 0 answers.
#[derive(Serialize, Deserialize)]
pub(super) enum Reply {
    /// An earlier incarnation has not ended: try again.
    Busy,
    /// Say what stands in this file of the state folder.
    Prove(String),
    /// Others are missing.
    Wait,
    /// The job begins.
    Granted(Grant),
    Refused(RefusedBy),
}

/// A refusal on its way; opaque to those who only pass it on.
#[derive(Serialize, Deserialize)]
pub(super) struct RefusedBy(Refusal);

/// What the processes of an incarnation know of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Number of the incarnation.
    pub incarnation: u64,
    /// A random number that nobody outside it knows.
    pub session: [u64; 2],
}

/// What is needed to meet.
pub struct Meeting<'a> {
    /// This process among the others.
    pub cluster: &'a Cluster,
    /// What it is.
    pub identity: Identity,
    /// The state folder, if there is one: all must see the same.
    pub state: Option<&'a Path>,
    /// Seconds that process 0 waits at least before it grants anything.
    pub settle: f64,
}

/// Meets the others, as process 0: returns the grant, and a control connection for each of them.
pub(super) fn host(
    meeting: &Meeting,
    door: &Door,
    grant: impl FnOnce() -> Result<u64, Error>,
) -> Result<(Grant, Vec<TcpStream>), Error> {
    let addresses = &meeting.cluster.addresses;
    let proof = meeting.state.map(Proof::write).transpose()?.map(Arc::new);
    let identity = Arc::new(meeting.identity.clone());
    let mut joined: Vec<Option<TcpStream>> = addresses.iter().skip(1).map(|_| None).collect();
    let (sender, guests) = channel();
    let (watch, mut signs, mut is_said) = (Stopwatch::start(), 0.0, false);
    loop {
        if let Some(call) = door.next(LOOK).filter(|call| call.kind == Kind::Control) {
            let (identity, proof, sender) = (identity.clone(), proof.clone(), sender.clone());
            let greet = move || drop(sender.send(greet(call, &identity, proof.as_deref())));
            // Without a thread it is not answered, and calls again.
            drop(thread::Builder::new().name("greet".to_owned()).spawn(greet));
        }
        while let Ok(guest) = guests.try_recv() {
            welcome(guest, &mut joined, door)?;
        }
        if watch.seconds() - signs >= SIGN {
            signs = watch.seconds();
            for place in &mut joined {
                *place = place
                    .take()
                    .filter(is_there)
                    .and_then(|mut socket| send(&mut socket, &Reply::Wait).ok().map(|()| socket));
            }
        }
        let missing = joined.iter().position(Option::is_none).map(|index| index + 1);
        match missing {
            None if watch.seconds() >= meeting.settle && joined.iter().flatten().all(is_there) => break,
            Some(missing) if watch.seconds() > GIVE_UP => return Err(absent(missing, &addresses[missing])),
            Some(missing) if watch.seconds() > PATIENCE && !is_said => {
                eprintln!("meterflow: process 0 waits for process {missing} at {}", addresses[missing]);
                is_said = true;
            }
            _ => {}
        }
    }
    let mut sockets: Vec<TcpStream> = joined.into_iter().flatten().collect();
    let incarnation = while_others_wait(&mut sockets, grant)?;
    let granted = Grant { incarnation, session: random()? };
    for (index, socket) in sockets.iter_mut().enumerate() {
        let process = format!("process {}", index + 1);
        send(socket, &Reply::Granted(granted)).map_err(|error| Error::cluster(process, error))?;
    }
    Ok((granted, sockets))
}

/// Does something that may take long, and gives signs to the others meanwhile.
fn while_others_wait<T>(sockets: &mut [TcpStream], work: impl FnOnce() -> T) -> T {
    let (done, is_done) = channel::<()>();
    thread::scope(|scope| {
        let signs = move || {
            while is_done.recv_timeout(Duration::from_secs_f64(SIGN)) == Err(RecvTimeoutError::Timeout) {
                // Who has gone is noticed when the grant is sent.
                sockets.iter_mut().for_each(|socket| drop(send(socket, &Reply::Wait)));
            }
        };
        // Without this thread they wait as long as they wait for an answer.
        drop(thread::Builder::new().name("signs".to_owned()).spawn_scoped(scope, signs));
        let result = work();
        drop(done);
        result
    })
}

fn absent(process: usize, address: &str) -> Error {
    let message = format!("process {process} has not come up in {} minutes", GIVE_UP / 60.0);
    Error::cluster(address, message).with_hint("what does it say?")
}

/// Somebody who has called process 0.
enum Guest {
    Joins(usize, Call),
    Refused(Call, Refusal),
    /// It was no process of ours, or it has gone.
    Stranger(Call, String),
}

/// Hears who has called, on a thread of its own.
fn greet(mut call: Call, identity: &Identity, proof: Option<&Proof>) -> Guest {
    let hello: Hello = match decode(&call.hello) {
        Ok(hello) => hello,
        Err(error) => return Guest::Stranger(call, format!("says what makes no sense ({error})")),
    };
    if let Some(refusal) = identity.refuse(hello.process, &hello.identity) {
        return Guest::Refused(call, refusal);
    }
    if let Some(proof) = proof {
        let asked = send(&mut call.socket, &Reply::Prove(proof.name.clone()));
        let content = asked.and_then(|()| receive::<Vec<u8>>(&mut call.socket, Some(Deadline::within(ANSWER))));
        match content {
            Err(error) => return Guest::Stranger(call, format!("has gone ({error})")),
            Ok(content) if content != proof.content => {
                let message = "does not see the state folder of process 0".to_owned();
                let hint = "--state must be one folder that all hosts share".to_owned();
                return Guest::Refused(call, Refusal { process: hello.process, message, hint, is_final: true });
            }
            Ok(_) => {}
        }
    }
    Guest::Joins(hello.process, call)
}

/// Takes a guest in, or says why not.
fn welcome(guest: Guest, joined: &mut [Option<TcpStream>], door: &Door) -> Result<(), Error> {
    match guest {
        Guest::Joins(process, mut call) => {
            let place = &mut joined[process - 1];
            // One that came before, and has gone since, was an earlier attempt of the same.
            match place.as_ref().is_some_and(is_there) {
                true => {
                    door.mention(call.from, &format!("says it is process {process}, which is here already"));
                    drop(send(&mut call.socket, &Reply::Busy));
                }
                false => *place = Some(call.socket),
            }
        }
        Guest::Refused(mut call, refusal) => {
            drop(send(&mut call.socket, &Reply::Refused(RefusedBy(refusal.clone()))));
            if !refusal.is_final {
                return Err(refusal.error());
            }
            door.mention(call.from, &format!("is not of this job: {}", refusal.error()));
        }
        Guest::Stranger(call, message) => door.mention(call.from, &message),
    }
    Ok(())
}

/// Whether the other side of a connection has not hung up.
fn is_there(socket: &TcpStream) -> bool {
    let mut byte = [0];
    let peeked = socket.set_nonblocking(true).and_then(|()| socket.peek(&mut byte));
    let restored = socket.set_nonblocking(false);
    restored.is_ok() && matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Meets the others, as one of them: returns the grant and the control connection to process 0.
pub(super) fn join(meeting: &Meeting) -> Result<(Grant, TcpStream), Error> {
    let (own, address) = (meeting.cluster.process, &meeting.cluster.addresses[0]);
    let mut watch = Stopwatch::start();
    let mut is_said = false;
    loop {
        match attempt(meeting) {
            Ok(granted) => return Ok(granted),
            Err(Failed::Finally(error)) => return Err(error),
            Err(Failed::Again { was_heard: true }) => watch = Stopwatch::start(),
            Err(Failed::Again { was_heard: false }) => {}
        }
        if watch.seconds() > GIVE_UP {
            return Err(absent(0, address));
        }
        if watch.seconds() > PATIENCE && !is_said {
            eprintln!("meterflow: process {own} waits for process 0 at {address}");
            is_said = true;
        }
        thread::sleep(LOOK);
    }
}

/// Why process 0 could not be met.
enum Failed {
    Finally(Error),
    Again { was_heard: bool },
}

fn attempt(meeting: &Meeting) -> Result<(Grant, TcpStream), Failed> {
    let hello = Hello { process: meeting.cluster.process, identity: meeting.identity.clone() };
    let mut was_heard = false;
    // Whatever goes wrong: it may not have started yet, or starts again.
    let mut socket = call(&meeting.cluster.addresses[0], Kind::Control, &hello).map_err(|_| Failed::Again { was_heard })?;
    loop {
        let reply = receive(&mut socket, Some(Deadline::within(ANSWER))).map_err(|_| Failed::Again { was_heard })?;
        was_heard = true;
        match reply {
            Reply::Wait => {}
            Reply::Granted(granted) => return Ok((granted, socket)),
            Reply::Refused(RefusedBy(refusal)) => return Err(Failed::Finally(refusal.error())),
            Reply::Prove(name) => {
                let content = meeting.state.map(|folder| proof(folder, &name)).unwrap_or_default();
                send(&mut socket, &content).map_err(|_| Failed::Again { was_heard })?;
            }
            Reply::Busy => {
                thread::sleep(10 * LOOK);
                return Err(Failed::Again { was_heard });
            }
        }
    }
}

/// A file of the state folder with random content, which only those who see the folder know. It goes when all have met.
struct Proof {
    path: PathBuf,
    name: String,
    content: Vec<u8>,
}

impl Proof {
    fn write(folder: &Path) -> Result<Proof, Error> {
        let [name, low] = random()?;
        let (name, content) = (format!("proof-{name:016x}"), format!("{low:016x}").into_bytes());
        let path = folder.join(&name);
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, &content));
        let hint = "can the folder of --state be made and written?";
        written.map_err(|error| Error::output(path.display().to_string(), error).with_hint(hint))?;
        Ok(Proof { path, name, content })
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        // One that stays behind is only in the way of a person.
        let _ = fs::remove_file(&self.path);
    }
}

/// The content of a proof as this process sees it; empty when it does not. Shared folders may show it late.
fn proof(folder: &Path, name: &str) -> Vec<u8> {
    let is_proof = name.strip_prefix("proof-").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    for _ in 0..20 {
        let mut content = Vec::new();
        let read = File::open(folder.join(name)).and_then(|file| file.take(1 << 10).read_to_end(&mut content));
        if is_proof && read.is_ok() && !content.is_empty() {
            return content;
        }
        thread::sleep(10 * LOOK);
    }
    Vec::new()
}

/// Turns away, as long as the job runs, whoever calls late. A process of ours that does has been started again before this
/// one has noticed that it had ended.
pub(super) fn turn_away(door: &Door, is_over: impl Fn() -> bool) {
    while !is_over() {
        let Some(mut call) = door.next(Duration::from_millis(500)) else { continue };
        if call.kind == Kind::Control && decode::<Hello>(&call.hello).is_ok() {
            drop(send(&mut call.socket, &Reply::Busy));
        }
        door.mention(call.from, "comes while the job runs");
    }
}
