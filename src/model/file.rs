//! A model file: TOML text to a checked [`NeuronModel`], [`SynapseModel`] or [`Modifier`]. Promises that whatever is wrong with a file is said
//! here, at load time, with line and column, mistakes inside its WGSL code included. Knows TOML and naga; no engine.

use super::lower::{self, Roles};
use super::program::Slot;
use super::{
    Constant, Crossing, Derived, EventForm, ExpTerm, Modifier, NeuronModel, Param, Plasticity, Port, PostState, PostTrace,
    RANDOM, Recordable, Requirement, Sign, State, SynapseModel, Ty,
};
use crate::error::{Error, Place, Result, nearest};
use crate::expr::Expr;
use crate::units::Unit;
use std::ops::Range;
use std::sync::Arc;
use toml_edit::{Document, Item, Key, TableLike, Value};

/// A file's model.
#[derive(Debug)]
pub enum Model {
    Neuron(NeuronModel),
    Synapse(SynapseModel),
    Modifier(Modifier),
}

/// Read a model; `file` is its name as the user knows it.
pub fn read(file: &str, text: &str) -> Result<Model> {
    let source = Source { file: file.to_string(), text: text.into() };
    let document = Document::parse(text).map_err(|e| {
        source.fault(e.span().unwrap_or(0..0), e.message().trim().replace('\n', ", "), "see https://toml.io for the notation")
    })?;
    let root = Section { source: &source, table: document.as_table(), span: 0..text.len().min(1), what: "a model file".into() };
    let kind = root.required("kind")?.text()?;
    match kind.value.as_str() {
        "neuron" => neuron(&root).map(Model::Neuron),
        "synapse" => synapse(&root).map(Model::Synapse),
        "modifier" => modifier(&root).map(Model::Modifier),
        other => Err(source.fault(
            kind.span,
            format!("`{other}` is no kind of model"),
            "write \"neuron\", \"synapse\" or \"modifier\"",
        )),
    }
}

struct Source {
    file: String,
    text: Arc<str>,
}

impl Source {
    fn place(&self, span: Range<usize>) -> Place {
        Place { file: self.file.clone(), text: self.text.clone(), span }
    }

    fn fault(&self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::at(self.place(span), message, remedy)
    }
}

/// A table of the file, under a name for messages.
struct Section<'a> {
    source: &'a Source,
    table: &'a dyn TableLike,
    span: Range<usize>,
    what: String,
}

/// A value of the file.
struct Entry<'a> {
    source: &'a Source,
    key: String,
    key_span: Range<usize>,
    item: &'a Item,
}

/// A string of the file: its value, and where it stands.
#[derive(Clone, Debug)]
struct Text {
    value: String,
    /// With the quotes.
    span: Range<usize>,
    /// Offset of its first character in the file, when the value stands there verbatim.
    start: Option<usize>,
}

impl Text {
    /// Where a byte range of the value stands in the file.
    fn within(&self, range: Range<usize>) -> Range<usize> {
        match self.start {
            Some(start) => start + range.start.min(self.value.len())..start + range.end.min(self.value.len()),
            None => self.span.clone(),
        }
    }
}

impl<'a> Section<'a> {
    fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let (source, table) = (self.source, self.table);
        table.iter().map(move |(key, item)| Entry {
            source,
            key: key.to_string(),
            key_span: table.key(key).and_then(Key::span).unwrap_or(0..0),
            item,
        })
    }

    fn get(&self, key: &str) -> Option<Entry<'a>> {
        self.entries().find(|e| e.key == key)
    }

    fn required(&self, key: &str) -> Result<Entry<'a>> {
        self.get(key).ok_or_else(|| {
            self.source.fault(self.span.clone(), format!("{} needs `{key}`", self.what), format!("add `{key} = ...`"))
        })
    }

    /// Refuse keys that are not listed.
    fn allow(&self, keys: &[&str]) -> Result<()> {
        match self.entries().find(|e| !keys.contains(&e.key.as_str())) {
            None => Ok(()),
            Some(entry) => {
                let remedy = nearest(&entry.key, keys.iter().copied())
                    .map_or(format!("known are {}", keys.join(", ")), |n| format!("did you mean `{n}`?"));
                Err(self.source.fault(entry.key_span, format!("{} has no key `{}`", self.what, entry.key), remedy))
            }
        }
    }

    fn text_or(&self, key: &str, default: &str) -> Result<String> {
        self.get(key).map_or(Ok(default.to_string()), |e| Ok(e.text()?.value))
    }

    /// The unit named under `unit`; a default where the key may be left out.
    fn unit(&self, default: Option<&str>) -> Result<String> {
        let entry = match (self.get("unit"), default) {
            (None, Some(default)) => return Ok(default.to_string()),
            _ => self.required("unit")?,
        };
        let text = entry.text()?;
        match Unit::parse(&text.value) {
            Some(_) => Ok(text.value),
            None => Err(self.source.fault(
                text.span,
                format!("unknown unit `{}`", text.value),
                "use ms, mV, pA, pF, nS, Hz, mm, 1 for plain numbers, or a product such as mV/ms",
            )),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        self.get(key).map(|e| e.number()).transpose()
    }

    /// The sub-table of that name, empty when absent.
    fn section(&self, key: &str) -> Result<Option<Section<'a>>> {
        self.get(key).map(|e| e.section(&format!("[{key}]"))).transpose()
    }
}

impl<'a> Entry<'a> {
    fn span(&self) -> Range<usize> {
        self.item.span().unwrap_or(self.key_span.clone())
    }

    fn wrong(&self, wanted: &str) -> Error {
        self.source.fault(self.span(), format!("`{}` is {}", self.key, described(self.item)), format!("write {wanted}"))
    }

    fn text(&self) -> Result<Text> {
        let Some(Value::String(string)) = self.item.as_value() else { return Err(self.wrong("a string")) };
        let span = self.span();
        let value = string.value().clone();
        let raw = &self.source.text[span.clone()];
        let quotes = if raw.starts_with("'''") || raw.starts_with("\"\"\"") { 3 } else { 1 };
        let newline =
            if quotes == 3 { raw[3..].len() - raw[3..].trim_start_matches('\r').trim_start_matches('\n').len() } else { 0 };
        let newline = newline.min(1 + raw[quotes..].starts_with('\r') as usize);
        let start = raw[quotes + newline..].starts_with(&value).then_some(span.start + quotes + newline);
        Ok(Text { value, span, start })
    }

    fn number(&self) -> Result<f64> {
        let value = match self.item.as_value() {
            Some(Value::Float(x)) => *x.value(),
            Some(Value::Integer(x)) => *x.value() as f64,
            _ => return Err(self.wrong("a number")),
        };
        if value.is_nan() { Err(self.wrong("a number that is not nan")) } else { Ok(value) }
    }

    fn flag(&self) -> Result<bool> {
        self.item.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    fn section(&self, what: &str) -> Result<Section<'a>> {
        let table = self.item.as_table_like().ok_or_else(|| self.wrong("a table"))?;
        Ok(Section { source: self.source, table, span: self.key_span.clone(), what: what.to_string() })
    }

    /// A number, or an expression over the names given.
    fn expr(&self, names: &Names) -> Result<Expr> {
        if matches!(self.item.as_value(), Some(Value::Float(_) | Value::Integer(_))) {
            return Ok(Expr::number(self.number()?));
        }
        let text = self.text().map_err(|_| self.wrong("a number or an expression in quotes"))?;
        let expr = Expr::parse(&text.value).map_err(|(message, range)| {
            self.source.fault(text.within(range), message, "see the notation of expressions in models/README.md")
        })?;
        if let Some((name, range)) = expr.names_with_spans().find(|(n, _)| !names.known.iter().any(|k| k == n)) {
            let remedy = nearest(name, names.known.iter().map(|n| n.as_str()))
                .map_or(format!("an expression here may use {}", names.what), |n| format!("did you mean `{n}`?"));
            return Err(self.source.fault(text.within(range), format!("`{name}` is not known here"), remedy));
        }
        Ok(expr)
    }
}

fn described(item: &Item) -> &'static str {
    match item {
        Item::Value(Value::String(_)) => "a string",
        Item::Value(Value::Integer(_) | Value::Float(_)) => "a number",
        Item::Value(Value::Boolean(_)) => "a truth value",
        Item::Value(Value::Datetime(_)) => "a date",
        Item::Value(Value::Array(_)) => "a list",
        Item::ArrayOfTables(_) => "a list of tables",
        _ => "a table",
    }
}

/// Names that an expression may use, and that in words.
#[derive(Clone)]
struct Names {
    known: Vec<String>,
    what: &'static str,
}

impl Names {
    fn new(what: &'static str) -> Names {
        Names { known: vec![], what }
    }
    fn with<'a>(&self, names: impl IntoIterator<Item = &'a str>, what: &'static str) -> Names {
        Names { known: self.known.iter().cloned().chain(names.into_iter().map(String::from)).collect(), what }
    }
}

/// What neurons and synapses have in common.
struct Head {
    name: String,
    doc: String,
    source: String,
    params: Vec<Param>,
    requires: Vec<Requirement>,
    derived: Vec<Derived>,
    states: Vec<State>,
    /// Names of everything declared so far, with the place.
    declared: Vec<(String, Range<usize>)>,
}

