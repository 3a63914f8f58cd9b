//! A plastic rule and modifiers of its steps to one synapse model. Promises a model like any other, made of the text of both files:
//! the rule's code runs, what it did to the weight goes through `on_step` of each modifier in order, and the result is clipped to the
//! rule's bound. Knows TOML; no engine.

use super::file::{self, MODIFIER_FLAGS, Model};
use super::{MAX_TRACES, Modifier, SynapseModel};
use crate::error::{Error, Result};
use toml_edit::{DocumentMut, Item, Table, Value};

/// A composed model, and for each modifier what its parameters are called in it: `prefix` + their name.
#[derive(Debug)]
pub struct Composed {
    /// Rule and modifiers as one model.
    pub model: SynapseModel,
    /// In the order of the modifiers.
    pub prefixes: Vec<String>,
}

/// Constants of the composed code.
const FLOOR: &str = "modified_floor";
const CEILING: &str = "modified_ceiling";

/// `rule` with `modifiers`, applied in order. Its name is "rule+first+second".
///
/// # Errors
/// The rule's weights do not change; two different signals are read; together they have more traces than a synapse may have.
pub fn compose(rule: &SynapseModel, modifiers: &[&Modifier]) -> Result<Composed> {
    let name = modifiers.iter().fold(rule.name.clone(), |all, m| format!("{all}+{}", m.name));
    let Some(plasticity) = &rule.plasticity else {
        return Err(Error::input(
            format!("{} keeps its weights, there is nothing to modify", rule.name),
            "use a plastic synapse, for instance stdp_synapse",
        ));
    };
    let traces = plasticity.traces.len() + modifiers.iter().map(|m| m.traces.len()).sum::<usize>();
    if traces > MAX_TRACES {
        return Err(Error::input(
            format!("{name} would have {traces} traces of its target, at most {MAX_TRACES} are kept"),
            "use fewer modifiers, or a rule with fewer traces",
        ));
    }
    let parse = |text: &str| {
        text.parse::<DocumentMut>()
            .map_err(|e| Error::input(format!("{name}: {}", e.message()), "correct the model file; see https://toml.io"))
    };
    let mut whole = parse(&rule.place.text)?;
    let bound = &plasticity.bound.text;
    let derived = table(&mut whole, "derived");
    derived.insert(FLOOR, Item::Value(format!("min(0, {bound})").into()));
    derived.insert(CEILING, Item::Value(format!("max(0, {bound})").into()));
    let mut functions = String::new();
    let taken: Vec<String> = names(&whole);
    let mut prefixes: Vec<String> = vec![];
    for modifier in modifiers {
        let prefix = (1..)
            .map(|k| if k == 1 { format!("{}_", modifier.name) } else { format!("{}{k}_", modifier.name) })
            .find(|p| !taken.iter().any(|t| t.starts_with(p.as_str())) && !prefixes.contains(p))
            .unwrap_or_default();
        let part = parse(&modifier.place.text)?;
        let own: Vec<String> = names(&part).into_iter().chain(modifier.functions.iter().cloned()).collect();
        let renamed = |word: &str| match word {
            "w_min" => FLOOR.to_string(),
            "w_max" => CEILING.to_string(),
            _ if own.iter().any(|o| o == word) => format!("{prefix}{word}"),
            _ => word.to_string(),
        };
        for key in ["params", "derived", "state", "post_traces"] {
            for (entry, item) in part.get(key).and_then(Item::as_table_like).iter().flat_map(|t| t.iter()) {
                let mut item = item.clone();
                rename_expressions(&mut item, &renamed);
                table(&mut whole, key).insert(&format!("{prefix}{entry}"), item);
            }
        }
        if let Some(relations) = part.get("require") {
            let mut list = relations_of(whole.get("require"));
            list.extend(relations_of(Some(relations)).into_iter().map(|mut relation| {
                relation[0] = rename(&relation[0], &renamed);
                relation
            }));
            whole.insert("require", Item::Value(list.iter().map(as_table).collect::<toml_edit::Array>().into()));
        }
        if let (Some(signal), false) = (part.get("modulator"), whole.contains_key("modulator")) {
            whole.insert("modulator", signal.clone());
        }
        let code = |key: &str| part.get("code").and_then(|c| c.get(key)).and_then(Item::as_str).unwrap_or("");
        functions += &rename(code("functions"), &renamed);
        let flags = MODIFIER_FLAGS.map(|flag| format!(", {flag}: bool")).concat();
        let on_step = rename(code("on_step"), &renamed);
        functions +=
            &format!("\nfn {prefix}on_step(change: f32{flags}) -> f32 {{\nvar step = change;\n{on_step}\nreturn step;\n}}\n");
        prefixes.push(prefix);
    }
    let code = table(&mut whole, "code");
    let mut base = code.get("functions").and_then(Item::as_str).unwrap_or("").to_string();
    let parts =
        [("on_pre", "true, false"), ("on_post", "false, true"), ("on_modulator", "false, false"), ("on_read", "false, false")];
    for (key, flags) in parts {
        // A weight may follow its modifiers between events though it does not follow the rule.
        let own = code.get(key).and_then(Item::as_str);
        let Some(text) = own.or((key == "on_read").then_some("")) else { continue };
        base += &format!("\nfn unmodified_{key}() {{\n{text}\n}}\n");
        let steps: String = prefixes.iter().map(|p| format!("step = {p}on_step(step, {flags});\n")).collect();
        let wrapped = format!(
            "let before = w;\nunmodified_{key}();\nvar step = w - before;\nw = before;\n{steps}w = clamp(before + step, {FLOOR}, {CEILING});\n"
        );
        code.insert(key, literal(&wrapped));
    }
    code.insert("functions", literal(&format!("{base}{functions}")));
    match file::read(&name, &whole.to_string())? {
        Model::Synapse(model) => Ok(Composed { model: SynapseModel { name, ..model }, prefixes }),
        _ => Err(Error::input(format!("{name} is no synapse model"), "name a synapse model")),
    }
}

