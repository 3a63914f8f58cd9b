//! Hugging Face PEFT's folder: adapter_config.json and adapter_model.safetensors. Written with one rank and alpha = rank; read as PEFT
//! applies it (alpha, patterns, rsLoRA), and what is more than low-rank terms on linear layers is refused by name.

use super::tensors::Tensors;
use super::{Base, FINGERPRINT, Format, Loaded, Matrix, Pairs, Side, foreign, module, padded, site};
use crate::error::{Error, Result};
use crate::transformer::gguf::damaged;
use crate::transformer::hooks::{Adapter, LowRank};
use crate::transformer::site::{Linear, Site};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";
const PREFIX: &str = "base_model.model.";

/// Every kind of linear layer in every layer that is named gets a term, zero where the adapter has none: so the reader finds all
/// that the configuration promises.
pub fn write(folder: &Path, adapter: &Adapter, base: &Base, rank: usize) -> Result<()> {
    let terms: BTreeMap<Site, &LowRank> = adapter.terms().collect();
    let layers: BTreeSet<usize> = terms.keys().map(|s| s.layer).collect();
    let linears: BTreeSet<Linear> = terms.keys().map(|s| s.linear).collect();
    let mut tensors = Tensors::with([("format", "pt"), (FINGERPRINT, &base.fingerprint)]);
    for site in layers.iter().flat_map(|layer| linears.iter().map(|linear| Site { layer: *layer, linear: *linear })) {
        let (outputs, inputs) = base.config.shape(site.linear);
        let nothing = || (vec![0.0; rank * inputs], vec![0.0; outputs * rank]);
        let (a, b) = terms.get(&site).map_or_else(nothing, |term| padded(term, rank));
        let name = format!("{PREFIX}{}", module(site));
        tensors.all.insert(format!("{name}.lora_A.weight"), (vec![rank, inputs], a));
        tensors.all.insert(format!("{name}.lora_B.weight"), (vec![outputs, rank], b));
    }
    tensors.write(&folder.join(WEIGHTS))?;
    let config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base.name, "revision": null,
        "inference_mode": true, "r": rank, "lora_alpha": rank, "lora_dropout": 0.0, "bias": "none",
        "target_modules": linears.iter().map(|l| l.name()).collect::<Vec<_>>(),
        "layers_to_transform": layers, "layers_pattern": "layers",
        "fan_in_fan_out": false, "init_lora_weights": true, "use_rslora": false, "use_dora": false, "modules_to_save": null,
        "rank_pattern": {}, "alpha_pattern": {},
    });
    let path = folder.join(CONFIG);
    std::fs::write(&path, format!("{config:#}\n")).map_err(|e| Error::file(&path, e))
}

pub fn read(folder: &Path) -> Result<Loaded> {
    let config = Settings::read(&folder.join(CONFIG))?;
    let path = folder.join(WEIGHTS);
    let tensors = Tensors::read(&path)?;
    let mut pairs = Pairs::default();
    for (name, (shape, data)) in tensors.all {
        let part = [(".lora_A.weight", Side::A), (".lora_B.weight", Side::B)];
        let found = part.into_iter().find_map(|(end, side)| Some((site(name.strip_suffix(end)?.strip_prefix(PREFIX)?)?, side)));
        let (site, side) = found.ok_or_else(|| match name.contains("lora_embedding_") {
            true => config.unsupported("terms on embeddings", &name),
            false => foreign(&path, &name),
        })?;
        pairs.put(site, side, Matrix::new(&path, &name, &shape, data)?);
    }
    Ok(Loaded {
        path: folder.into(),
        format: Format::Peft,
        base: config.json.get("base_model_name_or_path").and_then(Value::as_str).map(String::from),
        fingerprint: tensors.metadata.get(FINGERPRINT).cloned(),
        architecture: None,
        terms: pairs.terms(&path, |site, rank| config.scale(site, rank))?,
    })
}

/// adapter_config.json.
struct Settings {
    json: Value,
    file: String,
    rank: usize,
    alpha: f64,
    rs: bool,
    patterns: Patterns,
}

