//! The sweeps around a kernel's call: integer sums to the ports' f32 inputs, flags to spikes, times and traces of targets, numbers to
//! digits. Built for every level of vector instructions; promises the same bits on all.

use crate::model::math;
use crate::simd::{Level, for_every_level};

for_every_level! {
    /// `input = sum * quantum`, and the sums start anew.
    pub fn take_sums(sums: &mut [i32], quantum: f32, input: &mut [f32]) {
        for (value, sum) in input.iter_mut().zip(sums) {
            *value = *sum as f32 * quantum;
            *sum = 0;
        }
    }
}

for_every_level! {
    fn any(lanes: &[u32]) -> bool {
        lanes.iter().fold(0, |any, &flag| any | flag) != 0
    }
}

/// Calls `each` with the index of every lane whose flag is set, ascending.
#[inline]
pub fn for_spikes(level: Level, flags: &[u32], mut each: impl FnMut(u32)) {
    for (group, lanes) in (0u32..).zip(flags.chunks(64)) {
        if any(level, lanes) {
            (0u32..).zip(lanes).filter(|(_, flag)| **flag != 0).for_each(|(lane, _)| each(64 * group + lane));
        }
    }
}

for_every_level! {
    /// Whether the numbers count upwards one by one.
    pub fn contiguous(numbers: &[u32]) -> bool {
        let (Some(&first), Some(last)) = (numbers.first(), numbers.last()) else { return true };
        // Most that do not end where they should.
        if last.wrapping_sub(first) as usize != numbers.len() - 1 {
            return false;
        }
        (0u32..).zip(numbers).fold(0, |other, (i, &n)| other | (n ^ first.wrapping_add(i))) == 0
    }
}

for_every_level! {
    /// Whether a value is above `limit`.
    pub fn any_above(values: &[f64], limit: f64) -> bool {
        values.iter().fold(0u64, |any, &v| any | (v > limit) as u64) != 0
    }
}

for_every_level! {
    /// `since = (at - stamp) * dt`.
    pub fn since(stamps: &[f64], at: f64, dt: f64, since: &mut [f32]) {
        for (since, stamp) in since.iter_mut().zip(stamps) {
            *since = ((at - stamp) * dt) as f32;
        }
    }
}

for_every_level! {
    /// `since = (stamp - from) * dt`, of low 32 bits, the difference below 2^31.
    pub fn since_low(stamps: &[u32], from: u32, dt: f64, since: &mut [f32]) {
        for (since, stamp) in since.iter_mut().zip(stamps) {
            *since = (stamp.wrapping_sub(from) as i32 as f64 * dt) as f32;
        }
    }
}

for_every_level! {
    /// How many numbers are below their limits.
    pub fn below(numbers: &[u32], limits: &[u32]) -> usize {
        numbers.iter().zip(limits).map(|(n, limit)| (n < limit) as u32).sum::<u32>() as usize
    }
}

for_every_level! {
    /// `word = new` where a number is below its limit.
    pub fn take_below(numbers: &[u32], limits: &[u32], new: &[u32], words: &mut [u32]) {
        for (((word, new), n), limit) in words.iter_mut().zip(new).zip(numbers).zip(limits) {
            let (new, old) = (*new, *word);
            *word = if n < limit { new } else { old };
        }
    }
}

for_every_level! {
    /// `trace *= exp(-since * rate)`, flushed.
    pub fn decay(trace: &mut [f32], since: &[f32], rate: f32) {
        for (trace, since) in trace.iter_mut().zip(since) {
            *trace = math::flush(*trace * math::exp(-since * rate));
        }
    }
}

for_every_level! {
    /// Of numbers (f32 as bits) other than 0 the least and the largest exponent bits (255 and 0: there are none), and whether any is
    /// beyond the limit (bits) or not a number; such a one counts as 0.
    pub fn exponents(numbers: &[u32], limit: u32) -> [u32; 3] {
        let (mut least, mut most, mut outside) = (255, 0, 0);
        for number in numbers {
            let size = number & 0x7fff_ffff;
            outside |= (size > limit) as u32;
            let exponent = if size > limit { 0 } else { size >> 23 };
            let other = if exponent == 0 { 255 } else { exponent };
            least = if other < least { other } else { least };
            most = if exponent > most { exponent } else { most };
        }
        [least, most, outside]
    }
}

