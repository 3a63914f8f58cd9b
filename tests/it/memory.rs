//! The memory folder as a user and a learning program meet it: the command line, readers beside a writer, a writer that is
//! killed, a full disk, a folder of version 1, and what forgetting leaves in the file.

use sharpwave::memory::Engram;
use sharpwave::memory::experience::{Experience, Outcome};
use sharpwave::memory::journal::{Change, Entry, Stage};
use sharpwave::memory::jsonl::Lines;
use sharpwave::memory::store::{Meta, Store, VERSION, verify};
use sharpwave::transformer::site::{Linear, Site};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
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
        user: None,
        settings: serde_json::Value::Null,
    }
}

/// An experience with a text that occurs nowhere else, and an engram.
fn learned(id: &str, text: &str) -> Change {
    let experience = Experience::new(id, &format!("The password of {text} is"), &format!(" open {text}"), Outcome::Success)
        .with_user("ada")
        .with_subject(text)
        .with_time("2026-03-09T17:05:00Z")
        .with_tags(["secret", id]);
    let entry = Entry { stage: Stage::Awake, surprise: 4.25, note: Some(format!("about {text}")), ..Entry::new(experience) };
    let numbers = |n: usize| (0..n).map(|i| (i as f32 + text.len() as f32).cos()).collect();
    let site = Site { layer: 2, linear: Linear::Down };
    let engram = Engram {
        experience: id.into(),
        site,
        place: 7,
        key: numbers(172),
        trace: numbers(172),
        factor: numbers(172),
        value: numbers(64),
        ridge: 0.5,
    };
    Change { entries: vec![entry], write: vec![engram], ..Change::default() }
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
    assert!(show.contains("layers.2.down_proj: 172 inputs, 64 outputs, length "), "{show}");
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
    assert_eq!(done(&["list"], folder.path()).lines().count(), 5, "a reader sees the file that has the name now");
    assert!(refused(&["forget", "next"], folder.path(), 2).contains("in use by another process"));
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.entries().unwrap().len(), 4);
    assert_eq!(store.statistics(Site { layer: 1, linear: Linear::Down }, "moment").unwrap().unwrap(), [0.5; 300_000]);
}

#[test]
fn a_second_process_may_read_but_not_write() {
    let (folder, store) = example();
    let at = folder.path();
    for arguments in [&["forget", "ali"][..], &["compact"], &["supersede", "ali", "--answer", " sesame"]] {
        let error = refused(arguments, at, 2);
        assert!(error.contains("is in use by another process"), "{error}");
        assert!(error.contains("wait until that process has ended") && error.contains("`verify` work meanwhile"), "{error}");
    }
    assert!(Store::open(at).is_err(), "nor twice in one process");
    for arguments in [&["list"][..], &["show", "aladdin"], &["verify"], &["journal"]] {
        done(arguments, at);
    }
    let before = Store::read(at).unwrap();
    store.commit(&learned("next", "the magic carpet")).unwrap();
    assert!(done(&["show", "next"], at).contains("magic carpet"), "the last commit");
    assert!(before.entry("next").unwrap().is_none(), "as it was when it was opened");
    let refusals = [
        before.commit(&learned("x", "x")).unwrap_err(),
        before.forget(&["ali"], &Change::default()).unwrap_err(),
        before.put_statistics(Site { layer: 1, linear: Linear::Down }, "moment", &[1.0]).unwrap_err(),
    ];
    assert!(refusals.iter().all(|e| e.to_string().contains("open for reading only") && e.exit_code() == 2));
    drop(store);
    assert_eq!(Store::read(at).unwrap().entries().unwrap(), Store::open(at).unwrap().entries().unwrap());
    assert!(done(&["forget", "next"], at).contains("next: its text"));
}

