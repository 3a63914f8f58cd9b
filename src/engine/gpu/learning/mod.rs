//! Local learning on a GPU: a [`Network`] whose weights and optimiser live on the device, and projection of factors there. Promises the
//! weights of the cpu within f32 rounding: currents from spikes are the same sums in the same order; dense products sum in another
//! order and a driver may fuse a product and a sum, so a potential within rounding of the threshold can spike there and not here.
//! Knows nothing of tasks.
//!
//! Images stay on the device, a byte a pixel. A batch of B presentations uploads 12 B + 32 bytes (which images, labels, rate) and reads
//! back 8 B + 4 (losses, hits, spikes), up to 32 batches at a time; each is one submission. Its multiply-adds, with S steps, N_l the layers' neurons (N_0 inputs), r_l the rank projected
//! away: forward B (N_0 N_1 + S sum N_l N_l+1), learning B sum N_l N_l+1 by the factors of presentations (S times that by steps) and
//! 2 B r_l N_l for a projection. Steps and moments pass 20 bytes a weight through memory (Adam 28).

mod links;
mod plan;
mod project;
mod record;
#[cfg(test)]
mod twins;

pub use project::Projections;
#[cfg(test)]
pub use record::MIRRORS;
pub use record::kernels;

use super::device::{Device, MOST_ITERATIONS};
use crate::error::{Error, Result};
use crate::learning::local::{Network, Optimiser, Outcome, Samples, Settings, Signal};
use crate::learning::{Layer, Protection};
use links::Guard;
use plan::{Images, Work};
use record::{Batch, Kernels, MOST_BATCHES};
use std::time::{Duration, Instant};

/// Batches are uploaded together as long as that takes less than this.
const PATIENCE: Duration = Duration::from_millis(200);
/// Presentations at a time without learning.
const TEST_BATCH: usize = 256;

/// A matrix that learns, on the device.
struct Matrix {
    inputs: usize,
    outputs: usize,
    weight: wgpu::Buffer,
    first: wgpu::Buffer,
    second: wgpu::Buffer,
}

/// A network that learns on a device.
pub struct GpuNetwork {
    network: Network,
    device: Device,
    kernels: Kernels,
    /// The layers, then the local readouts.
    matrices: Vec<Matrix>,
    /// Fixed random feedback, where the signal is broadcast.
    feedback: Vec<wgpu::Buffer>,
    host_is_newer: bool,
    device_is_newer: bool,
}

fn words(values: &[f32]) -> &[u32] {
    bytemuck::cast_slice(values)
}

/// What comes back from `Device::read`, as numbers.
fn values(words: &[u32]) -> &[f32] {
    bytemuck::cast_slice(words)
}

impl GpuNetwork {
    /// Opens the device of index or partial name `device` (none: the best there is) and takes the network there.
    ///
    /// # Errors
    /// No usable device; a matrix larger than a kernel can see; more steps than a driver may loop.
    pub fn new(mut network: Network, device: Option<&str>) -> Result<Self> {
        let steps = network.settings().steps;
        if steps as u64 > MOST_ITERATIONS {
            let message = format!("a presentation of {steps} steps, the gpu takes {MOST_ITERATIONS}");
            return Err(Error::input(message, "use fewer steps, or --engine cpu"));
        }
        let device = Device::open(device)?;
        let kernels = Kernels::new(&device)?;
        let adam = matches!(network.settings().optimiser, Optimiser::Adam { .. });
        let mut matrices = vec![];
        for learned in network.learned() {
            let Layer { inputs, outputs, ref weight } = *learned.layer;
            let zeros = vec![0; weight.len()];
            matrices.push(Matrix {
                inputs,
                outputs,
                weight: device.storage(&learned.name, words(weight))?,
                first: device.storage("first moments", &zeros)?,
                second: device.storage("second moments", if adam { &zeros } else { &[0] })?,
            });
        }
        let broadcast = network.settings().signal == Signal::Broadcast;
        let feedback = network.feedback().iter().filter(|_| broadcast);
        let feedback = feedback.map(|b| device.storage("feedback", words(&b.weight))).collect::<Result<_>>()?;
        Ok(GpuNetwork { network, device, kernels, matrices, feedback, host_is_newer: true, device_is_newer: false })
    }

    /// What the network was made with.
    pub fn settings(&self) -> &Settings {
        self.network.settings()
    }

    /// Name of the device.
    pub fn device(&self) -> &str {
        &self.device.info.name
    }

    /// The network as it is now, read back where the device has learnt since; what is changed in it is uploaded before the next use.
    pub fn network(&mut self) -> Result<&mut Network> {
        if self.device_is_newer {
            self.read_back()?;
        }
        self.host_is_newer = true;
        Ok(&mut self.network)
    }

