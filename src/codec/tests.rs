//! Tests of the decoder as a whole: tables of cases, and lines of a generator against the oracle, a fresh decoder and
//! other ways to cut the input.

use crate::codec::oracle::{Channels, ONE_NAME, TWO_NAMES, Verdict, judge};
use crate::codec::{Block, CsvHeader, Dead, Decoder, Format, FormatError, FormatKind, HeaderError, Record, Sink};
use crate::model::dead::Reason;
use proptest::prelude::*;

/// The format of most tests.
pub fn format() -> Format {
    let list = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    Format {
        kind: FormatKind::Json,
        meter: list(&["meter_id", "meterId"]),
        time: list(&["timestamp"]),
        status: list(&["status"]),
        channels: ["voltage", "current", "temperature"].map(|name| (name.to_string(), list(&[name]))).to_vec(),
        time_unit_ms: 1,
        time_zone: None,
        max_record: 1 << 20,
    }
}

/// That format with these names of its channels.
fn format_of(channels: &Channels) -> Format {
    let mut format = format();
    for (channel, names) in format.channels.iter_mut().zip(channels) {
        channel.1 = names.iter().map(|name| name.to_string()).collect();
    }
    format
}

/// What was decoded, owned.
#[derive(Clone, PartialEq, Debug)]
enum Item {
    Reading { offset: u64, meter: String, time: i64, status: Option<String>, values: Vec<Option<u64>> },
    Dead { offset: u64, reason: Reason, message: String, raw: Vec<u8>, raw_bytes: u64 },
}

impl Item {
    fn offset(&self) -> u64 {
        match self {
            Item::Reading { offset, .. } | Item::Dead { offset, .. } => *offset,
        }
    }

    fn at(mut self, new: u64) -> Item {
        match &mut self {
            Item::Reading { offset, .. } | Item::Dead { offset, .. } => *offset = new,
        }
        self
    }
}

#[derive(Default)]
struct Items(Vec<Item>);

impl Sink for Items {
    fn reading(&mut self, record: &Record) {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_string();
        let value = |(channel, value): (usize, &f64)| match record.present >> channel & 1 {
            1 => Some(value.to_bits()),
            _ => {
                assert_eq!(value.to_bits(), 0, "an absent channel is 0");
                None
            }
        };
        self.0.push(Item::Reading {
            offset: record.offset,
            meter: text(record.meter),
            time: record.time,
            status: record.status.map(text),
            values: record.values.iter().enumerate().map(value).collect(),
        });
    }

    fn dead(&mut self, dead: Dead) {
        let Dead { offset, reason, message, raw, raw_bytes } = dead;
        self.0.push(Item::Dead { offset, reason, message, raw: raw.to_vec(), raw_bytes });
    }
}

fn decode(decoder: &mut Decoder, bytes: &[u8], base: u64, header: Option<&CsvHeader>) -> Vec<Item> {
    let mut items = Items::default();
    decoder.block(&Block { bytes, base, last_line: None }, header, &mut items);
    items.0
}

fn decode_one(format: &Format, line: &str) -> Item {
    let items = decode(&mut Decoder::new(format).unwrap(), line.as_bytes(), 1, None);
    assert_eq!(items.len(), 1, "{line}");
    items[0].clone()
}

/// `Ok`: meter, time, values and status as one text; `Err`: the reason.
fn brief(item: &Item) -> Result<String, (Reason, &str)> {
    match item {
        Item::Dead { reason, message, .. } => Err((*reason, message)),
        Item::Reading { meter, time, values, status, .. } => {
            let value = |value: &Option<u64>| value.map_or("-".to_string(), |bits| format!("{}", f64::from_bits(bits)));
            let values = values.iter().map(value).collect::<Vec<_>>().join(" ");
            Ok(format!("{meter} {time} {values} {}", status.as_deref().unwrap_or("-")))
        }
    }
}

const T: &str = "\"timestamp\":1700000000123";

