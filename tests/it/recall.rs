//! Recall without a language model: what is added is found, completed, replayed and forgotten, in a folder that survives what happens to
//! it; bad input is refused. With the real encoder where it is at hand: vectors against published ones, and a question by its meaning.

use crate::common;
use sharpwave::memory::episodic::{Episodic, With};
use sharpwave::memory::store::episodes::Episodes;
use sharpwave::recall::completion::Rule;
use sharpwave::recall::encoder::{Embedding, Encoder, Tokens};
use sharpwave::recall::episode::{LONGEST, instant};
use sharpwave::recall::hippocampus::Late;
use sharpwave::recall::index::PORTS;
use sharpwave::recall::{Ask, Episode, Filter, read::read, replay};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIARY: &str = "I left my bicycle at the station and walked home in the rain.

Anna gave me her grandmother's recipe for plum cake.

The plumber came; the tap in the kitchen drips no more.

I put the spare key under the blue flower pot behind the shed.

Long call with the bank: the mortgage is through at 3.2 percent.

We hiked to the lake and saw two kingfishers.";

fn diary() -> Vec<Episode> {
    read(DIARY.as_bytes(), "diary.txt", Some("diary")).unwrap()
}

fn first(memory: &mut Episodic, hint: &str) -> String {
    memory.recall(&Ask::new(hint)).unwrap().recalled.first().map(|r| r.episode.text.clone()).unwrap_or_default()
}

/// Vectors of a width, made of the letters of a text: equal texts have equal ones.
pub struct Letters(pub usize, pub &'static str);

impl Encoder for Letters {
    fn name(&self) -> &str {
        self.1
    }
    fn fingerprint(&self) -> &str {
        self.1
    }
    fn width(&self) -> usize {
        self.0
    }
    fn encode(&self, texts: &[&str]) -> sharpwave::Result<Vec<Embedding>> {
        let one = |text: &&str| {
            let mut vector = vec![0.01f32; self.0];
            let mut tokens = Tokens::default();
            for word in text.split_whitespace() {
                let mut own = vec![0.0f32; self.0];
                word.bytes().enumerate().for_each(|(i, b)| own[(usize::from(b) * 7 + i) % self.0] += 1.0);
                vector.iter_mut().zip(&own).for_each(|(sum, x)| *sum += x);
                tokens.push(word.len() as u32, &own);
            }
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|x| *x /= length);
            Embedding { vector, tokens }
        };
        Ok(texts.iter().map(one).collect())
    }
}

