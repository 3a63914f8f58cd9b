//! Learning digit by digit on one engine; then, with weights and thresholds that stay, the answers to labelled digits (which say
//! what each neuron stands for) and to the test set, in chunks that any thread may take. Knows files; no drawing.

use super::{EXCITATORY, INPUT, PLASTIC, Readout, Settings, Tally};
use crate::engine::{self, Engine, Kind, Sink, Snapshot, Spike};
use crate::error::{Error, Result};
use crate::io::output;
use crate::learning::state::State;
use crate::network::Network;
use crate::protocol::Options;
use crate::protocol::data::{Data, Set};
use crate::protocol::results::Source;
use crate::record::{RunInfo, checkpoint};
use crate::rng::{key, philox4x32};
use crate::system::{cores, cpu_seconds};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Digits that one engine is shown in a row when nothing is learned.
const CHUNK: usize = 250;
/// Between two checkpoints.
const SAVE: Duration = Duration::from_secs(60);
/// Name of what this file adds to an engine's snapshot.
const OWN: &str = "diehl_cook";

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// What the protocol's file calls itself.
    pub title: String,
    /// The paper that the network is from.
    pub citation: String,
    /// The protocol's file as named.
    pub file: String,
    /// `--quick` and `--set`s.
    pub settings: Vec<String>,
    /// The text of the protocol's file.
    pub protocol: String,
    /// Of sharpwave.
    pub version: String,
    /// Of everything that is drawn.
    pub seed: u64,
    /// Inputs, excitatory neurons, classes.
    pub sizes: [usize; 3],
    /// The digits that were used.
    pub data: Source,
    /// Learned to the end and tested.
    pub complete: bool,
    /// Digits learned, and passes over the training set that this is.
    pub digits: u64,
    /// Passes over the training set, parts included.
    pub passes: f64,
    /// Presentations of them: more, where too few spikes answered.
    pub presentations: u64,
    /// Excitatory spikes a digit.
    pub spikes_per_digit: f64,
    /// Digits learned, and part of the interval that ends there told right by the neurons' classes of the interval before.
    pub curve: Vec<(u64, f64)>,
    /// Wall and processor seconds of learning.
    pub train_s: f64,
    /// Processor seconds of learning, all threads together; None where the system does not tell.
    pub train_cpu_s: Option<f64>,
    /// What the test gave; None until learning is complete.
    pub outcome: Option<Outcome>,
    /// neurons x inputs
    #[serde(skip)]
    pub weights: Vec<f32>,
}

/// The test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Part of the test digits told right by the class whose neurons spike most on average (the paper's rule).
    pub accuracy: f64,
    /// The same where each spike counts for all classes, as its neuron answered them.
    pub weighted: f64,
    /// Test digits of class (row) told to be (column), by the paper's rule.
    pub confusion: Vec<Vec<u64>>,
    /// The class of each neuron; None where it answered no labelled digit.
    pub class: Vec<Option<usize>>,
    /// Labelled digits that say so, test digits.
    pub labelled: usize,
    /// Test digits.
    pub tested: usize,
    /// Wall seconds of labelling and testing.
    pub test_s: f64,
    /// Threads that tested.
    pub threads: usize,
}

