//! The sweeps around a kernel's call: integer sums to the ports' f32 inputs, flags to spikes, times and traces of targets, weights to
//! integers. Built for every level of vector instructions; promises the same bits on all.

use crate::model::math;
use crate::model::vector::{Level, for_every_level};

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
    /// Weights (f32 as bits) in units of a quantum, rounded half to even; whether all are within the limit. One that is not becomes 0.
    pub fn quanta(weights: &[u32], inverse: f32, limit: f32, quanta: &mut [i32]) -> bool {
        const LOW: f32 = i32::MIN as f32;
        const HIGH: f32 = 2_147_483_520.0;
        let mut outside = 0;
        for (quanta, word) in quanta.iter_mut().zip(weights) {
            let w = f32::from_bits(*word);
            let within = w.abs() <= limit;
            outside |= !within as u32;
            let kept = if within { w * inverse } else { 0.0 };
            // That they are no numbers of 32 bits is not to be expected: a limit keeps the sum of all inputs within.
            let kept = if kept > LOW { kept } else { LOW };
            let kept = if kept < HIGH { kept } else { HIGH };
            // SAFETY: between the bounds, and a number: whatever is none becomes the lower one.
            *quanta = unsafe { kept.round_ties_even().to_int_unchecked() };
        }
        outside == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::vector::levels;

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
                let weights: Vec<u32> = (0..n).map(|i| (i as f32 * 0.25 - 9.0).to_bits()).collect();
                let mut units = vec![0; n as usize];
                assert!(quanta(level, &weights, 2.0, 1e4, &mut units));
                assert!(units.iter().zip(0..).all(|(x, i)| *x == (i as f32 * 0.5 - 18.0).round_ties_even() as i32), "{level:?}");
                assert_eq!(quanta(level, &weights, 2.0, 9.0, &mut units), n <= 73, "{level:?}");
                assert!(units.iter().all(|x| x.abs() <= 18), "{level:?}");
            }
        }
    }
}
