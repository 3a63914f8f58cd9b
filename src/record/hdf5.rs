//! The only file that knows the HDF5 library. Promises: opening and reading never panics, and a missing, foreign, truncated or
//! mistyped file becomes an error that names the file and what to do.

use crate::error::{Error, Result};
use hdf5::types::TypeDescriptor;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// Error about a file with a remedy.
pub(crate) fn file_error(path: &Path, message: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::File { path: path.to_path_buf(), message: message.into(), remedy: Some(remedy.into()) }
}

/// What the library says, in its own innermost words.
fn cause(error: &hdf5::Error) -> String {
    let text = error.to_string();
    match error.stack().and_then(|stack| stack.top().and_then(|frame| frame.detail())) {
        Some(detail) if !text.contains(&detail) => format!("{text} ({detail})"),
        _ => text,
    }
}

/// True when the file starts with (or has, after a user block) the HDF5 signature.
fn has_signature(path: &Path) -> std::io::Result<bool> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let mut at = 0u64;
    while at + 8 <= size {
        let mut bytes = [0u8; 8];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut bytes)?;
        if bytes == SIGNATURE {
            return Ok(true);
        }
        at = if at == 0 { 512 } else { at * 2 };
    }
    Ok(false)
}

/// Opens an HDF5 file for reading.
///
/// # Errors
/// A missing, foreign, truncated or locked file, with a remedy.
pub(crate) fn open(path: &Path) -> Result<hdf5::File> {
    match has_signature(path) {
        Err(e) => return Err(file_error(path, format!("cannot be read: {e}"), "check the path and the permissions")),
        Ok(false) => return Err(file_error(path, "this is not an HDF5 file", "give a file that starts with the HDF5 signature")),
        Ok(true) => {}
    }
    hdf5::File::open(path).map_err(|e| {
        let text = cause(&e);
        let remedy = if text.contains("truncated") {
            "the file was cut off while it was copied or written: copy it again or make it anew"
        } else if text.contains("lock") {
            "another program is writing the file: wait for it to end"
        } else {
            "the file is damaged: copy it again or make it anew"
        };
        file_error(path, format!("cannot be opened as HDF5: {text}"), remedy)
    })
}

