//! A scenario file: TOML text to a checked, resolved [`Plan`]. Every refusal is made here, before anything is simulated, with
//! file, line and what to change. Knows the file format; no engine.
//!
//! ```text
//! text -> tree (tree.rs: keys and values with their places; variants and --set applied)
//!      -> typed values (read.rs: quantities, distributions, columns of files)
//!      -> populations, projections, drives at full scale -> scale.rs (down-scaling) -> Network
//! ```

mod courses;
mod drives;
mod keys;
mod library;
mod plasticity;
mod populations;
mod projections;
pub(crate) mod read;
pub mod reference;
mod resolved;
mod scale;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

pub use library::{all_built_in, built_in};

use crate::engine::Kind as Engine;
use crate::error::{Error, Result};
use crate::model::library::Library;
use crate::network::Network;
use keys::names;
use populations::Group;
use read::{Bounds, Scope, check_keys, choice, mentions, need, suggest, text};
use scale::Scale;
use std::path::Path;
use std::sync::Arc;
use tree::{Kind, Node, Spot};

/// What a scenario asks for, resolved: plain data for the run loop.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the scenario calls itself; empty where it does not.
    pub title: String,
    /// The paper that the network is from; empty where there is none.
    pub citation: String,
    /// What it shows, in a few sentences.
    pub description: String,
    /// Path as given, and the text.
    pub path: String,
    /// The scenario's text.
    pub text: Arc<str>,
    /// `--set` settings that were applied, in order.
    pub overrides: Vec<String>,
    /// Named settings that were applied, chosen or by default.
    pub variant: Option<String>,
    /// The scenario with the variant's settings, every override and the simulation's defaults in their places, as text: what runs
    /// this network again, with `models`.
    pub resolved: String,
    /// The user's own models that it may name: file and text of each.
    pub models: Vec<(String, String)>,
    /// Populations, projections, inputs and probes.
    pub network: Network,
    /// ms of simulation that count, after `warmup` ms that are simulated and not counted in the statistics.
    pub duration: f64,
    /// ms that are simulated first and not counted.
    pub warmup: f64,
    /// What it runs on, where a run does not say otherwise.
    pub engine: Engine,
    /// Threads of the cpu engine; None: as many as pay.
    pub threads: Option<usize>,
    /// Published figures to print beside ours.
    pub published: Vec<Published>,
}

/// A figure that a paper gives for a population, to stand beside ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Where the figures are from.
    pub source: String,
    /// Name of the population.
    pub population: String,
    /// "rate" (Hz) or "cv_isi".
    pub quantity: String,
    /// In the quantity's unit.
    pub value: f64,
}

/// A scenario as written, with its overrides applied; nothing checked but the TOML.
#[derive(Clone, Debug)]
pub struct Scenario {
    path: String,
    text: Arc<str>,
    overrides: Vec<String>,
    variant: Option<String>,
    root: Node,
    scope: Scope,
    /// What runs it, where that is not what the file says.
    engine: Option<Engine>,
}

impl Scenario {
    /// Reads a scenario, a file or the name of one that is part of the program, and applies a variant's settings, then the
    /// overrides (`"key.path=value"`).
    ///
    /// # Errors
    /// An unreadable file, a name that is not known, TOML that does not parse, an unknown variant, an override that names nothing.
    pub fn load(path: impl AsRef<Path>, overrides: &[String], variant: Option<&str>) -> Result<Scenario> {
        let path = path.as_ref();
        let (text, built_in) = library::find(path)?;
        Scenario::read(path, &text, built_in, overrides, variant)
    }

    /// The scenario of this name that is part of the program, whatever files there are.
    ///
    /// # Errors
    /// A name that is not known.
    pub fn of_built_in(name: &str) -> Result<Scenario> {
        let Some(text) = built_in(name) else {
            let names = all_built_in().map(|(name, _)| name).collect::<Vec<_>>();
            return Err(Error::input(format!("no scenario `{name}` comes with sharpwave"), suggest(name, names)));
        };
        Scenario::read(Path::new(name), text, true, &[], None)
    }

