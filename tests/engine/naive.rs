//! What must come out, computed the slow way from the contract alone: every window from all its readings, every baseline
//! from the readings before. Holds where every meter stands in one file, so that canonical order is the order of lines.

use super::input::{Baseline, CHANNELS, Case, File, Reading, Window};
use std::collections::{BTreeMap, BTreeSet};

/// So many records ahead of `max_jump` move the clock.
const JUMP_RUN: usize = 16;

/// Statistics of a window.
#[derive(Clone, PartialEq, Debug)]
pub struct Statistics {
    pub count: u64,
    pub mean: f64,
    pub stddev: f64,
    pub min: f64,
    pub max: f64,
    pub first: f64,
    pub last: f64,
}

/// Partition and offset.
pub type Place = (String, u64);

/// What identifies an anomaly: kind, channel, meter, time, and whether its reading was late.
pub type Found = (Place, String, Option<String>, String, i64, bool);

/// The numbers of an anomaly.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Numbers {
    pub observed: Option<f64>,
    pub expected: Option<f64>,
    pub score: f64,
    pub threshold: f64,
    /// Whether rounding cannot decide whether it fires.
    pub is_certain: bool,
}

/// Everything that must come out.
#[derive(Default, Debug)]
pub struct Wanted {
    pub read: u64,
    pub used: u64,
    pub duplicate: u64,
    /// By meter, channel, start and end.
    pub windows: BTreeMap<(String, String, i64, i64), Statistics>,
    pub anomalies: BTreeMap<Found, Numbers>,
    /// Watermark and lateness.
    pub late: BTreeMap<Place, (i64, i64)>,
    pub dead: BTreeSet<Place>,
}

/// The partition's clock.
#[derive(Default)]
struct Clock {
    newest: Option<i64>,
    ahead: Vec<i64>,
}

impl Clock {
    fn advance(&mut self, max_jump: Option<i64>, time: i64) {
        let jumps = max_jump.is_some_and(|limit| self.newest.is_none_or(|newest| time > newest + limit));
        if !jumps {
            self.newest = self.newest.max(Some(time));
            self.ahead.clear();
            return;
        }
        self.ahead.push(time);
        if self.ahead.len() == JUMP_RUN {
            self.newest = self.ahead.iter().copied().min();
            self.ahead.clear();
        }
    }
}

/// What must come out of these files.
pub fn wanted(case: &Case, files: &[File]) -> Wanted {
    let mut wanted = Wanted::default();
    let mut series: BTreeMap<(String, usize), Vec<(i64, f64)>> = BTreeMap::new();
    for file in files {
        let (mut clock, mut seen) = (Clock::default(), BTreeSet::new());
        for record in &file.records {
            wanted.read += 1;
            let place = (file.name.clone(), record.offset);
            let Some(reading) = &record.reading else {
                wanted.dead.insert(place);
                continue;
            };
            let newest = clock.newest;
            clock.advance(case.max_jump, reading.time);
            let in_order = newest.map(|newest| newest - case.out_of_orderness);
            if let Some(watermark) = in_order.filter(|watermark| reading.time < watermark - case.allowed_lateness) {
                stateless(reading, &place, true, &mut wanted);
                wanted.late.insert(place, (watermark, watermark - reading.time));
                continue;
            }
            let channels = reading.values.map(|value| value.is_some());
            let is_new = seen.insert((reading.meter.clone(), reading.time, channels));
            if case.drop_duplicates && !is_new {
                wanted.duplicate += 1;
                continue;
            }
            wanted.used += 1;
            stateless(reading, &place, false, &mut wanted);
            for (channel, value) in reading.values.iter().enumerate() {
                let Some(value) = *value else { continue };
                let before = series.entry((reading.meter.clone(), channel)).or_default();
                moving_average(case, reading, (channel, value), before, &place, &mut wanted);
                before.push((reading.time, value));
            }
        }
    }
    for ((meter, channel), readings) in series {
        for (start, end) in windows(case.window, &readings) {
            let inside: Vec<_> = readings.iter().copied().filter(|(time, _)| (start..end).contains(time)).collect();
            wanted.windows.insert((meter.clone(), CHANNELS[channel].to_owned(), start, end), statistics(&inside));
        }
    }
    wanted
}

