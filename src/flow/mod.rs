//! What a dataflow is written against: sources, steps with names, sinks, the archive.
//!
//! A [`Dataflow`] is a name and a function from sources to sinks. It runs once on every worker; all workers build the same.
//! Every step has a name, since its state is stored under it: renaming a step loses what it remembers.

mod archive;
mod build;
mod outputs;
mod results;
mod steps;

pub use build::{JobView, KeptLines, build, look};
pub use outputs::{Custom, MakeLines, Sinkable};
pub use steps::{Anomalies, DeadLetters, LateReadings, Readings, SourceNames, Statistics};

use crate::config::Settings;
use crate::drivers::apply::{Around, Logic, Make, apply};
use crate::drivers::publish::CommittedTicks;
use crate::drivers::{Events, Reports};
use crate::error::{Error, ErrorKind};
use crate::model::control::Tick;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use timely::dataflow::Scope;

/// A dataflow: what `meterflow run NAME` runs.
#[derive(Clone, Copy)]
pub struct Dataflow {
    /// Its name on the command line and in results.
    pub name: &'static str,
    /// What question it answers, in a line.
    pub about: &'static str,
    /// Names of the sources that it reads.
    pub sources: &'static [&'static str],
    /// Names of the sinks that it can write.
    pub sinks: &'static [&'static str],
    /// Builds it on a worker.
    pub build: for<'scope> fn(&mut Flow<'scope>) -> Result<(), Error>,
}

/// A dataflow that is being built on a worker.
pub struct Flow<'scope> {
    scope: Scope<'scope, Tick>,
    job: Rc<JobView>,
    sources: BTreeMap<String, Readings<'scope>>,
    steps: BTreeSet<String>,
    reports: Vec<Reports<'scope>>,
    publish: Vec<Publish<'scope>>,
}

/// What is built when it is known where commits come from, and that the dataflow can run: it opens what is written to.
type Publish<'scope> = Box<dyn FnOnce(Ticks<'scope>) -> Result<Reports<'scope>, Error> + 'scope>;

/// When something may be shown.
#[derive(Clone)]
struct Ticks<'scope> {
    /// Ticks whose lines may be shown.
    due: CommittedTicks<'scope>,
    /// Ticks that are committed.
    committed: CommittedTicks<'scope>,
}

impl<'scope> Flow<'scope> {
    /// The settings of the job.
    pub fn settings(&self) -> &Settings {
        &self.job.settings
    }

    /// The timely scope, for operators of your own.
    pub fn scope(&self) -> Scope<'scope, Tick> {
        self.scope
    }

    /// The readings of a configured source.
    pub fn source(&self, name: &str) -> Result<Readings<'scope>, Error> {
        let missing =
            || Error::new(ErrorKind::Config, format!("sources.{name}"), "the dataflow reads it, but it is not configured");
        self.sources.get(name).cloned().ok_or_else(missing)
    }

    /// Whether the configuration asks for what a sink of this name would show, or archives this kind of result. What
    /// nobody reads need not be computed.
    pub fn wants(&self, name: &str) -> bool {
        let archived = self.settings().archive.as_ref().is_some_and(|archive| match name {
            "readings" => archive.readings,
            "stats" => archive.stats,
            "anomalies" => archive.anomalies,
            _ => false,
        });
        archived || self.settings().sinks.contains_key(name)
    }

    /// Adds a step that runs `make`'s logic over events.
    pub fn step<A: Clone + 'static, B: Clone + 'static, L: Logic<A, B> + 'static>(
        &mut self,
        name: &str,
        input: Events<'scope, A>,
        make: impl Fn() -> L + 'static,
    ) -> Result<Events<'scope, B>, Error> {
        if !self.steps.insert(name.to_owned()) {
            let message = "two steps have this name, but state is stored under it: give each its own";
            return Err(Error::internal(message).with_hint(format!("the step is `{name}` of `{}`", self.job.dataflow)));
        }
        let make: Make<A, B> = Box::new(move || Box::new(make()));
        let JobView { check_state, snapshots, health, .. } = &*self.job;
        let around = Around { check_state: *check_state, snapshots, steps: &health.steps };
        let (events, reports) = apply(name, input, make, around)?;
        self.reports.push(reports);
        Ok(events)
    }
}
