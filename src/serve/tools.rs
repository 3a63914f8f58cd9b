//! The tools of a memory, as plain functions from arguments to results: what each does to a user's notes and weights. Knows no protocol.

use super::brain::{self, Brain};
use super::guard::{suspicion, without_recalled};
use super::notes::Notes;
use super::reward::Reward;
use super::shown::{Shown, within};
use super::user::User;
use crate::error::{Error, Result};
use crate::memory::experience::{Experience, Outcome, instant, now};
use crate::recall::{Act, Episode, Filter, words::words};
use crate::transformer::chat::{Content, Message};
use jiff::Timestamp;
use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Notes that one call names or is shown at most.
const MOST: usize = 200;
/// Tokens that one read returns at most.
const MOST_TOKENS: usize = 100_000;
/// Part of the way that a value moves towards an outcome (notes/memory: Q += .3 (reward - Q), as MemRL has it).
const RATE: f64 = 0.3;

/// Something to remember: a `text`, or a `prompt` (or `messages`) with the `answer` that followed and how that turned out.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub struct Add {
    /// What is to be remembered, in the user's words.
    pub text: Option<String>,
    /// Of an experience: the text that the answer followed.
    pub prompt: Option<String>,
    /// Of an experience: the conversation up to the assistant's turn, instead of `prompt`; objects with `role` and `content`.
    #[schemars(with = "Option<Vec<serde_json::Map<String, serde_json::Value>>>")]
    pub messages: Option<Vec<Message>>,
    /// Of an experience: what the assistant said or did.
    pub answer: Option<String>,
    /// How it turned out: "success", "failure" or a number from -1 to 1. An experience needs it.
    pub outcome: Option<Reward>,
    /// Of an experience: what it is about, copied from the prompt letter by letter. Sleep needs it.
    pub subject: Option<String>,
    /// An id of your own; made from the words where it is left out.
    pub id: Option<String>,
    /// Who said it.
    pub speaker: Option<String>,
    /// The conversation it is from.
    pub session: Option<String>,
    /// When it happened, like 2026-03-09T17:05:00Z.
    pub time: Option<String>,
    /// Until when it holds, like 2026-03-09T17:05:00Z.
    pub until: Option<String>,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Keep it in view always.
    #[serde(default)]
    pub pinned: bool,
    /// Id of the memory whose place it takes.
    pub supersedes: Option<String>,
}

/// What came of something to remember.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Kept {
    /// What other tools know it by.
    pub id: String,
    /// kept, known before, quarantined or released. When the call returns it is on disk.
    pub status: &'static str,
    /// Why it is held back; memory_update with `release` lets it go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
    /// Of an experience: waiting, until idle time or memory_sleep writes it into the weights, or what they made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Recalled text was left out: a memory does not learn its own words.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recalled_left_out: bool,
}

/// What to look for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub struct Search {
    /// A question or hint, in words.
    pub query: String,
    /// Memories at most; 8 where it is left out.
    pub k: Option<usize>,
    /// Tokens at most; 1000 where it is left out.
    pub max_tokens: Option<usize>,
    /// Only those with all of these tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Only those of this conversation.
    pub session: Option<String>,
    /// Only those from this time on.
    pub since: Option<String>,
    /// Only those before this time.
    pub until: Option<String>,
    /// What was superseded, or holds no longer, as well.
    #[serde(default)]
    pub history: bool,
}

/// What was found, best first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Found {
    /// Whether anything fits. Where nothing does, nothing is made up.
    pub found: bool,
    /// How sure it is that they answer, 0 to 1.
    pub confidence: f64,
    /// The memories.
    pub memories: Vec<Shown>,
    /// Tokens that they take, about.
    pub tokens: usize,
    /// Memories that fit and had no room.
    pub left_out: usize,
}

/// Ids to read.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub struct Get {
    /// Ids of memories.
    pub ids: Vec<String>,
    /// Tokens at most; 2000 where it is left out.
    pub max_tokens: Option<usize>,
}

