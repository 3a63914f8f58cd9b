//! What enters a network from outside, as plain data: drives, spike trains, presented samples, and the steps that times fall into. How
//! they become spikes and currents is the business of `stimulus`. Knows no network.

use super::Values;
use crate::dataset::idx::Images;
use std::f64::consts::TAU;
use std::sync::Arc;

/// How a pixel p (0..=255) becomes spikes of the source with the pixel's index. Pixels of 0 are silent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Coding {
    /// A Poisson train of `max_rate` * p / 255 Hz while the sample is shown.
    Rate {
        /// Hz of a pixel of 255.
        max_rate: f64,
    },
    /// One spike a presentation, `window` * (256 - p) / 256 ms after its onset: the brightest first, all within (0, window].
    Latency {
        /// ms; at most as long as the presentation.
        window: f64,
    },
}

/// Samples presented one after another to a source population of one source a pixel. Presentation `i` shows sample
/// `order[i]` from `start + i * (present + rest)` on for `present` ms, then `rest` ms of nothing; after the last comes silence.
#[derive(Clone, Debug, PartialEq)]
pub struct Presentation {
    /// All samples, of one size.
    pub images: Arc<Images>,
    /// How pixels become spikes.
    pub coding: Coding,
    /// Sample of each presentation.
    pub order: Vec<u32>,
    /// ms
    pub start: f64,
    /// ms
    pub present: f64,
    /// ms
    pub rest: f64,
}

/// Input applied directly to the neurons of a population, without synapses.
#[derive(Clone, Debug)]
pub struct Drive {
    /// Unique in a network, for messages.
    pub name: String,
    /// Index into [`crate::network::Network::populations`]: whom it drives.
    pub population: usize,
    /// What it gives.
    pub kind: DriveKind,
    /// Active for start < t <= stop, ms.
    pub start: f64,
    /// Last time at which it is active, ms; may be infinite.
    pub stop: f64,
}

/// What a drive gives. Currents are in pA and go to the input that the model calls its current.
#[derive(Clone, Debug)]
pub enum DriveKind {
    /// NEST's poisson_generator: an independent train for every target.
    Poisson {
        /// Events of each target, Hz.
        rate: Values,
        /// What an event adds, in the unit of the port.
        weight: f64,
        /// Index into the target model's ports.
        port: usize,
    },
    /// A constant current.
    Dc {
        /// pA, for each target.
        amplitude: Values,
    },
    /// amplitude * sin(2 pi frequency t + phase) + offset; Hz, radians.
    Ac {
        /// pA.
        amplitude: f64,
        /// Hz.
        frequency: f64,
        /// Radians.
        phase: f64,
        /// pA.
        offset: f64,
    },
    /// (time ms, amplitude) pairs: amplitude holds from that time on.
    Step {
        /// ms and pA; strictly ascending in time. The current is 0 before the first.
        changes: Vec<(f64, f64)>,
    },
    /// Gaussian current, constant over `interval` ms, independent for each target (NEST's noise_generator).
    Noise {
        /// pA.
        mean: f64,
        /// Standard deviation, pA.
        std: f64,
        /// ms between two draws.
        interval: f64,
    },
}

/// A population that only emits.
#[derive(Clone, Debug)]
pub enum SpikeSource {
    /// Each source fires its own Poisson train at `rate` Hz between start and stop (ms).
    Poisson {
        /// Hz, for each source.
        rate: Values,
        /// ms; active for start < t <= stop.
        start: f64,
        /// ms; may be infinite.
        stop: f64,
    },
    /// Each source fires its own Poisson train, at a rate that changes in time.
    Course(Arc<Course>),
    /// Given trains.
    Trains(Arc<Trains>),
    /// Samples presented one after another.
    Presentation(Arc<Presentation>),
}

