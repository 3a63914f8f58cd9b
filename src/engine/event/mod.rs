//! The exact event-driven engine: no time grid. Neurons advance by closed forms from one input to the next, threshold crossings
//! are predicted and entered in a calendar queue, spikes arrive after their delays to the last bit. Promises spike times that are
//! exact up to rounding and independent of how a run is cut into pieces, at a cost in proportion to the number of spikes.
//! Knows models through [`crate::model::EventForm`] only, networks through their rows.

mod cells;
mod inputs;
mod plastic;
mod queue;
mod roots;
mod signals;
mod synapses;
mod tape;
mod ticks;

use super::faults::beyond_bound;
use super::homeostasis::Balance;
use super::probes::{StateProbe, state_probes};
use super::{Counters, Engine, Exact, Own, Sink, Snapshot, Spike, note_learning};
use crate::error::{Error, Result};
use crate::model::kernel::BLOCK;
use crate::network::connectivity::Rows;
use crate::network::{Cell, Edge, Network, Projection, Values, footprint};
use crate::rng::Purpose;
use crate::stimulus::{DriveKind, SpikeSource};
use cells::Cells;
use inputs::{Currents, Played, Poisson, Shown};
use plastic::Arrival;
use queue::{Calendar, Event, Kind};
use std::collections::BTreeMap;
use synapses::{Fault, RowFn, SynapseCode, Synapses};
use ticks::TICK;

#[cfg(test)]
mod tests;

/// Spikes handed to the sink at a time, roughly.
const BATCH: usize = 4096;

/// A jump of a signal by a spike, as `b` of its event.
const BY_SPIKE: u32 = 1;

/// Synapses served while the neurons behind the next as many are fetched from memory.
const AHEAD: usize = 32;

/// Spikes of targets of plastic synapses that are held at least before all synapses are brought up to date.
const MOST_KEPT: usize = 1 << 20;

/// What a source population does next.
enum Source {
    Poisson(Poisson),
    Played(Played),
}

/// A Poisson drive onto a population.
struct Shower {
    population: usize,
    port: usize,
    weight: f64,
    trains: Poisson,
}

/// The engine without a time grid: every neuron is advanced in closed form from one input to the next.
pub struct EventEngine {
    net: Network,
    rows: Box<RowFn>,
    /// By population; None for sources.
    cells: Vec<Option<Cells>>,
    sources: Vec<Option<Source>>,
    /// By population: its rates have been set while running.
    other_rates: Vec<bool>,
    showers: Vec<Shower>,
    currents: Vec<Currents>,
    synapses: Synapses,
    /// Spikes of targets that may be held before plastic synapses are brought up to date.
    most_kept: usize,
    /// Spikes that may be held before the next search for what may be forgotten.
    enough: usize,
    recorders: Vec<StateProbe>,
    queue: Calendar,
    /// Steps done: the time is that many dt.
    step: u64,
    /// Plastic projections that do not learn, and since which step.
    stopped: BTreeMap<usize, u64>,
    balance: Balance,
    /// ms by global id, minus infinity for never; kept where synapses have dynamics.
    last_spike: Vec<f64>,
    /// (population, local id) that received something at this moment.
    touched: Vec<(u32, u32)>,
    batch: f64,
    spikes: Vec<Spike>,
    counters: Counters,
}

impl EventEngine {
    /// Build all synapses and set every neuron on its course. Refuses, by name, models without closed forms and currents that
    /// vary all the time. `progress` runs from 0 to 1.
    pub fn new(net: &Network, progress: &(dyn Fn(f64) + Sync)) -> Result<EventEngine> {
        for (p, population) in net.populations.iter().enumerate() {
            // What is cheap to refuse is refused before anything is built.
            Currents::of(net, p)?;
            cells::closed_form(population)?;
        }
        footprint::check(&estimate(net))?;
        let rows = Rows::prepare(net, &|done| progress(0.3 * done))?;
        let rows = Box::new(move |source, out: &mut Vec<Edge>| rows.row(source, out));
        let code = |p: &Projection| {
            let constants = p.synapse.constants().iter().map(|c| c.get(0)).collect();
            p.synapse.model.kernel().map(|kernel| (kernel, constants))
        };
        EventEngine::build(net, rows, net.projections.iter().map(code).collect(), &|done| progress(0.3 + 0.7 * done))
    }

