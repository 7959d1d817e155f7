//! The fleet: when every meter reports, what, and which faults it has. Any reading can be computed by itself.

use crate::settings::Problem;
use crate::simulator::draws::{Draws, bell, below, unit_high, unit_low};
use crate::simulator::faults::{Channel, Fault, Kind, Truth, length, strength};
use crate::simulator::load::{Surroundings, healthy};
use crate::simulator::settings::Settings;

const DAY: i64 = 86_400_000;

/// A simulated fleet. Meters are numbered from 0; their readings (steps) too.
#[derive(Clone, Debug)]
pub struct Fleet {
    settings: Settings,
    meters: Draws,
    around: Surroundings,
    steps: u64,
    slot: u64,
    /// Chance that the fault of a slot is of this kind or one before it.
    chances: [f64; Kind::ALL.len()],
}

/// What a meter reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The number in the id; not that of the meter while two meters are exchanged.
    pub id: u32,
    /// Event time, ms.
    pub time: i64,
    /// Voltage and current in thousandths, temperature in tenths.
    pub values: [i64; 3],
    /// `OK` or a failure.
    pub status: &'static str,
}

/// A meter has at most one fault in this many steps, three hours or more, and it begins and ends inside.
pub(super) fn slot_steps(interval_ms: i64) -> u64 {
    ((DAY / 8) / interval_ms).max(24) as u64
}

impl Fleet {
    /// The fleet of checked settings.
    pub fn new(settings: &Settings) -> Result<Fleet, Problem> {
        settings.check()?;
        let root = Draws::new(settings.seed);
        let slot = slot_steps(settings.interval_ms);
        let slots_a_day = DAY as f64 / (slot as f64 * settings.interval_ms as f64);
        let mut sum = 0.0;
        let chances = Kind::ALL.map(|kind| {
            sum += settings.faults.rate(kind) / slots_a_day;
            sum
        });
        Ok(Fleet {
            settings: settings.clone(),
            meters: root.child(0),
            around: Surroundings { feeders: root.child(1), weather: root.child(2) },
            steps: (settings.duration_ms / settings.interval_ms) as u64,
            slot,
            chances,
        })
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Readings of every meter.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The meter's partition. Neighbours that can be exchanged are in the same one.
    pub fn partition(&self, meter: u32) -> u32 {
        (meter / 2) % self.settings.partitions
    }

    /// When in its interval a meter reports, jitter aside, ms.
    pub(super) fn phase(&self, meter: u32) -> i64 {
        let Settings { interval_ms, jitter_ms, .. } = self.settings;
        below(self.meters.child(meter.into()).nth(0), (interval_ms - jitter_ms) as u64) as i64
    }

    /// What is drawn for a reading. 0: delivery, 1: jitter, 2 and 3: noise, 4: noise of a fault, from 5: the line.
    pub(super) fn draws(&self, meter: u32, step: u64) -> Draws {
        self.meters.child(meter.into()).child(4).child(step)
    }

    /// Event time of a reading, ms: the steps of a meter have growing times.
    pub fn time(&self, meter: u32, step: u64) -> i64 {
        let jitter = below(self.draws(meter, step).nth(1), self.settings.jitter_ms as u64 + 1) as i64;
        self.settings.start_ms + step as i64 * self.settings.interval_ms + self.phase(meter) + jitter
    }

    /// What the meter reports at a step.
    pub fn reading(&self, meter: u32, step: u64) -> Reading {
        let time = self.time(meter, step);
        let mut values = self.healthy(meter, step, time);
        let (mut id, mut status) = (meter, "OK");
        if let Some(fault) = self.fault(meter, step) {
            status = self.spoil(&fault, meter, step, &mut values);
            id ^= u32::from(fault.exchange);
        }
        let [voltage, current, temperature] = values;
        Reading {
            id,
            time,
            values: [round(voltage, 1000.0), round(current.max(0.0), 1000.0), round(temperature, 10.0)],
            status,
        }
    }

    fn healthy(&self, meter: u32, step: u64, time: i64) -> [f64; 3] {
        healthy(&self.around, meter, self.meters.child(meter.into()), self.draws(meter, step), time)
    }

    /// Applies a fault to the values of a step, and returns the status.
    fn spoil(&self, fault: &Fault, meter: u32, step: u64, values: &mut [f64; 3]) -> &'static str {
        let channel = fault.channel.map_or(0, |channel| channel as usize);
        match fault.kind {
            Kind::Spike | Kind::Sag => values[channel] += fault.magnitude,
            Kind::Drift => {
                values[channel] += fault.magnitude * (step + 1 - fault.first) as f64 / (fault.end - fault.first) as f64;
            }
            Kind::Noise => values[channel] += fault.magnitude * bell(self.draws(meter, step).nth(4)),
            Kind::Stuck => {
                values[channel] = self.healthy(meter, fault.first, self.time(meter, fault.first))[channel];
            }
            Kind::Swap if fault.exchange => {}
            Kind::Swap => values.swap(Channel::Voltage as usize, Channel::Current as usize),
            Kind::Failure if fault.magnitude > 0.0 => {
                values[..2].fill(0.0);
                return "FAILURE_POWER";
            }
            Kind::Failure => return if fault.first & 1 == 0 { "FAILURE" } else { "SENSOR_FAILURE" },
        }
        "OK"
    }

