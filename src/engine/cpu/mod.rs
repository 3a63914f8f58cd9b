//! The CPU engine. Threads own their targets: a worker updates its neurons and serves the synapses onto them, and meets the
//! others once an interval of the shortest delay, to exchange spikes. Promises the same spikes for any number of threads.

mod barrier;
mod deliver;
mod digits;
mod history;
mod lanes;
mod plastic;
mod segments;
mod signals;
mod worker;

use super::faults::{beyond_bound, broken_neuron, within_bound};
use super::homeostasis::Balance;
use super::phases::Phases;
use super::{Counters, Engine, Own, Sink, Snapshot, Spike, Synapses, is_plastic, note_learning, readable, since_last};
use crate::error::{Error, Result};
use crate::network::connectivity::Rows;
use crate::network::fixed_point::multiplicity;
use crate::network::synapse_table::{Dynamic, Table, Tables};
use crate::network::{Cell, Network, Probe};
use barrier::Barrier;
pub use barrier::barrier_wait;
use deliver::SynapseCode;
pub use deliver::volley;
use plastic::{PERIOD, PlasticKernel, Served};
use rayon::prelude::*;
use std::cell::UnsafeCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use worker::{EXCHANGE, Outbox, PHASES, RECORD, WAIT, Worker};

/// The engine on threads, each of which owns its targets and their synapses.
pub struct CpuEngine {
    net: Arc<Network>,
    rows: Arc<Rows>,
    tables: Tables,
    workers: Vec<Worker>,
    /// Steps done.
    now: u64,
    /// Spikes that may still be on their way: (stamp, id, elapsed), by stamp.
    recent: VecDeque<(u64, u32, u32)>,
    /// Stamp of the last spike by global id, kept where synapses have dynamics.
    last_spike: Vec<u64>,
    /// Rates told to source populations, by population.
    rates: BTreeMap<usize, Vec<f64>>,
    /// Plastic projections that do not learn, and since which step.
    stopped: BTreeMap<usize, u64>,
    balance: Balance,
    spikes: u64,
}

/// The outboxes of one worker: it fills one while the others read the other.
struct Mailbox([UnsafeCell<Outbox>; 2]);

// SAFETY: the schedule in `run_worker` gives every outbox one writer (its worker) between two barriers, and readers only
// between the next two.
unsafe impl Sync for Mailbox {}

impl CpuEngine {
    /// `tables` must have been built with one block a thread.
    pub fn new(net: Arc<Network>, rows: Arc<Rows>, tables: Tables) -> Result<CpuEngine> {
        let balance = Balance::new(&net)?;
        let workers = (0..tables.blocks.len()).map(|w| Worker::new(&net, &tables, w)).collect::<Result<Vec<_>>>()?;
        let dynamic = workers.iter().any(|w| !w.codes.is_empty());
        let last_spike = if dynamic { vec![u64::MAX; net.neurons() as usize] } else { Vec::new() };
        Ok(CpuEngine {
            net,
            rows,
            tables,
            workers,
            now: 0,
            recent: VecDeque::new(),
            last_spike,
            rates: BTreeMap::new(),
            stopped: BTreeMap::new(),
            balance,
            spikes: 0,
        })
    }

    /// What plastic synapses know beside their states, projection by projection.
    fn post_spikes(&mut self) -> Vec<u64> {
        let mut flat = Vec::new();
        for entry in 0..self.workers[0].codes.len() {
            let (mut kernels, mut paused) = (Vec::new(), Vec::new());
            for (worker, table) in self.workers.iter().zip(&self.tables.tables) {
                if let SynapseCode::Plastic(kernel) = &worker.codes[entry] {
                    paused.extend(kernel.paused(table, entry as u32));
                    kernels.push(&**kernel);
                }
            }
            PlasticKernel::record(&kernels, paused, &mut flat);
        }
        flat
    }

