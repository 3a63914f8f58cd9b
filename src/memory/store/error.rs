//! What the database reports, turned into errors that name the memory folder and a remedy. Bytes damaged on disk can make the
//! database panic; that is caught here and becomes an error like any other.

use crate::error::{Error, quietly};
use redb::Database;
use std::io::ErrorKind;
use std::path::Path;

/// Why work on the database came to nothing.
#[derive(Debug)]
pub enum Trouble {
    Base(Box<redb::Error>),
    /// Bytes on disk are not what was written.
    Damage(String),
    /// Refused for a reason of our own.
    Own(Error),
}

macro_rules! from {
    ($($kind:ident)*) => { $(
        impl From<redb::$kind> for Trouble {
            fn from(error: redb::$kind) -> Trouble {
                Trouble::Base(Box::new(error.into()))
            }
        }
    )* };
}
from!(StorageError TableError DatabaseError TransactionError CommitError CompactionError);

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Base(Box::new(redb::Error::Io(error)))
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Own(error)
    }
}

impl Trouble {
    /// What is damaged, where that is the trouble.
    pub fn damage(&self) -> Option<String> {
        match self {
            Trouble::Damage(what) => Some(what.clone()),
            Trouble::Base(error) => match error.as_ref() {
                redb::Error::Io(e) => {
                    matches!(e.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof).then(|| e.to_string())
                }
                redb::Error::Corrupted(what) => Some(what.clone()),
                redb::Error::TableDoesNotExist(_)
                | redb::Error::TableTypeMismatch { .. }
                | redb::Error::TableIsMultimap(_)
                | redb::Error::TypeDefinitionChanged { .. }
                | redb::Error::LockPoisoned(_) => Some(error.to_string()),
                _ => None,
            },
            Trouble::Own(_) => None,
        }
    }

    /// As an error about the memory in `folder`.
    pub fn about(self, folder: &Path) -> Error {
        let shown = folder.display();
        if let Some(what) = self.damage() {
            let remedy = format!(
                "restore the folder from a copy; `sharpwave memory verify --memory {shown}` says what is damaged in a memory"
            );
            return file(folder, format!("the memory is damaged: {what}"), remedy);
        }
        match self {
            Trouble::Own(error) => error,
            Trouble::Damage(what) => Error::file(folder, what),
            Trouble::Base(error) => match *error {
                redb::Error::Io(error) => io(folder, &error),
                redb::Error::DatabaseAlreadyOpen => in_use(folder),
                redb::Error::UpgradeRequired(version) => Error::input(
                    format!("the memory {shown} is in the older file format {version} of its database"),
                    "open it with the version of sharpwave that made it",
                ),
                redb::Error::PreviousIo => file(
                    folder,
                    "writing failed before".into(),
                    "see to the disk and start again; what was committed is kept".into(),
                ),
                error => Error::file(folder, error),
            },
        }
    }
}

/// A file of the folder could not be read or written.
pub fn io(path: &Path, error: &std::io::Error) -> Error {
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "give yourself the right to write in the memory folder, or work on a copy"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "make room on the disk and try again; what was committed before is kept"
        }
        _ => return Error::file(path, error),
    };
    file(path, error.to_string(), remedy.into())
}

pub fn in_use(folder: &Path) -> Error {
    Error::input(
        format!("the memory {} is in use by another process", folder.display()),
        "wait until that process has ended, or stop it; `sharpwave memory list`, `show`, `journal` and `verify` work meanwhile",
    )
}

fn file(path: &Path, message: String, remedy: String) -> Error {
    Error::File { path: path.to_path_buf(), message, remedy: Some(remedy) }
}

/// Does work on the database. A panic becomes `Trouble::Damage`.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    quietly(work).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(Trouble::Damage(format!("the database gave up: {}", what.unwrap_or("it does not say why"))))
    })
}

/// Closes a database. Over a damaged file that may panic; there is nothing to do about it then, as all that was committed is on
/// disk.
pub fn close(database: Database) {
    let _ = quietly(|| drop(database));
}
