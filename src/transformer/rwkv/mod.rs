//! RWKV-7, a recurrent language model: all that it knows of what it read is a state of fixed size, which can be saved, branched and merged.
//! Read from safetensors with the names of published models, or from a file of rwkv.cpp; computed in float32, a token at a time. Promises
//! that a state goes on bit for bit as if it had never been put away. Peng et al. 2025, "RWKV-7 Goose", arXiv:2503.14456.
//!
//! Of each layer the state keeps the last input of time mixing and of channel mixing, and a matrix S a head (values x keys), which a token
//! with decay w, key k, value v, removal key q and rate a turns into S (diag(w) - q (q a)') + v k'. What a token does to S is linear, so the
//! product P of these transitions over a text says what the text does to any state: see [`State::after`].

mod file;
mod state;

pub use state::State;

use super::matmul::by_rows;
use super::tensors::Tensors;
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use md5::{Digest, Md5};
use std::collections::BTreeMap;
use std::path::Path;

/// Of the norms of layers, and of heads (64e-5 in the published code).
const EPSILON: f64 = 1e-5;
const HEAD_EPSILON: f64 = 64e-5;

/// Tensors by their published names; matrices outputs x inputs.
type Named = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A matrix, outputs x inputs.
struct Linear {
    inputs: usize,
    outputs: usize,
    weight: Vec<f32>,
}

impl Linear {
    fn of(&self, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; self.outputs];
        by_rows(1, self.inputs, self.outputs, x, &self.weight, &mut y);
        y
    }
}

/// Scale and shift behind a norm.
struct Norm {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Norm {
    /// Of groups of `size` numbers each.
    fn of(&self, x: &[f32], size: usize, epsilon: f64) -> Vec<f32> {
        let mut y = Vec::with_capacity(x.len());
        for group in x.chunks_exact(size) {
            let mean = group.iter().map(|x| f64::from(*x)).sum::<f64>() / size as f64;
            let variance = group.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / size as f64;
            let by = 1.0 / (variance + epsilon).sqrt();
            y.extend(group.iter().map(|x| ((f64::from(*x) - mean) * by) as f32));
        }
        y.iter_mut().zip(self.scale.iter().zip(&self.shift)).for_each(|(y, (scale, shift))| *y = *y * scale + shift);
        y
    }
}

/// A product of two thin matrices with a bias: what a token's decay, rate, mixing of values and gate are made of.
struct Thin {
    down: Linear,
    up: Linear,
    bias: Option<Vec<f32>>,
}

impl Thin {
    fn of(&self, x: &[f32], between: impl Fn(f32) -> f32) -> Vec<f32> {
        let mut y = self.up.of(&self.down.of(x).into_iter().map(between).collect::<Vec<f32>>());
        self.bias.iter().for_each(|bias| y.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
        y
    }
}

struct Layer {
    before_time: Norm,
    before_channel: Norm,
    /// Of receptance, decay, key, value, rate and gate: how much of the input before goes in.
    mix: [Vec<f32>; 6],
    decay: Thin,
    rate: Thin,
    /// None in the first layer, whose values the others mix in.
    value_mix: Option<Thin>,
    gate: Thin,
    /// What makes the removal key of the key; how the rate changes the key; the bonus of a token for itself.
    removal: Vec<f32>,
    key_rate: Vec<f32>,
    bonus: Vec<f32>,
    receptance: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: Norm,
    channel_mix: Vec<f32>,
    channel_key: Linear,
    channel_value: Linear,
}

/// The model.
pub struct Rwkv {
    /// Tokens that it knows.
    pub vocabulary: usize,
    /// Numbers of a residual.
    pub width: usize,
    /// Heads of a layer.
    pub heads: usize,
    /// MD5 of names, shapes and numbers, in hex: states belong to it.
    pub fingerprint: String,
    /// Of a folder that has a tokenizer.json; the bytes of a text are its tokens otherwise.
    tokenizer: Option<Tokenizer>,
    embedding: Vec<f32>,
    first: Norm,
    layers: Vec<Layer>,
    last: Norm,
    head: Linear,
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The tensors of one model, taken out one by one.
struct Taking<'a> {
    all: Named,
    file: &'a Path,
}

impl Taking<'_> {
    fn missing(&self, name: &str) -> Error {
        let what = format!("{} has no tensor `{name}`", self.file.display());
        Error::input(
            what,
            "give an RWKV-7 model: safetensors with the names of the published ones, or a file of rwkv.cpp in FP32 or FP16",
        )
    }

