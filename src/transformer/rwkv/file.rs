//! The file of rwkv.cpp (format 101): a header, then tensors one after another, each with its shape (fastest dimension first), name, and
//! numbers as FP32 or FP16. Everything is checked against the length of the file.

use super::Named;
use crate::error::{Error, Result};
use half::f16;
use std::path::Path;

const MAGIC: u32 = 0x6767_6d66;
const VERSION: u32 = 101;

/// All tensors, shapes with the slowest dimension first.
pub(super) fn read(path: &Path) -> Result<Named> {
    let bytes = std::fs::read(path).map_err(|e| Error::file(path, e))?;
    let wrong = |what: String| Error::File {
        path: path.into(),
        message: what,
        remedy: Some("give a file that rwkv.cpp's converter wrote, in FP32 or FP16; get it again if it was cut short".into()),
    };
    let mut rest = &bytes[..];
    let mut header = [0; 6];
    for word in &mut header {
        *word = take_u32(&mut rest).ok_or_else(|| wrong("no file of rwkv.cpp: it ends within the header".into()))?;
    }
    if header[0] != MAGIC || header[1] != VERSION {
        return Err(wrong(format!("no file of rwkv.cpp in format {VERSION}")));
    }
    let mut all = Named::new();
    while !rest.is_empty() {
        let cut = || wrong(format!("it is cut short after {} tensors", all.len()));
        let mut next = || take_u32(&mut rest).map(|n| n as usize).ok_or_else(cut);
        let (dimensions, letters, kind) = (next()?, next()?, next()?);
        if dimensions > 3 || letters > 200 {
            return Err(wrong(format!("tensor {} has {dimensions} dimensions and a name of {letters} bytes", all.len())));
        }
        let mut shape = (0..dimensions).map(|_| next()).collect::<Result<Vec<usize>>>()?;
        shape.reverse();
        let name = take(&mut rest, letters).ok_or_else(cut)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).ok_or_else(cut)?;
        let width = match kind {
            0 => 4,
            1 => 2,
            other => return Err(wrong(format!("tensor `{name}` is quantised (type {other})"))),
        };
        let data = count.checked_mul(width).and_then(|n| take(&mut rest, n)).ok_or_else(cut)?;
        let numbers: Vec<f32> = match width {
            4 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            _ => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        };
        if numbers.iter().any(|x| !x.is_finite()) {
            return Err(wrong(format!("tensor `{name}` holds values that are not finite")));
        }
        all.insert(name, (shape, numbers));
    }
    Ok(all)
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (own, after) = rest.split_at_checked(n)?;
    *rest = after;
    Some(own)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}
