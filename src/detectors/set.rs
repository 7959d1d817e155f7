//! The detectors of a step, side by side: one never hides what another finds.

use crate::detectors::{ALL, Context, Detector, Findings, problem};
use crate::model::reading::{Batch, Reading};
use crate::model::results::{AnomalyBatch, Finding};
use crate::settings::{Problem, Values};
use crate::state::{Changed, Corrupt, Reader, Scope, State, Writer};
use std::collections::BTreeMap;

/// All configured detectors of a step.
#[derive(Default)]
pub struct Detectors {
    parts: Vec<(&'static str, Box<dyn Detector>)>,
    found: Findings,
    merged: Vec<(u32, u16, Finding)>,
    /// Key groups whose stored bytes have state of a detector that is gone. They are to be saved without it: if it came
    /// back later, it would take up what has missed readings.
    dropped: Changed,
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

    /// Detectors that remember nothing are not in it.
    fn shape(&self) -> String {
        let shapes = self.parts.iter().map(|(name, detector)| (name, detector.shape()));
        let shapes = shapes.filter(|(_, shape)| !shape.is_empty()).map(|(name, shape)| format!("{name}: {shape}"));
        shapes.collect::<Vec<String>>().join("; ")
    }

    fn is_changed(&self, group: u16) -> bool {
        self.dropped.is_marked(group) || self.parts.iter().any(|(_, detector)| detector.is_changed(group))
    }

    fn mark_saved(&mut self, group: u16) {
        self.dropped.clear(group);
        self.parts.iter_mut().for_each(|(_, detector)| detector.mark_saved(group));
    }

    fn save(&self, scope: Scope, out: &mut Writer) {
        for (name, detector) in &self.parts {
            let (kind, version) = detector.kind();
            let head = |out: &mut Writer| {
                out.column(name.as_bytes());
                out.column(kind.as_bytes());
                out.value(version);
            };
            out.nested(head, |out| detector.save(scope, out));
        }
    }

    fn load(&mut self, scope: Scope, from: &mut Reader) -> Result<(), Corrupt> {
        while !from.is_empty() {
            let (name, kind) = (text(from)?, text(from)?);
            let (version, bytes) = (from.value::<u16>()?, from.bytes()?);
            let Some((_, detector)) = self.parts.iter_mut().find(|(part, _)| *part == name) else {
                if let Scope::Group(group) = scope {
                    self.dropped.mark(group);
                }
                continue;
            };
            let (own_kind, own_version) = detector.kind();
            if (own_kind, own_version) != (kind, version) {
                return Err(Corrupt(format!(
                    "the detector `{name}` remembered {kind} (version {version}) and is now configured to remember \
                     {own_kind} (version {own_version}): configure it as before, or drop the state of this step"
                )));
            }
            let mut inner = Reader::new(bytes);
            detector.load(scope, &mut inner)?;
            inner.finish()?;
        }
        Ok(())
    }
}

fn text<'a>(from: &mut Reader<'a>) -> Result<&'a str, Corrupt> {
    std::str::from_utf8(from.bytes()?).map_err(|_| Corrupt("a name that is not UTF-8".to_string()))
}
