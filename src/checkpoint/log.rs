//! The tick log: one commit record after the other, in files that only one incarnation of the job writes.
//!
//! Incarnation N creates its first file exclusively, and its first record says where the log before it ends: what an older
//! incarnation that does not know yet may still append is void. A new file of the same incarnation begins with each snapshot, so
//! that recovery reads only what came after it.

use crate::checkpoint::fault;
use crate::checkpoint::frame::{self, Kind};
use crate::checkpoint::recover::Recovered;
use crate::checkpoint::unusable;
use crate::checkpoint::volume::{Appender, Volume};
use crate::error::Error;
use crate::model::commit::{Commit, JobRecord};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Position {
    /// The incarnation that wrote the file.
    pub incarnation: u64,
    /// Number of the file among those of its incarnation.
    pub sequence: u32,
    /// Offset in it.
    pub offset: u64,
}

/// The first record of a log file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The incarnation that writes the file.
    pub incarnation: u64,
    /// Number of the file among those of its incarnation.
    pub sequence: u32,
    /// Where the log of earlier incarnations ends; nothing for the first.
    pub previous: Option<Position>,
    /// The program that writes it.
    pub build: String,
    /// The job.
    pub job: JobRecord,
}

/// The program, as it stands in what it writes.
pub const BUILD: &str = concat!("meterflow ", env!("CARGO_PKG_VERSION"));

/// The name of a log file.
pub fn name(incarnation: u64, sequence: u32) -> String {
    format!("log-{incarnation:08}-{sequence:06}")
}

/// The incarnation and number of a log file, from its name.
pub fn parse(name: &str) -> Option<(u64, u32)> {
    let (incarnation, sequence) = name.strip_prefix("log-")?.split_once('-')?;
    Some((incarnation.parse().ok()?, sequence.parse().ok()?))
}

/// The log, open for appending.
pub struct TickLog {
    volume: Arc<dyn Volume>,
    head: Head,
    file: Box<dyn Appender>,
    offset: u64,
    buffer: Vec<u8>,
}

impl TickLog {
    /// Begins the log of a new incarnation, behind what was recovered. Fails when that incarnation, or a later one, has begun.
    pub fn begin(
        volume: Arc<dyn Volume>,
        incarnation: u64,
        job: &JobRecord,
        after: Option<&Recovered>,
    ) -> Result<TickLog, Error> {
        let names = volume.list().map_err(|error| unusable(&*volume, "", &error))?;
        if let Some(newer) = names.iter().filter_map(|name| parse(name)).map(|(newer, _)| newer).find(|n| *n >= incarnation)
        {
            let message = format!("incarnation {newer} of the job has begun; this one was to be {incarnation}");
            return Err(Error::cluster(volume.describe(), message).with_hint("another run goes on with this state folder"));
        }
        let previous = after.map(|recovered| recovered.end);
        let head = Head { incarnation, sequence: 0, previous, build: BUILD.to_owned(), job: job.clone() };
        fault::point("log.begin.before");
        let (file, offset) = create(&*volume, &head)?;
        fault::point("log.begin.after");
        Ok(TickLog { volume, head, file, offset, buffer: Vec::new() })
    }

    /// Appends records and makes them durable: when this returns, their ticks are committed. After an error nobody knows
    /// which are, and the process must end.
    pub fn append(&mut self, commits: &[Commit]) -> Result<(), Error> {
        self.buffer.clear();
        for commit in commits {
            let payload = serde_json::to_vec(commit).map_err(Error::internal)?;
            frame::put(Kind::Commit, &[&payload], &mut self.buffer);
        }
        self.write("log.append.before")
    }

    /// Notes that the run is complete: everything has been shown, and nothing will follow.
    pub fn complete(&mut self) -> Result<(), Error> {
        self.buffer.clear();
        frame::put(Kind::Complete, &[], &mut self.buffer);
        self.write("log.complete.before")?;
        fault::point("log.complete.after");
        Ok(())
    }

    fn write(&mut self, point: &str) -> Result<(), Error> {
        fault::point(point);
        let done = (|| {
            if fault::is_next("log.append.torn") {
                self.file.append(&self.buffer[..self.buffer.len() / 2])?;
            }
            fault::point("log.append.torn");
            self.file.append(&self.buffer)?;
            fault::point("log.sync.before");
            self.file.sync()
        })();
        done.map_err(|error| self.unusable(&error))?;
        fault::point("log.sync.after");
        self.offset += self.buffer.len() as u64;
        Ok(())
    }

    /// Where the next record will stand.
    pub fn position(&self) -> Position {
        let Head { incarnation, sequence, .. } = self.head;
        Position { incarnation, sequence, offset: self.offset }
    }

    /// Goes on in a new file.
    pub fn rotate(&mut self) -> Result<(), Error> {
        fault::point("log.rotate.before");
        self.head.sequence += 1;
        (self.file, self.offset) = create(&*self.volume, &self.head)?;
        fault::point("log.rotate.after");
        Ok(())
    }

    fn unusable(&self, error: &io::Error) -> Error {
        unusable(&*self.volume, &name(self.head.incarnation, self.head.sequence), error)
    }
}

fn create(volume: &dyn Volume, head: &Head) -> Result<(Box<dyn Appender>, u64), Error> {
    let name = name(head.incarnation, head.sequence);
    let mut bytes = Vec::new();
    let payload = serde_json::to_vec(head).map_err(Error::internal)?;
    frame::put(Kind::LogHead, &[&payload], &mut bytes);
    let created = volume.create(&name).and_then(|mut file| {
        file.append(&bytes)?;
        file.sync()?;
        Ok(file)
    });
    match created {
        Ok(file) => Ok((file, bytes.len() as u64)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let message = format!("incarnation {} of the job has begun elsewhere", head.incarnation);
            Err(Error::cluster(volume.describe(), message).with_hint("another run goes on with this state folder"))
        }
        Err(error) => Err(unusable(volume, &name, &error)),
    }
}
