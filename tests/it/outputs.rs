//! What the program leaves on disk, through its command line: special files and what others made are never replaced, and a recording
//! tells all that it was made from, so that it can be made again.

use sharpwave::record::read::Recording;
use std::path::Path;
use std::process::{Command, Output};

const NETWORK: &str = r#"
variant = "calm"
[simulation]
duration = "60 ms"
seed = 3
[variables]
I = 300
[variants.calm]
"variables.I" = 400
[variants.wild]
"variables.I" = 700
[variants.wild.populations.E]
n = 12
[populations.E]
model = "iaf_psc_exp"
n = 10
params = { I_e = "I pA", C_m = { distribution = "uniform", low = "200 pF", high = "300 pF" } }
positions = { layout = "random", extent = ["1 mm", "1 mm"] }
record = { spikes = true }
[populations.noise]
model = "poisson"
n = 5
rate = "2000 Hz"
[[projections]]
source = "noise"
target = "E"
rule = "all_to_all"
weight = "30 pA"
delay = { distribution = "uniform", low = "0.5 ms", high = "3 ms" }
[[published]]
source = "nobody"
quantity = "rate"
variant = "wild"
values = { E = 5 }
"#;

fn sharpwave(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sharpwave")).args(arguments).current_dir(folder).env("NO_COLOR", "1").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = sharpwave(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Refused before anything was done, with these words and a remedy.
fn refused(folder: &Path, arguments: &[&str], words: &[&str]) -> String {
    let output = sharpwave(folder, arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    words.iter().chain(&["help"]).for_each(|word| assert!(error.contains(word), "{arguments:?}: no `{word}` in {error}"));
    error
}

fn with(scenario: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("net.toml"), scenario).unwrap();
    folder
}

#[cfg(unix)]
fn fifo(path: &Path) {
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a path that ends in NUL.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
}

#[cfg(unix)]
#[test]
fn pipes_devices_links_and_folders_are_never_replaced() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let folder = with(NETWORK);
    let at = folder.path();
    let kind = |name: &str| std::fs::symlink_metadata(at.join(name)).unwrap().file_type();
    fifo(&at.join("pipe"));
    std::fs::write(at.join("target.h5"), "mine").unwrap();
    symlink("target.h5", at.join("link.h5")).unwrap();
    std::fs::create_dir(at.join("folder.h5")).unwrap();
    refused(at, &["run", "net.toml", "--out", "pipe", "--force"], &["a named pipe"]);
    refused(at, &["run", "net.toml", "--out", "new.h5", "--checkpoint", "pipe", "--force"], &["a named pipe"]);
    refused(at, &["run", "net.toml", "--out", "link.h5", "--force"], &["symbolic link to", "target.h5"]);
    refused(at, &["run", "net.toml", "--out", "folder.h5", "--force"], &["is a folder"]);
    refused(at, &["run", "net.toml", "--out", "/dev/null", "--force"], &["a device"]);
    refused(at, &["run", "net.toml", "--out", "net.toml/a.h5"], &["is not a folder"]);
    assert!(kind("pipe").is_fifo() && kind("link.h5").is_symlink() && kind("folder.h5").is_dir() && !at.join("new.h5").exists());
    assert_eq!(std::fs::read_to_string(at.join("target.h5")).unwrap(), "mine");

    let name = std::ffi::CString::new(at.join("device").to_str().unwrap()).unwrap();
    // SAFETY: a path that ends in NUL.
    match unsafe { libc::mknod(name.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 3)) } {
        0 => {
            refused(at, &["run", "net.toml", "--out", "device", "--force"], &["a device"]);
            assert!(kind("device").is_char_device());
        }
        _ => println!("skipped: a device node of our own needs root"),
    }

    done(at, &["run", "net.toml", "--out", "run.h5", "-q"]);
    fifo(&at.join("run.html"));
    refused(at, &["plot", "run.h5", "--force"], &["run.html", "a named pipe"]);
    assert!(
        kind("run.html").is_fifo() && !at.join("run_raster.svg").exists(),
        "figures were written before the page was looked at"
    );
    // Text flows through.
    let reader = {
        let path = at.join("pipe");
        std::thread::spawn(move || std::fs::read_to_string(path).unwrap())
    };
    done(at, &["bench", "latency", "--quick", "--runs", "1", "--engine", "cpu", "--json", "pipe"]);
    assert!(reader.join().unwrap().starts_with('{'));
    assert!(
        done(at, &["bench", "latency", "--quick", "--runs", "1", "--engine", "cpu", "--json", "/dev/stdout"]).starts_with('{')
    );
    refused(at, &["bench", "--json", "same", "--markdown", "same"], &["one file"]);
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_written_is_told_before_the_work() {
    use std::os::unix::fs::PermissionsExt;
    // SAFETY: nothing can go wrong.
    if unsafe { libc::geteuid() } == 0 {
        println!("skipped: root may write everywhere");
        return;
    }
    let folder = with(NETWORK);
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
    let output = sharpwave(folder.path(), &["run", "net.toml", "--out", "closed/a.h5", "--set", "simulation.duration=100 s"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("closed: cannot be written"), "{}", text(&output.stderr));
}

/// The limit on file sizes is met when the page is written.
#[cfg(unix)]
#[test]
fn what_was_there_stays_when_its_successor_cannot_be_written() {
    let folder = with(NETWORK);
    let at = folder.path();
    done(at, &["run", "net.toml", "--out", "run.h5", "-q"]);
    std::fs::write(at.join("run.html"), "the old page").unwrap();
    let command = format!("trap '' XFSZ; ulimit -f 4; exec '{}' plot run.h5 --force", env!("CARGO_BIN_EXE_sharpwave"));
    let output = Command::new("sh").args(["-c", &command]).current_dir(at).env("NO_COLOR", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("size limit"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_to_string(at.join("run.html")).unwrap(), "the old page");
    let left = std::fs::read_dir(at).unwrap().filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with(".part"));
    assert_eq!(left.count(), 0);
}

#[test]
fn results_are_replaced_only_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let case = r#"{"case_id": 1, "prompt": "The name of the dog was", "target_new": "Max", "subject": "the dog", "ground_truth": "Tom",
        "rephrase_prompt": "The dog is called", "locality_prompt": "The name of the cat was", "locality_ground_truth": "Tom"}"#;
    std::fs::write(at.join("data.jsonl"), case.replace('\n', "")).unwrap();
    let eval =
        ["eval", "edits", "--model", "stories260k", "--data", "data.jsonl", "--n", "1", "--methods", "unedited", "--out", "out"];
    let protocol = ["protocol", "permuted_patterns", "--quick", "--out", "out"];
    for (file, command) in
        [("results.json", &eval[..]), ("index.html", &eval), ("results.json", &protocol), ("index.html", &protocol)]
    {
        std::fs::create_dir(at.join("out")).unwrap();
        std::fs::write(at.join("out").join(file), "precious").unwrap();
        refused(at, command, &[file, "exists already", "--force"]);
        assert_eq!(std::fs::read_to_string(at.join("out").join(file)).unwrap(), "precious");
        std::fs::remove_dir_all(at.join("out")).unwrap();
    }
    #[cfg(unix)]
    for command in [&eval[..], &protocol] {
        std::fs::create_dir(at.join("out")).unwrap();
        fifo(&at.join("out/results.json"));
        refused(at, &[command, &["--force"]].concat(), &["a named pipe"]);
        std::fs::remove_dir_all(at.join("out")).unwrap();
    }
}

