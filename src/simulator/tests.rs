//! What a whole fleet delivers.

use crate::simulator::*;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const MINUTE: i64 = 60_000;

/// 40 meters, a reading a minute for six hours, nothing broken or out of order.
fn base() -> Settings {
    Settings {
        meters: 40,
        interval_ms: MINUTE,
        duration_ms: 360 * MINUTE,
        jitter_ms: 5_000,
        faults: FaultMix::NONE,
        disorder_share: 0.0,
        late_share: 0.0,
        malformed_share: 0.0,
        ..Settings::default()
    }
}

/// Everything at once.
fn rich() -> Settings {
    Settings {
        disorder_share: 0.1,
        late_share: 0.02,
        malformed_share: 0.05,
        faults: FaultMix::parse("default,spike=2").unwrap(),
        ..base()
    }
}

fn lines(settings: &Settings) -> Vec<u8> {
    let mut out = Vec::new();
    write(settings, &mut out, None).unwrap();
    out
}

fn split(bytes: &[u8]) -> Vec<&[u8]> {
    assert_eq!(bytes.last(), Some(&b'\n'));
    bytes[..bytes.len() - 1].split(|byte| *byte == b'\n').collect()
}

fn readings(settings: &Settings) -> Vec<(String, i64, Value)> {
    let bytes = lines(settings);
    let parse = |line: &&[u8]| {
        let value: Value = serde_json::from_slice(line).ok()?;
        Some((value.get("meter_id")?.as_str()?.to_owned(), value.get("timestamp")?.as_i64()?, value))
    };
    split(&bytes).iter().filter_map(parse).collect()
}

#[test]
fn the_same_settings_give_the_same_bytes() {
    let whole = lines(&rich());
    assert_eq!(whole, lines(&rich()));
    assert_ne!(whole, lines(&Settings { seed: 2, ..rich() }));
    // A published value: it may only change on purpose.
    let hash =
        whole.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    assert_eq!(hash, 8_915_277_682_725_593_716, "FNV-1a of the bytes");
}

#[test]
fn the_size_of_pieces_does_not_matter() {
    let whole = lines(&rich());
    for at_least in [1, 100, 5_000, usize::MAX] {
        let (mut generator, mut bytes, mut pieces) = (Generator::new(&rich()).unwrap(), Vec::new(), 0);
        let mut more = true;
        while more {
            let before = bytes.len();
            more = generator.fill(&mut bytes, at_least);
            assert!(bytes.len() > before && bytes.ends_with(b"\n"));
            pieces += 1;
        }
        assert_eq!(bytes, whole);
        assert_eq!(generator.totals().bytes, whole.len() as u64);
        assert!(pieces == 1 || at_least < whole.len());
        assert!(!generator.fill(&mut bytes, 1) && bytes.len() == whole.len(), "the end is the end");
    }
    let (mut generator, mut bytes) = (Generator::new(&rich()).unwrap(), Vec::new());
    while generator.fill_lines(&mut bytes, 7) {
        assert_eq!(generator.totals().lines % 7, 0);
    }
    assert_eq!(bytes, whole);
}

#[test]
fn partitions_share_out_the_lines_and_keep_their_order() {
    let settings = Settings { partitions: 3, ..rich() };
    let whole = lines(&settings);
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for partition in 0..3 {
        let mut bytes = Vec::new();
        assert!(!Generator::of_partition(&settings, partition).unwrap().fill(&mut bytes, usize::MAX));
        parts.push(bytes);
    }
    let mut rest: Vec<std::collections::VecDeque<&[u8]>> = parts.iter().map(|part| split(part).into()).collect();
    for line in split(&whole) {
        let part =
            rest.iter_mut().find(|part| part.front() == Some(&line)).expect("the next line is the next of a partition");
        part.pop_front();
    }
    assert!(rest.iter().all(|part| part.is_empty()));
    // Whatever bears an id, exchanged or not, is in one partition.
    let ids = |bytes: &[u8]| -> BTreeSet<String> {
        let values = split(bytes).into_iter().filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        values.filter_map(|value| Some(value.get("meter_id")?.as_str()?.to_owned())).filter(|id| id.len() == 12).collect()
    };
    assert_eq!(parts.iter().map(|part| ids(part).len()).sum::<usize>(), 40);
    // A partition without meters is empty.
    let few = Settings { meters: 2, partitions: 2, ..base() };
    assert!(!Generator::of_partition(&few, 1).unwrap().fill(&mut Vec::new(), 1));
}

