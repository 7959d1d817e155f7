//! Snapshots as the engine takes them, for tests of whatever has state: only key groups that have changed are saved anew.

use crate::model::meter::GROUPS;
use crate::state::{Reader, Scope, State, Writer};
use std::collections::BTreeMap;
use std::ops::Range;

/// What stands in the last snapshot.
#[derive(Clone, Default, Debug)]
pub struct Incremental {
    stored: BTreeMap<Scope, Vec<u8>>,
}

impl Incremental {
    /// Saves what has changed and returns how many key groups that are.
    ///
    /// # Panics
    /// When a group that has not changed would now be saved otherwise than it was.
    pub fn snapshot<S: State + ?Sized>(&mut self, state: &mut S) -> usize {
        self.snapshot_of(state, 0..GROUPS as u16)
    }

    /// The same for the groups that a worker owns.
    pub fn snapshot_of<S: State + ?Sized>(&mut self, state: &mut S, groups: Range<u16>) -> usize {
        let saved = |scope| {
            let mut out = Writer::default();
            state.save(scope, &mut out);
            out.into_bytes()
        };
        let mut changed = Vec::new();
        for group in groups {
            let (scope, bytes) = (Scope::Group(group), saved(Scope::Group(group)));
            if state.is_changed(group) {
                changed.push(group);
                self.stored.insert(scope, bytes);
            } else {
                let before = self.stored.get(&scope).map_or(&[][..], Vec::as_slice);
                assert!(before == bytes, "group {group} of {} has changed and does not say so", state.kind().0);
            }
        }
        self.stored.insert(Scope::Global, saved(Scope::Global));
        changed.iter().for_each(|group| state.mark_saved(*group));
        changed.len()
    }

    /// Loads the snapshot into `new`, which remembers nothing.
    pub fn restore<S: State + ?Sized>(&self, new: &mut S) {
        self.restore_of(new, 0..GROUPS as u16);
    }

    /// The same for the groups that a worker owns.
    pub fn restore_of<S: State + ?Sized>(&self, new: &mut S, groups: Range<u16>) {
        let global = self.stored.get_key_value(&Scope::Global);
        let groups = self.stored.range(Scope::Group(groups.start)..Scope::Group(groups.end));
        for (scope, bytes) in global.into_iter().chain(groups).filter(|(_, bytes)| !bytes.is_empty()) {
            let mut from = Reader::new(bytes);
            new.load(*scope, &mut from).expect("what was saved can be loaded");
            from.finish().expect("all that was saved is read");
        }
    }
}
