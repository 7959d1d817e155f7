//! What a simulated fleet can be told.

use crate::model::meter::MAX_ID;
use crate::settings::{Key, Kind, Problem, Value, Values};
use crate::simulator::faults::{Channel, FaultMix};
use crate::simulator::fleet::slot_steps;

const DAY: i64 = 86_400_000;
/// 2000-01-01T00:00:00Z and 2100-01-01T00:00:00Z: between them lie the times that a reading can have.
const YEARS: (i64, i64) = (946_684_800_000, 4_102_444_800_000);

/// The shape of lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shapes {
    /// All alike: one key order, no blanks, fixed decimals.
    Plain,
    /// Four key orders, blanks, escapes, exponents and unknown nested fields, drawn anew for every line.
    Mixed,
}

/// A fleet and how its readings are delivered. The same settings give the same bytes, on any machine.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Number of meters.
    pub meters: u32,
    /// Every meter reports once in this interval, ms, at a phase of its own.
    pub interval_ms: i64,
    /// How long the simulated time is, ms; a part of an interval at its end is left out.
    pub duration_ms: i64,
    /// First instant, ms since the epoch.
    pub start_ms: i64,
    /// Seed of all that is drawn.
    pub seed: u64,
    /// Faults per meter and day.
    pub faults: FaultMix,
    /// Share of the readings that are delivered up to `disorder_ms` later than others of their time, 0 to 1.
    pub disorder_share: f64,
    /// The longest such delay, ms.
    pub disorder_ms: i64,
    /// Share of the readings that are delivered far later: more than `disorder_ms`, at most `late_ms`; 0 to 1.
    pub late_share: f64,
    /// The longest such delay, ms.
    pub late_ms: i64,
    /// Share of the lines that are broken, 0 to 1.
    pub malformed_share: f64,
    /// Every reading is taken up to this much later than its interval and phase say, ms; less than the interval.
    pub jitter_ms: i64,
    /// Which of voltage, current and temperature are reported.
    pub channels: [bool; Channel::ALL.len()],
    /// What ids begin with; a number follows.
    pub id_prefix: String,
    /// Length of an id, bytes: the number is filled up with zeros.
    pub id_length: usize,
    /// The shape of lines.
    pub shapes: Shapes,
    /// Number of partitions over which the meters are spread.
    pub partitions: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            meters: 1000,
            interval_ms: 10_000,
            duration_ms: 3_600_000,
            start_ms: 1_704_067_200_000,
            seed: 1,
            faults: FaultMix::DEFAULT,
            disorder_share: 0.02,
            disorder_ms: 30_000,
            late_share: 0.0005,
            late_ms: 600_000,
            malformed_share: 0.0001,
            jitter_ms: 100,
            channels: [true; 3],
            id_prefix: "meter-".into(),
            id_length: 12,
            shapes: Shapes::Plain,
            partitions: 1,
        }
    }
}

