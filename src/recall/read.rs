//! Experiences from text: JSONL, chats (a JSON list of messages, or lines of `Name: text`), and plain notes, one a paragraph or line.
//! Promises that a file is read whole or refused with file, line and remedy.

use super::episode::{Episode, LONGEST};
use crate::error::{Error, Place, Result, nearest};
use serde_json::Value;
use std::sync::Arc;

const KEYS: [&str; 13] =
    ["id", "text", "user", "speaker", "session", "time", "tags", "outcome", "supersedes", "until", "pinned", "role", "content"];
/// Characters of a speaker's name before the colon at most.
const NAME: usize = 32;

/// The experiences that a file holds, in their order. `session` is what those are a part of that do not say so themselves: of chats and
/// notes that follow each other.
///
/// # Errors
/// Bytes that are no UTF-8, lines that are no experience, and experiences that break a rule.
pub fn read(bytes: &[u8], file: &str, session: Option<&str>) -> Result<Vec<Episode>> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let at = e.valid_up_to();
        let line = 1 + bytes[..at].iter().filter(|b| **b == b'\n').count();
        let what = format!("{file}:{line}: byte {at} is not UTF-8: this is no text");
        Error::input(what, "save it as UTF-8; say in words what a picture or recording shows")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.trim_start().chars().next() {
        Some('{') => lines(text, file),
        Some('[') if serde_json::from_str::<Vec<Value>>(text).is_ok() => messages(text, file, session),
        _ => notes(text, file, session),
    }
}

fn place(text: &str, file: &str, span: std::ops::Range<usize>) -> Place {
    // Of a long file the line alone is shown.
    Place { file: file.into(), text: Arc::from(text), span }
}

fn lines(text: &str, file: &str) -> Result<Vec<Episode>> {
    let mut all = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let (start, body) = (at, line.trim());
        at += line.len();
        if body.is_empty() {
            continue;
        }
        let span = start..start + line.trim_end().len();
        let wrong = |what: String, remedy: String| Error::at(place(text, file, span.clone()), what, remedy);
        let object: Value = serde_json::from_str(body)
            .map_err(|e| wrong(format!("the line is no JSON: {e}"), "write an object a line: {\"text\": \"…\"}".into()))?;
        all.push(of_json(&object).map_err(|(what, remedy)| wrong(what, remedy))?);
    }
    Ok(all)
}

/// What a JSON object says.
fn of_json(object: &Value) -> Result<Episode, (String, String)> {
    let flaw = |what: &str, remedy: &str| (what.to_string(), remedy.to_string());
    let Some(object) = object.as_object() else {
        return Err(flaw("it is no JSON object", "write it like {\"text\": \"…\"}"));
    };
    if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let near = nearest(key, KEYS);
        let remedy = near.map_or_else(|| format!("the keys are {}", KEYS.join(", ")), |near| format!("did you mean `{near}`?"));
        return Err((format!("unknown key `{key}`"), remedy));
    }
    let text = |key: &str| match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err((format!("`{key}` is not a text"), "put it in double quotes".to_string())),
    };
    let tags = match object.get("tags") {
        None | Some(Value::Null) => Vec::new(),
        Some(tags) => serde_json::from_value(tags.clone())
            .map_err(|_| flaw("`tags` is not a list of texts", "write it like [\"travel\", \"2026\"]"))?,
    };
    let outcome = match object.get("outcome") {
        None | Some(Value::Null) => None,
        Some(Value::String(word)) if word == "success" => Some(1.0),
        Some(Value::String(word)) if word == "failure" => Some(-1.0),
        Some(Value::Number(n)) => n.as_f64(),
        Some(_) => return Err(flaw("`outcome` is none", "write \"success\", \"failure\", or a number from -1 to 1")),
    };
    let pinned = match object.get("pinned") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(pinned)) => *pinned,
        Some(_) => return Err(flaw("`pinned` is neither true nor false", "write true or false")),
    };
    let said = text("text")?.or(text("content")?);
    let episode = Episode {
        id: text("id")?.unwrap_or_default(),
        text: said.ok_or_else(|| flaw("`text` is missing", "say what happened: {\"text\": \"…\"}"))?,
        user: text("user")?,
        speaker: text("speaker")?.or(text("role")?),
        session: text("session")?,
        time: text("time")?,
        tags,
        outcome,
        supersedes: text("supersedes")?,
        until: text("until")?,
        pinned,
        ..Episode::default()
    };
    episode.check().map_err(|e| match &e {
        Error::Input(fault) => (fault.message.clone(), fault.remedy.clone().unwrap_or_default()),
        other => (other.to_string(), String::new()),
    })?;
    Ok(episode)
}

