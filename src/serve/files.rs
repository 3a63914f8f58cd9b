//! The commands of Anthropic's memory tool (memory_20250818: view, create, str_replace, insert, delete, rename) over a virtual folder
//! /memories: every file is a note with a path, so that it is found like any other, and its earlier states are its history. No path leads
//! to a disk. Answers are worded as that tool's documentation words them (platform.claude.com, "Memory tool").

use super::guard::{suspicion, without_recalled};
use super::notes::Notes;
use super::user::User;
use crate::error::{Error, Result};
use crate::recall::Episode;
use crate::recall::episode::LONGEST;
use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const ROOT: &str = "/memories";
/// Bytes of a path at most.
const LONGEST_PATH: usize = 512;

/// A command on files under /memories.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub struct Command {
    /// view, create, str_replace, insert, delete or rename.
    pub command: Name,
    /// The file or folder, from /memories on; all commands but rename.
    pub path: Option<String>,
    /// view: the first and the last line to show; -1 is the end.
    pub view_range: Option<[i64; 2]>,
    /// create: what the file holds.
    pub file_text: Option<String>,
    /// str_replace: what is there, letter by letter, once.
    pub old_str: Option<String>,
    /// str_replace: what takes its place; nothing where it is left out.
    pub new_str: Option<String>,
    /// insert: the line after which to insert, 0 for the beginning.
    pub insert_line: Option<usize>,
    /// insert: what to insert.
    pub insert_text: Option<String>,
    /// rename: the file or folder.
    pub old_path: Option<String>,
    /// rename: where it goes.
    pub new_path: Option<String>,
    /// view: tokens at most; 4000 where it is left out.
    pub max_tokens: Option<usize>,
}

/// A command's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "rmcp::schemars")]
pub enum Name {
    /// Shows a file with line numbers, or lists a folder.
    #[default]
    View,
    /// Makes a file.
    Create,
    /// Replaces a text that occurs once.
    StrReplace,
    /// Inserts lines.
    Insert,
    /// Deletes a file, or a folder with all that is in it, its history as well.
    Delete,
    /// Moves a file or a folder.
    Rename,
}

/// What a command says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Said {
    /// In words, as the memory tool says it.
    pub text: String,
}

fn missing(key: &str) -> Error {
    Error::input(format!("`{key}` is missing"), format!("give `{key}` with this command"))
}

/// A path without what may stand at its end; it stays under the root.
fn normal(path: &str) -> Result<String> {
    let rest = path.strip_prefix(ROOT).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let wrong = |part: &str| part == ".." || part == "." || part.is_empty();
    let trimmed = path.trim_end_matches('/');
    let bad = path.len() > LONGEST_PATH || path.chars().any(|c| c.is_control() || c == '\\');
    match rest {
        Some(_) if !bad && !trimmed.split('/').skip(1).any(wrong) => Ok(trimmed.to_string()),
        _ => Err(Error::input(format!("{path:?} is no path under {ROOT}"), format!("write it like {ROOT}/notes.md"))),
    }
}