/// The rates of Poisson trains that change in time.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// ms; active for start < t <= stop.
    pub start: f64,
    /// ms; may be infinite.
    pub stop: f64,
    /// What the rates are between.
    pub shape: Shape,
}

/// How rates change in time.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// max(0, rate + amplitude * sin(2 pi frequency t + phase)), t from 0 of the simulation (NEST's sinusoidal_poisson_generator).
    Sine {
        /// Hz, for each source.
        rate: Values,
        /// Hz, for each source.
        amplitude: Values,
        /// Hz.
        frequency: f64,
        /// Radians.
        phase: f64,
    },
    /// From each time (ms, strictly ascending) on those rates (Hz); 0 before the first (NEST's inhomogeneous_poisson_generator).
    Steps(Vec<(f64, Values)>),
}

impl Course {
    /// Rate of source `i` at `t` ms between start and stop, Hz.
    pub fn rate(&self, i: usize, t: f64) -> f64 {
        match &self.shape {
            Shape::Sine { rate, amplitude, frequency, phase } => {
                let turns = (frequency * 1e-3 * t).fract();
                (rate.get(i) + amplitude.get(i) * (TAU * turns + phase).sin()).max(0.0)
            }
            Shape::Steps(changes) => self.change(t).map_or(0.0, |k| changes[k].1.get(i)),
        }
    }

    /// Which of its steps holds at `t` ms.
    pub fn change(&self, t: f64) -> Option<usize> {
        match &self.shape {
            Shape::Sine { .. } => None,
            Shape::Steps(changes) => changes.partition_point(|(from, _)| *from <= t).checked_sub(1),
        }
    }

    /// All sources have one rate at any time.
    pub fn is_uniform(&self) -> bool {
        match &self.shape {
            Shape::Sine { rate, amplitude, .. } => rate.is_uniform() && amplitude.is_uniform(),
            Shape::Steps(changes) => changes.iter().all(|(_, rate)| rate.is_uniform()),
        }
    }

    /// The highest rate of any of `n` sources at any time, Hz.
    pub fn peak(&self, n: usize) -> f64 {
        let sources = 0..if self.is_uniform() { n.min(1) } else { n };
        let of = |i: usize| match &self.shape {
            Shape::Sine { rate, amplitude, .. } => (rate.get(i) + amplitude.get(i).abs()).max(0.0),
            Shape::Steps(changes) => changes.iter().fold(0.0, |most: f64, (_, rate)| most.max(rate.get(i))),
        };
        sources.map(of).fold(0.0, f64::max)
    }
}

/// Spike times of a source population, sorted by time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trains {
    /// ms
    pub time: Vec<f64>,
    /// Local id.
    pub source: Vec<u32>,
}

/// Steps s, each covering (s*dt, (s+1)*dt], in which something between `start` and `stop` (ms) is active: start <= s*dt < stop,
/// which for times on the grid is start < stamp <= stop. Times within a thousandth of a step of the grid are on it.
pub fn active_steps(start: f64, stop: f64, dt: f64) -> std::ops::Range<u64> {
    let first = |time: f64| (time / dt - GRID).ceil().max(0.0) as u64;
    first(start)..first(stop)
}

/// The step that covers `time` ms, that is time in (s*dt, (s+1)*dt]; None for times at or before 0.
pub fn step_of(time: f64, dt: f64) -> Option<u64> {
    let end = (time / dt - GRID).ceil();
    (end >= 1.0).then(|| end as u64 - 1)
}

/// Whole steps between two times of what happens every `interval` ms: the nearest, at least one.
pub fn steps_between(interval: f64, dt: f64) -> u64 {
    ((interval / dt).round() as u64).max(1)
}

/// Whether a time (ms) is a whole number of steps.
pub fn on_grid(time: f64, dt: f64) -> bool {
    let steps = time / dt;
    (steps - steps.round()).abs() <= GRID
}

/// Fraction of a step within which a time counts as on the grid.
const GRID: f64 = 1e-3;
