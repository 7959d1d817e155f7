//! That each row is in one object at the end, whatever happens between: kills between commit and upload, other numbers of
//! workers at each start, starts from an older snapshot. The world around the archivers is a model of the job: a log of what
//! is committed, snapshots, a store, and one queue of uploads for each worker.

use crate::codec::parquet::tests::{names, read};
use crate::connectors::archive::cut::DAY_MS;
use crate::connectors::archive::*;
use crate::connectors::store::{ObjectStore, memory::Memory};
use crate::model::commit::ArchiveCut;
use crate::model::meter::{GROUPS, owner_of};
use crate::model::reading::Reading;
use crate::model::results::{Finding, Severity, WindowRow};
use crate::state::incremental::Incremental;
use parquet::record::Field;
use proptest::prelude::*;
use std::collections::VecDeque;

const DAY: i64 = 19_723;
const TICKS: usize = 12;

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// What comes in one tick; each row has a number of its own as its offset (readings, anomalies) or its count (windows).
#[derive(Default)]
struct Input {
    readings: Vec<Batch>,
    anomalies: AnomalyBatch,
    windows: WindowBatch,
}

fn inputs(seed: u64) -> Vec<Input> {
    let mut random = Random(seed);
    let mut number = 0;
    let mut of_tick = |tick: i64| {
        let mut input = Input::default();
        for _ in 0..random.below(3) {
            let mut batch = Batch::new(0, 2, number);
            for _ in 0..1 + random.below(40) {
                let meter = match random.below(12) {
                    meter @ 0..8 => format!("m{meter}"),
                    meter => format!("a-meter-with-a-long-name-{meter}"),
                };
                let time = (DAY * DAY_MS) + tick * DAY_MS / 5 - random.below(DAY_MS as u64) as i64;
                let status = [None, Some(&b"OK"[..]), Some(&b"LOW"[..])][random.below(3) as usize];
                batch.push(meter.as_bytes(), time, number, status, random.below(4) as u8, &[1.5, 2.5]);
                number += 1;
                if random.below(3) == 0 {
                    let start = time;
                    let meter = MeterKey::new(meter.as_bytes(), &mut input.windows.heap);
                    let (mean, stddev, min, max, first, last) = (1.0, 0.0, 1.0, 1.0, 1.0, 1.0);
                    let (count, end, revision, channel) = (number, start + 60_000, 0, 0);
                    let row = WindowRow { meter, start, end, count, mean, stddev, min, max, first, last, revision, channel };
                    input.windows.rows.push(row);
                    number += 1;
                }
            }
            for index in (0..batch.len()).filter(|_| random.below(4) == 0) {
                let (severity, channel) = (Severity::Warning, Some(0));
                let (observed, expected, score, threshold) = (1.0, 2.0, 3.0, 2.5);
                let finding = Finding { kind: 0, channel, severity, observed, expected, score, threshold };
                input.anomalies.push(Reading { batch: &batch, index }, 0, &finding);
            }
            input.readings.push(batch);
        }
        input
    };
    (0..TICKS as i64).map(&mut of_tick).collect()
}

/// Rows of one worker.
fn share<T>(rows: usize, of: impl Fn(usize) -> (u64, T), [worker, workers]: [usize; 2]) -> Vec<T> {
    (0..rows).map(of).filter(|(hash, _)| owner_of(group_of(*hash), workers) == worker).map(|(_, row)| row).collect()
}

fn append(archiver: &mut Archiver, tick: Tick, input: &Input, place: [usize; 2]) {
    for batch in &input.readings {
        let mut part = Batch::new(batch.partition, 2, batch.base);
        let mine = share(batch.len(), |row| (batch.rows[row].meter.hash(), row), place);
        mine.into_iter().for_each(|row| part.push_copy(batch.reading(row)));
        archiver.append_readings(tick, &part);
    }
    let windows = &input.windows;
    let rows = share(windows.rows.len(), |row| (windows.rows[row].meter.hash(), windows.rows[row]), place);
    archiver.append_stats(tick, &WindowBatch { rows, heap: windows.heap.clone() });
    let anomalies = &input.anomalies;
    let mine = share(anomalies.rows.len(), |row| (anomalies.rows[row].meter.hash(), row), place);
    let rows = mine.iter().map(|row| anomalies.rows[*row]).collect();
    let values = mine.iter().flat_map(|row| anomalies.values_of(*row)).copied().collect();
    let part = AnomalyBatch { channels: 2, rows, values, heap: anomalies.heap.clone() };
    archiver.append_anomalies(tick, &part);
}

fn settings() -> ArchiveSettings {
    let (kinds, settle_ms) = (Kind::ALL.to_vec(), DAY_MS / 2);
    ArchiveSettings { kinds, max_size: 500, max_age_ms: 300_000, memory: 6_000, settle_ms }
}

