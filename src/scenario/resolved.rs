//! A scenario as it is run, as text of its own: the variant's settings and every override in their places, the simulation's defaults
//! written out, data files by their whole paths. Promises that this text gives the same network. Knows keys only where they name
//! files, and the order of populations, which is that of their neurons.

use super::Simulation;
use super::read::Scope;
use super::tree::{Kind, Node};
use std::path::Path;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};

/// Keys of files that are looked for beside the scenario.
const FILES: [&str; 3] = ["file", "images", "labels"];

/// The text; `heading` lines go to its top as comments.
pub fn text(root: &Node, scope: &Scope, simulation: &Simulation, variant: Option<&str>, heading: &str) -> String {
    let mut document = DocumentMut::new();
    for entry in root.entries().iter().filter(|e| !["variant", "variants"].contains(&e.key.as_str())) {
        let mut item = item(&entry.key, &entry.value, scope, 0);
        match (entry.key.as_str(), &mut item) {
            ("simulation", Item::Table(table)) => complete(table, simulation),
            ("published", Item::ArrayOfTables(tables)) => {
                tables.retain(|t| t.get("variant").is_none_or(|v| v.as_str() == variant));
                tables.iter_mut().for_each(|t| drop(t.remove("variant")));
                if tables.is_empty() {
                    continue;
                }
            }
            _ => {}
        }
        document.insert(&entry.key, item);
    }
    let heading: String = heading.lines().map(|line| format!("# {line}\n")).collect();
    format!("{heading}{document}")
}

/// What the simulation takes where the scenario says nothing.
fn complete(table: &mut Table, simulation: &Simulation) {
    let mut put = |key: &str, value: Value| table.insert(key, Item::Value(value));
    put("dt", format!("{} ms", simulation.dt).into());
    put("duration", format!("{} ms", simulation.duration).into());
    put("warmup", format!("{} ms", simulation.warmup).into());
    // TOML has whole numbers up to 2^63 only.
    put("seed", i64::try_from(simulation.seed).map_or_else(|_| simulation.seed.to_string().into(), Value::from));
    put("engine", simulation.engine.name().into());
}

/// The two upper floors are written with headers: beside each other, tables with and without headers would change places.
fn item(key: &str, node: &Node, scope: &Scope, depth: usize) -> Item {
    match &node.kind {
        Kind::Table { entries, inline } if depth < 2 || !inline => {
            let mut table = Table::new();
            for entry in entries {
                table.insert(&entry.key, item(&entry.key, &entry.value, scope, depth + 1));
            }
            table.set_implicit(!entries.is_empty() && table.iter().all(|(_, item)| item.is_table()));
            Item::Table(table)
        }
        Kind::Array(nodes) if depth == 0 && !nodes.is_empty() && nodes.iter().all(|n| matches!(n.kind, Kind::Table { .. })) => {
            let mut tables = ArrayOfTables::new();
            for node in nodes {
                let mut table = Table::new();
                for entry in node.entries() {
                    table.insert(&entry.key, item(&entry.key, &entry.value, scope, depth + 2));
                }
                tables.push(table);
            }
            Item::ArrayOfTables(tables)
        }
        _ => Item::Value(value(key, node, scope)),
    }
}

fn value(key: &str, node: &Node, scope: &Scope) -> Value {
    match &node.kind {
        Kind::Text(_) if FILES.contains(&key) => match scope.path(node) {
            Ok(path) => whole(&path).into(),
            Err(_) => plain(node),
        },
        Kind::Array(nodes) => Value::Array(nodes.iter().map(|n| value(key, n, scope)).collect::<Array>()),
        Kind::Table { entries, .. } => {
            let mut table = InlineTable::new();
            for entry in entries {
                table.insert(&entry.key, value(&entry.key, &entry.value, scope));
            }
            Value::InlineTable(table)
        }
        _ => plain(node),
    }
}

fn plain(node: &Node) -> Value {
    match &node.kind {
        Kind::Text(text) => text.as_str().into(),
        Kind::Integer(i) => (*i).into(),
        Kind::Float(x) => (*x).into(),
        Kind::Boolean(b) => (*b).into(),
        Kind::Array(_) | Kind::Table { .. } => Value::Array(Array::new()),
    }
}

/// A path that is the same from everywhere.
fn whole(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf()).to_string_lossy().into_owned()
}
