//! One method with one seed on the trials of an e-prop protocol: learning, looks on the way, the test at the end. Promises the same
//! numbers whether or not it was saved and restored on the way.

use super::file::SPEAKERS;
use super::trials::{OFFICIAL, Spoken, Use};
use super::{Method, Settings, Task};
use crate::error::{Error, Result};
use crate::learning::eprop::{Recurrent, Trial};
use crate::learning::local::{Outcome, order};
use crate::learning::state::State;
use crate::protocol::Event;
use crate::protocol::course::{Course, Options, Pause, asked, each};
use crate::protocol::results::{Results, Run, Source};
use rayon::prelude::*;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// What a falling rate falls to.
const LEAST: f32 = 0.01;
/// Trials that are run at a time where nothing is learned.
const PIECE: usize = 64;
/// Recordings of a speaker and digit that are held out of the training set to choose settings by: the last so many.
const HELD: u8 = 5;
/// Recordings of a speaker and digit.
const EACH: u8 = 50;
/// Numbers of the trials of the last test; those before are for the tests on the way.
const LAST: u32 = 1 << 24;

/// What trials are made of.
enum Data {
    Made,
    Spoken { all: Spoken, learned: Vec<u32>, tested: Vec<u32> },
}

/// Runs the protocol. `tell` hears progress; when `stop` becomes true the run ends after the batch under way, saved.
/// The results are complete unless it was stopped.
///
/// # Errors
/// Recordings that are absent or damaged, unknown methods, an output that exists (without `force` or `resume`) or is of another protocol;
/// a weight that is not a number any more: the last checkpoint then stands.
pub fn run(settings: &Settings, options: &Options, tell: &mut dyn FnMut(Event), stop: &AtomicBool) -> Result<Results> {
    let named: Vec<(&str, &str)> = settings.methods.iter().map(|m| (m.name.as_str(), m.title.as_str())).collect();
    let (methods, seeds) = asked(&settings.name, &named, &settings.seeds, options)?;
    let data = Data::load(settings, options)?;
    let network = &settings.methods[0].network;
    let new = Results {
        title: settings.title.clone(),
        citation: settings.citation.clone(),
        kind: "e_prop".into(),
        tasks: 1,
        sizes: vec![network.inputs, network.plain + network.adaptive, network.classes],
        data: data.source(settings),
        methods,
        seeds,
        complete: false,
        runs: vec![],
        version: env!("CARGO_PKG_VERSION").into(),
        threads: rayon::current_num_threads(),
        file: settings.name.clone(),
        settings: settings.overrides.clone(),
        protocol: settings.text.to_string(),
    };
    let mut begin = |index: usize, seed| -> Result<Box<dyn Course + '_>> {
        Ok(Box::new(Learning::new(settings, &data, &settings.methods[index], seed)?))
    };
    let all: Vec<&str> = named.iter().map(|m| m.0).collect();
    each(new, &all, options, &mut begin, tell, stop)
}

impl Data {
    fn load(settings: &Settings, options: &Options) -> Result<Data> {
        let Task::Spoken { speaker, validation, .. } = settings.task else { return Ok(Data::Made) };
        let all = Spoken::load(&options.data)?;
        let network = &settings.methods[0].network;
        if all.channels != network.inputs || all.recordings.iter().any(|r| r.speaker >= SPEAKERS) {
            return Err(Error::input(
                format!("recordings of {} channels, {} and {SPEAKERS} speakers are known", all.channels, network.inputs),
                "give the recordings that the documentation names",
            ));
        }
        let count = all.recordings.len() as u32;
        let part = |of: &dyn Fn(u8, u8) -> bool| -> Vec<u32> {
            (0..count).filter(|i| of(all.recordings[*i as usize].speaker, all.recordings[*i as usize].index)).collect()
        };
        let (learned, tested) = match (speaker, validation) {
            (None, false) => (part(&|_, index| index >= OFFICIAL), part(&|_, index| index < OFFICIAL)),
            (None, true) => {
                let held = EACH - HELD;
                (part(&|_, index| (OFFICIAL..held).contains(&index)), part(&|_, index| index >= held))
            }
            (Some(out), false) => (part(&|speaker, _| speaker != out), part(&|speaker, _| speaker == out)),
            (Some(out), true) => {
                let next = (out + 1) % SPEAKERS;
                (part(&|speaker, _| speaker != out && speaker != next), part(&|speaker, _| speaker == next))
            }
        };
        if learned.is_empty() || tested.is_empty() {
            return Err(Error::input("the recordings have nothing to learn or to test on", "give the whole set"));
        }
        Ok(Data::Spoken { all, learned, tested })
    }

    fn source(&self, settings: &Settings) -> Source {
        match (self, &settings.task) {
            (Data::Spoken { all, learned, tested }, _) => {
                Source { set: "spoken".into(), train: learned.len(), test: tested.len(), checksum: all.checksum() }
            }
            (_, Task::Evidence { trials, tested, .. }) => {
                Source { set: "evidence".into(), train: *trials, test: *tested, checksum: 0 }
            }
            _ => Source { set: String::new(), train: 0, test: 0, checksum: 0 },
        }
    }
}