/// The keys of a source table with `kind = "simulator"`; how fast it runs is up to who reads it.
pub const KEYS: &[Key] = &[
    key("meters", Kind::Integer(1, 100_000_000), "1000", "Number of meters."),
    key("interval", Kind::Duration(1, 3_600_000), "\"10s\"", "Every meter reports once in this time."),
    key("duration", Kind::Duration(1, 36_500 * DAY), "\"1h\"", "How long the simulated time is."),
    key("start", Kind::Text, "\"2024-01-01T00:00:00Z\"", "First instant of the simulated time (RFC 3339)."),
    key("seed", Kind::Integer(0, i64::MAX), "1", "The same seed gives the same lines, byte for byte."),
    key(
        "faults",
        Kind::Text,
        "\"default\"",
        "Injected faults: \"none\", \"default\", or faults per meter and day by kind,\n\
         such as \"spike=0.02,stuck=0.01\" (spike, sag, stuck, drift, noise, swap, failure).",
    ),
    key("disorder", Kind::Duration(0, 30 * DAY), "\"30s\"", "Readings out of order come at most this much later."),
    key("disorder_share", Kind::Float(0.0, 1.0), "0.02", "Share of the readings that are out of order."),
    key(
        "lateness",
        Kind::Duration(0, 30 * DAY),
        "\"10m\"",
        "Late readings come at most this much later, but more than `disorder`.",
    ),
    key("late_share", Kind::Float(0.0, 1.0), "0.0005", "Share of the readings that are late."),
    key("malformed_share", Kind::Float(0.0, 1.0), "0.0001", "Share of the lines that are broken."),
    key("jitter", Kind::Float(0.0, 0.9), "0.01", "How unevenly a meter reports, as a share of the interval."),
    key("channels", Kind::List, "[\"voltage\", \"current\", \"temperature\"]", "What the meters report."),
    key("id_prefix", Kind::Text, "\"meter-\"", "What meter ids begin with; a number follows."),
    key("id_length", Kind::Integer(1, MAX_ID as i64), "12", "Length of a meter id, bytes: zeros fill the number up."),
    key(
        "shapes",
        Kind::Choice(&["plain", "mixed"]),
        "\"plain\"",
        "mixed: other key orders, blanks, escapes, exponents, unknown fields.",
    ),
    key("partitions", Kind::Integer(1, 1024), "1", "Number of partitions over which the meters are spread."),
];

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default: Some(default), doc }
}

/// The settings in the values of [`KEYS`], checked.
pub fn from_values(values: &Values) -> Result<Settings, Problem> {
    let default = Settings::default();
    let integer = |key: &str, default: i64| values.integer(key).unwrap_or(default);
    let duration = |key: &str, default: i64| values.duration(key).unwrap_or(default);
    let share = |key: &str, default: f64| values.float(key).unwrap_or(default);
    let interval_ms = duration("interval", default.interval_ms);
    let settings = Settings {
        meters: integer("meters", default.meters.into()) as u32,
        interval_ms,
        duration_ms: duration("duration", default.duration_ms),
        start_ms: values.text("start").map_or(Ok(default.start_ms), start)?,
        seed: integer("seed", default.seed as i64) as u64,
        faults: match values.text("faults") {
            Some(text) => FaultMix::parse(text).map_err(|message| problem("faults", message))?,
            None => default.faults,
        },
        disorder_share: share("disorder_share", default.disorder_share),
        disorder_ms: duration("disorder", default.disorder_ms),
        late_share: share("late_share", default.late_share),
        late_ms: duration("lateness", default.late_ms),
        malformed_share: share("malformed_share", default.malformed_share),
        jitter_ms: (share("jitter", 0.01) * interval_ms as f64) as i64,
        channels: match values.keys.get("channels") {
            Some(Value::List(names)) => channels(names)?,
            _ => default.channels,
        },
        id_prefix: values.text("id_prefix").unwrap_or(&default.id_prefix).into(),
        id_length: integer("id_length", default.id_length as i64) as usize,
        shapes: if values.text("shapes") == Some("mixed") { Shapes::Mixed } else { Shapes::Plain },
        partitions: integer("partitions", default.partitions.into()) as u32,
    };
    settings.check()?;
    Ok(settings)
}

fn start(text: &str) -> Result<i64, Problem> {
    let time = text.parse::<jiff::Timestamp>();
    let expected = || problem("start", format!("found \"{text}\"; expected a time such as \"2024-01-01T00:00:00Z\""));
    time.map(|time| time.as_millisecond()).map_err(|_| expected())
}

fn channels(names: &[String]) -> Result<[bool; Channel::ALL.len()], Problem> {
    let unknown = names.iter().find(|name| !Channel::ALL.iter().any(|channel| channel.name() == name.as_str()));
    match unknown {
        Some(name) => {
            Err(problem("channels", format!("found \"{name}\"; a meter can report voltage, current and temperature")))
        }
        None => Ok(Channel::ALL.map(|channel| names.iter().any(|name| name == channel.name()))),
    }
}

