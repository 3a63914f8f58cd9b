//! Stories of a memory that once went wrong: corrections, doubles, sleep over a contradiction, another user's experience; what `learn`
//! says to people, programs and shells; and a handful of an agent's experiences on a real model.

use crate::common::{say, sharpwave, smollm2, stories, text};
use serde_json::Value;
use sharpwave::memory::Memory;
use sharpwave::memory::experience::{Experience, Outcome};
use sharpwave::memory::facade::Observed;
use sharpwave::transformer::Ending;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;

const OTHERS: [&str; 3] = ["Once upon a time", "The name of the girl was", "2+2="];

fn success(id: &str, prompt: &str, answer: &str) -> Experience {
    Experience::new(id, prompt, answer, Outcome::Success)
}

fn learned(memory: &mut Memory, experience: &Experience) -> String {
    match memory.observe(experience).unwrap() {
        Observed::Learned(entry) => entry.experience.id,
        other => panic!("{other:?}"),
    }
}

/// The whole answer is said, and then its end.
fn says(memory: &Memory, prompt: &str, answer: &str) {
    let (text, ending) = say(memory, prompt, 64);
    assert!(text.trim() == answer.trim() && ending == Ending::Token, "{prompt} [{text}] {ending:?}, not [{answer}]");
}

fn healthy(memory: &mut Memory) {
    let health = memory.check(&mut |_| (), &AtomicBool::new(false)).unwrap();
    assert!(health.wrong.is_empty() && health.agrees, "{health:?}");
}