impl Head {
    /// A new name for the code and the expressions.
    fn declare(&mut self, entry: &Entry) -> Result<String> {
        let name = entry.key.clone();
        let fault = |message: String, remedy: &str| Err(entry.source.fault(entry.key_span.clone(), message, remedy));
        let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !letters || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return fault(format!("`{name}` cannot be a name in the code"), "use letters, digits and `_`, a letter first");
        }
        if crate::expr::is_reserved(&name) {
            return fault(format!("`{name}` is a word of the expressions"), "choose another name");
        }
        if self.declared.iter().any(|(known, _)| *known == name) {
            return fault(
                format!("`{name}` is declared twice"),
                "a name stands for one parameter, derived constant, state or input",
            );
        }
        self.declared.push((name.clone(), entry.key_span.clone()));
        Ok(name)
    }

    fn params(&self) -> impl Iterator<Item = &str> {
        self.params.iter().map(|p| p.name.as_str())
    }
    fn derived(&self) -> impl Iterator<Item = &str> {
        self.derived.iter().map(|d| d.name.as_str())
    }
    fn states(&self) -> impl Iterator<Item = &str> {
        self.states.iter().map(|s| s.name.as_str())
    }
    fn span_of(&self, name: &str) -> Range<usize> {
        self.declared.iter().find(|(n, _)| n == name).map_or(0..0, |(_, span)| span.clone())
    }
    /// Parameters and derived constants in the type that the code sees.
    fn constants(&self) -> Vec<(&str, Ty)> {
        self.params().map(|p| (p, Ty::F32)).chain(self.derived.iter().map(|d| (d.name.as_str(), d.ty))).collect()
    }
}

/// Name, documentation, parameters, derived constants and states; `reserved` are names the code or the expressions use otherwise.
fn head(root: &Section, reserved: &[&str]) -> Result<Head> {
    let signal = root.get("modulator").map(|_| "tau_modulator");
    let is_neuron = reserved.contains(&"spike");
    let name = root.required("name")?.text()?;
    if name.value.is_empty() || !name.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(root.source.fault(
            name.span,
            "a model's name consists of letters, digits and `_`",
            "for example \"iaf_psc_exp\"",
        ));
    }
    let mut head = Head {
        name: name.value,
        doc: root.text_or("doc", "")?,
        source: root.text_or("source", "")?,
        params: vec![],
        requires: vec![],
        derived: vec![],
        states: vec![],
        declared: vec![],
    };
    let check = |entry: &Entry, more: &[&str]| match reserved.iter().chain(more).find(|r| **r == entry.key) {
        Some(_) => Err(entry.source.fault(
            entry.key_span.clone(),
            format!("`{}` has a meaning of its own in a model", entry.key),
            "choose another name",
        )),
        None => Ok(()),
    };
    for entry in root.section("params")?.iter().flat_map(Section::entries) {
        check(&entry, &["dt", "h"])?;
        let param = param(&entry, &head)?;
        head.declare(&entry)?;
        head.params.push(param);
    }
    if let Some(entry) = root.get("require") {
        head.requires = requirements(&entry, &Names::new("").with(head.params(), "").with(["dt", "h"], "parameters, dt and h"))?;
    }
    for entry in root.section("derived")?.iter().flat_map(Section::entries) {
        check(&entry, &["dt", "h"])?;
        let names = Names::new("")
            .with(head.params(), "")
            .with(head.derived(), "")
            .with(["dt", "h"].into_iter().chain(signal), "parameters, derived constants above it, dt and h");
        let (ty, value) = if entry.item.is_table_like() {
            let section = entry.section(&format!("`{}`", entry.key))?;
            section.allow(&["value", "type"])?;
            (ty(&section)?, section.required("value")?.expr(&names)?)
        } else {
            (Ty::F32, entry.expr(&names)?)
        };
        let name = head.declare(&entry)?;
        head.derived.push(Derived { name, ty, value });
    }
    for entry in root.section("state")?.iter().flat_map(Section::entries) {
        check(&entry, &[])?;
        let section = entry.section(&format!("state `{}`", entry.key))?;
        section.allow(&["init", "unit", "doc", "type"])?;
        let names = Names::new("").with(head.params(), "").with(head.derived(), "parameters and derived constants");
        let (ty, init) = (ty(&section)?, section.required("init")?);
        let random = init.item.as_str() == Some(RANDOM) && !head.params().any(|p| p == RANDOM);
        if random && (ty != Ty::U32 || is_neuron) {
            let remedy = "add type = \"u32\", and derive other numbers from it in the code";
            return Err(root.source.fault(init.span(), "only u32 states of synapses start with random words", remedy));
        }
        let state = State {
            name: entry.key.clone(),
            ty,
            unit: section.unit(Some("1"))?,
            doc: section.text_or("doc", "")?,
            init: if random { Expr::name(RANDOM) } else { init.expr(&names)? },
        };
        head.declare(&entry)?;
        head.states.push(state);
    }
    Ok(head)
}

fn param(entry: &Entry, head: &Head) -> Result<Param> {
    let section = entry.section(&format!("parameter `{}`", entry.key))?;
    section.allow(&["default", "unit", "doc", "above", "at_least", "at_most"])?;
    let default = section.required("default")?;
    let param = Param {
        name: entry.key.clone(),
        unit: section.unit(None)?,
        doc: section.text_or("doc", "")?,
        default: default.expr(&Names::new("").with(head.params(), "parameters listed before it"))?,
        above: section.number("above")?,
        at_least: section.number("at_least")?,
        at_most: section.number("at_most")?,
    };
    if let Some(value) = param.default.constant()
        && let Err(bound) = param.check(value)
    {
        return Err(entry.source.fault(
            default.span(),
            format!("the default of `{}` is {value}, and must be {bound}", entry.key),
            "change the default or the bound",
        ));
    }
    Ok(param)
}

/// `require`: a relation, or a list of relations and of tables { relation, message }.
fn requirements(entry: &Entry, names: &Names) -> Result<Vec<Requirement>> {
    let one = |item: &Item| -> Result<Requirement> {
        let own = Entry { source: entry.source, key: entry.key.clone(), key_span: entry.key_span.clone(), item };
        if item.as_table_like().is_none() {
            own.text().map_err(|_| own.wrong("a relation in quotes, \"V_reset < V_th\", or a list of them"))?;
            return Ok(Requirement { relation: own.expr(names)?, message: None });
        }
        let section = own.section("a table of `require`")?;
        section.allow(&["relation", "message"])?;
        let message = section.get("message").map(|m| m.text()).transpose()?;
        Ok(Requirement { relation: section.required("relation")?.expr(names)?, message: message.map(|m| m.value) })
    };
    match entry.item {
        Item::Value(Value::Array(list)) => list.iter().map(|value| one(&Item::Value(value.clone()))).collect(),
        Item::ArrayOfTables(list) => list.iter().map(|table| one(&Item::Table(table.clone()))).collect(),
        item => Ok(vec![one(item)?]),
    }
}

impl Param {
    /// Is a value within the bounds? Otherwise what it must be, in words.
    pub fn check(&self, value: f64) -> std::result::Result<(), String> {
        match (self.above, self.at_least, self.at_most) {
            _ if value.is_nan() => Err("a number".into()),
            (Some(low), _, _) if value <= low => Err(format!("above {low}")),
            (_, Some(low), _) if value < low => Err(format!("at least {low}")),
            (_, _, Some(high)) if value > high => Err(format!("at most {high}")),
            _ => Ok(()),
        }
    }
}

fn ty(section: &Section) -> Result<Ty> {
    let Some(entry) = section.get("type") else { return Ok(Ty::F32) };
    let text = entry.text()?;
    match text.value.as_str() {
        "f32" => Ok(Ty::F32),
        "i32" => Ok(Ty::I32),
        "u32" => Ok(Ty::U32),
        other => Err(entry.source.fault(
            text.span,
            format!("`{other}` is no type of a state or constant"),
            "write \"f32\", \"i32\" or \"u32\"",
        )),
    }
}

fn neuron(root: &Section) -> Result<NeuronModel> {
    root.allow(&[
        "name",
        "kind",
        "doc",
        "source",
        "substeps",
        "refractory",
        "repeats",
        "require",
        "params",
        "derived",
        "state",
        "inputs",
        "record",
        "code",
        "event",
    ])?;
    let has_event = root.get("event").is_some();
    let mut head = head(root, if has_event { &["spike", "s", "w"] } else { &["spike"] })?;
    let params = Names::new("").with(head.params(), "parameters");
    let (mut ports, mut current) = (vec![], None);
    for entry in root.section("inputs")?.iter().flat_map(Section::entries) {
        let section = entry.section(&format!("input `{}`", entry.key))?;
        let name = head.declare(&entry)?;
        match section.get("kind").map(|k| k.text()).transpose()? {
            None => ports.push(port(name, &section, &params)?),
            Some(kind) if kind.value == "current" => {
                section.allow(&["kind", "unit", "doc"])?;
                if current.replace((name, section.unit(Some("pA"))?)).is_some() {
                    return Err(root.source.fault(
                        entry.key_span,
                        "a model takes one current at most",
                        "all injected currents are summed; use that one",
                    ));
                }
            }
            Some(kind) if kind.value == "spikes" => ports.push(port(name, &section, &params)?),
            Some(kind) => {
                return Err(root.source.fault(
                    kind.span,
                    format!("`{}` is no kind of input", kind.value),
                    "write \"current\", or leave it out for spikes",
                ));
            }
        }
        if let Some(port) = ports.iter().rev().skip(1).find(|p: &&Port| p.receptor == ports[ports.len() - 1].receptor) {
            return Err(root.source.fault(
                entry.key_span,
                format!("receptor `{}` has two inputs", port.receptor),
                "give each its own `receptor`",
            ));
        }
    }
    let record_names = Names::new("")
        .with(head.states(), "")
        .with(head.params(), "")
        .with(head.derived(), "states, parameters and derived constants");
    let recordables = recordables(root, &record_names)?;
    let step_names = params.with(["dt"], "parameters and dt");
    let substeps = root.get("substeps").map(|e| e.expr(&step_names)).transpose()?;
    let refractory = root.get("refractory").map(|e| e.expr(&params)).transpose()?;
    let repeats = root.get("repeats").map(|entry| {
        let text = entry.text()?;
        let state = head.states.iter().position(|s| s.name == text.value && s.ty == Ty::F32);
        state.ok_or_else(|| {
            root.source.fault(text.span, format!("`{}` is no state of type f32", text.value), "name the state that counts spikes")
        })
    });
    let repeats = repeats.transpose()?;
    let code = root
        .section("code")?
        .ok_or_else(|| root.source.fault(root.span.clone(), "a neuron model needs [code]", "add [code] with `update`"))?;
    code.allow(&["functions", "integrate", "update", "threshold", "reset", "stable"])?;
    let stable = snippet(&code, "stable")?.map(|text| text.value.trim().to_string());
    if let (Some(_), Some(entry), false) = (&stable, code.get("stable"), head.states.iter().any(|s| s.ty == Ty::F32)) {
        return Err(root.source.fault(
            entry.key_span,
            "`stable` needs a state of type f32",
            "drop it, or give the model a state",
        ));
    }
    let event = root.section("event")?.map(|s| event(&s, &head, &ports, current.as_ref(), refractory.as_ref())).transpose()?;
    let compiled = neuron_code(root, &head, &ports, current.as_ref(), &code, substeps.is_some())?;
    Ok(NeuronModel {
        place: root.source.place(0..0),
        constants: compiled.constants,
        program: Arc::new(compiled.programs.into_iter().next().unwrap_or_default()),
        wgsl: compiled.wgsl,
        name: head.name,
        doc: head.doc,
        source: head.source,
        params: head.params,
        requires: head.requires,
        derived: head.derived,
        states: head.states,
        ports,
        current,
        recordables,
        substeps,
        repeats,
        refractory,
        stable,
        event,
    })
}

