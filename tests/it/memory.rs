//! The memory folder as a user and a learning program meet it: the command line, a second process, a writer that is killed, a
//! full disk, and what forgetting leaves in the file.

use sharpwave::bridge::hooks::{Linear, Site};
use sharpwave::memory::Engram;
use sharpwave::memory::entry::{Change, Entry, Stage};
use sharpwave::memory::experience::{Experience, Outcome};
use sharpwave::memory::lines::Lines;
use sharpwave::memory::store::{Meta, Store, VERSION, verify};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn meta() -> Meta {
    Meta {
        version: VERSION,
        model: "stories260k".into(),
        fingerprint: "f00d".into(),
        architecture: "llama".into(),
        layers: 5,
        width: 64,
        feed_forward: 172,
        created: "2026-03-09T17:05:00Z".into(),
        settings: serde_json::Value::Null,
    }
}

/// An experience with a text that occurs nowhere else, and an engram.
fn learned(id: &str, text: &str) -> Change {
    let experience = Experience {
        user: Some("ada".into()),
        subject: Some(text.into()),
        time: Some("2026-03-09T17:05:00Z".into()),
        tags: vec!["secret".into(), id.into()],
        ..Experience::new(id, &format!("The password of {text} is"), &format!(" open {text}"), Outcome::Success)
    };
    let entry = Entry { stage: Stage::Awake, surprise: 4.25, note: Some(format!("about {text}")), ..Entry::new(experience) };
    let numbers = |n: usize| (0..n).map(|i| (i as f32 + text.len() as f32).cos()).collect();
    let site = Site { layer: 2, linear: Linear::Down };
    let engram = Engram {
        experience: id.into(),
        site,
        key: numbers(172),
        trace: vec![],
        value: numbers(64),
        adds: false,
        guards: numbers(344),
    };
    Change { entries: vec![entry], write: vec![engram], erase: vec![] }
}

fn sharpwave(arguments: &[&str], memory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sharpwave"));
    command.arg("memory").args(arguments).arg("--memory").arg(memory).env("NO_COLOR", "1").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs and expects success.
fn done(arguments: &[&str], memory: &Path) -> String {
    let output = sharpwave(arguments, memory);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs and expects a refusal with this exit code; returns message and remedy on one line.
fn refused(arguments: &[&str], memory: &Path, code: i32) -> String {
    let output = sharpwave(arguments, memory);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A memory of three experiences: written, refused, and superseded by the first.
fn example() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path(), &meta()).unwrap();
    store.commit(&learned("aladdin", "the cave of wonders")).unwrap();
    let mut refused = learned("ali", "the hidden treasure");
    refused.entries[0].stage = Stage::Refused { reason: "the layer is full".into() };
    refused.write.clear();
    store.commit(&refused).unwrap();
    let mut old = learned("sinbad", "the island that swims");
    old.entries[0].stage = Stage::Superseded { by: "aladdin".into() };
    old.write.clear();
    store.commit(&old).unwrap();
    (folder, store)
}

#[test]
fn the_command_line_lists_and_shows() {
    let (folder, store) = example();
    drop(store);
    let at = folder.path();
    let list = done(&["list"], at);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 4, "{list}");
    assert_eq!(
        lines[1],
        "aladdin  awake       success      4.25  The password of the cave of wonders is → open the cave of wonders"
    );
    assert!(lines.iter().all(|line| line.chars().count() <= 120), "{list}");
    assert!(done(&["list", "--stage", "refused"], at).lines().nth(1).unwrap().starts_with("ali "));
    assert!(done(&["list", "--tag", "sinbad"], at).lines().nth(1).unwrap().starts_with("sinbad "));
    assert_eq!(done(&["list", "--tag", "none"], at).lines().count(), 1);
    let json: serde_json::Value = serde_json::from_str(&done(&["list", "--json"], at)).unwrap();
    assert_eq!(json[2]["stage"]["superseded"]["by"], "aladdin");
    assert_eq!(json[1]["experience"]["prompt"], "The password of the hidden treasure is");

    let show = done(&["show", "aladdin"], at);
    for part in ["awake", "2026-03-09T17:05:00Z", "secret, aladdin", "ada", "4.250 nats", "open the cave", "about the cave"] {
        assert!(show.contains(part), "{part} is not in\n{show}");
    }
    assert!(show.contains("layers.2.down_proj: 172 inputs, 64 outputs, 2 guards, length "), "{show}");
    assert!(done(&["show", "ali"], at).contains("refused: the layer is full"));
    let json: serde_json::Value = serde_json::from_str(&done(&["show", "aladdin", "--json"], at)).unwrap();
    assert_eq!((&json["entry"]["arrived"], &json["engrams"][0]["inputs"]), (&0.into(), &172.into()));
    let error = refused(&["show", "aladin"], at, 2);
    assert!(error.contains("no experience \"aladin\"") && error.contains("did you mean \"aladdin\"?"), "{error}");
}

