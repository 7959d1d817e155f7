//! Bringing rows into the order of a file: by meter, then by what the kind of rows is sorted by.
//!
//! Meters are counted and laid out side by side, so no comparison looks at an id. Within a meter rows mostly come in
//! order, which a merge sort of runs makes use of.

use crate::codec::parquet::meters::Meters;
use std::ops::Range;

/// The places of rows in a file.
pub struct Order {
    /// Numbers of the meters in the order of their ids.
    pub meters: Vec<u32>,
    /// Where the rows of each of them start; one more at the end.
    pub starts: Vec<u32>,
}

impl Order {
    /// Lays out rows whose meters have the given `numbers`.
    pub fn new(meters: &Meters, numbers: &[u32]) -> Order {
        let mut counts = vec![0u32; meters.len()];
        for number in numbers {
            counts[*number as usize] += 1;
        }
        let meters = meters.sorted();
        let mut starts = Vec::with_capacity(meters.len() + 1);
        let mut start = 0;
        for number in &meters {
            starts.push(start);
            start += counts[*number as usize];
        }
        starts.push(start);
        Order { meters, starts }
    }

    /// What `item` makes of each row, at its meter's place, in the order of the rows.
    pub fn place<T: Copy + Default>(&self, numbers: &[u32], item: impl Fn(usize) -> T) -> Vec<T> {
        let mut next = vec![0; self.meters.len()];
        for (rank, number) in self.meters.iter().enumerate() {
            next[*number as usize] = self.starts[rank];
        }
        let mut placed = vec![T::default(); numbers.len()];
        for (row, number) in numbers.iter().enumerate() {
            let at = &mut next[*number as usize];
            placed[*at as usize] = item(row);
            *at += 1;
        }
        placed
    }

    /// The rows of each meter, in the order of the meters.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.starts.windows(2).map(|pair| pair[0] as usize..pair[1] as usize)
    }

    /// The ids of the meters that have rows in `rows`, and for each row the index of its id. A meter without rows, which
    /// only a caller's mistake could leave, does not appear.
    pub fn meters_of<'a>(&self, meters: &'a Meters, rows: Range<usize>) -> (Vec<&'a [u8]>, Vec<u32>) {
        let (mut ids, mut codes) = (Vec::new(), Vec::with_capacity(rows.len()));
        let first = self.starts.partition_point(|start| *start as usize <= rows.start).saturating_sub(1);
        for rank in first..self.meters.len() {
            let from = (self.starts[rank] as usize).max(rows.start);
            let to = (self.starts[rank + 1] as usize).min(rows.end);
            if from >= rows.end {
                break;
            }
            if from < to {
                codes.extend(std::iter::repeat_n(ids.len() as u32, to - from));
                ids.push(meters.id(self.meters[rank]));
            }
        }
        (ids, codes)
    }
}

/// Replaces codes into `texts` by indices into the texts that occur, which are returned in the order of their bytes.
pub fn localize<'a>(codes: &mut [u32], texts: &[&'a [u8]]) -> Vec<&'a [u8]> {
    const UNUSED: u32 = u32::MAX;
    let mut local = vec![UNUSED; texts.len()];
    let mut used: Vec<u32> = Vec::new();
    for code in codes.iter() {
        if local[*code as usize] == UNUSED {
            local[*code as usize] = 0;
            used.push(*code);
        }
    }
    used.sort_unstable_by_key(|code| texts[*code as usize]);
    let mut found: Vec<&[u8]> = Vec::with_capacity(used.len());
    for code in used {
        let text = texts[code as usize];
        if found.last() != Some(&text) {
            found.push(text);
        }
        local[code as usize] = found.len() as u32 - 1;
    }
    for code in codes {
        *code = local[*code as usize];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::meter::MeterKey;

    #[test]
    fn rows_stand_with_their_meter() {
        let (mut meters, mut heap) = (Meters::default(), Vec::new());
        let ids = ["c", "a", "b", "a", "c", "c"];
        let numbers: Vec<u32> = ids
            .iter()
            .map(|id| {
                let key = MeterKey::new(id.as_bytes(), &mut heap);
                meters.number(&key, &heap)
            })
            .collect();
        let order = Order::new(&meters, &numbers);
        assert_eq!(order.place(&numbers, |row| row), [1, 3, 2, 0, 4, 5]);
        assert_eq!(order.runs().collect::<Vec<_>>(), [0..2, 2..3, 3..6]);
        let table = [
            (0..6, vec!["a", "b", "c"], vec![0, 0, 1, 2, 2, 2]),
            (1..3, vec!["a", "b"], vec![0, 1]),
            (2..3, vec!["b"], vec![0]),
            (4..6, vec!["c"], vec![0, 0]),
        ];
        for (rows, ids, codes) in table {
            let (found, indices) = order.meters_of(&meters, rows.clone());
            assert!(found.iter().copied().eq(ids.iter().map(|id| id.as_bytes())), "{rows:?}");
            assert_eq!(indices, codes, "{rows:?}");
        }
    }

    #[test]
    fn codes_become_indices_into_what_occurs() {
        let mut codes = [4, 0, 4, 2, 3];
        let texts: [&[u8]; 5] = [b"x", b"never", b"b", b"x", b"a"];
        assert_eq!(localize(&mut codes, &texts), [b"a", b"b", b"x"]);
        assert_eq!(codes, [0, 2, 0, 1, 2]);
    }
}
