//! A cut: the rows of one object, whose bytes and name are a function of the cut alone.

use crate::codec::parquet::anomalies::AnomalyRows;
use crate::codec::parquet::meters::Meters;
use crate::codec::parquet::readings::ReadingRows;
use crate::codec::parquet::stats::StatsRows;
use crate::codec::parquet::{EncodeError, Names};
use crate::model::control::Tick;
use crate::state::{Corrupt, Reader, Writer};
use std::sync::Arc;

/// Milliseconds of a day, UTC.
pub const DAY_MS: i64 = 86_400_000;

/// What rows are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Used readings.
    Readings,
    /// Window statistics.
    Stats,
    /// Anomalies.
    Anomalies,
}

impl Kind {
    /// All kinds, in their order.
    pub const ALL: [Kind; 3] = [Kind::Readings, Kind::Stats, Kind::Anomalies];

    /// As it stands in paths and settings.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Readings => "readings",
            Kind::Stats => "stats",
            Kind::Anomalies => "anomalies",
        }
    }
}

/// What makes the names of this worker's objects unique.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectNames {
    /// Of the run and, where a job is started again and goes on, of the start; of letters, digits and `-_.=+@`. Objects of the
    /// same tag, worker and last tick replace each other.
    pub tag: String,
    /// Index of the worker.
    pub worker: usize,
}

impl ObjectNames {
    /// The name of the cut of a kind and day that was made at the end of tick `through`, of rows from tick `first` on. At the
    /// end of a tick a kind and day is cut once.
    pub fn name(&self, (kind, day): (Kind, i64), [first, through]: [Tick; 2]) -> String {
        let (kind, date, tag, worker) = (kind.name(), date(day), &self.tag, self.worker);
        format!("kind={kind}/date={date}/{tag}-w{worker:03}-t{first}-{through}.parquet")
    }
}

/// Rows of one kind.
#[derive(Clone, Debug)]
pub enum Rows {
    /// Used readings.
    Readings(ReadingRows),
    /// Window statistics.
    Stats(StatsRows),
    /// Anomalies.
    Anomalies(AnomalyRows),
}

impl Rows {
    /// No rows yet, for those of a day.
    pub fn new(kind: Kind, channels: usize, day: i64) -> Rows {
        match kind {
            Kind::Readings => Rows::Readings(ReadingRows::new(channels, day * DAY_MS)),
            Kind::Stats => Rows::Stats(StatsRows::default()),
            Kind::Anomalies => Rows::Anomalies(AnomalyRows::default()),
        }
    }

    /// No rows yet, for more of these.
    pub fn alike(&self) -> Rows {
        match self {
            Rows::Readings(rows) => Rows::Readings(rows.alike()),
            Rows::Stats(_) => Rows::Stats(StatsRows::default()),
            Rows::Anomalies(_) => Rows::Anomalies(AnomalyRows::default()),
        }
    }

    /// Appends some rows of others.
    ///
    /// # Panics
    /// When they are of another kind.
    pub fn extend(&mut self, other: &Rows, rows: impl Iterator<Item = usize>) {
        match (self, other) {
            (Rows::Readings(all), Rows::Readings(other)) => all.extend(other, rows),
            (Rows::Stats(all), Rows::Stats(other)) => all.extend(other, rows),
            (Rows::Anomalies(all), Rows::Anomalies(other)) => all.extend(other, rows),
            _ => unreachable!("rows of two kinds are never mixed"),
        }
    }

    /// The meters, and the number of that of each row.
    pub fn meters(&self) -> (&Meters, &[u32]) {
        match self {
            Rows::Readings(rows) => rows.meters(),
            Rows::Stats(rows) => rows.meters(),
            Rows::Anomalies(rows) => rows.meters(),
        }
    }

    /// Appends the rows as they stand.
    pub fn save(&self, out: &mut Writer) {
        match self {
            Rows::Readings(rows) => rows.save(out),
            Rows::Stats(rows) => rows.save(out),
            Rows::Anomalies(rows) => rows.save(out),
        }
    }

    /// Takes what [`Rows::save`] wrote of rows of this kind and day.
    pub fn load(kind: Kind, channels: usize, day: i64, from: &mut Reader) -> Result<Rows, Corrupt> {
        Ok(match kind {
            Kind::Readings => Rows::Readings(ReadingRows::load(channels, day * DAY_MS, from)?),
            Kind::Stats => Rows::Stats(StatsRows::load(from)?),
            Kind::Anomalies => Rows::Anomalies(AnomalyRows::load(from)?),
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Rows::Readings(rows) => rows.len(),
            Rows::Stats(rows) => rows.len(),
            Rows::Anomalies(rows) => rows.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        match self {
            Rows::Readings(rows) => rows.memory(),
            Rows::Stats(rows) => rows.memory(),
            Rows::Anomalies(rows) => rows.memory(),
        }
    }

    /// About the size of the file that they make: bytes a row as measured, for what is known without encoding is their
    /// number.
    pub fn encoded_bytes(&self) -> u64 {
        let of_row = match self {
            Rows::Readings(_) => 8,
            Rows::Stats(_) => 24,
            Rows::Anomalies(_) => 64,
        };
        self.len() as u64 * of_row
    }
}

/// The rows of an object. It can be sent to another thread.
#[derive(Clone)]
pub struct Cut {
    /// What the rows are.
    pub kind: Kind,
    /// Their event day, from the epoch.
    pub day: i64,
    /// The tick at whose end they were cut.
    pub through: Tick,
    /// The name of the object.
    pub name: String,
    /// The rows.
    pub rows: Arc<Rows>,
    /// What numbers in the rows stand for.
    pub names: Arc<Names>,
}

impl Cut {
    /// The bytes of the object: always the same.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        match &*self.rows {
            Rows::Readings(rows) => rows.encode(&self.names),
            Rows::Stats(rows) => rows.encode(&self.names),
            Rows::Anomalies(rows) => rows.encode(&self.names),
        }
    }
}

/// The day of a time, counted from the epoch.
pub fn day_of(time: i64) -> i64 {
    time.div_euclid(DAY_MS)
}

/// A day as `YYYY-MM-DD` in the Gregorian calendar. Source of the arithmetic: H. Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`.
pub fn date(day: i64) -> String {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * from_march + 2) / 5 + 1, (from_march + 2) % 12 + 1);
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let epoch = jiff::civil::date(1970, 1, 1);
        for day in (-30_000..60_000).step_by(13).chain([0, -1, 10_957, 11_016, 47_481, 47_482]) {
            let expected = epoch.checked_add(jiff::Span::new().days(day)).unwrap();
            assert_eq!(date(day), expected.to_string());
        }
        assert_eq!((day_of(-1), day_of(0), day_of(DAY_MS - 1), day_of(DAY_MS)), (-1, 0, 0, 1));
    }

    #[test]
    fn names_of_objects() {
        let objects = ObjectNames { tag: "job-7".to_string(), worker: 3 };
        let name = objects.name((Kind::Stats, 19_723), [100, 250]);
        assert_eq!(name, "kind=stats/date=2024-01-01/job-7-w003-t100-250.parquet");
        assert_eq!(crate::connectors::store::check_name(&name), Ok(()));
    }
}
