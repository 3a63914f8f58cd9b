//! A GGUF file: its metadata and its tensors, checked against the length of the file before anything is read from it. The
//! quantised blocks are candle's to read. Nothing here knows what the tensors mean.

use super::weights::TensorInfo;
use crate::error::{Error, Result};
use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// An opened file.
#[derive(Debug)]
pub(crate) struct Gguf {
    pub path: PathBuf,
    content: Content,
}

impl Gguf {
    pub fn open(path: &Path) -> Result<Gguf> {
        let mut file = File::open(path).map_err(|e| Error::file(path, e))?;
        let length = file.metadata().map_err(|e| Error::file(path, e))?.len();
        if alignment_is_zero(&mut file).map_err(|e| Error::file(path, e))? {
            return Err(damaged(path, "the alignment of its data is 0"));
        }
        let content = Content::read(&mut BufReader::new(file)).map_err(|e| damaged(path, &e.to_string()))?;
        for (name, info) in &content.tensor_infos {
            let block = info.ggml_dtype.block_size();
            let dims = info.shape.dims();
            let elements = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n > 0 && n.is_multiple_of(block));
            let bytes = elements.and_then(|n| (n / block).checked_mul(info.ggml_dtype.type_size()));
            let end = bytes.and_then(|n| content.tensor_data_offset.checked_add(info.offset)?.checked_add(n as u64));
            match end {
                None => return Err(damaged(path, &format!("tensor `{name}` has the impossible shape {dims:?}"))),
                Some(end) if end > length => {
                    return Err(damaged(path, &format!("tensor `{name}` ends at byte {end}, the file at byte {length}")));
                }
                Some(_) => (),
            }
        }
        let gguf = Gguf { path: path.to_path_buf(), content };
        if gguf.integer("split.count")?.is_some_and(|n| n > 1) {
            let what = format!("{} is one part of several", path.display());
            return Err(Error::input(what, "join the parts with llama.cpp's `llama-gguf-split --merge`"));
        }
        Ok(gguf)
    }

    pub fn infos(&self) -> Vec<TensorInfo> {
        let info = |(name, info): (&String, &candle_core::quantized::gguf_file::TensorInfo)| TensorInfo {
            name: name.clone(),
            kind: format!("{:?}", info.ggml_dtype),
            shape: info.shape.dims().to_vec(),
        };
        self.content.tensor_infos.iter().map(info).collect()
    }

    /// A tensor's numbers as float32.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let numbers = self.tensor(name)?.dequantize(&Device::Cpu).and_then(|t| t.flatten_all()?.to_vec1());
        numbers.map_err(|e| damaged(&self.path, &format!("tensor `{name}`: {e}")))
    }

    /// Passes a tensor's bytes on.
    pub fn raw(&self, name: &str, use_bytes: &mut dyn FnMut(&[u8])) -> Result<()> {
        let tensor = self.tensor(name)?;
        let bytes = tensor.data().map_err(|e| damaged(&self.path, &format!("tensor `{name}`: {e}")))?;
        use_bytes(&bytes);
        Ok(())
    }

    fn tensor(&self, name: &str) -> Result<candle_core::quantized::QTensor> {
        let mut file = File::open(&self.path).map_err(|e| Error::file(&self.path, e))?;
        let tensor = self.content.tensor(&mut file, name, &Device::Cpu);
        tensor.map_err(|e| damaged(&self.path, &format!("tensor `{name}`: {e}")))
    }

    /// A whole number of at least 0, of any of the types that hold one.
    pub fn integer(&self, key: &str) -> Result<Option<u64>> {
        let value = match self.content.metadata.get(key) {
            None => return Ok(None),
            Some(Value::I8(v)) => u64::try_from(*v).ok(),
            Some(Value::I16(v)) => u64::try_from(*v).ok(),
            Some(Value::I32(v)) => u64::try_from(*v).ok(),
            Some(Value::I64(v)) => u64::try_from(*v).ok(),
            Some(Value::Bool(_)) => None,
            Some(value) => value.to_u64().ok(),
        };
        value.map(Some).ok_or_else(|| self.wrong(key, "a whole number"))
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.content.metadata.get(key) {
            Some(Value::F32(v)) => Ok(Some(*v as f64)),
            Some(Value::F64(v)) => Ok(Some(*v)),
            _ => Ok(self.integer(key)?.map(|n| n as f64)),
        }
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.content.metadata.get(key) {
            None => Ok(None),
            Some(value) => value.to_bool().map(Some).map_err(|_| self.wrong(key, "true or false")),
        }
    }

    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.content.metadata.get(key) {
            None => Ok(None),
            Some(value) => value.to_string().map(|s| Some(s.as_str())).map_err(|_| self.wrong(key, "text")),
        }
    }

    pub fn texts(&self, key: &str) -> Result<Option<Vec<&str>>> {
        let wrong = |_| self.wrong(key, "a list of texts");
        let Some(value) = self.content.metadata.get(key) else { return Ok(None) };
        let all = value.to_vec().map_err(wrong)?.iter().map(|v| v.to_string().map(String::as_str));
        all.collect::<candle_core::Result<Vec<&str>>>().map(Some).map_err(wrong)
    }

    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>> {
        let wrong = || self.wrong(key, "a list of whole numbers");
        let Some(value) = self.content.metadata.get(key) else { return Ok(None) };
        let one = |v: &Value| match v {
            Value::I32(v) => Some(*v as i64),
            Value::I8(v) => Some(*v as i64),
            Value::I16(v) => Some(*v as i64),
            Value::I64(v) => Some(*v),
            other => other.to_u64().ok().map(|v| v as i64),
        };
        let all: Option<Vec<i64>> = value.to_vec().map_err(|_| wrong())?.iter().map(one).collect();
        all.map(Some).ok_or_else(wrong)
    }

    fn wrong(&self, key: &str, want: &str) -> Error {
        Error::input(format!("{}: `{key}` must be {want}", self.path.display()), "take the file as it was published")
    }
}

/// A file that is not what it should be.
pub(crate) fn damaged(path: &Path, what: &str) -> Error {
    let what = what.lines().next().unwrap_or("");
    Error::input(format!("{} cannot be read: {what}", path.display()), "get the file again; this one is damaged or cut short")
}

/// candle divides by the alignment that the metadata name, so a zero is looked for first.
fn alignment_is_zero(file: &mut File) -> std::io::Result<bool> {
    const KEY: &[u8] = b"general.alignment";
    let mut head = Vec::new();
    file.by_ref().take(1 << 24).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    let after = head.windows(KEY.len()).enumerate().filter(|(_, w)| *w == KEY).map(|(i, _)| &head[i + KEY.len()..]);
    let zero = |rest: &[u8]| {
        let size = match rest.first_chunk::<4>().map(|k| u32::from_le_bytes(*k)) {
            Some(0 | 1) => 1,
            Some(2 | 3) => 2,
            Some(4 | 5) => 4,
            _ => return false,
        };
        rest.get(4..4 + size).is_some_and(|value| value.iter().all(|b| *b == 0))
    };
    Ok(after.into_iter().any(zero))
}
