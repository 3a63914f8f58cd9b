//! The gpu engine: wgpu and the frames of shaders/. Carries out the schedule of `engine/mod.rs` in batches of windows: a window is
//! as many steps as the shortest delay allows, a batch is hundreds of windows in one submission, and nothing is read back in
//! between. Promises the integer path of the CPU bit for bit (drives, synaptic sums, sources), f32 dynamics as the driver
//! computes them, and an error with a remedy where the device fails. Nothing outside this folder knows wgpu.

mod batch;
mod catalogue;
mod device;
mod gather;
mod layout;
mod learning;
mod measure;
mod plastic;
mod reflect;
mod shader;
#[cfg(test)]
mod twins;

pub use catalogue::kernels;
pub use device::{DeviceInfo, devices};
pub use gather::Accumulators;
pub use learning::{GpuNetwork, Projections};
pub use measure::{Latency, copy_bandwidth, latency};
use shader::source_shader;
pub use shader::{deliver_shader, update_shader};

use crate::engine::faults::{beyond_bound, broken_neuron, within_bound};
use crate::engine::homeostasis::Balance;
use crate::engine::phases::{Phases, Stopwatch};
use crate::engine::probes::{StateProbe, state_probes};
use crate::engine::{
    Counters, Engine, NEVER, Own, Sink, Snapshot, Spike, Synapses, is_plastic, note_learning, readable, since_last,
};
use crate::error::{Error, Result};
use crate::model::Recorder;
use crate::network::connectivity::Rows;
use crate::network::fixed_point::multiplicity;
use crate::network::synapse_table::{Block, Tables};
use crate::network::{Cell, Network, Values, footprint};
use crate::stimulus::current::Currents;
use crate::stimulus::emit::SourceEmitter;
use crate::stimulus::{Drive, DriveKind, SpikeSource};
use batch::{Batch, Planner, SampleSize, Window, WindowWords};
use device::{Device, Kernel, MOST_ITERATIONS, PassClock, device_error};
use gather::{Demand, Owned};
use layout::{Directory, ModelLayout, Teams};
use plastic::{Clock, Frame, Part, Room, Rule, Signals};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wgpu::BufferUsages as Usage;

/// Windows and steps of one submission at most (a step number within a batch has 16 bits).
const MOST_WINDOWS: usize = 512;
const MOST_STEPS: u64 = 4096;
/// A submission should keep the device this long at most: desktop systems reset a device after about 2 s.
const LONG_BATCH: Duration = Duration::from_millis(300);
const SHORT_BATCH: Duration = Duration::from_millis(100);
const MOST_WINDOW_STEPS: u32 = 32;
/// Longest delay: step numbers of a batch and of the spikes before it share 16 bits.
const MOST_DELAY: u32 = 60_000;
/// Storage buffers that the kernels of plastic synapses bind.
const PLASTIC_BUFFERS: u32 = 10;
/// Words of a `Mark` in shaders/record.wgsl; the workgroup counts stand at word 2.
const MARK_WORDS: usize = 5;

/// Phases of a batch, by index into `PHASES`: what the host does, and (where the device has clocks) how long the device computed, which
/// passes while the host waits.
const PHASES: [&str; 7] = ["plan", "upload", "record", "submit", "wait", "report", "device"];
const PLAN: usize = 0;
const UPLOAD: usize = 1;
const RECORD: usize = 2;
const SUBMIT: usize = 3;
const WAIT: usize = 4;
const REPORT: usize = 5;
const DEVICE: usize = 6;

/// How to run; the default is right but for `device`.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Index or part of the name.
    pub device: Option<String>,
    /// Synapse tables are cut into shards of at most that many bytes; default: what the device lets a kernel see.
    pub shard_bytes: Option<u64>,
    /// Entries of the spike list; default: a million, and one for every neuron and source at least.
    pub spike_capacity: Option<u32>,
    /// Spikes of a neuron between two passes over all plastic synapses, at least; default: a thousand where memory allows.
    pub history_room: Option<u32>,
    /// Whether each workgroup owns what its neurons receive.
    pub accumulators: Accumulators,
}

struct ModelPart {
    kernel: Kernel,
    group: wgpu::BindGroup,
    workgroups: u32,
    states: wgpu::Buffer,
    /// Index in the network, first word in `states`.
    populations: Vec<(usize, u32)>,
}

struct SourcePart {
    kernel: Kernel,
    sources: wgpu::Buffer,
    words: wgpu::Buffer,
    group: wgpu::BindGroup,
    blocks: u32,
}

/// One delivery: a shard's fixed synapses, or those of one dynamic projection in it.
struct Delivery {
    kernel: Arc<Kernel>,
    group: wgpu::BindGroup,
}

struct Dynamics {
    /// Weights, then one array a state, then a word for what goes wrong.
    words: wgpu::Buffer,
    count: u64,
    part: Part,
}

struct ProbePart {
    /// Index into `Network::probes`.
    probe: usize,
    kernel: Kernel,
    group: wgpu::BindGroup,
    groups: u32,
    neurons: Vec<u32>,
    /// States of the model; all are sampled.
    states: usize,
    variables: Vec<Recorder>,
}

/// The engine on a GPU: state and spikes stay on the device, and many steps are recorded ahead.
pub struct GpuEngine {
    net: Arc<Network>,
    rows: Arc<Rows>,
    tables: Tables,
    device: Device,
    step: u64,
    longest_delay: u32,
    dispatch_width: u32,
    parts: u32,
    models: Vec<ModelPart>,
    source: Option<SourcePart>,
    deliveries: Vec<Delivery>,
    dynamics: Vec<Dynamics>,
    signals: Signals,
    /// When plastic synapses are flushed.
    clock: Clock,
    /// Rates that were told, by population.
    rates: BTreeMap<usize, Vec<f64>>,
    /// Plastic projections that do not learn, and since which step.
    stopped: BTreeMap<usize, u64>,
    balance: Balance,
    probes: Vec<ProbePart>,
    emitters: Vec<(u32, SourceEmitter)>,
    currents: Vec<Currents>,
    planner: Planner,
    /// Windows of the next batch at most.
    patience: usize,
    window_stride: u64,
    windows: wgpu::Buffer,
    list: wgpu::Buffer,
    marks: wgpu::Buffer,
    latest: wgpu::Buffer,
    /// What arrives later: one for all, or one for each model whose neurons are owned.
    rings: Vec<wgpu::Buffer>,
    current_words: wgpu::Buffer,
    given: wgpu::Buffer,
    samples: wgpu::Buffer,
    capacity: u32,
    /// Entries of the list that are read back with the marks: what the last batch needed, and some.
    expected: u64,
    out_degree: Vec<u32>,
    /// Spikes that may still be on their way: (stamp, id, steps since the source's previous spike).
    recent: VecDeque<(u64, u32, u32)>,
    /// Stamp of the last spike by global id (u64::MAX: none), kept where synapses have dynamics.
    last_spike: Vec<u64>,
    counters: Counters,
    watch: Stopwatch,
    /// Times the passes while phases are timed.
    pass_clock: Option<PassClock>,
}

