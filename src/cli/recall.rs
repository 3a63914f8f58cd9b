//! `sharpwave recall` and the episodic commands of `sharpwave memory`: arguments, progress and printing.

use super::interrupt;
use super::progress::Bar;
use clap::Args;
use serde_json::json;
use sharpwave::error::{Error, Result};
use sharpwave::memory::episodic::{BATCH, Episodic, Recall, Size, With};
use sharpwave::memory::postgres::{Remote, Servers};
use sharpwave::recall::completion::Rule;
use sharpwave::recall::episode::{Timestamp, instant};
use sharpwave::recall::hippocampus::{Receipt, Why};
use sharpwave::recall::{Ask, Episode, Filter, replay};
use sharpwave::run::Progress;
use std::io::Read;
use std::ops::ControlFlow;
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

/// Where a memory lies.
#[derive(Args)]
pub struct Place {
    /// The memory folder
    #[arg(long = "memory", value_name = "DIR", required_unless_present = "databases")]
    folder: Option<PathBuf>,
    /// In PostgreSQL with pgvector instead: postgres://user@host:5432/database; of several servers all, in the same order each time
    #[arg(long = "database", value_name = "URL", conflicts_with = "folder", requires = "user")]
    databases: Vec<String>,
}

impl Place {
    /// The folder, where it is one.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Whose of the servers' memories is meant.
    fn server<'a>(&self, user: &'a Option<String>) -> Result<(Servers, &'a str)> {
        Ok((Servers::new(&self.databases)?, user.as_deref().unwrap_or("")))
    }

    /// The memory, to write; begun where there is none.
    fn open(&self, user: &Option<String>, with: &With) -> Result<Box<dyn Recall>> {
        if let Some(folder) = &self.folder {
            return Ok(Box::new(Episodic::open(folder, with)?));
        }
        let (servers, user) = self.server(user)?;
        Ok(Box::new(Remote::open(&servers, user, with)?))
    }

    /// The memory, for asking; says so where its encoder is not at work.
    fn read(&self, user: &Option<String>, with: &With) -> Result<Box<dyn Recall>> {
        if let Some(folder) = &self.folder {
            return Ok(Box::new(opened(folder, with)?));
        }
        let (servers, user) = self.server(user)?;
        let memory = Remote::read(&servers, user, with)?;
        memory.without().iter().for_each(|why| note!("words alone are at work: {why}"));
        Ok(Box::new(memory))
    }
}

