//! The transformer host: against reference logits of published models, against a naive forward in float64 written here, and
//! against itself (cache, shared prefixes, resumption, hooks). What is refused, and how it is said.

use crate::common::shared;
use candle_core::quantized::gguf_file::{self, Value as Meta};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use sharpwave::rng::{Purpose, Stream, key};
use sharpwave::transformer::config::Config;
use sharpwave::transformer::decoder::{Cache, Decoder, Logits};
use sharpwave::transformer::hooks::{Adapter, LowRank, Perturbation, Recorder};
use sharpwave::transformer::sample::Sampler;
use sharpwave::transformer::site::{Linear, Site};
use sharpwave::transformer::{Ending, Host, Source};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

const GOLDEN: &str = include_str!("../golden/stories260K.json");
const TOKENIZER: &str = r#"{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"WhitespaceSplit"},
    "post_processor":null,"decoder":null,"model":{"type":"WordLevel","vocab":{"a":0,"b":1,"c":2},"unk_token":"a"}}"#;

pub fn stories() -> Host {
    Source::built_in().and_then(|s| s.load()).unwrap_or_else(|e| panic!("{e}"))
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

pub fn largest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

pub fn plain(decoder: &Decoder, tokens: &[u32]) -> Vec<f32> {
    decoder.forward(&mut [decoder.cache()], &[tokens], Logits::All, &mut ()).unwrap_or_else(|e| panic!("{e}")).logits
}

fn greedy(host: &mut Host, prompt: &[u32], tokens: usize) -> Vec<u32> {
    host.decoder.config.eos.clear();
    let mut chosen = Vec::new();
    let ending = host.generate(prompt, tokens, &mut Sampler::greedy(), &mut (), |t| {
        chosen.push(t);
        ControlFlow::Continue(())
    });
    assert_eq!(ending.unwrap(), Ending::Length);
    chosen
}

/// Compares with the reference and returns the largest difference of a logit. Numbers are given to 5 digits after the point.
fn compare(host: &mut Host, reference: &Value, first: &[u32], tokens: usize) -> f64 {
    let mut worst = 0f64;
    for case in reference["cases"].as_array().unwrap() {
        let (prompt, expected) = (case["prompt"].as_str().unwrap(), ids(&case["ids"]));
        let encoded: Vec<u32> = first.iter().copied().chain(host.tokenizer.encode(prompt).unwrap()).collect();
        assert_eq!(encoded, expected, "{prompt}");
        let mut seen = Recorder::new(&[Site::HEAD], &[]);
        let output = host.decoder.forward(&mut [host.decoder.cache()], &[&expected], Logits::All, &mut seen).unwrap();
        let last = output.row(expected.len() - 1);
        let mut order: Vec<u32> = (0..last.len() as u32).collect();
        order.sort_by(|a, b| last[*b as usize].total_cmp(&last[*a as usize]));
        assert_eq!(order[..10], ids(&case["top10_ids"])[..], "{prompt}");
        for (id, logit) in order.iter().zip(numbers(&case["top10_logits"])) {
            worst = worst.max((last[*id as usize] as f64 - logit).abs());
        }
        let width = host.decoder.config.width;
        let hidden = &seen.linears[0].input[(expected.len() - 1) * width..];
        for (x, y) in hidden.iter().zip(numbers(&case["hidden_last_first8"])) {
            worst = worst.max((*x as f64 - y).abs());
        }
        let mean = last.iter().map(|x| *x as f64).sum::<f64>() / last.len() as f64;
        let deviation = (last.iter().map(|x| (*x as f64 - mean).powi(2)).sum::<f64>() / last.len() as f64).sqrt();
        assert!((mean - case["logits_mean"].as_f64().unwrap()).abs() < 1e-3, "{prompt}: {mean}");
        assert!((deviation - case["logits_std"].as_f64().unwrap()).abs() < 3e-2, "{prompt}: {deviation}");
        let surprise = |t: usize| {
            let row = output.row(t);
            let top = row.iter().copied().fold(f32::MIN, f32::max) as f64;
            top + row.iter().map(|x| (*x as f64 - top).exp()).sum::<f64>().ln() - row[expected[t + 1] as usize] as f64
        };
        let n = expected.len() - 1;
        let nll = (0..n).map(surprise).sum::<f64>() / n.max(1) as f64;
        assert!((nll - case["prompt_nll"].as_f64().unwrap()).abs() < 1e-4, "{prompt}: {nll}");
        let all = ids(&case["greedy24_ids"]);
        assert_eq!(greedy(host, &expected, tokens), all[..tokens], "{prompt}");
    }
    worst
}

pub fn said(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

#[test]
fn stories260k_gives_the_reference_logits_and_texts() {
    let reference: Value = serde_json::from_str(GOLDEN).unwrap();
    let mut host = stories();
    let worst = compare(&mut host, &reference, &[], 24);
    said(&format!("stories260K: largest difference from transformers {worst:.1e}"));
    assert!(worst < 1e-4, "{worst}");
    for case in reference["cases"].as_array().unwrap() {
        let prompt = ids(&case["ids"]);
        let mut text = host.tokenizer.stream(&prompt);
        let mut whole: String = ids(&case["greedy24_ids"]).iter().map(|t| text.push(*t).unwrap()).collect();
        whole += &text.finish().unwrap();
        assert_eq!(whole.trim_start(), case["greedy24_text"].as_str().unwrap().trim_start());
    }
}

#[test]
fn the_shared_stories260k_is_the_one_built_in() {
    let Some(folder) = shared("models/stories260K") else { return };
    let text = std::fs::read_to_string(folder.join("reference.json")).unwrap();
    let (theirs, ours): (Value, Value) = (serde_json::from_str(&text).unwrap(), serde_json::from_str(GOLDEN).unwrap());
    assert_eq!(theirs["cases"], ours["cases"]);
    let source = Source::open(folder.to_str().unwrap()).unwrap();
    assert_eq!(source.parameters(), 260_032);
    assert_eq!(source.fingerprint().unwrap(), Source::built_in().unwrap().fingerprint().unwrap());
}

/// Q4_1 and Q8_0 blocks, rows of q and k permuted, tokens by tokenizer.json and by what the file embeds.
#[test]
fn smollm2_gives_the_reference_logits_and_texts() {
    let Some(folder) = shared("models/SmolLM2-135M-Instruct-Q4_1") else { return };
    let source = Source::open(folder.to_str().unwrap()).unwrap();
    assert_eq!(source.parameters(), 134_515_008);
    let mut host = source.load().unwrap();
    // The end of a turn, as the file says, and what parts documents.
    assert_eq!(host.decoder.config.eos, [2, 0]);
    let reference: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("reference.json")).unwrap()).unwrap();
    // The reference's logits are met to rounding. Its texts are not the most probable tokens by more than rounding (up to 6 in
    // a logit) from the fourth token on, so later ones are compared with a pass over the whole text instead.
    let worst = compare(&mut host, &reference, &[0], 3);
    let prompt = ids(&reference["cases"][0]["ids"]);
    let whole = [&prompt[..], &greedy(&mut host, &prompt, 12)].concat();
    let all = host.decoder.forward(&mut [host.decoder.cache()], &[&whole], Logits::All, &mut ()).unwrap();
    for t in prompt.len()..whole.len() {
        assert_eq!(Sampler::greedy().next(all.row(t - 1)), whole[t], "token {t}");
    }
    said(&format!("SmolLM2-135M: largest difference from transformers {worst:.1e}"));
    assert!(worst < 1e-3, "{worst}");
    let config = folder.join("config.json");
    let theirs = Config::from_json(&std::fs::read_to_string(&config).unwrap(), "config.json").unwrap();
    let mut ours = host.decoder.config.clone();
    ours.eos = theirs.eos.clone();
    assert_eq!(theirs, ours);
    // The same file where no tokenizer.json lies beside it.
    let alone = tempfile::tempdir().unwrap();
    let link = alone.path().join("alone.gguf");
    let file = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf").canonicalize().unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&file, &link).unwrap();
    #[cfg(not(unix))]
    std::fs::copy(&file, &link).unwrap();
    let embedded = Source::open(link.to_str().unwrap()).unwrap().tokenizer().unwrap();
    assert!(embedded.source.contains("embedded") && embedded.size() == 49_152);
    for text in [
        "The capital of France is",
        "<|im_start|>user\nWhat's up, Zoë?<|im_end|>\n",
        "  def f(x):\n\treturn x\u{00B2} + 日本語 🙂  \n\n",
        "I'll pay don't they're",
    ] {
        let tokens = embedded.encode(text).unwrap();
        assert_eq!(tokens, host.tokenizer.encode(text).unwrap(), "{text}");
        let mut stream = embedded.stream(&[]);
        let mut whole: String = tokens.iter().map(|t| stream.push(*t).unwrap()).collect();
        whole += &stream.finish().unwrap();
        assert_eq!(whole, text.replace("<|im_start|>", "").replace("<|im_end|>", ""));
    }
}

