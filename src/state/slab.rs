//! Lists of plain values that share one allocation: what a meter keeps a varying number of (slices, sessions, marks).
//!
//! A list is named by the index of its first node ([`NONE`] when empty), which its owner keeps. Nodes of a list may stand
//! anywhere; freed ones are used again, so a steady number of nodes allocates nothing.

use crate::state::{Corrupt, Reader, Writer};
use bytemuck::{Pod, Zeroable};

/// No node.
pub const NONE: u32 = u32::MAX;

#[repr(C)]
#[derive(Clone, Copy)]
struct Node<T> {
    value: T,
    next: u64,
}

// SAFETY: `T` is plain, of alignment 8 at most and a size that is a multiple of 8 (asserted in `Slab::new`), so a node
// has no padding and every bit pattern is valid.
unsafe impl<T: Zeroable> Zeroable for Node<T> {}
// SAFETY: as above.
unsafe impl<T: Pod> Pod for Node<T> {}

/// Nodes of many lists.
pub struct Slab<T> {
    nodes: Vec<Node<T>>,
    free: u32,
    used: u32,
}

impl<T: Pod> Default for Slab<T> {
    fn default() -> Self {
        Slab::new()
    }
}

impl<T: Pod> Slab<T> {
    /// No nodes.
    pub fn new() -> Slab<T> {
        const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() <= 8) };
        Slab { nodes: Vec::new(), free: NONE, used: 0 }
    }

    /// Nodes in use.
    pub fn len(&self) -> usize {
        self.used as usize
    }

    /// Whether no node is in use.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Whether `at` is [`NONE`] or the index of a node; a restored owner checks what it points at with this.
    pub fn holds(&self, at: u32) -> bool {
        at == NONE || (at as usize) < self.nodes.len()
    }

    /// Asks the processor to bring a node near; where it cannot, or there is no such node, nothing happens.
    #[inline]
    pub fn prefetch(&self, at: u32) {
        #[cfg(target_arch = "x86_64")]
        if let Some(node) = self.nodes.get(at as usize) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let node = (node as *const Node<T>).cast::<i8>();
            // SAFETY: a prefetch reads nothing; both addresses are of the node.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(node);
                _mm_prefetch::<_MM_HINT_T0>(node.add(size_of::<Node<T>>() - 1));
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// Brings near what the next insert takes.
    #[inline]
    pub fn prefetch_free(&self) {
        self.prefetch(self.free);
    }

    /// Bytes of memory taken.
    pub fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node<T>>()
    }

    /// A new node with `next` behind it.
    #[inline]
    pub fn insert(&mut self, value: T, next: u32) -> u32 {
        self.used += 1;
        let node = Node { value, next: u64::from(next) };
        if self.free == NONE {
            self.nodes.push(node);
            return self.nodes.len() as u32 - 1;
        }
        let at = self.free;
        self.free = self.nodes[at as usize].next as u32;
        self.nodes[at as usize] = node;
        at
    }

    /// Gives a node back; its owner has unlinked it. Returns what came behind it.
    #[inline]
    pub fn remove(&mut self, at: u32) -> u32 {
        let next = self.nodes[at as usize].next as u32;
        self.nodes[at as usize].next = u64::from(self.free);
        self.free = at;
        self.used -= 1;
        next
    }

    /// The value of a node.
    #[inline]
    pub fn get(&self, at: u32) -> &T {
        &self.nodes[at as usize].value
    }

    /// The value of a node, to change.
    #[inline]
    pub fn get_mut(&mut self, at: u32) -> &mut T {
        &mut self.nodes[at as usize].value
    }

    /// What comes behind a node.
    #[inline]
    pub fn next(&self, at: u32) -> u32 {
        self.nodes[at as usize].next as u32
    }

    /// Puts `next` behind a node.
    #[inline]
    pub fn link(&mut self, at: u32, next: u32) {
        self.nodes[at as usize].next = u64::from(next);
    }

    /// The values of the list that starts at `first`.
    pub fn iter(&self, first: u32) -> impl Iterator<Item = &T> {
        let mut at = first;
        std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize).filter(|_| at != NONE)?;
            at = node.next as u32;
            Some(&node.value)
        })
    }

    /// Appends all nodes.
    pub fn save(&self, out: &mut Writer) {
        out.value(self.free);
        out.value(self.used);
        out.column(&self.nodes);
    }

    /// Takes over what [`Slab::save`] wrote.
    pub fn load(&mut self, from: &mut Reader) -> Result<(), Corrupt> {
        let (free, used, nodes) = (from.value::<u32>()?, from.value::<u32>()?, from.column::<Node<T>>()?);
        let in_range = |at: u32| at == NONE || (at as usize) < nodes.len();
        if !in_range(free) || used as usize > nodes.len() || !nodes.iter().all(|node| in_range(node.next as u32)) {
            return Err(Corrupt(format!("a list points outside its {} nodes", nodes.len())));
        }
        *self = Slab { nodes, free, used };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_nodes_are_used_again_and_lists_survive_a_restore() {
        let mut slab = Slab::new();
        let (mut even, mut odd) = (NONE, NONE);
        for value in 0..10u64 {
            let list = if value % 2 == 0 { &mut even } else { &mut odd };
            *list = slab.insert(value, *list);
        }
        while even != NONE {
            even = slab.remove(even);
        }
        for value in 10..15u64 {
            even = slab.insert(value, even);
        }
        assert_eq!((slab.nodes.len(), slab.len()), (10, 10));

        let mut out = Writer::default();
        slab.save(&mut out);
        let bytes = out.into_bytes();
        let mut restored = Slab::<u64>::new();
        restored.load(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(restored.iter(even).copied().collect::<Vec<_>>(), [14, 13, 12, 11, 10]);
        assert_eq!(restored.iter(odd).copied().collect::<Vec<_>>(), [9, 7, 5, 3, 1]);
        assert_eq!(restored.insert(15, NONE), slab.insert(15, NONE), "a restored slab gives out other nodes");
    }
}
