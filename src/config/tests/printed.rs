//! The printed configuration is the defaults, complete, and valid also where it is commented out.

use super::*;
use crate::config::check::default;
use crate::config::print::print;

fn all_keys() -> Vec<(String, Key)> {
    let mut all: Vec<(String, Key)> = Vec::new();
    let mut add = |table: &str, keys: &[Key]| all.extend(keys.iter().map(|key| (table.to_string(), *key)));
    SCHEMA
        .source_kinds
        .iter()
        .filter(|kind| kind.absent.is_none())
        .for_each(|kind| add("sources.readings", &sources::keys_of(kind)));
    add("sources.readings.fields", fields::KEYS);
    add("windows", crate::windows::settings::KEYS);
    for spec in SCHEMA.detectors {
        add(&format!("detectors.{}", spec.name), spec.keys);
        add(&format!("detectors.{}.voltage", spec.name), spec.per_channel);
    }
    SCHEMA.sink_kinds.iter().for_each(|kind| add("sinks.anomalies", kind.keys));
    add("archive", outputs::ARCHIVE);
    add("engine", engine::KEYS);
    all
}

#[test]
fn every_default_is_a_value_of_its_key() {
    for (table, key) in all_keys() {
        assert_eq!(default(&key).is_some(), key.default.is_some(), "{table}.{}", key.name);
        assert!(!key.doc.is_empty(), "{table}.{} has no words", key.name);
    }
}

#[test]
fn printed_is_the_default() {
    let minimal = "sources.readings.path = 'data/*.jsonl.gz'\nsinks.anomalies.path = 'out/anomalies.jsonl'\n\
                   detectors = { moving_average = {}, limits = {}, status = {} }";
    let printed = load_all(&print(&SCHEMA), &[], &[]);
    assert_eq!(lines(&printed.problems), Vec::<String>::new());
    assert_eq!(lines(&printed.warnings), Vec::<String>::new());
    assert_eq!(format!("{:?}", printed.settings.unwrap()), format!("{:?}", right(minimal, &[], &[])));
}

#[test]
fn printed_is_complete() {
    let printed = print(&SCHEMA);
    assert!(printed.lines().all(|line| line.chars().count() <= 125), "{printed}");
    let mut table = String::new();
    let mut seen = Vec::new();
    for line in printed.lines() {
        let line = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
        match (line.strip_prefix('['), line.split_once(" = ")) {
            (Some(name), _) => table = name.trim_end_matches(']').to_string(),
            (None, Some((key, _))) if !key.contains(' ') => seen.push(format!("{table}.{key}")),
            _ => {}
        }
    }
    for (table, key) in all_keys() {
        let shown = match table.strip_suffix(".voltage") {
            Some(table) => seen.contains(&format!("{table}.voltage")) && printed.contains(&format!("# {}: ", key.name)),
            None => seen.contains(&format!("{table}.{}", key.name)),
        };
        assert!(shown, "{table}.{} is not printed", key.name);
    }
}

/// What is commented out can be said: with all of it in force, nothing is wrong but what contradicts the kinds.
#[test]
fn what_is_commented_out_can_be_said() {
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => rest.to_string(),
        _ => line.to_string(),
    };
    let all: String = print(&SCHEMA).lines().map(|line| uncomment(line) + "\n").collect();
    let loaded = load_all(&all, &[], &[]);
    let said: Vec<String> = loaded.problems.iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect();
    let foreign = sources::SIMULATOR.keys.iter().map(|key| format!("sources.readings.{}", key.name));
    let mut expected: Vec<String> =
        foreign.map(|key| format!("{key}: is for kind \"simulator\"; this source is of kind \"file\"")).collect();
    expected.push("windows.gap: is for session windows; these are sliding windows: remove it, or change kind".to_string());
    assert_eq!(said, expected);
}

#[test]
fn the_digest_names_what_runs() {
    let digest = digest::digest(&right(EXAMPLE, &[], &[]));
    let expected = "\
source readings: file data/*.jsonl.gz, json, channels voltage, current, temperature, out of orderness 30s, future limit off, max jump 1d, duplicates kept
windows: sliding, 1m every 10s, allowed lateness 0s
detector moving_average: baseline last 60, channels voltage current temperature, critical_score 8, error_score 4, min_count 10, stddev_floor 0, stddev_floor_relative 0.001, threshold 2.5
detector limits: voltage (high 253, low 207)
detector status: failure FAILURE
sink anomalies: file out/anomalies.jsonl
archive: readings, stats, anomalies in /var/lib/meterflow/archive, files of 128MB or 5m
";
    assert_eq!(digest, expected);
    let bare = digest::digest(&right("sources.readings.path = 'x'\nwindows.kind = 'session'", &[], &[]));
    assert!(bare.contains("windows: session, gap 5m"), "{bare}");
    assert!(bare.ends_with("no sink and no archive: nothing is written\n"), "{bare}");
}

proptest! {
    /// A key that is one edit away from a known one is reported with a key that is as near.
    #[test]
    fn a_misspelt_key_is_told_what_it_should_be(pick: prop::sample::Index, at: prop::sample::Index, edit in 0..4, letter in "[a-z_]") {
        let keys: Vec<(String, Key)> = all_keys().into_iter().filter(|(_, key)| key.name.len() > 2).collect();
        let (table, key) = pick.get(&keys);
        prop_assume!(!table.ends_with(".voltage"));
        let mut name: Vec<char> = key.name.chars().collect();
        let index = at.index(name.len() - 1);
        match edit {
            0 => drop(name.remove(index)),
            1 => name.insert(index, letter.chars().next().unwrap()),
            2 => name.swap(index, index + 1),
            _ => name[index] = letter.chars().next().unwrap(),
        }
        let name: String = name.into_iter().collect();
        let known: Vec<&str> = all_keys().iter().filter(|(other, _)| other == table).map(|(_, key)| key.name).collect();
        prop_assume!(!known.contains(&name.as_str()) && name != "kind");
        let simulated = sources::SIMULATOR.keys.iter().any(|own| own.name == key.name);
        let kind = if simulated { "sources.readings.kind=simulator" } else { "sources.readings.kind=file" };
        let loaded = load_all("", &[], &[kind, &format!("{table}.{name}=1")]);
        let full = format!("{table}.{name}");
        let problem = loaded.problems.iter().find(|problem| problem.key == full);
        let message = &problem.expect("it is reported").message;
        let meant = message.split('"').nth(1).unwrap_or("");
        prop_assert!(message.starts_with("unknown key; did you mean"), "{full}: {message}");
        prop_assert!(nearest::distance(meant, &name) <= 1, "{full}: {message}");
    }

    /// Any text is read to its end; it runs or has problems, each with a place in it.
    #[test]
    fn any_text_is_read(edits in prop::collection::vec((any::<prop::sample::Index>(), 0..20usize, "[\\[\\]{}=\"'#,.\n a-z0-9é]{0,4}"), 0..6)) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (at, gone, new) in edits {
            let start = at.index(text.len());
            let end = (start + gone).min(text.len() - 1);
            text.splice(start..end, new.chars());
        }
        let text: String = text.into_iter().collect();
        let loaded = load_all(&text, &[], &[]);
        prop_assert_eq!(loaded.settings.is_some(), loaded.problems.is_empty());
        for problem in loaded.problems.iter().chain(&loaded.warnings) {
            if let Place::File { line, column, .. } = problem.place {
                let found = text.split('\n').nth(line - 1);
                prop_assert!(found.is_some_and(|found| column <= found.chars().count() + 1), "{}", problem);
            }
        }
    }
}
