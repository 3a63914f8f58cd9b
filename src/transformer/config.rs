//! What a transformer is: its sizes and conventions, from a Hugging Face config.json or from GGUF metadata. What this host does
//! not compute exactly is refused by name; nothing here knows how weights are stored.

use super::site::Linear;
use super::tensors::Tensors;
use crate::error::{Error, Result};
use serde_json::Value;

/// The decoders that are understood. They share RMSNorm, rotary positions, grouped queries and a gated feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama, SmolLM, TinyStories and other models that call themselves llama.
    Llama,
    /// Mistral: Llama with a sliding window in some versions; GGUF files call it llama.
    Mistral,
    /// Biases on q, k and v.
    Qwen2,
    /// RMSNorm on every head of q and k.
    Qwen3,
    /// Weights of q, k and v in one tensor, of gate and up in another.
    Phi3,
}

/// GGUF's tensor of rotary divisors.
const DIVISORS: &str = "rope_freqs.weight";

/// GGUF's tensors of rotary divisors for short and long texts.
const LONG_ROPE: [&str; 2] = ["rope_factors_long.weight", "rope_factors_short.weight"];

const SUPPORTED: [Architecture; 5] =
    [Architecture::Llama, Architecture::Mistral, Architecture::Qwen2, Architecture::Qwen3, Architecture::Phi3];

impl Architecture {
    /// The name in `model_type` and `general.architecture`.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Mistral => "mistral",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
            Architecture::Phi3 => "phi3",
        }
    }
}

/// How the rotary frequencies are stretched beyond the context of training.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Frequencies as they are.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// Context over that of training.
        factor: f64,
    },
    /// Llama 3.1: long waves divided by `factor`, short ones kept, a ramp between.
    Llama3 {
        /// Context over that of training.
        factor: f64,
        /// Waves that turn fewer times than this in the original context are long.
        low: f64,
        /// Waves that turn more times than this are short.
        high: f64,
        /// Positions in training.
        original_context: f64,
    },
    /// YaRN (Peng et al. 2023, arXiv 2309.00071): waves that turn at most `slow` times in the original context divided by `factor`,
    /// those that turn at least `fast` times kept, a ramp over the pairs between.
    Yarn {
        /// Context over that of training.
        factor: f64,
        /// Positions in training.
        original_context: f64,
        /// Turns in the original context from which on a wave is kept.
        fast: f64,
        /// Turns up to which a wave is divided.
        slow: f64,
        /// The ramp starts and ends at whole pairs.
        whole: bool,
        /// What cosine and sine are multiplied with.
        attention: f64,
    },
    /// One divisor a frequency, as GGUF stores it (`rope_freqs.weight`).
    Divisors(Vec<f32>),
}

/// Sizes and conventions of one model. Every number was checked: none is zero, and the heads divide.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which decoder computes it.
    pub architecture: Architecture,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream (`hidden_size`).
    pub width: usize,
    /// Width of the feed-forward (`intermediate_size`).
    pub feed_forward: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; `heads` is a multiple.
    pub kv_heads: usize,
    /// Numbers of a head's query, key or value.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Positions (`max_position_embeddings`).
    pub context: usize,
    /// Added to the mean square before RMSNorm divides by its root.
    pub norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How these frequencies are stretched.
    pub rope_scaling: RopeScaling,
    /// Positions that a query sees, itself included, where this is limited in every layer.
    pub window: Option<usize>,
    /// lm_head is the embedding.
    pub tied: bool,
    /// Biases on q, k and v.
    pub qkv_bias: bool,
    /// Bias on o.
    pub o_bias: bool,
    /// Biases on gate, up and down.
    pub mlp_bias: bool,
    /// Token that begins a text; None where the model has none.
    pub bos: Option<u32>,
    /// Tokens that end a text; may be empty.
    pub eos: Vec<u32>,
}

/// Whether a `config.json` is that of an encoder.
pub fn is_bert(config: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(config).is_ok_and(|json| json["model_type"] == "bert")
}

