//! State by meter, in one small hash table a key group: growth, freezing and migration are bounded by a 1024th of it.
//!
//! A meter gets the next *slot* of its group when it is first seen and keeps it; what a step remembers of it stands at
//! that slot in columns. Slots come in canonical order, so they are the same however many workers there are.

use crate::model::meter::{GROUPS, MeterKey, group_of};
use crate::model::reading::Row;
use crate::state::{Corrupt, Reader, Writer};
use bytemuck::Pod;

/// Where a meter's state stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Slot {
    /// The key group.
    pub group: u16,
    /// Position in the group, from 0 in the order of first appearance.
    pub index: u32,
}

/// State by meter: `stride` values of type `V` for each.
pub struct Keyed<V> {
    groups: Vec<Group<V>>,
    stride: usize,
    empty: V,
}

/// One key group of a [`Keyed`].
struct Group<V> {
    /// Open addressing, linear probing; a power of two. 0: free, else the slot's index + 1 with a tag of the hash on top.
    index: Vec<u32>,
    keys: Vec<MeterKey>,
    heap: Vec<u8>,
    values: Vec<V>,
    /// Set where the rest of this is read anyway, so that it costs next to nothing.
    changed: bool,
}

/// Most rows of one call of [`Keyed::slots`].
pub const CHUNK: usize = 32;

const TAG_BITS: u32 = 8;
const SLOT_MASK: u32 = (1 << (32 - TAG_BITS)) - 1;

impl<V: Pod> Keyed<V> {
    /// No meters yet; a new one starts with `stride` times `empty`.
    pub fn new(stride: usize, empty: V) -> Keyed<V> {
        let group = || Group { index: Vec::new(), keys: Vec::new(), heap: Vec::new(), values: Vec::new(), changed: false };
        Keyed { groups: (0..GROUPS).map(|_| group()).collect(), stride, empty }
    }

