//! What to leave alone: the second moments of the keys that a model meets in ordinary use, and codes of what its subjects look
//! like. From the model's own samples, from texts, and from prompts whose ends and subjects count more. Kept in a file a model.

use super::context_target::site;
use super::exchange::Request;
use super::questions::Prompt;
use super::relation::{Relations, Triple, triples};
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::learning::associative::Prior;
use crate::learning::local::outer;
use crate::learning::state::State;
use crate::transformer::Host;
use crate::transformer::chat::Message;
use crate::transformer::decoder::Logits;
use crate::transformer::hooks::{Hooks, Recorder, Row};
use crate::transformer::sample::Sampler;
use crate::transformer::site::{Linear, Site};
use md5::{Digest, Md5};
use nalgebra::DMatrix;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Weight of the last token of a prompt against one of ordinary text, at the late layer.
const LAST: f32 = 100.0;
/// Weight of the last token of a subject against one of ordinary text, at the early layer.
const SUBJECT: f32 = 10.0;
/// Tokens of a sample, and samples drawn side by side.
const SAMPLE: usize = 64;
/// Subject codes that are kept.
const CODES: usize = 512;
/// Texts of the model's own that are kept; canaries of each kind, and tokens of one at most.
const TEXTS: usize = 64;
const CANARIES: usize = 12;
const CANARY: usize = 16;
/// Prompts that are read together.
const TOGETHER: usize = 32;

/// Index of the last token of a prompt that belongs to its subject.
pub fn subject_end(host: &Host, prompt: &str, subject: &str) -> Result<Option<usize>> {
    Request::of_text(host, prompt)?.subject_end(host, subject)
}

/// A prompt as it is protected: as a text, or, every second one where the model has a chat template, as the user's message. The ends
/// of all chats are the same tokens, so they count. A template that refuses a lone message of the user has no such chats.
fn asked(host: &Host, index: usize, prompt: &str) -> Result<Request> {
    let chat = || Request::of_messages(host, &[Message::new("user", prompt)], None).ok();
    match index % 2 == 1 && host.template.is_some() {
        true => chat().map_or_else(|| Request::of_text(host, prompt), Ok),
        false => Request::of_text(host, prompt),
    }
}

/// What is known of a model's keys.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// Late layer, then early layer.
    pub layers: [usize; 2],
    /// Second moments, f32, inputs x inputs, in the same order.
    moments: [Vec<f32>; 2],
    inputs: usize,
    /// Residuals after the early layer, at subjects where prompts name them: any number x width.
    pub codes: Vec<f32>,
    /// Texts of the model's own, by which the rarity of words is told.
    pub texts: Vec<Vec<u32>>,
    /// Texts that stand for all that should stay: beginnings of the model's own, and prompts.
    pub canaries: Vec<Vec<u32>>,
    /// What tells, by the late layer's keys, whether two questions ask for the same; None in statistics of earlier versions.
    pub relations: Option<Arc<Relations>>,
}

impl Statistics {
    /// From what was kept of an earlier one.
    pub fn from_parts(
        layers: [usize; 2],
        moments: [Vec<f32>; 2],
        codes: Vec<f32>,
        texts: Vec<Vec<u32>>,
        canaries: Vec<Vec<u32>>,
        relations: Option<Relations>,
    ) -> Result<Statistics> {
        let inputs = moments[0].len().isqrt();
        let fits = relations.as_ref().is_none_or(|r| r.inputs() == inputs);
        if inputs == 0 || !fits || moments.iter().any(|m| m.len() != inputs * inputs) {
            return Err(Error::input("statistics of keys do not fit together", "collect them again"));
        }
        Ok(Statistics { layers, moments, inputs, codes, texts, canaries, relations: relations.map(Arc::new) })
    }

    /// Second moment of the late (0) or early (1) layer: inputs x inputs.
    pub fn moment(&self, which: usize) -> &[f32] {
        &self.moments[which]
    }

    /// The prior of the late (0) or early (1) layer; `floor` of the second moment in units of its mean diagonal.
    pub fn prior(&self, which: usize, floor: f64) -> Result<Arc<Prior>> {
        let n = self.inputs;
        let moment = DMatrix::from_iterator(n, n, self.moments[which].iter().map(|&x| x as f64));
        Ok(Arc::new(Prior::new(&moment, floor)?))
    }

