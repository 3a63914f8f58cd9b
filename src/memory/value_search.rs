//! Sleep's search for a value: what to add to the residual at a subject's last token so that the answer becomes likely. Reward-
//! modulated Hebbian learning: the spiking of a noise population moves the residual, and its trace is reinforced by the difference
//! of reward between a move and its opposite. No gradient. Knows the decoder and the noise; no memory.

use super::cells::{self, Counts};
use super::context_target::{surprise, unseen};
use super::settings::Exploration;
use crate::engine::{Engine, Kind};
use crate::error::Result;
use crate::learning::associative::dot;
use crate::learning::local::times;
use crate::network::{Cell, Values};
use crate::stimulus::SpikeSource;
use crate::transformer::Host;
use crate::transformer::decoder::{Cache, Logits};
use crate::transformer::hooks::{Hooks, Recorder};
use std::sync::atomic::{AtomicBool, Ordering};

/// Floor of the noise, in units of the largest deviation of a code.
const FLOOR: f32 = 0.05;
/// Steps, of one spike a cell on average, that a noise vector is counted over.
const WINDOW: u64 = 4;

/// Cells that fire at random, and what a spike of each moves: half of them along what subjects of the model look like, half along
/// single numbers of the residual.
pub struct Noise {
    engine: Box<dyn Engine>,
    counts: Counts,
    /// cells x width.
    moves: Vec<f32>,
    width: usize,
}

impl Noise {
    /// From codes (any number x width): residuals at subjects.
    pub fn new(codes: &[f32], width: usize, seed: u64) -> Result<Noise> {
        let n = codes.len() / width.max(1);
        let mean: Vec<f32> = (0..width).map(|d| codes.iter().skip(d).step_by(width).sum::<f32>() / n.max(1) as f32).collect();
        let scale = 1.0 / (n.max(1) as f32).sqrt();
        let mut moves: Vec<f32> =
            codes.chunks_exact(width).flat_map(|code| code.iter().zip(&mean).map(|(c, m)| (c - m) * scale)).collect();
        let deviation = |d: usize| moves.iter().skip(d).step_by(width).map(|x| x * x).sum::<f32>().sqrt();
        let floor = match (0..width).map(deviation).fold(0.0f32, f32::max) {
            0.0 => 1.0,
            largest => FLOOR * largest,
        };
        moves.extend((0..width * width).map(|i| if i % (width + 1) == 0 { floor } else { 0.0 }));
        let count = moves.len() / width;
        let rate = Values::Uniform(1000.0);
        let cell = Cell::Source(SpikeSource::Poisson { rate, start: 0.0, stop: f64::INFINITY });
        let engine = cells::engine(Kind::Cpu, seed, vec![("noise", count, cell)])?;
        Ok(Noise { engine, counts: Counts(vec![0; count]), moves, width })
    }

    /// `count` moves of length `length`: count x width.
    fn draw(&mut self, count: usize, length: f32) -> Result<Vec<f32>> {
        let mut spikes = Vec::with_capacity(count * self.counts.0.len());
        for _ in 0..count {
            self.counts.0.fill(0);
            self.engine.advance(WINDOW, &mut self.counts)?;
            // What the cells do beyond their mean.
            spikes.extend(self.counts.0.iter().map(|n| *n as f32 - WINDOW as f32));
        }
        let mut moves = times(&spikes, &self.moves, self.counts.0.len(), self.width);
        for each in moves.chunks_exact_mut(self.width) {
            let by = length / norm(each).max(f32::MIN_POSITIVE);
            each.iter_mut().for_each(|x| *x *= by);
        }
        Ok(moves)
    }
}

fn norm(x: &[f32]) -> f32 {
    dot(x, x).sqrt()
}

/// A prompt, computed as far as nothing changes: the residuals from the subject's last token on, and what is before them.
pub struct Stage<'a> {
    host: &'a Host,
    /// Layer after whose residual is moved.
    layer: usize,
    /// Rows x width, from the subject's last token to the last token but one of the answer.
    residual: Vec<f32>,
    cache: Cache,
    answer: Vec<u32>,
}

impl<'a> Stage<'a> {
    /// `tokens` of the prompt, the position that is moved, and the tokens of the answer. Gives also the keys of `layer`'s down
    /// projection at every position of the prompt.
    pub fn new(
        host: &'a Host,
        mut hooks: impl Hooks,
        layer: usize,
        tokens: &[u32],
        position: usize,
        answer: &[u32],
    ) -> Result<(Stage<'a>, Vec<f32>)> {
        let decoder = &host.decoder;
        let site = super::context_target::site(layer);
        let mut seen = Recorder::new(&[site], &[layer + 1]);
        let all = [tokens, &answer[..answer.len() - 1]].concat();
        let mut cache = [decoder.cache()];
        decoder.forward_until(layer + 1, &mut cache, &[&all], &mut (&mut hooks, &mut seen))?;
        let (_, _, rows) = seen.residuals.pop().ok_or_else(unseen)?;
        let record = seen.linears.pop().ok_or_else(unseen)?;
        let (width, inputs) = (decoder.config.width, record.input.len() / all.len());
        let keys = record.input[..tokens.len() * inputs].to_vec();
        if position > 0 {
            decoder.resume(layer + 1, &rows[..position * width], &mut cache, &[position], Logits::Skip, &mut hooks)?;
        }
        let [mut cache] = cache;
        cache.rewind(0, position)?;
        cache.share()?;
        Ok((Stage { host, layer, residual: rows[position * width..].to_vec(), cache, answer: answer.to_vec() }, keys))
    }