    fn restore_post_spikes(&mut self, flat: &[u64]) -> Option<()> {
        for ((worker, table), block) in self.workers.iter_mut().zip(&self.tables.tables).zip(&self.tables.blocks) {
            let mut words = flat.iter().copied();
            for (entry, code) in (0..).zip(&mut worker.codes) {
                if let SynapseCode::Plastic(kernel) = code {
                    kernel.restore(&mut words, block.slices[kernel.target].clone(), table, entry)?;
                }
            }
            words.next().is_none().then_some(())?;
        }
        Some(())
    }

    /// Calls `act` with the code of a plastic projection, its table, its entry there and the worker's index, of every worker, in
    /// parallel.
    fn each_kernel<T: Send>(
        &mut self,
        projection: usize,
        act: impl Fn(&mut PlasticKernel, &mut Table, u32, usize) -> T + Sync,
    ) -> Result<Vec<T>> {
        let Some(entry) = self.workers[0].codes.iter_mut().position(|c| c.plastic().is_some_and(|p| p.projection == projection))
        else {
            let name = self.net.projections.get(projection).map_or("?", |p| &p.name);
            return Err(Error::input(
                format!("the weights of projection `{name}` do not change by a rule"),
                "name a projection whose synapse is plastic",
            ));
        };
        let parts = self.workers.par_iter_mut().zip(&mut self.tables.tables);
        let parts = parts.enumerate();
        Ok(parts.filter_map(|(i, (w, table))| Some(act(w.codes[entry].plastic()?, table, entry as u32, i))).collect())
    }

    /// Lets `see` look at tables in which the synapses of a projection with dynamics are as they are now, states where they are asked for;
    /// and the most that one may transmit.
    fn read<T>(&mut self, projection: usize, states: bool, see: impl FnOnce(&CpuEngine) -> Result<T>) -> Result<(T, f32)> {
        let (served, until) = (self.served(), self.stopped.get(&projection).copied().unwrap_or(self.now));
        let source = &self.net.populations[self.net.projections[projection].source];
        let sources = source.first..source.first + source.n;
        let parts = self.workers.par_iter_mut().zip(&mut self.tables.tables);
        // One entry for each port that the projection reaches.
        let stood: Vec<Vec<(usize, Dynamic, f32)>> = parts
            .map(|(worker, table)| {
                let entries = (0..worker.codes.len()).filter(|&e| table.dynamics[e].projection as usize == projection);
                let mut stood = Vec::new();
                for entry in entries.collect::<Vec<_>>() {
                    let code = &mut worker.codes[entry];
                    let copy = match code {
                        SynapseCode::Plastic(kernel) => kernel.read(table, entry as u32, &served, until, states),
                        SynapseCode::Dynamic(kernel) => kernel.read(table, entry as u32, sources.clone(), &served),
                    };
                    stood.push((entry, std::mem::replace(&mut table.dynamics[entry], copy), code.adder().limit));
                }
                stood
            })
            .collect();
        let seen = see(self);
        let mut most = f32::INFINITY;
        for (table, stood) in self.tables.tables.iter_mut().zip(stood) {
            for (entry, synapses, limit) in stood {
                table.dynamics[entry] = synapses;
                most = limit;
            }
        }
        Ok((seen?, most))
    }

    /// Which spikes have been served by now.
    fn served(&self) -> Served {
        Served::new(&self.last_spike, self.recent.iter(), self.now, self.tables.max_delay as u64)
    }

    /// Bring all weights of a plastic projection up to date.
    fn flush(&mut self, projection: usize) -> Result<()> {
        let (served, max_delay) = (self.served(), self.tables.max_delay as u64);
        self.each_kernel(projection, |kernel, table, entry, _| kernel.flush(table, entry, &served, max_delay)).map(drop)
    }

    /// Whether any weight changes by a rule.
    fn is_plastic(&self) -> bool {
        self.workers[0].codes.iter().any(|c| matches!(c, SynapseCode::Plastic(_)))
    }