    fn read(path: &Path, text: &str, built_in: bool, overrides: &[String], variant: Option<&str>) -> Result<Scenario> {
        let mut scenario = Scenario::parse(&path.display().to_string(), text, overrides, variant)?;
        scenario.scope.folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        scenario.scope.built_in = built_in;
        Ok(scenario)
    }

    /// The same from text; `path` is for messages, data files are looked for in the current folder.
    pub fn parse(path: &str, content: &str, overrides: &[String], variant: Option<&str>) -> Result<Scenario> {
        let source: Arc<str> = content.into();
        let mut root = tree::parse(path, source.clone())?;
        check_keys(&root, "a scenario", &names(&[keys::SCENARIO]))?;
        let variant = Self::apply_variant(&mut root, variant)?;
        for setting in overrides {
            let (path, value) = tree::parse_override(setting)?;
            known(&path[0], "a scenario")?;
            tree::set(&mut root, &path, value)?;
        }
        let names = variables(&root)?;
        let scope = Scope { names, ..Scope::default() };
        Ok(Scenario { path: path.into(), text: source, overrides: overrides.to_vec(), variant, root, scope, engine: None })
    }

    /// The same for an engine chosen elsewhere (None: the file's own): the event engine takes times that no step ends at.
    pub fn on(self, engine: Option<Engine>) -> Scenario {
        Scenario { engine, ..self }
    }

    /// The same with data files looked for in a folder.
    pub fn in_folder(mut self, folder: impl Into<std::path::PathBuf>) -> Scenario {
        self.scope.folder = folder.into();
        self
    }

    fn apply_variant(root: &mut Node, chosen: Option<&str>) -> Result<Option<String>> {
        let default = root.get("variant").map(|n| text(n).map(|t| (t.to_string(), n.spot.clone()))).transpose()?;
        let Some(name) = chosen.map(str::to_string).or(default.as_ref().map(|d| d.0.clone())) else { return Ok(None) };
        let all = root.get("variants").map(Node::entries).unwrap_or(&[]);
        let Some(settings) = all.iter().find(|v| v.key == name).map(|v| tree::settings(&v.value)) else {
            let message = format!("there is no variant `{name}`");
            let names = all.iter().map(|v| v.key.as_str());
            let remedy = suggest(&name, names.collect::<Vec<_>>());
            return Err(match default.filter(|_| chosen.is_none()) {
                Some((_, spot)) => spot.error(message, remedy),
                None => Error::input(message, remedy),
            });
        };
        for (path, value) in settings? {
            known(&path[0], &format!("variant `{name}`"))?;
            tree::set(root, &path, value)?;
        }
        Ok(Some(name))
    }

    /// The file's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names of the variants that may be chosen.
    pub fn variants(&self) -> Vec<&str> {
        self.root.get("variants").map(Node::entries).unwrap_or(&[]).iter().map(|v| v.key.as_str()).collect()
    }