#[test]
fn what_arrives_at_the_same_time_comes_by_meter() {
    // More than a slice of readings, dozens of them in every millisecond.
    let settings = Settings {
        meters: 2_000,
        interval_ms: 50,
        duration_ms: 400,
        jitter_ms: 20,
        disorder_share: 0.3,
        disorder_ms: 60,
        ..base()
    };
    let (mut generator, mut order) = (Generator::new(&settings).unwrap(), Vec::new());
    while let Some(arrival) = generator.next_arrival() {
        let mut line = Vec::new();
        generator.fill_lines(&mut line, 1);
        let value: Value = serde_json::from_slice(&line).unwrap();
        order.push((arrival, value["meter_id"].as_str().unwrap().to_owned()));
    }
    assert_eq!(order.len(), 16_000);
    assert!(order.is_sorted());
}

#[test]
fn the_last_of_an_odd_number_is_exchanged_with_nobody() {
    let settings = Settings { meters: 1, faults: FaultMix::parse("swap=8").unwrap(), ..base() };
    let readings = readings(&settings);
    assert!(readings.iter().all(|(id, _, _)| id == "meter-000000"));
    let swapped = readings.iter().filter(|(_, _, value)| value["voltage"].as_f64() < value["current"].as_f64()).count();
    assert!(swapped > 30, "{swapped}");
}

#[test]
fn counts_add_up_and_shares_are_about_right() {
    let settings = Settings { meters: 150, ..rich() };
    let mut truth = Vec::new();
    let mut out = Vec::new();
    let totals = write(&settings, &mut out, Some(&mut truth)).unwrap();
    let whole = 150 * 360;
    assert_eq!(totals.lines, whole);
    assert_eq!(totals.lines, totals.readings + totals.malformed);
    assert_eq!((totals.bytes, totals.lines), (out.len() as u64, split(&out).len() as u64));
    let share = |count: u64| count as f64 / whole as f64;
    assert!((share(totals.malformed) / 0.05 - 1.0).abs() < 0.1, "{totals:?}");
    assert!((share(totals.disordered) / (0.1 * 0.95) - 1.0).abs() < 0.1, "{totals:?}");
    assert!((share(totals.late) / (0.02 * 0.95) - 1.0).abs() < 0.15, "{totals:?}");
    let truths: Vec<Truth> = split(&truth).into_iter().map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(truths, Fleet::new(&settings).unwrap().truths().collect::<Vec<_>>());
    // Every meter reported once in every interval.
    let intact = Settings { malformed_share: 0.0, ..settings };
    let distinct: BTreeSet<(String, i64)> =
        readings(&intact).into_iter().map(|(id, time, _)| (id, (time - intact.start_ms) / MINUTE)).collect();
    assert_eq!(distinct.len() as u64, whole);
}

#[test]
fn without_delays_the_event_times_grow() {
    for settings in [base(), Settings { meters: 1, jitter_ms: 59_999, ..base() }, Settings { meters: 5_000, ..base() }] {
        let settings = Settings { duration_ms: 9 * MINUTE, ..settings };
        let times: Vec<i64> = readings(&settings).into_iter().map(|reading| reading.1).collect();
        assert!(times.is_sorted(), "{settings:?}");
    }
}

