//! The spikes of source populations, step by step, on a grid. Promises that they depend on (seed, population, element, step) only,
//! so ranges of a population may be emitted by different threads. Knows no engine.

use crate::error::{Error, Result};
use crate::network::{Cell, Network, Values};
use crate::rng;
use crate::stimulus::encode::{Coding, Presentation};
use crate::stimulus::poisson::{self, Table};
use crate::stimulus::{Course, Shape, SpikeSource, active_steps, step_of};
use std::ops::Range;
use std::sync::Arc;

/// Emits the spikes of the sources `range` of one population.
///
/// Step s covers (s*dt, (s+1)*dt] and its spikes are stamped (s+1)*dt. A given time on the grid is exactly that stamp; a time
/// between two grid points is rounded up to the later one.
#[derive(Clone, Debug)]
pub struct SourceEmitter {
    dt: f64,
    key: [u32; 2],
    range: Range<u32>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Poisson {
        table: Table,
        active: Range<u64>,
    },
    /// `table` holds the rates of the step or, of a course in steps, of the change `held`.
    Course {
        course: Arc<Course>,
        active: Range<u64>,
        table: Table,
        held: Option<usize>,
    },
    Trains(Vec<(u64, u32)>),
    /// `table.row_of_element` holds the pixels of presentation `shown`.
    Rate {
        schedule: Arc<Presentation>,
        table: Table,
        shown: Option<usize>,
    },
    /// Spikes (step, source) of the presentations `loaded`.
    Latency {
        schedule: Arc<Presentation>,
        loaded: Range<usize>,
        spikes: Vec<(u64, u32)>,
    },
}

impl SourceEmitter {
    /// For a source population of a network; None for a population of neurons.
    pub fn of(network: &Network, population: usize, range: Range<u32>) -> Result<Option<Self>> {
        let p = &network.populations[population];
        match &p.cell {
            Cell::Source(source) => Self::new(source, p.n, network.dt, network.stimulus_seed, population as u32, range).map(Some),
            Cell::Neuron(_) => Ok(None),
        }
    }

    /// `n`: size of the population; `owner`: its index in the network.
    ///
    /// # Errors
    /// Spike times at or before 0, not finite, or of a source that is not there; rates out of range; a presentation whose samples
    /// have another size than the population.
    pub fn new(source: &SpikeSource, n: u32, dt: f64, seed: u64, owner: u32, range: Range<u32>) -> Result<Self> {
        let kind = match source {
            SpikeSource::Poisson { rate, start, stop } => {
                Kind::Poisson { table: Table::new(rate, n as usize, dt)?, active: active_steps(*start, *stop, dt) }
            }
            SpikeSource::Course(course) => {
                poisson::mean(course.peak(n as usize), dt)?;
                let (active, table) = (active_steps(course.start, course.stop, dt), Table::of_means(&[]));
                Kind::Course { course: course.clone(), active, table, held: None }
            }
            SpikeSource::Trains(trains) => {
                trains.check(n)?;
                let step = |time| {
                    step_of(time, dt).ok_or_else(|| {
                        let message = format!("a spike at {time} ms lies before the first step");
                        Error::input(
                            message,
                            "on a grid spike times must lie above 0 ms; shift the trains, or use the event engine",
                        )
                    })
                };
                let mut spikes = Vec::new();
                for (&time, &source) in trains.time.iter().zip(&trains.source) {
                    let step = step(time)?;
                    if range.contains(&source) {
                        spikes.push((step, source));
                    }
                }
                spikes.sort();
                Kind::Trains(spikes)
            }
            SpikeSource::Presentation(schedule) => {
                if schedule.n() != n {
                    let message = format!("samples of {} pixels are shown to a population of {n}", schedule.n());
                    return Err(Error::input(message, format!("make the population n = {}", schedule.n())));
                }
                if schedule.present < dt {
                    let message = format!("samples are shown for {} ms, less than a step of {dt} ms", schedule.present);
                    return Err(Error::input(message, "show them for at least one step"));
                }
                match schedule.coding {
                    Coding::Rate { .. } => Kind::Rate { schedule: schedule.clone(), table: schedule.table(dt)?, shown: None },
                    Coding::Latency { .. } => Kind::Latency { schedule: schedule.clone(), loaded: 0..0, spikes: Vec::new() },
                }
            }
        };
        Ok(SourceEmitter { dt, key: rng::key(seed, owner), range, kind })
    }

