//! The marks between names and values: commas, colons, quotes and the blanks around them, which a writer puts alike.
//!
//! Where the fields of records come in any order, what is between them is still mostly what it was before; it is compared
//! as one word.

use crate::codec::scan::word;

/// Some marks that came last, as they stand in a block: nothing but marks and blanks.
#[derive(Clone, Copy, Default)]
pub struct Marks {
    bytes: u64,
    mask: u64,
    length: usize,
}

impl Marks {
    /// Where the marks end, if the same ones stand at `at` again.
    #[inline(always)]
    pub fn again(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let same = word(bytes, at)? & self.mask == self.bytes;
        (same && self.length > 0).then_some(at + self.length)
    }

    /// Remembers those in `start..end`, if they are not too many.
    #[inline(always)]
    pub fn remember(&mut self, bytes: &[u8], start: usize, end: usize) {
        let length = end - start;
        if let (1..=8, Some(word)) = (length, word(bytes, start)) {
            let mask = u64::MAX >> (64 - 8 * length);
            *self = Marks { bytes: word & mask, mask, length };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_marks_are_known_again() {
        let text = b"{ \"a\" : 1, \"b\" : 2,          \"c\": 3.........";
        let mut marks = Marks::default();
        assert_eq!(marks.again(text, 0), None);
        marks.remember(text, 9, 12);
        assert_eq!((marks.again(text, 9), marks.again(text, 18), marks.again(text, 0)), (Some(12), None, None));
        marks.remember(text, 18, 30);
        assert_eq!(marks.again(text, 9), Some(12), "too many are not remembered");
        marks.remember(text, 13, 17);
        assert_eq!((marks.again(text, 4), marks.again(text, 13), marks.again(text, 31)), (Some(8), Some(17), None));
        marks.remember(text, 12, 20);
        assert_eq!((marks.again(text, 12), marks.again(text, text.len() - 4)), (Some(20), None));
    }
}
