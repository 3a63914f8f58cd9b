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

/// Windows from the beginning, within, short, on the samples and between them, up to the end and beyond it.
const WINDOWS: [(f64, f64); 7] = [(0.0, 60.0), (0.0, 7.5), (12.5, 29.5), (20.0, 20.5), (30.0, 50.0), (44.5, 65.0), (64.5, 1e4)];

#[test]
fn a_window_holds_what_an_unlimited_recording_has_there() {
    for engine in engines() {
        let folder = tempfile::tempdir().unwrap();
        let all = network(
            "record = { states = [\"V_m\"], interval = 0.7, rate_bin = 5.0 }",
            "record = { spikes = true }",
            "record = { weights = true, interval = 0.5 }",
        );
        let whole = record(&all, engine, folder.path(), "whole");
        let (e, s) = (spikes(&whole, "E"), spikes(&whole, "S"));
        let (v, w, rate) = (states(&whole), weights(&whole), whole.rates().unwrap()[0].rate.clone());
        assert!(e.len() > 30 && s.len() > 100 && v.len() == 92 && w.len() == 131 && rate.len() == 13);
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
            let wanted: Vec<_> = (first..=last).filter(due).map(|step| w[step / 5].clone()).collect();
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

/// What a synapse is tested in: a source of two, of given spikes, onto a target that spikes as it is told.
fn pair(synapse: &str, pre: &[f64], post: &[f64], delay: f64, more: &str) -> String {
    let told: Vec<f64> = post.iter().map(|t| ((t - 1.0) * 10.0).round() / 10.0).collect();
    format!(
        "[simulation]\ndt = 0.1\nduration = 300.0\nseed = 4\n[modulators]\ndopamine = {{ tau = 60.0, initial = 0.2 }}\n\
         [populations.pre]\nmodel = \"spike_generator\"\ntimes = [{pre:?}, []]\n[populations.driver]\nmodel = \"spike_generator\"\ntimes = [{told:?}]\n\
         [populations.post]\nmodel = \"iaf_psc_delta\"\nn = 1\nparams = {{ t_ref = 0, V_th = 1e5 }}\n[[projections]]\nsource = \"driver\"\n\
         target = \"post\"\nrule = \"all_to_all\"\nweight = 1e6\ndelay = 1.0\n[[projections]]\nname = \"p\"\nsource = \"pre\"\ntarget = \"post\"\n\
         rule = \"all_to_all\"\nweight = 50\ndelay = {delay:?}\nsynapse = {{ {synapse} }}\n{more}\n"
    )
}

const PRE: [f64; 9] = [3.0, 20.0, 24.1, 24.2, 70.0, 71.5, 150.0, 151.0, 290.0];
const POST: [f64; 7] = [5.0, 19.0, 30.0, 75.3, 149.9, 200.0, 201.0];

/// Readings of named variables of synapse 0, and of synapse 1 whose source is silent, at these times on one engine.
fn read(text: &str, names: &[&str], times: &[f64], (kind, threads): (&str, usize)) -> Vec<Vec<[f32; 2]>> {
    let plan = try_plan(text, &[]).unwrap_or_else(|e| panic!("{e}"));
    let net = std::sync::Arc::new(plan.network.clone());
    let mut engine = crate::common::open(&net, kind, threads).unwrap_or_else(|e| panic!("{kind}: {e}"));
    let (mut now, mut sink) = (0, crate::common::Collected::default());
    let mut all = vec![];
    for time in times {
        let step = (time * 10.0).round() as u64;
        if step > now {
            engine.advance(step - now, &mut sink).unwrap();
            now = step;
        }
        let synapses = engine.synapses(1).unwrap();
        assert_eq!(synapses.edges, engine.weights(1).unwrap());
        assert!(synapses == engine.synapses(1).unwrap(), "{kind}: read twice");
        let record = |name: &&str| synapses.record(&net.projections[1].synapse, name).unwrap();
        all.push(names.iter().map(record).map(|values| [values[0], values[1]]).collect());
    }
    all
}

fn every(step: f64) -> Vec<f64> {
    (0..).map(|k| (k as f64 * step * 10.0).round() / 10.0).take_while(|t| *t <= 300.0).collect()
}

/// Utilisation and resources between spikes, by the recursions of the papers in f64; a source that is silent keeps its start.
#[test]
fn short_term_plasticity_is_read_in_closed_form() {
    let (big_u, rec, fac, psc) = (0.3, 120.0, 80.0, 5.0);
    for delay in [0.1, 1.7, 30.0] {
        for engine in engines() {
            let text = pair(
                "model = \"tsodyks2_synapse\", U = 0.3, u = 0.4, x = 0.9, tau_rec = 120.0, tau_fac = 80.0",
                &PRE,
                &POST,
                delay,
                "",
            );
            let times = every(3.7);
            for (time, found) in times.iter().zip(read(&text, &["u", "x"], &times, engine)) {
                let (mut u, mut x, mut last) = (0.4, 0.9, None::<f64>);
                let at = |u: f64, x: f64, gap: f64| {
                    (big_u + u * (1.0 - big_u) * (-gap / fac).exp(), 1.0 + (x - x * u - 1.0) * (-gap / rec).exp())
                };
                for spike in PRE.iter().filter(|s| **s <= time + 1e-9) {
                    (u, x) = last.map_or((u, x), |last| at(u, x, spike - last));
                    last = Some(*spike);
                }
                (u, x) = last.map_or((u, x), |last| at(u, x, time - last));
                for ([one, silent], (wanted, start)) in found.iter().zip([(u, 0.4), (x, 0.9)]) {
                    assert!((*one as f64 - wanted).abs() < 2e-6, "{engine:?}, delay {delay}, {time} ms: {one} and {wanted}");
                    assert!((*silent as f64 - start).abs() < 1e-7);
                }
            }
            let text = pair(
                "model = \"tsodyks_synapse\", U = 0.3, u = 0.1, x = 0.8, y = 0.1, tau_rec = 120.0, tau_fac = 80.0, tau_psc = 5.0",
                &PRE,
                &POST,
                delay,
                "",
            );
            for (time, found) in times.iter().zip(read(&text, &["u", "x", "y"], &times, engine)) {
                let (mut u, mut x, mut y, mut last) = (0.1f64, 0.8f64, 0.1f64, None::<f64>);
                let between = |(u, x, y): (f64, f64, f64), gap: f64| {
                    let z = 1.0 - x - y;
                    let back = 1.0 - (rec * (-gap / rec).exp() - psc * (-gap / psc).exp()) / (rec - psc);
                    (u * (-gap / fac).exp(), x + back * y + (1.0 - (-gap / rec).exp()) * z, y * (-gap / psc).exp())
                };
                for spike in PRE.iter().filter(|s| **s <= time + 1e-9) {
                    (u, x, y) = last.map_or((u, x, y), |last| between((u, x, y), spike - last));
                    u += big_u * (1.0 - u);
                    (x, y) = (x - u * x, y + u * x);
                    last = Some(*spike);
                }
                (u, x, y) = last.map_or((u, x, y), |last| between((u, x, y), time - last));
                for ([one, silent], (wanted, start)) in found.iter().zip([(u, 0.1), (x, 0.8), (y, 0.1)]) {
                    assert!((*one as f64 - wanted).abs() < 2e-6, "{engine:?}, delay {delay}, {time} ms: {one} and {wanted}");
                    assert!((*silent as f64 - start).abs() < 1e-7);
                }
            }
        }
    }
}

/// What NEST's synapses transmit follows from what is read a step before each spike.
#[test]
fn short_term_plasticity_is_read_as_nest_has_it() {
    for model in ["tsodyks2_synapse", "tsodyks_synapse"] {
        for case in crate::neurons::golden(model)["cases"].as_array().unwrap() {
            let (times, psc) = (crate::neurons::numbers(&case["times"]), crate::neurons::numbers(&case["psc"]));
            let given: Vec<String> = case["params"].as_object().unwrap().iter().map(|(k, v)| format!("{k} = {v}")).collect();
            let synapse = std::iter::once(format!("model = \"{model}\"")).chain(given).collect::<Vec<_>>().join(", ");
            let text = pair(&synapse, &times, &POST, 1.3, "");
            let net = try_plan(&text, &[]).unwrap().network;
            let instance = &net.projections[1].synapse;
            let param = |name: &str| instance.params[instance.model.params.iter().position(|p| p.name == name).unwrap()];
            let (big_u, rec, fac) = (param("U"), param("tau_rec"), param("tau_fac"));
            let engine = if case["name"].as_str().unwrap().starts_with("regular") { ("cpu", 2) } else { ("event", 1) };
            let before: Vec<f64> = times.iter().map(|t| t - 0.1).collect();
            let names: &[&str] = if model == "tsodyks_synapse" { &["u", "x", "y"] } else { &["u", "x"] };
            for (k, (found, wanted)) in read(&text, names, &before, engine).iter().zip(&psc).enumerate() {
                let [u, x] = [found[0][0] as f64, found[1][0] as f64];
                let left = |tau: f64| if tau < 1e-10 { 0.0 } else { (-0.1 / tau).exp() };
                let transmitted = match (k, model) {
                    (0, "tsodyks2_synapse") => u * x,
                    (_, "tsodyks2_synapse") => (big_u + (u - big_u) * left(fac)) * (1.0 + (x - 1.0) * left(rec)),
                    (0, _) => (u + big_u * (1.0 - u)) * x,
                    _ => {
                        let (psc, y) = (param("tau_psc"), found[2][0] as f64);
                        let back = match rec == psc {
                            true => 1.0 - (1.0 + 0.1 / rec) * left(rec),
                            false => 1.0 - (rec * left(rec) - psc * left(psc)) / (rec - psc),
                        };
                        let (u, x) = (u * left(fac), x + back * y + (1.0 - left(rec)) * (1.0 - x - y));
                        (u + big_u * (1.0 - u)) * x
                    }
                };
                let (found, wanted) = (transmitted, wanted / 250.0);
                assert!((found - wanted).abs() < 4e-6, "{model}, {}, spike {k}: {found} and {wanted}", case["name"]);
            }
        }
    }
}

/// The source's trace, and the eligibility that pairs of spikes leave, as sums over spikes.
#[test]
fn traces_and_eligibility_are_read_in_closed_form() {
    let models = [
        (
            "model = \"stdp_dopamine_synapse\", modulator = \"dopamine\", A_plus = 0.9, A_minus = 0.4, tau_c = 90.0, b = 0.05",
            "c",
            90.0,
        ),
        ("model = \"rstdp_synapse\", modulator = \"dopamine\", A_plus = 0.9, A_minus = 0.4, tau_e = 90.0", "e", 90.0),
        ("model = \"stdp_synapse\"", "Kplus", 0.0),
    ];
    for (synapse, name, tau) in models {
        for (delay, engine) in [1.2, 4.0].into_iter().flat_map(|d| engines().into_iter().map(move |e| (d, e))) {
            let times = every(3.1);
            for (time, found) in times.iter().zip(read(&pair(synapse, &PRE, &POST, delay, ""), &["Kplus", name], &times, engine))
            {
                // Where two meet, neither is part of the other's trace.
                let trace = |spikes: &[f64], shift: f64, at: f64| -> f64 {
                    spikes.iter().map(|s| s + shift).filter(|s| *s < at - 1e-9).map(|s| (-(at - s) / 20.0).exp()).sum()
                };
                let kplus: f64 = PRE.iter().filter(|s| **s <= time + 1e-9).map(|s| (-(time - s) / 20.0).exp()).sum();
                let mut eligible = 0.0;
                if tau > 0.0 {
                    let left = |at: f64| (-(time - at) / tau).exp();
                    let posts = POST.iter().map(|t| t + delay).filter(|t| *t <= time + 1e-9);
                    eligible += posts.map(|t| 0.9 * trace(&PRE, 0.0, t) * left(t)).sum::<f64>();
                    eligible -=
                        PRE.iter().filter(|s| **s <= time + 1e-9).map(|s| 0.4 * trace(&POST, delay, *s) * left(*s)).sum::<f64>();
                }
                let wanted = [kplus, if tau > 0.0 { eligible } else { kplus }];
                for ([one, silent], wanted) in found.iter().zip(wanted) {
                    let bound = 3e-6 * (1.0 + wanted.abs());
                    assert!(
                        (*one as f64 - wanted).abs() < bound,
                        "{synapse}, {engine:?}, delay {delay}, {time} ms: {one} and {wanted}"
                    );
                    assert_eq!(*silent, 0.0);
                }
            }
        }
    }
}

/// In a recording, beside the weights, also where the run was taken up again.
#[test]
fn states_of_synapses_are_recorded() {
    let text = |duration: f64, states: &str| {
        let record = format!("record = {{ states = {states}, interval = 20.0, start = 10.0, stop = 255.5 }}");
        pair("model = \"stdp_dopamine_synapse\", modulator = \"dopamine\"", &PRE, &POST, 2.0, &record)
            .replace("duration = 300.0", &format!("duration = {duration:?}"))
    };
    for engine in engines() {
        let folder = tempfile::tempdir().unwrap();
        let whole = record(&text(300.0, "[\"c\", \"Kplus\"]"), engine, folder.path(), "whole");
        let series = &whole.weights().unwrap()[0];
        let mut times: Vec<f64> = (0..13).map(|k| 20.0 * k as f64).filter(|t| *t > 10.0).collect();
        times.insert(0, 10.0);
        times.push(255.5);
        assert!(series.times.iter().zip(&times).all(|(a, b)| (a - b).abs() < 1e-9) && series.times.len() == times.len());
        let mut states = series.states.clone();
        states.sort();
        assert_eq!(states, ["Kplus", "c"]);
        let wanted = read(&text(300.0, "[\"c\", \"Kplus\"]"), &["c", "Kplus"], &times, engine);
        let rows = |recording: &Recording| -> Vec<Vec<Vec<f32>>> {
            let series = &recording.weights().unwrap()[0];
            let row = |k: usize| ["c", "Kplus"].map(|name| recording.state_row(series, name, k).unwrap()).to_vec();
            (0..series.times.len()).map(row).collect()
        };
        for (found, wanted) in rows(&whole).iter().zip(&wanted) {
            assert_eq!(found, &wanted.iter().map(|two| two.to_vec()).collect::<Vec<_>>(), "{engine:?}");
        }
        let checkpoint = folder.path().join("part.checkpoint");
        let mut options = Options {
            engine: Some(engine.0.parse().unwrap()),
            threads: Some(engine.1),
            out: Some(folder.path().join("part.h5")),
            checkpoint_every: Some(50.0),
            checkpoint: Some(checkpoint.clone()),
            ..Options::default()
        };
        run(&text(100.0, "[\"c\", \"Kplus\"]"), &options);
        options.resume = Some(checkpoint);
        let other = try_plan(&text(300.0, "\"c\""), &[]).unwrap();
        assert!(sharpwave::run::run(&other, &options, &Silent, &AtomicBool::new(false)).is_err());
        run(&text(300.0, "[\"c\", \"Kplus\"]"), &options);
        let part = Recording::open(folder.path().join("part.h5")).unwrap();
        assert_eq!((part.weights().unwrap()[0].times.len(), rows(&part)), (times.len(), rows(&whole)), "{engine:?}");
    }
}

#[test]
fn unknown_states_of_synapses_are_refused() {
    let refused = |synapse: &str, record: &str, words: &str| {
        let error =
            try_plan(&pair(synapse, &PRE, &POST, 1.0, record), &[]).err().unwrap_or_else(|| panic!("{record} is accepted"));
        let text = format!("{error} {}", error.remedy().unwrap_or_default());
        assert!(text.contains(words), "{synapse} {record}: no `{words}` in {text}");
    };
    refused("model = \"tsodyks_synapse\"", "record = { states = \"util\" }", "it has u, y, x");
    refused("model = \"static_synapse\"", "record = { states = \"w\" }", "static_synapse has no states");
    refused("model = \"stdp_synapse\"", "record = { states = [\"Kplus\", \"Kplus\"] }", "listed twice");
    refused("model = \"stdp_synapse\"", "record = { states = \"Kplus\", weights = false }", "weights = true");
    let chain = "model = \"stdp_synapse\", metaplasticity = { model = \"benna_fusi\" }";
    assert!(try_plan(&pair(chain, &PRE, &POST, 1.0, "record = { states = [\"Kplus\", \"benna_fusi_u3\"] }"), &[]).is_ok());
}
