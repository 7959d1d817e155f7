//! What a healthy meter measures: load by time of day, voltage that gives way to it, and the weather.
//!
//! The model is meant to look like a low-voltage network, not to predict one. A day runs by UTC. Every term is either a
//! table or a draw, put together with additions and multiplications, so that all machines agree on every bit.
//!
//! How rough it is was set by a real household (`tests/fixtures/household.jsonl.gz`): at one reading a minute, 3.8 % of its
//! sound voltages and 4.3 % of its sound currents lie beyond 2.5 standard deviations of the last 60; there 5.4 % and 6.2 %.

use crate::simulator::draws::{Draws, bell, below, triangles, unit_high, unit_low};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const HALF_HOURS: usize = 48;

/// Meters that hang on one feeder: their voltage moves together.
const FEEDER: u32 = 64;

/// Share of a home's level by half hour: a morning and an evening peak.
const HOME: [f64; HALF_HOURS] = [
    0.30, 0.27, 0.25, 0.24, 0.23, 0.23, 0.23, 0.24, 0.25, 0.27, 0.32, 0.42, 0.60, 0.80, 0.95, 0.90, 0.75, 0.60, 0.50, 0.46,
    0.44, 0.43, 0.43, 0.45, 0.50, 0.52, 0.48, 0.44, 0.42, 0.42, 0.44, 0.48, 0.55, 0.65, 0.78, 0.90, 1.05, 1.15, 1.20, 1.18,
    1.10, 1.02, 0.95, 0.85, 0.72, 0.60, 0.48, 0.38,
];
/// The same on Saturdays and Sundays: up later, more at noon.
const HOME_WEEKEND: [f64; HALF_HOURS] = [
    0.36, 0.33, 0.30, 0.28, 0.26, 0.25, 0.24, 0.24, 0.24, 0.25, 0.27, 0.30, 0.34, 0.40, 0.50, 0.62, 0.75, 0.86, 0.92, 0.94,
    0.92, 0.90, 0.92, 0.98, 1.02, 0.98, 0.90, 0.82, 0.76, 0.72, 0.70, 0.72, 0.76, 0.82, 0.90, 0.98, 1.06, 1.12, 1.14, 1.10,
    1.04, 0.98, 0.92, 0.84, 0.74, 0.64, 0.54, 0.44,
];
/// A shop or workshop: opening hours.
const SHOP: [f64; HALF_HOURS] = [
    0.15, 0.15, 0.15, 0.15, 0.15, 0.15, 0.15, 0.15, 0.15, 0.15, 0.16, 0.18, 0.22, 0.30, 0.45, 0.70, 0.95, 1.10, 1.18, 1.20,
    1.20, 1.20, 1.18, 1.15, 1.08, 1.05, 1.08, 1.12, 1.15, 1.16, 1.15, 1.12, 1.08, 1.02, 0.95, 0.85, 0.70, 0.52, 0.38, 0.28,
    0.22, 0.19, 0.17, 0.16, 0.15, 0.15, 0.15, 0.15,
];
/// The same when it is closed.
const SHOP_WEEKEND: [f64; HALF_HOURS] = [0.15; HALF_HOURS];

/// The streams that the surroundings of the meters are drawn from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// One child a feeder.
    pub feeders: Draws,
    /// The weather, the same for all.
    pub weather: Draws,
}

/// Voltage (V), current (A) and temperature (°C) that healthy meter `number` measures at `time`; `meter` is its stream
/// and `noise` that of this reading.
#[inline]
pub(super) fn healthy(around: &Surroundings, number: u32, meter: Draws, noise: Draws, time: i64) -> [f64; 3] {
    let (first, second) = (meter.nth(1), meter.nth(2));
    let shop = first & 7 == 0;
    let rarely_large = unit_high(first);
    let level = if shop { 2.0 + 8.0 * rarely_large } else { 0.6 + 3.4 * rarely_large * rarely_large };
    let resistance = 0.04 + 0.16 * unit_high(second);
    let warmth = 6.0 * (unit_low(second) - 0.5);

    let local = time + below(first.rotate_left(29), 80 * 60_000) as i64 - 40 * 60_000;
    let (voltage_noise, (current_noise, temperature_noise)) = (bell(noise.nth(2)), triangles(noise.nth(3)));
    let share = curve(if shop { [&SHOP, &SHOP_WEEKEND] } else { [&HOME, &HOME_WEEKEND] }, local);
    let current = 0.15 + level * share * (1.0 + 0.12 * current_noise) + appliance(meter.child(3), local);

    let feeder = around.feeders.child((number / FEEDER).into());
    let supply = 234.0 + 4.0 * (unit_high(feeder.nth(0)) - 0.5) - 4.0 * curve([&HOME, &HOME_WEEKEND], time);
    let voltage = supply + wander(feeder, time, HOUR / 4) - current * resistance + 0.35 * voltage_noise;

    let weather = 15.0 + 4.0 * wander(around.weather, time, 6 * HOUR) + 5.0 * sun(time);
    let temperature = weather + warmth + 0.25 * temperature_noise;
    [voltage, current, temperature]
}

