//! The real binary: several processes, exit codes, messages, standard input and output, compressed files.

use crate::support::{Folder, json, lines, sorted};
use meterflow::runtime::supervise::local_addresses;
use meterflow::time::Stopwatch;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Seconds that a run may take on a busy machine before it is taken to hang.
const LIMIT: f64 = 60.0;

/// A process of the program, with what it says going to files.
struct Process {
    child: Child,
    name: String,
}

/// What a process said, and what it exited with; no code: it was killed by a signal.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Process {
    fn start(folder: &Folder, name: &str, arguments: &[&str], input: Option<&[u8]>) -> Process {
        Process::start_in(folder, ".", name, arguments, input)
    }

    /// Starts it in a folder of its own below the test's.
    fn start_in(folder: &Folder, current: &str, name: &str, arguments: &[&str], input: Option<&[u8]>) -> Process {
        let file = |kind: &str| File::create(folder.at(&format!("{name}.{kind}"))).expect("a file can be made");
        let mut child = Command::new(env!("CARGO_BIN_EXE_meterflow"))
            .args(arguments)
            .env_clear()
            .current_dir(folder.at(current))
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .expect("the program starts");
        if let (Some(bytes), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(bytes).expect("the program reads its input");
        }
        Process { child, name: name.to_owned() }
    }

    /// Sends it a signal.
    fn signal(&self, signal: i32) {
        kill(self.child.id(), signal);
    }

    /// Waits until what it says on standard error has this in it.
    fn says(&self, folder: &Folder, wanted: &str) {
        let said = || fs::read_to_string(folder.at(&format!("{}.err", self.name))).expect("what it said");
        wait_for(&format!("{} to say {wanted:?}", self.name), || said().contains(wanted));
    }

    /// Waits until so many processes that it has started are there; gives their ids, in the order of their start.
    fn children(&self, count: usize) -> Vec<u32> {
        let mut found = Vec::new();
        wait_for("its children", || {
            found = children_of(self.child.id());
            found.len() == count
        });
        found
    }

    /// Waits for its end; one that hangs is killed.
    fn end(mut self, folder: &Folder) -> Said {
        let begin = Stopwatch::start();
        let mut status = None;
        while status.is_none() && begin.seconds() < LIMIT {
            std::thread::sleep(Duration::from_millis(10));
            status = self.child.try_wait().expect("the program can be waited for");
        }
        let read = |kind: &str| fs::read_to_string(folder.at(&format!("{}.{kind}", self.name))).expect("what it said");
        let (out, err) = (read("out"), read("err"));
        let Some(status) = status else {
            self.child.kill().expect("the program can be ended");
            self.child.wait().expect("it has ended");
            panic!("{} hangs; it said:\n{out}{err}", self.name);
        };
        Said { code: status.code(), out, err }
    }
}