    fn vector(&mut self, name: &str, size: usize) -> Result<Vec<f32>> {
        let (shape, numbers) = self.all.remove(name).ok_or_else(|| self.missing(name))?;
        if numbers.len() != size {
            return Err(misshapen(self.file, name, &shape, &[size]));
        }
        Ok(numbers)
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: Option<usize>) -> Result<Linear> {
        let (shape, weight) = self.all.remove(name).ok_or_else(|| self.missing(name))?;
        let found = if inputs > 0 { weight.len() / inputs } else { 0 };
        let wanted = outputs.unwrap_or(found);
        if weight.len() != inputs * wanted || wanted == 0 || shape.last() != Some(&inputs) {
            return Err(misshapen(self.file, name, &shape, &[wanted, inputs]));
        }
        Ok(Linear { inputs, outputs: wanted, weight })
    }

    fn norm(&mut self, name: &str, size: usize) -> Result<Norm> {
        Ok(Norm { scale: self.vector(&format!("{name}.weight"), size)?, shift: self.vector(&format!("{name}.bias"), size)? })
    }

    fn thin(&mut self, name: &str, width: usize, biased: bool) -> Result<Thin> {
        let down = self.linear(&format!("{name}1"), width, None)?;
        let up = self.linear(&format!("{name}2"), down.outputs, Some(width))?;
        let bias = if biased { Some(self.vector(&format!("{name}0"), width)?) } else { None };
        Ok(Thin { down, up, bias })
    }
}

fn misshapen(file: &Path, name: &str, found: &[usize], wanted: &[usize]) -> Error {
    let what = format!("{}: tensor `{name}` has the shape {found:?} where {wanted:?} is needed", file.display());
    Error::input(what, "get the model's files again, or convert them again")
}

impl Rwkv {
    /// A folder with `model.safetensors`, or a file of rwkv.cpp.
    ///
    /// # Errors
    /// A file that is not there, damaged, or no RWKV-7.
    pub fn open(path: &Path) -> Result<Rwkv> {
        if !path.exists() {
            return Err(Error::input(format!("there is no {}", path.display()), "name a model's folder or file"));
        }
        let all = if path.is_dir() { published(path)? } else { file::read(path)? };
        let mut model = Rwkv::of(all, path)?;
        let words = path.join("tokenizer.json");
        if words.is_file() {
            let bytes = std::fs::read(&words).map_err(|e| Error::file(&words, e))?;
            model.tokenizer = Some(Tokenizer::from_json(&bytes, &words.display().to_string(), model.vocabulary)?);
        }
        Ok(model)
    }

