//! Transcripts of refusals, resolved plans, and down-scaling against numbers computed by hand.

use super::*;
use crate::network::{Cell, Draw, Limits, Probe, Profile, Rule, SpikeRecord, Values, Window};
use crate::stimulus::{DriveKind, SpikeSource};
use std::path::PathBuf;

/// A correct scenario that the transcripts spoil, one line at a time.
const BASE: &str = r#"title = "test"
[simulation]
dt = "0.1 ms"
duration = "1 s"
seed = 3
[variables]
g = 5.0
J = "0.1 * 2"
[populations.E]
model = "iaf_psc_exp"
n = 80
params = { tau_m = "10 ms" }
[populations.I]
model = "iaf_psc_exp"
n = 20
[populations.noise]
model = "poisson"
n = 10
rate = "8 Hz"
[[projections]]
source = "E"
target = ["E", "I"]
rule = { name = "fixed_indegree", indegree = 8 }
weight = "J pA"
delay = "1.5 ms"
[[drives]]
target = "E"
type = "poisson_generator"
rate = "2000 * 8 Hz"
weight = "J pA"
"#;

fn library() -> Library {
    Library::load(&[]).unwrap()
}

fn plan_of(text: &str, overrides: &[&str]) -> Result<Plan> {
    let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
    Scenario::parse("s.toml", text, &overrides, None)?.plan(&library())
}

/// BASE with one piece of text replaced, and what is said about it.
fn refusal(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "`{from}` is not in the base scenario");
    match plan_of(&BASE.replacen(from, to, 1), &[]) {
        Err(e) => {
            assert!(e.remedy().is_some_and(|r| !r.is_empty()), "no remedy: {e}");
            assert_eq!(e.exit_code(), 2, "{e}");
            e.to_string()
        }
        Ok(_) => format!("`{to}` was accepted"),
    }
}

#[test]
fn the_base_is_accepted() {
    let plan = plan_of(BASE, &[]).unwrap();
    let net = &plan.network;
    assert_eq!((plan.duration, plan.warmup, net.dt, net.seed), (1000.0, 0.0, 0.1, 3));
    assert_eq!((plan.engine.name(), plan.threads, plan.title.as_str()), ("auto", None, "test"));
    let sizes: Vec<_> = net.populations.iter().map(|p| (p.name.as_str(), p.first, p.n, p.record_spikes.clone())).collect();
    assert_eq!(
        sizes,
        [("E", 0, 80, Some(SpikeRecord::first(80))), ("I", 80, 20, Some(SpikeRecord::first(20))), ("noise", 100, 10, None)]
    );
    let names: Vec<_> = net.projections.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["E->E", "E->I"]);
    assert!(matches!(net.projections[0].rule, Rule::FixedIndegree { indegree: 8 }));
    assert_eq!((&net.projections[1].weight, &net.projections[1].delay), (&Draw::Constant(0.2), &Draw::Constant(1.5)));
    assert!(net.projections[0].autapses && net.projections[0].multapses);
    let DriveKind::Poisson { rate, weight, port } = &net.drives[0].kind else { panic!("not a Poisson drive") };
    let Cell::Neuron(neuron) = &net.populations[0].cell else { panic!("not neurons") };
    assert_eq!((rate, *weight), (&Values::Uniform(16000.0), 0.2));
    assert_eq!(neuron.model.ports[*port].receptor, "excitatory");
    assert_eq!(neuron.params[neuron.model.param("tau_m").unwrap()], Values::Uniform(10.0));
    assert!(matches!(&net.populations[2].cell, Cell::Source(SpikeSource::Poisson { rate: Values::Uniform(r), .. }) if *r == 8.0));
}

