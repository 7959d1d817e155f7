//! Whole configurations: what is right gives the values that were said, what is wrong all its problems, word for word.

mod broken;
mod printed;

use super::*;
use crate::settings::{Key, Value};
use proptest::prelude::*;

const SCHEMA: Schema = Schema {
    source_kinds: sources::KINDS,
    sink_kinds: outputs::KINDS,
    detectors: crate::detectors::ALL,
    sources: &["readings"],
    needed: &["readings"],
    sinks: &["anomalies", "stats", "late", "dead_letters"],
};

fn load_all(file: &str, variables: &[(&str, &str)], sets: &[&str]) -> Loaded {
    let variables: Vec<(String, String)> = variables.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    load(&SCHEMA, &Given { file: Some(("m.toml", file)), variables: &variables, sets: &sets })
}

#[track_caller]
fn right(file: &str, variables: &[(&str, &str)], sets: &[&str]) -> Settings {
    let loaded = load_all(file, variables, sets);
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    loaded.settings.unwrap_or_else(|| panic!("{problems:#?}"))
}

fn lines(problems: &[ConfigProblem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

const EXAMPLE: &str = r#"
[sources.readings]
kind = "file"
path = "data/*.jsonl.gz"
format = "json"
out_of_orderness = "30s"
future_limit = "off"
max_jump = "1d"
duplicates = "keep"
time_unit = "ms"
# time_zone = "Europe/Paris"
max_record = "1MiB"

[sources.readings.fields]
meter = ["meter_id", "meterId"]
time = ["timestamp"]
status = ["status"]
channels = ["voltage", "current", "temperature"]

[windows]
kind = "sliding"
size = "1m"
slide = "10s"
# gap = "5m"
allowed_lateness = "0s"

[detectors.moving_average]
channels = ["voltage", "current", "temperature"]
baseline = "last 60"
min_count = 10
threshold = 2.5

[detectors.limits]
voltage = { low = 207.0, high = 253.0 }

[detectors.status]
failure = ["FAILURE"]

[sinks.anomalies]
kind = "file"
path = "out/anomalies.jsonl"

[archive]
url = "file:///var/lib/meterflow/archive"
kinds = ["readings", "stats", "anomalies"]
"#;

#[test]
fn the_example_is_what_defaults_are() {
    let file = "sources.readings.path='data/*.jsonl.gz'\n[detectors]\nstatus={}\nlimits={}\nmoving_average={}\n[sinks]\n\
                anomalies.path='out/anomalies.jsonl'\n[archive]\nurl='/var/lib/meterflow/archive'";
    let mut defaults = right(file, &[], &[]);
    let all = ["voltage", "current", "temperature"].map(String::from).to_vec();
    defaults.detectors[0].1.keys.insert("channels".into(), Value::List(all));
    let example = load_all(EXAMPLE, &[], &[]);
    assert_eq!(format!("{:?}", example.settings), format!("{:?}", Some(defaults)));
    assert_eq!(lines(&example.warnings), Vec::<String>::new());
}

#[test]
fn values_arrive_as_they_were_said() {
    let settings = right(
        r#"
        [sources.readings]
        path = "-"
        format = "csv"
        out_of_orderness = "250ms"
        future_limit = "1h"
        max_jump = "off"
        duplicates = "drop"
        time_unit = "s"
        time_zone = "Europe/Paris"
        max_record = 4096
        [sources.readings.fields]
        meter = ["id"]
        status = []
        [sources.readings.fields.channels]
        volts = ["u", "voltage"]
        amps = ["i"]
        [windows]
        kind = "session"
        gap = "7m"
        allowed_lateness = "1m"
        [detectors.limits.amps]
        high = 60
        [sinks.stats]
        kind = "stdout"
        [sinks.late]
        path = "out/late/"
        [archive]
        url = "file:///a"
        kinds = ["stats"]
        max_size = "1MB"
        max_age = "30s"
        [engine]
        block_size = "64KiB"
        tick_size = 100
        max_ticks_in_flight = 1
        "#,
        &[],
        &[],
    );
    let source = &settings.sources["readings"];
    assert_eq!((source.kind.as_str(), source.values.text("path")), ("file", Some("-")));
    assert_eq!((source.out_of_orderness, source.future_limit, source.max_jump), (250, Some(3_600_000), None));
    assert!(source.drop_duplicates);
    let format = &source.format;
    assert_eq!((format.kind, format.time_unit_ms, format.max_record), (crate::codec::FormatKind::Csv, 1_000, 4_096));
    assert_eq!(
        (&format.meter[..], &format.status[..], &format.time[..]),
        (&["id".into()][..], &[][..], &["timestamp".into()][..])
    );
    assert_eq!(format.time_zone.as_deref(), Some("Europe/Paris"));
    let channels = [("volts", vec!["u", "voltage"]), ("amps", vec!["i"])];
    let channels = channels.map(|(name, fields)| (name.to_string(), fields.into_iter().map(String::from).collect()));
    assert_eq!(format.channels, channels);
    assert_eq!(settings.windows, WindowSpec { kind: WindowKind::Session { gap: 420_000 }, allowed_lateness: 60_000 });
    assert_eq!(settings.detectors.len(), 1);
    assert_eq!(settings.detectors[0].1.channels["amps"].float("high"), Some(60.0));
    assert_eq!(settings.detectors[0].1.channels["amps"].float("low"), None);
    assert_eq!(
        (settings.sinks["stats"].kind.as_str(), settings.sinks["late"].values.text("path")),
        ("stdout", Some("out/late/"))
    );
    let archive = Archive {
        folder: "/a".into(),
        readings: false,
        stats: true,
        anomalies: false,
        max_size: 1_000_000,
        max_age: 30_000,
        memory: 64 << 20,
    };
    assert_eq!(settings.archive, Some(archive));
    assert_eq!(
        settings.engine,
        Engine {
            block_size: Some(65_536),
            tick_size: 100,
            max_ticks_in_flight: 1,
            snapshot_interval: 5_000,
            stall_timeout: 60_000
        }
    );
}

#[test]
fn defaults_depend_on_the_kind_of_source() {
    let file = right("sources.readings.path = 'x'", &[], &[]);
    let simulated = right("sources.readings.kind = 'simulator'", &[], &[]);
    let limits = |settings: &Settings| (settings.sources["readings"].future_limit, settings.sources["readings"].max_jump);
    assert_eq!(limits(&file), (None, Some(86_400_000)));
    assert_eq!(limits(&simulated), (None, Some(86_400_000)));
    assert_eq!(simulated.sources["readings"].values.integer("meters"), Some(1_000));
    assert_eq!(file.engine.block_size, None);
    assert!(file.detectors.is_empty() && file.sinks.is_empty() && file.archive.is_none());
}

/// Slide as it is with each set of layers.
#[test]
fn later_layers_win() {
    let file = "sources.readings.path = 'x'\n[windows]\nslide = '20s'";
    let (variable, flag) = (("METERFLOW_WINDOWS__SLIDE", "15s"), "windows.slide=12s");
    let later = ("meterflow_Windows__slide", "30s");
    let slide = |file: &str, variables: &[(&str, &str)], sets: &[&str]| match right(file, variables, sets).windows.kind {
        WindowKind::Sliding { slide, .. } => slide / 1_000,
        kind => panic!("{kind:?}"),
    };
    assert_eq!(slide("sources.readings.path = 'x'", &[], &[]), 10);
    assert_eq!(slide(file, &[], &[]), 20);
    assert_eq!(slide(file, &[variable], &[]), 15);
    assert_eq!(slide(file, &[later], &[]), 30);
    assert_eq!(slide(file, &[variable], &[flag]), 12);
    assert_eq!(slide(file, &[], &[flag, "windows.slide=\"6s\""]), 6);
    assert_eq!(slide("sources.readings.path = 'x'", &[variable], &[]), 15);
    // Without a file; a whole table; a key of a table that is there already in another case.
    let sets = ["sources.readings.path=x".to_string(), "windows={ size = '2m', slide = '40s' }".to_string()];
    let loaded = load(&SCHEMA, &Given { file: None, variables: &[], sets: &sets });
    let windows = loaded.settings.unwrap().windows;
    assert_eq!(windows.kind, WindowKind::Sliding { size: 120_000, slide: 40_000 });
}

#[test]
fn variables_and_flags_need_no_quotes() {
    let file = "sources.readings.path = 'x'\nsources.readings.fields.channels.Volts = ['v']\n[detectors.limits]\nVolts = { low = 1 }";
    let variables = [
        ("METERFLOW_SOURCES__READINGS__PATH", "[ab]*.jsonl"),
        ("METERFLOW_SOURCES__READINGS__FIELDS__METER", "id, meter"),
        ("METERFLOW_DETECTORS__LIMITS__VOLTS__HIGH", "7"),
        ("METERFLOW_ENGINE__MAX_TICKS_IN_FLIGHT", "9"),
        ("METERFLOW_ENGINE__BLOCK_SIZE", "123"),
        ("METERFLOW_PORT", "tcp://10.0.0.1:9000"),
        ("PATH", "/bin"),
    ];
    let sets = [
        "sources.readings.fields.channels.\"a.b=c\"=x,y",
        "detectors.moving_average.channels=[\"Volts\"]",
        "detectors.moving_average.threshold=3",
        "detectors.status={}",
        "detectors.moving_average.baseline=all",
    ];
    let settings = right(file, &variables, &sets);
    let source = &settings.sources["readings"];
    assert_eq!(source.values.text("path"), Some("[ab]*.jsonl"));
    assert_eq!(source.format.meter, ["id", "meter"]);
    let channels = [("Volts", vec!["v"]), ("a.b=c", vec!["x", "y"])];
    let channels = channels.map(|(name, fields)| (name.to_string(), fields.into_iter().map(String::from).collect()));
    assert_eq!(source.format.channels, channels);
    assert_eq!((settings.engine.max_ticks_in_flight, settings.engine.block_size), (9, Some(123)));
    let names: Vec<&str> = settings.detectors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["moving_average", "limits", "status"]);
    assert_eq!(settings.detectors[0].1.list("channels"), ["Volts"]);
    assert_eq!(settings.detectors[0].1.float("threshold"), Some(3.0));
    let limits = &settings.detectors[1].1.channels["Volts"];
    assert_eq!((limits.float("low"), limits.float("high")), (Some(1.0), Some(7.0)));
}

#[test]
fn variables_and_flags_are_places_too() {
    let variables = [
        ("METERFLOW_WINDOWS__SLDE", "5s"),
        ("METERFLOW_WINDOWS__SIZE", "5"),
        ("METERFLOW_WINDOWS__", "5"),
        ("METERFLOW_ENGINE__TICK_SIZE", "x"),
        ("METERFLOW_ENGINE_TICK_SIZE", "1"),
        ("METERFLOW_HOME", "/opt"),
        ("METERFLOW_METERS__X", "1"),
    ];
    let sets = [
        "windows.gap=\"1x\"",
        "x",
        "=3",
        "a..b=3",
        "sinks.late.kind=stdou",
        "detectors.limits.voltage.low=abc",
        "archive.kinds=reading,stats",
    ];
    let loaded = load_all("sources.readings.path = 'x'\narchive.url = 'a'", &variables, &sets);
    let expected = [
        "METERFLOW_ENGINE__TICK_SIZE: engine.tick_size: expected a size from 1B to 1TiB, such as \"4MiB\", found \"x\"",
        "METERFLOW_METERS__X: meters: unknown table; known here: sources, windows, detectors, sinks, archive, engine",
        "METERFLOW_WINDOWS__: is no setting: expected names between the underscores, such as METERFLOW_WINDOWS__SLIDE",
        "METERFLOW_WINDOWS__SIZE: windows.size: expected a duration from 1ms to 366d with its unit (ms, s, m, h, d), such as \"30s\", found \"5\"",
        "METERFLOW_WINDOWS__SLDE: windows.slde: unknown key; did you mean \"slide\"?",
        "--set: expected a key and its value, such as windows.slide=10s, found \"=3\"",
        "--set: expected a key and its value, such as windows.slide=10s, found \"a..b=3\"",
        "--set: expected a key and its value, such as windows.slide=10s, found \"x\"",
        "--set: archive.kinds: expected one of \"readings\", \"stats\", \"anomalies\", found \"reading\"; did you mean \"readings\"?",
        "--set: detectors.limits.voltage.low: expected a finite number, found \"abc\"",
        "--set: sinks.late.kind: expected one of \"file\", \"stdout\", found \"stdou\"; did you mean \"stdout\"?",
        "--set: windows.gap: expected a duration from 1ms to 366d with its unit (ms, s, m, h, d), such as \"30s\", found \"1x\"",
        "--set: windows.gap: is for session windows; these are sliding windows: remove it, or change kind",
    ];
    assert_eq!(lines(&loaded.problems), expected);
    let warning = "METERFLOW_ENGINE_TICK_SIZE: is no setting: two underscores stand between levels, such as METERFLOW_ENGINE__TICK_SIZE";
    assert_eq!(lines(&loaded.warnings), [warning]);
}

/// A file for sliding windows can be run with others: what the later layer has no use for is only a warning.
#[test]
fn a_later_kind_leaves_earlier_keys_unused() {
    let file = "sources.readings.path = 'x'\n[windows]\nsize = '1m'\nslide = '10s'";
    let loaded = load_all(file, &[], &["windows.kind=tumbling"]);
    let expected = "m.toml:4:9: windows.slide: is for sliding windows; these are tumbling windows, so it is not used";
    assert_eq!(lines(&loaded.warnings), [expected]);
    assert_eq!(loaded.settings.unwrap().windows.kind, WindowKind::Tumbling { size: 60_000 });
}

#[test]
fn changes_name_what_is_different() {
    let changes = |sets: &[&str]| digest::changes(&right(EXAMPLE, &[], &[]), &right(EXAMPLE, &[], sets));
    assert_eq!(changes(&[]), Vec::<String>::new());
    let table: [(&[&str], &str); 5] = [
        (&["detectors.moving_average.threshold=3.5"], "detector moving_average: threshold 2.5 -> threshold 3.5"),
        (&["windows.size=2m"], "windows: 1m every 10s -> 2m every 10s"),
        (&["sinks.late={kind=\"stdout\"}"], "sink late: new: stdout"),
        (&["engine.tick_size=1MiB"], "engine"),
        (&["sources.readings.max_record=2MiB"], "other settings"),
    ];
    for (sets, change) in table {
        assert_eq!(changes(sets), [change], "{sets:?}");
    }
}
