//! One experience to be recalled, in words: what was said or seen, by whom, when, how it turned out, and what is known of it since; and what
//! a question may be limited to. Plain data with its rules, the one record of all that a memory is told; knows neither codes nor files.

use crate::error::{Error, Result};
use crate::transformer::chat::Message;
pub use jiff::Timestamp;
use jiff::civil;
use jiff::tz::Offset;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// Bytes of a text at most: about 250,000 tokens.
pub const LONGEST: usize = 1 << 20;
/// Words of a piece of a longer text, and those that it shares with the piece before it.
const PIECE: usize = 160;
const OVERLAP: usize = 24;

/// An experience.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Episode {
    /// Unique in a memory; made of the rest where it is empty.
    pub id: String,
    /// What was said, seen or done.
    pub text: String,
    /// Whose experience it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Who said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// What it is a part of: experiences of one session are linked in the order in which they arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// When it happened: RFC 3339, or a date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// When the memory was told, RFC 3339; written when it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
    /// Words to limit a question to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// How it turned out, from -1 (failure) to 1 (success).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<f64>,
    /// `id` of the experience whose place it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
    /// `id` of the experience that took its place: from then on it is history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// Until when it holds (RFC 3339, or a date); afterwards it is history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Whether it never fades.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// What was asked and answered, where a model may learn from it; `text` says the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<Act>,
    /// Where it lies among the files of an agent, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why it is held back: until it is released it is listed, and neither recalled nor learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
}

/// What was asked, what was answered, and what a model's weights made of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Act {
    /// The text that the answer followed; empty where there are messages.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// The conversation that the answer followed; empty where there is a prompt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// What was said or done.
    pub answer: String,
    /// What it is about, as the prompt has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What became of it in the weights; None while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned: Option<String>,
}

/// What a question is limited to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Experiences of this user alone; those that name no user are nobody's and stay out.
    pub user: Option<String>,
    /// Of this session.
    pub session: Option<String>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// That happened, or else were told, at this time or later; those without a time stay out.
    pub since: Option<Timestamp>,
    /// That happened, or else were told, before this time; those without a time stay out.
    pub until: Option<Timestamp>,
    /// That turned out at least so well; those without an outcome stay out.
    pub outcome: Option<f64>,
    /// Whether what was superseded or no longer holds is asked for as well.
    pub history: bool,
}

/// The moment of a time as written: RFC 3339, or a date (its first moment, UTC).
pub fn instant(time: &str) -> Option<Timestamp> {
    let time = time.trim();
    let here = |civil: civil::DateTime| Offset::UTC.to_timestamp(civil).ok();
    let date = || time.parse::<civil::Date>().ok().and_then(|date| here(date.at(0, 0, 0, 0)));
    time.parse::<Timestamp>().ok().or_else(|| time.parse().ok().and_then(here)).or_else(date)
}

impl Episode {
    /// A text, and nothing else about it.
    pub fn of_text(text: impl Into<String>) -> Episode {
        Episode { text: text.into(), ..Episode::default() }
    }

    /// The id of an experience that came without one: 12 hex digits of the MD5 of who said what, when and where, as a JSON list.
    pub fn derived_id(&self) -> String {
        let what = serde_json::json!([self.user, self.speaker, self.session, self.time, self.text]);
        Md5::digest(what.to_string()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    /// What breaks a rule in it, with a remedy.
    ///
    /// # Errors
    /// No text (but of a file), one that is too long or is no text, an id that cannot be used, a time that is none, an empty tag, an
    /// outcome beyond -1 to 1.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String, remedy: &str| {
            let name = if self.id.is_empty() { String::new() } else { format!("experience {:?}: ", self.id) };
            Err(Error::input(format!("{name}{what}"), remedy))
        };
        if self.text.trim().is_empty() && self.path.is_none() {
            return wrong("its text is empty".into(), "say what happened, or leave it out");
        }
        if self.text.len() > LONGEST {
            let what = format!("its text has {} bytes; {LONGEST} are taken", self.text.len());
            return wrong(what, "cut it into parts of one session; a file of plain notes is cut at its blank lines");
        }
        if self.text.contains('\0') {
            return wrong("its text has NUL characters: it is no text".into(), "give what it says in words");
        }
        if self.id.chars().count() > 200 || self.id.chars().any(char::is_control) {
            return wrong("its id is longer than 200 characters or has control characters".into(), "give it a shorter one");
        }
        if !self.id.is_empty() && self.id.trim().is_empty() {
            return wrong("its id is made of spaces".into(), "give it another one, or leave `id` out");
        }
        if self.tags.iter().any(|tag| tag.trim().is_empty()) {
            return wrong("a tag is empty".into(), "take it out of `tags`");
        }
        for (key, time) in [("time", &self.time), ("until", &self.until)] {
            if time.as_deref().is_some_and(|time| instant(time).is_none()) {
                let what = format!("`{key}` is {:?}", time.as_deref().unwrap_or(""));
                return wrong(what, "write it like 2026-05-03T18:30:00Z, or 2026-05-03");
            }
        }
        if self.outcome.is_some_and(|outcome| !(-1.0..=1.0).contains(&outcome)) {
            return wrong(format!("`outcome` is {}", self.outcome.unwrap_or(f64::NAN)), "give a number from -1 to 1");
        }
        if self.supersedes.as_ref().is_some_and(|old| *old == self.id && !old.is_empty()) {
            return wrong("it cannot supersede itself".into(), "name the experience whose place it takes");
        }
        Ok(())
    }

