//! The sum of all current drives of a population, step by step, in pA. Promises values that depend on (seed, drive, element, step)
//! only. Knows no neuron and no engine.
//!
//! In the step that covers (t, t + dt] a drive contributes its value at t, when start <= t < stop. Noise of element `e` in
//! interval `k` (counted from the start of the drive): with `w = philox4x32([e >> 2, k, k >> 32, NoiseCurrent], key(seed, drive))`
//! and `j = e & 2`, the normal variate is `sqrt(-2 ln((w[j] + 0.5) / 2^32))` times the cosine (e even) or sine (e odd) of
//! `2 pi w[j + 1] / 2^32` (Box & Muller 1958).

use crate::error::{Error, Result};
use crate::network::inputs::steps_between;
use crate::network::{Network, Values};
use crate::rng::{self, Purpose, philox4x32};
use crate::stimulus::{Drive, DriveKind, active_steps};
use std::f64::consts::TAU;
use std::ops::Range;
use std::sync::Arc;

/// All currents into one population.
#[derive(Clone, Debug)]
pub struct Currents {
    dt: f64,
    n: usize,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    active: Range<u64>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Dc(f64),
    /// One amplitude for each element of the population.
    DcEach(Arc<[f64]>),
    Ac {
        amplitude: f64,
        frequency: f64,
        phase: f64,
        offset: f64,
    },
    /// (first step, amplitude), ascending.
    Step(Vec<(u64, f64)>),
    Noise(Noise),
}

#[derive(Clone, Debug)]
struct Noise {
    mean: f64,
    std: f64,
    /// Steps.
    interval: u64,
    key: [u32; 2],
    /// What was drawn last: the interval, the elements, a value for each.
    interval_held: u64,
    held: Range<usize>,
    values: Vec<f32>,
}

impl Currents {
    /// The current drives of population `population` of a network.
    ///
    /// # Errors
    /// Amplitudes, times or intervals that are not finite or make no sense.
    pub fn new(network: &Network, population: usize) -> Result<Self> {
        let n = network.populations[population].n as usize;
        let drives = network.drives.iter().enumerate().filter(|(_, d)| d.population == population);
        Self::from_drives(drives, n, network.dt, network.stimulus_seed)
    }

    /// From drives with their index in the network; Poisson drives are passed over. `n`: size of the population; `dt` in ms.
    pub fn from_drives<'a>(drives: impl IntoIterator<Item = (usize, &'a Drive)>, n: usize, dt: f64, seed: u64) -> Result<Self> {
        let mut parts = Vec::new();
        for (owner, drive) in drives {
            if let Some(kind) = Kind::new(drive, n, dt, rng::key(seed, owner as u32))? {
                parts.push(Part { active: active_steps(drive.start, drive.stop, dt), kind });
            }
        }
        Ok(Currents { dt, n, parts })
    }

    /// No current at any time.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The current of this step where it is the same for all elements.
    pub fn uniform(&self, step: u64) -> Option<f32> {
        let mut sum = 0.0;
        for part in self.parts.iter().filter(|p| p.active.contains(&step)) {
            sum += part.kind.same_for_all(step, self.dt)?;
        }
        Some(sum as f32)
    }

    /// Writes the current of this step for the elements `range` (local ids) to `out`, of the same length. Noise is drawn once an
    /// interval for the elements asked for, so a thread best keeps its own copy and asks in ascending order.
    pub fn fill(&mut self, step: u64, range: Range<usize>, out: &mut [f32]) {
        assert!(range.end <= self.n && out.len() == range.len());
        let active = |p: &&mut Part| p.active.contains(&step);
        let same: f64 = self.parts.iter_mut().filter(active).filter_map(|p| p.kind.same_for_all(step, self.dt)).sum();
        out.fill(same as f32);
        for part in self.parts.iter_mut().filter(active) {
            match &mut part.kind {
                Kind::DcEach(amplitude) => {
                    let amplitude = &amplitude[range.clone()];
                    out.iter_mut().zip(amplitude).for_each(|(x, &a)| *x += a as f32);
                }
                Kind::Noise(noise) => {
                    let values = noise.values((step - part.active.start) / noise.interval, &range);
                    out.iter_mut().zip(values).for_each(|(x, &v)| *x += v);
                }
                Kind::Dc(_) | Kind::Ac { .. } | Kind::Step(_) => {}
            }
        }
    }
}

