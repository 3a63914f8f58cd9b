//! `sharpwave model`: get a transformer, say what it is, and let it write.

use super::adapter::{Choice, choice};
use clap::{Args, Subcommand};
use sharpwave::error::{Error, Result};
use sharpwave::export::{self, Base};
use sharpwave::memory::Memory;
use sharpwave::memory::exchange::Request;
use sharpwave::memory::learner::{Composition, Part};
use sharpwave::memory::store::Store;
use sharpwave::transformer::chat::Message;
use sharpwave::transformer::hooks::Adapter;
use sharpwave::transformer::sample::Sampler;
use sharpwave::transformer::{Ending, Host, Source, Summary};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Args)]
pub struct ModelArguments {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Subcommand)]
enum ModelCommand {
    /// Architecture, sizes, how the weights are stored, tokenizer and fingerprint
    Info {
        /// Model folder, GGUF file, a model that was pulled, or stories260k, which is built in
        path: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Get a model from a Hugging Face hub (HF_ENDPOINT, HF_TOKEN); prints its folder
    Pull(super::pull::PullArguments),
    /// Continue a text; prints the continuation alone
    Generate(GenerateArguments),
}

#[derive(Args)]
struct GenerateArguments {
    /// Model folder, GGUF file, or stories260k, which is built in
    #[arg(long, value_name = "PATH")]
    model: Option<String>,
    /// Memory folder: the model with what it learned
    #[arg(long, value_name = "DIR")]
    memory: Option<PathBuf>,
    /// Say which experiences of the memory the text asks for
    #[arg(long)]
    explain: bool,
    /// The text to continue; with --chat, what the user says
    #[arg(required_unless_present = "messages")]
    prompt: Option<String>,
    /// Have the assistant answer, by the model's chat template
    #[arg(long, conflicts_with = "messages")]
    chat: bool,
    /// What the chat starts with; the template's own system text otherwise
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// A conversation that the assistant goes on with: a JSON list of messages with role and content
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    messages: Option<PathBuf>,
    /// Tokens to write at most
    #[arg(long, value_name = "N", default_value_t = 128)]
    tokens: usize,
    /// 0 takes the most probable token, higher values draw more freely
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f64,
    /// Seed of the draws
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Adapter to write with (PEFT folder, MLX folder or GGUF file), and what to multiply it with; may be repeated
    #[arg(long, value_name = "PATH[:SCALE]", value_parser = choice)]
    adapter: Vec<Choice>,
}

pub fn model(arguments: &ModelArguments) -> Result<ExitCode> {
    match &arguments.command {
        ModelCommand::Info { path, json } => {
            let summary = Source::open(path)?.summary()?;
            if *json { super::json(&summary)? } else { info(&summary) }
        }
        ModelCommand::Pull(arguments) => super::pull::pull(arguments)?,
        ModelCommand::Generate(arguments) => generate(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn info(s: &Summary) {
    let stored: Vec<String> = s.tensors.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let format = format!("{:?}", s.format).to_lowercase();
    let eos: Vec<String> = s.eos.iter().map(u32::to_string).collect();
    out!("{}", s.name);
    out!("  architecture  {}, {} layers, width {}, feed-forward {}", s.architecture, s.layers, s.width, s.feed_forward);
    out!("  attention     {} query heads, {} key/value heads of size {}", s.heads, s.kv_heads, s.head_dim);
    let (scaling, window) = (s.rope_scaling.as_deref().unwrap_or("none"), s.window.map(|w| format!(", window {w}")));
    out!("  positions     {}, RoPE base {}, scaling {scaling}{}", s.context, s.rope_theta, window.unwrap_or_default());
    out!("  vocabulary    {}{}", s.vocabulary, if s.tied_embedding { ", lm_head tied to the embedding" } else { "" });
    out!("  parameters    {}", s.parameters);
    out!("  stored as     {format}: {} tensors ({})", s.tensors.values().sum::<usize>(), stored.join(", "));
    out!("  tokenizer     {} tokens from {}; texts end at {}", s.tokens, s.tokenizer, eos.join(", "));
    out!("  chat template {}", s.chat_template.as_deref().unwrap_or("none"));
    out!("  fingerprint   {}", s.fingerprint);
}

fn generate(arguments: &GenerateArguments) -> Result<()> {
    let mut sampler = Sampler::new(arguments.temperature, arguments.seed)?;
    let store = arguments.memory.as_ref().map(Store::read).transpose()?;
    let source = match (&store, &arguments.model) {
        (Some(store), model) => sharpwave::memory::facade::model_of(store, model.as_deref())?,
        (None, Some(model)) => Source::open(model)?,
        (None, None) => return Err(Error::input("no model is named", "give --model, or --memory of a model that learned")),
    };
    let adapter = match arguments.adapter.is_empty() {
        true => Adapter::default(),
        false => export::load(&arguments.adapter, &Base::of(&source)?)?,
    };
    let host = Arc::new(source.load()?);
    let request = request(arguments, &host)?;
    let learned = match store {
        Some(store) => {
            let composition = Memory::new(store, host.clone())?.composition_for(&request)?;
            if arguments.explain {
                let how = |exact: bool| if exact { "its own words" } else { "in other words, if they ask for the same" };
                let told = |part: &Part| note!("{} ({:.0} % of its prompt, {})", part.id, 100.0 * part.coverage, how(part.exact));
                composition.parts.iter().for_each(told);
            }
            composition
        }
        None => Composition::default(),
    };
    let prompt = request.tokens;
    let ending =
        host.write(&prompt, arguments.tokens, &mut sampler, &mut (&adapter, learned.at_work(prompt.len())), |piece| {
            print(piece);
            ControlFlow::Continue(())
        })?;
    out!("");
    if ending == Ending::Context {
        note!("the model's context of {} tokens is full", host.decoder.config.context);
    }
    Ok(())
}

/// What the model is asked.
fn request(arguments: &GenerateArguments, host: &Host) -> Result<Request> {
    let prompt = arguments.prompt.as_deref().unwrap_or_default();
    if let Some(path) = &arguments.messages {
        let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
        let messages: Vec<Message> = serde_json::from_str(&text).map_err(|e| {
            let what = format!("{} is not a list of messages: {e}", path.display());
            Error::input(what, "write it like [{\"role\": \"user\", \"content\": \"…\"}]")
        })?;
        return Request::of_messages(host, &messages, None);
    }
    if !arguments.chat {
        return Request::of_text(host, prompt);
    }
    let system = arguments.system.iter().map(|text| Message::new("system", text));
    let messages: Vec<Message> = system.chain([Message::new("user", prompt)]).collect();
    Request::of_messages(host, &messages, None)
}

/// A piece of text at once, without the end of a line.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        super::unprintable(&error);
    }
}