#[test]
fn a_diary_is_found_completed_and_forgotten_with_a_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Episodic::open(folder.path(), &With::Own).unwrap();
    assert!(memory.add(diary()).unwrap().iter().all(|(_, new)| *new));
    assert!(memory.add(diary()).unwrap().iter().all(|(_, new)| !new), "what is known is not added again");
    assert!(first(&mut memory, "where is the spare key?").contains("flower pot"));
    assert!(first(&mut memory, "kingfishers").contains("lake"));
    // The answer says why, and whom its neighbours are.
    let ask = Ask { explain: true, ..Ask::new("the bank's mortgage") };
    let answer = memory.recall(&ask).unwrap();
    let why = answer.recalled[0].why.as_ref().unwrap();
    assert!(why.words.iter().any(|(word, _)| word == "mortgage") && why.fires_at == 1.0, "{why:?}");
    assert!(answer.confidence > 0.5 && answer.events > 0);
    let nothing = memory.recall(&Ask::new("quantum chromodynamics")).unwrap();
    assert!(nothing.recalled.is_empty() && nothing.confidence == 0.0);
    for rule in [Rule::Willshaw, Rule::Bcpnn] {
        let restored = memory.network().complete("hiked, kingfishers", rule).unwrap().unwrap();
        assert!(restored.episode.text.contains("lake") && restored.given < 0.8 && restored.restored > 0.99, "{restored:?}");
    }
    // Forgotten, and as if it had never been there: another memory that never met it answers the same.
    let id = memory.recall(&Ask::new("spare key")).unwrap().recalled[0].episode.id.clone();
    let receipts = memory.forget(&[&id]).unwrap();
    let receipt = &receipts[0];
    assert!(receipt.cells == 1 && receipt.links == 2 && receipt.synapses > 10 && receipt.bytes[0] > 50, "{receipt:?}");
    assert_eq!(memory.network().ghosts("I put the spare key under the blue flower pot behind the shed.").unwrap(), 0);
    assert!(!first(&mut memory, "spare key flower pot").contains("key"));
    memory.compact().unwrap();
    drop(memory);
    let bytes = std::fs::read(folder.path().join("recall/recall.redb")).unwrap();
    assert!(!bytes.windows(10).any(|w| w == b"flower pot"), "its text is still in the file");
    let mut memory = Episodic::open(folder.path(), &With::Own).unwrap();
    let mut never = Episodic::in_memory(None).unwrap();
    never.add(diary().into_iter().filter(|e| !e.text.contains("spare key")).collect()).unwrap();
    for hint in ["the tap", "plum cake recipe", "bank percent", "rain"] {
        let ask = Ask::new(hint);
        let [own, other] = [&mut memory, &mut never].map(|m| m.recall(&ask).unwrap());
        let told = |a: &sharpwave::recall::hippocampus::Answer| {
            a.recalled.iter().map(|r| (r.episode.id.clone(), r.score.to_bits())).collect::<Vec<_>>()
        };
        assert_eq!((told(&own), own.confidence), (told(&other), other.confidence), "{hint}");
    }
    assert!(memory.forget(&["nobody"]).unwrap_err().remedy().is_some());
}

#[test]
fn neighbours_in_time_are_reached_through_links() {
    let mut memory = Episodic::in_memory(None).unwrap();
    let day = ["We met at the harbour.", "Then it began.", "Everybody sang until midnight."];
    let note = |text: &str, session: &str| Episode { session: Some(session.into()), ..Episode::of_text(text) };
    memory.add(day.iter().map(|t| note(t, "feast")).chain(diary()).collect()).unwrap();
    let ids: Vec<String> = memory.network().episodes().map(|e| e.id.clone()).collect();
    assert_eq!(memory.network().neighbours(&ids[1]), [Some(ids[0].as_str()), Some(ids[2].as_str())]);
    assert_eq!(memory.network().neighbours(&ids[2]), [Some(ids[1].as_str()), None]);
    // The middle one has no word of the hint, and its neighbour has.
    let ask = Ask { k: 2, explain: true, ..Ask::new("who sang at midnight") };
    let answer = memory.recall(&ask).unwrap();
    assert_eq!(answer.recalled[1].episode.text, day[1]);
    assert_eq!(answer.recalled[1].why.as_ref().unwrap().hop.as_deref(), Some(ids[2].as_str()));
}

