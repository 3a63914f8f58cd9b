//! What a request is answered with: the experiences that it asks for. In their own words they are an adapter, as they were checked. In other
//! words their values are added where the answer begins if the key there asks for the same (see [`Relations`]), and at each further
//! token of the answer as long as it was said so far; of several the one whose key agrees best speaks. Knows engrams and keys; no text.

use super::held::Held;
use super::relation::{Relations, agreement};
use crate::transformer::hooks::{Adapter, Hooks, Row};
use crate::transformer::site::Site;
use serde::Serialize;
use std::sync::Arc;

/// Experiences composed for a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Composition {
    /// The change of the model: a rank a token of an answer. Empty where nothing was asked for in its own words.
    pub adapter: Adapter,
    /// The experiences that it is of, in order of arrival.
    pub parts: Vec<Part>,
    /// Those that are asked for in other words.
    pub(super) others: Option<Others>,
}

/// An experience that a request asks for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// `id` of the experience.
    pub id: String,
    /// The part of its prompt that the request covers, 0 to 1.
    pub coverage: f64,
    /// Its prompt is the request, or ends it, letter by letter; otherwise it speaks only where the request's key asks for the same.
    pub exact: bool,
}

/// Experiences that speak if the key where the answer begins asks for the same.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Others {
    site: Site,
    relations: Arc<Relations>,
    /// Least agreement.
    least: f32,
    traces: Vec<Trace>,
}

/// An experience's answer at the layer that is written awake.
#[derive(Clone, Debug, PartialEq)]
struct Trace {
    /// What its key asks for.
    code: Vec<f32>,
    /// For each token of the answer and its end: the token, and what is added where it is predicted; None where nothing has to be.
    answer: Vec<(u32, Option<Vec<f32>>)>,
}

impl Others {
    /// None yet; those whose keys agree to `least` speak.
    pub fn new(site: Site, relations: Arc<Relations>, least: f32) -> Others {
        Others { site, relations, least, traces: Vec::new() }
    }

    /// Takes an experience in, what it left `times` as large; whether it left anything where its answer begins.
    pub fn add(&mut self, held: &Held, times: f32) -> bool {
        let Some(first) = held.engram_at(0, self.site) else { return false };
        let value = |t: usize| held.engram_at(t, self.site).map(|e| e.value.iter().map(|v| times * v).collect());
        let answer = held.answer.iter().enumerate().map(|(t, (_, token))| (*token, value(t))).collect();
        self.traces.push(Trace { code: self.relations.code(&first.key), answer });
        true
    }

    /// Whether it has no experience.
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    fn speaker(&self, key: &[f32]) -> Option<usize> {
        let code = self.relations.code(key);
        let agrees = |i: usize| agreement(&code, &self.traces[i].code);
        (0..self.traces.len()).filter(|i| agrees(*i) >= self.least).max_by(|a, b| agrees(*a).total_cmp(&agrees(*b)))
    }
}

impl Composition {
    /// Of an adapter alone.
    pub fn of(adapter: Adapter) -> Composition {
        Composition { adapter, ..Composition::default() }
    }

    /// It may answer questions in other words, so what it does depends on where an answer begins.
    pub fn listens(&self) -> bool {
        self.others.is_some()
    }

    /// Whether requests of both may be computed together.
    pub fn joins(&self, other: &Composition) -> bool {
        !self.listens() && !other.listens() && self.adapter == other.adapter
    }

    /// At work on one sequence, whose first `asked` tokens are the request.
    pub fn at_work(&self, asked: usize) -> AtWork<'_> {
        AtWork { composition: self, begins: asked.saturating_sub(1), speaker: None, said: 0 }
    }
}

/// A composition in a forward pass of one sequence.
#[derive(Clone, Debug)]
pub struct AtWork<'a> {
    composition: &'a Composition,
    /// Position where the first token of the answer is predicted.
    begins: usize,
    speaker: Option<usize>,
    /// Tokens of the speaker's answer that were said so far.
    said: usize,
}

