//! BERT as an encoder of texts: learned positions, attention in both directions, GELU, a norm after each block; read from GGUF (`bert`) or
//! a Hugging Face folder. Promises a vector a token, the same whatever else is encoded beside it, and that a text beyond the window is
//! given in pieces that overlap, never cut off. The sizes, conventions and weights of sentence-transformers/all-MiniLM-L6-v2 and its kin.

use super::gguf::Gguf;
use super::tensors::Tensors;
use super::tokenizer::{self, Tokenizer};
use super::{matmul, pull};
use crate::error::{Error, Result};
use crate::model::math::exp;
use crate::simd::{for_every_level, level};
use matmul::View;
use md5::{Digest, Md5};
use rayon::prelude::*;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Tokens of a piece at most, marks included: what the MiniLM encoders were trained on.
const WINDOW: usize = 256;
/// Tokens that a piece shares with the one before it.
const OVERLAP: usize = 32;
/// Tokens that are computed together; small enough for the caches of one core.
const TOGETHER: usize = 512;

/// Sizes and conventions.
#[derive(Clone, Debug, Deserialize)]
struct Sizes {
    #[serde(rename = "num_hidden_layers")]
    layers: usize,
    #[serde(rename = "hidden_size")]
    width: usize,
    #[serde(rename = "intermediate_size")]
    inner: usize,
    #[serde(rename = "num_attention_heads")]
    heads: usize,
    #[serde(rename = "max_position_embeddings")]
    positions: usize,
    #[serde(rename = "layer_norm_eps")]
    eps: f64,
    #[serde(rename = "vocab_size")]
    vocabulary: usize,
}

/// y = W x + b.
struct Linear {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// Gain and offset of a layer norm.
struct Norm {
    gain: Vec<f32>,
    offset: Vec<f32>,
}

struct Layer {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
}

/// An encoder in memory.
pub struct Bert {
    /// What it can be opened by from everywhere.
    pub name: String,
    sizes: Sizes,
    words: Vec<f32>,
    positions: Vec<f32>,
    kind: Vec<f32>,
    first: Norm,
    layers: Vec<Layer>,
    tokenizer: Tokenizer,
    fingerprint: String,
}

/// A text as tokens, at most a window of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its tokens, the marks at both ends included.
    pub ids: Vec<u32>,
}

