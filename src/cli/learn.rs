//! `sharpwave learn` and `sharpwave sleep`: a model's memory takes experiences in, and moves them over night.

use super::interrupt;
use super::progress::Bar;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use sharpwave::error::{Error, Result};
use sharpwave::memory::Memory;
use sharpwave::memory::experience::Experience;
use sharpwave::memory::facade::{Observed, model_of};
use sharpwave::memory::journal::{self, Stage};
use sharpwave::memory::jsonl::Lines;
use sharpwave::memory::key_statistics::{self, Statistics};
use sharpwave::memory::questions::{self, Prompt};
use sharpwave::memory::settings::Settings;
use sharpwave::memory::store::{Store, user_folder};
use sharpwave::run::Progress;
use sharpwave::transformer::{Host, Source};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct LearnArguments {
    /// Experiences, a JSON object a line; - reads standard input
    experiences: PathBuf,
    /// The memory folder; made where there is none
    #[arg(long, value_name = "DIR", required_unless_present = "memories", conflicts_with = "memories")]
    memory: Option<PathBuf>,
    /// A folder of memory folders, one a user: each experience goes to its `user`'s
    #[arg(long, value_name = "DIR")]
    memories: Option<PathBuf>,
    /// Model folder, GGUF file, or stories260k; a memory knows its own
    #[arg(long, value_name = "PATH")]
    model: Option<String>,
    /// Refuse the file at its first bad line, before anything is learned
    #[arg(long)]
    strict: bool,
    /// Prompts to protect: a file with one a line, or JSON lines with `prompt` and `subject`. Only for a new memory
    #[arg(long, value_name = "FILE")]
    protect: Option<PathBuf>,
    /// A setting of a new memory, such as coding=exact or wake_layer=20; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Print a JSON object an experience, and one with the sums
    #[arg(long)]
    json: bool,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Args)]
pub struct SleepArguments {
    /// The memory folder
    #[arg(long, value_name = "DIR")]
    memory: PathBuf,
    /// Model folder or GGUF file, where it is not where the memory was made with it
    #[arg(long, value_name = "PATH")]
    model: Option<String>,
    /// Wake up after this time: 90s, 10m, 8h
    #[arg(long, value_name = "TIME", value_parser = time)]
    budget: Option<Duration>,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

fn time(text: &str) -> std::result::Result<Duration, String> {
    let split = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let number: f64 = text[..split].trim().parse().map_err(|_| "give a number with s, m or h, such as 10m".to_string())?;
    let unit = match text[split..].trim() {
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("`{other}` is no unit of time: use s, m or h")),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|e| e.to_string())
}

/// What a new memory protects: prompts of a file, or the built-in ones.
pub fn protected(file: Option<&PathBuf>) -> Result<Vec<Prompt>> {
    match file {
        Some(path) => questions::prompts(path),
        None => Ok(questions::built_in_prompts()),
    }
}

/// Statistics of a model's keys, from the cache where they are there.
pub fn statistics(
    source: &Source,
    host: &Host,
    settings: &Settings,
    prompts: &[Prompt],
    bar: &Bar,
    stop: &AtomicBool,
) -> Result<Statistics> {
    let mut tell = |done: f64| bar.phase("reading what to protect", done);
    let folder = key_statistics::cache_folder();
    let fingerprint = source.fingerprint()?;
    Statistics::cached(&folder, &fingerprint, host, settings, prompts, &mut tell, stop)
}

