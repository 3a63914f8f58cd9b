//! Weights that are read: on every engine and with every rule and modifier those of the time of the reading, though synapses are
//! brought up to date only when something needs it; a pause shows those of its begin; and nothing that follows depends on reading.

use crate::common::{Collected, open, plan, try_plan};
use crate::plasticity::lively;
use sharpwave::engine::Engine;
use sharpwave::model::library::Library;
use sharpwave::network::Network;
use sharpwave::run::{Options, Silent};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn engine(net: &Arc<Network>, kind: &str, threads: usize) -> Box<dyn Engine> {
    open(net, kind, threads).unwrap_or_else(|e| panic!("{kind}: {e}"))
}

/// The engines of this machine, with their threads. Targets that are read step by step have no closed form.
fn engines(stepwise: bool) -> Vec<(&'static str, usize)> {
    let mut all = vec![("cpu", 1), ("cpu", 3)];
    all.extend((!stepwise).then_some(("event", 1)));
    all.extend(crate::common::device_there().then_some(("gpu", 1)));
    all
}

/// Delays of the projections from 1 on, in steps of 0.1 ms, and how long a run is.
const DELAYS: [u64; 3] = [17, 1, 93];
const STEPS: u64 = 2400;
/// When weights are read: odd times, at a spike of a source, when one of a target reaches a synapse, just before and after.
const TIMES: [u64; 9] = [1, 7, 200, 333, 1200, 1201, 1202, 1999, 2303];

/// Trains in steps: random; dense here and there; one spike early, then silence; nothing at all.
fn trains() -> [Vec<u64>; 4] {
    let random =
        |seed: u64, n: u64| (0..n).map(move |k| 3 + (k * k * 7919 + seed * 104_729 + k * 331) % 2390).collect::<Vec<u64>>();
    let mut dense = random(2, 12);
    dense.extend((0..15).map(|k| 1150 + 5 * k).chain((0..10).map(|k| 1990 + 2 * k)).chain([1201]));
    let mut first = random(1, 20);
    first.extend([1201, 1199, 2300]);
    [first, dense, vec![150], vec![]].map(tidy)
}

fn tidy(mut train: Vec<u64>) -> Vec<u64> {
    train.sort_unstable();
    train.dedup();
    train
}

fn written(trains: &[Vec<u64>]) -> String {
    let ms = |train: &Vec<u64>| train.iter().map(|t| format!("{:?}", *t as f64 / 10.0)).collect::<Vec<_>>().join(", ");
    trains.iter().map(|train| format!("[{}], ", ms(train))).collect()
}

/// What a synapse model is tested in.
struct Case {
    /// The table of the synapse but for its braces.
    synapse: String,
    /// Its targets' states are read.
    stepwise: bool,
    /// A synapse is brought up to date by a spike of its source, which leaves the weight alone.
    by_source: bool,
}

/// Targets that spike as they are told and sources onto them through the synapse; the signal jumps at `jump` by nothing.
fn network(case: &Case, sources: &[Vec<u64>], jump: Option<u64>, delays: &[u64]) -> Arc<Network> {
    let weight = if case.synapse.contains("Wmax = -") { -30.0 } else { 30.0 };
    let posts: Vec<Vec<u64>> = (0..3u64)
        .map(|i| {
            let steady = (0..40).map(|k| 20 + 13 * i + (53 + 4 * i) * k);
            tidy(steady.chain([1200 - DELAYS[i as usize], 1150, 1152, 1154, 2299, 2302]).filter(|t| *t < STEPS).collect())
        })
        .collect();
    let (target, strength) = match case.stepwise {
        true => ("model = \"aeif_psc_delta_clopath\"", 45.0),
        false => ("model = \"iaf_psc_delta\"\nparams = { V_th = 1e6, t_ref = 0.1 }", 2e6),
    };
    let told: Vec<Vec<u64>> = posts.iter().map(|train| train.iter().map(|t| t - 1).collect()).collect();
    let mut jumps = vec![(200, 1.0), (555, -0.4), (1201, 0.5), (1800, 0.8)];
    jumps.extend(jump.filter(|at| jumps.iter().all(|j| j.0 != *at)).map(|at| (at, 0.0)));
    jumps.sort_by_key(|j| j.0);
    let (when, much): (Vec<f64>, Vec<f64>) = jumps.iter().map(|j| (j.0 as f64 / 10.0, j.1)).unzip();
    let mut text = format!(
        "title = \"weights that are read\"\n[simulation]\ndt = 0.1\nduration = 300.0\nseed = 3\n[modulators]\nreward = {{ tau = 40.0, initial = 0.3, \
         jumps = {{ times = {when:?}, amounts = {much:?} }}, spikes = {{ population = \"M\", delay = 1.2, amount = 0.05 }} }}\n\
         [populations.X]\nn = 3\n{target}\n[populations.T]\nmodel = \"spike_generator\"\ntimes = [{}]\n[populations.M]\n\
         model = \"spike_generator\"\ntimes = [[30.0, 77.7, 118.9]]\n[populations.S]\nmodel = \"spike_generator\"\ntimes = [{}]\n\
         [[projections]]\nsource = \"T\"\ntarget = \"X\"\nrule = \"one_to_one\"\nweight = {strength:?}\ndelay = 0.1\n",
        written(&told),
        written(sources),
    );
    for &delay in delays {
        writeln!(
            text,
            "[[projections]]\nname = \"after {delay}\"\nsource = \"S\"\ntarget = \"X\"\nrule = \"all_to_all\"\nweight = {weight:?}\n\
             delay = {:?}\nsynapse = {{ {} }}",
            delay as f64 / 10.0,
            case.synapse
        )
        .unwrap();
    }
    Arc::new(plan(&text, &[]).network.clone())
}