    /// Refuses to go on when a synapse has transmitted more than it may.
    fn check_weights(&self) -> Result<()> {
        let failed = self.workers.iter().zip(&self.tables.tables).find_map(|(worker, table)| {
            let codes = worker.codes.iter().zip(&table.dynamics);
            codes.filter_map(|(code, dynamic)| Some((code.beyond()?, dynamic))).next()
        });
        let Some((limit, dynamic)) = failed else { return Ok(()) };
        let weights = self.tables.weights(&self.net, &self.rows, dynamic.projection as usize)?;
        Err(beyond_bound(&self.net, dynamic.projection as usize, &weights, limit, self.now as f64 * self.net.dt))
    }

    fn check_finite(&self) -> Result<()> {
        let broken = self.workers.iter().filter_map(|w| w.broken(&self.net, self.now));
        match broken.min_by_key(|(stamp, _, id, _)| (*stamp, *id)) {
            Some((stamp, exact, id, states)) => Err(broken_neuron(&self.net, id, &states, stamp, exact)),
            None => Ok(()),
        }
    }

    /// By so many steps, and forget what no plastic synapse will ask for.
    fn go(&mut self, steps: u64, sink: &mut dyn Sink) -> Result<()> {
        let stop = self.now + steps;
        while self.is_plastic() && self.now / PERIOD < stop / PERIOD {
            self.stretch((self.now / PERIOD + 1) * PERIOD - self.now, sink)?;
            for projection in 0..self.net.projections.len() {
                if self.net.projections[projection].synapse.model.plasticity.is_some() {
                    self.flush(projection)?;
                }
            }
        }
        self.stretch(stop - self.now, sink)
    }

    /// All workers side by side for a stretch of time.
    fn stretch(&mut self, steps: u64, sink: &mut dyn Sink) -> Result<()> {
        let shared = Shared {
            barrier: Barrier::new(self.workers.len()),
            mail: self.workers.iter().map(|_| Mailbox(Default::default())).collect(),
            stop: AtomicU64::new(self.now + steps),
            start: self.now,
            interval: self.tables.min_delay.max(1) as u64,
        };
        let mut lead = Lead {
            net: &self.net,
            sink,
            recent: &mut self.recent,
            last_spike: &mut self.last_spike,
            max_delay: self.tables.max_delay as u64,
            merged: Vec::new(),
            batch: Vec::new(),
            samples: Vec::new(),
            spikes: 0,
            failure: None,
        };
        let (first_table, other_tables) = self.tables.tables.split_first_mut().expect("at least one block");
        let (first_worker, other_workers) = self.workers.split_first_mut().expect("at least one worker");
        std::thread::scope(|scope| {
            for (i, (worker, table)) in other_workers.iter_mut().zip(other_tables).enumerate() {
                let shared = &shared;
                scope.spawn(move || run_worker(shared, i + 1, worker, table, None));
            }
            run_worker(&shared, 0, first_worker, first_table, Some(&mut lead));
        });
        let (spikes, failure) = (lead.spikes, lead.failure.take());
        self.spikes += spikes;
        self.now = shared.stop.load(Ordering::Acquire);
        if let Some(error) = failure {
            return Err(error);
        }
        self.check_weights()?;
        self.check_finite()
    }
}

/// What the leading thread does with an interval's results.
struct Lead<'a> {
    net: &'a Network,
    sink: &'a mut dyn Sink,
    recent: &'a mut VecDeque<(u64, u32, u32)>,
    last_spike: &'a mut Vec<u64>,
    max_delay: u64,
    merged: Vec<(u64, u32)>,
    batch: Vec<Spike>,
    samples: Vec<(u64, usize, Vec<f32>)>,
    spikes: u64,
    failure: Option<Error>,
}

