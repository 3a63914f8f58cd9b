//! Adapters as files that other programs load: PEFT, GGUF, MLX. What is written is read again and compared with the engine's own
//! forward before it gets its name; what a rank would lose is said by name and refused. One format a file; no memory here.
//!
//! ```text
//! adapter (+ keys of facts) -> fit to a rank -> a place beside -> read again, compare -> PATH
//! PATH -> Loaded (terms as stored) -> Adapter that fits a base model
//! ```

mod budget;
mod gguf;
mod mlx;
mod peft;
mod tensors;

use crate::error::{Error, Result, nearest};
use crate::io::output::{self, Output};
use crate::transformer::Source;
use crate::transformer::config::{Architecture, Config};
use crate::transformer::decoder::{Decoder, Logits};
use crate::transformer::hooks::{Adapter, LowRank};
use crate::transformer::low_rank::{Factors, combined};
use crate::transformer::site::{Linear, Site};
use crate::transformer::weights::halves;
pub use budget::{Budget, Rank};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Under which the fingerprint of the base model stands in every format's metadata.
const FINGERPRINT: &str = "sharpwave.base_fingerprint";

/// What a folder may hold to be replaced.
const OURS: [&str; 3] = ["adapter_config.json", peft::WEIGHTS, mlx::WEIGHTS];

/// An output that is off by more than this part of its length is a lost fact.
pub const LOST: f64 = 0.5;

/// Largest difference of a logit, as a part of the largest logit, between the adapter and what is read back.
pub const TOLERANCE: f32 = 1e-4;

/// The ranks that vLLM's `max_lora_rank` allows.
pub const VLLM_RANKS: [usize; 9] = [1, 8, 16, 32, 64, 128, 256, 320, 512];

/// A file format of adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A folder as Hugging Face's PEFT writes it.
    Peft,
    /// A file for llama.cpp.
    Gguf,
    /// A folder for mlx-lm.
    Mlx,
    /// A PEFT folder of a rank that vLLM allows.
    VllmDir,
}

impl Format {
    /// Every format, in the order in which help texts list them.
    pub const ALL: [Format; 4] = [Format::Peft, Format::Gguf, Format::Mlx, Format::VllmDir];

    /// As the command line spells it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Peft => "peft",
            Format::Gguf => "gguf",
            Format::Mlx => "mlx",
            Format::VllmDir => "vllm-dir",
        }
    }

    /// The format of this name.
    pub fn named(name: &str) -> Result<Format> {
        Format::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| {
            let all = Format::ALL.map(Format::name);
            let remedy = match nearest(name, all) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("use one of: {}", all.join(", ")),
            };
            Error::input(format!("there is no adapter format `{name}`"), remedy)
        })
    }

    /// The rank to write for terms of up to `rank`: the same, or the next that the reader allows.
    fn written_rank(self, rank: usize) -> Result<usize> {
        let allowed = |largest: usize| {
            let what = format!("vLLM loads adapters up to rank {largest}, this one has rank {rank}");
            Error::input(what, format!("ask for a rank of at most {largest}"))
        };
        match self {
            Format::VllmDir => {
                VLLM_RANKS.into_iter().find(|r| *r >= rank).ok_or_else(|| allowed(VLLM_RANKS[VLLM_RANKS.len() - 1]))
            }
            _ => Ok(rank),
        }
    }

    /// Written as a folder, not as a file.
    fn is_folder(self) -> bool {
        self != Format::Gguf
    }
}

/// The model that an adapter belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// As readers find it: a name or a path.
    pub name: String,
    /// See `Source::fingerprint`.
    pub fingerprint: String,
    /// Sizes and architecture, which terms must fit.
    pub config: Config,
}

impl Base {
    /// Reads all weights once, for the fingerprint.
    pub fn of(source: &Source) -> Result<Base> {
        Ok(Base { name: source.name.clone(), fingerprint: source.fingerprint()?, config: source.config.clone() })
    }

    /// llama.cpp's `general.architecture`; it calls Mistral's models llama.
    pub fn gguf_architecture(&self) -> &'static str {
        match self.config.architecture {
            Architecture::Llama | Architecture::Mistral => LLAMA,
            other => other.name(),
        }
    }
}

/// The architecture in whose files llama.cpp keeps the rows of q and k as neighbouring pairs.
const LLAMA: &str = "llama";

