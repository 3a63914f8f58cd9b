//! The scenario language and what the program says about itself: the reference holds every key that the reader asks for, its examples
//! run, docs/scenario.md is what `sharpwave help scenario` prints; completions and manual pages; the README's commands.

use sharpwave::model::library::Library;
use sharpwave::run::{Options, Silent, run};
use sharpwave::scenario::{Scenario, reference};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sharpwave(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sharpwave")).args(arguments).current_dir(folder).env("NO_COLOR", "1").output().unwrap()
}

fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = sharpwave(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The reader's own source files.
fn sources() -> Vec<(PathBuf, String)> {
    let folder = root().join("src/scenario");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| !["tests.rs", "keys.rs", "reference.rs", "library.rs", "tree.rs"].iter().any(|other| p.ends_with(other)));
    assert!(files.len() >= 7);
    files.into_iter().map(|p| (p.clone(), std::fs::read_to_string(p).unwrap())).collect()
}

/// String literals that stand as an argument of calls of `function`, by the number of the argument.
fn literals(text: &str, function: &str, argument: usize) -> Vec<String> {
    let mut found = vec![];
    for (at, _) in text.match_indices(&format!("{function}(")) {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let (mut depth, mut quoted, mut arguments) = (0, false, vec![String::new()]);
        for c in text[at + function.len() + 1..].chars() {
            match c {
                '"' => quoted = !quoted,
                '(' | '[' | '{' if !quoted => depth += 1,
                ')' | ']' | '}' if !quoted && depth == 0 => break,
                ')' | ']' | '}' if !quoted => depth -= 1,
                ',' if !quoted && depth == 0 => {
                    arguments.push(String::new());
                    continue;
                }
                _ => {}
            }
            arguments.last_mut().unwrap().push(c);
        }
        let word = arguments.get(argument).map_or("", |a| a.trim());
        found.extend(word.strip_prefix('"').and_then(|w| w.strip_suffix('"')).filter(|w| !w.contains('"')).map(str::to_string));
    }
    found
}

/// Nothing is read that the reference does not name, and no table of keys is written down anywhere but in keys.rs.
#[test]
fn the_reference_names_every_key_that_is_read() {
    let told: BTreeSet<&str> = reference::sections().iter().flat_map(|s| s.keys()).collect();
    let asked = [
        ("get", 0),
        ("need", 3),
        ("must", 0),
        ("plain", 0),
        ("length", 0),
        ("time", 0),
        ("number", 0),
        ("flag", 0),
        ("string", 0),
        ("spot", 0),
    ];
    let mut seen = BTreeSet::new();
    for (file, text) in sources() {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (function, argument) in asked {
            for key in literals(code, function, argument) {
                // The scope's own numbers and steps take no key.
                assert!(told.contains(key.as_str()), "{}: `{key}` ({function}) is in no table of keys.rs", file.display());
                seen.insert(key);
            }
        }
        for (at, _) in code.match_indices("check_keys(") {
            let call = &code[at..code[at..].find(';').map_or(code.len(), |end| at + end)];
            let listed = call.contains("&[\"") || call.contains("concat");
            assert!(!listed, "{}: keys belong into keys.rs: {call}", file.display());
        }
    }
    // Most keys are asked for by a literal, so the search above has found them.
    assert!(seen.len() * 10 > told.len() * 8, "only {} of {} keys seen", seen.len(), told.len());
    // And every table there is told.
    let keys = std::fs::read_to_string(root().join("src/scenario/keys.rs")).unwrap();
    let known = literals(&keys, "key", 0);
    assert!(known.len() > 80, "{}", known.len());
    for key in known {
        assert!(told.contains(key.as_str()), "`{key}` is in keys.rs and not in the reference");
    }
}

#[test]
fn the_examples_of_the_reference_run() {
    let library = Library::built_in().unwrap();
    for section in reference::sections() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in section.files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let file = folder.path().join("example.toml");
        std::fs::write(&file, section.example).unwrap();
        let scenario = Scenario::load(&file, &[], None).unwrap_or_else(|e| panic!("{}: {e}", section.name));
        let mut variants: Vec<Option<&str>> = scenario.variants().into_iter().map(Some).collect();
        variants.push(None);
        for variant in variants {
            let scenario = Scenario::load(&file, &[], variant).unwrap();
            let plan = scenario.plan(library).unwrap_or_else(|e| panic!("{}: {e}", section.name));
            let options =
                Options { threads: Some(1), out: Some(folder.path().join("out.h5")), force: true, ..Options::default() };
            let outcome = run(&plan, &options, &Silent, &AtomicBool::new(false));
            let outcome = outcome.unwrap_or_else(|e| panic!("{}: {e}", section.name));
            assert!(!outcome.interrupted && outcome.simulated >= plan.duration, "{}", section.name);
        }
    }
}

