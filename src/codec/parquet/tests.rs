//! What is written reads back with the crate's own row reader, sorted, and the bytes are a function of the rows alone.

use crate::codec::parquet::anomalies::AnomalyRows;
use crate::codec::parquet::chunk::shared;
use crate::codec::parquet::readings::ReadingRows;
use crate::codec::parquet::stats::StatsRows;
use crate::codec::parquet::{GROUP_ROWS, Names, PAGE_ROWS};
use crate::model::meter::MeterKey;
use crate::model::reading::{Batch, Reading};
use crate::model::results::{AnomalyBatch, Finding, Severity, WindowBatch, WindowRow};
use parquet::basic::BoundaryOrder;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;
use parquet::record::Field;
use proptest::prelude::*;
use std::sync::Arc;

const DAY: i64 = 19_723 * 86_400_000;

/// The rows of a file, each with the values of its columns.
pub fn read(bytes: &[u8]) -> Vec<Vec<Field>> {
    let reader = SerializedFileReader::new(shared(bytes.to_vec())).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| row.unwrap().into_columns().into_iter().map(|(_, field)| field).collect()).collect()
}

fn metadata(bytes: &[u8]) -> ParquetMetaData {
    let policy = parquet::file::metadata::PageIndexPolicy::Required;
    ParquetMetaDataReader::new().with_page_index_policy(policy).parse_and_finish(&shared(bytes.to_vec())).unwrap()
}

/// Names for two channels, three partitions and two detectors.
pub fn names() -> Names {
    Names {
        dataflow: "anomaly".to_string(),
        source: "readings".to_string(),
        channels: vec!["voltage".to_string(), "status".to_string()],
        partitions: ["a.jsonl", "b.jsonl", "c.jsonl"].map(String::from).to_vec(),
        detectors: vec![
            ("limits".to_string(), vec!["voltage_low".to_string(), "voltage_high".to_string()]),
            ("status".to_string(), vec!["equipment_failure".to_string()]),
        ],
        anomaly_ids: Arc::new(|batch| batch.rows.iter().map(|row| id(row.offset)).collect()),
    }
}

fn id(offset: u64) -> [u8; 32] {
    let mut id = [b'0'; 32];
    id.copy_from_slice(format!("{offset:032x}").as_bytes());
    id
}

fn meter(number: u8) -> String {
    if number.is_multiple_of(4) { format!("a-rather-long-meter-id-{number}") } else { format!("m{number}") }
}

/// A reading as it comes: meter, ms of the day, partition, status, channels.
type Made = (u8, u32, u32, Option<u8>, [Option<f64>; 2]);

fn reading() -> impl Strategy<Value = Made> {
    let value = prop_oneof![(0u32..30).prop_map(|tenths| f64::from(tenths) / 10.0), any::<i32>().prop_map(f64::from)];
    let values = [prop::option::weighted(0.8, value.clone()), prop::option::weighted(0.3, value)];
    (0u8..12, 0u32..40, 0u32..3, prop::option::weighted(0.3, 0u8..5), values)
}

/// Batches of one reading each: offsets are the positions.
fn batches(made: &[Made]) -> Vec<Batch> {
    let one = |(position, (number, time, partition, status, values)): (usize, &Made)| {
        let mut batch = Batch::new(*partition, 2, position as u64 * 100);
        let status = status.map(|status| format!("STATUS {status}"));
        let present = u8::from(values[0].is_some()) | u8::from(values[1].is_some()) << 1;
        let time = DAY + i64::from(*time);
        let values = values.map(|value| value.unwrap_or(0.0));
        let offset = position as u64 * 100 + 7;
        batch.push(meter(*number).as_bytes(), time, offset, status.as_deref().map(str::as_bytes), present, &values);
        batch
    };
    made.iter().enumerate().map(one).collect()
}

/// The same readings in batches of several, where a batch has one partition.
fn joined(batches: &[Batch]) -> Vec<Batch> {
    let mut joined: Vec<Batch> = Vec::new();
    for batch in batches {
        match joined.last_mut() {
            Some(last) if last.partition == batch.partition => last.push_copy(Reading { batch, index: 0 }),
            _ => {
                let mut first = Batch::new(batch.partition, 2, batch.base);
                first.push_copy(Reading { batch, index: 0 });
                joined.push(first);
            }
        }
    }
    joined
}

fn readings(batches: &[Batch]) -> ReadingRows {
    let mut rows = ReadingRows::new(2, DAY);
    for batch in batches {
        rows.append(batch, 0..batch.len());
    }
    assert_eq!(rows.len(), batches.iter().map(Batch::len).sum::<usize>());
    rows
}