    /// From a network, its edges and the code of its synapse models (one entry a projection). Refuses what has no closed form.
    fn build(net: &Network, rows: Box<RowFn>, codes: Vec<SynapseCode>, progress: &(dyn Fn(f64) + Sync)) -> Result<EventEngine> {
        if !(net.dt > 0.0 && net.dt.is_finite()) {
            return Err(Error::input(format!("a step of {} ms", net.dt), "give a step above 0 ms"));
        }
        let mut engine = EventEngine {
            net: net.clone(),
            cells: Vec::new(),
            sources: Vec::new(),
            other_rates: vec![false; net.populations.len()],
            showers: Vec::new(),
            currents: Vec::new(),
            synapses: Synapses::default(),
            most_kept: 0,
            enough: 0,
            recorders: state_probes(net)?,
            queue: Calendar::default(),
            step: 0,
            stopped: BTreeMap::new(),
            balance: Balance::new(net)?,
            last_spike: Vec::new(),
            touched: Vec::new(),
            batch: 0.0,
            spikes: Vec::new(),
            counters: Counters::default(),
            rows,
        };
        for (p, population) in net.populations.iter().enumerate() {
            let currents = Currents::of(net, p)?;
            let (cells, source) = match &population.cell {
                Cell::Neuron(instance) => (Some(Cells::new(population, instance, !currents.is_empty())?), None),
                Cell::Source(source) => (None, Some(Source::new(net, p, source)?)),
            };
            engine.cells.push(cells);
            engine.sources.push(source);
            engine.currents.push(currents);
        }
        for (owner, drive) in net.drives.iter().enumerate() {
            let DriveKind::Poisson { rate, weight, port } = &drive.kind else { continue };
            let n = net.populations[drive.population].n as usize;
            let window = [drive.start, drive.stop];
            let trains = Poisson::new(net.stimulus_seed, owner as u32, Purpose::PoissonDrive, rate, n, window, &drive.name)?;
            let Cell::Neuron(instance) = &net.populations[drive.population].cell else { continue };
            let absolute =
                instance.model.ports.get(*port).is_some_and(|p| p.sign == crate::model::Sign::Negative { absolute: true });
            let weight = if absolute { weight.abs() } else { *weight };
            engine.showers.push(Shower { population: drive.population, port: *port, weight, trains });
        }
        let expected = footprint::estimate(net, 1).synapses as usize;
        engine.synapses = Synapses::build(net, &engine.rows, codes, expected + expected / 64, progress)?;
        engine.synapses.draw_states(net, &engine.rows);
        if !engine.synapses.dynamics.is_empty() {
            engine.last_spike = vec![f64::NEG_INFINITY; net.neurons() as usize];
        }
        engine.most_kept = MOST_KEPT.max(engine.synapses.len() / 4);
        engine.enough = engine.most_kept / 2;
        engine.counters.synapses = engine.synapses.len() as u64;
        engine.counters.synapse_bytes = engine.synapses.bytes() as u64;
        engine.start()?;
        Ok(engine)
    }

    fn now(&self) -> f64 {
        self.step as f64 * self.net.dt
    }

    /// Set currents, predict all crossings and fill the queue, from the states as they are at the present time.
    fn start(&mut self) -> Result<()> {
        let now = self.now();
        self.queue = Calendar::default();
        for p in 0..self.cells.len() {
            if let Some(cells) = &mut self.cells[p] {
                let currents = &self.currents[p];
                for i in 0..cells.n {
                    if !currents.is_empty() {
                        cells.set_current(i, currents.value(i, now));
                    }
                    if cells.crossed(i) {
                        // At threshold from the start: fires at once.
                        cells.set_next(i, now);
                    } else {
                        cells.predict(i)?;
                    }
                    schedule(&mut self.queue, cells, i, now);
                }
                push(&mut self.queue, self.currents[p].next_change(now), Kind::Change, p as u32, 0);
            }
            match &self.sources[p] {
                Some(Source::Poisson(trains)) => {
                    (0..trains.len()).for_each(|i| push(&mut self.queue, trains.next(i), Kind::Source, p as u32, i as u32));
                }
                Some(Source::Played(trains)) => {
                    if let Some((time, id)) = trains.next() {
                        push(&mut self.queue, time, Kind::Source, p as u32, id);
                    }
                }
                None => {}
            }
        }
        (0..self.synapses.signals.len()).for_each(|s| self.await_jump(s));
        for (k, shower) in self.showers.iter().enumerate() {
            (0..shower.trains.len()).for_each(|i| push(&mut self.queue, shower.trains.next(i), Kind::Drive, k as u32, i as u32));
        }
        Ok(())
    }

