//! What a memory promises after any history: it is what a memory would be that was only told what is left, to the last bit, in the
//! process, in its folder and in a folder whose writer was killed; and whatever stands is said. Few prompts and few answers, so that
//! experiences collide. `SHARPWAVE_HISTORIES` says how many histories are tried.

use crate::common::{Model, stories};
use sharpwave::error::Error;
use sharpwave::memory::Memory;
use sharpwave::memory::exchange::Request;
use sharpwave::memory::experience::{Experience, Join, Outcome};
use sharpwave::memory::facade::{Observed, meta};
use sharpwave::memory::journal::{Change, Entry};
use sharpwave::memory::learner::Composition;
use sharpwave::memory::settings::{Coding, Settings};
use sharpwave::memory::store::{Store, verify};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Prompts that share words, and one that begins as another does.
const PROMPTS: [(&str, &str); 5] = [
    ("The name of the dog was", "the dog"),
    ("The name of the cat was", "the cat"),
    ("The cat likes to eat", "cat"),
    ("The cat", "cat"),
    ("🦔 ->", "🦔"),
];
const ANSWERS: [&str; 4] = ["Max", "fish", "a big red ball", "happy. It"];
const OUTCOMES: [f64; 10] = [1.0, 1.0, 1.0, 1.0, -1.0, -1.0, 0.5, 0.1, -0.4, 0.0];
const TIMES: [&str; 4] = ["2019-01-01T00:00:00Z", "2020-01-01T00:00:00+02:00", "2020-01-01T00:00:00Z", "2190-01-01T00:00:00.5Z"];

#[derive(Clone, Debug)]
enum Step {
    Learn {
        prompt: usize,
        answer: usize,
        outcome: f64,
        time: Option<usize>,
        named: bool,
        about: bool,
        bare: bool,
        supersedes: Option<usize>,
    },
    /// What was told before is told again, letter by letter.
    Again(usize),
    Forget(Vec<usize>),
    Supersede(usize, usize),
    Sleep,
    Reopen,
    Compact,
    /// The folder as it lies there while the memory is open goes on, as if the process had been killed.
    Kill,
}

/// Numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn step(&mut self) -> Step {
        match self.below(100) {
            0..62 => Step::Learn {
                prompt: self.below(PROMPTS.len()),
                answer: self.below(ANSWERS.len()),
                outcome: OUTCOMES[self.below(OUTCOMES.len())],
                time: self.one_in(3).then(|| self.below(TIMES.len())),
                named: self.one_in(2),
                about: self.one_in(3),
                bare: self.one_in(8),
                supersedes: self.one_in(8).then(|| self.below(64)),
            },
            62..68 => Step::Again(self.below(64)),
            68..82 => Step::Forget((0..1 + self.below(2)).map(|_| self.below(64)).collect()),
            82..87 => Step::Supersede(self.below(64), self.below(ANSWERS.len())),
            87..89 => Step::Sleep,
            89..93 => Step::Reopen,
            93..96 => Step::Compact,
            _ => Step::Kill,
        }
    }
}

/// A memory and its folder, in the middle of a history.
struct World<'a> {
    model: &'a Model,
    settings: Settings,
    folder: TempDir,
    memory: Option<Memory>,
    told: Vec<Experience>,
}

type Outcomes = Result<(), String>;

fn said(error: Error) -> String {
    format!("{error} ({:?})", error.remedy())
}

impl World<'_> {
    fn memory(&mut self) -> &mut Memory {
        self.memory.as_mut().unwrap()
    }

    fn open(&mut self, store: Store) -> Outcomes {
        self.memory = Some(Memory::new(store, self.model.host.clone()).map_err(said)?);
        Ok(())
    }

    fn id(&mut self, n: usize) -> Option<String> {
        let entries = self.memory().entries();
        (!entries.is_empty()).then(|| entries[n % entries.len()].experience.id.clone())
    }

    fn step(&mut self, number: usize, step: &Step) -> Outcomes {
        match step {
            Step::Learn { prompt, answer, outcome, time, named, about, bare, supersedes } => {
                let (prompt, subject) = PROMPTS[*prompt];
                let mut e = Experience::new("", prompt, ANSWERS[*answer], Outcome::Reward(*outcome));
                e.time = time.map(|t| TIMES[t].to_string());
                e.subject = about.then(|| subject.to_string());
                e.join = if *bare { Join::None } else { Join::Auto };
                e.supersedes = supersedes.and_then(|n| self.id(n));
                e.id = if *named { format!("e{number}") } else { e.derived_id() };
                if e.supersedes.as_ref() == Some(&e.id) {
                    e.supersedes = None;
                }
                self.told.push(e.clone());
                self.observe(&e)
            }
            Step::Again(n) if !self.told.is_empty() => {
                let e = self.told[n % self.told.len()].clone();
                self.observe(&e)
            }
            Step::Forget(which) => {
                let mut ids: Vec<String> = which.iter().filter_map(|n| self.id(*n)).collect();
                ids.sort();
                ids.dedup();
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                self.memory().forget(&ids).map(|_| ()).map_err(said)
            }
            Step::Supersede(n, answer) => match self.id(*n) {
                Some(id) => refused_or(self.memory().supersede(&id, ANSWERS[*answer], None)),
                None => Ok(()),
            },
            Step::Sleep => {
                let until = Some(Instant::now() + Duration::from_millis(1500));
                self.memory().sleep(until, &AtomicBool::new(false), &mut |_| (), &mut |_, _| ()).map(|_| ()).map_err(said)
            }
            Step::Reopen => {
                self.memory = None;
                self.open(Store::open(self.folder.path()).map_err(said)?)
            }
            Step::Compact => {
                self.memory = None;
                let mut store = Store::open(self.folder.path()).map_err(said)?;
                store.compact().map_err(said)?;
                self.open(store)
            }
            Step::Kill => {
                let next = copied(self.folder.path());
                self.memory = None;
                self.folder = next;
                self.open(Store::open(self.folder.path()).map_err(said)?)
            }
            Step::Again(_) => Ok(()),
        }
    }

    fn observe(&mut self, e: &Experience) -> Outcomes {
        let before = self.memory().entries().to_vec();
        match self.memory().observe(e) {
            Ok(Observed::Learned(entry)) if !entry.stage.may_have_engrams() => {
                Err(format!("learned, and then {:?}", entry.stage))
            }
            Ok(Observed::Refused(_) | Observed::Before(_) | Observed::Learned(_)) => Ok(()),
            Err(Error::Input(_)) if self.memory().entries() == before => Ok(()),
            Err(error) => Err(said(error)),
        }
    }
}

