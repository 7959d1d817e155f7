//! `[sources.NAME.fields]`: which fields of a record are the meter, the time, the status and the channels.

use crate::config::check::{Findings, Section};
use crate::config::values::shown;
use crate::model::reading::MAX_CHANNELS;
use crate::settings::{Key, Kind, Values};

/// Longest name of a channel, bytes.
const MAX_NAME: usize = 64;
/// What a reading in a result line has besides its channels.
const RESERVED: [&str; 3] = ["meter_id", "timestamp", "status"];

/// Its keys.
pub const KEYS: &[Key] = &[
    Key {
        name: "meter",
        kind: Kind::List,
        default: Some("[\"meter_id\", \"meterId\"]"),
        doc: "The field with the meter's id; of several names the first that a record has is taken, here and below.",
    },
    Key {
        name: "time",
        kind: Kind::List,
        default: Some("[\"timestamp\"]"),
        doc: "The field with the event time: a number, or RFC 3339 text.",
    },
    Key {
        name: "status",
        kind: Kind::List,
        default: Some("[\"status\"]"),
        doc: "The field with the status text; an empty list: there is none.",
    },
    Key {
        name: "channels",
        kind: Kind::Names,
        default: Some("[\"voltage\", \"current\", \"temperature\"]"),
        doc: "The measured channels, at most 8: names that are also those of their fields,\n\
              or a table: voltage = [\"voltage\", \"u\"].",
    },
];

/// Reads the table. Channels that are given badly are absent, so that nothing is judged by channels that were not meant.
pub fn read(section: &Section, findings: &mut Findings) -> Values {
    let mut values = findings.values(section, KEYS, &[], &[]);
    for name in ["meter", "time"] {
        if values.list(name).is_empty() {
            findings.wrong(section, name, "expected at least one field, found an empty list");
        }
    }
    if ["meter", "time", "status", "channels"].iter().all(|key| findings.sure(section, key)) {
        check_roles(section, &values, findings);
    }
    match findings.sure(section, "channels") {
        true => check_channels(section, &values, findings),
        false => drop(values.keys.remove("channels")),
    }
    values
}

fn check_channels(section: &Section, values: &Values, findings: &mut Findings) {
    let channels = values.names("channels");
    if !(1..=MAX_CHANNELS).contains(&channels.len()) {
        let message = format!("expected 1 to {MAX_CHANNELS} channels, found {}", channels.len());
        findings.wrong(section, "channels", message);
    }
    for (index, (name, _)) in channels.iter().enumerate() {
        if channels[..index].iter().any(|(earlier, _)| earlier == name) {
            findings.wrong(section, "channels", format!("the channel {} is there twice", shown(name)));
        }
        if RESERVED.contains(&name.as_str()) {
            let message = format!(
                "no channel can be called {name:?}: results use that name; name it otherwise, such as volts = [{name:?}]"
            );
            findings.wrong(section, "channels", message);
        }
        if name.len() > MAX_NAME || name.chars().any(char::is_control) {
            let message =
                format!("a channel's name has at most {MAX_NAME} bytes and no control characters, found {}", shown(name));
            findings.wrong(section, "channels", message);
        }
    }
}

/// A field that is two things at once is a mistake in the list.
fn check_roles(section: &Section, values: &Values, findings: &mut Findings) {
    let lists = ["meter", "time", "status"].map(|role| (role, values.list(role)));
    let channels = values.names("channels");
    // A channel that is there twice has been reported.
    let first = |index: usize| channels[..index].iter().all(|(name, _)| *name != channels[index].0);
    let channels = (0..channels.len()).filter(|index| first(*index)).map(|index| ("channels", channels[index].1.as_slice()));
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (role, fields) in lists.into_iter().chain(channels) {
        for field in fields {
            match seen.iter().find(|(known, _)| known == field) {
                Some((_, earlier)) => {
                    let place =
                        if *earlier == role { "twice here".into() } else { format!("also in {:?}", section.key(earlier)) };
                    findings.wrong(section, role, format!("the field {} is {place}", shown(field)));
                }
                None => seen.push((field, role)),
            }
        }
    }
}
