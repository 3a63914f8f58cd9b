//! What is transmitted is what is stored: the potential of a neuron that only adds up its input (iaf_psc_delta with an endless time
//! constant) after spikes of its sources, against the recorded weights in double precision, on every engine.

use crate::common::{Collected, device_there, plan};
use proptest::prelude::*;
use sharpwave::engine::Engine;
use sharpwave::network::{Draw, Edges, Limits, Network, Projection, Rule};
use std::sync::Arc;

/// Engines and numbers of threads.
fn engines() -> Vec<(&'static str, usize)> {
    let mut all = vec![("cpu", 1), ("cpu", 3), ("event", 1)];
    if device_there() {
        all.push(("gpu", 1));
    }
    all
}

/// The population T of `n` adding neurons; one source population each: its name, times of its only source and what follows in its
/// projection onto all of T.
fn adding(n: usize, sources: &[(&str, &str, &str)], rest: &str) -> Network {
    let mut text = format!(
        "title = \"sums\"\n[simulation]\ndt = 0.1\nduration = 100.0\nseed = 5\n[populations.T]\nmodel = \"iaf_psc_delta\"\nn = {n}\n\
         params = {{ V_th = 1e30, tau_m = 1e12, E_L = 0, V_m = 0 }}\nrecord = {{ states = \"V_m\", interval = \"0.5 ms\" }}\n"
    );
    for (name, times, _) in sources {
        text += &format!("[populations.{name}]\nmodel = \"spike_generator\"\ntimes = [[{times}]]\n");
    }
    for (name, _, projection) in sources {
        text += &format!(
            "[[projections]]\nname = \"{name}\"\nsource = \"{name}\"\ntarget = \"T\"\nrule = \"all_to_all\"\n{projection}\n"
        );
    }
    plan(&(text + rest), &[]).network
}

fn start(net: &Network, (kind, threads): (&str, usize)) -> Box<dyn Engine> {
    crate::common::open(&Arc::new(net.clone()), kind, threads).unwrap_or_else(|e| panic!("{kind}: {e}"))
}

/// Potentials at a time (ms), up to which the engine runs.
fn potentials(engine: &mut dyn Engine, from: &mut f64, to: f64) -> Vec<f32> {
    let mut sink = Collected::default();
    engine.advance(((to - *from) * 10.0).round() as u64, &mut sink).unwrap_or_else(|e| panic!("{e}"));
    *from = to;
    let (_, time, values) = sink.samples.pop().expect("a sample every half millisecond");
    assert!((time - to).abs() < 1e-6);
    values
}

/// Recorded weights of a projection by target, in double precision.
fn by_target(engine: &mut dyn Engine, net: &Network, projection: usize) -> Vec<f64> {
    let first = net.populations[net.projections[projection].target].first;
    let mut sums = vec![0.0; net.populations[net.projections[projection].target].n as usize];
    for (_, target, weight) in engine.weights(projection).unwrap() {
        sums[(target - first) as usize] += weight as f64;
    }
    sums
}

/// Times of which every projection has one, ascending; nothing arrives together. The smallest is just above 2^-95, below which a state counts
/// as 0.
const KINDS: [(&str, &str, &str); 7] = [
    ("tiny", "1", "weight = \"3e-29 mV\"\ndelay = \"1 ms\""),
    ("plastic", "4", "weight = \"1e-3 mV\"\ndelay = \"1 ms\"\nsynapse = { model = \"stdp_pl_synapse_hom\" }"),
    ("short", "7", "weight = \"0.1234567 mV\"\ndelay = \"1 ms\"\nsynapse = { model = \"tsodyks2_synapse\", U = 0.25 }"),
    ("wide", "10", "weight = { distribution = \"lognormal\", mu = 3, sigma = 2 }\ndelay = \"1 ms\""),
    ("normal", "13", "weight = { distribution = \"normal\", mean = \"500 mV\", std = \"50 mV\" }\ndelay = \"1 ms\""),
    ("inhibition", "16", "weight = \"-90000 mV\"\ndelay = \"1 ms\""),
    ("huge", "19", "weight = \"3.3333333e6 mV\"\ndelay = \"1 ms\""),
];

