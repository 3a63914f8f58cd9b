//! One thing that an agent keeps for a user: a note, an experience (prompt, answer, outcome), or a file of the virtual /memories folder,
//! with its rules. Plain data; knows no folder.

use crate::error::{Error, Result};
use crate::memory::experience::{Experience, instant};
use jiff::Timestamp;
use md5::{Digest, Md5};
use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes of a text at most.
pub const LONGEST: usize = 1 << 20;
/// Characters of an id at most.
const LONGEST_ID: usize = 200;

/// What is kept of one note, as a line of the log has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// Unique in a memory.
    pub id: String,
    /// What is to be remembered; of an experience empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What was asked and answered, where it is an experience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experience: Option<Experience>,
    /// Where it lies under /memories, where it is a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Who said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// The conversation it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// When it happened, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// When the memory was told, RFC 3339.
    pub told: String,
    /// Until when it holds, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// How acting on it turned out, from -1 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<f64>,
    /// `id` of the note whose place it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
    /// `id` of the note that took its place; from then on it is history. Made from `supersedes`, never kept.
    #[serde(skip)]
    pub superseded_by: Option<String>,
    /// It is always part of the table.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// Why it is held back: until a user releases it, it is only listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
    /// Of an experience: what became of it in the weights; None while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned: Option<String>,
    /// Nothing but its id and time is left.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
}

/// How an experience turned out, as tools are told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(crate = "rmcp::schemars")]
pub enum Reward {
    /// `success` (1) or `failure` (-1).
    Word(Word),
    /// From -1 to 1.
    Number(f64),
}

/// An outcome in a word.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "rmcp::schemars")]
pub enum Word {
    /// It was right.
    Success,
    /// It was wrong.
    Failure,
}

impl Reward {
    /// From -1 to 1.
    ///
    /// # Errors
    /// A number outside.
    pub fn value(self) -> Result<f64> {
        match self {
            Reward::Word(Word::Success) => Ok(1.0),
            Reward::Word(Word::Failure) => Ok(-1.0),
            Reward::Number(number) if (-1.0..=1.0).contains(&number) => Ok(number),
            Reward::Number(number) => {
                Err(Error::input(format!("an outcome of {number}"), "give \"success\", \"failure\" or a number from -1 to 1"))
            }
        }
    }
}

impl Note {
    /// Everything that it says, as it is searched and shown.
    pub fn said(&self) -> String {
        match (&self.experience, &self.speaker) {
            (Some(e), _) => format!("{} {}", e.asked().trim_end(), e.answer.trim()),
            (None, Some(speaker)) => format!("{speaker}: {}", self.text),
            (None, None) => self.text.clone(),
        }
    }

    /// The id of a note that came without one: 12 hex digits of the MD5 of who said what, when and where, as a JSON list; an
    /// experience's own.
    pub fn derived_id(&self) -> String {
        if let Some(e) = &self.experience {
            return e.derived_id();
        }
        let what = serde_json::json!([self.speaker, self.session, self.time, self.text]);
        Md5::digest(what.to_string()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first rule that is broken, with a remedy.
    ///
    /// # Errors
    /// No text, one that is too long or holds NUL, an id or a tag that cannot be used, a time that is none, an outcome outside -1 to 1.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String, remedy: &str| Err(Error::input(what, remedy));
        if let Some(flaw) = self.experience.as_ref().and_then(Experience::flaw) {
            return wrong(flaw.message, &flaw.remedy);
        }
        let said = self.said();
        if said.trim().is_empty() && self.path.is_none() {
            return wrong("`text` is empty".into(), "say what is to be remembered, or give `prompt` and `answer`");
        }
        if said.len() > LONGEST {
            return wrong(format!("it has {} bytes; {LONGEST} are kept", said.len()), "cut it into parts");
        }
        if said.contains('\0') {
            return wrong("it holds NUL characters: it is no text".into(), "give what it says in words");
        }
        if self.id.trim().is_empty() || self.id.chars().count() > LONGEST_ID || self.id.chars().any(char::is_control) {
            return wrong(
                format!("`id` is empty, longer than {LONGEST_ID} characters, or has control characters"),
                "leave it out",
            );
        }
        for (key, time) in [("time", &self.time), ("until", &self.until)] {
            if let Some(time) = time.as_ref().filter(|t| instant(t).is_none()) {
                return wrong(format!("`{key}` is {time:?}"), "write it like 2026-03-09T17:05:00Z");
            }
        }
        if self.tags.iter().any(|tag| tag.trim().is_empty()) {
            return wrong("a tag is empty".into(), "take it out of `tags`");
        }
        if self.outcome.is_some_and(|o| !(-1.0..=1.0).contains(&o)) {
            return wrong("`outcome` is outside of -1 to 1".into(), "give a number from -1 to 1");
        }
        Ok(())
    }

    /// When it happened, as far as is known.
    pub fn instant(&self) -> Option<Timestamp> {
        self.time.as_deref().or(Some(&self.told)).and_then(instant)
    }

    /// Whether it holds now: neither forgotten nor superseded nor past its time nor held back.
    pub fn holds(&self, now: Timestamp) -> bool {
        let over = self.until.as_deref().and_then(instant).is_some_and(|until| until <= now);
        !self.forgotten && self.superseded_by.is_none() && self.quarantine.is_none() && !over
    }

    /// Whether it is an experience that the weights wait for.
    pub fn waits(&self) -> bool {
        let holds = self.superseded_by.is_none() && self.quarantine.is_none() && !self.forgotten;
        holds && self.experience.is_some() && self.learned.is_none()
    }

    /// Tokens of a text, about: a quarter of its bytes.
    pub fn tokens(text: &str) -> usize {
        text.len().div_ceil(4)
    }
}
