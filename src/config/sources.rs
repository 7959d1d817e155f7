//! `[sources.NAME]`: where readings come from, how records are read, and what is late.

use crate::codec::{Format, FormatKind};
use crate::config::Schema;
use crate::config::check::{Findings, Section};
use crate::config::fields;
use crate::config::tree::{Table, Tree};
use crate::config::values::{did_you_mean, either, shown};
use crate::error::Place;
use crate::settings::{Key, Kind, Values};
use std::collections::BTreeMap;

/// Longest duration that a setting takes: ten years.
pub const LONGEST: i64 = 3_660 * 86_400_000;

/// A kind of source; a connector brings its own.
#[derive(Clone, Copy)]
pub struct SourceKind {
    /// What `kind` says.
    pub name: &'static str,
    /// What it reads, in a few words.
    pub about: &'static str,
    /// Its own keys, besides those of every source.
    pub keys: &'static [Key],
    /// Those of its keys that must be given.
    pub required: &'static [&'static str],
    /// Whether the syntax of its records can be set ([`RECORDS`]).
    pub records: bool,
    /// Its defaults for keys of every source, where they differ.
    pub defaults: &'static [(&'static str, &'static str)],
    /// Why this build cannot read it, if it cannot.
    pub absent: Option<&'static str>,
}

/// Files, globs and standard input.
pub const FILE: SourceKind = SourceKind {
    name: "file",
    about: "files or standard input",
    keys: &[Key {
        name: "path",
        kind: Kind::Text,
        default: None,
        doc: "A file, a glob such as \"data/*.jsonl.gz\", or \"-\" for standard input.\n\
              Gzip and zstd are recognised by content. Every file is a partition.",
    }],
    required: &["path"],
    records: true,
    defaults: &[],
    absent: None,
};

/// Kafka topics.
pub const KAFKA: SourceKind = SourceKind {
    name: "kafka",
    about: "Kafka topics",
    keys: &[],
    required: &[],
    records: true,
    defaults: &[("future_limit", "\"1h\""), ("max_jump", "\"off\"")],
    absent: Some("this build has no Kafka yet"),
};

/// A simulated fleet, which delivers its lines as if they were read.
pub const SIMULATOR: SourceKind = SourceKind {
    name: "simulator",
    about: "a simulated fleet of meters",
    keys: crate::simulator::KEYS,
    required: &[],
    records: false,
    defaults: &[],
    absent: None,
};

/// Every kind of source; a connector adds its own here. The first is the default.
pub const KINDS: &[SourceKind] = &[FILE, KAFKA, SIMULATOR];

/// Keys of every source, besides `kind`.
pub const COMMON: &[Key] = &[
    Key {
        name: "out_of_orderness",
        kind: Kind::Duration(0, LONGEST),
        default: Some("\"30s\""),
        doc: "How far in event time a reading may come behind the newest one of its partition without being late.",
    },
    Key {
        name: "future_limit",
        kind: Kind::DurationOrOff(1, LONGEST),
        default: Some("\"off\""),
        doc: "A reading that is more than this ahead of its Kafka timestamp (files: of the start of the run) is a dead letter.\n\
              The default is \"off\"; for Kafka it is \"1h\".",
    },
    Key {
        name: "max_jump",
        kind: Kind::DurationOrOff(1, LONGEST),
        default: Some("\"1d\""),
        doc: "A reading that is more than this ahead of the newest one does not move event time until 16 in a row say the same,\n\
              so that one flipped digit does not make all that follows late. The default is \"1d\"; for Kafka it is \"off\".",
    },
    Key {
        name: "duplicates",
        kind: Kind::Choice(&["keep", "drop"]),
        default: Some("\"keep\""),
        doc: "Whether a reading of the same meter, time and set of channels as an earlier one counts.",
    },
];