/// [record]
fn recordables(root: &Section, names: &Names) -> Result<Vec<Recordable>> {
    let entries = root.section("record")?;
    let one = |entry: Entry| {
        let section = entry.section(&format!("recordable `{}`", entry.key))?;
        section.allow(&["value", "unit", "doc"])?;
        Ok(Recordable {
            name: entry.key.clone(),
            unit: section.unit(Some("1"))?,
            doc: section.text_or("doc", "")?,
            value: section.required("value")?.expr(names)?,
        })
    };
    entries.iter().flat_map(Section::entries).map(one).collect()
}

/// [record] of a synapse, and the states that nothing there reads, as they are.
fn synapse_recordables(root: &Section, head: &Head) -> Result<Vec<Recordable>> {
    let names = Names::new("").with(head.states(), "").with(head.params(), "");
    let names = names.with(head.derived(), "").with(["elapsed"], "states, parameters, derived constants and elapsed");
    let mut all = recordables(root, &names)?;
    let read: Vec<String> = all.iter().flat_map(|r| r.value.names().map(String::from).chain([r.name.clone()])).collect();
    all.extend(head.states.iter().filter(|s| !read.contains(&s.name)).map(|s| Recordable {
        name: s.name.clone(),
        unit: s.unit.clone(),
        doc: s.doc.clone(),
        value: Expr::name(&s.name),
    }));
    Ok(all)
}

fn port(name: String, section: &Section, params: &Names) -> Result<Port> {
    section.allow(&["kind", "receptor", "unit", "doc", "sign", "absolute", "counts", "charge"])?;
    let absolute = section.get("absolute").map(|e| e.flag()).transpose()?;
    let sign = match section.get("sign").map(|e| e.text()).transpose()? {
        None => Sign::Any,
        Some(text) => match text.value.as_str() {
            "any" => Sign::Any,
            "positive" => Sign::Positive,
            "negative" => Sign::Negative { absolute: absolute.unwrap_or(false) },
            other => {
                return Err(section.source.fault(
                    text.span,
                    format!("`{other}` is no sign"),
                    "write \"positive\", \"negative\" or \"any\"",
                ));
            }
        },
    };
    if let (Some(entry), true) = (section.get("absolute"), !matches!(sign, Sign::Negative { .. })) {
        return Err(section.source.fault(
            entry.key_span,
            "`absolute` is for inputs of negative sign",
            "add sign = \"negative\" or drop it",
        ));
    }
    Ok(Port {
        receptor: section.text_or("receptor", &name)?,
        unit: section.unit(None)?,
        doc: section.text_or("doc", "")?,
        sign,
        counts: section.get("counts").map_or(Ok(false), |e| e.flag())?,
        charge: section.get("charge").map(|e| e.expr(params)).transpose()?,
        name,
    })
}

/// (state index, new value) pairs of a table.
fn assignments(section: &Section, head: &Head, names: &Names) -> Result<Vec<(usize, Expr)>> {
    section.allow(&head.states().collect::<Vec<_>>())?;
    section.entries().map(|e| Ok((head.states().position(|s| s == e.key).unwrap_or(0), e.expr(names)?))).collect()
}

/// Every state's value: the given one, or itself.
fn evolution(section: Option<Section>, head: &Head, names: &Names) -> Result<Vec<Expr>> {
    let mut all: Vec<Expr> = head.states().map(Expr::name).collect();
    if let Some(section) = section {
        for (state, value) in assignments(&section, head, names)? {
            all[state] = value;
        }
    }
    Ok(all)
}

fn event(
    section: &Section,
    head: &Head,
    ports: &[Port],
    current: Option<&(String, String)>,
    refractory: Option<&Expr>,
) -> Result<EventForm> {
    section.allow(&[
        "refractory",
        "advance",
        "hold",
        "receive",
        "receive_held",
        "crossed",
        "crossing",
        "exponentials",
        "reset",
    ])?;
    let mut timeless: Vec<&str> = vec![];
    for derived in &head.derived {
        let steady = |n: &str| head.params().any(|p| p == n) || timeless.contains(&n);
        if derived.value.names().all(steady) {
            timeless.push(&derived.name);
        }
    }
    let what = "states, parameters, derived constants that do not depend on dt, and the current";
    let names = Names::new("")
        .with(head.states(), "")
        .with(head.params(), "")
        .with(timeless, what)
        .with(current.map(|c| c.0.as_str()), what);
    let elapsing = names.with(["s"], "states, parameters, derived constants that do not depend on dt, the current and s");
    let weighing = names.with(["w"], "states, parameters, derived constants that do not depend on dt, the current and w");
    let sub = |key: &str| section.get(key).map(|e| e.section(&format!("`{key}` of [event]"))).transpose();
    let received = |key: &str| -> Result<Option<Vec<Vec<(usize, Expr)>>>> {
        let Some(table) = sub(key)? else { return Ok(None) };
        table.allow(&ports.iter().map(|p| p.name.as_str()).collect::<Vec<_>>())?;
        let one = |port: &Port| match table.get(&port.name) {
            Some(entry) => assignments(&entry.section(&format!("`{key}.{}` of [event]", port.name))?, head, &weighing),
            None => Ok(vec![]),
        };
        ports.iter().map(one).collect::<Result<Vec<_>>>().map(Some)
    };
    let receive = received("receive")?.unwrap_or_else(|| vec![vec![]; ports.len()]);
    let crossing = match (section.get("crossing"), sub("exponentials")?) {
        (Some(entry), None) => Crossing::Closed(entry.expr(&names)?),
        (None, Some(sum)) => exponentials(&sum, &names)?,
        _ => {
            return Err(section.source.fault(
                section.span.clone(),
                "[event] needs either `crossing` or `exponentials`",
                "give the ms until threshold, or the threshold function as a sum of exponentials",
            ));
        }
    };
    let params = Names::new("").with(head.params(), "parameters");
    Ok(EventForm {
        advance: evolution(sub("advance")?, head, &elapsing)?,
        hold: evolution(sub("hold")?, head, &elapsing)?,
        receive_held: received("receive_held")?.unwrap_or_else(|| receive.clone()),
        receive,
        crossed: section.required("crossed")?.expr(&names)?,
        crossing,
        reset: sub("reset")?.map_or(Ok(vec![]), |s| assignments(&s, head, &names))?,
        refractory: match section.get("refractory") {
            Some(entry) => entry.expr(&params)?,
            None => refractory.cloned().unwrap_or(Expr::number(0.0)),
        },
    })
}

fn exponentials(sum: &Section, names: &Names) -> Result<Crossing> {
    sum.allow(&["constant", "terms"])?;
    let entry = sum.required("terms")?;
    let mut terms = vec![];
    let wrong = || entry.wrong("a list of tables { amplitude, tau, power }");
    let tables: Vec<&dyn TableLike> = match entry.item {
        Item::Value(Value::Array(list)) => {
            list.iter().map(|v| v.as_inline_table().map(|t| t as &dyn TableLike).ok_or_else(wrong)).collect::<Result<_>>()?
        }
        Item::ArrayOfTables(list) => list.iter().map(|t| t as &dyn TableLike).collect(),
        _ => return Err(wrong()),
    };
    for table in tables {
        let term = Section { source: sum.source, table, span: entry.key_span.clone(), what: "a term".into() };
        term.allow(&["amplitude", "tau", "power"])?;
        let power = match term.get("power") {
            None => 0,
            Some(entry) => match entry.item.as_integer() {
                Some(power @ 0..=8) => power as u32,
                _ => return Err(entry.wrong("a whole number from 0 to 8")),
            },
        };
        terms.push(ExpTerm {
            amplitude: term.required("amplitude")?.expr(names)?,
            tau: term.required("tau")?.expr(names)?,
            power,
        });
    }
    let constant = sum.get("constant").map_or(Ok(Expr::number(0.0)), |e| e.expr(names))?;
    Ok(Crossing::Exponentials { constant, terms })
}