#[test]
fn records_that_are_readings() {
    for (line, expected) in [
        (r#"{"meter_id":"m","timestamp":1700000000123,"voltage":230.5,"status":"OK"}"#, "m 1700000000123 230.5 - - OK"),
        (r#" { "status" : null , "timestamp" : 1700000000123.9 , "meterId" : 42 } "#, "42 1700000000123 - - - -"),
        (r#"{"meter_id":null,"meterId":"b","timestamp":1.7e12,"voltage":null}"#, "b 1700000000000 - - - -"),
        (r#"{"meter_id":"a","meterId":"b","timestamp":"2023-11-14 22:13:20Z"}"#, "a 1700000000000 - - - -"),
        (r#"{"meterId":"b","meter_id":"a","timestamp":1700000000123}"#, "a 1700000000123 - - - -"),
        (r#"{"meter_id":"a","timestamp":1700000000123,"voltage":1,"voltage":-0}"#, "a 1700000000123 0 - - -"),
        (r#"{"meter_id":"a","timestamp":1700000000123,"voltage":"x","voltage":2}"#, "a 1700000000123 2 - - -"),
        (r#"{"meter_id":"a","timestamp":1700000000123,"voltage":1,"voltage":null}"#, "a 1700000000123 - - - -"),
        (r#"{"meter_id":"a","timestamp":1700000000123,"voltage":"x","voltage":null}"#, "a 1700000000123 - - - -"),
        (r#"{"meter_id":{},"meter_id":-0,"timestamp":1700000000123}"#, "0 1700000000123 - - - -"),
        (r#"{"\u006deter_id":"\u004d\u00fc","timestamp":1700000000123,"status":""}"#, "M\u{fc} 1700000000123 - - - "),
        (r#"{"meter_id":-17,"timestamp":1700000000123,"current":-1.5e-3,"x":1e999}"#, "-17 1700000000123 - -0.0015 - -"),
        (
            r#"{"meter_id":"a","timestamp":1700000000123,"x":[{},[],{"a":[null,true,false]}],"y":"\ud83d\ude00"}"#,
            "a 1700000000123 - - - -",
        ),
        (
            r#"{"meter_id":123456789012345678901234567890,"timestamp":1700000000123}"#,
            "123456789012345678901234567890 1700000000123 - - - -",
        ),
    ] {
        assert_eq!(brief(&decode_one(&format(), line)), Ok(expected.to_string()), "{line}");
        let mut items = Items::default();
        Decoder::new(&format()).unwrap().record(1, line.replace(' ', "\n").as_bytes(), None, &mut items);
        if !line.contains("14 22") {
            assert_eq!(brief(&items.0[0]), Ok(expected.to_string()), "{line} as a message");
        }
    }
}

#[test]
fn records_that_are_dead() {
    use Reason::*;
    let with = |field: &str| format!("{{\"meter_id\":\"a\",{T},{field}}}");
    let long = format!("{{\"meter_id\":\"{}\",{T}}}", "x".repeat(65));
    let nested = |levels: usize| with(&format!("\"x\":{}{}", "[".repeat(levels), "]".repeat(levels)));
    assert!(brief(&decode_one(&format(), &nested(31))).is_ok());
    for (line, reason, message) in [
        ("{}".to_string(), MissingField, "no meter: expected one of \"meter_id\", \"meterId\""),
        ("{\"meter_id\":\"a\"}".to_string(), MissingField, "no time: expected \"timestamp\""),
        ("{\"meter_id\":\"a\",\"timestamp\":null}".to_string(), MissingField, "no time"),
        ("[]".to_string(), NotJson, "after 0 bytes: expected a JSON object, found '['"),
        ("\u{feff}{}".to_string(), NotJson, "expected a JSON object, found '\\u{feff}'"),
        ("}".to_string(), NotJson, "expected a JSON object, found '}'"),
        ("{".to_string(), NotJson, "expected the name of a field in double quotes, found the end of the record"),
        (with("\"x\":1") + "{}", NotJson, "after 48 bytes: expected nothing behind the object, found '{'"),
        (with("\"x\":01"), NotJson, "expected a number without leading zeros"),
        (with("\"voltage\":NaN"), NotJson, "expected a value, found 'N'"),
        (with("\"voltage\":+1"), NotJson, "expected a value, found '+'"),
        (with("\"voltage\":1.5.2"), NotJson, "expected a comma or the end of the object, found '.'"),
        (with("\"voltage\":1e"), NotJson, "expected a digit of the exponent, found '}'"),
        (with("\"x\":truE"), NotJson, "expected a value"),
        (with("\"x\":[1,]"), NotJson, "expected a value, found ']'"),
        (with("\"x\":{\"y\" 1}"), NotJson, "expected a colon behind the name, found '1'"),
        (with("\"x\":1,"), NotJson, "expected the name of a field in double quotes, found '}'"),
        (with("x:1"), NotJson, "expected the name of a field in double quotes, found 'x'"),
        (with("\"x\":\"\\ud800\""), NotJson, "expected both halves of a surrogate pair"),
        (with("\"x\":\"\\q\""), NotJson, "behind a backslash, found 'q'"),
        (with("\"x\":\"\t\""), NotJson, "expected no raw control character in a text, found '\\t'"),
        (with("\"x\":\"y"), NotJson, "expected the closing quote of a text, found the end of the record"),
        (nested(32), TooDeep, "after 77 bytes: more than 32 levels"),
        (format!("{{\"meter_id\":7.0,{T}}}"), WrongType, "\"meter_id\" is 7.0; a meter is a text or an integer"),
        (format!("{{\"meter_id\":true,{T}}}"), WrongType, "\"meter_id\" is a boolean (true); expected a text or an integer"),
        (format!("{{\"meter_id\":\"\",{T}}}"), OutOfRange, "\"meter_id\" is empty; a meter has 1 to 64 bytes"),
        (format!("{{\"meter_id\":\"a\\u0000\",{T}}}"), OutOfRange, "has a control character in it"),
        (format!("{{\"meter_id\":\"a\u{7f}\",{T}}}"), OutOfRange, "has a control character in it"),
        (format!("{{\"meter_id\":\"a\u{85}\",{T}}}"), OutOfRange, "has a control character in it"),
        (long, OutOfRange, "\"meter_id\" has 65 bytes; a meter has 1 to 64"),
        (with("\"voltage\":\"230\""), WrongType, "\"voltage\" is a text (\"230\"); expected a number or null"),
        (with("\"voltage\":[]"), WrongType, "is a list"),
        (with("\"voltage\":{}"), WrongType, "is an object"),
        (with("\"voltage\":1,\"voltage\":false"), WrongType, "is a boolean"),
        (with("\"voltage\":-1e999"), OutOfRange, "\"voltage\" is -1e999, which is more than"),
        (with("\"status\":5"), WrongType, "\"status\" is a number (5); expected a text or null"),
        (with("\"timestamp\":1700000000"), OutOfRange, "1970-01-20: is the unit seconds?"),
        (with("\"timestamp\":1700000000123456"), OutOfRange, "55840-11-08: is the unit microseconds?"),
        (with("\"timestamp\":1700000000123456789"), OutOfRange, "is the unit nanoseconds?"),
        (with("\"timestamp\":5"), OutOfRange, "1970-01-01; expected 2000-01-01 to 2099-12-31"),
        (with("\"timestamp\":1e300"), OutOfRange, "far beyond any calendar; expected"),
        (with("\"timestamp\":946684799999.9"), OutOfRange, "1999-12-31; expected"),
        (with("\"timestamp\":\"1999-12-31T23:59:59Z\""), OutOfRange, "1999-12-31; expected"),
        (with("\"timestamp\":\"2024-02-30T00:00:00Z\""), OutOfRange, "there is no such day"),
        (with("\"timestamp\":\"2024-02-29T00:00:00\""), WrongType, "is the source's time_zone missing?"),
        (with("\"timestamp\":\"1700000000123\""), WrongType, "expected a number or RFC 3339 text"),
        (with("\"timestamp\":true"), WrongType, "is a boolean (true); expected a number or RFC 3339 text"),
    ] {
        let item = decode_one(&format(), &line);
        let (found, text) = brief(&item).expect_err(&line);
        assert!(found == reason && text.contains(message), "{line}: {found:?}: {text}");
    }
}

#[test]
fn offsets_blanks_marks_and_line_ends() {
    let line = format!("{{\"meter_id\":\"a\",{T}}}");
    let text = format!("\u{feff}{line}\r\n\n \t\r\n{line}\nx\r\r\n{line}");
    let items = decode(&mut Decoder::new(&format()).unwrap(), text.as_bytes(), 0, None);
    let second = 3 + line.len() + 7;
    let starts = [3, second, second + line.len() + 1, second + line.len() + 5];
    assert_eq!(items.iter().map(Item::offset).collect::<Vec<_>>(), starts.map(|start| start as u64));
    assert!(matches!(&items[2], Item::Dead { raw, raw_bytes: 2, .. } if raw == b"x\r"));
    // In the middle of a file the mark belongs to its line, and at the end a return to its own.
    assert!(matches!(
        &decode(&mut Decoder::new(&format()).unwrap(), "\u{feff}\r".as_bytes(), 7, None)[..],
        [Item::Dead { offset: 7, raw_bytes: 4, .. }]
    ));
    assert_eq!(decode(&mut Decoder::new(&format()).unwrap(), "\u{feff}\r\n \n".as_bytes(), 0, None), []);
}

#[test]
fn bytes_that_are_not_utf8() {
    let mut decoder = Decoder::new(&format()).unwrap();
    for line in [&b"{\"meter_id\":\"M\xfcller\"}"[..], b"\xff\xfe{", b"{\"a\":\"\xed\xa0\x80\"}", b"{x\xff"] {
        let items = decode(&mut decoder, line, 1, None);
        assert!(matches!(&items[..], [Item::Dead { reason: Reason::NotUtf8, raw, .. }] if raw == line), "{items:?}");
    }
}

#[test]
fn records_that_are_too_long() {
    let line = format!("{{\"meter_id\":\"a\",{T}}}");
    let format = Format { max_record: line.len(), ..format() };
    let mut decoder = Decoder::new(&format).unwrap();
    let text = format!("{line}\r\n{line} \n{}\n{line}\n{{\"meter_id\":\"", "x".repeat(50));
    let mut items = Items::default();
    decoder.block(&Block { bytes: text.as_bytes(), base: 0, last_line: Some(1 << 40) }, None, &mut items);
    let long = |item: &Item| match item {
        Item::Dead { reason: Reason::TooLong, raw_bytes, raw, .. } => Some((*raw_bytes, raw.len())),
        _ => None,
    };
    let lengths = items.0.iter().map(long).collect::<Vec<_>>();
    let one = line.len() as u64 + 1;
    assert_eq!(lengths, [None, Some((one, line.len() + 1)), Some((50, 50)), None, Some((1 << 40, 13))]);
    let mut items = Items::default();
    decoder.block(&Block { bytes: b"\xef\xbb\xbf{", base: 0, last_line: Some(99) }, None, &mut items);
    decoder.record(5, format!("{line} ").as_bytes(), None, &mut items);
    assert_eq!(items.0.iter().map(long).collect::<Vec<_>>(), [Some((99, 1)), Some((one, line.len() + 1))]);
    assert_eq!(decode(&mut decoder, " ".repeat(99).as_bytes(), 1, None).len(), 1);
}

#[test]
fn seconds_and_zones() {
    let format = Format { time_unit_ms: 1000, time_zone: Some("Europe/Paris".into()), ..format() };
    for (time, expected) in [
        ("1700000000", Ok("a 1700000000000 - - - -")),
        ("1700000000.1239", Ok("a 1700000000123 - - - -")),
        ("\"2024-07-01T12:00:00\"", Ok("a 1719828000000 - - - -")),
        ("\"2024-07-01T12:00:00Z\"", Ok("a 1719835200000 - - - -")),
        ("1700000000123", Err("55840-11-08: is the unit milliseconds?")),
    ] {
        let item = decode_one(&format, &format!("{{\"meter_id\":\"a\",\"timestamp\":{time}}}"));
        match (brief(&item), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err((Reason::OutOfRange, found)), Err(expected)) => assert!(found.contains(expected), "{found}"),
            other => panic!("{other:?}"),
        }
    }
    let unknown = Format { time_zone: Some("Mars/Olympus".into()), ..format };
    assert_eq!(Decoder::new(&unknown).err(), Some(FormatError::UnknownZone("Mars/Olympus".into())));
}

#[test]
fn rows_of_csv() {
    let format = Format { kind: FormatKind::Csv, ..format() };
    let first = "\u{feff}\r\n\"timestamp\" ,status,x, voltage,\"meter_id\"\r\n";
    let (header, length) = CsvHeader::read(first.as_bytes(), &format).unwrap().unwrap();
    assert_eq!(length, first.len());
    assert_eq!(CsvHeader::read(b"meter_id,timestamp", &format), Ok(None));
    let mut decoder = Decoder::new(&format).unwrap();
    for (row, expected) in [
        ("1700000000123,OK,?,230.5,007\r", Ok("007 1700000000123 230.5 - - OK")),
        (" \"2023-11-14 22:13:20Z\" , \" a, \"\"b\"\" \" ,,nuLL, m ", Ok("m 1700000000000 - - - a, \"b\"")),
        ("1700000000123,,,-0,\"a\"\"b\"", Ok("a\"b 1700000000123 0 - - -")),
        ("1700000000123,OK,?,230.5", Err((Reason::NotJson, "4 cells; the header names 5 columns"))),
        ("1700000000123,OK,?,230.5,a,", Err((Reason::NotJson, "6 cells; the header names 5 columns"))),
        ("1700000000123,O\"K,?,230.5,a", Err((Reason::NotJson, "no quote inside a cell"))),
        ("1700000000123,\"OK,?,230.5,a", Err((Reason::NotJson, "the closing quote of a cell"))),
        ("1700000000123,\"OK\"x,?,230.5,a", Err((Reason::NotJson, "behind a quoted cell, found 'x'"))),
        ("1700000000123,OK,?,230 V,a", Err((Reason::WrongType, "\"voltage\" is a text (230 V)"))),
        ("1700000000123,OK,?,1e999,a", Err((Reason::OutOfRange, "is 1e999"))),
        ("1700000000,OK,?,1,a", Err((Reason::OutOfRange, "1970-01-20: is the unit seconds?"))),
        ("1700000000123,OK,?,1,NULL", Err((Reason::MissingField, "no meter"))),
        (",,,,", Err((Reason::MissingField, "no meter"))),
        ("soon,OK,?,1,a", Err((Reason::WrongType, "RFC 3339"))),
    ] {
        let items = decode(&mut decoder, format!(" \r\n{row}\n").as_bytes(), 10, Some(&header));
        assert_eq!((items.len(), items[0].offset()), (1, 13), "{row}");
        match (brief(&items[0]), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err((found, text)), Err((reason, message))) => assert!(found == reason && text.contains(message), "{text}"),
            other => panic!("{row}: {other:?}"),
        }
        let mut items = Items::default();
        decoder.record(3, row.as_bytes(), Some(&header), &mut items);
        assert_eq!((items.0.len(), items.0[0].offset()), (1, 3));
    }
    let mut items = Items::default();
    decoder.record(3, b"1700000000123,\"O\nK\",,1,a\n", Some(&header), &mut items);
    assert_eq!(brief(&items.0[0]), Err((Reason::NotJson, "more than one line")));
    assert!(matches!(
        decode(&mut decoder, b"1,\xff,,,a", 1, Some(&header))[..],
        [Item::Dead { reason: Reason::NotUtf8, .. }]
    ));
}

#[test]
fn headers_that_cannot_be_used() {
    let format = Format { kind: FormatKind::Csv, ..format() };
    let error = |line: &str| CsvHeader::parse(line.as_bytes(), &format).unwrap_err();
    assert_eq!(error("meter_id,timestamp,voltage,meter_id"), HeaderError::Twice("meter_id".into()));
    assert!(matches!(error("\"meter_id"), HeaderError::Syntax(_)));
    assert_eq!(
        error("timestamp;meter_id,x").to_string(),
        "no column has the meter: expected \"meter_id\", \"meterId\"; the first row names \"timestamp;meter_id\", \"x\""
    );
    assert!(error("meterId,x,x").to_string().starts_with("no column has the time: expected \"timestamp\""));
    assert!(CsvHeader::parse(b"meterId,meter_id,timestamp,x,x,", &format).is_ok());
}

/// A generator with a fixed seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

fn number(dice: &mut Dice) -> String {
    match dice.below(12) {
        0 => dice.pick(&["0", "-0", "0.0", "-0.0e5", "1e3", "1E-3", "2.5e+10", "1e400", "1e-400", "5e-324"]).to_string(),
        1 => f64::from_bits((dice.below(1 << 31) as u64) << 32 | dice.below(1 << 31) as u64).to_string(),
        2 => format!("{}{}.{}", dice.below(1 << 30), dice.below(1 << 30), dice.below(1 << 30)),
        3 => format!("-{}.{:05}", dice.below(300), dice.below(100_000)),
        4 => dice.below(1 << 30).to_string(),
        _ => format!("{}.{:03}", dice.below(300), dice.below(1000)),
    }
}

fn text(dice: &mut Dice) -> String {
    let content = match dice.below(10) {
        0 => dice
            .pick(&[
                "M\u{fc}ller",
                "\\u00fc",
                "a\\\"b",
                "\\ud83d\\ude00",
                "\\ud83d",
                "\\n",
                "\u{1f600}",
                "\u{7f}",
                "\\q",
                "\t",
            ])
            .into(),
        1 => "x".repeat(dice.below(70)),
        2 => String::new(),
        3 => dice.pick(&["OK", "FAILURE", "FAILURE: relay", "a status that is longer than most of them are"]).into(),
        _ => format!("meter-{:06}", dice.below(1_000_000)),
    };
    format!("\"{content}\"")
}

fn time(dice: &mut Dice) -> String {
    match dice.below(10) {
        0 => dice
            .pick(&[
                "1700000000",
                "0",
                "-1",
                "1e12",
                "1.7e12",
                "1700000000123.75",
                "4102444800000",
                "17e11",
                "1700000000123456",
            ])
            .into(),
        1 => format!(
            "\"20{:02}-{:02}-{:02}T{:02}:00:00.5Z\"",
            dice.below(100),
            dice.below(14),
            dice.below(33),
            dice.below(25)
        ),
        2 => dice
            .pick(&["\"2024-02-29 12:00:00+01:00\"", "\"2024-02-29T12:00:00\"", "\"now\"", "\"2024-02-29T12:00:00-23:59\""])
            .into(),
        _ => (1_700_000_000_000 + dice.below(1 << 30)).to_string(),
    }
}

fn any_value(dice: &mut Dice, depth: usize) -> String {
    match dice.below(if depth > 4 { 4 } else { 7 }) {
        0 => number(dice),
        1 => text(dice),
        2 => dice.pick(&["true", "false", "null", "null"]).to_string(),
        3 => dice.pick(&["{}", "[]", "{ }", "[ ]", "nul", "1.", "[1,]", "{\"a\"}"]).to_string(),
        4 => format!("[{}, {}]", any_value(dice, depth + 1), any_value(dice, depth + 1)),
        5 => format!("{{\"k\":{},\"k\" : {}}}", any_value(dice, depth + 1), any_value(dice, depth + 1)),
        _ => {
            let levels = dice.below(36);
            format!("{}{}{}", "[".repeat(levels), dice.below(10), "]".repeat(levels))
        }
    }
}

/// A line: mostly of one of a few shapes, sometimes of none.
fn line(dice: &mut Dice) -> String {
    let mut names = match dice.below(4) {
        0 => vec!["status", "temperature", "current", "voltage", "timestamp", "meter_id"],
        1 => vec!["timestamp", "meterId", "voltage", "amps", "firmware", "status"],
        _ => vec!["meter_id", "timestamp", "voltage", "current", "temperature", "status"],
    };
    let spaces = dice.pick(&["", "", "", " ", "  \t"]);
    if dice.below(6) == 0 {
        let extra =
            dice.pick(&["voltage", "amps", "meterId", "location", "timestamp", "status", "\\u0076oltage", "n\u{e4}me"]);
        names.insert(dice.below(names.len() + 1), extra);
    }
    if dice.below(6) == 0 {
        names.remove(dice.below(names.len()));
    }
    let fields: Vec<String> = names
        .into_iter()
        .map(|name| {
            let value = match name {
                _ if dice.below(25) == 0 => any_value(dice, 0),
                "meter_id" | "meterId" | "status" if dice.below(12) > 0 => text(dice),
                "meter_id" | "meterId" => dice.below(1 << 20).to_string(),
                "timestamp" => time(dice),
                "location" | "firmware" => any_value(dice, 0),
                _ => number(dice),
            };
            format!("\"{name}\"{spaces}:{spaces}{value}{spaces}")
        })
        .collect();
    format!("{{{spaces}{}}}", fields.join(&format!(",{spaces}")))
}

/// Damages a line: never with line feeds.
fn mutate(line: &mut Vec<u8>, dice: &mut Dice) {
    const BYTES: &[u8] = b"\"\\{}[],: \r\t0123456789.-+eEx\x00\x7f\x80\xc3\xff";
    for _ in 0..1 + dice.below(3) {
        let at = dice.below(line.len() + 1);
        match dice.below(5) {
            0 => line.truncate(at),
            1 => line.insert(at, BYTES[dice.below(BYTES.len())]),
            2 if at < line.len() => line[at] = BYTES[dice.below(BYTES.len())],
            3 if at < line.len() => drop(line.remove(at)),
            4 if at < line.len() => {
                let part = line[at..(at + dice.below(20)).min(line.len())].to_vec();
                let to = dice.below(line.len() + 1);
                line.splice(to..to, part);
            }
            _ => {}
        }
    }
}

/// `count` lines, `damaged` percent of them mutated, and where they start.
fn lines(dice: &mut Dice, count: usize, damaged: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let lines: Vec<Vec<u8>> = (0..count)
        .map(|_| {
            let mut line = if dice.below(50) == 0 { dice.pick(&["", " ", "\t \t"]).into() } else { line(dice) }.into_bytes();
            if dice.below(100) < damaged {
                mutate(&mut line, dice);
            }
            line
        })
        .collect();
    let feed = if dice.below(4) == 0 { &b"\r\n"[..] } else { b"\n" };
    let bytes = lines.join(feed);
    (lines, bytes)
}

/// Compares with the oracle; whether it could tell.
fn agree(line: &[u8], item: Option<&Item>, channels: &Channels) -> bool {
    let text = String::from_utf8_lossy(line);
    match (judge(line, channels), item) {
        (Verdict::Unknown, Some(_)) => return false,
        (Verdict::Blank, None) => {}
        (Verdict::Dead(reasons), Some(Item::Dead { reason, raw, raw_bytes, .. })) => {
            assert!(reasons.contains(&reason.name()), "{text}: {reason:?} is not {reasons:?}");
            assert!(raw == line && *raw_bytes == line.len() as u64, "{text}: {raw:?}");
        }
        (Verdict::Reading(expected), Some(Item::Reading { meter, time, status, values, .. })) => {
            let expected_values = expected.values.map(|value| value.map(f64::to_bits));
            assert_eq!((meter, status, &values[..]), (&expected.meter, &expected.status, &expected_values[..]), "{text}");
            assert!((expected.time.0..=expected.time.1).contains(time), "{text}: {time} is not {:?}", expected.time);
        }
        (expected, found) => panic!("{text}: {found:?} is not {expected:?}"),
    }
    true
}

/// Decodes the lines with a decoder that has learnt, and compares each with the oracle; how many are readings, and of how
/// many it could not tell.
fn check(decoder: &mut Decoder, channels: &Channels, lines: &[Vec<u8>], bytes: &[u8], base: u64) -> (usize, usize) {
    let items = decode(decoder, bytes, base, None);
    let readings = items.iter().filter(|item| matches!(item, Item::Reading { .. })).count();
    let mut found = items.iter().peekable();
    let returned = bytes.len() > lines.iter().map(|line| line.len() + 1).sum();
    let (mut offset, mut unknown) = (base, 0);
    for (number, line) in lines.iter().enumerate() {
        let item = found.next_if(|item| item.offset() == offset);
        // Without a return of its own, a line's last one goes with the line feed.
        let last = number + 1 == lines.len();
        let kept = if returned || last { line } else { line.strip_suffix(b"\r").unwrap_or(line) };
        unknown += usize::from(!agree(kept, item, channels));
        offset += line.len() as u64 + if returned { 2 } else { 1 };
    }
    assert_eq!(found.next(), None, "a record that is no line");
    (readings, unknown)
}

#[test]
fn a_decoder_that_has_learnt_agrees_with_the_oracle() {
    const LINES: usize = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
    for channels in [ONE_NAME, TWO_NAMES] {
        let mut decoder = Decoder::new(&format_of(&channels)).unwrap();
        let mut other = Decoder::that_learns_nothing(&format_of(&channels)).unwrap();
        let (mut dice, mut readings, mut unknown) = (Dice(42), 0, 0);
        for block in 0..LINES / 500 {
            // Long stretches of whole lines, so that something is learnt, and of damaged ones.
            let (lines, bytes) = lines(&mut dice, 500, [2, 100, 30][block / 20 % 3]);
            let counts = check(&mut decoder, &channels, &lines, &bytes, 1 + block as u64);
            assert_eq!(decode(&mut decoder, &bytes, 1, None), decode(&mut other, &bytes, 1, None));
            (readings, unknown) = (readings + counts.0, unknown + counts.1);
        }
        assert!((LINES / 4..LINES * 3 / 4).contains(&readings), "{readings} of {LINES} lines are readings");
        assert!(unknown < LINES / 20, "{unknown} of {LINES} lines are left to other tests");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One decoder over everything, a fresh one for each line, messages instead of lines, and any blocks: all the same.
    #[test]
    fn what_was_learnt_changes_nothing(seed in 1u64.., damaged in 0usize..60, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5)) {
        let (lines, bytes) = lines(&mut Dice(seed), 150, damaged);
        let format = format_of(if seed % 2 == 0 { &ONE_NAME } else { &TWO_NAMES });
        let mut decoder = Decoder::new(&format).unwrap();
        let whole = decode(&mut decoder, &bytes, 1, None);
        let again = decode(&mut decoder, &bytes, 1, None);
        prop_assert_eq!(&whole, &again);
        let unlearnt = decode(&mut Decoder::that_learns_nothing(&format).unwrap(), &bytes, 1, None);
        prop_assert_eq!(&whole, &unlearnt);

        let mut ends: Vec<usize> = memchr::memchr_iter(b'\n', &bytes).map(|feed| feed + 1).collect();
        ends.retain(|end| cuts.iter().any(|cut| cut.index(bytes.len()) / 1000 == end / 1000));
        ends.push(bytes.len());
        let (mut start, mut pieces) = (0, Vec::new());
        for end in ends {
            pieces.extend(decode(&mut decoder, &bytes[start..end], 1 + start as u64, None));
            start = end;
        }
        prop_assert_eq!(&whole, &pieces);

        let mut found = whole.into_iter();
        let returned = bytes.len() > lines.iter().map(|line| line.len() + 1).sum();
        let mut messages = Items::default();
        for (number, line) in lines.iter().enumerate() {
            let last = number + 1 == lines.len();
            let line = if returned || last { &line[..] } else { line.strip_suffix(b"\r").unwrap_or(line) };
            let fresh = decode(&mut Decoder::new(&format).unwrap(), line, 1, None);
            let next = if fresh.is_empty() { None } else { found.next().map(|item| item.at(1)) };
            prop_assert_eq!(fresh.first(), next.as_ref());
            messages.0.clear();
            decoder.record(1, line, None, &mut messages);
            // At the end of a message, a return may be taken for a part of its line end.
            if !line.ends_with(b"\r") {
                prop_assert_eq!(&fresh, &messages.0);
            }
        }
        prop_assert_eq!(found.next(), None);
    }
}
