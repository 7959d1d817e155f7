//! Tumbling and sliding windows, held as slices of the slide length.
//!
//! A reading updates exactly one slice; a window merges its slices when it is published. Each meter's channel has at
//! most one window *due*: the earliest that has readings and is still to be published for the first time. A reading
//! that falls in windows published before marks them *dirty*, and they are published again when the tick ends. With an
//! allowed lateness, the last slice of a window, made empty if need be, remembers how often it was published.

use crate::model::meter::GROUPS;
use crate::model::reading::{Batch, Row};
use crate::model::results::WindowBatch;
use crate::state::keyed::{Keyed, Slot};
use crate::state::slab::{NONE, Slab};
use crate::state::{Corrupt, Reader, Scope, Writer};
use crate::windows::list::{Entry, List};
use crate::windows::stats::Stats;
use crate::windows::timers::{Key, Timers};
use crate::windows::{Spec, publish};
use bytemuck::{Pod, Zeroable};

/// Later than any window ends.
const NEVER: i64 = i64::MAX;
/// Rows that are looked up at once.
const AT_ONCE: usize = 32;
/// Slices of a window that are worth loading before they are needed.
const NEAR: i64 = 16;
/// In [`Slice::published`]: the window got readings that are not yet published.
const DIRTY: u32 = 1 << 31;

/// Readings of one slide length, and how often the window that ends with it was published.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Slice {
    start: i64,
    stats: Stats,
    newer: u32,
    /// Number of publications, which is the revision of the next one; and [`DIRTY`]. 0 without allowed lateness.
    published: u32,
}

impl Entry for Slice {
    #[inline]
    fn time(&self) -> i64 {
        self.start
    }
    #[inline]
    fn newer(&self) -> u32 {
        self.newer
    }
    fn set_newer(&mut self, at: u32) {
        self.newer = at;
    }
}

/// What is kept of one meter's channel.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Head {
    /// End of the earliest window that has readings and is to be published for the first time, or [`NEVER`].
    due: i64,
    slices: List,
}

/// Where a reading goes: its meter's slot, and the slice that its first channel touched last.
#[derive(Clone, Copy)]
struct Place {
    slot: Slot,
    touched: u32,
}

impl Default for Place {
    fn default() -> Place {
        Place { slot: Slot { group: 0, index: 0 }, touched: NONE }
    }
}

/// Tumbling and sliding windows of the meters that one worker owns.
pub struct Sliced {
    pub(super) spec: Spec,
    size: i64,
    slide: i64,
    channels: usize,
    /// A change of a group's slices is marked here, too: nothing touches them but by way of a head.
    pub(super) heads: Keyed<Head>,
    slabs: Vec<Slab<Slice>>,
    /// Keys by the end of the window that is due or dirty.
    due: Timers,
    /// Keys whose slices may be needed no longer; at most one entry each.
    watch: Timers,
    /// The watermark of the last tick that was closed.
    watermark: i64,
}

impl Sliced {
    pub(super) fn new(spec: Spec, size: i64, slide: i64, channels: usize) -> Sliced {
        assert!(slide > 0 && size > 0 && size % slide == 0, "the slide {slide} ms must divide the size {size} ms");
        Sliced {
            spec,
            size,
            slide,
            channels,
            heads: Keyed::new(channels, Head { due: NEVER, slices: List::EMPTY }),
            slabs: (0..GROUPS).map(|_| Slab::new()).collect(),
            due: Timers::default(),
            watch: Timers::default(),
            watermark: i64::MIN,
        }
    }

    pub(super) fn apply(&mut self, batch: &Batch) {
        let stride = batch.channels as usize;
        debug_assert_eq!(stride, self.channels);
        // In slices that start before this, some window is published already.
        let open = self.watermark.saturating_sub(self.slide).saturating_add(1);
        let mut places = [Place::default(); AT_ONCE];
        for (rows, values) in batch.rows.chunks(AT_ONCE).zip(batch.values.chunks(AT_ONCE * stride)) {
            self.look_up(rows, &batch.heap, &mut places);
            for ((place, row), values) in places.iter().zip(rows).zip(values.chunks_exact(stride)) {
                self.add(place.slot, row, values, open);
            }
        }
    }

