//! Synapses whose weight changes on the event engine: against NEST spike by spike, against a naive simulation in f64 that sums over
//! all pairs of real-valued spike times, against the cpu engine on trains that lie on a grid; checkpoints.

use crate::common::{Collected, plan};
use crate::plasticity::{Source, bits, naive, numbers, protocol, recurrent, rules};
use proptest::prelude::*;
use serde_json::{Map, Value};
use sharpwave::engine::Engine;
use sharpwave::network::Network;
use sharpwave::network::rules::Rows;
use sharpwave::run::{Options, Silent};
use std::path::Path;
use std::sync::Arc;

fn engine(net: &Arc<Network>, kind: &str) -> Box<dyn Engine> {
    sharpwave::run::engine(net, kind, 1, &Options::default(), &Silent).unwrap_or_else(|e| panic!("{e}"))
}

/// Weight of each source's synapse just after each of its spikes has arrived. Times lie on a grid of 0.1 ms; here they are real
/// numbers, and the engine is asked half way between them.
fn transmitted(kind: &str, rule: &str, params: &Map<String, Value>, post: &[f64], sources: &[Source]) -> Vec<Vec<f32>> {
    let fine = if kind == "event" { 2 } else { 1 };
    let dt = format!("simulation.dt={:?}", 0.1 / fine as f64);
    let net = Arc::new(plan(&protocol(rule, params, post, sources), &[&dt]).network.clone());
    let mut engine = engine(&net, kind);
    let steps = |ms: f64| (ms * 10.0).round() as u64 * fine;
    let mut arrivals: Vec<(u64, usize)> =
        (0..).zip(sources).flat_map(|(i, s)| s.times.iter().map(move |t| (steps(t + s.delay), i))).collect();
    arrivals.sort_unstable();
    let (mut now, mut sink) = (0, Collected::default());
    let mut weights = vec![vec![]; sources.len()];
    for (at, source) in arrivals {
        let at = at + fine / 2;
        engine.advance(at - now, &mut sink).unwrap_or_else(|e| panic!("{rule}: {e}"));
        now = at;
        weights[source].push(engine.weights(1 + source).unwrap()[0].2);
    }
    let spikes: Vec<f64> = sink.spikes.iter().filter(|s| s.id == 0).map(|s| (s.time * 10.0).round() / 10.0).collect();
    let due: Vec<f64> = post.iter().copied().filter(|t| steps(*t) <= now).collect();
    assert_eq!(spikes, due, "the target spikes as it is told");
    weights
}

/// Every weight that NEST transmits, within 1e-5: many spikes coincide.
#[test]
fn weights_are_those_of_nest_at_every_spike() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/nest_plasticity.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let (mut worst, mut count) = (0f64, 0);
    for case in golden["cases"].as_array().unwrap() {
        let (rule, list) = (case["rule"].as_str().unwrap(), case["sources"].as_array().unwrap());
        let number = |v: &Value| v.as_f64().unwrap();
        let source =
            |s: &Value| Source { delay: number(&s["delay"]), weight: number(&s["weight"]), times: numbers(&s["times"]) };
        let sources: Vec<Source> = list.iter().map(source).collect();
        let params = case["params"].as_object().unwrap();
        let ours = transmitted("event", rule, params, &numbers(&case["post"]), &sources);
        let scale = params.get("Wmax").map_or(1.0, |w| w.as_f64().unwrap().abs());
        for (i, (ours, source)) in ours.iter().zip(list).enumerate() {
            let theirs = numbers(&source["weights"]);
            assert_eq!(ours.len(), theirs.len());
            for (k, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                // Beside zero, what was left after subtracting large numbers.
                let off = (*a as f64 - b).abs() / b.abs().max(0.01 * scale);
                worst = worst.max(off);
                count += 1;
                assert!(off < 1e-5, "{rule} {params:?}: spike {k} of source {i} transmits {a}, NEST {b}");
            }
        }
    }
    println!("{count} spikes, largest difference {worst:.1e}");
    assert!(count > 3000);
}

