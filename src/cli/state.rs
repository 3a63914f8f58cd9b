//! `sharpwave state`: what a recurrent model knows of what it read, kept in files: read into, continued, merged, compared.

use super::interrupt;
use super::progress::Bar;
use clap::{Args, Subcommand};
use serde_json::json;
use sharpwave::error::{Error, Result};
use sharpwave::eval::states;
use sharpwave::io::output;
use sharpwave::run::Progress;
use sharpwave::transformer::rwkv::{Rwkv, State};
use sharpwave::transformer::sample::Sampler;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub struct StateArguments {
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(Args)]
struct Text {
    /// The text itself
    #[arg(required_unless_present = "file")]
    text: Option<String>,
    /// A file with the text
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    file: Option<PathBuf>,
}

#[derive(Args)]
struct Out {
    /// Where the state goes
    #[arg(long, value_name = "STATE")]
    out: PathBuf,
    /// Replace a state that is there
    #[arg(long)]
    force: bool,
}

#[derive(Subcommand)]
enum StateCommand {
    /// Let an RWKV-7 read a text, from nothing or from a state, and keep what it knows then
    Read {
        /// Folder with model.safetensors, or a file of rwkv.cpp
        #[arg(long, value_name = "PATH")]
        model: PathBuf,
        /// The state to go on from (it stays as it is)
        #[arg(long, value_name = "STATE")]
        from: Option<PathBuf>,
        #[command(flatten)]
        text: Text,
        #[command(flatten)]
        out: Out,
    },
    /// Write on from a state; prints the continuation alone
    Write {
        /// The model that made the state
        #[arg(long, value_name = "PATH")]
        model: PathBuf,
        /// The state to go on from (it stays as it is)
        #[arg(long, value_name = "STATE")]
        from: PathBuf,
        /// What is read first
        text: String,
        /// Tokens to write at most
        #[arg(long, value_name = "N", default_value_t = 64)]
        tokens: usize,
        /// 0 takes the most probable token, higher values draw more freely
        #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
        temperature: f64,
        /// Seed of the draws
        #[arg(long, value_name = "S", default_value_t = 0)]
        seed: u64,
    },
    /// Merge two states into what the model would know, had it read the one text after the other
    Merge {
        /// State of the earlier text
        earlier: PathBuf,
        /// State of the later text, which began with nothing
        later: PathBuf,
        /// Interpolate instead, with this part of the earlier one
        #[arg(long, value_name = "PART", allow_negative_numbers = true)]
        mix: Option<f32>,
        #[command(flatten)]
        out: Out,
    },
    /// Say what a state is of
    Show {
        /// The state
        state: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Measure both ways to merge against running on, on pieces of a text
    Compare {
        /// The model
        #[arg(long, value_name = "PATH")]
        model: PathBuf,
        /// The text
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Pairs of pieces
        #[arg(long, value_name = "N", default_value_t = 50)]
        n: usize,
        /// Tokens of a piece
        #[arg(long, value_name = "N", default_value_t = 48)]
        tokens: usize,
        /// Chooses the pieces
        #[arg(long, value_name = "S", default_value_t = 1)]
        seed: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn state(arguments: &StateArguments) -> Result<ExitCode> {
    match &arguments.command {
        StateCommand::Read { model, from, text, out } => {
            output::check(&out.out, out.force)?;
            let model = Rwkv::open(model)?;
            let mut state = from.as_deref().map_or_else(|| Ok(model.state()), open)?;
            model.read(&model.tokens(&read(text)?)?, &mut state)?;
            keep(&state, out)?;
        }
        StateCommand::Write { model, from, text, tokens, temperature, seed } => {
            let mut sampler = Sampler::new(*temperature, *seed)?;
            let (model, mut state) = (Rwkv::open(model)?, open(from)?);
            let (mut written, mut next) = (Vec::new(), model.tokens(text)?);
            while written.len() < *tokens {
                let logits = model.read(&next, &mut state)?;
                next = vec![sampler.next(&logits)];
                written.push(next[0]);
            }
            out!("{}", model.text(&written)?);
        }
        StateCommand::Merge { earlier, later, mix, out } => {
            output::check(&out.out, out.force)?;
            let (earlier, later) = (open(earlier)?, open(later)?);
            let merged = mix.map_or_else(|| later.after(&earlier), |part| later.mixed(&earlier, part))?;
            keep(&merged, out)?;
        }
        StateCommand::Show { state, json } => {
            let state = open(state)?;
            let [layers, width, heads] = state.shape();
            if *json {
                super::json(&json!({
                    "model": state.model(), "tokens": state.tokens, "layers": layers, "width": width, "heads": heads,
                    "bytes": state.to_bytes().len(),
                }))?;
            } else {
                out!("of the model {}: {layers} layers, width {width}, {heads} heads", state.model());
                out!("has read {} tokens", state.tokens);
            }
        }
        StateCommand::Compare { model, file, n, tokens, seed, json } => {
            let text = text_of(file)?;
            let model = Rwkv::open(model)?;
            let (bar, stop) = (Bar::new(*json), interrupt::watch("stopping after this pair")?);
            let mut tell = |done| bar.phase("merging", done as f64 / *n as f64);
            let found = states::merging(&model, &model.tokens(&text)?, *n, *tokens, *seed, &mut tell, &stop)?;
            drop(bar);
            if *json {
                super::json(&found)?;
            } else {
                out!("{n} pairs of {tokens} tokens; how far from running on, nats a token:");
                out!("  product of transitions   {:.2e}", found.products);
                out!("  interpolation, part {:.1}   {:.2e}", found.part, found.interpolation);
                out!("  the later one alone      {:.2e}", found.later);
                out!("  the earlier one alone    {:.2e}", found.earlier);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text_of(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).map_err(|e| Error::file(file, e))?;
    String::from_utf8(bytes)
        .map_err(|_| Error::input(format!("{} is not UTF-8: this is no text", file.display()), "save it as UTF-8"))
}

fn read(text: &Text) -> Result<String> {
    match (&text.text, &text.file) {
        (Some(text), _) => Ok(text.clone()),
        (None, Some(file)) => text_of(file),
        (None, None) => Err(Error::input("there is no text", "give one, or --file FILE")),
    }
}

fn open(path: &Path) -> Result<State> {
    let bytes = std::fs::read(path).map_err(|e| Error::file(path, e))?;
    State::from_bytes(&bytes, path)
}

fn keep(state: &State, out: &Out) -> Result<()> {
    output::write(&out.out, state.to_bytes(), out.force)?;
    note!("{}: {} tokens", out.out.display(), state.tokens);
    Ok(())
}
