//! Arguments and printing. Results go to standard output, progress and errors to standard error; every decision is the
//! library's.

/// A line of results. A reader that went away (`| head`) ends the program quietly; a full disk is said.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::result_line(format_args!($($text)*)) };
}
/// A line for the user, beside the results. Where nobody reads it, it is lost.
macro_rules! note {
    ($($text:tt)*) => { { use std::io::Write; let _ = writeln!(std::io::stderr(), $($text)*); } };
}

mod adapter;
mod bench;
mod data;
mod devices;
mod eval;
mod export;
mod learn;
mod memory;
mod model;
mod models;
mod plot;
mod progress;
mod protocol;
mod pull;
mod recall;
mod report;
mod run;

use clap::{Parser, Subcommand};
use sharpwave::error::{Error, Place};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "sharpwave", version, about = "An event-driven spiking-network simulator, on any CPU and GPU")]
struct Arguments {
    /// Folder with own model files (neurons/*.toml, synapses/*.toml or *.toml); may be repeated
    #[arg(long, value_name = "DIR", global = true)]
    models: Vec<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Simulate a scenario
    Run(run::RunArguments),
    /// Check a scenario and say what it would need, without simulating
    Check(run::CheckArguments),
    /// List the neuron and synapse models, or show one
    Models(models::ModelsArguments),
    /// Get a transformer, look at it, or let it write
    Model(model::ModelArguments),
    /// Look into a memory folder, forget, and keep it in order
    Memory(memory::MemoryArguments),
    /// Look at adapters of a transformer, or write them in another format
    Adapter(adapter::AdapterArguments),
    /// List the devices that the gpu engine can use
    Devices(devices::DevicesArguments),
    /// Run a learning protocol, or list those there are
    Protocol(protocol::ProtocolArguments),
    /// Get or check public data sets
    Data(data::DataArguments),
    /// Recall experiences from a hint: a question, or a part of what happened
    Recall(recall::RecallArguments),
    /// Teach a model: experiences into a memory folder, as they come
    Learn(learn::LearnArguments),
    /// Replay what a memory holds and move it to an earlier layer
    Sleep(learn::SleepArguments),
    /// Write what a memory holds as a LoRA adapter: PEFT, GGUF, MLX or for vLLM
    Export(export::ExportArguments),
    /// Measure how well a model learns facts
    Eval(eval::EvalArguments),
    /// Measure what the engines cost on this machine
    Bench(bench::BenchArguments),
    /// Draw what a run recorded: SVG, PNG and one HTML report
    Plot(plot::PlotArguments),
}

pub fn main() -> ExitCode {
    quiet_drivers();
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Command::Run(run) => run::run(run, &arguments.models),
        Command::Check(check) => run::check(check, &arguments.models),
        Command::Models(models) => models::models(models, &arguments.models),
        Command::Model(model) => model::model(model),
        Command::Memory(memory) => memory::memory(memory),
        Command::Adapter(adapter) => adapter::adapter(adapter),
        Command::Devices(devices) => devices::devices(devices),
        Command::Protocol(protocol) => protocol::protocol(protocol, &arguments.models),
        Command::Data(data) => data::data(data),
        Command::Recall(recall) => recall::recall(recall),
        Command::Learn(learn) => learn::learn(learn),
        Command::Sleep(sleep) => learn::sleep(sleep),
        Command::Export(export) => export::export(export),
        Command::Eval(eval) => eval::eval(eval),
        Command::Bench(bench) => bench::bench(bench),
        Command::Plot(plot) => plot::plot(plot),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            show(&error);
            ExitCode::from(error.exit_code() as u8)
        }
    }
}

/// Mesa's drivers complain on standard error when this variable is missing, as it is on servers; they never use it here.
fn quiet_drivers() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
}

fn result_line(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        unprintable(&error);
    }
}

/// One JSON object as the result.
fn json(value: &impl serde::Serialize) -> sharpwave::error::Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::input(e.to_string(), "leave out --json"))?;
    out!("{text}");
    Ok(())
}

