//! What a question asks of a population of index cells, wherever its cells lie: of the network in this process here, of a database
//! elsewhere. A population serves the volley and hands out what it struck; everything that is made of it is made in one place (`ask`).

use super::{Hippocampus, Shelf, Slot};
use crate::error::Result;
use crate::recall::encoder::Tokens;
use crate::recall::episode::{Episode, Filter};
use crate::recall::fuse::{add_normal, moments};
use crate::recall::index::{Code, Cue, PORTS};
use jiff::Timestamp;
use rayon::prelude::*;

/// A cue with all that decides which cells fire first.
pub struct Volley<'a> {
    /// The graded spikes.
    pub cue: &'a Cue,
    /// The experiences whose cells are allowed to fire.
    pub filter: &'a Filter,
    /// The time of the question.
    pub now: Timestamp,
    /// What a z-score of each port weighs.
    pub weights: [f32; PORTS],
    /// Cells that late interaction looks at, and experiences that are asked for.
    pub rescored: usize,
    /// Experiences that are asked for.
    pub k: usize,
}

impl Volley<'_> {
    /// Cells that may be ranked in the end, where so many are allowed.
    pub fn ranked(&self, allowed: usize) -> usize {
        self.rescored.max(4 * self.k.min(allowed))
    }
}

/// What a volley left.
pub struct Fired {
    /// Cells that were allowed to fire.
    pub allowed: usize,
    /// Synapses that the volley was served by.
    pub events: u64,
    /// Mean and standard deviation of what arrived at the cells that are allowed, by port.
    pub normal: [(f32, f32); PORTS],
    /// In order of their age: of the cells that are allowed, twice as many as may be ranked, those of the largest sums of weighted z-scores,
    /// and their neighbours in time within two links.
    pub cells: Vec<Struck>,
}

/// A cell that a volley struck.
pub struct Struck {
    /// Its name in the population; a younger cell has a larger one.
    pub cell: u64,
    /// Name of the experience that it is a piece of.
    pub experience: u64,
    /// Its neighbours in time, before and after, by their places in [`Fired::cells`].
    pub beside: [Option<u32>; 2],
    /// What arrived at it, by port.
    pub drives: [f32; PORTS],
    /// How the experience turned out.
    pub outcome: Option<f64>,
    /// When it happened, or was told.
    pub instant: Option<Timestamp>,
}

/// What late interaction makes of the token vectors of a cell.
pub type Best<'a> = dyn Fn(&Tokens) -> Option<Vec<f32>> + Sync + 'a;

/// A population of index cells, of one moment.
pub trait Population {
    /// Cells that are there, and for each of these words how many of them have it among their own.
    fn holding(&self, words: &[u16]) -> Result<(usize, Vec<u32>)>;

    /// Delivers a cue to every cell.
    fn volley(&self, volley: &Volley) -> Result<Fired>;

    /// What `best` makes of the token vectors of each of these cells; None of cells that have none.
    fn late(&self, cells: &[u64], best: &Best) -> Result<Vec<Option<Vec<f32>>>>;

    /// The experience of each of these cells, and the cell's code; None of cells that are not there.
    fn experiences(&self, cells: &[u64]) -> Result<Vec<Option<(Episode, Code)>>>;
}

/// The first `count` of cells with their sums, those of the largest; of equal ones the older.
pub(super) fn first_of(mut all: Vec<(u32, f32)>, count: usize) -> Vec<(u32, f32)> {
    if all.len() > count {
        all.select_nth_unstable_by(count, earlier);
        all.truncate(count);
    }
    all
}

/// Which of two cells fires first.
pub(super) fn earlier(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// The network's own cells, with their token vectors.
pub(super) struct Own<'a> {
    pub network: &'a Hippocampus,
    pub shelf: &'a Shelf<'a>,
}

impl Own<'_> {
    /// Which cells may fire.
    fn allowed(&self, filter: &Filter, now: Timestamp) -> Vec<bool> {
        let own = self.network;
        if let Some(plain) = own.plain.as_ref().filter(|_| filter.is_open()) {
            return plain.clone();
        }
        let asked_for = |slot: &Option<Slot>| slot.as_ref().is_some_and(|s| filter.allows(&s.episode, now));
        let slots: Vec<bool> = own.slots.iter().map(asked_for).collect();
        own.cells.iter().map(|cell| cell.as_ref().is_some_and(|cell| slots[cell.slot as usize])).collect()
    }
}

impl Population for Own<'_> {
    fn holding(&self, words: &[u16]) -> Result<(usize, Vec<u32>)> {
        let index = &self.network.index;
        Ok((index.alive(), words.iter().map(|word| index.holding(*word)).collect()))
    }

    fn volley(&self, volley: &Volley) -> Result<Fired> {
        let own = self.network;
        let allowed = self.allowed(volley.filter, volley.now);
        let drive = own.index.volley(volley.cue);
        let normal = drive.ports.each_ref().map(|values| moments(values, &allowed));
        let mut sums = vec![0.0f32; own.cells.len()];
        for ((values, normal), weight) in drive.ports.iter().zip(normal).zip(volley.weights) {
            add_normal(&mut sums, values, normal, weight);
        }
        let alone: Vec<(u32, f32)> = (0..).zip(&sums).filter(|(cell, _)| allowed[*cell as usize]).map(|(c, x)| (c, *x)).collect();
        let count = alone.len();
        let mut near: Vec<u32> = first_of(alone, 2 * volley.ranked(count)).into_iter().map(|(cell, _)| cell).collect();
        for _ in 0..2 {
            let beside: Vec<u32> = near.iter().flat_map(|cell| own.beside(*cell)).filter(|n| allowed[*n as usize]).collect();
            near.extend(beside);
            near.sort_unstable();
            near.dedup();
        }
        let place = |cell: Option<u32>| near.binary_search(&cell?).ok().map(|at| at as u32);
        let struck = |cell: &u32| {
            let at = own.cell(*cell)?;
            let slot = own.slot(at.slot)?;
            Some(Struck {
                cell: u64::from(*cell),
                experience: u64::from(at.slot),
                beside: [place(at.before), place(at.after)],
                drives: std::array::from_fn(|port| drive.ports[port][*cell as usize]),
                outcome: slot.episode.outcome,
                instant: slot.instant,
            })
        };
        let cells = near.iter().filter_map(struck).collect();
        Ok(Fired { allowed: count, events: drive.events, normal, cells })
    }

    fn late(&self, cells: &[u64], best: &Best) -> Result<Vec<Option<Vec<f32>>>> {
        let own = self.network;
        let one = |cell: &u64| -> Result<Option<Vec<f32>>> {
            let place = own.cell(*cell as u32).and_then(|at| Some((own.slot(at.slot)?.order, at.piece)));
            match place {
                Some(place) => Ok((self.shelf)(place)?.and_then(|tokens| best(&tokens))),
                None => Ok(None),
            }
        };
        cells.par_iter().map(one).collect()
    }

    fn experiences(&self, cells: &[u64]) -> Result<Vec<Option<(Episode, Code)>>> {
        let own = self.network;
        let one = |cell: &u64| {
            let slot = own.slot(own.cell(*cell as u32)?.slot)?;
            Some((slot.episode.clone(), own.index.code(*cell as usize).cloned().unwrap_or_default()))
        };
        Ok(cells.iter().map(one).collect())
    }
}
