//! How many terms each linear layer of an exported adapter may have: as it is written on a command line, and what it comes to for one
//! layer. Knows no file format.

use crate::error::{Error, Result};
use crate::transformer::low_rank::Factors;
use crate::transformer::site::{Linear, Site};
use std::collections::BTreeMap;

/// How many terms a layer keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Rank {
    /// As many as it has.
    #[default]
    All,
    /// So many at most.
    Most(usize),
    /// As few as lose none of the facts written there; all where there are none.
    Enough,
}

/// The rank of every layer: one for all, and others for those named.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Budget {
    /// For every layer that `own` does not name.
    pub general: Rank,
    /// For single layers, in the place of `general`.
    pub own: BTreeMap<Site, Rank>,
}

impl Budget {
    /// The same for every layer.
    pub fn same(rank: Rank) -> Budget {
        Budget { general: rank, own: BTreeMap::new() }
    }

    /// From words like `16`, `all`, `enough` (every layer) and `layers.3.down_proj=8` (one layer); a later word replaces an earlier one.
    ///
    /// # Errors
    /// A word that is none of these, or rank 0.
    pub fn from_words(words: &[impl AsRef<str>]) -> Result<Budget> {
        let mut budget = Budget::default();
        for word in words.iter().map(AsRef::as_ref) {
            let (site, rank) = match word.rsplit_once('=') {
                Some((site, rank)) => (Some(named(site)?), rank),
                None => (None, word),
            };
            let rank = match rank {
                "all" => Rank::All,
                "enough" => Rank::Enough,
                number => Rank::Most(number.parse().map_err(|_| {
                    let remedy = "write a number, all, enough, or one of them for a layer: layers.3.down_proj=8";
                    Error::input(format!("`{word}` is no rank"), remedy)
                })?),
            };
            match site {
                Some(site) => drop(budget.own.insert(site, rank)),
                None => budget.general = rank,
            }
        }
        budget.check()?;
        Ok(budget)
    }

    fn check(&self) -> Result<()> {
        match self.own.values().chain([&self.general]).any(|r| *r == Rank::Most(0)) {
            true => Err(Error::input("a layer of rank 0 changes nothing", "ask for a rank of at least 1")),
            false => Ok(()),
        }
    }

    /// Refuses rank 0 and layers that the adapter, which has terms at `sites`, does not change.
    pub(super) fn fits(&self, sites: &[Site]) -> Result<()> {
        self.check()?;
        let Some(other) = self.own.keys().find(|site| !sites.contains(site)) else { return Ok(()) };
        let names: Vec<String> = sites.iter().map(Site::to_string).collect();
        Err(Error::input(format!("the adapter has no terms at {other}"), format!("it has some at {}", names.join(", "))))
    }

    /// Terms that a layer keeps, which has `factors` and facts with `keys` (any number x inputs).
    pub(super) fn at(&self, site: Site, factors: &Factors, terms: usize, keys: &[f32], limit: f64) -> usize {
        match self.own.get(&site).unwrap_or(&self.general) {
            Rank::Most(rank) => *rank,
            Rank::Enough if !keys.is_empty() => factors.sufficient(keys, limit).max(1),
            Rank::All | Rank::Enough => terms,
        }
    }
}

/// `layers.3.down_proj`, as messages and reports write it.
fn named(text: &str) -> Result<Site> {
    let parts = text.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
    parts.and_then(|(layer, linear)| Some(Site { layer: layer.parse().ok()?, linear: Linear::named(linear)? })).ok_or_else(|| {
        let names = Linear::IN_LAYER.map(Linear::name).join(", ");
        Error::input(format!("`{text}` is no linear layer"), format!("write layers.LAYER.NAME, the name one of {names}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_budget() {
        let site = Site { layer: 3, linear: Linear::Down };
        assert_eq!(Budget::from_words(&[] as &[&str]).unwrap(), Budget::same(Rank::All));
        assert_eq!(Budget::from_words(&["8", "enough"]).unwrap(), Budget::same(Rank::Enough));
        let budget = Budget::from_words(&["16", "layers.3.down_proj=all"]).unwrap();
        assert_eq!((budget.general, budget.own.get(&site)), (Rank::Most(16), Some(&Rank::All)));
        let bad = [
            ("0", "rank 0"),
            ("layers.3.down_proj=0", "rank 0"),
            ("many", "no rank"),
            ("layers.3.mlp=4", "down_proj"),
            ("3=4", "layers."),
        ];
        for (word, said) in bad {
            let error = Budget::from_words(&[word]).unwrap_err();
            assert!(error.exit_code() == 2 && format!("{error} {:?}", error.remedy()).contains(said), "{word}: {error}");
        }
    }
}
