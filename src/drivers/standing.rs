//! Where a job stands after a tick: what the coordinator goes on from after a restart.
//!
//! Plans know what was known [`LAG`] ticks earlier, so it is not enough to know where each
//! partition is now: the control records of the last ticks are kept one by one, those before them as their sum.

use crate::drivers::plan::LAG;
use crate::model::control::{Opened, Taken, Tick};
use crate::state::{Corrupt, Reader, Scope, State, Writer};
use std::collections::VecDeque;

/// Of each partition and of the last ticks, what has been reported.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    /// The watermark at the close of the last tick; none before the first.
    pub watermark: Option<i64>,
    /// By partition: what was reported up to [`LAG`] ticks ago.
    pub learned: Vec<Learned>,
    /// The reports of the last ticks, at most [`LAG`]; the last one is that of the tick before `next`.
    pub recent: VecDeque<Vec<Taken>>,
    /// The tick after the last one.
    pub next: Tick,
}

/// What has been learned of a partition.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Learned {
    /// The event time at which its clock began.
    pub begin: Option<i64>,
    /// Its newest control record.
    pub taken: Option<Taken>,
}

impl Learned {
    /// Takes in a control record.
    pub fn learn(&mut self, taken: &Taken) {
        self.begin = self.begin.or(taken.newest);
        self.taken = Some(*taken);
    }
}

impl Standing {
    /// Nothing has been read yet.
    pub fn new(opened: &[Opened]) -> Standing {
        let learned = opened.iter().map(|opened| Learned { begin: opened.begin, taken: None }).collect();
        Standing { watermark: None, learned, recent: VecDeque::new(), next: 0 }
    }

    /// To be filled with what was stored of so many partitions.
    pub fn empty(partitions: usize) -> Standing {
        Standing { watermark: None, learned: vec![Learned::default(); partitions], recent: VecDeque::new(), next: 0 }
    }

    /// Takes in the end of a tick.
    pub fn close(&mut self, taken: Vec<Taken>, watermark: i64) {
        self.recent.push_back(taken);
        if self.recent.len() as u64 > LAG {
            for taken in self.recent.pop_front().into_iter().flatten() {
                self.learned[taken.partition as usize].learn(&taken);
            }
        }
        self.watermark = Some(watermark);
        self.next += 1;
    }

    /// The newest control record of each partition.
    pub fn newest(&self) -> Vec<Option<Taken>> {
        let mut newest: Vec<Option<Taken>> = self.learned.iter().map(|learned| learned.taken).collect();
        self.recent.iter().flatten().for_each(|taken| newest[taken.partition as usize] = Some(*taken));
        newest
    }
}

fn put(taken: &Taken, out: &mut Writer) {
    let Taken { tick, partition, end_offset, blocks, newest, run, ended } = *taken;
    for number in [tick, u64::from(partition), end_offset, blocks, u64::from(run.0), u64::from(ended)] {
        out.value(number);
    }
    for number in [i64::from(newest.is_some()), newest.unwrap_or_default(), run.1] {
        out.value(number);
    }
}

fn get(from: &mut Reader) -> Result<Taken, Corrupt> {
    let mut number = || from.value::<u64>();
    let (tick, partition, end_offset, blocks) = (number()?, number()?, number()?, number()?);
    let (run, ended) = (number()?, number()?);
    let (known, newest, run_min) = (from.value::<i64>()?, from.value::<i64>()?, from.value::<i64>()?);
    let (Ok(partition), Ok(run)) = (u32::try_from(partition), u8::try_from(run)) else {
        return Err(Corrupt(format!("a control record of partition {partition} with a run of {run}")));
    };
    let newest = (known == 1).then_some(newest);
    Ok(Taken { tick, partition, end_offset, blocks, newest, run: (run, run_min), ended: ended == 1 })
}

/// Global: the next tick, the watermark, the recent control records. By partition: what was learned before them.
impl State for Standing {
    fn kind(&self) -> (&'static str, u16) {
        ("ticks", 1)
    }

