//! The TOML of a scenario as a tree in which every key and value knows where it was written: in the file, or in a `--set`.
//! Promises places for all refusals. Knows TOML, and nothing of what the keys mean.

use crate::error::{Error, Place, Result, nearest};
use std::ops::Range;
use std::sync::Arc;
use toml_edit::{Document, Item, TableLike, Value};

/// A text that nodes point into: the scenario file, or one override.
#[derive(Debug)]
pub struct Source {
    pub name: String,
    pub text: Arc<str>,
}

/// A range of a source.
#[derive(Clone, Debug)]
pub struct Spot {
    pub source: Arc<Source>,
    pub span: Range<usize>,
}

impl Spot {
    pub fn place(&self) -> Place {
        Place { file: self.source.name.clone(), text: self.source.text.clone(), span: self.span.clone() }
    }
    /// A refusal here.
    pub fn error(&self, message: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::at(self.place(), message, remedy)
    }
}

/// A dotted path, each part with its place.
pub type KeyPath = Vec<(String, Spot)>;

#[derive(Clone, Debug)]
pub enum Kind {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Array(Vec<Node>),
    /// `inline` is false for `[tables]`, whose entries are settings of their own.
    Table {
        entries: Vec<Entry>,
        inline: bool,
    },
}

#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub spot: Spot,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_spot: Spot,
    pub value: Node,
}

impl Kind {
    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            Kind::Text(_) => "a string",
            Kind::Integer(_) => "an integer",
            Kind::Float(_) => "a number",
            Kind::Boolean(_) => "true or false",
            Kind::Array(_) => "an array",
            Kind::Table { .. } => "a table",
        }
    }
}

impl Node {
    pub fn error(&self, message: impl Into<String>, remedy: impl Into<String>) -> Error {
        self.spot.error(message, remedy)
    }
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Table { entries, .. } => entries,
            _ => &[],
        }
    }
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|e| e.key == key).map(|e| &e.value)
    }
}

/// Parses a scenario.
///
/// # Errors
/// TOML that does not parse, at its line and column.
pub fn parse(name: &str, text: Arc<str>) -> Result<Node> {
    let source = Arc::new(Source { name: name.to_string(), text: text.clone() });
    let document = Document::parse(&*text).map_err(|e| {
        let span = e.span().unwrap_or(0..0);
        Spot { source: source.clone(), span }
            .error(e.message().trim().replace('\n', ", "), "this is not valid TOML: see https://toml.io")
    })?;
    table(document.as_table(), &source, 0..0, false)
}

fn table(table: &dyn TableLike, source: &Arc<Source>, span: Range<usize>, inline: bool) -> Result<Node> {
    let mut entries = vec![];
    for (name, item) in table.iter() {
        let key_span = table.key(name).and_then(|k| k.span()).unwrap_or(span.clone());
        let value = item_node(item, source, key_span.clone())?;
        entries.push(Entry { key: name.to_string(), key_spot: Spot { source: source.clone(), span: key_span }, value });
    }
    Ok(Node { kind: Kind::Table { entries, inline }, spot: Spot { source: source.clone(), span } })
}

fn item_node(item: &Item, source: &Arc<Source>, key: Range<usize>) -> Result<Node> {
    let span = item.span().unwrap_or(key);
    match item {
        Item::None => {
            Ok(Node { kind: Kind::Table { entries: vec![], inline: false }, spot: Spot { source: source.clone(), span } })
        }
        Item::Value(value) => value_node(value, source, span),
        Item::Table(t) => table(t, source, span, false),
        Item::ArrayOfTables(tables) => {
            let nodes =
                tables.iter().map(|t| table(t, source, t.span().unwrap_or(span.clone()), false)).collect::<Result<_>>()?;
            Ok(Node { kind: Kind::Array(nodes), spot: Spot { source: source.clone(), span } })
        }
    }
}

fn value_node(value: &Value, source: &Arc<Source>, fallback: Range<usize>) -> Result<Node> {
    let spot = Spot { source: source.clone(), span: value.span().unwrap_or(fallback.clone()) };
    let kind = match value {
        Value::String(s) => Kind::Text(s.value().clone()),
        Value::Integer(i) => Kind::Integer(*i.value()),
        Value::Float(x) => Kind::Float(*x.value()),
        Value::Boolean(b) => Kind::Boolean(*b.value()),
        Value::Datetime(_) => return Err(spot.error("a date has no meaning here", "quote it if text was meant")),
        Value::Array(a) => Kind::Array(a.iter().map(|v| value_node(v, source, fallback.clone())).collect::<Result<_>>()?),
        Value::InlineTable(t) => return table(t, source, spot.span, !t.is_dotted()),
    };
    Ok(Node { kind, spot })
}

