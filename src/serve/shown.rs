//! How notes are shown: within a budget of tokens, one by one or as the table that a model is given. Knows notes alone.

use super::guard::marked;
use super::note::Note;
use super::notes::Notes;
use jiff::Timestamp;
use rmcp::schemars::JsonSchema;
use serde::Serialize;

/// Tokens that a note takes beside its words.
const AROUND: usize = 16;

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

impl Shown {
    /// All of a note.
    pub fn of(note: &Note) -> Shown {
        let text = |text: &Option<String>| text.clone();
        Shown {
            id: note.id.clone(),
            text: note.said(),
            kind: match (&note.experience, &note.path) {
                (Some(_), _) => "experience",
                (None, Some(_)) => "file",
                (None, None) => "note",
            },
            state: match note {
                _ if note.forgotten => "forgotten",
                Note { quarantine: Some(_), .. } => "quarantined",
                Note { superseded_by: Some(_), .. } => "superseded",
                _ if !note.holds(Timestamp::now()) => "over",
                _ => "holds",
            },
            time: note.time.clone().unwrap_or_else(|| note.told.clone()),
            fit: None,
            answer: note.experience.as_ref().map(|e| e.answer.trim().to_string()),
            outcome: note.outcome,
            weights: note.experience.is_some().then(|| {
                let nothing = if note.waits() { "waiting" } else { "none" };
                note.learned.clone().unwrap_or_else(|| nothing.into())
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

    /// The same with how well it fits.
    pub fn fitting(note: &Note, fit: f64) -> Shown {
        Shown { fit: Some((fit * 1000.0).round() / 1000.0), ..Shown::of(note) }
    }

    fn cost(&self) -> usize {
        AROUND + Note::tokens(&self.text) + self.answer.as_deref().map_or(0, Note::tokens)
    }
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
            (one.cut, one.answer) = (true, None);
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
    let newest: Vec<&Note> = notes.current().rev().collect();
    let order = newest.iter().filter(|n| n.pinned).chain(newest.iter().filter(|n| !n.pinned));
    let (mut text, mut shown) = (String::from("| id | time | what | outcome |\n| --- | --- | --- | --- |\n"), 0);
    for note in order {
        let what = note.said().split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let time = note.time.as_deref().unwrap_or(&note.told);
        let outcome = note.outcome.map_or(String::new(), |o| format!("{o:+.1}"));
        let line = format!("| {} | {time} | {what} | {outcome} |\n", note.id);
        if Note::tokens(&text) + Note::tokens(&line) > budget {
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

/// What is recalled for a hint, marked, within a budget of tokens: pinned notes, then what fits; empty where nothing does.
pub fn recalled(notes: &Notes, hint: &str, budget: usize) -> String {
    let now = Timestamp::now();
    let pinned = notes.current().filter(|n| n.pinned && n.path.is_none());
    let found = notes.search(hint, 16, |n| n.holds(now) && !n.pinned).into_iter().map(|(note, _)| note);
    let (mut text, mut taken) = (String::new(), 0);
    for note in pinned.chain(found) {
        let mut said = note.said();
        if note.outcome.is_some_and(|o| o < 0.0) {
            said.push_str(" (this turned out wrong)");
        }
        let line = marked(&note.id, Some(note.time.as_deref().unwrap_or(&note.told)), &said);
        let cost = Note::tokens(&line);
        if taken + cost > budget {
            continue;
        }
        taken += cost;
        text.push_str(&line);
        text.push('\n');
    }
    text
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
