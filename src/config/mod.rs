//! The configuration: layers of text in, checked plain values out.
//!
//! Later wins: defaults, file (TOML), environment (`METERFLOW_WINDOWS__SLIDE=10s`), `--set windows.slide=10s`. Every key is
//! declared once, as a [`Key`](crate::settings::Key), beside what uses it. [`load`] never stops at the first problem: it
//! finds all of them, each with the place where it was said. Nothing here reads a file or a variable.

pub mod check;
pub mod detectors;
pub mod digest;
pub mod engine;
pub mod fields;
pub mod layers;
pub mod nearest;
pub mod outputs;
pub mod print;
pub mod sources;
pub mod tree;
pub mod values;
pub mod windows;

#[cfg(test)]
mod tests;

pub use engine::Engine;
pub use layers::{Given, Recorded};
pub use outputs::{Archive, Sink, SinkKind};
pub use sources::{Source, SourceKind};

pub use crate::windows::{Kind as WindowKind, Spec as WindowSpec};

use crate::detectors::{Context, Spec};
use crate::error::{ConfigProblem, Error, Place};
use crate::settings::Values;
use check::{Findings, Section};
use std::collections::BTreeMap;
use tree::Table;

/// What a configuration can speak of.
#[derive(Clone, Copy)]
pub struct Schema<'a> {
    /// Kinds of sources; the first is the default.
    pub source_kinds: &'a [SourceKind],
    /// Kinds of sinks; the first is the default.
    pub sink_kinds: &'a [SinkKind],
    /// Detectors, in the order in which they judge.
    pub detectors: &'a [&'a Spec],
    /// Names of the sources that dataflows read; empty: any.
    pub sources: &'a [&'a str],
    /// Those of them that must be there.
    pub needed: &'a [&'a str],
    /// Names of the sinks that dataflows write; empty: any.
    pub sinks: &'a [&'a str],
}

/// Everything that is set, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sources by name.
    pub sources: BTreeMap<String, Source>,
    /// Windows.
    pub windows: WindowSpec,
    /// Detectors that run, with their values, in the order in which they judge.
    pub detectors: Vec<(String, Values)>,
    /// Sinks by name; what has none is not written.
    pub sinks: BTreeMap<String, Sink>,
    /// The archive, if there is one.
    pub archive: Option<Archive>,
    /// The engine.
    pub engine: Engine,
}

/// What came of reading a configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings; `None`: there are problems.
    pub settings: Option<Settings>,
    /// All reasons not to run, by place.
    pub problems: Vec<ConfigProblem>,
    /// What runs but is probably not meant, by place.
    pub warnings: Vec<ConfigProblem>,
}

const TABLES: [&str; 6] = ["sources", "windows", "detectors", "sinks", "archive", "engine"];

/// Reads and checks a configuration.
pub fn load(schema: &Schema, given: &Given) -> Loaded {
    let mut findings = Findings::default();
    let root = layers::merge(given, &TABLES, &mut findings);
    let root = Section { path: String::new(), place: Place::Nowhere, table: &root };
    findings.unknown(&root, &TABLES);

    let sources = sources::read(&root, schema, &mut findings);
    let nothing = Table::default();
    let absent = |name: &str| Section { path: name.to_string(), place: Place::Nowhere, table: &nothing };
    let mut section = |name| findings.section(&root, name).unwrap_or_else(|| absent(name));
    let (windows, detectors, sink_table, engine) =
        (section("windows"), section("detectors"), section("sinks"), section("engine"));

    let windows = windows::read(&windows, &mut findings);
    let context = Context { channels: &channels(&sources), allowed_lateness: windows.allowed_lateness };
    let detectors = detectors::read(&detectors, schema.detectors, &context, &mut findings);
    let sinks = outputs::sinks(&sink_table, schema.sink_kinds, schema.sinks, &mut findings);
    outputs::check_paths(&sink_table, &sinks, &sources, &mut findings);
    let archive = findings.section(&root, "archive").and_then(|archive| outputs::archive(&archive, &mut findings));
    let engine = engine::read(&engine, &mut findings);

    let Findings { mut problems, mut warnings, .. } = findings;
    problems.sort();
    warnings.sort();
    let settings = Settings { sources, windows, detectors, sinks, archive, engine };
    Loaded { settings: problems.is_empty().then_some(settings), problems, warnings }
}

/// Channels of all sources; none when one of them could not be read, for then nothing can be said of channels.
fn channels(sources: &BTreeMap<String, Source>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for source in sources.values() {
        if source.format.channels.is_empty() {
            return Vec::new();
        }
        for (name, _) in &source.format.channels {
            if !all.contains(name) {
                all.push(name.clone());
            }
        }
    }
    all
}

impl Loaded {
    /// The settings with the warnings, or an error with all problems.
    pub fn into_result(self) -> Result<(Settings, Vec<ConfigProblem>), Error> {
        let Loaded { settings, problems, warnings } = self;
        settings.map(|settings| (settings, warnings)).ok_or_else(|| Error::config(problems))
    }
}