/// Whatever a reader catches is whole, and no older than what it caught before.
#[test]
fn readers_beside_a_writer_see_only_whole_states() {
    const COMMITS: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut store = Store::create(at, &meta()).unwrap();
    let ended = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let reader = |_| {
            scope.spawn(|| {
                let (mut seen, mut rounds, mut last) = (0, 0, false);
                while !last {
                    last = ended.load(Ordering::Acquire);
                    let store = Store::read(at).unwrap();
                    let (entries, engrams) = (store.entries().unwrap(), store.engrams().unwrap());
                    assert!(entries.len() >= seen, "{} after {seen}", entries.len());
                    assert_eq!(engrams.len(), entries.iter().filter(|e| e.stage == Stage::Awake).count());
                    assert!(entries.iter().all(|e| e.stage == Stage::Forgotten || e.stage == Stage::Awake));
                    let report = verify(at).unwrap();
                    assert_eq!(report.damage, Vec::<String>::new());
                    assert!(report.entries >= entries.len());
                    (seen, rounds) = (report.entries, rounds + 1);
                }
                assert_eq!(seen, COMMITS);
                rounds
            })
        };
        let readers: Vec<_> = (0..2).map(reader).collect();
        for i in 0..COMMITS {
            store.commit(&learned(&i.to_string(), &format!("gate {i}"))).unwrap();
            match i % 50 {
                20 => drop(store.forget(&[&(i / 2).to_string()], &Change::default()).unwrap()),
                30 => drop(store.compact().unwrap()),
                40 => {
                    drop(store);
                    // Readers do not get in the way of opening.
                    store = Store::open(at).unwrap();
                }
                _ => {}
            }
        }
        ended.store(true, Ordering::Release);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<usize>>()
    });
    assert!(rounds.iter().all(|rounds| *rounds > 10), "{rounds:?}");
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
        let alive = Store::read(folder.path()).unwrap().entries().unwrap().len();
        assert!(alive > told, "{alive} entries after {told} was told");
        child.kill().unwrap();
        told = lines.filter_map(|l| l.rsplit_once("committed ").and_then(|(_, i)| i.parse().ok())).last().unwrap_or(told);
        child.wait().unwrap();
        assert_eq!(verify(folder.path()).unwrap().damage, Vec::<String>::new());
        let entries = Store::read(folder.path()).unwrap().entries().unwrap();
        assert!(entries.len() >= alive);
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.entries().unwrap(), entries);
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

/// The superuser may write everywhere: the program then runs as another user.
#[cfg(unix)]
#[test]
fn a_folder_without_the_right_to_write_can_be_read() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    let (folder, store) = example();
    drop(store);
    let at = folder.path();
    let allow = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let files = || {
        let mut files: Vec<_> = std::fs::read_dir(at).unwrap().map(|f| f.unwrap().file_name()).collect();
        files.sort();
        files
    };
    let superuser = std::fs::metadata(at).unwrap().uid() == 0;
    let program = tempfile::tempdir().unwrap();
    let binary = program.path().join("sharpwave");
    std::fs::copy(env!("CARGO_BIN_EXE_sharpwave"), &binary).unwrap();
    allow(program.path(), 0o755);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.arg("memory").args(arguments).arg("--memory").arg(at).env("NO_COLOR", "1").current_dir("/");
        if superuser {
            command.uid(65_534).gid(65_534);
        }
        command.output().unwrap()
    };
    for locks in [true, false] {
        if !locks {
            // As on a medium that only the database was copied to.
            allow(at, 0o755);
            for name in ["lock", "commit.lock"] {
                std::fs::remove_file(at.join(name)).unwrap();
            }
        }
        files().iter().for_each(|name| allow(&at.join(name), 0o444));
        allow(at, 0o555);
        let before = files();
        for arguments in [&["list"][..], &["show", "ali"], &["verify"], &["journal"]] {
            let output = run(arguments);
            assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
            assert!(!output.stdout.is_empty());
        }
        let output = run(&["forget", "ali"]);
        let error = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("ermission denied") && error.contains("the right to write in the memory folder"), "{error}");
        assert_eq!(files(), before);
    }
    allow(at, 0o755);
}

