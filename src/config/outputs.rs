//! `[sinks.NAME]` and `[archive]`: where results go. What is not named is not written.

use crate::config::check::{Findings, Section};
use crate::config::sources::Source;
use crate::config::values::{did_you_mean, either, one_of, shown};
use crate::settings::{Key, Kind, Values};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A kind of sink; a connector brings its own.
#[derive(Clone, Copy)]
pub struct SinkKind {
    /// What `kind` says.
    pub name: &'static str,
    /// What it writes to, in a few words.
    pub about: &'static str,
    /// Its keys, besides `kind`.
    pub keys: &'static [Key],
    /// Those of its keys that must be given.
    pub required: &'static [&'static str],
    /// Why this build cannot write it, if it cannot.
    pub absent: Option<&'static str>,
}

/// A file, or a folder with a file a worker.
pub const FILE: SinkKind = SinkKind {
    name: "file",
    about: "a file or a folder of JSON lines",
    keys: &[Key {
        name: "path",
        kind: Kind::Text,
        default: None,
        doc: "The file; a path that ends with \"/\" is a folder, in which every worker writes a file of its own.",
    }],
    required: &["path"],
    absent: None,
};

/// Standard output.
pub const STDOUT: SinkKind =
    SinkKind { name: "stdout", about: "JSON lines on standard output", keys: &[], required: &[], absent: None };

/// Kafka topics.
pub const KAFKA: SinkKind = SinkKind {
    name: "kafka",
    about: "a Kafka topic",
    keys: &[],
    required: &[],
    absent: Some("this build has no Kafka yet"),
};

/// Every kind of sink; a connector adds its own here. The first is the default.
pub const KINDS: &[SinkKind] = &[FILE, STDOUT, KAFKA];

/// A sink as it is set.
#[derive(Clone, PartialEq, Debug)]
pub struct Sink {
    /// The name of its [`SinkKind`].
    pub kind: String,
    /// The keys of that kind.
    pub values: Values,
}

/// Keys of `[archive]`.
pub use crate::connectors::archive::KEYS as ARCHIVE;

/// What can be archived.
const ARCHIVED: [&str; 3] = ["readings", "stats", "anomalies"];

/// The archive as it is set.
#[derive(Clone, PartialEq, Debug)]
pub struct Archive {
    /// The folder.
    pub folder: PathBuf,
    /// Whether used readings are archived.
    pub readings: bool,
    /// Whether window results are.
    pub stats: bool,
    /// Whether anomalies are.
    pub anomalies: bool,
    /// Size at which a file is completed, bytes.
    pub max_size: u64,
    /// Age at which a file is completed, ms.
    pub max_age: i64,
    /// Memory of each worker for rows that wait, bytes.
    pub memory: usize,
}

impl Archive {
    /// How many kinds of results are archived.
    pub fn kinds(&self) -> usize {
        [self.readings, self.stats, self.anomalies].into_iter().filter(|archived| *archived).count()
    }
}

/// Reads `[sinks]`; only `known` names are (none: any name is).
pub fn sinks(section: &Section, kinds: &[SinkKind], known: &[&str], findings: &mut Findings) -> BTreeMap<String, Sink> {
    if !known.is_empty() {
        findings.unknown(section, known);
    }
    let mut sinks = BTreeMap::new();
    for (name, section) in findings.sections(section) {
        let named = findings.kind(&section, kinds.iter().map(|kind| (kind.name, kind.absent)));
        if let Some(kind) = kinds.iter().find(|kind| Some(kind.name) == named) {
            let required = if known.is_empty() || known.contains(&name) { kind.required } else { &[] };
            sinks.insert(name.to_string(), sink(&section, kind, kinds, required, findings));
        }
    }
    sinks
}

