//! Detectors against naive recomputations that keep every reading; the same on 1 to 3 workers and restored at every batch.

mod naive;

use super::*;
use crate::model::meter::{GROUPS, group_of, owner_of};
use crate::model::results::{AnomalyBatch, NO_CHANNEL, Severity};
use crate::settings::{Kind, Value};
use crate::state::incremental::Incremental;
use crate::state::{Reader, Scope, Writer};
use naive::{Setting, assert_matches, naive};
use proptest::prelude::*;
use std::collections::BTreeMap;

const CHANNELS: usize = 3;
const PARTITIONS: usize = 2;
const DISORDER: i64 = 400;
const LATENESS: i64 = 200;

fn channel_names() -> Vec<String> {
    ["voltage", "current", "temperature"].map(String::from).to_vec()
}

/// The values of a detector's table: its defaults, then `set`.
fn values(spec: &Spec, set: &[(&str, Value)]) -> Values {
    let mut values = Values::default();
    for key in spec.keys {
        let Some(text) = key.default else { continue };
        let table: toml::Table = format!("key = {text}").parse().unwrap();
        let value = match (key.kind, &table["key"]) {
            (Kind::Text, toml::Value::String(text)) => Value::Text(text.clone()),
            (Kind::Integer(low, high), toml::Value::Integer(number)) if (low..=high).contains(number) => {
                Value::Integer(*number)
            }
            (Kind::Float(low, high), toml::Value::Float(number)) if (low..=high).contains(number) => Value::Float(*number),
            (Kind::List, toml::Value::Array(list)) => {
                Value::List(list.iter().map(|text| text.as_str().unwrap().to_string()).collect())
            }
            (kind, default) => panic!("{}: {default:?} is no default of {kind:?}", key.name),
        };
        values.keys.insert(key.name.to_string(), value);
    }
    values.keys.extend(set.iter().map(|(key, value)| (key.to_string(), value.clone())));
    values
}

fn limit(low: Option<f64>, high: Option<f64>) -> Values {
    let keys = [("low", low), ("high", high)];
    let keys = keys.iter().filter_map(|(key, value)| Some((key.to_string(), Value::Float((*value)?)))).collect();
    Values { keys, ..Values::default() }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_string())
}

fn list(texts: &[&str]) -> Value {
    Value::List(texts.iter().map(|text| text.to_string()).collect())
}

fn tables(moving_average: &[(&str, Value)]) -> BTreeMap<String, Values> {
    let mut limits = values(&limits::SPEC, &[]);
    limits.channels.insert("voltage".to_string(), limit(Some(229.5), Some(231.0)));
    limits.channels.insert("temperature".to_string(), limit(None, Some(230.0)));
    BTreeMap::from([
        ("moving_average".to_string(), values(&moving_average::SPEC, moving_average)),
        ("limits".to_string(), limits),
        ("status".to_string(), values(&status::SPEC, &[("failure", list(&["FAILURE", "down"]))])),
    ])
}

fn build(tables: &BTreeMap<String, Values>) -> Detectors {
    let channels = channel_names();
    Detectors::build(tables, &Context { channels: &channels, allowed_lateness: LATENESS }).unwrap()
}

/// One tick: its batches in canonical order (used ones, some late), and the watermark that holds after it.
#[derive(Clone, Debug)]
struct Tick {
    batches: Vec<Batch>,
    watermark: i64,
}

/// An anomaly with names instead of numbers.
#[derive(Clone, PartialEq, Debug)]
struct Found {
    partition: u32,
    offset: u64,
    kind: String,
    channel: Option<usize>,
    severity: Severity,
    observed: f64,
    expected: f64,
    score: f64,
    threshold: f64,
    late: bool,
}

fn found(batch: &AnomalyBatch, detectors: &Detectors) -> Vec<Found> {
    let names = detectors.names();
    let name = |row: &crate::model::results::AnomalyRow| Found {
        partition: row.partition,
        offset: row.offset,
        kind: names[row.detector as usize].1[row.kind as usize].clone(),
        channel: (row.channel != NO_CHANNEL).then_some(row.channel as usize),
        severity: Severity::from_u8(row.severity),
        observed: row.observed,
        expected: row.expected,
        score: row.score,
        threshold: row.threshold,
        late: row.late == 1,
    };
    batch.rows.iter().map(name).collect()
}

