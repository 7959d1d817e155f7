//! The whole engine, in this process, over generated input: the number of workers, a restart after every tick and the
//! size of blocks and ticks change nothing, and what comes out is what a naive recomputation finds.

mod archived;
mod input;
mod naive;

use crate::support::{Folder, anomaly, json, lines, run};
use archived::archived;
use input::{Case, Layout, Window, cases};
use meterflow::runtime::Outcome;
use naive::{Place, Statistics, wanted};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a run wrote and counted.
struct Run {
    anomalies: Vec<Value>,
    stats: Vec<Value>,
    late: Vec<Value>,
    dead: Vec<Value>,
    /// The lines themselves, of all sinks, by what keeps their order: meter, or partition for dead letters.
    in_order: BTreeMap<(&'static str, String), Vec<String>>,
    archived: BTreeMap<String, Vec<String>>,
    outcome: Outcome,
}

/// Runs the main job with blocks and ticks of so many bytes.
fn run_case(case: &Case, folder: &Folder, threads: usize, check_state: bool, (block, tick): (u64, u64)) -> Run {
    let out = format!("out-{threads}-{check_state}-{block}-{tick}");
    let outcome = run(anomaly::ANOMALY, &case.config(folder, &out, block, tick), threads, check_state);
    let mut in_order: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
    let mut read = |sink: &'static str, lines: Vec<String>, keys: &[&str]| {
        let values: Vec<Value> = lines.iter().map(|line| json(line)).collect();
        for (line, value) in lines.into_iter().zip(&values) {
            let key = keys.iter().fold(value, |value, key| &value[*key]);
            in_order.entry((sink, key.to_string())).or_default().push(line);
        }
        values
    };
    let path = |name: &str| folder.at(&format!("{out}/{name}"));
    let parts = (0..threads).flat_map(|worker| lines(path(&format!("stats/part-{worker:05}.jsonl")))).collect();
    Run {
        anomalies: read("anomalies", lines(path("anomalies.jsonl")), &["meter"]),
        stats: read("stats", parts, &["meter"]),
        late: read("late", lines(path("late.jsonl")), &["reading", "meter_id"]),
        dead: read("dead letters", lines(path("dead_letters.jsonl")), &["partition"]),
        in_order,
        archived: archived(Path::new(&path("archive"))),
        outcome,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn integer(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no whole number"))
}

fn place(line: &Value) -> Place {
    (text(&line["partition"]), integer(&line["offset"]) as u64)
}

impl Run {
    /// The windows with their highest revision, less those that were taken back; as lines without the revision.
    fn truth(&self) -> BTreeMap<(String, String, i64), Value> {
        let mut highest: BTreeMap<_, &Value> = BTreeMap::new();
        for line in &self.stats {
            let key = (text(&line["meter"]), text(&line["channel"]), integer(&line["window_start"]));
            let known = highest.insert(key, line);
            let is_next = known.is_none_or(|known| integer(&known["revision"]) < integer(&line["revision"]));
            assert!(is_next, "revisions of a window do not rise: {known:?}, then {line}");
        }
        let standing = highest.into_iter().filter(|(_, line)| line["count"] != 0);
        standing
            .map(|(key, line)| {
                let mut line = line.clone();
                line["revision"] = Value::Null;
                (key, line)
            })
            .collect()
    }

    /// The lines of everything but windows, sorted.
    fn sorted(&self) -> Vec<&String> {
        let others = self.in_order.iter().filter(|((sink, _), _)| *sink != "stats");
        let mut lines: Vec<_> = others.flat_map(|(_, lines)| lines).collect();
        lines.sort();
        lines
    }

    /// read = used + late + duplicate + dead, and every count is that of the lines.
    fn check_counts(&self, read: u64) {
        let counts = &self.outcome.counts;
        let source = &counts.sources["readings"];
        assert_eq!(source.read, read);
        assert_eq!(source.read, source.used() + source.late + source.duplicate + source.dead_total());
        assert_eq!((source.late, source.dead_total()), (self.late.len() as u64, self.dead.len() as u64));
        assert_eq!(counts.anomalies.values().sum::<u64>(), self.anomalies.len() as u64);
        let revisions = self.stats.iter().filter(|line| line["revision"] != 0).count();
        assert_eq!((counts.windows, counts.revisions), (self.stats.len() as u64, revisions as u64));
        let rows = |kind: &str| self.archived.get(kind).map_or(0, Vec::len);
        let archived = ["kind=readings", "kind=stats", "kind=anomalies"].map(rows);
        assert_eq!(archived, [source.used() as usize, self.stats.len(), self.anomalies.len()]);
        assert_eq!(counts.archive[1], archived.iter().sum::<usize>() as u64);
        let ids: BTreeSet<String> = self.anomalies.iter().map(|line| text(&line["id"])).collect();
        assert_eq!(ids.len(), self.anomalies.len(), "two anomalies have the same id");
    }

    /// What a meter's lines say is in the order in which it was read, where it stands in one file.
    fn check_order(&self, case: &Case) {
        for ((sink, whose), lines) in &self.in_order {
            let values = lines.iter().map(|line| json(line));
            let keys: Vec<i64> = match *sink {
                "stats" if case.allowed_lateness > 0 => continue,
                "stats" => values.map(|line| integer(&line["window_end"])).collect(),
                _ => values.map(|line| integer(&line["offset"])).collect(),
            };
            assert!(keys.is_sorted(), "{sink} of {whose} are out of order: {keys:?}");
        }
    }

    fn check_against_naive(&self, case: &Case) {
        let wanted = wanted(case, &case.files());
        let source = &self.outcome.counts.sources["readings"];
        self.check_counts(wanted.read);
        assert_eq!((source.used(), source.duplicate), (wanted.used, wanted.duplicate));
        assert_eq!(self.dead.iter().map(place).collect::<BTreeSet<_>>(), wanted.dead);
        let late = self.late.iter().map(|line| (place(line), (integer(&line["watermark"]), integer(&line["lateness_ms"]))));
        assert_eq!(late.collect::<BTreeMap<_, _>>(), wanted.late);
        if case.allowed_lateness == 0 {
            assert!(self.stats.iter().all(|line| line["revision"] == 0), "a window was published twice");
        }
        self.check_windows(&wanted.windows);
        self.check_anomalies(&wanted);
    }

    fn check_windows(&self, wanted: &BTreeMap<(String, String, i64, i64), Statistics>) {
        let truth = self.truth();
        let key = |((meter, channel, start), line): (&(String, String, i64), &Value)| {
            (meter.clone(), channel.clone(), *start, integer(&line["window_end"]))
        };
        let found: BTreeSet<_> = truth.iter().map(key).collect();
        assert_eq!(found, wanted.keys().cloned().collect());
        for ((meter, channel, start, _), wanted) in wanted {
            let line = &truth[&(meter.clone(), channel.clone(), *start)];
            let [mean, stddev, min, max, first, last] =
                ["mean", "stddev", "min", "max", "first", "last"].map(|name| number(&line[name]));
            let exact = Statistics { count: integer(&line["count"]) as u64, min, max, first, last, ..wanted.clone() };
            assert_eq!(&exact, wanted, "{line}");
            assert!(is_close(mean, wanted.mean, wanted.max.abs()), "{line}, mean {}", wanted.mean);
            assert!(is_close(stddev, wanted.stddev, wanted.max.abs()), "{line}, stddev {}", wanted.stddev);
        }
    }

    fn check_anomalies(&self, wanted: &naive::Wanted) {
        let mut found = BTreeSet::new();
        for line in &self.anomalies {
            let channel = line["channel"].as_str().map(str::to_owned);
            let late = line["late"].as_bool().expect("late is true or false");
            let key = (place(line), text(&line["kind"]), channel, text(&line["meter"]), integer(&line["time"]), late);
            let numbers = wanted.anomalies.get(&key).unwrap_or_else(|| panic!("not an anomaly: {line}"));
            let close = |name: &str, value: Option<f64>| match value {
                Some(value) => is_close(number(&line[name]), value, value.abs().max(1.0)),
                None => line[name].is_null(),
            };
            assert_eq!(line["observed"].as_f64(), numbers.observed, "{line}");
            assert!(close("expected", numbers.expected), "{line}: {numbers:?}");
            let deviation = numbers.observed.zip(numbers.expected).map(|(observed, expected)| observed - expected);
            assert!(close("deviation", deviation) && close("threshold", Some(numbers.threshold)), "{line}: {numbers:?}");
            assert!(is_close(number(&line["score"]), numbers.score, numbers.score), "{line}: {numbers:?}");
            let severity = severity(&text(&line["kind"]), &text(&line["detector"]), numbers.score);
            assert!(severity.is_none_or(|severity| line["severity"] == severity), "{line}: not {severity:?}");
            found.insert(key);
        }
        assert_eq!(found.len(), self.anomalies.len());
        let missed = wanted.anomalies.iter().find(|(key, numbers)| numbers.is_certain && !found.contains(*key));
        assert!(missed.is_none(), "missed {missed:?}");
    }
}

/// Equal up to rounding in numbers of this size.
fn is_close(a: f64, b: f64, size: f64) -> bool {
    (a - b).abs() <= 1e-9 * size.max(1e-9)
}

/// The severity of an anomaly, unless rounding decides it.
fn severity(kind: &str, detector: &str, score: f64) -> Option<&'static str> {
    match (kind, detector) {
        ("equipment_failure", _) => Some("CRITICAL"),
        (_, "limits") => Some("ERROR"),
        _ if [4.0, 8.0].iter().any(|limit| is_close(score, *limit, *limit)) => None,
        _ if score < 4.0 => Some("WARNING"),
        _ if score < 8.0 => Some("ERROR"),
        _ => Some("CRITICAL"),
    }
}

/// So many cases, unless `PROPTEST_CASES` asks for others.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { cases };
    ProptestConfig { cases, max_shrink_iters: 300, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn workers_and_restored_state_change_nothing(
        case in cases(&[Layout::Alone, Layout::Grouped, Layout::Daily, Layout::Spread], 120)
    ) {
        let folder = Folder::new("engine-workers");
        case.write(&folder);
        let sizes = (256, 1024);
        let one = run_case(&case, &folder, 1, false, sizes);
        one.check_counts(case.files().iter().map(|file| file.records.len() as u64).sum());
        for (threads, check_state) in [(2, false), (3, false), (2, true)] {
            let other = run_case(&case, &folder, threads, check_state, sizes);
            prop_assert_eq!(&other.in_order, &one.in_order, "{} threads, check_state {}", threads, check_state);
            prop_assert_eq!(&other.archived, &one.archived);
            let counts = |run: &Run| (run.outcome.counts.sources.clone(), run.outcome.counts.windows, run.outcome.counts.revisions);
            prop_assert_eq!(counts(&other), counts(&one));
        }
    }

    #[test]
    fn blocks_change_nothing_and_a_naive_recomputation_agrees(case in cases(&[Layout::Alone, Layout::Grouped], 120)) {
        let folder = Folder::new("engine-blocks");
        case.write(&folder);
        let mut first: Option<Run> = None;
        for (threads, sizes) in [(1, (4 << 20, 4 << 20)), (2, (1, 2_000)), (1, (64, 64)), (2, (64, 4 << 10)), (2, (4 << 10, 1))] {
            let run = run_case(&case, &folder, threads, false, sizes);
            run.check_against_naive(&case);
            run.check_order(&case);
            let first = first.get_or_insert_with(|| run_case(&case, &folder, threads, false, sizes));
            prop_assert_eq!(run.sorted(), first.sorted(), "{:?}", sizes);
            prop_assert_eq!(run.truth(), first.truth(), "{:?}", sizes);
        }
    }
}

/// A tick for every byte, with all state restored after each.
#[test]
fn a_byte_a_tick() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = cases(&[Layout::Grouped], 7);
    for _ in 0..2 {
        let case = strategy.new_tree(&mut runner).expect("a case").current();
        let folder = Folder::new("engine-bytes");
        case.write(&folder);
        let run = run_case(&case, &folder, 2, true, (1, 1));
        run.check_against_naive(&case);
        run.check_order(&case);
    }
}

/// The generated cases are worth something: all that can happen to a reading does.
#[test]
fn everything_happens_in_the_generated_cases() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = cases(&[Layout::Alone, Layout::Grouped], 120);
    let (mut late, mut duplicate, mut dead, mut sessions) = (0, 0, 0, 0);
    let mut kinds: BTreeMap<(String, bool), usize> = BTreeMap::new();
    for _ in 0..64 {
        let case = strategy.new_tree(&mut runner).expect("a case").current();
        let wanted = wanted(&case, &case.files());
        late += wanted.late.len();
        duplicate += wanted.duplicate;
        dead += wanted.dead.len();
        sessions += if matches!(case.window, Window::Session { .. }) { wanted.windows.len() } else { 0 };
        wanted.anomalies.into_keys().for_each(|(_, kind, _, _, _, late)| *kinds.entry((kind, late)).or_default() += 1);
    }
    assert!(late > 100 && duplicate > 100 && dead > 100 && sessions > 100, "{late} {duplicate} {dead} {sessions}");
    assert!(kinds.len() == 10 && kinds.values().all(|count| *count > 10), "{kinds:?}");
}
