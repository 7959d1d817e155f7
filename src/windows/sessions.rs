//! Session windows: maximal runs of readings that are less than the gap apart.
//!
//! A session that is *pending*, that is new or changed since it was published, has one timer, at an end that it has had; when the
//! timer fires and the session has grown meanwhile, it is set again. With an allowed lateness a reading may join
//! sessions or move the start of one: what was published under a start that no session has any more is taken back by a
//! *tombstone*, and the session that took it in carries the revisions on.

use crate::model::meter::GROUPS;
use crate::model::reading::Batch;
use crate::model::results::WindowBatch;
use crate::state::keyed::{Keyed, Slot};
use crate::state::slab::{NONE, Slab};
use crate::state::{Corrupt, Reader, Scope, Writer};
use crate::windows::list::{Entry, List};
use crate::windows::stats::Stats;
use crate::windows::timers::{Key, Timers};
use crate::windows::{Spec, publish};
use bytemuck::{Pod, Zeroable};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// In [`Session::timer`]: none, what was published is up to date.
const NEVER: i64 = i64::MAX;
/// In [`Session::end`]: nothing is published under the present start.
const UNPUBLISHED: i64 = i64::MIN;

/// One session; its start is the time of its first reading.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Session {
    stats: Stats,
    /// The instant at which it is looked at to be published, or [`NEVER`].
    timer: i64,
    /// The end under which it is published, or [`UNPUBLISHED`].
    end: i64,
    newer: u32,
    /// The revision of its next publication.
    revision: u32,
}

impl Entry for Session {
    #[inline]
    fn time(&self) -> i64 {
        self.stats.first_time
    }
    #[inline]
    fn newer(&self) -> u32 {
        self.newer
    }
    fn set_newer(&mut self, at: u32) {
        self.newer = at;
    }
}

/// A published session that is no more; ordered as it is emitted.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
struct Tombstone {
    end: i64,
    key: Key,
    start: i64,
    revision: u64,
}

/// Session windows of the meters that one worker owns.
pub struct Sessions {
    pub(super) spec: Spec,
    gap: i64,
    channels: usize,
    /// A change of a group's sessions is marked here, too: nothing touches them but by way of a head.
    pub(super) heads: Keyed<List>,
    slabs: Vec<Slab<Session>>,
    /// The timers of pending sessions. Nearly all differ, so a heap takes less than a list for each instant.
    due: BinaryHeap<Reverse<(i64, Key)>>,
    /// What this tick takes back; drained from the end when it closes.
    tombstones: Vec<Reverse<Tombstone>>,
    /// Keys whose sessions may be needed no longer; at most one entry each.
    watch: Timers,
    /// The watermark of the last tick that was closed.
    watermark: i64,
}

impl Sessions {
    pub(super) fn new(spec: Spec, gap: i64, channels: usize) -> Sessions {
        assert!(gap > 0, "the gap of sessions must be above 0");
        Sessions {
            spec,
            gap,
            channels,
            heads: Keyed::new(channels, List::EMPTY),
            slabs: (0..GROUPS).map(|_| Slab::new()).collect(),
            due: BinaryHeap::new(),
            tombstones: Vec::new(),
            watch: Timers::default(),
            watermark: i64::MIN,
        }
    }

    pub(super) fn apply(&mut self, batch: &Batch) {
        let stride = batch.channels as usize;
        debug_assert_eq!(stride, self.channels);
        for (row, values) in batch.rows.iter().zip(batch.values.chunks_exact(stride)) {
            if row.present == 0 {
                continue;
            }
            let slot = self.heads.slot(&row.meter, &batch.heap);
            let mut present = row.present;
            while present != 0 {
                let channel = present.trailing_zeros() as usize;
                present &= present - 1;
                let touched = self.heads.get(slot)[channel].touched;
                if touched != NONE {
                    let session = self.slabs[slot.group as usize].get_mut(touched);
                    let Stats { first_time, last_time, .. } = session.stats;
                    let grows = session.newer == NONE && row.time < last_time + self.gap;
                    if session.timer != NEVER && row.time >= first_time && (row.time <= last_time || grows) {
                        session.stats.add(row.time, values[channel]);
                        continue;
                    }
                }
                self.find_session(slot, channel, row.time, values[channel]);
            }
        }
    }

