//! Numbers of the JSON grammar: exact in binary (the same bits as `str::parse`) and exact in decimal, for times.

use crate::codec::scan::{Fault, digit_values, eight_digits, fault, non_digits, word};

/// Powers of ten that an `f64` holds exactly.
pub const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Below this a mantissa can take one more digit.
const ROOM_FOR_ONE: u64 = 10u64.pow(18);
/// Below this a mantissa can take eight more digits.
const ROOM_FOR_EIGHT: u64 = 10u64.pow(11);

/// A number taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decimal {
    /// Where it starts.
    pub start: usize,
    /// Behind its last character.
    pub end: usize,
    /// Whether it has a minus sign.
    pub negative: bool,
    /// Whether it has neither fraction nor exponent.
    pub integer: bool,
    /// Its significant digits, at most the first 19.
    mantissa: u64,
    /// Whether those are all, but for zeros.
    exact: bool,
    /// Power of ten that the mantissa counts.
    exponent: i64,
}

/// Digits as they are read.
#[derive(Default)]
struct Digits {
    mantissa: u64,
    dropped: i64,
    inexact: bool,
}

impl Digits {
    /// Takes the digits at `at`; where they end.
    #[inline]
    fn take(&mut self, bytes: &[u8], mut at: usize) -> usize {
        const SCALE: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
        while let Some(values) = word(bytes, at).map(digit_values)
            && self.mantissa < ROOM_FOR_EIGHT
        {
            let count = non_digits(values).trailing_zeros() as usize / 8;
            if count == 0 {
                return at;
            }
            // Digits move to the high end, so that zeros stand in front and what follows them is gone.
            self.mantissa = self.mantissa * SCALE[count] + eight_digits(values << (64 - 8 * count));
            at += count;
            if count < 8 {
                return at;
            }
        }
        while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
            if self.mantissa < ROOM_FOR_ONE {
                self.mantissa = self.mantissa * 10 + u64::from(digit - b'0');
            } else {
                self.dropped += 1;
                self.inexact |= *digit != b'0';
            }
            at += 1;
        }
        at
    }
}

impl Decimal {
    /// Reads the number at `start`; what stands behind it is not looked at.
    pub fn scan(bytes: &[u8], start: usize) -> Result<Decimal, Fault> {
        let negative = bytes.get(start) == Some(&b'-');
        let whole = start + usize::from(negative);
        let mut digits = Digits::default();
        let mut end = digits.take(bytes, whole);
        if end == whole {
            return fault(end, "a digit");
        }
        if bytes[whole] == b'0' && end > whole + 1 {
            return fault(whole, "a number without leading zeros");
        }
        let (mut integer, mut exponent) = (true, 0);
        if bytes.get(end) == Some(&b'.') {
            let fraction = end + 1;
            end = digits.take(bytes, fraction);
            if end == fraction {
                return fault(end, "a digit behind the point");
            }
            (integer, exponent) = (false, -((end - fraction) as i64));
        }
        if let Some(b'e' | b'E') = bytes.get(end) {
            let (power, behind) = power(bytes, end + 1)?;
            (integer, exponent, end) = (false, exponent + power, behind);
        }
        let Digits { mantissa, dropped, inexact } = digits;
        Ok(Decimal { start, end, negative, integer, mantissa, exact: !inexact, exponent: exponent + dropped })
    }

    /// The nearest `f64`, ties to even; an infinity when there is none. `bytes` is what the number was read from.
    #[inline]
    pub fn value(&self, bytes: &[u8]) -> f64 {
        // Both operands are exact, so that the one rounding of IEEE 754 is the right one (Clinger 1990).
        if self.exact && self.mantissa < 1 << 53 && self.exponent.unsigned_abs() < POWERS.len() as u64 {
            let (mantissa, power) = (self.mantissa as f64, POWERS[self.exponent.unsigned_abs() as usize]);
            let value = if self.exponent < 0 { mantissa / power } else { mantissa * power };
            return if self.negative { -value } else { value };
        }
        self.value_by_library(bytes)
    }

    #[inline(never)]
    fn value_by_library(&self, bytes: &[u8]) -> f64 {
        let text = std::str::from_utf8(&bytes[self.start..self.end]).expect("the characters of a number are ASCII");
        text.parse().expect("every number of JSON is one of Rust")
    }

    /// The number times `unit`, without its fraction; the largest or smallest `i128` for what is beyond 10^35.
    pub fn scaled(&self, unit: i64) -> i128 {
        let product = i128::from(self.mantissa) * i128::from(unit);
        if self.exponent == 0 {
            return if self.negative { -product } else { product };
        }
        let power = self.exponent.unsigned_abs();
        let size = match u32::try_from(power).ok().and_then(|power| 10i128.checked_pow(power)) {
            Some(power) if self.exponent < 0 => product / power,
            Some(power) => product.saturating_mul(power),
            None if self.exponent < 0 || product == 0 => 0,
            None => i128::MAX,
        };
        if self.negative { -size } else { size }
    }
}

