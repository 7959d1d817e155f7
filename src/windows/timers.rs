//! What is due when: a meter's channel is visited when it has something to do, and never otherwise.

use crate::state::keyed::Slot;
use bytemuck::{Pod, Zeroable};
use std::collections::BTreeMap;

/// A meter's channel; ordered by key group, slot and channel, which is the same however many workers there are.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable, Debug)]
pub struct Key(u64);

impl Key {
    /// Of a channel of the meter at `slot`.
    #[inline]
    pub fn new(slot: Slot, channel: usize) -> Key {
        Key(u64::from(slot.group) << 40 | u64::from(slot.index) << 8 | channel as u64)
    }

    /// Where the meter stands.
    #[inline]
    pub fn slot(self) -> Slot {
        Slot { group: self.group() as u16, index: (self.0 >> 8) as u32 }
    }

    /// The meter's key group.
    #[inline]
    pub fn group(self) -> usize {
        (self.0 >> 40) as usize
    }

    /// The channel.
    #[inline]
    pub fn channel(self) -> usize {
        (self.0 & 0xff) as usize
    }
}

/// Keys by the instant at which they are due, for instants that many keys share.
///
/// An entry is never taken back: who gets a key checks whether it still has something to do.
#[derive(Default)]
pub struct Timers {
    waiting: BTreeMap<i64, Vec<Key>>,
    /// The keys of `instant`, sorted; those before `position` have been handed out.
    firing: Vec<Key>,
    instant: i64,
    position: usize,
    /// Emptied vectors, to be used again.
    spare: Vec<Vec<Key>>,
    length: usize,
}

/// Most vectors that are kept for reuse.
const SPARE: usize = 64;

impl Timers {
    /// Registers a key.
    #[inline]
    pub fn push(&mut self, instant: i64, key: Key) {
        self.length += 1;
        let spare = &mut self.spare;
        self.waiting.entry(instant).or_insert_with(|| spare.pop().unwrap_or_default()).push(key);
    }

    /// The next key that is due at or before `now`, by instant and then by key.
    #[inline]
    pub fn pop(&mut self, now: i64) -> Option<(i64, Key)> {
        if self.position == self.firing.len() && !self.advance(now) {
            return None;
        }
        let key = self.firing[self.position];
        self.position += 1;
        self.length -= 1;
        Some((self.instant, key))
    }

    /// The keys that [`Timers::pop`] will return next, of the same instant as the last, `most` at most.
    pub fn upcoming(&self, most: usize) -> &[Key] {
        &self.firing[self.position..self.firing.len().min(self.position + most)]
    }

    /// Takes up the next instant that is due.
    fn advance(&mut self, now: i64) -> bool {
        let Some(next) = self.waiting.first_entry().filter(|next| *next.key() <= now) else { return false };
        let (instant, keys) = next.remove_entry();
        let mut emptied = std::mem::replace(&mut self.firing, keys);
        emptied.clear();
        if self.spare.len() < SPARE {
            self.spare.push(emptied);
        }
        self.firing.sort_unstable();
        (self.instant, self.position) = (instant, 0);
        true
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Bytes of memory taken, about.
    pub fn memory(&self) -> usize {
        let vectors = self.waiting.values().chain(&self.spare).chain(std::iter::once(&self.firing));
        vectors.map(|keys| size_of::<(i64, Vec<Key>)>() + keys.capacity() * size_of::<Key>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_parts_and_order() {
        let parts = [(0, 0, 0), (0, 0, 7), (0, 1, 0), (0, (1 << 24) - 1, 3), (1, 0, 0), (1023, 5, 1)];
        let keys = parts.map(|(group, index, channel)| Key::new(Slot { group, index }, channel));
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| (key.slot().group, key.slot().index, key.channel())), parts);
    }

    #[test]
    fn what_is_due_comes_by_instant_and_key() {
        let mut timers = Timers::default();
        let pushed = [(20, 5), (10, 9), (20, 1), (i64::MAX, 2), (10, 3), (30, 4)];
        pushed.iter().for_each(|(instant, key)| timers.push(*instant, Key(*key)));
        let take = |timers: &mut Timers, now| std::iter::from_fn(|| timers.pop(now)).collect::<Vec<_>>();
        assert!(timers.pop(9).is_none());
        assert_eq!(timers.pop(20), Some((10, Key(3))));
        timers.push(15, Key(8));
        assert_eq!(take(&mut timers, 20), [(10, Key(9)), (15, Key(8)), (20, Key(1)), (20, Key(5))]);
        assert!(timers.pop(29).is_none() && timers.len() == 2);
        assert_eq!(take(&mut timers, i64::MAX), [(30, Key(4)), (i64::MAX, Key(2))]);
        assert_eq!(timers.len(), 0);
    }
}
