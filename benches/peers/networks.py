"""Numbers of the networks that every peer's script builds, each once: the same networks as models/scenarios; how a script reports.

Report: one JSON line with CPU and wall seconds of the simulation alone (no construction, no compilation) per second of model time.
"""

import argparse
import json
import math
import os

POPULATIONS = ["L23E", "L23I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I"]


def options(**defaults):
    parser = argparse.ArgumentParser()
    parser.add_argument("--time", type=float, default=1000.0, help="ms of model time that are measured")
    parser.add_argument("--warmup", type=float, default=100.0, help="ms before them")
    parser.add_argument("--seed", type=int, default=1)
    for name, value in defaults.items():
        kind = {"action": "store_true"} if value is False else {"type": type(value), "default": value}
        parser.add_argument("--" + name.replace("_", "-"), **kind)
    return parser.parse_args()


def report(simulator, version, network, args, neurons, synapses, wall, cpu, rates, weights=None):
    """`weights`: the plastic weights at the end (mV), of which mean and standard deviation are given."""
    seconds = args.time / 1000.0
    plastic = {} if weights is None else {
        "weights_mv": {"n": len(weights), "mean": round(float(weights.mean()), 5), "sd": round(float(weights.std()), 5)}}
    print(json.dumps({
        "simulator": simulator, "version": version, "network": network, "threads": 1, "model_s": seconds, "neurons": int(neurons),
        "synapses": int(synapses), "cpu_s": round(cpu, 4), "wall_s": round(wall, 4), "cpu_s_per_model_s": round(cpu / seconds, 4),
        "wall_s_per_model_s": round(wall / seconds, 4), "rates_hz": {k: round(float(v), 3) for k, v in rates.items()}, **plastic,
        "load": round(os.getloadavg()[0], 2)}), flush=True)


class PD14:
    """Potjans & Diesmann 2014, doi 10.1093/cercor/bhs358, tables 4 and 5; initial potentials and delays redrawn as in the maintained NEST
    implementation; down-scaling as there: weights / sqrt(k), the mean input that is lost replaced by a current."""

    def __init__(self, n_scale, k_scale):
        full = [20683, 5834, 21915, 5479, 4850, 1065, 14395, 2948]
        external = [1600, 1500, 2100, 1900, 2000, 1900, 2900, 2100]
        probability = [  # target by source
            [0.1009, 0.1689, 0.0437, 0.0818, 0.0323, 0.0000, 0.0076, 0.0000],
            [0.1346, 0.1371, 0.0316, 0.0515, 0.0755, 0.0000, 0.0042, 0.0000],
            [0.0077, 0.0059, 0.0497, 0.1350, 0.0067, 0.0003, 0.0453, 0.0000],
            [0.0691, 0.0029, 0.0794, 0.1597, 0.0033, 0.0000, 0.1057, 0.0000],
            [0.1004, 0.0622, 0.0505, 0.0057, 0.0831, 0.3726, 0.0204, 0.0000],
            [0.0548, 0.0269, 0.0257, 0.0022, 0.0600, 0.3158, 0.0086, 0.0000],
            [0.0156, 0.0066, 0.0211, 0.0166, 0.0572, 0.0197, 0.0396, 0.2252],
            [0.0364, 0.0010, 0.0034, 0.0005, 0.0277, 0.0080, 0.0658, 0.1443]]
        rates = [0.903, 2.965, 4.414, 5.876, 7.569, 8.633, 1.105, 7.829]  # Hz at full scale, for the compensation
        self.initial = [(-68.28, 5.36), (-63.16, 4.57), (-63.33, 4.74), (-63.45, 4.94), (-63.11, 4.94), (-61.66, 4.55), (-66.72, 5.46),
                        (-61.43, 4.48)]
        self.C_m, self.tau_m, self.tau_syn, self.E_L, self.V_th, self.V_reset, self.t_ref = 250.0, 10.0, 0.5, -65.0, -50.0, -65.0, 2.0
        self.weight_std, self.delay, self.delay_std, self.rate_ext = 0.1, (1.5, 0.75), 0.5, 8.0
        a, b = self.tau_m, self.tau_syn
        peak = (a / b) ** (a / (b - a)) - (a / b) ** (b / (b - a))
        w = 0.15 * self.C_m * (b - a) / (a * b * peak)  # 87.8 pA for 0.15 mV
        root = math.sqrt(k_scale)
        self.n = [round(x * n_scale) for x in full]
        self.k_ext = [round(x * k_scale) for x in external]
        self.w_ext = w / root
        self.synapses, self.w, self.dc = [], [], []
        for t in range(8):
            totals, weights, lost = [], [], external[t] * self.rate_ext * w
            for s in range(8):
                total = math.log(1.0 - probability[t][s]) / math.log(1.0 - 1.0 / (full[t] * full[s]))
                weight = w * (-4.0 if s % 2 else 2.0 if (t, s) == (0, 2) else 1.0)
                lost += total / full[t] * rates[s] * weight
                totals.append(round(total * n_scale * k_scale))
                weights.append(weight / root)
            self.synapses.append(totals)
            self.w.append(weights)
            self.dc.append((1.0 - root) * lost * self.tau_syn * 1e-3)


