//! Detector `limits`: a value below or above what is allowed, by channel. It remembers nothing, so it judges late readings
//! too.
//!
//! Low: x < low; high: x > high. Expected is the limit, score = |x - limit| / max(|limit|, 1), the threshold is 0, and the
//! severity is ERROR.

use crate::detectors::{Context, Detector, Findings, Spec, problem};
use crate::model::reading::Batch;
use crate::model::results::{Finding, Severity};
use crate::settings::{Key, Kind, Problem, Values};
use crate::state::{Corrupt, Reader, Scope, State, Writer};

/// `[detectors.limits]`.
pub const SPEC: Spec = Spec {
    name: "limits",
    about: "Finds values outside fixed limits, by channel: voltage = { low = 207.0, high = 253.0 }.",
    keys: &[],
    per_channel: &[
        Key {
            name: "low",
            kind: Kind::Float(f64::MIN, f64::MAX),
            default: None,
            doc: "A value below this is an anomaly, in the unit of the channel.",
        },
        Key {
            name: "high",
            kind: Kind::Float(f64::MIN, f64::MAX),
            default: None,
            doc: "A value above this is an anomaly, in the unit of the channel.",
        },
    ],
    build,
    warnings,
};

/// The limits of a channel; an absent one is infinite.
struct Limit {
    channel: usize,
    low: f64,
    high: f64,
}

struct Limits {
    limits: Vec<Limit>,
    kinds: Vec<String>,
}

fn build(values: &Values, context: &Context) -> Result<Box<dyn Detector>, Problem> {
    let (mut limits, mut kinds) = (Vec::new(), Vec::new());
    for (name, values) in &values.channels {
        let (low, high) = (values.float("low"), values.float("high"));
        if low.is_none() && high.is_none() {
            return Err(problem(name, format!("a limit is needed: {name} = {{ low = ..., high = ... }}, or one of them")));
        }
        let limit = Limit {
            channel: context.channel(name, name)?,
            low: low.unwrap_or(f64::NEG_INFINITY),
            high: high.unwrap_or(f64::INFINITY),
        };
        if limit.low > limit.high {
            let message = format!("low = {} is above high = {}: no value would be right", limit.low, limit.high);
            return Err(problem(name, message));
        }
        limits.push(limit);
    }
    // In the order of the source's channels, which is that of everything else said of a reading.
    limits.sort_by_key(|limit| limit.channel);
    for limit in &limits {
        let name = &context.channels[limit.channel];
        kinds.extend([format!("{name}_low"), format!("{name}_high")]);
    }
    Ok(Box::new(Limits { limits, kinds }))
}

fn warnings(values: &Values) -> Vec<Problem> {
    match values.channels.is_empty() {
        true => vec![problem("", "no channel has limits, so nothing is found: voltage = { low = 207.0, high = 253.0 }")],
        false => Vec::new(),
    }
}

impl Detector for Limits {
    fn kinds(&self) -> &[String] {
        &self.kinds
    }

    fn judges_late(&self) -> bool {
        true
    }

    fn judge(&mut self, batch: &Batch, found: &mut Findings) {
        let stride = batch.channels as usize;
        for (index, row) in batch.rows.iter().enumerate() {
            for (number, limit) in self.limits.iter().enumerate() {
                let value = batch.values[index * stride + limit.channel];
                let outside = value < limit.low || value > limit.high;
                if outside && row.present >> limit.channel & 1 == 1 {
                    found.push(index, finding(number, limit, value));
                }
            }
        }
    }

    fn close(&mut self, _watermark: i64) {}

    fn memory(&self) -> usize {
        0
    }
}

#[cold]
fn finding(number: usize, limit: &Limit, value: f64) -> Finding {
    let high = value > limit.high;
    let expected = if high { limit.high } else { limit.low };
    Finding {
        kind: number as u16 * 2 + u16::from(high),
        channel: Some(limit.channel),
        severity: Severity::Error,
        observed: value,
        expected,
        score: (value - expected).abs() / expected.abs().max(1.0),
        threshold: 0.0,
    }
}

impl State for Limits {
    fn kind(&self) -> (&'static str, u16) {
        ("limits", 1)
    }

    fn shape(&self) -> String {
        String::new()
    }

    fn is_changed(&self, _group: u16) -> bool {
        false
    }

    fn save(&self, _scope: Scope, _out: &mut Writer) {}

    fn load(&mut self, _scope: Scope, _from: &mut Reader) -> Result<(), Corrupt> {
        Ok(())
    }
}
