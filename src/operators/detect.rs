//! Anomaly detection.
//!
//! * Computes: what the configured detectors find in each reading, one never hiding another.
//! * Time: canonical order; the watermark only lets detectors forget.
//! * Emits: with the reading, in the order of the readings of a block.
//! * Late and duplicate input: late readings are judged by detectors that remember nothing; duplicates never get here.
//! * Keeps: what its detectors keep by meter and channel, and their bounds.

use crate::detectors::Detectors;
use crate::drivers::apply::Logic;
use crate::model::control::{Close, Counts};
use crate::model::reading::Batch;
use crate::model::results::AnomalyBatch;
use crate::state::State;
use std::rc::Rc;

/// The logic of the step.
pub struct Detect {
    detectors: Detectors,
    /// Anomalies by detector and kind in this tick.
    found: Vec<Vec<u64>>,
    kinds: Vec<Vec<String>>,
    /// What was found in a block, until its late readings are judged too.
    held: Option<(u32, u64, AnomalyBatch)>,
}

impl Detect {
    /// Runs these detectors.
    pub fn new(detectors: Detectors) -> Detect {
        let kinds: Vec<Vec<String>> = detectors.names().into_iter().map(|(_, kinds)| kinds).collect();
        let found = kinds.iter().map(|kinds| vec![0; kinds.len()]).collect();
        Detect { detectors, found, kinds, held: None }
    }

    fn release(&mut self, out: &mut Vec<Rc<AnomalyBatch>>) {
        if let Some((_, _, anomalies)) = self.held.take().filter(|(_, _, anomalies)| !anomalies.rows.is_empty()) {
            for row in &anomalies.rows {
                self.found[row.detector as usize][row.kind as usize] += 1;
            }
            out.push(Rc::new(anomalies));
        }
    }
}

impl Logic<Rc<Batch>, Rc<AnomalyBatch>> for Detect {
    fn data(&mut self, batch: Rc<Batch>, out: &mut Vec<Rc<AnomalyBatch>>) {
        let block = (batch.partition, batch.base);
        if let Some((partition, base, anomalies)) = &mut self.held
            && batch.is_late()
            && (*partition, *base) == block
        {
            self.detectors.judge(&batch, anomalies);
            anomalies.sort_by_offset();
            return;
        }
        self.release(out);
        let mut anomalies = AnomalyBatch::default();
        self.detectors.judge(&batch, &mut anomalies);
        self.held = Some((block.0, block.1, anomalies));
    }

    fn close(&mut self, close: &Close, out: &mut Vec<Rc<AnomalyBatch>>, counts: &mut Counts) -> bool {
        self.release(out);
        self.detectors.close(close.watermark);
        for (found, kinds) in self.found.iter_mut().zip(&self.kinds) {
            for (count, kind) in found.iter_mut().zip(kinds).filter(|(count, _)| **count > 0) {
                *counts.anomalies.entry(kind.clone()).or_default() += std::mem::take(count);
            }
        }
        true
    }

    fn state(&mut self) -> Option<&mut dyn State> {
        Some(&mut self.detectors)
    }
}
