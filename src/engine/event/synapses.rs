//! The outgoing synapses of every source, by delay, with weights and delays in f64 exactly as drawn. Promises rows that a cursor
//! can walk in order of arrival, and few bytes where values repeat (one byte instead of eight for up to 256 distinct ones).
//! Knows no neuron model beyond the signs of its ports.

use super::plastic::{Arrival, Plastic, Senders};
use super::signals::Signal;
use super::ticks::{TICK, ticks};
use crate::error::{Error, Result};
use crate::model::Sign;
use crate::model::kernel::{BLOCK, Kernel, Lanes, Operand, Scratch};
use crate::network::{Cell, Draw, Edge, Network, Projection, Rule, SynapseInstance, fixed_point};
use rayon::prelude::*;
use std::sync::Arc;

/// Gives the edges of a global source id, always the same and in canonical order (appended to the vector).
pub type RowFn = dyn Fn(u32, &mut Vec<Edge>) + Send + Sync;

/// f64 values, exactly; by index while there are few distinct ones.
#[derive(Clone, Debug)]
enum Column {
    Few { index: Vec<u8>, values: Vec<f64> },
    Each(Vec<f64>),
}

impl Column {
    fn push(&mut self, x: f64) {
        match self {
            Column::Each(all) => all.push(x),
            Column::Few { index, values } => {
                // From the end: a new value is most likely one seen lately.
                match values.iter().rposition(|v| v.to_bits() == x.to_bits()) {
                    Some(k) => index.push(k as u8),
                    None if values.len() < 256 => {
                        values.push(x);
                        index.push((values.len() - 1) as u8);
                    }
                    None => {
                        let mut all = Vec::with_capacity(index.capacity());
                        all.extend(index.iter().map(|k| values[*k as usize]));
                        all.push(x);
                        *self = Column::Each(all);
                    }
                }
            }
        }
    }

    #[inline]
    fn get(&self, i: usize) -> f64 {
        match self {
            Column::Few { index, values } => values[index[i] as usize],
            Column::Each(all) => all[i],
        }
    }

    /// Room for `n` values in all.
    fn reserve(&mut self, n: usize) {
        match self {
            Column::Few { index, .. } => index.reserve_exact(n),
            Column::Each(all) => all.reserve_exact(n.saturating_sub(all.len())),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Column::Few { index, values } => index.len() + 8 * values.len(),
            Column::Each(all) => 8 * all.len(),
        }
    }

    fn shrink(&mut self) {
        match self {
            Column::Few { index, .. } => index.shrink_to_fit(),
            Column::Each(all) => all.shrink_to_fit(),
        }
    }
}

impl Default for Column {
    fn default() -> Self {
        Column::Few { index: Vec::new(), values: Vec::new() }
    }
}

/// Synapses of one projection onto one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    pub projection: u32,
    /// Index of the target population in the network.
    pub population: u32,
    pub port: u32,
    /// The port takes the absolute value.
    absolute: bool,
    /// Index into `Synapses::dynamics`.
    dynamic: Option<u32>,
}

/// Code and constants of a projection's synapse model; None for static synapses.
pub type SynapseCode = Option<(Arc<dyn Kernel>, Vec<u32>)>;

/// The synapses of one projection that have state of their own, in order of the rows.
pub struct Dynamic {
    pub projection: u32,
    kernel: Arc<dyn Kernel>,
    constants: Vec<u32>,
    weight: Vec<f32>,
    /// One array a state variable.
    states: Vec<Vec<u32>>,
    initial: Vec<u32>,
    elapsed: Vec<f32>,
    psc: Vec<u32>,
    scratch: Scratch,
    /// Where the weight changes.
    pub plastic: Option<Plastic>,
}

/// A plastic weight that left its bound, or is no number.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Index into `Synapses::dynamics`, local id of the target.
    pub dynamic: usize,
    pub target: u32,
    pub weight: f32,
}

