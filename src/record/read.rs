//! Recordings back into plain data, for figures and tests. Promises to read what the recorder wrote, also when the run was cut
//! off, and the spikes and reports of any other file in SONATA's layout; long columns can be walked in blocks of bounded size.

use super::RunInfo;
use crate::engine::Counters;
use crate::error::Result;
use crate::io::hdf5::Store;
use crate::network::SpikeRecord;
use crate::record::sonata::{FORMAT, spike_record};
use std::path::Path;

/// Spikes handed over at a time by [`Recording::each_block`].
const BLOCK: usize = 1 << 18;

/// An opened recording.
pub struct Recording {
    store: Store,
    /// What the run was made from.
    pub info: RunInfo,
    /// How far it came.
    pub ending: Ending,
    /// In the order of the scenario.
    pub populations: Vec<PopulationInfo>,
    /// False for a file that another simulator wrote: then `info` and `ending` hold nothing.
    pub own: bool,
}

/// How far the run came.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// The run reached its end.
    pub complete: bool,
    /// ms; data begin at `start` and reach to `until`.
    pub start: f64,
    /// ms; the last time that data may have.
    pub until: f64,
    /// Time step of the network, ms.
    pub dt: f64,
    /// Present when the run ended in order.
    pub counters: Option<Counters>,
    /// Wall time of the simulation in s.
    pub wall: Option<f64>,
    /// Times (ms) from which the run was continued.
    pub resumed: Vec<f64>,
}

/// A population, and what is recorded of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PopulationInfo {
    /// As in the scenario.
    pub name: String,
    /// Its neurons.
    pub n: u64,
    /// Whose spikes are recorded, and when; None when spikes are not recorded.
    pub recorded: Option<SpikeRecord>,
    /// A source without dynamics.
    pub source: bool,
}

/// Spikes in order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpikeTrain {
    /// ms
    pub times: Vec<f64>,
    /// Local ids.
    pub ids: Vec<u64>,
}

/// One recorded variable of one population.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Name of the population.
    pub population: String,
    /// Name of the state variable in its model.
    pub variable: String,
    /// Unit of the values.
    pub unit: String,
    /// Local ids, one a column.
    pub ids: Vec<u64>,
    /// ms of the first row and between rows.
    pub start: f64,
    /// ms between rows.
    pub interval: f64,
    /// Rows that are stored.
    pub rows: usize,
    group: String,
}

/// Mean rate of a population over time.
#[derive(Clone, Debug, PartialEq)]
pub struct RateSeries {
    /// Name of the population.
    pub population: String,
    /// ms; bin k covers (start + k * bin, start + (k + 1) * bin].
    pub start: f64,
    /// Width of a bin, ms.
    pub bin: f64,
    /// Hz
    pub rate: Vec<f64>,
}

/// Weights of a projection; `edges` synapses at each of `times`.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightSeries {
    /// Name of the projection.
    pub projection: String,
    /// Name of its source population.
    pub source_population: String,
    /// Name of its target population.
    pub target_population: String,
    /// Unit of the weights: pA, nS, or mV.
    pub unit: String,
    /// ms
    pub times: Vec<f64>,
    /// Synapses whose weights are stored.
    pub edges: usize,
    /// Names of the variables that are stored beside them.
    pub states: Vec<String>,
    group: String,
}

/// The course of a signal that plastic synapses read, such as dopamine.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalSeries {
    /// As in the scenario.
    pub name: String,
    /// Level at 0 ms.
    pub initial: f64,
    /// ms: between jumps the level decays by `exp(-t / tau)`.
    pub tau: f64,
    /// (ms, amount) in order of time: of the scenario and of spikes.
    pub jumps: Vec<(f64, f64)>,
}

impl SignalSeries {
    /// The level at a time in ms, jumps of that time included.
    pub fn at(&self, time: f64) -> f64 {
        let before = self.jumps.iter().take_while(|jump| jump.0 <= time);
        let (last, level) = before
            .fold((0.0, self.initial), |(last, level), &(at, amount)| (at, level * (-(at - last) / self.tau).exp() + amount));
        level * (-(time - last) / self.tau).exp()
    }
}