fn sink(section: &Section, kind: &SinkKind, kinds: &[SinkKind], required: &[&str], findings: &mut Findings) -> Sink {
    let has = |kind: &SinkKind, key: &str| kind.keys.iter().any(|known| known.name == key);
    let foreign = section.names().filter(|key| !has(kind, key) && kinds.iter().any(|kind| has(kind, key)));
    let foreign: Vec<&str> = foreign.collect();
    for key in &foreign {
        let owners = either(kinds.iter().filter(|kind| has(kind, key)).map(|kind| kind.name));
        findings.foreign(section, key, format!("is for kind {owners}; this sink is of kind {:?}", kind.name));
    }
    let own = Section { table: &section.without(&foreign), ..section.clone() };
    let values = findings.values(&own, kind.keys, &["kind"], required);
    if values.text("path") == Some("") {
        findings.wrong(section, "path", "expected a file, or a folder that ends with \"/\", found \"\"");
    }
    Sink { kind: kind.name.to_string(), values }
}

/// Two sinks on one path would write over each other, and one on what is read would never end.
pub fn check_paths(
    section: &Section,
    sinks: &BTreeMap<String, Sink>,
    sources: &BTreeMap<String, Source>,
    findings: &mut Findings,
) {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    let mut on_stdout = None;
    for name in section.names() {
        let Some(sink) = sinks.get(name) else { continue };
        if sink.kind == STDOUT.name
            && let Some(other) = on_stdout.replace(name)
        {
            let message = format!("sinks.{other} writes to standard output too: their lines are mixed there");
            findings.doubtful(section, &format!("{name}.kind"), message);
        }
        let Some(path) = sink.values.text("path").filter(|path| !path.is_empty()) else { continue };
        let key = format!("{name}.path");
        match taken.get(&plain(path)) {
            Some(other) => findings.wrong(section, &key, format!("{} is also the path of sinks.{other}", shown(path))),
            None => drop(taken.insert(plain(path), name)),
        }
        for (source, read) in sources.iter().filter_map(|(name, source)| Some((name, source.values.text("path")?))) {
            if plain(read) == plain(path) || glob::Pattern::new(&plain(read)).is_ok_and(|read| read.matches(&plain(path))) {
                findings.wrong(section, &key, format!("{} is also read by sources.{source} ({})", shown(path), shown(read)));
            }
        }
    }
}

/// A path without what does not change where it leads.
fn plain(path: &str) -> String {
    let root = if path.starts_with('/') { "/" } else { "" };
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("{root}{}", parts.join("/"))
}

/// Reads `[archive]`; `None`: it cannot be used, and that has been said.
pub fn archive(section: &Section, findings: &mut Findings) -> Option<Archive> {
    let values = findings.values(section, ARCHIVE, &[], &["url"]);
    let kinds = values.list("kinds");
    for kind in kinds.iter().filter(|kind| !ARCHIVED.contains(&kind.as_str())) {
        let message = format!("expected {}, found {}{}", one_of(ARCHIVED), shown(kind), did_you_mean(kind, ARCHIVED));
        findings.wrong(section, "kinds", message);
    }
    if kinds.is_empty() {
        findings.doubtful(section, "kinds", "is empty: nothing is archived");
    }
    let folder = match folder(values.text("url")?) {
        Ok(folder) => folder,
        Err(message) => {
            findings.wrong(section, "url", message);
            return None;
        }
    };
    let has = |name: &str| kinds.iter().any(|kind| kind == name);
    Some(Archive {
        folder,
        readings: has("readings"),
        stats: has("stats"),
        anomalies: has("anomalies"),
        max_size: values.size("max_size").unwrap_or(128_000_000),
        max_age: values.duration("max_age").unwrap_or(300_000),
        memory: values.size("memory").unwrap_or(64 << 20) as usize,
    })
}

/// The folder of an archive's URL.
fn folder(url: &str) -> Result<PathBuf, String> {
    let expected = "expected \"file:///absolute/folder\" or the path of a folder";
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.is_empty() { Err(format!("{expected}, found \"\"")) } else { Ok(PathBuf::from(url)) };
    };
    match scheme {
        "file" if rest.starts_with('/') => Ok(PathBuf::from(rest)),
        "file" => Err(format!("{expected}, found {}: the path after file:// must be absolute", shown(url))),
        "s3" => Err(format!("this build has no S3 yet; {expected}")),
        _ => Err(format!("{expected}, found {}", shown(url))),
    }
}
