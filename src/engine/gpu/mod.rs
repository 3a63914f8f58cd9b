//! The gpu engine: wgpu and the frames of shaders/. Carries out the schedule of `engine/mod.rs` in batches of windows: a window is
//! as many steps as the shortest delay allows, a batch is hundreds of windows in one submission, and nothing is read back in
//! between. Promises the integer path of the CPU bit for bit (drives, synaptic sums, sources), f32 dynamics as the driver
//! computes them, and an error with a remedy where the device fails. Nothing outside this folder knows wgpu.

mod batch;
mod device;
mod layout;
mod shader;

pub use device::{DeviceInfo, devices};
pub use shader::{deliver_shader, source_shader, update_shader};

use crate::engine::{Counters, Engine, Sink, Snapshot, Spike};
use crate::error::{Error, Result};
use crate::model::expr::Bound;
use crate::model::{NeuronModel, Ty};
use crate::network::table::Tables;
use crate::network::{Cell, Network, NeuronInstance, Probe};
use crate::stimulus::current::Currents;
use crate::stimulus::emit::SourceEmitter;
use crate::stimulus::{Drive, DriveKind, SpikeSource};
use crate::network::Values;
use batch::{Batch, Planner, SampleSize, WINDOW_WORDS};
use device::{Binding, Device, Kernel, MOST_ITERATIONS, device_error, mib};
use layout::{Directory, Teams, to_word};
use std::collections::VecDeque;
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
/// Words of a `Mark` in shaders/record.wgsl; the workgroup counts stand at word 2.
const MARK_WORDS: usize = 5;
const NEVER: u32 = u32::MAX;

/// How to run; the default is right but for `device`.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Index or part of the name.
    pub device: Option<String>,
    /// Synapse tables are cut into shards of at most that many bytes; default: what the device lets a kernel see.
    pub shard_bytes: Option<u64>,
    /// Entries of the spike list; default: a million, and one for every neuron and source at least.
    pub spike_capacity: Option<u32>,
}

struct ModelPart {
    kernel: Kernel,
    group: wgpu::BindGroup,
    teams: u32,
    states: wgpu::Buffer,
    words: u64,
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
    projection: usize,
    /// Weights, then one array a state.
    words: wgpu::Buffer,
    count: u64,
    types: Vec<Ty>,
}

struct ProbePart {
    /// Index into `Network::probes`.
    probe: usize,
    kernel: Kernel,
    group: wgpu::BindGroup,
    groups: u32,
    /// Neurons, states, and how each variable follows from them.
    neurons: Vec<u32>,
    types: Vec<Ty>,
    variables: Vec<Bound>,
    instance: NeuronInstance,
}

pub struct GpuEngine {
    net: Network,
    device: Device,
    step: u64,
    longest_delay: u32,
    dispatch_width: u32,
    parts: u32,
    models: Vec<ModelPart>,
    source: Option<SourcePart>,
    deliveries: Vec<Delivery>,
    dynamics: Vec<Dynamics>,
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
    ring: wgpu::Buffer,
    current_words: wgpu::Buffer,
    given: wgpu::Buffer,
    samples: wgpu::Buffer,
    capacity: u32,
    /// Entries of the list that are read back with the marks: what the last batch needed, and some.
    expected: u64,
    out_degree: Vec<u32>,
    recent: VecDeque<(u64, u32)>,
    counters: Counters,
}

impl GpuEngine {
    /// Uploads a network. `tables` must have been built with one block.
    ///
    /// # Errors
    /// No usable device; a buffer larger than the device allows; a model whose names collide with the frame; loops that a
    /// limited driver would end early.
    pub fn new(net: &Network, tables: &Tables, options: GpuOptions) -> Result<GpuEngine> {
        if tables.blocks.len() != 1 || tables.tables.len() != 1 {
            return Err(Error::input("the gpu engine needs tables of one block", "build the tables with blocks = 1"));
        }
        if tables.max_delay > MOST_DELAY {
            let message = format!("the longest delay is {} steps, the gpu engine takes {MOST_DELAY}", tables.max_delay);
            return Err(Error::input(message, "shorten the delays, lengthen the step, or use --engine cpu"));
        }
        let device = Device::open(options.device.as_deref())?;
        Builder { net, tables, options: &options, device }.build()
    }
}