/// (text replaced in BASE, by what, what is said).
const REFUSALS: &[(&str, &str, &str)] = &[
    // Keys.
    ("title =", "titel =", "s.toml:1:1: unknown key `titel` in a scenario (did you mean `title`?)"),
    ("seed = 3", "sed = 3", "s.toml:5:1: unknown key `sed` in [simulation] (did you mean `seed`?)"),
    ("n = 80", "N = 80\nsize = 80", "s.toml:11:1: unknown key `N` in population `E` (did you mean `n`?)"),
    ("indegree = 8", "indegre = 8", "s.toml:23:35: unknown key `indegre` in rule fixed_indegree (did you mean `indegree`?)"),
    ("tau_m = \"10", "tau = \"10", "s.toml:12:12: iaf_psc_exp has no parameter `tau` (did you mean `tau_m`?)"),
    ("rate = \"2000 * 8 Hz\"", "rates = 4", "s.toml:29:1: unknown key `rates` in [[drives]] (did you mean `rate`?)"),
    (
        "rate = \"2000 * 8 Hz\"",
        "amplitude = 4",
        "s.toml:29:1: unknown key `amplitude` in poisson_generator (one of: name, target, type, start, stop, rate, weight, receptor)",
    ),
    ("seed = 3", "dt = 3", "s.toml:5:1: duplicate key (this is not valid TOML: see https://toml.io)"),
    ("[populations.I]", "[populations.E]", "s.toml:13:14: duplicate key (this is not valid TOML: see https://toml.io)"),
    (
        "[[projections]]",
        "[projections]",
        "s.toml:20:1: `projections` must be an array of tables, this is a table (write [[projections]], with double brackets)",
    ),
    ("n = 80\n", "", "s.toml:9:14: population `E` has no `n` (add n = 100)"),
    ("[simulation]", "[simulations]", "s.toml:2:2: unknown key `simulations` in a scenario (did you mean `simulation`?)"),
    // Names.
    ("source = \"E\"", "source = \"EE\"", "s.toml:21:10: unknown population `EE` (did you mean `E`?)"),
    ("target = [\"E\", \"I\"]", "target = [\"E\", \"nois\"]", "s.toml:22:16: unknown population `nois` (did you mean `noise`?)"),
    (
        "target = [\"E\", \"I\"]",
        "target = [\"E\", \"noise\"]",
        "s.toml:22:16: `noise` is a source and takes no input (project onto a population of neurons)",
    ),
    ("target = [\"E\", \"I\"]", "target = []", "s.toml:22:10: the list is empty (name at least one)"),
    (
        "model = \"iaf_psc_exp\"",
        "model = \"iaf_psc_ex\"",
        "s.toml:10:9: unknown model `iaf_psc_ex` (did you mean `iaf_psc_exp`?)",
    ),
    (
        "model = \"iaf_psc_exp\"",
        "model = \"static_synapse\"",
        "s.toml:10:9: `static_synapse` is a synapse model (name a neuron model; `sharpwave models` lists them)",
    ),
    (
        "weight = \"J pA\"\ndelay",
        "synapse = \"static_synaps\"\ndelay",
        "s.toml:24:11: unknown synapse model `static_synaps` (did you mean `static_synapse`?)",
    ),
    (
        "weight = \"J pA\"\ndelay",
        "synapse = { model = \"tsodyks2_synapse\", tau_reck = 4 }\ndelay",
        "s.toml:24:41: tsodyks2_synapse has no parameter `tau_reck` (did you mean `tau_rec`?)",
    ),
    (
        "weight = \"J pA\"\ndelay",
        "receptor = \"excitator\"\ndelay",
        "s.toml:24:12: iaf_psc_exp has no receptor `excitator` (did you mean `excitatory`?)",
    ),
    (
        "weight = \"J pA\"\ndelay",
        "receptor = \"inhibitory\"\nweight = 1\ndelay",
        "s.toml:25:10: receptor `inhibitory` of iaf_psc_exp takes negative weights, this is 1 (change the sign, or the receptor)",
    ),
    (
        "\"poisson_generator\"",
        "\"poisson\"",
        "s.toml:28:8: unknown type `poisson` (one of: poisson_generator, dc_generator, ac_generator, step_current_generator, noise_generator)",
    ),
    (
        "name = \"fixed_indegree\"",
        "name = \"fixed_degree\"",
        "s.toml:23:17: unknown rule `fixed_degree` (did you mean `fixed_indegree`?)",
    ),
    ("seed = 3", "engine = \"gpus\"", "s.toml:5:10: unknown engine `gpus` (did you mean `gpu`?)"),
    ("g = 5.0", "ms = 5.0", "s.toml:7:1: `ms` is the name of a unit (use letters, digits and _, for instance rate_ext)"),
    ("g = 5.0", "g = \"2 * h\"", "s.toml:7:10: unknown name `h` (define it under [variables])"),
    // Units and values.
    (
        "\"10 ms\"",
        "\"10 mV\"",
        "s.toml:12:24: a voltage (`mV`) stands where a time (ms) is expected (write for instance \"10 ms\"; units: ms, s, us)",
    ),
    (
        "\"8 Hz\"",
        "\"8 ms\"",
        "s.toml:19:11: a time (`ms`) stands where a rate (Hz) is expected (write for instance \"8 Hz\"; units: Hz, kHz, MHz)",
    ),
    (
        "\"J pA\"",
        "\"J nS\"",
        "s.toml:24:13: a conductance (`nS`) stands where a current (pA) is expected (write for instance \"0.2 pA\"; units: pA, nA, uA, mA)",
    ),
    ("\"J pA\"", "\"K pA\"", "s.toml:24:11: unknown name `K` (define it under [variables])"),
    (
        "\"J pA\"",
        "\"J +* 2 pA\"",
        "s.toml:24:14: `*` stands where a number, a name or `(` should (write a number or an expression, then a unit as the last word: \"2 * 10 ms\")",
    ),
    ("\"10 ms\"", "0", "s.toml:12:20: tau_m must be above 0 ms, it is 0 ms (write for instance \"10 ms\")"),
    ("\"10 ms\"", "-10.0", "s.toml:12:20: tau_m must be above 0 ms, it is -10 ms (write for instance \"10 ms\")"),
    ("\"10 ms\"", "nan", "s.toml:12:20: the value is NaN (give a finite number)"),
    (
        "\"10 ms\"",
        "true",
        "s.toml:12:20: a quantity is expected, this is true or false (write a number, or a string such as \"2 * 10 ms\")",
    ),
    ("\"10 ms\"", "[10, 20]", "s.toml:12:20: tau_m has 2 values for 80 neurons (give 80 values, or one for all)"),
    (
        "\"10 ms\"",
        "{ distribution = \"normal\", mean = 10, std = -1 }",
        "s.toml:12:64: `std` must not be negative, it is -1 (give 0 or more)",
    ),
    (
        "\"10 ms\"",
        "{ distribution = \"normal\", mean = 10 }",
        "s.toml:12:20: this distribution has no `std` (add std = or relative_std =)",
    ),
    (
        "\"10 ms\"",
        "{ distribution = \"gauss\", mean = 10, std = 1 }",
        "s.toml:12:37: unknown distribution `gauss` (one of: normal, lognormal, uniform, exponential, constant)",
    ),
    (
        "\"10 ms\"",
        "{ distribution = \"uniform\", low = 10, high = 1 }",
        "s.toml:12:20: low is 10, above high, which is 1 (exchange them)",
    ),
    (
        "\"10 ms\"",
        "{ distribution = \"normal\", mean = 10, std = 1, low = 20, redraw = true }",
        "s.toml:12:20: only 0.00 % of a distribution's draws fall within its limits [20, inf] (widen the limits, move the distribution, or clip instead of redrawing)",
    ),
    (
        "\"10 ms\"",
        "{ distribution = \"uniform\", low = -3, high = -2 }",
        "s.toml:12:20: a draw for neuron 0: tau_m must be above 0 ms, it is -2.",
    ),
    (
        "\"10 ms\"",
        "{ file = \"nowhere.csv\" }",
        "s.toml:12:29: there is no file `nowhere.csv` (the path is relative to the scenario's folder (.), then to the current one)",
    ),
    ("seed = 3", "seed = -3", "s.toml:5:8: the seed must be a whole number, 0 or more (write for instance seed = 1)"),
    ("seed = 3", "threads = 0", "s.toml:5:11: threads must be at least 1 (leave it out to use all cores)"),
    ("\"0.1 ms\"", "0", "s.toml:3:6: the step must be above 0 ms, it is 0 ms (write for instance \"10 ms\")"),
    (
        "\"0.1 ms\"",
        "\"1e-9 ms\"",
        "s.toml:3:6: the step is 0.000000001 ms (give a step between 1e-6 ms and 1000 ms; 0.1 ms is usual)",
    ),
    ("\"1 s\"", "\"0 s\"", "s.toml:4:12: the duration must be at least 0.1 ms, it is 0 ms (give a longer time)"),
    (
        "\"1 s\"",
        "\"1000.05 ms\"",
        "s.toml:4:12: the duration is 1000.05 ms, not a whole number of steps of 0.1 ms (write for instance 1000)",
    ),
    (
        "\"1 s\"",
        "\"1e7 s\"",
        "s.toml:4:12: the run has more than 4294967295 steps (at this step 429496 s can be simulated; resume from a checkpoint to go on)",
    ),
    // Sizes and rules.
    ("n = 80", "n = 0", "s.toml:11:5: population `E` is empty (give n of 1 or more, or remove the population)"),
    ("n = 80", "n = 80.5", "s.toml:11:5: n must be a whole number, 0 or more; it is 80.5 (write for instance 100)"),
    (
        "n = 80",
        "n = 5000000000",
        "s.toml:11:5: population `E` has 5000000000 neurons (at most 4294967295 fit; lower n or scale.n)",
    ),
    (
        "n = 20",
        "n = 4294967295",
        "s.toml:15:5: with population `I` the network has 4294967375 neurons (at most 4294967295 fit; lower n or scale.n)",
    ),
    (
        "indegree = 8 }",
        "indegree = 81 }\nmultapses = false",
        "s.toml:23:46: an in-degree of 81 is impossible without multapses: there are 80 sources (set multapses = true, or lower it)",
    ),
    (
        "indegree = 8 }",
        "indegree = 80 }\nmultapses = false\nautapses = false",
        "s.toml:23:46: an in-degree of 80 is impossible without multapses: there are 79 sources (set multapses = true, or lower it)",
    ),
    (
        "{ name = \"fixed_indegree\", indegree = 8 }",
        "{ name = \"fixed_total_number\", n = 6401 }\nmultapses = false",
        "s.toml:23:43: 6401 synapses, but there are only 6400 pairs (set multapses = true, or lower it)",
    ),
    (
        "{ name = \"fixed_indegree\", indegree = 8 }",
        "{ name = \"pairwise_bernoulli\", p = 1.5 }",
        "s.toml:23:43: p must be at most 1, it is 1.5 (write for instance \"1\")",
    ),
    (
        "{ name = \"fixed_indegree\", indegree = 8 }",
        "\"one_to_one\"",
        "s.toml:23:8: one_to_one needs populations of one size, these have 80 and 20 (make them equal, or use another rule)",
    ),
    (
        "{ name = \"fixed_indegree\", indegree = 8 }",
        "{ name = \"distance\", profile = \"gaussian\", p0 = 0.5, sigma = \"0.1 mm\" }",
        "s.toml:23:8: `E` has no positions (add positions = { extent = [\"1 mm\", \"1 mm\"] } to [populations.E])",
    ),
    (
        "\"1.5 ms\"",
        "\"0.05 ms\"",
        "s.toml:25:9: a delay of 0.05 ms is below the step of 0.1 ms (give at least 0.1 ms, or a smaller simulation.dt)",
    ),
    (
        "\"1.5 ms\"",
        "{ distribution = \"normal\", mean = 1.5, relative_std = 0.5 }",
        "s.toml:25:9: delays drawn here can fall below the step of 0.1 ms (add low = \"0.1 ms\", redraw = true)",
    ),
    ("\"1.5 ms\"", "1e9", "s.toml:25:9: a delay of 1000000000 ms is longer than 1000000 steps (give a shorter delay)"),
    // Scaling.
    (
        "seed = 3",
        "seed = 3\n[scale]\nk = 0.5",
        "s.toml:7:5: scale.k is 0.5, and the full-scale rate of `E` is not known (add scale.rates.E = its mean rate in Hz at full scale, or set scale.k = 1)",
    ),
    (
        "seed = 3",
        "seed = 3\n[scale]\nk = 0.5\nrates = { F = 3 }",
        "s.toml:8:11: unknown population `F` in scale.rates (did you mean `E`?)",
    ),
    (
        "seed = 3",
        "seed = 3\n[scale]\nn = 0.01",
        "s.toml:7:5: scale.n = 0.01 leaves no neuron of population `I`, which has 20 (choose a larger scale.n)",
    ),
    (
        "seed = 3",
        "seed = 3\n[scale]\nn = -1",
        "s.toml:7:5: scale.n must be above 0, it is -1 (write a fraction, for instance 0.1)",
    ),
    // Recording and figures.
    ("n = 80", "n = 80\nrecord = { states = [\"V\"] }", "s.toml:12:22: iaf_psc_exp cannot record `V` (did you mean `V_m`?)"),
    (
        "n = 80",
        "n = 80\nrecord = { states = [\"V_m\"], neurons = [80] }",
        "s.toml:12:41: there is no neuron 80 among 80 (ids go from 0 to 79)",
    ),
    (
        "n = 80",
        "n = 80\nrecord = { states = [\"V_m\"], interval = 0.15 }",
        "s.toml:12:41: the interval is 0.15 ms, not a whole number of steps of 0.1 ms (write for instance 0.1)",
    ),
    (
        "n = 80",
        "n = 80\nrecord = { interval = 1 }",
        "s.toml:12:23: this has no effect without `states` (add states = [\"V_m\"]; neurons whose spikes are recorded are listed under spikes = [...])",
    ),
    (
        "n = 10\n",
        "n = 10\nrecord = { states = [\"V_m\"] }\n",
        "s.toml:19:21: a source has no states (record its spikes, or states of a neuron population)",
    ),
    (
        "[[drives]]",
        "[[published]]\nsource = \"x\"\nquantity = \"rate\"\nvalues = { F = 3 }\n[[drives]]",
        "s.toml:29:12: unknown key `F` in values (did you mean `E`?)",
    ),
];

