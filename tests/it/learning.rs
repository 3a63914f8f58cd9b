//! Learning from single experiences on the built-in model: the spike layer against synapses that the engine itself runs, wake and
//! sleep against the exact limit, failures, forgetting, and a memory folder from the command line.

use crate::common::{Collected, say, shared, sharpwave, smollm2, stories, text};
use serde_json::Value;
use sharpwave::eval::metrics::With;
use sharpwave::eval::run::{Bench, Method};
use sharpwave::eval::sequence::{Place, Plan, Point, Sequence, Way};
use sharpwave::eval::{Answers, Case, cases};
use sharpwave::memory::Memory;
use sharpwave::memory::context_target::surprise;
use sharpwave::memory::exchange::{Exchange, Request};
use sharpwave::memory::experience::{Experience, Outcome};
use sharpwave::memory::facade::Observed;
use sharpwave::memory::key_statistics::subject_end;
use sharpwave::memory::learner::Learner;
use sharpwave::memory::questions::{built_in_prompts, prompts};
use sharpwave::memory::settings::Coding;
use sharpwave::memory::spiking_code::SpikingCode;
use sharpwave::model::library::Library;
use sharpwave::network::{Cell, Modulator, Network, Population, Projection, Rule, SynapseInstance, Values};
use sharpwave::stimulus::{Drive, DriveKind};
use sharpwave::transformer::decoder::Logits;
use sharpwave::transformer::hooks::{Adapter, Hooks};
use sharpwave::transformer::{Ending, Host};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// ON and OFF neurons onto ON and OFF neurons through `rstdp_synapse`: first the key's are driven, then the value's, then the reward
/// comes. Gives the weights and the spikes.
fn synapses(pre: &[f32], post: &[f32], steps: u64, reward: f64) -> (Vec<f32>, Collected) {
    let library = Library::built_in().unwrap();
    let (neuron, synapse) = (library.neuron("if_soft_reset").unwrap(), library.synapse("rstdp_synapse").unwrap());
    let neuron = Cell::neuron(&neuron, &[], 1.0).unwrap();
    let population = |name: &str, n: usize| Population::new(name, n as u32, neuron.clone());
    let drive = |population: usize, x: &[f32], start: u64| {
        let scale = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let parts = x.iter().map(|v| (v / scale).max(0.0)).chain(x.iter().map(|v| (-v / scale).max(0.0)));
        let amplitude = Values::Each(parts.map(f64::from).collect::<Vec<f64>>().into());
        let (start, stop) = (start as f64, (start + steps) as f64);
        Drive { name: format!("drive {population}"), population, kind: DriveKind::Dc { amplitude }, start, stop }
    };
    let after = 2.0 * steps as f64 + 8.0;
    let kind = DriveKind::Dc { amplitude: Values::Uniform(1.0) };
    let asked = Drive { name: "asked".into(), population: 0, kind, start: after, stop: after + 2.0 };
    // Windows longer than any episode; weights too small to move the targets.
    let given = [("eta", 1e-6), ("tau_plus", 1e12), ("tau_minus", 1e12), ("tau_e", 1e12), ("Wmax", 1.0)];
    let given: Vec<(String, f64)> = given.map(|(name, value)| (name.to_string(), value)).to_vec();
    let mut net = Network::new(1.0, 1);
    net.add(population("pre", 2 * pre.len()));
    net.add(population("post", 2 * post.len()));
    let synapse = SynapseInstance::modulated(&synapse, &given, 1.0, f64::INFINITY).unwrap();
    let plain = Projection::new("learning", 0, 1, Rule::AllToAll, 0.0, 1.0).unwrap();
    net.connect(Projection { port: Some(0), synapse, modulator: Some(0), ..plain });
    // A last spike of every source, after the reward: a synapse is brought up to date when its source fires.
    net.drives = vec![drive(0, pre, 0), drive(1, post, steps + 3), asked];
    net.modulators = vec![Modulator { name: "dopamine".into(), tau: f64::INFINITY, initial: 0.0, jumps: vec![], spikes: None }];
    let net = Arc::new(net);
    let mut engine = crate::common::open(&net, "cpu", 1).unwrap();
    let mut sink = Collected::default();
    engine.advance(2 * steps + 6, &mut sink).unwrap();
    engine.jump(0, reward).unwrap();
    engine.advance(6, &mut Collected::default()).unwrap();
    (engine.weights(0).unwrap().iter().map(|w| w.2).collect(), sink)
}

