//! Baseline `"all"`: every earlier reading, in 24 bytes a (meter, channel).

use crate::detectors::baseline::{Baseline, sums::Sums};
use crate::state::keyed::Slot;

/// All earlier readings.
pub struct Whole;

impl Baseline for Whole {
    type Entry = Sums;
    const EMPTY: Sums = Sums::EMPTY;
    const KIND: (&'static str, u16) = ("moving_average of all readings", 1);

    fn describe(&self) -> String {
        "all readings".to_string()
    }

    fn shape(&self) -> String {
        "all".to_string()
    }

    #[inline]
    fn take(&mut self, _slot: Slot, _channel: usize, entry: &mut Sums, _time: i64, value: f64) -> Sums {
        let before = *entry;
        entry.add(value);
        before
    }
}