#[test]
fn filters_budgets_grades_and_history() {
    let mut memory = Episodic::in_memory(None).unwrap();
    let tried = |id: &str, text: &str, outcome: f64, time: &str, user: &str| Episode {
        id: id.into(),
        outcome: Some(outcome),
        time: Some(time.into()),
        user: Some(user.into()),
        tags: vec![format!("tag {id}")],
        ..Episode::of_text(text)
    };
    let all = vec![
        tried("a", "restarted the server, it hung again", -1.0, "2026-01-10", "ann"),
        tried("b", "restarted the server after the update", 1.0, "2026-02-10", "ann"),
        tried("c", "restarted the server by hand", 0.0, "2026-03-10", "bob"),
        tried("d", "the cat sat on the mat", 1.0, "2026-03-11", "bob"),
    ];
    memory.add(all).unwrap();
    let mut ids = |ask: Ask| memory.recall(&ask).unwrap().recalled.into_iter().map(|r| r.episode.id).collect::<Vec<_>>();
    let ask = || Ask::new("restarted the server");
    let of = |filter: Filter| Ask { filter, ..ask() };
    assert_eq!(ids(Ask { by_outcome: 50.0, k: 1, ..ask() }), ["b"]);
    assert_eq!(ids(Ask { by_outcome: -50.0, k: 1, ..ask() }), ["a"]);
    let mut found = ids(of(Filter { user: Some("ann".into()), ..Filter::default() }));
    found.sort();
    assert_eq!(found, ["a", "b"]);
    assert_eq!(ids(of(Filter { tags: vec!["tag c".into()], ..Filter::default() })), ["c"]);
    let since = Filter { since: instant("2026-02-01"), until: instant("2026-03-01"), ..Filter::default() };
    assert_eq!(ids(of(since)), ["b"]);
    assert!(ids(of(Filter { user: Some("eve".into()), ..Filter::default() })).is_empty());
    assert_eq!(ids(Ask { max_tokens: 20, ..ask() }).len(), 1);
    assert!(ids(Ask { max_tokens: 3, ..ask() }).is_empty() && ids(Ask { k: 0, ..ask() }).is_empty());
    // What takes another's place; what no longer holds; what is forgotten gives the place back.
    let newer = Episode { id: "e".into(), supersedes: Some("c".into()), ..Episode::of_text("restarted the server by itself") };
    memory.add(vec![newer]).unwrap();
    let has = |memory: &mut Episodic, id: &str, history: bool| {
        let ask = Ask { filter: Filter { history, ..Filter::default() }, ..ask() };
        memory.recall(&ask).unwrap().recalled.iter().any(|r| r.episode.id == id)
    };
    assert!(!has(&mut memory, "c", false) && has(&mut memory, "c", true) && has(&mut memory, "e", false));
    memory.forget(&["e"]).unwrap();
    assert!(has(&mut memory, "c", false));
    memory.amend(&["a"], |e| e.until = Some("2026-01-11".into())).unwrap();
    assert!(!has(&mut memory, "a", false) && has(&mut memory, "a", true));
    assert!(memory.amend(&["a"], |e| e.until = Some("soon".into())).is_err());
}

#[test]
fn spikes_are_the_exact_scan_of_the_same_codes() {
    let mut memory = Episodic::in_memory(Some(Arc::new(Letters(48, "letters")))).unwrap();
    memory.add(diary()).unwrap();
    let many =
        |i: usize| Episode { session: Some(format!("s{}", i / 7)), ..Episode::of_text(format!("note {i} on topic{}", i % 13)) };
    memory.add((0..200).map(many).collect()).unwrap();
    memory.network_mut().settle();
    assert!(memory.network().whitening().version >= 1, "two hundred vectors make a whitening");
    for hint in ["topic5 note", "the spare key", "recipe for plum cake"] {
        let (drive, scan) = (memory.network().drive(hint).unwrap(), memory.network().scan(hint).unwrap());
        for port in 0..PORTS {
            let most = scan[port].iter().fold(0.0f32, |m, x| m.max(*x));
            assert!(most > 0.0, "nothing arrives at port {port}");
            for (a, b) in drive.ports[port].iter().zip(&scan[port]) {
                assert!((a - b).abs() < 0.03 * most, "port {port}: {a} {b}");
            }
        }
    }
    // Late interaction has a say.
    let tokens = memory.tokens().unwrap();
    let ask = Ask { explain: true, ..Ask::new("the spare key") };
    let part = |late: Late| memory.asked(&tokens, &ask, late).unwrap().recalled[0].why.as_ref().unwrap().parts[4];
    assert!(part(Late::On) > 0.5 && part(Late::Off) == 0.0);
}

