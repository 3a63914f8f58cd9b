"""Potjans & Diesmann 2014 on Brian2 (C++ standalone): python brian2_pd14.py --scale 0.1"""

import brian2_common
import numpy as np
from brian2 import Hz, NeuronGroup, PoissonInput, SpikeMonitor, Synapses, ms, mV, pA, pF
from networks import PD14, POPULATIONS, options, report

args = options(scale=0.1)
net = PD14(args.scale, args.scale)
directory = brian2_common.start(args)
rng = np.random.default_rng(args.seed)
first = np.concatenate([[0], np.cumsum(net.n)])
namespace = {"tau_m": net.tau_m * ms, "tau_syn": net.tau_syn * ms, "C_m": net.C_m * pF, "V_th": net.V_th * mV, "V_reset": net.V_reset * mV,
             "E_L": net.E_L * mV}
cells = NeuronGroup(int(first[-1]), """
dv/dt = (E_L - v)/tau_m + (I + dc)/C_m : volt (unless refractory)
dI/dt = -I/tau_syn : amp
dc : amp (constant)""", threshold="v >= V_th", reset="v = V_reset", refractory=(net.t_ref + 0.1) * ms, method="exact", namespace=namespace)
cells.v = np.concatenate([rng.normal(*net.initial[i], net.n[i]) for i in range(8)]) * mV
cells.dc = np.repeat(net.dc, net.n) * pA
drives = [PoissonInput(cells[first[i]:first[i + 1]], "I", net.k_ext[i], net.rate_ext * Hz, net.w_ext * pA) for i in range(8)]


def redraw(mean, std, n, low, high):
    x = rng.normal(mean, std, n)
    while (bad := (x < low) | (x > high)).any():
        x[bad] = rng.normal(mean, std, bad.sum())
    return x


source, target, weight, delay = [], [], [], []
for t in range(8):
    for s in range(8):
        n, w, d = net.synapses[t][s], net.w[t][s], net.delay[s % 2]
        source.append(rng.integers(first[s], first[s + 1], n))
        target.append(rng.integers(first[t], first[t + 1], n))
        weight.append(redraw(w, abs(w) * net.weight_std, n, *((0.0, np.inf) if w > 0 else (-np.inf, 0.0))))
        delay.append(redraw(d, d * net.delay_std, n, 0.05, np.inf))
synapses = Synapses(cells, cells, "w : amp (constant)", on_pre="I_post += w")
synapses.connect(i=np.concatenate(source), j=np.concatenate(target))
synapses.w = np.concatenate(weight) * pA
synapses.delay = np.maximum(np.round(np.concatenate(delay) * 10.0), 1.0) * 0.1 * ms
spikes = SpikeMonitor(cells)
where = {POPULATIONS[i]: (first[i], net.n[i]) for i in range(8)}
wall, cpu, rates = brian2_common.simulate(args, directory, [cells, synapses, *drives], spikes, where)
report("Brian2 C++ standalone", brian2_common.version(), f"potjans_diesmann_2014 x {args.scale}", args, sum(net.n),
       sum(map(sum, net.synapses)), wall, cpu, rates)