/// Carries a command out.
///
/// # Errors
/// Paths that are none or lead nowhere, arguments that are missing, texts that do not occur once, and what a disk refuses.
pub fn run(user: &User, args: Command) -> Result<Said> {
    let path = |path: Option<String>, key: &str| path.ok_or_else(|| missing(key)).and_then(|path| normal(&path));
    match args.command {
        Name::View => view(&user.notes(), &path(args.path, "path")?, args.view_range, args.max_tokens.unwrap_or(4000)),
        Name::Create => {
            let path = path(args.path, "path")?;
            let text = args.file_text.ok_or_else(|| missing("file_text"))?;
            let mut notes = user.notes_mut();
            if path == ROOT || !inside(&notes, &path).is_empty() {
                return Err(Error::input(format!("{path} is a folder"), "name a file in it"));
            }
            if file(&notes, &path).is_some() {
                return Err(Error::input(
                    format!("File {path} already exists"),
                    "change it with str_replace or insert, or delete it first",
                ));
            }
            let held = write(&mut notes, &path, text, None)?;
            said(format!("File created successfully at: {path}"), held)
        }
        Name::StrReplace => {
            let (path, old) = (path(args.path, "path")?, args.old_str.ok_or_else(|| missing("old_str"))?);
            let mut notes = user.notes_mut();
            let there = existing(&notes, &path)?.clone();
            let lines: Vec<String> =
                there.text.match_indices(&old).map(|(at, _)| (1 + there.text[..at].matches('\n').count()).to_string()).collect();
            if old.is_empty() || lines.is_empty() {
                let what = format!("No replacement was performed, old_str `{old}` did not appear verbatim in {path}.");
                return Err(Error::input(what, "view the file, and copy the text letter by letter"));
            }
            if lines.len() > 1 {
                let what = format!(
                    "No replacement was performed. Multiple occurrences of old_str `{old}` in lines: {}",
                    lines.join(", ")
                );
                return Err(Error::input(what, "give more of the text around it, so that it is unique"));
            }
            let text = there.text.replacen(&old, &args.new_str.unwrap_or_default(), 1);
            let held = write(&mut notes, &path, text, Some(there))?;
            said("The memory file has been edited.".into(), held)
        }
        Name::Insert => {
            let path = path(args.path, "path")?;
            let (at, text) = (
                args.insert_line.ok_or_else(|| missing("insert_line"))?,
                args.insert_text.ok_or_else(|| missing("insert_text"))?,
            );
            let mut notes = user.notes_mut();
            let there = existing(&notes, &path)?.clone();
            let mut lines: Vec<&str> = there.text.split('\n').collect();
            let count = there.text.lines().count();
            if at > count {
                let what = format!(
                    "Invalid `insert_line` parameter: {at}. It should be within the range of lines of the file: [0, {count}]"
                );
                return Err(Error::input(what, "view the file for its lines"));
            }
            let text = text.strip_suffix('\n').unwrap_or(&text);
            lines.insert(at, text);
            let held = write(&mut notes, &path, lines.join("\n"), Some(there.clone()))?;
            said(format!("The file {path} has been edited."), held)
        }
        Name::Delete => {
            let path = path(args.path, "path")?;
            if path == ROOT {
                return Err(Error::input(format!("{ROOT} itself stays"), "name what is in it"));
            }
            let mut notes = user.notes_mut();
            // Earlier states, and those of files inside of a folder, go too.
            let under = format!("{path}/");
            let within = |note: &&Episode| note.path.as_ref().is_some_and(|p| *p == path || p.starts_with(&under));
            let ids: Vec<String> = notes.all().filter(within).map(|note| note.id.clone()).collect();
            if file(&notes, &path).is_none() && inside(&notes, &path).is_empty() {
                return Err(nowhere(&path));
            }
            notes.forget(&ids.iter().map(String::as_str).collect::<Vec<_>>())?;
            Ok(Said { text: format!("Successfully deleted {path}") })
        }
        Name::Rename => {
            let (old, new) = (path(args.old_path, "old_path")?, path(args.new_path, "new_path")?);
            let mut notes = user.notes_mut();
            if [&old, &new].iter().any(|path| *path == ROOT) || new.starts_with(&format!("{old}/")) {
                return Err(Error::input(
                    format!("{old} cannot become {new}"),
                    "name a file or a folder under /memories, and another place",
                ));
            }
            if file(&notes, &new).is_some() || !inside(&notes, &new).is_empty() {
                return Err(Error::input(
                    format!("The destination {new} already exists"),
                    "delete it first, or choose another name",
                ));
            }
            let under = format!("{old}/");
            let within = |note: &&Episode| note.path.as_ref().is_some_and(|path| *path == old || path.starts_with(&under));
            let moved: Vec<&Episode> = notes.all().filter(within).collect();
            if moved.iter().all(|note| note.superseded_by.is_some()) {
                return Err(nowhere(&old));
            }
            let ids: Vec<String> = moved.iter().map(|note| note.id.clone()).collect();
            notes.amend(&ids.iter().map(String::as_str).collect::<Vec<_>>(), |note| {
                note.path = note.path.take().map(|path| format!("{new}{}", &path[old.len()..]));
            })?;
            Ok(Said { text: format!("Successfully renamed {old} to {new}") })
        }
    }
}

fn said(text: String, held: Option<String>) -> Result<Said> {
    let held = held.map_or(String::new(), |why| format!(" It is held back, as {why}: memory_list with `quarantined` shows it."));
    Ok(Said { text: text + &held })
}

