//! Synapses whose weight changes: against NEST spike by spike, against the pair tables, against a naive simulation in f64 that sums
//! over all pairs of spikes; any number of threads; checkpoints; bounds; refusals.

use crate::common::{Collected, open, plan, shared, stored, try_plan};
use proptest::prelude::*;
use serde_json::{Map, Value};
use sharpwave::engine::{Engine, Own};
use sharpwave::model::SynapseModel;
use sharpwave::model::library::Library;
use sharpwave::network::Network;
use sharpwave::network::connectivity::Rows;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

fn engine(net: &Arc<Network>, threads: usize) -> Box<dyn Engine> {
    open(net, "cpu", threads).unwrap_or_else(|e| panic!("{e}"))
}

fn keys(params: &Map<String, Value>) -> String {
    params.iter().map(|(k, v)| format!(", {k} = {:?}", v.as_f64().unwrap())).collect()
}

/// A source: delay, initial weight, train (ms).
pub struct Source {
    pub delay: f64,
    pub weight: f64,
    pub times: Vec<f64>,
}

/// One target that spikes at given times, whatever its plastic synapses do.
pub fn protocol(rule: &str, params: &Map<String, Value>, post: &[f64], sources: &[Source]) -> String {
    let stop = sources.iter().flat_map(|s| s.times.last().map(|t| t + s.delay)).fold(0.0, f64::max) + 1.0;
    let teacher: Vec<f64> = post.iter().map(|t| (t * 10.0 - 10.0).round() / 10.0).collect();
    let mut text = format!(
        "title = \"plasticity\"\n[simulation]\ndt = 0.1\nduration = {stop:?}\nseed = 1\n[populations.X]\nmodel = \"iaf_psc_delta\"\nn = 1\n\
         params = {{ V_th = 1e6, t_ref = 0.5 }}\n[populations.T]\nmodel = \"spike_generator\"\ntimes = [{teacher:?}]\n[[projections]]\n\
         source = \"T\"\ntarget = \"X\"\nrule = \"all_to_all\"\nweight = 2e6\ndelay = 1.0\n"
    );
    for (i, source) in sources.iter().enumerate() {
        writeln!(
            text,
            "[populations.S{i}]\nmodel = \"spike_generator\"\ntimes = [{:?}]\n[[projections]]\nsource = \"S{i}\"\ntarget = \"X\"\n\
             rule = \"all_to_all\"\nweight = {:?}\ndelay = {:?}\nsynapse = {{ model = \"{rule}\"{} }}",
            source.times,
            source.weight,
            source.delay,
            keys(params)
        )
        .unwrap();
    }
    text
}

/// Weight of each source's synapse just after each of its spikes has arrived, which is what was transmitted. The same is read at
/// the moment of the spike.
fn transmitted(rule: &str, params: &Map<String, Value>, post: &[f64], sources: &[Source]) -> Vec<Vec<f32>> {
    let plan = plan(&protocol(rule, params, post, sources), &[]);
    let net = Arc::new(plan.network.clone());
    let mut engine = engine(&net, 1);
    let steps = |ms: f64| (ms * 10.0).round() as u64;
    let mut looks: Vec<(u64, usize, bool)> = (0..)
        .zip(sources)
        .flat_map(|(i, s)| s.times.iter().flat_map(move |t| [(steps(*t), i, false), (steps(t + s.delay), i, true)]))
        .collect();
    looks.sort_unstable();
    let (mut now, mut sink) = (0, Collected::default());
    let (mut weights, mut read) = (vec![vec![]; sources.len()], vec![vec![]; sources.len()]);
    for (at, source, arrived) in looks {
        engine.advance(at - now, &mut sink).unwrap_or_else(|e| panic!("{rule}: {e}"));
        now = at;
        match arrived {
            false => read[source].push(engine.weights(1 + source).unwrap()[0].2),
            true => weights[source].push(stored(&mut *engine, &net, 1 + source)[0].2),
        }
    }
    assert!(read == weights, "{rule}: a weight is read as it will be transmitted");
    let spikes: Vec<f64> = sink.spikes.iter().filter(|s| s.id == 0).map(|s| (s.time * 10.0).round() / 10.0).collect();
    let due: Vec<f64> = post.iter().copied().filter(|t| steps(*t) <= now).collect();
    assert_eq!(spikes, due, "the target spikes as it is told");
    weights
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// Every weight that NEST transmits, within 1e-5.
#[test]
fn weights_are_those_of_nest_at_every_spike() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/nest_plasticity.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut covered = vec![];
    let mut worst = 0f64;
    for case in golden["cases"].as_array().unwrap() {
        let rule = case["rule"].as_str().unwrap();
        covered.push(rule.to_string());
        let list = case["sources"].as_array().unwrap();
        let number = |v: &Value| v.as_f64().unwrap();
        let sources: Vec<Source> = list
            .iter()
            .map(|s| Source { delay: number(&s["delay"]), weight: number(&s["weight"]), times: numbers(&s["times"]) })
            .collect();
        let params = case["params"].as_object().unwrap();
        let ours = transmitted(rule, params, &numbers(&case["post"]), &sources);
        let scale = params.get("Wmax").map_or(1.0, |w| w.as_f64().unwrap().abs());
        for (i, (ours, source)) in ours.iter().zip(list).enumerate() {
            let theirs = numbers(&source["weights"]);
            assert_eq!(ours.len(), theirs.len());
            for (k, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                // Beside zero, what was left after subtracting large numbers.
                let off = (*a as f64 - b).abs() / b.abs().max(0.01 * scale);
                worst = worst.max(off);
                assert!(off < 1e-5, "{rule} {params:?}: spike {k} of source {i} transmits {a}, NEST {b}");
            }
        }
    }
    println!("largest difference {worst:.1e}");
    rules().iter().for_each(|m| assert!(covered.contains(m), "{m} has no reference"));
}

