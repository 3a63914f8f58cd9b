//! The store against power cuts at any write, bytes damaged anywhere, and changes that break a rule.

use super::folder::begin;
use super::verify::look;
use super::*;
use crate::memory::experience::{Experience, Outcome};
use crate::memory::journal::{Change, Stage};
use proptest::prelude::*;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use redb::{Builder, StorageBackend};
use std::sync::{Arc, Mutex};

const DOWN: Site = Site { layer: 1, linear: Linear::Down };
const UP: Site = Site { layer: 0, linear: Linear::Up };

fn meta() -> Meta {
    Meta {
        version: VERSION,
        model: "tiny".into(),
        fingerprint: "f00d".into(),
        architecture: "llama".into(),
        layers: 2,
        width: 8,
        feed_forward: 24,
        created: "2026-03-09T17:05:00Z".into(),
        user: None,
        settings: serde_json::json!({ "rank": 4 }),
    }
}

fn awake(id: &str) -> Entry {
    let experience = Experience {
        user: Some("ada".into()),
        subject: Some(format!("number {id}")),
        time: Some("2026-03-09T17:05:00Z".into()),
        tags: vec!["colour".into()],
        ..Experience::new(id, &format!("The colour of number {id} is"), &format!(" shade {id}"), Outcome::Reward(0.1))
    };
    Entry { stage: Stage::Awake, surprise: 3.3, ..Entry::new(experience) }
}

fn trail(id: &str, site: Site, seed: f32) -> Engram {
    let (inputs, outputs) = if site.linear == Linear::Down { (24, 8) } else { (8, 24) };
    let numbers = |n: usize, shift: f32| (0..n).map(|i| (seed + shift + i as f32).sin()).collect::<Vec<f32>>();
    let (key, trace, factor, value) = (numbers(inputs, 0.0), numbers(inputs, 0.1), numbers(inputs, 0.3), numbers(outputs, 0.2));
    Engram { experience: id.into(), site, place: seed.to_bits().into(), key, trace, factor, value, ridge: 0.1 * seed }
}

fn learned(id: &str) -> Change {
    Change { entries: vec![awake(id)], write: vec![trail(id, DOWN, 1.0), trail(id, UP, 2.0)], ..Change::default() }
}

fn made() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path(), &meta()).unwrap();
    (folder, store)
}

/// Everything a memory holds, in a form that can be compared.
type Everything = (Meta, Vec<Entry>, Vec<Engram>, Option<Vec<f32>>);

fn everything(store: &Store) -> Result<Everything> {
    Ok((store.meta().clone(), store.entries()?, store.engrams()?, store.statistics(DOWN, "moment")?))
}

/// Storage in memory that keeps a journal of what was asked of it.
#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    journal: Arc<Mutex<Vec<Step>>>,
}

#[derive(Clone, Debug)]
enum Step {
    Length(u64),
    Write(u64, Vec<u8>),
    Sync,
    /// The test was told that this many changes are on disk.
    Told(usize),
}

impl Step {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Step::Length(length) => bytes.resize(*length as usize, 0),
            Step::Write(at, data) => {
                let (start, end) = (*at as usize, *at as usize + data.len());
                bytes.resize(bytes.len().max(end), 0);
                bytes[start..end].copy_from_slice(data);
            }
            Step::Sync | Step::Told(_) => {}
        }
    }
}

impl Disk {
    fn step(&self, step: Step) -> std::io::Result<()> {
        step.apply(&mut self.bytes.lock().unwrap());
        self.journal.lock().unwrap().push(step);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let there = bytes.get(offset as usize..offset as usize + out.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(there);
        Ok(())
    }
    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.step(Step::Length(length))
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.step(Step::Sync)
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.step(Step::Write(offset, data.to_vec()))
    }
}

/// What the disk may hold when the power goes after `cut` steps: everything up to the last sync, and of what came later any
/// part, the last write of them perhaps not to its end.
fn after_power_cut(journal: &[Step], cut: usize, random: &mut impl Rng) -> Vec<u8> {
    let synced = journal[..cut].iter().rposition(|step| matches!(step, Step::Sync)).map_or(0, |at| at + 1);
    let mut bytes = Vec::new();
    journal[..synced].iter().for_each(|step| step.apply(&mut bytes));
    for step in &journal[synced..cut] {
        match (random.next_u32() % 4, step) {
            (0, Step::Write(..)) => {}
            (1, Step::Write(at, data)) => {
                let kept = random.next_u32() as usize % (data.len() + 1);
                Step::Write(*at, data[..kept].to_vec()).apply(&mut bytes);
            }
            _ => step.apply(&mut bytes),
        }
    }
    bytes
}

