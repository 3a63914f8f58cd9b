//! A protocol file: TOML to a checked [`Protocol`]. Every refusal is made here, before anything is read or trained, with file,
//! line and what to change. Knows the file format; no data and no training.

use super::{Asked, Engine, Guard, Kind as Learns, Method, Protocol, Replay, Tasks, Training, Uncertain};
use crate::error::{Error, Place, Result};
use crate::learning::importance::{self, Fisher, Form};
use crate::learning::local::{Eligibility, Network, Optimiser, Settings, Signal};
use crate::learning::posterior::{self, Rule};
use crate::learning::projection::{self, Hebbian};
use crate::learning::{dreams, gated, predictive};
use crate::scenario::read::{Bounds, Scope, boolean, check_keys, choice, need, placed, strings, suggest, text};
use crate::scenario::tree::{self, Kind, Node, Spot};
use std::path::Path;
use std::sync::Arc;

mod built_in {
    include!(concat!(env!("OUT_DIR"), "/protocols.rs"));
}

/// The protocols that are part of the program: name and text.
pub fn built_in() -> impl Iterator<Item = (&'static str, &'static str)> {
    let stem = |path: &'static str| path.rsplit('/').next().unwrap_or(path).trim_end_matches(".toml");
    built_in::PROTOCOLS.iter().map(move |(path, text)| (stem(path), *text))
}

/// Name and text of a protocol: a file, or one that is part of the program by its name.
///
/// # Errors
/// Neither a file nor a name that is known.
pub fn find(file: &Path) -> Result<(String, String)> {
    let written = file.display().to_string();
    if let Some((name, text)) = built_in().find(|(name, _)| *name == written).filter(|_| !file.exists()) {
        return Ok((name.into(), text.into()));
    }
    let text = std::fs::read_to_string(file).map_err(|e| Error::File {
        path: file.to_path_buf(),
        message: format!("cannot be read: {e}"),
        remedy: Some(format!("give a file, or a name: {}", suggest(&written, built_in().map(|b| b.0).collect::<Vec<_>>()))),
    })?;
    Ok((written, text))
}

/// A file with its `[quick]` settings (where asked for) and overrides applied; nothing checked but the TOML.
pub struct Source {
    pub(super) name: String,
    pub(super) text: Arc<str>,
    pub(super) settings: Vec<String>,
    pub(super) root: Node,
}

/// Reads a protocol's text. `overrides` are `key=value`.
///
/// # Errors
/// TOML that does not parse, an override that names nothing.
pub fn source(name: &str, content: &str, overrides: &[String], quick: bool) -> Result<Source> {
    let text: Arc<str> = content.into();
    let mut root = tree::parse(name, text.clone())?;
    let mut settings = overrides.to_vec();
    if quick {
        let Some(table) = root.get("quick").cloned() else {
            return Err(
                root.error(format!("{name} has no short version"), "add a table [quick] with its settings, or leave --quick out")
            );
        };
        for (path, value) in tree::settings(&table)? {
            tree::set(&mut root, &path, value)?;
        }
        settings.insert(0, "--quick".into());
    }
    for setting in overrides {
        let (path, value) = tree::parse_override(setting)?;
        tree::set(&mut root, &path, value)?;
    }
    Ok(Source { name: name.into(), text, settings, root })
}

impl Source {
    /// The `kind` of protocol, with its place.
    pub fn kind(&self) -> Result<(&str, Place)> {
        let node = need(&self.root, &self.root.spot, "a protocol", "kind", "\"supervised\", \"permuted\" or \"split\"")?;
        Ok((text(node)?, node.spot.place()))
    }

    /// A text at the top, empty where absent.
    pub fn heading(&self, key: &str) -> Result<String> {
        self.root.get(key).map_or(Ok(String::new()), |n| text(n).map(str::to_string))
    }
}