#[test]
fn forgetting_leaves_no_trace_of_the_text_in_the_compacted_file() {
    let (folder, store) = example();
    let at = folder.path();
    for i in 0..50 {
        store.commit(&learned(&format!("n{i}"), &format!("room {i}"))).unwrap();
    }
    drop(store);
    let file = at.join("memory.redb");
    let holds = |what: &str| {
        let bytes = std::fs::read(&file).unwrap();
        bytes.windows(what.len()).any(|window| window == what.as_bytes())
    };
    assert!(holds("cave of wonders"));
    let output = sharpwave(&["forget", "aladdin", "ali"], at);
    assert_eq!(
        text(&output.stdout),
        "aladdin: its text, and what it had left at layers.2.down_proj\nali: its text; it had left nothing in the model\n"
    );
    assert!(text(&output.stderr).contains("sharpwave memory compact"), "{}", text(&output.stderr));
    let error = refused(&["forget", "sinbad", "simbad"], at, 2);
    assert!(error.contains("did you mean \"sinbad\"?"), "{error}");
    assert!(done(&["show", "sinbad"], at).contains("island that swims"), "all or none");
    let shown = done(&["show", "aladdin"], at);
    assert!(!shown.contains("wonders") && shown.contains("forgotten") && shown.contains("secret, aladdin"), "{shown}");

    let before = std::fs::metadata(&file).unwrap().len();
    let said = done(&["compact"], at);
    let after = std::fs::metadata(&file).unwrap().len();
    assert!(said.starts_with(&format!("{before} bytes before, ")), "{said}");
    assert!(after < before, "{before} to {after}");
    assert!(!holds("wonders") && !holds("treasure"));
    assert!(holds("island that swims") && holds("room 49"));
    assert_eq!(verify(at).unwrap().damage, Vec::<String>::new());
    let store = Store::open(at).unwrap();
    assert_eq!((store.entries().unwrap().len(), store.engrams().unwrap().len()), (53, 50));
    assert_eq!(store.find("n7").unwrap().arrived, 10);
}

#[test]
fn a_store_goes_on_after_it_was_compacted() {
    let (folder, mut store) = example();
    store.put_statistics(Site { layer: 1, linear: Linear::Down }, "moment", &[0.5; 300_000]).unwrap();
    store.compact().unwrap();
    store.commit(&learned("next", "the magic carpet")).unwrap();
    assert!(refused(&["list"], folder.path(), 2).contains("in use by another process"));
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.entries().unwrap().len(), 4);
    assert_eq!(store.statistics(Site { layer: 1, linear: Linear::Down }, "moment").unwrap().unwrap(), [0.5; 300_000]);
}

#[test]
fn a_second_process_is_refused() {
    let (folder, store) = example();
    for arguments in [&["list"][..], &["show", "ali"], &["forget", "ali"], &["verify"], &["compact"]] {
        let error = refused(arguments, folder.path(), 2);
        assert!(error.contains("is in use by another process"), "{error}");
        assert!(error.contains("wait until that process has ended"), "{error}");
    }
    assert!(Store::open(folder.path()).is_err(), "nor twice in one process");
    drop(store);
    done(&["list"], folder.path());
}

