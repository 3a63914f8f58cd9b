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
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

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
    /// The request is the prompt, or ends in it, letter by letter.
    pub fn exact(&self) -> bool {
        self.letters != Letters::Differ
    }

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

    /// It is a text that is continued, and not a chat.
    pub fn is_text(&self) -> bool {
        self.whole.trim() == self.text
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

/// Topics filed so that a request finds all that it may ask for and looks at few others, however many there are: each under the fewest of
/// its words, the heaviest, of which a request has to hold one if its coverage is to reach `least`; and under its letters.
#[derive(Clone, Debug)]
pub struct Index {
    least: f64,
    filed: HashMap<u64, Vec<u64>>,
    /// How many topics have a text of so many bytes.
    lengths: BTreeMap<usize, usize>,
}

impl Index {
    /// For requests that ask for what they cover to `least`, above 0.
    pub fn new(least: f64) -> Index {
        Index { least, filed: HashMap::new(), lengths: BTreeMap::new() }
    }

    /// Files a topic under a number of the caller's.
    pub fn add(&mut self, number: u64, topic: &Topic, vocabulary: &Vocabulary) {
        self.keys(topic, vocabulary).into_iter().for_each(|key| self.filed.entry(key).or_default().push(number));
        *self.lengths.entry(topic.text.len()).or_insert(0) += 1;
    }

    /// Takes out what was filed so.
    pub fn remove(&mut self, number: u64, topic: &Topic, vocabulary: &Vocabulary) {
        for key in self.keys(topic, vocabulary) {
            if let Some(numbers) = self.filed.get_mut(&key) {
                numbers.retain(|n| *n != number);
                if numbers.is_empty() {
                    self.filed.remove(&key);
                }
            }
        }
        if let Some(count) = self.lengths.get_mut(&topic.text.len()) {
            *count -= 1;
            self.lengths.retain(|_, count| *count > 0);
        }
    }

    /// The numbers of all topics that a request covers to `least`, and of some others, in their order.
    pub fn candidates(&self, request: &Topic) -> BTreeSet<u64> {
        let words = request.distinct().map(|word| digest(Filed::Word(word)));
        let text = request.text.as_str();
        let ends = self.lengths.range(..=text.len()).filter_map(|(n, _)| text.get(text.len() - n..));
        let letters = ends.map(|end| digest(Filed::Text(end))).chain([digest(Filed::Whole(&request.whole))]);
        words.chain(letters).filter_map(|key| self.filed.get(&key)).flatten().copied().collect()
    }

    fn keys(&self, topic: &Topic, vocabulary: &Vocabulary) -> BTreeSet<u64> {
        // Of a known subject a part has to be covered, whatever else is.
        let (words, least): (Vec<&str>, f64) = match topic.subject.is_empty() {
            true => (topic.distinct().collect(), self.least),
            false => (topic.subject.iter().map(String::as_str).collect(), self.least / STRICT),
        };
        let mut weighed: Vec<(f64, &str)> = words.into_iter().map(|word| (vocabulary.weight(word), word)).collect();
        // Of words that weigh the same, fewer texts hold the longer one.
        weighed.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.len().cmp(&a.1.len())));
        let all: f64 = weighed.iter().map(|(weight, _)| weight).sum();
        let mut left = all;
        let mut keys: BTreeSet<u64> = [digest(Filed::Whole(&topic.whole)), digest(Filed::Text(&topic.text))].into();
        for (weight, word) in weighed {
            // Sums in another order differ by their rounding.
            if left < (least - 1e-9) * all {
                break;
            }
            keys.insert(digest(Filed::Word(word)));
            left -= weight;
        }
        keys
    }
}

/// What a topic is filed under.
#[derive(Hash)]
enum Filed<'a> {
    Word(&'a str),
    Text(&'a str),
    Whole(&'a str),
}

/// Two of one digest are looked at together, no more.
fn digest(what: Filed) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
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

    /// However many are held, a request looks at those that share a rare word with it.
    #[test]
    fn a_request_looks_at_few() {
        let all = vocabulary(&["the mother tongue of the king is", "the king", "the tongue", "is", "of"]);
        for n in [100u64, 1000] {
            let mut index = Index::new(0.6);
            for i in 0..n {
                let subject = format!("name{i} house{}", i / 2);
                index.add(i, &Topic::of(&format!("The mother tongue of {subject} is")).about(&subject), &all);
            }
            let looked = index.candidates(&Topic::of("The mother tongue of name7 house3 is"));
            assert!(looked.contains(&7) && looked.len() <= 2, "{looked:?}");
            assert!(index.candidates(&Topic::of("The mother tongue of the king is")).is_empty());
        }
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
        /// Whoever asks each topic in turn finds nothing that the index does not.
        #[test]
        fn the_index_finds_all_that_is_covered(
            stored in proptest::collection::vec(("[abcd]{1,2}( [abcd]{1,2}){0,5}[ .🦔]{0,2}", 0..3u8, 0..6usize), 0..12),
            request in "([abcd]{1,2}[ .🦔]?){0,9}",
            least in 0.05..=1.0f64,
            gone in 0..12usize,
        ) {
            let all = vocabulary(&["a b c", "a b", "a", "aa d", "cc dd"]);
            let mut index = Index::new(least);
            let mut topics: Vec<(u64, Topic)> = Vec::new();
            for (i, (text, kind, word)) in stored.iter().enumerate() {
                let subject = text.split(' ').cycle().nth(*word).unwrap_or_default();
                let topic = Topic::of(text).within(&format!("{} {text}", i % 2));
                let topic = [topic.clone(), topic.clone().about(subject), topic.named(subject)][usize::from(*kind)].clone();
                index.add(i as u64, &topic, &all);
                topics.push((i as u64, topic));
            }
            if gone < topics.len() {
                let (number, topic) = topics.remove(gone);
                index.remove(number, &topic, &all);
            }
            let requests = [request.clone()].into_iter().chain(stored.iter().map(|(text, ..)| format!("{request}{text}")));
            for text in requests {
                for request in [Topic::of(&text), Topic::of(&text).within(&format!("0 {text}"))] {
                    let found = index.candidates(&request);
                    for (number, topic) in &topics {
                        let covered = topic.found_in(&request, &all).coverage >= least;
                        prop_assert!(!covered || found.contains(number), "{:?} {:?}", topic, request);
                    }
                    prop_assert!(found.iter().all(|n| topics.iter().any(|(number, _)| number == n)));
                }
            }
            topics.iter().for_each(|(number, topic)| index.remove(*number, topic, &all));
            prop_assert!(index.filed.is_empty() && index.lengths.is_empty());
        }

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