/// A folder as version 1 of the program left it.
fn version_1(folder: &Path) {
    let record = |content: &[u8]| {
        let bytes = [&[1], content].concat();
        let sum = crc32fast::hash(&bytes);
        [&bytes[..], &sum.to_le_bytes()].concat()
    };
    let json = |value: serde_json::Value| record(value.to_string().as_bytes());
    let text = |text: &str| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let numbers = |n: usize| {
        let bytes = (0..n).flat_map(|i| (i as f32).cos().to_le_bytes());
        (n as u32).to_le_bytes().into_iter().chain(bytes).collect::<Vec<u8>>()
    };
    let site = |layer: u32| [&layer.to_le_bytes()[..], &text("down_proj")].concat();
    let entry = |id: &str, arrived: u64, stage: serde_json::Value, rest: serde_json::Value| {
        let mut experience =
            serde_json::json!({ "id": id, "prompt": format!("Где живёт {id}?"), "answer": " 東京", "outcome": "success" });
        experience.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let (surprise, replays) = if stage == "forgotten" { (0.0, 0) } else { (2.5, 1) };
        json(serde_json::json!({
            "experience": experience, "stage": stage, "surprise": surprise, "replays": replays, "arrived": arrived, "note": null
        }))
    };
    let entries = [
        ("alice", entry("alice", 0, "awake".into(), serde_json::json!({ "user": "ada", "tags": ["a"] }))),
        ("bob", entry("bob", 1, serde_json::json!({ "superseded": { "by": "carol" } }), serde_json::json!({ "user": "eve" }))),
        ("carol", entry("carol", 2, "asleep".into(), serde_json::json!({ "supersedes": "bob", "time": "2026-03-09T17:05:00Z" }))),
        ("dan", entry("dan", 3, "forgotten".into(), serde_json::json!({ "prompt": "", "answer": "", "outcome": 0.0 }))),
    ];
    let engram = |id: &str, layer: u32| {
        // Key, trace, value, guards, and whether the value adds.
        let one = [&1u32.to_le_bytes()[..], &1f32.to_le_bytes()].concat();
        record(&[text(id), site(layer), numbers(172), numbers(0), numbers(64), numbers(344), one].concat())
    };
    type Bytes = &'static [u8];
    let database = redb::Database::create(folder.join("memory.redb")).unwrap();
    let t = database.begin_write().unwrap();
    {
        let mut about = t.open_table(redb::TableDefinition::<&str, Bytes>::new("about")).unwrap();
        about.insert("version", &1u32.to_le_bytes()[..]).unwrap();
        let meta = json(serde_json::json!({
            "model": "stories260k", "fingerprint": "f00d", "architecture": "llama", "layers": 5, "width": 64,
            "feed_forward": 172, "created": "2026-03-09T17:05:00Z", "settings": { "coding": "exact" }
        }));
        about.insert("meta", &meta[..]).unwrap();
        let mut rows = t.open_table(redb::TableDefinition::<u64, Bytes>::new("entries")).unwrap();
        let mut ids = t.open_table(redb::TableDefinition::<&str, u64>::new("ids")).unwrap();
        for (arrived, (id, entry)) in entries.iter().enumerate() {
            rows.insert(arrived as u64, &entry[..]).unwrap();
            ids.insert(*id, arrived as u64).unwrap();
        }
        let mut engrams = t.open_table(redb::TableDefinition::<u64, Bytes>::new("engrams")).unwrap();
        let mut places = t.open_table(redb::TableDefinition::<(&str, u32, &str, u64), ()>::new("places")).unwrap();
        for (order, (id, layer)) in [("alice", 3u32), ("carol", 1)].into_iter().enumerate() {
            engrams.insert(order as u64, &engram(id, layer)[..]).unwrap();
            places.insert((id, layer, "down_proj", order as u64), ()).unwrap();
        }
        let part = redb::TableDefinition::<(u32, &str, &str, u32), Bytes>::new("statistics");
        let chunk = [site(1), text("moment"), 0u32.to_le_bytes().into(), 9u64.to_le_bytes().into(), numbers(9)].concat();
        t.open_table(part).unwrap().insert((1, "down_proj", "moment", 0), &record(&chunk)[..]).unwrap();
    }
    t.commit().unwrap();
    drop(database);
    std::fs::write(folder.join("lock"), "").unwrap();
}

