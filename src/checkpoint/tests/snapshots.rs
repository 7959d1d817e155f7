//! Snapshots: what is saved comes back, what has not changed is not written again, and damage leads to the one before.

use crate::checkpoint::names::Name;
use crate::checkpoint::testing::{Scratch, commit, commits, job, recovered, step, ticks};
use crate::checkpoint::{Keeper, Manifest, Segment, SegmentWriter, Shelf, Snapshot, Spool, TickLog, Volume, recover};
use crate::error::ErrorKind;
use crate::model::commit::{Commit, StepRecord};
use crate::state::Scope;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// A job with one process, as it stands in one incarnation.
struct Run {
    volume: Arc<dyn Volume>,
    incarnation: u64,
    keeper: Keeper,
    shelf: Shelf,
    spool: Spool,
}

impl Run {
    fn start(volume: Arc<dyn Volume>, incarnation: u64, dropped: &[&str]) -> Run {
        let found = recover(&volume, None).unwrap();
        let log = TickLog::begin(volume.clone(), incarnation, &job(), found.as_ref()).unwrap();
        let dropped = dropped.iter().map(|step| (*step).to_owned());
        Run {
            keeper: Keeper::new(log, found.as_ref()),
            shelf: Shelf::new(volume.clone(), incarnation, job(), found.as_ref(), dropped),
            spool: Spool::create(volume.clone(), &job().uid, incarnation, 0).unwrap(),
            volume,
            incarnation,
        }
    }

    /// Commits a tick, and takes a snapshot after it.
    fn snapshot(&mut self, tick: u64, steps: &[StepRecord], saved: &[(u32, Scope, &[u8])]) -> Manifest {
        self.keeper.commit(&[Commit { snapshot: true, ..commit(tick, "out.jsonl") }]).unwrap();
        self.spool.append(tick, "out.jsonl", 0, &[b"x\n"]).unwrap();
        self.spool.rotate().unwrap();
        self.publish(tick, steps, saved)
    }

    fn publish(&mut self, tick: u64, steps: &[StepRecord], saved: &[(u32, Scope, &[u8])]) -> Manifest {
        let mut writer = SegmentWriter::create(&self.volume, &job().uid, tick, self.incarnation, 0).unwrap();
        let places = saved.iter().map(|(step, scope, bytes)| writer.add(*step, *scope, bytes).unwrap()).collect();
        writer.sync().unwrap();
        let segment = Segment { file: writer.name().to_owned(), places, unchanged: 1 };
        assert_eq!(Segment::from_bytes(&segment.to_bytes()), Ok(segment.clone()));
        let frozen = self.keeper.frozen(tick).unwrap();
        self.shelf.publish(frozen, &[segment], steps.to_vec(), 77).unwrap().clone()
    }
}

const A: Scope = Scope::Group(3);
const B: Scope = Scope::Group(1023);
const P: Scope = Scope::Partition(100_000);

fn names(volume: &Arc<dyn Volume>) -> Vec<String> {
    volume.list().unwrap()
}

fn file(scratch: &Scratch, name: Name) -> PathBuf {
    scratch.0.join("state").join(name.text())
}

