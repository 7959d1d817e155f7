//! The job's watermark: how far all partitions have come. It decides when windows are published, never what is late.

use crate::state::{Corrupt, Reader, Scope, State, Writer};

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
    /// (less the out_of_orderness): no reading that they use comes before that.
    pub fn new(begin: impl IntoIterator<Item = Option<i64>>) -> Watermark {
        let partition = |begin: Option<i64>| Partition { reached: begin.unwrap_or(START_OF_TIME), ended: false };
        Watermark { partitions: begin.into_iter().map(partition).collect(), current: None }
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

/// Global: the current watermark. By partition: how far it has come.
impl State for Watermark {
    fn kind(&self) -> (&'static str, u16) {
        ("watermark", 1)
    }

    fn save(&self, scope: Scope, out: &mut Writer) {
        match scope {
            Scope::Global => {
                out.value(u64::from(self.current.is_some()));
                out.value(self.current.unwrap_or_default());
            }
            Scope::Partition(partition) => {
                if let Some(partition) = self.partitions.get(partition as usize) {
                    out.value(partition.reached);
                    out.value(u64::from(partition.ended));
                }
            }
            Scope::Group(_) => {}
        }
    }

    fn load(&mut self, scope: Scope, from: &mut Reader) -> Result<(), Corrupt> {
        match scope {
            Scope::Global => {
                let known = from.value::<u64>()? == 1;
                let current = from.value()?;
                self.current = known.then_some(current);
            }
            Scope::Partition(number) => {
                let (reached, ended) = (from.value()?, from.value::<u64>()? == 1);
                let known = self.partitions.len();
                let partition = self.partitions.get_mut(number as usize);
                *partition.ok_or_else(|| Corrupt(format!("partition {number} of {known}")))? = Partition { reached, ended };
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

    #[test]
    fn the_slowest_partition_that_goes_on_decides() {
        let mut watermark = Watermark::new([Some(10), None]);
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
    fn it_survives_a_restore() {
        let mut watermark = Watermark::new([Some(10), None, Some(7)]);
        watermark.advance(1, Some(50), true);
        watermark.close();
        let scopes = [Scope::Global, Scope::Partition(0), Scope::Partition(1), Scope::Partition(2)];
        let mut again = restored(&watermark, Watermark::new([None; 3]), &scopes);
        for of in [&mut watermark, &mut again] {
            of.advance(2, Some(20), false);
            assert_eq!((of.close(), of.is_ended()), (10, false));
            of.advance(0, None, true);
            assert_eq!(of.close(), 20);
        }
    }

    #[test]
    fn it_never_goes_back() {
        let mut watermark = Watermark::new([Some(5), Some(20)]);
        watermark.advance(0, Some(30), true);
        assert_eq!(watermark.close(), 20);
        watermark.advance(0, Some(0), false);
        assert_eq!(watermark.close(), 20);
    }
}
