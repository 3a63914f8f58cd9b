//! Which experience is replayed next: a population with a cell an experience, driven by surprise, outcome and recency; whichever fires
//! first is replayed first, and those driven more fire more often. Knows numbers and spikes; no text.

use super::cells;
use crate::engine::{Engine, Kind, Sink, Snapshot, Spike};
use crate::error::Result;
use std::collections::VecDeque;

/// Drive of the strongest cell, thresholds a ms.
const STRONGEST: f32 = 0.25;
/// Experiences after which recency has fallen to a half of what it can.
const HALF: f32 = 50.0;

/// What decides how soon an experience comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cue {
    /// -log p of the answer when it arrived, nats.
    pub surprise: f32,
    /// -1 to 1.
    pub reward: f32,
    /// Experiences that arrived since.
    pub age: usize,
}

impl Cue {
    /// Above 0: surprise saturates at a few nats, outcome counts by size, recency fades to a half.
    pub fn drive(self) -> f32 {
        let recency = 0.5 + 0.5 * HALF / (HALF + self.age as f32);
        (0.1 + self.surprise.max(0.0) / (2.0 + self.surprise.max(0.0))) * (0.1 + self.reward.abs()) * recency
    }
}

/// The population.
pub struct Replay {
    engine: Box<dyn Engine>,
    /// Indices of cells that fired and were not asked for yet.
    fired: VecDeque<usize>,
    slope: usize,
    quiet: Vec<bool>,
}

impl Replay {
    /// A cell for each experience, the strongest of them driven alike in every population.
    pub fn new(cues: &[Cue]) -> Result<Replay> {
        let (cell, slope) = cells::integrator()?;
        let mut engine = cells::engine(Kind::Cpu, 0, vec![("replay", cues.len().max(1), cell)])?;
        let strongest = cues.iter().map(|c| c.drive()).fold(f32::MIN_POSITIVE, f32::max);
        let mut start = engine.snapshot()?;
        for (word, cue) in start.states[0][slope].iter_mut().zip(cues) {
            *word = (STRONGEST * cue.drive() / strongest).to_bits();
        }
        engine.restore(&start)?;
        Ok(Replay { engine, fired: VecDeque::new(), slope, quiet: vec![false; cues.len()] })
    }

    /// The next experience to replay, by its index; None when all are quiet.
    pub fn next(&mut self) -> Result<Option<usize>> {
        while self.quiet.iter().any(|q| !q) {
            if let Some(cell) = self.fired.pop_front() {
                if !self.quiet[cell] {
                    return Ok(Some(cell));
                }
                continue;
            }
            let mut sink = Fired(&mut self.fired);
            self.engine.advance(1, &mut sink)?;
        }
        Ok(None)
    }

    /// This one is not replayed any more.
    pub fn silence(&mut self, cell: usize) -> Result<()> {
        self.quiet[cell] = true;
        let mut state: Snapshot = self.engine.snapshot()?;
        state.states[0][self.slope][cell] = 0.0f32.to_bits();
        self.engine.restore(&state)
    }
}

struct Fired<'a>(&'a mut VecDeque<usize>);

impl Sink for Fired<'_> {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        self.0.extend(spikes.iter().map(|s| s.id as usize));
        Ok(())
    }
    fn sample(&mut self, _: usize, _: f64, _: &[f32]) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surprising_and_rewarded_come_first_and_more_often() {
        let cue = |surprise: f32, reward: f32, age: usize| Cue { surprise, reward, age };
        let cues = [cue(1.0, 1.0, 0), cue(8.0, 1.0, 0), cue(8.0, 0.2, 0), cue(8.0, 1.0, 400)];
        let mut replay = Replay::new(&cues).unwrap();
        let mut counts = [0; 4];
        let first = replay.next().unwrap().unwrap();
        counts[first] += 1;
        (0..60).for_each(|_| counts[replay.next().unwrap().unwrap()] += 1);
        assert_eq!(first, 1);
        assert!(counts[1] > counts[3] && counts[3] > counts[2] && counts[1] > counts[0] && counts[2] > 0, "{counts:?}");
        (0..3).for_each(|c| replay.silence(c).unwrap());
        assert_eq!(replay.next().unwrap(), Some(3));
        replay.silence(3).unwrap();
        assert_eq!(replay.next().unwrap(), None);
        assert_eq!(Replay::new(&[]).unwrap().next().unwrap(), None);
    }
}