#[test]
fn a_folder_that_is_no_memory_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let error = refused(&["list"], &at.join("nowhere"), 2);
    assert!(error.contains("there is no memory folder") && error.contains("check the name"), "{error}");
    assert!(!at.join("nowhere").exists());
    std::fs::write(at.join("thesis.tex"), "\\documentclass").unwrap();
    for command in ["list", "verify", "compact"] {
        let error = refused(&[command], at, 2);
        assert!(error.contains("is not a memory folder: it has no memory.redb"), "{error}");
    }
    let error = Store::create(at, &meta()).err().unwrap();
    assert!(error.to_string().contains("holds other files, such as thesis.tex"), "{error}");
    let error = Store::create(at.join("thesis.tex"), &meta()).err().unwrap();
    assert!(error.to_string().contains("is a file, not a folder"), "{error}");
    assert_eq!(std::fs::read_dir(at).unwrap().count(), 1, "something was written");

    std::fs::write(at.join("memory.redb"), "not a database at all").unwrap();
    let error = refused(&["list"], at, 1);
    assert!(error.contains("the memory is damaged") && error.contains("restore the folder from a copy"), "{error}");
    let output = sharpwave(&["verify"], at);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("damaged: ") && text(&output.stderr).contains("restore the folder"));
}

#[test]
fn an_interrupted_creation_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("memory.redb.new"), "half of it").unwrap();
    let error = refused(&["list"], at, 2);
    assert!(error.contains("was not made to its end") && error.contains("make it again"), "{error}");
    drop(Store::create(at, &meta()).unwrap());
    let error = Store::create(at, &meta()).err().unwrap();
    assert!(error.to_string().contains("holds a memory already"), "{error}");
    assert_eq!(*Store::open_or_create(at, &meta()).unwrap().meta(), meta());
    assert!(!at.join("memory.redb.new").exists());
}

#[test]
fn verify_names_a_damaged_engram() {
    let (folder, store) = example();
    drop(store);
    let at = folder.path();
    assert!(done(&["verify"], at).contains("3 experiences (1 awake, 1 refused, 1 superseded), 1 engrams, 0 statistics"));
    let file = at.join("memory.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    let number = ("the cave of wonders".len() as f32 + 9.0).cos().to_le_bytes();
    let places: Vec<usize> = (0..bytes.len() - 4).filter(|i| bytes[*i..*i + 4] == number).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|i| bytes[*i] ^= 1);
    std::fs::write(&file, bytes).unwrap();
    let output = sharpwave(&["verify"], at);
    assert_eq!(output.status.code(), Some(1));
    for part in ["pages of the file do not agree with their checksums", "damaged: engram 0: its checksum does not agree"] {
        assert!(text(&output.stdout).contains(part), "{}", text(&output.stdout));
    }
    assert!(text(&output.stderr).contains("restore the folder from a copy"), "{}", text(&output.stderr));
    let output = sharpwave(&["verify", "--json"], at);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!json["damage"].as_array().unwrap().is_empty());
    assert_eq!(output.status.code(), Some(1));
}

const WRITER: &str = "SHARPWAVE_TEST_WRITER";

/// Not a test by itself: the process that the next one kills. Says each number once its experience is committed.
#[test]
fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(WRITER) else { return };
    let store = Store::open(folder).unwrap();
    let first = store.entries().unwrap().len();
    for i in first.. {
        store.commit(&learned(&i.to_string(), &format!("gate {i}"))).unwrap();
        let _ = writeln!(std::io::stdout(), "committed {i}");
    }
}