/// The steps of construction.
struct Builder<'a> {
    net: &'a Network,
    tables: &'a Tables,
    options: &'a GpuOptions,
    device: Device,
}

impl Builder<'_> {
    fn build(self) -> Result<GpuEngine> {
        let Builder { net, tables, options, device } = self;
        let (block, table) = (&tables.blocks[0], &tables.tables[0]);
        let real = device.info.real;
        let teams = Teams::new(real);
        let ring_slots = tables.max_delay.max(1);
        let ring_stride = block.accumulators() as u32;
        let all = net.neurons();
        let usage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;

        // What there is, as words.
        let model_layouts = layout::models(net, tables)?;
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
        let shards = layout::shards(tables, all, &source_of, limit, teams.stretch)?;
        let longest = shards.iter().flat_map(|s| std::iter::once(&s.fixed).chain(&s.dynamic)).map(Directory::longest_row).max();
        let parts = teams.parts(longest.unwrap_or(0), real);
        let out_degree = out_degrees(&shards, &source_of, all);

        // A window: as many steps as need no delivery between them and loop seldom enough.
        let iterations = model_layouts.iter().map(|m| m.iterations).chain([source_layout.iterations]).max().unwrap_or(1).max(1);
        if let (true, Some(limit)) = (iterations > MOST_ITERATIONS, device.info.loop_limit) {
            let message = format!(
                "{} ({}) silently ends loops after {limit} iterations; this network needs {iterations} in a step",
                device.info.name, device.info.driver
            );
            return Err(device_error(message, "update the driver (Mesa 23 or newer has no such limit), or run with --engine cpu"));
        }
        let by_loops = (MOST_ITERATIONS / iterations).max(1).min(u64::from(MOST_WINDOW_STEPS)) as u32;
        let window_steps = if table.dynamics.is_empty() { by_loops.min(tables.min_delay).max(1) } else { 1 };

        // What all kernels share.
        let capacity = options.spike_capacity.unwrap_or(1 << 20).max(all).max(1);
        let window_stride = (WINDOW_WORDS as u64 * 4).next_multiple_of(u64::from(device.limits.min_uniform_buffer_offset_alignment).max(16));
        let windows = device.buffer("windows", window_stride * 2 * MOST_WINDOWS as u64, Usage::UNIFORM | Usage::COPY_DST)?;
        let list = device.buffer("the list of spikes", u64::from(capacity) * 8, usage)?;
        let marks = device.buffer("marks", (MOST_WINDOWS * MARK_WORDS * 4) as u64, usage | Usage::INDIRECT)?;
        let latest = device.storage("latest spikes", &vec![NEVER; if table.dynamics.is_empty() { 2 } else { 2 * all as usize }])?;
        let ring = device.buffer("the ring of synaptic input", u64::from(ring_slots) * u64::from(ring_stride) * 4, usage)?;
        let rows_of_current = net.populations.len() as u64;
        let current_words = device.buffer("currents", rows_of_current * MOST_STEPS * 4, usage)?;
        let given = device.buffer("given spikes", 8 * 1024, usage)?;

        let mut models = Vec::new();
        for part in model_layouts {
            shader::check_neuron(&part.model)?;
            let text = update_shader(&part.model);
            let kernel = device
                .kernel(
                    &part.model.name,
                    &text,
                    "step_neurons",
                    &[
                        Binding::Window(WINDOW_WORDS as u64 * 4),
                        Binding::ReadWrite,
                        Binding::ReadWrite,
                        Binding::ReadWrite,
                        Binding::ReadWrite,
                        Binding::ReadWrite,
                        Binding::Read,
                        Binding::Read,
                        Binding::Read,
                        Binding::Read,
                    ],
                    &[
                        ("ring_slots", ring_slots.into()),
                        ("ring_stride", ring_stride.into()),
                        ("port_stride", block.stride.into()),
                        ("team_count", part.teams.into()),
                    ],
                )
                .map_err(|error| in_model(&part.model.name, error))?;
            let states = device.storage("states", &part.states)?;
            let drives = if part.drive_words.is_empty() { vec![0; 14] } else { part.drive_words };
            let [populations, drives, words] = [
                device.storage("populations", &part.population_words)?,
                device.storage("drives", &drives)?,
                device.storage("model tables", &part.table_words)?,
            ];
            let group =
                device.bind(&kernel, &[&windows, &list, &marks, &latest, &ring, &states, &populations, &drives, &words, &current_words])?;
            models.push(ModelPart { kernel, group, teams: part.teams, words: part.states.len() as u64, states, populations: part.populations });
        }

        let mut emitters = Vec::new();
        let mut currents = Vec::new();
        for (p, population) in net.populations.iter().enumerate() {
            if let Cell::Source(SpikeSource::Trains(_) | SpikeSource::Presentation(_)) = population.cell {
                emitters.extend(SourceEmitter::of(net, p, 0..population.n)?.map(|emitter| (population.first, emitter)));
            }
            currents.push(uniform_currents(net, p)?);
        }
        let has_sources = net.populations.iter().any(|p| matches!(p.cell, Cell::Source(_)) && p.n > 0);
        let source = has_sources.then(|| {
            let kernel = device.kernel(
                "sources",
                &source_shader(),
                "emit",
                &[
                    Binding::Window(WINDOW_WORDS as u64 * 4),
                    Binding::ReadWrite,
                    Binding::ReadWrite,
                    Binding::ReadWrite,
                    Binding::Read,
                    Binding::Read,
                    Binding::Read,
                ],
                &[("block_count", source_layout.blocks.into())],
            )?;
            let padded = |words: &[u32], least: usize| if words.is_empty() { vec![0; least] } else { words.to_vec() };
            let sources = device.storage("sources", &padded(&source_layout.source_words, 12))?;
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
        let mut dynamics = Vec::new();
        let mut dynamic_kernels = Vec::new();
        for d in &table.dynamics {
            let synapse = &net.projections[d.projection as usize].synapse;
            shader::check_synapse(&synapse.model)?;
            let words: Vec<u32> = d.weight.iter().map(|w| w.to_bits()).chain(d.states.iter().flatten().copied()).collect();
            let words = device.storage("synapses with dynamics", &words)?;
            let mut bindings = [Binding::Read; 11];
            bindings[0] = Binding::Window(WINDOW_WORDS as u64 * 4);
            bindings[3] = Binding::ReadWrite;
            bindings[8] = Binding::ReadWrite;
            bindings[10] = Binding::Uniform;
            let kernel = device.kernel(&synapse.model.name, &deliver_shader(Some(&synapse.model)), "deliver_dynamic", &bindings, &overrides);
            let kernel = Arc::new(kernel.map_err(|error| in_model(&synapse.model.name, error))?);
            let constants = synapse_constants(synapse);
            let constants = device.storage("constants of synapses", if constants.is_empty() { &[0] } else { &constants })?;
            let sources = &source_of[dynamics.len()];
            let head = [
                f32::INFINITY.to_bits(),
                (net.dt as f32).to_bits(),
                (1.0 / d.quantum).to_bits(),
                sources.start,
                sources.len() as u32,
                d.weight.len() as u32,
                0,
                0,
            ];
            let uniform = device.buffer("a projection", 32, Usage::UNIFORM | Usage::COPY_DST)?;
            device.write(&uniform, 0, &head)?;
            dynamic_kernels.push((kernel, constants, uniform));
            let types = synapse.model.states.iter().map(|s| s.ty).collect();
            dynamics.push(Dynamics { projection: d.projection as usize, words, count: d.weight.len() as u64, types });
        }
        let mut fixed_bindings = [Binding::Read; 7];
        fixed_bindings[0] = Binding::Window(WINDOW_WORDS as u64 * 4);
        fixed_bindings[3] = Binding::ReadWrite;
        let fixed_kernel = Arc::new(device.kernel("deliver", &deliver_shader(None), "deliver", &fixed_bindings, &overrides)?);
        let mut deliveries = Vec::new();
        let mut bytes = 0;
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
                let group = device.bind(&fixed_kernel, &[&windows, &list, &marks, &ring, &rows, &stretches, &stream])?;
                deliveries.push(Delivery { kernel: fixed_kernel.clone(), group });
            }
            for (d, own) in shard.dynamic.iter().enumerate().filter(|(_, own)| !own.stretches.is_empty()) {
                let (rows, stretches) = directory(own)?;
                bytes += rows.size() + stretches.size();
                let (kernel, constants, uniform) = &dynamic_kernels[d];
                let group = device.bind(
                    kernel,
                    &[&windows, &list, &marks, &ring, &rows, &stretches, &stream, &latest, &dynamics[d].words, constants, uniform],
                )?;
                deliveries.push(Delivery { kernel: kernel.clone(), group });
            }
        }
        bytes += dynamics.iter().map(|d| d.words.size()).sum::<u64>();

        // Probes.
        let sizes: Vec<SampleSize> = sample_sizes(net);
        let sample_words = sizes.iter().map(|s| u64::from(s.words)).sum::<u64>().max(1);
        let samples = device.buffer("samples", (sample_words * 4).max((4 << 20).min(device.info.max_binding)), usage)?;
        let mut probes = Vec::new();
        for size in &sizes {
            probes.push(probe_part(net, &device, size, &models, &windows, &samples)?);
        }
        device.wait()?;
        let planner = Planner {
            window_steps,
            sources_per_step: source_layout.elements,
            neurons: net.populations.iter().filter(|p| matches!(p.cell, Cell::Neuron(_))).map(|p| p.n).sum(),
            ring_slots,
            most_windows: MOST_WINDOWS,
            most_steps: MOST_STEPS,
            capacity,
            sample_words: samples.size() / 4,
            sizes,
        };
        let counters = Counters { synapses: table.synapses, synapse_bytes: bytes, ..Default::default() };
        Ok(GpuEngine {
            net: net.clone(),
            step: 0,
            longest_delay: tables.max_delay,
            dispatch_width: device.limits.max_compute_workgroups_per_dimension.clamp(1, 65_535),
            parts,
            models,
            source,
            deliveries,
            dynamics,
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
            ring,
            current_words,
            given,
            samples,
            capacity,
            expected: 1024,
            out_degree,
            recent: VecDeque::new(),
            counters,
            device,
        })
    }
}

