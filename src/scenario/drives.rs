//! [[drives]]: Poisson input and currents applied directly to neurons. Knows stimuli; no engine.

use super::Builder;
use super::courses::Changing;
use super::keys::{DRIVE, DRIVES, Keys, names};
use super::read::{Bounds, check_keys, choice, need, strings, text};
use super::scale::Lost;
use super::tree::Node;
use crate::error::Result;
use crate::model::NeuronModel;
use crate::network::{Cell, Values};
use crate::rng::{Purpose, key};
use crate::stimulus::{Drive, DriveKind};

impl Builder<'_> {
    pub(super) fn drives(&mut self, nodes: &[Node], lost: &mut Vec<Lost>) -> Result<()> {
        for node in nodes {
            // The type first, so that the keys of this type are known; a table without one still has its keys checked.
            let all: Vec<Keys> = [DRIVE].into_iter().chain(DRIVES.map(|t| t.2)).collect();
            check_keys(node, "[[drives]]", &names(&all))?;
            let name = need(node, &node.spot, "[[drives]]", "type", "\"poisson_generator\"")?;
            let name = choice(name, "type", &DRIVES.map(|t| t.0))?;
            let keys = DRIVES.iter().find(|t| t.0 == name).map_or(&[][..], |t| t.2);
            check_keys(node, name, &names(&[DRIVE, keys]))?;
            for (target, target_node) in strings(need(node, &node.spot, "[[drives]]", "target", "\"E\"")?)? {
                let population = self.group(target, target_node)?;
                let Cell::Neuron(neuron) = &self.net.populations[population].cell else {
                    return Err(
                        target_node.error(format!("`{target}` is a source and takes no input"), "drive a population of neurons")
                    );
                };
                let model = neuron.model.clone();
                let unit = model.current.as_ref().map(|c| c.1.clone());
                let kind = if name == "poisson_generator" {
                    self.poisson_drive(node, population, &model, lost)?
                } else {
                    let Some(unit) = unit else {
                        return Err(
                            target_node.error(format!("{} takes no current", model.name), "drive it with a poisson_generator")
                        );
                    };
                    self.current(name, node, population, &unit)?
                };
                let (start, stop) = self.period(node)?;
                let given = node.get("name").map(text).transpose()?;
                let title = given.map_or_else(|| format!("{name} of {target}"), |g| format!("{g} of {target}"));
                if given.is_some() && self.net.drives.iter().any(|d| d.name == title) {
                    let at = node.get("name").unwrap_or(node);
                    return Err(at.error(format!("there is already a drive `{title}`"), "give it another name"));
                }
                self.net.drives.push(Drive { name: title, population, kind, start, stop });
            }
        }
        Ok(())
    }

    /// Down-scaled: rate x k, weight / sqrt(k), the lost mean to be replaced.
    fn poisson_drive(&self, node: &Node, population: usize, model: &NeuronModel, lost: &mut Vec<Lost>) -> Result<DriveKind> {
        let n = self.groups[population].n;
        let random = (Purpose::Parameter, key(self.seed, population as u32), 1 << 16 | self.net.drives.len() as u32);
        let rate_node = need(node, &node.spot, "poisson_generator", "rate", "\"1000 * 8 Hz\"")?;
        let rate = self.rates(rate_node, n, random)?;
        let named = node.get("receptor").map(|r| self.receptor(r, model)).transpose()?;
        let Some(first) = model.ports.first() else {
            return Err(node.error(format!("{} takes no spikes", model.name), "drive another model, or use a current"));
        };
        let unit = named.map_or(&first.unit, |p| &model.ports[p].unit);
        let weight_node = need(node, &node.spot, "poisson_generator", "weight", &format!("\"1 {unit}\""))?;
        let weight = self.scope.number(weight_node, unit)?;
        let port = match named {
            Some(port) => port,
            None => self.port_of_sign(model, weight >= 0.0, &weight_node.spot)?,
        };
        self.fits(model, port, weight, &weight_node.spot)?;
        if model.ports[port].counts {
            if self.scale.thins() {
                let message = format!("scale.k is {}, and {} counts spikes", self.scale.k, model.name);
                return Err(self.scale.refuse(&weight_node.spot, message, "set scale.k = 1"));
            }
            return Ok(DriveKind::Poisson { rate, weight: 1.0, port });
        }
        let (start, stop) = self.period(node)?;
        if !self.scale.thins() {
            return Ok(DriveKind::Poisson { rate, weight, port });
        }
        lost.push(Lost { target: population, port, drive: times(&rate, weight), start, stop });
        Ok(DriveKind::Poisson { rate: times(&rate, self.scale.k), weight: weight * self.scale.weight(), port })
    }

    fn current(&self, name: &str, node: &Node, population: usize, unit: &str) -> Result<DriveKind> {
        let get = |key, example: &str| need(node, &node.spot, name, key, example);
        let number = |key, unit: &str, default: f64| node.get(key).map_or(Ok(default), |n| self.scope.number(n, unit));
        Ok(match name {
            "dc_generator" => {
                let random = (Purpose::Parameter, key(self.seed, population as u32), 1 << 16 | self.net.drives.len() as u32);
                let at = get("amplitude", &format!("\"100 {unit}\""))?;
                DriveKind::Dc {
                    amplitude: self.scope.values(at, "amplitude", unit, self.groups[population].n, &Bounds::ANY, random)?,
                }
            }
            "ac_generator" => DriveKind::Ac {
                amplitude: self.scope.number(get("amplitude", &format!("\"100 {unit}\""))?, unit)?,
                frequency: self.scope.bounded(get("frequency", "\"10 Hz\"")?, "frequency", "Hz", &Bounds::NOT_NEGATIVE)?,
                // A plain number is in degrees, as NEST has it.
                phase: number("phase", "deg", 0.0)?.to_radians(),
                offset: number("offset", unit, 0.0)?,
            },
            "step_current_generator" => {
                let of = Changing { key: "amplitudes", one: "amplitude", unit, bounds: Bounds::ANY, each: 1 };
                let changes = self.changes(node, &node.spot, name, &of)?;
                DriveKind::Step { changes: changes.into_iter().map(|(time, amplitude)| (time, amplitude.get(0))).collect() }
            }
            _ => {
                let interval = node.get("interval").map_or(Ok(self.dt), |n| self.scope.steps(n, "the interval", self.dt, 1))?;
                let std = self.scope.bounded(get("std", &format!("\"10 {unit}\""))?, "std", unit, &Bounds::NOT_NEGATIVE)?;
                DriveKind::Noise { mean: number("mean", unit, 0.0)?, std, interval }
            }
        })
    }
}

fn times(values: &Values, factor: f64) -> Values {
    match values {
        Values::Uniform(x) => Values::Uniform(x * factor),
        Values::Each(v) => Values::Each(v.iter().map(|x| x * factor).collect()),
    }
}
