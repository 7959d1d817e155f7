//! Baseline of a duration D: the readings of the 30 slices of D / 30 that end with the reading's own, whatever their rate.
//!
//! The newest slice of a (meter, channel) and the merged 29 before it stand in its entry, so that a reading in the newest
//! slice costs one merge. One that opens a slice, or that comes in an older one, looks at the list of the older slices.
//!
//! A slice is needed as long as a reading may still come within D of it. A used reading is never older than the watermark -
//! allowed lateness, which gives the bound. A list is cleared of its dead slices when four of them have come together
//! at a new slice: nothing is scanned at the end of a tick, and a meter that falls silent keeps the slices that it had,
//! those of D and of the disorder and lateness before it, and three.

use crate::detectors::baseline::{Baseline, lists::Lists, sums::Sums};
use crate::settings::format_duration;
use crate::state::keyed::Slot;
use crate::state::{Corrupt, Reader, Writer};
use bytemuck::{Pod, Zeroable};

/// Slices of a duration.
pub const SLICES: i64 = 30;

/// Dead slices at which a list is cleared of them.
const DEAD: usize = 4;

/// The readings of the last 30 slices.
pub struct Slices {
    /// Length of a slice, ms.
    length: i64,
    allowed_lateness: i64,
    /// No reading that is still to come needs a slice that starts before this, ms.
    needed_from: i64,
    /// All but the newest slice, oldest first.
    older: Lists<Slice>,
}

/// The readings of one slice.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Slice {
    /// First instant, ms.
    start: i64,
    sums: Sums,
}

/// What stands with a meter's channel.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Entry {
    newest: Slice,
    /// The 29 slices before the newest one, merged; a negative count: to be merged anew.
    before: Sums,
}

/// No slice starts there, and no reading falls in it.
const NEVER: i64 = i64::MIN;
const STALE: Sums = Sums { count: -1.0, mean: 0.0, squares: 0.0 };

impl Slices {
    /// Keeps `duration` ms (a multiple of [`SLICES`]) of each of `stride` channels.
    pub fn new(duration: i64, allowed_lateness: i64, stride: usize) -> Slices {
        Slices { length: duration / SLICES, allowed_lateness, needed_from: NEVER, older: Lists::new(stride) }
    }

    fn start_of(&self, time: i64) -> i64 {
        time - time.rem_euclid(self.length)
    }

    /// The first start that belongs to the 30 slices that end with the one that starts at `start`.
    fn reach(&self, start: i64) -> i64 {
        start.saturating_sub((SLICES - 1) * self.length)
    }

    /// The merged slices that start from `from` to `to`, both included.
    fn merge(slices: &[Slice], from: i64, to: i64) -> Sums {
        let end = slices.iter().rposition(|slice| slice.start <= to).map_or(0, |at| at + 1);
        let first = slices[..end].iter().rposition(|slice| slice.start < from).map_or(0, |at| at + 1);
        Sums::of_parts(&slices[first..end], |slice| &slice.sums)
    }

    /// Opens the slice of `start`, which is the newest now.
    #[cold]
    fn open(&mut self, slot: Slot, channel: usize, entry: &mut Entry, start: i64) {
        let (needed_from, reach) = (self.needed_from, self.reach(start));
        let slices = self.older.with_room(slot, channel, usize::MAX);
        if entry.newest.start != NEVER {
            forget(slices, needed_from);
            slices.push(entry.newest);
        }
        entry.newest = Slice { start, sums: Sums::EMPTY };
        entry.before = Slices::merge(slices, reach, start);
    }

    /// Takes a reading of a slice that is not the newest.
    #[cold]
    fn take_older(&mut self, slot: Slot, channel: usize, entry: &mut Entry, start: i64, value: f64) -> Sums {
        if start >= self.reach(entry.newest.start) {
            entry.before = STALE;
        }
        let (needed_from, reach) = (self.needed_from, self.reach(start));
        let slices = self.older.with_room(slot, channel, usize::MAX);
        let sums = Slices::merge(slices, reach, start);
        forget(slices, needed_from);
        let at = slices.iter().rposition(|slice| slice.start <= start);
        match at.map(|at| &mut slices[at]) {
            Some(slice) if slice.start == start => slice.sums.add(value),
            _ => {
                let mut slice = Slice { start, sums: Sums::EMPTY };
                slice.sums.add(value);
                slices.insert(at.map_or(0, |at| at + 1), slice);
            }
        }
        sums
    }
}

/// Clears a list of its dead slices once there are [`DEAD`] of them.
fn forget(slices: &mut Vec<Slice>, needed_from: i64) {
    if slices.get(DEAD - 1).is_some_and(|slice| slice.start < needed_from) {
        let dead = slices.partition_point(|slice| slice.start < needed_from);
        slices.drain(..dead);
    }
}