    /// Number of meters.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.keys.len()).sum()
    }

    /// Whether no meter has been seen.
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(|group| group.keys.is_empty())
    }

    /// Number of meters in a group.
    pub fn group_len(&self, group: u16) -> usize {
        self.groups[group as usize].keys.len()
    }

    /// The values of all meters of a group, in the order of their slots.
    pub fn group(&self, group: u16) -> &[V] {
        &self.groups[group as usize].values
    }

    /// Whether a group may have changed since it was last saved: a meter of it was looked up, or its values were handed out
    /// to be changed.
    pub fn is_changed(&self, group: u16) -> bool {
        self.groups[group as usize].changed
    }

    /// Says that a group has changed: something that belongs to it but stands elsewhere.
    pub fn mark_changed(&mut self, group: u16) {
        self.groups[group as usize].changed = true;
    }

    /// Says that a group is saved.
    pub fn mark_saved(&mut self, group: u16) {
        self.groups[group as usize].changed = false;
    }

    /// The slot of a meter, which is made if it is new. `heap` is that of the batch that the key comes from.
    #[inline]
    pub fn slot(&mut self, key: &MeterKey, heap: &[u8]) -> Slot {
        let hash = key.hash();
        let group = group_of(hash);
        let index = self.groups[group].find_or_insert(hash, key, heap, self.stride, self.empty);
        Slot { group: group as u16, index }
    }

    /// The slots of up to [`CHUNK`] readings of a batch, in their order, as [`Keyed::slot`] would give them one by one.
    ///
    /// The memory that each needs is asked for before the first is looked at, so that the misses of a large state overlap;
    /// the values are on their way when this returns.
    #[inline]
    pub fn slots(&mut self, rows: &[Row], heap: &[u8]) -> [Slot; CHUNK] {
        assert!(rows.len() <= CHUNK, "at most {CHUNK} rows at a time");
        let mut hashes = [0; CHUNK];
        for (row, hash) in rows.iter().zip(&mut hashes) {
            *hash = row.meter.hash();
            let group = &self.groups[group_of(*hash)];
            prefetch(&group.index, *hash as usize & group.index.len().wrapping_sub(1));
        }
        for hash in &hashes[..rows.len()] {
            self.groups[group_of(*hash)].prefetch_first(*hash, self.stride);
        }
        let mut slots = [Slot::default(); CHUNK];
        for ((row, hash), slot) in rows.iter().zip(&hashes).zip(&mut slots) {
            let group = group_of(*hash);
            let index = self.groups[group].find_or_insert(*hash, &row.meter, heap, self.stride, self.empty);
            *slot = Slot { group: group as u16, index };
        }
        slots
    }

    /// The values of a slot.
    #[inline]
    pub fn get(&self, slot: Slot) -> &[V] {
        let start = slot.index as usize * self.stride;
        &self.groups[slot.group as usize].values[start..start + self.stride]
    }

    /// The values of a slot, to change.
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> &mut [V] {
        let start = slot.index as usize * self.stride;
        let group = &mut self.groups[slot.group as usize];
        group.changed = true;
        &mut group.values[start..start + self.stride]
    }

    /// The same for a slot that was just looked up, whose group is marked already.
    #[inline]
    pub fn looked_up_mut(&mut self, slot: Slot) -> &mut [V] {
        let start = slot.index as usize * self.stride;
        let group = &mut self.groups[slot.group as usize];
        debug_assert!(group.changed, "a look-up marks the group");
        &mut group.values[start..start + self.stride]
    }

    /// The meter of a slot and the heap that its key belongs to.
    #[inline]
    pub fn key(&self, slot: Slot) -> (&MeterKey, &[u8]) {
        let group = &self.groups[slot.group as usize];
        (&group.keys[slot.index as usize], &group.heap)
    }

    /// Bytes of memory that the tables take.
    pub fn memory(&self) -> usize {
        let of = |group: &Group<V>| {
            group.index.capacity() * size_of::<u32>()
                + group.keys.capacity() * size_of::<MeterKey>()
                + group.heap.capacity()
                + group.values.capacity() * size_of::<V>()
        };
        self.groups.iter().map(of).sum::<usize>() + self.groups.len() * size_of::<Group<V>>()
    }

    /// Appends the meters and values of a group.
    pub fn save(&self, group: u16, out: &mut Writer) {
        let group = &self.groups[group as usize];
        out.column(&group.keys);
        out.column(&group.heap);
        out.column(&group.values);
    }

    /// Takes over what [`Keyed::save`] wrote.
    pub fn load(&mut self, group: u16, from: &mut Reader) -> Result<(), Corrupt> {
        let (keys, heap, values) = (from.column::<MeterKey>()?, from.column::<u8>()?, from.column::<V>()?);
        if values.len() != keys.len() * self.stride {
            return Err(Corrupt(format!("{} values for {} meters of {} each", values.len(), keys.len(), self.stride)));
        }
        let target = &mut self.groups[group as usize];
        *target = Group { index: Vec::new(), keys, heap, values, changed: false };
        target.rebuild_index();
        Ok(())
    }
}

impl<V: Pod> Group<V> {
    /// Asks for the key and the values of the meter at which a search for `hash` starts: most often it is the one.
    #[inline]
    fn prefetch_first(&self, hash: u64, stride: usize) {
        let at = hash as usize & self.index.len().wrapping_sub(1);
        let slot = (self.index.get(at).map_or(0, |entry| entry & SLOT_MASK) as usize).wrapping_sub(1);
        prefetch(&self.keys, slot);
        prefetch(&self.values, slot.wrapping_mul(stride));
    }

