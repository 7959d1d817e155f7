//! What a hand-written, single-purpose loop reaches: the limit that the engine is measured against.
//!
//! `hand j1 FILE OUT` writes the anomalies of `anomaly` (moving_average on voltage over all readings, status), `hand j2
//! FILE OUT` the statistics of `stats` on voltage in windows of a minute by ten seconds, to the same lines but for the
//! anomaly's id. It knows the shape of the benchmark's lines, that no reading is late, and nothing else; one thread.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};

const SIZE: i64 = 60_000;
const SLIDE: i64 = 10_000;
const LATENESS: i64 = 30_000;
/// Most meters there are.
const METERS: usize = 1 << 14;

/// The fields of a line that the jobs use, and where the rest begins.
struct Line<'a> {
    meter: &'a [u8],
    time: i64,
    voltage: f64,
    status: &'a [u8],
    rest: &'a [u8],
}

/// A piece of a line.
enum Piece<'a> {
    Text(&'a str),
    Integer(i64),
    Float(f64),
    Hex(u64),
}

fn push(out: &mut Vec<u8>, pieces: &[Piece]) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Integer(number) => integer(*number, out),
            Piece::Float(number) => out.extend_from_slice(zmij::Buffer::new().format_finite(*number).as_bytes()),
            Piece::Hex(number) => {
                out.extend(
                    (0..32).rev().map(|digit| b"0123456789abcdef"[(u128::from(*number) >> (4 * digit)) as usize & 15]),
                );
            }
        }
    }
}

fn integer(mut number: i64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The eight bytes at `at`; what is read has as many behind it.
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

/// The number that eight digits spell, the first in the lowest place.
fn eight_digits(digits: u64) -> u64 {
    const PAIR: u64 = 0x0000_00ff_0000_00ff;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let high = (pairs & PAIR).wrapping_mul(100 + (1_000_000 << 32));
    let low = (pairs >> 16 & PAIR).wrapping_mul(1 + (10_000 << 32));
    high.wrapping_add(low) >> 32
}

/// A number of at most seven characters besides its sign, of which one is a point.
fn number(bytes: &[u8], at: &mut usize) -> f64 {
    const POWERS: [f64; 8] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];
    let negative = bytes[*at] == b'-';
    *at += usize::from(negative);
    let values = word(bytes, *at) ^ (ONES * u64::from(b'0'));
    let others = (values.wrapping_add(ONES * (0x80 - 10)) | values) & HIGH;
    // In bits: the digits before the point, and all that belongs to the number.
    let whole = others.trailing_zeros() & 56;
    let length = (others & (others - 1)).trailing_zeros() & 56;
    let before = (1 << whole) - 1;
    let digits = values & before | values >> 8 & !before;
    let value = eight_digits(digits << (72 - length)) as f64 / POWERS[(length - whole) as usize / 8 - 1];
    *at += length as usize / 8;
    if negative { -value } else { value }
}

/// Where the text at `at` ends: at its quote.
fn text_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let others = word(bytes, at) ^ (ONES * u64::from(b'"'));
        let quotes = others.wrapping_sub(ONES) & !others & HIGH;
        if quotes != 0 {
            return at + quotes.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
}

fn expect<const N: usize>(bytes: &[u8], at: &mut usize, literal: &[u8; N]) {
    let same = bytes[*at..].first_chunk() == Some(literal);
    assert!(same, "not the benchmark's shape: {:?}", String::from_utf8_lossy(&bytes[..100]));
    *at += N;
}