    /// Finds where the state of some meters stands, and has it loaded.
    ///
    /// Meters come in any order, so nearly every look at the state misses the cache. Each pass looks at all rows before
    /// the next needs what it found, so that the misses overlap.
    #[inline]
    fn look_up(&mut self, rows: &[Row], heap: &[u8], places: &mut [Place; AT_ONCE]) {
        let is_used = |row: &Row| row.present != 0;
        for (place, row) in places.iter_mut().zip(rows).filter(|(_, row)| is_used(row)) {
            place.slot = self.heads.slot(&row.meter, heap);
        }
        for (place, row) in places.iter_mut().zip(rows).filter(|(_, row)| is_used(row)) {
            place.touched = self.heads.get(place.slot)[row.present.trailing_zeros() as usize].slices.touched;
            self.slabs[place.slot.group as usize].prefetch(place.touched);
        }
        for (place, row) in places.iter().zip(rows).filter(|(place, row)| is_used(row) && place.touched != NONE) {
            let slab = &self.slabs[place.slot.group as usize];
            if row.time.wrapping_sub(slab.get(place.touched).start) as u64 >= self.slide as u64 {
                slab.prefetch_free();
            }
        }
    }

    /// Adds one reading; in slices that start before `open`, some window is published already.
    #[inline]
    fn add(&mut self, slot: Slot, row: &Row, values: &[f64], open: i64) {
        let mut present = row.present;
        while present != 0 {
            let channel = present.trailing_zeros() as usize;
            present &= present - 1;
            let touched = self.heads.get(slot)[channel].slices.touched;
            if touched != NONE {
                let slice = self.slabs[slot.group as usize].get_mut(touched);
                let offset = row.time.wrapping_sub(slice.start) as u64;
                if offset < self.slide as u64 && slice.start >= open {
                    slice.stats.add(row.time, values[channel]);
                    continue;
                }
            }
            self.find_slice(slot, channel, row.time, values[channel]);
        }
    }

    /// Adds a reading that does not fall in the slice of the one before, or falls in a published window.
    #[inline(never)]
    fn find_slice(&mut self, slot: Slot, channel: usize, time: i64, value: f64) {
        assert!(
            time >= self.spec.horizon(self.watermark),
            "a reading at {time} ms must be judged late: the watermark is {}, the allowed lateness {} ms",
            self.watermark,
            self.spec.allowed_lateness
        );
        let (size, slide, key) = (self.size, self.slide, Key::new(slot, channel));
        let start = time - time.rem_euclid(slide);
        let slab = &mut self.slabs[slot.group as usize];
        let head = &mut self.heads.get_mut(slot)[channel];
        let touched = head.slices.touched;
        let at = slice_at(&mut head.slices, slab, touched, start);
        head.slices.touched = at;
        slab.get_mut(at).stats.add(time, value);

        let mut fresh = start + slide;
        if fresh <= self.watermark {
            let closed = self.watermark.min(start + size);
            mark_dirty(&mut head.slices, slab, at, [closed, slide], |end| self.due.push(end, key));
            fresh = (self.watermark - self.watermark.rem_euclid(slide)).saturating_add(slide);
        }
        if fresh <= start + size && fresh < head.due {
            head.due = fresh;
            self.due.push(fresh, key);
        }
    }

    pub(super) fn close(&mut self, watermark: i64, budget: usize, out: &mut WindowBatch) -> bool {
        let watermark = watermark.max(self.watermark);
        let mut near = 0;
        for _ in 0..budget.max(1) {
            if let Some((end, key)) = self.due.pop(watermark) {
                if near == 0 {
                    near = self.bring_near();
                }
                near -= 1;
                self.fire(end, key, watermark, out);
            } else if let Some((_, key)) = self.watch.pop(watermark) {
                self.look_after(key, watermark);
            } else {
                self.watermark = watermark;
                self.drop_stale();
                return true;
            }
        }
        false
    }

