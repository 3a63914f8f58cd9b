//! The axonal share of a plastic synapse's delay: the closed form of a pair, trains against a reference written here, and refusals.

use crate::common::plan;

/// A pair of spikes at a synapse of which a share of the delay is axonal (Morrison, Diesmann & Gerstner 2008, eq. 2 and Fig. 3): the
/// source's counts after the axonal share, the target's after the rest, and a pair that meets there leaves no trace.
#[test]
fn a_pair_is_told_apart_by_the_shares_of_the_delay() {
    let (pre, posts) = (100.0, [91.0, 97.5, 98.0, 99.9, 100.0, 100.1, 102.0, 103.0, 104.0, 110.0]);
    for (delay, axonal) in [(4.0, 0.0), (4.0, 0.3), (4.0, 1.0), (4.0, 1.9), (4.0, 2.0), (4.0, 3.0), (4.0, 3.9), (0.2, 0.1)] {
        for engine in engines() {
            if engine.0 == "gpu" && 2.0 * axonal >= delay {
                continue;
            }
            let text = shared(
                &[vec![pre; 1]],
                &posts.map(|t| vec![t]),
                delay,
                axonal,
                "model = \"stdp_synapse\", alpha = 0.7, tau_minus = 35.0",
            );
            let weights = weights_at(&text, &[300.0], engine).remove(0);
            for (w, post) in weights.iter().zip(posts) {
                let lag: f64 = (post + delay - axonal) - (pre + axonal);
                let wanted = match lag {
                    _ if lag.abs() < 1e-9 => 50.0,
                    _ if lag > 0.0 => 50.0 + 0.01 * 100.0 * (1.0 - 0.5) * (-lag / 20.0).exp(),
                    _ => 50.0 - 0.7 * 0.01 * 100.0 * 0.5 * (lag / 35.0).exp(),
                };
                assert!(
                    (*w as f64 - wanted).abs() < 2e-5,
                    "{engine:?}, {axonal} of {delay} ms, target at {post}: {w} and {wanted}"
                );
            }
        }
    }
}

/// Long trains against an event-by-event reference in f64, read along the way, over a checkpoint, and after a pause.
#[test]
fn trains_follow_the_shares_of_the_delay() {
    let random = |seed: u64, n: u64| -> Vec<f64> {
        let mut steps: Vec<u64> = (0..n).map(|k| 20 + (k * k * 7919 + seed * 104_729 + k * 331) % 2700).collect();
        steps.sort_unstable();
        steps.dedup();
        steps.into_iter().map(|s| s as f64 / 10.0).collect()
    };
    let (pre, post) = ([random(1, 60), random(2, 9), vec![]], [random(3, 70), random(4, 5), vec![150.0]]);
    let reads = [30.0, 77.7, 150.3, 222.0, 300.0];
    for (delay, axonal) in [(0.3, 0.1), (5.0, 2.4), (5.0, 2.5), (5.0, 4.9), (17.0, 8.1)] {
        let text = shared(&pre, &post, delay, axonal, "model = \"stdp_synapse\", mu_plus = 0.0, mu_minus = 0.0, lambda = 0.004");
        for engine in engines() {
            if engine.0 == "gpu" && 2.0 * axonal >= delay {
                continue;
            }
            for (time, found) in reads.iter().zip(weights_at(&text, &reads, engine)) {
                // Until then everything is known, and on the clock of the synapse it has happened.
                let until = if axonal == 0.0 { *time } else { time + axonal.min(delay - axonal) };
                let mut k = 0;
                for source in &pre {
                    for target in &post {
                        let mut events: Vec<(i64, bool)> = source
                            .iter()
                            .filter(|t| **t <= time + 1e-9)
                            .map(|t| (t + axonal, true))
                            .chain(target.iter().filter(|t| **t <= time + 1e-9).map(|t| (t + delay - axonal, false)))
                            .filter(|(t, _)| *t <= until + 1e-9)
                            .map(|(t, pre)| ((t * 10.0).round() as i64, pre))
                            .collect();
                        events.sort_unstable();
                        let trace = |of: bool, at: i64| -> f64 {
                            events.iter().filter(|e| e.1 == of && e.0 < at).map(|e| (-((at - e.0) as f64) / 200.0).exp()).sum()
                        };
                        let mut w = 50.0f64;
                        for &(at, is_pre) in &events {
                            w = match is_pre {
                                false => (w + 0.4 * trace(true, at)).min(100.0),
                                true => (w - 0.4 * trace(false, at)).max(0.0),
                            };
                        }
                        let off = (found[k] as f64 - w).abs();
                        assert!(off < 2e-4, "{engine:?}, {axonal} of {delay} ms, synapse {k} at {time} ms: {} and {w}", found[k]);
                        k += 1;
                    }
                }
            }
        }
        // Over a checkpoint, and threads that change, to the same bits.
        let net = std::sync::Arc::new(plan(&text, &[]).network);
        for (kind, threads) in engines().into_iter().filter(|e| e.0 != "gpu" || 2.0 * axonal < delay) {
            let mut sink = crate::common::Collected::default();
            let mut whole = crate::common::open(&net, kind, 1).unwrap();
            let mut first = crate::common::open(&net, kind, threads).unwrap();
            whole.advance(3000, &mut sink).unwrap();
            first.advance(1503, &mut sink).unwrap();
            let mut second = crate::common::open(&net, kind, 1).unwrap();
            second.restore(&first.snapshot().unwrap()).unwrap();
            second.advance(1497, &mut sink).unwrap();
            assert!(whole.weights(1).unwrap() == second.weights(1).unwrap(), "{kind}, {axonal} of {delay} ms: over a checkpoint");
        }
    }
}

