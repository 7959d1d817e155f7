//! Random ticks: disorder, several partitions, lateness, jumps of the watermark; all kinds of windows.

use super::model::Model;
use super::{Kind, Published, Spec, Tick, Windows, keep, restore, step};
use crate::model::meter::{MeterKey, group_of, owner_of};
use crate::model::reading::Batch;
use crate::state::incremental::Incremental;
use proptest::prelude::*;

const METERS: [&str; 5] = ["a", "b", "meter-0003", "a-meter-with-a-name-of-28-ch", "another-one-with-a-name-of-33-chr"];
const PARTITIONS: usize = 3;

/// A reading before its place in time is known: partition, meter, how far after the earliest allowed time, present, value.
type Draft = (usize, usize, i64, u8, i32);

fn specs() -> impl Strategy<Value = Spec> {
    let kind = prop_oneof![
        (1..20i64).prop_map(|size| Kind::Tumbling { size }),
        (1..8i64, 1..7i64).prop_map(|(slide, slices)| Kind::Sliding { size: slide * slices, slide }),
        (1..12i64).prop_map(|gap| Kind::Session { gap }),
    ];
    let lateness = prop_oneof![Just(0i64), 1..10i64, 10..80i64];
    (kind, lateness).prop_map(|(kind, allowed_lateness)| Spec { kind, allowed_lateness })
}

fn drafts() -> impl Strategy<Value = Vec<(Vec<Draft>, i64)>> {
    let ahead = prop_oneof![6 => 0..25i64, 3 => 0..100i64, 1 => 0..400i64];
    let reading = (0..PARTITIONS, 0..METERS.len(), ahead, 0..4u8, 0..200i32);
    let advance = prop_oneof![1 => Just(i64::MIN), 2 => Just(0i64), 6 => 0..20i64, 2 => 0..90i64, 1 => 0..900i64];
    prop::collection::vec((prop::collection::vec(reading, 0..14), advance), 1..14)
}

/// Ticks of two channels that keep what the engine promises: no reading behind the last watermark - lateness.
fn ticks(drafts: &[(Vec<Draft>, i64)], origin: i64, lateness: i64) -> Vec<Tick> {
    let (mut newest, mut watermark) = (origin, i64::MIN);
    let mut offsets = [0u64; PARTITIONS];
    let mut ticks = Vec::new();
    for (readings, advance) in drafts {
        let earliest = newest - lateness;
        let mut batches = Vec::new();
        for (partition, offset) in offsets.iter_mut().enumerate() {
            let mut batch = Batch::new(partition as u32, 2, *offset);
            for (_, meter, ahead, present, value) in readings.iter().filter(|draft| draft.0 == partition) {
                let value = 230.0 + f64::from(*value) / 16.0;
                let values = [value * f64::from(present & 1), (value - 300.0) * f64::from(present >> 1)];
                batch.push(METERS[*meter].as_bytes(), earliest + ahead, *offset, None, *present, &values);
                *offset += 10;
            }
            batches.push(batch);
        }
        // Until the first advance there is no watermark: some partition has not begun.
        if *advance != i64::MIN || watermark != i64::MIN {
            newest += (*advance).max(0);
            watermark = newest;
        }
        ticks.push(Tick { batches, watermark });
    }
    ticks.push(Tick { batches: Vec::new(), watermark: i64::MAX });
    ticks
}

fn run(spec: &Spec, ticks: &[Tick], budget: usize, between: fn(&Spec, &mut Windows)) -> Vec<Vec<Published>> {
    let mut windows = Windows::new(*spec, 2);
    ticks.iter().map(|tick| step(&mut windows, tick, budget, between, spec)).collect()
}

/// The share of each worker.
fn split(ticks: &[Tick], workers: usize) -> Vec<Vec<Tick>> {
    let share = |worker: usize, batch: &Batch| {
        let mut part = Batch::new(batch.partition, batch.channels as usize, batch.base);
        let group = |meter: &[u8]| group_of(MeterKey::new(meter, &mut Vec::new()).hash());
        let mine = batch.iter().filter(|reading| owner_of(group(reading.meter()), workers) == worker);
        mine.for_each(|reading| part.push_copy(reading));
        part
    };
    let ticks_of = |worker: usize| {
        let tick = |tick: &Tick| Tick { batches: tick.batches.iter().map(|b| share(worker, b)).collect(), ..*tick };
        ticks.iter().map(tick).collect()
    };
    (0..workers).map(ticks_of).collect()
}

fn is_close(a: f64, b: f64) -> bool {
    a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) + 1e-12
}

