//! The memory of one layer: engrams in, a low-rank change of the layer out. The change is a function of the engrams and their order
//! alone, so that a memory from which one went is the memory that never held it, to the last bit. Knows no text and no spikes.

use super::Engram;
use crate::error::Result;
use crate::learning::associative::LinearMemory;
use crate::transformer::hooks::LowRank;
use crate::transformer::site::Site;
use std::collections::HashMap;

/// What some engrams make of a layer.
#[derive(Clone, Debug)]
pub struct LayerMemory {
    /// The linear layer that all of them were written in.
    pub site: Site,
    memory: LinearMemory,
    /// Rows W'z of what is held: as many x inputs.
    factors: Vec<f32>,
    /// Where the engrams of each place are held.
    rows: HashMap<u64, usize>,
}

impl LayerMemory {
    /// Of a layer with so many inputs and outputs.
    pub fn new(site: Site, inputs: usize, outputs: usize) -> LayerMemory {
        LayerMemory { site, memory: LinearMemory::new(inputs, outputs), factors: Vec::new(), rows: HashMap::new() }
    }

    /// From engrams of its site, in their order. Engrams of one place have one key: their values add up there, the tightest holds, and a
    /// place where a fact stands needs no guard.
    pub fn of<'a>(
        site: Site,
        inputs: usize,
        outputs: usize,
        engrams: impl IntoIterator<Item = &'a Engram>,
    ) -> Result<LayerMemory> {
        let mut layer = LayerMemory::new(site, inputs, outputs);
        let mut joined: Vec<(&Engram, Option<Vec<f32>>, f32)> = Vec::new();
        for engram in engrams.into_iter().filter(|e| e.site == site) {
            match layer.rows.get(&engram.place) {
                None => {
                    layer.rows.insert(engram.place, joined.len());
                    joined.push((engram, None, engram.ridge));
                }
                Some(&at) => {
                    let (first, sum, ridge) = &mut joined[at];
                    let sum = sum.get_or_insert_with(|| first.value.clone());
                    sum.iter_mut().zip(&engram.value).for_each(|(s, v)| *s += v);
                    *ridge = ridge.min(engram.ridge);
                }
            }
        }
        for (engram, sum, ridge) in joined {
            layer.memory.push(&engram.trace, ridge, sum.as_ref().unwrap_or(&engram.value))?;
            layer.factors.extend_from_slice(&engram.factor);
        }
        Ok(layer)
    }

    /// Holds more engrams, whose places are not held yet: the same memory as [`LayerMemory::of`] all of them. False, and nothing is
    /// changed, where a place is held already.
    pub fn extend(&mut self, engrams: &[Engram]) -> Result<bool> {
        let own: Vec<&Engram> = engrams.iter().filter(|e| e.site == self.site).collect();
        let mut places: Vec<u64> = own.iter().map(|e| e.place).collect();
        places.sort_unstable();
        if places.windows(2).any(|p| p[0] == p[1]) || places.iter().any(|p| self.rows.contains_key(p)) {
            return Ok(false);
        }
        for engram in own {
            self.memory.push(&engram.trace, engram.ridge, &engram.value)?;
            self.rows.insert(engram.place, self.memory.len() - 1);
            self.factors.extend_from_slice(&engram.factor);
        }
        Ok(true)
    }

    /// Holds its first `len` rows only.
    pub fn truncate(&mut self, len: usize) {
        self.memory.truncate(len);
        self.factors.truncate(len * self.memory.inputs());
        self.rows.retain(|_, row| *row < len);
    }

    /// Directions of the layer's input that facts and guards take.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// A fact or guard stands at this place.
    pub fn holds(&self, place: u64) -> bool {
        self.rows.contains_key(&place)
    }

    /// Change of the layer's output at whitened keys (any number x inputs): as many x outputs.
    pub fn recall(&self, whitened: &[f32]) -> Vec<f32> {
        self.memory.recall(whitened)
    }

    /// The change of the layer, a rank a fact; None where there is no fact.
    pub fn change(&self) -> Option<LowRank> {
        let (a, b) = self.memory.factors(&self.factors);
        let rank = a.len() / self.memory.inputs().max(1);
        (rank > 0).then_some(LowRank { rank, a, b, scale: 1.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::context_target::site;
    use crate::rng::{Purpose, Stream, key};

    fn engram(place: u64, ridge: f32, guard: bool) -> Engram {
        let mut stream = Stream::new(key(place, 0), Purpose::Weight, 0, 1);
        let mut normals = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        let (key, trace, factor) = (normals(12), normals(12), normals(12));
        let value = if guard { vec![0.0; 5] } else { normals(5) };
        Engram { experience: "e".into(), site: site(1), place, key, trace, factor, value, ridge }
    }

    #[test]
    fn one_by_one_or_at_once_is_the_same_and_a_place_adds_up() {
        let all: Vec<Engram> = (0..6).map(|p| engram(p, 1e-3, p == 3)).collect();
        let whole = LayerMemory::of(site(1), 12, 5, &all).unwrap();
        let mut grown = LayerMemory::new(site(1), 12, 5);
        all.chunks(2).for_each(|some| assert!(grown.extend(some).unwrap()));
        assert_eq!((grown.change(), grown.len()), (whole.change(), 6));
        assert_eq!(whole.change().unwrap().rank, 5);
        assert!(!grown.extend(&all[2..3]).unwrap());
        grown.truncate(2);
        assert_eq!(grown.change(), LayerMemory::of(site(1), 12, 5, &all[..2]).unwrap().change());
        assert!(grown.extend(&all[2..]).unwrap());
        assert_eq!(grown.change(), whole.change());

        let twice = [all[0].clone(), all[1].clone(), all[0].clone()];
        let out = LayerMemory::of(site(1), 12, 5, &twice).unwrap().recall(&all[0].trace);
        let once = LayerMemory::of(site(1), 12, 5, &twice[..2]).unwrap().recall(&all[0].trace);
        out.iter().zip(&once).for_each(|(two, one)| assert!((two - 2.0 * one).abs() < 1e-3 * one.abs().max(1.0)));
        // A guard gives way to a fact at its place, before it or after.
        let guard = Engram { value: vec![0.0; 5], ridge: 0.1, ..all[0].clone() };
        for pair in [[guard.clone(), all[0].clone()], [all[0].clone(), guard]] {
            assert_eq!(
                LayerMemory::of(site(1), 12, 5, &pair).unwrap().change(),
                LayerMemory::of(site(1), 12, 5, &all[..1]).unwrap().change()
            );
        }
        assert!(LayerMemory::of(site(2), 12, 5, &all).unwrap().change().is_none());
    }
}
