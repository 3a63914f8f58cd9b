//! Typed reading of the scenario's tree: keys, quantities, distributions, per-neuron values. Promises that every refusal points
//! at the key or value it is about and says what to write instead. Knows TOML shapes and units; no network.

use super::keys::{DISTRIBUTION, DISTRIBUTIONS, FILE, names};
use super::tree::{Kind, Node, Spot};
use crate::dataset::idx::{self, Idx};
use crate::error::{Error, Result, nearest};
use crate::io::csv::Table;
use crate::io::is_hdf5;
use crate::network::footprint::room;
use crate::network::{Draw, Limits, Values};
use crate::rng::{Purpose, Stream};
use crate::units;
use std::path::{Path, PathBuf};

/// What names mean inside quantities, and where relative paths start.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// [variables], `scale_n`, `scale_k`.
    pub names: Vec<(String, f64)>,
    /// Numbers drawn for each neuron of the population at hand ([populations.X] random), usable in its parameters.
    pub drawn: Vec<(String, Values)>,
    /// Folder of the scenario file.
    pub folder: PathBuf,
    /// The scenario is part of the program, and so are the files that it names.
    pub built_in: bool,
}

/// A list of words for a remedy.
pub fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().collect::<Vec<_>>().join(", ")
}

/// "did you mean", or all there are.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, candidates.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => match list(candidates) {
            all if all.is_empty() => "there are none".into(),
            all => format!("one of: {all}"),
        },
    }
}

/// A table whose keys are all among `known`.
pub fn check_keys(node: &Node, what: &str, known: &[&str]) -> Result<()> {
    let Kind::Table { entries, .. } = &node.kind else {
        return Err(node.error(
            format!("{what} must be a table, this is {}", node.kind.describe()),
            format!("its keys: {}", list(known.iter().copied())),
        ));
    };
    for entry in entries {
        if !known.contains(&entry.key.as_str()) {
            let remedy = suggest(&entry.key, known.iter().copied());
            return Err(entry.key_spot.error(format!("unknown key `{}` in {what}", entry.key), remedy));
        }
    }
    Ok(())
}

/// The value of a key that must be there. `spot` is where the table is, for the refusal.
pub fn need<'a>(node: &'a Node, spot: &Spot, what: &str, key: &str, example: &str) -> Result<&'a Node> {
    node.get(key).ok_or_else(|| spot.error(format!("{what} has no `{key}`"), format!("add {key} = {example}")))
}

pub fn text(node: &Node) -> Result<&str> {
    match &node.kind {
        Kind::Text(t) => Ok(t),
        kind => Err(node.error(format!("a string is expected, this is {}", kind.describe()), "put it in quotes")),
    }
}

pub fn boolean(node: &Node) -> Result<bool> {
    match &node.kind {
        Kind::Boolean(b) => Ok(*b),
        kind => Err(node.error(format!("true or false is expected, this is {}", kind.describe()), "write true or false")),
    }
}

/// A word out of a list.
pub fn choice<'a>(node: &Node, what: &str, known: &[&'a str]) -> Result<&'a str> {
    let word = text(node)?;
    known
        .iter()
        .find(|k| **k == word)
        .copied()
        .ok_or_else(|| node.error(format!("unknown {what} `{word}`"), suggest(word, known.iter().copied())))
}

/// A string or an array of strings, each with its node.
pub fn strings(node: &Node) -> Result<Vec<(&str, &Node)>> {
    match &node.kind {
        Kind::Array(items) if items.is_empty() => Err(node.error("the list is empty", "name at least one")),
        Kind::Array(items) => items.iter().map(|i| Ok((text(i)?, i))).collect(),
        _ => Ok(vec![(text(node)?, node)]),
    }
}

/// Where within a string value a refusal points.
fn within(node: &Node, text: &str, span: std::ops::Range<usize>) -> Spot {
    let start = node.spot.span.start;
    for shift in [1, 0, 3] {
        let from = start + shift;
        if node.spot.source.text.get(from..from + text.len()) == Some(text) {
            let end = (from + span.end).min(node.spot.source.text.len());
            return Spot { source: node.spot.source.clone(), span: (from + span.start).min(end)..end };
        }
    }
    node.spot.clone()
}

/// An error without a place gets one.
pub fn placed(error: Error, spot: &Spot) -> Error {
    match error {
        Error::Input(mut fault) if fault.place.is_none() => {
            fault.place = Some(spot.place());
            Error::Input(fault)
        }
        other => other,
    }
}

