//! `sharpwave eval`: how well a model learns facts, as tables, JSON and a page.

use super::interrupt;
use super::learn::{protected, statistics};
use super::progress::Bar;
use clap::{Args, Subcommand};
use sharpwave::error::{Error, Result};
use sharpwave::eval::cases;
use sharpwave::eval::recall_speed::Opening;
use sharpwave::eval::report::{Report, Spread};
use sharpwave::eval::run::{Bench, Method};
use sharpwave::eval::sequence::{Place, Plan, Way};
use sharpwave::io::output;
use sharpwave::memory::episodic::Recall;
use sharpwave::memory::jsonl::Lines;
use sharpwave::memory::postgres::{Remote, Servers};
use sharpwave::memory::questions::Prompt;
use sharpwave::memory::settings::Settings;
use sharpwave::plot;
use sharpwave::recall::Mix;
use sharpwave::recall::encoder::Encoder;
use sharpwave::run::Progress;
use sharpwave::system::peak_memory;
use sharpwave::transformer::Source;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// The file of the results in the folder asked for.
const RESULTS: &str = "results.json";

#[derive(Args)]
pub struct EvalArguments {
    #[command(subcommand)]
    command: EvalCommand,
}

#[derive(Subcommand)]
enum EvalCommand {
    /// Teach facts by every method; ask for them, their paraphrases and their neighbours
    Edits(Asked),
    /// Teach many facts one at a time; after some numbers of them ask every way of answering. Goes on where it was stopped
    Sequence(SequenceAsked),
    /// Forget some of 40 facts, one at a time; see what the others say
    Forget(Asked),
    /// Tell the model that its own most likely actions failed
    Failure(Asked),
    /// Learn experiences (JSON lines as `learn` reads them); ask for each whole answer, and look at texts that nobody taught
    Experiences(Asked),
    /// All of these but the last
    All(Asked),
    /// Ask a memory questions whose evidence is known (LoCoMo's layout); by the network, and by controls
    Recall(RecallAsked),
    /// Add drawn memories and ask for them: what recall costs, on one thread
    RecallSpeed(SpeedAsked),
    /// Complete random codes from half their cells, by Willshaw's rule and by BCPNN
    Completion(CompletionAsked),
}

