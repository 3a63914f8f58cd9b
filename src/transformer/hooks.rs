//! What a caller may read and change while a transformer computes: the input and output of every linear layer, and the
//! residual that enters every layer. Plain slices on both sides; nothing here knows how the decoder computes.

use super::config::Config;
use super::matmul;
use super::site::Site;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// Which token a row of a hooked matrix belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Index of the sequence in the call; None while a prefix that all sequences share is computed.
    pub sequence: Option<usize>,
    /// Position in the sequence, from 0.
    pub position: usize,
    /// The token there; None where a pass goes on from residuals.
    pub token: Option<u32>,
}

/// A caller's view into a forward pass. Matrices are row-major, one row per entry of `rows`. `(first, second)` is also a
/// `Hooks`: both are called, in that order.
pub trait Hooks {
    /// After a linear layer (bias included): `input` is rows x inputs, `output` rows x outputs and may be changed. For
    /// `lm_head` only the rows come whose logits were asked for; its input is the hidden state after the final norm.
    fn linear(&mut self, _site: Site, _rows: &[Row], _input: &[f32], _output: &mut [f32]) {}

    /// The residual entering `layer`, rows x width; `layer` equal to the number of layers is what enters the final norm.
    fn residual(&mut self, _layer: usize, _rows: &[Row], _values: &mut [f32]) {}
}

/// No hooks.
impl Hooks for () {}

impl<H: Hooks + ?Sized> Hooks for &mut H {
    fn linear(&mut self, site: Site, rows: &[Row], input: &[f32], output: &mut [f32]) {
        (**self).linear(site, rows, input, output);
    }
    fn residual(&mut self, layer: usize, rows: &[Row], values: &mut [f32]) {
        (**self).residual(layer, rows, values);
    }
}

impl<A: Hooks, B: Hooks> Hooks for (A, B) {
    fn linear(&mut self, site: Site, rows: &[Row], input: &[f32], output: &mut [f32]) {
        self.0.linear(site, rows, input, output);
        self.1.linear(site, rows, input, output);
    }
    fn residual(&mut self, layer: usize, rows: &[Row], values: &mut [f32]) {
        self.0.residual(layer, rows, values);
        self.1.residual(layer, rows, values);
    }
}

/// `out += scale * B (A x)`.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    /// Terms: rows of `a`, columns of `b`.
    pub rank: usize,
    /// rank x inputs.
    pub a: Vec<f32>,
    /// outputs x rank.
    pub b: Vec<f32>,
    /// Factor on the whole term, PEFT's `lora_alpha / r`.
    pub scale: f32,
}

/// Low-rank terms on some linear layers; `&Adapter` is a `Hooks` that adds them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapter {
    terms: BTreeMap<Site, LowRank>,
}

impl Adapter {
    /// Sets the term of a linear layer. Refused when its shape does not fit the model.
    pub fn insert(&mut self, config: &Config, site: Site, term: LowRank) -> Result<()> {
        let (outputs, inputs) = config.shape(site.linear);
        if site.layer >= config.layers {
            let last = config.layers - 1;
            return Err(Error::input(format!("{site}: the model has layers 0 to {last}"), "name a layer of this model"));
        }
        let (rank, a, b) = (term.rank, term.a.len(), term.b.len());
        if rank == 0 || a != rank * inputs || b != outputs * rank {
            return Err(Error::input(
                format!("{site}: factors of {a} and {b} numbers are not {rank} x {inputs} and {outputs} x {rank}"),
                "use an adapter that was made for this model",
            ));
        }
        if !term.scale.is_finite() || term.a.iter().chain(&term.b).any(|x| !x.is_finite()) {
            return Err(Error::input(format!("{site}: the factors hold values that are not finite"), "make the adapter again"));
        }
        self.terms.insert(site, term);
        Ok(())
    }

    /// The terms by site.
    pub fn terms(&self) -> impl Iterator<Item = (Site, &LowRank)> {
        self.terms.iter().map(|(site, term)| (*site, term))
    }
}

impl Hooks for &Adapter {
    fn linear(&mut self, site: Site, rows: &[Row], input: &[f32], output: &mut [f32]) {
        let Some(term) = self.terms.get(&site) else { return };
        let (n, inputs, outputs) = (rows.len(), input.len() / rows.len().max(1), output.len() / rows.len().max(1));
        let mut inner = vec![0.0; n * term.rank];
        matmul::by_rows(n, inputs, term.rank, input, &term.a, &mut inner);
        matmul::add_by_rows(n, term.rank, outputs, term.scale, &inner, &term.b, output);
    }
}

/// Adds `delta` to the residual entering `layer` at one position of one sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Perturbation {
    /// From 0 to the number of layers, which means after the last one.
    pub layer: usize,
    /// Index of the sequence in the call.
    pub sequence: usize,
    /// Position in the sequence, from 0.
    pub position: usize,
    /// One number for each unit of the residual; missing ones count as zero.
    pub delta: Vec<f32>,
}

impl Hooks for &Perturbation {
    fn residual(&mut self, layer: usize, rows: &[Row], values: &mut [f32]) {
        if layer != self.layer {
            return;
        }
        let here = |row: &Row| row.sequence == Some(self.sequence) && row.position == self.position;
        let width = values.len() / rows.len().max(1);
        for (_, residual) in rows.iter().zip(values.chunks_exact_mut(width)).filter(|(row, _)| here(row)) {
            residual.iter_mut().zip(&self.delta).for_each(|(x, d)| *x += d);
        }
    }
}

/// Copies of what passed at chosen places.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    sites: Vec<Site>,
    layers: Vec<usize>,
    /// Calls in their order, at the chosen linear layers.
    pub linears: Vec<LinearRecord>,
    /// Calls in their order: layer, rows, residual (rows x width).
    pub residuals: Vec<(usize, Vec<Row>, Vec<f32>)>,
}

/// One call of one linear layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearRecord {
    /// Which layer was called.
    pub site: Site,
    /// The tokens it was called with, as the decoder orders them.
    pub rows: Vec<Row>,
    /// rows x inputs.
    pub input: Vec<f32>,
    /// rows x outputs.
    pub output: Vec<f32>,
}

impl Recorder {
    /// Records at these linear layers and at the residuals entering these layers.
    pub fn new(sites: &[Site], layers: &[usize]) -> Recorder {
        Recorder { sites: sites.to_vec(), layers: layers.to_vec(), ..Recorder::default() }
    }
}

impl Hooks for Recorder {
    fn linear(&mut self, site: Site, rows: &[Row], input: &[f32], output: &mut [f32]) {
        if self.sites.contains(&site) {
            self.linears.push(LinearRecord { site, rows: rows.to_vec(), input: input.to_vec(), output: output.to_vec() });
        }
    }
    fn residual(&mut self, layer: usize, rows: &[Row], values: &mut [f32]) {
        if self.layers.contains(&layer) {
            self.residuals.push((layer, rows.to_vec(), values.to_vec()));
        }
    }
}
