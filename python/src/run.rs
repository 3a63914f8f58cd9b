//! A scenario to a recording, as `sharpwave run` does it.

use crate::error::raise;
use crate::watch::{Ears, Stop, json, watched};
use pyo3::prelude::*;
use sharpwave::engine::{Kind, open};
use sharpwave::error::Result;
use sharpwave::model::library::Library;
use sharpwave::network::{connectivity, footprint};
use sharpwave::run::{Options, run as simulate};
use sharpwave::scenario::{Plan, Scenario, all_built_in};
use std::path::PathBuf;

/// What is asked for: an object with these attributes.
#[derive(FromPyObject)]
pub struct Asked {
    /// Path, or the name of a scenario that comes along; where there is a text, what messages call it.
    pub scenario: String,
    /// TOML, in the place of a file.
    pub text: Option<String>,
    /// Where the text's data files are looked for.
    pub folder: Option<PathBuf>,
    /// `key.path=value`.
    pub settings: Vec<String>,
    pub variant: Option<String>,
    pub engine: Option<String>,
    pub threads: Option<usize>,
    pub device: Option<String>,
    /// Folders of model files.
    pub models: Vec<PathBuf>,
}

impl Asked {
    pub fn kind(&self) -> Result<Option<Kind>> {
        self.engine.as_deref().map(str::parse).transpose()
    }

    /// The plan with these settings.
    pub fn plan(&self, settings: &[String]) -> Result<Plan> {
        let variant = self.variant.as_deref();
        let scenario = match &self.text {
            None => Scenario::load(&self.scenario, settings, variant)?,
            Some(text) => {
                let scenario = Scenario::parse(&self.scenario, text, settings, variant)?;
                match &self.folder {
                    Some(folder) => scenario.in_folder(folder),
                    None => scenario,
                }
            }
        };
        let scenario = scenario.on(self.kind()?);
        match self.models.is_empty() {
            true => scenario.plan(Library::built_in()?),
            false => scenario.plan(&Library::load(&self.models)?),
        }
    }
}

/// Runs what is asked for and records it in a file; the summary as JSON.
#[pyfunction]
#[pyo3(signature = (asked, out, force, progress=None, stop=None))]
pub fn run(
    py: Python<'_>,
    asked: Asked,
    out: PathBuf,
    force: bool,
    progress: Option<&Bound<'_, PyAny>>,
    stop: Option<&Bound<'_, Stop>>,
) -> PyResult<String> {
    watched(py, &Ears { progress, stop: stop.map(Bound::get), said: None }, |post, stop| {
        let plan = asked.plan(&asked.settings)?;
        let (engine, threads, device) = (asked.kind()?, asked.threads, asked.device.clone());
        let options = Options { engine, threads, device, out: Some(out), force, ..Options::default() };
        json(&simulate(&plan, &options, post, stop)?.summary(&plan))
    })
}

/// Checks what is asked for, without simulating it; what it would need, as JSON.
#[pyfunction]
pub fn check(py: Python<'_>, asked: Asked) -> PyResult<String> {
    watched(py, &Ears::default(), |_, _| {
        let plan = asked.plan(&asked.settings)?;
        let threads = open::threads(&plan.network, asked.threads.or(plan.threads))?;
        let estimate = footprint::estimate(&plan.network, threads);
        footprint::check(&estimate)?;
        let populations: serde_json::Map<_, _> = plan.network.populations.iter().map(|p| (p.name.clone(), p.n.into())).collect();
        let projections: Vec<&str> = plan.network.projections.iter().map(|p| p.name.as_str()).collect();
        json(&serde_json::json!({
            "title": plan.title, "dt_ms": plan.network.dt, "duration_ms": plan.duration, "warmup_ms": plan.warmup,
            "populations": populations, "projections": projections,
            "neurons": estimate.neurons, "synapses": estimate.synapses, "peak_bytes": estimate.peak_bytes,
        }))
    })
}

/// The scenarios that come along: (name, text).
#[pyfunction]
pub fn scenarios() -> Vec<(&'static str, &'static str)> {
    all_built_in().collect()
}

/// A time such as "10 s" in ms; `what` names it in messages.
#[pyfunction]
pub fn milliseconds(py: Python<'_>, what: &str, text: &str) -> PyResult<f64> {
    sharpwave::units::milliseconds(what, text).map_err(|error| raise(py, error))
}

/// Writes edges as a scenario reads them.
#[pyfunction]
#[pyo3(signature = (path, source, target, weight=None, delay=None))]
pub fn write_edges(
    py: Python<'_>,
    path: PathBuf,
    source: numpy::PyReadonlyArray1<'_, u32>,
    target: numpy::PyReadonlyArray1<'_, u32>,
    weight: Option<numpy::PyReadonlyArray1<'_, f64>>,
    delay: Option<numpy::PyReadonlyArray1<'_, f64>>,
) -> PyResult<()> {
    let (source, target) = (source.as_slice()?, target.as_slice()?);
    let weight = weight.as_ref().map(|w| w.as_slice()).transpose()?;
    let delay = delay.as_ref().map(|d| d.as_slice()).transpose()?;
    py.detach(|| connectivity::write_edges(&path, source, target, weight, delay)).map_err(|error| raise(py, error))
}
