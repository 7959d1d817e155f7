//! Settings as declared keys: what a part of the program can be told, with type, range, default and unit in one place.
//!
//! Whoever owns a setting declares its [`Key`] beside the code that uses it; `config` reads, checks and prints them all.

use std::collections::BTreeMap;

/// One key of a configuration table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the table.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// The default as TOML (`"30s"` with its quotes, `2.5`, `["a"]`); `None`: absent unless given.
    pub default: Option<&'static str>,
    /// What it does, with the unit; one or more lines.
    pub doc: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Bool,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A whole number in a range.
    Integer(i64, i64),
    /// A finite number in a range.
    Float(f64, f64),
    /// A duration (`250ms`, `30s`, `5m`, `1h`, `1d`) in a range of milliseconds.
    Duration(i64, i64),
    /// A duration as above, or `"off"`.
    DurationOrOff(i64, i64),
    /// A size (`64KiB`, `128MB`, `4096`) in a range of bytes.
    Size(u64, u64),
    /// A size as above, or `"auto"`.
    SizeOrAuto(u64, u64),
    /// A list of texts.
    List,
    /// A list of channel names of the source.
    Channels,
    /// A list of names, each also the name of its field; or a table: name = ["field", ...].
    Names,
}

/// The value of a key.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `Text` or `Choice`.
    Text(String),
    /// `Bool`.
    Bool(bool),
    /// `Integer`.
    Integer(i64),
    /// `Float`.
    Float(f64),
    /// `Duration`, ms; `DurationOrOff` that is not off.
    Duration(i64),
    /// `DurationOrOff`: off.
    Off,
    /// `Size`, bytes; `SizeOrAuto` that is not auto.
    Size(u64),
    /// `SizeOrAuto`: the program chooses.
    Auto,
    /// `List` or `Channels`.
    List(Vec<String>),
    /// `Names`: each with its fields.
    Names(Vec<(String, Vec<String>)>),
}

/// The values of one table; every key that has a default is present.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Values {
    /// By key.
    pub keys: BTreeMap<String, Value>,
    /// Sub-tables by channel, for tables whose keys are channel names.
    pub channels: BTreeMap<String, Values>,
}

/// What is wrong with a value although its type and range are right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The key in its table.
    pub key: String,
    /// What was found, and what would be right.
    pub message: String,
}

/// The milliseconds of a duration: a whole number with its unit, `250ms`, `30s`, `5m`, `1h` or `1d`, without blanks or sign.
pub fn parse_duration(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit_ms)
}

const DURATIONS: [(&str, i64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Bytes of a size: a whole number and, in any case, nothing, `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB` or `TiB`.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number = number.parse::<u64>().ok()?;
    if unit.is_empty() {
        return Some(number);
    }
    let (_, scale) = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(*scale)
}

/// A duration of so many milliseconds as [`parse_duration`] reads it, in the largest unit that fits exactly.
pub fn format_duration(ms: i64) -> String {
    let fits = |scale: i64| ms != 0 && ms % scale == 0;
    let (unit, scale) = DURATIONS.iter().rev().find(|(_, scale)| fits(*scale)).unwrap_or(&("s", 1_000));
    format!("{}{unit}", ms / scale)
}

/// A size of so many bytes as [`parse_size`] reads it, in the largest unit that fits exactly.
pub fn format_size(bytes: u64) -> String {
    let fits = SIZES.iter().filter(|(_, scale)| bytes != 0 && bytes.is_multiple_of(*scale));
    let (unit, scale) = fits.max_by_key(|(_, scale)| *scale).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / scale)
}

impl Values {
    /// A text that is present.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.keys.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A flag; false when absent.
    pub fn flag(&self, key: &str) -> bool {
        matches!(self.keys.get(key), Some(Value::Bool(true)))
    }

    /// A whole number.
    pub fn integer(&self, key: &str) -> Option<i64> {
        match self.keys.get(key)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// A number.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.keys.get(key)? {
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// A duration, ms; `None` when absent or off.
    pub fn duration(&self, key: &str) -> Option<i64> {
        match self.keys.get(key)? {
            Value::Duration(ms) => Some(*ms),
            _ => None,
        }
    }

    /// A size, bytes.
    pub fn size(&self, key: &str) -> Option<u64> {
        match self.keys.get(key)? {
            Value::Size(bytes) => Some(*bytes),
            _ => None,
        }
    }

    /// A list; empty when absent.
    pub fn list(&self, key: &str) -> &[String] {
        match self.keys.get(key) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    /// Names with their fields; empty when absent.
    pub fn names(&self, key: &str) -> &[(String, Vec<String>)] {
        match self.keys.get(key) {
            Some(Value::Names(names)) => names,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_with_a_unit() {
        let right = [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("0s", 0),
            ("007s", 7_000),
        ];
        for (text, ms) in right {
            assert_eq!(parse_duration(text), Some(ms), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            " 1s",
            "1S",
            "1w",
            "1min",
            "9223372036854775807s",
            "99999999999999999999ms",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        let table = [
            ("4096", Some(4_096)),
            ("0", Some(0)),
            ("64KiB", Some(65_536)),
            ("128MB", Some(128_000_000)),
            ("1kb", Some(1_000)),
            ("2 MB", None),
            ("1GiB", Some(1 << 30)),
            ("16777215TiB", Some(16_777_215 << 40)),
            ("16777216TiB", None),
            ("1K", None),
            ("", None),
            ("MB", None),
            ("-1", None),
            ("1.5MB", None),
        ];
        for (text, bytes) in table {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_formatted_reads_back(ms in 0..i64::MAX, bytes: u64, scale in 0..9usize) {
            proptest::prop_assert_eq!(parse_duration(&format_duration(ms)), Some(ms));
            proptest::prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
            let round = (bytes >> 44) * SIZES[scale].1;
            proptest::prop_assert_eq!(parse_size(&format_size(round)), Some(round));
            let (unit, size) = DURATIONS[scale % 5];
            proptest::prop_assert_eq!(format_duration(7 * size), format!("7{unit}"));
        }
    }
}