fn kill(process: u32, signal: i32) {
    let done = Command::new("kill").args([format!("-{signal}"), process.to_string()]).status().expect("kill can be called");
    assert!(done.success(), "process {process} cannot be sent signal {signal}");
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let begin = Stopwatch::start();
    while !is_there() {
        assert!(begin.seconds() < LIMIT, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Parent and state of a process; none when it has gone.
fn stat(process: u32) -> Option<(u32, char)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name, which may hold anything in parentheses.
    let mut words = text.rsplit_once(") ")?.1.split(' ');
    let state = words.next()?.chars().next()?;
    Some((words.next()?.parse().ok()?, state))
}

fn children_of(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("processes are listed");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut found: Vec<u32> = ids.filter(|id| stat(*id).is_some_and(|(of, state)| of == parent && state != 'Z')).collect();
    found.sort_unstable();
    found
}

/// Runs the program to its end.
fn meterflow(folder: &Folder, arguments: &[&str]) -> Said {
    Process::start(folder, "said", arguments, None).end(folder)
}

fn line(meter: &str, time: i64, volts: i64) -> String {
    format!("{{\"meter_id\":\"{meter}\",\"timestamp\":{},\"voltage\":{volts}}}\n", 1_704_067_200_000 + time)
}

/// A file of readings of three meters, some too high, one late, one broken.
fn readings(file: i64) -> String {
    let normal = |i: i64| line(&format!("m{}", (file + i) % 7), i * 1000, 228 + i % 5 + if i % 50 == 49 { 40 } else { 0 });
    let mut text: String = (0..400).map(normal).collect();
    text += &line("m0", 5_000, 230);
    text + "broken\n"
}

/// A configuration that reads `input` and writes to a folder of its own.
fn config(folder: &Folder, name: &str, input: &str) -> String {
    let sink =
        |sink: &str| format!("[sinks.{sink}]\nkind = \"file\"\npath = {:?}\n", folder.at(&format!("{name}/{sink}.jsonl")));
    let sinks: String = ["anomalies", "stats", "late", "dead_letters"].map(sink).concat();
    let text = format!(
        "[sources.readings]\nkind = \"file\"\npath = {:?}\nmax_jump = \"off\"\nout_of_orderness = \"10s\"\n\
         [windows]\nkind = \"tumbling\"\nsize = \"1m\"\n[detectors.limits]\n[detectors.moving_average]\n\
         channels = [\"voltage\"]\n{sinks}[engine]\nblock_size = \"1KiB\"\ntick_size = \"8KiB\"\n",
        folder.at(input)
    );
    folder.write(&format!("{name}.toml"), text).display().to_string()
}

/// The summary without what depends on the machine.
fn summary(path: &str) -> Value {
    let mut summary = json(&lines(path)[0]);
    for name in ["seconds", "cpu_seconds"] {
        let value = summary.as_object_mut().expect("an object").remove(name);
        assert!(value.is_some_and(|value| value.as_f64().is_some_and(|seconds| seconds > 0.0)), "no {name}");
    }
    summary
}

#[test]
fn two_processes_write_what_one_worker_writes() {
    let folder = Folder::new("processes");
    (0..5).for_each(|file| drop(folder.write(&format!("in/{file}.jsonl"), readings(file))));
    let mut summaries = Vec::new();
    for (name, shape) in [("one", &["-w", "1"][..]), ("two", &["-n", "2", "-w", "1"]), ("four", &["-n", "2", "-w", "2"])] {
        let config = config(&folder, name, "in/*.jsonl");
        let file = folder.at(&format!("{name}.json"));
        let arguments = [&["run", "anomaly", "--config", &config, "--summary", &file], shape].concat();
        let said = meterflow(&folder, &arguments);
        assert_eq!(said.code, Some(0), "{said:?}");
        summaries.push(summary(&file));
        for sink in ["anomalies", "stats", "late", "dead_letters"] {
            let [found, wanted] = [name, "one"].map(|name| sorted(folder.at(&format!("{name}/{sink}.jsonl"))));
            assert!(!found.is_empty() && found == wanted, "{name}: {sink} differ");
        }
    }
    let source = &summaries[0]["sources"]["readings"];
    let [read, used, late, duplicate, dead] =
        ["read", "used", "late", "duplicate", "dead"].map(|name| source[name].as_u64().expect("a count"));
    assert_eq!((read, used + late + duplicate + dead, late, dead), (5 * 402, read, 5, 5));
    assert_eq!(source["dead_by_reason"]["not_json"], 5);
    assert_eq!(summaries[0]["anomalies"]["total"], lines(folder.at("one/anomalies.jsonl")).len());
    assert_eq!(summaries[0]["windows"], lines(folder.at("one/stats.jsonl")).len());
    assert_eq!(summaries[1], summaries[0]);
    assert_eq!(summaries[2], summaries[0]);
}

#[test]
fn processes_that_see_different_files_end() {
    let folder = Folder::new("lists");
    for name in ["a/in/0.jsonl", "a/in/1.jsonl", "b/in/0.jsonl"] {
        folder.write(name, readings(0));
    }
    folder.write("b/in/1.jsonl", readings(0) + "more\n");
    folder.write("c/in/0.jsonl", readings(0));
    let config = config(&folder, "config", "in");
    let config =
        folder.write("config.toml", lines(&config).join("\n").replace(&folder.at("in"), "in/*")).display().to_string();
    for other in ["b", "c"] {
        let hosts = hosts(&folder, 2);
        let start = |process: &str, current: &str| {
            let arguments = ["run", "anomaly", "--config", &config, "-w", "1", "-n", "2", "-p", process, "-h", &hosts];
            Process::start_in(&folder, current, &format!("process{process}"), &arguments, None)
        };
        let processes = [start("0", "a"), start("1", other)];
        let said = processes.map(|process| process.end(&folder));
        for said in said {
            assert_eq!(said.code, Some(1), "{other}: {said:?}");
            assert!(said.err.contains("process 1: does not see the same input files as process 0"), "{said:?}");
            assert!(said.err.contains("every host must see the same list of files"), "{said:?}");
            assert!(!said.err.contains("panicked"), "{said:?}");
        }
    }
}

#[test]
fn wrong_usage_is_2() {
    let folder = Folder::new("usage");
    folder.write("in.jsonl", readings(0));
    let good = config(&folder, "good", "in.jsonl");
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["rum"], "run"),
        (&["run"], "<DATAFLOW>"),
        (&["run", "anomally", "--config", &good], "anomaly"),
        (&["run", "anomaly", "--config", &good, "-w", "0"], "'0'"),
        (&["run", "anomaly", "--config", &good, "-w", "many"], "'many'"),
        (&["run", "anomaly", "--config", &good, "-n", "2", "-p", "2"], "the last one is 1"),
        (&["run", "anomaly", "--config", &good, "-h", "nowhere"], "nowhere: the host file cannot be read"),
        (&["run", "anomaly", "--config", &good, "--fast"], "--fast"),
        (&["run", "anomaly", "--config", "nowhere.toml"], "nowhere.toml"),
        (&["run", "anomaly", "--config", &good, "--set", "windows.slde=1s"], "did you mean \"slide\"?"),
        (&["simulate", "--meters", "-1"], "--meters"),
    ];
    for (arguments, wanted) in cases {
        let said = meterflow(&folder, arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(said.err.contains(wanted) && said.out.is_empty(), "{arguments:?}: {said:?}");
    }
    assert!(!fs::exists(folder.at("good")).expect("a folder"), "something was written");
}

#[test]
fn check_says_0_or_2() {
    let folder = Folder::new("check");
    let good = config(&folder, "good", "in.jsonl");
    let said = meterflow(&folder, &["check", "--config", &good]);
    assert!(said.code == Some(0) && said.out.starts_with("ok\n"), "{said:?}");
    let bad = folder.write("bad.toml", "[windows]\nkind = \"sliding\"\nsize = \"1m\"\nslide = \"7s\"\nslip = 1\n");
    let said = meterflow(&folder, &["check", "--config", &bad.display().to_string()]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.out.contains("bad.toml:4") && said.out.contains("bad.toml:5") && said.out.ends_with("problems\n"),
        "{said:?}"
    );
    let said = meterflow(&folder, &["check", "--config", &folder.at("nowhere.toml")]);
    assert_eq!(said.code, Some(2), "{said:?}");
    for (arguments, wanted) in [(&["list"][..], "template"), (&["config"], "[windows]"), (&["--help"], "Usage")] {
        let said = meterflow(&folder, arguments);
        assert!(said.code == Some(0) && said.out.contains(wanted), "{arguments:?}: {said:?}");
    }
}

#[test]
fn what_cannot_be_read_or_written_is_1() {
    let folder = Folder::new("unusable");
    folder.write("in.jsonl", readings(0));
    let mut torn = gzip(&readings(0));
    torn.truncate(torn.len() / 2);
    folder.write("torn.gz", &torn);
    folder.write("file", "");
    let run = |config: &str, more: &[&str]| meterflow(&folder, &[&["run", "anomaly", "--config", config], more].concat());
    let missing = run(&config(&folder, "missing", "nowhere/*.jsonl"), &[]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.err.contains("nowhere/*.jsonl: no such file; sources.readings.path"), "{missing:?}");
    let broken = run(&config(&folder, "broken", "torn.gz"), &["-w", "2"]);
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert!(broken.err.contains("torn.gz") && !broken.err.contains("panicked"), "{broken:?}");
    let good = config(&folder, "good", "in.jsonl");
    for path in ["file/anomalies.jsonl", "file/", "file/deeper/"] {
        let said = run(&good, &["--set", &format!("sinks.anomalies.path={}", folder.at(path))]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(&folder.at(path)) && said.err.contains("can the folder be made"), "{said:?}");
    }
    let said = run(&good, &["--summary", &folder.at("file/summary.json")]);
    assert!(said.code == Some(1) && said.err.contains("file/summary.json"), "{said:?}");
}

fn gzip(text: &str) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(text.as_bytes()).expect("memory can be written");
    writer.finish().expect("memory can be written")
}

