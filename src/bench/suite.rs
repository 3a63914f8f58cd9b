//! Which rows there are: published networks with the rates they have, and the parts. Data; nothing is run here.

use super::machine::Machine;
use super::network::Case;
use super::parts::{Guard, Learning, Single};
use super::report::Row;
use super::{Options, Place};
use crate::engine::Kind as Engine;
use crate::error::{Error, Result};
use crate::model::library::Library;
use crate::scenario::built_in;

/// A row to be.
pub struct Job {
    kind: Kind,
    place: Place,
}

enum Kind {
    Network(Case),
    /// Many neurons of one model without synapses, where no kernel can be timed alone.
    Updates(Case),
    /// Alone: the time of the phase "deliver" where the engine tells it, over the synaptic events.
    Delivery(Case),
    Single(Single),
}

impl Job {
    pub fn name(&self) -> String {
        match &self.kind {
            Kind::Network(case) | Kind::Updates(case) | Kind::Delivery(case) => case.name.clone(),
            Kind::Single(single) => single.name(),
        }
    }

    fn part(&self) -> &'static str {
        match &self.kind {
            Kind::Network(_) => "network",
            Kind::Delivery(_) => "delivery",
            Kind::Updates(_) | Kind::Single(Single::Update(_)) => "update",
            Kind::Single(Single::Latency(_)) => "latency",
            Kind::Single(Single::Learning(..)) => "learning",
        }
    }

    pub fn measure(&self, options: &Options, machine: &Machine) -> Row {
        match &self.kind {
            Kind::Network(case) => case.measure(&self.place, options, machine),
            Kind::Updates(case) => updates(case, &self.place, options, machine),
            Kind::Delivery(case) => delivery(case, &self.place, options, machine),
            Kind::Single(single) => single.measure(options.runs, machine),
        }
    }
}

/// All rows that the options ask for, the short ones first.
///
/// # Errors
/// A word in `only` that names no row.
pub fn rows(options: &Options, places: &[Place]) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    let mut add = |kind: Kind, place: &Place| jobs.push(Job { kind, place: place.clone() });
    let here = |wanted: fn(&Place) -> bool| places.iter().filter(move |p| wanted(p));
    let grid = |place: &Place| !matches!(place, Place::Event);
    let one = |place: &Place| matches!(place, Place::Cpu(1));

    for place in here(|p| matches!(p, Place::Gpu(_)) || matches!(p, Place::Cpu(n) if *n > 1)) {
        add(Kind::Single(Single::Latency(place.clone())), place);
    }
    for place in here(one) {
        for model in Library::built_in()?.neurons() {
            add(Kind::Single(Single::Update(model.clone())), place);
        }
    }
    for place in here(|p| matches!(p, Place::Gpu(_))) {
        for model in Library::built_in()?.neurons() {
            add(Kind::Updates(crowd(&model.name)), place);
        }
    }
    for (fan_out, rate) in [(100, 100.0), (1000, 10.0), (1000, 100.0), (10_000, 1.0), (10_000, 10.0)] {
        for place in here(grid).filter(|p| !options.quick || one(p)) {
            add(Kind::Delivery(relay(fan_out, rate)), place);
        }
    }
    let guards = [Guard::Nothing, Guard::Projection, Guard::Posterior];
    for what in [Learning::Projection, Learning::Posterior].into_iter().chain(guards.map(Learning::ThreeFactor)) {
        let by_network = matches!(what, Learning::ThreeFactor(_));
        for place in places.iter().filter(|p| one(p) || (by_network && matches!(p, Place::Gpu(_)))) {
            add(Kind::Single(Single::Learning(what, place.clone())), place);
        }
    }
    for what in [Learning::Wake, Learning::WakeWrite] {
        for place in here(one) {
            add(Kind::Single(Single::Learning(what, place.clone())), place);
        }
    }
    for (case, quick, engines) in networks(options.quick) {
        for place in places.iter().filter(|p| engines.contains(&p.kind())).filter(|_| quick || !options.quick) {
            if case.one_thread && matches!(place, Place::Cpu(n) if *n > 1) {
                continue;
            }
            add(Kind::Network(case.clone()), place);
        }
    }

    let names: Vec<String> = jobs.iter().map(|j| format!("{}: {}", j.part(), j.name())).collect();
    let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let mut wanted = vec![options.only.is_empty(); jobs.len()];
    for word in &options.only {
        let part = word.to_lowercase();
        // A whole name means its row, and not those whose names begin alike.
        let whole = lower.contains(&part);
        let is_named = |name: &String| if whole { *name == part } else { name.contains(&part) };
        let named: Vec<usize> = (0..jobs.len()).filter(|i| is_named(&lower[*i])).collect();
        if named.is_empty() {
            let mut parts: Vec<&str> = names.iter().map(String::as_str).collect();
            parts.dedup();
            return Err(Error::input(format!("no row is called `{word}`"), format!("there are: {}", parts.join("; "))));
        }
        named.into_iter().for_each(|i| wanted[i] = true);
    }
    Ok(jobs.into_iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(job, _)| job).collect())
}

