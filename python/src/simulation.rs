//! A network in motion, advanced by the caller: what happened in each stretch comes back, and between two stretches rates, signals and
//! learning may be changed, weights be read, and the state be kept.

use crate::error::{raise, refuse};
use crate::recording::matrix;
use crate::run::Asked;
use crate::watch::{Ears, Stop, forked, lock, same_process, watched};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use sharpwave::engine::{Engine, Sink, Spike, open};
use sharpwave::error::{Error, Result, nearest};
use sharpwave::network::{Cell, Network, Probe};
use sharpwave::record::{RunInfo, checkpoint};
use sharpwave::run::{continues, info, next_slice, resumed};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What a checkpoint says of its scenario: (what messages call it, its text, overrides).
#[pyfunction]
pub fn origin(py: Python<'_>, path: PathBuf) -> PyResult<(String, String, Vec<String>)> {
    let info = py.detach(|| checkpoint::origin(path)).map_err(|error| raise(py, error))?;
    Ok((info.scenario_path, info.scenario_text, info.overrides))
}

/// Spikes and samples of a stretch, by population and probe.
struct Collected {
    start: u64,
    spikes: Vec<(Vec<f64>, Vec<i64>)>,
    /// Times and rows of each probe; none of probes that are not of states.
    samples: Vec<(Vec<f64>, Vec<f32>)>,
}

impl Collected {
    fn new(net: &Network, start: u64) -> Collected {
        Collected {
            start,
            spikes: vec![Default::default(); net.populations.len()],
            samples: vec![Default::default(); net.probes.len()],
        }
    }
}

struct Collector<'a>(&'a Network, &'a mut Collected);

impl Sink for Collector<'_> {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        for spike in spikes {
            let at = self.0.population_of(spike.id);
            let population = &self.0.populations[at];
            let id = spike.id - population.first;
            if population.record_spikes.as_ref().is_some_and(|recorded| recorded.holds(id, spike.time)) {
                self.1.spikes[at].0.push(spike.time);
                self.1.spikes[at].1.push(id.into());
            }
        }
        Ok(())
    }

    fn sample(&mut self, probe: usize, time: f64, values: &[f32]) -> Result<()> {
        self.1.samples[probe].0.push(time);
        self.1.samples[probe].1.extend_from_slice(values);
        Ok(())
    }
}

struct Running {
    engine: Box<dyn Engine>,
    net: Arc<Network>,
    info: RunInfo,
    step: u64,
    /// Steps of a slice that takes about as long as Ctrl-C may wait.
    slice: u64,
    /// What happened since a stretch was handed over.
    collected: Collected,
}

impl Running {
    fn population(&self, name: &str) -> Result<usize> {
        index("population", name, self.net.populations.iter().map(|p| p.name.as_str()))
    }

    fn projection(&self, name: &str) -> Result<usize> {
        index("projection", name, self.net.projections.iter().map(|p| p.name.as_str()))
    }

    /// (variable, unit, ids, times, rows) of every recorded variable, by population.
    fn states<'py>(&self, py: Python<'py>, samples: Vec<(Vec<f64>, Vec<f32>)>) -> PyResult<Bound<'py, PyDict>> {
        let states = PyDict::new(py);
        for (probe, (times, rows)) in self.net.probes.iter().zip(samples) {
            let Probe::State { population, variables, neurons, .. } = probe else { continue };
            let population = &self.net.populations[*population];
            let Cell::Neuron(cell) = &population.cell else { continue };
            let (columns, all) = (neurons.len(), neurons.len() * variables.len());
            let ids: Vec<i64> = neurons.iter().map(|id| (*id).into()).collect();
            let (ids, n) = (ids.into_pyarray(py), times.len());
            let times = times.into_pyarray(py);
            let of = states.get_item(&population.name)?;
            let of = of.map_or_else(|| PyList::empty(py), |list| list.cast_into().unwrap_or_else(|_| PyList::empty(py)));
            for (k, variable) in variables.iter().enumerate() {
                let values = match all == columns {
                    true => rows.clone(),
                    false => rows.chunks_exact(all).flat_map(|row| &row[k * columns..(k + 1) * columns]).copied().collect(),
                };
                let unit = cell.model.recordables.iter().find(|r| r.name == *variable).map_or("", |r| r.unit.as_str());
                of.append((variable, unit, &ids, &times, matrix(py, values, n, columns)?))?;
            }
            states.set_item(&population.name, of)?;
        }
        Ok(states)
    }
}

