//! `meterflow checkpoint`: looks into a state folder. It never changes one.

use crate::checkpoint::inspect::{self, LogPart, Overview};
use crate::checkpoint::manifest::{Cost, FileEnd, Manifest};
use crate::cli::args::CheckpointCommand;
use crate::cli::{Program, remake, write};
use crate::config::Recorded;
use crate::error::{Error, ErrorKind};
use crate::model::commit::{Commit, JobRecord};
use crate::model::control::{Counts, Tick};
use crate::runtime::inspect::{Details, details, log, overview, verify};
use crate::state::Scope;
use crate::time::now_ms;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

/// Does what was asked; 1: something is damaged.
pub fn checkpoint(program: &Program, command: &CheckpointCommand, out: &mut dyn Write) -> Result<u8, Error> {
    match command {
        CheckpointCommand::Ls { folder } => {
            let overview = overview(folder)?;
            write(out, &list(&overview, now_ms()))?;
            Ok(u8::from(!overview.damage.is_empty()))
        }
        CheckpointCommand::Show { folder, tick } => {
            write(out, &show(&details(folder, *tick)?, now_ms()))?;
            Ok(0)
        }
        CheckpointCommand::Verify { folder, threads } => {
            let findings = verify(folder, *threads, &|job| remake(program.dataflows, job))?;
            let mark = |is_well: bool| if is_well { "ok " } else { "BAD" };
            let text: String = findings.iter().map(|of| format!("{} {}\n", mark(of.is_well), of.text)).collect();
            write(out, &text)?;
            Ok(u8::from(findings.iter().any(|of| !of.is_well)))
        }
        CheckpointCommand::Log { folder, json } => show_log(folder, *json, out).map(|()| 0),
    }
}

fn show_log(folder: &Path, json: bool, out: &mut dyn Write) -> Result<(), Error> {
    let broken = |error: std::io::Error| match error.kind() {
        // Whoever reads has seen enough, which is no error.
        std::io::ErrorKind::BrokenPipe => Error::new(ErrorKind::Output, "", CLOSED),
        _ => Error::output("standard output", error),
    };
    let mut show = |incarnation: u64, commit: &Commit| {
        let text = match json {
            true => serde_json::to_string(commit).map_err(Error::internal)? + "\n",
            false => line(incarnation, commit),
        };
        out.write_all(text.as_bytes()).map_err(broken)
    };
    match log(folder, &mut show) {
        Err(error) if error.message == CLOSED => Ok(()),
        done => done,
    }
}

/// What is said inside when standard output has been closed.
const CLOSED: &str = "closed";

fn line(incarnation: u64, commit: &Commit) -> String {
    let Commit { tick, takes, watermark, last, snapshot, shown, cuts, counts, .. } = commit;
    let blocks: u64 = takes.iter().map(|take| take.end - take.first).sum();
    let mut text = format!(
        "tick {tick} (incarnation {incarnation}): {blocks} blocks of {} partitions, {} readings, watermark {}",
        takes.len(),
        read(counts),
        time(*watermark)
    );
    for of in shown {
        let _ = write!(text, ", {} +{} lines to byte {}", of.path, of.rows, of.end);
    }
    if !cuts.is_empty() {
        let _ = write!(text, ", {} objects", cuts.len());
    }
    for (is, what) in [(*snapshot, "snapshot"), (*last, "last")] {
        let _ = write!(text, "{}", if is { format!(", {what}") } else { String::new() });
    }
    text + "\n"
}

fn list(overview: &Overview, now: i64) -> String {
    let Overview { job, incarnation, snapshots, log, complete, damage } = overview;
    let state = if *complete { "complete" } else { "not complete" };
    let mut text = format!("{}, incarnation {incarnation}, {state}\n", of_job(job));
    text += "snapshots:\n";
    for of in snapshots {
        let Manifest { tick, incarnation, time, cost, counts, .. } = &of.manifest;
        let Cost { written, written_bytes, unchanged } = cost;
        let _ = writeln!(
            text,
            "  tick {tick} of incarnation {incarnation}: {} old, {} of state, {} in {written} pieces written, \
             {unchanged} pieces unchanged, {} readings so far",
            age(now - time),
            size(of.bytes),
            size(*written_bytes),
            read(counts)
        );
    }
    if snapshots.is_empty() {
        text += "  none\n";
    }
    text += "log:\n";
    for (incarnation, LogPart { files, bytes, ticks }) in log {
        let ticks = ticks.map_or("no ticks".to_owned(), |(first, last)| format!("ticks {first} to {last}"));
        let _ = writeln!(text, "  incarnation {incarnation}: {ticks}, {} in {} files", size(*bytes), files.len());
    }
    damage.iter().for_each(|error| text += &format!("BAD {error}\n"));
    text
}

