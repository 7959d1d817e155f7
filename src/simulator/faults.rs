//! What goes wrong with a meter: the kinds of faults, how often they come, and the truth that is told about them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A quantity that a meter measures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Volts.
    Voltage,
    /// Amperes.
    Current,
    /// Degrees Celsius.
    Temperature,
}

impl Channel {
    /// Every channel, in the order of a line.
    pub const ALL: [Channel; 3] = [Channel::Voltage, Channel::Current, Channel::Temperature];

    /// The name of its field.
    pub fn name(self) -> &'static str {
        match self {
            Channel::Voltage => "voltage",
            Channel::Current => "current",
            Channel::Temperature => "temperature",
        }
    }
}

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One to three readings of a channel are far too high.
    Spike,
    /// The voltage is low for minutes.
    Sag,
    /// A channel repeats one value.
    Stuck,
    /// A channel moves away steadily, and comes back at once.
    Drift,
    /// A channel becomes many times noisier.
    Noise,
    /// Two neighbouring meters report under each other's id, or one has voltage and current exchanged.
    Swap,
    /// The status reports a failure; in one of three cases voltage and current also read 0.
    Failure,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Kind; 7] = [Kind::Spike, Kind::Sag, Kind::Stuck, Kind::Drift, Kind::Noise, Kind::Swap, Kind::Failure];

    /// As it stands in a fault mix and in the truth.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Spike => "spike",
            Kind::Sag => "sag",
            Kind::Stuck => "stuck",
            Kind::Drift => "drift",
            Kind::Noise => "noise",
            Kind::Swap => "swap",
            Kind::Failure => "failure",
        }
    }
}

/// How often each kind of fault comes: faults per meter and day.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FaultMix {
    rates: [f64; Kind::ALL.len()],
}

impl FaultMix {
    /// No faults.
    pub const NONE: FaultMix = FaultMix { rates: [0.0; Kind::ALL.len()] };
    /// The mix that is called `default`: about one fault per meter and week.
    pub const DEFAULT: FaultMix = FaultMix { rates: [0.04, 0.03, 0.02, 0.02, 0.02, 0.01, 0.02] };

    /// Faults of `kind` per meter and day.
    pub fn rate(&self, kind: Kind) -> f64 {
        self.rates[kind as usize]
    }

    /// Faults of any kind per meter and day.
    pub fn total(&self) -> f64 {
        self.rates.iter().sum()
    }

    /// Reads `none`, `default`, `spike=0.02,stuck=0.01`, or `default,spike=0.5`: of what is said twice the last holds.
    pub fn parse(text: &str) -> Result<FaultMix, String> {
        let mut mix = FaultMix::NONE;
        for item in text.split(',').map(str::trim) {
            match item {
                "none" => mix = FaultMix::NONE,
                "default" => mix = FaultMix::DEFAULT,
                _ => {
                    let (name, rate) = item.split_once('=').ok_or_else(|| expected(item))?;
                    let kind =
                        Kind::ALL.into_iter().find(|kind| kind.name() == name.trim()).ok_or_else(|| expected(item))?;
                    mix.rates[kind as usize] = rate
                        .trim()
                        .parse()
                        .ok()
                        .filter(|rate| (0.0..=1000.0).contains(rate))
                        .ok_or_else(|| expected(item))?;
                }
            }
        }
        Ok(mix)
    }
}

fn expected(found: &str) -> String {
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    format!(
        "found \"{found}\"; expected \"none\", \"default\" or KIND=FAULTS_PER_METER_AND_DAY, with commas between them; kinds: {}",
        kinds.join(", ")
    )
}

impl fmt::Display for FaultMix {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let mut comma = "";
        for kind in Kind::ALL.into_iter().filter(|kind| self.rate(*kind) > 0.0) {
            write!(out, "{comma}{}={}", kind.name(), self.rate(kind))?;
            comma = ",";
        }
        if comma.is_empty() { out.write_str("none") } else { Ok(()) }
    }
}

/// One fault of one meter, by its steps (numbers of readings).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// The channel that it affects; `None`: it is not about one channel.
    pub channel: Option<Channel>,
    /// Whether two meters report under each other's id ([`Kind::Swap`]).
    pub exchange: bool,
    /// First affected step.
    pub first: u64,
    /// First step that is not affected any more.
    pub end: u64,
    /// How strong, see [`Truth::magnitude`].
    pub magnitude: f64,
}

