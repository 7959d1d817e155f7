//! Window statistics.
//!
//! * Computes: count, mean, standard deviation, extremes, first and last value of each meter's channel in each window.
//! * Time: event time; windows are published when the job's watermark has passed their end.
//! * Emits: at the end of a tick; again with the next revision when `allowed_lateness` let a reading into a published one.
//! * Late and duplicate input: not counted.
//! * Keeps: slices of open windows (and those within `allowed_lateness`) by meter and channel; they go when final.

use crate::drivers::apply::Logic;
use crate::model::control::{Close, Counts};
use crate::model::reading::Batch;
use crate::model::results::WindowBatch;
use crate::state::State;
use crate::windows::{Spec, Windows};
use std::rc::Rc;

/// Rows published before other steps have their turn again.
const BUDGET: usize = 10_000;

/// The logic of the step.
pub struct WindowStatistics {
    windows: Windows,
}

impl WindowStatistics {
    /// Windows of this kind over all channels of the source.
    pub fn new(spec: Spec, channels: usize) -> WindowStatistics {
        WindowStatistics { windows: Windows::new(spec, channels) }
    }
}

impl Logic<Rc<Batch>, Rc<WindowBatch>> for WindowStatistics {
    fn data(&mut self, batch: Rc<Batch>, _: &mut Vec<Rc<WindowBatch>>) {
        if !batch.is_late() {
            self.windows.apply(&batch);
        }
    }

    fn close(&mut self, close: &Close, out: &mut Vec<Rc<WindowBatch>>, counts: &mut Counts) -> bool {
        let mut published = WindowBatch::default();
        let done = self.windows.close(close.watermark, BUDGET, &mut published);
        counts.windows += published.rows.len() as u64;
        counts.revisions += published.rows.iter().filter(|row| row.revision > 0).count() as u64;
        if !published.rows.is_empty() {
            out.push(Rc::new(published));
        }
        done
    }

    fn state(&mut self) -> Option<&mut dyn State> {
        Some(&mut self.windows)
    }
}
