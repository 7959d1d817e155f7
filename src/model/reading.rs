//! Meter readings: one row each, in batches that keep the order of their partition.

use crate::model::meter::MeterKey;
use crate::model::pod;
use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

/// Most channels that a reading can have.
pub const MAX_CHANNELS: usize = 8;

/// What every reading has; its channels stand in [`Batch::values`].
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
pub struct Row {
    /// The meter; a long id stands in [`Batch::heap`].
    pub meter: MeterKey,
    /// Event time, milliseconds since the epoch, UTC.
    pub time: i64,
    /// Offset in the partition, relative to [`Batch::base`].
    pub offset: u32,
    /// [`Row::status`], little-endian: a batch can have more distinct statuses than 16 bits count.
    pub status_code: [u8; 3],
    /// Bit c is set when the reading has channel c.
    pub present: u8,
}

impl Row {
    /// 0: no status, else one more than the index in [`Batch::statuses`].
    #[inline]
    pub fn status(&self) -> usize {
        let [low, middle, high] = self.status_code;
        u32::from_le_bytes([low, middle, high, 0]) as usize
    }
}

/// Most distinct statuses of a batch.
const MAX_STATUSES: usize = 1 << 24;

/// Readings of one partition, in the order of their offsets. What is shipped between workers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Batch {
    /// Index of the partition in the job's list of partitions (which is sorted by name).
    pub partition: u32,
    /// Channels of the source: the stride of `values`.
    pub channels: u8,
    /// What row offsets are relative to. Batches of a partition never overlap, so (partition, base) orders them.
    pub base: u64,
    /// One row a reading.
    #[serde(with = "pod")]
    pub rows: Vec<Row>,
    /// `channels` values a reading; 0 where absent.
    #[serde(with = "pod")]
    pub values: Vec<f64>,
    /// Bytes of long meter ids and of statuses.
    #[serde(with = "pod")]
    pub heap: Vec<u8>,
    /// Where each distinct status stands in `heap`: start and length.
    #[serde(with = "pod")]
    pub statuses: Vec<[u32; 2]>,
    /// For late readings, the partition's newest - out_of_orderness when each was read; empty in batches of used ones.
    #[serde(with = "pod")]
    pub watermarks: Vec<i64>,
}

/// One reading of a batch.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The batch that holds it.
    pub batch: &'a Batch,
    /// Its index there.
    pub index: usize,
}

impl Batch {
    /// An empty batch of `channels` channels.
    pub fn new(partition: u32, channels: usize, base: u64) -> Batch {
        debug_assert!(channels <= MAX_CHANNELS);
        Batch { partition, channels: channels as u8, base, ..Batch::default() }
    }

    /// Number of readings.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether these readings are late: they count in nothing but the stateless detectors.
    pub fn is_late(&self) -> bool {
        !self.watermarks.is_empty()
    }

    /// The readings in the order of their offsets.
    pub fn iter(&self) -> impl Iterator<Item = Reading<'_>> {
        (0..self.rows.len()).map(|index| Reading { batch: self, index })
    }

    /// Reading number `index`.
    #[inline]
    pub fn reading(&self, index: usize) -> Reading<'_> {
        Reading { batch: self, index }
    }

    /// Drops the readings whose flag is false.
    pub fn retain(&mut self, keep: &[bool]) {
        let stride = self.channels as usize;
        let mut kept = 0;
        for index in (0..self.rows.len()).filter(|index| keep[*index]) {
            self.rows[kept] = self.rows[index];
            self.values.copy_within(index * stride..(index + 1) * stride, kept * stride);
            if self.is_late() {
                self.watermarks[kept] = self.watermarks[index];
            }
            kept += 1;
        }
        self.rows.truncate(kept);
        self.values.truncate(kept * stride);
        self.watermarks.truncate(kept);
    }

    /// The code of `status` for [`Row::status`]; a status seen shortly before is found again.
    #[inline]
    fn intern_status(&mut self, status: &[u8]) -> usize {
        const LOOK_BACK: usize = 4;
        let known = self.statuses.len();
        for index in (known.saturating_sub(LOOK_BACK)..known).rev() {
            let [start, length] = self.statuses[index];
            if same(&self.heap[start as usize..(start + length) as usize], status) {
                return index + 1;
            }
        }
        self.statuses.push([self.heap.len() as u32, status.len() as u32]);
        self.heap.extend_from_slice(status);
        assert!(known + 1 < MAX_STATUSES, "blocks are too small to have 16 million statuses");
        known + 1
    }

    /// Appends a reading whose meter and status are given as bytes and whose values are `channels` long.
    #[inline]
    pub fn push(&mut self, meter: &[u8], time: i64, offset: u64, status: Option<&[u8]>, present: u8, values: &[f64]) {
        let meter = MeterKey::new(meter, &mut self.heap);
        self.push_key(meter, time, offset, status, present, values);
    }

    /// Like [`Batch::push`], with a key whose long bytes already stand in this batch's heap.
    #[inline]
    pub fn push_key(&mut self, meter: MeterKey, time: i64, offset: u64, status: Option<&[u8]>, present: u8, values: &[f64]) {
        debug_assert_eq!(values.len(), self.channels as usize);
        let status = status.map_or(0, |status| self.intern_status(status));
        let [low, middle, high, _] = (status as u32).to_le_bytes();
        let offset = (offset - self.base) as u32;
        self.rows.push(Row { meter, time, offset, status_code: [low, middle, high], present });
        match values {
            [one] => self.values.push(*one),
            // Of a known length, they are copied without a call.
            [one, two, three] => self.values.extend_from_slice(&[*one, *two, *three]),
            _ => self.values.extend_from_slice(values),
        }
    }

    /// Appends a copy of `reading`; its offset must not lie before this batch's base.
    pub fn push_copy(&mut self, reading: Reading) {
        let meter = reading.row().meter.moved(&reading.batch.heap, &mut self.heap);
        self.push_key(meter, reading.time(), reading.offset(), reading.status(), reading.row().present, reading.values());
    }
}

/// Whether two texts are the same; most are short.
#[inline]
fn same(one: &[u8], other: &[u8]) -> bool {
    const SHORT: usize = 8;
    match one.len() == other.len() {
        true if one.len() <= SHORT => one.iter().zip(other).all(|(one, other)| one == other),
        true => one == other,
        false => false,
    }
}

impl<'a> Reading<'a> {
    /// The row.
    #[inline]
    pub fn row(&self) -> &'a Row {
        &self.batch.rows[self.index]
    }

    /// The meter id.
    #[inline]
    pub fn meter(&self) -> &'a [u8] {
        self.row().meter.bytes(&self.batch.heap)
    }

    /// Event time, ms.
    #[inline]
    pub fn time(&self) -> i64 {
        self.row().time
    }

    /// Offset in the partition.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.batch.base + u64::from(self.row().offset)
    }

    /// All channel values; 0 where absent.
    #[inline]
    pub fn values(&self) -> &'a [f64] {
        let stride = self.batch.channels as usize;
        &self.batch.values[self.index * stride..(self.index + 1) * stride]
    }

    /// The value of a channel.
    #[inline]
    pub fn value(&self, channel: usize) -> Option<f64> {
        (self.row().present >> channel & 1 == 1).then(|| self.values()[channel])
    }

    /// The status, as bytes that are UTF-8.
    #[inline]
    pub fn status(&self) -> Option<&'a [u8]> {
        let code = self.row().status();
        let [start, length] = *self.batch.statuses.get(code.checked_sub(1)?)?;
        Some(&self.batch.heap[start as usize..(start + length) as usize])
    }
}