/// What to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub struct List {
    /// Id after which to go on: `next` of the last page.
    pub after: Option<String>,
    /// Memories at most; 50 where it is left out.
    pub limit: Option<usize>,
    /// Tokens at most; 1000 where it is left out.
    pub max_tokens: Option<usize>,
    /// Only those with all of these tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Only those that are held back, with the reason.
    #[serde(default)]
    pub quarantined: bool,
    /// What was superseded, forgotten, or holds no longer, as well.
    #[serde(default)]
    pub history: bool,
}

/// A page of memories, newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Page {
    /// The memories.
    pub memories: Vec<Shown>,
    /// Tokens that they take, about.
    pub tokens: usize,
    /// `after` of the next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Memories of this kind in all.
    pub all: usize,
    /// Memories that are held back.
    pub quarantined: usize,
}

/// What to change.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub struct Update {
    /// The memory.
    pub id: String,
    /// What is right now: takes the place of a note's words, which stay as history.
    pub text: Option<String>,
    /// Of an experience: the answer that is right now.
    pub answer: Option<String>,
    /// Lets a memory go that was held back; only a user may say so.
    #[serde(default)]
    pub release: bool,
    /// Keep it in view always, or no longer.
    pub pinned: Option<bool>,
    /// Words to find it by, instead of those it has.
    pub tags: Option<Vec<String>>,
    /// Until when it holds, like 2026-03-09T17:05:00Z.
    pub until: Option<String>,
}

/// What to forget.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub struct Forget {
    /// Ids of memories.
    pub ids: Vec<String>,
    /// What they took the place of, and what took theirs, as well; otherwise what one of them had superseded holds again.
    #[serde(default)]
    pub history: bool,
}

/// What forgetting left behind, memory by memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Forgotten {
    /// A receipt each.
    pub receipts: Vec<Receipt>,
}

/// The proof that a memory is gone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Receipt {
    /// The memory; its id and time are all that stays.
    pub id: String,
    /// When it was forgotten, RFC 3339.
    pub forgotten: String,
    /// Where it was: notes, index, vectors, logs of earlier versions, weights (each place in the model).
    pub removed_from: Vec<String>,
    /// Every file of the folder was read, and none holds its words.
    pub verified: bool,
    /// Files that still hold its words, as other memories say the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub still_in: Vec<String>,
}

/// Whose history to tell.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub struct History {
    /// The memory, at any point of its history.
    pub id: String,
    /// Tokens at most; 1000 where it is left out.
    pub max_tokens: Option<usize>,
}

/// What was said before and after, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Told {
    /// The memories.
    pub memories: Vec<Shown>,
    /// Tokens that they take, about.
    pub tokens: usize,
    /// Memories that had no room.
    pub left_out: usize,
}

/// A part of something that was told.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub struct Complete {
    /// Words or letters that are remembered.
    pub part: String,
    /// Memories at most; 3 where it is left out.
    pub k: Option<usize>,
    /// Tokens at most; 500 where it is left out.
    pub max_tokens: Option<usize>,
}

/// How acting on a memory turned out.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub struct Rewarded {
    /// The memory, or the id of an answer of /v1/chat/completions.
    pub id: String,
    /// "success", "failure" or a number from -1 to 1.
    pub outcome: Reward,
}

/// What an outcome changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Valued {
    /// The memory; of an experience the occurrence that this outcome is.
    pub id: String,
    /// What acting on it is worth now, -1 to 1.
    pub value: f64,
    /// Of an experience: waiting, until idle time or memory_sleep writes it into the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
}

/// How long to sleep.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub struct Sleep {
    /// Seconds at most, up to 600; 20 where it is left out. A request that needs the weights wakes the memory earlier.
    pub seconds: Option<f64>,
}