    /// The network as it is now, read back; the device is let go.
    pub fn into_network(mut self) -> Result<Network> {
        self.network()?;
        Ok(self.network)
    }

    /// As [`Network::set_rate`]; nothing is read back.
    pub fn set_rate(&mut self, new: f32) {
        self.network.set_rate(new);
    }

    /// As [`Network::end_task`]; the protection learns on the host.
    pub fn end_task(&mut self, inputs: &[f32], protection: &mut dyn Protection) -> Result<()> {
        self.network()?.end_task(inputs, protection)
    }

    /// Another network in place of this one.
    ///
    /// # Errors
    /// Settings other than rate, seed and gain that differ: kernels and buffers are made for this one's.
    pub fn set(&mut self, network: Network) -> Result<()> {
        let shape = |s: &Settings| {
            let adam = matches!(s.optimiser, Optimiser::Adam { .. });
            (s.sizes.clone(), s.steps, s.signal, s.eligibility, adam)
        };
        if shape(network.settings()) != shape(self.settings()) {
            return Err(Error::input("another network than the one taken to the gpu", "take it there by itself"));
        }
        (self.network, self.host_is_newer, self.device_is_newer) = (network, true, false);
        Ok(())
    }

    /// As [`Network::train`]. Progress is told after some batches at a time; where it ends the run, all batches told have been learnt,
    /// and no others. Refused before anything is learnt: protections that only know the cpu.
    pub fn train(
        &mut self,
        samples: &Samples,
        order: &[u32],
        batch: usize,
        protection: Option<&mut dyn Protection>,
        progress: &mut dyn FnMut(&Outcome) -> Result<()>,
    ) -> Result<Outcome> {
        let (Optimiser::Sgd { rate, .. } | Optimiser::Adam { rate }) = self.settings().optimiser;
        self.learn(&[*samples], order, batch, &|_| rate, protection, &mut |sum| progress(sum).map(|()| true))
    }

    /// Learn items of several tasks once in the given order: the second task's samples are counted on from the first's. Batch k is learnt
    /// at `rate(k)`. Images, which tasks may share, are uploaded once, the protections' matrices too. `go_on` is told the sum so
    /// far after some batches at a time; where it says no, what was told is what was learnt.
    pub fn learn(
        &mut self,
        tasks: &[Samples],
        order: &[u32],
        batch: usize,
        rate: &dyn Fn(usize) -> f32,
        protection: Option<&mut dyn Protection>,
        go_on: &mut dyn FnMut(&Outcome) -> Result<bool>,
    ) -> Result<Outcome> {
        self.check(tasks, order)?;
        let mut none = crate::learning::Unprotected;
        let protection = protection.unwrap_or(&mut none);
        let guard = Guard::new(&self.device, self.network.layers(), protection)?;
        let result = self.present(tasks, order, batch, Some((&guard, rate)), go_on);
        let kept = guard.keep(&self.device, protection);
        result.and_then(|outcome| kept.map(|()| outcome))
    }

    /// As [`Network::evaluate`].
    pub fn evaluate(&mut self, samples: &Samples) -> Result<Outcome> {
        let all: Vec<u32> = (0..samples.labels.len() as u32).collect();
        let samples = [*samples];
        self.check(&samples, &all)?;
        self.present(&samples, &all, TEST_BATCH, None, &mut |_| Ok(true))
    }

    fn check(&self, tasks: &[Samples], order: &[u32]) -> Result<()> {
        tasks.iter().try_for_each(|samples| self.network.check_samples(samples))?;
        let count: usize = tasks.iter().map(|t| t.labels.len()).sum();
        match order.iter().find(|i| **i as usize >= count) {
            Some(i) => Err(Error::input(format!("sample {i} of {count}"), "give an order of the samples there are")),
            None => Ok(()),
        }
    }