/// The relations of `require` in any of its forms, each with its message (or an empty one).
fn relations_of(item: Option<&Item>) -> Vec<[String; 2]> {
    let table = |table: &dyn toml_edit::TableLike| {
        ["relation", "message"].map(|key| table.get(key).and_then(Item::as_str).unwrap_or_default().to_string())
    };
    match item {
        Some(Item::Value(Value::Array(list))) => list.iter().flat_map(|v| relations_of(Some(&Item::Value(v.clone())))).collect(),
        Some(Item::ArrayOfTables(list)) => list.iter().map(|t| table(t)).collect(),
        Some(item) => match item.as_str() {
            Some(text) => vec![[text.to_string(), String::new()]],
            None => item.as_table_like().map(table).into_iter().collect(),
        },
        None => vec![],
    }
}

fn as_table([relation, message]: &[String; 2]) -> toml_edit::InlineTable {
    let message = Some(("message", message)).filter(|m| !m.1.is_empty());
    [("relation", relation)].into_iter().chain(message).map(|(key, text)| (key, Value::from(text.as_str()))).collect()
}

/// Code as it would be written in a file.
fn literal(text: &str) -> Item {
    let quoted = format!("'''\n{text}'''");
    Item::Value(quoted.parse::<Value>().unwrap_or_else(|_| text.into()))
}

fn table<'a>(document: &'a mut DocumentMut, key: &str) -> &'a mut dyn toml_edit::TableLike {
    let item = document.entry(key).or_insert_with(|| Item::Table(Table::new()));
    if !item.is_table_like() {
        *item = Item::Table(Table::new());
    }
    item.as_table_like_mut().expect("made a table above")
}

/// What a file declares.
fn names(document: &DocumentMut) -> Vec<String> {
    let tables = ["params", "derived", "state", "post_traces", "post_states"]
        .into_iter()
        .filter_map(|key| document.get(key)?.as_table_like());
    tables.flat_map(|t| t.iter().map(|(name, _)| name.to_string())).collect()
}

/// In an expression, or in those of a declaration.
fn rename_expressions(item: &mut Item, renamed: &dyn Fn(&str) -> String) {
    if let Some(text) = item.as_str() {
        *item = Item::Value(rename(text, renamed).into());
    } else if let Some(table) = item.as_table_like_mut() {
        for key in ["default", "value", "init", "tau"] {
            if let Some(text) = table.get(key).and_then(Item::as_str) {
                let new = rename(text, renamed);
                table.insert(key, Item::Value(new.into()));
            }
        }
    }
}

