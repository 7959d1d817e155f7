//! What is stored, for dataflows that are built to be looked at.

use crate::checkpoint::Snapshot;
use crate::checkpoint::segment::hash;
use crate::drivers::snapshot::{Piece, Saved, Vault};
use crate::error::Error;
use crate::model::commit::StepRecord;
use crate::model::control::Tick;
use crate::state::Scope;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use timely::scheduling::SyncActivator;

/// Knows which steps are stored, but nothing of what they hold: enough to tell whether they fit.
pub(in crate::runtime) struct Kinds(pub(in crate::runtime) Vec<StepRecord>);

impl Vault for Kinds {
    fn has_room(&self) -> bool {
        true
    }

    fn put(&self, _: Piece) {}

    fn end(&self, _: Tick, _: usize, _: Vec<PathBuf>, _: SyncActivator) {}

    fn ended(&self, _: usize) -> Option<Saved> {
        None
    }

    fn load(&self, _: &str, _: Scope) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }

    fn steps(&self) -> &[StepRecord] {
        &self.0
    }
}

/// Hands out what a snapshot holds and compares what comes back with it.
pub(in crate::runtime) struct Comparing {
    snapshot: Snapshot,
    compared: Mutex<BTreeMap<Arc<str>, Compared>>,
}

/// What came back of a step.
#[derive(Clone, Default, Debug)]
pub(in crate::runtime) struct Compared {
    /// Those that came back otherwise than they are stored.
    pub(in crate::runtime) different: Vec<Scope>,
}

impl Comparing {
    pub(in crate::runtime) fn new(snapshot: Snapshot) -> Comparing {
        Comparing { snapshot, compared: Mutex::default() }
    }

    /// What has come back since this was last asked, by step.
    pub(in crate::runtime) fn take(&self) -> BTreeMap<Arc<str>, Compared> {
        std::mem::take(&mut self.compared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Vault for Comparing {
    fn has_room(&self) -> bool {
        true
    }

    fn put(&self, piece: Piece) {
        let bytes = piece.bytes.unwrap_or_default();
        let place = self.snapshot.manifest.place(&piece.step, piece.scope);
        let is_same = match place {
            Some(place) => bytes.len() == place.length as usize && hash(&bytes) == place.hash,
            None => bytes.is_empty(),
        };
        let mut compared = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        let of = compared.entry(piece.step).or_default();
        if !is_same {
            of.different.push(piece.scope);
        }
    }

    fn end(&self, _: Tick, _: usize, _: Vec<PathBuf>, _: SyncActivator) {}

    fn ended(&self, _: usize) -> Option<Saved> {
        None
    }

    fn load(&self, step: &str, scope: Scope) -> Result<Option<Vec<u8>>, Error> {
        self.snapshot.bytes(step, scope)
    }

    fn steps(&self) -> &[StepRecord] {
        &self.snapshot.manifest.steps
    }

    fn wants_back(&self) -> bool {
        true
    }
}
