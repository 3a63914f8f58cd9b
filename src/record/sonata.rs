//! A sink that streams a run into a file in SONATA's layout: spikes, one report a probe and variable, population rates, weights,
//! and what was run. Promises bounded memory, a file that can be read at any time after the first flush (also after the process
//! was killed), and that an existing file is replaced only on request and only once its successor is valid.
//! Knows no engine beyond the [`Sink`] it is.
//!
//! ```text
//! /spikes/<population>/{timestamps, node_ids}                 ms, local ids; attributes sorting, n, units, recorded (neurons); start
//!                                                             and stop (ms) where only a stretch of time is recorded
//! /report/<population>/{data, mapping/...}                    first variable of the population; further ones in
//! /report/<population>.<variable>/...                         groups of their own, one variable each as SONATA has it
//! /rates/<population>/{rate, time}                            Hz in bins; time = [start, stop, bin] ms
//! /weights/<projection>/{source_node_id, target_node_id, weight [time, edge], time}
//! /weights/<projection>/states/<variable>                     [time, edge], what the synapse model records beside the weight
//! /stimulus/<population>/{onset, sample, label}               what was presented when (label -1: none)
//! /signals/<signal>/{time, amount, given_time, given_amount}  jumps by spikes, and those of the scenario; attributes initial, tau:
//!                                                             the level decays by exp(-t / tau) between jumps
//! /positions/<population>                                     x, y in mm, where neurons have positions
//! /sharpwave                                                  attributes: engine, seed, dt, variant, command, ...; datasets: the
//!     scenario as written and as resolved (variant and overrides in their places, what runs it again), overrides, parameters (every
//!     population's, defaults too), models/ (the user's own, as text), populations/ (names, sizes, first global ids), spikes/ (whose
//!     spikes are recorded, local ids, where they are chosen one by one)
//! ```

use super::RunInfo;
use crate::engine::{Counters, Sink, Spike};
use crate::error::{Error, Result};
use crate::io::hdf5::{Element, Sorting, Store, Table, file_error};
use crate::io::output::Output;
use crate::io::storable;
use crate::network::{Cell, Chosen, Network, Population, Probe, Projection, SpikeRecord, Values, Window};
use crate::stimulus::SpikeSource;
use crate::stimulus::encode::Shown;
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) const FORMAT: &str = "sharpwave recording";
const FORMAT_VERSION: u32 = 1;
/// Data held back in memory at most, bytes.
const BUFFER: usize = 4 << 20;
/// Slack in comparisons of times, ms.
const EPS: f64 = 1e-9;

struct Spikes {
    of: SpikeRecord,
    times: Vec<f64>,
    ids: Vec<u64>,
    timestamps: Table<f64>,
    node_ids: Table<u64>,
}

struct Report {
    group: String,
    data: Table<f32>,
    buffer: Vec<f32>,
    /// Time of the first row, ms, once there is one.
    start: Option<f64>,
    interval: f64,
}

struct Rate {
    group: String,
    population: usize,
    bin: f64,
    n: f64,
    /// First bin in the file, the bin that is open, and the one after the last; bin k covers (k * bin, (k + 1) * bin].
    start: u64,
    open: u64,
    end: u64,
    count: u64,
    buffer: Vec<f64>,
    rate: Table<f64>,
    /// (time, open bin, its spikes so far) at every flush asked for: where a run may go on.
    marks: Table<f64>,
}

/// A signal, where spikes make it jump.
struct Signal {
    /// Global ids whose spikes do, how much later in ms, and by how much.
    ids: std::ops::Range<u32>,
    delay: f64,
    amount: f64,
    /// Jumps that are not in the file yet, those of one time as one.
    buffer: Vec<(f64, f64)>,
    time: Table<f64>,
    amounts: Table<f64>,
}

struct Weights {
    group: String,
    projection: usize,
    time: Table<f64>,
    weight: Table<f32>,
    /// One a variable.
    states: Vec<Table<f32>>,
    source: Table<u64>,
    target: Table<u64>,
}

/// Writes one recording. See the module for the layout.
pub struct Recorder {
    /// None once finished.
    store: Option<Store>,
    /// Where the file belongs, when it still has a temporary name.
    destination: Option<Output>,
    /// Something worth keeping was flushed.
    kept: bool,
    /// A write failed, with this message: nothing more is written.
    broken: Option<(String, String)>,
    /// One past the last global id of each population, and its first.
    ends: Vec<u32>,
    firsts: Vec<u32>,
    spikes: Vec<Option<Spikes>>,
    /// By probe; empty for probes of another kind.
    reports: Vec<Vec<Report>>,
    rates: Vec<Rate>,
    weights: Vec<Weights>,
    signals: Vec<Signal>,
    /// Everything up to this time (ms) was received; when the run ends.
    time: f64,
    end: f64,
    buffered: usize,
    flushed: Instant,
    every: Duration,
}

/// A name as a link in the file.
fn link(kind: &str, name: &str) -> Result<String> {
    let cannot = |remedy| Error::input(format!("the {kind} name \"{name}\" cannot be stored in a recording"), remedy);
    storable(name).map(|()| name.to_string()).map_err(cannot)
}

/// Rows of a chunk for something that happens about `per_second` times a second: a power of two, 8 to 512 KiB of 8-byte values.
fn chunk(per_second: usize) -> usize {
    per_second.next_power_of_two().clamp(1 << 10, 1 << 16)
}

impl Recorder {
    /// Creates the file and everything in it but the data.
    ///
    /// # Errors
    /// The file exists and `force` is not set; the folder is missing or not writable; a name that HDF5 cannot hold.
    pub fn create(path: impl AsRef<Path>, net: &Network, info: &RunInfo, force: bool) -> Result<Self> {
        let path = path.as_ref();
        let output = Output::file(path, force)?;
        let (store, destination) = match path.exists() {
            true => (Store::create(output.part())?, Some(output)),
            false => (Store::create(path)?, None),
        };
        let made = Self::lay_out(&store, net, info).and_then(|parts| Ok((parts, Self::signals(&store, net, true)?)));
        let ((spikes, reports, rates, weights), signals) = match made.and_then(|parts| store.flush().map(|()| parts)) {
            Ok(parts) => parts,
            Err(e) => {
                let _ = std::fs::remove_file(store.path());
                return Err(e);
            }
        };
        Ok(Recorder {
            store: Some(store),
            destination,
            kept: false,
            broken: None,
            ends: net.populations.iter().map(|p| p.first + p.n).collect(),
            firsts: net.populations.iter().map(|p| p.first).collect(),
            spikes,
            reports,
            rates,
            weights,
            signals,
            time: 0.0,
            end: info.warmup + info.duration,
            buffered: 0,
            flushed: Instant::now(),
            every: Duration::from_secs(2),
        })
    }