    /// Of the layers of `settings`, from as many tokens of the model's own as they say and from prompts. `stop` ends it with an
    /// error; `tell` hears the part done.
    pub fn collect(
        host: &Host,
        settings: &Settings,
        prompts: &[Prompt],
        tell: &mut dyn FnMut(f64),
        stop: &AtomicBool,
    ) -> Result<Statistics> {
        let (layers, samples, seed) = (settings.layers(), settings.samples, settings.seed);
        let config = &host.decoder.config;
        let (_, inputs) = config.shape(Linear::Down);
        let mut gather = Gather {
            sites: layers.map(site),
            weights: vec![],
            moments: [vec![0.0; inputs * inputs], vec![0.0; inputs * inputs]],
            rows: [Vec::new(), Vec::new()],
            after: layers[1] + 1,
            codes: Vec::new(),
            spare: Vec::new(),
            // Ordinary text counts as much as the ends of all prompts together.
            text: (LAST * prompts.len() as f32 / samples.max(1) as f32).max(1.0),
            inputs,
        };
        let mut texts = Vec::new();
        let rounds = samples.div_ceil(SAMPLE * SAMPLE);
        let triples = triples(prompts);
        let pieces = prompts.len().div_ceil(TOGETHER);
        let all = (rounds + pieces + 3 * triples.len().div_ceil(TOGETHER)).max(1) as f64;
        tell(0.0);
        for round in 0..rounds {
            let sequences = SAMPLE.min((samples - round * SAMPLE * SAMPLE).div_ceil(SAMPLE));
            let mut part = |done: f64| tell((round as f64 + done) / all);
            let drawn = draw(host, sequences, seed, round, &mut gather, &mut part, stop)?;
            texts.extend(drawn.into_iter().take(TEXTS.saturating_sub(texts.len())));
        }
        let mut canaries: Vec<Vec<u32>> = Vec::new();
        for (i, some) in prompts.chunks(TOGETHER).enumerate() {
            go_on(stop)?;
            let asked = |(n, p): (usize, &Prompt)| asked(host, i * TOGETHER + n, &p.prompt);
            let requests: Vec<Request> = some.iter().enumerate().map(asked).collect::<Result<_>>()?;
            let room = CANARIES.saturating_sub(canaries.len());
            canaries.extend(requests.iter().map(|r| &r.tokens).filter(|t| t.len() > 1).take(room).cloned());
            gather.weights.clear();
            for (prompt, request) in some.iter().zip(&requests) {
                let subject = match &prompt.subject {
                    Some(subject) => request.subject_end(host, subject)?,
                    None => None,
                };
                gather.weights.push((request.tokens.len().saturating_sub(1), subject));
            }
            let slices: Vec<&[u32]> = requests.iter().map(|r| &r.tokens[..]).filter(|t| !t.is_empty()).collect();
            let mut caches = vec![host.decoder.cache(); slices.len()];
            host.decoder.forward_until(layers[0].max(layers[1]) + 1, &mut caches, &slices, &mut gather)?;
            tell((rounds + i + 1) as f64 / all);
        }
        gather.flush();
        let Gather { moments, mut codes, spare, .. } = gather;
        let room = CODES * config.width - codes.len();
        codes.extend(&spare[..room.min(spare.len())]);
        // Beginnings of different lengths.
        let beginnings = texts.iter().enumerate().map(|(i, t)| t[..t.len().min(CANARY - i % 8)].to_vec());
        canaries.extend(beginnings.filter(|t| t.len() > 1).take(CANARIES));
        let mut part = |done: usize| tell((rounds + pieces + done) as f64 / all);
        let relations = Some(Arc::new(relate(host, layers[0], inputs, &triples, &mut part, stop)?));
        Ok(Statistics { layers, moments, inputs, codes, texts, canaries, relations })
    }

    /// Those of a file if it has them, else collected and kept there. The name says model, template and sources.
    pub fn cached(
        folder: &Path,
        fingerprint: &str,
        host: &Host,
        settings: &Settings,
        prompts: &[Prompt],
        tell: &mut dyn FnMut(f64),
        stop: &AtomicBool,
    ) -> Result<Statistics> {
        let (layers, samples, seed) = (settings.layers(), settings.samples, settings.seed);
        let mut digest = Md5::new();
        let template = host.template.as_ref().map(|template| template.canonical());
        digest.update(format!("6 {fingerprint} {layers:?} {samples} {seed} {template:?}"));
        prompts.iter().for_each(|p| digest.update(format!("{}\0{:?}\0{:?}\n", p.prompt, p.subject, p.same)));
        let name: String = digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
        let path = folder.join(format!("keys-{name}.h5"));
        if path.is_file()
            && let Ok(state) = State::load(&path)
            && let Ok(statistics) = Statistics::restore(host, layers, &state)
        {
            return Ok(statistics);
        }
        let statistics = Statistics::collect(host, settings, prompts, tell, stop)?;
        statistics.state().save(&path)?;
        Ok(statistics)
    }

