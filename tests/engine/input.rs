//! Generated input: files of readings with all that a fleet does wrong, and the configuration to read them with.

use crate::support::Folder;
use proptest::prelude::*;

/// 2024-01-01, ms.
const START: i64 = 1_704_067_200_000;
const SECOND: i64 = 1_000;
const DAY: i64 = 86_400_000;
/// Meters of a file, or of the job.
const METERS: usize = 3;

/// The channels of the source.
pub const CHANNELS: [&str; 2] = ["voltage", "current"];
/// The statuses that are drawn; the detector knows `FAILURE`.
const STATUSES: [Option<&str>; 4] = [None, Some("OK"), Some("failure"), Some("x FAILURE y")];

/// Which meter stands in which file.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Layout {
    /// A file for each meter.
    Alone,
    /// Several meters in each file, each of them in one.
    Grouped,
    /// All meters in each file, and a file for each day.
    Daily,
    /// All meters in each file, side by side in time.
    Spread,
}

/// Windows of the configuration, ms.
#[derive(Clone, Copy, Debug)]
pub enum Window {
    Sliding { size: i64, slide: i64 },
    Session { gap: i64 },
}

/// Baselines of the configuration.
#[derive(Clone, Copy, Debug)]
pub enum Baseline {
    Last(usize),
    All,
    /// A duration, ms.
    Time(i64),
}

/// What kind of record comes next.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Time goes on, by so many ms.
    On(i64),
    /// So many ms behind.
    Behind(i64),
    /// So many ms ahead, for one record only.
    Ahead(i64),
    /// The same meter, time and channels as the one before.
    Again,
    Dead(usize),
    Blank,
}

/// A drawn record.
#[derive(Clone, Debug)]
struct Draw {
    kind: Kind,
    meter: usize,
    /// In quarters.
    values: [Option<i32>; 2],
    status: usize,
}

/// Input with its configuration.
#[derive(Clone, Debug)]
pub struct Case {
    pub layout: Layout,
    files: Vec<Vec<Draw>>,
    pub window: Window,
    pub baseline: Baseline,
    pub out_of_orderness: i64,
    pub allowed_lateness: i64,
    pub max_jump: Option<i64>,
    pub drop_duplicates: bool,
    pub min_count: usize,
    pub threshold: f64,
}

/// A record that can be decoded, as its line says.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    pub meter: String,
    pub time: i64,
    pub values: [Option<f64>; 2],
    pub status: Option<&'static str>,
}

/// A line that is not blank.
pub struct Record {
    pub offset: u64,
    /// None: a dead letter.
    pub reading: Option<Reading>,
}

/// A file with what its lines mean.
pub struct File {
    pub name: String,
    pub bytes: Vec<u8>,
    pub records: Vec<Record>,
}

fn draw() -> impl Strategy<Value = Draw> {
    let kind = prop_oneof![
        30 => (0..5 * SECOND).prop_map(Kind::On),
        6 => Just(Kind::On(0)),
        2 => (0..200 * SECOND).prop_map(Kind::On),
        8 => (0..12 * SECOND).prop_map(Kind::Behind),
        2 => prop::sample::select(vec![9_999, 10_000, 10_001, 39_999, 40_000, 40_001]).prop_map(Kind::Behind),
        2 => (0..600 * SECOND).prop_map(Kind::Behind),
        2 => (DAY - SECOND..3 * DAY).prop_map(Kind::Ahead),
        3 => Just(Kind::Again),
        2 => (0..DEAD.len()).prop_map(Kind::Dead),
        1 => Just(Kind::Blank),
    ];
    let voltage = prop_oneof![8 => (0..8).prop_map(|n| 920 + n), 1 => 780..1060, 1 => Just(0)];
    let values = (prop::option::weighted(0.9, voltage), prop::option::weighted(0.3, -4..40));
    let status = prop_oneof![8 => 0..3usize, 1 => Just(3usize)];
    (kind, 0..METERS, values, status).prop_map(|(kind, meter, (voltage, current), status)| {
        let kind = if let Kind::On(ms) = kind { Kind::On(ms / 250 * 250) } else { kind };
        Draw { kind, meter, values: [voltage, current], status }
    })
}

/// Now and then, time goes on by days and stays there: more than 16 records in a row.
fn file(records: usize) -> impl Strategy<Value = Vec<Draw>> {
    (prop::collection::vec(draw(), 0..records), prop::option::weighted(0.2, 0..records)).prop_map(|(mut draws, jump)| {
        let jump = jump.and_then(|at| draws.get_mut(at));
        jump.into_iter().for_each(|draw| draw.kind = Kind::On(2 * DAY));
        draws
    })
}

/// Cases with files of up to `records` records in one of these layouts.
pub fn cases(layouts: &'static [Layout], records: usize) -> impl Strategy<Value = Case> {
    let window = prop_oneof![
        Just(Window::Sliding { size: 60_000, slide: 60_000 }),
        Just(Window::Sliding { size: 60_000, slide: 10_000 }),
        Just(Window::Session { gap: 7_000 }),
    ];
    let baseline = prop_oneof![(1..12usize).prop_map(Baseline::Last), Just(Baseline::All), Just(Baseline::Time(120_000))];
    let time = (prop::sample::select(vec![0, 30_000]), prop::option::weighted(0.6, Just(DAY)));
    let rest = (any::<bool>(), 1..6usize, prop::sample::select(vec![1.5, 2.5, 3.0]));
    let files = prop::collection::vec(file(records), 1..5);
    (prop::sample::select(layouts), files, window, baseline, time, rest).prop_map(
        |(layout, files, window, baseline, (allowed_lateness, max_jump), (drop_duplicates, min_count, threshold))| Case {
            layout,
            files,
            window,
            baseline,
            out_of_orderness: 10_000,
            allowed_lateness,
            max_jump,
            drop_duplicates,
            min_count,
            threshold,
        },
    )
}

