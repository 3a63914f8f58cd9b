//! How notes are shown: within a budget of tokens, one by one or as the table that a model is given. Knows notes alone.

use super::guard::marked;
use super::notes::{Notes, SURE, waits};
use crate::error::Result;
use crate::memory::store::episodes::Gone;
use crate::recall::hippocampus::Why;
use crate::recall::{Episode, Filter, Recalled};
use jiff::Timestamp;
use rmcp::schemars::JsonSchema;
use serde::Serialize;

/// Tokens that a note takes beside its words.
const AROUND: usize = 16;

/// Tokens of a text, about: a quarter of its bytes.
pub fn tokens(text: &str) -> usize {
    text.len().div_ceil(4)
}

/// A note as a tool shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Shown {
    /// What other tools know it by.
    pub id: String,
    /// What it says; of an experience the prompt and the answer.
    pub text: String,
    /// note, experience or file.
    pub kind: &'static str,
    /// holds, superseded, over, quarantined or forgotten.
    pub state: &'static str,
    /// When it happened or was told, RFC 3339.
    pub time: String,
    /// How well it fits what was asked, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit: Option<f64>,
    /// What brought it to mind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Reasons>,
    /// Of an experience: what followed the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// How acting on it turned out, -1 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<f64>,
    /// Of an experience: what the model's weights made of it; waiting until they did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// The note that took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// The note whose place it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
    /// Why it is held back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
    /// Who said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// The conversation it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Where it lies, where it is a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// It is always part of the table.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// The budget ended in the midst of the text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// Why something was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Reasons {
    /// Words of what was asked that it has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// Words that what happened before or after it has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words_around: Vec<String>,
    /// How near its meaning is, as deviations from the mean of all; without an encoder nothing is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sense: Option<f64>,
    /// The neighbour in time that passed most on to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbour: Option<String>,
}

impl Reasons {
    fn of(why: &Why) -> Reasons {
        let words = |all: &[(String, f32)]| all.iter().map(|(word, _)| word.clone()).collect();
        let [_, _, sense, around, late, _] = why.parts;
        let sense = f64::from(sense + around + late);
        Reasons {
            words: words(&why.words),
            words_around: words(&why.words_around),
            sense: (sense != 0.0).then(|| (sense * 100.0).round() / 100.0),
            neighbour: why.hop.clone(),
        }
    }

    fn cost(&self) -> usize {
        let words = self.words.iter().chain(&self.words_around).chain(&self.neighbour);
        4 + words.map(|word| tokens(word) + 1).sum::<usize>()
    }
}

impl Shown {
    /// All of a note.
    pub fn of(note: &Episode) -> Shown {
        let text = |text: &Option<String>| text.clone();
        Shown {
            id: note.id.clone(),
            text: note.said(),
            kind: match (&note.act, &note.path) {
                (Some(_), _) => "experience",
                (None, Some(_)) => "file",
                (None, None) => "note",
            },
            state: match note {
                Episode { quarantine: Some(_), .. } => "quarantined",
                Episode { superseded_by: Some(_), .. } => "superseded",
                _ if !note.holds(Timestamp::now()) => "over",
                _ => "holds",
            },
            time: when(note).into(),
            fit: None,
            why: None,
            answer: note.act.as_ref().map(|act| act.answer.trim().to_string()),
            outcome: note.outcome,
            weights: note.act.as_ref().map(|act| {
                let nothing = if waits(note) { "waiting" } else { "none" };
                act.learned.clone().unwrap_or_else(|| nothing.into())
            }),
            superseded_by: text(&note.superseded_by),
            supersedes: text(&note.supersedes),
            quarantine: text(&note.quarantine),
            speaker: text(&note.speaker),
            session: text(&note.session),
            path: text(&note.path),
            tags: note.tags.clone(),
            pinned: note.pinned,
            cut: false,
        }
    }

    /// What is left of one that was forgotten.
    pub fn gone(id: &str, gone: &Gone) -> Shown {
        let time = gone.told.clone().unwrap_or_default();
        Shown { id: id.into(), kind: "note", state: "forgotten", time, ..Shown::default() }
    }

    /// The note of an id, or what is left of it.
    ///
    /// # Errors
    /// An unknown id.
    pub fn by_id(notes: &Notes, id: &str) -> Result<Shown> {
        Ok(match notes.look_up(id)? {
            Ok(note) => Shown::of(note),
            Err(gone) => Shown::gone(id, gone),
        })
    }