impl Hooks for AtWork<'_> {
    fn linear(&mut self, site: Site, rows: &[Row], input: &[f32], output: &mut [f32]) {
        (&self.composition.adapter).linear(site, rows, input, output);
        let Some(others) = self.composition.others.as_ref().filter(|others| others.site == site) else { return };
        let (inputs, outputs) = (input.len() / rows.len().max(1), output.len() / rows.len().max(1));
        for ((row, key), out) in rows.iter().zip(input.chunks_exact(inputs)).zip(output.chunks_exact_mut(outputs)) {
            let Some(t) = row.position.checked_sub(self.begins) else { continue };
            if t == 0 {
                (self.speaker, self.said) = (others.speaker(key), 0);
            }
            let Some(speaker) = self.speaker else { continue };
            let answer = &others.traces[speaker].answer;
            if t > 0 && t == self.said + 1 && answer.get(t - 1).is_some_and(|(token, _)| row.token == Some(*token)) {
                self.said = t;
            }
            if self.said == t
                && let Some((_, Some(value))) = answer.get(t)
            {
                out.iter_mut().zip(value).for_each(|(x, v)| *x += v);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Engram;
    use super::super::coverage::Topic;
    use super::*;
    use crate::transformer::site::Linear;

    const SITE: Site = Site { layer: 3, linear: Linear::Down };

    /// Keys of four numbers, of which the first two tell what is asked for.
    fn relations() -> Arc<Relations> {
        let axes = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        Arc::new(Relations::from_numbers(&[&[4.0][..], &[0.0; 4], &[0.5; 101], &axes].concat()).unwrap())
    }

    /// An experience whose answer is the tokens 7 and 8, and 0 ends it.
    fn held(id: &str, key: [f32; 4], values: [f32; 3]) -> Held {
        let engram = |t: usize| Engram {
            experience: id.into(),
            site: SITE,
            place: t as u64,
            key: key.to_vec(),
            trace: vec![],
            factor: vec![],
            value: vec![values[t]],
            ridge: 1.0,
        };
        let engrams = (0..3).filter(|t| values[*t] != 0.0).map(engram).collect();
        Held { id: id.into(), topic: Topic::of(id), stands: true, gain: 1.0, answer: vec![(0, 7), (1, 8), (2, 0)], engrams }
    }

    fn listening(all: &[Held]) -> Composition {
        let mut others = Others::new(SITE, relations(), 0.9);
        all.iter().for_each(|held| assert!(others.add(held, 2.0)));
        Composition { others: Some(others), ..Composition::default() }
    }

    /// What is added at each row: (position, token, key).
    fn added(work: &mut AtWork, rows: &[(usize, u32, [f32; 4])]) -> Vec<f32> {
        let of =
            |(position, token, _): &(usize, u32, [f32; 4])| Row { sequence: Some(0), position: *position, token: Some(*token) };
        let (keys, mut out) = (rows.iter().flat_map(|r| r.2).collect::<Vec<f32>>(), vec![0.0; rows.len()]);
        let rows: Vec<Row> = rows.iter().map(of).collect();
        work.linear(Site { layer: 2, ..SITE }, &rows, &keys, &mut out);
        assert!(out.iter().all(|x| *x == 0.0), "only the layer that is written changes");
        work.linear(SITE, &rows, &keys, &mut out);
        out
    }

    #[test]
    fn what_asks_for_the_same_is_answered_as_long_as_it_is_said() {
        let composition = listening(&[held("a", [1.0, 0.0, 5.0, 0.0], [1.0, 2.0, 4.0])]);
        let (same, other) = ([3.0, 0.1, -9.0, 1.0], [0.5, 1.0, 5.0, 0.0]);
        let mut work = composition.at_work(3);
        // The prompt's other positions stay; then token by token.
        assert_eq!(added(&mut work, &[(0, 1, same), (1, 2, same), (2, 3, same)]), [0.0, 0.0, 2.0]);
        assert_eq!(added(&mut work, &[(3, 7, other)]), [4.0]);
        assert_eq!(added(&mut work, &[(4, 8, other)]), [8.0]);
        assert_eq!(added(&mut work, &[(5, 0, other)]), [0.0]);
        // All at once, as an answer is checked; and one that goes another way is left alone from there on.
        assert_eq!(added(&mut composition.at_work(1), &[(0, 1, same), (1, 7, other), (2, 8, other)]), [2.0, 4.0, 8.0]);
        assert_eq!(added(&mut composition.at_work(1), &[(0, 1, same), (1, 6, other), (2, 8, other)]), [2.0, 0.0, 0.0]);
        assert_eq!(
            added(&mut composition.at_work(1), &[(0, 1, same), (1, 7, other), (2, 9, other), (3, 7, other)]),
            [2.0, 4.0, 0.0, 0.0]
        );
        assert_eq!(added(&mut composition.at_work(1), &[(0, 1, other), (1, 7, same)]), [0.0, 0.0]);
        assert_eq!(added(&mut composition.at_work(0), &[(0, 1, same)]), [2.0]);
        assert!(composition.listens() && !Composition::default().listens());
    }

    #[test]
    fn the_one_that_agrees_best_speaks_alone() {
        let both = [held("a", [1.0, 0.3, 0.0, 0.0], [1.0, 0.0, 0.0]), held("b", [1.0, 0.0, 0.0, 0.0], [8.0, 0.0, 0.0])];
        for order in [[0, 1], [1, 0]] {
            let composition = listening(&order.map(|i| both[i].clone()));
            assert_eq!(added(&mut composition.at_work(1), &[(0, 1, [1.0, 0.28, 0.0, 0.0])]), [2.0]);
            assert_eq!(added(&mut composition.at_work(1), &[(0, 1, [1.0, 0.0, 3.0, 0.0])]), [16.0]);
            assert_eq!(added(&mut composition.at_work(1), &[(0, 1, [-1.0, 0.0, 3.0, 0.0])]), [0.0]);
        }
        // Where the first token was known before there is nothing to add.
        assert!(!Others::new(SITE, relations(), 0.9).add(&held("c", [1.0; 4], [0.0, 1.0, 0.0]), 1.0));
    }
}