/// What a memory did while it slept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Report {
    /// Experiences that were written into the weights first.
    pub learned: usize,
    /// Experiences that the weights did not take, with the reason; they stay as notes.
    pub not_learned: Vec<String>,
    /// Experiences that were replayed.
    pub replayed: usize,
    /// Of these, those that moved to the early layer.
    pub moved: usize,
    /// What became of each that was replayed.
    pub each: Vec<String>,
    /// Experiences that still wait.
    pub waiting: usize,
    /// Wall time, s.
    pub seconds: f64,
    /// What is to be known beside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

fn budget(asked: Option<usize>, usual: usize) -> usize {
    asked.unwrap_or(usual).clamp(32, MOST_TOKENS)
}

fn moment(key: &str, time: &Option<String>) -> Result<Option<Timestamp>> {
    match time {
        None => Ok(None),
        Some(text) => match instant(text) {
            Some(moment) => Ok(Some(moment)),
            None => Err(Error::input(format!("`{key}` is {text:?}"), "write it like 2026-03-09T17:05:00Z")),
        },
    }
}

fn bounded(ids: &[String]) -> Result<()> {
    match ids.len() {
        1..=MOST => Ok(()),
        n => Err(Error::input(format!("`ids` names {n} memories"), format!("name 1 to {MOST}"))),
    }
}

/// A message without what was recalled for it.
fn unrecalled(mut message: Message) -> (Message, bool) {
    let mut any = false;
    match &mut message.content {
        Some(Content::Text(text)) => (*text, any) = without_recalled(text),
        Some(Content::Parts(parts)) => {
            for text in parts.iter_mut().filter_map(|part| part.get_mut("text")) {
                if let Some((left, true)) = text.as_str().map(without_recalled) {
                    (*text, any) = (left.into(), true);
                }
            }
        }
        None => {}
    }
    (message, any)
}

/// Keeps something.
///
/// # Errors
/// What breaks a rule of notes or experiences, an id that is another one's, and what a disk refuses. Nothing is kept then.
pub fn add(user: &User, args: Add) -> Result<Kept> {
    let asked = args.prompt.is_some() || args.messages.is_some() || args.answer.is_some();
    if args.text.is_some() == asked {
        let what = if asked { "both a text and an experience are given" } else { "there is nothing to remember" };
        return Err(Error::input(what, "give `text`, or `prompt` (or `messages`), `answer` and `outcome`"));
    }
    let left_out = Cell::new(false);
    let clean = |text: String| {
        let (text, any) = without_recalled(&text);
        left_out.set(left_out.get() | any);
        text
    };
    let outcome = args.outcome.map(Reward::value).transpose()?;
    let mut text = args.text.map_or(String::new(), clean);
    let act = if asked {
        let missing = |key: &str| {
            Error::input(format!("`{key}` is missing"), "an experience has `prompt` (or `messages`), `answer` and `outcome`")
        };
        let answer = clean(args.answer.ok_or_else(|| missing("answer"))?);
        let reward = outcome.ok_or_else(|| missing("outcome"))?;
        let mut experience = Experience::new("", &clean(args.prompt.unwrap_or_default()), &answer, Outcome::Reward(reward));
        let messages = args.messages.unwrap_or_default().into_iter().map(unrecalled);
        for (message, any) in messages {
            left_out.set(left_out.get() | any);
            // A system text that was nothing but recalled is none.
            if !(any && message.text().trim().is_empty()) {
                experience.messages.push(message);
            }
        }
        experience.subject = args.subject;
        let lived = experience.episode();
        text = lived.text;
        lived.act
    } else {
        None
    };
    let recalled_left_out = left_out.get();
    if recalled_left_out && act.is_none() && text.trim().is_empty() {
        return Err(Error::input(
            "all of this was recalled from the memory itself",
            "tell what the user said, outside of the marks",
        ));
    }
    let note = Episode {
        id: args.id.unwrap_or_default(),
        text,
        act,
        speaker: args.speaker,
        session: args.session,
        time: args.time,
        until: args.until,
        tags: args.tags,
        outcome,
        supersedes: args.supersedes,
        pinned: args.pinned,
        ..Episode::default()
    };
    keep(user, &mut user.notes_mut(), note, recalled_left_out)
}

