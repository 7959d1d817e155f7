//! Snapshots: the state of all steps after one tick. Each process writes a segment; a manifest says what counts.
//!
//! State that has not changed since an older snapshot is not written again: the manifest refers to where it stands.

use crate::checkpoint::frame::{self, Frame, Frames, Kind};
use crate::checkpoint::log::Position;
use crate::checkpoint::volume::{Appender, Volume};
use crate::checkpoint::{damaged, fault, unusable};
use crate::error::Error;
use crate::model::commit::{JobRecord, StepRecord};
use crate::model::control::{Counts, Tick};
use crate::state::Scope;
use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// Where the state of a step for a scope stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The step.
    pub step: Arc<str>,
    /// What it belongs to, as [`encode`] has it.
    pub scope: u64,
    /// The segment file.
    pub segment: Arc<str>,
    /// Where its bytes begin in that.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Their CRC-32.
    pub crc: u32,
}

/// A scope as a number.
pub fn encode(scope: Scope) -> u64 {
    match scope {
        Scope::Global => 0,
        Scope::Group(group) => 1 << 32 | u64::from(group),
        Scope::Partition(partition) => 2 << 32 | u64::from(partition),
    }
}

/// The scope of a number.
pub fn decode(scope: u64) -> Option<Scope> {
    match (scope >> 32, scope as u32) {
        (0, 0) => Some(Scope::Global),
        (1, group) => Some(Scope::Group(u16::try_from(group).ok()?)),
        (2, partition) => Some(Scope::Partition(partition)),
        _ => None,
    }
}

/// The name of a segment.
fn segment_name(tick: Tick, incarnation: u64, process: u32) -> String {
    format!("segment-{tick:012}-{incarnation:08}-{process:04}")
}

/// The name of a manifest.
fn manifest_name(tick: Tick, incarnation: u64) -> String {
    format!("snapshot-{tick:012}-{incarnation:08}")
}

/// Whether a file is a segment.
pub fn is_segment(name: &str) -> bool {
    name.starts_with("segment-")
}

/// The tick and incarnation of a manifest, from its name.
pub fn parse_manifest(name: &str) -> Option<(Tick, u64)> {
    let (tick, incarnation) = name.strip_prefix("snapshot-")?.split_once('-')?;
    Some((tick.parse().ok()?, incarnation.parse().ok()?))
}

/// Writes the segment of a process.
pub struct SegmentWriter {
    volume: Arc<dyn Volume>,
    name: Arc<str>,
    file: Box<dyn Appender>,
    offset: u64,
    buffer: Vec<u8>,
}

/// Bytes that are gathered before they are written.
const CHUNK: usize = 1 << 20;

impl SegmentWriter {
    /// Begins the segment of `process` for the state after `tick`.
    pub fn create(volume: Arc<dyn Volume>, tick: Tick, incarnation: u64, process: u32) -> Result<SegmentWriter, Error> {
        let name = segment_name(tick, incarnation, process);
        // Of an attempt that came to nothing in this incarnation there is none: a process that failed has ended.
        let file = volume.create(&name).map_err(|error| unusable(&*volume, &name, &error))?;
        Ok(SegmentWriter { volume, name: name.into(), file, offset: 0, buffer: Vec::new() })
    }

    /// Adds the state of a step.
    pub fn add(&mut self, step: &Arc<str>, scope: Scope, bytes: &[u8]) -> Result<Entry, Error> {
        let before = self.buffer.len() as u64;
        let scope = encode(scope);
        let length = (step.len() as u32).to_le_bytes();
        let parts: [&[u8]; 4] = [&scope.to_le_bytes(), &length, step.as_bytes(), bytes];
        frame::put(Kind::State, &parts, &mut self.buffer);
        let at = frame::HEAD + 8 + 4 + step.len();
        let offset = self.offset + before + at as u64;
        let (step, segment) = (step.clone(), self.name.clone());
        let entry = Entry { step, scope, segment, offset, length: bytes.len() as u64, crc: crc32fast::hash(bytes) };
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(entry)
    }

    fn flush(&mut self) -> Result<(), Error> {
        fault::point("segment.append.before");
        self.file.append(&self.buffer).map_err(|error| unusable(&*self.volume, &self.name, &error))?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes it durable; returns its length.
    pub fn finish(mut self) -> Result<u64, Error> {
        self.flush()?;
        fault::point("segment.sync.before");
        self.file.sync().map_err(|error| unusable(&*self.volume, &self.name, &error))?;
        fault::point("segment.sync.after");
        Ok(self.offset)
    }
}

/// What a snapshot is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The tick after which state was frozen.
    pub tick: Tick,
    /// The incarnation that took it.
    pub incarnation: u64,
    /// Where the log goes on behind the commit record of that tick.
    pub position: Position,
    /// The job.
    pub job: JobRecord,
    /// Everything that was counted until then.
    pub counts: Counts,
    /// The committed length of each output file.
    pub ends: BTreeMap<String, u64>,
    /// Steps with state.
    pub steps: Vec<StepRecord>,
    /// Pieces of state that were written, and those that had not changed.
    pub written: u64,
    /// Pieces that stand in older segments.
    pub unchanged: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// When it was taken, ms.
    pub time: i64,
    /// Segments that it refers to.
    pub segments: Vec<String>,
}

/// A row of the table behind a manifest.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Row {
    scope: u64,
    offset: u64,
    length: u64,
    step: u32,
    segment: u32,
    crc: u32,
    reserved: u32,
}

