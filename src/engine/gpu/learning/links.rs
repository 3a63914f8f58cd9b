//! A protection on the device: what it does to each layer's factors and steps, uploaded for a stretch of batches and, where it
//! learns from steps itself, brought back. Knows protections as their links.

use super::super::device::Device;
use super::record::{List, Pass, PosteriorOp, StepOp, View};
use super::{values, words};
use crate::error::{Error, Result};
use crate::learning::importance::Form;
use crate::learning::posterior::{Posterior, Rule};
use crate::learning::{Layer, Link, Projector, Protection};
use crate::rng;
use std::cell::Cell;
use wgpu::Buffer;

/// A linear map of rows.
pub struct Map {
    rank: Option<usize>,
    matrix: Buffer,
}

impl Map {
    pub fn new(device: &Device, projector: Projector) -> Result<Self> {
        Ok(match projector {
            Projector::Basis(basis) => {
                Map { rank: Some(basis.rank()), matrix: device.storage("rows of the projection", words(basis.rows()))? }
            }
            Projector::Matrix(p) => Map { rank: None, matrix: device.storage("the projection", words(p))? },
        })
    }

    /// Values a row needs while it is projected.
    pub fn width(&self) -> usize {
        self.rank.unwrap_or(0)
    }

    /// `to` = the map of `from` (rows x n); `between` holds rows x width.
    pub fn record(&self, list: &mut List, [from, between, to]: [&Buffer; 3], rows: usize, n: usize) -> Result<()> {
        let h = View::new(&self.matrix, n);
        match self.rank {
            Some(rank) => {
                list.copy(from, to, rows * n);
                let y = View::new(between, rank);
                list.product([rows, n, rank], [View::new(from, n), h.transposed()], y, [1.0, 0.0])?;
                list.product([rows, rank, n], [y, h], View::new(to, n), [-1.0, 1.0])
            }
            None => list.product([rows, n, n], [View::new(from, n), h.transposed()], View::new(to, n), [1.0, 0.0]),
        }
    }
}

/// A link on the device.
pub enum Held {
    Factors(Map),
    Steps(Map),
    Metaplastic(f32),
    Hold { op: StepOp, importance: Buffer, anchor: Buffer },
    Posterior { op: PosteriorOp, mean: Buffer, deviation: Buffer, sums: [Buffer; 2] },
}

/// The links of every layer.
pub struct Guard {
    layers: Vec<Vec<Held>>,
    /// What a posterior has drawn and averaged so far, and how many samples it averages.
    time: Cell<u64>,
    pending: Cell<u32>,
    samples: u32,
}

impl Guard {
    /// Refused: a protection without links, a posterior whose layers stand at different times.
    pub fn new(device: &Device, layers: &[Layer], protection: &mut dyn Protection) -> Result<Self> {
        let mut guard = Guard { layers: vec![], time: Cell::new(0), pending: Cell::new(0), samples: 1 };
        for (l, layer) in layers.iter().enumerate() {
            let links = protection.links(l)?.into_iter().map(|link| guard.hold(device, l, layer, link)).collect::<Result<_>>()?;
            guard.layers.push(links);
        }
        Ok(guard)
    }

    fn hold(&mut self, device: &Device, l: usize, layer: &Layer, link: Link) -> Result<Held> {
        let weights = layer.weight.len();
        let fits = |what: &str, n: usize, wanted: usize| {
            if n == wanted {
                return Ok(());
            }
            Err(Error::input(
                format!("{what} of {n} numbers for layer {l}, which has {wanted}"),
                "protect the network that learns",
            ))
        };
        Ok(match link {
            Link::Factors(p) | Link::Steps(p) => {
                match p {
                    Projector::Basis(basis) => fits("a projection", basis.inputs(), layer.inputs)?,
                    Projector::Matrix(matrix) => fits("a projection", matrix.len(), layer.inputs * layer.inputs)?,
                }
                let map = Map::new(device, p)?;
                if matches!(link, Link::Factors(_)) { Held::Factors(map) } else { Held::Steps(map) }
            }
            Link::Metaplastic(m) => Held::Metaplastic(m),
            Link::Hold { options, importance, anchor } => {
                fits("importance", importance.len(), weights)?;
                let mode = (options.form == Form::Limit) as u32;
                Held::Hold {
                    op: StepOp { count: weights as u32, mode, x: options.strength, y: options.rate },
                    importance: device.storage("importance", words(importance))?,
                    anchor: device.storage("anchors", words(anchor))?,
                }
            }
            Link::Posterior(posterior) => {
                fits("a posterior", posterior.layers[l].mean.len(), weights)?;
                self.hold_posterior(device, l, posterior)?
            }
        })
    }

