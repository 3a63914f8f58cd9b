//! Plastic synapses on the device: the recent events of their targets and the jumps of their signals, and when all synapses are
//! brought up to date so that nothing needed of these is ever overwritten. Promises that a neuron may spike at every step and
//! nothing is lost, and that what is seen from outside (weights, snapshots) does not depend on how steps fall into batches.

use super::device::{Device, Kernel};
use super::reflect::mirrored;
use super::{MOST_STEPS, ModelPart, layout, shader};
use crate::engine::NEVER;
use crate::engine::plasticity::{PlasticRule, column};
use crate::error::{Error, Result};
use crate::model::{Plasticity, Ty, number};
use crate::network::fixed_point::limit;
use crate::network::synapse_table::{Block, Dynamic};
use crate::network::{Cell, Modulator, Network, Projection};
use std::ops::Range;
use std::sync::Arc;
use wgpu::BufferUsages as Usage;

/// Words of a row before its stamps (shaders/history.wgsl), and columns of a signal's row.
const HEAD: usize = 3;
const SIGNAL_COLUMNS: usize = 3;
/// Events before those that are asked for, which they follow from: the last of a target, and of a signal the last that counts, one
/// that does not, and its start.
const RESERVE: u32 = 4;
/// Steps that fit between two flushes at least, and where memory allows.
const LEAST_ROOM: u32 = 64;
const USUAL_ROOM: u32 = 1024;
/// Bytes that longer histories than needed may take.
const SPARE_BYTES: u64 = 64 << 20;
/// Steps after which synapses are flushed whatever happened: ages have 32 bits.
const LONGEST_REST: u64 = 1 << 30;
const NONE: u32 = u32::MAX;

pub fn rule(projection: &Projection) -> Option<&Plasticity> {
    projection.synapse.model.plasticity.as_ref()
}

/// One pass over the synapses of a projection in a shard.
struct Flush {
    kernel: Arc<Kernel>,
    group: wgpu::BindGroup,
}

/// One dynamic projection: what runs its synapses, and, where they are plastic, what they know.
pub struct Part {
    pub kernel: Arc<Kernel>,
    pub constants: wgpu::Buffer,
    pub uniform: wgpu::Buffer,
    head: ProjectionWords,
    pub projection: usize,
    /// Nothing larger is transmitted.
    pub limit: f32,
    pub rule: Option<Rule>,
}

mirrored! {
    /// What the kernel of a projection's synapses knows of it.
    struct ProjectionWords = "deliver_dynamic" Projection {
        infinity: f32,
        step: f32,
        lowest: i32,
        first_source: u32,
        source_count: u32,
        synapse_count: u32,
        limit: f32,
        base: u32,
        target_size: u32,
        depth: u32,
        columns: u32,
        dense: u32,
        signal_row: u32,
        signal_rate: f32,
        first_source_word: u32,
        learns: u32,
        paused: u32,
        learns_from: u32,
        flushed: u32,
        flush_to: u32,
        reading: u32,
        twice_axonal: u32,
        digit_offset: u32,
        digit_stride: u32,
        digit_bits: u32,
        digit_count: u32,
    }
}

mirrored! {
    /// What the kernel that keeps a projection's events knows of them.
    struct MemoryWords = "remember" Memory {
        size: u32,
        first_id: u32,
        depth: u32,
        traces: u32,
        states: u32,
        event_state: u32,
        learns: u32,
        flushed: u32,
        dense: u32,
        signal_row: u32,
        signal: u32,
        signal_rate: f32,
        amount: f32,
        delay: u32,
        first_count: u32,
        count_mask: u32,
    }
}

mirrored! {
    /// A population whose spikes a signal jumps at.
    struct Counted = "count" Counted {
        first_id: u32,
        size: u32,
        first_count: u32,
        count_mask: u32,
    }
}

#[cfg(test)]
pub const MIRRORS: &[super::reflect::Mirror] = &[ProjectionWords::MIRROR, MemoryWords::MIRROR, Counted::MIRROR];

/// What plastic synapses of one projection know.
pub struct Rule {
    pub projection: usize,
    /// The bound that weights keep to.
    bound: f32,
    sources: Range<u32>,
    first_source_word: u32,
    n: u32,
    traces: usize,
    states: usize,
    dense: usize,
    signal_row: usize,
    words: usize,
    pub history: wgpu::Buffer,
    memory: wgpu::Buffer,
    memory_head: MemoryWords,
    remember: Kernel,
    group: wgpu::BindGroup,
    pub groups: u32,
    flush: Arc<Kernel>,
    flushes: Vec<Flush>,
    /// Stamp up to which every synapse knows what has happened.
    flushed: u64,
    learns: bool,
    /// Step at which the last pause ended (0: there was none), and the last spike of each source that counts from before it.
    resumed: u64,
    seen: Vec<u64>,
}

