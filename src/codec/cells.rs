//! The values of the record that is being decoded, and the judgement of them when all are there.

use crate::codec::fields::{Fields, MAX_NAMES};
use crate::codec::number::Decimal;
use crate::codec::problem::Problem;
use crate::codec::time::TimeReader;
use crate::model::meter::MAX_ID;
use crate::model::reading::MAX_CHANNELS;

/// Bytes of the block, or of the cells' own buffer where escapes had to be resolved.
#[derive(Clone, Copy, Default)]
pub struct Span {
    start: usize,
    end: usize,
    own: bool,
}

impl Span {
    /// Bytes of the block.
    #[inline(always)]
    pub fn of_block(start: usize, end: usize) -> Span {
        Span { start, end, own: false }
    }
}

/// A field's last value that it cannot have.
#[derive(Clone, Copy)]
pub struct Wrong {
    /// The field.
    pub cell: u8,
    /// Why.
    pub problem: Problem,
    /// The value as it stands in the block.
    pub raw: (usize, usize),
}

/// Values by cell. Of a field that comes twice the last value holds, whether it is right, wrong or null.
pub struct Cells {
    /// Cells whose last value is right, as bits.
    seen: u64,
    /// Cells that had a wrong value; not so in the end if seen.
    bad: u64,
    numbers: [f64; MAX_NAMES],
    times: [i64; MAX_NAMES],
    texts: [Span; MAX_NAMES],
    wrongs: Vec<Wrong>,
    own: Vec<u8>,
    /// Characters that the last numbers had from their points on.
    rests: [u8; 2 * MAX_NAMES],
}

/// Values that make a reading.
pub struct Picked<'a> {
    /// The meter id.
    pub meter: &'a [u8],
    /// Event time, ms.
    pub time: i64,
    /// The status.
    pub status: Option<&'a [u8]>,
    /// Bit c is set when there is a value of channel c.
    pub present: u8,
    /// A value for each channel; 0 where absent.
    pub values: &'a [f64],
}

/// Why the values make none.
pub enum Unfit {
    /// None of these cells has a value.
    Missing(u64),
    /// A value is wrong.
    Wrong(Wrong),
}

impl Cells {
    /// Nothing yet.
    pub fn new() -> Cells {
        Cells {
            seen: 0,
            bad: 0,
            numbers: [0.0; MAX_NAMES],
            times: [0; MAX_NAMES],
            texts: [Span::default(); MAX_NAMES],
            wrongs: Vec::new(),
            own: Vec::new(),
            rests: [0; 2 * MAX_NAMES],
        }
    }

