//! `sharpwave eval`: how well a model learns facts.

use clap::{Args, Subcommand};
use sharpwave::bridge::Source;
use sharpwave::error::Result;
use sharpwave::eval::cases;
use sharpwave::eval::run::{Bench, Method};
use sharpwave::memory::protect::{Statistics, cache_folder, prompts};
use sharpwave::memory::settings::Settings;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

#[derive(Args)]
pub struct EvalArguments {
    #[command(subcommand)]
    command: EvalCommand,
}

#[derive(Subcommand)]
enum EvalCommand {
    /// Teach facts by every method and ask for them, their paraphrases and their neighbours
    Edits(EditsArguments),
}

#[derive(Args)]
struct EditsArguments {
    #[arg(long)]
    model: String,
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    protect: Option<PathBuf>,
    #[arg(long, default_value_t = 2000)]
    protected: usize,
    #[arg(long, default_value_t = 40)]
    n: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, value_delimiter = ',')]
    methods: Vec<String>,
    #[arg(long)]
    set: Vec<String>,
}

pub fn eval(arguments: &EvalArguments) -> Result<ExitCode> {
    let EvalCommand::Edits(a) = &arguments.command;
    let source = Source::open(&a.model)?;
    let host = source.load()?;
    let settings = Settings::new(&source.config).with(&a.set, &source.config)?;
    let mut protect = match &a.protect {
        Some(path) => prompts(path)?,
        None => Vec::new(),
    };
    protect.truncate(a.protected);
    let layers = [settings.wake_layer, settings.sleep_layer];
    let stop = AtomicBool::new(false);
    let mut last = 0;
    let mut tell = |done: f64| {
        let now = (done * 20.0) as i32;
        if now != last {
            last = now;
            note!("statistics {:.0} %", done * 100.0);
        }
    };
    let folder = cache_folder();
    let fingerprint = source.fingerprint()?;
    let statistics =
        Statistics::cached(&folder, &fingerprint, &host, layers, settings.samples, &protect, settings.seed, &mut tell, &stop)?;
    let all = cases::read(&a.data)?;
    let bench = Bench { host: &host, settings, statistics: &statistics };
    let methods: Vec<Method> =
        Method::ALL.into_iter().filter(|m| a.methods.is_empty() || a.methods.iter().any(|n| n == m.name())).collect();
    bench.edits(&all, a.n, a.seed, &methods, &mut |row| {
        let s = &row.scores;
        out!(
            "{:15} ES {:5.1} EA {:5.1} PS {:5.1} PA {:5.1} NS {:5.1} NK {:5.1} KL {:6.3} S {:5.1}  {:.3} s/fact rank {}",
            row.method, s.es, s.ea, s.ps, s.pa, s.ns, s.nk, s.kl, s.s, row.seconds, row.rank
        );
    })?;
    Ok(ExitCode::SUCCESS)
}
