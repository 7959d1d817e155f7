//! Starts processes of a job, ends all when one has ended, and starts them again: the supervisor of `meterflow run`.
//!
//! Each process is a `meterflow run` of its own. One that fails takes the others with it, since a lost process cannot join
//! again; with stored state the next incarnation goes on where they were.

use crate::error::{CHILD, Error};
use crate::runtime::signals;
use crate::settings::format_duration;
use crate::time::Stopwatch;
use signal_hook::consts::SIGTERM;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// How often the processes are looked after.
const LOOK: Duration = Duration::from_millis(20);
/// Seconds between a failure and the next start: the first time, and at most. Each failure doubles them.
const SHORTEST: f64 = 0.1;
const LONGEST: f64 = 30.0;
/// Seconds after which processes count as healthy, so that the next failure waits shortly again.
const HEALTHY: f64 = 60.0;

/// What [`CHILD`] says: the supervisor has started all processes of the job, and ended all earlier ones; or this one only.
const ALL_HERE: &str = "all";
const ONE_HERE: &str = "one";

/// Whether no process of an earlier incarnation can be left on another host: one supervisor has started them all.
pub fn has_all_here() -> bool {
    std::env::var_os(CHILD).is_some_and(|value| value == ALL_HERE)
}

/// How often processes are started again.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Restarts {
    /// At most so many times ...
    pub most: usize,
    /// ... in this time, ms.
    pub period: i64,
}

/// Addresses for `processes` processes on this machine, on ports that are free now.
pub fn local_addresses(processes: usize) -> Result<Vec<String>, Error> {
    let bound: std::io::Result<Vec<TcpListener>> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let ports = bound.and_then(|all| all.iter().map(TcpListener::local_addr).collect::<std::io::Result<Vec<_>>>());
    let ports = ports.map_err(|error| Error::cluster("127.0.0.1", error).with_hint("no free port for the cluster"))?;
    Ok(ports.iter().map(ToString::to_string).collect())
}

/// A process to start: its index in the job, and the command line after the program's name.
pub type Start = (usize, Vec<OsString>);

/// Runs this program once for each of the processes that `starts` gives, until all have ended well, or may not be started
/// again. `starts` is asked before each start. Returns the exit code.
///
/// Without `restarts` the first failure ends the job. A first SIGTERM or SIGINT is passed on, and the job ends when the
/// processes have; a second one ends them at once.
pub fn supervise(mut starts: impl FnMut() -> Result<Vec<Start>, Error>, restarts: Option<Restarts>) -> Result<u8, Error> {
    let asked = Asked::listen()?;
    let clock = Stopwatch::start();
    let mut backoff = restarts.map(Backoff::new);
    loop {
        let began = clock.seconds();
        let mut children = Children(Vec::new());
        let end = match children.start(starts()?) {
            Ok(()) => children.watch(&asked),
            Err(reason) => End::Failed { reason, code: 1 },
        };
        drop(children);
        let (reason, code) = match end {
            End::Code(code) => return Ok(code),
            End::Failed { reason, code } => (reason, code),
        };
        let may_start_again = !matches!(code, 2 | 3) && asked.count() == 0;
        let Some(backoff) = backoff.as_mut().filter(|_| may_start_again) else {
            eprintln!("meterflow: {reason}; the job has ended");
            return Ok(if code == 3 { 1 } else { code });
        };
        let Restarts { most, period } = backoff.restarts;
        let period = format_duration(period);
        let Some(delay) = backoff.after(began, clock.seconds()) else {
            eprintln!("meterflow: {reason}; given up: started again {most} times within {period} (see --restarts)");
            return Ok(1);
        };
        let count = backoff.at.len();
        eprintln!("meterflow: {reason}; starting again in {delay:.1} s ({count} of at most {most} times within {period})");
        if asked.within(delay) {
            // No process is there, so what was committed is kept but may not have been shown: no clean stop.
            return Ok(signals::exit_code(asked.signal()));
        }
    }
}

/// How processes have ended.
#[derive(PartialEq, Debug)]
enum End {
    /// As they should, or as a second signal asked for.
    Code(u8),
    /// One of them has failed.
    Failed { reason: String, code: u8 },
}

/// Decides when processes are started again. Pure: times are seconds of one clock.
struct Backoff {
    restarts: Restarts,
    /// When they were started again, within the period.
    at: VecDeque<f64>,
    delay: f64,
}

impl Backoff {
    fn new(restarts: Restarts) -> Backoff {
        Backoff { restarts, at: VecDeque::new(), delay: SHORTEST }
    }

    /// How long to wait before processes that were started at `began` and have failed `now` are started again; none: they
    /// must not be.
    fn after(&mut self, began: f64, now: f64) -> Option<f64> {
        if now - began >= HEALTHY {
            self.delay = SHORTEST;
        }
        let period = self.restarts.period as f64 / 1000.0;
        while self.at.front().is_some_and(|at| now - at >= period) {
            self.at.pop_front();
        }
        if self.at.len() >= self.restarts.most {
            return None;
        }
        self.at.push_back(now);
        let delay = self.delay;
        self.delay = (2.0 * delay).min(LONGEST);
        Some(delay)
    }
}