/// A driver's complaint about a model's kernel, with the model's name.
fn in_model(name: &str, error: Error) -> Error {
    match error {
        Error::Device { message, remedy } => Error::Device { message: format!("the kernel of model `{name}`: {message}"), remedy },
        other => other,
    }
}

/// Synapses of each source.
fn out_degrees(shards: &[layout::Shard], source_of: &[Range<u32>], sources: u32) -> Vec<u32> {
    let mut degree = vec![0; sources as usize];
    for shard in shards {
        let fixed = std::iter::once((0, &shard.fixed));
        for (first, directory) in fixed.chain(source_of.iter().map(|r| r.start).zip(&shard.dynamic)) {
            for (i, &[start, n]) in directory.rows.iter().enumerate() {
                let own = &directory.stretches[start as usize..][..n as usize];
                degree[first as usize + i] += own.iter().map(|s| s[1] & 0x7fff_ffff).sum::<u32>();
            }
        }
    }
    degree
}

/// The currents of a population that are the same for all its neurons; the others are checked here and computed on the device.
fn uniform_currents(net: &Network, p: usize) -> Result<Currents> {
    Currents::new(net, p)?;
    let same = |d: &Drive| !matches!(d.kind, DriveKind::Noise { .. } | DriveKind::Dc { amplitude: Values::Each(_) });
    let own = net.drives.iter().enumerate().filter(|(_, d)| d.population == p && same(d));
    Currents::from_drives(own, net.populations[p].n as usize, net.dt, net.seed)
}