/// The layer keeps factors; the engine's own synapses, one by one, hold their products.
#[test]
fn factors_are_what_the_synapses_of_the_engine_learn() {
    let pre = [0.9f32, -0.35, 0.02, -1.4, 0.6];
    let post = [-0.5f32, 0.8, 0.21];
    let mut layer = SpikingCode::new(pre.len(), post.len(), 24, sharpwave::engine::Kind::Cpu).unwrap();
    let (x, y) = layer.present(&pre, &post).unwrap();
    let (inputs, outputs, steps) = (pre.len(), post.len(), 24);
    let unit = |x: &[f32]| f64::from(x.iter().fold(0.0f32, |m, x| m.max(x.abs()))) / steps as f64;
    for reward in [1.0, 0.5] {
        let (weights, sink) = synapses(&pre, &post, steps, reward);
        assert!(sink.spikes.len() as u64 == layer.spikes && layer.spikes > 60, "{} {}", sink.spikes.len(), layer.spikes);
        // Decoded: ON counts forward, OFF counts backward, in units of what a spike stands for.
        let w = |i: usize, j: usize| f64::from(weights[i * 2 * outputs + j]) / (1e-6 * reward);
        for i in 0..inputs {
            for j in 0..outputs {
                let (off_i, off_j) = (i + inputs, j + outputs);
                let decoded = w(i, j) + w(off_i, off_j) - w(i, off_j) - w(off_i, j);
                let factors = f64::from(x[i]) / unit(&pre) * f64::from(y[j]) / unit(&post);
                assert!((decoded - factors).abs() < 1e-3 * factors.abs().max(1.0), "{i} {j}: {decoded} {factors}");
            }
        }
    }
}

fn memory(coding: Coding) -> Memory {
    let mut settings = stories().settings.clone();
    settings.coding = coding;
    stories().memory(&settings)
}

fn experience(id: &str, prompt: &str, answer: &str, subject: &str, outcome: Outcome) -> Experience {
    Experience::new(id, prompt, answer, outcome).with_subject(subject)
}

fn facts() -> Vec<Experience> {
    let fact = |id: &str, prompt: &str, answer: &str, subject: &str| experience(id, prompt, answer, subject, Outcome::Success);
    vec![
        fact("dog", "The name of the dog was", "Max", "the dog"),
        fact("colour", "Sue's favourite ball was", "red", "Sue"),
        fact("food", "Every day the cat ate", "fish and a lot of milk", "the cat"),
        fact("place", "Tom went to play in the", "park", "Tom"),
    ]
}

fn learned(memory: &mut Memory, experience: &Experience) {
    let observed = memory.observe(experience).unwrap();
    assert!(matches!(observed, Observed::Learned(_)), "{observed:?}");
}

/// Surprise (nats) of the first token of the answer.
fn surprise_of(host: &Host, hooks: impl Hooks, e: &Experience) -> f32 {
    let mut hooks = hooks;
    let (tokens, answer) = host.exchange(&e.prompt, &e.answer).unwrap();
    let output = host.decoder.forward(&mut [host.decoder.cache()], &[&tokens], Logits::Last, &mut hooks).unwrap();
    surprise(output.row(0), answer[0])
}

/// The same with what its request composes.
fn surprise_in(memory: &Memory, e: &Experience) -> f32 {
    let host = &memory.learner().host;
    let composed = memory.composition_for(&Request::of_text(host, &e.prompt).unwrap()).unwrap();
    surprise_of(host, composed.at_work(host.exchange(&e.prompt, &e.answer).unwrap().0.len()), e)
}

