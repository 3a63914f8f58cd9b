//! The complete dynamic state of an engine, typed: what all engines share, and what only the kind that wrote it understands. Promises
//! that a file holds it as named lists of words, the names of which stand here alone, and that lists of the versions before are taken
//! up as well. Knows no file format.

use super::NEVER;
use crate::error::{Error, Result};
use crate::network::{Cell, Network};
use std::collections::BTreeMap;

/// State that does not depend on threads or table formats; of engines on a grid also not on the engine, where no synapse has dynamics.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Steps done; time = step * dt on a grid.
    pub step: u64,
    /// For each population, each state variable: 32-bit words, one a neuron (empty for sources; f64 halves on the event engine).
    pub states: Vec<Vec<Vec<u32>>>,
    /// Spikes not yet delivered everywhere: (stamp step, global id), sorted.
    pub recent: Vec<(u64, u32)>,
    /// Steps from the spike before of the same source to each of these (u32::MAX: it was the first).
    pub elapsed: Vec<u32>,
    /// Last spike step of every source that has dynamic synapses (u64::MAX: never), by global id; empty without such synapses.
    pub last_spike: Vec<u64>,
    /// Per projection with dynamic synapses: per state variable (weight first), in canonical edge order; integers by their bits.
    /// Plastic synapses are as they were last brought up to date.
    pub synapses: Vec<Vec<Vec<f32>>>,
    /// Rates (Hz, one a source) that populations were told while running.
    pub rates: BTreeMap<usize, Vec<f64>>,
    /// Plastic projections that do not learn, and since which step.
    pub stopped: BTreeMap<usize, u64>,
    /// Spikes of targets that homeostasis has counted.
    pub counts: Vec<u64>,
    /// The rest, which only the same kind of engine can take up.
    pub own: Own,
    /// What the host keeps beside it, by name.
    pub notes: Vec<(String, Vec<u64>)>,
}

/// What only one kind of engine understands.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Own {
    /// The shared parts are all.
    #[default]
    Nothing,
    /// Of the cpu engine.
    Cpu {
        /// Spikes of the targets of plastic synapses, and since when these do not learn.
        post_spikes: Vec<u64>,
        /// Signals, and their jumps to come.
        signals: Vec<u64>,
    },
    /// Of the gpu engine.
    Gpu {
        /// What spikes on their way will bring, where synapses have dynamics.
        ring: Vec<u64>,
        /// What plastic synapses know beyond their states.
        plastic: Vec<u64>,
    },
    /// Of the event engine.
    Event(Exact),
}

/// The exact states of the event engine, times and numbers in f64.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exact {
    /// Of the parameters and currents of each population.
    pub fingerprints: Vec<u64>,
    /// By population.
    pub cells: BTreeMap<usize, Vec<u64>>,
    /// By population: where its trains stand.
    pub sources: BTreeMap<usize, Vec<u64>>,
    /// By Poisson drive.
    pub drives: Vec<Vec<u64>>,
    /// By signal.
    pub signals: Vec<Vec<u64>>,
    /// By plastic projection.
    pub post_spikes: Vec<Vec<u64>>,
    /// Jumps of signals (which, bits of ms) that spikes have caused and that are still to come.
    pub jumps: Vec<[u64; 2]>,
    /// Spikes on their way: source, synapses served, bits of the ms since its spike before (f32), bits of the stamp (ms).
    pub flight: Vec<[u64; 4]>,
    /// What is kept of the sources of plastic synapses, as the spikes on their way need it.
    pub senders: Vec<u64>,
    /// Bits of ms, by global id.
    pub last_spike: Vec<u64>,
}

const ELAPSED: &str = "elapsed";
const RATES: &str = "rates.";
const STOPPED: &str = "stopped";
const COUNTS: &str = "homeostasis";
const POST_SPIKES: &str = "post_spikes";
const SIGNALS: &str = "signals";
const RING: &str = "gpu_ring";
const PLASTIC: &str = "gpu_plastic";
/// Before the name of what belongs to the event engine.
const EVENT: &str = "event.";
/// Rates as the engines on a grid wrote them before, population by population, and the event engine.
const OLD_RATES: &str = "rates";
const OLD_EVENT_RATES: &str = "event.rates.";

/// By bits: a random word may look like a NaN, which no comparison of numbers finds equal to itself.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Snapshot) -> bool {
        let shape = |s: &Snapshot| (s.step, s.synapses.iter().map(Vec::len).collect::<Vec<_>>());
        let same =
            |(a, b): (&Vec<f32>, &Vec<f32>)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        shape(self) == shape(other)
            && (&self.states, &self.recent, &self.elapsed, &self.last_spike)
                == (&other.states, &other.recent, &other.elapsed, &other.last_spike)
            && (&self.rates, &self.stopped, &self.counts, &self.own, &self.notes)
                == (&other.rates, &other.stopped, &other.counts, &other.own, &other.notes)
            && self.synapses.iter().flatten().zip(other.synapses.iter().flatten()).all(same)
    }
}