    fn state(&self) -> State {
        let mut state = State::default();
        let n = self.inputs;
        state.put("late", &[n, n], &self.moments[0]);
        state.put("early", &[n, n], &self.moments[1]);
        state.put("codes", &[self.codes.len()], &self.codes);
        if let Some(relations) = &self.relations {
            let numbers = relations.to_numbers();
            state.put("relations", &[numbers.len()], &numbers);
        }
        for (name, texts) in [("texts", &self.texts), ("canaries", &self.canaries)] {
            let numbers = flat(texts);
            state.put(name, &[numbers.len()], &numbers);
        }
        state
    }

    fn restore(host: &Host, layers: [usize; 2], state: &State) -> Result<Statistics> {
        let (_, inputs) = host.decoder.config.shape(Linear::Down);
        let moment = |name: &str| state.get::<f32>(name, inputs * inputs).map(<[f32]>::to_vec);
        let codes = state.any("codes")?.to_vec();
        let (texts, canaries) = (unflat(state.any("texts")?)?, unflat(state.any("canaries")?)?);
        let relations = Some(Relations::from_numbers(state.any("relations")?)?);
        Statistics::from_parts(layers, [moment("late")?, moment("early")?], codes, texts, canaries, relations)
    }
}

/// What tells questions apart, by the keys of `layer` where their answers begin.
fn relate(
    host: &Host,
    layer: usize,
    inputs: usize,
    triples: &[Triple],
    tell: &mut dyn FnMut(usize),
    stop: &AtomicBool,
) -> Result<Relations> {
    let mut keys = [Vec::new(), Vec::new(), Vec::new()];
    let pieces = triples.len().div_ceil(TOGETHER);
    for (which, keys) in keys.iter_mut().enumerate() {
        for (piece, some) in triples.chunks(TOGETHER).enumerate() {
            go_on(stop)?;
            let texts = some.iter().map(|triple| host.begin(&triple[which])).collect::<Result<Vec<_>>>()?;
            let slices: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            let mut seen = Recorder::new(&[site(layer)], &[]);
            let mut caches = vec![host.decoder.cache(); some.len()];
            host.decoder.forward_until(layer + 1, &mut caches, &slices, &mut seen)?;
            for record in &seen.linears {
                let rows = record.rows.iter().zip(record.input.chunks_exact(inputs));
                let at_end = |row: &Row| row.sequence.is_some_and(|s| row.position + 1 == texts[s].len());
                rows.filter(|(row, _)| at_end(row)).for_each(|(_, key)| keys.extend_from_slice(key));
            }
            tell(which * pieces + piece + 1);
        }
    }
    Relations::learn(&keys, inputs)
}

/// Texts as numbers, each after its length: a token's number is exact as one.
pub fn flat(texts: &[Vec<u32>]) -> Vec<f32> {
    texts.iter().flat_map(|t| std::iter::once(t.len() as f32).chain(t.iter().map(|token| *token as f32))).collect()
}

/// What [`flat`] gave.
pub fn unflat(numbers: &[f32]) -> Result<Vec<Vec<u32>>> {
    let mut rest = numbers;
    let mut texts = Vec::new();
    while let Some((&length, after)) = rest.split_first() {
        let text =
            after.get(..length as usize).ok_or_else(|| Error::input("kept texts are cut off", "collect the statistics again"))?;
        texts.push(text.iter().map(|x| *x as u32).collect());
        rest = &after[length as usize..];
    }
    Ok(texts)
}

/// An error once `stop` is set.
pub fn go_on(stop: &AtomicBool) -> Result<()> {
    match stop.load(Ordering::Relaxed) {
        false => Ok(()),
        true => Err(Error::Run { message: "stopped".into(), remedy: "start again when there is time".into() }),
    }
}