#[test]
fn from_standard_input_to_standard_output_however_compressed() {
    let folder = Folder::new("pipes");
    let text = readings(0);
    folder.write("plain", &text);
    // Two members, as `cat a.gz b.gz` makes them.
    let (half, rest) = text.split_at(text.len() / 2);
    folder.write("gzip", [gzip(half), gzip(rest)].concat());
    folder.write("zstd", zstd::encode_all(text.as_bytes(), 1).expect("it can be compressed"));
    let good = config(&folder, "good", "plain");
    let to_file = format!("kind = \"file\"\npath = {:?}", folder.at("good/anomalies.jsonl"));
    let to_stdout = lines(&good).join("\n").replace(&to_file, "kind = \"stdout\"");
    folder.write("good.toml", to_stdout);
    let mut wanted: Option<Vec<String>> = None;
    // Several processes connect before they write: nothing but results goes to standard output.
    for (input, processes) in [("plain", "1"), ("gzip", "1"), ("zstd", "1"), ("-", "1"), ("plain", "2")] {
        let path = if input == "-" { input.to_owned() } else { folder.at(input) };
        let set = format!("sources.readings.path={path}");
        let arguments = ["run", "anomaly", "--config", &good, "-n", processes, "-w", "2", "--set", &set];
        let bytes = (input == "-").then_some(text.as_bytes());
        let said = Process::start(&folder, "said", &arguments, bytes).end(&folder);
        assert_eq!(said.code, Some(0), "{input}, {processes}: {said:?}");
        // Ids and lines name the partition; all else is the same.
        let anonymous = |line: &str| {
            let mut line = json(line);
            assert_eq!(line["partition"], input);
            line["id"].take();
            line["partition"].take();
            line.to_string()
        };
        let mut found: Vec<String> = said.out.lines().map(anonymous).collect();
        found.sort();
        assert!(found.len() > 5, "{said:?}");
        assert_eq!(wanted.get_or_insert(found.clone()), &found, "{input}");
    }
}