impl Recording {
    /// Opens a recording, or another simulator's file in SONATA's layout.
    ///
    /// # Errors
    /// The file is missing, truncated, not HDF5, or holds neither spikes nor reports.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let store = Store::open(path.as_ref())?;
        let own = store.has("/sharpwave") && store.get_text("/sharpwave", "format")? == FORMAT;
        if !own && !store.has("/spikes") && !store.has("/report") {
            return Err(store.foreign("this is not a recording: it holds neither spikes nor reports"));
        }
        let (info, ending, populations) = match own {
            true => (read_info(&store)?, read_ending(&store)?, read_populations(&store)?),
            false => (RunInfo::default(), Ending { complete: true, ..Default::default() }, foreign_populations(&store)?),
        };
        let mut recording = Recording { store, info, ending, populations, own };
        if !own {
            recording.ending.until = recording.last_time()?;
        }
        Ok(recording)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    /// The population of this name; None where there is none.
    pub fn population(&self, name: &str) -> Option<&PopulationInfo> {
        self.populations.iter().find(|p| p.name == name)
    }

    /// Number of recorded spikes of a population (0 when it is not recorded).
    pub fn spike_count(&self, population: &str) -> Result<usize> {
        let group = format!("/spikes/{population}");
        if !self.store.has(&group) {
            return Ok(0);
        }
        let times = self.store.open_table::<f64>(&format!("{group}/timestamps"))?;
        Ok(times.rows().min(self.store.open_table::<u64>(&format!("{group}/node_ids"))?.rows()))
    }

    /// All recorded spikes of a population.
    pub fn spikes(&self, population: &str) -> Result<SpikeTrain> {
        let mut all = SpikeTrain::default();
        self.each_block(population, |times, ids| {
            all.times.extend_from_slice(times);
            all.ids.extend_from_slice(ids);
        })?;
        Ok(all)
    }

    /// Calls `see` with the spikes of a population, block by block in order: times (ms) and local ids.
    pub fn each_block(&self, population: &str, mut see: impl FnMut(&[f64], &[u64])) -> Result<()> {
        let rows = self.spike_count(population)?;
        if rows == 0 {
            return Ok(());
        }
        let group = format!("/spikes/{population}");
        let times = self.store.open_table::<f64>(&format!("{group}/timestamps"))?;
        let ids = self.store.open_table::<u64>(&format!("{group}/node_ids"))?;
        for from in (0..rows).step_by(BLOCK) {
            let part = from..(from + BLOCK).min(rows);
            see(&times.read(part.clone())?, &ids.read(part)?);
        }
        Ok(())
    }

    /// The recorded variables.
    pub fn reports(&self) -> Result<Vec<Report>> {
        self.store.members("/report").iter().map(|name| self.read_report(name)).collect()
    }

    fn read_report(&self, name: &str) -> Result<Report> {
        let group = format!("/report/{name}");
        let data = format!("{group}/data");
        let time = self.store.read::<f64>(&format!("{group}/mapping/time"))?;
        let [start, _, interval] = time[..] else {
            return Err(self.store.foreign(format!("{group}/mapping/time should hold start, stop and step")));
        };
        let ids = self.store.read::<u64>(&format!("{group}/mapping/node_ids"))?;
        let table = self.store.open_table::<f32>(&data)?;
        if table.width() != ids.len() {
            return Err(self.store.foreign(format!("{data} has {} columns for {} neurons", table.width(), ids.len())));
        }
        Ok(Report {
            population: self.store.get_text(&group, "population").unwrap_or_else(|_| name.to_string()),
            variable: self.store.get_text(&data, "variable").unwrap_or_default(),
            unit: self.store.get_text(&data, "units").unwrap_or_default(),
            ids,
            start,
            interval,
            rows: table.rows(),
            group,
        })
    }

    /// Rows of a report, one after another, each with one value for each of its neurons.
    pub fn report_rows(&self, report: &Report, rows: std::ops::Range<usize>) -> Result<Vec<f32>> {
        self.store.open_table::<f32>(&format!("{}/data", report.group))?.read(rows)
    }