#[test]
fn refusals_name_the_place_and_the_remedy() {
    let mut wrong = vec![];
    for (from, to, expected) in REFUSALS {
        let got = refusal(from, to);
        if !got.starts_with(expected) {
            wrong.push(format!("`{to}`\n   got  {got}\n   want {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn overrides_are_applied_and_named_in_refusals() {
    let plan =
        plan_of(BASE, &["populations.E.n=40", "variables.J=1", "simulation.engine=cpu", "simulation.duration=2 s"]).unwrap();
    assert_eq!((plan.network.populations[0].n, plan.duration, plan.engine.name()), (40, 2000.0, "cpu"));
    assert_eq!(plan.network.projections[0].weight, Draw::Constant(1.0));
    assert_eq!(plan.overrides.len(), 4);
    let said = |o: &str| plan_of(BASE, &[o]).unwrap_err().to_string();
    assert_eq!(said("scale.n=x"), "--set scale.n=x:1:9: unknown name `x` (define it under [variables])");
    assert_eq!(said("scale.m=2"), "--set scale.m=2:1:7: unknown key `m` in [scale] (did you mean `n`?)");
    assert_eq!(said("sacle.n=2"), "--set sacle.n=2:1:1: unknown key `sacle` in a scenario (did you mean `scale`?)");
    assert_eq!(said("populations.X.n=2"), "--set populations.X.n=2:1:13: `populations` has no `X` (did you mean `E`?)");
    assert_eq!(
        said("simulation.durtion=2"),
        "--set simulation.durtion=2:1:12: unknown key `durtion` in [simulation] (did you mean `duration`?)"
    );
    assert_eq!(
        said("populations.E.params.tau_m=-1"),
        "--set populations.E.params.tau_m=-1:1:28: tau_m must be above 0 ms, it is -1 ms (write for instance \"10 ms\")"
    );
    assert_eq!(plan_of(BASE, &["simulation.seed=18446744073709551615"]).unwrap().network.seed, u64::MAX);
}

#[test]
fn variants() {
    let text =
        format!("variant = \"strong\"\n{BASE}[variants.strong]\n\"variables.J\" = 7\n[variants.weak.variables]\nJ = 0.5\n");
    let weight = |variant, overrides: &[String]| {
        let plan = Scenario::parse("s.toml", &text, overrides, variant)?.plan(&library())?;
        Ok::<_, Error>((plan.network.projections[0].weight.clone(), plan.variant))
    };
    assert_eq!(weight(None, &[]).unwrap(), (Draw::Constant(7.0), Some("strong".into())));
    assert_eq!(weight(Some("weak"), &[]).unwrap(), (Draw::Constant(0.5), Some("weak".into())));
    assert_eq!(weight(Some("weak"), &["variables.J=2".into()]).unwrap().0, Draw::Constant(2.0));
    assert_eq!(weight(Some("week"), &[]).unwrap_err().to_string(), "there is no variant `week` (did you mean `weak`?)");
}

/// Two populations of iaf_psc_exp with every number chosen so that the compensation can be computed by hand.
const SCALED: &str = r#"
[simulation]
duration = "1 s"
[scale]
n = 0.5
k = 0.25
rates = { A = 4.0, B = 10.0 }
[populations.A]
model = "iaf_psc_exp"
n = 1000
params = { tau_syn_ex = "0.5 ms", tau_syn_in = "2 ms" }
[populations.B]
model = "iaf_psc_exp"
n = 500
[[projections]]
source = "A"
target = "A"
rule = { name = "fixed_total_number", probability = 0.1 }
weight = { distribution = "normal", mean = "80 pA", relative_std = 0.1, low = 0, redraw = true }
delay = "1 ms"
[[projections]]
source = "B"
target = "A"
rule = { name = "fixed_indegree", indegree = 40 }
weight = "-20 pA"
[[drives]]
target = "A"
type = "poisson_generator"
rate = "100 * 8 Hz"
weight = "80 pA"
"#;

#[test]
fn down_scaling_keeps_the_mean_input() {
    let net = plan_of(SCALED, &[]).unwrap().network;
    assert_eq!((net.populations[0].n, net.populations[1].n), (500, 250));
    // N = ln(1 - 0.1) / ln(1 - 1e-6) = 105360.46 synapses, 105.36 a neuron; scaled by n k = 0.125: 13170.06.
    assert!(matches!(net.projections[0].rule, Rule::FixedTotalNumber { n: 13170 }), "{:?}", net.projections[0].rule);
    assert!(matches!(net.projections[1].rule, Rule::FixedIndegree { indegree: 10 }));
    // Weights / sqrt(0.25).
    let expected = Draw::Normal { mean: 160.0, std: 16.0, limits: Limits { low: 0.0, high: f64::INFINITY, redraw: true } };
    assert_eq!(net.projections[0].weight, expected);
    assert_eq!(net.projections[1].weight, Draw::Constant(-40.0));
    let DriveKind::Poisson { rate, weight, .. } = &net.drives[0].kind else { panic!("not a Poisson drive") };
    assert_eq!((rate, *weight), (&Values::Uniform(200.0), 160.0));
    // (1 - sqrt(0.25)) * (0.5 ms * (80 * 105.36046 * 4 + 80 * 800) + 2 ms * -20 * 40 * 10) / 1000
    //   = 0.5 * (0.5 * (33715.35 + 64000) - 16000) / 1000 = 16.428837 pA.
    let DriveKind::Dc { amplitude: Values::Uniform(dc) } = &net.drives[1].kind else { panic!("no compensation") };
    assert!((dc - 16.428837).abs() < 1e-4, "{dc}");
    assert_eq!((net.drives.len(), net.drives[1].population), (2, 0));
}

/// The same in the notation of the published helper (INM-6/microcircuit-PD14-model, helpers.py): matrices of weights, in-degrees and
/// rates, DC += 0.001 tau_syn (1 - sqrt(K)) (sum_j w K nu + w_ext K_ext nu_ext).
#[test]
fn down_scaling_equals_the_published_formula_for_the_microcircuit() {
    let Some(path) = scenario_files().into_iter().find(|p| p.ends_with("potjans_diesmann_2014.toml")) else { panic!("no file") };
    let overrides = ["scale.n=0.1".to_string(), "scale.k=0.1".to_string()];
    let full = Scenario::load(&path, &[], None).unwrap().plan(&library()).unwrap().network;
    let net = Scenario::load(&path, &overrides, None).unwrap().plan(&library()).unwrap().network;
    let sizes: Vec<u32> = net.populations.iter().map(|p| p.n).collect();
    assert_eq!(sizes, [2068, 583, 2192, 548, 485, 106, 1440, 295]);
    assert_eq!(net.neurons(), 7717);
    let synapses = |net: &Network| -> u64 {
        let n = |r: &Rule| if let Rule::FixedTotalNumber { n } = r { *n } else { panic!("another rule") };
        net.projections.iter().map(|p| n(&p.rule)).sum()
    };
    // NEST 3.10 builds 2,988,807 synapses at scale 0.1 (shared/reference, pd14_scale0.1_seed1.json); it computes ln(1 - 1/pairs) with
    // cancellation, hence a few more or fewer. The sum at full scale is of a computation with 40 digits.
    assert!(synapses(&net).abs_diff(2_988_807) <= 3, "{}", synapses(&net));
    assert_eq!(synapses(&full), 298_880_970);
    let rates = [0.903, 2.965, 4.414, 5.876, 7.569, 8.633, 1.105, 7.829];
    let external = [1600.0, 1500.0, 2100.0, 1900.0, 2000.0, 1900.0, 2900.0, 2100.0];
    let (tau, w, k) = (0.5, 87.808494, 0.1f64);
    for target in 0..8 {
        let mut input = w * external[target] * 8.0;
        for p in full.projections.iter().filter(|p| p.target == target) {
            let Rule::FixedTotalNumber { n } = p.rule else { panic!("another rule") };
            let factor = if p.source % 2 == 1 {
                -4.0
            } else if (p.source, target) == (2, 0) {
                2.0
            } else {
                1.0
            };
            input += factor * w * n as f64 / full.populations[target].n as f64 * rates[p.source];
        }
        let expected = 0.001 * tau * (1.0 - k.sqrt()) * input;
        let dc = net.drives.iter().filter(|d| d.population == target).find_map(|d| match &d.kind {
            DriveKind::Dc { amplitude: Values::Uniform(x) } => Some(*x),
            _ => None,
        });
        assert!((dc.unwrap() / expected - 1.0).abs() < 1e-4, "population {target}: {dc:?} is not {expected}");
    }
}

#[test]
fn what_cannot_be_scaled_is_refused() {
    let said = |from: &str, to: &str| plan_of(&SCALED.replacen(from, to, 1), &[]).unwrap_err().to_string();
    let cond = SCALED.replace("model = \"iaf_psc_exp\"", "model = \"iaf_cond_exp\"").replace(" pA\"", " nS\"");
    let e = plan_of(&cond, &[]).unwrap_err().to_string();
    assert!(e.contains("cannot be replaced by a current") && e.contains("set scale.k = 1"), "{e}");
    let e = said("{ name = \"fixed_indegree\", indegree = 40 }", "\"all_to_all\"");
    assert_eq!(
        e,
        "s.toml:6:5: all_to_all gives in-degrees x 0.5, but scale.k is 0.25 (set scale.k = scale.n, or use pairwise_bernoulli or fixed_indegree)"
    );
    let e = said("weight = \"-20 pA\"", "weight = \"-20 pA\"\nsynapse = \"tsodyks2_synapse\"");
    assert!(e.contains("the mean input through tsodyks2_synapse is not known"), "{e}");
    let e = plan_of(
        &SCALED.replace("{ name = \"fixed_indegree\", indegree = 40 }", "{ name = \"pairwise_bernoulli\", p = 0.5 }"),
        &["scale.n=0.1", "scale.k=0.9"],
    );
    assert!(e.unwrap_err().to_string().contains("p = 0.5 scaled by scale.k / scale.n would be 4.5"));
}

#[test]
fn parameters_of_every_shape() {
    let text = r#"
[simulation]
duration = 10
seed = 5
[populations.P]
model = "iaf_psc_exp"
n = 4
random = { r = { distribution = "uniform", low = 0, high = 1 } }
params = { C_m = [100, "0.2 nF", 300, 400], tau_m = { distribution = "uniform", low = 5, high = 6 }, V_th = "-50 - 5 * r", I_e = "r pA" }
initial = { V_m = { distribution = "normal", mean = -65, std = 2 } }
"#;
    let net = plan_of(text, &[]).unwrap().network;
    let Cell::Neuron(neuron) = &net.populations[0].cell else { panic!("not neurons") };
    let param = |name: &str| &neuron.params[neuron.model.param(name).unwrap()];
    assert_eq!(*param("C_m"), Values::Each([100.0, 200.0, 300.0, 400.0].into()));
    for i in 0..4 {
        let r = param("I_e").get(i);
        assert!((0.0..1.0).contains(&r) && (param("V_th").get(i) - (-50.0 - 5.0 * r)).abs() < 1e-12);
        assert!((5.0..6.0).contains(&param("tau_m").get(i)));
    }
    let Values::Each(v) = param("V_m") else { panic!("not drawn") };
    assert!(v.windows(2).all(|w| w[0] != w[1]));
    // The same seed gives the same numbers, another seed others.
    let again = plan_of(text, &[]).unwrap().network;
    let other = plan_of(text, &["simulation.seed=6"]).unwrap().network;
    let potentials = |net: &Network| match &net.populations[0].cell {
        Cell::Neuron(n) => n.params[n.model.param("V_m").unwrap()].clone(),
        _ => panic!("not neurons"),
    };
    assert_eq!(potentials(&again), *param("V_m"));
    assert_ne!(potentials(&other), *param("V_m"));
}

#[test]
fn values_and_edges_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).unwrap();
    write("current.csv", "# pA\nid,I_e\n0,10\n1,20.5\n2,-3\n");
    write("bad.csv", "10\n20\nnan\n");
    write("xy.csv", "x,y\n0.1,0.2\n0.3,0.4\n0.5,0.6\n");
    write("edges.csv", "source,target,weight,delay\n0,1,2.5,1.0\n2,0,-1,0.5\n");
    let text = |file: &str, extra: &str| {
        format!(
            "[simulation]\nduration = 10\n[populations.P]\nmodel = \"iaf_psc_exp\"\nn = 3\n\
             params = {{ I_e = {{ file = \"{file}\", column = \"I_e\" }} }}\npositions = {{ extent = [1, 1], file = \"xy.csv\" }}\n\
             [[projections]]\nsource = \"P\"\ntarget = \"P\"\nrule = {{ name = \"explicit\", file = \"edges.csv\" }}\n{extra}"
        )
    };
    let load = |content: String| {
        write("s.toml", &content);
        Scenario::load(folder.path().join("s.toml"), &[], None)?.plan(&library())
    };
    let net = load(text("current.csv", "")).unwrap().network;
    write("marked.csv", "\u{feff}10\n20\n30\n");
    assert!(load(text("marked.csv", "").replace(", column = \"I_e\"", "")).is_ok(), "a byte-order mark is no header");
    let Cell::Neuron(neuron) = &net.populations[0].cell else { panic!("not neurons") };
    assert_eq!(neuron.params[neuron.model.param("I_e").unwrap()], Values::Each([10.0, 20.5, -3.0].into()));
    assert_eq!(net.populations[0].positions.as_deref(), Some(&[[0.1f32, 0.2], [0.3, 0.4], [0.5, 0.6]][..]));
    let Rule::Explicit(edges) = &net.projections[0].rule else { panic!("another rule") };
    assert_eq!((edges.start.as_slice(), edges.target.as_slice()), (&[0, 1, 1, 2][..], &[1, 0][..]));
    let e = load(text("bad.csv", "").replace(", column = \"I_e\"", "")).unwrap_err().to_string();
    assert!(e.contains("bad.csv:3:1: NaN is not a finite number"), "{e}");
    let e = load(text("current.csv", "").replace("\"I_e\" }", "\"I\" }")).unwrap_err().to_string();
    assert!(e.contains("current.csv:2:1: there is no column `I`"), "{e}");
    write("edges.csv", "source,target,delay\n0,1,0.01\n");
    let e = load(text("current.csv", "")).unwrap_err().to_string();
    assert!(e.contains("has a delay of 0.01 ms, the step is 0.1 ms"), "{e}");
}

#[test]
fn every_rule_and_stimulus() {
    let text = r#"
[simulation]
duration = 10
[populations.S]
model = "spike_generator"
times = [[1.0, "5 ms"], [], [2.5]]
[populations.P]
model = "iaf_psc_exp"
n = 100
positions = { extent = ["1 mm", "0.25 mm"], layout = "grid" }
record = { spikes = 10, states = ["V_m"], neurons = 2, rate_bin = 5 }
[populations.Q]
model = "iaf_psc_exp"
n = 100
positions = { extent = ["1 mm", "0.25 mm"] }
[[projections]]
source = "S"
target = "P"
rule = "all_to_all"
weight = { distribution = "lognormal", mean = 2.0, std = 1.0 }
record = { weights = true, interval = "5 ms" }
[[projections]]
source = "P"
target = "Q"
rule = { name = "distance", profile = "gaussian", p0 = 0.8, sigma = "100 um", radius = "0.1 mm", periodic = true }
weight = { distribution = "normal", mean = 0, std = 1 }
[[projections]]
source = "P"
target = "Q"
rule = "one_to_one"
weight = -1
[[drives]]
target = ["P", "Q"]
type = "ac_generator"
amplitude = "0.1 nA"
frequency = 10
phase = 90
start = 2
stop = "6 ms"
[[drives]]
target = "P"
type = "step_current_generator"
times = [1, 2]
amplitudes = [10, "0.02 nA"]
[[drives]]
target = "P"
type = "noise_generator"
std = 3
"#;
    let net = plan_of(text, &[]).unwrap().network;
    let Cell::Source(SpikeSource::Trains(trains)) = &net.populations[0].cell else { panic!("no trains") };
    assert_eq!((trains.time.as_slice(), trains.source.as_slice()), (&[1.0, 2.5, 5.0][..], &[0, 2, 0][..]));
    assert_eq!((net.populations[0].n, net.populations[1].record_spikes.as_ref()), (3, Some(&SpikeRecord::first(10))));
    let positions = net.populations[1].positions.as_deref().unwrap();
    assert_eq!((positions[0], positions[99]), ([0.025, 0.025], [0.975, 0.225]));
    let Draw::Lognormal { mu, sigma, .. } = net.projections[0].weight else { panic!("not lognormal") };
    let (mean, variance) = ((mu + sigma * sigma / 2.0).exp(), ((sigma * sigma).exp() - 1.0) * (2.0 * mu + sigma * sigma).exp());
    assert!((mean - 2.0).abs() < 1e-12 && (variance - 1.0).abs() < 1e-12);
    let Rule::Distance { profile, radius, periodic } = &net.projections[1].rule else { panic!("another rule") };
    assert_eq!((*profile, *radius, *periodic), (Profile::Gaussian { p0: 0.8, sigma: 0.1 }, 0.1, true));
    // Weights of both signs are left to the sign of each; others have their port.
    let ports: Vec<_> = net.projections.iter().map(|p| p.port.is_some()).collect();
    assert_eq!(ports, [true, false, true]);
    assert_eq!(net.projections[2].name, "P->Q 2");
    let DriveKind::Ac { amplitude, phase, .. } = net.drives[1].kind else { panic!("not ac") };
    assert!((amplitude - 100.0).abs() < 1e-9 && (phase - std::f64::consts::FRAC_PI_2).abs() < 1e-12);
    assert_eq!((net.drives[0].start, net.drives[0].stop, net.drives.len()), (2.0, 6.0, 4));
    assert!(matches!(&net.drives[2].kind, DriveKind::Step { changes } if changes == &[(1.0, 10.0), (2.0, 20.0)]));
    assert!(matches!(&net.probes[0], Probe::State { neurons, interval, .. } if neurons == &[0, 1] && *interval == 1.0));
    assert!(matches!(&net.probes[2], Probe::Weights { projection: 0, interval: Some(5.0), window: Window::ALWAYS, .. }));
}

#[test]
fn images_become_sources() {
    let file = scenario_files().into_iter().find(|p| p.ends_with("bars.toml")).unwrap();
    let plan = |overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
        Scenario::load(&file, &overrides, None)?.plan(&library())
    };
    let shown = |net: &Network| match &net.populations[0].cell {
        Cell::Source(SpikeSource::Presentation(p)) => p.clone(),
        _ => panic!("no presentation"),
    };
    let net = plan(&[]).unwrap().network;
    assert_eq!((net.populations[0].n, shown(&net).order.len(), shown(&net).end()), (144, 12, 6000.0));
    let labels: Vec<_> = shown(&net).onsets_and_labels().iter().map(|s| (s.onset, s.label)).take(3).collect();
    assert_eq!(labels, [(0.0, Some(0)), (500.0, Some(1)), (1000.0, Some(2))]);
    let net = plan(&["populations.retina.first=10", "populations.retina.samples=4"]).unwrap().network;
    assert_eq!(shown(&net).order, [10, 11, 0, 1]);
    let said = |o: &str| plan(&[o]).unwrap_err().to_string();
    assert_eq!(
        said("populations.retina.first=12"),
        "--set populations.retina.first=12:1:26: there is no sample 12 among 12 (samples count from 0 to 11)"
    );
    assert_eq!(
        said("populations.retina.window=5"),
        "--set populations.retina.window=5:1:27: this key belongs to the other encoding (rate encoding takes max_rate)"
    );
    assert_eq!(
        said("populations.retina.n=100"),
        "--set populations.retina.n=100:1:22: the images have 144 pixels, one source each (write n = 144, or leave it out)"
    );
    assert!(said("populations.retina.images=bars-labels.idx1-ubyte").contains("bars-labels.idx1-ubyte"));
    assert!(said("populations.retina.images=no.idx").contains("there is no file `no.idx`"));
}

fn scenario_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "toml"));
    files.sort();
    files
}