/// Parameters and defaults are NEST's; ours alone is the bound of the rule that has none there.
#[test]
fn defaults_are_those_of_nest() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/nest_plasticity.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    for rule in rules() {
        let theirs = golden["defaults"][&rule].as_object().unwrap_or_else(|| panic!("{rule} has no reference"));
        let model = Library::built_in().unwrap().synapse(&rule).unwrap();
        let mut ours: Map<String, Value> =
            model.params.iter().map(|p| (p.name.clone(), p.default.constant().unwrap().into())).collect();
        if rule == "stdp_pl_synapse_hom" {
            ours.remove("Wmax");
        }
        assert_eq!(&ours, theirs, "{rule}");
    }
}

/// The change by one pair of spikes, within 1e-5 of the change and the last bit of the weight.
#[test]
fn one_pair_changes_a_weight_as_in_the_table() {
    let (Some(csv), Some(json)) = (shared("reference/stdp_window.csv"), shared("reference/stdp_window.json")) else { return };
    let about: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let rows: Vec<Vec<f64>> = std::fs::read_to_string(csv)
        .unwrap()
        .lines()
        .skip(1)
        .map(|line| line.split(',').map(|x| x.parse().unwrap()).collect())
        .collect();
    let mut worst = 0f64;
    for (index, case) in about["cases"].as_array().unwrap().iter().enumerate() {
        let rule = case["nest_model"].as_str().unwrap();
        let mut params = case["params"].as_object().unwrap().clone();
        let weight = params.remove("weight").unwrap().as_f64().unwrap();
        let delay = params.remove("delay").unwrap().as_f64().unwrap();
        params.insert("tau_minus".into(), about["tau_minus_ms"].clone());
        let own: Vec<&Vec<f64>> = rows.iter().filter(|r| r[0] == index as f64).collect();
        assert!(own.len() > 20, "{rule}: {} rows", own.len());
        for row in own {
            let source = Source { delay, weight, times: vec![200.0, 5200.0] };
            let ours = transmitted(rule, &params, &[200.0 + row[1] - delay], &[source])[0][1] as f64;
            let off = (ours - row[3]).abs();
            if row[4].abs() > 0.01 * row[3].abs() {
                worst = worst.max(off / row[4].abs());
            }
            let allowed = 1e-5 * row[4].abs() + (f32::EPSILON as f64) * row[3].abs();
            assert!(off <= allowed, "{rule} {params:?}, dt {}: {ours}, table {}, change {}", row[1], row[3], row[4]);
        }
    }
    println!("largest difference relative to changes of 1 % or more {worst:.1e}");
}

