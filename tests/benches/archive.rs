//! What archiving costs: appending to a buffer, then sorting and encoding it, in ns of processor time and bytes a reading.
//!
//! `cargo bench --bench archive [-- [--out FOLDER] FILE...]`; a file has JSON lines of one household with `meter_id`,
//! `timestamp` (ms), `voltage` and `current`. `--out` keeps the Parquet files, to be looked at with other readers.

use meterflow::codec::parquet::Names;
use meterflow::connectors::archive::{ArchiveSettings, Archiver, Kind, Moment, ObjectNames};
use meterflow::connectors::store::{self, ObjectStore};
use meterflow::model::reading::Batch;
use std::sync::Arc;

const DAY_MS: i64 = 86_400_000;
const DAY: i64 = 19_723 * DAY_MS;
const BATCH_ROWS: usize = 1_000;

fn main() {
    let mut files = Vec::new();
    let mut out = None;
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--out" => out = arguments.next(),
            _ => files.push(argument),
        }
    }
    type Value = fn(u64) -> f64;
    let cases: [(&str, usize, Value); 4] = [
        ("10000 meters, one decimal", 10_000, |mixed| 200.0 + (mixed % 600) as f64 / 10.0),
        ("10000 meters, three decimals", 10_000, |mixed| 207.0 + (mixed % 46_000) as f64 / 1000.0),
        ("10000 meters, all 52 bits", 10_000, |mixed| 207.0 + (mixed >> 12) as f64 / 2f64.powi(47)),
        ("1 meter, one decimal", 1, |mixed| 200.0 + (mixed % 600) as f64 / 10.0),
    ];
    let out = out.map(|folder| store::open(&folder).expect("the folder can be written"));
    println!(
        "{:<32} {:>9} {:>8} {:>10} {:>10} {:>10} {:>8}",
        "readings", "rows", "objects", "append ns", "encode ns", "sum M/s", "bytes"
    );
    for (name, meters, value) in cases {
        measure(name, 1, &fleet(meters, 1_500_000, value), out.as_deref());
    }
    for file in files {
        let batches = household(&std::fs::read_to_string(&file).expect("the file can be read"));
        measure(&file, 2, &batches, out.as_deref());
    }
}

/// Readings of one channel, in order of time but for 2 % that are up to 30 s behind.
fn fleet(meters: usize, rows: usize, value: fn(u64) -> f64) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut offset = 0;
    for row in 0..rows as u64 {
        let mixed = mix(row);
        if (row as usize).is_multiple_of(BATCH_ROWS) {
            batches.push(Batch::new(0, 1, offset));
        }
        let late = if mixed.is_multiple_of(50) { (mixed >> 8) as i64 % 30_000 } else { 0 };
        let time = DAY + 30_000 + row as i64 * (DAY_MS - 60_000) / rows as i64 - late;
        let meter = format!("meter-{:06}", mix(mixed) % meters as u64);
        let status = mixed.is_multiple_of(1_000).then_some(&b"FAILURE"[..]);
        batches[row as usize / BATCH_ROWS].push(meter.as_bytes(), time, offset, status, 1, &[value(mix(mixed ^ 7))]);
        offset += 110 + mixed % 20;
    }
    batches
}

/// Readings of one file of one household, whatever days they are of.
fn household(lines: &str) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut offset = 0;
    for (row, line) in lines.lines().enumerate() {
        if row % BATCH_ROWS == 0 {
            batches.push(Batch::new(0, 2, offset));
        }
        let record: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
        let value = |channel: &str| record[channel].as_f64();
        let present = u8::from(value("voltage").is_some()) | u8::from(value("current").is_some()) << 1;
        let values = [value("voltage").unwrap_or(0.0), value("current").unwrap_or(0.0)];
        let meter = record["meter_id"].as_str().expect("a meter");
        let time = record["timestamp"].as_i64().expect("a time in ms");
        batches[row / BATCH_ROWS].push(meter.as_bytes(), time, offset, None, present, &values);
        offset += line.len() as u64 + 1;
    }
    batches
}

/// Processor time of this thread: what else runs on the machine does not count.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the struct that it is given.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "the thread has a clock");
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn mix(number: u64) -> u64 {
    let product = u128::from(number ^ 0x243f_6a88_85a3_08d3) * 0x9e37_79b9_7f4a_7c15_1319_8a2e_0370_7345;
    (product >> 64) as u64 ^ product as u64
}

fn measure(name: &str, channels: usize, batches: &[Batch], store: Option<&dyn ObjectStore>) {
    let names = Arc::new(Names {
        dataflow: "anomaly".to_string(),
        source: "readings".to_string(),
        channels: ["voltage", "current"][..channels].iter().map(|name| name.to_string()).collect(),
        partitions: vec!["readings.jsonl".to_string()],
        detectors: Vec::new(),
        anomaly_ids: Arc::new(|_| Vec::new()),
    });
    let kinds = vec![Kind::Readings];
    let settings =
        ArchiveSettings { kinds, max_size: 128_000_000, max_age_ms: 300_000, memory: 64 << 20, settle_ms: 60_000 };
    let tag = name.replace([' ', ',', '/'], "-");
    let rows: usize = batches.iter().map(Batch::len).sum();
    let (mut append, mut encode, mut bytes, mut objects) = (f64::MAX, f64::MAX, 0, 0);
    for _ in 0..3 {
        let objects_of = ObjectNames { tag: tag.clone(), worker: 0 };
        let mut archiver = Archiver::new(settings.clone(), names.clone(), objects_of);
        let (mut append_now, mut encode_now) = (0.0, 0.0);
        (bytes, objects) = (0, 0);
        for (tick, batch) in (1..).zip(batches) {
            let start = cpu_seconds();
            archiver.append_readings(tick, batch);
            let mut cuts = archiver.due(tick, Moment { now: None, watermark: batch.rows[batch.len() - 1].time });
            append_now += cpu_seconds() - start;
            if tick as usize == batches.len() {
                cuts.extend(archiver.finish(tick));
            }
            for cut in cuts {
                let start = cpu_seconds();
                let file = cut.encode().expect("names and numbers fit");
                encode_now += cpu_seconds() - start;
                bytes += file.len();
                objects += 1;
                if let Some(store) = store {
                    store.put(&cut.name, &file).expect("the folder can be written");
                }
            }
        }
        append = append.min(append_now * 1e9 / rows as f64);
        encode = encode.min(encode_now * 1e9 / rows as f64);
    }
    let (million, size) = (1e3 / (append + encode), bytes as f64 / rows as f64);
    println!("{name:<32} {rows:>9} {objects:>8} {append:>10.1} {encode:>10.1} {million:>10.2} {size:>8.2}");
}
