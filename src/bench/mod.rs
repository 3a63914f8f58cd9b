//! The benchmark suite: what the engines cost on this machine, from a single kernel to published networks. Promises that every network
//! is checked (its rates against known ones, see suite.rs) before its time is told, that a time is a median with its
//! spread, and that two reports can be compared row by row.
//!
//! ```text
//! suite (which rows there are) -> network, parts (build, check, time) -> Row -> report (tables, JSON, comparison)
//! ```

mod machine;
mod network;
pub mod parts;
pub mod report;
mod suite;

use crate::engine::Kind;
use crate::engine::open::real_gpu;
use crate::error::{Error, Result};
pub use machine::{Gpu, Machine};
use report::{Report, Row};
use std::sync::atomic::{AtomicBool, Ordering};

/// How to run the suite: three timed stretches a row where [`Options::default`] is left as it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Fewer rows and shorter stretches: two minutes in all.
    pub quick: bool,
    /// Timed stretches a row; the median is told.
    pub runs: usize,
    /// Only rows whose part or name contains one of these; all when empty.
    pub only: Vec<String>,
    /// Those that make sense here when empty (a software GPU driver does not).
    pub engines: Vec<Kind>,
    /// Threads of the cpu engine beside one; all cores when absent.
    pub threads: Option<usize>,
    /// GPU, as `sharpwave devices` lists it.
    pub device: Option<String>,
    /// Who owns the accumulators of neurons on a GPU; as [`crate::engine::Options`] takes it.
    pub accumulators: Option<String>,
    /// Time the phases of a step.
    pub profile: bool,
    /// Of the networks' construction and input.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            quick: false,
            runs: 3,
            only: Vec::new(),
            engines: Vec::new(),
            threads: None,
            device: None,
            accumulators: None,
            profile: false,
            seed: 1,
        }
    }
}

/// Told what goes on: the row that begins, its number among all, and a row that is done.
pub trait Progress {
    /// Row `number` (from 1) of `of` begins.
    fn begins(&self, name: &str, number: usize, of: usize);
    /// A row is done, or has failed with its reason.
    fn ended(&self, row: &Row);
}

/// Where a row runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// The cpu engine with so many threads.
    Cpu(usize),
    /// The event engine.
    Event,
    /// The GPU engine on the device of this index or partial name; None: the best there is.
    Gpu(Option<String>),
}

impl Place {
    fn kind(&self) -> Kind {
        match self {
            Place::Cpu(_) => Kind::Cpu,
            Place::Event => Kind::Event,
            Place::Gpu(_) => Kind::Gpu,
        }
    }
}

/// The engines and devices of this machine that rows run on.
fn places(options: &Options) -> Result<Vec<Place>> {
    if options.engines.contains(&Kind::Auto) {
        return Err(Error::input("there is no engine `auto` to measure", "choose among cpu, event and gpu"));
    }
    let wanted = |engine: Kind| options.engines.is_empty() || options.engines.contains(&engine);
    let mut places = Vec::new();
    if wanted(Kind::Cpu) {
        places.push(Place::Cpu(1));
        let cores = options.threads.unwrap_or_else(crate::system::cores);
        if cores > 1 {
            places.push(Place::Cpu(cores));
        }
    }
    if wanted(Kind::Event) {
        places.push(Place::Event);
    }
    // Times on a driver that computes on the processor say nothing; they are taken only where somebody asks for them.
    let asked = options.device.is_some() || options.engines.contains(&Kind::Gpu);
    if wanted(Kind::Gpu) && (asked || real_gpu()) {
        places.push(Place::Gpu(options.device.clone()));
    }
    Ok(places)
}

/// Runs the suite. `stop` ends it after the row at hand; what is done is in the report.
///
/// # Errors
/// Options that name no row or no engine. A row that fails is in the report with its reason, and the others go on.
pub fn run(options: &Options, progress: &dyn Progress, stop: &AtomicBool) -> Result<Report> {
    let places = places(options)?;
    let rows = suite::rows(options, &places)?;
    let on_gpu = places.iter().any(|p| matches!(p, Place::Gpu(_)));
    let mut report = Report::new(Machine::here(on_gpu.then_some(options.device.as_deref())), options);
    let of = rows.len();
    for (number, row) in rows.into_iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            report.interrupted = true;
            break;
        }
        progress.begins(&row.name(), number + 1, of);
        let done = row.measure(options, &report.machine);
        progress.ended(&done);
        report.rows.push(done);
    }
    Ok(report)
}
