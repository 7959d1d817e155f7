//! Used readings: `meter, time, <channels>, status, source, partition, offset`.

use crate::codec::parquet::file::{self, Column, Group, Holds, channel_columns};
use crate::codec::parquet::meters::{Meters, Texts};
use crate::codec::parquet::order::{Order, localize};
use crate::codec::parquet::{EncodeError, GROUP_ROWS, Names, PATH_COLUMNS};
use crate::model::reading::Batch;
use crate::state::{Corrupt, Reader, Writer};
use parquet::errors::Result;
use std::ops::Range;

/// Readings of one day, by column: 25 bytes a row and 8 for each channel.
#[derive(Clone, Default, Debug)]
pub struct ReadingRows {
    channels: usize,
    /// What times are relative to, ms: the start of the day.
    origin: i64,
    meters: Meters,
    statuses: Texts,
    meter: Vec<u32>,
    time: Vec<u32>,
    offset: Vec<u64>,
    partition: Vec<u32>,
    status: Vec<u32>,
    present: Vec<u8>,
    values: Vec<f64>,
}

impl ReadingRows {
    /// No rows yet; times will lie within 2^32 ms from `origin`.
    pub fn new(channels: usize, origin: i64) -> ReadingRows {
        ReadingRows { channels, origin, ..ReadingRows::default() }
    }

    /// No rows yet, with the channels and the origin of these.
    pub fn alike(&self) -> ReadingRows {
        ReadingRows::new(self.channels, self.origin)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.meter.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.meter.is_empty()
    }

    /// Bytes that the rows take: a function of the rows, so that a replay cuts alike. A growing column may hold twice that,
    /// of which the system backs only what has been touched.
    pub fn memory(&self) -> usize {
        self.len() * (25 + 8 * self.channels) + self.meters.memory() + self.statuses.memory()
    }

    /// Appends readings of a batch, which has this many channels.
    pub fn append(&mut self, batch: &Batch, range: Range<usize>) {
        debug_assert_eq!(batch.channels as usize, self.channels);
        let rows = &batch.rows[range.clone()];
        self.meter.extend(rows.iter().map(|row| self.meters.number(&row.meter, &batch.heap)));
        self.time.extend(rows.iter().map(|row| (row.time - self.origin) as u32));
        self.offset.extend(rows.iter().map(|row| batch.base + u64::from(row.offset)));
        self.partition.extend(std::iter::repeat_n(batch.partition, rows.len()));
        self.present.extend(rows.iter().map(|row| row.present));
        self.values.extend_from_slice(&batch.values[range.start * self.channels..range.end * self.channels]);
        // Batches have few distinct statuses: each is looked up once.
        let mut known = (0, 0);
        for (row, index) in rows.iter().zip(range) {
            if row.status() != known.0 {
                let text = crate::model::reading::Reading { batch, index }.status();
                known = (row.status(), text.map_or(0, |text| self.statuses.number(text)));
            }
            self.status.push(known.1);
        }
    }

    /// Appends some rows of others of the same day and channels.
    pub fn extend(&mut self, other: &ReadingRows, rows: impl Iterator<Item = usize>) {
        let (mut known, channels) = ((0, 0), self.channels);
        for row in rows {
            let (key, heap) = other.meters.key(other.meter[row]);
            self.meter.push(self.meters.number(key, heap));
            self.time.push(other.time[row]);
            self.offset.push(other.offset[row]);
            self.partition.push(other.partition[row]);
            self.present.push(other.present[row]);
            self.values.extend_from_slice(&other.values[row * channels..(row + 1) * channels]);
            let status = other.status[row];
            if status != known.0 {
                known = (status, if status == 0 { 0 } else { self.statuses.number(other.statuses.text(status)) });
            }
            self.status.push(known.1);
        }
    }

    /// The meters, and the number of that of each row.
    pub fn meters(&self) -> (&Meters, &[u32]) {
        (&self.meters, &self.meter)
    }

    /// Appends the rows as they stand.
    pub fn save(&self, out: &mut Writer) {
        self.meters.save(out);
        self.statuses.save(out);
        out.column(&self.meter);
        out.column(&self.time);
        out.column(&self.offset);
        out.column(&self.partition);
        out.column(&self.status);
        out.column(&self.present);
        out.column(&self.values);
    }

    /// Takes what [`ReadingRows::save`] wrote of rows with as many channels and the same origin.
    pub fn load(channels: usize, origin: i64, from: &mut Reader) -> std::result::Result<ReadingRows, Corrupt> {
        let (meters, statuses) = (Meters::load(from)?, Texts::load(from)?);
        let (meter, time, offset) = (from.column()?, from.column()?, from.column()?);
        let (partition, status, present, values) = (from.column()?, from.column()?, from.column()?, from.column()?);
        let rows =
            ReadingRows { channels, origin, meters, statuses, meter, time, offset, partition, status, present, values };
        let lengths = [rows.time.len(), rows.offset.len(), rows.partition.len(), rows.status.len(), rows.present.len()];
        let known = rows.meter.iter().all(|meter| (*meter as usize) < rows.meters.len());
        let texts = rows.statuses.len();
        if lengths.iter().any(|length| *length != rows.len()) || rows.values.len() != rows.len() * channels {
            return Err(Corrupt(format!("columns of {lengths:?} readings and {} values", rows.values.len())));
        }
        if !known || rows.status.iter().any(|status| *status as usize > texts) {
            return Err(Corrupt("a reading of a meter or with a status that is not listed".to_string()));
        }
        Ok(rows)
    }

