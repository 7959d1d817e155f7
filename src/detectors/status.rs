//! Detector `status`: a reading whose status reports a failure. It remembers nothing, so it judges late readings too: a
//! failure report is never lost to a slow radio.
//!
//! The status contains one of the texts: `equipment_failure`, CRITICAL, score and threshold 1, and no channel.

use crate::detectors::{Context, Detector, Findings, Spec, problem};
use crate::model::reading::Batch;
use crate::model::results::{Finding, Severity};
use crate::settings::{Key, Kind, Problem, Values};
use crate::state::{Corrupt, Reader, Scope, State, Writer};
use memchr::memmem::Finder;

/// `[detectors.status]`.
pub const SPEC: Spec = Spec {
    name: "status",
    about: "Finds readings whose status reports a failure of the equipment.",
    keys: &[Key {
        name: "failure",
        kind: Kind::List,
        default: Some(r#"["FAILURE"]"#),
        doc: "A status that contains one of these texts (case sensitive) is an anomaly.",
    }],
    per_channel: &[],
    build,
    warnings: |_| Vec::new(),
};

const FINDING: Finding = Finding {
    kind: 0,
    channel: None,
    severity: Severity::Critical,
    observed: 0.0,
    expected: 0.0,
    score: 1.0,
    threshold: 1.0,
};

struct Status {
    failures: Vec<Finder<'static>>,
    kinds: Vec<String>,
    /// Whether each distinct status of the batch is a failure; kept for its memory.
    failed: Vec<bool>,
}

fn build(values: &Values, _context: &Context) -> Result<Box<dyn Detector>, Problem> {
    let failures = values.list("failure");
    if failures.is_empty() {
        return Err(problem("failure", "at least one text is needed, such as [\"FAILURE\"]"));
    }
    if failures.iter().any(String::is_empty) {
        return Err(problem("failure", "an empty text is part of every status: leave it out"));
    }
    let failures = failures.iter().map(|text| Finder::new(text).into_owned()).collect();
    Ok(Box::new(Status { failures, kinds: vec!["equipment_failure".to_string()], failed: Vec::new() }))
}

impl Detector for Status {
    fn kinds(&self) -> &[String] {
        &self.kinds
    }

    fn judges_late(&self) -> bool {
        true
    }

    fn judge(&mut self, batch: &Batch, found: &mut Findings) {
        let is_failure = |[start, length]: &[u32; 2]| {
            let status = &batch.heap[*start as usize..(start + length) as usize];
            self.failures.iter().any(|failure| failure.find(status).is_some())
        };
        self.failed.clear();
        self.failed.extend(batch.statuses.iter().map(is_failure));
        if !self.failed.contains(&true) {
            return;
        }
        for (index, row) in batch.rows.iter().enumerate() {
            if row.status() != 0 && self.failed[row.status() - 1] {
                found.push(index, FINDING);
            }
        }
    }

    fn close(&mut self, _watermark: i64) {}

    fn memory(&self) -> usize {
        0
    }
}

impl State for Status {
    fn kind(&self) -> (&'static str, u16) {
        ("status", 1)
    }

    fn shape(&self) -> String {
        String::new()
    }

    fn is_changed(&self, _group: u16) -> bool {
        false
    }

    fn save(&self, _scope: Scope, _out: &mut Writer) {}

    fn load(&mut self, _scope: Scope, _from: &mut Reader) -> Result<(), Corrupt> {
        Ok(())
    }
}
