//! A great many broken records: no crash, every one is counted, and a dead letter holds its bytes as they were.
//!
//! `METERFLOW_MUTATIONS` sets how many; the seed is fixed.

use crate::support::{Folder, anomaly, base64, json, run};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};

/// Longest record that is kept, and longest that the engine takes.
const RAW_LIMIT: usize = 64 << 10;
const MAX_RECORD: usize = 100 << 10;

/// Small, fast, and the same everywhere (xorshift64*, Vigna 2014).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// A record as meters send it.
fn valid(draws: &mut Draws, number: usize) -> Vec<u8> {
    let mut line = String::new();
    let time = 1_704_067_200_000 + number as u64 * 10;
    let _ = match draws.below(4) {
        0 => write!(line, "{{\"meterId\":{},\"timestamp\":\"2024-01-01T00:00:{:02}Z\"", draws.below(90), number % 60),
        1 => write!(line, "{{\"x\":[{{\"y\":null}}],\"meter_id\":\"Zähler {}\",\"timestamp\":{time}", draws.below(9)),
        _ => write!(line, "{{\"meter_id\":\"m{}\",\"timestamp\":{time}", draws.below(90)),
    };
    let volts = draws.of(&["230.1", "-0", "2.3e2", "null", "1e-300", "229.99999999999997"]);
    let _ = write!(line, ",\"voltage\":{volts},\"current\":{},\"status\":", draws.below(100));
    line += *draws.of(&["\"OK\"}", "\"a \\u00e4 \\\\ \\\" b\"}", "null}", "\"FAILURE\"}"]);
    line.into_bytes()
}

/// Breaks a record in one of many ways, or leaves it whole. It may become several lines, or none.
fn mutate(draws: &mut Draws, line: &mut Vec<u8>) {
    let at = draws.below(line.len());
    match draws.below(500) {
        0..150 => (0..=draws.below(4)).for_each(|_| {
            let at = draws.below(line.len());
            line[at] ^= 1 << draws.below(8);
        }),
        150..200 => line.truncate(at),
        200..230 => drop(line.drain(..at)),
        230..290 => (0..=draws.below(3)).for_each(|_| line.insert(at, draws.next() as u8)),
        290..310 => line.insert(at, *draws.of(b"\"{}[],:\\\n\r\t -e.0")),
        310..330 => line
            .splice(at..at, draws.of(&[&b"\xff\xfe"[..], b"\xed\xa0\x80", b"\xc3", b"\\ud800", b"\0"]).to_vec())
            .for_each(drop),
        330..340 => *line = [b"[".repeat(draws.below(80)), line.clone()].concat(),
        340..350 => {
            let depth = draws.below(80);
            *line = [b"{\"x\":".repeat(depth), line.clone(), b"}".repeat(depth)].concat();
        }
        350..370 => {
            let other = valid(draws, 7);
            line.splice(at.., other.iter().copied().skip(draws.below(40))).for_each(drop);
        }
        370..380 => {
            *line = draws.of(&[&b""[..], b" \t", b"\r", b"{}", b"[]", b"null", b"0", b"\"\"", b"\xef\xbb\xbf"]).to_vec();
        }
        380..398 => line.extend(b" ".repeat(draws.below(300))),
        398 => {
            let length = *draws.of(&[1_000, RAW_LIMIT, MAX_RECORD]) + draws.below(1_000);
            let filling = draws.of(b"x 0\xff{").to_owned();
            line.splice(at..at, vec![filling; length]).for_each(drop);
        }
        _ => {}
    }
}