    /// Enter the next jump of the scenario.
    fn await_jump(&mut self, signal: usize) {
        let played = self.synapses.signals[signal].played;
        if let Some((time, _)) = self.net.modulators[signal].jumps.get(played) {
            push(&mut self.queue, time.max(0.0), Kind::Jump, signal as u32, 0);
        }
    }

    /// By the time of so many steps.
    fn go(&mut self, steps: u64, sink: &mut dyn Sink) -> Result<()> {
        let end = self.step + steps;
        while self.step < end {
            let stop = self.recorders.iter().map(|r| r.sampling.next(self.step)).fold(end, u64::min);
            self.run_until(stop as f64 * self.net.dt, sink)?;
            self.step = stop;
            self.sample(sink)?;
        }
        self.flush(sink)
    }

    /// Everything up to and including `horizon` (ms).
    fn run_until(&mut self, horizon: f64, sink: &mut dyn Sink) -> Result<()> {
        while let Some(&Event { time, .. }) = self.queue.peek() {
            if time > horizon {
                break;
            }
            if self.spikes.len() >= BATCH && self.spikes.last().is_some_and(|s| s.time < time) {
                self.flush(sink)?;
            }
            // One moment: all that arrives is received before anybody is tested.
            self.batch += 1.0;
            while let Some(event) = self.queue.peek().copied().filter(|e| e.time == time) {
                self.queue.pop();
                self.handle(event)?;
            }
            self.settle_accounts(time)?;
            if self.synapses.kept > self.enough {
                self.forget(time)?;
            }
        }
        Ok(())
    }

    /// Forget spikes that no synapse asks for any more, once so many are held that every synapse may as well be brought up to date.
    fn forget(&mut self, now: f64) -> Result<()> {
        self.synapses.forget();
        if self.synapses.kept > self.most_kept {
            self.bring_up_to_date(now, None)?;
            self.synapses.forget();
        }
        self.enough = (2 * self.synapses.kept).max(self.most_kept / 2);
        Ok(())
    }

    /// Let plastic synapses (of one projection, or all) see all that counts at them by the longest delay before `now`, until when
    /// every spike of a source has arrived. What they transmit later is the same as without.
    fn bring_up_to_date(&mut self, now: f64, projection: Option<usize>) -> Result<()> {
        let until = now - self.synapses.longest - 2.0 * TICK;
        for p in 0..self.net.projections.len() {
            if projection.is_none_or(|only| only == p) {
                if let Err((source, fault)) = self.synapses.flush(p, until, now) {
                    return Err(self.beyond(source, fault, now));
                }
            }
        }
        Ok(())
    }

    /// The plastic synapses of a projection, or a refusal.
    fn plastic(&mut self, projection: usize) -> Result<&mut plastic::Plastic> {
        let name = self.net.projections.get(projection).map_or(projection.to_string(), |p| p.name.clone());
        self.synapses.plastic_of(projection).ok_or_else(|| {
            Error::input(format!("projection `{name}`: its weights do not change"), "name a projection of plastic synapses")
        })
    }

    /// The refusal to go on when a plastic weight has left its bound.
    fn beyond(&self, source: u32, fault: Fault, now: f64) -> Error {
        let Fault { dynamic, target, weight } = fault;
        let dynamic = &self.synapses.dynamics[dynamic];
        let projection = dynamic.projection as usize;
        let target = self.net.populations[self.net.projections[projection].target].first + target;
        let limit = dynamic.plastic.as_ref().map_or(0.0, |p| p.limit);
        beyond_bound(&self.net, projection, &[(source, target, weight)], limit, now)
    }

