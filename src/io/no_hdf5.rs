//! What stands in for HDF5 in a library that was built without it: every file is refused.

use crate::error::{Error, Result};
use std::convert::Infallible;
use std::marker::PhantomData;
use std::ops::Range;
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

    /// Where the file is.
    pub fn path(&self) -> &Path {
        match *self {}
    }

    /// Names in a group.
    pub fn members(&self, _group: &str) -> Vec<String> {
        match *self {}
    }

    /// # Errors
    /// None that could be.
    pub fn get_text(&self, _object: &str, _name: &str) -> Result<String> {
        match *self {}
    }

    /// # Errors
    /// None that could be.
    pub fn shape(&self, _object: &str) -> Result<Vec<usize>> {
        match *self {}
    }

    /// # Errors
    /// None that could be.
    pub fn open_table<T>(&self, _object: &str) -> Result<Table<T>> {
        match *self {}
    }
}

/// A table of a file that cannot be opened.
pub struct Table<T>(Infallible, PhantomData<T>);

impl<T> Table<T> {
    /// How many rows it has.
    pub fn rows(&self) -> usize {
        match self.0 {}
    }

    /// # Errors
    /// None that could be.
    pub fn read(&self, _rows: Range<usize>) -> Result<Vec<T>> {
        match self.0 {}
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