    /// Has the slices of the keys that fire now and next loaded, all at once, and returns how many keys those are.
    ///
    /// The slices of one window are found one by one, each missing the cache; those of several keys side by side overlap.
    fn bring_near(&self) -> usize {
        let keys = self.due.upcoming(AT_ONCE - 1);
        let mut places = [NONE; AT_ONCE];
        for (place, key) in places.iter_mut().zip(keys) {
            *place = self.heads.get(key.slot())[key.channel()].slices.cursor;
        }
        for _ in 0..(self.size / self.slide).min(NEAR) {
            for (place, key) in places.iter_mut().zip(keys).filter(|(place, _)| **place != NONE) {
                let slab = &self.slabs[key.group()];
                *place = slab.get(*place).newer;
                slab.prefetch(*place);
            }
        }
        keys.len() + 1
    }

    /// Bounds the entries of windows that are due no more: a meter with a slice far ahead (a wrong clock) leaves one there
    /// each time it has nothing else due.
    fn drop_stale(&mut self) {
        if self.due.len() > 1024 + 2 * self.heads.len() * self.channels {
            self.due = Timers::default();
            (0..GROUPS as u16).for_each(|group| self.register(group));
        }
    }

    /// Publishes the window of a key that ends at `end`, if it is due or dirty.
    fn fire(&mut self, end: i64, key: Key, watermark: i64, out: &mut WindowBatch) {
        let start = end - self.size;
        let slab = &mut self.slabs[key.group()];
        let head = &mut self.heads.get_mut(key.slot())[key.channel()];
        let slices = &mut head.slices;
        let is_due = head.due == end;
        let revision = match self.spec.allowed_lateness {
            0 => is_due.then_some(0),
            _ => next_revision(slices, slab, end - self.slide, is_due),
        };
        let Some(revision) = revision else { return };

        let from = List::seek(slab, slices.cursor, start);
        let from = if from != NONE && slab.get(from).start == start { from } else { slices.after(slab, from) };
        let window = List::newer_from(slab, from).map(|(_, slice)| slice).take_while(|slice| slice.start < end);
        let stats = Stats::merge(window.map(|slice| &slice.stats));
        debug_assert!(stats.count > 0, "a window without readings is never due");

        if is_due {
            let next = List::newer_from(slab, from).find(|(_, slice)| slice.stats.count > 0 && slice.start > start);
            head.due = next.map_or(NEVER, |(_, slice)| (slice.start + self.slide).max(end + self.slide));
            if head.due != NEVER {
                self.due.push(head.due, key);
            }
            slices.cursor = next.map_or(slices.cursor, |(at, _)| at);
            drop_final(slices, slab, self.spec.horizon(watermark).min(end), self.size);
            if slices.oldest != NONE && slices.watched == 0 && self.spec.allowed_lateness > 0 {
                slices.watched = 1;
                self.watch.push(watermark.saturating_add(self.spec.allowed_lateness), key);
            }
        }
        publish(out, &self.heads, key, [start, end], revision, &stats);
    }

    /// Drops the slices of a key that are no longer needed, when all that was due is published.
    fn look_after(&mut self, key: Key, watermark: i64) {
        let slices = &mut self.heads.get_mut(key.slot())[key.channel()].slices;
        drop_final(slices, &mut self.slabs[key.group()], self.spec.horizon(watermark), self.size);
        slices.watched = u32::from(slices.oldest != NONE);
        if slices.watched == 1 {
            self.watch.push(watermark.saturating_add(self.spec.allowed_lateness), key);
        }
    }

    /// Registers all windows of a group that are due or dirty.
    fn register(&mut self, group: u16) {
        let slab = &self.slabs[group as usize];
        for index in 0..self.heads.group_len(group) as u32 {
            let slot = Slot { group, index };
            for (channel, head) in self.heads.get(slot).iter().enumerate() {
                let key = Key::new(slot, channel);
                if head.due != NEVER {
                    self.due.push(head.due, key);
                }
                let slices = List::newer_from(slab, head.slices.oldest).map(|(_, slice)| slice);
                for slice in slices.filter(|slice| slice.published & DIRTY != 0) {
                    self.due.push(slice.start + self.slide, key);
                }
            }
        }
    }

    pub(super) fn keys(&self) -> usize {
        self.heads.len()
    }

