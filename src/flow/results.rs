//! What each kind of result looks like in a sink, and what is archived of it.

use crate::codec::write::{Lines as Writer, Names};
use crate::connectors::archive::Kind;
use crate::drivers::Events;
use crate::flow::archive::{Archived, AsArchived};
use crate::flow::outputs::{MakeLines, Sinkable};
use crate::flow::steps::{Anomalies, DeadLetters, LateReadings, Readings, SourceNames, Statistics};
use crate::model::dead::DeadLetter;
use crate::model::reading::Batch;
use crate::model::results::{AnomalyBatch, WindowBatch};
use std::rc::Rc;

/// A writer of lines with the names of a source.
fn writer(names: &SourceNames, dataflow: &str, step: &str, detectors: &[(&'static str, Vec<String>)]) -> Rc<Writer> {
    let SourceNames { source, channels, .. } = names;
    Rc::new(Writer::new(&Names { dataflow, step, source, detectors, channels }))
}

impl<'scope> Sinkable<'scope> for Statistics<'scope> {
    type Item = Rc<WindowBatch>;

    fn events(&self) -> Events<'scope, Rc<WindowBatch>> {
        self.events.clone()
    }

    fn lines(&self, dataflow: &str) -> MakeLines<Rc<WindowBatch>> {
        let writer = writer(&self.names, dataflow, "", &[]);
        Box::new(move || {
            let writer = writer.clone();
            Box::new(move |batch, out| {
                writer.windows(batch, out);
                batch.rows.len() as u64
            })
        })
    }
}

impl<'scope> Sinkable<'scope> for Anomalies<'scope> {
    type Item = Rc<AnomalyBatch>;

    fn events(&self) -> Events<'scope, Rc<AnomalyBatch>> {
        self.events.clone()
    }

    fn lines(&self, dataflow: &str) -> MakeLines<Rc<AnomalyBatch>> {
        let writer = writer(&self.names, dataflow, &self.step, &self.detectors);
        let partitions = self.names.partitions.clone();
        Box::new(move || {
            let (writer, partitions) = (writer.clone(), partitions.clone());
            Box::new(move |batch, out| {
                writer.anomalies(batch, &partitions, out);
                batch.rows.len() as u64
            })
        })
    }
}

impl<'scope> Sinkable<'scope> for LateReadings<'scope> {
    type Item = Rc<Batch>;

    fn events(&self) -> Events<'scope, Rc<Batch>> {
        self.events.clone()
    }

    fn lines(&self, dataflow: &str) -> MakeLines<Rc<Batch>> {
        let writer = writer(&self.names, dataflow, "", &[]);
        let partitions = self.names.partitions.clone();
        Box::new(move || {
            let (writer, partitions) = (writer.clone(), partitions.clone());
            Box::new(move |batch, out| {
                if !batch.is_late() {
                    return 0;
                }
                writer.late(batch, &partitions, out);
                batch.len() as u64
            })
        })
    }
}

impl<'scope> Sinkable<'scope> for DeadLetters<'scope> {
    type Item = Rc<DeadLetter>;

    fn events(&self) -> Events<'scope, Rc<DeadLetter>> {
        self.events.clone()
    }

    fn lines(&self, dataflow: &str) -> MakeLines<Rc<DeadLetter>> {
        let writer = writer(&self.names, dataflow, "", &[]);
        let partitions = self.names.partitions.clone();
        Box::new(move || {
            let (writer, partitions) = (writer.clone(), partitions.clone());
            Box::new(move |letter, out| {
                writer.dead(std::slice::from_ref(&**letter), &partitions, out);
                1
            })
        })
    }
}

impl<'scope> AsArchived<'scope> for Readings<'scope> {
    type Rows = Batch;

    fn archived(&self) -> Archived<'scope, Batch> {
        Archived { kind: Kind::Readings, events: self.events.clone(), names: self.names.clone(), found_by: None }
    }
}

impl<'scope> AsArchived<'scope> for Statistics<'scope> {
    type Rows = WindowBatch;

    fn archived(&self) -> Archived<'scope, WindowBatch> {
        Archived { kind: Kind::Stats, events: self.events.clone(), names: self.names.clone(), found_by: None }
    }
}

impl<'scope> AsArchived<'scope> for Anomalies<'scope> {
    type Rows = AnomalyBatch;

    fn archived(&self) -> Archived<'scope, AnomalyBatch> {
        let found_by = Some((self.step.clone(), self.detectors.clone()));
        Archived { kind: Kind::Anomalies, events: self.events.clone(), names: self.names.clone(), found_by }
    }
}
