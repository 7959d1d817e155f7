//! What dataflows produce: window statistics and anomalies, in batches.

use crate::model::meter::MeterKey;
use crate::model::pod;
use crate::model::reading::Reading;
use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

/// Statistics of one meter's channel in one window.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
pub struct WindowRow {
    /// The meter; a long id stands in [`WindowBatch::heap`].
    pub meter: MeterKey,
    /// First instant of the window, ms.
    pub start: i64,
    /// First instant after the window, ms.
    pub end: i64,
    /// Readings in it; 0: a session that moved or was swallowed (its statistics are null).
    pub count: u64,
    /// Mean of the values.
    pub mean: f64,
    /// Standard deviation of the population.
    pub stddev: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Value of the earliest reading.
    pub first: f64,
    /// Value of the latest reading.
    pub last: f64,
    /// 0 at the first publication of this window.
    pub revision: u32,
    /// Index of the channel.
    pub channel: u32,
}

/// Window statistics; lines of one meter keep their order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WindowBatch {
    /// One row a window.
    #[serde(with = "pod")]
    pub rows: Vec<WindowRow>,
    /// Bytes of long meter ids.
    #[serde(with = "pod")]
    pub heap: Vec<u8>,
}

/// How grave an anomaly is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Severity {
    /// For the record.
    Info,
    /// Worth a look.
    Warning,
    /// Needs work.
    Error,
    /// Needs work now.
    Critical,
}

impl Severity {
    /// As it stands in lines.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "INFO",
            Severity::Warning => "WARNING",
            Severity::Error => "ERROR",
            Severity::Critical => "CRITICAL",
        }
    }

    /// From its number.
    pub fn from_u8(number: u8) -> Severity {
        match number {
            0 => Severity::Info,
            1 => Severity::Warning,
            2 => Severity::Error,
            _ => Severity::Critical,
        }
    }
}

/// [`AnomalyRow::channel`] of an anomaly that concerns no channel.
pub const NO_CHANNEL: u8 = u8::MAX;

/// One anomaly, with the reading that it judges.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
pub struct AnomalyRow {
    /// The meter; a long id stands in [`AnomalyBatch::heap`].
    pub meter: MeterKey,
    /// Event time of the reading, ms.
    pub time: i64,
    /// Offset of the reading.
    pub offset: u64,
    /// What was read; meaningless without a channel.
    pub observed: f64,
    /// What was expected; meaningless without a channel.
    pub expected: f64,
    /// How far it is out, in the detector's unit.
    pub score: f64,
    /// Above which score the detector fires.
    pub threshold: f64,
    /// Partition of the reading.
    pub partition: u32,
    /// Where the status stands in the heap; `u32::MAX`: the reading has none.
    pub status: u32,
    /// Length of the status.
    pub status_length: u32,
    /// Index in the step's list of detectors.
    pub detector: u16,
    /// Index in the detector's list of kinds.
    pub kind: u16,
    /// Bit c is set when the reading has channel c.
    pub present: u8,
    /// Index of the channel, or [`NO_CHANNEL`].
    pub channel: u8,
    /// [`Severity`] as a number.
    pub severity: u8,
    /// 1: the reading is late.
    pub late: u8,
    /// Keeps the layout free of padding.
    pub reserved: u32,
}

/// Anomalies; those of one meter keep the order of its readings.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AnomalyBatch {
    /// Channels of the source: the stride of `values`.
    pub channels: u8,
    /// One row an anomaly.
    #[serde(with = "pod")]
    pub rows: Vec<AnomalyRow>,
    /// The channels of the readings; 0 where absent.
    #[serde(with = "pod")]
    pub values: Vec<f64>,
    /// Bytes of long meter ids and of statuses.
    #[serde(with = "pod")]
    pub heap: Vec<u8>,
}

/// What a detector says of one reading; [`AnomalyBatch::push`] adds the reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// Index in the detector's list of kinds.
    pub kind: u16,
    /// The channel that it concerns.
    pub channel: Option<usize>,
    /// How grave.
    pub severity: Severity,
    /// What was read (with a channel).
    pub observed: f64,
    /// What was expected (with a channel).
    pub expected: f64,
    /// How far out.
    pub score: f64,
    /// Above which score the detector fires.
    pub threshold: f64,
}

impl AnomalyBatch {
    /// Appends what detector number `detector` of the step found in `reading`.
    pub fn push(&mut self, reading: Reading, detector: u16, finding: &Finding) {
        self.channels = reading.batch.channels;
        let meter = reading.row().meter.moved(&reading.batch.heap, &mut self.heap);
        let (status, status_length) = match reading.status() {
            None => (u32::MAX, 0),
            Some(text) => {
                let start = self.heap.len() as u32;
                self.heap.extend_from_slice(text);
                (start, text.len() as u32)
            }
        };
        self.values.extend_from_slice(reading.values());
        self.rows.push(AnomalyRow {
            meter,
            time: reading.time(),
            offset: reading.offset(),
            observed: finding.observed,
            expected: finding.expected,
            score: finding.score,
            threshold: finding.threshold,
            partition: reading.batch.partition,
            status,
            status_length,
            detector,
            kind: finding.kind,
            present: reading.row().present,
            channel: finding.channel.map_or(NO_CHANNEL, |channel| channel as u8),
            severity: finding.severity as u8,
            late: u8::from(reading.batch.is_late()),
            reserved: 0,
        });
    }

    /// Puts the anomalies into the order of their readings; those of one reading keep theirs.
    pub fn sort_by_offset(&mut self) {
        let stride = self.channels as usize;
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by_key(|index| self.rows[*index].offset);
        let values = order.iter().flat_map(|index| &self.values[index * stride..(index + 1) * stride]).copied().collect();
        self.rows = order.iter().map(|index| self.rows[*index]).collect();
        self.values = values;
    }

    /// The channel values of anomaly `index`.
    pub fn values_of(&self, index: usize) -> &[f64] {
        let stride = self.channels as usize;
        &self.values[index * stride..(index + 1) * stride]
    }

    /// The status of the reading of anomaly `index`.
    pub fn status_of(&self, index: usize) -> Option<&[u8]> {
        let row = &self.rows[index];
        (row.status != u32::MAX).then(|| &self.heap[row.status as usize..(row.status + row.status_length) as usize])
    }
}