    /// Checks everything and resolves it.
    ///
    /// # Errors
    /// The first thing that is wrong, at its place.
    pub fn plan(&self, library: &Library) -> Result<Plan> {
        let root = &self.root;
        let string = |key| root.get(key).map_or(Ok(String::new()), |n| text(n).map(str::to_string));
        let mut simulation = self.simulation()?;
        simulation.engine = self.engine.unwrap_or(simulation.engine);
        let mut builder = Builder {
            library,
            scope: self.scope.clone(),
            dt: simulation.dt,
            grid: simulation.engine != Engine::Event,
            seed: simulation.seed,
            scale: Scale::read(root.get("scale"), &self.scope)?,
            groups: vec![],
            net: Network::new(simulation.dt, simulation.seed),
        };
        let spot = &root.spot;
        builder.populations(need(root, spot, "this scenario", "populations", "{ E = { model = \"iaf_psc_exp\", n = 100 } }")?)?;
        builder.scale.check_rates(&builder.groups)?;
        builder.modulators(root.get("modulators"))?;
        let mut lost = vec![];
        builder.projections(items(root.get("projections"), "projections")?, &mut lost)?;
        builder.homeostasis(items(root.get("homeostasis"), "homeostasis")?)?;
        builder.drives(items(root.get("drives"), "drives")?, &mut lost)?;
        builder.compensate(lost)?;
        let published = self.published(&builder.groups)?;
        let resolved = resolved::text(root, &self.scope, &simulation, self.variant.as_deref(), &self.heading());
        // A model of the user's that has the name of one built in may be meant without being named.
        let shadows = |name: &str| Library::built_in().is_ok_and(|own| own.has(name));
        let models = library.own().filter(|(name, _)| resolved.contains(name) || shadows(name));
        let models = models.map(|(_, place)| (place.file.clone(), place.text.to_string())).collect();
        Ok(Plan {
            title: string("title")?,
            citation: string("citation")?,
            description: string("description")?,
            path: self.path.clone(),
            text: self.text.clone(),
            overrides: self.overrides.clone(),
            variant: self.variant.clone(),
            resolved,
            models,
            network: builder.net,
            duration: simulation.duration,
            warmup: simulation.warmup,
            engine: simulation.engine,
            threads: simulation.threads,
            published,
        })
    }

    /// What the resolved text is made of.
    fn heading(&self) -> String {
        let mut heading = format!("{} as it was run, by sharpwave {}", self.path, env!("CARGO_PKG_VERSION"));
        self.variant.iter().for_each(|variant| heading += &format!("\nvariant {variant}"));
        self.overrides.iter().for_each(|setting| heading += &format!("\n--set {}", setting.replace(['\n', '\r'], " ")));
        heading
    }

    fn simulation(&self) -> Result<Simulation> {
        let root = &self.root;
        let node = need(root, &root.spot, "this scenario", "simulation", "{ duration = \"1 s\" }")?;
        check_keys(node, "[simulation]", &names(&[keys::SIMULATION]))?;
        let scope = &self.scope;
        let dt = node.get("dt").map_or(Ok(0.1), |n| scope.bounded(n, "the step", "ms", &Bounds::POSITIVE))?;
        if !(1e-6..=1e3).contains(&dt) {
            let at = node.get("dt").unwrap_or(node);
            return Err(at.error(format!("the step is {dt} ms"), "give a step between 1e-6 ms and 1000 ms; 0.1 ms is usual"));
        }
        let duration = need(node, &node.spot, "[simulation]", "duration", "\"1 s\"")?;
        let (total, warmup) = (
            scope.steps(duration, "the duration", dt, 1)?,
            node.get("warmup").map_or(Ok(0.0), |n| scope.steps(n, "the warmup", dt, 0))?,
        );
        if (total + warmup) / dt > u32::MAX as f64 {
            let longest = (u32::MAX as f64 * dt / 1000.0).floor();
            return Err(duration.error(
                "the run has more than 4294967295 steps",
                format!("at this step {longest} s can be simulated; resume from a checkpoint to go on"),
            ));
        }
        let threads = node.get("threads").map(|n| match scope.count(n, "threads")? {
            0 => Err(n.error("threads must be at least 1", "leave it out to use all cores")),
            t => Ok(t.min(4096) as usize),
        });
        Ok(Simulation {
            dt,
            duration: total,
            warmup,
            seed: node.get("seed").map_or(Ok(1), seed)?,
            engine: node
                .get("engine")
                .map_or(Ok(Engine::Auto), |n| choice(n, "engine", &Engine::ALL.map(Engine::name))?.parse())?,
            threads: threads.transpose()?,
        })
    }

