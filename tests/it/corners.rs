//! Numbers at the edge of what a scenario can mean: each is taken as it stands or refused with its place and a remedy, whoever
//! gives it (a constant, an array, a file, a distribution), never silently something else. Right values are NEST's rules and
//! closed forms.

use crate::common::Collected;
use sharpwave::error::Result;
use sharpwave::model::library::Library;
use sharpwave::network::{Cell, Values};
use sharpwave::scenario::{Plan, Scenario};
use std::path::Path;
use std::sync::Arc;

/// A folder with a scenario and its files.
struct Case(tempfile::TempDir);

impl Case {
    fn new(scenario: &str, files: &[(&str, &str)]) -> Case {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("s.toml"), scenario).unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        Case(folder)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn plan_on(&self, engine: Option<&str>, overrides: &[&str]) -> Result<Plan> {
        let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
        let folders = if self.path("models").exists() { vec![self.path("models")] } else { vec![] };
        let engine = engine.map(str::parse).transpose()?;
        Scenario::load(self.path("s.toml"), &overrides, None)?.on(engine).plan(&Library::load(&folders)?)
    }

    fn plan(&self) -> Plan {
        self.plan_on(None, &[]).unwrap_or_else(|e| panic!("{e}"))
    }

    /// What is said, with its remedy; refused before anything runs.
    fn refusal(&self, overrides: &[&str]) -> String {
        let Err(error) = self.plan_on(None, overrides) else { panic!("accepted") };
        assert_eq!(error.exit_code(), if error.to_string().contains(".h5") { error.exit_code() } else { 2 }, "{error}");
        assert!(error.remedy().is_some_and(|r| !r.is_empty()), "no remedy: {error}");
        format!("{error} | {}", error.remedy().unwrap_or_default())
    }
}

fn refused(scenario: &str, files: &[(&str, &str)], parts: &[&str]) {
    let said = Case::new(scenario, files).refusal(&[]);
    parts.iter().for_each(|part| assert!(said.contains(part), "`{part}` is not in: {said}"));
}

fn run(plan: &Plan, kind: &str) -> Result<Collected> {
    let net = Arc::new(plan.network.clone());
    let mut engine = crate::common::open(&net, kind, if kind == "cpu" { 2 } else { 1 })?;
    let mut sink = Collected::default();
    engine.advance((plan.duration / net.dt).round() as u64, &mut sink)?;
    Ok(sink)
}

/// Engines that this machine can run on a grid.
fn grids() -> Vec<&'static str> {
    if crate::common::device_there() {
        return vec!["cpu", "gpu"];
    }
    vec!["cpu"]
}

const HEAD: &str = "[simulation]\ndt = \"0.1 ms\"\nduration = \"20 ms\"\n";

fn neurons(model: &str, n: u32, params: &str) -> String {
    format!("{HEAD}[populations.N]\nmodel = \"{model}\"\nn = {n}\nparams = {{ {params} }}\n")
}

// ---- relations between parameters ------------------------------------------------------------------------------------------

#[test]
fn a_reset_at_or_above_the_threshold_is_refused_whoever_gives_it() {
    let model = |params: &str| neurons("iaf_psc_exp", 3, params);
    let needs = "iaf_psc_exp needs V_reset < V_th, and has V_reset = -70 mV, V_th = -80 mV";
    refused(&model("V_th = \"-80 mV\""), &[], &["s.toml:7:10", needs, "change V_reset or V_th"]);
    refused(&model("V_th = -70"), &[], &["V_reset = -70 mV, V_th = -70 mV"]);
    refused(&model("V_th = [-50, -60, -75]"), &[], &["neuron 2 (iaf_psc_exp) needs V_reset < V_th", "V_th = -75 mV"]);
    refused(
        &model("V_reset = -60, V_th = { file = \"th.csv\" }"),
        &[("th.csv", "-50\n-61\n-50\n")],
        &["neuron 1 (iaf_psc_exp)", "V_reset = -60 mV, V_th = -61 mV"],
    );
    // Drawn: about one in 18 lies below the reset.
    let drawn = neurons("iaf_psc_exp", 200, "V_reset = -60, V_th = { distribution = \"normal\", mean = -52, std = 5 }");
    refused(&drawn, &[], &["neuron ", "V_reset = -60 mV, V_th = -6", "limit a distribution with low and high"]);
    let limited = drawn.replace("std = 5 }", "std = 5, low = -59.9, redraw = true }");
    assert!(Case::new(&limited, &[]).plan_on(None, &[]).is_ok());
    // Through an override, and where a variable moves it.
    let case = Case::new(&model("V_th = \"x mV\"").replace("[populations.N]", "[variables]\nx = -50\n[populations.N]"), &[]);
    assert!(case.plan_on(None, &[]).is_ok());
    assert!(case.refusal(&["variables.x=-71"]).contains("V_th = -71 mV"));
    assert!(case.refusal(&["populations.N.params.V_reset=-50"]).contains("V_reset = -50 mV"));
}

