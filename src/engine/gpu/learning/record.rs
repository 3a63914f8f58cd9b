//! Passes of local learning as a list that is written once and carried out at every batch: kernels, dense products, element-wise
//! passes. Promises the order in which they were added. Knows matrices as buffers; no network.

use super::super::device::{Device, Kernel, MOST_ITERATIONS, device_error};
use super::super::reflect::mirrored;
use crate::error::Result;

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

mirrored! {
    /// The numbers of a batch.
    pub struct Batch = "learning" Batch {
        first: u32,
        slot: u32,
        rate: f32,
        first_part: f32,
        second_part: f32,
        time_low: u32,
        time_high: u32,
        updates: u32,
    }
}

mirrored! {
    /// Of [`Pass::Product`].
    pub struct Product = "product" Product {
        rows: u32,
        columns: u32,
        inner: u32,
        a_first: u32,
        a_row: u32,
        a_column: u32,
        b_first: u32,
        b_row: u32,
        b_column: u32,
        c_first: u32,
        alpha: f32,
        beta: f32,
    }
}

mirrored! {
    /// Of [`Pass::Run`].
    pub struct RunOp = "layer" Layer {
        count: u32,
        neurons: u32,
        steps: u32,
        keep: u32,
        leak: f32,
        threshold: f32,
        total: f32,
        unused: u32,
    }
}

mirrored! {
    /// Of the passes from presentations to factors.
    pub struct SignalOp = "signal" Signal {
        count: u32,
        width: u32,
        steps: u32,
        mode: u32,
    }
}

mirrored! {
    /// Of the passes from gradients to weights.
    pub struct StepOp = "step" Step {
        count: u32,
        mode: u32,
        x: f32,
        y: f32,
    }
}

mirrored! {
    /// Of [`Pass::Posterior`].
    pub struct PosteriorOp = "posterior" Posterior {
        count: u32,
        weights: u32,
        rule: u32,
        key_low: u32,
        key_high: u32,
        scale: f32,
        rate_mean: f32,
        rate_deviation: f32,
        pull: f32,
        prior_mean: f32,
        prior_variance: f32,
        clip: f32,
    }
}

#[cfg(test)]
pub const MIRRORS: &[super::super::reflect::Mirror] =
    &[Batch::MIRROR, Product::MIRROR, RunOp::MIRROR, SignalOp::MIRROR, StepOp::MIRROR, PosteriorOp::MIRROR];

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
    pub const ALL: [Pass; 11] = [
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

    /// Entry point and text. Bindings 0 and 1 are the numbers of the pass and of the batch.
    fn kernel(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Pass::Product => ("product", &[PRODUCT]),
            Pass::Run => ("run", &[COMMON, LAYER, FLUSH]),
            Pass::Gather => ("gather", &[COMMON, SIGNAL]),
            Pass::Errors => ("errors", &[COMMON, SIGNAL, EXP, LOG]),
            Pass::Gate => ("gate", &[COMMON, SIGNAL]),
            Pass::Spread => ("spread", &[COMMON, SIGNAL]),
            Pass::Optimise => ("optimise", &[COMMON, STEP, FLUSH]),
            Pass::Metaplastic => ("metaplastic", &[COMMON, STEP, FLUSH, EXP, LOG]),
            Pass::Hold => ("hold", &[COMMON, STEP, FLUSH]),
            Pass::Apply => ("apply", &[COMMON, STEP, FLUSH]),
            Pass::Posterior => ("posterior", &[COMMON, PHILOX, NORMAL, LOG, POSTERIOR]),
        }
    }
}

/// The text of every pass, and its entry point.
pub fn kernels() -> impl Iterator<Item = (&'static str, String)> {
    Pass::ALL.iter().map(|pass| (pass.kernel().0, pass.kernel().1.join("\n")))
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
        let compile = |pass: &Pass| {
            let (entry, text) = pass.kernel();
            device.kernel(entry, &text.join("\n"), entry, &[])
        };
        let all = Pass::ALL.iter().map(compile).collect::<Result<_>>()?;
        let stride = u64::from(device.limits.min_uniform_buffer_offset_alignment).max(64);
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let batches = device.buffer("numbers of batches", stride * MOST_BATCHES as u64, usage)?;
        Ok(Kernels { all, batches, stride })
    }

    /// Uploads the numbers of some batches.
    pub fn set_batches(&self, device: &Device, batches: &[Batch]) -> Result<()> {
        let mut words = vec![0; self.stride as usize / 4 * batches.len()];
        for (own, batch) in words.chunks_exact_mut(self.stride as usize / 4).zip(batches) {
            own[..Batch::WORDS].copy_from_slice(batch.words());
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

    /// One invocation for each of the elements whose number is the first of the pass's numbers `op`.
    pub fn each(&mut self, pass: Pass, buffers: &[&wgpu::Buffer], op: &[u32]) -> Result<()> {
        let groups = op[0].div_ceil(SIDE);
        let across = groups.min(MOST_GROUPS);
        self.pass(pass, buffers, op, [across, groups.div_ceil(across.max(1))])
    }

    /// c = alpha a b + beta c; a: rows x inner, b: inner x columns, c: rows x columns, row-major and dense.
    pub fn product(&mut self, [rows, inner, columns]: [usize; 3], ab: [View; 2], c: View, [alpha, beta]: [f32; 2]) -> Result<()> {
        let [rows, inner, columns] = [rows as u32, inner as u32, columns as u32];
        let [a, b] = ab;
        for first in (0..inner).step_by(INNER as usize) {
            let beta = if first == 0 { beta } else { 1.0 };
            let op = Product {
                rows,
                columns,
                inner: INNER.min(inner - first),
                a_first: a.first + first * a.column,
                a_row: a.row,
                a_column: a.column,
                b_first: b.first + first * b.row,
                b_row: b.row,
                b_column: b.column,
                c_first: c.first,
                alpha,
                beta,
            };
            let groups = [columns.div_ceil(SIDE), rows.div_ceil(SIDE)];
            self.pass(Pass::Product, &[a.buffer, b.buffer, c.buffer], op.words(), groups)?;
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
                    compute.set_bind_group(0, group, &kernels.all[*pass as usize].offsets(&offsets));
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