    /// Other rates (Hz) from the next step on, one for each of the population's `n` sources; at most `most` spikes of one source in
    /// one step.
    ///
    /// # Errors
    /// These are no Poisson sources, or the rates are out of range; nothing has changed then.
    pub fn set_rates(&mut self, rates: &[f64], n: u32, most: f64) -> Result<()> {
        let Kind::Poisson { table, .. } = &mut self.kind else {
            return Err(Error::input("its spikes do not come at a rate", "name a population of Poisson sources"));
        };
        let new = Table::new(&Values::Each(rates.into()), n as usize, self.dt)?;
        if new.max_count() as f64 > most {
            return Err(Error::input(
                format!("a rate of {} Hz is too far above those it was built with", rates.iter().fold(0.0f64, |a, b| a.max(*b))),
                "give the population the largest rate that it will have as its rate in the scenario",
            ));
        }
        *table = new;
        Ok(())
    }

    /// Appends the local ids that fire in `step`: ascending, repeated for spikes that coincide. Any step may be asked for; going
    /// forward is fast.
    pub fn emit(&mut self, step: u64, out: &mut Vec<u32>) {
        match &mut self.kind {
            Kind::Poisson { table, active } => {
                if active.contains(&step) {
                    poisson::fire(self.key, step, table, self.range.clone(), out);
                }
            }
            Kind::Course { course, active, table, held } => {
                if !active.contains(&step) {
                    return;
                }
                // A sine is taken at the middle of the step; other courses change where a step begins, or before.
                let part = if matches!(course.shape, Shape::Sine { .. }) { 0.5 } else { 1e-3 };
                let at = (step as f64 + part) * self.dt;
                let change = course.change(at);
                if change.is_none() || change != *held {
                    *table = rates_at(course, at, self.dt, &self.range);
                    *held = change;
                }
                poisson::fire(self.key, step, table, self.range.clone(), out);
            }
            Kind::Trains(spikes) => emit_of(spikes, step, out),
            Kind::Rate { schedule, table, shown } => {
                let Some(i) = schedule.shown_in(step, self.dt) else { return };
                if *shown != Some(i) {
                    let rows = table.row_of_element.get_or_insert_default();
                    rows.clear();
                    rows.extend(schedule.pixels(i).iter().map(|&p| p as u32));
                    *shown = Some(i);
                }
                poisson::fire(self.key, step, table, self.range.clone(), out);
            }
            Kind::Latency { schedule, loaded, spikes } => {
                // A step is no longer than a presentation, so its spikes come from the one at its start, the one before (rounded
                // up) or the next.
                let period = schedule.present + schedule.rest;
                let near = ((step as f64 * self.dt - schedule.start) / period).floor().max(0.0) as usize;
                let wanted = near.saturating_sub(1).min(schedule.order.len())..(near + 2).min(schedule.order.len());
                if wanted.start < loaded.start || wanted.end > loaded.end {
                    *loaded = wanted;
                    let timed = loaded.clone().flat_map(|i| schedule.latency_spikes(i));
                    let inside = timed.filter(|(_, source)| self.range.contains(source));
                    *spikes = inside.filter_map(|(time, source)| Some((step_of(time, self.dt)?, source))).collect();
                    spikes.sort();
                }
                emit_of(spikes, step, out);
            }
        }
    }
}

/// The thresholds of a course at `t` ms for the sources of a range.
fn rates_at(course: &Course, t: f64, dt: f64, range: &Range<u32>) -> Table {
    let mean = |i: u32| course.rate(i as usize, t) * dt * 1e-3;
    if course.is_uniform() {
        return Table::of_means(&[mean(0)]);
    }
    let mut table = Table::of_means(&range.clone().map(mean).collect::<Vec<_>>());
    table.row_of_element = Some((0..range.end).map(|i| i.saturating_sub(range.start)).collect());
    table
}

