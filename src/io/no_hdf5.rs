//! What stands in for HDF5 in a library that was built without it: every file is refused.

use crate::error::{Error, Result};
use std::path::Path;

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