    #[allow(clippy::type_complexity)]
    fn lay_out(
        store: &Store,
        net: &Network,
        info: &RunInfo,
    ) -> Result<(Vec<Option<Spikes>>, Vec<Vec<Report>>, Vec<Rate>, Vec<Weights>)> {
        write_info(store, net, info)?;
        let mut spikes = Vec::new();
        store.group("/spikes")?;
        for population in &net.populations {
            let name = link("population", &population.name)?;
            spikes.push(match &population.record_spikes {
                None => None,
                Some(of) => {
                    let of = clipped(of, population);
                    let group = format!("/spikes/{name}");
                    let rows = chunk(8 * of.neurons.count() as usize);
                    let timestamps = store.table::<f64>(&format!("{group}/timestamps"), None, rows)?;
                    let node_ids = store.table::<u64>(&format!("{group}/node_ids"), None, rows)?;
                    store.set(&group, "sorting", Sorting::by_time)?;
                    store.set(&group, "n", population.n as u64)?;
                    store.set(&group, "recorded", of.neurons.count() as u64)?;
                    mark(store, &group, of.window)?;
                    if let Chosen::Listed(ids) = &of.neurons {
                        store.write(&format!("/sharpwave/spikes/{name}"), &ids.iter().map(|&i| i as u64).collect::<Vec<_>>())?;
                    }
                    store.set_text(&format!("{group}/timestamps"), "units", "ms")?;
                    Some(Spikes { of, times: Vec::new(), ids: Vec::new(), timestamps, node_ids })
                }
            });
        }
        for population in &net.populations {
            if let Cell::Source(SpikeSource::Presentation(shown)) = &population.cell {
                let end = info.warmup + info.duration;
                let shown: Vec<_> = shown.onsets_and_labels().into_iter().take_while(|s| s.onset < end).collect();
                let group = format!("/stimulus/{}", population.name);
                store.write(&format!("{group}/onset"), &shown.iter().map(|s| s.onset).collect::<Vec<_>>())?;
                store.set_text(&format!("{group}/onset"), "units", "ms")?;
                store.write(&format!("{group}/sample"), &shown.iter().map(|s| s.sample as u64).collect::<Vec<_>>())?;
                let label = |s: &Shown| s.label.map_or(-1, i64::from);
                store.write(&format!("{group}/label"), &shown.iter().map(label).collect::<Vec<_>>())?;
            }
        }
        let (mut reports, mut rates, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for probe in &net.probes {
            let mut of_probe = Vec::new();
            match probe {
                Probe::State { population, variables, neurons, interval, window } => {
                    for variable in variables {
                        let report = Self::lay_out_report(store, net, *population, variable, neurons, *interval)?;
                        mark(store, &report.group, *window)?;
                        of_probe.push(report);
                    }
                }
                Probe::Rate { population, bin, window } => {
                    let group = unique(store, &format!("/rates/{}", net.populations[*population].name));
                    let rate = store.table::<f64>(&format!("{group}/rate"), None, 1024)?;
                    store.set_text(&format!("{group}/rate"), "units", "Hz")?;
                    store.write(&format!("{group}/time"), &[0.0, 0.0, *bin])?;
                    store.set_text(&format!("{group}/time"), "units", "ms")?;
                    store.set_text(&group, "population", &net.populations[*population].name)?;
                    let marks = store.table::<f64>(&format!("{group}/marks"), Some(3), 64)?;
                    let n = net.populations[*population].n as f64;
                    let (start, end) = bins(*bin, *window);
                    mark(store, &group, *window)?;
                    rates.push(Rate {
                        group,
                        population: *population,
                        bin: *bin,
                        n,
                        start,
                        open: start,
                        end,
                        count: 0,
                        buffer: Vec::new(),
                        rate,
                        marks,
                    });
                }
                Probe::Weights { projection, .. } if weights.iter().any(|w: &Weights| w.projection == *projection) => {}
                Probe::Weights { projection, states, window, .. } => {
                    let of = &net.projections[*projection];
                    let group = unique(store, &format!("/weights/{}", link("projection", &of.name)?));
                    let column = |name: &str| store.table::<u64>(&format!("{group}/{name}"), None, 1 << 13);
                    let (source, target) = (column("source_node_id")?, column("target_node_id")?);
                    let weight = store.table::<f32>(&format!("{group}/weight"), Some(0), 1)?;
                    store.set_text(&format!("{group}/weight"), "units", &weight_unit(net, of))?;
                    let time = store.table::<f64>(&format!("{group}/time"), None, 128)?;
                    store.set_text(&format!("{group}/time"), "units", "ms")?;
                    store.set_text(&group, "projection", &of.name)?;
                    store.set_text(&group, "source_population", &net.populations[of.source].name)?;
                    store.set_text(&group, "target_population", &net.populations[of.target].name)?;
                    mark(store, &group, *window)?;
                    let state = |name: &String| {
                        let at = format!("{group}/states/{}", link("variable", name)?);
                        let table = store.table::<f32>(&at, Some(0), 1)?;
                        let known = of.synapse.model.recordables.iter().find(|r| r.name == *name);
                        store.set_text(&at, "units", known.map_or("", |r| &r.unit))?;
                        Ok(table)
                    };
                    let states = states.iter().map(state).collect::<Result<_>>()?;
                    weights.push(Weights { group, projection: *projection, time, weight, states, source, target });
                }
            }
            reports.push(of_probe);
        }
        Ok((spikes, reports, rates, weights))
    }

    fn lay_out_report(
        store: &Store,
        net: &Network,
        population: usize,
        variable: &str,
        ids: &[u32],
        interval: f64,
    ) -> Result<Report> {
        let of = &net.populations[population];
        let mut group = format!("/report/{}", of.name);
        if store.has(&group) {
            group = unique(store, &format!("{group}.{}", link("variable", variable)?));
        }
        let rows = ((1 << 15) / ids.len().max(1)).clamp(1, 1 << 12);
        let data = store.table::<f32>(&format!("{group}/data"), Some(ids.len()), rows)?;
        store.set_text(&format!("{group}/data"), "units", &unit(net, population, variable))?;
        store.set_text(&format!("{group}/data"), "variable", variable)?;
        store.set_text(&group, "population", &of.name)?;
        let mapping = format!("{group}/mapping");
        store.write(&format!("{mapping}/node_ids"), &ids.iter().map(|&i| i as u64).collect::<Vec<_>>())?;
        store.set(&format!("{mapping}/node_ids"), "sorted", ids.is_sorted() as u8)?;
        store.write(&format!("{mapping}/element_ids"), &vec![0u32; ids.len()])?;
        store.write(&format!("{mapping}/element_pos"), &vec![0f32; ids.len()])?;
        store.write(&format!("{mapping}/index_pointers"), &(0..=ids.len() as u64).collect::<Vec<_>>())?;
        // The specification says index_pointer, its readers index_pointers.
        store.alias(&format!("{mapping}/index_pointers"), &format!("{mapping}/index_pointer"))?;
        store.write(&format!("{mapping}/time"), &[0.0, 0.0, interval])?;
        store.set_text(&format!("{mapping}/time"), "units", "ms")?;
        Ok(Report { group, data, buffer: Vec::new(), start: None, interval })
    }

    /// Opens the recording of a run that is continued from `from_time` ms: what was recorded later is dropped, and new data are
    /// appended. There must have been a [`Recorder::flush`] at that time.
    ///
    /// # Errors
    /// The file is not a recording of this network, or ends before `from_time`.
    pub fn resume(path: impl AsRef<Path>, net: &Network, info: &RunInfo, from_time: f64) -> Result<Self> {
        let path = path.as_ref();
        let other = |what: String| {
            let remedy = "record the continued run to a new file with --out";
            file_error(path, format!("this is not the recording to continue: {what}"), remedy)
        };
        let store = Store::open(path)?;
        if store.get_text("/sharpwave", "format").ok().as_deref() != Some(FORMAT) {
            return Err(other("sharpwave did not write it".into()));
        }
        let until = store.get::<f64>("/sharpwave", "recorded_until")?;
        if until < from_time - EPS {
            return Err(other(format!("it ends at {until} ms, before the {from_time} ms of the checkpoint")));
        }
        if until > from_time + EPS && store.get::<bool>("/sharpwave", "complete").unwrap_or(false) {
            return Err(other(format!("it is complete up to {until} ms, the checkpoint is at {from_time} ms")));
        }
        let names = store.read_text("/sharpwave/populations/name")?;
        let sizes = store.read::<u64>("/sharpwave/populations/n")?;
        let same = names.lines().eq(net.populations.iter().map(|p| p.name.as_str()));
        if !same || !sizes.into_iter().eq(net.populations.iter().map(|p| p.n as u64)) {
            return Err(other("its populations differ".into()));
        }
        let mut recorder = Recorder {
            store: None,
            destination: None,
            kept: true,
            broken: None,
            ends: net.populations.iter().map(|p| p.first + p.n).collect(),
            firsts: net.populations.iter().map(|p| p.first).collect(),
            spikes: Vec::new(),
            reports: Vec::new(),
            rates: Vec::new(),
            weights: Vec::new(),
            signals: Vec::new(),
            time: from_time,
            end: info.warmup + info.duration,
            buffered: 0,
            flushed: Instant::now(),
            every: Duration::from_secs(2),
        };
        // All is opened and compared before anything is dropped from the file.
        drop(store);
        let store = Store::open_to_write(path)?;
        let differs = |e: Error| other(format!("its probes differ ({e})"));
        recorder.open_parts(&store, net).map_err(&differs)?;
        recorder.signals = Self::signals(&store, net, false).map_err(differs)?;
        recorder.drop_after(&store, from_time)?;
        store.set("/sharpwave", "complete", false)?;
        let count = store.members("/sharpwave").iter().filter(|m| m.starts_with("resumed")).count();
        let group = format!("/sharpwave/resumed_{}", count + 1);
        store.write_text(&format!("{group}/scenario"), &info.scenario_text)?;
        store.write_text(&format!("{group}/overrides"), &info.overrides.join("\n"))?;
        store.set(&group, "time", from_time)?;
        store.set(&group, "seed", info.stimulus_seed)?;
        store.set_text(&group, "engine", &info.engine)?;
        store.set_text(&group, "version", &info.version)?;
        store.set("/sharpwave", "recorded_until", from_time)?;
        recorder.store = Some(store);
        recorder.sync()?;
        Ok(recorder)
    }

    /// The signals that spikes drive, and what is known of all of them where they are `new` in the file.
    fn signals(store: &Store, net: &Network, new: bool) -> Result<Vec<Signal>> {
        let mut driven = Vec::new();
        for signal in &net.modulators {
            let group = format!("/signals/{}", link("signal", &signal.name)?);
            if new {
                store.group(&group)?;
                store.set(&group, "initial", signal.initial)?;
                store.set(&group, "tau", signal.tau)?;
                let (times, amounts): (Vec<f64>, Vec<f64>) = signal.jumps.iter().copied().unzip();
                store.write(&format!("{group}/given_time"), &times)?;
                store.write(&format!("{group}/given_amount"), &amounts)?;
            }
            let Some(spikes) = &signal.spikes else { continue };
            let [time, amount] = ["time", "amount"].map(|name| format!("{group}/{name}"));
            let table = |name: &str| if new { store.table::<f64>(name, None, 1 << 10) } else { store.open_table(name) };
            let (times, amounts) = (table(&time)?, table(&amount)?);
            if new {
                store.set_text(&time, "units", "ms")?;
            }
            let of = &net.populations[spikes.population];
            let ids = of.first..of.first + of.n;
            let (delay, amount) = (spikes.delay, spikes.amount);
            driven.push(Signal { ids, delay, amount, buffer: Vec::new(), time: times, amounts });
        }
        Ok(driven)
    }

    fn open_parts(&mut self, store: &Store, net: &Network) -> Result<()> {
        for population in &net.populations {
            let group = format!("/spikes/{}", population.name);
            self.spikes.push(match &population.record_spikes {
                None if store.has(&group) => return Err(store.foreign(format!("{group} is recorded there"))),
                None => None,
                Some(of) => {
                    let of = clipped(of, population);
                    if spike_record(store, &population.name)? != of {
                        return Err(store.foreign(format!("{group} has other neurons or another stretch of time")));
                    }
                    let timestamps = store.open_table(&format!("{group}/timestamps"))?;
                    let node_ids = store.open_table(&format!("{group}/node_ids"))?;
                    Some(Spikes { of, times: Vec::new(), ids: Vec::new(), timestamps, node_ids })
                }
            });
        }
        let mut taken: Vec<String> = Vec::new();
        for probe in &net.probes {
            let mut of_probe = Vec::new();
            match probe {
                Probe::State { population, variables, neurons, interval, window } => {
                    for variable in variables {
                        let first = format!("/report/{}", net.populations[*population].name);
                        let further = format!("{first}.{variable}");
                        let group = if taken.contains(&first) { next_name(&taken, &further) } else { first };
                        let data = store.open_table::<f32>(&format!("{group}/data"))?;
                        let is = store.get_text(&format!("{group}/data"), "variable")?;
                        let ids = store.read::<u64>(&format!("{group}/mapping/node_ids"))?;
                        marked(store, &group, *window)?;
                        if is != *variable || !ids.iter().copied().eq(neurons.iter().map(|&i| i as u64)) {
                            return Err(store.foreign(format!("{group} is about something else")));
                        }
                        let time = store.read::<f64>(&format!("{group}/mapping/time"))?;
                        let start = (data.rows() > 0).then(|| time[0]);
                        let known = if data.rows() > 1 { time[2] } else { *interval };
                        taken.push(group.clone());
                        of_probe.push(Report { group, data, buffer: Vec::new(), start, interval: known });
                    }
                }
                Probe::Rate { population, bin, window } => {
                    let group = next_name(&taken, &format!("/rates/{}", net.populations[*population].name));
                    let rate = store.open_table(&format!("{group}/rate"))?;
                    let time = store.read::<f64>(&format!("{group}/time"))?;
                    if time.len() != 3 || (time[2] - bin).abs() > EPS {
                        return Err(store.foreign(format!("{group} has another bin")));
                    }
                    marked(store, &group, *window)?;
                    let marks = store.open_table(&format!("{group}/marks"))?;
                    taken.push(group.clone());
                    let n = net.populations[*population].n as f64;
                    let start = (time[0] / bin).round() as u64;
                    let end = bins(*bin, *window).1;
                    let (population, bin) = (*population, *bin);
                    self.rates.push(Rate {
                        group,
                        population,
                        bin,
                        n,
                        start,
                        open: start,
                        end,
                        count: 0,
                        buffer: Vec::new(),
                        rate,
                        marks,
                    });
                }
                Probe::Weights { projection, .. } if self.weights.iter().any(|w| w.projection == *projection) => {}
                Probe::Weights { projection, states, window, .. } => {
                    let group = next_name(&taken, &format!("/weights/{}", net.projections[*projection].name));
                    let (source, target) = (
                        store.open_table(&format!("{group}/source_node_id"))?,
                        store.open_table(&format!("{group}/target_node_id"))?,
                    );
                    let weight = store.open_table(&format!("{group}/weight"))?;
                    let time = store.open_table(&format!("{group}/time"))?;
                    marked(store, &group, *window)?;
                    let own = format!("{group}/states");
                    if store.has(&own) && store.members(&own).len() != states.len() {
                        return Err(store.foreign(format!("{own} are others")));
                    }
                    let states = states.iter().map(|name| store.open_table(&format!("{own}/{name}"))).collect::<Result<_>>()?;
                    taken.push(group.clone());
                    self.weights.push(Weights { group, projection: *projection, time, weight, states, source, target });
                }
            }
            self.reports.push(of_probe);
        }
        Ok(())
    }

    /// Drops everything later than `time` from the opened parts.
    fn drop_after(&mut self, store: &Store, time: f64) -> Result<()> {
        // Every mark is found before anything is dropped.
        let mut marks = Vec::new();
        for rate in &self.rates {
            let mark = (0..rate.marks.rows()).rev().find_map(|row| {
                let mark = rate.marks.read(row..row + 1).ok()?;
                ((mark[0] - time).abs() <= EPS).then_some((row, mark[1] as u64, mark[2] as u64))
            });
            let missing = || store.foreign(format!("{} was not flushed at {time} ms", rate.group));
            marks.push(mark.ok_or_else(missing)?);
        }
        for (rate, (row, open, count)) in self.rates.iter_mut().zip(marks) {
            (rate.open, rate.count) = (open, count);
            rate.marks.truncate(row + 1)?;
            rate.rate.truncate(rate.open.saturating_sub(rate.start) as usize)?;
        }
        for spikes in self.spikes.iter_mut().flatten() {
            let rows = spikes.timestamps.rows().min(spikes.node_ids.rows());
            let keep = rows_until(&spikes.timestamps, rows, time)?;
            spikes.timestamps.truncate(keep)?;
            spikes.node_ids.truncate(keep)?;
        }
        for report in self.reports.iter_mut().flatten() {
            let Some(start) = report.start else { continue };
            let keep = ((time - start) / report.interval + 1e-6).floor() as i64 + 1;
            report.data.truncate(keep.max(0) as usize)?;
            report.start = (report.data.rows() > 0).then_some(start);
        }
        for signal in &mut self.signals {
            // Jumps to come are there since their spike.
            let rows = signal.time.rows().min(signal.amounts.rows());
            let keep = rows_until(&signal.time, rows, time + signal.delay)?;
            signal.time.truncate(keep)?;
            signal.amounts.truncate(keep)?;
        }
        for weights in &mut self.weights {
            let rows = weights.time.rows().min(weights.weight.rows());
            let keep = rows_until(&weights.time, rows, time)?;
            weights.time.truncate(keep)?;
            weights.weight.truncate(keep)?;
            weights.states.iter_mut().try_for_each(|state| state.truncate(keep))?;
        }
        Ok(())
    }

    /// For a run that does not begin at 0 but records to a new file (a branch): rates start with the first whole bin.
    pub fn start_at(&mut self, time: f64) -> Result<()> {
        self.time = time;
        for rate in &mut self.rates {
            rate.open = rate.open.max((time / rate.bin - EPS).ceil().max(0.0) as u64);
            rate.start = rate.open;
        }
        match &self.store {
            Some(store) => store.set("/sharpwave", "start", time),
            None => Ok(()),
        }
    }

    /// Sets how often the file is flushed (2 s otherwise).
    pub fn flush_every(&mut self, every: Duration) {
        self.every = every;
    }

    /// One sample of the weights of a projection at `time` ms: (source, target) global ids in canonical order, the same at every
    /// sample; and of each variable that its probe names, in order. Nothing happens without a probe, or when this time was recorded.
    pub fn weights(&mut self, projection: usize, time: f64, edges: &[(u32, u32, f32)], states: &[Vec<f32>]) -> Result<()> {
        self.guarded(|recorder| recorder.weights_now(projection, time, edges, states))
    }

    fn weights_now(&mut self, projection: usize, time: f64, edges: &[(u32, u32, f32)], states: &[Vec<f32>]) -> Result<()> {
        let Some(weights) = self.weights.iter_mut().find(|w| w.projection == projection) else { return Ok(()) };
        self.time = self.time.max(time);
        let rows = weights.time.rows();
        if rows == 0 {
            weights.weight.set_width(edges.len())?;
            weights.states.iter_mut().try_for_each(|state| state.set_width(edges.len()))?;
            weights.source.truncate(0)?;
            weights.target.truncate(0)?;
            for part in edges.chunks(1 << 16) {
                let local = |id: u32| {
                    let p = self.ends.partition_point(|&end| end <= id);
                    (id - self.firsts.get(p).copied().unwrap_or(0)) as u64
                };
                weights.source.append(&part.iter().map(|e| local(e.0)).collect::<Vec<_>>())?;
                weights.target.append(&part.iter().map(|e| local(e.1)).collect::<Vec<_>>())?;
            }
        } else if weights.time.read(rows - 1..rows)?.last().is_some_and(|&t| t >= time - EPS) {
            return Ok(());
        } else if weights.weight.width() != edges.len() {
            return Err(Error::Run {
                message: format!("{} had {} synapses and now has {}", weights.group, weights.weight.width(), edges.len()),
                remedy: "record the continued run to a new file with --out".into(),
            });
        }
        weights.weight.append(&edges.iter().map(|e| e.2).collect::<Vec<_>>())?;
        weights.states.iter_mut().zip(states).try_for_each(|(table, values)| table.append(values))?;
        weights.time.append(&[time])
    }

    /// Says that everything up to `time` ms was delivered: closes rate bins and flushes when it is time to.
    pub fn progress(&mut self, time: f64) -> Result<()> {
        self.time = self.time.max(time);
        for rate in &mut self.rates {
            let closed = (time / rate.bin + EPS).floor() as u64;
            self.buffered += 8 * rate.close(closed);
        }
        self.tick()
    }

    fn tick(&mut self) -> Result<()> {
        if self.flushed.elapsed() >= self.every {
            self.sync()
        } else if self.buffered > BUFFER {
            self.write_out()
        } else {
            Ok(())
        }
    }

    /// Every table of numbers that grows.
    fn each_table(&mut self, mut f: impl FnMut(&mut dyn Grows)) {
        for spikes in self.spikes.iter_mut().flatten() {
            f(&mut spikes.timestamps);
            f(&mut spikes.node_ids);
        }
        for report in self.reports.iter_mut().flatten() {
            f(&mut report.data);
        }
        for rate in &mut self.rates {
            f(&mut rate.rate);
            f(&mut rate.marks);
        }
        for signal in &mut self.signals {
            f(&mut signal.time);
            f(&mut signal.amounts);
        }
        for weights in &mut self.weights {
            f(&mut weights.time);
            f(&mut weights.weight);
            weights.states.iter_mut().for_each(|state| f(state));
            f(&mut weights.source);
            f(&mut weights.target);
        }
    }

    /// Runs something that writes. When it fails, what came after the last flush is taken back, so that the file stays readable,
    /// and every later call fails too.
    fn guarded<T>(&mut self, write: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if let Some((message, remedy)) = &self.broken {
            let path = self.store.as_ref().map_or(Path::new(""), Store::path);
            return Err(file_error(path, message.clone(), remedy.clone()));
        }
        let result = write(self);
        if let Err(Error::File { message, remedy, .. }) = &result {
            self.broken = Some((message.clone(), remedy.clone().unwrap_or_default()));
            self.each_table(|table| table.take_back());
            if let Some(store) = &self.store {
                let _ = store.flush();
            }
        }
        result
    }

    /// Moves what is buffered into the file.
    fn write_out(&mut self) -> Result<()> {
        self.guarded(Self::write_out_now)
    }

    fn write_out_now(&mut self) -> Result<()> {
        for spikes in self.spikes.iter_mut().flatten() {
            spikes.timestamps.append(&spikes.times)?;
            spikes.node_ids.append(&spikes.ids)?;
            spikes.times.clear();
            spikes.ids.clear();
        }
        for report in self.reports.iter_mut().flatten() {
            report.data.append(&report.buffer)?;
            report.buffer.clear();
        }
        for rate in &mut self.rates {
            rate.rate.append(&rate.buffer)?;
            rate.buffer.clear();
        }
        for signal in &mut self.signals {
            let (times, amounts): (Vec<f64>, Vec<f64>) = signal.buffer.drain(..).unzip();
            signal.time.append(&times)?;
            signal.amounts.append(&amounts)?;
        }
        self.buffered = 0;
        Ok(())
    }

    /// Makes everything received so far readable on disk, and marks the time as one from which the recording can be continued: to
    /// be called after [`Recorder::progress`] just before a checkpoint is written.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn flush(&mut self) -> Result<()> {
        self.guarded(|r| {
            let time = r.time;
            r.rates.iter_mut().try_for_each(|rate| rate.marks.append(&[time, rate.open as f64, rate.count as f64]))
        })?;
        self.sync()
    }