impl Snapshot {
    /// The spikes in flight with the steps since their source's previous spike: (stamp, id, elapsed).
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (u64, u32, u32)> + '_ {
        let elapsed = self.elapsed.iter().copied().chain(std::iter::repeat(NEVER));
        self.recent.iter().zip(elapsed).map(|(&(stamp, id), elapsed)| (stamp, id, elapsed))
    }

    /// Refuses a snapshot whose populations, models or ids are not those of the network (one state word a neuron, as the engines
    /// on a grid keep them).
    pub fn check(&self, net: &Network) -> Result<()> {
        let fits = self.states.len() == net.populations.len()
            && net.populations.iter().zip(&self.states).all(|(p, states)| match &p.cell {
                Cell::Neuron(i) => states.len() == i.model.states.len() && states.iter().all(|s| s.len() == p.n as usize),
                Cell::Source(_) => true,
            })
            && self.recent.iter().all(|r| r.1 < net.neurons());
        match fits {
            true => Ok(()),
            false => Err(Error::input(
                "the checkpoint holds other populations or models than the scenario",
                "resume with the scenario that wrote it; parameters may change, sizes and models may not",
            )),
        }
    }

    /// What is neither states nor spikes, as named lists of words.
    pub(crate) fn parts(&self) -> Vec<(String, Vec<u64>)> {
        let mut parts: Vec<(String, Vec<u64>)> = Vec::new();
        let mut put = |name: &str, words: Vec<u64>| parts.push((name.into(), words));
        let some = |words: &Vec<u64>| (!words.is_empty()).then(|| words.clone());
        put(ELAPSED, self.elapsed.iter().map(|e| *e as u64).collect());
        for (p, rates) in &self.rates {
            put(&format!("{RATES}{p}"), rates.iter().map(|r| r.to_bits()).collect());
        }
        if !self.stopped.is_empty() {
            put(STOPPED, self.stopped.iter().flat_map(|(projection, since)| [*projection as u64, *since]).collect());
        }
        some(&self.counts).into_iter().for_each(|words| put(COUNTS, words));
        match &self.own {
            Own::Nothing => {}
            Own::Cpu { post_spikes, signals } => {
                some(post_spikes).into_iter().for_each(|words| put(POST_SPIKES, words));
                some(signals).into_iter().for_each(|words| put(SIGNALS, words));
            }
            Own::Gpu { ring, plastic } => {
                some(ring).into_iter().for_each(|words| put(RING, words));
                some(plastic).into_iter().for_each(|words| put(PLASTIC, words));
            }
            Own::Event(exact) => {
                let mut put = |name: &str, words: Vec<u64>| put(&format!("{EVENT}{name}"), words);
                put("fingerprints", exact.fingerprints.clone());
                exact.cells.iter().for_each(|(p, words)| put(&format!("cells.{p}"), words.clone()));
                exact.sources.iter().for_each(|(p, words)| put(&format!("source.{p}"), words.clone()));
                for (name, list) in [("drive", &exact.drives), ("signal", &exact.signals), ("post_spikes", &exact.post_spikes)] {
                    list.iter().enumerate().for_each(|(k, words)| put(&format!("{name}.{k}"), words.clone()));
                }
                put("jumps", exact.jumps.as_flattened().to_vec());
                put("flight", exact.flight.as_flattened().to_vec());
                put("senders", exact.senders.clone());
                put("last_spike", exact.last_spike.clone());
            }
        }
        parts.extend(self.notes.iter().cloned());
        parts
    }

    /// Takes up what [`Snapshot::parts`] gave, of this version or one before; what has no name here is the host's.
    ///
    /// # Errors
    /// The rates are those of other sources than the network's.
    pub(crate) fn take(&mut self, parts: Vec<(String, Vec<u64>)>, net: &Network) -> Result<()> {
        let numbers = |words: &[u64]| words.iter().map(|bits| f64::from_bits(*bits)).collect::<Vec<f64>>();
        let mut exact: Option<Exact> = None;
        for (name, words) in parts {
            let indexed = |prefix: &str| name.strip_prefix(prefix).and_then(|index| index.parse::<usize>().ok());
            if let Some(p) = indexed(RATES).or_else(|| indexed(OLD_EVENT_RATES)) {
                self.rates.insert(p, numbers(&words));
                continue;
            }
            if let Some(name) = name.strip_prefix(EVENT) {
                exact.get_or_insert_default().take(name, words);
                continue;
            }
            match name.as_str() {
                ELAPSED => self.elapsed = words.iter().map(|e| *e as u32).collect(),
                OLD_RATES => {
                    let mut words = &words[..];
                    while let Some((&p, rest)) = words.split_first() {
                        let n = net.populations.get(p as usize).map_or(usize::MAX, |p| p.n as usize);
                        let Some((own, rest)) = rest.split_at_checked(n) else { return Err(other_sources()) };
                        self.rates.insert(p as usize, numbers(own));
                        words = rest;
                    }
                }
                STOPPED => self.stopped = words.chunks_exact(2).map(|pair| (pair[0] as usize, pair[1])).collect(),
                COUNTS => self.counts = words,
                POST_SPIKES | SIGNALS => {
                    if !matches!(self.own, Own::Cpu { .. }) {
                        self.own = Own::Cpu { post_spikes: Vec::new(), signals: Vec::new() };
                    }
                    if let Own::Cpu { post_spikes, signals } = &mut self.own {
                        *(if name == SIGNALS { signals } else { post_spikes }) = words;
                    }
                }
                RING | PLASTIC => {
                    if !matches!(self.own, Own::Gpu { .. }) {
                        self.own = Own::Gpu { ring: Vec::new(), plastic: Vec::new() };
                    }
                    if let Own::Gpu { ring, plastic } = &mut self.own {
                        *(if name == RING { ring } else { plastic }) = words;
                    }
                }
                _ => self.notes.push((name, words)),
            }
        }
        exact.into_iter().for_each(|exact| self.own = Own::Event(exact));
        Ok(())
    }
}

