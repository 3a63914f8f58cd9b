"""CUBA, 4,000 neurons times a size, on Brian2 (C++ standalone): python brian2_cuba.py [--size 10]"""

import brian2_common
import numpy as np
from brian2 import NeuronGroup, SpikeMonitor, ms, mV, pA, pF
from networks import Cuba, options, report

args = options(size=1)
net = Cuba(args.size)
directory = brian2_common.start(args)
rng = np.random.default_rng(args.seed)
n = net.n_exc + net.n_inh
namespace = {"C_m": net.C_m * pF, "tau_m": net.tau_m * ms, "tau_ex": net.tau_ex * ms, "tau_in": net.tau_in * ms, "E_L": net.E_L * mV,
             "V_th": net.V_th * mV, "V_reset": net.V_reset * mV, "w_exc": net.w_exc * pA, "w_inh": net.w_inh * pA}
cells = NeuronGroup(n, """
dv/dt = (E_L - v)/tau_m + (I_ex + I_in)/C_m : volt (unless refractory)
dI_ex/dt = -I_ex/tau_ex : amp
dI_in/dt = -I_in/tau_in : amp""", threshold="v >= V_th", reset="v = V_reset", refractory=(net.t_ref + 0.1) * ms, method="exact",
                    namespace=namespace)
cells.v = rng.uniform(net.V_low, net.V_high, n) * mV
source, target = net.pairs(rng)
groups = brian2_common.connect(cells, net, source, target, ("I_ex_post += w_exc", "I_in_post += w_inh"), namespace)
spikes = SpikeMonitor(cells)
wall, cpu, rates = brian2_common.simulate(args, directory, [cells, *groups], spikes, {"E": (0, net.n_exc), "I": (net.n_exc, net.n_inh)})
report("Brian2 C++ standalone", brian2_common.version(), f"vogels_abbott_cuba x {args.size}", args, n, len(source), wall, cpu, rates)
