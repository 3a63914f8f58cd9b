//! Learning awake: one experience, two forwards, one write. What the experience would add to the residual if it stood in the
//! context becomes the value that a late layer gives at the same key; outcome and surprise gate it.

use super::Engram;
use super::area::{Area, Fact};
use super::contrast::{self, Contrast, Sight};
use super::exchange::Exchange;
use super::experience::Experience;
use super::hippocampus::Hippocampus;
use super::settings::Settings;
use crate::bridge::Host;
use crate::bridge::hooks::{Adapter, Hooks};
use crate::error::Result;
use serde::Serialize;
use std::time::Instant;

/// The neuromodulators that an experience releases; they gate what is written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Signals {
    /// Reward: 0 to 1.
    pub dopamine: f32,
    /// Punishment: 0 to 1.
    pub noradrenaline: f32,
    /// -log p of the answer's first token, nats.
    pub surprise: f32,
}

/// What came of an experience.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    pub signals: Signals,
    /// What was written; empty where everything was known.
    pub engrams: Vec<Engram>,
    /// Smallest part of a written key that was new.
    pub novelty: f32,
    /// Seconds that the writing took, keys and values given; guards are put up afterwards.
    pub write_s: f64,
    /// In words, where nothing was written or something was left out.
    pub note: Option<String>,
}

/// Sizes in which a value is tried, in units of what its context would add: of a success, and of a failure, the other way.
const SUCCESS: [f32; 6] = [1.0, 1.2, 1.4, 1.7, 2.0, 2.5];
const FAILURE: [f32; 6] = [-0.5, -1.0, -1.5, -2.0, -3.0, -4.0];
/// Where the context does not do (small models hardly read it), parts of the residual's length that the readout's own error adds.
const READOUT: [f32; 7] = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2];

/// Learns from an experience. `kept` is what the model has learned otherwise and keeps (asleep).
///
/// # Errors
/// An empty answer, a text beyond the context, a key that cannot be told from an earlier one; nothing is changed then.
pub fn learn(
    host: &Host,
    kept: &Adapter,
    area: &mut Area,
    mut spikes: Option<&mut Hippocampus>,
    settings: &Settings,
    experience: &Experience,
) -> Result<Lesson> {
    let text = Exchange::of(host, experience)?.text;
    let sight = contrast::look(host, kept, area.site.layer, &text, &experience.answer)?;
    let reward = experience.outcome.reward() as f32;
    let first = &sight.tokens[0];
    let signals = Signals { dopamine: reward.max(0.0), noradrenaline: (-reward).max(0.0), surprise: first.surprise };
    let mut lesson = Lesson { signals, engrams: Vec::new(), novelty: 1.0, write_s: 0.0, note: None };
    let punished = signals.noradrenaline > 0.0;
    let wanted: Vec<(&Contrast, Vec<f32>)> = if punished {
        let known = area.recall(&first.key).value;
        let fall = signals.noradrenaline * settings.aversion.ln();
        vec![(first, sized(host, kept, &sight, &known, &FAILURE, |before, surprise| surprise >= before + fall)?)]
    } else {
        let unknown = sight.tokens.iter().enumerate().filter(|(_, t)| t.surprise > settings.known && signals.dopamine > 0.0);
        let enough = -settings.sure.ln();
        let value = |(i, token): (usize, &'_ Contrast)| match i {
            0 => sized(host, kept, &sight, &vec![0.0; first.value.len()], &SUCCESS, |_, surprise| surprise <= enough),
            _ => Ok(token.value.clone()),
        };
        let values = unknown.clone().map(value).collect::<Result<Vec<_>>>()?;
        let gated = values.into_iter().map(|v| v.iter().map(|v| v * signals.dopamine).collect());
        unknown.map(|(_, token)| token).zip(gated).collect()
    };
    if wanted.is_empty() {
        lesson.note = Some(if reward == 0.0 { "no reward, nothing to learn" } else { "known already" }.into());
    }
    for (token, value) in wanted {
        let known = area.recall(&token.key);
        if known.again && !punished {
            let apart: f32 = known.value.iter().zip(&value).map(|(a, b)| (a - b).powi(2)).sum();
            let size: f32 = value.iter().map(|v| v * v).sum();
            let nearest = known.nearest.clone().unwrap_or_default();
            if apart < 0.05 * size {
                lesson.note = Some(format!("known already from `{nearest}`"));
                continue;
            }
            lesson.note = Some(format!("it takes the place of what `{nearest}` taught for the same prompt"));
        }
        let fact = Fact { experience: &experience.id, key: &token.key, value: &value, adds: punished };
        let layer = spikes.as_deref_mut().map(|layer| (layer, settings.presentations));
        let started = Instant::now();
        let written = area.write(fact, layer);
        lesson.write_s += started.elapsed().as_secs_f64();
        match written {
            Ok(engram) => lesson.engrams.push(engram),
            Err(error) => {
                area.erase(&experience.id)?;
                return Err(error);
            }
        }
        lesson.novelty = lesson.novelty.min(known.novelty);
    }
    // What was written must not reach the prompt's other positions.
    if let Some(last) = lesson.engrams.last_mut()
        && let Some(guarded) = area.guard(&sight.others)
    {
        *last = guarded.clone();
    }
    Ok(lesson)
}

/// The value for the first token in the smallest size that brings its surprise where it should be; on top of what is `known`. The
/// context's value comes first, then, where that does not do in any size, its best with the readout's error added; else what comes
/// nearest. One pass over the layers above for all sizes together. `enough` is told the surprise that there is without, and with.
fn sized(
    host: &Host,
    kept: impl Hooks,
    sight: &Sight,
    known: &[f32],
    sizes: &[f32],
    enough: impl Fn(f32, f32) -> bool,
) -> Result<Vec<f32>> {
    let mut kept = kept;
    let sign = sizes[0].signum();
    let sum = |a: &[f32], size: f32, b: &[f32]| a.iter().zip(b).map(|(a, b)| a + size * b).collect::<Vec<f32>>();
    let context = &sight.tokens[0].value;
    let nothing = vec![0.0; known.len()];
    let mut tried: Vec<Vec<f32>> = std::iter::once(0.0).chain(sizes.iter().copied()).map(|s| sum(&nothing, s, context)).collect();
    let mut told = |values: &[Vec<f32>]| {
        let whole: Vec<Vec<f32>> = values.iter().map(|v| sum(known, 1.0, v)).collect();
        sight.surprises(host, &mut kept, &whole)
    };
    let mut surprises = told(&tried)?;
    let before = surprises[0];
    let best = |surprises: &[f32]| {
        let nearest = || (0..surprises.len()).min_by(|a, b| (sign * surprises[*a]).total_cmp(&(sign * surprises[*b])));
        surprises.iter().position(|s| enough(before, *s)).or_else(nearest).unwrap_or(0)
    };
    let mut chosen = 1 + best(&surprises[1..]);
    if !enough(before, surprises[chosen]) {
        let (start, error) = (tried[chosen].clone(), sight.readout_error(host));
        tried = std::iter::once(0.0).chain(READOUT).map(|size| sum(&start, sign * size, &error)).collect();
        surprises = told(&tried)?;
        chosen = best(&surprises);
    }
    Ok(tried.swap_remove(chosen))
}