/// The parts of a file of kind "suite", by name: the file itself with each part's settings. `without` in a part names methods that it
/// leaves out.
///
/// # Errors
/// No parts, a name that is no folder's, a setting that names nothing, a method to leave out that there is not.
pub fn parts(source: &Source) -> Result<Vec<(String, Source)>> {
    let list = need(&source.root, &source.root.spot, "a suite", "parts", "[parts.first] with the settings of each")?;
    let mut parts = vec![];
    for part in list.entries() {
        if part.key.is_empty() || !part.key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
            return Err(part.key_spot.error(
                format!("`{}` is no name of a part", part.key),
                "use letters, digits, _ and -: its folder is named after it",
            ));
        }
        let mut root = source.root.clone();
        let drop = |node: &mut Node, gone: &dyn Fn(&str) -> bool| {
            if let Kind::Table { entries, .. } = &mut node.kind {
                entries.retain(|entry| !gone(&entry.key));
            }
        };
        drop(&mut root, &|key| key == "parts");
        for (path, value) in tree::settings(&part.value)? {
            if !matches!(&path[..], [(key, _)] if key == "without") {
                tree::set(&mut root, &path, value)?;
                continue;
            }
            let names = strings(&value)?;
            let Kind::Table { entries, .. } = &mut root.kind else { continue };
            let Some(methods) = entries.iter_mut().find(|entry| entry.key == "methods") else { continue };
            if let Some((name, spot)) = names.iter().find(|(name, _)| methods.value.get(name).is_none()) {
                let known: Vec<&str> = methods.value.entries().iter().map(|e| e.key.as_str()).collect();
                return Err(spot.error(format!("there is no method `{name}` to leave out"), suggest(name, known)));
            }
            drop(&mut methods.value, &|key| names.iter().any(|(name, _)| *name == key));
        }
        let settings = source.settings.iter().cloned().chain([format!("part {}", part.key)]).collect();
        parts.push((part.key.clone(), Source { name: source.name.clone(), text: source.text.clone(), settings, root }));
    }
    match parts.is_empty() {
        true => Err(list.error("a suite of no parts", "add [parts.first] with the settings of each")),
        false => Ok(parts),
    }
}

/// Kinds that are read here.
pub const KINDS: [&str; 6] = ["supervised", "permuted", "split", "suite", "diehl_cook", "e_prop"];
const KEYS: &[&str] = &[
    "title",
    "citation",
    "description",
    "kind",
    "seeds",
    "data",
    "tasks",
    "network",
    "training",
    "methods",
    "uncertainty",
    "quick",
    "engine",
    "device",
];
const TRAINING: &[&str] = &["optimiser", "rate", "momentum", "schedule", "batch", "passes", "samples"];
const GUARDS: &[&str] = &["projection", "metaplasticity", "importance", "cascade", "posterior"];
/// What learns instead of the file's network alone; a method has one at most.
const LEARNERS: &[&str] = &["replay", "contexts", "predictive"];

const FRACTION: Bounds = Bounds { above: Some(0.0), at_least: None, at_most: Some(1.0) };
const AT_LEAST_ONE: Bounds = Bounds { above: None, at_least: Some(1.0), at_most: None };

/// Reads the values of a table one by one; keys it does not know are refused before.
pub(super) struct Table<'a> {
    node: Option<&'a Node>,
    scope: Scope,
}

impl<'a> Table<'a> {
    pub(super) fn new(node: Option<&'a Node>, what: &str, keys: &[&str]) -> Result<Self> {
        node.map_or(Ok(()), |node| check_keys(node, what, keys))?;
        Ok(Table { node, scope: Scope::default() })
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.node.and_then(|node| node.get(key))
    }

    pub(super) fn number(&self, key: &str, default: f64, bounds: &Bounds) -> Result<f64> {
        self.quantity(key, "1", default, bounds)
    }

    pub(super) fn quantity(&self, key: &str, unit: &str, default: f64, bounds: &Bounds) -> Result<f64> {
        self.get(key).map_or(Ok(default), |node| self.scope.bounded(node, key, unit, bounds))
    }

    pub(super) fn count(&self, key: &str, default: u64, least: u64) -> Result<u64> {
        let Some(node) = self.get(key) else { return Ok(default) };
        match self.scope.count(node, key)? {
            n if n < least => {
                Err(node.error(format!("{key} must be at least {least}, it is {n}"), format!("write {key} = {least}")))
            }
            n => Ok(n),
        }
    }

    pub(super) fn choice(&self, key: &str, default: &'a str, known: &[&'a str]) -> Result<&'a str> {
        self.get(key).map_or(Ok(default), |node| choice(node, key, known))
    }

    /// One number or an array of them.
    fn numbers(&self, key: &str, default: &[f64], bounds: &Bounds) -> Result<Vec<f64>> {
        match self.get(key) {
            None => Ok(default.to_vec()),
            Some(Node { kind: Kind::Array(items), spot }) if items.is_empty() => {
                Err(spot.error(format!("{key} is empty"), "give one number a layer; the last serves the layers above"))
            }
            Some(Node { kind: Kind::Array(items), .. }) => {
                items.iter().map(|item| self.scope.bounded(item, key, "1", bounds)).collect()
            }
            Some(node) => Ok(vec![self.scope.bounded(node, key, "1", bounds)?]),
        }
    }
}

