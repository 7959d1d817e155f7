//! Anomalies: the fields of their lines, with the channels and the status of the reading.

use crate::codec::parquet::file::{self, Column, Group, Holds, channel_columns};
use crate::codec::parquet::meters::Meters;
use crate::codec::parquet::order::{Order, localize};
use crate::codec::parquet::{EncodeError, GROUP_ROWS, Names, PATH_COLUMNS};
use crate::model::results::{AnomalyBatch, AnomalyRow, NO_CHANNEL, Severity};
use crate::state::{Corrupt, Reader, Writer};
use parquet::data_type::ByteArray;
use parquet::errors::Result;

/// Anomalies of one day.
#[derive(Clone, Default, Debug)]
pub struct AnomalyRows {
    meters: Meters,
    meter: Vec<u32>,
    batch: AnomalyBatch,
}

impl AnomalyRows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.batch.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.batch.rows.is_empty()
    }

    /// Bytes that the rows take: a function of the rows.
    pub fn memory(&self) -> usize {
        self.len() * (size_of::<AnomalyRow>() + size_of::<u32>())
            + self.batch.values.len() * size_of::<f64>()
            + self.batch.heap.len()
            + self.meters.memory()
    }

    /// Appends a row of a batch; all batches have the same channels.
    pub fn push(&mut self, batch: &AnomalyBatch, index: usize) {
        let mut row = batch.rows[index];
        self.meter.push(self.meters.number(&row.meter, &batch.heap));
        row.meter = row.meter.moved(&batch.heap, &mut self.batch.heap);
        if let Some(status) = batch.status_of(index) {
            row.status = self.batch.heap.len() as u32;
            self.batch.heap.extend_from_slice(status);
        }
        self.batch.channels = batch.channels;
        self.batch.values.extend_from_slice(batch.values_of(index));
        self.batch.rows.push(row);
    }

    /// Appends some rows of others of the same channels.
    pub fn extend(&mut self, other: &AnomalyRows, rows: impl Iterator<Item = usize>) {
        rows.for_each(|row| self.push(&other.batch, row));
    }

    /// The meters, and the number of that of each row.
    pub fn meters(&self) -> (&Meters, &[u32]) {
        (&self.meters, &self.meter)
    }

    /// Appends the rows as they stand.
    pub fn save(&self, out: &mut Writer) {
        let AnomalyBatch { channels, rows, values, heap } = &self.batch;
        out.value(*channels);
        out.column(rows);
        out.column(values);
        out.column(heap);
    }

    /// Takes what [`AnomalyRows::save`] wrote.
    pub fn load(from: &mut Reader) -> std::result::Result<AnomalyRows, Corrupt> {
        let (channels, rows) = (from.value::<u8>()?, from.column::<AnomalyRow>()?);
        let batch = AnomalyBatch { channels, rows, values: from.column()?, heap: from.column()? };
        let inside = |row: &AnomalyRow| {
            row.status == u32::MAX || u64::from(row.status) + u64::from(row.status_length) <= batch.heap.len() as u64
        };
        if batch.values.len() != batch.rows.len() * channels as usize || !batch.rows.iter().all(inside) {
            return Err(Corrupt(format!("{} anomalies with {} values", batch.rows.len(), batch.values.len())));
        }
        let mut all = AnomalyRows::default();
        (0..batch.rows.len()).for_each(|row| all.push(&batch, row));
        Ok(all)
    }

    /// The rows as a Parquet file, sorted by meter, time, partition, offset, detector, kind, channel.
    pub fn encode(&self, names: &Names) -> std::result::Result<Vec<u8>, EncodeError> {
        self.check(names)?;
        let order = Order::new(&self.meters, &self.meter);
        let mut sorted = order.place(&self.meter, |row| row as u32);
        for run in order.runs() {
            sorted[run].sort_by_key(|row| {
                let row = &self.batch.rows[*row as usize];
                (row.time, row.partition, row.offset, row.detector, row.kind, row.channel)
            });
        }
        let ids = (names.anomaly_ids)(&self.batch);
        if ids.len() != self.len() {
            return Err(EncodeError(format!("{} ids for {} anomalies", ids.len(), self.len())));
        }
        file::encode(&columns(names), &names.about("anomalies"), sorted.len(), GROUP_ROWS, |range, group| {
            let (texts, codes) = order.meters_of(&self.meters, range.clone());
            let rows = Rows { batch: &self.batch, names, sorted: &sorted[range] };
            group.keys(texts, &codes)?;
            rows.what(group)?;
            rows.how_much(group)?;
            rows.origin(group)?;
            rows.reading(group)?;
            group.unique_texts(sorted_ids(&ids, rows.sorted))
        })
    }

    fn check(&self, names: &Names) -> std::result::Result<(), EncodeError> {
        let known = |row: &&AnomalyRow| {
            let kinds = names.detectors.get(row.detector as usize).map_or(0, |(_, kinds)| kinds.len());
            let channel = row.channel == NO_CHANNEL || (row.channel as usize) < names.channels.len();
            (row.kind as usize) < kinds && channel && (row.partition as usize) < names.partitions.len()
        };
        match self.batch.rows.iter().find(|row| !known(row)) {
            None => Ok(()),
            Some(row) => Err(EncodeError(format!(
                "an anomaly of detector {}, kind {}, channel {}, partition {} has no names",
                row.detector, row.kind, row.channel, row.partition
            ))),
        }
    }
}

fn sorted_ids(ids: &[[u8; 32]], sorted: &[u32]) -> Vec<ByteArray> {
    sorted.iter().map(|row| ByteArray::from(ids[*row as usize].to_vec())).collect()
}