/// The signals of a network as this engine makes them jump.
pub struct Signals {
    /// Stamp and amount of the jumps that the scenario gives, sorted.
    scheduled: Vec<Vec<(u64, f64)>>,
    /// Told by a running host, for the next step.
    pub told: Vec<f64>,
    amounts: wgpu::Buffer,
    pub counts: wgpu::Buffer,
    count_words: u64,
    /// Of each signal: first slot of the counts, their number, steps until the jump.
    slots: Vec<[u32; 3]>,
    pub counters: Vec<(Kernel, wgpu::BindGroup)>,
}

#[derive(Default)]
pub struct Clock {
    /// Events kept of each row, a power of two (0: no synapse is plastic).
    pub depth: u32,
    max_delay: u32,
    /// Step of the last flush.
    at: u64,
    /// Most events that a row has gained since, and that were needed then.
    pub pressure: u32,
    carried: u32,
}

/// Spare room of histories.
pub enum Room {
    /// So many steps.
    Given(u32),
    /// Much where memory allows.
    Usual,
    /// As little as needed, where long loops are a danger.
    Least,
}

/// Events kept of a row: those within two delays of a flush and one before, those since, and some steps of room.
fn depth(max_delay: u32, rows: &[(u64, u64)], room: &Room) -> u32 {
    let needed = |room: u32| (2 * max_delay + RESERVE + room).next_power_of_two();
    match room {
        Room::Given(room) => return needed((*room).max(1)),
        Room::Least => return needed(LEAST_ROOM),
        Room::Usual => {}
    }
    let mut depth = needed(USUAL_ROOM);
    let bytes = |depth: u32| rows.iter().map(|&(n, columns)| 4 * n * u64::from(depth) * (1 + columns)).sum::<u64>();
    while depth > needed(LEAST_ROOM) && bytes(depth) > SPARE_BYTES {
        depth /= 2;
    }
    depth
}

/// Refuses what this engine does not keep.
fn check(projection: &Projection, rule: &PlasticRule) -> Result<()> {
    let model = &projection.synapse.model;
    let without = model.plasticity.as_ref().is_some_and(|p| p.on_modulator.is_none());
    if without && [rule.on_pre, rule.on_post, rule.on_read].iter().any(|code| code.modulator_start) {
        return Err(Error::input(
            format!(
                "{} reads `modulator_start` and has no `on_modulator`: the gpu engine does not keep signals that long",
                model.name
            ),
            "add on_modulator, read `modulator`, or use --engine cpu",
        ));
    }
    Ok(())
}

/// Here a synapse acts when its source emits: so much less than the delay later all spikes of targets that come before are known.
fn twice_axonal(net: &Network, projection: &Projection) -> Result<u32> {
    let steps = |ms: f64| (ms / net.dt).round();
    let (twice, shortest) = (2.0 * steps(projection.axonal), steps(projection.delay_range().0));
    if twice > 0.0 && twice >= shortest {
        return Err(Error::input(
            format!(
                "projection `{}`: an axonal share of {} ms, with delays of {} ms: the gpu engine takes less than half of the delay",
                projection.name,
                projection.axonal,
                shortest * net.dt
            ),
            "lower axonal_delay, or use --engine cpu",
        ));
    }
    Ok(twice as u32)
}

/// States of the target that the code of a projection reads, and which of them makes the events.
fn post_states(projection: &Projection) -> (usize, Option<usize>) {
    rule(projection).map_or((0, None), |rule| (rule.post_states.len(), rule.post_event))
}

/// What is to be allocated: events kept of a row (0: no synapse is plastic), and bytes of each history.
pub fn needs(net: &Network, max_delay: u32, room: &Room) -> Result<(u32, Vec<u64>)> {
    let mut rows = Vec::new();
    for projection in net.projections.iter().filter(|p| rule(p).is_some()) {
        let taus = PlasticRule::of(net, projection)?.map_or(0, |rule| rule.taus().len());
        rows.push((u64::from(net.populations[projection.target].n), (taus + 2 * post_states(projection).0) as u64));
    }
    if rows.is_empty() {
        return Ok((0, Vec::new()));
    }
    let depth = depth(max_delay, &rows, room);
    let row = |columns: u64| HEAD as u64 + u64::from(depth) * (1 + columns);
    Ok((depth, rows.iter().map(|&(n, columns)| 4 * (n * row(columns) + row(SIGNAL_COLUMNS as u64))).collect()))
}