    fn sync(&mut self) -> Result<()> {
        self.guarded(Self::sync_now)
    }

    fn sync_now(&mut self) -> Result<()> {
        self.write_out_now()?;
        let Some(store) = &mut self.store else { return Ok(()) };
        for report in self.reports.iter().flatten() {
            let start = report.start.unwrap_or(0.0);
            let stop = start + report.data.rows() as f64 * report.interval;
            store.rewrite(&format!("{}/mapping/time", report.group), &[start, stop, report.interval])?;
        }
        for rate in &self.rates {
            let start = rate.start as f64 * rate.bin;
            let stop = (rate.start + rate.rate.rows() as u64) as f64 * rate.bin;
            store.rewrite(&format!("{}/time", rate.group), &[start, stop, rate.bin])?;
        }
        store.set("/sharpwave", "recorded_until", self.time)?;
        store.flush()?;
        if let Some(destination) = self.destination.take() {
            let path = destination.path().to_path_buf();
            destination.keep()?;
            store.renamed(&path);
        }
        self.each_table(|table| table.keep());
        self.kept = true;
        self.flushed = Instant::now();
        Ok(())
    }

    /// Ends the recording with what the run counted and its wall time in s; `complete` unless it was stopped before its end.
    pub fn finish(mut self, complete: bool, counters: &Counters, wall: f64) -> Result<()> {
        if complete {
            self.progress(self.end)?;
        }
        self.write_out()?;
        if let Some(store) = &self.store {
            let at = "/sharpwave";
            store.set(at, "wall_time", wall)?;
            store.set(at, "spikes", counters.spikes)?;
            store.set(at, "synaptic_events", counters.synaptic_events)?;
            store.set(at, "neuron_updates", counters.neuron_updates)?;
            store.set(at, "synapses", counters.synapses)?;
            store.set(at, "synapse_bytes", counters.synapse_bytes)?;
            store.set(at, "complete", complete)?;
        }
        self.sync()?;
        // Tables hold the file open.
        self.spikes.clear();
        self.reports.clear();
        self.rates.clear();
        self.weights.clear();
        self.signals.clear();
        self.store.take().map_or(Ok(()), Store::close)
    }
}

