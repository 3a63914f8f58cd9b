//! Statistics of a run, accumulated while it runs in memory that does not grow with its length: rates, irregularity, correlation
//! and synchrony of every population, and their table for the terminal. Knows no file and no engine.
//!
//! Conventions (those of Potjans & Diesmann 2014 and of most published figures): only spikes in (start, stop] count; standard
//! deviations divide by n; the CV of inter-spike intervals is averaged over the neurons with at least [`MIN_SPIKES_CV`] spikes;
//! correlations are Pearson's, of spike counts in [`CORRELATION_BIN`] ms bins, over all pairs of up to [`CORRELATION_SAMPLE`]
//! evenly spaced neurons, silent ones left out; synchrony is variance over mean of the population's count in
//! [`SYNCHRONY_BIN`] ms bins.

use crate::engine::{Sink, Spike};
use crate::error::Result;
use crate::network::{Cell, Network, Window};
use crate::scenario::Published;
use serde::{Deserialize, Serialize};

/// Spikes that a neuron needs to count in the mean CV of inter-spike intervals.
pub const MIN_SPIKES_CV: u32 = 5;
/// Bin of the counts that are correlated, ms.
pub const CORRELATION_BIN: f64 = 2.0;
/// Neurons of a population at most that are correlated in pairs.
pub const CORRELATION_SAMPLE: usize = 200;
/// Bin of the counts that synchrony is taken from, ms.
pub const SYNCHRONY_BIN: f64 = 3.0;
/// Slack in comparisons of times, ms.
const EPS: f64 = 1e-9;

/// Feeds several sinks, in order.
pub struct Tee<'a, 'b>(pub &'a mut [&'b mut dyn Sink]);

impl Sink for Tee<'_, '_> {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.spikes(spikes))
    }

    fn sample(&mut self, probe: usize, time: f64, values: &[f32]) -> Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.sample(probe, time, values))
    }
}

/// What a run gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// ms; spikes in (start, stop] count.
    pub start: f64,
    /// ms; the last time that counts.
    pub stop: f64,
    /// In the order of the network.
    pub populations: Vec<PopulationStatistics>,
}

/// What a population did between `start` and `stop` of [`Statistics`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PopulationStatistics {
    /// As in the scenario.
    pub name: String,
    /// Its neurons.
    pub n: u32,
    /// A source without dynamics.
    pub source: bool,
    /// ms: only spikes in (start, stop] are known and counted, where this is less than what counts for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<(f64, f64)>,
    /// Spikes that counted.
    pub spikes: u64,
    /// Mean and standard deviation over neurons, Hz.
    pub rate: f64,
    /// Standard deviation of the rate over neurons, Hz.
    pub rate_sd: f64,
    /// Mean over `cv_neurons` neurons; None when no neuron spiked often enough.
    pub cv_isi: Option<f64>,
    /// Neurons that spiked at least [`MIN_SPIKES_CV`] times.
    pub cv_neurons: u32,
    /// Mean over `correlation_pairs` pairs.
    pub correlation: Option<f64>,
    /// Pairs of neurons whose counts vary.
    pub correlation_pairs: u64,
    /// Variance over mean of the population's count; 1 for independent Poisson trains.
    pub synchrony: Option<f64>,
}

/// Welford's running mean and sum of squared deviations of a neuron's inter-spike intervals.
#[derive(Clone, Copy, Default)]
struct Neuron {
    last: f64,
    mean: f64,
    m2: f64,
    spikes: u32,
}

impl Neuron {
    fn spike(&mut self, time: f64) {
        if self.spikes > 0 {
            let interval = time - self.last;
            let off = interval - self.mean;
            self.mean += off / self.spikes as f64;
            self.m2 += off * (interval - self.mean);
        }
        self.last = time;
        self.spikes = self.spikes.saturating_add(1);
    }

    fn cv(&self) -> Option<f64> {
        let intervals = self.spikes.saturating_sub(1) as f64;
        (self.spikes >= MIN_SPIKES_CV && self.mean > 0.0).then(|| (self.m2 / intervals).max(0.0).sqrt() / self.mean)
    }
}