impl Scope {
    /// A number or quantity in `unit`; finite.
    pub fn number(&self, node: &Node, unit: &str) -> Result<f64> {
        match &node.kind {
            Kind::Integer(i) => Ok(*i as f64),
            Kind::Float(x) => crate::units::finite(*x).map_err(|(message, remedy)| node.error(message, remedy)),
            Kind::Text(t) => {
                units::quantity(t, unit, &self.names).map_err(|r| within(node, t, r.span).error(r.message, r.remedy))
            }
            kind => {
                let unit = if unit.is_empty() || unit == "1" { "" } else { unit };
                let example = format!("write a number, or a string such as \"{}\"", format!("2 * 10 {unit}").trim());
                Err(node.error(format!("a quantity is expected, this is {}", kind.describe()), example))
            }
        }
    }

    /// A number within bounds; `what` names it.
    pub fn bounded(&self, node: &Node, what: &str, unit: &str, bounds: &Bounds) -> Result<f64> {
        let value = self.number(node, unit)?;
        bounds.check(value, what, unit).map_err(|(message, remedy)| node.error(message, remedy))?;
        Ok(value)
    }

    /// A whole number, 0 or more.
    pub fn count(&self, node: &Node, what: &str) -> Result<u64> {
        let value = self.number(node, "1")?;
        let rounded = value.round();
        if rounded < 0.0 || (value - rounded).abs() > 1e-9 * value.abs().max(1.0) {
            return Err(node.error(format!("{what} must be a whole number, 0 or more; it is {value}"), "write for instance 100"));
        }
        if rounded >= 9.0e15 {
            return Err(node.error(format!("{what} is too large: {value}"), "write a smaller number"));
        }
        Ok(rounded as u64)
    }

    /// A whole number that fits an id.
    pub fn count32(&self, node: &Node, what: &str) -> Result<u32> {
        let value = self.count(node, what)?;
        u32::try_from(value).map_err(|_| node.error(format!("{what} is too large: {value}"), format!("at most {}", u32::MAX)))
    }

    /// A time that is a whole number of steps, at least `least` of them.
    pub fn steps(&self, node: &Node, what: &str, dt: f64, least: u64) -> Result<f64> {
        let value = self.number(node, "ms")?;
        let steps = (value / dt).round();
        if steps < least as f64 || value < 0.0 {
            let bound =
                if least == 0 { "must not be negative".into() } else { format!("must be at least {} ms", least as f64 * dt) };
            return Err(node.error(format!("{what} {bound}, it is {value} ms"), "give a longer time"));
        }
        if (value / dt - steps).abs() > 1e-6 * steps.max(1.0) {
            let near = [(steps - 1.0).max(least as f64), steps, steps + 1.0].map(|s| (s * dt * 1e9).round() / 1e9);
            let best = near.into_iter().min_by(|a, b| (a - value).abs().total_cmp(&(b - value).abs())).unwrap_or(dt);
            return Err(node.error(
                format!("{what} is {value} ms, not a whole number of steps of {dt} ms"),
                format!("write for instance {best}"),
            ));
        }
        Ok(value)
    }

