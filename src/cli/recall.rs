//! `sharpwave recall` and the episodic commands of `sharpwave memory`: arguments, progress and printing.

use super::learn::stopper;
use super::progress::Bar;
use clap::Args;
use serde_json::json;
use sharpwave::error::{Error, Result};
use sharpwave::memory::episodic::{BATCH, Episodic, With};
use sharpwave::recall::episode::{Timestamp, instant};
use sharpwave::recall::hippocampus::Why;
use sharpwave::recall::{Ask, Episode, Filter};
use sharpwave::run::Progress;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

/// Which encoder.
#[derive(Args, Clone)]
pub struct EncoderChoice {
    /// Encoder: a BERT folder or GGUF file, a name that `model pull` knows (minilm), or `words` for none (default: the memory's own)
    #[arg(long, value_name = "NAME")]
    encoder: Option<String>,
}

impl EncoderChoice {
    pub fn with(&self) -> With {
        match self.encoder.as_deref() {
            None => With::Own,
            Some("words" | "none") => With::Words,
            Some(name) => With::Named(name.into()),
        }
    }
}

#[derive(Args)]
pub struct RecallArguments {
    /// The hint: a question, or a part of what happened
    hint: String,
    /// The memory folder
    #[arg(long = "memory", value_name = "DIR")]
    folder: PathBuf,
    /// Experiences at most
    #[arg(long, short, value_name = "N", default_value_t = 10)]
    k: usize,
    /// Tokens of all texts together at most
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Of this user alone
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Of this session
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// With this tag; may be repeated
    #[arg(long)]
    tag: Vec<String>,
    /// At this time or later: RFC 3339 or a date
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// That turned out at least so well, from -1 to 1
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    outcome: Option<f64>,
    /// What was superseded or no longer holds as well
    #[arg(long)]
    history: bool,
    /// What a good outcome adds to the score, and a bad one takes away
    #[arg(long, value_name = "W", default_value_t = 0.0)]
    by_outcome: f32,
    /// What being of now adds to the score; it falls by half every 30 days
    #[arg(long, value_name = "W", default_value_t = 0.0)]
    by_recency: f32,
    /// Say nothing where the confidence is lower, and exit with 1
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    min_confidence: f32,
    /// Say why
    #[arg(long)]
    explain: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    encoder: EncoderChoice,
}

fn time(name: &str, text: &Option<String>) -> Result<Option<Timestamp>> {
    let wrong = |text: &String| Error::input(format!("--{name} {text} is no time"), "write it like 2026-05-03, or 2026-05-03T18:30:00Z");
    text.as_ref().map(|text| instant(text).ok_or_else(|| wrong(text))).transpose()
}

/// Opens a memory for asking and says so where its encoder is not at work.
pub fn opened(folder: &Path, with: &With) -> Result<Episodic> {
    let memory = Episodic::read(folder, with)?;
    if let Some(why) = memory.without() {
        note!("words alone are at work: {why}");
    }
    Ok(memory)
}