/// Names that the code of a synapse gives a meaning.
fn words_of_synapses() -> Vec<&'static str> {
    Plasticity::INPUTS.into_iter().chain(["w", "psc", "tau_modulator"]).collect()
}

/// Names of parameters that a scenario gives another meaning.
fn refuse_scenario_words(root: &Section, head: &Head) -> Result<()> {
    match ["model", "gate", "metaplasticity"].iter().find(|n| head.params().any(|p| p == **n)) {
        Some(name) => {
            let message = format!("`{name}` is a key of a scenario's synapses");
            Err(root.source.fault(head.span_of(name), message, "choose another name"))
        }
        None => Ok(()),
    }
}

fn synapse(root: &Section) -> Result<SynapseModel> {
    root.allow(&[
        "name",
        "kind",
        "doc",
        "source",
        "bound",
        "modulator",
        "post_event",
        "require",
        "params",
        "derived",
        "state",
        "post_traces",
        "post_states",
        "record",
        "code",
    ])?;
    let mut head = head(root, &words_of_synapses())?;
    refuse_scenario_words(root, &head)?;
    let plasticity = plasticity(root, &mut head)?;
    let code = root.section("code")?;
    let mut model = SynapseModel {
        place: root.source.place(0..0),
        constants: vec![],
        program: None,
        wgsl: String::new(),
        name: head.name.clone(),
        doc: head.doc.clone(),
        source: head.source.clone(),
        params: vec![],
        requires: vec![],
        derived: vec![],
        states: vec![],
        recordables: synapse_recordables(root, &head)?,
        plasticity: None,
    };
    if let Some(code) = &code {
        match plasticity {
            None => {
                let plastic =
                    |key: &str| code.get(key).map(|entry| belongs_to_plastic(root, entry.key_span, &format!("`{key}`")));
                code.allow(&["functions", "on_pre"])
                    .map_err(|e| ["on_post", "on_modulator", "on_read"].into_iter().find_map(plastic).unwrap_or(e))?;
                let compiled = synapse_code(root, &head, code)?;
                (model.constants, model.wgsl) = (compiled.constants, compiled.wgsl);
                model.program = compiled.programs.into_iter().next().map(Arc::new);
            }
            Some(mut plasticity) => {
                code.allow(&["functions", "on_pre", "on_post", "on_modulator", "on_read"])?;
                let compiled = plastic_code(root, &head, &plasticity, code)?;
                (model.constants, model.wgsl) = (compiled.constants, compiled.wgsl);
                let mut programs = compiled.programs.into_iter().map(Arc::new);
                model.program = programs.next();
                let mut next = |key: &str| code.get(key).and_then(|_| programs.next());
                plasticity.on_post = next("on_post");
                plasticity.on_modulator = next("on_modulator");
                plasticity.on_read = next("on_read").filter(|program| (0..=head.states.len()).any(|state| program.writes(state)));
                model.plasticity = Some(plasticity);
            }
        }
    } else if let Some(state) = head.states.first() {
        return Err(root.source.fault(head.span_of(&state.name), "a synapse with states needs [code]", "add `on_pre`"));
    } else if plasticity.is_some() {
        return Err(root.source.fault(
            root.span.clone(),
            "a synapse with a `bound` needs [code]",
            "add `on_pre`, or drop `bound`",
        ));
    }
    (model.params, model.requires, model.derived, model.states) = (head.params, head.requires, head.derived, head.states);
    Ok(model)
}

fn belongs_to_plastic(root: &Section, span: Range<usize>, what: &str) -> Error {
    root.source.fault(
        span,
        format!("{what} belong{} to synapses whose weight changes", if what.starts_with('[') { "" } else { "s" }),
        "add `bound = ...`, the largest weight that the code lets one reach (an expression over parameters)",
    )
}

/// `bound`, `modulator`, `post_event`, [post_traces] and [post_states]; the code is still to come.
fn plasticity(root: &Section, head: &mut Head) -> Result<Option<Plasticity>> {
    let Some(bound) = root.get("bound") else {
        let tables = ["post_traces", "post_states"].into_iter().map(|key| (key, format!("[{key}]")));
        let keys = ["modulator", "post_event"].into_iter().map(|key| (key, format!("`{key}`")));
        return match tables.chain(keys).find_map(|(key, shown)| Some((root.get(key)?, shown))) {
            None => Ok(None),
            Some((entry, shown)) => Err(belongs_to_plastic(root, entry.key_span, &shown)),
        };
    };
    let bound = bound.expr(&Names::new("").with(head.params(), "parameters"))?;
    let traces = post_traces(root, head)?;
    let mut post_states = vec![];
    for entry in root.section("post_states")?.iter().flat_map(Section::entries) {
        let table = entry.section(&format!("state `{}` of the target", entry.key))?;
        table.allow(&["doc"])?;
        refuse_words(root, &entry)?;
        post_states.push(PostState { name: head.declare(&entry)?, doc: table.text_or("doc", "")? });
    }
    let post_event = match root.get("post_event") {
        None => None,
        Some(entry) => {
            let text = entry.text()?;
            Some(match post_states.iter().position(|s| s.name == text.value) {
                Some(at) => at,
                None => {
                    let named = Entry { key: text.value.clone(), key_span: text.within(0..text.value.len()), ..entry };
                    refuse_words(root, &named)?;
                    post_states.push(PostState { name: head.declare(&named)?, doc: "event of the target".into() });
                    post_states.len() - 1
                }
            })
        }
    };
    if post_states.len() > super::MAX_POST_STATES {
        let message = format!("a synapse reads at most {} states of its target", super::MAX_POST_STATES);
        let span = head.span_of(&post_states[super::MAX_POST_STATES].name);
        return Err(root.source.fault(span, message, "compute with them in the neuron model, and read the result"));
    }
    let modulator = root.get("modulator").map(|e| e.text()).transpose()?.map(|t| t.value);
    Ok(Some(Plasticity { bound, traces, post_states, post_event, modulator, on_post: None, on_modulator: None, on_read: None }))
}

/// Refuse a name of a trace or of a target's state that the code uses otherwise.
fn refuse_words(root: &Section, entry: &Entry) -> Result<()> {
    if words_of_synapses().iter().chain(&["dt", "h"]).any(|word| *word == entry.key) {
        let message = format!("`{}` has a meaning of its own in a model", entry.key);
        return Err(root.source.fault(entry.key_span.clone(), message, "choose another name"));
    }
    Ok(())
}

fn post_traces(root: &Section, head: &mut Head) -> Result<Vec<PostTrace>> {
    let names = Names::new("").with(head.params(), "parameters");
    let mut traces = vec![];
    for entry in root.section("post_traces")?.iter().flat_map(Section::entries) {
        let table = entry.section(&format!("trace `{}`", entry.key))?;
        table.allow(&["tau", "nearest", "doc"])?;
        refuse_words(root, &entry)?;
        if traces.len() == super::MAX_TRACES {
            let message = format!("a synapse has at most {} traces of its target", super::MAX_TRACES);
            return Err(root.source.fault(entry.key_span, message, "keep what differs between synapses in [state]"));
        }
        let nearest = table.get("nearest").map(|e| e.flag()).transpose()?.unwrap_or(false);
        let (tau, doc) = (table.required("tau")?.expr(&names)?, table.text_or("doc", "")?);
        traces.push(PostTrace { name: head.declare(&entry)?, tau, nearest, doc });
    }
    Ok(traces)
}

/// What the code of a modifier reads beside the inputs: ends of the interval of weights, and where the step comes from.
const MODIFIER_CONSTANTS: [&str; 2] = ["w_min", "w_max"];
pub(super) const MODIFIER_FLAGS: [&str; 2] = ["at_pre", "at_post"];

/// A modifier is checked by itself here, at its own lines; composed, its code is known to be good.
fn modifier(root: &Section) -> Result<Modifier> {
    root.allow(&["name", "kind", "doc", "source", "modulator", "require", "params", "derived", "state", "post_traces", "code"])?;
    let own = ["step"].into_iter().chain(MODIFIER_CONSTANTS).chain(MODIFIER_FLAGS);
    let mut head = head(root, &words_of_synapses().into_iter().chain(own).collect::<Vec<_>>())?;
    refuse_scenario_words(root, &head)?;
    let traces = post_traces(root, &mut head)?;
    let modulator = root.get("modulator").map(|e| e.text()).transpose()?.map(|t| t.value);
    let code = root
        .section("code")?
        .ok_or_else(|| root.source.fault(root.span.clone(), "a modifier needs [code]", "add [code] with `on_step`"))?;
    code.allow(&["functions", "on_step"])?;
    let functions = modifier_code(root, &mut head, &traces, modulator.is_some(), &code)?;
    Ok(Modifier {
        place: root.source.place(0..0),
        name: head.name,
        doc: head.doc,
        source: head.source,
        params: head.params,
        derived: head.derived.into_iter().filter(|d| !MODIFIER_CONSTANTS.contains(&d.name.as_str())).collect(),
        states: head.states,
        traces,
        modulator,
        functions,
    })
}

/// A module's text as it is put together, and where each piece came from.
#[derive(Default)]
struct Assembly {
    text: String,
    /// (range in `text`, range in the file, verbatim).
    pieces: Vec<(Range<usize>, Range<usize>, bool)>,
}

