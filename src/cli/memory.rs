//! `sharpwave memory`: what a memory folder holds, forgetting, and its upkeep.

use super::progress::Bar;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use sharpwave::error::{Error, Result};
use sharpwave::memory::Engram;
use sharpwave::memory::experience::{Experience, Outcome};
use sharpwave::memory::facade::{self, Health};
use sharpwave::memory::journal::{Entry, Stage};
use sharpwave::memory::jsonl::LONGEST_LINE;
use sharpwave::memory::learner::Capacity;
use sharpwave::memory::store::episodes::{Held, has_episodes};
use sharpwave::memory::store::{Left, Report, Store, VERSION, verify};
use sharpwave::recall::completion::Rule;
use sharpwave::run::Progress;
use sharpwave::transformer::site::Site;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use unicode_width::UnicodeWidthStr;

#[derive(Args)]
pub struct MemoryArguments {
    #[command(subcommand)]
    command: MemoryCommand,
}

#[derive(Subcommand)]
enum MemoryCommand {
    /// Add experiences to be recalled: notes, chats, JSONL; no language model is needed. Goes on where it was stopped
    Add(super::recall::AddArguments),
    /// List what can be recalled, in the order in which it came
    Notes {
        /// Only those with this tag
        #[arg(long)]
        tag: Option<String>,
        #[command(flatten)]
        memory: super::recall::Kept,
    },
    /// Complete a part of an experience, by recurrent synapses
    Complete {
        /// A part of what was said or seen
        part: String,
        /// What a synapse makes of its count
        #[arg(long, default_value = "willshaw", value_parser = ["willshaw", "bcpnn"])]
        rule: String,
        #[command(flatten)]
        memory: super::recall::Folder,
    },
    /// Let the network rest: which sequences replay, by surprise, reward, recency and pins; changes nothing
    Replay {
        /// Ripples
        #[arg(long, value_name = "N", default_value_t = 100)]
        ripples: usize,
        /// Seed of the noise
        #[arg(long, value_name = "S", default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        memory: super::recall::Folder,
    },
    /// Say how large the network of what can be recalled is
    Stats {
        #[command(flatten)]
        memory: super::recall::Kept,
    },
    /// Code everything anew by another encoder
    Recode {
        #[command(flatten)]
        memory: super::recall::Folder,
    },
    /// Pin what can be recalled, or say until when it holds
    Keep {
        id: String,
        /// It never fades
        #[arg(long, conflicts_with = "unpin")]
        pin: bool,
        /// It may fade again
        #[arg(long)]
        unpin: bool,
        /// Until when it holds: RFC 3339, a date, or `ever`
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        #[command(flatten)]
        memory: super::recall::Folder,
    },
    /// List the experiences in the order in which they arrived
    List {
        /// Only those with this tag
        #[arg(long)]
        tag: Option<String>,
        /// Only those of this stage
        #[arg(long, value_parser = Stage::NAMES)]
        stage: Option<String>,
        #[command(flatten)]
        memory: Memory,
    },
    /// Show everything about one experience
    Show {
        id: String,
        #[command(flatten)]
        memory: Memory,
    },
    /// Forget experiences: what they left in the model, and their text
    Forget {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        memory: super::recall::Kept,
    },
    /// Put another answer in the place of what an experience taught
    Supersede {
        id: String,
        /// The answer that is right now
        #[arg(long)]
        answer: String,
        /// `id` of the new experience; the old one's with a mark when left out
        #[arg(long, value_name = "ID")]
        new_id: Option<String>,
        /// Model folder or GGUF file, where it is not where the memory was made with it
        #[arg(long, value_name = "PATH")]
        model: Option<String>,
        #[command(flatten)]
        memory: Memory,
    },
    /// Print every experience that is not forgotten as JSONL that `learn` reads: a backup, and the way to another model
    Journal {
        /// The memory folder
        #[arg(long = "memory", value_name = "DIR")]
        folder: PathBuf,
    },
    /// Show what was told about the same question, in order of time
    History {
        id: String,
        #[command(flatten)]
        memory: Memory,
    },
    /// Say how full the memory is
    Capacity {
        /// Model folder or GGUF file, where it is not where the memory was made with it
        #[arg(long, value_name = "PATH")]
        model: Option<String>,
        #[command(flatten)]
        memory: Memory,
    },
    /// Check that the folder is whole, that everything that stands is answered, and that other texts stay; changes nothing
    Verify {
        /// Model folder or GGUF file, where it is not where the memory was made with it
        #[arg(long, value_name = "PATH")]
        model: Option<String>,
        /// Look at the folder alone
        #[arg(long)]
        folder_only: bool,
        #[command(flatten)]
        memory: Memory,
    },
    /// Write the folder anew, without the bytes of what is no longer in it
    Compact {
        #[command(flatten)]
        memory: Memory,
    },
}

