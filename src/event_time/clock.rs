//! The event-time clock of one partition: `newest`, with protection against a flipped digit, and lateness.
//!
//! It depends on the partition's content alone, so every run over the same input judges alike.

/// So many records in a row must lie beyond `max_jump` before `newest` follows them.
pub const JUMP_RUN: u8 = 16;

/// What a source's configuration says of event time. All in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// How far behind the newest a reading may come and still be in order.
    pub out_of_orderness: i64,
    /// How much longer windows take readings in.
    pub allowed_lateness: i64,
    /// How far ahead of the newest a record may be and still move it; `None`: any distance.
    pub max_jump: Option<i64>,
    /// How far after its Kafka timestamp, or the start of the run, a record may be; `None`: any distance.
    pub future_limit: Option<i64>,
}

impl Rules {
    /// How far behind the newest a reading may come before it is late.
    pub fn tolerance(&self) -> i64 {
        self.out_of_orderness.saturating_add(self.allowed_lateness)
    }
}

/// How far one partition has come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Clock {
    newest: Option<i64>,
    /// Records in a row beyond `max_jump`, and the smallest of their times.
    run: u8,
    run_min: i64,
}

/// What must be known of a stretch of records to judge them all at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// Smallest time.
    pub min: i64,
    /// Largest time.
    pub max: i64,
    /// The most that a record lies behind the largest time before it in the stretch.
    pub drawdown: i64,
}

impl Default for Times {
    fn default() -> Self {
        Times { min: i64::MAX, max: i64::MIN, drawdown: 0 }
    }
}

impl Times {
    /// Takes in the next record.
    #[inline]
    pub fn add(&mut self, time: i64) {
        self.drawdown = self.drawdown.max(self.max.saturating_sub(time));
        self.min = self.min.min(time);
        self.max = self.max.max(time);
    }

    /// Whether no record has been taken in.
    pub fn is_empty(&self) -> bool {
        self.min > self.max
    }
}

impl Clock {
    /// The largest event time so far (less what `max_jump` holds back).
    pub fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// Whether a record with this time, if it came next, would be late.
    #[inline]
    pub fn is_late(&self, rules: &Rules, time: i64) -> bool {
        self.newest.is_some_and(|newest| time < newest.saturating_sub(rules.tolerance()))
    }

    /// Takes in the next decoded record, late or not.
    #[inline]
    pub fn advance(&mut self, rules: &Rules, time: i64) {
        let Some(limit) = rules.max_jump else {
            self.newest = Some(self.newest.map_or(time, |newest| newest.max(time)));
            return;
        };
        if let Some(newest) = self.newest
            && time <= newest.saturating_add(limit)
        {
            self.newest = Some(newest.max(time));
            self.run = 0;
            return;
        }
        self.run_min = if self.run == 0 { time } else { self.run_min.min(time) };
        self.run += 1;
        if self.run == JUMP_RUN {
            self.newest = Some(self.run_min);
            self.run = 0;
        }
    }

    /// Takes in a whole stretch if none of it is late and none of it jumps; else changes nothing and returns false,
    /// and the records must be taken in one by one.
    pub fn advance_all(&mut self, rules: &Rules, times: &Times) -> bool {
        if times.is_empty() {
            return true;
        }
        let Some(newest) = self.newest else { return false };
        let in_reach = rules.max_jump.is_none_or(|limit| times.max <= newest.saturating_add(limit));
        let furthest_behind = times.drawdown.max(newest.saturating_sub(times.min));
        if self.run != 0 || !in_reach || furthest_behind > rules.tolerance() {
            return false;
        }
        self.newest = Some(newest.max(times.max));
        true
    }

    /// Records in a row that lie too far ahead to move the newest, and the smallest of their times (0 without any).
    pub fn run(&self) -> (u8, i64) {
        (self.run, if self.run == 0 { 0 } else { self.run_min })
    }

    /// A clock that has come to `newest`, with such a run; none when no clock can have come there.
    pub fn restored(newest: Option<i64>, run: (u8, i64)) -> Option<Clock> {
        (run.0 < JUMP_RUN).then_some(Clock { newest, run: run.0, run_min: run.1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: Rules = Rules { out_of_orderness: 30, allowed_lateness: 10, max_jump: Some(1000), future_limit: None };

    fn after(rules: &Rules, times: &[i64]) -> Clock {
        let mut clock = Clock::default();
        times.iter().for_each(|time| clock.advance(rules, *time));
        clock
    }

    #[test]
    fn a_flipped_digit_does_not_move_the_newest() {
        let mut times = vec![100; 16];
        assert_eq!(after(&RULES, &times[..15]).newest(), None);
        assert_eq!(after(&RULES, &times).newest(), Some(100));
        times.push(9_000_000);
        times.push(120);
        assert_eq!(after(&RULES, &times).newest(), Some(120));
        times.extend((0..15).map(|i| 50_000 - i));
        assert_eq!(after(&RULES, &times).newest(), Some(120));
        times.push(60_000);
        assert_eq!(after(&RULES, &times).newest(), Some(50_000 - 14), "the smallest of the sixteen");
    }

    #[test]
    fn a_run_is_broken_by_a_record_within_reach() {
        let mut times = vec![100; 16];
        times.extend([9_000; 15]);
        times.push(90);
        times.extend([9_000; 15]);
        assert_eq!(after(&RULES, &times).newest(), Some(100));
    }

    #[test]
    fn without_max_jump_the_first_record_sets_it() {
        let rules = Rules { max_jump: None, ..RULES };
        assert_eq!(after(&rules, &[500]).newest(), Some(500));
        assert_eq!(after(&rules, &[500, 9_000_000, 4]).newest(), Some(9_000_000));
    }

    #[test]
    fn late_is_behind_the_newest_by_more_than_both_allowances() {
        let clock = after(&RULES, &[100; 16]);
        assert!(!clock.is_late(&RULES, 60));
        assert!(clock.is_late(&RULES, 59));
        assert!(!Clock::default().is_late(&RULES, i64::MIN));
    }

    proptest! {
        #[test]
        fn judging_a_stretch_at_once_is_judging_one_by_one(
            before in prop::collection::vec(0i64..60, 0..40),
            stretch in prop::collection::vec(prop_oneof![9 => 0i64..90, 1 => 1000i64..1200], 1..20),
            jump in prop::option::of(Just(1000i64)),
        ) {
            let rules = Rules { max_jump: jump, ..RULES };
            let (mut one, mut times) = (after(&rules, &before), Times::default());
            let mut all = one;
            let mut late = 0;
            for time in &stretch {
                late += usize::from(one.is_late(&rules, *time));
                one.advance(&rules, *time);
                times.add(*time);
            }
            if all.advance_all(&rules, &times) {
                prop_assert_eq!(late, 0);
                prop_assert_eq!(all, one);
            } else {
                prop_assert_eq!(all, after(&rules, &before));
            }
        }

        #[test]
        fn a_clock_survives_saving(times in prop::collection::vec(0i64..5000, 0..40)) {
            let clock = after(&RULES, &times);
            let back = Clock::restored(clock.newest(), clock.run()).unwrap();
            prop_assert_eq!(back.newest(), clock.newest());
            prop_assert_eq!(back.run(), clock.run());
            let next = |mut clock: Clock| (0..JUMP_RUN).map(|i| (clock.advance(&RULES, 9000 + i64::from(i)), clock.newest()).1).collect::<Vec<_>>();
            prop_assert_eq!(next(back), next(clock));
        }
    }
}
