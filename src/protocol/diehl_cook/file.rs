//! A file of kind "diehl_cook": TOML to checked [`Settings`]. Every refusal is made here, with file, line and what to change.
//! Knows the file format; nothing of training.

use super::{Parts, Settings, check_sizes};
use crate::error::Result;
use crate::model::library::Library;
use crate::model::{NeuronModel, Param};
use crate::network::{Draw, NeuronInstance, SynapseInstance, Values};
use crate::protocol::data::Wanted;
use crate::protocol::file::{Source, held_out};
use crate::scenario::read::{Bounds, Scope, boolean, check_keys, need, placed, suggest, text};
use crate::scenario::tree::{Kind, Node};

const KEYS: [&str; 10] =
    ["title", "citation", "description", "kind", "seed", "data", "network", "presentation", "training", "quick"];

/// A table whose keys have been checked; an absent one is empty.
struct Table<'a>(Option<&'a Node>);

impl<'a> Table<'a> {
    fn of(parent: &'a Node, key: &str, keys: &[&str]) -> Result<Self> {
        let node = parent.get(key);
        node.map_or(Ok(()), |n| check_keys(n, &format!("[{key}]"), keys))?;
        Ok(Table(node))
    }
    fn get(&self, key: &str) -> Option<&'a Node> {
        self.0.and_then(|node| node.get(key))
    }
    fn number(&self, key: &str, unit: &str, default: f64, bounds: &Bounds) -> Result<f64> {
        self.get(key).map_or(Ok(default), |n| Scope::default().bounded(n, key, unit, bounds))
    }
    fn count(&self, key: &str, default: u64, least: u64) -> Result<u64> {
        let Some(node) = self.get(key) else { return Ok(default) };
        match Scope::default().count(node, key)? {
            n if n < least => {
                Err(node.error(format!("{key} must be at least {least}, it is {n}"), format!("write {key} = {least}")))
            }
            n => Ok(n),
        }
    }
    fn steps(&self, key: &str, default: f64, dt: f64, least: u64) -> Result<u64> {
        let time = self.get(key).map_or(Ok(default), |n| Scope::default().steps(n, key, dt, least))?;
        Ok((time / dt).round() as u64)
    }
}

/// The typed image of a source of kind "diehl_cook".
///
/// # Errors
/// The first thing that is wrong, at its place.
pub fn read(source: &Source, library: &Library) -> Result<Settings> {
    let root = &source.root;
    check_keys(root, "this protocol", &KEYS)?;
    let network = need(root, &root.spot, "this protocol", "network", "{ sizes = [784, 400, 10] }")?;
    let keys = ["sizes", "dt", "delay", "weights", "relay", "excite", "inhibit", "excitatory", "inhibitory", "synapse"];
    let table = Table::of(root, "network", &keys)?;
    let sizes_node = need(network, &network.spot, "[network]", "sizes", "[784, 400, 10] (inputs, neurons, classes)")?;
    let sizes = sizes(sizes_node)?;
    check_sizes(sizes, &sizes_node.spot)?;
    let dt = table.number("dt", "ms", 0.5, &Bounds { at_most: Some(10.0), ..Bounds::POSITIVE })?;
    let delay = table.steps("delay", dt, dt, 1)? as f64 * dt;
    let seed = root.get("seed").map_or(Ok(1), |n| Scope::default().count(n, "the seed"))?;
    let uniform = Draw::Uniform { low: 0.003, high: 0.303 };
    let initial = table.get("weights").map_or(Ok(uniform), |n| Scope::default().draw(n, "the initial weight", "1"))?;
    let (excitatory, frozen) = neuron(table.get("excitatory"), "network.excitatory", library, dt)?;
    let (inhibitory, _) = neuron(table.get("inhibitory"), "network.inhibitory", library, dt)?;
    let port = |model: &NeuronModel, receptor: &str| {
        model.ports.iter().position(|p| p.receptor == receptor).ok_or_else(|| {
            let message = format!("{} has no receptor `{receptor}`", model.name);
            network.error(message, "name a model with the receptors excitatory and inhibitory, for instance diehl_cook")
        })
    };
    let (e, i) = (&excitatory.model, &inhibitory.model);
    let parts = Parts {
        sizes,
        dt,
        seed,
        ports: [port(e, "excitatory")?, port(e, "inhibitory")?, port(i, "excitatory")?],
        plastic: synapse(table.get("synapse"), library, dt)?,
        fixed: SynapseInstance::new(&library.synapse("static_synapse")?, &[], dt)?,
        initial,
        delay,
        excite: table.number("excite", "1", 10.4, &Bounds::NOT_NEGATIVE)?,
        inhibit: table.number("inhibit", "1", 17.0, &Bounds::NOT_NEGATIVE)?,
        inhibitory: table.get("relay").map_or(Ok(false), boolean)?.then_some(inhibitory),
        excitatory,
    };
    let (learns, stays) = (parts.network(parts.excitatory.clone()), parts.network(frozen));
    let shown = Table::of(root, "presentation", &["time", "rest", "max_rate", "more", "least_spikes", "repeats"])?;
    let training = Table::of(root, "training", &["digits", "normalise", "plasticity", "every", "labelling"])?;
    let data = data(root, sizes)?;
    Ok(Settings {
        title: source.heading("title")?,
        citation: source.heading("citation")?,
        name: source.name.clone(),
        text: source.text.clone(),
        overrides: source.settings.clone(),
        data,
        sizes,
        sizes_spot: sizes_node.spot.clone(),
        seed,
        network: learns,
        frozen: stays,
        shown: shown.steps("time", 350.0, dt, 1)?,
        rest: shown.steps("rest", 150.0, dt, 0)?,
        max_rate: shown.number("max_rate", "Hz", 63.75, &Bounds::POSITIVE)?,
        more: shown.number("more", "Hz", 31.875, &Bounds::NOT_NEGATIVE)?,
        least_spikes: shown.count("least_spikes", 5, 0)?,
        repeats: shown.count("repeats", 20, 0)?,
        normalise: training.number("normalise", "1", 78.0, &Bounds::POSITIVE)?,
        digits: training.count("digits", 180_000, 1)?,
        learning: training.get("plasticity").map_or(Ok(true), boolean)?,
        every: training.count("every", 1000, 1)?,
        labelling: training.count("labelling", 10_000, 1)? as usize,
    })
}

