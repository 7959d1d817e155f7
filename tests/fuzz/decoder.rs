//! Any bytes, decoded as lines and as messages, and compared with the oracle of the unit tests.
#![no_main]

#[path = "../../src/codec/oracle.rs"]
mod oracle;

use libfuzzer_sys::fuzz_target;
use meterflow::codec::{Block, Dead, Decoder, Format, FormatKind, Record, Sink};
use oracle::{Channels, ONE_NAME, TWO_NAMES, Verdict, judge};

#[derive(Clone, PartialEq, Debug)]
enum Item {
    Reading { offset: u64, meter: Vec<u8>, time: i64, status: Option<Vec<u8>>, values: Vec<Option<u64>> },
    Dead { offset: u64, reason: &'static str, raw: Vec<u8> },
}

#[derive(Default)]
struct Items(Vec<Item>);

impl Sink for Items {
    fn reading(&mut self, record: &Record) {
        let value = |(channel, value): (usize, &f64)| (record.present >> channel & 1 == 1).then_some(value.to_bits());
        self.0.push(Item::Reading {
            offset: record.offset,
            meter: record.meter.to_vec(),
            time: record.time,
            status: record.status.map(<[u8]>::to_vec),
            values: record.values.iter().enumerate().map(value).collect(),
        });
    }

    fn dead(&mut self, dead: Dead) {
        assert_eq!(dead.raw_bytes, dead.raw.len() as u64);
        self.0.push(Item::Dead { offset: dead.offset, reason: dead.reason.name(), raw: dead.raw.to_vec() });
    }
}

fn format(channels: &Channels) -> Format {
    let list = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    Format {
        kind: FormatKind::Json,
        meter: list(&["meter_id", "meterId"]),
        time: list(&["timestamp"]),
        status: list(&["status"]),
        channels: channels.iter().map(|names| (names[0].to_string(), list(names))).collect(),
        time_unit_ms: 1,
        time_zone: None,
        max_record: 1 << 20,
    }
}

fn agree(line: &[u8], item: Option<&Item>, channels: &Channels) {
    match (judge(line, channels), item) {
        (Verdict::Unknown, Some(_)) | (Verdict::Blank, None) => {}
        (Verdict::Dead(reasons), Some(Item::Dead { reason, raw, .. })) => {
            assert!(reasons.contains(reason), "{reason} is not {reasons:?}");
            assert_eq!(raw, line);
        }
        (Verdict::Reading(expected), Some(Item::Reading { meter, time, status, values, .. })) => {
            assert_eq!(meter, expected.meter.as_bytes());
            assert_eq!(status.as_deref(), expected.status.as_ref().map(String::as_bytes));
            assert_eq!(&values[..], expected.values.map(|value| value.map(f64::to_bits)));
            assert!((expected.time.0..=expected.time.1).contains(time), "{time} is not {:?}", expected.time);
        }
        (expected, found) => panic!("{found:?} is not {expected:?}"),
    }
}

fuzz_target!(|bytes: &[u8]| {
    // The first byte chooses the format.
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let channels = if choice % 2 == 0 { ONE_NAME } else { TWO_NAMES };
    let mut decoder = Decoder::new(&format(&channels)).expect("a right format");
    let mut items = Items::default();
    let block = Block { bytes, base: 1, last_line: None };
    decoder.block(&block, None, &mut items);
    // What was learnt in the first pass must change nothing in the second.
    let first = std::mem::take(&mut items.0);
    decoder.block(&block, None, &mut items);
    assert_eq!(first, items.0);

    let (mut found, mut offset) = (first.iter().peekable(), 1);
    let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let kept = if lines.peek().is_some() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        let start = |item: &Item| match item {
            Item::Reading { offset, .. } | Item::Dead { offset, .. } => *offset,
        };
        let item = found.next_if(|item| start(item) == offset);
        agree(kept, item, &channels);
        let mut message = Items::default();
        decoder.record(offset, kept, None, &mut message);
        assert_eq!(message.0.first(), item);
        offset += line.len() as u64 + 1;
    }
    assert_eq!(found.next(), None);
});