/// The weights that a rule transmits, from sums over all pairs; times and delay in steps.
pub fn naive(rule: &str, p: &dyn Fn(&str) -> f64, dt: f64, w0: f64, d: i64, pre: &[i64], post: &[i64]) -> Vec<f64> {
    let fall = |steps: i64, tau: f64| (-(steps as f64) * dt / tau).exp();
    let (mut w, mut paired, mut out) = (w0, 0, vec![]);
    for (k, &t) in pre.iter().enumerate() {
        let before = &pre[..k];
        let last = before.last().copied();
        let window: Vec<i64> = post.iter().copied().filter(|q| q + d <= t && last.is_none_or(|l| q + d > l)).collect();
        let since = |q: i64| q + d - last.unwrap_or(0);
        let past = |t: i64| post.iter().copied().filter(move |q| q + d < t);
        let minus = |tau: f64| past(t).map(|q| fall(t - d - q, tau)).sum::<f64>();
        let plus = |from: usize, q: i64, tau: f64| before[from.min(k)..].iter().map(|s| fall(q + d - s, tau)).sum::<f64>();
        let nearest = past(t).max().map_or(0.0, |q| fall(t - d - q, p("tau_minus")));
        let up = |w: f64, x: f64| {
            let (max, norm) = (p("Wmax"), w / p("Wmax"));
            (norm + p("lambda") * (1.0 - norm).powf(p("mu_plus")) * x).min(1.0) * max
        };
        let down = |w: f64, x: f64| {
            let (max, norm) = (p("Wmax"), w / p("Wmax"));
            (norm - p("alpha") * p("lambda") * norm.powf(p("mu_minus")) * x).max(0.0) * max
        };
        match rule {
            "stdp_synapse" => {
                window.iter().for_each(|q| w = up(w, plus(0, *q, p("tau_plus"))));
                w = down(w, minus(p("tau_minus")));
            }
            "stdp_nn_symm_synapse" => {
                window.iter().for_each(|q| w = up(w, fall(since(*q), p("tau_plus"))));
                w = down(w, nearest);
            }
            "stdp_nn_restr_synapse" => {
                if let Some(q) = window.first() {
                    w = down(up(w, fall(since(*q), p("tau_plus"))), nearest);
                }
            }
            "stdp_nn_pre_centered_synapse" => {
                if let Some(q) = window.first() {
                    w = up(w, plus(paired, *q, p("tau_plus")));
                    paired = k;
                }
                w = down(w, nearest);
            }
            "stdp_pl_synapse_hom" => {
                window.iter().for_each(|q| w += p("lambda") * w.powf(p("mu")) * plus(0, *q, p("tau_plus")));
                w = (w - p("lambda") * p("alpha") * w * minus(p("tau_minus"))).max(0.0);
            }
            "stdp_triplet_synapse" => {
                for q in &window {
                    let slow: f64 = post.iter().filter(|o| *o < q).map(|o| fall(q - o, p("tau_minus_triplet"))).sum();
                    w = (w + plus(0, *q, p("tau_plus")) * (p("Aplus") + p("Aplus_triplet") * slow)).min(p("Wmax"));
                }
                let slow: f64 = before.iter().map(|s| fall(t - s, p("tau_plus_triplet"))).sum();
                w = (w - minus(p("tau_minus")) * (p("Aminus") + p("Aminus_triplet") * slow)).max(0.0);
            }
            "vogels_sprekeler_synapse" => {
                let (side, max) = (p("Wmax").signum(), p("Wmax").abs());
                window.iter().for_each(|q| w = side * (w.abs() + p("eta") * plus(0, *q, p("tau"))).min(max));
                w = side * (w.abs() + p("eta") * minus(p("tau_minus"))).min(max);
                w = side * (w.abs() - p("alpha") * p("eta")).max(0.0);
            }
            other => panic!("{other} has no naive form"),
        }
        out.push(w);
    }
    out
}

/// Parameters with which each rule moves pA weights within a second.
pub fn lively(rule: &str) -> &'static str {
    match rule {
        "stdp_pl_synapse_hom" => "lambda = 0.3, alpha = 0.1, Wmax = 1000.0",
        "stdp_triplet_synapse" => "Aplus = 1.0, Aplus_triplet = 0.5, Aminus = 2.0, Aminus_triplet = 0.2, Wmax = 90.0",
        "vogels_sprekeler_synapse" => "eta = 2.0, alpha = 0.2, Wmax = -150.0",
        _ => "lambda = 0.05, mu_plus = 0.3, mu_minus = 0.6, tau_minus = 30.0, Wmax = 90.0",
    }
}

