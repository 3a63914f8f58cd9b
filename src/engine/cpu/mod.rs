//! The CPU engine. Threads own their targets: a worker updates its neurons and serves the synapses onto them, and meets the
//! others once an interval of the shortest delay, to exchange spikes. Promises the same spikes for any number of threads.

mod barrier;
mod deliver;
mod lanes;
pub(super) mod plastic;
mod worker;

use super::{Counters, Engine, Sink, Snapshot, Spike, beyond_bound, since_last};
use crate::error::{Error, Result};
use crate::network::rules::Rows;
use crate::network::table::{Table, Tables};
use crate::network::{Cell, Network, Probe};
use barrier::Barrier;
use deliver::SynapseCode;
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use worker::{Outbox, Worker};

/// Parts of a snapshot that belong to plastic synapses.
const POST_SPIKES: &str = "post_spikes";
const POST_SEEN: &str = "post_seen";

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
        let workers = (0..tables.blocks.len()).map(|w| Worker::new(&net, &tables, w)).collect::<Result<Vec<_>>>()?;
        let dynamic = workers.iter().any(|w| !w.codes.is_empty());
        let last_spike = if dynamic { vec![u64::MAX; net.neurons() as usize] } else { Vec::new() };
        Ok(CpuEngine { net, rows, tables, workers, now: 0, recent: VecDeque::new(), last_spike, spikes: 0 })
    }

    /// Recent spikes of the targets of plastic synapses, population by population.
    fn post_spikes(&self) -> Vec<u64> {
        let mut flat = Vec::new();
        for (h, history) in self.workers[0].histories.all.iter().enumerate() {
            flat.extend(history.head());
            flat.push(self.net.populations[history.population].n as u64);
            self.workers.iter().for_each(|w| w.histories.all[h].store(&mut flat));
        }
        flat
    }

    /// Refuses to go on when a plastic weight has left its bound.
    fn check_weights(&self) -> Result<()> {
        let failed = self.workers.iter().zip(&self.tables.tables).find_map(|(worker, table)| {
            let codes = worker.codes.iter().zip(&table.dynamics);
            codes.filter_map(|(c, d)| if let SynapseCode::Plastic(p) = c { Some((p, d)) } else { None }).find(|(p, _)| p.failed)
        });
        let Some((code, dynamic)) = failed else { return Ok(()) };
        let weights = self.tables.weights(&self.net, &self.rows, dynamic.projection as usize)?;
        Err(beyond_bound(&self.net, dynamic.projection as usize, &weights, code.limit(), self.now))
    }

    fn check_finite(&self) -> Result<()> {
        let Some((population, local, state)) = self.workers.iter().find_map(|w| w.not_a_number(&self.net)) else {
            return Ok(());
        };
        let population = &self.net.populations[population];
        let name = match &population.cell {
            Cell::Neuron(instance) => instance.model.states[state].name.clone(),
            Cell::Source(_) => String::new(),
        };
        Err(Error::Run {
            message: format!(
                "state `{name}` of neuron {local} in population `{}` is not a number at {:.3} ms",
                population.name,
                self.now as f64 * self.net.dt
            ),
            remedy: "take a shorter step (simulation.dt), or check the parameters and weights of this population".into(),
        })
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
        for mail in &shared.mail {
            // SAFETY: written before the barrier; its next writing comes after the next barrier but one.
            let spikes = unsafe { &(*mail.0[parity].get()).spikes };
            worker.receive(table, spikes, end);
        }
        worker.histories.forget(end);
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
        let mut extra = vec![("elapsed".into(), self.recent.iter().map(|r| r.2 as u64).collect())];
        if !self.workers[0].histories.all.is_empty() {
            extra.push((POST_SPIKES.into(), self.post_spikes()));
            extra.push((POST_SEEN.into(), self.workers[0].histories.seen(self.now).to_vec()));
        }
        Ok(Snapshot {
            step: self.now,
            states,
            recent: self.recent.iter().map(|r| (r.0, r.1)).collect(),
            last_spike: self.last_spike.clone(),
            synapses: self.tables.gather_dynamics(&self.net, &self.rows)?,
            extra,
        })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        snapshot.check(&self.net)?;
        if snapshot.extra.iter().any(|(name, _)| name == "gpu_ring") {
            return Err(Error::input(
                "the checkpoint was written by the gpu engine, whose synapses with dynamics act when a spike is emitted",
                "resume it with --engine gpu",
            ));
        }
        self.now = snapshot.step;
        self.workers.iter_mut().for_each(|w| w.scatter(&snapshot.states));
        self.tables.scatter_dynamics(&self.net, &self.rows, &snapshot.synapses)?;
        if !self.last_spike.is_empty() && snapshot.last_spike.len() == self.last_spike.len() {
            self.last_spike.clone_from(&snapshot.last_spike);
        }
        self.recent = snapshot.in_flight().collect();
        let extra = |name: &str| snapshot.extra.iter().find(|e| e.0 == name).map_or(&[][..], |e| &e.1);
        let (spikes, seen) = (extra(POST_SPIKES), extra(POST_SEEN));
        for (worker, block) in self.workers.iter_mut().zip(&self.tables.blocks) {
            if !worker.histories.all.is_empty() && worker.histories.restore(spikes, seen, block, self.now).is_none() {
                return Err(Error::input(
                    "the checkpoint does not hold the spike histories that these plastic synapses need",
                    "resume with the scenario and the engine that wrote it; rules and time constants may not change",
                ));
            }
            self.recent.iter().for_each(|&(stamp, id, _)| worker.histories.note(stamp, id));
        }
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
        self.tables.weights(&self.net, &self.rows, projection)
    }

    fn counters(&self) -> Counters {
        Counters {
            spikes: self.spikes,
            synaptic_events: self.workers.iter().map(|w| w.events).sum(),
            neuron_updates: self.workers.iter().map(|w| w.updates).sum(),
            synapses: self.tables.tables.iter().map(|t| t.synapses).sum(),
            synapse_bytes: self.tables.bytes(),
        }
    }
}
