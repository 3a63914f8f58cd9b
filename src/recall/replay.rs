//! Replay: left alone, a population with a cell an experience is lit by noise, more where what the cell stands for is surprising, rewarded,
//! recent or important, and activity runs from there along the links of what followed each other: forward, or backward from a reward.
//! Promises spikes of the project's own engine, the same for a seed, and that nothing is changed by it. Knows no file.
//!
//! Cells are leaky integrators (iaf_psc_delta) in units of their threshold. Three things drive them: ripples, rare Poisson events that
//! light a cell, at a rate that goes with the third power of its priority; a background of small Poisson events, by the rank of its
//! priority, which decides whether a link carries it over the threshold; and links, as pair-based STDP leaves them where each cell fired
//! once after the one before it. A reward strengthens the reverse of the links that led to it, by a trace that fades with each of them
//! (reverse replay: Foster & Wilson 2006, doi 10.1038/nature04587). One inhibitory cell answers every spike, so that one sequence runs at a
//! time. Weights and rates were chosen by a sweep of ten settings on 30 and 1,000 made-up experiences, for order and for priority.

use super::episode::Episode;
use super::hippocampus::Hippocampus;
use crate::engine::{self, Engine, Kind, Sink, Spike};
use crate::error::Result;
use crate::model::library::Library;
use crate::network::inputs::{Drive, DriveKind, SpikeSource};
use crate::network::{Cell, Edges, Network, Population, Projection, Rule, Values};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

/// ms a step.
const DT: f64 = 1.0;
/// Membrane time constant, ms.
const TAU: f64 = 8.0;
/// ms in which a cell that fired does not fire again.
const REFRACTORY: f64 = 150.0;
/// Ripples of the whole population, Hz.
const RIPPLES: f64 = 4.0;
/// What a ripple adds, in thresholds.
const RIPPLE: f64 = 0.7;
/// What a spike of the background adds, in thresholds.
const SMALL: f64 = 0.032;
/// Mean of the background by the rank of the priority, in thresholds, in so many levels.
const BACKGROUND: [f64; 2] = [0.24, 0.52];
const LEVELS: f64 = 32.0;
/// What a link adds forward, and what one does backward that led to a reward of 1, in thresholds; ms that they take.
const FORWARD: (f64, f64) = (0.8, 10.0);
const BACKWARD: (f64, f64) = (0.95, 8.0);
/// How much of the trace a reward finds in each further link before it, and links that it reaches.
const FADES: f64 = 0.9;
const REACH: usize = 12;
/// What every spike takes from all cells two steps later, in thresholds.
const INHIBITION: f64 = 0.45;
/// A silence of so many ms ends a sequence.
const SILENCE: f64 = 25.0;
/// A reward of this and more is replayed backward.
const REWARDED: f64 = 0.5;
/// Days in which recency falls by half.
const HALF: f64 = 30.0;

/// What makes an experience be replayed.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq)]
pub struct Priority {
    /// How little it was expected, 0 to 1.
    pub surprise: f64,
    /// The amount of its outcome, 0 to 1.
    pub reward: f64,
    /// 1 now, half 30 days later; 0.5 where no time is known.
    pub recency: f64,
    /// 1 where it is pinned.
    pub importance: f64,
    /// Whether it is history, which rests.
    pub history: bool,
}

impl Priority {
    /// The sum, above 0, by whose third power it is lit: as noise above a threshold is.
    pub fn total(&self) -> f64 {
        let rests = if self.history { 0.1 } else { 1.0 };
        (rests * (self.surprise + 2.0 * self.reward + self.recency + 2.0 * self.importance)).max(1e-3)
    }
}

/// How recent something is that happened so many seconds ago; None where that is not known.
pub fn recency(seconds: Option<i64>) -> f64 {
    seconds.map_or(0.5, |s| 0.5f64.powf(s.max(0) as f64 / 86_400.0 / HALF))
}

/// What a cell stands for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace {
    /// How much it is driven, above 0.
    pub priority: f64,
    /// Its outcome, -1 to 1.
    pub outcome: f64,
    /// The cell of what came before it in its session.
    pub before: Option<usize>,
}

/// The population at rest.
pub struct Rest {
    engine: Box<dyn Engine>,
    fired: VecDeque<(f64, usize)>,
    now: f64,
    /// Third power of the priority of each; 0 where it is silent.
    drive: Vec<f64>,
}

/// Index of the population that lights cells, and of the cells.
const NOISE: usize = 0;
const CELLS: usize = 1;

