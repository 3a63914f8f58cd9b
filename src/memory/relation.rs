//! Whether a question asks for the same as another one about the same subject: learned from questions in several wordings, as the
//! directions of a layer's keys in which other wordings differ little and other questions much. Knows keys and texts; no model.
//!
//! The key where an answer begins holds the subject, the wording and what is asked for; only the last is wanted. (SmolLM2-135M,
//! CounterFact: of paraphrases and of other questions about their subjects, one in ten of which passes, 26 % of the paraphrases pass by the
//! cosine of the keys, 97 % by that of 16 such directions, learned from 1,200 of the training part's questions and tried on 300 of the
//! validation part's; 35 % when learned from the built-in questions, which CounterFact knows nothing of.)

use super::questions::{Prompt, filled};
use crate::error::{Error, Result};
use crate::learning::associative::dot;
use crate::learning::discriminant::directions;
use crate::recall::encoder::unit;
use crate::rng::{Purpose, Stream, key};
use serde::Deserialize;

/// Directions that are looked for. (16, 24, 64 and 256 were tried.)
const DIRECTIONS: usize = 16;
/// Triples that are learned from at most, and built-in ones; with fewer of one's own the built-in ones are added.
const MOST: usize = 1200;
const BUILT_IN: usize = 600;
const FEW: usize = 300;
/// Every so many triples one is not learned from: it says how far other questions agree.
const HELD_OUT: usize = 4;
/// Steps of the distribution that is kept of that.
const STEPS: usize = 100;

/// A question, the same in other words, and another one about the same subject.
pub type Triple = [String; 3];

/// What tells what is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Relations {
    /// inputs.
    mean: Vec<f32>,
    /// directions x inputs.
    axes: Vec<f32>,
    /// Agreement of other questions with a question of the same subject: that below which 0, 1, … 100 % of them lie.
    others: Vec<f32>,
}

impl Relations {
    /// From the keys (triples x inputs each) of questions, of the same in other words, and of other questions.
    ///
    /// # Errors
    /// Too few to learn from, or numbers that are not finite.
    pub fn learn(keys: &[Vec<f32>; 3], inputs: usize) -> Result<Relations> {
        let n = keys[0].len() / inputs.max(1);
        if n < 2 * HELD_OUT || keys.iter().any(|k| k.len() != n * inputs) {
            return Err(Error::input(format!("{n} questions with other wordings are too few"), "give eight at least"));
        }
        let mean = (0..inputs).map(|i| keys[0].iter().skip(i).step_by(inputs).sum::<f32>() / n as f32).collect();
        let mut relations = Relations { mean, axes: Vec::new(), others: Vec::new() };
        let mut differences = [Vec::new(), Vec::new()];
        let rows = |t: usize| [0, 1, 2].map(|which: usize| relations.centred(&keys[which][t * inputs..(t + 1) * inputs]));
        for t in (0..n).filter(|t| t % HELD_OUT != 0) {
            let [asked, same, other] = rows(t);
            for (all, row) in differences.iter_mut().zip([same, other]) {
                all.extend(asked.iter().zip(&row).map(|(a, b)| a - b));
            }
        }
        relations.axes = directions(&differences[0], &differences[1], inputs, DIRECTIONS)?;
        let code = |t: usize, which: usize| relations.code(&keys[which][t * inputs..(t + 1) * inputs]);
        let mut others: Vec<f32> = (0..n).step_by(HELD_OUT).map(|t| agreement(&code(t, 0), &code(t, 2))).collect();
        others.sort_by(f32::total_cmp);
        relations.others = (0..=STEPS).map(|step| others[step * (others.len() - 1) / STEPS]).collect();
        Ok(relations)
    }

    /// A key less the mean one, of length 1.
    fn centred(&self, key: &[f32]) -> Vec<f32> {
        let mut row: Vec<f32> = key.iter().zip(&self.mean).map(|(k, m)| k - m).collect();
        unit(&mut row);
        row
    }

