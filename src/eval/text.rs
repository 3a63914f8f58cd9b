//! What an adapter does to texts that nobody taught: perplexity of plain text, and greedy continuations. Knows the decoder alone.

use super::metrics::With;
use crate::error::Result;
use crate::memory::context_target::surprise;
use crate::memory::exchange::Request;
use crate::memory::questions::built_in_prompts;
use crate::transformer::Host;
use crate::transformer::decoder::Logits;
use crate::transformer::hooks::Adapter;
use crate::transformer::sample::{Sampler, top};
use serde::{Deserialize, Serialize};

/// Texts of the model's own and their length, prompts, and tokens of a continuation.
const TEXTS: usize = 24;
const LENGTH: usize = 40;
const PROMPTS: usize = 20;
const TOKENS: usize = 10;

/// Texts, and what the unchanged model makes of them.
pub struct Untaught {
    texts: Vec<Vec<u32>>,
    prompts: Vec<Request>,
    perplexity: f64,
    continued: Vec<Vec<u32>>,
}

/// How texts fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TextDamage {
    /// Perplexity of plain text, before and after.
    pub perplexity: [f64; 2],
    /// Of the prompts, the part (%) whose first 10 greedy tokens are the same.
    pub continued: f64,
}

impl TextDamage {
    /// By how much perplexity rose, %.
    pub fn rise(&self) -> f64 {
        100.0 * (self.perplexity[1] / self.perplexity[0] - 1.0)
    }
}

impl Untaught {
    /// Texts that the model draws (temperature 1; other ones than those that statistics are taken of), and built-in prompts.
    pub fn new(host: &Host, seed: u64) -> Result<Untaught> {
        let texts = draw(host, seed)?;
        // From the end of the mixed list: canaries are taken from its beginning.
        let prompts =
            built_in_prompts().iter().rev().take(PROMPTS).map(|p| Request::of_text(host, &p.prompt)).collect::<Result<_>>()?;
        let mut untaught = Untaught { texts, prompts, perplexity: 0.0, continued: Vec::new() };
        let nothing = Adapter::default();
        untaught.perplexity = untaught.perplexity_with(host, With::One(&nothing))?;
        untaught.continued = untaught.continue_with(host, With::One(&nothing))?;
        Ok(untaught)
    }

    /// The same with what was learned.
    pub fn damage(&self, host: &Host, with: With) -> Result<TextDamage> {
        let now = self.continue_with(host, with)?;
        let same = now.iter().zip(&self.continued).filter(|(a, b)| a == b).count();
        Ok(TextDamage {
            perplexity: [self.perplexity, self.perplexity_with(host, with)?],
            continued: 100.0 * same as f64 / now.len().max(1) as f64,
        })
    }

    fn perplexity_with(&self, host: &Host, with: With) -> Result<f64> {
        let (mut sum, mut n) = (0.0, 0);
        for text in &self.texts {
            let composition = with.composition(&Request::of_text(host, &host.tokenizer.decode(text)?)?)?;
            let text = &text[..];
            let mut work = composition.at_work(text.len() - 1);
            let output = host.decoder.forward(&mut [host.decoder.cache()], &[&text[..text.len() - 1]], Logits::All, &mut work)?;
            for (i, token) in text[1..].iter().enumerate() {
                sum += f64::from(surprise(output.row(i), *token));
                n += 1;
            }
        }
        Ok((sum / f64::from(n.max(1))).exp())
    }

    fn continue_with(&self, host: &Host, with: With) -> Result<Vec<Vec<u32>>> {
        let all = self.prompts.iter().map(|p| with.composition(p)).collect::<Result<Vec<_>>>()?;
        let mut said = vec![Vec::new(); self.prompts.len()];
        let mut left: Vec<usize> = (0..self.prompts.len()).collect();
        while let Some(&first) = left.first() {
            // Those that share an adapter are computed together, and one that depends on where its answer begins alone.
            let alike = |i: usize| i == first || all[i].joins(&all[first]);
            let (some, others): (Vec<usize>, Vec<usize>) = left.iter().partition(|i| alike(**i));
            let slices: Vec<&[u32]> = some.iter().map(|i| &self.prompts[*i].tokens[..]).collect();
            let mut caches = vec![host.decoder.cache(); some.len()];
            let mut work = all[first].at_work(slices[0].len());
            let mut output = host.decoder.forward(&mut caches, &slices, Logits::Last, &mut work)?;
            for n in 1..=TOKENS {
                let tokens: Vec<u32> = (0..some.len()).map(|i| top(output.row(i))).collect();
                some.iter().zip(&tokens).for_each(|(i, token)| said[*i].push(*token));
                if n < TOKENS {
                    let slices: Vec<&[u32]> = tokens.iter().map(std::slice::from_ref).collect();
                    output = host.decoder.forward(&mut caches, &slices, Logits::Last, &mut work)?;
                }
            }
            left = others;
        }
        // What follows the end of a text does not count.
        let eos = &host.decoder.config.eos;
        let cut = |mut said: Vec<u32>| {
            said.truncate(said.iter().position(|t| eos.contains(t)).map_or(TOKENS, |at| at + 1));
            said
        };
        Ok(said.into_iter().map(cut).collect())
    }
}

/// Texts of the model's own, side by side.
fn draw(host: &Host, seed: u64) -> Result<Vec<Vec<u32>>> {
    let start = host.begin("")?.first().copied().unwrap_or(0);
    let mut samplers = (0..TEXTS).map(|i| Sampler::new(1.0, (seed << 32) + 0x7e87 + i as u64)).collect::<Result<Vec<_>>>()?;
    let mut caches = vec![host.decoder.cache(); TEXTS];
    let mut texts = vec![vec![start]; TEXTS];
    for _ in 0..LENGTH.min(host.decoder.config.context) {
        let last: Vec<u32> = texts.iter().filter_map(|t| t.last().copied()).collect();
        let slices: Vec<&[u32]> = last.iter().map(std::slice::from_ref).collect();
        let output = host.decoder.forward(&mut caches, &slices, Logits::Last, &mut ())?;
        texts.iter_mut().zip(&mut samplers).enumerate().for_each(|(i, (text, sampler))| text.push(sampler.next(output.row(i))));
    }
    Ok(texts)
}
