//! Readings as JSON lines: all alike, or in shapes that only a full parser reads.

use crate::simulator::draws::Draws;
use crate::simulator::faults::Channel;
use crate::simulator::fleet::Reading;
use crate::simulator::settings::Settings;

/// Longest line without its id and line feed that [`Lines::plain`] writes, bytes.
const LONGEST: usize = 160;
/// Decimals of the channels.
const DECIMALS: [usize; 3] = [3, 3, 1];

/// The fields of a line: 0 meter, 1 time, 2 to 4 channels, 5 status.
const ORDERS: [[usize; 6]; 4] = [[0, 1, 2, 3, 4, 5], [1, 0, 5, 4, 3, 2], [5, 2, 3, 4, 0, 1], [3, 1, 2, 0, 5, 4]];
const NAMES: [&str; 6] = ["meter_id", "timestamp", "voltage", "current", "temperature", "status"];
/// What no reader knows; some of it looks like what it does know.
const UNKNOWN: [&str; 4] = [
    r#""info":{"fw":"2.1.7","tags":["a","b\"]}"],"rssi":-71.5}"#,
    r#""meta":{"voltage":1.5,"meter_id":"x","sub":{"timestamp":0}}"#,
    r#""seq":[1,[2,{"status":"FAILURE"}],3e2,null,true]"#,
    r#""extra":{}"#,
];

/// Writes lines of a fleet.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    /// The beginning of every plain line, up to the number of the meter.
    head: Vec<u8>,
    prefix: usize,
    digits: usize,
    channels: [bool; Channel::ALL.len()],
}

/// How a line of mixed shape is written.
#[derive(Clone, Copy)]
struct Style {
    /// Blanks around colons and after commas.
    blanks: [&'static str; 3],
    escape_names: bool,
    escape_texts: bool,
    /// 0 or 1: fixed decimals, 2: `230123e-3`, 3: `2.30123E+2`.
    exponent: u64,
}

impl Lines {
    pub(super) fn new(settings: &Settings) -> Lines {
        let prefix = settings.id_prefix.len();
        Lines {
            head: format!("{{\"meter_id\":\"{}", settings.id_prefix).into_bytes(),
            prefix,
            digits: settings.id_length - prefix,
            channels: settings.channels,
        }
    }

    /// Appends the line of `reading`, without a line feed: no blanks, fixed decimals.
    #[inline]
    pub(super) fn plain(&self, reading: &Reading, out: &mut Vec<u8>) {
        out.reserve(self.head.len() + self.digits + LONGEST);
        out.extend_from_slice(&self.head);
        number(out, reading.id.into(), self.digits);
        out.extend_from_slice(b"\",\"timestamp\":");
        number(out, reading.time as u64, 1);
        if self.channels[0] {
            out.extend_from_slice(b",\"voltage\":");
            fixed(out, reading.values[0], DECIMALS[0]);
        }
        if self.channels[1] {
            out.extend_from_slice(b",\"current\":");
            fixed(out, reading.values[1], DECIMALS[1]);
        }
        if self.channels[2] {
            out.extend_from_slice(b",\"temperature\":");
            fixed(out, reading.values[2], DECIMALS[2]);
        }
        out.extend_from_slice(b",\"status\":\"");
        out.extend_from_slice(reading.status.as_bytes());
        out.extend_from_slice(b"\"}");
    }

