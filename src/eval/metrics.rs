//! What a model answers to the questions of some cases, and how that is scored: by first tokens, as published, and by whole answers.
//!
//! ES the new answer is likelier than the old one on the prompt; EA it is the likeliest of all; PS, PA the same on a paraphrase; NS a
//! neighbour's old answer stays likelier than the new one; NK the neighbour's likeliest answer is unchanged; KL of the unedited
//! model's answers to neighbours from the edited one's; S the harmonic mean of ES, PS and NS; W, WP: greedy decoding says the whole new
//! answer and ends, on the prompt and on the paraphrase.

use super::Case;
use crate::error::Result;
use crate::memory::exchange::{Exchange, Request};
use crate::memory::experience::Outcome;
use crate::memory::learner::{Composition, Learner};
use crate::transformer::decoder::Logits;
use crate::transformer::hooks::Adapter;
use crate::transformer::sample::{Sampler, log_softmax, top};
use crate::transformer::{Host, joined};
use serde::{Deserialize, Deserializer, Serialize};

/// Prompts that are computed together.
const TOGETHER: usize = 16;

/// What a model answers with.
#[derive(Clone, Copy)]
pub enum With<'a> {
    /// One adapter for whatever is asked; an empty one is the model as it was.
    One(&'a Adapter),
    /// The experiences that each question asks for.
    Asked(&'a Learner),
}

impl With<'_> {
    /// What a request is answered with.
    pub fn composition(self, request: &Request) -> Result<Composition> {
        match self {
            With::One(adapter) => Ok(Composition::of(adapter.clone())),
            With::Asked(learner) => learner.compose(&request.asks()),
        }
    }
}

/// Log-probabilities (or logits) of the next token, for each case: on its prompt, the paraphrase, and the neighbour's prompt.
#[derive(Clone, Debug)]
pub struct Answers {
    /// 3 rows a case, each of the vocabulary.
    rows: Vec<Vec<f32>>,
    /// Whether the whole answer comes, on the prompt and on the paraphrase, by case; empty where it was not asked for.
    whole: Vec<[bool; 2]>,
}

impl Answers {
    /// What the model answers. `told` puts the fact before each question.
    pub fn of(host: &Host, with: With, cases: &[Case], told: bool) -> Result<Answers> {
        let mut answers = Answers::logits(host, with, cases, told)?;
        answers.rows.iter_mut().for_each(|row| log_softmax(row));
        for case in cases {
            let mut whole = [false; 2];
            for (whole, prompt) in whole.iter_mut().zip([&case.prompt, &case.rephrase_prompt]) {
                let request = Request::of_text(host, &format!("{}{prompt}", fact(case, told)))?;
                let experience = Case { prompt: prompt.clone(), ..case.clone() }.experience(Outcome::Success);
                *whole = says(host, &with.composition(&request)?, &request, &Exchange::of(host, &experience)?)?;
            }
            answers.whole.push(whole);
        }
        Ok(answers)
    }

    /// First tokens' logits alone.
    pub fn logits(host: &Host, with: With, cases: &[Case], told: bool) -> Result<Answers> {
        let questions = |case: &Case| {
            let fact = fact(case, told);
            [&case.prompt, &case.rephrase_prompt, &case.locality_prompt].map(|p| format!("{fact}{p}"))
        };
        let requests = cases.iter().flat_map(questions).map(|text| Request::of_text(host, &text)).collect::<Result<Vec<_>>>()?;
        let mut rows = Vec::with_capacity(requests.len());
        for some in requests.chunks(TOGETHER) {
            let all = some.iter().map(|r| with.composition(r)).collect::<Result<Vec<_>>>()?;
            // Those that share an adapter are computed together, and one that depends on where its answer begins alone.
            let mut start = 0;
            while start < some.len() {
                let end = (start + 1..some.len()).find(|i| !all[*i].joins(&all[start])).unwrap_or(some.len());
                let slices: Vec<&[u32]> = some[start..end].iter().map(|r| &r.tokens[..]).collect();
                let mut caches = vec![host.decoder.cache(); slices.len()];
                let mut work = all[start].at_work(slices[0].len());
                let output = host.decoder.forward(&mut caches, &slices, Logits::Last, &mut work)?;
                rows.extend((0..slices.len()).map(|i| output.row(i).to_vec()));
                start = end;
            }
        }
        Ok(Answers { rows, whole: Vec::new() })
    }

    /// Log-probabilities on question `which` (0 prompt, 1 paraphrase, 2 neighbour) of a case.
    pub fn row(&self, case: usize, which: usize) -> &[f32] {
        &self.rows[3 * case + which]
    }
}

