//! Detector `moving_average`: a value far from the mean of the meter's own recent readings.
//!
//! By meter and channel, over the baseline's readings (never the one that is judged, which could not exceed sqrt(n - 1)
//! standard deviations if it were among them): s = max(standard deviation of the population, `stddev_floor`,
//! `stddev_floor_relative` * |mean|), score = min(|x - mean| / s, 1e6), and it fires when the score is above `threshold`.
//! With s = 0, any difference scores 1e6. What it keeps is bounded by the number of (meter, channel); see
//! `detectors/baseline` for each kind.

mod rule;

use crate::detectors::baseline::{Baseline, Choice, Last, Slices, Whole};
use crate::detectors::{Context, Detector, Findings, Spec, given, problem};
use crate::model::reading::{Batch, Row};
use crate::settings::{Key, Kind, Problem, Values};
use crate::state::keyed::{CHUNK, Keyed, Slot};
use crate::state::{Corrupt, Reader, Scope, State, Writer};
use rule::Rule;

/// `[detectors.moving_average]`.
pub const SPEC: Spec = Spec {
    name: "moving_average",
    about: "Finds values far from the mean of the meter's own recent readings, in standard deviations.",
    keys: KEYS,
    per_channel: &[],
    build,
    warnings,
};

const KEYS: &[Key] = &[
    Key {
        name: "channels",
        kind: Kind::Channels,
        default: None,
        doc: "Channels that are judged; all of the source unless given.",
    },
    Key {
        name: "baseline",
        kind: Kind::Text,
        default: Some(r#""last 60""#),
        doc: "Earlier readings that a new one is compared with: \"last N\" readings, a duration (\"5m\", a multiple of\n\
              30 ms), or \"all\". N readings take 16 N bytes for each meter and channel, a duration about 1.5 KB.",
    },
    Key {
        name: "min_count",
        kind: Kind::Integer(1, 1 << 40),
        default: Some("10"),
        doc: "Fewest readings of a baseline that judges.",
    },
    Key {
        name: "threshold",
        kind: Kind::Float(0.0, 1e6),
        default: Some("2.5"),
        doc: "Standard deviations above which a value is an anomaly; 1.5 to 4.0 is usual.",
    },
    Key {
        name: "stddev_floor",
        kind: Kind::Float(0.0, f64::MAX),
        default: Some("0.0"),
        doc: "The standard deviation is taken to be at least this, in the unit of the channel.",
    },
    Key {
        name: "stddev_floor_relative",
        kind: Kind::Float(0.0, f64::MAX),
        default: Some("0.001"),
        doc: "The standard deviation is taken to be at least this part of the mean.",
    },
    Key {
        name: "error_score",
        kind: Kind::Float(0.0, f64::MAX),
        default: Some("4.0"),
        doc: "Score from which an anomaly is an ERROR.",
    },
    Key {
        name: "critical_score",
        kind: Kind::Float(0.0, f64::MAX),
        default: Some("8.0"),
        doc: "Score from which an anomaly is CRITICAL.",
    },
];

struct MovingAverage<B: Baseline> {
    rule: Rule,
    /// Judged channels of the source, ascending.
    channels: Vec<usize>,
    kinds: Vec<String>,
    /// Names of the judged channels.
    judged: String,
    /// What is kept, in words; state of anything else is refused.
    keeps: String,
    baseline: B,
    meters: Keyed<B::Entry>,
}

fn build(values: &Values, context: &Context) -> Result<Box<dyn Detector>, Problem> {
    let rule = Rule::new(values)?;
    let channels = channels(values, context)?;
    let text = given("baseline", values.text("baseline"))?;
    let choice = Choice::parse(text).map_err(|message| problem("baseline", message))?;
    let stride = channels.len();
    let names = context.channels;
    Ok(match choice {
        Choice::All => boxed(rule, channels, names, Whole),
        Choice::Last(count) => boxed(rule, channels, names, Last::new(count, stride)),
        Choice::Duration(ms) => boxed(rule, channels, names, Slices::new(ms, context.allowed_lateness, stride)),
    })
}

fn boxed<B: Baseline + 'static>(rule: Rule, channels: Vec<usize>, names: &[String], baseline: B) -> Box<dyn Detector> {
    let kinds = channels.iter().flat_map(|channel| ["spike", "drop"].map(|kind| format!("{}_{kind}", names[*channel])));
    let kinds = kinds.collect();
    let judged: Vec<&str> = channels.iter().map(|channel| names[*channel].as_str()).collect();
    let keeps = format!("{} of {}", baseline.describe(), judged.join(", "));
    let judged = judged.join(",");
    let meters = Keyed::new(channels.len(), B::EMPTY);
    Box::new(MovingAverage { rule, channels, kinds, judged, keeps, baseline, meters })
}

