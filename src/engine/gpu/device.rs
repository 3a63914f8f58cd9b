//! Finding a device, trusting it, and talking to it: adapters, the start-up probe, buffers, pipelines, reading back. Promises
//! that whatever goes wrong on a device (lost, out of memory, refused by validation) comes back as an error with a remedy.
//! Knows no neuron and no network.

use super::reflect;
use crate::error::{Error, Result};
use std::sync::{Arc, Mutex, OnceLock};
use wgpu::util::DeviceExt;

/// Loop iterations that one invocation of our kernels may need in all: far below the 65,535 after which Mesa 22's software
/// driver silently ends every loop.
pub const MOST_ITERATIONS: u64 = 32_768;
/// Storage buffers that the widest kernel binds.
const STORAGE_BUFFERS: u32 = 9;
/// Bytes uploaded before the driver is given time to free its staging memory.
const UPLOAD: usize = 32 << 20;

/// One line of `sharpwave devices`.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceInfo {
    /// What `--device` takes; also a part of the name is taken.
    pub index: usize,
    /// As the driver gives it.
    pub name: String,
    /// "discrete", "integrated", "virtual", "software" or "other".
    pub kind: &'static str,
    /// "vulkan", "metal" or "dx12".
    pub backend: String,
    /// Name and version of the driver.
    pub driver: String,
    /// Largest buffer and largest part of one that a kernel can see, bytes.
    pub max_buffer: u64,
    /// Largest part of a buffer that a kernel can see, bytes.
    pub max_binding: u64,
    /// Iterations after which loops silently end, where the start-up probe found such a limit.
    pub loop_limit: Option<u32>,
    /// A GPU, not a driver that computes on the processor.
    pub real: bool,
    /// Err: why not.
    pub usable: Result<(), String>,
}

/// Does `wanted`, a number or a part of a name, mean the device of that number and name?
fn is_meant(wanted: &str, index: usize, name: &str) -> bool {
    let wanted = wanted.trim().to_lowercase();
    wanted.parse::<usize>().map_or_else(|_| name.to_lowercase().contains(&wanted), |number| number == index)
}

impl DeviceInfo {
    /// Whether `--device wanted` may mean this one.
    pub fn is(&self, wanted: &str) -> bool {
        is_meant(wanted, self.index, &self.name)
    }
}

fn kind(device_type: wgpu::DeviceType) -> &'static str {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    }
}

/// Lower is better.
fn rank(device_type: wgpu::DeviceType) -> u32 {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

/// The devices of this machine, asked for once: the loader of Vulkan drivers is slow, and talkative on some systems.
fn adapters() -> &'static [wgpu::Adapter] {
    static ADAPTERS: OnceLock<Vec<wgpu::Adapter>> = OnceLock::new();
    if wgpu::Instance::enabled_backend_features().is_empty() {
        return &[];
    }
    ADAPTERS.get_or_init(|| {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
            // Indirect validation is on by default, in release builds too.
            flags: wgpu::InstanceFlags::empty(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()))
    })
}

fn describe(index: usize, adapter: &wgpu::Adapter) -> DeviceInfo {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let why_not = if !adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS) {
        Some("it cannot run compute kernels".to_string())
    } else if !adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::INDIRECT_EXECUTION) {
        Some("it cannot run indirect dispatches".to_string())
    } else if limits.max_storage_buffers_per_shader_stage < STORAGE_BUFFERS {
        let has = limits.max_storage_buffers_per_shader_stage;
        Some(format!("a kernel may see {has} buffers there, {STORAGE_BUFFERS} are needed"))
    } else {
        None
    };
    DeviceInfo {
        index,
        kind: kind(info.device_type),
        backend: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        name: info.name,
        max_buffer: limits.max_buffer_size,
        max_binding: limits.max_storage_buffer_binding_size,
        loop_limit: None,
        real: !matches!(info.device_type, wgpu::DeviceType::Cpu | wgpu::DeviceType::Other),
        usable: why_not.map_or(Ok(()), Err),
    }
}

