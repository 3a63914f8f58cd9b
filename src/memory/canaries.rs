//! What writing does to everything else: some texts whose next tokens are known, asked again with a layer changed at every position. Only
//! the layers above run; keys and residuals at the layer are computed once. Knows the decoder; no memory.

use super::context_target::{places, site, unseen};
use crate::error::Result;
use crate::learning::associative::Prior;
use crate::transformer::Host;
use crate::transformer::decoder::Logits;
use crate::transformer::hooks::{Hooks, Recorder};
use crate::transformer::sample::{log_softmax, top};
use serde::{Deserialize, Serialize};

/// What a change of a model does to texts that it should leave alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Damage {
    /// Mean divergence of the next token's distribution from the unchanged model's, nats.
    pub kl: f32,
    /// Part of the texts whose likeliest next token is another one.
    pub changed: f32,
}

/// Texts, and what the unchanged model makes of their ends.
pub struct Canaries {
    layer: usize,
    texts: Vec<Vec<u32>>,
    /// Digest of each text: a place that is taught itself is not a canary.
    places: Vec<u64>,
    /// Whitened keys of the layer at all positions of all texts: positions x inputs.
    pub whitened: Vec<f32>,
    /// Residuals after it: positions x width.
    residuals: Vec<f32>,
    /// Log-probabilities after the last positions of each text (at most `TAIL`): rows x vocabulary.
    unchanged: Vec<f32>,
}

impl Canaries {
    /// Of texts at a layer whose keys `prior` whitens. Empty texts, and those beyond the context, are left out.
    pub fn new(host: &Host, prior: &Prior, layer: usize, texts: &[Vec<u32>]) -> Result<Canaries> {
        let texts: Vec<Vec<u32>> =
            texts.iter().filter(|t| !t.is_empty() && t.len() <= host.decoder.config.context).cloned().collect();
        let mut all = Canaries {
            layer,
            places: texts.iter().filter_map(|t| places(t).last().copied()).collect(),
            texts,
            whitened: Vec::new(),
            residuals: Vec::new(),
            unchanged: Vec::new(),
        };
        let mut keys = Vec::new();
        for some in all.texts.chunks(TOGETHER) {
            let slices: Vec<&[u32]> = some.iter().map(|t| &t[..]).collect();
            let mut caches = vec![host.decoder.cache(); some.len()];
            let mut seen = Recorder::new(&[site(layer)], &[layer + 1]);
            let output = host.decoder.forward(&mut caches, &slices, Logits::Tail(TAIL), &mut seen)?;
            let record = seen.linears.pop().ok_or_else(unseen)?;
            let (_, _, residuals) = seen.residuals.pop().ok_or_else(unseen)?;
            keys.extend(record.input);
            all.residuals.extend(residuals);
            let mut logits = output.logits;
            logits.chunks_exact_mut(output.vocabulary).for_each(log_softmax);
            all.unchanged.extend(logits);
        }
        all.whitened = prior.whiten(&keys);
        Ok(all)
    }

    /// Texts that are asked.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// What changes of the residual after the layer (positions x width) do, to all texts but those taught themselves.
    pub fn damage(&self, host: &Host, deltas: &[f32], taught: &dyn Fn(u64) -> bool) -> Result<Damage> {
        let width = host.decoder.config.width;
        let asked: Vec<usize> = (0..self.len()).filter(|i| !taught(self.places[*i])).collect();
        if asked.is_empty() {
            return Ok(Damage::default());
        }
        let starts: Vec<usize> = self.texts.iter().scan(0, |end, t| Some(std::mem::replace(end, *end + t.len()))).collect();
        let span = |i: usize| starts[i] * width..(starts[i] + self.texts[i].len()) * width;
        let rows: Vec<f32> =
            asked.iter().flat_map(|&i| self.residuals[span(i)].iter().zip(&deltas[span(i)]).map(|(r, d)| r + d)).collect();
        let mut caches = vec![host.decoder.cache(); asked.len()];
        let counts: Vec<usize> = asked.iter().map(|i| self.texts[*i].len()).collect();
        let output = host.decoder.resume(self.layer + 1, &rows, &mut caches, &counts, Logits::Tail(TAIL), &mut ())?;
        Ok(self.compare(&asked, |i| output.row(i)))
    }

