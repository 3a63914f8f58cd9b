//! The command line as a user meets it: exit codes, where texts go, refusals, interruption and resumption.

use crate::common::plan;
use sharpwave::record::read::Recording;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const NETWORK: &str = r#"
title = "A noisy population"
[simulation]
dt = "0.1 ms"
duration = "600 ms"
seed = 3
[populations.E]
model = "iaf_psc_exp"
n = 400
record = { spikes = true, states = ["V_m"], neurons = 2, interval = "1 ms", rate_bin = "10 ms" }
[[projections]]
source = "E"
target = "E"
rule = { name = "fixed_indegree", indegree = 20 }
synapse = { model = "tsodyks2_synapse", U = 0.5, tau_rec = "100 ms" }
weight = "40 pA"
delay = { distribution = "uniform", low = "0.5 ms", high = "4 ms" }
record = { weights = true }
[[drives]]
target = "E"
type = "poisson_generator"
rate = "9000 Hz"
weight = "50 pA"
"#;

fn sharpwave(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sharpwave")).args(arguments).current_dir(folder).env("NO_COLOR", "1").output().unwrap()
}

fn folder(scenario: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("net.toml"), scenario).unwrap();
    let path = folder.path().to_path_buf();
    (folder, path)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn spikes(file: PathBuf) -> (Vec<f64>, Vec<u64>) {
    let train = Recording::open(file).unwrap().spikes("E").unwrap();
    (train.times, train.ids)
}

