//! A scenario file: TOML text to a checked, resolved [`Plan`]. Every refusal is made here, before anything is simulated, with
//! file, line and what to change. Knows the file format; no engine.

use crate::network::Network;
use std::sync::Arc;

/// What a scenario asks for, resolved: plain data for the run loop.
#[derive(Clone, Debug)]
pub struct Plan {
    pub title: String,
    pub citation: String,
    /// Path as given, and the text.
    pub path: String,
    pub text: Arc<str>,
    pub overrides: Vec<String>,
    pub network: Network,
    /// ms of simulation that count, after `warmup` ms that are simulated and not counted in the statistics.
    pub duration: f64,
    pub warmup: f64,
    /// "auto", "cpu", "gpu" or "event".
    pub engine: String,
    pub threads: Option<usize>,
    /// Published figures to print beside ours.
    pub published: Vec<Published>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Where the figures are from.
    pub source: String,
    pub population: String,
    /// "rate" (Hz), "cv_isi", ...
    pub quantity: String,
    pub value: f64,
}
