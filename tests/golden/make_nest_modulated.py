"""Writes nest_modulated.json: the weights that NEST 3.10.0 transmits by rules that read more than spikes, at every spike of the source.

    pip install nest-simulator==3.10.0
    python tests/golden/make_nest_modulated.py

stdp_dopamine_synapse: one target that spikes at given times, sources with own delays and trains, and dopaminergic spikes that reach the
volume transmitter at `jumps` (ms). clopath_synapse: a target driven by currents, sources with weights far too small to move it. Times
are whole milliseconds and delays whole or half ones, so that events often meet at the synapse; tau_minus is listed with the rule.
"""

import json
import random
from pathlib import Path

import nest

STOP = 1500.0
SOURCES = [(1.0, 0.5), (1.5, 0.2), (3.0, 0.9), (0.1, 0.6), (12.0, 0.35), (40.0, 0.5)]  # delay ms, weight relative to Wmax

DOPAMINE = [
    {"Wmax": 1.0, "A_plus": 0.02, "A_minus": 0.03, "tau_c": 200.0, "tau_n": 50.0},
    {"Wmax": 200.0, "A_plus": 1.0, "A_minus": 1.5},
    {"Wmax": 2.0, "Wmin": 0.2, "A_plus": 0.1, "A_minus": 0.05, "tau_c": 500.0, "tau_n": 100.0, "b": 0.01, "tau_plus": 15.0, "tau_minus": 33.0},
]
CLOPATH = [
    ({"Wmax": 0.1}, {}, [(100.0, 400.0, 700.0), (600.0, 1300.0, 900.0)]),
    ({"Wmax": 0.05, "Wmin": 0.001, "tau_x": 10.0}, {"A_LTD": 5e-4, "A_LTP": 3e-4, "theta_plus": -50.0, "theta_minus": -68.0},
     [(50.0, 1400.0, 800.0)]),
    ({"Wmax": 0.1}, {"A_LTD_const": False, "u_ref_squared": 3600.0, "A_LTD": 2e-4}, [(100.0, 700.0, 1000.0), (900.0, 1200.0, 600.0)]),
]


def train(seed, rate, stop=STOP - 100.0):
    r, t, times = random.Random(seed), 0.0, set()
    while True:
        t += r.expovariate(rate / 1000.0)
        if t >= stop:
            return sorted(times)
        times.add(float(max(round(t), 2)))


def parrots(trains):
    """Neurons that spike at given times."""
    neurons = nest.Create("parrot_neuron", len(trains))
    for neuron, times in zip(neurons, trains):
        generator = nest.Create("spike_generator", params={"spike_times": [t - 1.0 for t in times]})
        nest.Connect(generator, neuron, syn_spec={"delay": 1.0})
    return neurons


def collect(recorder, pre, trains, scale):
    e = recorder.events
    events = sorted(zip(e["times"], e["senders"], e["weights"]))
    out = []
    for (delay, weight), times, n in zip(SOURCES, trains, pre.tolist()):
        weights = [w for _, s, w in events if s == n]
        assert len(weights) == len(times)
        out.append({"delay": delay, "weight": weight * scale, "times": times, "weights": weights})
    return out


def reset():
    nest.ResetKernel()
    nest.set_verbosity("M_ERROR")
    nest.SetKernelStatus({"resolution": 0.1})


def dopamine(number, params):
    reset()
    post_times, jumps = train(1000 * number, 30.0), train(1000 * number + 500, 20.0)
    trains = [train(1000 * number + 1 + i, 30.0) for i in range(len(SOURCES))]
    post, = parrots([post_times]),
    post.set({k: v for k, v in params.items() if k == "tau_minus"})
    # Two dopaminergic neurons; some of their spikes coincide.
    twice = [t for i, t in enumerate(jumps) if i % 4 == 0]
    neurons = parrots([[t - 1.0 for t in jumps], [t - 1.0 for t in twice]])
    transmitter = nest.Create("volume_transmitter")
    nest.Connect(neurons, transmitter, syn_spec={"delay": 1.0})
    pre, recorder = parrots(trains), nest.Create("weight_recorder")
    own = {k: v for k, v in params.items() if k != "tau_minus"}
    nest.CopyModel("stdp_dopamine_synapse", "rule", {"weight_recorder": recorder, "volume_transmitter": transmitter, **own})
    for source, (delay, weight) in zip(pre, SOURCES):
        nest.Connect(source, post, syn_spec={"synapse_model": "rule", "delay": delay, "weight": weight * params["Wmax"], "receptor_type": 1})
    nest.Simulate(STOP)
    times = sorted(jumps + twice)
    return {"rule": "stdp_dopamine_synapse", "params": params, "post": post_times, "jumps": times,
            "sources": collect(recorder, pre, trains, params["Wmax"])}


def clopath(number, params, neuron, current):
    reset()
    trains = [train(2000 * number + 1 + i, 30.0) for i in range(len(SOURCES))]
    post = nest.Create("aeif_psc_delta_clopath", params={"gsl_error_tol": 1e-9, "delay_u_bars": 0.0, **neuron})
    spikes = nest.Create("spike_recorder")
    nest.Connect(post, spikes)
    pre, recorder = parrots(trains), nest.Create("weight_recorder")
    nest.CopyModel("clopath_synapse", "rule", {"weight_recorder": recorder})
    for source, (delay, weight) in zip(pre, SOURCES):
        nest.Connect(source, post, syn_spec={"synapse_model": "rule", "delay": delay, "weight": weight * params["Wmax"], **params})
    edges = sorted({0.0, STOP} | {c[0] for c in current} | {c[1] for c in current})
    with nest.RunManager():
        for a, b in zip(edges, edges[1:]):
            post.set(I_e=sum(i for start, stop, i in current if start <= a and b <= stop))
            nest.Run(b - a)
    neuron = {k: float(v) for k, v in neuron.items()}
    return {"rule": "clopath_synapse", "params": params, "neuron": neuron, "current": current, "spikes": [round(t, 1) for t in spikes.events["times"]],
            "sources": collect(recorder, pre, trains, params["Wmax"])}


def defaults(rule, neuron):
    left_out = set("""Kplus c n x_bar delay element_type has_delay num_connections receptor_type requires_symmetric sizeof synapse_model
    synapse_modelid weight weight_recorder volume_transmitter""".split())
    return {k: v for k, v in nest.GetDefaults(rule).items() if k not in left_out} | neuron


cases = [dopamine(i, p) for i, p in enumerate(DOPAMINE, 1)] + [clopath(i, *c) for i, c in enumerate(CLOPATH, 1)]
for case in cases:
    flat = [w for s in case["sources"] for w in s["weights"]]
    print(case["rule"], case["params"], len(flat), "weights,", min(flat), "to", max(flat), len(case.get("spikes", case.get("jumps"))))
nest.ResetKernel()
rules = {"stdp_dopamine_synapse": defaults("stdp_dopamine_synapse", {"tau_minus": 20.0}), "clopath_synapse": defaults("clopath_synapse", {})}
text = json.dumps({"stop": STOP, "dt": 0.1, "defaults": rules, "cases": cases}).replace('{"rule"', '\n{"rule"').replace('{"delay"', '\n {"delay"')
Path(__file__).with_name("nest_modulated.json").write_text(text + "\n")
