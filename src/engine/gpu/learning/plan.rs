//! The passes of a batch in their order, and the buffers they share. Promises the order of [`crate::learning::local`]: all factors
//! before any weight changes. Knows buffers and passes; no protection but through its links.

use super::super::device::Device;
use super::links::{Guard, Held, apply};
use super::record::{List, MOST_BATCHES, Pass, Recorded, RunOp, SignalOp, StepOp, View};
use super::{GpuNetwork, values, words};
use crate::error::{Error, Result};
use crate::learning::local::{Eligibility, Network, Optimiser, Outcome, Samples, Signal};
use crate::network::footprint;
use wgpu::{Buffer, BufferUsages as Usage};

/// What a hidden layer did; buffers of 4 bytes where nothing is kept.
struct Activity {
    spikes: Buffer,
    rate: Buffer,
    drive: Buffer,
    slope: Buffer,
    trace: Buffer,
    signal: Buffer,
    /// Errors of its local readout.
    error: Buffer,
}

/// Buffers of a batch, for one stretch of batches.
pub struct Work {
    step_wise: bool,
    items: Buffer,
    labels: Buffer,
    outcomes: Buffer,
    /// Spikes of every batch.
    counts: Buffer,
    /// 1 where a weight became no number.
    status: Buffer,
    inputs: Buffer,
    current: Buffer,
    activities: Vec<Activity>,
    error: Buffer,
    /// Postsynaptic factors of every step.
    factors: Buffer,
    /// Weights of the steps, and those for constant inputs, whose trace rises.
    weights: Buffer,
    rises: Buffer,
    gradient: Buffer,
    between: Buffer,
    scratch: [Buffer; 2],
}

impl Work {
    /// Buffers for batches of at most `batch` presentations.
    pub fn new(device: &Device, network: &Network, batch: usize, guard: Option<&Guard>) -> Result<Self> {
        let settings = network.settings();
        let (sizes, steps) = (&settings.sizes, settings.steps);
        let (hidden, classes) = (sizes.len() - 2, sizes[sizes.len() - 1]);
        let learns = guard.is_some();
        let step_wise = learns && settings.eligibility == Eligibility::Step;
        let widest = |sizes: &[usize]| sizes.iter().copied().max().unwrap_or(0);
        let rows = |l: usize| if step_wise && l > 0 && l < hidden { batch * steps } else { batch };
        let held = |l: usize| guard.map_or(&[][..], |g| g.of(l));
        let uploaded = MOST_BATCHES * batch;
        let (mut between, mut scratch, mut gradient) = (0, 0, 0);
        for l in (0..=hidden).filter(|_| learns) {
            gradient = gradient.max(sizes[l] * sizes[l + 1]);
            for link in held(l) {
                let (map, rows) = match link {
                    Held::Factors(map) => (map, rows(l)),
                    Held::Steps(map) => (map, sizes[l + 1]),
                    _ => continue,
                };
                between = between.max(rows * map.width());
                scratch = scratch.max(rows * sizes[l]);
            }
        }
        let current = (batch * sizes[1]).max(batch * steps * widest(&sizes[2..=hidden]));
        let kept = |keep: bool, values: usize| if keep { values } else { 0 };
        let above = |l: usize| l + 1 < hidden;
        let layer = |l: usize| {
            let n = batch * sizes[l + 1];
            let local = learns && above(l) && matches!(settings.signal, Signal::LocalReadouts { .. });
            let many = n * steps;
            [
                kept(above(l), many),
                n,
                n,
                kept(step_wise, many),
                kept(step_wise && above(l), many),
                n,
                kept(local, batch * classes),
            ]
        };
        let factors = kept(step_wise, rows(1.min(hidden)).max(batch) * widest(&sizes[1..=hidden]));
        let single = [
            2 * uploaded,
            uploaded,
            2 * uploaded,
            MOST_BATCHES,
            1,
            batch * sizes[0],
            current,
            batch * classes,
            factors,
            steps,
            steps,
            gradient,
            between,
            scratch,
            scratch,
        ];
        let layers: Vec<[usize; 7]> = (0..hidden).map(layer).collect();
        let refused = |what: Error| {
            let remedy = "use smaller batches or layers, another --device, or --engine cpu".to_string();
            match what {
                Error::Memory { message, .. } => Error::Memory { message, remedy },
                other => other,
            }
        };
        let needs: Vec<(&str, u64)> = single.iter().chain(layers.iter().flatten()).map(|n| ("a batch", 4 * *n as u64)).collect();
        let free = (!device.info.real).then(footprint::available).flatten();
        device.check_needs(&needs, free).map_err(refused)?;
        let usage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;
        let new = |values: usize| device.buffer("a batch", 4 * values as u64, usage);
        let mut activities = vec![];
        for [spikes, rate, drive, slope, trace, signal, error] in layers {
            activities.push(Activity {
                spikes: new(spikes)?,
                rate: new(rate)?,
                drive: new(drive)?,
                slope: new(slope)?,
                trace: new(trace)?,
                signal: new(signal)?,
                error: new(error)?,
            });
        }
        let mut single = single.into_iter().map(new);
        let mut next = || single.next().unwrap_or_else(|| new(0));
        let work = Work {
            step_wise,
            items: next()?,
            labels: next()?,
            outcomes: next()?,
            counts: next()?,
            status: next()?,
            inputs: next()?,
            current: next()?,
            activities,
            error: next()?,
            factors: next()?,
            weights: next()?,
            rises: next()?,
            gradient: next()?,
            between: next()?,
            scratch: [next()?, next()?],
        };
        let (kernel, _) = network.kernel();
        let rises: Vec<f32> = kernel.iter().enumerate().map(|(t, k)| k * (1.0 - settings.leak.powi(t as i32 + 1))).collect();
        device.write(&work.weights, 0, words(&kernel))?;
        device.write(&work.rises, 0, words(&rises))?;
        Ok(work)
    }