/// Ends the program, as nobody can read its results.
fn unprintable(error: &std::io::Error) -> ! {
    let gone = error.kind() == std::io::ErrorKind::BrokenPipe;
    if !gone {
        note!("error: the results cannot be printed: {error}");
    }
    std::process::exit(if gone { 0 } else { 1 });
}

/// Print an error with its place, a caret under what is wrong, and the remedy.
pub fn show(error: &Error) {
    let report = Diagnostic::from(error);
    let handler = miette::GraphicalReportHandler::new_themed(match std::env::var_os("NO_COLOR") {
        None if std::io::IsTerminal::is_terminal(&std::io::stderr()) => miette::GraphicalTheme::unicode(),
        _ => miette::GraphicalTheme::none(),
    })
    .with_width(110)
    .with_context_lines(1);
    let mut text = String::new();
    match handler.render_report(&mut text, &report) {
        Ok(()) => note!("{}", text.trim_end_matches('\n')),
        Err(_) => note!("error: {error}"),
    }
}

/// A library error in miette's clothes.
#[derive(Debug)]
struct Diagnostic {
    message: String,
    remedy: Option<String>,
    place: Option<(miette::NamedSource<String>, std::ops::Range<usize>)>,
}

impl From<&Error> for Diagnostic {
    fn from(error: &Error) -> Self {
        let (message, place) = match error {
            Error::Input(fault) => (fault.message.clone(), fault.place.as_ref().map(source)),
            other => (other.to_string(), None),
        };
        Diagnostic { message, remedy: error.remedy().map(str::to_string), place }
    }
}

/// The text that a place is shown in. Lines near it that no terminal shows whole are cut, and the true column is told.
fn source(place: &Place) -> (miette::NamedSource<String>, std::ops::Range<usize>) {
    const LONG: usize = 240;
    const KEPT: usize = 60;
    let (text, (line, column)) = (&*place.text, place.line_column());
    let at = place.span.start.min(text.len());
    let (mut shown, mut span, mut cut) = (String::new(), at..place.span.end.max(at), false);
    let mut start = 0;
    for (number, whole) in (1..).zip(text.split_inclusive('\n')) {
        let body = whole.trim_end_matches(['\n', '\r']);
        let near = number + 1 >= line && number <= line + 1;
        if !near || body.chars().count() <= LONG {
            shown.push_str(whole);
            start += whole.len();
            continue;
        }
        // A window around the place, or the line's beginning.
        let here = if number == line { at - start } else { 0 };
        let edge = |i: usize| (0..=i.min(body.len())).rev().find(|&i| body.is_char_boundary(i)).unwrap_or(0);
        let (from, to) = (edge(here.saturating_sub(KEPT)), edge(here + 2 * KEPT));
        if number == line {
            cut = true;
            let lead = shown.len() + if from > 0 { "…".len() } else { 0 };
            let width = (place.span.end.max(at) - at).min(to - here);
            span = lead + here - from..lead + here - from + width;
        }
        let (before, after) = (if from > 0 { "…" } else { "" }, if to < body.len() { "…" } else { "" });
        shown.push_str(&format!("{before}{}{after}{}", &body[from..to], &whole[body.len()..]));
        start += whole.len();
    }
    let name = if cut { format!("{} (column {column}; the line is cut)", place.file) } else { place.file.clone() };
    // What was cut before this line has moved it.
    if !cut && shown.len() != text.len() {
        let lines = |text: &str| text.split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>();
        let moved = lines(text) as isize - lines(&shown) as isize;
        span = span.start.saturating_add_signed(-moved)..span.end.saturating_add_signed(-moved);
    }
    (miette::NamedSource::new(name, shown), span)
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for Diagnostic {}
impl miette::Diagnostic for Diagnostic {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.remedy.as_ref().map(|r| Box::new(r) as Box<dyn std::fmt::Display>)
    }
    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.place.as_ref().map(|(source, _)| source as &dyn miette::SourceCode)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        let (_, span) = self.place.as_ref()?;
        Some(Box::new(std::iter::once(miette::LabeledSpan::new(Some("here".into()), span.start, span.len().max(1)))))
    }
}
