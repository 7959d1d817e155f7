//! What a start from stored state knows of the archive: which rows are in objects already, and how long to cut nothing.
//!
//! A cut holds the rows of a kind, a day and some key groups that came up to its tick and are in no object before it. Cuts of
//! one worker are stored one after the other, in their order. So when the object of a committed cut is there, all those rows
//! are in objects, and none of them must be archived again. When it is not there, it is as if it had never been cut.

use crate::connectors::archive::cut::Kind;
use crate::model::commit::ArchiveCut;
use crate::model::control::Tick;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// What the archive of a kind is told at its start.
pub struct Recovered {
    /// Committed cuts of ticks after the snapshot whose objects are there.
    stored: Vec<ArchiveCut>,
    /// The last tick that is replayed.
    replayed: Option<Tick>,
    exists: Box<dyn Fn(&str) -> bool>,
    asked: RefCell<BTreeMap<String, bool>>,
}

impl Default for Recovered {
    /// A start from nothing.
    fn default() -> Recovered {
        Recovered::new(&[], None, Box::new(|_| false))
    }
}

impl Recovered {
    /// `committed`: the cuts of the ticks after the snapshot that concern this worker. `replayed`: the last recorded tick.
    /// `exists`: whether there is an object of this name; it is asked once for each.
    pub fn new(committed: &[ArchiveCut], replayed: Option<Tick>, exists: Box<dyn Fn(&str) -> bool>) -> Recovered {
        let stored = committed.iter().filter(|cut| exists(&cut.name)).cloned().collect();
        Recovered { stored, replayed, exists, asked: RefCell::default() }
    }

    /// Whether a tick is replayed: its cuts are committed.
    pub fn is_replay(&self, tick: Tick) -> bool {
        self.replayed.is_some_and(|last| tick <= last)
    }

    /// The key groups whose rows of a kind and day that came in `tick` are in objects.
    pub fn stored(&self, (kind, day): (Kind, i64), tick: Tick) -> Vec<[u16; 2]> {
        let holds = |cut: &&ArchiveCut| cut.kind == kind.name() && cut.day == day && tick <= cut.through;
        self.stored.iter().filter(holds).map(|cut| cut.groups).collect()
    }

    /// Whether there is an object of this name.
    pub fn exists(&self, name: &str) -> bool {
        if let Some(known) = self.asked.borrow().get(name) {
            return *known;
        }
        let exists = (self.exists)(name);
        self.asked.borrow_mut().insert(name.to_owned(), exists);
        exists
    }
}

/// Whether one of these ranges holds a key group.
pub fn holds(ranges: &[[u16; 2]], group: u16) -> bool {
    ranges.iter().any(|[first, end]| (*first..*end).contains(&group))
}

/// Names of objects that a worker has cut and that are not known to be stored. Who cuts adds them, who uploads takes them
/// away.
#[derive(Default, Debug)]
pub struct OnTheWay(RefCell<BTreeSet<String>>);

impl OnTheWay {
    /// An object is cut.
    pub fn add(&self, name: &str) {
        self.0.borrow_mut().insert(name.to_owned());
    }

    /// An object is stored.
    pub fn remove(&self, name: &str) {
        self.0.borrow_mut().remove(name);
    }

    /// Whether an object is cut and not known to be stored.
    pub fn holds(&self, name: &str) -> bool {
        self.0.borrow().contains(name)
    }
}