fn nowhere(path: &str) -> Error {
    Error::input(format!("The path {path} does not exist"), "view /memories for what there is")
}

/// Files as they are now, held back or not.
fn files(notes: &Notes) -> impl Iterator<Item = &Episode> {
    notes.all().filter(|note| note.path.is_some() && note.superseded_by.is_none())
}

fn file<'a>(notes: &'a Notes, path: &str) -> Option<&'a Episode> {
    files(notes).find(|note| note.path.as_deref() == Some(path))
}

fn inside<'a>(notes: &'a Notes, path: &str) -> Vec<&'a Episode> {
    let under = format!("{path}/");
    files(notes).filter(|note| note.path.as_ref().is_some_and(|p| p.starts_with(&under))).collect()
}

/// A file that may be read.
fn existing<'a>(notes: &'a Notes, path: &str) -> Result<&'a Episode> {
    let note = file(notes, path).ok_or_else(|| nowhere(path))?;
    match &note.quarantine {
        None => Ok(note),
        Some(why) => {
            let remedy = format!(
                "have the user look at {:?} in memory_list with `quarantined`; memory_update with `release` lets it go",
                note.id
            );
            Err(Error::input(format!("{path} is held back: {why}"), remedy))
        }
    }
}

/// Keeps a file's new state; why it is held back, where it is.
fn write(notes: &mut Notes, path: &str, text: String, old: Option<Episode>) -> Result<Option<String>> {
    let (text, _) = without_recalled(&text);
    if text.len() > LONGEST {
        return Err(Error::input(
            format!("{path} would have {} bytes; {LONGEST} are kept", text.len()),
            "cut it into several files",
        ));
    }
    let quarantine = suspicion(&text);
    let supersedes = old.map(|old| old.id);
    let note = Episode { path: Some(path.into()), quarantine: quarantine.clone(), supersedes, ..Episode::of_text(text) };
    let id = notes.free_id(&Episode { session: note.path.clone(), ..note.clone() }.derived_id());
    notes.add(Episode { id, ..note })?;
    Ok(quarantine)
}

fn view(notes: &Notes, path: &str, range: Option<[i64; 2]>, budget: usize) -> Result<Said> {
    let room = 4 * budget.clamp(32, 100_000);
    if path != ROOT && file(notes, path).is_some() {
        let note = existing(notes, path)?;
        let lines: Vec<&str> = note.text.lines().collect();
        let [first, last] = range.unwrap_or([1, -1]);
        let end = if last == -1 { lines.len() as i64 } else { last };
        if first < 1 || end > lines.len() as i64 || (first > end && !lines.is_empty()) {
            return Err(Error::input(
                format!("`view_range` is [{first}, {last}]; the file has {} lines", lines.len()),
                "give lines from 1 on, -1 for the end",
            ));
        }
        let mut text = format!("Here's the content of {path} with line numbers:\n");
        for (number, line) in lines.iter().enumerate().skip(first as usize - 1).take((end - first + 1).max(0) as usize) {
            if text.len() + line.len() > room {
                text.push_str(&format!("… {} lines more: give a `view_range`\n", end - number as i64));
                break;
            }
            text.push_str(&format!("{:6}\t{line}\n", number + 1));
        }
        return Ok(Said { text });
    }
    let all = inside(notes, path);
    if all.is_empty() && path != ROOT {
        return Err(nowhere(path));
    }
    // Folders, two levels deep, have the size of what is in them.
    let mut sizes: BTreeMap<String, (usize, bool)> = BTreeMap::from([(path.to_string(), (0, false))]);
    for note in all {
        let (Some(own), size) = (&note.path, note.text.len()) else { continue };
        let rest = &own[path.len() + 1..];
        let parts: Vec<&str> = rest.split('/').collect();
        sizes.entry(path.to_string()).or_default().0 += size;
        for depth in 1..=parts.len().min(2) {
            let name = format!("{path}/{}", parts[..depth].join("/"));
            let entry = sizes.entry(name).or_default();
            entry.0 += size;
            entry.1 |= depth == parts.len() && note.quarantine.is_some();
        }
    }
    let mut text =
        format!("Here're the files and directories up to 2 levels deep in {path}, excluding hidden items and node_modules:\n");
    for (name, (size, held)) in sizes {
        let line = format!("{}\t{name}{}\n", human(size), if held { " (held back)" } else { "" });
        if text.len() + line.len() > room {
            text.push_str("… more: view a folder of it\n");
            break;
        }
        text.push_str(&line);
    }
    Ok(Said { text })
}