    /// A constant or a distribution.
    pub fn draw(&self, node: &Node, what: &str, unit: &str) -> Result<Draw> {
        let Kind::Table { entries, .. } = &node.kind else { return Ok(Draw::Constant(self.number(node, unit)?)) };
        let example = "\"normal\", mean and std";
        let name = need(node, &node.spot, what, "distribution", example)?;
        let name = choice(name, "distribution", &DISTRIBUTIONS.map(|d| d.0))?;
        let keys = DISTRIBUTIONS.iter().find(|d| d.0 == name).map_or(&[][..], |d| d.2);
        check_keys(node, &format!("this {name} distribution"), &names(&[DISTRIBUTION, keys]))?;
        let spot = &node.spot;
        let must = |key, example: &str| {
            need(node, spot, &format!("this {name} distribution"), key, example).and_then(|n| self.number(n, unit))
        };
        let limits = self.limits(node, unit)?;
        let draw = match name {
            "constant" => Draw::Constant(must("value", "a number")?),
            "uniform" => {
                let (low, high) = (must("low", "the least value")?, must("high", "the greatest value")?);
                if low > high {
                    return Err(spot.error(format!("low is {low}, above high, which is {high}"), "exchange them"));
                }
                Draw::Uniform { low, high }
            }
            "exponential" => {
                let mean = must("mean", "the mean")?;
                if mean <= 0.0 {
                    let at = node.get("mean").map_or(spot, |n| &n.spot);
                    return Err(at.error(
                        format!("the mean of an exponential distribution must be above 0, it is {mean}"),
                        "give a positive mean",
                    ));
                }
                Draw::Exponential { mean, limits }
            }
            "lognormal" if node.get("mu").is_some() || node.get("sigma").is_some() => {
                if let Some(e) = entries.iter().find(|e| ["mean", "std", "relative_std"].contains(&e.key.as_str())) {
                    return Err(e
                        .key_spot
                        .error("mu and sigma already say it", "give mu and sigma (of the logarithm), or mean and std"));
                }
                let plain =
                    |key| need(node, spot, "this lognormal distribution", key, "a number").and_then(|n| self.number(n, "1"));
                let (mu, sigma) = (plain("mu")?, plain("sigma")?);
                self.not_negative(node, "sigma", sigma)?;
                Draw::Lognormal { mu, sigma, limits }
            }
            _ => {
                let mean = must("mean", "the mean")?;
                let std = self.spread(node, mean, unit)?;
                if name == "normal" {
                    Draw::Normal { mean, std, limits }
                } else {
                    if mean <= 0.0 {
                        let at = node.get("mean").map_or(spot, |n| &n.spot);
                        let message = format!("the mean of a lognormal distribution must be above 0, it is {mean}");
                        return Err(at.error(message, "use a normal distribution for negative values"));
                    }
                    // Mean and variance of exp(N(mu, sigma)).
                    let variance = (1.0 + (std / mean).powi(2)).ln();
                    Draw::Lognormal { mu: mean.ln() - variance / 2.0, sigma: variance.sqrt(), limits }
                }
            }
        };
        draw.check().map_err(|e| placed(e, spot))?;
        Ok(draw)
    }

    fn limits(&self, node: &Node, unit: &str) -> Result<Limits> {
        let get = |key, default| node.get(key).map_or(Ok(default), |n| self.number(n, unit));
        let (low, high) = (get("low", f64::NEG_INFINITY)?, get("high", f64::INFINITY)?);
        if low > high {
            return Err(node.error(format!("low is {low}, above high, which is {high}"), "exchange them"));
        }
        Ok(Limits { low, high, redraw: node.get("redraw").map_or(Ok(false), boolean)? })
    }

    fn not_negative(&self, node: &Node, key: &str, value: f64) -> Result<()> {
        if value < 0.0 {
            let at = node.get(key).map_or(&node.spot, |n| &n.spot);
            return Err(at.error(format!("`{key}` must not be negative, it is {value}"), "give 0 or more"));
        }
        Ok(())
    }

    /// `std` or `relative_std`.
    fn spread(&self, node: &Node, mean: f64, unit: &str) -> Result<f64> {
        let (key, value) = match (node.get("std"), node.get("relative_std")) {
            (Some(std), None) => ("std", self.number(std, unit)?),
            (None, Some(relative)) => {
                let r = self.number(relative, "1")?;
                self.not_negative(node, "relative_std", r)?;
                ("relative_std", r * mean.abs())
            }
            (Some(_), Some(both)) => return Err(both.error("std and relative_std are both given", "keep one of them")),
            (None, None) => return Err(node.error("this distribution has no `std`", "add std = or relative_std =")),
        };
        self.not_negative(node, key, value)?;
        Ok(value)
    }

    /// One value for all or one for each of `n` neurons: a quantity, a distribution, an array, a column of a file. `key`,
    /// `purpose` and `sub` name the random numbers.
    pub fn values(
        &self,
        node: &Node,
        what: &str,
        unit: &str,
        n: u32,
        bounds: &Bounds,
        random: (Purpose, [u32; 2], u32),
    ) -> Result<Values> {
        let place = |i: usize| match &node.kind {
            Kind::Array(items) => items[i].spot.clone(),
            _ => node.spot.clone(),
        };
        let values: Vec<f64> = match &node.kind {
            Kind::Array(items) => items.iter().map(|i| self.number(i, unit)).collect::<Result<_>>()?,
            Kind::Table { .. } if node.get("file").is_some() => {
                check_keys(node, what, &names(&[FILE]))?;
                self.column(node, what, unit, n, bounds)?
            }
            Kind::Table { .. } => match self.draw(node, what, unit)? {
                Draw::Constant(x) => {
                    bounds.check(x, what, unit).map_err(|(m, r)| node.error(m, r))?;
                    return Ok(Values::Uniform(x));
                }
                draw => {
                    let (purpose, key, sub) = random;
                    room(n).map_err(|e| placed(e, &node.spot))?;
                    (0..n).map(|i| draw.sample(&mut Stream::new(key, purpose, i, sub))).collect()
                }
            },
            Kind::Text(t) if self.drawn.iter().any(|d| mentions(t, &d.0)) => {
                room(n).map_err(|e| placed(e, &node.spot))?;
                let mut each = Scope { names: self.names.clone(), ..Scope::default() };
                let known = each.names.len();
                (0..n as usize)
                    .map(|i| {
                        each.names.truncate(known);
                        each.names.extend(self.drawn.iter().map(|(name, v)| (name.clone(), v.get(i))));
                        each.number(node, unit)
                    })
                    .collect::<Result<_>>()?
            }
            _ => return Ok(Values::Uniform(self.bounded(node, what, unit, bounds)?)),
        };
        if values.len() != n as usize {
            let message = format!("{what} has {} values for {n} neurons", values.len());
            return Err(node.error(message, format!("give {n} values, or one for all")));
        }
        for (i, v) in values.iter().enumerate() {
            if let Err((message, remedy)) = bounds.check(*v, what, unit) {
                let drawn = matches!(node.kind, Kind::Table { .. } | Kind::Text(_));
                let (message, remedy) = match drawn {
                    true => (format!("a draw for neuron {i}: {message}"), "limit the distribution with low and high".to_string()),
                    false => (message, remedy),
                };
                return Err(place(i).error(message, remedy));
            }
        }
        Ok(Values::Each(values.into()))
    }