impl Exact {
    /// One of its parts, by its name after [`EVENT`].
    fn take(&mut self, name: &str, words: Vec<u64>) {
        let (head, index) = name.split_once('.').unwrap_or((name, ""));
        let index: usize = index.parse().unwrap_or(0);
        let at = |list: &mut Vec<Vec<u64>>, words| {
            // A list longer than any network's is none.
            if index < 1 << 24 {
                list.resize(list.len().max(index + 1), Vec::new());
                list[index] = words;
            }
        };
        match head {
            "fingerprints" => self.fingerprints = words,
            "cells" => drop(self.cells.insert(index, words)),
            "source" => drop(self.sources.insert(index, words)),
            "drive" => at(&mut self.drives, words),
            "signal" => at(&mut self.signals, words),
            "post_spikes" => at(&mut self.post_spikes, words),
            "jumps" => self.jumps = words.as_chunks().0.to_vec(),
            "flight" => self.flight = words.as_chunks().0.to_vec(),
            "senders" => self.senders = words,
            "last_spike" => self.last_spike = words,
            _ => {}
        }
    }
}

/// The refusal of rates that do not fit.
fn other_sources() -> Error {
    Error::input("the checkpoint holds rates of other sources", "resume with the scenario that wrote it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{network, neuron};

    fn whole(own: Own) -> Snapshot {
        Snapshot {
            step: 7,
            elapsed: vec![3, NEVER],
            rates: [(0, vec![1.5, 0.0, 80.0]), (1, vec![f64::MIN_POSITIVE])].into(),
            stopped: [(2, 40), (5, 0)].into(),
            counts: vec![0, u64::MAX],
            own,
            notes: vec![("anything / α".into(), vec![1]), ("empty".into(), vec![])],
            ..Snapshot::default()
        }
    }

    fn taken(parts: Vec<(String, Vec<u64>)>) -> Result<Snapshot> {
        let mut snapshot = Snapshot { step: 7, ..Snapshot::default() };
        snapshot.take(parts, &network(vec![(3, neuron(&[])), (1, neuron(&[]))])).map(|()| snapshot)
    }

    #[test]
    fn named_parts_are_the_whole() {
        let exact = Exact {
            fingerprints: vec![1, 2],
            cells: [(0, vec![4]), (3, vec![])].into(),
            sources: [(1, vec![5, 6])].into(),
            drives: vec![vec![7], vec![], vec![8]],
            signals: vec![vec![9]],
            post_spikes: vec![vec![], vec![10]],
            jumps: vec![[0, 11], [1, 12]],
            flight: vec![[1, 2, 3, 4]],
            senders: vec![13],
            last_spike: vec![14],
        };
        let cpu = Own::Cpu { post_spikes: vec![1], signals: vec![] };
        for own in [Own::Nothing, cpu, Own::Gpu { ring: vec![2, 3], plastic: vec![4] }, Own::Event(exact)] {
            let snapshot = whole(own);
            assert_eq!(taken(snapshot.parts()).unwrap(), snapshot);
        }
    }

    /// Rates as versions before wrote them.
    #[test]
    fn earlier_versions_are_taken_up() {
        let bits = |x: f64| x.to_bits();
        let flat = vec![0, bits(1.0), bits(2.0), bits(3.0), 1, bits(4.0)];
        let rates: BTreeMap<usize, Vec<f64>> = [(0, vec![1.0, 2.0, 3.0]), (1, vec![4.0])].into();
        assert_eq!(taken(vec![("rates".into(), flat.clone())]).unwrap().rates, rates);
        let one = vec![("event.rates.1".into(), vec![bits(4.0)]), ("event.senders".into(), vec![9])];
        let snapshot = taken(one).unwrap();
        assert_eq!(snapshot.rates, [(1, vec![4.0])].into());
        assert!(matches!(snapshot.own, Own::Event(Exact { senders, .. }) if senders == [9]));
        assert!(taken(vec![("rates".into(), flat[..5].to_vec())]).is_err());
        assert!(taken(vec![("rates".into(), vec![9, 0])]).is_err());
    }
}
