"""Brunel 2000 (12.7 million synapses) on Brian2 (C++ standalone), its excitatory synapses plastic if asked:
python brian2_brunel.py [--plastic]

NEST counts a spike of the source when it is fired and one of the target the delay later; here everything waits for the delay once more,
so that pairs and the weight that arrives are the same: the source's spikes depress, then arrive after the delay, the target's count
after twice the delay."""

import brian2_common
import numpy as np
from brian2 import Hz, NeuronGroup, PoissonInput, SpikeMonitor, Synapses, ms, mV
from networks import Brunel, options, report

args = options(n_exc=9016, n_inh=2254, plastic=False)
net = Brunel(args.n_exc, args.n_inh, args.plastic)
directory = brian2_common.start(args)
rng = np.random.default_rng(args.seed)
n = net.n_exc + net.n_inh
namespace = {"tau_m": net.tau_m * ms, "V_th": net.V_th * mV, "V_reset": net.V_reset * mV, "J": net.J * mV, "gJ": net.g * net.J * mV,
             "tau_plus": net.tau_plus * ms, "tau_minus": net.tau_minus * ms, "W_max": net.W_max * mV,
             "potentiation": net.rate * net.W_max * mV, "depression": net.alpha * net.rate}
cells = NeuronGroup(n, "dv/dt = -v/tau_m : volt (unless refractory)", threshold="v >= V_th", reset="v = V_reset",
                    refractory=(net.t_ref + 0.1) * ms, method="exact", namespace=namespace)
cells.v = 0 * mV
external = 1000
drive = PoissonInput(cells, "v", external, net.rate_ext / external * Hz, net.J * mV)
stdp = {"model": """
w : volt
dapre/dt = -apre/tau_plus : 1 (event-driven)
dapost/dt = -apost/tau_minus : 1 (event-driven)""", "on_pre": """
w = clip(w - depression*w*apost, 0*volt, W_max)
v_post += w
apre += 1""", "on_post": """
w = clip(w + potentiation*apre, 0*volt, W_max)
apost += 1""", "delay": {"pre": net.delay * ms, "post": 2 * net.delay * ms}}
exc, inh = (0, net.n_exc, net.k_exc), (net.n_exc, n, net.k_inh)


def connect(sources, low, high, **rule):
    """The neurons low ... high - 1, each with inputs of all `sources`, a range and an in-degree."""
    first, last, k = sources
    s = Synapses(cells, cells, namespace=namespace, **{"delay": net.delay * ms, **rule})
    s.connect(i=rng.integers(first, last, (high - low) * k), j=np.repeat(np.arange(low, high), k))
    return s


groups = [connect(inh, 0, n, on_pre="v_post -= gJ")]
if args.plastic:
    plastic = connect(exc, 0, net.n_exc, **stdp)
    plastic.w = net.J * mV
    groups += [plastic, connect(exc, net.n_exc, n, on_pre="v_post += J")]
else:
    groups.append(connect(exc, 0, n, on_pre="v_post += J"))
spikes = SpikeMonitor(cells)
where = {"E": (0, net.n_exc), "I": (net.n_exc, net.n_inh)}
wall, cpu, rates = brian2_common.simulate(args, directory, [cells, drive, *groups], spikes, where)
weights = np.asarray(plastic.w[:] / mV) if args.plastic else None
report("Brian2 C++ standalone", brian2_common.version(), net.name, args, n, n * (net.k_exc + net.k_inh), wall, cpu, rates, weights)
