//! What is recorded where a scenario limits it: chosen neurons and stretches of time hold exactly what a recording without limits has
//! there, on every engine, also where a run was taken up again; what is told of it is over that stretch.

use crate::common::{device_there, try_plan};
use sharpwave::record::read::Recording;
use sharpwave::run::{Options, Silent};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Neurons that fire regularly and by noise, sources, and weights that change.
fn network(cells: &str, sources: &str, weights: &str) -> String {
    format!(
        "[simulation]\ndt = 0.1\nduration = 60.0\nwarmup = 5.0\nseed = 5\n[populations.E]\nmodel = \"iaf_psc_exp\"\nn = 20\n\
         params = {{ I_e = {{ distribution = \"uniform\", low = 350.0, high = 800.0 }} }}\n{cells}\n[populations.S]\nmodel = \"poisson\"\nn = 9\n\
         rate = 400.0\n{sources}\n[[projections]]\nname = \"in\"\nsource = \"S\"\ntarget = \"E\"\nrule = \"all_to_all\"\nweight = 20.0\n\
         delay = 1.5\nsynapse = {{ model = \"stdp_synapse\" }}\n{weights}\n"
    )
}

fn engines() -> Vec<(&'static str, usize)> {
    let mut all = vec![("cpu", 1), ("cpu", 3), ("event", 1)];
    if device_there() {
        all.push(("gpu", 1));
    }
    all
}

fn record(text: &str, (kind, threads): (&str, usize), folder: &Path, name: &str) -> Recording {
    let out = folder.join(format!("{name}.h5"));
    let options =
        Options { engine: Some(kind.parse().unwrap()), threads: Some(threads), out: Some(out.clone()), ..Options::default() };
    run(text, &options);
    Recording::open(out).unwrap()
}

fn run(text: &str, options: &Options) {
    let plan = try_plan(text, &[]).unwrap_or_else(|e| panic!("{e}"));
    sharpwave::run::run(&plan, options, &Silent, &AtomicBool::new(false)).unwrap_or_else(|e| panic!("{e}"));
}

fn spikes(recording: &Recording, population: &str) -> Vec<(f64, u64)> {
    let train = recording.spikes(population).unwrap();
    train.times.into_iter().zip(train.ids).collect()
}

/// (ms, values) of every sample of the states of E.
fn states(recording: &Recording) -> Vec<(f64, Vec<f32>)> {
    let report = &recording.reports().unwrap()[0];
    let row = |k: usize| (report.start + k as f64 * report.interval, recording.report_rows(report, k..k + 1).unwrap());
    (0..report.rows).map(row).collect()
}

fn weights(recording: &Recording) -> Vec<(f64, Vec<f32>)> {
    let series = &recording.weights().unwrap()[0];
    series.times.iter().enumerate().map(|(k, time)| (*time, recording.weight_row(series, k).unwrap())).collect()
}

/// Windows from the beginning, within, of one step, on the samples and between them, up to the end and beyond it.
const WINDOWS: [(f64, f64); 7] = [(0.0, 60.0), (0.0, 7.3), (12.3, 29.6), (20.0, 20.1), (30.0, 50.0), (44.1, 65.0), (64.9, 1e4)];

#[test]
fn a_window_holds_what_an_unlimited_recording_has_there() {
    for engine in engines() {
        let folder = tempfile::tempdir().unwrap();
        let all = network(
            "record = { states = [\"V_m\"], interval = 0.7, rate_bin = 5.0 }",
            "record = { spikes = true }",
            "record = { weights = true, interval = 0.1 }",
        );
        let whole = record(&all, engine, folder.path(), "whole");
        let (e, s) = (spikes(&whole, "E"), spikes(&whole, "S"));
        let (v, w, rate) = (states(&whole), weights(&whole), whole.rates().unwrap()[0].rate.clone());
        assert!(e.len() > 30 && s.len() > 100 && v.len() == 92 && w.len() == 651 && rate.len() == 13);
        for (k, (start, stop)) in WINDOWS.into_iter().enumerate() {
            let within = |time: f64| time > start + 1e-6 && time < stop + 1e-6;
            let window = format!("start = {start:?}, stop = \"{:?} s\"", stop / 1000.0);
            let text = network(
                &format!(
                    "record = {{ spikes = [17, 3, 3, 4], states = [\"V_m\"], neurons = [2, 19], interval = 0.7, rate_bin = 5.0, {window} }}"
                ),
                &format!("record = {{ spikes = 4, {window} }}"),
                &format!("record = {{ weights = true, interval = 4.0, {window} }}"),
            );
            let part = record(&text, engine, folder.path(), &format!("part {k}"));
            let chosen = |spikes: &[(f64, u64)], ids: &[u64]| -> Vec<(f64, u64)> {
                spikes.iter().filter(|(time, id)| within(*time) && ids.contains(id)).copied().collect()
            };
            let what = format!("{engine:?}, {start} to {stop} ms");
            assert_eq!(spikes(&part, "E"), chosen(&e, &[3, 4, 17]), "{what}");
            assert_eq!(spikes(&part, "S"), chosen(&s, &[0, 1, 2, 3]), "{what}");
            let two = v.iter().filter(|row| within(row.0)).map(|row| vec![row.1[2], row.1[19]]);
            assert_eq!(states(&part).into_iter().map(|row| row.1).collect::<Vec<_>>(), two.collect::<Vec<_>>(), "{what}");
            for (found, wanted) in states(&part).iter().zip(v.iter().filter(|row| within(row.0))) {
                assert!((found.0 - wanted.0).abs() < 1e-9, "{what}: {} and {}", found.0, wanted.0);
            }
            // Readings at the ends of the window and at the multiples of 4 ms between, each as it is at that step.
            let steps = |ms: f64| (ms * 10.0).round() as usize;
            let (first, last) = (steps(start), steps(stop.min(65.0)));
            let due = |step: &usize| *step == first || *step == last || step % 40 == 0;
            let wanted: Vec<_> = (first..=last).filter(due).map(|step| w[step].clone()).collect();
            assert_eq!(weights(&part), wanted, "{what}");
            // Whole bins of the window, over all neurons.
            let bins: Vec<f64> =
                (0..13).filter(|k| start <= *k as f64 * 5.0 && (k + 1) as f64 * 5.0 <= stop).map(|k| rate[k]).collect();
            let series = &part.rates().unwrap()[0];
            assert_eq!(series.rate, bins, "{what}");
            assert!(bins.is_empty() || series.start == (start / 5.0).ceil() * 5.0, "{what}: {}", series.start);
        }
    }
}