    #[inline]
    fn handle(&mut self, event: Event) -> Result<()> {
        let Event { time, a, b, .. } = event;
        match event.kind {
            Kind::Crossing => {
                let p = self.net.population_of(a);
                let Some(cells) = &mut self.cells[p] else { return Ok(()) };
                let i = (a - cells.first) as usize;
                if cells.queued(i) != time {
                    return Ok(());
                }
                cells.set_queued(i, f64::INFINITY);
                if cells.next(i) == time {
                    cells.settle(i, time);
                    self.fire(p, i, time)?;
                } else {
                    schedule(&mut self.queue, cells, i, time);
                }
            }
            Kind::Change => {
                let (p, currents) = (a as usize, &self.currents[a as usize]);
                if let Some(cells) = &mut self.cells[p] {
                    for i in 0..cells.n {
                        cells.settle(i, time);
                        cells.set_current(i, currents.value(i, time));
                        if cells.touch(i, self.batch) {
                            self.touched.push((a, i as u32));
                        }
                    }
                }
                push(&mut self.queue, currents.next_change(time), Kind::Change, a, 0);
            }
            Kind::Jump => {
                let (Some(of), Some(signal)) = (self.net.modulators.get(a as usize), self.synapses.signals.get_mut(a as usize))
                else {
                    return Ok(());
                };
                if b == BY_SPIKE {
                    signal.jump(time, of.spikes.as_ref().map_or(0.0, |s| s.amount));
                } else {
                    signal.jump(time, of.jumps.get(signal.played).map_or(0.0, |j| j.1));
                    signal.played += 1;
                    self.await_jump(a as usize);
                }
            }
            Kind::Arrival => self.arrive(event)?,
            Kind::Drive => {
                let shower = &mut self.showers[a as usize];
                let i = b as usize;
                if let Some(cells) = &mut self.cells[shower.population] {
                    cells.settle(i, time);
                    cells.receive(i, shower.port, shower.weight);
                    if cells.touch(i, self.batch) {
                        self.touched.push((shower.population as u32, b));
                    }
                }
                shower.trains.step(i);
                push(&mut self.queue, shower.trains.next(i), Kind::Drive, a, b);
            }
            // Rates that have changed leave entries behind.
            Kind::Source if matches!(&self.sources[a as usize], Some(Source::Poisson(t)) if t.next(b as usize) != time) => {}
            Kind::Source => {
                let next = match &mut self.sources[a as usize] {
                    Some(Source::Poisson(trains)) => {
                        trains.step(b as usize);
                        Some((trains.next(b as usize), b))
                    }
                    Some(Source::Played(trains)) => {
                        trains.step();
                        trains.next()
                    }
                    None => None,
                };
                if let Some((next, id)) = next {
                    push(&mut self.queue, next, Kind::Source, a, id);
                }
                self.emit(self.net.populations[a as usize].first + b, time);
            }
        }
        Ok(())
    }

    /// Serve the synapses of a spike whose delay is over now, and file the cursor under the next delay.
    #[inline]
    fn arrive(&mut self, event: Event) -> Result<()> {
        let Event { time, a: source, b, elapsed, stamp, .. } = event;
        let row = self.synapses.row(source);
        let from = row.start + b as usize;
        let mut to = from;
        let mut next = f64::INFINITY;
        while to < row.end {
            next = stamp + self.synapses.delay(to);
            if next > time {
                break;
            }
            to += 1;
        }
        let (cells, touched, batch) = (&mut self.cells, &mut self.touched, self.batch);
        let senders = &self.synapses.senders;
        let arrival = Arrival { stamp, last: senders.before(source, stamp, elapsed), elapsed };
        // Code of plastic synapses runs over many at a time.
        let ahead = if senders.is_empty() { AHEAD } else { BLOCK };
        let mut at = from;
        while at < to {
            let end = (at + ahead).min(to);
            for position in end..(end + AHEAD).min(to) {
                let (population, target) = self.synapses.target(position);
                if let Some(cells) = &cells[population as usize] {
                    cells.prefetch(target as usize);
                }
            }
            let served = self.synapses.transmit(at, end, arrival, |class, target, weight| {
                if let Some(cells) = &mut cells[class.population as usize] {
                    let i = target as usize;
                    if cells.touch(i, batch) {
                        cells.settle(i, time);
                        touched.push((class.population, target));
                    }
                    cells.receive(i, class.port as usize, weight);
                }
            });
            if let Err(fault) = served {
                return Err(self.beyond(source, fault, time));
            }
            at = end;
        }
        self.counters.synaptic_events += (to - from) as u64;
        if to < row.end {
            self.queue.push(Event { time: next, kind: Kind::Arrival, a: source, b: (to - row.start) as u32, elapsed, stamp });
        } else {
            self.synapses.senders.served(source, stamp);
        }
        Ok(())
    }

    /// Test and predict every neuron that received something at `time`.
    fn settle_accounts(&mut self, time: f64) -> Result<()> {
        let mut touched = std::mem::take(&mut self.touched);
        self.counters.neuron_updates += touched.len() as u64;
        for &(p, i) in &touched {
            let (p, i) = (p as usize, i as usize);
            let Some(cells) = &mut self.cells[p] else { continue };
            if cells.crossed(i) {
                self.fire(p, i, time)?;
            } else {
                cells.predict(i)?;
                schedule(&mut self.queue, cells, i, time);
            }
        }
        touched.clear();
        self.touched = touched;
        Ok(())
    }

