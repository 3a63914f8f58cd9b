//! The evaluations: methods against each other on the same cases, with time and memory. Deterministic but for the clock.

use super::metrics::{Answers, Scores, score};
use super::{Case, cases};
use crate::bridge::Host;
use crate::bridge::hooks::Adapter;
use crate::error::Result;
use crate::memory::experience::Outcome;
use crate::memory::learner::Learner;
use crate::memory::protect::Statistics;
use crate::memory::settings::{Coding, Settings};
use serde::Serialize;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A way to make a model know facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    Unedited,
    /// The fact stands before the question.
    InPrompt,
    ExactWake,
    SpikingWake,
    Sleep,
    WakeAndSleep,
}

impl Method {
    pub const ALL: [Method; 6] = [
        Method::Unedited,
        Method::InPrompt,
        Method::ExactWake,
        Method::SpikingWake,
        Method::Sleep,
        Method::WakeAndSleep,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Method::Unedited => "unedited",
            Method::InPrompt => "in-prompt",
            Method::ExactWake => "exact-wake",
            Method::SpikingWake => "spiking-wake",
            Method::Sleep => "sleep",
            Method::WakeAndSleep => "wake-and-sleep",
        }
    }
}

/// One method on one choice of cases.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub method: &'static str,
    pub seed: u64,
    pub scores: Scores,
    /// Seconds a fact.
    pub seconds: f64,
    /// Rank of the adapter.
    pub rank: usize,
}

/// What the evaluations share.
pub struct Bench<'a> {
    pub host: &'a Host,
    pub settings: Settings,
    pub statistics: &'a Statistics,
}

impl Bench<'_> {
    fn learner(&self, coding: Coding) -> Result<Learner<'_>> {
        Learner::new(self.host, &Settings { coding, ..self.settings.clone() }, self.statistics)
    }

    /// Every method on `n` cases chosen by a seed.
    pub fn edits(
        &self,
        all: &[Case],
        n: usize,
        seed: u64,
        methods: &[Method],
        tell: &mut dyn FnMut(&Row),
    ) -> Result<Vec<Row>> {
        let chosen = cases::choose(all, n, seed)?;
        let unedited = Answers::of(self.host, (), &chosen, false)?;
        let mut rows = Vec::new();
        for &method in methods {
            let started = Instant::now();
            let adapter = self.teach(method, &chosen)?;
            let seconds = started.elapsed().as_secs_f64() / n as f64;
            let answers = match method {
                Method::Unedited => unedited.clone(),
                Method::InPrompt => Answers::of(self.host, (), &chosen, true)?,
                _ => Answers::of(self.host, &adapter, &chosen, false)?,
            };
            let scores = score(self.host, &chosen, &answers, &unedited)?;
            let rank = adapter.terms().map(|(_, t)| t.rank).max().unwrap_or(0);
            rows.push(Row { method: method.name(), seed, scores, seconds, rank });
            tell(&rows[rows.len() - 1]);
        }
        Ok(rows)
    }

    fn teach(&self, method: Method, chosen: &[Case]) -> Result<Adapter> {
        let coding = match method {
            Method::Unedited | Method::InPrompt => return Ok(Adapter::default()),
            Method::ExactWake => Coding::Exact,
            _ => self.settings.coding,
        };
        let mut learner = self.learner(coding)?;
        let stop = AtomicBool::new(false);
        for case in chosen {
            let experience = case.experience(Outcome::Success);
            match method {
                Method::Sleep | Method::WakeAndSleep => {
                    let (key, found) = learner.dream(&experience, &stop)?;
                    if std::env::var_os("SW_DEBUG").is_some() {
                        eprintln!("{} p {:.3} steps {}", experience.id, found.probability, found.steps);
                    }
                    learner.consolidate(&experience, &key, &found.value)?;
                }
                _ => {
                    let lesson = learner.wake(&experience);
                    if std::env::var_os("SW_DEBUG").is_some() {
                        match &lesson {
                            Ok(l) => eprintln!("{} novelty {:.3} surprise {:.2} written {} {:?} load {:?}", experience.id, l.novelty, l.signals.surprise, l.engrams.len(), l.note, learner.late.load()),
                            Err(e) => eprintln!("{} {e}", experience.id),
                        }
                    }
                }
            }
        }
        if method == Method::WakeAndSleep {
            for case in chosen {
                learner.wake(&case.experience(Outcome::Success))?;
            }
        }
        learner.adapter()
    }
}
