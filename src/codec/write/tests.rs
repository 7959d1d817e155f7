//! Lines to the letter, and random ones read back with serde_json.

use super::*;
use crate::model::dead::Reason;
use crate::model::meter::MeterKey;
use crate::model::results::Finding;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const LONG: &str = "a-meter-with-a-long-id";

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

fn detectors() -> Vec<(&'static str, Vec<String>)> {
    vec![("moving_average", texts(&["voltage_spike", "voltage_drop"])), ("status", texts(&["equipment_failure"]))]
}

fn lines() -> Lines {
    let (detectors, channels) = (detectors(), texts(&["voltage", "q\"uoted"]));
    Lines::new(&Names {
        dataflow: "anomaly",
        step: "detect",
        source: "readings",
        detectors: &detectors,
        channels: &channels,
    })
}

fn partitions() -> Vec<String> {
    texts(&["a/ü.jsonl", "b"])
}

fn written(write: impl Fn(&Lines, &mut Vec<u8>)) -> String {
    let mut out = b"before".to_vec();
    write(&lines(), &mut out);
    String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_string()
}

/// What `moving_average` says of a voltage.
fn spike(kind: u16, observed: f64) -> Finding {
    let severity = Severity::Warning;
    Finding { kind, channel: Some(0), severity, observed, expected: 230.0, score: 2.75, threshold: 2.5 }
}

const FAILURE: Finding = Finding {
    kind: 0,
    channel: None,
    severity: Severity::Critical,
    observed: 0.0,
    expected: 0.0,
    score: 1.0,
    threshold: 1.0,
};

/// A batch of readings of two meters, the second of them without the second channel.
fn batch() -> Batch {
    let mut batch = Batch::new(0, 2, 4096);
    batch.push(b"m\"1", 1_700_000_000_123, 4096, None, 1, &[231.5, 0.0]);
    batch.push(LONG.as_bytes(), -5, 5000, Some("PUMP\n\u{1}FAILURE".as_bytes()), 3, &[0.1, 1e21]);
    batch
}

#[test]
fn anomalies() {
    let (batch, mut anomalies) = (batch(), AnomalyBatch::default());
    anomalies.push(Reading { batch: &batch, index: 0 }, 0, &spike(0, 231.5));
    let mut other = Batch { partition: 1, watermarks: vec![1_700_000_000_900], ..Batch::new(1, 2, 7) };
    other.push(LONG.as_bytes(), 1_700_000_000_456, 7, Some(b"a \"FAILURE\""), 0, &[0.0, 0.0]);
    anomalies.push(Reading { batch: &other, index: 0 }, 1, &FAILURE);

    // The ids come from another implementation: hash64(bytes, 0, x64arch=True) of the Python package mmh3.
    let expected = concat!(
        r#"{"id":"cc9d4f43fa75d88149e991c244e84d9b","kind":"voltage_spike","severity":"WARNING","meter":"m\"1","#,
        r#""time":1700000000123,"channel":"voltage","observed":231.5,"expected":230.0,"deviation":1.5,"score":2.75,"#,
        r#""threshold":2.5,"detector":"moving_average","late":false,"source":"readings","partition":"a/ü.jsonl","offset":4096,"#,
        r#""reading":{"meter_id":"m\"1","timestamp":1700000000123,"voltage":231.5}}"#,
        "\n",
        r#"{"id":"ec048da1009ae4921a81bb26025eabaf","kind":"equipment_failure","severity":"CRITICAL","#,
        r#""meter":"a-meter-with-a-long-id","time":1700000000456,"channel":null,"observed":null,"expected":null,"#,
        r#""deviation":null,"score":1.0,"threshold":1.0,"detector":"status","late":true,"source":"readings","partition":"b","#,
        r#""offset":7,"reading":{"meter_id":"a-meter-with-a-long-id","timestamp":1700000000456,"#,
        r#""status":"a \"FAILURE\""}}"#,
        "\n",
    );
    assert_eq!(written(|lines, out| lines.anomalies(&anomalies, &partitions(), out)), expected);
}

