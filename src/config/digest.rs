//! What a configuration comes to, in a few lines for a person.

use crate::codec::FormatKind;
use crate::config::{Settings, Sink, Source, WindowKind};
use crate::settings::{Value, Values, format_duration, format_size};
use std::fmt::Write;

/// One line for each source, for windows, detectors, sinks and the archive.
pub fn digest(settings: &Settings) -> String {
    let mut out = String::new();
    for (name, source) in &settings.sources {
        let _ = writeln!(out, "source {name}: {}", of_source(source));
    }
    let lateness = format_duration(settings.windows.allowed_lateness);
    let windows = match settings.windows.kind {
        WindowKind::Tumbling { size } => format!("tumbling, {}", format_duration(size)),
        WindowKind::Sliding { size, slide } => {
            format!("sliding, {} every {}", format_duration(size), format_duration(slide))
        }
        WindowKind::Session { gap } => format!("session, gap {}", format_duration(gap)),
    };
    let _ = writeln!(out, "windows: {windows}, allowed lateness {lateness}");
    for (name, values) in &settings.detectors {
        let _ = writeln!(out, "detector {name}: {}", of_values(values));
    }
    for (name, sink) in &settings.sinks {
        let _ = writeln!(out, "sink {name}: {}", of_sink(sink));
    }
    if let Some(archive) = &settings.archive {
        let kinds = [("readings", archive.readings), ("stats", archive.stats), ("anomalies", archive.anomalies)];
        let kinds: Vec<&str> = kinds.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let (size, age) = (format_size(archive.max_size), format_duration(archive.max_age));
        let _ = writeln!(out, "archive: {} in {}, files of {size} or {age}", kinds.join(", "), archive.folder.display());
    }
    if settings.sinks.is_empty() && settings.archive.is_none() {
        let _ = writeln!(out, "no sink and no archive: nothing is written");
    }
    out
}

/// What is different between two configurations, by the lines of [`digest`]: `windows: 1m -> 5m`.
pub fn changes(before: &Settings, now: &Settings) -> Vec<String> {
    let [was, is] = [before, now].map(digest);
    let parse = |text: &str| -> Vec<(String, String)> {
        text.lines().filter_map(|line| line.split_once(": ")).map(|(name, of)| (name.to_owned(), of.to_owned())).collect()
    };
    let (was, is) = (parse(&was), parse(&is));
    let of =
        |lines: &[(String, String)], name: &str| lines.iter().find(|(other, _)| other == name).map(|(_, of)| of.clone());
    let mut changes = Vec::new();
    for (name, old) in &was {
        match of(&is, name) {
            None => changes.push(format!("{name}: not there any more")),
            Some(new) if new != *old => {
                let without = |from: &str, other: &str| {
                    let parts: Vec<&str> =
                        from.split(", ").filter(|part| !other.split(", ").any(|of| of == *part)).collect();
                    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
                };
                changes.push(format!("{name}: {} -> {}", without(old, &new), without(&new, old)));
            }
            Some(_) => {}
        }
    }
    let added = is.iter().filter(|(name, _)| of(&was, name).is_none());
    changes.extend(added.map(|(name, new)| format!("{name}: new: {new}")));
    if before.engine != now.engine {
        changes.push("engine".to_owned());
    }
    if changes.is_empty() && format!("{before:?}") != format!("{now:?}") {
        changes.push("other settings".to_owned());
    }
    changes
}

fn of_source(source: &Source) -> String {
    let or_off = |limit: Option<i64>| limit.map_or("off".to_string(), format_duration);
    let channels: Vec<&str> = source.format.channels.iter().map(|(name, _)| name.as_str()).collect();
    let what = match source.values.text("path") {
        Some(path) => format!("{} {path}", source.kind),
        None => source.kind.clone(),
    };
    format!(
        "{what}, {}, channels {}, out of orderness {}, future limit {}, max jump {}, duplicates {}",
        if source.format.kind == FormatKind::Csv { "csv" } else { "json" },
        channels.join(", "),
        format_duration(source.out_of_orderness),
        or_off(source.future_limit),
        or_off(source.max_jump),
        if source.drop_duplicates { "dropped" } else { "kept" },
    )
}

fn of_sink(sink: &Sink) -> String {
    sink.values.text("path").map_or(sink.kind.clone(), |path| format!("{} {path}", sink.kind))
}

fn of_values(values: &Values) -> String {
    let own = values.keys.iter().map(|(name, value)| format!("{name} {}", of_value(value)));
    let channels = values.channels.iter().map(|(name, values)| format!("{name} ({})", of_values(values)));
    own.chain(channels).collect::<Vec<_>>().join(", ")
}

fn of_value(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Duration(ms) => format_duration(*ms),
        Value::Off => "off".to_string(),
        Value::Size(bytes) => format_size(*bytes),
        Value::Auto => "auto".to_string(),
        Value::List(list) => list.join(" "),
        Value::Names(names) => names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" "),
    }
}