    fn of(all: Named, file: &Path) -> Result<Rwkv> {
        let mut seen = Md5::new();
        for (name, (shape, numbers)) in &all {
            seen.update(format!("{name} {shape:?}"));
            seen.update(bytemuck::cast_slice::<f32, u8>(numbers));
        }
        let fingerprint = seen.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut from = Taking { all, file };
        let (shape, embedding) = from.all.remove("emb.weight").ok_or_else(|| from.missing("emb.weight"))?;
        let [vocabulary, width] = shape[..] else { return Err(misshapen(file, "emb.weight", &shape, &[0, 0])) };
        let heads = from.all.get("blocks.0.att.r_k").ok_or_else(|| from.missing("blocks.0.att.r_k"))?.0[0];
        if width == 0 || heads == 0 || width % heads != 0 {
            return Err(misshapen(file, "blocks.0.att.r_k", &[heads], &[width / 64]));
        }
        let first = from.norm("blocks.0.ln0", width)?;
        let mut layers = Vec::new();
        while from.all.contains_key(&format!("blocks.{}.ln1.weight", layers.len())) {
            let block = format!("blocks.{}", layers.len());
            let att = |name: &str| format!("{block}.att.{name}");
            let mut mix = from.vector(&att("x_rwkvag"), 6 * width)?;
            let mut next = || {
                let rest = mix.split_off(width);
                std::mem::replace(&mut mix, rest)
            };
            let mix = [next(), next(), next(), next(), next(), next()];
            let hidden = format!("{block}.ffn.key.weight");
            let channel_key = from.linear(&hidden, width, None)?;
            layers.push(Layer {
                before_time: from.norm(&format!("{block}.ln1"), width)?,
                before_channel: from.norm(&format!("{block}.ln2"), width)?,
                mix,
                decay: from.thin(&att("w"), width, true)?,
                rate: from.thin(&att("a"), width, true)?,
                value_mix: if layers.is_empty() { None } else { Some(from.thin(&att("v"), width, true)?) },
                gate: from.thin(&att("g"), width, false)?,
                removal: from.vector(&att("k_k"), width)?,
                key_rate: from.vector(&att("k_a"), width)?,
                bonus: from.vector(&att("r_k"), width)?,
                receptance: from.linear(&att("receptance.weight"), width, Some(width))?,
                key: from.linear(&att("key.weight"), width, Some(width))?,
                value: from.linear(&att("value.weight"), width, Some(width))?,
                output: from.linear(&att("output.weight"), width, Some(width))?,
                heads: from.norm(&att("ln_x"), width)?,
                channel_mix: from.vector(&format!("{block}.ffn.x_k"), width)?,
                channel_value: from.linear(&format!("{block}.ffn.value.weight"), channel_key.outputs, Some(width))?,
                channel_key,
            });
        }
        if layers.is_empty() {
            return Err(from.missing("blocks.0.ln1.weight"));
        }
        let (last, head) = (from.norm("ln_out", width)?, from.linear("head.weight", width, Some(vocabulary))?);
        Ok(Rwkv { vocabulary, width, heads, fingerprint, tokenizer: None, embedding, first, layers, last, head })
    }

    /// Layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// A state that has read nothing.
    pub fn state(&self) -> State {
        State::new(&self.fingerprint, self.layers.len(), self.width, self.heads)
    }

