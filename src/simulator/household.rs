//! The real household that the demo replays beside the simulated fleet: `tests/fixtures/household.jsonl.gz`.
//!
//! Two weeks of *Individual Household Electric Power Consumption*, Georges Hébrail and Alice Bérard, UCI Machine Learning
//! Repository, 2012, <https://doi.org/10.24432/C58K54>, CC BY 4.0. What was changed: `tests/fixtures/README.md`.

/// Its readings as JSON lines, gzip.
pub const HOUSEHOLD: &[u8] = include_bytes!("../../tests/fixtures/household.jsonl.gz");
/// The meter id of its readings.
pub const HOUSEHOLD_ID: &str = "household";
/// Time of its first reading, 2007-07-08T23:00:00Z, ms. It reports once a minute.
pub const HOUSEHOLD_START: i64 = 1_183_935_600_000;
/// End of its readings (exclusive), 2007-07-22T23:00:00Z, ms.
pub const HOUSEHOLD_END: i64 = 1_185_145_200_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_fixture_is_what_it_is_said_to_be() {
        let mut text = String::new();
        flate2::read::GzDecoder::new(HOUSEHOLD).read_to_string(&mut text).unwrap();
        let readings: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(readings.len(), 20_029);
        assert!(readings.iter().all(|reading| reading["meter_id"] == HOUSEHOLD_ID));
        let times: Vec<i64> = readings.iter().map(|reading| reading["timestamp"].as_i64().unwrap()).collect();
        assert_eq!((times[0], times[times.len() - 1] + 60_000), (HOUSEHOLD_START, HOUSEHOLD_END));
        let gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap != 60_000).collect();
        assert_eq!(gaps, [84 * 60_000, 48 * 60_000, 2 * 60_000]);
        let voltages = readings.iter().map(|reading| reading["voltage"].as_f64().unwrap());
        let (low, high) = voltages.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        assert_eq!((low, high), (224.44, 250.92));
    }
}
