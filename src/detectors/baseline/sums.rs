//! Count, mean and squared deviations of values: what a mean and a standard deviation are made of.
//!
//! Nothing is ever subtracted, so nothing drifts, and equal values give a deviation of exactly zero. Updating: Welford,
//! "Note on a method for calculating corrected sums of squares and products" (Technometrics 4, 1962). Merging: Chan, Golub,
//! LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (Stanford, 1979).
//!
//! Squares overflow beyond about 1e150: such a baseline has an infinite deviation, and no value is far from its mean.

use bytemuck::{Pod, Zeroable};

/// The sums of some values.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, PartialEq, Debug)]
pub struct Sums {
    /// How many values; whole.
    pub count: f64,
    /// Their mean; 0 without values.
    pub mean: f64,
    /// Sum of the squared deviations from the mean.
    pub squares: f64,
}

impl Sums {
    /// Of no values.
    pub const EMPTY: Sums = Sums { count: 0.0, mean: 0.0, squares: 0.0 };

    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        let deviation = value - self.mean;
        self.mean += deviation / self.count;
        self.squares += deviation * (value - self.mean);
    }

    /// The sums of the values of both.
    #[inline]
    pub fn merged(&self, other: &Sums) -> Sums {
        if self.count == 0.0 {
            return *other;
        }
        let count = self.count + other.count;
        let deviation = other.mean - self.mean;
        let share = other.count / count;
        Sums {
            count,
            mean: self.mean + deviation * share,
            squares: self.squares + other.squares + deviation * deviation * self.count * share,
        }
    }

    /// The sums of the values of all parts, in two passes around the mean of the first: exact for equal values. Four partial
    /// sums side by side, in a fixed order, keep the processor from waiting for each addition.
    pub fn of_parts<T>(parts: &[T], sums: impl Fn(&T) -> &Sums) -> Sums {
        const LANES: usize = 4;
        let Some(first) = parts.first().map(|part| sums(part).mean) else { return Sums::EMPTY };
        let (mut count, mut moved, mut squares) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for block in parts.chunks(LANES) {
            for (lane, part) in block.iter().map(&sums).enumerate() {
                count[lane] += part.count;
                moved[lane] += part.count * (part.mean - first);
                squares[lane] += part.squares;
            }
        }
        let total = |[a, b, c, d]: [f64; LANES]| (a + b) + (c + d);
        let count = total(count);
        let mean = first + total(moved) / count;
        for block in parts.chunks(LANES) {
            for (lane, part) in block.iter().map(&sums).enumerate() {
                squares[lane] += part.count * (part.mean - mean) * (part.mean - mean);
            }
        }
        Sums { count, mean, squares: total(squares) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close_to(found: f64, expected: f64, unit: f64) -> bool {
        (found - expected).abs() <= 1e-9 * unit
    }

    fn added(values: &[f64]) -> Sums {
        let mut sums = Sums::EMPTY;
        values.iter().for_each(|value| sums.add(*value));
        sums
    }

    #[test]
    fn equal_values_have_no_deviation() {
        for value in [0.1, 230.7, 1e-12, -1e9 / 3.0] {
            for count in [1, 2, 3, 7, 8, 61] {
                let values = vec![value; count];
                let expected = Sums { count: count as f64, mean: value, squares: 0.0 };
                let (left, right) = values.split_at(count / 3);
                let parts = [added(right), added(left), added(&values[..1])];
                assert_eq!(added(&values), expected);
                assert_eq!(added(left).merged(&added(right)), expected);
                assert_eq!(Sums::of_parts(&parts, |part| part), Sums { count: (count + 1) as f64, ..expected });
            }
        }
        assert_eq!(Sums::of_parts(&[], |part| part), Sums::EMPTY);
        assert_eq!(Sums::EMPTY.merged(&Sums::EMPTY), Sums::EMPTY);
    }

    proptest! {
        #[test]
        fn every_way_gives_the_same(values in prop::collection::vec(-1e3f64..1e3, 1..80), at in 0usize..80, offset in 0f64..1e6) {
            let values: Vec<f64> = values.iter().map(|value| value + offset).collect();
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            let (left, right) = values.split_at(at.min(values.len()));
            let parts: Vec<Sums> = values.chunks(at.max(1)).map(added).collect();
            for sums in [added(&values), added(left).merged(&added(right)), Sums::of_parts(&parts, |part| part)] {
                prop_assert_eq!(sums.count, count);
                prop_assert!(close_to(sums.mean, mean, mean.abs().max(1.0)), "{:?} {}", sums, mean);
                prop_assert!(close_to(sums.squares, squares, squares.max(1.0)), "{:?} {}", sums, squares);
            }
        }
    }
}
