//! Places where a process can be killed on purpose: before and after everything that it leaves behind.
//!
//! `METERFLOW_FAULT=log.sync.before:3` kills the process with SIGKILL when it comes to that place for the third time.
//! `METERFLOW_FAULT_HITS=FILE` appends to a file how often each place was passed: a line `NAME COUNT` for each, at the
//! end of the process or just before it kills itself. Without these variables a place costs the load of one number.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// All places.
pub const ALL: &[&str] = &[
    "log.begin.before",
    "log.begin.created",
    "log.begin.after",
    "log.append.before",
    "log.sync.before",
    "log.sync.after",
    "log.rotate.before",
    "log.rotate.after",
    "log.complete.before",
    "log.complete.after",
    "spool.create.before",
    "spool.create.after",
    "spool.append.before",
    "spool.sync.before",
    "spool.sync.after",
    "segment.create.before",
    "segment.create.after",
    "segment.append.before",
    "segment.sync.before",
    "segment.sync.after",
    "manifest.replace.before",
    "manifest.replace.after",
    "trim.remove.before",
    "trim.remove.after",
    "file.complete.before",
    "file.complete.after",
    "file.show.before",
    "file.show.after",
    "file.sync.before",
    "file.sync.after",
];

const UNKNOWN: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
static HITS: [AtomicU64; ALL.len()] = [const { AtomicU64::new(0) }; ALL.len()];
static PLAN: OnceLock<Plan> = OnceLock::new();

/// What the environment asks for.
#[derive(Default, PartialEq, Debug)]
struct Plan {
    /// Where to kill the process, by the index in [`ALL`], and at which hit.
    kill: Option<(usize, u64)>,
    hits: Option<PathBuf>,
}

/// A place; `name` is one of [`ALL`].
#[inline]
pub fn point(name: &'static str) {
    if STATE.load(Relaxed) != OFF {
        passed(name);
    }
}

/// Whether the environment asks for something that cannot be done; to be said when the program starts.
pub fn check() -> Result<(), String> {
    parse(std::env::var("METERFLOW_FAULT").ok(), None).map(|_| ())
}

#[cold]
fn passed(name: &'static str) {
    let plan = PLAN.get_or_init(|| {
        let hits = std::env::var_os("METERFLOW_FAULT_HITS").map(PathBuf::from);
        // What cannot be understood has been said by `check`.
        let plan = parse(std::env::var("METERFLOW_FAULT").ok(), hits).unwrap_or_default();
        STATE.store(if plan == Plan::default() { OFF } else { ON }, Relaxed);
        if plan.hits.is_some() {
            // SAFETY: `at_end` takes nothing, returns nothing and does not unwind.
            unsafe { libc::atexit(at_end) };
        }
        plan
    });
    let Some(index) = ALL.iter().position(|known| *known == name) else {
        debug_assert!(false, "{name} is not in fault::ALL");
        return;
    };
    let hit = HITS[index].fetch_add(1, Relaxed) + 1;
    if plan.kill == Some((index, hit)) {
        write_hits(plan);
        // SAFETY: a signal to this very process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}

extern "C" fn at_end() {
    if let Some(plan) = PLAN.get() {
        write_hits(plan);
    }
}

/// In one write, so that processes that end together do not mix their lines.
fn write_hits(plan: &Plan) {
    let Some(path) = &plan.hits else { return };
    let hits = ALL.iter().zip(&HITS).map(|(name, hits)| (name, hits.load(Relaxed))).filter(|(_, hits)| *hits > 0);
    let text: String = hits.map(|(name, hits)| format!("{name} {hits}\n")).collect();
    let written = File::options().create(true).append(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    if let Err(error) = written {
        eprintln!("meterflow: {}: {error}", path.display());
    }
}

fn parse(kill: Option<String>, hits: Option<PathBuf>) -> Result<Plan, String> {
    let Some(kill) = kill.filter(|kill| !kill.is_empty()) else { return Ok(Plan { kill: None, hits }) };
    let (name, count) = kill.split_once(':').unwrap_or((&kill, "1"));
    let index = ALL.iter().position(|known| *known == name);
    let count = count.parse().ok().filter(|count| *count > 0);
    match (index, count) {
        (Some(index), Some(count)) => Ok(Plan { kill: Some((index, count)), hits }),
        (None, _) => Err(format!("METERFLOW_FAULT={kill}: no such place; known are {}", ALL.join(", "))),
        (_, None) => Err(format!("METERFLOW_FAULT={kill}: a count from 1 on is expected behind the colon")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn a_place_and_a_count_are_read() {
        let kill = |text: &str| parse(Some(text.to_owned()), None).map(|plan| plan.kill);
        assert_eq!(kill("log.begin.before"), Ok(Some((0, 1))));
        assert_eq!(kill("log.begin.created:12"), Ok(Some((1, 12))));
        assert_eq!(kill(""), Ok(None));
        assert_eq!(parse(None, None), Ok(Plan::default()));
        for wrong in ["log.begin", "log.begin.before:0", "log.begin.before:x", ":3"] {
            assert!(kill(wrong).is_err(), "{wrong}");
        }
    }

    /// Every place of the list is passed somewhere in the sources, and every one that is passed stands in the list.
    #[test]
    fn the_list_is_what_the_sources_have() {
        let mut found = BTreeSet::new();
        search(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let listed: BTreeSet<String> = ALL.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(found, listed);
        assert_eq!(listed.len(), ALL.len());
    }

    fn search(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                search(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a source");
            let mark = concat!("fault::", "point(\"");
            found.extend(text.split(mark).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
}
