//! The rule of `moving_average`: when a value is an anomaly, given the sums of its baseline.

use crate::detectors::baseline::sums::Sums;
use crate::detectors::{given, problem};
use crate::model::results::{Finding, Severity};
use crate::settings::{Problem, Values};

/// The score of a value without measure: any difference from a mean without deviation.
const MOST_SCORE: f64 = 1e6;

/// When and how the detector fires.
pub struct Rule {
    min_count: f64,
    threshold: f64,
    stddev_floor: f64,
    stddev_floor_relative: f64,
    error_score: f64,
    critical_score: f64,
}

impl Rule {
    /// Takes it from the values of the detector's table.
    pub fn new(values: &Values) -> Result<Rule, Problem> {
        let float = |key| given(key, values.float(key));
        let rule = Rule {
            min_count: given("min_count", values.integer("min_count"))? as f64,
            threshold: float("threshold")?,
            stddev_floor: float("stddev_floor")?,
            stddev_floor_relative: float("stddev_floor_relative")?,
            error_score: float("error_score")?,
            critical_score: float("critical_score")?,
        };
        if rule.critical_score < rule.error_score {
            let message =
                format!("{} is below error_score = {}: no anomaly would be an ERROR", rule.critical_score, rule.error_score);
            return Err(problem("critical_score", message));
        }
        Ok(rule)
    }

    /// Whether a value is sure not to fire, without a root or a division: most of them. A deviation d fires only if
    /// d / sigma > threshold, since s is at least sigma; the margins are far above the error of the products.
    #[inline]
    fn is_calm(&self, baseline: &Sums, value: f64) -> bool {
        let deviation = value - baseline.mean;
        let limit = self.threshold * self.threshold * (1.0 - 1e-6);
        deviation * deviation * baseline.count + 1e-280 < limit * baseline.squares
    }

    /// The finding for a value, of which the kind is 0 for a spike and 1 for a drop.
    #[inline]
    pub fn judge(&self, baseline: &Sums, value: f64, channel: usize) -> Option<Finding> {
        if baseline.count < self.min_count || self.is_calm(baseline, value) {
            return None;
        }
        let score = self.score(baseline, value);
        (score > self.threshold).then(|| self.finding(baseline, value, score, channel))
    }

    fn score(&self, baseline: &Sums, value: f64) -> f64 {
        let stddev = (baseline.squares / baseline.count).sqrt();
        let unit = stddev.max(self.stddev_floor).max(self.stddev_floor_relative * baseline.mean.abs());
        let deviation = (value - baseline.mean).abs();
        if unit > 0.0 {
            let score = deviation / unit;
            // Not `min`: where squares have overflowed, this is no number and must stay none.
            return if score > MOST_SCORE { MOST_SCORE } else { score };
        }
        if deviation == 0.0 { 0.0 } else { MOST_SCORE }
    }

    #[cold]
    fn finding(&self, baseline: &Sums, value: f64, score: f64, channel: usize) -> Finding {
        let severity = match score {
            score if score >= self.critical_score => Severity::Critical,
            score if score >= self.error_score => Severity::Error,
            _ => Severity::Warning,
        };
        Finding {
            kind: u16::from(value < baseline.mean),
            channel: Some(channel),
            severity,
            observed: value,
            expected: baseline.mean,
            score,
            threshold: self.threshold,
        }
    }
}