#[test]
fn ids_differ_when_anything_differs() {
    let id = |names: &Names, meter: &str, time: i64, partition: u32, offset: u64, kind: u16, channel: Option<usize>| {
        let (mut batch, mut anomalies) = (Batch::new(partition, 2, 0), AnomalyBatch::default());
        batch.push(meter.as_bytes(), time, offset, None, 3, &[1.0, 2.0]);
        anomalies.push(Reading { batch: &batch, index: 0 }, 0, &Finding { channel, ..spike(kind, 1.0) });
        let mut out = Vec::new();
        Lines::new(names).anomalies(&anomalies, &partitions(), &mut out);
        let line: Value = serde_json::from_slice(&out).unwrap();
        line["id"].as_str().unwrap().to_string()
    };
    let (detectors, channels) = (detectors(), texts(&["voltage", "current"]));
    let others = [("other", texts(&["voltage_spike"]))];
    let names = Names { dataflow: "ab", step: "c", source: "s", detectors: &detectors, channels: &channels };
    let ids = [
        id(&names, "m", 0, 0, 0, 0, Some(0)),
        id(&Names { dataflow: "a", step: "bc", ..names }, "m", 0, 0, 0, 0, Some(0)),
        id(&Names { step: "d", ..names }, "m", 0, 0, 0, 0, Some(0)),
        id(&Names { detectors: &others, ..names }, "m", 0, 0, 0, 0, Some(0)),
        id(&names, "n", 0, 0, 0, 0, Some(0)),
        id(&names, "m", 1, 0, 0, 0, Some(0)),
        id(&names, "m", 0, 1, 0, 0, Some(0)),
        id(&names, "m", 0, 0, 1, 0, Some(0)),
        id(&names, "m", 0, 0, 0, 1, Some(0)),
        id(&names, "m", 0, 0, 0, 0, Some(1)),
        id(&names, "m", 0, 0, 0, 0, None),
    ];
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    assert_eq!(id(&Names { source: "t", ..names }, "m", 0, 0, 0, 0, Some(0)), ids[0]);
}

fn window(meter: MeterKey, count: u64, numbers: [f64; 6]) -> WindowRow {
    let [mean, stddev, min, max, first, last] = numbers;
    WindowRow {
        meter,
        start: 1_700_000_000_000,
        end: 1_700_000_060_000,
        count,
        mean,
        stddev,
        min,
        max,
        first,
        last,
        revision: 3,
        channel: 0,
    }
}

#[test]
fn windows() {
    let mut batch = WindowBatch::default();
    let (short, long) = (MeterKey::new(b"7", &mut batch.heap), MeterKey::new(LONG.as_bytes(), &mut batch.heap));
    batch.rows.push(window(short, 6, [0.1, 0.0, -1.5, 1e300, 5e-324, 230.0]));
    batch.rows.push(WindowRow { channel: 1, ..window(long, 0, [0.0; 6]) });
    let expected = concat!(
        r#"{"meter":"7","channel":"voltage","window_start":1700000000000,"window_end":1700000060000,"count":6,"#,
        r#""mean":0.1,"stddev":0.0,"min":-1.5,"max":1e+300,"first":5e-324,"last":230.0,"revision":3}"#,
        "\n",
        r#"{"meter":"a-meter-with-a-long-id","channel":"q\"uoted","window_start":1700000000000,"window_end":1700000060000,"#,
        r#""count":0,"mean":null,"stddev":null,"min":null,"max":null,"first":null,"last":null,"revision":3}"#,
        "\n",
    );
    assert_eq!(written(|lines, out| lines.windows(&batch, out)), expected);
}

#[test]
fn late_readings() {
    let late = Batch { watermarks: vec![1_700_000_000_200, 10], ..batch() };
    let expected = concat!(
        r#"{"source":"readings","partition":"a/ü.jsonl","offset":4096,"watermark":1700000000200,"lateness_ms":77,"#,
        r#""reading":{"meter_id":"m\"1","timestamp":1700000000123,"voltage":231.5}}"#,
        "\n",
        r#"{"source":"readings","partition":"a/ü.jsonl","offset":5000,"watermark":10,"lateness_ms":15,"#,
        r#""reading":{"meter_id":"a-meter-with-a-long-id","timestamp":-5,"voltage":0.1,"q\"uoted":1e+21,"#,
        r#""status":"PUMP\n\u0001FAILURE"}}"#,
        "\n",
    );
    assert_eq!(written(|lines, out| lines.late(&late, &partitions(), out)), expected);
}

