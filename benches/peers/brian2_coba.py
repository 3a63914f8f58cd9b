"""COBA, 4,000 neurons times a size, on Brian2 (C++ standalone): python brian2_coba.py [--size 1]

Integrated by exponential_euler, which is what Brian2 chooses for these equations itself."""

import brian2_common
import numpy as np
from brian2 import Hz, NeuronGroup, PoissonGroup, SpikeMonitor, Synapses, ms, mV, nS, pF
from networks import Coba, options, report

args = options(size=1)
net = Coba(args.size)
directory = brian2_common.start(args)
rng = np.random.default_rng(args.seed)
n = net.n_exc + net.n_inh
namespace = {"C_m": net.C_m * pF, "g_L": net.g_L * nS, "tau_ex": net.tau_ex * ms, "tau_in": net.tau_in * ms, "E_L": net.E_L * mV,
             "E_ex": net.E_ex * mV, "E_in": net.E_in * mV, "V_th": net.V_th * mV, "V_reset": net.V_reset * mV, "w_exc": net.w_exc * nS,
             "w_inh": -net.w_inh * nS, "rate": net.rate_stimulus * Hz, "start": net.start * ms, "stop": net.stop * ms}
cells = NeuronGroup(n, """
dv/dt = (g_L*(E_L - v) + g_ex*(E_ex - v) + g_in*(E_in - v))/C_m : volt (unless refractory)
dg_ex/dt = -g_ex/tau_ex : siemens
dg_in/dt = -g_in/tau_in : siemens""", threshold="v >= V_th", reset="v = V_reset", refractory=(net.t_ref + 0.1) * ms,
                    method="exponential_euler", namespace=namespace)
cells.v = rng.uniform(net.V_low, net.V_high, n) * mV
source, target = net.pairs(rng)
groups = brian2_common.connect(cells, net, source, target, ("g_ex_post += w_exc", "g_in_post += w_inh"), namespace)
stimulus = PoissonGroup(net.n_stimulus, "rate*int(t >= start)*int(t < stop)", namespace=namespace)
s = Synapses(stimulus, cells, on_pre="g_ex_post += w_exc", delay=net.delay * ms, namespace=namespace)
s.connect(i=np.arange(net.n_stimulus), j=rng.integers(0, net.n_exc, net.n_stimulus))
spikes = SpikeMonitor(cells)
wall, cpu, rates = brian2_common.simulate(args, directory, [cells, *groups, stimulus, s], spikes,
                                          {"E": (0, net.n_exc), "I": (net.n_exc, net.n_inh)})
report("Brian2 C++ standalone", brian2_common.version(), f"vogels_abbott_coba x {args.size}", args, n, len(source), wall, cpu, rates)