#[test]
fn a_folder_outlives_processes_writers_and_encoders() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("me");
    let letters = |width: usize, name: &'static str| Arc::new(Letters(width, name)) as Arc<dyn Encoder>;
    assert!(Episodic::read(&path, &With::Own).err().unwrap().to_string().contains("no memory folder"));
    {
        let mut memory = Episodic::open_with(&path, letters(48, "letters")).unwrap();
        memory.add(diary()).unwrap();
        // A second writer is refused; a reader goes on.
        assert!(Episodic::open(&path, &With::Words).err().unwrap().to_string().contains("in use"));
        let mut reader = Episodic::read(&path, &With::Words).unwrap();
        assert!(first(&mut reader, "spare key").contains("flower pot"));
        assert!(reader.add(vec![Episode::of_text("x")]).is_err());
    }
    // The same again, with the same scores.
    let mut memory = Episodic::open_with(&path, letters(48, "letters")).unwrap();
    assert!(memory.network().len() == 6 && !memory.network().lacks_vectors());
    let before = memory.recall(&Ask::new("plum cake")).unwrap().recalled[0].score;
    drop(memory);
    let mut memory = Episodic::open_with(&path, letters(48, "letters")).unwrap();
    assert_eq!(memory.recall(&Ask::new("plum cake")).unwrap().recalled[0].score, before);
    drop(memory);
    let refused = Episodic::open_with(&path, letters(32, "others")).err().unwrap();
    assert!(refused.to_string().contains("32") && refused.remedy().unwrap().contains("recode"), "{refused}");
    // Its encoder cannot be found by name: words go on, and all is coded anew on demand.
    let mut memory = Episodic::open(&path, &With::Own).unwrap();
    assert!(memory.without().is_some() && first(&mut memory, "spare key").contains("flower pot"));
    memory.recode(&With::Words, &mut |_, _| std::ops::ControlFlow::Continue(())).unwrap();
    assert_eq!((memory.size().encoder.width, memory.size().experiences), (0, 6));
    drop(memory);
    // Words came first, the encoder later.
    let memory = Episodic::open_with(&path, letters(32, "others")).unwrap();
    assert!(memory.network().len() == 6 && !memory.network().lacks_vectors());
    drop(memory);
    // A damaged file is said to be one.
    let file = path.join("recall/recall.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.truncate(bytes.len() / 3);
    std::fs::write(&file, bytes).unwrap();
    assert!(Episodes::open(&path).is_err());
}

#[test]
fn bad_and_odd_texts() {
    let mut memory = Episodic::in_memory(None).unwrap();
    assert!(memory.recall(&Ask::new("anything")).unwrap().recalled.is_empty(), "an empty memory knows nothing");
    assert!(memory.network().complete("anything", Rule::Willshaw).unwrap().is_none());
    let rest = replay::rest(memory.network(), 3, 1, instant("2026-01-01").unwrap(), &mut |_| ControlFlow::Continue(()));
    assert!(rest.unwrap().sequences.is_empty());
    for wrong in ["", " \n\t", "a\0b"] {
        assert!(memory.add(vec![Episode::of_text(wrong)]).unwrap_err().remedy().is_some());
    }
    let long = memory.add(vec![Episode::of_text("word ".repeat(LONGEST / 2))]).unwrap_err();
    assert!(long.to_string().contains("bytes") && memory.network().is_empty());
    // Ten megabytes of notes are many notes, and of one word without an end a refusal.
    let notes: String = (0..2000).map(|i| format!("{} number{i}\n\n", "filler ".repeat(700))).collect();
    assert!(notes.len() > 9_000_000 && read(notes.as_bytes(), "f", None).unwrap().len() == 2000);
    assert!(read(&vec![b'x'; 10_000_000], "f", None).is_err());
    assert!(read(&[0xff, 0xfe, 0x00, 0x41], "picture.png", None).unwrap_err().to_string().contains("picture.png:1"));
    // A text of many pieces is one experience, found by its end.
    let tail = format!("{} and at last the zeppelin landed", "nothing happened today ".repeat(3000));
    let odd = ["日本の首都は東京です", "🦔🎉", "Größe e\u{301}", "مرحبا بالعالم"];
    memory.add(odd.iter().map(|t| Episode::of_text(*t)).chain([Episode::of_text(&tail)]).collect()).unwrap();
    assert!(memory.network().index().alive() > 60);
    let found = memory.recall(&Ask::new("zeppelin")).unwrap().recalled;
    assert!(found[0].episode.text == tail && found.iter().filter(|r| r.episode.text == tail).count() == 1);
    assert_eq!(first(&mut memory, "東京"), odd[0]);
    assert_eq!(first(&mut memory, "größe"), odd[2]);
    // The same id for something else, and twice in one batch.
    let named = |text: &str| Episode { id: "n".into(), ..Episode::of_text(text) };
    assert!(memory.add(vec![named("one"), named("two")]).is_err());
    assert_eq!(memory.add(vec![named("one"), named("one")]).unwrap().iter().filter(|(_, new)| *new).count(), 1);
    assert!(memory.add(vec![named("two")]).unwrap_err().to_string().contains("another experience's"));
    assert!(memory.add(vec![Episode { supersedes: Some("z".into()), ..Episode::of_text("y") }]).is_err());
}

