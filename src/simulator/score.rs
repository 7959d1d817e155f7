//! How well anomalies match the injected faults. Pure: truth and anomalies in, counts out.
//!
//! * An anomaly is *inside* a fault when it is of the fault's meter, of whatever kind and channel, and
//!   `start <= time < end + grace`. The grace is for detectors that fire when a fault ends: the first sound reading after it
//!   comes exactly at `end`.
//! * A fault is *found* when an anomaly is inside. **Recall** of a kind of fault = found / injected (event recall).
//! * **Precision** = anomalies inside any fault / all anomalies, by reading, over all and per kind of anomaly. Per kind of fault
//!   it is anomalies inside faults of that kind / (those + anomalies outside every fault): every kind is charged with all
//!   false alarms, as if it were the only one, since an outside anomaly belongs to no kind of fault.
//! * What is 0 / 0 is undefined (`None`), not 0 and not 1.
//!
//! Nothing is adjusted by points: one hit inside a fault does not turn its other readings into hits.

use crate::simulator::faults::{Kind, Truth};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// An anomaly event, as far as it is judged.
#[derive(Clone, Copy, Debug)]
pub struct Anomaly<'a> {
    /// The meter.
    pub meter: &'a str,
    /// What the detector calls it.
    pub kind: &'a str,
    /// Event time, ms.
    pub time: i64,
}

/// Anomalies that were counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Count {
    /// All of them.
    pub anomalies: u64,
    /// Those inside a fault.
    pub inside: u64,
}

/// How one kind of fault fared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultScore {
    /// The kind.
    pub kind: Kind,
    /// Faults of the kind.
    pub injected: u64,
    /// Those with an anomaly inside.
    pub found: u64,
    /// Anomalies inside faults of the kind.
    pub inside: u64,
    /// Anomalies outside every fault, the same for all kinds.
    pub outside: u64,
}

/// Counts anomalies against the truth, one after the other.
#[derive(Clone, Debug)]
pub struct Scorer {
    grace_ms: i64,
    injected: Vec<Injected>,
    /// Indexes in `injected` by meter, by start.
    faults: BTreeMap<String, Vec<usize>>,
    meters: BTreeMap<String, Count>,
    kinds: BTreeMap<String, Count>,
    inside: [u64; Kind::ALL.len()],
    all: Count,
}

#[derive(Clone, Copy, Debug)]
struct Injected {
    kind: Kind,
    start: i64,
    end: i64,
    found: bool,
}

impl Count {
    /// The share inside; `None` without anomalies.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.inside, self.anomalies)
    }

    fn add(&mut self, inside: bool) {
        self.anomalies += 1;
        self.inside += u64::from(inside);
    }
}

