//! Speed of the decoder, one thread: CPU time per record, the best of several passes, for lines of one shape, for long
//! meter ids and for lines of mixed shape. `cargo bench --bench decode`.

use meterflow::codec::{Block, CsvHeader, Dead, Decoder, Format, FormatKind, Record, Sink};
use meterflow::model::reading::Batch;
use std::fmt::Write;
use std::hint::black_box;

const RECORDS: usize = 200_000;
const PASSES: usize = 15;
/// Bytes of a block, as the file connector cuts them.
const BLOCK: usize = 256 << 10;

/// Takes records and forgets them: the cost of decoding alone.
struct Count(usize, usize);

impl Sink for Count {
    #[inline]
    fn reading(&mut self, record: &Record) {
        self.0 += 1;
        black_box(record);
    }

    fn dead(&mut self, dead: Dead) {
        self.1 += 1;
        black_box(&dead);
    }
}

/// Puts records into batches: what the engine does.
struct Collect(Batch);

impl Sink for Collect {
    #[inline]
    fn reading(&mut self, record: &Record) {
        self.0.push(record.meter, record.time, record.offset, record.status, record.present, record.values);
    }

    fn dead(&mut self, dead: Dead) {
        black_box(&dead);
    }
}

/// A small generator with a fixed seed (xorshift64*), so that every run decodes the same lines.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

fn values(dice: &mut Dice) -> [String; 3] {
    let part = |whole: u64, parts: u64, digits: usize| format!("{whole}.{parts:0digits$}");
    [
        part(220 + dice.below(20), dice.below(1000), 3),
        part(dice.below(12), dice.below(1000), 3),
        part(15 + dice.below(10), dice.below(10), 1),
    ]
}

fn uniform(id: impl Fn(u64) -> String) -> String {
    let (mut dice, mut out) = (Dice(1), String::new());
    for record in 0..RECORDS as u64 {
        let [voltage, current, temperature] = values(&mut dice);
        let (id, time) = (id(dice.below(10_000)), 1_700_000_000_123 + record);
        let status = if dice.below(200) == 0 { "FAILURE" } else { "OK" };
        let _ = writeln!(
            out,
            "{{\"meter_id\":\"{id}\",\"timestamp\":{time},\"voltage\":{voltage},\"current\":{current},\
             \"temperature\":{temperature},\"status\":\"{status}\"}}"
        );
    }
    out
}

/// Four orders of keys, blanks, escapes, exponents, unknown nested fields.
fn mixed() -> String {
    const ORDERS: [[usize; 6]; 4] = [[0, 1, 2, 3, 4, 5], [1, 0, 4, 3, 2, 5], [5, 4, 3, 2, 1, 0], [2, 3, 0, 5, 1, 4]];
    let (mut dice, mut out) = (Dice(1), String::new());
    for record in 0..RECORDS as u64 {
        let [voltage, current, temperature] = values(&mut dice);
        let exponent = dice.below(8) == 0;
        let current = if exponent { format!("{}e-3", current.replace('.', "").trim_start_matches('0')) } else { current };
        let status = ["OK", "OK", "OK", "line\\tOK", "\\u004fK"][dice.below(5) as usize];
        let fields = [
            ("meter_id", format!("\"meter-{:06}\"", dice.below(10_000))),
            ("timestamp", (1_700_000_000_123 + record).to_string()),
            ("voltage", voltage),
            ("current", if current.starts_with('e') { "0".into() } else { current }),
            ("temperature", temperature),
            ("status", format!("\"{status}\"")),
        ];
        let (comma, colon) = [(",", ":"), (", ", ": "), (",", ":"), (" ,", " : ")][dice.below(4) as usize];
        out.push('{');
        for (place, field) in ORDERS[dice.below(4) as usize].into_iter().enumerate() {
            let _ = write!(out, "{}\"{}\"{colon}{}", if place > 0 { comma } else { "" }, fields[field].0, fields[field].1);
        }
        if dice.below(3) == 0 {
            let _ = write!(out, "{comma}\"location\"{colon}{{\"lat\":48.85,\"lon\":2.35,\"tags\":[\"roof\",\"{record}\"]}}");
        }
        out.push_str("}\n");
    }
    out
}