#[derive(Default)]
pub struct Synapses {
    /// First synapse of each global source id, one more at the end.
    start: Vec<u64>,
    target: Vec<u32>,
    class_of: Vec<u16>,
    weight: Column,
    delay: Column,
    pub classes: Vec<Class>,
    pub dynamics: Vec<Dynamic>,
    /// Index of each synapse in its `Dynamic`; empty when all are static.
    member: Vec<u32>,
    /// What plastic synapses need to know of their sources.
    pub senders: Senders,
    pub signals: Vec<Signal>,
    /// ms, the longest delay of a plastic synapse.
    pub longest: f64,
    /// Spikes of targets that plastic synapses hold.
    pub kept: usize,
}

/// Weights and states of a projection's synapses.
pub type Copies = (Vec<f32>, Vec<Vec<u32>>);

/// Edge of a row and its class, ready to be sorted.
type Placed = (Edge, u16);

/// Bytes of the synapses of a projection in this table, each.
pub fn bytes_each(projection: &Projection) -> u64 {
    let given = |f: fn(&crate::network::Edges) -> bool| matches!(&projection.rule, Rule::Explicit(edges) if f(edges));
    let column = |draw: &Draw, given: bool| if matches!(draw, Draw::Constant(_)) && !given { 1 } else { 8 };
    let states = projection.synapse.model.states.len() as u64;
    let dynamic = if projection.synapse.model.program.is_some() { 8 + 4 * states } else { 0 };
    6 + column(&projection.weight, given(|e| e.weight.is_some()))
        + column(&projection.delay, given(|e| e.delay.is_some()))
        + dynamic
}

/// Sources whose rows are made at a time.
const CHUNK: usize = 8192;

