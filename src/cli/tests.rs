//! Command lines: what they are parsed to, what is printed, and what the program exits with.

use super::args::{ClusterArgs, StateArgs, parse};
use super::*;
use crate::model::job::Delivery;
use std::cell::RefCell;

const READINGS: Dataflow = Dataflow {
    name: "anomaly",
    about: "anomalies of every reading",
    sources: &["readings"],
    sinks: &["anomalies", "stats"],
    build: |_| Ok(()),
};
const STATS: Dataflow = Dataflow { name: "stats", about: "window statistics", sinks: &["stats", "late"], ..READINGS };
const FEEDERS: Dataflow = Dataflow { name: "feeders", about: "feeders", sources: &["readings", "feeders"], ..STATS };

fn words(line: &str) -> Vec<OsString> {
    ["meterflow"].into_iter().chain(line.split(' ').filter(|word| !word.is_empty())).map(OsString::from).collect()
}

/// Exit code, standard output, standard error, and what was run.
struct Said {
    code: u8,
    out: String,
    err: String,
    done: Vec<String>,
}

fn say(line: &str) -> Said {
    say_with(line, &[])
}

fn say_with(line: &str, variables: &[(&str, &str)]) -> Said {
    let done = RefCell::new(Vec::new());
    let run = |run: Run| {
        let path = run.settings.sources["readings"].values.text("path").unwrap_or_default().to_string();
        let arguments: Vec<String> = run.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let cluster = &run.cluster;
        let shape = format!("{} x {}, this is {:?}", cluster.processes(), cluster.threads, cluster.index);
        done.borrow_mut().push(format!("{}: {path}: {shape}: {}", run.dataflow, arguments.join(" ")));
        if path == "broken" { Err(Error::input(path, "no such file")) } else { Ok(if path == "killed" { 101 } else { 0 }) }
    };
    let simulate = |args: &SimulateArgs| {
        done.borrow_mut().push(format!("{:?} {:?} {:?}", args.rate, args.out, args.truth));
        Ok(())
    };
    let demo = |args: &DemoArgs| {
        done.borrow_mut().push(format!("{args:?}"));
        Ok(())
    };
    let program = Program { dataflows: &[READINGS, STATS, FEEDERS], run: &run, simulate: &simulate, demo: &demo };
    let variables: Vec<(String, String)> = variables.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = execute(&program, &words(line), &variables, 6, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code, out: text(out), err: text(err), done: done.into_inner() }
}

