//! What enters without synapses, in continuous time: Poisson trains by their exponential gaps, given trains, and currents that are
//! constant between changes. Promises gaps that are functions of (seed, owner, element, how manieth). Knows no neuron.

use crate::error::{Error, Result};
use crate::network::{Network, Values};
use crate::rng::{self, Purpose, Stream};
use crate::stimulus::current::standard_normal;
use crate::stimulus::encode::{Coding, Presentation};
use crate::stimulus::{Course, Drive, DriveKind, Shape as Rates, Trains};
use std::f64::consts::{PI, TAU};
use std::sync::Arc;

/// Highest rate of one Poisson train, Hz.
const MAX_RATE: f64 = 1e9;

/// Refuses rates that are no rates, or too high.
pub fn check_rates(rate: &Values, n: usize, name: &str) -> Result<()> {
    if let Some(bad) = (0..n).map(|i| rate.get(i)).find(|r| !(*r >= 0.0 && r.is_finite())) {
        return Err(Error::input(format!("`{name}`: a rate of {bad} Hz"), "give finite rates of at least 0 Hz"));
    }
    if let Some(bad) = (0..n).map(|i| rate.get(i)).find(|r| *r > MAX_RATE) {
        let message = format!("`{name}`: a rate of {bad:e} Hz; every spike is an event, at most {MAX_RATE:e} Hz are taken");
        return Err(Error::input(message, "lower the rate, or run on the cpu or gpu engine"));
    }
    Ok(())
}

/// Independent Poisson trains, one an element; each knows its next spike.
#[derive(Clone, Debug)]
pub struct Poisson {
    key: [u32; 2],
    purpose: Purpose,
    intensity: Intensity,
    /// ms; it does not happen when later than the end of the intensity.
    next: Vec<f64>,
    /// Spikes drawn so far, `next` included.
    drawn: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Intensity {
    /// Hz from `start` until `stop` (ms).
    Constant { rate: Values, start: f64, stop: f64 },
    /// Rates that change in time.
    Course(Arc<Course>),
    /// Of the pixel of the element, while its sample is shown.
    Shown(Arc<Presentation>),
}

impl Intensity {
    /// When the integral of the intensity from `t` on reaches `share`, ms; infinity for never.
    fn reach(&self, i: usize, t: f64, mut share: f64) -> f64 {
        match self {
            Intensity::Constant { rate, .. } => match rate.get(i) {
                rate if rate > 0.0 => t + share * 1e3 / rate,
                _ => f64::INFINITY,
            },
            Intensity::Course(course) => match &course.shape {
                Rates::Sine { rate, amplitude, frequency, phase } => {
                    sine_reaches(rate.get(i) * 1e-3, amplitude.get(i) * 1e-3, TAU * frequency * 1e-3, *phase, t, share)
                }
                Rates::Steps(changes) => {
                    for k in course.change(t).unwrap_or(0)..changes.len() {
                        let (from, rate) = (changes[k].0.max(t), changes[k].1.get(i) * 1e-3);
                        let until = changes.get(k + 1).map_or(f64::INFINITY, |next| next.0);
                        if rate > 0.0 && share <= (until - from) * rate {
                            return from + share / rate;
                        }
                        share -= if rate > 0.0 { (until - from) * rate } else { 0.0 };
                    }
                    f64::INFINITY
                }
            },
            Intensity::Shown(schedule) => {
                let near = ((t - schedule.start) / (schedule.present + schedule.rest)).floor() - 1.0;
                for k in near.max(0.0) as usize..schedule.order.len() {
                    let rate = schedule.rate(schedule.pixels(k)[i]) * 1e-3;
                    let from = schedule.onset(k).max(t);
                    let room = (schedule.onset(k) + schedule.present - from).max(0.0) * rate;
                    if rate > 0.0 && share <= room {
                        return from + share / rate;
                    }
                    share -= room;
                }
                f64::INFINITY
            }
        }
    }