fn channels(values: &Values, context: &Context) -> Result<Vec<usize>, Problem> {
    if !values.keys.contains_key("channels") {
        return Ok((0..context.channels.len()).collect());
    }
    let mut channels = Vec::new();
    for name in values.list("channels") {
        let channel = context.channel("channels", name)?;
        if channels.contains(&channel) {
            return Err(problem("channels", format!("`{name}` stands there twice")));
        }
        channels.push(channel);
    }
    if channels.is_empty() {
        return Err(problem("channels", "at least one channel is needed; leave the key out to judge all of the source"));
    }
    channels.sort_unstable();
    Ok(channels)
}

fn warnings(values: &Values) -> Vec<Problem> {
    let mut found = Vec::new();
    if let Some(threshold) = values.float("threshold").filter(|threshold| !(1.5..=4.0).contains(threshold)) {
        let effect = if threshold < 1.5 { "many ordinary readings will be anomalies" } else { "few faults will be found" };
        found.push(problem("threshold", format!("{threshold} is outside the usual 1.5 to 4.0: {effect}")));
    }
    let choice = values.text("baseline").map(Choice::parse);
    if let (Some(Ok(Choice::Last(count))), Some(min_count)) = (choice, values.integer("min_count"))
        && (count as i64) < min_count
    {
        let message = format!("\"last {count}\" never has min_count = {min_count} readings, so nothing is judged");
        found.push(problem("baseline", message));
    }
    found
}

/// How many readings ahead the values of a baseline are asked for.
const AHEAD: usize = 4;

impl<B: Baseline> MovingAverage<B> {
    #[inline]
    fn prefetch_values(&self, row: &Row, slot: Slot) {
        for (at, entry) in self.meters.get(slot).iter().enumerate() {
            self.baseline.prefetch_values(slot, at, entry, row.time);
        }
    }
}

impl<B: Baseline> Detector for MovingAverage<B> {
    fn kinds(&self) -> &[String] {
        &self.kinds
    }

    fn judges_late(&self) -> bool {
        false
    }

    fn judge(&mut self, batch: &Batch, found: &mut Findings) {
        let stride = batch.channels as usize;
        for (number, rows) in batch.rows.chunks(CHUNK).enumerate() {
            let slots = &self.meters.slots(rows, &batch.heap)[..rows.len()];
            for slot in slots {
                self.baseline.prefetch(*slot);
            }
            for (row, slot) in rows.iter().zip(slots).take(AHEAD) {
                self.prefetch_values(row, *slot);
            }
            for (at, (row, slot)) in rows.iter().zip(slots).enumerate() {
                if let (Some(row), Some(slot)) = (rows.get(at + AHEAD), slots.get(at + AHEAD)) {
                    self.prefetch_values(row, *slot);
                }
                let index = number * CHUNK + at;
                let values = &batch.values[index * stride..(index + 1) * stride];
                let entries = self.meters.looked_up_mut(*slot);
                for (at, (channel, entry)) in self.channels.iter().zip(entries).enumerate() {
                    if row.present >> channel & 1 == 0 {
                        continue;
                    }
                    let value = values[*channel];
                    let sums = self.baseline.take(*slot, at, entry, row.time, value);
                    if let Some(mut finding) = self.rule.judge(&sums, value, *channel) {
                        finding.kind += 2 * at as u16;
                        found.push(index, finding);
                    }
                }
            }
        }
    }

    fn close(&mut self, watermark: i64) {
        self.baseline.close(watermark);
    }

    fn memory(&self) -> usize {
        self.meters.memory() + self.baseline.memory()
    }
}

impl<B: Baseline> State for MovingAverage<B> {
    fn kind(&self) -> (&'static str, u16) {
        B::KIND
    }

    fn shape(&self) -> String {
        format!("baseline={} channels={}", self.baseline.shape(), self.judged)
    }

    fn is_changed(&self, group: u16) -> bool {
        self.meters.is_changed(group)
    }

    fn mark_saved(&mut self, group: u16) {
        self.meters.mark_saved(group);
    }

    fn save(&self, scope: Scope, out: &mut Writer) {
        let group = match scope {
            Scope::Group(group) => group,
            Scope::Global => return self.baseline.save_global(out),
            Scope::Partition(_) => return,
        };
        if self.meters.group_len(group) == 0 {
            return;
        }
        out.column(self.keeps.as_bytes());
        self.meters.save(group, out);
        self.baseline.save(group, out);
    }

    fn load(&mut self, scope: Scope, from: &mut Reader) -> Result<(), Corrupt> {
        if from.is_empty() {
            return Ok(());
        }
        let group = match scope {
            Scope::Group(group) => group,
            Scope::Global => return self.baseline.load_global(from),
            Scope::Partition(_) => return Ok(()),
        };
        let stored = from.column::<u8>()?;
        if stored != self.keeps.as_bytes() {
            return Err(Corrupt(format!(
                "the baselines of moving_average were kept for {}, the configuration now asks for {}: configure \
                 `baseline` and `channels` as before, or drop the state of this step",
                String::from_utf8_lossy(&stored),
                self.keeps
            )));
        }
        self.meters.load(group, from)?;
        self.baseline.load(group, self.meters.group_len(group), self.meters.group(group), from)
    }
}
