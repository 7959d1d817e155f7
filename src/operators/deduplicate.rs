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
use crate::settings::format_duration;
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
    shape: String,
}

impl Deduplicate {
    /// Drops duplicates of the source `source`, which has these channels; `allowed_lateness` in ms.
    pub fn new(source: &str, channels: &[String], allowed_lateness: i64) -> Deduplicate {
        let meters = Keyed::new(1, Meter { head: NONE, length: 0, shortened: 0 });
        let seen = (0..GROUPS).map(|_| Slab::new()).collect();
        // With a longer lateness, readings may come that were forgotten.
        let shape = format!("channels={} allowed_lateness={}", channels.join(","), format_duration(allowed_lateness));
        let memory = Memory { meters, seen, horizon: i64::MIN, shape };
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

    fn shape(&self) -> String {
        self.shape.clone()
    }

    fn is_changed(&self, group: u16) -> bool {
        self.meters.is_changed(group)
    }

    fn mark_saved(&mut self, group: u16) {
        self.meters.mark_saved(group);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::incremental::Incremental;
    use proptest::prelude::*;

    const LATENESS: i64 = 40;

    fn new() -> Deduplicate {
        Deduplicate::new("readings", &["voltage".to_string(), "current".to_string()], LATENESS)
    }

    /// One tick of readings (meter, time after the earliest allowed, channels) at a watermark; times of what is used.
    fn step(logic: &mut Deduplicate, readings: &[(u8, i64, u8)], watermark: i64, number: u64) -> (Vec<(String, i64)>, u64) {
        let mut batch = Batch::new(0, 2, number * 1_000);
        for (offset, (meter, ahead, present)) in (number * 1_000..).zip(readings) {
            let meter = format!("meter-{meter}");
            batch.push(meter.as_bytes(), watermark - LATENESS + ahead, offset, None, *present, &[0.0; 2]);
        }
        let (mut out, mut counts) = (Vec::new(), Counts::default());
        logic.data(Rc::new(batch), &mut out);
        logic.close(
            &Close { tick: number, watermark: watermark + 10, last: false, snapshot: false },
            &mut Vec::new(),
            &mut counts,
        );
        let text = |meter: &[u8]| String::from_utf8_lossy(meter).into_owned();
        let used = out.iter().flat_map(|batch| batch.iter().map(|reading| (text(reading.meter()), reading.time())));
        (used.collect(), counts.source("readings").duplicate)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn snapshots_of_what_changed_are_enough(
            ticks in prop::collection::vec(prop::collection::vec((0..5u8, 0..60i64, 0..4u8), 0..20), 1..20),
            moves in prop::collection::vec((any::<bool>(), any::<bool>()), 20),
        ) {
            let (mut original, mut logic, mut stored) = (new(), new(), Incremental::default());
            for ((number, readings), (snapshot, restart)) in (0..).zip(&ticks).zip(&moves) {
                let watermark = 1_000 + 10 * number as i64;
                let found = step(&mut logic, readings, watermark, number);
                prop_assert_eq!(found.0.len() + found.1 as usize, readings.len());
                prop_assert_eq!(found, step(&mut original, readings, watermark, number));
                if *snapshot {
                    prop_assert!(stored.snapshot(&mut logic.memory) <= 5, "there are 5 meters");
                    prop_assert_eq!(stored.snapshot(&mut logic.memory), 0);
                }
                if *snapshot && *restart {
                    logic = new();
                    stored.restore(&mut logic.memory);
                }
            }
        }
    }

    #[test]
    fn the_shape_has_the_channels_and_the_lateness() {
        assert_eq!(new().memory.shape(), "channels=voltage,current allowed_lateness=40ms");
    }
}
