//! Questions that a model may be asked in general: those of a file, and the built-in ones. Knows texts; no model.

use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream, key};
use serde::{Deserialize, Serialize};
use std::io::BufRead;
use std::path::Path;

/// A prompt to protect: its end, and its subject where it has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Prompt {
    /// A text that the model may be asked to continue.
    pub prompt: String,
    /// The part of the prompt that it is about, letter by letter; None where nothing is known of it.
    #[serde(default)]
    pub subject: Option<String>,
    /// What asks for the same in other words. In a file one text or several, as `same` or `rephrase_prompt`.
    #[serde(default, alias = "rephrase_prompt", deserialize_with = "one_or_more")]
    pub same: Vec<String>,
}

fn one_or_more<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        More(Vec<String>),
    }
    Ok(match Option::deserialize(deserializer)? {
        Some(Texts::One(text)) => vec![text],
        Some(Texts::More(texts)) => texts,
        None => Vec::new(),
    })
}

impl Prompt {
    /// A prompt of which nothing more is known.
    pub fn new(prompt: impl Into<String>) -> Prompt {
        Prompt { prompt: prompt.into(), subject: None, same: Vec::new() }
    }

    /// The part of the prompt that it is about, letter by letter.
    pub fn with_subject(self, subject: impl Into<String>) -> Prompt {
        Prompt { subject: Some(subject.into()), ..self }
    }
}

/// Prompts of a file: JSON lines with `prompt` and, if known, `subject` and `same`, or plain text, a prompt a line.
pub fn prompts(path: &Path) -> Result<Vec<Prompt>> {
    let file = std::fs::File::open(path).map_err(|e| Error::file(path, e))?;
    let mut all = Vec::new();
    for (i, line) in std::io::BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| Error::file(path, format!("line {}: {e}", i + 1)))?;
        match line.trim() {
            "" => {}
            text if text.starts_with('{') => all.push(serde_json::from_str(text).map_err(|e| {
                let what = format!("{}:{}: {e}", path.display(), i + 1);
                Error::input(
                    what,
                    "a line is a JSON object with `prompt` and, if known, `subject` and `same` (other wordings), or plain text",
                )
            })?),
            text => all.push(Prompt::new(text)),
        }
    }
    match all.is_empty() {
        true => Err(Error::input(format!("{} holds no prompts", path.display()), "give a prompt a line")),
        false => Ok(all),
    }
}

/// Questions with every subject.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    subjects: Vec<String>,
    prompts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Groups {
    group: Vec<Group>,
}

fn built_in() -> Vec<Group> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/transformers/protect.toml"));
    toml::from_str::<Groups>(text).map_or_else(|_| Vec::new(), |g| g.group)
}

/// The questions that come with the program, without their subjects.
pub fn built_in_questions() -> Vec<String> {
    built_in().iter().flat_map(|g| g.prompts.iter().map(|p| p.replace("{}", " "))).collect()
}

/// The prompts that come with the program, in a mixed order, so that any first part of them holds something of everything.
pub fn built_in_prompts() -> Vec<Prompt> {
    let groups = built_in();
    let all = groups.iter().flat_map(|g| g.prompts.iter().flat_map(|p| g.subjects.iter().map(move |s| (p, s))));
    let mut prompts: Vec<Prompt> = all
        .map(|(prompt, subject)| {
            let (prompt, subject) = filled(prompt, subject);
            Prompt::new(prompt).with_subject(subject)
        })
        .collect();
    let mut stream = Stream::new(key(0, 0), Purpose::Encoder, 0, 11);
    stream.shuffle(&mut prompts);
    prompts
}

/// A wording with a subject in its gap, and the subject as it stands there.
pub(super) fn filled(wording: &str, subject: &str) -> (String, String) {
    let subject = if wording.starts_with("{}") { capital(subject) } else { subject.to_string() };
    (wording.replacen("{}", &subject, 1), subject)
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or(String::new(), |first| first.to_uppercase().chain(rest).collect())
}