    /// Neuron `i` of population `p`, settled to `time`, spikes.
    fn fire(&mut self, p: usize, i: usize, time: f64) -> Result<()> {
        let Some(cells) = &mut self.cells[p] else { return Ok(()) };
        let times = cells.spikes_of(i);
        cells.fire(i);
        let id = cells.first + i as u32;
        if cells.predict(i)? <= time {
            return Err(Error::Run {
                message: format!("neuron {i} of population `{}` fires without pause at {time} ms", self.net.populations[p].name),
                remedy: "give it a refractory time (t_ref), or a reset below threshold".into(),
            });
        }
        schedule(&mut self.queue, cells, i, time);
        for _ in 0..times {
            self.synapses.spiked(p, i, time);
            self.emit(id, time);
        }
        Ok(())
    }

    /// Record a spike and send it on its way.
    fn emit(&mut self, id: u32, time: f64) {
        self.spikes.push(Spike { time, id });
        self.counters.spikes += 1;
        for (s, modulator) in (0..).zip(&self.net.modulators) {
            if let Some(spikes) = modulator.spikes.as_ref().filter(|m| self.net.population_of(id) == m.population) {
                push(&mut self.queue, time + spikes.delay, Kind::Jump, s, BY_SPIKE);
            }
        }
        let elapsed = match self.last_spike.get_mut(id as usize) {
            Some(last) => (time - std::mem::replace(last, time)) as f32,
            None => f32::INFINITY,
        };
        let row = self.synapses.row(id);
        if !row.is_empty() {
            self.synapses.senders.sent(id, time);
            let first = time + self.synapses.delay(row.start);
            self.queue.push(Event { time: first, kind: Kind::Arrival, a: id, b: 0, elapsed, stamp: time });
        }
    }

    fn flush(&mut self, sink: &mut dyn Sink) -> Result<()> {
        self.spikes.sort_by(|a, b| a.time.total_cmp(&b.time).then(a.id.cmp(&b.id)));
        if !self.spikes.is_empty() {
            sink.spikes(&self.spikes)?;
        }
        self.spikes.clear();
        Ok(())
    }

    /// Sample the probes that are due at the present step.
    fn sample(&mut self, sink: &mut dyn Sink) -> Result<()> {
        let now = self.now();
        for recorder in self.recorders.iter().filter(|r| r.sampling.due(self.step)) {
            let Some(cells) = &mut self.cells[recorder.population] else { continue };
            let n = recorder.neurons.len();
            let mut values = vec![0.0; recorder.variables.len() * n];
            for (k, &i) in recorder.neurons.iter().enumerate() {
                cells.states_at(i as usize, now);
                for (v, variable) in recorder.variables.iter().enumerate() {
                    values[v * n + k] = variable.value_with(i as usize, |s, _| cells.sampled(i as usize, s), &[]) as f32;
                }
            }
            sink.sample(recorder.probe, now, &values)?;
        }
        Ok(())
    }

    /// A number for the parameters and currents of a population, to see whether a checkpoint was made with the same.
    fn fingerprint(&self, p: usize) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut mix = |word: u64| word.to_le_bytes().iter().for_each(|b| hash = (hash ^ *b as u64).wrapping_mul(0x100_0000_01b3));
        if let Cell::Neuron(instance) = &self.net.populations[p].cell {
            for values in instance.params.iter().chain(&instance.derived) {
                match values {
                    Values::Uniform(x) => mix(x.to_bits()),
                    Values::Each(each) => each.iter().for_each(|x| mix(x.to_bits())),
                }
            }
        }
        self.net.drives.iter().filter(|d| d.population == p).for_each(|d| format!("{d:?}").bytes().for_each(|b| mix(b as u64)));
        hash
    }
}

/// What the engine takes: its table holds weights and delays in full.
fn estimate(net: &Network) -> footprint::Estimate {
    let mut estimate = footprint::estimate(net, 1);
    // One column decides for all: the widest projection's bytes.
    let each = net.projections.iter().map(synapses::bytes_each).max().unwrap_or(0);
    estimate.table_bytes = estimate.synapses.saturating_mul(each);
    let total = estimate.table_bytes as f64 + estimate.rules_bytes as f64 + 2.0 * estimate.state_bytes as f64;
    let neurons = estimate.neurons as f64 * 200.0;
    estimate.peak_bytes = (1.05 * (total + neurons) + (64u64 << 20) as f64) as u64;
    estimate
}

