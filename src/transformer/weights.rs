//! The weights of a model: its tensors by their names in the two formats, each with the shape that the configuration says, as a decoder.
//! A missing, unknown or misshapen tensor is refused by file and name before anything is computed.

use super::config::{Architecture, Config};
use super::decoder::{Decoder, Layer, Matrix};
use super::site::{Linear, Site};
use super::tensors::Tensors;
use crate::error::{Error, Result};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Refuses a file that does not hold exactly the tensors of this model.
pub(super) fn check(tensors: &Tensors, config: &Config) -> Result<()> {
    let names = Names::of(tensors);
    let mut known = BTreeSet::new();
    for (name, shape) in names.all(config) {
        let Some(info) = tensors.info(&name) else {
            let what = format!("{} has no tensor `{name}`", tensors.file());
            return Err(Error::input(what, "the file is not complete, or the configuration belongs to another model"));
        };
        if info.shape != shape {
            let what = format!("{}: tensor `{name}` is {:?} and should be {shape:?}", tensors.file(), info.shape);
            return Err(Error::input(what, "take the configuration that belongs to these weights"));
        }
        if tensors.as_gguf().is_none() && !["F32", "F16", "BF16"].contains(&info.kind.as_str()) {
            let what = format!("{}: tensor `{name}` is stored as {}", tensors.file(), info.kind);
            return Err(Error::input(what, "use weights stored as F32, F16 or BF16, or a GGUF file"));
        }
        known.insert(name);
    }
    let ignored = |name: &str| {
        name.ends_with("rotary_emb.inv_freq") || name == "rope_freqs.weight" || name == "lm_head.weight" && config.tied
    };
    match tensors.infos().map(|info| &info.name).find(|name| !known.contains(*name) && !ignored(name)) {
        Some(name) => {
            let what = format!("{}: tensor `{name}` has no place in a {} model", tensors.file(), config.architecture.name());
            Err(Error::input(what, "the model computes something that is not understood here, or its configuration is another's"))
        }
        None => Ok(()),
    }
}

/// Numbers in the model, each weight counted once.
pub(super) fn parameters(tensors: &Tensors, config: &Config) -> u64 {
    let product = |(_, shape): (String, Vec<usize>)| shape.iter().map(|n| *n as u64).product::<u64>();
    Names::of(tensors).all(config).into_iter().map(product).sum()
}

/// All weights as float32, q and k in halves as Hugging Face has them. Call `check` first.
pub(super) fn decoder(tensors: &Tensors, config: &Config) -> Result<Decoder> {
    let names = Names::of(tensors);
    let embedding = Arc::new(tensors.read(&names.embedding())?);
    // The tensor of several layers that was read last.
    let last = RefCell::new((String::new(), Vec::new()));
    let matrix = |site: Site| -> Result<Matrix> {
        let ((name, first), outputs) = (names.linear(config, site), config.shape(site.linear).0);
        let rows = |name: String, columns: usize| -> Result<Vec<f32>> {
            let Some(first) = first else { return tensors.read(&name) };
            let mut last = last.borrow_mut();
            if last.0 != name {
                *last = (name.clone(), tensors.read(&name)?);
            }
            Ok(last.1[first * columns..(first + outputs) * columns].to_vec())
        };
        let mut weight = rows(format!("{name}.weight"), config.shape(site.linear).1)?;
        let mut bias = if config.bias(site.linear) { Some(rows(format!("{name}.bias"), 1)?) } else { None };
        if names.gguf && config.architecture == Architecture::Llama && matches!(site.linear, Linear::Q | Linear::K) {
            weight = halves(&weight, config.head_dim, config.width);
            bias = bias.map(|b| halves(&b, config.head_dim, 1));
        }
        Ok(Matrix { weight: Arc::new(weight), bias })
    };
    let layer = |layer: usize| -> Result<Layer> {
        let norm = |what| tensors.read(&names.norm(layer, what));
        let [q, k, v, o, gate, up, down] = Linear::IN_LAYER.map(|linear| matrix(Site { layer, linear }));
        Ok(Layer {
            input_norm: norm(Norm::Input)?,
            post_norm: norm(Norm::Post)?,
            head_norms: if config.head_norms() { Some((norm(Norm::Q)?, norm(Norm::K)?)) } else { None },
            linears: [q?, k?, v?, o?, gate?, up?, down?],
        })
    };
    let layers = (0..config.layers).map(layer).collect::<Result<Vec<Layer>>>()?;
    let head = if config.tied { Matrix { weight: embedding.clone(), bias: None } } else { matrix(Site::HEAD)? };
    let norm = tensors.read(&names.last_norm())?;
    Ok(Decoder { config: config.clone(), embedding, layers, norm, head, frequencies: config.frequencies() })
}

#[derive(Clone, Copy)]
enum Norm {
    Input,
    Post,
    Q,
    K,
}

/// What the two formats call the tensors.
struct Names {
    gguf: bool,
    prefix: &'static str,
}