fn csv() -> String {
    let (mut dice, mut out) = (Dice(1), String::new());
    for record in 0..RECORDS as u64 {
        let [voltage, current, temperature] = values(&mut dice);
        let (meter, time) = (dice.below(10_000), 1_700_000_000_123 + record);
        let _ = writeln!(out, "meter-{meter:06},{time},{voltage},{current},{temperature},OK");
    }
    out
}

fn format(kind: FormatKind) -> Format {
    let list = |name: &str| vec![name.to_string()];
    Format {
        kind,
        meter: vec!["meter_id".into(), "meterId".into()],
        time: list("timestamp"),
        status: list("status"),
        channels: ["voltage", "current", "temperature"].map(|name| (name.to_string(), list(name))).to_vec(),
        time_unit_ms: 1,
        time_zone: None,
        max_record: 1 << 20,
    }
}

/// CPU time of this thread, ns.
fn cpu_time() -> f64 {
    // SAFETY: `clock_gettime` fills the structure that it is given, which is plain.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time);
        time
    };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Cuts `text` into blocks of whole lines and hands them to `decode`.
fn blocks(text: &str, mut decode: impl FnMut(Block)) {
    let (bytes, mut start) = (text.as_bytes(), 0);
    while start < bytes.len() {
        let limit = (start + BLOCK).min(bytes.len());
        let end = start + memchr::memrchr(b'\n', &bytes[start..limit]).map_or(limit - start, |feed| feed + 1);
        decode(Block { bytes: &bytes[start..end], base: start as u64, last_line: None });
        start = end;
    }
}

fn best(mut pass: impl FnMut()) -> f64 {
    let times = (0..PASSES).map(|_| {
        let start = cpu_time();
        pass();
        (cpu_time() - start) / RECORDS as f64
    });
    times.fold(f64::INFINITY, f64::min)
}

fn measure(name: &str, text: &str, format: &Format, header: Option<&CsvHeader>) {
    let mut decoder = Decoder::new(format).expect("the format is a fixed one");
    let mut count = Count(0, 0);
    let alone = best(|| blocks(text, |block| decoder.block(&block, header, &mut count)));
    assert_eq!((count.0, count.1), (RECORDS * PASSES, 0), "every line is a reading");
    let batched = best(|| {
        blocks(text, |block| {
            let mut collect = Collect(Batch { channels: format.channels.len() as u8, base: block.base, ..Batch::default() });
            collect.0.rows.reserve(BLOCK / 64);
            collect.0.values.reserve(BLOCK / 64 * format.channels.len());
            decoder.block(&block, header, &mut collect);
            black_box(&collect.0);
        });
    });
    let messages = best(|| text.lines().for_each(|line| decoder.record(0, line.as_bytes(), header, &mut count)));
    let length = text.len() as f64 / RECORDS as f64;
    println!("{name:<24} {length:>6.1} {alone:>10.1} {batched:>14.1} {messages:>12.1}");
}

fn main() {
    let (json, rows) = (format(FormatKind::Json), format(FormatKind::Csv));
    println!("ns of CPU a record          bytes  decode     into batches  as messages");
    measure("one shape", &uniform(|meter| format!("meter-{meter:06}")), &json, None);
    measure("22-character meter ids", &uniform(|meter| format!("DE0001234567-{meter:09}")), &json, None);
    measure("mixed shapes", &mixed(), &json, None);
    let header = CsvHeader::parse(b"meter_id,timestamp,voltage,current,temperature,status", &rows).expect("a right header");
    measure("CSV", &csv(), &rows, Some(&header));
}