fn bytes(snapshot: &Snapshot, step: &str, scope: Scope) -> Option<String> {
    snapshot.bytes(step, scope).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn state_comes_back_and_what_has_not_changed_stays_where_it_is() {
    let scratch = Scratch::new("snapshot");
    let mut run = Run::start(scratch.volume(), 1, &[]);
    run.keeper.commit(&commits(0..3)).unwrap();
    let steps = [step("windows"), step("detect")];
    let saved: [(u32, Scope, &[u8]); 4] = [(0, A, b"a"), (0, B, b"bb"), (1, A, b"ccc"), (1, P, b"dddd")];
    let first = run.snapshot(3, &steps, &saved);
    assert_eq!((first.cost.written, first.cost.written_bytes, first.cost.unchanged), (4, 10, 1));
    run.keeper.commit(&commits(4..5)).unwrap();
    // The steps in another order, one group changed, one empty now, the global state new.
    let steps = [step("detect"), step("windows")];
    let second = run.snapshot(5, &steps, &[(1, A, b"A!"), (1, B, b""), (0, Scope::Global, b"g")]);
    assert_eq!(second.cost.written, 3);
    run.keeper.commit(&commits(6..8)).unwrap();
    let found = recovered(&run.volume);
    assert_eq!(ticks(&found), [6, 7]);
    assert_eq!(found.commits, commits(6..8));
    assert_eq!(found.counts().windows, 8);
    assert_eq!(found.ends()["out.jsonl"].1, crate::checkpoint::testing::end(7));
    assert!(found.passed_over.is_empty());
    let snapshot = found.snapshot.unwrap();
    assert_eq!((snapshot.manifest.tick, snapshot.manifest.time, snapshot.manifest.counts.windows), (5, 77, 6));
    assert_eq!(snapshot.manifest, second);
    assert_eq!(bytes(&snapshot, "windows", A).as_deref(), Some("A!"));
    assert_eq!(bytes(&snapshot, "windows", B), None);
    assert_eq!(bytes(&snapshot, "detect", A).as_deref(), Some("ccc"));
    assert_eq!(bytes(&snapshot, "detect", P).as_deref(), Some("dddd"));
    assert_eq!(bytes(&snapshot, "detect", Scope::Global).as_deref(), Some("g"));
    assert_eq!(bytes(&snapshot, "gone", A), None);
    let in_use: Vec<u64> = snapshot.manifest.files_in_use().iter().map(|file| file.live).collect();
    assert_eq!(in_use, [7, 3]);
    assert_eq!(snapshot.manifest.worth_moving(0), []);
    assert_eq!(snapshot.manifest.worth_moving(100).len(), 4);
}

#[test]
fn only_what_two_snapshots_need_is_kept() {
    let scratch = Scratch::new("trim");
    let volume = scratch.volume();
    let steps = [step("windows")];
    let mut run = Run::start(volume.clone(), 1, &[]);
    run.snapshot(0, &steps, &[(0, A, b"a"), (0, B, b"b")]);
    run.snapshot(1, &steps, &[(0, A, b"aa")]);
    // The segment of tick 0 still holds group B; the log before the older snapshot is not needed.
    let kept = [
        "log-00000001-000001",
        "log-00000001-000002",
        "segment-000000000000-00000001-0000",
        "segment-000000000001-00000001-0000",
        "snapshot-000000000000-00000001",
        "snapshot-000000000001-00000001",
        "spool-00000001-0000-000001",
        "spool-00000001-0000-000002",
    ];
    assert_eq!(names(&volume), kept);
    let mut run = Run::start(volume.clone(), 2, &[]);
    fs::write(scratch.0.join("state/.tmp-snapshot-000000000001-00000001"), "left by a crash").unwrap();
    fs::write(scratch.0.join("state/lease"), "not ours").unwrap();
    run.snapshot(2, &steps, &[(0, B, b"bb")]);
    let kept = [
        "lease",
        "log-00000001-000002",
        "log-00000002-000000",
        "log-00000002-000001",
        "segment-000000000000-00000001-0000",
        "segment-000000000001-00000001-0000",
        "segment-000000000002-00000002-0000",
        "snapshot-000000000001-00000001",
        "snapshot-000000000002-00000002",
        "spool-00000001-0000-000002",
        "spool-00000002-0000-000000",
        "spool-00000002-0000-000001",
    ];
    assert_eq!(names(&volume), kept);
    run.snapshot(3, &steps, &[]);
    let kept = names(&volume);
    assert!(
        !kept.iter().any(|name| name.contains("-00000001-000002") || name.starts_with("segment-000000000000")),
        "{kept:?}"
    );
    assert_eq!(bytes(&recovered(&volume).snapshot.unwrap(), "windows", A).as_deref(), Some("aa"));
    assert_eq!(bytes(&recovered(&volume).snapshot.unwrap(), "windows", B).as_deref(), Some("bb"));
}

#[test]
fn damage_leads_to_the_snapshot_before_and_then_to_a_refusal() {
    let scratch = Scratch::new("fall-back");
    let volume = scratch.volume();
    let steps = [step("windows")];
    let mut run = Run::start(volume.clone(), 1, &[]);
    run.snapshot(0, &steps, &[(0, A, b"a"), (0, B, b"b")]);
    run.snapshot(1, &steps, &[(0, A, b"aa")]);
    run.snapshot(2, &steps, &[(0, A, b"aaa")]);
    let newest = file(&scratch, Name::Manifest { tick: 2, incarnation: 1 });
    let segment = file(&scratch, Name::Segment { tick: 2, incarnation: 1, process: 0 });
    let falls_back = |what: &str| {
        let found = recovered(&volume);
        let snapshot = found.snapshot.unwrap();
        assert_eq!((snapshot.manifest.tick, ticks_of(&found.commits)), (1, vec![2]), "{what}");
        assert_eq!(bytes(&snapshot, "windows", A).as_deref(), Some("aa"));
        assert_eq!(found.passed_over.len(), 1, "{what}: {:?}", found.passed_over);
        assert!(found.passed_over[0].contains("000000000002"), "{:?}", found.passed_over);
    };
    let whole = fs::read(&newest).unwrap();
    for at in (0..40).chain((40..whole.len()).step_by(17)) {
        let mut flipped = whole.clone();
        flipped[at] ^= 8;
        fs::write(&newest, flipped).unwrap();
        falls_back(&format!("byte {at} of the manifest"));
    }
    for length in [0, 31, 100, whole.len() - 1] {
        fs::write(&newest, &whole[..length]).unwrap();
        falls_back(&format!("{length} bytes of the manifest"));
    }
    fs::write(&newest, &whole).unwrap();
    let state = fs::read(&segment).unwrap();
    let mut flipped = state.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&segment, flipped).unwrap();
    falls_back("the segment");
    let kept = Snapshot::open(&volume, 2, 1).unwrap().unwrap();
    assert!(kept.bytes("windows", A).unwrap_err().message.contains("not as it was saved"));
    fs::remove_file(&segment).unwrap();
    falls_back("no segment");
    // The next incarnation, which goes on from the older one, says so to all its processes.
    Run::start(volume.clone(), 2, &[]);
    let view = recover(&volume, Some(2)).unwrap().unwrap();
    assert_eq!(view.snapshot.unwrap().manifest.tick, 1);
    // Both damaged: the log does not reach back to the beginning.
    fs::write(file(&scratch, Name::Manifest { tick: 1, incarnation: 1 }), "x").unwrap();
    let error = recover(&volume, None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("does not reach back") && error.message.contains("snapshot-000000000001"), "{error}");
}