/// Taken up before, within and after the window, a recording is what it is without a break; other windows and neurons are not continued.
#[test]
fn a_window_is_continued() {
    let text = |duration: f64, spikes: &str, start: f64| {
        let window = format!("start = {start:?}, stop = 41.3");
        let text = network(
            &format!("record = {{ spikes = {spikes}, states = \"V_m\", interval = 0.3, rate_bin = 3.0, {window} }}"),
            "",
            &format!("record = {{ weights = true, interval = 4.0, {window} }}"),
        );
        text.replace("duration = 60.0", &format!("duration = {duration:?}"))
    };
    let folder = tempfile::tempdir().unwrap();
    let whole = record(&text(60.0, "[5, 6, 11]", 14.9), ("cpu", 1), folder.path(), "whole");
    let options = |name: &str, resume: bool| {
        let checkpoint: PathBuf = folder.path().join(format!("{name}.checkpoint"));
        Options {
            engine: Some("cpu".parse().unwrap()),
            out: Some(folder.path().join(format!("{name}.h5"))),
            checkpoint_every: Some(5.0),
            resume: resume.then(|| checkpoint.clone()),
            checkpoint: Some(checkpoint),
            ..Options::default()
        }
    };
    for until in [5.0, 20.0, 30.0, 45.0] {
        let name = format!("until {until}");
        run(&text(until, "[5, 6, 11]", 14.9), &options(&name, false));
        let other = |spikes: &str, start: f64| {
            let plan = try_plan(&text(60.0, spikes, start), &[]).unwrap();
            let error = sharpwave::run::run(&plan, &options(&name, true), &Silent, &AtomicBool::new(false)).err().unwrap();
            assert!(error.to_string().contains("not the recording to continue"), "{error}");
        };
        other("[5, 6, 12]", 14.9);
        other("3", 14.9);
        other("[5, 6, 11]", 15.0);
        run(&text(60.0, "[5, 6, 11]", 14.9), &options(&name, true));
        let part = Recording::open(folder.path().join(format!("{name}.h5"))).unwrap();
        assert_eq!(spikes(&part, "E"), spikes(&whole, "E"), "{name}");
        assert!(states(&part) == states(&whole) && part.reports().unwrap() == whole.reports().unwrap(), "{name}");
        assert_eq!(part.rates().unwrap(), whole.rates().unwrap(), "{name}");
        // The end of a run that was cut short is a reading too.
        let readings = weights(&part);
        weights(&whole).iter().for_each(|row| assert!(readings.contains(row), "{name}: at {} ms", row.0));
    }
}

/// A rate is over the stretch that is recorded: a page says so, and gives the rate of all spikes there.
#[test]
fn a_figure_tells_the_rate_of_the_window() {
    let folder = tempfile::tempdir().unwrap();
    let text = network("record = { spikes = [0, 7, 19], start = 20.0, stop = 40.0 }", "", "");
    let part = record(&text, ("cpu", 1), folder.path(), "part");
    let rate = spikes(&part, "E").len() as f64 / 3.0 / 0.02;
    assert!(rate > 0.0);
    let options = sharpwave::plot::Options::default();
    sharpwave::plot::report(part.path(), None, &options).unwrap_or_else(|e| panic!("{e}"));
    let html = std::fs::read_to_string(folder.path().join("part.html")).unwrap();
    assert!(html.contains(&format!("mean {} Hz from 20 to 40 ms", (rate * 100.0).round() / 100.0)), "{rate}");
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let refused = |cells: &str, weights: &str, words: &str| {
        let error = try_plan(&network(cells, "", weights), &[]).err().unwrap_or_else(|| panic!("{cells}{weights} is accepted"));
        let text = format!("{error} {}", error.remedy().unwrap_or_default());
        assert!(text.contains(words), "{cells}{weights}: no `{words}` in {text}");
    };
    refused("record = { spikes = [20] }", "", "no neuron 20 among 20");
    refused("record = { spikes = [] }", "", "no neuron is recorded");
    refused("record = { spikes = [1.5] }", "", "whole number");
    refused("record = { start = 10.0, stop = 10.0 }", "", "not after start");
    refused("record = { start = 10.05 }", "", "not on the grid");
    refused("record = { stop = -1.0 }", "", "stop");
    refused("record = { spikes = false, start = 3.0 }", "", "nothing is recorded");
    refused("record = { neurons = [1] }", "", "spikes = [");
    refused("", "record = { start = 3.0 }", "weights = true");
    refused("", "record = { weights = true, stop = 3.05 }", "not a whole number of steps");
    refused("", "record = { weights = true, start = 3.0, stop = 2.0 }", "not after start");
}