impl Synapses {
    /// All rows of a network. `codes` holds one entry a projection; about `expected` synapses will come. Progress runs from 0 to 1.
    pub fn build(
        net: &Network,
        rows: &RowFn,
        codes: Vec<SynapseCode>,
        expected: usize,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<Synapses> {
        let mut table = Synapses { start: vec![0], ..Synapses::default() };
        table.target.reserve_exact(expected);
        table.class_of.reserve_exact(expected);
        table.weight.reserve(expected);
        table.delay.reserve(expected);
        table.senders = Senders::new(net);
        table.signals = net.modulators.iter().map(Signal::new).collect::<Result<_>>()?;
        for (p, code) in codes.into_iter().enumerate() {
            if let Some((kernel, constants)) = code {
                let plastic = Plastic::new(net, &net.projections[p], &constants)?;
                table.dynamics.push(Dynamic::new(p as u32, kernel, constants, plastic, &net.projections[p]));
            }
        }
        // Classes: every projection times the ports of its target, so that a class can be named while rows are made in parallel.
        let mut classes_of = Vec::with_capacity(net.projections.len());
        for (p, projection) in net.projections.iter().enumerate() {
            let first = table.classes.len();
            classes_of.push(fixed_point::ports(net, projection)?.map(|port| port.map(|port| (first + port) as u16)));
            let Cell::Neuron(instance) = &net.populations[projection.target].cell else { continue };
            let dynamic = table.dynamics.iter().position(|d| d.projection == p as u32).map(|d| d as u32);
            table.classes.extend(instance.model.ports.iter().enumerate().map(|(port, declared)| Class {
                projection: p as u32,
                population: projection.target as u32,
                port: port as u32,
                absolute: declared.sign == Sign::Negative { absolute: true },
                dynamic,
            }));
        }
        if table.classes.len() > 1 << 16 {
            return Err(Error::input("the event engine takes at most 65,536 pairs of projection and port", "join projections"));
        }
        let sources = net.neurons();
        let mut chunk: Vec<Result<Vec<Placed>>> = Vec::new();
        for from in (0..sources).step_by(CHUNK) {
            progress(from as f64 / sources.max(1) as f64);
            let to = (from as usize + CHUNK).min(sources as usize) as u32;
            (from..to).into_par_iter().map(|source| place_row(net, rows, source, &classes_of)).collect_into_vec(&mut chunk);
            for row in chunk.drain(..) {
                table.append(row?);
            }
        }
        table.check_delays(net)?;
        table.shrink();
        progress(1.0);
        Ok(table)
    }

    fn append(&mut self, row: Vec<Placed>) {
        for (edge, class) in row {
            let Class { dynamic, absolute, .. } = self.classes[class as usize];
            if !self.dynamics.is_empty() {
                self.member.push(dynamic.map_or(0, |d| self.dynamics[d as usize].push(edge.weight as f32)));
            }
            if let Some(plastic) = dynamic.and_then(|d| self.dynamics[d as usize].plastic.as_mut()) {
                let source = self.start.len() as u32 - 1;
                if plastic.sources.last() != Some(&source) {
                    plastic.sources.push(source);
                }
                plastic.shortest = plastic.shortest.min(edge.delay);
                plastic.longest = plastic.longest.max(edge.delay);
            }
            self.target.push(edge.target);
            self.class_of.push(class);
            self.weight.push(if absolute { edge.weight.abs() } else { edge.weight });
            self.delay.push(edge.delay);
        }
        self.start.push(self.target.len() as u64);
    }

    /// A spike of a target must come before the arrivals that ask for it.
    fn check_delays(&mut self, net: &Network) -> Result<()> {
        for dynamic in &self.dynamics {
            let Some(Plastic { shortest, longest, axonal, .. }) = &dynamic.plastic else { continue };
            if *shortest - axonal < 4.0 * TICK {
                let name = &net.projections[dynamic.projection as usize].name;
                return Err(Error::input(
                    format!(
                        "projection `{name}`: a delay of {shortest} ms, of which {axonal} ms are axonal; plastic synapses tell times {} ms apart",
                        TICK
                    ),
                    format!("give them delays of at least {} ms beside the axonal share", 4.0 * TICK),
                ));
            }
            self.longest = self.longest.max(*longest);
        }
        Ok(())
    }

    fn shrink(&mut self) {
        self.target.shrink_to_fit();
        self.class_of.shrink_to_fit();
        self.member.shrink_to_fit();
        self.weight.shrink();
        self.delay.shrink();
    }

    /// Positions of a source's synapses.
    #[inline]
    pub fn row(&self, source: u32) -> std::ops::Range<usize> {
        self.start[source as usize] as usize..self.start[source as usize + 1] as usize
    }

    /// ms
    #[inline]
    pub fn delay(&self, position: usize) -> f64 {
        self.delay.get(position)
    }

    /// Target population and local id of the synapse at a position.
    #[inline]
    pub fn target(&self, position: usize) -> (u32, u32) {
        (self.classes[self.class_of[position] as usize].population, self.target[position])
    }

    /// As it stands, where it may change.
    pub fn weight(&self, position: usize) -> Option<f32> {
        let d = self.classes[self.class_of[position] as usize].dynamic?;
        Some(self.dynamics[d as usize].weight[self.member[position] as usize])
    }

    /// Weights and states of a plastic projection as they are at `until` (ms, `now` unless it has stopped learning), by
    /// [`Synapses::member`]; None where weights do not change. Synapses stay as they are. An error as that of [`Synapses::flush`].
    pub fn read(&mut self, projection: usize, until: f64, now: f64) -> std::result::Result<Option<Copies>, (u32, Fault)> {
        let of = |d: &Dynamic| d.projection as usize == projection && d.plastic.is_some();
        let Some(d) = self.dynamics.iter().position(of) else { return Ok(None) };
        let Dynamic { weight, states, plastic: Some(plastic), .. } = &mut self.dynamics[d] else { return Ok(None) };
        let mut read = (weight.clone(), states.clone());
        for source in 0..plastic.sources.len() {
            let id = plastic.sources[source];
            let row = self.start[id as usize] as usize..self.start[id as usize + 1] as usize;
            let own = |i: &usize| self.classes[self.class_of[*i] as usize].projection as usize == projection;
            let mut row = row.filter(own).peekable();
            while let Some(&head) = row.peek() {
                let (first, delay, axonal) = (self.member[head] as usize, self.delay.get(head), plastic.axonal);
                let flying = |i: usize| self.senders.flying(id, self.delay.get(i), now).len();
                let lane = |i: usize| {
                    let delay = self.delay.get(i);
                    (self.target[i], delay, self.senders.served_by(id, delay, now))
                };
                plastic.lanes.clear();
                // Those that wait for the same spikes, and are known until the same time.
                let alike = |i: &usize| flying(*i) == flying(head) && (axonal == 0.0 || self.delay.get(*i) == delay);
                while plastic.lanes.len() < BLOCK
                    && let Some(i) = row.next_if(alike)
                {
                    let (target, delay, last) = lane(i);
                    plastic.lanes.push(plastic.lane(target, delay, last));
                }
                let until = if axonal == 0.0 { until } else { until + axonal.min(delay - axonal) };
                plastic.take(first, weight, states);
                let flying = self.senders.flying(id, delay, now).filter(|_| plastic.learns).map(|stamp| stamp + axonal);
                let flying = flying.take_while(|stamp| ticks(*stamp) <= ticks(until));
                plastic.read(&flying.collect::<Vec<_>>(), until, &self.signals);
                let weights = plastic.weights().map_err(|(target, weight)| (id, Fault { dynamic: d, target, weight }))?;
                read.0[first..].iter_mut().zip(weights).for_each(|(read, w)| *read = w);
                for (read, copy) in read.1.iter_mut().zip(&plastic.states[1..]) {
                    read[first..first + plastic.lanes.len()].copy_from_slice(&copy[..plastic.lanes.len()]);
                }
            }
        }
        Ok(Some(read))
    }

    /// The same of a projection whose synapses have dynamics and keep their weights: the spikes on their way, (source, synapses served,
    /// ms since its spike before) in order of their stamps, are seen by copies.
    pub fn read_dynamic(&mut self, projection: usize, flying: impl Iterator<Item = (u32, u32, f32)>) -> Option<Copies> {
        let d = self.dynamics.iter().position(|d| d.projection as usize == projection && d.plastic.is_none())?;
        let stood = self.dynamics[d].states.clone();
        for (source, served, elapsed) in flying {
            let row = self.row(source);
            for i in row.start + served as usize..row.end {
                if self.classes[self.class_of[i] as usize].dynamic == Some(d as u32) {
                    self.dynamics[d].run(self.member[i] as usize, 1, elapsed);
                }
            }
        }
        let states = std::mem::replace(&mut self.dynamics[d].states, stood);
        Some((self.dynamics[d].weight.clone(), states))
    }

    /// Index of the synapse at a position among those of its projection, where these are dynamic.
    pub fn member(&self, position: usize) -> usize {
        self.member[position] as usize
    }

    /// What is stored of each plastic projection.
    pub fn plastic_parts(&self) -> impl Iterator<Item = Vec<u64>> {
        self.dynamics.iter().filter_map(|d| d.plastic.as_ref()).map(Plastic::save)
    }

    /// The reverse; None when a part does not fit.
    pub fn load_plastic(&mut self, part: &dyn Fn(usize) -> Vec<u64>) -> Option<()> {
        let all = self.dynamics.iter_mut().filter_map(|d| Some((d.weight.len(), d.plastic.as_mut()?)));
        self.kept = 0;
        for (k, (n, plastic)) in all.enumerate() {
            plastic.load(&part(k), n)?;
            self.kept += plastic.kept();
        }
        Some(())
    }

    /// Neuron `i` of a population has spiked.
    #[inline]
    pub fn spiked(&mut self, population: usize, i: usize, stamp: f64) {
        for plastic in self.dynamics.iter_mut().filter_map(|d| d.plastic.as_mut()) {
            if plastic.population == population && plastic.learns {
                plastic.spiked(i, stamp);
                self.kept += 1;
            }
        }
    }

    /// Forget the spikes and jumps that no synapse will ask for again.
    pub fn forget(&mut self) {
        let mut asked = vec![f64::INFINITY; self.signals.len()];
        self.kept = 0;
        for plastic in self.dynamics.iter_mut().filter_map(|d| d.plastic.as_mut()) {
            let seen = plastic.sources.iter().map(|id| self.senders.seen(*id).unwrap_or(0.0)).fold(f64::INFINITY, f64::min);
            self.kept += plastic.forget(seen);
            if let Some(asked) = plastic.signal.and_then(|s| asked.get_mut(s)) {
                *asked = asked.min(plastic.asks_signal_from(seen));
            }
        }
        self.signals.iter_mut().zip(asked).for_each(|(signal, asked)| signal.forget(asked));
    }

    /// Learning of a plastic projection stops at `now` (ms), or goes on. False where weights do not change.
    pub fn set_learning(&mut self, projection: usize, on: bool, now: f64) -> bool {
        let Some(d) = self.dynamics.iter().position(|d| d.projection as usize == projection) else { return false };
        let mut last = vec![None; if on { 0 } else { self.dynamics[d].weight.len() }];
        if !on && let Some(plastic) = &self.dynamics[d].plastic {
            for &id in &plastic.sources {
                let own = |i: &usize| self.classes[self.class_of[*i] as usize].dynamic == Some(d as u32);
                for i in self.row(id).filter(own) {
                    last[self.member[i] as usize] = self.senders.served_by(id, self.delay.get(i), now);
                }
            }
        }
        let Some(plastic) = &mut self.dynamics[d].plastic else { return false };
        plastic.set_learning(on, last.len(), &|k| last[k]);
        true
    }

    /// Multiply the weights of a plastic projection onto each target by `factor(target, sum of its weights)`, up to date as they
    /// are, and clip them to the bound. An error names a target whose factor is no number; nothing is changed then.
    pub fn scale(
        &mut self,
        net: &Network,
        rows: &RowFn,
        projection: usize,
        factor: &dyn Fn(u32, f64) -> f64,
    ) -> std::result::Result<(), u32> {
        let mut sums = vec![0.0; net.populations[net.projections[projection].target].n as usize];
        let mut own = Vec::new();
        self.each_of(net, rows, projection, |_, edge, position| {
            sums[edge.target as usize] += self.weight(position).unwrap_or(0.0) as f64;
            own.push((edge.target, self.member[position]));
        });
        let factors: Vec<f64> = (0u32..).zip(&sums).map(|(target, sum)| factor(target, *sum)).collect();
        if let Some(bad) = factors.iter().position(|f| !f.is_finite()) {
            return Err(bad as u32);
        }
        let of = |d: &&mut Dynamic| d.projection as usize == projection;
        let Some(Dynamic { weight, plastic: Some(plastic), .. }) = self.dynamics.iter_mut().find(of) else { return Ok(()) };
        let (low, high) = (plastic.bound.min(0.0), plastic.bound.max(0.0));
        for (target, member) in own {
            let w = &mut weight[member as usize];
            *w = (*w as f64 * factors[target as usize]).clamp(low, high) as f32;
        }
        Ok(())
    }

    /// Plastic synapses of a projection; None where weights do not change.
    pub fn plastic_of(&mut self, projection: usize) -> Option<&mut Plastic> {
        self.dynamics.iter_mut().find(|d| d.projection as usize == projection)?.plastic.as_mut()
    }

    pub fn len(&self) -> usize {
        self.target.len()
    }

    pub fn bytes(&self) -> usize {
        let dynamics = self.dynamics.iter().map(|d| 4 * d.weight.len() * (1 + d.states.len())).sum::<usize>();
        let plain = 8 * self.start.len() + 4 * self.target.len() + 2 * self.class_of.len() + 4 * self.member.len();
        plain + self.weight.bytes() + self.delay.bytes() + dynamics
    }

    /// Hand the synapses at positions `from..to`, which all belong to one row, to `deliver(class, local target, weight as the port
    /// takes it)`. Stops at a weight that is beyond its bound.
    #[inline]
    pub fn transmit(
        &mut self,
        from: usize,
        to: usize,
        arrival: Arrival,
        mut deliver: impl FnMut(Class, u32, f64),
    ) -> std::result::Result<(), Fault> {
        if self.dynamics.is_empty() {
            for i in from..to {
                deliver(self.classes[self.class_of[i] as usize], self.target[i], self.weight.get(i));
            }
            return Ok(());
        }
        let mut i = from;
        while i < to {
            let class = self.classes[self.class_of[i] as usize];
            let Some(d) = class.dynamic else {
                deliver(class, self.target[i], self.weight.get(i));
                i += 1;
                continue;
            };
            // Neighbours of one projection lie side by side in its arrays.
            let first = self.member[i] as usize;
            let same = |j: &usize| self.classes[self.class_of[*j] as usize].projection == class.projection;
            let n = (i..to.min(i + BLOCK)).take_while(same).count();
            let dynamic = &mut self.dynamics[d as usize];
            let psc = if let Some(plastic) = &mut dynamic.plastic {
                plastic.lanes.clear();
                let lanes = (i..i + n).map(|i| plastic.lane(self.target[i], self.delay.get(i), arrival.last));
                plastic.lanes = lanes.collect();
                plastic.take(first, &dynamic.weight, &dynamic.states);
                if plastic.learns {
                    plastic.receive(first, arrival.stamp, &self.signals);
                } else {
                    plastic.psc[..n].copy_from_slice(&plastic.states[0][..n]);
                }
                if let Err((target, weight)) = plastic.put(first, &mut dynamic.weight, &mut dynamic.states) {
                    return Err(Fault { dynamic: d as usize, target, weight });
                }
                &plastic.psc
            } else {
                dynamic.run(first, n, arrival.elapsed);
                &dynamic.psc
            };
            for (k, psc) in psc[..n].iter().enumerate() {
                let class = self.classes[self.class_of[i + k] as usize];
                let psc = f32::from_bits(*psc) as f64;
                deliver(class, self.target[i + k], if class.absolute { psc.abs() } else { psc });
            }
            i += n;
        }
        Ok(())
    }

    /// Let the plastic synapses of a projection see all that counts by `until` (ms): the spikes sent by then have all arrived by
    /// `now`. An error with the source where a weight is beyond its bound.
    pub fn flush(&mut self, projection: usize, until: f64, now: f64) -> std::result::Result<(), (u32, Fault)> {
        let of = |d: &Dynamic| d.projection as usize == projection && d.plastic.is_some();
        let Some(d) = self.dynamics.iter().position(of) else { return Ok(()) };
        let Dynamic { weight, states, plastic: Some(plastic), .. } = &mut self.dynamics[d] else { return Ok(()) };
        if !plastic.learns || until <= plastic.flushed as f64 * TICK || until < 0.0 {
            return Ok(());
        }
        for source in 0..plastic.sources.len() {
            let id = plastic.sources[source];
            let row = self.start[id as usize] as usize..self.start[id as usize + 1] as usize;
            let own = |i: &usize| self.classes[self.class_of[*i] as usize].projection as usize == projection;
            let mut row = row.filter(own).peekable();
            while let Some(first) = row.peek().map(|i| self.member[*i] as usize) {
                plastic.lanes.clear();
                // Those of short delay have been served spikes that others of the row still wait for, and what came before these.
                let lane = |i: usize| {
                    let delay = self.delay.get(i);
                    plastic.lane(self.target[i], delay, self.senders.served_by(id, delay, now))
                };
                plastic.lanes = row.by_ref().take(BLOCK).map(lane).collect();
                plastic.take(first, weight, states);
                plastic.flush(until, &self.signals);
                plastic.put(first, weight, states).map_err(|(target, weight)| (id, Fault { dynamic: d, target, weight }))?;
            }
        }
        plastic.flushed = ticks(until);
        Ok(())
    }

    /// Position of each edge of a row in canonical order.
    fn canonical(&self, source: u32, edges: &[Edge]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..edges.len()).collect();
        order.sort_by(|&a, &b| in_row(&edges[a], &edges[b]));
        let mut position = vec![0; edges.len()];
        let start = self.row(source).start;
        order.iter().enumerate().for_each(|(k, &e)| position[e] = start + k);
        position
    }

