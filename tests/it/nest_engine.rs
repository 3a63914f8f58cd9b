//! The references of single neurons again, this time through whole scenarios: spike generators, projections with delays, step
//! currents, probes and the CPU engine's integer sums between a model and its drive.

use crate::common::{Collected, plan, simulate};
use crate::neurons::{Case, compare, files, golden, numbers};
use serde_json::Value;
use std::fmt::Write;
use std::sync::Arc;

/// A case of a reference file as a scenario: population `X` of one neuron, one population of generators for each input.
fn scenario(model: &str, case: &Value) -> String {
    let number = |v: &Value| format!("{:?}", v.as_f64().unwrap());
    let mut text = format!(
        "title = \"reference\"\n[simulation]\ndt = {}\nduration = {}\nseed = 1\n[populations.X]\nmodel = \"{model}\"\nn = 1\n",
        number(&case["dt"]),
        number(&case["stop"])
    );
    let params: Vec<String> = case["params"].as_object().unwrap().iter().map(|(k, v)| format!("{k} = {}", number(v))).collect();
    let states: Vec<String> = case["trace"].as_object().unwrap().keys().map(|k| format!("{k:?}")).collect();
    writeln!(text, "params = {{ {} }}", params.join(", ")).unwrap();
    if !states.is_empty() {
        writeln!(text, "record = {{ states = [{}], interval = {} }}", states.join(", "), number(&case["every"])).unwrap();
    }
    for (i, input) in case["inputs"].as_array().unwrap().iter().enumerate() {
        // A generator emits one spike in a step, so that equal times need as many generators.
        let mut trains: Vec<Vec<f64>> = vec![];
        for time in numbers(&input["times"]) {
            match trains.iter_mut().find(|t| !t.contains(&time)) {
                Some(train) => train.push(time),
                None => trains.push(vec![time]),
            }
        }
        writeln!(text, "[populations.S{i}]\nmodel = \"spike_generator\"\ntimes = {trains:?}").unwrap();
        writeln!(text, "[[projections]]\nsource = \"S{i}\"\ntarget = \"X\"\nrule = \"all_to_all\"").unwrap();
        writeln!(text, "weight = {}\ndelay = {}", number(&input["weight"]), number(&input["delay"])).unwrap();
        if let Some(receptor) = input.get("receptor") {
            writeln!(text, "receptor = \"{receptor}\"").unwrap();
        }
    }
    let currents: Vec<[f64; 3]> = case["current"].as_array().unwrap().iter().map(|c| numbers(c).try_into().unwrap()).collect();
    let mut edges: Vec<f64> = currents.iter().flat_map(|c| [c[0], c[1]]).collect();
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    if !edges.is_empty() {
        let at = |t: f64| currents.iter().filter(|[from, to, _]| *from <= t && t < *to).map(|c| c[2]).sum::<f64>();
        let amplitudes: Vec<f64> = edges.iter().map(|t| at(*t)).collect();
        writeln!(
            text,
            "[[drives]]\ntarget = \"X\"\ntype = \"step_current_generator\"\ntimes = {edges:?}\namplitudes = {amplitudes:?}"
        )
        .unwrap();
    }
    text
}

#[test]
fn whole_scenarios_agree_with_the_references() {
    for name in files("neurons") {
        for value in golden(&name)["cases"].as_array().unwrap() {
            let case = Case::read(value);
            let ran = simulate(&plan(&scenario(&name, value), &[]), "cpu", 1);
            // Global id 0 is the neuron: populations count in the order of the file.
            let spikes: Vec<usize> =
                ran.spikes.iter().filter(|s| s.id == 0).map(|s| (s.time / case.dt).round() as usize).collect();
            let mut trace = vec![vec![]; case.trace.len()];
            for (_, _, values) in &ran.samples {
                trace.iter_mut().zip(values).for_each(|(t, v)| t.push(*v as f64));
            }
            compare(&name, &case, &spikes, &trace);
        }
    }
}

/// iaf_psc_alpha's lower bound has no closed form: the event engine fails with a message and does not ignore it.
#[test]
fn the_event_engine_does_not_ignore_a_lower_bound() {
    let text = |bound: &str| {
        format!(
            "title = \"bound\"\n[simulation]\nduration = 50\nseed = 1\n[populations.X]\nmodel = \"iaf_psc_alpha\"\nn = 1\nparams = {{ I_e = 500.0{bound} }}\n"
        )
    };
    let run = |bound: &str| {
        let plan = plan(&text(bound), &[]);
        let net = Arc::new(plan.network.clone());
        let mut sink = Collected::default();
        let mut engine = crate::common::open(&net, "event", 1)?;
        engine.advance((plan.duration / net.dt).round() as u64, &mut sink)?;
        Ok::<usize, sharpwave::error::Error>(sink.spikes.len())
    };
    assert_eq!(run("").unwrap_or_else(|e| panic!("{e}")), 3);
    assert!(run(", V_min = -80.0").is_err());
}
