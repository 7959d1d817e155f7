//! Rows of CSV: RFC 4180 on one line, names and cells trimmed; an empty cell or `null` in any case is absent.
//!
//! Numbers and times are the same text as in JSON. Every row has as many cells as the header: one that has not is cut
//! or shifted, and would be read wrong.

use crate::codec::cells::{Cells, Span};
use crate::codec::fields::{Fields, FormatError, Role};
use crate::codec::number::Decimal;
use crate::codec::problem::{self, Problem};
use crate::codec::scan::{Expected, Fault, fault, near};
use crate::codec::short::short;
use crate::codec::time::TimeReader;
use crate::codec::{BYTE_ORDER_MARK, Format};
use std::fmt;

/// The first row of a partition: what stands in which column.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CsvHeader {
    /// The field of each column; `None`: not in the format.
    columns: Vec<Option<u8>>,
}

/// Why a header cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// The format itself.
    Format(FormatError),
    /// It is no row of CSV; a message.
    Syntax(String),
    /// Two columns have this name, which the format uses.
    Twice(String),
    /// No column for the meter (true) or the time (false): names that would do, and what is there.
    Missing(bool, String, String),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            HeaderError::Format(error) => error.fmt(out),
            HeaderError::Syntax(message) => write!(out, "the first row must name the columns: {message}"),
            HeaderError::Twice(name) => write!(out, "two columns are named {name:?}"),
            HeaderError::Missing(meter, names, found) => {
                let what = if *meter { "meter" } else { "time" };
                write!(out, "no column has the {what}: expected {names}; the first row names {found}")
            }
        }
    }
}

impl std::error::Error for HeaderError {}

impl CsvHeader {
    /// Reads the header from the first bytes of a partition: its first line that is not blank. Also returns how many bytes
    /// it takes: the first block starts behind them. `None`: no such line ends in `bytes`.
    pub fn read(bytes: &[u8], format: &Format) -> Result<Option<(CsvHeader, usize)>, HeaderError> {
        let mut start = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        while let Some(length) = memchr::memchr(b'\n', &bytes[start..]) {
            let line = bytes[start..start + length].trim_ascii();
            start += length + 1;
            if !line.is_empty() {
                return CsvHeader::parse(line, format).map(|header| Some((header, start)));
            }
        }
        Ok(None)
    }

    /// Reads the header from its line, with or without line end and byte-order mark.
    pub fn parse(line: &[u8], format: &Format) -> Result<CsvHeader, HeaderError> {
        let fields = Fields::new(format).map_err(HeaderError::Format)?;
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).trim_ascii_end();
        let syntax = |fault| HeaderError::Syntax(problem::syntax(fault, line, 0).1);
        check_utf8(line, 0).map_err(syntax)?;
        let (mut columns, mut names) = (Vec::new(), Vec::new());
        for cell in cells(line, 0) {
            let name = cell.map_err(syntax)?.content(line);
            columns.push(fields.cell(&name));
            names.push(format!("{:?}", String::from_utf8_lossy(&name)));
        }
        for (at, column) in columns.iter().enumerate() {
            if let Some(cell) = column.filter(|cell| columns[..at].contains(&Some(*cell))) {
                return Err(HeaderError::Twice(fields.name(cell).0.to_string()));
            }
        }
        for (is_meter, wanted) in [(true, fields.meter), (false, fields.time)] {
            if !columns.iter().flatten().any(|cell| wanted >> cell & 1 == 1) {
                return Err(HeaderError::Missing(is_meter, fields.list(wanted), names.join(", ")));
            }
        }
        Ok(CsvHeader { columns })
    }
}

/// Reads the row in `start..end` of `bytes` into `cells`.
pub fn row(
    bytes: &[u8],
    (start, end): (usize, usize),
    header: &CsvHeader,
    fields: &Fields,
    values: &mut Cells,
    times: &mut TimeReader,
) -> Result<(), Fault> {
    check_utf8(&bytes[..end], start)?;
    let mut count = 0;
    for cell in cells(&bytes[..end], start) {
        let cell = cell?;
        if let Some(field) = header.columns.get(count).copied().flatten() {
            value(bytes, &cell, field, fields.name(field).1, values, times);
        }
        count += 1;
    }
    if count == header.columns.len() {
        return Ok(());
    }
    Err(Fault { at: start, expected: Expected::Columns(header.columns.len(), count) })
}

