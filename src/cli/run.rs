//! `sharpwave run` and `sharpwave check`.

use super::sweep::{Shown, SweepArguments};
use super::{interrupt, progress::Bar, report};
use clap::Args;
use sharpwave::error::{Result, quoted};
use sharpwave::io::is_hdf5;
use sharpwave::model::library::Library;
use sharpwave::network::footprint;
use sharpwave::record::checkpoint;
use sharpwave::record::read::Recording;
use sharpwave::run::{Options, resumed, run as simulate};
use sharpwave::scenario::{Plan, Scenario};
use sharpwave::sweep::Sweep;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub struct ScenarioArguments {
    /// Scenario file (TOML), the name of one that comes along (`sharpwave scenarios`), or a recording, which is run again as it was
    scenario: PathBuf,
    /// Named settings of the scenario ([variants.NAME])
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Override any value of the scenario, for instance --set scale.n=0.1; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seed of every random number
    #[arg(long)]
    seed: Option<u64>,
    /// Engine: auto, cpu, gpu or event
    #[arg(long)]
    engine: Option<String>,
    /// Threads of the cpu engine (default: all cores); spikes do not depend on it
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct RunArguments {
    #[command(flatten)]
    scenario: ScenarioArguments,
    /// Record to this HDF5 file (SONATA layout); without it only the summary is printed
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace an existing output file
    #[arg(long)]
    force: bool,
    /// GPU to use: a number or part of a name from `sharpwave devices`
    #[arg(long)]
    device: Option<String>,
    /// Write a checkpoint every so much model time, for instance "10 s"
    #[arg(long, value_name = "TIME")]
    checkpoint_every: Option<String>,
    /// Checkpoint file (default: the output with extension .checkpoint)
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Go on from a checkpoint; with another --seed (of the stimuli, the network stays) or --set it is a branch
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    sweep: SweepArguments,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Args)]
pub struct CheckArguments {
    #[command(flatten)]
    scenario: ScenarioArguments,
}

/// The plan, that of a resumed run with [`resumed`].
fn plan(arguments: &ScenarioArguments, models: &[PathBuf], resume: Option<&Path>) -> Result<Plan> {
    let mut library = Library::load(models)?;
    let recorded = is_hdf5(&arguments.scenario).then(|| Recording::open(&arguments.scenario)).transpose()?.map(|r| r.info);
    if let Some(info) = &recorded {
        library.extend(&info.models)?;
    }
    let mut overrides = arguments.set.clone();
    overrides.extend(arguments.seed.map(|seed| format!("simulation.seed={seed}")));
    let engine = arguments.engine.as_deref().map(str::parse).transpose()?;
    let plan = |overrides: &[String]| {
        let (path, variant) = (&arguments.scenario, arguments.variant.as_deref());
        let scenario = match &recorded {
            Some(info) => Scenario::parse(&path.display().to_string(), &info.resolved, overrides, variant)?,
            None => Scenario::load(path, overrides, variant)?,
        };
        scenario.on(engine).plan(&library)
    };
    match resume {
        None => plan(&overrides),
        Some(resume) => resumed(&checkpoint::origin(resume)?, &overrides, plan),
    }
}

pub fn run(arguments: &RunArguments, models: &[PathBuf]) -> Result<ExitCode> {
    if arguments.sweep.asked()? {
        return sweep(arguments, models);
    }
    let plan = plan(&arguments.scenario, models, arguments.resume.as_deref())?;
    let checkpoint_every = match &arguments.checkpoint_every {
        None => None,
        Some(text) => Some(sharpwave::units::milliseconds("--checkpoint-every", text)?),
    };
    let options = Options {
        engine: arguments.scenario.engine.as_deref().map(str::parse).transpose()?,
        threads: arguments.scenario.threads,
        device: arguments.device.clone(),
        accumulators: None,
        out: arguments.out.clone(),
        force: arguments.force,
        checkpoint_every,
        checkpoint: arguments.checkpoint.clone(),
        resume: arguments.resume.clone(),
        command: super::command_line(),
    };
    let stop = interrupt::watch("stopping after the current slice")?;
    let bar = Bar::new(arguments.quiet);
    let outcome = simulate(&plan, &options, &bar, &stop);
    bar.clear();
    let outcome = outcome?;
    if arguments.scenario.json {
        super::json(&outcome.summary(&plan))?;
    } else {
        out!("{}", report::text(&plan, &outcome).trim_end());
    }
    if outcome.interrupted {
        match &outcome.checkpoint {
            Some(file) => note!("interrupted; go on with the same command and --resume {}", quoted(&file.to_string_lossy())),
            None => note!("interrupted; with --out or --checkpoint the run could go on from here"),
        }
        return Ok(interrupt::code());
    }
    Ok(ExitCode::SUCCESS)
}

/// Every combination of seeds and values.
fn sweep(arguments: &RunArguments, models: &[PathBuf]) -> Result<ExitCode> {
    let scenario = &arguments.scenario;
    let seed = scenario.seed.map(|seed| format!("simulation.seed={seed}"));
    let all = Sweep {
        scenario: scenario.scenario.clone(),
        overrides: scenario.set.iter().cloned().chain(seed).collect(),
        variant: scenario.variant.clone(),
        engine: scenario.engine.as_deref().map(str::parse).transpose()?,
        ..Sweep::default()
    };
    let stop = interrupt::watch("stopping; what is finished stays")?;
    let how = Shown { quiet: arguments.quiet, json: scenario.json, force: arguments.force };
    super::sweep::sweep(&arguments.sweep, all, &Library::load(models)?, arguments.out.clone(), how, &stop)
}

pub fn check(arguments: &CheckArguments, models: &[PathBuf]) -> Result<ExitCode> {
    let plan = plan(&arguments.scenario, models, None)?;
    let threads = arguments.scenario.threads.or(plan.threads).unwrap_or(1).max(1);
    let estimate = footprint::estimate(&plan.network, threads);
    if arguments.scenario.json {
        out!("{}", report::check_json(&plan, &estimate));
    } else {
        out!("{}", report::check_text(&plan, &estimate).trim_end());
    }
    footprint::check(&estimate)?;
    Ok(ExitCode::SUCCESS)
}
