//! The parser of JSON records: one pass over the bytes, straight into the cells; RFC 8259 to the letter.
//!
//! What is usual (known bytes between the values, short numbers, plain texts) is tried first, and everything else is
//! taken apart by the grammar, value by value: there is no second parser that could disagree with the first.

use crate::codec::cells::{Cells, Span};
use crate::codec::fields::{Fields, Role};
use crate::codec::layout::{Ahead, END, Layout, START};
use crate::codec::marks::Marks;
use crate::codec::names::Name;
use crate::codec::number::Decimal;
use crate::codec::problem::{MAX_DEPTH, Problem};
use crate::codec::scan::{Expected, Fault, Reach, Window, blanks, fault, near};
use crate::codec::short::{long_integer, short};
use crate::codec::text;
use crate::codec::time::TimeReader;

const NO_NAME: &str = "the name of a field in double quotes";

/// Reads objects; remembers how they are laid out.
pub struct Parser {
    layout: Layout,
    /// What stood last between a name and its value, from the name's closing quote on.
    colon: Marks,
    /// What stood last between a value and the next name, up to the name's opening quote.
    between: Marks,
    name: Vec<u8>,
}

impl Parser {
    /// A parser of records with these fields.
    pub fn new(fields: &Fields) -> Parser {
        let marks = Marks::default();
        Parser { layout: Layout::new(fields), colon: marks, between: marks, name: Vec::new() }
    }

    /// Learns nothing of the layout, for tests.
    #[cfg(test)]
    pub fn give_up(&mut self) {
        self.layout.give_up();
    }

    /// Reads the object at `at` into `cells`; returns where the record ends: at its line feed or the end of the block.
    #[inline(always)]
    pub fn record(&mut self, bytes: &[u8], at: usize, cells: &mut Cells, times: &mut TimeReader) -> Result<usize, Fault> {
        match self.layout.begin() {
            true => self.alike(bytes, at, cells, times),
            false => self.any(bytes, at, cells, times),
        }
    }

    /// Reads a record that is probably laid out like those before it.
    #[inline(always)]
    fn alike(&mut self, bytes: &[u8], start: usize, cells: &mut Cells, times: &mut TimeReader) -> Result<usize, Fault> {
        let reach: Reach<{ size_of::<Ahead>() }> = Reach::new(bytes);
        let (mut place, mut at) = (START, start);
        loop {
            let ahead: Option<&Ahead> = reach.at(at);
            let (role, cell, window);
            match ahead.and_then(|ahead| Some((self.layout.follow(place, ahead)?, ahead))) {
                Some((step, ahead)) => {
                    let (length, value) = step.value(ahead);
                    (place, role, cell, at, window) = (step.to, step.role, step.cell, at + length, Some(value));
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
                    window = near(bytes, at);
                }
            }
            at = match window.and_then(|window| usual_value(window, at, role, cell, cells, times)) {
                Some(end) => end,
                None => value(bytes, at, role, cell, cells, times)?,
            };
        }
    }

    /// Reads a record of any layout.
    #[inline(always)]
    fn any(&mut self, bytes: &[u8], start: usize, cells: &mut Cells, times: &mut TimeReader) -> Result<usize, Fault> {
        let mut at = blanks(bytes, start);
        if bytes.get(at) != Some(&b'{') {
            return fault(at, "a JSON object");
        }
        at = blanks(bytes, at + 1);
        match bytes.get(at) {
            Some(b'}') => return end_of_record(bytes, at),
            Some(b'"') => at += 1,
            _ => return fault(at, NO_NAME),
        }
        let reach: Reach<{ size_of::<Window>() }> = Reach::new(bytes);
        loop {
            let place;
            (place, at) = self.named(bytes, at)?;
            let (role, cell) = self.layout.field(place);
            at = match reach.at(at).and_then(|window| usual_value(window, at, role, cell, cells, times)) {
                Some(end) => end,
                None => value(bytes, at, role, cell, cells, times)?,
            };
            at = match self.between.again(bytes, at) {
                Some(name) => name,
                None => match self.behind_value(bytes, at)? {
                    (name, false) => name,
                    (end, true) => return Ok(end),
                },
            };
        }
    }

    /// The field whose name starts at `at`, behind its quote: its place, and the start of its value.
    #[inline(always)]
    fn named(&mut self, bytes: &[u8], at: usize) -> Result<(u8, usize), Fault> {
        let (place, end) = match text::plain(bytes, at) {
            Some(end) => (self.layout.place_of(&Name::of_block(bytes, at, end)), end),
            None => self.spelled(bytes, at)?,
        };
        match self.colon.again(bytes, end) {
            Some(value) => Ok((place, value)),
            None => {
                let value = value_of_name(bytes, end + 1)?;
                self.colon.remember(bytes, end, value);
                Ok((place, value))
            }
        }
    }