/// Keeps a note under its id or one made from its words, held back where a rule asks for that.
fn keep(user: &User, notes: &mut Notes, mut note: Episode, recalled_left_out: bool) -> Result<Kept> {
    let experience = |note: &Episode| Experience::of_episode(note, Some(&user.name));
    let own = !note.id.is_empty();
    if !own {
        note.id = experience(&note).map_or_else(|| note.derived_id(), |experience| experience.derived_id());
    }
    note.check()?;
    if let Some(flaw) = experience(&note).as_ref().and_then(Experience::flaw) {
        return Err(Error::input(flaw.message, flaw.remedy));
    }
    if let Some(old) = &note.supersedes {
        notes.find(old)?;
    }
    match notes.look_up(&note.id) {
        Ok(Ok(there))
            if there.said() == note.said()
                && there.outcome == note.outcome
                && there.supersedes == note.supersedes
                && there.superseded_by.is_none() =>
        {
            return Ok(kept(there, "known before", recalled_left_out));
        }
        Ok(_) if own => {
            let what = format!("the id {:?} is another memory's already", note.id);
            return Err(Error::input(what, "leave `id` out, or give another one"));
        }
        Ok(_) => note.id = notes.free_id(&note.id),
        Err(_) => {}
    }
    note.quarantine = suspicion(&note.said());
    let told = kept(&note, if note.quarantine.is_some() { "quarantined" } else { "kept" }, recalled_left_out);
    notes.add(note)?;
    Ok(told)
}

fn kept(note: &Episode, status: &'static str, recalled_left_out: bool) -> Kept {
    let weights = Shown::of(note).weights;
    Kept { id: note.id.clone(), status, quarantine: note.quarantine.clone(), weights, recalled_left_out }
}