    fn stop(&self) -> f64 {
        match self {
            Intensity::Constant { stop, .. } => *stop,
            Intensity::Course(course) => course.stop,
            Intensity::Shown(_) => f64::INFINITY,
        }
    }
}

/// When the integral of max(0, r + a sin(w t + phase)) from `t` (ms) on reaches `share`; `r` and `a` in 1/ms, `w` in rad/ms. Whole
/// periods are passed over, and what is left is found by bisection to the last bits of the angle.
fn sine_reaches(r: f64, a: f64, w: f64, phase: f64, t: f64, share: f64) -> f64 {
    if w == 0.0 || a == 0.0 {
        let rate = r + a * phase.sin();
        return if rate > 0.0 { t + share / rate } else { f64::INFINITY };
    }
    let (a, phase) = if a < 0.0 { (-a, phase + PI) } else { (a, phase) };
    if r <= -a {
        return f64::INFINITY;
    }
    // Angles count from where the rate rises above 0; it is above for `lit` of a turn.
    let (rise, lit) = if r >= a { (0.0, TAU) } else { ((-r / a).asin(), PI - 2.0 * (-r / a).asin()) };
    let below = |u: f64| {
        let u = u.min(lit);
        (r * u - a * ((rise + u).cos() - rise.cos())) / w
    };
    let from = (w * t + phase - rise).rem_euclid(TAU);
    let (turn, goal) = (below(TAU), below(from) + share);
    let turns = (goal / turn).floor();
    let left = goal - turns * turn;
    let (mut low, mut high) = (0.0, lit);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if below(middle) < left { low = middle } else { high = middle }
    }
    // Never before `t`, whatever the rounding.
    t + ((turns * TAU + high - from) / w).max(0.0)
}

impl Poisson {
    /// `owner` as in the other engines: the index of the drive, or of the source population.
    pub fn new(
        seed: u64,
        owner: u32,
        purpose: Purpose,
        rate: &Values,
        n: usize,
        [start, stop]: [f64; 2],
        name: &str,
    ) -> Result<Poisson> {
        check_rates(rate, n, name)?;
        let start = start.max(0.0);
        Ok(Poisson::from(rng::key(seed, owner), purpose, Intensity::Constant { rate: rate.clone(), start, stop }, n, start))
    }

    /// Trains whose rates change in time; `owner` is the index of the source population.
    pub fn course(seed: u64, owner: u32, course: &Arc<Course>, n: usize, name: &str) -> Result<Poisson> {
        check_rates(&Values::Uniform(course.peak(n)), 1, name)?;
        let start = course.start.max(0.0);
        Ok(Poisson::from(rng::key(seed, owner), Purpose::PoissonSource, Intensity::Course(course.clone()), n, start))
    }

    /// Other rates from `now` (ms) on; what was left of a gap shrinks or grows with the rate. False where rates are not given one
    /// by one. A train without a next spike draws a new gap.
    pub fn set_rates(&mut self, rates: &Values, now: f64) -> bool {
        let Intensity::Constant { rate, start, .. } = &mut self.intensity else { return false };
        let (old, now) = (std::mem::replace(rate, rates.clone()), now.max(*start));
        for i in 0..self.next.len() {
            let (before, after) = (old.get(i), rates.get(i));
            if before == after {
                continue;
            }
            let waited_for = self.next[i];
            self.next[i] = now;
            if waited_for.is_finite() && waited_for > now {
                self.next[i] = self.intensity.reach(i, now, (waited_for - now) * before * 1e-3);
            } else if after > 0.0 {
                self.step(i);
            } else {
                self.next[i] = f64::INFINITY;
            }
        }
        true
    }

    /// Hz, one an element, where they were given so.
    pub fn rates(&self) -> Option<&Values> {
        if let Intensity::Constant { rate, .. } = &self.intensity { Some(rate) } else { None }
    }

    /// The rates of the trains that [`Poisson::load`] is about to load.
    pub fn load_rates(&mut self, rates: Values) {
        if let Intensity::Constant { rate, .. } = &mut self.intensity {
            *rate = rates;
        }
    }