#[test]
fn disorder_and_lateness_are_bounded() {
    for (disorder_ms, late_ms) in [(1, 2), (30_000, 60_000), (90_000, 600_000)] {
        let settings = Settings {
            disorder_ms,
            late_ms,
            disorder_share: 0.1,
            late_share: 0.05,
            meters: 400,
            duration_ms: 90 * MINUTE,
            ..base()
        };
        let totals = write(&settings, &mut io::sink(), None).unwrap();
        let (mut newest, mut disordered, mut late) = (i64::MIN, 0, 0);
        for (_, time, _) in readings(&settings) {
            let behind = newest.saturating_sub(time).max(0);
            assert!(behind <= late_ms, "{behind}");
            disordered += u64::from(behind > 0 && behind <= disorder_ms);
            late += u64::from(behind > disorder_ms);
            newest = newest.max(time);
        }
        assert!(late <= totals.late && disordered <= totals.disordered + totals.late, "{late} {disordered} {totals:?}");
        // With 400 meters a minute, nearly every long delay shows.
        if disorder_ms >= 30_000 {
            assert!(late as f64 > 0.9 * totals.late as f64 && disordered as f64 > 0.9 * totals.disordered as f64);
        }
    }
}

/// The same fleet with and without faults differs where the truth says so, and nowhere else.
#[test]
fn the_truth_is_what_the_lines_show() {
    for kind in Kind::ALL {
        let healthy = Settings { meters: 61, duration_ms: 240 * MINUTE, ..base() };
        let faults = FaultMix::parse(&format!("{}=6", kind.name())).unwrap();
        let faulty = Settings { faults, ..healthy.clone() };
        let by_key = |settings: &Settings| -> BTreeMap<(String, i64), Value> {
            readings(settings).into_iter().map(|(id, time, value)| ((id, time), value)).collect()
        };
        let (before, after) = (by_key(&healthy), by_key(&faulty));
        let truths: Vec<Truth> = Fleet::new(&faulty).unwrap().truths().collect();
        assert!(truths.len() > 30, "{kind:?}: {}", truths.len());
        let truth_of = |id: &str, time: i64| truths.iter().position(|t| t.meter == id && t.start <= time && time < t.end);
        let mut shown = vec![0; truths.len()];
        let mut inside = vec![0; truths.len()];
        for (key, now) in &after {
            let truth = truth_of(&key.0, key.1);
            truth.iter().for_each(|index| inside[*index] += 1);
            let was = before.get(key);
            if was == Some(now) {
                continue;
            }
            let index = truth.unwrap_or_else(|| panic!("{kind:?}: {key:?} differs outside of every fault"));
            shown[index] += 1;
            let Some(was) = was else { continue };
            let changed = |name: &str| was[name] != now[name];
            let channels = Channel::ALL.into_iter().filter(|channel| changed(channel.name()));
            if let Some(only) = truths[index].channel {
                assert!(channels.eq([only]) && !changed("status"), "{kind:?}: {was} {now}");
            }
        }
        // A stuck channel shows from its second reading, and values can meet by chance: temperatures have one decimal.
        let least = |inside: usize| match kind {
            Kind::Stuck => inside / 2,
            Kind::Noise => inside * 3 / 4,
            _ => inside,
        };
        for (index, truth) in truths.iter().enumerate() {
            assert!(
                inside[index] > 0 && shown[index] >= least(inside[index]),
                "{truth:?}: {} of {}",
                shown[index],
                inside[index]
            );
        }
    }
}

