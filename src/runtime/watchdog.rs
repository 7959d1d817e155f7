//! The watchdog: ends the job when ticks are open, or input waits, and nothing has been committed for a while.

use crate::drivers::health::Vitals;
use crate::error::Error;
use crate::settings::format_duration;
use crate::time::uptime_ms;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// A running watchdog; it stops when this is dropped.
pub struct Watchdog(#[allow(dead_code, reason = "it is dropped")] Sender<()>);

/// Watches `vitals` on process 0. After `limit` ms without a commit it prints what `describe` says of the steps (where each
/// is, and how much it has before it), and calls `on_stall`, which ends the job.
pub fn watch(
    vitals: Arc<Vitals>,
    limit: u64,
    describe: impl Fn() -> Vec<String> + Send + 'static,
    on_stall: impl FnOnce(Error) + Send + 'static,
) -> Result<Watchdog, Error> {
    let (stop, stopped) = channel();
    let watch = move || {
        let mut stall = Stall::new(limit, uptime_ms());
        while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            let (cut, committed) = (vitals.cut.load(Relaxed), vitals.committed.load(Relaxed));
            if stall.look(uptime_ms(), cut, committed, vitals.input_waits.load(Relaxed)) {
                print(&describe());
                return on_stall(stalled(limit, cut, committed));
            }
        }
    };
    let started = thread::Builder::new().name("watchdog".to_owned()).spawn(watch);
    started.map(|_| Watchdog(stop)).map_err(|error| Error::internal(format!("no thread for the watchdog: {error}")))
}

/// Prints where the steps of this process are.
pub fn print(steps: &[String]) {
    steps.iter().for_each(|step| eprintln!("meterflow: {step}"));
}

fn stalled(limit: u64, cut: u64, committed: u64) -> Error {
    let waited = format_duration(i64::try_from(limit).unwrap_or(i64::MAX));
    let message =
        format!("{} of {cut} ticks are not committed, and nothing was for {waited}", cut.saturating_sub(committed));
    Error::cluster("watchdog", message).with_hint("a slow disk or sink? engine.stall_timeout is how long it waits")
}

/// Decides whether the job hangs. Pure.
struct Stall {
    limit: u64,
    committed: u64,
    /// When something was committed last, or nothing was wanted, ms.
    since: u64,
}

impl Stall {
    fn new(limit: u64, now: u64) -> Stall {
        Stall { limit, committed: 0, since: now }
    }

    fn look(&mut self, now: u64, cut: u64, committed: u64, input_waits: bool) -> bool {
        let is_wanted = cut > committed || input_waits;
        if committed != self.committed || !is_wanted {
            self.committed = committed;
            self.since = now;
        }
        now - self.since >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_ticks_and_waiting_input_are_waited_for() {
        let mut stall = Stall::new(10, 0);
        let table = [
            // Nothing is there to be done.
            (100, 0, 0, false, false),
            (109, 1, 0, false, false),
            (110, 1, 0, false, true),
            (111, 2, 1, false, false),
            (120, 5, 1, false, false),
            (120, 5, 2, false, false),
            (130, 5, 2, false, true),
            (131, 5, 5, false, false),
            (150, 5, 5, false, false),
            // All is committed, and more could be read.
            (159, 5, 5, true, false),
            (160, 5, 5, true, true),
        ];
        for (now, cut, committed, waits, expected) in table {
            assert_eq!(stall.look(now, cut, committed, waits), expected, "{now}");
        }
    }

    #[test]
    fn a_stall_is_described_and_ends_the_job() {
        let vitals = Arc::new(Vitals::default());
        vitals.cut.store(3, Relaxed);
        vitals.committed.store(1, Relaxed);
        let ((described, steps), (ended, stalls)) = (channel(), channel());
        let describe = move || {
            described.send(()).unwrap();
            vec!["step a: tick 1".to_owned()]
        };
        let _watchdog = watch(vitals, 1, describe, move |error| ended.send(error).unwrap()).unwrap();
        let error = stalls.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(steps.try_recv().is_ok());
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().starts_with("watchdog: 2 of 3 ticks are not committed"), "{error}");
    }
}