/// Every scenario that comes along plans, in every variant, and says where it is from.
#[test]
fn every_scenario_file_plans() {
    let files = scenario_files();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let scenario = Scenario::load(&file, &[], None).unwrap();
        let variants: Vec<Option<String>> =
            [None].into_iter().chain(scenario.variants().iter().map(|v| Some(v.to_string()))).collect();
        for variant in variants {
            let plan = Scenario::load(&file, &[], variant.as_deref()).and_then(|s| s.plan(&library()));
            let plan = plan.unwrap_or_else(|e| panic!("{} {variant:?}: {e}", file.display()));
            assert!(!plan.title.is_empty() && !plan.citation.is_empty() && !plan.description.is_empty(), "{}", file.display());
            assert!(plan.network.neurons() > 0 && plan.duration > 0.0);
        }
    }
}

#[test]
fn brunels_regimes_differ_in_g_and_external_rate() {
    let file = scenario_files().into_iter().find(|p| p.ends_with("brunel_2000.toml")).unwrap();
    for (variant, g, eta, rate) in [
        ("SR", 3.0, 2.0, None),
        ("AI", 5.0, 2.0, Some(37.7)),
        ("SI_fast", 6.0, 4.0, Some(60.7)),
        ("SI_slow", 4.5, 0.9, Some(5.5)),
    ] {
        let plan = Scenario::load(&file, &[], Some(variant)).unwrap().plan(&library()).unwrap();
        let inhibitory = plan.network.projections.iter().find(|p| p.name == "I->E").unwrap();
        let Draw::Constant(weight) = inhibitory.weight else { panic!("not constant") };
        assert!((weight + 0.1 * g).abs() < 1e-12);
        assert!(matches!(inhibitory.rule, Rule::FixedIndegree { indegree: 250 }));
        // nu_ext C_E = eta theta / (J tau) = eta 20 / (0.1 * 20 ms) = 10 eta / ms.
        let DriveKind::Poisson { rate: Values::Uniform(external), .. } = plan.network.drives[0].kind else {
            panic!("not Poisson")
        };
        assert!((external - 10_000.0 * eta).abs() < 1e-6);
        assert_eq!(plan.published.first().map(|p| p.value), rate);
    }
}

