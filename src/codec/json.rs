//! The parser of JSON records: one pass over the bytes, straight into the cells; RFC 8259 to the letter.
//!
//! What is usual (known bytes between the values, short numbers, plain texts) is tried first, and everything else is
//! taken apart by the grammar, value by value: there is no second parser that could disagree with the first.

use crate::codec::cells::{Cells, Span};
use crate::codec::fields::{Fields, Role};
use crate::codec::layout::{Ahead, END, Layout, START};
use crate::codec::number::{Decimal, long_integer, short};
use crate::codec::problem::{MAX_DEPTH, Problem};
use crate::codec::scan::{Expected, Fault, Window, blanks, fault, window};
use crate::codec::text;
use crate::codec::time::TimeReader;

/// Reads objects; remembers how they are laid out.
pub struct Parser {
    layout: Layout,
    name: Vec<u8>,
}

impl Parser {
    /// A parser of records with these fields.
    pub fn new(fields: &Fields) -> Parser {
        Parser { layout: Layout::new(fields), name: Vec::new() }
    }

    /// Reads the object at `at` into `cells`; returns where the record ends: at its line feed or the end of the block.
    pub fn record(&mut self, bytes: &[u8], at: usize, cells: &mut Cells, times: &mut TimeReader) -> Result<usize, Fault> {
        self.layout.begin();
        let (mut place, mut at) = (START, at);
        loop {
            let ahead: Option<&Ahead> = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
            let (role, cell, seen);
            match ahead.and_then(|ahead| Some((self.layout.follow(place, ahead)?, ahead))) {
                Some((step, ahead)) => {
                    let (length, window) = step.value(ahead);
                    (place, role, cell, at, seen) = (step.to, step.role, step.cell, at + length, Some(window));
                    if place == END {
                        return Ok(at - 1);
                    }
                }
                None => {
                    (place, at) = self.next(place, bytes, at)?;
                    if place == END {
                        return Ok(at);
                    }
                    (role, cell) = self.layout.field(place);
                    seen = window(bytes, at);
                }
            }
            at = match seen.and_then(|window| usual_value(window, at, role, cell, cells, times)) {
                Some(end) => end,
                None => value(bytes, at, role, cell, cells, times)?,
            };
        }
    }

    /// Takes apart what stands behind the value of `place`: a comma and the name of a field, which leads to its place and
    /// the start of its value; or the end of the object, which leads to [`END`] and the end of the record.
    #[inline(never)]
    fn next(&mut self, place: u8, bytes: &[u8], start: usize) -> Result<(u8, usize), Fault> {
        let at = blanks(bytes, start);
        match bytes.get(at) {
            Some(b'{') if place == START => match blanks(bytes, at + 1) {
                first if bytes.get(first) == Some(&b'}') => self.end(place, bytes, (start, first)),
                first => self.field(place, bytes, (start, first)),
            },
            _ if place == START => fault(at, "a JSON object"),
            Some(b',') => self.field(place, bytes, (start, blanks(bytes, at + 1))),
            Some(b'}') => self.end(place, bytes, (start, at)),
            _ => fault(at, "a comma or the end of the object"),
        }
    }

    /// The object ends at `brace`: nothing may follow in its record.
    fn end(&mut self, place: u8, bytes: &[u8], (start, brace): (usize, usize)) -> Result<(u8, usize), Fault> {
        let end = blanks(bytes, brace + 1);
        match bytes.get(end) {
            Some(b'\n') => self.layout.learn(place, &bytes[start..=end], END),
            Some(_) => return fault(end, "nothing behind the object"),
            None => {}
        }
        Ok((END, end))
    }

    /// A field's name is at `at`.
    fn field(&mut self, place: u8, bytes: &[u8], (start, at): (usize, usize)) -> Result<(u8, usize), Fault> {
        let name = name(bytes, at)?;
        let value = value_of_name(bytes, name.end + 1)?;
        let raw = match name.escaped {
            false => &bytes[name.start..name.end],
            true => {
                self.name.clear();
                text::unescape(bytes, name, &mut self.name);
                &self.name
            }
        };
        let to = self.layout.place_of(raw);
        self.layout.learn(place, &bytes[start..value], to);
        Ok((to, value))
    }
}

/// The name of a field, at or behind `at`.
fn name(bytes: &[u8], at: usize) -> Result<text::Text, Fault> {
    match blanks(bytes, at) {
        at if bytes.get(at) == Some(&b'"') => text::scan(bytes, at + 1),
        at => fault(at, "the name of a field in double quotes"),
    }
}

/// Where the value starts, from behind the name's closing quote.
fn value_of_name(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    match blanks(bytes, at) {
        at if bytes.get(at) == Some(&b':') => Ok(blanks(bytes, at + 1)),
        at => fault(at, "a colon behind the name"),
    }
}

