//! Where a model's weights come from: safetensors (one file, several, or built in) or GGUF, as float32, each by its name in the
//! file and with the shape that the configuration says. A missing, unknown, misshapen or damaged tensor is refused by file and
//! name before anything is computed.

use super::config::{Architecture, Config};
use super::decoder::{Decoder, Layer, Matrix};
use super::gguf::{Gguf, damaged};
use super::hooks::{Linear, Site};
use crate::error::{Error, Result};
use candle_core::safetensors::{MmapedSafetensors, SliceSafetensors};
use candle_core::{DType, Device, Tensor};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    pub name: String,
    /// How its numbers are stored: F32, F16, BF16, Q4_1 and so on.
    pub kind: String,
    /// Rows first.
    pub shape: Vec<usize>,
}

pub(super) enum Store {
    Shards(Vec<(PathBuf, MmapedSafetensors)>),
    BuiltIn(SliceSafetensors<'static>),
    Gguf(Box<Gguf>),
}

/// The tensors of a model, opened but not in memory.
pub(super) struct Tensors {
    store: Store,
    /// What the tensors lie in, for messages.
    file: String,
    /// By name; the number is the shard.
    infos: BTreeMap<String, (usize, TensorInfo)>,
}

impl Tensors {
    /// `model.safetensors`, or the files that `model.safetensors.index.json` lists.
    pub fn folder(folder: &Path) -> Result<Tensors> {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        let (file, paths) = match index.is_file() && !single.is_file() {
            true => (index.clone(), shards(&index, folder)?),
            false => (single.clone(), vec![single]),
        };
        let mut opened = Vec::new();
        let mut infos = BTreeMap::new();
        for path in paths {
            if !path.is_file() {
                let what = format!("{} is missing", path.display());
                return Err(Error::input(what, "get all files of the model; its weights are in this one"));
            }
            // SAFETY: the file is only read. Somebody who cuts it short meanwhile ends the program, as with any mapped file.
            let shard = unsafe { MmapedSafetensors::new(&path) }.map_err(|e| damaged(&path, &e.to_string()))?;
            for (name, view) in shard.tensors() {
                let info = TensorInfo { name: name.clone(), kind: format!("{:?}", view.dtype()), shape: view.shape().to_vec() };
                infos.insert(name, (opened.len(), info));
            }
            opened.push((path, shard));
        }
        Ok(Tensors { store: Store::Shards(opened), file: file.display().to_string(), infos })
    }

    /// Safetensors that are part of the program.
    pub fn built_in(bytes: &'static [u8], file: &str) -> Result<Tensors> {
        let store = SliceSafetensors::new(bytes).map_err(|e| damaged(Path::new(file), &e.to_string()))?;
        let info = |(name, kind, shape): (String, String, Vec<usize>)| (name.clone(), (0, TensorInfo { name, kind, shape }));
        let all = store.tensors().into_iter().map(|(name, v)| (name, format!("{:?}", v.dtype()), v.shape().to_vec()));
        let infos = all.map(info).collect();
        Ok(Tensors { store: Store::BuiltIn(store), file: file.into(), infos })
    }

    pub fn gguf(gguf: Gguf) -> Tensors {
        let infos = gguf.infos().into_iter().map(|info| (info.name.clone(), (0, info))).collect();
        Tensors { file: gguf.path.display().to_string(), store: Store::Gguf(Box::new(gguf)), infos }
    }

