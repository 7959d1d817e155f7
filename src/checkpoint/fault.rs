//! Fault points: places, before and after each effect that lasts, where a process can be killed on purpose.
//!
//! `METERFLOW_FAULT=NAME:COUNT` kills the process with SIGKILL when it comes to the point NAME for the COUNT-th time;
//! `METERFLOW_FAULT_HITS=FILE` appends the name of every point at its first hit in a process. Without them a point is one
//! load of a number.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// All points. A test kills a process at each of them.
pub const ALL: &[&str] = &[
    "log.begin.before",
    "log.begin.after",
    "log.append.before",
    "log.append.torn",
    "log.sync.before",
    "log.sync.after",
    "log.rotate.before",
    "log.rotate.after",
    "log.complete.before",
    "log.complete.after",
    "spool.append.before",
    "spool.append.torn",
    "spool.sync.after",
    "segment.append.before",
    "segment.sync.before",
    "segment.sync.after",
    "manifest.before",
    "manifest.after",
    "trim.before",
    "trim.remove",
    "trim.after",
    "complete.before",
    "complete.write",
    "complete.after",
    "show.before",
    "show.after",
    "restore.before",
    "restore.after",
];

struct Plan {
    kill: Option<(String, u64)>,
    hits: Option<String>,
    count: AtomicU64,
    seen: Vec<AtomicU8>,
}

static PLAN: OnceLock<Option<Plan>> = OnceLock::new();

fn plan() -> Option<Plan> {
    let kill = std::env::var("METERFLOW_FAULT").ok().and_then(|text| {
        let (name, count) = text.rsplit_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    let hits = std::env::var("METERFLOW_FAULT_HITS").ok();
    let seen = ALL.iter().map(|_| AtomicU8::new(0)).collect();
    (kill.is_some() || hits.is_some()).then_some(Plan { kill, hits, count: AtomicU64::new(0), seen })
}

/// A point of that name, one of [`ALL`].
pub fn point(name: &str) {
    if let Some(plan) = PLAN.get_or_init(plan) {
        plan.hit(name);
    }
}

/// Whether the next hit of a point kills: for effects that can be done by half.
pub fn is_next(name: &str) -> bool {
    let plan = PLAN.get_or_init(plan).as_ref();
    let kill = plan.and_then(|plan| plan.kill.as_ref().map(|kill| (kill, plan)));
    kill.is_some_and(|((wanted, count), plan)| wanted == name && plan.count.load(Relaxed) + 1 == *count)
}

impl Plan {
    #[cold]
    fn hit(&self, name: &str) {
        let at = ALL.iter().position(|known| *known == name);
        debug_assert!(at.is_some(), "{name} is not in the list of fault points");
        if let (Some(path), Some(at)) = (&self.hits, at)
            && self.seen[at].swap(1, Relaxed) == 0
        {
            let file = std::fs::File::options().create(true).append(true).open(path);
            // What cannot be noted counts as not hit, and that is noticed.
            let _ = file.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
        }
        if let Some((wanted, count)) = &self.kill
            && wanted == name
            && self.count.fetch_add(1, Relaxed) + 1 == *count
        {
            // SAFETY: ends this process at once, which is what was asked for.
            unsafe {
                libc::kill(libc::getpid(), libc::SIGKILL);
            }
            std::thread::park();
        }
    }
}
