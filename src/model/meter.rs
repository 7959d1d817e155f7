//! Meter ids as fixed-size keys, the hash that places them, and the key groups that own them.
//!
//! An id of up to 16 bytes stands in the key itself, padded with zeros (ids carry no control characters, so the padding
//! is unambiguous). A longer one stands in the *heap* of the batch or table that holds the key; the key then carries a
//! marker, the length, where it starts and its hash. No id is ever interned or shared between threads.

use bytemuck::{Pod, Zeroable};

/// Key groups of a job: the unit in which state is stored, frozen and moved between workers.
pub const GROUPS: usize = 1024;
/// Longest meter id, in bytes.
pub const MAX_ID: usize = 64;
const INLINE: usize = 16;
const LONG: u8 = 1;

/// A meter id; compare with [`MeterKey::same`], since a long one stands in a heap.
#[repr(C, align(8))]
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
pub struct MeterKey([u8; 16]);

impl MeterKey {
    /// The key of `id` (1 to [`MAX_ID`] bytes); a long one is appended to `heap`.
    #[inline]
    pub fn new(id: &[u8], heap: &mut Vec<u8>) -> MeterKey {
        if id.len() <= INLINE { MeterKey::short(id) } else { MeterKey::long(hash_long(id), id, heap) }
    }

    /// Like [`MeterKey::new`], when the [hash](MeterKey::hash_of) is known.
    #[inline]
    pub fn with_hash(id: &[u8], hash: u64, heap: &mut Vec<u8>) -> MeterKey {
        debug_assert_eq!(hash, MeterKey::hash_of(id));
        if id.len() <= INLINE { MeterKey::short(id) } else { MeterKey::long(hash, id, heap) }
    }

    /// At most 16 bytes, padded with zeros.
    #[inline]
    fn short(id: &[u8]) -> MeterKey {
        if let (Some(first), Some(last)) = (id.first_chunk(), id.last_chunk()) {
            // Where both have a byte, it is the same.
            let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            return MeterKey((u128::from(first) | u128::from(last) << (8 * (id.len() - 8))).to_le_bytes());
        }
        let bits = if let (Some(first), Some(last)) = (id.first_chunk(), id.last_chunk()) {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            u64::from(first) | u64::from(last) << (8 * (id.len() - 4))
        } else {
            id.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
        };
        MeterKey(u128::from(bits).to_le_bytes())
    }

    fn long(hash: u64, id: &[u8], heap: &mut Vec<u8>) -> MeterKey {
        let mut bytes = [0; 16];
        bytes[0] = LONG;
        bytes[1] = id.len() as u8;
        bytes[4..8].copy_from_slice(&(heap.len() as u32).to_le_bytes());
        bytes[8..].copy_from_slice(&hash.to_le_bytes());
        heap.extend_from_slice(id);
        MeterKey(bytes)
    }

    /// The same id as a key whose long bytes stand in `to` instead of `from`.
    #[inline]
    pub fn moved(&self, from: &[u8], to: &mut Vec<u8>) -> MeterKey {
        match self.is_long() {
            false => *self,
            true => MeterKey::long(self.tail(), self.bytes(from), to),
        }
    }

    #[inline]
    fn is_long(&self) -> bool {
        self.0[0] == LONG
    }

    #[inline]
    fn head(&self) -> u64 {
        u64::from_le_bytes([self.0[0], self.0[1], self.0[2], self.0[3], self.0[4], self.0[5], self.0[6], self.0[7]])
    }

    #[inline]
    fn tail(&self) -> u64 {
        u64::from_le_bytes([self.0[8], self.0[9], self.0[10], self.0[11], self.0[12], self.0[13], self.0[14], self.0[15]])
    }

    /// The id itself; `heap` is that of the batch or table that holds the key.
    #[inline]
    pub fn bytes<'a>(&'a self, heap: &'a [u8]) -> &'a [u8] {
        if self.is_long() {
            let start = u32::from_le_bytes([self.0[4], self.0[5], self.0[6], self.0[7]]) as usize;
            return &heap[start..start + self.0[1] as usize];
        }
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(INLINE);
        &self.0[..length]
    }