impl GpuEngine {
    /// Uploads a network. `tables` must have been built with one block.
    ///
    /// # Errors
    /// No usable device; a buffer larger than the device allows; a model whose names collide with the frame; loops that a
    /// limited driver would end early.
    pub fn new(net: Arc<Network>, rows: Arc<Rows>, tables: Tables, options: GpuOptions) -> Result<GpuEngine> {
        if tables.blocks.len() != 1 || tables.tables.len() != 1 {
            return Err(Error::input("the gpu engine needs tables of one block", "build the tables with blocks = 1"));
        }
        if tables.max_delay > MOST_DELAY {
            let message = format!("the longest delay is {} steps, the gpu engine takes {MOST_DELAY}", tables.max_delay);
            return Err(Error::input(message, "shorten the delays, lengthen the step, or use --engine cpu"));
        }
        let device = Device::open(options.device.as_deref())?;
        Self::upload_network(net, rows, tables, &options, device)
    }

    fn upload_network(
        shared_net: Arc<Network>,
        rows: Arc<Rows>,
        tables: Tables,
        options: &GpuOptions,
        device: Device,
    ) -> Result<GpuEngine> {
        let net = &*shared_net;
        let balance = Balance::new(net)?;
        let (block, table) = (&tables.blocks[0], &tables.tables[0]);
        let real = device.info.real;
        let teams = Teams::new(real);
        let ring_slots = tables.max_delay.max(1);
        let ring_stride = block.accumulators() as u32;
        let all = net.neurons();
        let usage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;

        // What there is, as words.
        let model_layouts = layout::models(net, &tables)?;
        let source_layout = layout::sources(net)?;
        let source_of: Vec<Range<u32>> = table
            .dynamics
            .iter()
            .map(|d| {
                let source = &net.populations[net.projections[d.projection as usize].source];
                source.first..source.first + source.n
            })
            .collect();
        let limit = device.info.max_binding.min(device.info.max_buffer).min(options.shard_bytes.unwrap_or(u64::MAX));
        let has_sources = net.populations.iter().any(|p| matches!(p.cell, Cell::Source(_)) && p.n > 0);
        let demand = Demand {
            wanted: options.accumulators,
            real,
            limited_loops: device.info.loop_limit.is_some(),
            lanes: device.limits.max_compute_invocations_per_workgroup.min(device.limits.max_compute_workgroup_size_x),
            bytes: limit,
            has_sources,
        };
        let out_degree = layout::out_degrees(&tables, all);
        let synapses_of = layout::synapses(&tables, &out_degree);
        let owned = Owned::plan(&tables, &model_layouts, &out_degree, &demand);
        let shards = match &owned {
            Some(_) => Vec::new(),
            None => layout::shards(&tables, all, &source_of, limit, teams.stretch)?,
        };
        let longest = shards.iter().flat_map(|s| std::iter::once(&s.fixed).chain(&s.dynamic)).map(Directory::longest_row).max();
        let spare = if device.info.loop_limit.is_some() { Room::Least } else { Room::Usual };
        let room = options.history_room.map_or(spare, Room::Given);
        let (depth, history_bytes) = plastic::needs(net, tables.max_delay, &room)?;
        // A search backwards and a run forwards through the spikes of a target.
        let work = if depth > 0 && device.info.loop_limit.is_some() { 2 * u64::from(depth) + 1 } else { 1 };
        // Digits of a number that is transmitted.
        let digits = table.dynamics.iter().map(|d| 2 + 24 / u64::from(d.digits.bits.max(1))).max().unwrap_or(0);
        let work = if device.info.loop_limit.is_some() { work + digits } else { work };
        let parts = if owned.is_some() { 0 } else { teams.parts(longest.unwrap_or(0), work, real) };

        // A window: as many steps as need no delivery between them and loop seldom enough.
        let iterations = model_layouts.iter().map(|m| m.iterations).chain([source_layout.iterations]).max().unwrap_or(1).max(1);
        let looped = iterations.max(teams.iterations(work));
        if let (true, Some(limit)) = (looped > MOST_ITERATIONS, device.info.loop_limit) {
            let message = format!(
                "{} ({}) silently ends loops after {limit} iterations; this network needs {looped} in a step",
                device.info.name, device.info.driver
            );
            return Err(device_error(
                message,
                "update the driver (Mesa 23 or newer has no such limit), or run with --engine cpu",
            ));
        }
        let by_loops = (MOST_ITERATIONS / iterations).max(1).min(u64::from(MOST_WINDOW_STEPS)) as u32;
        let shared_steps = if table.dynamics.is_empty() { by_loops.min(tables.min_delay).max(1) } else { 1 };
        let window_steps = owned.as_ref().map_or(shared_steps, |o| o.window_steps);

        let capacity = options.spike_capacity.unwrap_or(1 << 20).max(all).max(1);
        let state_words: u64 = model_layouts.iter().map(|m| m.states.len() as u64).sum();
        let dynamic_words = table.dynamics.iter().map(|d| d.weight.len() as u64 * (1 + d.states.len() as u64));
        let mut needs = vec![("the list of spikes", u64::from(capacity) * 8), ("the states of neurons", state_words * 4)];
        let ring_words = match &owned {
            Some(owned) => (0..model_layouts.len()).map(|m| u64::from(owned.blocks(m) * owned.seats * block.ports)).collect(),
            None => vec![u64::from(ring_stride)],
        };
        let ring_words: Vec<u64> = ring_words.iter().map(|stride| u64::from(ring_slots) * stride).collect();
        needs.extend(ring_words.iter().map(|words| ("the ring of synaptic input", words * 4)));
        if let Some(own) = &owned {
            needs.extend([("rows", own.rows.len() as u64 * 8), ("synapses", own.words.len() as u64 * 4)]);
        }
        needs.extend(dynamic_words.map(|words| ("the states of synapses", words * 4)));
        needs.extend(history_bytes.into_iter().map(|bytes| ("the spikes of the targets of plastic synapses", bytes)));
        for shard in &shards {
            needs.push(("synapses", shard.words * 4));
            let directories = std::iter::once(&shard.fixed).chain(&shard.dynamic);
            needs.extend(
                directories.flat_map(|d| {
                    [("rows", d.rows.len() as u64 * 8), ("the directory of synapses", d.stretches.len() as u64 * 16)]
                }),
            );
        }
        device.check_needs(&needs, (!real).then(footprint::available).flatten())?;

        let (has, wanted) = (device.limits.max_storage_buffers_per_shader_stage, PLASTIC_BUFFERS);
        if depth > 0 && has < wanted {
            let message = format!("a kernel may see {has} buffers on {}, plastic synapses need {wanted}", device.info.name);
            return Err(device_error(message, "choose another --device, or --engine cpu"));
        }

        // What all kernels share.
        let window_stride = (WindowWords::WORDS as u64 * 4)
            .next_multiple_of(u64::from(device.limits.min_uniform_buffer_offset_alignment).max(16));
        let windows = device.buffer("windows", window_stride * 2 * MOST_WINDOWS as u64, Usage::UNIFORM | Usage::COPY_DST)?;
        let list = device.buffer("the list of spikes", u64::from(capacity) * 8, usage)?;
        let marks = device.buffer("marks", ((MOST_WINDOWS + 1) * MARK_WORDS * 4) as u64, usage | Usage::INDIRECT)?;
        let latest =
            device.storage("latest spikes", &vec![NEVER; if table.dynamics.is_empty() { 2 } else { 2 * all as usize }])?;
        let rings: Vec<wgpu::Buffer> = ring_words
            .iter()
            .map(|words| device.buffer("the ring of synaptic input", words * 4, usage))
            .collect::<Result<_>>()?;
        let rows_of_current = net.populations.len() as u64;
        let current_words = device.buffer("currents", rows_of_current * MOST_STEPS * 4, usage)?;
        let given = device.buffer("given spikes", 8 * 1024, usage)?;

        let stage = Stage {
            device: &device,
            block,
            ring_slots,
            windows: &windows,
            list: &list,
            marks: &marks,
            latest: &latest,
            currents: &current_words,
        };
        let owned_synapses = match &owned {
            Some(o) => Some((device.storage("rows", o.rows.as_flattened())?, device.storage("synapses", &o.words)?)),
            None => None,
        };
        let mut models = Vec::new();
        for (m, layout) in model_layouts.into_iter().enumerate() {
            models.push(match owned.as_ref().zip(owned_synapses.as_ref()) {
                Some((owned, (rows, synapses))) => stage.model(layout, &rings[m], Some((owned, m, rows, synapses)))?,
                None => stage.model(layout, &rings[0], None)?,
            });
        }

        let mut emitters = Vec::new();
        let mut currents = Vec::new();
        for (p, population) in net.populations.iter().enumerate() {
            if let Cell::Source(SpikeSource::Course(_) | SpikeSource::Trains(_) | SpikeSource::Presentation(_)) = population.cell
            {
                emitters.extend(SourceEmitter::of(net, p, 0..population.n)?.map(|emitter| (population.first, emitter)));
            }
            currents.push(uniform_currents(net, p)?);
        }
        let source = has_sources.then(|| {
            let kernel = device.kernel("sources", &source_shader(), "emit", &[("block_count", source_layout.blocks.into())])?;
            let padded = |words: &[u32], least: usize| if words.is_empty() { vec![0; least] } else { words.to_vec() };
            let sources = device.storage("sources", &padded(&source_layout.source_words, layout::Source::WORDS))?;
            let words = device.storage("source tables", &padded(&source_layout.table_words, 1))?;
            let group = device.bind(&kernel, &[&windows, &list, &marks, &latest, &given, &sources, &words])?;
            Ok(SourcePart { kernel, sources, words, group, blocks: source_layout.blocks })
        });
        let source = source.transpose()?;

        // The tables.
        let overrides = [
            ("ring_slots", f64::from(ring_slots)),
            ("ring_stride", f64::from(ring_stride)),
            ("lanes", f64::from(teams.lanes)),
            ("team", f64::from(teams.team)),
        ];
        let mut signals = Signals::new(net, &device)?;
        if depth > 0 {
            signals.add_counters(net, &device, [&windows, &list, &marks, &latest])?;
        }
        let frame = Frame {
            net,
            device: &device,
            block,
            models: &models,
            signals: &signals,
            overrides: &overrides,
            depth,
            windows: &windows,
            list: &list,
            marks: &marks,
            latest: &latest,
        };
        let mut dynamics: Vec<Dynamics> = Vec::new();
        for (d, sources) in table.dynamics.iter().zip(&source_of) {
            let words: Vec<u32> =
                d.weight.iter().map(|w| w.to_bits()).chain(d.states.iter().flatten().copied()).chain([0]).collect();
            let words = device.storage("synapses with dynamics", &words)?;
            dynamics.push(Dynamics { words, count: d.weight.len() as u64, part: Part::new(&frame, d, sources)? });
        }
        let fixed_kernel = Arc::new(device.kernel("deliver", &deliver_shader(None), "deliver", &overrides)?);
        let ring = &rings[0];
        let mut deliveries = Vec::new();
        let mut bytes = owned.as_ref().map_or(0, Owned::bytes);
        for shard in &shards {
            let stream = device.buffer("synapses", shard.words * 4, usage)?;
            let mut at = 0;
            for (host, range) in &shard.pieces {
                device.write(&stream, at, &table.shards[*host][range.clone()])?;
                at += range.len() as u64;
            }
            bytes += shard.words * 4;
            let directory = |own: &Directory| -> Result<(wgpu::Buffer, wgpu::Buffer)> {
                let rows = device.storage("rows", own.rows.as_flattened())?;
                Ok((rows, device.storage("directory of synapses", own.stretches.as_flattened())?))
            };
            if !shard.fixed.stretches.is_empty() {
                let (rows, stretches) = directory(&shard.fixed)?;
                bytes += rows.size() + stretches.size();
                let group = device.bind(&fixed_kernel, &[&windows, &list, &marks, ring, &rows, &stretches, &stream])?;
                deliveries.push(Delivery { kernel: fixed_kernel.clone(), group });
            }
            for (d, own) in shard.dynamic.iter().enumerate().filter(|(_, own)| !own.stretches.is_empty()) {
                let (rows, stretches) = directory(own)?;
                bytes += rows.size() + stretches.size();
                let Dynamics { words, part, .. } = &mut dynamics[d];
                let history = part.rule.as_ref().map(|r| r.history.clone());
                let (constants, uniform) = (part.constants.clone(), part.uniform.clone());
                let mut buffers = vec![&windows, &list, &marks, ring, &rows, &stretches, &stream, &latest, &*words];
                buffers.extend([&constants, &uniform].into_iter().chain(&history));
                deliveries.push(Delivery { kernel: part.kernel.clone(), group: device.bind(&part.kernel, &buffers)? });
                part.add_flush(&device, &buffers)?;
            }
        }
        bytes += dynamics.iter().filter_map(|d| d.part.rule.as_ref()).map(|r| r.history.size()).sum::<u64>();
        bytes += dynamics.iter().map(|d| d.words.size()).sum::<u64>();

        // Probes.
        let probed = state_probes(net)?;
        let size =
            |p: &StateProbe| SampleSize { sampling: p.sampling, words: (states_of(net, p.population) * p.neurons.len()) as u32 };
        let sizes: Vec<SampleSize> = probed.iter().map(size).collect();
        let sample_words = sizes.iter().map(|s| u64::from(s.words)).sum::<u64>().max(1);
        let samples = device.buffer("samples", (sample_words * 4).max((4 << 20).min(device.info.max_binding)), usage)?;
        let mut probes = Vec::new();
        for probe in probed {
            probes.push(probe_part(net, &device, probe, &models, &windows, &samples)?);
        }
        device.wait()?;
        let planner = Planner {
            window_steps,
            sources_per_step: source_layout.elements,
            neurons: net.populations.iter().filter(|p| matches!(p.cell, Cell::Neuron(_))).map(|p| p.n).sum(),
            ring_slots,
            closes: owned.is_some(),
            // One more closes the batch.
            most_windows: MOST_WINDOWS - usize::from(owned.is_some()),
            most_steps: MOST_STEPS,
            capacity,
            sample_words: samples.size() / 4,
            sizes,
        };
        let counters = Counters { synapses: table.synapses, synapse_bytes: bytes, ..Default::default() };
        let last_spike = if table.dynamics.is_empty() { Vec::new() } else { vec![u64::MAX; all as usize] };
        Ok(GpuEngine {
            step: 0,
            longest_delay: tables.max_delay,
            dispatch_width: device.limits.max_compute_workgroups_per_dimension.clamp(1, 65_535),
            parts,
            models,
            source,
            deliveries,
            dynamics,
            signals,
            clock: Clock::new(depth, tables.max_delay),
            rates: BTreeMap::new(),
            stopped: BTreeMap::new(),
            balance,
            probes,
            emitters,
            currents,
            planner,
            patience: 64,
            window_stride,
            windows,
            list,
            marks,
            latest,
            rings,
            current_words,
            given,
            samples,
            capacity,
            expected: 1024,
            out_degree: synapses_of,
            recent: VecDeque::new(),
            last_spike,
            counters,
            watch: Stopwatch::new(&PHASES),
            pass_clock: None,
            device,
            net: shared_net,
            rows,
            tables,
        })
    }
}

