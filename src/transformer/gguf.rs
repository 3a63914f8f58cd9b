//! A GGUF file: its metadata and its tensors, checked against the length of the file before anything is read from it. The
//! quantised blocks are candle's to read. Nothing here knows what the tensors mean.

use crate::error::{Error, Result};
use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// An opened file, or several that are the parts of one.
#[derive(Debug)]
pub(crate) struct Gguf {
    /// The first part, which has the metadata.
    pub path: PathBuf,
    content: Content,
    /// The other parts.
    more: Vec<(PathBuf, Content)>,
}

/// Which part of a file the name says that it is: `NAME-00001-of-00003.gguf`, as llama.cpp splits them.
pub(crate) struct Part<'a> {
    name: &'a str,
    /// From 1.
    pub number: usize,
    of: usize,
}

impl Part<'_> {
    pub fn of(path: &Path) -> Option<Part<'_>> {
        let rest = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, of) = rest.rsplit_once("-of-")?;
        let (name, number) = rest.rsplit_once('-')?;
        let count = |text: &str| text.parse::<usize>().ok().filter(|n| text.len() == 5 && *n > 0);
        Some(Part { name, number: count(number)?, of: count(of)? })
    }

    fn file(&self, number: usize) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.name, self.of)
    }
}

impl Gguf {
    /// A file; of one that was split, all parts, whichever is named.
    pub fn open(path: &Path) -> Result<Gguf> {
        let mut gguf = Gguf { path: path.to_path_buf(), content: contents(path)?, more: Vec::new() };
        let Some(count) = gguf.integer("split.count")?.filter(|n| *n > 1) else { return Ok(gguf) };
        let Some(part) = Part::of(path).filter(|part| part.of as u64 == count && part.number <= part.of) else {
            let what = format!("{} is one of {count} parts, and its name does not say which", path.display());
            return Err(Error::input(what, "give the parts their names again: NAME-00001-of-00003.gguf"));
        };
        let missing: Vec<String> =
            (1..=part.of).map(|n| part.file(n)).filter(|file| !path.with_file_name(file).is_file()).collect();
        if !missing.is_empty() {
            let what = format!("{} is one of {count} parts; missing are {}", path.display(), missing.join(", "));
            return Err(Error::input(what, "put all parts into one folder"));
        }
        if part.number > 1 {
            return Gguf::open(&path.with_file_name(part.file(1)));
        }
        for number in 2..=part.of {
            let other = path.with_file_name(part.file(number));
            let content = contents(&other)?;
            let twice = content.tensor_infos.keys().find(|name| gguf.of(name).is_some());
            if let Some(name) = twice {
                return Err(damaged(&other, &format!("tensor `{name}` is in another part as well")));
            }
            gguf.more.push((other, content));
        }
        let held = gguf.parts().map(|(_, content)| content.tensor_infos.len() as u64).sum::<u64>();
        match gguf.integer("split.tensors.count")? {
            Some(all) if all != held => Err(damaged(path, &format!("its parts hold {held} of {all} tensors"))),
            _ => Ok(gguf),
        }
    }

    fn parts(&self) -> impl Iterator<Item = (&Path, &Content)> {
        std::iter::once((&*self.path, &self.content)).chain(self.more.iter().map(|(path, content)| (&**path, content)))
    }

    /// The part that holds a tensor.
    fn of(&self, name: &str) -> Option<(&Path, &Content)> {
        self.parts().find(|(_, content)| content.tensor_infos.contains_key(name))
    }

    /// Of each tensor the name, how its numbers are stored, and its shape, rows first.
    pub fn infos(&self) -> Vec<(String, String, Vec<usize>)> {
        let info = |(name, info): (&String, &candle_core::quantized::gguf_file::TensorInfo)| {
            (name.clone(), format!("{:?}", info.ggml_dtype), info.shape.dims().to_vec())
        };
        self.parts().flat_map(|(_, content)| content.tensor_infos.iter().map(info)).collect()
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
        let (path, content) = self.of(name).unwrap_or((&self.path, &self.content));
        let mut file = File::open(path).map_err(|e| Error::file(path, e))?;
        let tensor = content.tensor(&mut file, name, &Device::Cpu);
        tensor.map_err(|e| damaged(path, &format!("tensor `{name}`: {e}")))
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

    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f32>>> {
        let wrong = |_| self.wrong(key, "a list of numbers");
        let Some(value) = self.content.metadata.get(key) else { return Ok(None) };
        let all = value.to_vec().map_err(wrong)?.iter().map(Value::to_f32);
        all.collect::<candle_core::Result<Vec<f32>>>().map(Some).map_err(wrong)
    }

    fn wrong(&self, key: &str, want: &str) -> Error {
        Error::input(format!("{}: `{key}` must be {want}", self.path.display()), "take the file as it was published")
    }
}

/// Metadata and tensors of one file, every tensor inside it.
fn contents(path: &Path) -> Result<Content> {
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
    Ok(content)
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