fn text(text: &[u8]) -> Field {
    Field::Str(String::from_utf8(text.to_vec()).unwrap())
}

fn double(value: Option<f64>) -> Field {
    value.map_or(Field::Null, Field::Double)
}

/// What a file of these readings holds, computed without any of its code.
fn expected(batches: &[Batch]) -> Vec<Vec<Field>> {
    let mut all: Vec<Reading> = batches.iter().flat_map(Batch::iter).collect();
    all.sort_by_key(|reading| (reading.meter(), reading.time(), reading.batch.partition, reading.offset()));
    let row = |reading: Reading| {
        vec![
            text(reading.meter()),
            Field::TimestampMillis(reading.time()),
            double(reading.value(0)),
            double(reading.value(1)),
            reading.status().map_or(Field::Null, text),
            text(b"readings"),
            text(names().partitions[reading.batch.partition as usize].as_bytes()),
            Field::Long(reading.offset() as i64),
        ]
    };
    all.into_iter().map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn readings_read_back_sorted(made in prop::collection::vec(reading(), 1..200), group_rows in 1usize..100) {
        let batches = batches(&made);
        let bytes = readings(&batches).encode_in_groups(&names(), group_rows).unwrap();
        prop_assert_eq!(read(&bytes), expected(&batches));
        prop_assert_eq!(metadata(&bytes).num_row_groups(), made.len().div_ceil(group_rows));
    }

    #[test]
    fn bytes_do_not_depend_on_how_readings_came(made in prop::collection::vec(reading(), 1..200), turn in 0usize..200) {
        let mut batches = batches(&made);
        let bytes = readings(&batches).encode(&names()).unwrap();
        prop_assert!(readings(&joined(&batches)).encode(&names()).unwrap() == bytes, "joined batches");
        batches.rotate_left(turn % made.len());
        prop_assert!(readings(&batches).encode(&names()).unwrap() == bytes, "another order");
        batches.reverse();
        prop_assert!(readings(&batches).encode(&names()).unwrap() == bytes, "the reverse order");
    }
}

/// More rows than a page and a row group hold; numbers that need a dictionary in one column and none in the other.
fn many(rows: usize) -> Vec<Batch> {
    let mut batches: Vec<Batch> = (0..3).map(|partition| Batch::new(partition, 2, 0)).collect();
    for row in 0..rows as u64 {
        let mixed = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let meter = format!("meter-{:06}", mixed % 500);
        let values = [(mixed >> 20) as f64 / 1e9, 230.0 + ((mixed >> 32) % 100) as f64 / 10.0];
        let present = if row % 7 == 0 { 1 } else { 3 };
        let status = (row % 50 == 0).then_some(&b"FAILURE"[..]);
        let time = DAY + (mixed % 86_400_000) as i64;
        batches[row as usize % 3].push(meter.as_bytes(), time, row, status, present, &values);
    }
    batches
}

#[test]
fn many_pages_and_groups_read_back() {
    let batches = many(GROUP_ROWS + 3 * PAGE_ROWS);
    let bytes = readings(&batches).encode(&names()).unwrap();
    assert!(read(&bytes) == expected(&batches));

    let about = metadata(&bytes);
    assert_eq!(about.num_row_groups(), 2);
    let key_values = about.file_metadata().key_value_metadata().unwrap();
    assert_eq!(key_values[0].value.as_deref(), Some("readings"));
    let order: Vec<i32> = about.row_group(0).sorting_columns().unwrap().iter().map(|column| column.column_idx).collect();
    assert_eq!(order, [0, 1]);
    let columns: Vec<String> = about.row_group(0).columns().iter().map(|column| column.column_path().string()).collect();
    let channels = ["meter", "time", "voltage", "channel_status", "status", "source", "partition", "offset"];
    assert_eq!(columns, channels, "a channel of a taken name gets another");
}

