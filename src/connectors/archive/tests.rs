//! When rows are cut, that none is lost or doubled, and that uploads survive a store that fails.

use crate::codec::parquet::tests::{anomalies, names, read};
use crate::connectors::archive::cut::{DAY_MS, day_of};
use crate::connectors::archive::*;
use crate::connectors::store::faulty::{Fault, Faulty};
use crate::connectors::store::memory::Memory;
use crate::connectors::store::{Entry, ObjectStore, Outcome, StoreError};
use crate::model::meter::MeterKey;
use crate::model::reading::Reading;
use crate::model::results::WindowRow;
use parquet::record::Field;
use proptest::prelude::*;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

const DAY: i64 = 19_723 * DAY_MS;

fn settings() -> ArchiveSettings {
    let kinds = Kind::ALL.to_vec();
    ArchiveSettings { kinds, max_size: 1 << 30, max_age_ms: 300_000, memory: 1 << 30, settle_ms: 60_000 }
}

fn archiver(settings: ArchiveSettings) -> Archiver {
    Archiver::new(settings, Arc::new(names()), ObjectNames { tag: "test".to_string(), worker: 0 })
}

/// Readings of one meter at these times; offsets from `base` on.
fn readings(times: &[i64], base: u64) -> Batch {
    let mut batch = Batch::new(0, 2, base);
    for (offset, time) in (base..).zip(times) {
        batch.push(format!("m{}", offset % 7).as_bytes(), *time, offset, None, 1, &[offset as f64, 0.0]);
    }
    batch
}

fn window(start: i64) -> WindowBatch {
    let mut batch = WindowBatch::default();
    let meter = MeterKey::new(b"m", &mut batch.heap);
    let (count, mean, stddev, min, max, first, last) = (1, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0);
    let (end, revision, channel) = (start + 60_000, 0, 0);
    batch.rows.push(WindowRow { meter, start, end, count, mean, stddev, min, max, first, last, revision, channel });
    batch
}

fn at(now: impl Into<Option<i64>>, watermark: i64) -> Moment {
    Moment { now: now.into(), watermark }
}

/// Kind, day after the first, rows.
fn shape(cuts: &[Cut]) -> Vec<(Kind, String, usize)> {
    cuts.iter().map(|cut| (cut.kind, cut.name.split('/').nth(1).unwrap().to_string(), cut.rows.len())).collect()
}

#[test]
fn rows_are_cut_when_the_first_has_waited_long_enough() {
    let mut archiver = archiver(settings());
    archiver.append_readings(1, &readings(&[DAY, DAY + 1], 0));
    assert_eq!(shape(&archiver.due(9, at(1_000, DAY))), []);
    archiver.append_readings(2, &readings(&[DAY + 2], 2));
    archiver.append_stats(2, &window(DAY));
    assert_eq!(shape(&archiver.due(9, at(300_999, DAY))), []);
    let cuts = archiver.due(9, at(301_000, DAY));
    assert_eq!(shape(&cuts), [(Kind::Readings, "date=2024-01-01".to_string(), 3)]);
    assert_eq!(cuts[0].name, "kind=readings/date=2024-01-01/test-w000-t1-9.parquet");
    assert_eq!(shape(&archiver.due(9, at(600_998, DAY))), []);
    assert_eq!(shape(&archiver.due(9, at(600_999, DAY))), [(Kind::Stats, "date=2024-01-01".to_string(), 1)]);
    assert_eq!((archiver.memory(), archiver.rows()), (0, 0));
}

#[test]
fn input_with_an_end_has_no_age() {
    let mut archiver = archiver(settings());
    archiver.append_readings(1, &readings(&[DAY], 0));
    for _ in 0..3 {
        assert_eq!(shape(&archiver.due(9, at(None, DAY + DAY_MS))), []);
    }
    assert_eq!(shape(&archiver.due(9, at(1_000_000, DAY))), [], "age counts from the first time that is known");
    assert_eq!(shape(&archiver.due(9, at(1_300_000, DAY))), [(Kind::Readings, "date=2024-01-01".to_string(), 1)]);
    archiver.append_readings(2, &readings(&[DAY], 1));
    assert_eq!(shape(&archiver.finish(9)), [(Kind::Readings, "date=2024-01-01".to_string(), 1)]);
    assert_eq!(shape(&archiver.finish(9)), []);
}