/// The exponent at `at`, behind its `e`, and where it ends; beyond a billion it no longer matters how much.
fn power(bytes: &[u8], at: usize) -> Result<(i64, usize), Fault> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
    let (mut power, mut end) = (0i64, start);
    while let Some(digit @ b'0'..=b'9') = bytes.get(end) {
        power = (power * 10 + i64::from(digit - b'0')).min(1 << 40);
        end += 1;
    }
    if end == start {
        return fault(end, "a digit of the exponent");
    }
    Ok((if negative { -power } else { power }, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::scan::Window;
    use crate::codec::short::{long_integer, short};
    use proptest::prelude::*;

    /// The grammar of RFC 8259, naively: the length of the number that `text` starts with.
    fn number_length(text: &[u8]) -> Option<usize> {
        let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut at = usize::from(text.first() == Some(&b'-'));
        let whole = digits(at);
        if whole == 0 || (whole > 1 && text[at] == b'0') {
            return None;
        }
        at += whole;
        if text.get(at) == Some(&b'.') {
            let fraction = digits(at + 1);
            at = if fraction == 0 { return None } else { at + 1 + fraction };
        }
        if matches!(text.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
            let power = digits(at + 1 + sign);
            at = if power == 0 { return None } else { at + 1 + sign + power };
        }
        Some(at)
    }

    /// A window that starts with `text`; blanks follow.
    fn padded(text: &str) -> Window {
        let mut window = [b' '; size_of::<Window>()];
        let length = text.len().min(size_of::<Window>());
        window[..length].copy_from_slice(&text.as_bytes()[..length]);
        window
    }

    fn check(text: &str) {
        let bytes = text.as_bytes();
        let window = padded(text);
        let length = number_length(bytes);
        let scanned = Decimal::scan(bytes, 0).ok();
        assert_eq!(scanned.map(|decimal| decimal.end), length, "{text}");
        let Some((decimal, length)) = scanned.zip(length) else {
            (0..8).for_each(|rest| assert_eq!(short(&window, &mut { rest }), None, "{text}"));
            assert_eq!(long_integer(&window), None, "{text}");
            return;
        };
        let expected: f64 = text[..length].parse().unwrap();
        assert_eq!(decimal.value(bytes).to_bits(), expected.to_bits(), "{text}");
        for rest in 0..10 {
            if let Some((value, end)) = short(&window, &mut { rest }) {
                assert_eq!((value.to_bits(), end), ((expected + 0.0).to_bits(), length), "{text}");
            }
        }
        if let Some((value, end)) = long_integer(&window) {
            assert_eq!((value.to_string().as_str(), end), (&text[..length], length), "{text}");
        }
    }

    #[test]
    fn numbers_at_the_edges() {
        for text in [
            "0",
            "-0",
            "-0.0",
            "-0e7",
            "00",
            "01",
            "-",
            "-x",
            ".5",
            "5.",
            "5.x",
            "1e",
            "1e+",
            "1e5",
            "1E-5",
            "+1",
            "1.5.2",
            "1e5.2",
            "0.1",
            "0.30000000000000004",
            "9007199254740991",
            "9007199254740993",
            "123456789012345678",
            "1234567890123456789012",
            "1e22",
            "1e23",
            "1e308",
            "1e309",
            "-1e999",
            "1e-400",
            "5e-324",
            "2e-324",
            "1.7976931348623159e308",
            "0e999999999999999999999",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "230.123",
            "1234567",
            "12345678",
            "123.4567",
            "1.234567",
            "0.000001",
            "100000000000000000000000000000000000000000e-30",
            "0.0000000000000000000000000000000000001e37",
            "-12.5",
            "1700000000123",
            "17000000",
            "170000001",
            "1700000000123456",
            "17000000001234567",
            "0700000000123",
            "1700000000123.5",
            "1700000000123e1",
        ] {
            for behind in
                ["", ",", "}", " ", "\n", ",\"voltage\":230.5,", "}                        ", ".", "e", "x0000000000000000"]
            {
                check(&format!("{text}{behind}"));
            }
        }
    }

    #[test]
    fn usual_numbers_are_short() {
        let numbers = [("230.123", 230.123f64), ("-5.5}", -5.5), ("0,", 0.0), ("1234567,", 1_234_567.0), ("-0.0", 0.0)];
        for ((text, value), mut rest) in numbers.into_iter().flat_map(|number| (0..9).map(move |last| (number, last))) {
            let found = short(&padded(text), &mut rest).map(|short| short.0.to_bits());
            assert_eq!(found, Some(value.to_bits()), "{text}");
        }
        let mut rest = 7;
        assert_eq!(short(&padded("-12.3456]"), &mut rest), Some((-12.3456, 8)));
        assert_eq!((rest, short(&padded("9.8765\n"), &mut rest)), (5, Some((9.8765, 6))));
        assert_eq!(long_integer(&padded("1700000000123,")), Some((1_700_000_000_123, 13)));
        assert_eq!(long_integer(&padded("17000000,")), Some((17_000_000, 8)));
        assert_eq!(long_integer(&padded("170000000012345 ")), Some((170_000_000_012_345, 15)));
    }

    #[test]
    fn a_time_is_cut_off_exactly() {
        for (text, unit, expected) in [
            ("1700000000123.999999999999999999999999", 1, 1_700_000_000_123),
            ("1700000000.123999999999999999999999999", 1000, 1_700_000_000_123),
            ("1.700000000123e12", 1, 1_700_000_000_123),
            ("1700000000123000000000000000000000e-21", 1, 1_700_000_000_123),
            ("0.0000000000000000000000000000001700000000123e43", 1, 1_700_000_000_123),
            ("-0.9", 1, 0),
            ("-1.9", 1, -1),
            ("0e999999", 1, 0),
            ("1e-999999", 1000, 0),
            ("1e999999", 1, i128::MAX),
            ("-1e999999", 1, -i128::MAX),
            ("1e36", 1000, i128::MAX),
        ] {
            let scaled = Decimal::scan(text.as_bytes(), 0).unwrap().scaled(unit);
            if expected == i128::MAX { assert!(scaled > 1 << 100) } else { assert_eq!(scaled, expected, "{text}") }
        }
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_the_library(text in "-?[0-9]{1,22}(\\.[0-9]{0,22})?([eE][+-]?[0-9]{0,3})?[,} .e]?[0-9]{0,9}") {
            check(&text);
        }

        #[test]
        fn any_value_comes_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            check(&format!("{value}, "));
            check(&format!("{value:e}, "));
        }
    }
}
