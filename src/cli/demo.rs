//! `meterflow demo`: the main job on embedded defaults. A simulated fleet with injected faults and one real household run
//! through the `anomaly` dataflow; what was found is compared with what was injected.

use crate::cli::run::{run_and_follow, write_summary};
use crate::cli::simulate::write_partition;
use crate::config;
use crate::connectors::simulated;
use crate::error::{Error, ErrorKind};
use crate::flow::Dataflow;
use crate::runtime::{Cluster, Job, Outcome};
use crate::simulator::household::{HOUSEHOLD, HOUSEHOLD_ID};
use crate::simulator::score::{Anomaly, Scorer};
use crate::simulator::{Fleet, HOUSEHOLD_END, HOUSEHOLD_START, Settings};
use serde::Deserialize;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// Every meter reports once in this time, ms.
const INTERVAL: i64 = 5 * 60 * 1000;

/// The configuration of the demo; `{folder}` and `{url}` are filled in.
const CONFIG: &str = r#"# What `meterflow demo` ran. Run it again with: meterflow run anomaly --config {folder}/meterflow.toml
[sources.readings]
kind = "file"
path = "{folder}/input/*.jsonl.*"

[windows]
kind = "tumbling"
size = "1h"

[detectors.moving_average]
baseline = "1d"
threshold = 4.0

[detectors.limits]
voltage = { low = 207.0, high = 253.0 }

[detectors.status]

[sinks.anomalies]
kind = "file"
path = "{folder}/anomalies.jsonl"

[sinks.late]
kind = "file"
path = "{folder}/late.jsonl"

[sinks.dead_letters]
kind = "file"
path = "{folder}/dead_letters.jsonl"

[archive]
url = "{url}"
kinds = ["readings", "stats", "anomalies"]
"#;

/// The dataflow that the demo runs.
const MAIN_JOB: &str = "anomaly";

/// Runs the demo with results in `folder`; `schema` is what can be configured.
pub fn demo(dataflows: &[Dataflow], schema: &config::Schema, threads: usize, folder: &Path) -> Result<(), Error> {
    let missing = || Error::new(ErrorKind::Usage, "demo", format!("this program has no dataflow `{MAIN_JOB}`"));
    let dataflow = *dataflows.iter().find(|dataflow| dataflow.name == MAIN_JOB).ok_or_else(missing)?;
    let fleet = Settings {
        meters: 1000,
        interval_ms: INTERVAL,
        start_ms: HOUSEHOLD_START,
        duration_ms: HOUSEHOLD_END - HOUSEHOLD_START,
        partitions: 4,
        ..Settings::default()
    };
    let failed = |error: io::Error| Error::output(folder.display().to_string(), error);
    eprintln!("simulating {} meters and adding a real household, in {}/input", fleet.meters, folder.display());
    write_input(&fleet, folder).map_err(failed)?;

    let (path, text) = write_config(folder).map_err(failed)?;
    let given = config::Given { file: Some((&path.display().to_string(), &text)), ..config::Given::default() };
    let (settings, _) = config::load(schema, &given).into_result()?;
    let job = Job::new(dataflow, settings, Cluster::threads(threads));
    let outcome = run_and_follow(job, None)?;
    write_summary(&folder.join("summary.json"), &outcome)?;
    let truths = Fleet::new(&fleet).map_err(|problem| Error::internal(problem.message))?;
    let mut scorer = Scorer::new(truths.truths(), INTERVAL);
    let household = score(&folder.join("anomalies.jsonl"), &mut scorer).map_err(failed)?;
    print!("{}", summary(&outcome, &scorer, household, folder));
    Ok(())
}

/// The fleet as compressed files side by side, and the household's as it is.
fn write_input(fleet: &Settings, folder: &Path) -> io::Result<()> {
    let input = folder.join("input");
    std::fs::create_dir_all(&input)?;
    for (partition, name) in simulated::partitions(fleet).iter().enumerate() {
        let file = File::create(input.join(format!("{name}.jsonl.zst")))?;
        let mut encoder = zstd::Encoder::new(file, 1)?;
        write_partition(fleet, partition as u32, &mut encoder, None)?;
        encoder.finish()?;
    }
    std::fs::write(input.join("household.jsonl.gz"), HOUSEHOLD)
}

