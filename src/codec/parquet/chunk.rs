//! Column chunks that are written as a dictionary and indices into it.
//!
//! The `parquet` crate would hash every value of such a column again (and hold each text as an object of its own), though
//! we know its index already. So the pages are made here and handed over as a finished chunk. The dictionary is sorted:
//! smallest and largest of a page are then those of its indices.

use crate::codec::parquet::PAGE_ROWS;
use crate::codec::parquet::hybrid;
use parquet::basic::{BoundaryOrder, Compression, Encoding, EncodingMask, PageType, Type, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats, SortingColumn,
};
use parquet::file::reader::ChunkReader;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use std::ops::Range;
use zstd::bulk::Compressor;

/// Level of compression: level 3 saved 0 to 6 % of the bytes of readings for 2 to 10 % more time.
pub const ZSTD_LEVEL: i32 = 1;
/// Longest text that stands in statistics; a column with a longer one has none.
const LONGEST_STATISTIC: usize = 64;
/// Share of meters that a bloom filter takes for present though they are not.
const FALSE_POSITIVES: f64 = 0.01;

/// The distinct values of a chunk in ascending order, each of which occurs.
pub enum Dictionary<'a> {
    /// Texts, by their bytes.
    Texts(Vec<&'a [u8]>),
    /// Numbers, by [`f64::total_cmp`].
    Doubles(Vec<f64>),
}

/// What a column has in the rows of a row group.
pub struct Chunk<'a> {
    /// Its values.
    pub dictionary: Dictionary<'a>,
    /// For each row that has a value, its index.
    pub codes: &'a [u32],
    /// For each row 1 if it has a value, else 0; `None`: every row has one.
    pub levels: Option<&'a [u32]>,
    /// Whether point look-ups deserve a bloom filter.
    pub bloom: bool,
}

impl Dictionary<'_> {
    fn len(&self) -> usize {
        match self {
            Dictionary::Texts(texts) => texts.len(),
            Dictionary::Doubles(numbers) => numbers.len(),
        }
    }

    /// In PLAIN encoding, as dictionary pages have it.
    fn plain(&self) -> Vec<u8> {
        match self {
            Dictionary::Doubles(numbers) => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Dictionary::Texts(texts) => {
                let mut out = Vec::with_capacity(texts.iter().map(|text| text.len() + 4).sum());
                for text in texts {
                    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                    out.extend_from_slice(text);
                }
                out
            }
        }
    }

    /// Whether smallest and largest can be told: not with numbers that are none, nor with endless texts.
    fn has_bounds(&self) -> bool {
        match self {
            Dictionary::Texts(texts) => texts.iter().all(|text| text.len() <= LONGEST_STATISTIC),
            Dictionary::Doubles(numbers) => !numbers.iter().any(|number| number.is_nan()),
        }
    }

    /// Two entries as bytes of statistics.
    fn bounds(&self, low: u32, high: u32) -> (Vec<u8>, Vec<u8>) {
        match self {
            Dictionary::Texts(texts) => (texts[low as usize].to_vec(), texts[high as usize].to_vec()),
            Dictionary::Doubles(numbers) => {
                let (low, high) = signed_zeros(numbers[low as usize], numbers[high as usize]);
                (low.to_le_bytes().to_vec(), high.to_le_bytes().to_vec())
            }
        }
    }

    fn statistics(&self, nulls: u64) -> Statistics {
        let distinct = Some(self.len() as u64);
        let bounded = self.has_bounds() && self.len() > 0;
        match self {
            Dictionary::Texts(texts) => {
                let value = |text: &&[u8]| ByteArray::from(text.to_vec());
                let (low, high) = (texts.first().filter(|_| bounded), texts.last().filter(|_| bounded));
                Statistics::new(low.map(value), high.map(value), distinct, Some(nulls), false)
            }
            Dictionary::Doubles(numbers) => {
                let bounds = numbers.first().zip(numbers.last()).filter(|_| bounded);
                let (low, high) = bounds.map(|(low, high)| signed_zeros(*low, *high)).unzip();
                let nans = bounded.then_some(0);
                ValueStatistics::new(low, high, distinct, Some(nulls), false).with_nan_count(nans).into()
            }
        }
    }
}

