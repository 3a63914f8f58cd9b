//! Down-scaling that keeps mean and variance of the input (van Albada, Helias & Diesmann 2015, PLoS Comput Biol 11:e1004490, as
//! in the published code of the Potjans-Diesmann microcircuit): fewer neurons, fewer synapses with weights / sqrt(k), and a DC
//! current for the mean input that is lost. Knows rules and rates; no TOML beyond [scale].

use super::Builder;
use super::keys::{self, names as names_of};
use super::populations::Group;
use super::read::{Bounds, Scope, check_keys, suggest};
use super::tree::{Node, Spot};
use crate::error::Result;
use crate::network::{Cell, Draw, Limits, Values};
use crate::stimulus::{Drive, DriveKind, SpikeSource};

/// [scale]: neurons x n, synapses per neuron x k.
#[derive(Clone, Debug)]
pub struct Scale {
    pub n: f64,
    pub k: f64,
    /// Hz of the full-scale network, with their places.
    rates: Vec<(String, f64, Spot)>,
    /// Where n and k are written.
    spots: Option<(Spot, Spot)>,
}

/// Mean input that a population loses when in-degrees are multiplied by k and weights divided by sqrt(k).
pub struct Lost {
    pub target: usize,
    pub port: usize,
    /// Weight times spikes per second of the full-scale network, one for all targets or one each.
    pub drive: Values,
    /// The input lasts from start to stop (ms).
    pub start: f64,
    pub stop: f64,
}

fn factor(node: &Node, key: &str, scope: &Scope) -> Result<f64> {
    let bounds = Bounds::POSITIVE;
    node.get(key).map_or(Ok(1.0), |v| {
        scope.number(v, "1").and_then(|x| {
            bounds.check(x, &format!("scale.{key}"), "1").map_err(|(m, _)| v.error(m, "write a fraction, for instance 0.1"))?;
            Ok(x)
        })
    })
}

/// Adds `scale_n` and `scale_k` to the names.
pub fn names(node: Option<&Node>, scope: &mut Scope) -> Result<()> {
    let (n, k) = match node {
        Some(node) => (factor(node, "n", scope)?, factor(node, "k", scope)?),
        None => (1.0, 1.0),
    };
    scope.names.extend([("scale_n".to_string(), n), ("scale_k".to_string(), k)]);
    Ok(())
}

impl Scale {
    pub fn read(node: Option<&Node>, scope: &Scope) -> Result<Scale> {
        let Some(node) = node else { return Ok(Scale { n: 1.0, k: 1.0, rates: vec![], spots: None }) };
        check_keys(node, "[scale]", &names_of(&[keys::SCALE]))?;
        let mut rates = vec![];
        for entry in node.get("rates").map(Node::entries).unwrap_or(&[]) {
            let rate = scope.bounded(&entry.value, "the rate", "Hz", &Bounds::NOT_NEGATIVE)?;
            rates.push((entry.key.clone(), rate, entry.key_spot.clone()));
        }
        let spot = |key| node.get(key).map_or(&node.spot, |v| &v.spot).clone();
        Ok(Scale { n: factor(node, "n", scope)?, k: factor(node, "k", scope)?, rates, spots: Some((spot("n"), spot("k"))) })
    }

    /// Every rate names a population.
    pub fn check_rates(&self, groups: &[Group]) -> Result<()> {
        for (name, _, spot) in &self.rates {
            if !groups.iter().any(|g| g.name == *name) {
                let names: Vec<_> = groups.iter().map(|g| g.name.as_str()).collect();
                return Err(spot.error(format!("unknown population `{name}` in scale.rates"), suggest(name, names)));
            }
        }
        Ok(())
    }

    pub fn thins(&self) -> bool {
        self.k != 1.0
    }

    pub fn changes(&self) -> bool {
        self.n != 1.0 || self.k != 1.0
    }

    /// Factor on weights.
    pub fn weight(&self) -> f64 {
        1.0 / self.k.sqrt()
    }

    /// Refusal of something that cannot be scaled, at scale.k.
    pub fn refuse(&self, fallback: &Spot, message: String, remedy: impl Into<String>) -> crate::error::Error {
        self.spots.as_ref().map_or(fallback, |s| &s.1).error(message, remedy)
    }

    /// The same at scale.n.
    pub fn refuse_n(&self, fallback: &Spot, message: String, remedy: impl Into<String>) -> crate::error::Error {
        self.spots.as_ref().map_or(fallback, |s| &s.0).error(message, remedy)
    }

    /// Full-scale rate of a source population in Hz.
    fn rate(&self, group: &Group, cell: &Cell, fallback: &Spot) -> Result<f64> {
        if let Some((_, rate, _)) = self.rates.iter().find(|r| r.0 == group.name) {
            return Ok(*rate);
        }
        if let Cell::Source(SpikeSource::Poisson { rate, .. }) = cell {
            return Ok(match rate {
                Values::Uniform(r) => *r,
                Values::Each(all) => all.iter().sum::<f64>() / all.len().max(1) as f64,
            });
        }
        let message = format!("scale.k is {}, and the full-scale rate of `{}` is not known", self.k, group.name);
        Err(self.refuse(
            fallback,
            message,
            format!("add scale.rates.{} = its mean rate in Hz at full scale, or set scale.k = 1", group.name),
        ))
    }
}