/// What the kernels of all models share.
struct Stage<'a> {
    device: &'a Device,
    block: &'a Block,
    ring_slots: u32,
    windows: &'a wgpu::Buffer,
    list: &'a wgpu::Buffer,
    marks: &'a wgpu::Buffer,
    latest: &'a wgpu::Buffer,
    currents: &'a wgpu::Buffer,
}

impl Stage<'_> {
    /// The kernel of a model; where neurons are owned, its number among the models, and the rows and synapses of all.
    fn model(
        &self,
        layout: ModelLayout,
        ring: &wgpu::Buffer,
        owned: Option<(&Owned, usize, &wgpu::Buffer, &wgpu::Buffer)>,
    ) -> Result<ModelPart> {
        let ModelLayout { model, teams, .. } = layout;
        shader::check_neuron(&model)?;
        let mut words = layout.table_words;
        let population_words = words.len() as u32;
        words.extend(&layout.population_words);
        let drive_words = words.len() as u32;
        words.extend(&layout.drive_words);
        let (words, states) = (self.device.storage("model tables", &words)?, self.device.storage("states", &layout.states)?);
        let mut values = vec![("team_count", teams), ("population_words", population_words), ("drive_words", drive_words)];
        let mut buffers = vec![self.windows, self.list, self.marks, self.latest, ring, &words, &states, self.currents];
        let workgroups = match owned {
            None => {
                let (stride, port_stride) = (self.block.accumulators() as u32, self.block.stride);
                values.extend([("ring_slots", self.ring_slots), ("ring_stride", stride), ("port_stride", port_stride)]);
                teams
            }
            Some((plan, m, rows, synapses)) => {
                values.extend(plan.constants(m, self.block.ports, self.ring_slots));
                buffers[3] = rows;
                buffers.push(synapses);
                plan.blocks(m)
            }
        };
        let constants: Vec<(&str, f64)> = values.iter().map(|&(name, value)| (name, f64::from(value))).collect();
        let text = update_shader(&model, owned.is_some());
        let kernel =
            self.device.kernel(&model.name, &text, "step_neurons", &constants).map_err(|error| in_model(&model.name, error))?;
        let group = self.device.bind(&kernel, &buffers)?;
        Ok(ModelPart { kernel, group, workgroups, states, populations: layout.populations })
    }
}

