//! What a run recorded, read from its file when it is asked for.

use crate::error::raise;
use crate::watch::json;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use sharpwave::error::Result;
use sharpwave::record::read;
use std::path::PathBuf;

/// Local ids as numpy's usual integers.
pub fn ids(ids: Vec<u64>) -> Vec<i64> {
    ids.into_iter().map(|id| id as i64).collect()
}

/// A matrix, row by row, without a copy.
pub fn matrix<'py>(py: Python<'py>, values: Vec<f32>, rows: usize, columns: usize) -> PyResult<Bound<'py, PyArray2<f32>>> {
    values.into_pyarray(py).reshape([rows, columns])
}

/// Recorded variable of a population: (population, variable, unit, local ids, time of the first row, ms between rows, rows).
type Report<'py> = (String, String, String, Bound<'py, PyArray1<i64>>, f64, f64, usize);
/// Recorded weights: (projection, source population, target population, unit, times, synapses).
type Weights<'py> = (String, String, String, String, Bound<'py, PyArray1<f64>>, usize);
/// A column of times or numbers, and one of ids.
type Pair<'py, A, B> = (Bound<'py, PyArray1<A>>, Bound<'py, PyArray1<B>>);

/// An opened recording.
#[pyclass(frozen, weakref, module = "sharpwave._sharpwave")]
pub struct Recording(read::Recording);

impl Recording {
    fn read<T: Send>(&self, py: Python<'_>, read: impl FnOnce(&read::Recording) -> Result<T> + Send) -> PyResult<T> {
        py.detach(|| read(&self.0)).map_err(|error| raise(py, error))
    }
}

#[pymethods]
impl Recording {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Recording> {
        py.detach(|| read::Recording::open(path)).map(Recording).map_err(|error| raise(py, error))
    }

    /// What the run was made from and how far it came, as JSON.
    fn info(&self, py: Python<'_>) -> PyResult<String> {
        let (info, ending) = (&self.0.info, &self.0.ending);
        let counters = ending.counters.as_ref();
        let value = serde_json::json!({
            "title": info.title, "scenario": info.scenario_path, "text": info.scenario_text, "overrides": info.overrides,
            "seed": info.seed, "stimulus_seed": info.stimulus_seed, "engine": info.engine, "threads": info.threads,
            "duration_ms": info.duration, "warmup_ms": info.warmup, "version": info.version, "dt_ms": ending.dt,
            "start_ms": ending.start, "until_ms": ending.until, "complete": ending.complete, "wall_s": ending.wall,
            "spikes": counters.map(|c| c.spikes), "synaptic_events": counters.map(|c| c.synaptic_events),
            "synapses": counters.map(|c| c.synapses),
        });
        json(&value).map_err(|error| raise(py, error))
    }

    /// (name, neurons, neurons whose spikes are recorded, whether they are sources).
    fn populations(&self) -> Vec<(String, u64, Option<u64>, bool)> {
        self.0
            .populations
            .iter()
            .map(|p| (p.name.clone(), p.n, p.recorded.as_ref().map(|r| u64::from(r.neurons.count())), p.source))
            .collect()
    }

    /// Times (ms) and local ids of a population's spikes, in order of time.
    fn spikes<'py>(&self, py: Python<'py>, population: &str) -> PyResult<Pair<'py, f64, i64>> {
        let train = self.read(py, |recording| recording.spikes(population))?;
        Ok((train.times.into_pyarray(py), ids(train.ids).into_pyarray(py)))
    }

    fn reports<'py>(&self, py: Python<'py>) -> PyResult<Vec<Report<'py>>> {
        let reports = self.read(py, read::Recording::reports)?;
        let told = |r: read::Report| {
            let ids = ids(r.ids).into_pyarray(py);
            (r.population, r.variable, r.unit, ids, r.start, r.interval, r.rows)
        };
        Ok(reports.into_iter().map(told).collect())
    }

    /// Values of the `at`-th report: rows x neurons.
    fn report<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (values, rows, columns) = self.read(py, |recording| {
            let report = recording.reports()?.swap_remove(at);
            Ok((recording.report_rows(&report, 0..report.rows)?, report.rows, report.ids.len()))
        })?;
        matrix(py, values, rows, columns)
    }

    /// (population, ms at which the first bin begins, width of a bin in ms, rates in Hz).
    fn rates<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, f64, f64, Bound<'py, PyArray1<f64>>)>> {
        let rates = self.read(py, read::Recording::rates)?;
        Ok(rates.into_iter().map(|r| (r.population, r.start, r.bin, r.rate.into_pyarray(py))).collect())
    }

    fn weights<'py>(&self, py: Python<'py>) -> PyResult<Vec<Weights<'py>>> {
        let weights = self.read(py, read::Recording::weights)?;
        let told = |w: read::WeightSeries| {
            (w.projection, w.source_population, w.target_population, w.unit, w.times.into_pyarray(py), w.edges)
        };
        Ok(weights.into_iter().map(told).collect())
    }

    /// Source and target (local ids) of the synapses of the `at`-th series of weights.
    fn edges<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Pair<'py, i64, i64>> {
        let (source, target) = self.read(py, |recording| recording.edges(&recording.weights()?.swap_remove(at)))?;
        Ok((ids(source).into_pyarray(py), ids(target).into_pyarray(py)))
    }

    /// The `at`-th series of weights: times x synapses.
    fn weight<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (values, rows, columns) = self.read(py, |recording| {
            let series = recording.weights()?.swap_remove(at);
            let rows = (0..series.times.len()).map(|row| recording.weight_row(&series, row));
            Ok((rows.collect::<Result<Vec<_>>>()?.concat(), series.times.len(), series.edges))
        })?;
        matrix(py, values, rows, columns)
    }

    /// Onsets (ms) and labels of what a population presented; None when it presents nothing.
    fn stimulus<'py>(&self, py: Python<'py>, population: &str) -> PyResult<Option<Pair<'py, f64, i64>>> {
        let shown = self.read(py, |recording| recording.stimulus(population))?;
        Ok(shown.map(|(onset, label)| (onset.into_pyarray(py), label.into_pyarray(py))))
    }
}