impl Rest {
    /// A cell for each trace.
    pub fn new(traces: &[Trace], seed: u64) -> Result<Rest> {
        // Where there is nothing, one cell that is never lit.
        let traces = if traces.is_empty() { &[Trace::default()] } else { traces };
        let n = traces.len() as u32;
        let drive: Vec<f64> = traces.iter().map(|t| t.priority.powi(3)).collect();
        let mut net = Network::new(DT, seed);
        let model = Library::built_in()?.neuron("iaf_psc_delta")?;
        let leaky = |t_ref: f64| {
            let given = [("E_L", 0.0), ("V_th", 1.0), ("V_reset", 0.0), ("tau_m", TAU), ("t_ref", t_ref), ("V_m", BACKGROUND[0])];
            Cell::neuron(&model, &given, DT)
        };
        let rate = Values::Each(rates(&drive).into());
        let noise = Cell::Source(SpikeSource::Poisson { rate, start: 0.0, stop: f64::INFINITY });
        net.add(Population::new("noise", n, noise));
        net.add(Population::new("cells", n, leaky(REFRACTORY)?));
        let inhibition = net.add(Population::new("inhibition", 1, leaky(0.0)?));
        net.connect(Projection::new("ripples", NOISE, CELLS, Rule::OneToOne, RIPPLE, DT)?);
        let links = Rule::Explicit(Arc::new(links(traces)));
        net.connect(Projection::new("links", CELLS, CELLS, links, FORWARD.0, FORWARD.1)?);
        net.connect(Projection::new("to inhibition", CELLS, inhibition, Rule::AllToAll, 2.0, DT)?);
        net.connect(Projection::new("from inhibition", inhibition, CELLS, Rule::AllToAll, -INHIBITION, DT)?);
        let rate = Values::Each(background(traces).into());
        net.drive(Drive::new("background", CELLS, DriveKind::Poisson { rate, weight: SMALL, port: 0 }));
        let engine = engine::open(Kind::Cpu, &Arc::new(net), &engine::Options::threads(1))?;
        Ok(Rest { engine, fired: VecDeque::new(), now: 0.0, drive })
    }

    /// The next spike: ms, and whose it is; None where all cells are silent.
    pub fn next(&mut self) -> Result<Option<(f64, usize)>> {
        let n = self.drive.len();
        while self.drive.iter().any(|d| *d > 0.0) {
            if let Some((time, cell)) = self.fired.pop_front() {
                if self.drive[cell] > 0.0 {
                    return Ok(Some((time, cell)));
                }
                continue;
            }
            self.engine.advance(20, &mut Fired { cells: n..2 * n, fired: &mut self.fired })?;
            self.now += 20.0 * DT;
        }
        Ok(None)
    }

    /// Model time that has passed, ms.
    pub fn now(&self) -> f64 {
        self.now
    }

    /// A cell is lit no more, nor told of.
    pub fn silence(&mut self, cell: usize) -> Result<()> {
        self.drive[cell] = 0.0;
        self.engine.set_rates(NOISE, &rates(&self.drive))
    }
}

struct Fired<'a> {
    cells: std::ops::Range<usize>,
    fired: &'a mut VecDeque<(f64, usize)>,
}

impl Sink for Fired<'_> {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        let own = spikes.iter().filter(|s| self.cells.contains(&(s.id as usize)));
        self.fired.extend(own.map(|s| (s.time, s.id as usize - self.cells.start)));
        Ok(())
    }
    fn sample(&mut self, _: usize, _: f64, _: &[f32]) -> Result<()> {
        Ok(())
    }
}

/// Ripples a cell, Hz: together always as many.
fn rates(drive: &[f64]) -> Vec<f64> {
    let all: f64 = drive.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    drive.iter().map(|d| RIPPLES * d / all).collect()
}

/// Small events a cell, Hz, by the rank of its priority; alike where priorities are.
fn background(traces: &[Trace]) -> Vec<f64> {
    let mut sorted: Vec<f64> = traces.iter().map(|t| t.priority).collect();
    sorted.sort_by(f64::total_cmp);
    let rank = |x: f64| {
        let (below, upto) = (sorted.partition_point(|y| *y < x), sorted.partition_point(|y| *y <= x));
        (below + upto) as f64 / (2 * sorted.len()) as f64
    };
    let level = |t: &Trace| (rank(t.priority) * LEVELS).round() / LEVELS;
    let mean = |t: &Trace| BACKGROUND[0] + (BACKGROUND[1] - BACKGROUND[0]) * level(t);
    traces.iter().map(|t| 1e3 * mean(t) / (SMALL * TAU)).collect()
}

