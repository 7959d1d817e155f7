//! Segments: the bytes that the steps of one process have saved after one tick.
//!
//! A segment is a record that says whose it is, and behind it bytes without any structure. What stands where is told by
//! [`Segment`], which travels to the process that writes the manifest.

use crate::checkpoint::frame::{self, Kind};
use crate::checkpoint::names::Name;
use crate::checkpoint::problem::trouble;
use crate::checkpoint::volume::{Appender, Volume};
use crate::codec::id::murmur3;
use crate::error::Error;
use crate::fault;
use crate::model::control::Tick;
use crate::state::{Corrupt, Reader, Scope, Writer};
use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The first record of a segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SegmentBegin {
    /// The job.
    pub uid: String,
    /// The tick after which.
    pub tick: Tick,
    /// Who writes it.
    pub incarnation: u64,
    /// The process.
    pub process: u32,
}

/// Where the saved state of one scope of one step stands. 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable, Debug)]
pub struct Place {
    /// Bytes into the file.
    pub offset: u64,
    /// Hash of the bytes.
    pub hash: u64,
    /// Number of bytes; 0: nothing is remembered of that scope.
    pub length: u32,
    /// The step, by its place among those with state.
    pub step: u16,
    /// 0: a key group, 1: a partition, 2: the job.
    pub(super) kind: u16,
    /// The group or the partition.
    pub(super) index: u32,
    /// The file, by its place among those of the manifest; 0 in a [`Segment`].
    pub file: u32,
}

impl Place {
    /// What it belongs to.
    pub fn scope(&self) -> Scope {
        match self.kind {
            0 => Scope::Group(self.index as u16),
            1 => Scope::Partition(self.index),
            _ => Scope::Global,
        }
    }

    /// What sorts places: step, then scope.
    pub fn key(&self) -> (u16, Scope) {
        (self.step, self.scope())
    }

    pub(super) fn is_valid(&self) -> bool {
        match self.kind {
            0 => self.index <= u32::from(u16::MAX),
            kind => kind <= 2,
        }
    }
}

fn code(scope: Scope) -> (u16, u32) {
    match scope {
        Scope::Group(group) => (0, u32::from(group)),
        Scope::Partition(partition) => (1, partition),
        Scope::Global => (2, 0),
    }
}

/// The hash of saved bytes.
pub fn hash(bytes: &[u8]) -> u64 {
    murmur3(bytes, 0)[0]
}

/// What stands in a segment, or that part of it which one worker has saved.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Segment {
    /// Name of the file.
    pub file: String,
    /// Where everything stands, in the order in which it was saved.
    pub places: Vec<Place>,
    /// Scopes that were not saved since they had not changed.
    pub unchanged: u64,
}

impl Segment {
    /// The same as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.column(self.file.as_bytes());
        out.column(&self.places);
        out.value(self.unchanged);
        out.into_bytes()
    }

    /// Takes over what [`Segment::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Segment, Corrupt> {
        let mut from = Reader::new(bytes);
        let file = String::from_utf8(from.column()?).map_err(|error| Corrupt(error.to_string()))?;
        let segment = Segment { file, places: from.column()?, unchanged: from.value()? };
        from.finish()?;
        Ok(segment)
    }
}

/// Writes the segment of a process.
pub struct SegmentWriter {
    place: String,
    name: String,
    file: Box<dyn Appender>,
    end: u64,
    /// Bytes that are not handed to the file yet.
    buffer: Vec<u8>,
}

/// Bytes that are handed to the file at a time.
const CHUNK: usize = 1 << 20;

impl SegmentWriter {
    /// Creates the segment of `process` for the snapshot after `tick`.
    pub fn create(
        volume: &Arc<dyn Volume>,
        uid: &str,
        tick: Tick,
        incarnation: u64,
        process: u32,
    ) -> Result<SegmentWriter, Error> {
        fault::point("segment.create.before");
        let name = Name::Segment { tick, incarnation, process }.text();
        let place = volume.place(&name);
        let file = volume.create(&name).map_err(|error| trouble("create a segment", &place, &error))?;
        fault::point("segment.create.after");
        let begin = SegmentBegin { uid: uid.to_owned(), tick, incarnation, process };
        let mut buffer = Vec::new();
        frame::push_json(Kind::SegmentBegin, 0, &begin, &mut buffer)?;
        Ok(SegmentWriter { place, name, file, end: buffer.len() as u64, buffer })
    }

    /// The name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes what step number `step` has saved of `scope`. Fails when it is 4 GiB or more.
    pub fn add(&mut self, step: u32, scope: Scope, bytes: &[u8]) -> Result<Place, Error> {
        let too_large = || {
            let message = format!("step {step} has {} bytes of state for {scope:?}, the most is 4 GiB", bytes.len());
            Error::output(&self.place, message)
        };
        let length = u32::try_from(bytes.len()).map_err(|_| too_large())?;
        let step = u16::try_from(step).map_err(|_| Error::internal(format!("step number {step}")))?;
        let (kind, index) = code(scope);
        let place = Place { offset: self.end, hash: hash(bytes), length, step, kind, index, file: 0 };
        self.buffer.extend_from_slice(bytes);
        self.end += u64::from(length);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(place)
    }

    /// Makes everything so far durable. More may follow.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        fault::point("segment.sync.before");
        self.file.sync().map_err(|error| trouble("write a segment", &self.place, &error))?;
        fault::point("segment.sync.after");
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if !self.buffer.is_empty() {
            fault::point("segment.append.before");
            self.file.append(&self.buffer).map_err(|error| trouble("write a segment", &self.place, &error))?;
            self.buffer.clear();
        }
        Ok(())
    }
}