/// The signals that this supervisor has got.
#[derive(Default, Clone)]
struct Asked(Arc<(AtomicUsize, AtomicI32)>);

impl Asked {
    fn listen() -> Result<Asked, Error> {
        let asked = Asked::default();
        let shared = asked.clone();
        signals::on_signal(move |count, signal| {
            shared.0.1.store(signal, SeqCst);
            shared.0.0.store(count, SeqCst);
        })?;
        Ok(asked)
    }

    fn count(&self) -> usize {
        self.0.0.load(SeqCst)
    }

    fn signal(&self) -> i32 {
        self.0.1.load(SeqCst)
    }

    /// Waits for so many seconds; ends early, with `true`, when there is a signal.
    fn within(&self, seconds: f64) -> bool {
        let watch = Stopwatch::start();
        while self.count() == 0 && watch.seconds() < seconds {
            std::thread::sleep(LOOK);
        }
        self.count() > 0
    }
}

/// Processes that run; they end with it.
struct Children(Vec<(usize, Child)>);

impl Children {
    fn start(&mut self, starts: Vec<Start>) -> Result<(), String> {
        let program = program().map_err(|error| format!("the program cannot be found: {error}"))?;
        let parent = std::process::id();
        let value = if starts.len() > 1 { ALL_HERE } else { ONE_HERE };
        for (process, arguments) in starts {
            let mut command = Command::new(&program);
            command.args(arguments).env(CHILD, value);
            // SAFETY: prctl, getppid, _exit and those of `hold` are async-signal-safe, and change nothing but what happens when
            // the parent dies and when a signal comes.
            unsafe {
                command.pre_exec(move || {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    if libc::getppid() as u32 != parent {
                        // It has died before.
                        libc::_exit(1);
                    }
                    signals::hold()
                });
            }
            let child = command.spawn().map_err(|error| format!("process {process} cannot be started: {error}"))?;
            self.0.push((process, child));
        }
        Ok(())
    }

    /// Waits until all have ended well, or one has not.
    fn watch(&mut self, asked: &Asked) -> End {
        let mut is_told = false;
        while !self.0.is_empty() {
            if let Some((process, status)) = self.ended() {
                let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
                return End::Failed { reason: format!("process {process} ended with {}", describe(status)), code };
            }
            if asked.count() > 1 {
                eprintln!("meterflow: stopped at once by a second signal");
                return End::Code(signals::exit_code(asked.signal()));
            }
            if asked.count() == 1 && !is_told {
                is_told = true;
                let name = signals::name(asked.signal());
                eprintln!(
                    "meterflow: {name} asks for a stop; what was read is finished first, a second signal ends it at once"
                );
                self.0.iter().for_each(|(_, child)| terminate(child));
            }
            std::thread::sleep(LOOK);
        }
        End::Code(0)
    }

    /// Forgets processes that have ended well, and finds one that has failed. Of several it is the one that says most: a
    /// process that ends because another one has ended exits with 1.
    fn ended(&mut self) -> Option<(usize, ExitStatus)> {
        let mut failed: Vec<(usize, ExitStatus)> = Vec::new();
        self.0.retain_mut(|(process, child)| match child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                failed.extend((!status.success()).then_some((*process, status)));
                false
            }
            // It cannot be waited for: it is not there any more.
            Err(_) => false,
        });
        let rank = |status: &ExitStatus| match status.code() {
            Some(2 | 3) => 0,
            Some(1) => 2,
            _ => 1,
        };
        failed.into_iter().min_by_key(|(_, status)| rank(status))
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            // It may have ended by itself by now.
            let _ = child.kill();
        }
        for (_, child) in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// This program: the same bytes at each start, also when its file has been replaced since.
fn program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    Ok(if path.exists() { path } else { PathBuf::from("/proc/self/exe") })
}

/// Asks a process to stop.
fn terminate(child: &Child) {
    // SAFETY: the process has not been waited for, so its id is still its own.
    unsafe {
        libc::kill(child.id() as libc::pid_t, SIGTERM);
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(most: usize, period: i64) -> Backoff {
        Backoff::new(Restarts { most, period })
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let mut backoff = backoff(100, i64::MAX);
        let delays: Vec<f64> = (0..11).filter_map(|at| backoff.after(f64::from(at), f64::from(at) + 0.5)).collect();
        assert_eq!(delays, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]);
        // Health is a minute.
        assert_eq!(backoff.after(100.0, 159.9), Some(30.0));
        assert_eq!(backoff.after(200.0, 260.0), Some(0.1));
        assert_eq!(backoff.after(270.0, 271.0), Some(0.2));
    }

    #[test]
    fn it_is_given_up_after_so_many_within_the_period() {
        let mut two = backoff(2, 10_000);
        assert!(two.after(0.0, 1.0).is_some() && two.after(2.0, 5.0).is_some());
        assert_eq!(two.after(5.0, 10.9), None);
        // The first is forgotten after ten seconds.
        assert!(two.after(5.0, 11.0).is_some());
        assert_eq!(two.after(5.0, 14.9), None);
        assert_eq!(backoff(0, 10_000).after(0.0, 1.0), None);
    }
}