#[test]
fn every_built_in_relation_can_be_broken_and_none_is_by_the_defaults() {
    for (model, params, part) in [
        ("iaf_psc_delta", "V_reset = -55", "V_reset < V_th"),
        ("iaf_psc_delta", "V_min = -50", "V_min < V_th"),
        ("iaf_psc_alpha", "V_th = -1e30", "V_reset < V_th"),
        ("iaf_cond_exp", "V_reset = 0", "V_reset < V_th"),
        ("iaf_cond_alpha", "V_reset = 1e30", "V_reset < V_th"),
        ("qif_psc_delta", "V_reset = 36", "V_reset < V_th"),
        ("izhikevich", "c = 30", "c < V_th"),
        ("izhikevich", "a = 20", "a*dt < 2"),
        ("izhikevich", "consistent_integration = 0.3", "consistent_integration == 0 || consistent_integration == 1"),
        ("alif", "E_L = -55", "E_L < V_th"),
        ("diehl_cook", "V_reset = -52", "V_reset < V_th - theta_offset + theta"),
        ("aeif_cond_exp", "V_peak = -55", "V_peak >= V_th"),
        ("aeif_cond_exp", "V_reset = 0.5", "V_reset < if(Delta_T > 0, V_peak, V_th)"),
        ("aeif_cond_exp", "Delta_T = 0, V_reset = -50", "V_reset < if(Delta_T > 0, V_peak, V_th)"),
        ("aeif_psc_delta_clopath", "V_reset = 40", "V_reset < V_peak"),
        ("aeif_psc_delta_clopath", "V_th_max = -60", "V_th_max >= V_th_rest"),
        ("aeif_psc_delta_clopath", "C_m = 0.01", "h*g_L < 2.78*C_m"),
    ] {
        refused(&neurons(model, 2, params), &[], &[model, part]);
    }
    let library = Library::load(&[]).unwrap();
    for model in library.neurons() {
        for dt in [0.01, 0.1, 1.0] {
            sharpwave::network::NeuronInstance::new(model, &[], dt).unwrap_or_else(|e| panic!("{} at {dt} ms: {e}", model.name));
        }
    }
    for model in library.synapses() {
        sharpwave::network::SynapseInstance::new(model, &[], 0.1).unwrap_or_else(|e| panic!("{}: {e}", model.name));
    }
}

const OWN: &str = r#"
name = "own"
kind = "neuron"
require = ["low < high", { relation = "dt <= tau/2", message = "take a step of at most tau/2" }]
[params]
low = { default = 0.0, unit = "1" }
high = { default = 1.0, unit = "1" }
tau = { default = 1.0, unit = "ms", above = 0.0 }
[state]
v = { init = "low", unit = "1" }
[inputs]
jump = { receptor = "delta", unit = "1" }
[code]
update = "v = v + jump;"
threshold = "v >= high"
reset = "v = low;"
"#;

#[test]
fn models_of_the_users_own_state_relations_too() {
    let check = |model: &str, params: &str, parts: &[&str]| {
        let case = Case::new(&neurons("own", 2, params), &[]);
        std::fs::create_dir_all(case.path("models/neurons")).unwrap();
        std::fs::write(case.path("models/neurons/own.toml"), model).unwrap();
        match parts {
            [] => drop(case.plan()),
            _ => {
                let said = case.refusal(&[]);
                parts.iter().for_each(|part| assert!(said.contains(part), "`{part}` is not in: {said}"));
            }
        }
    };
    check(OWN, "low = 0.5", &[]);
    check(OWN, "low = [0, 1]", &["neuron 1 (own) needs low < high, and has low = 1, high = 1"]);
    check(OWN, "tau = 0.19", &["own needs dt <= tau/2, and has dt = 0.1 ms, tau = 0.19 ms", "take a step of at most tau/2"]);
    check(&OWN.replace("low < high", "low < hihg"), "", &["own.toml:4:", "`hihg` is not known here", "did you mean `high`?"]);
    check(
        &OWN.replace("\"low < high\"", "{ relation = \"low < high\", massage = \"x\" }"),
        "",
        &["massage", "did you mean `message`"],
    );
    check(&OWN.replace("\"low < high\"", "7"), "", &["own.toml:4:", "a relation in quotes"]);
    check(&OWN.replace("low < high", "sqrt(low) >= 0"), "low = -1", &["own needs sqrt(low) >= 0, and has low = -1"]);
}