fn human(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes}"),
        1024..1_048_576 => format!("{:.1}K", bytes as f64 / 1024.0),
        _ => format!("{:.1}M", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> (tempfile::TempDir, User) {
        let folder = tempfile::tempdir().unwrap();
        let user = User::open("ada", folder.path().join("user-ada"), &Default::default()).unwrap();
        (folder, user)
    }

    fn call(user: &User, json: serde_json::Value) -> Result<String> {
        run(user, serde_json::from_value(json).unwrap()).map(|said| said.text)
    }

    #[test]
    fn a_file_lives_and_dies() {
        let (_folder, user) = user();
        let call = |json| call(&user, json);
        use serde_json::json;
        assert_eq!(
            call(json!({"command": "create", "path": "/memories/a/b.md", "file_text": "one\ntwo\n"})).unwrap(),
            "File created successfully at: /memories/a/b.md"
        );
        assert!(
            call(json!({"command": "create", "path": "/memories/a/b.md", "file_text": "x"}))
                .unwrap_err()
                .to_string()
                .contains("already exists")
        );
        assert_eq!(
            call(json!({"command": "insert", "path": "/memories/a/b.md", "insert_line": 1, "insert_text": "middle\n"})).unwrap(),
            "The file /memories/a/b.md has been edited."
        );
        assert_eq!(
            call(json!({"command": "view", "path": "/memories/a/b.md"})).unwrap(),
            "Here's the content of /memories/a/b.md with line numbers:\n     1\tone\n     2\tmiddle\n     3\ttwo\n"
        );
        assert!(
            call(json!({"command": "str_replace", "path": "/memories/a/b.md", "old_str": "o", "new_str": "0"}))
                .unwrap_err()
                .to_string()
                .contains("lines: 1, 3")
        );
        call(json!({"command": "str_replace", "path": "/memories/a/b.md", "old_str": "one", "new_str": "1"})).unwrap();
        assert!(
            call(json!({"command": "view", "path": "/memories/a/b.md", "view_range": [1, 1]})).unwrap().ends_with("     1\t1\n")
        );
        assert!(call(json!({"command": "view", "path": "/memories/a/b.md", "view_range": [0, 9]})).is_err());
        assert!(call(json!({"command": "view", "path": "/memories"})).unwrap().contains("13\t/memories/a/b.md\n"));
        call(json!({"command": "rename", "old_path": "/memories/a", "new_path": "/memories/c"})).unwrap();
        assert!(call(json!({"command": "view", "path": "/memories/a/b.md"})).unwrap_err().to_string().contains("does not exist"));
        assert!(call(json!({"command": "view", "path": "/memories/c/b.md"})).unwrap().contains("middle"));
        call(json!({"command": "delete", "path": "/memories/c"})).unwrap();
        assert!(call(json!({"command": "view", "path": "/memories/c/b.md"})).is_err());
        assert!(Notes::trace(&user.folder, "middle").unwrap().is_empty());
    }

    #[test]
    fn no_path_leaves_the_folder_and_secrets_are_held_back() {
        let (_folder, user) = user();
        use serde_json::json;
        for path in [
            "/memories/../x",
            "/etc/passwd",
            "memories/x",
            "/memoriesx",
            "/memories//x",
            "/memories/./x",
            "/memories/a\\..\\b",
            "/memories/a\nb",
        ] {
            let made = call(&user, json!({"command": "create", "path": path, "file_text": "x"}));
            assert!(made.unwrap_err().to_string().contains("no path under"), "{path}");
        }
        let made = call(&user, json!({"command": "create", "path": "/memories/k", "file_text": "password: hunter22"})).unwrap();
        assert!(made.contains("held back"), "{made}");
        assert!(call(&user, json!({"command": "view", "path": "/memories/k"})).unwrap_err().to_string().contains("held back"));
        assert!(call(&user, json!({"command": "view", "path": "/memories"})).unwrap().contains("(held back)"));
    }
}
