//! A run that is killed in the middle, looked at, and started again with other settings: what goes on, and what is refused.

use crate::support::{Folder, json, sorted};
use std::fs;
use std::process::Command;

/// What the program said, and what it exited with; no code: it was killed.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A job in a folder of its own.
struct Case {
    folder: Folder,
}

/// Where the first run is killed: when the tick of its third snapshot is committed, so that there are two, and ticks after
/// them; and before there is any.
const LATE: &str = "log.rotate.after:3";
const EARLY: &str = "log.sync.before:4";

const DETECTORS: &str = "[detectors.limits]\n[detectors.moving_average]\nchannels = [\"voltage\"]\nbaseline = \"last 20\"\n";
const WINDOWS: &str = "kind = \"sliding\"\nsize = \"1m\"\nslide = \"10s\"\n";

impl Case {
    fn new(name: &str) -> Case {
        let folder = Folder::new(name);
        for file in 0..2 {
            let line = |i: i64| {
                let volts = 228 + i % 5 + if i % 50 == 49 { 40 } else { 0 };
                let time = 1_704_067_200_000 + i * 1000;
                format!("{{\"meter_id\":\"m{}\",\"timestamp\":{time},\"voltage\":{volts}}}\n", (file + i) % 7)
            };
            folder.write(&format!("in/{file}.jsonl"), (0..12_000).map(line).collect::<String>());
        }
        Case { folder }
    }

    /// Writes the configuration; sinks write to `out`.
    fn config(&self, out: &str, windows: &str, detectors: &str, sinks: &[&str]) -> String {
        let sink = |sink: &&str| {
            let path = self.folder.at(&format!("{out}/{sink}.jsonl"));
            format!("[sinks.{sink}]\nkind = \"file\"\npath = {path:?}\n")
        };
        let sinks: String = sinks.iter().map(sink).collect();
        let text = format!(
            "[sources.readings]\nkind = \"file\"\npath = {:?}\nmax_jump = \"off\"\nout_of_orderness = \"10s\"\n\
             [windows]\n{windows}{detectors}{sinks}\
             [engine]\nblock_size = \"512B\"\ntick_size = \"512B\"\nsnapshot_interval = \"100ms\"\n",
            self.folder.at("in/*.jsonl")
        );
        self.folder.write("job.toml", text).display().to_string()
    }

    fn usual(&self, out: &str) -> String {
        self.config(out, WINDOWS, DETECTORS, &["anomalies", "stats"])
    }