/// A table, whatever its numbers.
trait Grows {
    fn keep(&mut self);
    fn take_back(&mut self);
}

impl<T: Element> Grows for Table<T> {
    fn keep(&mut self) {
        Table::keep(self);
    }
    fn take_back(&mut self) {
        Table::take_back(self);
    }
}

impl Drop for Recorder {
    /// A recording that was cut off keeps what it had; one that never got anything goes away.
    fn drop(&mut self) {
        let path = match &self.store {
            Some(store) if !self.kept => store.path().to_path_buf(),
            Some(_) => {
                let _ = self.sync();
                return;
            }
            None => return,
        };
        self.store = None;
        let _ = std::fs::remove_file(path);
    }
}

impl Sink for Recorder {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        let mut p = 0;
        let (mut first, mut end) = (0, 0);
        for spike in spikes {
            if spike.id < first || spike.id >= end {
                p = self.ends.partition_point(|&end| end <= spike.id);
                let Some(&stop) = self.ends.get(p) else {
                    return Err(Error::Run {
                        message: format!("a spike of neuron {}, which does not exist", spike.id),
                        remedy: "this is an error in the engine: please report it".into(),
                    });
                };
                (first, end) = (self.firsts[p], stop);
            }
            for rate in self.rates.iter_mut().filter(|r| r.population == p) {
                let bin = (spike.time / rate.bin - EPS).ceil().max(1.0) as u64 - 1;
                self.buffered += 8 * rate.close(bin);
                rate.count += (rate.open..rate.end).contains(&bin) as u64;
            }
            for signal in self.signals.iter_mut().filter(|s| s.ids.contains(&spike.id)) {
                let time = spike.time + signal.delay;
                match signal.buffer.last_mut().filter(|last| last.0 == time) {
                    Some(last) => last.1 += signal.amount,
                    None => {
                        signal.buffer.push((time, signal.amount));
                        self.buffered += 16;
                    }
                }
            }
            if let Some(record) = &mut self.spikes[p] {
                let local = spike.id - first;
                if record.of.holds(local, spike.time) {
                    record.times.push(spike.time);
                    record.ids.push(local as u64);
                    self.buffered += 16;
                }
            }
        }
        self.tick()
    }

    fn sample(&mut self, probe: usize, time: f64, values: &[f32]) -> Result<()> {
        let reports = self.reports.get_mut(probe).map_or(&mut [][..], |r| &mut r[..]);
        if reports.iter().map(|r| r.data.width()).sum::<usize>() != values.len() {
            return Err(Error::Run {
                message: format!("probe {probe} delivered {} values, which is not what it records", values.len()),
                remedy: "this is an error in the engine: please report it".into(),
            });
        }
        let mut rest = values;
        for report in reports {
            let (mine, others) = rest.split_at(report.data.width());
            let rows = report.data.rows() + report.buffer.len() / report.data.width().max(1);
            match report.start {
                None => report.start = Some(time),
                Some(start) if rows == 1 => report.interval = time - start,
                _ => {}
            }
            report.buffer.extend_from_slice(mine);
            self.buffered += 4 * mine.len();
            rest = others;
        }
        self.tick()
    }
}

