//! Which blocks make up the next tick of a bounded input. Pure: a function of the input and the configuration.
//!
//! A tick takes blocks from the partitions that are furthest behind in event time, so that a file per meter runs side by
//! side with the others and a file per day one after the other. To keep reading while results of earlier ticks are still
//! on their way, a tick is planned with what is known [`LAG`] ticks earlier, always exactly so many; what the blocks
//! ordered since then will bring is estimated from the partition's own pace.

use crate::drivers::standing::Standing;
use crate::model::control::{Opened, Take, Taken};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Ticks that may be under way between planning and knowing.
pub const LAG: u64 = 4;

/// Plans ticks.
#[derive(Debug)]
pub struct Planner {
    block: u64,
    tick_bytes: u64,
    partitions: Vec<Partition>,
}

#[derive(Debug)]
struct Partition {
    /// Blocks that it has, where known.
    blocks: Option<u64>,
    size: Option<u64>,
    /// Next block to order.
    next: u64,
    ended: bool,
    begin: Option<i64>,
    /// Newest event time after `known` blocks.
    newest: Option<i64>,
    known: u64,
}

impl Partition {
    /// Where in event time its next block is expected to begin.
    fn position(&self) -> i64 {
        let Some(newest) = self.newest.or(self.begin) else { return i64::MIN };
        let pace = match (self.begin, self.known) {
            (Some(begin), 1..) => newest.saturating_sub(begin) / self.known as i64,
            _ => 0,
        };
        newest.saturating_add(pace.saturating_mul((self.next - self.known) as i64))
    }

    fn has_more(&self) -> bool {
        !self.ended && self.blocks.is_none_or(|blocks| self.next < blocks)
    }

    /// Bytes of the next block.
    fn weight(&self, block: u64) -> u64 {
        self.size.map_or(block, |size| (size - self.next * block).min(block)).max(1)
    }
}

impl Planner {
    /// Plans with blocks of `block` bytes and ticks of about `tick_bytes`; `partitions` by index.
    pub fn new(block: u64, tick_bytes: u64, partitions: &[Opened]) -> Planner {
        let partition = |opened: &Opened| Partition {
            blocks: opened.size.map(|size| size.div_ceil(block)),
            size: opened.size,
            next: 0,
            ended: opened.size == Some(0),
            begin: opened.begin,
            newest: None,
            known: 0,
        };
        Planner { block, tick_bytes, partitions: partitions.iter().map(partition).collect() }
    }

    /// Goes on after a tick: as if it had planned all ticks up to it, and learned what a plan knows of them.
    pub fn resume(&mut self, standing: &Standing) {
        for (partition, learned) in self.partitions.iter_mut().zip(&standing.learned) {
            partition.begin = learned.begin;
            if let Some(taken) = &learned.taken {
                (partition.known, partition.newest) = (taken.blocks, taken.newest);
                partition.ended |= taken.ended;
            }
        }
        for (partition, taken) in self.partitions.iter_mut().zip(standing.newest()) {
            partition.next = taken.map_or(partition.next, |taken| taken.blocks);
        }
    }

    /// Takes note of blocks that were ordered for a tick by an earlier run.
    pub fn repeat(&mut self, takes: &[Take]) {
        for take in takes {
            let partition = &mut self.partitions[take.partition as usize];
            partition.next = partition.next.max(take.end);
        }
    }

    /// Takes in what a partition has reported.
    pub fn learn(&mut self, taken: &Taken) {
        let partition = &mut self.partitions[taken.partition as usize];
        partition.known = taken.blocks;
        partition.newest = taken.newest;
        partition.begin = partition.begin.or(taken.newest);
        partition.ended |= taken.ended;
    }

