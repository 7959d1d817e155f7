//! Baselines: which earlier readings of a meter's channel a new one is compared with.

pub mod lists;
pub mod slices;
pub mod sums;
pub mod whole;

mod last;

pub use last::Last;
pub use slices::Slices;
pub use whole::Whole;

use crate::settings::parse_duration;
use crate::state::keyed::Slot;
use crate::state::{Corrupt, Reader, Writer};
use bytemuck::Pod;
use sums::Sums;

/// What a baseline keeps of each (meter, channel), and how a value meets it. The readings come in canonical order.
pub trait Baseline {
    /// What stands in the meter's own entry; more may stand elsewhere.
    type Entry: Pod;

    /// The entry of a channel that was never read.
    const EMPTY: Self::Entry;

    /// Names the layout of what is kept.
    const KIND: (&'static str, u16);

    /// What is kept, in words; stored state of anything else is refused.
    fn describe(&self) -> String;

    /// The settings that what is kept depends on.
    fn shape(&self) -> String;

    /// The sums of the baseline of a value read at `time` (ms); the value is then part of the baselines to come.
    fn take(&mut self, slot: Slot, channel: usize, entry: &mut Self::Entry, time: i64, value: f64) -> Sums;

    /// Asks for what stands outside the entry of a meter, ahead of its use.
    #[inline]
    fn prefetch(&self, _slot: Slot) {}

    /// Asks for more of it, when the first has come.
    #[inline]
    fn prefetch_values(&self, _slot: Slot, _channel: usize, _entry: &Self::Entry, _time: i64) {}

    /// Ends a tick.
    fn close(&mut self, _watermark: i64) {}

    /// Bytes of memory outside the entries.
    fn memory(&self) -> usize {
        0
    }

    /// Appends what belongs to no group.
    fn save_global(&self, _out: &mut Writer) {}

    /// Takes it over.
    fn load_global(&mut self, _from: &mut Reader) -> Result<(), Corrupt> {
        Ok(())
    }

    /// Appends what stands outside the entries of a group; between two ticks it changes with readings of the group alone.
    fn save(&self, _group: u16, _out: &mut Writer) {}

    /// Takes it over; the entries of the group's `meters` meters are given.
    fn load(&mut self, _group: u16, _meters: usize, _entries: &[Self::Entry], _from: &mut Reader) -> Result<(), Corrupt> {
        Ok(())
    }
}

/// A baseline as it is configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// `"last N"`: the N newest readings.
    Last(usize),
    /// A duration, ms: a multiple of [`SLICES`](slices::SLICES).
    Duration(i64),
    /// `"all"`.
    All,
}

/// Most readings of `"last N"`; they are all kept, for every meter and channel.
pub const MOST: usize = 100_000;
/// Longest duration of a baseline, ms: ten years.
const LONGEST: i64 = 3_650 * 86_400_000;

impl Choice {
    /// Reads `"last N"`, a duration or `"all"`; the error says what would be right.
    pub fn parse(text: &str) -> Result<Choice, String> {
        if text == "all" {
            return Ok(Choice::All);
        }
        if let Some(number) = text.strip_prefix("last ") {
            let number = number.trim_start();
            let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            return match number.parse() {
                Ok(count) if digits && (1..=MOST).contains(&count) => Ok(Choice::Last(count)),
                _ => Err(format!("`{text}`: the number of readings is a whole number from 1 to {MOST}, as in \"last 60\"")),
            };
        }
        match parse_duration(text) {
            Some(ms) if ms > 0 && ms % slices::SLICES == 0 && ms <= LONGEST => Ok(Choice::Duration(ms)),
            Some(_) => Err(format!(
                "`{text}`: a duration of a baseline is a multiple of {} ms, from 30ms to 3650d, since it is kept in {} slices",
                slices::SLICES,
                slices::SLICES
            )),
            None => Err(format!("`{text}` is not a baseline: \"last 60\" (readings), \"5m\" (a duration) or \"all\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baselines_are_read() {
        let right = [
            ("all", Choice::All),
            ("last 1", Choice::Last(1)),
            ("last 60", Choice::Last(60)),
            ("last 100000", Choice::Last(100_000)),
            ("5m", Choice::Duration(300_000)),
            ("30ms", Choice::Duration(30)),
            ("3650d", Choice::Duration(LONGEST)),
        ];
        for (text, choice) in right {
            assert_eq!(Choice::parse(text), Ok(choice));
        }
        let wrong = [
            ("", "is not a baseline"),
            ("60", "is not a baseline"),
            ("All", "is not a baseline"),
            ("last60", "is not a baseline"),
            ("last", "is not a baseline"),
            ("last 0", "from 1 to 100000"),
            ("last 100001", "from 1 to 100000"),
            ("last +5", "from 1 to 100000"),
            ("last ", "from 1 to 100000"),
            ("last x", "from 1 to 100000"),
            ("0s", "multiple of 30 ms"),
            ("100ms", "multiple of 30 ms"),
            ("3651d", "multiple of 30 ms"),
        ];
        for (text, message) in wrong {
            let found = Choice::parse(text).unwrap_err();
            assert!(found.contains(message), "{text}: {found}");
        }
    }
}