    /// All recorded rates, a series a population.
    pub fn rates(&self) -> Result<Vec<RateSeries>> {
        let mut series = Vec::new();
        for name in self.store.members("/rates") {
            let group = format!("/rates/{name}");
            let time = self.store.read::<f64>(&format!("{group}/time"))?;
            let [start, _, bin] = time[..] else {
                return Err(self.store.foreign(format!("{group}/time should hold start, stop and bin")));
            };
            let population = self.store.get_text(&group, "population")?;
            series.push(RateSeries { population, start, bin, rate: self.store.read(&format!("{group}/rate"))? });
        }
        Ok(series)
    }

    /// All recorded weights, a series a projection.
    pub fn weights(&self) -> Result<Vec<WeightSeries>> {
        let mut series = Vec::new();
        for name in self.store.members("/weights") {
            let group = format!("/weights/{name}");
            let weight = self.store.open_table::<f32>(&format!("{group}/weight"))?;
            let mut times = self.store.read::<f64>(&format!("{group}/time"))?;
            times.truncate(weight.rows());
            series.push(WeightSeries {
                projection: self.store.get_text(&group, "projection")?,
                source_population: self.store.get_text(&group, "source_population")?,
                target_population: self.store.get_text(&group, "target_population")?,
                unit: self.store.get_text(&format!("{group}/weight"), "units").unwrap_or_default(),
                times,
                edges: weight.width(),
                states: self.store.members(&format!("{group}/states")),
                group,
            });
        }
        Ok(series)
    }

    /// Source and target (local ids) of the edges of a weight series.
    pub fn edges(&self, series: &WeightSeries) -> Result<(Vec<u64>, Vec<u64>)> {
        let column = |name: &str| self.store.read(&format!("{}/{name}", series.group));
        Ok((column("source_node_id")?, column("target_node_id")?))
    }

    /// Weights at the `at`-th of the recorded times.
    pub fn weight_row(&self, series: &WeightSeries, at: usize) -> Result<Vec<f32>> {
        self.store.open_table::<f32>(&format!("{}/weight", series.group))?.read(at..at + 1)
    }

    /// A variable of the synapses at the `at`-th of the recorded times.
    ///
    /// # Errors
    /// It is none of the series' `states`.
    pub fn state_row(&self, series: &WeightSeries, state: &str, at: usize) -> Result<Vec<f32>> {
        self.store.open_table::<f32>(&format!("{}/states/{state}", series.group))?.read(at..at + 1)
    }

    /// The signals of the network; none in a recording that begins later than 0 ms, which does not know what came before.
    pub fn signals(&self) -> Result<Vec<SignalSeries>> {
        let mut series = Vec::new();
        for name in self.store.members("/signals").into_iter().filter(|_| self.ending.start == 0.0) {
            let group = format!("/signals/{name}");
            let column = |name: &str| match self.store.has(&format!("{group}/{name}")) {
                true => self.store.read::<f64>(&format!("{group}/{name}")),
                false => Ok(Vec::new()),
            };
            let pairs = |times: Vec<f64>, amounts: Vec<f64>| times.into_iter().zip(amounts).filter(|j| j.0 <= self.ending.until);
            let mut jumps: Vec<(f64, f64)> = pairs(column("given_time")?, column("given_amount")?).collect();
            jumps.extend(pairs(column("time")?, column("amount")?));
            jumps.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (initial, tau) = (self.store.get(&group, "initial")?, self.store.get(&group, "tau")?);
            series.push(SignalSeries { name, initial, tau, jumps });
        }
        Ok(series)
    }

    /// Positions (x, y in mm) of a population's neurons; None where they have none.
    pub fn positions(&self, population: &str) -> Result<Option<Vec<[f32; 2]>>> {
        let object = format!("/positions/{population}");
        if !self.store.has(&object) {
            return Ok(None);
        }
        Ok(Some(self.store.read::<f32>(&object)?.chunks_exact(2).map(|p| [p[0], p[1]]).collect()))
    }

    /// What a population presented: onsets (ms) and labels; None when it presents nothing.
    pub fn stimulus(&self, population: &str) -> Result<Option<(Vec<f64>, Vec<i64>)>> {
        let group = format!("/stimulus/{population}");
        if !self.store.has(&group) {
            return Ok(None);
        }
        Ok(Some((self.store.read(&format!("{group}/onset"))?, self.store.read(&format!("{group}/label"))?)))
    }

