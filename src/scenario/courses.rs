//! What changes at stated times: from two arrays, or from a table. Promises times that increase and fall on the grid, and values within
//! their bounds.

use super::Builder;
use super::read::{Bounds, boolean, need};
use super::tree::{Kind, Node, Spot};
use crate::error::Result;
use crate::io::csv::Table;
use crate::network::Values;

/// What changes.
pub struct Changing<'a> {
    /// The key of its values, such as `rates`.
    pub key: &'a str,
    /// In messages.
    pub one: &'a str,
    pub unit: &'a str,
    pub bounds: Bounds,
    /// Elements that may each have a value of their own; 1 where all share one.
    pub each: u32,
}

impl Builder<'_> {
    /// (time in ms, values from then on), in order; `what` is named in messages.
    pub(super) fn changes(&self, node: &Node, spot: &Spot, what: &str, of: &Changing) -> Result<Vec<(f64, Values)>> {
        let offgrid = node.get("allow_offgrid_times").map_or(Ok(false), boolean)?;
        if let Some(file) = node.get("file") {
            return match node.get("times").or(node.get(of.key)) {
                Some(twice) => Err(twice.error(format!("file and {} are both given", of.key), "keep one of them")),
                None => self.changes_of_table(file, of, offgrid),
            };
        }
        let times = need(node, spot, what, "times", "[0.0, 10.0]")?;
        let values = need(node, spot, what, of.key, "[100.0, 200.0]")?;
        let array = |node: &Node, what: &str| match &node.kind {
            Kind::Array(items) if !items.is_empty() => Ok(items.clone()),
            _ => Err(node.error(format!("{what} must be an array of at least one number"), "write for instance [10.0, 20.0]")),
        };
        let (t, v) = (array(times, "times")?, array(values, of.key)?);
        if t.len() != v.len() {
            let message = format!("{} {} for {} times", v.len(), of.key, t.len());
            return Err(values.error(message, format!("give one {} for each time", of.one)));
        }
        let mut changes: Vec<(f64, Values)> = Vec::with_capacity(t.len());
        for (t, v) in t.iter().zip(&v) {
            let time = self.scope.bounded(t, "a time", "ms", &Bounds::NOT_NEGATIVE)?;
            self.follows(&changes, time, offgrid).map_err(|(message, remedy)| t.error(message, remedy))?;
            changes.push((time, self.values_of(v, of)?));
        }
        Ok(changes)
    }

    /// One value for all, or an array with one for each.
    fn values_of(&self, node: &Node, of: &Changing) -> Result<Values> {
        let number = |node: &Node| self.scope.bounded(node, of.one, of.unit, &of.bounds);
        match &node.kind {
            Kind::Array(items) if of.each > 1 => {
                if items.len() != of.each as usize {
                    let message = format!("{} {} for {} sources", items.len(), of.key, of.each);
                    return Err(node.error(message, "give one for all, or one for each"));
                }
                Ok(Values::Each(items.iter().map(number).collect::<Result<_>>()?))
            }
            _ => number(node).map(Values::Uniform),
        }
    }

    fn changes_of_table(&self, file: &Node, of: &Changing, offgrid: bool) -> Result<Vec<(f64, Values)>> {
        let example = format!("time,{}", of.one);
        let table = Table::open(&self.scope.path(file)?)?;
        let at = table.need("time", &example)?;
        let columns: Vec<usize> = (0..table.columns()).filter(|column| *column != at).collect();
        if columns.len() != 1 && columns.len() != of.each as usize {
            let message = format!("{} columns beside time", columns.len());
            let remedy = match of.each {
                1 => format!("keep one, as in: {example}"),
                n => format!("give one {} for all, as in: {example}; or {n}, one for each", of.one),
            };
            return Err(table.fault(message, remedy));
        }
        let mut changes: Vec<(f64, Values)> = Vec::new();
        let mut rows = table.rows()?;
        while let Some(row) = rows.next()? {
            let time = row.number(at, "time")?;
            let fits = Bounds::NOT_NEGATIVE.check(time, "a time", "ms").and_then(|()| self.follows(&changes, time, offgrid));
            fits.map_err(|(message, remedy)| row.fault(Some(at), message, remedy))?;
            let value = |column: &usize| {
                let value = row.number(*column, of.one)?;
                let within = of.bounds.check(value, of.one, of.unit);
                within.map_err(|(message, remedy)| row.fault(Some(*column), message, remedy)).map(|()| value)
            };
            let values = match &columns[..] {
                [one] => Values::Uniform(value(one)?),
                all => Values::Each(all.iter().map(value).collect::<Result<_>>()?),
            };
            changes.push((time, values));
        }
        if changes.is_empty() {
            return Err(table.fault("there are no numbers in this file", "write one line for each change"));
        }
        Ok(changes)
    }

    /// Whether a change may come after those before it: (message, remedy) if not.
    fn follows(&self, before: &[(f64, Values)], time: f64, offgrid: bool) -> std::result::Result<(), (String, String)> {
        if before.last().is_some_and(|c| c.0 >= time) {
            return Err(("times must increase".into(), "sort them, and keep each once".into()));
        }
        self.off_grid("a change at", time, Some(offgrid)).map_or(Ok(()), Err)
    }
}
