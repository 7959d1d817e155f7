//! Window statistics: `meter, window_start, window_end, channel, count, mean, stddev, min, max, first, last, revision`.

use crate::codec::parquet::file::{self, Column, Group, Holds};
use crate::codec::parquet::meters::Meters;
use crate::codec::parquet::order::{Order, localize};
use crate::codec::parquet::{EncodeError, GROUP_ROWS, Names};
use crate::model::results::{WindowBatch, WindowRow};
use crate::state::{Corrupt, Reader, Writer};
use bytemuck::Zeroable;
use parquet::errors::Result;

/// Window statistics of one day.
#[derive(Clone, Default, Debug)]
pub struct StatsRows {
    meters: Meters,
    meter: Vec<u32>,
    rows: Vec<WindowRow>,
}

impl StatsRows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes that the rows take: a function of the rows.
    pub fn memory(&self) -> usize {
        self.len() * (size_of::<WindowRow>() + size_of::<u32>()) + self.meters.memory()
    }

    /// Appends a row of a batch.
    pub fn push(&mut self, batch: &WindowBatch, index: usize) {
        let row = batch.rows[index];
        self.meter.push(self.meters.number(&row.meter, &batch.heap));
        // The key of a long id says where that batch has it: the same rows have the same bytes without.
        self.rows.push(WindowRow { meter: Zeroable::zeroed(), ..row });
    }

    /// Appends some rows of others.
    pub fn extend(&mut self, other: &StatsRows, rows: impl Iterator<Item = usize>) {
        for row in rows {
            let (key, heap) = other.meters.key(other.meter[row]);
            self.meter.push(self.meters.number(key, heap));
            self.rows.push(other.rows[row]);
        }
    }

    /// The meters, and the number of that of each row.
    pub fn meters(&self) -> (&Meters, &[u32]) {
        (&self.meters, &self.meter)
    }

    /// Appends the rows as they stand.
    pub fn save(&self, out: &mut Writer) {
        self.meters.save(out);
        out.column(&self.meter);
        out.column(&self.rows);
    }

    /// Takes what [`StatsRows::save`] wrote.
    pub fn load(from: &mut Reader) -> std::result::Result<StatsRows, Corrupt> {
        let rows = StatsRows { meters: Meters::load(from)?, meter: from.column()?, rows: from.column()? };
        if rows.meter.len() != rows.len() || rows.meter.iter().any(|meter| *meter as usize >= rows.meters.len()) {
            return Err(Corrupt(format!("{} windows, with meters for {}", rows.len(), rows.meter.len())));
        }
        Ok(rows)
    }

    /// The rows as a Parquet file, sorted by meter, start, end, channel, revision.
    pub fn encode(&self, names: &Names) -> std::result::Result<Vec<u8>, EncodeError> {
        let order = Order::new(&self.meters, &self.meter);
        let mut sorted = order.place(&self.meter, |row| row as u32);
        for run in order.runs() {
            sorted[run].sort_by_key(|row| {
                let row = &self.rows[*row as usize];
                (row.start, row.end, row.channel, row.revision)
            });
        }
        let channels = names.channels();
        if let Some(row) = self.rows.iter().find(|row| row.channel as usize >= channels.len()) {
            return Err(EncodeError(format!("channel {} of {}", row.channel, channels.len())));
        }
        file::encode(&columns(), &names.about("stats"), sorted.len(), GROUP_ROWS, |range, group| {
            let (ids, codes) = order.meters_of(&self.meters, range.clone());
            let rows: Vec<&WindowRow> = sorted[range].iter().map(|row| &self.rows[*row as usize]).collect();
            group.keys(ids, &codes)?;
            write(&rows, &channels, group)
        })
    }
}

fn columns() -> Vec<Column> {
    let required = [("meter", Holds::Text), ("window_start", Holds::Time), ("window_end", Holds::Time)];
    let required = required.into_iter().chain([("channel", Holds::Text), ("count", Holds::Integer)]);
    let statistics = ["mean", "stddev", "min", "max", "first", "last"].map(|name| Column::optional(name, Holds::Double));
    let required = required.map(|(name, holds)| Column::required(name, holds));
    required.chain(statistics).chain([Column::required("revision", Holds::Short)]).collect()
}

fn write(rows: &[&WindowRow], channels: &[&[u8]], group: &mut Group) -> Result<()> {
    let integers = |value: fn(&WindowRow) -> i64| -> Vec<i64> { rows.iter().map(|row| value(row)).collect() };
    group.integers(&integers(|row| row.start))?;
    group.integers(&integers(|row| row.end))?;
    let mut codes: Vec<u32> = rows.iter().map(|row| row.channel).collect();
    group.texts(localize(&mut codes, channels), &codes, None)?;
    group.integers(&integers(|row| row.count as i64))?;
    // A session that moved or was swallowed has no statistics.
    let levels: Vec<u32> = rows.iter().map(|row| u32::from(row.count > 0)).collect();
    let statistics: [fn(&WindowRow) -> f64; 6] =
        [|row| row.mean, |row| row.stddev, |row| row.min, |row| row.max, |row| row.first, |row| row.last];
    for value in statistics {
        let values: Vec<f64> = rows.iter().filter(|row| row.count > 0).map(|row| value(row)).collect();
        group.doubles(&values, Some(&levels))?;
    }
    group.shorts(&rows.iter().map(|row| row.revision as i32).collect::<Vec<i32>>())
}
