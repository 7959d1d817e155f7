//! The id of an anomaly: the same in every run and replay, different for any two anomalies.
//!
//! It is MurmurHash3 x64 128 with seed 0 (Austin Appleby, 2011, public domain; the published test vectors stand below) over
//! the bytes of what makes the anomaly, in this order: the texts *dataflow, step, detector, kind, meter, channel* (empty:
//! no channel) and *partition* (its name), each as its length in bytes (u32, little-endian) and its UTF-8, then *time* (ms,
//! i64, little-endian) and *offset* (u64, little-endian). Lengths keep different tuples from having the same bytes. The id
//! is written as 32 hex digits: the first half of the hash, then the second, each as a number with leading zeros.

/// A 128-bit hash as its two halves.
pub type Hash = [u64; 2];

/// Appends a text of the tuple.
#[inline]
pub fn push_text(text: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(text);
}

/// Appends the time (ms) and the offset, which end the tuple.
#[inline]
pub fn push_place(time: i64, offset: u64, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&time.to_le_bytes());
    bytes.extend_from_slice(&offset.to_le_bytes());
}

/// Appends a hash as 32 hex digits.
#[inline]
pub fn push_hex(hash: Hash, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (digits, half) in text.chunks_exact_mut(16).zip(hash) {
        for (at, digit) in digits.iter_mut().enumerate() {
            *digit = DIGITS[(half >> (60 - 4 * at)) as usize & 15];
        }
    }
    out.extend_from_slice(&text);
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// MurmurHash3 x64 128.
pub fn murmur3(bytes: &[u8], seed: u32) -> Hash {
    let (mut h1, mut h2) = (u64::from(seed), u64::from(seed));
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let [k1, k2] = halves(block);
        h1 ^= scramble_1(k1);
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= scramble_2(k2);
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let mut padded = [0; 16];
    padded[..tail.len()].copy_from_slice(tail);
    let [k1, k2] = halves(&padded);
    h2 ^= scramble_2(k2);
    h1 ^= scramble_1(k1);

    let length = bytes.len() as u64;
    (h1, h2) = (h1 ^ length, h2 ^ length);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2) = (finish(h1), finish(h2));
    h1 = h1.wrapping_add(h2);
    [h1, h2.wrapping_add(h1)]
}

#[inline]
fn halves(block: &[u8; 16]) -> [u64; 2] {
    let number = u128::from_le_bytes(*block);
    [number as u64, (number >> 64) as u64]
}

#[inline]
fn scramble_1(k1: u64) -> u64 {
    k1.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

#[inline]
fn scramble_2(k2: u64) -> u64 {
    k2.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

#[inline]
fn finish(mut half: u64) -> u64 {
    half = (half ^ half >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    half = (half ^ half >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    half ^ half >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verification of SMHasher, the suite that came with the hash: one number over inputs of every length to 255.
    #[test]
    fn it_passes_the_published_verification() {
        let key: Vec<u8> = (0..=255).collect();
        let hashes: Vec<u8> = (0..256usize)
            .flat_map(|length| murmur3(&key[..length], 256 - length as u32))
            .flat_map(u64::to_le_bytes)
            .collect();
        assert_eq!(murmur3(&hashes, 0)[0] as u32, 0x6384_ba69);
    }

    /// From the tests of Guava.
    #[test]
    fn it_gives_the_published_hashes() {
        let table: [(&str, u32, Hash); 5] = [
            ("hell", 0, [0x6299_4269_3e10_f867, 0x92db_0b82_baeb_5347]),
            ("hello", 1, [0xa78d_dff5_adae_8d10, 0x1289_00ef_2090_0135]),
            ("hello wor", 5, [0xc221_9d21_3ec1_f1b5, 0xa1d8_e2e0_a527_85bd]),
            ("The quick brown fox jumps over the lazy dog", 0, [0xe34b_bc7b_bc07_1b6c, 0x7a43_3ca9_c49a_9347]),
            ("The quick brown fox jumps over the lazy cog", 0, [0x658c_a970_ff85_269a, 0x43fe_e3ea_a68e_5c3e]),
        ];
        for (text, seed, hash) in table {
            assert_eq!(murmur3(text.as_bytes(), seed), hash, "{text}");
        }
    }

    #[test]
    fn halves_are_written_in_order_with_leading_zeros() {
        let mut out = Vec::new();
        push_hex([0x0123_4567_89ab_cdef, 0xf], &mut out);
        assert_eq!(out, b"0123456789abcdef000000000000000f");
    }
}
