//! Safetensors files of small matrices: named float32 tensors with text beside them. The same content gives the same bytes.

use crate::error::{Error, Result};
use crate::transformer::gguf::damaged;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// What a file holds.
pub struct Tensors {
    pub metadata: BTreeMap<String, String>,
    /// Shape, rows first, and numbers, by name.
    pub all: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Tensors {
    /// Text alone, tensors to come.
    pub fn with<const N: usize>(text: [(&str, &str); N]) -> Tensors {
        Tensors { metadata: text.map(|(key, value)| (key.into(), value.into())).into(), all: BTreeMap::new() }
    }

    /// In the order of names; the header is filled up with blanks to a multiple of 8 bytes, as the format asks.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut header = Map::new();
        header.insert("__metadata__".into(), json!(self.metadata));
        let mut data = Vec::new();
        for (name, (shape, numbers)) in &self.all {
            let start = data.len();
            data.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
            header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
        }
        let mut text = Value::Object(header).to_string();
        text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
        let bytes = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &data].concat();
        std::fs::write(path, bytes).map_err(|e| Error::file(path, e))
    }

    /// Numbers stored as F32, F16 or BF16. A file that is damaged or cut short is refused.
    pub fn read(path: &Path) -> Result<Tensors> {
        let bytes = std::fs::read(path).map_err(|e| Error::file(path, e))?;
        let broken = |e: safetensors::SafeTensorError| damaged(path, &e.to_string());
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut tensors = Tensors { metadata, all: BTreeMap::new() };
        for (name, view) in SafeTensors::deserialize(&bytes).map_err(broken)?.iter() {
            let numbers = match view.dtype() {
                Dtype::F32 => view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
                Dtype::F16 => view.data().as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
                Dtype::BF16 => view.data().as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
                other => {
                    let what = format!("{}: tensor `{name}` is stored as {other:?}", path.display());
                    return Err(Error::input(what, "use an adapter stored as F32, F16 or BF16"));
                }
            };
            tensors.all.insert(name.into(), (view.shape().to_vec(), numbers));
        }
        Ok(tensors)
    }
}