/// A `--set key=value`: the dotted path and the value, which is TOML, or else plain text (`engine=cpu`, `duration=10 s`).
pub fn parse_override(text: &str) -> Result<(KeyPath, Node)> {
    let source = Arc::new(Source { name: format!("--set {text}"), text: text.into() });
    let spot = |span: Range<usize>| Spot { source: source.clone(), span };
    let Some(equals) = text.find('=') else {
        return Err(spot(0..text.len())
            .error("an override needs a key and a value", "write --set key=value, for instance --set scale.n=0.1"));
    };
    let path = split_path(text, 0..equals, &source)?;
    let raw = &text[equals + 1..];
    let trimmed = raw.trim();
    let start = equals + 1 + (raw.len() - raw.trim_start().len());
    if trimmed.is_empty() {
        return Err(spot(0..text.len()).error("the value is missing", "write --set key=value, for instance --set scale.n=0.1"));
    }
    // The value is parsed in place, behind as many bytes as its key has (at least two), so its spans fit the override's text.
    let padded = format!("{}x={}", "\n".repeat(start - 2), &text[start..]);
    let parsed = Document::parse(padded.as_str()).ok();
    let node = parsed.as_ref().and_then(|d| d.get("x")).and_then(|item| match item {
        Item::Value(Value::Datetime(_)) | Item::None => None,
        item => item_node(item, &source, start..text.len()).ok(),
    });
    let single = parsed.is_some_and(|d| d.iter().count() == 1);
    let text_node = || Node { kind: Kind::Text(trimmed.to_string()), spot: spot(start..start + trimmed.len()) };
    Ok((path, node.filter(|_| single).unwrap_or_else(text_node)))
}

/// Splits a dotted path (quotes keep a point: `populations."L2/3".n`).
fn split_path(text: &str, range: Range<usize>, source: &Arc<Source>) -> Result<KeyPath> {
    let mut parts = vec![];
    let (mut start, mut quoted) = (range.start, false);
    let bytes = text.as_bytes();
    for i in range.start..=range.end {
        if i < range.end && bytes[i] == b'"' {
            quoted = !quoted;
        }
        if i == range.end || bytes[i] == b'.' && !quoted {
            let part = text[start..i].trim().trim_matches('"').to_string();
            let spot = Spot { source: source.clone(), span: start..i };
            if part.is_empty() {
                return Err(
                    spot.error("a part of the key is empty", "write it as table.key=value, for instance simulation.seed=2")
                );
            }
            parts.push((part, spot));
            start = i + 1;
        }
    }
    Ok(parts)
}

/// Sets a dotted path. Tables on the way are made where they are missing, except below the top-level tables of user-chosen
/// names (`variables`, `populations`, `variants`, `modulators`), where a new name would be a mistake that nothing else can catch.
pub fn set(root: &mut Node, path: &[(String, Spot)], value: Node) -> Result<()> {
    let open = path.len() > 1 && ["variables", "populations", "variants", "modulators"].contains(&path[0].0.as_str());
    let (mut node, mut inside) = (root, String::new());
    for (depth, (part, spot)) in path.iter().enumerate() {
        let last = depth + 1 == path.len();
        match &mut node.kind {
            Kind::Array(items) => {
                let count = items.len();
                let item = part.parse::<usize>().ok().and_then(|i| items.get_mut(i));
                let remedy = if count == 0 { "it is empty".into() } else { format!("number it from 0 to {}", count - 1) };
                node = item.ok_or_else(|| spot.error(format!("`{inside}` has no item `{part}`"), remedy))?;
                if last {
                    *node = value;
                    return Ok(());
                }
            }
            Kind::Table { entries, .. } => {
                let at = match entries.iter().position(|e| e.key == *part) {
                    Some(at) => at,
                    None if open && depth == 1 => {
                        let names = entries.iter().map(|e| e.key.as_str());
                        let remedy = match nearest(part, names.clone()) {
                            Some(near) => format!("did you mean `{near}`?"),
                            None if entries.is_empty() => format!("give `{inside}` in the scenario first"),
                            None => format!("there are: {}", names.collect::<Vec<_>>().join(", ")),
                        };
                        return Err(spot.error(format!("`{inside}` has no `{part}`"), remedy));
                    }
                    None => {
                        let empty = Node { kind: Kind::Table { entries: vec![], inline: false }, spot: spot.clone() };
                        entries.push(Entry { key: part.clone(), key_spot: spot.clone(), value: empty });
                        entries.len() - 1
                    }
                };
                if last {
                    entries[at] = Entry { key: part.clone(), key_spot: spot.clone(), value };
                    return Ok(());
                }
                node = &mut entries[at].value;
            }
            kind => {
                let message = format!("`{inside}` is {}, it has no `{part}`", kind.describe());
                return Err(spot.error(message, format!("set `{inside}` as a whole")));
            }
        }
        if !inside.is_empty() {
            inside.push('.');
        }
        inside.push_str(part);
    }
    Ok(())
}

