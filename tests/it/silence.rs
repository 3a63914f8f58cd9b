//! A population that has fallen silent: what decays in it ends at 0 on every engine and never among the denormal numbers, which
//! cost a processor a hundred times as much and which a GPU may take for 0.

use crate::common::{Collected, device_there, open, plan};
use sharpwave::model::library::Library;
use sharpwave::model::{Sign, Ty};
use sharpwave::network::Cell;
use std::sync::Arc;

/// Three neurons of every model (`exact`: that has closed forms), short time constants, some input of both signs at 1 ms, and some of one
/// sign at 500 ms, to which the event engine brings its neurons forward.
fn scenario(exact: bool) -> String {
    let library = Library::built_in().unwrap();
    let mut text = "[simulation]\ndt = \"0.1 ms\"\nduration = \"600 ms\"\nseed = 3\n\
        [populations.once]\nmodel = \"spike_generator\"\nn = 1\ntimes = [[1.0]]\n\
        [populations.twice]\nmodel = \"spike_generator\"\nn = 1\ntimes = [[1.0, 500.0]]\n"
        .to_string();
    // Four receptors of as many rise times are more terms than the event engine solves.
    let solved = |m: &str| m != "iaf_psc_alpha_multisynapse";
    for model in library.neurons().filter(|m| !exact || m.event.is_some() && solved(&m.name)) {
        let taus = model.params.iter().filter(|p| p.name.starts_with("tau") && p.unit == "ms");
        let taus: Vec<String> = taus.enumerate().map(|(k, p)| format!("{} = {}", p.name, 4.0 + 0.5 * k as f64)).collect();
        let name = &model.name;
        text += &format!("[populations.{name}]\nmodel = \"{name}\"\nn = 3\nparams = {{ {} }}\n", taus.join(", "));
        let signed = model.ports.iter().any(|p| !matches!(p.sign, Sign::Positive));
        // Where several take the same weights, one has to be named.
        let taking = |p: &&sharpwave::model::Port| matches!(p.sign, Sign::Any | Sign::Positive);
        let receptor = match model.ports.iter().filter(taking).count() {
            0 | 1 => "",
            _ => "receptor = \"1\"\n",
        };
        for (source, weight) in [("once", if signed { -1.5 } else { 1.5 }), ("twice", 1.25)] {
            text += &format!(
                "[[projections]]\n{receptor}source = \"{source}\"\ntarget = \"{name}\"\nrule = \"all_to_all\"\nweight = {weight}\ndelay = \"1 ms\"\n"
            );
        }
    }
    text
}

#[test]
fn silence_ends_at_zero_on_every_engine() {
    for kind in ["cpu", "event", "gpu"] {
        if kind == "gpu" && !device_there() {
            continue;
        }
        let net = Arc::new(plan(&scenario(kind == "event"), &[]).network);
        let mut engine = open(&net, kind, 1).unwrap_or_else(|e| panic!("{e}"));
        let mut sink = Collected::default();
        let (mut lively, mut ended) = (vec![], 0);
        for stretch in 0..24 {
            engine.advance(250, &mut sink).unwrap();
            let snapshot = engine.snapshot().unwrap();
            for (p, states) in snapshot.states.iter().enumerate() {
                let Cell::Neuron(instance) = &net.populations[p].cell else { continue };
                for (s, words) in states.iter().enumerate().filter(|(s, _)| instance.model.states[*s].ty == Ty::F32) {
                    // The event engine keeps f64 by halves.
                    let values: Vec<f64> = match kind {
                        "event" => words.chunks(2).map(|w| f64::from_bits(u64::from(w[0]) | u64::from(w[1]) << 32)).collect(),
                        _ => words.iter().map(|w| f32::from_bits(*w) as f64).collect(),
                    };
                    let least = f32::MIN_POSITIVE as f64;
                    let kept = values.iter().all(|x| *x == 0.0 || x.abs() >= least);
                    let place = || format!("{kind}: {}, {}", instance.model.name, instance.model.states[s].name);
                    assert!(kept, "{} is {values:?} after {} ms", place(), 25 * (stretch + 1));
                    if stretch == 0 && values.iter().all(|x| x.abs() > 1e-6) {
                        lively.push((p, s));
                    }
                    ended += (stretch == 18 && lively.contains(&(p, s)) && values.iter().all(|x| *x == 0.0)) as usize;
                }
            }
        }
        let least = if kind == "event" { 0 } else { 12 };
        assert!(ended >= least && lively.len() >= 6, "{kind}: {ended} of {} states ended", lively.len());
    }
}