fn sizes(node: &Node) -> Result<[usize; 3]> {
    let Kind::Array(items) = &node.kind else {
        return Err(node.error("sizes must be an array", "write for instance sizes = [784, 400, 10]"));
    };
    let sizes = items.iter().map(|n| Scope::default().count32(n, "a size").map(|n| n as usize)).collect::<Result<Vec<_>>>()?;
    sizes.try_into().map_err(|sizes: Vec<usize>| {
        node.error(format!("{} sizes", sizes.len()), "give three: inputs, excitatory neurons, classes, as [784, 400, 10]")
    })
}

fn data(root: &Node, [inputs, _, classes]: [usize; 3]) -> Result<Wanted> {
    let t = Table::of(root, "data", &["set", "train", "test", "validation", "noise"])?;
    held_out(root)?;
    let set = t.get("set").map_or(Ok("mnist"), text)?;
    if let (Some(node), true) = (t.get("noise"), set != "patterns") {
        return Err(node.error("noise belongs to the data set `patterns`", "leave it out"));
    }
    let count = |key: &str| t.get(key).map(|_| t.count(key, 1, 1).map(|n| n as usize)).transpose();
    Ok(Wanted {
        set: set.into(),
        train: count("train")?,
        test: count("test")?,
        validation: count("validation")?,
        offset: 0.0,
        scale: 1.0,
        noise: t.number("noise", "1", 0.3, &Bounds::PROBABILITY)?,
        inputs,
        classes,
    })
}

/// Values for some of a model's parameters, each checked.
fn given(node: Option<&Node>, model: &str, params: &[Param]) -> Result<Vec<(String, f64)>> {
    let Some(node) = node else { return Ok(vec![]) };
    let names: Vec<&str> = params.iter().map(|p| p.name.as_str()).collect();
    check_keys(node, &format!("the parameters of {model}"), &names)?;
    let value = |entry: &crate::scenario::tree::Entry| {
        let p = params.iter().find(|p| p.name == entry.key).expect("checked just before");
        let bounds = Bounds { above: p.above, at_least: p.at_least, at_most: p.at_most };
        Ok((p.name.clone(), Scope::default().bounded(&entry.value, &p.name, &p.unit, &bounds)?))
    };
    node.entries().iter().map(value).collect()
}

/// A neuron while learning, and with the parameters of `frozen` over them.
fn neuron(node: Option<&Node>, what: &str, library: &Library, dt: f64) -> Result<(NeuronInstance, NeuronInstance)> {
    node.map_or(Ok(()), |n| check_keys(n, &format!("[{what}]"), &["model", "params", "frozen"]))?;
    let get = |key: &str| node.and_then(|n| n.get(key));
    let name = get("model").map_or(Ok("diehl_cook"), text)?;
    let model = library.neuron(name).map_err(|error| match get("model") {
        Some(n) => placed(error, &n.spot),
        None => error,
    })?;
    let mut values: Vec<(String, Values)> = vec![];
    let mut build = |key: &str| {
        for (name, value) in given(get(key), &model.name, &model.params)? {
            values.retain(|v| v.0 != name);
            values.push((name, Values::Uniform(value)));
        }
        NeuronInstance::new(&model, &values, dt).map_err(|error| match get(key).or(node) {
            Some(n) => placed(error, &n.spot),
            None => error,
        })
    };
    Ok((build("params")?, build("frozen")?))
}

fn synapse(node: Option<&Node>, library: &Library, dt: f64) -> Result<SynapseInstance> {
    node.map_or(Ok(()), |n| check_keys(n, "[network.synapse]", &["model", "params"]))?;
    let get = |key: &str| node.and_then(|n| n.get(key));
    let at = |error, key: &str| match get(key).or(node) {
        Some(n) => placed(error, &n.spot),
        None => error,
    };
    let name = get("model").map_or(Ok("diehl_cook_synapse"), text)?;
    let model = library.synapse(name).map_err(|error| at(error, "model"))?;
    if let (None, Some(n)) = (&model.plasticity, get("model")) {
        let plastic: Vec<String> = library.synapses().filter(|m| m.plasticity.is_some()).map(|m| m.name.clone()).collect();
        return Err(
            n.error(format!("{name} keeps its weight"), suggest(name, plastic.iter().map(String::as_str).collect::<Vec<_>>()))
        );
    }
    let values = given(get("params"), &model.name, &model.params)?;
    SynapseInstance::new(&model, &values, dt).map_err(|error| at(error, "params"))
}