/// The rules of the library and its modifiers, so that weights move by some parts of them.
fn cases() -> Vec<Case> {
    let library = Library::built_in().unwrap();
    let signal = "modulator = \"reward\"";
    let parameters = |rule: &str| match rule {
        "clopath_synapse" => "Wmax = 90.0".to_string(),
        "stdp_dopamine_synapse" => format!("{signal}, A_plus = 0.8, A_minus = 0.5, tau_c = 100.0, b = 0.1, Wmax = 90.0"),
        "rstdp_synapse" => format!("{signal}, eta = 6.0, tau_e = 80.0, Wmax = 90.0"),
        "bcm_synapse" => "eta = 0.01, tau_theta = 100.0, Wmax = 90.0".into(),
        "oja_synapse" => "eta = 0.5, alpha = 0.02, Wmax = 90.0".into(),
        "covariance_synapse" => "eta = 0.005, tau_mean = 200.0, Wmax = 90.0".into(),
        // Nothing is so far apart to the last bit.
        "soft_wta_synapse" => "w_scale = 20.0, sigma = 10.05, Wmax = 90.0".into(),
        "diehl_cook_synapse" => "nu_pre = 2.0, nu_post = 3.0, Wmax = 90.0".into(),
        known => lively(known).to_string(),
    };
    let rules = library.synapses().filter_map(|m| Some((m, m.plasticity.as_ref()?)));
    let mut cases: Vec<Case> = rules
        .map(|(m, rule)| Case {
            synapse: format!("model = \"{}\", {}", m.name, parameters(&m.name)),
            stepwise: !rule.post_states.is_empty(),
            by_source: false,
        })
        .collect();
    for modifier in library.modifiers() {
        let table = match modifier.name.as_str() {
            "consolidation" => "m = 1.0, w_scale = 40.0",
            "bcm_threshold" => "tau_rate = 500.0, rho_0 = 25.0, p = 1.5",
            "posterior" => "sigma_prior = 2.0, sigma_obs = 5.0, tau = 800.0",
            "benna_fusi" => "tau = 150.0",
            "fusi_cascade" => "levels = 4, weak = 10.0, strong = 60.0, least = 0.05",
            "gate" => "",
            other => panic!("{other} is not tested"),
        };
        // A chain moves the weight between events: a spike of the source that the rule itself ignores shows how far.
        let by_source = modifier.name == "benna_fusi";
        let base = if by_source { "oja_synapse" } else { "stdp_synapse" };
        let base = format!("model = \"{base}\", {}", parameters(base));
        let more = match table {
            "" => "gate = \"reward\"".to_string(),
            table => format!("metaplasticity = {{ model = \"{}\", {table} }}", modifier.name),
        };
        cases.push(Case { synapse: format!("{base}, {more}"), stepwise: false, by_source });
    }
    // What the rule and what the modifier follow between events, together.
    let chain = "metaplasticity = { model = \"benna_fusi\", tau = 150.0 }";
    let rule = format!("model = \"stdp_dopamine_synapse\", {}, {chain}", parameters("stdp_dopamine_synapse"));
    cases.push(Case { synapse: rule, stepwise: false, by_source: false });
    cases
}