    /// What was recalled, with how well it fits and why.
    pub fn recalled(recalled: &Recalled) -> Shown {
        let why = recalled.why.as_ref().map(Reasons::of);
        Shown { why, ..Shown::fitting(&recalled.episode, recalled.fit.into()) }
    }

    /// A note with how well it fits.
    pub fn fitting(note: &Episode, fit: f64) -> Shown {
        Shown { fit: Some((fit * 1000.0).round() / 1000.0), ..Shown::of(note) }
    }

    fn cost(&self) -> usize {
        let parts = [self.text.as_str(), self.answer.as_deref().unwrap_or("")];
        AROUND + parts.map(tokens).iter().sum::<usize>() + self.why.as_ref().map_or(0, Reasons::cost)
    }
}

/// When a note happened, or else was told.
fn when(note: &Episode) -> &str {
    note.time.as_deref().or(note.told.as_deref()).unwrap_or("")
}

/// As many as a budget of tokens has room for, in their order, and what they take. The first may be cut, so that there is one.
pub fn within(all: impl Iterator<Item = Shown>, budget: usize) -> (Vec<Shown>, usize) {
    let (mut kept, mut taken) = (Vec::new(), 0);
    for mut one in all {
        let mut cost = one.cost();
        if taken + cost > budget {
            if !kept.is_empty() {
                break;
            }
            let room = 4 * budget.saturating_sub(AROUND);
            let end = (0..=room.min(one.text.len())).rev().find(|at| one.text.is_char_boundary(*at)).unwrap_or(0);
            one.text.truncate(end);
            (one.cut, one.answer, one.why) = (true, None, None);
            cost = one.cost();
        }
        taken += cost;
        kept.push(one);
        if taken >= budget {
            break;
        }
    }
    (kept, taken)
}

/// What a user's memory holds now, a line each, for a person or a model: what is pinned, then the newest, within a budget of tokens.
pub fn table(notes: &Notes, budget: usize) -> String {
    let newest: Vec<&Episode> = notes.current().rev().collect();
    let order = newest.iter().filter(|n| n.pinned).chain(newest.iter().filter(|n| !n.pinned));
    let (mut text, mut shown) = (String::from("| id | time | what | outcome |\n| --- | --- | --- | --- |\n"), 0);
    for note in order {
        let what = note.said().split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let time = when(note);
        let outcome = note.outcome.map_or(String::new(), |o| format!("{o:+.1}"));
        let line = format!("| {} | {time} | {what} | {outcome} |\n", note.id);
        if tokens(&text) + tokens(&line) > budget {
            break;
        }
        text.push_str(&line);
        shown += 1;
    }
    if shown < newest.len() {
        text.push_str(&format!("\n{} of {} are shown; memory_search finds the others.\n", shown, newest.len()));
    }
    text
}

/// What is recalled for a hint, marked, within a budget of tokens: pinned notes, then what surely fits; empty where nothing does.
///
/// # Errors
/// Those of [`Notes::search`].
pub fn recalled(notes: &Notes, hint: &str, budget: usize) -> Result<String> {
    let pinned: Vec<&Episode> = notes.current().filter(|n| n.pinned && n.path.is_none()).collect();
    let mut found = notes.search(hint, 16, Filter::default())?;
    found.recalled.retain(|one| found.confidence >= SURE && one.fit >= SURE && !pinned.iter().any(|n| n.id == one.episode.id));
    let (mut text, mut taken) = (String::new(), 0);
    for note in pinned.into_iter().chain(found.recalled.iter().map(|one| &one.episode)) {
        let mut said = note.said();
        if note.outcome.is_some_and(|o| o < 0.0) {
            said.push_str(" (this turned out wrong)");
        }
        let line = marked(&note.id, Some(when(note)), &said);
        let cost = tokens(&line);
        if taken + cost > budget {
            continue;
        }
        taken += cost;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_kept_and_one_is_always_shown() {
        let shown = |n: usize| Shown { text: "x".repeat(4 * n), ..Shown::default() };
        let (kept, taken) = within([shown(10), shown(10), shown(10)].into_iter(), 60);
        assert_eq!((kept.len(), taken), (2, 52));
        let (kept, taken) = within([shown(1000), shown(10)].into_iter(), 60);
        assert!(kept.len() == 1 && kept[0].cut && taken <= 60 && kept[0].text.len() == 4 * 44);
        assert_eq!(within(std::iter::empty(), 60).0, []);
    }
}