fn ticks_of(commits: &[Commit]) -> Vec<u64> {
    commits.iter().map(|commit| commit.tick).collect()
}

#[test]
fn dropped_steps_and_other_layouts_are_not_taken_over() {
    let scratch = Scratch::new("drop");
    let volume = scratch.volume();
    let mut run = Run::start(volume.clone(), 1, &[]);
    let steps = [step("windows"), step("detect"), step("gone")];
    run.snapshot(0, &steps, &[(0, A, b"w"), (1, A, b"d"), (2, A, b"g")]);
    let mut run = Run::start(volume.clone(), 2, &["windows"]);
    let steps = [step("windows"), StepRecord { version: 2, ..step("detect") }];
    run.publish(0, &steps, &[(1, B, b"new")]);
    let snapshot = recovered(&volume).snapshot.unwrap();
    assert_eq!(snapshot.manifest.places.len(), 1);
    assert_eq!(bytes(&snapshot, "detect", B).as_deref(), Some("new"));
    // Given up once: what the step has saved since then stays.
    run.snapshot(1, &steps, &[(0, A, b"again")]);
    run.snapshot(2, &steps, &[]);
    assert_eq!(bytes(&recovered(&volume).snapshot.unwrap(), "windows", A).as_deref(), Some("again"));
}

#[test]
fn parts_of_a_shape_stay_named_while_bytes_saved_under_it_are_used() {
    let scratch = Scratch::new("shape");
    let volume = scratch.volume();
    let shaped = |shape: &str| StepRecord { shape: shape.into(), ..step("detect") };
    let mut run = Run::start(volume.clone(), 1, &[]);
    run.snapshot(0, &[shaped("limits: v=1; average: n=60")], &[(0, A, b"old"), (0, B, b"old")]);
    let shape = |manifest: Manifest| manifest.steps[0].shape.clone();
    let some = run.snapshot(1, &[shaped("limits: v=1")], &[(0, A, b"new")]);
    assert_eq!(shape(some), "limits: v=1; average: n=60");
    let all = run.snapshot(2, &[shaped("limits: v=1")], &[(0, A, b"new"), (0, B, b"new")]);
    assert_eq!(shape(all), "limits: v=1");
}

#[test]
fn a_snapshot_is_only_given_out_of_a_committed_tick() {
    let scratch = Scratch::new("frozen");
    let volume = scratch.volume();
    let mut run = Run::start(volume.clone(), 1, &[]);
    run.keeper.commit(&commits(0..2)).unwrap();
    assert_eq!(run.keeper.frozen(1), None, "not frozen");
    let mut ticks = commits(2..6);
    ticks[1].snapshot = true;
    assert_eq!(run.keeper.frozen(3), None, "not committed");
    run.keeper.commit(&ticks).unwrap();
    let frozen = run.keeper.frozen(3).unwrap();
    assert_eq!((frozen.counts.windows, frozen.position.sequence), (4, 1));
    assert_eq!(frozen.files[0].end, crate::checkpoint::testing::end(3));
    assert_eq!(run.keeper.frozen(3), None, "once");
    // After a restart one may be taken of the last tick at once.
    let mut run = Run::start(volume, 2, &[]);
    assert_eq!(run.keeper.frozen(4), None);
    assert_eq!(run.keeper.frozen(5).unwrap().counts.windows, 6);
}

#[test]
fn a_replaced_incarnation_publishes_nothing() {
    let scratch = Scratch::new("late");
    let volume = scratch.volume();
    let mut old = Run::start(volume.clone(), 1, &[]);
    old.keeper.commit(&[Commit { snapshot: true, ..commit(0, "out.jsonl") }]).unwrap();
    Run::start(volume.clone(), 2, &[]);
    let frozen = old.keeper.frozen(0).unwrap();
    assert!(old.shelf.publish(frozen, &[], Vec::new(), 0).unwrap_err().message.contains("has taken over"));
    assert!(!names(&volume).iter().any(|name| name.starts_with("snapshot")));
}