    /// Weight and states of every projection with dynamic synapses, in canonical edge order.
    pub fn gather(&self, net: &Network, rows: &RowFn) -> Vec<Vec<Vec<f32>>> {
        let empty = |d: &Dynamic| vec![Vec::with_capacity(d.weight.len()); 1 + d.states.len()];
        let mut all: Vec<Vec<Vec<f32>>> = self.dynamics.iter().map(empty).collect();
        self.each_dynamic(net, rows, |d, member| {
            let (dynamic, out) = (&self.dynamics[d], &mut all[d]);
            out[0].push(dynamic.weight[member]);
            dynamic.states.iter().zip(&mut out[1..]).for_each(|(state, out)| out.push(f32::from_bits(state[member])));
        });
        all
    }

    /// The reverse of [`Synapses::gather`]. False when the sizes do not fit.
    pub fn scatter(&mut self, net: &Network, rows: &RowFn, all: &[Vec<Vec<f32>>]) -> bool {
        let fits =
            |(d, a): (&Dynamic, &Vec<Vec<f32>>)| a.len() == 1 + d.states.len() && a.iter().all(|x| x.len() == d.weight.len());
        if all.len() != self.dynamics.len() || !self.dynamics.iter().zip(all).all(fits) {
            return false;
        }
        let mut members = vec![Vec::new(); self.dynamics.len()];
        self.each_dynamic(net, rows, |d, member| members[d].push(member));
        for ((dynamic, values), members) in self.dynamics.iter_mut().zip(all).zip(members) {
            for (from, member) in members.into_iter().enumerate() {
                dynamic.weight[member] = values[0][from];
                dynamic.states.iter_mut().zip(&values[1..]).for_each(|(state, values)| state[member] = values[from].to_bits());
            }
        }
        true
    }

