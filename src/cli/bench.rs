//! `sharpwave bench`: what the engines cost on this machine.

use super::interrupt;
use clap::Args;
use sharpwave::bench::report::{Report, Row};
use sharpwave::bench::{self, Options, Progress};
use sharpwave::error::{Error, Result};
use sharpwave::io::output;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct BenchArguments {
    /// Only rows whose part (latency, update, delivery, network, learning) or name holds one of these words
    only: Vec<String>,
    /// Fewer rows and shorter stretches: two minutes in all
    #[arg(long)]
    quick: bool,
    /// Timed stretches of each row
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Engine: cpu, event or gpu; may be repeated (default: all that make sense here)
    #[arg(long, value_name = "ENGINE")]
    engine: Vec<String>,
    /// Threads of the cpu engine beside one (default: all cores)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// GPU to use: a number or part of a name from `sharpwave devices`; also a software driver, which is left out otherwise
    #[arg(long)]
    device: Option<String>,
    /// On a GPU, whose the accumulators of neurons are: shared, or the number of neurons that a workgroup owns (default: what should pay)
    #[arg(long, value_name = "HOW")]
    accumulators: Option<String>,
    /// Tell where the time goes, phase by phase
    #[arg(long)]
    profile: bool,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report as JSON, for --compare
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Show ratios to an earlier report; a regression ends with exit code 1
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// What counts as one: the median so many percent slower, and the fastest run slower than the slowest then
    #[arg(long, value_name = "PERCENT", default_value_t = 15.0, requires = "compare")]
    regression: f64,
    /// Replace existing files
    #[arg(long)]
    force: bool,
}

struct Lines;

impl Progress for Lines {
    fn begins(&self, name: &str, number: usize, of: usize) {
        note!("{number} of {of}: {name} ...");
    }
    fn ended(&self, row: &Row) {
        note!("    {}", row.line());
    }
}

pub fn bench(a: &BenchArguments) -> Result<ExitCode> {
    if a.runs == 0 || !(a.regression >= 0.0) {
        return Err(Error::input("nothing would be measured", "give --runs of at least 1 and a --regression of at least 0"));
    }
    let earlier = a.compare.as_deref().map(Report::read).transpose()?;
    for path in [&a.json, &a.markdown].into_iter().flatten() {
        output::check_text(path, a.force)?;
    }
    if a.json.is_some() && a.json == a.markdown {
        return Err(Error::input("--json and --markdown name one file", "give each its own"));
    }
    let mut options = Options::default();
    options.quick = a.quick;
    options.runs = a.runs;
    options.only = a.only.clone();
    options.engines = a.engine.iter().map(|name| name.parse()).collect::<Result<_>>()?;
    options.threads = a.threads;
    options.device = a.device.clone();
    options.accumulators = a.accumulators.clone();
    options.profile = a.profile;
    options.seed = a.seed;
    let stop = interrupt::watch("stopping after this row")?;
    let report = bench::run(&options, &Lines, &stop)?;
    if let Some(path) = &a.json {
        output::write_text(path, &report.json(), a.force)?;
    }
    if let Some(path) = &a.markdown {
        output::write_text(path, &report.markdown(), a.force)?;
    }
    out!("{}", report.text().trim_end());
    let mut regressions = 0;
    if let Some(earlier) = &earlier {
        regressions = compare(&report, earlier, a.regression / 100.0);
    }
    if report.interrupted {
        note!("interrupted: the rows that were done are told");
    }
    let failed = report.failures() + regressions;
    Ok(match report.interrupted {
        true => interrupt::code(),
        false if failed > 0 => ExitCode::from(1),
        false => ExitCode::SUCCESS,
    })
}

/// Prints the ratios; how many rows regressed.
fn compare(report: &Report, earlier: &Report, allowed: f64) -> usize {
    let then = &earlier.machine;
    out!("\nagainst {} of {} (time now over time then):", then.version, then.date);
    if then.processor != report.machine.processor || then.cores != report.machine.cores {
        out!("  that was another machine ({}, {} cores): ratios say little", then.processor, then.cores);
    }
    let changes = report.changes(earlier, allowed);
    for change in &changes {
        out!("  {:.2}  {}{}", change.ratio, change.row, if change.regressed { "  REGRESSED" } else { "" });
    }
    if changes.is_empty() {
        out!("  no row is in both");
    }
    changes.iter().filter(|c| c.regressed).count()
}