fn messages(text: &str, file: &str, session: Option<&str>) -> Result<Vec<Episode>> {
    let list: Vec<Value> = serde_json::from_str(text).map_err(|e| Error::file(file, e))?;
    let mut all = Vec::new();
    for (i, message) in list.iter().enumerate() {
        let empty = message.get("content").is_some_and(|c| c.is_null() || c.as_str().is_some_and(|c| c.trim().is_empty()));
        if empty {
            continue;
        }
        let mut episode =
            of_json(message).map_err(|(what, remedy)| Error::input(format!("{file}: message {}: {what}", i + 1), remedy))?;
        episode.session = episode.session.or(session.map(String::from));
        all.push(episode);
    }
    Ok(all)
}

/// The speaker of a line like `Ann: I lost my keys`, and what is said.
fn spoken(line: &str) -> Option<(&str, &str)> {
    let (name, said) = line.split_once(": ")?;
    let plain = |c: char| c.is_alphanumeric() || " .'-_".contains(c);
    let is_name = name.chars().count() <= NAME && name.chars().all(plain) && name.chars().next().is_some_and(char::is_alphabetic);
    (is_name && !said.trim().is_empty()).then_some((name, said.trim()))
}

fn notes(text: &str, file: &str, session: Option<&str>) -> Result<Vec<Episode>> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let spoken_lines = lines.iter().filter(|line| spoken(line).is_some()).count();
    let of = |text: &str, speaker: Option<&str>| Episode {
        speaker: speaker.map(String::from),
        session: session.map(String::from),
        ..Episode::of_text(text.trim())
    };
    let mut all: Vec<Episode> = Vec::new();
    // Four lines of five are spoken: a chat. Other lines go on with what was said before them.
    if lines.len() > 1 && 5 * spoken_lines >= 4 * lines.len() {
        for line in lines {
            match (spoken(line), all.last_mut()) {
                (Some((name, said)), _) => all.push(of(said, Some(name))),
                (None, Some(last)) => last.text = format!("{}\n{}", last.text, line.trim()),
                (None, None) => all.push(of(line, None)),
            }
        }
    } else {
        let unified = text.replace("\r\n", "\n");
        let paragraphs: Vec<&str> = unified.split("\n\n").filter(|p| !p.trim().is_empty()).collect();
        match paragraphs.len() {
            0 | 1 => all.extend(lines.iter().map(|line| of(line, None))),
            _ => all.extend(paragraphs.iter().map(|p| of(p, None))),
        }
    }
    for (i, episode) in all.iter().enumerate() {
        let shown: String = episode.text.chars().take(40).collect();
        episode.check().map_err(|e| {
            let remedy = match episode.text.len() > LONGEST {
                true => "cut it by blank lines",
                false => "take it out, or write it as text",
            };
            Error::input(format!("{file}: note {} ({shown:?}…): {e}", i + 1), remedy)
        })?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        read(text.as_bytes(), "f", Some("s")).unwrap().iter().map(Episode::said).collect()
    }

    #[test]
    fn jsonl_chats_and_notes() {
        assert_eq!(
            texts("{\"text\": \"a\", \"speaker\": \"Ann\"}\n\n{\"text\": \"b\", \"outcome\": \"success\"}"),
            ["Ann: a", "b"]
        );
        assert_eq!(
            texts("[{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", \"content\": null}]"),
            ["user: hi"]
        );
        assert_eq!(texts("Ann: hi there\nBob: hello\n  and more\nAnn: x\nBob: y\nAnn: z").len(), 5);
        assert_eq!(texts("one\ntwo\nthree"), ["one", "two", "three"]);
        assert_eq!(texts("one\ntwo\n\n\nthree\r\n\r\nfour: 4"), ["one\ntwo", "three", "four: 4"]);
        assert_eq!(texts("[not json"), ["[not json"]);
        assert!(texts(" \n ").is_empty());
    }

    #[test]
    fn what_is_no_experience_is_refused_by_its_line() {
        let message = |bytes: &[u8]| {
            let error = read(bytes, "notes.txt", None).unwrap_err();
            assert!(error.remedy().is_some_and(|r| !r.is_empty()), "{error}");
            error.to_string()
        };
        assert!(message(b"a\n\xff\xfe").contains("notes.txt:2"));
        assert!(message(b"{\"text\": \"a\"}\n{\"txt\": \"b\"}").contains("notes.txt:2:1: unknown key `txt`"));
        assert!(message(b"{\"text\": \"a\"}\nb").contains("notes.txt:2:1"));
        assert!(message(b"{\"text\": \" \"}").contains("empty"));
        assert!(message(b"{\"text\": \"a\", \"time\": \"soon\"}").contains("`time`"));
        assert!(message(b"a\0b").contains("NUL"));
        assert!(message(&vec![b'x'; LONGEST + 1]).contains("bytes"));
    }
}