impl FaultScore {
    /// Share of the faults that were found; `None` when there were none.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.found, self.injected)
    }

    /// Share of the anomalies inside, if this were the only kind; `None` without anomalies.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.inside, self.inside + self.outside)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Scorer {
    /// Against these faults, with a grace of `grace_ms` at their ends: at least the interval between readings.
    pub fn new(truths: impl IntoIterator<Item = Truth>, grace_ms: i64) -> Scorer {
        let mut scorer = Scorer {
            grace_ms,
            injected: Vec::new(),
            faults: BTreeMap::new(),
            meters: BTreeMap::new(),
            kinds: BTreeMap::new(),
            inside: [0; Kind::ALL.len()],
            all: Count::default(),
        };
        for truth in truths {
            scorer.faults.entry(truth.meter).or_default().push(scorer.injected.len());
            scorer.injected.push(Injected { kind: truth.fault, start: truth.start, end: truth.end, found: false });
        }
        for indexes in scorer.faults.values_mut() {
            indexes.sort_by_key(|index| scorer.injected[*index].start);
        }
        scorer
    }

    /// Counts an anomaly of a simulated meter.
    pub fn add(&mut self, anomaly: &Anomaly) {
        let mut kinds = [false; Kind::ALL.len()];
        for index in self.faults.get(anomaly.meter).into_iter().flatten() {
            let fault = &mut self.injected[*index];
            if anomaly.time < fault.start {
                break;
            }
            if anomaly.time < fault.end.saturating_add(self.grace_ms) {
                fault.found = true;
                kinds[fault.kind as usize] = true;
            }
        }
        kinds.iter().zip(&mut self.inside).for_each(|(hit, inside)| *inside += u64::from(*hit));
        let inside = kinds.contains(&true);
        self.all.add(inside);
        count_of(&mut self.kinds, anomaly.kind).add(inside);
        count_of(&mut self.meters, anomaly.meter).add(inside);
    }

    /// All anomalies.
    pub fn total(&self) -> Count {
        self.all
    }

    /// Every kind of fault, also those of which there was none.
    pub fn by_fault(&self) -> Vec<FaultScore> {
        let outside = self.all.anomalies - self.all.inside;
        let score = |kind: Kind| {
            let faults = || self.injected.iter().filter(|fault| fault.kind == kind);
            FaultScore {
                kind,
                injected: faults().count() as u64,
                found: faults().filter(|fault| fault.found).count() as u64,
                inside: self.inside[kind as usize],
                outside,
            }
        };
        Kind::ALL.map(score).into()
    }

    /// The kinds of anomalies that came, by name.
    pub fn by_anomaly(&self) -> impl Iterator<Item = (&str, Count)> {
        self.kinds.iter().map(|(kind, count)| (kind.as_str(), *count))
    }

    /// The `most` meters with the most anomalies; among equals by id.
    pub fn worst_meters(&self, most: usize) -> Vec<(&str, Count)> {
        let mut meters: Vec<(&str, Count)> = self.meters.iter().map(|(meter, count)| (meter.as_str(), *count)).collect();
        meters.sort_by_key(|(_, count)| Reverse(count.anomalies));
        meters.truncate(most);
        meters
    }
}

