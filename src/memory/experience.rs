//! One experience: what a model was asked, what it answered, and how that turned out, with the rules that every one keeps.
//! Knows neither files nor models; `super::jsonl` reads the JSONL form, `super::exchange` makes tokens of it, and what is recalled of it is
//! an episode.

use crate::error::Error;
use crate::recall::{Act, Episode};
use crate::transformer::chat::Message;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What was asked, what was answered, how it went. [`Experience::new`] and [`Experience::of_messages`] make one, the functions that
/// begin with `with_` say more about it; [`super::jsonl::Lines`] reads them from files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Experience {
    /// Unique in a memory.
    pub id: String,
    /// Whose experience it is; None where nobody says. A memory belongs to the first user that it meets and refuses others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The context that was acted in, as a text; empty where there are messages.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// The context that was acted in, as a conversation up to the assistant's turn; empty where there is a prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// The tools that the conversation could use: a list, as the model's chat template expects it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Value>,
    /// The action: what should follow the prompt (or, after a failure, should not).
    pub answer: String,
    /// How prompt and answer are put together.
    #[serde(default, skip_serializing_if = "Join::is_auto")]
    pub join: Join,
    /// Whether the answer was right, and how much that matters.
    pub outcome: Outcome,
    /// What the fact is about: a part of the prompt, or of what a message says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened, as written (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Words of the program that keeps it: stored and exported, without effect on what is learned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The `id` of an experience whose place this one takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
}

/// How an answer follows its prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Join {
    /// With a space where running text has one.
    #[default]
    Auto,
    /// Just as both are given.
    None,
}

impl Join {
    fn is_auto(&self) -> bool {
        *self == Join::Auto
    }
}

