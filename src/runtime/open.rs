//! Opens the sources of a job: lists their partitions, shares them out over the processes, and looks at where each
//! begins in event time.

use crate::codec::id::{murmur3, push_text};
use crate::codec::{CsvHeader, Decoder, Format, FormatKind};
use crate::config::{self, Settings};
use crate::connectors::Blocks;
use crate::connectors::file::{self, Cut, Entry};
use crate::connectors::simulated;
use crate::drivers::plan::block_size;
use crate::drivers::reader::{Partition, Reader, look_ahead};
use crate::drivers::resume::Resume;
use crate::error::Error;
use crate::event_time::Rules;
use crate::model::commit::PartitionRecord;
use crate::runtime::Job;
use crate::simulator;
use std::sync::Arc;

/// The sources of a job as this process sees them.
pub(super) struct Opened {
    pub readers: Vec<Arc<Reader>>,
    /// Names of all partitions of the job.
    pub partitions: Vec<String>,
    /// For each partition, its source's out_of_orderness.
    pub out_of_orderness: Vec<i64>,
    /// Bytes of a block.
    pub block: u64,
}

/// What a source consists of.
enum Listed {
    Files(Vec<Entry>),
    Simulated(simulator::Settings),
}

impl Listed {
    fn names(&self) -> Vec<String> {
        match self {
            Listed::Files(entries) => entries.iter().map(|entry| entry.name.clone()).collect(),
            Listed::Simulated(settings) => simulated::partitions(settings),
        }
    }

    /// The same for two processes that see the same.
    fn fingerprint(&self) -> u64 {
        let mut bytes = Vec::new();
        match self {
            Listed::Files(entries) => entries.iter().for_each(|entry| {
                push_text(entry.name.as_bytes(), &mut bytes);
                bytes.extend_from_slice(&entry.bytes.to_le_bytes());
            }),
            Listed::Simulated(settings) => push_text(format!("{settings:?}").as_bytes(), &mut bytes),
        }
        murmur3(&bytes, 0)[0]
    }
}

/// A source with what it consists of.
struct Source<'a> {
    name: &'a str,
    settings: &'a config::Source,
    listed: Listed,
}

/// What a job reads.
pub(super) struct Listing<'a>(Vec<Source<'a>>);

/// Finds what the sources consist of.
pub(super) fn list(settings: &Settings) -> Result<Listing<'_>, Error> {
    let mut sources = Vec::new();
    for (name, settings) in &settings.sources {
        sources.push(Source { name, settings, listed: list_source(name, settings)? });
    }
    Ok(Listing(sources))
}

/// Bytes of a block.
pub(super) fn block(settings: &Settings, listing: &Listing) -> u64 {
    let partitions = listing.0.iter().map(|source| source.listed.names().len()).sum();
    settings.engine.block_size.unwrap_or_else(|| block_size(partitions))
}

/// A hash of all of it: the same for two processes that see the same.
pub(super) fn hash(listing: &Listing) -> u64 {
    let hashes: Vec<u8> = listing.0.iter().flat_map(|source| source.listed.fingerprint().to_le_bytes()).collect();
    murmur3(&hashes, 0)[0]
}

/// All partitions, as they are recorded at the first start.
pub(super) fn records(listing: &Listing) -> Result<Vec<PartitionRecord>, Error> {
    let mut records = Vec::new();
    for Source { name, listed, .. } in &listing.0 {
        let source = (*name).to_owned();
        match listed {
            Listed::Files(entries) => {
                for entry in entries {
                    let place = || entry.path.display().to_string();
                    let content = file::fingerprint(entry).map_err(|error| Error::input(place(), error))?;
                    let (source, name) = (source.clone(), entry.name.clone());
                    records.push(PartitionRecord { source, name, size: Some(entry.bytes), content: Some(content) });
                }
            }
            Listed::Simulated(_) => {
                let content = Some([listed.fingerprint(), 0]);
                let record = |name| PartitionRecord { source: source.clone(), name, size: None, content };
                records.extend(listed.names().into_iter().map(record));
            }
        }
    }
    Ok(records)
}

/// Opens what this process reads, to go on from `resume`. `now` is the time of the run, ms; `block` the size of blocks, if
/// that has been settled.
pub(super) fn open(job: &Job, listing: &Listing, now: i64, resume: &Resume, block: Option<u64>) -> Result<Opened, Error> {
    let (settings, cluster) = (&job.settings, &job.cluster);
    let partitions: Vec<String> = listing.0.iter().flat_map(|source| source.listed.names()).collect();
    let block = block.unwrap_or_else(|| self::block(settings, listing));
    let (mut readers, mut out_of_orderness, mut first) = (Vec::new(), Vec::new(), 0);
    for Source { name, settings: source, listed } in &listing.0 {
        let count = listed.names().len();
        let rules = rules(source, settings);
        let format = Arc::new(source.format.clone());
        let alone = partitions.len() == 1;
        let open = Opening { name, format: &format, rules: &rules, now, block, alone, resume };
        let mine = (0..count).filter(|index| cluster.reads(first + index));
        let opened: Result<Vec<Partition>, Error> = mine.map(|index| open.partition(listed, first, index)).collect();
        let mut reader = Reader::new(name, format.clone(), rules, listed.fingerprint(), opened?);
        reader.check_state = job.check_state;
        readers.push(Arc::new(reader));
        out_of_orderness.extend(std::iter::repeat_n(rules.out_of_orderness, count));
        first += count;
    }
    Ok(Opened { readers, partitions, out_of_orderness, block })
}