/// What is told while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// What is done, and the part of it that is.
    Phase(&'a str, f64),
    /// A line for the user to read.
    Line(&'a str),
}

impl Results {
    /// As indented JSON with a final newline; the weights are left out.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Digits a second of learning, by the wall clock and of one processor.
    pub fn speed(&self) -> (f64, Option<f64>) {
        let per = |s: f64| if s > 0.0 { self.digits as f64 / s } else { 0.0 };
        (per(self.train_s), self.train_cpu_s.map(per))
    }
}

/// Run the protocol. `tell` hears progress; when `stop` becomes true the run ends after the digit at hand, saved.
///
/// # Errors
/// Data that are absent or do not fit, an output that exists (without `force` or `resume`) or is of other settings; a weight that is
/// no number any more: the last checkpoint then stands.
pub fn run(settings: &Settings, options: &Options, tell: &mut dyn FnMut(Told), stop: &AtomicBool) -> Result<Results> {
    let mut settings = settings.clone();
    match options.seeds.as_deref() {
        None => {}
        Some([seed]) => {
            settings.seed = *seed;
            for net in [&mut settings.network, &mut settings.frozen] {
                (net.seed, net.stimulus_seed) = (*seed, *seed);
            }
        }
        Some(_) => {
            return Err(Error::input("this protocol runs one seed at a time", "give --seeds one number, and each its --out"));
        }
    }
    if options.methods.is_some() {
        return Err(Error::input("this protocol has no methods", "leave --methods out"));
    }
    let s = &settings;
    let data = Data::load(&s.data, &[], &options.data, &s.sizes_spot)?;
    let (results_file, saved) = (options.out.join("results.json"), options.out.join("checkpoint.h5"));
    let learned = options.out.join("learned.h5");
    for path in [&results_file, &saved, &learned] {
        output::check_or(path, options.force || options.resume, crate::protocol::AGAIN)?;
    }
    let mut learner = Learner::new(s, &data.train)?;
    if options.resume && saved.exists() {
        learner.restore(&saved)?;
    }
    let complete = learner.run(&saved, tell, stop)?;
    let mut results = learner.results(&data)?;
    if complete {
        results.outcome = test(s, &data, learner.viewer.engine.snapshot()?, learner.done, tell, stop)?;
        results.complete = results.outcome.is_some();
    }
    let mut state = State::default();
    state.put("weights", &[s.sizes[1], s.sizes[0]], &results.weights);
    state.save(learned)?;
    output::write(&results_file, results.json(), true)?;
    Ok(results)
}

/// Counts the spikes of the excitatory neurons.
struct Counts {
    first: u32,
    spikes: Vec<u32>,
}

impl Sink for Counts {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        for spike in spikes {
            if let Some(n) = spike.id.checked_sub(self.first).and_then(|i| self.spikes.get_mut(i as usize)) {
                *n += 1;
            }
        }
        Ok(())
    }
    fn sample(&mut self, _: usize, _: f64, _: &[f32]) -> Result<()> {
        Ok(())
    }
}

/// Shows digits to a network.
struct Viewer<'a> {
    settings: &'a Settings,
    engine: Box<dyn Engine>,
    counts: Counts,
}

impl<'a> Viewer<'a> {
    fn new(settings: &'a Settings, net: &Arc<Network>) -> Result<Self> {
        let engine = engine::open(Kind::Cpu, net, &engine::Options::threads(1))?;
        let counts = Counts { first: net.populations[EXCITATORY].first, spikes: vec![0; settings.sizes[1]] };
        Ok(Viewer { settings, engine, counts })
    }

    /// Shows a digit, stronger each time until enough spikes answer; `before` is done before each time. Leaves the answer in
    /// `counts` and gives the number of times.
    fn show(&mut self, pixels: &[u8], before: impl Fn(&mut dyn Engine) -> Result<()>) -> Result<u64> {
        let s = self.settings;
        let mut rates = vec![0.0; pixels.len()];
        for time in 0.. {
            before(&mut *self.engine)?;
            let white = s.max_rate + s.more * time as f64;
            rates.iter_mut().zip(pixels).for_each(|(rate, p)| *rate = *p as f64 / 255.0 * white);
            self.engine.set_rates(INPUT, &rates)?;
            self.counts.spikes.fill(0);
            self.engine.advance(s.shown, &mut self.counts)?;
            let answer: u64 = self.counts.spikes.iter().map(|n| *n as u64).sum();
            rates.fill(0.0);
            self.engine.set_rates(INPUT, &rates)?;
            if s.rest > 0 {
                // What is spiked now belongs to no digit.
                let mut late = Counts { first: u32::MAX, spikes: vec![] };
                self.engine.advance(s.rest, &mut late)?;
            }
            if answer >= s.least_spikes || time == s.repeats {
                return Ok(time + 1);
            }
        }
        unreachable!("the loop has no end of its own")
    }
}

/// The network that learns, and how far it is.
struct Learner<'a> {
    settings: &'a Settings,
    train: &'a Set,
    net: Arc<Network>,
    viewer: Viewer<'a>,
    done: u64,
    presentations: u64,
    spikes: u64,
    /// Told right in this interval.
    right: u64,
    curve: Vec<(u64, f64)>,
    /// Answers in this interval and in the one before.
    tally: Tally,
    judged: Option<Tally>,
    readout: Option<Readout>,
    wall: f64,
    cpu: Option<f64>,
}