    /// Names the presentations of the next batches.
    pub fn send(&self, device: &Device, images: &Images, chosen: &[u32]) -> Result<()> {
        let items: Vec<[u32; 2]> = chosen.iter().map(|item| images.place(*item)).collect();
        let labels: Vec<u32> = chosen.iter().map(|item| images.label(*item)).collect();
        device.write(&self.items, 0, items.as_flattened())?;
        device.write(&self.labels, 0, &labels)?;
        device.write(&self.counts, 0, &[0; MOST_BATCHES])?;
        device.write(&self.status, 0, &[0])
    }

    /// What the batches showed, and whether a weight became no number.
    pub fn receive(&self, device: &Device, presentations: usize, batches: usize) -> Result<(Outcome, bool)> {
        let n = presentations as u64;
        let read = device.read(&[(&self.outcomes, 0, 2 * n), (&self.counts, 0, batches as u64), (&self.status, 0, 1)])?;
        let mut outcome = Outcome { presentations, ..Outcome::default() };
        for pair in values(&read[0]).chunks_exact(2) {
            outcome.loss += pair[0] as f64;
            outcome.correct += (pair[1] == 1.0) as usize;
        }
        outcome.spikes = read[1].iter().map(|n| u64::from(*n)).sum();
        Ok((outcome, read[2][0] != 0))
    }
}

/// Images on the device, and the ways they are seen: item i of all is sample i less the counts of the views before its own.
pub struct Images<'a> {
    views: &'a [Samples<'a>],
    /// Of every view: its first item, and the first image of its pixels.
    starts: Vec<[usize; 2]>,
    pixels: Buffer,
    permutations: Buffer,
    shades: Buffer,
}

impl<'a> Images<'a> {
    /// Uploads pixels, once where several views share them.
    pub fn new(device: &Device, views: &'a [Samples<'a>]) -> Result<Self> {
        let (mut pixels, mut starts, mut count): (Vec<&[u8]>, _, _) = (vec![], vec![], 0);
        for view in views {
            let shared = pixels.iter().position(|p| std::ptr::eq(*p, view.pixels)).unwrap_or(pixels.len());
            starts.push([count, pixels[..shared].iter().map(|p| p.len() / view.size).sum()]);
            if shared == pixels.len() {
                pixels.push(view.pixels);
            }
            count += view.labels.len();
        }
        let bytes: u64 = pixels.iter().map(|p| p.len() as u64).sum();
        device.check_needs(&[("the images", bytes)], None).map_err(|what| match what {
            Error::Memory { message, .. } => {
                Error::Memory { message, remedy: "use fewer images, another --device, or --engine cpu".to_string() }
            }
            other => other,
        })?;
        let mut bytes = pixels.concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let pixels: Vec<u32> = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let permutation = |view: &Samples| view.permutation.map_or_else(|| (0..view.size as u32).collect(), <[u32]>::to_vec);
        let permutations: Vec<u32> = views.iter().flat_map(permutation).collect();
        let shades: Vec<f32> = views.iter().flat_map(|view| (0..=255).map(|p| view.current(p))).collect();
        Ok(Images {
            views,
            starts,
            pixels: device.storage("the images", &pixels)?,
            permutations: device.storage("permutations", &permutations)?,
            shades: device.storage("currents of pixels", words(&shades))?,
        })
    }

    fn view(&self, item: u32) -> usize {
        self.starts.partition_point(|s| s[0] <= item as usize) - 1
    }

    /// Image and view.
    fn place(&self, item: u32) -> [u32; 2] {
        let view = self.view(item);
        let [first, image] = self.starts[view];
        [(item as usize - first + image) as u32, view as u32]
    }

    fn label(&self, item: u32) -> u32 {
        let view = self.view(item);
        self.views[view].labels[item as usize - self.starts[view][0]].into()
    }
}