/// Lines that are no readings.
const DEAD: [&str; 6] = [
    "{",
    "no json",
    "{\"meter_id\":\"a\"}",
    "{\"meter_id\":\"a\",\"timestamp\":1704067200000,\"voltage\":true}",
    "{\"meter_id\":\"\",\"timestamp\":1704067200000}",
    "{\"meter_id\":\"a\",\"timestamp\":1}",
];

impl Case {
    /// The files, sorted by name.
    pub fn files(&self) -> Vec<File> {
        self.files.iter().enumerate().map(|(index, draws)| self.file(index, draws)).collect()
    }

    fn file(&self, index: usize, draws: &[Draw]) -> File {
        let mut file = File { name: format!("part-{index}.jsonl"), bytes: Vec::new(), records: Vec::new() };
        let mut clock = START + if self.layout == Layout::Daily { index as i64 * DAY } else { 0 };
        let mut before: Option<Reading> = None;
        for draw in draws {
            let offset = file.bytes.len() as u64;
            let time = match draw.kind {
                Kind::On(ms) => {
                    clock += ms;
                    clock
                }
                Kind::Behind(ms) => clock - ms,
                Kind::Ahead(ms) => clock + ms,
                Kind::Again => before.as_ref().map_or(clock, |before| before.time),
                Kind::Blank => {
                    file.bytes.extend(b" \r\n");
                    continue;
                }
                Kind::Dead(which) => {
                    file.bytes.extend(format!("{}\n", DEAD[which]).bytes());
                    file.records.push(Record { offset, reading: None });
                    continue;
                }
            };
            let mut reading = self.reading(index, draw, time);
            if let (Kind::Again, Some(before)) = (draw.kind, &before) {
                reading = Reading { status: reading.status, ..before.clone() };
            }
            file.bytes.extend(line(&reading).bytes());
            file.records.push(Record { offset, reading: Some(reading.clone()) });
            before = Some(reading);
        }
        file
    }

    fn reading(&self, file: usize, draw: &Draw, time: i64) -> Reading {
        let meter = match self.layout {
            Layout::Alone => format!("meter {file}"),
            Layout::Grouped => format!("a meter with a long name {file}-{}", draw.meter),
            Layout::Daily | Layout::Spread => format!("m{}", draw.meter),
        };
        let values = draw.values.map(|value| value.map(|quarters| f64::from(quarters) / 4.0));
        Reading { meter, time, values, status: STATUSES[draw.status] }
    }

    /// Writes the files below `in/` of the folder.
    pub fn write(&self, folder: &Folder) {
        for file in self.files() {
            folder.write(&format!("in/{}", file.name), file.bytes);
        }
    }

    /// The configuration that reads them and writes below `out`.
    pub fn config(&self, folder: &Folder, out: &str, block: u64, tick: u64) -> String {
        let window = match self.window {
            Window::Sliding { size, slide } if size == slide => format!("kind = \"tumbling\"\nsize = \"{size}ms\""),
            Window::Sliding { size, slide } => format!("kind = \"sliding\"\nsize = \"{size}ms\"\nslide = \"{slide}ms\""),
            Window::Session { gap } => format!("kind = \"session\"\ngap = \"{gap}ms\""),
        };
        let baseline = match self.baseline {
            Baseline::Last(count) => format!("last {count}"),
            Baseline::All => "all".to_owned(),
            Baseline::Time(ms) => format!("{ms}ms"),
        };
        let sinks: String = ["anomalies.jsonl", "stats/", "late.jsonl", "dead_letters.jsonl"]
            .iter()
            .map(|file| {
                let name = file.trim_end_matches(".jsonl").trim_end_matches('/');
                format!("[sinks.{name}]\nkind = \"file\"\npath = {:?}\n", folder.at(&format!("{out}/{file}")))
            })
            .collect();
        // "last N" must be able to reach min_count.
        let min_count = self.min_count();
        format!(
            "[sources.readings]\nkind = \"file\"\npath = {:?}\nout_of_orderness = \"{}ms\"\nmax_jump = {:?}\n\
             duplicates = {:?}\n[sources.readings.fields]\nchannels = [\"voltage\", \"current\"]\n\
             [windows]\n{window}\nallowed_lateness = \"{}ms\"\n\
             [detectors.moving_average]\nbaseline = {baseline:?}\nmin_count = {min_count}\nthreshold = {:?}\n\
             [detectors.limits]\n[detectors.status]\n{sinks}[archive]\nurl = {:?}\n[engine]\nblock_size = {block}\ntick_size = {tick}\n",
            folder.at("in/*.jsonl"),
            self.out_of_orderness,
            self.max_jump.map_or("off".to_owned(), |ms| format!("{ms}ms")),
            if self.drop_duplicates { "drop" } else { "keep" },
            self.allowed_lateness,
            self.threshold,
            folder.at(&format!("{out}/archive")),
        )
    }

    /// Fewest readings of a baseline that judges.
    pub fn min_count(&self) -> usize {
        match self.baseline {
            Baseline::Last(count) => self.min_count.min(count),
            _ => self.min_count,
        }
    }
}

/// The line of a reading.
fn line(reading: &Reading) -> String {
    let mut line = format!("{{\"meter_id\":{:?},\"timestamp\":{}", reading.meter, reading.time);
    for (channel, value) in CHANNELS.iter().zip(reading.values) {
        if let Some(value) = value {
            line += &format!(",\"{channel}\":{value}");
        }
    }
    if let Some(status) = reading.status {
        line += &format!(",\"status\":\"{status}\"");
    }
    line + "}\n"
}