/// Workgroups in two dimensions, of which each allows a limited number.
fn grid(groups: u32, width: u32) -> (u32, u32) {
    (groups.clamp(1, width), groups.div_ceil(width).max(1))
}

/// A driver's complaint about a model's kernel, with the model's name.
fn in_model(name: &str, error: Error) -> Error {
    match error {
        Error::Device { message, remedy } => {
            Error::Device { message: format!("the kernel of model `{name}`: {message}"), remedy }
        }
        other => other,
    }
}

/// The currents of a population that are the same for all its neurons; the others are checked here and computed on the device.
fn uniform_currents(net: &Network, p: usize) -> Result<Currents> {
    Currents::new(net, p)?;
    let same = |d: &Drive| !matches!(d.kind, DriveKind::Noise { .. } | DriveKind::Dc { amplitude: Values::Each(_) });
    let own = net.drives.iter().enumerate().filter(|(_, d)| d.population == p && same(d));
    Currents::from_drives(own, net.populations[p].n as usize, net.dt, net.stimulus_seed)
}

/// What samples one state probe: all states of its neurons.
fn probe_part(
    net: &Network,
    device: &Device,
    probe: StateProbe,
    models: &[ModelPart],
    windows: &wgpu::Buffer,
    samples: &wgpu::Buffer,
) -> Result<ProbePart> {
    let StateProbe { probe, population, neurons, variables, .. } = probe;
    let find = |m: &ModelPart| m.populations.iter().find(|p| p.0 == population).map(|p| p.1);
    let (part, first) = models
        .iter()
        .find_map(|m| find(m).map(|first| (m, first)))
        .ok_or_else(|| Error::input("a probe of states needs a population of neurons", "name another population"))?;
    let (n, states) = (net.populations[population].n, states_of(net, population));
    let state = |k: u32| neurons.iter().map(move |&i| first + k * n + i);
    let addresses: Vec<u32> = (0..states as u32).flat_map(state).collect();
    let kernel = device.kernel("probe", shader::PROBE, "probe", &[("words", addresses.len() as f64)])?;
    let groups = (addresses.len() as u32).div_ceil(layout::WORKGROUP);
    let addresses = device.storage("probed words", &addresses)?;
    let group = device.bind(&kernel, &[windows, &part.states, &addresses, samples])?;
    Ok(ProbePart { probe, kernel, group, groups, neurons, states, variables })
}

/// States of each neuron of a population, a word each.
fn states_of(net: &Network, population: usize) -> usize {
    match &net.populations[population].cell {
        Cell::Neuron(instance) => instance.model.states.len(),
        Cell::Source(_) => 0,
    }
}

impl ProbePart {
    /// Values of the variables, each for all neurons, from the sampled words (state by state).
    fn values(&self, words: &[u32]) -> Vec<f32> {
        let n = self.neurons.len();
        let value = |variable: &Recorder, i: usize| variable.value(self.neurons[i] as usize, |s| words[s * n + i]) as f32;
        self.variables.iter().flat_map(|variable| (0..n).map(move |i| value(variable, i))).collect()
    }
}

impl GpuEngine {
    fn go(&mut self, steps: u64, sink: &mut dyn Sink) -> Result<()> {
        let end = self.step + steps;
        while self.step < end {
            self.batch(end, sink)?;
        }
        Ok(())
    }

    /// Uploads, runs and reads back one batch; returns nothing lost: windows that did not fit are left for the next.
    fn batch(&mut self, end: u64, sink: &mut dyn Sink) -> Result<()> {
        if self.clock.is_full(self.step, end - self.step) {
            self.flush()?;
        }
        let end = end.min(self.step.saturating_add(self.clock.room(self.step)));
        self.watch.start();
        let batch = self.planner.plan(self.step, end, self.patience, &mut self.emitters);
        self.watch.lap(PLAN);
        self.upload(&batch)?;
        self.watch.lap(UPLOAD);
        let begin = Instant::now();
        let commands = self.record(&batch);
        self.watch.lap(RECORD);
        self.device.queue.submit([commands]);
        self.watch.lap(SUBMIT);
        let marks_words = (batch.windows.len() * MARK_WORDS) as u64;
        let faults = (&self.marks, (MOST_WINDOWS * MARK_WORDS) as u64, 2);
        let expected = self.expected.min(u64::from(self.capacity));
        let mut wanted =
            vec![(&self.marks, 0, marks_words), (&self.list, 0, 2 * expected), (&self.samples, 0, batch.sample_words), faults];
        wanted.extend(self.dynamics.iter().map(|d| (&d.words, d.words.size() / 4 - 1, 1)));
        wanted.extend(self.pass_clock.iter().map(PassClock::words));
        let mut read = self.device.read(&wanted)?;
        let times = self.pass_clock.as_ref().and_then(|_| read.pop());
        let failed = read.split_off(4).iter().any(|word| word[0] != 0);
        let took = begin.elapsed();
        self.patience = match took {
            t if t > LONG_BATCH => (self.patience / 2).max(1),
            t if t < SHORT_BATCH => (self.patience * 2).min(MOST_WINDOWS),
            _ => self.patience,
        };
        let [marks, mut entries, samples, faults]: [Vec<u32>; 4] =
            read.try_into().map_err(|_| device_error("the device returned too little", "run with --engine cpu"))?;
        let (done, total) = batch.completed(&marks, self.capacity);
        if total > expected {
            entries.extend(self.device.read(&[(&self.list, 2 * expected, 2 * (total - expected))])?.remove(0));
        }
        entries.truncate(2 * total as usize);
        self.watch.lap(WAIT);
        if let Some(times) = times {
            self.watch.add(DEVICE, PassClock::seconds(&self.device, &times));
        }
        self.expected = (total + total / 4 + 1024).max(self.expected / 2);
        self.report(&batch, done, &entries, &samples, sink)?;
        self.watch.lap(REPORT);
        self.clock.pressure = self.clock.pressure.max(faults[1]);
        match faults[0] {
            _ if failed => Err(self.beyond_bound()?),
            0 => Ok(()),
            word => Err(self.broken(u32::MAX - word)?),
        }
    }

