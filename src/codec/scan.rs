//! Reading ahead in a block, many bytes at a time, and faults with the place where they were found.

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
/// The highest bit of all eight places.
pub const HIGH: u64 = 0x8080_8080_8080_8080;

/// The eight bytes at `at`, the first in the lowest place; `None` when the block has fewer.
#[inline(always)]
pub fn word(bytes: &[u8], at: usize) -> Option<u64> {
    near(bytes, at).map(|chunk| u64::from_le_bytes(*chunk))
}

/// `byte` in all eight places.
const fn all(byte: u8) -> u64 {
    byte as u64 * ONES
}

/// Turns ASCII digits into their values; other bytes become 10 or more.
#[inline(always)]
pub const fn digit_values(word: u64) -> u64 {
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

/// How many bytes of a chunk come before the first that ends or complicates a JSON text: `"`, `\`, a control character
/// (DEL too), not ASCII.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
pub fn plain_run(chunk: &Chunk) -> usize {
    use std::arch::x86_64::{
        _mm_add_epi8, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    // SAFETY: SSE2 is part of x86-64; the load takes the 16 bytes of the chunk.
    let marks = unsafe {
        let text = _mm_loadu_si128(chunk.as_ptr().cast());
        // One more and compared with their signs, DEL and bytes that are not ASCII are at most zero.
        let others = _mm_cmplt_epi8(_mm_add_epi8(text, _mm_set1_epi8(1)), _mm_set1_epi8(b' ' as i8 + 1));
        let quotes = _mm_cmpeq_epi8(text, _mm_set1_epi8(b'"' as i8));
        let escapes = _mm_cmpeq_epi8(text, _mm_set1_epi8(b'\\' as i8));
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, escapes), others))
    };
    if marks == 0 { chunk.len() } else { marks.trailing_zeros() as usize % chunk.len() }
}

/// As above, where no chunks are compared at once.
#[cfg(not(target_arch = "x86_64"))]
pub fn plain_run(chunk: &Chunk) -> usize {
    let plain = |byte: &u8| (b' '..0x7f).contains(byte) && *byte != b'"' && *byte != b'\\';
    chunk.iter().position(|byte| !plain(byte)).unwrap_or(chunk.len())
}

/// Bytes from the start of a value on, as many as its usual form may have, and more.
pub type Window = [u8; 56];

/// The eight bytes at `at`, which a window has.
#[inline(always)]
pub fn word_in(window: &Window, at: usize) -> u64 {
    u64::from_le_bytes(*window[at..].first_chunk().expect("a window is looked at well before its end"))
}

/// The `N` bytes at `at`; `None` close to the end of the block.
#[inline(always)]
pub fn near<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    Reach::new(bytes).at(at)
}

/// The places of a block that have `N` bytes from there on: to look at them costs one comparison.
#[derive(Clone, Copy)]
pub struct Reach<'a, const N: usize> {
    bytes: &'a [u8],
    /// How many such places there are.
    count: usize,
}

impl<'a, const N: usize> Reach<'a, N> {
    /// Those of a block.
    #[inline(always)]
    pub fn new(bytes: &'a [u8]) -> Reach<'a, N> {
        Reach { bytes, count: (bytes.len() + 1).saturating_sub(N) }
    }

    /// The `N` bytes at `at`; `None` close to the end of the block.
    #[inline(always)]
    pub fn at(self, at: usize) -> Option<&'a [u8; N]> {
        // SAFETY: at + N is at most the length if `at` is less than the count.
        (at < self.count).then(|| unsafe { &*self.bytes.as_ptr().add(at).cast() })
    }
}

/// Bytes that are compared at once.
pub type Chunk = [u8; 16];

/// Up to a chunk of known bytes.
#[repr(C, align(16))]
#[derive(Clone, Copy, PartialEq)]
pub struct Literal {
    bytes: Chunk,
    /// A bit for each place that may hold any byte; those from 16 on are 0.
    others: u32,
}

impl Literal {
    /// Known bytes; of more than a chunk, the first.
    pub fn new(known: &[u8]) -> Literal {
        let (mut bytes, length) = ([0; size_of::<Chunk>()], known.len().min(size_of::<Chunk>()));
        bytes[..length].copy_from_slice(&known[..length]);
        Literal { bytes, others: 0xffff << length & 0xffff }
    }

    /// What no chunk starts with.
    pub const NONE: Literal = Literal { bytes: [0; size_of::<Chunk>()], others: u32::MAX };

    /// Whether a chunk starts with the known bytes.
    #[inline(always)]
    pub fn matches(&self, chunk: &Chunk) -> bool {
        equal(&self.bytes, chunk) | self.others == 0xffff
    }
}

/// A bit for each place in which two chunks have the same byte.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
fn equal(one: &Chunk, other: &Chunk) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8};
    // SAFETY: SSE2 is part of x86-64; each load takes the 16 bytes of a chunk.
    let same = unsafe {
        let (one, other) = (_mm_loadu_si128(one.as_ptr().cast()), _mm_loadu_si128(other.as_ptr().cast()));
        _mm_movemask_epi8(_mm_cmpeq_epi8(one, other))
    };
    same as u32
}

/// As above, where no chunks are compared at once.
#[cfg(not(target_arch = "x86_64"))]
fn equal(one: &Chunk, other: &Chunk) -> u32 {
    let same = |(at, (one, other)): (usize, (&u8, &u8))| u32::from(one == other) << at;
    one.iter().zip(other).enumerate().map(same).fold(0, |all, same| all | same)
}

/// The first position from `at` on that is no blank of JSON. A line feed is none: it ends the record.
#[inline(always)]
pub fn blanks(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(byte) if *byte > b' ' => at,
        _ => some_blanks(bytes, at),
    }
}

#[inline(never)]
fn some_blanks(bytes: &[u8], mut at: usize) -> usize {
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
                let values = digit_values(u64::from_le_bytes(text));
                let first = non_digits(values).trailing_zeros() as usize / 8;
                assert_eq!(first, if byte.is_ascii_digit() { 8 } else { place }, "{byte} at {place}");
                let marks = |text: &[u8; 8]| non_digits(digit_values(u64::from_le_bytes(*text)));
                assert_eq!(marks(b"1.2.3x4/"), marks(b"1.2.3.4."));
                if byte.is_ascii_digit() {
                    assert_eq!(Ok(eight_digits(values)), std::str::from_utf8(&text).unwrap().parse());
                }
            }
            for place in 0..16 {
                let mut text = *b"plain text 16 by";
                text[place] = byte;
                let plain = (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
                assert_eq!(plain_run(&text), if plain { 16 } else { place }, "{byte} at {place}");
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