/// The count of a name, which is copied only the first time.
fn count_of<'a>(counts: &'a mut BTreeMap<String, Count>, name: &str) -> &'a mut Count {
    if !counts.contains_key(name) {
        counts.insert(name.into(), Count::default());
    }
    counts.get_mut(name).expect("was inserted if it was not there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn truth(meter: &str, fault: Kind, start: i64, end: i64) -> Truth {
        Truth { meter: meter.into(), fault, channel: None, start, end, magnitude: 0.0 }
    }

    fn scored(truths: &[Truth], grace_ms: i64, anomalies: &[(&str, &str, i64)]) -> Scorer {
        let mut scorer = Scorer::new(truths.iter().cloned(), grace_ms);
        anomalies.iter().for_each(|(meter, kind, time)| scorer.add(&Anomaly { meter, kind, time: *time }));
        scorer
    }

    #[test]
    fn intervals_are_half_open_with_grace() {
        let truths = [truth("a", Kind::Sag, 100, 200)];
        for (meter, time, grace, inside) in [
            ("a", 99, 0, 0),
            ("a", 100, 0, 1),
            ("a", 199, 0, 1),
            ("a", 200, 0, 0),
            ("a", 200, 1, 1),
            ("a", 249, 50, 1),
            ("a", 250, 50, 0),
            ("a", 99, 50, 0),
            ("b", 150, 50, 0),
        ] {
            let scorer = scored(&truths, grace, &[(meter, "voltage_drop", time)]);
            assert_eq!(scorer.total(), Count { anomalies: 1, inside }, "{meter} {time} {grace}");
            assert_eq!(scorer.by_fault()[Kind::Sag as usize].found, inside);
        }
    }

    #[test]
    fn a_table_of_everything() {
        let truths = [
            truth("a", Kind::Spike, 10, 20),
            truth("a", Kind::Sag, 22, 30),
            truth("b", Kind::Spike, 10, 20),
            truth("b", Kind::Stuck, 50, 90),
        ];
        let anomalies = [
            ("a", "up", 10),
            ("a", "up", 12),
            ("a", "down", 22),
            ("a", "up", 99),
            ("b", "up", 45),
            ("c", "down", 15),
            ("c", "up", 16),
        ];
        let scorer = scored(&truths, 5, &anomalies);
        let row = |kind, injected, found, inside| FaultScore { kind, injected, found, inside, outside: 4 };
        // The anomaly at 22 is inside the sag, and inside the grace of the spike.
        assert_eq!(
            scorer.by_fault(),
            [
                row(Kind::Spike, 2, 1, 3),
                row(Kind::Sag, 1, 1, 1),
                row(Kind::Stuck, 1, 0, 0),
                row(Kind::Drift, 0, 0, 0),
                row(Kind::Noise, 0, 0, 0),
                row(Kind::Swap, 0, 0, 0),
                row(Kind::Failure, 0, 0, 0),
            ]
        );
        assert_eq!(scorer.total(), Count { anomalies: 7, inside: 3 });
        assert_eq!(scorer.total().precision(), Some(3.0 / 7.0));
        let [spike, sag, stuck, drift, ..] = scorer.by_fault()[..] else { panic!() };
        assert_eq!([spike, sag, stuck, drift].map(|score| score.recall()), [Some(0.5), Some(1.0), Some(0.0), None]);
        assert_eq!([spike, sag, stuck].map(|score| score.precision()), [Some(3.0 / 7.0), Some(0.2), Some(0.0)]);
        let by_anomaly: Vec<_> = scorer.by_anomaly().collect();
        assert_eq!(by_anomaly, [("down", Count { anomalies: 2, inside: 1 }), ("up", Count { anomalies: 5, inside: 2 })]);
        let worst = scorer.worst_meters(2);
        assert_eq!(worst, [("a", Count { anomalies: 4, inside: 3 }), ("c", Count { anomalies: 2, inside: 0 })]);
        assert_eq!(scored(&[], 0, &[]).total().precision(), None);
    }

    proptest! {
        #[test]
        fn counts_equal_the_definitions(
            faults in prop::collection::vec((0..4u8, 0..7usize, 0..100i64, 1..30i64), 0..20),
            anomalies in prop::collection::vec((0..5u8, 0..3u8, 0..140i64), 0..40),
            grace in 0..10i64,
        ) {
            let truths: Vec<Truth> = faults.iter()
                .map(|(meter, kind, start, length)| truth(&meter.to_string(), Kind::ALL[*kind], *start, start + length))
                .collect();
            let texts: Vec<(String, String, i64)> = anomalies.iter()
                .map(|(meter, kind, time)| (meter.to_string(), kind.to_string(), *time))
                .collect();
            let anomalies: Vec<(&str, &str, i64)> = texts.iter().map(|(m, k, t)| (m.as_str(), k.as_str(), *t)).collect();
            let scorer = scored(&truths, grace, &anomalies);
            let inside = |fault: &Truth, anomaly: &(&str, &str, i64)| {
                fault.meter == anomaly.0 && fault.start <= anomaly.2 && anomaly.2 < fault.end + grace
            };
            let outside = anomalies.iter().filter(|anomaly| !truths.iter().any(|fault| inside(fault, anomaly))).count() as u64;
            for (kind, score) in Kind::ALL.into_iter().zip(scorer.by_fault()) {
                let of_kind: Vec<&Truth> = truths.iter().filter(|fault| fault.fault == kind).collect();
                let found = of_kind.iter().filter(|fault| anomalies.iter().any(|anomaly| inside(fault, anomaly)));
                let hits = anomalies.iter().filter(|anomaly| of_kind.iter().any(|fault| inside(fault, anomaly)));
                let (injected, found, inside) = (of_kind.len() as u64, found.count() as u64, hits.count() as u64);
                prop_assert_eq!(score, FaultScore { kind, injected, found, inside, outside });
            }
            let total = scorer.total();
            prop_assert_eq!(total, Count { anomalies: anomalies.len() as u64, inside: anomalies.len() as u64 - outside });
            for counts in [scorer.by_anomaly().collect::<Vec<_>>(), scorer.worst_meters(usize::MAX)] {
                let sum = counts.iter().fold((0, 0), |sum, (_, count)| (sum.0 + count.anomalies, sum.1 + count.inside));
                prop_assert_eq!(sum, (total.anomalies, total.inside));
            }
        }
    }
}