/// A network whose synapses learn under a signal; each case replaces one piece of it.
const LEARNING: &str = r#"title = "Learning"
[simulation]
duration = "100 ms"
[populations.E]
model = "iaf_psc_exp"
n = 5
[populations.DA]
model = "poisson"
n = 3
rate = "10 Hz"
[modulators]
dopamine = { tau = "200 ms", jumps = { times = ["50 ms", "20 ms"], amounts = [1.0, 2.0] }, spikes = { population = "DA", delay = "2 ms", amount = 0.5 } }
noradrenaline = { tau = "inf", initial = 1.0 }
[[projections]]
name = "in_E"
source = "DA"
target = "E"
rule = "all_to_all"
weight = "10 pA"
synapse = { model = "stdp_synapse", Wmax = 50.0, gate = "dopamine", metaplasticity = [{ model = "consolidation", m = 2.0 }, "consolidation"] }
[[homeostasis]]
projection = "in_E"
every = "50 ms"
normalise = "0.03 nA"
"#;

#[test]
fn signals_modifiers_and_homeostasis_are_resolved() {
    let net = plan_of(LEARNING, &[]).unwrap_or_else(|e| panic!("{e}")).network;
    assert_eq!(net.modulators[0].jumps, [(20.0, 2.0), (50.0, 1.0)]);
    let spikes = net.modulators[0].spikes.as_ref().unwrap();
    assert_eq!((spikes.population, spikes.delay, spikes.amount), (1, 2.0, 0.5));
    assert_eq!((net.modulators[1].tau, net.modulators[1].initial), (f64::INFINITY, 1.0));
    let projection = &net.projections[0];
    let model = &projection.synapse.model;
    assert_eq!(projection.modulator, Some(0));
    assert_eq!(model.name, "stdp_synapse+consolidation+consolidation+gate");
    let value = |name: &str| projection.synapse.params[model.params.iter().position(|p| p.name == name).unwrap()];
    assert_eq!((value("Wmax"), value("consolidation_m"), value("consolidation2_m")), (50.0, 2.0, 1.3));
    let normalise = crate::network::HomeostasisKind::Normalise { sum: 30.0 };
    assert_eq!(net.homeostasis, [crate::network::Homeostasis { projection: 0, every: 50.0, kind: normalise }]);
}