/// A batch of `batch` presentations: shown, and learnt where there is a guard.
pub fn list(gpu: &GpuNetwork, images: &Images, work: &Work, batch: usize, guard: Option<&Guard>) -> Result<Recorded> {
    let mut plan = Plan { gpu, images, work, batch, list: List::new(&gpu.device, &gpu.kernels)? };
    plan.forward()?;
    if let Some(guard) = guard {
        plan.signals()?;
        plan.learn(guard)?;
    }
    plan.list.finish()
}

struct Plan<'a> {
    gpu: &'a GpuNetwork,
    images: &'a Images<'a>,
    work: &'a Work,
    batch: usize,
    list: List<'a>,
}

impl Plan<'_> {
    fn hidden(&self) -> usize {
        self.work.activities.len()
    }

    fn classes(&self) -> usize {
        self.gpu.matrices[self.hidden()].outputs
    }

    /// c (rows x outputs) = x (rows x inputs) times a transposed weight matrix.
    fn through(&mut self, x: &Buffer, matrix: usize, rows: usize, c: &Buffer) -> Result<()> {
        let m = &self.gpu.matrices[matrix];
        let weight = View::new(&m.weight, m.inputs).transposed();
        self.list.product([rows, m.inputs, m.outputs], [View::new(x, m.inputs), weight], View::new(c, m.outputs), [1.0, 0.0])
    }

    /// c (rows x inputs) = x (rows x outputs) times a weight matrix.
    fn back(&mut self, x: &Buffer, matrix: usize, c: &Buffer) -> Result<()> {
        let (m, rows) = (&self.gpu.matrices[matrix], self.batch);
        let ab = [View::new(x, m.outputs), View::new(&m.weight, m.inputs)];
        self.list.product([rows, m.outputs, m.inputs], ab, View::new(c, m.inputs), [1.0, 0.0])
    }

    fn forward(&mut self) -> Result<()> {
        let (work, batch) = (self.work, self.batch);
        let settings = self.gpu.settings();
        let (steps, inputs) = (settings.steps, settings.sizes[0]);
        let (_, total) = self.gpu.network.kernel();
        let Images { pixels, permutations, shades, .. } = self.images;
        let gathered = [pixels, &work.items, permutations, shades, &work.inputs];
        let op = SignalOp { count: (batch * inputs) as u32, width: inputs as u32, steps: 0, mode: 0 };
        self.list.each(Pass::Gather, &gathered, op.words())?;
        for (l, own) in work.activities.iter().enumerate() {
            let neurons = settings.sizes[l + 1];
            let above = l + 1 < self.hidden();
            match l {
                0 => self.through(&work.inputs, 0, batch, &work.current)?,
                _ => self.through(&work.activities[l - 1].spikes, l, batch * steps, &work.current)?,
            }
            let keep = [l > 0, above, work.step_wise, work.step_wise && above];
            let keep = keep.iter().enumerate().map(|(bit, k)| (*k as u32) << bit).sum::<u32>();
            let (leak, threshold, count) = (settings.leak, settings.threshold, (batch * neurons) as u32);
            let op = RunOp { count, neurons: neurons as u32, steps: steps as u32, keep, leak, threshold, total, unused: 0 };
            let buffers = [&work.current, &own.spikes, &own.rate, &own.drive, &own.slope, &own.trace, &work.counts];
            self.list.each(Pass::Run, &buffers, op.words())?;
        }
        let top = self.hidden();
        self.errors(&work.activities[top - 1].rate, top, &work.error, true)
    }

    /// Errors of a readout of rates.
    fn errors(&mut self, rate: &Buffer, matrix: usize, error: &Buffer, told: bool) -> Result<()> {
        self.through(rate, matrix, self.batch, error)?;
        let buffers = [&self.work.labels, error, &self.work.outcomes];
        let op = SignalOp { count: self.batch as u32, width: self.classes() as u32, steps: 0, mode: told as u32 };
        self.list.each(Pass::Errors, &buffers, op.words())
    }

    /// Learning signals of the hidden layers.
    fn signals(&mut self) -> Result<()> {
        let (work, hidden, classes, batch) = (self.work, self.hidden(), self.classes(), self.batch);
        for (l, own) in work.activities.iter().enumerate().rev() {
            let last = l + 1 == hidden;
            match self.gpu.settings().signal {
                Signal::Broadcast => {
                    let n = self.gpu.matrices[l].outputs;
                    let feedback = View::new(&self.gpu.feedback[l], classes).transposed();
                    let ab = [View::new(&work.error, classes), feedback];
                    self.list.product([batch, classes, n], ab, View::new(&own.signal, n), [1.0, 0.0])?;
                }
                Signal::Symmetric if !last => self.back(&work.activities[l + 1].signal, l + 1, &own.signal)?,
                Signal::LocalReadouts { .. } if !last => {
                    self.errors(&own.rate, hidden + 1 + l, &own.error, false)?;
                    self.back(&own.error, hidden + 1 + l, &own.signal)?;
                }
                _ => self.back(&work.error, hidden, &own.signal)?,
            }
        }
        Ok(())
    }

    fn learn(&mut self, guard: &Guard) -> Result<()> {
        let (work, hidden, batch) = (self.work, self.hidden(), self.batch);
        let steps = self.gpu.settings().steps;
        for (l, own) in work.activities.iter().enumerate() {
            let n = self.gpu.matrices[l].outputs;
            let op = SignalOp { count: (batch * n) as u32, width: n as u32, steps: steps as u32, mode: (l == 0) as u32 };
            let (d, rows) = if work.step_wise {
                let rows = if l == 0 { batch } else { batch * steps };
                let weights = if l == 0 { &work.rises } else { &work.weights };
                let buffers = [&own.slope, &own.signal, weights, &work.factors];
                self.list.each(Pass::Spread, &buffers, op.words())?;
                (&work.factors, rows)
            } else {
                self.list.each(Pass::Gate, &[&own.drive, &own.signal], op.words())?;
                (&own.signal, batch)
            };
            let x = match l {
                0 => &work.inputs,
                _ if work.step_wise => &work.activities[l - 1].trace,
                _ => &work.activities[l - 1].rate,
            };
            self.change(l, d, x, rows, guard.of(l))?;
        }
        self.change(hidden, &work.error, &work.activities[hidden - 1].rate, batch, guard.of(hidden))?;
        for (l, own) in work.activities[..hidden - 1].iter().enumerate() {
            if self.gpu.learns(hidden + 1 + l) && hidden + 1 + l < self.gpu.matrices.len() {
                self.change(hidden + 1 + l, &own.error, &own.rate, batch, &[])?;
            }
        }
        Ok(())
    }

    /// A matrix learns from the factors `d` (rows x outputs) and `x` (rows x inputs).
    fn change(&mut self, matrix: usize, d: &Buffer, x: &Buffer, rows: usize, links: &[Held]) -> Result<()> {
        let (work, m) = (self.work, &self.gpu.matrices[matrix]);
        let list = &mut self.list;
        let mut x = x;
        let maps = links.iter().filter_map(|link| if let Held::Factors(map) = link { Some(map) } else { None });
        for (map, to) in maps.zip(work.scratch.iter().cycle()) {
            map.record(list, [x, &work.between, to], rows, m.inputs)?;
            x = to;
        }
        let ab = [View::new(d, m.outputs).transposed(), View::new(x, m.inputs)];
        let gradient = View::new(&work.gradient, m.inputs);
        list.product([m.outputs, rows, m.inputs], ab, gradient, [1.0 / self.batch as f32, 0.0])?;
        let (mode, momentum) = match self.gpu.settings().optimiser {
            Optimiser::Sgd { momentum, .. } => (0, momentum),
            Optimiser::Adam { .. } => (1, 0.0),
        };
        let op = StepOp { count: (m.inputs * m.outputs) as u32, mode, x: momentum, y: 0.0 };
        list.each(Pass::Optimise, &[&work.gradient, &m.first, &m.second], op.words())?;
        let scratch = [&work.between, &work.scratch[0]];
        apply(list, links, [&work.gradient, &m.weight, &work.status], scratch, [m.outputs, m.inputs])
    }
}