    /// Random words for the states that start with one.
    pub fn draw_states(&mut self, net: &Network, rows: &RowFn) {
        for d in 0..self.dynamics.len() {
            let projection = self.dynamics[d].projection as usize;
            let states = &net.projections[projection].synapse.model.states;
            let random: Vec<usize> = (0..states.len()).filter(|s| states[*s].is_random()).collect();
            if random.is_empty() {
                continue;
            }
            let mut members = Vec::with_capacity(self.dynamics[d].weight.len());
            self.each_of(net, rows, projection, |_, _, position| members.push(self.member[position] as usize));
            for state in random {
                for (synapse, member) in (0u64..).zip(&members) {
                    self.dynamics[d].states[state][*member] = SynapseInstance::random_word(net.seed, projection, state, synapse);
                }
            }
        }
    }

    /// Visit the synapses of a projection in canonical edge order: (source, edge as drawn, position).
    pub fn each_of(&self, net: &Network, rows: &RowFn, projection: usize, mut visit: impl FnMut(u32, &Edge, usize)) {
        let source = &net.populations[net.projections[projection].source];
        let mut edges = Vec::new();
        for id in source.first..source.first + source.n {
            edges.clear();
            rows(id, &mut edges);
            for (edge, position) in edges.iter().zip(self.canonical(id, &edges)) {
                if edge.projection as usize == projection {
                    visit(id, edge, position);
                }
            }
        }
    }