/// The format asks for it: a smallest zero is written as -0 and a largest as +0, for a reader may have either.
fn signed_zeros(low: f64, high: f64) -> (f64, f64) {
    (if low == 0.0 { -0.0 } else { low }, if high == 0.0 { 0.0 } else { high })
}

/// Writes a chunk as the next column of `group`.
pub fn append(
    group: &mut SerializedRowGroupWriter<Vec<u8>>,
    column: &ColumnDescPtr,
    zstd: &mut Compressor,
    chunk: &Chunk,
) -> Result<()> {
    let mut sink = TrackedWrite::new(Vec::new());
    let mut pages = Pages::new(column, chunk);
    {
        let mut writer = SerializedPageWriter::new(&mut sink);
        pages.dictionary(&mut writer, zstd)?;
        let mut from = 0;
        let rows = chunk.levels.map_or(chunk.codes.len(), <[u32]>::len);
        for start in (0..rows).step_by(PAGE_ROWS) {
            from = pages.data(start..rows.min(start + PAGE_ROWS), from, &mut writer, zstd)?;
        }
        writer.close()?;
    }
    let closed = pages.close(column, rows_of(chunk))?;
    group.append_column(&shared(sink.into_inner()?), closed)
}

fn rows_of(chunk: &Chunk) -> u64 {
    chunk.levels.map_or(chunk.codes.len(), <[u32]>::len) as u64
}

/// Bytes as the reader that the crate wants; it does not export the type, but a page holds one.
pub fn shared(bytes: Vec<u8>) -> impl ChunkReader + use<> {
    let page = Page::DictionaryPage { buf: bytes.into(), num_values: 0, encoding: Encoding::PLAIN, is_sorted: false };
    page.buffer().clone()
}

/// The order that a file declares: by its first and its second column.
pub fn sorted_by_the_first_two() -> Vec<SortingColumn> {
    [0, 1].map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false }).to_vec()
}

/// The pages of a chunk while they are written, and what is known of them.
struct Pages<'a> {
    chunk: &'a Chunk<'a>,
    width: u32,
    bounded: bool,
    is_text: bool,
    columns: ColumnIndexBuilder,
    offsets: OffsetIndexBuilder,
    /// Indices of the smallest and largest value of the page before, while both never went down.
    ascending: Option<(u32, u32)>,
    compressed: i64,
    uncompressed: i64,
    dictionary_offset: i64,
    data_offset: Option<i64>,
    data_pages: i32,
    nulls: u64,
}

