//! Names of fields and the places that they lead to: a small hash table that looks at a name as two words.

use crate::codec::fields::MAX_NAMES;
use crate::codec::layout::LEARNT_NAMES;

/// Bytes of a name that are compared as words.
const HEAD: usize = 16;

/// Leaves of a word the first 0 to 8 bytes.
const FIRST: [u64; 9] = {
    let mut masks = [0; 9];
    let mut count = 1;
    while count <= 8 {
        masks[count] = u64::MAX >> (64 - 8 * count);
        count += 1;
    }
    masks
};

/// A name as it is looked for.
pub struct Name<'a> {
    /// All of it.
    pub text: &'a [u8],
    /// Its first bytes; zeros behind a shorter one.
    head: [u64; 2],
}

impl<'a> Name<'a> {
    /// A name that stands anywhere.
    pub fn new(text: &'a [u8]) -> Name<'a> {
        let mut head = [0; HEAD];
        let length = text.len().min(HEAD);
        head[..length].copy_from_slice(&text[..length]);
        Name { text, head: words(&head) }
    }

    /// The name in `start..end` of a block.
    #[inline(always)]
    pub fn of_block(bytes: &'a [u8], start: usize, end: usize) -> Name<'a> {
        let Some(head) = bytes.get(start..).and_then(|bytes| bytes.first_chunk()) else {
            return Name::new(&bytes[start..end]);
        };
        let length = end - start;
        let [first, second] = words(head);
        let head = [first & FIRST[length.min(8)], second & FIRST[length.clamp(8, HEAD) - 8]];
        Name { text: &bytes[start..end], head }
    }

    /// Where its entry is to be looked for.
    #[inline(always)]
    fn slot(&self) -> usize {
        let [first, second] = self.head;
        let mixed = first ^ second.rotate_left(29) ^ self.text.len() as u64;
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize
    }
}

#[inline(always)]
fn words(head: &[u8; HEAD]) -> [u64; 2] {
    let both = u128::from_le_bytes(*head);
    [both as u64, (both >> 64) as u64]
}

/// Names and their places, with open addressing.
pub struct Names {
    table: [u8; Names::SIZE],
    entries: Vec<Entry>,
}

struct Entry {
    head: [u64; 2],
    length: usize,
    place: u8,
    text: Vec<u8>,
}

impl Names {
    /// Twice what it can hold, at least.
    const SIZE: usize = 256;

    /// No names.
    pub fn new() -> Names {
        const { assert!(MAX_NAMES + LEARNT_NAMES <= Names::SIZE / 2) };
        Names { table: [0; Names::SIZE], entries: Vec::new() }
    }

    /// The place of a name.
    #[inline(always)]
    pub fn find(&self, name: &Name) -> Option<u8> {
        let mut slot = name.slot();
        loop {
            let entry = &self.entries[usize::from(self.table[slot % Names::SIZE]).checked_sub(1)?];
            let same = entry.head == name.head && entry.length == name.text.len();
            if same && (entry.length <= HEAD || entry.text == name.text) {
                return Some(entry.place);
            }
            slot += 1;
        }
    }

    /// Whether there is room for another name.
    pub fn has_room(&self) -> bool {
        self.entries.len() < MAX_NAMES + LEARNT_NAMES
    }

    /// Gives a new name its place.
    pub fn add(&mut self, text: &[u8], place: u8) {
        let name = Name::new(text);
        let mut slot = name.slot();
        while self.table[slot % Names::SIZE] != 0 {
            slot += 1;
        }
        self.entries.push(Entry { head: name.head, length: text.len(), place, text: text.to_vec() });
        self.table[slot % Names::SIZE] = self.entries.len() as u8;
    }

    /// Forgets all but the first `count` names.
    pub fn keep(&mut self, count: usize) {
        let entries = std::mem::take(&mut self.entries);
        self.table = [0; Names::SIZE];
        for entry in entries.into_iter().take(count) {
            self.add(&entry.text, entry.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_wherever_they_stand() {
        let mut names = Names::new();
        let text = b"a name that is too long for two words; and more".as_slice();
        let known: Vec<(usize, usize)> =
            (0..24).flat_map(|start| [1, 7, 8, 9, 15, 16, 17].map(|length| (start, start + length))).take(100).collect();
        for (place, (start, end)) in known.iter().enumerate() {
            if names.find(&Name::new(&text[*start..*end])).is_none() {
                names.add(&text[*start..*end], place as u8);
            }
        }
        for start in 0..24 {
            for end in start..text.len() {
                let name = &text[start..end];
                let expected = known.iter().position(|(start, end)| &text[*start..*end] == name).map(|place| place as u8);
                assert_eq!(names.find(&Name::of_block(text, start, end)), expected);
                assert_eq!(names.find(&Name::new(name)), expected);
                assert_eq!(names.find(&Name::of_block(&text[..end], start, end)), expected, "close to the end");
            }
        }
        names.keep(10);
        let kept = |place: usize| names.find(&Name::new(&text[known[place].0..known[place].1]));
        assert_eq!((kept(9), kept(10)), (Some(9), None));
    }
}