    /// The fault that affects a step of a meter.
    #[inline]
    pub fn fault(&self, meter: u32, step: u64) -> Option<Fault> {
        self.fault_of_slot(meter, step / self.slot).filter(|fault| fault.first <= step && step < fault.end)
    }

    /// All faults that affect at least one reading, by meter, then by time.
    pub fn truths(&self) -> impl Iterator<Item = Truth> + '_ {
        let slots = self.steps.div_ceil(self.slot);
        let faults = (0..self.settings.meters).flat_map(move |meter| (0..slots).map(move |slot| (meter, slot)));
        faults.filter_map(|(meter, slot)| {
            let fault = self.fault_of_slot(meter, slot).filter(|fault| fault.first < self.steps)?;
            // While two are exchanged, what bears this id is what the other measures.
            let reporting = meter ^ u32::from(fault.exchange);
            Some(Truth {
                meter: self.id(meter),
                fault: fault.kind,
                channel: fault.channel,
                start: self.time(reporting, fault.first),
                end: self.time(meter, fault.end),
                magnitude: fault.magnitude,
            })
        })
    }

    /// The id with a number.
    pub fn id(&self, number: u32) -> String {
        let Settings { id_prefix, id_length, .. } = &self.settings;
        format!("{id_prefix}{number:0digits$}", digits = id_length - id_prefix.len())
    }

    #[inline]
    fn fault_of_slot(&self, meter: u32, slot: u64) -> Option<Fault> {
        // An exchange concerns two meters, an even one and the next. It is drawn for the even one and goes before
        // whatever is drawn for the other.
        let even = meter & !1;
        if meter != even && self.kind_of_slot(even, slot) == Some(Kind::Swap) {
            return self.fault_of_kind(even, slot, Kind::Swap);
        }
        self.fault_of_kind(meter, slot, self.kind_of_slot(meter, slot)?)
    }

    fn faults(&self, meter: u32, slot: u64) -> Draws {
        self.meters.child(meter.into()).child(5).child(slot)
    }

    #[inline]
    fn kind_of_slot(&self, meter: u32, slot: u64) -> Option<Kind> {
        let chance = unit_high(self.faults(meter, slot).nth(0));
        if chance >= self.chances[Kind::ALL.len() - 1] {
            return None;
        }
        let number = self.chances.iter().position(|sum| chance < *sum)?;
        Some(Kind::ALL[number])
    }

    /// The details of a fault. `None`: the meters do not report what it needs.
    #[cold]
    fn fault_of_kind(&self, meter: u32, slot: u64, kind: Kind) -> Option<Fault> {
        let draws = self.faults(meter, slot);
        let exchange = kind == Kind::Swap && meter & 1 == 0 && meter + 1 < self.settings.meters;
        let channel = match kind {
            Kind::Swap | Kind::Failure => None,
            Kind::Sag => Some(Channel::Voltage),
            Kind::Spike | Kind::Stuck | Kind::Drift | Kind::Noise => Some(self.any_channel(draws.nth(1))?),
        };
        let reports = |channel: Channel| self.settings.channels[channel as usize];
        let possible = match kind {
            Kind::Swap => exchange || (reports(Channel::Voltage) && reports(Channel::Current)),
            _ => channel.is_none_or(reports),
        };
        if !possible {
            return None;
        }
        let (shortest, longest, fewest) = length(kind);
        let draw = draws.nth(2);
        let ms = shortest + below(draw, (longest - shortest) as u64 + 1) as i64;
        let steps = match kind {
            Kind::Spike => 1 + below(draw, 3),
            _ => fewest.max((ms / self.settings.interval_ms) as u64),
        };
        // At least one step of the slot comes after it, so that two faults never touch.
        let first = slot * self.slot + below(draws.nth(3), self.slot - steps);
        let magnitude = self.magnitude(kind, channel, draws.nth(4));
        Some(Fault { kind, channel, exchange, first, end: first + steps, magnitude })
    }

    fn any_channel(&self, draw: u64) -> Option<Channel> {
        let reported = || Channel::ALL.into_iter().filter(|channel| self.settings.channels[*channel as usize]);
        reported().nth(below(draw, reported().count() as u64) as usize)
    }

    fn magnitude(&self, kind: Kind, channel: Option<Channel>, draw: u64) -> f64 {
        let Some(channel) = channel else {
            return if kind == Kind::Failure && draw.is_multiple_of(3) { 1.0 } else { 0.0 };
        };
        let (least, most) = strength(kind, channel);
        // A drift goes up or down, but a current cannot go below 0.
        let down = kind == Kind::Drift && channel != Channel::Current && draw & 1 == 1;
        let magnitude = least + (most - least) * unit_low(draw >> 8);
        // Thousandths are what a line can show.
        let magnitude = round(magnitude, 1000.0) as f64 / 1000.0;
        if down { -magnitude } else { magnitude }
    }
}

