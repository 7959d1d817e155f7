//! What detectors cost a reading, result lines a line, and state a byte to save and to load: `cargo bench --bench detect [-- FILTER]`.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use meterflow::codec::write::{Lines, Names};
use meterflow::detectors::{Context, Detectors};
use meterflow::model::meter::{GROUPS, MeterKey};
use meterflow::model::reading::{Batch, Reading};
use meterflow::model::results::{AnomalyBatch, Finding, Severity, WindowBatch, WindowRow};
use meterflow::settings::{Value, Values};
use meterflow::state::{Reader, Scope, State, Writer};
use std::collections::BTreeMap;
use std::hint::black_box;

const BATCH: usize = 2_000;

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    if "lines".contains(&filter) {
        lines();
    }
    for baseline in ["all", "last 8", "5m"] {
        let name = format!("state of a million meters, baseline {baseline}");
        if name.contains(&filter) {
            state(&name, baseline);
        }
    }
    for meters in [1_000, 10_000, 1_000_000] {
        for (baseline, interval) in [("all", 1_000), ("last 60", 1_000), ("last 1000", 1_000), ("5m", 1_000), ("5m", 10_000)]
        {
            let name = format!("{meters} meters, baseline {baseline}, every {interval} ms");
            if name.contains(&filter) {
                detector(&name, meters, baseline, interval);
            }
        }
    }
}

/// Window lines and anomaly lines of one channel.
fn lines() {
    let (detectors, channels) = ([("moving_average", vec!["voltage_spike".to_string()])], ["voltage".to_string()]);
    let partitions = ["day-1.jsonl.gz".to_string()];
    let names =
        Names { dataflow: "anomaly", step: "detect", source: "readings", detectors: &detectors, channels: &channels };
    let (lines, mut out) = (Lines::new(&names), Vec::new());
    let (mut windows, mut anomalies) = (WindowBatch::default(), AnomalyBatch::default());
    for batch in &batches(10_000, 0..1, 1_000) {
        for reading in batch.iter() {
            let [mean, min, max, first] =
                [1, 2, 3, 4].map(|at| 230.0 + (noise(reading.offset() + at) * 100.0).round() / 100.0);
            let (meter, mean) = (MeterKey::new(reading.meter(), &mut windows.heap), mean / 3.0);
            let (start, end) = (reading.time(), reading.time() + 60_000);
            let stddev = noise(reading.offset());
            windows.rows.push(WindowRow {
                meter,
                start,
                end,
                count: 60,
                mean,
                stddev,
                min,
                max,
                first,
                last: max,
                revision: 0,
                channel: 0,
            });
            let (channel, severity) = (Some(0), Severity::Warning);
            let finding =
                Finding { kind: 0, channel, severity, observed: max, expected: mean, score: 2.5 + stddev, threshold: 2.5 };
            anomalies.push(Reading { batch, index: reading.index }, 0, &finding);
        }
    }
    type Write<'a> = &'a dyn Fn(&mut Vec<u8>);
    let tables: [(&str, Write); 2] = [
        ("window", &|out| lines.windows(black_box(&windows), out)),
        ("anomaly", &|out| lines.anomalies(black_box(&anomalies), &partitions, out)),
    ];
    for (name, write) in tables {
        let mut costs: Vec<f64> = (0..100)
            .map(|_| {
                out.clear();
                let start = cpu_seconds();
                write(&mut out);
                (cpu_seconds() - start) * 1e9 / 10_000.0
            })
            .collect();
        costs.sort_by(f64::total_cmp);
        println!("lines: {name}: {:.1} ns ({:.1} at best), {} bytes", costs[50], costs[0], out.len() / 10_000);
    }
}

/// A number in [0, 1) that depends on `seed` alone.
fn noise(seed: u64) -> f64 {
    let mixed = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 31).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

/// Readings of all meters in turn, 2 % of them up to 30 s late.
fn batches(meters: usize, rounds: std::ops::Range<usize>, interval: i64) -> Vec<Batch> {
    let mut batches = vec![];
    let mut offset = 0;
    for round in rounds {
        for meter in 0..meters {
            if batches.last().is_none_or(|batch: &Batch| batch.len() == BATCH) {
                batches.push(Batch::new(0, 1, offset));
            }
            let seed = (round * meters + meter) as u64;
            let late = if noise(seed * 3) < 0.02 { (noise(seed * 5) * 30_000.0) as i64 } else { 0 };
            let time = 1_700_000_000_000 + round as i64 * interval + (meter % 1000) as i64 - late;
            let spread = noise(seed) + noise(seed * 7) + noise(seed * 11) - 1.5;
            let id = format!("meter-{:06}", meter * 7_919 % meters);
            let batch = batches.last_mut().unwrap();
            batch.push(id.as_bytes(), time, offset, Some(b"OK"), 1, &[230.0 + 4.0 * spread]);
            offset += 120;
        }
    }
    batches
}

