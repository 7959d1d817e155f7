//! A simulated fleet of smart meters, with faults whose truth is known.
//!
//! Everything is computed from the seed by position, so the same [`Settings`] give the same bytes on any machine and with
//! any number of threads.

pub mod draws;
pub mod faults;
pub mod fleet;
pub mod generator;
pub mod household;
mod lines;
mod load;
mod malformed;
pub mod score;
pub mod settings;
#[cfg(test)]
mod tests;

pub use faults::{Channel, FaultMix, Kind, Truth};
pub use fleet::{Fleet, Reading};
pub use generator::{Generator, Totals};
pub use household::{HOUSEHOLD_END, HOUSEHOLD_START};
pub use settings::{KEYS, Settings, Shapes, from_values};

use std::io::{self, Write};

/// Bytes that are written at a time.
const CHUNK: usize = 256 << 10;

/// Writes all lines of a fleet to `out`, and to `truth` one JSON line ([`Truth`]) for every injected fault.
///
/// Settings that cannot be are an error of kind `InvalidInput`.
pub fn write(settings: &Settings, out: &mut dyn Write, truth: Option<&mut dyn Write>) -> io::Result<Totals> {
    let invalid = |problem: crate::settings::Problem| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {}", problem.key, problem.message))
    };
    let mut generator = Generator::new(settings).map_err(invalid)?;
    if let Some(truth) = truth {
        write_truth(generator.fleet(), truth)?;
    }
    let mut chunk = Vec::with_capacity(CHUNK + 1024);
    let mut more = true;
    while more {
        more = generator.fill(&mut chunk, CHUNK);
        out.write_all(&chunk)?;
        chunk.clear();
    }
    out.flush()?;
    Ok(generator.totals())
}

/// Writes one JSON line for every injected fault, by meter, then by time; returns how many.
pub fn write_truth(fleet: &Fleet, out: &mut dyn Write) -> io::Result<u64> {
    let mut out = io::BufWriter::new(out);
    let mut faults = 0;
    for truth in fleet.truths() {
        serde_json::to_writer(&mut out, &truth)?;
        out.write_all(b"\n")?;
        faults += 1;
    }
    out.flush()?;
    Ok(faults)
}