#[test]
fn relations_of_synapses_and_modifiers_hold_too() {
    let onto = |synapse: &str| pair("iaf_psc_exp", 2, &format!("rule = \"all_to_all\"\nsynapse = {synapse}"));
    let cascade = |strong: f64| {
        let list = format!("[\"consolidation\", {{ model = \"fusi_cascade\", weak = 1.0, strong = {strong:?} }}]");
        onto(&format!("{{ model = \"stdp_synapse\", metaplasticity = {list} }}"))
    };
    refused(&cascade(1.0), &[], &["s.toml:17:11", "fusi_cascade_weak != fusi_cascade_strong", "fusi_cascade_weak = 1,"]);
    assert!(Case::new(&cascade(2.0), &[]).plan_on(None, &[]).is_ok());
    // The rule's own relation goes on beside those of modifiers.
    let signal = |more: &str| {
        let text = onto(&format!("{{ model = \"stdp_dopamine_synapse\", modulator = \"m\", {more} }}"));
        text.replace("[populations.G]", "[modulators]\nm = { tau = 100 }\n[populations.G]")
    };
    refused(&signal("Wmin = 300"), &[], &["stdp_dopamine_synapse needs Wmin <= Wmax, and has Wmin = 300, Wmax = 200"]);
    let both = "Wmin = 300, metaplasticity = { model = \"fusi_cascade\", weak = 1.0, strong = 2.0 }";
    refused(&signal(both), &[], &["needs Wmin <= Wmax, and has Wmin = 300"]);
}

// ---- weights ---------------------------------------------------------------------------------------------------------------

/// One source onto `n` neurons, by a rule with a weight.
fn pair(target: &str, n: u32, projection: &str) -> String {
    format!(
        "{HEAD}[populations.G]\nmodel = \"spike_generator\"\ntimes = [[5.0]]\n[populations.N]\nmodel = \"{target}\"\nn = {n}\n\
         params = {{ V_th = 1e9 }}\nrecord = {{ states = [\"V_m\"], interval = \"0.1 ms\" }}\n\
         [[projections]]\nname = \"p\"\nsource = \"G\"\ntarget = \"N\"\n{projection}\n"
    )
}

#[test]
fn initial_weights_keep_to_the_bound_of_their_rule_whoever_gives_them() {
    let stdp = "synapse = { model = \"stdp_synapse\", Wmax = 10 }";
    let all = |weight: &str| pair("iaf_psc_exp", 3, &format!("rule = \"all_to_all\"\n{stdp}\nweight = {weight}"));
    for accepted in ["10", "0", "\"10 pA\"", "{ distribution = \"uniform\", low = 0, high = 10 }"] {
        assert!(Case::new(&all(accepted), &[]).plan_on(None, &[]).is_ok(), "{accepted}");
    }
    let beyond = ["projection `p`", "above the bound of stdp_synapse, Wmax = 10"];
    refused(&all("1000"), &[], &[&beyond[..], &["an initial weight of 1000"]].concat());
    refused(&all("10.0001"), &[], &beyond);
    refused(&all("{ distribution = \"normal\", mean = 9, std = 1 }"), &[], &[&beyond[..], &["high = 10"]].concat());
    refused(&all("{ distribution = \"lognormal\", mean = 5, std = 2 }"), &[], &beyond);
    let clipped = "{ distribution = \"lognormal\", mean = 5, std = 2, high = 10 }";
    assert!(Case::new(&all(clipped), &[]).plan_on(None, &[]).is_ok());
    let explicit = pair("iaf_psc_exp", 3, &format!("rule = {{ name = \"explicit\", file = \"e.csv\" }}\n{stdp}"));
    refused(&explicit, &[("e.csv", "source,target,weight\n0,0,9\n0,2,10.5\n")], &[&beyond[..], &["10.5"]].concat());
    // Wmax = 0.1 and a weight of 0.1 in a file, which has 32 bits: the same number.
    let tenth = explicit.replace("Wmax = 10", "Wmax = 0.1");
    assert!(Case::new(&tenth, &[("e.csv", "source,target,weight\n0,0,0.1\n")]).plan_on(None, &[]).is_ok());
    refused(&all("-1"), &[], &["a weight may be negative, and the bound of stdp_synapse is 10"]);
    let negative = pair(
        "iaf_psc_exp",
        3,
        "rule = \"all_to_all\"\nsynapse = { model = \"vogels_sprekeler_synapse\", Wmax = -2 }\nweight = -3",
    );
    refused(&negative, &[], &["an initial weight of -3", "below the bound of vogels_sprekeler_synapse, Wmax = -2"]);
}

