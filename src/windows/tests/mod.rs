//! Windows against tables of cases, and against a naive model that follows the contract and nothing else.

mod cases;
mod model;
mod random;

use super::{Kind, Spec, Windows};
use crate::model::meter::GROUPS;
use crate::model::reading::Batch;
use crate::model::results::{WindowBatch, WindowRow};
use crate::state::{Reader, Scope, State, Writer};

/// A tick: its batches in canonical order, and the watermark that it ends with.
#[derive(Clone, Debug)]
struct Tick {
    batches: Vec<Batch>,
    watermark: i64,
}

/// A row with its meter spelled out. Rows are equal when all bits are.
#[derive(Clone, Debug)]
struct Published {
    meter: String,
    row: WindowRow,
}

impl PartialEq for Published {
    fn eq(&self, other: &Published) -> bool {
        let bits = |row: &WindowRow| {
            let floats = [row.mean, row.stddev, row.min, row.max, row.first, row.last].map(f64::to_bits);
            (row.start, row.end, row.count, row.revision, row.channel, floats)
        };
        self.meter == other.meter && bits(&self.row) == bits(&other.row)
    }
}

/// One meter, one channel: a tick of readings at these times, each with its time as value.
fn tick(times: &[i64], watermark: i64) -> Tick {
    let mut batch = Batch::new(0, 1, 0);
    for (offset, time) in times.iter().enumerate() {
        batch.push(b"meter", *time, offset as u64, None, 1, &[*time as f64]);
    }
    Tick { batches: vec![batch], watermark }
}

/// Runs one tick with `budget` rows a call; `between` may replace the windows after each call.
fn step(windows: &mut Windows, tick: &Tick, budget: usize, between: fn(&Spec, &mut Windows), spec: &Spec) -> Vec<Published> {
    tick.batches.iter().for_each(|batch| windows.apply(batch));
    let mut out = WindowBatch::default();
    loop {
        let done = windows.close(tick.watermark, budget, &mut out);
        between(spec, windows);
        if done {
            break;
        }
    }
    let published = |row: &WindowRow| Published { meter: row.meter.text(&out.heap).to_owned(), row: *row };
    out.rows.iter().map(published).collect()
}

fn keep(_: &Spec, _: &mut Windows) {}

/// Saves all state and loads it into new windows.
fn restore(spec: &Spec, windows: &mut Windows) {
    let channels = match windows {
        Windows::Sliced(sliced) => sliced.channels(),
        Windows::Sessions(sessions) => sessions.channels(),
    };
    let mut restored = Windows::new(*spec, channels);
    for scope in (0..GROUPS as u16).map(Scope::Group).chain([Scope::Global, Scope::Partition(0)]) {
        let mut out = Writer::default();
        windows.save(scope, &mut out);
        let mut from = Reader::new(out.bytes());
        restored.load(scope, &mut from).expect("what was saved can be loaded");
        from.finish().expect("all that was saved is read");
    }
    *windows = restored;
}

/// Number of slices or sessions held.
fn live(windows: &Windows) -> usize {
    match windows {
        Windows::Sliced(sliced) => sliced.live(),
        Windows::Sessions(sessions) => sessions.live(),
    }
}