#[test]
fn faults_look_like_themselves() {
    /// The faults of a kind on a channel, each with the readings that it affects.
    fn faults(kind: Kind, channel: Option<Channel>) -> Vec<(Truth, Vec<Value>)> {
        let faults = FaultMix::parse(&format!("{}=6", kind.name())).unwrap();
        let settings = Settings { meters: 60, faults, ..base() };
        let mut by_meter: BTreeMap<String, Vec<(i64, Value)>> = BTreeMap::new();
        readings(&settings).into_iter().for_each(|(id, time, value)| by_meter.entry(id).or_default().push((time, value)));
        let inside = |truth: &Truth| -> Vec<Value> {
            let readings = by_meter[&truth.meter].iter().filter(|(time, _)| truth.start <= *time && *time < truth.end);
            readings.map(|(_, value)| value.clone()).collect()
        };
        let fleet = Fleet::new(&settings).unwrap();
        let faults: Vec<(Truth, Vec<Value>)> =
            fleet.truths().filter(|t| t.channel == channel).map(|t| (t.clone(), inside(&t))).collect();
        assert!(faults.len() > 10, "{kind:?}: {}", faults.len());
        faults
    }
    let number = |value: &Value, channel: Channel| value[channel.name()].as_f64().unwrap();
    let voltage = |value: &Value| number(value, Channel::Voltage);
    for (truth, values) in faults(Kind::Spike, Some(Channel::Voltage)) {
        assert!(values.len() <= 3 && values.iter().all(|value| voltage(value) > 235.0), "{truth:?}");
    }
    for (truth, values) in faults(Kind::Sag, Some(Channel::Voltage)) {
        assert!(values.len() >= 2 && values.iter().all(|value| voltage(value) < 215.0), "{truth:?}");
    }
    for (truth, values) in faults(Kind::Stuck, Some(Channel::Current)) {
        assert!(values.len() >= 8 && values.iter().all(|value| value["current"] == values[0]["current"]), "{truth:?}");
    }
    for (truth, values) in faults(Kind::Drift, Some(Channel::Temperature)) {
        let change = number(&values[values.len() - 1], Channel::Temperature) - number(&values[0], Channel::Temperature);
        // One that the end of the run cuts off has not drifted all the way.
        let whole = truth.end < base().start_ms + base().duration_ms;
        assert!(!whole || (change - truth.magnitude).abs() < 4.0, "{truth:?}: {change}");
    }
    for (truth, values) in faults(Kind::Failure, None) {
        assert!(values.iter().all(|value| value["status"].as_str().unwrap().contains("FAILURE")), "{truth:?}");
        let dead = |value: &Value| voltage(value) == 0.0 && value["status"] == "FAILURE_POWER";
        assert!(values.iter().all(|value| dead(value) == (truth.magnitude > 0.0)), "{truth:?}");
    }
}

#[test]
fn mixed_shapes_say_the_same_as_plain_ones() {
    let plain = Settings { faults: FaultMix::DEFAULT, disorder_share: 0.1, ..base() };
    let mixed = Settings { shapes: Shapes::Mixed, ..plain.clone() };
    let (plain, mixed) = (readings(&plain), readings(&mixed));
    assert_eq!(plain.len(), mixed.len());
    for (plain, mixed) in plain.iter().zip(&mixed) {
        assert_eq!((&plain.0, plain.1, &plain.2["status"]), (&mixed.0, mixed.1, &mixed.2["status"]));
        for channel in Channel::ALL {
            let bits = |value: &Value| value[channel.name()].as_f64().map(f64::to_bits);
            assert_eq!(bits(&plain.2), bits(&mixed.2));
        }
    }
}

#[test]
fn lines_have_the_length_of_real_ones() {
    for (id_length, meters) in [(12, 10_000), (22, 10_000), (12, 1_000_000)] {
        let settings = Settings { id_length, meters, interval_ms: 10_000, duration_ms: 10_000, jitter_ms: 0, ..base() };
        let (mut generator, mut bytes) = (Generator::new(&settings).unwrap(), Vec::new());
        generator.fill_lines(&mut bytes, 5_000);
        let mean = bytes.len() as f64 / 5_000.0 - id_length as f64;
        assert!((107.0..110.0).contains(&mean), "{mean}");
    }
}

