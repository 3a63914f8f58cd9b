//! `sharpwave adapter`: what an adapter holds, and adapters added up and written in another format.

use clap::{Args, Subcommand};
use sharpwave::error::Result;
use sharpwave::export::{self, Base, Budget, Format, Info, Options, Report};
use sharpwave::transformer::Source;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct AdapterArguments {
    #[command(subcommand)]
    command: AdapterCommand,
}

#[derive(Subcommand)]
enum AdapterCommand {
    /// Format, base model, layers and rank
    Info {
        /// PEFT folder, MLX folder or GGUF file
        path: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add adapters up, cut the sum to a rank, and write it
    Convert(ConvertArguments),
}

#[derive(Args)]
struct ConvertArguments {
    /// The model that the adapters belong to: folder, GGUF file, or stories260k, which is built in
    #[arg(long, value_name = "PATH")]
    model: String,
    /// Adapter, and what to multiply it with; may be repeated
    #[arg(long, value_name = "PATH[:SCALE]", required = true, value_parser = choice)]
    adapter: Vec<Choice>,
    #[command(flatten)]
    target: Target,
}

/// Where an adapter is written, and how.
#[derive(Args)]
pub struct Target {
    /// peft, gguf, mlx or vllm-dir
    #[arg(long, value_name = "FORMAT")]
    pub format: String,
    /// Terms of each layer at most: a number, `all` (the default), `enough` (as few as lose no fact); or of one layer, such as
    /// layers.3.down_proj=8; may be repeated
    #[arg(long, value_name = "[LAYER=]R")]
    pub rank: Vec<String>,
    /// Folder to write, or file for gguf
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// Replace what is there
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Target {
    /// Checked before anything is read.
    pub fn options(&self) -> Result<Options> {
        let budget = Budget::from_words(&self.rank)?;
        Ok(Options::new(Format::named(&self.format)?).with_budget(budget).with_force(self.force))
    }
}

/// An adapter on disk and its factor.
pub type Choice = (PathBuf, f32);

/// `PATH` or `PATH:SCALE`: a number after the last colon is the scale.
pub fn choice(text: &str) -> std::result::Result<Choice, String> {
    match text.rsplit_once(':').and_then(|(path, scale)| Some((path, scale.parse::<f32>().ok()?))) {
        Some((path, scale)) if scale.is_finite() && !path.is_empty() => Ok((path.into(), scale)),
        Some(_) => Err("write PATH:SCALE with a finite number, such as notes:0.5".into()),
        None => Ok((text.into(), 1.0)),
    }
}

pub fn adapter(arguments: &AdapterArguments) -> Result<ExitCode> {
    match &arguments.command {
        AdapterCommand::Info { path, json } => {
            let info = export::read(path)?.info();
            if *json { super::json(&info)? } else { tell(&path.display().to_string(), &info) }
        }
        AdapterCommand::Convert(arguments) => convert(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(name: &str, info: &Info) {
    let unknown = || "not named".to_string();
    out!("{name}");
    out!("  format        {}", info.format.name());
    out!("  base model    {}", info.base.clone().unwrap_or_else(unknown));
    out!("  fingerprint   {}", info.fingerprint.clone().unwrap_or_else(unknown));
    if let Some(architecture) = &info.architecture {
        out!("  architecture  {architecture}");
    }
    let [low, high] = info.rank;
    out!("  rank          {}", if low == high { high.to_string() } else { format!("{low} to {high}") });
    out!("  parameters    {}", info.parameters);
    for (linear, layers) in &info.sites {
        out!("  {linear:<12}  layers {}", runs(layers));
    }
}

/// `0-3, 7` for 0, 1, 2, 3, 7.
fn runs(layers: &[usize]) -> String {
    let run = |run: &[usize]| match run {
        [first, .., last] => format!("{first}-{last}"),
        other => other.iter().map(usize::to_string).collect(),
    };
    layers.chunk_by(|a, b| a + 1 == *b).map(run).collect::<Vec<_>>().join(", ")
}

fn convert(arguments: &ConvertArguments) -> Result<()> {
    let options = arguments.target.options()?;
    let source = Source::open(&arguments.model)?;
    let base = Base::of(&source)?;
    let sum = export::load(&arguments.adapter, &base)?;
    let host = source.load()?;
    let report = export::export(&sum, &[], &host.decoder, &base, &options, &arguments.target.out)?;
    if arguments.target.json {
        super::json(&report)?
    } else {
        written(&report)
    }
    Ok(())
}

/// What was written, and what the rank kept of each layer's change.
pub fn written(report: &Report) {
    out!("{}", report.path.display());
    out!("  format        {}, rank {}", report.format.name(), report.rank);
    if let Some(rank) = report.max_lora_rank {
        out!("  start vLLM    with --enable-lora --max-lora-rank {rank}");
    }
    match report.difference {
        0.0 => out!("  read again    the same logits"),
        difference => out!("  read again    logits within {difference:.1e} of the largest"),
    }
    let width = report.sites.iter().map(|s| s.site.len()).max().unwrap_or(0);
    for site in &report.sites {
        out!("  {:<width$}  {} of {} terms, {:.2} % of the energy", site.site, site.rank, site.terms, 100.0 * site.energy);
    }
}