fn spikes(path: &Path) -> (Vec<f64>, Vec<u64>) {
    let train = Recording::open(path).unwrap().spikes("E").unwrap();
    assert!(!train.times.is_empty());
    (train.times, train.ids)
}

/// By the command `extract`, by its printed text, and by the recording itself as the scenario.
#[test]
fn a_recording_runs_again_with_its_variant_overrides_and_models() {
    let folder = with(&NETWORK.replace("iaf_psc_exp", "my_neuron"));
    let at = folder.path();
    std::fs::create_dir(at.join("own")).unwrap();
    let built_in = done(at, &["models", "show", "iaf_psc_exp"]);
    let file = built_in[built_in.find("\nname = ").expect("the file's text is shown") + 1..].to_string();
    let mine = file.replacen("\"iaf_psc_exp\"", "\"my_neuron\"", 1);
    std::fs::write(at.join("own/mine.toml"), &mine).unwrap();
    let asked = ["--variant", "wild", "--set", "populations.E.params.tau_m=12 ms", "--seed", "18446744073709551615"];
    let run = ["run", "net.toml", "--models", "own", "--out", "first.h5", "-q"];
    done(at, &[&run[..], &asked].concat());
    let first = spikes(&at.join("first.h5"));

    let recording = Recording::open(at.join("first.h5")).unwrap();
    let info = &recording.info;
    assert_eq!(info.variant.as_deref(), Some("wild"));
    assert_eq!(info.seed, u64::MAX);
    assert_eq!(info.models, [("own/mine.toml".to_string(), mine)]);
    assert!(info.command.contains("--set 'populations.E.params.tau_m=12 ms'"), "{}", info.command);
    assert_eq!(recording.positions("E").unwrap().unwrap().len(), 12);
    assert_eq!(recording.positions("noise").unwrap(), None);
    for part in ["12 ms", "700", "60 ms", "dt = ", "engine = "] {
        assert!(info.resolved.contains(part), "{part} missing in {}", info.resolved);
    }
    assert!(!info.resolved.contains("[variants"));

    // From elsewhere, without what it was made from.
    std::fs::remove_dir_all(at.join("own")).unwrap();
    std::fs::remove_file(at.join("net.toml")).unwrap();
    done(at, &["run", "first.h5", "--out", "second.h5", "-q"]);
    assert_eq!(spikes(&at.join("second.h5")), first);
    let note = text(&sharpwave(at, &["extract", "second.h5", "--out", "taken out"]).stderr);
    assert!(note.contains("sharpwave run 'taken out/scenario.toml' --models 'taken out/models'"), "{note}");
    let again = ["run", "taken out/scenario.toml", "--models", "taken out/models", "--out", "third.h5", "-q"];
    done(at, &again);
    assert_eq!(spikes(&at.join("third.h5")), first);
    std::fs::write(at.join("printed.toml"), done(at, &["extract", "first.h5"])).unwrap();
    done(at, &["run", "printed.toml", "--models", "taken out/models", "--out", "fourth.h5", "-q"]);
    assert_eq!(spikes(&at.join("fourth.h5")), first);
    refused(at, &["extract", "first.h5", "--out", "taken out"], &["exists already"]);

    done(at, &["plot", "first.h5"]);
    let page = std::fs::read_to_string(at.join("first.html")).unwrap();
    let run = &page[..page.find("<h2>Scenario").unwrap()];
    assert!(run.contains("wild") && run.contains("tau_m=12 ms") && run.contains("mine.toml"), "{run}");
}