    /// A path as written, relative to the scenario file, then to the current folder.
    pub fn path(&self, node: &Node) -> Result<PathBuf> {
        let written = text(node)?;
        let candidates = [self.folder.join(written), PathBuf::from(written)];
        candidates.iter().find(|p| p.is_file()).cloned().ok_or_else(|| {
            let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
            let remedy = format!("the path is relative to the scenario's folder ({}), then to the current one", folder.display());
            match candidates.iter().find(|p| p.exists()) {
                Some(_) => node.error(format!("`{written}` is not a file"), "name a file, not a folder or a device"),
                None => node.error(format!("there is no file `{written}`"), remedy),
            }
        })
    }

    /// An IDX file, and its path.
    pub fn idx(&self, node: &Node) -> Result<(PathBuf, Idx)> {
        let written = text(node)?;
        let carried = super::library::data(written).filter(|_| self.built_in && !Path::new(written).is_file());
        let path = carried.map_or_else(|| self.path(node), |_| Ok(PathBuf::from(written)))?;
        let idx =
            carried.map_or_else(|| idx::read(&path), |bytes| idx::parse(&path, bytes)).map_err(|e| placed(e, &node.spot))?;
        Ok((path, idx))
    }

    /// One value for each of `n` neurons from `file`: a table, where `column` says which (by name or number from 0) unless there is
    /// nothing to choose, or HDF5 (`dataset`).
    fn column(&self, node: &Node, what: &str, unit: &str, n: u32, bounds: &Bounds) -> Result<Vec<f64>> {
        let file = need(node, &node.spot, "this", "file", "\"values.csv\"")?;
        let path = self.path(file)?;
        let unused = |key: &str, why: &str| node.get(key).map_or(Ok(()), |at| Err(at.error(why, "leave it out")));
        if is_hdf5(&path) {
            unused("column", "an HDF5 file has datasets, and no columns")?;
            let name = need(node, &node.spot, "an HDF5 file", "dataset", "\"name/of/the/dataset\"").and_then(text)?;
            let values = crate::io::hdf5::read_quantity(&path, name, unit)?;
            for (i, value) in values.iter().enumerate() {
                let fault = units::finite(*value).and_then(|value| bounds.check(value, what, unit));
                if let Err((message, remedy)) = fault {
                    return Err(
                        file.error(format!("value {} of dataset `{name}` in `{}`: {message}", i + 1, path.display()), remedy)
                    );
                }
            }
            return Ok(values);
        }
        unused("dataset", "a table has columns, and no datasets")?;
        let column = node.get("column").map(|c| match &c.kind {
            Kind::Integer(_) => self.count(c, "column").map(|i| i.to_string()),
            _ => text(c).map(str::to_string),
        });
        let table = Table::open(&path)?;
        let at = chosen(&table, column.transpose()?.as_deref(), what)?;
        let check = |_: usize, value: f64| units::finite(value).and_then(|value| bounds.check(value, what, unit));
        read_columns(&table, &[at], n, check).map(|mut columns| columns.remove(0))
    }
}

/// Whether an expression uses a name.
pub fn mentions(text: &str, name: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name)
}

