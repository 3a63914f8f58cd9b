//! Sums of several digits on the CPU: what dynamic synapses transmit is taken apart into the digits of their port
//! (src/network/digits.rs), and neurons put the sums of the digits together. Promises that nothing is lost of what is transmitted,
//! and that what a neuron reads does not depend on which synapses shared a call. Digits that nothing was added to are not looked at.

use super::lanes;
use crate::error::Result;
use crate::model::kernel::BLOCK;
use crate::network::Network;
use crate::network::digits::Digits;
use crate::network::fixed_point::limit;
use crate::network::synapse_table::{Block, Dynamic};
use crate::simd::{Level, level};
use std::ops::Range;

/// Exponent bits of a 32-bit number whose last bit stands for 1.
const UNIT: i32 = 150;
/// Bits of a number after its first.
const BITS: i32 = 23;

/// What adds to the digits of one port.
pub struct Adder {
    digits: Digits,
    /// Accumulators from a target's own to that of its digit 0, and from digit to digit.
    offset: usize,
    stride: usize,
    /// Nothing larger is transmitted.
    pub limit: f32,
    /// Something larger came, or what is not a number. It was not added.
    pub failed: bool,
    /// Digits that were added to since [`Adder::take_used`].
    used: Range<u32>,
    amounts: Vec<i32>,
    level: Level,
}

impl Adder {
    pub fn new(net: &Network, block: &Block, dynamic: &Dynamic) -> Result<Adder> {
        let limit = limit(&net.projections[dynamic.projection as usize])?.unwrap_or(0.0) as f32;
        let planes = dynamic.digits.first.saturating_sub(dynamic.port);
        Ok(Adder {
            digits: dynamic.digits,
            offset: planes as usize * block.stride as usize,
            stride: block.stride as usize,
            limit,
            failed: false,
            used: 0..0,
            amounts: vec![0; BLOCK],
            level: level(),
        })
    }

    /// Adds numbers (f32 as bits, at most BLOCK) to the sums of their targets.
    pub fn add(&mut self, numbers: &[u32], targets: &[u32], acc: &mut [i32]) {
        let (n, limit) = (numbers.len(), self.limit.to_bits());
        let [least, most, outside] = lanes::exponents(self.level, numbers, limit);
        self.failed |= outside != 0;
        let Digits { count, bits, lowest, .. } = self.digits;
        if most == 0 || count == 0 {
            return;
        }
        let position = |exponent: u32| (exponent as i32 - UNIT - lowest).max(0) as u32;
        let (first, last) = (position(least) / bits, ((position(most) + BITS as u32) / bits).min(count - 1));
        let contiguous = lanes::contiguous(self.level, targets);
        for digit in first..=last {
            let unit = UNIT + lowest + (digit * bits) as i32;
            let amounts = &mut self.amounts[..n];
            lanes::digit(self.level, numbers, limit, unit, (1 << bits) - 1, amounts);
            let sums = &mut acc[self.offset + digit as usize * self.stride..];
            if contiguous {
                let start = targets[0] as usize;
                sums[start..start + n].iter_mut().zip(amounts).for_each(|(sum, amount)| *sum += *amount);
            } else {
                targets.iter().zip(amounts).for_each(|(&target, amount)| sums[target as usize] += *amount);
            }
        }
        self.used = if self.used.is_empty() { first..last + 1 } else { self.used.start.min(first)..self.used.end.max(last + 1) };
    }

    /// The planes of accumulators that were added to since the last call.
    pub fn take_used(&mut self) -> Range<usize> {
        let used = std::mem::take(&mut self.used);
        let first = self.digits.first;
        (first + used.start) as usize..(first + used.end) as usize
    }
}

/// How a population reads the digits of one port.
pub struct Reader {
    /// Accumulator of the first owned neuron's digit 0, and from digit to digit.
    base: usize,
    stride: usize,
    plane: usize,
    bits: u32,
    units: Vec<f32>,
}

impl Reader {
    /// `offset`: index in the block of the first owned neuron.
    pub fn new(digits: &Digits, block: &Block, offset: u32) -> Reader {
        let (stride, plane) = (block.stride as usize, digits.first as usize);
        Reader { base: plane * stride + offset as usize, stride, plane, bits: digits.bits, units: digits.units().collect() }
    }

    pub fn planes(&self) -> Range<usize> {
        self.plane..self.plane + self.units.len()
    }

    /// Accumulator of a digit of the first owned neuron.
    pub fn base(&self, digit: u32) -> usize {
        self.base + digit as usize * self.stride
    }

