//! `sharpwave scenarios`.

use super::report::count;
use clap::{Args, Subcommand};
use serde_json::json;
use sharpwave::error::Result;
use sharpwave::model::library::Library;
use sharpwave::network::footprint;
use sharpwave::scenario::{Scenario, all_built_in};
use std::process::ExitCode;

#[derive(Args)]
pub struct ScenariosArguments {
    #[command(subcommand)]
    command: Option<ScenariosCommand>,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum ScenariosCommand {
    /// Print the text of one, to read or to start from
    Show { name: String },
}

pub fn scenarios(arguments: &ScenariosArguments) -> Result<ExitCode> {
    match &arguments.command {
        Some(ScenariosCommand::Show { name }) => out!("{}", Scenario::of_built_in(name)?.text().trim_end()),
        None => list(arguments.json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(json: bool) -> Result<()> {
    let mut rows = vec![];
    for (name, _) in all_built_in() {
        // By name alone: a file beside it that is called the same is no part of the list.
        let scenario = Scenario::of_built_in(name)?;
        let (variants, plan) = (scenario.variants().join(", "), scenario.plan(Library::built_in()?)?);
        let estimate = footprint::estimate(&plan.network, 1);
        if json {
            rows.push(json!({
                "name": name, "title": plan.title, "description": plan.description, "citation": plan.citation,
                "neurons": estimate.neurons, "synapses": estimate.synapses, "variants": scenario.variants(),
                "variant": plan.variant,
            }));
            continue;
        }
        out!("{name:<26} {}", plan.title);
        out!("{:<26} {}", "", plan.description.replace('\n', &format!("\n{:27}", "")));
        let chosen = plan.variant.as_ref().map_or(String::new(), |v| format!(" (default {v})"));
        let variants = if variants.is_empty() { String::new() } else { format!("; variants: {variants}{chosen}") };
        out!("{:<26} {} neurons, {} synapses{variants}", "", count(estimate.neurons), count(estimate.synapses));
        out!("{:<26} source: {}", "", plan.citation);
    }
    if json { super::json(&rows) } else { Ok(()) }
}