#[test]
fn what_learning_cannot_be_is_refused() {
    for (from, to, said) in [
        ("gate = \"dopamine\"", "gate = \"dopamin\"", "s.toml:20:57: there is no modulator `dopamin` (did you mean `dopamine`?)"),
        ("gate = \"dopamine\"", "modulator = \"noradrenaline\", gate = \"dopamine\"", "a synapse reads one modulator at most"),
        (
            "gate = \"dopamine\", metaplasticity = [{ model = \"consolidation\", m = 2.0 }, \"consolidation\"]",
            "modulator = \"dopamine\"",
            "stdp_synapse reads no modulator (drop it, or scale its steps by gate = \"dopamine\")",
        ),
        (
            "gate = \"dopamine\", metaplasticity = [",
            "metaplasticity = [\"gate\", ",
            "reads a modulator (`gate`), and none is named",
        ),
        ("m = 2.0", "n = 2.0", "consolidation has no parameter `n`"),
        ("m = 2.0", "m = -2.0", "m must be at least 0"),
        ("\"consolidation\"]", "\"consolidatoin\"]", "unknown modifier `consolidatoin` (did you mean `consolidation`?)"),
        ("\"stdp_synapse\", Wmax = 50.0", "\"static_synapse\"", "static_synapse keeps its weights, there is nothing to modify"),
        ("\"stdp_synapse\", Wmax", "\"consolidation\", Wmax", "`consolidation` is a modifier"),
        ("tau = \"200 ms\"", "tau = \"0 ms\"", "tau must be above 0 ms"),
        ("amounts = [1.0, 2.0]", "amounts = [1.0, 2.0, 3.0]", "have 2 times and 3 amounts"),
        ("population = \"DA\"", "population = \"DB\"", "unknown population `DB`"),
        ("delay = \"2 ms\"", "delay = \"0 ms\"", "the delay must be at least 0.1 ms"),
        ("projection = \"in_E\"", "projection = \"in_F\"", "unknown projection `in_F` (did you mean `in_E`?)"),
        ("normalise = \"0.03 nA\"", "normalise = \"-3 pA\"", "their sum cannot become -3"),
        ("normalise = \"0.03 nA\"", "", "has neither `normalise` nor `scaling`"),
        ("normalise = \"0.03 nA\"", "scaling = { target = \"-5 Hz\" }", "target must be at least 0 Hz"),
        ("every = \"50 ms\"", "every = \"50.03 ms\"", "not a whole number of steps"),
        (
            "synapse = { model = \"stdp_synapse\", Wmax = 50.0, gate = \"dopamine\", metaplasticity = [{ model = \"consolidation\", m = 2.0 }, \"consolidation\"] }\n",
            "",
            "the weights of `in_E` are those of static_synapse, which do not change",
        ),
    ] {
        assert!(LEARNING.contains(from), "{from}");
        let error = plan_of(&LEARNING.replacen(from, to, 1), &[]).expect_err(to);
        assert!(error.to_string().contains(said) && error.to_string().contains(".toml:"), "{to}: {error}");
        assert!(error.remedy().is_some_and(|r| !r.is_empty()));
    }
}

proptest::proptest! {
    /// Whatever is done to one place of a scenario, it is a plan or a refusal with a remedy.
    #[test]
    fn no_scenario_panics(at in 0..BASE.len(), length in 0usize..12, text in "[a-z0-9.=\"{}\\[\\], \n-]{0,10}") {
        let text = format!("{}{text}{}", &BASE[..at], &BASE[(at + length).min(BASE.len())..]);
        if let Err(e) = plan_of(&text, &[]) {
            proptest::prop_assert!(e.remedy().is_some_and(|r| !r.is_empty()), "{e}");
        }
    }
}
