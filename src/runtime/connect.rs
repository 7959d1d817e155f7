//! Connects the processes of a job.
//!
//! timely can do so itself, but says on standard output, where results may go, that it waits, and tries once a second.

use crate::error::{Error, fatal};
use crate::runtime::Cluster;
use crate::time::Stopwatch;
use std::any::Any;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::{Config, Hooks};

/// What a process says first to another, in front of its index.
const GREETING: [u8; 8] = *b"meterflw";
/// How often it is tried.
const TRY_AGAIN: Duration = Duration::from_millis(10);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);
/// Seconds after which it is said who is missing, and after which it is given up.
const PATIENCE: f64 = 5.0;
const GIVE_UP: f64 = 600.0;

/// What timely needs to start workers, and what must live as long as they do.
pub(super) type Connected = (Vec<AllocatorBuilder>, Box<dyn Any + Send>);

/// Connects this process with the others; returns when all of them are there.
pub(super) fn connect(cluster: &Cluster) -> Result<Connected, Error> {
    let config = match (cluster.processes, cluster.threads) {
        (1, 1) => Config::Thread,
        (1, threads) => Config::Process(threads),
        _ => {
            let sockets = sockets(cluster)?;
            end_with_the_others();
            let (hooks, threads) = (Hooks::default(), cluster.threads);
            let local = ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), hooks.spill.clone());
            let started = initialize_networking_from_sockets(local, sockets, cluster.process, threads, hooks);
            let (builders, guard) = started.map_err(|error| Error::cluster("", error))?;
            return Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(guard)));
        }
    };
    config.try_build().map_err(|message| Error::cluster("", message))
}

/// A connection to each of the other processes, by index; none to itself. The one with the higher index calls.
fn sockets(cluster: &Cluster) -> Result<Vec<Option<TcpStream>>, Error> {
    let (own, addresses) = (cluster.process, &cluster.addresses);
    let mut sockets: Vec<Option<TcpStream>> = addresses.iter().map(|_| None).collect();
    let hint = "the host file says where each process listens: is -p right, and nobody else there?";
    let unusable = |error| Error::cluster(&addresses[own], error).with_hint(hint);
    let listener = TcpListener::bind(&addresses[own]).map_err(unusable)?;
    listener.set_nonblocking(true).map_err(unusable)?;
    let (watch, mut is_said) = (Stopwatch::start(), false);
    loop {
        for index in 0..own {
            if sockets[index].is_none() {
                // Whatever goes wrong: it may not have started yet.
                sockets[index] = call(&addresses[index], own).ok();
            }
        }
        while let Ok((socket, _)) = listener.accept() {
            // A stranger is not answered.
            if let Some((caller, socket)) =
                greeted(socket).ok().filter(|(caller, _)| (own + 1..addresses.len()).contains(caller))
            {
                sockets[caller] = Some(socket);
            }
        }
        let Some(missing) = (0..addresses.len()).find(|index| *index != own && sockets[*index].is_none()) else {
            return Ok(sockets);
        };
        if watch.seconds() > GIVE_UP {
            let message = format!("process {missing} has not come up in {} minutes", GIVE_UP / 60.0);
            return Err(Error::cluster(&addresses[missing], message).with_hint("what does it say?"));
        }
        if watch.seconds() > PATIENCE && !is_said {
            eprintln!("meterflow: process {own} waits for process {missing} at {}", addresses[missing]);
            is_said = true;
        }
        std::thread::sleep(TRY_AGAIN);
    }
}

fn call(address: &str, own: usize) -> io::Result<TcpStream> {
    let resolved = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut socket = TcpStream::connect_timeout(&resolved, ANSWER)?;
    socket.set_nodelay(true)?;
    socket.write_all(&GREETING)?;
    socket.write_all(&(own as u64).to_le_bytes())?;
    Ok(socket)
}

/// The index that a caller gives.
fn greeted(mut socket: TcpStream) -> io::Result<(usize, TcpStream)> {
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(ANSWER))?;
    let (mut greeting, mut index) = ([0; GREETING.len()], [0; 8]);
    socket.read_exact(&mut greeting)?;
    socket.read_exact(&mut index)?;
    socket.set_read_timeout(None)?;
    let index = usize::try_from(u64::from_le_bytes(index)).ok().filter(|_| greeting == GREETING);
    index.map(|index| (index, socket)).ok_or(io::ErrorKind::InvalidData.into())
}

/// When a connection is lost, timely panics with this (and says that others may look for it).
const LOST: &str = "timely communication error: ";

/// From now on, a lost connection ends this process with a message: without one of them the job cannot go on.
fn end_with_the_others() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>().and_then(|message| message.strip_prefix(LOST));
        let Some(message) = message else { return before(panic) };
        // The thread's name ends with the index of the other process.
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        let other = thread.rsplit('-').next().unwrap_or_default();
        let error = Error::cluster(format!("process {other}"), format!("the connection to it is lost ({message})"));
        fatal(&error.with_hint("if it has ended, what it said tells why"))
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::supervise::local_addresses;

    #[test]
    fn every_process_is_connected_with_every_other() {
        let addresses = local_addresses(3).unwrap();
        let cluster = |process| Cluster { threads: 1, processes: 3, process, addresses: addresses.clone() };
        let mut all: Vec<Vec<Option<TcpStream>>> = std::thread::scope(|scope| {
            // The last comes first, and a stranger knocks at the first.
            let last = scope.spawn(|| sockets(&cluster(2)).unwrap());
            std::thread::sleep(TRY_AGAIN);
            let rest = [0, 1].map(|process| scope.spawn(move || sockets(&cluster(process)).unwrap()));
            let mut stranger = (0..200).find_map(|_| {
                std::thread::sleep(TRY_AGAIN);
                TcpStream::connect(&addresses[0]).ok()
            });
            stranger.iter_mut().for_each(|socket| drop(socket.write_all(b"GET / HTTP/1.1\r\n\r\n")));
            rest.into_iter().chain([last]).map(|thread| thread.join().unwrap()).collect()
        });
        for (from, to) in (0..3).flat_map(|from| (0..3).map(move |to| (from, to))) {
            if from == to {
                assert!(all[from][to].is_none());
            } else {
                all[from][to].as_mut().unwrap().write_all(&[from as u8]).unwrap();
                let mut byte = [9];
                all[to][from].as_mut().unwrap().read_exact(&mut byte).unwrap();
                assert_eq!(usize::from(byte[0]), from);
            }
        }
    }

    #[test]
    fn an_address_in_use_is_said() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let addresses = vec![address.clone(), "127.0.0.1:1".to_owned()];
        let error = sockets(&Cluster { threads: 1, processes: 2, process: 0, addresses }).unwrap_err();
        assert!(error.exit_code() == 1 && error.to_string().starts_with(&address), "{error}");
    }
}
