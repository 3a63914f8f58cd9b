//! llama.cpp's adapter file: GGUF version 3 with pairs `blk.3.ffn_down.weight.lora_a` (rank x inputs) and `.lora_b` (outputs x rank),
//! applied times alpha / rank. For llamas, B's rows at q and k stand as llama.cpp turns them: neighbouring pairs of a head.

use super::{Base, FINGERPRINT, Format, LLAMA, Loaded, Matrix, Pairs, Side, foreign, padded};
use crate::error::{Error, Result};
use crate::transformer::gguf::Gguf;
use crate::transformer::hooks::Adapter;
use crate::transformer::site::{Linear, Site};
use crate::transformer::weights::neighbours;
use std::path::Path;

/// Bytes that tensors start at a multiple of.
const ALIGNMENT: usize = 32;

pub fn write(path: &Path, adapter: &Adapter, base: &Base, rank: usize) -> Result<()> {
    let mut file = Writer::default();
    let architecture = base.gguf_architecture();
    file.text("general.architecture", architecture);
    file.text("general.type", "adapter");
    file.text("general.base_model.0.name", &base.name);
    file.text("adapter.type", "lora");
    file.number("adapter.lora.alpha", rank as f32);
    file.text(FINGERPRINT, &base.fingerprint);
    for (site, term) in adapter.terms() {
        let (outputs, inputs) = base.config.shape(site.linear);
        let (a, mut b) = padded(term, rank);
        if architecture == LLAMA && matches!(site.linear, Linear::Q | Linear::K) {
            b = neighbours(&b, base.config.head_dim, rank);
        }
        let name = format!("blk.{}.{}.weight", site.layer, site.linear.gguf_name());
        file.tensor(&format!("{name}.lora_a"), [rank, inputs], &a);
        file.tensor(&format!("{name}.lora_b"), [outputs, rank], &b);
    }
    std::fs::write(path, file.bytes()).map_err(|e| Error::file(path, e))
}

pub fn read(path: &Path) -> Result<Loaded> {
    let file = Gguf::open(path)?;
    let refuse = |what: &str, remedy: &str| Err(Error::input(format!("{} {what}", path.display()), remedy));
    match (file.text("general.type")?, file.text("adapter.type")?) {
        (Some("adapter"), Some("lora")) => (),
        (Some("adapter"), kind) => {
            return refuse(&format!("is an adapter of the type `{}`", kind.unwrap_or("")), "use a LoRA adapter");
        }
        _ => return refuse("is not an adapter", "name the adapter's file, not the model's"),
    }
    let Some(architecture) = file.text("general.architecture")? else {
        return refuse("names no architecture", "take the file as it was published");
    };
    let alpha = file.number("adapter.lora.alpha")?.unwrap_or(0.0);
    let mut pairs = Pairs::default();
    for (name, _, shape) in file.infos() {
        let part = [(".weight.lora_a", Side::A), (".weight.lora_b", Side::B)];
        let found = part.into_iter().find_map(|(end, side)| Some((site(name.strip_suffix(end)?)?, side)));
        let (site, side) = found.ok_or_else(|| foreign(path, &name))?;
        pairs.put(site, side, Matrix::new(path, &name, &shape, file.read(&name)?)?);
    }
    // llama.cpp takes an alpha of 0 for none.
    let scale = |_, rank: usize| Ok(if alpha == 0.0 { 1.0 } else { (alpha / rank as f64) as f32 });
    Ok(Loaded {
        path: path.into(),
        format: Format::Gguf,
        base: file.text("general.base_model.0.name")?.map(String::from),
        fingerprint: file.text(FINGERPRINT)?.map(String::from),
        architecture: Some(architecture.into()),
        terms: pairs.terms(path, scale)?,
    })
}

/// The layer of `blk.3.ffn_down`.
fn site(name: &str) -> Option<Site> {
    if name == Linear::Head.gguf_name() {
        return Some(Site::HEAD);
    }
    let (layer, name) = name.strip_prefix("blk.")?.split_once('.')?;
    let linear = Linear::IN_LAYER.into_iter().find(|l| l.gguf_name() == name)?;
    Some(Site { layer: layer.parse().ok()?, linear })
}

/// A file in the making; all numbers are little-endian.
#[derive(Default)]
struct Writer {
    values: (u64, Vec<u8>),
    tensors: (u64, Vec<u8>),
    data: Vec<u8>,
}

impl Writer {
    const FLOAT32: u32 = 6;
    const TEXT: u32 = 8;

    fn text(&mut self, key: &str, value: &str) {
        let value = [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat();
        self.value(key, Writer::TEXT, &value);
    }

    fn number(&mut self, key: &str, value: f32) {
        self.value(key, Writer::FLOAT32, &value.to_le_bytes());
    }

    fn value(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.values.0 += 1;
        string(&mut self.values.1, key);
        self.values.1.extend(kind.to_le_bytes());
        self.values.1.extend(value);
    }

    /// Rows x columns; the format names the columns first. Its float32 has the number 0.
    fn tensor(&mut self, name: &str, [rows, columns]: [usize; 2], numbers: &[f32]) {
        self.tensors.0 += 1;
        let infos = &mut self.tensors.1;
        string(infos, name);
        infos.extend(2u32.to_le_bytes());
        infos.extend([columns, rows].iter().flat_map(|n| (*n as u64).to_le_bytes()));
        infos.extend(0u32.to_le_bytes());
        infos.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        self.data.resize(self.data.len().next_multiple_of(ALIGNMENT), 0);
    }

    fn bytes(&self) -> Vec<u8> {
        let counts = [self.tensors.0.to_le_bytes(), self.values.0.to_le_bytes()].concat();
        let mut bytes = [&b"GGUF"[..], &3u32.to_le_bytes(), &counts, &self.values.1, &self.tensors.1].concat();
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes.extend(&self.data);
        bytes
    }
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
