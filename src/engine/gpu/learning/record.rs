//! Passes of local learning as a list that is written once and carried out at every batch: kernels, dense products, element-wise
//! passes. Promises the order in which they were added. Knows matrices as buffers; no network.

use super::super::device::{Binding, Device, Kernel, MOST_ITERATIONS, device_error};
use crate::error::Result;

/// Words of an op's parameters, and of `Batch` in shaders/learning.wgsl.
const OP_WORDS: usize = 12;
pub const BATCH_WORDS: usize = 8;
/// Passes in a list at most.
const MOST_OPS: u64 = 1024;
/// Batches uploaded at a time at most.
pub const MOST_BATCHES: usize = 32;
/// Inner indices of one product pass: its loops stay below [`MOST_ITERATIONS`]. Longer products are several passes.
const INNER: u32 = (MOST_ITERATIONS / 2) as u32;
/// Values of c that a workgroup computes along each side, and invocations of an element-wise one.
const SIDE: u32 = 64;
/// Workgroups along one axis at most (every device's least).
const MOST_GROUPS: u32 = 65_535;

const COMMON: &str = include_str!("../../../../shaders/learning.wgsl");
const PRODUCT: &str = include_str!("../../../../shaders/product.wgsl");
const LAYER: &str = include_str!("../../../../shaders/layer.wgsl");
const SIGNAL: &str = include_str!("../../../../shaders/signal.wgsl");
const STEP: &str = include_str!("../../../../shaders/step.wgsl");
const POSTERIOR: &str = include_str!("../../../../shaders/posterior.wgsl");
const PHILOX: &str = include_str!("../../../../shaders/philox.wgsl");
const NORMAL: &str = include_str!("../../../../shaders/normal.wgsl");
const EXP: &str = include_str!("../../../../shaders/exp.wgsl");
const FLUSH: &str = include_str!("../../../../shaders/flush.wgsl");
const LOG: &str = include_str!("../../../../shaders/log.wgsl");

/// The passes there are: entry points of shaders/.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pass {
    Product,
    Run,
    Gather,
    Errors,
    Gate,
    Spread,
    Optimise,
    Metaplastic,
    Hold,
    Apply,
    Posterior,
}

impl Pass {
    const ALL: [Pass; 11] = [
        Pass::Product,
        Pass::Run,
        Pass::Gather,
        Pass::Errors,
        Pass::Gate,
        Pass::Spread,
        Pass::Optimise,
        Pass::Metaplastic,
        Pass::Hold,
        Pass::Apply,
        Pass::Posterior,
    ];

    /// Entry point, text, and how the buffers after the two uniforms are seen (r: read, w: read and written).
    fn kernel(self) -> (&'static str, &'static [&'static str], &'static str) {
        match self {
            Pass::Product => ("product", &[PRODUCT], "rrw"),
            Pass::Run => ("run", &[COMMON, LAYER, FLUSH], "rwwwwww"),
            Pass::Gather => ("gather", &[COMMON, SIGNAL], "rrrrw"),
            Pass::Errors => ("errors", &[COMMON, SIGNAL, EXP, LOG], "rww"),
            Pass::Gate => ("gate", &[COMMON, SIGNAL], "rw"),
            Pass::Spread => ("spread", &[COMMON, SIGNAL], "rrrw"),
            Pass::Optimise => ("optimise", &[COMMON, STEP, FLUSH], "www"),
            Pass::Metaplastic => ("metaplastic", &[COMMON, STEP, FLUSH], "wr"),
            Pass::Hold => ("hold", &[COMMON, STEP, FLUSH], "wrrr"),
            Pass::Apply => ("apply", &[COMMON, STEP, FLUSH], "www"),
            Pass::Posterior => ("posterior", &[COMMON, PHILOX, NORMAL, LOG, POSTERIOR], "rwwwwww"),
        }
    }
}

/// Compiled passes on a device, and the numbers of the batches uploaded.
pub struct Kernels {
    all: Vec<Kernel>,
    pub batches: wgpu::Buffer,
    /// Bytes from one uniform to the next.
    stride: u64,
}

impl Kernels {
    pub fn new(device: &Device) -> Result<Self> {
        let uniforms = [Binding::Window(4 * OP_WORDS as u64), Binding::Window(4 * BATCH_WORDS as u64)];
        let compile = |pass: &Pass| {
            let (entry, text, seen) = pass.kernel();
            let seen = seen.chars().map(|c| if c == 'r' { Binding::Read } else { Binding::ReadWrite });
            let bindings: Vec<Binding> = uniforms.into_iter().chain(seen).collect();
            device.kernel(entry, &text.join("\n"), entry, &bindings, &[])
        };
        let all = Pass::ALL.iter().map(compile).collect::<Result<_>>()?;
        let stride = u64::from(device.limits.min_uniform_buffer_offset_alignment).max(64);
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let batches = device.buffer("numbers of batches", stride * MOST_BATCHES as u64, usage)?;
        Ok(Kernels { all, batches, stride })
    }

    /// Uploads the numbers of some batches.
    pub fn set_batches(&self, device: &Device, batches: &[[u32; BATCH_WORDS]]) -> Result<()> {
        let mut words = vec![0; self.stride as usize / 4 * batches.len()];
        for (own, batch) in words.chunks_exact_mut(self.stride as usize / 4).zip(batches) {
            own[..BATCH_WORDS].copy_from_slice(batch);
        }
        device.write(&self.batches, 0, &words)
    }
}

/// A matrix in a buffer: the first value and what lies between rows and between columns, values.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub buffer: &'a wgpu::Buffer,
    pub first: u32,
    row: u32,
    column: u32,
}