fn synapse_constants(synapse: &crate::network::SynapseInstance) -> Vec<u32> {
    let model = &synapse.model;
    let value = |name: &str| {
        let parameter = model.params.iter().position(|p| p.name == name).map(|k| synapse.params[k]);
        parameter.or_else(|| model.derived.iter().position(|d| d.name == name).map(|k| synapse.derived[k]))
    };
    model.constants.iter().map(|c| to_word(value(&c.name).unwrap_or(f64::NAN), c.ty)).collect()
}

/// The state probes of a network and the words one sample of each takes.
fn sample_sizes(net: &Network) -> Vec<SampleSize> {
    let size = |(probe, p): (usize, &Probe)| match p {
        Probe::State { population, neurons, interval, .. } => {
            let Cell::Neuron(instance) = &net.populations[*population].cell else { return None };
            let every = (interval / net.dt).round().max(1.0) as u64;
            Some(SampleSize { probe, every, words: (instance.model.states.len() * neurons.len()) as u32 })
        }
        _ => None,
    };
    net.probes.iter().enumerate().filter_map(size).collect()
}

fn probe_part(
    net: &Network,
    device: &Device,
    size: &SampleSize,
    models: &[ModelPart],
    windows: &wgpu::Buffer,
    samples: &wgpu::Buffer,
) -> Result<ProbePart> {
    let refused = || Error::input("a probe of states needs a population of neurons", "name another population");
    let Probe::State { population, variables, neurons, .. } = &net.probes[size.probe] else { return Err(refused()) };
    let Cell::Neuron(instance) = &net.populations[*population].cell else { return Err(refused()) };
    let find = |m: &ModelPart| m.populations.iter().find(|p| p.0 == *population).map(|p| p.1);
    let (part, first) = models.iter().find_map(|m| find(m).map(|first| (m, first))).ok_or_else(refused)?;
    let n = net.populations[*population].n;
    let state = |k: u32| neurons.iter().map(move |&i| first + k * n + i);
    let addresses: Vec<u32> = (0..instance.model.states.len() as u32).flat_map(state).collect();
    let kernel = device.kernel(
        "probe",
        shader::PROBE,
        "probe",
        &[Binding::Window(16), Binding::Read, Binding::Read, Binding::ReadWrite],
        &[("words", addresses.len() as f64)],
    )?;
    let groups = (addresses.len() as u32).div_ceil(layout::WORKGROUP);
    let addresses = device.storage("probed words", &addresses)?;
    let group = device.bind(&kernel, &[windows, &part.states, &addresses, samples])?;
    Ok(ProbePart {
        probe: size.probe,
        kernel,
        group,
        groups,
        neurons: neurons.clone(),
        types: instance.model.states.iter().map(|s| s.ty).collect(),
        variables: variables.iter().map(|v| bound(&instance.model, v)).collect::<Result<_>>()?,
        instance: instance.clone(),
    })
}