    /// Appends a line that says the same in a shape drawn from `draws`, without a line feed.
    pub(super) fn mixed(&self, reading: &Reading, draws: Draws, out: &mut Vec<u8>) {
        let draw = draws.nth(5);
        let escapes = draw >> 4 & 3 == 0;
        let style = Style {
            blanks: [["", "", ""], ["", "", ""], ["", " ", " "], [" ", "\t", "  "]][(draw >> 2 & 3) as usize],
            escape_names: escapes && draw >> 6 & 1 == 0,
            escape_texts: escapes && draw >> 7 & 1 == 0,
            exponent: if draw >> 8 & 3 == 0 { 2 + (draw >> 10 & 1) } else { 0 },
        };
        // One in four has an unknown field in front of one of its fields.
        let unknown = if draw >> 12 & 3 == 0 { Some((draw >> 14) as usize % NAMES.len()) } else { None };
        out.push(b'{');
        let order = ORDERS[(draw & 3) as usize];
        let mut first = true;
        let mut comma = |out: &mut Vec<u8>| {
            if !first {
                out.push(b',');
                out.extend_from_slice(style.blanks[2].as_bytes());
            }
            first = false;
        };
        for field in order.into_iter().filter(|field| !(2..5).contains(field) || self.channels[field - 2]) {
            if unknown == Some(field) {
                comma(out);
                out.extend_from_slice(UNKNOWN[(draw >> 24 & 3) as usize].as_bytes());
            }
            comma(out);
            self.field(reading, field, style, out);
        }
        out.extend_from_slice(style.blanks[0].as_bytes());
        out.push(b'}');
    }

    fn field(&self, reading: &Reading, field: usize, style: Style, out: &mut Vec<u8>) {
        text(out, NAMES[field].as_bytes(), style.escape_names);
        out.extend_from_slice(style.blanks[0].as_bytes());
        out.push(b':');
        out.extend_from_slice(style.blanks[1].as_bytes());
        match field {
            0 => {
                let mut id = self.head[self.head.len() - self.prefix..].to_vec();
                number(&mut id, reading.id.into(), self.digits);
                text(out, &id, style.escape_texts);
            }
            1 => number(out, reading.time as u64, 1),
            5 => text(out, reading.status.as_bytes(), style.escape_texts),
            _ => {
                let (value, decimals) = (reading.values[field - 2], DECIMALS[field - 2]);
                match style.exponent {
                    2 => whole_exponent(out, value, decimals),
                    3 => scientific(out, value, decimals),
                    _ => fixed(out, value, decimals),
                }
            }
        }
    }
}

const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

/// Writes `value` in front of `end` with at least `least` digits; returns where it starts.
#[inline]
fn digits(buffer: &mut [u8; 80], end: usize, mut value: u64, least: usize) -> usize {
    let mut start = end;
    while value >= 10 {
        start -= 2;
        buffer[start..start + 2].copy_from_slice(&PAIRS[(value % 100) as usize]);
        value /= 100;
    }
    // The last pair may have had a leading zero too many.
    if value > 0 || start == end {
        start -= 1;
        buffer[start] = b'0' + value as u8;
    }
    while end - start < least {
        start -= 1;
        buffer[start] = b'0';
    }
    start
}

/// Appends `value`, filled up with zeros to `least` digits (at most 64).
#[inline]
fn number(out: &mut Vec<u8>, value: u64, least: usize) {
    let mut buffer = [0; 80];
    let start = digits(&mut buffer, 80, value, least);
    out.extend_from_slice(&buffer[start..]);
}

/// Appends `value` in units of its `decimals`-th decimal: 230123 with three is `230.123`.
#[inline]
fn fixed(out: &mut Vec<u8>, value: i64, decimals: usize) {
    let mut buffer = [0; 80];
    let start = digits(&mut buffer, 80, value.unsigned_abs(), decimals + 1);
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&buffer[start..80 - decimals]);
    out.push(b'.');
    out.extend_from_slice(&buffer[80 - decimals..]);
}

/// Like [`fixed`], as a whole number and an exponent: `230123e-3`.
fn whole_exponent(out: &mut Vec<u8>, value: i64, decimals: usize) {
    out.extend_from_slice(format!("{value}e-{decimals}").as_bytes());
}

