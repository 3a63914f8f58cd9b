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
mod extract;
mod help;
mod interrupt;
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
mod scenarios;
mod serve;
mod state;
mod sweep;

use clap::{Parser, Subcommand};
use sharpwave::error::{Error, Place, quoted};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "sharpwave",
    version,
    about = "An event-driven spiking-network simulator, on any CPU and GPU",
    disable_help_subcommand = true
)]
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
    /// List the scenarios that come with sharpwave, or show one
    Scenarios(scenarios::ScenariosArguments),
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
    /// Serve memories to agents: MCP over standard input or HTTP, and OpenAI's API
    Serve(serve::ServeArguments),
    /// Keep, continue and merge what a recurrent model (RWKV-7) knows of what it read
    State(state::StateArguments),
    /// Write what a memory holds as a LoRA adapter: PEFT, GGUF, MLX or for vLLM
    Export(export::ExportArguments),
    /// Measure how well a model learns facts
    Eval(eval::EvalArguments),
    /// Measure what the engines cost on this machine
    Bench(bench::BenchArguments),
    /// Print or write the scenario and models that a recording was made from
    Extract(extract::ExtractArguments),
    /// Draw what a run recorded: SVG, PNG and one HTML report
    Plot(plot::PlotArguments),
    /// Print the help of a command, or the language of scenarios (`help scenario`)
    Help(help::HelpArguments),
    /// Print what makes a shell complete commands and options
    Completions(help::CompletionsArguments),
    /// Print the manual page of the program or of a command
    Man(help::ManArguments),
}

/// Does what the arguments say, the first of which is the name of the program. Wrong arguments, `--help` and `--version` end the process.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    quiet_drivers();
    let arguments = Arguments::parse_from(arguments);
    let done = match &arguments.command {
        Command::Run(run) => run::run(run, &arguments.models),
        Command::Check(check) => run::check(check, &arguments.models),
        Command::Scenarios(scenarios) => scenarios::scenarios(scenarios),
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
        Command::Serve(serve) => serve::serve(serve),
        Command::State(arguments) => state::state(arguments),
        Command::Export(export) => export::export(export),
        Command::Eval(eval) => eval::eval(eval),
        Command::Bench(bench) => bench::bench(bench),
        Command::Extract(extract) => extract::extract(extract),
        Command::Plot(plot) => plot::plot(plot),
        Command::Help(topic) => help::help(topic),
        Command::Completions(shell) => help::completions(shell),
        Command::Man(page) => help::man(page),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            show(&error);
            if interrupt::asked() { interrupt::code() } else { ExitCode::from(error.exit_code() as u8) }
        }
    }
}

/// The command as it can be given to a shell again.
fn command_line() -> String {
    std::env::args_os().map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
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
    .with_width(terminal_size::terminal_size_of(std::io::stderr()).map_or(110, |(width, _)| usize::from(width.0).clamp(40, 110)))
    .with_context_lines(1);
    let mut text = String::new();
    match handler.render_report(&mut text, &report) {
        Ok(()) => note!("{}", text.trim_end_matches('\n')),
        Err(_) => note!("error: {error}"),
    }
}

/// Characters of a message at the most, and of the name of a file.
const TEXT: usize = 2000;
const NAME: usize = 160;

/// A text with its middle left out where it is far too long to read.
fn cut(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.into();
    }
    let (head, tail): (String, String) =
        (text.chars().take(most * 3 / 4).collect(), text.chars().skip(length - most / 4).collect());
    format!("{head} … {tail}")
}

/// The name of a file, or an override, for the head of an excerpt: of a path its end tells most.
fn shortened(name: &str) -> String {
    let length = name.chars().count();
    match length <= NAME {
        true => name.into(),
        false if name.starts_with("--") => cut(name, NAME),
        false => format!("…{}", name.chars().skip(length - NAME).collect::<String>()),
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
        Diagnostic { message: cut(&message, TEXT), remedy: error.remedy().map(|remedy| cut(remedy, TEXT)), place }
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
    let file = shortened(&place.file);
    let name = if cut { format!("{file} (column {column}; the line is cut)") } else { file };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of a line as a shell would pass them, without its comment.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (vec![], None::<String>, false);
        for c in line.chars() {
            match c {
                '"' => {
                    quoted = !quoted;
                    word.get_or_insert_default();
                }
                '#' if !quoted && word.is_none() => break,
                ' ' if !quoted => words.extend(word.take()),
                c => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn the_arguments_are_in_order() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    /// Every command that the README shows is one that the program takes.
    #[test]
    fn the_commands_of_the_readme_parse() {
        let readme = include_str!("../../README.md");
        let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with("sharpwave ")).collect();
        assert!(lines.len() > 30, "{}", lines.len());
        for line in lines {
            if let Err(error) = Arguments::try_parse_from(words(line)) {
                panic!("{line}\n{error}");
            }
        }
    }
}
