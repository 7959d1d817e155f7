//! The manifest of a snapshot: everything about it but the saved bytes, and where those stand.
//!
//! It is a head in JSON and a table of [`Place`]s, each a record with a checksum, in one file that is moved into place as
//! a whole. State that has not changed is not written again: the table refers to where it stands, in an older segment.

use crate::checkpoint::frame::{self, Frames, Kind, Next};
use crate::checkpoint::log::Position;
use crate::checkpoint::names::Name;
use crate::checkpoint::problem::damaged;
use crate::checkpoint::segment::{Place, Segment};
use crate::checkpoint::volume::Volume;
use crate::error::Error;
use crate::model::commit::{JobRecord, StepRecord};
use crate::model::control::{Counts, Tick};
use crate::state::Scope;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How far a file has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileEnd {
    /// Name of the sink.
    pub sink: String,
    /// The file.
    pub path: String,
    /// Its length.
    pub end: u64,
}

/// What a snapshot cost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Scopes that were written.
    pub written: u64,
    /// Their bytes.
    pub written_bytes: u64,
    /// Scopes that had not changed and were not written.
    pub unchanged: u64,
}

/// A file that a manifest refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InUse {
    /// Its name.
    pub file: String,
    /// Bytes that are referred to.
    pub live: u64,
    /// Bytes up to the end of the last of them, as far as is known.
    pub total: u64,
}

/// A snapshot.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The tick after which.
    pub tick: Tick,
    /// Who took it.
    pub incarnation: u64,
    /// The place in the log behind that tick.
    pub position: Position,
    /// The time at which it was taken, ms.
    pub time: i64,
    /// What was counted in all ticks up to it.
    pub counts: Counts,
    /// Files and their ends after it, by path.
    pub files: Vec<FileEnd>,
    /// Steps, as the table numbers them.
    pub steps: Vec<StepRecord>,
    /// Segments, as the table numbers them, with their bytes.
    pub segments: Vec<(String, u64)>,
    /// What it cost.
    pub cost: Cost,
    /// The job.
    pub job: JobRecord,
    /// Where everything stands, by step and scope.
    #[serde(skip)]
    pub places: Vec<Place>,
}

impl Manifest {
    /// The name of its file.
    pub fn name(&self) -> String {
        Name::Manifest { tick: self.tick, incarnation: self.incarnation }.text()
    }

    /// Where the saved state of a scope of a step stands; none: nothing is remembered.
    pub fn place(&self, step: &str, scope: Scope) -> Option<&Place> {
        let step = self.steps.iter().position(|record| record.step == step)? as u16;
        let at = self.places.binary_search_by(|place| place.key().cmp(&(step, scope))).ok()?;
        Some(&self.places[at])
    }

    /// The segments that it refers to.
    pub fn files_in_use(&self) -> Vec<InUse> {
        let mut files: Vec<InUse> =
            self.segments.iter().map(|(file, total)| InUse { file: file.clone(), live: 0, total: *total }).collect();
        for place in &self.places {
            files[place.file as usize].live += u64::from(place.length);
        }
        files
    }

    /// Steps and scopes whose bytes should be written again though they have not changed: they are all that is left of
    /// segments of which at most `percent` is still referred to.
    pub fn worth_moving(&self, percent: u64) -> Vec<(&str, Scope)> {
        let sparse: Vec<bool> = self.files_in_use().iter().map(|file| file.live * 100 <= file.total * percent).collect();
        let moving = self.places.iter().filter(|place| sparse[place.file as usize]);
        moving.map(|place| (self.steps[place.step as usize].step.as_str(), place.scope())).collect()
    }

    /// The same without what is stored of some steps.
    pub(super) fn without(&self, dropped: &BTreeSet<String>) -> Manifest {
        let mut manifest = self.clone();
        manifest.places.retain(|place| !dropped.contains(&self.steps[place.step as usize].step));
        manifest
    }

    /// Takes in what was saved for this snapshot; what `previous` has and nobody has saved anew stays where it stands,
    /// but for that of steps that are gone or have another kind or version of state now.
    pub(super) fn fill(&mut self, previous: Option<&Manifest>, saved: &[Segment]) {
        let mut files = FileTable::default();
        let mut places: BTreeMap<(u16, Scope), Place> = BTreeMap::new();
        let mut inherited = vec![false; self.steps.len()];
        if let Some(previous) = previous {
            let to: Vec<Option<u16>> = previous.steps.iter().map(|step| position_of(&self.steps, step)).collect();
            for place in &previous.places {
                let Some(step) = to[place.step as usize] else { continue };
                let (file, bytes) = &previous.segments[place.file as usize];
                let moved = Place { step, file: files.number(file, *bytes), ..*place };
                places.insert(moved.key(), moved);
            }
        }
        let mut cost = Cost::default();
        for segment in saved {
            cost.unchanged += segment.unchanged;
            for place in &segment.places {
                cost.written += 1;
                cost.written_bytes += u64::from(place.length);
                let file = files.number(&segment.file, place.offset + u64::from(place.length));
                match place.length {
                    0 => places.remove(&place.key()),
                    _ => places.insert(place.key(), Place { file, ..*place }),
                };
            }
        }
        let current: Vec<&str> = saved.iter().map(|segment| segment.file.as_str()).collect();
        for place in places.values() {
            inherited[place.step as usize] |= !current.contains(&files.names[place.file as usize].0.as_str());
        }
        self.keep_shapes(previous, &inherited);
        self.cost = cost;
        self.places = places.into_values().collect();
        self.segments = files.names;
        self.drop_unused_segments();
    }

