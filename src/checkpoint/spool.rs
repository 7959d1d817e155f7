//! The spool: lines of ticks, durable before their tick is committed.
//!
//! Each process writes its own files, `spool-<incarnation>-<process>-<sequence>`. A chunk counts when its tick was committed
//! by the incarnation that wrote it. The first record of a file says which ticks all files before it hold at most, so that
//! those that are no longer needed are known by it.

use crate::checkpoint::frame::{self, Frame, Frames, Kind, Next};
use crate::checkpoint::names::Name;
use crate::checkpoint::problem::{damaged, trouble};
use crate::checkpoint::volume::{Appender, Volume};
use crate::error::Error;
use crate::fault;
use crate::model::control::Tick;
use crate::state::{Corrupt, Reader, Writer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first record of a file of the spool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpoolBegin {
    /// The job.
    pub uid: String,
    /// Who writes it.
    pub incarnation: u64,
    /// The process.
    pub process: u32,
    /// Number among the files of the process.
    pub sequence: u32,
    /// The highest tick in the files before it; none when they are empty.
    pub newest: Option<Tick>,
}

/// The spool of a process, open for appending. An error is final.
pub struct Spool {
    volume: Arc<dyn Volume>,
    begin: SpoolBegin,
    file: Box<dyn Appender>,
    place: String,
    newest: Option<Tick>,
    /// Records that are not handed to the file yet.
    buffer: Vec<u8>,
}

/// Bytes that are handed to the file at a time.
const STEP: usize = 1 << 20;

impl Spool {
    /// Creates the spool of `process`.
    pub fn create(volume: Arc<dyn Volume>, uid: &str, incarnation: u64, process: u32) -> Result<Spool, Error> {
        Spool::open(volume, SpoolBegin { uid: uid.to_owned(), incarnation, process, sequence: 0, newest: None })
    }

    fn open(volume: Arc<dyn Volume>, begin: SpoolBegin) -> Result<Spool, Error> {
        fault::point("spool.create.before");
        let SpoolBegin { incarnation, process, sequence, newest, .. } = begin;
        let name = Name::Spool { incarnation, process, sequence }.text();
        let place = volume.place(&name);
        let file = volume.create(&name).map_err(|error| trouble("create the spool", &place, &error))?;
        fault::point("spool.create.after");
        let mut buffer = Vec::new();
        frame::push_json(Kind::SpoolBegin, 0, &begin, &mut buffer)?;
        let mut spool = Spool { volume, begin, file, place, newest, buffer };
        spool.flush()?;
        Ok(spool)
    }

    /// Appends lines of `tick` that are meant for the file `path`, where they begin at `offset`. `parts` stand one
    /// behind the other.
    pub fn append(&mut self, tick: Tick, path: &str, offset: u64, parts: &[&[u8]]) -> Result<(), Error> {
        let mut head = Writer::default();
        head.value(tick);
        head.value(offset);
        head.column(path.as_bytes());
        let mut all = vec![head.bytes()];
        all.extend_from_slice(parts);
        frame::push(Kind::Chunk, 0, &all, &mut self.buffer);
        self.newest = self.newest.max(Some(tick));
        if self.buffer.len() >= STEP {
            self.flush()?;
        }
        Ok(())
    }

    /// Makes everything so far durable: the ticks may be committed.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        fault::point("spool.sync.before");
        self.file.sync().map_err(|error| trouble("write the spool", &self.place, &error))?;
        fault::point("spool.sync.after");
        Ok(())
    }

    /// Goes on in a new file, so that what stands in this one can be removed some day.
    pub fn rotate(&mut self) -> Result<(), Error> {
        self.sync()?;
        let begin = SpoolBegin { sequence: self.begin.sequence + 1, newest: self.newest, ..self.begin.clone() };
        *self = Spool::open(self.volume.clone(), begin)?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if !self.buffer.is_empty() {
            fault::point("spool.append.before");
            self.file.append(&self.buffer).map_err(|error| trouble("write the spool", &self.place, &error))?;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// Where lines stand in a spool.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Chunk {
    /// Where they begin in the file that they are meant for.
    offset: u64,
    length: u64,
    /// The spool file, and where they begin in it.
    file: String,
    from: u64,
}

/// Where everything stands in the spools of a state folder.
#[derive(Default, Debug)]
pub struct SpoolIndex {
    /// By incarnation, tick and path.
    chunks: BTreeMap<(u64, Tick, String), Vec<Chunk>>,
    /// Where a spool ends in something that is no record.
    torn: Vec<String>,
}

impl SpoolIndex {
    /// Reads the spools of a job.
    pub fn read(volume: &dyn Volume, uid: &str) -> Result<SpoolIndex, Error> {
        let names = volume.list().map_err(|error| trouble("list the state folder", volume.place(""), &error))?;
        let mut index = SpoolIndex::default();
        for name in names {
            if let Some(Name::Spool { incarnation, .. }) = Name::parse(&name) {
                index.add(volume, &name, incarnation, uid)?;
            }
        }
        index.chunks.values_mut().for_each(|chunks| chunks.sort());
        Ok(index)
    }

    fn add(&mut self, volume: &dyn Volume, name: &str, incarnation: u64, uid: &str) -> Result<(), Error> {
        let mut frames = Frames::open(volume, name, 0, None)?;
        let place = frames.place();
        loop {
            match frames.read()? {
                Next::Frame(frame) if frame.kind == Kind::SpoolBegin => {
                    let begin: SpoolBegin = frame.json(&place)?;
                    if begin.uid != uid {
                        let message = format!("belongs to job {}, the log to job {uid}", begin.uid);
                        let hint = "were files of two state folders put together?";
                        return Err(Error::refused(place, message).with_hint(hint));
                    }
                }
                Next::Frame(frame) if frame.kind == Kind::Chunk => {
                    let (tick, path, chunk) = chunk(&frame, name).map_err(|error| damaged(&place, frame.at, error))?;
                    self.chunks.entry((incarnation, tick, path)).or_default().push(chunk);
                }
                Next::Frame(frame) => {
                    return Err(damaged(place, frame.at, format!("a record of kind {:?} in a spool", frame.kind)));
                }
                Next::Bad(found) => {
                    self.torn.push(format!("{place} from byte {} on ({found})", frames.at()));
                    return Ok(());
                }
                Next::End => return Ok(()),
            }
        }
    }

    /// The lines of a tick for a file, from `offset` on, as many bytes as there are without a gap. They are those that the
    /// spool's checksums have covered, but are to be compared with the tick's record all the same.
    pub fn lines(
        &self,
        volume: &dyn Volume,
        incarnation: u64,
        tick: Tick,
        path: &str,
        offset: u64,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        for chunk in self.chunks.get(&(incarnation, tick, path.to_owned())).into_iter().flatten() {
            if chunk.offset != offset + bytes.len() as u64 {
                break;
            }
            let part = volume.read(&chunk.file, chunk.from, chunk.length);
            bytes.extend(part.map_err(|error| trouble("read", volume.place(&chunk.file), &error))?);
        }
        Ok(bytes)
    }

    /// Where spools end in something that is no record, for a message; empty when none does.
    pub fn torn(&self) -> String {
        self.torn.join(", ")
    }
}

fn chunk(frame: &Frame, file: &str) -> Result<(Tick, String, Chunk), Corrupt> {
    let mut from = Reader::new(&frame.payload);
    let (tick, offset) = (from.value()?, from.value()?);
    let path = String::from_utf8(from.bytes()?.to_vec()).map_err(|error| Corrupt(error.to_string()))?;
    let head = 3 * size_of::<u64>() + path.len();
    let (at, length) = (frame.at + (frame::HEADER + head) as u64, (frame.payload.len() - head) as u64);
    Ok((tick, path, Chunk { offset, length, file: file.to_owned(), from: at }))
}
