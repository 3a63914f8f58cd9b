//! The transformer that learns: a Llama-family decoder in float32, read from safetensors or GGUF, with hooks at every linear
//! layer. The only place that knows candle. `Source` is a model on disk, checked; `Host` is one in memory.
//!
//! ```text
//! path -> Source (config, tensors, tokenizer) -> Host (Decoder, Tokenizer) -> tokens, logits, what hooks saw
//! ```

pub mod bert;
pub mod chat;
pub mod config;
pub mod decoder;
pub(crate) mod gguf;
pub mod gradient;
pub mod hooks;
mod join;
pub mod low_rank;
pub(crate) mod matmul;
pub mod pull;
pub mod rwkv;
pub mod sample;
pub mod site;
mod tensors;
pub mod tokenizer;
pub(crate) mod weights;

use crate::error::{Error, Result, nearest};
use chat::Template;
use config::Config;
use decoder::{Decoder, Logits};
use gguf::Gguf;
use hooks::Hooks;
use md5::{Digest, Md5};
use sample::Sampler;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tensors::Tensors;
use tokenizer::Tokenizer;

pub use join::joined;

/// The name of the model that is part of the program.
pub const BUILT_IN: &str = "stories260k";
/// Parts documents in the training text of models whose tokenizer adds no first token (GPT-2's name for it).
const PARTING: &str = "<|endoftext|>";

macro_rules! built_in {
    ($file:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/transformers/stories260K/", $file))
    };
}

/// A model that was found and checked: its tensors are all there with the right shapes, but not in memory.
pub struct Source {
    /// What it can be opened by from everywhere: an absolute path, or the short name of a model that is built in or was pulled.
    pub name: String,
    /// How its files store it.
    pub format: Format,
    /// Its sizes and conventions, all checked.
    pub config: Config,
    tensors: Tensors,
    vocabulary: Vocabulary,
    /// Once it was asked for.
    fingerprint: OnceLock<String>,
}

/// How a model is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A folder with `config.json`, `tokenizer.json` and one or several safetensors files, as on the Hugging Face hub.
    Safetensors,
    /// One GGUF file (or the parts of one), as llama.cpp reads it.
    Gguf,
}

enum Vocabulary {
    File(PathBuf),
    BuiltIn(&'static [u8]),
    Embedded,
}

/// What `Source::summary` tells.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The same as [`Source::name`].
    pub name: String,
    /// How its files store it.
    pub format: Format,
    /// The name that GGUF files give it: `llama`, `qwen2` and so on.
    pub architecture: &'static str,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Width of the feed-forward.
    pub feed_forward: usize,
    /// Query heads a layer.
    pub heads: usize,
    /// Key and value heads a layer; `heads` is a multiple of it.
    pub kv_heads: usize,
    /// Numbers of a head's query, key or value.
    pub head_dim: usize,
    /// Rows of the embedding; at least `tokens`, since some models pad it.
    pub vocabulary: usize,
    /// Positions that a text may have, prompt and answer together.
    pub context: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// As text; null where frequencies are not scaled.
    pub rope_scaling: Option<String>,
    /// Positions that a query sees, itself included; null where it sees all before it.
    pub window: Option<usize>,
    /// Whether the output layer is the embedding itself.
    pub tied_embedding: bool,
    /// Numbers in the model, each weight counted once.
    pub parameters: u64,
    /// Tensors by how they are stored.
    pub tensors: BTreeMap<String, usize>,
    /// Where the tokenizer is read from, and its number of tokens.
    pub tokenizer: String,
    /// Tokens of the tokenizer.
    pub tokens: usize,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
    /// Where the chat template is read from, and what is wrong with it if anything is; null where there is none.
    pub chat_template: Option<String>,
    /// See `Source::fingerprint`.
    pub fingerprint: String,
}