fn write_config(folder: &Path) -> io::Result<(PathBuf, String)> {
    let archive = folder.join("archive");
    // An archive of an earlier run would be counted with this one's.
    match std::fs::remove_dir_all(&archive) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let url = format!("file://{}", std::path::absolute(&archive)?.display());
    let text = CONFIG.replace("{folder}", &folder.display().to_string()).replace("{url}", &url);
    let path = folder.join("meterflow.toml");
    std::fs::write(&path, &text)?;
    Ok((path, text))
}

/// What the demo reads of an anomaly's line.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    meter: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    time: i64,
}

/// Scores all anomalies of the fleet; returns how many the household has.
fn score(anomalies: &Path, scorer: &mut Scorer) -> io::Result<u64> {
    let mut household = 0;
    for line in BufReader::new(File::open(anomalies)?).lines() {
        let line = line?;
        let anomaly: Line = serde_json::from_str(&line)?;
        match anomaly.meter == HOUSEHOLD_ID {
            true => household += 1,
            false => scorer.add(&Anomaly { meter: &anomaly.meter, kind: &anomaly.kind, time: anomaly.time }),
        }
    }
    Ok(household)
}

fn summary(outcome: &Outcome, scorer: &Scorer, household: u64, folder: &Path) -> String {
    let mut out = Vec::new();
    // Writing to memory cannot fail.
    let _ = write_tables(&mut out, outcome, scorer, household, folder);
    String::from_utf8_lossy(&out).into_owned()
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

fn write_tables(out: &mut dyn Write, outcome: &Outcome, scorer: &Scorer, household: u64, folder: &Path) -> io::Result<()> {
    let counts = &outcome.counts;
    let folder = folder.display();
    writeln!(out)?;
    for source in counts.sources.values() {
        let (read, used, late) = (source.read, source.used(), source.late);
        let (duplicate, dead) = (source.duplicate, source.dead_total());
        writeln!(out, "{read} records = {used} used + {late} late + {duplicate} duplicate + {dead} dead")?;
    }
    let anomalies: u64 = counts.anomalies.values().sum();
    let [objects, rows, bytes] = counts.archive;
    writeln!(out, "{} windows, {anomalies} anomalies ({household} of the household)", counts.windows)?;
    writeln!(out, "archive: {rows} rows in {objects} files of {:.1} MB in all", bytes as f64 / 1e6)?;
    writeln!(out, "by worker: decoded {:?}, kept {:?}", values(&counts.decoded), values(&counts.kept))?;
    let read: u64 = counts.sources.values().map(|source| source.read).sum();
    let rate = read as f64 / outcome.seconds / 1e6;
    writeln!(out, "{:.1} s, {rate:.2} million records/s", outcome.seconds)?;

    writeln!(out, "\n{:<10} {:>8} {:>6} {:>8} {:>10}", "fault", "injected", "found", "recall", "precision")?;
    for fault in scorer.by_fault() {
        let (recall, precision) = (percent(fault.recall()), percent(fault.precision()));
        let name = fault.kind.name();
        writeln!(out, "{name:<10} {:>8} {:>6} {recall:>8} {precision:>10}", fault.injected, fault.found)?;
    }
    writeln!(out, "all anomalies of the fleet: precision {}", percent(scorer.total().precision()))?;
    writeln!(out, "(found: an anomaly of the meter within the fault; precision charges each kind with all false alarms)")?;

    writeln!(out, "\n{:<14} {:>9} {:>13}", "worst meters", "anomalies", "within faults")?;
    for (meter, count) in scorer.worst_meters(5) {
        writeln!(out, "{meter:<14} {:>9} {:>13}", count.anomalies, count.inside)?;
    }
    writeln!(out, "\nresults: {folder}/anomalies.jsonl, late.jsonl, dead_letters.jsonl, summary.json")?;
    writeln!(out, "archive: {folder}/archive (Parquet); with DuckDB, for example:")?;
    let query = format!(
        "SELECT meter, count(*) AS n, avg(voltage) FROM '{folder}/archive/kind=readings/*/*.parquet' GROUP BY meter ORDER BY n DESC LIMIT 5"
    );
    writeln!(out, "  duckdb -c \"{query}\"")
}

fn values(of: &std::collections::BTreeMap<u32, u64>) -> Vec<u64> {
    of.values().copied().collect()
}