impl<'a> Learner<'a> {
    fn new(settings: &'a Settings, train: &'a Set) -> Result<Self> {
        let net = Arc::new(settings.network.clone());
        let mut viewer = Viewer::new(settings, &net)?;
        viewer.engine.set_learning(PLASTIC, settings.learning)?;
        Ok(Learner {
            settings,
            train,
            net,
            viewer,
            done: 0,
            presentations: 0,
            spikes: 0,
            right: 0,
            curve: vec![],
            tally: Tally::new(settings.sizes[2], settings.sizes[1]),
            judged: None,
            readout: None,
            wall: 0.0,
            cpu: Some(0.0),
        })
    }

    /// Whether it came to its end.
    fn run(&mut self, file: &Path, tell: &mut dyn FnMut(Told), stop: &AtomicBool) -> Result<bool> {
        let s = self.settings;
        let mut saved = Instant::now();
        while self.done < s.digits {
            if stop.load(Ordering::Relaxed) {
                self.save(file)?;
                return Ok(false);
            }
            let (clock, cpu) = (Instant::now(), cpu_seconds());
            self.digit()?;
            self.wall += clock.elapsed().as_secs_f64();
            self.cpu = self.cpu.zip(cpu).zip(cpu_seconds()).map(|((sum, from), to)| sum + to - from);
            let so_far = self.curve.last().map_or(String::new(), |c| format!(", {:.1} % right", 100.0 * c.1));
            let speed = self.done as f64 / self.wall.max(1e-9);
            tell(Told::Phase(&format!("{} digits, {speed:.0}/s{so_far}", self.done), self.done as f64 / s.digits as f64));
            if self.done % s.every == 0 {
                self.judge();
                if let Some((done, right)) = self.curve.last() {
                    tell(Told::Line(&format!("{done} digits: {:.1} % of the last {} told right", 100.0 * right, s.every)));
                }
            }
            if saved.elapsed() >= SAVE || self.done == s.digits {
                self.save(file)?;
                saved = Instant::now();
            }
        }
        Ok(true)
    }

    /// Learn the next digit.
    fn digit(&mut self) -> Result<()> {
        let (s, train) = (self.settings, self.train);
        let at = (self.done % train.labels.len() as u64) as usize;
        let pixels = &train.pixels[at * s.sizes[0]..][..s.sizes[0]];
        let factor = |_: u32, sum: f64| if sum > 0.0 { s.normalise / sum } else { 1.0 };
        self.presentations += self.viewer.show(pixels, |engine| engine.scale_weights(PLASTIC, &factor))?;
        let (label, answer) = (train.labels[at], &self.viewer.counts.spikes);
        self.spikes += answer.iter().map(|n| *n as u64).sum::<u64>();
        self.right += self.readout.as_ref().is_some_and(|r| r.vote(answer) == label as usize) as u64;
        self.tally.add(label, answer);
        self.done += 1;
        Ok(())
    }

    /// An interval ends: its answers judge the next one.
    fn judge(&mut self) {
        let s = self.settings;
        if self.readout.is_some() {
            self.curve.push((self.done, self.right as f64 / s.every as f64));
        }
        self.readout = Some(self.tally.readout());
        self.judged = Some(std::mem::replace(&mut self.tally, Tally::new(s.sizes[2], s.sizes[1])));
        self.right = 0;
    }

    fn info(&self) -> RunInfo {
        let s = self.settings;
        // More digits may be learned with the same network.
        let same = |o: &&String| !o.starts_with("training.digits") && !o.starts_with("training.labelling");
        RunInfo {
            title: s.title.clone(),
            scenario_path: s.name.clone(),
            scenario_text: s.text.to_string(),
            overrides: s.overrides.iter().filter(same).cloned().collect(),
            seed: s.seed,
            stimulus_seed: s.seed,
            engine: self.viewer.engine.describe(),
            threads: 1,
            version: env!("CARGO_PKG_VERSION").into(),
            ..RunInfo::default()
        }
    }