/// Where caches lie: `sharpwave` in the user's cache folder (XDG).
pub fn cache_folder() -> std::path::PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(std::path::PathBuf::from);
    let home = || variable("HOME").or_else(|| variable("USERPROFILE")).map(|home| home.join(".cache"));
    variable("XDG_CACHE_HOME").or_else(home).unwrap_or_else(std::env::temp_dir).join("sharpwave")
}

/// Texts of the model's own: temperature 1 from the first token, `SAMPLE` tokens each.
fn draw(
    host: &Host,
    sequences: usize,
    seed: u64,
    round: usize,
    gather: &mut Gather,
    tell: &mut dyn FnMut(f64),
    stop: &AtomicBool,
) -> Result<Vec<Vec<u32>>> {
    let decoder = &host.decoder;
    let start = host.begin("")?.first().copied().unwrap_or(0);
    let mut samplers =
        (0..sequences).map(|i| Sampler::new(1.0, seed.wrapping_add((round * SAMPLE + i) as u64))).collect::<Result<Vec<_>>>()?;
    let mut caches = vec![decoder.cache(); sequences];
    let mut tokens = vec![start; sequences];
    let mut texts = vec![vec![start]; sequences];
    gather.weights.clear();
    let steps = SAMPLE.min(decoder.config.context);
    for step in 0..steps {
        tell(step as f64 / steps as f64);
        go_on(stop)?;
        let slices: Vec<&[u32]> = tokens.iter().map(std::slice::from_ref).collect();
        let output = decoder.forward(&mut caches, &slices, Logits::Last, gather)?;
        for (i, (token, sampler)) in tokens.iter_mut().zip(&mut samplers).enumerate() {
            *token = sampler.next(output.row(i));
            texts[i].push(*token);
        }
    }
    Ok(texts)
}

/// Collects keys as they pass.
struct Gather {
    sites: [Site; 2],
    /// By sequence: positions of its end and of its subject's end. None for ordinary text.
    weights: Vec<(usize, Option<usize>)>,
    moments: [Vec<f32>; 2],
    /// Rows that wait to be summed, scaled by the root of their weight.
    rows: [Vec<f32>; 2],
    after: usize,
    codes: Vec<f32>,
    /// Codes of other tokens.
    spare: Vec<f32>,
    /// Weight of a token of ordinary text at the late layer.
    text: f32,
    inputs: usize,
}

impl Gather {
    fn flush(&mut self) {
        (0..2).for_each(|i| self.sum(i));
    }

    fn sum(&mut self, which: usize) {
        let rows = std::mem::take(&mut self.rows[which]);
        if !rows.is_empty() {
            let sum = outer(1.0, &rows, &rows, self.inputs, self.inputs);
            self.moments[which].iter_mut().zip(sum).for_each(|(m, s)| *m += s);
        }
    }

    fn weight(&self, which: usize, row: &Row) -> f32 {
        let Some((last, subject)) = row.sequence.and_then(|s| self.weights.get(s)) else {
            return if which == 0 { self.text } else { 1.0 };
        };
        match which {
            0 if row.position == *last => LAST,
            1 if Some(row.position) == *subject => SUBJECT,
            _ => 1.0,
        }
    }
}

impl Hooks for Gather {
    fn linear(&mut self, at: Site, rows: &[Row], input: &[f32], _: &mut [f32]) {
        let sites = self.sites;
        for which in (0..2).filter(|w| sites[*w] == at) {
            for (row, key) in rows.iter().zip(input.chunks_exact(self.inputs)) {
                // The first token's key is the same in every text and far larger than others: it is guarded, not averaged.
                if row.position == 0 {
                    continue;
                }
                let root = self.weight(which, row).sqrt();
                self.rows[which].extend(key.iter().map(|x| x * root));
            }
            if self.rows[which].len() >= 512 * self.inputs {
                self.sum(which);
            }
        }
    }

    fn residual(&mut self, layer: usize, rows: &[Row], values: &mut [f32]) {
        if layer != self.after {
            return;
        }
        let width = values.len() / rows.len().max(1);
        for (row, code) in rows.iter().zip(values.chunks_exact(width)) {
            let subject = row.sequence.and_then(|s| self.weights.get(s)).and_then(|w| w.1);
            if subject == Some(row.position) && self.codes.len() < CODES * width {
                self.codes.extend_from_slice(code);
            } else if self.weights.is_empty() && row.position > 0 && self.spare.len() < CODES * width {
                self.spare.extend_from_slice(code);
            }
        }
    }
}