    /// The tokens of a text: those of its tokenizer.json, or, of a model that knows 256, its bytes.
    ///
    /// # Errors
    /// A model of another vocabulary without a tokenizer.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        match (&self.tokenizer, self.vocabulary) {
            (Some(tokenizer), _) => tokenizer.encode_bare(text),
            (None, 256) => Ok(text.bytes().map(u32::from).collect()),
            (None, n) => Err(Error::input(
                format!("a vocabulary of {n} tokens, and no tokenizer.json"),
                "give the model as a folder, with its tokenizer.json in it",
            )),
        }
    }

    /// The text of tokens; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// Tokens that the tokenizer does not know.
    pub fn text(&self, tokens: &[u32]) -> Result<String> {
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.decode(tokens),
            None => Ok(String::from_utf8_lossy(&tokens.iter().map(|t| *t as u8).collect::<Vec<u8>>()).into_owned()),
        }
    }

    /// Reads tokens into a state; the logits of what comes next.
    ///
    /// # Errors
    /// No token, one beyond the vocabulary, or a state of another model.
    pub fn read(&self, tokens: &[u32], state: &mut State) -> Result<Vec<f32>> {
        state.check(&self.fingerprint)?;
        if let Some(token) = tokens.iter().find(|t| **t as usize >= self.vocabulary) {
            return Err(Error::input(
                format!("token {token} of a vocabulary of {}", self.vocabulary),
                "use the model's tokenizer",
            ));
        }
        let mut x = Vec::new();
        for token in tokens {
            x = self.step(*token as usize, state);
        }
        match tokens.is_empty() {
            true => Err(Error::input("there is nothing to read", "give a text")),
            false => Ok(self.head.of(&self.last.of(&x, self.width, EPSILON))),
        }
    }

    /// One token through all layers: the residual that leaves them.
    fn step(&self, token: usize, state: &mut State) -> Vec<f32> {
        let width = self.width;
        let mut x = self.first.of(&self.embedding[token * width..][..width], width, EPSILON);
        let mut values = Vec::new();
        for (l, layer) in self.layers.iter().enumerate() {
            let own = layer.before_time.of(&x, width, EPSILON);
            let y = self.mix_time(l, layer, own, &mut values, state);
            x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
            let own = layer.before_channel.of(&x, width, EPSILON);
            let mixed = mixed(&own, state.channel(l), &layer.channel_mix);
            state.channel_mut(l).copy_from_slice(&own);
            let hidden: Vec<f32> = layer.channel_key.of(&mixed).iter().map(|x| x.max(0.0).powi(2)).collect();
            x.iter_mut().zip(layer.channel_value.of(&hidden)).for_each(|(x, y)| *x += y);
        }
        state.tokens += 1;
        x
    }

    fn mix_time(&self, l: usize, layer: &Layer, x: Vec<f32>, first: &mut Vec<f32>, state: &mut State) -> Vec<f32> {
        let [xr, xw, xk, xv, xa, xg] = layer.mix.each_ref().map(|mix| mixed(&x, state.time(l), mix));
        state.time_mut(l).copy_from_slice(&x);
        let r = layer.receptance.of(&xr);
        // exp(-sigmoid(.) / sqrt(e)): between exp(-0.61) and 1.
        let w: Vec<f32> = layer.decay.of(&xw, f32::tanh).iter().map(|x| (-0.606_530_66 * sigmoid(*x)).exp()).collect();
        let mut k = layer.key.of(&xk);
        let mut v = layer.value.of(&xv);
        match &layer.value_mix {
            None => first.clone_from(&v),
            Some(mix) => {
                let part = mix.of(&xv, |x| x);
                v.iter_mut().zip(first.iter().zip(part)).for_each(|(v, (first, part))| *v += (first - *v) * sigmoid(part));
            }
        }
        let a: Vec<f32> = layer.rate.of(&xa, |x| x).into_iter().map(sigmoid).collect();
        let gate = layer.gate.of(&xg, sigmoid);
        let mut removal: Vec<f32> = k.iter().zip(&layer.removal).map(|(k, by)| k * by).collect();
        k.iter_mut().zip(a.iter().zip(&layer.key_rate)).for_each(|(k, (a, by))| *k += *k * (a - 1.0) * by);
        let size = self.width / self.heads;
        let mut y = Vec::with_capacity(self.width);
        for h in 0..self.heads {
            let at = h * size..(h + 1) * size;
            let q = &mut removal[at.clone()];
            let length = q.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-12) as f32;
            q.iter_mut().for_each(|x| *x /= length);
            let away: Vec<f32> = q.iter().zip(&a[at.clone()]).map(|(q, a)| q * a).collect();
            state.turn(l, h, &w[at.clone()], q, &away, &v[at.clone()], &k[at.clone()]);
            y.extend(
                state.matrix(l, h).chunks_exact(size).map(|row| row.iter().zip(&r[at.clone()]).map(|(s, r)| s * r).sum::<f32>()),
            );
        }
        let mut y = layer.heads.of(&y, size, HEAD_EPSILON);
        for h in 0..self.heads {
            let at = h * size..(h + 1) * size;
            let own: f32 = at.clone().map(|i| r[i] * k[i] * layer.bonus[i]).sum();
            at.for_each(|i| y[i] += own * v[i]);
        }
        y.iter_mut().zip(gate).for_each(|(y, gate)| *y *= gate);
        layer.output.of(&y)
    }
}

/// `x` with a part of what was before.
fn mixed(x: &[f32], before: &[f32], part: &[f32]) -> Vec<f32> {
    x.iter().zip(before.iter().zip(part)).map(|(x, (before, part))| x + part * (before - x)).collect()
}

