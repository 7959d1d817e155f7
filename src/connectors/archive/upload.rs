//! Threads that encode cuts and put them into a store, so that no worker waits for either.

use crate::connectors::archive::cut::{Cut, Kind};
use crate::connectors::store::{ObjectStore, StoreError};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How to upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadSettings {
    /// Threads; each has one cut in hand.
    pub threads: usize,
    /// Bytes of cuts that may be on their way; one cut is accepted whatever its size.
    pub capacity: usize,
    /// How often an object is tried before it is given up.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each, up to `longest_pause`.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for UploadSettings {
    /// One thread and 64 MiB; a store may be away for about twenty minutes.
    fn default() -> UploadSettings {
        let (first_pause, longest_pause) = (Duration::from_millis(100), Duration::from_secs(30));
        UploadSettings { threads: 1, capacity: 64 << 20, attempts: 60, first_pause, longest_pause }
    }
}

/// What became of a cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// The object is there and durable.
    Stored {
        /// Its name.
        name: String,
        /// What its rows are.
        kind: Kind,
        /// How many.
        rows: u64,
        /// Its size.
        bytes: u64,
    },
    /// An attempt failed; another follows after a pause.
    Retrying {
        /// The object's name.
        name: String,
        /// Why.
        error: StoreError,
    },
    /// The object is given up: its rows are not in the archive, and the job must not go on as if they were.
    Failed {
        /// The object's name.
        name: String,
        /// What is wrong, and what to do about it.
        problem: String,
    },
}

/// Sums of reports, for metrics and the summary.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Objects that are stored.
    pub objects: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Attempts that failed and were repeated.
    pub retries: u64,
    /// Objects that were given up.
    pub failed: u64,
}

impl Totals {
    /// Adds what a report says.
    pub fn add(&mut self, report: &Report) {
        match report {
            Report::Stored { rows, bytes, .. } => {
                self.objects += 1;
                self.rows += rows;
                self.bytes += bytes;
            }
            Report::Retrying { .. } => self.retries += 1,
            Report::Failed { .. } => self.failed += 1,
        }
    }
}

/// Too much is on its way already: the cut comes back, to be offered again after the next report.
pub struct Busy(
    /// The cut.
    pub Box<Cut>,
);

/// Cuts on their way to a store.
pub struct Uploader {
    jobs: Option<Sender<Cut>>,
    reports: Receiver<Report>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What the threads have in common.
struct Shared {
    store: Arc<dyn ObjectStore>,
    settings: UploadSettings,
    /// Bytes of cuts and of objects in the queue and in the hands of threads.
    on_the_way: AtomicUsize,
    stopped: Mutex<bool>,
    stop: Condvar,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Uploader {
    /// Starts the threads. `wake` is called after each report: it tells a worker to fetch them.
    pub fn start(
        store: Arc<dyn ObjectStore>,
        settings: UploadSettings,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Uploader> {
        let (jobs, queue) = channel();
        let (reporter, reports) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let count = settings.threads.max(1);
        let (stopped, stop, wake) = (Mutex::new(false), Condvar::new(), Box::new(wake));
        let shared = Arc::new(Shared { store, settings, on_the_way: AtomicUsize::new(0), stopped, stop, wake });
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let (queue, reporter, shared) = (queue.clone(), reporter.clone(), shared.clone());
            let work = move || work(&queue, &reporter, &shared);
            threads.push(Builder::new().name(format!("archive-{number}")).spawn(work)?);
        }
        Ok(Uploader { jobs: Some(jobs), reports, threads, shared })
    }

    /// Bytes of memory of what is on its way.
    pub fn on_the_way(&self) -> usize {
        self.shared.on_the_way.load(Ordering::Acquire)
    }

    /// Hands over a cut, without waiting.
    pub fn offer(&self, cut: Cut) -> Result<(), Busy> {
        let bytes = cut.rows.memory();
        // Only this side adds, so what is seen is at least what there is.
        let before = self.on_the_way();
        let Some(jobs) = self.jobs.as_ref().filter(|_| before == 0 || before + bytes <= self.shared.settings.capacity)
        else {
            return Err(Busy(Box::new(cut)));
        };
        self.shared.on_the_way.fetch_add(bytes, Ordering::AcqRel);
        jobs.send(cut).map_err(|refused| {
            self.shared.on_the_way.fetch_sub(bytes, Ordering::AcqRel);
            Busy(Box::new(refused.0))
        })
    }

    /// What has happened since the last call.
    pub fn reports(&self) -> Vec<Report> {
        self.reports.try_iter().collect()
    }

    /// Waits until everything that was handed over is stored or given up.
    pub fn finish(mut self) -> Vec<Report> {
        self.jobs = None;
        self.join();
        self.reports.try_iter().collect()
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended the process (panic = "abort"), except in tests, which see no report.
            let _ = thread.join();
        }
    }
}

impl Drop for Uploader {
    /// Without [`Uploader::finish`]: what is in hand is tried once, the queue is given up.
    fn drop(&mut self) {
        self.jobs = None;
        *self.shared.stopped.lock().unwrap_or_else(PoisonError::into_inner) = !self.threads.is_empty();
        self.shared.stop.notify_all();
        self.join();
    }
}

fn work(queue: &Mutex<Receiver<Cut>>, reporter: &Sender<Report>, shared: &Shared) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(cut) = next else { return };
        let report = |report| {
            // Nobody listens any more when the uploader was dropped.
            let _ = reporter.send(report);
            (shared.wake)();
        };
        report(shared.upload(cut, &report));
    }
}