    /// The error that a synapse deserves that transmits more than it may.
    fn beyond_bound(&mut self) -> Result<Error> {
        self.read_dynamics()?;
        for own in &self.dynamics {
            if self.device.read(&[(&own.words, own.words.size() / 4 - 1, 1)])?[0] == [0] {
                continue;
            }
            let Part { projection, limit, .. } = own.part;
            let weights = self.tables.weights(&self.net, &self.rows, projection)?;
            return Ok(beyond_bound(&self.net, projection, &weights, limit, self.step as f64 * self.net.dt));
        }
        Ok(device_error("a synapse with dynamics failed, and none is found", "run with --engine cpu"))
    }

    /// Brings all plastic synapses up to what every engine knows by now (see `Clock::flush_to`).
    fn flush(&mut self) -> Result<()> {
        if self.clock.depth == 0 {
            return Ok(());
        }
        let to = self.clock.flush_to(self.step);
        let batch = self.standing_batch();
        self.device.write(&self.windows, 0, batch.windows[0].words(&batch).words())?;
        let mut encoder = self.device.raw.create_command_encoder(&Default::default());
        for own in &mut self.dynamics {
            let (x, y) = grid(own.part.sources(), self.dispatch_width);
            own.part.flush(&self.device, &mut encoder, to, [x, y, self.parts])?;
        }
        self.device.queue.submit([encoder.finish()]);
        self.device.wait()?;
        self.dynamics.iter_mut().try_for_each(|own| own.part.flushed(&self.device, to))?;
        self.clock.flushed(self.step);
        Ok(())
    }

    /// A window of no steps: what acts between two batches.
    fn standing_batch(&self) -> Batch {
        let slot = (self.step % self.ring_shape().0) as u32;
        let window = Window { number: 0, step: self.step, steps: 0, slot, most_spikes: 0, given: 0..0 };
        Batch { first: self.step, windows: vec![window], ..Default::default() }
    }

    /// The plastic rule of a projection and its place among the dynamic ones.
    fn rule(&self, projection: usize) -> Result<(usize, &Rule)> {
        let rules = self.dynamics.iter().enumerate().filter_map(|(d, own)| Some((d, own.part.rule.as_ref()?)));
        rules.into_iter().find(|(_, r)| r.projection == projection).ok_or_else(|| {
            let name = self.net.projections.get(projection).map_or("?", |p| &p.name);
            Error::input(
                format!("the weights of projection `{name}` do not change by a rule"),
                "name a projection whose synapse is plastic",
            )
        })
    }

    /// A plastic projection's place among the dynamics, and the first `arrays` of its arrays (weights, then states) as they are now.
    fn read_plastic(&mut self, projection: usize, arrays: u64) -> Result<(usize, Vec<u32>)> {
        let (d, _) = self.rule(projection)?;
        let to = self.stopped.get(&projection).copied().unwrap_or(self.step);
        let batch = self.standing_batch();
        self.device.write(&self.windows, 0, batch.windows[0].words(&batch).words())?;
        let own = &mut self.dynamics[d];
        let (x, y) = grid(own.part.sources(), self.dispatch_width);
        let words = own.part.read(&self.device, (&own.words, arrays * own.count), [to, self.step], [x, y, self.parts])?;
        Ok((d, words))
    }

    /// Edges and states of a dynamic projection as they stand in the tables.
    #[allow(clippy::type_complexity)]
    fn seen(&self, projection: usize) -> Result<(Vec<(u32, u32, f32)>, Vec<Vec<u32>>)> {
        let edges = self.tables.weights(&self.net, &self.rows, projection)?;
        Ok((edges, self.tables.states(&self.net, &self.rows, projection)?))
    }

    /// The error that a neuron with a state that is no number within its limit deserves.
    fn broken(&self, id: u32) -> Result<Error> {
        let p = self.net.population_of(id);
        let local = (id - self.net.populations[p].first) as usize;
        let states: Vec<u32> = self.read_states()?[p].iter().map(|words| words[local]).collect();
        Ok(broken_neuron(&self.net, id, &states, self.step, false))
    }

    /// All states as the snapshot holds them.
    fn read_states(&self) -> Result<Vec<Vec<Vec<u32>>>> {
        let mut states = vec![Vec::new(); self.net.populations.len()];
        for part in &self.models {
            let words = self.device.read(&[(&part.states, 0, part.states.size() / 4)])?.remove(0);
            for &(p, first) in &part.populations {
                let Cell::Neuron(instance) = &self.net.populations[p].cell else { continue };
                let n = self.net.populations[p].n as usize;
                let array = |k: usize| words[first as usize + k * n..][..n].to_vec();
                states[p] = (0..instance.model.states.len()).map(array).collect();
            }
        }
        for (p, own) in states.iter_mut().enumerate().filter(|(_, own)| own.is_empty()) {
            // A population without neurons has no buffer, and still as many arrays as its model has states.
            if let Cell::Neuron(instance) = &self.net.populations[p].cell {
                own.resize(instance.model.states.len(), Vec::new());
            }
        }
        Ok(states)
    }

    fn upload(&mut self, batch: &Batch) -> Result<()> {
        let stride = (self.window_stride / 4) as usize;
        let mut words = vec![0; stride * (batch.windows.len())];
        for (slot, window) in words.chunks_mut(stride).zip(&batch.windows) {
            slot[..WindowWords::WORDS].copy_from_slice(window.words(batch).words());
        }
        self.device.write(&self.windows, 0, &words)?;
        let mut firsts = vec![0; stride * batch.samples.len()];
        for (slot, sample) in firsts.chunks_mut(stride.max(1)).zip(&batch.samples) {
            slot[0] = sample.first;
        }
        self.device.write(&self.windows, (MOST_WINDOWS * stride) as u64, &firsts)?;
        let marks: Vec<u32> = batch.windows.iter().flat_map(|_| [0, 0, 0, 0, self.parts]).collect();
        self.device.write(&self.marks, 0, &marks)?;
        self.device.write(&self.marks, (MOST_WINDOWS * MARK_WORDS) as u64, &[0; MARK_WORDS])?;
        let mut currents = Vec::with_capacity(self.currents.len() * batch.steps as usize);
        for own in &self.currents {
            currents.extend((0..u64::from(batch.steps)).map(|s| own.uniform(batch.first + s).unwrap_or(0.0).to_bits()));
        }
        self.device.write(&self.current_words, 0, &currents)?;
        if self.clock.depth > 0 {
            self.signals.upload(&self.device, batch.first, batch.steps)?;
        }
        self.give(&batch.given)
    }