/// Neurons that excite each other, and a population of generators, all through the rule, in two projections with other constants.
pub fn recurrent(rule: &str) -> String {
    let params = lively(rule);
    let sign = if params.contains("Wmax = -") { -1.0 } else { 1.0 };
    let weight = |mean: f64| {
        let (low, high) = if sign > 0.0 { (0.0, 80.0) } else { (-80.0, 0.0) };
        format!(
            "{{ distribution = \"normal\", mean = \"{} pA\", std = \"10 pA\", low = {low:?}, high = {high:?}, redraw = true }}",
            sign * mean
        )
    };
    let tau = if rule == "vogels_sprekeler_synapse" { "tau = 12.0" } else { "tau_plus = 12.0" };
    let tau = if params.contains("tau_minus") { tau.to_string() } else { format!("{tau}, tau_minus = 17.0") };
    format!(
        r#"
title = "A small plastic network"
[simulation]
dt = "0.1 ms"
duration = "400 ms"
seed = 5
[populations.E]
model = "iaf_psc_exp"
n = 70
params = {{ V_m = {{ distribution = "normal", mean = "-60 mV", std = "4 mV" }} }}
[populations.P]
model = "poisson"
n = 20
rate = "40 Hz"
[[projections]]
source = "E"
target = "E"
rule = {{ name = "fixed_indegree", indegree = 12 }}
weight = {}
delay = {{ distribution = "normal", mean = "2 ms", std = "1.5 ms", low = "0.1 ms", redraw = true }}
synapse = {{ model = "{rule}", {params} }}
[[projections]]
source = "P"
target = "E"
rule = {{ name = "pairwise_bernoulli", p = 0.5 }}
weight = {}
delay = "1.3 ms"
synapse = {{ model = "{rule}", {params}, {tau} }}
[[drives]]
target = "E"
type = "poisson_generator"
rate = "9000 Hz"
weight = "60 pA"
"#,
        weight(40.0),
        weight(50.0)
    )
}

/// Rules of NEST that read spikes alone; the others are tested in three_factor.rs.
pub fn rules() -> Vec<String> {
    let of_spikes = |m: &SynapseModel| m.plasticity.as_ref().is_some_and(|p| p.special().is_none());
    let library = Library::built_in().unwrap();
    library.synapses().filter(|m| of_spikes(m) && m.source.starts_with("NEST")).map(|m| m.name.clone()).collect()
}

pub fn bits(engine: &mut dyn Engine) -> Vec<Vec<u32>> {
    (0..2).map(|p| engine.weights(p).unwrap().iter().map(|w| w.2.to_bits()).collect()).collect()
}