/// The settings of a variant as (path, value): dotted keys, and tables below it flattened.
pub fn settings(variant: &Node) -> Result<Vec<(KeyPath, Node)>> {
    fn collect(node: &Node, prefix: &[(String, Spot)], out: &mut Vec<(KeyPath, Node)>) -> Result<()> {
        for entry in node.entries() {
            let mut path = prefix.to_vec();
            let whole = Arc::new(Source { name: entry.key_spot.source.name.clone(), text: entry.key.as_str().into() });
            for (part, _) in split_path(&entry.key, 0..entry.key.len(), &whole).map_err(|_| {
                entry
                    .key_spot
                    .error("a part of the key is empty", "write it as \"table.key\" = value, for instance \"variables.g\" = 4")
            })? {
                path.push((part, entry.key_spot.clone()));
            }
            match &entry.value.kind {
                Kind::Table { inline: false, .. } => collect(&entry.value, &path, out)?,
                _ => out.push((path, entry.value.clone())),
            }
        }
        Ok(())
    }
    let mut out = vec![];
    collect(variant, &[], &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_all(text: &str, overrides: &[&str]) -> Result<Node> {
        let mut root = parse("a.toml", text.into())?;
        for o in overrides {
            let (path, value) = parse_override(o)?;
            set(&mut root, &path, value)?;
        }
        Ok(root)
    }

    #[test]
    fn keys_and_values_know_their_place() {
        let root = parse("a.toml", "[a]\nb = \"20 ms\"\n[[p]]\nw = 1\n[[p]]\nw = { x = 2 }\n".into()).unwrap();
        let b = root.get("a").unwrap().get("b").unwrap();
        assert_eq!(b.spot.place().line_column(), (2, 5));
        let Kind::Array(items) = &root.get("p").unwrap().kind else { panic!("not an array") };
        let x = items[1].get("w").unwrap().get("x").unwrap();
        assert_eq!(x.spot.place().line_column(), (6, 11));
    }

    #[test]
    fn overrides_replace_add_and_point_at_themselves() {
        let root = set_all(
            "[simulation]\nseed = 1\n[populations.E]\nn = 3\n[[projections]]\nweight = 1\n",
            &[
                "simulation.seed=7",
                "scale.n = 0.5",
                "simulation.engine=cpu",
                "simulation.duration=10 s",
                "projections.0.weight=\"2 mV\"",
                "populations.E.n=[1, 2]",
            ],
        )
        .unwrap();
        let sim = root.get("simulation").unwrap();
        assert!(matches!(sim.get("seed").unwrap().kind, Kind::Integer(7)));
        assert!(matches!(&sim.get("engine").unwrap().kind, Kind::Text(t) if t == "cpu"));
        assert!(matches!(&sim.get("duration").unwrap().kind, Kind::Text(t) if t == "10 s"));
        let n = root.get("scale").unwrap().get("n").unwrap();
        assert!(matches!(n.kind, Kind::Float(x) if x == 0.5));
        assert_eq!((n.spot.place().file, n.spot.place().line_column()), ("--set scale.n = 0.5".into(), (1, 11)));
        let Kind::Array(items) = &root.get("populations").unwrap().get("E").unwrap().get("n").unwrap().kind else { panic!() };
        assert_eq!(items[1].spot.span, 20..21);
    }

    #[test]
    fn refusals() {
        let text = "[variables]\ngain = 1\n[[projections]]\nw = 1\n";
        let cases = [
            (
                "gain",
                "--set gain:1:1: an override needs a key and a value (write --set key=value, for instance --set scale.n=0.1)",
            ),
            ("variables.gian=2", "--set variables.gian=2:1:11: `variables` has no `gian` (did you mean `gain`?)"),
            ("projections.3.w=2", "--set projections.3.w=2:1:13: `projections` has no item `3` (number it from 0 to 0)"),
            (
                "variables.gain.x=2",
                "--set variables.gain.x=2:1:16: `variables.gain` is an integer, it has no `x` (set `variables.gain` as a whole)",
            ),
            (
                "a..b=2",
                "--set a..b=2:1:3: a part of the key is empty (write it as table.key=value, for instance simulation.seed=2)",
            ),
            ("a=", "--set a=:1:1: the value is missing (write --set key=value, for instance --set scale.n=0.1)"),
        ];
        for (o, expected) in cases {
            assert_eq!(set_all(text, &[o]).unwrap_err().to_string(), expected);
        }
        let e = parse("a.toml", "a = 1\na = 2\n".into()).unwrap_err().to_string();
        assert!(e.starts_with("a.toml:2:1: duplicate key"), "{e}");
    }

    proptest::proptest! {
        #[test]
        fn no_override_panics(text in "[a-z.\"=\\[\\]{}0-9 \\-\n]{0,30}") {
            let _ = set_all("[a]\nb = 1\n", &[&text]);
        }
    }
}