    /// Uploads spikes that the host computed, in a larger buffer where needed.
    fn give(&mut self, given: &[[u32; 2]]) -> Result<()> {
        let bytes = given.len() as u64 * 8;
        if let (true, Some(source)) = (bytes > self.given.size(), &mut self.source) {
            self.given = self.device.buffer("given spikes", bytes.next_power_of_two(), Usage::STORAGE | Usage::COPY_DST)?;
            let buffers = [&self.windows, &self.list, &self.marks, &self.latest, &self.given, &source.sources, &source.words];
            source.group = self.device.bind(&source.kernel, &buffers)?;
        }
        self.device.write(&self.given, 0, given.as_flattened())
    }

    fn grid(&self, groups: u32) -> (u32, u32) {
        grid(groups, self.dispatch_width)
    }

    fn record(&mut self, batch: &Batch) -> wgpu::CommandBuffer {
        let mut encoder = self.device.raw.create_command_encoder(&Default::default());
        let mut dispatches = 0;
        {
            let timestamp_writes = self.pass_clock.as_ref().map(PassClock::writes);
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            let mut samples = batch.samples.iter().enumerate().peekable();
            for (i, window) in batch.windows.iter().enumerate() {
                let offset = [(i as u64 * self.window_stride) as u32];
                if let (Some(source), true) = (&self.source, window.steps > 0) {
                    let (x, y) = self.grid(source.blocks.max(window.given.len() as u32).div_ceil(layout::WORKGROUP));
                    pass.set_pipeline(&source.kernel.pipeline);
                    pass.set_bind_group(0, &source.group, &offset);
                    pass.dispatch_workgroups(x, y, 1);
                    dispatches += 1;
                }
                self.models.iter().for_each(|model| self.step(&mut pass, model, i));
                dispatches += self.models.len() as u64;
                for (kernel, group) in &self.signals.counters {
                    pass.set_pipeline(&kernel.pipeline);
                    pass.set_bind_group(0, group, &offset);
                    pass.dispatch_workgroups(4, 1, 1);
                    dispatches += 1;
                }
                for rule in self.dynamics.iter().filter_map(|d| d.part.rule.as_ref()) {
                    let ((kernel, group), (x, y)) = (rule.remember(), self.grid(rule.groups));
                    pass.set_pipeline(&kernel.pipeline);
                    pass.set_bind_group(0, group, &offset);
                    pass.dispatch_workgroups(x, y, 1);
                    dispatches += 1;
                }
                self.deliver(&mut pass, i);
                dispatches += self.deliveries.len() as u64;
                while let Some((k, sample)) = samples.next_if(|(_, s)| s.window == i) {
                    let probe = &self.probes[sample.probe];
                    let (x, y) = self.grid(probe.groups);
                    pass.set_pipeline(&probe.kernel.pipeline);
                    pass.set_bind_group(0, &probe.group, &[((MOST_WINDOWS + k) as u64 * self.window_stride) as u32]);
                    pass.dispatch_workgroups(x, y, 1);
                    dispatches += 1;
                }
            }
        }
        if let Some(clock) = &self.pass_clock {
            clock.resolve(&mut encoder);
        }
        self.counters.dispatches += dispatches;
        self.counters.submissions += 1;
        encoder.finish()
    }

    fn step(&self, pass: &mut wgpu::ComputePass, model: &ModelPart, window: usize) {
        let (x, y) = self.grid(model.workgroups);
        pass.set_pipeline(&model.kernel.pipeline);
        pass.set_bind_group(0, &model.group, &[(window as u64 * self.window_stride) as u32]);
        pass.dispatch_workgroups(x, y, 1);
    }

    fn deliver(&self, pass: &mut wgpu::ComputePass, window: usize) {
        for delivery in &self.deliveries {
            pass.set_pipeline(&delivery.kernel.pipeline);
            pass.set_bind_group(0, &delivery.group, &[(window as u64 * self.window_stride) as u32]);
            pass.dispatch_workgroups_indirect(&self.marks, ((window * MARK_WORDS + 2) * 4) as u64);
        }
    }

    /// Hands the spikes and samples of the completed windows to the sink, in order of time.
    fn report(&mut self, batch: &Batch, done: usize, entries: &[u32], samples: &[u32], sink: &mut dyn Sink) -> Result<()> {
        let mut found: Vec<(u64, u32)> = Vec::with_capacity(entries.len() / 2);
        for entry in entries.chunks_exact(2) {
            let stamp = batch.first + u64::from(entry[0] & 0xffff) + 1;
            found.extend(std::iter::repeat_n((stamp, entry[1]), (entry[0] >> 16) as usize));
        }
        found.sort_unstable();
        let dt = self.net.dt;
        let spikes: Vec<Spike> = found.iter().map(|&(stamp, id)| Spike { time: stamp as f64 * dt, id }).collect();
        let mut told = 0;
        for sample in batch.samples.iter().take_while(|s| s.window < done) {
            let until = batch.windows[sample.window].end();
            let upto = found.partition_point(|&(stamp, _)| stamp <= until);
            if upto > told {
                sink.spikes(&spikes[told..upto])?;
                told = upto;
            }
            let probe = &self.probes[sample.probe];
            let size = probe.states * probe.neurons.len();
            sink.sample(probe.probe, until as f64 * dt, &probe.values(&samples[sample.first as usize..][..size]))?;
        }
        if told < spikes.len() {
            sink.spikes(&spikes[told..])?;
        }
        let now = batch.windows[..done].last().map_or(self.step, |w| w.end());
        if now > self.step {
            self.signals.told.fill(0.0);
        }
        self.counters.spikes += found.len() as u64;
        self.counters.synaptic_events += found.iter().map(|&(_, id)| u64::from(self.out_degree[id as usize])).sum::<u64>();
        self.counters.neuron_updates += (now - self.step) * u64::from(self.planner.neurons);
        self.step = now;
        for (stamp, id) in found {
            let elapsed = since_last(&mut self.last_spike, stamp, id);
            if stamp + u64::from(self.longest_delay) > now {
                self.recent.push_back((stamp, id, elapsed));
            }
        }
        while self.recent.front().is_some_and(|&(stamp, _, _)| stamp + u64::from(self.longest_delay) <= now) {
            self.recent.pop_front();
        }
        Ok(())
    }
}

// A snapshot of this engine: here a synapse acts when its source emits, on the cpu engine when the spike arrives; the synapses' states
// are ahead of the spikes on their way, and what those will bring is kept (slots, words of a slot, then pairs: steps ahead << 32 |
// accumulator, units). Snapshots of the cpu engine are taken up here where no synapse is plastic, by letting the spikes on their way act
// at once; the other way round is refused. Without dynamics both ways are open: the spikes on their way are delivered anew.
impl GpuEngine {
    fn read_dynamics(&mut self) -> Result<()> {
        for (own, table) in self.dynamics.iter().zip(&mut self.tables.tables[0].dynamics) {
            let words = self.device.read(&[(&own.words, 0, own.words.size() / 4)])?.remove(0);
            if own.count > 0 {
                let mut arrays = words.chunks_exact(own.count as usize);
                table.weight = arrays.next().map_or_else(Vec::new, |w| bytemuck::cast_slice(w).to_vec());
                table.states = arrays.take(table.states.len()).map(<[u32]>::to_vec).collect();
            }
        }
        Ok(())
    }