/// How records are read, for kinds whose records are somebody else's.
pub const RECORDS: &[Key] = &[
    Key {
        name: "format",
        kind: Kind::Choice(&["json", "csv"]),
        default: Some("\"json\""),
        doc: "One JSON object a line, or CSV (RFC 4180, a record a line; the first row names the fields).",
    },
    Key {
        name: "time_unit",
        kind: Kind::Choice(&["ms", "s"]),
        default: Some("\"ms\""),
        doc: "The unit of times that are numbers: milliseconds or seconds since 1970-01-01 UTC.",
    },
    Key {
        name: "time_zone",
        kind: Kind::Text,
        default: None,
        doc: "The IANA zone of times that are text without an offset; such records are dead letters unless it is set.",
    },
    Key {
        name: "max_record",
        kind: Kind::Size(16, 1 << 30),
        default: Some("\"1MiB\""),
        doc: "A longer record is a dead letter; it is skipped without being held in memory.",
    },
];

/// A source as it is set.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name of its [`SourceKind`].
    pub kind: String,
    /// The keys of that kind.
    pub values: Values,
    /// How its records are read.
    pub format: Format,
    /// How far behind the newest a reading may come, ms.
    pub out_of_orderness: i64,
    /// How far ahead of its arrival a reading may be, ms; `None`: any.
    pub future_limit: Option<i64>,
    /// How far one reading may move event time, ms; `None`: any.
    pub max_jump: Option<i64>,
    /// Whether duplicates are dropped.
    pub drop_duplicates: bool,
}

/// Reads `[sources]` of the whole configuration.
pub fn read(root: &Section, schema: &Schema, findings: &mut Findings) -> BTreeMap<String, Source> {
    let section = findings.section(root, "sources");
    let (mut sources, mut meant) = (BTreeMap::new(), Vec::new());
    if let Some(section) = &section {
        if !schema.sources.is_empty() {
            meant = findings.unknown(section, schema.sources);
        }
        for (name, section) in findings.sections(section) {
            let known = schema.sources.is_empty() || schema.sources.contains(&name);
            sources.insert(name.to_string(), source(&section, schema.source_kinds, known, findings));
        }
    }
    let missed = !findings.lost && findings.sure(root, "sources");
    for name in schema.needed.iter().filter(|name| missed && !meant.contains(name)) {
        if section.as_ref().is_none_or(|section| !section.has(name)) {
            let place = section.as_ref().map_or(Place::Nowhere, |section| section.place.clone());
            let message =
                format!("missing; add a table [sources.{name}] with what is read, such as path = \"data/*.jsonl\"");
            findings.problem(place, format!("sources.{name}"), message);
        }
    }
    sources
}

/// Reads a source; when it has no kind, that has been said. A source that is not `known` is not asked for what it lacks.
fn source(section: &Section, kinds: &[SourceKind], known: bool, findings: &mut Findings) -> Source {
    let nothing = Table::default();
    let fields = findings.section(section, "fields");
    let fields = fields.unwrap_or(Section { path: section.key("fields"), place: section.place.clone(), table: &nothing });
    let fields = fields::read(&fields, findings);

    let named = findings.kind(section, kinds.iter().map(|kind| (kind.name, kind.absent)));
    let kind = kinds.iter().find(|kind| Some(kind.name) == named);
    // Without a kind everything is checked that could be said of any; of a kind that this build lacks, keys are not known.
    let keys = kind.map_or_else(|| keys_of_all(kinds), keys_of);
    let mut foreign = foreign_keys(kinds, &keys);
    if let Some(kind) = kind {
        for name in foreign.iter().filter(|name| section.has(name)) {
            let owners = kinds.iter().filter(|other| other.absent.is_none());
            let owners = owners.filter(|other| keys_of(other).iter().any(|key| key.name == *name));
            let owners = either(owners.map(|other| other.name));
            findings.foreign(section, name, format!("is for kind {owners}; this source is of kind {:?}", kind.name));
        }
    }
    let said = section.table.get("kind").map(|node| &node.tree);
    if kinds.iter().any(|kind| kind.absent.is_some() && said == Some(&Tree::Text(kind.name.to_string()))) {
        foreign.extend(section.names().filter(|name| !keys.iter().any(|key| key.name == *name)));
    }
    let required = kind.filter(|_| known).map_or(&[][..], |kind| kind.required);
    let own_section = Section { table: &section.without(&foreign), ..section.clone() };
    let values = findings.values(&own_section, &keys, &["kind", "fields"], required);
    check_zone(section, &values, findings);
    if named == Some(FILE.name) {
        check_pattern(section, &values, findings);
    }
    if named == Some(SIMULATOR.name) {
        check_fleet(section, &values, findings);
    }
    Source {
        kind: named.unwrap_or_default().to_string(),
        format: format(&values, &fields),
        out_of_orderness: values.duration("out_of_orderness").unwrap_or(0),
        future_limit: values.duration("future_limit"),
        max_jump: values.duration("max_jump"),
        drop_duplicates: values.text("duplicates") == Some("drop"),
        values: own(values, kind.map_or(&[][..], |kind| kind.keys)),
    }
}