/// Each cell onto the one after it, and, before a reward, onto the one before it.
fn links(traces: &[Trace]) -> Edges {
    let mut reverse = vec![0.0f64; traces.len()];
    for (start, trace) in traces.iter().enumerate().filter(|(_, t)| t.outcome >= REWARDED) {
        let (mut cell, mut weight) = (start, BACKWARD.0 * trace.outcome.min(1.0));
        for _ in 0..REACH {
            let Some(before) = traces[cell].before else { break };
            reverse[cell] = reverse[cell].max(weight);
            (cell, weight) = (before, FADES * weight);
        }
    }
    let mut from: Vec<Vec<(u32, f32, f64)>> = vec![Vec::new(); traces.len()];
    for (cell, trace) in traces.iter().enumerate() {
        let Some(before) = trace.before else { continue };
        from[before].push((cell as u32, FORWARD.0 as f32, FORWARD.1));
        if reverse[cell] > 0.0 {
            from[cell].push((before as u32, reverse[cell] as f32, BACKWARD.1));
        }
    }
    let mut edges = Edges { start: vec![0], target: vec![], weight: Some(vec![]), delay: Some(vec![]) };
    for mut own in from {
        own.sort_by_key(|e| e.0);
        edges.target.extend(own.iter().map(|e| e.0));
        edges.weight.iter_mut().for_each(|w| w.extend(own.iter().map(|e| e.1)));
        edges.delay.iter_mut().for_each(|d| d.extend(own.iter().map(|e| e.2)));
        edges.start.push(edges.target.len() as u64);
    }
    edges
}

/// One sequence.
#[derive(Clone, Debug, Serialize)]
pub struct Sequence {
    /// Experiences in the order in which they fired.
    pub ids: Vec<String>,
    /// Rank correlation of that order with the one in which they were lived; None of one alone.
    pub spearman: Option<f64>,
    /// How long it took, ms of model time.
    pub ms: f64,
}

/// What happened in a stretch of rest.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Sequences in their order.
    pub sequences: Vec<Sequence>,
    /// Mean size of the rank correlation of sequences of at least three, forward or backward; None where there are none.
    pub spearman: Option<f64>,
    /// Share of the spikes that are of experiences whose priority is at least the median.
    pub above_median: f64,
    /// How often each was replayed, the most often first.
    pub counts: Vec<(String, usize)>,
    /// Model time, ms.
    pub ms: f64,
}

/// The priorities of all experiences, in their order. Surprise is 1 less the share of its words' rarity that earlier ones of its session
/// had.
pub fn priorities(network: &Hippocampus, now: Timestamp) -> Vec<(String, Priority)> {
    let mut seen: HashMap<Option<&str>, std::collections::HashSet<u16>> = HashMap::new();
    let mut all = Vec::new();
    for episode in network.episodes() {
        let words = super::words::cells(&episode.said());
        let before = seen.entry(episode.session.as_deref()).or_default();
        let rarity = |(word, _): &(u16, u8)| f64::from(network.index().rarity(*word));
        let known: f64 = words.iter().filter(|(word, _)| before.contains(word)).map(rarity).sum();
        let whole: f64 = words.iter().map(rarity).sum();
        before.extend(words.iter().map(|(word, _)| *word));
        let surprise = if whole > 0.0 { 1.0 - known / whole } else { 0.0 };
        all.push((episode.id.clone(), priority(episode, surprise, now)));
    }
    all
}

fn priority(episode: &Episode, surprise: f64, now: Timestamp) -> Priority {
    Priority {
        surprise,
        reward: episode.outcome.unwrap_or(0.0).abs(),
        recency: recency(episode.instant().map(|t| now.as_second() - t.as_second())),
        importance: f64::from(episode.pinned),
        history: episode.is_history(now),
    }
}

