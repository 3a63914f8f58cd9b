//! Keeps the house in order: which library may be named where, and what every source file owes its reader.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    assert!(found.len() > 20, "only {} source files found", found.len());
    let name = |p: &Path| p.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
    found.iter().map(|p| (name(p), std::fs::read_to_string(p).unwrap())).collect()
}

/// Lines of code that hold `word`, comments left out, as `file:line: text`.
fn code_lines_with(word: &str, allowed: impl Fn(&str) -> bool) -> Vec<String> {
    let mut hits = Vec::new();
    for (file, text) in sources().iter().filter(|(file, _)| !allowed(file)) {
        for (i, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if code.contains(word) {
                hits.push(format!("src/{file}:{}: {}", i + 1, line.trim()));
            }
        }
    }
    hits
}

/// The house from the top down: a module knows those of lower floors only, and none of its own.
const FLOORS: &[(&str, &[&str])] = &[
    ("the program", &["main", "cli"]),
    ("figures of it", &["bench", "plot"]),
    ("applications", &["eval", "protocol", "serve"]),
    ("what learns", &["memory"]),
    ("what leaves", &["export"]),
    ("what is recalled", &["recall"]),
    ("language models", &["transformer"]),
    ("its runs over seeds and values", &["sweep"]),
    ("a scenario's run", &["run"]),
    ("what is kept of a run", &["record"]),
    ("what is simulated", &["scenario"]),
    ("how it is simulated", &["engine"]),
    ("rules on matrices", &["learning"]),
    ("what enters a network", &["stimulus"]),
    ("networks", &["network"]),
    ("data sets", &["dataset"]),
    ("models of neurons and synapses", &["model"]),
    ("formats and services", &["io"]),
    ("quantities", &["units"]),
    ("expressions", &["expr"]),
    ("the ground", &["rng", "simd", "system"]),
    ("errors", &["error"]),
];

/// The paths of modules that a file names by `crate::` and `super::`, tests and comments left out. A file stands for its module.
fn named_modules(file: &str, text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut own: Vec<String> = file.trim_end_matches(".rs").split('/').map(String::from).collect();
    if own.last().is_some_and(|last| last == "mod" || last == "lib") {
        own.pop();
    }
    let code: String = text.lines().map(|line| format!("{}\n", line.split("//").next().unwrap_or(""))).collect();
    let code = code.split("#[cfg(test)]\nmod ").next().unwrap_or("");
    let mut named = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let (mut rest, mut from) = (&code[at..], own.clone());
            if root == "crate::" {
                (rest, from) = (&rest[root.len()..], Vec::new());
            }
            while let Some(up) = rest.strip_prefix("super::") {
                from.pop();
                rest = up;
            }
            paths(&from, rest, &mut named);
        }
    }
    (own, named)
}

/// `a::{b, c::d}` as paths.
fn paths(from: &[String], rest: &str, found: &mut Vec<Vec<String>>) {
    let rest = rest.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        let (mut depth, mut start) = (0, 0);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' | ',' if depth == 0 => {
                    paths(from, &group[start..i], found);
                    start = i + 1;
                    if c == '}' {
                        return;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
        return;
    }
    let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut path = from.to_vec();
    match (word.as_str(), rest[word.len()..].trim_start().strip_prefix("::")) {
        ("", _) => return,
        ("self", _) => {}
        (_, Some(rest)) => {
            path.push(word);
            return paths(&path, rest, found);
        }
        _ => path.push(word),
    }
    found.push(path);
}

/// Who names whom among the modules of each folder: (folder, module) -> modules beside it, with the file that does.
fn arrows() -> BTreeMap<(String, String), BTreeMap<String, String>> {
    let sources: Vec<(String, String)> =
        sources().into_iter().filter(|(file, _)| !["tests.rs", "twins.rs"].iter().any(|test| file.ends_with(test))).collect();
    let is_module = |path: &[String]| {
        let name = path.join("/");
        sources.iter().any(|(file, _)| file.strip_prefix(&name).is_some_and(|rest| rest == ".rs" || rest.starts_with('/')))
    };
    let mut arrows: BTreeMap<(String, String), BTreeMap<String, String>> = BTreeMap::new();
    for (file, text) in &sources {
        let (own, named) = named_modules(file, text);
        for path in named {
            let same = own.iter().zip(&path).take_while(|(a, b)| a == b).count();
            if same < own.len() && same < path.len() && is_module(&path[..=same]) {
                let from = (own[..same].join("/"), own[same].clone());
                arrows.entry(from).or_default().insert(path[same].clone(), file.clone());
            }
        }
    }
    arrows
}

#[test]
fn every_arrow_goes_down() {
    let floor = |module: &str| FLOORS.iter().position(|(_, modules)| modules.contains(&module));
    let mut up = Vec::new();
    for ((_, from), targets) in arrows().iter().filter(|((folder, _), _)| folder.is_empty()) {
        let own = floor(from).unwrap_or_else(|| panic!("`{from}` stands on no floor: give it one in FLOORS"));
        for (to, file) in targets {
            let other = floor(to).unwrap_or_else(|| panic!("`{to}` stands on no floor: give it one in FLOORS"));
            if other <= own {
                up.push(format!("{from} -> {to} (src/{file})"));
            }
        }
    }
    assert_eq!(up, Vec::<String>::new());
}