    /// What a key asks for: a number a direction, of length 1.
    pub fn code(&self, key: &[f32]) -> Vec<f32> {
        let row = self.centred(key);
        let mut code: Vec<f32> = self.axes.chunks_exact(row.len()).map(|axis| dot(axis, &row)).collect();
        unit(&mut code);
        code
    }

    /// The agreement that this part of other questions about the same subject exceeds.
    pub fn threshold(&self, part: f64) -> f32 {
        let at = ((1.0 - part) * STEPS as f64).ceil().clamp(0.0, STEPS as f64);
        self.others[at as usize]
    }

    /// Inputs of the layer whose keys it knows.
    pub fn inputs(&self) -> usize {
        self.mean.len()
    }

    /// As numbers, to be kept.
    pub fn to_numbers(&self) -> Vec<f32> {
        [&[self.mean.len() as f32][..], &self.mean, &self.others, &self.axes].concat()
    }

    /// From what [`Relations::to_numbers`] gave.
    ///
    /// # Errors
    /// Numbers that are no such thing.
    pub fn from_numbers(numbers: &[f32]) -> Result<Relations> {
        let inputs = numbers.first().map_or(0, |n| *n as usize);
        let axes = 1 + inputs + STEPS + 1;
        if inputs == 0 || numbers.len() <= axes || (numbers.len() - axes) % inputs != 0 {
            return Err(Error::input("what tells questions apart is damaged", "collect the statistics of the keys again"));
        }
        Ok(Relations {
            mean: numbers[1..=inputs].to_vec(),
            others: numbers[1 + inputs..axes].to_vec(),
            axes: numbers[axes..].to_vec(),
        })
    }
}

