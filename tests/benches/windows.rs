//! CPU nanoseconds per reading taken in and per window published, of the pure window logic on one thread.
//!
//! `cargo bench --bench windows [-- PART_OF_A_NAME]`. A fleet sends in turn, 2 % of the readings up to 30 s late; the watermark moves once an
//! event-time second. `bulk` is one meter whose whole history comes in one tick.

use meterflow::model::reading::Batch;
use meterflow::model::results::WindowBatch;
use meterflow::state::keyed::Keyed;
use meterflow::windows::{Kind, Spec, Windows};
use std::time::Duration;

const ORIGIN: i64 = 1_700_000_000_000;
const BATCH: usize = 2_000;
const RUNS: usize = 3;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// What a run took.
#[derive(Default)]
struct Cost {
    apply: Duration,
    close: Duration,
    readings: usize,
    rows: usize,
    memory: usize,
}

/// CPU time of this thread: what other programs take of the machine does not count.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Readings of a fleet, by event-time second: each of `meters` sends once in `interval` seconds.
fn fleet(meters: usize, interval: usize, readings: usize) -> Vec<Vec<Batch>> {
    let mut random = 1u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let ids: Vec<String> = (0..meters).map(|meter| format!("meter-{meter:06}")).collect();
    let per_second = meters.div_ceil(interval);
    let second = |second: usize| {
        let mut batches = Vec::new();
        for from in (0..per_second).step_by(BATCH) {
            let mut batch = Batch::new(0, 1, 0);
            for index in from..per_second.min(from + BATCH) {
                let meter = (second * per_second + index) % meters;
                let time = ORIGIN + second as i64 * 1000 + index as i64 % 1000;
                let late = if next() % 50 == 0 { (next() % 30_000) as i64 } else { 0 };
                let value = 230.0 + (next() % 1000) as f64 / 100.0;
                batch.push(ids[meter].as_bytes(), time - late, index as u64, None, 1, &[value]);
            }
            batches.push(batch);
        }
        batches
    };
    (0..readings / per_second).map(second).collect()
}

/// Only finds the state of each reading's meter: what every keyed step pays.
fn look_up(ticks: &[Vec<Batch>]) {
    let mut state = Keyed::new(1, 0u64);
    let mut readings = 0;
    let start = cpu();
    for batch in ticks.iter().flatten() {
        for row in &batch.rows {
            let slot = state.slot(&row.meter, &batch.heap);
            state.get_mut(slot)[0] += 1;
        }
        readings += batch.len();
    }
    println!("{:<32} {:>7.1} ns/reading", "look-up alone", (cpu() - start).as_nanos() as f64 / readings as f64);
}

/// The best of some runs: the others shared the caches with somebody.
fn run(name: &str, spec: Spec, ticks: &[Vec<Batch>], watermark: impl Fn(usize) -> i64) {
    if std::env::args().skip(1).any(|argument| !argument.starts_with('-') && !name.contains(&argument)) {
        return;
    }
    let costs: Vec<Cost> = (0..RUNS).map(|_| run_once(spec, ticks, &watermark)).collect();
    let best = |of: fn(&Cost) -> Duration| costs.iter().map(of).min().unwrap_or_default().as_nanos() as f64;
    let (readings, rows) = (costs[0].readings, costs[0].rows);
    println!(
        "{name:<32} {:>7.1} ns/reading {:>7.1} ns/row {readings:>9} readings {rows:>9} rows {:>6.1} MB",
        best(|cost| cost.apply) / readings as f64,
        best(|cost| cost.close) / rows.max(1) as f64,
        costs[0].memory as f64 / 1e6
    );
}

fn run_once(spec: Spec, ticks: &[Vec<Batch>], watermark: impl Fn(usize) -> i64) -> Cost {
    let mut windows = Windows::new(spec, 1);
    let mut cost = Cost::default();
    let mut out = WindowBatch::default();
    for (number, batches) in ticks.iter().enumerate() {
        if number == ticks.len() / 3 {
            // From here on nothing grows.
            cost = Cost::default();
        }
        let start = cpu();
        batches.iter().for_each(|batch| windows.apply(batch));
        cost.apply += cpu() - start;
        cost.readings += batches.iter().map(Batch::len).sum::<usize>();
        if number % 64 == 0 {
            cost.memory = cost.memory.max(windows.memory());
        }
        let start = cpu();
        let mut done = false;
        while !done {
            done = windows.close(watermark(number), 2_000, &mut out);
            cost.rows += out.rows.len();
            out.rows.clear();
            out.heap.clear();
        }
        cost.close += cpu() - start;
    }
    cost
}

fn main() {
    let sliding = Kind::Sliding { size: MINUTE, slide: 10_000 };
    let specs = [
        ("sliding 1m by 10s", Spec { kind: sliding, allowed_lateness: 0 }),
        ("sliding 1m by 10s, lateness 5m", Spec { kind: sliding, allowed_lateness: 5 * MINUTE }),
        ("tumbling 1m", Spec { kind: Kind::Tumbling { size: MINUTE }, allowed_lateness: 0 }),
        ("session 5m", Spec { kind: Kind::Session { gap: 5 * MINUTE }, allowed_lateness: 0 }),
        ("session 5s", Spec { kind: Kind::Session { gap: 5_000 }, allowed_lateness: 0 }),
    ];
    for (meters, interval) in [(1_000, 1), (10_000, 1), (10_000, 10), (200_000, 10)] {
        let ticks = fleet(meters, interval, 4_000_000);
        let seconds = ticks.len();
        println!("{meters} meters, a reading each {interval} s");
        look_up(&ticks);
        for (name, spec) in specs {
            run(
                name,
                spec,
                &ticks,
                |tick| {
                    if tick + 1 == seconds { i64::MAX } else { ORIGIN + (tick as i64 - 30) * 1000 - 1 }
                },
            );
        }
    }

    println!("bulk: one meter, a reading each minute for a year in one tick");
    let mut batch = Batch::new(0, 1, 0);
    for minute in 0..365 * 24 * 60 {
        batch.push(b"meter", ORIGIN + minute * MINUTE, minute as u64, None, 1, &[minute as f64]);
    }
    let ticks = vec![vec![batch.clone()], vec![]];
    for (name, kind) in [
        ("tumbling 1m", Kind::Tumbling { size: MINUTE }),
        ("sliding 1h by 1m", Kind::Sliding { size: HOUR, slide: MINUTE }),
        ("session 30s", Kind::Session { gap: MINUTE / 2 }),
    ] {
        run(name, Spec { kind, allowed_lateness: 0 }, &ticks, |_| i64::MAX);
        let lateness = Spec { kind, allowed_lateness: 24 * HOUR };
        run(&format!("{name}, lateness 1d"), lateness, &ticks, |tick| if tick == 0 { ORIGIN } else { i64::MAX });
    }
}