impl Bert {
    /// A GGUF file, a folder with one or as Hugging Face has them, or the name of a model that `pull` got.
    ///
    /// # Errors
    /// A path without a model, one of another architecture, and files that are not whole.
    pub fn open(name: &str) -> Result<Bert> {
        let path = super::absolute(Path::new(name));
        let folder = match path.exists() {
            true => path,
            false => {
                pull::find(name).ok_or_else(|| Error::input(format!("there is no encoder {name}"), super::elsewhere(name)))?
            }
        };
        let called = if Path::new(name).exists() { folder.to_string_lossy().into_owned() } else { name.to_string() };
        let gguf = match folder.is_file() {
            true if folder.extension().is_some_and(|e| e == "gguf") => Some(folder.clone()),
            true => {
                let remedy = "name the folder that holds config.json and model.safetensors, or a GGUF file";
                return Err(Error::input(format!("{name} is neither a folder nor a .gguf file"), remedy));
            }
            false if folder.join("model.safetensors").is_file() => None,
            false => {
                let entries = std::fs::read_dir(&folder).map_err(|e| Error::file(&folder, e))?;
                let mut files = entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "gguf"));
                Some(files.next().ok_or_else(|| {
                    Error::input(format!("{name} holds no weights"), "an encoder's folder holds a GGUF file or model.safetensors")
                })?)
            }
        };
        match gguf {
            Some(path) => Bert::of_gguf(&called, &path),
            None => Bert::of_folder(&called, &folder),
        }
    }

    fn of_gguf(name: &str, path: &Path) -> Result<Bert> {
        let gguf = Gguf::open(path)?;
        let architecture = gguf.text("general.architecture")?.unwrap_or("none").to_string();
        let wrong =
            |what: String| Error::input(format!("{}: {what}", path.display()), "name an encoder such as all-MiniLM-L6-v2");
        if architecture != "bert" {
            return Err(wrong(format!("it is of the architecture `{architecture}`; encoders of `bert` are understood")));
        }
        let size = |key: &str| -> Result<usize> {
            let n = gguf.integer(&format!("bert.{key}"))?.and_then(|n| usize::try_from(n).ok());
            n.ok_or_else(|| wrong(format!("`bert.{key}` is missing")))
        };
        let (layers, width, inner) = (size("block_count")?, size("embedding_length")?, size("feed_forward_length")?);
        let (heads, positions) = (size("attention.head_count")?, size("context_length")?);
        let eps = gguf.number("bert.attention.layer_norm_epsilon")?.unwrap_or(1e-12);
        let beside = path.with_file_name("tokenizer.json");
        let (json, called) = match beside.is_file() {
            true => (std::fs::read(&beside).map_err(|e| Error::file(&beside, e))?, beside.display().to_string()),
            false => (tokenizer::embedded(&gguf)?, format!("{} (embedded)", path.display())),
        };
        let tensors = Tensors::gguf(gguf);
        let vocabulary = tensors.info("token_embd.weight").map_or(0, |info| info.shape[0]);
        let sizes = Sizes { layers, width, inner, heads, positions, eps, vocabulary };
        Bert::build(name, sizes, &tensors, true, &json, &called)
    }

    fn of_folder(name: &str, folder: &Path) -> Result<Bert> {
        let read = |file: &str| -> Result<(PathBuf, Vec<u8>)> {
            let path = folder.join(file);
            let bytes = std::fs::read(&path).map_err(|e| Error::file(&path, e))?;
            Ok((path, bytes))
        };
        let (path, config) = read("config.json")?;
        let wrong =
            |what: String| Error::input(format!("{}: {what}", path.display()), "name an encoder such as all-MiniLM-L6-v2");
        let json: serde_json::Value = serde_json::from_slice(&config).map_err(|e| wrong(e.to_string()))?;
        if json["model_type"] != "bert" {
            return Err(wrong(format!("it is of the type {}; encoders of \"bert\" are understood", json["model_type"])));
        }
        if !matches!(json["hidden_act"].as_str(), Some("gelu") | None) {
            return Err(wrong(format!("its activation is {}; \"gelu\" is understood", json["hidden_act"])));
        }
        let sizes: Sizes = serde_json::from_value(json).map_err(|e| wrong(e.to_string()))?;
        let (path, json) = read("tokenizer.json")?;
        Bert::build(name, sizes, &Tensors::folder(folder)?, false, &json, &path.display().to_string())
    }

    fn build(name: &str, sizes: Sizes, tensors: &Tensors, gguf: bool, json: &[u8], file: &str) -> Result<Bert> {
        let wrong = |what: String| Error::input(format!("{}: {what}", tensors.file()), "take the files as they were published");
        let Sizes { width, inner, heads, positions, vocabulary, .. } = sizes;
        if heads == 0 || width == 0 || width % heads != 0 || positions < 8 || sizes.layers == 0 {
            return Err(wrong(format!("a width of {width}, {heads} heads and {positions} positions do not fit together")));
        }
        let prefix = if tensors.has("bert.embeddings.word_embeddings.weight") { "bert." } else { "" };
        let read = |ours: &str, theirs: String, shape: &[usize]| -> Result<Vec<f32>> {
            let name = if gguf { ours.to_string() } else { format!("{prefix}{theirs}") };
            match tensors.info(&name) {
                None => Err(wrong(format!("there is no tensor `{name}`"))),
                Some(info) if info.shape != shape => Err(wrong(format!("`{name}` is {:?} and should be {shape:?}", info.shape))),
                Some(_) => tensors.read(&name),
            }
        };
        let norm = |ours: &str, theirs: &str| -> Result<Norm> {
            let one = |part: &str| read(&format!("{ours}.{part}"), format!("{theirs}.{part}"), &[width]);
            Ok(Norm { gain: one("weight")?, offset: one("bias")? })
        };
        let linear = |ours: String, theirs: String, outputs: usize, inputs: usize| -> Result<Linear> {
            let weight = read(&format!("{ours}.weight"), format!("{theirs}.weight"), &[outputs, inputs])?;
            Ok(Linear { weight, bias: read(&format!("{ours}.bias"), format!("{theirs}.bias"), &[outputs])? })
        };
        let layer = |l: usize| -> Result<Layer> {
            let (own, other) = (format!("blk.{l}"), format!("encoder.layer.{l}"));
            let attention = |short: &str, long: &str| {
                linear(format!("{own}.attn_{short}"), format!("{other}.attention.{long}"), width, width)
            };
            Ok(Layer {
                q: attention("q", "self.query")?,
                k: attention("k", "self.key")?,
                v: attention("v", "self.value")?,
                o: attention("output", "output.dense")?,
                attention_norm: norm(&format!("{own}.attn_output_norm"), &format!("{other}.attention.output.LayerNorm"))?,
                up: linear(format!("{own}.ffn_up"), format!("{other}.intermediate.dense"), inner, width)?,
                down: linear(format!("{own}.ffn_down"), format!("{other}.output.dense"), width, inner)?,
                output_norm: norm(&format!("{own}.layer_output_norm"), &format!("{other}.output.LayerNorm"))?,
            })
        };
        let layers = (0..sizes.layers).map(layer).collect::<Result<Vec<_>>>()?;
        let table = |what: &str| format!("embeddings.{what}_embeddings.weight");
        let words = read("token_embd.weight", table("word"), &[vocabulary, width])?;
        let kind = read("token_types.weight", table("token_type"), &[2, width])?[..width].to_vec();
        let places = read("position_embd.weight", table("position"), &[positions, width])?;
        let first = norm("token_embd_norm", "embeddings.LayerNorm")?;
        let tokenizer = Tokenizer::from_json(json, file, vocabulary)?;
        let mut digest = Md5::new();
        digest.update(tokenizer::canonical(json, file)?);
        tensors.raw(&mut |bytes| digest.update(bytes))?;
        let fingerprint = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Bert { name: name.into(), sizes, words, positions: places, kind, first, layers, tokenizer, fingerprint })
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        self.sizes.width
    }

    /// MD5, in hexadecimal, of the tokenizer and of all weights as stored.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The text of a token, as the vocabulary has it.
    pub fn token(&self, id: u32) -> String {
        self.tokenizer.name(id).unwrap_or_default()
    }

    /// A text as pieces of at most a window of tokens, neighbours overlapping. One piece at least.
    pub fn pieces(&self, text: &str) -> Result<Vec<Piece>> {
        let dressed = self.tokenizer.encode("")?;
        let (lead, tail) = dressed.split_at(dressed.len() / 2);
        let bare = self.tokenizer.encode_bare(text)?;
        let room = WINDOW.min(self.sizes.positions) - dressed.len();
        let mut pieces = Vec::new();
        let mut at = 0;
        loop {
            let end = bare.len().min(at + room);
            pieces.push(Piece { ids: [lead, &bare[at..end], tail].concat() });
            if end == bare.len() {
                return Ok(pieces);
            }
            at = end - OVERLAP;
        }
    }

    /// A vector for each token of each piece: pieces, each tokens x width. On all threads of rayon's pool.
    pub fn encode(&self, pieces: &[Piece]) -> Vec<Vec<f32>> {
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.sort_by_key(|i| pieces[*i].ids.len());
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let share = pieces.iter().map(|p| p.ids.len()).sum::<usize>().div_ceil(rayon::current_num_threads().max(1));
        let mut tokens = usize::MAX;
        for i in order {
            let more = pieces[i].ids.len();
            if tokens.saturating_add(more) > TOGETHER.min(share.max(64)) {
                batches.push(Vec::new());
                tokens = 0;
            }
            tokens += more;
            batches.last_mut().expect("one was begun").push(i);
        }
        let done: Vec<(usize, Vec<f32>)> = batches
            .into_par_iter()
            .flat_map_iter(|batch| {
                let texts: Vec<&[u32]> = batch.iter().map(|i| &pieces[*i].ids[..]).collect();
                let vectors = self.forward(&texts);
                let mut at = 0;
                let width = self.width();
                batch.into_iter().map(move |i| {
                    let n = pieces[i].ids.len() * width;
                    at += n;
                    (i, vectors[at - n..at].to_vec())
                })
            })
            .collect();
        let mut all = vec![Vec::new(); pieces.len()];
        done.into_iter().for_each(|(i, vectors)| all[i] = vectors);
        all
    }

    /// Texts side by side, without padding: all their tokens x width.
    fn forward(&self, texts: &[&[u32]]) -> Vec<f32> {
        let Sizes { width, inner, heads, .. } = self.sizes;
        let eps = self.sizes.eps as f32;
        let rows: usize = texts.iter().map(|t| t.len()).sum();
        let mut x = Vec::with_capacity(rows * width);
        for text in texts {
            for (place, id) in text.iter().enumerate() {
                let word = &self.words[*id as usize * width..][..width];
                let place = &self.positions[place * width..][..width];
                x.extend(word.iter().zip(place).zip(&self.kind).map(|((w, p), k)| w + p + k));
            }
        }
        norm(level(), &mut x, &self.first.gain, &self.first.offset, eps);
        let [mut q, mut k, mut v, mut mixed, mut out] = [(); 5].map(|()| vec![0.0; rows * width]);
        let mut wide = vec![0.0; rows * inner];
        for layer in &self.layers {
            apply(rows, &layer.q, &x, &mut q);
            apply(rows, &layer.k, &x, &mut k);
            apply(rows, &layer.v, &x, &mut v);
            let mut start = 0;
            for text in texts {
                let n = text.len();
                for head in 0..heads {
                    attend(n, width, width / heads, start * width + head * (width / heads), [&q, &k, &v], &mut mixed);
                }
                start += n;
            }
            apply(rows, &layer.o, &mixed, &mut out);
            x.iter_mut().zip(&out).for_each(|(x, o)| *x += o);
            norm(level(), &mut x, &layer.attention_norm.gain, &layer.attention_norm.offset, eps);
            apply(rows, &layer.up, &x, &mut wide);
            gelu(level(), &mut wide);
            apply(rows, &layer.down, &wide, &mut out);
            x.iter_mut().zip(&out).for_each(|(x, o)| *x += o);
            norm(level(), &mut x, &layer.output_norm.gain, &layer.output_norm.offset, eps);
        }
        x
    }
}

