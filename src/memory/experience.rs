//! One experience: what a model was asked, what it answered, and how that turned out, with the rules that every one keeps.
//! Knows neither files nor models; `super::lines` reads the JSONL form.

use crate::error::Error;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// What was asked, what was answered, how it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experience {
    /// Unique in a memory.
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The context that was acted in.
    pub prompt: String,
    /// The action: what should follow the prompt (or, after a failure, should not).
    pub answer: String,
    pub outcome: Outcome,
    /// What the fact is about: a part of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened, as written (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The `id` of an experience whose place this one takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
}

/// How an experience turned out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Success,
    Failure,
    /// From -1 to 1.
    #[serde(untagged)]
    Reward(f64),
}

impl Outcome {
    /// 1 for success, -1 for failure, else the number.
    pub fn reward(self) -> f64 {
        match self {
            Outcome::Success => 1.0,
            Outcome::Failure => -1.0,
            Outcome::Reward(reward) => reward,
        }
    }
}

/// What breaks a rule in an experience.
#[derive(Clone, Debug, PartialEq)]
pub struct Flaw {
    /// The JSONL key that holds it.
    pub key: &'static str,
    pub message: String,
    pub remedy: String,
}

impl Flaw {
    fn new(key: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Flaw {
        Flaw { key, message: message.into(), remedy: remedy.into() }
    }

    /// As an error about the experience of this id.
    pub fn of(self, id: &str) -> Error {
        Error::input(format!("experience {id:?}: {}", self.message), self.remedy)
    }
}

/// Characters in an id at most.
pub const LONGEST_ID: usize = 200;

impl Experience {
    /// What can be said in any case; the rest is left out.
    pub fn new(id: &str, prompt: &str, answer: &str, outcome: Outcome) -> Experience {
        let (id, prompt, answer) = (id.into(), prompt.into(), answer.into());
        Experience { id, user: None, prompt, answer, outcome, subject: None, time: None, tags: Vec::new(), supersedes: None }
    }

