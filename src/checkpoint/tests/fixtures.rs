//! State folders as earlier versions of the program have written them: they must be read for ever.
//!
//! A format that changes gets a new version and a new folder; the old ones stay. `METERFLOW_MAKE_FIXTURES=1` makes the
//! folder of the version of now, if it is not there.

use crate::checkpoint::files::Disk;
use crate::checkpoint::testing::{Scratch, commit, commits, end, job, lines, recovered, step, ticks};
use crate::checkpoint::{
    Completed, Folder, Keeper, Position, Segment, SegmentWriter, Shelf, Spool, TickLog, Volume, complete_files, recover,
};
use crate::model::commit::{ArchiveCut, Commit, StepRecord};
use crate::state::Scope;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state-v1")
}

fn steps() -> Vec<StepRecord> {
    vec![step("windows"), step("detect")]
}

/// A tick with all that a record can have.
fn full(tick: u64) -> Commit {
    let cut = ArchiveCut {
        kind: "readings".into(),
        day: 19723,
        groups: [0, 512],
        through: tick,
        name: "kind=readings/date=2024-01-01/x.parquet".into(),
        rows: 77,
    };
    let mut commit = Commit { cuts: vec![cut], snapshot: true, ..commit(tick, "out.jsonl") };
    let source = commit.counts.source("readings");
    source.dead[1] = 2;
    source.event_time = Some((-1, i64::MAX));
    commit.counts.watermark = Some(-77);
    commit.counts.anomalies.insert("voltage_low".into(), 3);
    commit.counts.decoded.insert(4, 5);
    commit
}

const STATE: [(u32, Scope, &[u8]); 4] = [
    (0, Scope::Group(0), b"windows of group 0"),
    (0, Scope::Group(1023), b"windows of group 1023"),
    (1, Scope::Partition(7), b"detect of partition 7"),
    (1, Scope::Global, b"detect"),
];

/// Two incarnations: the first commits ticks 0 to 3, with a snapshot after 2; the second ticks 4 and 5, and is complete.
fn make(volume: &Arc<dyn Volume>) {
    let uid = job().uid;
    let spool = |incarnation, ticks: std::ops::Range<u64>| {
        let mut spool = Spool::create(volume.clone(), &uid, incarnation, 0).unwrap();
        for tick in ticks {
            spool.append(tick, "out.jsonl", end(tick) - lines(tick).len() as u64, &[&lines(tick)]).unwrap();
        }
        spool.sync().unwrap();
    };
    spool(1, 0..5);
    let log = TickLog::begin(volume.clone(), 1, &job(), None).unwrap();
    let mut keeper = Keeper::new(log, None);
    keeper.commit(&[commits(0..2), vec![full(2)], commits(3..4)].concat()).unwrap();
    let mut writer = SegmentWriter::create(volume, &uid, 2, 1, 0).unwrap();
    let places = STATE.map(|(step, scope, bytes)| writer.add(step, scope, bytes).unwrap()).to_vec();
    writer.sync().unwrap();
    let segment = Segment { file: writer.name().to_owned(), places, unchanged: 3 };
    let mut shelf = Shelf::new(volume.clone(), 1, job(), None, []);
    shelf.publish(keeper.frozen(2).unwrap(), &[segment], steps(), 1_704_067_201_000).unwrap();
    spool(2, 4..6);
    let mut log = TickLog::begin(volume.clone(), 2, &job(), Some(&recovered(volume))).unwrap();
    log.append(&commits(4..6)).unwrap();
    log.complete().unwrap();
}

#[test]
fn version_1_is_read() {
    let folder = fixture();
    if std::env::var_os("METERFLOW_MAKE_FIXTURES").is_some() && !folder.join("log-00000001-000000").exists() {
        make(&(Arc::new(Folder::open(&folder).unwrap()) as Arc<dyn Volume>));
    }
    let volume: Arc<dyn Volume> = Arc::new(Folder::look(&folder).unwrap());
    let found = recovered(&volume);
    assert_eq!((ticks(&found), &found.makers), (vec![3, 4, 5], &vec![1, 2, 2]));
    assert_eq!((found.commits.clone(), found.complete, &found.job), (commits(3..6), true, &job()));
    assert!(found.passed_over.is_empty());
    let snapshot = found.snapshot.as_ref().unwrap();
    let manifest = &snapshot.manifest;
    assert_eq!((manifest.tick, manifest.incarnation, manifest.time), (2, 1, 1_704_067_201_000));
    let Position { incarnation, sequence, .. } = manifest.position;
    assert_eq!((incarnation, sequence, manifest.cost.unchanged, manifest.cost.written), (1, 1, 3, 4));
    assert_eq!((&manifest.steps, &manifest.job), (&steps(), &job()));
    assert_eq!((manifest.counts.windows, manifest.counts.watermark), (3, Some(-77)));
    for (step, scope, bytes) in STATE {
        let name = ["windows", "detect"][step as usize];
        assert_eq!(snapshot.bytes(name, scope).unwrap().as_deref(), Some(bytes), "{name} {scope:?}");
    }
    // From the beginning: what each record of the first log says.
    let all = recover(&volume, Some(2)).unwrap().unwrap();
    assert_eq!((ticks(&all), all.complete), (vec![3], false));
    let log = crate::checkpoint::chain::head_of(&*volume, "log-00000001-000000").unwrap();
    let link = crate::checkpoint::chain::Link { begin: log.begin, length: None };
    let records = crate::checkpoint::chain::read(&*volume, &link, 0).unwrap();
    assert_eq!(records.commits, [commits(0..2), vec![full(2)]].concat());
}

#[test]
fn files_are_completed_from_version_1() {
    let scratch = Scratch::new("fixture");
    let volume = scratch.volume();
    for entry in fs::read_dir(fixture()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, scratch.0.join("state").join(path.file_name().unwrap())).unwrap();
    }
    /// The files of the folder that the test has to itself.
    struct Below(PathBuf);
    impl Below {
        fn path(&self, path: &str) -> String {
            self.0.join(path).display().to_string()
        }
    }
    impl crate::checkpoint::Files for Below {
        fn length(&self, path: &str) -> std::io::Result<Option<u64>> {
            Disk.length(&self.path(path))
        }
        fn read(&self, path: &str, from: u64, length: u64) -> std::io::Result<Vec<u8>> {
            Disk.read(&self.path(path), from, length)
        }
        fn write(&self, path: &str, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            Disk.write(&self.path(path), offset, bytes)
        }
        fn sync(&self, path: &str) -> std::io::Result<()> {
            Disk.sync(&self.path(path))
        }
    }
    let whole: Vec<u8> = (0..6).flat_map(lines).collect();
    fs::write(scratch.output("out.jsonl"), &whole[..end(2) as usize + 5]).unwrap();
    let done = complete_files(&*volume, &Below(scratch.0.clone()), &recovered(&volume)).unwrap();
    let restored = end(5) - end(2);
    assert_eq!(done, [Completed { path: "out.jsonl".into(), end: end(5), restored }]);
    assert_eq!(fs::read(scratch.output("out.jsonl")).unwrap(), whole);
}