/// A recordable over the slots states, parameters, derived constants.
fn bound(model: &NeuronModel, variable: &str) -> Result<Bound> {
    let names: Vec<&str> = model
        .states
        .iter()
        .map(|s| s.name.as_str())
        .chain(model.params.iter().map(|p| p.name.as_str()))
        .chain(model.derived.iter().map(|d| d.name.as_str()))
        .collect();
    let known = || model.recordables.iter().map(|r| r.name.as_str()).collect::<Vec<_>>().join(", ");
    let unknown = |what: &str| Error::input(format!("`{}` records no `{what}`", model.name), format!("it records {}", known()));
    let recordable = model.recordable(variable).ok_or_else(|| unknown(variable))?;
    recordable.value.bind(|name| names.iter().position(|n| *n == name)).map_err(|name| unknown(&name))
}

fn as_number(word: u32, ty: Ty) -> f64 {
    match ty {
        Ty::F32 => f64::from(f32::from_bits(word)),
        Ty::I32 => f64::from(word as i32),
        Ty::U32 | Ty::Bool => f64::from(word),
    }
}

impl ProbePart {
    /// Values of the variables, neuron by neuron, from the sampled words (state by state).
    fn values(&self, words: &[u32]) -> Vec<f32> {
        let n = self.neurons.len();
        let instance = &self.instance;
        let mut slots = vec![0.0; self.types.len() + instance.params.len() + instance.derived.len()];
        let mut values = vec![0.0; self.variables.len() * n];
        for (i, &neuron) in self.neurons.iter().enumerate() {
            for (k, &ty) in self.types.iter().enumerate() {
                slots[k] = as_number(words[k * n + i], ty);
            }
            let constants = instance.params.iter().chain(&instance.derived).map(|v| v.get(neuron as usize));
            slots[self.types.len()..].iter_mut().zip(constants).for_each(|(slot, x)| *slot = x);
            for (v, variable) in self.variables.iter().enumerate() {
                values[v * n + i] = variable.eval(&slots) as f32;
            }
        }
        values
    }
}

