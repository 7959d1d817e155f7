//! What tests of the state folder share: a folder of their own, and jobs and ticks that are quickly written down.

use crate::checkpoint::{Folder, Recovered, Volume, lines_hash, recover};
use crate::model::commit::{Commit, JobRecord, PartitionRecord, Shown, StepRecord};
use crate::model::control::{Counts, Take, Taken, Tick};
use std::path::PathBuf;
use std::sync::Arc;

/// A new folder that is removed at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("meterflow-state-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Scratch(path)
    }

    pub fn volume(&self) -> Arc<dyn Volume> {
        Arc::new(Folder::open(&self.0.join("state")).expect("a folder"))
    }

    pub fn output(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn job() -> JobRecord {
    JobRecord {
        uid: "0123456789abcdef0123456789abcdef".into(),
        dataflow: "anomaly".into(),
        settings: "[windows]\nkind = \"tumbling\"\n".into(),
        block: 1 << 16,
        now: 1_704_067_200_000,
        partitions: vec![PartitionRecord {
            source: "readings".into(),
            name: "a.jsonl".into(),
            size: Some(12345),
            content: Some([u64::MAX, 7]),
        }],
    }
}

pub fn step(name: &str) -> StepRecord {
    StepRecord { step: name.into(), kind: "toy".into(), version: 1, shape: "size=1m".into() }
}

/// The lines that a tick brings to its file.
pub fn lines(tick: Tick) -> Vec<u8> {
    (0..=tick % 3).map(|line| format!("line {line} of tick {tick}\n")).collect::<String>().into_bytes()
}

/// Length of the file with all lines up to a tick.
pub fn end(tick: Tick) -> u64 {
    (0..=tick).map(|tick| lines(tick).len() as u64).sum()
}

/// A tick that shows its lines in one file.
pub fn commit(tick: Tick, path: &str) -> Commit {
    let bytes = lines(tick);
    let (rows, hash) = lines_hash(&bytes);
    let mut counts = Counts { windows: 1, ..Counts::default() };
    counts.source("readings").read = 10;
    let shown = Shown { sink: "stats".into(), path: path.into(), rows, bytes: bytes.len() as u64, hash, end: end(tick) };
    let taken = Taken {
        tick,
        partition: 0,
        end_offset: 100 * tick,
        blocks: tick,
        newest: Some(-1),
        run: (3, i64::MIN),
        ended: false,
    };
    Commit {
        tick,
        now: 1_704_067_200_000,
        takes: vec![Take { partition: 0, first: tick, end: tick + 1 }],
        taken: vec![taken],
        watermark: i64::MIN,
        last: false,
        snapshot: false,
        shown: vec![shown],
        cuts: Vec::new(),
        counts,
    }
}

/// Several of them.
pub fn commits(ticks: std::ops::Range<Tick>) -> Vec<Commit> {
    ticks.map(|tick| commit(tick, "out.jsonl")).collect()
}

/// What stands in a folder, which has something.
#[track_caller]
pub fn recovered(volume: &Arc<dyn Volume>) -> Recovered {
    recover(volume, None).expect("the folder can be read").expect("something is there")
}

pub fn ticks(recovered: &Recovered) -> Vec<Tick> {
    recovered.commits.iter().map(|commit| commit.tick).collect()
}