#[derive(Args)]
struct Memory {
    /// The memory folder
    #[arg(long = "memory", value_name = "DIR")]
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn memory(arguments: &MemoryArguments) -> Result<ExitCode> {
    match &arguments.command {
        MemoryCommand::Add(arguments) => return super::recall::add(arguments),
        MemoryCommand::Notes { tag, memory } => return super::recall::notes(memory, tag.as_ref()),
        MemoryCommand::Complete { part, rule, memory } => {
            let rule = if rule == "bcpnn" { Rule::Bcpnn } else { Rule::Willshaw };
            return super::recall::complete(memory, part, rule);
        }
        MemoryCommand::Replay { ripples, seed, memory } => return super::recall::replay(memory, *ripples, *seed),
        MemoryCommand::Stats { memory } => return super::recall::stats(memory),
        MemoryCommand::Recode { memory } => return super::recall::recode(memory),
        MemoryCommand::Keep { id, pin, unpin, until, memory } => {
            let pinned = (*pin || *unpin).then_some(*pin);
            return super::recall::keep(memory, id, pinned, until.as_ref());
        }
        MemoryCommand::List { tag, stage, memory } => {
            let mut entries = Store::read(&memory.folder)?.entries()?;
            entries.retain(|entry| tag.as_ref().is_none_or(|tag| entry.experience.tags.contains(tag)));
            entries.retain(|entry| stage.as_ref().is_none_or(|stage| entry.stage.name() == stage));
            if memory.json { print_json(&entries)? } else { list(&entries) }
        }
        MemoryCommand::Show { id, memory } => {
            let store = Store::read(&memory.folder)?;
            let entry = store.find(id)?;
            // Of an older folder there is no more to say than where they are.
            let engrams: Vec<Trace> = match store.meta().version {
                VERSION => store.engrams_of(id)?.iter().map(Trace::of).collect(),
                _ => store.sites(id)?.into_iter().map(Trace::at).collect(),
            };
            if memory.json { print_json(&json!({ "entry": entry, "engrams": engrams }))? } else { show(&entry, &engrams) }
        }
        MemoryCommand::Forget { ids, memory } => {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let Some(folder) = memory.place.folder() else {
                let proofs = super::recall::forget_there(memory, &ids)?;
                if memory.json {
                    print_json(&json!({ "recall": proofs }))?
                } else {
                    proofs.iter().for_each(super::recall::receipt);
                }
                note!("the server's VACUUM, which it does by itself, removes the bytes of what was forgotten");
                return Ok(ExitCode::SUCCESS);
            };
            let learned = folder.join("memory.redb").is_file();
            if !has_episodes(folder) {
                let left = facade::forget(&Store::open(folder)?, &ids)?;
                if memory.json {
                    print_json(&left)?
                } else {
                    left.iter().for_each(forgotten)
                }
                note!("`sharpwave memory compact` removes the bytes of what was forgotten from the file");
                return Ok(ExitCode::SUCCESS);
            }
            let store = if learned { Some(Store::open(folder)?) } else { None };
            let in_journal = |id: &&str| store.as_ref().is_some_and(|s| s.entry(id).is_ok_and(|e| e.is_some()));
            let journal: Vec<&str> = ids.iter().copied().filter(in_journal).collect();
            let proofs = super::recall::forget(folder, &ids, &journal)?;
            let left = match &store {
                Some(store) if !journal.is_empty() => facade::forget(store, &journal)?,
                _ => Vec::new(),
            };
            if memory.json {
                print_json(&json!({ "journal": left, "recall": proofs }))?
            } else {
                left.iter().for_each(forgotten);
                proofs.iter().for_each(super::recall::receipt);
            }
            note!("`sharpwave memory compact` removes the bytes of what was forgotten from the files");
        }
        MemoryCommand::Supersede { id, answer, new_id, model, memory } => {
            let entry = super::learn::supersede(&memory.folder, model.as_deref(), id, answer, new_id.as_deref())?;
            if memory.json { print_json(&entry)? } else { out!("{} takes the place of {id}", entry.experience.id) }
        }
        MemoryCommand::Journal { folder } => {
            for experience in journal(Store::read(folder)?.entries()?) {
                let line = serde_json::to_string(&experience).map_err(|e| Error::input(e.to_string(), "see `memory verify`"))?;
                if line.len() > LONGEST_LINE {
                    note!("{}: its line is longer than the {LONGEST_LINE} bytes that `learn` reads", experience.id);
                }
                out!("{line}");
            }
        }
        MemoryCommand::History { id, memory } => {
            let entries = facade::history(&Store::read(&memory.folder)?, id)?;
            if memory.json { print_json(&entries)? } else { list(&entries) }
        }
        MemoryCommand::Capacity { model, memory } => {
            let capacity = super::learn::open(Store::read(&memory.folder)?, model.as_deref())?.1.capacity()?;
            if memory.json { print_json(&capacity)? } else { filled(&capacity) }
        }
        MemoryCommand::Verify { model, folder_only, memory } => return checked(memory, model.as_deref(), *folder_only),
        MemoryCommand::Compact { memory } => {
            let notes = super::recall::compact(&memory.folder)?;
            let sizes = match notes.is_some() && !memory.folder.join("memory.redb").is_file() {
                true => None,
                false => Some(Store::open(&memory.folder)?.compact()?),
            };
            match (memory.json, notes) {
                (true, None) => print_json(&sizes)?,
                (true, Some([before, after])) => {
                    print_json(&json!({ "journal": sizes, "recall": { "before": before, "after": after } }))?
                }
                (false, _) => {
                    sizes.iter().for_each(|s| out!("{} bytes before, {} bytes after", s.before, s.after));
                    notes.iter().for_each(|[before, after]| out!("recall: {before} bytes before, {after} bytes after"));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_json(value: &impl Serialize) -> Result<()> {
    out!("{}", serde_json::to_string_pretty(value).map_err(|e| Error::input(e.to_string(), "leave out --json"))?);
    Ok(())
}

/// What is not forgotten, as it can be learned again in this order: an experience whose `supersedes` names none before it takes
/// nothing's place.
fn journal(entries: Vec<Entry>) -> Vec<Experience> {
    let mut before = BTreeSet::new();
    let mut told = Vec::new();
    for Entry { mut experience, stage, told: when, .. } in entries {
        if stage != Stage::Forgotten {
            // Its place in time goes along.
            experience.time = experience.time.or(Some(when).filter(|when| !when.is_empty()));
            experience.supersedes = experience.supersedes.filter(|old| before.contains(old));
            before.insert(experience.id.clone());
            told.push(experience);
        }
    }
    told
}

fn list(entries: &[Entry]) {
    let terminal = terminal_size::terminal_size_of(std::io::stdout()).map_or(120, |(width, _)| usize::from(width.0));
    let longest = entries.iter().map(|entry| entry.experience.id.width()).max().unwrap_or(0).max(2);
    out!("{}  stage       outcome  surprise  prompt → answer", padded("id", longest));
    for entry in entries {
        let e = &entry.experience;
        let row = format!(
            "{}  {:<10}  {:<7}  {:>8}  ",
            padded(&e.id, longest),
            entry.stage.name(),
            if entry.stage == Stage::Forgotten { String::new() } else { outcome(e.outcome) },
            format!("{:.2}", entry.surprise),
        );
        let room = terminal.saturating_sub(row.width()).max(20);
        out!("{row}{}", if entry.stage == Stage::Forgotten { "-".into() } else { pair(&e.asked(), &e.answer, room) });
    }
}

/// Prompt and answer on one line of `room` columns; where both are too long, each gets half.
fn pair(prompt: &str, answer: &str, room: usize) -> String {
    let (prompt, answer) = (one_line(prompt), one_line(answer));
    let room = room - " → ".width();
    let answer = shortened(&answer, (room / 2).max(room.saturating_sub(prompt.width())));
    format!("{} → {answer}", shortened(&prompt, room - answer.width()))
}

fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// At most `room` columns of a text; … stands for what was left out.
fn shortened(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_string();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if kept.width() + 1 > room {
            kept.pop();
            break;
        }
    }
    kept + "…"
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{:1$}", "", width.saturating_sub(text.width()))
}

fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Success => "success".into(),
        Outcome::Failure => "failure".into(),
        Outcome::Reward(reward) => reward.to_string(),
    }
}

/// What there is to say of an engram.
#[derive(Serialize)]
struct Trace {
    site: String,
    #[serde(flatten)]
    sizes: Option<Sizes>,
}

#[derive(Serialize)]
struct Sizes {
    inputs: usize,
    outputs: usize,
    /// Of the value.
    length: f64,
    ridge: f32,
}

impl Trace {
    fn at(site: Site) -> Trace {
        Trace { site: site.to_string(), sizes: None }
    }

    fn of(engram: &Engram) -> Trace {
        let length = engram.value.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let sizes = Sizes { inputs: engram.key.len(), outputs: engram.value.len(), length, ridge: engram.ridge };
        Trace { sizes: Some(sizes), ..Trace::at(engram.site) }
    }
}

fn show(entry: &Entry, engrams: &[Trace]) {
    let e = &entry.experience;
    let line = |name: &str, text: &str| out!("  {name:<10}  {}", text.replace('\n', &format!("\n{:14}", "")));
    let optional = |name: &str, text: &Option<String>| {
        if let Some(text) = text {
            line(name, text);
        }
    };
    out!("{}", e.id);
    match &entry.stage {
        Stage::Superseded { by } => line("stage", &format!("superseded by {by}")),
        Stage::Refused { reason } => line("stage", &format!("refused: {reason}")),
        stage => line("stage", stage.name()),
    }
    line("arrived", &entry.arrived.to_string());
    optional("time", &e.time);
    if !e.tags.is_empty() {
        line("tags", &e.tags.join(", "));
    }
    if entry.stage != Stage::Forgotten {
        optional("user", &e.user);
        line("outcome", &outcome(e.outcome));
        line("surprise", &format!("{:.3} nats", entry.surprise));
        line("replays", &entry.replays.to_string());
        optional("supersedes", &e.supersedes);
        optional("subject", &e.subject);
        line("prompt", &e.asked());
        line("answer", &e.answer);
    }
    optional("note", &entry.note);
    for Trace { site, sizes } in engrams {
        match sizes {
            Some(Sizes { inputs, outputs, length, ridge }) => {
                line("engram", &format!("{site}: {inputs} inputs, {outputs} outputs, length {length:.3}, ridge {ridge}"));
            }
            None => line("engram", &format!("{site}, in the form of an older version")),
        }
    }
}

fn forgotten(left: &Left) {
    match (&left.was, left.engrams.as_slice()) {
        (Stage::Forgotten, _) => out!("{}: was forgotten before", left.id),
        (_, []) => out!("{}: its text; it had left nothing in the model", left.id),
        (_, sites) => {
            let sites: BTreeSet<&str> = sites.iter().map(String::as_str).collect();
            out!("{}: its text, and what it had left at {}", left.id, sites.into_iter().collect::<Vec<_>>().join(", "));
        }
    }
}

/// Checks the folder, then, with its model, what it says.
fn checked(memory: &Memory, model: Option<&str>, folder_only: bool) -> Result<ExitCode> {
    let report = verify(&memory.folder)?;
    if !memory.json {
        verified(&report);
    }
    let store = Store::read(&memory.folder);
    let learned = report.damage.is_empty() && report.engrams > 0 && store.as_ref().is_ok_and(|s| s.meta().version == VERSION);
    let mut health = None;
    if learned && !folder_only {
        match super::learn::open(store?, model) {
            Ok((_, mut memory)) => {
                let (bar, stop) = (Bar::new(false), super::interrupt::watch("stopping after this experience")?);
                health = Some(memory.check(&mut |done| bar.phase("asking for everything", done), &stop)?);
                bar.clear();
            }
            Err(error @ Error::Input(_)) if model.is_none() => note!("only the folder was looked at: {error}"),
            Err(error) => return Err(error),
        }
    }
    if memory.json {
        #[derive(Serialize)]
        struct Whole<'a> {
            #[serde(flatten)]
            folder: &'a Report,
            health: &'a Option<Health>,
        }
        print_json(&Whole { folder: &report, health: &health })?;
    } else if let Some(health) = &health {
        let Health { standing, wrong, left_out, damage, agrees } = health;
        out!("{} of {standing} experiences that stand are answered", standing - wrong.len());
        wrong.iter().for_each(|id| out!("not answered: {id}"));
        out!(
            "one adapter of all leaves out {}, and changes other texts by {:.4} nats in the mean ({:.0} % go on otherwise)",
            left_out.len(),
            damage.kl,
            100.0 * damage.changed
        );
        if !agrees {
            out!("made anew, the one adapter is another than the one that was kept");
        }
    }
    let sound = health.as_ref().is_none_or(|h| h.wrong.is_empty() && h.agrees);
    if !report.damage.is_empty() {
        note!("the memory {} is damaged: restore the folder from a copy", memory.folder.display());
    } else if !sound {
        note!("learn what is not answered once more, or forget it");
    }
    Ok(if report.damage.is_empty() && sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn filled(c: &Capacity) {
    out!("{} experiences stand and are composed for the requests that ask for them", c.standing);
    out!("{} of them fit together in one adapter, which takes {} of {} directions", c.included, c.taken, c.most);
    out!("it changes other texts by {:.4} nats in the mean; {:.4} are allowed", c.damage.kl, c.budget);
}

fn verified(report: &Report) {
    let stages: Vec<String> = report.stages.iter().map(|(stage, n)| format!("{n} {stage}")).collect();
    let stages = if stages.is_empty() { String::new() } else { format!(" ({})", stages.join(", ")) };
    let Report { bytes, entries, engrams, statistics, damage, recall, .. } = report;
    if *bytes > 0 || recall.is_none() {
        out!("{entries} experiences{stages}, {engrams} engrams, {statistics} statistics in {bytes} bytes");
    }
    if let Some(Held { bytes, experiences, cells, tokens, forgotten, .. }) = recall {
        out!(
            "recall: {experiences} experiences, {cells} cells, {tokens} of them with token vectors, {forgotten} forgotten, in {bytes} bytes"
        );
    }
    match damage.as_slice() {
        [] => out!("everything is whole"),
        damage => damage.iter().for_each(|what| out!("damaged: {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_and_answer_share_a_line() {
        assert_eq!(pair("The capital\n of  France is", " Paris", 40), "The capital of France is → Paris");
        assert_eq!(pair("The capital of France is", " Paris", 20), "The capital… → Paris");
        assert_eq!(pair(&"a".repeat(50), &"b".repeat(50), 21), format!("{}… → {}…", "a".repeat(8), "b".repeat(8)));
        let wide = pair("日本の首都は", "東京", 20);
        assert!(wide.width() <= 20 && wide.ends_with("→ 東京"), "{wide}");
        assert!(pair("日本の首都はどこですか", "東京", 20).width() <= 20);
    }
}