    fn save(&mut self, file: &Path) -> Result<()> {
        let mut snapshot = self.viewer.engine.snapshot()?;
        let numbers = [self.done, self.presentations, self.spikes, self.right, self.wall.to_bits()];
        let cpu = self.cpu.map_or([0, 0], |cpu| [1, cpu.to_bits()]);
        let tallies: Vec<&Tally> = std::iter::once(&self.tally).chain(&self.judged).collect();
        let words = numbers.into_iter().chain(cpu).chain([self.curve.len() as u64, tallies.len() as u64]);
        let curve = self.curve.iter().flat_map(|(done, right)| [*done, right.to_bits()]);
        let sums = tallies.iter().flat_map(|t| t.digits.iter().chain(&t.spikes).copied());
        snapshot.notes.push((OWN.into(), words.chain(curve).chain(sums).collect()));
        checkpoint::write(file, &self.net, &self.info(), &snapshot)
    }

    fn restore(&mut self, file: &Path) -> Result<()> {
        let (info, mut snapshot) = checkpoint::read(file, &self.net)?;
        let own = self.info();
        let refuse = |what: &str| {
            Error::input(
                format!("{} {what}", file.display()),
                "resume with the file and settings that wrote it, or give another --out",
            )
        };
        if (&info.scenario_text, &info.overrides, info.seed) != (&own.scenario_text, &own.overrides, own.seed) {
            return Err(refuse("is of another protocol file, other settings or another seed"));
        }
        let at = snapshot.notes.iter().position(|e| e.0 == OWN).ok_or_else(|| refuse("is no checkpoint of this protocol"))?;
        let words = snapshot.notes.remove(at).1;
        self.viewer.engine.restore(&snapshot)?;
        self.viewer.engine.set_learning(PLASTIC, self.settings.learning)?;
        self.take(&words).ok_or_else(|| refuse("holds an unfinished state"))
    }

    /// What `save` wrote.
    fn take(&mut self, words: &[u64]) -> Option<()> {
        let mut words = words.iter().copied();
        let mut next = || words.next();
        [self.done, self.presentations, self.spikes, self.right] = [next()?, next()?, next()?, next()?];
        self.wall = f64::from_bits(next()?);
        let (known, cpu) = (next()?, f64::from_bits(next()?));
        self.cpu = (known == 1).then_some(cpu);
        let (points, tallies) = (next()?, next()?);
        self.curve.clear();
        for _ in 0..points {
            self.curve.push((next()?, f64::from_bits(next()?)));
        }
        let [_, neurons, classes] = self.settings.sizes;
        let mut tally = || {
            let mut tally = Tally::new(classes, neurons);
            for x in tally.digits.iter_mut().chain(&mut tally.spikes) {
                *x = next()?;
            }
            Some(tally)
        };
        self.tally = tally()?;
        self.judged = if tallies > 1 { Some(tally()?) } else { None };
        self.readout = self.judged.as_ref().map(Tally::readout);
        Some(())
    }

    fn results(&mut self, data: &Data) -> Result<Results> {
        let s = self.settings;
        let [inputs, neurons, _] = s.sizes;
        let mut weights = vec![0.0; inputs * neurons];
        let first = self.net.populations[EXCITATORY].first;
        for (source, target, w) in self.viewer.engine.weights(PLASTIC)? {
            weights[(target - first) as usize * inputs + source as usize] = w;
        }
        Ok(Results {
            title: s.title.clone(),
            citation: s.citation.clone(),
            file: s.name.clone(),
            settings: s.overrides.clone(),
            protocol: s.text.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            seed: s.seed,
            sizes: s.sizes,
            data: Source {
                set: s.data.set.clone(),
                train: data.train.labels.len(),
                test: data.test.labels.len(),
                checksum: data.checksum(),
            },
            complete: false,
            digits: self.done,
            passes: self.done as f64 / data.train.labels.len() as f64,
            presentations: self.presentations,
            spikes_per_digit: self.spikes as f64 / self.done.max(1) as f64,
            curve: self.curve.clone(),
            train_s: self.wall,
            train_cpu_s: self.cpu,
            outcome: None,
            weights,
        })
    }
}

