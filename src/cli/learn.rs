//! `sharpwave learn` and `sharpwave sleep`: a model's memory takes experiences in, and moves them over night.

use super::progress::Bar;
use clap::Args;
use sharpwave::bridge::{Host, Source};
use sharpwave::error::{Error, Result};
use sharpwave::memory::entry::{Entry, Stage};
use sharpwave::memory::experience::{Experience, Outcome, now};
use sharpwave::memory::keeper::{self, Keeper, Learned};
use sharpwave::memory::lines::Lines;
use sharpwave::memory::protect::{self, Prompt, Statistics};
use sharpwave::memory::settings::Settings;
use sharpwave::memory::store::Store;
use sharpwave::run::Progress;
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
    #[arg(long, value_name = "DIR")]
    memory: PathBuf,
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

/// Set by Ctrl-C.
pub fn stopper() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = stop.clone();
    ctrlc::set_handler(move || set.store(true, Ordering::Relaxed))
        .map_err(|e| Error::Run { message: format!("Ctrl-C cannot be heard: {e}"), remedy: "start again".into() })?;
    Ok(stop)
}

/// The model of a memory: as asked for, or as the memory has it.
pub fn model_of(store: &Store, asked: Option<&str>) -> Result<Source> {
    let name = asked.unwrap_or(&store.meta().model);
    let source = Source::open(name)?;
    store.check_model(&source.fingerprint()?)?;
    Ok(source)
}

/// What a new memory protects: prompts of a file, or the built-in ones.
pub fn protected(file: Option<&PathBuf>) -> Result<Vec<Prompt>> {
    match file {
        Some(path) => protect::prompts(path),
        None => Ok(protect::built_in_prompts()),
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
    let folder = protect::cache_folder();
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
    let stop = stopper()?;
    let bar = Bar::new(a.quiet);
    let exists = a.memory.join("memory.redb").exists();
    let source = match (&a.model, exists) {
        (Some(model), _) => Source::open(model)?,
        (None, true) => {
            let store = Store::open(&a.memory)?;
            model_of(&store, None)?
        }
        (None, false) => {
            return Err(Error::input(format!("{} is a new memory, of no model yet", a.memory.display()), "name the --model"));
        }
    };
    if exists && !(a.set.is_empty() && a.protect.is_none()) {
        return Err(Error::input(
            format!("{} has settings already", a.memory.display()),
            "leave out --set and --protect, or make a new memory",
        ));
    }
    let settings = Settings::new(&source.config).with(&a.set, &source.config)?;
    let prompts = protected(a.protect.as_ref())?;
    let host = source.load()?;
    let store = Store::open_or_create(&a.memory, &keeper::meta(&source, &settings)?)?;
    let mut keeper = Keeper::new(store, &host, |settings| statistics(&source, &host, settings, &prompts, &bar, &stop))?;
    let (mut yes, mut before, mut refused, mut bad) = (0, 0, 0, 0);
    let started = Instant::now();
    for (number, line) in lines {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match line {
            Ok(experience) => match keeper.learn(&experience)? {
                Learned::Yes(entry) => {
                    yes += 1;
                    bar.phase(&format!("{yes} learned"), 0.0);
                    if let Some(note) = &entry.note {
                        bar.line(&format!("{}: {note}", entry.experience.id));
                    }
                }
                Learned::Before(_) => before += 1,
                Learned::Refused(entry) => {
                    refused += 1;
                    if let Stage::Refused { reason } = &entry.stage {
                        bar.line(&format!("{} was not learned: {reason}", entry.experience.id));
                    }
                }
            },
            Err(error) => {
                bad += 1;
                bar.line(&format!("line {number} is left out"));
                super::show(&error);
            }
        }
    }
    bar.clear();
    let each =
        if yes > 0 { format!(", {:.0} ms each", started.elapsed().as_secs_f64() * 1e3 / f64::from(yes)) } else { String::new() };
    out!("{yes} learned{each}; {before} known before, {refused} refused, {bad} bad lines");
    let (taken, all) = keeper.learner.late.load();
    note!("{taken} of {all} directions of layer {} are taken", keeper.learner.late.site.layer);
    Ok(if stop.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Another answer in the place of what an experience taught: a success at the same prompt.
pub fn supersede(memory: &Path, model: Option<&str>, id: &str, answer: &str, new_id: Option<&str>) -> Result<Entry> {
    let store = Store::open(memory)?;
    let old = store.find(id)?.experience;
    if old.prompt.is_empty() && old.messages.is_empty() {
        return Err(Error::input(format!("{id} was forgotten: its prompt is gone"), "learn a new experience instead"));
    }
    let fresh = |n: usize| if n == 0 { format!("{id}'") } else { format!("{id}'{n}") };
    let id = match new_id {
        Some(id) => id.to_string(),
        None => {
            let mut n = 0;
            while store.entry(&fresh(n))?.is_some() {
                n += 1;
            }
            fresh(n)
        }
    };
    let supersedes = Some(old.id.clone());
    let new = Experience { id, answer: answer.into(), outcome: Outcome::Success, time: Some(now()), supersedes, ..old };
    if let Some(flaw) = new.flaw() {
        return Err(flaw.of(&new.id));
    }
    let source = model_of(&store, model)?;
    let host = source.load()?;
    let empty = || Error::input("this memory is empty", "learn something first");
    match Keeper::new(store, &host, |_| Err(empty()))?.learn(&new)? {
        Learned::Yes(entry) => Ok(entry),
        Learned::Before(entry) => {
            Err(Error::input(format!("there is an experience {} already", entry.experience.id), "give another --new-id"))
        }
        Learned::Refused(entry) => Err(Error::input(
            format!("{} was not learned: {}", entry.experience.id, entry.stage.name()),
            "see `sharpwave memory show`; what it was to replace stays",
        )),
    }
}

pub fn sleep(a: &SleepArguments) -> Result<ExitCode> {
    let until = a.budget.map(|budget| Instant::now() + budget);
    let stop = stopper()?;
    let store = Store::open(&a.memory)?;
    let source = model_of(&store, a.model.as_deref())?;
    let host = source.load()?;
    let empty = || Error::input("this memory is empty: there is nothing to replay", "learn something first");
    let mut keeper = Keeper::new(store, &host, |_| Err(empty()))?;
    let bar = Bar::new(a.quiet);
    let moved = keeper.sleep(until, &stop, &mut |slept, left| {
        let e = &slept.entry;
        out!("{}: p {:.3} -> {:.3}, {}, {:.1} s", e.experience.id, slept.before, slept.after, e.stage.name(), slept.seconds);
        bar.phase(&format!("{left} to replay"), 0.0);
    })?;
    bar.clear();
    out!("{moved} moved from layer {} to layer {}", keeper.learner.late.site.layer, keeper.learner.early.site.layer);
    Ok(ExitCode::SUCCESS)
}