/// A place where the adapter should know a fact: the input of a layer at which it was written. Several of one name are one fact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fact<'a> {
    /// Of the fact; for messages.
    pub name: &'a str,
    /// The linear layer.
    pub site: Site,
    /// Input of the layer: inputs.
    pub key: &'a [f32],
}

/// How to write; [`Options::new`] makes one, the functions that begin with `with_` change it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// What to write.
    pub format: Format,
    /// How many terms each layer keeps.
    pub budget: Budget,
    /// Replace what is at the path.
    pub force: bool,
    /// Write although facts are lost at this rank.
    pub lossy: bool,
    /// Token ids of texts on which what was written is compared, beside built-in ones.
    pub prompts: Vec<Vec<u32>>,
}

impl Options {
    /// All terms, nothing replaced, nothing lost.
    pub fn new(format: Format) -> Options {
        Options { format, budget: Budget::default(), force: false, lossy: false, prompts: Vec::new() }
    }

    /// So many terms a layer.
    pub fn with_budget(self, budget: Budget) -> Options {
        Options { budget, ..self }
    }

    /// Whether to replace what is at the path.
    pub fn with_force(self, force: bool) -> Options {
        Options { force, ..self }
    }

    /// Whether to write although facts are lost at this rank.
    pub fn with_lossy(self, lossy: bool) -> Options {
        Options { lossy, ..self }
    }

    /// Token ids of texts on which to compare what was written.
    pub fn with_prompts(self, prompts: Vec<Vec<u32>>) -> Options {
        Options { prompts, ..self }
    }
}

/// A linear layer that was fitted to a rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fitted {
    /// As `layers.3.down_proj`.
    pub site: String,
    /// Terms that came in.
    pub terms: usize,
    /// Terms that are left.
    pub rank: usize,
    /// Part of the sum of squares of the change that is left, from 0 to 1.
    pub energy: f64,
    /// The smallest rank that loses none of the facts there; 0 without facts.
    pub sufficient: usize,
}

/// A fact of which some output is off by more than `LOST`, and where it is off most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lost {
    /// Of the fact, as [`Fact::name`].
    pub name: String,
    /// As `layers.3.down_proj`.
    pub site: String,
    /// Length of the difference over the length of the output, 0 to 1.
    pub error: f64,
}

/// An adapter of a bounded rank, and what that cost.
#[derive(Clone, Debug)]
pub struct Fit {
    /// As many terms a layer as the budget allows.
    pub adapter: Adapter,
    /// A line a layer that the adapter changes.
    pub sites: Vec<Fitted>,
    /// Facts that came in, each counted once.
    pub facts: usize,
    /// Each once.
    pub lost: Vec<Lost>,
    /// The smallest rank that loses no fact; 0 without facts.
    pub sufficient: usize,
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was written.
    pub format: Format,
    /// The folder or file, as asked for.
    pub path: PathBuf,
    /// The rank of the file, zero terms included.
    pub rank: usize,
    /// What vLLM must be started with, `--max-lora-rank`, to load the folder; None for other readers.
    pub max_lora_rank: Option<usize>,
    /// A line a layer that the adapter changes.
    pub sites: Vec<Fitted>,
    /// Facts that the adapter should know, each counted once.
    pub facts: usize,
    /// Each once.
    pub lost: Vec<Lost>,
    /// Largest difference of a logit between the adapter and the file, as a part of the largest logit.
    pub difference: f32,
}

/// The adapter with as many terms a layer as its budget allows, and which facts that loses. Refuses rank 0, layers in the budget that
/// the adapter does not change, and keys that do not fit the model.
pub fn fit(config: &Config, adapter: &Adapter, facts: &[Fact], budget: &Budget) -> Result<Fit> {
    budget.fits(&adapter.terms().map(|(site, _)| site).collect::<Vec<_>>())?;
    if let Some(fact) = facts.iter().find(|f| f.key.len() != config.shape(f.site.linear).1) {
        let (has, needs) = (fact.key.len(), config.shape(fact.site.linear).1);
        let what = format!("the key of `{}` has {has} numbers, {} takes {needs}", fact.name, fact.site);
        return Err(Error::input(what, "use facts that were learned with this model"));
    }
    let names: BTreeSet<&str> = facts.iter().map(|f| f.name).collect();
    let mut fit = Fit { adapter: Adapter::default(), sites: Vec::new(), facts: names.len(), lost: Vec::new(), sufficient: 0 };
    for (site, term) in adapter.terms() {
        let factors = Factors::new(term)?;
        let here: Vec<&Fact> = facts.iter().filter(|f| f.site == site).collect();
        let keys: Vec<f32> = here.iter().flat_map(|f| f.key).copied().collect();
        let rank = budget.at(site, &factors, term.rank, &keys, LOST);
        let near = factors.to_rank(rank);
        let sufficient = factors.sufficient(&keys, LOST);
        let energy = factors.energy(rank);
        fit.sites.push(Fitted { site: site.to_string(), terms: term.rank, rank: near.rank, energy, sufficient });
        for (fact, error) in here.iter().zip(factors.errors(rank, &keys)).filter(|(_, error)| *error > LOST) {
            let here = Lost { name: fact.name.into(), site: site.to_string(), error };
            match fit.lost.iter_mut().find(|lost| lost.name == fact.name) {
                Some(known) if known.error < error => *known = here,
                Some(_) => (),
                None => fit.lost.push(here),
            }
        }
        fit.sufficient = fit.sufficient.max(sufficient);
        fit.adapter.insert(config, site, near)?;
    }
    Ok(fit)
}