/// What a part is made from.
pub struct Frame<'a> {
    pub net: &'a Network,
    pub device: &'a Device,
    pub block: &'a Block,
    pub models: &'a [ModelPart],
    pub signals: &'a Signals,
    pub overrides: &'a [(&'a str, f64)],
    pub depth: u32,
    pub windows: &'a wgpu::Buffer,
    pub list: &'a wgpu::Buffer,
    pub marks: &'a wgpu::Buffer,
    pub latest: &'a wgpu::Buffer,
}

impl Part {
    pub fn new(frame: &Frame, d: &Dynamic, sources: &Range<u32>) -> Result<Part> {
        let (net, device) = (frame.net, frame.device);
        let projection = &net.projections[d.projection as usize];
        let synapse = &projection.synapse;
        shader::check_synapse(&synapse.model)?;
        let resolved = PlasticRule::of(net, projection)?;
        resolved.iter().try_for_each(|rule| check(projection, rule))?;
        let kept = resolved.as_ref().map_or(Vec::new(), PlasticRule::taus);
        let (states, _) = post_states(projection);
        let mut constants: Vec<u32> = synapse.constants().iter().map(|c| c.get(0)).collect();
        let traces = resolved.iter().flat_map(|rule| &rule.traces);
        constants.extend(traces.flat_map(|t| [column(&kept, *t).map_or(NONE, |c| c as u32), t.rate().to_bits()]));
        let first_source_word = constants.len() as u32;
        constants.extend(sources.clone().map(|_| NEVER).chain([0]));
        let (n, depth) = (net.populations[projection.target].n, frame.depth);
        let row = |columns: usize| HEAD + depth as usize * (1 + columns);
        let signal_row = n as usize * row(kept.len() + states);
        let dense = signal_row + row(SIGNAL_COLUMNS);
        let signal = resolved.as_ref().and_then(|rule| rule.signal);
        let rate = signal.map_or(0.0, |m| (net.dt / net.modulators[m].tau) as f32);
        let limit = limit(projection)?.unwrap_or(0.0) as f32;
        let head = ProjectionWords {
            infinity: f32::INFINITY,
            step: net.dt as f32,
            lowest: d.digits.lowest,
            first_source: sources.start,
            source_count: sources.len() as u32,
            synapse_count: d.weight.len() as u32,
            limit,
            base: d.port * frame.block.stride + frame.block.offset[projection.target],
            target_size: n,
            depth,
            columns: (kept.len() + states) as u32,
            dense: dense as u32,
            signal_row: signal_row as u32,
            signal_rate: rate,
            first_source_word,
            learns: 1,
            twice_axonal: twice_axonal(net, projection)?,
            digit_offset: d.digits.first.saturating_sub(d.port) * frame.block.stride,
            digit_stride: frame.block.stride,
            digit_bits: d.digits.bits.max(1),
            digit_count: d.digits.count,
            ..ProjectionWords::default()
        };
        let uniform = device.buffer("a projection", ProjectionWords::WORDS as u64 * 4, Usage::UNIFORM | Usage::COPY_DST)?;
        device.write(&uniform, 0, head.words())?;
        let text = shader::deliver_shader(Some(&synapse.model));
        let kernel = |entry: &str| {
            let kernel = device.kernel(&synapse.model.name, &text, entry, frame.overrides);
            kernel.map(Arc::new).map_err(|error| super::in_model(&synapse.model.name, error))
        };
        let rule = match &resolved {
            None => None,
            Some(resolved) => {
                let taus: Vec<f64> = kept.iter().map(|tau| tau / net.dt).collect();
                let (history, memory, memory_head, remember, group) =
                    memory(frame, projection, &taus, resolved.signal, [signal_row, dense], rate)?;
                let words = dense + states * n as usize * depth as usize;
                Some(Rule {
                    projection: d.projection as usize,
                    bound: resolved.bound as f32,
                    sources: sources.clone(),
                    first_source_word,
                    n,
                    traces: taus.len(),
                    states,
                    dense,
                    signal_row,
                    words,
                    history,
                    memory,
                    memory_head,
                    remember,
                    group,
                    groups: (n + 1).div_ceil(layout::WORKGROUP),
                    flush: kernel("flush")?,
                    flushes: Vec::new(),
                    flushed: 0,
                    learns: true,
                    resumed: 0,
                    seen: vec![u64::MAX; sources.len()],
                })
            }
        };
        Ok(Part {
            kernel: kernel("deliver_dynamic")?,
            constants: device.storage("constants of synapses", &constants)?,
            uniform,
            head,
            projection: d.projection as usize,
            limit,
            rule,
        })
    }

