//! What stands in for HDF5 in a library that was built without it: files are known by their names and refused.

use crate::error::{Error, Result};
use std::path::Path;

/// Whether a file is HDF5 by its name.
pub fn is_hdf5(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| ["h5", "hdf5", "hdf"].contains(&e.to_lowercase().as_str()))
}

fn refused(path: &Path) -> Error {
    Error::File {
        path: path.into(),
        message: "this program was built without HDF5".into(),
        remedy: Some("build it with the feature `hdf5`, or give a CSV file".into()),
    }
}

/// A file that cannot be opened.
pub enum Store {}

impl Store {
    /// # Errors
    /// Always.
    pub fn open(path: &Path) -> Result<Store> {
        Err(refused(path))
    }

    /// Whether there is such a data set.
    pub fn has(&self, _name: &str) -> bool {
        match *self {}
    }
}

/// # Errors
/// Always.
pub fn read_quantity(path: impl AsRef<Path>, _name: &str, _unit: &str) -> Result<Vec<f64>> {
    Err(refused(path.as_ref()))
}

/// # Errors
/// Always.
pub fn read_column_f64(path: impl AsRef<Path>, _name: &str) -> Result<Vec<f64>> {
    Err(refused(path.as_ref()))
}