/// Spikes decide weights: those of a whole network, computed again from its real-valued spikes, every delay another one.
#[test]
fn weights_follow_from_the_spikes_of_a_network() {
    // The naive simulation counts in units of 1e-6 ms.
    let unit = |ms: f64| (ms * 1e6).round() as i64;
    for rule in rules() {
        let net = Arc::new(plan(&recurrent(&rule), &[]).network.clone());
        let (mut engine, mut sink) = (engine(&net, "event"), Collected::default());
        engine.advance(4000, &mut sink).unwrap_or_else(|e| panic!("{e}"));
        let mut trains = vec![vec![]; net.neurons() as usize];
        sink.spikes.iter().for_each(|s| trains[s.id as usize].push(s.time));
        let spikes = trains[..70].iter().map(Vec::len).sum::<usize>();
        assert!(spikes > 200, "{rule}: {spikes} spikes");
        assert!(sink.spikes.iter().any(|s| (s.time * 10.0).fract().min(1.0 - (s.time * 10.0).fract()) > 0.01), "no grid");
        let rows = Rows::prepare(&net, &|_| {}).unwrap();
        let (mut edges, mut moved, mut worst) = (vec![], 0, 0f64);
        for (p, projection) in net.projections.iter().enumerate() {
            let value = |name: &str| {
                let at = projection.synapse.model.params.iter().position(|q| q.name == name);
                projection.synapse.params[at.unwrap_or_else(|| panic!("{rule} has no {name}"))]
            };
            let source = &net.populations[projection.source];
            let mut ours = engine.weights(p).unwrap().into_iter();
            for id in source.first..source.first + source.n {
                edges.clear();
                rows.row(id, &mut edges);
                for edge in edges.iter().filter(|e| e.projection as usize == p) {
                    let (from, to, w) = ours.next().unwrap();
                    assert_eq!((from, to), (id, edge.target));
                    let arrived: Vec<i64> =
                        trains[id as usize].iter().filter(|t| *t + edge.delay <= 400.0).map(|t| unit(*t)).collect();
                    let post: Vec<i64> = trains[to as usize].iter().map(|t| unit(*t)).collect();
                    let all = naive(&rule, &value, 1e-6, edge.weight, unit(edge.delay), &arrived, &post);
                    let expected = all.last().copied().unwrap_or(edge.weight);
                    moved += ((expected - edge.weight).abs() > 1.0) as u32;
                    let off = (w as f64 - expected).abs() / expected.abs().max(1.0);
                    worst = worst.max(off);
                    assert!(off < 1e-5, "{rule}: {from} -> {to}: {w}, naive {expected}, at first {}", edge.weight);
                }
            }
            assert!(ours.next().is_none());
        }
        println!("{rule}: {spikes} spikes, {moved} weights moved by more than 1 pA, largest difference {worst:.1e}");
        assert!(moved > 200, "{rule}: only {moved} weights moved");
    }
}

/// Stop at any time, go on in a fresh engine: the same spikes and weights.
#[test]
fn a_restored_engine_goes_on_bit_for_bit() {
    for rule in rules() {
        let net = Arc::new(plan(&recurrent(&rule), &[]).network.clone());
        let (mut whole, mut all) = (engine(&net, "event"), Collected::default());
        whole.advance(4000, &mut all).unwrap();
        let (mut first, mut rest) = (engine(&net, "event"), Collected::default());
        first.advance(2777, &mut rest).unwrap();
        let snapshot = first.snapshot().unwrap();
        let mut second = engine(&net, "event");
        second.restore(&snapshot).unwrap();
        assert!(second.snapshot().unwrap() == snapshot, "{rule}: restoring loses nothing");
        second.advance(1223, &mut rest).unwrap();
        assert!(rest == all, "{rule}: spikes");
        assert!(bits(&mut *second) == bits(&mut *whole), "{rule}: weights");
        assert!(second.snapshot().unwrap() == whole.snapshot().unwrap(), "{rule}: snapshots");
        let mut without = snapshot.clone();
        without.extra.retain(|e| e.0 != "event.post_spikes");
        let error = engine(&net, "event").restore(&without).unwrap_err();
        assert!(error.to_string().contains("histories"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]
    /// On trains that lie on a grid both engines change weights alike, coincidences included.
    #[test]
    fn as_the_cpu_engine_on_a_grid(
        rule in prop::sample::select(rules()),
        // Few possible times, so that many coincide.
        post in prop::collection::btree_set(4u32..60, 5..30),
        pre in prop::collection::vec((prop::collection::btree_set(1u32..60, 3..30), 1u32..12, 0.1f64..0.9), 4),
    ) {
        let named = match rule.as_str() {
            "stdp_triplet_synapse" => vec![("Aplus", 0.1), ("Aminus", 0.1), ("Aplus_triplet", 0.05), ("Aminus_triplet", 0.02)],
            "vogels_sprekeler_synapse" => vec![("eta", 0.1)],
            _ => vec![("lambda", 0.1)],
        };
        let params: Map<String, Value> =
            named.into_iter().chain([("Wmax", 2.0)]).map(|(name, x)| (name.to_string(), x.into())).collect();
        let on_grid = |set: &std::collections::BTreeSet<u32>| set.iter().map(|t| (*t * 13) as f64 / 10.0).collect::<Vec<_>>();
        let sources: Vec<Source> = pre
            .iter()
            .map(|(times, delay, w)| Source { delay: (*delay * 13) as f64 / 10.0, weight: 2.0 * w, times: on_grid(times) })
            .collect();
        let all = ["cpu", "event"].map(|kind| transmitted(kind, &rule, &params, &on_grid(&post), &sources));
        for (a, b) in all[0].iter().flatten().zip(all[1].iter().flatten()) {
            prop_assert!((a - b).abs() <= 1e-5 * a.abs().max(0.02), "{rule}: cpu {a}, event {b}");
        }
    }
}