/// The typed image of a source of kind "supervised", "permuted" or "split".
pub fn read(source: &Source) -> Result<Protocol> {
    let root = &source.root;
    check_keys(root, "a protocol", KEYS)?;
    let (kind, place) = source.kind()?;
    let table = Table::new(root.get("tasks"), "[tasks]", &["count", "classes", "asked", "tested"])?;
    let of_split = ["classes", "asked"].into_iter().find_map(|key| table.get(key)).filter(|_| kind != "split");
    if let Some(node) = of_split {
        return Err(node.error("this belongs to protocols of kind \"split\"", "leave it out, or write kind = \"split\""));
    }
    let at_end = table.choice("tested", "each", &["each", "end"])? == "end";
    let tasks = match kind {
        "supervised" => match root.get("tasks") {
            None => Tasks::Supervised,
            Some(node) => return Err(node.error("a supervised protocol has one task", "leave [tasks] out")),
        },
        "permuted" => Tasks::Permuted { count: table.count("count", 10, 1)? as usize },
        "split" => Tasks::Split {
            count: table.count("count", 5, 1)? as usize,
            classes: table.count("classes", 2, 1)? as usize,
            asked: match table.choice("asked", "class", &["class", "task", "domain"])? {
                "task" => Asked::Task,
                "domain" => Asked::Domain,
                _ => Asked::Class,
            },
        },
        _ => return Err(Error::at(place, format!("unknown kind `{kind}`"), suggest(kind, KINDS))),
    };
    let seeds = seeds(root)?;
    let training = training(root.get("training"), "[training]", TRAINING, None)?;
    let (settings, sizes) = network(root, &training)?;
    // What this still refuses is about the sizes.
    let probe = Network::new(settings.clone()).map_err(|e| placed(e, &sizes))?;
    let mut data = data(root, &settings)?;
    if let Tasks::Split { count, classes, asked } = tasks {
        let (outputs, all) = (data.classes, count.saturating_mul(classes));
        let wanted = if asked == Asked::Domain { classes } else { all };
        if all > 256 || (asked == Asked::Domain && outputs != wanted) || (asked != Asked::Domain && outputs < wanted) {
            return Err(sizes.error(
                format!("{count} tasks of {classes} classes do not fit {outputs} outputs"),
                format!("set the last of sizes to {wanted}, or change [tasks]"),
            ));
        }
        // Labels of the data set are those of all tasks, whatever is asked.
        data.classes = if asked == Asked::Domain { 256 } else { outputs };
    }
    let Some(list) = root.get("methods") else {
        return Err(root.error("a protocol has no methods", "add for instance [methods.sequential]"));
    };
    check_keys(list, "[methods]", &list.entries().iter().map(|e| e.key.as_str()).collect::<Vec<_>>())?;
    let methods: Vec<Method> =
        list.entries().iter().map(|e| method(&e.key, &e.value, &e.key_spot, &training, &probe, tasks)).collect::<Result<_>>()?;
    if methods.is_empty() {
        return Err(list.error("there are no methods", "add for instance [methods.sequential]"));
    }
    let uncertainty = match root.get("uncertainty") {
        None => None,
        node => {
            let t = Table::new(node, "[uncertainty]", &["draws", "images", "against", "bins"])?;
            let against = t.get("against").map_or(Ok(vec![]), strings)?;
            Some(Uncertain {
                draws: t.count("draws", 10, 2)? as u32,
                images: t.count("images", 2000, 1)? as usize,
                against: against.into_iter().map(|a| a.0.to_string()).collect(),
                bins: t.count("bins", 15, 1)? as usize,
            })
        }
    };
    Ok(Protocol {
        title: source.heading("title")?,
        citation: source.heading("citation")?,
        description: source.heading("description")?,
        name: source.name.clone(),
        text: source.text.clone(),
        settings: source.settings.clone(),
        seeds,
        data,
        tasks,
        at_end,
        network: settings,
        sizes,
        methods,
        uncertainty,
        engine: engine(root)?,
    })
}

