//! `stats`: statistics of every meter's channels in event-time windows, and nothing else.
//!
//! Reads meter readings. Writes `stats`, readings that came too `late`, and `dead_letters`; archives readings and
//! statistics.

use meterflow::prelude::*;

pub const STATS: Dataflow = Dataflow {
    name: "stats",
    about: "statistics of every channel in event-time windows, without detectors",
    sources: &["readings"],
    sinks: &["stats", "late", "dead_letters"],
    build,
};

fn build(flow: &mut Flow) -> Result<(), Error> {
    let readings = flow.source("readings")?.deduplicated(flow, "deduplicate")?;
    flow.sink("dead_letters", &readings.dead)?;
    flow.sink("late", &readings.late())?;
    flow.archive(&readings)?;

    if flow.wants("stats") {
        let stats = readings.window_statistics(flow, "windows")?;
        flow.sink("stats", &stats)?;
        flow.archive(&stats)?;
    }
    Ok(())
}
