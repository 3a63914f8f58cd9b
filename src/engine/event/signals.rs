//! Global signals in continuous time: what made them jump, and their value at any moment. Promises jumps in order of time, those of
//! one tick as one jump of their sum. Knows neither neurons nor synapses.

use super::ticks::ticks;
use crate::error::{Error, Result};
use crate::model::math;
use crate::network::Modulator;

/// A signal and its jumps that some synapse may still ask for, and one before them.
pub struct Signal {
    tau: f64,
    initial: f64,
    /// (ms, amount, value just after).
    pub jumps: Vec<(f64, f64, f64)>,
    /// How many of the scenario's have happened.
    pub played: usize,
}

impl Signal {
    /// Refuses what is no number.
    pub fn new(of: &Modulator) -> Result<Signal> {
        let numbers = of.jumps.iter().flat_map(|j| [j.0, j.1]).chain([of.initial]).chain(of.spikes.iter().map(|s| s.amount));
        let delay = of.spikes.as_ref().map_or(1.0, |s| s.delay);
        if !(of.tau > 0.0 && delay > 0.0 && delay.is_finite()) || numbers.into_iter().any(|x| !x.is_finite()) {
            return Err(Error::input(
                format!("modulator `{}`: its time constant, delay, times or amounts are out of range", of.name),
                "give tau and delay above 0 ms, and finite times and amounts",
            ));
        }
        Ok(Signal { tau: of.tau, initial: of.initial, jumps: Vec::new(), played: 0 })
    }

    /// How many jumps have happened by a tick, those that coincide with it included.
    pub fn until(&self, tick: i64) -> usize {
        self.jumps.partition_point(|j| ticks(j.0) <= tick)
    }

    /// At `t` (ms) after the first `k` jumps that are kept.
    pub fn value(&self, k: usize, t: f64) -> f64 {
        let (from, value) = k.checked_sub(1).map_or((0.0, self.initial), |last| (self.jumps[last].0, self.jumps[last].2));
        math::flush64(value * (-(t - from).max(0.0) / self.tau).exp())
    }

    /// `time` (ms) is at most a tick before the last jump.
    pub fn jump(&mut self, time: f64, amount: f64) {
        let time = self.jumps.last().map_or(time, |last| time.max(last.0));
        match self.jumps.last_mut() {
            Some(last) if ticks(last.0) == ticks(time) => {
                last.1 += amount;
                last.2 += amount;
            }
            _ => self.jumps.push((time, amount, self.value(self.jumps.len(), time) + amount)),
        }
    }

    /// Forget what came before the last jump by `asked` (ms).
    pub fn forget(&mut self, asked: f64) {
        self.jumps.drain(..self.until(ticks(asked)).saturating_sub(1));
    }

    pub fn save(&self) -> Vec<u64> {
        let words = self.jumps.iter().flat_map(|j| [j.0, j.1, j.2].map(f64::to_bits));
        [self.played as u64].into_iter().chain(words).collect()
    }

    /// The reverse; None when the words do not fit.
    pub fn load(&mut self, words: &[u64]) -> Option<()> {
        let (played, rest) = words.split_first()?;
        let jumps = rest.chunks_exact(3).map(|w| (f64::from_bits(w[0]), f64::from_bits(w[1]), f64::from_bits(w[2])));
        self.jumps = jumps.collect();
        self.played = *played as usize;
        let finite = self.jumps.iter().all(|j| j.0.is_finite() && j.1.is_finite() && j.2.is_finite());
        (rest.len() % 3 == 0 && finite && self.jumps.is_sorted_by_key(|j| j.0)).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of what is left of each jump, whatever has been forgotten or stored in between.
    #[test]
    fn the_value_is_the_sum_of_decayed_jumps() {
        let of = Modulator { name: "dopamine".into(), tau: 20.0, initial: 0.5, jumps: vec![], spikes: None };
        let mut signal = Signal::new(&of).unwrap();
        let jumps = [(1.0, 2.0), (1.0 + 1e-13, -0.5), (7.25, 1.0), (30.5, 4.0), (31.0, 1.0)];
        for (k, &(time, amount)) in jumps.iter().enumerate() {
            signal.jump(time, amount);
            if k == 3 {
                signal.forget(30.0);
                assert_eq!(signal.jumps.len(), 2);
                let mut other = Signal::new(&of).unwrap();
                other.load(&signal.save()).unwrap();
                assert!(other.load(&signal.save()[1..]).is_none());
                other.load(&signal.save()).unwrap();
                signal = other;
            }
        }
        for t in [30.5, 30.75, 31.0, 80.0] {
            let sum: f64 = jumps.iter().filter(|j| j.0 <= t).map(|j| j.1 * (-(t - j.0) / 20.0f64).exp()).sum();
            let wanted = sum + 0.5 * (-t / 20.0f64).exp();
            assert!((signal.value(signal.until(ticks(t)), t) - wanted).abs() < 1e-12, "{t}");
        }
        assert!(Signal::new(&Modulator { tau: 0.0, ..of }).is_err());
    }
}