/// Sums over bins of the counts of a sample of neurons and of their products.
#[derive(Clone)]
struct Correlation {
    stride: u32,
    size: usize,
    sum: Vec<u64>,
    /// Row i, column j >= i.
    product: Vec<u64>,
    bin: u64,
    /// (sampled neuron, spikes) in the open bin.
    open: Vec<(u32, u32)>,
}

impl Correlation {
    fn new(n: u32) -> Self {
        let stride = n.div_ceil(CORRELATION_SAMPLE as u32).max(1);
        let size = n.div_ceil(stride) as usize;
        Correlation { stride, size, sum: vec![0; size], product: vec![0; size * size], bin: 0, open: Vec::new() }
    }

    fn spike(&mut self, id: u32, bin: u64) {
        let sampled = id / self.stride;
        if id % self.stride != 0 || sampled as usize >= self.size {
            return;
        }
        if bin != self.bin {
            self.close();
            self.bin = bin;
        }
        match self.open.iter_mut().find(|(other, _)| *other == sampled) {
            Some((_, count)) => *count += 1,
            None => self.open.push((sampled, 1)),
        }
    }

    fn close(&mut self) {
        self.open.sort_unstable();
        for (at, &(i, a)) in self.open.iter().enumerate() {
            self.sum[i as usize] += a as u64;
            for &(j, b) in &self.open[at..] {
                self.product[i as usize * self.size + j as usize] += a as u64 * b as u64;
            }
        }
        self.open.clear();
    }

    /// Mean coefficient over pairs, and the number of pairs, over the first `bins` bins.
    fn mean(&self, bins: u64) -> (Option<f64>, u64) {
        let mut done = self.clone();
        if done.bin < bins {
            done.close();
        }
        let (n, m) = (done.size, bins.max(1) as f64);
        let mean: Vec<f64> = done.sum.iter().map(|&s| s as f64 / m).collect();
        let covariance = |i: usize, j: usize| done.product[i * n + j] as f64 / m - mean[i] * mean[j];
        let sd: Vec<f64> = (0..n).map(|i| covariance(i, i).max(0.0).sqrt()).collect();
        let active: Vec<usize> = (0..n).filter(|&i| done.sum[i] > 0 && sd[i] > 0.0).collect();
        let (mut total, mut pairs) = (0.0, 0u64);
        for (at, &i) in active.iter().enumerate() {
            for &j in &active[at + 1..] {
                total += covariance(i, j) / (sd[i] * sd[j]);
                pairs += 1;
            }
        }
        ((pairs > 0).then(|| total / pairs as f64), pairs)
    }
}

/// Sums over bins of a population's count and its square.
#[derive(Clone, Copy, Default)]
struct Synchrony {
    bin: u64,
    open: u64,
    sum: f64,
    squares: f64,
}

impl Synchrony {
    fn spike(&mut self, bin: u64) {
        if bin != self.bin {
            self.close();
            self.bin = bin;
        }
        self.open += 1;
    }

    fn close(&mut self) {
        self.sum += self.open as f64;
        self.squares += (self.open as f64).powi(2);
        self.open = 0;
    }

    fn fano(mut self, bins: u64) -> Option<f64> {
        if self.bin < bins {
            self.close();
        }
        let mean = self.sum / bins as f64;
        (bins > 1 && mean > 0.0).then(|| (self.squares / bins as f64 - mean * mean).max(0.0) / mean)
    }
}

struct Accumulator {
    name: String,
    source: bool,
    /// What counts of this population.
    window: Window,
    first: u32,
    neurons: Vec<Neuron>,
    correlation: Correlation,
    synchrony: Synchrony,
}

/// The sink that accumulates.
pub struct Summary {
    start: f64,
    stop: f64,
    populations: Vec<Accumulator>,
    /// One past the last global id of each population.
    ends: Vec<u32>,
}

/// Bin of a time: bin k covers (start + k * width, start + (k + 1) * width].
fn bin(time: f64, start: f64, width: f64) -> u64 {
    (((time - start) / width - EPS).ceil() as u64).saturating_sub(1)
}

impl Summary {
    /// Counts spikes in (start, stop], ms.
    pub fn new(net: &Network, start: f64, stop: f64) -> Self {
        let source = |p: &crate::network::Population| matches!(p.cell, Cell::Source(_));
        let all = net.populations.iter().map(|p| (p.name.clone(), p.n, source(p), Window::ALWAYS));
        Self::of(&all.collect::<Vec<_>>(), start, stop)
    }