    /// Adds the sums of the owned neurons from `start` on to their input, and the sums start anew. `touched`: planes that may hold
    /// other than 0. Each digit hands its carry upwards, so that those below the highest are not negative and the parts add up
    /// from the largest on without one cancelling another.
    pub fn take(&self, level: Level, acc: &mut [i32], touched: &[bool], start: usize, sums: &mut [f32], input: &mut [f32]) {
        let mut digits = (0..self.units.len()).filter(|k| touched[self.plane + k]);
        let Some(first) = digits.next() else { return };
        let last = digits.last().unwrap_or(first);
        let (n, at) = (input.len(), |digit: usize| self.base + digit * self.stride + start);
        for digit in first..last {
            let (low, high) = acc.split_at_mut(at(digit + 1));
            lanes::carry(level, &mut low[at(digit)..][..n], &mut high[..n], self.bits);
        }
        sums[..n].fill(0.0);
        for digit in (first..=last).rev() {
            lanes::add_sums(level, &mut acc[at(digit)..][..n], self.units[digit], &mut sums[..n]);
        }
        input.iter_mut().zip(sums).for_each(|(input, sum)| *input += *sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers of 32 bits: of all sizes, of one size, or 0.
    fn numbers() -> impl Strategy<Value = Vec<f32>> {
        let wild =
            (1.0f32..2.0, -90i32..13, any::<bool>()).prop_map(|(m, e, neg)| m * 2f32.powi(e) * if neg { -1.0 } else { 1.0 });
        proptest::collection::vec(prop_oneof![2 => wild, 2 => -1f32..1.0, 1 => Just(0.0)], 1..300)
    }

    proptest! {
        /// What a neuron reads is the sum of the numbers in double precision, whichever calls and digits they went through.
        #[test]
        fn numbers_are_summed_exactly(all in numbers(), bits in 6u32..22, per_call in 1usize..64) {
            let (n, planes) = (16usize, 4 + 160 / bits);
            let block = Block { slices: vec![0..16], offset: vec![0], stride: 16, ports: planes };
            let digits = Digits { first: 2, count: (14 + 126) / bits, bits, lowest: 14 - ((14 + 126) / bits * bits) as i32 };
            let adder = |limit: f32| Adder {
                digits, offset: 16, stride: 16, limit, failed: false, used: 0..0, amounts: vec![0; BLOCK], level: level(),
            };
            let reader = Reader::new(&digits, &block, 0);
            let mut whole: Option<Vec<u32>> = None;
            for some in [per_call, BLOCK] {
                let (mut acc, mut adder) = (vec![0; planes as usize * n], adder(8192.0));
                let mut touched = vec![false; planes as usize];
                for (k, chunk) in all.chunks(some.min(n)).enumerate() {
                    let words: Vec<u32> = chunk.iter().map(|x| x.to_bits()).collect();
                    // Port 1's own accumulators begin at 16; neighbours, or scattered.
                    let targets: Vec<u32> = (0..words.len() as u32).map(|i| 16 + if k % 2 == 0 { i } else { i * 7 % 16 }).collect();
                    let few = 1usize << (30 - bits).min(20);
                    if (k + 1) * some.min(n) > few { break; }
                    adder.add(&words, &targets, &mut acc);
                }
                adder.take_used().for_each(|p| touched[p] = true);
                prop_assert!(!adder.failed && acc[..2 * n].iter().all(|a| *a == 0));
                let (mut sums, mut input) = (vec![9.0; n], vec![0.0; n]);
                reader.take(level(), &mut acc, &touched, 0, &mut sums, &mut input);
                prop_assert!(acc.iter().all(|a| *a == 0), "sums start anew");
                let (mut exact, mut size) = (vec![0.0f64; n], vec![0.0f64; n]);
                for (k, chunk) in all.chunks(some.min(n)).enumerate() {
                    let few = 1usize << (30 - bits).min(20);
                    if (k + 1) * some.min(n) > few { break; }
                    for (i, x) in chunk.iter().enumerate() {
                        let target = if k % 2 == 0 { i } else { i * 7 % 16 };
                        exact[target] += *x as f64;
                        size[target] += x.abs() as f64;
                    }
                }
                for ((x, exact), size) in input.iter().zip(&exact).zip(&size) {
                    // Sixty bits of the largest number are far more than the double precision of this sum needs.
                    prop_assert!((*x as f64 - exact).abs() <= 1.3e-7 * exact.abs() + 1e-15 * size, "{x} for {exact}");
                }
                let words: Vec<u32> = input.iter().map(|x| x.to_bits()).collect();
                if some >= n { whole.get_or_insert(words); }
            }
            // Beyond the limit nothing is added, and it is said.
            let (mut acc, mut adder) = (vec![0; planes as usize * n], adder(1.0));
            adder.add(&[1f32.to_bits(), 1.5f32.to_bits(), f32::NAN.to_bits()], &[16, 17, 18], &mut acc);
            prop_assert!(adder.failed && acc.iter().enumerate().all(|(i, a)| *a == 0 || i % 16 == 0));
        }
    }
}