    /// The rows as a Parquet file, sorted by meter, time, partition, offset.
    pub fn encode(&self, names: &Names) -> std::result::Result<Vec<u8>, EncodeError> {
        self.encode_in_groups(names, GROUP_ROWS)
    }

    /// The same with row groups of another size.
    pub fn encode_in_groups(&self, names: &Names, group_rows: usize) -> std::result::Result<Vec<u8>, EncodeError> {
        let (order, sorted) = self.sorted();
        let (statuses, partitions) = (self.statuses.by_number(), names.partitions());
        if let Some(partition) = self.partition.iter().find(|partition| **partition as usize >= partitions.len()) {
            return Err(EncodeError(format!("partition {partition} of {}", partitions.len())));
        }
        file::encode(&columns(names), &names.about("readings"), sorted.len(), group_rows, |range, group| {
            let (ids, codes) = order.meters_of(&self.meters, range.clone());
            let sorted = &sorted[range];
            group.keys(ids, &codes)?;
            group.integers(&gather(sorted, |row| self.origin + i64::from(self.time[row])))?;
            for channel in 0..self.channels {
                self.channel(channel, sorted, group)?;
            }
            self.status(&statuses, sorted, group)?;
            group.constant(names.source.as_bytes(), sorted.len())?;
            let mut codes = gather(sorted, |row| self.partition[row]);
            group.texts(localize(&mut codes, &partitions), &codes, None)?;
            group.integers(&gather(sorted, |row| self.offset[row] as i64))
        })
    }

    fn channel(&self, channel: usize, sorted: &[u64], group: &mut Group) -> Result<()> {
        let levels = gather(sorted, |row| u32::from(self.present[row] >> channel & 1));
        let value = |entry: &u64| self.values[row_of(*entry) * self.channels + channel];
        let values: Vec<f64> = match levels.contains(&0) {
            false => sorted.iter().map(value).collect(),
            true => sorted.iter().zip(&levels).filter(|(_, level)| **level == 1).map(|(entry, _)| value(entry)).collect(),
        };
        group.doubles(&values, Some(&levels))
    }

    fn status(&self, statuses: &[&[u8]], sorted: &[u64], group: &mut Group) -> Result<()> {
        let all = gather(sorted, |row| self.status[row]);
        let levels: Vec<u32> = all.iter().map(|status| u32::from(*status != 0)).collect();
        let mut codes: Vec<u32> = all.into_iter().filter(|status| *status != 0).collect();
        let texts = localize(&mut codes, statuses);
        group.texts(texts, &codes, Some(&levels))
    }

    /// The rows in the order of the file: in each entry the time above the row, so that most comparisons look no further.
    fn sorted(&self) -> (Order, Vec<u64>) {
        let order = Order::new(&self.meters, &self.meter);
        let mut sorted = order.place(&self.meter, |row| u64::from(self.time[row]) << 32 | row as u64);
        for run in order.runs() {
            let run = &mut sorted[run];
            if !run.is_sorted() {
                run.sort();
            }
            // Rows of the same time are few: they are put in the order of their partitions and offsets.
            for same in run.chunk_by_mut(|a, b| a >> 32 == b >> 32).filter(|same| same.len() > 1) {
                same.sort_by_key(|entry| (self.partition[row_of(*entry)], self.offset[row_of(*entry)]));
            }
        }
        (order, sorted)
    }
}

fn row_of(entry: u64) -> usize {
    entry as u32 as usize
}

fn gather<T>(sorted: &[u64], value: impl Fn(usize) -> T) -> Vec<T> {
    sorted.iter().map(|entry| value(row_of(*entry))).collect()
}

fn columns(names: &Names) -> Vec<Column> {
    let before = [Column::required("meter", Holds::Text), Column::required("time", Holds::Time)];
    let after = [
        Column::optional("status", Holds::Text),
        Column::required("source", Holds::Text),
        Column::required("partition", Holds::Text),
        Column::required("offset", Holds::Integer),
    ];
    let taken: Vec<&str> = before.iter().chain(&after).map(|column| column.name.as_str()).chain(PATH_COLUMNS).collect();
    let channels = channel_columns(&names.channels, &taken);
    let channels = channels.iter().map(|name| Column::optional(name, Holds::Double)).collect();
    [before.to_vec(), channels, after.to_vec()].concat()
}