/// What the synapses hold, projection by projection, which is not up to date.
fn stored(engine: &mut dyn Engine) -> Vec<Vec<f32>> {
    engine.snapshot().unwrap().synapses.into_iter().map(|mut arrays| arrays.swap_remove(0)).collect()
}

/// Kernels of the gpu engine are long in the making, three of them for each projection: one delay stands for all there, the first, so
/// that random words are the same.
fn delays(kind: &str) -> std::ops::Range<usize> {
    if kind == "gpu" { 0..1 } else { 0..3 }
}

fn read(engine: &mut dyn Engine, projections: usize) -> Vec<Vec<f32>> {
    (1..=projections).map(|p| engine.weights(p).unwrap().iter().map(|w| w.2).collect()).collect()
}

/// The weights at a time as the engine makes them for good: the sources are silent afterwards, and once their last spikes have arrived
/// everything that counts until that time, and nothing later, is brought into the table.
fn forced(case: &Case, at: u64, kind: &str, delays: &[u64]) -> Vec<Vec<f32>> {
    let mut sources = trains().map(|train| train.into_iter().filter(|t| *t <= at).collect::<Vec<u64>>());
    if case.by_source {
        sources.iter_mut().for_each(|train| train.extend((train.last() != Some(&at)).then_some(at)));
    }
    let net = network(case, &sources, Some(at), delays);
    let mut engine = engine(&net, kind, 1);
    engine.advance(at + delays.iter().max().unwrap(), &mut Collected::default()).unwrap();
    (1..=delays.len()).for_each(|p| engine.scale_weights(p, &|_, _| 1.0).unwrap());
    stored(&mut *engine)
}

fn close(found: &[Vec<f32>], wanted: &[Vec<f32>], what: &str) {
    assert_eq!(found.len(), wanted.len());
    for (p, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert_eq!(found.len(), wanted.len());
        // Beside zero, what is left of large numbers.
        let least = 0.1 * wanted.iter().fold(0.0f32, |most, w| most.max(w.abs()));
        for (k, (a, b)) in found.iter().zip(wanted).enumerate() {
            let off = (a - b).abs() / b.abs().max(least);
            assert!(off < 1e-5, "{what}: synapse {k} of plastic projection {p} is read as {a}, it is {b}");
        }
    }
}

#[test]
fn weights_are_those_of_the_time_of_reading() {
    for case in cases() {
        let wanted: Vec<_> = TIMES.iter().map(|at| forced(&case, *at, "cpu", &DELAYS)).collect();
        assert!(wanted[0] != wanted[8], "{}: weights move", case.synapse);
        let mut lazy = 0;
        for (kind, threads) in engines(case.stepwise) {
            let own = delays(kind);
            // The potential of a target has other last bits on a device, and what a rule reads of it follows: there its own weights
            // are wanted, once.
            let last = TIMES.len() - 1;
            let (times, wanted): (Vec<u64>, Vec<_>) = match kind == "gpu" && case.stepwise {
                true => (vec![TIMES[last]], vec![forced(&case, TIMES[last], kind, &DELAYS[own.clone()])]),
                false => (TIMES.to_vec(), wanted.iter().map(|all| all[own.clone()].to_vec()).collect()),
            };
            let net = network(&case, &trains(), None, &DELAYS[own.clone()]);
            let mut run = |reading: bool| {
                let (mut engine, mut sink, mut now) = (engine(&net, kind, threads), Collected::default(), 0);
                for (&at, wanted) in times.iter().zip(&wanted) {
                    engine.advance(at - now, &mut sink).unwrap();
                    now = at;
                    if reading {
                        let what = format!("{}, {kind} with {threads}, {:.1} ms", case.synapse, at as f64 / 10.0);
                        let found = read(&mut *engine, own.len());
                        close(&found, wanted, &what);
                        assert!(read(&mut *engine, own.len()) == found, "{what}: read twice");
                        lazy += (stored(&mut *engine) != found) as u32;
                    }
                }
                engine.advance(STEPS - now, &mut sink).unwrap();
                (sink, engine.snapshot().unwrap())
            };
            let with = run(true);
            // Kernels are long in the making: there one case shows it.
            if kind != "gpu" || case.synapse.contains("dopamine") {
                assert!(with == run(false), "{}, {kind}: reading changes nothing", case.synapse);
            }
        }
        assert!(lazy > 0, "{}: some synapse was not up to date", case.synapse);
    }
}