/// Seven changes of every kind, and what the memory holds after each.
fn history(store: &Store, mut told: impl FnMut(usize)) -> Vec<Everything> {
    let mut states = vec![everything(store).unwrap()];
    let replaced = Change { erase: vec![("a".into(), DOWN)], write: vec![trail("a", DOWN, 5.0)], ..Change::default() };
    let mut old = awake("b");
    old.stage = Stage::Superseded { by: "c".into() };
    let mut superseding = learned("c");
    superseding.entries.push(old);
    superseding.erase = vec![("b".into(), DOWN), ("b".into(), UP)];
    let steps: [&dyn Fn() -> Result<()>; 7] = [
        &|| store.commit(&learned("a")),
        &|| store.put_statistics(DOWN, "moment", &[1.5; 24 * 24]),
        &|| store.commit(&learned("b")),
        &|| store.commit(&replaced),
        &|| store.commit(&superseding),
        &|| store.forget(&["a"], &Change::default()).map(|_| ()),
        &|| store.commit(&learned("d")),
    ];
    for (done, step) in steps.iter().enumerate() {
        step().unwrap();
        told(done + 1);
        states.push(everything(store).unwrap());
    }
    states
}

#[test]
fn a_power_cut_at_any_moment_loses_at_most_the_change_being_written() {
    let disk = Disk::default();
    let folder = Path::new("a disk in memory");
    let database = Builder::new().create_with_backend(disk.clone()).unwrap();
    let t = database.begin_write().unwrap();
    begin(&t, &meta()).unwrap();
    t.commit().unwrap();
    let start = disk.journal.lock().unwrap().len();
    let store = Store::new(folder, meta(), database, Hold::Alone);
    let states = history(&store, |done| disk.journal.lock().unwrap().push(Step::Told(done)));
    drop(store);

    let journal = disk.journal.lock().unwrap().clone();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    let mut cuts = 0;
    for cut in start..=journal.len() {
        for _ in 0..3 {
            let bytes = after_power_cut(&journal, cut, &mut random);
            let disk = Disk { bytes: Arc::new(Mutex::new(bytes)), journal: Arc::default() };
            let told =
                journal[..cut].iter().filter_map(|s| if let Step::Told(n) = s { Some(*n) } else { None }).max().unwrap_or(0);
            let store = Store::over(folder, Hold::Alone, |b| Ok(b.create_with_backend(disk.clone())?)).unwrap();
            let found = everything(&store).unwrap();
            let may_be = &states[told..(told + 2).min(states.len())];
            assert!(may_be.contains(&found), "cut after step {cut}, {told} changes told: neither that state nor the next");
            // Life goes on.
            store.commit(&learned("z")).unwrap();
            drop(store);
            let mut report = Report::default();
            look(folder, || Ok(disk.clone()), &mut report).unwrap();
            assert_eq!(report.damage, Vec::<String>::new(), "cut after step {cut}");
            cuts += 1;
        }
    }
    assert!(cuts > 100, "only {cuts} cuts");
}

