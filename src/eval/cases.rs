//! Facts to teach and what to ask about them: CounterFact's flat form (Meng et al. 2022, "Locating and editing factual associations
//! in GPT"), a JSON object a line.

use crate::error::{Error, Result};
use crate::memory::experience::{Experience, Outcome};
use crate::rng::{Purpose, Stream, key};
use serde::Deserialize;
use std::io::BufRead;
use std::path::Path;

/// One fact to teach, with the fields of CounterFact's flat form.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Case {
    /// Number in the data set.
    pub case_id: u64,
    /// The question, as the start of a sentence.
    pub prompt: String,
    /// Whom or what the question is about: a part of `prompt`.
    pub subject: String,
    /// The answer to teach.
    pub target_new: String,
    /// The answer that the world holds true.
    pub ground_truth: String,
    /// The same question in other words.
    pub rephrase_prompt: String,
    /// A question about another subject; its answer should stay.
    pub locality_prompt: String,
    /// The answer to `locality_prompt`.
    pub locality_ground_truth: String,
}

impl Case {
    /// Of its experience.
    pub fn id(&self) -> String {
        format!("case-{}", self.case_id)
    }

    /// The case as something that happened.
    pub fn experience(&self, outcome: Outcome) -> Experience {
        Experience { subject: Some(self.subject.clone()), ..Experience::new(&self.id(), &self.prompt, &self.target_new, outcome) }
    }
}

/// All cases of a file.
pub fn read(path: &Path) -> Result<Vec<Case>> {
    let file = std::fs::File::open(path).map_err(|e| Error::file(path, e))?;
    let mut cases = Vec::new();
    for (i, line) in std::io::BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| Error::file(path, format!("line {}: {e}", i + 1)))?;
        if line.trim().is_empty() {
            continue;
        }
        cases.push(serde_json::from_str(&line).map_err(|e| {
            let what = format!("{}:{}: {e}", path.display(), i + 1);
            Error::input(what, "a line is a case of CounterFact's flat form, with prompt, subject, target_new and so on")
        })?);
    }
    Ok(cases)
}

/// `n` different cases, a function of the seed. No two ask the same prompt.
pub fn choose(all: &[Case], n: usize, seed: u64) -> Result<Vec<Case>> {
    let mut stream = Stream::new(key(seed, 0), Purpose::Encoder, 0, 7);
    let mut order: Vec<usize> = (0..all.len()).collect();
    stream.shuffle(&mut order);
    let mut chosen: Vec<Case> = Vec::new();
    for i in order {
        if chosen.len() < n && chosen.iter().all(|c| c.prompt != all[i].prompt) {
            chosen.push(all[i].clone());
        }
    }
    match chosen.len() == n && n > 0 {
        true => Ok(chosen),
        false => Err(Error::input(format!("{n} cases of {} were asked for", all.len()), "ask for fewer, at least 1")),
    }
}
