//! What the integration tests share: scenarios from text, runs on a named engine, where the reference data may lie, models that
//! learn with what is known of their keys, and the program itself.

use sharpwave::engine::{Engine, Sink, Spike};
use sharpwave::error::Result;
use sharpwave::memory::Memory;
use sharpwave::memory::exchange::Request;
use sharpwave::memory::key_statistics::Statistics;
use sharpwave::memory::questions::built_in_prompts;
use sharpwave::memory::settings::Settings;
use sharpwave::model::library::Library;
use sharpwave::network::Network;
use sharpwave::scenario::{Plan, Scenario};
use sharpwave::transformer::sample::Sampler;
use sharpwave::transformer::{Ending, Host, Source};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

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

/// The engine of a name ("cpu", "event", "gpu"), with so many threads on the cpu.
pub fn open(net: &Arc<Network>, kind: &str, threads: usize) -> Result<Box<dyn Engine>> {
    sharpwave::engine::open(kind.parse()?, net, &sharpwave::engine::Options::threads(threads))
}

/// Simulates warmup and duration of a plan on one engine.
pub fn simulate(plan: &Plan, kind: &str, threads: usize) -> Collected {
    let net = Arc::new(plan.network.clone());
    let mut engine = open(&net, kind, threads).unwrap_or_else(|e| panic!("{e}"));
    let mut sink = Collected::default();
    let steps = ((plan.warmup + plan.duration) / net.dt).round() as u64;
    engine.advance(steps, &mut sink).unwrap_or_else(|e| panic!("{e}"));
    sink
}

/// What the table of a plastic projection holds: each weight as the last spike of its source to arrive transmitted it, or as it was
/// last brought up to date. (source, target, weight) in canonical order.
pub fn stored(engine: &mut dyn Engine, net: &Network, projection: usize) -> Vec<(u32, u32, f32)> {
    let dynamic = |p: &&sharpwave::network::Projection| p.synapse.model.program.is_some();
    let at = net.projections[..projection].iter().filter(dynamic).count();
    let weights = engine.snapshot().unwrap().synapses[at].swap_remove(0);
    let mut edges = engine.weights(projection).unwrap();
    assert_eq!(edges.len(), weights.len());
    edges.iter_mut().zip(weights).for_each(|(edge, w)| edge.2 = w);
    edges
}

/// Whether a test can have a device. Where there is none that is said among the test's results; where SHARPWAVE_REQUIRE_GPU asks for one
/// it is a failure.
#[cfg(feature = "gpu")]
pub fn device_there() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    let usable = *USABLE.get_or_init(|| sharpwave::engine::gpu::devices().iter().any(|d| d.usable.is_ok()));
    if !usable {
        let required = std::env::var_os("SHARPWAVE_REQUIRE_GPU").is_some_and(|v| v != "0");
        assert!(!required, "SHARPWAVE_REQUIRE_GPU is set, and no Vulkan, Metal or DX12 device is usable here");
        let _ = writeln!(std::io::stderr(), "skipped: no Vulkan, Metal or DX12 device is usable here");
    }
    usable
}

/// Without the feature `gpu` there is none to ask for.
#[cfg(not(feature = "gpu"))]
pub fn device_there() -> bool {
    let _ = writeln!(std::io::stderr(), "skipped: built without the feature `gpu`");
    false
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

/// A model, loaded, with default settings and what is known of its keys.
pub struct Model {
    pub source: Source,
    pub host: Arc<Host>,
    pub settings: Settings,
    pub statistics: Statistics,
}

impl Model {
    fn new(name: &str, samples: usize, prompts: usize) -> Model {
        let source = Source::open(name).unwrap();
        let host = Arc::new(source.load().unwrap());
        let mut settings = Settings::new(&source.config);
        settings.samples = samples;
        let (prompts, stop) = (&built_in_prompts()[..prompts], AtomicBool::new(false));
        let statistics = Statistics::collect(&host, &settings, prompts, &mut |_| (), &stop).unwrap();
        Model { source, host, settings, statistics }
    }

    /// A memory of it without a folder.
    pub fn memory(&self, settings: &Settings) -> Memory {
        Memory::in_memory(self.host.clone(), settings, &self.statistics).unwrap()
    }

    /// A memory of it in a folder, made where there is none.
    pub fn memory_in(&self, folder: &Path, settings: &Settings) -> Memory {
        let mut memory = Memory::open_or_create(folder, &self.source, self.host.clone(), settings).unwrap();
        memory.prepare(|_| Ok(self.statistics.clone())).unwrap();
        memory
    }
}

/// The built-in model, loaded once.
pub fn stories() -> &'static Model {
    static STORIES: OnceLock<Model> = OnceLock::new();
    STORIES.get_or_init(|| Model::new("stories260k", 2048, 200))
}

/// A real model, loaded once, where it is at hand.
pub fn smollm2() -> Option<&'static Model> {
    static SMOLLM2: OnceLock<Option<Model>> = OnceLock::new();
    let load = || Some(Model::new(shared("models/SmolLM2-135M-Instruct-Q4_1")?.to_str()?, 0, 100));
    SMOLLM2.get_or_init(load).as_ref()
}

/// What a memory's model says greedily after a text, and why it ended.
pub fn say(memory: &Memory, prompt: &str, tokens: usize) -> (String, Ending) {
    let request = Request::of_text(&memory.learner().host, prompt).unwrap();
    let answer = memory.answer(&request, tokens, &mut Sampler::greedy(), |_| ControlFlow::Continue(())).unwrap();
    (answer.text, answer.ending)
}

/// Runs the program in a folder, with a cache of its own there.
pub fn sharpwave(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sharpwave"));
    command.current_dir(folder).env("XDG_CACHE_HOME", folder.join("cache")).env("NO_COLOR", "1").args(arguments);
    command.output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A Python that can import these, or the reason why not.
pub fn python(modules: &str) -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/check/bin/python");
    let named = std::env::var_os("SHARPWAVE_PYTHON").map(PathBuf::from);
    let can = |p: &PathBuf| Command::new(p).args(["-c", &format!("import {modules}")]).output().is_ok_and(|o| o.status.success());
    let found = named.into_iter().chain([venv, "python3".into()]).find(can);
    if found.is_none() {
        let _ = writeln!(std::io::stderr(), "skipped: no Python with {modules} (SHARPWAVE_PYTHON names one)");
    }
    found
}

/// What a script of scripts/ says on its last line.
pub fn script(python: &Path, name: &str, arguments: &[&Path]) -> serde_json::Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name);
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or("");
    serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {text}\n{}", String::from_utf8_lossy(&output.stderr)))
}
