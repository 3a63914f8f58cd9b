//! `sharpwave models`: the list, and one model in full.

use clap::{Args, Subcommand};
#[cfg(not(feature = "gpu"))]
use sharpwave::error::Error;
use sharpwave::error::Result;
use sharpwave::model::library::Library;
use sharpwave::model::{Modifier, NeuronModel, Param, PostTrace, Recordable, Sign, State, SynapseModel};
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
    library.neurons().for_each(|model| entry(&model.name, &model.doc, &model.params, &model.source));
    out!("synapses");
    library.synapses().for_each(|model| entry(&model.name, &model.doc, &model.params, &model.source));
    out!("modifiers (of the steps of any plastic synapse)");
    library.modifiers().for_each(|model| entry(&model.name, &model.doc, &model.params, &model.source));
}

fn entry(name: &str, doc: &str, params: &[Param], source: &str) {
    out!("  {name}");
    out!("{}", wrapped("      ", "      ", doc));
    out!("{}", wrapped("      parameters: ", "        ", &brief(params)));
    out!("{}", wrapped("      source: ", "        ", source));
}

/// Parameters with defaults and units; none of them is torn apart at the end of a line.
fn brief(params: &[Param]) -> String {
    let unit = |p: &Param| if p.unit == "1" { String::new() } else { format!(" {}", p.unit) };
    let each = params.iter().map(|p| format!("{} = {}{}", p.name, p.default.text, unit(p)).replace(' ', TIED));
    let text = each.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "none".into() } else { text }
}

/// A space at which no line ends.
const TIED: &str = "\u{a0}";

/// A paragraph within the terminal's width: what its first line and the others begin with.
fn wrapped(first: &str, next: &str, text: &str) -> String {
    let terminal = terminal_size::terminal_size_of(std::io::stdout()).map_or(80, |(width, _)| usize::from(width.0));
    let how = textwrap::Options::new(terminal.clamp(50, 100)).initial_indent(first).subsequent_indent(next);
    let how = how
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(&text.split_ascii_whitespace().collect::<Vec<_>>().join(" "), how).replace(TIED, " ")
}

/// Rows of columns, the last of which is a paragraph; what it is about stands before it.
fn table(heading: &str, rows: &[(Vec<&str>, String)]) {
    if rows.is_empty() {
        return;
    }
    out!("{heading}");
    let columns = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
    let width = |k: usize| rows.iter().filter_map(|row| row.0.get(k)).map(|cell| cell.chars().count()).max().unwrap_or(0).min(24);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (cells, text) in rows {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let next = " ".repeat(widths.iter().sum::<usize>() + 2 * columns + 2);
        match text.is_empty() {
            true => out!("  {}", cells.join("  ").trim_end()),
            false => out!("{}", wrapped(&format!("  {}  ", cells.join("  ")), &next, text)),
        }
    }
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

fn head(name: &str, doc: &str, source: &str, file: &str) {
    out!("{name}\n{}", wrapped("", "", doc));
    out!("{}", wrapped("source: ", "  ", source));
    out!("file: {file}\n");
}

fn show_neuron(model: &NeuronModel) {
    head(&model.name, &model.doc, &model.source, &model.place.file);
    params(&model.params);
    states(&model.states);
    let mut inputs: Vec<(Vec<&str>, String)> = model
        .ports
        .iter()
        .map(|port| {
            let sign = match port.sign {
                Sign::Any => "",
                Sign::Positive => "; weights of 0 or more",
                Sign::Negative { absolute: false } => "; negative weights",
                Sign::Negative { absolute: true } => "; negative weights, taken by their size",
            };
            (vec![&*port.receptor, &*port.unit], format!("{}{sign}", port.doc))
        })
        .collect();
    inputs.extend(model.current.iter().map(|(name, unit)| (vec![&**name, &**unit], "injected current".to_string())));
    table("inputs", &inputs);
    recordables(&model.recordables);
    out!("engines: cpu ({}), gpu{}", model.kernel().describe(), if model.event.is_some() { ", event" } else { "" });
    out!("\n{}", model.place.text);
}

fn recordables(list: &[Recordable]) {
    let recordable = |v: &Recordable| format!("{} = {}", v.doc, v.value.text);
    table("recordables", &list.iter().map(|v| (vec![&*v.name, &*v.unit], recordable(v))).collect::<Vec<_>>());
}

fn show_synapse(model: &SynapseModel) {
    head(&model.name, &model.doc, &model.source, &model.place.file);
    params(&model.params);
    states(&model.states);
    recordables(&model.recordables);
    if let Some(plasticity) = &model.plasticity {
        traces(&plasticity.traces);
        let read: Vec<_> = plasticity.post_states.iter().map(|state| (vec![&*state.name], state.doc.clone())).collect();
        table("reads of the target", &read);
        if let Some(signal) = &plasticity.modulator {
            out!("reads a modulator: {signal}");
        }
        out!("weights from 0 to {}; engines: cpu, gpu", plasticity.bound.text);
    }
    out!("\n{}", model.place.text);
}

fn show_modifier(model: &Modifier) {
    head(&model.name, &model.doc, &model.source, &model.place.file);
    params(&model.params);
    states(&model.states);
    traces(&model.traces);
    if let Some(signal) = &model.modulator {
        out!("reads a modulator: {signal}");
    }
    out!("\n{}", model.place.text);
}

fn traces(traces: &[PostTrace]) {
    table(
        "traces of the target",
        &traces.iter().map(|t| (vec![&*t.name, &*t.tau.text, "ms"], t.doc.clone())).collect::<Vec<_>>(),
    );
}

fn params(params: &[Param]) {
    let rows: Vec<_> = params.iter().map(|p| (vec![&*p.name, &*p.default.text, &*p.unit], p.doc.clone())).collect();
    table("parameters", &rows);
}

fn states(states: &[State]) {
    let rows: Vec<_> = states.iter().map(|s| (vec![&*s.name, &*s.init.text, &*s.unit], s.doc.clone())).collect();
    table("states", &rows);
}
