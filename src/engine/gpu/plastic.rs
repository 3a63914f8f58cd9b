//! Plastic synapses on the device: the recent spikes of their targets, and when all synapses are brought up to date so that what is
//! needed of these is never overwritten. Promises that a neuron may spike at every step and nothing is lost, and that what is seen
//! from outside (weights, snapshots) does not depend on how steps were divided among batches.

use super::device::{Binding, Device, Kernel};
use super::{WINDOW_WORDS, layout, shader};
use crate::engine::cpu::plastic::traces;
use crate::error::{Error, Result};
use crate::network::{Network, Projection};
use std::sync::Arc;

/// Words of a row before its stamps (shaders/history.wgsl).
const HEAD: usize = 3;
/// Steps that fit between two flushes at least, and where memory allows.
const LEAST_ROOM: u32 = 64;
const USUAL_ROOM: u32 = 1024;
/// Bytes that longer histories than needed may take.
const SPARE_BYTES: u64 = 64 << 20;
/// Steps after which synapses are flushed whatever happened: ages have 32 bits.
const LONGEST_REST: u64 = 1 << 30;

/// Snapshots of both engines hold the targets' spikes under this name; up to which stamp synapses are up to date under the other.
pub const POST_SPIKES: &str = "post_spikes";
pub const FLUSHED: &str = "gpu_flushed";

pub fn is_plastic(projection: &Projection) -> bool {
    projection.synapse.model.plasticity.is_some()
}

/// The recent spikes of a population that plastic synapses project to.
pub struct History {
    pub population: usize,
    pub n: u32,
    /// Time constants of the traces, in steps: one column each.
    taus: Vec<f64>,
    pub words: wgpu::Buffer,
    pub kernel: Kernel,
    pub group: wgpu::BindGroup,
    pub groups: u32,
}

/// One pass over the synapses of a projection in a shard.
pub struct Flush {
    pub kernel: Arc<Kernel>,
    pub group: wgpu::BindGroup,
    pub sources: u32,
}

pub struct Plastic {
    pub histories: Vec<History>,
    pub flushes: Vec<Flush>,
    /// Spikes kept of each neuron, a power of two.
    pub depth: u32,
    max_delay: u32,
    /// Stamp up to which every synapse knows its target's spikes.
    pub flushed: u64,
    /// Most spikes that a neuron has added since, and that were needed then.
    pub pressure: u32,
    carried: u32,
}

/// Populations with plastic input, and the time constants of the traces that add up.
fn targets(net: &Network) -> Result<Vec<(usize, Vec<f64>)>> {
    let mut found: Vec<(usize, Vec<f64>)> = Vec::new();
    for projection in net.projections.iter().filter(|p| is_plastic(p)) {
        let at = found.iter().position(|f| f.0 == projection.target).unwrap_or_else(|| {
            found.push((projection.target, Vec::new()));
            found.len() - 1
        });
        for (tau, _) in traces(&projection.synapse, net.dt)? {
            if let Some(tau) = tau.filter(|tau| !found[at].1.contains(tau)) {
                found[at].1.push(tau);
            }
        }
    }
    Ok(found)
}

/// Spikes kept of a neuron: those within two delays of a flush and one before, those since, and some steps of room.
fn depth(max_delay: u32, rows: &[(u64, u64)], room: Option<u32>) -> u32 {
    let needed = |room: u32| (2 * max_delay + 2 + room).next_power_of_two();
    if let Some(room) = room {
        return needed(room.max(1));
    }
    let mut depth = needed(USUAL_ROOM);
    let bytes = |depth: u32| rows.iter().map(|&(n, columns)| 4 * n * u64::from(depth) * (1 + columns)).sum::<u64>();
    while depth > needed(LEAST_ROOM) && bytes(depth) > SPARE_BYTES {
        depth /= 2;
    }
    depth
}

