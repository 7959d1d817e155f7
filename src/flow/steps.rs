//! The streams that a dataflow handles, and the steps between them.

use crate::detectors::{Context, Detectors};
use crate::drivers::Events;
use crate::error::Error;
use crate::flow::Flow;
use crate::model::control::{Event, Tick};
use crate::model::dead::DeadLetter;
use crate::model::reading::Batch;
use crate::model::results::{AnomalyBatch, WindowBatch};
use crate::operators::deduplicate::Deduplicate;
use crate::operators::detect::Detect;
use crate::operators::windows::WindowStatistics;
use std::rc::Rc;
use timely::dataflow::Stream;
use timely::dataflow::operators::vec::Map;

/// Names that results of a source carry.
#[derive(Debug, Clone)]
pub struct SourceNames {
    /// The source.
    pub source: String,
    /// Its channels, by index.
    pub channels: Vec<String>,
    /// All partitions of the job, by index.
    pub partitions: Rc<[String]>,
}

/// Dead letters of a source.
#[derive(Clone)]
pub struct DeadLetters<'scope> {
    /// The events.
    pub events: Events<'scope, Rc<DeadLetter>>,
    /// Names for results.
    pub names: Rc<SourceNames>,
}

/// The readings of a source, on the workers that own their meters, in canonical order. Used readings and late ones come in
/// batches of their own ([`Batch::is_late`]).
#[derive(Clone)]
pub struct Readings<'scope> {
    /// The events.
    pub events: Events<'scope, Rc<Batch>>,
    /// What could not be decoded.
    pub dead: DeadLetters<'scope>,
    /// Names for results.
    pub names: Rc<SourceNames>,
}

/// The late readings of a source, to show them.
#[derive(Clone)]
pub struct LateReadings<'scope> {
    /// The events of all its readings.
    pub events: Events<'scope, Rc<Batch>>,
    /// Names for results.
    pub names: Rc<SourceNames>,
}

/// Window statistics.
#[derive(Clone)]
pub struct Statistics<'scope> {
    /// The events.
    pub events: Events<'scope, Rc<WindowBatch>>,
    /// Names for results.
    pub names: Rc<SourceNames>,
}

/// Anomalies.
#[derive(Clone)]
pub struct Anomalies<'scope> {
    /// The events.
    pub events: Events<'scope, Rc<AnomalyBatch>>,
    /// Names for results.
    pub names: Rc<SourceNames>,
    /// The step that found them.
    pub step: String,
    /// Detectors with their kinds, by index.
    pub detectors: Rc<Vec<(&'static str, Vec<String>)>>,
}

impl<'scope> Readings<'scope> {
    /// The batches as a plain timely stream, under the tick that they belong to.
    pub fn stream(&self) -> Stream<'scope, Tick, Vec<Rc<Batch>>> {
        data_of(self.events.clone())
    }

    /// Those that came too late.
    pub fn late(&self) -> LateReadings<'scope> {
        LateReadings { events: self.events.clone(), names: self.names.clone() }
    }

    /// The readings without duplicates, if the source is configured to drop them; else as they are.
    pub fn deduplicated(self, flow: &mut Flow<'scope>, step: &str) -> Result<Readings<'scope>, Error> {
        let source = self.names.source.clone();
        if !flow.settings().sources.get(&source).is_some_and(|source| source.drop_duplicates) {
            return Ok(self);
        }
        let allowed_lateness = flow.settings().windows.allowed_lateness;
        let channels = self.names.channels.clone();
        let events = flow.step(step, self.events, move || Deduplicate::new(&source, &channels, allowed_lateness))?;
        Ok(Readings { events, ..self })
    }

    /// What the configured detectors find in them.
    pub fn detect(&self, flow: &mut Flow<'scope>, step: &str) -> Result<Anomalies<'scope>, Error> {
        let tables = flow.settings().detectors.iter().cloned().collect();
        let (channels, allowed_lateness) = (self.names.channels.clone(), flow.settings().windows.allowed_lateness);
        let make = move || {
            let context = Context { channels: &channels, allowed_lateness };
            // The configuration has been checked by building them before.
            Detectors::build(&tables, &context).unwrap_or_default()
        };
        let detectors = Rc::new(make().names());
        let events = flow.step(step, self.events.clone(), move || Detect::new(make()))?;
        Ok(Anomalies { events, names: self.names.clone(), step: step.to_owned(), detectors })
    }

    /// Their statistics in the configured windows.
    pub fn window_statistics(&self, flow: &mut Flow<'scope>, step: &str) -> Result<Statistics<'scope>, Error> {
        let (spec, channels) = (flow.settings().windows, self.names.channels.clone());
        let events = flow.step(step, self.events.clone(), move || WindowStatistics::new(spec, &channels))?;
        Ok(Statistics { events, names: self.names.clone() })
    }
}

impl<'scope> Statistics<'scope> {
    /// The results as a plain timely stream, under the tick that published them.
    pub fn stream(&self) -> Stream<'scope, Tick, Vec<Rc<WindowBatch>>> {
        data_of(self.events.clone())
    }
}

impl<'scope> Anomalies<'scope> {
    /// The anomalies as a plain timely stream, under the tick of their reading.
    pub fn stream(&self) -> Stream<'scope, Tick, Vec<Rc<AnomalyBatch>>> {
        data_of(self.events.clone())
    }
}

/// Leaves the ends of ticks out: a plain stream has frontiers for that.
fn data_of<B: Clone + 'static>(events: Events<'_, B>) -> Stream<'_, Tick, Vec<B>> {
    events.flat_map(|event| match event {
        Event::Data(data) => Some(data),
        Event::Close(_) => None,
    })
}
