//! Messages of dead letters: what was found, and what would be right.

use crate::codec::cells::{Unfit, Wrong};
use crate::codec::fields::{Fields, Role};
use crate::codec::scan::{Expected, Fault};
use crate::codec::time::{FIRST, LAST, TimeProblem, date};
use crate::model::dead::Reason;
use crate::model::meter::MAX_ID;

/// Deepest nesting of a record; the record itself is the first level.
pub const MAX_DEPTH: usize = 32;

/// Why a value cannot be that of its field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// It is of this type: "a text", "an object"...
    Type(&'static str),
    /// A meter's number has a fraction or an exponent.
    NotInteger,
    /// A number beyond what an `f64` holds.
    Overflow,
    /// No time, or not in range.
    Time(TimeProblem),
    /// A meter id without characters.
    EmptyId,
    /// A meter id of so many bytes.
    LongId(usize),
    /// A meter id with a control character.
    ControlInId,
}

impl Problem {
    fn reason(self) -> Reason {
        match self {
            Problem::Type(_) | Problem::NotInteger => Reason::WrongType,
            Problem::Time(TimeProblem::Form | TimeProblem::NoOffset) => Reason::WrongType,
            Problem::Time(TimeProblem::NoSuchTime | TimeProblem::Outside(_)) => Reason::OutOfRange,
            Problem::Overflow | Problem::EmptyId | Problem::LongId(_) | Problem::ControlInId => Reason::OutOfRange,
        }
    }
}

/// Of a record that is no reading although its syntax is right. `unit` is that of numeric times, ms.
#[cold]
pub fn unfit(unfit: Unfit, fields: &Fields, unit: i64, bytes: &[u8]) -> (Reason, String) {
    match unfit {
        Unfit::Missing(cells) => {
            let what = if cells == fields.meter { "meter" } else { "time" };
            let names = fields.list(cells);
            let one = if cells.count_ones() == 1 { "" } else { "one of " };
            (Reason::MissingField, format!("no {what}: expected {one}{names} with a value that is not null"))
        }
        Unfit::Wrong(wrong) => (wrong.problem.reason(), wrong_value(&wrong, fields, unit, bytes)),
    }
}

fn wrong_value(wrong: &Wrong, fields: &Fields, unit: i64, bytes: &[u8]) -> String {
    let (name, role) = fields.name(wrong.cell);
    let value = excerpt(&bytes[wrong.raw.0..wrong.raw.1]);
    match wrong.problem {
        Problem::Type(found) => format!("{name:?} is {found} ({value}); expected {}", expected(role)),
        Problem::NotInteger => format!("{name:?} is {value}; a meter is a text or an integer without fraction and exponent"),
        Problem::Overflow => format!("{name:?} is {value}, which is more than a 64-bit floating-point number holds"),
        Problem::EmptyId => format!("{name:?} is empty; a meter has 1 to {MAX_ID} bytes"),
        Problem::LongId(length) => format!("{name:?} has {length} bytes; a meter has 1 to {MAX_ID}"),
        Problem::ControlInId => format!("{name:?} has a control character in it ({value})"),
        Problem::Time(TimeProblem::Form) => {
            format!("{name:?} is {value}; expected a number or RFC 3339 text such as \"2024-02-29T12:34:56.789+01:00\"")
        }
        Problem::Time(TimeProblem::NoOffset) => {
            format!("{name:?} is {value}, which has no offset from UTC; is the source's time_zone missing?")
        }
        Problem::Time(TimeProblem::NoSuchTime) => format!("{name:?} is {value}: there is no such day, time or offset"),
        Problem::Time(TimeProblem::Outside(ms)) => {
            let date = if ms.unsigned_abs() < 1 << 62 { date(ms) } else { "far beyond any calendar".to_string() };
            match likely_unit(ms, unit, wrong, bytes) {
                Some(likely) => format!("{name:?} is {value}, that is {date}: is the unit {likely}?"),
                None => format!("{name:?} is {value}, that is {date}; expected {} to {}", date_of(FIRST), date_of(LAST)),
            }
        }
    }
}

fn expected(role: Role) -> &'static str {
    match role {
        Role::Meter => "a text or an integer",
        Role::Time => "a number or RFC 3339 text",
        Role::Channel => "a number or null",
        Role::Status | Role::Ignored => "a text or null",
    }
}

fn date_of(ms: i64) -> String {
    date(i128::from(ms))
}

/// The unit in which a numeric time would be in range; none for a text.
fn likely_unit(ms: i128, unit: i64, wrong: &Wrong, bytes: &[u8]) -> Option<&'static str> {
    if !matches!(bytes[wrong.raw.0], b'-' | b'0'..=b'9') || bytes[wrong.raw.0..wrong.raw.1].contains(&b':') {
        return None;
    }
    let millionths = ms.checked_mul(1_000_000)? / i128::from(unit);
    let fits = |ns_per_unit: i128| {
        let ms = millionths.checked_mul(ns_per_unit).map(|product| product / 1_000_000_000_000);
        ms.is_some_and(|ms| (i128::from(FIRST)..=i128::from(LAST)).contains(&ms))
    };
    let units = [("seconds", 1_000_000_000), ("milliseconds", 1_000_000), ("microseconds", 1000), ("nanoseconds", 1)];
    units.iter().find(|(_, size)| fits(*size)).map(|(name, _)| *name)
}

/// A value, shortened to what a message can hold.
fn excerpt(raw: &[u8]) -> String {
    const LONGEST: usize = 40;
    let text = String::from_utf8_lossy(raw);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

/// Of a record that is no JSON object.
#[cold]
pub fn syntax(fault: Fault, record: &[u8], start: usize) -> (Reason, String) {
    if let Err(error) = std::str::from_utf8(record) {
        let (at, byte) = (error.valid_up_to(), record[error.valid_up_to()]);
        return (
            Reason::NotUtf8,
            format!("after {at} bytes: 0x{byte:02X} does not continue UTF-8; is it Latin-1 or a binary?"),
        );
    }
    let at = (fault.at - start).min(record.len());
    match fault.expected {
        Expected::Shallow => (Reason::TooDeep, format!("after {at} bytes: more than {MAX_DEPTH} levels")),
        Expected::Columns(expected, found) => {
            (Reason::NotJson, format!("{found} cells; the header names {expected} columns"))
        }
        Expected::Syntax(expected) => {
            let found = String::from_utf8_lossy(&record[at..]).chars().next();
            let found = found.map_or("the end of the record".to_string(), |found| format!("{found:?}"));
            (Reason::NotJson, format!("after {at} bytes: expected {expected}, found {found}"))
        }
    }
}
