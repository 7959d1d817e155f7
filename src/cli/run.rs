//! `meterflow run`: one process of a job, or all of them.

use crate::cli::{Run, recorded_settings, remake};
use crate::error::{CHILD, Error};
use crate::flow::Dataflow;
use crate::runtime::supervise::{Restarts, has_all_here, local_addresses, supervise};
use crate::runtime::{self, Cluster, Found, Job, Outcome, Progress, signals};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Runs what has been parsed and checked; returns the exit code.
pub fn run(dataflows: &[Dataflow], run: Run) -> Result<u8, Error> {
    let hosts = run.cluster.hosts.clone();
    let is_child = std::env::var_os(CHILD).is_some();
    if run.state.is_none() && !is_child && run.cluster.index.unwrap_or(0) == 0 {
        eprintln!("meterflow: without --state nothing is kept: after a crash the run starts over");
    }
    let restarts = run.state.is_some().then_some(run.restarts);
    let process = match (run.cluster.index, hosts.len()) {
        (index, 1) => index.unwrap_or(0),
        (Some(index), _) => index,
        (None, processes) => return all_here(processes, &run.arguments, restarts),
    };
    if restarts.is_some() && !is_child {
        let mut arguments = run.arguments.clone();
        let starts = || Ok(vec![(process, std::mem::replace(&mut arguments, without_drops(&run.arguments)))]);
        return supervise(starts, restarts);
    }
    let cluster = Cluster { threads: run.cluster.threads, processes: hosts.len(), process, addresses: hosts };
    let dataflow = dataflows[run.dataflow];
    let job = Job { state: run.state, given: run.given, ..Job::new(dataflow, run.settings, cluster) };
    if job.state.is_some() && (job.cluster.processes == 1 || has_all_here()) {
        // Asked to stop while it starts, it does so cleanly once it has: no other host can keep it waiting.
        job.stop.on_raise(|| {});
    }
    signals::stop_on_signals(job.stop.clone())?;
    let mut found = runtime::find(&job)?;
    if let Some(of) = &found {
        runtime::fits(&job, of, &|known| remake(dataflows, known))?;
    }
    if let Some(stored) = found.as_ref().and_then(|found| found.unsettled(&job)) {
        // What was committed is made again as it was made; only then the new settings hold.
        let settings = recorded_settings(dataflows, run.dataflow, &stored)?;
        let replay = Job { settings, given: stored, only_replay: true, ..job.clone() };
        runtime::run_from(replay, found, Arc::default())?;
        if job.stop.is_raised() {
            return Ok(0);
        }
        found = runtime::find(&job)?;
    }
    let outcome = match process == 0 && std::io::stderr().is_terminal() {
        true => run_and_follow(job, found)?,
        false => runtime::run_from(job, found, Arc::default())?,
    };
    if process == 0 {
        report(&outcome);
        if let Some(path) = &run.summary {
            write_summary(path, &outcome)?;
        }
    }
    Ok(0)
}

/// Starts every process of the job here, on new ports each time.
fn all_here(processes: usize, arguments: &[OsString], restarts: Option<Restarts>) -> Result<u8, Error> {
    let file = HostFile::new();
    let mut now = arguments.to_vec();
    let starts = || {
        file.write(processes)?;
        let arguments = std::mem::replace(&mut now, without_drops(arguments));
        let start = |process: usize| {
            let mut arguments = arguments.clone();
            arguments.extend(["-p".into(), process.to_string().into(), "-h".into(), file.0.clone().into()]);
            (process, arguments)
        };
        Ok((0..processes).map(start).collect())
    };
    supervise(starts, restarts)
}

/// The arguments of a start after the first: what was to be dropped has been, or will be asked for again.
fn without_drops(arguments: &[OsString]) -> Vec<OsString> {
    let mut is_value = false;
    let keeps = |argument: &&OsString| {
        let is_flag = argument.as_os_str() == "--drop-state";
        let is_dropped = std::mem::replace(&mut is_value, is_flag) || is_flag;
        !is_dropped && !argument.to_string_lossy().starts_with("--drop-state=")
    };
    arguments.iter().filter(keeps).cloned().collect()
}

/// A host file for processes on this machine; it goes when they have ended.
struct HostFile(PathBuf);

impl HostFile {
    fn new() -> HostFile {
        HostFile(std::env::temp_dir().join(format!("meterflow-{}.hosts", std::process::id())))
    }

    fn write(&self, processes: usize) -> Result<(), Error> {
        let lines = local_addresses(processes)?.join("\n");
        std::fs::write(&self.0, lines).map_err(|error| Error::output(self.0.display().to_string(), error))
    }
}

impl Drop for HostFile {
    fn drop(&mut self) {
        // A file that is left behind in the temporary folder harms nobody.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes the summary that `--summary` asks for.
pub fn write_summary(path: &Path, outcome: &Outcome) -> Result<(), Error> {
    let text = format!("{}\n", outcome.summary());
    std::fs::write(path, text).map_err(|error| Error::output(path.display().to_string(), error))
}

/// A few lines for a person.
fn report(outcome: &Outcome) {
    for (name, counts) in &outcome.counts.sources {
        eprintln!(
            "{name}: {} read = {} used + {} late + {} duplicate + {} dead",
            counts.read,
            counts.used(),
            counts.late,
            counts.duplicate,
            counts.dead_total()
        );
    }
    let counts = &outcome.counts;
    let anomalies: u64 = counts.anomalies.values().sum();
    eprintln!("{anomalies} anomalies, {} windows ({} of them revisions)", counts.windows, counts.revisions);
    eprintln!("decoded by worker: {}; kept: {}", shares(&counts.decoded), shares(&counts.kept));
    let read: u64 = counts.sources.values().map(|source| source.read).sum();
    eprintln!("{:.1} s, {:.2} million records/s", outcome.seconds, read as f64 / outcome.seconds / 1e6);
}

fn shares(of: &std::collections::BTreeMap<u32, u64>) -> String {
    of.values().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

/// Runs a job from what is stored of it and prints a line about how far it has come every second.
pub fn run_and_follow(job: Job, found: Option<Found>) -> Result<Outcome, Error> {
    let (progress, done) = (Arc::new(Progress::default()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| follow(&progress, || done.load(Relaxed)));
        let outcome = runtime::run_from(job, found, progress.clone());
        done.store(true, Relaxed);
        outcome
    })
}

fn follow(progress: &Progress, done: impl Fn() -> bool) {
    let mut before = 0;
    let watch = crate::time::Stopwatch::start();
    let mut shown = 0.0;
    while !done() {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let now = watch.seconds();
        if now - shown < 1.0 {
            continue;
        }
        let read = progress.read.load(Relaxed);
        let rate = (read - before) as f64 / (now - shown) / 1e6;
        let reached = match progress.watermark.load(Relaxed) {
            0 => "-".to_owned(),
            ms => jiff::Timestamp::from_millisecond(ms).map_or("-".to_owned(), |time| format!("{time:.0}")),
        };
        eprintln!(
            "{read:>10} readings ({rate:.2} million/s), event time {reached}, {} anomalies, {} late, {} dead",
            progress.anomalies.load(Relaxed),
            progress.late.load(Relaxed),
            progress.dead.load(Relaxed)
        );
        (before, shown) = (read, now);
    }
}