#[test]
fn a_conductance_takes_no_weight_of_the_other_sign_whoever_gives_it() {
    let text = |projection: &str| pair("iaf_cond_exp", 2, projection).replace("\"V_m\"", "\"g_ex\", \"g_in\"");
    let file = [("e.csv", "source,target,weight\n0,0,5\n0,1,-5\n")];
    let explicit = "rule = { name = \"explicit\", file = \"e.csv\" }\ndelay = \"1 ms\"\n";
    let named = text(&format!("{explicit}receptor = \"excitatory\""));
    refused(
        &named,
        &file,
        &["the edge 0 -> 1 of the file has the weight -5", "receptor `excitatory` of iaf_cond_exp takes positive"],
    );
    let drawn = "rule = \"all_to_all\"\nreceptor = \"excitatory\"\nweight = { distribution = \"normal\", mean = 10, std = 10 }";
    refused(&text(drawn), &[], &["weights drawn here lie between -70 and 90", "takes positive weights", "low = 0"]);
    assert!(Case::new(&text(&drawn.replace("std = 10 }", "std = 10, low = 0 }")), &[]).plan_on(None, &[]).is_ok());
    let inhibitory = text(&format!("{explicit}receptor = \"inhibitory\""));
    refused(&inhibitory, &file, &["the edge 0 -> 0 of the file has the weight 5", "takes negative weights"]);
    // Where no receptor is named, each weight goes where its sign belongs; also where `weight` is left at its default.
    let case = Case::new(&text(explicit), &file);
    for engine in grids() {
        let found = run(&case.plan(), engine).unwrap();
        let (_, _, values) = found.samples.iter().find(|s| (s.1 - 6.0).abs() < 1e-6).unwrap();
        // g_ex of both, g_in of both, when the spike arrives.
        let right = values.iter().zip([5.0, 0.0, 0.0, 5.0]).all(|(g, w)| (g - w).abs() < 1e-5);
        assert!(right, "{engine}: {values:?}");
    }
}

// ---- times -----------------------------------------------------------------------------------------------------------------