/// The seeds that a protocol asks for.
pub(super) fn seeds(root: &Node) -> Result<Vec<u64>> {
    match root.get("seeds") {
        None => Ok(vec![1]),
        Some(Node { kind: Kind::Array(items), spot }) if items.is_empty() => Err(spot.error("no seeds", "write seeds = [1]")),
        Some(Node { kind: Kind::Array(items), .. }) => items.iter().map(|n| Scope::default().count(n, "a seed")).collect(),
        Some(node) => Ok(vec![Scope::default().count(node, "a seed")?]),
    }
}

/// Refuses what files cannot be named after.
pub(super) fn check_name(name: &str, spot: &Spot) -> Result<()> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-+".contains(c)) {
        return Err(
            spot.error(format!("`{name}` is no name of a method"), "use letters, digits, _, - and +: files are named after it")
        );
    }
    Ok(())
}

fn engine(root: &Node) -> Result<Engine> {
    let device = root.get("device").map(|node| text(node).map(str::to_string)).transpose()?;
    match (root.get("engine").map_or(Ok("cpu"), |node| choice(node, "engine", &["cpu", "gpu"]))?, root.get("device")) {
        ("gpu", _) => Ok(Engine::Gpu { device }),
        (_, None) => Ok(Engine::Cpu),
        (_, Some(node)) => Err(node.error("the cpu is no device to choose", "leave `device` out, or write engine = \"gpu\"")),
    }
}

fn data(root: &Node, network: &Settings) -> Result<super::data::Wanted> {
    let t = Table::new(root.get("data"), "[data]", &["set", "train", "test", "validation", "offset", "scale", "noise"])?;
    let any = Bounds::ANY;
    let set = t.get("set").map_or(Ok("mnist"), text)?;
    let count = |key: &str| t.get(key).map(|_| t.count(key, 1, 1)).transpose().map(|n| n.map(|n| n as usize));
    held_out(root)?;
    let ends = (network.sizes[0], network.sizes[network.sizes.len() - 1]);
    if let (Some(node), true) = (t.get("noise"), set != "patterns") {
        return Err(node.error("noise belongs to the data set `patterns`", "leave it out"));
    }
    Ok(super::data::Wanted {
        set: set.into(),
        train: count("train")?,
        test: count("test")?,
        validation: count("validation")?,
        offset: t.number("offset", 0.0, &any)? as f32,
        scale: t.number("scale", 1.0, &any)? as f32,
        noise: t.number("noise", 0.3, &Bounds::PROBABILITY)?,
        inputs: ends.0,
        classes: ends.1,
    })
}

/// With images held out of the training set the test set is not read.
pub(super) fn held_out(root: &Node) -> Result<()> {
    match root.get("data").and_then(|d| d.get("validation").and(d.get("test"))) {
        Some(node) => Err(node.error("with `validation` the test set is not read", "leave `test` or `validation` out")),
        None => Ok(()),
    }
}

/// The network's settings, with seed 0, and where its sizes are written.
fn network(root: &Node, training: &Training) -> Result<(Settings, Spot)> {
    let node = need(root, &root.spot, "a protocol", "network", "{ sizes = [784, 800, 800, 10] }")?;
    let keys = ["sizes", "steps", "leak", "threshold", "gain", "signal", "eligibility"];
    let t = Table::new(Some(node), "[network]", &keys)?;
    let sizes = need(node, &node.spot, "[network]", "sizes", "[784, 800, 800, 10] (inputs, hidden layers, classes)")?;
    let Kind::Array(items) = &sizes.kind else {
        return Err(sizes.error("sizes must be an array", "write for instance sizes = [784, 800, 800, 10]"));
    };
    let layers = items.iter().map(|n| t.scope.count32(n, "a size").map(|n| n as usize)).collect::<Result<Vec<_>>>()?;
    if let Some(item) = items.iter().zip(&layers).find(|(_, n)| **n > 1 << 20).map(|(item, _)| item) {
        return Err(item.error("a layer of more than a million neurons", "write a smaller number"));
    }
    let mut settings = Settings::new(layers, 0);
    let positive = Bounds::POSITIVE;
    settings.steps = t.count("steps", settings.steps as u64, 1)? as usize;
    settings.leak = t.number("leak", settings.leak as f64, &FRACTION)? as f32;
    settings.threshold = t.number("threshold", settings.threshold as f64, &positive)? as f32;
    settings.gain = t.number("gain", settings.gain as f64, &positive)? as f32;
    settings.signal =
        match t.choice("signal", "local_readouts", &["local_readouts", "fixed_readouts", "symmetric", "broadcast"])? {
            "local_readouts" => Signal::LocalReadouts { trained: true },
            "fixed_readouts" => Signal::LocalReadouts { trained: false },
            "symmetric" => Signal::Symmetric,
            _ => Signal::Broadcast,
        };
    settings.eligibility = match t.choice("eligibility", "presentation", &["presentation", "step"])? {
        "step" => Eligibility::Step,
        _ => Eligibility::Presentation,
    };
    settings.optimiser = training.optimiser;
    let synapses: usize = settings.sizes.windows(2).map(|w| w[0] * w[1]).sum();
    if synapses > 1 << 28 {
        return Err(sizes.error(format!("a network of {synapses} synapses"), "write smaller layers"));
    }
    Ok((settings, sizes.spot.clone()))
}