    /// Adds a reading that does more than to grow, or to fall in, the pending session of the one before.
    #[inline(never)]
    fn find_session(&mut self, slot: Slot, channel: usize, time: i64, value: f64) {
        assert!(
            time >= self.spec.horizon(self.watermark),
            "a reading at {time} ms must be judged late: the watermark is {}, the allowed lateness {} ms",
            self.watermark,
            self.spec.allowed_lateness
        );
        let key = Key::new(slot, channel);
        let slab = &mut self.slabs[slot.group as usize];
        let sessions = &mut self.heads.get_mut(slot)[channel];
        let older = List::seek(slab, sessions.touched, time);
        let newer = sessions.after(slab, older);
        let joins_older = older != NONE && time < slab.get(older).stats.last_time + self.gap;
        let joins_newer = newer != NONE && slab.get(newer).stats.first_time < time + self.gap;

        if joins_newer {
            // The start of the newer session moves, to this reading or to that of the older session.
            let session = slab.get_mut(newer);
            if session.end != UNPUBLISHED {
                let (start, end, revision) = (session.stats.first_time, session.end, u64::from(session.revision));
                self.tombstones.push(Reverse(Tombstone { end, key, start, revision }));
                session.end = UNPUBLISHED;
            }
        }
        let at = match (joins_older, joins_newer) {
            (true, true) => {
                slab.get_mut(older).stats.add(time, value);
                absorb(sessions, slab, older, newer)
            }
            (true, false) => older,
            (false, true) => newer,
            (false, false) => sessions.insert(slab, older, Session::EMPTY),
        };
        sessions.touched = at;
        let session = slab.get_mut(at);
        if !(joins_older && joins_newer) {
            session.stats.add(time, value);
        }
        if session.timer == NEVER {
            session.timer = session.stats.last_time + self.gap;
            self.due.push(Reverse((session.timer, key)));
        }
    }

    pub(super) fn close(&mut self, watermark: i64, budget: usize, out: &mut WindowBatch) -> bool {
        let watermark = watermark.max(self.watermark);
        // What is taken back is saved in the order in which it stands here, and goes when it has been told.
        for Reverse(gone) in &self.tombstones {
            self.heads.mark_changed(gone.key.group() as u16);
        }
        self.tombstones.sort_unstable();
        for _ in 0..budget.max(1) {
            // What is taken back ended before the watermark; it comes before a session with the same end.
            let due = self.due.peek().map(|Reverse(due)| *due).filter(|(at, _)| *at <= watermark);
            match (self.tombstones.last(), due) {
                (Some(Reverse(gone)), due) if due.is_none_or(|due| (gone.end, gone.key) <= due) => {
                    publish(out, &self.heads, gone.key, [gone.start, gone.end], gone.revision as u32, &Stats::NONE);
                    self.tombstones.pop();
                }
                (_, Some((at, key))) => {
                    self.due.pop();
                    self.fire(at, key, watermark, out);
                }
                (_, None) => match self.watch.pop(watermark) {
                    Some((_, key)) => self.look_after(key, watermark),
                    None => {
                        self.watermark = watermark;
                        return true;
                    }
                },
            }
        }
        false
    }

    /// Publishes the session of a key whose timer is set to `at`, unless it has grown since the timer was set.
    fn fire(&mut self, at: i64, key: Key, watermark: i64, out: &mut WindowBatch) {
        let slab = &mut self.slabs[key.group()];
        let sessions = &mut self.heads.get_mut(key.slot())[key.channel()];
        // The timer was set when the session had a reading this long ago.
        let found = List::seek(slab, sessions.cursor, at - self.gap);
        if found == NONE || slab.get(found).timer != at {
            return;
        }
        sessions.cursor = found;
        let session = slab.get_mut(found);
        let end = session.stats.last_time + self.gap;
        if end > at {
            session.timer = end;
            self.due.push(Reverse((end, key)));
            return;
        }
        let (stats, revision) = (session.stats, session.revision);
        (session.timer, session.end, session.revision) = (NEVER, end, revision + 1);
        drop_final(sessions, slab, self.spec.horizon(watermark).min(end), self.gap);
        if sessions.oldest != NONE && sessions.watched == 0 && self.spec.allowed_lateness > 0 {
            sessions.watched = 1;
            self.watch.push(watermark.saturating_add(self.spec.allowed_lateness), key);
        }
        publish(out, &self.heads, key, [stats.first_time, end], revision, &stats);
    }