impl Source {
    /// A folder as Hugging Face has them, a folder with one GGUF file, a GGUF file, the name of the built-in model, or the name of
    /// a model that `pull` got.
    pub fn open(name: &str) -> Result<Source> {
        let path = &absolute(Path::new(name));
        if path.is_dir() {
            return Source::folder(&path.to_string_lossy(), path);
        }
        if path.is_file() {
            return match path.extension().and_then(|e| e.to_str()) {
                Some("gguf") => Source::gguf(&path.to_string_lossy(), path),
                Some("safetensors") => {
                    let folder = path.parent().unwrap_or(Path::new("."));
                    Source::folder(&folder.to_string_lossy(), folder)
                }
                _ => Err(Error::input(
                    format!("{name} is neither a folder nor a .gguf file"),
                    "name the folder that holds config.json and model.safetensors, or a GGUF file",
                )),
            };
        }
        if name.eq_ignore_ascii_case(BUILT_IN) {
            return Source::built_in();
        }
        match pull::find(name) {
            Some(folder) => Source::folder(name, &folder),
            None => Err(Error::input(format!("there is no model {name}"), elsewhere(name))),
        }
    }

    /// The model that is part of the program: stories260K.
    pub fn built_in() -> Result<Source> {
        let text = |bytes: &'static [u8]| std::str::from_utf8(bytes).unwrap_or("");
        let mut config = Config::from_json(text(built_in!("config.json")), "config.json of the built-in model")?;
        end_tokens(&mut config, text(built_in!("generation_config.json")));
        let tensors = Tensors::built_in(built_in!("model.safetensors"), "model.safetensors of the built-in model")?;
        let vocabulary = Vocabulary::BuiltIn(built_in!("tokenizer.json"));
        Source::checked(BUILT_IN, Format::Safetensors, config, tensors, vocabulary)
    }