impl Settings {
    fn read(path: &Path) -> Result<Settings> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
        let json: Value = serde_json::from_str(&text).map_err(|e| damaged(path, &e.to_string()))?;
        let file = path.display().to_string();
        let kind = json.get("peft_type").and_then(Value::as_str).unwrap_or("");
        if kind != "LORA" {
            return Err(Error::input(format!("{file}: an adapter of the type `{kind}` is not understood"), "use a LoRA adapter"));
        }
        let number = |key: &str, usual: f64| match json.get(key) {
            None => Ok(usual),
            Some(value) => {
                value.as_f64().filter(|x| x.is_finite()).ok_or_else(|| damaged(path, &format!("`{key}` must be a number")))
            }
        };
        let (rank, alpha) = (number("r", 8.0)? as usize, number("lora_alpha", 8.0)?);
        let rs = json.get("use_rslora").is_some_and(set);
        let patterns = serde_json::from_str(&text).map_err(|e| damaged(path, &e.to_string()))?;
        let settings = Settings { rank, alpha, rs, file, json, patterns };
        for (key, what) in [
            ("use_dora", "DoRA"),
            ("use_qalora", "QALoRA"),
            ("lora_bias", "biases of the factors"),
            ("modules_to_save", "modules that were trained whole"),
            ("trainable_token_indices", "tokens that were trained"),
            ("layer_replication", "repeated layers"),
            ("fan_in_fan_out", "transposed weights"),
            ("alora_invocation_tokens", "terms that wait for a token"),
            ("arrow_config", "terms chosen by a router"),
            ("kasa_config", "KaSA"),
            ("use_bdlora", "blocks of terms"),
            ("target_parameters", "terms on single parameters"),
        ] {
            if settings.json.get(key).is_some_and(set) {
                return Err(settings.unsupported(what, key));
            }
        }
        // These change the base's own weights when training starts.
        let start = settings.json.get("init_lora_weights").and_then(Value::as_str).unwrap_or("");
        if ["pissa", "olora", "corda", "loftq", "lora_ga"].iter().any(|known| start.starts_with(known)) {
            return Err(settings.unsupported(&format!("the base that `{start}` changed"), "init_lora_weights"));
        }
        match settings.json.get("bias").and_then(Value::as_str) {
            Some("none") | None => Ok(settings),
            Some(_) => Err(settings.unsupported("biases", "bias")),
        }
    }

    fn unsupported(&self, what: &str, key: &str) -> Error {
        Error::input(
            format!("{}: {what} ({key}) cannot be computed here", self.file),
            "use an adapter of low-rank terms on linear layers alone, or merge this one into its model",
        )
    }

    /// What PEFT multiplies the term with. Refuses a rank and a layer that the configuration does not say.
    fn scale(&self, site: Site, rank: usize) -> Result<f32> {
        self.targeted(site)?;
        let said = self.pattern("rank_pattern", site)?.unwrap_or(self.rank as f64);
        if said != rank as f64 {
            let what = format!("{}: {site} has rank {rank} and should have {said}", self.file);
            return Err(Error::input(what, "take the configuration that belongs to these weights"));
        }
        let alpha = self.pattern("alpha_pattern", site)?.unwrap_or(self.alpha);
        Ok((alpha / if self.rs { said.sqrt() } else { said }) as f32)
    }

    /// The first entry, in the order of the file, whose key is a regular expression for the end of the layer's name.
    fn pattern(&self, table: &str, site: Site) -> Result<Option<f64>> {
        let all = if table == "rank_pattern" { &self.patterns.rank_pattern } else { &self.patterns.alpha_pattern };
        for (key, value) in all.as_ref().map_or(&[][..], |all| &all.0) {
            if self.matches(&format!(r"\A(.*\.)?({key})\z"), key, table, &module(site))? {
                let value = value.as_f64().filter(|x| x.is_finite());
                return value.map(Some).ok_or_else(|| self.unsupported(&format!("the entry of `{key}`"), table));
            }
        }
        Ok(None)
    }

    fn matches(&self, regex: &str, said: &str, key: &str, name: &str) -> Result<bool> {
        let matched = fancy_regex::Regex::new(regex).and_then(|regex| regex.is_match(name));
        matched.map_err(|_| self.unsupported(&format!("the pattern `{said}`"), key))
    }

    /// Refuses a term on a layer that PEFT would not change, because `target_modules` does not name it: a list of names or of their
    /// ends, a regular expression for whole names, or `all-linear`.
    fn targeted(&self, site: Site) -> Result<()> {
        let name = module(site);
        let ends = |target: &Value| target.as_str().is_some_and(|t| name == t || name.ends_with(&format!(".{t}")));
        let targeted = match self.json.get("target_modules") {
            None | Some(Value::Null) => true,
            Some(Value::String(all)) if all.eq_ignore_ascii_case("all-linear") => site.linear != Linear::Head,
            Some(Value::String(regex)) => self.matches(&format!(r"\A(?:{regex})\z"), regex, "target_modules", &name)?,
            Some(Value::Array(all)) => all.iter().any(ends),
            Some(_) => return Err(self.unsupported("what is neither a text nor a list", "target_modules")),
        };
        match targeted {
            true => Ok(()),
            false => Err(Error::input(
                format!("{}: target_modules does not name {site}, which the weights change", self.file),
                "take the configuration that belongs to these weights",
            )),
        }
    }
}

/// The tables of adapter_config.json whose order counts.
#[derive(serde::Deserialize)]
struct Patterns {
    rank_pattern: Option<Ordered>,
    alpha_pattern: Option<Ordered>,
}

/// The entries of a table in the order of the file.
struct Ordered(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Ordered, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Ordered;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a table of patterns")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Ordered, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Ordered(all))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Neither missing nor off nor empty.
fn set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        _ => true,
    }
}
