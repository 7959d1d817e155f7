//! What the threads of a job tell each other beside the data: that it shall stop, whether this process may still act, and
//! how far the job has come. All of it may be used from any thread.

use crate::error::{Error, fatal};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The wish that the job stops cleanly: reads no more, commits what was read, and ends.
#[derive(Clone, Default)]
pub struct StopRequest(Arc<Stop>);

#[derive(Default)]
struct Stop {
    is_raised: AtomicBool,
    listeners: Mutex<Vec<Box<dyn Fn() + Send>>>,
}

impl StopRequest {
    /// Asks for it; listeners are told the first time. Returns whether anybody listens: if not, nothing will come of it.
    pub fn raise(&self) -> bool {
        let listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.0.is_raised.swap(true, Ordering::SeqCst) {
            listeners.iter().for_each(|listener| listener());
        }
        !listeners.is_empty()
    }

    /// Whether it has been asked for.
    pub fn is_raised(&self) -> bool {
        self.0.is_raised.load(Ordering::SeqCst)
    }

    /// Has `listener` called when it is asked for; at once if it has been. It must be short: it is called on the thread that
    /// raises.
    pub fn on_raise(&self, listener: impl Fn() + Send + 'static) {
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_raised() {
            listener();
        }
        listeners.push(Box::new(listener));
    }
}

impl fmt::Debug for StopRequest {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "StopRequest({})", self.is_raised())
    }
}

/// All of it, for those who build a dataflow.
#[derive(Clone, Default, Debug)]
pub struct Health {
    /// That the job shall stop.
    pub stop: StopRequest,
    /// Whether this process may still act.
    pub alive: Alive,
    /// How far the job has come.
    pub vitals: Arc<Vitals>,
    /// Where the steps of this process are.
    pub steps: Steps,
}

/// Whether this process may still do something that others see. A process that was stopped or cut off for so long that the
/// job goes on without it must ask before each effect.
#[derive(Clone)]
pub struct Alive(Arc<dyn Fn() -> bool + Send + Sync>);

impl Alive {
    /// Asks `check`, which must be cheap.
    pub fn new(check: impl Fn() -> bool + Send + Sync + 'static) -> Alive {
        Alive(Arc::new(check))
    }

    /// Whether it may.
    pub fn is_alive(&self) -> bool {
        (self.0)()
    }

    /// Both must agree.
    pub fn and(self, other: Alive) -> Alive {
        Alive::new(move || self.is_alive() && other.is_alive())
    }

    /// Ends this process if it may not.
    pub fn or_end(&self) {
        if !self.is_alive() {
            let message = "the job goes on without it: it stood still or was cut off";
            fatal(&Error::cluster("this process", message));
        }
    }
}

impl Default for Alive {
    /// A process that is alone is never replaced behind its back.
    fn default() -> Alive {
        Alive::new(|| true)
    }
}

impl fmt::Debug for Alive {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "Alive({})", self.is_alive())
    }
}

/// How far the job has come, for the watchdog. Worker 0 writes it.
#[derive(Default, Debug)]
pub struct Vitals {
    /// Ticks that were cut.
    pub cut: AtomicU64,
    /// Ticks that are committed.
    pub committed: AtomicU64,
    /// Whether there is input that has not been cut: without it, and with all ticks committed, nothing is wanted.
    pub input_waits: AtomicBool,
}

/// Says, when somebody asks, where the steps of this process are: frontier tick and queue of each.
#[derive(Clone, Default)]
pub struct Steps(Arc<Mutex<Vec<Describe>>>);

type Describe = Box<dyn Fn() -> String + Send>;

impl Steps {
    /// Adds a step; `describe` is called on any thread.
    pub fn add(&self, describe: impl Fn() -> String + Send + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(describe));
    }

    /// A line for each step.
    pub fn describe(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|describe| describe()).collect()
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "Steps({:?})", self.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn every_listener_hears_once() {
        let (stop, calls) = (StopRequest::default(), Arc::new(AtomicUsize::new(0)));
        let listen = || {
            let calls = calls.clone();
            stop.on_raise(move || {
                calls.fetch_add(1, Ordering::Relaxed);
            });
        };
        assert!(!stop.is_raised());
        listen();
        assert!(stop.clone().raise() && stop.raise() && stop.is_raised());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        // Who comes late hears at once.
        listen();
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn nobody_listens() {
        let stop = StopRequest::default();
        assert!(!stop.raise() && stop.is_raised());
    }
}