fn apply(rows: usize, linear: &Linear, x: &[f32], y: &mut [f32]) {
    let outputs = linear.bias.len();
    let inputs = x.len() / rows;
    y.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(&linear.bias));
    matmul::add_by_rows(rows, inputs, outputs, 1.0, x, &linear.weight, y);
}

/// One head over one text whose part of the rows begins at `start`.
fn attend(n: usize, width: usize, size: usize, start: usize, [q, k, v]: [&[f32]; 3], mixed: &mut [f32]) {
    let mut scores = vec![0.0; n * n];
    let view = |data, rows, columns| View { data, start, rows, columns };
    matmul::small(n, n, size, view(q, width, 1), view(k, 1, width), &mut scores, n, 0, false);
    softmax(level(), &mut scores, n, 1.0 / (size as f32).sqrt());
    let weights = View { data: &scores, start: 0, rows: n, columns: 1 };
    matmul::small(n, size, n, weights, view(v, width, 1), mixed, width, start, false);
}

for_every_level! {
    fn softmax(scores: &mut [f32], n: usize, scale: f32) {
        for row in scores.chunks_exact_mut(n) {
            let most = row.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
            row.iter_mut().for_each(|x| *x = exp((*x - most) * scale));
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|x| *x /= sum);
        }
    }
}

