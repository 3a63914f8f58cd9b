//! Which experiences a request asks for: how much of an experience's prompt, its words weighted by how rare they are, the end of the
//! request covers. Knows texts and numbers; no model.
//!
//! Words are those of recall. A word weighs ln(T / texts that hold it)^3, T texts in all, the model's own and questions in general, so that a
//! name decides and an article does not. Where the subject is known, it has to be named, and less of the rest is enough. (Measured on
//! CounterFact, questions of the built-in prompts as background: of paraphrases 97 and 95 % find their own fact among 40 and 1,000, and 0
//! and 2 % of neighbours' prompts find any; without the subject 72 and 69 %, 2 and 22 %.)
//!
//! The most specific ones speak: whoever is found by no more of the request's words than another one, and is not covered better, is
//! outdone. So at its own prompt an experience is outdone by none, and outdoes all others.

use crate::recall::words::words;
use std::collections::{HashMap, HashSet};

/// Power of a word's rarity.
const POWER: i32 = 3;
/// A request's last words are looked at: so many at least, and so many times the words of the experience.
const WINDOW: usize = 64;
const TIMES: usize = 3;
/// Where the subject is known, the part of the prompt that is covered counts so much more, and that of the subject so much less.
const LOOSE: f64 = 1.5;
const STRICT: f64 = 0.75;

/// How often words occur: texts that hold each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vocabulary {
    texts: usize,
    holding: HashMap<String, usize>,
}

impl Vocabulary {
    /// Takes a text in.
    pub fn add(&mut self, topic: &Topic) {
        self.texts += 1;
        topic.distinct().for_each(|word| *self.holding.entry(word.to_string()).or_insert(0) += 1);
    }

    /// How much a word tells: the rarer, the more.
    pub fn weight(&self, word: &str) -> f64 {
        let holding = self.holding.get(word).copied().unwrap_or(0);
        ((1 + self.texts) as f64 / (1 + holding) as f64).ln().max(0.0).powi(POWER) + 1e-9
    }
}

/// What a text is about: its words in their order, and which of them name its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    words: Vec<String>,
    /// Words of the subject; empty where none is known.
    subject: Vec<String>,
    /// Whoever names the subject asks for it, whatever is asked of it.
    named: bool,
    /// What is said, for those that have no words or are asked for letter by letter.
    text: String,
    /// All that the model sees, system text and template marks as well.
    whole: String,
}

/// How a request asks for an experience.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<'a> {
    /// The part of the experience's prompt that the request covers, 0 to 1.
    pub coverage: f64,
    /// The request is the prompt, or it ends in it, letter by letter.
    letters: Letters,
    /// The prompt's words that the request holds.
    words: HashSet<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Letters {
    Differ,
    EndAlike,
    Same,
}

impl Found<'_> {
    /// Whether another experience is found by all that this one is found by, is covered as well at least, and exceeds it in one of both.
    pub fn outdone_by(&self, other: &Found) -> bool {
        let [own, others] = [self, other].map(|found| (found.letters, found.coverage));
        self.words.is_subset(&other.words) && own <= others && (self.words.len() < other.words.len() || own < others)
    }
}

impl Topic {
    /// The words of a text; of scripts without spaces, each pair of neighbouring characters.
    pub fn of(text: &str) -> Topic {
        let words = words(text);
        Topic { words, text: text.trim().to_string(), whole: text.to_string(), ..Topic::default() }
    }

    /// The same as a part of what the model sees.
    pub fn within(self, whole: &str) -> Topic {
        Topic { whole: whole.to_string(), ..self }
    }

    /// With a known subject: a request that names another one does not ask for it, however much else it covers.
    pub fn about(self, subject: &str) -> Topic {
        Topic { subject: Topic::of(subject).words, ..self }
    }

    /// With a known subject, whose name alone asks for it.
    pub fn named(self, subject: &str) -> Topic {
        Topic { named: true, ..self.about(subject) }
    }

    /// Its words, each once.
    pub fn distinct(&self) -> impl Iterator<Item = &str> {
        let mut seen = HashSet::new();
        self.words.iter().map(String::as_str).filter(move |word| seen.insert(*word))
    }

