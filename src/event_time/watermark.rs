//! The job's watermark: how far all partitions have come. It decides when windows are published, never what is late.

/// The watermark once every partition has ended.
pub const END_OF_TIME: i64 = i64::MAX;
/// The watermark while a partition has said nothing yet.
pub const START_OF_TIME: i64 = i64::MIN;

/// What the watermark must know of each partition.
#[derive(Clone, Debug, Default)]
pub struct Watermark {
    partitions: Vec<Partition>,
    current: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Partition {
    /// Its newest event time less its source's out_of_orderness.
    reached: i64,
    ended: bool,
}

impl Watermark {
    /// The watermark of partitions that have shown nothing but, where known, the time at which they will begin
    /// (less the out_of_orderness): no reading that they use comes before that. `current` is where it stood when a job goes
    /// on after a restart.
    pub fn new(begin: impl IntoIterator<Item = Option<i64>>, current: Option<i64>) -> Watermark {
        let partition = |begin: Option<i64>| Partition { reached: begin.unwrap_or(START_OF_TIME), ended: false };
        Watermark { partitions: begin.into_iter().map(partition).collect(), current }
    }

    /// A partition has come to `reached` (its newest less its out_of_orderness).
    pub fn advance(&mut self, partition: u32, reached: Option<i64>, ended: bool) {
        let partition = &mut self.partitions[partition as usize];
        if let Some(reached) = reached {
            partition.reached = partition.reached.max(reached);
        }
        partition.ended |= ended;
    }

    /// The watermark at the close of a tick; never less than at the one before.
    pub fn close(&mut self) -> i64 {
        let open = self.partitions.iter().filter(|partition| !partition.ended);
        let least = open.map(|partition| partition.reached).min().unwrap_or(END_OF_TIME);
        let current = self.current.map_or(least, |current| current.max(least));
        self.current = Some(current);
        current
    }

    /// Whether every partition has ended.
    pub fn is_ended(&self) -> bool {
        self.partitions.iter().all(|partition| partition.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_partition_that_goes_on_decides() {
        let mut watermark = Watermark::new([Some(10), None], None);
        assert_eq!(watermark.close(), START_OF_TIME);
        watermark.advance(1, Some(50), false);
        assert_eq!(watermark.close(), 10);
        watermark.advance(0, Some(40), true);
        assert_eq!(watermark.close(), 50);
        watermark.advance(1, Some(45), false);
        assert_eq!(watermark.close(), 50);
        watermark.advance(1, None, true);
        assert_eq!(watermark.close(), END_OF_TIME);
        assert!(watermark.is_ended());
    }

    #[test]
    fn it_goes_on_from_where_it_stood() {
        let mut watermark = Watermark::new([Some(10), None], Some(30));
        watermark.advance(1, Some(50), false);
        assert_eq!(watermark.close(), 30);
        watermark.advance(0, Some(40), false);
        assert_eq!(watermark.close(), 40);
    }

    #[test]
    fn it_never_goes_back() {
        let mut watermark = Watermark::new([Some(5), Some(20)], None);
        watermark.advance(0, Some(30), true);
        assert_eq!(watermark.close(), 20);
        watermark.advance(0, Some(0), false);
        assert_eq!(watermark.close(), 20);
    }
}
