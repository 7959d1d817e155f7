//! The spool: lines that are durable before their tick is committed, so that a committed tick can always be shown.

use crate::checkpoint::frame::{self, Fault, Frames, Kind};
use crate::checkpoint::log::BUILD;
use crate::checkpoint::volume::{Appender, Volume};
use crate::checkpoint::{damaged, fault, unusable};
use crate::error::Error;
use crate::model::control::Tick;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
struct Head {
    incarnation: u64,
    process: u32,
    sequence: u32,
    build: String,
}

/// The name of a spool file.
pub fn name(incarnation: u64, process: u32, sequence: u32) -> String {
    format!("spool-{incarnation:08}-{process:04}-{sequence:06}")
}

/// The incarnation of a spool file, from its name.
pub fn parse(name: &str) -> Option<u64> {
    name.strip_prefix("spool-")?.split('-').next()?.parse().ok()
}

/// The spool of a process.
pub struct Spool {
    volume: Arc<dyn Volume>,
    incarnation: u64,
    process: u32,
    sequence: u32,
    file: Box<dyn Appender>,
    buffer: Vec<u8>,
    /// Bytes in the present file, and its last tick.
    written: u64,
    newest: Option<Tick>,
    /// Files that are finished, with their last tick.
    finished: Vec<(String, Option<Tick>)>,
}

/// Bytes of a spool file after which another is begun.
const FULL: u64 = 64 << 20;

impl Spool {
    /// Begins the spool of a process.
    pub fn create(volume: Arc<dyn Volume>, incarnation: u64, process: u32) -> Result<Spool, Error> {
        let file = create(&*volume, incarnation, process, 0)?;
        let (buffer, finished) = (Vec::new(), Vec::new());
        Ok(Spool { volume, incarnation, process, sequence: 0, file, buffer, written: 0, newest: None, finished })
    }

    /// Adds the lines of a tick for a file, which begin at `offset` in it.
    pub fn append(&mut self, tick: Tick, path: &str, offset: u64, lines: &[&[u8]]) {
        let length = (path.len() as u32).to_le_bytes();
        let (tick_bytes, offset) = (tick.to_le_bytes(), offset.to_le_bytes());
        let mut parts: Vec<&[u8]> = vec![&tick_bytes, &offset, &length, path.as_bytes()];
        parts.extend(lines);
        frame::put(Kind::Lines, &parts, &mut self.buffer);
        self.newest = self.newest.max(Some(tick));
    }

    /// Makes durable what has been added.
    pub fn sync(&mut self) -> Result<(), Error> {
        fault::point("spool.append.before");
        let done = (|| {
            if fault::is_next("spool.append.torn") {
                self.file.append(&self.buffer[..self.buffer.len() / 2])?;
            }
            fault::point("spool.append.torn");
            self.file.append(&self.buffer)?;
            self.file.sync()
        })();
        done.map_err(|error| unusable(&*self.volume, &self.name(), &error))?;
        fault::point("spool.sync.after");
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written >= FULL { self.rotate() } else { Ok(()) }
    }

    fn name(&self) -> String {
        name(self.incarnation, self.process, self.sequence)
    }

    /// Goes on in a new file, if anything stands in the present one.
    pub fn rotate(&mut self) -> Result<(), Error> {
        if self.written == 0 {
            return Ok(());
        }
        self.finished.push((self.name(), self.newest.take()));
        self.sequence += 1;
        self.written = 0;
        self.file = create(&*self.volume, self.incarnation, self.process, self.sequence)?;
        Ok(())
    }

    /// Names of finished files that hold nothing of the ticks after `tick`; each is named once.
    pub fn finished_by(&mut self, tick: Tick) -> Vec<String> {
        let all = std::mem::take(&mut self.finished);
        let (done, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, newest)| newest.is_none_or(|newest| newest <= tick));
        self.finished = rest;
        done.into_iter().map(|(name, _)| name).collect()
    }
}

fn create(volume: &dyn Volume, incarnation: u64, process: u32, sequence: u32) -> Result<Box<dyn Appender>, Error> {
    let name = name(incarnation, process, sequence);
    let head = Head { incarnation, process, sequence, build: BUILD.to_owned() };
    let mut bytes = Vec::new();
    frame::put(Kind::SpoolHead, &[&serde_json::to_vec(&head).map_err(Error::internal)?], &mut bytes);
    let created = volume.create(&name).and_then(|mut file| file.append(&bytes).map(|()| file));
    created.map_err(|error| unusable(volume, &name, &error))
}

/// Lines that stand in a spool.
#[derive(Clone, PartialEq, Debug)]
pub struct Spooled {
    /// The spool file.
    pub name: String,
    /// The incarnation that wrote them.
    pub incarnation: u64,
    /// Their tick.
    pub tick: Tick,
    /// The file that they are for, and where in it they begin.
    pub path: String,
    /// Offset in that file.
    pub offset: u64,
    /// Where they stand in the spool file.
    pub at: u64,
    /// Bytes.
    pub length: u64,
}

/// Everything in the spools of a state folder. What is torn was never committed.
pub fn read(volume: &dyn Volume) -> Result<Vec<Spooled>, Error> {
    let names = volume.list().map_err(|error| unusable(volume, "", &error))?;
    let mut all = Vec::new();
    for (name, incarnation) in names.iter().filter_map(|name| Some((name, parse(name)?))) {
        let bytes = volume.read(name, 0, u64::MAX).map_err(|error| unusable(volume, name, &error))?;
        let mut frames = Frames::new(&bytes);
        loop {
            match frames.next() {
                Ok(Some(frame)) if frame.kind == Kind::Lines => {
                    let lines = parse_lines(frame.payload, name, incarnation, (frame.at + frame::HEAD) as u64);
                    all.push(lines.ok_or_else(|| damaged(volume, name, format!("at byte {}: no lines", frame.at)))?);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(Fault::Torn) => break,
                // Lines that are needed will be missed where they belong.
                Err(fault @ Fault::Newer(..)) => return Err(damaged(volume, name, fault)),
                Err(Fault::Flipped) => {
                    let message = format!("damaged at byte {}", frames.at());
                    return Err(damaged(volume, name, message).with_hint("restore the folder from a backup"));
                }
            }
        }
    }
    Ok(all)
}

fn parse_lines(payload: &[u8], name: &str, incarnation: u64, at: u64) -> Option<Spooled> {
    let (tick, rest) = payload.split_first_chunk::<8>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (path, lines) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some(Spooled {
        name: name.to_owned(),
        incarnation,
        tick: u64::from_le_bytes(*tick),
        path: std::str::from_utf8(path).ok()?.to_owned(),
        offset: u64::from_le_bytes(*offset),
        at: at + 20 + path.len() as u64,
        length: lines.len() as u64,
    })
}

/// The lines themselves.
pub fn lines(volume: &dyn Volume, spooled: &Spooled) -> io::Result<Vec<u8>> {
    volume.read(&spooled.name, spooled.at, spooled.length)
}
