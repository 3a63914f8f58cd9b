//! The two sweeps around a kernel's call: integer sums to the ports' f32 inputs, and flags to spikes. Built for every level of
//! vector instructions; promises the same bits on all.

use crate::model::vector::Level;

/// `input = sum * quantum`, and the sums start anew.
#[inline]
pub fn take_sums(level: Level, sums: &mut [i32], quantum: f32, input: &mut [f32]) {
    match level {
        // SAFETY: the level was detected on this processor.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { take_sums_avx512(sums, quantum, input) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { take_sums_avx2(sums, quantum, input) },
        Level::Portable => take_sums_body(sums, quantum, input),
    }
}

/// Calls `each` with the index of every lane whose flag is set, ascending.
#[inline]
pub fn for_spikes(level: Level, flags: &[u32], mut each: impl FnMut(u32)) {
    for (group, lanes) in (0u32..).zip(flags.chunks(64)) {
        let any = match level {
            // SAFETY: the level was detected on this processor.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { any_avx512(lanes) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { any_avx2(lanes) },
            Level::Portable => any_body(lanes),
        };
        if any {
            (0u32..).zip(lanes).filter(|(_, flag)| **flag != 0).for_each(|(lane, _)| each(64 * group + lane));
        }
    }
}

#[inline(always)]
fn take_sums_body(sums: &mut [i32], quantum: f32, input: &mut [f32]) {
    for (value, sum) in input.iter_mut().zip(sums) {
        *value = *sum as f32 * quantum;
        *sum = 0;
    }
}

#[inline(always)]
fn any_body(lanes: &[u32]) -> bool {
    lanes.iter().fold(0, |any, &flag| any | flag) != 0
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
fn take_sums_avx512(sums: &mut [i32], quantum: f32, input: &mut [f32]) {
    take_sums_body(sums, quantum, input);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn take_sums_avx2(sums: &mut [i32], quantum: f32, input: &mut [f32]) {
    take_sums_body(sums, quantum, input);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
fn any_avx512(lanes: &[u32]) -> bool {
    any_body(lanes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn any_avx2(lanes: &[u32]) -> bool {
    any_body(lanes)
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