fn refused_or(observed: sharpwave::error::Result<Observed>) -> Outcomes {
    match observed {
        Ok(_) | Err(Error::Input(_)) => Ok(()),
        Err(error) => Err(said(error)),
    }
}

/// The folder's files as they are at this moment, in another folder.
fn copied(folder: &Path) -> TempDir {
    let next = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, next.path().join(path.file_name().unwrap())).unwrap();
    }
    next
}

/// All that a memory does: what it composes for requests, and its one adapter.
fn deeds(memory: &mut Memory) -> Result<(Vec<Composition>, sharpwave::transformer::hooks::Adapter, Vec<String>), String> {
    let host = memory.learner().host.clone();
    let asked = PROMPTS.iter().flat_map(|(prompt, _)| [prompt.to_string(), format!("One day they met. {prompt}")]);
    let more = ["The dog", "What does the cat eat?", ""].map(String::from);
    let compose = |text: String| memory.composition_for(&Request::of_text(&host, &text)?);
    let composed = asked.chain(more).map(compose).collect::<Result<Vec<_>, _>>().map_err(said)?;
    let (adapter, out) = memory.adapter().map_err(said)?;
    Ok((composed, adapter, out))
}

fn same(what: &str, a: &mut Memory, b: &mut Memory) -> Outcomes {
    let held = |m: &Memory| {
        let held = m.learner().held().iter().filter(|h| !h.engrams.is_empty());
        held.map(|h| (h.id.clone(), h.stands, h.topic.clone(), h.engrams.clone())).collect::<Vec<_>>()
    };
    let (held_a, held_b) = (held(a), held(b));
    for (a, b) in held_a.iter().zip(&held_b) {
        if a != b {
            let brief = |x: &(String, bool, _, Vec<_>)| format!("{} stands {} with {} engrams", x.0, x.1, x.3.len());
            return Err(format!("{what}: {} | {}", brief(a), brief(b)));
        }
    }
    if held_a.len() != held_b.len() {
        return Err(format!("{what}: holds {} | {}", held_a.len(), held_b.len()));
    }
    let (a, b) = (deeds(a)?, deeds(b)?);
    for (a, b) in a.0.iter().zip(&b.0) {
        if a.parts != b.parts || a.adapter != b.adapter {
            return Err(format!("{what}: composes {:?} | {:?}", a.parts, b.parts));
        }
    }
    match a.1 == b.1 && a.2 == b.2 {
        true => Ok(()),
        false => Err(format!("{what}: one adapter without {:?} | {:?}", a.2, b.2)),
    }
}

/// An experience that is not said, and what its request composes.
fn unsaid(memory: &Memory, id: &str) -> String {
    let words = |id: &str| {
        let e = &memory.entries().iter().find(|e| e.experience.id == id).unwrap().experience;
        format!("{id} {:?} -> {:?} ({:?}, reward {})", e.prompt, e.answer, e.join, e.outcome.reward())
    };
    let topic = &memory.learner().held().iter().find(|h| h.id == id).unwrap().topic;
    let parts = memory.learner().compose(topic).unwrap().parts;
    format!("{} among {:?}", words(id), parts.iter().map(|p| words(&p.id)).collect::<Vec<_>>())
}