#[test]
fn what_was_committed_is_read_back_from_the_file() {
    let (folder, mut store) = made();
    let states = history(&store, |_| {});
    store.set_settings(serde_json::json!([1, 2])).unwrap();
    let all = everything(&store).unwrap();
    assert_eq!(&all.1[..], &states[7].1[..]);
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(everything(&store).unwrap(), all);
    assert_eq!(store.meta().settings, serde_json::json!([1, 2]));
    let ids: Vec<&str> = all.1.iter().map(|e| e.experience.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    assert_eq!(all.1.iter().map(|e| e.arrived).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let owners: Vec<&str> = all.2.iter().map(|e| e.experience.as_str()).collect();
    assert_eq!(owners, ["c", "c", "d", "d"], "a is forgotten, b superseded");
    assert_eq!(store.sites("c").unwrap(), [UP, DOWN]);
    assert_eq!(store.engrams_of("c").unwrap().len(), 2);
    assert_eq!((store.entry("c").unwrap(), store.entry("x").unwrap()), (Some(all.1[2].clone()), None));
    assert_eq!(store.statistics_kept().unwrap(), [(DOWN, "moment".to_string())]);
}

#[test]
fn a_forgotten_experience_keeps_id_time_and_tags_alone() {
    let (_folder, store) = made();
    let mut change = learned("a");
    change.entries[0].note = Some("a note".into());
    store.commit(&change).unwrap();
    let left = store.forget(&["a"], &Change::default()).unwrap();
    assert_eq!(left, [Left { id: "a".into(), was: Stage::Awake, engrams: vec![UP.to_string(), DOWN.to_string()] }]);
    let entry = store.find("a").unwrap();
    let kept = serde_json::to_string(&entry).unwrap();
    assert_eq!(entry.stage, Stage::Forgotten);
    assert!(kept.contains("2026-03-09T17:05:00Z") && kept.contains("\"colour\""), "{kept}");
    for gone in ["number", "shade", "ada", "note\":\"", "3.3"] {
        assert!(!kept.contains(gone), "{gone} in {kept}");
    }
    assert!(store.engrams().unwrap().is_empty());
    assert_eq!(store.forget(&["a"], &Change::default()).unwrap()[0].was, Stage::Forgotten);
    let error = store.forget(&["aa"], &Change::default()).unwrap_err();
    assert!(error.to_string().contains("has no experience \"aa\"") && error.remedy().unwrap().contains("did you mean \"a\"?"));
}

#[test]
fn a_change_that_breaks_a_rule_changes_nothing() {
    let (_folder, store) = made();
    store.commit(&learned("a")).unwrap();
    store.put_statistics(DOWN, "moment", &[2.0]).unwrap();
    let before = everything(&store).unwrap();
    let with = |spoil: fn(&mut Change)| {
        let mut change = learned("b");
        change.erase = vec![("a".into(), DOWN)];
        spoil(&mut change);
        change
    };
    let cases: [(fn(&mut Change), &str); 21] = [
        (|c| c.erase.push(("a".into(), Site::HEAD)), "has no engram at lm_head"),
        (|c| c.erase.push(("x".into(), DOWN)), "\"x\" has no engram"),
        (|c| c.entries.push(awake("b")), "in one change twice"),
        (|c| c.entries[0].experience.prompt = " ".into(), "`prompt` is empty"),
        (|c| c.entries[0].experience.outcome = Outcome::Reward(f64::NAN), "`outcome` is NaN"),
        (|c| c.entries[0].surprise = f32::INFINITY, "surprise is not finite"),
        (|c| c.entries[0].stage = Stage::Pending, "is pending and has engrams"),
        (|c| c.entries[0].stage = Stage::Forgotten, "still has content"),
        (|c| c.entries[0].stage = Stage::Superseded { by: "b".into() }, "cannot supersede itself"),
        (
            |c| {
                c.entries[0].stage = Stage::Superseded { by: "q".into() };
                c.write.clear();
            },
            "superseded by \"q\", which is not in the memory",
        ),
        (|c| c.entries.clear(), "\"b\", which is not in the memory"),
        (|c| c.write[0].site.layer = 2, "the model has 2 layers"),
        (|c| c.write[0].key.truncate(23), "the key has 23 numbers instead of 24"),
        (|c| c.write[1].value.push(0.0), "the value has 25 numbers instead of 24"),
        (|c| c.write[0].trace.truncate(5), "the trace has 5 numbers instead of 24"),
        (|c| c.write[0].factor.clear(), "the factor has 0 numbers instead of 24"),
        (|c| c.write[0].ridge = 0.0, "its ridge is 0, not above 0"),
        (|c| c.write[0].ridge = f32::NAN, "not finite"),
        (|c| c.entries[0].experience.user = Some("Ada".into()), "is the user \"ada\"'s, not \"Ada\"'s"),
        (|c| c.anew.push("a".into()), "\"a\" is to arrive anew and has no entry"),
        (|c| c.write[1].value[3] = f32::NAN, "not finite"),
    ];
    for (spoil, message) in cases {
        let error = store.commit(&with(spoil)).unwrap_err();
        assert!(error.to_string().contains(message), "{message}: {error}");
        assert_eq!(error.exit_code(), 2);
        assert!(error.remedy().is_some_and(|r| !r.is_empty()), "{error}");
        assert_eq!(everything(&store).unwrap(), before, "{message}");
    }
    assert!(store.put_statistics(DOWN, "moment", &[f32::NAN]).unwrap_err().to_string().contains("not finite"));
    let outside = Site { layer: 2, linear: Linear::Down };
    assert!(store.put_statistics(outside, "moment", &[1.0]).unwrap_err().to_string().contains("2 layers"));
    assert!(store.forget(&["a", "b"], &Change::default()).is_err());
    assert_eq!(everything(&store).unwrap(), before);
    store.commit(&with(|_| {})).unwrap();
}

#[test]
fn what_arrives_anew_goes_to_the_end_of_the_order() {
    let (folder, store) = made();
    for id in ["a", "b", "c"] {
        store.commit(&learned(id)).unwrap();
    }
    let order = |store: &Store| {
        let ids = store.entries().unwrap().into_iter().map(|e| (e.experience.id, e.arrived));
        ids.collect::<Vec<_>>()
    };
    let again = |id: &str, erase| Change { entries: vec![awake(id)], anew: vec![id.into()], erase, ..Change::default() };
    store.commit(&again("a", vec![("a".into(), UP)])).unwrap();
    assert_eq!(order(&store), [("b".to_string(), 1), ("c".into(), 2), ("a".into(), 3)]);
    assert_eq!(store.sites("a").unwrap(), [DOWN], "only what erase names");
    // The last one, and one that the memory does not know yet.
    store.commit(&again("a", vec![])).unwrap();
    store.commit(&again("d", vec![])).unwrap();
    let ends = [("b".to_string(), 1), ("c".into(), 2), ("a".into(), 4), ("d".into(), 5)];
    assert_eq!(order(&store), ends);
    assert_eq!(store.find("a").unwrap().arrived, 4);
    drop(store);
    assert_eq!(verify(folder.path()).unwrap().damage, Vec::<String>::new());
    assert_eq!(order(&Store::open(folder.path()).unwrap()), ends);
}

#[test]
fn a_plan_is_kept_until_the_next() {
    let (folder, mut store) = made();
    assert_eq!(store.plan().unwrap(), None);
    let plan = |plan| Change { plan: Some(plan), ..Change::default() };
    store.commit(&plan(serde_json::json!({ "next": ["a", 0.1, null] }))).unwrap();
    store.commit(&learned("a")).unwrap();
    assert_eq!(store.plan().unwrap(), Some(serde_json::json!({ "next": ["a", 0.1, null] })));
    store.commit(&plan(serde_json::Value::Null)).unwrap();
    store.compact().unwrap();
    drop(store);
    assert_eq!(Store::open(folder.path()).unwrap().plan().unwrap(), Some(serde_json::Value::Null));
}

#[test]
fn forgetting_tells_in_the_same_transaction_what_becomes_of_the_others() {
    let (_folder, store) = made();
    store.commit(&learned("a")).unwrap();
    let mut superseding = learned("b");
    superseding.entries.push(Entry { stage: Stage::Superseded { by: "b".into() }, ..awake("a") });
    store.commit(&superseding).unwrap();
    assert_eq!(store.sites("a").unwrap(), [UP, DOWN], "a superseded experience keeps what it left");
    let before = everything(&store).unwrap();
    let also = |entries: Vec<Entry>| Change { entries, plan: Some(serde_json::json!("then")), ..Change::default() };
    let refusals = [
        (also(vec![awake("b")]), "to be forgotten and to be changed at once"),
        (also(vec![Entry { stage: Stage::Superseded { by: "x".into() }, ..awake("a") }]), "\"x\", which is not in the memory"),
        (Change { write: vec![trail("b", DOWN, 3.0)], ..Change::default() }, "is forgotten and has engrams"),
        (Change { erase: vec![("b".into(), DOWN)], ..Change::default() }, "no engram at layers.1.down_proj"),
    ];
    for (change, message) in refusals {
        let error = store.forget(&["b"], &change).unwrap_err();
        assert!(error.to_string().contains(message), "{message}: {error}");
        assert_eq!((everything(&store).unwrap(), store.plan().unwrap()), (before.clone(), None));
    }
    let left = store.forget(&["b"], &also(vec![awake("a")])).unwrap();
    assert_eq!(left[0].engrams, [UP.to_string(), DOWN.to_string()]);
    assert_eq!((store.find("a").unwrap().stage, store.find("b").unwrap().stage), (Stage::Awake, Stage::Forgotten));
    assert_eq!(store.engrams().unwrap(), [trail("a", DOWN, 1.0), trail("a", UP, 2.0)]);
    assert_eq!(store.plan().unwrap(), Some(serde_json::json!("then")));
}

#[test]
fn a_memory_belongs_to_the_first_user_that_comes() {
    let of = |id: &str, user: Option<&str>| {
        let experience = Experience { user: user.map(str::to_string), ..awake(id).experience };
        Change { entries: vec![Entry::new(experience)], ..Change::default() }
    };
    let (folder, store) = made();
    store.check_user(Some("anybody")).unwrap();
    store.commit(&of("a", None)).unwrap();
    let mut two = of("b", Some("bob"));
    two.entries.extend(of("c", Some("ada")).entries);
    assert!(store.commit(&two).unwrap_err().to_string().contains("is the user \"bob\"'s, not \"ada\"'s"));
    assert_eq!((store.meta().user.as_deref(), store.entries().unwrap().len()), (None, 1), "all of it or nothing");
    store.forget(&["a"], &of("b", Some("bob"))).unwrap();
    assert_eq!(store.meta().user.as_deref(), Some("bob"));
    let error = store.check_user(Some("ada")).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.remedy().unwrap().contains("a memory folder of their own"), "{error}");
    store.check_user(Some("bob")).unwrap();
    store.check_user(None).unwrap();
    store.commit(&of("d", None)).unwrap();
    drop(store);
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(store.meta().user.as_deref(), Some("bob"));
    assert!(store.commit(&of("e", Some("ada"))).is_err());
    store.set_settings(serde_json::json!(1)).unwrap();
    assert_eq!((store.meta().user.as_deref(), &store.meta().settings), (Some("bob"), &serde_json::json!(1)));
    assert_eq!(verify(folder.path()).unwrap().damage, Vec::<String>::new());
    store.set_user(Some("ada".into())).unwrap();
    assert_eq!(verify(folder.path()).unwrap().damage, ["experience \"b\" is of another user than the memory"]);
    assert_eq!(Store::read(folder.path()).unwrap().meta(), store.meta());

    let (_folder, store) = made();
    let threads = |user: &'static str| {
        let store = &store;
        move || (0..20).filter(|i| store.commit(&of(&format!("{user}{i}"), Some(user))).is_ok()).count()
    };
    let (ada, bob) = std::thread::scope(|scope| {
        let (ada, bob) = (scope.spawn(threads("ada")), scope.spawn(threads("bob")));
        (ada.join().unwrap(), bob.join().unwrap())
    });
    let own = store.meta().user.as_deref();
    assert_eq!((ada, bob), if own == Some("ada") { (20, 0) } else { (0, 20) });
}