/// What is to be allocated: spikes kept of a neuron (0: no synapse is plastic), bytes of the largest and of all histories.
pub fn needs(net: &Network, max_delay: u32, room: Option<u32>) -> Result<(u32, Vec<u64>)> {
    let targets = targets(net)?;
    if targets.is_empty() {
        return Ok((0, Vec::new()));
    }
    let rows: Vec<(u64, u64)> = targets.iter().map(|(p, taus)| (u64::from(net.populations[*p].n), taus.len() as u64)).collect();
    let depth = depth(max_delay, &rows, room);
    let row = |columns: u64| HEAD as u64 + u64::from(depth) * (1 + columns);
    Ok((depth, rows.iter().map(|&(n, columns)| 4 * n * row(columns)).collect()))
}

impl Plastic {
    /// The histories of a network, empty; `depth` as [`needs`] found it.
    pub fn new(
        net: &Network,
        device: &Device,
        depth: u32,
        max_delay: u32,
        shared: [&wgpu::Buffer; 4],
    ) -> Result<Plastic> {
        let mut plastic =
            Plastic { histories: vec![], flushes: vec![], depth, max_delay, flushed: 0, pressure: 0, carried: 0 };
        if depth == 0 {
            return Ok(plastic);
        }
        for (population, taus) in targets(net)? {
            let (n, first) = (net.populations[population].n, net.populations[population].first);
            let kernel = device.kernel(
                "remember",
                &shader::remember_shader(),
                "remember",
                &[
                    Binding::Window(WINDOW_WORDS as u64 * 4),
                    Binding::ReadWrite,
                    Binding::ReadWrite,
                    Binding::ReadWrite,
                    Binding::ReadWrite,
                    Binding::Read,
                ],
                &[
                    ("depth", depth.into()),
                    ("columns", taus.len() as f64),
                    ("size", n.into()),
                    ("first_id", first.into()),
                ],
            )?;
            let row = HEAD + depth as usize * (1 + taus.len());
            let words = device.storage("spikes of targets", &vec![0; (n as usize * row).max(1)])?;
            let rates: Vec<u32> = taus.iter().map(|tau| ((1.0 / tau) as f32).to_bits()).chain([0]).collect();
            let rates = device.storage("rates of traces", &rates)?;
            let [windows, list, marks, latest] = shared;
            let group = device.bind(&kernel, &[windows, list, marks, latest, &words, &rates])?;
            let groups = n.div_ceil(layout::WORKGROUP);
            plastic.histories.push(History { population, n, taus, words, kernel, group, groups });
        }
        Ok(plastic)
    }

    pub fn history(&self, population: usize) -> Option<&History> {
        self.histories.iter().find(|h| h.population == population)
    }

    /// Steps that may be taken before the next flush.
    pub fn room(&self, step: u64) -> u64 {
        if self.histories.is_empty() {
            return u64::MAX;
        }
        let room = u64::from(self.depth.saturating_sub(2 + self.carried + self.pressure));
        room.min((self.flushed + LONGEST_REST).saturating_sub(step))
    }

    /// Must `steps` more steps wait for a flush? One is worth while only when batches would become short.
    pub fn is_full(&self, step: u64, steps: u64) -> bool {
        let room = self.room(step);
        room < steps && room < u64::from(self.depth.saturating_sub(2 + 2 * self.max_delay)) / 4
    }

    /// The stamp up to which synapses can be brought at a step: all that reaches a synapse until then is known on every engine.
    pub fn flush_to(&self, step: u64) -> u64 {
        step.saturating_sub(u64::from(self.max_delay)).max(self.flushed)
    }

    /// A flush has been carried out at step `step`.
    pub fn note_flush(&mut self, to: u64) {
        if to > self.flushed {
            (self.flushed, self.pressure, self.carried) = (to, 0, 2 * self.max_delay);
        }
    }

    /// The histories as the cpu engine stores them, without what no synapse will ask for again: of each population its index, the
    /// number of traces, its neurons, and of each neuron its spikes (stamp, traces just after it).
    pub fn store(&self, device: &Device, step: u64) -> Result<Vec<u64>> {
        let mut flat = Vec::new();
        let needed = self.flushed.saturating_sub(u64::from(self.max_delay));
        for history in &self.histories {
            let (columns, depth) = (history.taus.len(), self.depth as usize);
            let row_words = HEAD + depth * (1 + columns);
            let words = device.read(&[(&history.words, 0, row_words as u64 * u64::from(history.n))])?.remove(0);
            flat.extend([history.population as u64, columns as u64, u64::from(history.n)]);
            for row in words.chunks_exact(row_words) {
                let count = row[0];
                let at = |event: u32| event as usize & (depth - 1);
                let stamp = |event: u32| step - u64::from((step as u32).wrapping_sub(row[HEAD + at(event)]));
                let mut first = count;
                while first > count.saturating_sub(self.depth) && (first == count || stamp(first) > needed) {
                    first -= 1;
                }
                flat.push(u64::from(count - first));
                for event in first..count {
                    flat.push(stamp(event));
                    flat.extend((0..columns).map(|c| u64::from(row[HEAD + (c + 1) * depth + at(event)])));
                }
            }
        }
        Ok(flat)
    }

