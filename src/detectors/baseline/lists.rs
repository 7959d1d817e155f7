//! A list for every (meter, channel): values or slices that a baseline keeps.
//!
//! A list takes memory as it fills, in steps of a half, so a meter with three readings keeps room for four.

use crate::state::keyed::{Slot, prefetch};
use crate::state::{Corrupt, Reader, Writer};
use bytemuck::Pod;

/// Lists of plain values by slot and channel.
pub struct Lists<T> {
    /// Key group, then slot * stride + channel.
    groups: Vec<Vec<Vec<T>>>,
    stride: usize,
    bytes: usize,
}

const FIRST_ROOM: usize = 4;

impl<T: Pod> Lists<T> {
    /// No lists yet; `stride` of them for each meter.
    pub fn new(stride: usize) -> Lists<T> {
        Lists { groups: (0..crate::model::meter::GROUPS).map(|_| Vec::new()).collect(), stride, bytes: 0 }
    }

    #[inline]
    fn place(&self, slot: Slot, channel: usize) -> usize {
        slot.index as usize * self.stride + channel
    }

    /// The list of a channel of a meter; empty when it was never written.
    #[inline]
    pub fn get(&self, slot: Slot, channel: usize) -> &[T] {
        self.groups[slot.group as usize].get(self.place(slot, channel)).map_or(&[], Vec::as_slice)
    }

    /// The list of a channel of a meter with room for one more value; it will never be longer than `most`.
    #[inline]
    pub fn with_room(&mut self, slot: Slot, channel: usize, most: usize) -> &mut Vec<T> {
        let place = self.place(slot, channel);
        let group = &mut self.groups[slot.group as usize];
        if place >= group.len() {
            let before = group.capacity();
            group.resize_with((slot.index as usize + 1) * self.stride, Vec::new);
            self.bytes += (group.capacity() - before) * size_of::<Vec<T>>();
        }
        let list = &mut group[place];
        if list.len() == list.capacity() && list.len() < most {
            let more = (list.len() / 2).max(FIRST_ROOM).min(most - list.len());
            list.reserve_exact(more);
            self.bytes += more * size_of::<T>();
        }
        list
    }

    /// Asks for the list's own memory ahead of its use, so that [`Lists::prefetch_values`] does not wait for it.
    #[inline]
    pub fn prefetch(&self, slot: Slot) {
        prefetch(&self.groups[slot.group as usize], self.place(slot, 0));
    }

    /// Asks for one value of a list ahead of its use.
    #[inline]
    pub fn prefetch_value(&self, slot: Slot, channel: usize, at: usize) {
        prefetch(self.get(slot, channel), at);
    }

    /// Asks for the last `count` values of a list, and the place of the next one, ahead of their use.
    #[inline]
    pub fn prefetch_last(&self, slot: Slot, channel: usize, count: usize) {
        let per_line = (64 / size_of::<T>()).max(1);
        let list = self.get(slot, channel);
        for at in (list.len().saturating_sub(count)..=list.len()).step_by(per_line) {
            prefetch(list, at);
        }
    }

    /// Bytes of memory taken.
    pub fn memory(&self) -> usize {
        self.bytes
    }

    /// Appends the lists of a group.
    pub fn save(&self, group: u16, out: &mut Writer) {
        let lists = &self.groups[group as usize];
        let lengths: Vec<u32> = lists.iter().map(|list| list.len() as u32).collect();
        out.column(&lengths);
        out.lists(lists);
    }

    /// Takes over what [`Lists::save`] wrote; every list must be fit for `meters` meters and satisfy `fits`.
    pub fn load(
        &mut self,
        group: u16,
        meters: usize,
        fits: impl Fn(&[T]) -> bool,
        from: &mut Reader,
    ) -> Result<(), Corrupt> {
        let (lengths, values) = (from.column::<u32>()?, from.column::<T>()?);
        let total: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
        if lengths.len() > meters * self.stride || total != values.len() as u64 {
            let (lists, values) = (lengths.len(), values.len());
            return Err(Corrupt(format!("{lists} lists of {total} values for {meters} meters and {values} values")));
        }
        let mut rest = &values[..];
        let mut lists = Vec::with_capacity(lengths.len());
        for length in lengths {
            let (list, after) = rest.split_at(length as usize);
            if !fits(list) {
                return Err(Corrupt(format!("a list of {length} values that its settings do not allow")));
            }
            self.bytes += size_of_val(list);
            lists.push(list.to_vec());
            rest = after;
        }
        self.bytes += lists.capacity() * size_of::<Vec<T>>();
        self.groups[group as usize] = lists;
        Ok(())
    }
}
