//! The order of delivery: the readings of all meters as a collector would have written them down.
//!
//! A reading *arrives* at its event time, or later when it is out of order or late. Lines come in the order of (arrival,
//! meter, step). Meters report one after the other by phase, so nearly everything is in order as it is generated; what
//! is delayed waits as 24 bytes in a heap, not as a line, and memory is bounded by the delayed readings of the longest delay.

use crate::settings::Problem;
use crate::simulator::draws::{below, unit_high, unit_low};
use crate::simulator::fleet::Fleet;
use crate::simulator::lines::Lines;
use crate::simulator::malformed;
use crate::simulator::settings::{Settings, Shapes};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Readings that are put in order at a time.
const SLICE: usize = 4096;

/// What has been delivered.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// All lines: readings and malformed ones.
    pub lines: u64,
    /// Lines that are readings.
    pub readings: u64,
    /// Lines that are broken.
    pub malformed: u64,
    /// Readings that were delayed by up to the disorder.
    pub disordered: u64,
    /// Readings that were delayed by more than that.
    pub late: u64,
    /// Bytes, line feeds included.
    pub bytes: u64,
}

/// Generates the lines of a fleet or of one partition of it, in order and in pieces of any size.
#[derive(Clone, Debug)]
pub struct Generator {
    fleet: Fleet,
    lines: Lines,
    /// The meters, by phase.
    order: Vec<u32>,
    step: u64,
    /// Index in `order` of the meter that reports next in `step`.
    next: usize,
    /// Delayed beyond what has been generated so far.
    waiting: BinaryHeap<Reverse<Delivery>>,
    /// To be written, in order; those before `written` have been.
    ready: Vec<Delivery>,
    written: usize,
    totals: Totals,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Delivery {
    arrival: i64,
    meter: u32,
    step: u64,
    delay: Delay,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Delay {
    None,
    Disordered,
    Late,
}

impl Generator {
    /// All lines, whatever the number of partitions.
    pub fn new(settings: &Settings) -> Result<Generator, Problem> {
        Generator::of_meters(settings, |_, _| true)
    }

    /// The lines of one partition, from 0: those of its meters, in the order in which [`Generator::new`] has them.
    pub fn of_partition(settings: &Settings, partition: u32) -> Result<Generator, Problem> {
        Generator::of_meters(settings, |fleet, meter| fleet.partition(meter) == partition)
    }

    fn of_meters(settings: &Settings, wanted: impl Fn(&Fleet, u32) -> bool) -> Result<Generator, Problem> {
        let fleet = Fleet::new(settings)?;
        let mut order: Vec<u32> = (0..settings.meters).filter(|meter| wanted(&fleet, *meter)).collect();
        order.sort_by_cached_key(|meter| (fleet.phase(*meter), *meter));
        Ok(Generator {
            lines: Lines::new(settings),
            fleet,
            order,
            step: 0,
            next: 0,
            waiting: BinaryHeap::new(),
            ready: Vec::new(),
            written: 0,
            totals: Totals::default(),
        })
    }

    /// The fleet whose lines these are.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// What has been delivered so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// When the next line arrives, ms of simulated time; `None`: there is none. For a caller that keeps pace with a clock.
    pub fn next_arrival(&mut self) -> Option<i64> {
        self.prepare().then(|| self.ready[self.written].arrival)
    }

    /// Appends whole lines to `out` until it has grown by `at_least` bytes. False: these were the last.
    pub fn fill(&mut self, out: &mut Vec<u8>, at_least: usize) -> bool {
        let (start, goal) = (out.len(), out.len().saturating_add(at_least));
        while out.len() < goal && self.prepare() {
            self.write(out);
        }
        self.totals.bytes += (out.len() - start) as u64;
        self.prepare()
    }

    /// Appends at most `most` whole lines to `out`. False: these were the last.
    pub fn fill_lines(&mut self, out: &mut Vec<u8>, most: u64) -> bool {
        let (start, goal) = (out.len(), self.totals.lines.saturating_add(most));
        while self.totals.lines < goal && self.prepare() {
            self.write(out);
        }
        self.totals.bytes += (out.len() - start) as u64;
        self.prepare()
    }

    /// Sees to it that a line is ready; false: there is none any more.
    #[inline]
    fn prepare(&mut self) -> bool {
        self.written < self.ready.len() || self.next_slice()
    }

    #[cold]
    fn next_slice(&mut self) -> bool {
        self.ready.clear();
        self.written = 0;
        while self.ready.is_empty() && (self.has_next() || !self.waiting.is_empty()) {
            for _ in 0..SLICE {
                if !self.has_next() {
                    break;
                }
                let delivery = self.delivery(self.order[self.next], self.step);
                self.ready.push(delivery);
                self.next += 1;
                if self.next == self.order.len() {
                    (self.next, self.step) = (0, self.step + 1);
                }
            }
            // Nothing that is still to be generated arrives before this.
            let horizon = if self.has_next() { self.earliest(self.order[self.next], self.step) } else { i64::MAX };
            self.settle(horizon);
        }
        !self.ready.is_empty()
    }

    fn has_next(&self) -> bool {
        self.step < self.fleet.steps() && !self.order.is_empty()
    }

    /// Leaves in `ready`, sorted, what arrives before `horizon`, and what does not in `waiting`.
    fn settle(&mut self, horizon: i64) {
        let Generator { ready, waiting, .. } = self;
        ready.retain(|delivery| {
            let now = delivery.arrival < horizon;
            if !now {
                waiting.push(Reverse(*delivery));
            }
            now
        });
        while waiting.peek().is_some_and(|Reverse(delivery)| delivery.arrival < horizon) {
            ready.extend(waiting.pop().map(|Reverse(delivery)| delivery));
        }
        // The stable sort makes use of the order that is there.
        ready.sort();
    }

    /// The earliest time that a reading can have, and so can all that come after it by phase and step.
    fn earliest(&self, meter: u32, step: u64) -> i64 {
        let Settings { start_ms, interval_ms, .. } = *self.fleet.settings();
        start_ms + step as i64 * interval_ms + self.fleet.phase(meter)
    }

    fn delivery(&self, meter: u32, step: u64) -> Delivery {
        let settings = self.fleet.settings();
        let draws = self.fleet.draws(meter, step);
        let chance = unit_high(draws.nth(0));
        let ms_up_to = |most: i64| 1 + below(draws.nth(8), most as u64) as i64;
        let (delay, ms) = if chance < settings.disorder_share && settings.disorder_ms > 0 {
            (Delay::Disordered, ms_up_to(settings.disorder_ms))
        } else if chance >= 1.0 - settings.late_share {
            (Delay::Late, settings.disorder_ms + ms_up_to(settings.late_ms - settings.disorder_ms))
        } else {
            (Delay::None, 0)
        };
        Delivery { arrival: self.fleet.time(meter, step) + ms, meter, delay, step }
    }

    /// Appends the next line, which is ready.
    #[inline]
    fn write(&mut self, out: &mut Vec<u8>) {
        let Delivery { meter, step, delay, .. } = self.ready[self.written];
        self.written += 1;
        let Settings { malformed_share, shapes, .. } = *self.fleet.settings();
        let reading = self.fleet.reading(meter, step);
        let draws = self.fleet.draws(meter, step);
        self.totals.lines += 1;
        if unit_low(draws.nth(0)) < malformed_share {
            let mut line = Vec::new();
            self.lines.plain(&reading, &mut line);
            malformed::spoil(&mut line, draws);
            out.append(&mut line);
            self.totals.malformed += 1;
        } else {
            match shapes {
                Shapes::Plain => self.lines.plain(&reading, out),
                Shapes::Mixed => self.lines.mixed(&reading, draws, out),
            }
            self.totals.readings += 1;
            self.totals.disordered += u64::from(delay == Delay::Disordered);
            self.totals.late += u64::from(delay == Delay::Late);
        }
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_delayed_waits() {
        let settings = Settings {
            meters: 1_000,
            interval_ms: 1_000,
            duration_ms: 600_000,
            jitter_ms: 0,
            disorder_share: 0.02,
            disorder_ms: 10_000,
            late_share: 0.01,
            late_ms: 60_000,
            ..Settings::default()
        };
        let mut generator = Generator::new(&settings).unwrap();
        let (mut bytes, mut most) = (Vec::new(), 0);
        while generator.fill(&mut bytes, 100_000) {
            bytes.clear();
            most = most.max(generator.waiting.len());
            assert!(generator.ready.len() <= SLICE + generator.waiting.len() + 1_000);
        }
        // 1,000 readings a second: 20 of them wait for 5 s and 10 for 35 s, on average.
        assert!((300..700).contains(&most), "{most}");
    }
}