    /// The last time in a file of another simulator.
    fn last_time(&self) -> Result<f64> {
        let mut last = 0.0f64;
        for population in &self.populations {
            self.each_block(&population.name, |times, _| last = times.iter().fold(last, |a, &b| a.max(b)))?;
        }
        for report in self.reports()? {
            last = last.max(report.start + report.rows as f64 * report.interval);
        }
        Ok(last)
    }
}

fn read_info(store: &Store) -> Result<RunInfo> {
    let at = "/sharpwave";
    Ok(RunInfo {
        title: store.get_text(at, "title")?,
        scenario_path: store.get_text(at, "scenario_path")?,
        scenario_text: store.read_text("/sharpwave/scenario")?,
        overrides: store.read_text("/sharpwave/overrides")?.lines().map(str::to_string).collect(),
        variant: store.get_text(at, "variant").ok().filter(|variant| !variant.is_empty()),
        resolved: store.read_text("/sharpwave/resolved").unwrap_or_default(),
        models: read_models(store)?,
        command: store.get_text(at, "command").unwrap_or_default(),
        seed: store.get(at, "seed")?,
        stimulus_seed: store.get(at, "stimulus_seed").or_else(|_| store.get(at, "seed"))?,
        engine: store.get_text(at, "engine")?,
        threads: store.get::<u64>(at, "threads")? as usize,
        duration: store.get(at, "duration")?,
        warmup: store.get(at, "warmup")?,
        version: store.get_text(at, "version")?,
    })
}

/// The user's own models, in the order in which they were written.
fn read_models(store: &Store) -> Result<Vec<(String, String)>> {
    let all = (0..store.members("/sharpwave/models").len()).map(|k| format!("/sharpwave/models/{k}"));
    all.map(|object| Ok((store.get_text(&object, "file")?, store.read_text(&object)?))).collect()
}

fn read_ending(store: &Store) -> Result<Ending> {
    let at = "/sharpwave";
    let count = |name: &str| store.get::<u64>(at, name);
    let counters = || -> Result<Counters> {
        Ok(Counters {
            spikes: count("spikes")?,
            synaptic_events: count("synaptic_events")?,
            neuron_updates: count("neuron_updates")?,
            synapses: count("synapses")?,
            synapse_bytes: count("synapse_bytes")?,
            ..Default::default()
        })
    };
    let again = store.members(at).into_iter().filter(|m| m.starts_with("resumed"));
    let mut resumed = again.map(|m| store.get(&format!("{at}/{m}"), "time")).collect::<Result<Vec<f64>>>()?;
    resumed.sort_by(f64::total_cmp);
    Ok(Ending {
        complete: store.get(at, "complete")?,
        start: store.get(at, "start")?,
        until: store.get(at, "recorded_until")?,
        dt: store.get(at, "dt")?,
        counters: counters().ok(),
        wall: store.get(at, "wall_time").ok(),
        resumed,
    })
}

fn read_populations(store: &Store) -> Result<Vec<PopulationInfo>> {
    let names = store.read_text("/sharpwave/populations/name")?;
    let sizes = store.read::<u64>("/sharpwave/populations/n")?;
    let source = store.read::<u8>("/sharpwave/populations/source")?;
    let rows = names.lines().zip(sizes).zip(source);
    rows.map(|((name, n), source)| {
        let group = format!("/spikes/{name}");
        let recorded = store.has(&group).then(|| spike_record(store, name)).transpose()?;
        Ok(PopulationInfo { name: name.to_string(), n, recorded, source: source != 0 })
    })
    .collect()
}

/// Populations of a file that another simulator wrote: as large as the largest id says.
fn foreign_populations(store: &Store) -> Result<Vec<PopulationInfo>> {
    let spiking = store.members("/spikes").into_iter().filter(|name| store.has(&format!("/spikes/{name}/node_ids")));
    spiking
        .map(|name| {
            let n = store.read::<u64>(&format!("/spikes/{name}/node_ids"))?.into_iter().max().map_or(0, |m| m + 1);
            let recorded = Some(SpikeRecord::first(u32::try_from(n).unwrap_or(u32::MAX)));
            Ok(PopulationInfo { name, n, recorded, source: false })
        })
        .collect()
}
