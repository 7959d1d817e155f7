//! Baseline `"last N"`: the oldest value leaves in constant time, and nothing is subtracted.
//!
//! The newest N values are two stacks (Tangwongsan, Hirzel, Schneider, Wu, "General incremental sliding-window aggregation",
//! VLDB 2015). The *back* holds new values and their sums. The *front* holds older ones, and for each the mean and squared
//! deviations of itself and all newer ones of the front, so that what is left when the oldest goes is at hand. When the
//! front is used up, the back becomes the front, in one pass from the newest to the oldest: N additions once in N
//! readings. A value that has left has left no trace.
//!
//! It takes 16 N bytes a (meter, channel). A plain ring takes half, but summing it anew at each reading is slower from N =
//! 30 on (75 ns against 42 at N = 60) and grows with N.

use crate::detectors::baseline::{Baseline, lists::Lists, sums::Sums};
use crate::state::keyed::Slot;
use crate::state::{Corrupt, Reader, Writer};
use bytemuck::{Pod, Zeroable};

/// The N newest readings, 16 bytes each.
pub struct Last {
    count: usize,
    /// Rings: `[value, 0]` in the back, `[mean, squares]` from here to the newest of the front in the front.
    rings: Lists<[f64; 2]>,
}

/// The state of one ring.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Entry {
    back: Sums,
    /// How many values the front has left. It always ends with the ring, so the oldest stands at N - front.
    front: u64,
}

impl Last {
    /// Keeps `count` values of each of `stride` channels.
    pub fn new(count: usize, stride: usize) -> Last {
        Last { count, rings: Lists::new(stride) }
    }
}

/// Makes the whole ring, of which all is back and in order, the front.
fn turn(ring: &mut [[f64; 2]], entry: &mut Entry) {
    let mut sums = Sums::EMPTY;
    for element in ring.iter_mut().rev() {
        sums.add(element[0]);
        *element = [sums.mean, sums.squares];
    }
    *entry = Entry { back: Sums::EMPTY, front: ring.len() as u64 };
}

impl Baseline for Last {
    type Entry = Entry;
    const EMPTY: Entry = Entry { back: Sums::EMPTY, front: 0 };
    const KIND: (&'static str, u16) = ("moving_average of the last readings", 1);

    fn describe(&self) -> String {
        format!("the last {} readings", self.count)
    }

    fn shape(&self) -> String {
        format!("last {}", self.count)
    }

    #[inline]
    fn take(&mut self, slot: Slot, channel: usize, entry: &mut Entry, _time: i64, value: f64) -> Sums {
        let ring = self.rings.with_room(slot, channel, self.count);
        if ring.len() < self.count {
            let sums = entry.back;
            ring.push([value, 0.0]);
            entry.back.add(value);
            return sums;
        }
        if entry.front == 0 {
            turn(ring, entry);
        }
        let oldest = &mut ring[self.count - entry.front as usize];
        let [mean, squares] = *oldest;
        let sums = Sums { count: entry.front as f64, mean, squares }.merged(&entry.back);
        *oldest = [value, 0.0];
        entry.front -= 1;
        entry.back.add(value);
        sums
    }

    #[inline]
    fn prefetch(&self, slot: Slot) {
        self.rings.prefetch(slot);
    }

    #[inline]
    fn prefetch_values(&self, slot: Slot, channel: usize, entry: &Entry, _time: i64) {
        self.rings.prefetch_value(slot, channel, self.count - entry.front as usize);
    }

    fn memory(&self) -> usize {
        self.rings.memory()
    }

    fn save(&self, group: u16, out: &mut Writer) {
        self.rings.save(group, out);
    }

    fn load(&mut self, group: u16, meters: usize, entries: &[Entry], from: &mut Reader) -> Result<(), Corrupt> {
        if entries.iter().any(|entry| entry.front > self.count as u64) {
            return Err(Corrupt(format!("more values left than a ring of {} has", self.count)));
        }
        self.rings.load(group, meters, |ring| ring.len() <= self.count, from)
    }
}