/// How an experience turned out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The answer was right: reward 1.
    Success,
    /// The answer was wrong: reward -1.
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
    /// What is wrong, without the experience's id.
    pub message: String,
    /// What to change.
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
    /// A text that `answer` followed. An empty `id` is to be replaced, by one of the program's own or by
    /// [`Experience::derived_id`]. Whether all rules are kept is told by [`Experience::flaw`].
    pub fn new(id: &str, prompt: &str, answer: &str, outcome: Outcome) -> Experience {
        Experience {
            id: id.into(),
            user: None,
            prompt: prompt.into(),
            messages: Vec::new(),
            tools: None,
            answer: answer.into(),
            join: Join::Auto,
            outcome,
            subject: None,
            time: None,
            tags: Vec::new(),
            supersedes: None,
        }
    }

    /// A conversation that `answer` followed, as the assistant's turn.
    pub fn of_messages(id: &str, messages: Vec<Message>, answer: &str, outcome: Outcome) -> Experience {
        Experience { messages, ..Experience::new(id, "", answer, outcome) }
    }

    /// The tools that the conversation could use; see [`Experience::tools`].
    pub fn with_tools(self, tools: Value) -> Experience {
        Experience { tools: Some(tools), ..self }
    }

    /// Whose experience it is.
    pub fn with_user(self, user: impl Into<String>) -> Experience {
        Experience { user: Some(user.into()), ..self }
    }

    /// What it is about, copied from prompt or message letter by letter. Sleep needs it.
    pub fn with_subject(self, subject: impl Into<String>) -> Experience {
        Experience { subject: Some(subject.into()), ..self }
    }

    /// When it happened, RFC 3339: of several answers to one question the latest counts.
    pub fn with_time(self, time: impl Into<String>) -> Experience {
        Experience { time: Some(time.into()), ..self }
    }

    /// How the answer follows the prompt, where [`Join::Auto`] is not right.
    pub fn with_join(self, join: Join) -> Experience {
        Experience { join, ..self }
    }

    /// Words to find it by.
    pub fn with_tags(self, tags: impl IntoIterator<Item = impl Into<String>>) -> Experience {
        Experience { tags: tags.into_iter().map(Into::into).collect(), ..self }
    }

    /// The `id` of an experience whose place it takes, whatever that one asked.
    pub fn with_supersedes(self, id: impl Into<String>) -> Experience {
        Experience { supersedes: Some(id.into()), ..self }
    }

    /// The id of an experience that came without one, which stands for an occurrence: 12 hex digits of the MD5 of user, prompt or
    /// messages, answer, reward and time (as written), as a JSON list.
    pub fn derived_id(&self) -> String {
        let (user, answer, reward, time) = (&self.user, &self.answer, self.outcome.reward(), &self.time);
        let occurrence = match self.messages.is_empty() {
            true => serde_json::json!([user, self.prompt, answer, reward, time]),
            false => serde_json::json!([user, self.messages, answer, reward, time]),
        };
        let digest = Md5::digest(occurrence.to_string());
        digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    /// What a model may learn from an episode, as the user's; None of one without an act.
    pub fn of_episode(episode: &Episode, user: Option<&str>) -> Option<Experience> {
        let act = episode.act.as_ref()?;
        let outcome = Outcome::Reward(episode.outcome.unwrap_or(0.0));
        Some(Experience {
            user: user.map(String::from),
            messages: act.messages.clone(),
            subject: act.subject.clone(),
            time: episode.time.clone(),
            tags: episode.tags.clone(),
            ..Experience::new(&episode.id, &act.prompt, &act.answer, outcome)
        })
    }

    /// The same as an episode that can be recalled. Without an act where an episode cannot say all of it: tools, and a join of its own.
    pub fn episode(&self) -> Episode {
        let act = Act {
            prompt: self.prompt.clone(),
            messages: self.messages.clone(),
            answer: self.answer.clone(),
            subject: self.subject.clone(),
            learned: None,
        };
        Episode {
            id: self.id.clone(),
            text: format!("{} → {}", self.asked().trim(), self.answer.trim()),
            time: self.time.clone(),
            tags: self.tags.clone(),
            outcome: Some(self.outcome.reward()),
            act: Some(act).filter(|_| self.tools.is_none() && self.join.is_auto()),
            ..Episode::default()
        }
    }

    /// The moment of `time`, by which experiences of different places compare; None where no time is given, or none of RFC 3339.
    /// A leap second is the second after it, as clocks that know none count; the last day of the year 9999 is one moment.
    pub fn instant(&self) -> Option<Timestamp> {
        self.time.as_deref().and_then(instant)
    }

    /// What was asked, as it was written: the prompt, or what the messages say, a line each.
    pub fn asked(&self) -> String {
        match self.messages.is_empty() {
            true => self.prompt.clone(),
            false => self.messages.iter().map(|m| format!("{}: {}", m.role, m.text())).collect::<Vec<_>>().join("\n"),
        }
    }

    /// The first rule that is broken: no text is empty, the id can be printed on one line, there is a prompt or messages that leave
    /// the answer to the assistant, the reward is within -1 to 1, the subject is a part of what was said, the time is RFC 3339, and
    /// nothing supersedes itself.
    pub fn flaw(&self) -> Option<Flaw> {
        let id_rule = format!("use up to {LONGEST_ID} characters on one line, or leave `id` out");
        let empty = |text: &Option<String>| text.as_ref().is_some_and(|t| t.trim().is_empty());
        let flaw = if self.id.trim().is_empty() {
            Flaw::new("id", "`id` is empty", id_rule)
        } else if self.id.chars().count() > LONGEST_ID || self.id.chars().any(char::is_control) {
            Flaw::new("id", "`id` is too long or holds control characters", id_rule)
        } else if empty(&self.user) {
            Flaw::new("user", "`user` is empty", "name the user, or leave `user` out")
        } else if let Some(flaw) = self.context_flaw() {
            flaw
        } else if self.answer.trim().is_empty() {
            Flaw::new("answer", "`answer` is empty", "write what followed the prompt")
        } else if !(-1.0..=1.0).contains(&self.outcome.reward()) {
            let message = format!("`outcome` is {}, outside of -1 to 1", self.outcome.reward());
            Flaw::new("outcome", message, OUTCOME_RULE)
        } else if empty(&self.subject) {
            Flaw::new("subject", "`subject` is empty", "copy a part of the prompt, or leave `subject` out")
        } else if let Some(subject) = self.subject.as_ref().filter(|s| !self.says(s)) {
            let whole = if self.messages.is_empty() { "the prompt" } else { "a message" };
            Flaw::new(
                "subject",
                format!("`subject` {subject:?} is not a part of {whole}"),
                format!("copy it from {whole}, letter by letter"),
            )
        } else if let Some(time) = self.time.as_ref().filter(|t| instant(t).is_none()) {
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

    /// What is wrong with prompt, messages and tools.
    fn context_flaw(&self) -> Option<Flaw> {
        let flaw = |key, message: &str, remedy: &str| Some(Flaw::new(key, message, remedy));
        if self.messages.is_empty() {
            return match (self.prompt.trim().is_empty(), &self.tools) {
                (true, _) => flaw("prompt", "`prompt` is empty", "write the text that the answer follows, or give `messages`"),
                (_, Some(_)) => {
                    flaw("tools", "`tools` stand beside a prompt", "give `messages`, or write the tools into the prompt")
                }
                _ => None,
            };
        }
        if !self.prompt.is_empty() {
            flaw("messages", "both `prompt` and `messages` are given", "take one of them out")
        } else if self.messages.iter().any(|m| m.role.trim().is_empty()) {
            flaw("messages", "a message has no role", "give its `role`: \"system\", \"user\", \"assistant\" or \"tool\"")
        } else if self.messages.iter().all(|m| m.text().trim().is_empty()) {
            flaw("messages", "the messages say nothing", "give at least one message with a `content`")
        } else if self.messages.last().is_some_and(|m| m.role == "assistant") {
            flaw(
                "messages",
                "`messages` end in the assistant's turn and `answer` is given",
                "take one of them out: either is the answer",
            )
        } else if self.tools.as_ref().is_some_and(|tools| !tools.is_array()) {
            flaw("tools", "`tools` is not a list", "write it like [{\"type\": \"function\", \"function\": {\"name\": \"…\"}}]")
        } else {
            None
        }
    }

    /// Whether prompt or a message holds this text.
    fn says(&self, text: &str) -> bool {
        self.prompt.contains(text) || self.messages.iter().any(|m| m.text().contains(text))
    }
}

/// The remedy for every outcome that is none.
pub(super) const OUTCOME_RULE: &str = "write \"success\", \"failure\" or a number from -1 to 1";

/// The moment of a date and time of RFC 3339, such as `2026-03-09T17:05:00.25+01:00`; None where a text is none, or names a day that
/// the calendar does not have. The form is checked here because jiff reads more forms than RFC 3339 has; the calendar is jiff's.
pub fn instant(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let form = b"dddd-dd-ddTdd:dd:dd";
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        other => byte == other,
    };
    if bytes.len() <= form.len() || !bytes.iter().zip(form).all(fits) {
        return None;
    }
    let digits = |digits: &[u8]| digits.iter().fold(0, |n, b| 10 * n + i32::from(b - b'0'));
    let number = |at: usize| digits(&bytes[at..at + 2]);
    let mut rest = &bytes[form.len()..];
    let mut nanosecond = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if length == 0 {
            return None;
        }
        // Digits beyond nanoseconds are allowed and not kept.
        let kept = length.min(9);
        nanosecond = digits(&fraction[..kept]) * 10i32.pow(9 - kept as u32);
        rest = &fraction[length..];
    }
    let offset = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) => {
            let (hours, minutes) = (digits(&[*h1, *h2]), digits(&[*m1, *m2]));
            if hours > 23 || minutes > 59 {
                return None;
            }
            (if *sign == b'-' { -1 } else { 1 }) * (3_600 * hours + 60 * minutes)
        }
        _ => return None,
    };
    // RFC 3339 has leap seconds, which no calendar without a table of them can place.
    let second = number(17);
    let leap = second == 60;
    let [month, day, hour, minute, second] =
        [number(5), number(8), number(11), number(14), second - i32::from(leap)].map(|n| n as i8);
    let local = DateTime::new(digits(&bytes[..4]) as i16, month, day, hour, minute, second, nanosecond).ok()?;
    // jiff's moments end a day before its calendar does.
    let moment = Offset::from_seconds(offset).ok()?.to_timestamp(local).unwrap_or(Timestamp::MAX);
    Some(if leap { moment.checked_add(SignedDuration::from_secs(1)).unwrap_or(moment) } else { moment })
}