#[test]
fn a_day_is_cut_when_it_is_over_and_settled() {
    let mut archiver = archiver(settings());
    archiver.append_readings(1, &readings(&[DAY, DAY + DAY_MS, DAY - 1, DAY + DAY_MS - 1], 0));
    let date = |day: &str| format!("date={day}");
    let over = |archiver: &mut Archiver, watermark| shape(&archiver.due(9, at(None, watermark)));
    assert_eq!(over(&mut archiver, DAY + 59_999), []);
    assert_eq!(over(&mut archiver, DAY + 60_000), [(Kind::Readings, date("2023-12-31"), 1)]);
    assert_eq!(over(&mut archiver, DAY + DAY_MS + 59_999), []);
    assert_eq!(over(&mut archiver, DAY + DAY_MS + 60_000), [(Kind::Readings, date("2024-01-01"), 2)]);
    assert_eq!(over(&mut archiver, i64::MAX), [(Kind::Readings, date("2024-01-02"), 1)]);
    assert_eq!(over(&mut archiver, i64::MIN), []);
}

#[test]
fn large_buffers_are_cut() {
    let mut archiver = archiver(ArchiveSettings { max_size: 80, ..settings() });
    archiver.append_readings(1, &readings(&[DAY; 9], 0));
    assert_eq!(shape(&archiver.due(9, at(None, DAY))), []);
    archiver.append_readings(2, &readings(&[DAY; 1], 9));
    assert_eq!(shape(&archiver.due(9, at(None, DAY))), [(Kind::Readings, "date=2024-01-01".to_string(), 10)]);
}

#[test]
fn the_largest_is_cut_while_memory_is_exceeded() {
    let mut archiver = archiver(ArchiveSettings { memory: 3_000, ..settings() });
    archiver.append_readings(1, &readings(&[DAY; 20], 0));
    archiver.append_readings(1, &readings(&[DAY + DAY_MS; 40], 20));
    archiver.append_readings(1, &readings(&[DAY + 2 * DAY_MS; 10], 60));
    assert!(archiver.memory() > 3_000 && archiver.memory() < 5_000, "{}", archiver.memory());
    assert_eq!(shape(&archiver.due(9, at(None, DAY))), [(Kind::Readings, "date=2024-01-02".to_string(), 40)]);
    assert_eq!(archiver.rows(), 30);
}

#[test]
fn only_what_is_asked_for_is_archived_and_late_readings_are_not() {
    let mut archiver = archiver(ArchiveSettings { kinds: vec![Kind::Stats], ..settings() });
    archiver.append_readings(1, &readings(&[DAY], 0));
    archiver.append_anomalies(1, &anomalies().0);
    assert_eq!(archiver.rows(), 0);
    archiver.append_stats(1, &window(DAY));
    assert_eq!(archiver.rows(), 1);
    let mut all = self::archiver(settings());
    let mut late = readings(&[DAY], 0);
    late.watermarks.push(DAY + 1);
    all.append_readings(1, &late);
    assert_eq!(all.rows(), 0);
}

/// What happens to an archiver.
#[derive(Clone, Debug)]
enum Event {
    Readings(Vec<i64>),
    Stats(i64),
    Anomalies,
    Due(Moment),
}

fn event() -> impl Strategy<Value = Event> {
    let time = || (-3 * DAY_MS / 2..3 * DAY_MS / 2).prop_map(|offset| DAY + offset);
    let now = prop::option::of((0i64..2_000_000).prop_map(|now| now));
    prop_oneof![
        4 => prop::collection::vec(time(), 1..40).prop_map(Event::Readings),
        2 => time().prop_map(Event::Stats),
        1 => Just(Event::Anomalies),
        3 => (now, time()).prop_map(|(now, watermark)| Event::Due(Moment { now, watermark })),
    ]
}