fn columns(names: &Names) -> Vec<Column> {
    let mut columns = vec![
        Column::required("meter", Holds::Text),
        Column::required("time", Holds::Time),
        Column::required("kind", Holds::Text),
        Column::required("anomaly_kind", Holds::Text),
        Column::required("severity", Holds::Text),
        Column::optional("channel", Holds::Text),
        Column::optional("observed", Holds::Double),
        Column::optional("expected", Holds::Double),
        Column::optional("deviation", Holds::Double),
        Column::required("score", Holds::Double),
        Column::required("threshold", Holds::Double),
        Column::required("detector", Holds::Text),
        Column::required("late", Holds::Flag),
        Column::required("source", Holds::Text),
        Column::required("partition", Holds::Text),
        Column::required("offset", Holds::Integer),
    ];
    let after = [Column::optional("status", Holds::Text), Column::required("id", Holds::Text)];
    let taken: Vec<&str> = columns.iter().chain(&after).map(|column| column.name.as_str()).chain(PATH_COLUMNS).collect();
    let channels = channel_columns(&names.channels, &taken);
    columns.extend(channels.iter().map(|name| Column::optional(name, Holds::Double)));
    columns.extend(after);
    columns
}

/// The rows of a row group, in the order of the file.
struct Rows<'a> {
    batch: &'a AnomalyBatch,
    names: &'a Names,
    sorted: &'a [u32],
}

impl<'a> Rows<'a> {
    fn iter(&self) -> impl Iterator<Item = &'a AnomalyRow> {
        self.sorted.iter().map(|row| &self.batch.rows[*row as usize])
    }

    fn texts(&self, group: &mut Group, texts: &[&[u8]], code: impl Fn(&AnomalyRow) -> u32) -> Result<()> {
        let mut codes: Vec<u32> = self.iter().map(code).collect();
        group.texts(localize(&mut codes, texts), &codes, None)
    }

    fn doubles(&self, group: &mut Group, value: fn(&AnomalyRow) -> f64, levels: Option<&[u32]>) -> Result<()> {
        let has_value = |row: &&AnomalyRow| levels.is_none() || row.channel != NO_CHANNEL;
        group.doubles(&self.iter().filter(has_value).map(value).collect::<Vec<f64>>(), levels)
    }

    fn what(&self, group: &mut Group) -> Result<()> {
        group.integers(&self.iter().map(|row| row.time).collect::<Vec<i64>>())?;
        let detectors = &self.names.detectors;
        let kinds: Vec<&[u8]> = detectors.iter().flat_map(|(_, kinds)| kinds.iter().map(|kind| kind.as_bytes())).collect();
        let first: Vec<u32> =
            detectors.iter().scan(0, |next, (_, kinds)| Some(std::mem::replace(next, *next + kinds.len() as u32))).collect();
        for _ in ["kind", "anomaly_kind"] {
            self.texts(group, &kinds, |row| first[row.detector as usize] + u32::from(row.kind))?;
        }
        let severities: Vec<&[u8]> = (0..4).map(|number| Severity::from_u8(number).name().as_bytes()).collect();
        self.texts(group, &severities, |row| u32::from(row.severity.min(3)))
    }

    fn how_much(&self, group: &mut Group) -> Result<()> {
        let levels: Vec<u32> = self.iter().map(|row| u32::from(row.channel != NO_CHANNEL)).collect();
        let concerned = self.iter().map(|row| row.channel).filter(|channel| *channel != NO_CHANNEL);
        let mut codes: Vec<u32> = concerned.map(u32::from).collect();
        group.texts(localize(&mut codes, &self.names.channels()), &codes, Some(&levels))?;
        self.doubles(group, |row| row.observed, Some(&levels))?;
        self.doubles(group, |row| row.expected, Some(&levels))?;
        self.doubles(group, |row| row.observed - row.expected, Some(&levels))?;
        self.doubles(group, |row| row.score, None)?;
        self.doubles(group, |row| row.threshold, None)
    }

    fn origin(&self, group: &mut Group) -> Result<()> {
        let detectors: Vec<&[u8]> = self.names.detectors.iter().map(|(name, _)| name.as_bytes()).collect();
        self.texts(group, &detectors, |row| u32::from(row.detector))?;
        group.flags(&self.iter().map(|row| row.late != 0).collect::<Vec<bool>>())?;
        group.constant(self.names.source.as_bytes(), self.sorted.len())?;
        self.texts(group, &self.names.partitions(), |row| row.partition)?;
        group.integers(&self.iter().map(|row| row.offset as i64).collect::<Vec<i64>>())
    }

    fn reading(&self, group: &mut Group) -> Result<()> {
        for channel in 0..self.batch.channels as usize {
            let levels: Vec<u32> = self.iter().map(|row| u32::from(row.present >> channel & 1)).collect();
            let present = self.sorted.iter().zip(&levels).filter(|(_, level)| **level == 1);
            let values: Vec<f64> = present.map(|(row, _)| self.batch.values_of(*row as usize)[channel]).collect();
            group.doubles(&values, Some(&levels))?;
        }
        let statuses: Vec<Option<&[u8]>> = self.sorted.iter().map(|row| self.batch.status_of(*row as usize)).collect();
        let levels: Vec<u32> = statuses.iter().map(|status| u32::from(status.is_some())).collect();
        let mut distinct: Vec<&[u8]> = statuses.iter().flatten().copied().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let code = |status: &[u8]| distinct.partition_point(|other| *other < status) as u32;
        let codes: Vec<u32> = statuses.iter().flatten().map(|status| code(status)).collect();
        group.texts(distinct.clone(), &codes, Some(&levels))
    }
}