impl Config {
    /// From the text of a config.json, which `file` names in messages.
    pub fn from_json(text: &str, file: &str) -> Result<Config> {
        let json: Value = serde_json::from_str(text).map_err(|e| {
            Error::input(format!("{file} is not JSON: {e}"), "take config.json as it was published with the model")
        })?;
        let read = Json { json: &json, file };
        let name = json.get("model_type").and_then(Value::as_str).unwrap_or("");
        let architecture = architecture(name, file)?;
        for (key, what) in [("quantization_config", "quantised safetensors"), ("num_experts", "mixtures of experts")] {
            if json.get(key).is_some_and(|v| !v.is_null()) {
                return Err(unsupported(file, what, key));
            }
        }
        let act = json.get("hidden_act").and_then(Value::as_str).unwrap_or("silu");
        if act != "silu" && act != "swish" {
            return Err(unsupported(file, &format!("the activation `{act}`"), "hidden_act"));
        }
        if read.number("partial_rotary_factor")?.is_some_and(|f| f != 1.0) {
            return Err(unsupported(file, "positions on a part of each head", "partial_rotary_factor"));
        }
        let flag = |key: &str| json.get(key).and_then(Value::as_bool).unwrap_or(false);
        let width = read.size("hidden_size")?;
        let heads = read.size("num_attention_heads")?;
        let (rope_theta, rope_scaling) = rope(&read, architecture)?;
        let attention_bias = flag("attention_bias");
        let config = Config {
            architecture,
            layers: read.size("num_hidden_layers")?,
            width,
            feed_forward: read.size("intermediate_size")?,
            heads,
            kv_heads: read.optional_size("num_key_value_heads")?.unwrap_or(heads),
            head_dim: read.optional_size("head_dim")?.unwrap_or(width / heads),
            vocabulary: read.size("vocab_size")?,
            context: read.size("max_position_embeddings")?,
            norm_eps: read.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            rope_theta,
            rope_scaling,
            window: window(&read, architecture)?,
            tied: flag("tie_word_embeddings"),
            qkv_bias: attention_bias && architecture != Architecture::Phi3 || architecture == Architecture::Qwen2,
            o_bias: attention_bias && !matches!(architecture, Architecture::Qwen2 | Architecture::Phi3),
            mlp_bias: flag("mlp_bias"),
            bos: json.get("bos_token_id").and_then(Value::as_u64).map(|id| id as u32),
            eos: token_ids(json.get("eos_token_id")),
        };
        config.checked(file)
    }