/// The fact itself, where it is told before a question.
fn fact(case: &Case, told: bool) -> String {
    match told {
        true => format!("{}{}.\n", case.prompt, joined(&case.prompt, &case.target_new)),
        false => String::new(),
    }
}

/// Whether greedy decoding of a request says the answer of an exchange and ends.
pub(crate) fn says(host: &Host, composition: &Composition, request: &Request, exchange: &Exchange) -> Result<bool> {
    let mut said = Vec::new();
    let limit = exchange.answer.len() + 1;
    let mut work = composition.at_work(request.tokens.len());
    let ending = host.generate(&request.tokens, limit, &mut Sampler::greedy(), &mut work, |token| {
        said.push(token);
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(said == exchange.answer && ending == crate::transformer::Ending::Token)
}

/// Percentages, and KL in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Efficacy score: the new answer is likelier than the old one on the prompt, %.
    pub es: f64,
    /// Efficacy accuracy: the new answer's first token is the likeliest of all on the prompt, %.
    pub ea: f64,
    /// Paraphrase score: as `es`, on the paraphrase, %.
    pub ps: f64,
    /// Paraphrase accuracy: as `ea`, on the paraphrase, %.
    pub pa: f64,
    /// Neighbourhood score: the neighbour's old answer stays likelier than the new one, %.
    pub ns: f64,
    /// Neighbours kept: the likeliest answer to the neighbour's prompt is unchanged, %.
    pub nk: f64,
    /// Mean divergence of the unedited model's answers to neighbours from the edited one's, nats; not a number where what answers has no
    /// probabilities.
    #[serde(deserialize_with = "number_or_none")]
    pub kl: f64,
    /// Harmonic mean of `es`, `ps` and `ns`, %.
    pub s: f64,
    /// Greedy decoding says the whole new answer and ends, on the prompt, %.
    pub w: f64,
    /// As `w`, on the paraphrase, %.
    pub wp: f64,
    /// Mean log-probability of the new answer on the prompt, nats.
    #[serde(deserialize_with = "number_or_none")]
    pub log_p: f64,
}

/// JSON has nothing for what is not a finite number.
fn number_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// First tokens of a case's answers: new and old on the prompt, on the paraphrase, and new and the neighbour's on its prompt.
pub(super) fn firsts(host: &Host, case: &Case) -> Result<[[u32; 2]; 3]> {
    let first = |prompt: &str, answer: &str| host.exchange(prompt, answer).map(|(_, tokens)| tokens[0]);
    let pair = |prompt: &str, old: &str| Ok::<_, crate::error::Error>([first(prompt, &case.target_new)?, first(prompt, old)?]);
    Ok([
        pair(&case.prompt, &case.ground_truth)?,
        pair(&case.rephrase_prompt, &case.ground_truth)?,
        pair(&case.locality_prompt, &case.locality_ground_truth)?,
    ])
}

/// Scores of some cases; `unedited` are the answers of the model as it was.
pub fn score(host: &Host, cases: &[Case], answers: &Answers, unedited: &Answers) -> Result<Scores> {
    let mut s = Scores::default();
    let percent = 100.0 / cases.len().max(1) as f64;
    let point = |yes: bool| if yes { percent } else { 0.0 };
    for (i, case) in cases.iter().enumerate() {
        let [asked, again, near] = firsts(host, case)?;
        let likelier = |which: usize, [new, old]: [u32; 2]| {
            let row = answers.row(i, which);
            row[new as usize] > row[old as usize]
        };
        s.es += point(likelier(0, asked));
        s.ea += point(top(answers.row(i, 0)) == asked[0]);
        s.ps += point(likelier(1, again));
        s.pa += point(top(answers.row(i, 1)) == again[0]);
        s.ns += point(!likelier(2, near));
        s.nk += point(top(answers.row(i, 2)) == top(unedited.row(i, 2)));
        let kl = unedited.row(i, 2).iter().zip(answers.row(i, 2)).map(|(p, q)| f64::from(*p).exp() * f64::from(p - q));
        s.kl += kl.sum::<f64>() / cases.len() as f64;
        if let Some([w, wp]) = answers.whole.get(i) {
            s.w += point(*w);
            s.wp += point(*wp);
        }
        s.log_p += f64::from(answers.row(i, 0)[asked[0] as usize]) / cases.len() as f64;
    }
    let inverse: f64 = [s.es, s.ps, s.ns].iter().map(|x| 1.0 / x.max(1e-9)).sum();
    s.s = 3.0 / inverse;
    Ok(s)
}