/// Whether an adapter can be written at `out`, asked before it is made.
///
/// # Errors
/// Something is there that may not be replaced, or the folder cannot be written.
pub fn check(format: Format, out: &Path, force: bool) -> Result<()> {
    if format.is_folder() { output::check_folder(out, &OURS, force) } else { output::check(out, force) }
}

/// Writes an adapter so that another program can load it: fits it to the rank, refuses to lose facts unless told to, writes
/// beside the path, reads that again, compares it with `decoder` under the adapter, and only then gives it its name.
pub fn export(
    adapter: &Adapter,
    facts: &[Fact],
    decoder: &Decoder,
    base: &Base,
    options: &Options,
    out: &Path,
) -> Result<Report> {
    check(options.format, out, options.force)?;
    let fit = fit(&base.config, adapter, facts, &options.budget)?;
    let largest = fit.adapter.terms().map(|(_, term)| term.rank).max().unwrap_or(0);
    if fit.adapter.terms().all(|(_, term)| term.b.iter().all(|x| x * term.scale == 0.0)) {
        return Err(Error::input("the adapter changes nothing", "export an adapter that has learned something"));
    }
    if fit.adapter.terms().any(|(site, _)| site.linear == Linear::Head) {
        return Err(Error::input(
            "a term on lm_head cannot be exported",
            "put the adapter on the linear layers inside the model",
        ));
    }
    let own = |(site, _): &(Site, &LowRank)| !matches!(site.linear, Linear::O | Linear::Down);
    if let Some((site, _)) = fit.adapter.terms().find(own).filter(|_| base.config.fused()) {
        let name = base.config.architecture.name();
        return Err(Error::input(
            format!(
                "other programs have {site} of a {name} model in one layer with its neighbours: a term there cannot be exported"
            ),
            "put the adapter on o_proj or down_proj",
        ));
    }
    if !fit.lost.is_empty() && !options.lossy {
        return Err(refusal(&fit, largest));
    }
    let rank = options.format.written_rank(largest)?;
    let output = match options.format.is_folder() {
        true => Output::folder(out, &OURS, options.force)?,
        false => Output::file(out, options.force)?,
    };
    match options.format {
        Format::Peft | Format::VllmDir => peft::write(output.part(), &fit.adapter, base, rank)?,
        Format::Gguf => gguf::write(output.part(), &fit.adapter, base, rank)?,
        Format::Mlx => mlx::write(output.part(), &fit.adapter, base, rank)?,
    }
    let difference = verify(output.part(), options.format, &fit.adapter, decoder, base, &options.prompts)?;
    output.keep()?;
    Ok(Report {
        format: options.format,
        path: out.to_path_buf(),
        rank,
        max_lora_rank: (options.format == Format::VllmDir).then_some(rank),
        sites: fit.sites,
        facts: fit.facts,
        lost: fit.lost,
        difference,
    })
}

/// Some facts by name, and the rank at which none would be lost.
fn refusal(fit: &Fit, rank: usize) -> Error {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = fit.lost.iter().take(SHOWN).map(|lost| format!("`{}`", lost.name)).collect();
    if fit.lost.len() > SHOWN {
        names.push(format!("{} more", fit.lost.len() - SHOWN));
    }
    let cut = fit.sites.iter().filter(|s| s.rank < s.sufficient);
    let needs: Vec<String> = cut.map(|s| format!("{} needs {}", s.site, s.sufficient)).collect();
    Error::input(
        format!("rank {rank} would lose {} of {} facts: {}", fit.lost.len(), fit.facts, names.join(", ")),
        format!(
            "ask for rank {} or more, which keeps them all ({}), or say that facts may be lost",
            fit.sufficient,
            needs.join(", ")
        ),
    )
}