/// One injected fault, as the truth file tells it: the readings of `meter` with `start <= time < end` are affected.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Truth {
    /// The id under which the affected readings are reported.
    pub meter: String,
    /// What goes wrong.
    pub fault: Kind,
    /// The channel that it affects; null: it is not about one channel.
    pub channel: Option<Channel>,
    /// Time of the first affected reading, ms.
    pub start: i64,
    /// Time of the first reading that is not affected any more (whether or not it was still simulated), ms.
    pub end: i64,
    /// In the unit of the channel: what a spike or sag adds, what a drift has added at its end, the standard deviation of
    /// the added noise. Failure: 1 when the meter also measures 0, else 0. 0 for the other kinds.
    pub magnitude: f64,
}

/// How long faults of a kind last: a range of milliseconds, and the fewest steps.
pub(super) fn length(kind: Kind) -> (i64, i64, u64) {
    const MINUTE: i64 = 60_000;
    match kind {
        Kind::Spike => (0, 0, 1),
        Kind::Sag => (MINUTE, 10 * MINUTE, 2),
        Kind::Stuck => (20 * MINUTE, 60 * MINUTE, 8),
        Kind::Drift => (30 * MINUTE, 90 * MINUTE, 12),
        Kind::Noise => (15 * MINUTE, 45 * MINUTE, 8),
        Kind::Swap => (20 * MINUTE, 60 * MINUTE, 4),
        Kind::Failure => (MINUTE, 20 * MINUTE, 1),
    }
}

/// The weakest and the strongest magnitude of a kind on a channel.
pub(super) fn strength(kind: Kind, channel: Channel) -> (f64, f64) {
    match (kind, channel) {
        (Kind::Spike, Channel::Voltage) => (20.0, 60.0),
        (Kind::Spike, Channel::Current) => (15.0, 40.0),
        (Kind::Spike, Channel::Temperature) => (15.0, 40.0),
        (Kind::Sag, _) => (-80.0, -25.0),
        (Kind::Drift, Channel::Voltage) => (10.0, 30.0),
        (Kind::Drift, Channel::Current) => (6.0, 15.0),
        (Kind::Drift, Channel::Temperature) => (8.0, 25.0),
        (Kind::Noise, Channel::Voltage) => (4.0, 12.0),
        (Kind::Noise, Channel::Current) => (2.0, 6.0),
        (Kind::Noise, Channel::Temperature) => (2.0, 6.0),
        (Kind::Stuck | Kind::Swap | Kind::Failure, _) => (0.0, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_read() {
        let spike = |rate: f64| FaultMix { rates: [rate, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] };
        let mut more = FaultMix::DEFAULT;
        more.rates[Kind::Failure as usize] = 2.0;
        for (text, mix) in [
            ("none", FaultMix::NONE),
            ("default", FaultMix::DEFAULT),
            ("spike=0.02", spike(0.02)),
            (" spike = 2e-2 ", spike(0.02)),
            ("default,none,spike=1,spike=0.5", spike(0.5)),
            ("default, failure=2", more),
        ] {
            assert_eq!(FaultMix::parse(text), Ok(mix), "{text}");
            assert_eq!(FaultMix::parse(&mix.to_string()), Ok(mix), "{mix}");
        }
        for text in
            ["", "spike", "spike=", "spike=x", "spike=-1", "spike=nan", "spike=inf", "sparkle=1", "spike=1,", "Spike=1"]
        {
            let message = FaultMix::parse(text).expect_err(text);
            assert!(message.contains("expected \"none\""), "{message}");
        }
    }

    #[test]
    fn truth_reads_back() {
        let truth = Truth {
            meter: "meter-7".into(),
            fault: Kind::Stuck,
            channel: Some(Channel::Voltage),
            start: 5,
            end: 9,
            magnitude: 0.0,
        };
        let line = r#"{"meter":"meter-7","fault":"stuck","channel":"voltage","start":5,"end":9,"magnitude":0.0}"#;
        assert_eq!(serde_json::to_string(&truth).unwrap(), line);
        assert_eq!(serde_json::from_str::<Truth>(line).unwrap(), truth);
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for channel in Channel::ALL {
            assert_eq!(serde_json::to_value(channel).unwrap(), channel.name());
        }
    }
}