    /// The name that starts at `at` and has escapes or other characters than ASCII: its place, and its closing quote.
    #[inline(never)]
    fn spelled(&mut self, bytes: &[u8], at: usize) -> Result<(u8, usize), Fault> {
        // Without a look at the escapes: what is spelled like a name that was right is that name.
        if let Some(length) = bytes[at..].iter().take(64).position(|byte| *byte == b'"')
            && let Some(place) = self.layout.place_of_spelling(&Name::of_block(bytes, at, at + length))
        {
            return Ok((place, at + length));
        }
        let name = text::scan(bytes, at)?;
        let place = self.place_of(bytes, name);
        let spelling = &bytes[name.start..name.end];
        if name.escaped && !spelling.contains(&b'"') {
            self.layout.learn_spelling(spelling, place);
        }
        Ok((place, name.end))
    }

    /// What stands behind a value: a comma and a quote, where a name starts, or (true) the end of the record.
    #[inline(never)]
    fn behind_value(&mut self, bytes: &[u8], start: usize) -> Result<(usize, bool), Fault> {
        let at = blanks(bytes, start);
        match bytes.get(at) {
            Some(b',') => {
                let quote = blanks(bytes, at + 1);
                if bytes.get(quote) != Some(&b'"') {
                    return fault(quote, NO_NAME);
                }
                self.between.remember(bytes, start, quote + 1);
                Ok((quote + 1, false))
            }
            Some(b'}') => Ok((end_of_record(bytes, at)?, true)),
            _ => fault(at, "a comma or the end of the object"),
        }
    }

    /// Takes apart what stands behind the value of `place`, and remembers it: a comma and the name of a field, which leads
    /// to its place and the start of its value; or the end of the object, which leads to [`END`] and the end of the record.
    #[inline(never)]
    fn next(&mut self, place: u8, bytes: &[u8], start: usize) -> Result<(u8, usize), Fault> {
        let mut at = blanks(bytes, start);
        match bytes.get(at) {
            Some(b'{') if place == START => at = blanks(bytes, at + 1),
            _ if place == START => return fault(at, "a JSON object"),
            Some(b',') => {
                let (to, value) = self.field(bytes, blanks(bytes, at + 1))?;
                self.layout.learn(place, &bytes[start..value], to);
                return Ok((to, value));
            }
            Some(b'}') => {}
            _ => return fault(at, "a comma or the end of the object"),
        }
        if bytes.get(at) != Some(&b'}') {
            let (to, value) = self.field(bytes, at)?;
            self.layout.learn(place, &bytes[start..value], to);
            return Ok((to, value));
        }
        let end = end_of_record(bytes, at)?;
        if end < bytes.len() {
            self.layout.learn(place, &bytes[start..=end], END);
        }
        Ok((END, end))
    }

    /// The field whose name is at `at`: its place, and the start of its value.
    fn field(&mut self, bytes: &[u8], at: usize) -> Result<(u8, usize), Fault> {
        let name = name(bytes, at)?;
        let value = value_of_name(bytes, name.end + 1)?;
        Ok((self.place_of(bytes, name), value))
    }

    fn place_of(&mut self, bytes: &[u8], name: text::Text) -> u8 {
        if !name.escaped {
            return self.layout.place_of(&Name::of_block(bytes, name.start, name.end));
        }
        self.name.clear();
        text::unescape(bytes, name, &mut self.name);
        self.layout.place_of(&Name::new(&self.name))
    }
}

/// The object ends at `brace`: nothing may follow in its record. Returns where that ends.
#[inline(always)]
fn end_of_record(bytes: &[u8], brace: usize) -> Result<usize, Fault> {
    let end = blanks(bytes, brace + 1);
    match bytes.get(end) {
        Some(b'\n') | None => Ok(end),
        Some(_) => fault(end, "nothing behind the object"),
    }
}

/// The name of a field, at or behind `at`.
fn name(bytes: &[u8], at: usize) -> Result<text::Text, Fault> {
    match blanks(bytes, at) {
        at if bytes.get(at) == Some(&b'"') => text::scan(bytes, at + 1),
        at => fault(at, NO_NAME),
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
            let (value, length) = short(window, cells.rest(cell))?;
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
        Role::Ignored if window[0] == b'"' => text::plain_in(window)? + 2,
        Role::Ignored => short(window, cells.rest(cell))?.1,
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
        Some(b'-' | b'0'..=b'9') => Ok(Decimal::scan(bytes, at)?.end),
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