/// Every device that the drivers of this machine offer, probed; the order is that of `--device`.
pub fn devices() -> Vec<DeviceInfo> {
    let probe = |(index, adapter): (usize, &wgpu::Adapter)| match Device::of(index, adapter) {
        Ok(device) => device.info,
        Err(error) => {
            let mut info = describe(index, adapter);
            info.usable = info.usable.and(Err(error.to_string()));
            info
        }
    };
    adapters().iter().enumerate().map(probe).collect()
}

/// What the device reported outside of any call.
#[derive(Default)]
struct Reports {
    lost: Option<String>,
    error: Option<wgpu::Error>,
}

/// An open device.
pub struct Device {
    pub info: DeviceInfo,
    pub limits: wgpu::Limits,
    pub raw: wgpu::Device,
    pub queue: wgpu::Queue,
    reports: Arc<Mutex<Reports>>,
}

impl Device {
    /// Opens the device of index or partial name `wanted`, else the best there is (discrete, integrated, virtual, software).
    pub fn open(wanted: Option<&str>) -> Result<Self> {
        let mut adapters: Vec<(usize, &wgpu::Adapter)> = adapters().iter().enumerate().collect();
        if adapters.is_empty() {
            let message = "no Vulkan, Metal or DX12 device was found".to_string();
            let remedy = "install a driver (Debian, Ubuntu: mesa-vulkan-drivers), or run with --engine cpu".to_string();
            return Err(Error::Device { message, remedy });
        }
        if let Some(wanted) = wanted {
            let names: Vec<String> = adapters.iter().map(|(i, a)| format!("{i}: {}", a.get_info().name)).collect();
            adapters.retain(|(i, a)| is_meant(wanted, *i, &a.get_info().name));
            if adapters.is_empty() {
                let message = format!("no device is called `{wanted}`; there are: {}", names.join(", "));
                return Err(Error::Device { message, remedy: "give --device the number or a part of the name".to_string() });
            }
        }
        adapters.sort_by_key(|(_, adapter)| rank(adapter.get_info().device_type));
        // The best that opens; the first refusal is what the user hears when none does.
        let mut refusal = None;
        for (index, adapter) in adapters {
            match Device::of(index, adapter) {
                Ok(device) => return Ok(device),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(|| device_error("no device could be opened", "run with --engine cpu")))
    }

    fn of(index: usize, adapter: &wgpu::Adapter) -> Result<Self> {
        let info = describe(index, adapter);
        if let Err(why) = &info.usable {
            return Err(device_error(format!("{} is not usable: {why}", info.name), "choose another --device, or --engine cpu"));
        }
        let limits = adapter.limits();
        let wanted = wgpu::DeviceDescriptor {
            label: Some("sharpwave"),
            required_features: adapter.features() & wgpu::Features::TIMESTAMP_QUERY,
            required_limits: limits.clone(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let (raw, queue) = pollster::block_on(adapter.request_device(&wanted)).map_err(|cause| {
            device_error(format!("{} could not be opened: {cause}", info.name), "choose another --device, or --engine cpu")
        })?;
        let reports = Arc::new(Mutex::new(Reports::default()));
        let sink = reports.clone();
        raw.on_uncaptured_error(Arc::new(move |error| {
            if let Ok(mut reports) = sink.lock() {
                reports.error.get_or_insert(error);
            }
        }));
        let sink = reports.clone();
        raw.set_device_lost_callback(move |_, message| {
            if let Ok(mut reports) = sink.lock() {
                reports.lost.get_or_insert(message);
            }
        });
        let mut device = Device { info, limits, raw, queue, reports };
        device.info.loop_limit = device.probe_loops()?;
        Ok(device)
    }

    /// Err when anything went wrong on the device since it was opened. Nothing read back may be used before this was asked.
    pub fn check(&self) -> Result<()> {
        let name = &self.info.name;
        let Ok(reports) = self.reports.lock() else {
            return Err(device_error(format!("{name}: its error report was cut short"), "run with --engine cpu"));
        };
        match (&reports.error, &reports.lost) {
            (Some(wgpu::Error::OutOfMemory { .. }), _) => Err(Error::Device {
                message: format!("{name} is out of memory"),
                remedy: "use a smaller network, close other programs that use the device, or run with --engine cpu".to_string(),
            }),
            (Some(error), _) => Err(Error::Device {
                message: format!("{name} refused an operation: {error}"),
                remedy: "run with --engine cpu, and report this with the driver's version".to_string(),
            }),
            (None, Some(why)) => Err(Error::Device {
                message: format!("{name} was lost{}{why}", if why.is_empty() { "" } else { ": " }),
                remedy: "resume from the last checkpoint; if it happens again, update the driver or run with --engine cpu"
                    .to_string(),
            }),
            (None, None) => Ok(()),
        }
    }

    /// Compares what buffers need with what the device allows for one, and for a software device the sum with the `memory` there
    /// is; nothing is allocated before.
    pub fn check_needs(&self, needs: &[(&str, u64)], memory: Option<u64>) -> Result<()> {
        let most = self.info.max_binding.min(self.info.max_buffer);
        let total: u64 = needs.iter().map(|n| n.1).sum();
        let remedy = "use a smaller network or a shorter longest delay, another --device, or --engine cpu";
        if let Some((what, bytes)) = needs.iter().find(|n| n.1 > most) {
            let message = format!("{what} needs {} in one buffer, {} allows {}", mib(*bytes), self.info.name, mib(most));
            return Err(Error::Memory { message, remedy: remedy.to_string() });
        }
        match memory {
            Some(free) if total > free => Err(Error::Memory {
                message: format!("the network needs {} on {}, {} are free", mib(total), self.info.name, mib(free)),
                remedy: remedy.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// A buffer of at least four bytes; refused by name when a kernel could not see all of it.
    pub fn buffer(&self, what: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        let bytes = bytes.max(4).next_multiple_of(4);
        let seen = if usage.contains(wgpu::BufferUsages::STORAGE) { self.info.max_binding } else { u64::MAX };
        let most = seen.min(self.info.max_buffer);
        if bytes > most {
            let message = format!("{what} needs {} in one buffer, {} allows {}", mib(bytes), self.info.name, mib(most));
            let remedy = "use a smaller network or a shorter longest delay, another --device, or --engine cpu".to_string();
            return Err(Error::Device { message, remedy });
        }
        let buffer =
            self.raw.create_buffer(&wgpu::BufferDescriptor { label: Some(what), size: bytes, usage, mapped_at_creation: false });
        self.check()?;
        Ok(buffer)
    }

    /// A storage buffer with contents.
    pub fn storage(&self, what: &str, words: &[u32]) -> Result<wgpu::Buffer> {
        use wgpu::BufferUsages as U;
        let buffer = self.buffer(what, words.len() as u64 * 4, U::STORAGE | U::COPY_DST | U::COPY_SRC)?;
        self.write(&buffer, 0, words)?;
        Ok(buffer)
    }

    /// Uploads words to a buffer from word `first` on, in stretches so that staging memory stays bounded.
    pub fn write(&self, buffer: &wgpu::Buffer, first: u64, words: &[u32]) -> Result<()> {
        let mut at = first * 4;
        for part in bytemuck::cast_slice::<u32, u8>(words).chunks(UPLOAD) {
            self.queue.write_buffer(buffer, at, part);
            at += part.len() as u64;
            if part.len() == UPLOAD {
                self.queue.submit([]);
                self.wait()?;
            }
        }
        Ok(())
    }

    /// Waits until the device has done all it was given.
    pub fn wait(&self) -> Result<()> {
        let done = self.raw.poll(wgpu::PollType::wait_indefinitely());
        self.check()?;
        done.map(drop)
            .map_err(|cause| device_error(format!("{} does not answer: {cause}", self.info.name), "run with --engine cpu"))
    }

    /// Reads words of several buffers (buffer, first word, words) in one round trip.
    pub fn read(&self, parts: &[(&wgpu::Buffer, u64, u64)]) -> Result<Vec<Vec<u32>>> {
        let total: u64 = parts.iter().map(|p| p.2 * 4).sum();
        if total == 0 {
            self.check()?;
            return Ok(vec![Vec::new(); parts.len()]);
        }
        if total > self.info.max_buffer {
            return parts.iter().map(|&part| self.read_long(part)).collect();
        }
        let staging = self.buffer("read-back", total, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?;
        let mut encoder = self.raw.create_command_encoder(&Default::default());
        let mut at = 0;
        for &(buffer, first, words) in parts.iter().filter(|p| p.2 > 0) {
            encoder.copy_buffer_to_buffer(buffer, first * 4, &staging, at, words * 4);
            at += words * 4;
        }
        self.queue.submit([encoder.finish()]);
        let (send, receive) = std::sync::mpsc::channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| drop(send.send(result)));
        self.wait()?;
        let unreadable = |cause: String| {
            device_error(format!("{}: results could not be read back: {cause}", self.info.name), "run with --engine cpu")
        };
        match receive.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => return Err(unreadable(cause.to_string())),
            Err(_) => return Err(unreadable("the driver did not answer".to_string())),
        }
        let view = staging.slice(..).get_mapped_range().map_err(|cause| unreadable(cause.to_string()))?;
        let bytes: &[u8] = &view;
        let mut at = 0;
        let mut read = Vec::with_capacity(parts.len());
        for &(_, _, words) in parts {
            read.push(bytemuck::pod_collect_to_vec(&bytes[at..at + words as usize * 4]));
            at += words as usize * 4;
        }
        self.check()?;
        Ok(read)
    }

    /// One long stretch in several round trips.
    fn read_long(&self, (buffer, first, words): (&wgpu::Buffer, u64, u64)) -> Result<Vec<u32>> {
        let step = (UPLOAD / 4) as u64;
        let mut all = Vec::with_capacity(words as usize);
        let mut at = 0;
        while at < words {
            let part = step.min(words - at);
            all.extend(self.read(&[(buffer, first + at, part)])?.remove(0));
            at += part;
        }
        Ok(all)
    }

    /// A pipeline of WGSL text with the values of its `override` constants. What it binds its text says.
    pub fn kernel(&self, what: &str, text: &str, entry: &str, constants: &[(&str, f64)]) -> Result<Kernel> {
        let refused = |why: String| {
            device_error(
                format!("the kernel `{what}` is refused: {why}"),
                "run with --engine cpu, and report this with the model",
            )
        };
        let bindings = reflect::bindings(text, entry).map_err(refused)?;
        let module = self.raw.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(what),
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        self.check()?;
        let entry_of = |(i, b): (usize, &Option<Binding>)| b.map(|b| b.entry(i as u32));
        let entries: Vec<wgpu::BindGroupLayoutEntry> = bindings.iter().enumerate().filter_map(entry_of).collect();
        let layout = self.raw.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(what), entries: &entries });
        let pipeline_layout = self.raw.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(what),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.raw.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(what),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(entry),
            compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
            cache: None,
        });
        self.check()?;
        Ok(Kernel { pipeline, layout, bindings })
    }

    /// Binds buffers to a kernel by the numbers of its bindings; those that it does not use are left out.
    pub fn bind(&self, kernel: &Kernel, buffers: &[&wgpu::Buffer]) -> Result<wgpu::BindGroup> {
        debug_assert!(buffers.len() >= kernel.bindings.len());
        let entries: Vec<wgpu::BindGroupEntry> = buffers
            .iter()
            .zip(&kernel.bindings)
            .enumerate()
            .filter_map(|(i, (buffer, binding))| Some((i, buffer, binding.as_ref()?)))
            .map(|(i, buffer, binding)| wgpu::BindGroupEntry {
                binding: i as u32,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: 0,
                    size: match binding {
                        Binding::Window(bytes) => std::num::NonZeroU64::new(*bytes),
                        _ => None,
                    },
                }),
            })
            .collect();
        let group =
            self.raw.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &kernel.layout, entries: &entries });
        self.check()?;
        Ok(group)
    }

    /// Counts a loop of 100,000 iterations on the device: Some(count) when the driver ended it early.
    fn probe_loops(&self) -> Result<Option<u32>> {
        const ASKED: u32 = 100_000;
        let kernel = self.kernel("loop probe", super::shader::LOOPS, "count_iterations", &[])?;
        let buffer = self.raw.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some("loop probe"),
            contents: bytemuck::cast_slice(&[ASKED, 0u32]),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
        });
        let group = self.bind(&kernel, &[&buffer])?;
        let mut encoder = self.raw.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&kernel.pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
        self.queue.submit([encoder.finish()]);
        let counted = self.read(&[(&buffer, 1, 1)])?[0][0];
        if counted != ASKED && u64::from(counted) < 2 * MOST_ITERATIONS - 1 {
            let message = format!(
                "{} ({}) silently ends loops after {counted} iterations: its results cannot be trusted",
                self.info.name, self.info.driver
            );
            return Err(device_error(
                message,
                "update the driver (Mesa 23 or newer has no such limit), or run with --engine cpu",
            ));
        }
        Ok((counted != ASKED).then_some(counted))
    }
}