/// `base` are the protocol's settings where a method overrides them.
fn training(node: Option<&Node>, what: &str, keys: &[&str], base: Option<&Training>) -> Result<Training> {
    let t = Table::new(node, what, keys)?;
    let default =
        Training { optimiser: Optimiser::Sgd { rate: 0.1, momentum: 0.9 }, falling: true, batch: 64, passes: 1, samples: 2000 };
    let base = base.unwrap_or(&default);
    let (kind, momentum) = match base.optimiser {
        Optimiser::Sgd { momentum, .. } => ("sgd", momentum),
        Optimiser::Adam { .. } => ("adam", 0.9),
    };
    let kind = t.choice("optimiser", kind, &["sgd", "adam"])?;
    let rate = t.number("rate", base.optimiser.rate() as f64, &Bounds::POSITIVE)? as f32;
    let momentum = t.number("momentum", momentum as f64, &Bounds { at_most: Some(0.9999), ..Bounds::NOT_NEGATIVE })? as f32;
    if let ("adam", Some(node)) = (kind, t.get("momentum")) {
        return Err(node.error("adam has its own momentum", "leave momentum out"));
    }
    let falling = if base.falling { "linear" } else { "constant" };
    Ok(Training {
        optimiser: if kind == "adam" { Optimiser::Adam { rate } } else { Optimiser::Sgd { rate, momentum } },
        falling: t.choice("schedule", falling, &["linear", "constant"])? == "linear",
        batch: t.count("batch", base.batch as u64, 1)? as usize,
        passes: t.count("passes", base.passes as u64, 1)? as usize,
        samples: t.count("samples", base.samples as u64, 1)? as usize,
    })
}

fn method(name: &str, node: &Node, spot: &Spot, base: &Training, probe: &Network, tasks: Tasks) -> Result<Method> {
    check_name(name, spot)?;
    let what = format!("[methods.{name}]");
    let keys = [&["joint", "title", "rehearsal", "distillation"], TRAINING, GUARDS, LEARNERS].concat();
    check_keys(node, &what, &keys)?;
    let training = training(Some(node), &what, &keys, Some(base))?;
    let joint = node.get("joint").map_or(Ok(false), boolean)?;
    let mut learners = LEARNERS.iter().filter_map(|key| Some((*key, node.get(key)?)));
    let learner = learners.next();
    if let Some((_, second)) = learners.next() {
        return Err(second.error(format!("{what} learns in two ways"), format!("keep one of {}", LEARNERS.join(", "))));
    }
    let sizes = &probe.settings().sizes;
    let kind = match learner {
        None => Learns::Network,
        Some(("replay", node)) => replay(node, sizes, tasks)?,
        Some(("contexts", node)) => contexts(node, sizes)?,
        Some((_, node)) => predictive(node, sizes, &training)?,
    };
    let mut guards = vec![];
    for key in GUARDS {
        let Some(node) = node.get(key) else { continue };
        if joint {
            return Err(node.error("joint training has nothing to protect: it sees all tasks at once", "leave it out, or joint"));
        }
        if let Some((learner, _)) = learner.filter(|l| l.0 != "replay") {
            return Err(node.error(format!("{key} does not act on {learner}"), "leave it out"));
        }
        let guard = match *key {
            "projection" => projection(node)?,
            "metaplasticity" => metaplasticity(node)?,
            "importance" => importance(node)?,
            "cascade" => cascade(node)?,
            _ => posterior(node)?,
        };
        // Made once, so that what it refuses is refused here.
        guard.make(&mut probe.clone(), &training, 0).map_err(|e| placed(e, &node.spot))?;
        guards.push(guard);
    }
    let rehearsal = match node.get("rehearsal") {
        None => 0,
        Some(node) if joint => return Err(node.error("joint training sees all tasks at once", "leave rehearsal out, or joint")),
        Some(node) => Scope::default().count(node, "rehearsal")? as usize,
    };
    if let (Some(node), 1..) = (node.get("rehearsal"), sizes[0].saturating_sub(rehearsal)) {
        return Err(node.error(
            format!("{rehearsal} bytes hold no image of {} pixels", sizes[0]),
            format!("give at least {} bytes: an image is a byte a pixel", sizes[0]),
        ));
    }
    let distillation = match node.get("distillation") {
        None => None,
        Some(node) if joint || !matches!(kind, Learns::Network) => {
            return Err(node.error("nothing to distil: no network learns task after task", "leave it out"));
        }
        node => {
            let t = Table::new(node, "a distillation", &["strength", "temperature"])?;
            let number = |key: &str, default: f64| t.number(key, default, &Bounds::POSITIVE).map(|x| x as f32);
            Some((number("strength", 1.0)?, number("temperature", 2.0)?))
        }
    };
    let title = node.get("title").map_or(Ok(name), text)?.to_string();
    Ok(Method { name: name.into(), title, joint, training, kind, rehearsal, distillation, guards })
}