/// Rates of a population of Poisson sources as the scenario gives them.
fn scenario_rates(net: &Network, population: usize) -> Values {
    match &net.populations[population].cell {
        Cell::Source(SpikeSource::Poisson { rate, .. }) => rate.clone(),
        _ => Values::Uniform(0.0),
    }
}

/// Enter an event, unless it never happens.
#[inline]
fn push(queue: &mut Calendar, time: f64, kind: Kind, a: u32, b: u32) {
    if time < f64::INFINITY {
        queue.push(Event { time, kind, a, b, elapsed: 0.0, stamp: 0.0 });
    }
}

/// See to it that the queue wakes neuron `i` no later than its next crossing. An entry that comes too early is moved on when it
/// is reached, one that comes too late is passed over there: a neuron whose crossing is put off again and again costs no entries.
#[inline]
fn schedule(queue: &mut Calendar, cells: &mut Cells, i: usize, now: f64) {
    let next = cells.next(i).max(now);
    if next < cells.queued(i) {
        cells.set_next(i, next);
        cells.set_queued(i, next);
        push(queue, next, Kind::Crossing, cells.first + i as u32, 0);
    }
}

impl Source {
    fn new(net: &Network, p: usize, source: &SpikeSource) -> Result<Source> {
        let population = &net.populations[p];
        let (n, name) = (population.n as usize, &population.name);
        Ok(match source {
            SpikeSource::Poisson { rate, start, stop } => Source::Poisson(Poisson::new(
                net.stimulus_seed,
                p as u32,
                Purpose::PoissonSource,
                rate,
                n,
                [*start, *stop],
                name,
            )?),
            SpikeSource::Course(course) => Source::Poisson(Poisson::course(net.stimulus_seed, p as u32, course, n, name)?),
            SpikeSource::Trains(trains) => Source::Played(Played::list(trains.clone(), n)?),
            SpikeSource::Presentation(schedule) => match inputs::shown(net.stimulus_seed, p as u32, schedule, n)? {
                Shown::Rates(trains) => Source::Poisson(trains),
                Shown::Latencies(trains) => Source::Played(trains),
            },
        })
    }
}

impl Engine for EventEngine {
    fn describe(&self) -> String {
        "event, exact spike times".into()
    }

