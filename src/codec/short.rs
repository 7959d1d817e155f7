//! Numbers as they mostly are: short, and of the form of the last one of their field. The tests of `number` compare them.

use crate::codec::number::POWERS;
use crate::codec::scan::{HIGH, Window, digit_values, eight_digits, non_digits, word_in};

/// How a number with so many digits before its point and so many characters from there on stands in a word, its first digit in the lowest
/// place.
#[derive(Clone, Copy)]
struct Form {
    /// Its characters.
    all: u64,
    /// The point, less a zero.
    point: u64,
    /// What makes each place overflow to its highest bit: 10 in that of a digit, 1 in that of the point.
    limits: u64,
    /// The digits before the point.
    before: u64,
    /// The digits behind it, one place lower: where the point was.
    behind: u64,
    /// The least that eight digits from the first on may spell: with a leading zero, they spell less.
    least: u64,
    /// What to divide those by.
    scale: f64,
}

/// Longest short number, and one more.
const LENGTHS: usize = 8;

/// The forms by digits before the point and characters from the point on (none without one). Of those that cannot be, the
/// first character would be both a zero and none.
static FORMS: [[Form; LENGTHS]; LENGTHS] = {
    let limits = 0x0101_0101_0101_0101 * (0x80 - 10);
    let none = Form { all: 0, point: u64::MAX, limits, before: 0, behind: 0, least: 0, scale: 1.0 };
    let mut forms = [[none; LENGTHS]; LENGTHS];
    let mut whole = 1;
    while whole < LENGTHS {
        let least = if whole == 1 { 0 } else { 10_000_000 };
        let (before, scale) = ((1 << (8 * whole)) - 1, POWERS[8 - whole]);
        forms[whole][0] = Form { all: before, point: 0, limits, before, behind: 0, least, scale };
        let mut rest = 2;
        while whole + rest <= LENGTHS && rest < LENGTHS {
            let all = u64::MAX >> (64 - 8 * (whole + rest));
            let point = ((b'0' ^ b'.') as u64) << (8 * whole);
            let limits = limits + (9 << (8 * whole));
            forms[whole][rest] = Form { all, point, limits, before, behind: all >> 8 & !before, least, scale };
            rest += 1;
        }
        whole += 1;
    }
    forms
};

/// Whether a character can stand behind a number, by its code: a comma, the end of an object or list, a blank.
static ENDS: [bool; 256] = {
    let mut ends = [false; 256];
    let mut at = 0;
    while at < 7 {
        ends[b",}] \t\r\n"[at] as usize] = true;
        at += 1;
    }
    ends
};

/// The usual number, of not too many digits: its value and its length; `None` for anything else, also for what is no number.
/// Fastest with a sign or none, at most seven digits with a point among them or none, no exponent, and as many characters
/// from the point on as the last number of that field had, which is `rest`.
#[inline(always)]
pub fn short(window: &Window, rest: &mut u8) -> Option<(f64, usize)> {
    // A branch, which is foreseen, so that where the number ends need not wait for the sign.
    if window[0] == b'-' {
        let (value, length) = unsigned(window, 1, rest)?;
        return Some((0.0 - value, 1 + length));
    }
    unsigned(window, 0, rest)
}

#[inline(always)]
fn unsigned(window: &Window, start: usize, rest: &mut u8) -> Option<(f64, usize)> {
    match of_form(window, start, *rest) {
        None => of_another_form(window, start, rest),
        found => found,
    }
}

/// Reads the digits of a number with so many characters from its point on.
#[inline(always)]
fn of_form(window: &Window, start: usize, rest: u8) -> Option<(f64, usize)> {
    let values = digit_values(word_in(window, start));
    let rest = usize::from(rest) % LENGTHS;
    let whole = non_digits(values).trailing_zeros() as usize / 8 % LENGTHS;
    let form = &FORMS[whole][rest];
    let values = values & form.all ^ form.point;
    if (values.wrapping_add(form.limits) | values) & HIGH != 0 || !ENDS[usize::from(window[start + whole + rest])] {
        return None;
    }
    // What follows is gone and counts as zeros, as if the number had more decimals: the quotient is the same, bit for bit.
    let number = eight_digits(values & form.before | values >> 8 & form.behind);
    (number >= form.least).then(|| (number as f64 / form.scale, whole + rest))
}

/// A number of another form than the last, which is remembered, or a longer one or one with an exponent, if it is exact: at
/// most 15 digits, and a power of ten that an `f64` holds.
#[cold]
#[inline(never)]
fn of_another_form(window: &Window, start: usize, rest: &mut u8) -> Option<(f64, usize)> {
    let mut text = window[start..].iter();
    let mut mantissa = 0u64;
    let mut digits = |text: &mut std::slice::Iter<u8>| {
        let before = text.len();
        while let Some(digit @ b'0'..=b'9') = text.as_slice().first() {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            text.next();
        }
        before - text.len()
    };
    let whole = digits(&mut text);
    let mut decimals = 0;
    if text.as_slice().first() == Some(&b'.') {
        text.next();
        decimals = digits(&mut text);
        if decimals == 0 {
            return None;
        }
    }
    if whole == 0 || whole + decimals > 15 || (whole > 1 && window[start] == b'0') {
        return None;
    }
    let mut power = -(decimals as i32);
    if let Some(b'e' | b'E') = text.as_slice().first() {
        power += short_power(&mut text)?;
    } else if whole + decimals < LENGTHS {
        *rest = if decimals == 0 { 0 } else { 1 + decimals as u8 };
    }
    let size = power.unsigned_abs() as usize;
    let end = text.as_slice().first()?;
    if size >= POWERS.len() || !ENDS[usize::from(*end)] {
        return None;
    }
    // Both operands are exact, so that the one rounding of IEEE 754 is the right one (Clinger 1990).
    let value = if power < 0 { mantissa as f64 / POWERS[size] } else { mantissa as f64 * POWERS[size] };
    Some((value, window.len() - start - text.len()))
}

/// Takes an exponent of one or two digits.
fn short_power(text: &mut std::slice::Iter<u8>) -> Option<i32> {
    text.next();
    let sign = *text.as_slice().first()?;
    if matches!(sign, b'+' | b'-') {
        text.next();
    }
    let mut power = 0;
    for place in 0..3 {
        match text.as_slice().first()? {
            digit @ b'0'..=b'9' if place < 2 => power = power * 10 + i32::from(digit - b'0'),
            b'0'..=b'9' => return None,
            _ if place == 0 => return None,
            _ => break,
        }
        text.next();
    }
    Some(if sign == b'-' { -power } else { power })
}

/// The usual time: 8 to 15 digits, no sign, point or exponent. Its value and its length; `None` for anything else.
#[inline(always)]
pub fn long_integer(window: &Window) -> Option<(u64, usize)> {
    const SCALE: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
    let high = digit_values(word_in(window, 0));
    let low = digit_values(word_in(window, 8));
    let count = non_digits(low).trailing_zeros() as usize / 8;
    if non_digits(high) != 0 || high as u8 == 0 || count == 8 || !ENDS[usize::from(window[8 + count])] {
        return None;
    }
    // A shift by 64 would be none at all, hence two.
    let low = eight_digits(low << 8 << (56 - 8 * count));
    Some((eight_digits(high) * SCALE[count] + low, 8 + count))
}