impl Baseline for Slices {
    type Entry = Entry;
    const EMPTY: Entry = Entry { newest: Slice { start: NEVER, sums: Sums::EMPTY }, before: Sums::EMPTY };
    const KIND: (&'static str, u16) = ("moving_average of a duration", 1);

    fn describe(&self) -> String {
        format!("{} ms", self.length * SLICES)
    }

    /// With a longer lateness, readings may come that need slices which are gone.
    fn shape(&self) -> String {
        let [duration, lateness] = [self.length * SLICES, self.allowed_lateness].map(format_duration);
        format!("{duration} allowed_lateness={lateness}")
    }

    #[inline]
    fn take(&mut self, slot: Slot, channel: usize, entry: &mut Entry, time: i64, value: f64) -> Sums {
        // In the newest slice or not, without a division.
        if time.wrapping_sub(entry.newest.start) as u64 >= self.length as u64 {
            let start = self.start_of(time);
            if start < entry.newest.start {
                return self.take_older(slot, channel, entry, start, value);
            }
            self.open(slot, channel, entry, start);
        }
        if entry.before.count < 0.0 {
            let start = entry.newest.start;
            entry.before = Slices::merge(self.older.get(slot, channel), self.reach(start), start);
        }
        let sums = entry.before.merged(&entry.newest.sums);
        entry.newest.sums.add(value);
        sums
    }

    #[inline]
    fn prefetch_values(&self, slot: Slot, channel: usize, entry: &Entry, time: i64) {
        if time.wrapping_sub(entry.newest.start) as u64 >= self.length as u64 || entry.before.count < 0.0 {
            self.older.prefetch_last(slot, channel, SLICES as usize);
        }
    }

    fn close(&mut self, watermark: i64) {
        let oldest = watermark.saturating_sub(self.allowed_lateness);
        // The start of time itself is no multiple of anything.
        if oldest > NEVER / 2 {
            self.needed_from = self.needed_from.max(self.reach(self.start_of(oldest)));
        }
    }

    fn memory(&self) -> usize {
        self.older.memory()
    }

    fn save_global(&self, out: &mut Writer) {
        out.value(self.needed_from);
    }

    fn load_global(&mut self, from: &mut Reader) -> Result<(), Corrupt> {
        self.needed_from = from.value()?;
        Ok(())
    }

    fn save(&self, group: u16, out: &mut Writer) {
        self.older.save(group, out);
    }

    fn load(&mut self, group: u16, meters: usize, _entries: &[Entry], from: &mut Reader) -> Result<(), Corrupt> {
        let ascending = |slices: &[Slice]| slices.is_sorted_by(|left, right| left.start < right.start);
        self.older.load(group, meters, ascending, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = Slot { group: 0, index: 0 };

    /// Reads one value at each time, in order, and returns how many values each baseline had.
    fn counts(slices: &mut Slices, entry: &mut Entry, times: impl IntoIterator<Item = i64>) -> Vec<f64> {
        times.into_iter().map(|time| slices.take(SLOT, 0, entry, time, 1.0).count).collect()
    }

    #[test]
    fn a_baseline_reaches_thirty_slices_back_and_to_the_end_of_its_own() {
        // Slices of 10 ms. Of readings at 0, 10, ..., 390: what a reading at `time` sees.
        let table = [
            (399, 30.0),
            (390, 30.0),
            (299, 30.0),
            (290, 30.0),
            (289, 29.0),
            (9, 1.0),
            (-1, 0.0),
            (400, 29.0),
            (680, 1.0),
            (690, 0.0),
        ];
        for (time, count) in table {
            let (mut slices, mut entry) = (Slices::new(300, 0, 1), Slices::EMPTY);
            counts(&mut slices, &mut entry, (0..40).map(|at| at * 10));
            assert_eq!(counts(&mut slices, &mut entry, [time]), [count], "{time}");
        }
        // A later time in the same slice belongs to it.
        let (mut slices, mut entry) = (Slices::new(300, 0, 1), Slices::EMPTY);
        assert_eq!(counts(&mut slices, &mut entry, [28, 21, 15, 21]), [0.0, 1.0, 0.0, 3.0]);
    }

    #[test]
    fn one_time_far_ahead_does_not_keep_all_that_follow() {
        let (mut slices, mut entry) = (Slices::new(300, 0, 1), Slices::EMPTY);
        counts(&mut slices, &mut entry, [0, 1_000_000_000]);
        for time in 0..200 {
            slices.close(time * 10);
            assert_eq!(counts(&mut slices, &mut entry, [time * 10]), [(time + 1).min(30 - i64::from(time > 29)) as f64]);
        }
        assert!(slices.older.get(SLOT, 0).len() <= 30 + DEAD);
    }

    #[test]
    fn what_a_late_reading_may_need_is_kept_and_the_rest_forgotten() {
        const LATENESS: i64 = 100;
        let (mut slices, mut entry) = (Slices::new(300, LATENESS, 1), Slices::EMPTY);
        for tick in 0..100 {
            let time = tick * 50;
            counts(&mut slices, &mut entry, (0..5).map(|at| time + at * 10));
            let watermark = time + 40;
            slices.close(watermark);
            // The oldest time that can still be used needs 30 slices, and none of them is missing.
            let expected = (watermark - LATENESS).div_euclid(10).clamp(-1, 29) + 1;
            let slots = slices.older.get(SLOT, 0).iter().chain([&entry.newest]);
            let start = slices.start_of(watermark - LATENESS);
            let held = slots.filter(|slice| (slices.reach(start)..=start).contains(&slice.start)).count();
            assert_eq!(held as i64, expected, "tick {tick}");
        }
        // 30 + 10 of lateness, 4 since the last clearing began to wait, and those of one tick.
        let held = slices.older.get(SLOT, 0).len();
        assert!(held <= 30 + 10 + DEAD + 5, "{held}");
    }
}
