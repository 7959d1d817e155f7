//! `anomaly`: the main job. Which readings are out of the ordinary, and what is ordinary?
//!
//! Reads meter readings, judges each with the configured detectors, and keeps statistics of every meter's channels in
//! event-time windows. Writes `anomalies`, `stats`, readings that came too `late`, and `dead_letters`; archives readings,
//! statistics and anomalies.

use meterflow::prelude::*;

pub const ANOMALY: Dataflow = Dataflow {
    name: "anomaly",
    about: "anomalies of every reading, and statistics of every channel in event-time windows",
    sources: &["readings"],
    sinks: &["anomalies", "stats", "late", "dead_letters"],
    build,
};

fn build(flow: &mut Flow) -> Result<(), Error> {
    let readings = flow.source("readings")?.deduplicated(flow, "deduplicate")?;
    flow.sink("dead_letters", &readings.dead)?;
    flow.sink("late", &readings.late())?;
    flow.archive(&readings)?;

    if flow.wants("anomalies") {
        let anomalies = readings.detect(flow, "detect")?;
        flow.sink("anomalies", &anomalies)?;
        flow.archive(&anomalies)?;
    }
    if flow.wants("stats") {
        let stats = readings.window_statistics(flow, "windows")?;
        flow.sink("stats", &stats)?;
        flow.archive(&stats)?;
    }
    Ok(())
}