    fn from(key: [u32; 2], purpose: Purpose, intensity: Intensity, n: usize, start: f64) -> Poisson {
        let mut trains = Poisson { key, purpose, intensity, next: vec![start; n], drawn: vec![0; n] };
        (0..n).for_each(|i| trains.step(i));
        trains
    }

    /// On to the spike after `next`.
    #[inline]
    pub fn step(&mut self, i: usize) {
        let u = Stream::new(self.key, self.purpose, i as u32, self.drawn[i]).uniform();
        self.drawn[i] = self.drawn[i].wrapping_add(1);
        self.next[i] = self.intensity.reach(i, self.next[i], -u.ln());
    }

    /// ms; infinity when there is none.
    #[inline]
    pub fn next(&self, i: usize) -> f64 {
        if self.next[i] <= self.intensity.stop() { self.next[i] } else { f64::INFINITY }
    }

    pub fn len(&self) -> usize {
        self.next.len()
    }

    pub fn save(&self) -> Vec<u64> {
        self.next.iter().map(|t| t.to_bits()).chain(self.drawn.iter().map(|d| *d as u64)).collect()
    }

    /// The reverse, at time `now`. A train that was silent begins where its rate has become positive. False: sizes do not fit.
    pub fn load(&mut self, words: &[u64], now: f64) -> bool {
        let n = self.next.len();
        if words.len() != 2 * n {
            return false;
        }
        for i in 0..n {
            self.next[i] = f64::from_bits(words[i]);
            self.drawn[i] = words[n + i] as u32;
            let silent = self.next[i] == f64::INFINITY;
            // Also a train that had ended, when its end was moved behind the present.
            if let Intensity::Constant { rate, stop, .. } = &self.intensity
                && rate.get(i) > 0.0
                && now < *stop
                && (silent || self.next[i] <= now)
            {
                self.next[i] = now;
                self.step(i);
            }
        }
        true
    }
}

/// Given spikes in order of time: from a list, or from the latencies of a presentation.
#[derive(Clone, Debug)]
pub struct Played {
    score: Score,
    /// Spikes of the part (a presentation, or all of a list) that is being played, and the place in it.
    part: usize,
    at: usize,
    /// Spikes of that part, where it is a presentation.
    loaded: Vec<(f64, u32)>,
}

#[derive(Clone, Debug)]
enum Score {
    List(Arc<Trains>),
    Latencies(Arc<Presentation>),
}

impl Played {
    /// Times below 0 are passed over.
    pub fn list(trains: Arc<Trains>, n: usize) -> Result<Played> {
        trains.check(n as u32)?;
        Ok(Played::from(Score::List(trains)))
    }

    fn from(score: Score) -> Played {
        let mut played = Played { score, part: 0, at: 0, loaded: Vec::new() };
        played.seek(0.0);
        played
    }

    /// Load the spikes of the present part, or of the next that has any.
    fn load_part(&mut self) {
        let Score::Latencies(schedule) = &self.score else { return };
        self.loaded.clear();
        while self.part < schedule.order.len() {
            self.loaded = schedule.latency_spikes(self.part);
            if self.at < self.loaded.len() {
                return;
            }
            (self.part, self.at) = (self.part + 1, 0);
        }
        self.loaded.clear();
    }

    /// (time, local id) of the next spike.
    pub fn next(&self) -> Option<(f64, u32)> {
        match &self.score {
            Score::List(trains) => Some((*trains.time.get(self.at)?, trains.source[self.at])),
            Score::Latencies(_) => self.loaded.get(self.at).copied(),
        }
    }

    pub fn step(&mut self) {
        self.at += 1;
        if matches!(self.score, Score::Latencies(_)) && self.at >= self.loaded.len() {
            self.load_part();
        }
    }