    pub fn as_gguf(&self) -> Option<&Gguf> {
        match &self.store {
            Store::Gguf(gguf) => Some(gguf),
            _ => None,
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.infos.contains_key(name)
    }

    /// By name.
    pub fn infos(&self) -> impl Iterator<Item = &TensorInfo> {
        self.infos.values().map(|(_, info)| info)
    }

    /// Refuses a file that does not hold exactly the tensors of this model.
    pub fn check(&self, config: &Config) -> Result<()> {
        let names = self.names();
        let mut known = BTreeSet::new();
        for (name, shape) in names.all(config) {
            let Some((_, info)) = self.infos.get(&name) else {
                let what = format!("{} has no tensor `{name}`", self.file);
                return Err(Error::input(what, "the file is not complete, or the configuration belongs to another model"));
            };
            if info.shape != shape {
                let what = format!("{}: tensor `{name}` is {:?} and should be {shape:?}", self.file, info.shape);
                return Err(Error::input(what, "take the configuration that belongs to these weights"));
            }
            if self.as_gguf().is_none() && !["F32", "F16", "BF16"].contains(&info.kind.as_str()) {
                let what = format!("{}: tensor `{name}` is stored as {}", self.file, info.kind);
                return Err(Error::input(what, "use weights stored as F32, F16 or BF16, or a GGUF file"));
            }
            known.insert(name);
        }
        let ignored = |name: &str| {
            name.ends_with("rotary_emb.inv_freq") || name == "rope_freqs.weight" || name == "lm_head.weight" && config.tied
        };
        match self.infos.keys().find(|name| !known.contains(*name) && !ignored(name)) {
            Some(name) => {
                let what = format!("{}: tensor `{name}` has no place in a {} model", self.file, config.architecture.name());
                Err(Error::input(
                    what,
                    "the model computes something that is not understood here, or its configuration is another's",
                ))
            }
            None => Ok(()),
        }
    }

    /// Numbers in the model, each weight counted once.
    pub fn parameters(&self, config: &Config) -> u64 {
        let product = |(_, shape): (String, Vec<usize>)| shape.iter().map(|n| *n as u64).product::<u64>();
        self.names().all(config).into_iter().map(product).sum()
    }

    /// Passes on, in the order of names, what each tensor is and its bytes as stored: the same for one file or several.
    pub fn raw(&self, use_bytes: &mut dyn FnMut(&[u8])) -> Result<()> {
        for (name, (shard, info)) in &self.infos {
            use_bytes(format!("{name} {} {:?}", info.kind, info.shape).as_bytes());
            match &self.store {
                Store::Shards(shards) => {
                    let (path, shard) = &shards[*shard];
                    use_bytes(shard.get(name).map_err(|e| damaged(path, &e.to_string()))?.data());
                }
                Store::BuiltIn(store) => {
                    use_bytes(store.get(name).map_err(|e| damaged(Path::new(&self.file), &e.to_string()))?.data());
                }
                Store::Gguf(gguf) => gguf.raw(name, use_bytes)?,
            }
        }
        Ok(())
    }

    /// All weights as float32, q and k in halves as Hugging Face has them. Call `check` first.
    pub fn decoder(&self, config: &Config) -> Result<Decoder> {
        let names = self.names();
        let embedding = Arc::new(self.read(&names.embedding())?);
        // The tensor of several layers that was read last.
        let last = RefCell::new((String::new(), Vec::new()));
        let matrix = |site: Site| -> Result<Matrix> {
            let ((name, first), outputs) = (names.linear(config, site), config.shape(site.linear).0);
            let rows = |name: String, columns: usize| -> Result<Vec<f32>> {
                let Some(first) = first else { return self.read(&name) };
                let mut last = last.borrow_mut();
                if last.0 != name {
                    *last = (name.clone(), self.read(&name)?);
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
            let norm = |what| self.read(&names.norm(layer, what));
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
        let norm = self.read(&names.last_norm())?;
        Ok(Decoder { config: config.clone(), embedding, layers, norm, head, frequencies: config.frequencies() })
    }

    /// A tensor's numbers as float32.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let plain = |tensor: candle_core::Result<Tensor>, path: &Path| {
            let numbers = tensor.and_then(|t| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>());
            numbers.map_err(|e| damaged(path, &format!("tensor `{name}`: {e}")))
        };
        let shard = self.infos.get(name).map_or(0, |(shard, _)| *shard);
        let numbers = match &self.store {
            Store::Shards(shards) => plain(shards[shard].1.load(name, &Device::Cpu), &shards[shard].0)?,
            Store::BuiltIn(store) => plain(store.load(name, &Device::Cpu), Path::new(&self.file))?,
            Store::Gguf(gguf) => gguf.read(name)?,
        };
        if numbers.iter().any(|x| !x.is_finite()) {
            return Err(damaged(Path::new(&self.file), &format!("tensor `{name}` holds values that are not finite")));
        }
        Ok(numbers)
    }

    fn names(&self) -> Names {
        let gguf = self.as_gguf().is_some();
        let prefix = if self.has("embed_tokens.weight") { "" } else { "model." };
        Names { gguf, prefix }
    }
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

/// The files that an index names, each once.
fn shards(index: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string(index).map_err(|e| Error::file(index, e))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| damaged(index, &e.to_string()))?;
    let map = json.get("weight_map").and_then(|m| m.as_object()).ok_or_else(|| damaged(index, "it has no `weight_map`"))?;
    let files: Option<BTreeSet<&str>> = map.values().map(|f| f.as_str()).collect();
    let files = files.filter(|f| !f.is_empty() && f.iter().all(|f| !f.contains(['/', '\\'])));
    let files = files.ok_or_else(|| damaged(index, "its `weight_map` does not name files beside it"))?;
    Ok(files.into_iter().map(|f| folder.join(f)).collect())
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