    fn ring_shape(&self) -> (u64, u64) {
        (u64::from(self.planner.ring_slots), self.tables.blocks[0].accumulators() as u64)
    }

    fn read_ring(&self) -> Result<Vec<u64>> {
        let (slots, stride) = self.ring_shape();
        let words = self.device.read(&[(&self.rings[0], 0, slots * stride)])?.remove(0);
        let mut kept = vec![slots, stride];
        for ahead in 0..slots {
            let slot = ((self.step + ahead) % slots * stride) as usize;
            let own = words[slot..slot + stride as usize].iter().enumerate().filter(|(_, units)| **units != 0);
            kept.extend(own.flat_map(|(at, &units)| [ahead << 32 | at as u64, u64::from(units)]));
        }
        Ok(kept)
    }

    fn write_ring(&self, kept: &[u64]) -> Result<()> {
        let (slots, stride) = self.ring_shape();
        let mut words = vec![0; (slots * stride) as usize];
        let place = |pair: &[u64]| (pair[0] >> 32, pair[0] & 0xffff_ffff);
        let fits = kept.len() >= 2 && kept[..2] == [slots, stride];
        if !fits || kept[2..].chunks(2).any(|pair| pair.len() < 2 || place(pair).0 >= slots || place(pair).1 >= stride) {
            return Err(Error::input(
                "the checkpoint's input on the way belongs to other delays or sizes than the scenario's",
                "with synapses that have dynamics, resume on the gpu engine with the delays unchanged",
            ));
        }
        for pair in kept[2..].chunks(2) {
            let (ahead, at) = place(pair);
            words[((self.step + ahead) % slots * stride + at) as usize] = pair[1] as u32;
        }
        self.device.write(&self.rings[0], 0, &words)
    }

    /// Fills the ring anew from the spikes on their way, stamp by stamp: arrivals up to now are left out.
    fn redeliver(&mut self) -> Result<()> {
        for ring in &self.rings {
            let words = ring.size() / 4;
            for first in (0..words).step_by(1 << 22) {
                self.device.write(ring, first, &vec![0; (words - first).min(1 << 22) as usize])?;
            }
        }
        let longest = u64::from(self.longest_delay);
        let recent: Vec<(u64, u32, u32)> =
            self.recent.iter().copied().filter(|r| r.0 + longest > self.step && r.0 <= self.step).collect();
        for same in recent.chunk_by(|a, b| a.0 == b.0) {
            for part in same.chunk_by(|a, b| a.1 == b.1).collect::<Vec<_>>().chunks(self.capacity as usize) {
                self.redeliver_step(same[0].0, part)?;
            }
        }
        Ok(())
    }

    /// Delivers spikes of one stamp, those of one source together.
    fn redeliver_step(&mut self, stamp: u64, sources: &[&[(u64, u32, u32)]]) -> Result<()> {
        let longest = u64::from(self.longest_delay);
        // Steps are counted from `longest` steps before now, so that the spike's own step is not negative.
        let emitted = (stamp - 1 + longest - self.step) as u32;
        let mut entries = Vec::new();
        for same in sources {
            batch::enter(&vec![same[0].1; same.len()], 0, emitted, &mut entries);
        }
        if !self.last_spike.is_empty() {
            let mut latest = vec![NEVER; 2 * self.last_spike.len()];
            for same in sources {
                let (id, elapsed) = (same[0].1 as usize, same[0].2);
                latest[2 * id] = if elapsed == NEVER { NEVER } else { (stamp as u32).wrapping_sub(elapsed) };
                latest[2 * id + 1] = stamp as u32;
            }
            self.device.write(&self.latest, 0, &latest)?;
        }
        let batch = self.standing_batch();
        let mut words = batch.windows[0].words(&batch);
        (words.first, words.pending) = (longest as u32, longest as u32);
        // Owned neurons gather the spikes of the window before.
        words.number = u32::from(self.planner.closes);
        self.device.write(&self.windows, 0, words.words())?;
        let n = entries.len() as u32;
        self.device.write(&self.marks, 0, &[0, n, n.min(65_535), n.div_ceil(65_535), self.parts])?;
        self.device.write(&self.list, 0, entries.as_flattened())?;
        let mut encoder = self.device.raw.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            if self.planner.closes {
                self.models.iter().for_each(|model| self.step(&mut pass, model, 0));
            }
            self.deliver(&mut pass, 0);
        }
        self.device.queue.submit([encoder.finish()]);
        self.device.wait()
    }
}

impl Engine for GpuEngine {
    fn describe(&self) -> String {
        let info = &self.device.info;
        format!("gpu: {} ({}, {})", info.name, info.backend, info.driver)
    }