    /// The id of an experience that came without one: 12 hex digits of the MD5 of user, prompt and answer.
    pub fn derived_id(user: Option<&str>, prompt: &str, answer: &str) -> String {
        let digest = Md5::digest([user.unwrap_or(""), prompt, answer].join("\0"));
        digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first rule that is broken: no text is empty, the id can be printed on one line, the reward is within -1 to 1, the
    /// subject is a part of the prompt, the time is RFC 3339, and nothing supersedes itself.
    pub fn flaw(&self) -> Option<Flaw> {
        let id_rule = format!("use up to {LONGEST_ID} characters on one line, or leave `id` out");
        let empty = |text: &Option<String>| text.as_ref().is_some_and(|t| t.trim().is_empty());
        let flaw = if self.id.trim().is_empty() {
            Flaw::new("id", "`id` is empty", id_rule)
        } else if self.id.chars().count() > LONGEST_ID || self.id.chars().any(char::is_control) {
            Flaw::new("id", "`id` is too long or holds control characters", id_rule)
        } else if empty(&self.user) {
            Flaw::new("user", "`user` is empty", "name the user, or leave `user` out")
        } else if self.prompt.trim().is_empty() {
            Flaw::new("prompt", "`prompt` is empty", "write the text that the answer follows")
        } else if self.answer.trim().is_empty() {
            Flaw::new("answer", "`answer` is empty", "write what followed the prompt")
        } else if !(-1.0..=1.0).contains(&self.outcome.reward()) {
            let message = format!("`outcome` is {}, outside of -1 to 1", self.outcome.reward());
            Flaw::new("outcome", message, OUTCOME_RULE)
        } else if empty(&self.subject) {
            Flaw::new("subject", "`subject` is empty", "copy a part of the prompt, or leave `subject` out")
        } else if let Some(subject) = self.subject.as_ref().filter(|s| !self.prompt.contains(s.as_str())) {
            Flaw::new(
                "subject",
                format!("`subject` {subject:?} is not a part of the prompt"),
                "copy it from the prompt, letter by letter",
            )
        } else if let Some(time) = self.time.as_ref().filter(|t| !is_rfc3339(t)) {
            Flaw::new("time", format!("`time` {time:?} is not a date and time of RFC 3339"), "write it like 2026-03-09T17:05:00Z")
        } else if self.tags.iter().any(|tag| tag.trim().is_empty()) {
            Flaw::new("tags", "a tag is empty", "take it out of `tags`")
        } else if empty(&self.supersedes) {
            Flaw::new("supersedes", "`supersedes` is empty", "name the id whose place it takes, or leave `supersedes` out")
        } else if self.supersedes.as_ref() == Some(&self.id) {
            Flaw::new("supersedes", "an experience cannot supersede itself", "name another id, or leave `supersedes` out")
        } else {
            return None;
        };
        Some(flaw)
    }
}

/// The remedy for every outcome that is none.
pub(super) const OUTCOME_RULE: &str = "write \"success\", \"failure\" or a number from -1 to 1";

/// Whether a text is a date and time of RFC 3339, with a day that the calendar has: `2026-03-09T17:05:00.25+01:00`.
fn is_rfc3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let form = b"dddd-dd-ddTdd:dd:dd";
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        other => byte == other,
    };
    if bytes.len() <= form.len() || !bytes.iter().zip(form).all(fits) {
        return false;
    }
    let number = |at: usize, digits: usize| bytes[at..at + digits].iter().fold(0, |n, b| 10 * n + u32::from(b - b'0'));
    let (year, month, day) = (number(0, 4), number(5, 2), number(8, 2));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    let clock = number(11, 2) <= 23 && number(14, 2) <= 59 && number(17, 2) <= 60;
    let mut rest = &bytes[form.len()..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    let zone = match rest {
        b"Z" | b"z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) && [*h1, *h2] <= *b"23" && [*m1, *m2] <= *b"59"
        }
        _ => false,
    };
    (1..=days).contains(&day) && clock && zone
}

/// This moment as RFC 3339, in seconds of UTC: `2026-03-09T17:05:00Z`.
pub fn now() -> String {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    rfc3339(since_1970.map_or(0, |d| d.as_secs()))
}

fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years start in March here, so that a leap day is the last of its year; 719,468 days before 1970 the year 0 did.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (400 * era + year, month + 3) } else { (400 * era + year + 1, month - 9) };
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_the_date_that_date_u_prints() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_773_075_900, "2026-03-09T17:05:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
        assert!(is_rfc3339(&now()));
    }

    #[test]
    fn times_are_those_of_rfc_3339() {
        for good in [
            "2026-03-09T17:05:00Z",
            "2024-02-29t00:00:00z",
            "2000-02-29 23:59:60.5Z",
            "1985-04-12T23:20:50.52+23:59",
            "0000-01-01T00:00:00-00:00",
        ] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "",
            "2026-03-09",
            "2026-03-09T17:05:00",
            "2026-3-9T17:05:00Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-04-00T00:00:00Z",
            "2026-03-09T24:00:00Z",
            "2026-03-09T17:60:00Z",
            "2026-03-09T17:05:61Z",
            "2026-03-09T17:05:00.Z",
            "2026-03-09T17:05:00+0100",
            "2026-03-09T17:05:00+24:00",
            "2026-03-09T17:05:00Zulu",
            "２026-03-09T17:05:00Z",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }

    #[test]
    fn a_derived_id_depends_on_user_prompt_and_answer() {
        // printf 'ada\0The capital is\0 Rome' | md5sum
        assert_eq!(Experience::derived_id(Some("ada"), "The capital is", " Rome"), "9d4696e00d2a");
        assert_ne!(Experience::derived_id(None, "a", "bc"), Experience::derived_id(None, "ab", "c"));
    }
}