/// A memory that was only told what is left, in the same order; those asleep are as sleep left them.
fn told_anew(world: &mut World) -> Result<Memory, String> {
    let (model, settings) = (world.model, world.settings.clone());
    let left: Vec<Entry> = world.memory().entries().iter().filter(|e| e.stage.may_have_engrams()).cloned().collect();
    let mut fresh = model.memory(&settings);
    for entry in &left {
        let mut e = entry.experience.clone();
        // When it was told counts as when it happened.
        e.time = e.time.or_else(|| Some(entry.told.clone()));
        e.supersedes = e.supersedes.filter(|old| fresh.store().entry(old).unwrap().is_some());
        match fresh.observe(&e).map_err(said)? {
            Observed::Learned(_) => {}
            other => return Err(format!("told anew, {} would be {other:?}", e.id)),
        }
    }
    let asleep = |id: &str| world.memory.as_ref().unwrap().store().engrams_of(id).unwrap();
    let late = fresh.learner().late();
    if left.iter().all(|e| asleep(&e.experience.id).iter().all(|g| g.site == late)) {
        return Ok(fresh);
    }
    let store = Store::in_memory(&meta(&model.source, &settings).map_err(said)?).map_err(said)?;
    let mut change = Change { entries: fresh.entries().to_vec(), ..Change::default() };
    for entry in &left {
        let kept = asleep(&entry.experience.id);
        let own =
            if kept.iter().all(|g| g.site == late) { fresh.store().engrams_of(&entry.experience.id).unwrap() } else { kept };
        change.write.extend(own);
    }
    store.commit(&change).map_err(said)?;
    let mut fresh = Memory::new(store, model.host.clone()).map_err(said)?;
    fresh.prepare(|_| Ok(model.statistics.clone())).map_err(said)?;
    Ok(fresh)
}

/// Runs a history; says which promise is broken.
fn run(steps: &[Step], coding: Coding) -> Outcomes {
    let model = stories();
    let mut settings = model.settings.clone();
    (settings.coding, settings.steps, settings.presentations) = (coding, 16, 1);
    let folder = tempfile::tempdir().unwrap();
    let memory = Some(model.memory_in(folder.path(), &settings));
    let mut world = World { model, settings, folder, memory, told: Vec::new() };
    for (number, step) in steps.iter().enumerate() {
        world.step(number, step).map_err(|why| format!("step {number}: {why}"))?;
    }
    let health = world.memory().check(&mut |_| (), &AtomicBool::new(false)).map_err(said)?;
    if !health.agrees {
        return Err("its one adapter is another one when it is made anew".into());
    }
    if !health.wrong.is_empty() {
        let why: Vec<String> = health.wrong.iter().map(|id| unsaid(world.memory(), id)).collect();
        return Err(format!("these stand and are not said: {}", why.join("; ")));
    }
    let mut anew = told_anew(&mut world)?;
    same("told anew", world.memory(), &mut anew)?;
    let folder = copied(world.folder.path());
    let mut killed = Memory::new(Store::open(folder.path()).map_err(said)?, model.host.clone()).map_err(said)?;
    same("killed", world.memory(), &mut killed)?;
    let entries = world.memory().entries().to_vec();
    world.step(0, &Step::Reopen)?;
    if world.memory().entries() != entries {
        return Err("its entries are others when it is opened again".into());
    }
    same("opened again", &mut anew, world.memory())?;
    let again = world.memory().check(&mut |_| (), &AtomicBool::new(false)).map_err(said)?;
    if again != health {
        return Err(format!("its health is another one when it is opened again: {health:?} {again:?}"));
    }
    let damage = verify(world.folder.path()).map_err(said)?.damage;
    if damage.is_empty() { Ok(()) } else { Err(format!("{damage:?}")) }
}

fn tried(steps: &[Step], coding: Coding) -> Outcomes {
    catch_unwind(AssertUnwindSafe(|| run(steps, coding))).unwrap_or_else(|_| Err("a panic".into()))
}

/// The shortest history that still breaks a promise.
fn shortened(mut steps: Vec<Step>, coding: Coding, mut why: String) -> (Vec<Step>, String) {
    let mut i = 0;
    while i < steps.len() {
        let mut fewer = steps.clone();
        fewer.remove(i);
        match tried(&fewer, coding) {
            Err(still) => (steps, why, i) = (fewer, still, 0),
            Ok(()) => i += 1,
        }
    }
    (steps, why)
}

#[test]
fn after_any_history_a_memory_is_what_it_would_be_if_it_had_only_been_told_what_is_left() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let count = number("SHARPWAVE_HISTORIES").unwrap_or(20);
    let first = number("SHARPWAVE_HISTORY").unwrap_or(0);
    // Of 3 to 12 operations, or of so many.
    let operations = number("SHARPWAVE_OPERATIONS").map(|n| n as usize);
    let mut broken = Vec::new();
    for seed in first..first + count {
        let mut dice = Dice(seed);
        let coding = if seed % 2 == 0 { Coding::Spiking } else { Coding::Exact };
        let length = 3 + dice.below(10);
        let steps: Vec<Step> = (0..operations.unwrap_or(length)).map(|_| dice.step()).collect();
        if let Err(why) = tried(&steps, coding) {
            eprintln!("history {seed} is broken: {why}");
            let (steps, why) = shortened(steps, coding, why);
            broken.push(format!("history {seed} ({coding:?}): {why}\n{steps:#?}"));
        }
    }
    assert!(broken.is_empty(), "{} of {count}:\n{}", broken.len(), broken.join("\n"));
}