    /// Binds the synapses of a shard to the pass that brings them up to date.
    pub fn add_flush(&mut self, device: &Device, buffers: &[&wgpu::Buffer]) -> Result<()> {
        if let Some(rule) = &mut self.rule {
            let group = device.bind(&rule.flush, buffers)?;
            rule.flushes.push(Flush { kernel: rule.flush.clone(), group });
        }
        Ok(())
    }

    /// Tells the kernels what has changed.
    fn tell(&mut self, device: &Device, to: u64) -> Result<()> {
        let Some(rule) = &mut self.rule else { return Ok(()) };
        self.head.learns = rule.learns.into();
        self.head.paused = (rule.resumed > 0 || !rule.learns).into();
        self.head.learns_from = rule.resumed as u32;
        self.head.flushed = rule.flushed as u32;
        self.head.flush_to = to as u32;
        rule.memory_head.learns = rule.learns.into();
        rule.memory_head.flushed = rule.flushed as u32;
        device.write(&self.uniform, 0, self.head.words())?;
        device.write(&rule.memory, 0, rule.memory_head.words())
    }

    /// Encodes the pass that brings all synapses up to stamp `to`; `done` must follow when it is submitted.
    pub fn flush(&mut self, device: &Device, encoder: &mut wgpu::CommandEncoder, to: u64, grid: [u32; 3]) -> Result<()> {
        match &self.rule {
            Some(rule) if rule.learns && rule.flushed < to => {}
            _ => return Ok(()),
        }
        self.tell(device, to)?;
        self.encode_flush(encoder, grid);
        Ok(())
    }

    fn encode_flush(&self, encoder: &mut wgpu::CommandEncoder, grid: [u32; 3]) {
        let Some(rule) = &self.rule else { return };
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for flush in &rule.flushes {
            pass.set_pipeline(&flush.kernel.pipeline);
            pass.set_bind_group(0, &flush.group, &[0]);
            pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
        }
    }

    /// The synapses as they are at stamp `to` (`step` unless learning has stopped), in order of the table: the first `count` of `words`,
    /// which hold all synapses, and hold them again afterwards.
    pub fn read(
        &mut self,
        device: &Device,
        (words, count): (&wgpu::Buffer, u64),
        [to, step]: [u64; 2],
        grid: [u32; 3],
    ) -> Result<Vec<u32>> {
        let kept = device.buffer("a copy of synapses", words.size(), Usage::COPY_SRC | Usage::COPY_DST)?;
        let mut head = self.head;
        if let Some(rule) = self.rule.as_ref().filter(|rule| !rule.learns) {
            // As if learning went on now: of the last spikes of sources those count that counted when it stopped.
            (head.learns, head.paused, head.learns_from) = (1, 1, step as u32);
            head.flushed = rule.flushed as u32;
        }
        (head.flush_to, head.reading) = (to as u32, 1);
        device.write(&self.uniform, 0, head.words())?;
        let mut encoder = device.raw.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(words, 0, &kept, 0, words.size());
        self.encode_flush(&mut encoder, grid);
        device.queue.submit([encoder.finish()]);
        let read = device.read(&[(words, 0, count)])?.remove(0);
        let mut encoder = device.raw.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&kept, 0, words, 0, words.size());
        device.queue.submit([encoder.finish()]);
        self.tell(device, 0)?;
        device.wait()?;
        Ok(read)
    }

    /// The pass to stamp `to` has been carried out.
    pub fn flushed(&mut self, device: &Device, to: u64) -> Result<()> {
        match &mut self.rule {
            Some(rule) if rule.learns && rule.flushed < to => rule.flushed = to,
            _ => return Ok(()),
        }
        self.tell(device, to)
    }

    pub fn sources(&self) -> u32 {
        self.rule.as_ref().map_or(0, |r| r.sources.len() as u32)
    }

    /// Learning goes on, or stops, between two steps; `last` as in `Snapshot::last_spike`.
    pub fn set_learning(&mut self, device: &Device, on: bool, step: u64, last: &[u64]) -> Result<()> {
        let Some(rule) = &mut self.rule else { return Ok(()) };
        if rule.learns == on {
            return Ok(());
        }
        if on {
            rule.resumed = step;
        } else {
            for (seen, &last) in rule.seen.iter_mut().zip(&last[rule.sources.start as usize..rule.sources.end as usize]) {
                if last != u64::MAX && last > rule.resumed {
                    *seen = last;
                }
            }
            let words: Vec<u32> = rule.seen.iter().map(|s| *s as u32).collect();
            device.write(&self.constants, u64::from(rule.first_source_word), &words)?;
        }
        rule.learns = on;
        self.tell(device, 0)
    }
}