    fn folder(name: &str, folder: &Path) -> Result<Source> {
        let safetensors = ["model.safetensors", "model.safetensors.index.json"].iter().any(|f| folder.join(f).is_file());
        if !safetensors {
            let entries = std::fs::read_dir(folder).map_err(|e| Error::file(folder, e))?;
            let starts = |p: &PathBuf| gguf::Part::of(p).is_none_or(|part| part.number == 1);
            let files = entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "gguf"));
            let mut files = files.filter(starts);
            return match (files.next(), files.next()) {
                (Some(one), None) => Source::gguf(name, &one),
                (Some(_), Some(_)) => Err(Error::input(format!("{name} holds several GGUF files"), "name one of them")),
                (None, _) => Err(Error::input(
                    format!("{name} holds no weights"),
                    "a model folder holds config.json and model.safetensors (or its index and parts), or a GGUF file",
                )),
            };
        }
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|e| Error::file(&path, e))?;
        let mut config = Config::from_json(&text, &path.display().to_string())?;
        end_tokens(&mut config, &std::fs::read_to_string(folder.join("generation_config.json")).unwrap_or_default());
        let vocabulary = Vocabulary::File(folder.join("tokenizer.json"));
        Source::checked(name, Format::Safetensors, config, Tensors::folder(folder)?, vocabulary)
    }

    fn gguf(name: &str, path: &Path) -> Result<Source> {
        let tensors = Tensors::gguf(Gguf::open(path)?);
        let config = Config::from_gguf(&tensors)?;
        let beside = path.with_file_name("tokenizer.json");
        let vocabulary = if beside.is_file() { Vocabulary::File(beside) } else { Vocabulary::Embedded };
        Source::checked(name, Format::Gguf, config, tensors, vocabulary)
    }

    fn checked(name: &str, format: Format, config: Config, tensors: Tensors, vocabulary: Vocabulary) -> Result<Source> {
        weights::check(&tensors, &config)?;
        Ok(Source { name: name.into(), format, config, tensors, vocabulary, fingerprint: OnceLock::new() })
    }

    /// Numbers in the model, each weight counted once.
    pub fn parameters(&self) -> u64 {
        weights::parameters(&self.tensors, &self.config)
    }

    /// MD5, in hexadecimal, of the configuration, of the tokenizer and of all weights as stored: what an adapter or a memory names
    /// its model by. The same for one file and for several, and for a copy elsewhere. Reads all weights the first time.
    pub fn fingerprint(&self) -> Result<String> {
        if let Some(known) = self.fingerprint.get() {
            return Ok(known.clone());
        }
        let mut digest = Md5::new();
        digest.update(self.config.canonical());
        let (bytes, file) = self.tokenizer_json()?;
        digest.update(tokenizer::canonical(&bytes, &file)?);
        self.tensors.raw(&mut |bytes| digest.update(bytes))?;
        let sum: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(self.fingerprint.get_or_init(|| sum).clone())
    }

    /// Reads the tokenizer.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let (bytes, file) = self.tokenizer_json()?;
        Tokenizer::from_json(&bytes, &file, self.config.vocabulary)
    }

    /// The tokenizer's description, and what it is called in messages.
    fn tokenizer_json(&self) -> Result<(Cow<'static, [u8]>, String)> {
        match (&self.vocabulary, self.tensors.as_gguf()) {
            (Vocabulary::BuiltIn(bytes), _) => Ok((Cow::Borrowed(*bytes), "tokenizer.json of the built-in model".into())),
            (Vocabulary::Embedded, Some(gguf)) => {
                Ok((tokenizer::embedded(gguf)?.into(), format!("{} (embedded)", gguf.path.display())))
            }
            (Vocabulary::File(path), _) if path.is_file() => {
                let bytes = std::fs::read(path).map_err(|e| Error::file(path, e))?;
                Ok((bytes.into(), path.display().to_string()))
            }
            _ => Err(Error::input(
                format!("{} has no tokenizer.json", self.name),
                "put the model's tokenizer.json beside its weights",
            )),
        }
    }

    /// The model's chat template, where it brings one.
    pub fn template(&self, tokenizer: &Tokenizer) -> Result<Option<Template>> {
        let gguf = self.tensors.as_gguf();
        let folder = match &self.vocabulary {
            Vocabulary::BuiltIn(_) => return Ok(None),
            Vocabulary::File(path) => path.parent(),
            Vocabulary::Embedded => gguf.and_then(|gguf| gguf.path.parent()),
        };
        let embedded = |key: &str| gguf.map_or(Ok(None), |gguf| gguf.text(key));
        let embedded = [embedded("tokenizer.chat_template")?, embedded("tokenizer.chat_template.tool_use")?];
        let name = |id: Option<u32>| id.and_then(|id| tokenizer.name(id)).unwrap_or_default();
        let (bos, eos) = (name(self.config.bos), name(self.config.eos.first().copied()));
        Ok(Template::find(folder.unwrap_or(Path::new(".")), embedded, &bos, &eos))
    }

    /// What there is to know without computing. Reads all weights once, for the fingerprint.
    pub fn summary(&self) -> Result<Summary> {
        let c = &self.config;
        let tokenizer = self.tokenizer()?;
        let mut tensors = BTreeMap::new();
        self.tensors.infos().for_each(|info| *tensors.entry(info.kind.clone()).or_insert(0) += 1);
        let scaled = c.rope_scaling != config::RopeScaling::None;
        let chat_template = self.template(&tokenizer)?.map(|template| match template.flaw() {
            None => template.source.clone(),
            Some(flaw) => format!("{}, which cannot be used: {flaw}", template.source),
        });
        Ok(Summary {
            name: self.name.clone(),
            format: self.format,
            architecture: c.architecture.name(),
            layers: c.layers,
            width: c.width,
            feed_forward: c.feed_forward,
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            vocabulary: c.vocabulary,
            context: c.context,
            rope_theta: c.rope_theta,
            rope_scaling: scaled.then(|| format!("{:?}", c.rope_scaling)),
            window: c.window,
            tied_embedding: c.tied,
            parameters: self.parameters(),
            tensors,
            tokens: tokenizer.size(),
            tokenizer: tokenizer.source,
            eos: c.eos.clone(),
            chat_template,
            fingerprint: self.fingerprint()?,
        })
    }

    /// Reads the weights as float32. Refused when there is not enough memory for them.
    pub fn load(&self) -> Result<Host> {
        let need = self.parameters().saturating_mul(4);
        if let Some(free) = crate::network::footprint::available()
            && need > free
        {
            let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
            return Err(Error::Memory {
                message: format!(
                    "{} needs {:.2} GiB of memory in float32, {:.2} GiB are available",
                    self.name,
                    gib(need),
                    gib(free)
                ),
                remedy: "use a smaller model".into(),
            });
        }
        let tokenizer = self.tokenizer()?;
        let template = self.template(&tokenizer)?;
        let mut host = Host { tokenizer, decoder: weights::decoder(&self.tensors, &self.config)?, template };
        // Who writes a chat stops where the turn ends, whatever the configuration forgets to name.
        if host.template.is_some()
            && let Some(end) = host.end_of_turn()
            && !host.decoder.config.eos.contains(&end)
        {
            host.decoder.config.eos.push(end);
        }
        // What parts documents ends a text.
        if let Some(parting) = host.parting()
            && !host.decoder.config.eos.contains(&parting)
        {
            host.decoder.config.eos.push(parting);
        }
        Ok(host)
    }
}