fn file(name: &str, text: &str) -> String {
    let path = std::env::temp_dir().join(format!("meterflow-cli-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn flags_are_parsed() {
    let run = parse(words("run anomaly --config f.toml -w 3 -n 2 -p 1 -h hosts --set a.b=1 --set c.d=e=f --summary s"), &[]);
    let config = ConfigArgs { config: Some("f.toml".into()), sets: vec!["a.b=1".into(), "c.d=e=f".into()] };
    let cluster = ClusterArgs { threads: Some(3), processes: Some(2), process: Some(1), hostfile: Some("hosts".into()) };
    let expected = RunArgs { dataflow: "anomaly".into(), config, cluster, state: nothing_kept(), summary: Some("s".into()) };
    assert_eq!(run.unwrap(), Command::Run(expected));

    let (config, cluster) = (ConfigArgs::default(), ClusterArgs::default());
    let bare = RunArgs { dataflow: "stats".into(), config, cluster, state: nothing_kept(), summary: None };
    assert_eq!(parse(words("run stats"), &[]).unwrap(), Command::Run(bare));
    let long = parse(words("run x --threads 3 --processes 2 --process 1 --hostfile hosts"), &[]).unwrap();
    assert!(
        matches!(long, Command::Run(run) if run.cluster.hostfile == Some("hosts".into()) && run.cluster.process == Some(1))
    );
    let config = ConfigArgs { config: Some("f".into()), sets: vec!["a=1".into()] };
    let check = CheckArgs { dataflow: None, config, state: Some("d".into()), dropped: Vec::new() };
    assert_eq!(parse(words("check --config f --set a=1 --state d"), &[]).unwrap(), Command::Check(check));
    assert_eq!(parse(words("list"), &[]).unwrap(), Command::List);
    assert_eq!(parse(words("config"), &[]).unwrap(), Command::Config);
    let demo = DemoArgs { threads: Some(2), out: "o".into() };
    assert_eq!(parse(words("demo -w 2 --out o"), &[]).unwrap(), Command::Demo(demo));
}

fn nothing_kept() -> StateArgs {
    let delivery = Delivery::ExactlyOnce;
    StateArgs { state: None, restarts: 10, restart_period: 600_000, delivery, dropped: Vec::new() }
}

#[test]
fn state_has_flags_of_its_own() {
    let line = "run x --state d --restarts 3 --restart-period 90s --delivery at-least-once --drop-state a --drop-state b";
    let Command::Run(run) = parse(words(line), &[]).unwrap() else { panic!("not run") };
    let dropped = vec!["a".to_owned(), "b".to_owned()];
    let delivery = Delivery::AtLeastOnce;
    let expected = StateArgs { state: Some("d".into()), restarts: 3, restart_period: 90_000, delivery, dropped };
    assert_eq!(run.state, expected);
    let Command::Run(run) = parse(words("run x --state d"), &[]).unwrap() else { panic!("not run") };
    assert_eq!(run.state, StateArgs { state: Some("d".into()), ..nothing_kept() });
    for (flags, part) in [
        ("--restarts 3", "--state"),
        ("--restart-period 1m", "--state"),
        ("--delivery exactly-once", "--state"),
        ("--drop-state a", "--state"),
        ("--state d --restarts many", "'many'"),
        ("--state d --restart-period 10", "such as 10m"),
        ("--state d --restart-period 0s", "such as 10m"),
        ("--state d --delivery twice", "exactly-once, at-least-once"),
        ("--state d --set sources.readings.path=-", "sources.readings reads standard input"),
    ] {
        let said = say(&format!("run anomaly {flags}"));
        assert!(said.code == 2 && said.err.contains(part), "{flags}: {}", said.err);
    }
    let check = say("check --set sources.readings.path=- --state d");
    assert!(
        check.code == 2 && check.out.contains("standard input") && check.out.ends_with("\n1 problem\n"),
        "{}",
        check.out
    );
    assert_eq!(say("check --set sources.readings.path=-").code, 0);
    assert_eq!(say("check --set sources.readings.path=x --state d").code, 0);
}

#[test]
fn the_simulators_keys_are_flags() {
    let line = "simulate --meters 7 --interval 1s --disorder-share 0.5 --faults spike=0.02,stuck=0.01 --seed 3 --out o --truth t --rate 9";
    let Command::Simulate(args) = parse(words(line), simulator::KEYS).unwrap() else { panic!("not simulate") };
    assert_eq!((args.rate, args.out, args.truth), (Some(9), "o".into(), Some("t".into())));
    assert_eq!(args.values.integer("meters"), Some(7));
    assert_eq!(args.values.duration("interval"), Some(1_000));
    assert_eq!(args.values.float("disorder_share"), Some(0.5));
    assert_eq!(args.values.text("faults"), Some("spike=0.02,stuck=0.01"));
    assert!(simulator::from_values(&args.values).is_ok_and(|settings| settings.meters == 7 && settings.seed == 3));
    // All others have their defaults.
    let Command::Simulate(args) = parse(words("simulate"), simulator::KEYS).unwrap() else { panic!("not simulate") };
    assert_eq!(simulator::from_values(&args.values), Ok(simulator::Settings::default()));
    for (line, message) in [
        ("--meters 0", "--meters: expected a whole number from 1 to 100000000, found the number 0\n"),
        ("--disorder-share x", "--disorder-share: expected a number from 0.0 to 1.0, found \"x\"\n"),
        (
            "--interval 5",
            "--interval: expected a duration from 1ms to 1h with its unit (ms, s, m, h, d), such as \"30s\", found \"5\"\n",
        ),
    ] {
        let said = say(&format!("simulate {line}"));
        assert_eq!((said.code, said.err.as_str(), said.done.len()), (2, message, 0));
    }
}

/// Every command explains every flag of its own; help is no error, and `-h` is not help.
#[test]
fn help_names_every_flag() {
    let table: [(&str, &[&str]); 12] = [
        ("", &["run", "list", "check", "config", "checkpoint", "simulate", "demo", "--version", "--help"]),
        (
            "run",
            &[
                "<DATAFLOW>",
                "--config",
                "-w",
                "-n",
                "-p",
                "-h",
                "--set",
                "--summary",
                "--state",
                "default: 10m",
                "default: all cores",
            ],
        ),
        ("check", &["[DATAFLOW]", "--config", "--set", "--state", "--drop-state", "--help"]),
        ("checkpoint", &["ls", "show", "verify", "log", "--help"]),
        ("checkpoint ls", &["<DIR>", "--help"]),
        ("checkpoint show", &["<DIR>", "[TICK]", "--help"]),
        ("checkpoint verify", &["<DIR>", "-w", "default: 1"]),
        ("checkpoint log", &["<DIR>", "--json"]),
        ("list", &["--help"]),
        ("config", &["--help"]),
        ("demo", &["-w", "--out", "meterflow-demo"]),
        ("simulate", &["--rate", "--out", "--truth", "default: 0.02"]),
    ];
    for (command, parts) in table {
        let said = say(&format!("{command} --help"));
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{command}");
        for part in parts {
            assert!(said.out.contains(part), "{command} --help says nothing of {part}:\n{}", said.out);
        }
        // One line for each flag.
        assert!(said.out.lines().all(|line| !line.trim_start().starts_with('-') || line.len() > 20), "{}", said.out);
    }
    let simulate = say("simulate --help").out;
    for key in simulator::KEYS {
        assert!(simulate.contains(&format!("--{} <VALUE>", key.name.replace('_', "-"))), "{}:\n{simulate}", key.name);
    }
    assert!(say("--version").out.starts_with("meterflow 0."));
    assert_eq!(say("-V").code, 0);
}

#[test]
fn wrong_usage_exits_with_2() {
    for (line, part) in [
        ("", "Usage"),
        ("-h", "-h"),
        ("rum", "run"),
        ("run", "<DATAFLOW>"),
        ("run anomaly -h", "HOSTFILE"),
        ("run anomaly -w 0", "1..="),
        ("run anomaly -w x", "--threads"),
        ("run anomaly -n 0", "1..="),
        ("run anomaly -p -1", "-1"),
        ("run anomaly --confg f", "--config"),
        ("run anomaly more", "more"),
        ("run anomly", "no dataflow \"anomly\"; did you mean \"anomaly\"?"),
        ("run xyz", "no dataflow \"xyz\"; there are: anomaly, stats, feeders"),
        ("check anomly", "did you mean \"anomaly\"?"),
        ("run anomaly -n 2 -p 2", "-p 2: of 2 processes (-n) the last one is 1"),
        ("run anomaly --config /nonexistent/f.toml", "/nonexistent/f.toml: the configuration cannot be read"),
        ("check --config /nonexistent/f.toml", "/nonexistent/f.toml: the configuration cannot be read"),
        ("run anomaly", "sources.readings: missing"),
        ("run anomaly --set sources.readings.path=x --set windows.slide=7s", "--set: windows.slide: "),
        ("simulate --rate 0", "1..="),
        ("demo extra", "extra"),
    ] {
        let said = say(line);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{line}: {}", said.err);
        assert!(said.err.contains(part), "{line}: {}", said.err);
        assert_eq!(said.done, Vec::<String>::new());
    }
}

#[test]
fn what_runs_is_what_was_said() {
    let path = "--set sources.readings.path=x";
    let run = |line: &str| {
        let said = say(line);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{line}");
        said.done.join("\n")
    };
    // A process that is started with these arguments must have as many threads as this one.
    assert_eq!(run(&format!("run anomaly {path}")), format!("0: x: 1 x 6, this is None: run anomaly {path} -w 6"));
    assert_eq!(run(&format!("run stats {path} -n 2")), format!("1: x: 2 x 3, this is None: run stats {path} -n 2 -w 3"));
    assert_eq!(run(&format!("run stats {path} -w 2")), format!("1: x: 1 x 2, this is None: run stats {path} -w 2"));
    assert_eq!(run("simulate --out -"), "None \"-\" None");
    assert!(run("demo").contains("meterflow-demo"));

    let said = say("run anomaly --set sources.readings.path=broken");
    assert_eq!((said.code, said.err.as_str()), (1, "broken: no such file\n"));
    assert_eq!(say("run anomaly --set sources.readings.path=killed").code, 101);
    let said = say_with("run anomaly -w 1", &[("METERFLOW_SOURCES__READINGS__PATH", "y"), ("METERFLOW_WINDOWS_GAP", "1s")]);
    assert_eq!(said.done, ["0: y: 1 x 1, this is None: run anomaly -w 1"]);
    assert!(said.err.starts_with("warning: METERFLOW_WINDOWS_GAP: is no setting"), "{}", said.err);
}

#[test]
fn list_names_the_dataflows() {
    let said = say("list");
    assert_eq!(said.out, "anomaly  anomalies of every reading\nstats    window statistics\nfeeders  feeders\n");
    assert_eq!(said.code, 0);
}

#[test]
fn check_finds_everything() {
    let path = file(
        "bad",
        "[sources.readings]\npath = 3\n[windows]\nslde = '5s'\n[sinks.stats]\nkind = 'stdout'\n[sinks.late]\nkind = 'stdout'\n",
    );
    let said = say(&format!("check --config {path} --set engine.tick_size=x"));
    let expected = "\
FILE:2:8: sources.readings.path: expected text in quotes, found the number 3
FILE:4:1: windows.slde: unknown key; did you mean \"slide\"?
--set: engine.tick_size: expected a size from 1B to 1TiB, such as \"4MiB\", found \"x\"
warning: FILE:8:8: sinks.late.kind: sinks.stats writes to standard output too: their lines are mixed there
3 problems
";
    assert_eq!(said.out.replace(&path, "FILE"), expected);
    assert_eq!((said.code, said.err.as_str()), (2, ""));
    // The same stop a run, where they are no result.
    let said = say(&format!("run stats --config {path} --set engine.tick_size=x"));
    assert!(said.err.contains("slde") && said.err.ends_with("configuration: 3 problems\n"), "{}", said.err);
    assert_eq!((said.code, said.out.as_str()), (2, ""));

    std::fs::write(&path, "sources.readings.path = 'in.jsonl'\nsinks.stats.path = 'out/'\n").unwrap();
    let said = say(&format!("check --config {path}"));
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("ok\nsource readings: file in.jsonl, json"), "{}", said.out);
    assert!(said.out.contains("\nsink stats: file out/\n"), "{}", said.out);
    // A dataflow may need more than others.
    let said = say(&format!("check feeders --config {path}"));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(said.code, 2);
    assert!(said.out.contains("sources.feeders: missing"), "{}", said.out);
}

#[test]
fn the_printed_configuration_passes_its_own_check() {
    let said = say("config");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let path = file("printed", &said.out);
    let check = say(&format!("check --config {path}"));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(check.code, 0, "{}", check.out);
    assert!(check.out.starts_with("ok\n"), "{}", check.out);
    for name in
        ["[detectors.moving_average]", "[detectors.limits]", "[detectors.status]", "[sinks.anomalies]", "#[sinks.late]"]
    {
        assert!(said.out.contains(name), "{name}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    struct Closed(io::ErrorKind);
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let program = Program { dataflows: &[READINGS], run: &|_| Ok(0), simulate: &|_| Ok(()), demo: &|_| Ok(()) };
    let code = |kind| execute(&program, &words("config"), &[], 1, &mut Closed(kind), &mut Vec::new());
    assert_eq!((code(io::ErrorKind::BrokenPipe), code(io::ErrorKind::StorageFull)), (0, 1));
}