    fn advance(&mut self, steps: u64, sink: &mut dyn Sink) -> Result<()> {
        Balance::advance(self, |engine| &mut engine.balance, [self.step, steps], sink, GpuEngine::go)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.flush()?;
        self.read_dynamics()?;
        let own = match self.dynamics.is_empty() {
            true => Own::Nothing,
            false => {
                let parts: Vec<&Part> = self.dynamics.iter().map(|d| &d.part).collect();
                let plastic = match self.clock.depth {
                    0 => Vec::new(),
                    _ => plastic::store(&parts, &self.signals, &self.device, &self.clock, self.step)?,
                };
                Own::Gpu { ring: self.read_ring()?, plastic }
            }
        };
        Ok(Snapshot {
            step: self.step,
            states: self.read_states()?,
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
        self.balance.restore(snapshot)?;
        for part in &self.models {
            for &(p, first) in &part.populations {
                self.device.write(&part.states, u64::from(first), &snapshot.states[p].concat())?;
            }
        }
        (self.step, self.stopped) = (snapshot.step, snapshot.stopped.clone());
        self.tables.scatter_dynamics(&self.net, &self.rows, &snapshot.synapses)?;
        for (own, table) in self.dynamics.iter().zip(&self.tables.tables[0].dynamics) {
            self.device.write(&own.words, 0, bytemuck::cast_slice(&table.weight))?;
            self.device.write(&own.words, own.count, &[&table.states.concat()[..], &[0]].concat())?;
        }
        if self.clock.depth > 0 {
            let mut parts: Vec<&mut Part> = self.dynamics.iter_mut().map(|d| &mut d.part).collect();
            let Own::Gpu { plastic: flat, .. } = &snapshot.own else {
                return Err(Error::input(
                    "the checkpoint was written by another engine, whose plastic synapses act when a spike arrives",
                    "resume on the engine that wrote it",
                ));
            };
            plastic::restore(&mut parts, &mut self.signals, &self.device, &mut self.clock, self.step, flat)?;
        }
        snapshot.rates.iter().try_for_each(|(population, rates)| self.set_rates(*population, rates))?;
        if !self.last_spike.is_empty() {
            self.last_spike.fill(u64::MAX);
            if snapshot.last_spike.len() == self.last_spike.len() {
                self.last_spike.clone_from(&snapshot.last_spike);
            }
        }
        self.recent = snapshot.in_flight().collect();
        match &snapshot.own {
            Own::Gpu { ring, .. } if !self.dynamics.is_empty() => self.write_ring(ring)?,
            _ => self.redeliver()?,
        }
        if !self.last_spike.is_empty() {
            let latest: Vec<u32> = self.last_spike.iter().flat_map(|&last| [NEVER, last as u32]).collect();
            self.device.write(&self.latest, 0, &latest)?;
        }
        self.device.wait()
    }

    fn weights(&mut self, projection: usize) -> Result<Vec<(u32, u32, f32)>> {
        if !is_plastic(&self.net, projection)? {
            return self.tables.weights(&self.net, &self.rows, projection);
        }
        let (d, words) = self.read_plastic(projection, 1)?;
        let stored = std::mem::replace(&mut self.tables.tables[0].dynamics[d].weight, bytemuck::cast_slice(&words).to_vec());
        let weights = self.tables.weights(&self.net, &self.rows, projection);
        self.tables.tables[0].dynamics[d].weight = stored;
        within_bound(&self.net, projection, weights?, self.dynamics[d].part.limit, self.step as f64 * self.net.dt)
    }

    fn synapses(&mut self, projection: usize) -> Result<Synapses> {
        let plastic = is_plastic(&self.net, projection)?;
        let model = self.net.projections[projection].synapse.model.clone();
        if model.program.is_none() {
            return Ok(Synapses::new(self.weights(projection)?, Vec::new(), &[], self.step, self.net.dt));
        }
        readable(&self.net, &self.stopped, projection)?;
        // Synapses that keep their weight have seen every spike when it was emitted.
        self.read_dynamics()?;
        let now = (self.step, self.net.dt);
        if !plastic {
            let (edges, states) = self.seen(projection)?;
            return Ok(Synapses::new(edges, states, &self.last_spike, now.0, now.1));
        }
        let (d, words) = self.read_plastic(projection, 1 + model.states.len() as u64)?;
        let stored = self.tables.tables[0].dynamics[d].clone();
        let mut arrays = words.chunks_exact(self.dynamics[d].count.max(1) as usize);
        let copy = &mut self.tables.tables[0].dynamics[d];
        copy.weight = arrays.next().map_or_else(Vec::new, |w| bytemuck::cast_slice(w).to_vec());
        copy.states = arrays.map(<[u32]>::to_vec).chain(std::iter::repeat(Vec::new())).take(model.states.len()).collect();
        let seen = self.seen(projection);
        self.tables.tables[0].dynamics[d] = stored;
        let (edges, states) = seen?;
        let edges = within_bound(&self.net, projection, edges, self.dynamics[d].part.limit, now.0 as f64 * now.1)?;
        Ok(Synapses::new(edges, states, &self.last_spike, now.0, now.1))
    }

    fn jump(&mut self, modulator: usize, amount: f64) -> Result<()> {
        if !amount.is_finite() {
            return Err(Error::input(format!("a signal cannot jump by {amount}"), "give a finite amount"));
        }
        // Counted with the next step.
        match self.signals.told.get_mut(modulator) {
            Some(told) => *told += amount,
            None => return Err(Error::input(format!("there is no signal {modulator}"), "name one of [modulators]")),
        }
        Ok(())
    }

    fn scale_weights(&mut self, projection: usize, factor: &dyn Fn(u32, f64) -> f64) -> Result<()> {
        self.rule(projection)?;
        self.flush()?;
        self.read_dynamics()?;
        let weights = self.tables.weights(&self.net, &self.rows, projection)?;
        let slots = self.tables.dynamic_canonical(&self.net, &self.rows, projection)?;
        let name = &self.net.projections[projection].name;
        let first = self.net.populations[self.net.projections[projection].target].first;
        let (d, rule) = self.rule(projection)?;
        let mut edges: Vec<(u32, f32)> = weights.iter().map(|&(_, target, w)| (target - first, w)).collect();
        rule.scaled(&mut edges, name, factor)?;
        let table = &mut self.tables.tables[0].dynamics[d];
        for (slot, (_, w)) in slots.iter().zip(edges) {
            table.weight[slot.index as usize] = w;
        }
        self.device.write(&self.dynamics[d].words, 0, bytemuck::cast_slice(&table.weight))
    }

    fn set_rates(&mut self, population: usize, rates: &[f64]) -> Result<()> {
        if self.net.populations.get(population).is_some_and(|p| p.n > 0) {
            let mut emitter = SourceEmitter::of(&self.net, population, 0..0)?;
            let n = self.net.populations[population].n;
            if rates.len() != n as usize {
                let message = format!("{} rates for {n} sources", rates.len());
                return Err(Error::input(message, "give one rate (Hz) for each source"));
            }
            emitter.iter_mut().try_for_each(|e| e.set_rates(rates, n, multiplicity(&self.net, population)))?;
        }
        let net = Arc::make_mut(&mut self.net);
        let own = net.populations.get_mut(population);
        let Some(Cell::Source(SpikeSource::Poisson { rate, .. })) = own.map(|p| &mut p.cell) else {
            return Err(Error::input(format!("population {population} has no rates"), "name one of model poisson"));
        };
        *rate = Values::Each(rates.into());
        let layout = layout::sources(net)?;
        self.rates.insert(population, rates.to_vec());
        let Some(source) = &mut self.source else { return Ok(()) };
        self.device.write(&source.sources, 0, &layout.source_words)?;
        if layout.table_words.len() as u64 * 4 > source.words.size() {
            source.words = self.device.storage("source tables", &layout.table_words)?;
            let buffers = [&self.windows, &self.list, &self.marks, &self.latest, &self.given, &source.sources, &source.words];
            source.group = self.device.bind(&source.kernel, &buffers)?;
        } else {
            self.device.write(&source.words, 0, &layout.table_words)?;
        }
        Ok(())
    }

    fn set_learning(&mut self, projection: usize, on: bool) -> Result<()> {
        let (d, _) = self.rule(projection)?;
        self.dynamics[d].part.set_learning(&self.device, on, self.step, &self.last_spike)?;
        note_learning(&mut self.stopped, projection, on, self.step);
        // Before a long pause ends, what was left to do is done.
        if on { self.flush() } else { Ok(()) }
    }

    fn time_phases(&mut self, on: bool) {
        self.watch.switch(on);
        self.pass_clock = if on { PassClock::new(&self.device) } else { None };
    }

    fn phases(&self) -> Phases {
        self.watch.phases()
    }

    fn counters(&self) -> Counters {
        self.counters.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_device_and_a_wrong_kernel_are_errors() {
        let Some(device) = Device::for_tests() else { return };
        let wrong = device.kernel("wrong", "fn f() -> i32 { return 1.5; }", "f", &[]);
        assert!(matches!(wrong, Err(Error::Device { .. })));
        let Some(device) = Device::for_tests() else { return };
        let buffer = device.storage("words", &[1, 2, 3]).unwrap();
        assert_eq!(device.read(&[(&buffer, 1, 2)]).unwrap(), [[2, 3]]);
        device.raw.destroy();
        let lost = device.read(&[(&buffer, 0, 3)]).unwrap_err();
        assert!(matches!(lost, Error::Device { .. }) && lost.remedy().is_some(), "{lost}");
    }

    #[test]
    fn needs_are_compared_before_anything_is_allocated() {
        let Some(device) = Device::for_tests() else { return };
        let most = device.info.max_binding;
        assert!(device.check_needs(&[("a", 1000), ("b", most)], None).is_ok());
        let error = device.check_needs(&[("a", 1000), ("the ring", most + 4)], None).unwrap_err();
        assert!(matches!(error, Error::Memory { .. }) && error.to_string().contains("the ring needs"), "{error}");
        let error = device.check_needs(&[("a", 1000), ("b", 2000)], Some(2999)).unwrap_err();
        assert!(matches!(error, Error::Memory { .. }), "{error}");
        assert!(device.buffer("far too large", u64::MAX / 8, Usage::STORAGE).is_err());
    }
}
