//! Reading ahead in a block: eight bytes at a time, and faults with the place where they were found.

/// A record that is not what its syntax asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Position in the block.
    pub at: usize,
    /// What was expected there.
    pub expected: Expected,
}

/// What a [`Fault`] missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// This, in words that follow "expected".
    Syntax(&'static str),
    /// Nothing that nests any deeper.
    Shallow,
    /// So many cells in a row of CSV, not so many.
    Columns(usize, usize),
}

/// A syntax fault.
#[cold]
pub fn fault<T>(at: usize, expected: &'static str) -> Result<T, Fault> {
    Err(Fault { at, expected: Expected::Syntax(expected) })
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The eight bytes at `at`, the first in the lowest place; `None` when the block has fewer.
#[inline(always)]
pub fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// Bytes from the start of a value on, as many as its usual form may have, and more.
pub type Window = [u8; 56];

/// The window at `at`; `None` close to the end of the block.
#[inline(always)]
pub fn window(bytes: &[u8], at: usize) -> Option<&Window> {
    bytes.get(at..)?.first_chunk()
}

/// The eight bytes at `at`, which a window has.
#[inline(always)]
pub fn word_in(window: &Window, at: usize) -> u64 {
    u64::from_le_bytes(*window[at..].first_chunk().expect("a window is looked at well before its end"))
}

/// `byte` in all eight places.
const fn all(byte: u8) -> u64 {
    byte as u64 * ONES
}

/// The place of a mask's lowest mark: 0 to 7, or 8 without any.
#[inline(always)]
pub fn first(mask: u64) -> usize {
    (mask.trailing_zeros() / 8) as usize
}

/// Turns ASCII digits into their values; other bytes become 10 or more.
#[inline(always)]
pub fn digit_values(word: u64) -> u64 {
    word ^ all(b'0')
}

/// Marks (0x80) what [`digit_values`] found not to be a digit. Behind a first mark that is no point, others may be wrong.
#[inline(always)]
pub fn non_digits(values: u64) -> u64 {
    (values.wrapping_add(all(0x80 - 10)) | values) & HIGH
}

/// The number that eight digit values spell, the most significant in the lowest place.
#[inline(always)]
pub fn eight_digits(values: u64) -> u64 {
    const PAIR: u64 = 0x0000_00ff_0000_00ff;
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let high = (pairs & PAIR).wrapping_mul(100 + (1_000_000 << 32));
    let low = (pairs >> 16 & PAIR).wrapping_mul(1 + (10_000 << 32));
    high.wrapping_add(low) >> 32
}

/// Marks the first byte that ends or complicates a JSON text: `"`, `\`, a control character (DEL too), not ASCII.
/// Only the lowest mark is sure to be right.
#[inline(always)]
pub fn not_plain(word: u64) -> u64 {
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero(word ^ all(b'"'));
    let escape = zero(word ^ all(b'\\'));
    let control = word.wrapping_sub(all(b' ')) & !word;
    let beyond = word.wrapping_add(ONES) | word;
    (quote | escape | control | beyond) & HIGH
}

/// The first position from `at` on that is no blank of JSON. A line feed is none: it ends the record.
#[inline]
pub fn blanks(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_those_of_a_naive_scan() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut text = *b"12345678";
                text[place] = byte;
                let word = u64::from_le_bytes(text);
                let plain = (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
                assert_eq!(first(not_plain(word)), if plain { 8 } else { place }, "{byte} at {place}");
                let values = digit_values(word);
                assert_eq!(first(non_digits(values)), if byte.is_ascii_digit() { 8 } else { place }, "{byte} at {place}");
                let marks = |text: &[u8; 8]| non_digits(digit_values(u64::from_le_bytes(*text)));
                assert_eq!(marks(b"1.2.3x4/"), marks(b"1.2.3.4."));
                if byte.is_ascii_digit() {
                    assert_eq!(Ok(eight_digits(values)), std::str::from_utf8(&text).unwrap().parse());
                }
            }
        }
    }

    #[test]
    fn a_word_needs_eight_bytes() {
        assert_eq!(word(b"12345678", 0), Some(u64::from_le_bytes(*b"12345678")));
        assert_eq!(word(b"12345678", 1), None);
        assert_eq!(word(b"12345678", 9), None);
    }
}
