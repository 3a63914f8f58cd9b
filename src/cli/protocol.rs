//! `sharpwave protocol`: run a learning protocol, or list those there are.

use super::interrupt;
use super::progress::Bar;
use clap::Args;
use sharpwave::error::{Error, Result};
use sharpwave::io::{http, output};
use sharpwave::model::library::Library;
use sharpwave::protocol::results::{Results, Run};
use sharpwave::protocol::{self, Event, Options, diehl_cook, e_prop, file};
use sharpwave::record::summary::align;
use sharpwave::run::Progress;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

#[derive(Args)]
pub struct ProtocolArguments {
    /// Protocol: a file (TOML), or a name from the list that this command prints without one
    file: Option<PathBuf>,
    /// Folder that holds the data sets (default: $SHARPWAVE_DATA, else sharpwave in the user's data folder)
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Seeds, instead of the file's
    #[arg(long, value_name = "1,2,...", value_delimiter = ',')]
    pub seeds: Option<Vec<u64>>,
    /// Methods, instead of all in the file
    #[arg(long, value_name = "A,B,...", value_delimiter = ',')]
    methods: Option<Vec<String>>,
    /// Folder for the results (default: out/NAME)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with what is in that folder
    #[arg(long)]
    pub resume: bool,
    /// Replace what is in that folder
    #[arg(long)]
    pub force: bool,
    /// The short version: the file's [quick] settings
    #[arg(long)]
    quick: bool,
    /// Override any value of the file, for instance --set training.passes=2; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Engine: cpu or gpu, instead of the file's
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    /// GPU to use: a number or part of a name from `sharpwave devices`
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(long, short)]
    pub quiet: bool,
}

pub fn protocol(arguments: &ProtocolArguments, models: &[PathBuf]) -> Result<ExitCode> {
    let Some(file) = &arguments.file else { return list() };
    let (name, text) = file::find(file)?;
    let source = file::source(&name, &text, &settings(arguments), arguments.quick)?;
    let (kind, place) = source.kind()?;
    match kind {
        "supervised" | "permuted" | "split" => tasks(arguments, &source),
        "suite" => suite(arguments, &source),
        "diehl_cook" => digits(arguments, &source, models),
        "e_prop" => trials(arguments, &source),
        _ => {
            let remedy = match sharpwave::error::nearest(kind, file::KINDS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("one of: {}", file::KINDS.join(", ")),
            };
            Err(Error::at(place, format!("unknown kind `{kind}`"), remedy))
        }
    }
}

/// What is set beside the file.
fn settings(arguments: &ProtocolArguments) -> Vec<String> {
    let own = [("engine", &arguments.engine), ("device", &arguments.device)];
    let own = own.into_iter().filter_map(|(key, value)| value.as_ref().map(|value| format!("{key}={value:?}")));
    arguments.set.iter().cloned().chain(own).collect()
}