/// The largest difference of a logit between the adapter and what lies at `path`, as a part of the largest logit. Refused
/// above `TOLERANCE`.
fn verify(path: &Path, format: Format, adapter: &Adapter, decoder: &Decoder, base: &Base, prompts: &[Vec<u32>]) -> Result<f32> {
    let again = read_as(path, format)?.adapter(base)?;
    let vocabulary = base.config.vocabulary;
    let length = 12.min(base.config.context);
    let spread = |start: usize| (0..length).map(|i| ((start + i * 7919) % vocabulary) as u32).collect::<Vec<u32>>();
    let mut worst = 0f32;
    for prompt in [3, 1009, 5003].map(spread).iter().chain(prompts) {
        let logits = |adapter: &Adapter| {
            decoder.forward(&mut [decoder.cache()], &[prompt], Logits::All, &mut { adapter }).map(|o| o.logits)
        };
        let (expected, found) = (logits(adapter)?, logits(&again)?);
        let scale = expected.iter().map(|x| x.abs()).fold(f32::MIN_POSITIVE, f32::max);
        worst = expected.iter().zip(&found).map(|(x, y)| (x - y).abs() / scale).fold(worst, f32::max);
    }
    if worst > TOLERANCE {
        return Err(Error::Run {
            message: format!("the {} adapter gives other logits than the engine: {worst:.1e} of the largest", format.name()),
            remedy: "nothing was written; report this".into(),
        });
    }
    Ok(worst)
}

/// An adapter as it lies in a file, its model not yet known.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The folder or file that was read.
    pub path: PathBuf,
    /// How it is stored.
    pub format: Format,
    /// The base model as the file names it.
    pub base: Option<String>,
    /// The base model's fingerprint, where sharpwave wrote the file.
    pub fingerprint: Option<String>,
    /// GGUF's `general.architecture`.
    pub architecture: Option<String>,
    /// In GGUF files of llamas, B's rows at q and k are neighbouring pairs.
    terms: BTreeMap<Site, LowRank>,
}

/// What `Loaded::info` tells.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// How it is stored.
    pub format: Format,
    /// The base model as the file names it; null where it names none.
    pub base: Option<String>,
    /// The base model's fingerprint; null in files of other programs.
    pub fingerprint: Option<String>,
    /// GGUF's `general.architecture`; null in other formats.
    pub architecture: Option<String>,
    /// Linear layers by kind, with the layers that have a term.
    pub sites: BTreeMap<&'static str, Vec<usize>>,
    /// Smallest and largest.
    pub rank: [usize; 2],
    /// Numbers in both factors.
    pub parameters: usize,
}

impl Loaded {
    /// The adapter for this model. Refused when it was made for another: by fingerprint, architecture, layers or shapes.
    pub fn adapter(&self, base: &Base) -> Result<Adapter> {
        let file = self.path.display();
        if self.fingerprint.as_ref().is_some_and(|f| *f != base.fingerprint) {
            let made_for = self.base.as_ref().map_or(String::new(), |name| format!(" (it names {name})"));
            return Err(Error::input(
                format!("{file} was made for another model than {}{made_for}: their fingerprints differ", base.name),
                "use it with the model it was made for, stored in the same way",
            ));
        }
        if self.architecture.as_ref().is_some_and(|a| a != base.gguf_architecture()) {
            let (theirs, ours) = (self.architecture.as_deref().unwrap_or_default(), base.gguf_architecture());
            let what = format!("{file} is for the architecture `{theirs}`, {} is `{ours}`", base.name);
            return Err(Error::input(what, "use it with the model it was made for"));
        }
        let mut adapter = Adapter::default();
        for (site, term) in &self.terms {
            let mut term = term.clone();
            let paired = self.architecture.as_deref() == Some(LLAMA) && matches!(site.linear, Linear::Q | Linear::K);
            if paired && term.b.len() == base.config.shape(site.linear).0 * term.rank {
                term.b = halves(&term.b, base.config.head_dim, term.rank);
            }
            let named = |e: Error| match e {
                Error::Input(fault) => Error::input(
                    format!("{file}: {}", fault.message),
                    fault.remedy.unwrap_or_else(|| "use another adapter".into()),
                ),
                other => other,
            };
            adapter.insert(&base.config, *site, term).map_err(named)?;
        }
        Ok(adapter)
    }