#[test]
fn what_a_model_learned_is_recalled_too() {
    use sharpwave::memory::experience::{Experience, Outcome};
    use sharpwave::memory::journal::{Entry, Stage};
    let mut memory = Episodic::in_memory(None).unwrap();
    let entry = |id: &str, stage: Stage| {
        let experience = Experience::new(id, "The name of the dog is", "Max", Outcome::Success);
        Entry { stage, ..Entry::new(experience) }
    };
    memory.learned(&[entry("a", Stage::Awake), entry("b", Stage::Superseded { by: "a".into() })]).unwrap();
    let found = memory.recall(&Ask::new("how is the dog called")).unwrap().recalled;
    assert!(found.len() == 1 && found[0].episode.id == "a" && found[0].episode.text.contains("Max"));
    memory.learned(&[entry("a", Stage::Forgotten), entry("b", Stage::Awake)]).unwrap();
    let found = memory.recall(&Ask::new("how is the dog called")).unwrap().recalled;
    assert!(found.len() == 1 && found[0].episode.id == "b");
}

fn minilm() -> Option<PathBuf> {
    let folder = common::shared("models/all-MiniLM-L6-v2-Q8_0")?;
    folder.join("reference.json").is_file().then_some(folder)
}

/// Against the float32 original: the same tokens, and vectors as far as eight bits a weight go.
#[test]
fn vectors_of_the_real_encoder_are_the_published_ones() {
    let Some(folder) = minilm() else { return };
    let encoder = sharpwave::transformer::bert::Bert::open(folder.to_str().unwrap()).unwrap();
    let reference: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("reference.json")).unwrap()).unwrap();
    let cases = reference["cases"].as_array().unwrap();
    let texts: Vec<&str> = cases.iter().map(|c| c["text"].as_str().unwrap()).collect();
    let embedded = encoder.encode_texts(&texts);
    for (case, embedding) in cases.iter().zip(embedded) {
        let ids: Vec<u32> = case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(encoder.pieces(case["text"].as_str().unwrap()).unwrap()[0].ids, ids);
        assert_eq!(embedding.tokens.len(), ids.len() - 2);
        for (x, exact) in embedding.vector.iter().zip(case["first8"].as_array().unwrap()) {
            let exact = exact.as_f64().unwrap() as f32;
            assert!((x - exact).abs() < 0.006, "{x} {exact}");
        }
    }
    // What is encoded beside it does not matter; a long text has pieces that overlap.
    let alone = encoder.encode_texts(&texts[..1]);
    assert!(alone[0].vector.iter().zip(&encoder.encode_texts(&texts)[0].vector).all(|(a, b)| (a - b).abs() < 1e-5));
    let pieces = encoder.pieces(&"river ".repeat(600)).unwrap();
    assert!(pieces.len() == 3 && pieces.iter().all(|p| p.ids.len() <= 256 && p.ids[0] == 101));
    let mut memory = Episodic::in_memory(Some(Arc::new(encoder))).unwrap();
    memory.add(diary()).unwrap();
    assert!(first(&mut memory, "which birds did we watch?").contains("kingfishers"));
}

trait Texts {
    fn encode_texts(&self, texts: &[&str]) -> Vec<Embedding>;
}

