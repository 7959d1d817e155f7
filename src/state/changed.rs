//! Which key groups have changed since they were last saved.

use crate::model::meter::GROUPS;

/// A mark for each key group. One byte each: to set it takes a store and nothing else.
#[derive(Clone, Debug)]
pub struct Changed {
    groups: Box<[bool; GROUPS]>,
}

impl Default for Changed {
    /// Nothing has changed.
    fn default() -> Changed {
        Changed { groups: Box::new([false; GROUPS]) }
    }
}

impl Changed {
    /// Marks a group.
    #[inline]
    pub fn mark(&mut self, group: u16) {
        self.groups[group as usize] = true;
    }

    /// Whether a group is marked.
    pub fn is_marked(&self, group: u16) -> bool {
        self.groups[group as usize]
    }

    /// Takes the mark away: what the group holds is saved.
    pub fn clear(&mut self, group: u16) {
        self.groups[group as usize] = false;
    }
}