fn show(details: &Details, now: i64) -> String {
    let Manifest { tick, incarnation, time: taken, job, counts, files, .. } = &details.snapshot.manifest;
    let mut text = format!("{}\n{}\n", details.snapshot.manifest.name(), of_job(job));
    let _ = writeln!(
        text,
        "after tick {tick}, taken by incarnation {incarnation} at {} ({} ago); {} readings, {} windows, {} anomalies so far",
        time(*taken),
        age(now - taken),
        read(counts),
        counts.windows,
        counts.anomalies.values().sum::<u64>()
    );
    text += "steps:\n";
    for of in inspect::steps(&details.snapshot.manifest) {
        let step = &of.step;
        let _ = write!(text, "  {}: {} {}", step.step, step.kind, step.version);
        let _ = write!(text, ", {} key groups, {}", of.groups, size(of.bytes));
        let piece = |(scope, bytes): &(Scope, u64)| format!("{} {}", of_scope(*scope), size(*bytes));
        let largest: Vec<String> = of.largest.iter().map(piece).collect();
        let _ = writeln!(text, "; largest: {}", if largest.is_empty() { "none".to_owned() } else { largest.join(", ") });
        if !step.shape.is_empty() {
            let _ = writeln!(text, "    {}", step.shape);
        }
    }
    text += "partitions:\n";
    for (partition, taken) in job.partitions.iter().zip(&details.taken) {
        let size = partition.size.map_or(String::new(), |size| format!(" (file of {size} bytes)"));
        let come = taken.map_or("nothing read".to_owned(), |taken| {
            format!("read to byte {}{}", taken.end_offset, if taken.ended { ", ended" } else { "" })
        });
        let _ = writeln!(text, "  {} {}{size}: {come}", partition.source, partition.name);
    }
    text += "outputs:\n";
    files.iter().for_each(|FileEnd { path, end, .. }| text += &format!("  {path}: {end} bytes\n"));
    text + &settings(job)
}

fn of_job(job: &JobRecord) -> String {
    format!("job {}: dataflow {}, {} partitions, blocks of {} bytes", job.uid, job.dataflow, job.partitions.len(), job.block)
}

fn settings(job: &JobRecord) -> String {
    let Ok(recorded) = serde_json::from_str::<Recorded>(&job.settings) else { return String::new() };
    let given = recorded.given();
    let mut text = "settings:\n".to_owned();
    given.variables.iter().for_each(|(name, value)| text += &format!("  {name}={value}\n"));
    given.sets.iter().for_each(|set| text += &format!("  --set {set}\n"));
    if let Some((name, content)) = given.file {
        text += &format!("  {name}:\n");
        content.lines().for_each(|line| text += &format!("{}\n", format!("    {line}").trim_end()));
    }
    text
}

fn of_scope(scope: Scope) -> String {
    match scope {
        Scope::Global => "global".to_owned(),
        Scope::Group(group) => format!("group {group}"),
        Scope::Partition(partition) => format!("partition {partition}"),
    }
}

fn read(counts: &Counts) -> u64 {
    counts.sources.values().map(|source| source.read).sum()
}

/// A time as text, or what stands for none.
fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) if ms > i64::MIN && ms < i64::MAX => format!("{time:.3}"),
        _ if ms > 0 => "at its end".to_owned(),
        _ => "none".to_owned(),
    }
}

/// How long ago something was, in the largest unit of which there are two.
fn age(ms: i64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let (unit, scale) = units.into_iter().find(|(_, scale)| ms >= 2 * scale).unwrap_or(("s", 1_000));
    format!("{}{unit}", ms.max(0) / scale)
}

/// Bytes for a person.
fn size(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, scale)| bytes >= *scale) {
        Some((unit, scale)) => format!("{:.1} {unit}", bytes as f64 / scale as f64),
        None => format!("{bytes} B"),
    }
}

/// Where a run would go on, in a few words.
pub fn goes_on(last: Option<Tick>, snapshot: Option<Tick>, replayed: u64) -> String {
    let from = match snapshot {
        Some(tick) => format!("state from the snapshot of tick {tick}"),
        None => "no snapshot".to_owned(),
    };
    match last {
        Some(last) => format!("goes on after tick {last} ({from}; {replayed} ticks are made again)"),
        None => "goes on from the start (nothing has been committed)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_ages_and_times_are_short() {
        let sizes = [0, 1023, 1024, 1536, 1 << 20, 5 << 30].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.0 GiB"]);
        let ages = [-5, 0, 1_999, 119_999, 120_000, 7_200_000, 172_800_000].map(age);
        assert_eq!(ages, ["0s", "0s", "1s", "119s", "2m", "2h", "2d"]);
        let times = [i64::MIN, 0, i64::MAX].map(time);
        assert_eq!(times, ["none", "1970-01-01T00:00:00.000Z", "at its end"]);
    }

    #[test]
    fn where_it_goes_on() {
        assert_eq!(
            goes_on(Some(9), Some(7), 2),
            "goes on after tick 9 (state from the snapshot of tick 7; 2 ticks are made again)"
        );
        assert_eq!(goes_on(Some(9), None, 10), "goes on after tick 9 (no snapshot; 10 ticks are made again)");
        assert_eq!(goes_on(None, None, 0), "goes on from the start (nothing has been committed)");
    }
}