    /// Forgets the last record.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.seen = 0;
        self.bad = 0;
        if !self.wrongs.is_empty() {
            self.wrongs.clear();
        }
        if !self.own.is_empty() {
            self.own.clear();
        }
    }

    /// How many characters the last number of a field had from its point on, for reading the next. Fields that are not in
    /// the format have numbers from [`MAX_NAMES`] on.
    #[inline(always)]
    pub fn rest(&mut self, cell: u8) -> &mut u8 {
        &mut self.rests[usize::from(cell) % (2 * MAX_NAMES)]
    }

    /// The value is a finite number.
    #[inline(always)]
    pub fn number(&mut self, cell: u8, value: f64) {
        self.seen |= 1 << cell;
        self.numbers[usize::from(cell) % MAX_NAMES] = value;
    }

    /// The value is a time in range.
    #[inline(always)]
    pub fn time(&mut self, cell: u8, ms: i64) {
        self.seen |= 1 << cell;
        self.times[usize::from(cell) % MAX_NAMES] = ms;
    }

    /// The value is a text that needs no check.
    #[inline(always)]
    pub fn text(&mut self, cell: u8, text: Span) {
        self.seen |= 1 << cell;
        self.texts[usize::from(cell) % MAX_NAMES] = text;
    }

    /// The value is null: as if the field were absent.
    pub fn null(&mut self, cell: u8) {
        self.seen &= !(1 << cell);
        self.bad &= !(1 << cell);
    }

    /// The value cannot be; `raw` is where it stands in the block.
    #[cold]
    pub fn wrong(&mut self, cell: u8, problem: Problem, raw: (usize, usize)) {
        self.seen &= !(1 << cell);
        self.bad |= 1 << cell;
        self.wrongs.push(Wrong { cell, problem, raw });
    }

    /// A number of a channel; -0 is 0.
    pub fn channel_number(&mut self, cell: u8, decimal: &Decimal, bytes: &[u8]) {
        match decimal.value(bytes) {
            value if value.is_finite() => self.number(cell, value + 0.0),
            _ => self.wrong(cell, Problem::Overflow, (decimal.start, decimal.end)),
        }
    }

    /// A number of a time.
    pub fn time_number(&mut self, cell: u8, decimal: &Decimal, times: &TimeReader) {
        match times.number(decimal) {
            Ok(time) => self.time(cell, time),
            Err(problem) => self.wrong(cell, Problem::Time(problem), (decimal.start, decimal.end)),
        }
    }

    /// A text of a time; `raw` is where it stands in the block.
    pub fn time_text(&mut self, cell: u8, text: Span, times: &mut TimeReader, bytes: &[u8], raw: (usize, usize)) {
        match times.text(self.resolve(text, bytes)) {
            Ok(time) => self.time(cell, time),
            Err(problem) => self.wrong(cell, Problem::Time(problem), raw),
        }
    }

    /// A text of a meter, of any characters.
    pub fn meter_text(&mut self, cell: u8, text: Span, bytes: &[u8], raw: (usize, usize)) {
        let id = self.resolve(text, bytes);
        let printable = || id.iter().all(|byte| (b' '..0x7f).contains(byte));
        let controls = || !printable() && String::from_utf8_lossy(id).chars().any(char::is_control);
        match id.len() {
            0 => self.wrong(cell, Problem::EmptyId, raw),
            length if length > MAX_ID => self.wrong(cell, Problem::LongId(length), raw),
            _ if controls() => self.wrong(cell, Problem::ControlInId, raw),
            _ => self.text(cell, text),
        }
    }

    /// A number of a meter: an integer is taken as its decimal text.
    pub fn meter_number(&mut self, cell: u8, decimal: &Decimal, bytes: &[u8]) {
        let raw = (decimal.start, decimal.end);
        if !decimal.integer {
            self.wrong(cell, Problem::NotInteger, raw);
        } else if &bytes[raw.0..raw.1] == b"-0" {
            self.text(cell, Span::of_block(raw.0 + 1, raw.1));
        } else {
            self.meter_text(cell, Span::of_block(raw.0, raw.1), bytes, raw);
        }
    }

    /// Keeps bytes that do not stand in the block as they are: `write` appends them to the buffer that it is given.
    pub fn keep(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.own.len();
        write(&mut self.own);
        Span { start, end: self.own.len(), own: true }
    }

    /// The bytes of a span.
    #[inline(always)]
    pub fn resolve<'a>(&'a self, span: Span, bytes: &'a [u8]) -> &'a [u8] {
        let source = if span.own { &self.own } else { bytes };
        &source[span.start..span.end]
    }

    /// The reading that the values make.
    #[inline(always)]
    pub fn pick<'a>(&'a mut self, fields: &Fields, bytes: &'a [u8]) -> Result<Picked<'a>, Unfit> {
        if self.bad != 0 {
            self.check(fields)?;
        }
        let (meter, time, status) = (self.seen & fields.meter, self.seen & fields.time, self.seen & fields.status);
        if meter == 0 || time == 0 {
            return Err(Unfit::Missing(if meter == 0 { fields.meter } else { fields.time }));
        }
        let present = if fields.direct { self.close_gaps(fields.channels.len()) } else { self.choose(fields) };
        let text = |cells: u64| self.resolve(self.texts[cells.trailing_zeros() as usize % MAX_NAMES], bytes);
        Ok(Picked {
            meter: text(meter),
            time: self.times[time.trailing_zeros() as usize % MAX_NAMES],
            status: if status == 0 { None } else { Some(text(status)) },
            present,
            values: &self.numbers[..fields.channels.len()],
        })
    }

    /// Zeroes the channels that are absent; which are present.
    #[inline(always)]
    fn close_gaps(&mut self, channels: usize) -> u8 {
        let all = ((1u32 << channels) - 1) as u8;
        let present = self.seen as u8 & all;
        if present != all {
            for channel in (0..channels.min(MAX_CHANNELS)).filter(|channel| present >> channel & 1 == 0) {
                self.numbers[channel] = 0.0;
            }
        }
        present
    }

    /// Takes each channel's first name that has a value; which channels are present.
    fn choose(&mut self, fields: &Fields) -> u8 {
        let mut present = 0;
        for (channel, cells) in fields.channels.iter().enumerate() {
            let cells = self.seen & cells;
            present |= u8::from(cells != 0) << channel;
            // A channel's cells do not come before its index, so nothing that is still to be read is overwritten.
            self.numbers[channel] = if cells == 0 { 0.0 } else { self.numbers[cells.trailing_zeros() as usize % MAX_NAMES] };
        }
        present
    }

    /// The first wrong value, in the order meter, time, channels, status, among those that are taken.
    #[cold]
    fn check(&self, fields: &Fields) -> Result<(), Unfit> {
        let lists = [fields.meter, fields.time].into_iter().chain(fields.channels.iter().copied()).chain([fields.status]);
        for (place, cells) in lists.enumerate() {
            let there = (self.seen | self.bad) & cells;
            if there == 0 && place < 2 {
                return Err(Unfit::Missing(cells));
            }
            if there == 0 || self.seen >> there.trailing_zeros() & 1 == 1 {
                continue;
            }
            let taken = self.wrongs.iter().rev().find(|wrong| u32::from(wrong.cell) == there.trailing_zeros());
            return Err(Unfit::Wrong(*taken.expect("a bad cell has its wrong value noted")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::format;

    #[test]
    fn the_last_value_holds_and_nothing_piles_up() {
        let fields = Fields::new(&format()).unwrap();
        let mut cells = Cells::new();
        for _ in 0..10 {
            cells.clear();
            cells.wrong(0, Problem::Overflow, (0, 1));
            cells.null(0);
            cells.wrong(1, Problem::Overflow, (0, 1));
            cells.number(1, 5.0);
            cells.number(2, 7.0);
            cells.null(2);
            let span = cells.keep(|own| own.extend(b"id"));
            cells.text(3, span);
            cells.time(5, 42);
            let picked = cells.pick(&fields, b"").ok().expect("all that is wrong was overwritten");
            assert_eq!(
                (picked.meter, picked.time, picked.present, picked.values),
                (&b"id"[..], 42, 0b010, &[0.0, 5.0, 0.0][..])
            );
        }
        assert_eq!((cells.wrongs.len(), cells.own.len()), (2, 2));
    }

    #[test]
    fn a_wrong_value_counts_only_if_it_is_taken() {
        let fields = Fields::new(&format()).unwrap();
        let mut cells = Cells::new();
        cells.time(5, 42);
        cells.wrong(4, Problem::EmptyId, (0, 1));
        assert!(matches!(cells.pick(&fields, b""), Err(Unfit::Wrong(Wrong { cell: 4, .. }))));
        cells.text(3, Span::of_block(0, 1));
        assert!(cells.pick(&fields, b"m").is_ok());
        cells.wrong(3, Problem::LongId(65), (0, 1));
        assert!(matches!(cells.pick(&fields, b"m"), Err(Unfit::Wrong(Wrong { cell: 3, .. }))));
        cells.null(3);
        cells.null(4);
        cells.wrong(0, Problem::Overflow, (0, 1));
        assert!(matches!(cells.pick(&fields, b"m"), Err(Unfit::Missing(0b11000))));
    }
}