    /// To the first spike after `now` (ms); at 0 the first of all, since spikes at 0 are still to come.
    pub fn seek(&mut self, now: f64) {
        let past = |t: f64| t < 0.0 || (t <= now && now > 0.0);
        match &self.score {
            Score::List(trains) => self.at = trains.time.partition_point(|t| past(*t)),
            Score::Latencies(schedule) => {
                let part = ((now - schedule.start) / (schedule.present + schedule.rest)).floor() - 1.0;
                (self.part, self.at) = (part.max(0.0) as usize, 0);
                self.load_part();
                while self.next().is_some_and(|(t, _)| past(t)) {
                    self.step();
                }
            }
        }
    }
}

/// What the samples of a presentation make their sources do.
pub enum Shown {
    Rates(Poisson),
    Latencies(Played),
}

/// A presentation to a population of `n`; `owner` is its index.
pub fn shown(seed: u64, owner: u32, schedule: &Arc<Presentation>, n: usize) -> Result<Shown> {
    if schedule.n() as usize != n {
        let message = format!("samples of {} pixels are shown to a population of {n}", schedule.n());
        return Err(Error::input(message, format!("make the population n = {}", schedule.n())));
    }
    Ok(match schedule.coding {
        Coding::Rate { .. } => {
            let intensity = Intensity::Shown(schedule.clone());
            Shown::Rates(Poisson::from(rng::key(seed, owner), Purpose::PoissonSource, intensity, n, 0.0))
        }
        Coding::Latency { .. } => Shown::Latencies(Played::from(Score::Latencies(schedule.clone()))),
    })
}

/// The current drives of one population: their sum changes at known times only.
#[derive(Clone, Debug, Default)]
pub struct Currents {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    start: f64,
    stop: f64,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Dc(Values),
    Step(Vec<(f64, f64)>),
    Noise { mean: f64, std: f64, interval: f64, key: [u32; 2] },
}

impl Currents {
    /// Refuses drives that are not constant between changes, by name.
    pub fn of(net: &Network, population: usize) -> Result<Currents> {
        let mut parts = Vec::new();
        for (owner, drive) in net.drives.iter().enumerate().filter(|(_, d)| d.population == population) {
            let n = net.populations[population].n as usize;
            if let Some(shape) = Shape::of(drive, n, rng::key(net.stimulus_seed, owner as u32))? {
                parts.push(Part { start: drive.start.max(0.0), stop: drive.stop, shape });
            }
        }
        Ok(Currents { parts })
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Of element `i` from time `t` (ms) until the next change, pA.
    pub fn value(&self, i: usize, t: f64) -> f64 {
        self.parts.iter().filter(|p| p.start <= t && t < p.stop).map(|p| p.shape.value(i, t, p.start)).sum()
    }

    /// First change after `t`; infinity for none.
    pub fn next_change(&self, t: f64) -> f64 {
        self.parts.iter().map(|p| p.next_change(t)).fold(f64::INFINITY, f64::min)
    }
}

impl Part {
    fn next_change(&self, t: f64) -> f64 {
        if t < self.start {
            return self.start;
        }
        if t >= self.stop {
            return f64::INFINITY;
        }
        let own = match &self.shape {
            Shape::Dc(_) => f64::INFINITY,
            Shape::Step(changes) => changes.iter().map(|c| c.0).find(|c| *c > t).unwrap_or(f64::INFINITY),
            Shape::Noise { interval, .. } => {
                let mut k = interval_of(t, self.start, *interval) + 1;
                while self.start + k as f64 * interval <= t {
                    k += 1;
                }
                self.start + k as f64 * interval
            }
        };
        own.min(self.stop)
    }
}

/// The interval that `t` lies in; a change falls at start + k * interval exactly.
fn interval_of(t: f64, start: f64, interval: f64) -> u64 {
    let k = ((t - start) / interval) as u64;
    if start + (k + 1) as f64 * interval <= t { k + 1 } else { k }
}

impl Shape {
    /// None: not a current.
    fn of(drive: &Drive, n: usize, key: [u32; 2]) -> Result<Option<Shape>> {
        let name = &drive.name;
        let wrong = |message: &str, remedy: &str| Err(Error::input(format!("drive `{name}`: {message}"), remedy));
        Ok(Some(match &drive.kind {
            DriveKind::Poisson { .. } => return Ok(None),
            DriveKind::Ac { .. } => {
                return wrong(
                    "an ac current has no place between the closed forms of the event engine",
                    "approximate it by a step current, or run on the cpu or gpu engine",
                );
            }
            DriveKind::Dc { amplitude } => {
                if (0..n).any(|i| !amplitude.get(i).is_finite()) {
                    return wrong("an amplitude is not a finite number", "give finite amplitudes in pA");
                }
                Shape::Dc(amplitude.clone())
            }
            DriveKind::Step { changes } => {
                if changes.iter().any(|(t, a)| !t.is_finite() || !a.is_finite()) {
                    return wrong("a time or amplitude is not a finite number", "give finite times and amplitudes");
                }
                if changes.windows(2).any(|w| w[0].0 >= w[1].0) {
                    return wrong("the changes are not in order of time", "sort them by time; a time may appear once");
                }
                Shape::Step(changes.clone())
            }
            &DriveKind::Noise { mean, std, interval } => {
                if !(mean.is_finite() && std >= 0.0 && std.is_finite() && interval > 0.0 && interval.is_finite()) {
                    return wrong(
                        "mean, std or interval is out of range",
                        "give finite values, std of at least 0, interval above 0",
                    );
                }
                Shape::Noise { mean, std, interval, key }
            }
        }))
    }