#[test]
fn settings_that_cannot_be_are_an_error() {
    let error = write(&Settings { meters: 0, ..base() }, &mut io::sink(), None).unwrap_err();
    assert_eq!(error.to_string(), "meters: found 0; the least is 1");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

prop_compose! {
    /// Any small fleet.
    fn any_settings()(
        (meters, partitions) in (1..40u32, 1..4u32),
        (interval_ms, jitter) in (prop::sample::select(vec![1i64, 7, 1_000, 60_000, 3_600_000]), 0.0..1.0f64),
        steps in 1..60i64,
        seed in any::<u64>(),
        shares in (0.0..0.5f64, 0.0..0.5f64, 0.0..1.0f64),
        disorder_ms in 0..200_000i64,
        more_ms in 1..1_000_000i64,
        mixed in any::<bool>(),
        channels in any::<[bool; 3]>(),
    ) -> Settings {
        Settings {
            meters,
            partitions,
            interval_ms,
            duration_ms: steps * interval_ms,
            jitter_ms: (interval_ms as f64 * jitter) as i64,
            seed,
            faults: FaultMix::parse("default,swap=0.5").unwrap(),
            disorder_share: shares.0,
            late_share: shares.1,
            malformed_share: (shares.2 - 0.5).max(0.0),
            disorder_ms,
            late_ms: disorder_ms + more_ms,
            shapes: if mixed { Shapes::Mixed } else { Shapes::Plain },
            channels,
            ..Settings::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Against the naive way: all readings are computed, each alone, and sorted by when they arrive.
    #[test]
    fn delivery_equals_sorting_everything(settings in any_settings(), at_least in 1..5_000usize) {
        let mut generator = Generator::new(&settings).unwrap();
        let (mut bytes, mut arrivals) = (Vec::new(), Vec::new());
        while let Some(arrival) = generator.next_arrival() {
            arrivals.push(arrival);
            generator.fill_lines(&mut bytes, 1);
        }
        prop_assert!(arrivals.is_sorted());
        let mut pieces = Vec::new();
        let mut other = Generator::new(&settings).unwrap();
        while other.fill(&mut pieces, at_least) {}
        prop_assert!(pieces == bytes);

        let totals = generator.totals();
        prop_assert_eq!(totals, other.totals());
        let steps = (settings.duration_ms / settings.interval_ms) as u64;
        prop_assert_eq!(totals.lines, u64::from(settings.meters) * steps);
        prop_assert_eq!(totals.lines, totals.readings + totals.malformed);

        // What arrives when is only in the order of lines: every intact one is where its delay may have put it.
        let fleet = Fleet::new(&settings).unwrap();
        let mut expected: BTreeMap<(String, i64), Reading> = BTreeMap::new();
        for meter in 0..settings.meters {
            for step in 0..steps {
                let reading = fleet.reading(meter, step);
                prop_assert!(expected.insert((fleet.id(reading.id), reading.time), reading).is_none());
            }
        }
        let (mut intact, mut disordered, mut late) = (0, 0, 0);
        for (line, arrival) in split(&bytes).into_iter().zip(arrivals) {
            let Ok(value) = serde_json::from_slice::<Value>(line) else { continue };
            let (Some(id), Some(time)) = (value["meter_id"].as_str(), value["timestamp"].as_i64()) else { continue };
            let Some(reading) = expected.get(&(id.to_owned(), time)) else { continue };
            let units = [1000.0, 1000.0, 10.0];
            let same = |index: usize| match value.get(Channel::ALL[index].name()) {
                None => !settings.channels[index],
                Some(number) => number.as_f64() == Some(reading.values[index] as f64 / units[index]),
            };
            if !(0..3).all(same) || value["status"] != reading.status {
                continue;
            }
            expected.remove(&(id.to_owned(), time));
            intact += 1;
            let delay = arrival - time;
            prop_assert!((0..=settings.late_ms).contains(&delay), "{}", delay);
            disordered += u64::from(delay > 0 && delay <= settings.disorder_ms);
            late += u64::from(delay > settings.disorder_ms);
        }
        // One way to break a line is to nest it too deeply, which serde_json does not mind.
        prop_assert!(intact >= totals.readings && intact <= totals.lines, "{} {:?}", intact, totals);
        if totals.malformed == 0 {
            prop_assert_eq!((disordered, late), (totals.disordered, totals.late));
        }
    }
}