impl Assembly {
    fn add(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// `var<private> name: type;`, blamed on the key of the file.
    fn variable(&mut self, name: &str, ty: &str, span: Range<usize>) {
        self.add("var<private> ");
        let start = self.text.len();
        self.add(name);
        self.pieces.push((start..self.text.len(), span, false));
        self.add(&format!(": {ty};\n"));
    }

    fn snippet(&mut self, text: &Text) {
        let start = self.text.len();
        self.add(&text.value);
        let span = text.start.map_or(text.span.clone(), |s| s..s + text.value.len());
        self.pieces.push((start..self.text.len(), span, text.start.is_some()));
        if !text.value.ends_with('\n') {
            self.add("\n");
        }
    }

    /// Where a range of the module stands in the file: exactly, or the end of the snippet before it.
    fn locate(&self, range: Range<usize>) -> Range<usize> {
        match self.pieces.iter().rev().find(|(module, _, _)| module.start <= range.start) {
            None => 0..0,
            Some((_, file, false)) => file.clone(),
            Some((module, file, true)) => {
                let start = file.start + (range.start - module.start).min(module.len());
                let end = file.start + (range.end.max(range.start) - module.start).min(module.len());
                start..end
            }
        }
    }
}

struct Compiled {
    constants: Vec<Constant>,
    /// One for each entry point.
    programs: Vec<super::program::Program>,
    wgsl: String,
}

/// A function that is lowered, after one that runs before it several times.
struct EntryPoint {
    integrate: Option<&'static str>,
    update: &'static str,
}

fn snippet(code: &Section, key: &str) -> Result<Option<Text>> {
    code.get(key).map(|e| e.text()).transpose()
}

fn neuron_code(
    root: &Section,
    head: &Head,
    ports: &[Port],
    current: Option<&(String, String)>,
    code: &Section,
    substeps: bool,
) -> Result<Compiled> {
    let [functions, integrate, update, threshold, reset, stable] =
        ["functions", "integrate", "update", "threshold", "reset", "stable"].map(|key| snippet(code, key));
    let (functions, integrate, update, threshold, reset, stable) = (functions?, integrate?, update?, threshold?, reset?, stable?);
    if let (Some(reset), None) = (&reset, &threshold) {
        return Err(root.source.fault(
            reset.span.clone(),
            "`reset` needs a `threshold`",
            "add the condition under which it runs",
        ));
    }
    if update.is_none() && threshold.is_none() && integrate.is_none() {
        return Err(root.source.fault(code.span.clone(), "[code] is empty", "add `update`, or `integrate` and `threshold`"));
    }
    if substeps && integrate.is_none() {
        return Err(root.source.fault(
            code.span.clone(),
            "`substeps` needs `integrate`",
            "put the part that is repeated into `integrate`",
        ));
    }
    let inputs: Vec<&str> = ports.iter().map(|p| p.name.as_str()).chain(current.map(|c| c.0.as_str())).collect();
    let assemble = |constants: &[(&str, Ty)], flushes: &[String]| {
        let mut module = declarations(head, constants, &inputs, "spike", Ty::Bool);
        if let Some(text) = &functions {
            module.snippet(text);
        }
        module.add("fn integrate() {\n");
        if let Some(text) = &integrate {
            module.snippet(text);
        }
        module.add("}\nfn update() {\n");
        if let Some(text) = &update {
            module.snippet(text);
        }
        if let Some(text) = &threshold {
            module.add("if (\n");
            module.snippet(text);
            module.add(") {\nspike = true;\n");
            if let Some(text) = &reset {
                module.snippet(text);
            }
            module.add("}\n");
        }
        if let Some(text) = &stable {
            leave_stability(&mut module, text, &head.states);
        }
        module.add(&flushes[0]);
        module.add("}\n");
        module
    };
    let texts = [&functions, &integrate, &update, &threshold, &reset, &stable];
    let states: Vec<(&str, Ty)> = head.states.iter().map(|s| (s.name.as_str(), s.ty)).collect();
    let entry = EntryPoint { integrate: Some("integrate"), update: "update" };
    compile(root, head, &states, &inputs, ("spike", Ty::Bool), &[entry], &texts, assemble)
}

/// The end of a step, where what the model needs for its integration to be stable no longer holds: the neuron's states become NaN
/// and a spike calls for attention, so that an engine looks at no other neuron. The first f32 state is always among them.
fn leave_stability(module: &mut Assembly, condition: &Text, states: &[State]) {
    module.add("let left_stability = !(\n");
    module.snippet(condition);
    module.add(");\nlet no_number = bitcast<f32>(select(0u, 0x7fc00000u, left_stability));\nspike = spike || left_stability;\n");
    let first = states.iter().find(|s| s.ty == Ty::F32).map(|s| &s.name);
    for state in states.iter().filter(|s| s.ty == Ty::F32) {
        if Some(&state.name) == first || words(&condition.value).any(|word| word == state.name) {
            module.add(&format!("{0} = select({0}, no_number, left_stability);\n", state.name));
        }
    }
}

fn synapse_code(root: &Section, head: &Head, code: &Section) -> Result<Compiled> {
    let functions = snippet(code, "functions")?;
    let on_pre = code.required("on_pre")?.text()?;
    let assemble = |constants: &[(&str, Ty)], flushes: &[String]| {
        let mut module = declarations(head, constants, &["w", "elapsed"], "psc", Ty::F32);
        if let Some(text) = &functions {
            module.snippet(text);
        }
        module.add("fn on_pre() {\npsc = w;\n");
        module.snippet(&on_pre);
        module.add(&flushes[0]);
        module.add("}\n");
        module
    };
    let on_pre = Some(on_pre.clone());
    let states: Vec<(&str, Ty)> = head.states.iter().map(|s| (s.name.as_str(), s.ty)).collect();
    let entry = EntryPoint { integrate: None, update: "on_pre" };
    compile(root, head, &states, &["w", "elapsed"], ("psc", Ty::F32), &[entry], &[&functions, &on_pre], assemble)
}

/// `on_pre`, and `on_post`, `on_modulator` and `on_read` where there are any: all see and change the weight and the states.
fn plastic_code(root: &Section, head: &Head, rule: &Plasticity, code: &Section) -> Result<Compiled> {
    let functions = snippet(code, "functions")?;
    let on_pre = code.required("on_pre")?.text()?;
    let (on_post, on_modulator) = (snippet(code, "on_post")?, snippet(code, "on_modulator")?);
    let on_read = snippet(code, "on_read")?;
    let psc = |text: &Text| words(&text.value).any(|w| w == "psc");
    let silent = [("on_post", &on_post), ("on_modulator", &on_modulator), ("on_read", &on_read)];
    for (name, text) in silent {
        if let Some(text) = text.as_ref().filter(|t| psc(t)) {
            return Err(root.source.fault(text.span.clone(), format!("`{name}` transmits nothing"), "set `psc` in `on_pre`"));
        }
    }
    if let (Some(text), None) = (&on_modulator, &rule.modulator) {
        let remedy = "add `modulator = \"dopamine\"` (a name for what it reads) at the top";
        return Err(root.source.fault(text.span.clone(), "`on_modulator` belongs to rules that read a signal", remedy));
    }
    if let (Some(event), None) = (root.get("post_event"), &on_post) {
        return Err(root.source.fault(event.key_span, "`post_event` needs `on_post`", "add the code that runs at these events"));
    }
    let says_psc = psc(&on_pre) || functions.as_ref().is_some_and(psc);
    let traces = rule.traces.iter().map(|t| t.name.as_str());
    let states = rule.post_states.iter().map(|s| s.name.as_str());
    let inputs: Vec<&str> = Plasticity::INPUTS.into_iter().chain(traces).chain(states).collect();
    let parts = silent.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?)));
    let assemble = |constants: &[(&str, Ty)], flushes: &[String]| {
        let mut module = declarations(head, constants, &[&["w"], &inputs[..]].concat(), "psc", Ty::F32);
        if let Some(text) = &functions {
            module.snippet(text);
        }
        for ((name, text), flush) in parts.clone().zip(&flushes[1..]) {
            module.add(&format!("fn {name}() {{\n"));
            module.snippet(text);
            module.add(flush);
            module.add("}\n");
        }
        // What is transmitted is the new weight, unless the code says otherwise.
        module.add(if says_psc { "fn on_pre() {\npsc = w;\n" } else { "fn on_pre() {\n" });
        module.snippet(&on_pre);
        module.add(&flushes[0]);
        module.add(if says_psc { "}\n" } else { "psc = w;\n}\n" });
        module
    };
    let states: Vec<(&str, Ty)> =
        [("w", Ty::F32)].into_iter().chain(head.states.iter().map(|s| (s.name.as_str(), s.ty))).collect();
    let parts = || [("on_pre", &on_pre)].into_iter().chain(parts.clone());
    let entries: Vec<EntryPoint> = parts().map(|(update, _)| EntryPoint { integrate: None, update }).collect();
    let pre = Some(on_pre.clone());
    let texts = [&functions, &on_post, &pre, &on_modulator, &on_read];
    let mut compiled = compile(root, head, &states, &inputs, ("psc", Ty::F32), &entries, &texts, assemble)?;
    // Only `on_pre` transmits.
    for program in &mut compiled.programs[1..] {
        program.update.stores.retain(|(slot, _)| *slot != Slot::Output);
        program.update = program.update.without_dead_code();
    }
    for ((name, text), program) in parts().zip(&compiled.programs) {
        let reads = |input: &str| inputs.iter().position(|i| *i == input).is_some_and(|i| program.reads(i));
        let fault = |message: String, remedy: &str| Err(root.source.fault(text.span.clone(), message, remedy));
        if let (Some(input), None) = (["modulator", "modulator_start"].iter().find(|i| reads(i)), &rule.modulator) {
            return fault(
                format!("`{name}` reads `{input}`"),
                "add `modulator = \"dopamine\"` (a name for what it reads) at the top",
            );
        }
        if name != "on_modulator" && reads("jump") {
            return fault(format!("`{name}` reads `jump`, which only `on_modulator` has"), "move it to `on_modulator`");
        }
        if matches!(name, "on_modulator" | "on_read")
            && let Some(state) = rule.post_states.iter().find(|s| reads(&s.name))
        {
            let message = format!("`{name}` reads `{}`, and states of the target are kept at its events only", state.name);
            return fault(message, "keep what it needs in [state], set by `on_post` or `on_pre`");
        }
    }
    Ok(compiled)
}

