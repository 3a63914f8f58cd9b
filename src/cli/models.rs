//! `sharpwave models`: the list, and one model in full.

use clap::{Args, Subcommand};
#[cfg(not(feature = "gpu"))]
use sharpwave::error::Error;
use sharpwave::error::Result;
use sharpwave::model::library::Library;
use sharpwave::model::{NeuronModel, Param, State, SynapseModel};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct ModelsArguments {
    #[command(subcommand)]
    command: Option<ModelsCommand>,
}

#[derive(Subcommand)]
enum ModelsCommand {
    /// Parameters, states, recordables and code of one model
    Show {
        name: String,
        /// Print exactly the shader that the GPU runs
        #[arg(long)]
        wgsl: bool,
    },
}

pub fn models(arguments: &ModelsArguments, folders: &[PathBuf]) -> Result<ExitCode> {
    let library = Library::load(folders)?;
    match &arguments.command {
        None => list(&library),
        Some(ModelsCommand::Show { name, wgsl }) => show(&library, name, *wgsl)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(library: &Library) {
    println!("neurons");
    for model in library.neurons() {
        println!("  {:<18} {}", model.name, model.doc);
        println!("  {:<18} parameters: {}", "", brief(&model.params));
        println!("  {:<18} source: {}", "", model.source);
    }
    println!("synapses");
    for model in library.synapses() {
        println!("  {:<18} {}", model.name, model.doc);
        println!("  {:<18} parameters: {}", "", brief(&model.params));
        println!("  {:<18} source: {}", "", model.source);
    }
}

fn brief(params: &[Param]) -> String {
    let each = params.iter().map(|p| format!("{} = {} {}", p.name, p.default.text, p.unit).trim_end().to_string());
    let text = each.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "none".into() } else { text }
}

fn show(library: &Library, name: &str, wgsl: bool) -> Result<()> {
    match (library.neuron(name), library.synapse(name)) {
        (Ok(model), _) if wgsl => println!("{}", neuron_shader(&model)?),
        (_, Ok(model)) if wgsl => println!("{}", synapse_shader(&model)?),
        (Ok(model), _) => show_neuron(&model),
        (_, Ok(model)) => show_synapse(&model),
        (Err(error), _) => return Err(error),
    }
    Ok(())
}

#[cfg(feature = "gpu")]
fn neuron_shader(model: &NeuronModel) -> Result<String> {
    Ok(sharpwave::engine::gpu::update_shader(model))
}
#[cfg(feature = "gpu")]
fn synapse_shader(model: &SynapseModel) -> Result<String> {
    Ok(sharpwave::engine::gpu::deliver_shader(Some(model)))
}
#[cfg(not(feature = "gpu"))]
fn neuron_shader(_: &NeuronModel) -> Result<String> {
    Err(Error::input("this binary has no gpu engine", "build with the default features"))
}
#[cfg(not(feature = "gpu"))]
fn synapse_shader(_: &SynapseModel) -> Result<String> {
    Err(Error::input("this binary has no gpu engine", "build with the default features"))
}

fn show_neuron(model: &NeuronModel) {
    println!("{}\n{}\nsource: {}\nfile: {}\n", model.name, model.doc, model.source, model.place.file);
    params(&model.params);
    states(&model.states);
    println!("inputs");
    for port in &model.ports {
        println!("  {:<14} {:<8} {} ({:?})", port.receptor, port.unit, port.doc, port.sign);
    }
    if let Some((name, unit)) = &model.current {
        println!("  {name:<14} {unit:<8} injected current");
    }
    println!("recordables");
    for variable in &model.recordables {
        println!("  {:<14} {:<8} {} = {}", variable.name, variable.unit, variable.doc, variable.value.text);
    }
    println!("engines: cpu ({}), gpu{}", model.kernel().describe(), if model.event.is_some() { ", event" } else { "" });
    println!("\n{}", model.place.text);
}

fn show_synapse(model: &SynapseModel) {
    println!("{}\n{}\nsource: {}\nfile: {}\n", model.name, model.doc, model.source, model.place.file);
    params(&model.params);
    states(&model.states);
    if let Some(plasticity) = &model.plasticity {
        println!("traces of the target");
        for t in &plasticity.traces {
            println!("  {:<14} {:>12} {:<8} {}", t.name, t.tau.text, "ms", t.doc);
        }
        println!("weights from 0 to {}; engines: cpu", plasticity.bound.text);
    }
    println!("\n{}", model.place.text);
}

fn params(params: &[Param]) {
    println!("parameters");
    for p in params {
        println!("  {:<14} {:>12} {:<8} {}", p.name, p.default.text, p.unit, p.doc);
    }
}

fn states(states: &[State]) {
    println!("states");
    for s in states {
        println!("  {:<14} {:>12} {:<8} {}", s.name, s.init.text, s.unit, s.doc);
    }
}