/// Names as people and programs give them, and such as would lead astray.
fn user() -> impl Strategy<Value = String> {
    let strange =
        ["", ".", "..", "../..", "/", "/etc/passwd", "a/b", "a\\b", "a\0b", "con", "NUL", "a.", "a ", "~", "%41", "user-"];
    prop_oneof![
        proptest::sample::select(strange.to_vec()).prop_map(str::to_string),
        "[aA%.4~1-]{0,4}",
        "[aäÄ\u{308}éк鍵🗝]{0,5}",
        any::<String>(),
        ("[aA]{100,400}", any::<String>()).prop_map(|(long, rest)| long + &rest),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn each_user_has_a_folder_of_their_own_under_the_root(a in user(), b in user()) {
        let root = Path::new("all users");
        let name = |user: &str| {
            let folder = user_folder(root, user);
            assert_eq!(folder.parent(), Some(root));
            let name = folder.file_name().unwrap().to_str().unwrap().to_string();
            assert_eq!(folder, root.join(&name));
            name
        };
        let (one, two) = (name(&a), name(&b));
        // Capital letters, which some file systems do not tell from small ones, do not occur.
        prop_assert!(one.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'@' | b'.' | b'%' | b'~')));
        prop_assert!(one.len() <= 255 && one.starts_with("user-") && !one.ends_with('.'));
        prop_assert_eq!(one == two, a == b, "{} and {}", one, two);
        let longer = name(&format!("{a}a"));
        prop_assert_ne!(longer, one);
    }
}

