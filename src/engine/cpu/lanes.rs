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
        let Some(&first) = numbers.first() else { return true };
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
    /// `since = steps * dt`.
    pub fn in_ms(steps: &[f64], dt: f64, since: &mut [f32]) {
        for (since, steps) in since.iter_mut().zip(steps) {
            *since = (steps * dt) as f32;
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
    /// `trace *= exp(-since * rate)`.
    pub fn decay(trace: &mut [f32], since: &[f32], rate: f32) {
        for (trace, since) in trace.iter_mut().zip(since) {
            *trace *= math::exp(-since * rate);
        }
    }
}

for_every_level! {
    /// Weights (f32 as bits) in units of a quantum, rounded half to even; whether all are within the limit. One that is not becomes 0.
    pub fn quanta(weights: &[u32], inverse: f32, limit: f32, quanta: &mut [i32]) -> bool {
        let mut outside = 0;
        for (quanta, word) in quanta.iter_mut().zip(weights) {
            let w = f32::from_bits(*word);
            let within = w.abs() <= limit;
            outside |= !within as u32;
            let kept = if within { w * inverse } else { 0.0 };
            *quanta = kept.round_ties_even() as i32;
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
            }
        }
    }
}