/// In other words a fact speaks where the key asks for the same, and nowhere where that is switched off; at its own prompt both are the
/// same, and forgotten it leaves nothing.
#[test]
fn other_words_are_answered_where_the_key_agrees() {
    let host = &stories().host;
    let fact = &facts()[0];
    let mut other = fact.clone();
    other.prompt = "The name of the big dog was".into();
    let composed = |memory: &Memory, prompt: &str| memory.composition_for(&Request::of_text(host, prompt).unwrap()).unwrap();
    let taught = |relation: f64| {
        let mut settings = stories().settings.clone();
        settings.relation = relation;
        let mut memory = stories().memory(&settings);
        learned(&mut memory, fact);
        memory
    };
    let (off, mut on) = (taught(0.0), taught(0.5));
    let there = composed(&on, &other.prompt);
    assert!(there.listens() && there.parts.len() == 1 && !there.parts[0].exact && there.adapter == Adapter::default());
    assert!(!composed(&off, &other.prompt).listens() && composed(&off, &other.prompt).parts == there.parts);
    assert!(composed(&on, &fact.prompt) == composed(&off, &fact.prompt) && composed(&on, &fact.prompt).parts[0].exact);
    let bare = surprise_of(host, (), &other);
    assert!(surprise_in(&on, &other) < 0.5 * bare, "{} {bare}", surprise_in(&on, &other));
    on.forget(&[&fact.id]).unwrap();
    assert_eq!(surprise_in(&on, &other), bare);
}

/// The whole answer of every fact comes out and ends, what is asked about others goes on to the letter, and spikes do what exact numbers
/// do.
#[test]
fn awake_it_learns_at_once_and_spikes_come_near_the_exact_limit() {
    let host = &stories().host;
    let near = ["The name of the cat was", "Ben's favourite toy was", "One day, a bird", "Lily and Ben went to", "2 + 2 ="];
    let taught = |coding: Coding| {
        let mut memory = memory(coding);
        let before = near.map(|prompt| say(&memory, prompt, 16));
        for (i, fact) in facts().iter().enumerate() {
            learned(&mut memory, fact);
            for known in &facts()[..=i] {
                let (text, ending) = say(&memory, &known.prompt, 16);
                assert!(text.trim() == known.answer && ending == Ending::Token, "{}: {text:?} {ending:?}", known.id);
            }
        }
        assert_eq!(near.map(|prompt| say(&memory, prompt, 16)), before);
        assert_eq!(memory.learner().spikes() > 0, coding == Coding::Spiking);
        let (_, tight) = memory.adapter().unwrap();
        memory.set_damage(1.0).unwrap();
        let (one, out) = memory.adapter().unwrap();
        assert!(tight.len() < 4 && out.is_empty() && one.terms().all(|(site, _)| site == memory.learner().late()), "{out:?}");
        let health = memory.check(&mut |_| (), &AtomicBool::new(false)).unwrap();
        assert!(health.agrees && health.wrong.is_empty() && health.standing == 4, "{health:?}");
        facts().iter().map(|f| surprise_in(&memory, f)).collect::<Vec<_>>()
    };
    let (exact, spiking) = (taught(Coding::Exact), taught(Coding::Spiking));
    for ((fact, exact), spiking) in facts().iter().zip(&exact).zip(&spiking) {
        let before = surprise_of(host, (), fact);
        assert!(*exact < 1.7 && (before < 1.7 || *exact < before - 1.0), "{}: {before} -> {exact}", fact.id);
        assert!((exact - spiking).abs() < 0.2, "{}: {exact} {spiking}", fact.id);
    }
}