/// Where a path leads whatever the working folder. Links are followed but for the file's own, which may lie beside other files than
/// what it leads to. A path that leads nowhere stays as it is.
fn absolute(path: &Path) -> PathBuf {
    let whole = match (path.is_file(), path.parent(), path.file_name()) {
        (true, Some(folder), Some(file)) => Path::new(".").join(folder).canonicalize().map(|folder| folder.join(file)),
        _ => path.canonicalize(),
    };
    let whole = whole.unwrap_or_else(|_| path.to_path_buf());
    // Windows writes what it resolved in a form that few programs take.
    whole.to_str().and_then(|text| text.strip_prefix(r"\\?\")).map(PathBuf::from).unwrap_or(whole)
}

/// Where a model that is not here may be.
fn elsewhere(name: &str) -> String {
    let known = pull::known();
    match nearest(name, known.iter().map(|m| m.name.as_str()).chain([BUILT_IN])) {
        Some(BUILT_IN) => format!("did you mean the built-in `{BUILT_IN}`?"),
        Some(near) if near.eq_ignore_ascii_case(name) => format!("get it: sharpwave model pull {near}"),
        Some(near) => format!("did you mean {near}? Get it: sharpwave model pull {near}"),
        None if name.contains('/') && pull::Model::named(name).is_ok() => {
            format!(
                "name a model folder or a GGUF file that exists; or get it from a Hugging Face hub: sharpwave model pull {name}"
            )
        }
        None => format!(
            "name a model folder or a GGUF file that exists, or `{BUILT_IN}`, which is built in; `sharpwave model pull` gets {}, \
             or OWNER/NAME from a Hugging Face hub",
            pull::names()
        ),
    }
}

/// generation_config.json has the last word on the tokens that end a text.
fn end_tokens(config: &mut Config, text: &str) {
    let json: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let eos = config::token_ids(json.get("eos_token_id"));
    if !eos.is_empty() {
        config.eos = eos;
    }
}

/// A model in memory.
#[derive(Debug)]
pub struct Host {
    /// Weights and forward pass.
    pub decoder: Decoder,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// What writes messages as a text; None where the model brings none.
    pub template: Option<Template>,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The model said so.
    Token,
    /// As many tokens as were asked for.
    Length,
    /// The model's context is full.
    Context,
    /// The caller had enough.
    Caller,
}

impl Host {
    /// The model of this name or path, in memory.
    pub fn open(name: &str) -> Result<Host> {
        Source::open(name)?.load()
    }

    /// The tokens of a text as the model's texts start: with the tokenizer's first tokens, or, where it sets none, with the token
    /// that parts documents (`<|endoftext|>`), if the vocabulary has it. Nothing is put twice: not before a text that starts with
    /// it, nor does a parting token come before a text that starts with another control token, such as a chat.
    pub fn begin(&self, text: &str) -> Result<Vec<u32>> {
        let bare = self.tokenizer.encode_bare(text)?;
        let opening = self.tokenizer.controls_in(text).next().filter(|(_, span)| span.start == 0).map(|(id, _)| id);
        let mut tokens = self.tokenizer.leading()?;
        match opening {
            Some(control) if tokens.first() == Some(&control) => return Ok(bare),
            None if tokens.is_empty() => tokens.extend(self.parting()),
            _ => {}
        }
        tokens.extend(bare);
        Ok(tokens)
    }

    /// The token that parts documents, if the vocabulary has it.
    pub fn parting(&self) -> Option<u32> {
        self.tokenizer.id(PARTING)
    }

    /// An answer as it follows a prompt: see [`joined`]; after a control token it stays as it is.
    pub fn joined(&self, prompt: &str, answer: &str) -> String {
        match self.tokenizer.controls_in(prompt).last() {
            Some((_, span)) if span.end == prompt.len() => answer.into(),
            _ => joined(prompt, answer),
        }
    }

    /// The tokens of a prompt, as the start of a text, and those of an answer that follows it, [`Host::joined`].
    ///
    /// # Errors
    /// An empty answer.
    pub fn exchange(&self, prompt: &str, answer: &str) -> Result<(Vec<u32>, Vec<u32>)> {
        Ok((self.begin(prompt)?, self.answer(prompt, &self.joined(prompt, answer))?))
    }

    /// The tokens of an answer that stands after a prompt just as it is written here.
    ///
    /// # Errors
    /// An empty answer.
    pub fn answer(&self, prompt: &str, answer: &str) -> Result<Vec<u32>> {
        let tokens = self.tokenizer.encode_after(prompt, answer)?;
        match answer.trim().is_empty() || tokens.is_empty() {
            true => {
                Err(Error::input("an empty answer: there is nothing to learn", "give the answer that should follow the prompt"))
            }
            false => Ok(tokens),
        }
    }

    /// Continues `prompt` by up to `limit` tokens, each handed to `each` as soon as it is chosen. The token that ends a text is
    /// not part of it. Refuses an empty prompt and one beyond the context.
    pub fn generate(
        &self,
        prompt: &[u32],
        limit: usize,
        sampler: &mut Sampler,
        hooks: &mut dyn Hooks,
        mut each: impl FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Ending> {
        let config = &self.decoder.config;
        let mut cache = [self.decoder.cache()];
        let mut output = self.decoder.forward(&mut cache, &[prompt], Logits::Last, hooks)?;
        for n in 1..=limit {
            let token = sampler.next(output.row(0));
            if config.eos.contains(&token) {
                return Ok(Ending::Token);
            }
            if each(token).is_break() {
                return Ok(Ending::Caller);
            }
            if n < limit {
                if cache[0].positions() >= config.context {
                    return Ok(Ending::Context);
                }
                output = self.decoder.forward(&mut cache, &[&[token]], Logits::Last, hooks)?;
            }
        }
        Ok(Ending::Length)
    }

    /// The same as text: `each` hears it as it comes, whole characters at a time, and may have enough.
    pub fn write(
        &self,
        prompt: &[u32],
        limit: usize,
        sampler: &mut Sampler,
        hooks: &mut dyn Hooks,
        mut each: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Ending> {
        let (mut text, mut failed) = (self.tokenizer.stream(prompt), None);
        let ending = self.generate(prompt, limit, sampler, hooks, |token| match text.push(token) {
            Ok(piece) => each(&piece),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let _ = each(&text.finish()?);
        Ok(ending)
    }
}
