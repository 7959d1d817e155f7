//! The archive: results of one kind, in files by event date.
//!
//! * Computes: nothing; buffers what it is given and hands full buffers to an uploader.
//! * Time: the event date of a row names its file; a day is written when the watermark has left it.
//! * Emits: objects in the store, once the ticks of their rows are committed.
//! * Late and duplicate input: late readings are not archived.
//! * Keeps: rows that wait for their file, bounded by the configured memory; while the store is slower than the input, ticks
//!   wait (unpublished) until it has caught up, and the coordinator reads no further.

use crate::connectors::archive::{Archiver, Cut, Moment, Report, Uploader};
use crate::drivers::apply::Logic;
use crate::drivers::publish::{Made, Publisher};
use crate::error::{Error, fatal};
use crate::model::control::{Close, Counts, Tick};
use crate::model::reading::Batch;
use crate::model::results::{AnomalyBatch, WindowBatch};
use std::collections::VecDeque;
use std::rc::Rc;

/// What is archived.
pub trait Archivable: Clone + 'static {
    /// Buffers the rows.
    fn append(&self, tick: Tick, archiver: &mut Archiver);
}

impl Archivable for Batch {
    fn append(&self, tick: Tick, archiver: &mut Archiver) {
        archiver.append_readings(tick, self);
    }
}

impl Archivable for WindowBatch {
    fn append(&self, tick: Tick, archiver: &mut Archiver) {
        archiver.append_stats(tick, self);
    }
}

impl Archivable for AnomalyBatch {
    fn append(&self, tick: Tick, archiver: &mut Archiver) {
        archiver.append_anomalies(tick, self);
    }
}

/// What the archive is given of a tick.
#[derive(Clone)]
pub enum Part<B> {
    /// Rows.
    Rows(Rc<B>),
    /// The watermark at the end of the tick, ms.
    Watermark(i64),
}

/// Hands the events of a step on to the archive of its worker.
pub struct ToArchive {
    /// The worker.
    pub worker: u32,
}

impl<B> Logic<Rc<B>, Made<Part<B>>> for ToArchive {
    fn data(&mut self, rows: Rc<B>, out: &mut Vec<Made<Part<B>>>) {
        out.push(Made { worker: self.worker, part: Part::Rows(rows) });
    }

    fn close(&mut self, close: &Close, out: &mut Vec<Made<Part<B>>>, _: &mut Counts) -> bool {
        out.push(Made { worker: self.worker, part: Part::Watermark(close.watermark) });
        true
    }
}

/// The archive of one kind on one worker.
pub struct Archive {
    archiver: Archiver,
    uploader: Option<Uploader>,
    waiting: VecDeque<Cut>,
}

impl Archive {
    /// Buffers with `archiver`, uploads with `uploader`.
    pub fn new(archiver: Archiver, uploader: Uploader) -> Archive {
        Archive { archiver, uploader: Some(uploader), waiting: VecDeque::new() }
    }

    /// Hands over cuts that wait, as far as the uploader takes them.
    fn offer(&mut self) {
        let Some(uploader) = &self.uploader else { return };
        while let Some(cut) = self.waiting.pop_front() {
            if let Err(busy) = uploader.offer(cut) {
                self.waiting.push_front(*busy.0);
                return;
            }
        }
    }

    fn count(reports: Vec<Report>, counts: &mut Counts) {
        for report in reports {
            match report {
                Report::Stored { rows, bytes, .. } => {
                    let sums = counts.archive.iter_mut().zip([1, rows, bytes]);
                    sums.for_each(|(sum, more)| *sum += more);
                }
                Report::Retrying { name, error } => eprintln!("meterflow: archive {name}: {error}; trying again"),
                Report::Failed { name, problem } => fatal(&Error::output(format!("archive {name}"), problem)),
            }
        }
    }
}

impl<B: Archivable> Publisher<Part<B>> for Archive {
    fn is_ready(&mut self) -> bool {
        self.offer();
        self.waiting.is_empty()
    }

    fn publish(&mut self, tick: Tick, parts: Vec<Part<B>>, counts: &mut Counts) {
        for part in parts {
            match part {
                Part::Rows(rows) => rows.append(tick, &mut self.archiver),
                Part::Watermark(watermark) => {
                    self.waiting.extend(self.archiver.due(Moment { now: None, watermark }));
                }
            }
        }
        self.offer();
        if let Some(uploader) = &self.uploader {
            Archive::count(uploader.reports(), counts);
        }
    }

    fn finish(&mut self, counts: &mut Counts) {
        self.waiting.extend(self.archiver.finish());
        // Nothing else is left to do on this worker, so it may wait.
        while !self.waiting.is_empty() {
            self.offer();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if let Some(uploader) = self.uploader.take() {
            Archive::count(uploader.finish(), counts);
        }
    }
}
