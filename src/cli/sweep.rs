//! `sharpwave run --seeds … --sweep …`: many runs of one scenario, a table and pictures.

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sharpwave::error::{Error, Result};
use sharpwave::model::library::Library;
use sharpwave::sweep::{self, Event, Options, Run, Sweep, Table};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct SweepArguments {
    /// A run for each of these seeds, for instance 1-5 or 1,3,7; --out is then a folder
    #[arg(long, value_name = "SEEDS", conflicts_with_all = ["seed", "resume", "checkpoint", "checkpoint_every", "device", "threads"])]
    seeds: Option<String>,
    /// A run for each of these values of a key, for instance --sweep variables.g=4,5,6; --out is then a folder; may be repeated
    #[arg(long, value_name = "KEY=A,B,C", conflicts_with_all = ["resume", "checkpoint", "checkpoint_every", "device", "threads"])]
    sweep: Vec<String>,
    /// Runs of a sweep at a time, each on one thread (default: as many as there are cores)
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

/// What `run` takes beside.
pub struct Shown {
    pub quiet: bool,
    pub json: bool,
    pub force: bool,
}

impl SweepArguments {
    /// Whether there is more than one run to make.
    pub fn asked(&self) -> Result<bool> {
        let asked = self.seeds.is_some() || !self.sweep.is_empty();
        match self.jobs {
            Some(0) => Err(Error::input("--jobs is 0", "give 1 or more")),
            Some(_) if !asked => Err(Error::input("--jobs is for sweeps", "add --seeds or --sweep, or take --threads")),
            _ => Ok(asked),
        }
    }
}

/// Runs what is asked for of `all`, which names everything but seeds and values.
pub fn sweep(
    own: &SweepArguments,
    all: Sweep,
    library: &Library,
    out: Option<PathBuf>,
    how: Shown,
    stop: &AtomicBool,
) -> Result<ExitCode> {
    let sweep = Sweep {
        axes: own.sweep.iter().map(|text| text.parse()).collect::<Result<_>>()?,
        seeds: own.seeds.as_deref().map_or(Ok(vec![]), sweep::seeds)?,
        ..all
    };
    let options = Options { out, jobs: own.jobs, force: how.force };
    let display = Display::new(how.quiet);
    let table = sweep::run(&sweep, library, &options, &|event| display.tell(&event), stop);
    display.bar.finish_and_clear();
    let table = table?;
    let mut written = vec![];
    if let Some(folder) = options.out.as_ref().filter(|_| !table.runs.is_empty()) {
        written.push(table.write_csv(folder)?);
        written.extend(sharpwave::plot::sweep(folder, &table)?);
    }
    show(&table, &written, how.json)?;
    if table.interrupted {
        let again = if options.out.is_some() { "; the same command makes the rest" } else { "" };
        note!("interrupted after {} runs{again}", table.runs.len());
        return Ok(ExitCode::from(130));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(table: &Table, written: &[PathBuf], json: bool) -> Result<()> {
    if json {
        return super::json(table);
    }
    out!("{}", if table.title.is_empty() { &table.scenario } else { &table.title });
    out!("{} runs, {} of them there already; mean ± standard deviation over seeds\n", table.runs.len(), table.found);
    out!("{}", table.markdown().trim_end());
    if !written.is_empty() {
        out!("");
    }
    written.iter().for_each(|file| out!("{}", file.display()));
    Ok(())
}

/// A bar where standard error is a terminal, and a line for every run everywhere.
struct Display {
    bar: ProgressBar,
    quiet: bool,
    started: Instant,
}

impl Display {
    fn new(quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
        let bar = ProgressBar::with_draw_target(Some(1000), target);
        let style = ProgressStyle::with_template("{msg:44} [{bar:32}] {percent:>3} %").expect("a fixed template");
        bar.set_style(style.progress_chars("=> "));
        bar.set_message("checking all combinations");
        bar.enable_steady_tick(Duration::from_millis(200));
        Display { bar, quiet, started: Instant::now() }
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| note!("{text}"));
        }
    }

    fn tell(&self, event: &Event) {
        match event {
            Event::Start { runs, found, jobs } => {
                let there = if *found > 0 { format!(", {found} of them there already") } else { String::new() };
                self.line(&format!("{runs} runs{there}, {jobs} at a time"));
                self.bar.set_message(format!("{found} of {runs} runs"));
            }
            Event::Progress { done, found, runs } => {
                let (share, left) = (done / *runs as f64, *runs as f64 - done);
                let pace = self.started.elapsed().as_secs_f64() / (done - *found as f64).max(1e-9);
                let left = pace * left;
                let left = if left < 90.0 { format!("{left:.0} s") } else { format!("{:.0} min", left / 60.0) };
                self.bar.set_message(format!("{} of {runs} runs, {left} left", done.floor()));
                self.bar.set_position((share * 1000.0) as u64);
            }
            Event::Done { run, done, runs } => self.line(&format!("{done}/{runs} {}: {}", run.name, brief(run))),
        }
    }
}

/// Rates of the first few populations.
fn brief(run: &Run) -> String {
    let own = run.statistics.populations.iter().filter(|p| p.n > 0 && !p.source);
    let rates: Vec<String> = own.take(4).map(|p| format!("{} {:.2} Hz", p.name, p.rate)).collect();
    format!("{} ({:.1} s)", rates.join(", "), run.build_s + run.simulate_s)
}