    /// Bytes that were saved under an earlier shape may hold parts that the shape of now does not name: they stay named.
    fn keep_shapes(&mut self, previous: Option<&Manifest>, inherited: &[bool]) {
        for (step, _) in self.steps.iter_mut().zip(inherited).filter(|(_, inherited)| **inherited) {
            let before = previous.and_then(|previous| previous.steps.iter().find(|before| before.step == step.step));
            let name = |part: &str| part.split_once(": ").map(|(name, _)| name.to_owned());
            for part in before.map_or("", |before| before.shape.as_str()).split("; ").filter(|part| !part.is_empty()) {
                if !step.shape.split("; ").any(|own| name(own) == name(part)) {
                    step.shape = if step.shape.is_empty() { part.to_owned() } else { format!("{}; {part}", step.shape) };
                }
            }
        }
    }

    fn drop_unused_segments(&mut self) {
        let mut files = FileTable::default();
        for place in &mut self.places {
            let (name, bytes) = &self.segments[place.file as usize];
            place.file = files.number(name, *bytes);
        }
        self.segments = files.names;
    }

    /// The content of the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        frame::push_json(Kind::Manifest, 0, self, &mut bytes)?;
        frame::push(Kind::Table, 0, &[bytemuck::cast_slice(&self.places)], &mut bytes);
        Ok(bytes)
    }

    /// Reads a manifest. The outer error is trouble with the folder or a format of a later version, the inner one damage.
    pub fn read(volume: &dyn Volume, name: &str) -> Result<Result<Manifest, Error>, Error> {
        let mut frames = Frames::open(volume, name, 0, None)?;
        let place = frames.place();
        let mut frame = |wanted: Kind| -> Result<Result<_, Error>, Error> {
            let at = frames.at();
            Ok(match frames.read()? {
                Next::Frame(frame) if frame.kind == wanted => Ok(frame),
                Next::Frame(frame) => Err(damaged(&place, at, format!("a record of kind {:?} in a manifest", frame.kind))),
                Next::Bad(found) => Err(damaged(&place, at, found)),
                Next::End => Err(damaged(&place, at, "the file ends too early")),
            })
        };
        let (head, table) = match (frame(Kind::Manifest)?, frame(Kind::Table)?) {
            (Ok(head), Ok(table)) => (head, table),
            (Err(damage), _) | (_, Err(damage)) => return Ok(Err(damage)),
        };
        let manifest = match head.json::<Manifest>(&place) {
            Ok(manifest) => manifest,
            Err(damage) => return Ok(Err(damage)),
        };
        let whole = table.payload.len() % size_of::<Place>() == 0;
        let places: Vec<Place> = if whole { bytemuck::pod_collect_to_vec(&table.payload) } else { Vec::new() };
        let is_valid = |place: &Place| {
            place.is_valid()
                && (place.step as usize) < manifest.steps.len()
                && (place.file as usize) < manifest.segments.len()
        };
        if !whole || !places.iter().all(is_valid) || !places.is_sorted_by_key(Place::key) || manifest.name() != name {
            return Ok(Err(damaged(place, table.at, "its table does not fit its head, or it was renamed")));
        }
        Ok(Ok(Manifest { places, ..manifest }))
    }

    /// Fails when it belongs to another job than `uid`.
    pub fn refuse_other_job(&self, place: &str, uid: &str) -> Result<(), Error> {
        if self.job.uid == uid {
            return Ok(());
        }
        let message = format!("belongs to job {}, the log to job {uid}", self.job.uid);
        Err(Error::refused(place, message).with_hint("were files of two state folders put together?"))
    }
}

fn position_of(steps: &[StepRecord], before: &StepRecord) -> Option<u16> {
    let same = |step: &StepRecord| step.step == before.step && step.kind == before.kind && step.version == before.version;
    steps.iter().position(same).map(|at| at as u16)
}

/// Numbers files.
#[derive(Default)]
struct FileTable {
    names: Vec<(String, u64)>,
    by_name: BTreeMap<String, u32>,
}

impl FileTable {
    /// The number of a file that has at least so many bytes.
    fn number(&mut self, name: &str, bytes: u64) -> u32 {
        let number = match self.by_name.get(name) {
            Some(number) => *number,
            None => {
                let number = self.names.len() as u32;
                self.names.push((name.to_owned(), 0));
                self.by_name.insert(name.to_owned(), number);
                number
            }
        };
        let known = &mut self.names[number as usize].1;
        *known = (*known).max(bytes);
        number
    }
}