    fn shape(&self) -> String {
        String::new()
    }

    fn save(&self, scope: Scope, out: &mut Writer) {
        match scope {
            Scope::Global => {
                out.value(self.next);
                out.value(u64::from(self.watermark.is_some()));
                out.value(self.watermark.unwrap_or_default());
                out.value(self.recent.len() as u64);
                for taken in &self.recent {
                    out.value(taken.len() as u64);
                    taken.iter().for_each(|taken| put(taken, out));
                }
            }
            Scope::Partition(partition) => {
                if let Some(Learned { begin, taken }) = self.learned.get(partition as usize) {
                    out.value(u64::from(begin.is_some()));
                    out.value(begin.unwrap_or_default());
                    taken.iter().for_each(|taken| put(taken, out));
                }
            }
            Scope::Group(_) => {}
        }
    }

    fn load(&mut self, scope: Scope, from: &mut Reader) -> Result<(), Corrupt> {
        match scope {
            Scope::Global => {
                self.next = from.value()?;
                let known = from.value::<u64>()? == 1;
                let watermark = from.value()?;
                self.watermark = known.then_some(watermark);
                self.recent.clear();
                for _ in 0..from.value::<u64>()? {
                    let count = from.value::<u64>()?;
                    self.recent.push_back((0..count).map(|_| get(from)).collect::<Result<_, _>>()?);
                }
                if self.recent.len() as u64 != self.next.min(LAG) {
                    return Err(Corrupt(format!("{} recent ticks before tick {}", self.recent.len(), self.next)));
                }
            }
            Scope::Partition(partition) => {
                let learned = self.learned.get_mut(partition as usize);
                let learned = learned.ok_or_else(|| Corrupt(format!("there is no partition {partition}")))?;
                let known = from.value::<u64>()? == 1;
                let begin = from.value()?;
                learned.begin = known.then_some(begin);
                learned.taken = if from.is_empty() { None } else { Some(get(from)?) };
            }
            Scope::Group(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::restored;
    use proptest::prelude::*;

    #[test]
    fn begins_are_learned_once() {
        let opened = |begin| Opened { partition: 0, size: None, begin };
        let taken = |tick, newest| Taken {
            tick,
            partition: 0,
            end_offset: 9,
            blocks: tick + 1,
            newest: Some(newest),
            run: (0, 0),
            ended: false,
        };
        let mut standing = Standing::new(&[opened(None)]);
        (0..LAG + 2).for_each(|tick| standing.close(vec![taken(tick, 100 + tick as i64)], 0));
        assert_eq!(standing.learned[0], Learned { begin: Some(100), taken: Some(taken(1, 101)) });
        assert_eq!(standing.newest(), [Some(taken(LAG + 1, 101 + LAG as i64))]);
        assert_eq!(Standing::new(&[opened(Some(7))]).learned[0].begin, Some(7));
    }

    proptest! {
        #[test]
        fn a_standing_survives_saving(ticks in prop::collection::vec(prop::collection::vec((0u32..4, any::<Option<i64>>(), 0u8..16, any::<bool>()), 0..4), 0..9)) {
            let opened: Vec<Opened> = (0..4).map(|partition| Opened { partition, size: None, begin: None }).collect();
            let mut standing = Standing::new(&opened);
            for (tick, takens) in ticks.into_iter().enumerate() {
                let taken = |(partition, newest, run, ended)| Taken {
                    tick: tick as u64, partition, end_offset: 3, blocks: 4, newest, run: (run, -7), ended,
                };
                standing.close(takens.into_iter().map(taken).collect(), tick as i64 - 5);
            }
            let scopes: Vec<Scope> = [Scope::Global].into_iter().chain((0..4).map(Scope::Partition)).collect();
            prop_assert_eq!(restored(&standing, Standing::new(&opened), &scopes), standing);
        }
    }
}