/// The history of a rule, empty, and the kernel that fills it.
type Memory = (wgpu::Buffer, wgpu::Buffer, MemoryWords, Kernel, wgpu::BindGroup);

fn memory(
    frame: &Frame,
    projection: &Projection,
    taus: &[f64],
    signal: Option<usize>,
    [signal_row, dense]: [usize; 2],
    rate: f32,
) -> Result<Memory> {
    let (net, device, depth) = (frame.net, frame.device, frame.depth as usize);
    let target = &net.populations[projection.target];
    let n = target.n as usize;
    let (read, event) = post_states(projection);
    let mut words = vec![0u32; dense + read * n * depth];
    let mut column_words: Vec<u32> = taus.iter().map(|tau| ((1.0 / tau) as f32).to_bits()).collect();
    let part = frame.models.iter().find_map(|m| m.populations.iter().find(|p| p.0 == projection.target).map(|p| (m, p.1)));
    if let (Cell::Neuron(instance), Some((_, first_state))) = (&target.cell, part) {
        let initial = instance.initial_words();
        let states = projection.post_states(net)?;
        column_words.extend(states.iter().map(|at| first_state + (at * n) as u32));
        for (k, &at) in states.iter().enumerate() {
            let ty = instance.model.states[at].ty;
            column_words.push(match ty {
                Ty::F32 => 0,
                Ty::I32 => 1,
                Ty::U32 | Ty::Bool => 2,
            });
            for i in 0..n {
                let value = number(initial[at].get(i), ty) as f32;
                words[dense + (k * n + i) * depth..][..depth].fill(value.to_bits());
            }
        }
    }
    column_words.push(0);
    if let Some(m) = signal {
        // The signal starts as if it had jumped by nothing at 0.
        (words[signal_row], words[signal_row + 1]) = (1, 1);
        words[signal_row + HEAD + depth] = (net.modulators[m].initial as f32).to_bits();
    }
    let spikes = signal.and_then(|m| net.modulators[m].spikes.as_ref());
    let [first_count, slots, delay] = signal.map_or([0, 1, 0], |m| frame.signals.slots[m]);
    let head = MemoryWords {
        size: target.n,
        first_id: target.first,
        depth: frame.depth,
        traces: taus.len() as u32,
        states: read as u32,
        event_state: event.map_or(NONE, |e| e as u32),
        learns: 1,
        flushed: 0,
        dense: dense as u32,
        signal_row: signal.map_or(NONE, |_| signal_row as u32),
        signal: signal.unwrap_or(0) as u32,
        signal_rate: rate,
        amount: spikes.map_or(0.0, |s| s.amount as f32),
        delay,
        first_count,
        count_mask: slots - 1,
    };
    let history = device.storage("events of targets", &words)?;
    let columns = device.storage("columns of histories", &column_words)?;
    let uniform = device.buffer("a memory", MemoryWords::WORDS as u64 * 4, Usage::UNIFORM | Usage::COPY_DST)?;
    device.write(&uniform, 0, head.words())?;
    let kernel = device.kernel("remember", &shader::remember_shader(), "remember", &[])?;
    let states = part.map_or(&columns, |(m, _)| &m.states);
    let signals = frame.signals;
    let group = device.bind(
        &kernel,
        &[
            frame.windows,
            frame.list,
            frame.marks,
            frame.latest,
            &history,
            &uniform,
            &columns,
            states,
            &signals.amounts,
            &signals.counts,
        ],
    )?;
    Ok((history, uniform, head, kernel, group))
}

impl Rule {
    /// The kernel that keeps what happens in a step.
    pub fn remember(&self) -> (&Kernel, &wgpu::BindGroup) {
        (&self.remember, &self.group)
    }

    fn row(&self, depth: usize) -> usize {
        HEAD + depth * (1 + self.traces + self.states)
    }

