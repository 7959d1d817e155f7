//! `meterflow simulate`: readings of a simulated fleet as JSON lines, as fast as possible or at a rate.

use crate::cli::SimulateArgs;
use crate::connectors::simulated;
use crate::error::{Error, ErrorKind};
use crate::simulator::{self, Generator, Settings};
use crate::time::Stopwatch;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

/// Bytes that are generated at a time.
const CHUNK: usize = 1 << 20;

/// Writes what the arguments ask for.
pub fn simulate(args: &SimulateArgs) -> Result<(), Error> {
    let wrong = |problem: crate::settings::Problem| {
        Error::new(ErrorKind::Usage, format!("--{}", problem.key.replace('_', "-")), problem.message)
    };
    let settings = simulator::from_values(&args.values).map_err(wrong)?;
    let place = args.out.display().to_string();
    let failed = |error: io::Error| Error::output(&place, error);
    if let Some(path) = &args.truth {
        let failed = |error: io::Error| Error::output(path.display().to_string(), error);
        let mut out = BufWriter::new(File::create(path).map_err(failed)?);
        let fleet = simulator::Fleet::new(&settings).map_err(wrong)?;
        simulator::write_truth(&fleet, &mut out).and_then(|_| out.flush()).map_err(failed)?;
    }
    if place.ends_with('/') {
        write_folder(&settings, &args.out, args.rate).map_err(failed)
    } else {
        let generator = Generator::new(&settings).map_err(wrong)?;
        let written = match place.as_str() {
            "-" => write_all(generator, &mut io::stdout().lock(), args.rate),
            _ => File::create(&args.out).and_then(|mut file| write_all(generator, &mut file, args.rate)),
        };
        match written {
            // Whoever reads standard output may have seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(failed),
        }
    }
}

/// A file for each partition, written one after the other.
fn write_folder(settings: &Settings, folder: &Path, rate: Option<u64>) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (partition, name) in simulated::partitions(settings).iter().enumerate() {
        let mut file = File::create(folder.join(format!("{name}.jsonl")))?;
        write_partition(settings, partition as u32, &mut file, rate)?;
    }
    Ok(())
}

/// The lines of one partition.
pub fn write_partition(settings: &Settings, partition: u32, out: &mut dyn Write, rate: Option<u64>) -> io::Result<()> {
    let generator = Generator::of_partition(settings, partition);
    write_all(generator.map_err(|problem| io::Error::other(problem.message))?, out, rate)
}

fn write_all(mut generator: Generator, out: &mut dyn Write, rate: Option<u64>) -> io::Result<()> {
    let (watch, mut lines) = (Stopwatch::start(), Vec::with_capacity(CHUNK + 4096));
    loop {
        lines.clear();
        let more = match rate {
            None => generator.fill(&mut lines, CHUNK),
            // A hundredth of a second at a time.
            Some(rate) => generator.fill_lines(&mut lines, rate.div_ceil(100)),
        };
        out.write_all(&lines)?;
        if !more {
            return out.flush();
        }
        if let Some(rate) = rate {
            out.flush()?;
            let ahead = generator.totals().lines as f64 / rate as f64 - watch.seconds();
            if ahead > 0.0 {
                std::thread::sleep(Duration::from_secs_f64(ahead));
            }
        }
    }
}
