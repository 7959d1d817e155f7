//! The complete configuration with its defaults, as a commented file; made from the keys, so that it cannot lag behind.

use crate::config::sources::{SourceKind, keys_of};
use crate::config::values::expected;
use crate::config::{Schema, detectors, engine, fields, outputs};
use crate::settings::{Key, Kind, format_duration, format_size};
use crate::windows;
use std::fmt::Write;

const HEAD: &str = "\
# The complete configuration of meterflow, with its defaults.
#
# Durations are text: \"250ms\", \"30s\", \"5m\", \"1h\", \"1d\". Sizes too: \"64KiB\", \"128MB\", or a number of bytes.
# Later wins: defaults, this file, environment (METERFLOW_WINDOWS__SLIDE=10s), --set windows.slide=10s.
# `meterflow check --config FILE` finds everything that is wrong with a file in one go.
# What stands behind a \"#\" without a blank can be said too: it is off, or has no value, or is of another kind.
";

/// What a key that has no default is shown with, by the end of its full name.
const EXAMPLES: &[(&str, &str)] = &[
    ("path", "\"data/*.jsonl.gz\""),
    ("time_zone", "\"Europe/Paris\""),
    ("archive.url", "\"file:///var/lib/meterflow/archive\""),
    ("moving_average.channels", "[\"voltage\", \"current\", \"temperature\"]"),
];

/// The file. It names the first kinds of sources and sinks, and has all detectors.
pub fn print(schema: &Schema) -> String {
    let mut out = HEAD.to_string();
    source(&mut out, schema, schema.sources.first().unwrap_or(&"readings"));
    head(&mut out, "windows", "Event-time windows by meter and channel.", "");
    for key in windows::settings::KEYS {
        // A key of another kind of windows than the default would be a mistake.
        show(&mut out, "windows", key, if key.name == "gap" { "#" } else { "" });
    }
    for spec in schema.detectors {
        let path = format!("detectors.{}", spec.name);
        head(&mut out, &path, &format!("{}\n# Without this table it does not run.", spec.about), "");
        spec.keys.iter().for_each(|key| show(&mut out, &path, key, ""));
        for (_, channel, values) in detectors::DEFAULT_CHANNELS.iter().filter(|(name, ..)| *name == spec.name) {
            out.push_str("# By channel:\n");
            spec.per_channel.iter().for_each(|key| comment(&mut out, &format!("{}: {}", key.name, key.doc), &key.kind));
            let _ = writeln!(out, "{channel} = {values}");
        }
    }
    sinks(&mut out, schema);
    head(&mut out, "archive", "Results and readings as Parquet. Without this table nothing is archived.", "#");
    outputs::ARCHIVE.iter().for_each(|key| show(&mut out, "archive", key, "#"));
    head(&mut out, "engine", "Performance.", "");
    engine::KEYS.iter().for_each(|key| show(&mut out, "engine", key, ""));
    out
}

fn source(out: &mut String, schema: &Schema, name: &str) {
    let path = format!("sources.{name}");
    head(out, &path, "Where readings come from.", "");
    let here = |kind: &&SourceKind| kind.absent.is_none();
    let kinds: Vec<String> =
        schema.source_kinds.iter().filter(here).map(|kind| format!("{} ({})", kind.name, kind.about)).collect();
    let _ = writeln!(out, "# What it is: {}.", kinds.join(", "));
    let Some(first) = schema.source_kinds.first() else { return };
    let _ = writeln!(out, "kind = {:?}", first.name);
    keys_of(first).iter().for_each(|key| show(out, &path, key, ""));
    for kind in schema.source_kinds[1..].iter().filter(here) {
        let _ = writeln!(out, "# With kind = {:?} ({}) also these:", kind.name, kind.about);
        let known = keys_of(first);
        let own = kind.keys.iter().filter(|key| !known.iter().any(|known| known.name == key.name));
        own.for_each(|key| show(out, &path, key, "#"));
    }
    let path = format!("{path}.fields");
    head(out, &path, "Which fields a record has.", "");
    fields::KEYS.iter().for_each(|key| show(out, &path, key, ""));
}

fn sinks(out: &mut String, schema: &Schema) {
    let here = |kind: &&outputs::SinkKind| kind.absent.is_none();
    let kinds: Vec<String> =
        schema.sink_kinds.iter().filter(here).map(|kind| format!("{} ({})", kind.name, kind.about)).collect();
    for (index, name) in schema.sinks.iter().enumerate() {
        let (path, off) = (format!("sinks.{name}"), if index == 0 { "" } else { "#" });
        head(out, &path, &format!("Where lines of \"{name}\" go. Without this table they are not written."), off);
        let Some(first) = schema.sink_kinds.first() else { return };
        let _ = writeln!(out, "# What it is: {}.\n{off}kind = {:?}", kinds.join(", "), first.name);
        for key in first.keys.iter().filter(|key| key.name == "path") {
            comment(out, key.doc, &key.kind);
            let _ = writeln!(out, "{off}path = \"out/{name}.jsonl\"");
        }
        first.keys.iter().filter(|key| key.name != "path").for_each(|key| show(out, &path, key, off));
    }
}

fn head(out: &mut String, path: &str, about: &str, off: &str) {
    let _ = write!(out, "\n# {about}\n{off}[{path}]\n");
}

/// A key with its comment; `off` comes before it when it is not in force.
fn show(out: &mut String, path: &str, key: &Key, off: &str) {
    comment(out, key.doc, &key.kind);
    let full = format!("{path}.{}", key.name);
    let example = EXAMPLES.iter().find(|(name, _)| full.ends_with(name)).map(|(_, example)| *example);
    let (value, absent) = match (key.default, example) {
        (Some(value), _) => (value, false),
        // What must be given cannot be left out of a file that runs.
        (None, Some(value)) => (value, !full.ends_with("path") && !full.ends_with("url")),
        (None, None) => ("\"\"", true),
    };
    let off = if absent { "#" } else { off };
    let _ = writeln!(out, "{off}{} = {value}", key.name);
}

fn comment(out: &mut String, doc: &str, kind: &Kind) {
    for line in doc.lines() {
        let _ = writeln!(out, "# {line}");
    }
    let duration = |low, high| format!("a duration, {} to {}", format_duration(low), format_duration(high));
    let size = |low, high| format!("a size, {} to {}", format_size(low), format_size(high));
    let range = match *kind {
        Kind::Duration(low, high) => duration(low, high),
        Kind::DurationOrOff(low, high) => duration(low, high) + ", or \"off\"",
        Kind::Size(low, high) => size(low, high),
        Kind::SizeOrAuto(low, high) => size(low, high) + ", or \"auto\"",
        // Texts and lists speak for themselves.
        Kind::Text | Kind::List | Kind::Channels | Kind::Names => return,
        Kind::Bool | Kind::Choice(_) | Kind::Integer(..) | Kind::Float(..) => expected(kind),
    };
    let _ = writeln!(out, "# ({range})");
}