    /// What synapses may still ask for, independent of where it stands: whether and since when they learn, last spikes of sources
    /// that count, rows (number, then stamps and columns), states of the last steps.
    fn store(&self, device: &Device, clock: &Clock, step: u64, flat: &mut Vec<u64>) -> Result<()> {
        let depth = clock.depth as usize;
        let words = device.read(&[(&self.history, 0, self.words as u64)])?.remove(0);
        flat.extend([self.projection as u64, self.traces as u64, self.states as u64, u64::from(self.n), self.seen.len() as u64]);
        flat.extend([self.flushed, self.learns.into(), self.resumed]);
        flat.extend(&self.seen);
        let needed = self.flushed.saturating_sub(u64::from(clock.max_delay));
        let mut row = |row: &[u32], columns: usize, needed: u64, before: u32| {
            let count = row[0];
            let at = |event: u32| event as usize & (depth - 1);
            let stamp = |event: u32| step - u64::from((step as u32).wrapping_sub(row[HEAD + at(event)]));
            let mut first = count;
            while first > count.saturating_sub(clock.depth) && stamp(first - 1) > needed {
                first -= 1;
            }
            first -= before.min(first - count.saturating_sub(clock.depth));
            flat.push(u64::from(count - first));
            for event in first..count {
                flat.push(stamp(event));
                flat.extend((0..columns).map(|c| u64::from(row[HEAD + (c + 1) * depth + at(event)])));
            }
        };
        words[..self.signal_row].chunks_exact(self.row(depth)).for_each(|own| row(own, self.traces + self.states, needed, 1));
        row(&words[self.signal_row..self.dense], SIGNAL_COLUMNS, self.flushed, RESERVE - 1);
        for ring in words[self.dense..].chunks_exact(depth) {
            let back = |k: u64| u64::from(ring[step.wrapping_sub(k) as usize & (depth - 1)]);
            flat.extend((0..=u64::from(clock.max_delay)).map(back));
        }
        Ok(())
    }

    /// The reverse; the number of events of the longest row, or None where it does not fit.
    fn restore(
        &mut self,
        device: &Device,
        clock: &Clock,
        step: u64,
        words: &mut impl Iterator<Item = u64>,
    ) -> Result<Option<u64>> {
        let depth = clock.depth as usize;
        let mut array = vec![0u32; self.words];
        let mut longest = 0;
        let mut read = || -> Option<()> {
            let mut word = || words.next();
            let shape = [self.projection, self.traces, self.states, self.n as usize, self.seen.len()].map(|x| x as u64);
            for wanted in shape {
                (word()? == wanted).then_some(())?;
            }
            (self.flushed, self.learns, self.resumed) = (word()?, word()? != 0, word()?);
            for seen in &mut self.seen {
                *seen = word()?;
            }
            let row_words = HEAD + depth * (1 + self.traces + self.states);
            let (rows, rest) = array.split_at_mut(self.signal_row);
            let (signal, dense) = rest.split_at_mut(self.dense - self.signal_row);
            let columns = self.traces + self.states;
            let rows = rows.chunks_exact_mut(row_words).map(|row| (row, columns)).chain([(signal, SIGNAL_COLUMNS)]);
            for (row, columns) in rows {
                let count = word()?;
                longest = longest.max(count);
                (count < 1 << 31).then_some(())?;
                for event in 0..count as usize {
                    let slot = event & (depth - 1);
                    row[HEAD + slot] = word()? as u32;
                    for c in 0..columns {
                        row[HEAD + (c + 1) * depth + slot] = word()? as u32;
                    }
                }
                (row[0], row[2]) = (count as u32, self.flushed as u32);
            }
            for ring in dense.chunks_exact_mut(depth) {
                for k in 0..=u64::from(clock.max_delay) {
                    ring[step.wrapping_sub(k) as usize & (depth - 1)] = word()? as u32;
                }
            }
            Some(())
        };
        if read().is_none() {
            return Ok(None);
        }
        device.write(&self.history, 0, &array)?;
        Ok(Some(longest))
    }
}

impl Clock {
    pub fn new(depth: u32, max_delay: u32) -> Clock {
        Clock { depth, max_delay, ..Default::default() }
    }

    /// Steps that may be taken before the next flush.
    pub fn room(&self, step: u64) -> u64 {
        if self.depth == 0 {
            return u64::MAX;
        }
        let room = u64::from(self.depth.saturating_sub(RESERVE + self.carried + self.pressure));
        room.min((self.at + LONGEST_REST).saturating_sub(step))
    }

