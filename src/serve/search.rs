//! Finding notes from a hint: the seam to whatever recalls, and the way that needs no encoder, an index of words weighted by how rare they
//! are. Knows texts and places; no folder.

use crate::memory::coverage::{Topic, Vocabulary};
use crate::memory::key_statistics::built_in_questions;
use std::collections::{HashMap, HashSet};

/// What finds notes. A note is known by its place among all.
pub trait Search: Send + Sync {
    /// Takes a note in.
    fn add(&mut self, place: u32, text: &str);
    /// Takes everything out.
    fn clear(&mut self);
    /// The places that a hint asks for, best first, each with how well it fits, 0 to 1; of those that `allowed` lets pass.
    fn search(&self, hint: &str, most: usize, allowed: &dyn Fn(u32) -> bool) -> Vec<(u32, f64)>;
}

/// What fits less is not found: 0 to 1.
const LEAST: f64 = 0.12;
/// A hint of words that weigh less together asks for nothing much: as one does that every tenth text holds, ln(10)^3.
const TELLING: f64 = 12.2;
/// Words that weigh a smaller part of a hint are not looked up.
const SLIGHT: f64 = 0.005;

/// An index of words: the part of a hint, its words weighted by how rare they are, that a note holds.
#[derive(Default)]
pub struct Words {
    vocabulary: Vocabulary,
    holding: HashMap<String, Vec<u32>>,
    /// Beyond the last place.
    places: usize,
}

impl Words {
    /// An empty index, which knows how rare words are in questions.
    pub fn new() -> Words {
        let mut words = Words::default();
        words.clear();
        words
    }
}

impl Search for Words {
    fn add(&mut self, place: u32, text: &str) {
        let topic = Topic::of(text);
        self.places = self.places.max(place as usize + 1);
        self.vocabulary.add(&topic);
        for word in topic.distinct() {
            match self.holding.get_mut(word) {
                Some(places) => places.push(place),
                None => {
                    self.holding.insert(word.into(), vec![place]);
                }
            }
        }
    }

    fn clear(&mut self) {
        *self = Words::default();
        built_in_questions().iter().for_each(|text| self.vocabulary.add(&Topic::of(text)));
    }

    fn search(&self, hint: &str, most: usize, allowed: &dyn Fn(u32) -> bool) -> Vec<(u32, f64)> {
        let topic = Topic::of(hint);
        let words: Vec<(&str, f64)> = topic.distinct().map(|word| (word, self.vocabulary.weight(word))).collect();
        let all = words.iter().map(|(_, weight)| weight).sum::<f64>().max(TELLING);
        let mut covered = vec![0.0; self.places];
        // What everybody says decides nothing.
        for (word, weight) in words.into_iter().filter(|(_, weight)| *weight >= SLIGHT * all) {
            for place in self.holding.get(word).into_iter().flatten() {
                covered[*place as usize] += weight / all;
            }
        }
        let found = (0..).zip(covered).filter(|(place, fit)| *fit >= LEAST && allowed(*place));
        let mut found: Vec<(u32, f64)> = found.collect();
        // Of those that fit alike the newest is first.
        let order = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0));
        if found.len() > most {
            found.select_nth_unstable_by(most, order);
            found.truncate(most);
        }
        found.sort_unstable_by(order);
        found
    }
}

/// How much of a part a text holds: as letters, 1; else the part of its words, 0 to 1.
pub fn holds(text: &str, part: &str) -> f64 {
    let (text, part) = (text.to_lowercase(), part.trim().to_lowercase());
    if text.contains(&part) {
        return 1.0;
    }
    let (whole, topic) = (Topic::of(&text), Topic::of(&part));
    let whole: HashSet<&str> = whole.distinct().collect();
    let (mut all, mut there) = (0, 0);
    topic.distinct().for_each(|word| {
        all += 1;
        there += usize::from(whole.contains(word));
    });
    if all == 0 { 0.0 } else { f64::from(there as u32) / f64::from(all as u32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_word_finds_and_common_words_do_not() {
        let mut words = Words::new();
        let texts =
            ["The passport lies in the blue drawer.", "Ada is allergic to peanuts.", "The spare key is with the neighbour."];
        texts.iter().zip(0..).for_each(|(text, i)| words.add(i, text));
        let found = |hint: &str| words.search(hint, 5, &|_| true).into_iter().map(|(i, _)| i).collect::<Vec<_>>();
        assert_eq!(found("where is my passport?")[0], 0);
        assert_eq!(found("what about peanuts"), [1]);
        assert_eq!(found("the of is"), Vec::<u32>::new());
        assert_eq!(found("zebra"), Vec::<u32>::new());
        assert!(words.search("passport", 5, &|place| place != 0).is_empty());
    }

    #[test]
    fn a_part_is_held_by_letters_or_by_words() {
        assert_eq!(holds("The passport lies in the blue drawer", "passport LIES in"), 1.0);
        assert!(holds("The passport lies in the blue drawer", "drawer passport red") > 0.6);
        assert_eq!(holds("", "x"), 0.0);
    }
}
