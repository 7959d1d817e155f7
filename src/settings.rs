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
    /// `Size`, bytes.
    Size(u64),
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