    /// From the metadata of a GGUF file, and from which tensors it holds.
    pub(super) fn from_gguf(tensors: &Tensors) -> Result<Config> {
        let Some(gguf) = tensors.as_gguf() else {
            return Err(Error::input("not a GGUF file", "name a GGUF file"));
        };
        let file = gguf.path.display().to_string();
        let name = gguf.text("general.architecture")?.unwrap_or("");
        let architecture = architecture(name, &file)?;
        let key = |what: &str| format!("{name}.{what}");
        let optional = |what: &str| -> Result<Option<usize>> { Ok(gguf.integer(&key(what))?.map(|n| n as usize)) };
        let size = |what: &str| {
            optional(what)?.filter(|n| *n > 0).ok_or_else(|| {
                let message = format!("{file}: `{}` must be a whole number above 0", key(what));
                Error::input(message, "take the file as it was published")
            })
        };
        if optional("expert_count")?.is_some_and(|n| n > 0) {
            return Err(unsupported(&file, "mixtures of experts", &key("expert_count")));
        }
        let shape = |name: &str| tensors.infos().find(|t| t.name == name).map(|t| t.shape.clone());
        let (width, heads) = (size("embedding_length")?, size("attention.head_count")?);
        let head_dim = optional("attention.key_length")?.unwrap_or(width / heads);
        if optional("rope.dimension_count")?.is_some_and(|n| n != head_dim) {
            return Err(unsupported(&file, "positions on a part of each head", &key("rope.dimension_count")));
        }
        let factor = gguf.number(&key("rope.scaling.factor"))?.or(gguf.number(&key("rope.scale_linear"))?);
        let usual = if factor.is_some_and(|f| f != 1.0) { "linear" } else { "none" };
        let context = size("context_length")?;
        let scaling = match gguf.text(&key("rope.scaling.type"))?.unwrap_or(usual) {
            _ if LONG_ROPE.iter().any(|name| tensors.has(name)) => return Err(rope_type(&file, "longrope")),
            _ if tensors.has(DIVISORS) => RopeScaling::Divisors(tensors.read(DIVISORS)?),
            "none" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: factor.filter(|f| *f > 0.0).unwrap_or(1.0) },
            "yarn" => {
                let number = |what: &str| gguf.number(&key(&format!("rope.scaling.{what}")));
                if number("yarn_log_multiplier")?.is_some_and(|by| by != 0.0) {
                    let key = key("rope.scaling.yarn_log_multiplier");
                    return Err(unsupported(&file, "attention scaled by a logarithm of its own", &key));
                }
                let factor = factor.unwrap_or(1.0);
                RopeScaling::Yarn {
                    factor,
                    original_context: number("original_context_length")?.unwrap_or(context as f64),
                    fast: number("yarn_beta_fast")?.unwrap_or(YARN_FAST),
                    slow: number("yarn_beta_slow")?.unwrap_or(YARN_SLOW),
                    whole: true,
                    attention: number("attn_factor")?.unwrap_or(1.0) * magnitude(factor, 1.0),
                }
            }
            other => return Err(rope_type(&file, other)),
        };
        if let RopeScaling::Divisors(by) = &scaling
            && (by.len() != head_dim / 2 || by.iter().any(|d| *d <= 0.0))
        {
            let what = format!("{file}: tensor `{DIVISORS}` does not hold {} numbers above 0", head_dim / 2);
            return Err(Error::input(what, "take the file as it was published"));
        }
        let ends = [gguf.integer("tokenizer.ggml.eos_token_id")?, gguf.integer("tokenizer.ggml.eot_token_id")?];
        let config = Config {
            architecture,
            layers: size("block_count")?,
            width,
            feed_forward: size("feed_forward_length")?,
            heads,
            kv_heads: optional("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            vocabulary: shape("token_embd.weight").and_then(|s| s.first().copied()).unwrap_or(1),
            context,
            norm_eps: gguf.number(&key("attention.layer_norm_rms_epsilon"))?.unwrap_or(1e-5) as f32,
            rope_theta: gguf.number(&key("rope.freq_base"))?.unwrap_or(10_000.0),
            rope_scaling: scaling,
            window: optional("attention.sliding_window")?.filter(|n| *n > 0),
            tied: !tensors.has("output.weight"),
            qkv_bias: architecture == Architecture::Qwen2
                || ["attn_q", "attn_qkv"].iter().any(|name| tensors.has(&format!("blk.0.{name}.bias"))),
            o_bias: tensors.has("blk.0.attn_output.bias"),
            mlp_bias: tensors.has("blk.0.ffn_up.bias"),
            bos: gguf.integer("tokenizer.ggml.bos_token_id")?.map(|id| id as u32),
            eos: ends.into_iter().flatten().map(|id| id as u32).collect(),
        };
        config.checked(&file)
    }