/// Defaults in words, which cannot be written out.
const WORDS: [&str; 11] = [
    "as many as pay",
    "the model's",
    "never",
    "this population's name",
    "the time of presentation",
    "all",
    "one step",
    "none",
    "SOURCE->TARGET",
    "by the weight's sign",
    "the end of the run",
];

/// Writing a default out changes nothing.
#[test]
fn the_defaults_of_the_reference_hold() {
    let sections = reference::sections();
    let section = |name: &str| sections.iter().find(|s| s.name == name).unwrap();
    let own = |line: &&str| ["encoding", "max_rate", "present", "rest"].iter().any(|key| line.starts_with(key));
    let bars = sharpwave::scenario::built_in("bars").unwrap().lines().filter(|line| !own(line)).collect::<Vec<_>>().join("\n");
    let first = section("scenario").example;
    let recorded = section("record").example.replace(", start = \"20 ms\"", "");
    // (section and heading of the keys, a scenario, where in it they stand)
    let cases = [
        ("simulation", "[simulation]", first, "simulation"),
        ("scale", "[scale]", first, "scale"),
        ("projections", "[[projections]]", first, "projections.0"),
        ("positions", "positions", section("rules").example, "populations.A.positions"),
        ("sources", "model = \"poisson\"", section("modulators").example, "populations.DA"),
        ("sources", "model = \"spike_generator\"", section("sources").example, "populations.written"),
        ("sources", "model = \"images\"", &bars, "populations.retina"),
        (
            "record",
            "record of a population",
            "[simulation]\nduration = 1\n[populations.E]\nmodel = \"iaf_psc_exp\"\nn = 2\nrecord = { states = \"V_m\" }",
            "populations.E.record",
        ),
        ("record", "record of a projection", &recorded, "projections.0.record"),
        ("rules", "rule `distance`", section("rules").example, "projections.2.rule"),
        ("values", "distribution `lognormal`", section("values").example, "projections.0.weight"),
        ("modulators", "[modulators] NAME", section("modulators").example, "modulators.dopamine"),
        ("drives", "[[drives]]", section("scenario").example, "drives.0"),
        ("drives", "type `ac_generator`", section("drives").example, "drives.2"),
        ("drives", "type `step_current_generator`", section("drives").example, "drives.3"),
        ("drives", "type `noise_generator`", section("drives").example, "drives.4"),
    ];
    let here = tempfile::tempdir().unwrap();
    for (name, text) in sections.iter().flat_map(|s| s.files) {
        std::fs::write(here.path().join(name), text).unwrap();
    }
    for entry in ["bars-images.idx3-ubyte", "bars-labels.idx1-ubyte"] {
        std::fs::copy(root().join("models/scenarios").join(entry), here.path().join(entry)).unwrap();
    }
    let mut tried = 0;
    for (name, heading, text, path) in cases {
        let file = here.path().join("s.toml");
        std::fs::write(&file, text).unwrap();
        let plan = |overrides: &[String]| {
            let plan = Scenario::load(&file, overrides, None).and_then(|s| s.plan(Library::built_in().unwrap()));
            let plan = plan.unwrap_or_else(|e| panic!("{heading} {overrides:?}: {e}"));
            format!("{:?}", (plan.network, plan.duration, plan.warmup, plan.engine, plan.threads))
        };
        let (_, _, keys) = section(name).tables.iter().find(|t| t.0 == heading).unwrap_or_else(|| panic!("no table {heading}"));
        let plain = plan(&[]);
        let written: toml_edit::DocumentMut = text.parse().unwrap();
        // Whether the scenario says it itself.
        let said = |key: &str| {
            let mut item = Some(written.as_item());
            for part in path.split('.').chain([key]) {
                item = item.and_then(|item| match part.parse::<usize>() {
                    Ok(index) => item.get(index),
                    Err(_) => item.get(part),
                });
            }
            item.is_some()
        };
        for key in keys.iter().filter(|k| !k.default.is_empty() && !k.default.starts_with(reference::REQUIRED)) {
            if said(key.name) {
                continue;
            }
            let default = match key.default {
                "true for neurons" => "true",
                words if WORDS.contains(&words) || words.contains("the sheet") => continue,
                other => other,
            };
            assert!(
                plan(&[format!("{path}.{}={default}", key.name)]) == plain,
                "{heading}: {} is not {default} by default",
                key.name
            );
            tried += 1;
        }
    }
    assert!(tried > 25, "only {tried} defaults");
}