    /// Drops the sessions of a key that are no longer needed, when all that was due is published.
    fn look_after(&mut self, key: Key, watermark: i64) {
        let sessions = &mut self.heads.get_mut(key.slot())[key.channel()];
        drop_final(sessions, &mut self.slabs[key.group()], self.spec.horizon(watermark), self.gap);
        sessions.watched = u32::from(sessions.oldest != NONE);
        if sessions.watched == 1 {
            self.watch.push(watermark.saturating_add(self.spec.allowed_lateness), key);
        }
    }

    pub(super) fn keys(&self) -> usize {
        self.heads.len()
    }

    #[cfg(test)]
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Number of sessions.
    #[cfg(test)]
    pub(super) fn live(&self) -> usize {
        self.slabs.iter().map(Slab::len).sum()
    }

    pub(super) fn memory(&self) -> usize {
        let slabs = self.slabs.iter().map(|slab| size_of::<Slab<Session>>() + slab.memory()).sum::<usize>();
        let timers = self.due.capacity() * size_of::<(i64, Key)>() + self.tombstones.capacity() * size_of::<Tombstone>();
        self.heads.memory() + slabs + timers + self.watch.memory()
    }

    pub(super) fn save(&self, scope: Scope, out: &mut Writer) {
        match scope {
            Scope::Global => self.spec.save(self.watermark, out),
            Scope::Group(group) if self.heads.group_len(group) > 0 => {
                self.heads.save(group, out);
                self.slabs[group as usize].save(out);
                let here = self.tombstones.iter().map(|Reverse(gone)| *gone);
                out.column(&here.filter(|gone| gone.key.group() == group as usize).collect::<Vec<_>>());
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
                for gone in from.column::<Tombstone>()? {
                    let slot = gone.key.slot();
                    if slot.group != group || slot.index as usize >= self.heads.group_len(group) {
                        return Err(Corrupt(format!("key group {group} takes back a session of another meter")));
                    }
                    self.tombstones.push(Reverse(gone));
                }
                self.register(group)?;
            }
        }
        Ok(())
    }

    /// Checks the lists of a restored group and registers all that is due in it.
    fn register(&mut self, group: u16) -> Result<(), Corrupt> {
        let slab = &self.slabs[group as usize];
        for index in 0..self.heads.group_len(group) as u32 {
            let slot = Slot { group, index };
            for (channel, sessions) in self.heads.get(slot).iter().enumerate() {
                if !sessions.is_sound(slab) {
                    return Err(Corrupt(format!("sessions of meter {index} of key group {group} are not linked")));
                }
                let key = Key::new(slot, channel);
                let all = List::newer_from(slab, sessions.oldest).map(|(_, session)| session);
                self.due.extend(all.filter(|session| session.timer != NEVER).map(|session| Reverse((session.timer, key))));
                if sessions.watched == 1 {
                    let oldest = List::newer_from(slab, sessions.oldest).next();
                    let needed_for = self.gap.saturating_add(self.spec.allowed_lateness);
                    let until = oldest.map_or(i64::MIN, |(_, session)| session.stats.last_time.saturating_add(needed_for));
                    self.watch.push(until, key);
                }
            }
        }
        Ok(())
    }
}

impl Session {
    const EMPTY: Session = Session { stats: Stats::NONE, timer: NEVER, end: UNPUBLISHED, newer: NONE, revision: 0 };
}

/// Takes the session `newer` into `older`, which is right before it. A timer of `newer` will find that it is no more.
fn absorb(sessions: &mut List, slab: &mut Slab<Session>, older: u32, newer: u32) -> u32 {
    let absorbed = *slab.get(newer);
    sessions.remove(slab, newer);
    let session = slab.get_mut(older);
    session.stats = Stats::merge([&session.stats, &absorbed.stats].into_iter());
    session.revision = session.revision.max(absorbed.revision);
    older
}

/// Drops published sessions that end at or before `horizon`.
#[inline]
fn drop_final(sessions: &mut List, slab: &mut Slab<Session>, horizon: i64, gap: i64) {
    while sessions.oldest != NONE {
        let session = slab.get(sessions.oldest);
        if session.stats.last_time + gap > horizon {
            return;
        }
        debug_assert!(session.timer == NEVER, "what is final is published");
        sessions.remove(slab, sessions.oldest);
    }
}
