//! What a line should decode to, recomputed from a tree of serde_json: slow, and nothing in common with the decoder.
//!
//! Only for tests and the fuzz target, which both include this file; it knows the names of their formats alone.

use serde_json::Value;

/// Channels, each with its names.
pub type Channels = [&'static [&'static str]; 3];
/// Each has one name.
pub const ONE_NAME: Channels = [&["voltage"], &["current"], &["temperature"]];
/// One has two names.
pub const TWO_NAMES: Channels = [&["voltage"], &["current", "amps"], &["temperature"]];
const METER: [&str; 2] = ["meter_id", "meterId"];
const TIME: [&str; 1] = ["timestamp"];
const STATUS: [&str; 1] = ["status"];
const FIRST: i64 = 946_684_800_000;
const LAST: i64 = 4_102_444_799_999;

/// The verdict on a line.
#[derive(Debug)]
pub enum Verdict {
    /// Not counted.
    Blank,
    /// A reading.
    Reading(Reading),
    /// A dead letter, for one of these reasons.
    Dead(&'static [&'static str]),
    /// The tree cannot tell, since numbers in it are rounded.
    Unknown,
}

/// A reading.
#[derive(Debug)]
pub struct Reading {
    /// The meter id.
    pub meter: String,
    /// Earliest and latest time that it may be, ms.
    pub time: (i64, i64),
    /// The status.
    pub status: Option<String>,
    /// The channels.
    pub values: [Option<f64>; 3],
}

/// Judges a line, without its line feed.
pub fn judge(line: &[u8], channels: &Channels) -> Verdict {
    if line.iter().all(|byte| b" \t\r".contains(byte)) {
        return Verdict::Blank;
    }
    let Ok(text) = std::str::from_utf8(line) else { return Verdict::Dead(&["not_utf8"]) };
    let tree = match serde_json::from_str::<Value>(text) {
        Ok(tree) => tree,
        Err(error) if error.to_string().contains("number out of range") => return Verdict::Unknown,
        Err(error) if error.to_string().contains("recursion limit") => return Verdict::Dead(&["too_deep", "not_json"]),
        Err(_) if text.matches(['[', '{']).count() > 32 => return Verdict::Dead(&["not_json", "too_deep"]),
        Err(_) => return Verdict::Dead(&["not_json"]),
    };
    if !tree.is_object() {
        return Verdict::Dead(&["not_json"]);
    }
    if depth(text) > 32 {
        return Verdict::Dead(&["too_deep"]);
    }
    match reading(&tree, channels) {
        Ok(reading) => Verdict::Reading(reading),
        Err(verdict) => verdict,
    }
}

/// Levels of a text that is JSON: brackets outside of texts. The tree has lost what came twice.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn reading(tree: &Value, channels: &Channels) -> Result<Reading, Verdict> {
    let field = |names: &[&str]| names.iter().filter_map(|name| tree.get(name)).find(|value| !value.is_null());
    const MISSING: Verdict = Verdict::Dead(&["missing_field"]);
    let meter = meter(field(&METER).ok_or(MISSING)?)?;
    let time = time(field(&TIME).ok_or(MISSING)?)?;
    let mut values = [None; 3];
    for (value, names) in values.iter_mut().zip(channels) {
        *value = match field(names) {
            None => None,
            // Adding 0 takes the sign from -0.
            Some(Value::Number(number)) => match number.as_f64().filter(|number| number.is_finite()) {
                Some(number) => Some(number + 0.0),
                None => return Err(Verdict::Dead(&["out_of_range"])),
            },
            Some(_) => return Err(Verdict::Dead(&["wrong_type"])),
        };
    }
    let status = match field(&STATUS) {
        None => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => return Err(Verdict::Dead(&["wrong_type"])),
    };
    Ok(Reading { meter, time, status, values })
}

fn meter(value: &Value) -> Result<String, Verdict> {
    let id = match value {
        Value::String(id) => id.clone(),
        // As text where numbers are kept as they were written.
        Value::Number(number) if number.to_string() == "-0" => "0".to_string(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        // An integer that was rounded, or -0.
        Value::Number(number) if number.as_f64().is_some_and(|value| value == 0.0 || value.abs() > 1e18) => {
            return Err(Verdict::Unknown);
        }
        _ => return Err(Verdict::Dead(&["wrong_type"])),
    };
    match (1..=64).contains(&id.len()) && !id.chars().any(char::is_control) {
        true => Ok(id),
        false => Err(Verdict::Dead(&["out_of_range"])),
    }
}

fn time(value: &Value) -> Result<(i64, i64), Verdict> {
    let (low, high) = match value {
        Value::String(text) => {
            let time = time_of_text(text)?;
            (time, time)
        }
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(time), _) => (time, time),
            // Rounding may have carried a fraction over to the next millisecond.
            (None, Some(time)) => (((time - 0.01).trunc()) as i64, ((time + 0.01).trunc()) as i64),
            _ => return Err(Verdict::Unknown),
        },
        _ => return Err(Verdict::Dead(&["wrong_type"])),
    };
    match ((FIRST..=LAST).contains(&low), (FIRST..=LAST).contains(&high)) {
        (true, true) => Ok((low, high)),
        (false, false) => Err(Verdict::Dead(&["out_of_range"])),
        _ => Err(Verdict::Unknown),
    }
}

fn time_of_text(text: &str) -> Result<i64, Verdict> {
    let digits: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c.to_ascii_uppercase() }).collect();
    let Some(rest) = digits.strip_prefix("0000-00-00T00:00:00").or(digits.strip_prefix("0000-00-00 00:00:00")) else {
        return Err(Verdict::Dead(&["wrong_type"]));
    };
    let rest = match rest.strip_prefix('.') {
        Some(fraction) if fraction.starts_with('0') => fraction.trim_start_matches('0'),
        _ => rest,
    };
    if !["Z", "+00:00", "-00:00"].contains(&rest) {
        return Err(Verdict::Dead(&["wrong_type"]));
    }
    if text[17..19] == *"60" {
        return Err(Verdict::Unknown);
    }
    // The library knows at most nine digits of a fraction, and rounds none of them.
    let offset = &text[text.len() - rest.len()..];
    let (hours, minutes) = if rest == "Z" { ("00", "00") } else { (&offset[1..3], &offset[4..6]) };
    if hours > "23" || minutes > "59" {
        return Err(Verdict::Dead(&["out_of_range"]));
    }
    let fraction: String = text[19..text.len() - rest.len()].chars().take(10).collect();
    let local = format!("{}T{}{fraction}Z", &text[..10], &text[11..19]);
    let local: jiff::Timestamp = local.parse().map_err(|_| Verdict::Dead(&["out_of_range"]))?;
    let ahead = (hours.parse::<i64>().unwrap_or(0) * 60 + minutes.parse::<i64>().unwrap_or(0)) * 60_000;
    let time = local.as_nanosecond().div_euclid(1_000_000) as i64;
    Ok(if offset.starts_with('-') { time + ahead } else { time - ahead })
}