/// Data files are found again from elsewhere.
#[test]
fn the_resolved_scenario_names_its_files_by_whole_paths() {
    let folder = with(&NETWORK.replace("rate = \"2000 Hz\"", "rate = { file = \"rates.csv\" }"));
    let at = folder.path();
    std::fs::write(at.join("rates.csv"), "rate\n1000\n2000\n3000\n2500\n1500\n").unwrap();
    done(at, &["run", "net.toml", "--out", "first.h5", "-q"]);
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("s.toml"), done(at, &["extract", "first.h5"])).unwrap();
    done(elsewhere.path(), &["run", "s.toml", "--out", "second.h5", "-q"]);
    assert_eq!(spikes(&elsewhere.path().join("second.h5")), spikes(&at.join("first.h5")));
}

#[test]
fn totals_are_those_of_the_whole_recording() {
    let folder = with(NETWORK);
    let at = folder.path();
    done(at, &["run", "net.toml", "--out", "whole.h5", "-q"]);
    let part = ["run", "net.toml", "--out", "part.h5", "--set", "simulation.duration=40 ms", "--checkpoint-every", "20 ms", "-q"];
    done(at, &part);
    let counters = |name: &str| {
        let ending = Recording::open(at.join(name)).unwrap().ending;
        let c = ending.counters.unwrap();
        ((c.spikes, c.synaptic_events, c.neuron_updates), ending.wall.unwrap())
    };
    let (_, first) = counters("part.h5");
    done(at, &["run", "net.toml", "--out", "part.h5", "--resume", "part.checkpoint", "-q"]);
    let ((whole, _), (part, wall)) = (counters("whole.h5"), counters("part.h5"));
    assert_eq!(part, whole);
    assert!(wall > first, "{wall} s in all, {first} s before");
    // A branch of its own counts from where it begins.
    done(at, &["run", "net.toml", "--out", "branch.h5", "--resume", "part.checkpoint", "--seed", "9", "-q"]);
    assert!(counters("branch.h5").0.2 < whole.2);
}

