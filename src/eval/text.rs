//! What an adapter does to texts that nobody taught: perplexity of plain text, and greedy continuations. Knows the decoder alone.

use crate::bridge::Host;
use crate::bridge::decoder::Logits;
use super::metrics::With;
use crate::bridge::hooks::Adapter;
use crate::bridge::sample::Sampler;
use crate::error::Result;
use crate::memory::context_target::surprise;
use crate::memory::exchange::Request;
use crate::memory::protect::built_in_prompts;
use serde::Serialize;
use std::ops::ControlFlow;

/// Texts of the model's own and their length, prompts, and tokens of a continuation.
const TEXTS: usize = 24;
const LENGTH: usize = 48;
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
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
        let start = host.begin("")?.first().copied().unwrap_or(0);
        let mut texts = Vec::new();
        for i in 0..TEXTS {
            let mut text = vec![start];
            let mut sampler = Sampler::new(1.0, (seed << 32) + 0x7e87 + i as u64)?;
            host.generate(&[start], LENGTH, &mut sampler, &mut (), |token| {
                text.push(token);
                ControlFlow::Continue(())
            })?;
            if text.len() > 2 {
                texts.push(text);
            }
        }
        // From the end of the mixed list: canaries are taken from its beginning.
        let prompts = built_in_prompts().iter().rev().take(PROMPTS).map(|p| Request::of_text(host, &p.prompt)).collect::<Result<_>>()?;
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
            let adapter = with.adapter(&Request::of_text(host, &host.tokenizer.decode(text)?)?)?;
            let mut hooks = &adapter;
            let output = host.decoder.forward(&mut [host.decoder.cache()], &[&text[..text.len() - 1]], Logits::All, &mut hooks)?;
            for (i, token) in text[1..].iter().enumerate() {
                sum += f64::from(surprise(output.row(i), *token));
                n += 1;
            }
        }
        Ok((sum / f64::from(n.max(1))).exp())
    }

    fn continue_with(&self, host: &Host, with: With) -> Result<Vec<Vec<u32>>> {
        let one = |prompt: &Request| {
            let adapter = with.adapter(prompt)?;
            let (mut said, mut hooks) = (Vec::new(), &adapter);
            host.generate(&prompt.tokens, TOKENS, &mut Sampler::greedy(), &mut hooks, |token| {
                said.push(token);
                ControlFlow::Continue(())
            })?;
            Ok(said)
        };
        self.prompts.iter().map(one).collect()
    }
}