/// A draw with all its values multiplied by a positive factor.
pub fn multiply(draw: &Draw, factor: f64) -> Draw {
    let scaled = |l: Limits| Limits { low: l.low * factor, high: l.high * factor, redraw: l.redraw };
    match *draw {
        Draw::Constant(x) => Draw::Constant(x * factor),
        Draw::Normal { mean, std, limits } => Draw::Normal { mean: mean * factor, std: std * factor, limits: scaled(limits) },
        Draw::Lognormal { mu, sigma, limits } => Draw::Lognormal { mu: mu + factor.ln(), sigma, limits: scaled(limits) },
        Draw::Uniform { low, high } => Draw::Uniform { low: low * factor, high: high * factor },
        Draw::Exponential { mean, limits } => Draw::Exponential { mean: mean * factor, limits: scaled(limits) },
    }
}

/// Total number of synapses that give every pair a probability `p` to be connected at least once (Potjans & Diesmann 2014, eq. 1).
pub fn total_of_probability(p: f64, pairs: f64) -> f64 {
    (-p).ln_1p() / (-1.0 / pairs).ln_1p()
}

impl Builder<'_> {
    /// Notes the mean input lost by a projection of mean full-scale in-degree `k` and mean weight `weight`.
    pub(super) fn lose(
        &self,
        lost: &mut Vec<Lost>,
        pair: (usize, usize),
        port: usize,
        k: f64,
        weight: f64,
        spot: &Spot,
    ) -> Result<()> {
        if !self.scale.thins() || k * weight == 0.0 {
            return Ok(());
        }
        let (source, target) = pair;
        let cell = &self.net.populations[source].cell;
        let rate = self.scale.rate(&self.groups[source], cell, spot)?;
        let (start, stop) = match cell {
            Cell::Source(SpikeSource::Poisson { start, stop, .. }) => (*start, *stop),
            _ => (0.0, f64::INFINITY),
        };
        lost.push(Lost { target, port, drive: Values::Uniform(k * weight * rate), start, stop });
        Ok(())
    }

    /// Adds the DC currents: for each target and period, the sum over its lost inputs of
    /// (1 - sqrt(k)) * weight * spikes per second * charge / 1000, in pA.
    pub(super) fn compensate(&mut self, lost: Vec<Lost>) -> Result<()> {
        let share = 1.0 - self.scale.k.sqrt();
        let mut sums: Vec<(usize, f64, f64, Values)> = vec![];
        for item in lost {
            let population = &self.net.populations[item.target];
            let Cell::Neuron(neuron) = &population.cell else { continue };
            let spot = &self.groups[item.target].spot;
            let port = &neuron.model.ports[item.port];
            let what = format!("input of `{}` through `{}` of {}", population.name, port.receptor, neuron.model.name);
            let remedy = "set scale.k = 1, or use a model with current-based synapses";
            let Some(charge) = &port.charge else {
                return Err(self.scale.refuse(spot, format!("the mean {what} cannot be replaced by a current"), remedy));
            };
            if neuron.model.current.is_none() {
                return Err(self.scale.refuse(
                    spot,
                    format!("{} takes no current, so lost {what} cannot be replaced", neuron.model.name),
                    remedy,
                ));
            }
            let bound = charge.bind(|name| neuron.model.param(name)).map_err(|name| {
                self.scale.refuse(
                    spot,
                    format!("the charge of {what} depends on `{name}`, which is not a parameter"),
                    "correct the model file",
                )
            })?;
            let each = |i: usize| {
                let params: Vec<f64> = neuron.params.iter().map(|p| p.get(i)).collect();
                share * item.drive.get(i) * bound.eval(&params) / 1000.0
            };
            let uniform = item.drive.is_uniform()
                && charge.names().all(|n| neuron.model.param(n).is_none_or(|p| neuron.params[p].is_uniform()));
            let current =
                if uniform { Values::Uniform(each(0)) } else { Values::Each((0..population.n as usize).map(each).collect()) };
            match sums.iter_mut().find(|s| (s.0, s.1, s.2) == (item.target, item.start, item.stop)) {
                Some(sum) => sum.3 = add(&sum.3, &current),
                None => sums.push((item.target, item.start, item.stop, current)),
            }
        }
        for (population, start, stop, amplitude) in sums {
            let name = format!("mean input lost by {}", self.groups[population].name);
            self.net.drives.push(Drive { name, population, kind: DriveKind::Dc { amplitude }, start, stop });
        }
        Ok(())
    }
}

fn add(a: &Values, b: &Values) -> Values {
    match (a, b) {
        (Values::Uniform(x), Values::Uniform(y)) => Values::Uniform(x + y),
        (Values::Each(v), other) | (other, Values::Each(v)) => {
            Values::Each(v.iter().enumerate().map(|(i, x)| x + other.get(i)).collect())
        }
    }
}