    /// What is coded: who said it, and the text.
    pub fn said(&self) -> String {
        match &self.speaker {
            Some(speaker) => format!("{speaker}: {}", self.text),
            None => self.text.clone(),
        }
    }

    /// The same in overlapping pieces, each with its speaker; one where the text is short.
    pub fn pieces(&self) -> Vec<String> {
        let mut starts: Vec<usize> = Vec::new();
        let mut before = true;
        for (at, c) in self.text.char_indices() {
            // A script without spaces, and what is all one word, is cut as well.
            let far = starts.last().is_some_and(|start| at - start >= 24);
            if (before && !c.is_whitespace()) || (far && !c.is_whitespace()) {
                starts.push(at);
            }
            before = c.is_whitespace();
        }
        if starts.len() <= PIECE + OVERLAP {
            return vec![self.said()];
        }
        let mut pieces = Vec::new();
        let mut first = 0;
        loop {
            let last = starts.len().min(first + PIECE);
            let end = starts.get(last).copied().unwrap_or(self.text.len());
            let part = Episode {
                text: self.text[starts[first]..end].trim().into(),
                speaker: self.speaker.clone(),
                ..Episode::default()
            };
            pieces.push(part.said());
            if last == starts.len() {
                return pieces;
            }
            first = last - OVERLAP;
        }
    }

    /// When it happened, or else when the memory was told, as far as is known.
    pub fn instant(&self) -> Option<Timestamp> {
        self.time.as_deref().or(self.told.as_deref()).and_then(instant)
    }

    /// Whether it is history at a time: superseded, or beyond its validity.
    pub fn is_history(&self, now: Timestamp) -> bool {
        self.superseded_by.is_some() || self.until.as_deref().and_then(instant).is_some_and(|until| until <= now)
    }

    /// Whether it is in force at a time: neither held back nor history.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.quarantine.is_none() && !self.is_history(now)
    }
}

impl Filter {
    /// Whether an experience is asked for.
    pub fn allows(&self, episode: &Episode, now: Timestamp) -> bool {
        let happened = || episode.instant();
        self.user.as_ref().is_none_or(|user| episode.user.as_ref() == Some(user))
            && self.session.as_ref().is_none_or(|session| episode.session.as_ref() == Some(session))
            && self.tags.iter().all(|tag| episode.tags.contains(tag))
            && self.since.is_none_or(|since| happened().is_some_and(|t| t >= since))
            && self.until.is_none_or(|until| happened().is_some_and(|t| t < until))
            && self.outcome.is_none_or(|least| episode.outcome.is_some_and(|o| o >= least))
            && episode.quarantine.is_none()
            && (self.history || !episode.is_history(now))
    }

    /// Whether it allows everything that is in force.
    pub fn is_open(&self) -> bool {
        *self == Filter::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_overlap_and_lose_nothing() {
        let words: Vec<String> = (0..1000).map(|i| format!("w{i}")).collect();
        let episode = Episode { speaker: Some("Ann".into()), ..Episode::of_text(words.join(" ")) };
        let pieces = episode.pieces();
        assert!(pieces.len() == 8 && pieces.iter().all(|p| p.starts_with("Ann: w")), "{}", pieces.len());
        assert!(words.iter().all(|w| pieces.iter().any(|p| p.split(' ').any(|word| word == w))));
        assert!(pieces[0].ends_with("w159") && pieces[1].starts_with("Ann: w136 "));
        assert_eq!(Episode::of_text("short").pieces(), ["short"]);
        // Without spaces, of characters of several bytes.
        let long = Episode::of_text("語".repeat(5000)).pieces();
        assert!(long.len() > 3 && long.iter().all(|p| p.len() <= 160 * 27));
    }

    #[test]
    fn rules_and_times() {
        let of = |text: &str| Episode::of_text(text);
        assert!(of("x").check().is_ok());
        for wrong in [
            of(" \n"),
            of(&"x".repeat(LONGEST + 1)),
            of("a\0b"),
            Episode { time: Some("yesterday".into()), ..of("x") },
            Episode { outcome: Some(1.5), ..of("x") },
            Episode { outcome: Some(f64::NAN), ..of("x") },
            Episode { id: "  ".into(), ..of("x") },
            Episode { tags: vec![" ".into()], ..of("x") },
        ] {
            assert!(wrong.check().unwrap_err().remedy().is_some());
        }
        assert!(Episode { path: Some("/memories/empty".into()), ..of("") }.check().is_ok());
        assert_eq!(instant("2026-05-03"), instant("2026-05-03T00:00:00Z"));
        assert_eq!(instant("2026-05-03T02:00:00+02:00"), instant("2026-05-03"));
        assert!(instant("2026-05-03T10:00:00").is_some() && instant("3 May").is_none());
        let now = instant("2026-01-01").unwrap();
        let ended = Episode { until: Some("2025-12-31".into()), ..of("x") };
        let history = Filter { history: true, ..Filter::default() };
        assert!(!Filter::default().allows(&ended, now) && history.allows(&ended, now));
        let held = Episode { quarantine: Some("a key".into()), ..of("x") };
        assert!(!held.holds(now) && !Filter::default().allows(&held, now) && !history.allows(&held, now));
    }
}