/// Makes a snapshot count. `entries` are those of all workers; those of steps that are not in `manifest.steps` are left out.
pub fn publish(volume: &dyn Volume, mut manifest: Manifest, entries: &[Entry]) -> Result<Manifest, Error> {
    let steps: BTreeMap<&str, u32> = (0..).zip(&manifest.steps).map(|(index, step)| (step.step.as_str(), index)).collect();
    let segments: BTreeSet<&str> = entries.iter().map(|entry| &*entry.segment).collect();
    let indices: BTreeMap<&str, u32> = segments.iter().zip(0..).map(|(name, index)| (*name, index)).collect();
    let row = |entry: &Entry| {
        let (step, segment) = (*steps.get(&*entry.step)?, indices[&*entry.segment]);
        let Entry { scope, offset, length, crc, .. } = *entry;
        Some(Row { scope, offset, length, step, segment, crc, reserved: 0 })
    };
    let rows: Vec<Row> = entries.iter().filter_map(row).collect();
    manifest.segments = segments.iter().map(|name| (*name).to_owned()).collect();
    let mut bytes = Vec::new();
    frame::put(Kind::Manifest, &[&serde_json::to_vec(&manifest).map_err(Error::internal)?], &mut bytes);
    frame::put(Kind::Table, &[bytemuck::cast_slice(&rows)], &mut bytes);
    let name = manifest_name(manifest.tick, manifest.incarnation);
    fault::point("manifest.before");
    volume.replace(&name, &bytes).map_err(|error| unusable(volume, &name, &error))?;
    fault::point("manifest.after");
    Ok(manifest)
}

/// A snapshot that can be read.
pub struct Snapshot {
    volume: Arc<dyn Volume>,
    name: String,
    /// What it is.
    pub manifest: Manifest,
    /// By step and scope.
    entries: BTreeMap<Arc<str>, BTreeMap<u64, Entry>>,
}

impl Snapshot {
    /// Reads a manifest.
    pub fn open(volume: Arc<dyn Volume>, name: &str) -> Result<Snapshot, Error> {
        let bytes = volume.read(name, 0, u64::MAX).map_err(|error| unusable(&*volume, name, &error))?;
        let mut frames = Frames::new(&bytes);
        let mut next = |kind: Kind| match frames.next() {
            Ok(Some(frame)) if frame.kind == kind => Ok(frame),
            Ok(other) => {
                Err(damaged(&*volume, name, format!("{:?} instead of {kind:?}", other.map(|frame: Frame| frame.kind))))
            }
            Err(fault) => Err(damaged(&*volume, name, fault)),
        };
        let (head, table) = (next(Kind::Manifest)?, next(Kind::Table)?);
        let manifest: Manifest = serde_json::from_slice(head.payload).map_err(|error| damaged(&*volume, name, error))?;
        let steps: Vec<Arc<str>> = manifest.steps.iter().map(|step| step.step.as_str().into()).collect();
        let segments: Vec<Arc<str>> = manifest.segments.iter().map(|name| name.as_str().into()).collect();
        let mut entries: BTreeMap<Arc<str>, BTreeMap<u64, Entry>> = BTreeMap::new();
        let rows: Vec<Row> = if table.payload.len().is_multiple_of(size_of::<Row>()) {
            bytemuck::allocation::pod_collect_to_vec(table.payload)
        } else {
            return Err(damaged(&*volume, name, "its table ends within a row"));
        };
        for Row { scope, offset, length, step, segment, crc, .. } in rows {
            let (Some(step), Some(segment)) = (steps.get(step as usize), segments.get(segment as usize)) else {
                return Err(damaged(&*volume, name, format!("step {step} or segment {segment} is not listed")));
            };
            let entry = Entry { step: step.clone(), scope, segment: segment.clone(), offset, length, crc };
            entries.entry(step.clone()).or_default().insert(scope, entry);
        }
        Ok(Snapshot { volume, name: name.to_owned(), manifest, entries })
    }

    /// The name of its manifest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the state of a step for a scope stands.
    pub fn entry(&self, step: &str, scope: Scope) -> Option<&Entry> {
        self.entries.get(step)?.get(&encode(scope))
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().flat_map(BTreeMap::values)
    }

    /// The state of a step for a scope.
    pub fn load(&self, step: &str, scope: Scope) -> Result<Option<Vec<u8>>, Error> {
        self.entry(step, scope).map(|entry| self.bytes_of(entry)).transpose()
    }

    /// Bytes of state in it.
    pub fn bytes(&self) -> u64 {
        self.entries().map(|entry| entry.length).sum()
    }

    fn bytes_of(&self, entry: &Entry) -> Result<Vec<u8>, Error> {
        let bytes = self.volume.read(&entry.segment, entry.offset, entry.length);
        let bytes = bytes.map_err(|error| unusable(&*self.volume, &entry.segment, &error))?;
        if bytes.len() as u64 != entry.length || crc32fast::hash(&bytes) != entry.crc {
            let message = format!("the state of step `{}` at byte {} is damaged", entry.step, entry.offset);
            return Err(damaged(&*self.volume, &entry.segment, message));
        }
        Ok(bytes)
    }

    /// Reads everything that it refers to.
    pub fn verify(&self) -> Result<(), Error> {
        self.entries().try_for_each(|entry| self.bytes_of(entry).map(drop))
    }
}

/// The manifests of a folder, oldest first.
pub fn manifests(volume: &dyn Volume) -> io::Result<Vec<String>> {
    Ok(volume.list()?.into_iter().filter(|name| parse_manifest(name).is_some()).collect())
}
