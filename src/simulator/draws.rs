//! Random numbers by position: the n-th number of a stream is computed from the seed alone, in any order.
//!
//! The generator is splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
//! Its state is a counter, so nothing has to be drawn in sequence: any reading of any meter can be computed by itself,
//! by any thread, on any machine. All conversions use additions and multiplications only, which IEEE 754 fixes to the bit.

/// A stream of numbers; every number can also seed a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draws {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Draws {
        Draws(seed)
    }

    /// Number `n` of the stream, evenly distributed over all 64 bits.
    #[inline]
    pub fn nth(self, n: u64) -> u64 {
        let z = self.0.wrapping_add(GOLDEN.wrapping_mul(n.wrapping_add(1)));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The stream that number `n` seeds.
    #[inline]
    pub fn child(self, n: u64) -> Draws {
        Draws(self.nth(n))
    }
}

/// A number in `[0, 1)` from the high half of `draw`.
#[inline]
pub fn unit_high(draw: u64) -> f64 {
    (draw >> 32) as f64 * (1.0 / 4_294_967_296.0)
}

/// A number in `[0, 1)` from the low half of `draw`.
#[inline]
pub fn unit_low(draw: u64) -> f64 {
    f64::from(draw as u32) * (1.0 / 4_294_967_296.0)
}

/// A number in `[0, n)`.
#[inline]
pub fn below(draw: u64, n: u64) -> u64 {
    ((u128::from(draw) * u128::from(n)) >> 64) as u64
}

/// A bell-shaped number of mean 0 and standard deviation 1: the sum of four even ones, so never beyond 3.47.
#[inline]
pub fn bell(draw: u64) -> f64 {
    const MEAN: f64 = 4.0 * 32_767.5;
    const STDDEV: f64 = 37_837.227_3; // sqrt(4 * (65536^2 - 1) / 12)
    let sum = (draw & 0xffff) + (draw >> 16 & 0xffff) + (draw >> 32 & 0xffff) + (draw >> 48);
    (sum as f64 - MEAN) * (1.0 / STDDEV)
}

/// Two numbers of mean 0 and standard deviation 1, each the sum of two even ones, so never beyond 2.45.
#[inline]
pub fn triangles(draw: u64) -> (f64, f64) {
    const MEAN: f64 = 2.0 * 32_767.5;
    const STDDEV: f64 = 26_754.960_1; // sqrt(2 * (65536^2 - 1) / 12)
    let high = (draw >> 48) + (draw >> 32 & 0xffff);
    let low = (draw >> 16 & 0xffff) + (draw & 0xffff);
    ((high as f64 - MEAN) * (1.0 / STDDEV), (low as f64 - MEAN) * (1.0 / STDDEV))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_splitmix64() {
        let published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431];
        let drawn: Vec<u64> = (0..4).map(|n| Draws::new(1234567).nth(n)).collect();
        assert_eq!(drawn, published);
    }

    #[test]
    fn moments_are_as_documented() {
        let draws = Draws::new(7);
        let moments = |values: &dyn Fn(u64) -> f64| {
            let n = 100_000;
            let mean = (0..n).map(values).sum::<f64>() / n as f64;
            let variance = (0..n).map(|i| (values(i) - mean).powi(2)).sum::<f64>() / n as f64;
            (mean, variance.sqrt())
        };
        for (name, values) in [
            ("bell", &(|n| bell(draws.nth(n))) as &dyn Fn(u64) -> f64),
            ("high triangle", &|n| triangles(draws.nth(n)).0),
            ("low triangle", &|n| triangles(draws.nth(n)).1),
        ] {
            let (mean, stddev) = moments(values);
            assert!(mean.abs() < 0.01 && (stddev - 1.0).abs() < 0.01, "{name}: mean {mean}, stddev {stddev}");
        }
        for values in [unit_high, unit_low] {
            let (mean, stddev) = moments(&|n| values(draws.nth(n)));
            assert!((mean - 0.5).abs() < 0.01 && (stddev - 1.0 / 12f64.sqrt()).abs() < 0.01, "mean {mean}, stddev {stddev}");
        }
    }

    #[test]
    fn below_reaches_both_ends_and_no_further() {
        assert_eq!((below(0, 7), below(u64::MAX, 7)), (0, 6));
        let mut counts = [0; 7];
        (0..7_000).for_each(|n| counts[below(Draws::new(1).nth(n), 7) as usize] += 1);
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
