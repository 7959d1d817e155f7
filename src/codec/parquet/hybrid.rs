//! Parquet's hybrid of runs and bit-packed numbers: what dictionary indices and definition levels are written in.
//!
//! Source: <https://parquet.apache.org/docs/file-format/data-pages/encodings/> (RLE = 3). A run is its length times two
//! and the value; bit-packed numbers come in groups of eight, behind the number of groups times two plus one.

/// From this length on a repeated value is a run; shorter ones are cheaper bit-packed.
const MIN_RUN: usize = 16;

/// Bits that numbers up to `largest` need.
pub fn width_of(largest: u32) -> u32 {
    u32::BITS - largest.leading_zeros()
}

/// Appends `values`, each below 2^`width`.
pub fn encode(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let mut packed_from = 0;
    let mut at = 0;
    while at < values.len() {
        let value = values[at];
        let run = 1 + values[at + 1..].iter().take_while(|other| **other == value).count();
        let end = at + run;
        if run >= MIN_RUN {
            // Groups are whole, so the run gives up what the last one lacks.
            let packed_to = at + (at - packed_from).next_multiple_of(8) - (at - packed_from);
            pack(&values[packed_from..packed_to], width, out);
            varint((end - packed_to) as u64 * 2, out);
            out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
            packed_from = end;
        }
        at = end;
    }
    pack(&values[packed_from..], width, out);
}

/// Appends groups of eight, the last filled up with zeros, which a reader that counts its values never sees.
fn pack(values: &[u32], width: u32, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(8);
    varint(groups as u64 * 2 + 1, out);
    let end = out.len() + groups * width as usize;
    let (mut pending, mut bits) = (0u64, 0);
    for value in values {
        pending |= u64::from(*value) << bits;
        bits += width;
        if bits >= 32 {
            out.extend_from_slice(&(pending as u32).to_le_bytes());
            pending >>= 32;
            bits -= 32;
        }
    }
    out.extend_from_slice(&pending.to_le_bytes()[..bits.div_ceil(8) as usize]);
    out.resize(end, 0);
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads `count` values as the format's description says, bit by bit.
    fn decode(bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let (mut at, mut values) = (0, Vec::new());
        while values.len() < count {
            let (mut header, mut shift) = (0u64, 0);
            loop {
                header |= u64::from(bytes[at] & 0x7f) << shift;
                shift += 7;
                at += 1;
                if bytes[at - 1] < 0x80 {
                    break;
                }
            }
            if header & 1 == 1 {
                let numbers = (header >> 1) as usize * 8;
                for number in 0..numbers {
                    let bit = |i: u32| {
                        let position = number * width as usize + i as usize;
                        u32::from(bytes[at + position / 8] >> (position % 8) & 1) << i
                    };
                    values.push((0..width).map(bit).sum());
                }
                at += numbers * width as usize / 8;
            } else {
                let mut value = [0; 4];
                let length = width.div_ceil(8) as usize;
                value[..length].copy_from_slice(&bytes[at..at + length]);
                at += length;
                values.extend(std::iter::repeat_n(u32::from_le_bytes(value), (header >> 1) as usize));
            }
        }
        assert_eq!(at, bytes.len(), "bytes are left over");
        values.truncate(count);
        values
    }

    #[test]
    fn bytes_are_those_of_the_format() {
        let encoded = |values: &[u32], width| {
            let mut out = Vec::new();
            encode(values, width, &mut out);
            out
        };
        // The example of the format's description: 0 to 7 in three bits.
        assert_eq!(encoded(&[0, 1, 2, 3, 4, 5, 6, 7], 3), [3, 0b1000_1000, 0b1100_0110, 0b1111_1010]);
        assert_eq!(encoded(&[1; 100], 1), [200, 1, 1]);
        assert_eq!(encoded(&[0; 20], 0), [40]);
        assert_eq!(encoded(&[], 5), [0u8; 0]);
        assert_eq!(encoded(&[0x12345; 16], 17), [32, 0x45, 0x23, 0x01]);
    }

    #[test]
    fn widths() {
        let table = [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (255, 8), (256, 9), (u32::MAX, 32)];
        for (largest, width) in table {
            assert_eq!(width_of(largest), width, "{largest}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            runs in prop::collection::vec((any::<u32>(), prop_oneof![4 => 1usize..3, 1 => 10usize..40]), 0..60),
            width in 0u32..=32,
        ) {
            let mask = if width == 32 { u32::MAX } else { (1 << width) - 1 };
            let values: Vec<u32> = runs.iter().flat_map(|(value, run)| std::iter::repeat_n(value & mask, *run)).collect();
            let mut out = Vec::new();
            encode(&values, width, &mut out);
            prop_assert_eq!(decode(&out, width, values.len()), values);
        }
    }
}