/// Checks `on_step`; the names of the functions of its own.
fn modifier_code(root: &Section, head: &mut Head, traces: &[PostTrace], signal: bool, code: &Section) -> Result<Vec<String>> {
    let functions = snippet(code, "functions")?;
    let on_step = code.required("on_step")?.text()?;
    for name in MODIFIER_CONSTANTS {
        head.derived.push(Derived { name: name.into(), ty: Ty::F32, value: Expr::number(0.0) });
    }
    let names: Vec<&str> = Plasticity::INPUTS.into_iter().chain(traces.iter().map(|t| t.name.as_str())).collect();
    let inputs: Vec<&str> = ["w"].into_iter().chain(names).collect();
    let head = &*head;
    let assemble = |constants: &[(&str, Ty)], _: &[String]| {
        let mut module = declarations(head, constants, &inputs, "psc", Ty::F32);
        if let Some(text) = &functions {
            module.snippet(text);
        }
        let flags = MODIFIER_FLAGS.map(|flag| format!(", {flag}: bool")).concat();
        module.add(&format!("fn on_step(change: f32{flags}) -> f32 {{\nvar step = change;\n"));
        module.snippet(&on_step);
        module.add("return step;\n}\nfn on_pre() {\npsc = on_step(elapsed, true, false);\n}\n");
        module
    };
    let states: Vec<(&str, Ty)> = head.states.iter().map(|s| (s.name.as_str(), s.ty)).collect();
    let entry = EntryPoint { integrate: None, update: "on_pre" };
    let texts = [&functions, &Some(on_step.clone())];
    let compiled = compile(root, head, &states, &inputs, ("psc", Ty::F32), &[entry], &texts, assemble)?;
    let reads = |input: &str| inputs.iter().position(|i| *i == input).is_some_and(|i| compiled.programs[0].reads(i));
    let fault = |message: &str, remedy: &str| Err(root.source.fault(on_step.span.clone(), message, remedy));
    if reads("jump") {
        return fault("`on_step` reads `jump`, which only `on_modulator` of a rule has", "read `modulator`");
    }
    if !signal && (reads("modulator") || reads("modulator_start")) {
        return fault("`on_step` reads a signal", "add `modulator = \"gate\"` (a name for what it reads) at the top");
    }
    let text = functions.map_or(String::new(), |t| t.value);
    let all: Vec<&str> = words(&text).collect();
    Ok(all.windows(2).filter(|w| w[0] == "fn").map(|w| w[1].to_string()).collect())
}

fn declarations(head: &Head, constants: &[(&str, Ty)], inputs: &[&str], output: &str, output_ty: Ty) -> Assembly {
    let mut module = Assembly::default();
    for (name, ty) in constants {
        module.variable(name, ty.wgsl(), head.span_of(name));
    }
    for state in &head.states {
        module.variable(&state.name, state.ty.wgsl(), head.span_of(&state.name));
    }
    for input in inputs {
        module.variable(input, "f32", head.span_of(input));
    }
    module.variable(output, output_ty.wgsl(), 0..0);
    module
}

/// Parse and validate the module, lower it, and keep the constants that the code reads.
#[allow(clippy::too_many_arguments)]
fn compile(
    root: &Section,
    head: &Head,
    states: &[(&str, Ty)],
    inputs: &[&str],
    output: (&str, Ty),
    entries: &[EntryPoint],
    texts: &[&Option<Text>],
    assemble: impl Fn(&[(&str, Ty)], &[String]) -> Assembly,
) -> Result<Compiled> {
    // Only names that occur in the code are declared, so that a parameter called like a word of WGSL does no harm.
    let occurs = |name: &str| texts.iter().copied().flatten().any(|t| words(&t.value).any(|w| w == name));
    let candidates: Vec<(&str, Ty)> = head.constants().into_iter().filter(|(name, _)| occurs(name)).collect();
    let lower =
        |flushes: &[String]| lowered(root, head, &assemble(&candidates, flushes), states, &candidates, inputs, output, entries);
    let bare = lower(&vec![String::new(); entries.len()])?;
    let flushes: Vec<String> = bare.iter().map(|l| flush(states, &l.program)).collect();
    let lowered = lower(&flushes)?;
    // Which constants are read is a matter of the whole module, the same for all entry points.
    let used: Vec<(&str, Ty)> = lowered.first().map_or(vec![], |l| l.constants.iter().map(|k| candidates[*k]).collect());
    Ok(Compiled {
        constants: used.iter().map(|(name, ty)| Constant { name: name.to_string(), ty: *ty }).collect(),
        wgsl: assemble(&used, &flushes).text,
        programs: lowered.into_iter().map(|l| l.program).collect(),
    })
}

/// What ends the code of a program: of the states that it writes, values that [`super::math::flush`] takes for 0 are 0. The engines all
/// run this text, so none of them keeps a denormal number.
fn flush(states: &[(&str, Ty)], program: &super::program::Program) -> String {
    let mask = super::math::FLUSHED;
    let written = states.iter().enumerate().filter(|(s, (_, ty))| *ty == Ty::F32 && program.writes(*s));
    written.map(|(_, (x, _))| format!("{x} = select({x}, 0.0, (bitcast<u32>({x}) & {mask:#x}u) == 0u);\n")).collect()
}

/// Parse and validate a module, and lower its entry points.
#[allow(clippy::too_many_arguments)]
fn lowered(
    root: &Section,
    head: &Head,
    module: &Assembly,
    states: &[(&str, Ty)],
    constants: &[(&str, Ty)],
    inputs: &[&str],
    output: (&str, Ty),
    entries: &[EntryPoint],
) -> Result<Vec<lower::Lowered>> {
    let known = || head.declared.iter().map(|(n, _)| n.as_str()).chain(inputs.iter().copied()).chain([output.0]);
    let fault = |range: Range<usize>, message: String, remedy: String| root.source.fault(module.locate(range), message, remedy);
    let parsed = naga::front::wgsl::parse_str(&module.text).map_err(|e| {
        let range = e.labels().next().and_then(|(span, _)| span.to_range()).unwrap_or(0..0);
        let unknown =
            e.message().starts_with("no definition in scope").then(|| nearest(&module.text[range.clone()], known())).flatten();
        let remedy = unknown.map(|n| format!("did you mean `{n}`?")).or_else(|| e.notes().next().map(String::from));
        let message = e.message().to_string();
        fault(range, message, remedy.unwrap_or_else(|| "the code is WGSL: https://www.w3.org/TR/WGSL".into()))
    })?;
    let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty());
    validator.validate(&parsed).map_err(|e| {
        let ranges = e.spans().filter_map(|(s, _)| s.to_range()).filter(|r| !r.is_empty());
        let range = ranges.min_by_key(|r| r.len()).unwrap_or(0..0);
        fault(range, reasons(e.as_inner()), "the code is WGSL: https://www.w3.org/TR/WGSL".into())
    })?;
    let roles = Roles { states, constants, inputs, output };
    let lower = |e: &EntryPoint| lower::lower(&parsed, &roles, e.integrate, e.update);
    entries.iter().map(|e| lower(e).map_err(|r| fault(r.span, r.message, r.remedy))).collect()
}

/// The causes of an error in one line, without the numbers that naga gives to functions and expressions.
fn reasons(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source()).map(|e| e.to_string()).collect::<Vec<_>>();
    let all = if causes.is_empty() { error.to_string() } else { causes.join(": ") };
    all.split_inclusive(' ').filter(|word| !word.starts_with('[')).collect::<String>().trim().to_string()
}

/// Identifiers of a text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|w| !w.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIF: &str = r#"name = "lif"
kind = "neuron"
doc = "leaky integrate-and-fire"
source = "none"

[params]
E_L = { default = -70.0, unit = "mV", doc = "rest" }
tau_m = { default = 10.0, unit = "ms", above = 0.0 }
V_th = { default = "E_L + 15", unit = "mV" }

[derived]
P = "exp(-dt/tau_m)"
theta = "V_th - E_L"

[state]
v = { init = "0", unit = "mV" }
r = { type = "i32", init = "0", unit = "1" }

[inputs]
ex = { receptor = "excitatory", unit = "mV", sign = "positive" }
I = { kind = "current", unit = "pA" }

[record]
V_m = { value = "v + E_L", unit = "mV" }