pub fn recall(a: &RecallArguments) -> Result<ExitCode> {
    let filter = Filter {
        user: a.user.clone(),
        session: a.session.clone(),
        tags: a.tag.clone(),
        since: time("since", &a.since)?,
        until: time("until", &a.until)?,
        outcome: a.outcome,
        history: a.history,
    };
    let mut memory = opened(&a.folder, &a.encoder.with())?;
    let ask = Ask {
        k: a.k,
        max_tokens: a.max_tokens.unwrap_or(usize::MAX),
        filter,
        by_outcome: a.by_outcome,
        by_recency: a.by_recency,
        explain: a.explain,
        ..Ask::new(&a.hint)
    };
    let mut answer = memory.recall(&ask)?;
    let unsure = answer.recalled.is_empty() || answer.confidence < a.min_confidence;
    if unsure {
        answer.recalled.clear();
    }
    if a.json {
        super::json(&answer)?;
    } else {
        for (i, recalled) in answer.recalled.iter().enumerate() {
            let e = &recalled.episode;
            let about = [e.time.as_deref(), e.session.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(", ");
            let about = if about.is_empty() { String::new() } else { format!("  ({about})") };
            out!("{:>2}. {:>6.2}  {}  {}{about}", i + 1, recalled.score, e.id, one_line(&e.said()));
            recalled.why.iter().for_each(explained);
        }
        match unsure {
            true => out!("nothing comes to mind (confidence {:.2})", answer.confidence),
            false => out!("confidence {:.2}; {} synaptic events in {} cells", answer.confidence, answer.events, answer.cells),
        }
    }
    Ok(if unsure { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn explained(why: &Why) {
    let list = |words: &[(String, f32)]| words.iter().map(|(w, x)| format!("{w} {x:.1}")).collect::<Vec<_>>().join(", ");
    let [words, around, sense, sense_around, late, links] = why.parts;
    if !why.words.is_empty() {
        out!("      words: {}", list(&why.words));
    }
    if !why.words_around.is_empty() {
        out!("      words around it: {}", list(&why.words_around));
    }
    out!("      words {words:.2}, around {around:.2}, sense {sense:.2}, around {sense_around:.2}, late {late:.2}, links {links:.2}");
    let hop = why.hop.as_ref().map_or(String::new(), |hop| format!(", passed on by {hop}"));
    out!("      {} granule cells of the sense; fires at {:.2}{hop}", why.units, why.fires_at);
}

pub fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > 200 {
        line = line.chars().take(199).chain(['…']).collect();
    }
    line
}

#[derive(Args)]
pub struct AddArguments {
    /// JSONL, a chat, or plain notes (a paragraph or line each); - for standard input
    #[arg(value_name = "FILE|-", required = true)]
    files: Vec<PathBuf>,
    /// Session of notes and chats (default: the file's name, whose notes are linked in their order)
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// User of those that name none
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Tag for all; may be repeated
    #[arg(long)]
    tag: Vec<String>,
    /// The memory folder; made where there is none
    #[arg(long = "memory", value_name = "DIR")]
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    encoder: EncoderChoice,
}

pub fn add(a: &AddArguments) -> Result<ExitCode> {
    let mut all: Vec<Episode> = Vec::new();
    for path in &a.files {
        let mut bytes = Vec::new();
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned());
        let (name, usual) = match path.as_os_str() == "-" {
            true => {
                std::io::stdin().read_to_end(&mut bytes).map_err(|e| Error::file("standard input", e))?;
                ("standard input".to_string(), None)
            }
            false => {
                bytes = std::fs::read(path).map_err(|e| Error::file(path, e))?;
                (path.display().to_string(), stem)
            }
        };
        all.extend(sharpwave::recall::read::read(&bytes, &name, a.session.as_deref().or(usual.as_deref()))?);
    }
    for episode in &mut all {
        episode.user = episode.user.take().or(a.user.clone());
        episode.tags.extend(a.tag.iter().filter(|tag| !episode.tags.contains(tag)).cloned().collect::<Vec<_>>());
    }
    let mut memory = Episodic::open(&a.folder, &a.encoder.with())?;
    if let Some(why) = memory.without() {
        return Err(Error::input(
            format!("the memory's encoder is not at hand: {why}"),
            "get it, name another with --encoder, or take words alone: sharpwave memory recode --encoder words",
        ));
    }
    let (bar, stop) = (Bar::new(a.json), stopper()?);
    let (mut fresh, mut known, total) = (0, 0, all.len());
    let mut stopped = false;
    while !all.is_empty() {
        if stop.load(Ordering::Relaxed) {
            stopped = true;
            break;
        }
        bar.phase("adding", (fresh + known) as f64 / total as f64);
        let rest = all.split_off(all.len().min(BATCH));
        for (_, new) in memory.add(std::mem::replace(&mut all, rest))? {
            *(if new { &mut fresh } else { &mut known }) += 1;
        }
    }
    bar.clear();
    match a.json {
        true => super::json(&json!({ "added": fresh, "known": known, "left": total - fresh - known, "stopped": stopped }))?,
        false => out!("{fresh} added, {known} known before; the memory has {}", memory.network().len()),
    }
    if stopped {
        note!("stopped; the same command goes on with the other {}", total - fresh - known);
    }
    Ok(if stopped { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