    fn advance(&mut self, steps: u64, sink: &mut dyn Sink) -> Result<()> {
        Balance::advance(self, |engine| &mut engine.balance, [self.step, steps], sink, EventEngine::go)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let now = self.now();
        let (mut exact, mut rates) = (Exact::default(), BTreeMap::new());
        exact.fingerprints = (0..self.cells.len()).map(|p| self.fingerprint(p)).collect();
        for (p, cells) in self.cells.iter().enumerate() {
            exact.cells.extend(cells.iter().map(|c| (p, c.save())));
            if let Some(Source::Poisson(trains)) = &self.sources[p] {
                exact.sources.insert(p, trains.save());
                if let Some(Values::Each(own)) = trains.rates().filter(|_| self.other_rates[p]) {
                    rates.insert(p, own.to_vec());
                }
            }
        }
        exact.drives = self.showers.iter().map(|s| s.trains.save()).collect();
        let queue = self.queue.sorted();
        let jumps = queue.iter().filter(|e| e.kind == Kind::Jump && e.b == BY_SPIKE);
        exact.jumps = jumps.map(|e| [e.a as u64, e.time.to_bits()]).collect();
        exact.signals = self.synapses.signals.iter().map(|signal| signal.save()).collect();
        let flight = queue.into_iter().filter(|e| e.kind == Kind::Arrival);
        exact.flight = flight.map(|e| [e.a as u64, e.b as u64, e.elapsed.to_bits() as u64, e.stamp.to_bits()]).collect();
        if !self.synapses.senders.is_empty() {
            exact.senders = self.synapses.senders.save();
            exact.post_spikes = self.synapses.plastic_parts().collect();
        }
        exact.last_spike = self.last_spike.iter().map(|t| t.to_bits()).collect();
        Ok(Snapshot {
            step: self.step,
            states: self.cells.iter_mut().map(|c| c.as_mut().map_or(Vec::new(), |c| c.halves_at(now))).collect(),
            synapses: self.synapses.gather(&self.net, &self.rows),
            rates,
            stopped: self.stopped.clone(),
            counts: self.balance.counts(),
            own: Own::Event(exact),
            ..Snapshot::default()
        })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let Own::Event(exact) = &snapshot.own else {
            return Err(Error::input(
                "the checkpoint was not written by the event engine and lacks its exact states",
                "resume it on the engine that wrote it (--engine cpu or gpu)",
            ));
        };
        let unfit = |what: &str| {
            Error::input(
                format!("the checkpoint holds {what} other than the scenario's"),
                "resume with the scenario that wrote it; parameters may change, sizes and models may not",
            )
        };
        self.balance.restore(snapshot)?;
        (self.step, self.stopped) = (snapshot.step, snapshot.stopped.clone());
        let now = self.now();
        for p in 0..self.cells.len() {
            let same = exact.fingerprints.get(p) == Some(&self.fingerprint(p));
            if let Some(cells) = &mut self.cells[p] {
                let words = exact.cells.get(&p).map_or(&[][..], Vec::as_slice);
                let states = snapshot.states.get(p).map_or(&[][..], Vec::as_slice);
                if !cells.load(words, if same { None } else { Some((now, states)) }) {
                    return Err(unfit("populations or models"));
                }
            }
            match &mut self.sources[p] {
                Some(Source::Poisson(trains)) => {
                    let rates = snapshot.rates.get(&p).filter(|r| r.len() == trains.len());
                    self.other_rates[p] = rates.is_some();
                    let given = rates.map(|rates| Values::Each(rates.as_slice().into()));
                    trains.load_rates(given.unwrap_or_else(|| scenario_rates(&self.net, p)));
                    if !trains.load(exact.sources.get(&p).map_or(&[][..], Vec::as_slice), now) {
                        return Err(unfit("sources"));
                    }
                }
                Some(Source::Played(trains)) => trains.seek(now),
                None => {}
            }
        }
        for (k, shower) in self.showers.iter_mut().enumerate() {
            if !shower.trains.load(exact.drives.get(k).map_or(&[][..], Vec::as_slice), now) {
                return Err(unfit("drives"));
            }
        }
        if !self.synapses.scatter(&self.net, &self.rows, &snapshot.synapses) {
            return Err(unfit("synapses"));
        }
        let last = &exact.last_spike;
        if last.len() != self.last_spike.len() {
            return Err(unfit("synapses"));
        }
        self.last_spike = last.iter().map(|bits| f64::from_bits(*bits)).collect();
        if !self.synapses.senders.is_empty() {
            let senders = self.synapses.senders.load(&exact.senders);
            let plastic = self.synapses.load_plastic(&|k| exact.post_spikes.get(k).cloned().unwrap_or_default());
            if senders.and(plastic).is_none() {
                return Err(Error::input(
                    "the checkpoint does not hold the spike histories that these plastic synapses need",
                    "resume with the scenario and the engine that wrote it; rules and time constants may not change",
                ));
            }
        }
        for (s, signal) in self.synapses.signals.iter_mut().enumerate() {
            if signal.load(exact.signals.get(s).map_or(&[][..], Vec::as_slice)).is_none() {
                return Err(unfit("modulators"));
            }
        }
        self.spikes.clear();
        self.start()?;
        for words in &exact.jumps {
            push(&mut self.queue, f64::from_bits(words[1]).max(now), Kind::Jump, words[0] as u32, BY_SPIKE);
        }
        for words in &exact.flight {
            let (source, b) = (words[0] as u32, words[1] as u32);
            if source >= self.net.neurons() {
                return Err(unfit("populations"));
            }
            let (row, stamp) = (self.synapses.row(source), f64::from_bits(words[3]));
            // With delays changed in between, what should have arrived already arrives now.
            if (b as usize) < row.len() {
                let time = (stamp + self.synapses.delay(row.start + b as usize)).max(now);
                let elapsed = f32::from_bits(words[2] as u32);
                self.queue.push(Event { time, kind: Kind::Arrival, a: source, b, elapsed, stamp });
            }
        }
        Ok(())
    }

    fn weights(&mut self, projection: usize) -> Result<Vec<(u32, u32, f32)>> {
        super::is_plastic(&self.net, projection)?;
        let now = self.now();
        let until = self.stopped.get(&projection).map_or(now, |since| *since as f64 * self.net.dt);
        let read = self.synapses.read(projection, until, now).map_err(|(source, fault)| self.beyond(source, fault, now))?;
        let (first, mut all) = (self.net.populations[self.net.projections[projection].target].first, Vec::new());
        self.synapses.each_of(&self.net, &self.rows, projection, |source, edge, position| {
            let weight = match &read {
                Some((read, _)) => read[self.synapses.member(position)],
                None => self.synapses.weight(position).unwrap_or(edge.weight as f32),
            };
            all.push((source, first + edge.target, weight));
        });
        Ok(all)
    }