[code]
functions = '''
fn decay(x: f32, p: f32) -> f32 {
    return x * p;
}
'''
update = '''
if (r == 0) {
    v = decay(v, P) + ex;
} else {
    r -= 1;
}
'''
threshold = "v >= theta"
reset = "v = 0.0; r = 20;"
"#;

    fn neuron(text: &str) -> Result<NeuronModel> {
        match read("lif.toml", text)? {
            Model::Neuron(model) => Ok(model),
            _ => panic!("not a neuron"),
        }
    }

    #[test]
    fn a_model_is_read_in_full() {
        let model = neuron(LIF).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(model.params.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["E_L", "tau_m", "V_th"]);
        assert_eq!(model.constants.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["P", "theta"]);
        assert_eq!((model.ports[0].receptor.as_str(), model.ports[0].sign), ("excitatory", Sign::Positive));
        assert_eq!(model.current, Some(("I".to_string(), "pA".to_string())));
        assert_eq!((model.states[1].ty, model.params[1].above), (Ty::I32, Some(0.0)));
        for line in
            ["var<private> P: f32;", "var<private> r: i32;", "var<private> spike: bool;", "fn integrate() {", "fn update() {"]
        {
            assert!(model.wgsl.contains(line), "{line}\n{}", model.wgsl);
        }
        assert!(!model.wgsl.contains("E_L") && naga::front::wgsl::parse_str(&model.wgsl).is_ok());
    }

    /// The message with file, line, column and remedy, and a caret under the place, as the command line shows it.
    fn transcript(text: &str) -> String {
        let error = read("lif.toml", text).expect_err("a mistake");
        let Error::Input(fault) = &error else { panic!("{error}") };
        let place = fault.place.as_ref().expect("a place");
        let (line, column) = place.line_column();
        let shown = text.lines().nth(line - 1).unwrap_or("");
        let width = text[place.span.clone()].lines().next().unwrap_or("").chars().count().max(1);
        format!("{error}\n{shown}\n{}{}", " ".repeat(column - 1), "^".repeat(width))
    }

    /// (what is replaced, by what, the transcript then).
    fn mistakes(cases: &[(&str, &str, &str)]) {
        let mut wrong = String::new();
        for (from, to, expected) in cases {
            assert!(LIF.contains(from), "{from}");
            let got = transcript(&LIF.replacen(from, to, 1));
            if got != expected.trim_start_matches('\n') {
                wrong += &format!("{got}\n");
            }
        }
        assert!(wrong.is_empty(), "\n{wrong}");
    }

    #[test]
    fn mistakes_in_the_tables() {
        mistakes(&[
            (
                "tau_m = { default = 10.0, unit = \"ms\"",
                "tau_m = { default = 10.0, unit = \"milli\"",
                "
lif.toml:8:34: unknown unit `milli` (use ms, mV, pA, pF, nS, Hz, mm, 1 for plain numbers, or a product such as mV/ms)
tau_m = { default = 10.0, unit = \"milli\", above = 0.0 }
                                 ^^^^^^^",
            ),
            (
                "unit = \"ms\", above",
                "unti = \"ms\", above",
                r#"
lif.toml:8:27: parameter `tau_m` has no key `unti` (did you mean `unit`?)
tau_m = { default = 10.0, unti = "ms", above = 0.0 }
                          ^^^^"#,
            ),
            (
                "[inputs]",
                "[input]",
                r#"
lif.toml:19:2: a model file has no key `input` (did you mean `inputs`?)
[input]
 ^^^^^"#,
            ),
            (
                "exp(-dt/tau_m)",
                "exp(-dt/tau)",
                r#"
lif.toml:12:14: `tau` is not known here (did you mean `tau_m`?)
P = "exp(-dt/tau)"
             ^^^"#,
            ),
            (
                "\"E_L + 15\"",
                "\"E_L + \"",
                r#"
lif.toml:9:27: the expression ends where a number, a name or `(` should follow (see the notation of expressions in models/README.md)
V_th = { default = "E_L + ", unit = "mV" }
                          ^"#,
            ),
            (
                "v = { init",
                "E_L = { init",
                r#"
lif.toml:16:1: `E_L` is declared twice (a name stands for one parameter, derived constant, state or input)
E_L = { init = "0", unit = "mV" }
^^^"#,
            ),
            (
                "default = 10.0",
                "default = 0.0",
                r#"
lif.toml:8:21: the default of `tau_m` is 0, and must be above 0 (change the default or the bound)
tau_m = { default = 0.0, unit = "ms", above = 0.0 }
                    ^^^"#,
            ),
            (
                "type = \"i32\"",
                "type = \"int\"",
                r#"
lif.toml:17:14: `int` is no type of a state or constant (write "f32", "i32" or "u32")
r = { type = "int", init = "0", unit = "1" }
             ^^^^^"#,
            ),
            (
                "sign = \"positive\"",
                "sign = \"plus\"",
                r#"
lif.toml:20:53: `plus` is no sign (write "positive", "negative" or "any")
ex = { receptor = "excitatory", unit = "mV", sign = "plus" }
                                                    ^^^^^^"#,
            ),
            (
                "init = \"0\", unit = \"mV\"",
                "init = true, unit = \"mV\"",
                r#"
lif.toml:16:14: `init` is a truth value (write a number or an expression in quotes)
v = { init = true, unit = "mV" }
             ^^^^"#,
            ),
            (
                "threshold = \"v >= theta\"\n",
                "",
                r#"
lif.toml:39:9: `reset` needs a `threshold` (add the condition under which it runs)
reset = "v = 0.0; r = 20;"
        ^^^^^^^^^^^^^^^^^^"#,
            ),
            (
                "kind = \"neuron\"",
                "kind = \"cell\"",
                r#"
lif.toml:2:8: `cell` is no kind of model (write "neuron", "synapse" or "modifier")
kind = "cell"
       ^^^^^^"#,
            ),
        ]);
    }

    #[test]
    fn mistakes_in_the_notation() {
        let got = transcript(&LIF.replacen("theta = \"V_th - E_L\"", "theta = \"V_th - E_L", 1));
        assert!(got.starts_with("lif.toml:13:"), "{got}");
        let got = transcript("name = \"x\"\n");
        assert!(got.starts_with("lif.toml:1:1: a model file needs `kind` (add `kind = ...`)"), "{got}");
    }

    #[test]
    fn mistakes_in_the_code() {
        mistakes(&[
            (
                "decay(v, P) + ex",
                "decay(v, P) + exc",
                r#"
lif.toml:34:23: no definition in scope for identifier: `exc` (did you mean `ex`?)
    v = decay(v, P) + exc;
                      ^^^"#,
            ),
            (
                "    r -= 1;",
                "    r -= 1.5;",
                r#"
lif.toml:36:5: automatic conversions cannot convert elements of `{AbstractFloat}` to `i32` (the code is WGSL: https://www.w3.org/TR/WGSL)
    r -= 1.5;
    ^"#,
            ),
            (
                "    r -= 1;",
                "    E_L = 1.0;",
                r#"
lif.toml:36:5: `E_L` is a constant and cannot be assigned (only states can; copy it into a `var` to compute with it)
    E_L = 1.0;
    ^^^"#,
            ),
            (
                "    r -= 1;",
                "    ex = 0.0;",
                r#"
lif.toml:36:5: `ex` is an input and cannot be assigned (only states can; copy it into a `var` to compute with it)
    ex = 0.0;
    ^^"#,
            ),
            (
                "return x * p;",
                "var y = x; for (var i = 0; i < 3; i++) { y *= p; } return y;",
                r#"
lif.toml:29:16: loops are not available in model code (write the steps out, or use `substeps` with `integrate`)
    var y = x; for (var i = 0; i < 3; i++) { y *= p; } return y;
               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#,
            ),
            (
                "return x * p;",
                "if (x > 0.0) { return x; } var y = x * p; return y;",
                r#"
lif.toml:29:5: a return inside `if` is not available in model code (set a variable inside the branches and return it at the end)
    if (x > 0.0) { return x; } var y = x * p; return y;
    ^^^^^^^^^^^^^^^^^^^^^^^^^^"#,
            ),
            (
                "return x * p;",
                "let y = vec2<f32>(x, p); return y.x;",
                r#"
lif.toml:29:13: vectors, arrays and structures are not available in model code (model code knows the scalars f32, i32, u32 and bool)
    let y = vec2<f32>(x, p); return y.x;
            ^^^^^^^^^^^^^^^"#,
            ),
            (
                "fn decay",
                "var<private> hidden: f32;\nfn decay",
                r#"
lif.toml:28:1: `hidden` is a module variable of its own (keep values between steps in [state], others in `let` or `var` inside a function)
var<private> hidden: f32;
^^^^^^^^^^^^^^^^^^^^^^^^^"#,
            ),
            (
                "\"v >= theta\"",
                "\"v >= \"",
                r#"
lif.toml:39:19: expected expression, found ")" (the code is WGSL: https://www.w3.org/TR/WGSL)
threshold = "v >= "
                  ^"#,
            ),
            (
                "v >= theta",
                "v + theta",
                r#"
lif.toml:39:14: The `if` condition is not a boolean scalar (the code is WGSL: https://www.w3.org/TR/WGSL)
threshold = "v + theta"
             ^^^^^^^^^"#,
            ),
        ]);
    }

    /// What nests without end is refused by naga or here, and never overflows the stack.
    #[test]
    fn deep_nesting_is_refused() {
        let parentheses = format!("{}v{}", "(".repeat(20_000), ")".repeat(20_000));
        let blocks = format!("{}{}", "if (r == 0) {".repeat(5_000), "}".repeat(5_000));
        for code in [format!("v = {parentheses};"), blocks, format!("v = {}v;", "-".repeat(20_000))] {
            let text = LIF.replacen("    r -= 1;", &code, 1);
            assert!(read("lif.toml", &text).is_err(), "{}", &code[..40]);
        }
        let calls: String =
            (1..40).map(|k| format!("fn g{k}(x: f32) -> f32 {{ return g{}(x) + g{}(x + 1.0); }}\n", k - 1, k - 1)).collect();
        let text = LIF.replacen("fn decay", &format!("fn g0(x: f32) -> f32 {{ return x; }}\n{calls}fn decay"), 1);
        let got = transcript(&text.replacen("v = decay(v, P)", "v = g39(v)", 1));
        assert!(got.contains("grows beyond all measure"), "{got}");
    }

    #[test]
    fn synapses_are_checked_alike() {
        let text = "name = \"s\"\nkind = \"synapse\"\n[params]\nU = { default = 0.5, unit = \"1\" }\n[state]\nu = { init = \"U\" }\n\
                    [code]\non_pre = '''\nu = u * exp(-elapsed);\npsc = w * u;\n'''\n";
        let Model::Synapse(model) = read("s.toml", text).unwrap_or_else(|e| panic!("{e}")) else { panic!("a neuron") };
        assert!(model.program.is_some() && model.constants.is_empty() && model.wgsl.contains("fn on_pre()"));
        let got = transcript(&text.replace("psc = w * u", "w = u"));
        assert!(got.starts_with("lif.toml:10:1: `w` is an input and cannot be assigned"), "{got}");
        let got = transcript(&text.replace("[state]\nu", "[state]\nw"));
        assert!(got.starts_with("lif.toml:6:1: `w` has a meaning of its own in a model"), "{got}");
    }

    #[test]
    fn plastic_synapses_are_checked() {
        let text = "name = \"s\"\nkind = \"synapse\"\nbound = \"Wmax\"\n[params]\nWmax = { default = 2.0, unit = \"1\" }\n\
                    tau = { default = 10, unit = \"ms\" }\n[state]\nK = { init = 0 }\n[post_traces]\ny = { tau = \"tau\" }\n\
                    [code]\non_post = \"w = min(w + K, Wmax);\"\non_pre = '''\nw = max(w - y, 0.0);\nK = since_pre;\n'''\n";
        let Model::Synapse(model) = read("s.toml", text).unwrap_or_else(|e| panic!("{e}")) else { panic!("a neuron") };
        let plasticity = model.plasticity.as_ref().expect("a plastic synapse");
        let (pre, post) = (model.program.as_ref().unwrap(), plasticity.on_post.as_ref().unwrap());
        assert_eq!((plasticity.traces.len(), pre.states.len(), pre.inputs, pre.constants.len()), (1, 2, 8, 1));
        assert_eq!((&post.states, post.inputs, &post.constants), (&pre.states, pre.inputs, &pre.constants));
        // `w` leaves on_pre as state 0, and is what it transmits.
        let stored = |slot| pre.update.stores.iter().find(|s| s.0 == slot).map(|s| s.1);
        assert_eq!(stored(Slot::Output), stored(Slot::State(0)));
        naga::front::wgsl::parse_str(&model.wgsl).expect("WGSL");
        for (from, to, said) in [
            ("bound = \"Wmax\"\n", "", "[post_traces] belong to synapses whose weight changes"),
            ("bound = \"Wmax\"", "bound = \"wmax\"", "`wmax` is not known here (did you mean `Wmax`?)"),
            ("y = { tau", "K = { tau", "`K` is declared twice"),
            ("y = { tau", "since_pre = { tau", "`since_pre` has a meaning of its own"),
            ("tau = \"tau\"", "tau = \"dt\"", "`dt` is not known here"),
            ("K = since_pre", "y = since_pre", "`y` is an input and cannot be assigned"),
            ("min(w + K, Wmax)", "min(w + K, Wmx)", "no definition in scope for identifier: `Wmx` (did you mean `Wmax`?)"),
            ("w = min", "psc = min", "`on_post` transmits nothing"),
            ("on_pre", "on_per", "has no key `on_per` (did you mean `on_pre`?)"),
        ] {
            let got = transcript(&text.replacen(from, to, 1));
            assert!(got.contains(said), "{got}");
        }
        let got = transcript("name = \"s\"\nkind = \"synapse\"\n[code]\non_pre = \"psc = w;\"\non_post = \"\"\n");
        assert!(got.contains("`on_post` belongs to synapses whose weight changes (add `bound"), "{got}");
    }

    /// Signals, states of the target, random words: what is read, and what is refused.
    #[test]
    fn rules_of_three_factors_are_checked() {
        let text = "name = \"s\"\nkind = \"synapse\"\nbound = 2\nmodulator = \"dopamine\"\npost_event = \"ltp\"\n[derived]\n\
                    k = \"1/tau_modulator\"\n[state]\nc = { init = 0 }\nr = { type = \"u32\", init = \"random\" }\n[post_states]\n\
                    u = { doc = \"potential\" }\n[code]\non_modulator = \"w = w + c * modulator_start * k + jump;\"\n\
                    on_post = \"c = c + ltp * since_event;\"\non_pre = \"w = w - u * modulator; r = r * 3u;\"\n";
        let Model::Synapse(model) = read("s.toml", text).unwrap_or_else(|e| panic!("{e}")) else { panic!("no synapse") };
        let rule = model.plasticity.as_ref().unwrap();
        let (pre, post) = (model.program.as_ref().unwrap(), rule.on_post.as_ref().unwrap());
        let jump = rule.on_modulator.as_ref().unwrap();
        assert!(model.states[1].is_random() && !model.states[0].is_random());
        assert_eq!((rule.modulator.as_deref(), rule.post_event, rule.inputs()), (Some("dopamine"), Some(1), 9));
        let reads = |program: &crate::model::program::Program| (0..9).filter(|i| program.reads(*i)).collect::<Vec<_>>();
        let (u, ltp) = (rule.state_input(0), rule.state_input(1));
        assert_eq!(reads(pre), [Plasticity::MODULATOR, u]);
        assert_eq!(reads(post), [Plasticity::SINCE_EVENT, ltp]);
        assert_eq!(reads(jump), [Plasticity::MODULATOR_START, Plasticity::JUMP]);
        assert_eq!((pre.states.len(), jump.constants.len()), (3, 1));
        let (signal, derived) = ("modulator = \"dopamine\"\n", "[derived]\nk = \"1/tau_modulator\"\n");
        assert!(text.contains(signal) && text.contains(derived));
        let got = transcript(&text.replacen(signal, "", 1));
        assert!(got.starts_with("lif.toml:6:8: `tau_modulator` is not known here"), "{got}");
        let got = transcript(&text.replacen(signal, "", 1).replacen(derived, "[derived]\nk = 1\n", 1));
        assert!(got.contains("`on_modulator` belongs to rules that read a signal"), "{got}");
        for (from, to, said) in [
            ("w - u * modulator", "w - u * jump", "`on_pre` reads `jump`, which only `on_modulator` has"),
            ("+ jump", "+ u", "`on_modulator` reads `u`, and states of the target are kept at its events only"),
            ("type = \"u32\", init", "init", "only u32 states of synapses start with random words"),
            ("post_event = \"ltp\"", "post_event = \"modulator\"", "`modulator` has a meaning of its own"),
            ("bound = 2\n", "", "[post_states] belong to synapses whose weight changes"),
            ("u = { doc", "v1 = {}\nv2 = {}\nv3 = {}\nu = { doc", "reads at most 4 states of its target"),
            ("on_post = \"c = c + ltp * since_event;\"\n", "", "`post_event` needs `on_post`"),
        ] {
            assert!(text.contains(from), "{from}");
            let got = transcript(&text.replacen(from, to, 1));
            assert!(got.contains(said), "{got}");
        }
    }

    #[test]
    fn modifiers_are_checked_by_themselves() {
        let text = "name = \"m\"\nkind = \"modifier\"\n[params]\nk = { default = 2, unit = \"1\" }\n[state]\nn = { init = 0 }\n[code]\n\
                    functions = \"fn half(x: f32) -> f32 { return x * 0.5; }\"\non_step = '''\nn = n + 1.0;\n\
                    step = half(step) * k;\nif (at_pre && w < w_max) { step = 0.0; }\n'''\n";
        let Model::Modifier(model) = read("m.toml", text).unwrap_or_else(|e| panic!("{e}")) else { panic!("no modifier") };
        assert_eq!((model.functions, model.derived.len(), model.states.len()), (vec!["half".to_string()], 0, 1));
        for (from, to, said) in [
            ("half(step)", "hlf(step)", "no definition in scope for identifier: `hlf`"),
            ("step = half", "w = half", "`w` is an input and cannot be assigned"),
            ("n = n + 1.0", "n = n + modulator", "`on_step` reads a signal (add `modulator"),
            ("n = n + 1.0", "n = n + jump", "`on_step` reads `jump`"),
            ("n = { init", "step = { init", "`step` has a meaning of its own"),
            ("k = { def", "gate = { def", "`gate` is a key of a scenario's synapses"),
            ("on_step", "on_pre", "has no key `on_pre`"),
        ] {
            let got = transcript(&text.replacen(from, to, 1));
            assert!(got.contains(said), "{got}");
        }
    }

    #[test]
    fn event_forms_are_checked() {
        let event = "[event]\nreceive = { ex = { v = \"v + w\" } }\nadvance = { v = \"v*exp(-s/tau_m)\" }\ncrossed = \"v >= theta\"\n\
                     crossing = \"v > theta ? 0 : inf\"\nreset = { v = 0 }\n";
        let text = format!("{LIF}\n{event}");
        let model = neuron(&text).unwrap_or_else(|e| panic!("{e}"));
        let form = model.event.unwrap();
        assert_eq!((form.advance.len(), form.hold[0].text.as_str(), form.receive[0][0].0), (2, "v", 0));
        assert_eq!(form.receive_held[0].len(), 1);
        for (from, to, said) in [
            ("\"v*exp(-s/tau_m)\"", "\"v*P\"", "`P` is not known here"),
            ("crossing = \"v > theta ? 0 : inf\"\n", "", "[event] needs either `crossing` or `exponentials`"),
            ("reset = { v = 0 }", "reset = { V = 0 }", "has no key `V` (did you mean `v`?)"),
            ("crossed = \"v >= theta\"", "crossed = \"v >= s\"", "`s` is not known here"),
        ] {
            let got = transcript(&text.replacen(event, &event.replacen(from, to, 1), 1));
            assert!(got.contains(said), "{got}");
        }
    }
}