#[cfg(test)]
impl Device {
    /// The best device, for a test. None, said on standard error, where there is none; a failure where SHARPWAVE_REQUIRE_GPU asks for one.
    pub fn for_tests() -> Option<Device> {
        use std::io::Write;
        let error = match Device::open(None) {
            Ok(device) => return Some(device),
            Err(error) => error,
        };
        let required = std::env::var_os("SHARPWAVE_REQUIRE_GPU").is_some_and(|v| v != "0");
        assert!(!required, "SHARPWAVE_REQUIRE_GPU is set: {error}");
        // Straight to standard error: what a passing test prints with eprintln! is not shown.
        let _ = writeln!(std::io::stderr(), "skipped: {error}");
        None
    }
}

/// The device's own clock at the begin and the end of a pass.
pub struct PassClock {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
}

impl PassClock {
    /// None where the device has no clock that we could read.
    pub fn new(device: &Device) -> Option<PassClock> {
        if !device.raw.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let set = device.raw.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("pass clock"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        Some(PassClock { set, resolved: device.buffer("pass clock", 16, usage).ok()? })
    }

    /// Where a pass writes its times.
    pub fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    /// After the pass, in its command buffer.
    pub fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..2, &self.resolved, 0);
    }

    /// What `Device::read` takes to read the times of the last pass.
    pub fn words(&self) -> (&wgpu::Buffer, u64, u64) {
        (&self.resolved, 0, 4)
    }

    /// How long that pass took, from what was read.
    pub fn seconds(device: &Device, words: &[u32]) -> f64 {
        let time = |k: usize| u64::from(words[k]) | u64::from(words[k + 1]) << 32;
        time(2).saturating_sub(time(0)) as f64 * f64::from(device.queue.get_timestamp_period()) * 1e-9
    }
}