    fn synapses(&mut self, projection: usize) -> Result<super::Synapses> {
        let plastic = super::is_plastic(&self.net, projection)?;
        super::readable(&self.net, &self.stopped, projection)?;
        let now = self.now();
        let mut flying: Vec<Event> = self.queue.sorted().into_iter().filter(|e| e.kind == Kind::Arrival).collect();
        flying.sort_by(|a, b| a.stamp.total_cmp(&b.stamp).then(b.elapsed.total_cmp(&a.elapsed)));
        let copies = match plastic {
            true => self.synapses.read(projection, now, now).map_err(|(source, fault)| self.beyond(source, fault, now))?,
            false => self.synapses.read_dynamic(projection, flying.iter().map(|e| (e.a, e.b, e.elapsed))),
        };
        let Some((weights, states)) = copies else {
            return Ok(super::Synapses::new(self.weights(projection)?, Vec::new(), &[], 0, self.net.dt));
        };
        let (first, mut all) = (self.net.populations[self.net.projections[projection].target].first, super::Synapses::default());
        all.states = vec![Vec::with_capacity(weights.len()); states.len()];
        self.synapses.each_of(&self.net, &self.rows, projection, |source, edge, position| {
            let member = self.synapses.member(position);
            all.edges.push((source, first + edge.target, weights[member]));
            all.elapsed.push(now - self.last_spike[source as usize]);
            all.states.iter_mut().zip(&states).for_each(|(all, state)| all.push(state[member]));
        });
        Ok(all)
    }

    fn jump(&mut self, modulator: usize, amount: f64) -> Result<()> {
        let now = self.now();
        let Some(signal) = self.synapses.signals.get_mut(modulator) else {
            return Err(Error::input(format!("there is no modulator {modulator}"), "name one of the scenario's [modulators]"));
        };
        if !amount.is_finite() {
            return Err(Error::input(format!("a jump of {amount}"), "give a finite amount"));
        }
        // A spike of this very moment does not see it, the next does.
        signal.jump(now + TICK, amount);
        Ok(())
    }

    fn scale_weights(&mut self, projection: usize, factor: &dyn Fn(u32, f64) -> f64) -> Result<()> {
        self.plastic(projection)?;
        self.bring_up_to_date(self.now(), Some(projection))?;
        self.synapses.scale(&self.net, &self.rows, projection, factor).map_err(|target| {
            let name = &self.net.projections[projection].name;
            Error::input(
                format!("projection `{name}`: the weights onto neuron {target} are multiplied by what is no finite number"),
                "give a finite factor for every target",
            )
        })
    }

    fn set_learning(&mut self, projection: usize, on: bool) -> Result<()> {
        let now = self.now();
        self.plastic(projection)?;
        self.synapses.set_learning(projection, on, now);
        note_learning(&mut self.stopped, projection, on, self.step);
        Ok(())
    }

    fn set_rates(&mut self, population: usize, rates: &[f64]) -> Result<()> {
        let now = self.now();
        let refuse = |message: &str| Err(Error::input(message, "name a population of Poisson sources, and one rate for each"));
        let Some(Some(Source::Poisson(trains))) = self.sources.get_mut(population) else {
            return refuse(&format!("population {population} is none of Poisson sources"));
        };
        if rates.len() != trains.len() {
            return refuse(&format!("{} rates for {} sources", rates.len(), trains.len()));
        }
        let rates = Values::Each(rates.into());
        inputs::check_rates(&rates, trains.len(), &self.net.populations[population].name)?;
        let before: Vec<f64> = (0..trains.len()).map(|i| trains.next(i)).collect();
        if !trains.set_rates(&rates, now) {
            return refuse(&format!("the rates of population {population} take a course of their own"));
        }
        self.other_rates[population] = true;
        for (i, before) in before.into_iter().enumerate() {
            if trains.next(i) != before {
                push(&mut self.queue, trains.next(i), Kind::Source, population as u32, i as u32);
            }
        }
        Ok(())
    }

    fn counters(&self) -> Counters {
        self.counters.clone()
    }
}