fn archiver(recovered: &Rc<Recovered>) -> Archiver {
    let objects = ObjectNames { tag: "job".to_string(), worker: 0 };
    Archiver::new(settings(), Arc::new(names()), objects).with_state(Rc::default(), recovered.clone())
}

/// What survives a kill.
#[derive(Default)]
struct World {
    /// Cuts by committed tick, and whether it was the last.
    log: Vec<(Vec<ArchiveCut>, bool)>,
    /// Snapshots with their ticks, the newest last.
    snapshots: Vec<(Tick, Incremental)>,
    store: Arc<Memory>,
}

/// One life of a job.
struct Life {
    number: usize,
    workers: usize,
    /// Ticks after the replay until it is killed; more than there are: it comes to its end.
    ticks: usize,
    from_older: bool,
    seed: u64,
}

struct Worker {
    archiver: Archiver,
    on_the_way: Rc<OnTheWay>,
    groups: [u16; 2],
    /// Committed cuts, the first of which may be stored already without its report.
    uploads: VecDeque<Cut>,
}

impl World {
    fn start(&self, life: &Life, snapshot: Option<&(Tick, Incremental)>, worker: usize) -> Worker {
        let groups = [worker, worker + 1].map(|worker| (worker * GROUPS).div_ceil(life.workers) as u16);
        let after = snapshot.map_or(0, |(tick, _)| *tick as usize + 1);
        let cuts = self.log[after..].iter().flat_map(|(cuts, _)| cuts);
        let committed: Vec<ArchiveCut> =
            cuts.filter(|cut| cut.groups[0] < groups[1] && groups[0] < cut.groups[1]).cloned().collect();
        let (store, replayed) = (self.store.clone(), (self.log.len() as Tick).checked_sub(1));
        let recovered = Recovered::new(&committed, replayed, Box::new(move |name| store.exists(name).unwrap()));
        let objects = ObjectNames { tag: format!("job-{}", life.number), worker };
        let on_the_way = Rc::<OnTheWay>::default();
        let archiver =
            Archiver::new(settings(), Arc::new(names()), objects).with_state(on_the_way.clone(), recovered.into());
        let mut worker = Worker { archiver, on_the_way, groups, uploads: VecDeque::new() };
        if let Some((_, stored)) = snapshot {
            stored.restore_of(&mut worker.archiver, groups[0]..groups[1]);
        }
        worker
    }

    /// Runs a life to its end and returns whether the job is complete.
    fn live(&mut self, inputs: &[Input], life: &Life) -> bool {
        let mut random = Random(life.seed);
        let older = usize::from(life.from_older && self.snapshots.len() > 1);
        self.snapshots.truncate(self.snapshots.len() - older);
        let snapshot = self.snapshots.last().cloned();
        let mut workers: Vec<Worker> = (0..life.workers).map(|worker| self.start(life, snapshot.as_ref(), worker)).collect();
        let mut stored = snapshot.as_ref().map(|(_, stored)| stored.clone()).unwrap_or_default();
        let (first, replayed) = (snapshot.map_or(0, |(tick, _)| tick + 1), self.log.len() as Tick);
        let mut complete = self.log.last().is_some_and(|(_, last)| *last);
        for tick in first.. {
            if tick >= replayed + life.ticks as Tick {
                return false;
            }
            let input = inputs.get(tick as usize);
            // After a last tick that is replayed comes one more, for what could not be stored.
            let last = tick as usize + 1 >= inputs.len();
            let mut cuts: Vec<(usize, Cut)> = Vec::new();
            for (number, worker) in workers.iter_mut().enumerate() {
                if let Some(input) = input {
                    append(&mut worker.archiver, tick, input, [number, life.workers]);
                }
                let watermark = DAY * DAY_MS + (tick as i64 - 5) * DAY_MS / 5;
                let made = match last {
                    true => worker.archiver.finish(tick),
                    false => worker.archiver.due(tick, Moment { now: None, watermark }),
                };
                cuts.extend(made.into_iter().map(|cut| (number, cut)));
            }
            if tick < replayed {
                assert!(cuts.is_empty(), "a replayed tick is cut");
                continue;
            }
            if random.below(8) == 0 {
                // Killed before the commit.
                return false;
            }
            let record = |(worker, cut): &(usize, Cut)| ArchiveCut {
                kind: cut.kind.name().to_string(),
                day: cut.day,
                groups: workers[*worker].groups,
                through: cut.through,
                name: cut.name.clone(),
                rows: cut.rows.len() as u64,
            };
            self.log.push((cuts.iter().map(record).collect(), last));
            cuts.into_iter().for_each(|(worker, cut)| workers[worker].uploads.push_back(cut));
            workers.iter_mut().for_each(|worker| self.upload(worker, random.below(4), random.below(2) == 0));
            if random.below(3) == 0 {
                for worker in &mut workers {
                    stored.snapshot_of(&mut worker.archiver, worker.groups[0]..worker.groups[1]);
                }
                self.snapshots.push((tick, stored.clone()));
            }
            complete = last;
            if complete {
                break;
            }
        }
        if random.below(3) == 0 {
            return false;
        }
        workers.iter_mut().for_each(|worker| self.upload(worker, u64::MAX, false));
        complete
    }