struct Learning<'a> {
    settings: &'a Settings,
    data: &'a Data,
    method: &'a Method,
    seed: u64,
    net: Recurrent,
    /// Batches learned.
    batch: usize,
    /// Trials after which the task was solved, 0 before, and tests on the way.
    solved: u64,
    looks: u64,
    /// While learning since the last point of the curve, and all in all.
    learned: Outcome,
    shown: [u64; 2],
    /// Trials learned, and part of right answers: to a batch of others, or while learning.
    curve: Vec<(u64, f64)>,
    /// The test at the end.
    row: Vec<f64>,
    /// Seconds of learning and of tests.
    seconds: [f64; 2],
}

impl<'a> Learning<'a> {
    fn new(settings: &'a Settings, data: &'a Data, method: &'a Method, seed: u64) -> Result<Self> {
        let mut network = method.network.clone();
        network.seed = seed;
        let net = Recurrent::new(network)?;
        Ok(Learning {
            settings,
            data,
            method,
            seed,
            net,
            batch: 0,
            solved: 0,
            looks: 0,
            learned: Outcome::default(),
            shown: [0; 2],
            curve: vec![],
            row: vec![],
            seconds: [0.0; 2],
        })
    }

    /// Trials of a pass, and passes; evidence has one of all.
    fn length(&self) -> (usize, usize) {
        match (&self.settings.task, self.data) {
            (Task::Spoken { passes, .. }, Data::Spoken { learned, .. }) => (learned.len(), *passes),
            (Task::Evidence { trials, .. }, _) => (*trials, 1),
            _ => (0, 0),
        }
    }

    fn batches(&self) -> usize {
        let (trials, passes) = self.length();
        trials.div_ceil(self.settings.batch) * passes
    }

    /// Trials of evidence.
    fn made(&self, purpose: Use, numbers: std::ops::Range<u32>) -> Vec<Trial> {
        let Task::Evidence { made, .. } = &self.settings.task else { return vec![] };
        numbers.into_par_iter().map(|number| made.trial(self.method.network.dt, self.seed, purpose, number)).collect()
    }

    /// The trials of a batch.
    fn to_learn(&self, batch: usize) -> Vec<Trial> {
        let ((trials, _), size) = (self.length(), self.settings.batch);
        let per_pass = trials.div_ceil(size).max(1);
        let from = batch % per_pass * size;
        let own = from..trials.min(from + size);
        match (self.data, &self.settings.task) {
            (Data::Spoken { all, learned, .. }, Task::Spoken { shift, .. }) => {
                let pass = (batch / per_pass) as u32;
                let order = order(self.seed, pass, learned.len());
                let trial = |i: &u32| all.trial(learned[*i as usize] as usize, self.method.network.dt, *shift, self.seed, pass);
                order[own].iter().map(trial).collect()
            }
            _ => self.made(Use::Learn, own.start as u32..own.end as u32),
        }
    }

    /// Part of right answers to trials in pieces.
    fn right(&self, trials: &mut dyn Iterator<Item = Vec<Trial>>) -> Result<f64> {
        let mut sum = Outcome::default();
        for piece in trials {
            sum.add(&self.net.evaluate(&piece)?);
        }
        Ok(sum.accuracy())
    }

    /// Part of right answers to `count` trials of evidence from number `first` on.
    fn right_of(&self, purpose: Use, first: u32, count: usize) -> Result<f64> {
        let pieces = (0..count).step_by(PIECE).map(|from| first + from as u32..first + count.min(from + PIECE) as u32);
        self.right(&mut pieces.map(|numbers| self.made(purpose, numbers)))
    }

    /// After a batch: a point of the curve where one is due.
    fn look(&mut self) -> Result<()> {
        let done = self.shown[0];
        match self.settings.task {
            Task::Evidence { every, solved, tested, .. } if self.batch % (every / self.settings.batch).max(1) == 0 => {
                let number = self.batch as u32 * self.settings.batch as u32;
                let right = self.right_of(Use::Look, number, self.settings.batch)?;
                self.curve.push((done, right));
                if 1.0 - right < solved {
                    let first = self.looks as u32 * tested as u32;
                    self.looks += 1;
                    if 1.0 - self.right_of(Use::Test, first, tested)? < solved {
                        self.solved = done;
                    }
                }
            }
            Task::Spoken { passes, .. } if self.batch % (self.batches() / passes.max(1)).max(1) == 0 => {
                self.curve.push((done, self.learned.accuracy()));
                self.learned = Outcome::default();
            }
            _ => {}
        }
        Ok(())
    }

    fn test(&mut self) -> Result<()> {
        let right = match (self.data, &self.settings.task) {
            (Data::Spoken { all, tested, .. }, _) => {
                let trial = |i: &u32| all.trial(*i as usize, self.method.network.dt, 0, self.seed, 0);
                self.right(&mut tested.chunks(PIECE).map(|piece| piece.iter().map(trial).collect()))?
            }
            (_, Task::Evidence { tested, .. }) => self.right_of(Use::Test, LAST, *tested)?,
            _ => 0.0,
        };
        self.row = vec![right];
        Ok(())
    }

