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
use crate::state::{Corrupt, Reader, Scope, State, Writer};
use crate::windows::{Spec, Windows};
use std::rc::Rc;

/// Rows published before other steps have their turn again.
const BUDGET: usize = 10_000;

/// The logic of the step.
pub struct WindowStatistics {
    windows: Windows,
    channels: Vec<String>,
}

impl WindowStatistics {
    /// Windows of this kind over all channels of the source.
    pub fn new(spec: Spec, channels: &[String]) -> WindowStatistics {
        WindowStatistics { windows: Windows::new(spec, channels.len()), channels: channels.to_vec() }
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
        Some(self)
    }
}

/// The state of the windows, with the channels that they are of.
impl State for WindowStatistics {
    fn kind(&self) -> (&'static str, u16) {
        self.windows.kind()
    }

    fn shape(&self) -> String {
        format!("{} channels={}", self.windows.shape(), self.channels.join(","))
    }

    fn is_changed(&self, group: u16) -> bool {
        self.windows.is_changed(group)
    }

    fn mark_saved(&mut self, group: u16) {
        self.windows.mark_saved(group);
    }

    fn save(&self, scope: Scope, out: &mut Writer) {
        self.windows.save(scope, out);
    }

    fn load(&mut self, scope: Scope, from: &mut Reader) -> Result<(), Corrupt> {
        self.windows.load(scope, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::Kind;

    #[test]
    fn shapes_say_what_stored_windows_depend_on() {
        let shape = |kind, allowed_lateness| {
            let channels = ["voltage", "current"].map(String::from);
            WindowStatistics::new(Spec { kind, allowed_lateness }, &channels).shape()
        };
        let sliding = Kind::Sliding { size: 60_000, slide: 10_000 };
        let of = "channels=voltage,current";
        assert_eq!(shape(sliding, 0), format!("kind=sliding size=1m slide=10s allowed_lateness=0s {of}"));
        let tumbling = Kind::Tumbling { size: 300_000 };
        assert_eq!(shape(tumbling, 1_000), format!("kind=tumbling size=5m allowed_lateness=1s {of}"));
        assert_eq!(shape(Kind::Session { gap: 1_500 }, 0), format!("kind=session gap=1500ms allowed_lateness=0s {of}"));
    }
}