/// When two neurons fire that a spike at 5 ms reaches by these delays, by engine.
fn arrivals(delays: &[f64; 2], how: &str, engine: &str) -> Vec<f64> {
    let big = |extra: &str| format!("weight = 100\n{extra}");
    let two = |k: usize| {
        format!(
            "[[projections]]\nsource = \"G\"\ntarget = \"T{k}\"\nrule = \"all_to_all\"\n{}",
            big(&format!("delay = {}\n", delays[k]))
        )
    };
    let projections = match how {
        "constant" => format!("{}{}", two(0), two(1)),
        _ => (0..2)
            .map(|k| {
                format!(
                    "[[projections]]\nsource = \"G\"\ntarget = \"T{k}\"\nrule = {{ name = \"explicit\", file = \"e{k}.{how}\" }}\n{}",
                    big("")
                )
            })
            .collect(),
    };
    let target = |k: usize| format!("[populations.T{k}]\nmodel = \"iaf_psc_delta\"\nn = 1\n");
    let text =
        format!("{HEAD}[populations.G]\nmodel = \"spike_generator\"\ntimes = [[5.0]]\n{}{}{projections}", target(0), target(1));
    let files: Vec<(String, String)> =
        (0..2).map(|k| (format!("e{k}.csv"), format!("source,target,delay\n0,0,{}\n", delays[k]))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let case = Case::new(&text, &files);
    for (k, delay) in delays.iter().enumerate() {
        let file = hdf5::File::create(case.path(&format!("e{k}.h5"))).unwrap();
        file.new_dataset_builder().with_data(&[0u32]).create("source").unwrap();
        file.new_dataset_builder().with_data(&[0u32]).create("target").unwrap();
        file.new_dataset_builder().with_data(&[*delay]).create("delay").unwrap();
    }
    let plan = case.plan_on(Some(engine), &[]).unwrap_or_else(|e| panic!("{e}"));
    let spikes = run(&plan, engine).unwrap().spikes;
    assert_eq!(spikes.len(), 3, "{how} on {engine}");
    [1, 2].map(|id| spikes.iter().find(|s| s.id == id).unwrap().time - 5.0).to_vec()
}

#[test]
fn a_delay_is_rounded_alike_from_wherever_it_comes() {
    let close = |found: Vec<f64>, wanted: [f64; 2], what: String| {
        found.iter().zip(wanted).for_each(|(a, b)| assert!((a - b).abs() < 1e-9, "{what}: {found:?}, wanted {wanted:?}"));
    };
    // Halves round up, as in NEST.
    for (delays, steps) in [([0.35, 1.05], [0.4, 1.1]), ([0.15, 0.25], [0.2, 0.3]), ([0.44, 0.1], [0.4, 0.1])] {
        for how in ["constant", "csv", "h5"] {
            for engine in grids() {
                close(arrivals(&delays, how, engine), steps, format!("{delays:?} by {how} on {engine}"));
            }
            close(arrivals(&delays, how, "event"), delays, format!("{delays:?} by {how}, exactly"));
        }
    }
}

#[test]
fn a_refractory_time_between_steps_rounds_up() {
    // ms apart: NEST's steps of refractoriness, and one for the spike.
    for (t_ref, apart) in [(0.15, 0.3), (0.25, 0.4), (0.04, 0.2), (0.0, 0.1), (0.1, 0.2), (0.3, 0.4), (0.7, 0.8), (1.1, 1.2)] {
        for (given, n) in [(format!("{t_ref}"), 1), (format!("[{t_ref}, {t_ref}]"), 2), ("{ file = \"t.csv\" }".into(), 2)] {
            for model in ["iaf_psc_delta", "iaf_psc_exp"] {
                let text = neurons(model, n, &format!("I_e = 1e9, t_ref = {given}"));
                let case = Case::new(&text, &[("t.csv", &format!("{t_ref}\n{t_ref}\n"))]);
                let spikes = run(&case.plan(), "cpu").unwrap().spikes;
                let times: Vec<f64> = spikes.iter().filter(|s| s.id == 0).map(|s| s.time).collect();
                assert!((times[1] - times[0] - apart).abs() < 1e-9, "{model}, t_ref {given}: {:?}", &times[..2]);
            }
        }
    }
}

fn played(extra: &str) -> String {
    format!("{HEAD}[populations.G]\nmodel = \"spike_generator\"\n{extra}\n[populations.N]\nmodel = \"iaf_psc_delta\"\nn = 1\n")
}

#[test]
fn spikes_off_the_grid_and_before_it_are_told_with_their_line() {
    let file = "file = \"t.csv\"";
    refused(
        &played(file),
        &[("t.csv", "time,id\n3.0,0\n0.0,0\n")],
        &["t.csv:3:1", "population `G`, source 0: a spike at 0 ms lies before the first step"],
    );
    let off = [("t.csv", "id,time\n1,4.0\n0,5.03\n")];
    refused(&played(file), &off, &["t.csv:3:3", "population `G`, source 0", "5.03 ms is not on the grid", "5 and 5.1 ms"]);
    refused(&played("times = [[1.0], [2.5, 7.04]]"), &[], &["s.toml:6:23", "7.04 ms is not on the grid", "allow_offgrid_times"]);
    // Asked for, they are rounded up; the event engine takes them as they are, also at 0.
    let times = |text: &str, files: &[(&str, &str)], engine: &str| {
        let plan = Case::new(text, files).plan_on(Some(engine), &[]).unwrap_or_else(|e| panic!("{e}"));
        run(&plan, engine).unwrap().spikes.iter().map(|s| s.time).collect::<Vec<_>>()
    };
    let found = times(&played(&format!("{file}\nallow_offgrid_times = true")), &off, "cpu");
    assert!(found.len() == 2 && (found[1] - 5.1).abs() < 1e-9, "{found:?}");
    assert_eq!(times(&played(file), &off, "event"), [4.0, 5.03]);
    assert_eq!(times(&played("times = [[0.0, 5.03]]"), &[], "event"), [0.0, 5.03]);
    // What is on the grid but for the last bits of its number is.
    let exact: Vec<String> = (1..200).map(|k| format!("{:?}", k as f64 * 0.1)).collect();
    assert_eq!(times(&played(&format!("times = [[{}]]", exact.join(", "))), &[], "cpu").len(), 199);
}

#[test]
fn changes_off_the_grid_are_told() {
    let drive =
        |keys: &str| format!("{HEAD}[populations.N]\nmodel = \"iaf_psc_delta\"\nn = 1\n[[drives]]\ntarget = \"N\"\n{keys}\n");
    let step = "type = \"step_current_generator\"\ntimes = [1.0, 5.03]\namplitudes = [10, 20]";
    refused(&drive(step), &[], &["s.toml:10:15", "a change at 5.03 ms is not on the grid", "allow_offgrid_times"]);
    assert!(Case::new(&drive(&format!("{step}\nallow_offgrid_times = true")), &[]).plan_on(None, &[]).is_ok());
    assert!(Case::new(&drive(step), &[]).plan_on(Some("event"), &[]).is_ok());
    let dc = "type = \"dc_generator\"\namplitude = 10\nstart = 0.25";
    refused(&drive(dc), &[], &["s.toml:11:9", "start 0.25 ms is not on the grid"]);
    assert!(Case::new(&drive(dc), &[]).plan_on(Some("event"), &[]).is_ok());
    let poisson = HEAD.to_string() + "[populations.P]\nmodel = \"poisson\"\nn = 1\nrate = 5\nstop = \"10.07 ms\"\n";
    refused(&poisson, &[], &["stop 10.07 ms is not on the grid"]);
}

#[test]
fn the_units_of_a_sonata_file_count() {
    let make = |case: &Case, units: &str| {
        let path = case.path("t.h5");
        let _ = std::fs::remove_file(&path);
        let file = hdf5::File::create(path).unwrap();
        let group = file.create_group("spikes/v1").unwrap();
        let set = group.new_dataset_builder().with_data(&[0.005f64, 0.0071]).create("timestamps").unwrap();
        let units: hdf5::types::VarLenUnicode = units.parse().unwrap();
        set.new_attr::<hdf5::types::VarLenUnicode>().create("units").unwrap().write_scalar(&units).unwrap();
        group.new_dataset_builder().with_data(&[0u64, 0]).create("node_ids").unwrap();
    };
    let case = Case::new(&played("file = \"t.h5\"\npopulation = \"v1\""), &[]);
    make(&case, "s");
    let spikes = run(&case.plan(), "cpu").unwrap().spikes;
    let times: Vec<f64> = spikes.iter().map(|s| (s.time * 1e6).round() / 1e6).collect();
    assert_eq!(times, [5.0, 7.1]);
    make(&case, "ms");
    assert!(case.refusal(&[]).contains("0.005 ms is not on the grid"), "{}", case.refusal(&[]));
    make(&case, "parsec");
    let said = case.refusal(&[]);
    assert!(said.contains("t.h5") && said.contains("unknown unit `parsec`"), "{said}");
    make(&case, "mV");
    assert!(case.refusal(&[]).contains("a voltage (`mV`)"));
}

#[test]
fn numbers_that_32_bits_or_a_step_cannot_hold_are_refused_before_anything_runs() {
    let weight = |w: &str| pair("iaf_psc_exp", 2, &format!("rule = \"all_to_all\"\nweight = {w}"));
    for (w, part) in [("1e-40", "too small"), ("1e39", "too large"), ("inf", "the value is inf"), ("nan", "the value is NaN")] {
        refused(&weight(w), &[], &["s.toml:17:10", part]);
    }
    refused(&neurons("iaf_psc_exp", 1, "C_m = 2e-38"), &[], &["R_m of iaf_psc_exp is 5", "beyond 32-bit arithmetic"]);
    let rates = HEAD.to_string() + "[populations.P]\nmodel = \"poisson\"\nn = 2\nrate = [5, 1e9]\n";
    refused(&rates, &[], &["s.toml:7:8", "in a step of 0.1 ms"]);
    assert!(Case::new(&rates, &[]).plan_on(Some("event"), &[]).is_ok());
}

// ---- stability -------------------------------------------------------------------------------------------------------------

/// Inhibition of 40 per ms (g/C): Runge-Kutta 4 needs steps below 0.0695 ms.
fn inhibited(model: &str, weight: f64, dt: f64) -> Plan {
    let text = format!(
        "[simulation]\ndt = {dt}\nduration = \"60 ms\"\n[populations.G]\nmodel = \"spike_generator\"\ntimes = [[10.0]]\n\
         [populations.N]\nmodel = \"{model}\"\nn = 3\nparams = {{ C_m = 1, g_L = 0.1, tau_syn_in = 5 }}\n\
         record = {{ states = \"V_m\", interval = {dt} }}\n[[projections]]\nsource = \"G\"\ntarget = \"N\"\n\
         rule = {{ name = \"explicit\", file = \"e.csv\" }}\nweight = {weight}\ndelay = \"1 ms\"\n"
    );
    Case::new(&text, &[("e.csv", "source,target\n0,1\n")]).plan()
}

#[test]
fn inhibition_beyond_the_reach_of_the_step_ends_the_run_and_never_excites() {
    for model in ["iaf_cond_exp", "iaf_cond_alpha"] {
        for engine in grids() {
            // With short steps V goes to the reversal potential, and no neuron fires.
            let found = run(&inhibited(model, -40.0, 0.05), engine).unwrap_or_else(|e| panic!("{model} on {engine}: {e}"));
            assert_eq!(found.spikes.len(), 1, "{model} on {engine}");
            let potentials = || found.samples.iter().flat_map(|s| s.2.iter());
            assert!(potentials().all(|v| (-85.001..=-69.99).contains(v)), "{model} on {engine}");
            assert!(potentials().any(|v| *v < -84.9), "{model} on {engine}");
            // With long ones the run says which neuron, when, why, and what to do.
            for weight in [-40.0, -4e5] {
                let error = run(&inhibited(model, weight, 0.1), engine).expect_err("an unstable integration");
                let said = error.to_string();
                let when = if model == "iaf_cond_exp" && engine == "cpu" { "at 11.000 ms" } else { "ms" };
                for part in ["neuron 1 in population `N`", when, "< 2.78", "steps of 0.1 ms"] {
                    assert!(said.contains(part), "{model} on {engine}: {said}");
                }
                assert!(error.remedy().unwrap().contains("shorter step") && error.exit_code() == 1);
            }
        }
    }
}

#[test]
fn other_integrations_keep_within_their_reach() {
    let strong = |model: &str, params: &str, unit: &str, weight: f64, dt: f64| {
        let text = format!(
            "[simulation]\ndt = {dt}\nduration = \"60 ms\"\n[populations.G]\nmodel = \"spike_generator\"\ntimes = [[10.0]]\n\
             [populations.N]\nmodel = \"{model}\"\nn = 1\nparams = {{ {params} }}\n[[projections]]\nsource = \"G\"\ntarget = \"N\"\n\
             rule = \"all_to_all\"\nweight = \"{weight} {unit}\"\ndelay = \"1 ms\"\n"
        );
        run(&Case::new(&text, &[]).plan(), "cpu")
    };
    // aeif with g/C = 150 per ms at steps of 0.025 ms, and 50 per ms, which they reach.
    assert!(strong("aeif_cond_exp", "tau_syn_in = 5", "nS", -150.0 * 281.0, 0.1).is_err());
    assert_eq!(strong("aeif_cond_exp", "tau_syn_in = 5", "nS", -50.0 * 281.0, 0.1).unwrap().spikes.len(), 1);
    // A jump of -200 mV: a step of 1 ms of forward Euler would make a spike of it, one of 0.1 ms does not.
    let said = strong("izhikevich", "", "mV", -200.0, 1.0).unwrap_err().to_string();
    assert!(said.contains("neuron 0 in population `N`") && said.contains("izhikevich needs v > v_low"), "{said}");
    assert_eq!(strong("izhikevich", "", "mV", -200.0, 0.1).unwrap().spikes.len(), 1);
    // A current that drives the sodium gate beyond the substeps of 0.025 ms.
    assert!(strong("hh_psc_alpha", "", "pA", -1e6, 0.1).unwrap_err().to_string().contains("hh_psc_alpha needs v > v_low"));
    assert!(strong("hh_psc_alpha", "", "pA", -100.0, 0.1).is_ok());
    // The exponential integration of diehl_cook has no such end.
    assert_eq!(strong("diehl_cook", "V_m = -65", "nS", -1e6, 0.5).unwrap().spikes.len(), 1);
}

#[test]
fn a_potential_beyond_all_measure_is_a_fault_though_finite() {
    let own = OWN.replace("unit = \"1\" }\n[inputs]", "unit = \"mV\" }\n[inputs]").replace("v = v + jump;", "v = v * 3.0 - 1.0;");
    let case = Case::new(&neurons("own", 2, ""), &[]);
    std::fs::create_dir_all(case.path("models/neurons")).unwrap();
    std::fs::write(case.path("models/neurons/own.toml"), own).unwrap();
    for engine in grids() {
        let error = run(&case.plan(), engine).expect_err("a potential of -1e95 mV").to_string();
        assert!(error.contains("neuron 0 in population `N`") && error.contains("state `v`"), "{engine}: {error}");
    }
}

// ---- files of values -------------------------------------------------------------------------------------------------------

/// The currents that four neurons get from a file.
fn currents(file: &str, more: &str) -> Result<Vec<f64>> {
    let text = neurons("iaf_psc_exp", 4, &format!("I_e = {{ file = \"I.csv\"{more} }}"));
    let plan = Case::new(&text, &[("I.csv", file)]).plan_on(None, &[])?;
    let Cell::Neuron(neuron) = &plan.network.populations[0].cell else { panic!("no neurons") };
    match &neuron.params[neuron.model.param("I_e").unwrap()] {
        Values::Each(all) => Ok(all.to_vec()),
        Values::Uniform(x) => panic!("one value {x}"),
    }
}

#[test]
fn a_column_is_asked_for_where_more_than_one_could_be_meant() {
    let in_order = [400.0, 410.0, 420.0, 430.0];
    let named = ", column = \"I_e\"";
    for (file, more) in [
        ("400\n410\n420\n430\n", ""),
        ("I_e\n400\n410\n420\n430\n", ""),
        ("i_e;C_m\n400;1\n410;2\n420;3\n430;4\n", ""),
        ("x\tI_e\n0\t400\n0\t410\n0\t420\n0\t430\n", ""),
        ("current\n400\n410\n420\n430\n", ", column = \"current\""),
        ("0,400\n1,410\n2,420\n3,430\n", ", column = 1"),
        // Ids beside the column say whose a value is.
        ("neuron,I_e\n3,430\n0,400\n2,420\n1,410\n", named),
        ("I_e,ID\n430,3\n400,0\n420,2\n410,1\n", named),
        ("node_id;I_e\n3;430\n0;400\n2;420\n1;410\n", named),
    ] {
        assert_eq!(currents(file, more).unwrap_or_else(|e| panic!("{file}: {e}")), in_order, "{file}");
    }
    for (file, more, parts) in [
        ("neuron,I_e\n0,400\n1,410\n2,420\n3,430\n", "", &["I.csv:1:1", "a column of ids, `neuron`", "column = \"I_e\""][..]),
        ("foo\n1\n2\n3\n4\n", "", &["no column is called `I_e`", "column = \"foo\""]),
        ("a,b\n1,2\n", "", &["no column is called `I_e`", "\"a\" or \"b\""]),
        ("0,400\n1,410\n", "", &["2 columns without names", "column = 0"]),
        ("0,400\n1,410\n", ", column = 2", &["there is no column `2`"]),
        ("id,I_e\n0,1\n1,2\n1,3\n2,4\n", named, &["neuron 1 has two values"]),
        ("id,I_e\n0,1\n1,2\n3,3\n", named, &["neuron 2 has no value"]),
        ("id,I_e\n0,1\n4,2\n", named, &["I.csv:3:1", "id 4 is out of range"]),
        ("id,I_e\n0.5,1\n", named, &["id 0.5 is not an id"]),
        ("1\n2\n3\n", "", &["I_e has 3 values for 4 neurons"]),
        ("I_e\n", "", &["there are no numbers"]),
        ("1,5\n2,5\n3,5\n4,5\n", "", &["2 columns without names"]),
        ("I_e;x\n1,5;0\n", "", &["I.csv:2:1", "`1,5` is not a number", "a point and not a comma"]),
        ("1e39\n1\n1\n1\n", "", &["I.csv:1:1", "too large for 32-bit arithmetic"]),
    ] {
        let said = currents(file, more).expect_err(file).to_string();
        parts.iter().for_each(|part| assert!(said.contains(part), "{file:?}: `{part}` is not in: {said}"));
    }
    let bounded = neurons("iaf_psc_exp", 2, "C_m = { file = \"C.csv\" }");
    refused(&bounded, &[("C.csv", "C_m\n100\n-1\n")], &["C.csv:3:1", "C_m must be above 0 pF, it is -1 pF"]);
}

#[test]
fn positions_are_two_named_columns_or_two_alone() {
    let text = neurons("iaf_psc_exp", 2, "") + "positions = { extent = [1, 1], file = \"xy.csv\" }\n";
    let positions = |file: &str| {
        let plan = Case::new(&text, &[("xy.csv", file)]).plan_on(None, &[])?;
        Ok::<_, sharpwave::error::Error>(plan.network.populations[0].positions.as_deref().unwrap().to_vec())
    };
    for file in ["0.25,0.5\n0.75,1\n", "x;y\n0.25;0.5\n0.75;1\n", "neuron,y,x\n1,1,0.75\n0,0.5,0.25\n"] {
        assert_eq!(positions(file).unwrap_or_else(|e| panic!("{e}")), [[0.25, 0.5], [0.75, 1.0]], "{file}");
    }
    for (file, part) in
        [("0,0.25,0.5\n1,0.75,1\n", "3 without names"), ("a,b\n0,0\n", "no column `x`"), ("0.5\n1\n", "1 without names")]
    {
        let said = positions(file).expect_err(file).to_string();
        assert!(said.contains(part), "{said}");
    }
}

// ---- names and messages ----------------------------------------------------------------------------------------------------

#[test]
fn names_that_no_recording_can_hold_are_refused_with_their_line() {
    for name in ["..", ".", "a/b", "", " "] {
        let text = format!("{HEAD}[populations.\"{name}\"]\nmodel = \"iaf_psc_exp\"\nn = 2\n");
        refused(&text, &[], &["s.toml:4:14", "cannot be the name of a population"]);
        let projection = neurons("iaf_psc_exp", 2, "")
            + &format!("[[projections]]\nname = \"{name}\"\nsource = \"N\"\ntarget = \"N\"\nrule = \"all_to_all\"\n");
        refused(&projection, &[], &["s.toml:9:8", "cannot be the name of a projection"]);
    }
}

#[test]
fn a_circle_of_variables_is_named() {
    let text = |variables: &str| format!("{HEAD}[variables]\n{variables}\n[populations.N]\nmodel = \"iaf_psc_exp\"\nn = 2\n");
    refused(&text("a = \"b + 1\"\nb = \"a * 2\""), &[], &["s.toml:5:1", "in a circle: a -> b -> a"]);
    refused(&text("z = \"a + 1\"\na = \"b + 1\"\nb = \"c * 2\"\nc = \"a\""), &[], &["in a circle: a -> b -> c -> a"]);
    refused(&text("a = \"2 * a\""), &[], &["s.toml:5:1", "the variable `a` is defined by itself"]);
    refused(&text("a = \"b + 1\"\nb = \"nothing + 1\""), &[], &["s.toml:6:", "unknown name `nothing`"]);
    assert!(Case::new(&text("a = \"b + 1\"\nb = \"c\"\nc = 3"), &[]).plan_on(None, &[]).is_ok());
}

#[test]
fn an_error_in_a_long_line_shows_its_place_and_not_the_line() {
    let many = "400.5, ".repeat(4999);
    let text = neurons("iaf_psc_exp", 5000, &format!("I_e = [{many}\"400 mV\"]"));
    let case = Case::new(&text, &[]);
    let shown = |folder: &Path| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_sharpwave"))
            .args(["check", "s.toml"])
            .current_dir(folder)
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = shown(case.0.path());
    assert!(said.len() < 2000, "{} bytes", said.len());
    // The column that is told is the true one, and what is wrong stands in the window.
    let column = text.lines().nth(6).unwrap().find("400 mV").unwrap() + 1;
    for part in [format!("column {}", column + 4), "400 mV".into(), "a voltage (`mV`)".into(), "…".into()] {
        assert!(said.contains(&part), "`{part}` is not in: {said}");
    }
    // A long line beside the one that is wrong.
    let beside = text.replace("\"400 mV\"", "400.5").replace("n = 5000", "n = x");
    std::fs::write(case.path("s.toml"), beside).unwrap();
    let said = shown(case.0.path());
    assert!(said.len() < 2000 && said.contains("n = x"), "{said}");
}
