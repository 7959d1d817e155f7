//! The `meterflow` program: the dataflows that it offers. Add yours to the list.

mod anomaly;
mod stats;
mod template;

use meterflow::prelude::Dataflow;
use std::process::ExitCode;

const DATAFLOWS: &[Dataflow] = &[anomaly::ANOMALY, stats::STATS, template::TEMPLATE];

fn main() -> ExitCode {
    meterflow::main(DATAFLOWS)
}