fn index<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a str> + Clone) -> Result<usize> {
    names.clone().position(|known| known == name).ok_or_else(|| {
        let remedy = match nearest(name, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", names.collect::<Vec<_>>().join(", ")),
        };
        Error::input(format!("there is no {what} `{name}`"), remedy)
    })
}

/// A network in motion. None once it is closed.
#[pyclass(frozen, module = "sharpwave._sharpwave")]
pub struct Simulation(Mutex<Option<Running>>);

impl Simulation {
    fn with<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut Running) -> Result<T> + Send) -> PyResult<T> {
        same_process(py)?;
        let mut guard = lock(py, &self.0, "simulation")?;
        let Some(running) = guard.as_mut() else { return Err(closed(py)) };
        py.detach(|| work(running)).map_err(|error| raise(py, error))
    }
}

fn closed(py: Python<'_>) -> PyErr {
    refuse(py, "this simulation is closed", "make a new one, or resume it from a checkpoint")
}

#[pymethods]
impl Simulation {
    /// Connects the network and sets its engine up; with a checkpoint, goes on from there.
    #[new]
    #[pyo3(signature = (asked, resume=None, progress=None, stop=None))]
    fn new(
        py: Python<'_>,
        asked: Asked,
        resume: Option<PathBuf>,
        progress: Option<&Bound<'_, PyAny>>,
        stop: Option<&Bound<'_, Stop>>,
    ) -> PyResult<Simulation> {
        let running = watched(py, &Ears { progress, stop: stop.map(Bound::get), said: None }, |post, _| {
            let plan = match &resume {
                None => asked.plan(&asked.settings)?,
                Some(path) => resumed(&checkpoint::origin(path)?, &asked.settings, |settings| asked.plan(settings))?,
            };
            let net = Arc::new(plan.network.clone());
            let kind = asked.kind()?.unwrap_or(plan.engine).resolve(&net)?;
            let snapshot = resume.map(|path| checkpoint::read(path, &net)).transpose()?;
            if let Some((info, _)) = &snapshot {
                continues(info, kind, &net)?;
            }
            let threads = open::threads(&net, asked.threads.or(plan.threads))?;
            let told = |phase: &str, done: f64| post.part(done, || phase.to_string());
            let options = open::Options {
                threads: Some(threads),
                device: asked.device.clone(),
                progress: Some(&told),
                ..Default::default()
            };
            let mut engine = open(kind, &net, &options)?;
            let mut step = 0;
            if let Some((_, snapshot)) = &snapshot {
                engine.restore(snapshot)?;
                step = snapshot.step;
            }
            let (info, slice) = (info(&plan, engine.describe(), threads), (1.0 / net.dt).round().max(1.0) as u64);
            Ok(Running { engine, info, step, slice, collected: Collected::new(&net, step), net })
        })?;
        Ok(Simulation(Mutex::new(Some(running))))
    }

