//! Sums of several digits: a port whose weights lie too far apart for one 32-bit sum has an accumulator for each digit of a long
//! binary number. Promises that no digit's sum leaves 32 bits, and that what is read back is the weight to the last bit kept. Knows
//! no network.

/// Digits of a sum at most.
pub const MOST_DIGITS: u32 = 16;
/// Exponent of the smallest unit: smaller numbers are denormal, and denormals are zero on every engine.
pub const LEAST_EXPONENT: i32 = -126;
/// Bits that are kept of a given weight: 2.4e-7 of itself.
pub const GIVEN_BITS: i32 = 22;
/// Bits of a 32-bit number.
const FLOAT_BITS: i32 = 24;
/// Largest digit of a static synapse: 16 bits, its sign included, make a narrow one.
const NARROW_BITS: u32 = 16;
/// Fewer bits in a digit than this are not worth the accumulators.
const LEAST_BITS: u32 = 4;
/// Summands that carries amount to.
const CARRIES: f64 = 4.0;

/// The accumulators of one port that hold a sum digit by digit: digit k counts units of 2^(lowest + k * bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digits {
    /// Plane of digit 0 in a block; plane p of neuron i is accumulator `p * stride + i`, and the ports are the first planes.
    pub first: u32,
    /// Number of digits (0: nothing but zeros is ever added).
    pub count: u32,
    /// Bits of a digit.
    pub bits: u32,
    /// Exponent of two of digit 0.
    pub lowest: i32,
}

/// How a static weight is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// In whole units of the port's quantum.
    #[default]
    Plain,
    /// In digits, to 2.4e-7 of itself.
    Relative,
    /// In digits, in whole units of 2^exponent (none but 0 becomes 0).
    Grid(i32),
}

/// 2^exponent, for exponents of normal numbers.
pub fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023).clamp(1, 2046) as u64) << 52)
}

/// The exponent of the highest bit of a number other than zero.
pub fn exponent(x: f64) -> i32 {
    (x.to_bits() >> 52 & 0x7ff) as i32 - 1023
}

impl Digits {
    /// Digits of the right width for `count` summands onto one neuron in one step; `dynamic`: some are numbers of 32 bits whose
    /// digits all have their sign, otherwise digits of both signs take one bit less. None: too many summands.
    pub fn width(count: f64, dynamic: bool) -> Option<u32> {
        let room = (i32::MAX as f64 / (count + CARRIES)).log2().floor();
        let bits = if dynamic { room.min(FLOAT_BITS as f64) } else { (room + 1.0).min(NARROW_BITS as f64) };
        (bits >= LEAST_BITS as f64).then_some(bits as u32)
    }

    /// Weight of one unit of each digit.
    pub fn units(&self) -> impl DoubleEndedIterator<Item = f32> + use<> {
        let Digits { count, bits, lowest, .. } = *self;
        (0..count as i32).map(move |k| power(lowest + k * bits as i32) as f32)
    }

    /// Hands over the digits of a static weight other than those that are 0, from the lowest on: (digit, value), the value between
    /// -2^(bits - 1) and 2^(bits - 1). Of 0 the lowest digit.
    #[inline]
    pub fn split(&self, weight: f64, kept: Kept, mut each: impl FnMut(u32, i32)) {
        let (mantissa, at) = kept.rounded(weight);
        if mantissa == 0 {
            return each(0, 0);
        }
        let (position, bits) = ((at - self.lowest).max(0) as u32, self.bits);
        let (mut digit, mut rest) = (position / bits, mantissa << (position % bits));
        let half = 1 << (bits - 1);
        while rest != 0 {
            let value = ((rest + half) & ((1 << bits) - 1)) - half;
            rest = (rest - value) >> bits;
            if value != 0 {
                each(digit, value as i32);
            }
            digit += 1;
        }
    }
}

impl Kept {
    /// A weight as mantissa * 2^exponent.
    #[inline]
    fn rounded(self, weight: f64) -> (i64, i32) {
        if weight == 0.0 {
            return (0, 0);
        }
        let at = match self {
            Kept::Grid(least) => least.max(exponent(weight) + 1 - FLOAT_BITS),
            _ => exponent(weight) + 1 - GIVEN_BITS,
        };
        let mantissa = (weight * power(-at)).round_ties_even() as i64;
        // The smallest is not lost.
        (if mantissa == 0 { weight.signum() as i64 } else { mantissa }, at)
    }

    /// The weight that digits hold of this one.
    #[inline]
    pub fn value(self, weight: f64) -> f64 {
        let (mantissa, at) = self.rounded(weight);
        mantissa as f64 * power(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn widths_leave_room_for_every_summand() {
        for count in [0.0, 1.0, 16.0, 1000.0, 65_000.0, 1e6, 1e8] {
            for dynamic in [false, true] {
                let Some(bits) = Digits::width(count, dynamic) else {
                    assert!(count >= 1e8);
                    continue;
                };
                let largest = 2f64.powi(bits as i32 - !dynamic as i32);
                assert!((count + 4.0) * largest <= i32::MAX as f64 && bits <= 24, "{count} {bits}");
            }
        }
        assert_eq!((Digits::width(1000.0, false), Digits::width(1000.0, true)), (Some(16), Some(21)));
    }

    proptest! {
        /// The digits of a weight add up to what is said to be kept of it, which is as near as promised.
        #[test]
        fn digits_add_up(
            mantissa in 1.0f64..2.0, scale in -80i32..60, negative: bool, bits in 4u32..25, grid in prop_oneof![Just(None), (-60i32..20).prop_map(Some)]
        ) {
            let weight = if negative { -mantissa } else { mantissa } * power(scale);
            let kept = grid.map_or(Kept::Relative, Kept::Grid);
            let digits = Digits { first: 0, count: 64, bits, lowest: -126 };
            let (mut sum, mut largest) = (0.0, 0);
            digits.split(weight, kept, |k, value| {
                sum += value as f64 * power(digits.lowest + (k * bits) as i32);
                largest = largest.max(value.unsigned_abs());
            });
            prop_assert_eq!(sum, kept.value(weight));
            prop_assert!(sum != 0.0 && largest <= 1 << (bits - 1));
            prop_assert_eq!(sum as f32 as f64, sum, "a recorded weight is the one that acts");
            let allowed = match kept {
                Kept::Grid(e) => power(e).max(weight.abs() * 6e-8),
                _ => 2.4e-7 * weight.abs(),
            };
            prop_assert!((sum - weight).abs() <= allowed, "{} for {}", sum, weight);
        }
    }
}