    /// The same for a change anywhere: every text is computed whole, through `hooks`; every `step`th text.
    pub fn damage_through(
        &self,
        host: &Host,
        mut hooks: impl Hooks,
        step: usize,
        taught: &dyn Fn(u64) -> bool,
    ) -> Result<Damage> {
        let asked: Vec<usize> = (0..self.len()).step_by(step.max(1)).filter(|i| !taught(self.places[*i])).collect();
        if asked.is_empty() {
            return Ok(Damage::default());
        }
        let slices: Vec<&[u32]> = asked.iter().map(|i| &self.texts[*i][..]).collect();
        let mut caches = vec![host.decoder.cache(); asked.len()];
        let output = host.decoder.forward(&mut caches, &slices, Logits::Tail(TAIL), &mut hooks)?;
        Ok(self.compare(&asked, |i| output.row(i)))
    }

    fn compare<'a>(&self, asked: &[usize], row: impl Fn(usize) -> &'a [f32]) -> Damage {
        let mut damage = Damage::default();
        let firsts: Vec<usize> = self.texts.iter().scan(0, |end, t| Some(std::mem::replace(end, *end + tail(t)))).collect();
        let rows: Vec<usize> = asked.iter().flat_map(|i| firsts[*i]..firsts[*i] + tail(&self.texts[*i])).collect();
        for (at, &i) in rows.iter().enumerate() {
            let mut now = row(at).to_vec();
            log_softmax(&mut now);
            let before = &self.unchanged[i * now.len()..(i + 1) * now.len()];
            let kl: f64 = before.iter().zip(&now).map(|(p, q)| f64::from(*p).exp() * f64::from(p - q)).sum();
            damage.kl += kl.max(0.0) as f32 / rows.len() as f32;
            damage.changed += if top(before) == top(&now) { 0.0 } else { 1.0 / rows.len() as f32 };
        }
        damage
    }
}

/// Positions at the end of a text that are asked at most.
const TAIL: usize = 3;

fn tail(text: &[u32]) -> usize {
    text.len().min(TAIL)
}