impl Rate {
    /// Closes all bins before `bin`; gives how many.
    fn close(&mut self, bin: u64) -> usize {
        let before = self.buffer.len();
        while self.open < bin.min(self.end) {
            self.buffer.push(self.count as f64 * 1000.0 / (self.n * self.bin).max(f64::MIN_POSITIVE));
            self.count = 0;
            self.open += 1;
        }
        self.buffer.len() - before
    }
}

/// Whose spikes of a population our own file holds, and when.
pub(super) fn spike_record(store: &Store, population: &str) -> Result<SpikeRecord> {
    let (group, list) = (format!("/spikes/{population}"), format!("/sharpwave/spikes/{population}"));
    let neurons = match store.has(&list) {
        true => Chosen::Listed(store.read::<u64>(&list)?.into_iter().map(|id| id as u32).collect()),
        false => Chosen::First(store.get::<u64>(&group, "recorded")? as u32),
    };
    Ok(SpikeRecord { neurons, window: window_of(store, &group) })
}

/// When what is in a group of our own file was recorded.
fn window_of(store: &Store, group: &str) -> Window {
    match (store.get(group, "start"), store.get(group, "stop")) {
        (Ok(start), Ok(stop)) => Window::new(start, stop),
        _ => Window::ALWAYS,
    }
}

/// Writes when something is recorded, where that is not all of the run.
fn mark(store: &Store, group: &str, window: Window) -> Result<()> {
    if window == Window::ALWAYS {
        return Ok(());
    }
    store.set(group, "start", window.start.max(0.0))?;
    store.set(group, "stop", window.stop)
}

/// Refuses to continue what was recorded at other times.
fn marked(store: &Store, group: &str, window: Window) -> Result<()> {
    match window_of(store, group) == window {
        true => Ok(()),
        false => Err(store.foreign(format!("{group} is recorded over another stretch of time"))),
    }
}

/// The first bin of so many ms that lies in a window, and the one after the last.
fn bins(bin: f64, window: Window) -> (u64, u64) {
    ((window.start / bin - EPS).ceil().max(0.0) as u64, (window.stop / bin + EPS).floor() as u64)
}

/// Of no more neurons than there are.
fn clipped(of: &SpikeRecord, population: &Population) -> SpikeRecord {
    let neurons = match &of.neurons {
        Chosen::First(n) => Chosen::First((*n).min(population.n)),
        listed => listed.clone(),
    };
    SpikeRecord { neurons, window: of.window }
}

/// `name`, or the first of `name_2`, `name_3`, … that is not in the file.
fn unique(store: &Store, name: &str) -> String {
    let free = |candidate: &String| !store.has(candidate);
    std::iter::once(name.to_string()).chain((2..).map(|k| format!("{name}_{k}"))).find(free).unwrap_or_default()
}

/// The name that [`unique`] gave after `taken`.
fn next_name(taken: &[String], name: &str) -> String {
    let free = |candidate: &String| !taken.contains(candidate);
    std::iter::once(name.to_string()).chain((2..).map(|k| format!("{name}_{k}"))).find(free).unwrap_or_default()
}