/// A stretch of rest, until so many sequences have run; `each` hears how many have, and may have enough.
pub fn rest(
    network: &Hippocampus,
    sequences: usize,
    seed: u64,
    now: Timestamp,
    each: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Report> {
    let all = priorities(network, now);
    let at: HashMap<&str, usize> = all.iter().enumerate().map(|(i, (id, _))| (id.as_str(), i)).collect();
    let trace = |(id, priority): &(String, Priority)| Trace {
        priority: priority.total(),
        outcome: network.get(id).and_then(|e| e.outcome).unwrap_or(0.0),
        before: network.neighbours(id)[0].and_then(|id| at.get(id)).copied(),
    };
    let traces: Vec<Trace> = all.iter().map(trace).collect();
    let (mut population, mut found, mut open) = (Rest::new(&traces, seed)?, Vec::new(), Vec::<(f64, usize)>::new());
    while found.len() < sequences {
        let Some((time, cell)) = population.next()? else { break };
        if open.last().is_some_and(|(last, _)| time - last > SILENCE) {
            found.push(std::mem::take(&mut open));
            if each(found.len()).is_break() {
                break;
            }
        }
        open.push((time, cell));
    }
    let mut counts = vec![0usize; all.len()];
    found.iter().flatten().for_each(|(_, cell)| counts[*cell] += 1);
    let sequences: Vec<Sequence> = found
        .iter()
        .map(|spikes| Sequence {
            ids: spikes.iter().map(|(_, cell)| all[*cell].0.clone()).collect(),
            spearman: spearman(&spikes.iter().map(|(_, cell)| *cell as f64).collect::<Vec<_>>()),
            ms: spikes.last().zip(spikes.first()).map_or(0.0, |(last, first)| last.0 - first.0),
        })
        .collect();
    let orders: Vec<f64> = sequences.iter().filter(|s| s.ids.len() > 2).filter_map(|s| s.spearman.map(f64::abs)).collect();
    let mut totals: Vec<f64> = traces.iter().map(|t| t.priority).collect();
    totals.sort_by(f64::total_cmp);
    let median = totals.get(totals.len() / 2).copied().unwrap_or(0.0);
    let replayed: usize = counts.iter().sum();
    let above: usize = counts.iter().zip(&traces).filter(|(_, t)| t.priority >= median).map(|(n, _)| n).sum();
    let mut by_count: Vec<(String, usize)> = all.iter().map(|(id, _)| id.clone()).zip(counts).filter(|(_, n)| *n > 0).collect();
    by_count.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    Ok(Report {
        spearman: (!orders.is_empty()).then(|| orders.iter().sum::<f64>() / orders.len() as f64),
        above_median: above as f64 / replayed.max(1) as f64,
        sequences,
        counts: by_count,
        ms: population.now(),
    })
}

/// Rank correlation of values with their own order; None for fewer than two.
fn spearman(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    let rank = |x: &f64| values.iter().filter(|y| *y < x).count() as f64;
    let squares: f64 = values.iter().enumerate().map(|(i, x)| (rank(x) - i as f64).powi(2)).sum();
    (values.len() > 1).then(|| 1.0 - 6.0 * squares / (n * (n * n - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlation_by_hand() {
        assert_eq!((spearman(&[1.0, 2.0, 9.0]), spearman(&[3.0, 2.0, 1.0])), (Some(1.0), Some(-1.0)));
        assert_eq!((spearman(&[2.0, 1.0, 3.0]), spearman(&[2.0])), (Some(0.5), None));
    }

    /// Without links cells fire by the third power of their priorities; silent ones are not heard of, and the others in their place.
    #[test]
    fn noise_lights_what_matters() {
        let traces = [1.0, 2.0, 4.0, 0.5].map(|priority| Trace { priority, ..Trace::default() });
        let mut rest = Rest::new(&traces, 3).unwrap();
        let mut counts = [0; 4];
        (0..200).for_each(|_| counts[rest.next().unwrap().unwrap().1] += 1);
        assert!(counts[2] > 120 && counts[2] > 3 * counts[1] && counts[1] > counts[0], "{counts:?}");
        rest.silence(2).unwrap();
        assert!((0..40).all(|_| rest.next().unwrap().unwrap().1 != 2));
        [0, 1].into_iter().for_each(|cell| rest.silence(cell).unwrap());
        assert_eq!(rest.next().unwrap().unwrap().1, 3);
        rest.silence(3).unwrap();
        assert_eq!(rest.next().unwrap(), None);
        assert_eq!(Rest::new(&[], 1).unwrap().next().unwrap(), None);
    }

    /// What matters is replayed more, sequences run in the order lived, and from a reward backward; without the links they do not.
    #[test]
    fn rest_follows_links_and_priorities() {
        let mut network = Hippocampus::new(None);
        let note = |i: usize| Episode {
            session: Some(format!("day {}", i / 20)),
            pinned: i % 3 != 0,
            outcome: (i % 20 == 15).then_some(1.0),
            ..Episode::of_text(format!("note number{i} about thing{}", i % 7))
        };
        network.add((0..60).map(note).collect()).unwrap();
        let rest =
            |network: &Hippocampus, n| super::rest(network, n, 1, Timestamp::UNIX_EPOCH, &mut |_| ControlFlow::Continue(()));
        let report = rest(&network, 150).unwrap();
        let order = report.spearman.unwrap();
        assert!(order > 0.9 && report.above_median > 0.7, "{order} {}", report.above_median);
        let long = |sign: f64| report.sequences.iter().filter(|s| s.ids.len() > 2 && s.spearman == Some(sign)).count();
        assert!(long(1.0) > 10 && long(-1.0) > 3, "{} forward, {} backward", long(1.0), long(-1.0));
        assert_eq!(rest(&network, 150).unwrap().counts, report.counts);
        // The same with everything in a session of its own.
        let mut apart = Hippocampus::new(None);
        apart.add((0..60).map(|i| Episode { session: Some(i.to_string()), ..note(i) }).collect()).unwrap();
        let alone = rest(&apart, 60).unwrap();
        assert!(alone.sequences.iter().filter(|s| s.ids.len() > 2).count() < 6);
        assert!(rest(&Hippocampus::new(None), 5).unwrap().sequences.is_empty());
    }
}