#[test]
fn dead_letters() {
    let letter = |raw: &[u8], raw_bytes| DeadLetter {
        partition: 1,
        offset: 12,
        reason: Reason::OutOfRange,
        message: "1970-01-20: is the unit \"s\"?".to_string(),
        raw: raw.to_vec(),
        raw_bytes,
    };
    let letters = [letter(b"{\"meter_id\":\t7}", 15), letter(b"\xff{}", 70_000), letter(b"", 0)];
    let head = r#"{"source":"readings","partition":"b","offset":12,"reason":"out_of_range","message":"1970-01-20: is the unit \"s\"?","#;
    let tails = [
        r#""raw":"{\"meter_id\":\t7}","raw_encoding":"utf8","raw_bytes":15}"#,
        r#""raw":"/3t9","raw_encoding":"base64","raw_bytes":70000}"#,
        r#""raw":"","raw_encoding":"utf8","raw_bytes":0}"#,
    ];
    let expected: String = tails.iter().map(|tail| format!("{head}{tail}\n")).collect();
    assert_eq!(written(|lines, out| lines.dead(&letters, &partitions(), out)), expected);
}

fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![prop::num::f64::NORMAL, prop::num::f64::SUBNORMAL, Just(0.0), -1e3f64..1e3]
}

/// One line, as JSON.
fn read(text: &str) -> Value {
    assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "{text}");
    serde_json::from_str(text).unwrap()
}

fn is_same(value: &Value, number: f64) -> bool {
    value.as_f64().map(f64::to_bits) == Some(number.to_bits())
}

proptest! {
    #[test]
    fn windows_read_back(id in "\\PC{1,16}", numbers in prop::array::uniform6(finite()), count in 1u64.., revision: u32, start: i64) {
        let mut batch = WindowBatch::default();
        let meter = MeterKey::new(id.as_bytes(), &mut batch.heap);
        batch.rows.push(WindowRow { revision, start, ..window(meter, count, numbers) });
        let line = read(&written(|lines, out| lines.windows(&batch, out)));
        prop_assert_eq!((&line["meter"], &line["count"]), (&json!(id), &json!(count)));
        prop_assert_eq!((&line["revision"], &line["window_start"]), (&json!(revision), &json!(start)));
        for (key, number) in ["mean", "stddev", "min", "max", "first", "last"].iter().zip(numbers) {
            prop_assert!(is_same(&line[key], number), "{} {}", key, number);
        }
    }

    #[test]
    fn anomalies_and_late_readings_read_back(
        id in "\\PC{1,16}", status in prop::option::of("\\PC*|[\\x00-\\x7f]*"), present in 0u8..4, values in prop::array::uniform2(finite()),
        (time, offset, late) in (0i64..1 << 50, 0u64..1 << 60, any::<bool>()), (expected, score) in (finite(), finite()),
    ) {
        let mut batch = Batch::new(0, 2, offset);
        let values = [0, 1].map(|at| if present >> at & 1 == 1 { values[at] } else { 0.0 });
        batch.push(id.as_bytes(), time, offset, status.as_ref().map(|status| status.as_bytes()), present, &values);
        batch.watermarks.extend(late.then_some(time + 9));
        let mut anomalies = AnomalyBatch::default();
        let finding = Finding { expected, score, ..spike(1, values[0]) };
        anomalies.push(Reading { batch: &batch, index: 0 }, 0, &finding);

        let line = read(&written(|lines, out| lines.anomalies(&anomalies, &partitions(), out)));
        prop_assert_eq!((&line["kind"], &line["late"]), (&json!("voltage_drop"), &json!(late)));
        prop_assert_eq!((&line["meter"], &line["time"], &line["offset"]), (&json!(id), &json!(time), &json!(offset)));
        let deviation = (values[0] - expected).clamp(f64::MIN, f64::MAX);
        for (key, number) in [("observed", values[0]), ("expected", expected), ("deviation", deviation), ("score", score)] {
            prop_assert!(is_same(&line[key], number), "{} {} {}", key, number, &line);
        }
        let mut reading = json!({"meter_id": id, "timestamp": time});
        for (at, name) in ["voltage", "q\"uoted"].iter().enumerate().filter(|(at, _)| present >> at & 1 == 1) {
            reading[name] = json!(values[at]);
        }
        if let Some(status) = status {
            reading["status"] = json!(status);
        }
        prop_assert_eq!(&line["reading"], &reading);
        if late {
            let line = read(&written(|lines, out| lines.late(&batch, &partitions(), out)));
            prop_assert_eq!((&line["reading"], &line["lateness_ms"]), (&reading, &json!(9)));
        }
    }
}