#[test]
fn a_failing_run_is_given_up() {
    let folder = Folder::new("given-up");
    folder.write("in.jsonl", "{\"meter_id\":\"m\",\"timestamp\":1704067200000,\"voltage\":230}\n");
    let config = config(&folder, "fails", "in.jsonl");
    // A file where the folder of the outputs should be: it may be gone the next time.
    folder.write("fails", "");
    let state = folder.at("state");
    for shape in [&["-w", "1"][..], &["-w", "1", "-n", "2"]] {
        let keep = ["--state", &state, "--restarts", "2", "--restart-period", "5m"];
        let said = meterflow(&folder, &[&["run", "anomaly", "--config", &config], shape, &keep].concat());
        assert_eq!(said.code, Some(1), "{said:?}");
        for wanted in [
            "ended with exit code 1; starting again in 0.1 s (1 of at most 2 times within 5m)",
            "ended with exit code 1; starting again in 0.2 s (2 of at most 2 times within 5m)",
            "ended with exit code 1; given up: started again 2 times within 5m",
        ] {
            assert!(said.err.contains(wanted), "{wanted}: {said:?}");
        }
        let reason = "can the folder be made and written?";
        assert!(said.err.contains(reason) && !said.err.contains("without --state"), "{said:?}");
    }
    // Without state, once is enough.
    let said = meterflow(&folder, &["run", "anomaly", "--config", &config, "-n", "2", "-w", "1"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("without --state nothing is kept: after a crash the run starts over"), "{said:?}");
    assert!(said.err.contains("ended with exit code 1; the job has ended") && !said.err.contains("again"), "{said:?}");
}

/// A configuration whose input takes minutes.
fn endless(folder: &Folder, name: &str) -> String {
    let text = format!(
        "[sources.readings]\nkind = \"simulator\"\nmeters = 1000\ninterval = \"1s\"\nduration = \"30d\"\n\
         [windows]\nkind = \"tumbling\"\nsize = \"1m\"\n[detectors.limits]\n\
         [sinks.anomalies]\nkind = \"file\"\npath = {:?}\n",
        folder.at(&format!("{name}/anomalies.jsonl"))
    );
    folder.write(&format!("{name}.toml"), text).display().to_string()
}

/// A host file for so many processes on this machine.
fn hosts(folder: &Folder, processes: usize) -> String {
    folder.write("hosts", local_addresses(processes).expect("free ports").join("\n") + "\n").display().to_string()
}

/// Starts the processes of an endless run, each as if it were alone on its host, and waits until they work.
fn start_apart(folder: &Folder, processes: usize) -> Vec<Process> {
    let (config, hosts, count) = (endless(folder, "apart"), hosts(folder, processes), processes.to_string());
    let start = |process: usize| {
        let index = process.to_string();
        let arguments = ["run", "anomaly", "--config", &config, "-w", "1", "-n", &count, "-p", &index, "-h", &hosts];
        Process::start(folder, &format!("process{process}"), &arguments, None)
    };
    let all = (0..processes).map(start).collect();
    wait_for("the first results", || fs::metadata(folder.at("apart/anomalies.jsonl")).is_ok_and(|file| file.len() > 0));
    all
}

#[test]
fn a_killed_process_is_named_by_the_others() {
    let folder = Folder::new("killed");
    let all = start_apart(&folder, 3);
    all[1].signal(9);
    let begin = Stopwatch::start();
    let [first, second, third] =
        <[Process; 3]>::try_from(all).ok().expect("three processes").map(|process| process.end(&folder));
    assert!(begin.seconds() < 5.0, "it was noticed after {} s", begin.seconds());
    assert_eq!((first.code, second.code, third.code), (Some(1), None, Some(1)), "{first:?} {third:?}");
    for said in [first, third] {
        let lines: Vec<&str> = said.err.lines().filter(|line| !line.contains("without --state")).collect();
        assert!(lines.len() == 1 && lines[0].starts_with("meterflow: process 1"), "{said:?}");
    }
}

#[test]
fn a_stopped_process_is_given_up_and_ends_when_it_wakes() {
    let folder = Folder::new("stopped");
    let mut all = start_apart(&folder, 2);
    all[1].signal(19);
    let begin = Stopwatch::start();
    let sleeper = all.pop().expect("process 1");
    let first = all.pop().expect("process 0").end(&folder);
    assert!(begin.seconds() < 5.0, "it was noticed after {} s", begin.seconds());
    assert_eq!(first.code, Some(1), "{first:?}");
    assert!(first.err.contains("meterflow: process 1 at 127.0.0.1:"), "{first:?}");
    assert!(first.err.contains("nothing was heard of it for 3 s: it is stopped, or cut off"), "{first:?}");
    std::thread::sleep(Duration::from_millis(1_500));
    sleeper.signal(18);
    let begin = Stopwatch::start();
    let second = sleeper.end(&folder);
    assert!(begin.seconds() < 5.0 && second.code == Some(1), "{second:?}");
    assert!(second.err.contains("meterflow: this process: stood still for "), "{second:?}");
}

#[test]
fn strangers_at_the_door_change_nothing() {
    let folder = Folder::new("strangers");
    folder.write("in.jsonl", readings(0));
    let (config, hosts) = (config(&folder, "out", "in.jsonl"), hosts(&folder, 3));
    let address = lines(&hosts)[0].clone();
    let start = |count: &str, process: &str| {
        let arguments = ["run", "anomaly", "--config", &config, "-w", "1", "-n", count, "-p", process, "-h", &hosts];
        Process::start(&folder, &format!("process{process}of{count}"), &arguments, None)
    };
    let zero = start("2", "0");
    let mut held = Vec::new();
    wait_for("process 0 to listen", || {
        held.extend(TcpStream::connect(&address));
        !held.is_empty()
    });
    for said in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"meterflw", &[255; 1000], b""] {
        let mut socket = TcpStream::connect(&address).expect("process 0 listens");
        socket.write_all(said).expect("it takes bytes");
        held.push(socket);
    }
    zero.says(&folder, "is turned away: it ");
    // One that believes in another number of processes.
    let wrong = start("3", "1").end(&folder);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.err.contains("process 1: is one of 3 processes (-n), process 0 one of 2; "), "{wrong:?}");
    let right = start("2", "1").end(&folder);
    let zero = zero.end(&folder);
    assert_eq!((zero.code, right.code), (Some(0), Some(0)), "{zero:?} {right:?}");
    assert!(lines(folder.at("out/anomalies.jsonl")).len() > 5);

    // The same while a job runs.
    let mut all = start_apart(&folder, 2);
    let address = lines(folder.at("hosts"))[0].clone();
    for said in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 1000], b""] {
        let mut socket = TcpStream::connect(&address).expect("process 0 listens");
        socket.write_all(said).expect("it takes bytes");
        held.push(socket);
    }
    all[0].says(&folder, "is turned away: it ");
    let ended = |process: &mut Process| process.child.try_wait().expect("it can be waited for").is_some();
    assert!(!all.iter_mut().any(ended), "a stranger ended the job");
    all[0].signal(9);
    all.into_iter().for_each(|process| drop(process.end(&folder)));
}

