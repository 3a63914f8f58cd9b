//! Recurrent networks of spiking neurons that learn by e-prop (Bellec et al. 2020, doi 10.1038/s41467-020-17236-y): evidence that has to
//! be counted and kept over a delay, or digits as they are spoken. Promises that a stopped run goes on bit for bit.
//!
//! ```text
//! text -> file.rs (refusals with places) -> Settings -> trials.rs (what comes in) -> run.rs (one method and seed) -> results
//! ```

pub mod file;
mod run;
pub mod trials;

pub use run::run;

use crate::learning::eprop;
use std::sync::Arc;
use trials::Evidence;

/// What a file of kind "e_prop" asks for, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the file calls itself.
    pub title: String,
    /// The paper that it follows.
    pub citation: String,
    /// The file as named.
    pub name: String,
    /// Its text.
    pub text: Arc<str>,
    /// `KEY=VALUE` settings given beside the file, in order.
    pub overrides: Vec<String>,
    /// A run a method and seed.
    pub seeds: Vec<u64>,
    /// What is learned.
    pub task: Task,
    /// Trials of a step.
    pub batch: usize,
    /// The rate falls linearly to a hundredth.
    pub falling: bool,
    /// What is compared, in the order of the file.
    pub methods: Vec<Method>,
}

/// What is learned.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Counting cues.
    Evidence {
        /// How trials are made.
        made: Evidence,
        /// Trials that are learned at most.
        trials: usize,
        /// Trials learned between two looks at a batch of others.
        every: usize,
        /// Part of wrong answers, of a look and then of `tested` trials, below which the task is solved.
        solved: f64,
        /// Trials that say so, and as many others at the end.
        tested: usize,
    },
    /// Telling spoken digits.
    Spoken {
        /// Times that each recording is learned.
        passes: usize,
        /// The speaker who is held out; None: the published test set, five recordings of every speaker and digit.
        speaker: Option<u8>,
        /// Test on a part of what would be learned, and leave the test set alone: five further recordings of every speaker and digit, or
        /// the next speaker.
        validation: bool,
        /// Channels by which a recording is moved while learning, at most, up or down.
        shift: u32,
    },
}

/// A network that learns the task.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// As `--methods` and result files call it.
    pub name: String,
    /// As tables and drawings call it.
    pub title: String,
    /// With seed 0: every run has its own.
    pub network: eprop::Options,
}
