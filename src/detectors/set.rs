//! The detectors of a step, side by side: one never hides what another finds.

use crate::detectors::{ALL, Context, Detector, Findings, problem};
use crate::model::reading::{Batch, Reading};
use crate::model::results::{AnomalyBatch, Finding};
use crate::settings::{Problem, Values};
use crate::state::{Corrupt, Reader, Scope, State, Writer};
use std::collections::BTreeMap;

/// All configured detectors of a step.
#[derive(Default)]
pub struct Detectors {
    parts: Vec<(&'static str, Box<dyn Detector>)>,
    found: Findings,
    merged: Vec<(u32, u16, Finding)>,
}

impl Detectors {
    /// Builds each detector that has a table, in the order of [`ALL`]. The error lists every problem with its table.
    pub fn build(tables: &BTreeMap<String, Values>, context: &Context) -> Result<Detectors, Vec<(String, Problem)>> {
        let mut detectors = Detectors::default();
        let mut problems = Vec::new();
        for spec in ALL {
            match tables.get(spec.name).map(|values| (spec.build)(values, context)) {
                Some(Ok(detector)) => detectors.parts.push((spec.name, detector)),
                Some(Err(problem)) => problems.push((spec.name.to_string(), problem)),
                None => {}
            }
        }
        for name in tables.keys().filter(|name| ALL.iter().all(|spec| spec.name != **name)) {
            let names: Vec<&str> = ALL.iter().map(|spec| spec.name).collect();
            problems.push((name.clone(), problem(name, format!("no such detector; there are {}", names.join(", ")))));
        }
        if problems.is_empty() { Ok(detectors) } else { Err(problems) }
    }

    /// Each detector's name and kinds: what [`AnomalyRow`](crate::model::results::AnomalyRow) names by index.
    pub fn names(&self) -> Vec<(&'static str, Vec<String>)> {
        self.parts.iter().map(|(name, detector)| (*name, detector.kinds().to_vec())).collect()
    }

    /// Judges a batch with each detector; the anomalies stand in the order of the readings, then of the detectors.
    /// Late readings are judged by those detectors alone that remember nothing.
    pub fn judge(&mut self, batch: &Batch, out: &mut AnomalyBatch) {
        self.merged.clear();
        for (number, (_, detector)) in self.parts.iter_mut().enumerate() {
            if batch.is_late() && !detector.judges_late() {
                continue;
            }
            self.found.clear();
            detector.judge(batch, &mut self.found);
            self.merged.extend(self.found.list().iter().map(|(row, finding)| (*row, number as u16, *finding)));
        }
        // Stable: what one detector found in a reading keeps its order.
        self.merged.sort_by_key(|(row, detector, _)| (*row, *detector));
        for (row, detector, finding) in &self.merged {
            out.push(Reading { batch, index: *row as usize }, *detector, finding);
        }
    }

    /// Ends a tick with the watermark (ms) that holds after it.
    pub fn close(&mut self, watermark: i64) {
        for (_, detector) in &mut self.parts {
            detector.close(watermark);
        }
    }

    /// Bytes of memory that the state of all takes.
    pub fn memory(&self) -> usize {
        self.parts.iter().map(|(_, detector)| detector.memory()).sum()
    }
}

/// Each detector's bytes stand under its name with their own kind and version, so that detectors may come and go between
/// two runs: one that is new starts empty, what one remembered that is gone is dropped.
impl State for Detectors {
    fn kind(&self) -> (&'static str, u16) {
        ("detectors", 1)
    }

    fn save(&self, scope: Scope, out: &mut Writer) {
        let mut stored = Vec::new();
        for (name, detector) in &self.parts {
            let mut inner = Writer::default();
            detector.save(scope, &mut inner);
            if !inner.bytes().is_empty() {
                stored.push((name, detector.kind(), inner.into_bytes()));
            }
        }
        if stored.is_empty() {
            return;
        }
        out.value(stored.len() as u32);
        for (name, (kind, version), bytes) in stored {
            out.column(name.as_bytes());
            out.column(kind.as_bytes());
            out.value(version);
            out.column(&bytes);
        }
    }

    fn load(&mut self, scope: Scope, from: &mut Reader) -> Result<(), Corrupt> {
        if from.is_empty() {
            return Ok(());
        }
        for _ in 0..from.value::<u32>()? {
            let (name, kind) = (text(from)?, text(from)?);
            let (version, bytes) = (from.value::<u16>()?, from.column::<u8>()?);
            let Some((_, detector)) = self.parts.iter_mut().find(|(part, _)| *part == name) else { continue };
            let (own_kind, own_version) = detector.kind();
            if (own_kind, own_version) != (kind.as_str(), version) {
                return Err(Corrupt(format!(
                    "the detector `{name}` remembered {kind} (version {version}) and is now configured to remember \
                     {own_kind} (version {own_version}): configure it as before, or drop the state of this step"
                )));
            }
            let mut inner = Reader::new(&bytes);
            detector.load(scope, &mut inner)?;
            inner.finish()?;
        }
        Ok(())
    }
}

fn text(from: &mut Reader) -> Result<String, Corrupt> {
    String::from_utf8(from.column::<u8>()?).map_err(|_| Corrupt("a name that is not UTF-8".to_string()))
}