#[test]
fn a_killed_writer_loses_at_most_what_it_was_writing() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::create(folder.path(), &meta()).unwrap());
    let writer = concat!(module_path!(), "::writes_until_it_is_killed").split_once("::").unwrap().1;
    let mut count = 0;
    for round in 0..10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([writer, "--exact", "--nocapture", "--test-threads=1"])
            .env(WRITER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut told =
            lines.by_ref().find_map(|l| l.rsplit_once("committed ").map(|(_, i)| i.parse::<usize>().unwrap())).unwrap();
        std::thread::sleep(Duration::from_micros(7_000 + 5_300 * round));
        child.kill().unwrap();
        told = lines.filter_map(|l| l.rsplit_once("committed ").and_then(|(_, i)| i.parse().ok())).last().unwrap_or(told);
        child.wait().unwrap();
        assert_eq!(verify(folder.path()).unwrap().damage, Vec::<String>::new());
        let store = Store::open(folder.path()).unwrap();
        let entries = store.entries().unwrap();
        assert!((told + 1..=told + 2).contains(&entries.len()), "{} entries after {told} was told", entries.len());
        assert!(entries.len() > count);
        count = entries.len();
        assert_eq!(store.engrams().unwrap().len(), count);
        assert_eq!(entries.iter().map(|e| e.arrived).collect::<Vec<_>>(), (0..count as u64).collect::<Vec<_>>());
        assert!(entries.iter().enumerate().all(|(i, e)| e.experience.answer == format!(" open gate {i}")));
    }
}

/// A limit on the size of files stands for a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let (folder, store) = example();
    for i in 0..200 {
        store.commit(&learned(&format!("n{i}"), &format!("room {i}"))).unwrap();
    }
    let entries = store.entries().unwrap();
    drop(store);
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" memory compact --memory \"$1\"";
    let binary = env!("CARGO_BIN_EXE_sharpwave");
    let output = Command::new("sh").args(["-c", script, binary]).arg(folder.path()).env("NO_COLOR", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let error = text(&output.stderr);
    assert!(error.contains("too large") && error.contains("make room on the disk"), "{error}");
    assert!(!folder.path().join("memory.redb.new").exists());
    assert_eq!(verify(folder.path()).unwrap().damage, Vec::<String>::new());
    assert_eq!(Store::open(folder.path()).unwrap().entries().unwrap(), entries);
}

#[cfg(unix)]
#[test]
fn a_folder_without_the_right_to_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, store) = example();
    drop(store);
    for name in ["lock", "memory.redb"] {
        std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(0o444)).unwrap();
    }
    if std::fs::OpenOptions::new().write(true).open(folder.path().join("lock")).is_ok() {
        let _ = writeln!(std::io::stderr(), "skipped: this user may write everywhere");
        return;
    }
    let error = refused(&["list"], folder.path(), 1);
    assert!(error.contains("ermission denied") && error.contains("the right to write in the memory folder"), "{error}");
}

#[test]
fn experiences_go_from_lines_into_a_memory_and_out_again() {
    let file = "{\"prompt\":\"The capital of France is\",\"answer\":\" Paris\",\"outcome\":\"success\",\"subject\":[15,21]}\r\n\
                nonsense\n{\"id\":\"x\",\"prompt\":\"2 + 2 =\",\"answer\":\" 5\",\"outcome\":-0.1}";
    let (good, bad): (Vec<_>, Vec<_>) = Lines::new(file.as_bytes(), "day.jsonl").partition(|(_, line)| line.is_ok());
    assert_eq!(bad.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2]);
    let experiences: Vec<Experience> = good.into_iter().map(|(_, line)| line.unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path(), &meta()).unwrap();
    store.commit(&Change { entries: experiences.iter().cloned().map(Entry::new).collect(), ..Change::default() }).unwrap();
    let kept: Vec<Experience> = store.entries().unwrap().into_iter().map(|e| e.experience).collect();
    assert_eq!(kept, experiences);
    let lines: Vec<String> = kept.iter().map(|e| serde_json::to_string(e).unwrap()).collect();
    let again: Vec<Experience> = Lines::new(lines.join("\n").as_bytes(), "again").map(|(_, line)| line.unwrap()).collect();
    assert_eq!(again, experiences);
}
