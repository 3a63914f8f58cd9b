//! Replay: left alone, the network lights its cells by noise, in proportion to how surprising, rewarding, recent and important what they
//! stand for is, and runs from there along its links: forward, or backward after a reward. Promises that nothing is changed by it, and
//! that what was replayed can be told from the report alone. Knows no file.

use super::episode::Episode;
use super::hippocampus::Hippocampus;
use crate::rng::{Purpose, Stream, key};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::HashMap;

/// Cells of a sequence at most.
const LONGEST: usize = 12;
/// Events of a sequence pass so many times faster than they were lived (ripples: 5 to 20 times).
const COMPRESSION: f64 = 10.0;
/// A reward of this and more is replayed backward.
const REWARDED: f64 = 0.5;
/// Days in which recency falls by half.
const HALF: f64 = 30.0;

/// What makes an experience be replayed.
#[derive(Clone, Copy, Debug, Serialize, PartialEq)]
pub struct Priority {
    /// How little it was like what came before: 1 less the share of its words' rarity that earlier ones of its session had.
    pub surprise: f64,
    /// The amount of its outcome.
    pub reward: f64,
    /// 1 now, half 30 days later; 0.5 where no time is known.
    pub recency: f64,
    /// 1 where it is pinned.
    pub importance: f64,
    /// The sum, by which noise lights it.
    pub total: f64,
}

/// One sequence.
#[derive(Clone, Debug, Serialize)]
pub struct Sequence {
    /// Experiences in the order in which they fired.
    pub ids: Vec<String>,
    /// Whether it ran backward.
    pub backward: bool,
    /// How long it took, ms of model time.
    pub ms: f64,
}

/// What happened in a stretch of rest.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Sequences in their order.
    pub sequences: Vec<Sequence>,
    /// Rank correlation of the order in a forward sequence with the order lived, on average; with the reverse one for backward ones.
    pub spearman: f64,
    /// Share of what was replayed whose priority is above the median.
    pub above_median: f64,
    /// How often each was replayed, the most often first.
    pub counts: Vec<(String, usize)>,
}

/// The priorities of all experiences, in their order.
pub fn priorities(network: &Hippocampus, now: Timestamp) -> Vec<(String, Priority)> {
    let mut seen: HashMap<Option<&str>, std::collections::HashSet<u16>> = HashMap::new();
    let mut all = Vec::new();
    for episode in network.episodes() {
        let words = super::words::cells(&episode.said());
        let before = seen.entry(episode.session.as_deref()).or_default();
        let rarity = |(word, _): &(u16, u8)| f64::from(network.index().rarity(*word));
        let known: f64 = words.iter().filter(|(word, _)| before.contains(word)).map(rarity).sum();
        let whole: f64 = words.iter().map(rarity).sum();
        before.extend(words.iter().map(|(word, _)| *word));
        let surprise = if whole > 0.0 { 1.0 - known / whole } else { 0.0 };
        all.push((episode.id.clone(), priority(episode, surprise, now)));
    }
    all
}

fn priority(episode: &Episode, surprise: f64, now: Timestamp) -> Priority {
    let reward = episode.outcome.unwrap_or(0.0).abs();
    let age = episode.instant().map(|t| (now.as_second() - t.as_second()).max(0) as f64 / 86_400.0);
    let recency = age.map_or(0.5, |days| 0.5f64.powf(days / HALF));
    let importance = f64::from(episode.pinned);
    // What is history rests.
    let rests = if episode.is_history(now) { 0.1 } else { 1.0 };
    let total = rests * (surprise + 2.0 * reward + recency + 2.0 * importance);
    Priority { surprise, reward, recency, importance, total }
}