pub fn learn(a: &LearnArguments) -> Result<ExitCode> {
    let name = a.experiences.display().to_string();
    let reader: Box<dyn BufRead> = match name.as_str() {
        "-" => Box::new(BufReader::new(std::io::stdin())),
        _ => Box::new(BufReader::new(File::open(&a.experiences).map_err(|e| Error::file(&a.experiences, e))?)),
    };
    // Strict reading comes to an end before anything is changed.
    let mut lines: Box<dyn Iterator<Item = _>> = Box::new(Lines::new(reader, &name));
    if a.strict {
        let all: Vec<_> = lines.collect();
        if let Some((_, Err(_))) = all.iter().find(|(_, line)| line.is_err()) {
            return Err(all
                .into_iter()
                .find_map(|(_, line)| line.err())
                .unwrap_or_else(|| Error::input("a bad line", "mend it")));
        }
        lines = Box::new(all.into_iter());
    }
    let stop = interrupt::watch("stopping after this experience")?;
    let bar = Bar::new(a.quiet);
    bar.phase("reading the model", 0.0);
    let exists = a.memory.as_ref().is_some_and(|m| m.join("memory.redb").exists());
    let source = match (&a.model, &a.memory) {
        (Some(model), _) => Source::open(model)?,
        (None, Some(memory)) if exists => model_of(&Store::read(memory)?, None)?,
        (None, Some(memory)) => {
            return Err(Error::input(format!("{} is a new memory, of no model yet", memory.display()), "name the --model"));
        }
        (None, None) => return Err(Error::input("memories of users may be new, of no model yet", "name the --model")),
    };
    if exists && !(a.set.is_empty() && a.protect.is_none()) {
        return Err(Error::input("this memory has settings already", "leave out --set and --protect, or make a new memory"));
    }
    let settings = Settings::new(&source.config).with(&a.set, &source.config)?;
    let prompts = protected(a.protect.as_ref())?;
    let host = Arc::new(source.load()?);
    let open = |folder: &Path| -> Result<Memory> {
        let mut memory = Memory::open_or_create(folder, &source, host.clone(), &settings)?;
        memory.prepare(|settings| statistics(&source, &host, settings, &prompts, &bar, &stop))?;
        Ok(memory)
    };
    let mut memories = Memories { root: a.memories.clone(), open: BTreeMap::new() };
    if let Some(folder) = &a.memory {
        memories.open.insert(String::new(), open(folder)?);
    }
    let mut sums = Sums::default();
    let started = Instant::now();
    for (number, line) in lines {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let observed = line.and_then(|experience| memories.of(&experience, &open)?.observe(&experience));
        match observed {
            Ok(observed) => {
                sums.count(&observed);
                bar.phase(&format!("{} learned", sums.learned), 0.0);
                if a.json {
                    out!("{}", serde_json::to_string(&told(number, &observed)).unwrap_or_default());
                } else if let Some(line) = said(&observed) {
                    bar.line(&line);
                }
            }
            Err(error @ Error::Input(_)) => {
                sums.bad += 1;
                if a.json {
                    out!(
                        "{}",
                        json!({ "line": number, "status": "bad line", "reason": error.to_string(), "remedy": error.remedy() })
                    );
                } else {
                    bar.line(&format!("line {number} is left out"));
                    super::show(&error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut capacities = Vec::new();
    for (user, memory) in &mut memories.open {
        bar.phase("what fits into one adapter", 1.0);
        capacities.push((user.clone(), memory.capacity()?));
    }
    bar.clear();
    let stopped = stop.load(Ordering::Relaxed);
    if a.json {
        let capacities: Vec<_> = capacities.iter().map(|(user, c)| json!({ "user": user, "capacity": c })).collect();
        out!("{}", json!({ "sums": sums, "memories": capacities, "seconds": seconds, "stopped": stopped }));
    } else {
        let Sums { learned, before, refused, bad } = sums;
        let each = if learned > 0 { format!(", {:.0} ms each", seconds * 1e3 / learned as f64) } else { String::new() };
        out!("{learned} learned{each}; {before} known before, {refused} refused, {bad} bad lines");
        for (user, c) in capacities {
            let of = if user.is_empty() { String::new() } else { format!("{user}: ") };
            note!(
                "{of}{} experiences stand, {} of them fit together in one adapter, which takes {} of {} directions",
                c.standing,
                c.included,
                c.taken,
                c.most
            );
        }
    }
    Ok(if stopped { interrupt::code() } else { sums.code() })
}

/// The memories that experiences go to.
struct Memories {
    /// Where users have theirs; None where there is one memory.
    root: Option<PathBuf>,
    open: BTreeMap<String, Memory>,
}

impl Memories {
    fn of(&mut self, experience: &Experience, open: &dyn Fn(&Path) -> Result<Memory>) -> Result<&mut Memory> {
        let user = match (&self.root, &experience.user) {
            (None, _) => String::new(),
            (Some(_), Some(user)) => user.clone(),
            (Some(_), None) => {
                return Err(Error::input(
                    format!("experience {:?} has no `user`", experience.id),
                    "name the user, or learn it with --memory",
                ));
            }
        };
        match self.open.entry(user) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(place) => {
                let folder = self.root.as_ref().map(|root| user_folder(root, place.key())).unwrap_or_default();
                Ok(place.insert(open(&folder)?))
            }
        }
    }
}

/// What came of a file.
#[derive(Clone, Copy, Default, Serialize)]
struct Sums {
    learned: usize,
    before: usize,
    refused: usize,
    bad: usize,
}

impl Sums {
    fn count(&mut self, observed: &Observed) {
        match observed {
            Observed::Learned(_) => self.learned += 1,
            Observed::Before(_) => self.before += 1,
            Observed::Refused(_) => self.refused += 1,
        }
    }

    /// 0: all are in effect; 3: some are; 4: none is.
    fn code(self) -> ExitCode {
        match (self.learned + self.before, self.refused + self.bad) {
            (_, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::from(4),
            _ => ExitCode::from(3),
        }
    }
}

/// One experience, for programs.
fn told(line: usize, observed: &Observed) -> serde_json::Value {
    let (status, entry) = match observed {
        Observed::Learned(entry) => ("learned", entry),
        Observed::Before(entry) => ("known before", entry),
        Observed::Refused(entry) => ("refused", entry),
    };
    let reason = if let Stage::Refused { reason } = &entry.stage { Some(reason) } else { None };
    json!({ "line": line, "id": entry.experience.id, "status": status, "stage": entry.stage.name(), "reason": reason, "note": entry.note })
}

/// The same for people, where there is something to say.
fn said(observed: &Observed) -> Option<String> {
    let entry = observed.entry();
    let id = &entry.experience.id;
    match (observed, &entry.stage) {
        (Observed::Before(_), _) => None,
        (_, Stage::Refused { reason }) => Some(format!("{id} was not learned: {reason}")),
        (_, Stage::Superseded { by }) => Some(format!("{id} is kept as history: `{by}` is newer")),
        _ => entry.note.as_ref().map(|note| format!("{id}: {note}")),
    }
}

/// The memory of a store, with its model.
pub fn open(store: Store, model: Option<&str>) -> Result<(Source, Memory)> {
    let source = model_of(&store, model)?;
    let host = Arc::new(source.load()?);
    let memory = Memory::new(store, host)?;
    Ok((source, memory))
}

/// Another answer in the place of what an experience taught: a success at the same prompt.
pub fn supersede(memory: &Path, model: Option<&str>, id: &str, answer: &str, new_id: Option<&str>) -> Result<journal::Entry> {
    match open(Store::open(memory)?, model)?.1.supersede(id, answer, new_id)? {
        Observed::Learned(entry) => Ok(entry),
        Observed::Before(entry) => {
            Err(Error::input(format!("there is an experience {} already", entry.experience.id), "give another --new-id"))
        }
        Observed::Refused(entry) => {
            let reason = if let Stage::Refused { reason } = &entry.stage { reason.as_str() } else { "" };
            let message = format!("{} was not learned: {reason}", entry.experience.id);
            Err(Error::input(message, "see `sharpwave memory show`; what it was to replace stays"))
        }
    }
}

pub fn sleep(a: &SleepArguments) -> Result<ExitCode> {
    let until = a.budget.map(|budget| Instant::now() + budget);
    let stop = interrupt::watch("waking up after this experience")?;
    let bar = Bar::new(a.quiet);
    bar.phase("reading the memory and its model", 0.0);
    let (_, mut memory) = open(Store::open(&a.memory)?, a.model.as_deref())?;
    let (begun, left) = (Instant::now(), Cell::new(None));
    // The night ends when everything was replayed, or when its time is over.
    let mut progress = |done: f64| {
        let of_time = a.budget.map_or(0.0, |budget| begun.elapsed().as_secs_f64() / budget.as_secs_f64().max(1e-3));
        let name = left.get().map_or("dreaming".to_string(), |left| format!("dreaming, {left} to replay"));
        bar.phase(&name, done.max(of_time).min(1.0));
    };
    progress(0.0);
    let moved = memory.sleep(until, &stop, &mut progress, &mut |slept, remaining| {
        let e = &slept.entry;
        let why = e.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
        out!("{}: p {:.3}, {}{why}, {:.1} s", e.experience.id, slept.probability, e.stage.name(), slept.seconds);
        left.set(Some(remaining));
    })?;
    bar.clear();
    let learner = memory.learner();
    out!("{moved} moved from layer {} to layer {}", learner.late().layer, learner.early().layer);
    Ok(if stop.load(Ordering::Relaxed) { interrupt::code() } else { ExitCode::SUCCESS })
}