impl GpuEngine {
    /// Uploads, runs and reads back one batch; returns nothing lost: windows that did not fit are left for the next.
    fn batch(&mut self, end: u64, sink: &mut dyn Sink) -> Result<()> {
        let batch = self.planner.plan(self.step, end, self.patience, &mut self.emitters);
        self.upload(&batch)?;
        let begin = Instant::now();
        self.submit(&batch);
        let marks_words = (batch.windows.len() * MARK_WORDS) as u64;
        let expected = self.expected.min(u64::from(self.capacity));
        let read = self.device.read(&[(&self.marks, 0, marks_words), (&self.list, 0, 2 * expected), (&self.samples, 0, batch.sample_words)])?;
        let took = begin.elapsed();
        self.patience = match took {
            t if t > LONG_BATCH => (self.patience / 2).max(1),
            t if t < SHORT_BATCH => (self.patience * 2).min(MOST_WINDOWS),
            _ => self.patience,
        };
        let [marks, mut entries, samples]: [Vec<u32>; 3] =
            read.try_into().map_err(|_| device_error("the device returned too little", "run with --engine cpu"))?;
        let (done, total) = batch.completed(&marks, self.capacity);
        if total > expected {
            entries.extend(self.device.read(&[(&self.list, 2 * expected, 2 * (total - expected))])?.remove(0));
        }
        entries.truncate(2 * total as usize);
        self.expected = (total + total / 4 + 1024).max(self.expected / 2);
        self.report(&batch, done, &entries, &samples, sink)
    }

