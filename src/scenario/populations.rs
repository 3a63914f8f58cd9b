//! [populations]: neurons and sources, their parameters, positions and recorders. Promises that sizes, names, units and bounds
//! are right. Knows models by their parameter lists only.

use super::Builder;
use super::courses::Changing;
use super::keys::{self, names};
use super::read::{Bounds, boolean, check_keys, choice, list, need, placed, read_columns, strings, suggest, text};
use super::tree::{Kind, Node, Spot};
use crate::dataset::idx::Images;
use crate::error::{Result, nearest};
use crate::io::csv::Table;
use crate::io::hdf5::read_quantity;
use crate::io::is_hdf5;
use crate::io::storable;
use crate::model::NeuronModel;
use crate::network::{Cell, Chosen, NeuronInstance, Population, Probe, SpikeRecord, Values, Window};
use crate::rng::{Purpose, Stream, key};
use crate::stimulus::encode::{Coding, Order, Presentation};
use crate::stimulus::{Course, Shape, SpikeSource, Trains};
use std::sync::Arc;

/// What later parts need to know of a population.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    pub spot: Spot,
    /// Neurons at full scale, and in this network.
    pub full: f64,
    pub n: u32,
}

/// Positions in mm, where there are any.
type Sheet = Option<Arc<[[f32; 2]]>>;

const SOURCES: [&str; 5] = ["poisson", "sinusoidal_poisson", "inhomogeneous_poisson", "spike_generator", "images"];