    /// Puts back what [`Plastic::store`] or the cpu engine stored; None where it is of other populations or rules.
    ///
    /// # Errors
    /// A neuron has more spikes than are kept here.
    pub fn restore(&mut self, device: &Device, flat: &[u64], flushed: u64) -> Result<Option<()>> {
        let mut words = flat.iter().copied();
        let mut longest = 0;
        let mut arrays = Vec::new();
        for history in &self.histories {
            let columns = history.taus.len();
            let depth = self.depth as usize;
            let row_words = HEAD + depth * (1 + columns);
            let head = [words.next(), words.next(), words.next()];
            if head != [Some(history.population as u64), Some(columns as u64), Some(u64::from(history.n))] {
                return Ok(None);
            }
            let mut array = vec![0u32; row_words * history.n as usize];
            for row in array.chunks_exact_mut(row_words) {
                let Some(count) = words.next() else { return Ok(None) };
                longest = longest.max(count);
                for event in 0..count as usize {
                    let slot = event & (depth - 1);
                    let Some(stamp) = words.next() else { return Ok(None) };
                    row[HEAD + slot] = stamp as u32;
                    for c in 0..columns {
                        let Some(word) = words.next() else { return Ok(None) };
                        row[HEAD + (c + 1) * depth + slot] = word as u32;
                    }
                }
                row[0] = count as u32;
                row[2] = flushed as u32;
            }
            arrays.push(array);
        }
        if words.next().is_some() {
            return Ok(None);
        }
        if longest + u64::from(LEAST_ROOM) / 4 > u64::from(self.depth) {
            let message = format!("the checkpoint holds {longest} spikes of one neuron, the gpu engine keeps {}", self.depth);
            return Err(Error::input(message, "resume on the engine that wrote it (cpu)"));
        }
        for (history, array) in self.histories.iter().zip(arrays) {
            device.write(&history.words, 0, &array)?;
        }
        (self.flushed, self.pressure, self.carried) = (flushed, longest as u32, 0);
        Ok(Some(()))
    }

    /// Which column a rule's trace is read from (u32::MAX: only the nearest spike counts) and its rate per ms, trace by trace.
    pub fn trace_words(&self, projection: &Projection, dt: f64) -> Result<Vec<u32>> {
        let Some(history) = self.history(projection.target) else { return Ok(Vec::new()) };
        let column = |tau: Option<f64>| tau.and_then(|tau| history.taus.iter().position(|t| *t == tau)).map_or(u32::MAX, |c| c as u32);
        let words = traces(&projection.synapse, dt)?.into_iter().map(|(tau, rate)| [column(tau), rate.to_bits()]);
        Ok(words.flatten().collect())
    }

    /// Words kept of a spike of this population beside its stamp.
    pub fn columns(&self, population: usize) -> u32 {
        self.history(population).map_or(0, |h| h.taus.len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_hold_what_is_needed_whatever_the_delay() {
        for max_delay in [1, 15, 200, 4000, 60_000] {
            for rows in [&[(10, 1)][..], &[(100_000, 2), (5, 0)]] {
                let depth = depth(max_delay, rows, None);
                assert!(depth.is_power_of_two() && depth >= 2 * max_delay + 2 + LEAST_ROOM);
                let bytes = rows.iter().map(|r| 4 * r.0 * u64::from(depth) * (1 + r.1)).sum::<u64>();
                assert!(depth == (2 * max_delay + 2 + LEAST_ROOM).next_power_of_two() || bytes <= SPARE_BYTES);
            }
        }
    }
}