    fn upload(&mut self, batch: &Batch) -> Result<()> {
        let stride = (self.window_stride / 4) as usize;
        let mut words = vec![0; stride * (batch.windows.len())];
        for (slot, window) in words.chunks_mut(stride).zip(&batch.windows) {
            slot[..WINDOW_WORDS].copy_from_slice(&window.words(batch));
        }
        self.device.write(&self.windows, 0, &words)?;
        let mut firsts = vec![0; stride * batch.samples.len()];
        for (slot, sample) in firsts.chunks_mut(stride.max(1)).zip(&batch.samples) {
            slot[0] = sample.first;
        }
        self.device.write(&self.windows, (MOST_WINDOWS * stride) as u64, &firsts)?;
        let marks: Vec<u32> = batch.windows.iter().flat_map(|_| [0, 0, 0, 0, self.parts]).collect();
        self.device.write(&self.marks, 0, &marks)?;
        let mut currents = Vec::with_capacity(self.currents.len() * batch.steps as usize);
        for own in &self.currents {
            currents.extend((0..u64::from(batch.steps)).map(|s| own.uniform(batch.first + s).unwrap_or(0.0).to_bits()));
        }
        self.device.write(&self.current_words, 0, &currents)?;
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

    /// Workgroups in two dimensions, of which each allows a limited number.
    fn grid(&self, groups: u32) -> (u32, u32) {
        (groups.clamp(1, self.dispatch_width), groups.div_ceil(self.dispatch_width).max(1))
    }

    fn submit(&self, batch: &Batch) {
        let mut encoder = self.device.raw.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            let mut samples = batch.samples.iter().enumerate().peekable();
            for (i, window) in batch.windows.iter().enumerate() {
                let offset = [(i as u64 * self.window_stride) as u32];
                if let Some(source) = &self.source {
                    let (x, y) = self.grid(source.blocks.max(window.given.len() as u32).div_ceil(layout::WORKGROUP));
                    pass.set_pipeline(&source.kernel.pipeline);
                    pass.set_bind_group(0, &source.group, &offset);
                    pass.dispatch_workgroups(x, y, 1);
                }
                for model in &self.models {
                    let (x, y) = self.grid(model.teams);
                    pass.set_pipeline(&model.kernel.pipeline);
                    pass.set_bind_group(0, &model.group, &offset);
                    pass.dispatch_workgroups(x, y, 1);
                }
                self.deliver(&mut pass, i);
                while let Some((k, sample)) = samples.next_if(|(_, s)| s.window == i) {
                    let probe = &self.probes[sample.probe];
                    let (x, y) = self.grid(probe.groups);
                    pass.set_pipeline(&probe.kernel.pipeline);
                    pass.set_bind_group(0, &probe.group, &[((MOST_WINDOWS + k) as u64 * self.window_stride) as u32]);
                    pass.dispatch_workgroups(x, y, 1);
                }
            }
        }
        self.device.queue.submit([encoder.finish()]);
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
            let size = probe.types.len() * probe.neurons.len();
            sink.sample(probe.probe, until as f64 * dt, &probe.values(&samples[sample.first as usize..][..size]))?;
        }
        if told < spikes.len() {
            sink.spikes(&spikes[told..])?;
        }
        let now = batch.windows[..done].last().map_or(self.step, |w| w.end());
        self.counters.spikes += found.len() as u64;
        self.counters.synaptic_events += found.iter().map(|&(_, id)| u64::from(self.out_degree[id as usize])).sum::<u64>();
        self.counters.neuron_updates += (now - self.step) * u64::from(self.planner.neurons);
        self.step = now;
        let first = found.partition_point(|&(stamp, _)| stamp + u64::from(self.longest_delay) <= now);
        self.recent.extend(&found[first..]);
        while self.recent.front().is_some_and(|&(stamp, _)| stamp + u64::from(self.longest_delay) <= now) {
            self.recent.pop_front();
        }
        Ok(())
    }
}

impl Engine for GpuEngine {
    fn describe(&self) -> String {
        let info = &self.device.info;
        format!("gpu: {} ({}, {})", info.name, info.backend, info.driver)
    }

    fn advance(&mut self, steps: u64, sink: &mut dyn Sink) -> Result<()> {
        let end = self.step + steps;
        while self.step < end {
            self.batch(end, sink)?;
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        Err(device_error(mib(0), ""))
    }

    fn restore(&mut self, _snapshot: &Snapshot) -> Result<()> {
        Err(device_error("", ""))
    }

    fn weights(&mut self, _projection: usize) -> Result<Vec<(u32, u32, f32)>> {
        Err(device_error("", ""))
    }

    fn counters(&self) -> Counters {
        self.counters.clone()
    }
}