    /// How `request` asks for this topic: by its end. Where the subject is known the coverage is the lesser of half as much again and
    /// three quarters of the part of the subject's weight that is covered.
    pub fn found_in(&self, request: &Topic, vocabulary: &Vocabulary) -> Found<'_> {
        let letters = match () {
            () if !self.text.is_empty() && self.whole == request.whole => Letters::Same,
            () if !self.text.is_empty() && request.text.ends_with(&self.text) => Letters::EndAlike,
            () => Letters::Differ,
        };
        if letters != Letters::Differ {
            return Found { coverage: 1.0, letters, words: self.distinct().collect() };
        }
        let window = WINDOW.max(TIMES * self.words.len());
        let end = &request.words[request.words.len().saturating_sub(window)..];
        let end: HashSet<&str> = end.iter().map(String::as_str).collect();
        let part = |words: &mut dyn Iterator<Item = &str>| {
            let (mut all, mut covered) = (0.0, 0.0);
            for word in words {
                let weight = vocabulary.weight(word);
                all += weight;
                covered += if end.contains(word) { weight } else { 0.0 };
            }
            if all > 0.0 { covered / all } else { 0.0 }
        };
        let subject = STRICT * part(&mut self.subject.iter().map(String::as_str));
        let coverage = match () {
            () if self.subject.is_empty() => part(&mut self.distinct()),
            () if self.named => subject,
            () => (LOOSE * part(&mut self.distinct())).min(subject),
        };
        Found { coverage, letters, words: self.distinct().filter(|word| end.contains(word)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vocabulary(texts: &[&str]) -> Vocabulary {
        let mut vocabulary = Vocabulary::default();
        texts.iter().for_each(|t| vocabulary.add(&Topic::of(t)));
        vocabulary
    }

    #[test]
    fn a_name_decides_and_an_article_does_not() {
        let background = vocabulary(&[
            "the name of the king is",
            "the capital of the country is",
            "what is the name of my dog",
            "my house is",
        ]);
        let stored = Topic::of("The name of the cat Biscuit is");
        let covered = |request: &str| stored.found_in(&Topic::of(request), &background).coverage;
        assert_eq!(covered("The name of the cat Biscuit is"), 1.0);
        assert!(covered("How is the cat called? Biscuit? The name is") > 0.99);
        assert!(covered("The name of the dog Rex is") < 0.2);
        assert!(covered("Biscuit") < 0.6 && covered("") == 0.0);
        // What was said long before the question does not count.
        assert!(covered(&format!("the name of the cat Biscuit is fine. {}", "and so on ".repeat(60))) < 0.1);
    }

    /// Where everyone asks for names of dogs, the name is rarer than the dog.
    #[test]
    fn another_subject_is_not_asked_for_however_rare_the_rest_is() {
        let background = vocabulary(&["the dog ran", "the dog and the cat", "a big dog was sad", "the cat was", "of the park"]);
        let (plain, about) = (Topic::of("The name of the dog was"), Topic::of("The name of the dog was").about("the dog"));
        let cat = Topic::of("The name of the cat was");
        assert!(plain.found_in(&cat, &background).coverage > 0.6 && about.found_in(&cat, &background).coverage < 0.2);
        assert!(about.found_in(&Topic::of("What was the name of the dog?"), &background).coverage > 0.7);
        assert!(about.found_in(&Topic::of("The dog"), &background).coverage < 0.6);
        assert_eq!(Topic::of("🦔 ->").about("🦔").found_in(&Topic::of("🦔 ->"), &background).coverage, 1.0);
    }

    #[test]
    fn a_text_without_words_is_asked_for_letter_by_letter() {
        let stored = Topic::of("🦔 ->");
        let none = Vocabulary::default();
        assert_eq!(stored.found_in(&Topic::of("then 🦔 -> "), &none).coverage, 1.0);
        assert_eq!(stored.found_in(&Topic::of("then 🦔"), &none).coverage, 0.0);
        assert_eq!(Topic::default().found_in(&Topic::of("x"), &none).coverage, 0.0);
    }

    /// The words that decide are those that a request holds, not those that an experience has.
    #[test]
    fn the_most_specific_one_speaks() {
        let background = vocabulary(&["the dog ran", "the dog and the cat", "a big dog was sad", "the cat was", "of the park"]);
        let texts = ["The cat", "The name of the dog was", "The name of the cat was", "The cat likes to eat", "🦔 ->"];
        let speak = |stored: &[Topic], request: &str| {
            let request = Topic::of(request);
            let found: Vec<Found> = stored.iter().map(|t| t.found_in(&request, &background)).collect();
            let speaks =
                |own: &Found| own.coverage >= 0.6 && !found.iter().any(|other| other.coverage >= 0.6 && own.outdone_by(other));
            (0..found.len()).filter(|i| speaks(&found[*i])).collect::<Vec<_>>()
        };
        let plain = texts.map(Topic::of);
        let asleep = texts.map(|t| Topic::of(t).named(t.split_whitespace().rfind(|w| ["dog", "cat", "🦔"].contains(w)).unwrap()));
        for stored in [&plain, &asleep] {
            for (i, text) in texts.iter().enumerate() {
                assert_eq!(speak(stored, text), [i], "{text}");
            }
            assert_eq!(speak(stored, "They met. The name of the cat was"), [2]);
        }
        // Two questions in one request are about two things; and the name that is asked for might be the cat's.
        assert_eq!(speak(&plain, "What does the cat like to eat? The cat likes what? And what was the dog's name?"), [1, 2, 3]);
        // The same words in another order are asked for by both, and by each one's own letters for itself.
        let both = ["The cat of the dog is", "The dog of the cat is"].map(Topic::of);
        assert_eq!(speak(&both, "Is the dog the cat's, or of the cat?"), [0, 1]);
        assert_eq!(speak(&both, "Well. The dog of the cat is"), [1]);
        // The same question in two chats is asked for by what stands around it.
        let chats = ["Be brief.", "Be kind."].map(|system| Topic::of("Who?").within(&format!("{system} Who? ->")));
        let found: Vec<Found> = chats.iter().map(|t| t.found_in(&chats[1], &background)).collect();
        assert!(found[0].outdone_by(&found[1]) && !found[1].outdone_by(&found[0]));
    }

    proptest! {
        #[test]
        fn every_text_covers_itself(text in "(?s).{0,60}", other in "(?s).{0,60}") {
            let all = vocabulary(&["the of is", &other]);
            for topic in [Topic::of(&text), Topic::of(&text).about(&other), Topic::of(&text).named(&other)] {
                let covered = topic.found_in(&Topic::of(&text), &all).coverage;
                prop_assert!(covered == 1.0 || text.trim().is_empty(), "{}", covered);
                let part = topic.found_in(&Topic::of(&other), &all).coverage;
                prop_assert!((0.0..=1.0 + 1e-9).contains(&part));
                // At its own letters it is outdone by none, and outdoes all others.
                let request = Topic::of(&text);
                let (own, others) = (topic.found_in(&request, &all), Topic::of(&other));
                let others = others.found_in(&request, &all);
                prop_assert!(text.trim().is_empty() || !own.outdone_by(&others));
                prop_assert!(text.trim().is_empty() || text == other || others.outdone_by(&own));
            }
        }
    }
}
