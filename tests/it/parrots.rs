//! Parrots: neurons that repeat every spike that arrives, on every engine, and what they refuse.

use crate::common::{plan, simulate};

/// A parrot's spikes are those of its sources a delay later, all of them, whatever the weights; a parrot of parrots likewise, and what
/// follows gets every one. Poisson sources that fire several times in a step, trains with repeated times, silence.
#[test]
fn parrots_repeat_every_spike() {
    let text = "[simulation]\ndt = 0.5\nduration = 200.0\nseed = 6\n\
        [populations.trains]\nmodel = \"spike_generator\"\ntimes = [[1.0, 5.0, 5.0, 5.0, 90.0], [5.0, 199.5], []]\n\
        [populations.noise]\nmodel = \"poisson\"\nn = 3\nrate = 2500.0\n\
        [populations.P]\nmodel = \"parrot_neuron\"\nn = 3\n[populations.Q]\nmodel = \"parrot_neuron\"\nn = 2\n\
        [populations.V]\nmodel = \"iaf_psc_delta\"\nn = 1\nparams = { V_th = 1e9, tau_m = 1e9 }\n\
        record = { states = \"V_m\", interval = 200.0 }\n\
        [[projections]]\nsource = \"trains\"\ntarget = \"P\"\nrule = \"one_to_one\"\nweight = -3.5\ndelay = 1.0\n\
        [[projections]]\nsource = \"noise\"\ntarget = \"P\"\nrule = \"one_to_one\"\nweight = { distribution = \"normal\", mean = 0, std = 9 }\n\
        delay = 2.5\n[[projections]]\nsource = \"P\"\ntarget = \"Q\"\nrule = \"all_to_all\"\ndelay = 3.0\n\
        [[projections]]\nsource = \"Q\"\ntarget = \"V\"\nrule = \"all_to_all\"\nweight = 0.25\ndelay = 0.5\n";
    let plan = plan(text, &[]);
    for (kind, threads) in engines() {
        let run = simulate(&plan, kind, threads);
        // Global ids: trains 0 to 2, noise 3 to 5, P 6 to 8, Q 9 and 10.
        let of = |ids: std::ops::Range<u32>| run.spikes.iter().filter(move |s| ids.contains(&s.id));
        let later = |id: u32, delay: f64| of(id..id + 1).map(move |s| s.time + delay);
        let sorted = |times: Vec<f64>| {
            let mut times: Vec<i64> = times.iter().filter(|t| **t <= 200.0 + 1e-9).map(|t| (t * 1e6).round() as i64).collect();
            times.sort_unstable();
            times
        };
        assert!(of(3..6).count() > 1000, "{kind}");
        for k in 0..3 {
            let wanted = sorted(later(k, 1.0).chain(later(3 + k, 2.5)).collect());
            assert_eq!(sorted(of(6 + k..7 + k).map(|s| s.time).collect()), wanted, "{kind}: parrot {k}");
            if kind != "event" {
                assert!(wanted.windows(2).any(|two| two[0] == two[1]), "{kind}: several in a step");
            }
        }
        let all = sorted(of(6..9).map(|s| s.time + 3.0).collect());
        for k in 9..11 {
            assert_eq!(sorted(of(k..k + 1).map(|s| s.time).collect()), all, "{kind}: parrot {k} of parrots");
        }
        let arrived = of(9..11).filter(|s| s.time <= 199.5 + 1e-9).count() as f64;
        let v = run.samples[0].2[0] as f64 + 70.0;
        assert!((v - 0.25 * arrived).abs() < 2e-3, "{kind}: {v} mV of {arrived} spikes");
    }
}

#[test]
fn what_a_parrot_cannot_repeat_is_refused() {
    let refused = |more: &str, words: &str| {
        let text = format!(
            "[simulation]\nduration = 10.0\n[populations.E]\nmodel = \"iaf_psc_exp\"\nn = 4\n[populations.P]\nmodel = \"parrot_neuron\"\n\
             n = 4\n{more}\n"
        );
        let error = crate::common::try_plan(&text, &[]).err().unwrap_or_else(|| panic!("{more} is accepted"));
        assert!(error.to_string().contains(words), "{more}: no `{words}` in {error}");
    };
    let onto = "[[projections]]\nsource = \"E\"\ntarget = \"P\"\nrule = \"all_to_all\"\n";
    refused(&format!("{onto}synapse = {{ model = \"stdp_synapse\" }}"), "parrot_neuron counts spikes");
    refused(&format!("{onto}synapse = {{ model = \"tsodyks_synapse\" }}"), "parrot_neuron counts spikes");
    refused(&format!("{onto}weight = \"3 pA\""), "pA");
    refused(&format!("[scale]\nk = 0.5\n{onto}"), "scale");
    refused("[[drives]]\ntarget = \"P\"\ntype = \"dc_generator\"\namplitude = 3.0", "parrot_neuron");
}

fn engines() -> Vec<(&'static str, usize)> {
    let mut all = vec![("cpu", 1), ("cpu", 2), ("event", 1)];
    if crate::common::device_there() {
        all.push(("gpu", 1));
    }
    all
}
