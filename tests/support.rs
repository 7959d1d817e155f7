//! What the integration tests share: the dataflows of the program, folders, and runs of the whole engine in this process.

use meterflow::config::{self, Given, Schema, Settings, outputs, sources};
use meterflow::flow::Dataflow;
use meterflow::runtime::{self, Cluster, Job, Outcome};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[path = "../dataflows/anomaly.rs"]
pub mod anomaly;
#[path = "../dataflows/stats.rs"]
pub mod stats;
#[path = "../dataflows/template.rs"]
pub mod template;

/// A folder of its own below `target`, removed at the end unless the test fails.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a folder below target can be made");
        Folder(path)
    }

    /// The path of something in it, as text for a configuration.
    pub fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Writes a file; folders on the way are made.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("it stands in a folder")).expect("a folder can be made");
        fs::write(&path, bytes).expect("a file can be written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // What is left behind is only in the way of a person who looks for something else.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// The settings that a configuration gives a dataflow.
pub fn settings(dataflow: &Dataflow, text: &str) -> Settings {
    let schema = Schema {
        source_kinds: sources::KINDS,
        sink_kinds: outputs::KINDS,
        detectors: meterflow::detectors::ALL,
        sources: dataflow.sources,
        needed: dataflow.sources,
        sinks: dataflow.sinks,
    };
    let given = Given { file: Some(("test.toml", text)), variables: &[], sets: &[] };
    config::load(&schema, &given).into_result().unwrap_or_else(|error| panic!("{error}\n{text}")).0
}

/// Runs a dataflow on so many threads to its end.
pub fn run(dataflow: Dataflow, config: &str, threads: usize, check_state: bool) -> Outcome {
    let settings = settings(&dataflow, config);
    let job = Job { check_state, ..Job::new(dataflow, settings, Cluster::threads(threads)) };
    runtime::run(job, Arc::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The lines of a file.
pub fn lines(path: impl AsRef<Path>) -> Vec<String> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text.is_empty() || text.ends_with('\n'), "{}: a torn line", path.display());
    text.lines().map(str::to_owned).collect()
}

/// The lines of a file, sorted.
pub fn sorted(path: impl AsRef<Path>) -> Vec<String> {
    let mut lines = lines(path);
    lines.sort();
    lines
}

/// A line of JSON.
pub fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The bytes that a text in base64 (RFC 4648, padded) stands for.
pub fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|letter| *letter == digit).expect("a digit of base64");
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}
