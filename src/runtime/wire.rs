//! What processes say to each other when they connect: a fixed greeting, then frames with a length.
//!
//! Whoever connects may be a stranger, so everything that is read has a limit in bytes and an end in time.

use crate::time::uptime_ms;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The version of all that is said here; processes of different versions refuse each other.
pub const PROTOCOL: u16 = 1;
/// What a connection begins with.
const MAGIC: [u8; 8] = *b"meterflw";
/// Bytes that a frame may have.
const MOST: usize = 64 << 10;
/// How long a connection may take to come up, and a frame to be taken by the system.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Rendezvous, then heartbeats.
    Control = 1,
    /// The data of timely.
    Mesh = 2,
}

/// A moment by which something must be done.
#[derive(Clone, Copy)]
pub struct Deadline(u64);

impl Deadline {
    /// In so many milliseconds from now.
    pub fn within(ms: u64) -> Deadline {
        Deadline(uptime_ms() + ms)
    }

    fn left(self) -> io::Result<Duration> {
        match self.0.saturating_sub(uptime_ms()) {
            0 => Err(io::ErrorKind::TimedOut.into()),
            ms => Ok(Duration::from_millis(ms)),
        }
    }
}

/// Every connection comes through here, whoever has called, before anything is said: this is the place for TLS. (timely
/// takes plain sockets, so what encrypts would hand it one end of a pair of them.)
pub fn wrap(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Calls a process and says what for.
pub fn call(address: &str, kind: Kind, hello: &impl Serialize) -> io::Result<TcpStream> {
    let resolved = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut socket = wrap(TcpStream::connect_timeout(&resolved, PATIENCE)?)?;
    let mut greeting = MAGIC.to_vec();
    greeting.extend_from_slice(&PROTOCOL.to_le_bytes());
    greeting.push(kind as u8);
    socket.write_all(&greeting)?;
    send(&mut socket, hello)?;
    Ok(socket)
}

/// Reads what a caller says first: what for, and who it is. The error is what is wrong with it.
pub fn greeted(socket: &mut TcpStream, deadline: Deadline) -> Result<(Kind, Vec<u8>), String> {
    let mut greeting = [0; MAGIC.len() + 3];
    read(socket, &mut greeting, deadline).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "says nothing".to_owned(),
        io::ErrorKind::UnexpectedEof => "hung up".to_owned(),
        _ => error.to_string(),
    })?;
    let (magic, rest) = greeting.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("is no meterflow process".to_owned());
    }
    let protocol = u16::from_le_bytes([rest[0], rest[1]]);
    if protocol != PROTOCOL {
        return Err(format!("speaks protocol {protocol} of another version of meterflow, this process {PROTOCOL}"));
    }
    let kind = match rest[2] {
        1 => Kind::Control,
        2 => Kind::Mesh,
        other => return Err(format!("wants something unknown ({other})")),
    };
    let payload = frame(socket, deadline).map_err(|error| format!("does not say who it is ({error})"))?;
    Ok((kind, payload))
}

/// Sends a message as one frame.
pub fn send(socket: &mut TcpStream, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    bincode::serialize_into(&mut bytes, message).map_err(io::Error::other)?;
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    socket.write_all(&bytes)
}

/// Receives a message; without a deadline it waits as long as the connection lives.
pub fn receive<M: DeserializeOwned>(socket: &mut TcpStream, deadline: Option<Deadline>) -> io::Result<M> {
    let payload = match deadline {
        Some(deadline) => frame(socket, deadline)?,
        None => {
            socket.set_read_timeout(None)?;
            let mut length = [0; 4];
            socket.read_exact(&mut length)?;
            let mut payload = vec![0; checked(length)?];
            socket.read_exact(&mut payload)?;
            payload
        }
    };
    decode(&payload)
}

/// The message in a frame.
pub fn decode<M: DeserializeOwned>(payload: &[u8]) -> io::Result<M> {
    bincode::deserialize(payload).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn frame(socket: &mut TcpStream, deadline: Deadline) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    read(socket, &mut length, deadline)?;
    let mut payload = vec![0; checked(length)?];
    read(socket, &mut payload, deadline)?;
    Ok(payload)
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(length) as usize;
    if length > MOST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    Ok(length)
}

/// Fills `bytes`, however slowly they come, before the deadline.
fn read(socket: &mut TcpStream, bytes: &mut [u8], deadline: Deadline) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        socket.set_read_timeout(Some(deadline.left()?))?;
        match socket.read(&mut bytes[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
