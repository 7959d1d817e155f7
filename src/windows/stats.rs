//! Statistics of a run of readings: built one reading at a time, and merged without losing digits.

use bytemuck::{Pod, Zeroable};

/// Count, mean, spread, extremes, and the earliest and latest value of some readings.
///
/// The mean and the sum of squares are kept by Welford's update (Technometrics 4, 1962), never as sums of x and x^2, which
/// cancel: 230 V with a spread of 0.1 V would lose half of its digits.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
pub struct Stats {
    /// Number of readings; the other fields mean nothing while it is 0.
    pub count: u64,
    /// Mean of the values.
    pub mean: f64,
    /// Sum of the squared distances from the mean.
    pub m2: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Value at `first_time`; of several the first that was added.
    pub first: f64,
    /// Value at `last_time`; of several the last that was added.
    pub last: f64,
    /// Earliest event time, ms.
    pub first_time: i64,
    /// Latest event time, ms.
    pub last_time: i64,
}

impl Stats {
    /// Of no readings.
    pub const NONE: Stats =
        Stats { count: 0, mean: 0.0, m2: 0.0, min: 0.0, max: 0.0, first: 0.0, last: 0.0, first_time: 0, last_time: 0 };

    /// Of one reading.
    #[inline]
    pub fn of(time: i64, value: f64) -> Stats {
        Stats {
            count: 1,
            mean: value,
            m2: 0.0,
            min: value,
            max: value,
            first: value,
            last: value,
            first_time: time,
            last_time: time,
        }
    }

    /// Adds a reading; readings are added in canonical order.
    #[inline]
    pub fn add(&mut self, time: i64, value: f64) {
        if self.count == 0 {
            *self = Stats::of(time, value);
            return;
        }
        self.count += 1;
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.m2 += delta * (value - self.mean);
        // One instruction each; `f64::min` takes three, for NaN, which no reading is.
        self.min = if value < self.min { value } else { self.min };
        self.max = if value > self.max { value } else { self.max };
        if time >= self.last_time {
            self.last_time = time;
            self.last = value;
        }
        if time < self.first_time {
            self.first_time = time;
            self.first = value;
        }
    }

    /// Of all readings of `parts`, which do not overlap in time and come oldest first.
    ///
    /// Two passes around the mean of the first part (Chan, Golub, LeVeque 1979, generalised to n parts): exact when all
    /// values are equal, one division in all.
    #[inline]
    pub fn merge<'a>(parts: impl Iterator<Item = &'a Stats> + Clone) -> Stats {
        let mut all = Stats::NONE;
        let (mut shift, mut sum) = (0.0, 0.0);
        for part in parts.clone().filter(|part| part.count > 0) {
            if all.count == 0 {
                shift = part.mean;
                all = *part;
                continue;
            }
            all.count += part.count;
            sum += part.count as f64 * (part.mean - shift);
            all.min = all.min.min(part.min);
            all.max = all.max.max(part.max);
            all.last = part.last;
            all.last_time = part.last_time;
        }
        if all.count == 0 {
            return all;
        }
        all.mean = shift + sum / all.count as f64;
        all.m2 = 0.0;
        for part in parts.filter(|part| part.count > 0) {
            let distance = part.mean - all.mean;
            all.m2 += part.m2 + part.count as f64 * (distance * distance);
        }
        all
    }

    /// Standard deviation of the population.
    #[inline]
    pub fn stddev(&self) -> f64 {
        (self.m2 / self.count as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Stats {
        let mut stats = Stats::NONE;
        values.iter().enumerate().for_each(|(time, value)| stats.add(time as i64, *value));
        stats
    }

    #[test]
    fn equal_values_have_no_spread_however_they_are_split() {
        for value in [0.1, 230.1, -1e300, 1e-300] {
            let parts = [of(&[value; 3]), Stats::NONE, of(&[value; 7]), of(&[value])];
            let all = Stats::merge(parts.iter());
            assert_eq!((all.count, all.mean, all.stddev(), all.min, all.max), (11, value, 0.0, value, value));
        }
    }

    #[test]
    fn a_small_spread_on_a_large_mean_keeps_its_digits() {
        let values: Vec<f64> = (0..1000).map(|i| 1e9 + f64::from(i % 10) * 1e-3).collect();
        let parts: Vec<Stats> = values.chunks(7).map(of).collect();
        let all = Stats::merge(parts.iter());
        // Of 0, 1, ... 9 thousandths: sqrt(99 / 12); the values themselves are rounded to 1.2e-7.
        let expected = 8.25f64.sqrt() * 1e-3;
        assert!((all.stddev() - expected).abs() < 1e-7, "{} {expected}", all.stddev());
    }

    #[test]
    fn first_and_last_go_by_time_and_then_by_order() {
        let mut stats = Stats::NONE;
        for (time, value) in [(5, 1.0), (5, 2.0), (3, 3.0), (3, 4.0), (4, 5.0), (5, 6.0), (4, 7.0)] {
            stats.add(time, value);
        }
        assert_eq!((stats.first_time, stats.first, stats.last_time, stats.last), (3, 3.0, 5, 6.0));
        let later = of(&[8.0]);
        let merged = Stats::merge([&stats, &Stats { first_time: 9, last_time: 9, ..later }].into_iter());
        assert_eq!((merged.first_time, merged.first, merged.last_time, merged.last), (3, 3.0, 9, 8.0));
    }
}
