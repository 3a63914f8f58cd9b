//! The files of a memory folder by name, and whether there is a memory. Knows no database.

use super::error::io;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

pub(super) const DATABASE: &str = "memory.redb";
/// Where a database is built.
pub(super) const UNFINISHED: &str = "memory.redb.new";
/// What files of notes that lie beside the database begin with.
pub(super) const NOTES: &str = "notes.";
/// The folder within that of a memory that holds what can be recalled.
pub(super) const RECALL: &str = "recall";
/// Held by the process that writes.
pub(super) const LOCK: &str = "lock";

/// The database file of a folder. Refused where there is none.
pub(super) fn existing(folder: &Path) -> Result<PathBuf> {
    let (path, shown) = (folder.join(DATABASE), folder.display());
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => return Ok(path),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Err(io(&path, &error)),
        _ => {}
    }
    let (message, remedy) = if folder.join(RECALL).exists() {
        (
            format!("the memory {shown} holds what can be recalled, and nothing that a model learned"),
            "`sharpwave memory notes` lists it; `sharpwave learn` teaches a model",
        )
    } else if !folder.exists() {
        (format!("there is no memory folder {shown}"), "check the name; learning makes a memory folder where there is none")
    } else if folder.join(UNFINISHED).exists() {
        (format!("the memory {shown} was not made to its end"), "make it again")
    } else {
        (format!("{shown} is not a memory folder: it has no {DATABASE}"), "name the folder that was given as --memory before")
    };
    Err(Error::input(message, remedy))
}