    /// Must `steps` more steps wait for a flush? One is worth while only when batches would become short.
    pub fn is_full(&self, step: u64, steps: u64) -> bool {
        let room = self.room(step);
        room < steps && room <= u64::from(self.depth.saturating_sub(RESERVE + 2 * self.max_delay)) / 4
    }

    /// The stamp up to which synapses can be brought at a step: what reaches them until then is known on every engine.
    pub fn flush_to(&self, step: u64) -> u64 {
        step.saturating_sub(u64::from(self.max_delay))
    }

    /// All synapses have been flushed at a step.
    pub fn flushed(&mut self, step: u64) {
        if self.flush_to(step) > self.flush_to(self.at) {
            (self.at, self.pressure, self.carried) = (step, 0, 2 * self.max_delay);
        }
    }
}

/// All that snapshots hold of plastic synapses beyond their states.
pub fn store(parts: &[&Part], signals: &Signals, device: &Device, clock: &Clock, step: u64) -> Result<Vec<u64>> {
    let counts = device.read(&[(&signals.counts, 0, signals.count_words)])?.remove(0);
    let mut flat = vec![signals.told.len() as u64, counts.len() as u64];
    flat.extend(signals.told.iter().map(|t| t.to_bits()));
    flat.extend(counts.iter().map(|&c| u64::from(c)));
    for rule in parts.iter().filter_map(|p| p.rule.as_ref()) {
        rule.store(device, clock, step, &mut flat)?;
    }
    Ok(flat)
}

/// The reverse of [`store`].
///
/// # Errors
/// What is stored belongs to other rules or populations.
pub fn restore(
    parts: &mut [&mut Part],
    signals: &mut Signals,
    device: &Device,
    clock: &mut Clock,
    step: u64,
    flat: &[u64],
) -> Result<()> {
    let misfit = || {
        Error::input(
            "the checkpoint does not hold the spike histories that these plastic synapses need",
            "resume with the scenario and the engine that wrote it; rules and time constants may not change",
        )
    };
    let mut words = flat.iter().copied();
    let head = [words.next(), words.next()];
    if head != [Some(signals.told.len() as u64), Some(signals.count_words)] {
        return Err(misfit());
    }
    for told in &mut signals.told {
        *told = f64::from_bits(words.next().ok_or_else(misfit)?);
    }
    let counts: Vec<u32> = words.by_ref().take(signals.count_words as usize).map(|c| c as u32).collect();
    if counts.len() as u64 != signals.count_words {
        return Err(misfit());
    }
    device.write(&signals.counts, 0, &counts)?;
    let mut longest = 0;
    for part in parts.iter_mut() {
        let Some(rule) = &mut part.rule else { continue };
        let own = rule.restore(device, clock, step, &mut words)?.ok_or_else(misfit)?;
        longest = longest.max(own);
        let seen: Vec<u32> = rule.seen.iter().map(|s| *s as u32).collect();
        device.write(&part.constants, u64::from(rule.first_source_word), &seen)?;
        part.tell(device, 0)?;
    }
    if words.next().is_some() || longest + u64::from(RESERVE) > u64::from(clock.depth) {
        return Err(misfit());
    }
    (clock.at, clock.pressure, clock.carried) = (step, longest as u32, 0);
    Ok(())
}

impl Signals {
    pub fn new(net: &Network, device: &Device) -> Result<Signals> {
        let stamp = |time: f64| (time / net.dt).round().max(0.0) as u64;
        let scheduled = net.modulators.iter().map(|m| {
            let mut jumps: Vec<(u64, f64)> = m.jumps.iter().map(|&(time, amount)| (stamp(time), amount)).collect();
            jumps.sort_by_key(|j| j.0);
            jumps
        });
        let mut count_words = 0u32;
        let slots = net.modulators.iter().map(|m: &Modulator| {
            let Some(spikes) = &m.spikes else { return [0, 1, 0] };
            let delay = stamp(spikes.delay).max(1) as u32;
            let first = count_words;
            count_words += (delay + 2).next_power_of_two();
            [first, count_words - first, delay]
        });
        let slots: Vec<[u32; 3]> = slots.collect();
        let usage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;
        Ok(Signals {
            scheduled: scheduled.collect(),
            told: vec![0.0; net.modulators.len()],
            amounts: device.buffer("jumps of signals", (net.modulators.len() as u64).max(1) * MOST_STEPS * 4, usage)?,
            counts: device.storage("counts of spikes", &vec![0; count_words.max(1) as usize])?,
            count_words: u64::from(count_words),
            slots,
            counters: Vec::new(),
        })
    }