/// Of the first `rows` rows of a column of times in order, how many are not after `time`.
fn rows_until(times: &Table<f64>, rows: usize, time: f64) -> Result<usize> {
    let (mut low, mut high) = (0, rows);
    while low < high {
        let middle = low + (high - low) / 2;
        match times.read(middle..middle + 1)?.first() {
            Some(&t) if t <= time + EPS => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Unit of a variable of a population's model.
fn unit(net: &Network, population: usize, variable: &str) -> String {
    match &net.populations[population].cell {
        Cell::Neuron(neuron) => {
            let recordable = neuron.model.recordable(variable).map(|r| r.unit.clone());
            recordable.or_else(|| neuron.model.state(variable).map(|s| neuron.model.states[s].unit.clone())).unwrap_or_default()
        }
        Cell::Source(_) => String::new(),
    }
}

/// Unit of the weights of a projection: that of its port, or of all ports when they agree.
fn weight_unit(net: &Network, projection: &Projection) -> String {
    let Cell::Neuron(neuron) = &net.populations[projection.target].cell else { return String::new() };
    let ports = &neuron.model.ports;
    let unit = projection.port.or(Some(0)).and_then(|p| ports.get(p)).map(|p| p.unit.clone()).unwrap_or_default();
    let agreed = projection.port.is_some() || ports.iter().all(|p| p.unit == unit);
    if agreed { unit } else { String::new() }
}

fn write_info(store: &Store, net: &Network, info: &RunInfo) -> Result<()> {
    let at = "/sharpwave";
    store.group(at)?;
    store.set_text(at, "format", FORMAT)?;
    store.set(at, "format_version", FORMAT_VERSION)?;
    store.set_text(at, "version", &info.version)?;
    store.set_text(at, "title", &info.title)?;
    store.set_text(at, "scenario_path", &info.scenario_path)?;
    store.set_text(at, "engine", &info.engine)?;
    store.set(at, "threads", info.threads as u64)?;
    store.set(at, "seed", info.seed)?;
    store.set(at, "stimulus_seed", info.stimulus_seed)?;
    store.set(at, "dt", net.dt)?;
    store.set(at, "duration", info.duration)?;
    store.set(at, "warmup", info.warmup)?;
    store.set(at, "start", 0.0)?;
    store.set(at, "recorded_until", 0.0)?;
    store.set(at, "complete", false)?;
    store.write_text("/sharpwave/scenario", &info.scenario_text)?;
    store.write_text("/sharpwave/overrides", &info.overrides.join("\n"))?;
    store.set_text(at, "variant", info.variant.as_deref().unwrap_or_default())?;
    store.set_text(at, "command", &info.command)?;
    store.write_text("/sharpwave/resolved", &info.resolved)?;
    store.write_text("/sharpwave/parameters", &parameters(net))?;
    for (k, (file, text)) in info.models.iter().enumerate() {
        let object = format!("/sharpwave/models/{k}");
        store.write_text(&object, text)?;
        store.set_text(&object, "file", file)?;
    }
    for population in &net.populations {
        if let Some(positions) = &population.positions {
            let object = format!("/positions/{}", link("population", &population.name)?);
            store.write_shaped(&object, &[positions.len(), 2], positions.as_flattened())?;
            store.set_text(&object, "units", "mm")?;
        }
    }
    let list = "/sharpwave/populations";
    store.write_text(&format!("{list}/name"), &net.populations.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join("\n"))?;
    store.write(&format!("{list}/n"), &net.populations.iter().map(|p| p.n as u64).collect::<Vec<_>>())?;
    store.write(&format!("{list}/first"), &net.populations.iter().map(|p| p.first as u64).collect::<Vec<_>>())?;
    let sources = net.populations.iter().map(|p| matches!(p.cell, Cell::Source(_)) as u8).collect::<Vec<_>>();
    store.write(&format!("{list}/source"), &sources)
}

/// What every population and projection is made of, a parameter a line, those that the scenario leaves out too.
fn parameters(net: &Network) -> String {
    let each = |values: &Values| match values {
        Values::Uniform(x) => x.to_string(),
        Values::Each(all) => {
            let (low, high) = all.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
            format!("{} values from {low} to {high}", all.len())
        }
    };
    let mut text = String::new();
    for population in &net.populations {
        let Cell::Neuron(neuron) = &population.cell else { continue };
        text += &format!("[{}] {}\n", population.name, neuron.model.name);
        for (param, values) in neuron.model.params.iter().zip(&neuron.params) {
            text += &format!("{} = {} {}\n", param.name, each(values), param.unit);
        }
    }
    for projection in &net.projections {
        let model = &projection.synapse.model;
        text += &format!("[{}] {}\n", projection.name, model.name);
        for (param, value) in model.params.iter().zip(&projection.synapse.params) {
            text += &format!("{} = {value} {}\n", param.name, param.unit);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::idx::Images;
    use crate::record::read::Recording;
    use crate::record::tests::{info, network};
    use crate::stimulus::encode::{Coding, Order, Presentation};
    use std::sync::Arc;

    fn spike(time: f64, id: u32) -> Spike {
        Spike { time, id }
    }

    fn probes() -> Vec<Probe> {
        vec![
            Probe::State {
                population: 0,
                variables: vec!["V_m".into(), "g_ex".into()],
                neurons: vec![0, 2],
                interval: 0.5,
                window: Window::ALWAYS,
            },
            Probe::Rate { population: 0, bin: 10.0, window: Window::ALWAYS },
            Probe::State {
                population: 1,
                variables: vec!["V_m".into()],
                neurons: vec![1],
                interval: 1.0,
                window: Window::ALWAYS,
            },
        ]
    }

    /// Feeds a run that is a pure function of the step: every neuron k fires at multiples of (k + 3) steps of 0.1 ms.
    fn feed(recorder: &mut Recorder, net: &Network, steps: std::ops::Range<u64>) {
        for step in steps.start + 1..=steps.end {
            let time = step as f64 * net.dt;
            let fired: Vec<Spike> = (0..net.neurons()).filter(|k| step % (*k as u64 + 3) == 0).map(|k| spike(time, k)).collect();
            recorder.spikes(&fired).unwrap();
            if step % 5 == 0 && net.probes.len() == 3 {
                recorder.sample(0, time, &[time as f32, -1.0, 2.0 * time as f32, -2.0]).unwrap();
            }
            if step % 10 == 0 && net.probes.len() == 3 {
                recorder.sample(2, time, &[step as f32]).unwrap();
            }
        }
        recorder.progress(steps.end as f64 * net.dt).unwrap();
    }

    fn same(a: &Recording, b: &Recording) {
        assert_eq!(a.populations, b.populations);
        for population in &a.populations {
            assert_eq!(a.spikes(&population.name).unwrap(), b.spikes(&population.name).unwrap());
        }
        assert_eq!(a.rates().unwrap(), b.rates().unwrap());
        let (ours, theirs) = (a.reports().unwrap(), b.reports().unwrap());
        assert_eq!(ours, theirs);
        for report in &ours {
            assert_eq!(a.report_rows(report, 0..report.rows).unwrap(), b.report_rows(report, 0..report.rows).unwrap());
        }
        assert_eq!(a.weights().unwrap(), b.weights().unwrap());
    }

    #[test]
    fn what_was_recorded_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.h5");
        let mut net = network(&[("E", 5), ("I", 3)]);
        net.populations[1].record_spikes = Some(SpikeRecord::first(2));
        net.probes = probes();
        let mut recorder = Recorder::create(&path, &net, &info(), false).unwrap();
        feed(&mut recorder, &net, 0..1003);
        let counters = Counters { spikes: 9, synapses: 4, ..Default::default() };
        recorder.finish(true, &counters, 1.5).unwrap();

        let read = Recording::open(&path).unwrap();
        assert_eq!(read.info, info());
        assert!(read.ending.complete && read.own);
        assert_eq!(read.ending.wall, Some(1.5));
        assert_eq!(read.ending.counters.as_ref().unwrap().synapses, 4);
        assert_eq!(read.ending.until, info().warmup + info().duration);
        let e = read.spikes("E").unwrap();
        let expected: Vec<(f64, u64)> =
            (1..=1003u64).flat_map(|s| (0..5u64).filter(move |k| s % (k + 3) == 0).map(move |k| (s as f64 * 0.1, k))).collect();
        assert_eq!(e.times.iter().copied().zip(e.ids.iter().copied()).collect::<Vec<_>>(), expected);
        // Only the first two of three are recorded, as local ids.
        let i = read.spikes("I").unwrap();
        assert_eq!(i.ids.iter().max(), Some(&1));
        assert_eq!(i.times.len() as u64, 1003 / 8 + 1003 / 9);
        // Rates: bin k holds the steps (100 k, 100 (k + 1)].
        let rates = read.rates().unwrap();
        let count = |k: u64| (3..8u64).map(|d| 100 * (k + 1) / d - 100 * k / d).sum::<u64>() as f64;
        for (k, &rate) in rates[0].rate.iter().take(10).enumerate() {
            assert!((rate - count(k as u64) * 1000.0 / (5.0 * 10.0)).abs() < 1e-9, "bin {k}");
        }
        assert_eq!((rates[0].start, rates[0].bin, rates[0].rate.len()), (0.0, 10.0, 11));
        // Reports: the second variable has a group of its own.
        let reports = read.reports().unwrap();
        assert_eq!(reports.len(), 3);
        let g = reports.iter().find(|r| r.variable == "g_ex").unwrap();
        assert_eq!((g.population.as_str(), &g.ids[..], g.start, g.interval, g.rows), ("E", &[0, 2][..], 0.5, 0.5, 200));
        assert_eq!(read.report_rows(g, 199..200).unwrap(), [200.0, -2.0]);
        assert_eq!(read.stimulus("E").unwrap(), None);
    }

    #[test]
    fn presentations_are_recorded_with_their_labels() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.h5");
        let mut net = network(&[("images", 4)]);
        let images = Images { count: 3, rows: 2, columns: 2, pixels: vec![9; 12], labels: Some(vec![7, 0, 5]) };
        let rate = Coding::Rate { max_rate: 60.0 };
        let shown = Presentation::new(Arc::new(images), rate, 35.0, 15.0, Order::Sequential, Some(5)).unwrap();
        net.populations[0].cell = Cell::Source(SpikeSource::Presentation(Arc::new(shown)));
        // The run ends at 110 ms: the third sample is the last.
        Recorder::create(&path, &net, &info(), false).unwrap().finish(true, &Counters::default(), 0.0).unwrap();
        assert_eq!(Recording::open(&path).unwrap().stimulus("images").unwrap(), Some((vec![0.0, 50.0, 100.0], vec![7, 0, 5])));
    }

    #[test]
    fn weights_at_several_times() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.h5");
        let mut net = network(&[("E", 5), ("I", 3)]);
        net.projections = vec![crate::record::tests::projection("E_I", 0, 1)];
        net.probes = vec![Probe::Weights { projection: 0, states: vec![], interval: Some(10.0), window: Window::ALWAYS }];
        let mut recorder = Recorder::create(&path, &net, &info(), false).unwrap();
        let edges = |w: f32| vec![(0, 5, w), (0, 7, w + 1.0), (4, 6, w + 2.0)];
        recorder.weights(0, 0.0, &edges(0.5), &[]).unwrap();
        recorder.weights(0, 10.0, &edges(1.5), &[]).unwrap();
        recorder.weights(0, 10.0, &edges(9.0), &[]).unwrap();
        assert!(recorder.weights(0, 20.0, &edges(0.0)[..2], &[]).is_err());
        recorder.finish(true, &Counters::default(), 0.0).unwrap();
        let read = Recording::open(&path).unwrap();
        let series = &read.weights().unwrap()[0];
        assert_eq!((series.projection.as_str(), &series.times[..], series.edges), ("E_I", &[0.0, 10.0][..], 3));
        assert_eq!(read.edges(series).unwrap(), (vec![0, 0, 4], vec![0, 2, 1]));
        assert_eq!(read.weight_row(series, 1).unwrap(), [1.5, 2.5, 3.5]);
    }

    /// Many weights are stored together: hardly more bytes than 4 a weight and 16 a synapse.
    #[test]
    fn many_weights_take_little_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.h5");
        let mut net = network(&[("E", 200), ("I", 100)]);
        net.projections = vec![crate::record::tests::projection("E_I", 0, 1)];
        net.probes = vec![Probe::Weights { projection: 0, states: vec![], interval: Some(10.0), window: Window::ALWAYS }];
        let edges: Vec<(u32, u32, f32)> = (0..20_000).map(|k| (k / 100, 200 + k % 100, k as f32)).collect();
        let mut recorder = Recorder::create(&path, &net, &info(), false).unwrap();
        recorder.weights(0, 0.0, &edges, &[]).unwrap();
        recorder.weights(0, 10.0, &edges, &[]).unwrap();
        recorder.finish(true, &Counters::default(), 0.0).unwrap();
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert!(bytes < 2 * (2 * 4 + 16) * 20_000, "{bytes}");
        let read = Recording::open(&path).unwrap();
        let row = read.weight_row(&read.weights().unwrap()[0], 1).unwrap();
        assert!(row.len() == 20_000 && row[19_999] == 19_999.0);
    }

    #[test]
    fn a_continued_recording_equals_an_uninterrupted_one() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, cut) = (dir.path().join("whole.h5"), dir.path().join("cut.h5"));
        let mut net = network(&[("E", 5), ("I", 3)]);
        net.probes = probes();
        let mut recorder = Recorder::create(&whole, &net, &info(), false).unwrap();
        feed(&mut recorder, &net, 0..3000);
        recorder.finish(true, &Counters::default(), 1.0).unwrap();

        let mut recorder = Recorder::create(&cut, &net, &info(), false).unwrap();
        feed(&mut recorder, &net, 0..1234);
        recorder.flush().unwrap();
        feed(&mut recorder, &net, 1234..2000);
        recorder.flush().unwrap();
        feed(&mut recorder, &net, 2000..2100);
        drop(recorder);
        assert!(!Recording::open(&cut).unwrap().ending.complete);
        let mut recorder = Recorder::resume(&cut, &net, &info(), 123.4).unwrap();
        feed(&mut recorder, &net, 1234..3000);
        recorder.finish(true, &Counters::default(), 1.0).unwrap();
        let (a, b) = (Recording::open(&whole).unwrap(), Recording::open(&cut).unwrap());
        same(&a, &b);
        assert_eq!(b.ending.resumed, [123.4]);
        assert!(b.ending.complete);
    }

    #[test]
    fn another_recording_is_not_continued_and_not_harmed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.h5");
        let mut net = network(&[("E", 5), ("I", 3)]);
        net.probes = probes();
        let mut recorder = Recorder::create(&path, &net, &info(), false).unwrap();
        feed(&mut recorder, &net, 0..1000);
        recorder.flush().unwrap();
        recorder.finish(false, &Counters::default(), 1.0).unwrap();
        let before = std::fs::read(&path).unwrap();
        let refused = |net: &Network, time: f64| {
            let error = Recorder::resume(&path, net, &info(), time).err().unwrap();
            assert!(error.remedy().unwrap().contains("--out"), "{error}");
        };
        refused(&net, 150.0);
        refused(&network(&[("E", 5), ("I", 4)]), 100.0);
        refused(&network(&[("E", 5), ("J", 3)]), 100.0);
        let mut other = net.clone();
        other.probes.swap(0, 2);
        if let Probe::State { neurons, .. } = &mut other.probes[0] {
            *neurons = vec![0];
        }
        refused(&other, 100.0);
        let mut other = net.clone();
        other.populations[0].record_spikes = None;
        refused(&other, 100.0);
        same(&Recording::open(&path).unwrap(), &{
            let copy = dir.path().join("copy.h5");
            std::fs::write(&copy, before).unwrap();
            Recording::open(&copy).unwrap()
        });
    }

    #[test]
    fn a_branch_to_a_new_file_starts_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.h5");
        let mut net = network(&[("E", 5)]);
        net.probes = vec![Probe::Rate { population: 0, bin: 10.0, window: Window::ALWAYS }];
        let mut recorder = Recorder::create(&path, &net, &info(), false).unwrap();
        recorder.start_at(15.0).unwrap();
        feed(&mut recorder, &net, 150..500);
        recorder.finish(false, &Counters::default(), 1.0).unwrap();
        let rates = Recording::open(&path).unwrap().rates().unwrap();
        assert_eq!((rates[0].start, rates[0].rate.len()), (20.0, 3));
        let count = (3..8u64).map(|d| 300 / d - 200 / d).sum::<u64>() as f64;
        assert_eq!(rates[0].rate[0], count * 1000.0 / 50.0);
    }

    #[test]
    fn an_existing_output_survives_until_its_successor_is_valid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.h5");
        std::fs::write(&path, "precious").unwrap();
        let net = network(&[("E", 5)]);
        let error = Recorder::create(&path, &net, &info(), false).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.remedy().unwrap().contains("--force"));
        // Given up before the first flush: nothing is lost, nothing left over.
        let recorder = Recorder::create(&path, &net, &info(), true).unwrap();
        drop(recorder);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let mut recorder = Recorder::create(&path, &net, &info(), true).unwrap();
        recorder.spikes(&[spike(1.0, 3)]).unwrap();
        recorder.flush().unwrap();
        assert_ne!(std::fs::read(&path).unwrap(), b"precious");
        recorder.finish(true, &Counters::default(), 1.0).unwrap();
        assert_eq!(Recording::open(&path).unwrap().spikes("E").unwrap().times, [1.0]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        // A fresh file that never got anything goes away.
        let fresh = dir.path().join("fresh.h5");
        drop(Recorder::create(&fresh, &net, &info(), false).unwrap());
        assert!(!fresh.exists());
        assert!(Recorder::create(dir.path(), &net, &info(), true).is_err());
        assert!(Recorder::create(path.join("below.h5"), &net, &info(), false).is_err());
        let bad = network(&[("E/I", 5)]);
        assert!(Recorder::create(dir.path().join("bad.h5"), &bad, &info(), false).is_err());
        assert!(!dir.path().join("bad.h5").exists());
    }

    #[test]
    fn a_recording_is_read_while_it_is_written_and_has_one_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.h5");
        let net = network(&[("E", 5)]);
        let mut recorder = Recorder::create(&path, &net, &info(), false).unwrap();
        recorder.spikes(&[spike(1.0, 3)]).unwrap();
        recorder.progress(2.0).unwrap();
        recorder.flush().unwrap();
        // A second handle within one process shares the library's state, so the copy stands for another process.
        let copy = dir.path().join("copy.h5");
        std::fs::copy(&path, &copy).unwrap();
        assert_eq!(Recording::open(&copy).unwrap().spikes("E").unwrap().ids, [3]);
        let second = Recorder::resume(&path, &net, &info(), 2.0);
        assert!(!cfg!(unix) || second.err().unwrap().to_string().contains("another program"));
    }

    #[test]
    fn memory_stays_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let net = network(&[("E", 1000)]);
        let mut recorder = Recorder::create(dir.path().join("run.h5"), &net, &info(), false).unwrap();
        recorder.flush_every(Duration::from_secs(3600));
        for step in 1..=1000 {
            let all: Vec<Spike> = (0..1000).map(|k| spike(step as f64 * 0.1, k)).collect();
            recorder.spikes(&all).unwrap();
            assert!(recorder.buffered <= BUFFER + 16_000);
        }
        recorder.finish(true, &Counters::default(), 1.0).unwrap();
        assert_eq!(Recording::open(dir.path().join("run.h5")).unwrap().spike_count("E").unwrap(), 1_000_000);
    }

    #[test]
    fn cut_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.h5");
        let mut net = network(&[("E", 5), ("I", 3)]);
        net.probes = probes();
        let mut recorder = Recorder::create(&path, &net, &info(), false).unwrap();
        feed(&mut recorder, &net, 0..1000);
        recorder.finish(true, &Counters::default(), 1.0).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for keep in (0..20).map(|k| whole.len() * k / 20) {
            std::fs::write(&path, &whole[..keep]).unwrap();
            let error = Recording::open(&path).err().unwrap();
            assert!(error.remedy().is_some(), "{keep}: {error}");
        }
    }

    const CHILD: &str = "SHARPWAVE_TEST_RECORD_UNTIL_KILLED";

    /// Not a test of its own: the process that the next test kills. It flushes at 505 ms and goes on without.
    #[test]
    fn records_until_killed() {
        let Ok(path) = std::env::var(CHILD) else { return };
        let mut net = network(&[("E", 5), ("I", 3)]);
        net.probes = probes();
        let mut recorder = Recorder::create(&path, &net, &info(), false).unwrap();
        recorder.flush_every(Duration::from_secs(1 << 20));
        for step in (0..).step_by(50) {
            feed(&mut recorder, &net, step..step + 50);
            if step == 5000 {
                recorder.flush().unwrap();
                std::fs::write(format!("{path}.flushed"), "").unwrap();
            }
        }
    }

    /// The file of a process that was killed holds exactly what was there at the last flush, although more had been written.
    #[test]
    fn a_killed_run_leaves_a_readable_file() {
        let dir = tempfile::tempdir().unwrap();
        for trial in 0..3 {
            let path = dir.path().join(format!("{trial}.h5"));
            let mut child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "record::sonata::tests::records_until_killed"])
                .env(CHILD, &path)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let flushed = dir.path().join(format!("{trial}.h5.flushed"));
            let size = || std::fs::metadata(&path).map_or(0, |m| m.len());
            let mut wait = |done: &dyn Fn() -> bool| {
                while !done() {
                    assert!(child.try_wait().unwrap().is_none(), "the recording process ended by itself");
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            wait(&|| flushed.exists());
            let more = size() + (1 << 20) * (trial + 1);
            wait(&|| size() > more);
            child.kill().unwrap();
            child.wait().unwrap();

            let read = Recording::open(&path).unwrap();
            assert!(!read.ending.complete && read.ending.counters.is_none());
            assert_eq!(read.ending.until, 505.0);
            let e = read.spikes("E").unwrap();
            let expected: Vec<(f64, u64)> = (1..=5050u64)
                .flat_map(|s| (0..5u64).filter(move |k| s % (k + 3) == 0).map(move |k| (s as f64 * 0.1, k)))
                .collect();
            assert_eq!(e.times.into_iter().zip(e.ids).collect::<Vec<_>>(), expected);
            let reports = read.reports().unwrap();
            assert_eq!(reports.iter().map(|r| r.rows).collect::<Vec<_>>(), [1010, 1010, 505]);
            let rows = read.report_rows(&reports[0], 0..1010).unwrap();
            assert!(rows.chunks(2).enumerate().all(|(k, r)| r[0] == ((k + 1) as f64 * 0.5) as f32));
            assert_eq!(read.rates().unwrap()[0].rate.len(), 50);
            // And it can be continued from there.
            drop(read);
            let mut net = network(&[("E", 5), ("I", 3)]);
            net.probes = probes();
            let mut recorder = Recorder::resume(&path, &net, &info(), 505.0).unwrap();
            feed(&mut recorder, &net, 5050..6000);
            recorder.finish(true, &Counters::default(), 1.0).unwrap();
            assert_eq!(Recording::open(&path).unwrap().spike_count("E").unwrap() as u64, (3..8).map(|d| 6000 / d).sum::<u64>());
        }
    }

    const LIMITED: &str = "SHARPWAVE_TEST_RECORD_UNTIL_FULL";

    /// Not a test of its own: a process that may write small files only, run by the next test.
    #[test]
    fn records_until_full() {
        let Ok(path) = std::env::var(LIMITED) else { return };
        let net = network(&[("E", 1000)]);
        let mut recorder = Recorder::create(&path, &net, &info(), false).unwrap();
        recorder.flush_every(Duration::ZERO);
        for step in 1..10_000 {
            let all: Vec<Spike> = (0..1000).map(|k| spike(step as f64 * 0.1, k)).collect();
            if let Err(e) = recorder.spikes(&all) {
                std::fs::write(format!("{path}.error"), format!("{e} | {}", e.remedy().unwrap())).unwrap();
                return;
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_full_disk_is_said_and_what_was_written_stays_readable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.h5");
        // 2 MiB (in blocks of 512 bytes), and no signal when it is reached.
        let status = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" --exact record::sonata::tests::records_until_full"])
            .arg(std::env::current_exe().unwrap())
            .env(LIMITED, &path)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let error = std::fs::read_to_string(dir.path().join("run.h5.error")).unwrap();
        assert!(error.contains("the disk is full") && error.contains("free some space"), "{error}");
        let read = Recording::open(&path).unwrap();
        let spikes = read.spikes("E").unwrap();
        assert!(spikes.times.len() > 50_000 && !read.ending.complete);
        assert!(spikes.ids.iter().enumerate().all(|(k, &id)| id == k as u64 % 1000));
    }
}
