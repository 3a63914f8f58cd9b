"""Writes nest_plasticity.json: the weight that NEST 3.10.0 transmits at every spike of the source, for each plastic rule, and the rules' defaults
(Kplus and Kplus_triplet, the state at the start, are left out: they are 0).

    pip install nest-simulator==3.10.0
    python tests/golden/make_nest_plasticity.py

Each case has one target that spikes at given times and several sources, each with its own delay, initial weight and train. Times are
whole milliseconds and the delays whole or half ones, so that spikes often meet at the synapse. `weights[i]` belong to source i's
spikes in order. The target's tau_minus (and tau_minus_triplet) are listed with the rule's parameters.
"""

import json
import random
from pathlib import Path

import nest

STOP = 1500.0
SOURCES = [(1.0, 0.5), (1.5, 0.2), (3.0, 0.9), (0.1, 0.6), (12.0, 0.35), (40.0, 0.5)]  # delay ms, weight relative to Wmax

CASES = [
    ("stdp_synapse", {"Wmax": 1.0, "lambda": 0.05, "alpha": 1.05, "mu_plus": 0.0, "mu_minus": 0.0, "tau_plus": 16.8}),
    ("stdp_synapse", {"Wmax": 2.0, "lambda": 0.05, "alpha": 1.05, "mu_plus": 0.4, "mu_minus": 0.4}),
    ("stdp_synapse", {"Wmax": 70.0, "lambda": 0.02, "mu_plus": 1.0, "mu_minus": 0.0, "tau_minus": 33.7}),
    ("stdp_synapse", {"Wmax": -3.0, "lambda": 0.03, "mu_plus": 1.0, "mu_minus": 1.0, "tau_minus": 15.0}),
    ("stdp_nn_symm_synapse", {"Wmax": 1.0, "lambda": 0.05, "alpha": 1.05, "tau_minus": 33.7}),
    ("stdp_nn_symm_synapse", {"Wmax": 1.0, "lambda": 0.05, "mu_plus": 0.0, "mu_minus": 0.0}),
    ("stdp_nn_restr_synapse", {"Wmax": 1.0, "lambda": 0.05, "alpha": 1.05, "tau_minus": 33.7}),
    ("stdp_nn_restr_synapse", {"Wmax": 1.0, "lambda": 0.05, "mu_plus": 0.3, "mu_minus": 0.2}),
    ("stdp_nn_pre_centered_synapse", {"Wmax": 1.0, "lambda": 0.05, "alpha": 1.05, "tau_minus": 33.7}),
    ("stdp_nn_pre_centered_synapse", {"Wmax": 1.0, "lambda": 0.05, "mu_plus": 0.3, "mu_minus": 0.2}),
    ("stdp_pl_synapse_hom", {"lambda": 0.02, "alpha": 0.9, "mu": 0.4, "tau_plus": 15.0, "tau_minus": 25.0}),
    ("stdp_triplet_synapse", {"Wmax": 1.0}),
    ("stdp_triplet_synapse", {"Wmax": 2.0, "Aplus": 0.01, "Aplus_triplet": 0.008, "Aminus": 0.02, "Aminus_triplet": 0.002,
                              "tau_minus": 33.7, "tau_minus_triplet": 125.0}),
    ("vogels_sprekeler_synapse", {"Wmax": 1.0, "eta": 0.02}),
    ("vogels_sprekeler_synapse", {"Wmax": -1.0, "eta": 0.02, "alpha": 0.5, "tau": 30.0, "tau_minus": 10.0}),
]


def train(seed, rate):
    r, t, times = random.Random(seed), 0.0, set()
    while True:
        t += r.expovariate(rate / 1000.0)
        if t >= STOP - 100.0:
            return sorted(times)
        times.add(float(max(round(t), 2)))


def run(number, rule, params):
    nest.ResetKernel()
    nest.set_verbosity("M_ERROR")
    nest.SetKernelStatus({"resolution": 0.1})
    post_times = train(100 * number, 30.0)
    trains = [train(100 * number + 1 + i, 30.0) for i in range(len(SOURCES))]
    post = nest.Create("parrot_neuron", params={k: v for k, v in params.items() if k.startswith("tau_minus")})
    teacher = nest.Create("spike_generator", params={"spike_times": [t - 1.0 for t in post_times]})
    nest.Connect(teacher, post, syn_spec={"delay": 1.0})
    pre = nest.Create("parrot_neuron", len(SOURCES))
    recorder = nest.Create("weight_recorder")
    nest.CopyModel(rule, "rule", {"weight_recorder": recorder, **{k: v for k, v in params.items() if rule == "stdp_pl_synapse_hom"
                                                                  and not k.startswith("tau_minus")}})
    own = {} if rule == "stdp_pl_synapse_hom" else {k: v for k, v in params.items() if not k.startswith("tau_minus")}
    for i, ((delay, weight), times) in enumerate(zip(SOURCES, trains)):
        generator = nest.Create("spike_generator", params={"spike_times": [t - 1.0 for t in times]})
        nest.Connect(generator, pre[i], syn_spec={"delay": 1.0})
        spec = {"synapse_model": "rule", "delay": delay, "weight": weight * params.get("Wmax", 1.0), "receptor_type": 1, **own}
        nest.Connect(pre[i], post, syn_spec=spec)
    nest.Simulate(STOP)
    events = recorder.events
    weights = [[w for s, _, w in sorted(zip(events["senders"], events["times"], events["weights"]), key=lambda e: e[1]) if s == n]
               for n in pre.tolist()]
    assert [len(w) for w in weights] == [len(t) for t in trains]
    return {"rule": rule, "params": params, "post": post_times,
            "sources": [{"delay": d, "weight": w * params.get("Wmax", 1.0), "times": t, "weights": out}
                        for (d, w), t, out in zip(SOURCES, trains, weights)]}


def defaults(rule):
    left_out = set("""Kplus Kplus_triplet delay element_type has_delay num_connections receptor_type requires_symmetric sizeof
    synapse_model synapse_modelid weight weight_recorder""".split())
    neuron = nest.GetDefaults("iaf_psc_exp")
    taus = ["tau_minus"] + (["tau_minus_triplet"] if "triplet" in rule else [])
    return {k: v for k, v in nest.GetDefaults(rule).items() if k not in left_out} | {k: neuron[k] for k in taus}


cases = [run(i, *case) for i, case in enumerate(CASES, 1)]
for case in cases:
    flat = [w for s in case["sources"] for w in s["weights"]]
    print(case["rule"], case["params"], len(flat), "weights,", min(flat), "to", max(flat))
nest.ResetKernel()
rules = {rule: defaults(rule) for rule in sorted({rule for rule, _ in CASES})}
text = json.dumps({"stop": STOP, "dt": 0.1, "defaults": rules, "cases": cases}).replace('{"rule"', '\n{"rule"').replace('{"delay"', '\n {"delay"')
Path(__file__).with_name("nest_plasticity.json").write_text(text + "\n")