impl Texts for sharpwave::transformer::bert::Bert {
    fn encode_texts(&self, texts: &[&str]) -> Vec<Embedding> {
        Encoder::encode(self, texts).unwrap()
    }
}

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_sharpwave")).args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code().unwrap_or(-1), text(&done.stdout), text(&done.stderr))
}

/// The demo of the README.
#[test]
fn a_diary_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("diary.txt"), DIARY).unwrap();
    let (code, out, err) = run(path, &["memory", "add", "--memory", "me", "diary.txt"]);
    assert!(code == 0 && out.contains("6 added"), "{out}{err}");
    let (_, out, _) = run(path, &["memory", "add", "--memory", "me", "diary.txt", "--json"]);
    assert!(out.contains("\"known\": 6"), "{out}");
    let (code, out, _) = run(path, &["recall", "--memory", "me", "where did I put the spare key", "-k", "1", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    let id = answer["recalled"][0]["episode"]["id"].as_str().unwrap().to_string();
    assert!(code == 0 && answer["recalled"][0]["episode"]["text"].as_str().unwrap().contains("flower pot"));
    assert_eq!(run(path, &["recall", "--memory", "me", "quantum chromodynamics"]).0, 1);
    let (code, out, _) = run(path, &["memory", "complete", "--memory", "me", "plum cake"]);
    assert!(code == 0 && out.contains("grandmother"), "{out}");
    let (code, out, _) = run(path, &["memory", "replay", "--memory", "me", "--ripples", "20"]);
    assert!(code == 0 && out.contains("Spearman"), "{out}");
    let (code, out, _) = run(path, &["memory", "keep", &id, "--pin", "--memory", "me"]);
    assert!(code == 0 && out.contains("pinned"), "{out}");
    let (code, out, err) = run(path, &["memory", "forget", &id, "--memory", "me"]);
    assert!(code == 0 && out.contains("1 index cells") && out.contains(": 0 cells of what is gone fire"), "{out}{err}");
    assert_eq!(run(path, &["memory", "forget", &id, "--memory", "me"]).0, 2);
    let (_, out, _) = run(path, &["memory", "stats", "--memory", "me"]);
    assert!(out.starts_with("5 experiences"), "{out}");
    let (code, _, err) = run(path, &["recall", "--memory", "nowhere", "x"]);
    assert!(code == 2 && err.contains("memory add"), "{err}");
}

/// Killed wherever it is, adding goes on from the last commit, and nothing that was said to be added is lost.
#[test]
fn a_killed_process_loses_the_call_in_flight_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let notes: Vec<String> = (0..3000)
        .map(|i| format!("{{\"id\": \"n{i}\", \"text\": \"note {i} about topic{}\", \"session\": \"s\"}}", i % 50))
        .collect();
    std::fs::write(folder.path().join("notes.jsonl"), notes.join("\n")).unwrap();
    let mut had = 0;
    for ms in [30, 60, 90, 120, 150] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_sharpwave"))
            .args(["memory", "add", "--memory", "me", "notes.jsonl"])
            .current_dir(folder.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(ms));
        let _ = child.kill();
        child.wait().unwrap();
        if folder.path().join("me/recall/recall.redb").is_file() {
            let memory = Episodic::open(&folder.path().join("me"), &With::Own).unwrap();
            let has = memory.network().len();
            // Whole commits, in their order, and never fewer than before.
            assert!(has >= had && (has == 3000 || has % 256 == 0), "{has} after {had}");
            assert!(memory.network().episodes().enumerate().all(|(i, e)| e.id == format!("n{i}")));
            had = has;
        }
    }
    let (code, out, err) = run(folder.path(), &["memory", "add", "--memory", "me", "notes.jsonl"]);
    assert!(code == 0 && out.contains("the memory has 3000"), "{out}{err}");
    let mut memory = Episodic::open(&folder.path().join("me"), &With::Own).unwrap();
    assert_eq!(memory.recall(&Ask::new("note 1234")).unwrap().recalled[0].episode.id, "n1234");
}