impl Lead<'_> {
    fn collect(&mut self, outboxes: &[&Outbox], end: u64) -> Result<()> {
        self.merged.clear();
        outboxes.iter().for_each(|o| self.merged.extend_from_slice(&o.spikes));
        if outboxes.len() > 1 {
            self.merged.sort_unstable();
        }
        self.batch.clear();
        for &(stamp, id) in &self.merged {
            let elapsed = since_last(self.last_spike, stamp, id);
            self.recent.push_back((stamp, id, elapsed));
            self.batch.push(Spike { time: stamp as f64 * self.net.dt, id });
        }
        while self.recent.front().is_some_and(|r| r.0 + self.max_delay <= end) {
            self.recent.pop_front();
        }
        self.spikes += self.batch.len() as u64;
        if !self.batch.is_empty() {
            self.sink.spikes(&self.batch)?;
        }
        self.forward_samples(outboxes)
    }

    /// Put the parts of each sample together and hand them on in order of time.
    fn forward_samples(&mut self, outboxes: &[&Outbox]) -> Result<()> {
        self.samples.clear();
        for part in outboxes.iter().flat_map(|o| &o.samples) {
            let at = match self.samples.iter().position(|s| s.0 == part.stamp && s.1 == part.probe) {
                Some(at) => at,
                None => {
                    let Probe::State { variables, neurons, .. } = &self.net.probes[part.probe] else { continue };
                    self.samples.push((part.stamp, part.probe, vec![0.0; variables.len() * neurons.len()]));
                    self.samples.len() - 1
                }
            };
            for &(position, value) in &part.values {
                self.samples[at].2[position as usize] = value;
            }
        }
        self.samples.sort_by_key(|s| (s.0, s.1));
        for (stamp, probe, values) in &self.samples {
            self.sink.sample(*probe, *stamp as f64 * self.net.dt, values)?;
        }
        Ok(())
    }
}

/// What the workers share during one `advance`.
struct Shared {
    barrier: Barrier,
    mail: Vec<Mailbox>,
    /// First stamp at which everybody stops; lowered by the lead on failure.
    stop: AtomicU64,
    start: u64,
    interval: u64,
}

fn run_worker(shared: &Shared, index: usize, worker: &mut Worker, table: &mut Table, mut lead: Option<&mut Lead>) {
    let _guard = shared.barrier.guard();
    let (mut now, mut parity) = (shared.start, 0);
    worker.watch.start();
    // A failure noted after one barrier takes effect after the next, when everybody is sure to see it.
    while now < shared.stop.load(Ordering::Acquire) {
        let end = (now + shared.interval).min(shared.stop.load(Ordering::Acquire));
        {
            // SAFETY: nobody reads this outbox before the barrier below, and the readers of its last use passed one since.
            let out = unsafe { &mut *shared.mail[index].0[parity].get() };
            out.spikes.clear();
            out.samples.clear();
            for stamp in now + 1..=end {
                worker.step(table, stamp, out);
            }
        }
        shared.barrier.wait();
        worker.watch.lap(WAIT);
        for mail in &shared.mail {
            // SAFETY: written before the barrier; its next writing comes after the next barrier but one.
            let spikes = unsafe { &(*mail.0[parity].get()).spikes };
            worker.receive(table, spikes, end);
        }
        worker.settle(end);
        worker.watch.lap(EXCHANGE);
        if worker.failed() {
            shared.stop.fetch_min(end + shared.interval, Ordering::AcqRel);
        }
        if let Some(lead) = lead.as_deref_mut() {
            // SAFETY: as above.
            let outboxes: Vec<&Outbox> = shared.mail.iter().map(|m| unsafe { &*m.0[parity].get() }).collect();
            if lead.failure.is_none()
                && let Err(error) = lead.collect(&outboxes, end)
            {
                lead.failure = Some(error);
                let stop = (end + shared.interval).min(shared.stop.load(Ordering::Relaxed));
                shared.stop.store(stop, Ordering::Release);
            }
            worker.watch.lap(RECORD);
        }
        parity ^= 1;
        now = end;
    }
}

impl Engine for CpuEngine {
    fn describe(&self) -> String {
        let n = self.workers.len();
        format!("cpu, {n} thread{}", if n == 1 { "" } else { "s" })
    }