/// Every identifier of a text.
fn rename(text: &str, renamed: &dyn Fn(&str) -> String) -> String {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut out, mut word) = (String::new(), String::new());
    for c in text.chars().chain(['\0']) {
        if letter(c) {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            out += &if word.starts_with(|c: char| c.is_ascii_digit()) { word.clone() } else { renamed(&word) };
            word.clear();
        }
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kernel::{Lanes, Operand};
    use crate::network::SynapseInstance;
    use std::sync::Arc;

    const RULE: &str = "name = \"base\"\nkind = \"synapse\"\nbound = \"top\"\n[params]\ntop = { default = 10.0, unit = \"1\" }\n\
                        [code]\non_pre = \"w = w + elapsed;\"\n";
    const HALVE: &str = "name = \"halve\"\nkind = \"modifier\"\n[params]\nby = { default = 0.5, unit = \"1\" }\n[derived]\nk = \"by\"\n\
                         [state]\nn = { init = \"by\" }\n[code]\nfunctions = \"fn f(x: f32) -> f32 { return x * k; }\"\n\
                         on_step = \"step = f(step); n = n + w;\"\n";
    const LIMITED: &str =
        "name = \"limited\"\nkind = \"modifier\"\n[code]\non_step = \"if (w + step > w_max - 1.0) { step = 0.0; }\"\n";

    fn rule(text: &str) -> SynapseModel {
        let Ok(Model::Synapse(model)) = file::read("rule.toml", text) else { panic!("no rule") };
        model
    }
    fn modifier(text: &str) -> Modifier {
        match file::read("modifier.toml", text) {
            Ok(Model::Modifier(model)) => model,
            other => panic!("{other:?}"),
        }
    }

    /// The weight and the states after one spike with `elapsed` given.
    fn after(composed: Composed, given: &[(String, f64)], w: f32, elapsed: f32) -> Vec<f32> {
        let model = Arc::new(composed.model);
        let instance = SynapseInstance::modulated(&model, given, 0.1, 20.0).unwrap_or_else(|e| panic!("{e}"));
        let words = instance.constants();
        let constants: Vec<Operand> = words.iter().map(|x| x.operand(0..1)).collect();
        let mut states: Vec<Vec<u32>> = [w.to_bits()].into_iter().chain(instance.initial_words()).map(|x| vec![x]).collect();
        let mut columns = vec![[0.0f32]; model.plasticity.as_ref().unwrap().inputs()];
        columns[0][0] = elapsed;
        let inputs: Vec<&[f32]> = columns.iter().map(|c| &c[..]).collect();
        let mut psc = [0u32];
        let mut views: Vec<&mut [u32]> = states.iter_mut().map(Vec::as_mut_slice).collect();
        let mut lanes = Lanes { n: 1, constants: &constants, states: &mut views, inputs: &inputs, output: &mut psc };
        model.kernel().unwrap().run(&mut lanes, 1, &mut Default::default());
        assert_eq!(psc[0], states[0][0], "the new weight is transmitted");
        states.iter().map(|s| f32::from_bits(s[0])).collect()
    }

    #[test]
    fn steps_go_through_modifiers_in_order_and_are_clipped() {
        let (base, halve, limited) = (rule(RULE), modifier(HALVE), modifier(LIMITED));
        let made = compose(&base, &[&halve, &halve]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((made.model.name.as_str(), made.prefixes.join(" ")), ("base+halve+halve", "halve_ halve2_".into()));
        let given = [("halve2_by".to_string(), 0.25)];
        assert_eq!(after(made, &given, 3.0, 4.0), [3.5, 3.5, 3.25]);
        let both = |a, b| compose(&base, &[a, b]).unwrap();
        assert_eq!(after(both(&halve, &limited), &[], 3.0, 8.0)[0], 7.0);
        assert_eq!(after(both(&limited, &halve), &[], 3.0, 8.0)[0], 3.0);
        assert_eq!(after(compose(&base, &[&halve]).unwrap(), &[], 3.0, 80.0)[0], 10.0, "clipped");
        assert_eq!(after(compose(&base, &[&halve]).unwrap(), &[], 3.0, -80.0)[0], 0.0, "clipped");
        let negative = [("top".to_string(), -10.0)];
        assert_eq!(after(compose(&base, &[&halve]).unwrap(), &negative, -3.0, -80.0)[0], -10.0, "clipped");
    }

    #[test]
    fn what_cannot_be_composed_is_refused() {
        let keeps = rule("name = \"keeps\"\nkind = \"synapse\"\n");
        assert!(compose(&keeps, &[&modifier(HALVE)]).unwrap_err().to_string().contains("keeps its weights"));
        let traces: String = (0..3).map(|k| format!("y{k} = {{ tau = {} }}\n", 10 + k)).collect();
        let many = modifier(&HALVE.replace("[code]", &format!("[post_traces]\n{traces}[code]")));
        assert!(compose(&rule(RULE), &[&many]).is_ok());
        let error = compose(&rule(RULE), &[&many, &many]).unwrap_err().to_string();
        assert!(error.contains("base+halve+halve would have 6 traces of its target"), "{error}");
    }
}