    fn say(&self, arguments: &[&str], fault: Option<&str>) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meterflow"));
        command.args(arguments).env_clear();
        fault.map(|fault| command.env("METERFLOW_FAULT", fault));
        let output = command.output().expect("the program starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs `dataflow` on its state folder.
    fn run(&self, dataflow: &str, more: &[&str], fault: Option<&str>) -> Said {
        let (config, state) = (self.folder.at("job.toml"), self.folder.at("state"));
        let run = ["run", dataflow, "--config", &config, "--state", &state, "--restarts", "0", "-w", "2"];
        self.say(&[&run, more].concat(), fault)
    }

    fn check(&self, dataflow: &str, more: &[&str]) -> Said {
        let (config, state) = (self.folder.at("job.toml"), self.folder.at("state"));
        self.say(&[&["check", dataflow, "--config", &config, "--state", &state], more].concat(), None)
    }

    fn checkpoint(&self, command: &str, more: &[&str]) -> Said {
        self.say(&[&["checkpoint", command, &self.folder.at("state")], more].concat(), None)
    }

    /// A run with the usual settings that is killed.
    fn killed(name: &str, fault: &str) -> Case {
        let case = Case::new(name);
        case.usual("out");
        let said = case.run("anomaly", &[], Some(fault));
        assert!(said.code == Some(1) && said.err.contains("signal 9"), "{said:?}");
        case
    }

    /// Everything in the state folder with its size and time: looking changes none of it.
    fn state(&self) -> Vec<(String, u64, std::time::SystemTime)> {
        let entry = |entry: fs::DirEntry| {
            let data = entry.metadata().expect("a file");
            (entry.file_name().into_string().expect("UTF-8"), data.len(), data.modified().expect("a time"))
        };
        let mut all: Vec<_> = fs::read_dir(self.folder.at("state")).expect("a folder").flatten().map(entry).collect();
        all.sort();
        all
    }

    /// Is refused with this message, by `check` and by `run`, and goes on once the step is dropped.
    fn is_refused(&self, wanted: &[&str], drop: Option<&str>) {
        let before = self.state();
        let check = self.check("anomaly", &[]);
        assert_eq!(self.state(), before, "looking has changed something");
        let run = self.run("anomaly", &[], None);
        assert!(check.code == Some(2) && check.out.ends_with("\n1 problem\n"), "{check:?}");
        assert_eq!(run.code, Some(1), "{run:?}");
        for part in wanted {
            assert!(check.out.contains(part), "{part}: {check:?}");
            assert!(run.err.contains(part), "{part}: {run:?}");
        }
        let Some(step) = drop else { return };
        let check = self.check("anomaly", &["--drop-state", step]);
        assert!(check.code == Some(0) && check.out.starts_with("ok: goes on after tick "), "{check:?}");
        let run = self.run("anomaly", &["--drop-state", step], None);
        assert_eq!(run.code, Some(0), "{run:?}");
        let again = self.check("anomaly", &[]);
        assert!(again.out.starts_with("ok: this run is complete; there is nothing to do\n"), "{again:?}");
    }
}

#[test]
fn a_folder_can_be_looked_at_and_nothing_changes() {
    let case = Case::killed("looked-at", LATE);
    let before = case.state();
    let ls = case.checkpoint("ls", &[]);
    assert!(ls.code == Some(0) && ls.out.contains("dataflow anomaly, 2 partitions, blocks of 512 bytes"), "{ls:?}");
    assert!(ls.out.contains("incarnation 1, not complete") && ls.out.contains("snapshots:\n  tick "), "{ls:?}");
    let show = case.checkpoint("show", &[]);
    assert_eq!(show.code, Some(0), "{show:?}");
    for part in [
        "  windows: ",
        "  detect: ",
        "  ticks: ",
        "size=1m slide=10s",
        "1.jsonl (file of ",
        "out/stats.jsonl: ",
        "[windows]",
    ] {
        assert!(show.out.contains(part), "{part}: {}", show.out);
    }
    let log = case.checkpoint("log", &["--json"]);
    assert_eq!(log.code, Some(0), "{log:?}");
    let ticks: Vec<u64> = log.out.lines().map(|line| json(line)["tick"].as_u64().expect("a tick")).collect();
    assert!(ticks.len() > 3 && ticks.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ticks:?}");
    let readable = case.checkpoint("log", &[]);
    let last = format!("tick {} (incarnation 1): ", ticks[ticks.len() - 1]);
    assert!(readable.out.lines().last().is_some_and(|line| line.starts_with(&last)), "{last}: {readable:?}");
    let snapshot = ls.out.lines().find_map(|line| line.trim_start().strip_prefix("tick ")).expect("a snapshot");
    let snapshot = snapshot.split(' ').next().expect("a tick");
    assert_eq!(case.checkpoint("show", &[snapshot]).code, Some(0));
    for workers in ["1", "3", "7"] {
        let verify = case.checkpoint("verify", &["-w", workers]);
        assert_eq!(verify.code, Some(0), "{verify:?}");
        assert!(verify.out.lines().all(|line| line.starts_with("ok ")), "{verify:?}");
        for step in ["windows", "detect", "ticks"] {
            assert!(verify.out.contains(&format!("step {step}: ")), "{step}: {verify:?}");
        }
        let next = format!("and go on with tick {}\n", ticks[ticks.len() - 1] + 1);
        assert!(verify.out.contains(&format!("come back as stored on {workers} workers")), "{verify:?}");
        assert!(verify.out.ends_with(&next), "{next}: {verify:?}");
    }
    assert_eq!(case.state(), before, "looking has changed something");
    for (arguments, wanted) in [(["ls", "nowhere"], "no such folder"), (["verify", "in"], "no job has begun")] {
        let said = case.say(&["checkpoint", arguments[0], &case.folder.at(arguments[1])], None);
        assert!(said.code == Some(2) && said.err.contains(wanted), "{said:?}");
    }
    assert_eq!(case.checkpoint("show", &["999999"]).code, Some(2));
    assert_eq!(case.checkpoint("", &[]).code, Some(2));
}

#[test]
fn damage_is_found() {
    let case = Case::killed("damage", LATE);
    let names: Vec<String> = case.state().into_iter().map(|(name, ..)| name).collect();
    // What is shown of the ticks after the newest snapshot has to come from the spool.
    let (show, path) = (case.checkpoint("show", &[]), case.folder.at("out/stats.jsonl"));
    let end = show.out.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{path}: "))).expect("its end");
    let end: usize = end.trim_end_matches(" bytes").parse().expect("a number");
    let whole = fs::read(&path).expect("an output");
    fs::write(&path, &whole[..end]).expect("it can be written");
    let verify = case.checkpoint("verify", &[]);
    assert!(verify.code == Some(0) && verify.out.contains(" bytes that were committed would be written"), "{verify:?}");
    // The newest segment may belong to a snapshot that was not finished.
    let newest = names.iter().rfind(|name| name.starts_with("snapshot-")).expect("a snapshot");
    let segment = newest.replace("snapshot-", "segment-");
    for kind in [&segment, "log-", "spool-", "snapshot-"] {
        let all = names.iter().filter(|name| name.starts_with(kind)).map(|name| case.folder.at(&format!("state/{name}")));
        let all: Vec<(String, Vec<u8>)> = all.map(|path| (path.clone(), fs::read(&path).expect("a file"))).collect();
        // Of spools nobody says which is needed, and a log that holds no tick yet may be torn.
        let some = if matches!(kind, "spool-" | "log-") { &all[..] } else { &all[all.len() - 1..] };
        for (path, good) in some {
            let mut bad = good.clone();
            // Saved state stands at the end of a segment; elsewhere it is within the first record.
            let at = if kind.starts_with("segment-") { bad.len() - 1 } else { 20 };
            bad[at] ^= 1;
            fs::write(path, &bad).expect("it can be written");
        }
        let verify = case.checkpoint("verify", &[]);
        let is_named = |said: &str| some.iter().any(|(path, _)| said.contains(path.rsplit('/').next().expect("a name")));
        let is_said = is_named(&verify.out) && verify.out.contains("BAD ");
        assert!(verify.code == Some(1) && (is_said || is_named(&verify.err)), "{kind}: {verify:?}");
        some.iter().for_each(|(path, good)| fs::write(path, good).expect("it can be written"));
    }
    fs::write(&path, &whole).expect("it can be written");
    assert_eq!(case.checkpoint("verify", &[]).code, Some(0));
    // An output that somebody has made longer, or shorter than the spool can make good.
    fs::write(&path, [&whole[..], b"more\n", &whole[..]].concat()).expect("it can be written");
    let verify = case.checkpoint("verify", &[]);
    assert!(verify.code == Some(1) && verify.out.contains("stats.jsonl: has "), "{verify:?}");
    fs::write(&path, &whole[..end - 1]).expect("it can be written");
    let verify = case.checkpoint("verify", &[]);
    assert!(verify.code == Some(1) && verify.out.contains("stats.jsonl: has only "), "{verify:?}");
}

#[test]
fn thresholds_may_change() {
    for (name, fault) in [("thresholds-late", LATE), ("thresholds-early", EARLY)] {
        let case = Case::killed(name, fault);
        let more = format!("{DETECTORS}threshold = 3.5\nmin_count = 12\nerror_score = 5.0\n");
        case.config("out", WINDOWS, &more, &["anomalies", "stats"]);
        let check = case.check("anomaly", &[]);
        assert!(check.code == Some(0) && check.out.starts_with("ok: goes on after tick "), "{check:?}");
        assert!(check.out.contains("changed: detector moving_average: "), "{check:?}");
        assert!(check.out.contains("threshold 2.5") && check.out.contains("-> ") && check.out.contains("3.5"), "{check:?}");
        assert!(check.out.lines().last().is_some_and(|line| line.starts_with("the new settings hold after tick ")));
        let verify = case.checkpoint("verify", &[]);
        assert_eq!(verify.code, Some(0), "{verify:?}");
        let run = case.run("anomaly", &[], None);
        assert_eq!(run.code, Some(0), "{run:?}");
        // Windows know nothing of thresholds.
        case.config("whole", WINDOWS, &more, &["anomalies", "stats"]);
        let whole = case.say(&["run", "anomaly", "--config", &case.folder.at("job.toml"), "-w", "1"], None);
        assert_eq!(whole.code, Some(0), "{whole:?}");
        let [found, wanted] = ["out", "whole"].map(|out| sorted(case.folder.at(&format!("{out}/stats.jsonl"))));
        assert!(found.len() > 100 && found == wanted, "{name}: windows differ");
    }
}

#[test]
fn what_would_make_stored_state_wrong_is_refused() {
    let bigger = WINDOWS.replace("1m", "2m");
    let finer = WINDOWS.replace("10s", "5s");
    let other = DETECTORS.replace("last 20", "last 30");
    let all = &["anomalies", "stats"][..];
    for (name, windows, detectors, sinks, wanted, step) in [
        ("size", &bigger[..], DETECTORS, all, ["size=1m", "size=2m"], "windows"),
        ("slide", &finer, DETECTORS, all, ["slide=10s", "slide=5s"], "windows"),
        ("baseline", WINDOWS, &other, all, ["last 20", "last 30"], "detect"),
        ("gone", WINDOWS, DETECTORS, &all[..1], ["no such step", "step `windows`"], "windows"),
    ] {
        let fault = if name == "slide" { EARLY } else { LATE };
        let case = Case::killed(name, fault);
        case.config("out", windows, detectors, sinks);
        let hint = format!("--drop-state '{step}'");
        case.is_refused(&[wanted[0], wanted[1], &hint], Some(step));
        assert!(!fs::read(case.folder.at("out/anomalies.jsonl")).expect("an output").is_empty());
    }
}

#[test]
fn channels_another_dataflow_and_other_input_are_refused() {
    let case = Case::killed("refused", LATE);
    let config = case.folder.at("job.toml");
    let text = fs::read_to_string(&config).expect("a configuration");
    fs::write(&config, format!("{text}[sources.readings.fields]\nchannels = [\"voltage\", \"current\"]\n"))
        .expect("it can be written");
    case.is_refused(&["channels=voltage,current", "--drop-state"], None);
    fs::write(&config, text.replace("512B", "1KiB")).expect("it can be written");
    case.is_refused(&["engine.block_size: is 1024, but what was read stands in blocks of 512 bytes"], None);
    fs::write(&config, &text).expect("it can be written");
    let stats = case.check("stats", &[]);
    assert!(
        stats.code == Some(2) && stats.out.contains("holds the state of dataflow `anomaly`, not of `stats`"),
        "{stats:?}"
    );
    let stats = case.run("stats", &[], None);
    assert!(stats.code == Some(1) && stats.err.contains("holds the state of dataflow `anomaly`"), "{stats:?}");
    let unknown = case.check("anomaly", &["--drop-state", "windws"]);
    assert!(
        unknown.code == Some(2) && unknown.out.contains("stored are ") && unknown.out.contains("windows"),
        "{unknown:?}"
    );
    let input = case.folder.at("in/1.jsonl");
    let good = fs::read(&input).expect("an input");
    let mut bad = good.clone();
    bad[10] = b'x';
    fs::write(&input, &bad).expect("it can be written");
    case.is_refused(&["partition 1.jsonl: is not the file that was read: its content differs"], None);
    fs::write(&input, [&good[..], b"more\n"].concat()).expect("it can be written");
    case.is_refused(&["partition 1.jsonl: is not the file that was read: it had "], None);
    fs::remove_file(&input).expect("it can be removed");
    case.is_refused(&["partition 1.jsonl: was read, and is not there any more"], None);
    fs::write(&input, &good).expect("it can be written");
    let run = case.run("anomaly", &[], None);
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn a_file_that_is_not_there_is_not_waited_for() {
    let case = Case::new("stored-missing");
    fs::remove_file(case.folder.at("in/0.jsonl")).and_then(|()| fs::remove_file(case.folder.at("in/1.jsonl"))).unwrap();
    case.usual("out");
    let (config, state) = (case.folder.at("job.toml"), case.folder.at("state"));
    let said = case.say(&["run", "anomaly", "--config", &config, "--state", &state, "-w", "1"], None);
    assert!(said.code == Some(1) && said.err.contains("no such file"), "{said:?}");
    assert!(!said.err.contains("starting again"), "{said:?}");
}

#[test]
fn a_fault_point_that_does_not_exist_is_said() {
    let case = Case::new("stored-fault");
    let said = case.say(&["list"], Some("log.snyc.before:1"));
    assert!(said.code == Some(2) && said.err.contains("log.snyc.before"), "{said:?}");
}
