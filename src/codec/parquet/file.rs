//! A Parquet file in memory: its columns, its row groups, and one method for each way to write a column.

use crate::codec::parquet::chunk::{self, Chunk, Dictionary, ZSTD_LEVEL};
use crate::codec::parquet::doubles::{Distinct, distinct};
use crate::codec::parquet::{EncodeError, PAGE_ROWS};
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnDescPtr, ColumnPath, Type};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use zstd::bulk::Compressor;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holds {
    /// Text.
    Text,
    /// Milliseconds since the epoch, UTC.
    Time,
    /// A number of 64 bits.
    Integer,
    /// A number of 32 bits.
    Short,
    /// A floating-point number.
    Double,
    /// True or false.
    Flag,
}

/// A column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub holds: Holds,
    /// Whether a row may lack it.
    pub optional: bool,
}

impl Column {
    /// A column that every row has.
    pub fn required(name: &str, holds: Holds) -> Column {
        Column { name: name.to_string(), holds, optional: false }
    }

    /// A column that a row may lack.
    pub fn optional(name: &str, holds: Holds) -> Column {
        Column { name: name.to_string(), holds, optional: true }
    }
}

/// Names for the columns of channels that differ from all `taken` ones and from each other, in any case of letters: readers
/// do not tell `Time` from `time`. A channel keeps its name, or gets `channel_` in front.
pub fn channel_columns(channels: &[String], taken: &[&str]) -> Vec<String> {
    let mut used: BTreeSet<String> = taken.iter().map(|name| name.to_lowercase()).collect();
    let mut unique = |channel: &String| {
        let mut name = channel.clone();
        while !used.insert(name.to_lowercase()) {
            name.insert_str(0, "channel_");
        }
        name
    };
    channels.iter().map(&mut unique).collect()
}

/// Writes a file of `rows` rows, sorted by its first two columns. `write` is called for each row group with its rows.
pub fn encode(
    columns: &[Column],
    about: &[(&str, &str)],
    rows: usize,
    group_rows: usize,
    mut write: impl FnMut(Range<usize>, &mut Group) -> Result<()>,
) -> std::result::Result<Vec<u8>, EncodeError> {
    let mut encode = || {
        let fields: Result<Vec<_>> = columns.iter().map(|column| field(column).map(Arc::new)).collect();
        let schema = Type::group_type_builder("meterflow").with_fields(fields?).build()?;
        let mut zstd = Compressor::new(ZSTD_LEVEL).map_err(|error| ParquetError::External(Box::new(error)))?;
        let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties(columns, about)?))?;
        let columns = writer.schema_descr().columns().to_vec();
        for start in (0..rows).step_by(group_rows) {
            let mut group = Group { writer: writer.next_row_group()?, columns: &columns, next: 0, zstd: &mut zstd };
            write(start..rows.min(start + group_rows), &mut group)?;
            group.writer.close()?;
        }
        writer.into_inner()
    };
    encode().map_err(|error| EncodeError(error.to_string()))
}

fn field(column: &Column) -> Result<Type> {
    let (physical, logical) = match column.holds {
        Holds::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Holds::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
        Holds::Integer => (Physical::INT64, None),
        Holds::Short => (Physical::INT32, None),
        Holds::Double => (Physical::DOUBLE, None),
        Holds::Flag => (Physical::BOOLEAN, None),
    };
    let repetition = if column.optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    Type::primitive_type_builder(&column.name, physical).with_repetition(repetition).with_logical_type(logical).build()
}

/// What the crate's own column writers do: columns that are no dictionary. Numbers that need all their bits stay PLAIN, for
/// Spark's vectorized reader long knew no BYTE_STREAM_SPLIT (SPARK-56894).
fn properties(columns: &[Column], about: &[(&str, &str)]) -> Result<WriterProperties> {
    let about = about.iter().map(|(key, value)| KeyValue::new(key.to_string(), value.to_string())).collect();
    let whole = |column: &&Column| matches!(column.holds, Holds::Time | Holds::Integer | Holds::Short);
    let builder = columns.iter().filter(whole).fold(WriterProperties::builder(), |builder, column| {
        builder.set_column_encoding(ColumnPath::from(column.name.as_str()), Encoding::DELTA_BINARY_PACKED)
    });
    Ok(builder
        .set_created_by(concat!("meterflow version ", env!("CARGO_PKG_VERSION")).to_string())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_sorting_columns(Some(chunk::sorted_by_the_first_two()))
        .set_key_value_metadata(Some(about))
        .build())
}

