//! The only reader of clocks. Nothing whose result is emitted or stored may call it, but through a tick's control record.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch, by this machine's clock.
#[allow(clippy::disallowed_methods, reason = "the only reader of clocks")]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Measures how long something takes.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[allow(clippy::disallowed_methods, reason = "the only reader of clocks")]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Seconds since it was started.
    #[allow(clippy::disallowed_methods, reason = "the only reader of clocks")]
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Milliseconds since this machine was started, by a clock that never goes back and goes on while the machine sleeps.
pub fn uptime_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid memory that clock_gettime fills; Linux has this clock.
    unsafe {
        libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time);
    }
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

/// CPU seconds, user and system, that this process has used.
pub fn cpu_seconds() -> f64 {
    // SAFETY: `usage` is plain memory that getrusage fills; RUSAGE_SELF is always valid.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