/// A named dataset of an open file, or an error that lists what there is beside it.
pub(crate) fn dataset(path: &Path, group: &hdf5::Group, name: &str) -> Result<hdf5::Dataset> {
    group.dataset(name).map_err(|_| {
        let mut there = Vec::new();
        list_datasets(group, "", &mut there, 0);
        let hint = match crate::error::nearest(name, there.iter().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if there.is_empty() => "the file holds no dataset there".to_string(),
            None => format!("it has {}", there.iter().take(12).map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ")),
        };
        file_error(path, format!("has no dataset \"{name}\""), hint)
    })
}

/// Paths of the datasets below a group (a few levels, for messages).
fn list_datasets(group: &hdf5::Group, prefix: &str, into: &mut Vec<String>, depth: usize) {
    for name in group.member_names().unwrap_or_default() {
        if into.len() >= 64 {
            return;
        }
        let full = format!("{prefix}{name}");
        if let Ok(inner) = group.group(&name) {
            if depth < 4 {
                list_datasets(&inner, &format!("{full}/"), into, depth + 1);
            }
        } else if group.dataset(&name).is_ok() {
            into.push(full);
        }
    }
}

/// Reads a whole dataset, converted to `T`.
pub(crate) fn read_all<T: hdf5::H5Type + Copy + Default>(path: &Path, set: &hdf5::Dataset) -> Result<Vec<T>> {
    let damaged = |text: String| {
        let remedy = "the file is damaged or cut off: copy it again or make it anew";
        file_error(path, format!("dataset \"{}\" cannot be read: {text}", set.name()), remedy)
    };
    let n = set.space().map_err(|e| damaged(cause(&e)))?.size();
    let mut values: Vec<T> = Vec::new();
    values.try_reserve_exact(n).map_err(|_| damaged(format!("{n} values do not fit in memory")))?;
    values.resize(n, T::default());
    if n > 0 {
        set.as_reader().read_into_raw(&mut values).map_err(|e| damaged(cause(&e)))?;
    }
    Ok(values)
}

/// A one-dimensional numeric dataset of any integer or float type, as f64.
///
/// # Errors
/// `path` is missing, foreign or truncated; there is no such dataset; it is not one-dimensional or not numeric.
pub fn read_column_f64(path: impl AsRef<Path>, name: &str) -> Result<Vec<f64>> {
    let path = path.as_ref();
    let file = open(path)?;
    let set = dataset(path, &file, name)?;
    let shape = set.shape();
    if shape.len() != 1 {
        let found = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        let found = if shape.is_empty() { "one number".to_string() } else { found };
        return Err(file_error(
            path,
            format!("dataset \"{name}\" must be one-dimensional, it is {found}"),
            "store one column of numbers",
        ));
    }
    let numeric = set.dtype().and_then(|t| t.to_descriptor());
    if !matches!(numeric, Ok(TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_) | TypeDescriptor::Float(_))) {
        let found = numeric.map_or("of a type unknown here".to_string(), |t| format!("{t}"));
        return Err(file_error(
            path,
            format!("dataset \"{name}\" is not numeric, it is {found}"),
            "store integers or floating-point numbers",
        ));
    }
    read_all(path, &set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(error: Error) -> String {
        format!("{error} | {}", error.remedy().unwrap_or("no remedy"))
    }

    #[test]
    fn columns_of_every_numeric_type_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let file = hdf5::File::create(&path).unwrap();
        file.new_dataset_builder().with_data(&[1u8, 2, 255]).create("u8").unwrap();
        file.new_dataset_builder().with_data(&[-1i64, 1 << 40]).create("i64").unwrap();
        file.new_dataset_builder().with_data(&[0.5f32, -2.25]).create("f32").unwrap();
        file.create_group("g").unwrap().new_dataset_builder().with_data(&[1e-300f64]).create("f64").unwrap();
        file.new_dataset::<f64>().shape(0).create("none").unwrap();
        file.close().unwrap();
        assert_eq!(read_column_f64(&path, "u8").unwrap(), [1.0, 2.0, 255.0]);
        assert_eq!(read_column_f64(&path, "i64").unwrap(), [-1.0, (1u64 << 40) as f64]);
        assert_eq!(read_column_f64(&path, "f32").unwrap(), [0.5, -2.25]);
        assert_eq!(read_column_f64(&path, "/g/f64").unwrap(), [1e-300]);
        assert_eq!(read_column_f64(&path, "none").unwrap(), [] as [f64; 0]);
    }

    #[test]
    fn wrong_files_are_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        assert!(message(read_column_f64(&path, "x").unwrap_err()).contains("cannot be read"));
        std::fs::write(&path, "time,source\n1,2\n").unwrap();
        assert!(message(read_column_f64(&path, "x").unwrap_err()).contains("not an HDF5 file"));
        std::fs::write(&path, "").unwrap();
        assert!(message(read_column_f64(&path, "x").unwrap_err()).contains("not an HDF5 file"));
        assert!(read_column_f64(dir.path(), "x").is_err());

        let file = hdf5::File::create(&path).unwrap();
        file.new_dataset_builder().with_data(&vec![1.5f64; 4000]).create("weights").unwrap();
        let text: hdf5::types::FixedUnicode<8> = "no".parse().unwrap();
        file.new_dataset_builder().with_data(&[text]).create("text").unwrap();
        file.new_dataset::<f64>().shape((2, 3)).create("matrix").unwrap();
        file.close().unwrap();
        let near = message(read_column_f64(&path, "weigths").unwrap_err());
        assert!(near.contains("did you mean \"weights\""), "{near}");
        assert!(message(read_column_f64(&path, "text").unwrap_err()).contains("not numeric"));
        assert!(message(read_column_f64(&path, "matrix").unwrap_err()).contains("2 x 3"));

        let whole = std::fs::read(&path).unwrap();
        for keep in [9, 100, 600, 2000, whole.len() - 1] {
            std::fs::write(&path, &whole[..keep]).unwrap();
            let error = message(read_column_f64(&path, "weights").unwrap_err());
            assert!(error.contains("cut off") || error.contains("damaged"), "{keep}: {error}");
        }
    }
}