    /// Goes on by so many ms. (start, stop, {population: (times, ids)}, {population: [(variable, unit, ids, times, rows)]}).
    #[pyo3(signature = (duration, progress=None, stop=None))]
    #[allow(clippy::type_complexity)]
    fn advance<'py>(
        &self,
        py: Python<'py>,
        duration: f64,
        progress: Option<&Bound<'py, PyAny>>,
        stop: Option<&Bound<'py, Stop>>,
    ) -> PyResult<(f64, f64, Bound<'py, PyDict>, Bound<'py, PyDict>)> {
        let mut guard = lock(py, &self.0, "simulation")?;
        let Some(running) = guard.as_mut() else { return Err(closed(py)) };
        let dt = running.net.dt;
        let steps = (duration / dt).round();
        if !(1.0..=u32::MAX as f64).contains(&steps) || (duration / dt - steps).abs() > 1e-6 * steps {
            let remedy = format!("advance by a whole number of steps of {dt} ms, at least one");
            return Err(refuse(py, format!("a simulation cannot advance by {duration} ms"), remedy));
        }
        let at_work = &mut *running;
        watched(py, &Ears { progress, stop: stop.map(Bound::get), said: None }, move |post, stop| {
            let (from, end) = (at_work.step, at_work.step + steps as u64);
            while at_work.step < end && !stop.load(Ordering::Relaxed) {
                let (steps, clock) = (at_work.slice.min(end - at_work.step), Instant::now());
                at_work.engine.advance(steps, &mut Collector(&at_work.net, &mut at_work.collected))?;
                at_work.step += steps;
                at_work.slice = next_slice(steps, clock.elapsed());
                post.part((at_work.step - from) as f64 / (end - from) as f64, || format!("{:.1} ms", at_work.step as f64 * dt));
            }
            Ok(())
        })?;
        let fresh = Collected::new(&running.net, running.step);
        let collected = std::mem::replace(&mut running.collected, fresh);
        let spikes = PyDict::new(py);
        for (population, (times, ids)) in running.net.populations.iter().zip(collected.spikes) {
            if population.record_spikes.is_some() {
                spikes.set_item(&population.name, (times.into_pyarray(py), ids.into_pyarray(py)))?;
            }
        }
        let states = running.states(py, collected.samples)?;
        Ok((collected.start as f64 * dt, running.step as f64 * dt, spikes, states))
    }

    /// ms of model time until now, ms of a step, and the engine in words.
    fn now(&self, py: Python<'_>) -> PyResult<(f64, f64, String)> {
        self.with(py, |running| Ok((running.step as f64 * running.net.dt, running.net.dt, running.info.engine.clone())))
    }

    /// Names and sizes of populations, and names of projections.
    fn names(&self, py: Python<'_>) -> PyResult<(Vec<(String, u32)>, Vec<String>)> {
        self.with(py, |running| {
            let populations = running.net.populations.iter().map(|p| (p.name.clone(), p.n)).collect();
            Ok((populations, running.net.projections.iter().map(|p| p.name.clone()).collect()))
        })
    }

    /// (sources, targets, weights, their unit) of the synapses of a projection, local ids.
    #[allow(clippy::type_complexity)]
    fn weights<'py>(
        &self,
        py: Python<'py>,
        projection: &str,
    ) -> PyResult<(Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<f32>>, String)> {
        let (source, target, weight, unit) = self.with(py, |running| {
            let at = running.projection(projection)?;
            let ends = [running.net.projections[at].source, running.net.projections[at].target];
            let [source, target] = ends.map(|end| running.net.populations[end].first);
            let edges = running.engine.weights(at)?;
            let ids = |edge: fn(&(u32, u32, f32)) -> u32, first| edges.iter().map(|e| i64::from(edge(e) - first)).collect();
            let (source, target): (Vec<i64>, Vec<i64>) = (ids(|e| e.0, source), ids(|e| e.1, target));
            let port = running.net.projections[at].port.unwrap_or(0);
            let unit = match &running.net.populations[ends[1]].cell {
                Cell::Neuron(cell) => cell.model.ports.get(port).map(|port| port.unit.clone()),
                Cell::Source(_) => None,
            };
            Ok((source, target, edges.iter().map(|e| e.2).collect::<Vec<f32>>(), unit.unwrap_or_default()))
        })?;
        Ok((source.into_pyarray(py), target.into_pyarray(py), weight.into_pyarray(py), unit))
    }

    /// Rates (Hz, one a source) of a population of Poisson sources from now on.
    fn set_rates(&self, py: Python<'_>, population: &str, rates: PyReadonlyArray1<'_, f64>) -> PyResult<()> {
        let rates = rates.as_slice()?;
        self.with(py, |running| {
            let at = running.population(population)?;
            running.engine.set_rates(at, rates)
        })
    }

    /// Lets a signal jump now.
    fn jump(&self, py: Python<'_>, modulator: &str, amount: f64) -> PyResult<()> {
        self.with(py, |running| {
            let at = index("modulator", modulator, running.net.modulators.iter().map(|m| m.name.as_str()))?;
            running.engine.jump(at, amount)
        })
    }

    /// Whether the plastic weights of a projection change from now on.
    fn set_learning(&self, py: Python<'_>, projection: &str, on: bool) -> PyResult<()> {
        self.with(py, |running| {
            let at = running.projection(projection)?;
            running.engine.set_learning(at, on)
        })
    }

    /// Writes the state of now to a file.
    fn checkpoint(&self, py: Python<'_>, path: PathBuf, force: bool) -> PyResult<()> {
        self.with(py, |running| {
            if path.exists() && !force {
                let remedy = "name another file, or pass force=True to replace it";
                return Err(Error::input(format!("the checkpoint {} exists", path.display()), remedy));
            }
            checkpoint::write(&path, &running.net, &running.info, &running.engine.snapshot()?)
        })
    }

    /// Frees engine and network.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let running = lock(py, &self.0, "simulation")?.take();
        py.detach(|| release(running));
        Ok(())
    }

    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(lock(py, &self.0, "simulation")?.is_none())
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        if let Ok(running) = self.0.get_mut() {
            release(running.take());
        }
    }
}

/// Frees a simulation; one of the process that this one was forked from stays, as its threads cannot be joined.
fn release(running: Option<Running>) {
    match forked() {
        true => std::mem::forget(running),
        false => drop(running),
    }
}