/// The column that holds `what`. Nothing is guessed: where several could be meant, or the one there is has another name, the
/// scenario must say `column`.
fn chosen(table: &Table, asked: Option<&str>, what: &str) -> Result<usize> {
    let names = table.header().unwrap_or(&[]);
    let known = || names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    if let Some(asked) = asked {
        let number = asked.parse().ok().filter(|i| *i < table.columns());
        return table.find(asked).or(number).ok_or_else(|| {
            let last = table.columns() - 1;
            let remedy = match names {
                [] => format!("the columns have no names: count them, from 0 to {last}"),
                _ => format!("name one of {}, or count from 0 to {last}", known()),
            };
            table.fault(format!("there is no column `{asked}`"), remedy)
        });
    }
    match (names, table.find(what), table.ids()) {
        ([], ..) if table.columns() == 1 => Ok(0),
        ([], ..) => Err(table.fault(
            format!("this file has {} columns without names, and {what} takes one", table.columns()),
            "say which in the scenario, counting from 0: column = 0",
        )),
        (_, Some(at), None) => Ok(at),
        (_, Some(at), Some(ids)) => Err(table.fault(
            format!("beside `{}` there is a column of ids, `{}`", names[at], names[ids]),
            format!("write column = \"{}\" in the scenario; then the ids say whose each value is", names[at]),
        )),
        (_, None, _) => Err(table.fault(
            format!("no column is called `{what}`"),
            format!("say which is meant in the scenario: column = {}", known().replace(", ", " or ")),
        )),
    }
}

/// Columns of a table with a line for each of `n` neurons; a column of ids says whose each line is, without one they are in order.
/// `check` refuses a value of a column.
pub fn read_columns(
    table: &Table,
    wanted: &[usize],
    n: u32,
    check: impl Fn(usize, f64) -> std::result::Result<(), (String, String)>,
) -> Result<Vec<Vec<f64>>> {
    let ids = table.ids().filter(|ids| !wanted.contains(ids));
    let mut columns: Vec<Vec<f64>> = vec![vec![]; wanted.len()];
    let mut owners = vec![];
    let mut rows = table.rows()?;
    while let Some(row) = rows.next()? {
        for (column, &at) in columns.iter_mut().zip(wanted) {
            let value = row.number(at, "")?;
            check(at, value).map_err(|(message, remedy)| row.fault(Some(at), message, remedy))?;
            column.push(value);
        }
        if let Some(ids) = ids {
            owners.push(row.id(ids, "id", n as u64)?);
        }
    }
    if columns.iter().any(Vec::is_empty) {
        return Err(table.fault("there are no numbers in this file", "write one line for each value"));
    }
    if ids.is_none() {
        return Ok(columns);
    }
    let mut line_of = vec![None; n as usize];
    for (line, owner) in owners.iter().enumerate() {
        if line_of[*owner as usize].replace(line).is_some() {
            return Err(table.fault(format!("neuron {owner} has two values"), "give each id once"));
        }
    }
    if let Some(neuron) = line_of.iter().position(Option::is_none) {
        return Err(table.fault(format!("neuron {neuron} has no value"), format!("give a line for each id from 0 to {}", n - 1)));
    }
    Ok(columns.iter().map(|column| line_of.iter().flatten().map(|line| column[*line]).collect()).collect())
}

/// Bounds of a parameter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    pub above: Option<f64>,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
}

impl Bounds {
    pub const ANY: Bounds = Bounds { above: None, at_least: None, at_most: None };
    pub const NOT_NEGATIVE: Bounds = Bounds { above: None, at_least: Some(0.0), at_most: None };
    pub const POSITIVE: Bounds = Bounds { above: Some(0.0), at_least: None, at_most: None };
    pub const PROBABILITY: Bounds = Bounds { above: None, at_least: Some(0.0), at_most: Some(1.0) };

    /// (message, remedy) when the value is outside.
    pub fn check(&self, value: f64, what: &str, unit: &str) -> Result<(), (String, String)> {
        let unit = if unit.is_empty() || unit == "1" { String::new() } else { format!(" {unit}") };
        let say = |bound: &str, limit: f64, example: f64| {
            Err((
                format!("{what} must be {bound} {limit}{unit}, it is {value}{unit}"),
                format!("write for instance \"{example}{unit}\""),
            ))
        };
        match *self {
            Bounds { above: Some(limit), .. } if value <= limit => say("above", limit, limit + 10.0),
            Bounds { at_least: Some(limit), .. } if value < limit => say("at least", limit, limit),
            Bounds { at_most: Some(limit), .. } if value > limit => say("at most", limit, limit),
            _ => Ok(()),
        }
    }
}
