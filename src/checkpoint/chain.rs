//! The files of the tick log in the order in which they follow each other.

use crate::checkpoint::frame::{Frame, Frames, Kind, Next};
use crate::checkpoint::log::LogBegin;
use crate::checkpoint::names::Name;
use crate::checkpoint::problem::{damaged, trouble};
use crate::checkpoint::volume::Volume;
use crate::error::Error;
use crate::model::commit::Commit;
use std::io;

/// The newest file of the log whose first record is durable.
#[derive(Clone, PartialEq, Debug)]
pub struct Head {
    /// Its name.
    pub name: String,
    /// Its first record.
    pub begin: LogBegin,
}

/// A file of the log and how much of it counts; none: all that can be read.
#[derive(Clone, PartialEq, Debug)]
pub struct Link {
    /// Its first record.
    pub begin: LogBegin,
    /// Bytes that count.
    pub length: Option<u64>,
}

impl Link {
    /// The name of the file.
    pub fn name(&self) -> String {
        Name::Log { incarnation: self.begin.incarnation, sequence: self.begin.sequence }.text()
    }
}

/// The newest file of the log, of incarnations before `before` if it is given. A file whose first record was never durable
/// does not count: nothing was committed in it.
pub fn find_head(volume: &dyn Volume, before: Option<u64>) -> Result<Option<Head>, Error> {
    let names = volume.list().map_err(|error| trouble("list the state folder", volume.place(""), &error))?;
    let mut logs: Vec<(Name, String)> = Vec::new();
    for text in names {
        match Name::parse(&text) {
            Some(name @ Name::Log { incarnation, .. }) if before.is_none_or(|before| incarnation < before) => {
                logs.push((name, text));
            }
            _ => {}
        }
    }
    logs.sort();
    for (_, name) in logs.into_iter().rev() {
        let mut frames = Frames::open(volume, &name, 0, None)?;
        match frames.read()? {
            Next::Frame(frame) => {
                let begin = read_begin(&frame, &name, volume)?;
                return Ok(Some(Head { name, begin }));
            }
            Next::Bad(found) if frames.was_durable()? => return Err(damaged(frames.place(), frames.at(), found)),
            Next::Bad(_) | Next::End => {}
        }
    }
    Ok(None)
}

/// A file of the log by its name.
pub fn head_of(volume: &dyn Volume, name: &str) -> Result<Head, Error> {
    let mut frames = Frames::open(volume, name, 0, None)?;
    match frames.read()? {
        Next::Frame(frame) => Ok(Head { name: name.to_owned(), begin: read_begin(&frame, name, volume)? }),
        Next::Bad(found) => Err(damaged(frames.place(), 0, found)),
        Next::End => Err(damaged(frames.place(), 0, "the file is empty")),
    }
}

fn read_begin(frame: &Frame, name: &str, volume: &dyn Volume) -> Result<LogBegin, Error> {
    let place = volume.place(name);
    if frame.kind != Kind::LogBegin {
        return Err(damaged(place, 0, format!("it begins with a record of kind {:?}", frame.kind)));
    }
    let begin: LogBegin = frame.json(&place)?;
    let own = Name::Log { incarnation: begin.incarnation, sequence: begin.sequence }.text();
    if own != name {
        return Err(damaged(place, 0, format!("it was written as {own}: was it renamed?")));
    }
    Ok(begin)
}

/// Whether a whole record stands at `offset`.
pub fn has_record_at(volume: &dyn Volume, name: &str, offset: u64) -> Result<bool, Error> {
    Ok(matches!(Frames::open(volume, name, offset, None)?.read()?, Next::Frame(_)))
}

/// The files that lead to one, the newest first.
#[derive(Default, Debug)]
pub struct Chain {
    /// As far back as they can be read.
    pub links: Vec<Link>,
    /// Why it ends where it does, if that is not the beginning of the job. It is no error: the older files are removed, and
    /// a process that slept through that may have made one of them anew.
    pub broken: Option<String>,
}

/// Follows the log back from `head`.
pub fn walk(volume: &dyn Volume, head: Head, length: Option<u64>) -> Result<Chain, Error> {
    let uid = head.begin.job.uid.clone();
    let mut chain = Chain { links: vec![Link { begin: head.begin, length }], broken: None };
    while let Some(previous) = chain.links.last().and_then(|link| link.begin.previous.clone()) {
        let name = previous.name();
        let mut frames = match volume.length(&name) {
            Ok(_) => Frames::open(volume, &name, 0, None)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                chain.broken = Some(format!("{} is not there", volume.place(&name)));
                break;
            }
            Err(error) => return Err(trouble("read", volume.place(&name), &error)),
        };
        let Next::Frame(frame) = frames.read()? else {
            chain.broken = Some(format!("{} does not begin with a record", volume.place(&name)));
            break;
        };
        let begin = read_begin(&frame, &name, volume)?;
        if begin.job.uid != uid {
            let message = format!("belongs to job {}, what follows it to job {uid}", begin.job.uid);
            let hint = "were files of two state folders put together?";
            return Err(Error::refused(volume.place(&name), message).with_hint(hint));
        }
        chain.links.push(Link { begin, length: Some(previous.length) });
    }
    Ok(chain)
}

/// What was read from a file of the log.
#[derive(Default, Debug)]
pub struct Records {
    /// Its ticks.
    pub commits: Vec<Commit>,
    /// Whether the run is complete.
    pub complete: bool,
    /// Bytes of the file that count.
    pub length: u64,
    /// Bytes read.
    pub bytes_read: u64,
}

/// Reads a file of the log from `from` on, which is the beginning of a record. A torn end is left out when it is not known
/// how much of the file counts.
pub fn read(volume: &dyn Volume, link: &Link, from: u64) -> Result<Records, Error> {
    let name = link.name();
    let mut frames = Frames::open(volume, &name, from, link.length)?;
    let place = frames.place();
    let mut records = Records::default();
    loop {
        match frames.read()? {
            Next::Frame(frame) => match frame.kind {
                Kind::LogBegin if frame.at == 0 => {}
                Kind::Commit => records.commits.push(frame.json(&place)?),
                Kind::Complete => records.complete = true,
                other => return Err(damaged(place, frame.at, format!("a record of kind {other:?} in a tick log"))),
            },
            Next::End if link.length.is_none_or(|length| length == frames.at()) => break,
            Next::End => {
                let missing = format!("the file ends here, {} bytes of it were committed", link.length.unwrap_or_default());
                return Err(damaged(place, frames.at(), missing));
            }
            Next::Bad(found) if link.length.is_some() || frames.was_durable()? => {
                return Err(damaged(place, frames.at(), found));
            }
            Next::Bad(_) => break,
        }
    }
    records.length = frames.at();
    records.bytes_read = frames.bytes_read();
    Ok(records)
}