    /// The residual that is moved.
    pub fn here(&self) -> &[f32] {
        &self.residual[..self.host.decoder.config.width]
    }

    /// The mean of the answer's mean and worst log p of a token, nats, when the residual moves by each row of `moves`: no token is left
    /// behind for the others' sake.
    pub fn rewards(&self, mut hooks: impl Hooks, moves: &[f32]) -> Result<Vec<f32>> {
        let decoder = &self.host.decoder;
        let (width, n) = (decoder.config.width, self.answer.len());
        let count = moves.len() / width;
        let mut residual = Vec::with_capacity(count * self.residual.len());
        for each in moves.chunks_exact(width) {
            residual.extend(self.here().iter().zip(each).map(|(h, v)| h + v));
            residual.extend_from_slice(&self.residual[width..]);
        }
        let mut caches = vec![self.cache.clone(); count];
        let counts = vec![self.residual.len() / width; count];
        let output = decoder.resume(self.layer + 1, &residual, &mut caches, &counts, Logits::Tail(n), &mut hooks)?;
        let reward = |i: usize| {
            let told = (0..n).map(|t| -surprise(output.row(i * n + t), self.answer[t]));
            0.5 * (told.clone().sum::<f32>() / n as f32 + told.fold(0.0f32, f32::min))
        };
        Ok((0..count).map(reward).collect())
    }
}

/// What the search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// width.
    pub value: Vec<f32>,
    /// Probability of a token of the answer with it: mean of the mean and the worst, as a logarithm.
    pub probability: f32,
    /// Steps that were taken, at most [`Exploration::steps`].
    pub steps: usize,
}

/// Looks for a value; a search that `stop` ends gives what it has. `tell` hears the part of the steps that are done.
pub fn explore(
    stage: &Stage,
    mut hooks: impl Hooks,
    noise: &mut Noise,
    how: &Exploration,
    tell: &mut dyn FnMut(f64),
    stop: &AtomicBool,
) -> Result<Found> {
    let length = norm(stage.here());
    let width = noise.width;
    let (mut value, mut velocity) = (vec![0.0f32; width], vec![0.0f32; width]);
    let mut best = Found { value: value.clone(), probability: 0.0, steps: 0 };
    for step in 0..=how.steps {
        tell(step as f64 / how.steps.max(1) as f64);
        let last = step == how.steps || stop.load(Ordering::Relaxed);
        let pairs = if last { 0 } else { how.pairs };
        let moves = noise.draw(pairs, how.noise * length)?;
        let mut tried = value.clone();
        for each in moves.chunks_exact(width) {
            tried.extend(value.iter().zip(each).map(|(v, x)| v + x));
            tried.extend(value.iter().zip(each).map(|(v, x)| v - x));
        }
        let rewards = stage.rewards(&mut hooks, &tried)?;
        let probability = rewards[0].exp();
        if probability > best.probability {
            best = Found { value: value.clone(), probability, steps: step };
        }
        if probability > how.enough || last {
            break;
        }
        let mut rewards = rewards;
        if how.shuffled {
            // The first is the value's own; a rotation by an odd number gives every move another one's reward.
            rewards[1..].rotate_left(how.pairs | 1);
        }
        let mut direction = vec![0.0f32; width];
        for (pair, each) in rewards[1..].chunks_exact(2).zip(moves.chunks_exact(width)) {
            let dopamine = 0.5 * (pair[0] - pair[1]);
            direction.iter_mut().zip(each).for_each(|(d, x)| *d += dopamine * x);
        }
        let by = 1.0 / norm(&direction).max(f32::MIN_POSITIVE);
        velocity.iter_mut().zip(&direction).for_each(|(v, d)| *v = how.momentum * *v + (1.0 - how.momentum) * d * by);
        let by = how.step * length / norm(&velocity).max(f32::MIN_POSITIVE);
        value.iter_mut().zip(&velocity).for_each(|(x, v)| *x += v * by);
        let size = norm(&value);
        if size > how.bound * length {
            value.iter_mut().for_each(|x| *x *= how.bound * length / size);
        }
    }
    Ok(best)
}