    fn hold_posterior(&mut self, device: &Device, l: usize, posterior: &Posterior) -> Result<Held> {
        let (options, gaussian, (count, pending)) = (&posterior.options, &posterior.layers[l], posterior.pending(l));
        let now = (posterior.presentation[l], count);
        if l > 0 && now != (self.time.get(), self.pending.get()) {
            return Err(Error::input(
                "posterior: its layers stand at different presentations",
                "restore one whole saved posterior",
            ));
        }
        (self.samples, _) = (options.samples, self.time.set(now.0));
        self.pending.set(now.1);
        let variance = gaussian.prior_deviation * gaussian.prior_deviation;
        let (rule, rate_mean, rate_deviation, pull) = match options.rule {
            Rule::Bgd { rate } => (0, rate, 0.0, 0.0),
            Rule::Mesu { window, rate_mean, rate_deviation, second_order } => {
                (1 + 2 * second_order as u32, rate_mean, rate_deviation, 1.0 / (window * variance))
            }
        };
        let scale = -options.observations / options.rate / options.samples as f64;
        let clip = options.clip.unwrap_or(1e30);
        let [key_low, key_high] = rng::key(options.seed, l as u32);
        let [scale, rate_mean, rate_deviation, pull, prior_mean, prior_variance, clip] =
            [scale, rate_mean, rate_deviation, pull, gaussian.prior_mean, variance, clip].map(|v| v as f32);
        let weights = gaussian.mean.len() as u32;
        let sum = |wide: &[f64]| {
            let narrow: Vec<f32> = wide.iter().map(|v| *v as f32).collect();
            let zeros = vec![0; gaussian.mean.len()];
            device.storage("gradients of the posterior", if now.1 == 0 { &zeros } else { words(&narrow) })
        };
        Ok(Held::Posterior {
            op: PosteriorOp {
                count: weights.div_ceil(4),
                weights,
                rule,
                key_low,
                key_high,
                scale,
                rate_mean,
                rate_deviation,
                pull,
                prior_mean,
                prior_variance,
                clip,
            },
            mean: device.storage("means", words(&gaussian.mean))?,
            deviation: device.storage("deviations", words(&gaussian.deviation))?,
            sums: [sum(pending[0])?, sum(pending[1])?],
        })
    }

    pub fn of(&self, layer: usize) -> &[Held] {
        self.layers.get(layer).map_or(&[], |l| l)
    }

    /// Presentations drawn after `later` more batches, and whether the posterior then moves.
    pub fn clock(&self, later: usize) -> (u64, bool) {
        let count = u64::from(self.pending.get()) + later as u64 + 1;
        (self.time.get() + later as u64, count.is_multiple_of(u64::from(self.samples)))
    }

    pub fn count(&self, batches: usize) {
        self.time.set(self.time.get() + batches as u64);
        let pending = u64::from(self.pending.get()) + batches as u64;
        self.pending.set((pending % u64::from(self.samples)) as u32);
    }

    /// Bring back what a posterior has learnt.
    pub fn keep(&self, device: &Device, protection: &mut dyn Protection) -> Result<()> {
        for (l, held) in self.layers.iter().enumerate() {
            let Some(Held::Posterior { mean, deviation, sums, .. }) = held.last() else { continue };
            let mut links = protection.links(l)?;
            let Some(Link::Posterior(posterior)) = links.pop() else { continue };
            let n = posterior.layers[l].mean.len() as u64;
            let count = self.pending.get();
            let averaged = if count > 0 { n } else { 0 };
            let read = device.read(&[(mean, 0, n), (deviation, 0, n), (&sums[0], 0, averaged), (&sums[1], 0, averaged)])?;
            let wide = |words: &[u32]| values(words).iter().map(|v| *v as f64).collect();
            let sums = (count, [wide(&read[2]), wide(&read[3])]);
            posterior.take_back(l, [values(&read[0]), values(&read[1])], self.time.get(), sums);
        }
        Ok(())
    }
}

/// Carries a step to the weights: what `links` do to steps, then the change itself.
pub fn apply(
    list: &mut List,
    links: &[Held],
    [change, weight, status]: [&Buffer; 3],
    [between, scratch]: [&Buffer; 2],
    [outputs, inputs]: [usize; 2],
) -> Result<()> {
    let plain = StepOp { count: (outputs * inputs) as u32, ..StepOp::default() };
    for link in links {
        match link {
            Held::Factors(_) => {}
            Held::Steps(map) => {
                map.record(list, [change, between, scratch], outputs, inputs)?;
                list.copy(scratch, change, outputs * inputs);
            }
            Held::Metaplastic(m) => list.each(Pass::Metaplastic, &[change, weight], StepOp { x: *m, ..plain }.words())?,
            Held::Hold { op, importance, anchor } => {
                list.each(Pass::Hold, &[change, weight, importance, anchor], op.words())?;
            }
            Held::Posterior { op, mean, deviation, sums: [one, two] } => {
                let buffers = [change, weight, mean, deviation, one, two, status];
                return list.each(Pass::Posterior, &buffers, op.words());
            }
        }
    }
    list.each(Pass::Apply, &[change, weight, status], plain.words())
}