    /// The same for populations given as (name, neurons, is a source, when its spikes are known); global ids count through them.
    pub fn of(populations: &[(String, u32, bool, Window)], start: f64, stop: f64) -> Self {
        let mut summary = Summary { start, stop, populations: Vec::new(), ends: Vec::new() };
        for (name, n, source, known) in populations {
            let first = summary.ends.last().copied().unwrap_or(0);
            summary.ends.push(first + n);
            summary.populations.push(Accumulator {
                name: name.clone(),
                source: *source,
                window: Window { start: start.max(known.start), stop: stop.min(known.stop) },
                first,
                neurons: vec![Neuron::default(); *n as usize],
                correlation: Correlation::new(*n),
                synchrony: Synchrony::default(),
            });
        }
        summary
    }

    /// The statistics of the whole window.
    pub fn finish(&self) -> Statistics {
        self.finish_at(self.stop)
    }

    /// The statistics of a run that was stopped at `time` ms.
    pub fn finish_at(&self, time: f64) -> Statistics {
        let stop = self.stop.min(time).max(self.start);
        Statistics { start: self.start, stop, populations: self.populations.iter().map(|p| p.finish(self.start, stop)).collect() }
    }
}

impl Accumulator {
    /// Statistics of what is known from `start` to `stop` ms.
    fn finish(&self, start: f64, stop: f64) -> PopulationStatistics {
        let (from, to) = (self.window.start, self.window.stop.min(stop).max(self.window.start));
        let span = to - from;
        let bins = |width: f64| (span / width + EPS).floor() as u64;
        let n = self.neurons.len().max(1) as f64;
        let seconds = (span / 1000.0).max(f64::MIN_POSITIVE);
        let spikes: u64 = self.neurons.iter().map(|x| x.spikes as u64).sum();
        let rate = if span > 0.0 { spikes as f64 / n / seconds } else { 0.0 };
        let spread = self.neurons.iter().map(|x| (x.spikes as f64 / seconds - rate).powi(2)).sum::<f64>() / n;
        let cv: Vec<f64> = self.neurons.iter().filter_map(Neuron::cv).collect();
        let (correlation, correlation_pairs) = self.correlation.mean(bins(CORRELATION_BIN));
        PopulationStatistics {
            name: self.name.clone(),
            n: self.neurons.len() as u32,
            source: self.source,
            window: (from != start || to != stop).then_some((from, to)),
            spikes,
            rate,
            rate_sd: if span > 0.0 { spread.sqrt() } else { 0.0 },
            cv_isi: (!cv.is_empty()).then(|| cv.iter().sum::<f64>() / cv.len() as f64),
            cv_neurons: cv.len() as u32,
            correlation,
            correlation_pairs,
            synchrony: self.synchrony.fano(bins(SYNCHRONY_BIN)),
        }
    }
}

impl Sink for Summary {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        let mut at = 0;
        let (mut first, mut end) = (0, 0);
        for spike in spikes {
            if spike.id < first || spike.id >= end {
                at = self.ends.partition_point(|&end| end <= spike.id);
                let Some(&stop) = self.ends.get(at) else { continue };
                (first, end) = (self.populations[at].first, stop);
            }
            let population = &mut self.populations[at];
            if !population.window.holds(spike.time) {
                continue;
            }
            let start = population.window.start;
            let local = spike.id - first;
            population.neurons[local as usize].spike(spike.time);
            population.correlation.spike(local, bin(spike.time, start, CORRELATION_BIN));
            population.synchrony.spike(bin(spike.time, start, SYNCHRONY_BIN));
        }
        Ok(())
    }

    fn sample(&mut self, _: usize, _: f64, _: &[f32]) -> Result<()> {
        Ok(())
    }
}

/// A number in a table: as many digits as it deserves, or a dash.
fn cell(value: Option<f64>, digits: usize) -> String {
    match value {
        Some(v) if v.is_finite() => format!("{v:.digits$}"),
        _ => "-".into(),
    }
}