    /// Like [`MeterKey::bytes`], as text: ids are checked to be UTF-8 when they are decoded.
    pub fn text<'a>(&'a self, heap: &'a [u8]) -> &'a str {
        std::str::from_utf8(self.bytes(heap)).unwrap_or("\u{fffd}")
    }

    /// The fixed hash of the id: the same on every machine and in every version, for it places state.
    #[inline]
    pub fn hash(&self) -> u64 {
        if self.is_long() { self.tail() } else { mix(self.head() ^ SEED[0], self.tail() ^ SEED[1]) }
    }

    /// The hash of an id that is not a key yet.
    #[inline]
    pub fn hash_of(id: &[u8]) -> u64 {
        if id.len() <= INLINE { MeterKey::short(id).hash() } else { hash_long(id) }
    }

    /// Whether two keys, each with the heap it belongs to, are the same id.
    #[inline]
    pub fn same(&self, heap: &[u8], other: &MeterKey, other_heap: &[u8]) -> bool {
        if self.is_long() {
            return other.is_long() && self.tail() == other.tail() && self.bytes(heap) == other.bytes(other_heap);
        }
        self.0 == other.0
    }
}

/// The key group of a hash: its ten highest bits.
#[inline]
pub fn group_of(hash: u64) -> usize {
    (hash >> 54) as usize
}

/// The worker (of `workers`) that owns a key group.
#[inline]
pub fn owner_of(group: usize, workers: usize) -> usize {
    group * workers / GROUPS
}

// Odd constants from the digits of pi.
const SEED: [u64; 4] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89];

/// Both halves of the 128-bit product, folded: one multiplication mixes every input bit into every output bit.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    let folded = (product as u64) ^ ((product >> 64) as u64);
    (folded ^ SEED[2]).wrapping_mul(SEED[3] | 1)
}

fn hash_long(id: &[u8]) -> u64 {
    let mut hash = SEED[2] ^ id.len() as u64;
    for chunk in id.chunks(INLINE) {
        let key = MeterKey::short(chunk);
        hash = mix(key.head() ^ SEED[0] ^ hash, key.tail() ^ SEED[1]);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_that_are_published() {
        let mut heap = Vec::new();
        let mut of = |id: &str| MeterKey::new(id.as_bytes(), &mut heap).hash();
        let table = [of("meter-000001"), of("7"), of("0123456789abcdef"), of("0123456789abcdefg")];
        assert_eq!(table, [0x727a_735a_676e_6bd6, 0xd865_34ed_1ac2_5d62, 0x7e74_04b9_0a00_ed9c, 0x7bb1_6eda_289b_58f1]);
    }

    #[test]
    fn keys_keep_their_id() {
        for length in 1..=MAX_ID {
            let id: Vec<u8> = (0..length).map(|i| b'a' + (i % 26) as u8).collect();
            let (mut heap, mut other) = (vec![9; 3], Vec::new());
            let key = MeterKey::new(&id, &mut heap);
            let moved = key.moved(&heap, &mut other);
            assert_eq!(key.bytes(&heap), &id[..]);
            assert_eq!(moved.bytes(&other), &id[..]);
            assert!(key.same(&heap, &moved, &other));
            assert_eq!(key.hash(), moved.hash());
            assert_eq!(key.hash(), MeterKey::hash_of(&id));
            let hashed = MeterKey::with_hash(&id, key.hash(), &mut other);
            assert_eq!((hashed.bytes(&other), hashed.hash()), (&id[..], key.hash()));
        }
    }

    #[test]
    fn groups_are_even() {
        let mut counts = vec![0u32; GROUPS];
        for meter in 0..100_000 {
            counts[group_of(MeterKey::new(format!("meter-{meter:06}").as_bytes(), &mut Vec::new()).hash())] += 1;
        }
        let (low, high) = (counts.iter().min().copied(), counts.iter().max().copied());
        assert!(low > Some(55) && high < Some(150), "{low:?} {high:?}");
    }
}
