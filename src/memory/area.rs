//! The memory of one layer: engrams in, a low-rank change of the layer out. Knows coding by spikes or exactly; no text.

use super::Engram;
use super::hippocampus::Hippocampus;
use crate::bridge::hooks::{LowRank, Site};
use crate::error::Result;
use crate::learning::associative::{LinearMemory, Prior, Reading};
use std::sync::Arc;

/// A layer that learns.
#[derive(Clone, Debug)]
pub struct Area {
    pub site: Site,
    outputs: usize,
    memory: LinearMemory,
    /// A key that is guarded from the start: the first token's.
    first: Vec<f32>,
    /// As written, one a term of the memory.
    engrams: Vec<Engram>,
}

/// What to write.
#[derive(Clone, Copy, Debug)]
pub struct Fact<'a> {
    pub experience: &'a str,
    /// Input of the layer: inputs.
    pub key: &'a [f32],
    /// Change of its output that is wanted: outputs. Where `adds`, on top of what is there.
    pub value: &'a [f32],
    pub adds: bool,
}

/// What a layer's memory says of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Recall {
    /// How new the key is, 0 to 1.
    pub novelty: f32,
    /// It was written before.
    pub again: bool,
    /// Change of the output there: outputs.
    pub value: Vec<f32>,
    /// The experience whose key is most like it.
    pub nearest: Option<String>,
}

impl Area {
    pub fn new(site: Site, outputs: usize, prior: Arc<Prior>, first: &[f32]) -> Area {
        let memory = LinearMemory::new(prior, outputs);
        let mut area = Area { site, outputs, memory, first: first.to_vec(), engrams: Vec::new() };
        area.clear();
        area
    }

    fn clear(&mut self) {
        self.memory = LinearMemory::new(self.memory.prior.clone(), self.outputs);
        self.engrams.clear();
        if !self.first.is_empty() {
            self.memory.guard(&self.first);
        }
    }

    pub fn engrams(&self) -> &[Engram] {
        &self.engrams
    }

    /// Directions of the layer's input that are taken, and how many there are.
    pub fn load(&self) -> (usize, usize) {
        (self.memory.taken(), self.memory.prior.inputs())
    }

    /// What the memory knows of a key.
    pub fn recall(&self, key: &[f32]) -> Recall {
        let reading = self.memory.read(key);
        let value = self.memory.recall(&reading.whitened);
        let nearest = self.memory.nearest(&reading.whitened).map(|(i, _)| self.engrams[i].experience.clone());
        Recall { novelty: reading.novelty, again: self.memory.twin(&reading).is_some(), value, nearest }
    }

    /// Writes a fact, through spikes where a layer of them is given, in so many presentations.
    ///
    /// # Errors
    /// The key cannot be told from an earlier one, or a number is none; nothing is changed then.
    pub fn write(&mut self, fact: Fact, spikes: Option<(&mut Hippocampus, usize)>) -> Result<Engram> {
        let reading = self.memory.read(fact.key);
        let known = self.known(&reading, fact.adds);
        let value = sum(fact.value, &known);
        let (trace, value) = match spikes {
            None => (reading.whitened.clone(), value),
            Some((layer, presentations)) => layer.learn(&self.memory, &reading, &value, presentations)?,
        };
        put(&mut self.memory, &reading, &trace, &value)?;
        let engram = Engram {
            experience: fact.experience.into(),
            site: self.site,
            place: 0,
            key: fact.key.to_vec(),
            factor: vec![0.0; trace.len()],
            trace,
            value,
            ridge: 1.0,
        };
        self.engrams.push(engram.clone());
        Ok(engram)
    }

    /// What a value at this key comes on top of.
    fn known(&self, reading: &Reading, adds: bool) -> Vec<f32> {
        if adds { self.memory.recall(&reading.whitened) } else { vec![0.0; self.outputs] }
    }

    /// Guards keys (any number x inputs) whose outputs should not change, on behalf of the last engram: it is given back with them.
    pub fn guard(&mut self, keys: &[f32]) -> Option<&Engram> {
        self.memory.guard(keys);
        self.engrams.last()
    }

    /// Takes up engrams that were written before, in their order.
    pub fn restore(&mut self, engrams: impl IntoIterator<Item = Engram>) -> Result<()> {
        engrams.into_iter().try_for_each(|engram| {
            let reading = self.memory.read(&engram.key);
            put(&mut self.memory, &reading, &engram.trace, &engram.value)?;
            self.engrams.push(engram);
            Ok(())
        })
    }

    /// Takes out what an experience left: afterwards the memory is one that never held it. How many engrams went.
    pub fn erase(&mut self, experience: &str) -> Result<usize> {
        let before = self.engrams.len();
        if self.engrams.iter().any(|e| e.experience == experience) {
            self.rebuild(|engram| engram.experience != experience)?;
        }
        Ok(before - self.engrams.len())
    }

    /// Takes its terms out and leaves all else as it is: the outputs at all other keys stay to the last bit. What it took of the
    /// layer's room is free again when the memory is next taken up.
    pub fn drop(&mut self, experience: &str) {
        for i in (0..self.engrams.len()).rev().filter(|i| self.engrams[*i].experience == experience).collect::<Vec<_>>() {
            self.engrams.remove(i);
            self.memory.remove(i);
        }
    }

    /// Holds these engrams and no others.
    pub fn replace(&mut self, engrams: impl IntoIterator<Item = Engram>) -> Result<()> {
        self.clear();
        self.restore(engrams)
    }

    fn rebuild(&mut self, keep: impl Fn(&Engram) -> bool) -> Result<()> {
        let all = std::mem::take(&mut self.engrams);
        self.replace(all.into_iter().filter(keep))
    }

    /// The change of the layer, a rank a fact; None while there is none.
    pub fn change(&self) -> Option<LowRank> {
        let rank = self.memory.terms().len();
        let (a, b) = self.memory.factors();
        (rank > 0).then_some(LowRank { rank, a, b, scale: 1.0 })
    }
}

fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn put(memory: &mut LinearMemory, reading: &Reading, trace: &[f32], value: &[f32]) -> Result<()> {
    memory.write(reading, (!trace.is_empty()).then_some(trace), value)
}
