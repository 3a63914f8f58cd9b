"""Brunel 2000 (12.7 million synapses) on Brian2 (C++ standalone): python brian2_brunel.py"""

import brian2_common
import numpy as np
from brian2 import Hz, NeuronGroup, PoissonInput, SpikeMonitor, Synapses, ms, mV
from networks import Brunel, options, report

args = options(n_exc=9016, n_inh=2254)
net = Brunel(args.n_exc, args.n_inh)
directory = brian2_common.start(args)
rng = np.random.default_rng(args.seed)
n = net.n_exc + net.n_inh
namespace = {"tau_m": net.tau_m * ms, "V_th": net.V_th * mV, "V_reset": net.V_reset * mV, "J": net.J * mV, "gJ": net.g * net.J * mV}
cells = NeuronGroup(n, "dv/dt = -v/tau_m : volt (unless refractory)", threshold="v >= V_th", reset="v = V_reset",
                    refractory=(net.t_ref + 0.1) * ms, method="exact", namespace=namespace)
cells.v = 0 * mV
external = 1000
drive = PoissonInput(cells, "v", external, net.rate_ext / external * Hz, net.J * mV)
groups = []
for low, high, k, effect in ((0, net.n_exc, net.k_exc, "v_post += J"), (net.n_exc, n, net.k_inh, "v_post -= gJ")):
    s = Synapses(cells, cells, on_pre=effect, delay=net.delay * ms, namespace=namespace)
    s.connect(i=rng.integers(low, high, n * k), j=np.repeat(np.arange(n), k))
    groups.append(s)
spikes = SpikeMonitor(cells)
wall, cpu, rates = brian2_common.simulate(args, directory, [cells, drive, *groups], spikes, {"E": (0, net.n_exc), "I": (net.n_exc, net.n_inh)})
report("Brian2 C++ standalone", brian2_common.version(), "brunel_2000 AI", args, n, n * (net.k_exc + net.k_inh), wall, cpu, rates)
