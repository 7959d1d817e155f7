//! `meterflow run`: one process of a job, or all of them.

use crate::cli::Run;
use crate::error::Error;
use crate::flow::Dataflow;
use crate::runtime::{self, Cluster, Job, Outcome, Progress, launch};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Runs what has been parsed and checked; returns the exit code.
pub fn run(dataflows: &[Dataflow], run: Run) -> Result<u8, Error> {
    let hosts = run.cluster.hosts.clone();
    let process = match (run.cluster.index, hosts.len()) {
        (Some(index), _) => index,
        (None, 1) => 0,
        (None, processes) => return all_here(processes, &run.arguments),
    };
    let cluster = Cluster { threads: run.cluster.threads, processes: hosts.len(), process, addresses: hosts };
    let dataflow = dataflows[run.dataflow];
    let job = Job { dataflow, settings: run.settings, cluster, check_state: false };
    let outcome = match process == 0 && std::io::stderr().is_terminal() {
        true => run_and_follow(job)?,
        false => runtime::run(job, Arc::default())?,
    };
    if process == 0 {
        report(&outcome);
        if let Some(path) = &run.summary {
            write_summary(path, &outcome)?;
        }
    }
    Ok(0)
}

/// Starts every process of the job here.
fn all_here(processes: usize, arguments: &[OsString]) -> Result<u8, Error> {
    let hosts = HostFile::create(processes)?;
    launch::run_all(processes, |process| {
        let mut arguments = arguments.to_vec();
        arguments.extend(["-p".into(), process.to_string().into(), "-h".into(), hosts.0.clone().into()]);
        arguments
    })
}

/// A host file for processes on this machine; it goes when they have ended.
struct HostFile(PathBuf);

impl HostFile {
    fn create(processes: usize) -> Result<HostFile, Error> {
        let path = std::env::temp_dir().join(format!("meterflow-{}.hosts", std::process::id()));
        let lines = launch::local_addresses(processes)?.join("\n");
        std::fs::write(&path, lines).map_err(|error| Error::output(path.display().to_string(), error))?;
        Ok(HostFile(path))
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

/// Runs a job and prints a line about how far it has come every second.
pub fn run_and_follow(job: Job) -> Result<Outcome, Error> {
    let (progress, done) = (Arc::new(Progress::default()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| follow(&progress, || done.load(Relaxed)));
        let outcome = runtime::run(job, progress.clone());
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