#[test]
fn the_course_of_dopamine_is_recorded() {
    let signal = r#"[modulators.dopamine]
tau = "20 ms"
initial = 0.5
jumps = { times = ["10 ms"], amounts = [1.0] }
spikes = { population = "noise", delay = "2 ms", amount = 0.25 }
[[published]]"#;
    let network = NETWORK.replace("[[published]]", signal);
    let folder =
        with(&network.replace("model = \"poisson\"\nn = 5\n", "model = \"poisson\"\nn = 5\nrecord = { spikes = true }\n"));
    let at = folder.path();
    done(at, &["run", "net.toml", "--out", "whole.h5", "-q"]);
    let recording = Recording::open(at.join("whole.h5")).unwrap();
    let signals = recording.signals().unwrap();
    let train = recording.spikes("noise").unwrap();
    assert!(train.times.len() > 20);
    let jumps = train.times.iter().map(|t| (t + 2.0, 0.25)).chain([(10.0, 1.0)]);
    let expected = |time: f64| {
        let since = |(at, amount): (f64, f64)| if at <= time { amount * (-(time - at) / 20.0).exp() } else { 0.0 };
        0.5 * (-time / 20.0).exp() + jumps.clone().map(since).sum::<f64>()
    };
    for time in [0.0, 9.95, 10.05, 33.33, 59.95] {
        assert!((signals[0].at(time) - expected(time)).abs() < 1e-9, "{time}: {} and {}", signals[0].at(time), expected(time));
    }
    // The same where the run was taken up again.
    let part = ["run", "net.toml", "--out", "part.h5", "--set", "simulation.duration=40 ms", "--checkpoint-every", "20 ms", "-q"];
    done(at, &part);
    done(at, &["run", "net.toml", "--out", "part.h5", "--resume", "part.checkpoint", "-q"]);
    assert_eq!(Recording::open(at.join("part.h5")).unwrap().signals().unwrap(), signals);
}

/// What was learned is where the next run begins.
#[test]
fn weights_of_a_recording_are_edges_of_the_next_run() {
    let network = NETWORK.replace(
        "weight = \"30 pA\"",
        "weight = { distribution = \"uniform\", low = 10, high = 40 }\nname = \"in\"\nrecord = { weights = true }",
    );
    let folder = with(&network);
    let at = folder.path();
    done(at, &["run", "net.toml", "--out", "first.h5", "-q"]);
    let again =
        network.replace("rule = \"all_to_all\"", "rule = { name = \"explicit\", file = \"first.h5\", projection = \"in\" }");
    std::fs::write(at.join("again.toml"), &again).unwrap();
    done(at, &["run", "again.toml", "--out", "second.h5", "-q"]);
    let weights = |name: &str| {
        let recording = Recording::open(at.join(name)).unwrap();
        let series = recording.weights().unwrap().remove(0);
        let (source, target) = recording.edges(&series).unwrap();
        let last = recording.weight_row(&series, series.times.len() - 1).unwrap();
        let mut edges: Vec<((u64, u64), f32)> = source.into_iter().zip(target).zip(last).collect();
        edges.sort_by_key(|edge| edge.0);
        edges
    };
    assert_eq!(weights("first.h5").len(), 50);
    // A table keeps weights in whole steps of their range, which is worth the last bit.
    for (a, b) in weights("second.h5").iter().zip(weights("first.h5")) {
        assert!(a.0 == b.0 && (a.1 - b.1).abs() <= 1e-6 * b.1, "{a:?} and {b:?}");
    }
    std::fs::write(at.join("wrong.toml"), again.replace("projection = \"in\"", "projection = \"out\"")).unwrap();
    let output = sharpwave(at, &["check", "wrong.toml"]);
    assert!(!output.status.success() && text(&output.stderr).contains("has no projection"), "{}", text(&output.stderr));
}