const PROMPTS: [&str; 3] = ["Once upon a time there was a dog", "Once upon a time there was a red ball in a box", "Once upon a"];

#[test]
fn token_by_token_equals_all_at_once() {
    let host = stories();
    let tokens = host.tokenizer.encode(PROMPTS[1]).unwrap();
    let all = plain(&host.decoder, &tokens);
    let mut cache = [host.decoder.cache()];
    let mut steps = Vec::new();
    for token in &tokens {
        steps.extend(host.decoder.forward(&mut cache, &[&[*token]], Logits::Last, &mut ()).unwrap().logits);
    }
    assert_eq!(cache[0].positions(), tokens.len());
    let worst = largest(&steps, &all);
    assert!(worst < 1e-4, "{worst}");
}

/// Prompts together, with what they share computed once, and the tokens that follow in one batch.
#[test]
fn shared_prefixes_and_batches_equal_single_prompts() {
    let host = stories();
    let d = &host.decoder;
    let prompts: Vec<Vec<u32>> = PROMPTS.iter().map(|p| host.tokenizer.encode(p).unwrap()).collect();
    let slices: Vec<&[u32]> = prompts.iter().map(|p| &p[..]).collect();
    let mut seen = Recorder::new(&[], &[0]);
    let (mut caches, output) = d.prefill(&slices, &mut seen).unwrap();
    let rows: usize = seen.residuals.iter().map(|(_, rows, _)| rows.len()).sum();
    let shared = prompts[2].len() - 1;
    assert_eq!(rows, prompts.iter().map(|p| p.len() - shared).sum::<usize>() + shared);
    assert!(seen.residuals[0].1.iter().all(|row| row.sequence.is_none()));
    let next = [7u32, 300, 41];
    let after = d.forward(&mut caches, &[&next[..1], &next[1..2], &next[2..]], Logits::Last, &mut ()).unwrap();
    for (i, prompt) in prompts.iter().enumerate() {
        let mut whole = prompt.clone();
        whole.push(next[i]);
        let alone = plain(d, &whole);
        let v = d.config.vocabulary;
        let worst = largest(output.row(i), &alone[(prompt.len() - 1) * v..prompt.len() * v])
            .max(largest(after.row(i), &alone[prompt.len() * v..]));
        assert!(worst < 1e-4, "prompt {i}: {worst}");
        assert_eq!(caches[i].positions(), whole.len());
    }
}

#[test]
fn resuming_from_any_layer_equals_the_whole_pass() {
    let host = stories();
    let d = &host.decoder;
    let tokens = host.tokenizer.encode(PROMPTS[0]).unwrap();
    let (all, width, keep) = (plain(d, &tokens), d.config.width, 3);
    let layers: Vec<usize> = (0..=d.config.layers).collect();
    let mut seen = Recorder::new(&[], &layers);
    let mut cache = [d.cache()];
    d.forward(&mut cache, &[&tokens], Logits::Skip, &mut seen).unwrap();
    for (layer, _, residual) in seen.residuals {
        let mut again = cache.clone();
        again[0].rewind(layer, keep).unwrap();
        if layer > 0 && layer < d.config.layers {
            let error = d.forward(&mut again.clone(), &[&[5]], Logits::Last, &mut ()).unwrap_err().to_string();
            assert!(error.contains("different numbers of positions"), "{error}");
        }
        let n = tokens.len() - keep;
        let output = d.resume(layer, &residual[keep * width..], &mut again, &[n], Logits::All, &mut ()).unwrap();
        let worst = largest(&output.logits, &all[keep * d.config.vocabulary..]);
        assert!(worst < 1e-4, "layer {layer}: {worst}");
        assert_eq!(again[0].positions(), tokens.len());
        let more = d.forward(&mut again, &[&[9]], Logits::Last, &mut ()).unwrap();
        let whole = plain(d, &[&tokens[..], &[9]].concat());
        assert!(largest(&more.logits, &whole[tokens.len() * d.config.vocabulary..]) < 1e-4);
    }
}

pub fn drawn(n: usize, deviation: f64, sub: u32) -> Vec<f32> {
    let mut stream = Stream::new(key(11, 0), Purpose::Weight, 0, sub);
    (0..n).map(|_| (stream.normal() * deviation) as f32).collect()
}