/// A request composes what was learned more strongly, and the one adapter is the same.
#[test]
fn gain_is_what_requests_compose_and_adapters_do_not_hold() {
    let settings = |gain: f32| {
        let mut settings = stories().settings.clone();
        (settings.gain, settings.coding) = (gain, Coding::Exact);
        settings
    };
    let taught = |gain: f32| {
        let mut memory = stories().memory(&settings(gain));
        facts().iter().for_each(|fact| learned(&mut memory, fact));
        let gains: Vec<f32> = memory.entries().iter().map(|e| e.gain).collect();
        assert!(gains.iter().all(|g| [1.0, 0.5 + 0.5 * gain, gain].contains(g)), "{gains:?}");
        for fact in facts() {
            let (text, ending) = say(&memory, &fact.prompt, 16);
            assert!(text.trim() == fact.answer && ending == Ending::Token, "{}: {text:?} {ending:?}", fact.id);
        }
        (gains, facts().iter().map(|f| surprise_in(&memory, f)).collect::<Vec<_>>(), memory.adapter().unwrap())
    };
    let ((_, once, adapter), (gains, twice, other)) = (taught(1.0), taught(2.0));
    assert!(adapter == other && gains.iter().any(|g| *g > 1.0), "{gains:?}");
    for ((gain, once), twice) in gains.iter().zip(&once).zip(&twice) {
        assert!(if *gain > 1.0 { twice < once } else { twice == once }, "{gain}: {once} {twice}");
    }
}

fn story_cases() -> Vec<Case> {
    let case = |i: u64, prompt: &str, subject: &str, new: &str, old: &str, again: &str, near: &str| Case {
        case_id: i,
        prompt: prompt.into(),
        subject: subject.into(),
        target_new: new.into(),
        ground_truth: old.into(),
        rephrase_prompt: again.into(),
        locality_prompt: near.into(),
        locality_ground_truth: "Tim".into(),
    };
    vec![
        case(
            1,
            "The name of the dog was",
            "the dog",
            "Max",
            "Spot",
            "They had a dog. The dog was called",
            "The name of the bird was",
        ),
        case(2, "Sue's favourite ball was", "Sue", "red", "blue", "The ball that Sue liked most was", "Ben's favourite toy was"),
        case(3, "Every day the cat ate", "the cat", "fish", "bread", "The food of the cat was", "Every day the cow ate"),
        case(
            4,
            "Tom went to play in the",
            "Tom",
            "park",
            "house",
            "The place where Tom played was the",
            "Lily went to play in the",
        ),
        case(5, "Mia wanted to be a", "Mia", "cook", "star", "When she grew up, Mia was a", "Jack wanted to be a"),
    ]
}