for_every_level! {
    /// The digit of numbers (f32 as bits) whose last bit numbers with the exponent bits `unit` have as their last: the bits of `mask`
    /// there, with the number's sign. Of what is beyond the limit (bits), 0.
    pub fn digit(numbers: &[u32], limit: u32, unit: i32, mask: u32, digits: &mut [i32]) {
        for (digit, number) in digits.iter_mut().zip(numbers) {
            let size = number & 0x7fff_ffff;
            let shift = (size >> 23) as i32 - unit;
            let mantissa = if size > limit || size < 0x80_0000 { 0 } else { size & 0x7f_ffff | 0x80_0000 };
            let (left, right) = (shift.clamp(0, 31), (-shift).clamp(0, 31));
            let bits = ((mantissa << left) >> right & mask) as i32;
            let sign = *number as i32 >> 31;
            *digit = (bits ^ sign) - sign;
        }
    }
}

for_every_level! {
    /// What sums have beyond `bits` is carried to those of the next digit; what stays is not negative.
    pub fn carry(low: &mut [i32], high: &mut [i32], bits: u32) {
        for (low, high) in low.iter_mut().zip(high) {
            let carry = *low >> bits;
            *low -= carry << bits;
            *high += carry;
        }
    }
}

for_every_level! {
    /// `input += sum * unit`, and the sums start anew.
    pub fn add_sums(sums: &mut [i32], unit: f32, input: &mut [f32]) {
        for (value, sum) in input.iter_mut().zip(sums) {
            *value += *sum as f32 * unit;
            *sum = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::levels;

    #[test]
    fn every_level_gives_the_same() {
        for n in [0, 1, 17, 64, 131, 1024] {
            let sums: Vec<i32> = (0..n).map(|i: i32| (i - 60).wrapping_mul(77_777_777)).collect();
            let flags: Vec<u32> = (0..n).map(|i| (i % 41 == 3) as u32).collect();
            let expected: Vec<u32> = (0..n as u32).filter(|i| i % 41 == 3).collect();
            for level in levels() {
                let (mut taken, mut input) = (sums.clone(), vec![f32::NAN; n as usize]);
                take_sums(level, &mut taken, 0.37, &mut input);
                assert!(taken.iter().all(|s| *s == 0));
                assert!(input.iter().zip(&sums).all(|(x, s)| x.to_bits() == (*s as f32 * 0.37).to_bits()), "{level:?}");
                let mut found = Vec::new();
                for_spikes(level, &flags, |lane| found.push(lane));
                assert_eq!(found, expected, "{level:?}");
                let numbers: Vec<u32> = (0..n as u32).collect();
                let limits: Vec<u32> = flags.iter().map(|flag| 20 + 100 * flag).collect();
                let (mut words, new) = (flags.clone(), vec![7; n as usize]);
                take_below(level, &numbers, &limits, &new, &mut words);
                let kept = |i: usize| numbers[i] >= limits[i];
                assert!((0..words.len()).all(|i| words[i] == if kept(i) { flags[i] } else { 7 }), "{level:?}");
                assert_eq!(below(level, &numbers, &limits), (0..words.len()).filter(|i| !kept(*i)).count(), "{level:?}");
                let numbers: Vec<f32> = (0..n).map(|i| (i as f32 - 60.0) * 0.25).collect();
                let words: Vec<u32> = numbers.iter().map(|x| x.to_bits()).collect();
                let limit = 9f32.to_bits();
                let outside = numbers.iter().any(|x| x.abs() > 9.0) as u32;
                let inside = || numbers.iter().filter(|x| x.abs() <= 9.0 && **x != 0.0).map(|x| x.to_bits() >> 23 & 255);
                let expected = [inside().min().unwrap_or(255), inside().max().unwrap_or(0), outside];
                assert_eq!(exponents(level, &words, limit), expected, "{level:?}");
                let mut units = vec![0; n as usize];
                // Exponent bits of a number that ends at a half: 2^(150 - 1).
                digit(level, &words, limit, 149, 7, &mut units);
                let half = |x: f32| if x.abs() <= 9.0 { ((x.abs() * 2.0) as i32 & 7) * x.signum() as i32 } else { 0 };
                assert!(units.iter().zip(&numbers).all(|(d, x)| *d == half(*x)), "{level:?}");
                let (mut low, mut high) = (sums.clone(), vec![5; n as usize]);
                carry(level, &mut low, &mut high, 9);
                let whole = |(low, high): (&i32, &i32)| *low as i64 + 512 * (*high as i64 - 5);
                assert!(
                    low.iter().zip(&high).map(whole).eq(sums.iter().map(|s| *s as i64))
                        && low.iter().all(|l| (0..512).contains(l))
                );
                add_sums(level, &mut low, 0.5, &mut input);
                assert!(low.iter().all(|l| *l == 0), "{level:?}");
            }
        }
    }
}