fn problem(key: &str, message: String) -> Problem {
    Problem { key: key.into(), message }
}

impl Settings {
    /// Checks what no single value shows; whatever comes from [`from_values`] has passed.
    pub fn check(&self) -> Result<(), Problem> {
        let fail = |key: &str, message: String| Err(problem(key, message));
        for (key, number, low) in [
            ("meters", i64::from(self.meters), 1),
            ("interval", self.interval_ms, 1),
            ("disorder", self.disorder_ms, 0),
            ("lateness", self.late_ms, 0),
            ("jitter", self.jitter_ms, 0),
            ("partitions", i64::from(self.partitions), 1),
        ] {
            if number < low {
                return fail(key, format!("found {number}; the least is {low}"));
            }
        }
        let shares = [
            ("disorder_share", self.disorder_share),
            ("late_share", self.late_share),
            ("malformed_share", self.malformed_share),
        ];
        for (key, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return fail(key, format!("found {share}; a share lies between 0 and 1"));
            }
        }
        if self.disorder_share + self.late_share > 1.0 {
            return fail(
                "late_share",
                format!("{} late and {} out of order are more than all", self.late_share, self.disorder_share),
            );
        }
        if self.late_share > 0.0 && self.late_ms <= self.disorder_ms {
            return fail(
                "lateness",
                format!("{} ms is not more than the disorder of {} ms", self.late_ms, self.disorder_ms),
            );
        }
        self.check_time()?;
        self.check_id()
    }

    fn check_time(&self) -> Result<(), Problem> {
        let fail = |key: &str, message: String| Err(problem(key, message));
        if self.duration_ms < self.interval_ms {
            return fail("duration", format!("{} ms holds not one interval of {} ms", self.duration_ms, self.interval_ms));
        }
        if self.jitter_ms >= self.interval_ms {
            return fail(
                "jitter",
                format!("{} ms is not less than the interval of {} ms", self.jitter_ms, self.interval_ms),
            );
        }
        let end = self.start_ms.checked_add(self.duration_ms);
        if self.start_ms < YEARS.0 || end.is_none_or(|end| end > YEARS.1) {
            return fail("start", "the simulated time does not lie between 2000-01-01 and 2099-12-31".into());
        }
        let most = DAY as f64 / (slot_steps(self.interval_ms) * self.interval_ms as u64) as f64;
        if self.faults.total() > most {
            let total = self.faults.total();
            return fail("faults", format!("found {total} faults per meter and day; at this interval at most {most} fit"));
        }
        Ok(())
    }

    fn check_id(&self) -> Result<(), Problem> {
        let fail = |key: &str, message: String| Err(problem(key, message));
        if !self.id_prefix.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
            return fail("id_prefix", "only visible ASCII characters without \" and \\ can be used".into());
        }
        let digits = (self.meters - 1).checked_ilog10().unwrap_or(0) as usize + 1;
        if self.id_length > MAX_ID || self.id_prefix.len() + digits > self.id_length {
            let least = self.id_prefix.len() + digits;
            return fail(
                "id_length",
                format!("found {}; for this prefix and number of meters {least} to {MAX_ID}", self.id_length),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `config` makes of the defaults of the keys.
    fn defaults() -> Values {
        let mut values = Values::default();
        for key in KEYS {
            let text = key.default.unwrap();
            let table: toml::Table = format!("x = {text}").parse().unwrap();
            let ms = |text: &str| {
                let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
                let number: i64 = text[..text.len() - unit.len()].parse().unwrap();
                number
                    * [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]
                        .iter()
                        .find(|(name, _)| *name == unit)
                        .unwrap()
                        .1
            };
            let value = match (key.kind, &table["x"]) {
                (Kind::Text | Kind::Choice(_), toml::Value::String(text)) => Value::Text(text.clone()),
                (Kind::Integer(..), toml::Value::Integer(number)) => Value::Integer(*number),
                (Kind::Float(..), toml::Value::Float(number)) => Value::Float(*number),
                (Kind::Duration(..), toml::Value::String(text)) => Value::Duration(ms(text)),
                (Kind::List, toml::Value::Array(list)) => {
                    Value::List(list.iter().map(|t| t.as_str().unwrap().into()).collect())
                }
                other => panic!("{}: {other:?}", key.name),
            };
            values.keys.insert(key.name.into(), value);
        }
        values
    }

    #[test]
    fn the_defaults_of_the_keys_are_the_default() {
        assert_eq!(from_values(&defaults()), Ok(Settings::default()));
    }

    #[test]
    fn every_key_is_read() {
        for (key, value) in [
            ("meters", Value::Integer(7)),
            ("interval", Value::Duration(1_000)),
            ("duration", Value::Duration(60_000)),
            ("start", Value::Text("2024-03-01T00:00:00+01:00".into())),
            ("seed", Value::Integer(2)),
            ("faults", Value::Text("none".into())),
            ("disorder", Value::Duration(5)),
            ("disorder_share", Value::Float(0.5)),
            ("lateness", Value::Duration(30_001)),
            ("late_share", Value::Float(0.5)),
            ("malformed_share", Value::Float(0.5)),
            ("jitter", Value::Float(0.5)),
            ("channels", Value::List(vec!["current".into()])),
            ("id_prefix", Value::Text("m".into())),
            ("id_length", Value::Integer(22)),
            ("shapes", Value::Text("mixed".into())),
            ("partitions", Value::Integer(3)),
        ] {
            let mut values = defaults();
            assert!(values.keys.insert(key.into(), value).is_some(), "{key} is no key");
            assert_ne!(from_values(&values), Ok(Settings::default()), "{key} has no effect");
            from_values(&values).unwrap_or_else(|problem| panic!("{key}: {problem:?}"));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let base = Settings::default;
        for (key, settings) in [
            ("meters", Settings { meters: 0, ..base() }),
            ("interval", Settings { interval_ms: 0, ..base() }),
            ("partitions", Settings { partitions: 0, ..base() }),
            ("duration", Settings { duration_ms: 9_999, ..base() }),
            ("jitter", Settings { jitter_ms: 10_000, ..base() }),
            ("disorder_share", Settings { disorder_share: f64::NAN, ..base() }),
            ("late_share", Settings { late_share: 0.5, disorder_share: 0.6, ..base() }),
            ("lateness", Settings { late_ms: 30_000, ..base() }),
            ("start", Settings { start_ms: 946_684_799_999, ..base() }),
            ("start", Settings { start_ms: 4_102_444_800_000 - 3_599_999, ..base() }),
            ("start", Settings { start_ms: i64::MAX, ..base() }),
            ("faults", Settings { faults: FaultMix::parse("spike=8.1").unwrap(), ..base() }),
            ("id_prefix", Settings { id_prefix: "a\"b".into(), ..base() }),
            ("id_length", Settings { id_length: 8, ..base() }),
            ("id_length", Settings { id_length: 65, ..base() }),
            ("id_length", Settings { meters: 1_000_001, ..base() }),
        ] {
            assert_eq!(settings.check().map_err(|problem| problem.key), Err(key.into()), "{settings:?}");
        }
        for settings in [
            Settings { id_length: 9, ..base() },
            Settings { meters: 1_000_000, ..base() },
            Settings { start_ms: 4_102_444_800_000 - 3_600_000, ..base() },
            Settings { faults: FaultMix::parse("spike=8").unwrap(), ..base() },
        ] {
            assert_eq!(settings.check(), Ok(()), "{settings:?}");
        }
        for (key, value) in [
            ("start", Value::Text("2024-01-01".into())),
            ("faults", Value::Text("sparkle=1".into())),
            ("channels", Value::List(vec!["volt".into()])),
        ] {
            let mut values = defaults();
            values.keys.insert(key.into(), value);
            assert_eq!(from_values(&values).map_err(|problem| problem.key), Err(key.into()));
        }
    }
}
