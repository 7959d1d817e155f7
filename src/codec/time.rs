//! Event times: numbers in a unit, and texts of RFC 3339 with an offset or in the source's time zone.

use crate::codec::number::Decimal;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// 2000-01-01T00:00:00.000Z, the first event time that is taken, ms.
pub const FIRST: i64 = 946_684_800_000;
/// 2099-12-31T23:59:59.999Z, the last, ms.
pub const LAST: i64 = 4_102_444_799_999;
const DAY: i64 = 86_400_000;

/// Why a time is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeProblem {
    /// The text does not look like RFC 3339.
    Form,
    /// It has no offset, and the source no time zone.
    NoOffset,
    /// It looks like RFC 3339, but there is no such month, day, hour, minute, second or offset.
    NoSuchTime,
    /// Before [`FIRST`] or after [`LAST`]: this many ms since the epoch.
    Outside(i128),
}

/// How the times of a source are read.
pub struct TimeReader {
    unit: i64,
    zone: Option<LocalZone>,
}

impl TimeReader {
    /// Numeric times count `unit` ms; texts without an offset are in `zone`.
    pub fn new(unit: i64, zone: Option<TimeZone>) -> TimeReader {
        TimeReader { unit, zone: zone.map(LocalZone::new) }
    }

    /// Milliseconds in a unit of numeric times.
    pub fn unit(&self) -> i64 {
        self.unit
    }

    /// The time of a whole number of units.
    #[inline(always)]
    pub fn integer(&self, units: u64) -> Option<i64> {
        let ms = i64::try_from(units).ok()?.checked_mul(self.unit)?;
        (FIRST..=LAST).contains(&ms).then_some(ms)
    }

    /// The time of any number of units; a fraction of a millisecond is cut off.
    pub fn number(&self, units: &Decimal) -> Result<i64, TimeProblem> {
        in_range(units.scaled(self.unit))
    }

    /// The time of a text.
    pub fn text(&mut self, text: &[u8]) -> Result<i64, TimeProblem> {
        let Civil { local, exists, leap, offset } = civil(text)?;
        let zone = match (offset, &mut self.zone) {
            (Some(offset), _) => Ok(offset),
            (None, Some(zone)) => Err(zone),
            (None, None) => return Err(TimeProblem::NoOffset),
        };
        if !exists {
            return Err(TimeProblem::NoSuchTime);
        }
        let time = match zone {
            Ok(offset) => local - offset,
            Err(zone) => zone.utc_of(local)?,
        };
        // A leap second is the last of a day of UTC, and counts like the first that follows.
        if leap && time.rem_euclid(DAY) >= 1000 {
            return Err(TimeProblem::NoSuchTime);
        }
        in_range(i128::from(time))
    }
}

fn in_range(ms: i128) -> Result<i64, TimeProblem> {
    match i64::try_from(ms) {
        Ok(time @ FIRST..=LAST) => Ok(time),
        _ => Err(TimeProblem::Outside(ms)),
    }
}

/// What a text says, before its zone is known.
struct Civil {
    /// Date and time of day as if they were UTC, ms.
    local: i64,
    /// Whether there is such a date and time of day.
    exists: bool,
    /// Whether the second is 60.
    leap: bool,
    /// How far ahead of UTC, ms.
    offset: Option<i64>,
}

/// Reads `2024-02-29T12:34:56.789+01:00`: any number of fraction digits or none, `T` in either case or a blank, an offset,
/// `Z` in either case or nothing.
fn civil(text: &[u8]) -> Result<Civil, TimeProblem> {
    let two = |at: usize| match text.get(at..at + 2) {
        Some([tens @ b'0'..=b'9', ones @ b'0'..=b'9']) => Ok(i64::from(tens - b'0') * 10 + i64::from(ones - b'0')),
        _ => Err(TimeProblem::Form),
    };
    let (year, month, day) = (two(0)? * 100 + two(2)?, two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    if [text[4], text[7], text[13], text[16]] != *b"--::" || !matches!(text[10], b'T' | b't' | b' ') {
        return Err(TimeProblem::Form);
    }
    let (fraction, rest) = match &text[19..] {
        [b'.', rest @ ..] => fraction(rest)?,
        rest => (0, rest),
    };
    let offset = offset(rest)?;
    let dated = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    let exists = dated && hour <= 23 && minute <= 59 && second <= 60;
    let local = days_before(year, month, day) * DAY + (hour * 3600 + minute * 60 + second) * 1000 + fraction;
    Ok(Civil { local, exists, leap: second == 60, offset })
}

/// The milliseconds that the digits behind a point say, and what follows them.
fn fraction(text: &[u8]) -> Result<(i64, &[u8]), TimeProblem> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return Err(TimeProblem::Form);
    }
    let digit = |place: usize| if place < count { i64::from(text[place] - b'0') } else { 0 };
    Ok((digit(0) * 100 + digit(1) * 10 + digit(2), &text[count..]))
}

