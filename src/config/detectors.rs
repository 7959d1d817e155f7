//! `[detectors.NAME]`: what judges the readings. A detector runs when its table is there.

use crate::config::check::{Findings, Section, default};
use crate::config::tree::{Node, Table, Tree, parse_value};
use crate::config::values::did_you_mean;
use crate::detectors::{Context, Spec};
use crate::error::Place;
use crate::settings::{Kind, Values};

/// What an empty table of a detector with sub-tables by channel stands for, as far as the sources have the channels:
/// detector, channel, and the values as TOML.
pub const DEFAULT_CHANNELS: &[(&str, &str, &str)] = &[("limits", "voltage", "{ low = 207.0, high = 253.0 }")];

/// Reads `[detectors]`; the order is that of `specs`. Without channels in `context` (they could not be read) nothing is said
/// of channels.
pub fn read(section: &Section, specs: &[&Spec], context: &Context, findings: &mut Findings) -> Vec<(String, Values)> {
    let known: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
    findings.unknown(section, &known);
    let mut detectors = Vec::new();
    for spec in specs {
        if let Some(section) = findings.section(section, spec.name) {
            detectors.push((spec.name.to_string(), detector(&section, spec, context, findings)));
        }
    }
    detectors
}

fn detector(section: &Section, spec: &Spec, context: &Context, findings: &mut Findings) -> Values {
    let before = findings.problems.len();
    let default = default_channels(spec, context);
    let filled = Section { table: &default, ..section.clone() };
    let section = if section.table.0.is_empty() { &filled } else { section };

    let own = |name: &str| spec.keys.iter().any(|key| key.name == name);
    let per_channel: Vec<&str> = match spec.per_channel {
        [] => Vec::new(),
        _ => section.names().filter(|name| !own(name)).collect(),
    };
    let mut values = findings.values(section, spec.keys, &per_channel, &[]);
    for name in &per_channel {
        if !check_channel(section, name, spec, context.channels, findings) {
            continue;
        }
        if let Some(section) = findings.section(section, name) {
            values.channels.insert(name.to_string(), findings.values(&section, spec.per_channel, &[], &[]));
        }
    }
    check_lists(section, spec, &mut values, context.channels, findings);
    if !context.channels.is_empty() {
        check(section, spec, values.clone(), context, findings);
    }
    if findings.problems.len() == before {
        for problem in (spec.warnings)(&values) {
            findings.doubtful(section, &problem.key, problem.message);
        }
    }
    values
}

/// What the detector itself objects to. It names one key at a time; with that out of the way it is asked again.
fn check(section: &Section, spec: &Spec, mut values: Values, context: &Context, findings: &mut Findings) {
    for _ in 0..=spec.keys.len() + values.channels.len() {
        let Err(problem) = (spec.build)(&values, context) else { return };
        let name = problem.key.split('.').next().unwrap_or_default();
        if findings.sure(section, name) {
            findings.wrong(section, &problem.key, problem.message);
        }
        values.channels.remove(name);
        values.keys.remove(name);
        if let Some(key) = spec.keys.iter().find(|key| key.name == name)
            && let Some(value) = default(key)
        {
            values.keys.insert(name.to_string(), value);
        }
    }
}

fn default_channels(spec: &Spec, context: &Context) -> Table {
    let mut table = Table::default();
    for (_, channel, values) in DEFAULT_CHANNELS.iter().filter(|(detector, ..)| *detector == spec.name) {
        if let Some(tree) =
            parse_value(&Place::Nowhere, values).filter(|_| context.channels.iter().any(|name| name == channel))
        {
            table.0.push((channel.to_string(), Node { key: Place::Nowhere, place: Place::Nowhere, tree }));
        }
    }
    table
}

/// Whether the sources have the channel of a sub-table; a misspelt key of the detector's own is told apart.
fn check_channel(section: &Section, name: &str, spec: &Spec, channels: &[String], findings: &mut Findings) -> bool {
    if channels.is_empty() || channels.iter().any(|channel| channel == name) {
        return true;
    }
    let table = matches!(section.table.get(name).map(|node| &node.tree), Some(Tree::Table(_)));
    let keys = spec.keys.iter().map(|key| key.name).filter(|_| !table);
    let near = did_you_mean(name, channels.iter().map(String::as_str).chain(keys));
    let place = section.table.get(name).map_or(section.place.clone(), |node| node.key.clone());
    findings.problem(place, section.key(name), format!("no source has a channel {name:?}{}", or_known(near, channels)));
    false
}

/// Takes out channels that a list of the detector names, but no source has.
fn check_lists(section: &Section, spec: &Spec, values: &mut Values, channels: &[String], findings: &mut Findings) {
    if channels.is_empty() {
        return;
    }
    for key in spec.keys.iter().filter(|key| matches!(key.kind, Kind::Channels)) {
        for name in values.list(key.name).iter().filter(|name| !channels.contains(name)) {
            let near = did_you_mean(name, channels.iter().map(String::as_str));
            let message = format!("no source has a channel {name:?}{}", or_known(near, channels));
            findings.wrong(section, key.name, message);
        }
        if values.list(key.name).iter().any(|name| !channels.contains(name)) {
            values.keys.remove(key.name);
        }
    }
}

fn or_known(near: String, channels: &[String]) -> String {
    if near.is_empty() { format!("; there are: {}", channels.join(", ")) } else { near }
}