/// Each kind alone, and all on one receptor.
#[test]
fn every_kind_of_weight_is_transmitted_as_it_is_recorded() {
    let alone = KINDS.iter().map(|kind| vec![*kind]);
    for kinds in alone.chain([KINDS.to_vec()]) {
        let net = adding(40, &kinds, "");
        let mut of_cpu: Option<Vec<Vec<f32>>> = None;
        for by in engines() {
            let mut engine = start(&net, by);
            let (mut now, mut before, mut all) = (0.0, vec![0f32; 40], Vec::new());
            for (p, (name, time, _)) in kinds.iter().enumerate() {
                let share = if *name == "short" { 0.25 } else { 1.0 };
                let weights = by_target(&mut *engine, &net, p);
                let after = potentials(&mut *engine, &mut now, time.parse::<f64>().unwrap() + 2.0);
                for ((after, before), weight) in after.iter().zip(&before).zip(&weights) {
                    let expected = *before as f64 + share * weight;
                    let allowed = 1e-6 * (share * weight).abs() + 1.2e-7 * ((*before as f64).abs() + expected.abs());
                    assert!(
                        *weight != 0.0 && (*after as f64 - expected).abs() <= allowed,
                        "{by:?} {name}: {after} for {expected}"
                    );
                }
                let given = match &net.projections[p].weight {
                    Draw::Constant(x) => *x,
                    _ => f64::NAN,
                };
                assert!(given.is_nan() || weights.iter().all(|w| (w / given - 1.0).abs() <= 1e-6), "{by:?} {name}: {weights:?}");
                all.push(after.clone());
                before = after;
            }
            if by.0 == "cpu" {
                assert_eq!(of_cpu.get_or_insert(all.clone()), &all, "threads do not matter");
            }
        }
    }
}

/// A plastic weight acts as it is, from far below where it began up to its bound.
#[test]
fn a_plastic_weight_acts_as_it_stands() {
    let times = (1..=9).map(|k| format!("{}", 10 * k)).collect::<Vec<_>>().join(", ");
    let plastic = "weight = \"0.1 mV\"\ndelay = \"1 ms\"\nsynapse = { model = \"stdp_pl_synapse_hom\" }";
    let net = adding(3, &[("P", &times, plastic), ("I", "0.5", "weight = \"-5e-26 mV\"\ndelay = \"1 ms\"")], "");
    for by in engines() {
        let (mut engine, mut now) = (start(&net, by), 0.0);
        let mut total = potentials(&mut *engine, &mut now, 5.0)[0] as f64;
        assert!((total / -5e-26 - 1.0).abs() < 2e-6, "{by:?} {total}");
        for wanted in [1.234e-24, 7e-18, 3e-13, 2.222e-9, 1e-6, 0.1, 3.0, 4567.8, 9999.9] {
            engine.scale_weights(0, &|_, sum| wanted / sum).unwrap();
            let weight = by_target(&mut *engine, &net, 0)[0];
            assert!((weight / wanted - 1.0).abs() < 2e-6, "{by:?}: {weight} for {wanted}");
            let next = now + 10.0;
            let after = potentials(&mut *engine, &mut now, next)[0] as f64;
            assert!((after - total - weight).abs() < 1e-6 * weight, "{by:?}: {} for {weight}", after - total);
            total = after;
        }
    }
}

/// Weights that cancel leave what is small.
#[test]
fn sums_on_a_grid_lose_nothing_to_cancellation() {
    let weight = |w: &str| format!("weight = \"{w} mV\"\ndelay = \"1 ms\"");
    let plastic = |w: &str| format!("weight = \"{w} mV\"\ndelay = \"1 ms\"\nsynapse = {{ model = \"stdp_pl_synapse_hom\" }}");
    let (a, b, c, d) = (weight("1e6"), weight("-1e6"), weight("2.5e-20"), plastic("4.5e-20"));
    let net = adding(2, &[("a", "5", &a), ("b", "5", &b), ("c", "5", &c), ("d", "5", &d)], "");
    for by in engines().into_iter().filter(|by| by.0 != "event") {
        let v = potentials(&mut *start(&net, by), &mut 0.0, 8.0)[0];
        assert!((v as f64 / 7e-20 - 1.0).abs() < 1e-6, "{by:?} {v}");
    }
}

/// Quantiles of recorded weights against those of the distribution, and the distance from what was drawn.
#[test]
fn wide_distributions_keep_their_small_weights() {
    for sigma in [1.5, 2.0, 2.5] {
        let text = format!("weight = {{ distribution = \"lognormal\", mu = 0, sigma = {sigma} }}\ndelay = \"1 ms\"");
        let net = adding(20_000, &[("S", "5", &text)], "");
        let drawn = by_target(&mut *start(&net, ("event", 1)), &net, 0);
        let kept = by_target(&mut *start(&net, ("cpu", 2)), &net, 0);
        assert!(kept.iter().zip(&drawn).all(|(k, d)| *k > 0.0 && (k - d).abs() <= 1e-3 + 1.2e-7 * d), "sigma {sigma}");
        let mut sorted = kept.clone();
        sorted.sort_by(f64::total_cmp);
        for (share, z) in [(0.05, -1.6449), (0.25, -0.6745), (0.5, 0.0), (0.75, 0.6745), (0.95, 1.6449)] {
            let (ours, theirs) = (sorted[(share * 20_000.0) as usize], f64::exp(sigma * z));
            assert!((ours / theirs - 1.0).abs() < 0.05 * sigma, "sigma {sigma}: {share} below {ours}, not {theirs}");
        }
    }
}