/// How far two codes agree: their cosine.
pub fn agreement(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Questions {
    before: Vec<String>,
    group: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    subjects: Vec<String>,
    asks: Vec<Vec<String>>,
}

/// What to learn from: prompts with other wordings, each beside another prompt about its subject; the built-in questions where these are
/// few.
pub fn triples(prompts: &[Prompt]) -> Vec<Triple> {
    let mut stream = Stream::new(key(0, 0), Purpose::Encoder, 0, 17);
    // A prompt with a gap where its subject stands.
    let gap = |p: &Prompt| p.subject.as_ref().filter(|s| p.prompt.contains(*s)).map(|s| p.prompt.replacen(s.as_str(), "{}", 1));
    let asked: Vec<(&Prompt, String)> = prompts.iter().filter_map(|p| Some((p, gap(p)?))).collect();
    let mut own = Vec::new();
    for (prompt, form) in &asked {
        let (Some(subject), false) = (&prompt.subject, prompt.same.is_empty()) else { continue };
        let same = &prompt.same[stream.below(prompt.same.len() as u32) as usize];
        let other = (0..20).map(|_| &asked[stream.below(asked.len() as u32) as usize].1).find(|other| *other != form);
        own.extend(other.map(|other| [prompt.prompt.clone(), same.clone(), other.replacen("{}", subject, 1)]));
    }
    stream.shuffle(&mut own);
    own.truncate(MOST);
    if own.len() < FEW {
        own.extend(built_in(&mut stream));
    }
    own
}

fn built_in(stream: &mut Stream) -> Vec<Triple> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/transformers/relations.toml"));
    let Ok(Questions { before, group }) = toml::from_str::<Questions>(text) else { return Vec::new() };
    let mut pick = |n: usize| stream.below(n as u32) as usize;
    let asks: Vec<(usize, usize)> =
        group.iter().enumerate().flat_map(|(g, own)| (0..own.asks.len()).map(move |a| (g, a))).collect();
    let one = |i: usize| {
        let (g, a) = asks[i % asks.len()];
        let Group { subjects, asks } = &group[g];
        let subject = &subjects[pick(subjects.len())];
        let first = pick(asks[a].len());
        let second = (first + 1 + pick(asks[a].len() - 1)) % asks[a].len();
        let other = &asks[(a + 1 + pick(asks.len() - 1)) % asks.len()];
        let filled = |wording: &str| filled(wording, subject).0;
        let [asked, same, other] = [filled(&asks[a][first]), filled(&asks[a][second]), filled(&other[pick(other.len())])];
        // Something else may stand before it.
        let same = if i % 2 == 0 { same } else { format!("{} {same}", before[pick(before.len())]) };
        [asked, same, other]
    };
    (0..BUILT_IN).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(text: &str, subject: &str, same: &[&str]) -> Prompt {
        Prompt { same: same.iter().map(|s| s.to_string()).collect(), ..Prompt::new(text).with_subject(subject) }
    }

    #[test]
    fn built_in_questions_are_whole() {
        let all = triples(&[]);
        assert_eq!(all.len(), BUILT_IN);
        assert!(
            all.iter()
                .flatten()
                .all(|text| !text.contains("{}") && text.chars().next().is_some_and(|c| !c.is_lowercase() || c == 'i'))
        );
        assert!(all.iter().all(|[asked, same, other]| asked != same && asked != other && same != other));
    }

    #[test]
    fn prompts_with_other_wordings_are_learned_from() {
        let own: Vec<Prompt> = (0..400)
            .flat_map(|i| {
                let subject = format!("Name {i}");
                let born = prompt(&format!("{subject} was born in"), &subject, &["The birthplace is", "The cradle stood in"]);
                let job = prompt(&format!("The job of {subject} is"), &subject, &["The work is that of a"]);
                // One that names no subject, and one without other wordings.
                [born, job, prompt("Water is", "fire", &["That is"]), prompt("Fire is", "Fire", &[])]
            })
            .collect();
        let all = triples(&own);
        assert_eq!(all.len(), 800);
        for [asked, same, other] in &all {
            let born = asked.ends_with("born in");
            assert_eq!(born, same.starts_with("The birth") || same.starts_with("The cradle"), "{asked} | {same}");
            let subject = if born {
                asked.trim_end_matches(" was born in")
            } else {
                asked.trim_start_matches("The job of ").trim_end_matches(" is")
            };
            assert!(other.contains(subject) && other != asked, "{asked} | {other}");
        }
        // Few of one's own are not enough.
        assert_eq!(triples(&own[..8]).len(), 4 + BUILT_IN);
    }

    /// Keys are a subject, a wording and what is asked for, in directions of their own.
    #[test]
    fn what_is_asked_for_is_told_from_wording_and_subject() {
        let inputs = 40;
        let mut stream = Stream::new(key(5, 0), Purpose::Encoder, 0, 0);
        let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        let asks: Vec<Vec<f32>> = (0..6).map(|_| draw(6)).collect();
        let triples: Vec<[Vec<f32>; 3]> = (0..400)
            .map(|i| {
                let subject = draw(10);
                let mut key = |ask: usize| {
                    let wording = draw(inputs - 16);
                    [&asks[ask % 6][..], &subject, &wording.iter().map(|x| 0.7 * x).collect::<Vec<_>>()].concat()
                };
                [key(i), key(i), key(i + 1 + i % 5)]
            })
            .collect();
        let keys = [0, 1, 2].map(|which| triples.iter().flat_map(|t| t[which].clone()).collect::<Vec<f32>>());
        let relations = Relations::learn(&keys, inputs).unwrap();
        let passes = |relations: &Relations, which: usize| {
            let code = |t: &[Vec<f32>; 3], which: usize| relations.code(&t[which]);
            let least = relations.threshold(0.1);
            triples.iter().filter(|t| agreement(&code(t, 0), &code(t, which)) > least).count()
        };
        let (same, other) = (passes(&relations, 1), passes(&relations, 2));
        assert!(same > 340 && other < 80, "{same} {other}");
        assert!(relations.threshold(0.01) > relations.threshold(0.5) && relations.threshold(0.0) >= relations.threshold(0.01));
        assert_eq!(Relations::from_numbers(&relations.to_numbers()).unwrap(), relations);
        for bad in [&[][..], &[0.0], &[3.0, 1.0], &relations.to_numbers()[1..]] {
            assert!(Relations::from_numbers(bad).is_err());
        }
        assert!(Relations::learn(&[vec![0.0; 8], vec![0.0; 8], vec![0.0; 8]], 4).is_err());
    }
}