    fn published(&self, groups: &[Group]) -> Result<Vec<Published>> {
        let mut out = vec![];
        for node in items(self.root.get("published"), "published")? {
            check_keys(node, "[[published]]", &names(&[keys::PUBLISHED]))?;
            let source = text(need(node, &node.spot, "[[published]]", "source", "\"Table 6 of the paper\"")?)?;
            let quantity = need(node, &node.spot, "[[published]]", "quantity", "\"rate\"")?;
            let quantity = choice(quantity, "quantity", &["rate", "cv_isi"])?;
            let unit = if quantity == "rate" { "Hz" } else { "1" };
            let values = need(node, &node.spot, "[[published]]", "values", "{ E = 5.0 }")?;
            check_keys(values, "values", &groups.iter().map(|g| g.name.as_str()).collect::<Vec<_>>())?;
            if let Some(variant) = node.get("variant") {
                let known = self.variants();
                let name = choice(variant, "variant", &known)?;
                if self.variant.as_deref() != Some(name) {
                    continue;
                }
            }
            for entry in values.entries() {
                let value = self.scope.bounded(&entry.value, quantity, unit, &Bounds::NOT_NEGATIVE)?;
                out.push(Published { source: source.into(), population: entry.key.clone(), quantity: quantity.into(), value });
            }
        }
        Ok(out)
    }
}

struct Simulation {
    dt: f64,
    duration: f64,
    warmup: f64,
    seed: u64,
    engine: Engine,
    threads: Option<usize>,
}

fn seed(node: &Node) -> Result<u64> {
    let found = match &node.kind {
        Kind::Integer(i) => u64::try_from(*i).ok(),
        Kind::Text(t) => t.trim().parse().ok(),
        _ => None,
    };
    found.ok_or_else(|| node.error("the seed must be a whole number, 0 or more", "write for instance seed = 1"))
}

/// A setting begins with a key of a scenario.
fn known((key, spot): &(String, Spot), what: &str) -> Result<()> {
    let all = names(&[keys::SCENARIO]);
    match all.contains(&key.as_str()) {
        true => Ok(()),
        false => Err(spot.error(format!("unknown key `{key}` in {what}"), suggest(key, all))),
    }
}

/// The entries of an array of tables.
fn items<'a>(node: Option<&'a Node>, key: &str) -> Result<&'a [Node]> {
    match node.map(|n| (&n.kind, n)) {
        None => Ok(&[]),
        Some((Kind::Array(items), _)) => Ok(items),
        Some((kind, n)) => Err(n.error(
            format!("`{key}` must be an array of tables, this is {}", kind.describe()),
            format!("write [[{key}]], with double brackets"),
        )),
    }
}

/// A key that can stand as a name in expressions.
fn check_name(entry: &tree::Entry) -> Result<()> {
    let key = entry.key.as_str();
    let word = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !key.starts_with(|c: char| c.is_ascii_digit());
    let unit = crate::units::Unit::parse(key).is_some();
    if word && !unit && !crate::expr::is_reserved(key) && !["scale_n", "scale_k"].contains(&key) {
        return Ok(());
    }
    let why = match (unit, word) {
        (true, _) => "is the name of a unit",
        (_, true) => "is a reserved name",
        _ => "is not a name",
    };
    Err(entry.key_spot.error(format!("`{key}` {why}"), "use letters, digits and _, for instance rate_ext"))
}

