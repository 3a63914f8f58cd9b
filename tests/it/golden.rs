//! Every shipped scenario, made small, against the summary it gave when it was checked against its paper and its peers
//! (tests/golden/summaries.json; SHARPWAVE_BLESS=1 writes it anew). The cpu engine draws the same network on every machine but
//! for the last bits of the system's logarithm, so rates must agree closely, not merely in the mean.

use crate::common::Collected;
use sharpwave::engine::Engine;
use sharpwave::model::library::Library;
use sharpwave::record::summary::{Summary, Tee};
use sharpwave::scenario::Scenario;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Scenario, variant, overrides.
const SMALL: [(&str, Option<&str>, &[&str]); 10] = [
    ("quickstart", None, &[]),
    ("quickstart", None, &["variables.weight=4000"]),
    ("potjans_diesmann_2014", None, &["scale.n=0.03", "scale.k=0.03", "simulation.duration=400 ms"]),
    ("brunel_2000", Some("AI"), &["variables.N_E=800", "variables.N_I=200", "simulation.duration=300 ms"]),
    ("brunel_2000", Some("SR"), &["variables.N_E=800", "variables.N_I=200", "simulation.duration=300 ms"]),
    ("vogels_abbott_cuba", None, &["simulation.duration=300 ms"]),
    ("vogels_abbott_coba", None, &["simulation.duration=200 ms"]),
    ("izhikevich_2003", None, &["simulation.duration=300 ms"]),
    ("bars", None, &["simulation.duration=500 ms"]),
    ("brunel_2000", Some("SI_slow"), &["variables.N_E=800", "variables.N_I=200", "simulation.duration=300 ms"]),
];

type Rates = BTreeMap<String, (u64, f64)>;

fn run(name: &str, variant: Option<&str>, overrides: &[&str]) -> Rates {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/scenarios").join(format!("{name}.toml"));
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    let scenario = Scenario::load(&path, &overrides, variant).unwrap_or_else(|e| panic!("{e}"));
    let plan = scenario.plan(Library::built_in().unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let net = Arc::new(plan.network.clone());
    let mut engine: Box<dyn Engine> = crate::common::open(&net, "cpu", 2).unwrap_or_else(|e| panic!("{e}"));
    let mut summary = Summary::new(&net, plan.warmup, plan.warmup + plan.duration);
    let mut all = Collected::default();
    let steps = ((plan.warmup + plan.duration) / net.dt).round() as u64;
    engine.advance(steps, &mut Tee(&mut [&mut summary, &mut all])).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(all.spikes.len() as u64, engine.counters().spikes);
    summary.finish().populations.into_iter().map(|p| (p.name, (p.spikes, p.rate))).collect()
}

#[test]
fn scenarios_give_the_summaries_they_gave() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/summaries.json");
    let ours: BTreeMap<String, Rates> = SMALL
        .iter()
        .map(|(name, variant, overrides)| {
            let key = [&[*name][..], variant.as_slice(), overrides].concat().join(" ");
            (key, run(name, *variant, overrides))
        })
        .collect();
    if std::env::var_os("SHARPWAVE_BLESS").is_some() {
        std::fs::write(&file, serde_json::to_string_pretty(&ours).unwrap() + "\n").unwrap();
    }
    let golden: BTreeMap<String, Rates> = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(golden.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    for (scenario, rates) in &golden {
        for (population, (spikes, rate)) in rates {
            let (our_spikes, our_rate) = ours[scenario][population];
            // One spike that moves makes a chaotic network take another course: within two deviations of a Poisson count then.
            let margin = 2.0 * (*spikes as f64).sqrt();
            let off = (our_spikes as f64 - *spikes as f64).abs();
            assert!(off <= margin, "{scenario}: {population} gave {our_spikes} spikes ({our_rate} Hz), was {spikes} ({rate} Hz)");
        }
    }
}