/// The text of a built-in scenario.
fn scenario(name: &str) -> (String, String) {
    (format!("models/scenarios/{name}.toml"), built_in(name).unwrap_or_default().to_string())
}

const ON_A_GRID: &[Engine] = &[Engine::Cpu, Engine::Gpu];
const EVERYWHERE: &[Engine] = &[Engine::Cpu, Engine::Gpu, Engine::Event];

/// The published networks: whether the quick suite has them, and the engines that they are for. Rates: the
/// microcircuit's under Poisson input are those of the tables in the README, which NEST shares; the others are those of runs on the cpu engine
/// with seed 1, at the smallest size where there are several, and the peers' scripts give nearly the same.
fn networks(quick: bool) -> Vec<(Case, bool, &'static [Engine])> {
    let case = |name: &str, file: &str, set: &[&str], warmup: f64, stretch: f64, rates: &[(&'static str, f64, f64)]| Case {
        name: name.into(),
        scenario: scenario(file),
        set: set.iter().map(|s| s.to_string()).collect(),
        warmup,
        stretch: if quick { stretch / 4.0 } else { stretch },
        rates: rates.to_vec(),
        ..Default::default()
    };
    let pd = "potjans_diesmann_2014";
    let tenth = [
        ("L23E", 0.468, 0.15),
        ("L23I", 2.107, 0.4),
        ("L4E", 3.981, 0.4),
        ("L4I", 5.011, 0.4),
        ("L5E", 6.653, 1.2),
        ("L5I", 7.797, 0.8),
        ("L6E", 0.843, 0.25),
        ("L6I", 7.007, 0.5),
    ];
    let full = [
        ("L23E", 0.903, 0.2),
        ("L23I", 2.968, 0.3),
        ("L4E", 4.382, 0.4),
        ("L4I", 5.873, 0.4),
        ("L5E", 7.585, 1.2),
        ("L5I", 8.624, 0.8),
        ("L6E", 1.107, 0.2),
        ("L6I", 7.833, 0.5),
    ];
    let constant = [
        ("L23E", 0.93, 0.2),
        ("L23I", 2.95, 0.3),
        ("L4E", 4.19, 0.4),
        ("L4I", 5.70, 0.4),
        ("L5E", 7.95, 1.2),
        ("L5I", 8.43, 0.8),
        ("L6E", 1.10, 0.2),
        ("L6I", 7.65, 0.5),
    ];
    let brunel = |n: [u32; 2], j: f64| {
        vec![format!("variables.N_E={}", n[0]), format!("variables.N_I={}", n[1]), format!("variables.J=\"{j} mV\"")]
    };
    let brunel_case = |name: &str, file: &str, n: [u32; 2], warmup: f64, stretch: f64, rates: &[(&'static str, f64, f64)]| Case {
        set: brunel(n, 0.1 * (901.0 / f64::from(n[0] / 10)).min(1.0)),
        ..case(name, file, &[], warmup, stretch, rates)
    };
    let sparse = |rate: f64| {
        let slack = 0.05 * rate + 0.01;
        Case {
            scenario: ("sparse_firing.toml".into(), include_str!("sparse_firing.toml").into()),
            rates: vec![("cells", rate, slack)],
            ..case(&format!("100,000 neurons at {rate} Hz"), "", &[&format!("variables.rate={rate}")], 200.0, 400.0, &[])
        }
    };
    vec![
        (
            Case {
                one_thread: true,
                ..case("CUBA, 4,000 neurons", "vogels_abbott_cuba", &[], 200.0, 1000.0, &[("E", 5.6, 1.0), ("I", 5.6, 1.2)])
            },
            true,
            EVERYWHERE,
        ),
        (
            Case {
                one_thread: true,
                ..case("COBA, 4,000 neurons", "vogels_abbott_coba", &[], 200.0, 1000.0, &[("E", 18.5, 6.0), ("I", 18.5, 6.0)])
            },
            true,
            ON_A_GRID,
        ),
        (
            case(
                "CUBA, 40,000 neurons",
                "vogels_abbott_cuba",
                &["variables.size=10"],
                200.0,
                500.0,
                &[("E", 5.6, 0.5), ("I", 5.6, 0.6)],
            ),
            true,
            ON_A_GRID,
        ),
        (
            case(
                "COBA, 40,000 neurons",
                "vogels_abbott_coba",
                &["variables.size=10"],
                200.0,
                500.0,
                &[("E", 18.5, 4.0), ("I", 18.5, 4.0)],
            ),
            false,
            ON_A_GRID,
        ),
        (sparse(0.1), true, EVERYWHERE),
        (sparse(0.5), false, EVERYWHERE),
        (sparse(1.0), true, EVERYWHERE),
        (case("Potjans-Diesmann at 0.1", pd, &["scale.n=0.1", "scale.k=0.1"], 200.0, 1000.0, &tenth), true, ON_A_GRID),
        (
            brunel_case(
                "Brunel, 12.7 M synapses",
                "brunel_2000",
                [9016, 2254],
                100.0,
                200.0,
                &[("E", 40.4, 2.0), ("I", 40.4, 2.0)],
            ),
            true,
            ON_A_GRID,
        ),
        (
            brunel_case(
                "Brunel with STDP, 12.7 M synapses",
                "brunel_stdp",
                [9016, 2254],
                100.0,
                100.0,
                &[("E", 36.5, 3.0), ("I", 37.5, 3.0)],
            ),
            true,
            ON_A_GRID,
        ),
        (case("Potjans-Diesmann at full scale", pd, &[], 200.0, 300.0, &full), false, ON_A_GRID),
        (
            Case { variant: Some("DC"), ..case("Potjans-Diesmann at full scale, DC input", pd, &[], 200.0, 300.0, &constant) },
            false,
            ON_A_GRID,
        ),
        (
            brunel_case(
                "Brunel with STDP, 127 M synapses",
                "brunel_stdp",
                [28_510, 7130],
                50.0,
                30.0,
                &[("E", 36.5, 5.0), ("I", 37.5, 5.0)],
            ),
            false,
            ON_A_GRID,
        ),
        (
            brunel_case(
                "Brunel with STDP, 0.5 G synapses",
                "brunel_stdp",
                [56_570, 14_140],
                60.0,
                15.0,
                &[("E", 36.5, 6.0), ("I", 37.5, 6.0)],
            ),
            false,
            ON_A_GRID,
        ),
        (
            case(
                "CUBA, 12.5 M neurons, 1 G synapses",
                "vogels_abbott_cuba",
                &["variables.size=3125"],
                20.0,
                20.0,
                &[("E", 5.0, 1.0), ("I", 5.0, 1.0)],
            ),
            false,
            ON_A_GRID,
        ),
        (
            case(
                "COBA, 12.5 M neurons, 1 G synapses",
                "vogels_abbott_coba",
                &["variables.size=3125"],
                20.0,
                20.0,
                &[("E", 19.0, 4.0), ("I", 19.0, 4.0)],
            ),
            false,
            ON_A_GRID,
        ),
        (
            brunel_case(
                "Brunel, 1 G synapses",
                "brunel_2000",
                [80_000, 20_000],
                30.0,
                20.0,
                &[("E", 40.4, 4.0), ("I", 40.4, 4.0)],
            ),
            false,
            ON_A_GRID,
        ),
    ]
}

/// A million neurons of a model, with nothing but themselves.
fn crowd(model: &str) -> Case {
    let text = format!(
        r#"title = "crowd"
[simulation]
dt = "0.1 ms"
duration = "1 s"
[populations.C]
model = "{model}"
n = 1000000
"#
    );
    let scenario = ("crowd.toml".into(), text);
    Case { name: model.into(), scenario, warmup: 5.0, stretch: 20.0, ..Default::default() }
}

fn updates(case: &Case, place: &Place, options: &Options, machine: &Machine) -> Row {
    let mut row = case.measure(place, options, machine);
    (row.part, row.unit) = ("update".into(), "ns per update".into());
    if let (Some(time), Some(ns)) = (row.time, row.figures.ns_per_update.take()) {
        row.time = Some(time.scaled(ns / time.median));
    }
    row
}

/// Poisson sources that spike onto neurons which stay silent.
fn relay(fan_out: u32, rate: f64) -> Case {
    let text = format!(
        r#"title = "relay"
[simulation]
dt = "0.1 ms"
duration = "1 s"
[populations.S]
model = "poisson"
n = 2000
rate = "{rate} Hz"
[populations.T]
model = "iaf_psc_delta"
n = 20000
[[projections]]
source = "S"
target = "T"
rule = {{ name = "fixed_outdegree", outdegree = {fan_out} }}
weight = "0.0001 mV"
delay = "1.5 ms"
"#
    );
    Case {
        name: format!("fan-out {fan_out}, {rate} Hz"),
        scenario: ("relay.toml".into(), text),
        warmup: 20.0,
        stretch: 200.0,
        rates: vec![("S", rate, 0.1 * rate), ("T", 0.0, 0.0)],
        ..Default::default()
    }
}

/// The time of delivery alone, a synaptic event: of the phase where the engine tells it, else the difference to the same network with one
/// synapse a source.
fn delivery(case: &Case, place: &Place, options: &Options, machine: &Machine) -> Row {
    let profiled = Options { profile: true, ..options.clone() };
    let mut row = case.measure(place, &profiled, machine);
    row.part = "delivery".into();
    row.unit = "ns per event".into();
    let Some(time) = row.time else { return row };
    let part = match place {
        Place::Cpu(_) => row.figures.phases.iter().find(|p| p.0 == "deliver").map(|p| p.1),
        _ => {
            let mut one = case.clone();
            one.set.push("projections.0.rule.outdegree=1".into());
            one.measure(place, &profiled, machine).time.map(|t| 1.0 - t.median / time.median)
        }
    };
    let (Some(part), Some(events)) = (part, row.figures.events_per_s) else { return row };
    // Time a second of model time to time an event, of the part that is delivery.
    let scale = part * 1e9 / events / time.median;
    row.time = Some(time.scaled(scale));
    let f = &mut row.figures;
    let bytes = f.bytes_per_synapse.unwrap_or(4.0);
    f.bandwidth = row.time.map(|t| bytes / (t.median * 1e-9));
    f.of_copy = f.bandwidth.zip(machine.copies(place)).map(|(own, copies)| own / copies);
    (f.ns_per_update, f.cpu_s, f.us_per_step) = (None, None, None);
    f.phases.clear();
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row's network is a network, and the quick suite is a part of the whole.
    #[test]
    fn every_network_can_be_planned() {
        for (case, ..) in networks(false) {
            let plan = case.plan(1).unwrap_or_else(|e| panic!("{}: {e}", case.name));
            let names: Vec<&str> = plan.network.populations.iter().map(|p| p.name.as_str()).collect();
            assert!(case.rates.iter().all(|(name, ..)| names.contains(name)), "{}: {names:?}", case.name);
        }
        relay(100, 10.0).plan(1).unwrap();
        let places = [Place::Cpu(1), Place::Cpu(2), Place::Event];
        let count = |quick| rows(&Options { quick, ..Default::default() }, &places).unwrap().len();
        assert!(count(true) < count(false) && count(true) > 20, "{} {}", count(true), count(false));
    }

    #[test]
    fn rows_are_chosen_by_name() {
        let of = |only: &[&str]| {
            let options = Options { only: only.iter().map(|s| s.to_string()).collect(), ..Default::default() };
            rows(&options, &[Place::Cpu(1)]).map(|jobs| jobs.iter().map(Job::name).collect::<Vec<_>>())
        };
        assert_eq!(of(&["update: izhi"]).unwrap(), ["izhikevich"]);
        assert_eq!(of(&["update: iaf_psc_exp"]).unwrap(), ["iaf_psc_exp"]);
        assert_eq!(of(&["update: iaf_psc_exp_m", "update: iaf_psc_exp"]).unwrap(), ["iaf_psc_exp", "iaf_psc_exp_multisynapse"]);
        assert!(of(&["network"]).unwrap().len() > 10);
        let error = of(&["brunell"]).unwrap_err();
        assert!(error.to_string().contains("brunell") && error.remedy().is_some_and(|r| r.contains("CUBA, 4,000")), "{error}");
    }
}
