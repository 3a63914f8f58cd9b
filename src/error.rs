//! What can go wrong, said once. Every error a user can meet names the place (file, line, column) where there is one and a
//! remedy; nothing here knows how errors are printed (the command line does that, through miette).

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

/// What fallible functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A stretch of a text file that the user wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// File as the user named it (or a description such as `--set scale.n=x`).
    pub file: String,
    /// The whole text of that file.
    pub text: Arc<str>,
    /// Byte range within `text`.
    pub span: Range<usize>,
}

impl Place {
    /// One-based line and column (in characters) of the start of the span.
    pub fn line_column(&self) -> (usize, usize) {
        let upto = &self.text[..self.span.start.min(self.text.len())];
        let line = upto.matches('\n').count() + 1;
        let column = upto.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
}

/// Something wrong with what the user gave us: a scenario, a model file, a data file, an option.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What is wrong, without the place.
    pub message: String,
    /// Where in a text file; None where the input is no file.
    pub place: Option<Place>,
    /// What to change.
    pub remedy: Option<String>,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(place) = &self.place {
            let (line, column) = place.line_column();
            write!(f, "{}:{line}:{column}: ", place.file)?;
        }
        write!(f, "{}", self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, " ({remedy})")?;
        }
        Ok(())
    }
}

/// Everything that can go wrong, by what has to be mended and which code the program exits with. Every error says what is wrong
/// and, where that is known, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Refused input; exit code 2.
    #[error("{0}")]
    Input(Box<Fault>),
    /// A file could not be read or written; exit code 1.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, to stand after its path.
        message: String,
        /// What to do; None where the message says it all.
        remedy: Option<String>,
    },
    /// More memory would be needed than there is; exit code 2.
    #[error("{message}")]
    Memory {
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// No usable device, a lost device, or a driver that cannot be trusted; exit code 1.
    #[error("{message}")]
    Device {
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// The simulation itself failed (a state became NaN, a limit was passed); exit code 1.
    #[error("{message}")]
    Run {
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
}

impl Error {
    /// Refused input without a place.
    pub fn input(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Error::Input(Box::new(Fault { message: message.into(), place: None, remedy: Some(remedy.into()) }))
    }

    /// Refused input at a place of a text file.
    pub fn at(place: Place, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Error::Input(Box::new(Fault { message: message.into(), place: Some(place), remedy: Some(remedy.into()) }))
    }

    /// A file that could not be read or written.
    pub fn file(path: impl AsRef<Path>, cause: impl std::fmt::Display) -> Self {
        Error::File { path: path.as_ref().to_path_buf(), message: cause.to_string(), remedy: None }
    }

    /// The remedy, where one is known.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Error::Input(fault) => fault.remedy.as_deref(),
            Error::File { remedy, .. } => remedy.as_deref(),
            Error::Memory { remedy, .. } | Error::Device { remedy, .. } | Error::Run { remedy, .. } => Some(remedy),
        }
    }

    /// Process exit code: 2 for input that was refused before anything ran, 1 for failures on the way.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Input(_) | Error::Memory { .. } => 2,
            _ => 1,
        }
    }
}

/// Catches a panic, and keeps it from being printed: for libraries that give up over damaged files.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> std::thread::Result<T> {
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    done
}

/// A word of a command in a message, as a POSIX shell takes it: in quotes, where it holds anything that a shell would not leave alone.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:,=+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// The candidate nearest to `word`, for "did you mean" (None when nothing is near).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&lower, &c.to_lowercase()), c))
        .filter(|(d, c)| *d <= 1 + c.chars().count().max(word.chars().count()) / 3)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}