fn emit_of(spikes: &[(u64, u32)], step: u64, out: &mut Vec<u32>) {
    let first = spikes.partition_point(|&(s, _)| s < step);
    out.extend(spikes[first..].iter().take_while(|&&(s, _)| s == step).map(|&(_, source)| source));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::idx::Images;
    use crate::stimulus::Trains;
    use crate::stimulus::encode::Order;

    fn all(emitter: &mut SourceEmitter, steps: u64) -> Vec<(u64, u32)> {
        let mut found = Vec::new();
        for step in 0..steps {
            let mut out = Vec::new();
            emitter.emit(step, &mut out);
            assert!(out.is_sorted());
            found.extend(out.into_iter().map(|id| (step, id)));
        }
        found
    }

    fn sorted(mut spikes: Vec<(u64, u32)>) -> Vec<(u64, u32)> {
        spikes.sort();
        spikes
    }

    /// Every split of the population gives the same spikes.
    fn assert_splits(source: &SpikeSource, n: u32, steps: u64) -> Vec<(u64, u32)> {
        let make = |range| SourceEmitter::new(source, n, 0.1, 11, 3, range).unwrap();
        let whole = all(&mut make(0..n), steps);
        for cut in [1, n / 3, n - 1] {
            let halves = [all(&mut make(0..cut), steps), all(&mut make(cut..n), steps)].concat();
            assert_eq!(sorted(halves), whole);
        }
        let mut backwards = make(0..n);
        for step in (0..steps).rev().step_by(7) {
            let mut out = Vec::new();
            backwards.emit(step, &mut out);
            let expected: Vec<u32> = whole.iter().filter(|s| s.0 == step).map(|s| s.1).collect();
            assert_eq!(out, expected, "step {step}");
        }
        whole
    }

    #[test]
    fn times_on_the_grid_are_stamps() {
        let trains = Trains { time: vec![0.1, 0.3, 0.3, 0.30001, 0.31, 0.35, 0.4, 1e4], source: vec![2, 1, 1, 3, 0, 2, 2, 0] };
        let spikes = assert_splits(&SpikeSource::Trains(Arc::new(trains)), 4, 110_000);
        assert_eq!(spikes, [(0, 2), (2, 1), (2, 1), (2, 3), (3, 0), (3, 2), (3, 2), (99_999, 0)]);
        for k in 1..200_000u64 {
            assert_eq!(step_of(k as f64 * 0.1, 0.1), Some(k - 1));
            assert_eq!(step_of(k as f64 / 10.0, 0.1), Some(k - 1));
        }
    }

    #[test]
    fn poisson_sources_have_their_rates_in_their_time() {
        let rates: Vec<f64> = (0..200).map(|i| if i % 2 == 0 { 400.0 } else { 50.0 }).collect();
        let source = SpikeSource::Poisson { rate: Values::Each(rates.into()), start: 10.0, stop: 110.0 };
        let spikes = assert_splits(&source, 200, 1500);
        assert!(spikes.iter().all(|&(step, _)| (100..1100).contains(&step)));
        for (odd, expected) in [(0, 4000.0f64), (1, 500.0)] {
            let count = spikes.iter().filter(|s| s.1 % 2 == odd).count() as f64;
            assert!((count - expected).abs() < 5.0 * expected.sqrt(), "{count} for {expected}");
        }
    }

    /// Counts by phase against the integral of the rate, one course for all and one for each, and a course in steps.
    #[test]
    fn rates_take_their_course() {
        let (n, steps) = (300u32, 2000u64);
        let each = |f: &dyn Fn(u32) -> f64| Values::Each((0..n).map(f).collect());
        let sine = |rate, amplitude| Shape::Sine { rate, amplitude, frequency: 20.0, phase: 0.7 };
        let shapes = [
            sine(Values::Uniform(100.0), Values::Uniform(80.0)),
            // Below 0 nothing fires.
            sine(each(&|i| f64::from(i % 3) * 50.0), Values::Uniform(150.0)),
            Shape::Steps(vec![
                (30.0, Values::Uniform(200.0)),
                (60.0, each(&|i| f64::from(i % 2) * 300.0)),
                (90.0, Values::Uniform(0.0)),
            ]),
        ];
        for shape in shapes {
            let course = Course { start: 10.0, stop: 150.0, shape };
            let spikes = assert_splits(&SpikeSource::Course(Arc::new(course.clone())), n, steps);
            assert!(spikes.iter().all(|s| (100..1500).contains(&s.0)));
            // Bins of 2.5 ms and a third of the sources each.
            let mut chi = 0.0;
            let mut bins = 0.0;
            for (bin, third) in (0..80).flat_map(|bin| (0..3).map(move |third| (bin, third))) {
                let own = |i: &u32| i % 3 == third;
                let fine = |k: u64| (k as f64 + 0.5) * 0.1;
                let expected: f64 = (bin * 25..(bin + 1) * 25)
                    .filter(|k| (10.0..150.0).contains(&fine(*k)))
                    .map(|k| (0..n).filter(own).map(|i| course.rate(i as usize, fine(k)) * 1e-4).sum::<f64>())
                    .sum();
                let found = spikes.iter().filter(|s| s.0 / 25 == bin && own(&s.1)).count() as f64;
                assert!(expected > 0.0 || found == 0.0, "{found} where nothing fires");
                if expected > 5.0 {
                    chi += (found - expected).powi(2) / expected;
                    bins += 1.0;
                }
            }
            assert!(bins > 20.0 && (chi - bins).abs() < 5.0 * (2.0 * bins).sqrt(), "chi square {chi} of {bins}");
        }
        let fast = Course { start: 0.0, stop: 1.0, shape: Shape::Steps(vec![(0.0, Values::Uniform(1e9))]) };
        assert!(SourceEmitter::new(&SpikeSource::Course(Arc::new(fast)), 1, 0.1, 1, 0, 0..1).is_err());
    }

    fn show(coding: Coding, rest: f64) -> SpikeSource {
        let pixels = vec![0, 255, 128, 10, /**/ 255, 0, 1, 255, /**/ 0, 0, 0, 51];
        let images = Arc::new(Images { count: 3, rows: 2, columns: 2, pixels, labels: None });
        SpikeSource::Presentation(Arc::new(Presentation::new(images, coding, 20.0, rest, Order::Sequential, None).unwrap()))
    }

    #[test]
    fn rates_follow_the_pixels_while_they_are_shown() {
        let source = show(Coding::Rate { max_rate: 2000.0 }, 5.0);
        let spikes = assert_splits(&source, 4, 900);
        assert!(spikes.iter().all(|&(step, _)| step < 750 && step % 250 < 200));
        let counts = |i: u64, id: u32| spikes.iter().filter(|s| s.0 / 250 == i && s.1 == id).count() as f64;
        for (i, pixels) in [[0, 255, 128, 10], [255, 0, 1, 255], [0, 0, 0, 51]].iter().enumerate() {
            for (id, &p) in pixels.iter().enumerate() {
                let (count, expected) = (counts(i as u64, id as u32), 40.0 * p as f64 / 255.0);
                assert!((count - expected).abs() <= 5.0 * expected.sqrt(), "presentation {i} pixel {id}: {count} for {expected}");
            }
        }
    }

    #[test]
    fn latencies_are_rounded_up_to_the_grid() {
        for rest in [0.0, 5.0] {
            let spikes = assert_splits(&show(Coding::Latency { window: 20.0 }, rest), 4, 900);
            let period = 200 + (10.0 * rest) as u64;
            // 20 ms * (256 - p) / 256: 255 -> 0.078, 128 -> 10, 10 -> 19.22, 1 -> 19.92, 51 -> 16.02 ms.
            let mut expected = vec![(0, 1), (99, 2), (192, 3)];
            expected.extend([(period, 0), (period, 3), (period + 199, 2), (2 * period + 160, 3)]);
            assert_eq!(spikes, expected);
        }
    }

    #[test]
    fn what_cannot_be_emitted_is_refused() {
        let refused = |time: f64, source: u32| {
            let trains = Trains { time: vec![time], source: vec![source] };
            SourceEmitter::new(&SpikeSource::Trains(Arc::new(trains)), 4, 0.1, 1, 0, 0..2).unwrap_err().to_string()
        };
        assert!(refused(0.0, 0).contains("before the first step"));
        assert!(refused(f64::NAN, 0).contains("NaN"));
        assert!(refused(1.0, 4).contains("4"));
        let error = SourceEmitter::new(&show(Coding::Rate { max_rate: 1.0 }, 0.0), 5, 0.1, 1, 0, 0..5).unwrap_err();
        assert!(error.to_string().contains("4 pixels"));
    }
}