/// `value` in units of `1 / scale`, to the nearest.
#[inline]
fn round(value: f64, scale: f64) -> i64 {
    let scaled = value * scale;
    (scaled + 0.5f64.copysign(scaled)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::faults::FaultMix;

    fn fleet(settings: Settings) -> Fleet {
        Fleet::new(&settings).unwrap()
    }

    #[test]
    fn times_of_a_meter_grow_and_stay_in_their_interval() {
        for jitter_ms in [0, 1, 500, 999] {
            let fleet = fleet(Settings { interval_ms: 1000, duration_ms: 100_000, jitter_ms, ..Settings::default() });
            for meter in 0..20 {
                for step in 0..fleet.steps() {
                    let interval = fleet.settings().start_ms + step as i64 * 1000;
                    assert!((interval..interval + 1000).contains(&fleet.time(meter, step)));
                    assert!(fleet.time(meter, step) < fleet.time(meter, step + 1));
                }
            }
        }
    }

    #[test]
    fn rounding_is_to_the_nearest() {
        for (value, scale, rounded) in
            [(230.1234, 1000.0, 230_123), (0.0006, 1000.0, 1), (-3.26, 10.0, -33), (-0.04, 10.0, 0)]
        {
            assert_eq!(round(value, scale), rounded, "{value}");
        }
    }

    #[test]
    fn faults_come_as_often_as_told() {
        for kind in Kind::ALL {
            let settings = Settings {
                meters: 500,
                interval_ms: 60_000,
                duration_ms: 4 * DAY,
                faults: FaultMix::parse(&format!("{}=0.5", kind.name())).unwrap(),
                ..Settings::default()
            };
            let truths: Vec<Truth> = fleet(settings).truths().collect();
            assert!(truths.iter().all(|truth| truth.fault == kind));
            // A swap of an even meter concerns its neighbour too, instead of a swap of the neighbour's own.
            let expected = if kind == Kind::Swap { 1500.0 } else { 1000.0 };
            let ratio = truths.len() as f64 / expected;
            assert!((0.9..1.1).contains(&ratio), "{kind:?}: {} of {expected}", truths.len());
        }
    }

    #[test]
    fn faults_of_a_meter_never_touch() {
        for interval_ms in [1_000, 60_000, 3_600_000] {
            let settings = Settings {
                meters: 30,
                interval_ms,
                duration_ms: 500 * interval_ms,
                jitter_ms: 0,
                faults: FaultMix::parse("spike=.1,sag=.1,stuck=.1,drift=.1,noise=.1,swap=.1,failure=.1").unwrap(),
                ..Settings::default()
            };
            let fleet = fleet(settings);
            let truths: Vec<Truth> = fleet.truths().collect();
            for pair in truths.windows(2).filter(|pair| pair[0].meter == pair[1].meter) {
                assert!(pair[0].end < pair[1].start, "{pair:?}");
            }
        }
    }

    #[test]
    fn faults_need_the_channels_that_they_affect() {
        let faults = FaultMix::parse("spike=1,sag=1,stuck=1,drift=1,noise=1,swap=1,failure=1").unwrap();
        for channels in [[true, true, false], [false, true, true], [false, false, true], [false; 3]] {
            let settings =
                Settings { meters: 401, interval_ms: 60_000, duration_ms: DAY, channels, faults, ..Settings::default() };
            let truths: Vec<Truth> = fleet(settings).truths().collect();
            assert!(truths.iter().all(|truth| truth.channel.is_none_or(|channel| channels[channel as usize])));
            assert!(truths.iter().any(|truth| truth.fault == Kind::Failure));
            assert_eq!(channels.contains(&true), truths.iter().any(|truth| truth.fault == Kind::Spike));
        }
    }
}
