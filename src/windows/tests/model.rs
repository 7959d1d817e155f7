//! Windows the slow way: all readings are kept, and at each tick every window is computed anew from them.

use super::{Kind, Published, Spec, Tick};
use crate::model::meter::{MeterKey, group_of};
use crate::model::results::WindowRow;
use std::collections::BTreeMap;

/// Times and values of a meter's channel, in canonical order.
type Readings = Vec<(i64, f64)>;

/// What was published last under a start.
#[derive(Clone, Copy)]
struct Last {
    end: i64,
    count: u64,
    revision: u32,
    is_taken_back: bool,
}

#[derive(Default)]
struct Series {
    readings: Readings,
    published: BTreeMap<i64, Last>,
}

/// Key group, number of the meter in its group by first appearance, channel: the order of what ends together.
type Place = (usize, usize, usize);

/// The model, and all that it has seen.
pub struct Model {
    spec: Spec,
    meters: Vec<Vec<u8>>,
    series: BTreeMap<Place, (usize, Series)>,
}

impl Model {
    pub fn new(spec: Spec) -> Model {
        Model { spec, meters: Vec::new(), series: BTreeMap::new() }
    }

    /// What a tick publishes, in order.
    pub fn step(&mut self, tick: &Tick) -> Vec<Published> {
        self.take_in(tick);
        let mut rows: Vec<(i64, Place, Published)> = Vec::new();
        for (place, (meter, series)) in &mut self.series {
            let meter = String::from_utf8(self.meters[*meter].clone()).unwrap();
            for mut row in series.publish(&self.spec, tick.watermark) {
                row.channel = place.2 as u32;
                rows.push((row.end, *place, Published { meter: meter.clone(), row }));
            }
        }
        rows.sort_by_key(|(end, place, row)| (*end, *place, row.row.count > 0));
        rows.into_iter().map(|(_, _, row)| row).collect()
    }

    /// The windows of all used readings.
    pub fn truth(&self) -> Vec<Published> {
        let mut all = Vec::new();
        for ((_, _, channel), (meter, series)) in &self.series {
            let meter = String::from_utf8(self.meters[*meter].clone()).unwrap();
            for (start, end, readings) in windows(&self.spec.kind, &series.readings) {
                let row = WindowRow { channel: *channel as u32, ..row(start, end, &readings, 0) };
                all.push(Published { meter: meter.clone(), row });
            }
        }
        all
    }

    fn take_in(&mut self, tick: &Tick) {
        for reading in tick.batches.iter().flat_map(|batch| batch.iter()).filter(|reading| reading.row().present != 0) {
            let group_of = |meter: &[u8]| group_of(MeterKey::new(meter, &mut Vec::new()).hash());
            let group = group_of(reading.meter());
            let known = self.meters.iter().position(|meter| meter == reading.meter());
            let meter = known.unwrap_or_else(|| {
                self.meters.push(reading.meter().to_vec());
                self.meters.len() - 1
            });
            let number = self.meters[..meter].iter().filter(|other| group_of(other) == group).count();
            for channel in 0..reading.batch.channels as usize {
                if let Some(value) = reading.value(channel) {
                    let (_, series) = self.series.entry((group, number, channel)).or_insert((meter, Series::default()));
                    series.readings.push((reading.time(), value));
                }
            }
        }
    }
}

impl Series {
    fn publish(&mut self, spec: &Spec, watermark: i64) -> Vec<WindowRow> {
        let all = windows(&spec.kind, &self.readings);
        let mut rows = Vec::new();
        for (start, last) in self.published.iter_mut().filter(|(_, last)| !last.is_taken_back) {
            if !all.iter().any(|(existing, _, _)| existing == start) {
                last.is_taken_back = true;
                rows.push(row(*start, last.end, &[], last.revision + 1));
            }
        }
        for (start, end, readings) in all.into_iter().filter(|(_, end, _)| *end <= watermark) {
            let count = readings.len() as u64;
            // A session carries on the revisions of all that was ever published and is part of it now.
            let absorbs = match spec.kind {
                Kind::Session { .. } => start..end,
                _ => start..start + 1,
            };
            let absorbed = self.published.range(absorbs).map(|(_, last)| last.revision).max();
            if self.published.get(&start).is_some_and(|last| last.count == count && last.end == end) {
                continue;
            }
            let revision = absorbed.map_or(0, |revision| revision + 1);
            self.published.insert(start, Last { end, count, revision, is_taken_back: false });
            rows.push(row(start, end, &readings, revision));
        }
        rows
    }
}

/// Start, end and readings of every window that has any.
fn windows(kind: &Kind, readings: &Readings) -> Vec<(i64, i64, Readings)> {
    match *kind {
        Kind::Tumbling { size } => aligned(size, size, readings),
        Kind::Sliding { size, slide } => aligned(size, slide, readings),
        Kind::Session { gap } => sessions(gap, readings),
    }
}

fn aligned(size: i64, slide: i64, readings: &Readings) -> Vec<(i64, i64, Readings)> {
    let mut windows: BTreeMap<i64, Readings> = BTreeMap::new();
    for (time, value) in readings {
        let around = time - size - slide..=time + slide;
        for start in around.filter(|start| start % slide == 0 && (*start..start + size).contains(time)) {
            windows.entry(start).or_default().push((*time, *value));
        }
    }
    windows.into_iter().map(|(start, readings)| (start, start + size, readings)).collect()
}

fn sessions(gap: i64, readings: &Readings) -> Vec<(i64, i64, Readings)> {
    let mut sorted = readings.clone();
    sorted.sort_by_key(|(time, _)| *time);
    let runs = sorted.chunk_by(|(before, _), (after, _)| after - before < gap);
    runs.map(|run| (run[0].0, run[run.len() - 1].0 + gap, run.to_vec())).collect()
}

fn row(start: i64, end: i64, readings: &[(i64, f64)], revision: u32) -> WindowRow {
    let count = readings.len() as f64;
    let values = || readings.iter().map(|(_, value)| *value);
    let mean = values().sum::<f64>() / count;
    let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let first = readings.iter().min_by_key(|(time, _)| *time);
    let last = readings.iter().max_by_key(|(time, _)| *time);
    WindowRow {
        meter: MeterKey::new(b"?", &mut Vec::new()),
        start,
        end,
        count: readings.len() as u64,
        mean,
        stddev: variance.sqrt(),
        min: values().fold(f64::NAN, f64::min),
        max: values().fold(f64::NAN, f64::max),
        first: first.map_or(f64::NAN, |(_, value)| *value),
        last: last.map_or(f64::NAN, |(_, value)| *value),
        revision,
        channel: 0,
    }
}
