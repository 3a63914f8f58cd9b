//! Learning protocols: a file says data, tasks, network, rule and methods; the runner trains every method on the tasks in turn for
//! every seed and tests all tasks after each. Promises that a stopped run goes on bit for bit, and that what is on disk is
//! replaced only when asked. Plain functions over plain data: knows no command line and no drawing.
//!
//! ```text
//! text -> file.rs (kind, refusals with places) -> Protocol -> data.rs (images that fit) -> train.rs (one method and seed)
//!      -> run.rs (all of them, output folder, resumption) -> results.rs
//! ```
//! What a protection is made of and how it is tested is in guard.rs. Other kinds of protocol (`kind` in the file) are modules of
//! their own, chosen where the kind is read.

pub mod data;
pub mod diehl_cook;
pub mod file;
mod gpu;
mod guard;
pub mod results;
mod run;
#[cfg(test)]
mod tests;
mod train;

pub use guard::Guard;
pub use run::{Options, run};

use crate::learning::local::{Optimiser, Settings};
use crate::scenario::tree::Spot;
use std::sync::Arc;

/// What a file of kind "supervised" or "permuted" asks for, checked.
#[derive(Clone, Debug)]
pub struct Protocol {
    pub title: String,
    pub citation: String,
    pub description: String,
    /// The file as named, its text, and the settings given beside it.
    pub name: String,
    pub text: Arc<str>,
    pub settings: Vec<String>,
    pub seeds: Vec<u64>,
    pub data: data::Wanted,
    pub tasks: Tasks,
    /// With seed 0: every run has its own.
    pub network: Settings,
    /// Where the network's sizes are written.
    pub(crate) sizes: Spot,
    pub methods: Vec<Method>,
    pub uncertainty: Option<Uncertain>,
    pub engine: Engine,
}

/// What learns and is tested. A posterior's uncertainty is measured on the cpu always.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Engine {
    #[default]
    Cpu,
    /// On the device of this index or partial name (none: the best there is).
    Gpu { device: Option<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tasks {
    /// One task.
    Supervised,
    /// The same images under one permutation of the pixels a task, the first the identity (Goodfellow et al. 2013).
    Permuted { count: usize },
}

impl Tasks {
    pub fn count(self) -> usize {
        match self {
            Tasks::Supervised => 1,
            Tasks::Permuted { count } => count,
        }
    }
}

/// How a method trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Training {
    pub optimiser: Optimiser,
    /// The rate falls linearly over each task to a hundredth.
    pub falling: bool,
    pub batch: usize,
    /// Over each task's images.
    pub passes: usize,
    /// Images of a task that a protection looks at when the task ends.
    pub samples: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    pub name: String,
    pub title: String,
    /// All tasks at once, mixed: the upper yardstick.
    pub joint: bool,
    pub training: Training,
    /// In the order in which they act.
    pub guards: Vec<Guard>,
}

/// How uncertainty is measured, for methods with a posterior.
#[derive(Clone, Debug, PartialEq)]
pub struct Uncertain {
    /// Weight samples.
    pub draws: u32,
    /// Test images at most, of each set.
    pub images: usize,
    /// Sets outside of the distribution: `permuted`, `noise`, or names of data sets.
    pub against: Vec<String>,
    /// Of the calibration error.
    pub bins: usize,
}

/// What a run tells while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Training goes on: which run (counted from 0) of how many, part of this run that is done, accuracy while learning.
    Trained { run: usize, runs: usize, method: &'a str, seed: u64, task: usize, tasks: usize, done: f64, accuracy: f64 },
    /// A task has been learned: accuracy on every task, and what the protections say.
    Task { method: &'a str, seed: u64, task: usize, tasks: usize, row: &'a [f64], reports: &'a [String] },
    /// Something that the user should hear.
    Note(&'a str),
}
