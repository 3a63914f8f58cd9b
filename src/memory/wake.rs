//! Learning awake: one experience, one forward, one write. What the experience would add to the residual if it stood in the context
//! becomes the value that a late layer gives at the same key; outcome and surprise gate it. Every token of the answer, and the token
//! that ends it, is sized and checked: keys at the late layer do not depend on what is written there, so an answer whose tokens all come
//! out on top with a margin is said whole by greedy decoding. Depends on the experience and the model alone; knows no other memory.

use super::Engram;
use super::context_target::{Pass, Sight, Told, size};
use super::layer_memory::LayerMemory;
use super::settings::Settings;
use super::spiking_code::SpikingCode;
use crate::error::Result;
use crate::learning::associative::{Prior, RIDGE};
use crate::transformer::Host;
use crate::transformer::site::{Linear, Site};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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

/// Whether an answer comes out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Tokens that were looked at: those of the answer and its end; of a failure the first one.
    pub tokens: usize,
    /// Those that do not come out as they should.
    pub wrong: Vec<usize>,
    /// The smallest margin (logits) by which a token leads; of a failure the times that it became less likely, as a logarithm.
    pub margin: f32,
}

impl Check {
    /// Of an answer whose tokens fare so, at a least margin.
    pub fn of(told: &[Told], least: f32) -> Check {
        let wrong = told.iter().enumerate().filter(|(_, t)| t.margin.is_nan() || t.margin < least).map(|(i, _)| i).collect();
        Check { tokens: told.len(), wrong, margin: told.iter().map(|t| t.margin).fold(f32::INFINITY, f32::min) }
    }

    /// The whole answer comes out.
    pub fn whole(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// What came of an experience.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// What gated it.
    pub signals: Signals,
    /// What is to be written; empty where everything was known.
    pub engrams: Vec<Engram>,
    /// How many times that may be composed for a request; 1 of what failed.
    pub gain: f32,
    /// How the answer comes out with that alone.
    pub check: Check,
    /// Seconds that the writing took, keys and values given.
    pub write_s: f64,
}

/// Sizes in which a value is tried, in units of what its context would add: of a success, and of a failure, the other way.
/// Larger ones only where those before are not enough.
const SUCCESS: [&[f32]; 2] = [&[0.5, 1.0], &[1.4, 1.9, 2.6]];
const FAILURE: [&[f32]; 2] = [&[-1.0, -2.0], &[-3.0, -4.0]];
/// The least size of the first token's value: other wordings of the prompt live on it.
const FIRST: f32 = 1.0;
/// Where the context does not do (small models hardly read it), parts of the residual's length that the readout's own error adds.
const READOUT: [f32; 8] = [0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.2, 3.2];
/// Times that what is written is checked and mended.
const ROUNDS: usize = 6;
/// Changes of the residual at other positions below this part of its length need no guard.
const LEAK: f32 = 0.02;
/// A guard's ridge, in units of its key's whitened energy.
const SOFT: f32 = 0.1;
/// A margin that is wanted is enough when this part of it is there in the end, and never less than `LEAST` logits.
const PART: f32 = 0.5;
const LEAST: f32 = 0.02;

/// The margin that makes an answer count as learned, of the one that its outcome asks for.
pub fn least(settings: &Settings, reward: f32) -> f32 {
    (PART * settings.margin * reward).max(LEAST)
}

/// What a lesson needs.
pub struct Teacher<'a> {
    /// The model.
    pub host: &'a Host,
    /// Layer that is written.
    pub layer: usize,
    /// Statistics of that layer's keys, which whiten them.
    pub prior: &'a Prior,
    /// Codes keys and values as spikes; None writes them as they are.
    pub spikes: Option<&'a mut SpikingCode>,
    /// Margins and bounds.
    pub settings: &'a Settings,
}

/// A lesson as it is being made.
struct Draft {
    experience: String,
    site: Site,
    /// Positions of the prompt.
    start: usize,
    /// Whitened keys of all positions.
    whitened: Vec<f32>,
    values: BTreeMap<usize, Vec<f32>>,
    /// Its guards are known.
    guarded: bool,
    coded: BTreeMap<usize, Engram>,
    write_s: f64,
}