#[derive(Args)]
pub struct RecallArguments {
    /// The hint: a question, or a part of what happened
    hint: String,
    #[command(flatten)]
    place: Place,
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
    let wrong =
        |text: &String| Error::input(format!("--{name} {text} is no time"), "write it like 2026-05-03, or 2026-05-03T18:30:00Z");
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
        // In a database all of a memory is its user's.
        user: a.user.clone().filter(|_| a.place.folder().is_some()),
        session: a.session.clone(),
        tags: a.tag.clone(),
        since: time("since", &a.since)?,
        until: time("until", &a.until)?,
        outcome: a.outcome,
        history: a.history,
    };
    let mut memory = a.place.read(&a.user, &a.encoder.with())?;
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
    out!(
        "      words {words:.2}, around {around:.2}, sense {sense:.2}, around {sense_around:.2}, late {late:.2}, links {links:.2}"
    );
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
    #[command(flatten)]
    place: Place,
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
    let mut memory = a.place.open(&a.user, &a.encoder.with())?;
    if let Some(why) = memory.without() {
        return Err(Error::input(
            format!("the memory's encoder is not at hand: {why}"),
            "get it, name another with --encoder, or take words alone: sharpwave memory recode --encoder words",
        ));
    }
    let (bar, stop) = (Bar::new(a.json), interrupt::watch("stopping; what was added stays")?);
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
        false => out!("{fresh} added, {known} known before; the memory has {}", memory.count()?),
    }
    if stopped {
        note!("stopped; the same command goes on with the other {}", total - fresh - known);
    }
    Ok(if stopped { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A memory folder to look into.
#[derive(Args)]
pub struct Folder {
    /// The memory folder
    #[arg(long = "memory", value_name = "DIR")]
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    encoder: EncoderChoice,
}

/// A memory to look into, wherever it lies.
#[derive(Args)]
pub struct Kept {
    #[command(flatten)]
    pub place: Place,
    /// Whose memory it is, in a database
    #[arg(long, value_name = "NAME", requires = "databases")]
    user: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What can be recalled, in order.
pub fn notes(memory: &Kept, tag: Option<&String>) -> Result<ExitCode> {
    let mut all = memory.place.read(&memory.user, &With::Words)?.episodes()?;
    all.retain(|e| tag.is_none_or(|tag| e.tags.contains(tag)));
    if memory.json {
        super::json(&all)?;
    } else {
        for e in all {
            let mut marks = Vec::new();
            marks.extend(e.pinned.then_some("pinned".to_string()));
            marks.extend(e.path.clone());
            marks.extend(e.quarantine.as_ref().map(|why| format!("held back: {why}")));
            marks.extend(e.superseded_by.as_ref().map(|by| format!("superseded by {by}")));
            marks.extend(e.until.as_ref().map(|until| format!("until {until}")));
            let marks = if marks.is_empty() { String::new() } else { format!("  [{}]", marks.join(", ")) };
            out!("{}  {}{marks}", e.id, one_line(&e.said()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn complete(folder: &Folder, part: &str, rule: Rule) -> Result<ExitCode> {
    let memory = opened(&folder.folder, &folder.encoder.with())?;
    let restored = memory.network().complete(part, rule)?;
    if folder.json {
        super::json(&restored)?;
    } else {
        match &restored {
            None => out!("no cell is driven by that"),
            Some(r) => {
                out!("{}", r.episode.said());
                let (given, whole) = (100.0 * r.given, 100.0 * r.restored);
                out!("{}: {given:.0} % of its cells were driven, {whole:.0} % fire after {} rounds", r.episode.id, r.rounds);
            }
        }
    }
    Ok(if restored.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn replay(folder: &Folder, sequences: usize, seed: u64) -> Result<ExitCode> {
    let memory = opened(&folder.folder, &With::Words)?;
    let (bar, stop) = (Bar::new(folder.json), interrupt::watch("stopping after this sequence")?);
    let report = replay::rest(memory.network(), sequences, seed, Timestamp::now(), &mut |done| {
        bar.phase("resting", done as f64 / sequences.max(1) as f64);
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    drop(bar);
    if folder.json {
        super::json(&report)?;
        return Ok(ExitCode::SUCCESS);
    }
    for sequence in report.sequences.iter().take(20) {
        let arrow = if sequence.spearman.is_some_and(|rho| rho < 0.0) { " <- " } else { " -> " };
        out!("{:>6.0} ms  {}", sequence.ms, sequence.ids.join(arrow));
    }
    let (replayed, seconds) = (report.counts.len(), report.ms * 1e-3);
    let of = memory.network().len();
    out!("{} sequences in {seconds:.0} s of model time, {replayed} of {of} experiences", report.sequences.len());
    if let Some(order) = report.spearman {
        out!("order of sequences of three and more: {order:.2} (mean size of Spearman's rank correlation with the order lived)");
    }
    out!("{:.0} % of the spikes are of experiences whose priority is at least the median", 100.0 * report.above_median);
    Ok(ExitCode::SUCCESS)
}

pub fn stats(memory: &Kept) -> Result<ExitCode> {
    sized(&memory.place.read(&memory.user, &With::Words)?.size()?, memory.json)
}

fn sized(size: &Size, json: bool) -> Result<ExitCode> {
    if json {
        super::json(size)?;
        return Ok(ExitCode::SUCCESS);
    }
    out!(
        "{} experiences in {} sessions; {} of them history, {} pinned",
        size.experiences,
        size.sessions,
        size.history,
        size.pinned
    );
    out!(
        "{} index cells, {} synapses in {} bytes; {} bytes on disk",
        size.cells,
        size.synapses,
        size.table_bytes,
        size.file_bytes
    );
    match size.encoder.width {
        0 => out!("no encoder: words alone"),
        width => out!("encoder {} ({width} numbers), whitening {}", size.encoder.name, size.version),
    }
    Ok(ExitCode::SUCCESS)
}

pub fn recode(folder: &Folder) -> Result<ExitCode> {
    let mut memory = Episodic::open(&folder.folder, &With::Words)?;
    let (bar, stop) = (Bar::new(folder.json), interrupt::watch("stopping after this piece")?);
    memory.recode(&folder.encoder.with(), &mut |done, of| {
        bar.phase("coding anew", done as f64 / of.max(1) as f64);
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    bar.clear();
    sized(&memory.size(), folder.json)
}

/// Pins an experience or says until when it holds.
pub fn keep(folder: &Folder, id: &str, pinned: Option<bool>, until: Option<&String>) -> Result<ExitCode> {
    let mut memory = Episodic::open(&folder.folder, &With::Words)?;
    memory.amend(&[id], |e| {
        e.pinned = pinned.unwrap_or(e.pinned);
        if let Some(until) = until {
            e.until = Some(until.clone()).filter(|until| until != "ever");
        }
    })?;
    let e = memory.network().get(id);
    match folder.json {
        true => super::json(&e)?,
        false => e.iter().for_each(|e| {
            out!("{id}: {}, until {}", if e.pinned { "pinned" } else { "not pinned" }, e.until.as_deref().unwrap_or("ever"))
        }),
    }
    Ok(ExitCode::SUCCESS)
}

/// Bytes of the file of what can be recalled, before and after it is written anew; None without one.
pub fn compact(folder: &Path) -> Result<Option<[u64; 2]>> {
    if !sharpwave::memory::store::episodes::has_episodes(folder) {
        return Ok(None);
    }
    let mut memory = Episodic::open(folder, &With::Words)?;
    let before = memory.store().bytes();
    memory.compact()?;
    Ok(Some([before, memory.store().bytes()]))
}

/// What went, and a proof: none of its cells fires for its own words.
#[derive(serde::Serialize)]
pub struct Proof {
    #[serde(flatten)]
    receipt: Receipt,
    /// Cells without an experience that fire for the words of the one that was forgotten; in a database all records of such cells.
    ghosts: usize,
}

/// Forgets what can be recalled. All of it or, where an id is neither there nor in the journal, nothing.
pub fn forget(folder: &Path, ids: &[&str], journal: &[&str]) -> Result<Vec<Proof>> {
    let mut memory = Episodic::open(folder, &With::Own)?;
    let own: Vec<&str> = ids.iter().copied().filter(|id| memory.network().get(id).is_some()).collect();
    if let Some(id) = ids.iter().find(|id| !own.contains(id) && !journal.contains(id)) {
        let what = format!("the memory {} has no experience {id:?}", folder.display());
        return Err(Error::input(what, "`sharpwave memory notes` and `memory list` show the ids"));
    }
    let texts: Vec<String> = own.iter().filter_map(|id| memory.network().get(id).map(Episode::said)).collect();
    let receipts = memory.forget(&own)?;
    let proof = |(receipt, text): (Receipt, String)| Ok(Proof { ghosts: memory.network().ghosts(&text)?, receipt });
    receipts.into_iter().zip(texts).map(proof).collect()
}

/// Forgets what can be recalled from a database, all of it or nothing.
pub fn forget_there(memory: &Kept, ids: &[&str]) -> Result<Vec<Proof>> {
    let (servers, user) = memory.place.server(&memory.user)?;
    let mut remote = Remote::open(&servers, user, &With::Own)?;
    let receipts = remote.forget(ids)?;
    let ghosts = remote.ghosts()?;
    Ok(receipts.into_iter().map(|receipt| Proof { receipt, ghosts }).collect())
}

/// A receipt in words.
pub fn receipt(proof: &Proof) {
    let Receipt { id, cells, synapses, links, bytes: [text, vectors, tokens], logs } = &proof.receipt;
    out!(
        "{id}: {text} bytes of text, {vectors} of vectors, {tokens} of token vectors; {cells} index cells, {synapses} synapses, {links} links"
    );
    out!("{id}: {} cells of what is gone fire for its words", proof.ghosts);
    logs.iter().for_each(|log| out!("{id}: its lines in {log}"));
}
