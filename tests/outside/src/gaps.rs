//! `gaps`: which meters were silent, and for how long? What `dataflows/template.rs` does, defined elsewhere.
//!
//! Reads meter readings. Writes a line to the sink `gaps` whenever a meter's reading is more than a quarter of an hour
//! newer than the newest one before it.

use meterflow::prelude::*;
use std::io::Write;
use std::rc::Rc;

pub const GAPS: Dataflow = Dataflow {
    name: "gaps",
    about: "gaps of more than 15 minutes between readings of a meter",
    sources: &["readings"],
    sinks: &["gaps", "late", "dead_letters"],
    build,
};

fn build(flow: &mut Flow) -> Result<(), Error> {
    let readings = flow.source("readings")?;
    flow.sink("dead_letters", &readings.dead)?;
    flow.sink("late", &readings.late())?;

    let gaps = flow.step("gaps", readings.events.clone(), Gaps::new)?;
    flow.sink("gaps", &Custom::new(gaps, gap_lines))?;
    Ok(())
}

/// A silence of a meter, ms.
#[derive(Clone)]
struct Gap {
    meter: String,
    from: i64,
    to: i64,
}

/// The logic of the step: pure, and called with one event after the other.
struct Gaps {
    /// Newest event time by meter, ms; bounded by the number of meters.
    newest: Keyed<i64>,
}

impl Gaps {
    const LONGEST: i64 = 15 * 60 * 1000;

    fn new() -> Gaps {
        Gaps { newest: Keyed::new(1, i64::MAX) }
    }
}

impl Logic<Rc<Batch>, Gap> for Gaps {
    fn data(&mut self, batch: Rc<Batch>, out: &mut Vec<Gap>) {
        // Late readings come in batches of their own.
        for reading in batch.iter().filter(|_| !batch.is_late()) {
            let slot = self.newest.slot(&reading.row().meter, &batch.heap);
            let newest = &mut self.newest.get_mut(slot)[0];
            if reading.time().saturating_sub(*newest) > Self::LONGEST {
                let meter = String::from_utf8_lossy(reading.meter()).into_owned();
                out.push(Gap { meter, from: *newest, to: reading.time() });
            }
            *newest = if *newest == i64::MAX { reading.time() } else { reading.time().max(*newest) };
        }
    }

    fn close(&mut self, _: &Close, _: &mut Vec<Gap>, _: &mut Counts) -> bool {
        true
    }

    fn state(&mut self) -> Option<&mut dyn State> {
        Some(self)
    }
}

/// What is stored, by key group: it moves with the group when the number of workers changes.
impl State for Gaps {
    fn kind(&self) -> (&'static str, u16) {
        ("newest time by meter", 1)
    }

    /// Nothing that can be configured changes what a stored time means.
    fn shape(&self) -> String {
        String::new()
    }

    fn is_changed(&self, group: u16) -> bool {
        self.newest.is_changed(group)
    }

    fn mark_saved(&mut self, group: u16) {
        self.newest.mark_saved(group);
    }

    fn save(&self, scope: Scope, out: &mut Writer) {
        if let Scope::Group(group) = scope {
            self.newest.save(group, out);
        }
    }

    fn load(&mut self, scope: Scope, from: &mut Reader) -> Result<(), Corrupt> {
        match scope {
            Scope::Group(group) => self.newest.load(group, from),
            _ => Ok(()),
        }
    }
}

/// The line of a gap in the sink.
fn gap_lines(gap: &Gap, out: &mut Vec<u8>) -> u64 {
    // Ids have no control characters. Writing to memory cannot fail.
    let meter = gap.meter.replace('\\', "\\\\").replace('"', "\\\"");
    let _ = writeln!(out, "{{\"meter\":\"{meter}\",\"from\":{},\"to\":{}}}", gap.from, gap.to);
    1
}