impl<'a> View<'a> {
    /// Row-major, `columns` values a row.
    pub fn new(buffer: &'a wgpu::Buffer, columns: usize) -> Self {
        View { buffer, first: 0, row: columns as u32, column: 1 }
    }

    pub fn transposed(self) -> Self {
        View { row: self.column, column: self.row, ..self }
    }

    /// The matrix from this row on.
    pub fn from_row(self, row: usize) -> Self {
        View { first: self.first + row as u32 * self.row, ..self }
    }

    /// The matrix from this column on.
    pub fn from_column(self, column: usize) -> Self {
        View { first: self.first + column as u32 * self.column, ..self }
    }
}

enum Op {
    Pass { pass: Pass, group: wgpu::BindGroup, groups: [u32; 2] },
    Copy { from: wgpu::Buffer, to: wgpu::Buffer, bytes: u64 },
}

/// A list of passes under construction.
pub struct List<'a> {
    device: &'a Device,
    kernels: &'a Kernels,
    uniforms: wgpu::Buffer,
    words: Vec<u32>,
    ops: Vec<Op>,
}

impl<'a> List<'a> {
    pub fn new(device: &'a Device, kernels: &'a Kernels) -> Result<Self> {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniforms = device.buffer("parameters of passes", kernels.stride * MOST_OPS, usage)?;
        Ok(List { device, kernels, uniforms, words: vec![], ops: vec![] })
    }

    fn pass(&mut self, pass: Pass, buffers: &[&wgpu::Buffer], parameters: &[u32], groups: [u32; 2]) -> Result<()> {
        if self.ops.len() as u64 >= MOST_OPS || groups.iter().any(|g| *g > MOST_GROUPS) {
            return Err(device_error(
                "a batch needs more work than the gpu is given at once",
                "use smaller batches or fewer layers, or --engine cpu",
            ));
        }
        let kernel = &self.kernels.all[pass as usize];
        let all: Vec<&wgpu::Buffer> =
            [&self.uniforms, &self.kernels.batches].into_iter().chain(buffers.iter().copied()).collect();
        let group = self.device.bind(kernel, &all)?;
        self.words.resize(self.ops.len() * self.kernels.stride as usize / 4, 0);
        self.words.extend(parameters);
        self.ops.push(Op::Pass { pass, group, groups });
        Ok(())
    }

    /// One invocation for each of `count` elements, whose number is the pass's first parameter.
    pub fn each(&mut self, pass: Pass, count: usize, buffers: &[&wgpu::Buffer], parameters: &[u32]) -> Result<()> {
        let groups = (count as u32).div_ceil(SIDE);
        let across = groups.min(MOST_GROUPS);
        let parameters: Vec<u32> = [count as u32].iter().chain(parameters).copied().collect();
        self.pass(pass, buffers, &parameters, [across, groups.div_ceil(across.max(1))])
    }

    /// c = alpha a b + beta c; a: rows x inner, b: inner x columns, c: rows x columns, row-major and dense.
    pub fn product(&mut self, [rows, inner, columns]: [usize; 3], ab: [View; 2], c: View, [alpha, beta]: [f32; 2]) -> Result<()> {
        let [rows, inner, columns] = [rows as u32, inner as u32, columns as u32];
        let [a, b] = ab;
        for first in (0..inner).step_by(INNER as usize) {
            let beta = if first == 0 { beta } else { 1.0 };
            let own = [rows, columns, INNER.min(inner - first)];
            let of_a = [a.first + first * a.column, a.row, a.column];
            let of_b = [b.first + first * b.row, b.row, b.column];
            let rest = [c.first, alpha.to_bits(), beta.to_bits()];
            let parameters = [own, of_a, of_b, rest].concat();
            let groups = [columns.div_ceil(SIDE), rows.div_ceil(SIDE)];
            self.pass(Pass::Product, &[a.buffer, b.buffer, c.buffer], &parameters, groups)?;
        }
        Ok(())
    }

    pub fn copy(&mut self, from: &wgpu::Buffer, to: &wgpu::Buffer, values: usize) {
        self.ops.push(Op::Copy { from: from.clone(), to: to.clone(), bytes: 4 * values as u64 });
    }

    /// Uploads the parameters.
    pub fn finish(self) -> Result<Recorded> {
        self.device.write(&self.uniforms, 0, &self.words)?;
        Ok(Recorded { ops: self.ops })
    }
}

/// A list of passes to be carried out any number of times.
pub struct Recorded {
    ops: Vec<Op>,
}

impl Recorded {
    /// Everything once, for batch `slot` of those uploaded; one submission.
    pub fn run(&self, device: &Device, kernels: &Kernels, slot: usize) {
        let mut encoder = device.raw.create_command_encoder(&Default::default());
        let mut ops = self.ops.iter().enumerate().peekable();
        while ops.peek().is_some() {
            {
                let mut compute = encoder.begin_compute_pass(&Default::default());
                while let Some((i, Op::Pass { pass, group, groups })) = ops.peek() {
                    compute.set_pipeline(&kernels.all[*pass as usize].pipeline);
                    let offsets = [*i as u32, slot as u32].map(|n| n * kernels.stride as u32);
                    compute.set_bind_group(0, group, &offsets);
                    compute.dispatch_workgroups(groups[0], groups[1], 1);
                    ops.next();
                }
            }
            while let Some((_, Op::Copy { from, to, bytes })) = ops.peek() {
                encoder.copy_buffer_to_buffer(from, 0, to, 0, *bytes);
                ops.next();
            }
        }
        device.queue.submit([encoder.finish()]);
    }
}