/// Runs ticks on one set of detectors for each worker; `restored`: each is saved and loaded anew after every batch.
fn run(tables: &BTreeMap<String, Values>, ticks: &[Tick], workers: usize, restored: bool) -> Vec<Found> {
    let mut sets: Vec<Detectors> = (0..workers).map(|_| build(tables)).collect();
    let mut anomalies = Vec::new();
    for tick in ticks {
        for batch in &tick.batches {
            for (worker, detectors) in sets.iter_mut().enumerate() {
                let mut out = AnomalyBatch::default();
                detectors.judge(&part_of(batch, worker, workers), &mut out);
                anomalies.extend(found(&out, detectors));
                if restored {
                    *detectors = restore(detectors, tables);
                }
            }
        }
        sets.iter_mut().for_each(|detectors| detectors.close(tick.watermark));
    }
    anomalies
}

fn part_of(batch: &Batch, worker: usize, workers: usize) -> Batch {
    let mut part = Batch::new(batch.partition, CHANNELS, batch.base);
    for (index, reading) in batch.iter().enumerate() {
        if owner_of(group_of(reading.row().meter.hash()), workers) == worker {
            part.push_copy(reading);
            part.watermarks.extend(batch.watermarks.get(index));
        }
    }
    part
}

fn restore(detectors: &Detectors, tables: &BTreeMap<String, Values>) -> Detectors {
    let mut restored = build(tables);
    for scope in [Scope::Global].into_iter().chain((0..GROUPS as u16).map(Scope::Group)) {
        let mut out = Writer::default();
        detectors.save(scope, &mut out);
        let bytes = out.into_bytes();
        let mut from = Reader::new(&bytes);
        restored.load(scope, &mut from).unwrap();
        from.finish().unwrap();
        let mut again = Writer::default();
        restored.save(scope, &mut again);
        assert_eq!(again.bytes(), bytes);
    }
    restored
}

/// One raw reading: partition, meter, step of its partition's clock, how far back, value, channels present, status.
type Raw = (usize, u8, i64, i64, f64, u8, u8);

fn raw_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (0i32..9).prop_map(|step| 229.7 + f64::from(step) * 0.1),
        3 => Just(230.1),
        1 => prop_oneof![Just(1e9), Just(-3e12), Just(0.0), Just(231.5), Just(1e-7)],
    ]
}

fn raws() -> impl Strategy<Value = Vec<Raw>> {
    let back = prop_oneof![5 => Just(0i64), 2 => 0..DISORDER, 1 => 0..DISORDER + 2 * LATENESS + 50];
    let step = prop_oneof![8 => 0i64..60, 1 => 0i64..1_500];
    prop::collection::vec((0..PARTITIONS, 0u8..4, step, back, raw_value(), 0u8..8, 0u8..12), 1..300)
}

/// Cuts raw readings into ticks with event time and lateness as the engine has them.
fn ticks(raws: &[Raw], tick_length: usize, batch_length: usize) -> Vec<Tick> {
    const STATUSES: [&str; 5] = ["OK", "PUMP FAILURE 7", "is down", "failure", ""];
    let meters = ["a", "meter-with-a-rather-long-name", "7", "m"];
    let mut newest = [1_700_000_000_000i64; PARTITIONS];
    let mut offsets = [0u64; PARTITIONS];
    let mut ticks = Vec::new();
    for raws in raws.chunks(tick_length) {
        let mut batches = Vec::new();
        for partition in 0..PARTITIONS {
            let (mut used, mut late) = (Vec::new(), Batch::new(partition as u32, CHANNELS, offsets[partition]));
            for (_, meter, step, back, value, present, status) in raws.iter().filter(|raw| raw.0 == partition) {
                let time = newest[partition] + step - back;
                let watermark = newest[partition] - DISORDER;
                let offset = offsets[partition];
                offsets[partition] += 100;
                newest[partition] = newest[partition].max(time);
                let values = [*value, *value * 0.5, *value + 0.25];
                let values =
                    std::array::from_fn::<f64, CHANNELS, _>(|at| if present >> at & 1 == 1 { values[at] } else { 0.0 });
                let status = STATUSES.get(*status as usize).map(|status| status.as_bytes());
                let target = if time < watermark - LATENESS {
                    late.watermarks.push(watermark);
                    &mut late
                } else {
                    if used.last().is_none_or(|batch: &Batch| batch.len() == batch_length) {
                        used.push(Batch::new(partition as u32, CHANNELS, offset));
                    }
                    used.last_mut().unwrap()
                };
                target.push(meters[*meter as usize].as_bytes(), time, offset, status, *present, &values);
            }
            batches.extend(used);
            batches.extend((!late.is_empty()).then_some(late));
        }
        ticks.push(Tick { batches, watermark: newest.iter().min().unwrap() - DISORDER });
    }
    ticks
}