#[test]
fn bounds_and_indices_are_those_of_the_rows() {
    let batches = many(GROUP_ROWS + 3 * PAGE_ROWS);
    let bytes = readings(&batches).encode(&names()).unwrap();
    let (rows, about) = (expected(&batches), metadata(&bytes));
    for (number, group) in about.row_groups().iter().enumerate() {
        let rows = &rows[number * GROUP_ROWS..(number * GROUP_ROWS + group.num_rows() as usize)];
        let index = about.page_index_for_row_group(number);
        let meters: Vec<&str> = rows.iter().map(|row| as_text(&row[0])).collect();
        let Some(Statistics::ByteArray(bounds)) = group.column(0).statistics() else { panic!("no bounds of meters") };
        assert_eq!(bounds.min_opt().unwrap().data(), meters[0].as_bytes());
        assert_eq!(bounds.max_opt().unwrap().data(), meters[meters.len() - 1].as_bytes());
        assert!(group.column(0).bloom_filter_offset().is_some());
        assert_eq!(index.column_index(0).unwrap().get_boundary_order(), Some(BoundaryOrder::ASCENDING));
        for (column, channel) in [(2, "voltage"), (3, "channel_status")] {
            let values: Vec<f64> = rows.iter().filter_map(|row| as_double(&row[column])).collect();
            let nulls = (rows.len() - values.len()) as u64;
            let statistics = group.column(column).statistics().unwrap();
            let Statistics::Double(bounds) = statistics else { panic!("no bounds of {channel}") };
            assert_eq!(bounds.min_opt().copied(), values.iter().copied().reduce(f64::min), "{channel}");
            assert_eq!(bounds.max_opt().copied(), values.iter().copied().reduce(f64::max), "{channel}");
            assert_eq!(statistics.null_count_opt(), Some(nulls), "{channel}");
            assert_eq!(group.column(column).dictionary_page_offset().is_some(), column == 3, "{channel}");
        }
        // The pages of meters and of a channel: as many rows and bounds as the index says.
        for column in [0, 3] {
            let pages = index.page_locations(column).unwrap();
            assert_eq!(pages.len(), rows.len().div_ceil(PAGE_ROWS));
            for (page, location) in pages.iter().enumerate() {
                assert_eq!(location.first_row_index as usize, page * PAGE_ROWS);
            }
        }
        let parquet::file::page_index::column_index::ColumnIndexMetaData::DOUBLE(pages) = index.column_index(3).unwrap()
        else {
            panic!("no page index of numbers")
        };
        for (page, rows) in rows.chunks(PAGE_ROWS).enumerate() {
            let values = || rows.iter().filter_map(|row| as_double(&row[3]));
            assert_eq!(pages.min_value(page).copied(), values().reduce(f64::min));
            assert_eq!(pages.max_value(page).copied(), values().reduce(f64::max));
        }
    }
}

fn as_text(field: &Field) -> &str {
    match field {
        Field::Str(text) => text,
        other => panic!("{other} is no text"),
    }
}

fn as_double(field: &Field) -> Option<f64> {
    match field {
        Field::Double(number) => Some(*number),
        _ => None,
    }
}

#[test]
fn a_partition_without_a_name_is_an_error() {
    let mut batch = Batch::new(3, 2, 0);
    batch.push(b"m", DAY, 0, None, 0, &[0.0, 0.0]);
    let error = readings(&[batch]).encode(&names()).unwrap_err();
    assert!(error.to_string().contains("partition 3 of 3"), "{error}");
}

#[test]
fn endless_statuses_are_kept_without_bounds() {
    let mut batch = Batch::new(0, 2, 0);
    let status = "x".repeat(70_000);
    batch.push(b"m", DAY, 0, Some(status.as_bytes()), 0, &[0.0, 0.0]);
    batch.push(b"m", DAY, 1, None, 0, &[0.0, 0.0]);
    let bytes = readings(std::slice::from_ref(&batch)).encode(&names()).unwrap();
    assert_eq!(read(&bytes), expected(&[batch]));
    let about = metadata(&bytes);
    assert!(about.row_group(0).column(4).statistics().unwrap().min_bytes_opt().is_none());
}

#[test]
fn zeros_have_both_signs_as_bounds() {
    let mut batch = Batch::new(0, 2, 0);
    (0..4).for_each(|offset| batch.push(b"m", DAY, offset, None, 1, &[0.0, 0.0]));
    let about = metadata(&readings(&[batch]).encode(&names()).unwrap());
    let Some(Statistics::Double(bounds)) = about.row_group(0).column(2).statistics() else { panic!("no bounds") };
    let bits = |value: Option<&f64>| value.unwrap().to_bits();
    assert_eq!((bits(bounds.min_opt()), bits(bounds.max_opt())), ((-0.0f64).to_bits(), 0.0f64.to_bits()));
}