#[test]
fn a_supervisor_starts_all_again_and_ends_them_with_itself() {
    let folder = Folder::new("supervised");
    let (config, state) = (endless(&folder, "out"), folder.at("state"));
    let arguments = ["run", "anomaly", "--config", &config, "-w", "1", "-n", "3", "--state", &state];
    let supervisor = Process::start(&folder, "supervisor", &arguments, None);
    let before = supervisor.children(3);
    wait_for("the lease", || fs::exists(folder.at("state/lease")).expect("a folder"));
    kill(before[1], 9);
    supervisor.says(&folder, "process 1 ended with signal 9; starting again in 0.1 s (1 of at most 10 times within 10m)");
    let after = supervisor.children(3);
    assert!(after.iter().all(|process| !before.contains(process)), "{before:?} {after:?}");
    supervisor.signal(9);
    wait_for("their end", || after.iter().all(|process| stat(*process).is_none_or(|(_, state)| state == 'Z')));
    assert_eq!(supervisor.end(&folder).code, None);
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = Folder::new("signals");
    for (signal, code) in [(15, 143), (2, 130)] {
        let (config, state) = (endless(&folder, "out"), folder.at(&format!("state{signal}")));
        let arguments = ["run", "anomaly", "--config", &config, "-w", "1", "--state", &state];
        let supervisor = Process::start(&folder, &format!("signal{signal}"), &arguments, None);
        let child = supervisor.children(1)[0];
        // It cannot stop cleanly.
        kill(child, 19);
        supervisor.signal(signal);
        supervisor.says(&folder, "asks for a stop; what was read is finished first");
        assert!(stat(child).is_some(), "it is waited for");
        supervisor.signal(signal);
        let said = supervisor.end(&folder);
        assert!(said.code == Some(code) && said.err.contains("stopped at once by a second signal"), "{said:?}");
        assert!(stat(child).is_none(), "its process is left");
    }
}

#[test]
fn a_state_folder_has_one_run_at_a_time() {
    let folder = Folder::new("one-run");
    let (config, state) = (endless(&folder, "out"), folder.at("state"));
    let arguments = ["run", "anomaly", "--config", &config, "-w", "1", "--state", &state];
    let first = Process::start(&folder, "first", &arguments, None);
    wait_for("the lease", || fs::metadata(folder.at("state/lease")).is_ok_and(|file| file.len() > 0));
    let second = Process::start(&folder, "second", &arguments, None).end(&folder);
    assert_eq!(second.code, Some(1), "{second:?}");
    let holder = format!("state/lease: another run uses this state folder: process id {} on ", first.children(1)[0]);
    assert!(second.err.contains(&holder), "{holder}: {second:?}");
    assert!(second.err.contains("exit code 3; the job has ended") && !second.err.contains("again"), "{second:?}");
    first.signal(9);
    first.end(&folder);
}