    fn value(&self, i: usize, t: f64, start: f64) -> f64 {
        match self {
            Shape::Dc(amplitude) => amplitude.get(i),
            Shape::Step(changes) => match changes.partition_point(|c| c.0 <= t) {
                0 => 0.0,
                k => changes[k - 1].1,
            },
            Shape::Noise { mean, std, interval, key } => {
                mean + std * standard_normal(*key, i as u32, interval_of(t, start, *interval))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_exponential_and_within_the_window() {
        let rates: Values = Values::Each((0..400).map(|i| if i % 2 == 0 { 50.0 } else { 0.0 }).collect());
        let mut trains = Poisson::new(3, 1, Purpose::PoissonDrive, &rates, 400, [100.0, 2100.0], "p").unwrap();
        let (mut count, mut gaps) = (0, Vec::new());
        for i in 0..400 {
            let mut last = 100.0;
            while trains.next(i) < f64::INFINITY {
                assert!(trains.next(i) > 100.0 && trains.next(i) <= 2100.0 && i % 2 == 0);
                gaps.push(trains.next(i) - last);
                last = trains.next(i);
                count += 1;
                trains.step(i);
            }
        }
        // 200 trains, 2 s, 50 Hz: 20,000 expected, deviation 141.
        assert!((count as f64 - 20_000.0).abs() < 600.0, "{count}");
        let below = gaps.iter().filter(|g| **g < 20.0 * std::f64::consts::LN_2).count() as f64 / gaps.len() as f64;
        assert!((below - 0.5).abs() < 0.03, "half the gaps lie below the median, {below}");
        assert!(Poisson::new(3, 1, Purpose::PoissonDrive, &Values::Uniform(-1.0), 1, [0.0, 1.0], "p").is_err());
    }

    /// The integral of the rate from a time to where it is reached, by small steps, is what was asked for.
    #[test]
    fn courses_are_integrated() {
        let steps = vec![(10.0, Values::Uniform(20.0)), (15.0, Values::Uniform(0.0)), (40.0, Values::Uniform(500.0))];
        let sine = |rate, amplitude, frequency, phase| Rates::Sine {
            rate: Values::Uniform(rate),
            amplitude: Values::Uniform(amplitude),
            frequency,
            phase,
        };
        let shapes = [
            sine(100.0, 60.0, 8.0, 0.4),
            sine(20.0, 90.0, 40.0, -2.0),
            sine(-10.0, -90.0, 3.0, 7.0),
            sine(30.0, 0.0, 5.0, 0.0),
            sine(30.0, 10.0, 0.0, 1.0),
            sine(50.0, 50.0, 1000.0, 0.0),
            Rates::Steps(steps),
        ];
        for shape in shapes {
            let course = Course { start: 0.0, stop: f64::INFINITY, shape };
            let intensity = Intensity::Course(Arc::new(course.clone()));
            for (t, share) in [(0.0, 0.3), (12.5, 0.02), (33.3, 1.7), (400.0, 11.0)] {
                let end = intensity.reach(0, t, share);
                assert!(end >= t && end.is_finite(), "{course:?} {t} {share}: {end}");
                let pieces = 400_000;
                let h = (end - t) / pieces as f64;
                let sum: f64 = (0..pieces).map(|k| course.rate(0, t + (k as f64 + 0.5) * h) * 1e-3 * h).sum();
                assert!((sum - share).abs() < 2e-5 * (1.0 + share), "{course:?} from {t}: {sum} for {share}");
            }
        }
        let never = Course { start: 0.0, stop: f64::INFINITY, shape: sine(-50.0, 50.0, 10.0, 0.0) };
        assert_eq!(Intensity::Course(Arc::new(never)).reach(0, 3.0, 0.1), f64::INFINITY);
    }

    fn drive(kind: DriveKind, start: f64, stop: f64) -> Drive {
        Drive { name: "d".into(), population: 0, kind, start, stop }
    }

    fn currents(drives: &[Drive]) -> Currents {
        let part = |d: &Drive| Part { start: d.start, stop: d.stop, shape: Shape::of(d, 3, [1, 2]).unwrap().unwrap() };
        Currents { parts: drives.iter().map(part).collect() }
    }

    #[test]
    fn changes_of_the_sum() {
        let c = currents(&[
            drive(DriveKind::Dc { amplitude: Values::Each(vec![1.0, 2.0, 3.0].into()) }, 5.0, 20.0),
            drive(DriveKind::Step { changes: vec![(1.0, 10.0), (7.0, -10.0), (30.0, 5.0)] }, 2.0, 25.0),
        ]);
        let (mut t, mut seen) = (0.0, vec![]);
        while t < f64::INFINITY {
            seen.push((t, c.value(1, t)));
            t = c.next_change(t);
        }
        assert_eq!(seen, [(0.0, 0.0), (2.0, 10.0), (5.0, 12.0), (7.0, -8.0), (20.0, -10.0), (25.0, 0.0)]);
    }

    #[test]
    fn noise_holds_over_its_interval() {
        let c = currents(&[drive(DriveKind::Noise { mean: 100.0, std: 20.0, interval: 0.1 }, 3.0, 1003.0)]);
        let (mut t, mut n, mut sum, mut square) = (3.0, 0, 0.0, 0.0);
        while c.next_change(t) < f64::INFINITY {
            let next = c.next_change(t);
            assert!(next > t && (next - t - 0.1).abs() < 1e-9);
            assert_eq!(c.value(2, t), c.value(2, t + 0.09));
            let x = (c.value(2, t) - 100.0) / 20.0;
            (n, sum, square) = (n + 1, sum + x, square + x * x);
            t = next;
        }
        assert!((9_999..=10_001).contains(&n), "{n}");
        assert!((sum / n as f64).abs() < 0.04 && (square / n as f64 - 1.0).abs() < 0.06);
        assert_ne!(c.value(0, 10.0), c.value(1, 10.0));
    }

    #[test]
    fn ac_is_refused_by_name() {
        let d = drive(DriveKind::Ac { amplitude: 1.0, frequency: 10.0, phase: 0.0, offset: 0.0 }, 0.0, 1.0);
        let message = Shape::of(&d, 1, [0, 0]).unwrap_err().to_string();
        assert!(message.contains("drive `d`") && message.contains("ac") && message.contains("step"), "{message}");
    }
}
