//! Formats and services of the outside world that know nothing of what sharpwave does with them. Promises faults with file, line and remedy.

pub(crate) mod csv;
#[cfg(feature = "hdf5")]
pub mod hdf5;
#[cfg(not(feature = "hdf5"))]
#[path = "no_hdf5.rs"]
pub mod hdf5;
pub mod http;
pub mod output;

use std::path::Path;

/// Whether a file's name says that it is HDF5.
pub fn is_hdf5(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| ["h5", "hdf5", "hdf"].contains(&e.to_lowercase().as_str()))
}

/// Whether a group or data set of a file can have that name; else what to do.
pub(crate) fn storable(name: &str) -> std::result::Result<(), &'static str> {
    match name.trim().is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        true => Err("use a name without '/', other than '.' and '..'"),
        false => Ok(()),
    }
}