/// This moment as RFC 3339, in seconds of UTC: `2026-03-09T17:05:00Z`.
pub fn now() -> String {
    rfc3339(Timestamp::now().as_second())
}

fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
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
        assert!(instant(&now()).is_some_and(|now| now.as_second() > 1_750_000_000));
    }

    #[test]
    fn times_are_those_of_rfc_3339() {
        for good in [
            "2026-03-09T17:05:00Z",
            "2024-02-29t00:00:00z",
            "2000-02-29 23:59:60.5Z",
            "1985-04-12T23:20:50.52+23:59",
            "0000-01-01T00:00:00-00:00",
            "0000-01-01T00:00:00+23:59",
            "9999-12-31T23:59:60.999999999999Z",
            "9999-12-31T23:59:59-23:59",
        ] {
            assert!(instant(good).is_some(), "{good}");
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
            assert!(instant(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn times_of_different_places_compare_as_moments() {
        let at =
            |time: &str| Experience { time: Some(time.into()), ..Experience::new("a", "b", "c", Outcome::Success) }.instant();
        for (earlier, later) in [
            ("2026-03-09T17:05:00+01:00", "2026-03-09T16:05:00.000000001Z"),
            ("2026-03-09T23:59:59+23:59", "2026-03-09T00:00:00-23:59"),
            ("2016-12-31T23:59:59.9Z", "2016-12-31T23:59:60Z"),
            ("0000-01-01T00:00:00+00:01", "0000-01-01T00:00:00Z"),
            ("9999-12-30T00:00:00Z", "9999-12-31T23:59:59Z"),
        ] {
            assert!(at(earlier) < at(later), "{earlier}, {later}");
        }
        assert_eq!(at("2026-03-09T17:05:00+01:00"), at("2026-03-09 16:05:00.0z"));
        assert_eq!(at("2016-12-31T23:59:60Z"), at("2017-01-01T00:00:00Z"));
        assert_eq!(at("2026-03-09T17:05:00.5Z"), at("2026-03-09T17:05:00.5000000009Z"));
        assert_eq!(at("2026-03-09T17:05:00Z").unwrap().as_second(), 1_773_075_900);
        assert!(at("soon").is_none() && Experience::new("a", "b", "c", Outcome::Success).instant().is_none());
    }

    #[test]
    fn a_derived_id_depends_on_the_occurrence() {
        let rome = || Experience { user: Some("ada".into()), ..Experience::new("", "The capital is", " Rome", Outcome::Success) };
        // printf '["ada","The capital is"," Rome",1.0,null]' | md5sum
        assert_eq!(rome().derived_id(), "022903af961a");
        let mut ids = vec![rome().derived_id()];
        ids.push(Experience { user: None, ..rome() }.derived_id());
        ids.push(Experience { prompt: "The capital is ".into(), answer: "Rome".into(), ..rome() }.derived_id());
        ids.push(Experience { outcome: Outcome::Failure, ..rome() }.derived_id());
        ids.push(Experience { outcome: Outcome::Reward(0.5), ..rome() }.derived_id());
        ids.push(Experience { time: Some("2026-03-09T17:05:00Z".into()), ..rome() }.derived_id());
        ids.push(Experience { time: Some("2026-03-09T17:05:01Z".into()), ..rome() }.derived_id());
        let chat =
            |role: &str| Experience { prompt: String::new(), messages: vec![Message::new(role, "The capital is")], ..rome() };
        ids.extend(["user", "system"].map(|role| chat(role).derived_id()));
        for (i, id) in ids.iter().enumerate() {
            assert!(!ids[..i].contains(id), "number {i}");
        }
        let same =
            Experience { outcome: Outcome::Reward(1.0), subject: Some("capital".into()), tags: vec!["x".into()], ..rome() };
        assert_eq!(same.derived_id(), ids[0]);
    }
}
