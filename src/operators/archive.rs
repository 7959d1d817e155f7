//! The archive: results of one kind, in files by event date.
//!
//! * Computes: nothing; buffers what it is given and cuts full buffers at the ends of ticks. What is cut stands in the commit
//!   record of its tick.
//! * Time: the event date of a row names its file; a day is written when the watermark has left it.
//! * Emits: cuts, which are uploaded once their tick is committed.
//! * Late and duplicate input: late readings are not archived.
//! * Keeps: rows that wait for their file, bounded by the configured memory, and where state is kept those of cuts that are
//!   not known to be stored. While the store is slower than the input, ticks wait (unpublished) until it has caught up, and
//!   the coordinator reads no further.

use crate::connectors::archive::{Archiver, Cut, Moment, OnTheWay, Report, Uploader};
use crate::drivers::apply::Logic;
use crate::drivers::publish::{Made, Publisher};
use crate::error::{Error, fatal};
use crate::model::commit::ArchiveCut;
use crate::model::control::{Close, Counts, Tick};
use crate::model::meter::GROUPS;
use crate::model::reading::Batch;
use crate::model::results::{AnomalyBatch, WindowBatch};
use crate::state::{Corrupt, Reader, Scope, State, Writer};
use std::cell::{Cell, RefCell};
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

/// An archiver that the step and the uploads of a worker share.
pub type SharedArchiver = Rc<RefCell<Archiver>>;

/// What the step and the uploads of a worker know of each other.
#[derive(Default)]
pub struct Together {
    /// Objects that are cut and not known to be stored.
    pub on_the_way: Rc<OnTheWay>,
    /// The archiver of the step, as it was last made.
    archiver: RefCell<Option<SharedArchiver>>,
    /// Whether the last tick has come, after which nothing is left.
    ended: Cell<bool>,
}

/// The key groups `[first, end)` of a worker of so many.
pub fn groups_of(worker: usize, workers: usize) -> [u16; 2] {
    [worker, worker + 1].map(|worker| (worker * GROUPS).div_ceil(workers) as u16)
}

/// The step: buffers the results of its worker and cuts them.
pub struct Archive<B> {
    worker: u32,
    groups: [u16; 2],
    archiver: SharedArchiver,
    together: Rc<Together>,
    /// What came in the tick that is not closed yet.
    came: Vec<Rc<B>>,
    cuts: Vec<ArchiveCut>,
}

impl<B> Archive<B> {
    /// The archive of worker `worker` of `workers`.
    pub fn new(archiver: Archiver, together: Rc<Together>, [worker, workers]: [usize; 2]) -> Archive<B> {
        let archiver = Rc::new(RefCell::new(archiver));
        together.archiver.replace(Some(archiver.clone()));
        let (groups, worker) = (groups_of(worker, workers), worker as u32);
        Archive { worker, groups, archiver, together, came: Vec::new(), cuts: Vec::new() }
    }

    fn record(&self, cut: &Cut) -> ArchiveCut {
        ArchiveCut {
            kind: cut.kind.name().to_owned(),
            day: cut.day,
            groups: self.groups,
            through: cut.through,
            name: cut.name.clone(),
            rows: cut.rows.len() as u64,
        }
    }
}

impl<B: Archivable> Logic<Rc<B>, Made<Cut>> for Archive<B> {
    fn data(&mut self, rows: Rc<B>, _: &mut Vec<Made<Cut>>) {
        self.came.push(rows);
    }

    fn close(&mut self, close: &Close, out: &mut Vec<Made<Cut>>, _: &mut Counts) -> bool {
        let mut archiver = self.archiver.borrow_mut();
        for rows in self.came.drain(..) {
            rows.append(close.tick, &mut archiver);
        }
        let cuts = match close.last {
            true => archiver.finish(close.tick),
            false => archiver.due(close.tick, Moment { now: None, watermark: close.watermark }),
        };
        drop(archiver);
        self.together.ended.set(self.together.ended.get() || close.last);
        self.cuts.extend(cuts.iter().map(|cut| self.record(cut)).collect::<Vec<ArchiveCut>>());
        out.extend(cuts.into_iter().map(|part| Made { worker: self.worker, part }));
        true
    }