fn run(events: &[Event], memory: usize) -> (Vec<Cut>, usize) {
    let mut archiver = archiver(ArchiveSettings { memory, max_size: 2_000, ..settings() });
    let (mut cuts, mut rows, mut base) = (Vec::new(), 0, 0);
    for (tick, event) in (0..).zip(events) {
        match event {
            Event::Readings(times) => {
                archiver.append_readings(tick, &readings(times, base));
                base += times.len() as u64;
                rows += times.len();
            }
            Event::Stats(start) => {
                archiver.append_stats(tick, &window(*start));
                rows += 1;
            }
            Event::Anomalies => {
                let batch = anomalies().0;
                rows += batch.rows.len();
                archiver.append_anomalies(tick, &batch);
            }
            Event::Due(moment) => {
                cuts.extend(archiver.due(tick, *moment));
                assert!(archiver.memory() <= memory);
            }
        }
    }
    let waiting = archiver.rows();
    let left = archiver.finish(events.len() as u64);
    assert_eq!(left.iter().map(|cut| cut.rows.len()).sum::<usize>(), waiting);
    assert_eq!(archiver.memory(), 0);
    cuts.extend(left);
    (cuts, rows)
}

fn time_of(row: &[Field]) -> i64 {
    match row[1] {
        Field::TimestampMillis(time) => time,
        ref other => panic!("{other} is no time"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_row_is_in_one_cut_of_its_day(events in prop::collection::vec(event(), 1..40), memory in 3_000usize..60_000) {
        let (cuts, rows) = run(&events, memory);
        let encoded: Vec<(String, Vec<u8>)> = cuts.iter().map(|cut| (cut.name.clone(), cut.encode().unwrap())).collect();
        let mut offsets = Vec::new();
        let mut read_rows = 0;
        for (cut, (name, bytes)) in cuts.iter().zip(&encoded) {
            let date = name.split('/').nth(1).unwrap().strip_prefix("date=").unwrap();
            for row in read(bytes) {
                prop_assert_eq!(cut::date(day_of(time_of(&row))), date);
                read_rows += 1;
                if let (Kind::Readings, Field::Long(offset)) = (cut.kind, &row[row.len() - 1]) {
                    offsets.push(*offset);
                }
            }
        }
        prop_assert_eq!(read_rows, rows);
        offsets.sort_unstable();
        prop_assert!(offsets.iter().copied().eq(0..offsets.len() as i64), "a reading is lost or doubled");
        let mut names: Vec<&String> = encoded.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), encoded.len(), "two objects of one name");
        let again: Vec<(String, Vec<u8>)> =
            run(&events, memory).0.iter().map(|cut| (cut.name.clone(), cut.encode().unwrap())).collect();
        prop_assert!(again == encoded, "another run makes other objects");
    }
}

fn cuts(count: usize) -> Vec<Cut> {
    let mut archiver = archiver(settings());
    for day in 0..count as i64 {
        archiver.append_readings(1, &readings(&[DAY + day * DAY_MS; 30], day as u64 * 30));
    }
    archiver.finish(9)
}

fn quick() -> UploadSettings {
    let pause = Duration::from_micros(10);
    UploadSettings { threads: 2, capacity: 1 << 20, attempts: 10, first_pause: pause, longest_pause: pause }
}

fn totals(reports: &[Report]) -> Totals {
    let mut totals = Totals::default();
    reports.iter().for_each(|report| totals.add(report));
    totals
}

#[test]
fn uploads_survive_a_store_that_fails_now_and_then() {
    // Each object is written, and written again after a time-out, without being doubled.
    let store =
        Arc::new(Faulty::new(Memory::new(), |call| [Fault::TimeOutAfter, Fault::Refuse, Fault::None][call as usize % 3]));
    let cuts = cuts(20);
    let uploader = Uploader::start(store.clone(), quick(), || {}).unwrap();
    for cut in &cuts {
        let mut cut = Some(cut.clone());
        while let Some(Busy(again)) = cut.take().and_then(|cut| uploader.offer(cut).err()) {
            cut = Some(*again);
        }
    }
    let totals = totals(&uploader.finish());
    let listed = store.inner().list("").unwrap();
    let bytes: u64 = listed.iter().map(|entry| entry.bytes).sum();
    assert_eq!((totals.objects, totals.rows, totals.bytes, totals.failed), (20, 600, bytes, 0));
    assert_eq!(totals.retries, store.calls() - 20);
    assert!(totals.retries > 0);
    for cut in &cuts {
        assert_eq!(store.inner().get_range(&cut.name, 0..u64::MAX).unwrap().unwrap(), cut.encode().unwrap());
    }
}