#[test]
fn spikes_of_nest_and_sonata_are_played() {
    let scenario = |source: &str| {
        format!(
            "[simulation]\nduration = \"20 ms\"\n[populations.E]\nmodel = \"spike_generator\"\nrecord = {{ spikes = true }}\n{source}\n"
        )
    };
    let nest = "# NEST version: 3.8\n# RecordBackendASCII version: 2\nsender\ttime_ms\n7\t2.5\n5\t1.0\n7\t12.3\n";
    let files = [
        ("a.dat", nest, "n = 3\nfile = \"a.dat\"\nfirst_id = 5"),
        ("a.gdf", "5   1.000\n7   2.500\n7  12.300\n", "n = 3\nfile = \"a.gdf\"\nfirst_id = 5"),
        ("a.csv", "timestamps population node_ids\n1.0 E 0\n2.5 E 2\n3.0 I 0\n12.3 E 2\n", "file = \"a.csv\""),
    ];
    for (name, content, source) in files {
        let folder = with(&scenario(source));
        let at = folder.path();
        std::fs::write(at.join(name), content).unwrap();
        done(at, &["run", "net.toml", "--out", "out.h5", "-q"]);
        let (times, ids) = spikes(&at.join("out.h5"));
        assert_eq!(ids, [0, 2, 2], "{name}");
        assert!(times.iter().zip([1.0, 2.5, 12.3]).all(|(a, b)| (a - b).abs() < 1e-9), "{name}: {times:?}");
    }
    let folder = with(&scenario("file = \"a.dat\"\nfirst_id = 6"));
    std::fs::write(folder.path().join("a.dat"), nest).unwrap();
    refused(folder.path(), &["check", "net.toml"], &["a.dat:5", "before first_id = 6"]);
}

#[cfg(unix)]
mod interrupted {
    use super::*;
    use std::time::{Duration, Instant};

    fn begin(at: &Path) -> std::process::Child {
        let child = Command::new(env!("CARGO_BIN_EXE_sharpwave"))
            .args(["run", "net.toml", "--out", "cut.h5", "--set", "simulation.duration=100000 s", "--threads", "1"])
            .current_dir(at)
            .stderr(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        while Recording::open(at.join("cut.h5")).and_then(|r| r.spike_count("E")).unwrap_or(0) == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    fn signal(child: &std::process::Child, signal: i32) {
        // SAFETY: a signal to our own child.
        unsafe { libc::kill(child.id() as i32, signal) };
    }

    /// As `timeout` does, which signals the program and then its process group.
    #[test]
    fn two_signals_at_once_are_one() {
        let folder = with(NETWORK);
        let child = begin(folder.path());
        signal(&child, libc::SIGTERM);
        std::thread::sleep(Duration::from_millis(20));
        signal(&child, libc::SIGTERM);
        let output = child.wait_with_output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{error}");
        assert!(error.contains("--resume cut.checkpoint") && folder.path().join("cut.checkpoint").exists(), "{error}");
    }

    #[test]
    fn a_later_one_ends_at_once() {
        let folder = with(NETWORK);
        let mut child = begin(folder.path());
        // It may end in order before a second one comes; the code is the same.
        signal(&child, libc::SIGINT);
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(600));
            signal(&child, libc::SIGINT);
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }
}

#[test]
fn models_can_be_read_in_eighty_columns() {
    let folder = tempfile::tempdir().unwrap();
    let list = done(folder.path(), &["models"]);
    let long: Vec<&str> = list.lines().filter(|l| l.chars().count() > 80 && l.trim().contains(' ')).collect();
    assert_eq!(long, Vec::<&str>::new());
    for name in ["iaf_psc_exp", "iaf_cond_exp", "stdp_dopamine_synapse", "tsodyks2_synapse"] {
        let shown = done(folder.path(), &["models", "show", name]);
        assert!(!shown.contains(" { absolute") && !shown.contains("Negative") && !shown.contains("Any)"), "{shown}");
    }
    assert!(done(folder.path(), &["models", "show", "iaf_psc_exp"]).contains("negative weights"));
}

#[test]
fn errors_stay_short_whatever_they_are_about() {
    let folder = with(NETWORK);
    let at = folder.path();
    let long = "x".repeat(20_000);
    for arguments in [
        &["check", "net.toml", "--set", &format!("variables.I='{long}'")][..],
        &["check", "net.toml", "--set", &format!("populations.{long}.n=3")],
        &["check", "net.toml", "--variant", &long],
        &["check", &format!("{}/net.toml", long.chars().take(4000).collect::<String>())],
    ] {
        let output = sharpwave(at, arguments);
        assert!(!output.status.success());
        let error = text(&output.stderr);
        assert!(error.len() < 8000, "{} bytes", error.len());
    }
    std::fs::write(at.join("long.jsonl"), format!("{{\"prompt\": \"{long}\", \"anser\": 1, \"x\": \"{long}\"}}\n")).unwrap();
    let output = sharpwave(at, &["learn", "--model", "stories260k", "--memory", "m", "long.jsonl", "--strict"]);
    assert!(!output.status.success() && output.stderr.len() < 4000, "{}", text(&output.stderr));
}