fn found(reading: &Reading, place: &Place, kind: String, channel: Option<usize>, late: bool) -> Found {
    (place.clone(), kind, channel.map(|channel| CHANNELS[channel].to_owned()), reading.meter.clone(), reading.time, late)
}

/// The detectors that judge late readings as well.
fn stateless(reading: &Reading, place: &Place, late: bool, wanted: &mut Wanted) {
    let (low, high) = (207.0, 253.0);
    if let Some(volts) = reading.values[0] {
        for (kind, limit, is_beyond) in [("voltage_low", low, volts < low), ("voltage_high", high, volts > high)] {
            if is_beyond {
                let score = (volts - limit).abs() / limit;
                let (observed, expected) = (Some(volts), Some(limit));
                let numbers = Numbers { observed, expected, score, threshold: 0.0, is_certain: true };
                wanted.anomalies.insert(found(reading, place, kind.to_owned(), Some(0), late), numbers);
            }
        }
    }
    if reading.status.is_some_and(|status| status.contains("FAILURE")) {
        let numbers = Numbers { observed: None, expected: None, score: 1.0, threshold: 1.0, is_certain: true };
        wanted.anomalies.insert(found(reading, place, "equipment_failure".to_owned(), None, late), numbers);
    }
}

fn moving_average(
    case: &Case,
    reading: &Reading,
    (channel, value): (usize, f64),
    before: &[(i64, f64)],
    place: &Place,
    wanted: &mut Wanted,
) {
    let baseline: Vec<f64> = match case.baseline {
        Baseline::All => before.iter().map(|(_, value)| *value).collect(),
        Baseline::Last(count) => before.iter().rev().take(count).map(|(_, value)| *value).collect(),
        Baseline::Time(duration) => {
            let slice = |time: i64| time.div_euclid(duration / 30);
            let slices = slice(reading.time) - 29..=slice(reading.time);
            before.iter().filter(|(time, _)| slices.contains(&slice(*time))).map(|(_, value)| *value).collect()
        }
    };
    if baseline.len() < case.min_count() {
        return;
    }
    let (mean, stddev) = mean_and_stddev(&baseline);
    let spread = stddev.max(0.001 * mean.abs());
    let distance = (value - mean).abs();
    let score = match (spread > 0.0, distance > 0.0) {
        (true, _) => (distance / spread).min(1e6),
        (false, differs) => {
            if differs {
                1e6
            } else {
                0.0
            }
        }
    };
    let kind = format!("{}_{}", CHANNELS[channel], if value > mean { "spike" } else { "drop" });
    let margin = 1e-9 * case.threshold;
    if score > case.threshold - margin {
        let numbers = Numbers {
            observed: Some(value),
            expected: Some(mean),
            score,
            threshold: case.threshold,
            is_certain: score > case.threshold + margin,
        };
        wanted.anomalies.insert(found(reading, place, kind, Some(channel), false), numbers);
    }
}

fn mean_and_stddev(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

/// Start and end of all windows that have a reading.
fn windows(window: Window, readings: &[(i64, f64)]) -> BTreeSet<(i64, i64)> {
    match window {
        Window::Sliding { size, slide } => {
            let starts = |time: i64| (0..size / slide).map(move |back| (time.div_euclid(slide) - back) * slide);
            readings.iter().flat_map(|(time, _)| starts(*time)).map(|start| (start, start + size)).collect()
        }
        Window::Session { gap } => {
            let mut times: Vec<i64> = readings.iter().map(|(time, _)| *time).collect();
            times.sort_unstable();
            times.chunk_by(|a, b| b - a < gap).map(|run| (run[0], run[run.len() - 1] + gap)).collect()
        }
    }
}

/// Statistics of readings in canonical order.
fn statistics(readings: &[(i64, f64)]) -> Statistics {
    let values: Vec<f64> = readings.iter().map(|(_, value)| *value).collect();
    let (mean, stddev) = mean_and_stddev(&values);
    let mut by_time = readings.to_vec();
    by_time.sort_by_key(|(time, _)| *time);
    Statistics {
        count: values.len() as u64,
        mean,
        stddev,
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        first: by_time[0].1,
        last: by_time[by_time.len() - 1].1,
    }
}