#[test]
fn a_user_folder_can_be_read() {
    let name = |user: &str| user_folder(Path::new("/srv"), user).display().to_string();
    assert_eq!(name("anna.berg@example.org"), "/srv/user-anna.berg@example.org");
    assert_eq!(name("Anna Berg"), "/srv/user-%41nna%20%42erg");
    assert_eq!(name(".."), "/srv/user-.%2e");
    assert_eq!(name("../../etc"), "/srv/user-..%2f..%2fetc");
    assert_eq!(name("é"), "/srv/user-%c3%a9");
    let (a, b) = (name(&"a".repeat(300)), name(&("a".repeat(299) + "b")));
    assert!(a != b && a.starts_with(&format!("/srv/user-{}", "a".repeat(100))));
}

#[test]
fn statistics_of_a_wide_layer_come_back_bit_for_bit() {
    let (folder, store) = made();
    let wide: Vec<f32> =
        (0..3 * codec::CHUNK as u32 + 5).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761) & !0x4000_0000)).collect();
    store.put_statistics(DOWN, "moment", &wide).unwrap();
    store.put_statistics(DOWN, "empty", &[]).unwrap();
    store.put_statistics(UP, "moment", &[1.0]).unwrap();
    let same = |found: Vec<f32>| found.iter().map(|x| x.to_bits()).eq(wide.iter().map(|x| x.to_bits()));
    assert!(same(store.statistics(DOWN, "moment").unwrap().unwrap()));
    assert_eq!(store.statistics(DOWN, "empty").unwrap(), Some(vec![]));
    assert_eq!(store.statistics(DOWN, "other").unwrap(), None);
    store.put_statistics(DOWN, "moment", &[7.0]).unwrap();
    assert_eq!(store.statistics(DOWN, "moment").unwrap(), Some(vec![7.0]));
    store.put_statistics(DOWN, "moment", &wide).unwrap();
    drop(store);
    let report = verify(folder.path()).unwrap();
    assert_eq!((report.statistics, report.damage), (3, vec![]));
    let store = Store::open(folder.path()).unwrap();
    assert!(same(store.statistics(DOWN, "moment").unwrap().unwrap()));
}

