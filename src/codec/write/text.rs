//! Numbers and texts as JSON, straight into a buffer.

/// Appends a whole number.
#[inline]
pub fn push_integer(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    push_unsigned(number.unsigned_abs(), out);
}

/// Appends a whole number that is not negative, two digits at a time.
#[inline]
pub fn push_unsigned(mut number: u64, out: &mut Vec<u8>) {
    const PAIRS: [[u8; 2]; 100] = {
        let mut pairs = [[0; 2]; 100];
        let mut at = 0;
        while at < 100 {
            pairs[at] = [b'0' + (at / 10) as u8, b'0' + (at % 10) as u8];
            at += 1;
        }
        pairs
    };
    let mut digits = [0; 20];
    let mut start = digits.len();
    while number >= 10 {
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    // Left is a digit, or nothing but the 0 of an even number of digits.
    if number > 0 || start == digits.len() {
        start -= 1;
        digits[start] = b'0' + number as u8;
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends a number in the fewest digits that read back as the same bits. JSON has no infinity: what has grown beyond all
/// numbers is written as the largest one.
#[inline]
pub fn push_float(number: f64, out: &mut Vec<u8>) {
    debug_assert!(!number.is_nan());
    let number = number.clamp(f64::MIN, f64::MAX);
    out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
}

/// Appends `,"key":` and a number.
#[inline]
pub fn push_field(key: &str, number: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    push_float(number, out);
}

/// Appends UTF-8 as the inside of a JSON text.
#[inline]
pub fn push_escaped(text: &[u8], out: &mut Vec<u8>) {
    if !text.iter().any(|byte| needs_escape(*byte)) {
        out.extend_from_slice(text);
        return;
    }
    push_with_escapes(text, out);
}

#[inline]
fn needs_escape(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

#[cold]
fn push_with_escapes(text: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in text {
        let short = match byte {
            b'"' | b'\\' => *byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..b' ' => {
                out.extend_from_slice(b"\\u00");
                out.extend([DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]);
                continue;
            }
            _ => {
                out.push(*byte);
                continue;
            }
        };
        out.extend([b'\\', short]);
    }
}

/// Appends bytes as base64 (RFC 4648, section 4, with padding).
pub fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(padded);
        let mut text = [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift) as usize & 63]);
        text[chunk.len() + 1..].fill(b'=');
        out.extend_from_slice(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        let table = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (bytes, text) in table {
            assert_eq!(written(|out| push_base64(bytes.as_bytes(), out)), text);
        }
        assert_eq!(written(|out| push_base64(&[0xfb, 0xff, 0xfe], out)), "+//+");
    }

    #[test]
    fn numbers_beyond_all_numbers_are_the_largest() {
        assert_eq!(written(|out| push_float(f64::INFINITY, out)), "1.7976931348623157e+308");
        assert_eq!(written(|out| push_float(f64::NEG_INFINITY, out)), "-1.7976931348623157e+308");
    }

    #[test]
    fn whole_numbers_at_their_edges() {
        for number in [0, 1, 9, 10, 11, 99, 100, 101, 999, 1000, 12_345, u64::MAX - 1, u64::MAX] {
            assert_eq!(written(|out| push_unsigned(number, out)), number.to_string());
        }
        for number in [i64::MIN, -100, -1, 0, 1, i64::MAX] {
            assert_eq!(written(|out| push_integer(number, out)), number.to_string());
        }
    }

    proptest! {
        #[test]
        fn all_reads_back(number: i64, digits in 0u32..64, float: f64, text in "\\PC*|[\\x00-\\x7f]{0,20}") {
            let number = number >> digits;
            prop_assert_eq!(written(|out| push_integer(number, out)), number.to_string());
            let finite = if float.is_finite() { float } else { 0.1 };
            let read: f64 = serde_json::from_str(&written(|out| push_float(finite, out))).unwrap();
            prop_assert_eq!(read.to_bits(), finite.to_bits());
            let quoted = written(|out| { out.push(b'"'); push_escaped(text.as_bytes(), out); out.push(b'"'); });
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }
    }
}