/// A compiled kernel.
pub struct Kernel {
    pub pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    bindings: Vec<Option<Binding>>,
}

impl Kernel {
    /// Of the offsets of uniforms by their numbers, those that a dispatch of this kernel takes.
    pub fn offsets(&self, all: &[u32]) -> Vec<u32> {
        let seen = self.bindings.iter().zip(all).filter(|(binding, _)| matches!(binding, Some(Binding::Window(_))));
        seen.map(|(_, offset)| *offset).collect()
    }
}

/// How a kernel sees a buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binding {
    /// Uniform of that many bytes at an offset chosen at each dispatch.
    Window(u64),
    Uniform,
    Read,
    ReadWrite,
}

impl Binding {
    fn entry(self, binding: u32) -> wgpu::BindGroupLayoutEntry {
        let (ty, dynamic) = match self {
            Binding::Window(_) => (wgpu::BufferBindingType::Uniform, true),
            Binding::Uniform => (wgpu::BufferBindingType::Uniform, false),
            Binding::Read => (wgpu::BufferBindingType::Storage { read_only: true }, false),
            Binding::ReadWrite => (wgpu::BufferBindingType::Storage { read_only: false }, false),
        };
        wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: dynamic, min_binding_size: None },
            count: None,
        }
    }
}

pub fn device_error(message: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Device { message: message.into(), remedy: remedy.into() }
}

pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