/// A row group; its columns are written one after the other, in the order of the schema.
pub struct Group<'a> {
    writer: SerializedRowGroupWriter<'a, Vec<u8>>,
    columns: &'a [ColumnDescPtr],
    next: usize,
    zstd: &'a mut Compressor<'static>,
}

impl Group<'_> {
    fn dictionary(&mut self, chunk: &Chunk) -> Result<()> {
        let column = self.columns.get(self.next).ok_or_else(|| ParquetError::General("one column too many".to_string()))?;
        self.next += 1;
        chunk::append(&mut self.writer, column, self.zstd, chunk)
    }

    /// Texts: the distinct ones in ascending order, and the index of each row that has one.
    pub fn texts(&mut self, texts: Vec<&[u8]>, codes: &[u32], levels: Option<&[u32]>) -> Result<()> {
        self.dictionary(&Chunk { dictionary: Dictionary::Texts(texts), codes, levels, bloom: false })
    }

    /// The same for a column that is searched for one text.
    pub fn keys(&mut self, texts: Vec<&[u8]>, codes: &[u32]) -> Result<()> {
        self.dictionary(&Chunk { dictionary: Dictionary::Texts(texts), codes, levels: None, bloom: true })
    }

    /// One text in all of `rows` rows.
    pub fn constant(&mut self, text: &[u8], rows: usize) -> Result<()> {
        self.texts(vec![text], &vec![0; rows], None)
    }

    /// Numbers of the rows that have one: a dictionary where it pays, else as they are.
    pub fn doubles(&mut self, values: &[f64], levels: Option<&[u32]>) -> Result<()> {
        if let Some(Distinct { numbers, codes }) = distinct(values) {
            return self.dictionary(&Chunk {
                dictionary: Dictionary::Doubles(numbers),
                codes: &codes,
                levels,
                bloom: false,
            });
        }
        let levels: Option<Vec<i16>> = levels.map(|levels| levels.iter().map(|level| *level as i16).collect());
        self.column(|column| column.typed::<DoubleType>().write_batch(values, levels.as_deref(), None))
    }

    /// Whole numbers or times, as differences.
    pub fn integers(&mut self, values: &[i64]) -> Result<()> {
        self.column(|column| column.typed::<Int64Type>().write_batch(values, None, None))
    }

    /// Short whole numbers.
    pub fn shorts(&mut self, values: &[i32]) -> Result<()> {
        self.column(|column| column.typed::<Int32Type>().write_batch(values, None, None))
    }

    /// True or false.
    pub fn flags(&mut self, values: &[bool]) -> Result<()> {
        self.column(|column| column.typed::<BoolType>().write_batch(values, None, None))
    }

    /// Texts that are all different.
    pub fn unique_texts(&mut self, texts: Vec<ByteArray>) -> Result<()> {
        self.column(|column| column.typed::<ByteArrayType>().write_batch(&texts, None, None))
    }

    fn column(
        &mut self,
        write: impl FnOnce(&mut parquet::file::writer::SerializedColumnWriter) -> Result<usize>,
    ) -> Result<()> {
        self.next += 1;
        let next = self.writer.next_column()?;
        let mut column = next.ok_or_else(|| ParquetError::General("one column too many".to_string()))?;
        write(&mut column)?;
        column.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_channels_are_unique() {
        let channels: Vec<String> = ["voltage", "Time", "VOLTAGE", "channel_time"].map(String::from).to_vec();
        let names = channel_columns(&channels, &["meter", "time"]);
        assert_eq!(names, ["voltage", "channel_Time", "channel_VOLTAGE", "channel_channel_time"]);
    }
}