/// Spikes decide weights: those of a whole network, computed again from its spikes.
#[test]
fn weights_follow_from_the_spikes_of_a_network() {
    for rule in rules() {
        let net = Arc::new(plan(&recurrent(&rule), &[]).network.clone());
        let mut engine = engine(&net, 2);
        let (steps, mut sink) = (4000i64, Collected::default());
        engine.advance(steps as u64, &mut sink).unwrap_or_else(|e| panic!("{e}"));
        let mut trains = vec![vec![]; net.neurons() as usize];
        sink.spikes.iter().for_each(|s| trains[s.id as usize].push((s.time * 10.0).round() as i64));
        let spikes = trains[..70].iter().map(Vec::len).sum::<usize>();
        assert!(spikes > 200, "{rule}: {spikes} spikes");
        let rows = Rows::prepare(&net, &|_| {}).unwrap();
        let mut edges = vec![];
        let (mut moved, mut worst) = (0, 0f64);
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
                    let d = ((edge.delay * 10.0 + 0.5) as i64).max(1);
                    let arrived: Vec<i64> = trains[id as usize].iter().copied().filter(|t| t + d <= steps).collect();
                    let all = naive(&rule, &value, net.dt, edge.weight, d, &arrived, &trains[to as usize]);
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

#[test]
fn any_number_of_threads_gives_the_same_weights() {
    for rule in rules() {
        let net = Arc::new(plan(&recurrent(&rule), &[]).network.clone());
        let run = |threads: usize| {
            let (mut engine, mut sink) = (engine(&net, threads), Collected::default());
            engine.advance(4000, &mut sink).unwrap();
            (sink.spikes, bits(&mut *engine), engine.snapshot().unwrap())
        };
        let one = run(1);
        for threads in [2, 5] {
            let other = run(threads);
            assert!(other.0 == one.0, "{rule}: spikes, {threads} threads");
            assert!(other.1 == one.1, "{rule}: weights, {threads} threads");
            assert!(other.2 == one.2, "{rule}: snapshots, {threads} threads");
        }
    }
}

/// Stop at any step (histories have been shortened by then), go on with other threads: the same spikes and weights.
#[test]
fn a_restored_engine_goes_on_bit_for_bit() {
    for rule in rules() {
        let net = Arc::new(plan(&recurrent(&rule), &[]).network.clone());
        let (mut whole, mut all) = (engine(&net, 2), Collected::default());
        whole.advance(4000, &mut all).unwrap();
        let (mut first, mut parts) = (engine(&net, 2), Collected::default());
        first.advance(2777, &mut parts).unwrap();
        let snapshot = first.snapshot().unwrap();
        for threads in [1, 2, 3] {
            let (mut second, mut rest) = (engine(&net, threads), parts.clone());
            second.restore(&snapshot).unwrap();
            assert!(second.snapshot().unwrap() == snapshot, "{rule}: restoring loses nothing");
            second.advance(1223, &mut rest).unwrap();
            assert!(rest == all, "{rule}: spikes, {threads} threads");
            assert!(bits(&mut *second) == bits(&mut *whole), "{rule}: weights, {threads} threads");
        }
        let mut without = snapshot.clone();
        without.own = Own::Nothing;
        let error = engine(&net, 1).restore(&without).unwrap_err();
        assert!(error.to_string().contains("histories"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]
    /// Whatever the rates and exponents, weights stay between 0 and Wmax.
    #[test]
    fn bounds_are_never_left(
        rule in prop::sample::select(rules()),
        strength in 0.01f64..3.0,
        exponents in (0.0f64..2.0, 0.0f64..2.0),
        start in 0.0f64..1.0,
        negative in any::<bool>(),
        pre in prop::collection::btree_set(2u32..300, 1..40),
        post in prop::collection::btree_set(2u32..300, 1..40),
        delay in 1u32..60,
    ) {
        let side = if negative && rule != "stdp_pl_synapse_hom" { -1.0 } else { 1.0 };
        let mut named = match rule.as_str() {
            "stdp_triplet_synapse" => ["Aplus", "Aminus", "Aplus_triplet", "Aminus_triplet"].map(|n| (n, strength)).to_vec(),
            "vogels_sprekeler_synapse" => vec![("eta", strength)],
            "stdp_pl_synapse_hom" => vec![("lambda", strength), ("mu", exponents.0)],
            _ => vec![("lambda", strength), ("mu_plus", exponents.0), ("mu_minus", exponents.1)],
        };
        named.push(("Wmax", 2.0 * side));
        let params: Map<String, Value> = named.into_iter().map(|(name, x)| (name.to_string(), x.into())).collect();
        let times = |set: &std::collections::BTreeSet<u32>| set.iter().map(|t| *t as f64).collect::<Vec<_>>();
        let source = Source { delay: delay as f64 / 10.0, weight: 2.0 * side * start, times: times(&pre) };
        for w in &transmitted(&rule, &params, &times(&post), &[source])[0] {
            prop_assert!((0.0..=2.0).contains(&(*w as f64 * side)), "{} {:?}: {}", rule, params, w);
        }
    }
}

fn one(synapse: &str, weight: &str) -> String {
    format!(
        "title = \"refusals\"\n[simulation]\nduration = 100\nseed = 1\n[populations.A]\nmodel = \"iaf_psc_exp\"\nn = 4\n\
         params = {{ I_e = 600.0 }}\n[[projections]]\nsource = \"A\"\ntarget = \"A\"\nrule = \"all_to_all\"\nweight = {weight}\n\
         delay = 1.0\nsynapse = {synapse}\n"
    )
}

fn refusal(text: &str, kind: &str) -> String {
    let result = try_plan(text, &[]).and_then(|plan| open(&Arc::new(plan.network.clone()), kind, 1).map(|_| ()));
    let error = result.err().unwrap_or_else(|| panic!("accepted: {text}"));
    format!("{error} {}", error.remedy().expect("a remedy"))
}

#[test]
fn what_cannot_be_is_refused() {
    let stdp = "{ model = \"stdp_synapse\", Wmax = 100.0 }";
    for (kind, synapse, weight, said) in [
        ("cpu", stdp, "-10.0", "a weight may be negative, and the bound of stdp_synapse is 100"),
        (
            "cpu",
            "{ model = \"stdp_synapse\", Wmax = -1.0 }",
            "10.0",
            "a weight may be positive, and the bound of stdp_synapse is -1",
        ),
        ("cpu", stdp, "{ distribution = \"normal\", mean = 10.0, std = 5.0 }", "limits with low = 0.0"),
        ("cpu", "{ model = \"stdp_synapse\", Wmax = 0.0 }", "10.0", "0 is no bound of weights"),
        ("cpu", "{ model = \"stdp_synapse\", tau_minus = 0.0 }", "10.0", "tau_minus"),
        ("cpu", "{ model = \"stdp_synapse\", lamda = 0.1 }", "10.0", "lambda"),
    ] {
        let got = refusal(&one(synapse, weight), kind);
        assert!(got.contains(said), "{kind} {synapse} {weight}: {got}");
    }
}

/// A rule that does not clip stops the run, and the message names the synapse.
#[test]
fn a_weight_beyond_its_bound_stops_the_run() {
    for (growth, said) in [("w = w * 3.0;", "is 270"), ("w = sqrt(-w);", "is NaN")] {
        let rule = format!("name = \"wild\"\nkind = \"synapse\"\nbound = 100\n[code]\non_pre = \"{growth}\"\n");
        let mut library = Library::built_in().unwrap().clone();
        library.add("wild.toml", &rule).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let scenario = folder.path().join("s.toml");
        std::fs::write(&scenario, one("{ model = \"wild\" }", "10.0")).unwrap();
        let plan = sharpwave::scenario::Scenario::load(&scenario, &[], None).unwrap().plan(&library).unwrap();
        let net = Arc::new(plan.network.clone());
        let error = engine(&net, 2).advance(1000, &mut Collected::default()).unwrap_err().to_string();
        assert!(error.contains("the weight of the synapse from neuron ") && error.contains(said), "{error}");
    }
}

fn train_of(sink: &Collected, n: u32) -> Vec<Vec<i64>> {
    let mut trains = vec![vec![]; n as usize];
    sink.spikes.iter().for_each(|s| trains[s.id as usize].push((s.time * 10.0).round() as i64));
    trains
}

/// (source, target, delay in steps, initial weight) of each edge, in canonical order.
fn edges(net: &Network, projection: usize) -> Vec<(u32, u32, i64, f64)> {
    let rows = Rows::prepare(net, &|_| {}).unwrap();
    let source = &net.populations[net.projections[projection].source];
    let (mut found, mut all) = (vec![], vec![]);
    for id in source.first..source.first + source.n {
        found.clear();
        rows.row(id, &mut found);
        let own = found.iter().filter(|e| e.projection as usize == projection);
        all.extend(own.map(|e| (id, e.target, ((e.delay * 10.0 + 0.5) as i64).max(1), e.weight)));
    }
    all
}

fn value_of<'a>(net: &'a Network, projection: usize) -> impl Fn(&str) -> f64 + 'a {
    let synapse = &net.projections[projection].synapse;
    move |name: &str| synapse.params[synapse.model.params.iter().position(|q| q.name == name).unwrap()]
}

/// Weights brought up to date at any time, with any number of threads: not a bit changes of what follows.
#[test]
fn bringing_weights_up_to_date_changes_nothing() {
    for rule in rules() {
        let net = Arc::new(plan(&recurrent(&rule), &[]).network.clone());
        let (mut plain, mut all) = (engine(&net, 2), Collected::default());
        plain.advance(3000, &mut all).unwrap();
        let up_to_date = |engine: &mut dyn Engine| (0..2).for_each(|p| engine.scale_weights(p, &|_, _| 1.0).unwrap());
        let held = |engine: &mut dyn Engine| [0, 1].map(|p| stored(engine, &net, p));
        let (before, after) = (held(&mut *plain), bits(&mut *plain));
        up_to_date(&mut *plain);
        assert!(before != held(&mut *plain) || rule == "stdp_nn_restr_synapse", "{rule}: some were not up to date");
        assert!(after == bits(&mut *plain), "{rule}: what is read is up to date in any case");
        for threads in [1, 2, 3] {
            let (mut other, mut spikes, mut now) = (engine(&net, threads), Collected::default(), 0);
            for stop in [1u64, 7, 411, 412, 1303, 1500, 2200, 2999, 3000] {
                other.advance(stop - now, &mut spikes).unwrap();
                now = stop;
                up_to_date(&mut *other);
                if stop == 1303 {
                    let snapshot = other.snapshot().unwrap();
                    other = engine(&net, threads % 3 + 1);
                    other.restore(&snapshot).unwrap();
                }
            }
            assert!(spikes == all, "{rule}: spikes, {threads} threads");
            assert!(bits(&mut *other) == after, "{rule}: weights, {threads} threads");
        }
    }
}

/// Long after, when histories have been shortened, weights still follow from all spikes; a source that never spikes keeps nothing.
#[test]
fn histories_do_not_grow() {
    let text = protocol(
        "stdp_synapse",
        &Map::new(),
        &(0..1400).map(|k| 5.0 * k as f64 + 3.0).collect::<Vec<_>>(),
        &[
            Source { delay: 1.7, weight: 50.0, times: vec![20.0, 3300.0, 6990.0] },
            Source { delay: 3.0, weight: 50.0, times: vec![6989.0] },
            Source { delay: 3.0, weight: 50.0, times: vec![9000.0] },
        ],
    );
    let net = Arc::new(plan(&text, &[]).network.clone());
    let (mut engine, mut sink) = (engine(&net, 1), Collected::default());
    engine.advance(70_000, &mut sink).unwrap();
    let trains = train_of(&sink, net.neurons());
    for (projection, id) in [(1, 2), (2, 3)] {
        let (_, _, d, w) = edges(&net, projection)[0];
        let expected = naive("stdp_synapse", &value_of(&net, projection), net.dt, w, d, &trains[id], &trains[0]);
        let got = stored(&mut *engine, &net, projection)[0].2 as f64;
        assert!((got / expected.last().unwrap() - 1.0).abs() < 1e-5, "{got} for {expected:?}");
    }
    let Own::Cpu { post_spikes, .. } = engine.snapshot().unwrap().own else { panic!("of another engine") };
    let kept = post_spikes.len();
    assert!(trains[0].len() > 1300 && kept < 3 * 2 * 120, "{kept} words for {} spikes", trains[0].len());
}

/// Without learning nothing moves, and what happens meanwhile does not count: the source's spikes that arrive, the target's that
/// are emitted. Paused twice; restored on other threads in a pause and after.
#[test]
fn what_happens_in_a_pause_does_not_count() {
    for rule in rules() {
        // Slow enough that weights do not end at their bounds.
        let text = recurrent(&rule).replace("eta = 2.0", "eta = 0.05");
        let net = Arc::new(plan(&text, &[]).network.clone());
        let pauses = [(900i64, 1400i64), (2000, 2100)];
        let run = |threads: [usize; 3]| {
            let (mut now, mut sink, mut at) = (0, Collected::default(), engine(&net, threads[0]));
            let mut go = |engine: &mut dyn Engine, stop: i64| {
                engine.advance((stop - now) as u64, &mut sink).unwrap();
                now = stop;
            };
            for (k, (off, on)) in pauses.into_iter().enumerate() {
                go(&mut *at, off);
                at.set_learning(0, false).unwrap();
                let before = bits(&mut *at);
                go(&mut *at, (off + on) / 2);
                let snapshot = at.snapshot().unwrap();
                at = engine(&net, threads[k + 1]);
                at.restore(&snapshot).unwrap();
                assert!(at.snapshot().unwrap() == snapshot, "{rule}: restoring loses nothing");
                go(&mut *at, on);
                let after = bits(&mut *at);
                assert!(before[0] == after[0] && before[1] != after[1], "{rule}: only the other projection learns");
                at.set_learning(0, true).unwrap();
                if k == 1 {
                    at.scale_weights(0, &|_, _| 1.0).unwrap();
                    let snapshot = at.snapshot().unwrap();
                    at = engine(&net, threads[0]);
                    at.restore(&snapshot).unwrap();
                }
            }
            go(&mut *at, 4000);
            let weights: Vec<u32> = stored(&mut *at, &net, 0).iter().map(|w| w.2.to_bits()).collect();
            (sink, weights, at.snapshot().unwrap())
        };
        let (sink, weights, snapshot) = run([1, 2, 3]);
        let trains = train_of(&sink, net.neurons());
        let paused = |t: i64| pauses.iter().any(|(off, on)| t > *off && t <= *on);
        let (mut touched, mut differs) = (0, 0);
        for ((from, to, d, w), bits) in edges(&net, 0).into_iter().zip(&weights) {
            let (post, got) = (&trains[to as usize], f32::from_bits(*bits) as f64);
            let arrived: Vec<i64> = trains[from as usize].iter().copied().filter(|t| t + d <= 4000).collect();
            let pre: Vec<i64> = arrived.iter().copied().filter(|t| !paused(t + d)).collect();
            let counted: Vec<i64> = post.iter().copied().filter(|t| !paused(*t)).collect();
            // The weights of synapses whose source has been silent since the second pause were brought up to date then.
            if pre.last().is_none_or(|t| t + d <= 2100) {
                continue;
            }
            let last = |pre: &[i64], post: &[i64]| naive(&rule, &value_of(&net, 0), net.dt, w, d, pre, post).pop().unwrap_or(w);
            let expected = last(&pre, &counted);
            assert!((got - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{rule}: {from} -> {to}: {got}, naive {expected}");
            touched += 1;
            differs += ((expected - last(&arrived, post)).abs() > 0.01) as u32;
        }
        assert!(touched > 200 && differs > touched / 5, "{rule}: {differs} of {touched} differ from learning throughout");
        let other = run([3, 1, 2]);
        assert!(other.0 == sink && other.1 == weights && other.2 == snapshot, "{rule}: other threads");
    }
}

/// Sums and factors of each target, the same for any number of threads; the bound holds on both sides of zero.
#[test]
fn weights_are_scaled_target_by_target() {
    for rule in ["stdp_synapse", "vogels_sprekeler_synapse"] {
        let net = Arc::new(plan(&recurrent(rule), &[]).network.clone());
        let run = |threads| {
            let (mut engine, mut sink) = (engine(&net, threads), Collected::default());
            engine.advance(1500, &mut sink).unwrap();
            engine.scale_weights(0, &|_, _| 1.0).unwrap();
            let before = stored(&mut *engine, &net, 0);
            let sums = std::cell::RefCell::new(vec![0.0; 70]);
            let factor = |local: u32, sum: f64| {
                sums.borrow_mut()[local as usize] = sum;
                if local == 7 { 3.0 } else { 600.0 / sum.abs() }
            };
            engine.scale_weights(0, &factor).unwrap();
            let after = stored(&mut *engine, &net, 0);
            engine.advance(1500, &mut sink).unwrap();
            (before, after, sums.into_inner(), bits(&mut *engine), sink)
        };
        let one = run(1);
        let bound = value_of(&net, 0)("Wmax") as f32;
        let mut clipped = 0;
        for local in 0..70u32 {
            let of = |w: &[(u32, u32, f32)]| w.iter().filter(|e| e.1 == local).map(|e| e.2).collect::<Vec<_>>();
            let (before, after) = (of(&one.0), of(&one.1));
            let sum: f64 = before.iter().map(|w| *w as f64).sum();
            assert!((sum - one.2[local as usize]).abs() < 1e-9 * sum.abs(), "{sum} is told as {}", one.2[local as usize]);
            let factor = if local == 7 { 3.0 } else { 600.0 / one.2[local as usize].abs() };
            for (b, a) in before.iter().zip(&after) {
                let scaled = (*b as f64 * factor) as f32;
                clipped += (scaled.abs() > bound.abs()) as u32;
                assert_eq!(*a, if scaled.abs() > bound.abs() { bound } else { scaled });
            }
        }
        assert!(clipped > 0);
        for threads in [2, 3] {
            assert!(run(threads) == one, "{rule}: {threads} threads");
        }
        let mut engine = engine(&net, 2);
        let error = engine.scale_weights(0, &|local, _| if local == 40 { f64::NAN } else { 2.0 }).unwrap_err().to_string();
        assert!(error.contains("NaN"), "{error}");
        assert!(bits(&mut *engine) == bits(&mut *self::engine(&net, 1)), "nothing was changed");
    }
    let net = Arc::new(plan(&one("{ model = \"static_synapse\" }", "10.0"), &[]).network.clone());
    assert!(engine(&net, 1).scale_weights(0, &|_, _| 1.0).unwrap_err().to_string().contains("do not change"));
    assert!(engine(&net, 1).set_learning(0, false).unwrap_err().to_string().contains("do not change"));
}

/// Sources take other rates from a step on, on any number of threads, also after a snapshot.
#[test]
fn sources_take_other_rates() {
    let net = Arc::new(plan(&recurrent("stdp_synapse"), &[]).network.clone());
    let rates: Vec<f64> = (0..20).map(|k| if k < 10 { 0.0 } else { 200.0 }).collect();
    let run = |threads: [usize; 2]| {
        let (mut first, mut sink) = (engine(&net, threads[0]), Collected::default());
        first.advance(1000, &mut sink).unwrap();
        first.set_rates(1, &rates).unwrap();
        first.advance(1000, &mut sink).unwrap();
        let mut second = engine(&net, threads[1]);
        second.restore(&first.snapshot().unwrap()).unwrap();
        second.advance(1000, &mut sink).unwrap();
        sink
    };
    let sink = run([1, 2]);
    assert!(run([3, 1]) == sink);
    let mut plain = Collected::default();
    engine(&net, 1).advance(1000, &mut plain).unwrap();
    assert_eq!(sink.spikes[..plain.spikes.len()], plain.spikes);
    let count =
        |ids: std::ops::Range<u32>, from: f64| sink.spikes.iter().filter(|s| ids.contains(&s.id) && s.time > from).count();
    assert_eq!(count(70..80, 100.05), 0);
    let fast = count(80..90, 100.05) as f64;
    assert!((fast - 400.0).abs() < 80.0, "{fast} spikes, 400 expected");
    let mut engine = engine(&net, 2);
    for (population, rates, said) in [
        (1, vec![1.0; 19], "19 Poisson rates"),
        (1, vec![-1.0; 20], "-1 Hz"),
        (1, vec![4e6; 20], "too far above"),
        (0, vec![1.0; 70], "`E` has no rates"),
        (9, vec![], "has no rates"),
    ] {
        let error = engine.set_rates(population, &rates).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