/// All keys of a source of this kind except `kind` and the table `fields`, with its defaults.
pub fn keys_of(kind: &SourceKind) -> Vec<Key> {
    let default = |key: &Key| kind.defaults.iter().find(|(name, _)| *name == key.name).map(|(_, default)| *default);
    let common = COMMON.iter().map(|key| Key { default: default(key).or(key.default), ..*key });
    let records = if kind.records { RECORDS } else { &[] };
    kind.keys.iter().copied().chain(common).chain(records.iter().copied()).collect()
}

fn keys_of_all(kinds: &[SourceKind]) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for key in kinds.iter().flat_map(keys_of) {
        if !keys.iter().any(|known| known.name == key.name) {
            keys.push(key);
        }
    }
    keys
}

/// Names that other kinds have and that are not among `keys`.
fn foreign_keys<'a>(kinds: &[SourceKind], keys: &[Key]) -> Vec<&'a str> {
    let all = keys_of_all(kinds).into_iter().map(|key| key.name);
    all.filter(|name| !keys.iter().any(|key| key.name == *name)).collect()
}

/// Of `values` only those of `keys`.
fn own(values: Values, keys: &[Key]) -> Values {
    let keys = values.keys.into_iter().filter(|(name, _)| keys.iter().any(|key| key.name == name)).collect();
    Values { keys, channels: values.channels }
}

fn format(values: &Values, fields: &Values) -> Format {
    Format {
        kind: if values.text("format") == Some("csv") { FormatKind::Csv } else { FormatKind::Json },
        meter: fields.list("meter").to_vec(),
        time: fields.list("time").to_vec(),
        status: fields.list("status").to_vec(),
        channels: fields.names("channels").to_vec(),
        time_unit_ms: if values.text("time_unit") == Some("s") { 1_000 } else { 1 },
        time_zone: values.text("time_zone").map(str::to_string),
        max_record: values.size("max_record").unwrap_or(1 << 20) as usize,
    }
}

fn check_zone(section: &Section, values: &Values, findings: &mut Findings) {
    let Some(zone) = values.text("time_zone") else { return };
    if jiff::tz::TimeZone::get(zone).is_err() {
        let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let near = did_you_mean(zone, known.iter().map(String::as_str));
        let message = format!("expected an IANA time zone such as \"Europe/Paris\", found {}{near}", shown(zone));
        findings.wrong(section, "time_zone", message);
    }
}

fn check_pattern(section: &Section, values: &Values, findings: &mut Findings) {
    let Some(path) = values.text("path") else { return };
    if path.is_empty() {
        findings.wrong(section, "path", "expected a file, a glob or \"-\" for standard input, found \"\"");
    } else if let Err(error) = glob::Pattern::new(path) {
        let message = format!("{} is no valid glob: {} (at character {})", shown(path), error.msg, error.pos + 1);
        findings.wrong(section, "path", message);
    }
}

fn check_fleet(section: &Section, values: &Values, findings: &mut Findings) {
    if let Err(problem) = crate::simulator::from_values(values)
        && findings.sure(section, &problem.key)
    {
        findings.wrong(section, &problem.key, problem.message);
    }
}