/// Parses the line at the front of `bytes` and returns its length with the line feed. Eight bytes more can be read.
fn parse<'a>(bytes: &'a [u8]) -> (Line<'a>, usize) {
    let mut at = 0;
    expect(bytes, &mut at, b"{\"meter_id\":\"");
    let start = at;
    at = text_end(bytes, at);
    let meter = &bytes[start..at];
    expect(bytes, &mut at, b"\",\"timestamp\":");
    // Thirteen digits: the first eight, and the last eight without the three that both have.
    let [first, last] = [at, at + 5].map(|at| word(bytes, at) ^ (ONES * u64::from(b'0')));
    let time = (eight_digits(first) * 100_000 + eight_digits(last >> 24 << 24)) as i64;
    at += 13;
    expect(bytes, &mut at, b",\"voltage\":");
    let voltage = number(bytes, &mut at);
    let rest = at;
    expect(bytes, &mut at, b",\"current\":");
    number(bytes, &mut at);
    expect(bytes, &mut at, b",\"temperature\":");
    number(bytes, &mut at);
    expect(bytes, &mut at, b",\"status\":\"");
    let start = at;
    at = text_end(bytes, at);
    let status = &bytes[start..at];
    at += 1;
    let rest = &bytes[rest..at];
    expect(bytes, &mut at, b"}\n");
    (Line { meter, time, voltage, status, rest }, at)
}

/// Lines that are handled at once, so that their looks at memory that is not near overlap.
const AT_ONCE: usize = 32;

/// Calls `each` for some lines with their offsets, and then for some more, reading in large pieces.
fn lines(path: &str, mut each: impl FnMut(&[(u64, Line)])) {
    let mut file = File::open(path).unwrap();
    const ROOM: usize = 8;
    let mut buffer = vec![0u8; (256 << 10) + ROOM];
    let (mut kept, mut base) = (0, 0u64);
    loop {
        let size = buffer.len() - ROOM;
        let read = file.read(&mut buffer[kept..size]).unwrap();
        let filled = kept + read;
        let end = buffer[..filled].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut at = 0;
        let mut some = Vec::with_capacity(AT_ONCE);
        while at < end {
            let (line, length) = parse(&buffer[at..end + ROOM]);
            some.push((base + at as u64, line));
            at += length;
            if some.len() == AT_ONCE || at == end {
                each(&some);
                some.clear();
            }
        }
        if read == 0 {
            return;
        }
        base += end as u64;
        buffer.copy_within(end..filled, 0);
        kept = filled - end;
    }
}

/// Meters by id, in the order in which they come.
struct Meters {
    index: Vec<u32>,
    ids: Vec<[u64; 2]>,
    names: Vec<String>,
}

impl Meters {
    fn new() -> Meters {
        Meters { index: vec![0; 2 * METERS], ids: Vec::new(), names: Vec::new() }
    }