/// Safetensors under the names of the published models, in which thin matrices are inputs x outputs and the six mixtures apart.
fn published(folder: &Path) -> Result<Named> {
    let tensors = Tensors::folder(folder)?;
    let mut all = Named::new();
    let names: Vec<(String, Vec<usize>)> = tensors.infos().map(|info| (info.name.clone(), info.shape.clone())).collect();
    for (name, shape) in names {
        let numbers = tensors.read(&name)?;
        let thin = name.rsplit('.').next().is_some_and(|last| ["w1", "w2", "a1", "a2", "v1", "v2", "g1", "g2"].contains(&last));
        match (&shape[..], thin) {
            (&[inputs, outputs], true) => {
                let turned = (0..outputs * inputs).map(|at| numbers[at % inputs * outputs + at / inputs]).collect();
                all.insert(name, (vec![outputs, inputs], turned));
            }
            _ => drop(all.insert(name, (shape, numbers))),
        }
    }
    let blocks: Vec<String> = all.keys().filter_map(|name| name.strip_suffix("x_r").map(String::from)).collect();
    for block in blocks {
        let mut mix = Vec::new();
        for of in ["r", "w", "k", "v", "a", "g"] {
            mix.extend(all.remove(&format!("{block}x_{of}")).map(|(_, numbers)| numbers).unwrap_or_default());
        }
        all.insert(format!("{block}x_rwkvag"), (vec![mix.len()], mix));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream, key};

    /// A model of drawn numbers; `mixing` scales what goes in of the token before.
    fn drawn(layers: usize, mixing: f32) -> Rwkv {
        let (width, heads, vocabulary, thin, hidden) = (16, 2, 256, 4, 24);
        let mut all = Named::new();
        let mut stream = Stream::new(key(7, 0), Purpose::Weight, 0, 0);
        let mut put = |name: &str, shape: &[usize], scale: f32| {
            let n = shape.iter().product();
            all.insert(name.into(), (shape.to_vec(), (0..n).map(|_| scale * stream.normal() as f32).collect()));
        };
        put("emb.weight", &[vocabulary, width], 1.0);
        put("head.weight", &[vocabulary, width], 1.0);
        let mut norms = vec!["ln_out".to_string(), "blocks.0.ln0".into()];
        for l in 0..layers {
            let block = format!("blocks.{l}");
            norms.extend(["ln1", "ln2", "att.ln_x"].map(|n| format!("{block}.{n}")));
            put(&format!("{block}.att.x_rwkvag"), &[6 * width], mixing);
            put(&format!("{block}.ffn.x_k"), &[width], mixing);
            for of in ["w", "a", "v", "g"] {
                put(&format!("{block}.att.{of}1"), &[thin, width], 0.5);
                put(&format!("{block}.att.{of}2"), &[width, thin], 0.5);
                put(&format!("{block}.att.{of}0"), &[width], 0.5);
            }
            for of in ["k_k", "k_a"] {
                put(&format!("{block}.att.{of}"), &[width], 0.5);
            }
            put(&format!("{block}.att.r_k"), &[heads, width / heads], 0.5);
            for of in ["receptance", "key", "value", "output"] {
                put(&format!("{block}.att.{of}.weight"), &[width, width], 0.3);
            }
            put(&format!("{block}.ffn.key.weight"), &[hidden, width], 0.3);
            put(&format!("{block}.ffn.value.weight"), &[width, hidden], 0.3);
        }
        for norm in norms {
            all.insert(format!("{norm}.weight"), (vec![width], vec![1.0; width]));
            all.insert(format!("{norm}.bias"), (vec![width], vec![0.1; width]));
        }
        Rwkv::of(all, Path::new("drawn")).unwrap_or_else(|e| panic!("{e}"))
    }

    fn read(model: &Rwkv, text: &str, state: &mut State) -> Vec<f32> {
        model.read(&model.tokens(text).unwrap(), state).unwrap()
    }

    /// The reference of rwkv.cpp's own tests: logits after the three bytes \"in.
    #[test]
    fn the_reference_model_gives_its_logits() {
        let Some(folder) = std::env::var_os("SHARPWAVE_SHARED").map(std::path::PathBuf::from).filter(|f| f.exists()) else {
            eprintln!("skipped: the RWKV-7 reference (SHARPWAVE_SHARED names no folder)");
            return;
        };
        let folder = folder.join("models/tiny-rwkv7-834K");
        let model = Rwkv::open(&folder.join("tiny-rwkv-7v0-834K-FP32.bin")).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((model.layers(), model.width, model.heads, model.vocabulary), (12, 64, 1, 256));
        let logits = read(&model, "\"in", &mut model.state());
        let bytes = std::fs::read(folder.join("expected-logits-7v0-834K.bin")).unwrap();
        let expected: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let worst = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-5, "{worst}");
    }

    /// Put away and taken up again, at every place, and branched.
    #[test]
    fn a_state_goes_on_bit_for_bit() {
        let model = drawn(3, 0.5);
        let text = "what was read before decides what comes";
        let mut whole = model.state();
        let expected = read(&model, text, &mut whole);
        for cut in [1, 7, text.len() - 1] {
            let mut state = model.state();
            read(&model, &text[..cut], &mut state);
            let bytes = state.to_bytes();
            let mut again = State::from_bytes(&bytes, Path::new("s")).unwrap();
            assert_eq!(again, state);
            // The branch that reads something else changes nothing here.
            read(&model, "something else", &mut state);
            assert_eq!(read(&model, &text[cut..], &mut again), expected);
            assert_eq!(again, whole);
        }
    }

    #[test]
    fn what_is_not_whole_or_not_its_own_is_refused() {
        let model = drawn(1, 0.5);
        let mut state = model.state();
        read(&model, "abc", &mut state);
        let bytes = state.to_bytes();
        for at in (0..bytes.len()).step_by(37).chain([bytes.len() - 1]) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(State::from_bytes(&damaged, Path::new("s")).is_err(), "byte {at}");
            assert!(State::from_bytes(&bytes[..at], Path::new("s")).is_err(), "cut at {at}");
        }
        let other = drawn(2, 0.5);
        assert!(
            other.read(&[1], &mut state).unwrap_err().to_string().contains("another") || other.fingerprint != model.fingerprint
        );
        assert!(other.read(&[1], &mut state).is_err() && state.after(&other.state()).is_err());
        assert!(model.read(&[256], &mut state).is_err() && model.read(&[], &mut state).is_err());
        assert!(state.mixed(&model.state(), 1.5).is_err());
        let mut on = state.clone();
        read(&model, "d", &mut on);
        assert!(on.after(&state).is_ok() && state.mixed(&on, 0.5).unwrap().after(&state).is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.bin");
        for bytes in [&b""[..], b"no model at all, but long enough for a header", &[0x66, 0x6d, 0x67, 0x67, 101, 0, 0, 0][..]] {
            std::fs::write(&path, bytes).unwrap();
            assert!(Rwkv::open(&path).is_err_and(|e| e.to_string().contains("m.bin")));
        }
        assert!(Rwkv::open(&folder.path().join("none")).is_err());
    }

    /// One layer that mixes in nothing of the token before: merging is running on, in any order of brackets; and it beats interpolation
    /// in a deeper one.
    #[test]
    fn merging_by_transitions_is_running_on() {
        let one = drawn(1, 0.0);
        let states = ["the first text", "another", "and a third"].map(|text| {
            let mut state = one.state();
            read(&one, text, &mut state);
            state
        });
        let mut on = one.state();
        let expected = read(&one, "the first textanotherand a third", &mut on);
        let [a, b, c] = &states;
        let merged = [c.after(&b.after(a).unwrap()).unwrap(), c.after(b).unwrap().after(a).unwrap()];
        for merged in merged {
            assert_eq!(merged.tokens, on.tokens);
            let next = |state: &State| read(&one, "x", &mut state.clone());
            let worst = next(&merged).iter().zip(next(&on)).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "{worst}");
        }
        assert!(expected.iter().all(|x| x.is_finite()));
        let deep = drawn(3, 0.3);
        let far = |merged: &State, on: &State| -> f32 {
            let next = |state: &State| read(&deep, "x", &mut state.clone());
            next(merged).iter().zip(next(on)).map(|(x, y)| (x - y).powi(2)).sum()
        };
        let (mut by_products, mut by_mixing) = (0.0, 0.0);
        for (first, second) in [("one text", "is followed by this"), ("abcdefgh", "1234"), ("now", "and here is more of it")] {
            let [mut a, mut b, mut on] = [deep.state(), deep.state(), deep.state()];
            read(&deep, first, &mut a);
            read(&deep, second, &mut b);
            read(&deep, &format!("{first}{second}"), &mut on);
            by_products += far(&b.after(&a).unwrap(), &on);
            by_mixing += far(&b.mixed(&a, 0.5).unwrap(), &on);
        }
        assert!(by_products < 0.5 * by_mixing, "{by_products} {by_mixing}");
    }
}