fn setting() -> impl Strategy<Value = Setting> {
    const BASELINES: &[&str] = &["all", "last 1", "last 7", "last 20", "last 60", "30ms", "300ms", "1500ms", "3s", "30s"];
    let baseline = prop::sample::select(BASELINES);
    let floors = prop_oneof![2 => Just((0.0, 0.0)), 1 => Just((0.0, 0.001)), 1 => Just((0.4, 0.0))];
    (baseline, 1usize..8, floors).prop_map(|(baseline, min_count, (floor, floor_relative))| Setting {
        baseline: baseline.to_string(),
        min_count,
        floor,
        floor_relative,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn all_that_a_naive_model_finds_is_found(setting in setting(), raws in raws(), tick in 1usize..100, batch in 1usize..40) {
        let ticks = ticks(&raws, tick, batch);
        assert_matches(&run(&setting.tables(), &ticks, 1, false), &naive(&setting, &ticks));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn restoring_and_splitting_change_nothing(setting in setting(), raws in raws(), workers in 2usize..4) {
        let (ticks, tables) = (ticks(&raws, 80, 40), setting.tables());
        let alone = run(&tables, &ticks, 1, false);
        prop_assert_eq!(&run(&tables, &ticks, 1, true), &alone);
        let mut split = run(&tables, &ticks, workers, true);
        // The anomalies of one batch come worker by worker; the order of batches and within a worker is kept.
        let mut alone = alone;
        split.sort_by_key(|found| (found.partition, found.offset));
        alone.sort_by_key(|found| (found.partition, found.offset));
        prop_assert_eq!(split, alone);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn snapshots_of_what_changed_are_enough(
        setting in setting(),
        raws in raws(),
        tick in 1usize..60,
        moves in prop::collection::vec((any::<bool>(), any::<bool>()), 20),
    ) {
        let (ticks, tables) = (ticks(&raws, tick, 40), setting.tables());
        let (mut original, mut detectors, mut stored) = (build(&tables), build(&tables), Incremental::default());
        let judged = |detectors: &mut Detectors, tick: &Tick| {
            let mut out = AnomalyBatch::default();
            tick.batches.iter().for_each(|batch| detectors.judge(batch, &mut out));
            detectors.close(tick.watermark);
            found(&out, detectors)
        };
        for (tick, (snapshot, restart)) in ticks.iter().zip(moves.iter().cycle()) {
            prop_assert_eq!(judged(&mut detectors, tick), judged(&mut original, tick));
            if *snapshot {
                prop_assert!(stored.snapshot(&mut detectors) <= 4, "there are 4 meters");
                prop_assert_eq!(stored.snapshot(&mut detectors), 0);
            }
            if *snapshot && *restart {
                detectors = build(&tables);
                stored.restore(&mut detectors);
            }
        }
    }
}

#[test]
fn what_a_detector_that_is_gone_remembered_is_not_kept_for_later() {
    let (all, mut others) = (tables(&[]), tables(&[]));
    others.remove("moving_average");
    let mut batch = Batch::new(0, CHANNELS, 0);
    batch.push(b"m", 0, 0, None, 7, &[1.0, 2.0, 3.0]);
    let (mut stored, mut detectors) = (Incremental::default(), build(&all));
    detectors.judge(&batch, &mut AnomalyBatch::default());
    assert_eq!(stored.snapshot(&mut detectors), 1);
    let mut detectors = build(&others);
    stored.restore(&mut detectors);
    assert!(detectors.is_changed(group_of(batch.rows[0].meter.hash()) as u16));
}

#[test]
fn shapes_say_what_stored_state_depends_on() {
    let shape = |set: &[(&str, Value)]| build(&tables(set)).shape();
    let channels = "channels=voltage,current,temperature";
    assert_eq!(shape(&[]), format!("moving_average: baseline=last 60 {channels}"));
    let others = [("threshold", Value::Float(3.0)), ("min_count", Value::Integer(3)), ("stddev_floor", Value::Float(1.0))];
    assert_eq!(shape(&others), shape(&[]));
    assert_eq!(shape(&[("baseline", text("all"))]), format!("moving_average: baseline=all {channels}"));
    let duration = format!("moving_average: baseline=5m allowed_lateness=200ms {channels}");
    assert_eq!(shape(&[("baseline", text("5m"))]), duration);
    let set = ("channels", list(&["current"]));
    assert_eq!(shape(&[set]), "moving_average: baseline=last 60 channels=current");
}

#[test]
fn problems_say_what_would_be_right() {
    let channels = channel_names();
    let context = Context { channels: &channels, allowed_lateness: 0 };
    let average = |key, value| tables(&[(key, value)]);
    let with_limit = |channel: &str, low, high| {
        let mut tables = tables(&[]);
        tables.get_mut("limits").unwrap().channels.insert(channel.to_string(), limit(low, high));
        tables
    };
    let with_failure =
        |failure| BTreeMap::from([("status".to_string(), values(&status::SPEC, &[("failure", list(failure))]))]);
    let table = [
        (average("baseline", text("5 minutes")), "baseline", "`5 minutes` is not a baseline"),
        (average("critical_score", Value::Float(3.0)), "critical_score", "3 is below error_score = 4"),
        (average("channels", list(&["volt"])), "channels", "`volt` is not a channel of the source; it has voltage, current"),
        (average("channels", list(&["current", "current"])), "channels", "`current` stands there twice"),
        (average("channels", list(&[])), "channels", "at least one channel"),
        (with_limit("current", None, None), "current", "a limit is needed"),
        (with_limit("current", Some(2.0), Some(1.0)), "current", "low = 2 is above high = 1"),
        (with_limit("power", Some(2.0), None), "power", "`power` is not a channel"),
        (with_failure(&[]), "failure", "at least one text"),
        (with_failure(&["FAILURE", ""]), "failure", "an empty text"),
        (BTreeMap::from([("stuck".to_string(), Values::default())]), "stuck", "there are moving_average, limits, status"),
    ];
    for (tables, key, message) in table {
        let problems = Detectors::build(&tables, &context).err().unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].1.key, key);
        assert!(problems[0].1.message.contains(message), "{problems:?}");
    }
}

#[test]
fn what_is_hardly_meant_is_a_warning() {
    let warned = |set: &[(&str, Value)]| {
        let found = (moving_average::SPEC.warnings)(&values(&moving_average::SPEC, set));
        found.into_iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    assert_eq!(warned(&[]), [""; 0]);
    assert_eq!(warned(&[("threshold", Value::Float(1.5))]), [""; 0]);
    assert_eq!(warned(&[("threshold", Value::Float(4.0))]), [""; 0]);
    assert_eq!(warned(&[("threshold", Value::Float(1.4))]), ["threshold"]);
    assert_eq!(warned(&[("threshold", Value::Float(4.1))]), ["threshold"]);
    assert_eq!(warned(&[("baseline", text("last 10"))]), [""; 0]);
    assert_eq!(warned(&[("baseline", text("last 9"))]), ["baseline"]);
    assert_eq!((limits::SPEC.warnings)(&Values::default()).len(), 1);
}

#[test]
fn channels_that_are_not_named_are_not_judged() {
    let table = values(&moving_average::SPEC, &[("channels", list(&["temperature", "voltage"]))]);
    let detectors = build(&BTreeMap::from([("moving_average".to_string(), table)]));
    let kinds = ["voltage_spike", "voltage_drop", "temperature_spike", "temperature_drop"].map(String::from).to_vec();
    assert_eq!(detectors.names(), [("moving_average", kinds)]);
}

#[test]
fn state_of_other_baselines_is_refused_by_name() {
    let stored = |baseline: &str| {
        let mut detectors = build(&tables(&[("baseline", text(baseline))]));
        let mut batch = Batch::new(0, CHANNELS, 0);
        batch.push(b"m", 0, 0, None, 7, &[1.0, 2.0, 3.0]);
        detectors.judge(&batch, &mut AnomalyBatch::default());
        let mut out = Writer::default();
        let group = group_of(batch.rows[0].meter.hash()) as u16;
        detectors.save(Scope::Group(group), &mut out);
        (group, out.into_bytes())
    };
    let (group, bytes) = stored("last 60");
    for (baseline, message) in
        [("last 60", ""), ("last 61", "the last 60 readings of voltage"), ("5m", "last readings (version 1)")]
    {
        let mut detectors = build(&tables(&[("baseline", text(baseline))]));
        match detectors.load(Scope::Group(group), &mut Reader::new(&bytes)) {
            Ok(()) => assert_eq!(message, ""),
            Err(corrupt) => assert!(!message.is_empty() && corrupt.0.contains(message), "{corrupt}"),
        }
    }
    // A detector that is gone is passed over.
    let mut others = tables(&[]);
    others.remove("moving_average");
    assert_eq!(build(&others).load(Scope::Group(group), &mut Reader::new(&bytes)), Ok(()));
    // Bytes that are cut anywhere are an error, not a panic.
    for length in 1..bytes.len() {
        let mut detectors = build(&tables(&[("baseline", text("last 60"))]));
        assert!(detectors.load(Scope::Group(group), &mut Reader::new(&bytes[..length])).is_err(), "{length}");
    }
}