class Brunel:
    """Brunel 2000, doi 10.1023/A:1008925309027, asynchronous irregular regime; in-degree a tenth of the network. With plastic synapses
    among excitatory neurons their weights start at J and follow van Rossum, Bi & Turrigiano 2000, doi
    10.1523/JNEUROSCI.20-23-08812.2000 (NEST's stdp_synapse, mu_plus 0, mu_minus 1), all pairs: a spike of the target adds rate * W_max
    * trace of the source, a spike of the source takes alpha * rate * weight * trace of the target; both keep to 0 ... W_max."""

    def __init__(self, n_exc=9016, n_inh=2254, plastic=False):
        self.name = "brunel_stdp" if plastic else "brunel_2000 AI"
        self.n_exc, self.n_inh = n_exc, n_inh
        self.k_exc, self.k_inh = n_exc // 10, n_inh // 10
        self.J, self.g, self.eta = 0.1, 5.0, 2.0
        self.tau_m, self.V_th, self.V_reset, self.t_ref, self.delay = 20.0, 20.0, 10.0, 2.0, 1.5
        self.rate_ext = self.eta * 1000.0 * self.V_th / (self.J * self.tau_m)  # Hz, all external synapses of a neuron
        self.rate, self.alpha, self.W_max, self.tau_plus, self.tau_minus = 0.01, 2.0, 2.0 * self.J, 20.0, 20.0


class VogelsAbbott:
    """4,000 neurons times `size`, each with the same 80 inputs on average whatever the size."""

    t_ref, V_th, V_reset, V_low, V_high, delay = 5.0, -50.0, -60.0, -60.0, -50.0, 0.1
    C_m, tau_ex, tau_in = 200.0, 5.0, 10.0

    def __init__(self, size=1):
        self.n_exc, self.n_inh, self.p = 3200 * size, 800 * size, 0.02 / size

    def pairs(self, rng):
        """Source and target of every synapse: each pair of two neurons with probability p, drawn by the gaps between them."""
        n = self.n_exc + self.n_inh
        possible = n * (n - 1)
        expected = possible * self.p
        place = rng.geometric(self.p, int(expected + 10.0 * math.sqrt(expected))).cumsum() - 1
        source, target = divmod(place[place < possible], n - 1)
        return source, target + (target >= source)


class Cuba(VogelsAbbott):
    """Vogels & Abbott 2005, benchmark 2 of Brette et al. 2007, doi 10.1007/s10827-007-0038-6."""

    tau_m, E_L = 20.0, -49.0
    w_exc, w_inh = 0.27 * 60.0, -4.5 * 20.0  # pA


class Coba(VogelsAbbott):
    """Benchmark 1 of the same review; stimulus as in NEST's coba.py, 50 sources (times `size`) of one synapse each."""

    g_L, E_L, E_ex, E_in = 10.0, -60.0, 0.0, -80.0
    w_exc, w_inh = 6.0, -67.0  # nS
    rate_stimulus, start, stop = 300.0, 1.0, 51.0

    def __init__(self, size=1):
        super().__init__(size)
        self.n_stimulus = 50 * size