    /// Visit dynamic synapses in canonical edge order: (index into `dynamics`, index in its arrays).
    fn each_dynamic(&self, net: &Network, rows: &RowFn, mut visit: impl FnMut(usize, usize)) {
        if self.dynamics.is_empty() {
            return;
        }
        let mut edges = Vec::new();
        for source in 0..net.neurons() {
            edges.clear();
            rows(source, &mut edges);
            for position in self.canonical(source, &edges) {
                if let Some(d) = self.classes[self.class_of[position] as usize].dynamic {
                    visit(d as usize, self.member[position] as usize);
                }
            }
        }
    }
}

/// Order within a row: by delay, then by projection; edges that are equal in both keep their canonical order (sorts are stable).
fn in_row(a: &Edge, b: &Edge) -> std::cmp::Ordering {
    a.delay.total_cmp(&b.delay).then(a.projection.cmp(&b.projection))
}

/// The row of a source, in order, each edge with its class; `classes_of` gives those of positive and negative weights.
fn place_row(net: &Network, rows: &RowFn, source: u32, classes_of: &[[Option<u16>; 2]]) -> Result<Vec<Placed>> {
    let mut edges = Vec::new();
    rows(source, &mut edges);
    edges.sort_by(in_row);
    let refuse = |edge: &Edge, message: String, remedy: &str| {
        Err(Error::input(format!("projection `{}`: {message}", net.projections[edge.projection as usize].name), remedy))
    };
    let place = |edge: Edge| -> Result<Placed> {
        if !(edge.delay > 0.0 && edge.delay.is_finite()) {
            return refuse(
                &edge,
                format!("a delay of {} ms", edge.delay),
                "every delay must be above 0 ms; limit the distribution",
            );
        }
        if !edge.weight.is_finite() {
            return refuse(&edge, format!("a weight of {}", edge.weight), "give finite weights");
        }
        match classes_of[edge.projection as usize][(edge.weight < 0.0) as usize] {
            Some(class) => Ok((edge, class)),
            None => refuse(
                &edge,
                format!("its target has no port for the weight {}", edge.weight),
                "name a receptor, or change the sign of the weight",
            ),
        }
    };
    edges.into_iter().map(place).collect()
}