#[test]
fn a_folder_of_a_later_version_and_of_another_model_are_refused() {
    let (folder, store) = made();
    store.check_model("f00d").unwrap();
    let error = store.check_model("beef").unwrap_err();
    assert!(error.to_string().contains("belongs to the model tiny (fingerprint f00d), not to the one with beef"), "{error}");
    let other = Meta { fingerprint: "beef".into(), ..meta() };
    drop(store);
    assert!(Store::open_or_create(folder.path(), &other).is_err());
    let store = Store::open_or_create(folder.path(), &meta()).unwrap();
    store.write(|t| put_meta(t, &Meta { version: VERSION + 1, ..meta() })).unwrap();
    drop(store);
    for error in [Store::open(folder.path()).err().unwrap(), verify(folder.path()).unwrap_err()] {
        assert!(error.to_string().contains("has version 3; this program reads up to 2"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

/// Verify may stay silent only where nothing that can be read has changed; nothing may panic.
#[test]
fn damaged_bytes_are_found_and_never_upset_anything() {
    let (folder, store) = made();
    history(&store, |_| {});
    let whole = everything(&store).unwrap();
    drop(store);
    assert_eq!(verify(folder.path()).unwrap().damage, Vec::<String>::new());
    let path = folder.path().join("memory.redb");
    let bytes = std::fs::read(&path).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] != 0).collect();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(11);
    let (mut found, tries) = (0, 160);
    for attempt in 0..tries {
        let mut damaged = bytes.clone();
        match attempt % 4 {
            0 => damaged[used[random.next_u32() as usize % used.len()]] ^= 1 << (random.next_u32() % 8),
            1 => damaged[used[random.next_u32() as usize % used.len()]] = random.next_u32() as u8,
            2 => {
                let at = used[random.next_u32() as usize % used.len()] & !511;
                damaged[at..at + 512].fill(if attempt % 8 == 2 { 0 } else { 0xff });
            }
            _ => damaged.truncate(random.next_u32() as usize % bytes.len()),
        }
        std::fs::write(&path, &damaged).unwrap();
        let told = match verify(folder.path()) {
            Ok(report) => !report.damage.is_empty(),
            Err(_) => true,
        };
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "verify wrote");
        let opened = Store::open(folder.path()).and_then(|store| everything(&store));
        assert!(told || opened.is_ok_and(|found| found == whole), "attempt {attempt}: unnoticed damage");
        found += usize::from(told);
        std::fs::write(&path, &damaged).unwrap();
        if let Ok(mut store) = Store::open(folder.path()) {
            let _ = (store.commit(&learned("y")), store.forget(&["c"], &Change::default()), store.compact());
        }
    }
    assert!(found > tries / 5, "damage found in {found} of {tries}");
}
