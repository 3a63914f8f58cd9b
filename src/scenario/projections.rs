//! [[projections]]: who connects to whom, by which rule, with what weights, delays and synapses. Promises a rule that can be
//! carried out (no impossible in-degree, no delay below the step). Knows rules and ports; no table format.

use super::Builder;
use super::keys::{self, RULES, names};
use super::read::{Bounds, boolean, check_keys, choice, list, need, placed, strings, suggest, text};
use super::scale::{Lost, multiply, total_of_probability};
use super::tree::{Kind, Node, Spot};
use crate::error::Result;
use crate::io::storable;
use crate::model::{NeuronModel, Sign};
use crate::network::{Cell, Draw, Edges, Probe, Profile, Projection, Rule, Window};
use std::sync::Arc;

/// Reads a probability under a key: as written, and in this network.
type Scaled<'a> = dyn Fn(&'static str, &Node) -> Result<(f64, f64)> + 'a;

/// Longest delay in steps.
const MAX_DELAY: f64 = 1e6;

/// Two populations and what may connect within them.
struct Pair {
    source: usize,
    target: usize,
    autapses: bool,
    multapses: bool,
    /// Of the weights in a file that names none.
    unit: String,
    /// Sizes at full scale and in this network.
    full: (f64, f64),
    n: (u32, u32),
}

impl Pair {
    fn same(&self) -> bool {
        self.source == self.target
    }
    /// Sources that a target may have.
    fn sources(&self) -> u32 {
        self.n.0 - (self.same() && !self.autapses) as u32
    }
    fn targets(&self) -> u32 {
        self.n.1 - (self.same() && !self.autapses) as u32
    }
    /// Ratio of source to target neurons after and before scaling: in-degrees x k need probabilities x k / share.
    fn shares(&self) -> (f64, f64) {
        (self.n.0 as f64 / self.full.0, self.n.1 as f64 / self.full.1)
    }
}