/// So many mutated records, without a line feed behind the last.
fn input(records: usize) -> Vec<u8> {
    let mut draws = Draws(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::new();
    for number in 0..records {
        let mut line = valid(&mut draws, number);
        mutate(&mut draws, &mut line);
        bytes.extend(line);
        bytes.extend(*draws.of(&[&b"\n"[..], b"\n", b"\n", b"\r\n"]));
    }
    bytes.extend(b"{\"meter_id\":\"the end");
    bytes
}

fn is_blank(line: &[u8]) -> bool {
    line.len() <= MAX_RECORD && line.iter().all(|byte| b" \t\r".contains(byte))
}

/// The record that starts at `offset`, without its line end.
fn record(bytes: &[u8], offset: usize) -> &[u8] {
    assert!(offset == 0 || bytes[offset - 1] == b'\n', "no line starts at {offset}");
    let line = bytes[offset..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_last = offset + line.len() == bytes.len();
    if is_last { line } else { line.strip_suffix(b"\r").unwrap_or(line) }
}

/// Lines around and far beyond `max_record`, whole in their block or not, with both line ends, compressed or not.
#[test]
fn long_lines_are_cut_and_measured_alike_however_they_are_read() {
    let mut bytes = Vec::new();
    for length in [2046, 2047, 2048, 2049, 2050, 2051, 5_000, 70_000, 300_000] {
        for feed in [&b"\n"[..], b"\r\n", b"\r\r\n"] {
            bytes.extend(b"x".repeat(length));
            bytes.extend(feed);
        }
    }
    bytes.extend(b"y".repeat(9_000));
    bytes.push(b'\r');
    let folder = Folder::new("long");
    folder.write("plain", &bytes);
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut writer, &bytes).expect("memory can be written");
    folder.write("gzip", writer.finish().expect("memory can be written"));
    let mut first = None;
    for (input, block) in [("plain", "1MiB"), ("plain", "1KiB"), ("plain", "3000"), ("gzip", "1MiB"), ("gzip", "1KiB")] {
        let dead = folder.at("dead.jsonl");
        let config = format!(
            "[sources.readings]\nkind = \"file\"\npath = {:?}\nmax_record = \"2KiB\"\n\
             [sinks.dead_letters]\nkind = \"file\"\npath = {dead:?}\n[engine]\nblock_size = \"{block}\"\n",
            folder.at(input)
        );
        run(anomaly::ANOMALY, &config, 2, false);
        let mut letters: Vec<_> = crate::support::lines(&dead).iter().map(|line| json(line)).collect();
        for letter in &mut letters {
            let record = record(&bytes, letter["offset"].as_u64().expect("an offset") as usize);
            assert_eq!(letter["raw_bytes"], record.len(), "{input}, {block}");
            assert!(record.starts_with(letter["raw"].as_str().expect("a text").as_bytes()), "{input}, {block}");
            letter["partition"].take();
        }
        assert_eq!(letters.len(), 28);
        let texts: Vec<String> = letters.iter().map(ToString::to_string).collect();
        assert!(first.get_or_insert_with(|| texts.clone()) == &texts, "{input}, {block}: other letters");
    }
}

#[test]
fn broken_records_are_dead_letters_as_they_were() {
    let wanted = std::env::var("METERFLOW_MUTATIONS").map_or(100_000, |text| text.parse().expect("a number"));
    let folder = Folder::new("malformed");
    let bytes = input(wanted);
    let input = folder.write("in.jsonl", &bytes);
    let dead = folder.at("dead.jsonl");
    let config = format!(
        "[sources.readings]\nkind = \"file\"\npath = {input:?}\nmax_record = \"100KiB\"\n\
         [sinks.dead_letters]\nkind = \"file\"\npath = {dead:?}\n[sinks.anomalies]\nkind = \"file\"\npath = {:?}\n\
         [sinks.stats]\nkind = \"file\"\npath = {:?}\n[detectors.status]\n[engine]\nblock_size = \"64KiB\"\ntick_size = \"1MiB\"\n",
        folder.at("anomalies.jsonl"),
        folder.at("stats.jsonl")
    );
    let outcome = run(anomaly::ANOMALY, &config, 2, false);

    let counts = &outcome.counts.sources["readings"];
    let records = bytes.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)).count() as u64;
    assert_eq!(counts.read, records);
    let (mut letters, mut next, mut whole, mut reasons) = (0, 0, 0, std::collections::BTreeMap::<String, u64>::new());
    for line in BufReader::new(fs::File::open(&dead).expect("dead letters")).lines() {
        let letter = json(&line.expect("a line of UTF-8"));
        let offset = letter["offset"].as_u64().expect("an offset") as usize;
        assert!(letters == 0 || offset >= next, "out of order at {offset}");
        let raw = letter["raw"].as_str().expect("a text");
        let raw = if letter["raw_encoding"] == "base64" { base64(raw) } else { raw.as_bytes().to_vec() };
        let record = record(&bytes, offset);
        assert_eq!(raw, &record[..record.len().min(RAW_LIMIT)], "offset {offset}");
        assert_eq!(letter["raw_bytes"], record.len(), "offset {offset}");
        assert_eq!(letter["reason"] == "too_long", record.len() > MAX_RECORD, "offset {offset}");
        *reasons.entry(letter["reason"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        (letters, next, whole) = (letters + 1, offset + 1, whole + u64::from(std::str::from_utf8(record).is_ok()));
    }
    assert_eq!(letters, counts.dead_total());
    assert_eq!(counts.used() + counts.late + letters, counts.read);
    // The mutations are worth something: many records are broken, many are not, in every way but one (`future` is off).
    assert!(letters > records / 4 && letters < records * 5 / 6 && whole < letters, "{letters} of {records} are dead");
    let names = ["missing_field", "not_json", "not_utf8", "out_of_range", "too_deep", "too_long", "wrong_type"];
    assert_eq!(reasons.keys().collect::<Vec<_>>(), names);
}
