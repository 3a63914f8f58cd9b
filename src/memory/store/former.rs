//! Notes of agents as earlier versions kept them: a JSON object a line, the last line of an id counts, a last line that was not finished does
//! not. They become episodes when the folder is opened; the file stays under another name, and what is forgotten leaves it too.
//!
//! ```text
//! DIR/notes.jsonl   the log, until it is taken over      DIR/notes.jsonl.kept   the same afterwards
//! ```

use super::episodes::Gone;
use super::error::{in_use, io};
use super::folder::sync;
use crate::error::{Error, Result};
use crate::memory::experience::Experience;
use crate::recall::Episode;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

const LOG: &str = "notes.jsonl";
const KEPT: &str = "notes.jsonl.kept";
const UNFINISHED: &str = "notes.jsonl.new";
const LOCK: &str = "notes.lock";

/// A line of the log.
#[derive(Deserialize)]
struct Line {
    id: String,
    #[serde(default)]
    experience: Option<Experience>,
    #[serde(default)]
    learned: Option<String>,
    #[serde(default)]
    forgotten: bool,
    #[serde(default)]
    told: Option<String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

/// What a log says, in the order in which it came.
#[derive(Debug, Default)]
pub struct Former {
    /// What holds or is history.
    pub episodes: Vec<Episode>,
    /// What was forgotten.
    pub forgotten: Vec<(String, Gone)>,
}

/// Whether a memory folder has a log that was not taken over.
pub fn has_notes(memory: &Path) -> bool {
    memory.join(LOG).is_file()
}

fn damaged(path: &Path, line: usize, why: &str) -> Error {
    Error::File {
        path: path.into(),
        message: format!("line {line} is damaged: {why}"),
        remedy: Some("take that line out, or bring the file back from a copy; the other lines are whole".into()),
    }
}

/// Reads the log of a memory folder.
///
/// # Errors
/// A log that an earlier version still writes, and one that is damaged before its last line.
pub fn read(memory: &Path) -> Result<Former> {
    // Whoever wrote it locked this file.
    if let Ok(lock) = File::open(memory.join(LOCK))
        && matches!(lock.try_lock(), Err(TryLockError::WouldBlock))
    {
        return Err(in_use(memory));
    }
    let path = memory.join(LOG);
    let bytes = std::fs::read(&path).map_err(|e| io(&path, &e))?;
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    let lines: Vec<&[u8]> = bytes[..whole].split_inclusive(|b| *b == b'\n').collect();
    let (mut last, mut places): (Vec<Line>, HashMap<String, usize>) = (Vec::new(), HashMap::new());
    for (number, line) in (1..).zip(&lines) {
        match serde_json::from_slice::<Line>(line) {
            Ok(line) => match places.get(&line.id) {
                Some(at) => last[*at] = line,
                None => {
                    places.insert(line.id.clone(), last.len());
                    last.push(line);
                }
            },
            // As after a power cut, when the end of a line came to disk before its beginning.
            Err(_) if number == lines.len() => {}
            Err(why) => return Err(damaged(&path, number, &why.to_string())),
        }
    }
    let mut former = Former::default();
    let there: HashMap<String, bool> = last.iter().map(|line| (line.id.clone(), !line.forgotten)).collect();
    for (number, line) in (1..).zip(last) {
        if line.forgotten {
            former.forgotten.push((line.id, Gone { told: line.told, when: String::new() }));
            continue;
        }
        let said: Episode = serde_json::from_value(line.rest.into()).map_err(|e| damaged(&path, number, &e.to_string()))?;
        let mut episode = Episode { id: line.id, told: line.told, ..said };
        if let Some(lived) = line.experience.map(|e| e.episode()) {
            episode.text = lived.text;
            episode.act = lived.act.map(|act| crate::recall::Act { learned: line.learned, ..act });
        }
        episode.supersedes = episode.supersedes.filter(|old| there.get(old) == Some(&true));
        former.episodes.push(episode);
    }
    Ok(former)
}

/// Puts the log aside, once all of it is kept elsewhere.
///
/// # Errors
/// What a disk refuses.
pub fn put_aside(memory: &Path) -> Result<()> {
    let names = std::iter::once(KEPT.to_string()).chain((2..).map(|n| format!("{KEPT}-{n}")));
    let free = names.map(|name| memory.join(name)).find(|path| !path.exists());
    let (from, to) = (memory.join(LOG), free.unwrap_or_else(|| memory.join(KEPT)));
    std::fs::rename(&from, &to).map_err(|e| io(&from, &e))?;
    let _ = std::fs::remove_file(memory.join(LOCK));
    sync(memory);
    Ok(())
}

/// Takes the lines of experiences out of the logs that were put aside; returns the names of those that had any.
///
/// # Errors
/// What a disk refuses; the logs are as they were then.
pub fn forget(memory: &Path, ids: &[&str]) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(memory) {
        Ok(entries) => entries,
        Err(_) => return Ok(Vec::new()),
    };
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(KEPT));
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()).filter(named) {
        let bytes = std::fs::read(&path).map_err(|e| io(&path, &e))?;
        let own = |line: &&[u8]| {
            let id =
                serde_json::from_slice::<serde_json::Value>(line).ok().and_then(|line| Some(line["id"].as_str()?.to_string()));
            id.is_some_and(|id| ids.contains(&id.as_str()))
        };
        let (gone, stay): (Vec<&[u8]>, Vec<&[u8]>) = bytes.split_inclusive(|b| *b == b'\n').partition(own);
        if gone.is_empty() {
            continue;
        }
        let unfinished = memory.join(UNFINISHED);
        let written = || -> std::io::Result<()> {
            let mut file = File::create(&unfinished)?;
            file.write_all(&stay.concat())?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)
        };
        written().map_err(|e| io(&path, &e))?;
        sync(memory);
        found.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    Ok(found)
}
