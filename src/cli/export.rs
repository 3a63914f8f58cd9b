//! `sharpwave export`: what a memory holds, as an adapter for another program.

use super::adapter::{Target, written};
use super::learn::open;
use clap::Args;
use sharpwave::error::Result;
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
    /// Let one adapter of all change other texts by so many nats in the mean, instead of what the memory's settings say
    #[arg(long, value_name = "NATS")]
    damage: Option<f32>,
    /// Write although facts are lost at this rank; they are named
    #[arg(long)]
    lossy: bool,
}

pub fn export(a: &ExportArguments) -> Result<ExitCode> {
    let options = a.target.options()?.with_lossy(a.lossy);
    let (source, mut memory) = open(Store::read(&a.memory)?, a.model.as_deref())?;
    if let Some(budget) = a.damage {
        memory.set_damage(budget)?;
    }
    let exported = memory.export(&source, &options, &a.target.out)?;
    if a.target.json {
        super::json(&exported)?
    } else {
        let report = &exported.report;
        written(report);
        out!("  facts         {} of {} kept", report.facts - report.lost.len(), report.facts);
        for lost in &report.lost {
            out!("  lost          `{}` at {}: off by {:.0} %", lost.name, lost.site, 100.0 * lost.error);
        }
        if !exported.left_out.is_empty() {
            out!("  left out      {}: one adapter of all would damage other texts", exported.left_out.join(", "));
        }
        let damage = exported.damage;
        out!("  other texts   change by {:.4} nats in the mean, {:.0} % go on otherwise", damage.kl, 100.0 * damage.changed);
    }
    Ok(ExitCode::SUCCESS)
}
