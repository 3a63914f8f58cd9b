//! The benchmark suite as its users meet it: rows chosen by name, reports on disk, comparison, and the phases that engines tell, which
//! change nothing.

use crate::common::{device_there, open, plan};
use serde_json::Value;
use sharpwave::engine::{Sink, Spike};
use sharpwave::error::Result;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

fn bench(folder: &Path, arguments: &[&str]) -> Output {
    let quick = ["bench", "--runs", "2", "--engine", "cpu", "--threads", "1"];
    let all = quick.iter().chain(arguments);
    Command::new(env!("CARGO_BIN_EXE_sharpwave")).args(all).current_dir(folder).env("NO_COLOR", "1").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_report_is_written_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = ["update: iaf_psc_exp", "fan-out 100, 100"];
    let first = bench(at, &[&rows[..], &["--json", "first.json", "--markdown", "out/first.md"]].concat());
    assert!(first.status.success(), "{}", text(&first.stderr));
    let table = text(&first.stdout);
    for told in ["iaf_psc_exp", "fan-out 100, 100 Hz", "ns per event", "median", "GB/s"] {
        assert!(table.contains(told), "{told} missing in\n{table}");
    }
    assert!(std::fs::read_to_string(at.join("out/first.md")).unwrap().contains("| iaf_psc_exp, cpu"));
    let mut report: Value = serde_json::from_str(&std::fs::read_to_string(at.join("first.json")).unwrap()).unwrap();
    assert_eq!((report["rows"].as_array().unwrap().len(), &report["rows"][1]["part"]), (2, &"delivery".into()));
    assert!(report["rows"][0]["time"]["least"].as_f64().unwrap() > 0.0 && report["machine"]["cores"].as_u64().unwrap() >= 1);

    // Against a report in which everything took a hundredth, and one in which it took a hundred times as long.
    for (factor, code, said) in [(0.01, 1, "REGRESSED"), (100.0, 0, "iaf_psc_exp, cpu")] {
        for row in report["rows"].as_array_mut().unwrap() {
            for part in ["least", "median", "greatest"] {
                row["time"][part] = (row["time"][part].as_f64().unwrap() * factor).into();
            }
        }
        std::fs::write(at.join("then.json"), report.to_string()).unwrap();
        let again = bench(at, &["update: iaf_psc_exp", "--compare", "then.json"]);
        let told = text(&again.stdout);
        assert_eq!(again.status.code(), Some(code), "{told}{}", text(&again.stderr));
        assert!(told.contains(said) && told.contains("against"), "{told}");
        assert_eq!(told.contains("REGRESSED"), code == 1, "{told}");
        report = serde_json::from_str(&std::fs::read_to_string(at.join("first.json")).unwrap()).unwrap();
    }
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("there.json"), "{}").unwrap();
    for (arguments, code, said) in [
        (&["no such row"][..], 2, "there are: "),
        (&["update", "--json", "there.json"], 2, "--force"),
        (&["update", "--compare", "there.json"], 1, "no report of the benchmark suite"),
        (&["update", "--compare", "missing.json"], 1, "cannot be read"),
        (&["update", "--engine", "quantum"], 2, "unknown engine `quantum`"),
        (&["update", "--engine", "auto"], 2, "choose among cpu"),
        (&["update", "--runs", "0"], 2, "--runs"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_sharpwave")).arg("bench").args(arguments).current_dir(at).output().unwrap();
        let errors = text(&output.stderr);
        assert!(
            output.status.code() == Some(code) && errors.contains(said),
            "{arguments:?}: {:?} {errors}",
            output.status.code()
        );
        assert_eq!(std::fs::read_to_string(at.join("there.json")).unwrap(), "{}");
    }
}

#[derive(Default)]
struct Collected(Vec<(u64, u32)>);

impl Sink for Collected {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        self.0.extend(spikes.iter().map(|s| (s.time.to_bits(), s.id)));
        Ok(())
    }
    fn sample(&mut self, _: usize, _: f64, _: &[f32]) -> Result<()> {
        Ok(())
    }
}

const NETWORK: &str = r#"
[simulation]
dt = "0.1 ms"
duration = "200 ms"
seed = 4
[populations.S]
model = "poisson"
n = 50
rate = "40 Hz"
[populations.E]
model = "iaf_psc_exp"
n = 300
record = { states = ["V_m"], neurons = 2, interval = "1 ms" }
[[projections]]
source = ["S", "E"]
target = "E"
rule = { name = "fixed_outdegree", outdegree = 30 }
weight = "60 pA"
delay = "1.5 ms"
[[drives]]
target = "E"
type = "poisson_generator"
rate = "9000 Hz"
weight = "50 pA"
"#;

/// Phases are told only when asked for, account for the time that passed, and leave every spike where it was.
#[test]
fn timing_phases_changes_no_spike() {
    let net = Arc::new(plan(NETWORK, &[]).network);
    let run = |kind: &str, threads: usize, timed: bool| -> (Vec<(u64, u32)>, Vec<&'static str>) {
        let mut engine = open(&net, kind, threads).unwrap();
        let mut found = Collected::default();
        engine.time_phases(timed);
        let begin = std::time::Instant::now();
        engine.advance(2000, &mut found).unwrap();
        let wall = begin.elapsed().as_secs_f64();
        let phases = engine.phases();
        let host: f64 = phases.iter().filter(|p| p.0 != "device").map(|p| p.1).sum();
        assert!(host <= wall * threads as f64 && (timed == (host > 0.0)), "{kind}: {host} of {wall} s: {phases:?}");
        (found.0, phases.iter().filter(|p| p.1 > 0.0).map(|p| p.0).collect())
    };
    for (kind, threads) in [("cpu", 1), ("cpu", 2), ("gpu", 1)] {
        if kind == "gpu" && !device_there() {
            continue;
        }
        let ((plain, none), (timed, phases)) = (run(kind, threads, false), run(kind, threads, true));
        assert!(plain.len() > 300 && plain == timed, "{kind}: {} and {} spikes", plain.len(), timed.len());
        let wanted: &[&str] =
            if kind == "cpu" { &["deliver", "update", "sources", "record", "exchange"] } else { &["record", "submit", "wait"] };
        assert!(none.is_empty() && wanted.iter().all(|w| phases.contains(w)), "{kind}: {phases:?}");
    }
}
