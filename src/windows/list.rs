//! Lists sorted by time in a shared slab, linked both ways, with two places from which a search starts.
//!
//! Readings come nearly in order and windows are published in order, so what is looked for stands next to what was found
//! before. A list that a bulk load has made thousands of entries long costs no more per step than one of six.

use crate::state::slab::{NONE, Slab};
use bytemuck::{Pod, Zeroable};

/// What a list holds. The slab links each entry to the next *older* one; the entry itself keeps the next newer one.
pub trait Entry: Pod {
    /// What the list is sorted by, ms; no two entries of a list have the same.
    fn time(&self) -> i64;
    /// The next newer entry.
    fn newer(&self) -> u32;
    /// Sets the next newer entry.
    fn set_newer(&mut self, at: u32);
}

/// One list; all its places are [`NONE`] when it is empty, and none is otherwise.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
pub struct List {
    /// The oldest entry.
    pub oldest: u32,
    /// The entry that took the last reading.
    pub touched: u32,
    /// About where publishing has got to.
    pub cursor: u32,
    /// 1 while the step has a timer that will look for entries of this list that are no longer needed.
    pub watched: u32,
}

impl List {
    /// No entries.
    pub const EMPTY: List = List { oldest: NONE, touched: NONE, cursor: NONE, watched: 0 };

    /// The newest entry whose time is not after `time`, searched from the entry `from` on; [`NONE`]: all are newer.
    #[inline]
    pub fn seek<T: Entry>(slab: &Slab<T>, from: u32, time: i64) -> u32 {
        let mut at = from;
        while at != NONE && slab.get(at).time() > time {
            at = slab.next(at);
        }
        if at == NONE {
            return NONE;
        }
        loop {
            let newer = slab.get(at).newer();
            if newer == NONE || slab.get(newer).time() > time {
                return at;
            }
            at = newer;
        }
    }

    /// The entry after `at`; the oldest after [`NONE`].
    #[inline]
    pub fn after<T: Entry>(&self, slab: &Slab<T>, at: u32) -> u32 {
        if at == NONE { self.oldest } else { slab.get(at).newer() }
    }

    /// The entry `at` and all newer ones, oldest first, each with its place.
    #[inline]
    pub fn newer_from<T: Entry>(slab: &Slab<T>, at: u32) -> impl Iterator<Item = (u32, &T)> + Clone {
        let mut next = at;
        std::iter::from_fn(move || {
            let at = next;
            if at == NONE {
                return None;
            }
            let entry = slab.get(at);
            next = entry.newer();
            Some((at, entry))
        })
    }

    /// Puts an entry right after `older` ([`NONE`]: before all others) and returns its place.
    pub fn insert<T: Entry>(&mut self, slab: &mut Slab<T>, older: u32, mut entry: T) -> u32 {
        let newer = self.after(slab, older);
        entry.set_newer(newer);
        let at = slab.insert(entry, older);
        match older {
            NONE => self.oldest = at,
            _ => slab.get_mut(older).set_newer(at),
        }
        if newer != NONE {
            slab.link(newer, at);
        }
        if self.touched == NONE {
            (self.touched, self.cursor) = (at, at);
        }
        at
    }

    /// Takes an entry out.
    pub fn remove<T: Entry>(&mut self, slab: &mut Slab<T>, at: u32) {
        let newer = slab.get(at).newer();
        let older = slab.remove(at);
        match older {
            NONE => self.oldest = newer,
            _ => slab.get_mut(older).set_newer(newer),
        }
        if newer != NONE {
            slab.link(newer, older);
        }
        let neighbour = if newer == NONE { older } else { newer };
        if self.touched == at {
            self.touched = neighbour;
        }
        if self.cursor == at {
            self.cursor = neighbour;
        }
    }

    /// Whether a restored list points into its slab.
    pub fn is_sound<T: Entry>(&self, slab: &Slab<T>) -> bool {
        [self.oldest, self.touched, self.cursor].into_iter().all(|at| slab.holds(at))
            && List::newer_from(slab, self.oldest).all(|(_, entry)| slab.holds(entry.newer()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    struct At {
        time: i64,
        newer: u64,
    }

    impl Entry for At {
        fn time(&self) -> i64 {
            self.time
        }
        fn newer(&self) -> u32 {
            self.newer as u32
        }
        fn set_newer(&mut self, at: u32) {
            self.newer = u64::from(at);
        }
    }

    fn check(list: &List, slab: &Slab<At>, expected: &[i64]) {
        let forward: Vec<i64> = List::newer_from(slab, list.oldest).map(|(_, entry)| entry.time).collect();
        let newest = List::newer_from(slab, list.oldest).last().map_or(NONE, |(at, _)| at);
        let mut backward: Vec<i64> = slab.iter(newest).map(|entry| entry.time).collect();
        backward.reverse();
        assert_eq!((&forward[..], &backward[..]), (expected, expected));
        assert_eq!([list.touched == NONE, list.cursor == NONE], [expected.is_empty(); 2]);
        assert!(list.is_sound(slab));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_list_is_a_sorted_set(steps in prop::collection::vec((0..40i64, any::<bool>(), any::<bool>()), 1..80)) {
            let (mut slab, mut list, mut model) = (Slab::<At>::new(), List::EMPTY, std::collections::BTreeSet::new());
            for (time, remove, from_cursor) in steps {
                let at = List::seek(&slab, if from_cursor { list.cursor } else { list.touched }, time);
                let found = (at != NONE).then(|| slab.get(at).time);
                prop_assert_eq!(found, model.range(..=time).next_back().copied());
                if found != Some(time) {
                    list.touched = list.insert(&mut slab, at, At { time, newer: 0 });
                    model.insert(time);
                } else if remove {
                    list.remove(&mut slab, at);
                    model.remove(&time);
                } else {
                    list.cursor = at;
                }
                check(&list, &slab, &model.iter().copied().collect::<Vec<_>>());
            }
            prop_assert_eq!(slab.len(), model.len());
        }
    }
}