/// `BLESS=1 cargo test --test it the_reference_is_in_docs` writes it.
#[test]
fn the_reference_is_in_docs() {
    let here = tempfile::tempdir().unwrap();
    let printed = done(here.path(), &["help", "scenario"]);
    let file = root().join("docs/scenario.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &printed).unwrap();
    }
    assert!(std::fs::read_to_string(&file).unwrap() == printed, "run BLESS=1 cargo test --test it the_reference_is_in_docs");
    for section in reference::sections() {
        let one = done(here.path(), &["help", "scenario", section.name]);
        assert!(printed.contains(one.trim_end()) && section.keys().iter().all(|key| one.contains(&format!("`{key}`"))));
    }
    let refused = sharpwave(here.path(), &["help", "scenario", "rule"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("did you mean `rules`?"));
}

#[test]
fn help_completions_and_manual_pages() {
    let here = tempfile::tempdir().unwrap();
    let at = here.path();
    assert!(done(at, &["help"]).contains("Simulate a scenario"));
    assert_eq!(done(at, &["help", "run"]), done(at, &["run", "--help"]));
    assert!(done(at, &["help", "memory", "list"]).contains("--memory"));
    assert!(String::from_utf8_lossy(&sharpwave(at, &["help", "rum"]).stderr).contains("did you mean `run`?"));
    for (shell, word) in [("bash", "complete -F"), ("zsh", "#compdef sharpwave"), ("fish", "complete -c sharpwave")] {
        let text = done(at, &["completions", shell]);
        assert!(text.contains(word) && text.contains("checkpoint-every"), "{shell}: {}", &text[..200]);
    }
    let bash = Command::new("bash").arg("-n").arg("-c").arg(done(at, &["completions", "bash"])).status();
    assert!(bash.is_ok_and(|status| status.success()));
    let page = done(at, &["man"]);
    assert!(page.contains(".TH sharpwave 1") && page.contains("Simulate a scenario"), "{page}");
    assert!(done(at, &["man", "run"]).contains("checkpoint\\-every"));
    let files = done(at, &["man", "--out", "pages"]);
    assert!(
        files.lines().any(|f| f == "pages/sharpwave-memory-list.1") && files.lines().all(|f| at.join(f).is_file()),
        "{files}"
    );
}

/// Lines of the README's block "Use" that are not run here: what they have in them, and why.
const NOT_RUN: [(&str, &str); 19] = [
    ("smollm2", "a model from the network"),
    ("--memory me", "a memory of that model"),
    ("--model M", "a model of the reader's own"),
    ("adapter info", "an adapter of the reader's own"),
    ("data fetch", "the network"),
    ("diehl_cook_2015", "data from the network"),
    ("split_mnist", "data from the network"),
    ("two_hundred_tasks", "data from the network"),
    ("potjans", "half a minute"),
    ("--engine event", "half a minute"),
    ("--engine gpu", "a GPU"),
    ("izhikevich_2003", "fifteen runs"),
    ("protocol permuted_patterns", "half a minute"),
    ("bench --quick", "two minutes"),
    ("bench network", "a GPU"),
    ("--chat", "a memory of that model"),
    ("rwkv7.bin", "a model of the reader's own"),
    ("protocol e_prop", "half a minute"),
    ("devices", "a graphics driver"),
];

/// What a newcomer types, in order and in an empty folder.
#[test]
fn the_quick_commands_of_the_readme_run() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme.split("## Use").nth(1).and_then(|rest| rest.split("```").nth(1)).unwrap();
    let lines: Vec<&str> = block.lines().filter(|line| line.starts_with("sharpwave ")).collect();
    for (word, why) in NOT_RUN {
        assert!(lines.iter().any(|line| line.contains(word)), "no line has {word} ({why})");
    }
    let here = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_BIN_EXE_sharpwave")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut ran = 0;
    for line in lines.into_iter().filter(|line| !NOT_RUN.iter().any(|(word, _)| line.contains(word))) {
        let output = Command::new("bash").args(["-c", line]).current_dir(here.path()).env("PATH", &path).output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
        ran += 1;
    }
    assert!(ran >= 10, "{ran}");
    assert!(here.path().join("out/part/two_rates.pdf").is_file());
}