    /// Stores some of the cuts that wait; of the last one the report may not have come.
    fn upload(&self, worker: &mut Worker, most: u64, unreported: bool) {
        for _ in 0..most {
            let Some(cut) = worker.uploads.front() else { return };
            self.store.put(&cut.name, &cut.encode().unwrap()).unwrap();
            if unreported {
                return;
            }
            worker.on_the_way.remove(&cut.name);
            worker.uploads.pop_front();
        }
    }

    /// The numbers of all rows in the store, by kind.
    fn rows(&self) -> [Vec<i64>; 3] {
        let mut rows = [Vec::new(), Vec::new(), Vec::new()];
        for entry in self.store.list("").unwrap() {
            let kind = Kind::ALL.iter().position(|kind| entry.name.starts_with(&format!("kind={}/", kind.name()))).unwrap();
            for row in read(&self.store.get_range(&entry.name, 0..u64::MAX).unwrap().unwrap()) {
                let at = [row.len() - 1, 4, 15][kind];
                let Field::Long(number) = row[at] else { panic!("{:?} is no number of a row", row[at]) };
                rows[kind].push(number);
            }
        }
        rows.iter_mut().for_each(|rows| rows.sort_unstable());
        rows
    }
}

fn expected(inputs: &[Input]) -> [Vec<i64>; 3] {
    let readings = inputs.iter().flat_map(|input| &input.readings).flat_map(Batch::iter).map(|reading| reading.offset());
    let windows = inputs.iter().flat_map(|input| &input.windows.rows).map(|row| row.count);
    let anomalies = inputs.iter().flat_map(|input| &input.anomalies.rows).map(|row| row.offset);
    let mut rows: [Vec<i64>; 3] = [
        readings.map(|number| number as i64).collect(),
        windows.map(|number| number as i64).collect(),
        anomalies.map(|number| number as i64).collect(),
    ];
    rows.iter_mut().for_each(|rows| rows.sort_unstable());
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn each_row_is_in_one_object_whatever_happens(
        seed: u64,
        lives in prop::collection::vec((1..6usize, 0..7usize, any::<bool>(), any::<u64>()), 0..8),
    ) {
        let inputs = inputs(seed);
        let mut world = World::default();
        for (number, (workers, ticks, from_older, seed)) in lives.into_iter().enumerate() {
            world.live(&inputs, &Life { number, workers, ticks, from_older, seed });
        }
        let mut number = 100;
        while !world.live(&inputs, &Life { number, workers: 2, ticks: 100, from_older: false, seed: seed ^ number as u64 }) {
            number += 1;
        }
        prop_assert_eq!(world.rows(), expected(&inputs));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn rows_that_were_saved_by_group_and_put_together_make_the_same_objects(seed: u64) {
        let (recovered, mut stored) = (Rc::default(), Incremental::default());
        let (mut original, mut restored) = (archiver(&recovered), archiver(&recovered));
        for (tick, input) in (0..).zip(&inputs(seed)) {
            append(&mut original, tick, input, [0, 1]);
        }
        stored.snapshot(&mut original);
        stored.restore(&mut restored);
        prop_assert_eq!((restored.rows(), restored.pending()), (original.rows(), 0));
        let objects = |archiver: &mut Archiver| -> Vec<(String, Vec<u8>)> {
            archiver.finish(99).iter().map(|cut| (cut.name.clone(), cut.encode().unwrap())).collect()
        };
        prop_assert!(objects(&mut restored) == objects(&mut original));
    }
}

#[test]
fn what_came_after_the_replay_is_not_in_the_objects_before_it() {
    let kind = Kind::Readings.name().to_string();
    let (day, groups, through, name, rows) = (DAY, [0, GROUPS as u16], 5, "x".to_string(), 1);
    let cut = ArchiveCut { kind, day, groups, through, name, rows };
    let recovered = Rc::new(Recovered::new(&[cut], Some(5), Box::new(|_| true)));
    let (mut before, mut after, mut stored) = (archiver(&recovered), archiver(&recovered), Incremental::default());
    let mut batch = Batch::new(0, 2, 0);
    batch.push(b"m", DAY * DAY_MS, 0, None, 0, &[0.0; 2]);
    for (tick, rows) in [(5, 0), (6, 1), (7, 2)] {
        before.append_readings(tick, &batch);
        before.due(tick, Moment { now: None, watermark: i64::MIN });
        assert_eq!(before.rows(), rows, "after tick {tick}");
    }
    stored.snapshot(&mut before);
    stored.restore(&mut after);
    assert_eq!(after.rows(), 2);
}