/// In two parts or in one, in a folder or without: the same results; the controls do what they have to.
#[test]
fn a_sequence_goes_on_where_it_was_stopped() {
    let (model, stop, all) = (stories(), AtomicBool::new(false), story_cases());
    let bench = Bench::new(model.host.clone(), model.settings.clone(), &model.statistics, &stop);
    let plan = |at: &[usize], ways: &[Way]| Plan { at: at.to_vec(), ways: ways.to_vec(), sample: 3, forget: 2 };
    let folder = tempfile::tempdir().unwrap();
    let place = Place { folder: folder.path(), source: &model.source, of: serde_json::json!({ "data": "stories" }) };
    let run = |at: &[usize], ways: &[Way], place: Option<&Place>| {
        let mut said = 0;
        let sequence = bench.sequence(&all, &plan(at, ways), 1, place, &|_, _| (), &mut |_| said += 1);
        sequence.map(|sequence| (sequence, said))
    };
    let (once, said) = run(&[2, 5], &Way::ALL, None).unwrap();
    assert!(said == 16 && once.points.len() == 16 && once.loads.iter().all(|l| l.refused == 0 && l.bytes > 1e4));
    run(&[2], &Way::ALL[..3], Some(&place)).unwrap();
    let (_, said) = run(&[2], &Way::ALL, Some(&place)).unwrap();
    assert_eq!(said, 5);
    let (parts, said) = run(&[2, 5], &Way::ALL, Some(&place)).unwrap();
    assert_eq!(said, 8);
    let bare = |sequence: &Sequence| {
        let mut points: Vec<Point> = sequence.points.clone();
        points.iter_mut().for_each(|p| p.gate_ms = 0.0);
        points.sort_by_key(|p| (p.facts, p.way.name()));
        serde_json::to_value(&points).unwrap()
    };
    assert_eq!(bare(&parts), bare(&once));
    let point = |way: Way| once.points.iter().find(|p| p.way == way && p.facts == 5).unwrap();
    let [unedited, gated, look_up, oracle] = [Way::Unedited, Way::Gated, Way::LookUp, Way::Oracle].map(point);
    assert!(gated.scores.w == 100.0 && gated.scores.ea == 100.0 && gated.asked == 3, "{gated:?}");
    assert!(oracle.scores.w == 100.0 && look_up.scores.ea == 100.0 && look_up.scores.w == 100.0, "{oracle:?} {look_up:?}");
    assert!(unedited.scores.nk == 100.0 && unedited.scores.kl == 0.0 && unedited.other_kept == 100.0, "{unedited:?}");
    assert!(gated.scores.ns == unedited.scores.ns && gated.first == 100.0, "{gated:?}");
    let forgot = once.forgot.unwrap();
    assert!(forgot.forgotten == 2 && forgot.others == 0.0 && forgot.gone == 100.0 && forgot.ea[0] == 100.0, "{forgot:?}");
    // Another run's folder, what is known after fewer facts, and numbers that do not rise are refused.
    let other = Place { folder: folder.path(), source: &model.source, of: serde_json::json!({ "data": "others" }) };
    for (at, place, message) in
        [(&[5][..], &other, "is of another run"), (&[3, 5], &place, "holds 5 facts already"), (&[5, 5], &place, "do not rise")]
    {
        let error = run(at, &Way::ALL, Some(place)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn what_is_forgotten_is_as_if_never_learned_and_the_others_stay() {
    let all = facts();
    let mut memory = memory(Coding::Exact);
    all.iter().for_each(|f| learned(&mut memory, f));
    let before: Vec<f32> = all.iter().map(|f| surprise_in(&memory, f)).collect();
    assert!(!memory.forget(&[&all[1].id]).unwrap()[0].engrams.is_empty());
    assert!(memory.forget(&["nobody"]).is_err() && memory.forget(&["dog", "nobody"]).is_err());
    let mut never = self::memory(Coding::Exact);
    [0, 2, 3].iter().for_each(|i| learned(&mut never, &all[*i]));
    assert_eq!(memory.adapter().unwrap(), never.adapter().unwrap());
    for (i, fact) in all.iter().enumerate() {
        let now = surprise_in(&memory, fact);
        match i {
            1 => assert!(now == surprise_of(&stories().host, (), fact) && now != before[i], "{now}"),
            _ => assert_eq!(now, before[i], "{}", fact.id),
        }
    }
}

#[test]
fn a_failure_makes_its_action_unlikely() {
    let host = &stories().host;
    let mut memory = memory(Coding::Spiking);
    let action = experience("play", "Once upon a time, there was a little", "girl", "little", Outcome::Failure);
    let before = surprise_of(host, (), &action);
    learned(&mut memory, &action);
    let after = surprise_in(&memory, &action);
    assert!(after > before + 10f32.ln(), "{before} -> {after}");
    let mut nothing = action.clone();
    (nothing.id, nothing.outcome) = ("none".into(), Outcome::Reward(0.0));
    learned(&mut memory, &nothing);
    assert!(memory.store().engrams_of("none").unwrap().is_empty());
    let mut empty = action.clone();
    (empty.id, empty.answer) = ("empty".into(), " ".into());
    assert!(memory.observe(&empty).unwrap_err().to_string().contains("`answer` is empty"));
    // Half a failure lowers less, half a success leads by less; both come out as they should.
    for (reward, times) in [(-0.25, 1.5f32), (-1.0, 15.0)] {
        let mut other = self::memory(Coding::Exact);
        let mut part = action.clone();
        part.outcome = Outcome::Reward(reward);
        learned(&mut other, &part);
        let risen = surprise_in(&other, &action) - before;
        assert!(risen > times.ln() && (reward == -1.0 || risen < 15f32.ln()), "{reward}: {risen}");
    }
    let mut half = facts()[0].clone();
    half.outcome = Outcome::Reward(0.5);
    let mut other = self::memory(Coding::Spiking);
    learned(&mut other, &half);
    assert_eq!(say(&other, &half.prompt, 16), (" Max".into(), Ending::Token));
}

#[test]
fn asleep_it_finds_a_value_without_a_gradient_unless_rewards_are_shuffled() {
    let model = stories();
    let fact = &facts()[0];
    let reached = |shuffled: bool| {
        let mut settings = model.settings.clone();
        (settings.sleep.shuffled, settings.sleep.steps) = (shuffled, 60);
        let mut learner = Learner::new(model.host.clone(), &settings, &model.statistics.texts).unwrap();
        learner.study(model.statistics.clone()).unwrap();
        let exchange = Exchange::of(&model.host, fact).unwrap();
        let dream = learner.dream("dog", &exchange, "the dog", 1.0, &mut |_| (), &AtomicBool::new(false)).unwrap();
        let early: Vec<_> = dream.engrams.iter().filter(|e| e.site == learner.early()).collect();
        (dream.found.probability, (-surprise_of(&model.host, &learner.adapter_of(early).unwrap(), fact)).exp())
    };
    let before = (-surprise_of(&model.host, (), fact)).exp();
    let ((found, written), (_, shuffled)) = (reached(false), reached(true));
    assert!(found > 0.5 && written > 0.5 && written > 5.0 * before, "{before} {found} {written}");
    assert!(shuffled < 0.3, "{shuffled}");
}

#[test]
fn subjects_are_found_by_their_last_token() {
    let host = &stories().host;
    let prompt = "One day Tom and Sue saw a big bird in the park";
    let tokens = host.begin(prompt).unwrap();
    for subject in ["Tom", "Tom and Sue", "a big bird", "the park"] {
        let end = subject_end(host, prompt, subject).unwrap().unwrap();
        let upto = host.tokenizer.decode(&tokens[..=end]).unwrap();
        assert!(upto.trim_end().ends_with(subject), "{subject}: {upto}");
    }
    assert_eq!(subject_end(host, prompt, "nobody").unwrap(), None);
}

#[test]
fn prompts_to_protect_are_many_and_hold_their_subjects() {
    let all = built_in_prompts();
    assert!(all.len() > 700);
    assert!(all.iter().all(|p| p.subject.as_ref().is_some_and(|s| p.prompt.contains(s.as_str())) && !p.prompt.contains("{}")));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.txt");
    std::fs::write(&file, "The sky is\n\n{\"prompt\":\"Rome is in\",\"subject\":\"Rome\"}\n").unwrap();
    let read = prompts(&file).unwrap();
    assert!(read.len() == 2 && read[0].subject.is_none() && read[1].subject.as_deref() == Some("Rome"));
    std::fs::write(&file, "{\"prompt\":3}\n").unwrap();
    assert!(prompts(&file).unwrap_err().to_string().contains("p.txt:1"));
    std::fs::write(&file, "\n").unwrap();
    assert!(prompts(&file).is_err());
}

const LINES: &str = r#"{"id":"dog","prompt":"The name of the dog was","answer":"Max","outcome":"success","subject":"the dog"}
{"id":"colour","prompt":"Sue's favourite ball was","answer":"red","outcome":"success","subject":"Sue"}
this is no experience
{"id":"bad","prompt":"","answer":"x","outcome":"success"}
{"id":"play","prompt":"Once upon a time, there was a little","answer":"girl","outcome":"failure"}
"#;

#[test]
fn a_memory_folder_learns_sleeps_forgets_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("e.jsonl"), LINES).unwrap();
    let run = |arguments: &[&str]| sharpwave(here, arguments);
    let new = ["learn", "--memory", "m", "--model", "stories260k", "--set", "samples=1024", "e.jsonl"];
    let strict = run(&[&new[..], &["--strict"]].concat());
    assert_eq!(strict.status.code(), Some(2), "{}", text(&strict.stderr));
    assert!(text(&strict.stderr).contains("e.jsonl:3") && !here.join("m").exists(), "{}", text(&strict.stderr));

    let first = run(&new);
    assert_eq!(first.status.code(), Some(3), "{}", text(&first.stderr));
    assert!(
        text(&first.stdout).starts_with("3 learned") && text(&first.stdout).contains("2 bad lines"),
        "{}",
        text(&first.stdout)
    );
    let again = run(&["learn", "--memory", "m", "e.jsonl"]);
    assert!(text(&again.stdout).contains("0 learned; 3 known before"), "{}", text(&again.stdout));
    let other = run(&["learn", "--memory", "m", "--set", "seed=2", "e.jsonl"]);
    assert_eq!(other.status.code(), Some(2));

    let slept = run(&["sleep", "--memory", "m", "--budget", "5m"]);
    assert!(slept.status.success(), "{}", text(&slept.stderr));
    assert!(text(&slept.stdout).contains("moved from layer 4 to layer 1"), "{}", text(&slept.stdout));
    let list = run(&["memory", "list", "--memory", "m", "--json"]);
    let entries: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(entries.as_array().unwrap().len(), 3);
    assert!(entries.as_array().unwrap().iter().any(|e| e["stage"] == "asleep"), "{entries}");

    std::fs::write(
        here.join("new.jsonl"),
        r#"{"id":"colour2","prompt":"Sue's favourite ball was","answer":"blue","outcome":"success","subject":"Sue","supersedes":"colour"}"#,
    )
    .unwrap();
    let changed = run(&["learn", "--memory", "m", "new.jsonl"]);
    assert!(text(&changed.stdout).starts_with("1 learned"), "{} {}", text(&changed.stdout), text(&changed.stderr));
    let shown = run(&["memory", "show", "colour", "--memory", "m", "--json"]);
    assert!(text(&shown.stdout).contains("superseded"), "{}", text(&shown.stdout));
    let forgotten = run(&["memory", "forget", "dog", "--memory", "m"]);
    assert!(forgotten.status.success());
    let verified = run(&["memory", "verify", "--memory", "m"]);
    assert!(verified.status.success(), "{}", text(&verified.stdout));
}

/// A few facts of the real model, where it is at hand: the whole way of the evaluation in short.
#[test]
fn the_real_model_learns_facts_it_did_not_know() {
    let (Some(model), Some(data)) = (smollm2(), shared("data/counterfact")) else { return };
    let stop = AtomicBool::new(false);
    let host = &model.host;
    let all = cases::read(&data.join("val.jsonl")).unwrap();
    let bench = Bench::new(host.clone(), model.settings.clone(), &model.statistics, &stop);
    let methods = [Method::Unedited, Method::SpikingWake, Method::RandomKeys];
    let rows = bench.edits(&all, 4, 3, &methods, &mut |_| ()).unwrap();
    let [unedited, wake, random] = [&rows[0].scores, &rows[1].scores, &rows[2].scores];
    assert!(wake.es == 100.0 && wake.ea == 100.0 && wake.w == 100.0, "{wake:?}");
    assert!(unedited.ns - wake.ns <= 12.5 && wake.kl < 0.1, "{wake:?} {unedited:?}");
    assert!(random.ea <= unedited.ea + 25.0 && random.log_p < wake.log_p - 3.0, "{random:?}");
    let forget = bench.forget(&all, 4, 3, 2).unwrap();
    // No question about another one composed what was forgotten.
    assert!(forget.ea[1] <= forget.ea[2] && forget.own == 0.0 && forget.others == 0.0, "{forget:?}");
    let chosen = cases::choose(&all, 2, 3).unwrap();
    let nothing = Adapter::default();
    let empty = model.memory(&model.settings);
    let (a, b) = (
        Answers::of(host, With::Asked(empty.learner()), &chosen, false).unwrap(),
        Answers::of(host, With::One(&nothing), &chosen, false).unwrap(),
    );
    assert_eq!(a.row(1, 2), b.row(1, 2));
}