/// [variables] and the scale factors. Variables may be expressions over one another.
fn variables(root: &Node) -> Result<Vec<(String, f64)>> {
    let mut scope = Scope::default();
    let Some(node) = root.get("variables") else {
        scale::names(root.get("scale"), &mut scope)?;
        return Ok(scope.names);
    };
    let Kind::Table { entries, .. } = &node.kind else {
        return Err(node.error("`variables` must be a table", "write [variables], and g = 5.0 below it"));
    };
    entries.iter().try_for_each(check_name)?;
    // Numbers first, then whatever can be computed from what is known, until nothing is left or nothing moves.
    let mut left: Vec<_> = entries.iter().collect();
    scale::names(root.get("scale"), &mut scope)?;
    while !left.is_empty() {
        let mut refused = vec![];
        let before = left.len();
        let mut hopeless = None;
        left.retain(|entry| {
            let unit = match &entry.value.kind {
                Kind::Text(t) => {
                    let (_, unit) = crate::units::split(t, |w| entries.iter().any(|e| e.key == w));
                    unit.and_then(crate::units::Unit::parse).and_then(crate::units::Unit::base).unwrap_or("1")
                }
                _ => "1",
            };
            match scope.number(&entry.value, unit) {
                Ok(value) => {
                    scope.names.push((entry.key.clone(), value));
                    false
                }
                Err(error) if matches!(entry.value.kind, Kind::Text(_)) => {
                    refused.push(error);
                    true
                }
                Err(error) => {
                    hopeless.get_or_insert(error);
                    true
                }
            }
        });
        if let Some(error) = hopeless {
            return Err(error);
        }
        if left.len() == before {
            return Err(stuck(&left, refused));
        }
    }
    Ok(scope.names)
}

/// Why none of these variables can be computed: the first that waits for no other is wrong in itself, and where each waits for
/// another, some wait for one another.
fn stuck(left: &[&tree::Entry], mut refused: Vec<Error>) -> Error {
    let waits_for = |entry: &tree::Entry| {
        let Kind::Text(text) = &entry.value.kind else { return None };
        left.iter().position(|other| mentions(text, &other.key))
    };
    if let Some(at) = left.iter().position(|entry| waits_for(entry).is_none()) {
        return refused.swap_remove(at);
    }
    let mut path = vec![0];
    let start = loop {
        let next = waits_for(left[path[path.len() - 1]]).unwrap_or(0);
        if let Some(start) = path.iter().position(|p| *p == next) {
            break start;
        }
        path.push(next);
    };
    let cycle: Vec<&str> = path[start..].iter().chain([&path[start]]).map(|p| left[*p].key.as_str()).collect();
    let message = match cycle.len() {
        2 => format!("the variable `{}` is defined by itself", cycle[0]),
        _ => format!("these variables are defined by each other, in a circle: {}", cycle.join(" -> ")),
    };
    left[path[start]].key_spot.error(message, "give one of them a number")
}

/// Resolves the parts in order; the network grows in it.
pub(crate) struct Builder<'a> {
    library: &'a Library,
    scope: Scope,
    dt: f64,
    /// The engine knows no times between steps.
    grid: bool,
    seed: u64,
    scale: Scale,
    groups: Vec<Group>,
    net: Network,
}

impl Builder<'_> {
    /// What is wrong with a time at which something happens, on the grid of this engine: (message, remedy). `offgrid`: times
    /// between two steps are rounded up, as was asked for.
    fn off_grid(&self, what: &str, time: f64, offgrid: Option<bool>) -> Option<(String, String)> {
        let dt = self.dt;
        if !self.grid || time.is_infinite() || offgrid == Some(true) || crate::stimulus::on_grid(time, dt) {
            return None;
        }
        let round = |steps: f64| (steps * dt * 1e9).round() / 1e9;
        let (below, above) = (round((time / dt).floor()), round((time / dt).ceil()));
        let setting = match offgrid {
            Some(_) => "; allow_offgrid_times = true rounds up to the next step",
            None => "",
        };
        Some((
            format!("{what} {time} ms is not on the grid: it lies between the steps that end at {below} and {above} ms"),
            format!("write {below} or {above}, or take another simulation.dt{setting}; the event engine takes any time"),
        ))
    }

    /// Index of a population by name.
    fn group(&self, name: &str, node: &Node) -> Result<usize> {
        self.groups.iter().position(|g| g.name == name).ok_or_else(|| {
            let names: Vec<_> = self.groups.iter().map(|g| g.name.as_str()).collect();
            node.error(format!("unknown population `{name}`"), suggest(name, names))
        })
    }
}