fn value(bytes: &[u8], found: &Cell, cell: u8, role: Role, values: &mut Cells, times: &mut TimeReader) {
    let raw = (found.start, found.end);
    let text = &bytes[found.start..found.end];
    if text.is_empty() || text.eq_ignore_ascii_case(b"null") {
        return;
    }
    let span = match found.doubled {
        false => Span::of_block(found.start, found.end),
        true => values.keep(|out| out.extend(found.content(bytes))),
    };
    let number = || Decimal::scan(bytes, found.start).ok().filter(|decimal| decimal.end == found.end);
    let short = |values: &mut Cells| short(near(bytes, found.start)?, values.rest(cell));
    match role {
        Role::Channel => match short(values).filter(|(_, length)| found.start + length == found.end) {
            Some((value, _)) => values.number(cell, value),
            None => match number() {
                Some(decimal) => values.channel_number(cell, &decimal, bytes),
                None => values.wrong(cell, Problem::Type("a text"), raw),
            },
        },
        Role::Time => match number() {
            Some(decimal) => values.time_number(cell, &decimal, times),
            None => values.time_text(cell, span, times, bytes, raw),
        },
        Role::Meter => values.meter_text(cell, span, bytes, raw),
        Role::Status => values.text(cell, span),
        Role::Ignored => {}
    }
}

fn check_utf8(bytes: &[u8], start: usize) -> Result<(), Fault> {
    match std::str::from_utf8(&bytes[start..]) {
        Ok(_) => Ok(()),
        Err(error) => fault(start + error.valid_up_to(), "UTF-8"),
    }
}

/// Where the trimmed content of a cell stands.
struct Cell {
    start: usize,
    end: usize,
    /// Whether it has doubled quotes in it.
    doubled: bool,
}

impl Cell {
    /// The content, with single quotes for doubled ones.
    fn content(&self, bytes: &[u8]) -> Vec<u8> {
        let mut content = Vec::with_capacity(self.end - self.start);
        let mut at = self.start;
        while at < self.end {
            content.push(bytes[at]);
            at += if bytes[at] == b'"' { 2 } else { 1 };
        }
        content
    }
}

/// The cells of the row that starts at `at` and is all the rest of `bytes`.
fn cells(bytes: &[u8], at: usize) -> impl Iterator<Item = Result<Cell, Fault>> {
    let mut next = Some(at);
    std::iter::from_fn(move || {
        let (cell, behind) = match cell(bytes, next?) {
            Ok(found) => found,
            Err(fault) => {
                next = None;
                return Some(Err(fault));
            }
        };
        next = (behind < bytes.len()).then_some(behind + 1);
        Some(Ok(cell))
    })
}

/// The cell at `at`, and where it ends: at its comma or the end of the row.
fn cell(bytes: &[u8], at: usize) -> Result<(Cell, usize), Fault> {
    let start = trim_start(bytes, at, bytes.len());
    if bytes.get(start) == Some(&b'"') {
        return quoted_cell(bytes, start);
    }
    // Cells are short: a search by many bytes at a time would not pay.
    let special = bytes[start..].iter().position(|byte| matches!(byte, b',' | b'"'));
    let end = special.map_or(bytes.len(), |length| start + length);
    if bytes.get(end) == Some(&b'"') {
        return fault(end, "no quote inside a cell that does not start with one");
    }
    Ok((Cell { start, end: trim_end(bytes, start, end), doubled: false }, end))
}

fn quoted_cell(bytes: &[u8], quote: usize) -> Result<(Cell, usize), Fault> {
    let (mut at, mut doubled) = (quote + 1, false);
    let close = loop {
        let Some(length) = memchr::memchr(b'"', &bytes[at..]) else {
            return fault(bytes.len(), "the closing quote of a cell");
        };
        match bytes.get(at + length + 1) {
            Some(b'"') => (at, doubled) = (at + length + 2, true),
            _ => break at + length,
        }
    };
    let behind = trim_start(bytes, close + 1, bytes.len());
    if !matches!(bytes.get(behind), None | Some(b',')) {
        return fault(behind, "a comma or the end of the row behind a quoted cell");
    }
    let start = trim_start(bytes, quote + 1, close);
    Ok((Cell { start, end: trim_end(bytes, start, close), doubled }, behind))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

fn trim_start(bytes: &[u8], mut start: usize, end: usize) -> usize {
    while start < end && is_blank(bytes[start]) {
        start += 1;
    }
    start
}

fn trim_end(bytes: &[u8], start: usize, mut end: usize) -> usize {
    while start < end && is_blank(bytes[end - 1]) {
        end -= 1;
    }
    end
}
