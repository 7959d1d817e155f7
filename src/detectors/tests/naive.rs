//! The detectors as a naive program has them: it keeps every reading and computes each baseline from scratch.

use super::{Found, Tick, channel_names, tables, text};
use crate::model::reading::Batch;
use crate::model::results::Severity;
use crate::settings::{Value, Values, parse_duration};
use std::collections::BTreeMap;

/// All settings of `moving_average` that the naive model knows.
#[derive(Clone, Debug)]
pub struct Setting {
    pub baseline: String,
    pub min_count: usize,
    pub floor: f64,
    pub floor_relative: f64,
}

impl Setting {
    pub fn tables(&self) -> BTreeMap<String, Values> {
        tables(&[
            ("baseline", text(&self.baseline)),
            ("min_count", Value::Integer(self.min_count as i64)),
            ("stddev_floor", Value::Float(self.floor)),
            ("stddev_floor_relative", Value::Float(self.floor_relative)),
        ])
    }

    /// The values of the baseline of a reading at `time`, given all earlier ones.
    fn baseline(&self, earlier: &[(i64, f64)], time: i64) -> Vec<f64> {
        let values = |readings: &[(i64, f64)]| readings.iter().map(|(_, value)| *value).collect();
        if self.baseline == "all" {
            return values(earlier);
        }
        if let Some(count) = self.baseline.strip_prefix("last ") {
            return values(&earlier[earlier.len().saturating_sub(count.parse().unwrap())..]);
        }
        let slice = parse_duration(&self.baseline).unwrap() / 30;
        let last = time.div_euclid(slice);
        let inside = |(time, _): &&(i64, f64)| (last - 29..=last).contains(&time.div_euclid(slice));
        values(&earlier.iter().filter(inside).copied().collect::<Vec<_>>())
    }

    /// The mean of the baseline and the score of a value; none when there are too few readings.
    fn score(&self, baseline: &[f64], value: f64) -> Option<(f64, f64)> {
        if baseline.len() < self.min_count {
            return None;
        }
        let count = baseline.len() as f64;
        let mean = baseline[0] + baseline.iter().map(|value| value - baseline[0]).sum::<f64>() / count;
        let variance = baseline.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let unit = variance.sqrt().max(self.floor).max(self.floor_relative * mean.abs());
        let score = match ((value - mean).abs(), unit) {
            (0.0, 0.0) => 0.0,
            (_, 0.0) => 1e6,
            (deviation, unit) => (deviation / unit).min(1e6),
        };
        Some((mean, score))
    }
}

/// Everything that must be found, and the findings so close to the threshold that either is right.
pub fn naive(setting: &Setting, ticks: &[Tick]) -> Vec<(Found, bool)> {
    let mut all: BTreeMap<_, Vec<(i64, f64)>> = BTreeMap::new();
    let mut expected = Vec::new();
    for reading in ticks.iter().flat_map(|tick| &tick.batches).flat_map(Batch::iter) {
        let late = reading.batch.is_late();
        let mut add = |kind: String, channel, severity, observed, mean, score, threshold, open| {
            let (partition, offset) = (reading.batch.partition, reading.offset());
            let found =
                Found { partition, offset, kind, channel, severity, observed, expected: mean, score, threshold, late };
            expected.push((found, open));
        };
        for (channel, name) in channel_names().iter().enumerate().filter(|_| !late) {
            let Some(value) = reading.value(channel) else { continue };
            let earlier = all.entry((reading.meter().to_vec(), channel)).or_default();
            if let Some((mean, score)) = setting.score(&setting.baseline(earlier, reading.time()), value) {
                let open = (score - 2.5).abs() < 1e-9;
                if score > 2.5 || open {
                    let kind = format!("{name}_{}", if value > mean { "spike" } else { "drop" });
                    let grave = [(8.0, Severity::Critical), (4.0, Severity::Error), (0.0, Severity::Warning)];
                    let severity = grave.iter().find(|(from, _)| score >= *from).unwrap().1;
                    add(kind, Some(channel), severity, value, mean, score, 2.5, open);
                }
            }
            earlier.push((reading.time(), value));
        }
        let mut limit = |channel: usize, kind: &str, limit: f64, outside: fn(f64, f64) -> bool| {
            if let Some(value) = reading.value(channel).filter(|value| outside(*value, limit)) {
                let kind = format!("{}_{kind}", channel_names()[channel]);
                let score = (value - limit).abs() / limit.abs().max(1.0);
                add(kind, Some(channel), Severity::Error, value, limit, score, 0.0, false);
            }
        };
        limit(0, "low", 229.5, |value, limit| value < limit);
        limit(0, "high", 231.0, |value, limit| value > limit);
        limit(2, "high", 230.0, |value, limit| value > limit);
        let status = String::from_utf8(reading.status().unwrap_or_default().to_vec()).unwrap();
        if status.contains("FAILURE") || status.contains("down") {
            add("equipment_failure".to_string(), None, Severity::Critical, 0.0, 0.0, 1.0, 1.0, false);
        }
    }
    expected
}

fn is_near(found: f64, expected: f64) -> bool {
    found == expected || (found - expected).abs() <= 1e-9 * expected.abs()
}

/// Compares in order, and passes over what is so close to the threshold that either is right.
pub fn assert_matches(found: &[Found], expected: &[(Found, bool)]) {
    let mut found = found.iter().peekable();
    for (expected, open) in expected {
        let same = |found: &&&Found| {
            (found.partition, found.offset, &found.kind, found.channel)
                == (expected.partition, expected.offset, &expected.kind, expected.channel)
        };
        let Some(found) = found.next_if(|found| same(&found)) else {
            assert!(open, "expected {expected:?}\nfound {:?}", found.peek());
            continue;
        };
        // A score within its tolerance of 4 or 8 may be graded either way.
        let graded = [4.0, 8.0].iter().any(|edge| is_near(expected.score, *edge)) || found.severity == expected.severity;
        assert!(graded && found.late == expected.late && found.threshold == expected.threshold, "{found:?}\n{expected:?}");
        let numbers =
            [(found.observed, expected.observed), (found.expected, expected.expected), (found.score, expected.score)];
        assert!(numbers.iter().all(|(found, expected)| is_near(*found, *expected)), "{found:?}\n{expected:?}");
    }
    assert_eq!(found.next(), None, "found what is not expected");
}