/// Label the neurons and tell the test digits, with nothing learned any more; None where it was stopped.
fn test(
    s: &Settings,
    data: &Data,
    snapshot: Snapshot,
    learned: u64,
    tell: &mut dyn FnMut(Told),
    stop: &AtomicBool,
) -> Result<Option<Outcome>> {
    let clock = Instant::now();
    let threads = cores();
    let count = data.train.labels.len() as u64;
    // The last ones learned, each once.
    let labelled: Vec<usize> =
        (learned.saturating_sub((s.labelling as u64).min(count))..learned).map(|i| (i % count) as usize).collect();
    let Some(answers) = answers(s, &data.train, &labelled, &snapshot, 1, threads, "label the neurons", tell, stop)? else {
        return Ok(None);
    };
    let mut tally = Tally::new(s.sizes[2], s.sizes[1]);
    labelled.iter().zip(&answers).for_each(|(at, answer)| tally.add(data.train.labels[*at], answer));
    let readout = tally.readout();
    let tested: Vec<usize> = (0..data.test.labels.len()).collect();
    let Some(answers) = self::answers(s, &data.test, &tested, &snapshot, 2, threads, "test", tell, stop)? else {
        return Ok(None);
    };
    let mut outcome = Outcome {
        accuracy: 0.0,
        weighted: 0.0,
        confusion: vec![vec![0; s.sizes[2]]; s.sizes[2]],
        class: readout.class.clone(),
        labelled: labelled.len(),
        tested: tested.len(),
        test_s: clock.elapsed().as_secs_f64(),
        threads,
    };
    for (answer, label) in answers.iter().zip(&data.test.labels) {
        let (vote, label) = (readout.vote(answer), *label as usize);
        outcome.confusion[label][vote] += 1;
        outcome.accuracy += (vote == label) as u64 as f64 / tested.len() as f64;
        outcome.weighted += (readout.weighted(answer) == label) as u64 as f64 / tested.len() as f64;
    }
    Ok(Some(outcome))
}

/// Spikes of every neuron for each of the digits `which`, from a state that is not changed. Each chunk of digits has its own engine
/// and random numbers, so the answers are the same for any number of threads. None where it was stopped.
#[allow(clippy::too_many_arguments)]
fn answers(
    s: &Settings,
    set: &Set,
    which: &[usize],
    snapshot: &Snapshot,
    stage: u32,
    threads: usize,
    name: &str,
    tell: &mut dyn FnMut(Told),
    stop: &AtomicBool,
) -> Result<Option<Vec<Vec<u32>>>> {
    let chunks: Vec<&[usize]> = which.chunks(CHUNK).collect();
    let found: Mutex<Vec<Vec<Vec<u32>>>> = Mutex::new(vec![vec![]; chunks.len()]);
    let (next, shown, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let halted = || stop.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed);
    let work = |tell: &mut dyn FnMut(Told)| -> Result<()> {
        while let Some((chunk, digits)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|c| Some((c, *chunks.get(c)?))) {
            let mut net = s.frozen.clone();
            let words = philox4x32([chunk as u32, stage, 0, 0], key(s.seed, u32::from_le_bytes(*b"D&C\0")));
            net.stimulus_seed = (words[0] as u64) << 32 | words[1] as u64;
            let mut viewer = Viewer::new(s, &Arc::new(net))?;
            viewer.engine.restore(snapshot)?;
            viewer.engine.set_learning(PLASTIC, false)?;
            let mut answers = Vec::with_capacity(digits.len());
            for at in digits {
                if halted() {
                    return Ok(());
                }
                viewer.show(&set.pixels[at * s.sizes[0]..][..s.sizes[0]], |_| Ok(()))?;
                answers.push(viewer.counts.spikes.clone());
                let done = shown.fetch_add(1, Ordering::Relaxed) + 1;
                tell(Told::Phase(&format!("{name}: {done} of {}", which.len()), done as f64 / which.len() as f64));
            }
            found.lock().unwrap_or_else(|e| e.into_inner())[chunk] = answers;
        }
        Ok(())
    };
    let guarded = |tell: &mut dyn FnMut(Told)| work(tell).inspect_err(|_| failed.store(true, Ordering::Relaxed));
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads.min(chunks.len()).max(1)).map(|_| scope.spawn(|| guarded(&mut |_| ()))).collect();
        let own = guarded(tell);
        let theirs: Result<Vec<()>> =
            helpers.into_iter().map(|h| h.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect();
        own.and(theirs.map(drop))
    })?;
    if halted() {
        return Ok(None);
    }
    let found = found.into_inner().unwrap_or_else(|e| e.into_inner());
    Ok(Some(found.into_iter().flatten().collect()))
}