/// `Z` or `+hh:mm` in ms; `None` for nothing.
fn offset(text: &[u8]) -> Result<Option<i64>, TimeProblem> {
    let digits = |tens: u8, ones: u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    match *text {
        [] => Ok(None),
        [b'Z' | b'z'] => Ok(Some(0)),
        [sign @ (b'+' | b'-'), h1 @ b'0'..=b'9', h2 @ b'0'..=b'9', b':', m1 @ b'0'..=b'9', m2 @ b'0'..=b'9'] => {
            let (hours, minutes) = (digits(h1, h2), digits(m1, m2));
            if hours > 23 || minutes > 59 {
                return Err(TimeProblem::NoSuchTime);
            }
            let ahead = (hours * 60 + minutes) * 60_000;
            Ok(Some(if sign == b'-' { -ahead } else { ahead }))
        }
        _ => Err(TimeProblem::Form),
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date of a time as `YYYY-MM-DD`, for messages; the year has more digits where it needs them.
pub fn date(ms: i128) -> String {
    let days = ms.div_euclid(i128::from(DAY)) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = year_of_era + era * 400 + i128::from(month >= 10);
    format!("{year:04}-{:02}-{day:02}", if month < 10 { month + 3 } else { month - 9 })
}

/// A time zone, and the stretch of local time around the last one asked for in which its offset does not change.
struct LocalZone {
    zone: TimeZone,
    /// Local times in `from..to` are `offset` ahead of UTC; ms.
    from: i64,
    to: i64,
    offset: i64,
}

impl LocalZone {
    fn new(zone: TimeZone) -> LocalZone {
        LocalZone { zone, from: 0, to: 0, offset: 0 }
    }

    /// The time of a local time: of a repeated one the first, and a missing one moves forward by what is missing.
    fn utc_of(&mut self, local: i64) -> Result<i64, TimeProblem> {
        if (self.from..self.to).contains(&local) {
            return Ok(local - self.offset);
        }
        // Far outside, where the calendar of the zone may end.
        if !(FIRST - 2 * DAY..=LAST + 2 * DAY).contains(&local) {
            return Err(TimeProblem::Outside(i128::from(local)));
        }
        let outside = |_| TimeProblem::Outside(i128::from(local));
        let civil = Offset::UTC.to_datetime(Timestamp::from_millisecond(local).map_err(outside)?);
        let time = self.zone.to_ambiguous_timestamp(civil).compatible().map_err(outside)?.as_millisecond();
        self.remember(time);
        Ok(time)
    }

    /// Finds the stretch of constant offset around `time`.
    fn remember(&mut self, time: i64) {
        let zone = &self.zone;
        let instant = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
        let offset_at = |ms: i64| i64::from(zone.to_offset(instant(ms)).seconds()) * 1000;
        let start = zone.preceding(instant(time + 1)).next().map(|change| change.timestamp().as_millisecond());
        let end = zone.following(instant(time)).next().map(|change| change.timestamp().as_millisecond());
        let offset = offset_at(time);
        // Local times shortly after a change back exist twice; the first belongs to the stretch before.
        self.from = start.map_or(FIRST - 2 * DAY, |start| start + offset.max(offset_at(start - 1)));
        self.to = end.map_or(LAST + 2 * DAY, |end| end + offset);
        self.offset = offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(zone: Option<&str>, text: &str) -> Result<i64, TimeProblem> {
        TimeReader::new(1, zone.map(|name| TimeZone::get(name).unwrap())).text(text.as_bytes())
    }

    #[test]
    fn texts_of_rfc_3339() {
        const NOON: i64 = 1_709_208_896_000; // 2024-02-29T12:14:56Z
        for (text, expected) in [
            ("2024-02-29T12:14:56Z", Ok(NOON)),
            ("2024-02-29t12:14:56z", Ok(NOON)),
            ("2024-02-29 12:14:56Z", Ok(NOON)),
            ("2024-02-29T12:14:56.7Z", Ok(NOON + 700)),
            ("2024-02-29T12:14:56.7899999999999999999999999Z", Ok(NOON + 789)),
            ("2024-02-29T13:14:56+01:00", Ok(NOON)),
            ("2024-02-29T06:44:56.001-05:30", Ok(NOON + 1)),
            ("2024-02-29T12:14:56-00:00", Ok(NOON)),
            ("2000-01-01T00:00:00Z", Ok(FIRST)),
            ("1999-12-31T23:59:59.999Z", Err(TimeProblem::Outside(i128::from(FIRST) - 1))),
            ("2000-01-01T00:30:00+01:00", Err(TimeProblem::Outside(i128::from(FIRST) - 1_800_000))),
            ("2099-12-31T23:59:59.9999Z", Ok(LAST)),
            ("2100-01-01T00:00:00Z", Err(TimeProblem::Outside(i128::from(LAST) + 1))),
            ("2016-12-31T23:59:60Z", Ok(1_483_228_800_000)),
            ("2016-12-31T18:29:60.5-05:30", Ok(1_483_228_800_500)),
            ("2016-12-31T12:00:60Z", Err(TimeProblem::NoSuchTime)),
            ("2023-02-29T12:00:00Z", Err(TimeProblem::NoSuchTime)),
            ("2100-02-29T12:00:00Z", Err(TimeProblem::NoSuchTime)),
            ("2024-13-01T12:00:00Z", Err(TimeProblem::NoSuchTime)),
            ("2024-00-01T12:00:00Z", Err(TimeProblem::NoSuchTime)),
            ("2024-04-31T12:00:00Z", Err(TimeProblem::NoSuchTime)),
            ("2024-04-30T24:00:00Z", Err(TimeProblem::NoSuchTime)),
            ("2024-04-30T23:60:00Z", Err(TimeProblem::NoSuchTime)),
            ("2024-04-30T23:00:61Z", Err(TimeProblem::NoSuchTime)),
            ("2024-04-30T23:00:00+24:00", Err(TimeProblem::NoSuchTime)),
            ("2024-04-30T23:00:00", Err(TimeProblem::NoOffset)),
            ("2024-04-30T25:00:00", Err(TimeProblem::NoOffset)),
            ("2024-04-30", Err(TimeProblem::Form)),
            ("2024-04-30T23:00Z", Err(TimeProblem::Form)),
            ("2024-04-30  23:00:00Z", Err(TimeProblem::Form)),
            ("2024-04-30T23:00:00.Z", Err(TimeProblem::Form)),
            ("2024-04-30T23:00:00,5Z", Err(TimeProblem::Form)),
            ("2024-04-30T23:00:00+0100", Err(TimeProblem::Form)),
            ("2024-04-30T23:00:00+01", Err(TimeProblem::Form)),
            ("2024-04-30T23:00:00Zx", Err(TimeProblem::Form)),
            ("24-04-30T23:00:00Z", Err(TimeProblem::Form)),
            ("2024/04/30T23:00:00Z", Err(TimeProblem::Form)),
            ("1700000000123", Err(TimeProblem::Form)),
            ("", Err(TimeProblem::Form)),
        ] {
            assert_eq!(read(None, text), expected, "{text}");
        }
    }

    #[test]
    fn a_repeated_hour_is_the_first_and_a_missing_one_moves_forward() {
        for (local, utc) in [
            ("2024-03-31T01:59:59", "2024-03-31T00:59:59Z"),
            ("2024-03-31T02:30:00", "2024-03-31T01:30:00Z"),
            ("2024-03-31T03:30:00", "2024-03-31T01:30:00Z"),
            ("2024-10-27T01:59:59", "2024-10-26T23:59:59Z"),
            ("2024-10-27T02:30:00", "2024-10-27T00:30:00Z"),
            ("2024-10-27T03:00:00", "2024-10-27T02:00:00Z"),
            ("2024-10-27 03:00:00.5+00:00", "2024-10-27T03:00:00.5Z"),
        ] {
            assert_eq!(read(Some("Europe/Paris"), local), read(None, utc), "{local}");
        }
    }

    #[test]
    fn dates_are_written_as_they_are_read() {
        for text in ["2000-01-01", "2024-02-29", "2024-03-01", "2099-12-31", "2001-12-31"] {
            assert_eq!(date(i128::from(read(None, &format!("{text}T23:59:59Z")).unwrap())), text);
        }
        assert_eq!(date(1_700_000_000), "1970-01-20");
        assert_eq!(date(-1), "1969-12-31");
        assert_eq!(date(i128::from(i64::MAX)), "292278994-08-17");
    }

    proptest! {
        /// One reader that remembers, against the library asked anew.
        #[test]
        fn a_zone_is_that_of_the_library(
            name in prop::sample::select(vec!["Europe/Paris", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata", "UTC", "Pacific/Apia"]),
            start in FIRST + DAY..LAST - DAY,
            steps in prop::collection::vec(-30 * 60_000i64..40 * 60_000, 1..50),
            near_a_change: bool,
        ) {
            let zone = TimeZone::get(name).unwrap();
            let change = zone.following(Timestamp::from_millisecond(start).unwrap()).next();
            let mut local = match change {
                Some(change) if near_a_change => change.timestamp().as_millisecond().min(LAST - DAY),
                _ => start,
            };
            local += i64::from(zone.to_offset(Timestamp::from_millisecond(local).unwrap()).seconds()) * 1000 - 4 * 3_600_000;
            let mut reader = TimeReader::new(1, Some(zone.clone()));
            for step in steps {
                local += step;
                let civil = Offset::UTC.to_datetime(Timestamp::from_millisecond(local).unwrap());
                let expected = zone.to_timestamp(civil).unwrap().as_millisecond();
                prop_assert_eq!(reader.text(civil.to_string().as_bytes()), Ok(expected), "{}", civil);
                let with_offset = Timestamp::from_millisecond(local).unwrap().to_string();
                prop_assert_eq!(reader.text(with_offset.as_bytes()), Ok(local));
            }
        }
    }
}