fn replay(node: &Node, sizes: &[usize], tasks: Tasks) -> Result<Learns> {
    let keys = ["latents", "filters", "patch", "winners", "steps", "regions", "shrink", "images", "readout", "sleep", "dream"];
    let t = Table::new(Some(node), "a replay", &keys)?;
    if matches!(tasks, Tasks::Permuted { .. } | Tasks::Split { asked: Asked::Domain, .. }) {
        return Err(node.error(
            "internal replay dreams of classes, and here every task has the same",
            "use it with kind = \"split\" and asked = \"class\" or \"task\"",
        ));
    }
    let mut path = dreams::Options::new();
    let count = |key: &str, default: usize| t.count(key, default as u64, 1).map(|n| n as usize);
    path.latents = count("latents", path.latents)?;
    path.filters = count("filters", path.filters)?;
    path.patch = count("patch", path.patch)?;
    path.winners = count("winners", path.winners)?;
    path.steps = count("steps", path.steps)?;
    path.regions = count("regions", path.regions)?;
    path.images = count("images", path.images)?;
    path.shrink = t.number("shrink", path.shrink, &Bounds::PROBABILITY)?;
    // Made once, so that what it refuses is refused here.
    dreams::Dreams::new(path.clone(), sizes[0], 1, 0).map_err(|e| placed(e, &node.spot))?;
    let generative = t.choice("readout", "network", &["network", "classes"])? == "classes";
    let sleep = t.count("sleep", 0, 0)? as usize;
    let dream = t.get("dream").map_or(Ok(true), boolean)?;
    if let (true, Some(node)) = (generative, t.get("sleep").or(t.get("dream"))) {
        return Err(node.error("no network learns where the classes are read out", "leave it out"));
    }
    Ok(Learns::Replay(Replay { path, generative, sleep, dream }))
}

fn contexts(node: &Node, sizes: &[usize]) -> Result<Learns> {
    let keys = ["hidden", "open", "gate", "rule", "window", "rate", "deviation", "draws", "clip", "alike", "trace", "budget"];
    let t = Table::new(Some(node), "contexts", &keys)?;
    let [inputs, classes] = [sizes[0], sizes[sizes.len() - 1]];
    let hidden = t.count("hidden", sizes[1] as u64, 1)? as usize;
    let mut options = gated::Options::new([inputs, hidden, classes], 0);
    options.open = t.count("open", 50.min(hidden) as u64, 1)? as usize;
    options.gate = match t.choice("gate", "inferred", &["inferred", "oracle", "random", "none"])? {
        "oracle" => gated::Gate::Oracle,
        "random" => gated::Gate::Random,
        "none" => gated::Gate::None,
        _ => gated::Gate::Inferred,
    };
    let rule = t.choice("rule", "mesu", &["mesu", "bgd", "sgd"])?;
    for (key, of) in [("window", "mesu"), ("rate", "sgd")] {
        if let (Some(node), true) = (t.get(key), of != rule) {
            return Err(node.error(format!("{key} belongs to the rule {of}"), "leave it out"));
        }
    }
    options.rule = match rule {
        "bgd" => gated::Rule::Bgd,
        "sgd" => gated::Rule::Sgd { rate: t.number("rate", 0.005, &Bounds::POSITIVE)? as f32 },
        _ => gated::Rule::Mesu { window: t.number("window", 1.5e6, &Bounds::POSITIVE)? as f32 },
    };
    let deviation = t.numbers("deviation", &[0.06, 0.2], &Bounds::POSITIVE)?;
    options.deviation = [deviation[0] as f32, deviation[deviation.len() - 1] as f32];
    options.draws = t.count("draws", options.draws as u64, 1)? as usize;
    options.clip = t.number("clip", options.clip as f64, &Bounds::POSITIVE)? as f32;
    options.contexts.alike = t.number("alike", options.contexts.alike as f64, &Bounds::ANY)? as f32;
    options.contexts.trace = t.number("trace", options.contexts.trace as f64, &AT_LEAST_ONE)? as f32;
    options.contexts.budget = t.count("budget", options.contexts.budget as u64, 0)? as usize;
    options.check().map_err(|e| placed(e, &node.spot))?;
    Ok(Learns::Gated(options))
}