#[test]
fn impossible_shares_are_refused() {
    let refused = |delay: f64, axonal: &str, synapse: &str, words: &str| {
        let text = shared(&[vec![5.0]], &[vec![9.0]], delay, 0.0, synapse)
            .replace("axonal_delay = 0.0", &format!("axonal_delay = {axonal}"));
        let error = crate::common::try_plan(&text, &[]).err().unwrap_or_else(|| panic!("{axonal} is accepted"));
        assert!(error.to_string().contains(words), "{axonal}, {synapse}: no `{words}` in {error}");
    };
    refused(2.0, "2.0", "model = \"stdp_synapse\"", "leaves nothing");
    refused(2.0, "-0.1", "model = \"stdp_synapse\"", "axonal_delay");
    refused(2.0, "0.25", "model = \"stdp_synapse\"", "not on the grid");
    refused(2.0, "1.0", "model = \"static_synapse\"", "whole delay");
    refused(2.0, "1.0", "model = \"rstdp_synapse\", modulator = \"reward\"", "signal");
    if crate::common::device_there() {
        let text = shared(&[vec![5.0]], &[vec![9.0]], 2.0, 1.0, "model = \"stdp_synapse\"");
        let net = std::sync::Arc::new(plan(&text, &[]).network);
        let error = crate::common::open(&net, "gpu", 1).err().unwrap().to_string();
        assert!(error.contains("less than half of the delay"), "{error}");
    }
}

/// Sources and targets that spike as they are told, all to all through synapses of which a share of the delay is axonal.
fn shared(pre: &[Vec<f64>], post: &[Vec<f64>], delay: f64, axonal: f64, synapse: &str) -> String {
    let told: Vec<Vec<f64>> =
        post.iter().map(|train| train.iter().map(|t| ((t - 1.0) * 10.0).round() / 10.0).collect()).collect();
    format!(
        "[simulation]\ndt = 0.1\nduration = 300.0\n[modulators]\nreward = {{ tau = 50.0 }}\n[populations.pre]\nmodel = \"spike_generator\"\n\
         times = {pre:?}\n[populations.driver]\nmodel = \"spike_generator\"\ntimes = {told:?}\n[populations.post]\nmodel = \"iaf_psc_delta\"\n\
         n = {}\nparams = {{ t_ref = 0, V_th = 1e5 }}\n[[projections]]\nsource = \"driver\"\ntarget = \"post\"\nrule = \"one_to_one\"\n\
         weight = 1e6\ndelay = 1.0\n[[projections]]\nsource = \"pre\"\ntarget = \"post\"\nrule = \"all_to_all\"\nweight = 50\ndelay = {delay:?}\n\
         axonal_delay = {axonal:?}\nsynapse = {{ {synapse} }}\n",
        post.len()
    )
}

/// Weights of the second projection at times in ms.
fn weights_at(text: &str, times: &[f64], (kind, threads): (&str, usize)) -> Vec<Vec<f32>> {
    let net = std::sync::Arc::new(plan(text, &[]).network);
    let mut engine = crate::common::open(&net, kind, threads).unwrap_or_else(|e| panic!("{kind}: {e}"));
    let (mut now, mut sink, mut all) = (0, crate::common::Collected::default(), vec![]);
    for time in times {
        let step = (time * 10.0).round() as u64;
        engine.advance(step - now, &mut sink).unwrap();
        now = step;
        all.push(engine.weights(1).unwrap().iter().map(|w| w.2).collect());
    }
    all
}

fn engines() -> Vec<(&'static str, usize)> {
    let mut all = vec![("cpu", 1), ("cpu", 3), ("event", 1)];
    if crate::common::device_there() {
        all.push(("gpu", 1));
    }
    all
}