#[test]
fn what_a_person_must_do_is_reported_at_once() {
    let store = Arc::new(Faulty::new(Memory::new(), |_| Fault::Forbid));
    let uploader = Uploader::start(store.clone(), quick(), || {}).unwrap();
    assert!(cuts(1).into_iter().all(|cut| uploader.offer(cut).is_ok()));
    let reports = uploader.finish();
    let [Report::Failed { name, problem }] = &reports[..] else { panic!("{reports:?}") };
    assert!(name.starts_with("kind=readings/") && problem.contains("end the test"), "{name}: {problem}");
    assert_eq!(store.calls(), 1);
}

#[test]
fn attempts_have_an_end() {
    let store = Arc::new(Faulty::new(Memory::new(), |_| Fault::Refuse));
    let uploader = Uploader::start(store.clone(), quick(), || {}).unwrap();
    assert!(cuts(1).into_iter().all(|cut| uploader.offer(cut).is_ok()));
    let totals = totals(&uploader.finish());
    assert_eq!((totals.objects, totals.retries, totals.failed, store.calls()), (0, 9, 1, 10));
}

/// A store that holds every `put` until its gate opens.
#[derive(Default)]
struct Gated {
    inner: Memory,
    open: Mutex<bool>,
    gate: Condvar,
}

impl Gated {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.gate.notify_all();
    }
}

impl ObjectStore for Gated {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        drop(self.gate.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
        self.inner.put(name, bytes)
    }
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Outcome, StoreError> {
        self.inner.put_if_absent(name, bytes)
    }
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get_range(name, range)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.inner.list(prefix)
    }
    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name)
    }
}

#[test]
fn a_slow_store_makes_the_uploader_busy_and_then_wakes_the_worker() {
    let store = Arc::new(Gated::default());
    let (woken, wakes) = std::sync::mpsc::channel();
    let settings = UploadSettings { threads: 1, capacity: 1, ..quick() };
    let uploader = Uploader::start(store.clone(), settings, move || woken.send(()).unwrap()).unwrap();
    let [first, second] = &cuts(2)[..] else { panic!("two cuts") };
    assert!(uploader.offer(first.clone()).is_ok(), "one is accepted whatever its size");
    let Err(Busy(refused)) = uploader.offer(second.clone()) else { panic!("the second one waits") };
    assert_eq!(refused.name, second.name);
    assert!(uploader.on_the_way() > 0);
    store.open();
    wakes.recv().unwrap();
    assert_eq!((uploader.on_the_way(), totals(&uploader.reports()).objects), (0, 1));
    assert!(uploader.offer(*refused).is_ok());
    assert_eq!(totals(&uploader.finish()).objects, 1);
    assert_eq!(store.list("").unwrap().len(), 2);
}

#[test]
fn an_uploader_that_is_dropped_does_not_wait_for_a_store_that_is_away() {
    let store = Arc::new(Faulty::new(Memory::new(), |_| Fault::Refuse));
    let hour = Duration::from_secs(3_600);
    let settings = UploadSettings { first_pause: hour, longest_pause: hour, ..quick() };
    let (woken, wakes) = std::sync::mpsc::channel();
    let uploader = Uploader::start(store, settings, move || woken.send(()).unwrap()).unwrap();
    assert!(cuts(3).into_iter().all(|cut| uploader.offer(cut).is_ok()));
    wakes.recv().unwrap();
    drop(uploader);
}

#[test]
fn readings_of_a_batch_are_split_by_day() {
    let mut archiver = archiver(settings());
    let batch = readings(&[DAY - 1, DAY, DAY, DAY - 2, DAY + DAY_MS], 0);
    archiver.append_readings(1, &batch);
    let cuts = archiver.finish(9);
    let found: Vec<(i64, f64)> = cuts
        .iter()
        .flat_map(|cut| read(&cut.encode().unwrap()))
        .map(|row| (time_of(&row), if let Field::Double(value) = row[2] { value } else { f64::NAN }))
        .collect();
    let mut expected: Vec<(i64, f64)> =
        batch.iter().map(|reading: Reading| (reading.time(), reading.value(0).unwrap())).collect();
    expected.sort_by(|a, b| (day_of(a.0), a.1).partial_cmp(&(day_of(b.0), b.1)).unwrap());
    assert_eq!(found, expected);
}