#[test]
fn no_modules_of_a_folder_know_each_other_in_a_circle() {
    let arrows = arrows();
    let mut circles = Vec::new();
    for (folder, start) in arrows.keys().filter(|(folder, _)| !folder.is_empty()) {
        let mut reached: Vec<&str> = Vec::new();
        let mut next = vec![start.as_str()];
        while let Some(module) = next.pop() {
            for to in arrows.get(&(folder.clone(), module.to_string())).into_iter().flat_map(BTreeMap::keys) {
                if !reached.contains(&to.as_str()) {
                    reached.push(to);
                    next.push(to);
                }
            }
        }
        if reached.contains(&start.as_str()) {
            circles.push(format!("{folder}/{start}"));
        }
    }
    assert_eq!(circles, Vec::<String>::new());
}

#[test]
fn wgpu_is_named_only_by_the_gpu_engine() {
    assert_eq!(code_lines_with("wgpu::", |f| f.starts_with("engine/gpu")), Vec::<String>::new());
}

/// The text of models, and that of kernels.
#[test]
fn naga_is_named_only_where_models_and_kernels_are_read() {
    let reads = |f: &str| f.starts_with("model/") || f == "engine/gpu/reflect.rs";
    assert_eq!(code_lines_with("naga::", reads), Vec::<String>::new());
}

/// Our module of the same name is written `io::hdf5`.
#[test]
fn the_hdf5_library_is_named_only_by_its_sink() {
    let foreign = |line: &String| {
        let code = line.split_once(": ").map_or("", |(_, code)| code);
        code.match_indices("hdf5::").any(|(at, _)| !["io::", "self::"].iter().any(|own| code[..at].ends_with(own)))
    };
    let hits: Vec<String> = code_lines_with("hdf5::", |f| f == "io/hdf5.rs").into_iter().filter(foreign).collect();
    assert_eq!(hits, Vec::<String>::new());
    assert_eq!(code_lines_with("hdf5_metno", |_| false), Vec::<String>::new());
}

#[test]
fn the_transformer_libraries_are_named_only_by_their_module() {
    for word in ["candle_core", "tokenizers::", "gemm::"] {
        assert_eq!(code_lines_with(word, |f| f.starts_with("transformer/")), Vec::<String>::new());
    }
}

#[test]
fn the_database_is_named_only_by_the_store() {
    assert_eq!(code_lines_with("redb::", |f| f.starts_with("memory/store/")), Vec::<String>::new());
}

#[test]
fn the_protocols_of_agents_are_spoken_by_the_server_alone() {
    for word in ["rmcp::", "hyper::"] {
        assert_eq!(code_lines_with(word, |f| f.starts_with("serve/")), Vec::<String>::new());
    }
    let waits = |f: &str| f.starts_with("serve/") || f == "memory/postgres/server.rs";
    assert_eq!(code_lines_with("tokio::", waits), Vec::<String>::new());
}

#[test]
fn servers_of_databases_are_named_only_by_what_lies_there() {
    for word in ["tokio_postgres::", "pgvector::"] {
        assert_eq!(code_lines_with(word, |f| f.starts_with("memory/postgres/")), Vec::<String>::new());
    }
}

#[test]
fn tables_are_read_in_one_place() {
    assert_eq!(code_lines_with("csv::Reader", |f| f == "io/csv.rs"), Vec::<String>::new());
}

/// What ends up under a name that the user gave goes through one room. The database of a memory is its own matter; parts of downloads
/// and of adapters wait beside until that room gives them their names.
#[test]
fn outputs_are_put_in_place_in_one_room() {
    let room = |f: &str| f == "io/output.rs" || f == "system.rs" || f.starts_with("memory/store/");
    let parts = |f: &str| room(f) || f.starts_with("export/") || f == "dataset/fetch.rs" || f == "transformer/pull/wheel.rs";
    for (word, allowed) in [("fs::rename(", &room as &dyn Fn(&str) -> bool), ("fs::write(", &parts), ("File::create(", &parts)] {
        let hits = code_lines_with(word, allowed);
        assert_eq!(hits.into_iter().filter(|hit| !in_tests(hit)).collect::<Vec<_>>(), Vec::<String>::new());
    }
}

/// Whether a hit of [`code_lines_with`] is in a file's tests.
fn in_tests(hit: &str) -> bool {
    let mut parts = hit.trim_start_matches("src/").splitn(3, ':');
    let (file, line) = (parts.next().unwrap_or(""), parts.next().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0));
    let text = sources().into_iter().find(|(name, _)| name == file).map(|(_, text)| text).unwrap_or_default();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("").lines().count();
    file.ends_with("tests.rs") || line > code
}

#[test]
fn the_network_is_spoken_to_in_one_place() {
    assert_eq!(code_lines_with("ureq::", |f| f == "io/http.rs"), Vec::<String>::new());
}

#[test]
fn every_source_file_opens_with_what_it_promises() {
    for (file, text) in sources() {
        assert!(text.starts_with("//!"), "src/{file} does not open with //!");
    }
}

#[test]
fn nothing_is_left_for_later() {
    for word in ["TODO", "FIXME", "todo!(", "unimplemented!("] {
        for (file, text) in sources() {
            assert!(!text.contains(word), "src/{file} holds {word}");
        }
    }
}
