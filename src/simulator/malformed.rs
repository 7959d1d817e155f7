//! Lines that are broken, as fleets in the field send them. Every one is a dead letter; none has a line feed.

use crate::simulator::draws::{Draws, below};
use memchr::memmem;

/// Ways to break a line.
const WAYS: u64 = 15;

/// Breaks `line`, a plain one without its line feed, in a way drawn from `draws`.
pub(super) fn spoil(line: &mut Vec<u8>, draws: Draws) {
    spoil_in_way(line, below(draws.nth(6), WAYS), draws.nth(7));
}

fn spoil_in_way(line: &mut Vec<u8>, way: u64, draw: u64) {
    match way {
        // The connection broke off.
        0 => line.truncate(1 + below(draw, line.len() as u64 - 1) as usize),
        // A field is not there.
        1 => rename(line, "meter_id"),
        2 => rename(line, "timestamp"),
        // A field has another type.
        3 => replace(line, number_field(line), b"\"n/a\""),
        4 => replace(line, "timestamp", b"\"yesterday\""),
        5 => replace(line, "meter_id", b"{\"vendor\":7,\"serial\":4217}"),
        6 => replace(line, "status", b"3"),
        // A value is beyond what can be: seconds instead of milliseconds, no finite number, an id without end.
        7 => shorten_time(line),
        8 => replace(line, number_field(line), b"1.7e400"),
        9 => replace(line, "meter_id", &[b"\"", &[b'7'; 80][..], b"\""].concat()),
        // Bytes that are not UTF-8.
        10 => {
            let at = 13 + below(draw, 4) as usize;
            line.splice(at..at, [0xc3, 0x28]);
        }
        // What some libraries write, and JSON has not.
        11 => replace(line, number_field(line), b"NaN"),
        // JSON, but no object.
        12 => {
            line.insert(0, b'[');
            line.push(b']');
        }
        // Too deep.
        13 => {
            line.truncate(line.len() - 1);
            line.extend_from_slice(b",\"x\":");
            line.extend_from_slice(&[b'['; 40]);
            line.extend_from_slice(&[b']'; 40]);
            line.push(b'}');
        }
        // Something else altogether.
        _ => {
            line.clear();
            line.extend_from_slice(format!("<err code={draw:x}> no response from module").as_bytes());
        }
    }
}

/// A field that must be a number: a channel, if the line has one.
fn number_field(line: &[u8]) -> &'static str {
    let names = ["voltage", "current", "temperature"];
    names.into_iter().find(|name| value_of(line, name).is_some()).unwrap_or("timestamp")
}

/// Where the value of a field begins and ends; its name begins at `.0 - name.len() - 3`.
fn value_of(line: &[u8], name: &str) -> Option<(usize, usize)> {
    let start = memmem::find(line, format!("\"{name}\":").as_bytes())? + name.len() + 3;
    let end = line[start..].iter().position(|byte| matches!(byte, b',' | b'}'))?;
    Some((start, start + end))
}

fn replace(line: &mut Vec<u8>, name: &str, value: &[u8]) {
    if let Some((start, end)) = value_of(line, name) {
        line.splice(start..end, value.iter().copied());
    }
}

fn rename(line: &mut [u8], name: &str) {
    if let Some((start, _)) = value_of(line, name) {
        line[start - name.len() - 2] = b'_';
    }
}

/// Cuts the milliseconds off the time: taken as milliseconds it lies in 1970.
fn shorten_time(line: &mut Vec<u8>) {
    if let Some((_, end)) = value_of(line, "timestamp") {
        line.drain(end - 3..end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::fleet::Reading;
    use crate::simulator::lines::Lines;
    use crate::simulator::settings::Settings;
    use serde_json::Value;

    /// Why a line is dead by the contract; `None`: it is not.
    pub(crate) fn reason(line: &[u8]) -> Option<&'static str> {
        let Ok(text) = std::str::from_utf8(line) else { return Some("not_utf8") };
        if text.contains("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[") {
            return Some("too_deep");
        }
        let value = match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(value)) => value,
            Err(error) if error.to_string().contains("out of range") => return Some("out_of_range"),
            _ => return Some("not_json"),
        };
        match value.get("meter_id") {
            None => return Some("missing_field"),
            Some(Value::String(id)) if id.is_empty() || id.len() > 64 => return Some("out_of_range"),
            Some(Value::String(_)) => {}
            Some(_) => return Some("wrong_type"),
        }
        match value.get("timestamp") {
            None => return Some("missing_field"),
            Some(Value::Number(time)) if time.as_i64() < Some(946_684_800_000) => return Some("out_of_range"),
            Some(Value::Number(_)) => {}
            Some(_) => return Some("wrong_type"),
        }
        let numbers =
            ["voltage", "current", "temperature"].into_iter().all(|name| value.get(name).is_none_or(Value::is_number));
        (!numbers || !value["status"].is_string()).then_some("wrong_type")
    }

    #[test]
    fn every_way_makes_a_dead_letter() {
        let reasons = [
            "not_json",
            "missing_field",
            "missing_field",
            "wrong_type",
            "wrong_type",
            "wrong_type",
            "wrong_type",
            "out_of_range",
            "out_of_range",
            "out_of_range",
            "not_utf8",
            "not_json",
            "not_json",
            "too_deep",
            "not_json",
        ];
        assert_eq!(reasons.len() as u64, WAYS);
        for channels in [[true; 3], [false; 3]] {
            let lines = Lines::new(&Settings { channels, ..Settings::default() });
            let reading = Reading { id: 4217, time: 1_700_000_123_456, values: [230_123, 5_123, 215], status: "OK" };
            let mut plain = Vec::new();
            lines.plain(&reading, &mut plain);
            assert_eq!(reason(&plain), None);
            for way in 0..WAYS {
                for n in 0..200 {
                    let mut line = plain.clone();
                    spoil_in_way(&mut line, way, Draws::new(way).nth(n));
                    let text = String::from_utf8_lossy(&line);
                    assert_eq!(reason(&line), Some(reasons[way as usize]), "way {way}: {text}");
                    assert!(!line.is_empty() && !line.contains(&b'\n'), "way {way}: {text}");
                }
            }
        }
    }
}