/// While nothing is learned, weights are those of when learning stopped, also after a checkpoint; a spike of a target on its way to
/// the synapse then counts when learning has gone on.
#[test]
fn a_pause_shows_the_weights_of_its_begin() {
    for case in cases() {
        for (kind, threads) in engines(case.stepwise) {
            if kind == "gpu" && !case.synapse.contains("dopamine") && !case.synapse.contains("triplet") {
                continue;
            }
            // No spike of a source is on its way when learning stops.
            let (start, longest) = (1148, DELAYS[2]);
            let sources =
                trains().map(|t| t.into_iter().filter(|t| !(start - longest..=start).contains(t)).collect::<Vec<u64>>());
            let (n, net) = (delays(kind).len(), network(&case, &sources, None, &DELAYS[delays(kind)]));
            let (mut first, mut sink) = (engine(&net, kind, threads), Collected::default());
            first.advance(start, &mut sink).unwrap();
            let before = read(&mut *first, n);
            (1..=n).for_each(|p| first.set_learning(p, false).unwrap());
            assert!(read(&mut *first, n) == before, "{}, {kind}: at the begin", case.synapse);
            first.advance(400, &mut sink).unwrap();
            let mut second = engine(&net, kind, 1);
            second.restore(&first.snapshot().unwrap()).unwrap();
            for engine in [&mut first, &mut second] {
                close(&read(&mut **engine, n), &before, &format!("{}, {kind}: in the pause", case.synapse));
                engine.advance(9, &mut Collected::default()).unwrap();
                (1..=n).for_each(|p| engine.set_learning(p, true).unwrap());
                engine.advance(700, &mut Collected::default()).unwrap();
            }
            assert!(
                read(&mut *first, n) == read(&mut *second, n) && read(&mut *first, n) != before,
                "{}, {kind}: after it",
                case.synapse
            );
        }
    }
}

/// A pair of +5 ms at a synapse whose source is silent afterwards, in a recording: the weight in closed form from the first reading
/// after the pair on, and at the end.
#[test]
fn recorded_weights_are_up_to_date() {
    let text = "[simulation]\ndt = 0.1\nduration = 5000.0\n[populations.pre]\nmodel = \"spike_generator\"\ntimes = [[200.0]]\n\
                [populations.driver]\nmodel = \"spike_generator\"\ntimes = [[203.0]]\n[populations.post]\nmodel = \"iaf_psc_delta\"\nn = 1\n\
                params = { t_ref = 0, V_th = 1e5 }\n[[projections]]\nsource = \"driver\"\ntarget = \"post\"\nrule = \"one_to_one\"\nweight = 1e6\n\
                delay = 1.0\n[[projections]]\nname = \"p\"\nsource = \"pre\"\ntarget = \"post\"\nrule = \"one_to_one\"\nweight = 50\ndelay = 1.0\n\
                synapse = { model = \"stdp_synapse\" }\nrecord = { weights = true, interval = 205.0 }\n";
    let wanted = 50.0 + 0.01 * 100.0 * 0.5 * (-5.0f64 / 20.0).exp();
    for (kind, threads) in engines(false) {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a.h5");
        let options =
            Options { engine: Some(kind.parse().unwrap()), threads: Some(threads), out: Some(out.clone()), ..Options::default() };
        let plan = try_plan(text, &[]).unwrap();
        sharpwave::run::run(&plan, &options, &Silent, &AtomicBool::new(false)).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let recording = sharpwave::record::read::Recording::open(&out).unwrap();
        let series = &recording.weights().unwrap()[0];
        assert_eq!((series.times[1], *series.times.last().unwrap()), (205.0, 5000.0));
        for (k, time) in series.times.iter().enumerate() {
            let (w, expected) = (recording.weight_row(series, k).unwrap()[0] as f64, if k == 0 { 50.0 } else { wanted });
            assert!((w - expected).abs() < 1e-5 * expected, "{kind}: {w} at {time} ms, {expected} in closed form");
        }
    }
}
