//! The connections that timely works on: one between each two processes of an incarnation, after a handshake.

use crate::error::Error;
use crate::runtime::Cluster;
use crate::runtime::door::{Call, Door};
use crate::runtime::meet::Grant;
use crate::runtime::wire::{Deadline, Kind, call, decode, receive, send};
use crate::time::Stopwatch;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::TcpStream;
use std::time::Duration;

/// How often it is tried.
const LOOK: Duration = Duration::from_millis(10);
/// Milliseconds in which the other side must answer; it may still be waiting for others itself.
const ANSWER: u64 = 10_000;
/// Seconds after which it is given up: all were there when the grant came.
const GIVE_UP: f64 = 30.0;

/// What a process says when it calls another one.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
struct Hello {
    job: [u64; 2],
    grant: Grant,
    process: usize,
}

/// The answer: nothing, or why not.
type Reply = Option<String>;

/// A connection to each of the other processes, by index; none to itself. The one with the higher index calls.
pub(super) fn mesh(cluster: &Cluster, door: &Door, job: [u64; 2], grant: Grant) -> Result<Vec<Option<TcpStream>>, Error> {
    let (own, addresses) = (cluster.process, &cluster.addresses);
    let hello = Hello { job, grant, process: own };
    let mut sockets: Vec<Option<TcpStream>> = addresses.iter().map(|_| None).collect();
    let watch = Stopwatch::start();
    loop {
        for index in (0..own).filter(|index| sockets[*index].is_none()).collect::<Vec<_>>() {
            sockets[index] = dial(&addresses[index], &hello)
                .map_err(|reason| Error::cluster(format!("process {index} at {}", addresses[index]), reason))?;
        }
        while let Some(call) = door.next(LOOK) {
            if let Some((process, socket)) = answer(call, &hello, &sockets, door) {
                sockets[process] = Some(socket);
            }
        }
        let Some(missing) = (0..addresses.len()).find(|index| *index != own && sockets[*index].is_none()) else {
            return Ok(sockets);
        };
        if watch.seconds() > GIVE_UP {
            let message = "it was there, but does not connect";
            return Err(Error::cluster(format!("process {missing} at {}", addresses[missing]), message));
        }
    }
}

/// Calls another process. Nothing: it is to be tried again; the error is why it does not want.
fn dial(address: &str, hello: &Hello) -> Result<Option<TcpStream>, String> {
    let connect = || -> io::Result<(TcpStream, Reply)> {
        let mut socket = call(address, Kind::Mesh, hello)?;
        let reply = receive(&mut socket, Some(Deadline::within(ANSWER)))?;
        Ok((socket, reply))
    };
    match connect() {
        Ok((_, Some(refusal))) => Err(format!("refuses the connection: {refusal}")),
        Ok((socket, None)) => Ok(plain(socket).ok()),
        Err(_) => Ok(None),
    }
}

/// Answers a call, and keeps the connection of one that is awaited.
fn answer(mut call: Call, own: &Hello, sockets: &[Option<TcpStream>], door: &Door) -> Option<(usize, TcpStream)> {
    if call.kind != Kind::Mesh {
        // It waits for process 0, or calls it again.
        return None;
    }
    let Ok(hello) = decode::<Hello>(&call.hello) else {
        door.mention(call.from, "says what makes no sense");
        return None;
    };
    if let Some(refusal) = differs(own, &hello, sockets) {
        door.mention(call.from, &refusal);
        // It ends without this answer as well.
        let _ = send(&mut call.socket, &Some(refusal) as &Reply);
        return None;
    }
    let answered = send(&mut call.socket, &None as &Reply).and_then(|()| plain(call.socket));
    answered.ok().map(|socket| (hello.process, socket))
}

fn differs(own: &Hello, hello: &Hello, sockets: &[Option<TcpStream>]) -> Option<String> {
    let process = hello.process;
    if hello.job != own.job {
        return Some(format!("is process {process} of another job"));
    }
    if hello.grant.incarnation != own.grant.incarnation {
        let [other, own] = [hello, own].map(|hello| hello.grant.incarnation);
        return Some(format!("is process {process} of incarnation {other}, this is {own}"));
    }
    if hello.grant.session != own.grant.session {
        return Some(format!("is process {process} of another start of the job"));
    }
    if process <= own.process || process >= sockets.len() || sockets[process].is_some() {
        return Some(format!("is process {process}, which is not awaited here"));
    }
    None
}

/// The socket as timely wants it: without time limits.
fn plain(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)?;
    Ok(socket)
}