impl<'a> Pages<'a> {
    fn new(column: &ColumnDescPtr, chunk: &'a Chunk) -> Pages<'a> {
        let largest = (chunk.dictionary.len() as u32).saturating_sub(1);
        let mut columns = ColumnIndexBuilder::new(column.physical_type());
        let bounded = chunk.dictionary.has_bounds();
        if !bounded {
            columns.to_invalid();
        }
        Pages {
            chunk,
            width: hybrid::width_of(largest),
            bounded,
            is_text: column.physical_type() == Type::BYTE_ARRAY,
            columns,
            offsets: OffsetIndexBuilder::new(),
            ascending: Some((0, 0)),
            compressed: 0,
            uncompressed: 0,
            dictionary_offset: 0,
            data_offset: None,
            data_pages: 0,
            nulls: 0,
        }
    }

    fn write(&mut self, writer: &mut dyn PageWriter, page: Page, uncompressed: usize) -> Result<PageWriteSpec> {
        let spec = writer.write_page(CompressedPage::new(page, uncompressed))?;
        self.compressed += spec.compressed_size as i64;
        self.uncompressed += spec.uncompressed_size as i64;
        Ok(spec)
    }

    fn dictionary(&mut self, writer: &mut dyn PageWriter, zstd: &mut Compressor) -> Result<()> {
        let plain = self.chunk.dictionary.plain();
        let page = Page::DictionaryPage {
            buf: compress(zstd, &plain)?.into(),
            num_values: self.chunk.dictionary.len() as u32,
            encoding: Encoding::PLAIN,
            is_sorted: true,
        };
        self.dictionary_offset = self.write(writer, page, plain.len())?.offset as i64;
        Ok(())
    }

    /// Writes the page of `rows`, whose values start at index `from` of the codes; returns where those of the next start.
    fn data(
        &mut self,
        rows: Range<usize>,
        from: usize,
        writer: &mut dyn PageWriter,
        zstd: &mut Compressor,
    ) -> Result<usize> {
        let mut body = Vec::with_capacity(rows.len() * 4);
        let mut to = from + rows.len();
        if let Some(levels) = self.chunk.levels.map(|levels| &levels[rows.clone()]) {
            to = from + levels.iter().sum::<u32>() as usize;
            body.extend_from_slice(&[0; 4]);
            hybrid::encode(levels, 1, &mut body);
            let length = body.len() as u32 - 4;
            body[..4].copy_from_slice(&length.to_le_bytes());
        }
        let codes = &self.chunk.codes[from..to];
        body.push(self.width as u8);
        hybrid::encode(codes, self.width, &mut body);
        let page = Page::DataPage {
            buf: compress(zstd, &body)?.into(),
            num_values: rows.len() as u32,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let spec = self.write(writer, page, body.len())?;
        self.data_offset.get_or_insert(spec.offset as i64);
        self.data_pages += 1;
        self.offsets.append_row_count(rows.len() as i64);
        self.offsets.append_offset_and_size(spec.offset as i64, spec.compressed_size as i32);
        self.index_page(codes, rows.len() - codes.len());
        Ok(to)
    }

    fn index_page(&mut self, codes: &[u32], nulls: usize) {
        self.nulls += nulls as u64;
        if !self.bounded {
            return;
        }
        let nans = (!self.is_text).then_some(0);
        let Some((low, high)) = codes.iter().min().zip(codes.iter().max()) else {
            self.columns.append(true, Vec::new(), Vec::new(), nulls as i64, nans);
            return;
        };
        let (min, max) = self.chunk.dictionary.bounds(*low, *high);
        self.columns.append(false, min, max, nulls as i64, nans);
        self.ascending = self.ascending.filter(|before| before.0 <= *low && before.1 <= *high).map(|_| (*low, *high));
    }

    fn close(mut self, column: &ColumnDescPtr, rows: u64) -> Result<ColumnCloseResult> {
        let order = if self.ascending.is_some() { BoundaryOrder::ASCENDING } else { BoundaryOrder::UNORDERED };
        self.columns.set_boundary_order(order);
        let encodings = [Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY];
        let pages = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
            .set_page_encoding_stats(vec![
                pages(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
                pages(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, self.data_pages),
            ])
            .set_num_values(rows as i64)
            .set_total_compressed_size(self.compressed)
            .set_total_uncompressed_size(self.uncompressed)
            .set_dictionary_page_offset(Some(self.dictionary_offset))
            .set_data_page_offset(self.data_offset.unwrap_or(self.dictionary_offset))
            .set_statistics(self.chunk.dictionary.statistics(self.nulls))
            .build()?;
        Ok(ColumnCloseResult {
            bytes_written: self.compressed as u64,
            rows_written: rows,
            metadata,
            bloom_filter: self.chunk.bloom.then(|| bloom_filter(&self.chunk.dictionary)).transpose()?,
            column_index: self.columns.valid().then(|| self.columns.build()).transpose()?,
            offset_index: Some(self.offsets.build()),
        })
    }
}

fn bloom_filter(dictionary: &Dictionary) -> Result<Sbbf> {
    let mut filter = Sbbf::new_with_ndv_fpp(dictionary.len() as u64, FALSE_POSITIVES)?;
    match dictionary {
        Dictionary::Texts(texts) => texts.iter().for_each(|text| filter.insert(*text)),
        Dictionary::Doubles(numbers) => numbers.iter().for_each(|number| filter.insert(number)),
    }
    Ok(filter)
}

fn compress(zstd: &mut Compressor, bytes: &[u8]) -> Result<Vec<u8>> {
    zstd.compress(bytes).map_err(|error| ParquetError::External(Box::new(error)))
}