    /// What there is to know without a model.
    pub fn info(&self) -> Info {
        let mut sites: BTreeMap<&'static str, Vec<usize>> = BTreeMap::new();
        self.terms.keys().for_each(|site| sites.entry(site.linear.name()).or_default().push(site.layer));
        let ranks = || self.terms.values().map(|term| term.rank);
        Info {
            format: self.format,
            base: self.base.clone(),
            fingerprint: self.fingerprint.clone(),
            architecture: self.architecture.clone(),
            sites,
            rank: [ranks().min().unwrap_or(0), ranks().max().unwrap_or(0)],
            parameters: self.terms.values().map(|term| term.a.len() + term.b.len()).sum(),
        }
    }
}

/// Reads an adapter of any format: a PEFT or MLX folder, a file in one, or a GGUF file; sharpwave's own or others'.
pub fn read(path: &Path) -> Result<Loaded> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    if path.is_file() && extension == "gguf" {
        return read_as(path, Format::Gguf);
    }
    let file_in_folder = path.is_file() && ["safetensors", "json"].contains(&extension);
    let folder = if file_in_folder { path.parent().unwrap_or(Path::new(".")) } else { path };
    let has = |name: &str| folder.join(name).is_file();
    if has(peft::WEIGHTS) {
        return read_as(folder, Format::Peft);
    }
    if has(mlx::WEIGHTS) {
        return read_as(folder, Format::Mlx);
    }
    let (what, remedy) = if has("adapter_model.bin") {
        ("holds pickled weights (adapter_model.bin), which can run code", "save the adapter again with safe_serialization=True")
    } else if path.exists() {
        ("is not an adapter", "name a folder with adapter_model.safetensors or adapters.safetensors, or a GGUF file")
    } else {
        ("does not exist", "name a PEFT folder, an MLX folder or a GGUF file")
    };
    Err(Error::input(format!("{} {what}", path.display()), remedy))
}

/// Reads adapters for a model and adds them up, each times its factor.
pub fn load(adapters: &[(PathBuf, f32)], base: &Base) -> Result<Adapter> {
    let read = adapters.iter().map(|(path, factor)| Ok((read(path)?.adapter(base)?, *factor))).collect::<Result<Vec<_>>>()?;
    combined(&base.config, &read.iter().map(|(adapter, factor)| (adapter, *factor)).collect::<Vec<_>>())
}

fn read_as(path: &Path, format: Format) -> Result<Loaded> {
    let loaded = match format {
        Format::Peft | Format::VllmDir => peft::read(path)?,
        Format::Gguf => gguf::read(path)?,
        Format::Mlx => mlx::read(path)?,
    };
    match loaded.terms.is_empty() {
        true => Err(Error::input(
            format!("{} holds no terms that change anything", path.display()),
            "name an adapter that has learned something",
        )),
        false => Ok(loaded),
    }
}

/// Factors as they are written: `rank` terms, the last of them zero, the scale in B. A is rank x inputs, B outputs x rank.
fn padded(term: &LowRank, rank: usize) -> (Vec<f32>, Vec<f32>) {
    let (inputs, outputs) = (term.a.len() / term.rank, term.b.len() / term.rank);
    let mut a = term.a.clone();
    a.resize(rank * inputs, 0.0);
    let mut b = vec![0.0; outputs * rank];
    for (to, from) in b.chunks_exact_mut(rank).zip(term.b.chunks_exact(term.rank)) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from * term.scale);
    }
    (a, b)
}

/// Rows and columns changed places: `matrix` is rows x columns.
fn transposed(rows: usize, columns: usize, matrix: &[f32]) -> Vec<f32> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| matrix[r * columns + c])).collect()
}

/// `model.layers.3.mlp.down_proj`, as Hugging Face's models are built.
fn module(site: Site) -> String {
    match site.linear {
        Linear::Head => site.linear.module().into(),
        linear => format!("model.layers.{}.{}", site.layer, linear.module()),
    }
}