#[test]
fn windows_read_back_sorted() {
    let mut batch = WindowBatch::default();
    let mut expected = Vec::new();
    for row in 0..500u32 {
        let (number, start, channel, count) =
            ((row * 7 % 11) as u8, i64::from(row * 13 % 20), row * 5 % 2, u64::from(row % 10));
        let values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6].map(|part| part + f64::from(row));
        let [mean, stddev, min, max, first, last] = values;
        let meter_key = MeterKey::new(meter(number).as_bytes(), &mut batch.heap);
        let (start, end, revision) = (DAY + start * 1000, DAY + start * 1000 + 60_000, row / 100);
        batch.rows.push(WindowRow {
            meter: meter_key,
            start,
            end,
            count,
            mean,
            stddev,
            min,
            max,
            first,
            last,
            revision,
            channel,
        });
        let shown = values.map(|value| double((count > 0).then_some(value)));
        let key = (meter(number), start, end, channel, revision);
        let head = vec![
            text(key.0.as_bytes()),
            Field::TimestampMillis(start),
            Field::TimestampMillis(end),
            text(names().channels[channel as usize].as_bytes()),
            Field::Long(count as i64),
        ];
        expected.push((key, [head, shown.to_vec(), vec![Field::Int(revision as i32)]].concat()));
    }
    let mut rows = StatsRows::default();
    (0..batch.rows.len()).for_each(|index| rows.push(&batch, index));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    let expected: Vec<Vec<Field>> = expected.into_iter().map(|(_, row)| row).collect();
    let bytes = rows.encode(&names()).unwrap();
    assert_eq!(read(&bytes), expected);

    let mut reversed = StatsRows::default();
    (0..batch.rows.len()).rev().for_each(|index| reversed.push(&batch, index));
    assert!(reversed.encode(&names()).unwrap() == bytes);
    batch.rows[0].channel = 2;
    rows.push(&batch, 0);
    assert!(rows.encode(&names()).unwrap_err().to_string().contains("channel 2 of 2"));
}

/// Anomalies with and without a channel, late and not, and the rows that they become.
pub fn anomalies() -> (AnomalyBatch, Vec<Vec<Field>>) {
    let mut batch = AnomalyBatch::default();
    let mut expected = Vec::new();
    for row in 0..300u32 {
        let mut readings = Batch::new(row % 3, 2, 1000);
        let (number, time, offset) = ((row * 7 % 9) as u8, DAY + i64::from(row * 11 % 17), 1000 + u64::from(row));
        let status = (row % 4 == 0).then(|| format!("FAILURE {}", row % 12));
        readings.push(
            meter(number).as_bytes(),
            time,
            offset,
            status.as_deref().map(str::as_bytes),
            1,
            &[f64::from(row), 0.0],
        );
        if row % 10 == 0 {
            readings.watermarks.push(0);
        }
        let about_status = row % 5 == 0;
        let finding = Finding {
            kind: if about_status { 0 } else { (row % 2) as u16 },
            channel: (!about_status).then_some(0),
            severity: Severity::from_u8((row % 4) as u8),
            observed: f64::from(row),
            expected: 207.5,
            score: f64::from(row) / 7.0,
            threshold: 2.5,
        };
        batch.push(Reading { batch: &readings, index: 0 }, u16::from(about_status), &finding);
        let (detector, kinds) = &names().detectors[usize::from(about_status)];
        let kind = text(kinds[finding.kind as usize].as_bytes());
        let with_channel = |value: f64| double((!about_status).then_some(value));
        expected.push((
            (meter(number), time, row % 3, offset),
            vec![
                text(meter(number).as_bytes()),
                Field::TimestampMillis(time),
                kind.clone(),
                kind,
                text(finding.severity.name().as_bytes()),
                if about_status { Field::Null } else { text(b"voltage") },
                with_channel(f64::from(row)),
                with_channel(207.5),
                with_channel(f64::from(row) - 207.5),
                Field::Double(finding.score),
                Field::Double(2.5),
                text(detector.as_bytes()),
                Field::Bool(row % 10 == 0),
                text(b"readings"),
                text(names().partitions[row as usize % 3].as_bytes()),
                Field::Long(offset as i64),
                Field::Double(f64::from(row)),
                Field::Null,
                status.map_or(Field::Null, Field::Str),
                text(&id(offset)),
            ],
        ));
    }
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    (batch, expected.into_iter().map(|(_, row)| row).collect())
}

#[test]
fn anomalies_read_back_sorted() {
    let (mut batch, expected) = anomalies();
    let mut rows = AnomalyRows::default();
    (0..batch.rows.len()).for_each(|index| rows.push(&batch, index));
    let bytes = rows.encode(&names()).unwrap();
    assert_eq!(read(&bytes), expected);

    let mut reversed = AnomalyRows::default();
    (0..batch.rows.len()).rev().for_each(|index| reversed.push(&batch, index));
    assert!(reversed.encode(&names()).unwrap() == bytes);
    batch.rows[0].kind = 9;
    rows.push(&batch, 0);
    assert!(rows.encode(&names()).unwrap_err().to_string().contains("kind 9"));
}