/// Means and deviations within 1e-9, everything else to the bit.
fn assert_same(found: &[Published], expected: &[Published], what: &str) {
    let exact = |all: &[Published]| {
        let exact = |one: &Published| {
            let mut one = one.clone();
            let nan = |value: f64| if value.is_nan() { f64::NAN } else { value };
            (one.row.mean, one.row.stddev) = (0.0, 0.0);
            let row = &mut one.row;
            (row.min, row.max, row.first, row.last) = (nan(row.min), nan(row.max), nan(row.first), nan(row.last));
            one
        };
        all.iter().map(exact).collect::<Vec<_>>()
    };
    assert_eq!(exact(found), exact(expected), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(is_close(found.row.mean, expected.row.mean), "{what}: {found:?} {expected:?}");
        assert!(is_close(found.row.stddev, expected.row.stddev), "{what}: {found:?} {expected:?}");
    }
}

/// The highest revision of each window, without those that were taken back.
fn truth_of(published: &[Vec<Published>]) -> Vec<Published> {
    let mut all: Vec<Published> = published.concat();
    all.sort_by(|a, b| {
        let key = |one: &Published| (one.row.channel, one.row.start, one.row.revision);
        a.meter.cmp(&b.meter).then(key(a).cmp(&key(b)))
    });
    let last_of_each =
        all.chunk_by(|a, b| a.meter == b.meter && (a.row.channel, a.row.start) == (b.row.channel, b.row.start));
    let check = |revisions: &[Published]| {
        assert!(revisions.windows(2).all(|pair| pair[0].row.revision < pair[1].row.revision), "{revisions:?}");
        revisions[revisions.len() - 1].clone()
    };
    let mut truth: Vec<Published> = last_of_each.map(check).filter(|one| one.row.count > 0).collect();
    truth.iter_mut().for_each(|one| one.row.revision = 0);
    truth
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_tick_publishes_what_the_naive_model_does(
        spec in specs(),
        drafts in drafts(),
        origin in prop_oneof![Just(-77i64), Just(0), Just(1_700_000_000_123)],
    ) {
        let ticks = ticks(&drafts, origin, spec.allowed_lateness);
        let published = run(&spec, &ticks, usize::MAX, keep);
        let mut model = Model::new(spec);
        for (number, (tick, found)) in ticks.iter().zip(&published).enumerate() {
            assert_same(found, &model.step(tick), &format!("tick {number} of {spec:?}, watermark {}", tick.watermark));
        }
        let mut expected = model.truth();
        expected.sort_by(|a, b| a.meter.cmp(&b.meter).then((a.row.channel, a.row.start).cmp(&(b.row.channel, b.row.start))));
        assert_same(&truth_of(&published), &expected, "the highest revisions");
        if spec.allowed_lateness == 0 {
            prop_assert!(published.iter().flatten().all(|one| one.row.revision == 0 && one.row.count > 0));
        }
    }

    #[test]
    fn budgets_restores_and_workers_change_nothing(spec in specs(), drafts in drafts(), budget in 1..6usize) {
        let ticks = ticks(&drafts, 1_700_000_000_123, spec.allowed_lateness);
        let published = run(&spec, &ticks, usize::MAX, keep);
        prop_assert_eq!(&run(&spec, &ticks, 1, keep), &published);
        // Restored not only after every tick, but also between the calls that close one.
        prop_assert_eq!(&run(&spec, &ticks, usize::MAX, restore), &published);
        prop_assert_eq!(&run(&spec, &ticks, budget, restore), &published);
        for workers in [2, 3] {
            let parts: Vec<_> = split(&ticks, workers).iter().map(|ticks| run(&spec, ticks, usize::MAX, keep)).collect();
            for (number, expected) in published.iter().enumerate() {
                // Workers own ranges of key groups: what ends together comes in their order.
                let mut union: Vec<Published> = parts.iter().flat_map(|part| part[number].clone()).collect();
                union.sort_by_key(|one| one.row.end);
                prop_assert_eq!(&union, expected);
            }
        }
    }

    #[test]
    fn snapshots_of_what_changed_are_enough(
        spec in specs(),
        drafts in drafts(),
        moves in prop::collection::vec((any::<bool>(), any::<bool>()), 14),
    ) {
        let ticks = ticks(&drafts, 1_700_000_000_123, spec.allowed_lateness);
        let expected = run(&spec, &ticks, usize::MAX, keep);
        let (mut windows, mut stored) = (Windows::new(spec, 2), Incremental::default());
        for ((tick, expected), (snapshot, restart)) in ticks.iter().zip(&expected).zip(moves.iter().cycle()) {
            prop_assert_eq!(&step(&mut windows, tick, usize::MAX, keep, &spec), expected);
            if *snapshot {
                let changed = stored.snapshot(&mut windows);
                prop_assert!(changed <= METERS.len());
                prop_assert_eq!(stored.snapshot(&mut windows), 0);
            }
            if *snapshot && *restart {
                windows = Windows::new(spec, 2);
                stored.restore(&mut windows);
            }
        }
    }
}
