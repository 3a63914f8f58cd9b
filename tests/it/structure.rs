//! Keeps the house in order: which library may be named where, and what every source file owes its reader.

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

#[test]
fn wgpu_is_named_only_by_the_gpu_engine() {
    assert_eq!(code_lines_with("wgpu::", |f| f.starts_with("engine/gpu")), Vec::<String>::new());
}

#[test]
fn naga_is_named_only_by_the_model_module() {
    assert_eq!(code_lines_with("naga::", |f| f.starts_with("model/")), Vec::<String>::new());
}

/// Our module of the same name is written `record::hdf5` or `super::hdf5`, inside record/mod.rs `self::hdf5`.
#[test]
fn the_hdf5_library_is_named_only_by_its_sink() {
    let foreign = |line: &String| {
        let code = line.split_once(": ").map_or("", |(_, code)| code);
        code.match_indices("hdf5::").any(|(at, _)| !["record::", "super::", "self::"].iter().any(|own| code[..at].ends_with(own)))
    };
    let hits: Vec<String> = code_lines_with("hdf5::", |f| f == "record/hdf5.rs").into_iter().filter(foreign).collect();
    assert_eq!(hits, Vec::<String>::new());
    assert_eq!(code_lines_with("hdf5_metno", |_| false), Vec::<String>::new());
}

#[test]
fn the_transformer_libraries_are_named_only_by_the_bridge() {
    for word in ["candle_core", "tokenizers::", "gemm::"] {
        assert_eq!(code_lines_with(word, |f| f.starts_with("bridge/")), Vec::<String>::new());
    }
}

#[test]
fn the_database_is_named_only_by_the_store() {
    assert_eq!(code_lines_with("redb::", |f| f.starts_with("memory/store/")), Vec::<String>::new());
}

#[test]
fn tables_are_read_in_one_place() {
    assert_eq!(code_lines_with("csv::Reader", |f| f == "io/csv.rs"), Vec::<String>::new());
}

#[test]
fn the_network_is_spoken_to_in_one_place() {
    assert_eq!(code_lines_with("ureq::", |f| f == "fetch.rs"), Vec::<String>::new());
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