    fn advance(&mut self, steps: u64, sink: &mut dyn Sink) -> Result<()> {
        Balance::advance(self, |engine| &mut engine.balance, [self.now, steps], sink, CpuEngine::go)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut states: Vec<Vec<Vec<u32>>> = self
            .net
            .populations
            .iter()
            .map(|p| match &p.cell {
                Cell::Neuron(instance) => vec![vec![0; p.n as usize]; instance.model.states.len()],
                Cell::Source(_) => Vec::new(),
            })
            .collect();
        self.workers.iter().for_each(|w| w.gather(&mut states));
        let (plastic, modulated) = (self.is_plastic(), !self.net.modulators.is_empty());
        let own = match plastic || modulated {
            false => Own::Nothing,
            true => Own::Cpu {
                post_spikes: if plastic { self.post_spikes() } else { Vec::new() },
                signals: if modulated { self.workers[0].signals.store() } else { Vec::new() },
            },
        };
        Ok(Snapshot {
            step: self.now,
            states,
            recent: self.recent.iter().map(|r| (r.0, r.1)).collect(),
            elapsed: self.recent.iter().map(|r| r.2).collect(),
            last_spike: self.last_spike.clone(),
            synapses: self.tables.gather_dynamics(&self.net, &self.rows)?,
            rates: self.rates.clone(),
            stopped: self.stopped.clone(),
            counts: self.balance.counts(),
            own,
            notes: Vec::new(),
        })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        snapshot.check(&self.net)?;
        if matches!(snapshot.own, Own::Gpu { .. }) {
            return Err(Error::input(
                "the checkpoint was written by the gpu engine, whose synapses with dynamics act when a spike is emitted",
                "resume it with --engine gpu",
            ));
        }
        self.balance.restore(snapshot)?;
        self.now = snapshot.step;
        self.stopped.clone_from(&snapshot.stopped);
        self.workers.iter_mut().for_each(|w| w.scatter(&snapshot.states));
        self.tables.scatter_dynamics(&self.net, &self.rows, &snapshot.synapses)?;
        if !self.last_spike.is_empty() && snapshot.last_spike.len() == self.last_spike.len() {
            self.last_spike.clone_from(&snapshot.last_spike);
        }
        self.recent = snapshot.in_flight().collect();
        let (post_spikes, signals) = match &snapshot.own {
            Own::Cpu { post_spikes, signals } => (&post_spikes[..], &signals[..]),
            _ => (&[][..], &[][..]),
        };
        if self.is_plastic() && self.restore_post_spikes(post_spikes).is_none() {
            return Err(Error::input(
                "the checkpoint does not hold the spike histories that these plastic synapses need",
                "resume with the scenario and the engine that wrote it; rules and time constants may not change",
            ));
        }
        if !self.net.modulators.is_empty() && self.workers.iter_mut().any(|w| w.signals.restore(signals, snapshot.step).is_none())
        {
            return Err(Error::input(
                "the checkpoint does not hold the modulators of this network",
                "resume with the scenario and the engine that wrote it; times and amounts of jumps to come may change",
            ));
        }
        snapshot.rates.iter().try_for_each(|(population, rates)| self.set_rates(*population, rates))?;
        for (worker, table) in self.workers.iter_mut().zip(&self.tables.tables) {
            for &(stamp, id, elapsed) in &self.recent {
                worker.calendar.enter(table, id, stamp, elapsed, self.now);
            }
            if !worker.last_spike.is_empty() {
                worker.last_spike.clone_from(&self.last_spike);
            }
        }
        Ok(())
    }

    fn weights(&mut self, projection: usize) -> Result<Vec<(u32, u32, f32)>> {
        if !is_plastic(&self.net, projection)? {
            return self.tables.weights(&self.net, &self.rows, projection);
        }
        self.read(projection, false, |engine| engine.tables.weights(&engine.net, &engine.rows, projection))
            .and_then(|(weights, limit)| within_bound(&self.net, projection, weights, limit, self.now as f64 * self.net.dt))
    }

