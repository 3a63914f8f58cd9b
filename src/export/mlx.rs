//! mlx-lm's folder: adapters.safetensors and adapter_config.json. Factors are transposed there: y = x W' + scale (x A) B, A inputs x rank
//! and B rank x outputs. Layers count from the last: `num_layers` of them are fitted.

use super::tensors::Tensors;
use super::{Base, FINGERPRINT, Format, Loaded, Matrix, Pairs, Side, foreign, module, padded, site, transposed};
use crate::error::{Error, Result};
use crate::transformer::gguf::damaged;
use crate::transformer::hooks::Adapter;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

pub const WEIGHTS: &str = "adapters.safetensors";
const CONFIG: &str = "adapter_config.json";

pub fn write(folder: &Path, adapter: &Adapter, base: &Base, rank: usize) -> Result<()> {
    let mut tensors = Tensors::with([("format", "mlx"), (FINGERPRINT, &base.fingerprint)]);
    let (mut first, mut keys) = (base.config.layers, BTreeSet::new());
    for (site, term) in adapter.terms() {
        let (outputs, inputs) = base.config.shape(site.linear);
        let (a, b) = padded(term, rank);
        let name = module(site);
        tensors.all.insert(format!("{name}.lora_a"), (vec![inputs, rank], transposed(rank, inputs, &a)));
        tensors.all.insert(format!("{name}.lora_b"), (vec![rank, outputs], transposed(outputs, rank, &b)));
        first = first.min(site.layer);
        keys.insert(site.linear.module());
    }
    tensors.write(&folder.join(WEIGHTS))?;
    let config = json!({
        "model": base.name, "fine_tune_type": "lora", "num_layers": base.config.layers - first,
        "lora_parameters": {"rank": rank, "scale": 1.0, "dropout": 0.0, "keys": keys},
    });
    let path = folder.join(CONFIG);
    std::fs::write(&path, format!("{config:#}\n")).map_err(|e| Error::file(&path, e))
}

pub fn read(folder: &Path) -> Result<Loaded> {
    let config = folder.join(CONFIG);
    let text = std::fs::read_to_string(&config).map_err(|e| Error::file(&config, e))?;
    let json: Value = serde_json::from_str(&text).map_err(|e| damaged(&config, &e.to_string()))?;
    let kind = json.get("fine_tune_type").and_then(Value::as_str).unwrap_or("lora");
    if kind != "lora" {
        let what = format!("{}: an adapter of the type `{kind}` is not understood", config.display());
        return Err(Error::input(what, "use a LoRA adapter"));
    }
    let scale = json.pointer("/lora_parameters/scale").and_then(Value::as_f64).filter(|x| x.is_finite());
    let scale = scale.ok_or_else(|| damaged(&config, "`lora_parameters.scale` must be a number"))? as f32;
    let path = folder.join(WEIGHTS);
    let tensors = Tensors::read(&path)?;
    let mut pairs = Pairs::default();
    for (name, (shape, data)) in tensors.all {
        let part = [(".lora_a", Side::A), (".lora_b", Side::B)];
        let found = part.into_iter().find_map(|(end, side)| Some((site(name.strip_suffix(end)?)?, side)));
        let (site, side) = found.ok_or_else(|| foreign(&path, &name))?;
        let Matrix { rows, columns, data } = Matrix::new(&path, &name, &shape, data)?;
        pairs.put(site, side, Matrix { rows: columns, columns: rows, data: transposed(rows, columns, &data) });
    }
    Ok(Loaded {
        path: folder.into(),
        format: Format::Mlx,
        base: json.get("model").and_then(Value::as_str).map(String::from),
        fingerprint: tensors.metadata.get(FINGERPRINT).cloned(),
        architecture: None,
        terms: pairs.terms(&path, |_, _| Ok(scale))?,
    })
}
