//! Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//! A number is a pure function of who asks and when, so results do not depend on threads, order or engine.
//! Counter = (element, time, stream, purpose), key = (seed low ^ population or projection, seed high).

/// What a random number is for; keeps the streams of one element apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Which pairs of neurons are connected.
    Connect = 1,
    /// Initial weights of synapses and matrices.
    Weight = 2,
    /// Delays.
    Delay = 3,
    /// Parameters of neurons and of drives.
    Parameter = 4,
    /// Initial states of neurons, and starting values of iterative algorithms.
    Initial = 5,
    /// Positions in space.
    Position = 6,
    /// Events of the Poisson input that belongs to a neuron.
    PoissonDrive = 7,
    /// Spikes of Poisson populations.
    PoissonSource = 8,
    /// Fluctuating currents.
    NoiseCurrent = 9,
    /// Spikes that numbers are encoded as, and choices among samples, cases and texts.
    Encoder = 10,
    /// Parameters of synapses.
    SynapseParameter = 11,
    /// Samples of weights from a posterior.
    Posterior = 12,
    /// Which token a transformer says next.
    Token = 13,
}

/// Ten rounds of Philox4x32.
#[inline(always)]
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    philox_lanes(counter.map(|word| [word.into()]), key).map(|[word]| word as u32)
}

/// The same for N counters side by side, word by word: 64-bit lanes that hold 32 bits each. Of the result only the low halves count.
/// In lanes so wide each product is one multiplication, and nothing is moved between the rounds.
#[inline(always)]
pub fn philox_lanes<const N: usize>(counters: [[u64; N]; 4], key: [u32; 2]) -> [[u64; N]; 4] {
    const LOW: u64 = u32::MAX as u64;
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counters, key);
    for _ in 0..10 {
        for i in 0..N {
            let (p0, p1) = (0xD251_1F53 * c0[i], 0xCD9E_8D57 * c2[i]);
            c0[i] = ((p1 >> 32) ^ c1[i] ^ u64::from(k0)) & LOW;
            c2[i] = ((p0 >> 32) ^ c3[i] ^ u64::from(k1)) & LOW;
            (c1[i], c3[i]) = (p1, p0);
        }
        (k0, k1) = (k0.wrapping_add(0x9E37_79B9), k1.wrapping_add(0xBB67_AE85));
    }
    [c0, c1, c2, c3]
}

/// The key of one population, projection or stimulus under a seed. `owner` is its index in the scenario.
#[inline(always)]
pub fn key(seed: u64, owner: u32) -> [u32; 2] {
    [seed as u32 ^ owner.wrapping_mul(0x9E37_79B9), (seed >> 32) as u32 ^ owner]
}

/// A sequential reader of the numbers that belong to one (element, purpose): for construction, where an element needs many.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    element: u32,
    purpose: u32,
    sub: u32,
    next: u32,
    block: [u32; 4],
}

impl Stream {
    /// `sub` tells apart several streams of one element (for instance the edges of one source).
    pub fn new(key: [u32; 2], purpose: Purpose, element: u32, sub: u32) -> Self {
        Stream { key, element, purpose: purpose as u32, sub, next: 0, block: [0; 4] }
    }

    /// The next 32 bits.
    #[inline]
    pub fn u32(&mut self) -> u32 {
        let lane = (self.next & 3) as usize;
        if lane == 0 {
            self.block = philox4x32([self.element, self.next >> 2, self.sub, self.purpose], self.key);
        }
        self.next = self.next.wrapping_add(1);
        self.block[lane]
    }

    /// Uniform in the open interval (0, 1), 53 bits.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        let bits = ((self.u32() as u64) << 21) ^ (self.u32() as u64 >> 11);
        ((bits & ((1 << 53) - 1)) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform integer in 0..n, without bias (Lemire 2019).
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        debug_assert!(n > 0);
        loop {
            let product = self.u32() as u64 * n as u64;
            let low = product as u32;
            if low >= n || low >= n.wrapping_neg() % n {
                return (product >> 32) as u32;
            }
        }
    }

    /// A random order of `items` (Fisher & Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }

    /// Standard normal (Box-Muller, one of the pair).
    #[inline]
    pub fn normal(&mut self) -> f64 {
        let (a, b) = (self.uniform(), self.uniform());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
    #[test]
    fn known_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn lanes_are_blocks() {
        let counters: [[u64; 5]; 4] = std::array::from_fn(|w| std::array::from_fn(|l| (1 << 32) - 1 - (7 * w + l) as u64));
        let lanes = philox_lanes(counters, [3, u32::MAX]);
        for lane in 0..5 {
            assert_eq!(lanes.map(|word| word[lane] as u32), philox4x32(counters.map(|word| word[lane] as u32), [3, u32::MAX]));
        }
    }

    #[test]
    fn moments_of_the_derived_draws() {
        let mut stream = Stream::new(key(7, 3), Purpose::Weight, 11, 0);
        let n = 200_000;
        let (mut mean, mut square, mut third) = (0.0, 0.0, [0usize; 3]);
        for _ in 0..n {
            let x = stream.normal();
            mean += x;
            square += x * x;
            third[stream.below(3) as usize] += 1;
        }
        assert!((mean / n as f64).abs() < 0.01);
        assert!((square / n as f64 - 1.0).abs() < 0.02);
        assert!(third.iter().all(|&c| (c as f64 / n as f64 - 1.0 / 3.0).abs() < 0.005));
    }
}
