//! Synapses whose weight changes on the event engine: against NEST spike by spike, against a naive simulation in f64 that sums over
//! all pairs of real-valued spike times, against the cpu engine on trains that lie on a grid; checkpoints.

use crate::common::{Collected, open, plan, stored};
use crate::plasticity::{Source, bits, naive, numbers, protocol, recurrent};
use proptest::prelude::*;
use serde_json::{Map, Value};
use sharpwave::engine::{Engine, Own};
use sharpwave::network::Network;
use sharpwave::network::connectivity::Rows;
use std::path::Path;
use std::sync::Arc;

/// The rules of NEST that pair spikes, which the naive simulation knows.
const RULES: [&str; 7] = [
    "stdp_synapse",
    "stdp_nn_symm_synapse",
    "stdp_nn_restr_synapse",
    "stdp_nn_pre_centered_synapse",
    "stdp_pl_synapse_hom",
    "stdp_triplet_synapse",
    "vogels_sprekeler_synapse",
];

fn engine(net: &Arc<Network>, kind: &str) -> Box<dyn Engine> {
    open(net, kind, 1).unwrap_or_else(|e| panic!("{e}"))
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
        weights[source].push(stored(&mut *engine, &net, 1 + source)[0].2);
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
        let source = |s: &Value| Source { delay: number(&s["delay"]), weight: number(&s["weight"]), times: numbers(&s["times"]) };
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
    for rule in RULES {
        let net = Arc::new(plan(&recurrent(rule), &[]).network.clone());
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
            let mut ours = stored(&mut *engine, &net, p).into_iter();
            for id in source.first..source.first + source.n {
                edges.clear();
                rows.row(id, &mut edges);
                for edge in edges.iter().filter(|e| e.projection as usize == p) {
                    let (from, to, w) = ours.next().unwrap();
                    assert_eq!((from, to), (id, edge.target));
                    let arrived: Vec<i64> =
                        trains[id as usize].iter().filter(|t| *t + edge.delay <= 400.0).map(|t| unit(*t)).collect();
                    let post: Vec<i64> = trains[to as usize].iter().map(|t| unit(*t)).collect();
                    let all = naive(rule, &value, 1e-6, edge.weight, unit(edge.delay), &arrived, &post);
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
    for rule in RULES {
        let net = Arc::new(plan(&recurrent(rule), &[]).network.clone());
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
        let Own::Event(exact) = &mut without.own else { panic!("{rule}: of another engine") };
        exact.post_spikes.clear();
        let error = engine(&net, "event").restore(&without).unwrap_err();
        assert!(error.to_string().contains("histories"), "{error}");
    }
}

/// Scaling by 1 brings all weights up to date half way and changes nothing; normalising gives the sums asked for, within the bound.
#[test]
fn weights_are_scaled_by_target() {
    for rule in ["stdp_synapse", "stdp_nn_restr_synapse", "stdp_triplet_synapse", "vogels_sprekeler_synapse"] {
        let net = Arc::new(plan(&recurrent(rule), &[]).network.clone());
        let (mut whole, mut pieces) = (engine(&net, "event"), engine(&net, "event"));
        let (mut all, mut parts) = (Collected::default(), Collected::default());
        whole.advance(4000, &mut all).unwrap();
        for _ in 0..40 {
            pieces.scale_weights(0, &|_, _| 1.0).unwrap();
            pieces.advance(100, &mut parts).unwrap();
        }
        assert!(parts == all, "{rule}: spikes");
        [&mut whole, &mut pieces].into_iter().for_each(|e| e.scale_weights(0, &|_, _| 1.0).unwrap());
        assert!(bits(&mut *pieces) == bits(&mut *whole), "{rule}: weights");

        let side = if rule == "vogels_sprekeler_synapse" { -1.0 } else { 1.0 };
        let sums = |engine: &mut dyn Engine| {
            let mut sums = [0.0; 70];
            stored(engine, &net, 0).iter().for_each(|w| sums[w.1 as usize] += w.2 as f64);
            sums
        };
        whole.scale_weights(0, &|_, sum| side * 200.0 / sum).unwrap();
        assert!(sums(&mut *whole).iter().all(|s| (s - side * 200.0).abs() < 1e-3), "{rule}: {:?}", sums(&mut *whole));
        whole.scale_weights(0, &|target, _| if target == 3 { 1e9 } else { 1.0 }).unwrap();
        let bound = if side < 0.0 { -150.0 } else { 90.0 };
        assert!(stored(&mut *whole, &net, 0).iter().all(|w| w.1 != 3 || w.2 == bound || w.2 == 0.0));
        let kept = bits(&mut *whole);
        let error = whole.scale_weights(0, &|target, _| if target == 60 { f64::NAN } else { 0.5 }).unwrap_err();
        assert!(error.to_string().contains("neuron 60"), "{error}");
        assert!(bits(&mut *whole) == kept, "nothing is changed by what is refused");
        whole.advance(100, &mut all).unwrap();
    }
}

/// While a projection does not learn its weights stand still, and what happens leaves no trace: as if those spikes had never been.
#[test]
fn spikes_leave_no_trace_while_learning_is_off() {
    let unit = |ms: f64| (ms * 1e6).round() as i64;
    let pauses = [[100.0, 180.0], [250.0, 265.0]];
    let rule = "stdp_synapse";
    let net = Arc::new(plan(&recurrent(rule), &[]).network.clone());
    let (mut engine, mut sink) = (engine(&net, "event"), Collected::default());
    let mut now = 0;
    for (k, at) in pauses.as_flattened().iter().chain([&400.0]).enumerate() {
        let (steps, still) = ((at * 10.0) as u64, bits(&mut *engine));
        // A stored state goes on the same way.
        let snapshot = engine.snapshot().unwrap();
        engine.advance((steps - now) / 2, &mut Collected::default()).unwrap();
        engine.restore(&snapshot).unwrap();
        engine.advance(steps - now, &mut sink).unwrap();
        now = steps;
        assert_eq!(bits(&mut *engine) == still, k % 2 == 1, "at {at} ms");
        (0..2).for_each(|p| engine.set_learning(p, k % 2 == 1).unwrap());
    }
    let mut trains = vec![vec![]; net.neurons() as usize];
    sink.spikes.iter().for_each(|s| trains[s.id as usize].push(s.time));
    let paused = |t: f64| pauses.iter().any(|p| p[0] < t && t <= p[1]);
    let rows = Rows::prepare(&net, &|_| {}).unwrap();
    let (mut edges, mut moved) = (vec![], 0);
    for (p, projection) in net.projections.iter().enumerate() {
        let value =
            |name: &str| projection.synapse.params[projection.synapse.model.params.iter().position(|q| q.name == name).unwrap()];
        let source = &net.populations[projection.source];
        let mut ours = stored(&mut *engine, &net, p).into_iter();
        for id in source.first..source.first + source.n {
            edges.clear();
            rows.row(id, &mut edges);
            for edge in edges.iter().filter(|e| e.projection as usize == p) {
                let (from, to, w) = ours.next().unwrap();
                let counts = |t: &&f64| **t + edge.delay <= 400.0 && !paused(**t + edge.delay);
                let arrived: Vec<i64> = trains[id as usize].iter().filter(counts).map(|t| unit(*t)).collect();
                let post: Vec<i64> = trains[to as usize].iter().filter(|t| !paused(**t)).map(|t| unit(*t)).collect();
                let all = naive(rule, &value, 1e-6, edge.weight, unit(edge.delay), &arrived, &post);
                let expected = all.last().copied().unwrap_or(edge.weight);
                moved += ((expected - edge.weight).abs() > 1.0) as u32;
                assert!((w as f64 - expected).abs() < 1e-5 * expected.abs().max(1.0), "{from} -> {to}: {w}, naive {expected}");
            }
        }
    }
    assert!(moved > 200, "only {moved} weights moved");
}

/// A rule of three factors that reads all there is to read of a signal.
const REWARDED: &str = r#"
name = "rewarded"
kind = "synapse"
doc = "Eligibility times a signal."
source = "none"
bound = "Wmax"
modulator = "dopamine"
[params]
tau_c = { default = 60.0, unit = "ms", doc = "eligibility", above = 0.0 }
tau_plus = { default = 18.0, unit = "ms", doc = "source's trace", above = 0.0 }
tau_minus = { default = 25.0, unit = "ms", doc = "target's trace", above = 0.0 }
Wmax = { default = 90.0, unit = "1", doc = "bound" }
[derived]
plus_rate = "1/tau_plus"
c_rate = "1/tau_c"
rate = "1/tau_c + 1/tau_modulator"
[state]
Kplus = { init = "0", unit = "1", doc = "trace" }
c = { init = "0", unit = "1", doc = "eligibility" }
[post_traces]
Kminus = { tau = "tau_minus", doc = "trace" }
[code]
functions = '''
fn forward() {
    w = clamp(w + c * modulator_start * (1.0 - exp(-since_event * rate)) / rate, 0.0, Wmax);
    c = c * exp(-since_event * c_rate);
}
'''
on_modulator = "forward(); w = clamp(w + 0.05 * jump * (modulator + Kminus), 0.0, Wmax);"
on_post = "forward(); c = c + 0.02 * Kplus * exp(-since_pre * plus_rate) * (1.0 + modulator);"
on_pre = "forward(); c = c - 0.012 * Kminus * (1.0 + modulator); Kplus = Kplus * exp(-since_pre * plus_rate) + 1.0;"
"#;

/// The last weight of that rule, event by event in f64 with every trace summed over all spikes. Times in ms; events closer than
/// 1e-6 ms are simultaneous. `signal(t, jumps at t included)`.
fn naive_rewarded(w0: f64, d: f64, pre: &[f64], post: &[f64], jumps: &[(f64, f64)], signal: &dyn Fn(f64, bool) -> f64) -> f64 {
    let [tau_c, tau_plus, tau_minus, max] = [60.0f64, 18.0, 25.0, 90.0];
    let Some(end) = pre.last() else { return w0 };
    let unit = |t: f64| (t * 1e6).round() as i64;
    let mut events: Vec<(i64, u8, f64, f64)> = vec![];
    events.extend(jumps.iter().map(|j| (unit(j.0), 0, j.0, j.1)));
    events.extend(post.iter().map(|t| (unit(t + d), 1, t + d, 0.0)));
    events.extend(pre.iter().map(|t| (unit(*t), 2, *t, 0.0)));
    events.retain(|e| e.0 <= unit(*end));
    events.sort_by_key(|e| (e.0, e.1));
    let (mut w, mut c, mut last, mut start) = (w0, 0.0, 0.0, signal(0.0, true));
    let rate = 1.0 / tau_c + 1.0 / 40.0;
    for (at, kind, t, amount) in events {
        let since: f64 = t - last;
        w = (w + c * start * (1.0 - (-since * rate).exp()) / rate).clamp(0.0, max);
        c *= (-since / tau_c).exp();
        let minus: f64 = post.iter().filter(|s| unit(**s + d) < at).map(|s| (-(t - d - s) / tau_minus).exp()).sum();
        let plus: f64 = pre.iter().filter(|s| unit(**s) < at).map(|s| (-(t - s) / tau_plus).exp()).sum();
        match kind {
            0 => w = (w + 0.05 * amount * (signal(t, false) + minus)).clamp(0.0, max),
            1 => c += 0.02 * plus * (1.0 + signal(t, true)),
            _ => c -= 0.012 * minus * (1.0 + signal(t, true)),
        }
        (last, start) = (t, signal(t, true));
    }
    w
}

/// A scenario's network, with one more model.
fn with_model(text: &str, model: &str) -> Arc<Network> {
    let mut library = sharpwave::model::library::Library::built_in().unwrap().clone();
    library.add("model.toml", model).unwrap_or_else(|e| panic!("{e}"));
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("s.toml");
    std::fs::write(&scenario, text).unwrap();
    let scenario = sharpwave::scenario::Scenario::load(&scenario, &[], None).unwrap_or_else(|e| panic!("{e}"));
    Arc::new(scenario.plan(&library).unwrap_or_else(|e| panic!("{e}")).network.clone())
}

/// Every line that gives a synapse, changed.
fn with_synapse(text: &str, synapse: &str) -> String {
    let line = |line: &str| if line.starts_with("synapse = ") { format!("synapse = {synapse}\n") } else { format!("{line}\n") };
    text.lines().map(line).collect()
}

/// Jumps given, by spikes of a population and by the host; every delay another one; interrupted, scaled by 1 and restored.
#[test]
fn a_signal_modulates_as_in_a_naive_simulation() {
    let signals = "[modulators]\ndopamine = { tau = \"40 ms\", initial = 0.3, jumps = { times = [\"50.3 ms\", \"180 ms\"], \
                   amounts = [1.0, -0.4] }, spikes = { population = \"DA\", delay = \"1.7 ms\", amount = 0.2 } }\n[populations.DA]\n\
                   model = \"poisson\"\nn = 3\nrate = \"15 Hz\"\n[populations.E]";
    let text = recurrent("stdp_synapse").replace("[populations.E]", signals);
    let net = with_model(&with_synapse(&text, "{ model = \"rewarded\", modulator = \"dopamine\" }"), REWARDED);
    let (mut sink, mut first) = (Collected::default(), engine(&net, "event"));
    first.advance(1234, &mut sink).unwrap();
    first.jump(0, 0.7).unwrap();
    assert!(first.jump(1, 0.7).is_err() && first.jump(0, f64::NAN).is_err());
    first.advance(500, &mut sink).unwrap();
    let snapshot = first.snapshot().unwrap();
    first.advance(4000 - 1734, &mut sink).unwrap();
    let mut ours = [0, 1].map(|p| stored(&mut *first, &net, p).into_iter());
    let (mut second, mut rest) = (engine(&net, "event"), Collected::default());
    second.restore(&snapshot).unwrap();
    assert!(second.snapshot().unwrap() == snapshot);
    for _ in 0..22 {
        second.advance(103, &mut rest).unwrap();
        second.scale_weights(0, &|_, _| 1.0).unwrap();
    }
    [&mut first, &mut second].into_iter().for_each(|e| e.scale_weights(0, &|_, _| 1.0).unwrap());
    assert!(sink.spikes.ends_with(&rest.spikes) && rest.spikes.len() > 100);
    assert!(bits(&mut *second) == bits(&mut *first), "restored, and brought up to date in between");

    let place = |name: &str| net.populations.iter().find(|p| p.name == name).unwrap();
    let da = place("DA");
    let dopamine = sink.spikes.iter().filter(|s| (da.first..da.first + da.n).contains(&s.id));
    let mut jumps: Vec<(f64, f64)> = dopamine.map(|s| (s.time + 1.7, 0.2)).collect();
    assert!(jumps.len() > 8);
    jumps.extend([(50.3, 1.0), (180.0, -0.4), (123.4, 0.7)]);
    jumps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let signal = |t: f64, with: bool| {
        let before = |j: f64| if with { j < t + 1.5e-6 } else { j < t - 1.5e-6 };
        let each = jumps.iter().filter(|j| before(j.0)).map(|j| j.1 * (-(t - j.0) / 40.0f64).exp());
        0.3 * (-t / 40.0f64).exp() + each.sum::<f64>()
    };
    let mut trains = vec![vec![]; net.neurons() as usize];
    sink.spikes.iter().for_each(|s| trains[s.id as usize].push(s.time));
    let rows = Rows::prepare(&net, &|_| {}).unwrap();
    let (mut edges, mut moved, mut worst) = (vec![], 0, 0f64);
    let (mut inside, mut all) = (0, 0);
    for (p, projection) in net.projections.iter().enumerate() {
        let (source, target) = (&net.populations[projection.source], &net.populations[projection.target]);
        for id in source.first..source.first + source.n {
            edges.clear();
            rows.row(id, &mut edges);
            for edge in edges.iter().filter(|e| e.projection as usize == p) {
                let (from, to, w) = ours[p].next().unwrap();
                assert_eq!((from, to), (id, target.first + edge.target));
                let arrived: Vec<f64> = trains[id as usize].iter().copied().filter(|t| t + edge.delay <= 400.0).collect();
                let expected = naive_rewarded(edge.weight, edge.delay, &arrived, &trains[to as usize], &jumps, &signal);
                moved += ((expected - edge.weight).abs() > 1.0) as u32;
                // At a bound any change would go unseen.
                inside += (0.0 < expected && expected < 90.0) as u32;
                all += 1;
                let off = (w as f64 - expected).abs() / expected.abs().max(1.0);
                worst = worst.max(off);
                assert!(off < 2e-5, "{from} -> {to}: {w}, naive {expected}, at first {}", edge.weight);
            }
        }
    }
    println!("{moved} weights moved by more than 1 pA, largest difference {worst:.1e}");
    assert!(moved > 200 && 2 * inside > all, "{moved} weights moved, {inside} of {all} are off the bounds");
}

/// Sources take other rates from a moment on, also silent ones, and go on the same way from a stored state.
#[test]
fn rates_are_set_while_running() {
    let text = "title = \"rates\"\n[simulation]\ndt = 0.1\nduration = 1000\nseed = 3\n[populations.P]\nmodel = \"poisson\"\nn = 200\n\
                rate = \"20 Hz\"\n[populations.X]\nmodel = \"iaf_psc_delta\"\nn = 1\n";
    let net = Arc::new(plan(text, &[]).network.clone());
    let (mut first, mut sink) = (engine(&net, "event"), Collected::default());
    let rates: Vec<f64> = (0..200).map(|i| if i < 100 { 0.0 } else { 50.0 }).collect();
    let swapped: Vec<f64> = rates.iter().rev().copied().collect();
    first.advance(10_000, &mut sink).unwrap();
    first.set_rates(0, &rates).unwrap();
    first.advance(10_000, &mut sink).unwrap();
    let snapshot = first.snapshot().unwrap();
    let mut tail = Collected::default();
    first.set_rates(0, &swapped).unwrap();
    first.advance(10_000, &mut tail).unwrap();
    let count = |spikes: &[sharpwave::engine::Spike], from: f64, ids: std::ops::Range<u32>| {
        spikes.iter().filter(|s| s.time > from && s.time <= from + 1000.0 && ids.contains(&s.id)).count() as f64
    };
    // 4000, 5000 and 5000 expected.
    assert!((count(&sink.spikes, 0.0, 0..200) - 4000.0).abs() < 260.0);
    assert_eq!(count(&sink.spikes, 1000.0, 0..100), 0.0);
    assert!((count(&sink.spikes, 1000.0, 100..200) - 5000.0).abs() < 290.0);
    assert!((count(&tail.spikes, 2000.0, 0..100) - 5000.0).abs() < 290.0);
    assert_eq!(count(&tail.spikes, 2000.0, 100..200), 0.0);
    let (mut again, mut second) = (engine(&net, "event"), Collected::default());
    again.restore(&snapshot).unwrap();
    assert!(again.snapshot().unwrap() == snapshot);
    again.set_rates(0, &swapped).unwrap();
    again.advance(10_000, &mut second).unwrap();
    assert!(second == tail);
    let (few, negative, none) = (&rates[..7], [-1.0; 200], [f64::NAN; 200]);
    for (population, rates) in [(1, &rates[..1]), (0, few), (9, &rates[..]), (0, &negative[..]), (0, &none[..])] {
        assert!(again.set_rates(population, rates).is_err());
    }
}

/// What the engine cannot do without a grid is refused by name.
#[test]
fn rules_that_read_states_of_their_target_are_refused() {
    let rule = "name = \"reader\"\nkind = \"synapse\"\ndoc = \"d\"\nsource = \"none\"\nbound = 100\n[post_states]\nv = { doc = \"potential\" }\n\
                [code]\non_pre = \"w = min(w + 0.0 * v, 100.0);\"\n";
    let net = with_model(&with_synapse(&recurrent("stdp_synapse"), "{ model = \"reader\" }"), rule);
    let error = open(&net, "event", 1).err().expect("a refusal");
    assert!(error.to_string().contains("`v`") && error.to_string().contains("reader"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]
    /// On trains that lie on a grid both engines change weights alike, coincidences included.
    #[test]
    fn as_the_cpu_engine_on_a_grid(
        rule in prop::sample::select(&RULES[..]),
        // Few possible times, so that many coincide.
        post in prop::collection::btree_set(4u32..60, 5..30),
        pre in prop::collection::vec((prop::collection::btree_set(1u32..60, 3..30), 1u32..12, 0.1f64..0.9), 4),
    ) {
        let named = match rule {
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
        let all = ["cpu", "event"].map(|kind| transmitted(kind, rule, &params, &on_grid(&post), &sources));
        for (a, b) in all[0].iter().flatten().zip(all[1].iter().flatten()) {
            // Traces reach 26 here, so that one spike can take a weight from the bound, 2, to near 0. Its change is then a product as
            // large as the bound, of some eight roundings (traces, exponentials, factors), and none of their error cancels.
            let rounded = 8.0 * f32::EPSILON / 2.0 * 2.0;
            prop_assert!((a - b).abs() <= 1e-5 * a.abs().max(0.02) + rounded, "{rule}: cpu {a}, event {b}");
        }
    }
}
