//! A snapshot that can be read.

use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::names::Name;
use crate::checkpoint::problem::{damaged, trouble};
use crate::checkpoint::segment::{Place, hash};
use crate::checkpoint::volume::Volume;
use crate::error::Error;
use crate::model::control::Tick;
use crate::state::Scope;
use std::fmt;
use std::sync::Arc;

/// A snapshot in a state folder. May be shared by threads.
#[derive(Clone)]
pub struct Snapshot {
    /// What is known of it.
    pub manifest: Manifest,
    volume: Arc<dyn Volume>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        self.manifest.fmt(out)
    }
}

/// Bytes that [`Snapshot::verify`] reads at a time, at most: unless one scope has more.
const RUN: u64 = 4 << 20;

impl Snapshot {
    /// Opens the snapshot after `tick` of `incarnation`. The outer error is trouble with the folder or a format of a later
    /// version, the inner one damage.
    pub fn open(volume: &Arc<dyn Volume>, tick: Tick, incarnation: u64) -> Result<Result<Snapshot, Error>, Error> {
        let manifest = Manifest::read(&**volume, &Name::Manifest { tick, incarnation }.text())?;
        Ok(manifest.map(|manifest| Snapshot { manifest, volume: volume.clone() }))
    }

    /// What `step` had saved of `scope`; none: nothing is remembered. Fails when the bytes are not those that were saved.
    pub fn bytes(&self, step: &str, scope: Scope) -> Result<Option<Vec<u8>>, Error> {
        let Some(place) = self.manifest.place(step, scope) else { return Ok(None) };
        let name = &self.manifest.segments[place.file as usize].0;
        let bytes = self.volume.read(name, place.offset, u64::from(place.length));
        let bytes = bytes.map_err(|error| trouble("read", self.volume.place(name), &error))?;
        self.check(place, &bytes)?;
        Ok(Some(bytes))
    }

    /// Reads everything and returns how many bytes that are. The outer error is trouble with the folder, the inner one
    /// damage.
    pub fn verify(&self) -> Result<Result<u64, Error>, Error> {
        let mut places: Vec<&Place> = self.manifest.places.iter().collect();
        places.sort_by_key(|place| (place.file, place.offset));
        let (mut total, mut rest) = (0, &places[..]);
        while let Some(first) = rest.first() {
            let within =
                |place: &&Place| place.file == first.file && place.offset + u64::from(place.length) <= first.offset + RUN;
            let count = rest.iter().take_while(|place| within(place)).count().max(1);
            let (run, more) = rest.split_at(count);
            let end = run.iter().map(|place| place.offset + u64::from(place.length)).max().unwrap_or(first.offset);
            let name = &self.manifest.segments[first.file as usize].0;
            let bytes = match self.volume.read(name, first.offset, end - first.offset) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(Err(damaged(self.volume.place(name), 0, "the file is not there")));
                }
                Err(error) => return Err(trouble("read", self.volume.place(name), &error)),
            };
            for place in run {
                let from = (place.offset - first.offset) as usize;
                let own = bytes.get(from..from + place.length as usize).unwrap_or_default();
                if let Err(damage) = self.check(place, own) {
                    return Ok(Err(damage));
                }
            }
            total += bytes.len() as u64;
            rest = more;
        }
        Ok(Ok(total))
    }

    fn check(&self, place: &Place, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() == place.length as usize && hash(bytes) == place.hash {
            return Ok(());
        }
        let name = &self.manifest.segments[place.file as usize].0;
        let step = &self.manifest.steps[place.step as usize].step;
        let found = format!("the state of step `{step}` for {:?} is not as it was saved", place.scope());
        Err(damaged(self.volume.place(name), place.offset, found))
    }
}