    fn synapses(&mut self, projection: usize) -> Result<Synapses> {
        let plastic = is_plastic(&self.net, projection)?;
        if self.net.projections[projection].synapse.model.program.is_none() {
            return Ok(Synapses::new(self.weights(projection)?, Vec::new(), &[], self.now, self.net.dt));
        }
        readable(&self.net, &self.stopped, projection)?;
        let ((edges, states), limit) = self.read(projection, true, |engine| {
            let edges = engine.tables.weights(&engine.net, &engine.rows, projection)?;
            Ok((edges, engine.tables.states(&engine.net, &engine.rows, projection)?))
        })?;
        let edges = match plastic {
            true => within_bound(&self.net, projection, edges, limit, self.now as f64 * self.net.dt)?,
            false => edges,
        };
        Ok(Synapses::new(edges, states, &self.last_spike, self.now, self.net.dt))
    }

    fn jump(&mut self, modulator: usize, amount: f64) -> Result<()> {
        if modulator >= self.net.modulators.len() || !amount.is_finite() {
            return Err(Error::input(
                format!("no modulator {modulator} can jump by {amount}"),
                format!("name one of the {} modulators and give a finite amount", self.net.modulators.len()),
            ));
        }
        self.workers.iter_mut().for_each(|w| w.signals.jump(modulator, self.now + 1, amount));
        Ok(())
    }

    fn scale_weights(&mut self, projection: usize, factor: &dyn Fn(u32, f64) -> f64) -> Result<()> {
        self.flush(projection)?;
        let target = self.net.projections[projection].target;
        let sums = self.each_kernel(projection, |kernel, table, entry, _| kernel.sums(table, entry))?;
        let factors: Vec<Vec<f64>> = (self.tables.blocks.iter().zip(sums))
            .map(|(block, sums)| block.slices[target].clone().zip(sums).map(|(local, sum)| factor(local, sum)).collect())
            .collect();
        if let Some(bad) = factors.iter().flatten().find(|f| !f.is_finite()) {
            return Err(Error::input(
                format!("the weights of projection `{}` are multiplied by {bad}", self.net.projections[projection].name),
                "give a finite factor for every target, also where the sum of its weights is 0",
            ));
        }
        self.each_kernel(projection, |kernel, table, entry, worker| kernel.scale(table, entry, &factors[worker])).map(drop)
    }

    fn set_learning(&mut self, projection: usize, on: bool) -> Result<()> {
        let served = self.served();
        self.each_kernel(projection, |kernel, table, entry, _| kernel.set_learning(on, table, entry, &served))?;
        note_learning(&mut self.stopped, projection, on, self.now);
        Ok(())
    }

    fn set_rates(&mut self, population: usize, rates: &[f64]) -> Result<()> {
        let most = if population < self.net.populations.len() { multiplicity(&self.net, population) } else { 0.0 };
        self.workers.iter_mut().try_for_each(|w| w.set_rates(&self.net, population, rates, most))?;
        self.rates.insert(population, rates.to_vec());
        Ok(())
    }

    fn counters(&self) -> Counters {
        Counters {
            spikes: self.spikes,
            synaptic_events: self.workers.iter().map(|w| w.events).sum(),
            neuron_updates: self.workers.iter().map(|w| w.updates).sum(),
            synapses: self.tables.tables.iter().map(|t| t.synapses).sum(),
            synapse_bytes: self.tables.bytes(),
            ..Default::default()
        }
    }

    fn time_phases(&mut self, on: bool) {
        self.workers.iter_mut().for_each(|w| w.watch.switch(on));
    }

    fn phases(&self) -> Phases {
        let mut sums = self.workers[0].watch.phases();
        for worker in &self.workers[1..] {
            sums.iter_mut().zip(worker.watch.phases()).for_each(|(sum, own)| sum.1 += own.1);
        }
        debug_assert!(sums.is_empty() || sums.len() == PHASES.len());
        sums
    }
}