/// Takes the value at `at`, where the window begins, if it has the usual form of its field; returns where it ends.
#[inline(always)]
fn usual_value(window: &Window, at: usize, role: Role, cell: u8, cells: &mut Cells, times: &TimeReader) -> Option<usize> {
    let length = match role {
        Role::Channel => {
            let (value, length) = short(window)?;
            cells.number(cell, value);
            length
        }
        Role::Time => {
            let (units, length) = long_integer(window)?;
            cells.time(cell, times.integer(units)?);
            length
        }
        Role::Meter | Role::Status => {
            let length = text::plain_in(window)?;
            if length == 0 && role == Role::Meter {
                return None;
            }
            cells.text(cell, Span::of_block(at + 1, at + 1 + length));
            length + 2
        }
        Role::Ignored => text::plain_in(window)? + 2,
    };
    Some(at + length)
}

/// Takes a value of any form, at or behind `at`; returns where it ends.
#[inline(never)]
fn value(bytes: &[u8], at: usize, role: Role, cell: u8, cells: &mut Cells, times: &mut TimeReader) -> Result<usize, Fault> {
    let at = blanks(bytes, at);
    match (role, bytes.get(at)) {
        (Role::Ignored, _) => skip(bytes, at, 1),
        (Role::Channel | Role::Time | Role::Meter, Some(b'-' | b'0'..=b'9')) => {
            let number = Decimal::scan(bytes, at)?;
            match role {
                Role::Channel => cells.channel_number(cell, &number, bytes),
                Role::Time => cells.time_number(cell, &number, times),
                _ => cells.meter_number(cell, &number, bytes),
            }
            Ok(number.end)
        }
        (Role::Time | Role::Meter | Role::Status, Some(b'"')) => {
            let (span, end) = span(bytes, at, cells)?;
            match role {
                Role::Time => cells.time_text(cell, span, times, bytes, (at, end)),
                Role::Meter => cells.meter_text(cell, span, bytes, (at, end)),
                _ => cells.text(cell, span),
            }
            Ok(end)
        }
        _ => other(bytes, at, cell, cells),
    }
}

/// The content of the text whose quote is at `at`, without escapes, and where it ends.
fn span(bytes: &[u8], at: usize, cells: &mut Cells) -> Result<(Span, usize), Fault> {
    let found = text::scan(bytes, at + 1)?;
    let span = match found.escaped {
        false => Span::of_block(found.start, found.end),
        true => cells.keep(|out| text::unescape(bytes, found, out)),
    };
    Ok((span, found.end + 1))
}

/// A value of a type that the field cannot have, or null.
fn other(bytes: &[u8], at: usize, cell: u8, cells: &mut Cells) -> Result<usize, Fault> {
    let end = skip(bytes, at, 1)?;
    let found = match bytes[at] {
        b'n' => {
            cells.null(cell);
            return Ok(end);
        }
        b'"' => "a text",
        b'{' => "an object",
        b'[' => "a list",
        b't' | b'f' => "a boolean",
        _ => "a number",
    };
    cells.wrong(cell, Problem::Type(found), (at, end));
    Ok(end)
}

/// Checks the value at `at`, which `depth` levels contain; returns where it ends.
fn skip(bytes: &[u8], at: usize, depth: usize) -> Result<usize, Fault> {
    match bytes.get(at) {
        Some(b'"') => Ok(text::scan(bytes, at + 1)?.end + 1),
        Some(b'-' | b'0'..=b'9') => match window(bytes, at).and_then(short) {
            Some((_, length)) => Ok(at + length),
            None => Ok(Decimal::scan(bytes, at)?.end),
        },
        Some(b'{' | b'[') if depth == MAX_DEPTH => Err(Fault { at, expected: Expected::Shallow }),
        Some(b'{') => skip_items(bytes, at + 1, b'}', |at| {
            let name = name(bytes, at)?;
            skip(bytes, value_of_name(bytes, name.end + 1)?, depth + 1)
        }),
        Some(b'[') => skip_items(bytes, at + 1, b']', |at| skip(bytes, at, depth + 1)),
        Some(b't') => word(bytes, at, "true"),
        Some(b'f') => word(bytes, at, "false"),
        Some(b'n') => word(bytes, at, "null"),
        _ => fault(at, "a value"),
    }
}

/// Checks items with commas between them up to `close`, the first at or behind `at`.
fn skip_items(bytes: &[u8], at: usize, close: u8, item: impl Fn(usize) -> Result<usize, Fault>) -> Result<usize, Fault> {
    let mut at = blanks(bytes, at);
    if bytes.get(at) == Some(&close) {
        return Ok(at + 1);
    }
    loop {
        at = blanks(bytes, item(at)?);
        match bytes.get(at) {
            Some(b',') => at = blanks(bytes, at + 1),
            Some(byte) if *byte == close => return Ok(at + 1),
            _ => {
                return fault(
                    at,
                    if close == b']' { "a comma or the end of the list" } else { "a comma or the end of the object" },
                );
            }
        }
    }
}

fn word(bytes: &[u8], at: usize, word: &'static str) -> Result<usize, Fault> {
    if bytes[at..].starts_with(word.as_bytes()) { Ok(at + word.len()) } else { fault(at, "a value") }
}