/// The weekday or weekend table at `time`, with straight lines between the half hours.
#[inline]
fn curve(tables: [&[f64; HALF_HOURS]; 2], time: i64) -> f64 {
    let (day, in_day) = (time.div_euclid(DAY), time.rem_euclid(DAY));
    // Day 0 was a Thursday; counted from Monday, Saturday is 5.
    let table = tables[usize::from((day + 3).rem_euclid(7) >= 5)];
    let half_hour = (in_day / (HOUR / 2)) as usize;
    let (here, next) = (table[half_hour], table[(half_hour + 1) % HALF_HOURS]);
    here + (next - here) * ((in_day % (HOUR / 2)) as f64 * (2.0 / HOUR as f64))
}

/// A number in `[-1, 1)` that changes slowly: drawn every `every` ms, with straight lines between.
#[inline]
fn wander(draws: Draws, time: i64, every: i64) -> f64 {
    let knot = (time / every) as u64 + 1;
    let (here, next) = (unit_high(draws.nth(knot)), unit_high(draws.nth(knot + 1)));
    2.0 * (here + (next - here) * ((time % every) as f64 / every as f64)) - 1.0
}

/// Amperes of something large that runs for a quarter of an hour now and then: a kettle, an oven, a heat pump.
#[inline]
fn appliance(draws: Draws, time: i64) -> f64 {
    let draw = draws.nth((time / (HOUR / 4)) as u64);
    if draw >> 59 == 0 { 2.0 + 7.0 * unit_low(draw) } else { 0.0 }
}

/// From -1 at 3:00 to 1 at 15:00 and back, without corners there.
#[inline]
fn sun(time: i64) -> f64 {
    let from_noon = (time.rem_euclid(DAY) - 15 * HOUR).abs();
    let distance = from_noon.min(DAY - from_noon) as f64 * (2.0 / DAY as f64);
    1.0 - 2.0 * distance * distance * (3.0 - 2.0 * distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONDAY: i64 = 1_704_067_200_000; // 2024-01-01

    fn around() -> Surroundings {
        Surroundings { feeders: Draws::new(1), weather: Draws::new(2) }
    }

    /// Mean of a channel over meters 0 to 199 at a time.
    fn mean(channel: usize, time: i64) -> f64 {
        let value = |meter: u32| {
            let draws = Draws::new(meter.into());
            healthy(&around(), meter, draws, draws.child(9).child(time as u64), time)[channel]
        };
        (0..200).map(value).sum::<f64>() / 200.0
    }

    #[test]
    fn days_have_the_shape_of_days() {
        let at = |day: i64, hour: i64| MONDAY + day * DAY + hour * HOUR;
        let current = |day, hour| mean(1, at(day, hour));
        assert!(current(0, 19) > 1.5 * current(0, 3), "evening {} night {}", current(0, 19), current(0, 3));
        assert!(current(0, 7) > 1.2 * current(0, 4), "morning {} night {}", current(0, 7), current(0, 4));
        assert!(current(5, 7) < 0.8 * current(4, 7), "Saturday sleeps: {} {}", current(5, 7), current(4, 7));
        assert!(mean(0, at(0, 19)) < mean(0, at(0, 3)) - 2.0, "the voltage gives way to the load");
        assert!(mean(2, at(0, 15)) > mean(2, at(0, 3)) + 4.0, "days are warmer than nights");
    }

    #[test]
    fn values_stay_within_what_a_network_allows() {
        for meter in 0..300u32 {
            for step in 0..200u64 {
                let (draws, time) = (Draws::new(meter.into()), MONDAY + step as i64 * 47 * 60_000);
                let [voltage, current, temperature] = healthy(&around(), meter, draws, draws.child(9).child(step), time);
                assert!((215.0..245.0).contains(&voltage), "{voltage} V");
                assert!((0.0..30.0).contains(&current), "{current} A");
                assert!((-5.0..40.0).contains(&temperature), "{temperature} degrees");
            }
        }
    }

    #[test]
    fn curves_meet_their_tables_and_midnight_does_not_jump() {
        assert_eq!(curve([&HOME, &SHOP], MONDAY + 15 * HOUR / 2), 0.90);
        assert_eq!(curve([&HOME, &SHOP], MONDAY + 15 * HOUR / 2 - HOUR / 4), (0.95 + 0.90) / 2.0);
        assert_eq!(curve([&HOME, &SHOP], MONDAY + 5 * DAY), SHOP[0]);
        assert!((curve([&HOME, &HOME], MONDAY - 1) - curve([&HOME, &HOME], MONDAY)).abs() < 1e-6);
        assert_eq!((sun(MONDAY + 3 * HOUR), sun(MONDAY + 15 * HOUR), sun(MONDAY + 9 * HOUR)), (-1.0, 1.0, 0.0));
    }
}
