//! What a job goes on from: the ticks that an earlier run has committed.

use crate::drivers::standing::Standing;
use crate::model::commit::Commit;
use crate::model::control::{Taken, Tick};

/// What an earlier run has left; the default: there was none.
#[derive(Default, Debug)]
pub struct Resume {
    /// The first tick to make: the one after the snapshot that state was restored from.
    pub first: Tick,
    /// Where the job stood before it.
    pub standing: Option<Standing>,
    /// The committed ticks from `first` on. They are made again as they were recorded, and not shown again.
    pub commits: Vec<Commit>,
    /// End after the recorded ticks, with a snapshot.
    pub only_replay: bool,
}

impl Resume {
    /// The record of a tick that is made again.
    pub fn recorded(&self, tick: Tick) -> Option<&Commit> {
        self.commits.get(usize::try_from(tick.checked_sub(self.first)?).ok()?)
    }

    /// The first tick that has not been recorded.
    pub fn live_from(&self) -> Tick {
        self.first + self.commits.len() as u64
    }

    /// Where a partition stood before the first tick to make.
    pub fn taken(&self, partition: u32) -> Option<Taken> {
        self.standing.as_ref().and_then(|standing| standing.newest().get(partition as usize).copied().flatten())
    }
}