impl Builder<'_> {
    pub(super) fn populations(&mut self, node: &Node) -> Result<()> {
        if !matches!(node.kind, Kind::Table { .. }) {
            return Err(node.error("`populations` must be a table", "write [populations.E], one table for each population"));
        }
        if node.entries().is_empty() {
            return Err(node.error("there is no population", "add [populations.E] with model and n"));
        }
        for entry in node.entries() {
            storable(&entry.key)
                .map_err(|remedy| entry.key_spot.error(format!("`{}` cannot be the name of a population", entry.key), remedy))?;
            self.population(&entry.key, &entry.key_spot, &entry.value)?;
        }
        Ok(())
    }

    fn population(&mut self, name: &str, spot: &Spot, node: &Node) -> Result<()> {
        let what = format!("population `{name}`");
        let index = self.net.populations.len() as u32;
        let model_node = need(node, spot, &what, "model", "\"iaf_psc_exp\"")?;
        let model = text(model_node)?;
        let (cell, full, n) = match model {
            "poisson" => self.poisson(node, spot, &what)?,
            "sinusoidal_poisson" => self.sinusoidal(node, spot, &what)?,
            "inhomogeneous_poisson" => self.inhomogeneous(node, spot, &what)?,
            "spike_generator" => self.spike_generator(name, node, spot)?,
            "images" => self.images(node, spot, &what)?,
            _ => {
                let model = self.neuron_model(model, model_node)?;
                check_keys(node, &what, &names(&[keys::POPULATION, keys::NEURON]))?;
                let (full, n) = self.size(node, spot, &what)?;
                self.draw_random(node.get("random"), index, n)?;
                (Cell::Neuron(self.neurons(node, spot, model, index, n)?), full, n)
            }
        };
        let first = self.net.populations.last().map_or(0, |p| p.first as u64 + p.n as u64);
        if first + n as u64 > u32::MAX as u64 {
            let message = format!("with {what} the network has {} neurons", first + n as u64);
            return Err(node
                .get("n")
                .map_or(spot, |n| &n.spot)
                .error(message, format!("at most {} fit; lower n or scale.n", u32::MAX)));
        }
        let mut population = Population {
            name: name.into(),
            first: first as u32,
            n,
            cell,
            positions: None,
            extent: [0.0; 2],
            record_spikes: None,
        };
        if let Some(positions) = node.get("positions") {
            (population.positions, population.extent) = self.positions(positions, n, index)?;
        }
        self.scope.drawn.clear();
        let neuron = matches!(population.cell, Cell::Neuron(_));
        population.record_spikes = neuron.then(|| SpikeRecord::first(n));
        self.net.populations.push(population);
        self.groups.push(Group { name: name.into(), spot: spot.clone(), full, n });
        if let Some(record) = node.get("record") {
            self.record(record, index as usize)?;
        }
        Ok(())
    }

    fn neuron_model(&self, name: &str, node: &Node) -> Result<Arc<NeuronModel>> {
        if self.library.synapse(name).is_ok() {
            return Err(node.error(format!("`{name}` is a synapse model"), "name a neuron model; `sharpwave models` lists them"));
        }
        self.library.neuron(name).map_err(|_| {
            let names: Vec<String> = self.library.neurons().map(|m| m.name.clone()).collect();
            let all: Vec<&str> = names.iter().map(String::as_str).chain(SOURCES).collect();
            let remedy = match nearest(name, all.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}; --models DIR adds your own", list(all)),
            };
            node.error(format!("unknown model `{name}`"), remedy)
        })
    }

    /// Size at full scale and in this network.
    fn size(&self, node: &Node, spot: &Spot, what: &str) -> Result<(f64, u32)> {
        let n = need(node, spot, what, "n", "100")?;
        let full = self.scope.count(n, "n")?;
        if full == 0 {
            return Err(n.error(format!("{what} is empty"), "give n of 1 or more, or remove the population"));
        }
        let scaled = (full as f64 * self.scale.n).round_ties_even();
        if scaled < 1.0 {
            let message = format!("scale.n = {} leaves no neuron of {what}, which has {full}", self.scale.n);
            return Err(self.scale.refuse_n(&n.spot, message, "choose a larger scale.n"));
        }
        if scaled > u32::MAX as f64 {
            return Err(n.error(format!("{what} has {scaled} neurons"), format!("at most {} fit; lower n or scale.n", u32::MAX)));
        }
        Ok((full as f64, scaled as u32))
    }

    /// Named numbers drawn once for each neuron, for parameters that depend on one another.
    fn draw_random(&mut self, node: Option<&Node>, index: u32, n: u32) -> Result<()> {
        self.scope.drawn.clear();
        let Some(node) = node else { return Ok(()) };
        if !matches!(node.kind, Kind::Table { .. }) {
            let example = "write random = { r = { distribution = \"uniform\", low = 0, high = 1 } }";
            return Err(node.error("`random` must be a table of distributions", example));
        }
        for (i, entry) in node.entries().iter().enumerate() {
            super::check_name(entry)?;
            if self.scope.names.iter().any(|v| v.0 == entry.key) {
                return Err(entry.key_spot.error(format!("`{}` is also a variable", entry.key), "give one of them another name"));
            }
            let random = (Purpose::Parameter, key(self.seed, index), 1 << 20 | i as u32);
            let values = self.scope.values(&entry.value, &entry.key, "1", n, &Bounds::ANY, random)?;
            self.scope.drawn.push((entry.key.clone(), values));
        }
        Ok(())
    }

    /// Parameters and initial values over the model's defaults.
    fn neurons(&self, node: &Node, spot: &Spot, model: Arc<NeuronModel>, index: u32, n: u32) -> Result<NeuronInstance> {
        let mut given: Vec<(String, Values)> = vec![];
        for (table, purpose) in [("params", Purpose::Parameter), ("initial", Purpose::Initial)] {
            let Some(table_node) = node.get(table) else { continue };
            if !matches!(table_node.kind, Kind::Table { .. }) {
                return Err(table_node.error(format!("`{table}` must be a table"), format!("write {table} = {{ V_m = -65.0 }}")));
            }
            for entry in table_node.entries() {
                let Some(at) = model.param(&entry.key) else {
                    let names = model.params.iter().map(|p| p.name.as_str());
                    let message = format!("{} has no parameter `{}`", model.name, entry.key);
                    return Err(entry.key_spot.error(message, suggest(&entry.key, names)));
                };
                if given.iter().any(|g| g.0 == entry.key) {
                    let message = format!("`{}` is given in params and in initial", entry.key);
                    return Err(entry.key_spot.error(message, "keep one of them"));
                }
                let p = &model.params[at];
                let bounds = Bounds { above: p.above, at_least: p.at_least, at_most: p.at_most };
                let random = (purpose, key(self.seed, index), at as u32);
                given.push((p.name.clone(), self.scope.values(&entry.value, &p.name, &p.unit, n, &bounds, random)?));
            }
        }
        // What remains is a relation between parameters: the model's own check, placed at the table.
        let at = node.get("params").or(node.get("initial")).map_or(spot, |t| &t.spot);
        NeuronInstance::new(&model, &given, self.dt).map_err(|e| placed(e, at))
    }

    fn poisson(&self, node: &Node, spot: &Spot, what: &str) -> Result<(Cell, f64, u32)> {
        check_keys(node, what, &names(&[keys::POPULATION, keys::POISSON]))?;
        let (full, n) = self.size(node, spot, what)?;
        let index = self.net.populations.len() as u32;
        let rate = need(node, spot, what, "rate", "\"8 Hz\"")?;
        let random = (Purpose::Parameter, key(self.seed, index), 0);
        let rate = self.rates(rate, n, random)?;
        let (start, stop) = self.period(node)?;
        Ok((Cell::Source(SpikeSource::Poisson { rate, start, stop }), full, n))
    }

    fn sinusoidal(&self, node: &Node, spot: &Spot, what: &str) -> Result<(Cell, f64, u32)> {
        check_keys(node, what, &names(&[keys::POPULATION, keys::SINUSOIDAL]))?;
        let (full, n) = self.size(node, spot, what)?;
        let index = self.net.populations.len() as u32;
        let values = |name: &str, example, bounds: &Bounds, sub| {
            let at = need(node, spot, what, name, example)?;
            self.scope.values(at, name, "Hz", n, bounds, (Purpose::Parameter, key(self.seed, index), sub))
        };
        let rate = values("rate", "\"8 Hz\"", &Bounds::ANY, 0)?;
        let amplitude = values("amplitude", "\"4 Hz\"", &Bounds::ANY, 1)?;
        let frequency = need(node, spot, what, "frequency", "\"10 Hz\"")?;
        let frequency = self.scope.bounded(frequency, "frequency", "Hz", &Bounds::NOT_NEGATIVE)?;
        // A plain number is in degrees, as NEST has it.
        let phase = node.get("phase").map_or(Ok(0.0), |p| self.scope.number(p, "deg"))?.to_radians();
        self.course(node, spot, n, Shape::Sine { rate, amplitude, frequency, phase }).map(|cell| (cell, full, n))
    }

    fn inhomogeneous(&self, node: &Node, spot: &Spot, what: &str) -> Result<(Cell, f64, u32)> {
        check_keys(node, what, &names(&[keys::POPULATION, keys::INHOMOGENEOUS]))?;
        let (full, n) = self.size(node, spot, what)?;
        let of = Changing { key: "rates", one: "rate", unit: "Hz", bounds: Bounds::NOT_NEGATIVE, each: n };
        let changes = self.changes(node, spot, what, &of)?;
        self.course(node, spot, n, Shape::Steps(changes)).map(|cell| (cell, full, n))
    }

    /// Sources whose rates change in time; on a grid only so many events fit a step.
    fn course(&self, node: &Node, spot: &Spot, n: u32, shape: Shape) -> Result<Cell> {
        let (start, stop) = self.period(node)?;
        let course = Course { start, stop, shape };
        if self.grid {
            crate::stimulus::poisson::mean(course.peak(n as usize), self.dt).map_err(|e| placed(e, spot))?;
        }
        Ok(Cell::Source(SpikeSource::Course(Arc::new(course))))
    }

    /// Rates of Poisson trains, Hz; on a grid only so many events fit a step.
    pub(super) fn rates(&self, node: &Node, n: u32, random: (Purpose, [u32; 2], u32)) -> Result<Values> {
        let rate = self.scope.values(node, "rate", "Hz", n, &Bounds::NOT_NEGATIVE, random)?;
        let all = if rate.is_uniform() { 1 } else { n as usize };
        if self.grid {
            let fits = |i| crate::stimulus::poisson::mean(rate.get(i), self.dt).map(drop);
            (0..all).try_for_each(fits).map_err(|e| placed(e, &node.spot))?;
        }
        Ok(rate)
    }

    /// `start` and `stop`, ms.
    pub(super) fn period(&self, node: &Node) -> Result<(f64, f64)> {
        let get = |key, default| node.get(key).map_or(Ok(default), |n| self.scope.bounded(n, key, "ms", &Bounds::NOT_NEGATIVE));
        let (start, stop) = (get("start", 0.0)?, get("stop", f64::INFINITY)?);
        for (key, time) in [("start", start), ("stop", stop)] {
            if let (Some((message, remedy)), Some(at)) = (self.off_grid(key, time, None), node.get(key)) {
                return Err(at.error(message, remedy));
            }
        }
        if stop <= start {
            let at = node.get("stop").unwrap_or(node);
            return Err(
                at.error(format!("stop ({stop} ms) is not after start ({start} ms)"), "give a later stop, or leave it out")
            );
        }
        Ok((start, stop))
    }

    fn spike_generator(&self, name: &str, node: &Node, spot: &Spot) -> Result<(Cell, f64, u32)> {
        let what = format!("population `{name}`");
        check_keys(node, &what, &names(&[keys::POPULATION, keys::SPIKE_GENERATOR]))?;
        let offgrid = node.get("allow_offgrid_times").map_or(Ok(false), boolean)?;
        let (trains, least) = match (node.get("times"), node.get("file")) {
            (Some(times), None) => self.inline_trains(times, offgrid)?,
            (None, Some(file)) => {
                let path = self.scope.path(file)?;
                let within = node.get("population").map_or(Ok(name), text)?;
                let foreign = !is_hdf5(&path) && Trains::is_text(&path);
                let first = node.get("first_id").map(|f| self.scope.count32(f, "first_id")).transpose()?;
                if let (Some(at), false) = (node.get("first_id"), foreign) {
                    return Err(at.error("ids of this file count from 0", "leave out first_id: it is for NEST's .dat and .gdf"));
                }
                let read = match (is_hdf5(&path), foreign) {
                    (true, _) => Trains::from_hdf5(&path, within),
                    (_, true) => Trains::from_text(&path, within, first),
                    _ => Trains::from_csv(&path),
                };
                let trains = read.map_err(|e| placed(e, &file.spot))?;
                for spike in trains.time.iter().copied().zip(trains.source.iter().copied()) {
                    let Some((message, remedy)) = self.spike_fault(spike.0, offgrid) else { continue };
                    let message = format!("{what}, source {}: {message}", spike.1);
                    return Err(match is_hdf5(&path) || foreign {
                        true => file.error(format!("{message} (in {})", path.display()), remedy),
                        false => Trains::fault_in_csv(&path, spike, &message, &remedy),
                    });
                }
                let least = trains.source.iter().max().map_or(1, |m| *m as u64 + 1);
                (trains, least)
            }
            (Some(_), Some(file)) => return Err(file.error("times and file are both given", "keep one of them")),
            (None, None) => {
                return Err(spot.error(format!("{what} has no spikes"), "add times = [[1.0, 5.0]] (ms) or file = \"spikes.csv\""));
            }
        };
        let n = match node.get("n") {
            None => least,
            Some(n) => match self.scope.count(n, "n")? {
                given if given < least || given == 0 => {
                    return Err(n.error(
                        format!("{what} has {given} sources, and spikes of {least}"),
                        "give a larger n, or leave it out",
                    ));
                }
                given => given,
            },
        };
        let n32 =
            u32::try_from(n).map_err(|_| spot.error(format!("{what} has {n} sources"), format!("at most {} fit", u32::MAX)))?;
        Ok((Cell::Source(SpikeSource::Trains(Arc::new(trains))), n as f64, n32))
    }

    /// What is wrong with the time of a spike, for the engine that is to play it.
    fn spike_fault(&self, time: f64, offgrid: bool) -> Option<(String, String)> {
        if self.grid && crate::stimulus::step_of(time, self.dt).is_none() {
            let remedy = "shift the trains by a step, or use the event engine, which has no grid";
            return Some((format!("a spike at {time} ms lies before the first step"), remedy.into()));
        }
        self.off_grid("a spike at", time, Some(offgrid))
    }

    fn inline_trains(&self, node: &Node, offgrid: bool) -> Result<(Trains, u64)> {
        let example = "write one list of times (ms) for each source: [[1.0, 5.0], [2.5]]";
        let array = |node: &Node| match &node.kind {
            Kind::Array(items) => Ok(items.clone()),
            kind => Err(node.error(format!("times must be an array of arrays, this holds {}", kind.describe()), example)),
        };
        let sources = array(node)?;
        if sources.is_empty() {
            return Err(node.error("there is no source", example));
        }
        let time = |t: &Node| {
            let time =
                self.scope.bounded(t, "a spike time", "ms", if self.grid { &Bounds::POSITIVE } else { &Bounds::NOT_NEGATIVE })?;
            match self.spike_fault(time, offgrid) {
                Some((message, remedy)) => Err(t.error(message, remedy)),
                None => Ok(time),
            }
        };
        let times = sources.iter().map(|s| array(s)?.iter().map(time).collect()).collect::<Result<Vec<Vec<f64>>>>()?;
        Ok((Trains::from_lists(&times)?, times.len() as u64))
    }

    /// Images shown one after another, one source a pixel.
    fn images(&self, node: &Node, spot: &Spot, what: &str) -> Result<(Cell, f64, u32)> {
        check_keys(node, what, &names(&[keys::POPULATION, keys::IMAGES]))?;
        let file = need(node, spot, what, "images", "\"train-images-idx3-ubyte.gz\"")?;
        let labels = node.get("labels").map(|l| self.scope.idx(l)).transpose()?;
        let (path, images) = self.scope.idx(file)?;
        let labels = labels.as_ref().map(|(path, labels)| (path.as_path(), labels.clone()));
        let images = Images::of((&path, images), labels).map_err(|e| placed(e, &file.spot))?;
        let time = |key, default: f64, least| node.get(key).map_or(Ok(default), |t| self.scope.steps(t, key, self.dt, least));
        let (present, rest, start) = (time("present", 350.0, 1)?, time("rest", 150.0, 0)?, time("start", 0.0, 0)?);
        let rate = node.get("encoding").map_or(Ok("rate"), |e| choice(e, "encoding", &["rate", "latency"]))? == "rate";
        if let Some(unused) = node.get(if rate { "window" } else { "max_rate" }) {
            let remedy = if rate { "rate encoding takes max_rate" } else { "latency encoding takes window" };
            return Err(unused.error("this key belongs to the other encoding", remedy));
        }
        let coding = if rate {
            let max_rate =
                node.get("max_rate").map_or(Ok(63.75), |r| self.scope.bounded(r, "max_rate", "Hz", &Bounds::NOT_NEGATIVE))?;
            Coding::Rate { max_rate }
        } else {
            let window =
                node.get("window").map_or(Ok(present), |w| self.scope.bounded(w, "the window", "ms", &Bounds::POSITIVE))?;
            Coding::Latency { window }
        };
        let samples = node.get("samples").map(|s| match self.scope.count32(s, "samples")? {
            0 => Err(s.error("no sample is shown", "give samples of 1 or more")),
            count => Ok(count as usize),
        });
        let shuffle = node.get("shuffle").map_or(Ok(false), boolean)?;
        let first = node.get("first").map_or(Ok(0), |f| match self.scope.count32(f, "first")? {
            i if i as usize >= images.count => Err(f.error(
                format!("there is no sample {i} among {}", images.count),
                format!("samples count from 0 to {}", images.count - 1),
            )),
            i if i > 0 && shuffle => Err(f.error("`first` has no meaning for shuffled samples", "remove one of them")),
            i => Ok(i),
        })?;
        let (count, order) = (images.count as u32, if shuffle { Order::Shuffled { seed: self.seed } } else { Order::Sequential });
        let shown = Presentation::new(Arc::new(images), coding, present, rest, order, samples.transpose()?);
        let mut shown = shown.map_err(|e| placed(e, spot))?;
        shown.start = start;
        shown.order.iter_mut().for_each(|sample| *sample = (*sample + first) % count);
        let n = shown.n();
        if let Some(given) = node.get("n")
            && self.scope.count(given, "n")? != n as u64
        {
            return Err(
                given.error(format!("the images have {n} pixels, one source each"), format!("write n = {n}, or leave it out"))
            );
        }
        Ok((Cell::Source(SpikeSource::Presentation(Arc::new(shown))), n as f64, n))
    }

    fn positions(&self, node: &Node, n: u32, index: u32) -> Result<(Sheet, [f64; 2])> {
        check_keys(node, "positions", &names(&[keys::POSITIONS]))?;
        let extent_node = need(node, &node.spot, "positions", "extent", "[\"1 mm\", \"1 mm\"]")?;
        let Kind::Array(sides) = &extent_node.kind else {
            return Err(extent_node.error("extent must be [width, height]", "write for instance [\"1 mm\", \"1 mm\"]"));
        };
        let [width, height] = sides.as_slice() else {
            return Err(
                extent_node.error(format!("extent has {} numbers", sides.len()), "write for instance [\"1 mm\", \"1 mm\"]")
            );
        };
        let side = |s| self.scope.bounded(s, "the extent", "mm", &Bounds::POSITIVE);
        let extent = [side(width)?, side(height)?];
        if let Some(file) = node.get("file") {
            if let Some(layout) = node.get("layout") {
                return Err(layout.error("layout and file are both given", "keep one of them"));
            }
            return Ok((Some(self.positions_of_file(file, n, extent)?), extent));
        }
        crate::network::footprint::room(n).map_err(|e| placed(e, &node.spot))?;
        let layout = node.get("layout").map_or(Ok("random"), |l| choice(l, "layout", &["random", "grid"]))?;
        let all: Vec<[f32; 2]> = if layout == "random" {
            let at = |i| {
                let mut stream = Stream::new(key(self.seed, index), Purpose::Position, i, 0);
                [(stream.uniform() * extent[0]) as f32, (stream.uniform() * extent[1]) as f32]
            };
            (0..n).map(at).collect()
        } else {
            grid(n, extent)
        };
        Ok((Some(all.into()), extent))
    }

    /// Two columns x, y in mm.
    fn positions_of_file(&self, file: &Node, n: u32, extent: [f64; 2]) -> Result<Arc<[[f32; 2]]>> {
        let path = self.scope.path(file)?;
        let columns = if is_hdf5(&path) {
            vec![read_quantity(&path, "x", "mm")?, read_quantity(&path, "y", "mm")?]
        } else {
            let table = Table::open(&path)?;
            let wanted = match table.header() {
                Some(_) => [table.need("x", "x,y")?, table.need("y", "x,y")?],
                None if table.columns() == 2 => [0, 1],
                None => {
                    let message = format!("positions are two columns, x and y; this file has {} without names", table.columns());
                    return Err(table.fault(message, "name the columns in the first line, as in: x,y"));
                }
            };
            read_columns(&table, &wanted, n, |_, _| Ok(()))?
        };
        if columns.iter().any(|c| c.len() != n as usize) {
            let message = format!("`{}` has {} positions for {n} neurons", path.display(), columns[0].len());
            return Err(file.error(message, format!("give {n} lines of x, y in mm")));
        }
        for (i, (&x, &y)) in columns[0].iter().zip(&columns[1]).enumerate() {
            if !(0.0..=extent[0]).contains(&x) || !(0.0..=extent[1]).contains(&y) {
                let message =
                    format!("position {} ({x}, {y}) lies outside the extent of {} x {} mm", i + 1, extent[0], extent[1]);
                return Err(file.error(message, "positions count from one corner: 0 <= x <= width, 0 <= y <= height"));
            }
        }
        Ok(columns[0].iter().zip(&columns[1]).map(|(&x, &y)| [x as f32, y as f32]).collect())
    }

    fn record(&mut self, node: &Node, population: usize) -> Result<()> {
        check_keys(node, "record", &names(&[keys::RECORD]))?;
        let n = self.net.populations[population].n;
        let (start, stop) = self.period(node)?;
        let window = Window::new(start, stop);
        if let Some(spikes) = node.get("spikes") {
            let neurons = match &spikes.kind {
                Kind::Boolean(all) => all.then_some(Chosen::First(n)),
                Kind::Array(_) => Some(Chosen::Listed(self.listed(spikes, n, "spikes")?.into())),
                _ => Some(Chosen::First(self.scope.count32(spikes, "spikes")?.min(n))).filter(|first| first.count() > 0),
            };
            self.net.populations[population].record_spikes = neurons.map(|neurons| SpikeRecord { neurons, window });
        } else if let Some(record) = &mut self.net.populations[population].record_spikes {
            record.window = window;
        }
        if let Some(states) = node.get("states") {
            let Cell::Neuron(neuron) = &self.net.populations[population].cell else {
                return Err(states.error("a source has no states", "record its spikes, or states of a neuron population"));
            };
            let known: Vec<&str> = neuron.model.recordables.iter().map(|r| r.name.as_str()).collect();
            let mut variables: Vec<String> = vec![];
            for (name, at) in strings(states)? {
                if !known.contains(&name) {
                    return Err(at.error(format!("{} cannot record `{name}`", neuron.model.name), suggest(name, known)));
                }
                if variables.iter().any(|v| v == name) {
                    return Err(at.error(format!("`{name}` is listed twice"), "keep one"));
                }
                variables.push(name.into());
            }
            let neurons = self.probed(node.get("neurons"), n)?;
            let interval = match node.get("interval") {
                Some(i) => self.scope.steps(i, "the interval", self.dt, 1)?,
                None => (1.0 / self.dt).round().max(1.0) * self.dt,
            };
            self.net.probes.push(Probe::State { population, variables, neurons, interval, window });
        } else if let Some(unused) = node.get("neurons").or(node.get("interval")) {
            let remedy = "add states = [\"V_m\"]; neurons whose spikes are recorded are listed under spikes = [...]";
            return Err(unused.error("this has no effect without `states`", remedy));
        }
        if let Some(bin) = node.get("rate_bin") {
            let bin = self.scope.steps(bin, "the bin", self.dt, 1)?;
            self.net.probes.push(Probe::Rate { population, bin, window });
        }
        let nothing =
            self.net.populations[population].record_spikes.is_none() && node.get("states").or(node.get("rate_bin")).is_none();
        if let Some(unused) = node.get("start").or(node.get("stop")).filter(|_| nothing) {
            return Err(unused.error("nothing is recorded here", "add spikes, states or rate_bin, or remove this key"));
        }
        Ok(())
    }

    /// The first so many neurons, or those listed; all when nothing is said.
    fn probed(&self, node: Option<&Node>, n: u32) -> Result<Vec<u32>> {
        let Some(node) = node else { return Ok((0..n).collect()) };
        match &node.kind {
            Kind::Array(_) => self.listed(node, n, "states"),
            _ => match self.scope.count32(node, "neurons")? {
                0 => Err(node.error("no neuron is recorded", "give at least 1, or remove states")),
                count => Ok((0..count.min(n)).collect()),
            },
        }
    }

    /// Ids of neurons in an array, ascending, each once.
    fn listed(&self, node: &Node, n: u32, what: &str) -> Result<Vec<u32>> {
        let Kind::Array(items) = &node.kind else { return Ok(vec![]) };
        let mut ids = vec![];
        for item in items {
            let id = self.scope.count32(item, "a neuron id")?;
            if id >= n {
                return Err(item.error(format!("there is no neuron {id} among {n}"), format!("ids go from 0 to {}", n - 1)));
            }
            ids.push(id);
        }
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() { Err(node.error("no neuron is recorded", format!("list ids, or remove {what}"))) } else { Ok(ids) }
    }
}

/// Cell centres of a grid with square-ish cells, row by row.
fn grid(n: u32, extent: [f64; 2]) -> Vec<[f32; 2]> {
    let columns = ((n as f64 * extent[0] / extent[1]).sqrt().round() as u32).clamp(1, n);
    let rows = n.div_ceil(columns);
    let centre = |i: u32, count: u32, side: f64| ((i as f64 + 0.5) / count as f64 * side) as f32;
    (0..n).map(|i| [centre(i % columns, columns, extent[0]), centre(i / columns, rows, extent[1])]).collect()
}