/// Rows of texts as aligned columns: the first to the left, the others to the right.
pub fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (c, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            match c {
                0 => line += &format!("{cell}{pad}"),
                _ => line += &format!("  {pad}{cell}"),
            }
        }
        text += line.trim_end();
        text += "\n";
    }
    text
}

/// The quantities of the table: name in scenarios, heading, digits, value.
#[allow(clippy::type_complexity)]
const QUANTITIES: [(&str, &str, usize, fn(&PopulationStatistics) -> Option<f64>); 4] = [
    ("rate", "rate/Hz", 2, |p| Some(p.rate)),
    ("cv_isi", "CV ISI", 2, |p| p.cv_isi),
    ("correlation", "corr", 4, |p| p.correlation),
    ("synchrony", "synchrony", 2, |p| p.synchrony),
];

impl Statistics {
    /// The value of a published quantity ("rate", "cv_isi", "correlation", "synchrony") of a population.
    pub fn value(&self, population: &str, quantity: &str) -> Option<f64> {
        let (.., value) = QUANTITIES.iter().find(|q| q.0 == quantity)?;
        value(self.populations.iter().find(|p| p.name == population)?)
    }

    /// A table for the terminal, with published figures beside ours; sources of the figures follow it.
    pub fn table(&self, published: &[Published]) -> String {
        let theirs = |population: &str, quantity: &str| {
            let of = published.iter().filter(|p| p.population == population && p.quantity == quantity);
            of.map(|p| format!("{}", p.value)).collect::<Vec<_>>().join(" / ")
        };
        let compared = |quantity: &str| published.iter().any(|p| p.quantity == quantity);
        let mut head: Vec<String> = vec!["population".into(), "n".into(), "spikes".into()];
        for (quantity, heading, ..) in QUANTITIES {
            head.push(heading.into());
            if quantity == "rate" {
                head.push("sd".into());
            }
            if compared(quantity) {
                head.push("published".into());
            }
        }
        let mut rows = vec![head];
        for population in &self.populations {
            let mut row = vec![population.name.clone(), population.n.to_string(), population.spikes.to_string()];
            for (quantity, _, digits, value) in QUANTITIES {
                row.push(cell(value(population), digits));
                if quantity == "rate" {
                    row.push(cell(Some(population.rate_sd), digits));
                }
                if compared(quantity) {
                    let text = theirs(&population.name, quantity);
                    row.push(if text.is_empty() { "-".into() } else { text });
                }
            }
            rows.push(row);
        }
        let mut text = align(&rows);
        let mut sources: Vec<&str> = Vec::new();
        for figure in published {
            if !sources.contains(&figure.source.as_str()) {
                sources.push(&figure.source);
            }
            if !QUANTITIES.iter().any(|q| q.0 == figure.quantity) {
                text += &format!("published {} of {}: {}\n", figure.quantity, figure.population, figure.value);
            }
        }
        if !sources.is_empty() {
            text += &format!("published: {}\n", sources.join("; "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::network;
    use crate::rng::{Purpose, Stream, key};

    fn feed(summary: &mut Summary, mut spikes: Vec<(f64, u32)>) {
        spikes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for part in spikes.chunks(37) {
            summary.spikes(&part.iter().map(|&(time, id)| Spike { time, id }).collect::<Vec<_>>()).unwrap();
        }
    }

    /// Intervals are sums of `shape` exponentials: a gamma process of CV 1/sqrt(shape).
    fn gamma(id: u32, rate: f64, shape: u32, stop: f64) -> Vec<(f64, u32)> {
        let mut stream = Stream::new(key(5, 0), Purpose::PoissonSource, id, 0);
        let mut draw = || -(0..shape).map(|_| stream.uniform().ln()).sum::<f64>() * 1000.0 / (rate * shape as f64);
        let mut time = draw();
        let mut spikes = Vec::new();
        while time <= stop {
            spikes.push((time, id));
            time += draw();
        }
        spikes
    }

    #[test]
    fn regular_trains() {
        let net = network(&[("A", 3), ("silent", 4), ("B", 2)]);
        let mut summary = Summary::new(&net, 100.0, 1100.0);
        let mut spikes = Vec::new();
        for k in 1..=1100 {
            let t = k as f64;
            // A: neuron 0 every 10 ms, neuron 1 every 20 ms, neuron 2 never. B: both at the same times, every 4 ms.
            if k % 10 == 0 {
                spikes.push((t, 0));
            }
            if k % 20 == 0 {
                spikes.push((t, 1));
            }
            if k % 4 == 0 {
                spikes.extend([(t, 7), (t, 8)]);
            }
        }
        feed(&mut summary, spikes);
        let result = summary.finish();
        let a = &result.populations[0];
        assert_eq!((a.spikes, a.rate), (150, 50.0));
        let expected = ((50.0f64.powi(2) + 0.0 + 50.0f64.powi(2)) / 3.0).sqrt();
        assert!((a.rate_sd - expected).abs() < 1e-9);
        assert!(a.cv_isi.unwrap() < 1e-12);
        assert_eq!(a.cv_neurons, 2);
        let silent = &result.populations[1];
        assert_eq!((silent.spikes, silent.rate, silent.cv_isi, silent.correlation, silent.synchrony), (0, 0.0, None, None, None));
        let b = &result.populations[2];
        assert!((b.correlation.unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(b.correlation_pairs, 1);
    }

    /// The same, worked out in a plain way from all spikes at once.
    #[test]
    fn agrees_with_a_naive_reckoning() {
        let net = network(&[("A", 30)]);
        let (start, stop) = (50.0, 1999.3);
        let mut spikes: Vec<(f64, u32)> = (0..30).flat_map(|id| gamma(id, 5.0 + id as f64, 1 + id % 3, 2500.0)).collect();
        spikes.iter_mut().for_each(|s| s.0 = (s.0 * 10.0).ceil() / 10.0);
        let mut summary = Summary::new(&net, start, stop);
        feed(&mut summary, spikes.clone());
        let ours = &summary.finish().populations[0];

        spikes.retain(|s| s.0 > start && s.0 <= stop);
        spikes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let sd = |x: &[f64]| (x.iter().map(|v| (v - mean(x)).powi(2)).sum::<f64>() / x.len() as f64).sqrt();
        let trains: Vec<Vec<f64>> = (0..30).map(|id| spikes.iter().filter(|s| s.1 == id).map(|s| s.0).collect()).collect();
        let rates: Vec<f64> = trains.iter().map(|t| t.len() as f64 * 1000.0 / (stop - start)).collect();
        let cvs: Vec<f64> = trains
            .iter()
            .filter(|t| t.len() >= 5)
            .map(|t| t.windows(2).map(|w| w[1] - w[0]).collect::<Vec<_>>())
            .map(|i| sd(&i) / mean(&i))
            .collect();
        let counts = |train: &[f64], width: f64| -> Vec<f64> {
            let bins = ((stop - start) / width).floor() as usize;
            let edge = |k: usize| start + k as f64 * width;
            (0..bins).map(|k| train.iter().filter(|&&t| t > edge(k) + 1e-7 && t <= edge(k + 1) + 1e-7).count() as f64).collect()
        };
        let binned: Vec<Vec<f64>> = trains.iter().map(|t| counts(t, 2.0)).collect();
        let mut pairs = Vec::new();
        for i in 0..30 {
            for j in i + 1..30 {
                let (x, y) = (&binned[i], &binned[j]);
                let both: Vec<f64> = x.iter().zip(y).map(|(a, b)| (a - mean(x)) * (b - mean(y))).collect();
                pairs.push(mean(&both) / (sd(x) * sd(y)));
            }
        }
        let all = counts(&spikes.iter().map(|s| s.0).collect::<Vec<_>>(), 3.0);
        assert_eq!(ours.spikes, spikes.len() as u64);
        assert!((ours.rate - mean(&rates)).abs() < 1e-9 && (ours.rate_sd - sd(&rates)).abs() < 1e-9);
        assert!((ours.cv_isi.unwrap() - mean(&cvs)).abs() < 1e-9);
        assert!((ours.correlation.unwrap() - mean(&pairs)).abs() < 1e-9, "{:?} {}", ours.correlation, mean(&pairs));
        assert_eq!(ours.correlation_pairs, pairs.len() as u64);
        assert!((ours.synchrony.unwrap() - sd(&all).powi(2) / mean(&all)).abs() < 1e-9);
    }

    /// Processes of known statistics: CV 1 and 1/2, no correlation, Fano factor 1; a shared train gives both.
    #[test]
    fn processes_of_known_statistics() {
        let net = network(&[("poisson", 400), ("gamma", 300), ("shared", 100)]);
        let stop = 20_000.0;
        let mut spikes: Vec<(f64, u32)> = (0..400).flat_map(|id| gamma(id, 10.0, 1, stop)).collect();
        spikes.extend((400..700).flat_map(|id| gamma(id, 20.0, 4, stop)));
        // Each of the shared neurons takes every spike of one train with probability 1/2.
        let mut coin = Stream::new(key(9, 0), Purpose::Encoder, 0, 0);
        for (time, _) in gamma(1000, 20.0, 1, stop) {
            spikes.extend((700..800).filter(|_| coin.uniform() < 0.5).map(|id| (time, id)));
        }
        let mut summary = Summary::new(&net, 0.0, stop);
        feed(&mut summary, spikes);
        let result = summary.finish();
        let [poisson, gamma, shared] = &result.populations[..] else { panic!() };
        assert!((poisson.rate - 10.0).abs() < 0.1 && (poisson.rate_sd - (10.0f64 / 20.0).sqrt()).abs() < 0.1);
        assert!((poisson.cv_isi.unwrap() - 1.0).abs() < 0.02);
        assert!(poisson.correlation.unwrap().abs() < 0.002 && poisson.correlation_pairs == 200 * 199 / 2);
        assert!((poisson.synchrony.unwrap() - 1.0).abs() < 0.05);
        assert!((gamma.cv_isi.unwrap() - 0.5).abs() < 0.02);
        assert!((shared.correlation.unwrap() - 0.5).abs() < 0.03, "{:?}", shared.correlation);
        // Count = binomial(100, 1/2) per event, Poisson many events: Fano = (variance + mean^2) / mean of one event's count.
        assert!((shared.synchrony.unwrap() - (25.0 + 2500.0) / 50.0).abs() < 3.0, "{:?}", shared.synchrony);
    }

    #[test]
    fn a_stopped_run_counts_what_it_covered() {
        let net = network(&[("A", 1)]);
        let mut summary = Summary::new(&net, 0.0, 10_000.0);
        feed(&mut summary, (1..=100).map(|k| (k as f64 * 10.0, 0)).collect());
        assert!((summary.finish_at(1000.0).populations[0].rate - 100.0).abs() < 1e-9);
        assert!((summary.finish().populations[0].rate - 10.0).abs() < 1e-9);
        let nothing = Summary::new(&net, 5.0, 5.0).finish();
        assert_eq!(nothing.populations[0].rate, 0.0);
    }

    #[test]
    fn tee_feeds_all() {
        let net = network(&[("A", 1)]);
        let (mut a, mut b) = (Summary::new(&net, 0.0, 1e3), Summary::new(&net, 0.0, 1e3));
        Tee(&mut [&mut a, &mut b]).spikes(&[Spike { time: 1.0, id: 0 }]).unwrap();
        assert_eq!((a.finish().populations[0].spikes, b.finish().populations[0].spikes), (1, 1));
    }

    #[test]
    fn table_puts_published_figures_beside_ours() {
        let population = |name: &str, rate: f64| PopulationStatistics {
            name: name.into(),
            n: 100,
            spikes: 1234,
            rate,
            rate_sd: 0.5,
            cv_isi: Some(0.91),
            ..Default::default()
        };
        let result = Statistics { start: 0.0, stop: 1e3, populations: vec![population("L23E", 0.868), population("L4I", 5.9)] };
        let published = |population: &str, quantity: &str, value: f64| Published {
            source: "Somebody 2014, Table 6".into(),
            population: population.into(),
            quantity: quantity.into(),
            value,
        };
        let text = result.table(&[published("L23E", "rate", 0.86), published("L4I", "latency", 3.0)]);
        let expected = "\
population    n  spikes  rate/Hz    sd  published  CV ISI  corr  synchrony
L23E        100    1234     0.87  0.50       0.86    0.91     -          -
L4I         100    1234     5.90  0.50          -    0.91     -          -
published latency of L4I: 3
published: Somebody 2014, Table 6
";
        assert_eq!(text, expected);
        assert_eq!(result.value("L4I", "rate"), Some(5.9));
    }
}