    #[inline]
    fn find_or_insert(&mut self, hash: u64, key: &MeterKey, heap: &[u8], stride: usize, empty: V) -> u32 {
        self.changed = true;
        if self.index.is_empty() {
            self.rebuild_index();
        }
        let mask = self.index.len() - 1;
        let tag = tag_of(hash);
        let mut at = hash as usize & mask;
        loop {
            let entry = self.index[at];
            if entry == 0 {
                return self.insert(at, tag, key, heap, stride, empty);
            }
            if entry & !SLOT_MASK == tag {
                let slot = (entry & SLOT_MASK) - 1;
                if self.keys[slot as usize].same(&self.heap, key, heap) {
                    return slot;
                }
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn insert(&mut self, at: usize, tag: u32, key: &MeterKey, heap: &[u8], stride: usize, empty: V) -> u32 {
        let slot = self.keys.len() as u32;
        assert!(slot + 1 < SLOT_MASK, "a key group holds at most 16 million meters");
        self.index[at] = tag | (slot + 1);
        let key = key.moved(heap, &mut self.heap);
        self.keys.push(key);
        self.values.extend(std::iter::repeat_n(empty, stride));
        if self.keys.len() * 4 > self.index.len() * 3 {
            self.rebuild_index();
        }
        slot
    }

    fn rebuild_index(&mut self) {
        let size = (self.keys.len() * 2).next_power_of_two().max(8);
        self.index.clear();
        self.index.resize(size, 0);
        for (slot, key) in self.keys.iter().enumerate() {
            let hash = key.hash();
            let mut at = hash as usize & (size - 1);
            while self.index[at] != 0 {
                at = (at + 1) & (size - 1);
            }
            self.index[at] = tag_of(hash) | (slot as u32 + 1);
        }
    }
}

/// Asks for the cache line of `list[index]` ahead of its use. An index outside the list is harmless.
#[inline]
pub fn prefetch<T>(list: &[T], index: usize) {
    let at = list.as_ptr().wrapping_add(index);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it neither faults nor changes anything, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Bits of the hash that neither the group (the highest) nor the position (the lowest) use.
#[inline]
fn tag_of(hash: u64) -> u32 {
    ((hash >> 40) as u32) << (32 - TAG_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reading::Batch;

    fn id(meter: u32) -> String {
        if meter.is_multiple_of(3) { format!("a-rather-long-meter-id-{meter}") } else { format!("m{meter}") }
    }

    #[test]
    fn every_meter_keeps_its_values_and_survives_a_restore() {
        let mut state = Keyed::new(2, 0u64);
        let mut heap = Vec::new();
        for round in 0..3u64 {
            for meter in 0..20_000u32 {
                let key = MeterKey::new(id(meter).as_bytes(), &mut heap);
                let slot = state.slot(&key, &heap);
                state.get_mut(slot)[1] += u64::from(meter) + round;
            }
        }
        assert_eq!(state.len(), 20_000);

        let mut restored = Keyed::new(2, 0u64);
        for group in 0..GROUPS as u16 {
            let mut out = Writer::default();
            state.save(group, &mut out);
            let bytes = out.into_bytes();
            let mut from = Reader::new(&bytes);
            restored.load(group, &mut from).unwrap();
            from.finish().unwrap();
        }
        for meter in 0..20_000u32 {
            let key = MeterKey::new(id(meter).as_bytes(), &mut heap);
            let (slot, again) = (state.slot(&key, &heap), restored.slot(&key, &heap));
            assert_eq!(slot, again);
            let (stored, heap) = restored.key(again);
            assert_eq!(stored.text(heap), id(meter));
            assert_eq!(restored.get(again), [0, u64::from(meter) * 3 + 3]);
        }
    }

    #[test]
    fn slots_of_a_chunk_are_those_of_its_rows() {
        let (mut chunked, mut single) = (Keyed::new(1, 0u8), Keyed::new(1, 0u8));
        let mut batch = Batch::new(0, 0, 0);
        for reading in 0..5_000u32 {
            batch.push(id(reading * 7919 % 1_500).as_bytes(), 0, u64::from(reading), None, 0, &[]);
        }
        for length in [CHUNK, 1, 7] {
            for rows in batch.rows.chunks(length) {
                let slots = chunked.slots(rows, &batch.heap);
                let expected: Vec<Slot> = rows.iter().map(|row| single.slot(&row.meter, &batch.heap)).collect();
                assert_eq!(slots[..rows.len()], expected);
            }
        }
        assert_eq!(chunked.len(), 1_500);
    }

    #[test]
    fn a_column_of_the_wrong_length_is_refused() {
        let mut out = Writer::default();
        Keyed::new(1, 0u64).save(0, &mut out);
        let bytes = out.into_bytes();
        assert!(Keyed::new(1, 0u64).load(0, &mut Reader::new(&bytes[..bytes.len() - 1])).is_err());
    }
}
