//! What a job counted, while it runs and at its end.

use crate::drivers::commit::{Manifest, SharedManifest};
use crate::drivers::snapshot::Saved;
use crate::model::commit::{Commit, StepRecord};
use crate::model::control::{Counts, SourceCounts, Tick};
use crate::model::dead::Reason;
use crate::time::{self, Stopwatch};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use timely::scheduling::SyncActivator;

/// How far a job has come; may be read from any thread.
#[derive(Default, Debug)]
pub struct Progress {
    /// Records read.
    pub read: AtomicU64,
    /// Anomalies found.
    pub anomalies: AtomicU64,
    /// Late readings.
    pub late: AtomicU64,
    /// Dead letters.
    pub dead: AtomicU64,
    /// The job's watermark, ms; 0 before it has one.
    pub watermark: AtomicI64,
}

/// What a job did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was counted.
    pub counts: Counts,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// CPU seconds of all processes.
    pub cpu_seconds: f64,
}

/// The totals of committed ticks, on their way from worker 0 to whoever runs the job.
#[derive(Clone)]
pub(super) struct Totals {
    counts: Arc<Mutex<Counts>>,
    progress: Arc<Progress>,
}

impl Totals {
    /// Nothing yet, of each of these sources: an empty one is counted as well.
    pub(super) fn new<'a>(sources: impl IntoIterator<Item = &'a str>, progress: Arc<Progress>) -> Totals {
        let mut counts = Counts::default();
        sources.into_iter().for_each(|name| *counts.source(name) = SourceCounts::default());
        Totals { counts: Arc::new(Mutex::new(counts)), progress }
    }

    pub(super) fn manifest(&self) -> SharedManifest {
        Rc::new(RefCell::new(InMemory { totals: self.clone(), before: 0 }))
    }

    /// What has been counted by the end of this process.
    pub(super) fn outcome(&self, started: &Stopwatch, process: usize) -> Outcome {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let others = counts.cpu_ms.iter().filter(|(other, _)| **other as usize != process);
        let others: f64 = others.map(|(_, ms)| *ms as f64 / 1000.0).sum();
        Outcome { counts, seconds: started.seconds(), cpu_seconds: time::cpu_seconds() + others }
    }
}

impl Totals {
    /// Counts what has been committed, or what became visible only after it was.
    pub(super) fn count(&self, counts: &Counts) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).add(counts);
        let progress = &self.progress;
        for source in counts.sources.values() {
            progress.read.fetch_add(source.read, Relaxed);
            progress.late.fetch_add(source.late, Relaxed);
            progress.dead.fetch_add(source.dead_total(), Relaxed);
        }
        if let Some(watermark) = counts.watermark {
            progress.watermark.fetch_max(watermark, Relaxed);
        }
        progress.anomalies.fetch_add(counts.anomalies.values().sum(), Relaxed);
    }
}

/// Without a state folder: what is complete is committed, and a crash starts over.
struct InMemory {
    totals: Totals,
    before: Tick,
}

impl Manifest for InMemory {
    fn submit(&mut self, commit: Commit) {
        self.before = commit.tick + 1;
        self.totals.count(&commit.counts);
    }

    fn committed(&mut self) -> Tick {
        self.before
    }

    fn count(&mut self, counts: &Counts) {
        self.totals.count(counts);
    }

    fn snapshot(&mut self, _: Tick, _: Vec<Saved>, _: Vec<StepRecord>) {}

    fn has_snapshot(&mut self) -> bool {
        false
    }

    fn wake_with(&mut self, _: SyncActivator) {}
}

impl Outcome {
    /// The outcome as the JSON object that `--summary` writes.
    pub fn summary(&self) -> serde_json::Value {
        let source = |counts: &SourceCounts| {
            let reasons = Reason::ALL.iter().map(|reason| (reason.name().to_owned(), counts.dead[*reason as usize]));
            let reasons: serde_json::Map<_, _> = reasons.filter(|(_, n)| *n > 0).map(|(name, n)| (name, n.into())).collect();
            serde_json::json!({
                "read": counts.read,
                "used": counts.used(),
                "late": counts.late,
                "duplicate": counts.duplicate,
                "dead": counts.dead_total(),
                "dead_by_reason": reasons,
            })
        };
        let counts = &self.counts;
        let sources: serde_json::Map<_, _> = counts.sources.iter().map(|(name, of)| (name.clone(), source(of))).collect();
        let times = counts.sources.values().filter_map(|source| source.event_time);
        let event_time = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        serde_json::json!({
            "sources": sources,
            "windows": counts.windows,
            "revisions": counts.revisions,
            "anomalies": { "total": counts.anomalies.values().sum::<u64>(), "by_kind": counts.anomalies },
            "archive": { "objects": counts.archive[0], "rows": counts.archive[1], "bytes": counts.archive[2] },
            "event_time": { "first": event_time.map(|(first, _)| first), "last": event_time.map(|(_, last)| last) },
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
        })
    }
}