#[test]
fn a_low_rank_term_equals_a_changed_weight_at_every_linear_layer() {
    let host = stories();
    let d = &host.decoder;
    let tokens = host.tokenizer.encode(PROMPTS[0]).unwrap();
    let before = plain(d, &tokens);
    for (i, linear) in Linear::IN_LAYER.into_iter().chain([Linear::Head]).enumerate() {
        let site = if linear == Linear::Head { Site::HEAD } else { Site { layer: i % d.config.layers, linear } };
        let ((outputs, inputs), rank, scale) = (d.config.shape(linear), 3, 0.7);
        let (a, b) = (drawn(rank * inputs, 0.1, i as u32), drawn(outputs * rank, 0.3, 100 + i as u32));
        let mut changed = d.clone();
        let weight = std::sync::Arc::make_mut(&mut changed.matrix_mut(site).weight);
        for o in 0..outputs {
            for j in 0..inputs {
                weight[o * inputs + j] += scale * (0..rank).map(|r| b[o * rank + r] * a[r * inputs + j]).sum::<f32>();
            }
        }
        let mut adapter = Adapter::default();
        adapter.insert(&d.config, site, LowRank { rank, a, b, scale }).unwrap();
        assert_eq!(adapter.terms().count(), 1);
        let with = d.forward(&mut [d.cache()], &[&tokens], Logits::All, &mut &adapter).unwrap().logits;
        let worst = largest(&with, &plain(&changed, &tokens));
        assert!(worst < 2e-4, "{site}: {worst}");
        assert!(largest(&with, &before) > 1e-2, "{site} changes nothing");
        assert_eq!(Linear::named(linear.name()), Some(linear));
    }
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let host = stories();
    let config = &host.decoder.config;
    let term = |rank: usize, a: usize, b: usize| LowRank { rank, a: vec![0.0; a], b: vec![0.0; b], scale: 1.0 };
    let mut adapter = Adapter::default();
    let site = Site { layer: 1, linear: Linear::Down };
    assert!(adapter.insert(config, site, term(2, 2 * 172, 2 * 64)).is_ok());
    for (site, term, word) in [
        (site, term(2, 2 * 64, 2 * 172), "layers.1.down_proj"),
        (site, term(0, 0, 0), "factors"),
        (Site { layer: 5, linear: Linear::Q }, term(1, 64, 64), "layers 0 to 4"),
        (site, LowRank { scale: f32::NAN, ..term(1, 172, 64) }, "not finite"),
    ] {
        let error = adapter.insert(config, site, term).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

/// The same as resuming from the changed residual; positions before it, and other sequences, keep their logits.
#[test]
fn a_perturbation_acts_at_its_position_and_after() {
    let host = stories();
    let d = &host.decoder;
    let (v, width) = (d.config.vocabulary, d.config.width);
    let tokens = host.tokenizer.encode(PROMPTS[0]).unwrap();
    let (layer, position, delta) = (2, 4, drawn(width, 1.0, 7));
    let change = Perturbation { layer, sequence: 1, position, delta: delta.clone() };
    let mut seen = (Recorder::new(&[], &[layer]), &change);
    let mut caches = [d.cache(), d.cache()];
    let both = d.forward(&mut caches, &[&tokens, &tokens], Logits::All, &mut seen).unwrap().logits;
    let (other, changed) = both.split_at(tokens.len() * v);
    let before = plain(d, &tokens);
    assert!(largest(other, &before) < 1e-4);
    assert!(largest(&changed[..position * v], &before[..position * v]) < 1e-4);
    for t in position..tokens.len() {
        assert!(largest(&changed[t * v..][..v], &before[t * v..][..v]) > 1e-3, "position {t} is as before");
    }
    let mut residual = seen.0.residuals[0].2[tokens.len() * width..].to_vec();
    residual[position * width..].iter_mut().zip(&delta).for_each(|(x, d)| *x += d);
    let mut cache = [caches[0].clone()];
    cache[0].rewind(layer, 0).unwrap();
    let resumed = d.resume(layer, &residual, &mut cache, &[tokens.len()], Logits::All, &mut ()).unwrap().logits;
    assert!(largest(&resumed, changed) < 1e-4);
}

#[test]
fn a_recorder_sees_inputs_and_outputs_that_fit_the_weights() {
    let host = stories();
    let d = &host.decoder;
    let site = Site { layer: 3, linear: Linear::V };
    let mut seen = Recorder::new(&[site], &[]);
    d.forward(&mut [d.cache()], &[&[1, 403, 407]], Logits::Skip, &mut seen).unwrap();
    let record = &seen.linears[0];
    assert_eq!((record.rows.len(), record.rows[2].position, record.rows[2].sequence), (3, 2, Some(0)));
    let (outputs, inputs) = d.config.shape(Linear::V);
    for r in 0..3 {
        for o in 0..outputs {
            let sum: f32 = (0..inputs).map(|i| d.matrix(site).weight[o * inputs + i] * record.input[r * inputs + i]).sum();
            assert!((sum - record.output[r * outputs + o]).abs() < 1e-4);
        }
    }
}

/// A small random model, as files and for the naive forward.
pub struct Tiny {
    pub config: Value,
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

pub fn tiny(model_type: &str, changes: Value) -> Tiny {
    let mut config = json!({"model_type": model_type, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 50, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false, "hidden_act": "silu"});
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let (w, f, v, dim) = (size("hidden_size"), size("intermediate_size"), size("vocab_size"), size("head_dim"));
    let (q, kv) = (size("num_attention_heads") * dim, size("num_key_value_heads") * dim);
    let mut shapes = vec![("model.embed_tokens.weight".to_string(), vec![v, w]), ("model.norm.weight".into(), vec![w])];
    for l in 0..size("num_hidden_layers") {
        let mut put = |name: &str, shape: &[usize]| shapes.push((format!("model.layers.{l}.{name}"), shape.to_vec()));
        put("input_layernorm.weight", &[w]);
        put("post_attention_layernorm.weight", &[w]);
        for (name, rows, columns) in [("q", q, w), ("k", kv, w), ("v", kv, w), ("o", w, q)] {
            put(&format!("self_attn.{name}_proj.weight"), &[rows, columns]);
            if config["attention_bias"] == true || model_type == "qwen2" && name != "o" {
                put(&format!("self_attn.{name}_proj.bias"), &[rows]);
            }
        }
        for (name, rows, columns) in [("gate", f, w), ("up", f, w), ("down", w, f)] {
            put(&format!("mlp.{name}_proj.weight"), &[rows, columns]);
            if config["mlp_bias"] == true {
                put(&format!("mlp.{name}_proj.bias"), &[rows]);
            }
        }
        if model_type == "qwen3" {
            put("self_attn.q_norm.weight", &[dim]);
            put("self_attn.k_norm.weight", &[dim]);
        }
    }
    if config["tie_word_embeddings"] == false {
        shapes.push(("lm_head.weight".into(), vec![v, w]));
    }
    let draw = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
        let n = shape.iter().product();
        let shift = if name.contains("norm") { 1.0 } else { 0.0 };
        let values = drawn(n, if shape.len() == 2 { 1.0 / (shape[1] as f64).sqrt() } else { 0.2 }, 1000 + i as u32);
        (name, (shape, values.iter().map(|x| x + shift).collect()))
    };
    let tensors = shapes.into_iter().enumerate().map(draw).collect();
    Tiny { config, tensors }
}

impl Tiny {
    fn tensor(&self, name: &str, kind: DType) -> Tensor {
        let (shape, values) = &self.tensors[name];
        Tensor::from_vec(values.clone(), shape.clone(), &Device::Cpu).unwrap().to_dtype(kind).unwrap()
    }

    pub fn write(&self, folder: &Path, kind: DType) {
        std::fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
        std::fs::write(folder.join("tokenizer.json"), TOKENIZER).unwrap();
        let all: HashMap<String, Tensor> = self.tensors.keys().map(|n| (n.clone(), self.tensor(n, kind))).collect();
        candle_core::safetensors::save(&all, folder.join("model.safetensors")).unwrap();
    }

    pub fn host(&self) -> Host {
        let folder = tempfile::tempdir().unwrap();
        if self.config["model_type"] == "phi3" {
            self.fused().write(folder.path(), DType::F32);
        } else {
            self.write(folder.path(), DType::F32);
        }
        Host::open(folder.path().to_str().unwrap()).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The same model as its files have it: phi3's q, k and v below each other in one tensor, and gate and up in another.
    fn fused(&self) -> Tiny {
        let mut tensors = self.tensors.clone();
        for l in 0..self.number("num_hidden_layers") {
            for (whole, parts) in [
                ("self_attn.qkv_proj", &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"][..]),
                ("mlp.gate_up_proj", &["mlp.gate_proj", "mlp.up_proj"]),
            ] {
                let name = |what: &str| format!("model.layers.{l}.{what}.weight");
                let taken: Vec<(Vec<usize>, Vec<f32>)> = parts.iter().map(|p| tensors.remove(&name(p)).unwrap()).collect();
                let rows = taken.iter().map(|(shape, _)| shape[0]).sum();
                let values = taken.iter().flat_map(|(_, values)| values.clone()).collect();
                tensors.insert(name(whole), (vec![rows, taken[0].0[1]], values));
            }
        }
        Tiny { config: self.config.clone(), tensors }
    }

    fn number(&self, key: &str) -> usize {
        self.config[key].as_u64().unwrap() as usize
    }

    /// `y = W x + b` in float64.
    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (shape, weight) = &self.tensors[&format!("{name}.weight")];
        let bias = self.tensors.get(&format!("{name}.bias"));
        let dot = |o: usize| x.iter().enumerate().map(|(i, x)| x * weight[o * shape[1] + i] as f64).sum::<f64>();
        (0..shape[0]).map(|o| dot(o) + bias.map_or(0.0, |b| b.1[o] as f64)).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + self.config["rms_norm_eps"].as_f64().unwrap();
        x.iter().zip(&self.tensors[name].1).map(|(x, w)| x / square.sqrt() * *w as f64).collect()
    }

    /// Radians a position of pair `i`, as the papers and Hugging Face define them, by wavelength.
    fn frequency(&self, i: usize) -> f64 {
        let f = self.config["rope_theta"].as_f64().unwrap().powf(-2.0 * i as f64 / self.number("head_dim") as f64);
        let scaling = &self.config["rope_scaling"];
        let number = |key: &str| scaling[key].as_f64().unwrap();
        match scaling["rope_type"].as_str().or(scaling["type"].as_str()) {
            Some("yarn") => {
                // The pair that turns so many times in the original context.
                let (dim, base) = (self.number("head_dim") as f64, self.config["rope_theta"].as_f64().unwrap());
                let length = number("original_max_position_embeddings");
                let pair = |turns: f64| dim * (length / (std::f64::consts::TAU * turns)).log2() / (2.0 * base.log2());
                let beta = |key: &str, usual: f64| scaling[key].as_f64().unwrap_or(usual);
                let low = pair(beta("beta_fast", 32.0)).floor().max(0.0);
                let high = pair(beta("beta_slow", 1.0)).ceil().min(dim - 1.0);
                let i = i as f64;
                let kept = if i <= low {
                    1.0
                } else if i >= high {
                    0.0
                } else {
                    1.0 - (i - low) / (high - low)
                };
                kept * f + (1.0 - kept) * f / number("factor")
            }
            Some("linear") => f / number("factor"),
            Some("llama3") => {
                let (length, wave) = (number("original_max_position_embeddings"), std::f64::consts::TAU / f);
                let (low, high) = (number("low_freq_factor"), number("high_freq_factor"));
                if wave < length / high {
                    f
                } else if wave > length / low {
                    f / number("factor")
                } else {
                    let smooth = (length / wave - low) / (high - low);
                    (1.0 - smooth) * f / number("factor") + smooth * f
                }
            }
            _ => f,
        }
    }

    /// What YaRN multiplies rotated queries and keys with.
    fn magnitude(&self) -> f64 {
        let scaling = &self.config["rope_scaling"];
        let yarn = scaling["rope_type"] == "yarn" || scaling["type"] == "yarn";
        let grown = |scale: f64| 1.0 + 0.1 * scale * scaling["factor"].as_f64().unwrap().ln();
        match (scaling["attention_factor"].as_f64(), scaling["mscale"].as_f64(), scaling["mscale_all_dim"].as_f64()) {
            _ if !yarn => 1.0,
            (Some(factor), ..) => factor,
            (_, Some(one), Some(all)) => grown(one) / grown(all),
            _ => grown(1.0),
        }
    }

    fn rotated(&self, x: &[f64], position: usize) -> Vec<f64> {
        let dim = x.len();
        let x: Vec<f64> = x.iter().map(|x| x * self.magnitude()).collect();
        let mut y = x.clone();
        for i in 0..dim / 2 {
            let angle = position as f64 * self.frequency(i);
            y[i] = x[i] * angle.cos() - x[i + dim / 2] * angle.sin();
            y[i + dim / 2] = x[i] * angle.sin() + x[i + dim / 2] * angle.cos();
        }
        y
    }

    /// Logits of every position, one position and one head at a time.
    fn naive(&self, tokens: &[u32]) -> Vec<f64> {
        let (dim, heads, kv) = (self.number("head_dim"), self.number("num_attention_heads"), self.number("num_key_value_heads"));
        let width = self.number("hidden_size");
        let window = self.config["sliding_window"].as_u64().filter(|_| self.config["use_sliding_window"] != false);
        let window = window.map_or(usize::MAX, |w| w as usize);
        let table = &self.tensors["model.embed_tokens.weight"].1;
        let row = |t: &u32| table[*t as usize * width..][..width].iter().map(|x| *x as f64).collect::<Vec<f64>>();
        let mut x: Vec<Vec<f64>> = tokens.iter().map(row).collect();
        for l in 0..self.number("num_hidden_layers") {
            let name = |what: &str| format!("model.layers.{l}.{what}");
            let split = |what: &str, x: &[f64], position: usize, turn: bool| -> Vec<Vec<f64>> {
                let all = self.linear(&name(&format!("self_attn.{what}_proj")), x);
                let norm = name(&format!("self_attn.{what}_norm.weight"));
                let normed = |h: &[f64]| if self.tensors.contains_key(&norm) { self.norm(&norm, h) } else { h.to_vec() };
                all.chunks(dim).map(|h| if turn { self.rotated(&normed(h), position) } else { h.to_vec() }).collect()
            };
            let normed: Vec<Vec<f64>> = x.iter().map(|x| self.norm(&name("input_layernorm.weight"), x)).collect();
            let each =
                |what: &str, turn: bool| normed.iter().enumerate().map(|(t, x)| split(what, x, t, turn)).collect::<Vec<_>>();
            let (q, k, v) = (each("q", true), each("k", true), each("v", false));
            for t in 0..tokens.len() {
                let mut mixed = Vec::new();
                for h in 0..heads {
                    let g = h / (heads / kv);
                    let seen: Vec<usize> = (0..=t).filter(|s| t - s < window).collect();
                    let score = |s: &usize| (0..dim).map(|d| q[t][h][d] * k[*s][g][d]).sum::<f64>() / (dim as f64).sqrt();
                    let weights: Vec<f64> = seen.iter().map(|s| score(s).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    mixed.extend((0..dim).map(|d| seen.iter().zip(&weights).map(|(s, w)| w / sum * v[*s][g][d]).sum::<f64>()));
                }
                let out = self.linear(&name("self_attn.o_proj"), &mixed);
                x[t].iter_mut().zip(out).for_each(|(x, y)| *x += y);
                let normed = self.norm(&name("post_attention_layernorm.weight"), &x[t]);
                let (gate, up) = (self.linear(&name("mlp.gate_proj"), &normed), self.linear(&name("mlp.up_proj"), &normed));
                let inner: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
                let out = self.linear(&name("mlp.down_proj"), &inner);
                x[t].iter_mut().zip(out).for_each(|(x, y)| *x += y);
            }
        }
        let head = if self.config["tie_word_embeddings"] == true { "model.embed_tokens" } else { "lm_head" };
        x.iter().flat_map(|x| self.linear(head, &self.norm("model.norm.weight", x))).collect()
    }

    /// As llama.cpp would write it: its names, and the rows of q and k of llama as neighbouring pairs.
    pub fn write_gguf(&self, path: &Path, kind: GgmlDType, more: &[(&str, Meta)]) {
        let name = self.config["model_type"].as_str().unwrap();
        let key = |what: &str| format!("{name}.{what}");
        let n = |key: &str| Meta::U32(self.number(key) as u32);
        let mut meta: Vec<(String, Meta)> = vec![
            ("general.architecture".into(), Meta::String(name.into())),
            (key("block_count"), n("num_hidden_layers")),
            (key("embedding_length"), n("hidden_size")),
            (key("feed_forward_length"), n("intermediate_size")),
            (key("attention.head_count"), n("num_attention_heads")),
            (key("attention.head_count_kv"), n("num_key_value_heads")),
            (key("attention.key_length"), n("head_dim")),
            (key("context_length"), n("max_position_embeddings")),
            (key("attention.layer_norm_rms_epsilon"), Meta::F32(1e-5)),
            (key("rope.freq_base"), Meta::F32(10000.0)),
        ];
        meta.extend(more.iter().map(|(k, v)| (k.to_string(), v.clone())));
        let swap = [
            ("model.layers.", "blk."),
            ("self_attn.qkv_proj", "attn_qkv"),
            ("mlp.gate_up_proj", "ffn_up"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.q_norm", "attn_q_norm"),
            ("self_attn.k_norm", "attn_k_norm"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
            ("model.embed_tokens", "token_embd"),
            ("model.norm", "output_norm"),
            ("lm_head", "output"),
        ];
        let quantised: Vec<(String, QTensor)> = self
            .tensors
            .iter()
            .map(|(name, (shape, values))| {
                let theirs = swap.iter().fold(name.clone(), |name, (from, to)| name.replace(from, to));
                let mut tensor = Tensor::from_vec(values.clone(), shape.clone(), &Device::Cpu).unwrap();
                let turned = name.contains("q_proj") || name.contains("k_proj");
                if self.config["model_type"] == "llama" && turned {
                    let dim = self.number("head_dim");
                    let heads = shape[0] / dim;
                    let rest = shape.get(1).copied().unwrap_or(1);
                    tensor = tensor.reshape((heads, 2, dim / 2, rest)).unwrap().transpose(1, 2).unwrap().contiguous().unwrap();
                    tensor = tensor.reshape(shape.clone()).unwrap();
                }
                let kind = if shape.len() == 2 { kind } else { GgmlDType::F32 };
                (theirs, QTensor::quantize(&tensor, kind).unwrap())
            })
            .collect();
        let meta: Vec<(&str, &Meta)> = meta.iter().map(|(k, v)| (k.as_str(), v)).collect();
        let tensors: Vec<(&str, &QTensor)> = quantised.iter().map(|(n, t)| (n.as_str(), t)).collect();
        gguf_file::write(&mut std::fs::File::create(path).unwrap(), &meta, &tensors).unwrap();
    }
}

/// YaRN's settings with some changed.
fn yarn(changes: Value) -> Value {
    let mut all = json!({"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32});
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    all
}

pub const TOKENS: [u32; 12] = [3, 41, 7, 7, 0, 22, 49, 13, 5, 30, 31, 2];

#[test]
fn every_architecture_equals_the_naive_forward() {
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32});
    for (name, changes) in [
        ("llama", json!({})),
        ("llama", json!({"tie_word_embeddings": true, "num_key_value_heads": 4})),
        ("llama", json!({"attention_bias": true, "mlp_bias": true, "num_key_value_heads": 1})),
        ("llama", json!({"rope_scaling": llama3, "head_dim": 16})),
        ("llama", json!({"rope_scaling": {"rope_type": "linear", "factor": 2.5}})),
        ("mistral", json!({"sliding_window": 4})),
        ("mistral", json!({"sliding_window": null})),
        ("qwen2", json!({"sliding_window": 4, "use_sliding_window": false})),
        ("qwen3", json!({"tie_word_embeddings": true})),
        ("phi3", json!({"sliding_window": 5})),
        ("phi3", json!({"num_key_value_heads": 4, "tie_word_embeddings": true})),
        ("llama", json!({"rope_scaling": yarn(json!({})), "head_dim": 16})),
        ("qwen2", json!({"rope_scaling": yarn(json!({"beta_fast": 4, "beta_slow": 0.5, "attention_factor": 0.8}))})),
        ("qwen3", json!({"rope_scaling": yarn(json!({"mscale": 0.7, "mscale_all_dim": 1.5}))})),
        ("phi3", json!({"rope_scaling": yarn(json!({"factor": 1.5})), "rope_theta": 50.0})),
    ] {
        let tiny = tiny(name, changes.clone());
        let host = tiny.host();
        let expected: Vec<f32> = tiny.naive(&TOKENS).into_iter().map(|x| x as f32).collect();
        let worst = largest(&plain(&host.decoder, &TOKENS), &expected);
        assert!(worst < 2e-5, "{name} {changes}: {worst}");
        let mut cache = [host.decoder.cache()];
        host.decoder.forward(&mut cache, &[&TOKENS[..5]], Logits::Skip, &mut ()).unwrap();
        let rest = host.decoder.forward(&mut cache, &[&TOKENS[5..]], Logits::All, &mut ()).unwrap();
        assert!(largest(&rest.logits, &expected[5 * 50..]) < 2e-5, "{name} {changes}: with a cache");
    }
}

/// More queries than are looked back together.
#[test]
fn a_long_prompt_equals_its_pieces() {
    let host = stories();
    let tokens: Vec<u32> = (0..500u32).map(|i| 3 + (i * 97) % 500).collect();
    let all = plain(&host.decoder, &tokens);
    let mut cache: [Cache; 1] = [host.decoder.cache()];
    let mut pieces = Vec::new();
    for piece in tokens.chunks(61) {
        pieces.extend(host.decoder.forward(&mut cache, &[piece], Logits::All, &mut ()).unwrap().logits);
    }
    let worst = largest(&all, &pieces);
    assert!(worst < 2e-4, "{worst}");
}

#[test]
fn half_precision_safetensors_are_read_as_they_are() {
    let tiny = tiny("llama", json!({}));
    for (kind, bound) in [(DType::F16, 0.02), (DType::BF16, 0.15)] {
        let folder = tempfile::tempdir().unwrap();
        tiny.write(folder.path(), kind);
        let source = Source::open(folder.path().to_str().unwrap()).unwrap();
        let host = source.load().unwrap();
        let exact = tiny.tensor("lm_head.weight", kind).to_dtype(DType::F32).unwrap().flatten_all().unwrap();
        assert_eq!(*host.decoder.head.weight, exact.to_vec1::<f32>().unwrap());
        let expected: Vec<f32> = tiny.naive(&TOKENS).into_iter().map(|x| x as f32).collect();
        assert!(largest(&plain(&host.decoder, &TOKENS), &expected) < bound);
        assert!(source.summary().unwrap().tensors.contains_key(if kind == DType::F16 { "F16" } else { "BF16" }));
    }
}

#[test]
fn several_files_are_the_same_model_as_one() {
    let tiny = tiny("qwen2", json!({}));
    let (one, several) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    tiny.write(one.path(), DType::F32);
    tiny.write(several.path(), DType::F32);
    std::fs::remove_file(several.path().join("model.safetensors")).unwrap();
    let mut map = serde_json::Map::new();
    for part in 0..3 {
        let file = format!("model-0000{}-of-00003.safetensors", part + 1);
        let mine = tiny.tensors.keys().enumerate().filter(|(i, _)| i % 3 == part);
        let all: HashMap<String, Tensor> = mine.map(|(_, n)| (n.clone(), tiny.tensor(n, DType::F32))).collect();
        map.extend(all.keys().map(|n| (n.clone(), Value::from(file.clone()))));
        candle_core::safetensors::save(&all, several.path().join(file)).unwrap();
    }
    std::fs::write(several.path().join("model.safetensors.index.json"), json!({"weight_map": map}).to_string()).unwrap();
    let open = |folder: &Path| Source::open(folder.to_str().unwrap()).unwrap();
    assert_eq!(open(one.path()).fingerprint().unwrap(), open(several.path()).fingerprint().unwrap());
    let (a, b) = (open(one.path()).load().unwrap(), open(several.path()).load().unwrap());
    assert_eq!(plain(&a.decoder, &TOKENS), plain(&b.decoder, &TOKENS));
    std::fs::remove_file(several.path().join("model-00002-of-00003.safetensors")).unwrap();
    refused(several.path(), &["model-00002-of-00003.safetensors is missing"]);
}

/// Every way of storing that candle reads gives the dequantised weights; llama's rows are put back.
#[test]
fn gguf_of_every_quantisation_is_read_as_it_is() {
    use GgmlDType::*;
    let tiny = tiny("llama", json!({"hidden_size": 256, "intermediate_size": 256, "head_dim": 64, "num_hidden_layers": 1}));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    std::fs::write(folder.path().join("tokenizer.json"), TOKENIZER).unwrap();
    let exact: Vec<f32> = tiny.naive(&TOKENS).into_iter().map(|x| x as f32).collect();
    for (kind, bound) in [
        (F32, 5e-5),
        (F16, 0.02),
        (BF16, 0.1),
        (Q8_0, 0.1),
        (Q4_0, 1.2),
        (Q4_1, 1.2),
        (Q5_0, 0.6),
        (Q5_1, 0.6),
        (Q2K, 4.0),
        (Q3K, 2.0),
        (Q4K, 1.2),
        (Q5K, 0.6),
        (Q6K, 0.3),
    ] {
        tiny.write_gguf(&path, kind, &[]);
        let source = Source::open(path.to_str().unwrap()).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        let host = source.load().unwrap();
        let worst = largest(&plain(&host.decoder, &TOKENS), &exact);
        assert!(worst < bound, "{kind:?}: {worst}");
        assert!(source.summary().unwrap().tensors.contains_key(&format!("{kind:?}")));
    }
}

#[test]
fn gguf_of_other_architectures_equals_the_naive_forward() {
    for (name, changes) in [
        ("llama", json!({"attention_bias": true})),
        ("qwen2", json!({})),
        ("qwen3", json!({"tie_word_embeddings": true})),
        ("phi3", json!({"num_key_value_heads": 1})),
        ("llama", json!({"rope_scaling": yarn(json!({"beta_fast": 16}))})),
        ("qwen2", json!({"rope_scaling": yarn(json!({"beta_fast": 16}))})),
    ] {
        let tiny = tiny(name, changes);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), TOKENIZER).unwrap();
        let path = folder.path().join("tiny.gguf");
        let scaled = |key: &str| format!("{name}.rope.scaling.{key}");
        let (kind, factor, length, fast) =
            (scaled("type"), scaled("factor"), scaled("original_context_length"), scaled("yarn_beta_fast"));
        match name {
            "phi3" => tiny.fused().write_gguf(&path, GgmlDType::F32, &[]),
            _ if tiny.config["rope_scaling"].is_object() => tiny.write_gguf(
                &path,
                GgmlDType::F32,
                &[
                    (&kind, Meta::String("yarn".into())),
                    (&factor, Meta::F32(8.0)),
                    (&length, Meta::U32(32)),
                    (&fast, Meta::F32(16.0)),
                ],
            ),
            _ => tiny.write_gguf(&path, GgmlDType::F32, &[]),
        }
        // A folder with one GGUF file is that file.
        let host = Host::open(folder.path().to_str().unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let expected: Vec<f32> = tiny.naive(&TOKENS).into_iter().map(|x| x as f32).collect();
        let worst = largest(&plain(&host.decoder, &TOKENS), &expected);
        assert!(worst < 2e-5, "{name}: {worst}");
    }
}

/// A GGUF file in three parts, as llama.cpp splits them: the metadata in the first.
#[test]
fn the_parts_of_a_gguf_file_are_the_same_model_as_the_whole() {
    let tiny = tiny("qwen2", json!({}));
    let (one, several) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&one, &several] {
        std::fs::write(folder.path().join("tokenizer.json"), TOKENIZER).unwrap();
    }
    tiny.write_gguf(&one.path().join("tiny.gguf"), GgmlDType::F32, &[]);
    let part = |n: usize| several.path().join(format!("tiny-v2-0000{n}-of-00003.gguf"));
    let write = |total: i32| {
        for n in 1..=3u16 {
            let mine = tiny.tensors.iter().enumerate().filter(|(i, _)| i % 3 + 1 == n as usize);
            let tensors = mine.map(|(_, (name, tensor))| (name.clone(), tensor.clone())).collect();
            let mut meta =
                vec![("split.no", Meta::U16(n - 1)), ("split.count", Meta::U16(3)), ("split.tensors.count", Meta::I32(total))];
            if n > 1 {
                meta.push(("general.architecture", Meta::String("none".into())));
            }
            Tiny { config: tiny.config.clone(), tensors }.write_gguf(&part(n as usize), GgmlDType::F32, &meta);
        }
    };
    write(tiny.tensors.len() as i32);
    let open = |path: &Path| Source::open(path.to_str().unwrap()).unwrap_or_else(|e| panic!("{e}"));
    let whole = open(&one.path().join("tiny.gguf"));
    for path in [several.path().to_path_buf(), part(1), part(2), part(3)] {
        let source = open(&path);
        assert_eq!(source.fingerprint().unwrap(), whole.fingerprint().unwrap());
        assert_eq!(plain(&source.load().unwrap().decoder, &TOKENS), plain(&whole.load().unwrap().decoder, &TOKENS));
    }
    write(tiny.tensors.len() as i32 + 1);
    refused(&part(1), &["tiny-v2-00001-of-00003.gguf", "parts hold"]);
    write(tiny.tensors.len() as i32);
    std::fs::copy(part(2), part(3)).unwrap();
    refused(several.path(), &["tiny-v2-00003-of-00003.gguf", "in another part as well"]);
    std::fs::remove_file(part(2)).unwrap();
    std::fs::remove_file(part(3)).unwrap();
    refused(several.path(), &["missing are tiny-v2-00002-of-00003.gguf, tiny-v2-00003-of-00003.gguf"]);
    std::fs::rename(part(1), several.path().join("first.gguf")).unwrap();
    refused(several.path(), &["first.gguf", "does not say which"]);
}

/// Opening or loading is refused, as input, with all of these words.
#[track_caller]
fn refused(path: &Path, words: &[&str]) {
    let error = Source::open(path.to_str().unwrap()).and_then(|s| s.load()).expect_err("this model is not as it should be");
    let text = format!("{error} {}", error.remedy().unwrap_or(""));
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    assert!(error.exit_code() == 2 && error.remedy().is_some(), "{text}");
}

#[test]
fn damaged_and_foreign_safetensors_are_refused() {
    let good = tiny("llama", json!({}));
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let file = at.join("model.safetensors");
    good.write(at, DType::F32);
    let bytes = std::fs::read(&file).unwrap();
    for keep in [0, 4, 200, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..keep]).unwrap();
        refused(at, &["model.safetensors", "cannot be read", "cut short"]);
    }
    let mut wild = bytes.clone();
    wild[..8].fill(0xFF);
    std::fs::write(&file, &wild).unwrap();
    refused(at, &["model.safetensors", "cannot be read"]);
    let change = |change: &dyn Fn(&mut Tiny), words: &[&str]| {
        let mut other = tiny("llama", json!({}));
        change(&mut other);
        other.write(at, DType::F32);
        refused(at, words);
    };
    let gate = "model.layers.1.mlp.gate_proj.weight";
    change(&|t| drop(t.tensors.remove(gate)), &["model.safetensors", gate, "has no tensor"]);
    change(&|t| t.tensors.get_mut(gate).unwrap().0 = vec![24, 40], &[gate, "[24, 40]", "[40, 24]"]);
    change(&|t| t.tensors.get_mut(gate).unwrap().1[3] = f32::NAN, &[gate, "not finite"]);
    change(
        &|t| drop(t.tensors.insert("model.layers.3.input_layernorm.weight".into(), (vec![24], vec![1.0; 24]))),
        &["layers.3", "no place"],
    );
    change(&|t| t.config["model_type"] = "gemma3".into(), &["config.json", "`gemma3`", "llama, mistral, qwen2, qwen3, phi3"]);
    change(
        &|t| t.config["rope_scaling"] = json!({"rope_type": "longrope", "factor": 4.0}),
        &["`longrope`", "default, linear, llama3, yarn"],
    );
    change(&|t| t.config["num_hidden_layers"] = "three".into(), &["num_hidden_layers", "three"]);
    good.write(at, DType::F32);
    std::fs::write(at.join("tokenizer.json"), TOKENIZER.replace("\"c\":2", "\"c\":50")).unwrap();
    refused(at, &["tokenizer.json", "`c`", "50 embeddings"]);
    std::fs::write(at.join("tokenizer.json"), "{").unwrap();
    refused(at, &["tokenizer.json", "cannot be read"]);
    std::fs::remove_file(at.join("tokenizer.json")).unwrap();
    refused(at, &["has no tokenizer.json"]);
    std::fs::write(at.join("tokenizer.json"), TOKENIZER).unwrap();
    std::fs::write(at.join("config.json"), "[").unwrap();
    refused(at, &["config.json", "not JSON"]);
    refused(&at.join("nothing"), &["there is no model", "stories260k"]);
    refused(tempfile::tempdir().unwrap().path(), &["holds no weights"]);
}

#[test]
fn damaged_and_foreign_gguf_files_are_refused() {
    let good = tiny("llama", json!({}));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    std::fs::write(folder.path().join("tokenizer.json"), TOKENIZER).unwrap();
    let kind = GgmlDType::F32;
    good.write_gguf(&path, kind, &[]);
    let bytes = std::fs::read(&path).unwrap();
    for keep in [0, 3, 20, 100, 900, bytes.len() / 2, bytes.len() - 64] {
        std::fs::write(&path, &bytes[..keep]).unwrap();
        refused(&path, &["tiny.gguf", "cannot be read", "cut short"]);
    }
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    refused(&path, &["tensor `"]);
    // No byte of the header that is wrong ends in a panic.
    for at in 0..1500 {
        let mut wrong = bytes.clone();
        wrong[at] ^= 0xFF;
        std::fs::write(&path, &wrong).unwrap();
        let _ = Source::open(path.to_str().unwrap()).map(|s| s.config);
    }
    good.write_gguf(&path, kind, &[("general.alignment", Meta::U32(0))]);
    refused(&path, &["alignment"]);
    good.write_gguf(&path, kind, &[("llama.expert_count", Meta::U32(8))]);
    refused(&path, &["mixtures of experts"]);
    good.write_gguf(&path, kind, &[("llama.rope.scaling.type", Meta::String("longrope".into()))]);
    refused(&path, &["`longrope`"]);
    good.write_gguf(&path, kind, &[("split.count", Meta::U16(3))]);
    refused(&path, &["one of 3 parts", "NAME-00001-of-00003.gguf"]);
    good.write_gguf(&path, kind, &[("general.architecture", Meta::String("rwkv7".into()))]);
    refused(&path, &["`rwkv7`", "llama"]);
    good.write_gguf(&path, kind, &[("llama.block_count", Meta::U32(4))]);
    refused(&path, &["blk.3.", "has no tensor"]);
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    good.write_gguf(&path, kind, &[("tokenizer.ggml.model", Meta::String("llama".into()))]);
    refused(&path, &["tokenizer.ggml.tokens", "tokenizer.json beside"]);
    let texts = |all: &[&str]| Meta::Array(all.iter().map(|t| Meta::String(t.to_string())).collect());
    let vocabulary = |pre: &str, tokens: &[&str]| {
        vec![
            ("tokenizer.ggml.model", Meta::String("gpt2".into())),
            ("tokenizer.ggml.pre", Meta::String(pre.into())),
            ("tokenizer.ggml.tokens", texts(tokens)),
            ("tokenizer.ggml.merges", texts(&["a b"])),
        ]
    };
    good.write_gguf(&path, kind, &vocabulary("tekken", &["a", "b", "ab"]));
    refused(&path, &["`tekken`"]);
    let many: Vec<String> = (0..60).map(|i| format!("t{i}")).chain(["a".into(), "b".into(), "ab".into()]).collect();
    good.write_gguf(&path, kind, &vocabulary("qwen2", &many.iter().map(String::as_str).collect::<Vec<_>>()));
    refused(&path, &["`ab`", "62", "50 embeddings"]);
    let mut first = vocabulary("llama-bpe", &["a", "b", "ab", "<s>"]);
    first.push(("tokenizer.ggml.bos_token_id", Meta::U32(3)));
    first.push(("tokenizer.ggml.token_type", Meta::Array([1, 1, 1, 3].map(Meta::I32).to_vec())));
    good.write_gguf(&path, kind, &first);
    let tokenizer = Source::open(path.to_str().unwrap()).unwrap().tokenizer().unwrap();
    assert_eq!(tokenizer.encode("abba").unwrap(), [3, 2, 1, 0]);
    assert_eq!(tokenizer.decode(&[3, 2, 1, 0]).unwrap(), "abba");
}

/// Tensors that hold several linear layers are named as the file has them; positions that phi3 stretches by tables are refused.
#[test]
fn damaged_and_foreign_phi3_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let change = |change: &dyn Fn(&mut Tiny), words: &[&str]| {
        let mut other = tiny("phi3", json!({})).fused();
        change(&mut other);
        other.write(at, DType::F32);
        refused(at, words);
    };
    let (qkv, gate) = ("model.layers.1.self_attn.qkv_proj.weight", "model.layers.2.mlp.gate_up_proj.weight");
    change(&|t| drop(t.tensors.remove(qkv)), &["has no tensor", qkv]);
    change(&|t| t.tensors.get_mut(qkv).unwrap().0 = vec![24, 64], &[qkv, "[24, 64]", "[64, 24]"]);
    change(&|t| t.tensors.get_mut(gate).unwrap().1[5] = f32::INFINITY, &[gate, "not finite"]);
    change(
        &|t| drop(t.tensors.insert("model.layers.0.self_attn.q_proj.weight".into(), (vec![1], vec![1.0]))),
        &["no place", "phi3"],
    );
    let tables = json!({"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]});
    change(&|t| t.config["rope_scaling"] = tables.clone(), &["`longrope`"]);
    change(&|t| t.config["partial_rotary_factor"] = 0.75.into(), &["partial_rotary_factor"]);
    tiny("llama", json!({})).write(at, DType::F32);
    std::fs::write(at.join("config.json"), tiny("phi3", json!({})).config.to_string()).unwrap();
    refused(at, &["has no tensor", "qkv_proj"]);
    let path = folder.path().join("tiny.gguf");
    let mut long = tiny("phi3", json!({})).fused();
    long.tensors.insert("rope_factors_long.weight".into(), (vec![4], vec![1.0; 4]));
    long.write_gguf(&path, GgmlDType::F32, &[]);
    refused(&path, &["`longrope`", "tiny.gguf"]);
    tiny("phi3", json!({})).fused().write_gguf(&path, GgmlDType::F32, &[("phi3.rope.dimension_count", Meta::U32(6))]);
    refused(&path, &["phi3.rope.dimension_count"]);
}

#[test]
fn prompts_that_cannot_be_computed_are_refused() {
    let host = stories();
    let d = &host.decoder;
    let long: Vec<u32> = vec![5; 513];
    let fails = |tokens: &[u32], word: &str| {
        for error in [
            d.forward(&mut [d.cache()], &[tokens], Logits::Last, &mut ()).unwrap_err(),
            d.prefill(&[&[1, 2], tokens], &mut ()).map(|_| ()).unwrap_err(),
            host.generate(tokens, 3, &mut Sampler::greedy(), &mut (), |_| ControlFlow::Continue(())).unwrap_err(),
        ] {
            assert!(error.to_string().contains(word) && error.exit_code() == 2, "{error}");
        }
    };
    fails(&[], "empty prompt");
    fails(&long, "513 tokens are beyond the context of 512");
    fails(&[1, 512], "beyond the vocabulary");
    assert!(d.forward(&mut [], &[&[1]], Logits::Last, &mut ()).unwrap_err().to_string().contains("caches"));
    let mut foreign = [tiny("llama", json!({})).host().decoder.cache()];
    assert!(d.forward(&mut foreign, &[&[1]], Logits::Last, &mut ()).unwrap_err().to_string().contains("another model"));
    let mut shared = d.cache();
    d.forward(std::slice::from_mut(&mut shared), &[&[1, 2, 3]], Logits::Skip, &mut ()).unwrap();
    shared.share().unwrap();
    assert!(shared.rewind(0, 2).unwrap_err().to_string().contains("share"));
    // A full context ends the text.
    let mut host = host;
    host.decoder.config.eos.clear();
    let mut n = 0;
    let ending = host.generate(&long[..510], 9, &mut Sampler::greedy(), &mut (), |_| {
        n += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((ending.unwrap(), n), (Ending::Context, 3));
}

pub fn sharpwave(arguments: &[&str]) -> (String, String, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_sharpwave")).args(arguments).env("NO_COLOR", "1").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

#[test]
fn the_command_line_tells_about_a_model() {
    let (text, errors, code) = sharpwave(&["model", "info", "stories260k"]);
    assert_eq!(code, 0, "{errors}");
    for word in ["llama, 5 layers, width 64", "260032", "47 F32", "512 tokens", "fingerprint"] {
        assert!(text.contains(word), "{word} missing in\n{text}");
    }
    let (text, _, _) = sharpwave(&["model", "info", "stories260k", "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["parameters"], 260_032);
    assert_eq!(json["tensors"], json!({"F32": 47}));
    assert_eq!(json["fingerprint"], Source::built_in().unwrap().fingerprint().unwrap());
    let (_, errors, code) = sharpwave(&["model", "info", "storys260k"]);
    assert!(code == 2 && errors.contains("did you mean the built-in `stories260k`"), "{errors}");
}

#[test]
fn the_command_line_writes_text() {
    let (text, errors, code) = sharpwave(&["model", "generate", "--model", "stories260k", "Once upon a time", "--tokens", "24"]);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(text, ", there was a little girl named Lily. She loved to play outside in the p\n");
    let (text, _, _) = sharpwave(&["model", "generate", "--model", "stories260k", "", "--tokens", "6"]);
    assert_eq!(text, "Once upon a time, there\n");
    let drawn = |seed: &str| {
        let arguments =
            ["model", "generate", "--model", "stories260k", "Tom", "--tokens", "20", "--temperature", "1.2", "--seed", seed];
        sharpwave(&arguments).0
    };
    assert_eq!(drawn("4"), drawn("4"));
    assert_ne!(drawn("4"), drawn("5"));
    let (_, errors, code) = sharpwave(&["model", "generate", "--model", "stories260k", &"dog ".repeat(600)]);
    assert!(code == 2 && errors.contains("beyond the context of 512"), "{errors}");
    let (_, errors, code) = sharpwave(&["model", "generate", "--model", "stories260k", "Tom", "--temperature", "-1"]);
    assert!(code == 2 && errors.contains("temperature"), "{errors}");
}

/// A memory finds its model from every folder; one that was moved has to be named.
#[test]
fn a_relative_path_names_the_model_from_everywhere() {
    let root = tempfile::tempdir().unwrap();
    let (here, model) = (root.path().join("here"), root.path().join("here/models/stories"));
    std::fs::create_dir_all(&model).unwrap();
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/transformers/stories260K");
    for file in ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(built_in.join(file), model.join(file)).unwrap();
    }
    let run = |folder: &Path, arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sharpwave"))
            .args(arguments)
            .current_dir(folder)
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr), output.status.code().unwrap())
    };
    let whole = model.canonicalize().unwrap();
    for name in ["models/stories", "./models/../models/stories/", "models/stories/model.safetensors", whole.to_str().unwrap()] {
        let (text, errors, code) = run(&here, &["model", "info", name, "--json"]);
        assert_eq!(code, 0, "{errors}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["name"], whole.to_str().unwrap(), "{name}");
    }
    assert_eq!(Source::open("Stories260K").unwrap().name, "stories260k");
    let line = |id: &str, answer: &str| {
        let line = json!({"id": id, "prompt": format!("The {id} is called"), "answer": answer, "outcome": "success"});
        std::fs::write(root.path().join(format!("{id}.jsonl")), format!("{line}\n")).unwrap();
    };
    line("dog", "Rex");
    line("cat", "Tom");
    let (_, errors, code) = run(&here, &["learn", "../dog.jsonl", "--memory", "notes", "--model", "./models/stories", "--quiet"]);
    assert_eq!(code, 0, "{errors}");
    let (text, errors, code) = run(root.path(), &["learn", "cat.jsonl", "--memory", "here/notes", "--quiet"]);
    assert!(code == 0 && text.contains("1 learned"), "{text}{errors}");
    let moved = root.path().join("moved");
    std::fs::rename(&model, &moved).unwrap();
    let (_, errors, code) = run(&here, &["learn", "../dog.jsonl", "--memory", "notes", "--quiet"]);
    assert!(code == 2 && errors.contains("no longer at") && errors.contains("--model PATH"), "{errors}");
    let (text, errors, code) = run(&here, &["learn", "../dog.jsonl", "--memory", "notes", "--model", "../moved", "--quiet"]);
    assert!(code == 0 && text.contains("1 known before"), "{text}{errors}");
}

/// A cache of the upper layers alone, frozen at any position and rewound to any later one, goes on as the whole one does: to the bit
/// where nothing is frozen, else but for the order in which attention sums its pieces.
#[test]
fn a_cache_of_the_layers_above_resumes_as_the_whole_one() {
    let host = Source::built_in().unwrap().load().unwrap();
    let decoder = &host.decoder;
    let tokens = host.begin("One day Tom and Sue saw a big bird in the park").unwrap();
    let (n, width, layers) = (tokens.len(), decoder.config.width, decoder.config.layers);
    let worst = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    for layer in [1, layers - 1, layers] {
        let mut seen = Recorder::new(&[], &[layer]);
        let mut whole = [decoder.cache()];
        let output = decoder.forward(&mut whole, &[&tokens], Logits::All, &mut seen).unwrap();
        let (_, _, residuals) = seen.residuals.pop().unwrap();
        for (frozen, at) in [(0, 0), (0, n - 1), (3, 3), (3, n - 2), (n - 1, n - 1), (n, n)] {
            let mut above = whole[0].above(layer, frozen);
            above.rewind(layer, at).unwrap();
            // What is frozen cannot be rewound; above the last layer there is nothing to freeze.
            let refused = above.rewind(layer, at.max(1) - 1).is_err();
            assert_eq!(refused, layer < layers && at > 0 && at <= frozen, "{layer} {frozen} {at}");
            let mut above = whole[0].above(layer, frozen);
            above.rewind(layer, at).unwrap();
            let mut own = whole.clone();
            own[0].rewind(layer, at).unwrap();
            let rows = &residuals[at * width..];
            let resume = |cache: &mut [Cache]| decoder.resume(layer, rows, cache, &[n - at], Logits::All, &mut ());
            let (mut above, whole) = ([above], resume(&mut own));
            let resumed = resume(&mut above);
            if at == n {
                // Nothing is left to compute: both say so, or both give no row.
                assert_eq!(resumed.is_ok(), whole.is_ok());
                continue;
            }
            let (resumed, whole) = (resumed.unwrap(), whole.unwrap());
            assert!(frozen > 0 || resumed.logits == whole.logits, "{layer} {at}");
            assert!(worst(&resumed.logits, &whole.logits) < 1e-3, "{layer} {frozen} {at}");
            assert!((0..n - at).all(|i| worst(resumed.row(i), output.row(at + i)) < 1e-3), "{layer} {frozen} {at}");
            // What goes on from there is the same as well.
            let mut twin = above.clone();
            let more = &residuals[..width];
            let next = decoder.resume(layer, more, &mut above, &[1], Logits::Last, &mut ()).unwrap();
            let own = decoder.resume(layer, more, &mut own, &[1], Logits::Last, &mut ()).unwrap();
            assert!(worst(&next.logits, &own.logits) < 1e-3, "{layer} {frozen} {at}");
            assert!(
                next == decoder.resume(layer, more, &mut twin, &[1], Logits::Last, &mut ()).unwrap(),
                "{layer} {frozen} {at}"
            );
        }
    }
}