fn predictive(node: &Node, sizes: &[usize], training: &Training) -> Result<Learns> {
    let t = Table::new(Some(node), "predictive coding", &["steps", "gain", "thresholds", "errors"])?;
    let mut options = predictive::Options::new(sizes.to_vec(), 0);
    options.optimiser = training.optimiser;
    options.steps = t.count("steps", options.steps as u64, 1)? as usize;
    options.gain = t.number("gain", options.gain as f64, &FRACTION)? as f32;
    let thresholds = t.numbers("thresholds", &options.thresholds.map(f64::from), &Bounds::POSITIVE)?;
    options.thresholds = [thresholds[0] as f32, thresholds[thresholds.len() - 1] as f32];
    options.errors = t.number("errors", options.errors as f64, &Bounds::POSITIVE)? as f32;
    options.check().map_err(|e| placed(e, &node.spot))?;
    Ok(Learns::Predictive(options))
}

fn projection(node: &Node) -> Result<Guard> {
    let keys = ["method", "energy", "budget", "eta", "iterations", "block", "mu", "low", "steps"];
    let t = Table::new(Some(node), "a projection", &keys)?;
    let method = need(node, &node.spot, "a projection", "method", "\"hebbian\"")?;
    let method = choice(method, "method", &["hebbian", "recursive", "svd"])?;
    for (key, of) in [("eta", "hebbian"), ("iterations", "hebbian"), ("block", "hebbian"), ("mu", "recursive")] {
        if let (Some(node), true) = (t.get(key), of != method) {
            return Err(node.error(format!("{key} belongs to the method {of}"), "leave it out"));
        }
    }
    let how = Hebbian::default();
    let method = match method {
        "hebbian" => projection::Method::Hebbian(Hebbian {
            eta: t.number("eta", how.eta, &Bounds { at_most: Some(1.99), ..Bounds::POSITIVE })?,
            iterations: t.count("iterations", how.iterations as u64, 1)? as usize,
            block: t.count("block", how.block as u64, 1)? as usize,
            seed: how.seed,
        }),
        "svd" => projection::Method::Svd,
        _ => projection::Method::Recursive { mu: t.number("mu", 0.1, &Bounds::POSITIVE)? },
    };
    let whole = matches!(method, projection::Method::Recursive { .. });
    let energy = t.numbers("energy", if whole { &[1.0] } else { &[0.95, 0.99] }, &FRACTION)?;
    let budget = t.numbers("budget", &[], &AT_LEAST_ONE)?.into_iter().map(|n| n as usize).collect();
    let low = t.number("low", 0.05, &Bounds::PROBABILITY)?;
    let steps = t.get("steps").map_or(Ok(false), boolean)?;
    Ok(Guard::Projection(projection::Options { budget, low, steps, ..projection::Options::new(method, energy) }))
}

fn metaplasticity(node: &Node) -> Result<Guard> {
    let t = Table::new(Some(node), "a metaplasticity", &["m", "binarised"])?;
    need(node, &node.spot, "a metaplasticity", "m", "1.3")?;
    let single = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect::<Vec<f32>>();
    let binarised = match t.get("binarised") {
        None => None,
        node => {
            let b = Table::new(node, "binarised", &["start", "gain"])?;
            let start = b.number("start", 1.0, &Bounds::POSITIVE)? as f32;
            Some((start, single(b.numbers("gain", &[1.0], &Bounds::POSITIVE)?)))
        }
    };
    Ok(Guard::Metaplasticity { m: single(t.numbers("m", &[], &Bounds::NOT_NEGATIVE)?), binarised })
}