    fn present(
        &mut self,
        tasks: &[Samples],
        order: &[u32],
        batch: usize,
        learning: Option<(&Guard, &dyn Fn(usize) -> f32)>,
        go_on: &mut dyn FnMut(&Outcome) -> Result<bool>,
    ) -> Result<Outcome> {
        let mut total = Outcome::default();
        if order.is_empty() {
            return Ok(total);
        }
        self.upload()?;
        let batch = batch.clamp(1, order.len());
        let guard = learning.map(|l| l.0);
        let images = Images::new(&self.device, tasks)?;
        let work = Work::new(&self.device, &self.network, batch, guard)?;
        let list = |presentations| plan::list(self, &images, &work, presentations, guard);
        let full = list(batch)?;
        let rest = if order.len() % batch > 0 { Some(list(order.len() % batch)?) } else { None };
        let (mut at, mut most) = (0, 1);
        while at < order.len() {
            let begun = Instant::now();
            let chosen = &order[at..order.len().min(at + most * batch)];
            work.send(&self.device, &images, chosen)?;
            let batches = chosen.len().div_ceil(batch);
            let mut numbers = vec![];
            for slot in 0..batches {
                if let Some((_, rate)) = learning {
                    self.network.set_rate(rate(at / batch + slot));
                }
                numbers.push(self.numbers(slot, batch, guard));
            }
            self.kernels.set_batches(&self.device, &numbers)?;
            for (slot, part) in chosen.chunks(batch).enumerate() {
                let list = if part.len() == batch { &full } else { rest.as_ref().unwrap_or(&full) };
                list.run(&self.device, &self.kernels, slot);
            }
            if let Some(guard) = guard {
                self.device_is_newer = true;
                count_steps(&mut self.network, batches);
                guard.count(batches);
            }
            let (outcome, unsound) = work.receive(&self.device, chosen.len(), batches)?;
            if unsound {
                return Err(self.unsound());
            }
            total.add(&outcome);
            at += chosen.len();
            if !go_on(&total)? {
                break;
            }
            most = if begun.elapsed() < PATIENCE { MOST_BATCHES.min(2 * most) } else { (most / 2).max(1) };
        }
        Ok(total)
    }

    /// The numbers of the batch after `slot` others.
    fn numbers(&self, slot: usize, batch: usize, guard: Option<&Guard>) -> Batch {
        let (rate, [first_part, second_part]) = match self.settings().optimiser {
            Optimiser::Sgd { rate, .. } => (rate, [1.0; 2]),
            Optimiser::Adam { rate } => {
                let steps = self.network.adam_steps().saturating_add(slot as i32 + 1);
                (rate, [1.0 - 0.9f32.powi(steps), 1.0 - 0.999f32.powi(steps)])
            }
        };
        let (time, updates) = guard.map_or((0, false), |g| g.clock(slot));
        let (time_low, time_high) = (time as u32, (time >> 32) as u32);
        let (first, slot) = ((slot * batch) as u32, slot as u32);
        Batch { first, slot, rate, first_part, second_part, time_low, time_high, updates: updates as u32 }
    }

    fn learns(&self, matrix: usize) -> bool {
        learns(self.settings(), matrix)
    }

    fn upload(&mut self) -> Result<()> {
        if !self.host_is_newer {
            return Ok(());
        }
        let adam = matches!(self.settings().optimiser, Optimiser::Adam { .. });
        for (learned, matrix) in self.network.learned().into_iter().zip(&self.matrices) {
            let moments =
                |values: &[f32]| if values.is_empty() { vec![0; learned.layer.weight.len()] } else { words(values).to_vec() };
            self.device.write(&matrix.weight, 0, words(&learned.layer.weight))?;
            self.device.write(&matrix.first, 0, &moments(learned.first))?;
            if adam {
                self.device.write(&matrix.second, 0, &moments(learned.second))?;
            }
        }
        self.host_is_newer = false;
        Ok(())
    }

    fn read_back(&mut self) -> Result<()> {
        let settings = self.settings().clone();
        let adam = matches!(settings.optimiser, Optimiser::Adam { .. });
        for (m, (learned, matrix)) in self.network.learned().into_iter().zip(&self.matrices).enumerate() {
            if !learns(&settings, m) {
                continue;
            }
            let n = (matrix.inputs * matrix.outputs) as u64;
            let second = if adam { n } else { 0 };
            let read = self.device.read(&[(&matrix.weight, 0, n), (&matrix.first, 0, n), (&matrix.second, 0, second)])?;
            learned.layer.weight.copy_from_slice(values(&read[0]));
            (*learned.first, *learned.second) = (values(&read[1]).to_vec(), values(&read[2]).to_vec());
        }
        self.device_is_newer = false;
        Ok(())
    }

    /// The first weight that became no number.
    fn unsound(&mut self) -> Error {
        let named = self
            .network()
            .and_then(|network| network.learned().into_iter().try_for_each(|learned| learned.layer.check_finite(&learned.name)));
        named.err().unwrap_or_else(|| Error::Run {
            message: "a weight became no number for some batches".into(),
            remedy: "lower the learning rate or bound the weights; the last checkpoint is kept".into(),
        })
    }
}

/// Whether a matrix (layers, then local readouts) changes.
fn learns(settings: &Settings, matrix: usize) -> bool {
    matrix < settings.sizes.len() - 1 || settings.signal == Signal::LocalReadouts { trained: true }
}

fn count_steps(network: &mut Network, batches: usize) {
    if !matches!(network.settings().optimiser, Optimiser::Adam { .. }) {
        return;
    }
    let settings = network.settings().clone();
    for (_, learned) in network.learned().into_iter().enumerate().filter(|(m, _)| learns(&settings, *m)) {
        *learned.steps = learned.steps.saturating_add(batches as i32);
    }
}