    /// The kernels that count the spikes that signals jump at.
    pub fn add_counters(&mut self, net: &Network, device: &Device, shared: [&wgpu::Buffer; 4]) -> Result<()> {
        for (modulator, &[first, slots, _]) in net.modulators.iter().zip(&self.slots) {
            let Some(spikes) = &modulator.spikes else { continue };
            let population = &net.populations[spikes.population];
            let kernel = device.kernel("count_spikes", &shader::count_shader(), "count_spikes", &[])?;
            let uniform = device.buffer("a counted population", 16, Usage::UNIFORM | Usage::COPY_DST)?;
            let counted = Counted { first_id: population.first, size: population.n, first_count: first, count_mask: slots - 1 };
            device.write(&uniform, 0, counted.words())?;
            let [windows, list, marks, latest] = shared;
            let group = device.bind(&kernel, &[windows, list, marks, latest, &self.counts, &uniform])?;
            self.counters.push((kernel, group));
        }
        Ok(())
    }

    /// Uploads the jumps of the steps after `first`; what was told counts in the first of them.
    pub fn upload(&mut self, device: &Device, first: u64, steps: u32) -> Result<()> {
        if self.told.is_empty() {
            return Ok(());
        }
        let mut words = Vec::with_capacity(self.told.len() * steps as usize);
        for (jumps, told) in self.scheduled.iter().zip(&self.told) {
            let mut amounts = vec![0.0; steps as usize];
            // What is scheduled for 0 counts in the first step.
            let after = |stamp: u64| jumps.partition_point(|j| j.0.max(1) <= stamp);
            for &(stamp, amount) in &jumps[after(first)..after(first + u64::from(steps))] {
                amounts[(stamp.max(1) - first - 1) as usize] += amount;
            }
            amounts[0] += told;
            words.extend(amounts.iter().map(|a| (*a as f32).to_bits()));
        }
        device.write(&self.amounts, 0, &words)
    }
}

impl Rule {
    /// Weights of this rule's projection multiplied by the factor of their target (by its local id), within the bound. `edges`:
    /// local id of the target and weight, in any order.
    pub fn scaled(&self, edges: &mut [(u32, f32)], name: &str, factor: &dyn Fn(u32, f64) -> f64) -> Result<()> {
        let mut sums = vec![0.0; self.n as usize];
        edges.iter().for_each(|&(target, w)| sums[target as usize] += f64::from(w));
        let factors: Vec<f64> = (0..).zip(sums).map(|(target, sum)| factor(target, sum)).collect();
        if let Some(bad) = factors.iter().find(|f| !f.is_finite()) {
            return Err(Error::input(
                format!("the weights of projection `{name}` are multiplied by {bad}"),
                "give a finite factor for every target, also where the sum of its weights is 0",
            ));
        }
        let (low, high) = (self.bound.min(0.0), self.bound.max(0.0));
        for (target, w) in edges {
            *w = ((f64::from(*w) * factors[*target as usize]) as f32).clamp(low, high);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_hold_what_is_needed_whatever_the_delay() {
        for max_delay in [1, 15, 200, 4000, 60_000] {
            for rows in [&[(10, 1)][..], &[(100_000, 2), (5, 0)]] {
                let depth = depth(max_delay, rows, &Room::Usual);
                assert!(depth.is_power_of_two() && depth >= 2 * max_delay + RESERVE + LEAST_ROOM);
                let bytes = rows.iter().map(|r| 4 * r.0 * u64::from(depth) * (1 + r.1)).sum::<u64>();
                assert!(depth == (2 * max_delay + RESERVE + LEAST_ROOM).next_power_of_two() || bytes <= SPARE_BYTES);
            }
        }
    }

    /// Between two flushes rows never grow beyond what is kept, though a neuron spikes at every step.
    #[test]
    fn flushes_come_in_time() {
        let mut clock = Clock::new(depth(10, &[(1, 1)], &Room::Given(1)), 10);
        let (mut step, mut flushes) = (0, 0);
        while step < 1000 {
            if clock.is_full(step, 1000 - step) {
                clock.flushed(step);
                flushes += 1;
            }
            let steps = clock.room(step).min(1000 - step);
            assert!(steps > 0);
            step += steps;
            clock.pressure += steps as u32;
            assert!(clock.carried + clock.pressure + RESERVE <= clock.depth);
        }
        assert!(flushes > 20);
    }
}