impl Dynamic {
    fn new(projection: u32, kernel: Arc<dyn Kernel>, constants: Vec<u32>, plastic: Option<Plastic>, of: &Projection) -> Dynamic {
        Dynamic {
            projection,
            kernel,
            constants,
            weight: Vec::new(),
            states: vec![Vec::new(); of.synapse.model.states.len()],
            initial: of.synapse.initial_words(),
            elapsed: vec![0.0; BLOCK],
            psc: vec![0; BLOCK],
            scratch: Scratch::default(),
            plastic,
        }
    }

    /// One synapse more; its index.
    fn push(&mut self, weight: f32) -> u32 {
        self.weight.push(weight);
        self.states.iter_mut().zip(&self.initial).for_each(|(state, initial)| state.push(*initial));
        (self.weight.len() - 1) as u32
    }

    /// `on_pre` of the n <= BLOCK synapses from `first` on; what they transmit is in `psc`.
    fn run(&mut self, first: usize, n: usize, elapsed: f32) {
        self.elapsed[..n].fill(elapsed);
        let constants: Vec<Operand> = self.constants.iter().map(|c| Operand::Uniform(*c)).collect();
        let mut states: Vec<&mut [u32]> = self.states.iter_mut().map(|s| &mut s[first..first + n]).collect();
        let mut lanes = Lanes {
            n,
            constants: &constants,
            states: &mut states,
            inputs: &[&self.weight[first..first + n], &self.elapsed[..n]],
            output: &mut self.psc[..n],
        };
        self.kernel.run(&mut lanes, 1, &mut self.scratch);
    }
}
