//! Learning protocols: a file says data, tasks, network, rule and methods; the runner trains every method on the tasks in turn for
//! every seed and tests all tasks after each. Promises that a stopped run goes on bit for bit, and that what is on disk is
//! replaced only when asked. Plain functions over plain data: knows no command line and no drawing.
//!
//! ```text
//! text -> file.rs (kind, refusals with places) -> Protocol -> data.rs (images that fit, what each task shows of them)
//!      -> train.rs (one method and seed; learner.rs: what learns) -> course.rs (all of them, output folder, resumption) -> results.rs
//! ```
//! What a protection is made of and how it is tested is in guard.rs. Other kinds of protocol (`kind` in the file) are modules of
//! their own, chosen where the kind is read.

mod course;
pub(crate) mod data;
pub mod diehl_cook;
pub mod e_prop;
pub mod file;
mod gpu;
mod guard;
mod learner;
pub mod results;
mod run;
#[cfg(test)]
mod tests;
mod train;

pub use course::Options;
pub use guard::Guard;
pub use run::run;

use crate::learning::local::{Optimiser, Settings};
use crate::learning::{dreams, gated, predictive};
use crate::scenario::tree::Spot;
use std::sync::Arc;

/// What to do about results that are there.
const AGAIN: &str = "give --resume to go on, --force to replace it, or another --out";

/// What a file of kind "supervised", "permuted" or "split" asks for, checked.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// What the file calls itself.
    pub title: String,
    /// The paper that it follows; empty where there is none.
    pub citation: String,
    /// What it shows, in a few sentences.
    pub description: String,
    /// The file as named, its text, and the settings given beside it.
    pub name: String,
    /// The file's text.
    pub text: Arc<str>,
    /// `KEY=VALUE` settings given beside the file, in order.
    pub settings: Vec<String>,
    /// A run a method and seed.
    pub seeds: Vec<u64>,
    /// The images.
    pub(crate) data: data::Wanted,
    /// What is learned in turn.
    pub tasks: Tasks,
    /// All tasks are tested once, after the last; otherwise after each.
    pub at_end: bool,
    /// With seed 0: every run has its own.
    pub network: Settings,
    /// Where the network's sizes are written.
    pub(crate) sizes: Spot,
    /// What is compared, in the order of the file.
    pub methods: Vec<Method>,
    /// How uncertainty is measured; None where it is not.
    pub uncertainty: Option<Uncertain>,
    /// Where the methods train and are tested.
    pub engine: Engine,
}

/// What learns and is tested. A posterior's uncertainty is measured on the cpu always.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Engine {
    /// On the threads of rayon's global pool.
    #[default]
    Cpu,
    /// On a GPU.
    Gpu {
        /// Index or part of the name, as `sharpwave devices` lists it; None: the best there is.
        device: Option<String>,
    },
}

/// The sequence of tasks that every method learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tasks {
    /// One task.
    Supervised,
    /// The same images under one permutation of the pixels a task, the first the identity (Goodfellow et al. 2013).
    Permuted {
        /// How many tasks, at least 1.
        count: usize,
    },
    /// Some classes a task, in their order (van de Ven & Tolias 2019, arXiv:1904.07734).
    Split {
        /// How many tasks, at least 1.
        count: usize,
        /// Classes of each.
        classes: usize,
        /// What is asked about a test image.
        asked: Asked,
    },
}

/// What a split protocol asks about a test image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Which of all classes it is of: class-incremental.
    Class,
    /// Which of its task's classes it is of; the task is told: task-incremental.
    Task,
    /// Its number within its task, which is not told: domain-incremental. The network has an output a number.
    Domain,
}

impl Tasks {
    /// How many tasks there are: 1 for `Supervised`.
    pub fn count(self) -> usize {
        match self {
            Tasks::Supervised => 1,
            Tasks::Permuted { count } | Tasks::Split { count, .. } => count,
        }
    }

    /// As results call it.
    pub fn name(self) -> &'static str {
        match self {
            Tasks::Supervised => "supervised",
            Tasks::Permuted { .. } => "permuted",
            Tasks::Split { asked: Asked::Class, .. } => "split, class-incremental",
            Tasks::Split { asked: Asked::Task, .. } => "split, task-incremental",
            Tasks::Split { asked: Asked::Domain, .. } => "split, domain-incremental",
        }
    }
}

/// What learns in a method.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The network of the file, on the images.
    Network,
    /// The network of the file on latents, among dreams of the classes of earlier tasks.
    Replay(Replay),
    /// A posterior whose units are opened by context.
    Gated(gated::Options),
    /// Predictive coding in spikes.
    Predictive(predictive::Options),
}

/// Internal replay: the path to latents, and what is learned on them.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The path.
    pub path: dreams::Options,
    /// Classes are recognised by their Gaussians alone; no network learns.
    pub generative: bool,
    /// Batches of dreams alone, of all classes so far, after each task.
    pub sleep: usize,
    /// Dream while learning; without, the control that only looks through the path.
    pub dream: bool,
}

/// How a method trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Training {
    /// What turns local steps into changes.
    pub optimiser: Optimiser,
    /// The rate falls linearly over each task to a hundredth.
    pub falling: bool,
    /// Images a step.
    pub batch: usize,
    /// Over each task's images.
    pub passes: usize,
    /// Images of a task that a protection looks at when the task ends.
    pub samples: usize,
}

/// A way to learn the tasks: training, and what protects old tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// As `--methods` and result files call it.
    pub name: String,
    /// As tables and drawings call it.
    pub title: String,
    /// All tasks at once, mixed: the upper yardstick.
    pub joint: bool,
    /// How each step is made.
    pub training: Training,
    /// What learns.
    pub kind: Kind,
    /// Bytes of images of earlier tasks that are kept and shown again among the new ones; 0 keeps none.
    pub rehearsal: usize,
    /// What the network said before a task is kept: strength and temperature.
    pub distillation: Option<(f32, f32)>,
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
    /// Training goes on.
    Trained {
        /// The run, counted from 0.
        run: usize,
        /// Runs of the protocol.
        runs: usize,
        /// Name of the run's method.
        method: &'a str,
        /// Seed of the run.
        seed: u64,
        /// The task that is being learned, from 0.
        task: usize,
        /// Tasks of the run; 1 where all are learned at once.
        tasks: usize,
        /// Part of this run that is done, 0 to 1.
        done: f64,
        /// Accuracy while learning, 0 to 1.
        accuracy: f64,
    },
    /// A task has been learned.
    Task {
        /// Name of the run's method.
        method: &'a str,
        /// Seed of the run.
        seed: u64,
        /// The task that was learned, from 0.
        task: usize,
        /// Tasks of the run; 1 where all are learned at once.
        tasks: usize,
        /// Accuracy on every task, 0 to 1.
        row: &'a [f64],
        /// What the protections say, a line each.
        reports: &'a [String],
    },
    /// Something that the user should hear.
    Note(&'a str),
}
