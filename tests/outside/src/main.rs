//! A program of dataflows outside the meterflow package: it names nothing of it but the prelude and `main`.

mod gaps;
mod totals;

use meterflow::prelude::Dataflow;
use std::process::ExitCode;

pub const DATAFLOWS: &[Dataflow] = &[gaps::GAPS, totals::TOTALS];

fn main() -> ExitCode {
    meterflow::main(DATAFLOWS)
}