    fn find(&mut self, meter: &[u8]) -> usize {
        // Twelve characters in the benchmark, in two words.
        let (first, last) = (word(meter, 0), u64::from_le_bytes(*meter.last_chunk().unwrap()));
        let id = [first, last];
        let mixed = (first ^ last.rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mask = self.index.len() - 1;
        let mut at = (mixed >> 32) as usize & mask;
        loop {
            match self.index[at] as usize {
                0 => break,
                found if self.ids[found - 1] == id => return found - 1,
                _ => at = (at + 1) & mask,
            }
        }
        self.ids.push(id);
        self.names.push(String::from_utf8(meter.to_vec()).unwrap());
        self.index[at] = self.ids.len() as u32;
        assert!(self.ids.len() <= METERS, "the benchmark has 10,000 meters");
        self.ids.len() - 1
    }

    fn find_all(&mut self, lines: &[(u64, Line)]) -> [usize; AT_ONCE] {
        let mut found = [0; AT_ONCE];
        for (found, (_, line)) in found.iter_mut().zip(lines) {
            *found = self.find(line.meter);
        }
        found
    }

    fn id(&self, meter: usize) -> &str {
        &self.names[meter]
    }
}

fn j1(path: &str, out: &mut dyn Write) {
    let mut meters = Meters::new();
    let mut states = vec![[0.0f64; 3]; METERS];
    let mut text = Vec::new();
    let mut found = 0;
    let mut each = |offset: u64, line: &Line, meter: usize, meters: &Meters| {
        let [count, mean, m2] = &mut states[meter];
        let x = line.voltage;
        if *count >= 10.0 {
            let stddev = (*m2 / *count).sqrt().max(0.001 * mean.abs());
            let deviation = x - *mean;
            let score = deviation.abs() / stddev;
            if score > 2.5 {
                let kind = if deviation > 0.0 { "voltage_spike" } else { "voltage_drop" };
                let severity = if score >= 8.0 {
                    "CRITICAL"
                } else if score >= 4.0 {
                    "ERROR"
                } else {
                    "WARNING"
                };
                let (time, id, mean) = (line.time, meters.id(meter), *mean);
                let rest = std::str::from_utf8(line.rest).unwrap();
                let pieces: [Piece; 19] = [
                    Piece::Text("{\"id\":\""),
                    Piece::Hex(offset),
                    Piece::Text("\",\"kind\":\""),
                    Piece::Text(kind),
                    Piece::Text("\",\"severity\":\""),
                    Piece::Text(severity),
                    Piece::Text("\",\"meter\":\""),
                    Piece::Text(id),
                    Piece::Text("\",\"time\":"),
                    Piece::Integer(time),
                    Piece::Text(",\"channel\":\"voltage\",\"observed\":"),
                    Piece::Float(x),
                    Piece::Text(",\"expected\":"),
                    Piece::Float(mean),
                    Piece::Text(",\"deviation\":"),
                    Piece::Float(deviation),
                    Piece::Text(",\"score\":"),
                    Piece::Float(score),
                    Piece::Text(",\"threshold\":2.5,\"detector\":\"moving_average\",\"late\":false,"),
                ];
                push(&mut text, &pieces);
                let pieces: [Piece; 10] = [
                    Piece::Text("\"source\":\"readings\",\"partition\":\"x\",\"offset\":"),
                    Piece::Integer(offset as i64),
                    Piece::Text(",\"reading\":{\"meter_id\":\""),
                    Piece::Text(id),
                    Piece::Text("\",\"timestamp\":"),
                    Piece::Integer(time),
                    Piece::Text(",\"voltage\":"),
                    Piece::Float(x),
                    Piece::Text(rest),
                    Piece::Text("}}\n"),
                ];
                push(&mut text, &pieces);
                found += 1;
            }
        }
        *count += 1.0;
        let delta = x - *mean;
        *mean += delta / *count;
        *m2 += delta * (x - *mean);
        if line.status.len() >= 7 && line.status.windows(7).any(|part| part == b"FAILURE") {
            let (id, time) = (meters.id(meter), line.time);
            writeln!(text, "{{\"kind\":\"equipment_failure\",\"meter\":\"{id}\",\"time\":{time},\"offset\":{offset}}}")
                .unwrap();
            found += 1;
        }
        if text.len() > 1 << 16 {
            out.write_all(&text).unwrap();
            text.clear();
        }
    };
    lines(path, |some| {
        let found = meters.find_all(some);
        for ((offset, line), meter) in some.iter().zip(found) {
            each(*offset, line, meter, &meters);
        }
    });
    out.write_all(&text).unwrap();
    eprintln!("{found} anomalies of {} meters", meters.ids.len());
}

#[derive(Clone, Copy)]
struct Slice {
    index: i64,
    count: f64,
    mean: f64,
    m2: f64,
    min: f64,
    max: f64,
    first: (i64, f64),
    last: (i64, f64),
}

fn j2(path: &str, out: &mut dyn Write) {
    const EMPTY: Slice = Slice {
        index: i64::MIN,
        count: 0.0,
        mean: 0.0,
        m2: 0.0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        first: (i64::MAX, 0.0),
        last: (i64::MIN, 0.0),
    };
    const RING: usize = 16;
    let mut meters = Meters::new();
    let mut rings = vec![[EMPTY; RING]; METERS];
    let mut due: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    let (mut newest, mut windows) = (i64::MIN, 0u64);
    let mut text = Vec::new();
    let mut fire = |end: i64, keys: &[u32], meters: &Meters, rings: &[[Slice; RING]], text: &mut Vec<u8>| {
        for key in keys {
            let mut all = EMPTY;
            let slices = (end / SLIDE - SIZE / SLIDE..end / SLIDE).map(|index| rings[*key as usize][index as usize % RING]);
            for (slice, _) in slices.zip(0..).filter(|(s, n): &(Slice, i64)| s.index == end / SLIDE - SIZE / SLIDE + n) {
                let count = all.count + slice.count;
                let delta = slice.mean - all.mean;
                all.mean += delta * slice.count / count;
                all.m2 += slice.m2 + delta * delta * all.count * slice.count / count;
                all.count = count;
                all.min = all.min.min(slice.min);
                all.max = all.max.max(slice.max);
                all.first = if slice.first.0 < all.first.0 { slice.first } else { all.first };
                all.last = if slice.last.0 >= all.last.0 { slice.last } else { all.last };
            }
            windows += 1;
            let (start, stddev) = (end - SIZE, (all.m2 / all.count).sqrt());
            let pieces: [Piece; 21] = [
                Piece::Text("{\"meter\":\""),
                Piece::Text(meters.id(*key as usize)),
                Piece::Text("\",\"channel\":\"voltage\",\"window_start\":"),
                Piece::Integer(start),
                Piece::Text(",\"window_end\":"),
                Piece::Integer(end),
                Piece::Text(",\"count\":"),
                Piece::Integer(all.count as i64),
                Piece::Text(",\"mean\":"),
                Piece::Float(all.mean),
                Piece::Text(",\"stddev\":"),
                Piece::Float(stddev),
                Piece::Text(",\"min\":"),
                Piece::Float(all.min),
                Piece::Text(",\"max\":"),
                Piece::Float(all.max),
                Piece::Text(",\"first\":"),
                Piece::Float(all.first.1),
                Piece::Text(",\"last\":"),
                Piece::Float(all.last.1),
                Piece::Text(",\"revision\":0}\n"),
            ];
            push(text, &pieces);
        }
    };
    let mut each = |line: &Line, meter: usize, meters: &Meters, rings: &mut [[Slice; RING]]| {
        let index = line.time.div_euclid(SLIDE);
        let slice = &mut rings[meter][index as usize % RING];
        if slice.index != index {
            *slice = Slice { index, ..EMPTY };
            for window in 1..=SIZE / SLIDE {
                due.entry((index + window) * SLIDE).or_default().push(meter as u32);
            }
        }
        let x = line.voltage;
        slice.count += 1.0;
        let delta = x - slice.mean;
        slice.mean += delta / slice.count;
        slice.m2 += delta * (x - slice.mean);
        slice.min = slice.min.min(x);
        slice.max = slice.max.max(x);
        slice.first = if line.time < slice.first.0 { (line.time, x) } else { slice.first };
        slice.last = if line.time >= slice.last.0 { (line.time, x) } else { slice.last };
        if line.time > newest {
            newest = line.time;
            while let Some(entry) = due.first_entry()
                && *entry.key() <= newest - LATENESS
            {
                let (end, mut keys) = entry.remove_entry();
                keys.sort_unstable();
                keys.dedup();
                fire(end, &keys, meters, rings, &mut text);
                out.write_all(&text).unwrap();
                text.clear();
            }
        }
    };
    lines(path, |some| {
        let found = meters.find_all(some);
        for ((_, line), meter) in some.iter().zip(found) {
            black_box(rings[meter][line.time.div_euclid(SLIDE) as usize % RING].index);
        }
        for ((_, line), meter) in some.iter().zip(found) {
            each(line, meter, &meters, &mut rings);
        }
    });
    for (end, mut keys) in due {
        keys.sort_unstable();
        keys.dedup();
        fire(end, &keys, &meters, &rings, &mut text);
    }
    out.write_all(&text).unwrap();
    eprintln!("{windows} windows");
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, job, input, output] = &arguments[..] else { panic!("hand j1|j2 FILE OUT") };
    let mut out = File::create(output).unwrap();
    match job.as_str() {
        "j1" => j1(input, &mut out),
        "j2" => j2(input, &mut out),
        other => panic!("{other}: j1 or j2"),
    }
}
