"""Brunel 2000 (12.7 million synapses) on NEST, its excitatory synapses plastic if asked: python nest_brunel.py [--plastic]

The weights that it reports are those of the first 200 sources; NEST changes a weight when its source fires, so that what the target's
spikes since then will add is not in them."""

import nest
import nest_common
import numpy as np
from networks import Brunel, options, report

args = options(n_exc=9016, n_inh=2254, plastic=False)
net = Brunel(args.n_exc, args.n_inh, args.plastic)
nest_common.start(args)
params = {"tau_m": net.tau_m, "t_ref": net.t_ref, "E_L": 0.0, "V_th": net.V_th, "V_reset": net.V_reset, "V_m": 0.0}
exc = nest.Create("iaf_psc_delta", net.n_exc, params={**params, "tau_minus": net.tau_minus})
inh = nest.Create("iaf_psc_delta", net.n_inh, params=params)
everyone = exc + inh
noise = nest.Create("poisson_generator", params={"rate": net.rate_ext})
nest.Connect(noise, everyone, syn_spec={"weight": net.J, "delay": net.delay})
from_exc = {"rule": "fixed_indegree", "indegree": net.k_exc}
if args.plastic:
    nest.CopyModel("stdp_synapse", "plastic", {"Wmax": net.W_max, "lambda": net.rate, "alpha": net.alpha, "mu_plus": 0.0, "mu_minus": 1.0,
                                               "tau_plus": net.tau_plus, "weight": net.J, "delay": net.delay})
    nest.Connect(exc, exc, from_exc, {"synapse_model": "plastic"})
    nest.Connect(exc, inh, from_exc, {"weight": net.J, "delay": net.delay})
else:
    nest.Connect(exc, everyone, from_exc, {"weight": net.J, "delay": net.delay})
nest.Connect(inh, everyone, {"rule": "fixed_indegree", "indegree": net.k_inh}, {"weight": -net.g * net.J, "delay": net.delay})
wall, cpu, rates = nest_common.run(args, {"E": exc, "I": inh})
weights = np.array(nest.GetConnections(exc[:200], exc, "plastic").get("weight")) if args.plastic else None
n = net.n_exc + net.n_inh
report("NEST", nest_common.version(), net.name, args, n, n * (net.k_exc + net.k_inh), wall, cpu, rates, weights)