#[derive(Args)]
struct RecallAsked {
    /// Conversations and questions, as LoCoMo has them
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Encoder: a BERT folder or GGUF file, or a name that `model pull` knows; words alone without one
    #[arg(long, value_name = "NAME")]
    encoder: Option<String>,
    /// A weight, such as late=1.5 or links=0; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Without links off and shuffled, and the projection shuffled
    #[arg(long)]
    no_controls: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct SpeedAsked {
    /// Memories
    #[arg(long, short, value_name = "N", default_value_t = 10_000)]
    n: usize,
    /// Questions
    #[arg(long, value_name = "N", default_value_t = 200)]
    questions: usize,
    /// A new folder for them (default: a temporary one)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The same in PostgreSQL with pgvector as well, by the clock: postgres://user@host:5432/database; what was added stays there
    #[arg(long = "database", value_name = "URL", requires = "user")]
    databases: Vec<String>,
    /// Whose memory it is there: of somebody who has none yet
    #[arg(long, value_name = "NAME", requires = "databases")]
    user: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct CompletionAsked {
    /// Cells
    #[arg(long, value_name = "N", default_value_t = 11_150)]
    cells: usize,
    /// Cells of a code
    #[arg(long, value_name = "K", default_value_t = 32)]
    active: usize,
    /// Codes to store
    #[arg(long, value_name = "M", default_value_t = 100_000)]
    patterns: usize,
    /// Wrong cells of a cue, as a share of a code's
    #[arg(long, value_name = "X", default_value_t = 0.05)]
    wrong: f64,
    /// Codes to complete
    #[arg(long, value_name = "N", default_value_t = 500)]
    tried: usize,
    /// Seed
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn recall(a: &RecallAsked) -> Result<ExitCode> {
    let mut mix = serde_json::to_value(Mix::default()).map_err(|e| Error::input(e.to_string(), "report this"))?;
    for set in &a.set {
        let names = mix.to_string();
        let wrong = || Error::input(format!("--set {set}"), format!("write NAME=VALUE; there are {names}"));
        let (name, value) = set.split_once('=').ok_or_else(wrong)?;
        let value: serde_json::Value = serde_json::from_str(value).map_err(|_| wrong())?;
        *mix.get_mut(name).ok_or_else(wrong)? = value;
    }
    let mix: Mix = serde_json::from_value(mix).map_err(|e| Error::input(e.to_string(), "give numbers"))?;
    let encoder = a.encoder.as_deref().map(sharpwave::memory::episodic::encoder).transpose()?;
    let (bar, stop) = (Bar::new(a.json), interrupt::watch("stopping as soon as may be")?);
    let report =
        sharpwave::eval::recall::measure(&a.data, encoder, &mix, !a.no_controls, &|what, done| bar.phase(what, done), &stop)?;
    bar.clear();
    if a.json {
        super::json(&report)?;
        return Ok(ExitCode::SUCCESS);
    }
    let [conversations, turns, questions] = report.size;
    out!("{questions} questions, {turns} turns, {conversations} conversations");
    out!(
        "{:28} {:>6} {:>6} {:>6} {:>6}  {:>6} {:>6}  {:>8}  recall@10 by category",
        "",
        "@1",
        "@5",
        "@10",
        "@50",
        "s@5",
        "s@10",
        "ms"
    );
    for (name, s) in &report.methods {
        let by: Vec<String> = s.by_category.iter().map(|(c, x)| format!("{c}: {x:.1}")).collect();
        out!(
            "{name:28} {:>6.1} {:>6.1} {:>6.1} {:>6.1}  {:>6.1} {:>6.1}  {:>8.2}  {}",
            s.recall_1,
            s.recall_5,
            s.recall_10,
            s.recall_50,
            s.session_5,
            s.session_10,
            s.ms,
            by.join("  ")
        );
    }
    report.kept.iter().for_each(|(name, x)| out!("{x:.1} % of the evidence in 4,000 tokens of everything, {name}"));
    report.auc.iter().for_each(|(name, x)| out!("AUC {x:.3} against {name}"));
    out!("a turn: {:.2} ms to encode, {:.2} ms to add", report.adding_ms[0], report.adding_ms[1]);
    Ok(ExitCode::SUCCESS)
}

fn speed(a: &SpeedAsked) -> Result<ExitCode> {
    let temporary = tempfile::tempdir().map_err(|e| Error::file(std::env::temp_dir(), e))?;
    let folder = a.out.clone().unwrap_or_else(|| temporary.path().join("memory"));
    if folder.exists() {
        return Err(Error::input(format!("{} is there already", folder.display()), "name a new folder"));
    }
    let (bar, stop) = (Bar::new(a.json), interrupt::watch("stopping as soon as may be")?);
    let open = |encoder: Arc<dyn Encoder>| -> Result<Box<dyn Recall>> {
        Ok(Box::new(Remote::open_with(&Servers::new(&a.databases)?, a.user.as_deref().unwrap_or(""), Some(encoder))?))
    };
    let elsewhere: Option<&Opening> = if a.databases.is_empty() { None } else { Some(&open) };
    let say = |what: &str, done: f64| bar.phase(what, done);
    let s = sharpwave::eval::recall_speed::measure(a.n, a.questions, &folder, elsewhere, &say, &stop)?;
    bar.clear();
    if a.json {
        super::json(&s)?;
        return Ok(ExitCode::SUCCESS);
    }
    out!("{} memories, one thread; encoding left out", s.memories);
    out!("adding one: {:.3} ms among the first 1,000, {:.3} ms among the last", s.add_ms[0], s.add_ms[1]);
    for (name, ms, first) in [
        ("recall", s.recall_ms, s.first[0]),
        ("spikes alone", s.spikes_ms, s.first[1]),
        ("exact int8 scan", s.scan_ms, s.first[2]),
    ] {
        out!("{name:16} {:>8.2} ms median, {:>8.2} ms p99; the right one first from half its words: {first:.1} %", ms[0], ms[1]);
    }
    out!(
        "{:.0} synaptic events a question; {} bytes of tables, {} on disk; opened in {:.2} s",
        s.events,
        s.bytes[0],
        s.bytes[1],
        s.open_s
    );
    if let Some(there) = &s.elsewhere {
        out!(
            "the database, by the clock: adding one {:.2} ms among the first 1,000, {:.2} ms among the last",
            there.add_ms[0],
            there.add_ms[1]
        );
        let asked = [("recall", there.recall_ms), ("spikes alone", there.spikes_ms)];
        for ((name, [ms, ms_99]), [here, here_99]) in asked.into_iter().zip(there.folder_ms) {
            out!("{name:16} {ms:>8.2} ms median, {ms_99:>8.2} ms p99; the folder {here:.2} and {here_99:.2}");
        }
        out!("{:.1} % of the answers are the folder's", there.same);
    }
    Ok(ExitCode::SUCCESS)
}

fn completion(a: &CompletionAsked) -> Result<ExitCode> {
    if a.cells > 1 << 16 || a.active < 2 || 2 * a.active > a.cells || a.patterns == 0 || !(0.0..=1.0).contains(&a.wrong) {
        return Err(Error::input(
            "these sizes do not fit together",
            "use 2 active cells or more, at most half of at most 65,536, and a share",
        ));
    }
    let bar = Bar::new(a.json);
    let all = sharpwave::recall::completion::capacity(a.cells, a.active, a.patterns, a.wrong, a.tried, a.seed, &|what, done| {
        bar.phase(what, done)
    });
    bar.clear();
    if a.json {
        super::json(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    for c in &all {
        let [cells, active, patterns] = c.size;
        out!(
            "{:?}: {patterns} codes of {active} of {cells} cells, cue of {} right and {} wrong ones",
            c.rule,
            c.cue[0],
            c.cue[1]
        );
        out!(
            "  {:.2} % exact, overlap {:.2} %, {:.1} rounds, {:.3} bits a synapse, {:.1} % of the synapses used, {:.2} ms median, {:.2} ms p99",
            c.exact,
            c.overlap,
            c.rounds,
            c.bits_per_synapse,
            100.0 * c.load,
            c.ms[0],
            c.ms[1]
        );
        if !c.erased_exactly {
            out!("  half of them erased left traces");
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Args)]
struct Asked {
    /// Model folder, GGUF file, or a name that `model pull` knows
    #[arg(long, value_name = "PATH")]
    model: String,
    /// Cases in CounterFact's flat form, a JSON object a line
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Prompts to protect: a file with one a line, or JSON lines with `prompt` and `subject`; never the cases
    #[arg(long, value_name = "FILE")]
    protect: Option<PathBuf>,
    /// Of these, as many from the start
    #[arg(long, value_name = "N", default_value_t = 3000)]
    protected: usize,
    /// Facts to teach, 40 unless given; in a sequence --at says it
    #[arg(long, value_name = "N")]
    n: Option<usize>,
    /// Seeds that choose the cases
    #[arg(long, alias = "seeds", value_name = "S,…", value_delimiter = ',', default_value = "1")]
    seed: Vec<u64>,
    /// Methods of `edits`, or ways of `sequence`; all unless given
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    methods: Vec<String>,
    /// A setting, such as coding=exact or sleep.pairs=24; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Folder for results.json and a page with plots
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the results that are there
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct SequenceAsked {
    #[command(flatten)]
    asked: Asked,
    /// Numbers of facts after which is asked
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "50,100,200")]
    at: Vec<usize>,
    /// Facts that are asked for, drawn at random of those told
    #[arg(long, value_name = "N", default_value_t = 300)]
    sample: usize,
    /// Facts that are forgotten together in the end
    #[arg(long, value_name = "N", default_value_t = 100)]
    forget: usize,
}

pub fn eval(arguments: &EvalArguments) -> Result<ExitCode> {
    let (what, a) = match &arguments.command {
        EvalCommand::Edits(a) => ("edits", a),
        EvalCommand::Sequence(a) => ("sequence", &a.asked),
        EvalCommand::Forget(a) => ("forget", a),
        EvalCommand::Failure(a) => ("failure", a),
        EvalCommand::Experiences(a) => ("experiences", a),
        EvalCommand::All(a) => ("all", a),
        EvalCommand::Recall(a) => return recall(a),
        EvalCommand::RecallSpeed(a) => return speed(a),
        EvalCommand::Completion(a) => return completion(a),
    };
    let (mut methods, mut plan) = (Vec::new(), Plan { at: vec![50, 100, 200], ways: Way::ALL.to_vec(), sample: 100, forget: 0 });
    match &arguments.command {
        EvalCommand::Sequence(s) => {
            let ways = named(&a.methods, &Way::ALL, Way::name)?;
            plan = Plan { at: s.at.clone(), ways, sample: s.sample, forget: s.forget };
        }
        _ => methods = named(&a.methods, &Method::ALL, Method::name)?,
    }
    if let Some(folder) = &a.out {
        plot::eval_files(folder).chain([folder.join(RESULTS)]).try_for_each(|file| output::check(&file, a.force))?;
    }
    let (all, experiences) = match what {
        "experiences" => {
            let file = std::fs::File::open(&a.data).map_err(|e| Error::file(&a.data, e))?;
            let lines = Lines::new(std::io::BufReader::new(file), a.data.display().to_string());
            (Vec::new(), lines.map(|(_, line)| line).collect::<Result<Vec<_>>>()?)
        }
        _ => (cases::read(&a.data)?, Vec::new()),
    };
    let mut prompts = protected(a.protect.as_ref())?;
    prompts.truncate(a.protected);
    refuse_cases(&all, &prompts)?;
    let source = Source::open(&a.model)?;
    let settings = Settings::new(&source.config).with(&a.set, &source.config)?;
    let host = std::sync::Arc::new(source.load()?);
    let stop = interrupt::watch("stopping as soon as may be")?;
    let bar = Bar::new(a.json);
    let statistics = statistics(&source, &host, &settings, &prompts, &bar, &stop)?;
    let mut report = Report::new(&source, &settings, &a.data, prompts.len())?;
    let bench = Bench::new(host, settings, &statistics, &stop);
    let say = |line: String| {
        if !a.json {
            bar.line(&line)
        }
    };
    for &seed in &a.seed {
        if what == "experiences" {
            let mut settings = bench.settings.clone();
            settings.seed = seed;
            let bench = Bench::new(bench.host.clone(), settings, &statistics, &stop);
            let n = experiences.len() as f64;
            report.told.push(bench.told(&experiences, seed, &mut |i| bar.phase("learning", i as f64 / n))?);
        }
        if ["edits", "all"].contains(&what) {
            let n = a.n.unwrap_or(40);
            bar.phase(&format!("edits, seed {seed}"), 0.0);
            report
                .edits
                .extend(bench.edits(&all, n, seed, &methods, &mut |row| say(format!("seed {seed}: {}", Report::line(row))))?);
        }
        if ["sequence", "all"].contains(&what) {
            let of = serde_json::json!({ "data": report.data, "protected": prompts.len() });
            let place = a.out.as_ref().filter(|_| what == "sequence").map(|folder| Place { folder, source: &source, of });
            let tell = |what: &str, done: f64| bar.phase(&format!("seed {seed}: {what}"), done);
            let mut each = |point: &_| say(format!("seed {seed}: {}", Report::point(point)));
            report.sequences.push(bench.sequence(&all, &plan, seed, place.as_ref(), &tell, &mut each)?);
        }
        if ["forget", "all"].contains(&what) {
            bar.phase(&format!("forget, seed {seed}"), 0.0);
            report.forgets.push(bench.forget(&all, a.n.unwrap_or(40), seed, 5)?);
        }
        if ["failure", "all"].contains(&what) {
            bar.phase(&format!("failure, seed {seed}"), 0.0);
            report.failures.push(bench.failure(&all, a.n.unwrap_or(40), seed)?);
        }
    }
    report.peak_bytes = peak_memory();
    bar.clear();
    if let Some(folder) = &a.out {
        output::write(&folder.join(RESULTS), report.json(), a.force)?;
        for file in plot::eval(folder, &report, a.force)? {
            note!("{}", file.display());
        }
    }
    match a.json {
        true => out!("{}", report.json()),
        false => print(&report),
    }
    Ok(ExitCode::SUCCESS)
}

/// Methods by their names; all where none is asked for.
fn named<T: Copy>(asked: &[String], all: &[T], name: fn(T) -> &'static str) -> Result<Vec<T>> {
    if asked.is_empty() {
        return Ok(all.to_vec());
    }
    let known = || all.iter().map(|m| name(*m)).collect::<Vec<_>>().join(", ");
    let find = |asked: &String| {
        let found = all.iter().copied().find(|m| name(*m) == asked);
        found.ok_or_else(|| Error::input(format!("there is no method `{asked}`"), format!("the methods are {}", known())))
    };
    asked.iter().map(find).collect()
}

/// What is protected must not be what is asked about.
fn refuse_cases(cases: &[cases::Case], prompts: &[Prompt]) -> Result<()> {
    let protected: std::collections::HashSet<&str> = prompts.iter().map(|p| p.prompt.as_str()).collect();
    let both = cases.iter().filter(|c| protected.contains(c.locality_prompt.as_str())).count();
    if both * 10 > cases.len() {
        return Err(Error::input(
            format!("{both} of {} neighbours' prompts are among those to protect", cases.len()),
            "protect other prompts than those that are asked about",
        ));
    }
    Ok(())
}

fn print(report: &Report) {
    let table = report.table();
    if !table.is_empty() {
        out!(
            "{:16} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>12} {:>11} {:>8} {:>8}  rank",
            "",
            "W",
            "WP",
            "ES",
            "EA",
            "PS",
            "PA",
            "NS",
            "NK",
            "KL",
            "S",
            "s/fact",
            "ms/write"
        );
    }
    for (method, rows) in table {
        let of = |get: fn(&sharpwave::eval::Scores) -> f64| Spread::of(rows.iter().map(|r| get(&r.scores)));
        let seconds = Spread::of(rows.iter().map(|r| r.seconds)).mean;
        let write = Spread::of(rows.iter().map(|r| r.write_ms)).mean;
        let sum = |get: fn(&sharpwave::eval::run::Row) -> usize, what: &str| match rows.iter().map(|r| get(r)).sum::<usize>() {
            0 => String::new(),
            n => format!(", {n} {what}"),
        };
        let notes = sum(|r| r.refused, "refused") + &sum(|r| r.moved, "moved") + &sum(|r| r.left_out, "left out");
        out!(
            "{:16} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>12} {:>11} {:>8.3} {:>8.2}  {}{notes}",
            method,
            of(|s| s.w).text(1),
            of(|s| s.wp).text(1),
            of(|s| s.es).text(1),
            of(|s| s.ea).text(1),
            of(|s| s.ps).text(1),
            of(|s| s.pa).text(1),
            of(|s| s.ns).text(1),
            of(|s| s.nk).text(1),
            of(|s| s.kl).text(3),
            of(|s| s.s).text(1),
            seconds,
            write,
            rows[0].rank
        );
    }
    for s in &report.sequences {
        out!("sequence, seed {}", s.seed);
        s.points.iter().for_each(|point| out!("{}", Report::point(point)));
        for l in &s.loads {
            let included = l.included.map_or_else(String::new, |n| format!(", {n} in one adapter"));
            out!("{:6} {} refused{included}, {:.3} s and {:.0} kB a fact", l.facts, l.refused, l.seconds, l.bytes / 1e3);
        }
        if let Some(f) = &s.forgot {
            out!(
                "{:6} {} forgotten: logits of {} others change by {:.1e} at most; {:.0} % of the forgotten are unedited to the last bit, EA {:.0} -> {:.0}",
                f.facts,
                f.forgotten,
                f.asked,
                f.others,
                f.gone,
                f.ea[0],
                f.ea[1]
            );
        }
    }
    for t in &report.told {
        out!(
            "{} experiences, seed {}: {} learned, whole answers {} of {}, told truly about {}; untaught prompts go on as before {:.0} %, perplexity {:+.1} %; one adapter holds {}: {:.0} %, {:+.1} %; {:.0} ms each",
            t.experiences,
            t.seed,
            t.learned,
            t.whole,
            t.successes,
            t.truly,
            t.composed.continued,
            t.composed.rise(),
            t.included,
            t.one.continued,
            t.one.rise(),
            t.ms
        );
        t.refused.iter().for_each(|(id, reason)| out!("  {id}: {reason}"));
    }
    for f in &report.forgets {
        out!(
            "forget {} of {}, each alone, seed {}: others' logits change by {:.1e} at most; own logits {:.2} from unedited; EA {:.0} -> {:.0} (unedited {:.0})",
            f.forgotten,
            f.facts,
            f.seed,
            f.others,
            f.own,
            f.ea[0],
            f.ea[1],
            f.ea[2]
        );
    }
    for f in &report.failures {
        out!(
            "failure of {} actions, seed {}: {:.1} times less likely in the median, {:.1} at least, tenfold {:.1} %; NS {:.1} -> {:.1}, KL {:.3}",
            f.actions,
            f.seed,
            f.median,
            f.least,
            f.tenfold,
            f.ns[0],
            f.ns[1],
            f.kl
        );
    }
    if let Some(bytes) = report.peak_bytes {
        out!("peak memory {:.2} GB", bytes as f64 / 1e9);
    }
}