/// Runs and expects success.
fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = sharpwave(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_run_prints_its_summary_and_records() {
    let (_keep, at) = folder(NETWORK);
    let summary = done(&at, &["run", "net.toml", "--out", "a.h5"]);
    for part in ["A noisy population", "rate/Hz", "CV ISI", "real-time factor", "synaptic events", "bytes per synapse", "a.h5"] {
        assert!(summary.contains(part), "{part} missing in\n{summary}");
    }
    let json: serde_json::Value = serde_json::from_str(&done(&at, &["run", "net.toml", "--json"])).unwrap();
    let (times, _) = spikes(at.join("a.h5"));
    assert!(times.len() > 100);
    assert_eq!(json["spikes"], times.len());
    assert_eq!(json["synapses"], 8000);
    let figures = done(&at, &["plot", "a.h5", "--out", "figures"]);
    assert!(figures.contains("raster"), "{figures}");
    for file in figures.lines() {
        assert!(std::fs::metadata(at.join(file)).unwrap().len() > 500, "{file}");
    }
}

#[test]
fn threads_do_not_change_the_recording() {
    let (_keep, at) = folder(NETWORK);
    let runs = ["1", "2", "3"].map(|threads| {
        let out = format!("{threads}.h5");
        done(&at, &["run", "net.toml", "--threads", threads, "--engine", "cpu", "--out", &out]);
        spikes(at.join(out))
    });
    assert!(runs[0].0.len() > 100 && runs[0] == runs[1] && runs[0] == runs[2]);
}

#[test]
fn an_existing_output_is_kept_without_force() {
    let (_keep, at) = folder(NETWORK);
    std::fs::write(at.join("a.h5"), "precious").unwrap();
    let refused = sharpwave(&at, &["run", "net.toml", "--out", "a.h5"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("--force"), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read_to_string(at.join("a.h5")).unwrap(), "precious");
    done(&at, &["run", "net.toml", "--out", "a.h5", "--force"]);
    assert!(!spikes(at.join("a.h5")).0.is_empty());
}

#[test]
fn an_existing_checkpoint_is_kept_without_force() {
    let (_keep, at) = folder(NETWORK);
    std::fs::write(at.join("a.checkpoint"), "precious").unwrap();
    let refused = sharpwave(&at, &["run", "net.toml", "--out", "a.h5"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("a.checkpoint"), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read_to_string(at.join("a.checkpoint")).unwrap(), "precious");
    assert!(!at.join("a.h5").exists());
}

/// (what to replace, by what, what the message must name)
const MISTAKES: [(&str, &str, &[&str]); 9] = [
    ("duration =", "durration =", &["net.toml:5", "durration", "duration"]),
    ("\"600 ms\"", "\"600 mV\"", &["net.toml:5", "mV", "ms"]),
    ("model = \"iaf_psc_exp\"", "model = \"iaf_psc_exq\"", &["net.toml:8", "iaf_psc_exp"]),
    ("source = \"E\"", "source = \"F\"", &["net.toml:12", "F", "E"]),
    ("indegree = 20 }", "indegree = 500 }\nmultapses = false", &["net.toml:14", "500"]),
    ("n = 400", "n = 400\nparams = { tau_m = \"-2 ms\" }", &["net.toml:10", "tau_m"]),
    ("low = \"0.5 ms\"", "low = \"0.01 ms\"", &["net.toml:17", "0.1"]),
    ("rate = \"9000 Hz\"", "rate = nan", &["net.toml:22", "nan"]),
    ("seed = 3", "seed = 3 4", &["net.toml:6"]),
];

#[test]
fn mistakes_are_refused_with_file_line_and_remedy() {
    for (what, by, named) in MISTAKES {
        let wrong = NETWORK.replacen(what, by, 1);
        assert_ne!(wrong, NETWORK);
        let (_keep, at) = folder(&wrong);
        for command in [&["check", "net.toml"][..], &["run", "net.toml", "--out", "a.h5"]] {
            let refused = sharpwave(&at, command);
            let message = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(2), "{by}: {message}");
            assert!(refused.stdout.is_empty(), "{by}: results on standard output");
            for part in named {
                assert!(message.to_lowercase().contains(&part.to_lowercase()), "{by}: {part} not named in\n{message}");
            }
            assert!(message.contains("help:"), "{by}: no remedy in\n{message}");
            assert!(!message.contains("panicked"), "{message}");
            assert!(!at.join("a.h5").exists());
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_nobody_takes_is_no_panic() {
    let run = |redirection: &str| {
        let command = format!("'{}' models {redirection}", env!("CARGO_BIN_EXE_sharpwave"));
        let output = Command::new("bash").args(["-c", &command]).output().unwrap();
        let message = text(&output.stderr);
        assert!(!message.contains("panicked"), "{message}");
        (output.status.code(), message)
    };
    assert_eq!(run("| true; exit ${PIPESTATUS[0]}"), (Some(0), String::new()));
    let (code, message) = run("> /dev/full");
    assert!(code == Some(1) && message.contains("cannot be printed"), "{message}");
}

#[test]
fn options_are_checked_too() {
    let (_keep, at) = folder(NETWORK);
    for (arguments, named) in [
        (&["run", "none.toml"][..], "none.toml"),
        (&["run", "net.toml", "--engine", "cpo"], "cpu"),
        (&["run", "net.toml", "--threads", "0"], "--threads"),
        (&["run", "net.toml", "--set", "simulation.durration=1"], "duration"),
        (&["run", "net.toml", "--set", "nonsense"], "nonsense"),
        (&["run", "net.toml", "--variant", "X"], "X"),
        (&["run", "net.toml", "--resume", "none.checkpoint"], "none.checkpoint"),
        (&["run", "net.toml", "--checkpoint-every", "10 ms"], "--out"),
        (&["run", "net.toml", "--checkpoint-every", "10 mV", "--out", "a.h5"], "mV"),
        (&["models", "show", "iaf_psc_exq"], "iaf_psc_exp"),
        (&["plot", "net.toml"], "net.toml"),
        (&["run", "net.toml", "--models", "nowhere"], "nowhere"),
    ] {
        let refused = sharpwave(&at, arguments);
        let message = text(&refused.stderr);
        assert!(matches!(refused.status.code(), Some(1 | 2)), "{arguments:?}: {message}");
        assert!(message.contains(named) && !message.contains("panicked"), "{arguments:?}: {named} not in\n{message}");
    }
}

#[test]
fn a_checkpointed_run_resumes_bit_for_bit_and_branches() {
    let (_keep, at) = folder(NETWORK);
    done(&at, &["run", "net.toml", "--out", "whole.h5"]);
    let whole = spikes(at.join("whole.h5"));
    done(&at, &["run", "net.toml", "--out", "part.h5", "--set", "simulation.duration=250 ms", "--checkpoint-every", "250 ms"]);
    assert!(spikes(at.join("part.h5")).0.len() < whole.0.len());
    let branch = ["run", "net.toml", "--out", "branch.h5", "--resume", "part.checkpoint", "--seed", "99"];
    done(&at, &branch);
    let branch = spikes(at.join("branch.h5"));
    assert!(branch.0.iter().all(|t| *t > 250.0) && !branch.0.is_empty());
    done(&at, &["run", "net.toml", "--out", "part.h5", "--resume", "part.checkpoint"]);
    assert_eq!(spikes(at.join("part.h5")), whole);
    let rest: Vec<f64> = whole.0.iter().copied().filter(|t| *t > 250.0).collect();
    assert_ne!(branch.0, rest, "another seed is another course");
}

/// Only the stimuli follow another seed: the states of plastic synapses belong to the edges they were computed on.
#[test]
fn a_branch_keeps_its_network_and_a_resumed_run_its_seed() {
    let random = NETWORK.replace("fixed_indegree\", indegree = 20", "pairwise_bernoulli\", p = 0.05");
    assert_ne!(random, NETWORK);
    let (_keep, at) = folder(&random);
    done(&at, &["run", "net.toml", "--seed", "8", "--out", "whole.h5"]);
    let part = ["run", "net.toml", "--seed", "8", "--out", "part.h5", "--set", "simulation.duration=250 ms"];
    done(&at, &[&part[..], &["--checkpoint-every", "250 ms"]].concat());
    let edges = |file: &str| {
        let recording = Recording::open(at.join(file)).unwrap();
        let series = recording.weights().unwrap();
        recording.edges(&series[0]).unwrap()
    };
    for seed in ["9", "10"] {
        let out = format!("{seed}.h5");
        done(&at, &["run", "net.toml", "--out", &out, "--resume", "part.checkpoint", "--seed", seed]);
        assert_eq!(edges(&out), edges("part.h5"));
        let info = Recording::open(at.join(&out)).unwrap().info;
        assert_eq!((info.seed, info.stimulus_seed), (8, seed.parse().unwrap()));
    }
    assert_ne!(spikes(at.join("9.h5")), spikes(at.join("10.h5")));
    // No seed given: the checkpoint's, not the scenario's.
    done(&at, &["run", "net.toml", "--out", "part.h5", "--resume", "part.checkpoint"]);
    assert_eq!(spikes(at.join("part.h5")), spikes(at.join("whole.h5")));
}

#[test]
fn a_run_never_writes_over_a_file_it_needs() {
    let (_keep, at) = folder(NETWORK);
    let part = ["run", "net.toml", "--set", "simulation.duration=100 ms"];
    done(&at, &[&part[..], &["--out", "part.h5", "--checkpoint-every", "100 ms"]].concat());
    done(&at, &["run", "net.toml", "--out", "whole.h5"]);
    let files = ["net.toml", "part.h5", "part.checkpoint", "whole.h5"];
    let before = files.map(|f| std::fs::read(at.join(f)).unwrap());
    for arguments in [
        &["--out", "net.toml", "--force"][..],
        &["--out", "new.h5", "--checkpoint", "./net.toml", "--force"],
        &["--out", "new.h5", "--checkpoint", "new.h5"],
        &["--out", "new.checkpoint"],
        &["--resume", "part.checkpoint", "--out", "./part.checkpoint", "--force"],
        // Complete to a later time than the checkpoint's: going on would cut it.
        &["--resume", "part.checkpoint", "--out", "whole.h5"],
    ] {
        let refused = sharpwave(&at, &[&["run", "net.toml"][..], arguments].concat());
        assert!(matches!(refused.status.code(), Some(1 | 2)), "{arguments:?}");
        assert!(text(&refused.stderr).contains("help:"), "{}", text(&refused.stderr));
        assert!(!at.join("new.h5").exists() && !at.join("new.checkpoint").exists());
        assert!(files.map(|f| std::fs::read(at.join(f)).unwrap()) == before, "{arguments:?} changed a file");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_checkpoint_from_which_the_run_goes_on() {
    let (_keep, at) = folder(&NETWORK.replace("600 ms", "3000 ms"));
    done(&at, &["run", "net.toml", "--out", "whole.h5", "--engine", "cpu"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_sharpwave"))
        .args(["run", "net.toml", "--out", "cut.h5", "--engine", "cpu", "--set", "simulation.duration=600 s"])
        .current_dir(&at)
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Interrupt once the first spikes are on disk: a recording can be read while the run writes it.
    let begun = || Recording::open(at.join("cut.h5")).and_then(|r| r.spike_count("E")).is_ok_and(|n| n > 0);
    while !begun() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("--resume cut.checkpoint"), "{}", text(&output.stderr));
    let cut = spikes(at.join("cut.h5"));
    assert!(!cut.0.is_empty());
    let reached = cut.0.last().unwrap() + 200.0;
    let end = format!("simulation.duration={reached} ms");
    done(&at, &["run", "net.toml", "--out", "cut.h5", "--resume", "cut.checkpoint", "--set", &end, "--engine", "cpu"]);
    done(&at, &["run", "net.toml", "--out", "again.h5", "--set", &end, "--engine", "cpu"]);
    assert_eq!(spikes(at.join("cut.h5")), spikes(at.join("again.h5")));
}

#[test]
fn models_are_listed_with_parameters_defaults_units_and_source() {
    let (_keep, at) = folder(NETWORK);
    let list = done(&at, &["models"]);
    for part in ["iaf_psc_exp", "hh_psc_alpha", "tsodyks2_synapse", "tau_syn_ex = 2 ms", "source:"] {
        assert!(list.contains(part), "{part} missing in\n{list}");
    }
    let shown = done(&at, &["models", "show", "iaf_psc_delta"]);
    assert!(shown.contains("V_th") && shown.contains("event"), "{shown}");
}

#[test]
fn a_model_file_of_the_users_own_needs_no_rebuild() {
    let (_keep, at) = folder(&NETWORK.replace("model = \"iaf_psc_exp\"", "model = \"my_neuron\""));
    std::fs::create_dir(at.join("own")).unwrap();
    let builtin = include_str!("../../models/neurons/iaf_psc_exp.toml");
    let own = builtin.replace("name = \"iaf_psc_exp\"", "name = \"my_neuron\"").replace("v = v_reset;", "v = v_reset - 1.0;");
    std::fs::write(at.join("own/my_neuron.toml"), &own).unwrap();
    let ours = done(&at, &["run", "net.toml", "--models", "own", "--json"]);
    let spikes: serde_json::Value = serde_json::from_str(&ours).unwrap();
    assert!(spikes["spikes"].as_u64().unwrap() > 50);
    std::fs::write(at.join("own/my_neuron.toml"), own.replace("v = v_reset - 1.0;", "v = v_reset - 1.0 + wrong;")).unwrap();
    let refused = sharpwave(&at, &["run", "net.toml", "--models", "own"]);
    let message = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2));
    assert!(message.contains("my_neuron.toml") && message.contains("wrong"), "{message}");
}

/// Every scenario that ships plans, and names its source.
#[test]
fn shipped_scenarios_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in std::fs::read_dir(root.join("models/scenarios")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            let text = done(root, &["check", name]);
            assert!(text.contains("no mistakes found"), "{name}: {text}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen}");
    assert!(plan(NETWORK, &["simulation.seed=4"]).network.seed == 4);
}

/// A name of `sharpwave scenarios` stands for a file everywhere; a file of that name is taken first.
#[test]
fn scenarios_have_names() {
    let (_keep, at) = folder(NETWORK);
    let list = done(&at, &["scenarios"]);
    let json: serde_json::Value = serde_json::from_str(&done(&at, &["scenarios", "--json"])).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/scenarios");
    let files =
        std::fs::read_dir(&shipped).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "toml"));
    let names: Vec<String> = files.map(|p| p.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(json.as_array().unwrap().len(), names.len());
    for name in &names {
        assert!(list.lines().any(|line| line.split_whitespace().next() == Some(name)), "{name} is not in\n{list}");
        let file = std::fs::read_to_string(shipped.join(format!("{name}.toml"))).unwrap();
        assert_eq!(done(&at, &["scenarios", "show", name]).trim_end(), file.trim_end());
    }
    assert!(list.contains("12,500 neurons") && list.contains("SI_fast") && list.contains("Brunel N (2000)"), "{list}");

    let summary = done(&at, &["run", "quickstart", "--set", "simulation.duration=100 ms", "--out", "a.h5"]);
    assert!(summary.contains("Two neurons"), "{summary}");
    assert_eq!(Recording::open(at.join("a.h5")).unwrap().info.scenario_path, "quickstart");
    // The pictures that this one reads come along with it, in every variant.
    assert!(done(&at, &["check", "bars"]).contains("no mistakes found"));
    assert!(done(&at, &["check", "bars", "--variant", "latency"]).contains("no mistakes found"));
    let refused = sharpwave(&at, &["check", "bars", "--set", "populations.retina.images=mine.idx"]);
    assert!(text(&refused.stderr).contains("there is no file `mine.idx`"), "{}", text(&refused.stderr));

    std::fs::create_dir(at.join("bars")).unwrap();
    assert!(done(&at, &["check", "bars"]).contains("Bars shown"), "a folder of the name hides no scenario");
    std::fs::write(at.join("quickstart"), NETWORK).unwrap();
    assert!(done(&at, &["check", "quickstart"]).contains("A noisy population"));
    for (wrong, near) in [("quikstart", "`quickstart`"), ("models/brunel_200.toml", "`brunel_2000`"), ("x", "brunel_stdp")] {
        let refused = sharpwave(&at, &["check", wrong]);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains(near) && said.contains("no scenario of this name"), "{said}");
    }
    assert!(text(&sharpwave(&at, &["scenarios", "show", "quikstart"]).stderr).contains("did you mean `quickstart`?"));
}