/// Two spikes of one source that fall into one step count twice, in a sum that they fill.
#[test]
fn sums_do_not_wrap_when_spikes_share_a_step() {
    let mut net = adding(1, &[("S", "5.0, 5.00005", "weight = \"1 mV\"\ndelay = \"1 ms\"")], "");
    let small = 1.0 / 1_048_573.0;
    let weight = std::iter::repeat_n(1.0, 1500).chain([small as f32]).collect();
    net.projections[0].rule =
        Rule::Explicit(Arc::new(Edges { start: vec![0, 1501], target: vec![0; 1501], weight: Some(weight), delay: None }));
    for by in engines() {
        let v = potentials(&mut *start(&net, by), &mut 0.0, 8.0)[0] as f64;
        assert!((v / (2.0 * (1500.0 + small)) - 1.0).abs() < 1e-6, "{by:?} {v}");
    }
}

/// A pixel that fires a hundred times in a step.
#[test]
fn sums_do_not_wrap_when_pixels_fire_many_times_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("white-images.idx3-ubyte");
    std::fs::write(&path, [&[0, 0, 8, 3][..], &[0, 0, 0, 1].repeat(3), &[255]].concat()).unwrap();
    let shown = format!(
        "[populations.S]\nmodel = \"images\"\nimages = {path:?}\nencoding = \"rate\"\nmax_rate = \"1e6 Hz\"\npresent = \"1 ms\"\n\
         rest = \"100 ms\"\n[[projections]]\nsource = \"S\"\ntarget = \"T\"\nrule = \"all_to_all\"\nweight = \"1 mV\"\ndelay = \"1 ms\"\n"
    );
    let mut net = adding(1, &[], &shown);
    let small = 1.0 / 1_048_573.0;
    let weight = std::iter::repeat_n(1.0, 50).chain([small as f32]).collect();
    net.projections[0].rule =
        Rule::Explicit(Arc::new(Edges { start: vec![0, 51], target: vec![0; 51], weight: Some(weight), delay: None }));
    for by in engines().into_iter().filter(|by| by.0 != "event") {
        let v = potentials(&mut *start(&net, by), &mut 0.0, 8.0)[0] as f64;
        let spikes = v / (50.0 + small);
        assert!((spikes - spikes.round()).abs() < 1e-6 * spikes && (800.0..1200.0).contains(&spikes), "{by:?} {v}");
    }
}

/// A background drive that is small beside the synapses of its receptor adds whole events.
#[test]
fn small_drives_beside_large_weights_are_not_lost() {
    let drive =
        "[[drives]]\nname = \"d\"\ntarget = \"T\"\ntype = \"poisson_generator\"\nrate = \"30000 Hz\"\nweight = \"1.1e-9 mV\"\n";
    let large = "weight = { distribution = \"normal\", mean = \"1000 mV\", std = \"100 mV\" }\ndelay = \"1 ms\"";
    let net = adding(200, &[("S", "90", large)], drive);
    let mut of_cpu = None;
    for by in engines().into_iter().filter(|by| by.0 != "event") {
        let v = potentials(&mut *start(&net, by), &mut 0.0, 10.0);
        let counts: Vec<f64> = v.iter().map(|v| *v as f64 / 1.1e-9).collect();
        assert!(counts.iter().all(|n| (n - n.round()).abs() < 1e-5 * n && *n > 150.0 && *n < 450.0), "{by:?} {counts:?}");
        let counts: Vec<f64> = counts.into_iter().map(f64::round).collect();
        assert_eq!(of_cpu.get_or_insert(counts.clone()), &counts, "{by:?}: the same events on every engine");
    }
}

/// One projection of a mix: its kind, and the magnitudes of its weights.
#[derive(Clone, Debug)]
enum Kind {
    Constant(f64),
    Given(Vec<f32>),
    Drawn(Draw),
    Plastic(f64),
    Short(f64),
}