/// Saves the state of all key groups, the fastest of five rounds, and loads it again.
fn state(name: &str, baseline: &str) {
    let mut detectors = moving_average(baseline);
    for batch in batches(1_000_000, 0..10, 10_000) {
        detectors.judge(&batch, &mut AnomalyBatch::default());
    }
    let groups = (0..GROUPS as u16).map(Scope::Group);
    let (mut out, mut saved, mut slowest, mut total) = (Writer::default(), Vec::new(), f64::MAX, f64::MAX);
    for _ in 0..5 {
        saved.clear();
        let (mut longest, mut sum) = (0f64, 0.0);
        for scope in groups.clone() {
            out.clear();
            let start = cpu_seconds();
            detectors.save(scope, &mut out);
            let took = cpu_seconds() - start;
            (longest, sum) = (longest.max(took), sum + took);
            saved.push((scope, out.bytes().to_vec()));
        }
        (slowest, total) = (slowest.min(longest), total.min(sum));
    }
    let bytes = saved.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() as f64;
    let start = cpu_seconds();
    let mut copies = saved.iter().map(|(_, bytes)| black_box(bytes.clone()).len()).sum::<usize>();
    let copied = cpu_seconds() - start;
    let (mut restored, start) = (moving_average(baseline), cpu_seconds());
    for (scope, bytes) in &saved {
        restored.load(*scope, &mut Reader::new(bytes)).unwrap();
        copies -= bytes.len();
    }
    assert_eq!(copies, 0);
    let loaded = cpu_seconds() - start;
    let speed = |seconds: f64| bytes / seconds / 1e9;
    println!(
        "{name}: {:.0} MB, saved at {:.1} GB/s (the slowest group in {:.2} ms), loaded at {:.1} GB/s; a copy: {:.1} GB/s",
        bytes / 1e6,
        speed(total),
        slowest * 1e3,
        speed(loaded),
        speed(copied)
    );
}

fn moving_average(baseline: &str) -> Detectors {
    let channels = ["voltage".to_string()];
    let numbers = [
        ("threshold", 2.5),
        ("stddev_floor", 0.0),
        ("stddev_floor_relative", 0.001),
        ("error_score", 4.0),
        ("critical_score", 8.0),
    ];
    let mut keys: BTreeMap<String, Value> =
        numbers.iter().map(|(key, value)| (key.to_string(), Value::Float(*value))).collect();
    keys.insert("baseline".to_string(), Value::Text(baseline.to_string()));
    keys.insert("min_count".to_string(), Value::Integer(10));
    let tables = BTreeMap::from([("moving_average".to_string(), Values { keys, ..Values::default() })]);
    Detectors::build(&tables, &Context { channels: &channels, allowed_lateness: 0 }).unwrap()
}

fn detector(name: &str, meters: usize, baseline: &str, interval: i64) {
    let mut detectors = moving_average(baseline);
    // Enough readings to fill the baselines first; each round of the fleet is a tick.
    let warm = if meters > 100_000 { 45 } else { 1_100 };
    let mut out = AnomalyBatch::default();
    let mut found = 0;
    let mut costs = vec![];
    let chunk = (500_000 / meters).max(1);
    for first in (0..warm + 10 * chunk).step_by(chunk) {
        let mut spent = 0.0;
        for round in first..first + chunk {
            let batches = batches(meters, round..round + 1, interval);
            let start = cpu_seconds();
            for batch in &batches {
                out.rows.clear();
                out.values.clear();
                out.heap.clear();
                detectors.judge(black_box(batch), &mut out);
                found += out.rows.len();
            }
            spent += cpu_seconds() - start;
            detectors.close(1_700_000_000_000 + round as i64 * interval - 30_000);
        }
        if first >= warm {
            costs.push(spent * 1e9 / (chunk * meters) as f64);
        }
    }
    costs.sort_by(f64::total_cmp);
    let (least, middle, bytes) = (costs[0], costs[costs.len() / 2], detectors.memory() / meters);
    println!("{name}: {middle:.1} ns a reading ({least:.1} at best), {bytes} bytes a meter, {found} anomalies");
}

/// CPU time of this thread: a busy machine does not matter.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec, which is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