/// Like [`fixed`], with one digit before the point: `2.30123E+2`.
fn scientific(out: &mut Vec<u8>, value: i64, decimals: usize) {
    let magnitude = value.unsigned_abs().to_string();
    let exponent = magnitude.len() as i64 - 1 - decimals as i64;
    let (sign, rest) = (if value < 0 { "-" } else { "" }, if magnitude.len() > 1 { &magnitude[1..] } else { "0" });
    out.extend_from_slice(format!("{sign}{}.{rest}E{exponent:+}", &magnitude[..1]).as_bytes());
}

/// Appends a JSON text; with `escape`, its last character is written as an escape.
fn text(out: &mut Vec<u8>, text: &[u8], escape: bool) {
    out.push(b'"');
    match text.split_last() {
        Some((last, rest)) if escape => {
            out.extend_from_slice(rest);
            out.extend_from_slice(format!("\\u{last:04X}").as_bytes());
        }
        _ => out.extend_from_slice(text),
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::fleet::Fleet;
    use serde_json::Value;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_looks_like_a_line() {
        let reading = Reading { id: 4217, time: 1_700_000_123_456, values: [230_123, 5_123, 215], status: "OK" };
        let line = r#"{"meter_id":"meter-004217","timestamp":1700000123456,"voltage":230.123,"current":5.123,"temperature":21.5,"status":"OK"}"#;
        assert_eq!(written(|out| Lines::new(&Settings::default()).plain(&reading, out)), line);
        let settings =
            Settings { channels: [false, true, false], id_prefix: "".into(), id_length: 22, ..Settings::default() };
        let line = r#"{"meter_id":"0000000000000000004217","timestamp":1700000123456,"current":5.123,"status":"OK"}"#;
        assert_eq!(written(|out| Lines::new(&settings).plain(&reading, out)), line);
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for value in (0..2_000).chain([9_999, 10_000, 99_999, 100_000, 123_456_789, u64::MAX / 2]) {
            for least in [1, 2, 3, 6, 16] {
                assert_eq!(written(|out| number(out, value, least)), format!("{value:0least$}"));
            }
            for value in [value as i64, -(value as i64)] {
                for decimals in [1, 3] {
                    let fixed = written(|out| fixed(out, value, decimals));
                    let (sign, magnitude) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
                    let scale = 10u64.pow(decimals as u32);
                    assert_eq!(fixed, format!("{sign}{}.{:0decimals$}", magnitude / scale, magnitude % scale));
                    let same: f64 = fixed.parse().unwrap();
                    for write in [whole_exponent, scientific] {
                        let other = written(|out| write(out, value, decimals));
                        assert_eq!(other.parse::<f64>().unwrap().to_bits(), same.to_bits(), "{other} {fixed}");
                    }
                }
            }
        }
    }

    #[test]
    fn mixed_lines_say_the_same() {
        for channels in [[true; 3], [true, false, true], [false; 3]] {
            let settings = Settings { channels, ..Settings::default() };
            let (fleet, lines) = (Fleet::new(&settings).unwrap(), Lines::new(&settings));
            let mut seen = [false; 6];
            for meter in 0..1000 {
                let reading = fleet.reading(meter, 3);
                let plain = written(|out| lines.plain(&reading, out));
                let mixed = written(|out| lines.mixed(&reading, fleet.draws(meter, 3), out));
                let values = |line: &str| {
                    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
                    NAMES
                        .map(|name| value.get(name).map(|value| value.as_f64().map_or(value.to_string(), |x| x.to_string())))
                };
                assert_eq!(values(&mixed), values(&plain), "{mixed}");
                let unknown = |text: &&str| mixed.contains(*text);
                for (seen, now) in seen.iter_mut().zip([
                    mixed == plain,
                    mixed.contains("\": ") || mixed.contains('\t'),
                    mixed.contains("\\u"),
                    mixed.contains("e-"),
                    mixed.contains("E+"),
                    UNKNOWN.iter().any(unknown),
                ]) {
                    *seen |= now;
                }
            }
            assert_eq!(seen, [true, true, true, channels[0], channels[0], true]);
        }
    }
}