    fn cuts(&mut self) -> Vec<ArchiveCut> {
        std::mem::take(&mut self.cuts)
    }

    fn state(&mut self) -> Option<&mut dyn State> {
        Some(self)
    }
}

/// That of its archiver.
impl<B> State for Archive<B> {
    fn kind(&self) -> (&'static str, u16) {
        self.archiver.borrow().kind()
    }

    fn shape(&self) -> String {
        self.archiver.borrow().shape()
    }

    fn is_changed(&self, group: u16) -> bool {
        self.archiver.borrow().is_changed(group)
    }

    fn mark_saved(&mut self, group: u16) {
        self.archiver.borrow_mut().mark_saved(group);
    }

    fn save(&self, scope: Scope, out: &mut Writer) {
        self.archiver.borrow().save(scope, out);
    }

    fn load(&mut self, scope: Scope, from: &mut Reader) -> Result<(), Corrupt> {
        self.archiver.borrow_mut().load(scope, from)
    }
}

/// Uploads the cuts of a worker, those of a tick once it is committed.
pub struct Upload {
    uploader: Option<Uploader>,
    waiting: VecDeque<Cut>,
    together: Rc<Together>,
    /// Whether rows that are not cut when the input stops stand in a snapshot.
    keeps_state: bool,
}

impl Upload {
    /// Uploads with `uploader`.
    pub fn new(uploader: Uploader, together: Rc<Together>, keeps_state: bool) -> Upload {
        Upload { uploader: Some(uploader), waiting: VecDeque::new(), together, keeps_state }
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

    fn count(&self, reports: Vec<Report>, counts: &mut Counts) {
        for report in reports {
            match report {
                Report::Stored { name, rows, bytes, .. } => {
                    self.together.on_the_way.remove(&name);
                    let sums = counts.archive.iter_mut().zip([1, rows, bytes]);
                    sums.for_each(|(sum, more)| *sum += more);
                }
                Report::Retrying { name, error } => eprintln!("meterflow: archive {name}: {error}; trying again"),
                Report::Failed { name, problem } => fatal(&Error::output(format!("archive {name}"), problem)),
            }
        }
    }
}

impl Publisher<Cut> for Upload {
    fn is_ready(&mut self) -> bool {
        self.offer();
        self.waiting.is_empty()
    }

    fn publish(&mut self, _: Tick, cuts: Vec<Cut>, counts: &mut Counts) {
        self.waiting.extend(cuts);
        self.offer();
        if let Some(uploader) = &self.uploader {
            self.count(uploader.reports(), counts);
        }
    }

    fn finish(&mut self, counts: &mut Counts) {
        if self.keeps_state && !self.together.ended.get() {
            // A stop: what is not stored yet stands in the snapshot. Nothing waits for a store that is away.
            self.uploader = None;
            return;
        }
        if let Some(archiver) = self.together.archiver.take().filter(|_| !self.keeps_state) {
            self.waiting.extend(archiver.borrow_mut().leave());
        }
        // Nothing else is left to do on this worker, so it may wait.
        while !self.waiting.is_empty() {
            self.offer();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if let Some(uploader) = self.uploader.take() {
            self.count(uploader.finish(), counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::meter::owner_of;

    #[test]
    fn the_groups_of_a_worker_are_those_that_it_owns() {
        for workers in [1, 2, 3, 7, 1000, 1024] {
            for worker in 0..workers {
                let [first, end] = groups_of(worker, workers).map(usize::from);
                assert!((first..end).all(|group| owner_of(group, workers) == worker));
                assert!(first == 0 || owner_of(first - 1, workers) + 1 == worker);
                assert!(end == GROUPS || owner_of(end, workers) == worker + 1);
            }
        }
    }
}
