//! Drops duplicates.
//!
//! * Computes: the readings without those whose meter, time and set of channels a used reading had before them.
//! * Time: canonical order decides which of two is the first.
//! * Emits: with the reading.
//! * Late input: passes untouched; late readings are neither compared nor remembered.
//! * Keeps: time and channels of each used reading by meter, until it is older than the watermark less
//!   `allowed_lateness`: what comes later with that time is late, in whichever partition.

use crate::drivers::apply::Logic;
use crate::model::control::{Close, Counts};
use crate::model::meter::GROUPS;
use crate::model::reading::Batch;
use crate::state::keyed::Keyed;
use crate::state::slab::{NONE, Slab};
use crate::state::{Corrupt, Reader, Scope, State, Writer};
use bytemuck::{Pod, Zeroable};
use std::rc::Rc;

/// A reading that is remembered.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Seen {
    time: i64,
    present: u64,
}

/// The list of a meter, newest first.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Meter {
    head: u32,
    length: u32,
    /// Length after the list was last shortened.
    shortened: u32,
}

/// The logic of the step.
pub struct Deduplicate {
    memory: Memory,
    source: String,
    allowed_lateness: i64,
    dropped: u64,
    keep: Vec<bool>,
}

struct Memory {
    meters: Keyed<Meter>,
    seen: Vec<Slab<Seen>>,
    /// Readings before this are forgotten.
    horizon: i64,
}

impl Deduplicate {
    /// Drops duplicates of the source `source`; `allowed_lateness` in ms.
    pub fn new(source: &str, allowed_lateness: i64) -> Deduplicate {
        let meters = Keyed::new(1, Meter { head: NONE, length: 0, shortened: 0 });
        let seen = (0..GROUPS).map(|_| Slab::new()).collect();
        let memory = Memory { meters, seen, horizon: i64::MIN };
        Deduplicate { memory, source: source.to_owned(), allowed_lateness, dropped: 0, keep: Vec::new() }
    }
}

impl Memory {
    /// Whether the reading is the first of its kind; it is then remembered.
    fn is_first(&mut self, batch: &Batch, index: usize) -> bool {
        let row = &batch.rows[index];
        let slot = self.meters.slot(&row.meter, &batch.heap);
        let slab = &mut self.seen[slot.group as usize];
        let meter = &mut self.meters.get_mut(slot)[0];
        let new = Seen { time: row.time, present: u64::from(row.present) };
        let (mut before, mut at) = (NONE, meter.head);
        while at != NONE && slab.get(at).time >= new.time {
            if slab.get(at).time == new.time && slab.get(at).present == new.present {
                return false;
            }
            (before, at) = (at, slab.next(at));
        }
        let node = slab.insert(new, at);
        match before {
            NONE => meter.head = node,
            before => slab.link(before, node),
        }
        meter.length += 1;
        if meter.length > 2 * meter.shortened + 8 {
            shorten(meter, slab, self.horizon);
        }
        true
    }
}

/// Forgets the readings of a meter that are older than `horizon`.
fn shorten(meter: &mut Meter, slab: &mut Slab<Seen>, horizon: i64) {
    let (mut kept, mut before, mut at) = (0, NONE, meter.head);
    while at != NONE && slab.get(at).time >= horizon {
        (kept, before, at) = (kept + 1, at, slab.next(at));
    }
    match before {
        NONE => meter.head = NONE,
        before => slab.link(before, NONE),
    }
    while at != NONE {
        at = slab.remove(at);
    }
    (meter.length, meter.shortened) = (kept, kept);
}

impl Logic<Rc<Batch>, Rc<Batch>> for Deduplicate {
    fn data(&mut self, batch: Rc<Batch>, out: &mut Vec<Rc<Batch>>) {
        if batch.is_late() {
            return out.push(batch);
        }
        self.keep.clear();
        for index in 0..batch.len() {
            self.keep.push(self.memory.is_first(&batch, index));
        }
        let dropped = self.keep.iter().filter(|keep| !**keep).count();
        if dropped == 0 {
            return out.push(batch);
        }
        self.dropped += dropped as u64;
        let mut kept = Rc::unwrap_or_clone(batch);
        kept.retain(&self.keep);
        if !kept.is_empty() {
            out.push(Rc::new(kept));
        }
    }

    fn close(&mut self, close: &Close, _: &mut Vec<Rc<Batch>>, counts: &mut Counts) -> bool {
        self.memory.horizon = close.watermark.saturating_sub(self.allowed_lateness);
        if self.dropped > 0 {
            counts.source(&self.source).duplicate += std::mem::take(&mut self.dropped);
        }
        true
    }

    fn state(&mut self) -> Option<&mut dyn State> {
        Some(&mut self.memory)
    }
}

impl State for Memory {
    fn kind(&self) -> (&'static str, u16) {
        ("seen readings", 1)
    }

    fn save(&self, scope: Scope, out: &mut Writer) {
        match scope {
            Scope::Group(group) if self.meters.group_len(group) > 0 => {
                self.meters.save(group, out);
                self.seen[group as usize].save(out);
            }
            Scope::Global => out.value(self.horizon),
            _ => {}
        }
    }

    fn load(&mut self, scope: Scope, from: &mut Reader) -> Result<(), Corrupt> {
        match scope {
            Scope::Group(group) => {
                self.meters.load(group, from)?;
                self.seen[group as usize].load(from)
            }
            Scope::Global => {
                self.horizon = from.value()?;
                Ok(())
            }
            Scope::Partition(_) => Ok(()),
        }
    }
}
