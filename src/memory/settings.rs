//! How a memory learns: every number that may be chosen, with its default and where it comes from.

use crate::engine::Kind;
use crate::error::{Error, Result};
use crate::transformer::config::Config;
use serde::{Deserialize, Serialize};

/// How keys and values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// Through the spikes of the hippocampus.
    Spiking,
    /// As they are: the limit of many spikes.
    Exact,
}

/// Everything that may be chosen about how a memory learns. [`Settings::new`] gives a model's defaults, whose fields may be changed;
/// [`Settings::with`] takes changes as words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// Whether keys and values pass through spikes.
    pub coding: Coding,
    /// Engine of the spike layer: cpu or gpu.
    pub engine: Kind,
    /// Layer that learns awake: about 0.8 of the model's, rounded down.
    pub wake_layer: usize,
    /// Layer that learns asleep: about 0.3.
    pub sleep_layer: usize,
    /// ms of an episode.
    pub steps: usize,
    /// Times that an episode is presented.
    pub presentations: usize,
    /// Logits by which every token of a success's answer should lead, times its reward.
    pub margin: f32,
    /// What a request composes of a success is so many times what was learned, as far as its own answer still comes out whole; at least 1.
    #[serde(default = "as_learned")]
    pub gain: f32,
    /// Of other questions about the same subject the part that may count as asking for the same; 0: only its own words ask for an
    /// experience.
    #[serde(default = "in_other_words")]
    pub relation: f64,
    /// What a request in other words adds is so many times what was learned.
    #[serde(default = "times")]
    pub transfer: f32,
    /// Length of a value at most, in units of the residual's.
    pub bound: f32,
    /// Other positions of a prompt that are guarded, at most.
    pub guards: usize,
    /// Tokens of an answer that is written at most; longer ones stay in the journal.
    pub longest: usize,
    /// Mean divergence (nats) that the one adapter of all may cause at the canaries.
    pub damage: f32,
    /// Part of an experience's prompt, by weight of its words, that a request has to cover to ask for it.
    pub coverage: f64,
    /// Experiences that are composed for a request at most.
    pub composed: usize,
    /// A failure lowers its action's probability at least so many times.
    pub aversion: f32,
    /// Floor of the second moment of keys to protect, in units of its mean diagonal: a smaller one protects rare keys less.
    pub floor: f64,
    /// Tokens of the model's own to protect.
    pub samples: usize,
    /// Of all that is drawn: the model's own texts, the noise of sleep.
    pub seed: u64,
    /// How sleep searches.
    pub sleep: Exploration,
}

/// How sleep looks for a value: reward-modulated exploration at the subject's last token. Lengths are in units of the residual's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Exploration {
    /// Pairs of noise and its opposite a step.
    pub pairs: usize,
    /// Length of the noise.
    pub noise: f32,
    /// Length of a step.
    pub step: f32,
    /// Part of the last step that the next one adds, 0 to below 1.
    pub momentum: f32,
    /// Longest value.
    pub bound: f32,
    /// Probability of the answer that ends the search.
    pub enough: f32,
    /// Steps at most.
    pub steps: usize,
    /// A control: rewards are shuffled among the moves, so that nothing can be learned.
    pub shuffled: bool,
}

impl Default for Exploration {
    fn default() -> Self {
        Exploration { pairs: 16, noise: 0.3, step: 0.2, momentum: 0.7, bound: 1.5, enough: 0.95, steps: 26, shuffled: false }
    }
}

impl Settings {
    /// Defaults for a model.
    pub fn new(config: &Config) -> Settings {
        let layer = |part: f64| ((config.layers as f64 * part + 1e-9) as usize).min(config.layers - 1);
        Settings {
            coding: Coding::Spiking,
            engine: Kind::Cpu,
            wake_layer: layer(0.8),
            sleep_layer: layer(0.3),
            steps: 32,
            presentations: 2,
            margin: 1.0,
            gain: as_learned(),
            relation: in_other_words(),
            transfer: times(),
            bound: 4.0,
            guards: 8,
            longest: 64,
            damage: 0.01,
            coverage: 0.6,
            composed: 32,
            aversion: 20.0,
            floor: 1e-2,
            samples: 8192,
            seed: 1,
            sleep: Exploration::default(),
        }
    }

