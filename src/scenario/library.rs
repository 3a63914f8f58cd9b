//! The scenarios that are part of the program, by name. Promises that a file of that name is taken first, and that a name that is
//! neither is refused with the nearest there is.

use crate::error::{Error, Result, nearest};
use std::path::Path;

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));
}

/// All scenarios that are part of the program, by name: (name, text).
pub fn all_built_in() -> impl Iterator<Item = (&'static str, &'static str)> {
    let stem = |path: &'static str| path.rsplit('/').next().unwrap_or(path).trim_end_matches(".toml");
    embedded::SCENARIOS.iter().map(move |(path, text)| (stem(path), *text))
}

/// The text of a scenario that is part of the program; None where there is none of this name.
pub fn built_in(name: &str) -> Option<&'static str> {
    all_built_in().find(|(known, _)| *known == name).map(|(_, text)| text)
}

/// The file of this name that a built-in scenario reads.
pub(super) fn data(file: &str) -> Option<&'static [u8]> {
    let named = |path: &str| path.rsplit('/').next() == Some(file);
    embedded::SCENARIO_DATA.iter().find(|(path, _)| named(path)).map(|(_, bytes)| *bytes)
}

/// The text of the scenario that is written as `path`, a file or a name, and whether it is one of the program's.
pub(super) fn find(path: &Path) -> Result<(String, bool)> {
    let written = path.display().to_string();
    if let Some(text) = built_in(&written).filter(|_| !path.is_file()) {
        return Ok((text.into(), true));
    }
    std::fs::read_to_string(path).map(|text| (text, false)).map_err(|e| {
        let names: Vec<&str> = all_built_in().map(|(name, _)| name).collect();
        let (message, remedy) = match e.kind() {
            std::io::ErrorKind::InvalidData => {
                (format!("cannot be read: {e}"), "a scenario is a text file, TOML in UTF-8".to_string())
            }
            std::io::ErrorKind::NotFound => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let near = nearest(&stem, names.iter().copied()).map(|near| format!("did you mean `{near}`? "));
                let remedy = format!("{}give a file, or one of {}", near.unwrap_or_default(), names.join(", "));
                ("there is no such file, and no scenario of this name comes with sharpwave".into(), remedy)
            }
            _ => (format!("cannot be read: {e}"), "give a file, or a name of `sharpwave scenarios`".into()),
        };
        Error::File { path: path.to_path_buf(), message, remedy: Some(remedy) }
    })
}