    fn spikes(&self) -> f64 {
        self.shown[1] as f64 / self.shown[0].max(1) as f64
    }
}

impl Course for Learning<'_> {
    fn advance(&mut self, pause: &mut dyn FnMut(&dyn Course) -> bool) -> Result<Pause> {
        let (total, mut start) = (self.batches(), Instant::now());
        let mut lap = |seconds: &mut f64| *seconds += std::mem::replace(&mut start, Instant::now()).elapsed().as_secs_f64();
        while self.batch < total && self.solved == 0 {
            let rate = self.method.network.optimiser.rate();
            let left = (1.0 - self.batch as f32 / total as f32).max(LEAST);
            self.net.set_rate(if self.settings.falling { rate * left } else { rate });
            let outcome = self.net.learn(&self.to_learn(self.batch))?;
            self.learned.add(&outcome);
            self.shown = [self.shown[0] + outcome.presentations as u64, self.shown[1] + outcome.spikes];
            self.batch += 1;
            lap(&mut self.seconds[0]);
            self.look()?;
            lap(&mut self.seconds[1]);
            if self.batch < total && self.solved == 0 && pause(self) {
                return Ok(Pause::Asked);
            }
        }
        self.test()?;
        lap(&mut self.seconds[1]);
        Ok(Pause::Task)
    }

    fn phases(&self) -> usize {
        1
    }

    fn phase(&self) -> usize {
        self.row.len()
    }

    fn done(&self) -> f64 {
        if self.row.is_empty() { self.batch as f64 / self.batches().max(1) as f64 } else { 1.0 }
    }

    fn accuracy(&self) -> f64 {
        self.learned.accuracy()
    }

    fn row(&self) -> &[f64] {
        &self.row
    }

    fn reports(&self) -> Vec<String> {
        let mut lines = vec![];
        if let Task::Evidence { solved, tested, .. } = &self.settings.task {
            let below = format!("below {:.1} % wrong answers to {tested} trials", 100.0 * solved);
            lines.push(match self.solved {
                0 => format!("not solved in {} trials: not {below}", self.shown[0]),
                trials => format!("solved after {trials} trials: {below}"),
            });
        }
        let learned = if self.method.network.frozen { "the outputs alone learned" } else { "neurons and outputs learned" };
        lines.push(format!("{learned}; {:.0} spikes a trial", self.spikes()));
        lines
    }

    fn state(&self) -> State {
        let mut state = State::default();
        state.put_part("net", self.net.state());
        state.put("position", &[5], &[self.batch as u64, self.solved, self.looks, self.shown[0], self.shown[1]]);
        let Outcome { presentations, correct, spikes, .. } = self.learned;
        state.put("learned", &[3], &[presentations as u64, correct as u64, spikes]);
        state.put("curve_at", &[self.curve.len()], &self.curve.iter().map(|c| c.0).collect::<Vec<u64>>());
        state.put("curve", &[self.curve.len()], &self.curve.iter().map(|c| c.1).collect::<Vec<f64>>());
        state.put("row", &[self.row.len()], &self.row);
        state.put("seconds", &[2], &self.seconds);
        state
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        let position = state.get::<u64>("position", 5)?;
        let batch = usize::try_from(position[0]).ok().filter(|batch| *batch <= self.batches());
        let batch = batch.ok_or_else(|| {
            Error::input("the checkpoint's position is outside of the protocol", "resume with the protocol it was made by")
        })?;
        let at = state.any::<u64>("curve_at")?;
        let curve = state.get::<f64>("curve", at.len())?;
        let row = state.any::<f64>("row")?;
        let learned = state.get::<u64>("learned", 3)?;
        let seconds = state.get::<f64>("seconds", 2)?;
        self.net.restore(&state.part("net"))?;
        self.seconds.copy_from_slice(seconds);
        self.learned =
            Outcome { presentations: learned[0] as usize, correct: learned[1] as usize, spikes: learned[2], loss: 0.0 };
        (self.curve, self.row) = (at.iter().copied().zip(curve.iter().copied()).collect(), row.to_vec());
        (self.batch, self.solved, self.looks, self.shown) = (batch, position[1], position[2], [position[3], position[4]]);
        Ok(())
    }

    fn run(&self) -> Result<Run> {
        let acc = self.row.first().copied().unwrap_or(0.0);
        Ok(Run {
            method: self.method.name.clone(),
            seed: self.seed,
            joint: false,
            acc,
            bwt: None,
            forgetting: None,
            matrix: vec![self.row.clone()],
            learning: self.curve.last().map(|c| c.1).into_iter().collect(),
            spikes_per_image: self.spikes(),
            train_s: self.seconds[0],
            test_s: self.seconds[1],
            layers: vec![],
            reports: self.reports(),
            bytes: 0,
            uncertainty: None,
            curve: self.curve.clone(),
        })
    }
}
