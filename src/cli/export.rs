//! `sharpwave export`: what a memory holds, as an adapter for another program.

use super::adapter::{Target, written};
use super::learn::model_of;
use clap::Args;
use sharpwave::error::{Error, Result};
use sharpwave::export::{self, Base, Fact, Options};
use sharpwave::memory::Engram;
use sharpwave::memory::exchange::Exchange;
use sharpwave::memory::keeper::Keeper;
use sharpwave::memory::store::Store;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct ExportArguments {
    /// The memory folder
    #[arg(long, value_name = "DIR")]
    memory: PathBuf,
    /// Model folder or GGUF file, where it is not where the memory was made with it
    #[arg(long, value_name = "PATH")]
    model: Option<String>,
    #[command(flatten)]
    target: Target,
    /// Write although facts are lost at this rank; they are named
    #[arg(long)]
    lossy: bool,
}

pub fn export(a: &ExportArguments) -> Result<ExitCode> {
    let options = a.target.options()?;
    let store = Store::open(&a.memory)?;
    let source = model_of(&store, a.model.as_deref())?;
    let host = source.load()?;
    let empty = || Error::input("this memory is empty: there is nothing to export", "learn something first");
    let keeper = Keeper::new(store, &host, |_| Err(empty()))?;
    let engrams: Vec<&Engram> = keeper.learner.late.engrams().iter().chain(keeper.learner.early.engrams()).collect();
    if engrams.is_empty() {
        return Err(empty());
    }
    let facts: Vec<Fact> = engrams.iter().map(|e| Fact { name: &e.experience, site: e.site, key: &e.key }).collect();
    let prompts: Vec<Vec<u32>> = keeper
        .store
        .entries()?
        .iter()
        .filter(|e| e.stage.is_written())
        .take(4)
        .map(|e| Exchange::of(&host, &e.experience).map(|exchange| exchange.prompt))
        .collect::<Result<_>>()?;
    let options = Options { lossy: a.lossy, prompts, ..options };
    let base = Base::of(&source)?;
    let report = export::export(&keeper.learner.adapter()?, &facts, &host.decoder, &base, &options, &a.target.out)?;
    if a.target.json {
        super::json(&report)?
    } else {
        written(&report);
        out!("  facts         {} of {} kept", facts.len() - report.lost.len(), facts.len());
        for lost in &report.lost {
            out!("  lost          `{}` at {}: off by {:.0} %", lost.name, lost.site, 100.0 * lost.error);
        }
    }
    Ok(ExitCode::SUCCESS)
}