/// A stretch of rest with so many ripples. The chance of a cell to be lit rises with the third power of its priority, as noise above a
/// threshold does.
pub fn rest(network: &Hippocampus, ripples: usize, seed: u64, now: Timestamp) -> Report {
    let all = priorities(network, now);
    let at: HashMap<&str, usize> = all.iter().enumerate().map(|(i, (id, _))| (id.as_str(), i)).collect();
    let mut stream = Stream::new(key(seed, 3), Purpose::Encoder, 0, 0);
    let drive: Vec<f64> = all.iter().map(|(_, p)| p.total.max(1e-6).powi(3)).collect();
    let mut sequences = Vec::new();
    let mut counts = vec![0usize; all.len()];
    for _ in 0..if all.is_empty() { 0 } else { ripples } {
        let mut left = stream.uniform() * drive.iter().sum::<f64>();
        let start = drive.iter().position(|d| {
            left -= d;
            left <= 0.0
        });
        let start = start.unwrap_or(all.len() - 1);
        let backward = network.get(&all[start].0).and_then(|e| e.outcome).is_some_and(|o| o >= REWARDED);
        let mut ids = vec![all[start].0.clone()];
        // A cell drives its neighbour in time; the sequence ends where the neighbour's own drive is not enough to be carried on.
        let mut cell = start;
        while ids.len() < LONGEST {
            let [before, after] = network.neighbours(&all[cell].0);
            let Some(next) = (if backward { before } else { after }).and_then(|id| at.get(id)) else { break };
            let carried = drive[*next] / (drive[*next] + 0.5 * drive[start]);
            if stream.uniform() > carried {
                break;
            }
            cell = *next;
            ids.push(all[cell].0.clone());
        }
        ids.iter().for_each(|id| counts[at[id.as_str()]] += 1);
        let ms = ids.len() as f64 * 100.0 / COMPRESSION;
        sequences.push(Sequence { ids, backward, ms });
    }
    let lived: HashMap<&str, usize> = network.episodes().enumerate().map(|(i, e)| (e.id.as_str(), i)).collect();
    let orders: Vec<f64> = sequences
        .iter()
        .filter(|s| s.ids.len() > 1)
        .map(|s| {
            let ranks: Vec<f64> = s.ids.iter().map(|id| lived[id.as_str()] as f64).collect();
            let rho = spearman(&ranks);
            if s.backward { -rho } else { rho }
        })
        .collect();
    let mut totals: Vec<f64> = all.iter().map(|(_, p)| p.total).collect();
    totals.sort_by(f64::total_cmp);
    let median = totals.get(totals.len() / 2).copied().unwrap_or(0.0);
    let replayed: usize = counts.iter().sum();
    let above: usize = counts.iter().zip(&all).filter(|(_, (_, p))| p.total >= median).map(|(n, _)| n).sum();
    let mut by_count: Vec<(String, usize)> = all.iter().map(|(id, _)| id.clone()).zip(counts).filter(|(_, n)| *n > 0).collect();
    by_count.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    Report {
        spearman: orders.iter().sum::<f64>() / orders.len().max(1) as f64,
        above_median: above as f64 / replayed.max(1) as f64,
        sequences,
        counts: by_count,
    }
}

/// Rank correlation of values with their own order.
fn spearman(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let rank = |x: &f64| values.iter().filter(|y| *y < x).count() as f64;
    let squares: f64 = values.iter().enumerate().map(|(i, x)| (rank(x) - i as f64).powi(2)).sum();
    1.0 - 6.0 * squares / (n * (n * n - 1.0)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlation_by_hand() {
        assert_eq!((spearman(&[1.0, 2.0, 9.0]), spearman(&[3.0, 2.0, 1.0])), (1.0, -1.0));
        assert_eq!(spearman(&[2.0, 1.0, 3.0]), 0.5);
    }

    /// What matters is replayed more, sequences run in the order lived, and after a reward backward.
    #[test]
    fn rest_follows_links_and_priorities() {
        let mut network = Hippocampus::new(None);
        let note = |i: usize| Episode {
            session: Some("day".into()),
            pinned: i % 2 == 0,
            outcome: (i == 25).then_some(1.0),
            ..Episode::of_text(format!("note number{i} about thing{}", i % 7))
        };
        network.add((0..30).map(note).collect()).unwrap();
        let report = rest(&network, 400, 1, Timestamp::UNIX_EPOCH);
        assert!(report.spearman > 0.99 && report.above_median > 0.8, "{} {}", report.spearman, report.above_median);
        assert!(report.sequences.iter().any(|s| s.backward && s.ids.len() > 1));
        assert!(report.sequences.iter().any(|s| !s.backward && s.ids.len() > 2));
        let again = rest(&network, 400, 1, Timestamp::UNIX_EPOCH);
        assert_eq!(again.counts, report.counts);
        assert!(rest(&Hippocampus::new(None), 5, 1, Timestamp::UNIX_EPOCH).sequences.is_empty());
    }
}
