//! `sharpwave export`: what a memory holds, as an adapter for another program.

use super::adapter::{Target, written};
use super::learn::open;
use clap::Args;
use sharpwave::error::{Error, Result};
use sharpwave::export::{self, Base, Fact, Options};
use sharpwave::memory::Engram;
use sharpwave::memory::exchange::Exchange;
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
    let (source, mut memory) = open(Store::read(&a.memory)?, a.model.as_deref())?;
    let (adapter, left_out) = memory.adapter()?;
    let engrams: Vec<&Engram> = memory.learner().whole_engrams().into_iter().filter(|e| e.value.iter().any(|v| *v != 0.0)).collect();
    if engrams.is_empty() {
        let empty = "this memory is empty: there is nothing to export";
        return Err(Error::input(empty, "learn something first"));
    }
    let facts: Vec<Fact> = engrams.iter().map(|e| Fact { name: &e.experience, site: e.site, key: &e.key }).collect();
    let host = memory.learner().host.clone();
    let taught = memory.entries().iter().filter(|e| e.stage.is_written()).take(4);
    let prompts: Vec<Vec<u32>> = taught.map(|e| Ok(Exchange::of(&host, &e.experience)?.prompt)).collect::<Result<_>>()?;
    let options = Options { lossy: a.lossy, prompts, ..options };
    let base = Base::of(&source)?;
    let report = export::export(&adapter, &facts, &host.decoder, &base, &options, &a.target.out)?;
    if a.target.json {
        super::json(&report)?
    } else {
        written(&report);
        out!("  facts         {} of {} kept", report.facts - report.lost.len(), report.facts);
        if !left_out.is_empty() {
            out!("  left out      {}, which would damage other texts in one adapter", left_out.join(", "));
        }
        for lost in &report.lost {
            out!("  lost          `{}` at {}: off by {:.0} %", lost.name, lost.site, 100.0 * lost.error);
        }
    }
    Ok(ExitCode::SUCCESS)
}