impl Teacher<'_> {
    /// Learns from an experience seen at this layer; `reward` from -1 to 1.
    ///
    /// # Errors
    /// Numbers that are not finite.
    pub fn learn(&mut self, experience: &str, sight: &Sight, reward: f32) -> Result<Lesson> {
        let signals =
            Signals { dopamine: reward.max(0.0), noradrenaline: (-reward).max(0.0), surprise: sight.tokens[0].surprise };
        let mut draft = Draft {
            experience: experience.into(),
            site: Site { layer: self.layer, linear: Linear::Down },
            start: sight.start,
            whitened: self.prior.whiten(&sight.keys),
            values: BTreeMap::new(),
            guarded: false,
            coded: BTreeMap::new(),
            write_s: 0.0,
        };
        let mut gain = 1.0;
        let (engrams, check) = match reward {
            0.0 => (Vec::new(), Check::default()),
            _ if reward > 0.0 => {
                let (engrams, check, pass) = self.succeed(&mut draft, sight, reward)?;
                if check.whole() && !engrams.is_empty() {
                    gain = self.gain(sight, &pass, reward)?;
                }
                (engrams, check)
            }
            _ => self.fail(&mut draft, sight, -reward)?,
        };
        Ok(Lesson { signals, engrams, gain, check, write_s: draft.write_s })
    }

    /// The answer as that pass leaves it.
    fn judged(&self, sight: &Sight, pass: &Pass, reward: f32) -> Check {
        let told: Vec<Told> = (0..sight.tokens.len()).map(|t| pass.told(sight, t)).collect();
        Check::of(&told, least(self.settings, reward))
    }

    /// How many times what was written the answer still comes out whole with: as asked for, half of what that adds, or once.
    fn gain(&self, sight: &Sight, pass: &Pass, reward: f32) -> Result<f32> {
        let most = self.settings.gain;
        for gain in [most, 0.5 + 0.5 * most] {
            if gain > 1.0 && self.judged(sight, &sight.stronger(self.host, pass, gain)?, reward).whole() {
                return Ok(gain);
            }
        }
        Ok(1.0)
    }

    fn succeed(&mut self, draft: &mut Draft, sight: &Sight, reward: f32) -> Result<(Vec<Engram>, Check, Pass)> {
        let wanted = self.settings.margin * reward;
        let enough = |told: &Told| told.margin >= wanted;
        let n = sight.tokens.len();
        let mut pass = sight.bare.clone();
        let mut engrams = Vec::new();
        for round in 0..ROUNDS {
            let needed = if round == 0 { wanted } else { 0.8 * wanted };
            let failing: Vec<usize> = (0..n).filter(|t| pass.told(sight, *t).margin < needed).collect();
            if failing.is_empty() {
                break;
            }
            let fresh: Vec<usize> = failing.iter().copied().filter(|t| !draft.values.contains_key(t)).collect();
            let old: Vec<usize> = failing.iter().copied().filter(|t| draft.values.contains_key(t)).collect();
            let better = |told: &Told| told.margin;
            let mut left = self.context(draft, sight, &pass, &fresh, &SUCCESS, &enough, &better)?;
            left.extend(old);
            left.sort_unstable();
            if !self.readout(draft, sight, &pass, &left, 1.0, &enough, &better)? && fresh.is_empty() {
                break;
            }
            (engrams, pass) = self.written(draft, sight)?;
        }
        let check = self.judged(sight, &pass, reward);
        Ok((engrams, check, pass))
    }

    /// The action's first token becomes so much less likely, and with it the action.
    fn fail(&mut self, draft: &mut Draft, sight: &Sight, punishment: f32) -> Result<(Vec<Engram>, Check)> {
        let before = sight.tokens[0].surprise;
        let fall = punishment * self.settings.aversion.ln();
        let enough = |told: &Told| told.surprise >= before + fall;
        let better = |told: &Told| told.surprise;
        let mut pass = sight.bare.clone();
        let mut engrams = Vec::new();
        for round in 0..ROUNDS {
            if pass.told(sight, 0).surprise >= before + fall {
                break;
            }
            let left = match round {
                0 => self.context(draft, sight, &pass, &[0], &FAILURE, &enough, &better)?,
                _ => vec![0],
            };
            if !self.readout(draft, sight, &pass, &left, -1.0, &enough, &better)? && round > 0 {
                break;
            }
            (engrams, pass) = self.written(draft, sight)?;
        }
        let risen = pass.told(sight, 0).surprise - before;
        let wrong = if risen >= 0.9 * fall { vec![] } else { vec![0] };
        Ok((engrams, Check { tokens: 1, wrong, margin: risen }))
    }

    /// Gives tokens what their context would add, in the smallest size that is `enough`, else in the best one. Those for which none was
    /// enough are given back.
    #[expect(clippy::too_many_arguments, reason = "what is tried and how it is judged")]
    fn context(
        &self,
        draft: &mut Draft,
        sight: &Sight,
        pass: &Pass,
        tokens: &[usize],
        sizes: &[&[f32]],
        enough: &dyn Fn(&Told) -> bool,
        better: &dyn Fn(&Told) -> f32,
    ) -> Result<Vec<usize>> {
        let scaled = |t: usize, by: f32| sight.tokens[t].value.iter().map(|v| v * by).collect::<Vec<f32>>();
        let mut left = tokens.to_vec();
        let mut bests: BTreeMap<usize, f32> = BTreeMap::new();
        for sizes in sizes {
            // What follows the first token is led to by the tokens before it: less may do.
            let own = |t: usize| sizes.iter().copied().filter(move |s| t > 0 || s.abs() >= FIRST);
            let tried: Vec<(usize, Vec<f32>)> = left.iter().flat_map(|t| own(*t).map(|s| (*t, scaled(*t, s)))).collect();
            let told = sight.tries(self.host, pass, &tried)?;
            let mut all = tried.into_iter().zip(told);
            let mut still = Vec::new();
            for &t in &left {
                let (values, told): (Vec<_>, Vec<Told>) = all.by_ref().take(own(t).count()).unzip();
                let enough = told.iter().position(enough);
                let chosen = enough.unwrap_or_else(|| best(&told, better));
                let fares = better(&told[chosen]);
                if enough.is_some() || bests.get(&t).is_none_or(|before| fares > *before) {
                    bests.insert(t, fares);
                    draft.set(t, values[chosen].1.clone());
                }
                still.extend(enough.is_none().then_some(t));
            }
            left = still;
        }
        Ok(left)
    }

    /// Adds the readout's error to the values of tokens, `sign` times, in the smallest size that is `enough`, else in the best one that
    /// the bound on a value's length allows. Whether any value changed.
    #[expect(clippy::too_many_arguments, reason = "what is tried and how it is judged")]
    fn readout(
        &self,
        draft: &mut Draft,
        sight: &Sight,
        pass: &Pass,
        tokens: &[usize],
        sign: f32,
        enough: &dyn Fn(&Told) -> bool,
        better: &dyn Fn(&Told) -> f32,
    ) -> Result<bool> {
        // What a token has was written in the pass already, or not yet: only the latter has to be tried together with the error.
        let mut tried = Vec::new();
        for &t in tokens {
            let error = sight.readout_error(self.host, pass, t);
            let own = draft.values.get(&t);
            let fresh = own.filter(|_| !draft.coded.contains_key(&sight.position(t)));
            let bound = self.settings.bound * sight.length(t);
            for by in std::iter::once(0.0).chain(READOUT) {
                let more: Vec<f32> = error.iter().map(|e| sign * by * e).collect();
                let sum = |to: Option<&Vec<f32>>| {
                    to.map_or_else(|| more.clone(), |to| to.iter().zip(&more).map(|(a, b)| a + b).collect::<Vec<f32>>())
                };
                let whole = sum(own);
                if by == 0.0 || size(&whole) <= bound {
                    tried.push((t, sum(fresh), whole, by > 0.0));
                }
            }
        }
        let told = sight.tries(self.host, pass, &tried.iter().map(|(t, delta, ..)| (*t, delta.clone())).collect::<Vec<_>>())?;
        let mut changed = false;
        for &t in tokens {
            let own: Vec<usize> = (0..tried.len()).filter(|i| tried[*i].0 == t).collect();
            let fares: Vec<Told> = own.iter().map(|i| told[*i]).collect();
            let chosen = fares.iter().position(enough).unwrap_or_else(|| best(&fares, better));
            let (_, _, whole, more) = &tried[own[chosen]];
            if *more {
                draft.set(t, whole.clone());
                changed = true;
            }
        }
        Ok(changed)
    }

    /// The engrams of the draft, and what the layers above make of them.
    fn written(&mut self, draft: &mut Draft, sight: &Sight) -> Result<(Vec<Engram>, Pass)> {
        let started = Instant::now();
        let (inputs, outputs) = (self.prior.inputs(), self.host.decoder.config.width);
        let tokens: Vec<usize> = draft.values.keys().copied().collect();
        // The first position's key is the same in every text that begins so, and far larger than others.
        if sight.start > 1 {
            self.code(draft, sight, 0, None)?;
        }
        for &t in &tokens {
            self.code(draft, sight, sight.position(t), Some(t))?;
        }
        let layer = |draft: &Draft| LayerMemory::of(draft.site, inputs, outputs, &draft.engrams());
        if !draft.guarded {
            let changes = sight.changes(&layer(draft)?.recall(&draft.whitened));
            let mut leaks: Vec<usize> = (1..sight.start.saturating_sub(1)).filter(|p| changes[*p] > LEAK).collect();
            leaks.sort_by(|a, b| changes[*b].total_cmp(&changes[*a]));
            leaks.truncate(self.settings.guards);
            for position in leaks {
                self.code(draft, sight, position, None)?;
            }
            draft.guarded = true;
        }
        let deltas = layer(draft)?.recall(&draft.whitened);
        draft.write_s += started.elapsed().as_secs_f64();
        Ok((draft.engrams(), sight.pass(self.host, deltas)?))
    }

    /// Codes what stands at a position: the value of token `t`, or a guard. What is coded already stays.
    fn code(&mut self, draft: &mut Draft, sight: &Sight, position: usize, t: Option<usize>) -> Result<()> {
        if draft.coded.contains_key(&position) {
            return Ok(());
        }
        let (n, width) = (self.prior.inputs(), self.host.decoder.config.width);
        let z = &draft.whitened[position * n..(position + 1) * n];
        let value = t.and_then(|t| draft.values.get(&t)).cloned().unwrap_or_else(|| vec![0.0; width]);
        let (trace, value) = match &mut self.spikes {
            None => (z.to_vec(), value),
            Some(layer) => layer.code(z, &value, self.settings.presentations)?,
        };
        let ridge = if t.is_some() || position == 0 { RIDGE } else { SOFT };
        let engram = Engram {
            experience: draft.experience.clone(),
            site: draft.site,
            place: sight.places[position],
            key: sight.keys[position * n..(position + 1) * n].to_vec(),
            factor: self.prior.factors(&trace),
            trace,
            value,
            ridge,
        };
        draft.coded.insert(position, engram);
        Ok(())
    }
}

impl Draft {
    /// Gives token `t` another value, which is coded when it is written.
    fn set(&mut self, t: usize, value: Vec<f32>) {
        self.values.insert(t, value);
        self.coded.remove(&(self.start - 1 + t));
    }

    /// In the order of their positions.
    fn engrams(&self) -> Vec<Engram> {
        self.coded.values().cloned().collect()
    }
}

/// The best of what was tried.
fn best(told: &[Told], better: &dyn Fn(&Told) -> f32) -> usize {
    (0..told.len()).max_by(|a, b| better(&told[*a]).total_cmp(&better(&told[*b]))).unwrap_or(0)
}