impl Shared {
    /// Encodes and stores a cut. The rows are given back before the store is tried, which may take long.
    fn upload(&self, cut: Cut, report: &impl Fn(Report)) -> Report {
        let (name, kind, rows, memory) = (cut.name.clone(), cut.kind, cut.rows.len() as u64, cut.rows.memory());
        let encoded = if self.is_stopped() { Ok(Vec::new()) } else { cut.encode() };
        drop(cut);
        let held = encoded.as_ref().map_or(0, Vec::len);
        self.on_the_way.fetch_add(held, Ordering::AcqRel);
        self.on_the_way.fetch_sub(memory, Ordering::AcqRel);
        let stored = encoded.map_err(|error| error.to_string()).and_then(|bytes| self.put(&name, &bytes, report));
        self.on_the_way.fetch_sub(held, Ordering::AcqRel);
        match stored {
            Ok(()) => Report::Stored { name, kind, rows, bytes: held as u64 },
            Err(problem) => Report::Failed { name, problem },
        }
    }

    /// Puts an object until it is there. The same bytes under the same name: repeating what may have happened is safe.
    fn put(&self, name: &str, bytes: &[u8], report: &impl Fn(Report)) -> Result<(), String> {
        let mut attempt = 0;
        loop {
            if self.is_stopped() {
                return Err("the upload was stopped".to_string());
            }
            let error = match self.store.put(name, bytes) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            attempt += 1;
            if !error.is_transient() {
                return Err(error.to_string());
            }
            if attempt >= self.settings.attempts {
                return Err(format!("given up after {attempt} attempts: {error}"));
            }
            report(Report::Retrying { name: name.to_string(), error });
            self.wait(pause(&self.settings, name, attempt));
        }
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a time, or until the uploader is dropped.
    fn wait(&self, time: Duration) {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.stop.wait_timeout_while(stopped, time, |stopped| !*stopped);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// The pause after the given number of failures: half of it fixed, the rest spread by the name, so that many uploads that
/// failed at once do not come back at once.
fn pause(settings: &UploadSettings, name: &str, failures: u32) -> Duration {
    let doubled = settings.first_pause.saturating_mul(1 << (failures - 1).min(20));
    let full = doubled.min(settings.longest_pause);
    // FNV-1a, whose high bits are mixed best.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = name.bytes().chain(failures.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, step);
    full / 2 + (full / 2).mul_f64((hash >> 40) as f64 / (1u64 << 24) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let settings = UploadSettings::default();
        let full = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000];
        for (failures, full) in (1..).zip(full) {
            let pauses: Vec<u128> = (0..50).map(|i| pause(&settings, &format!("o{i}"), failures).as_millis()).collect();
            assert!(pauses.iter().all(|ms| (full / 2..=full).contains(ms)), "{failures}: {pauses:?}");
            assert!(pauses.iter().max() > pauses.iter().min(), "{failures}: {pauses:?}");
        }
    }
}
