//! The tensors of a model as they lie in safetensors (one file, several, or built in) or GGUF: opened, not yet in memory, read by name
//! as float32. A missing file and damaged numbers are refused by file and name. Knows no model.

use super::gguf::{Gguf, damaged};
use crate::error::{Error, Result};
use candle_core::safetensors::{MmapedSafetensors, SliceSafetensors};
use candle_core::{DType, Device, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    pub name: String,
    /// How its numbers are stored: F32, F16, BF16, Q4_1 and so on.
    pub kind: String,
    /// Rows first.
    pub shape: Vec<usize>,
}

enum Store {
    Shards(Vec<(PathBuf, MmapedSafetensors)>),
    BuiltIn(SliceSafetensors<'static>),
    Gguf(Box<Gguf>),
}

/// The tensors of a model, opened but not in memory.
pub(super) struct Tensors {
    store: Store,
    /// What the tensors lie in, for messages.
    file: String,
    /// By name; the number is the shard.
    infos: BTreeMap<String, (usize, TensorInfo)>,
}

impl Tensors {
    /// `model.safetensors`, or the files that `model.safetensors.index.json` lists.
    pub fn folder(folder: &Path) -> Result<Tensors> {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        let (file, paths) = match index.is_file() && !single.is_file() {
            true => (index.clone(), shards(&index, folder)?),
            false => (single.clone(), vec![single]),
        };
        let mut opened = Vec::new();
        let mut infos = BTreeMap::new();
        for path in paths {
            if !path.is_file() {
                let what = format!("{} is missing", path.display());
                return Err(Error::input(what, "get all files of the model; its weights are in this one"));
            }
            // SAFETY: the file is only read. Somebody who cuts it short meanwhile ends the program, as with any mapped file.
            let shard = unsafe { MmapedSafetensors::new(&path) }.map_err(|e| damaged(&path, &e.to_string()))?;
            for (name, view) in shard.tensors() {
                let info = TensorInfo { name: name.clone(), kind: format!("{:?}", view.dtype()), shape: view.shape().to_vec() };
                infos.insert(name, (opened.len(), info));
            }
            opened.push((path, shard));
        }
        Ok(Tensors { store: Store::Shards(opened), file: file.display().to_string(), infos })
    }

    /// Safetensors that are part of the program.
    pub fn built_in(bytes: &'static [u8], file: &str) -> Result<Tensors> {
        let store = SliceSafetensors::new(bytes).map_err(|e| damaged(Path::new(file), &e.to_string()))?;
        let info = |(name, kind, shape): (String, String, Vec<usize>)| (name.clone(), (0, TensorInfo { name, kind, shape }));
        let all = store.tensors().into_iter().map(|(name, v)| (name, format!("{:?}", v.dtype()), v.shape().to_vec()));
        let infos = all.map(info).collect();
        Ok(Tensors { store: Store::BuiltIn(store), file: file.into(), infos })
    }

    pub fn gguf(gguf: Gguf) -> Tensors {
        let info = |(name, kind, shape): (String, String, Vec<usize>)| (name.clone(), (0, TensorInfo { name, kind, shape }));
        let infos = gguf.infos().into_iter().map(info).collect();
        Tensors { file: gguf.path.display().to_string(), store: Store::Gguf(Box::new(gguf)), infos }
    }

    pub fn as_gguf(&self) -> Option<&Gguf> {
        match &self.store {
            Store::Gguf(gguf) => Some(gguf),
            _ => None,
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.infos.contains_key(name)
    }

    /// By name.
    pub fn infos(&self) -> impl Iterator<Item = &TensorInfo> {
        self.infos.values().map(|(_, info)| info)
    }

    /// What the tensors lie in, for messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.infos.get(name).map(|(_, info)| info)
    }

    /// Passes on, in the order of names, what each tensor is and its bytes as stored: the same for one file or several.
    pub fn raw(&self, use_bytes: &mut dyn FnMut(&[u8])) -> Result<()> {
        for (name, (shard, info)) in &self.infos {
            use_bytes(format!("{name} {} {:?}", info.kind, info.shape).as_bytes());
            match &self.store {
                Store::Shards(shards) => {
                    let (path, shard) = &shards[*shard];
                    use_bytes(shard.get(name).map_err(|e| damaged(path, &e.to_string()))?.data());
                }
                Store::BuiltIn(store) => {
                    use_bytes(store.get(name).map_err(|e| damaged(Path::new(&self.file), &e.to_string()))?.data());
                }
                Store::Gguf(gguf) => gguf.raw(name, use_bytes)?,
            }
        }
        Ok(())
    }

    /// A tensor's numbers as float32.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let plain = |tensor: candle_core::Result<Tensor>, path: &Path| {
            let numbers = tensor.and_then(|t| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>());
            numbers.map_err(|e| damaged(path, &format!("tensor `{name}`: {e}")))
        };
        let shard = self.infos.get(name).map_or(0, |(shard, _)| *shard);
        let numbers = match &self.store {
            Store::Shards(shards) => plain(shards[shard].1.load(name, &Device::Cpu), &shards[shard].0)?,
            Store::BuiltIn(store) => plain(store.load(name, &Device::Cpu), Path::new(&self.file))?,
            Store::Gguf(gguf) => gguf.read(name)?,
        };
        if numbers.iter().any(|x| !x.is_finite()) {
            return Err(damaged(Path::new(&self.file), &format!("tensor `{name}` holds values that are not finite")));
        }
        Ok(numbers)
    }
}

/// The files that an index names, each once.
fn shards(index: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string(index).map_err(|e| Error::file(index, e))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| damaged(index, &e.to_string()))?;
    let map = json.get("weight_map").and_then(|m| m.as_object()).ok_or_else(|| damaged(index, "it has no `weight_map`"))?;
    let files: Option<BTreeSet<&str>> = map.values().map(|f| f.as_str()).collect();
    let files = files.filter(|f| !f.is_empty() && f.iter().all(|f| !f.contains(['/', '\\'])));
    let files = files.ok_or_else(|| damaged(index, "its `weight_map` does not name files beside it"))?;
    Ok(files.into_iter().map(|f| folder.join(f)).collect())
}