impl Kind {
    /// None: not a current.
    fn new(drive: &Drive, n: usize, dt: f64, key: [u32; 2]) -> Result<Option<Kind>> {
        let name = &drive.name;
        let finite = |what: &str, x: f64| match x.is_finite() {
            true => Ok(x),
            false => Err(Error::input(format!("{what} of drive `{name}` is {x}"), "give a finite number")),
        };
        Ok(Some(match &drive.kind {
            DriveKind::Poisson { .. } => return Ok(None),
            DriveKind::Dc { amplitude: Values::Uniform(a) } => Kind::Dc(finite("the amplitude", *a)?),
            DriveKind::Dc { amplitude: Values::Each(each) } => {
                if each.len() != n {
                    let message = format!("drive `{name}` gives {} amplitudes for {n} neurons", each.len());
                    return Err(Error::input(message, "give one amplitude, or one for each neuron"));
                }
                each.iter().try_for_each(|&a| finite("an amplitude", a).map(drop))?;
                Kind::DcEach(each.clone())
            }
            &DriveKind::Ac { amplitude, frequency, phase, offset } => {
                for (what, x) in
                    [("the amplitude", amplitude), ("the frequency", frequency), ("the phase", phase), ("the offset", offset)]
                {
                    finite(what, x)?;
                }
                Kind::Ac { amplitude, frequency, phase, offset }
            }
            DriveKind::Step { changes } => {
                for &(time, amplitude) in changes {
                    finite("a time", time)?;
                    finite("an amplitude", amplitude)?;
                }
                if changes.windows(2).any(|w| w[0].0 >= w[1].0) {
                    let message = format!("the changes of drive `{name}` are not in order of time");
                    return Err(Error::input(message, "sort them by time; a time may appear once"));
                }
                Kind::Step(changes.iter().map(|&(time, a)| (active_steps(time, time, dt).start, a)).collect())
            }
            &DriveKind::Noise { mean, std, interval } => {
                finite("the mean", mean)?;
                if !(std >= 0.0 && std.is_finite()) {
                    return Err(Error::input(format!("std of drive `{name}` is {std}"), "give a finite number, zero or above"));
                }
                if !(interval >= 0.999 * dt && interval.is_finite()) {
                    let message = format!("the interval of drive `{name}` is {interval} ms, the step {dt} ms");
                    return Err(Error::input(message, "give an interval of at least one step"));
                }
                let interval = steps_between(interval, dt);
                Kind::Noise(Noise { mean, std, interval, key, interval_held: 0, held: 0..0, values: Vec::new() })
            }
        }))
    }

    fn same_for_all(&self, step: u64, dt: f64) -> Option<f64> {
        match self {
            Kind::Dc(a) => Some(*a),
            Kind::Ac { amplitude, frequency, phase, offset } => {
                let turns = frequency * 1e-3 * step as f64 * dt;
                Some(amplitude * (TAU * turns.fract() + phase).sin() + offset)
            }
            Kind::Step(changes) => match changes.partition_point(|&(first, _)| first <= step) {
                0 => Some(0.0),
                k => Some(changes[k - 1].1),
            },
            Kind::DcEach(_) | Kind::Noise(_) => None,
        }
    }
}

impl Noise {
    /// The noise of an interval for the elements `range`.
    fn values(&mut self, interval: u64, range: &Range<usize>) -> &[f32] {
        if self.interval_held != interval || range.start < self.held.start || range.start > self.held.end {
            self.interval_held = interval;
            self.held = range.start..range.start;
            self.values.clear();
        }
        let (key, mean, std) = (self.key, self.mean, self.std);
        self.values.extend((self.held.end..range.end).map(|e| (mean + std * standard_normal(key, e as u32, interval)) as f32));
        self.held.end = self.held.end.max(range.end);
        &self.values[range.start - self.held.start..][..range.len()]
    }
}

