//! Finding the few distinct numbers of a column: meters send a handful of decimals, so most columns have few.

/// The distinct numbers of a column, ascending, and the index of each row's number.
pub struct Distinct {
    /// By [`f64::total_cmp`]; equal bits only are equal.
    pub numbers: Vec<f64>,
    /// One index a row.
    pub codes: Vec<u32>,
}

/// Fewer distinct numbers than this are always worth a dictionary.
const ALWAYS: usize = 256;

/// Finds the distinct numbers, unless they are so many that a dictionary does not pay.
///
/// An entry takes 8 bytes and an index about 2, against the 8 bytes of the number itself: a dictionary pays while fewer
/// than two rows of three bring a new number. A column that looks hopeless after a quarter of its rows is given up there.
pub fn distinct(values: &[f64]) -> Option<Distinct> {
    let limit = (values.len() * 2 / 3).max(ALWAYS);
    let early = values.len() / 4;
    let early_limit = (early * 17 / 20).max(ALWAYS);
    let mut table = Table::new();
    let mut codes = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        codes.push(table.number(value.to_bits()));
        let found = table.keys.len();
        if found > limit || (row == early && found > early_limit) {
            return None;
        }
    }
    Some(table.sorted(codes))
}

/// Numbers the distinct keys from 0 in the order of their appearance.
struct Table {
    /// Open addressing: 0 is free, else the number + 1.
    index: Vec<u32>,
    keys: Vec<u64>,
    last: u32,
}

impl Table {
    fn new() -> Table {
        Table { index: vec![0; 1024], keys: Vec::new(), last: 0 }
    }

    #[inline]
    fn number(&mut self, key: u64) -> u32 {
        if self.keys.get(self.last as usize) == Some(&key) {
            return self.last;
        }
        let mask = self.index.len() - 1;
        let mut at = place(key, mask);
        self.last = loop {
            match self.index[at] {
                0 => break self.insert(at, key),
                entry if self.keys[entry as usize - 1] == key => break entry - 1,
                _ => at = (at + 1) & mask,
            }
        };
        self.last
    }

    #[cold]
    fn insert(&mut self, at: usize, key: u64) -> u32 {
        let number = self.keys.len() as u32;
        self.keys.push(key);
        self.index[at] = number + 1;
        if self.keys.len() * 2 > self.index.len() {
            let size = self.index.len() * 4;
            self.index.clear();
            self.index.resize(size, 0);
            for (number, key) in self.keys.iter().enumerate() {
                let mut at = place(*key, size - 1);
                while self.index[at] != 0 {
                    at = (at + 1) & (size - 1);
                }
                self.index[at] = number as u32 + 1;
            }
        }
        number
    }

    fn sorted(self, mut codes: Vec<u32>) -> Distinct {
        let mut order: Vec<(f64, u32)> = self.keys.iter().map(|key| f64::from_bits(*key)).zip(0..).collect();
        order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut rank = vec![0; order.len()];
        for (position, (_, number)) in order.iter().enumerate() {
            rank[*number as usize] = position as u32;
        }
        for code in &mut codes {
            *code = rank[*code as usize];
        }
        Distinct { numbers: order.into_iter().map(|(number, _)| number).collect(), codes }
    }
}

/// The high bits of a product with an odd constant: decimals differ in the middle of the mantissa.
#[inline]
fn place(key: u64, mask: usize) -> usize {
    let mixed = (key ^ (key >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize & mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gives_up_on_many_and_not_on_few() {
        let repeat = |distinct: usize, rows: usize| -> Vec<f64> { (0..rows).map(|row| (row % distinct) as f64).collect() };
        let table = [(1, 1, true), (256, 256, true), (257, 257, false), (10_000, 20_000, false), (8_000, 20_000, false)];
        for (count, rows, found) in table {
            assert_eq!(distinct(&repeat(count, rows)).is_some(), found, "{count} in {rows}");
        }
        // The same share, but the numbers repeat within the first quarter.
        let spread: Vec<f64> = (0..20_000u32).map(|row| f64::from(row.wrapping_mul(2_654_435_761) % 8_000)).collect();
        assert!(distinct(&spread).is_some());
    }

    proptest! {
        #[test]
        fn codes_lead_back_to_the_values(
            values in prop::collection::vec(prop_oneof![(0u32..50).prop_map(f64::from), Just(-0.0), any::<f64>()], 0..256),
        ) {
            let found = distinct(&values).unwrap();
            let back: Vec<u64> = found.codes.iter().map(|code| found.numbers[*code as usize].to_bits()).collect();
            let bits: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
            prop_assert_eq!(back, bits);
            prop_assert!(found.numbers.is_sorted_by(|a, b| a.total_cmp(b).is_lt()));
        }
    }
}
