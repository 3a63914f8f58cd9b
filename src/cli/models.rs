//! `sharpwave models`: the list, and one model in full.

use clap::{Args, Subcommand};
#[cfg(not(feature = "gpu"))]
use sharpwave::error::Error;
use sharpwave::error::Result;
use sharpwave::model::library::Library;
use sharpwave::model::{Modifier, NeuronModel, Param, PostTrace, State, SynapseModel};
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
    out!("neurons");
    for model in library.neurons() {
        out!("  {:<18} {}", model.name, model.doc.replace('\n', &format!("\n{:21}", "")));
        out!("  {:<18} parameters: {}", "", brief(&model.params));
        out!("  {:<18} source: {}", "", model.source);
    }
    out!("synapses");
    for model in library.synapses() {
        out!("  {:<18} {}", model.name, model.doc.replace('\n', &format!("\n{:21}", "")));
        out!("  {:<18} parameters: {}", "", brief(&model.params));
        out!("  {:<18} source: {}", "", model.source);
    }
    out!("modifiers (of the steps of any plastic synapse)");
    for model in library.modifiers() {
        out!("  {:<18} {}", model.name, model.doc.replace('\n', &format!("\n{:21}", "")));
        out!("  {:<18} parameters: {}", "", brief(&model.params));
        out!("  {:<18} source: {}", "", model.source);
    }
}

fn brief(params: &[Param]) -> String {
    let unit = |p: &Param| if p.unit == "1" { String::new() } else { format!(" {}", p.unit) };
    let each = params.iter().map(|p| format!("{} = {}{}", p.name, p.default.text, unit(p)));
    let text = each.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "none".into() } else { text }
}

fn show(library: &Library, name: &str, wgsl: bool) -> Result<()> {
    match (library.neuron(name), library.synapse(name)) {
        (Ok(model), _) if wgsl => out!("{}", neuron_shader(&model)?),
        (_, Ok(model)) if wgsl => out!("{}", synapse_shader(&model)?),
        (Ok(model), _) => show_neuron(&model),
        (_, Ok(model)) => show_synapse(&model),
        (Err(error), _) => show_modifier(&*library.modifier(name).map_err(|_| error)?),
    }
    Ok(())
}

#[cfg(feature = "gpu")]
fn neuron_shader(model: &NeuronModel) -> Result<String> {
    Ok(sharpwave::engine::gpu::update_shader(model, true))
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
    out!("{}\n{}\nsource: {}\nfile: {}\n", model.name, model.doc, model.source, model.place.file);
    params(&model.params);
    states(&model.states);
    out!("inputs");
    for port in &model.ports {
        out!("  {:<14} {:<8} {} ({:?})", port.receptor, port.unit, port.doc, port.sign);
    }
    if let Some((name, unit)) = &model.current {
        out!("  {name:<14} {unit:<8} injected current");
    }
    out!("recordables");
    for variable in &model.recordables {
        out!("  {:<14} {:<8} {} = {}", variable.name, variable.unit, variable.doc, variable.value.text);
    }
    out!("engines: cpu ({}), gpu{}", model.kernel().describe(), if model.event.is_some() { ", event" } else { "" });
    out!("\n{}", model.place.text);
}

fn show_synapse(model: &SynapseModel) {
    out!("{}\n{}\nsource: {}\nfile: {}\n", model.name, model.doc, model.source, model.place.file);
    params(&model.params);
    states(&model.states);
    if let Some(plasticity) = &model.plasticity {
        traces(&plasticity.traces);
        for state in &plasticity.post_states {
            out!("reads the target's state {:<14} {}", state.name, state.doc);
        }
        if let Some(signal) = &plasticity.modulator {
            out!("reads a modulator: {signal}");
        }
        out!("weights from 0 to {}; engines: cpu, gpu", plasticity.bound.text);
    }
    out!("\n{}", model.place.text);
}

fn show_modifier(model: &Modifier) {
    out!("{}\n{}\nsource: {}\nfile: {}\n", model.name, model.doc, model.source, model.place.file);
    params(&model.params);
    states(&model.states);
    traces(&model.traces);
    if let Some(signal) = &model.modulator {
        out!("reads a modulator: {signal}");
    }
    out!("\n{}", model.place.text);
}

fn traces(traces: &[PostTrace]) {
    out!("traces of the target");
    for t in traces {
        out!("  {:<14} {:>12} {:<8} {}", t.name, t.tau.text, "ms", t.doc);
    }
}

fn params(params: &[Param]) {
    out!("parameters");
    for p in params {
        out!("  {:<14} {:>12} {:<8} {}", p.name, p.default.text, p.unit, p.doc);
    }
}

fn states(states: &[State]) {
    out!("states");
    for s in states {
        out!("  {:<14} {:>12} {:<8} {}", s.name, s.init.text, s.unit, s.doc);
    }
}