pub(super) fn rules(source: &config::Source, settings: &Settings) -> Rules {
    Rules {
        out_of_orderness: source.out_of_orderness,
        allowed_lateness: settings.windows.allowed_lateness,
        max_jump: source.max_jump,
        future_limit: source.future_limit,
    }
}

fn list_source(name: &str, source: &config::Source) -> Result<Listed, Error> {
    match source.kind.as_str() {
        "file" => {
            let path = source.values.text("path").unwrap_or_default();
            let hint = format!("sources.{name}.path must be a file, a pattern that matches some, or \"-\"");
            // Starting again does not bring a file that is not there.
            file::list(path).map(Listed::Files).map_err(|error| Error::refused(path, error).with_hint(hint))
        }
        "simulator" => {
            let settings = simulator::from_values(&source.values);
            settings.map(Listed::Simulated).map_err(|problem| bad(name, &problem))
        }
        other => Err(Error::internal(format!("sources.{name}: nothing opens the kind `{other}`"))),
    }
}

fn bad(source: &str, problem: &crate::settings::Problem) -> Error {
    Error::new(crate::error::ErrorKind::Config, format!("sources.{source}.{}", problem.key), &problem.message)
}

/// What is needed to open the partitions of a source.
struct Opening<'a> {
    name: &'a str,
    format: &'a Arc<Format>,
    rules: &'a Rules,
    now: i64,
    block: u64,
    alone: bool,
    resume: &'a Resume,
}

/// Bytes in which the header of a CSV file must end.
const HEADER: usize = 64 << 10;

impl Opening<'_> {
    /// Opens partition `index` of the source, whose first one is number `first` of the job.
    fn partition(&self, listed: &Listed, first: usize, index: usize) -> Result<Partition, Error> {
        let cut = Cut { block: self.block, max_record: self.format.max_record };
        let name = &listed.names()[index];
        let mut blocks = match listed {
            Listed::Files(entries) => {
                let place = entries[index].path.display().to_string();
                file::open(&entries[index], cut).map_err(|error| Error::input(place, error))?
            }
            Listed::Simulated(settings) => {
                simulated::open(settings, index as u32, cut).map_err(|problem| bad(self.name, &problem))?
            }
        };
        let (header, skip) = self.header(name, &*blocks)?;
        if skip > 0 {
            blocks.skip(skip);
        }
        let number = (first + index) as u32;
        let taken = self.resume.taken(number);
        // A single partition holds nothing back but itself, and standard input may be slow to say anything.
        let begin = match self.alone || taken.is_some() {
            true => None,
            false => self.begin(name, &*blocks, header.as_ref(), skip)?,
        };
        let mut partition = Partition::new(number, name, blocks, header, begin);
        if let Some(taken) = taken {
            let resumed = partition.resume(&taken);
            resumed.map_err(|error| Error::input(format!("source {}, partition {name}", self.name), error))?;
        }
        Ok(partition)
    }

    fn header(&self, name: &str, blocks: &dyn Blocks) -> Result<(Option<CsvHeader>, u64), Error> {
        if self.format.kind != FormatKind::Csv {
            return Ok((None, 0));
        }
        let place = || format!("source {}, partition {name}", self.name);
        let mut bytes = blocks.peek(HEADER).map_err(|error| Error::input(place(), error))?;
        if bytes.len() < HEADER {
            // A file that is nothing but a header may lack the line feed.
            bytes.push(b'\n');
        }
        let hint = "a CSV file names its fields in its first row";
        let read = CsvHeader::read(&bytes, self.format);
        let read = read.map_err(|error| Error::input(place(), error).with_hint(hint))?;
        let (header, length) = read.ok_or_else(|| Error::input(place(), "no header").with_hint(hint))?;
        Ok((Some(header), length as u64))
    }

    fn begin(&self, name: &str, blocks: &dyn Blocks, header: Option<&CsvHeader>, skip: u64) -> Result<Option<i64>, Error> {
        let format_error = |error| Error::new(crate::error::ErrorKind::Config, format!("sources.{}", self.name), error);
        let mut decoder = Decoder::new(self.format).map_err(format_error)?;
        look_ahead(blocks, &mut decoder, header, skip, self.rules, self.now)
            .map_err(|error| Error::input(format!("source {}, partition {name}", self.name), error))
    }
}