impl Builder<'_> {
    pub(super) fn projections(&mut self, nodes: &[Node], lost: &mut Vec<Lost>) -> Result<()> {
        for node in nodes {
            check_keys(node, "[[projections]]", &names(&[keys::PROJECTION]))?;
            let get = |key, example| need(node, &node.spot, "[[projections]]", key, example);
            let sources = strings(get("source", "\"E\"")?)?;
            let targets = strings(get("target", "\"E\"")?)?;
            let single = sources.len() * targets.len() == 1;
            for (source, source_node) in &sources {
                for (target, target_node) in &targets {
                    let ends = (self.group(source, source_node)?, self.group(target, target_node)?);
                    if !matches!(self.net.populations[ends.1].cell, Cell::Neuron(_)) {
                        let message = format!("`{target}` is a source and takes no input");
                        return Err(target_node.error(message, "project onto a population of neurons"));
                    }
                    let name = self.projection_name(node, source, target, single)?;
                    self.projection(node, name, ends, lost)?;
                }
            }
        }
        Ok(())
    }

    /// As given, or "E->I"; unique.
    fn projection_name(&self, node: &Node, source: &str, target: &str, single: bool) -> Result<String> {
        let taken = |name: &str| self.net.projections.iter().any(|p| p.name == name);
        let arrow = format!("{source}->{target}");
        if let Some(given) = node.get("name") {
            let written = text(given)?;
            let name = if single { written.to_string() } else { format!("{written} {arrow}") };
            storable(&name).map_err(|remedy| given.error(format!("`{name}` cannot be the name of a projection"), remedy))?;
            return if taken(&name) {
                Err(given.error(format!("there is already a projection `{name}`"), "give it another name"))
            } else {
                Ok(name)
            };
        }
        Ok((1..).map(|i| if i == 1 { arrow.clone() } else { format!("{arrow} {i}") }).find(|n| !taken(n)).unwrap_or(arrow))
    }

    fn projection(&mut self, node: &Node, name: String, (source, target): (usize, usize), lost: &mut Vec<Lost>) -> Result<()> {
        let flag = |key| node.get(key).map_or(Ok(true), boolean);
        let Cell::Neuron(neuron) = &self.net.populations[target].cell else { return Ok(()) };
        let model = neuron.model.clone();
        let named = node.get("receptor").map(|r| self.receptor(r, &model)).transpose()?;
        let (s, t) = (&self.groups[source], &self.groups[target]);
        let pair = Pair {
            source,
            target,
            autapses: flag("autapses")?,
            multapses: flag("multapses")?,
            unit: model.ports.get(named.unwrap_or(0)).map_or("1".into(), |port| port.unit.clone()),
            full: (s.full, t.full),
            n: (s.n, t.n),
        };
        let rule_node = need(node, &node.spot, "[[projections]]", "rule", "{ name = \"fixed_indegree\", indegree = 100 }")?;
        let (mut rule, indegree) = self.rule(rule_node, &pair)?;
        let (port, weight) = self.weight(node, &model, &rule)?;
        let delay = self.delay(node)?;
        let (synapse, modulator) = self.synapse(node.get("synapse"), &model)?;
        let counts = port.is_some_and(|port| model.ports[port].counts);
        if counts && synapse.model.program.is_some() {
            let at = node.get("synapse").map_or(&node.spot, |n| &n.spot);
            let message = format!("{} counts spikes, and {} transmits more or less", model.name, synapse.model.name);
            return Err(at.error(message, "use static_synapse onto it"));
        }
        if let (Rule::Explicit(edges), true) = (&rule, counts) {
            rule = Rule::Explicit(Arc::new(Edges { weight: None, ..(**edges).clone() }));
        }
        // One-to-one connections are not thinned, so their weights stay.
        let thinned = self.scale.thins() && !matches!(rule, Rule::OneToOne);
        if thinned {
            if counts {
                let message = format!("scale.k is {}, and {} counts spikes", self.scale.k, model.name);
                return Err(self.scale.refuse(&node.spot, message, "set scale.k = 1, or connect it one to one"));
            }
            if synapse.model.program.is_some() {
                let at = node.get("synapse").map_or(&node.spot, |n| &n.spot);
                let message =
                    format!("scale.k is {}, and the mean input through {} is not known", self.scale.k, synapse.model.name);
                return Err(self.scale.refuse(at, message, "set scale.k = 1, or use static_synapse"));
            }
            let at = node.get("weight").map_or(&node.spot, |n| &n.spot);
            let mean = weight.moments().mean;
            let through = port.map_or_else(|| self.port_of_sign(&model, mean >= 0.0, at), Ok)?;
            self.lose(lost, (source, target), through, indegree, mean, at)?;
        }
        let weight = if thinned { multiply(&weight, self.scale.weight()) } else { weight };
        let mut projection = Projection {
            name,
            source,
            target,
            rule,
            port,
            weight,
            delay,
            axonal: 0.0,
            synapse,
            autapses: pair.autapses,
            multapses: pair.multapses,
            modulator,
        };
        if let Some(at) = node.get("axonal_delay") {
            projection.axonal = self.axonal(at, &projection)?;
        }
        let at = node.get("weight").or(node.get("synapse")).map_or(&node.spot, |n| &n.spot);
        crate::network::connectivity::check_bound(&projection).map_err(|e| placed(e, at))?;
        self.net.projections.push(projection);
        if let Some(record) = node.get("record") {
            check_keys(record, "record", &names(&[keys::RECORD_WEIGHTS]))?;
            let interval = record.get("interval").map(|i| self.scope.steps(i, "the interval", self.dt, 1)).transpose()?;
            for (key, what) in [("start", "the start of the recording"), ("stop", "the end of the recording")] {
                record.get(key).map(|time| self.scope.steps(time, what, self.dt, 0)).transpose()?;
            }
            let (start, stop) = self.period(record)?;
            let projection = self.net.projections.len() - 1;
            let states = record.get("states").map_or(Ok(vec![]), |states| self.synapse_states(states, projection))?;
            if record.get("weights").map_or(Ok(!states.is_empty()), boolean)? {
                self.net.probes.push(Probe::Weights { projection, states, interval, window: Window::new(start, stop) });
            } else if let Some(unused) = ["states", "interval", "start", "stop"].iter().find_map(|key| record.get(key)) {
                return Err(unused.error("this has no effect without weights = true", "add weights = true"));
            }
        }
        Ok(())
    }

    /// The axonal share of a projection's delays, ms.
    fn axonal(&self, at: &Node, projection: &Projection) -> Result<f64> {
        let axonal = self.scope.bounded(at, "axonal_delay", "ms", &Bounds::NOT_NEGATIVE)?;
        if axonal == 0.0 {
            return Ok(0.0);
        }
        if let Some((message, remedy)) = self.off_grid("axonal_delay", axonal, None) {
            return Err(at.error(message, remedy));
        }
        let (model, shortest) = (&projection.synapse.model, projection.delay_range().0);
        if model.plasticity.is_none() {
            let message = format!("{} transmits after the whole delay, whatever its shares", model.name);
            return Err(at.error(message, "leave out axonal_delay, or use a plastic synapse"));
        }
        if projection.modulator.is_some() {
            let message = format!("{} reads a signal, whose future is not known when a spike is emitted", model.name);
            return Err(at.error(message, "leave out axonal_delay, or use a rule without a signal"));
        }
        let rest = match self.grid {
            true => ((shortest / self.dt).round() - (axonal / self.dt).round()) * self.dt,
            false => shortest - axonal,
        };
        if rest < if self.grid { 0.5 * self.dt } else { 1e-5 } {
            let message = format!("axonal_delay ({axonal} ms) leaves nothing of a delay of {shortest} ms for the dendrite");
            return Err(at.error(message, "leave at least one step of every delay"));
        }
        Ok(axonal)
    }

    /// What the synapse model of a projection is to record beside the weight.
    fn synapse_states(&self, node: &Node, projection: usize) -> Result<Vec<String>> {
        let model = &self.net.projections[projection].synapse.model;
        let known: Vec<&str> = model.recordables.iter().map(|r| r.name.as_str()).collect();
        let mut states: Vec<String> = vec![];
        for (name, at) in strings(node)? {
            if known.is_empty() {
                return Err(at.error(format!("{} has no states", model.name), "record its weights, or another projection"));
            }
            if !known.contains(&name) {
                let remedy = format!("it has {}", list(known.iter().copied()));
                return Err(at.error(format!("{} cannot record `{name}`", model.name), remedy));
            }
            if states.iter().any(|s| s == name) {
                return Err(at.error(format!("`{name}` is listed twice"), "keep one"));
            }
            states.push(name.into());
        }
        Ok(states)
    }

    /// The rule in this network, and the mean in-degree at full scale.
    fn rule(&self, node: &Node, pair: &Pair) -> Result<(Rule, f64)> {
        let rules = RULES.map(|r| r.0);
        let (name, spot) = match &node.kind {
            Kind::Text(_) => (choice(node, "rule", &rules)?, &node.spot),
            _ => {
                let name = need(node, &node.spot, "this rule", "name", "\"fixed_indegree\"")?;
                (choice(name, "rule", &rules)?, &node.spot)
            }
        };
        let own = RULES.iter().find(|r| r.0 == name).map_or(&[][..], |r| r.2);
        if let Kind::Table { .. } = node.kind {
            check_keys(node, &format!("rule {name}"), &names(&[keys::RULE, own]))?;
        }
        let what = format!("rule {name}");
        let get = |key, example| need(node, spot, &what, key, example);
        let (k, share) = (self.scale.k, pair.shares());
        let probability = |key: &'static str, at: &Node| -> Result<(f64, f64)> {
            let p = self.scope.bounded(at, key, "1", &Bounds::PROBABILITY)?;
            let scaled = p * k / share.0;
            if scaled > 1.0 + 1e-12 {
                let message = format!("{key} = {p} scaled by scale.k / scale.n would be {scaled}");
                return Err(self.scale.refuse(&at.spot, message, "choose scale.n at least as large as scale.k"));
            }
            Ok((p, scaled.min(1.0)))
        };
        // Sources of a target at full scale.
        let sources = pair.full.0 - (pair.same() && !pair.autapses) as u8 as f64;
        Ok(match name {
            "one_to_one" => {
                if pair.n.0 != pair.n.1 {
                    let message = format!("one_to_one needs populations of one size, these have {} and {}", pair.n.0, pair.n.1);
                    return Err(spot.error(message, "make them equal, or use another rule"));
                }
                (Rule::OneToOne, 1.0)
            }
            "all_to_all" => {
                if (k - share.0).abs() > 1e-3 && self.scale.changes() {
                    let message = format!("all_to_all gives in-degrees x {}, but scale.k is {k}", share.0);
                    return Err(self.scale.refuse(
                        spot,
                        message,
                        "set scale.k = scale.n, or use pairwise_bernoulli or fixed_indegree",
                    ));
                }
                (Rule::AllToAll, sources)
            }
            "pairwise_bernoulli" => {
                let (p, scaled) = probability("p", get("p", "0.1")?)?;
                (Rule::PairwiseBernoulli { p: scaled }, p * sources)
            }
            "fixed_indegree" => {
                let at = get("indegree", "100")?;
                let full = self.scope.count(at, "indegree")?;
                let scaled = self.degree(at, "indegree", full, full as f64 * k)?;
                self.possible(at, "in-degree", "source", scaled, pair.sources(), pair)?;
                (Rule::FixedIndegree { indegree: scaled }, full as f64)
            }
            "fixed_outdegree" => {
                let at = get("outdegree", "100")?;
                let full = self.scope.count(at, "outdegree")?;
                let scaled = self.degree(at, "outdegree", full, full as f64 * k * share.1 / share.0)?;
                self.possible(at, "out-degree", "target", scaled, pair.targets(), pair)?;
                (Rule::FixedOutdegree { outdegree: scaled }, full as f64 * pair.full.0 / pair.full.1)
            }
            "fixed_total_number" => {
                let (at, full) = self.total(node, spot, pair)?;
                let scaled = (full * k * self.scale.n).round_ties_even();
                let pairs = pair.n.1 as f64 * pair.sources() as f64;
                if scaled > 0.0 && (pairs == 0.0 || !pair.multapses && scaled > pairs) {
                    let message = format!("{scaled} synapses, but there are only {pairs} pairs");
                    return Err(at.error(message, self.more(pairs == 0.0)));
                }
                if scaled >= 1e15 {
                    return Err(at.error(format!("{scaled} synapses are too many"), "lower the number or scale.k"));
                }
                (Rule::FixedTotalNumber { n: scaled as u64 }, full / pair.full.1)
            }
            "distance" => self.distance(node, spot, pair, &probability)?,
            _ => {
                if self.scale.changes() {
                    let message = "explicit edges cannot be scaled".to_string();
                    return Err(self.scale.refuse(spot, message, "remove [scale], or use another rule"));
                }
                let within = node.get("projection").map(text).transpose()?;
                let edges = self.edges(get("file", "\"edges.csv\"")?, within, pair)?;
                let mean = edges.target.len() as f64 / pair.full.1;
                (Rule::Explicit(Arc::new(edges)), mean)
            }
        })
    }

    fn degree(&self, at: &Node, what: &str, full: u64, scaled: f64) -> Result<u32> {
        let scaled = scaled.round_ties_even();
        if full > 0 && scaled < 1.0 {
            return Err(self.scale.refuse(
                &at.spot,
                format!("scaling leaves nothing of {what} = {full}"),
                "choose a larger scale.k",
            ));
        }
        if scaled > u32::MAX as f64 {
            return Err(at.error(format!("{what} = {scaled} is too large"), format!("at most {}", u32::MAX)));
        }
        Ok(scaled as u32)
    }

    /// A degree that can be reached.
    fn possible(&self, at: &Node, what: &str, other: &str, degree: u32, there: u32, pair: &Pair) -> Result<()> {
        if degree > 0 && (there == 0 || !pair.multapses && degree > there) {
            let without = if pair.multapses { "" } else { " without multapses" };
            let message = format!("an {what} of {degree} is impossible{without}: there are {there} {other}s");
            return Err(at.error(message, self.more(there == 0)));
        }
        Ok(())
    }

    fn more(&self, none: bool) -> &'static str {
        match none {
            true => "allow autapses, or enlarge the population",
            false if self.scale.changes() => "set multapses = true, lower it, or choose scale.n at least as large as scale.k",
            false => "set multapses = true, or lower it",
        }
    }

    /// Synapses at full scale, given or from a pair probability.
    fn total<'n>(&self, node: &'n Node, spot: &Spot, pair: &Pair) -> Result<(&'n Node, f64)> {
        match (node.get("n"), node.get("probability")) {
            (Some(n), None) => Ok((n, self.scope.count(n, "n")? as f64)),
            (None, Some(at)) => {
                let p = self.scope.bounded(at, "probability", "1", &Bounds::PROBABILITY)?;
                let pairs = pair.full.0 * pair.full.1;
                if p == 1.0 || pairs < 2.0 {
                    let message = format!("no number of synapses over {pairs} pairs gives probability {p}");
                    return Err(at.error(message, "give a probability below 1 and more than one pair, or n"));
                }
                Ok((at, total_of_probability(p, pairs)))
            }
            (Some(_), Some(both)) => Err(both.error("n and probability are both given", "keep one of them")),
            (None, None) => {
                Err(spot.error("rule fixed_total_number has no `n`", "add n = the number of synapses, or probability ="))
            }
        }
    }

    fn distance(&self, node: &Node, spot: &Spot, pair: &Pair, probability: &Scaled<'_>) -> Result<(Rule, f64)> {
        let ends = [pair.source, pair.target].map(|i| &self.net.populations[i]);
        for population in ends {
            if population.positions.is_none() {
                let message = format!("`{}` has no positions", population.name);
                let remedy = format!("add positions = {{ extent = [\"1 mm\", \"1 mm\"] }} to [populations.{}]", population.name);
                return Err(spot.error(message, remedy));
            }
        }
        if ends[0].extent != ends[1].extent {
            let message = format!("`{}` and `{}` lie on sheets of different extent", ends[0].name, ends[1].name);
            return Err(spot.error(message, "give both the same extent"));
        }
        let get = |key, example| need(node, spot, "rule distance", key, example);
        let length = |key, example| get(key, example).and_then(|n| self.scope.bounded(n, key, "mm", &Bounds::POSITIVE));
        let periodic = node.get("periodic").map_or(Ok(false), boolean)?;
        let name = choice(get("profile", "\"gaussian\"")?, "profile", &["constant", "gaussian", "exponential"])?;
        let (p_key, width) = match name {
            "constant" => ("p", None),
            "gaussian" => ("p0", Some("sigma")),
            _ => ("p0", Some("lambda")),
        };
        for key in ["p", "p0", "sigma", "lambda"] {
            if let Some(unused) = node.get(key).filter(|_| key != p_key && Some(key) != width) {
                let remedy = format!("it takes {}", list([p_key].into_iter().chain(width)));
                return Err(unused.error(format!("profile {name} has no `{key}`"), remedy));
            }
        }
        let (p, scaled) = probability(p_key, get(p_key, "0.1")?)?;
        let width = width.map(|w| length(w, "\"0.1 mm\"")).transpose()?.unwrap_or(f64::INFINITY);
        let make = |p| match name {
            "constant" => Profile::Constant { p },
            "gaussian" => Profile::Gaussian { p0: p, sigma: width },
            _ => Profile::Exponential { p0: p, lambda: width },
        };
        let extent = ends[0].extent;
        let half = extent[0].min(extent[1]) / 2.0;
        let radius = match node.get("radius") {
            Some(r) => {
                let radius = self.scope.bounded(r, "radius", "mm", &Bounds::POSITIVE)?;
                if periodic && radius > half * (1.0 + 1e-9) {
                    let message = format!("a radius of {radius} mm reaches around the sheet of {} x {} mm", extent[0], extent[1]);
                    return Err(r.error(message, format!("at most {half} mm with periodic boundaries")));
                }
                radius
            }
            None if periodic => half,
            None => extent[0].hypot(extent[1]),
        };
        let rule = Rule::Distance { profile: make(scaled), radius, periodic };
        let indegree = if self.scale.thins() { self.mean_indegree(make(p), radius, periodic, pair) } else { 0.0 };
        Ok((rule, indegree))
    }

    /// Mean in-degree at full scale of a distance rule, from the positions there are (at most 500 targets).
    fn mean_indegree(&self, profile: Profile, radius: f64, periodic: bool, pair: &Pair) -> f64 {
        let ends = [pair.source, pair.target].map(|i| self.net.populations[i].positions.as_deref().unwrap_or(&[]));
        let extent = self.net.populations[pair.source].extent;
        let stride = (ends[1].len() / 500).max(1);
        let (mut sum, mut targets) = (0.0, 0.0);
        for (t, at) in ends[1].iter().enumerate().step_by(stride) {
            targets += 1.0;
            for (s, from) in ends[0].iter().enumerate() {
                if pair.same() && !pair.autapses && s == t {
                    continue;
                }
                let side = |i: usize| {
                    let d = (at[i] as f64 - from[i] as f64).abs();
                    if periodic { d.min(extent[i] - d) } else { d }
                };
                let d = side(0).hypot(side(1));
                if d <= radius {
                    sum += match profile {
                        Profile::Constant { p } => p,
                        Profile::Gaussian { p0, sigma } => p0 * (-0.5 * (d / sigma).powi(2)).exp(),
                        Profile::Exponential { p0, lambda } => p0 * (-d / lambda).exp(),
                    };
                }
            }
        }
        sum / f64::max(targets, 1.0) / pair.shares().0
    }

    fn edges(&self, file: &Node, projection: Option<&str>, pair: &Pair) -> Result<Edges> {
        let path = self.scope.path(file)?;
        let read = crate::network::connectivity::read_edges(&path, projection, pair.n.0, pair.n.1, &pair.unit);
        let edges = read.map_err(|e| placed(e, &file.spot))?;
        let possible = self.dt * (1.0 - 1e-9)..=self.dt * MAX_DELAY;
        if let Some((i, delay)) = edges.delay.iter().flatten().enumerate().find(|(_, d)| !possible.contains(*d)) {
            let (source, target) = edges.ends(i);
            let message = format!(
                "the edge {source} -> {target} of `{}` has a delay of {delay} ms, the step is {} ms",
                path.display(),
                self.dt
            );
            return Err(file.error(message, format!("delays are at least one step, and at most {MAX_DELAY}")));
        }
        Ok(edges)
    }

    /// Port (None: by the sign of each weight) and weight. Weights of a file stand for the draw: one rule for both.
    fn weight(&self, node: &Node, model: &NeuronModel, rule: &Rule) -> Result<(Option<usize>, Draw)> {
        let named = node.get("receptor").map(|r| self.receptor(r, model)).transpose()?;
        let Some(first) = model.ports.first() else {
            return Err(node.error(format!("{} takes no spikes", model.name), "project onto another model"));
        };
        let unit = named.map_or(&first.unit, |p| &model.ports[p].unit);
        let (at, draw) = match node.get("weight") {
            Some(w) => (&w.spot, self.scope.draw(w, "weight", unit)?),
            None => (&node.spot, Draw::Constant(1.0)),
        };
        // Whatever the weight: one spike is one.
        if let Some(port) = Some(named.unwrap_or(0)).filter(|port| model.ports[*port].counts) {
            return Ok((Some(port), Draw::Constant(1.0)));
        }
        let given = match rule {
            Rule::Explicit(edges) => edges.weight.as_ref().map(|w| (edges, w)),
            _ => None,
        };
        let (min, max) = match given {
            Some((_, weights)) => weights.iter().fold((0.0f64, 0.0f64), |(a, b), &w| (a.min(w as f64), b.max(w as f64))),
            None => (draw.moments().min, draw.moments().max),
        };
        if let Some(port) = named {
            let extremes = [min, max].map(|w| self.fits(model, port, w, at));
            let Some(wrong) = extremes.into_iter().find_map(Result::err) else { return Ok((Some(port), draw)) };
            let sign = model.ports[port].sign;
            let message = match given {
                Some((edges, weights)) => {
                    let bad = |w: &f32| if sign == Sign::Positive { *w < 0.0 } else { *w > 0.0 };
                    let (source, target) = weights.iter().position(bad).map_or((0, 0), |i| edges.ends(i));
                    let worst = weights.iter().copied().find(bad).unwrap_or(0.0);
                    format!("the edge {source} -> {target} of the file has the weight {worst}")
                }
                None if draw.constant().is_some() => return Err(wrong),
                None => format!("weights drawn here lie between {min} and {max}"),
            };
            let (takes, limit) = if sign == Sign::Positive { ("positive", "low = 0") } else { ("negative", "high = 0") };
            let remedy = match given {
                Some(_) => "leave out `receptor`: each weight then goes where its sign belongs".to_string(),
                None => format!(
                    "limit the distribution with {limit}, or leave out `receptor`: each weight then goes where its sign belongs"
                ),
            };
            let receptor = &model.ports[port].receptor;
            return Err(at.error(format!("{message}, and receptor `{receptor}` of {} takes {takes} weights", model.name), remedy));
        }
        let port = match (min >= 0.0, max <= 0.0) {
            (true, _) => Some(self.port_of_sign(model, true, at)?),
            (_, true) => Some(self.port_of_sign(model, false, at)?),
            _ => {
                let both = (self.port_of_sign(model, true, at)?, self.port_of_sign(model, false, at)?);
                (both.0 == both.1).then_some(both.0)
            }
        };
        if let Some(other) = port.map(|p| &model.ports[p]).filter(|p| p.unit != *unit) {
            let remedy = format!("name the receptor: receptor = \"{}\"", other.receptor);
            return Err(
                at.error(format!("receptor `{}` takes weights in {}, others in {unit}", other.receptor, other.unit), remedy)
            );
        }
        Ok((port, draw))
    }

    pub(super) fn receptor(&self, node: &Node, model: &NeuronModel) -> Result<usize> {
        let name = text(node)?;
        model.ports.iter().position(|p| p.receptor == name).ok_or_else(|| {
            let names: Vec<&str> = model.ports.iter().map(|p| p.receptor.as_str()).collect();
            node.error(format!("{} has no receptor `{name}`", model.name), suggest(name, names))
        })
    }

    /// The sign that a port takes.
    pub(super) fn fits(&self, model: &NeuronModel, port: usize, weight: f64, at: &Spot) -> Result<()> {
        let port = &model.ports[port];
        let wrong = match port.sign {
            Sign::Any => None,
            Sign::Positive => (weight < 0.0).then_some("positive"),
            Sign::Negative { .. } => (weight > 0.0).then_some("negative"),
        };
        match wrong {
            Some(sign) => Err(at.error(
                format!("receptor `{}` of {} takes {sign} weights, this is {weight}", port.receptor, model.name),
                "change the sign, or the receptor",
            )),
            None => Ok(()),
        }
    }

    /// The one port that takes weights of a sign.
    pub(super) fn port_of_sign(&self, model: &NeuronModel, positive: bool, at: &Spot) -> Result<usize> {
        let takes = |sign: Sign| match sign {
            Sign::Any => true,
            Sign::Positive => positive,
            Sign::Negative { .. } => !positive,
        };
        let fit: Vec<usize> = (0..model.ports.len()).filter(|&p| takes(model.ports[p].sign)).collect();
        match fit.as_slice() {
            [one] => Ok(*one),
            [] => {
                let sign = if positive { "positive" } else { "negative" };
                Err(at.error(format!("{} takes no {sign} weights", model.name), "change the sign of the weight"))
            }
            many => {
                let names = list(many.iter().map(|&p| model.ports[p].receptor.as_str()));
                Err(at.error(
                    format!("{} has several receptors for this weight", model.name),
                    format!("add receptor = one of: {names}"),
                ))
            }
        }
    }

    fn delay(&self, node: &Node) -> Result<Draw> {
        let dt = self.dt;
        let Some(at) = node.get("delay") else {
            return if dt <= 1.0 {
                Ok(Draw::Constant(1.0))
            } else {
                Err(node.error("the default delay of 1 ms is below the step", format!("add delay = \"{dt} ms\"")))
            };
        };
        let delay = self.scope.draw(at, "delay", "ms")?;
        let reach = delay.moments();
        match delay {
            Draw::Constant(d) if d < dt * (1.0 - 1e-9) => Err(at.error(
                format!("a delay of {d} ms is below the step of {dt} ms"),
                format!("give at least {dt} ms, or a smaller simulation.dt"),
            )),
            // A draw is rounded to whole steps: half a step is the least that becomes one.
            Draw::Constant(_) => Ok(()),
            _ if reach.min < 0.5 * dt * (1.0 - 1e-9) => {
                let message = format!("delays drawn here can fall below the step of {dt} ms");
                Err(at.error(message, format!("add low = \"{dt} ms\", redraw = true")))
            }
            _ => Ok(()),
        }?;
        let longest = reach.max;
        if longest > MAX_DELAY * dt {
            return Err(at.error(format!("a delay of {longest} ms is longer than {MAX_DELAY} steps"), "give a shorter delay"));
        }
        Ok(delay)
    }
}