fn cascade(node: &Node) -> Result<Guard> {
    let t = Table::new(Some(node), "a cascade", &["levels", "coupling"])?;
    let levels = t.count("levels", 6, 1)? as usize;
    Ok(Guard::Cascade { levels, coupling: t.number("coupling", 0.02, &FRACTION)? as f32 })
}

fn importance(node: &Node) -> Result<Guard> {
    let keys = ["kind", "fisher", "draws", "strength", "form", "decay", "damping"];
    let t = Table::new(Some(node), "an importance", &keys)?;
    let kind = need(node, &node.spot, "an importance", "kind", "\"ewc\"")?;
    let kind = choice(kind, "kind", &["ewc", "online_ewc", "si", "mas", "l2"])?;
    for (key, of) in [("fisher", "ewc"), ("draws", "ewc"), ("decay", "online_ewc"), ("damping", "si")] {
        if let (Some(node), false) = (t.get(key), kind.ends_with(of)) {
            return Err(node.error(format!("{key} does not belong to {kind}"), "leave it out"));
        }
    }
    let fisher = match t.choice("fisher", "exact", &["exact", "sampled", "empirical"])? {
        "exact" => Fisher::Exact,
        "sampled" => Fisher::Sampled { draws: t.count("draws", 1, 1)? as u32, seed: 0 },
        _ => Fisher::Empirical,
    };
    let kind = match kind {
        "ewc" => importance::Kind::Ewc,
        "online_ewc" => importance::Kind::OnlineEwc { decay: t.number("decay", 1.0, &Bounds::PROBABILITY)? as f32 },
        "mas" => importance::Kind::Mas,
        "si" => importance::Kind::Si { damping: t.number("damping", 0.1, &Bounds::POSITIVE)? as f32 },
        _ => importance::Kind::L2,
    };
    let strength = need(node, &node.spot, "an importance", "strength", "100")?;
    let strength = t.scope.bounded(strength, "strength", "1", &Bounds::NOT_NEGATIVE)? as f32;
    let form = if t.choice("form", "penalty", &["penalty", "limit"])? == "limit" { Form::Limit } else { Form::Penalty };
    Ok(Guard::Importance { kind, strength, form, fisher })
}

fn posterior(node: &Node) -> Result<Guard> {
    let keys = [
        "rule",
        "window",
        "rate_mean",
        "rate_deviation",
        "second_order",
        "rate",
        "deviation",
        "prior",
        "observations",
        "samples",
        "clip",
    ];
    let t = Table::new(Some(node), "a posterior", &keys)?;
    let positive = Bounds::POSITIVE;
    let rule = choice(need(node, &node.spot, "a posterior", "rule", "\"mesu\"")?, "rule", &["mesu", "bgd"])?;
    for (key, of) in
        [("window", "mesu"), ("rate_mean", "mesu"), ("rate_deviation", "mesu"), ("second_order", "mesu"), ("rate", "bgd")]
    {
        if let (Some(node), true) = (t.get(key), of != rule) {
            return Err(node.error(format!("{key} belongs to the rule {of}"), "leave it out"));
        }
    }
    let rule = match rule {
        "bgd" => Rule::Bgd { rate: t.number("rate", 1.0, &positive)? },
        _ => Rule::Mesu {
            window: t.number("window", 5e5, &positive)?,
            rate_mean: t.number("rate_mean", 1.0, &positive)?,
            rate_deviation: t.number("rate_deviation", 0.5, &positive)?,
            second_order: t.get("second_order").map_or(Ok(true), boolean)?,
        },
    };
    let mut options = posterior::Options::new(rule, 1.0);
    options.samples = t.count("samples", 1, 1)? as u32;
    options.clip = t.get("clip").map(|_| t.number("clip", 0.5, &FRACTION)).transpose()?;
    let prior = t.numbers("prior", &[0.06], &positive)?;
    Ok(Guard::Posterior {
        deviation: t.numbers("deviation", &prior, &positive)?,
        observations: t.get("observations").map(|_| t.number("observations", 1.0, &positive)).transpose()?,
        prior,
        options,
    })
}