fn rounded(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

/// Finds what fits a hint.
///
/// # Errors
/// An empty hint, or times that are none.
pub fn search(user: &User, args: &Search) -> Result<Found> {
    if args.query.trim().is_empty() {
        return Err(Error::input("`query` is empty", "ask for something, or use memory_list"));
    }
    let filter = Filter {
        session: args.session.clone(),
        tags: args.tags.clone(),
        since: moment("since", &args.since)?,
        until: moment("until", &args.until)?,
        history: args.history,
        ..Filter::default()
    };
    let (query, _) = without_recalled(&args.query);
    let found = user.settled().search(&query, args.k.unwrap_or(8).clamp(1, MOST), filter)?;
    let (memories, tokens) = within(found.recalled.iter().map(Shown::recalled), budget(args.max_tokens, 1000));
    Ok(Found {
        found: !memories.is_empty(),
        confidence: rounded(found.confidence.into()),
        left_out: found.recalled.len() - memories.len(),
        memories,
        tokens,
    })
}

/// Reads memories by their ids.
///
/// # Errors
/// An unknown id.
pub fn get(user: &User, args: &Get) -> Result<Told> {
    bounded(&args.ids)?;
    let notes = user.notes();
    let all: Vec<Shown> = args.ids.iter().map(|id| Shown::by_id(&notes, id)).collect::<Result<_>>()?;
    let count = all.len();
    let (memories, tokens) = within(all.into_iter(), budget(args.max_tokens, 2000));
    Ok(Told { left_out: count - memories.len(), memories, tokens })
}

/// Lists memories page by page, newest first; what was forgotten comes last.
///
/// # Errors
/// An unknown `after`.
pub fn list(user: &User, args: &List) -> Result<Page> {
    let notes = user.notes();
    let now = Timestamp::now();
    let shown = |note: &&Episode| {
        let state = match (args.quarantined, args.history) {
            (true, _) => note.quarantine.is_some(),
            (false, true) => true,
            (false, false) => note.holds(now),
        };
        state && args.tags.iter().all(|tag| note.tags.contains(tag))
    };
    let mut all: Vec<&str> = notes.all().rev().filter(shown).map(|note| note.id.as_str()).collect();
    if args.history && !args.quarantined && args.tags.is_empty() {
        all.extend(notes.gone().map(|(id, _)| id.as_str()));
    }
    let start = match &args.after {
        None => 0,
        Some(after) => {
            notes.look_up(after)?.ok();
            all.iter().position(|id| id == after).map_or(all.len(), |at| at + 1)
        }
    };
    let rest = all[start..].iter().take(args.limit.unwrap_or(50).clamp(1, MOST));
    let rest: Vec<Shown> = rest.map(|id| Shown::by_id(&notes, id)).collect::<Result<_>>()?;
    let (memories, tokens) = within(rest.into_iter(), budget(args.max_tokens, 1000));
    let more = start + memories.len() < all.len();
    let next = memories.last().filter(|_| more).map(|last| last.id.clone());
    let quarantined = notes.all().filter(|note| note.quarantine.is_some()).count();
    Ok(Page { memories, tokens, next, all: all.len(), quarantined })
}

/// Changes a memory: other words take its place and the old ones stay as history; whatever else is changed in place.
///
/// # Errors
/// An unknown id, a memory that was superseded or forgotten, and what breaks a rule. Nothing is changed then.
pub fn update(user: &User, args: Update) -> Result<Kept> {
    let mut notes = user.notes_mut();
    let old = notes.latest(&args.id)?.clone();
    if args.release && old.quarantine.is_none() {
        return Err(Error::input(format!("{:?} is not held back", old.id), "leave `release` out"));
    }
    let (pinned, until) = (args.pinned.unwrap_or(old.pinned), args.until.or_else(|| old.until.clone()));
    let note = Episode { pinned, tags: args.tags.unwrap_or_else(|| old.tags.clone()), until, ..old.clone() };
    match (args.text, args.answer, &old.act) {
        (Some(text), None, None) => {
            let (text, recalled) = without_recalled(&text);
            keep(user, &mut notes, Episode { text, ..anew(note, None) }, recalled)
        }
        (None, Some(answer), Some(act)) => {
            let (answer, recalled) = without_recalled(&answer);
            let note = acted(anew(note, Some(1.0)), Act { answer, ..act.clone() });
            keep(user, &mut notes, note, recalled)
        }
        (None, None, _) => {
            notes.amend(&[&old.id], |there| {
                *there = note.clone();
                if args.release {
                    there.quarantine = None;
                }
            })?;
            Ok(kept(notes.find(&old.id)?, if args.release { "released" } else { "kept" }, false))
        }
        _ => Err(Error::input(
            format!("{:?} is {}", old.id, if old.act.is_some() { "an experience" } else { "a note" }),
            "give `text` for a note, `answer` for an experience",
        )),
    }
}

/// What takes a note's place, told now.
fn anew(note: Episode, outcome: Option<f64>) -> Episode {
    let supersedes = Some(note.id);
    Episode { id: String::new(), told: None, time: None, supersedes, superseded_by: None, outcome, quarantine: None, ..note }
}

/// A note with another act, which waits to be learned.
fn acted(note: Episode, act: Act) -> Episode {
    let mut lived = Experience::new("", &act.prompt, &act.answer, Outcome::Success);
    lived.messages.clone_from(&act.messages);
    Episode { text: lived.episode().text, act: Some(Act { learned: None, ..act }), ..note }
}

/// Forgets memories, in the notes, in the index and in the weights, and proves it.
///
/// # Errors
/// An unknown id (nothing is forgotten then), weights in use elsewhere, and what a disk refuses.
pub fn forget(user: &User, args: &Forget) -> Result<Forgotten> {
    bounded(&args.ids)?;
    let mut ids: Vec<String> = Vec::new();
    let mut said: Vec<Option<Episode>> = Vec::new();
    {
        let notes = user.notes();
        for id in &args.ids {
            let all = if args.history { notes.chain(id)? } else { vec![id.clone()] };
            for id in all {
                let there = notes.look_up(&id)?.ok().cloned();
                if !ids.contains(&id) {
                    said.push(there);
                    ids.push(id);
                }
            }
        }
    }
    let weights = brain::forget(user, &ids)?;
    let mut notes = user.notes_mut();
    // Who was quicker has their receipt.
    let there: Vec<&str> = ids.iter().map(String::as_str).filter(|id| notes.find(id).is_ok()).collect();
    let left = notes.forget(&there)?;
    let forgotten = now();
    let mut receipts = Vec::new();
    for (id, note) in ids.into_iter().zip(said) {
        let mut removed_from = Vec::new();
        if let Some(left) = left.iter().find(|left| left.id == id) {
            let index = format!("index: {} cells, {} synapses, {} links", left.cells, left.synapses, left.links);
            removed_from.extend(["notes".to_string(), index]);
            let vectors = left.bytes[1] + left.bytes[2];
            removed_from.extend((vectors > 0).then(|| format!("vectors: {vectors} bytes")));
            removed_from.extend(left.logs.iter().cloned());
        }
        if let Some((_, engrams)) = weights.iter().find(|(other, _)| *other == id) {
            removed_from.push("journal of the weights".into());
            removed_from.extend(engrams.iter().map(|site| format!("weights: {site}")));
        }
        let mut still_in = Vec::new();
        let words = match note {
            Some(Episode { act: Some(act), .. }) => vec![act.answer, act.prompt],
            Some(note) => vec![note.text],
            None => Vec::new(),
        };
        // A word or two may be anybody's.
        for words in words.iter().filter(|words| words.len() >= 12) {
            still_in.extend(
                Notes::trace(&user.folder, words)?.into_iter().filter(|file| !still_in.contains(file)).collect::<Vec<_>>(),
            );
        }
        receipts.push(Receipt { id, forgotten: forgotten.clone(), removed_from, verified: still_in.is_empty(), still_in });
    }
    Ok(Forgotten { receipts })
}

/// What was said before and after.
///
/// # Errors
/// An unknown id.
pub fn history(user: &User, args: &History) -> Result<Told> {
    let notes = user.notes();
    let chain = notes.chain(&args.id)?;
    let all: Vec<Shown> = chain.iter().map(|id| Shown::by_id(&notes, id)).collect::<Result<_>>()?;
    let count = all.len();
    let (memories, tokens) = within(all.into_iter(), budget(args.max_tokens, 1000));
    Ok(Told { left_out: count - memories.len(), memories, tokens })
}

/// Whole memories from a part of one.
///
/// # Errors
/// An empty part.
pub fn complete(user: &User, args: &Complete) -> Result<Found> {
    let (part, _) = without_recalled(&args.part);
    if part.trim().is_empty() {
        return Err(Error::input("`part` is empty", "give some words of what was told"));
    }
    let notes = user.settled();
    let most = args.k.unwrap_or(3).clamp(1, MOST);
    let found = notes.search(&part, 8 * most, Filter::default())?.recalled;
    let mut found: Vec<(&Episode, f64)> = found.iter().map(|one| (&one.episode, holds(&one.episode.said(), &part))).collect();
    // Letters inside of words are no words: without any, every memory is looked through.
    if found.iter().all(|(_, fit)| *fit < 0.5) {
        found = notes.current().map(|note| (note, holds(&note.said(), &part))).collect();
    }
    found.retain(|(_, fit)| *fit >= 0.5);
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.truncate(most);
    let confidence = found.first().map_or(0.0, |(_, fit)| rounded(*fit));
    let (memories, tokens) = within(found.iter().map(|(note, fit)| Shown::fitting(note, *fit)), budget(args.max_tokens, 500));
    Ok(Found { found: !memories.is_empty(), confidence, left_out: found.len() - memories.len(), memories, tokens })
}

/// How much of a part a text holds: as letters, 1; else the part of its words, 0 to 1.
fn holds(text: &str, part: &str) -> f64 {
    let (text, part) = (text.to_lowercase(), part.trim().to_lowercase());
    if text.contains(&part) {
        return 1.0;
    }
    let [text, part] = [&text, &part].map(|text| words(text).into_iter().collect::<HashSet<String>>());
    part.intersection(&text).count() as f64 / part.len().max(1) as f64
}

/// Tells how acting on a memory turned out. An experience occurs again with this outcome; a note's value moves.
///
/// # Errors
/// An unknown id, and what was superseded or forgotten.
pub fn outcome(user: &User, args: &Rewarded) -> Result<Valued> {
    let reward = args.outcome.value()?;
    if let Some(answered) = user.answered(&args.id) {
        let add = Add {
            messages: Some(answered.messages),
            answer: Some(answered.answer),
            outcome: Some(args.outcome),
            ..Add::default()
        };
        let kept = self::add(user, add)?;
        return Ok(Valued { id: kept.id, value: reward, weights: kept.weights });
    }
    let mut notes = user.notes_mut();
    let old = notes.latest(&args.id)?.clone();
    let value = old.outcome.map_or(reward, |value| value + RATE * (reward - value));
    match &old.act {
        // The same again changes nothing in the weights.
        Some(act) if old.outcome != Some(reward) => {
            let kept = keep(user, &mut notes, acted(anew(old.clone(), Some(reward)), act.clone()), false)?;
            Ok(Valued { id: kept.id, value: reward, weights: kept.weights })
        }
        _ => {
            notes.amend(&[&old.id], |note| note.outcome = Some(value))?;
            Ok(Valued { weights: Shown::of(&old).weights, id: old.id, value })
        }
    }
}

/// Writes what waits into the weights, and replays.
///
/// # Errors
/// A time that is none, a memory of another model, and what a disk refuses.
pub fn sleep(user: &User, brain: Option<&Brain>, args: &Sleep, stop: &AtomicBool) -> Result<Report> {
    let seconds = args.seconds.unwrap_or(20.0);
    if !(0.0..=600.0).contains(&seconds) {
        return Err(Error::input(format!("`seconds` is {seconds}"), "give a number from 0 to 600"));
    }
    let started = Instant::now();
    let mut report = Report::default();
    match brain {
        None => report.note = Some("no model is served (start with --model): notes are kept, and experiences wait".into()),
        Some(brain) => {
            let until = started + Duration::from_secs_f64(seconds);
            let mut done = super::brain::Done::default();
            // One at least, so that sleep is never for nothing.
            while let one = brain.learn(user, 1, stop)?
                && one != super::brain::Done::default()
            {
                done.learned += one.learned;
                done.refused.extend(one.refused);
                if Instant::now() >= until {
                    break;
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            let (moved, slept) = brain.sleep(user, left)?;
            report.learned = done.learned;
            report.not_learned = done.refused.into_iter().map(|(id, why)| format!("{id}: {why}")).collect();
            (report.replayed, report.moved) = (slept.len(), moved);
            report.each = slept
                .iter()
                .map(|one| {
                    let why = one.entry.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
                    format!("{}: {}{why}", one.entry.experience.id, one.entry.stage.name())
                })
                .collect();
        }
    }
    report.waiting = user.notes().waiting();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_held_by_letters_or_by_words() {
        assert_eq!(holds("The passport lies in the blue drawer", "passport LIES in"), 1.0);
        assert!(holds("The passport lies in the blue drawer", "drawer passport red") > 0.6);
        assert_eq!(holds("", "x"), 0.0);
    }
}
