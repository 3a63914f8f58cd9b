//! What belongs to synapses that learn: the synapse of a projection with its modifiers, [modulators] and [[homeostasis]]. Promises a
//! rule that finds all it reads: its signal, and the states of its target. Knows models; no engine.

use super::Builder;
use super::keys::{self, names};
use super::read::{Bounds, check_keys, list, need, placed, strings, suggest, text};
use super::tree::{Kind, Node};
use crate::error::{Result, nearest};
use crate::model::{Modifier, NeuronModel, SynapseModel, compose};
use crate::network::{Homeostasis, HomeostasisKind, Modulator, ModulatorSpikes, SynapseInstance};
use std::sync::Arc;

/// Values given to parameters, by name.
type Given = Vec<(String, f64)>;

impl Builder<'_> {
    /// The synapse of a projection onto `target`, and the signal that it reads.
    pub(super) fn synapse(&self, node: Option<&Node>, target: &NeuronModel) -> Result<(SynapseInstance, Option<usize>)> {
        let (name, at) = match node {
            None => ("static_synapse", None),
            Some(n) => match &n.kind {
                Kind::Text(t) => (t.as_str(), Some(n)),
                _ => {
                    let model = need(n, &n.spot, "this synapse", "model", "\"tsodyks2_synapse\"")?;
                    (text(model)?, Some(model))
                }
            },
        };
        let base = self.library.synapse(name).map_err(|error| {
            let Some(at) = at else { return error };
            let other = match (self.library.neuron(name), self.library.modifier(name)) {
                (Ok(_), _) => Some("a neuron model"),
                (_, Ok(_)) => Some("a modifier, which goes into `metaplasticity`"),
                _ => None,
            };
            if let Some(other) = other {
                return at.error(format!("`{name}` is {other}"), "name a synapse model; `sharpwave models` lists them");
            }
            at.error(format!("unknown synapse model `{name}`"), unknown(name, self.library.synapses().map(|m| m.name.as_str())))
        })?;
        let Some(node) = node else { return Ok((SynapseInstance::new(&base, &[], self.dt)?, None)) };
        let mut given = self.parameters(node, name, &base.params, &names(&[keys::SYNAPSE]))?;
        let (modifiers, values) = self.modifiers(node)?;
        let model = match modifiers.is_empty() {
            true => base,
            false => {
                let parts: Vec<&Modifier> = modifiers.iter().map(Arc::as_ref).collect();
                let composed = compose(&base, &parts).map_err(|e| {
                    let at = node.get("metaplasticity").or(node.get("gate")).unwrap_or(node);
                    placed(e, &at.spot)
                })?;
                for (prefix, values) in composed.prefixes.iter().zip(values) {
                    given.extend(values.into_iter().map(|(name, x)| (format!("{prefix}{name}"), x)));
                }
                Arc::new(composed.model)
            }
        };
        let modulator = self.signal(node, &model)?;
        for state in model.plasticity.iter().flat_map(|p| &p.post_states) {
            target.reads_state(&model.name, &state.name).map_err(|e| placed(e, &node.spot))?;
        }
        let tau = modulator.map_or(f64::INFINITY, |m| self.net.modulators[m].tau);
        let instance = SynapseInstance::modulated(&model, &given, self.dt, tau).map_err(|e| placed(e, &node.spot))?;
        Ok((instance, modulator))
    }

    /// The keys of a table that are parameters; `others` are not.
    fn parameters(&self, node: &Node, model: &str, params: &[crate::model::Param], others: &[&str]) -> Result<Given> {
        let mut given = vec![];
        for entry in node.entries().iter().filter(|e| !others.contains(&e.key.as_str())) {
            let Some(p) = params.iter().find(|p| p.name == entry.key) else {
                let names = params.iter().map(|p| p.name.as_str());
                return Err(entry
                    .key_spot
                    .error(format!("{model} has no parameter `{}`", entry.key), suggest(&entry.key, names)));
            };
            let bounds = Bounds { above: p.above, at_least: p.at_least, at_most: p.at_most };
            given.push((p.name.clone(), self.scope.bounded(&entry.value, &p.name, &p.unit, &bounds)?));
        }
        Ok(given)
    }

    /// Those of `metaplasticity` in order, then `gate`, with the values given to each.
    fn modifiers(&self, node: &Node) -> Result<(Vec<Arc<Modifier>>, Vec<Given>)> {
        let list = match node.get("metaplasticity") {
            None => &[][..],
            Some(Node { kind: Kind::Array(items), .. }) => items,
            Some(one) => std::slice::from_ref(one),
        };
        let (mut modifiers, mut values) = (vec![], vec![]);
        for item in list {
            let name = match &item.kind {
                Kind::Text(_) => item,
                _ => need(item, &item.spot, "metaplasticity", "model", "\"consolidation\"")?,
            };
            let modifier = self.library.modifier(text(name)?).map_err(|_| {
                let word = text(name).unwrap_or_default();
                let known = self.library.modifiers().map(|m| m.name.as_str());
                name.error(format!("unknown modifier `{word}`"), unknown(word, known))
            })?;
            values.push(self.parameters(item, &modifier.name, &modifier.params, &names(&[keys::MODIFIER]))?);
            modifiers.push(modifier);
        }
        if node.get("gate").is_some() {
            modifiers.push(self.library.modifier("gate")?);
            values.push(vec![]);
        }
        Ok((modifiers, values))
    }

    /// The signal that `modulator` or `gate` names; required where the code reads one, refused elsewhere.
    fn signal(&self, node: &Node, model: &SynapseModel) -> Result<Option<usize>> {
        let index = |key: &str| -> Result<Option<usize>> {
            let Some(at) = node.get(key) else { return Ok(None) };
            let name = text(at)?;
            let names: Vec<&str> = self.net.modulators.iter().map(|m| m.name.as_str()).collect();
            names.iter().position(|n| *n == name).map(Some).ok_or_else(|| {
                let remedy = match names.is_empty() {
                    true => format!(
                        "add [modulators] {name} = {{ tau = \"200 ms\", jumps = {{ times = [\"1 s\"], amounts = [1.0] }} }}"
                    ),
                    false => suggest(name, names.clone()),
                };
                at.error(format!("there is no modulator `{name}`"), remedy)
            })
        };
        let (named, gate) = (index("modulator")?, index("gate")?);
        if let (Some(named), Some(gate)) = (named, gate)
            && named != gate
        {
            let at = node.get("gate").unwrap_or(node);
            return Err(at.error("a synapse reads one modulator at most", "name the same one under `modulator` and `gate`"));
        }
        let reads = model.plasticity.as_ref().and_then(|p| p.modulator.as_deref());
        match (reads, named.or(gate)) {
            (Some(signal), None) => {
                let message = format!("{} reads a modulator (`{signal}`), and none is named", model.name);
                Err(node.error(message, "add modulator = \"NAME\", one of [modulators]"))
            }
            (None, Some(_)) => {
                let at = node.get("modulator").unwrap_or(node);
                let name = text(at).unwrap_or("dopamine");
                Err(at.error(
                    format!("{} reads no modulator", model.name),
                    format!("drop it, or scale its steps by gate = \"{name}\""),
                ))
            }
            (_, found) => Ok(found),
        }
    }

    /// [modulators]: one table a signal.
    pub(super) fn modulators(&mut self, node: Option<&Node>) -> Result<()> {
        let Some(node) = node else { return Ok(()) };
        if !matches!(node.kind, Kind::Table { .. }) {
            return Err(
                node.error("`modulators` must be a table", "write [modulators], and dopamine = { tau = \"200 ms\" } below it")
            );
        }
        for entry in node.entries() {
            let (name, node) = (entry.key.as_str(), &entry.value);
            let what = format!("modulator {name}");
            check_keys(node, &what, &names(&[keys::MODULATOR]))?;
            let tau = match need(node, &entry.key_spot, &what, "tau", "\"200 ms\", or inf")? {
                Node { kind: Kind::Float(x), .. } if *x == f64::INFINITY => *x,
                Node { kind: Kind::Text(t), .. } if t == "inf" => f64::INFINITY,
                at => self.scope.bounded(at, "tau", "ms", &Bounds::POSITIVE)?,
            };
            let initial = node.get("initial").map_or(Ok(0.0), |n| self.scope.number(n, "1"))?;
            let jumps = node.get("jumps").map_or(Ok(vec![]), |n| self.jumps(n, &what))?;
            let spikes = node.get("spikes").map(|n| self.modulating(n, &what)).transpose()?;
            self.net.modulators.push(Modulator { name: name.into(), tau, initial, jumps, spikes });
        }
        Ok(())
    }

    fn jumps(&self, node: &Node, what: &str) -> Result<Vec<(f64, f64)>> {
        let what = format!("jumps of {what}");
        check_keys(node, &what, &names(&[keys::JUMPS]))?;
        let get = |key, example| need(node, &node.spot, &what, key, example);
        let (times, amounts) = (get("times", "[\"100 ms\"]")?, get("amounts", "[1.0]")?);
        let items = |node: &Node| match &node.kind {
            Kind::Array(items) => items.clone(),
            _ => vec![node.clone()],
        };
        let (all, sizes) = (items(times), items(amounts));
        if sizes.len() != all.len() && sizes.len() != 1 {
            let message = format!("{what} have {} times and {} amounts", all.len(), sizes.len());
            return Err(amounts.error(message, "give one amount a time, or one for all"));
        }
        let mut jumps = vec![];
        for (i, time) in all.iter().enumerate() {
            let amount = self.scope.number(sizes.get(i).unwrap_or(&sizes[0]), "1")?;
            jumps.push((self.scope.steps(time, "the time of a jump", self.dt, 1)?, amount));
        }
        jumps.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(jumps)
    }

    fn modulating(&self, node: &Node, what: &str) -> Result<ModulatorSpikes> {
        let what = format!("spikes of {what}");
        check_keys(node, &what, &names(&[keys::SIGNAL_SPIKES]))?;
        let population = need(node, &node.spot, &what, "population", "\"DA\"")?;
        Ok(ModulatorSpikes {
            population: self.group(text(population)?, population)?,
            delay: match node.get("delay") {
                Some(at) => self.scope.steps(at, "the delay", self.dt, 1)?,
                None => (1.0 / self.dt).round().max(1.0) * self.dt,
            },
            amount: self.scope.number(need(node, &node.spot, &what, "amount", "0.01")?, "1")?,
        })
    }

    /// [[homeostasis]]: what acts on the weights of a projection at stated times.
    pub(super) fn homeostasis(&mut self, nodes: &[Node]) -> Result<()> {
        for node in nodes {
            check_keys(node, "[[homeostasis]]", &names(&[keys::HOMEOSTASIS]))?;
            let get = |key, example| need(node, &node.spot, "[[homeostasis]]", key, example);
            let every = self.scope.steps(get("every", "\"500 ms\"")?, "the interval", self.dt, 1)?;
            for (name, at) in strings(get("projection", "\"E->E\"")?)? {
                let names: Vec<&str> = self.net.projections.iter().map(|p| p.name.as_str()).collect();
                let Some(projection) = names.iter().position(|n| *n == name) else {
                    return Err(at.error(format!("unknown projection `{name}`"), suggest(name, names)));
                };
                let model = &self.net.projections[projection].synapse.model.name;
                let Some(bound) = self.net.projections[projection].synapse.bound().map_err(|e| placed(e, &at.spot))? else {
                    let message = format!("the weights of `{name}` are those of {model}, which do not change");
                    return Err(at.error(message, "name a projection of plastic synapses"));
                };
                if let Some(other) = self.net.homeostasis.iter().find(|h| h.projection == projection && h.every == every) {
                    let message = format!("two rules act on `{name}` every {} ms, in no order", other.every);
                    return Err(at.error(message, "keep one of them, or give them different intervals"));
                }
                let kind = self.homeostasis_kind(node, projection, bound)?;
                self.net.homeostasis.push(Homeostasis { projection, every, kind });
            }
        }
        Ok(())
    }

    fn homeostasis_kind(&self, node: &Node, projection: usize, bound: f64) -> Result<HomeostasisKind> {
        match (node.get("normalise"), node.get("scaling")) {
            (Some(at), None) => {
                let p = &self.net.projections[projection];
                let unit = match &self.net.populations[p.target].cell {
                    crate::network::Cell::Neuron(n) => {
                        n.model.ports.get(p.port.unwrap_or(0)).map_or("1", |port| port.unit.as_str())
                    }
                    crate::network::Cell::Source(_) => "1",
                };
                let sum = self.scope.number(at, unit)?;
                if sum * bound <= 0.0 {
                    let message = format!("weights of `{}` lie between 0 and {bound}, their sum cannot become {sum}", p.name);
                    return Err(at.error(message, "give a sum of the weights' sign"));
                }
                Ok(HomeostasisKind::Normalise { sum })
            }
            (None, Some(table)) => {
                check_keys(table, "scaling", &names(&[keys::SCALING]))?;
                let get = |key, example| need(table, &table.spot, "scaling", key, example);
                let target = self.scope.bounded(get("target", "\"5 Hz\"")?, "target", "Hz", &Bounds::NOT_NEGATIVE)?;
                Ok(HomeostasisKind::Scaling { target, gain: self.scope.number(get("gain", "0.01")?, "1")? })
            }
            (Some(_), Some(both)) => {
                Err(both.error("normalise and scaling are both given", "write one [[homeostasis]] for each"))
            }
            (None, None) => Err(node.error(
                "[[homeostasis]] has neither `normalise` nor `scaling`",
                "add normalise = 78.0, or scaling = { target = \"5 Hz\", gain = 0.01 }",
            )),
        }
    }
}

/// The remedy for a model that there is not.
fn unknown<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}; --models DIR adds your own", list(known)),
    }
}