/// Texts that are computed together.
const TOGETHER: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::key_statistics::Statistics;
    use crate::memory::questions::built_in_prompts;
    use crate::memory::settings::Settings;
    use crate::transformer::hooks::Row;
    use crate::transformer::{Host, Source};
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicBool;

    struct Asked {
        host: Host,
        layer: usize,
        canaries: Canaries,
    }

    fn asked() -> &'static Asked {
        static ASKED: OnceLock<Asked> = OnceLock::new();
        ASKED.get_or_init(|| {
            let source = Source::built_in().unwrap();
            let host = source.load().unwrap();
            let settings = Settings { samples: 640, ..Settings::new(&source.config) };
            let prompts = &built_in_prompts()[..20];
            let stop = AtomicBool::new(false);
            let statistics = Statistics::collect(&host, &settings, prompts, &mut |_| (), &stop).unwrap();
            let prior = statistics.prior(0, settings.floor).unwrap();
            let mut texts = statistics.canaries.clone();
            // One without tokens and one beyond the context are no canaries; one of a single token is.
            texts.extend([vec![], vec![1; host.decoder.config.context + 1], vec![1]]);
            let canaries = Canaries::new(&host, &prior, settings.wake_layer, &texts).unwrap();
            assert_eq!(canaries.len(), texts.len() - 2);
            Asked { host, layer: settings.wake_layer, canaries }
        })
    }

    /// Changes of the residual at every position, of this part of its length and of any direction.
    fn deltas(by: f32) -> Vec<f32> {
        let residuals = &asked().canaries.residuals;
        let turned = |i: usize| if (i * 2_654_435_761) & 0x1_0000 == 0 { by } else { -by };
        residuals.iter().enumerate().map(|(i, r)| turned(i) * r).collect()
    }

    fn damage(deltas: &[f32], taught: &dyn Fn(u64) -> bool) -> Damage {
        asked().canaries.damage(&asked().host, deltas, taught).unwrap()
    }

    /// Changes the residual after a layer at every position of each text; `starts` are those of the texts.
    struct Everywhere<'a> {
        layer: usize,
        starts: &'a [usize],
        deltas: &'a [f32],
    }

    impl Hooks for Everywhere<'_> {
        fn residual(&mut self, layer: usize, rows: &[Row], values: &mut [f32]) {
            let width = values.len() / rows.len().max(1);
            for (row, value) in rows.iter().zip(values.chunks_exact_mut(width)) {
                let Some(text) = row.sequence.filter(|_| layer == self.layer + 1) else { continue };
                let at = self.starts[text] + row.position;
                let delta = &self.deltas[at * width..(at + 1) * width];
                value.iter_mut().zip(delta).for_each(|(v, d)| *v += d);
            }
        }
    }

    #[test]
    fn no_change_does_no_damage_and_a_larger_one_does_more() {
        let none = damage(&deltas(0.0), &|_| false);
        assert!(none.kl < 1e-6 && none.changed == 0.0, "{none:?}");
        let mut last = none;
        for by in [0.01, 0.1, 0.3, 1.0] {
            let now = damage(&deltas(by), &|_| false);
            assert!(now.kl > last.kl && now.changed >= last.changed && now.changed <= 1.0, "{by}: {last:?} {now:?}");
            last = now;
        }
        assert!(last.kl > 0.1 && last.changed > 0.1, "{last:?}");
        let through = asked().canaries.damage_through(&asked().host, (), 1, &|_| false).unwrap();
        assert!(through.kl < 1e-6 && through.changed == 0.0, "{through:?}");
    }

    #[test]
    fn a_place_that_is_taught_is_no_canary() {
        let Asked { host, canaries, .. } = asked();
        let width = host.decoder.config.width;
        // Only the third text changes.
        let mut deltas = deltas(1.0);
        let starts = starts(canaries);
        let third = starts[2] * width..starts[3] * width;
        deltas.iter_mut().enumerate().filter(|(i, _)| !third.contains(i)).for_each(|(_, d)| *d = 0.0);
        let place = places(&canaries.texts[2]).last().copied().unwrap();
        assert!(damage(&deltas, &|_| false).kl > 1e-4);
        assert!(damage(&deltas, &|p| p == place).kl < 1e-6);
        assert_eq!(damage(&deltas, &|_| true), Damage::default());
        assert_eq!(canaries.damage_through(host, (), 1, &|_| true).unwrap(), Damage::default());
    }

    fn starts(canaries: &Canaries) -> Vec<usize> {
        canaries.texts.iter().scan(0, |end, t| Some(std::mem::replace(end, *end + t.len()))).collect()
    }

    /// The layers above alone, or all layers: the damage of the same change.
    #[test]
    fn what_is_resumed_is_what_is_computed_whole() {
        let Asked { host, layer, canaries } = asked();
        let starts = starts(canaries);
        for by in [0.05, 0.5] {
            let deltas = deltas(by);
            let hooks = Everywhere { layer: *layer, starts: &starts, deltas: &deltas };
            let (resumed, whole) = (damage(&deltas, &|_| false), canaries.damage_through(host, hooks, 1, &|_| false).unwrap());
            assert!((resumed.kl - whole.kl).abs() < 1e-4 * resumed.kl.max(1e-2), "{resumed:?} {whole:?}");
            assert!((resumed.changed - whole.changed).abs() < 1e-6, "{resumed:?} {whole:?}");
        }
        // Every second text is asked: the damage of those alone.
        let second = canaries.damage_through(host, (), 2, &|_| false);
        assert!(second.unwrap().kl < 1e-6);
    }
}