    /// Orders the blocks of the next tick; nothing when every block has been ordered.
    pub fn plan(&mut self) -> Vec<Take> {
        // Among partitions that are as far behind, the one of which less has been ordered: nothing may be known of their pace.
        let place = |index: usize, partition: &Partition| Reverse((partition.position(), partition.next, index));
        let open = self.partitions.iter().enumerate().filter(|(_, partition)| partition.has_more());
        let mut behind: BinaryHeap<_> = open.map(|(index, partition)| place(index, partition)).collect();
        let mut takes: Vec<Take> = Vec::new();
        let mut budget = self.tick_bytes;
        while budget > 0
            && let Some(Reverse((_, _, index))) = behind.pop()
        {
            let partition = &mut self.partitions[index];
            budget = budget.saturating_sub(partition.weight(self.block));
            takes.push(Take { partition: index as u32, first: partition.next, end: partition.next + 1 });
            partition.next += 1;
            if partition.has_more() {
                behind.push(place(index, partition));
            }
        }
        takes.sort_unstable_by_key(|take| (take.partition, take.first));
        takes.dedup_by(|next, take| {
            let joins = next.partition == take.partition && next.first == take.end;
            take.end = if joins { next.end } else { take.end };
            joins
        });
        takes
    }
}

/// Bytes of a block when the configuration leaves it to us: large for few files, small for many, so that what is read
/// ahead of the slowest file stays bounded.
pub fn block_size(partitions: usize) -> u64 {
    const ALL: u64 = 8 << 20;
    let each = (ALL / partitions.max(1) as u64).max(1);
    (1 << each.ilog2()).clamp(8 << 10, 256 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(partition: u32, blocks: u64, begin: i64) -> Opened {
        Opened { partition, size: Some(blocks * 100), begin: Some(begin) }
    }

    fn taken(take: &Take, newest: i64, ended: bool) -> Taken {
        let Take { partition, end: blocks, .. } = *take;
        Taken { tick: 0, partition, end_offset: blocks * 100, blocks, newest: Some(newest), run: (0, 0), ended }
    }

    #[test]
    fn daily_files_come_one_after_the_other() {
        let mut planner = Planner::new(100, 300, &[opened(0, 4, 0), opened(1, 4, 1000)]);
        let first = planner.plan();
        assert_eq!(first, [Take { partition: 0, first: 0, end: 3 }]);
        planner.learn(&taken(&first[0], 700, false));
        let rest = [Take { partition: 0, first: 3, end: 4 }, Take { partition: 1, first: 0, end: 2 }];
        assert_eq!(planner.plan(), rest);
        assert_eq!(planner.plan(), [Take { partition: 1, first: 2, end: 4 }]);
        assert_eq!(planner.plan(), []);
    }

    #[test]
    fn files_side_by_side_are_taken_in_turn() {
        let mut planner = Planner::new(100, 200, &[opened(0, 9, 0), opened(1, 9, 5)]);
        for round in 0..9 {
            // At equal pace neither gets more than a tick ahead.
            for take in planner.plan() {
                let newest = (take.end * 1000) as i64;
                planner.learn(&taken(&take, newest, false));
                assert!(take.first.abs_diff(round) <= 1 && take.end - take.first <= 2, "{round} {take:?}");
            }
        }
    }

    #[test]
    fn files_of_unknown_pace_are_taken_in_turn() {
        let unknown = |partition| Opened { partition, size: None, begin: Some(0) };
        let take = |partition| Take { partition, first: 0, end: 2 };
        assert_eq!(Planner::new(100, 400, &[unknown(0), unknown(1)]).plan(), [take(0), take(1)]);
    }

    #[test]
    fn an_unknown_size_is_read_until_it_says_that_it_ended() {
        let mut planner = Planner::new(100, 100, &[Opened { partition: 0, size: None, begin: None }]);
        let take = planner.plan();
        assert_eq!(take.len(), 1);
        planner.learn(&taken(&take[0], 5, true));
        assert_eq!(planner.plan(), []);
    }

    #[test]
    fn an_empty_file_is_never_read() {
        assert_eq!(Planner::new(100, 100, &[opened(0, 0, 0)]).plan(), []);
    }

    #[test]
    fn blocks_shrink_with_the_number_of_files() {
        let sizes: Vec<u64> = [1, 32, 100, 1000, 100_000].map(block_size).to_vec();
        assert_eq!(sizes, [256 << 10, 256 << 10, 64 << 10, 8 << 10, 8 << 10]);
    }
}