    #[cfg(test)]
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Number of slices.
    #[cfg(test)]
    pub(super) fn live(&self) -> usize {
        self.slabs.iter().map(Slab::len).sum()
    }

    pub(super) fn memory(&self) -> usize {
        let slabs = self.slabs.iter().map(|slab| size_of::<Slab<Slice>>() + slab.memory()).sum::<usize>();
        self.heads.memory() + slabs + self.due.memory() + self.watch.memory()
    }

    pub(super) fn save(&self, scope: Scope, out: &mut Writer) {
        match scope {
            Scope::Global => self.spec.save(self.watermark, out),
            Scope::Group(group) if self.heads.group_len(group) > 0 => {
                self.heads.save(group, out);
                self.slabs[group as usize].save(out);
            }
            Scope::Group(_) | Scope::Partition(_) => {}
        }
    }

    pub(super) fn load(&mut self, scope: Scope, from: &mut Reader) -> Result<(), Corrupt> {
        match scope {
            Scope::Global => self.watermark = self.spec.load(from)?,
            Scope::Partition(_) => {}
            Scope::Group(group) => {
                self.heads.load(group, from)?;
                self.slabs[group as usize].load(from)?;
                for index in 0..self.heads.group_len(group) as u32 {
                    let slot = Slot { group, index };
                    for (channel, head) in self.heads.get(slot).iter().enumerate() {
                        if !head.slices.is_sound(&self.slabs[group as usize]) {
                            return Err(Corrupt(format!("slices of meter {index} of key group {group} are not linked")));
                        }
                        if head.slices.watched == 1 {
                            let oldest = List::newer_from(&self.slabs[group as usize], head.slices.oldest).next();
                            let needed_for = self.size.saturating_add(self.spec.allowed_lateness);
                            let until = oldest.map_or(i64::MIN, |(_, slice)| slice.start.saturating_add(needed_for));
                            self.watch.push(until, Key::new(slot, channel));
                        }
                    }
                }
                self.register(group);
            }
        }
        Ok(())
    }
}

impl Slice {
    fn empty(start: i64) -> Slice {
        Slice { start, stats: Stats::NONE, newer: NONE, published: 0 }
    }
}

/// The slice that starts at `start`, made if there is none; searched from the slice `from` on.
#[inline]
fn slice_at(slices: &mut List, slab: &mut Slab<Slice>, from: u32, start: i64) -> u32 {
    let at = List::seek(slab, from, start);
    if at != NONE && slab.get(at).start == start { at } else { slices.insert(slab, at, Slice::empty(start)) }
}

/// Counts a publication of the window whose last slice starts at `last`, and returns its revision; `None`: the window is
/// neither due nor dirty.
fn next_revision(slices: &mut List, slab: &mut Slab<Slice>, last: i64, is_due: bool) -> Option<u32> {
    let at = List::seek(slab, slices.cursor, last);
    let known = at != NONE && slab.get(at).start == last;
    if !(is_due || known && slab.get(at).published & DIRTY != 0) {
        return None;
    }
    let at = if known { at } else { slices.insert(slab, at, Slice::empty(last)) };
    slices.cursor = at;
    let slice = slab.get_mut(at);
    let revision = slice.published & !DIRTY;
    slice.published = revision + 1;
    Some(revision)
}

/// Marks the windows that hold the slice `at` and end at or before `closed`, and hands the end of each to `register`.
#[cold]
fn mark_dirty(slices: &mut List, slab: &mut Slab<Slice>, at: u32, [closed, slide]: [i64; 2], mut register: impl FnMut(i64)) {
    let mut at = at;
    let mut end = slab.get(at).start + slide;
    while end <= closed {
        at = slice_at(slices, slab, at, end - slide);
        let slice = slab.get_mut(at);
        if slice.published & DIRTY == 0 {
            slice.published |= DIRTY;
            register(end);
        }
        end += slide;
    }
}

/// Drops the slices all of whose windows end at or before `horizon`.
#[inline]
fn drop_final(slices: &mut List, slab: &mut Slab<Slice>, horizon: i64, size: i64) {
    while slices.oldest != NONE && slab.get(slices.oldest).start + size <= horizon {
        slices.remove(slab, slices.oldest);
    }
}