for_every_level! {
    /// Every row to mean 0 and variance 1, then gain and offset.
    fn norm(x: &mut [f32], gain: &[f32], offset: &[f32], eps: f32) {
        let width = gain.len();
        for row in x.chunks_exact_mut(width) {
            let mean = row.iter().sum::<f32>() / width as f32;
            let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / width as f32;
            let scale = 1.0 / (variance + eps).sqrt();
            for ((x, g), o) in row.iter_mut().zip(gain).zip(offset) {
                *x = (*x - mean) * scale * g + o;
            }
        }
    }
}

for_every_level! {
    /// x P(X <= x) of the normal distribution, by Abramowitz and Stegun 7.1.26 (1.5e-7 of the error function).
    fn gelu(all: &mut [f32]) {
        for x in all.iter_mut() {
            let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
            let t = 1.0 / (1.0 + 0.327_591_1 * z);
            let p = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6) * t;
            let tail = 0.5 * p * exp(-z * z);
            *x *= if *x > 0.0 { 1.0 - tail } else { tail };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against values of the normal distribution in tables, and the norm by its definition.
    #[test]
    fn the_activation_and_the_norm() {
        let mut x = [-3.0, -1.0, 0.0, 0.5, 1.0, 2.0];
        gelu(level(), &mut x);
        let exact = [-3.0 * 0.001_349_9, -0.158_655_25, 0.0, 0.5 * 0.691_462_5, 0.841_344_75, 2.0 * 0.977_249_9];
        assert!(x.iter().zip(exact).all(|(x, e)| (x - e).abs() < 1e-5), "{x:?}");
        let mut row = [1.0, 2.0, 3.0, 6.0];
        norm(level(), &mut row, &[1.0, 1.0, 2.0, 1.0], &[0.0, 1.0, 0.0, 0.0], 0.0);
        let s = 3.5f32.sqrt();
        assert!(row.iter().zip([-2.0 / s, -1.0 / s + 1.0, 0.0, 3.0 / s]).all(|(x, e)| (x - e).abs() < 1e-5), "{row:?}");
    }
}