/// The layer that `module` calls so.
fn site(name: &str) -> Option<Site> {
    let Some(inside) = name.strip_prefix("model.layers.") else {
        return Some(Site::HEAD).filter(|site| module(*site) == name);
    };
    let (layer, name) = inside.split_once('.')?;
    let linear = Linear::IN_LAYER.into_iter().find(|l| l.module() == name)?;
    Some(Site { layer: layer.parse().ok()?, linear })
}

/// Which of two factors a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    A,
    B,
}

/// Pairs of factors from a file's tensors, by the layer they belong to.
#[derive(Default)]
struct Pairs(BTreeMap<Site, [Option<Matrix>; 2]>);

/// Rows, columns and the numbers, row by row.
struct Matrix {
    rows: usize,
    columns: usize,
    data: Vec<f32>,
}

impl Matrix {
    /// A tensor of two dimensions.
    fn new(file: &Path, name: &str, shape: &[usize], data: Vec<f32>) -> Result<Matrix> {
        match *shape {
            [rows, columns] if rows * columns == data.len() && !data.is_empty() => Ok(Matrix { rows, columns, data }),
            _ => Err(crate::transformer::gguf::damaged(
                file,
                &format!("tensor `{name}` has the shape {shape:?}, not two dimensions"),
            )),
        }
    }
}

impl Pairs {
    fn put(&mut self, site: Site, side: Side, matrix: Matrix) {
        self.0.entry(site).or_default()[side as usize] = Some(matrix);
    }

    /// A is rank x inputs, B outputs x rank; terms that are zero are left out. `scale` gets the layer and its rank.
    fn terms(self, file: &Path, scale: impl Fn(Site, usize) -> Result<f32>) -> Result<BTreeMap<Site, LowRank>> {
        let damaged = |what: String| crate::transformer::gguf::damaged(file, &what);
        let term = |(site, pair): (Site, [Option<Matrix>; 2])| {
            let [Some(a), Some(b)] = pair else { return Err(damaged(format!("{site} has one factor without the other"))) };
            if a.rows != b.columns {
                return Err(damaged(format!("{site}: a factor of rank {} beside one of rank {}", a.rows, b.columns)));
            }
            Ok((site, LowRank { rank: a.rows, scale: scale(site, a.rows)?, a: a.data, b: b.data }))
        };
        // A term whose B is zero only fills a reader's list.
        let changes = |term: &Result<(Site, LowRank)>| term.as_ref().map_or(true, |(_, t)| t.b.iter().any(|x| *x != 0.0));
        self.0.into_iter().map(term).filter(changes).collect()
    }
}

/// A tensor that no linear layer of a decoder has.
fn foreign(file: &Path, name: &str) -> Error {
    Error::input(
        format!(
            "{}: tensor `{name}` is no low-rank factor of a linear layer of a llama, mistral, qwen2 or qwen3 model",
            file.display()
        ),
        "use an adapter of such a model that changes linear layers only",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that holds another adapter than the engine has is found out.
    #[test]
    fn a_file_that_gives_other_logits_is_refused() {
        let source = Source::built_in().unwrap();
        let (host, base) = (source.load().unwrap(), Base::of(&source).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let adapter = |value: f32| {
            let mut adapter = Adapter::default();
            let term = LowRank { rank: 1, a: vec![value; 64], b: vec![0.1; 64], scale: 1.0 };
            adapter.insert(&base.config, Site { layer: 1, linear: Linear::O }, term).unwrap();
            adapter
        };
        for format in Format::ALL {
            let out = folder.path().join(format.name()).with_extension("gguf");
            export(&adapter(0.1), &[], &host.decoder, &base, &Options::new(format), &out).unwrap();
            let verify = |adapter| verify(&out, format, &adapter, &host.decoder, &base, &[vec![1, 403]]);
            assert!(verify(adapter(0.1)).unwrap() <= TOLERANCE);
            let error = verify(adapter(0.11)).unwrap_err();
            assert!(matches!(error, Error::Run { .. }) && error.to_string().contains("other logits"), "{error}");
        }
    }

    #[test]
    fn names_of_layers_are_read_as_they_are_written() {
        for (layer, linear) in Linear::IN_LAYER.into_iter().enumerate() {
            assert_eq!(site(&module(Site { layer, linear })), Some(Site { layer, linear }));
        }
        assert_eq!(site("lm_head"), Some(Site::HEAD));
        for name in ["", "model.layers.x.mlp.up_proj", "model.layers.1.mlp.q_proj", "model.layers.1", "layers.1.mlp.up_proj"] {
            assert_eq!(site(name), None, "{name}");
        }
    }
}