impl Names {
    fn of(tensors: &Tensors) -> Names {
        let prefix = if tensors.has("embed_tokens.weight") { "" } else { "model." };
        Names { gguf: tensors.as_gguf().is_some(), prefix }
    }

    fn embedding(&self) -> String {
        if self.gguf { "token_embd.weight".into() } else { format!("{}embed_tokens.weight", self.prefix) }
    }

    fn last_norm(&self) -> String {
        if self.gguf { "output_norm.weight".into() } else { format!("{}norm.weight", self.prefix) }
    }

    fn norm(&self, layer: usize, norm: Norm) -> String {
        let (hugging_face, gguf) = match norm {
            Norm::Input => ("input_layernorm", "attn_norm"),
            Norm::Post => ("post_attention_layernorm", "ffn_norm"),
            Norm::Q => ("self_attn.q_norm", "attn_q_norm"),
            Norm::K => ("self_attn.k_norm", "attn_k_norm"),
        };
        match self.gguf {
            true => format!("blk.{layer}.{gguf}.weight"),
            false => format!("{}layers.{layer}.{hugging_face}.weight", self.prefix),
        }
    }

    /// Without `.weight`; and the row where the layer starts, if it shares its tensor with others.
    fn linear(&self, config: &Config, Site { layer, linear }: Site) -> (String, Option<usize>) {
        let (q, kv, inner) = (config.shape(Linear::Q).0, config.shape(Linear::K).0, config.shape(Linear::Gate).0);
        let (hugging_face, gguf, first) = match linear {
            Linear::Head => return (if self.gguf { linear.gguf_name() } else { linear.module() }.into(), None),
            Linear::Q if config.fused() => ("self_attn.qkv_proj", "attn_qkv", Some(0)),
            Linear::K if config.fused() => ("self_attn.qkv_proj", "attn_qkv", Some(q)),
            Linear::V if config.fused() => ("self_attn.qkv_proj", "attn_qkv", Some(q + kv)),
            Linear::Gate if config.fused() => ("mlp.gate_up_proj", "ffn_up", Some(0)),
            Linear::Up if config.fused() => ("mlp.gate_up_proj", "ffn_up", Some(inner)),
            _ => (linear.module(), linear.gguf_name(), None),
        };
        let name =
            if self.gguf { format!("blk.{layer}.{gguf}") } else { format!("{}layers.{layer}.{hugging_face}", self.prefix) };
        (name, first)
    }

    /// Every tensor of the model with its shape.
    fn all(&self, config: &Config) -> Vec<(String, Vec<usize>)> {
        let mut all = vec![(self.embedding(), vec![config.vocabulary, config.width]), (self.last_norm(), vec![config.width])];
        let linear = |site: Site, all: &mut Vec<(String, Vec<usize>)>| {
            let (name, first) = self.linear(config, site);
            let rows = |linear: Linear| config.shape(linear).0;
            let outputs = match (site.linear, first) {
                (Linear::Q, Some(_)) => rows(Linear::Q) + rows(Linear::K) + rows(Linear::V),
                (Linear::Gate, Some(_)) => rows(Linear::Gate) + rows(Linear::Up),
                (_, Some(_)) => return,
                (linear, None) => rows(linear),
            };
            all.push((format!("{name}.weight"), vec![outputs, config.shape(site.linear).1]));
            if config.bias(site.linear) {
                all.push((format!("{name}.bias"), vec![outputs]));
            }
        };
        for layer in 0..config.layers {
            all.push((self.norm(layer, Norm::Input), vec![config.width]));
            all.push((self.norm(layer, Norm::Post), vec![config.width]));
            if config.head_norms() {
                all.push((self.norm(layer, Norm::Q), vec![config.head_dim]));
                all.push((self.norm(layer, Norm::K), vec![config.head_dim]));
            }
            Linear::IN_LAYER.into_iter().for_each(|l| linear(Site { layer, linear: l }, &mut all));
        }
        if !config.tied {
            linear(Site::HEAD, &mut all);
        }
        all
    }
}

/// Rows of q or k from llama.cpp's order, in which the pairs of a rotation are neighbours, to halves of a head.
pub(crate) fn halves(rows: &[f32], head_dim: usize, width: usize) -> Vec<f32> {
    let pairs = head_dim / 2;
    let mut out = Vec::with_capacity(rows.len());
    for head in rows.chunks_exact(head_dim * width) {
        for r in 0..head_dim {
            let from = 2 * (r % pairs) + r / pairs;
            out.extend_from_slice(&head[from * width..(from + 1) * width]);
        }
    }
    out
}

/// Rows of q or k from halves of a head to llama.cpp's order: undone by `halves`.
pub(crate) fn neighbours(rows: &[f32], head_dim: usize, width: usize) -> Vec<f32> {
    let pairs = head_dim / 2;
    let mut out = Vec::with_capacity(rows.len());
    for head in rows.chunks_exact(head_dim * width) {
        for r in 0..head_dim {
            let from = (r % 2) * pairs + r / 2;
            out.extend_from_slice(&head[from * width..(from + 1) * width]);
        }
    }
    out
}
