//! A model's memory at work: awake it writes experiences into a late layer, asleep it moves them to an early one, and at any time it
//! is an adapter. Knows host, areas and spike layers; nothing of how they are kept on disk.

use super::area::{Area, Fact};
use super::contrast::{site, surprise};
use super::exchange::Exchange;
use super::experience::Experience;
use super::explore::{self, Noise, Stage};
use super::hippocampus::Hippocampus;
use super::protect::Statistics;
use super::settings::{Coding, Settings};
use super::{Engram, wake};
use crate::bridge::Host;
use crate::bridge::decoder::Logits;
use crate::bridge::hooks::Adapter;
use crate::error::{Error, Result};
use std::sync::atomic::AtomicBool;

pub use super::wake::Lesson;

/// What learns.
pub struct Learner<'a> {
    host: &'a Host,
    pub settings: Settings,
    /// Layer of wake, and layer of sleep.
    pub late: Area,
    pub early: Area,
    spikes: Option<Hippocampus>,
    noise: Noise,
    /// What sleep taught: the early area as an adapter.
    kept: Adapter,
}

impl<'a> Learner<'a> {
    pub fn new(host: &'a Host, settings: &Settings, statistics: &Statistics) -> Result<Learner<'a>> {
        let config = &host.decoder.config;
        settings.check(config)?;
        if statistics.layers != settings.layers() {
            return Err(Error::input("statistics of other layers than those that learn", "collect them for these settings"));
        }
        let (outputs, inputs) = config.shape(site(0).linear);
        let area = |layer: usize, which: usize| {
            Ok::<_, Error>(Area::new(site(layer), outputs, statistics.prior(which, settings.floor)?, &statistics.first[which]))
        };
        let spikes = match settings.coding {
            Coding::Exact => None,
            Coding::Spiking => Some(Hippocampus::new(inputs, outputs, settings.steps, &settings.engine)?),
        };
        Ok(Learner {
            host,
            late: area(settings.wake_layer, 0)?,
            early: area(settings.sleep_layer, 1)?,
            spikes,
            noise: Noise::new(&statistics.codes, config.width, settings.seed)?,
            kept: Adapter::default(),
            settings: settings.clone(),
        })
    }

    /// Takes up what was learned before.
    pub fn restore(&mut self, engrams: impl IntoIterator<Item = Engram>) -> Result<()> {
        let (early, late): (Vec<Engram>, Vec<Engram>) = engrams.into_iter().partition(|e| e.site == self.early.site);
        self.late.restore(late)?;
        self.early.restore(early)?;
        self.settle()
    }

    /// Holds these engrams and no others.
    pub fn replace(&mut self, engrams: impl IntoIterator<Item = Engram>) -> Result<()> {
        self.late.replace([])?;
        self.early.replace([])?;
        self.restore(engrams)
    }

    fn settle(&mut self) -> Result<()> {
        self.kept = Adapter::default();
        if let Some(change) = self.early.change() {
            self.kept.insert(&self.host.decoder.config, self.early.site, change)?;
        }
        Ok(())
    }

    /// Everything learned, as an adapter: a rank an engram.
    pub fn adapter(&self) -> Result<Adapter> {
        let mut adapter = self.kept.clone();
        if let Some(change) = self.late.change() {
            adapter.insert(&self.host.decoder.config, self.late.site, change)?;
        }
        Ok(adapter)
    }

    /// What sleep taught alone.
    pub fn kept(&self) -> &Adapter {
        &self.kept
    }

    /// Spikes of the hippocampus so far.
    pub fn spikes(&self) -> u64 {
        self.spikes.as_ref().map_or(0, |s| s.spikes)
    }

    /// Learns awake from one experience.
    ///
    /// # Errors
    /// As of [`wake::learn`]; nothing is changed then.
    pub fn wake(&mut self, experience: &Experience) -> Result<Lesson> {
        wake::learn(self.host, &self.kept, &mut self.late, self.spikes.as_mut(), &self.settings, experience)
    }

    /// Looks for what the early layer should say at the experience's subject, without writing it.
    ///
    /// # Errors
    /// An answer that is empty, or a text beyond the context.
    pub fn dream(&mut self, experience: &Experience, stop: &AtomicBool) -> Result<(Vec<f32>, explore::Found)> {
        let exchange = Exchange::of(self.host, experience)?;
        let position = match &experience.subject {
            Some(subject) => exchange.subject_end(self.host, subject)?,
            None => None,
        };
        let Exchange { prompt: tokens, answer, .. } = exchange;
        let position = position.unwrap_or(tokens.len() - 1);
        let (stage, key) = Stage::new(self.host, &self.kept, self.early.site.layer, &tokens, position, &answer)?;
        let found = explore::explore(&stage, &self.kept, &mut self.noise, &self.settings.sleep, stop)?;
        Ok((key, found))
    }

    /// Writes what a dream found into the early layer, on top of what is there: the dream saw that too, and two facts may share a
    /// subject.
    pub fn consolidate(&mut self, experience: &Experience, key: &[f32], value: &[f32]) -> Result<Engram> {
        let fact = Fact { experience: &experience.id, key, value, adds: true };
        let presentations = self.settings.presentations;
        let engram = self.early.write(fact, self.spikes.as_mut().map(|s| (s, presentations)))?;
        self.settle()?;
        Ok(engram)
    }

    /// Takes a dream's write back.
    pub fn wake_from(&mut self, experience: &str) -> Result<()> {
        self.early.erase(experience)?;
        self.settle()
    }

    /// Probability of the answer, all its tokens, by what sleep taught alone.
    pub fn probability(&self, experience: &Experience) -> Result<f32> {
        let Exchange { prompt: tokens, answer, .. } = Exchange::of(self.host, experience)?;
        let all = [&tokens[..], &answer[..answer.len() - 1]].concat();
        let decoder = &self.host.decoder;
        let output = decoder.forward(&mut [decoder.cache()], &[&all], Logits::Tail(answer.len()), &mut &self.kept)?;
        let surprise: f32 = answer.iter().enumerate().map(|(t, token)| surprise(output.row(t), *token)).sum();
        Ok((-surprise).exp())
    }

    /// Takes out what an experience left, awake and asleep. How many engrams went.
    pub fn forget(&mut self, experience: &str) -> Result<usize> {
        let gone = self.late.erase(experience)? + self.early.erase(experience)?;
        self.settle()?;
        Ok(gone)
    }
}