    /// Refuses numbers that cannot be a model. Returns the config unchanged otherwise.
    pub(super) fn checked(self, file: &str) -> Result<Config> {
        let refuse =
            |what: String| Err(Error::input(format!("{file}: {what}"), "take the configuration that belongs to the weights"));
        for (what, n, limit) in [
            ("layers", self.layers, 1 << 12),
            ("width", self.width, 1 << 20),
            ("feed-forward width", self.feed_forward, 1 << 24),
            ("heads", self.heads, 1 << 12),
            ("key/value heads", self.kv_heads, 1 << 12),
            ("head size", self.head_dim, 1 << 14),
            ("vocabulary", self.vocabulary, 1 << 24),
            ("context", self.context, 1 << 30),
        ] {
            if n == 0 || n > limit {
                return refuse(format!("{what} is {n}; it must be from 1 to {limit}"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return refuse(format!("{} heads do not share {} key/value heads evenly", self.heads, self.kv_heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            return refuse(format!("a head size of {} is odd: rotary positions turn pairs", self.head_dim));
        }
        if !(self.norm_eps >= 0.0 && self.norm_eps < 1.0) {
            return refuse(format!("rms_norm_eps is {}", self.norm_eps));
        }
        if !(self.rope_theta >= 1.0 && self.rope_theta.is_finite()) {
            return refuse(format!("rope_theta is {}", self.rope_theta));
        }
        if let RopeScaling::Yarn { factor, original_context, fast, slow, attention, .. } = self.rope_scaling
            && !([factor, original_context, slow, attention].iter().all(|x| *x > 0.0 && x.is_finite())
                && fast >= slow
                && self.rope_theta > 1.0)
        {
            return refuse(format!("rotary positions cannot be stretched by {:?}", self.rope_scaling));
        }
        Ok(self)
    }

    /// Rows (outputs) and columns (inputs) of a linear layer's weight.
    pub fn shape(&self, linear: Linear) -> (usize, usize) {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        match linear {
            Linear::Q => (q, self.width),
            Linear::K | Linear::V => (kv, self.width),
            Linear::O => (self.width, q),
            Linear::Gate | Linear::Up => (self.feed_forward, self.width),
            Linear::Down => (self.width, self.feed_forward),
            Linear::Head => (self.vocabulary, self.width),
        }
    }

    /// Whether a linear layer has a bias.
    pub fn bias(&self, linear: Linear) -> bool {
        match linear {
            Linear::Q | Linear::K | Linear::V => self.qkv_bias,
            Linear::O => self.o_bias,
            Linear::Gate | Linear::Up | Linear::Down => self.mlp_bias,
            Linear::Head => false,
        }
    }

    /// Whether files and other programs have q, k and v in one linear layer, and gate and up in another.
    pub fn fused(&self) -> bool {
        self.architecture == Architecture::Phi3
    }

    /// RMSNorm on every head of q and k.
    pub fn head_norms(&self) -> bool {
        self.architecture == Architecture::Qwen3
    }

    /// Radians a position for each of the `head_dim / 2` pairs.
    pub fn frequencies(&self) -> Vec<f32> {
        let (pairs, ramp) = (self.head_dim / 2, self.ramp());
        let plain = (0..pairs).map(|i| self.rope_theta.powf(-((2 * i) as f64 / self.head_dim as f64)));
        let scaled = plain.enumerate().map(|(i, f)| match &self.rope_scaling {
            RopeScaling::None => f,
            RopeScaling::Linear { factor } => f / factor,
            RopeScaling::Divisors(by) => f / by[i] as f64,
            RopeScaling::Llama3 { factor, low, high, original_context } => {
                let waves = original_context * f / std::f64::consts::TAU;
                let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - kept) * f / factor + kept * f
            }
            RopeScaling::Yarn { factor, .. } => {
                let (first, last) = ramp;
                let stretched = ((i as f64 - first) / (last - first).max(1e-3)).clamp(0.0, 1.0);
                stretched * f / factor + (1.0 - stretched) * f
            }
        });
        scaled.map(|f| f as f32).collect()
    }

    /// The pairs at which YaRN's ramp starts and ends: those that turn `fast` and `slow` times in the original context.
    fn ramp(&self) -> (f64, f64) {
        let RopeScaling::Yarn { original_context, fast, slow, whole, .. } = self.rope_scaling else { return (0.0, 0.0) };
        let dim = self.head_dim as f64;
        let pair = |turns: f64| dim * (original_context / (turns * std::f64::consts::TAU)).ln() / (2.0 * self.rope_theta.ln());
        let (first, last) = (pair(fast), pair(slow));
        let (first, last) = if whole { (first.floor(), last.ceil()) } else { (first, last) };
        (first.max(0.0), last.min(dim - 1.0))
    }

    /// What the cosines and sines of the positions are multiplied with.
    pub fn rotary_factor(&self) -> f32 {
        match self.rope_scaling {
            RopeScaling::Yarn { attention, .. } => attention as f32,
            _ => 1.0,
        }
    }

    /// Everything that the numbers of a forward pass depend on, as text: part of the fingerprint.
    pub(super) fn canonical(&self) -> String {
        format!(
            "layers={} width={} feed_forward={} heads={} kv_heads={} head_dim={} vocabulary={} eps={} theta={} scaling={:?} \
             window={:?} tied={} qkv_bias={} o_bias={} mlp_bias={} head_norms={}",
            self.layers,
            self.width,
            self.feed_forward,
            self.heads,
            self.kv_heads,
            self.head_dim,
            self.vocabulary,
            self.norm_eps,
            self.rope_theta,
            self.rope_scaling,
            self.window,
            self.tied,
            self.qkv_bias,
            self.o_bias,
            self.mlp_bias,
            self.head_norms()
        )
    }
}

/// One token id or a list of them.
pub(super) fn token_ids(value: Option<&Value>) -> Vec<u32> {
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_u64).map(|id| id as u32).collect(),
        Some(one) => one.as_u64().map(|id| id as u32).into_iter().collect(),
        None => Vec::new(),
    }
}

/// The architecture of this name.
pub(super) fn architecture(name: &str, file: &str) -> Result<Architecture> {
    SUPPORTED.into_iter().find(|a| a.name() == name).ok_or_else(|| {
        let all = SUPPORTED.map(Architecture::name).join(", ");
        let what = if name.is_empty() { "names no architecture".into() } else { format!("is of the architecture `{name}`") };
        Error::input(format!("{file} {what}, which is not understood"), format!("use a model of one of: {all}"))
    })
}

/// What the file asks for and this host does not compute.
pub(super) fn unsupported(file: &str, what: &str, key: &str) -> Error {
    Error::input(
        format!("{file}: {what} ({key}) cannot be computed here"),
        "use a dense llama, mistral, qwen2, qwen3 or phi3 model without it",
    )
}

struct Json<'a> {
    json: &'a Value,
    file: &'a str,
}

impl Json<'_> {
    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| self.wrong(key, "a number")),
        }
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(n) if n > 0 => Ok(Some(n as usize)),
                _ => Err(self.wrong(key, "a whole number above 0")),
            },
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| self.wrong(key, "a whole number above 0"))
    }

    fn wrong(&self, key: &str, want: &str) -> Error {
        let found = self.json.get(key).map_or("missing".to_string(), |v| v.to_string());
        Error::input(
            format!("{}: `{key}` must be {want}, and is {found}", self.file),
            "take config.json as it was published with the model",
        )
    }
}