fn magnitude() -> impl Strategy<Value = f64> {
    (-20.0f64..6.0).prop_map(|e| 10f64.powf(e))
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        magnitude().prop_map(Kind::Constant),
        magnitude().prop_map(|w| Kind::Constant(-w)),
        proptest::collection::vec((magnitude(), any::<bool>()).prop_map(|(w, n)| if n { -w as f32 } else { w as f32 }), 100)
            .prop_map(Kind::Given),
        (magnitude(), 0.0f64..3.0).prop_map(|(w, sigma)| Kind::Drawn(Draw::Lognormal {
            mu: w.ln(),
            sigma,
            limits: Limits::NONE
        })),
        (magnitude(), 0.0f64..2.0).prop_map(|(w, s)| Kind::Drawn(Draw::Normal { mean: w, std: s * w, limits: Limits::NONE })),
        magnitude().prop_map(|w| Kind::Plastic(w.min(9e3))),
        magnitude().prop_map(Kind::Short),
    ]
}

/// Sets the weights of a projection, which has the right synapse already.
fn set(projection: &mut Projection, kind: &Kind) {
    match kind {
        Kind::Constant(w) | Kind::Plastic(w) | Kind::Short(w) => projection.weight = Draw::Constant(*w),
        Kind::Drawn(draw) => projection.weight = draw.clone(),
        Kind::Given(weights) => {
            let edges = Edges { start: vec![0, 100], target: (0..100).collect(), weight: Some(weights.clone()), delay: None };
            projection.rule = Rule::Explicit(Arc::new(edges));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever shares a receptor: every weight is recorded as accurately as its kind promises, and the sum that arrives is that of
    /// what is recorded.
    #[test]
    fn mixes_of_weights_are_summed_as_they_are_recorded(kinds in proptest::collection::vec(kind(), 1..5), together: bool) {
        let names = ["a", "b", "c", "d"];
        let texts: Vec<String> = kinds.iter().map(|kind| {
            let synapse = match kind {
                Kind::Plastic(_) => "synapse = { model = \"stdp_pl_synapse_hom\" }",
                Kind::Short(_) => "synapse = { model = \"tsodyks2_synapse\" }",
                _ => "",
            };
            format!("weight = \"1 mV\"\ndelay = \"1 ms\"\n{synapse}")
        }).collect();
        let times: Vec<String> = (0..4).map(|k| format!("{}", if together { 5 } else { 5 + k })).collect();
        let sources: Vec<(&str, &str, &str)> = (0..kinds.len()).map(|k| (names[k], times[k].as_str(), texts[k].as_str())).collect();
        let mut net = adding(100, &sources, "");
        kinds.iter().zip(&mut net.projections).for_each(|(kind, projection)| set(projection, kind));
        let exact: Vec<Vec<f64>> = {
            let mut event = start(&net, ("event", 1));
            (0..kinds.len()).map(|p| by_target(&mut *event, &net, p)).collect()
        };
        let mut of_cpu: Option<Vec<f32>> = None;
        for by in engines() {
            let mut engine = start(&net, by);
            let (mut sum, mut size) = (vec![0.0; 100], vec![0.0; 100]);
            for (p, kind) in kinds.iter().enumerate() {
                let weights = by_target(&mut *engine, &net, p);
                let median = match kind {
                    Kind::Drawn(draw) => draw.magnitude(0.5),
                    _ => 0.0,
                };
                for ((i, w), exact) in (0..).zip(&weights).zip(&exact[p]) {
                    let allowed = if median > 0.0 { 1e-3 * median + 1.2e-7 * exact.abs() } else { 1e-6 * exact.abs() };
                    prop_assert!((w - exact).abs() <= allowed && (*w == 0.0) == (*exact == 0.0), "{by:?} {kind:?}: {w} for {exact}");
                    let share = if let Kind::Short(_) = kind { 0.5 } else { 1.0 };
                    sum[i as usize] += share * w;
                    size[i as usize] += share * w.abs();
                }
            }
            let v = potentials(&mut *engine, &mut 0.0, 12.0);
            for ((v, sum), size) in v.iter().zip(&sum).zip(&size) {
                // Together on a grid a sum is exact but for its last rounding, that of plain weights and that of digits each; apart, the
                // potential is rounded at each arrival.
                let allowed = match (together, by.0) {
                    (true, "cpu" | "gpu") if kinds.len() == 1 => 2.5e-7 * sum.abs() + 1e-15 * size,
                    (true, _) => 2.5e-7 * size,
                    (false, _) => 5e-7 * size,
                };
                prop_assert!((*v as f64 - sum).abs() <= allowed, "{by:?}: {v} for {sum}");
            }
            if by.0 == "cpu" {
                prop_assert_eq!(of_cpu.get_or_insert(v.clone()), &v, "threads do not matter");
            }
        }
    }
}