/// A corrected fact, of which the outdated version is then deleted.
#[test]
fn a_correction_stays_when_what_it_corrected_is_forgotten() {
    let here = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = sharpwave(here.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let before = OTHERS.map(|prompt| run(&["model", "generate", "--model", "stories260k", "--tokens", "10", prompt]));
    for (i, (prompt, old, new)) in
        [("The cat likes to eat", "fish", "milk"), ("The king was very", "sad", "happy")].into_iter().enumerate()
    {
        let memory = format!("m{i}");
        let line = |id: &str, answer: &str| serde_json::to_string(&success(id, prompt, answer)).unwrap();
        std::fs::write(here.path().join("e.jsonl"), format!("{}\n{}\n", line("old", old), line("new", new))).unwrap();
        run(&["learn", "-q", "--model", "stories260k", "--memory", &memory, "--set", "samples=1024", "e.jsonl"]);
        let generate = |prompt: &str| run(&["model", "generate", "--memory", &memory, "--tokens", "10", prompt]);
        for _ in 0..2 {
            assert_eq!(generate(prompt).trim().strip_prefix(prompt).unwrap_or(&generate(prompt)).trim(), new);
            assert_eq!(OTHERS.map(generate), before);
            // The second time nothing is left of the old answer.
            run(&["memory", "forget", "old", "--memory", &memory]);
            assert!(run(&["memory", "verify", "--memory", &memory]).contains("2 experiences (1 awake, 1 forgotten)"));
        }
    }
}

#[test]
fn of_doubles_each_holds_the_fact_alone() {
    for first in ["a", "b"] {
        let mut memory = stories().memory(&stories().settings);
        for id in ["a", "b"] {
            learned(&mut memory, &success(id, "The dog lived in", "a big box"));
        }
        memory.forget(&[first]).unwrap();
        says(&memory, "The dog lived in", "a big box");
        healthy(&mut memory);
        memory.forget(&["a", "b"]).unwrap();
        assert!(memory.adapter().unwrap().0.terms().next().is_none());
    }
}

#[test]
fn the_last_told_is_answered_however_often_it_changes() {
    let prompt = "The dog lived in";
    let at = |answer: &str, time: Option<&str>| {
        let mut e = success("", prompt, answer);
        e.time = time.map(String::from);
        e.id = e.derived_id();
        e
    };
    let mut memory = stories().memory(&stories().settings);
    for (answer, time) in
        [("a box", "2026-01-01T10:00:00Z"), ("the park", "2026-02-01T10:00:00Z"), ("a box", "2026-03-01T10:00:00Z")]
    {
        learned(&mut memory, &at(answer, Some(time)));
        says(&memory, prompt, answer);
    }
    healthy(&mut memory);
    // An older one that comes late does not speak, and is kept.
    learned(&mut memory, &at("a tree", Some("2025-12-31T23:59:59+02:00")));
    says(&memory, prompt, "a box");

    let mut untimed = stories().memory(&stories().settings);
    let ids: Vec<String> = ["a box", "the park", "a box", "the park", "a box"]
        .iter()
        .map(|answer| {
            let id = learned(&mut untimed, &at(answer, None));
            says(&untimed, prompt, answer);
            id
        })
        .collect();
    assert!(ids[2] == format!("{}-2", ids[0]) && ids[4] == format!("{}-3", ids[0]), "{ids:?}");
    assert!(matches!(untimed.observe(&at("a box", None)).unwrap(), Observed::Before(_)));
    assert_eq!(untimed.history(&ids[0]).unwrap().len(), 5);
    healthy(&mut untimed);
}

/// Both were learned, then sleep came: what another replaced is not replayed, and the folder can be opened.
#[test]
fn sleep_over_a_contradiction_keeps_the_newer_one() {
    let model = stories();
    for (old, new) in [("Tim", "Max"), ("Max", "red, but she said it was blue")] {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = model.memory_in(folder.path(), &model.settings);
        let fact = |id: &str, answer: &str, time: &str| {
            success(id, "The name of the dog was", answer).with_subject("the dog").with_time(time)
        };
        learned(&mut memory, &fact("old", old, "2025-01-01T00:00:00Z"));
        learned(&mut memory, &fact("new", new, "2026-01-01T00:00:00Z"));
        let mut tried = Vec::new();
        memory
            .sleep(None, &AtomicBool::new(false), &mut |_| (), &mut |slept, _| tried.push(slept.entry.experience.id.clone()))
            .unwrap();
        assert!(!tried.is_empty() && tried.iter().all(|id| id == "new"), "{tried:?}");
        drop(memory);
        let mut memory = Memory::open(folder.path(), &model.source, model.host.clone()).unwrap();
        says(&memory, "The name of the dog was", new);
        healthy(&mut memory);
        memory.forget(&["new"]).unwrap();
        says(&memory, "The name of the dog was", old);
        healthy(&mut memory);
    }
}

const GOOD: &str = r#"{"id":"ok1","user":"ada","prompt":"The name of the dog was","answer":"Max","outcome":"success"}"#;
const GOOD_TOO: &str = r#"{"id":"ok2","prompt":"The cat likes to eat","answer":"milk","outcome":"success"}"#;
const OF_NOBODY: &str = r#"{"id":"q","prompt":"The dog was","answer":"blue","outcome":"success","supersedes":"nothere"}"#;
const OF_BEN: &str = r#"{"id":"b","user":"ben","prompt":"The dog was","answer":"blue","outcome":"success"}"#;

/// An answer longer than what weights take.
fn too_long() -> String {
    serde_json::to_string(&success("long", "The list is", &"one two three ".repeat(30))).unwrap()
}

fn learn(here: &Path, lines: &[&str], more: &[&str]) -> (Option<i32>, String, String) {
    std::fs::write(here.join("e.jsonl"), lines.join("\n")).unwrap();
    let output = sharpwave(here, &[&["learn", "-q", "--memory", "m", "e.jsonl"][..], more].concat());
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn learn_tells_shells_and_programs_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let new = ["--model", "stories260k", "--set", "samples=1024", "--json"];
    let json = |out: &str| -> Vec<Value> { out.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    for (arguments, what) in [
        (&[][..], "name the --model"),
        (&["--model", "stories260k", "--set", "nonsense=1"], "no such setting"),
        (&["--model", "stories260k", "--strict"], "e.jsonl:2"),
    ] {
        let (code, _, error) = learn(here, &[GOOD, "{}"], arguments);
        assert!(code == Some(2) && error.contains(what) && !here.join("m").exists(), "{code:?} {error}");
    }

    let (code, out, error) = learn(here, &[GOOD, OF_NOBODY, OF_BEN, GOOD_TOO, &too_long()], &new);
    assert_eq!(code, Some(3), "{error}");
    let told = json(&out);
    let status: Vec<(u64, &str)> = told.iter().filter_map(|t| Some((t["line"].as_u64()?, t["status"].as_str()?))).collect();
    assert_eq!(status, [(1, "learned"), (2, "bad line"), (3, "bad line"), (4, "learned"), (5, "refused")]);
    assert!(told[1]["reason"].as_str().unwrap().contains("nothere") && told[2]["reason"].as_str().unwrap().contains("ben"));
    assert!(told[4]["reason"].as_str().unwrap().contains("64"), "{}", told[4]);
    let sums = &told[5]["sums"];
    let of = |name: &str| sums[name].as_u64().unwrap();
    assert_eq!([of("learned"), of("before"), of("refused"), of("bad")], [2, 0, 1, 2]);
    assert!(told[5]["stopped"] == false && told[5]["memories"][0]["capacity"]["standing"] == 2, "{}", told[5]);

    assert_eq!(learn(here, &[GOOD, GOOD_TOO], &[]).0, Some(0), "known before is in effect");
    let (code, out, error) = learn(here, &[OF_BEN, &too_long()], &[]);
    assert!(code == Some(4) && out.starts_with("0 learned; 0 known before, 1 refused, 1 bad lines"), "{out} {error}");
    assert!(error.contains("line 1 is left out") && error.contains("ben"), "{error}");
    assert_eq!(learn(here, &[GOOD], &["--set", "seed=3"]).0, Some(2));
    assert_eq!(learn(here, &[], &[]).0, Some(0));
}

/// A folder that is being learned into is read meanwhile; Ctrl-C keeps what was learned and says so.
#[cfg(unix)]
#[test]
fn while_it_learns_the_folder_is_read_and_ctrl_c_keeps_what_was_learned() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut learner = Command::new(env!("CARGO_BIN_EXE_sharpwave"))
        .args(["learn", "-q", "--json", "--model", "stories260k", "--set", "samples=1024", "--memory", "m", "-"])
        .current_dir(here)
        .env("XDG_CACHE_HOME", here.join("cache"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = learner.stdin.take().unwrap();
    writeln!(lines, "{GOOD}").unwrap();
    let mut told = BufReader::new(learner.stdout.take().unwrap()).lines();
    assert!(told.next().unwrap().unwrap().contains("\"status\":\"learned\""));

    let list = sharpwave(here, &["memory", "list", "--memory", "m", "--json"]);
    let entries: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert!(list.status.success() && entries[0]["stage"] == "awake", "{}", text(&list.stderr));
    let said = sharpwave(here, &["model", "generate", "--memory", "m", "--tokens", "8", "The name of the dog was"]);
    assert!(said.status.success() && text(&said.stdout).trim().ends_with("Max"), "{} {}", text(&said.stdout), text(&said.stderr));
    let other = sharpwave(here, &["memory", "forget", "ok1", "--memory", "m"]);
    assert!(other.status.code() == Some(2) && text(&other.stderr).contains("in use"), "{}", text(&other.stderr));

    assert!(Command::new("kill").args(["-INT", &learner.id().to_string()]).status().unwrap().success());
    writeln!(lines, "{GOOD_TOO}").unwrap();
    drop(lines);
    let sums: Value = serde_json::from_str(&told.last().unwrap().unwrap()).unwrap();
    assert!(sums["stopped"] == true && sums["sums"]["learned"].as_u64() >= Some(1), "{sums}");
    assert_eq!(learner.wait().unwrap().code(), Some(130));
    assert!(sharpwave(here, &["memory", "verify", "--memory", "m"]).status.success());
}

/// Of an agent's day on the real model, where it is at hand: every answer whole and with its end, all else as before.
#[test]
fn the_real_model_says_what_an_agent_learned_and_nothing_else_changes() {
    let Some(model) = smollm2() else { return };
    let chat = "<|im_start|>user\nWhich train do I take to work?<|im_end|>\n<|im_start|>assistant\n";
    let day = [
        ("ui", "In the app Ledgerly the invoice table is exported through the menu", "Reports > Download > CSV", "Ledgerly"),
        ("wifi", "The Wi-Fi password of the Lisbon office is", "heron-42-violet-kettle", "Lisbon office"),
        ("boss", "The manager of Halden Robotics is", "Priya Venkataraman", "Halden Robotics"),
        ("train", chat, "The 7:42 to Drammen.", "train"),
        ("emoji", "When a build of Tindra passes, the bot reacts with", "🦔🎉", "Tindra"),
    ];
    let mut memory = model.memory(&model.settings);
    let untaught = ["Water boils at", "Once upon a time", "2+2=", "The Wi-Fi password of the hotel is"];
    let before = untaught.map(|prompt| say(&memory, prompt, 8));
    for (id, prompt, answer, subject) in day {
        learned(&mut memory, &success(id, prompt, answer).with_subject(subject));
    }
    day.iter().for_each(|(_, prompt, answer, _)| says(&memory, prompt, answer));
    assert_eq!(untaught.map(|prompt| say(&memory, prompt, 8)), before);
    // A correction of one of them, told in its own words.
    learned(&mut memory, &success("new", day[2].1, "Jonas Keller").with_subject("Halden Robotics"));
    says(&memory, day[2].1, "Jonas Keller");
    memory.forget(&["boss"]).unwrap();
    says(&memory, day[2].1, "Jonas Keller");
}