/// The variate described at the head of this file.
pub(crate) fn standard_normal(key: [u32; 2], element: u32, interval: u64) -> f64 {
    let words = philox4x32([element >> 2, interval as u32, (interval >> 32) as u32, Purpose::NoiseCurrent as u32], key);
    let j = (element & 2) as usize;
    let scale = 2f64.powi(-32);
    let radius = (-2.0 * ((words[j] as f64 + 0.5) * scale).ln()).sqrt();
    let angle = TAU * words[j + 1] as f64 * scale;
    radius * if element & 1 == 0 { angle.cos() } else { angle.sin() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive(kind: DriveKind, start: f64, stop: f64) -> Drive {
        Drive { name: "d".into(), population: 0, kind, start, stop }
    }

    fn currents(drives: &[Drive]) -> Result<Currents> {
        Currents::from_drives(drives.iter().enumerate(), 10, 0.1, 7)
    }

    #[test]
    fn constant_step_and_sine_against_their_formulas() {
        let drives = [
            drive(DriveKind::Dc { amplitude: Values::Uniform(100.0) }, 1.0, 2.0),
            drive(DriveKind::Step { changes: vec![(0.5, 10.0), (1.0, -20.0)] }, 0.0, 3.0),
            drive(DriveKind::Ac { amplitude: 5.0, frequency: 40.0, phase: 0.3, offset: 2.0 }, 0.0, f64::INFINITY),
        ];
        let mut c = currents(&drives).unwrap();
        for step in 0..60u64 {
            let t = step as f64 * 0.1;
            let mut expected = 5.0 * (TAU * 0.04 * t + 0.3).sin() + 2.0;
            expected += if (10..20).contains(&step) { 100.0 } else { 0.0 };
            expected += if (10..30).contains(&step) {
                -20.0
            } else if (5..10).contains(&step) {
                10.0
            } else {
                0.0
            };
            let got = c.uniform(step).unwrap();
            assert!((got as f64 - expected).abs() < 1e-5, "step {step}: {got} for {expected}");
            let mut out = [0.0; 4];
            c.fill(step, 3..7, &mut out);
            assert_eq!(out, [got; 4]);
        }
    }

    #[test]
    fn one_amplitude_for_each() {
        let each: Vec<f64> = (0..10).map(f64::from).collect();
        let drives = [
            drive(DriveKind::Dc { amplitude: Values::Each(each.into()) }, 0.5, 1.0),
            drive(DriveKind::Dc { amplitude: Values::Uniform(1.0) }, 0.0, 9.0),
        ];
        let mut c = currents(&drives).unwrap();
        assert_eq!((c.uniform(4), c.uniform(5), c.uniform(10)), (Some(1.0), None, Some(1.0)));
        let mut out = [0.0; 3];
        c.fill(5, 4..7, &mut out);
        assert_eq!(out, [5.0, 6.0, 7.0]);
    }

    #[test]
    fn noise_is_normal_held_for_the_interval_and_independent_of_the_split() {
        let drives = [drive(DriveKind::Noise { mean: 3.0, std: 2.0, interval: 1.0 }, 0.5, f64::INFINITY)];
        let n = 10_000;
        let mut all = Currents::from_drives(drives.iter().enumerate(), n, 0.1, 7).unwrap();
        let mut part = all.clone();
        let (mut sum, mut square, mut lag, mut previous) = (0.0, 0.0, 0.0, vec![0.0; n]);
        for k in 0..40u64 {
            let mut first = vec![0.0; n];
            all.fill(5 + 10 * k, 0..n, &mut first);
            let mut last = vec![0.0; n];
            all.fill(5 + 10 * k + 9, 0..n, &mut last);
            assert_eq!(first, last, "one value for an interval");
            let mut few = [0.0; 50];
            part.fill(5 + 10 * k + 3, 120..170, &mut few);
            assert_eq!(few, first[120..170]);
            for start in [170, 150, 400, 100] {
                part.fill(5 + 10 * k + 3, start..start + 50, &mut few);
                assert_eq!(few, first[start..start + 50]);
            }
            for (x, p) in first.iter().zip(&previous) {
                let z = (*x as f64 - 3.0) / 2.0;
                sum += z;
                square += z * z;
                lag += z * p;
            }
            previous = first.iter().map(|&x| (x as f64 - 3.0) / 2.0).collect();
        }
        let count = 40.0 * n as f64;
        let bound = 5.0 / count.sqrt();
        assert!((sum / count).abs() < bound && (lag / count).abs() < bound, "{} {}", sum / count, lag / count);
        assert!((square / count - 1.0).abs() < bound * 2f64.sqrt());
        assert_eq!(all.uniform(4), Some(0.0));
        assert_eq!(all.uniform(5), None);
    }

    /// Quantiles of the normal distribution: 1, 2 and 3 standard deviations; neighbours (cosine and sine of one pair) unrelated.
    #[test]
    fn normal_quantiles() {
        let key = rng::key(1, 1);
        let n = 400_000;
        let z: Vec<f64> = (0..n).map(|e| standard_normal(key, e, 3)).collect();
        for (limit, expected) in [(1.0, 0.682_689_5), (2.0, 0.954_499_7), (3.0, 0.997_300_2f64)] {
            let inside = z.iter().filter(|x| x.abs() < limit).count() as f64 / n as f64;
            let bound = 5.0 * (expected * (1.0 - expected) / n as f64).sqrt();
            assert!((inside - expected).abs() < bound, "{inside} within {limit}");
        }
        let neighbours = z.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n as f64;
        assert!(neighbours.abs() < 5.0 / (n as f64).sqrt());
    }

    #[test]
    fn nonsense_is_refused() {
        let bad = [
            DriveKind::Dc { amplitude: Values::Uniform(f64::NAN) },
            DriveKind::Dc { amplitude: Values::Each([1.0; 3].into()) },
            DriveKind::Ac { amplitude: 1.0, frequency: f64::INFINITY, phase: 0.0, offset: 0.0 },
            DriveKind::Step { changes: vec![(2.0, 1.0), (1.0, 1.0)] },
            DriveKind::Noise { mean: 0.0, std: -1.0, interval: 1.0 },
            DriveKind::Noise { mean: 0.0, std: 1.0, interval: 0.05 },
        ];
        for kind in bad {
            assert!(currents(&[drive(kind.clone(), 0.0, 1.0)]).is_err(), "{kind:?}");
        }
    }
}