/// Turns in the original context from which on YaRN keeps a wave, and up to which it stretches it whole, where a model says no more.
const YARN_FAST: f64 = 32.0;
const YARN_SLOW: f64 = 1.0;

/// YaRN's factor of cosines and sines at this stretch.
fn magnitude(factor: f64, scale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
}

/// `rope_theta` and `rope_scaling`, or both inside `rope_parameters`.
fn rope(read: &Json, architecture: Architecture) -> Result<(f64, RopeScaling)> {
    let table = |key: &str| read.json.get(key).filter(|v| v.is_object());
    let parameters = table("rope_parameters").or_else(|| table("rope_scaling"));
    let inner = Json { json: parameters.unwrap_or(&Value::Null), file: read.file };
    let usual = if architecture == Architecture::Qwen3 { 1e6 } else { 10_000.0 };
    let theta = inner.number("rope_theta")?.or(read.number("rope_theta")?).unwrap_or(usual);
    let name = |key: &str| inner.json.get(key).and_then(Value::as_str);
    let number = |key: &str| match inner.number(key)? {
        Some(x) if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err(inner.wrong(key, "a number above 0")),
    };
    let scaling = match name("rope_type").or(name("type")).unwrap_or("default") {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: number("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: number("factor")?,
            low: number("low_freq_factor")?,
            high: number("high_freq_factor")?,
            original_context: number("original_max_position_embeddings")?,
        },
        "yarn" => {
            let known = |key: &str| inner.number(key).map(|x| x.filter(|x| *x != 0.0));
            let context = read.size("max_position_embeddings")? as f64;
            let original = known("original_max_position_embeddings")?;
            let factor = match (known("factor")?, original) {
                (None, Some(original)) => context / original,
                _ => number("factor")?,
            };
            let attention = match (known("attention_factor")?, known("mscale")?, known("mscale_all_dim")?) {
                (Some(factor), ..) => factor,
                (None, Some(one), Some(all)) => magnitude(factor, one) / magnitude(factor, all),
                _ => magnitude(factor, 1.0),
            };
            RopeScaling::Yarn {
                factor,
                original_context: original.unwrap_or(context),
                fast: known("beta_fast")?.unwrap_or(YARN_FAST),
                slow: known("beta_slow")?.unwrap_or(YARN_SLOW),
                whole: inner.json.get("truncate").and_then(Value::as_bool).unwrap_or(true),
                attention,
            }
        }
        other => return Err(rope_type(read.file, other)),
    };
    if let RopeScaling::Llama3 { low, high, .. } = scaling
        && high <= low
    {
        return Err(inner.wrong("high_freq_factor", "above low_freq_factor"));
    }
    Ok((theta, scaling))
}

