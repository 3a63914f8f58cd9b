//! What is held of each experience, in order of arrival: found by its id and by what a request asks for, in a time that hardly grows with
//! what is held. Knows engrams and topics; no model.

use super::Engram;
use super::coverage::{Index, Topic, Vocabulary};
use crate::transformer::site::Site;
use std::borrow::Cow;
use std::collections::HashMap;

/// What is held of one experience.
#[derive(Clone, Debug)]
pub struct Held {
    /// `id` of the experience.
    pub id: String,
    /// What its prompt is about.
    pub topic: Topic,
    /// It takes effect; otherwise it rests.
    pub stands: bool,
    /// How many times what it left a request composes.
    pub gain: f32,
    /// Each token of its answer, and that which ends it, after the place where it is predicted.
    pub answer: Vec<(u64, u32)>,
    /// What it left, in the order it was written; empty where there was nothing to learn.
    pub engrams: Vec<Engram>,
}

impl Held {
    /// It takes effect, and there is something that does.
    pub fn acts(&self) -> bool {
        self.stands && !self.engrams.is_empty()
    }

    /// What a request composes of it: values at the layer that sleep writes are as they are.
    pub(super) fn composed(&self, late: Site) -> impl Iterator<Item = Cow<'_, Engram>> {
        self.engrams.iter().map(move |engram| {
            if engram.site != late || self.gain == 1.0 {
                return Cow::Borrowed(engram);
            }
            let value = engram.value.iter().map(|v| self.gain * v).collect();
            Cow::Owned(Engram { value, ..engram.clone() })
        })
    }

    /// What the one adapter may hold of it: all but the end of its answer.
    pub(super) fn inner(&self) -> impl Iterator<Item = &Engram> {
        let end = self.answer.last().map(|(place, _)| *place);
        self.engrams.iter().filter(move |e| Some(e.place) != end)
    }

    /// What it left where a token of its answer is predicted, in a layer.
    pub(super) fn engram_at(&self, t: usize, site: Site) -> Option<&Engram> {
        let place = self.answer.get(t)?.0;
        self.engrams.iter().find(|e| e.site == site && e.place == place)
    }
}

/// All that is held.
#[derive(Clone, Debug)]
pub(super) struct Holdings {
    all: Vec<Held>,
    /// The number of each of `all`, rising.
    numbers: Vec<u64>,
    by_id: HashMap<String, u64>,
    index: Index,
    next: u64,
}

impl Holdings {
    /// Nothing yet; a request asks for what it covers to `least`.
    pub fn new(least: f64) -> Holdings {
        Holdings { all: Vec::new(), numbers: Vec::new(), by_id: HashMap::new(), index: Index::new(least), next: 0 }
    }

    /// In order of arrival.
    pub fn all(&self) -> &[Held] {
        &self.all
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).and_then(|number| self.numbers.binary_search(number).ok())
    }

    /// Of one experience.
    pub fn get(&self, id: &str) -> Option<&Held> {
        self.position(id).map(|at| &self.all[at])
    }

    /// In the place of what is held of the same experience, or after all others.
    pub fn put(&mut self, held: Held, vocabulary: &Vocabulary) {
        match self.position(&held.id) {
            Some(at) => {
                self.index.remove(self.numbers[at], &self.all[at].topic, vocabulary);
                self.index.add(self.numbers[at], &held.topic, vocabulary);
                self.all[at] = held;
            }
            None => {
                self.index.add(self.next, &held.topic, vocabulary);
                self.by_id.insert(held.id.clone(), self.next);
                self.numbers.push(self.next);
                self.all.push(held);
                self.next += 1;
            }
        }
    }

    /// Lets go of one experience; whether it was held.
    pub fn remove(&mut self, id: &str, vocabulary: &Vocabulary) -> bool {
        let Some(at) = self.position(id) else { return false };
        self.by_id.remove(id);
        let (number, held) = (self.numbers.remove(at), self.all.remove(at));
        self.index.remove(number, &held.topic, vocabulary);
        true
    }

    /// Lets one experience take effect, or rest.
    pub fn set_standing(&mut self, id: &str, stands: bool) {
        if let Some(at) = self.position(id) {
            self.all[at].stands = stands;
        }
    }

    /// Positions of all that a request may ask for, in order of arrival; some of them it may not cover.
    pub fn candidates(&self, request: &Topic) -> impl Iterator<Item = usize> {
        self.index.candidates(request).into_iter().filter_map(|number| self.numbers.binary_search(&number).ok())
    }
}