    /// The layers that learn: awake, asleep.
    pub fn layers(&self) -> [usize; 2] {
        [self.wake_layer, self.sleep_layer]
    }

    /// These settings with some changed: `name=value`, with `sleep.` before those of sleep; values as in JSON.
    pub fn with(&self, changes: &[String], config: &Config) -> Result<Settings> {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        for change in changes {
            let refuse = |what: String| Error::input(format!("{change}: {what}"), format!("settings are {}", names(&json)));
            let Some((name, value)) = change.split_once('=') else { return Err(refuse("a setting is name=value".into())) };
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            let pointer = format!("/{}", name.trim().replace('.', "/"));
            let Some(place) = json.pointer(&pointer).filter(|p| !p.is_object()) else {
                return Err(refuse("there is no such setting".into()));
            };
            let _ = place;
            if let Some(place) = json.pointer_mut(&pointer) {
                *place = value;
            }
        }
        let settings: Settings = serde_json::from_value(json).map_err(|e| {
            Error::input(format!("settings: {e}"), "give numbers where numbers stand, and names among those told")
        })?;
        settings.check(config)?;
        Ok(settings)
    }

    /// Refuses what cannot be.
    pub fn check(&self, config: &Config) -> Result<()> {
        let refuse = |what: String, remedy: &str| Err(Error::input(format!("settings: {what}"), remedy));
        for (name, layer) in [("wake_layer", self.wake_layer), ("sleep_layer", self.sleep_layer)] {
            if layer >= config.layers {
                let last = config.layers - 1;
                return refuse(format!("{name} = {layer}, the model's layers are 0 to {last}"), "name a layer of the model");
            }
        }
        if self.sleep_layer >= self.wake_layer {
            return refuse("sleep_layer is not below wake_layer".into(), "sleep writes an earlier layer than wake");
        }
        if !matches!(self.engine, Kind::Cpu | Kind::Gpu) {
            return refuse(format!("engine = {}", self.engine), "the spike layer runs on cpu or gpu");
        }
        let e = &self.sleep;
        let positive = self.floor > 0.0
            && self.gain.is_finite()
            && self.gain >= 1.0
            && [self.margin, self.transfer, self.bound, self.damage, self.aversion, e.noise, e.step, e.bound]
                .iter()
                .all(|x| x.is_finite() && *x > 0.0);
        let counts = [self.steps, self.presentations, self.longest, self.composed, e.pairs, e.steps]
            .iter()
            .all(|n| (1..=10_000).contains(n));
        let parts = (0.0..=0.5).contains(&self.relation)
            && (0.0..1.0).contains(&e.momentum)
            && e.enough > 0.0
            && e.enough < 1.0
            && self.coverage > 0.0
            && self.coverage <= 1.0;
        match positive && counts && parts {
            true => Ok(()),
            false => refuse("a number is out of its range".into(), "lengths and counts are above 0, parts between 0 and 1"),
        }
    }
}

/// Of memories that were made before there was a gain.
pub(super) fn as_learned() -> f32 {
    1.0
}

/// Chosen on CounterFact's validation part, SmolLM2-135M.
fn in_other_words() -> f64 {
    0.1
}

/// As above.
fn times() -> f32 {
    1.5
}

fn names(json: &serde_json::Value) -> String {
    let Some(map) = json.as_object() else { return String::new() };
    let names = map.iter().flat_map(|(name, value)| match value.as_object() {
        Some(inner) => inner.keys().map(|k| format!("{name}.{k}")).collect::<Vec<_>>(),
        None => vec![name.clone()],
    });
    names.collect::<Vec<_>>().join(", ")
}
