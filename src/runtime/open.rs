//! Opens the sources of a job: lists their partitions, shares them out over the processes, and looks at where each
//! begins in event time.

use crate::codec::id::{murmur3, push_text};
use crate::codec::{CsvHeader, Decoder, Format, FormatKind};
use crate::config::{Settings, Source};
use crate::connectors::Blocks;
use crate::connectors::file::{self, Cut, Entry};
use crate::connectors::simulated;
use crate::drivers::plan::block_size;
use crate::drivers::reader::{Partition, Reader, look_ahead};
use crate::error::Error;
use crate::event_time::Rules;
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

/// Opens what this process reads. `now` is the time of the run, ms.
pub(super) fn open(job: &Job, now: i64) -> Result<Opened, Error> {
    let (settings, cluster) = (&job.settings, &job.cluster);
    let mut listed = Vec::new();
    for (name, source) in &settings.sources {
        listed.push((name, source, list(name, source)?));
    }
    let partitions: Vec<String> = listed.iter().flat_map(|(_, _, listed)| listed.names()).collect();
    let block = settings.engine.block_size.unwrap_or_else(|| block_size(partitions.len()));
    let (mut readers, mut out_of_orderness, mut first) = (Vec::new(), Vec::new(), 0);
    for (name, source, listed) in listed {
        let count = listed.names().len();
        let rules = rules(source, settings);
        let format = Arc::new(source.format.clone());
        let open = Opening { name, format: &format, rules: &rules, now, block, alone: partitions.len() == 1 };
        let mine = (0..count).filter(|index| cluster.reads(first + index));
        let opened: Result<Vec<Partition>, Error> = mine.map(|index| open.partition(&listed, first, index)).collect();
        let mut reader = Reader::new(name, format.clone(), rules, listed.fingerprint(), opened?);
        reader.check_state = job.check_state;
        readers.push(Arc::new(reader));
        out_of_orderness.extend(std::iter::repeat_n(rules.out_of_orderness, count));
        first += count;
    }
    Ok(Opened { readers, partitions, out_of_orderness, block })
}

fn rules(source: &Source, settings: &Settings) -> Rules {
    Rules {
        out_of_orderness: source.out_of_orderness,
        allowed_lateness: settings.windows.allowed_lateness,
        max_jump: source.max_jump,
        future_limit: source.future_limit,
    }
}

fn list(name: &str, source: &Source) -> Result<Listed, Error> {
    match source.kind.as_str() {
        "file" => {
            let path = source.values.text("path").unwrap_or_default();
            let hint = format!("sources.{name}.path must be a file, a pattern that matches some, or \"-\"");
            file::list(path).map(Listed::Files).map_err(|error| Error::input(path, error).with_hint(hint))
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
        // A single partition holds nothing back but itself, and standard input may be slow to say anything.
        let begin = match self.alone {
            true => None,
            false => self.begin(name, &*blocks, header.as_ref(), skip)?,
        };
        Ok(Partition::new((first + index) as u32, name, blocks, header, begin))
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