/// An unknown way to stretch the positions.
pub(super) fn rope_type(file: &str, name: &str) -> Error {
    Error::input(
        format!("{file}: the rotary positions are of the type `{name}`, which is not understood"),
        "use a model with positions of one of: default, linear, llama3, yarn",
    )
}

/// The limit on what a query sees. Qwen names one that it does not use unless it says so.
fn window(read: &Json, architecture: Architecture) -> Result<Option<usize>> {
    let flag = read.json.get("use_sliding_window").and_then(Value::as_bool);
    let kinds = read.json.get("layer_types").and_then(Value::as_array);
    let sliding = kinds.is_some_and(|all| all.iter().any(|k| k.as_str() == Some("sliding_attention")));
    match architecture {
        Architecture::Mistral | Architecture::Phi3 => read.optional_size("sliding_window"),
        _ if flag == Some(true) || sliding => {
            Err(unsupported(read.file, "windows in a part of the layers", "use_sliding_window"))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"{"model_type":"llama","hidden_size":64,"intermediate_size":172,"num_hidden_layers":5,
        "num_attention_heads":8,"vocab_size":512,"max_position_embeddings":512"#;

    fn read(more: &str) -> Result<Config> {
        Config::from_json(&format!("{PLAIN}{more}}}"), "config.json")
    }

    #[test]
    fn defaults_of_a_short_config() {
        let config = read("").unwrap();
        assert_eq!((config.kv_heads, config.head_dim, config.rope_theta), (8, 8, 10_000.0));
        assert_eq!((config.tied, config.qkv_bias, config.window), (false, false, None));
    }

    #[test]
    fn rope_in_the_old_and_the_new_place() {
        let old = read(r#","rope_theta":500000,"rope_scaling":{"type":"linear","factor":4}"#).unwrap();
        let new = read(r#","rope_parameters":{"rope_theta":500000,"rope_type":"linear","factor":4}"#).unwrap();
        assert_eq!(old, new);
        assert_eq!(old.rope_scaling, RopeScaling::Linear { factor: 4.0 });
    }

    /// Llama 3.2 1B: the first frequency stays, the last is divided by the factor, one between is in between.
    #[test]
    fn frequencies_of_llama3() {
        let config = read(
            r#","head_dim":64,"rope_theta":500000.0,"rope_scaling":{"rope_type":"llama3","factor":32.0,"low_freq_factor":1.0,
               "high_freq_factor":4.0,"original_max_position_embeddings":8192}"#,
        )
        .unwrap();
        let mut plain = config.clone();
        plain.rope_scaling = RopeScaling::None;
        let (scaled, plain) = (config.frequencies(), plain.frequencies());
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[31] * 32.0 / plain[31] - 1.0).abs() < 1e-6);
        let ratios: Vec<f32> = scaled.iter().zip(&plain).map(|(s, p)| s / p).collect();
        assert!(ratios.windows(2).all(|w| w[1] <= w[0]) && ratios.iter().any(|r| *r < 0.9 && *r > 0.1), "{ratios:?}");
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (more, word) in [
            (r#","rope_scaling":{"rope_type":"longrope","factor":4}"#, "`longrope`"),
            (r#","rope_scaling":{"type":"yarn","factor":-4}"#, "factor"),
            (r#","rope_scaling":{"type":"yarn","factor":4,"beta_fast":0.5}"#, "Yarn"),
            (r#","hidden_act":"gelu""#, "`gelu`"),
            (r#","quantization_config":{"bits":4}"#, "quantization_config"),
            (r#","num_key_value_heads":3"#, "evenly"),
            (r#","head_dim":7"#, "odd"),
            (r#","num_key_value_heads":0"#, "num_key_value_heads"),
            (r#","partial_rotary_factor":0.5"#, "partial_rotary_factor"),
            (r#","rope_scaling":{"rope_type":"linear"}"#, "factor"),
        ] {
            let error = read(more).unwrap_err();
            assert!(error.to_string().contains(word) && error.exit_code() == 2, "{more}: {error}");
        }
        let error = Config::from_json(r#"{"model_type":"gemma3"}"#, "config.json").unwrap_err().to_string();
        assert!(error.contains("gemma3") && error.contains("qwen3"), "{error}");
    }
}