#[test]
fn a_folder_of_version_1_is_read_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    version_1(at);
    let files = || {
        let file = |f: std::io::Result<std::fs::DirEntry>| f.map(|f| (f.file_name(), std::fs::read(f.path()).unwrap())).unwrap();
        let mut files: Vec<_> = std::fs::read_dir(at).unwrap().map(file).collect();
        files.sort();
        files
    };
    let before = files();
    assert_eq!(before.len(), 2);
    let list = done(&["list"], at);
    assert!(list.lines().count() == 5 && list.contains("Где живёт alice? → 東京"), "{list}");
    let shown = done(&["show", "alice"], at);
    assert!(shown.contains("awake") && shown.contains("layers.3.down_proj, in the form of an older version"), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&done(&["show", "carol", "--json"], at)).unwrap();
    assert_eq!(json["engrams"], serde_json::json!([{ "site": "layers.1.down_proj" }]));
    let whole = done(&["verify"], at);
    assert!(whole.contains("4 experiences (1 asleep, 1 awake, 1 forgotten, 1 superseded), 2 engrams, 1 statistics"), "{whole}");
    let journal = done(&["journal"], at);
    let told: Vec<Experience> = Lines::new(journal.as_bytes(), "old.jsonl").map(|(_, line)| line.unwrap()).collect();
    assert_eq!(told.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["alice", "bob", "carol"]);
    assert_eq!(told[2].supersedes.as_deref(), Some("bob"));

    let remedy = format!("sharpwave memory journal --memory {} > old.jsonl", at.display());
    for arguments in [&["forget", "alice"][..], &["compact"], &["supersede", "alice", "--answer", " x"]] {
        let error = refused(arguments, at, 2);
        assert!(error.contains("has version 1"), "{error}");
    }
    let lines = at.with_extension("jsonl");
    std::fs::write(&lines, &journal).unwrap();
    for arguments in [&["learn", lines.to_str().unwrap()][..], &["sleep"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sharpwave"));
        let output = command.args(arguments).arg("--memory").arg(at).env("NO_COLOR", "1").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("has version 1"), "{}", text(&output.stderr));
    }
    std::fs::remove_file(lines).unwrap();
    let store = Store::read(at).unwrap();
    assert_eq!(store.meta().version, 1);
    assert_eq!(store.statistics(Site { layer: 1, linear: Linear::Down }, "moment").unwrap().unwrap().len(), 9);
    for error in [store.engrams().unwrap_err(), store.engrams_of("alice").unwrap_err(), Store::open(at).err().unwrap()] {
        assert!(error.to_string().contains("has version 1") && error.remedy().unwrap().contains(&remedy), "{error}");
    }
    assert!(files() == before, "something was written");

    // Where a program of that version works on it, nothing can keep it from writing while the file is copied.
    let lock = std::fs::File::open(at.join("lock")).unwrap();
    lock.lock().unwrap();
    assert!(Store::read(at).err().unwrap().to_string().contains("in use by another process"));
    drop(lock);
    Store::read(at).unwrap();

    let file = at.join("memory.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    let number = 100f32.cos().to_le_bytes();
    let places: Vec<usize> = (0..bytes.len() - 4).filter(|i| bytes[*i..*i + 4] == number).collect();
    places.iter().for_each(|i| bytes[*i] ^= 1);
    std::fs::write(&file, bytes).unwrap();
    assert!(verify(at).unwrap().damage.iter().any(|d| d == "engram 1: its checksum does not agree"));
}

#[test]
fn a_journal_holds_what_is_not_forgotten_and_can_be_learned_again() {
    let (folder, store) = example();
    let at = folder.path();
    let mut strange = learned("ключ 鍵 🗝", "a \"quoted\" \u{2028} line\nbreak\t\u{0} and العربية");
    strange.entries[0].experience.outcome = Outcome::Reward(-1.0 / 3.0);
    strange.entries[0].experience.prompt += &"\u{1}".repeat(100_000);
    store.commit(&strange).unwrap();
    let supersedes = |id: &str, old: &str| {
        let mut change = learned(id, old);
        change.entries[0].experience.supersedes = Some(old.into());
        change
    };
    for (id, old) in [("1", "ali"), ("2", "sinbad"), ("3", "1"), ("4", "nobody")] {
        store.commit(&supersedes(id, old)).unwrap();
    }
    store.forget(&["aladdin", "1"], &Change::default()).unwrap();
    let again = Entry { stage: Stage::Awake, ..store.find("sinbad").unwrap() };
    store.commit(&Change { entries: vec![again], anew: vec!["sinbad".into()], ..Change::default() }).unwrap();

    let output = sharpwave(&["journal"], at);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let told: Vec<Experience> = Lines::new(&output.stdout[..], "day.jsonl").map(|(_, line)| line.unwrap()).collect();
    let ids: Vec<&str> = told.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["ali", "ключ 鍵 🗝", "2", "3", "4", "sinbad"]);
    // What is not there, or not yet, cannot make room when this is learned.
    assert!(told.iter().all(|e| e.supersedes.is_none()), "{told:?}");
    for mut experience in told.iter().cloned() {
        let kept = store.find(&experience.id).unwrap().experience;
        experience.supersedes = kept.supersedes.clone();
        assert_eq!(experience, kept);
    }
    let next = tempfile::tempdir().unwrap();
    let copy = Store::create(next.path(), &Meta { fingerprint: "of another model".into(), ..meta() }).unwrap();
    copy.commit(&Change { entries: told.into_iter().map(Entry::new).collect(), ..Change::default() }).unwrap();
    assert_eq!(sharpwave(&["journal"], next.path()).stdout, output.stdout);
    assert_eq!(copy.meta().user.as_deref(), Some("ada"));

    let empty = tempfile::tempdir().unwrap();
    drop(Store::create(empty.path(), &meta()).unwrap());
    assert_eq!(done(&["journal"], empty.path()), "");
    let mut long = learned("long", "a");
    long.entries[0].experience.prompt += &"a".repeat(1 << 20);
    store.commit(&long).unwrap();
    assert!(text(&sharpwave(&["journal"], at).stderr).contains("long: its line is longer than"));
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
