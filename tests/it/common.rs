//! What the integration tests share: scenarios from text, runs on a named engine, where the reference data may lie.

use sharpwave::engine::{Sink, Spike};
use sharpwave::error::Result;
use sharpwave::model::library::Library;
use sharpwave::run::{Options, Silent};
use sharpwave::scenario::{Plan, Scenario};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// Plans a scenario given as text.
pub fn plan(text: &str, overrides: &[&str]) -> Plan {
    try_plan(text, overrides).unwrap_or_else(|e| panic!("{e}"))
}

pub fn try_plan(text: &str, overrides: &[&str]) -> Result<Plan> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scenario.toml");
    std::fs::write(&path, text).unwrap();
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    Scenario::load(&path, &overrides, None)?.plan(&Library::load(&[])?)
}

/// Everything an engine reports.
#[derive(Default, Debug, Clone, PartialEq)]
pub struct Collected {
    pub spikes: Vec<Spike>,
    pub samples: Vec<(usize, f64, Vec<f32>)>,
}

impl Sink for Collected {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        self.spikes.extend_from_slice(spikes);
        Ok(())
    }
    fn sample(&mut self, probe: usize, time: f64, values: &[f32]) -> Result<()> {
        self.samples.push((probe, time, values.to_vec()));
        Ok(())
    }
}

/// Simulates warmup and duration of a plan on one engine.
pub fn simulate(plan: &Plan, kind: &str, threads: usize) -> Collected {
    let net = Arc::new(plan.network.clone());
    let mut engine = sharpwave::run::engine(&net, kind, threads, &Options::default(), &Silent).unwrap_or_else(|e| panic!("{e}"));
    let mut sink = Collected::default();
    let steps = ((plan.warmup + plan.duration) / net.dt).round() as u64;
    engine.advance(steps, &mut sink).unwrap_or_else(|e| panic!("{e}"));
    sink
}

/// The folder of shared reference data, where there is one; prints why a test is skipped otherwise.
pub fn shared(what: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SHARPWAVE_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join(what);
    if path.exists() {
        return Some(path);
    }
    // Straight to standard error: what a passing test prints with eprintln! is not shown.
    let _ = writeln!(std::io::stderr(), "skipped: no {what} (set SHARPWAVE_SHARED to the folder that holds it)");
    None
}