fn list() -> Result<ExitCode> {
    for (name, text) in file::built_in() {
        let source = file::source(name, text, &[], false)?;
        out!("{name:<28} {}", source.heading("title")?);
        let description = source.heading("description")?;
        if !description.is_empty() {
            out!("{:<28} {}", "", description.replace('\n', &format!("\n{:29}", "")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder for results: as asked, else named after the protocol.
pub fn folder(arguments: &ProtocolArguments) -> PathBuf {
    let stem = arguments.file.as_ref().and_then(|f| f.file_stem()).unwrap_or_default().to_string_lossy().into_owned();
    let quick = if arguments.quick { "-quick" } else { "" };
    arguments.out.clone().unwrap_or_else(|| Path::new("out").join(format!("{stem}{quick}")))
}

fn options(arguments: &ProtocolArguments) -> Options {
    let mut options = Options::new(folder(arguments));
    options.force = arguments.force;
    options.resume = arguments.resume;
    options.seeds = arguments.seeds.clone();
    options.methods = arguments.methods.clone();
    options.data = http::folders(arguments.data.as_deref());
    options
}

/// Refuses figures and a page that are there and are not those of the results to go on with or to replace.
fn free(arguments: &ProtocolArguments, mut files: impl Iterator<Item = PathBuf>) -> Result<()> {
    files.try_for_each(|file| output::check(&file, arguments.force || arguments.resume))
}

/// Runs a protocol into a folder, by `learn`, and draws what came out there; with the files drawn.
fn run(
    arguments: &ProtocolArguments,
    options: &Options,
    bar: &Bar,
    learn: impl FnOnce(&mut dyn FnMut(Event)) -> Result<Results>,
) -> Result<(Results, Vec<PathBuf>)> {
    free(arguments, sharpwave::plot::protocol_files(&options.out))?;
    let results = learn(&mut |event| tell(bar, arguments.quiet, event));
    bar.clear();
    let results = results?;
    let drawn = sharpwave::plot::protocol(&options.out, &results)?;
    Ok((results, drawn))
}

/// One protocol, its table and its page.
fn shown(
    arguments: &ProtocolArguments,
    options: &Options,
    learn: impl FnOnce(&mut dyn FnMut(Event)) -> Result<Results>,
) -> Result<ExitCode> {
    let (results, drawn) = run(arguments, options, &Bar::new(arguments.quiet), learn)?;
    if arguments.json {
        out!("{}", results.json().trim_end());
    } else {
        out!("{}", table(&results).trim_end());
        name_pages(&drawn);
    }
    Ok(ended(results.complete))
}

/// Names the pages among the files drawn.
fn name_pages(drawn: &[PathBuf]) {
    drawn.iter().filter(|f| f.extension().is_some_and(|e| e == "html")).for_each(|f| out!("\n{}", f.display()));
}

/// How a run ends that was or was not stopped.
fn ended(complete: bool) -> ExitCode {
    if complete {
        return ExitCode::SUCCESS;
    }
    note!("interrupted; go on with the same command and --resume");
    interrupt::code()
}

fn tasks(arguments: &ProtocolArguments, source: &file::Source) -> Result<ExitCode> {
    let (protocol, options) = (file::read(source)?, options(arguments));
    let stop = interrupt::watch("stopping after the current batch")?;
    shown(arguments, &options, |told| protocol::run(&protocol, &options, told, &stop))
}

fn trials(arguments: &ProtocolArguments, source: &file::Source) -> Result<ExitCode> {
    let (settings, options) = (e_prop::file::read(source)?, options(arguments));
    let stop = interrupt::watch("stopping after the current batch")?;
    shown(arguments, &options, |told| e_prop::run(&settings, &options, told, &stop))
}

/// Every part into a folder of its name, and a page of all.
fn suite(arguments: &ProtocolArguments, source: &file::Source) -> Result<ExitCode> {
    let parts =
        file::parts(source)?.into_iter().map(|(name, part)| Ok((name, file::read(&part)?))).collect::<Result<Vec<_>>>()?;
    let all = options(arguments);
    let stop = interrupt::watch("stopping after the current batch")?;
    free(arguments, sharpwave::plot::suite_files(&all.out))?;
    let mut done = vec![];
    for (name, protocol) in &parts {
        let mut own = all.clone();
        own.out = all.out.join(name);
        // A part that was not begun begins; methods that it leaves out are not asked for.
        own.resume = all.resume && own.out.join("results.json").exists();
        own.methods =
            all.methods.as_ref().map(|m| m.iter().filter(|m| protocol.methods.iter().any(|p| p.name == **m)).cloned().collect());
        let bar = Bar::new(arguments.quiet);
        if !arguments.quiet {
            bar.line(&format!("part {name}"));
        }
        let (results, _) = run(arguments, &own, &bar, |told| protocol::run(protocol, &own, told, &stop))?;
        if !arguments.json {
            out!("{name}\n{}\n", table(&results).trim_end());
        }
        done.push((name.clone(), results));
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    let drawn = sharpwave::plot::suite(&all.out, &source.heading("title")?, &source.heading("citation")?, &done)?;
    if arguments.json {
        let parts: serde_json::Map<_, _> =
            done.iter().map(|(name, results)| (name.clone(), serde_json::json!(results))).collect();
        super::json(&parts)?;
    } else {
        name_pages(&drawn);
    }
    Ok(ended(done.len() == parts.len() && done.iter().all(|(_, results)| results.complete)))
}

fn digits(arguments: &ProtocolArguments, source: &file::Source, models: &[PathBuf]) -> Result<ExitCode> {
    let settings = diehl_cook::file::read(source, &Library::load(models)?)?;
    let options = options(arguments);
    let stop = interrupt::watch("stopping after the current digit")?;
    let bar = Bar::new(arguments.quiet);
    let told = &mut |told: diehl_cook::Told| match told {
        diehl_cook::Told::Phase(name, done) => bar.phase(name, done),
        diehl_cook::Told::Line(text) if !arguments.quiet => bar.line(text),
        diehl_cook::Told::Line(_) => {}
    };
    free(arguments, sharpwave::plot::digits_files(&options.out))?;
    let results = diehl_cook::run(&settings, &options, told, &stop);
    bar.clear();
    let results = results?;
    let drawn = sharpwave::plot::digits(&options.out, &results)?;
    if arguments.json {
        out!("{}", results.json().trim_end());
    } else {
        out!("{}", digits_table(&results).trim_end());
        name_pages(&drawn);
    }
    Ok(ended(results.complete))
}

fn digits_table(results: &diehl_cook::Results) -> String {
    let [inputs, neurons, classes] = results.sizes;
    let (wall, cpu) = results.speed();
    let title = if results.title.is_empty() { &results.file } else { &results.title };
    let mut text = format!("{title}\n{}\n\n", results.citation);
    let mut line = |name: &str, value: String| text += &format!("{name:<22}{value}\n");
    line("network", format!("{inputs} inputs, {neurons} neurons, seed {}", results.seed));
    let again = results.presentations as f64 / results.digits.max(1) as f64;
    line("learned", format!("{} digits ({:.2} passes), shown {again:.3} times each", results.digits, results.passes));
    line("spikes a digit", format!("{:.1}", results.spikes_per_digit));
    let cpu = cpu.map_or(String::new(), |cpu| format!("; {cpu:.1} a second of processor time"));
    line("speed", format!("{wall:.1} digits/s learned, one thread{cpu}"));
    if let Some(o) = &results.outcome {
        let silent = o.class.iter().filter(|c| c.is_none()).count();
        let own = (0..classes).map(|c| o.class.iter().filter(|x| **x == Some(c)).count().to_string()).collect::<Vec<_>>();
        line("neurons a class", format!("{} ({silent} silent), by {} labelled digits", own.join(" "), o.labelled));
        line("test accuracy", format!("{:.2} % of {} (class with the highest mean)", 100.0 * o.accuracy, o.tested));
        line("", format!("{:.2} % (each spike shared among classes)", 100.0 * o.weighted));
        let head = std::iter::once("told to be".to_string()).chain((0..classes).map(|c| c.to_string())).collect();
        let row = |(c, row): (usize, &Vec<u64>)| {
            std::iter::once(c.to_string()).chain(row.iter().map(u64::to_string)).collect::<Vec<_>>()
        };
        text += "\n";
        text += &align(&std::iter::once(head).chain(o.confusion.iter().enumerate().map(row)).collect::<Vec<_>>());
    }
    text
}

fn tell(bar: &Bar, quiet: bool, event: Event) {
    match event {
        Event::Trained { run, runs, method, seed, task, tasks, done, accuracy } => {
            let name = format!(
                "{}/{runs} {method}, seed {seed}, task {}/{tasks}, {:.1} % while learning",
                run + 1,
                task + 1,
                100.0 * accuracy
            );
            bar.phase(&name, done);
        }
        Event::Task { method, seed, task, tasks, row, reports } if !quiet => {
            let each = row.iter().map(|a| format!("{:.1}", 100.0 * a)).collect::<Vec<_>>().join(" ");
            bar.line(&format!("{method}, seed {seed}, task {} of {tasks}: {each}", task + 1));
            let wanted = |line: &&String| line.starts_with("warning:") || task + 1 == tasks;
            reports.iter().filter(wanted).for_each(|line| bar.line(&format!("  {line}")));
        }
        Event::Note(text) => bar.line(text),
        Event::Task { .. } => {}
    }
}

/// Methods below each other: means over seeds, with standard deviations where there are several.
fn table(results: &Results) -> String {
    let seeds = results.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let sizes = results.sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("-");
    let mut text = format!("{}\n", if results.title.is_empty() { &results.file } else { &results.title });
    if !results.citation.is_empty() {
        text += &format!("{}\n", results.citation);
    }
    text += &format!(
        "\n{sizes}, {} task{} of {} samples of {}, tested on {}; seed{} {seeds}, {} threads\n\n",
        results.tasks,
        if results.tasks == 1 { "" } else { "s" },
        results.data.train,
        results.data.set,
        results.data.test,
        if results.seeds.len() == 1 { "" } else { "s" },
        results.threads
    );
    let one = results.tasks == 1;
    let mut rows = vec![
        [
            "method",
            if one { "test (%)" } else { "ACC (%)" },
            "BWT (points)",
            "forgetting",
            "kept (kB)",
            "spikes/sample",
            "train (s)",
            "test (s)",
        ]
        .map(str::to_string)
        .to_vec(),
    ];
    for (method, _) in &results.methods {
        let cell = |factor: f64, digits: usize, number: &dyn Fn(&Run) -> Option<f64>| {
            results.spread(method, number).map_or("-".into(), |s| s.text(factor, digits))
        };
        rows.push(vec![
            method.clone(),
            cell(100.0, 2, &|r| Some(r.acc)),
            cell(100.0, 2, &|r| r.bwt),
            cell(100.0, 2, &|r| r.forgetting),
            cell(1e-3, 0, &|r| Some(r.bytes as f64)),
            cell(1.0, 0, &|r| Some(r.spikes_per_image)),
            cell(1.0, 1, &|r| Some(r.train_s)),
            cell(1.0, 1, &|r| Some(r.test_s)),
        ]);
    }
    text += &align(&rows);
    for run in &results.runs {
        if run.matrix.len() > 1 {
            text +=
                &format!("\n{}, seed {}: accuracy (%) on every task (across) after learning each (down)\n", run.method, run.seed);
            let row = |(task, row): (usize, &Vec<f64>)| {
                std::iter::once(format!("{}", task + 1))
                    .chain(row.iter().map(|a| format!("{:.1}", 100.0 * a)))
                    .collect::<Vec<_>>()
            };
            let head = (0..=results.tasks).map(|t| if t == 0 { "task".into() } else { t.to_string() }).collect();
            text += &align(&std::iter::once(head).chain(run.matrix.iter().enumerate().map(row)).collect::<Vec<_>>());
        }
        if !run.reports.is_empty() {
            text += &format!("\n{}, seed {}\n", run.method, run.seed);
            run.reports.iter().for_each(|line| text += &format!("  {line}\n"));
        }
        let Some(doubt) = &run.uncertainty else { continue };
        text += &format!(
            "\n{}, seed {}: {} weight samples on {} images: accuracy {:.2} %, calibration error {}, epistemic {:.4} and aleatoric {:.4} nats\n",
            run.method,
            run.seed,
            doubt.draws,
            doubt.images,
            100.0 * doubt.accuracy,
            doubt.calibration_error.map_or("-".into(), |e| format!("{e:.4}")),
            doubt.epistemic,
            doubt.aleatoric
        );
        let some = |auc: Option<f64>| auc.map_or("-".into(), |a| format!("{a:.4}"));
        let head =
            ["against", "epistemic", "aleatoric", "AUC epistemic", "AUC aleatoric", "AUC total"].map(str::to_string).to_vec();
        let row = |o: &protocol::results::Outside| {
            let nats = [o.epistemic, o.aleatoric].map(|x| format!("{x:.4}"));
            [o.set.clone()].into_iter().chain(nats).chain([o.auc_epistemic, o.auc_aleatoric, o.auc_total].map(some)).collect()
        };
        text += &align(&std::iter::once(head).chain(doubt.outside.iter().map(row)).collect::<Vec<Vec<String>>>());
    }
    text
}
