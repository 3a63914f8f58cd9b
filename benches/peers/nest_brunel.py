"""Brunel 2000 (12.7 million synapses) on NEST: python nest_brunel.py"""

import nest
import nest_common
from networks import Brunel, options, report

args = options(n_exc=9016, n_inh=2254)
net = Brunel(args.n_exc, args.n_inh)
nest_common.start(args)
params = {"tau_m": net.tau_m, "t_ref": net.t_ref, "E_L": 0.0, "V_th": net.V_th, "V_reset": net.V_reset, "V_m": 0.0}
exc = nest.Create("iaf_psc_delta", net.n_exc, params=params)
inh = nest.Create("iaf_psc_delta", net.n_inh, params=params)
everyone = exc + inh
noise = nest.Create("poisson_generator", params={"rate": net.rate_ext})
nest.Connect(noise, everyone, syn_spec={"weight": net.J, "delay": net.delay})
nest.Connect(exc, everyone, {"rule": "fixed_indegree", "indegree": net.k_exc}, {"weight": net.J, "delay": net.delay})
nest.Connect(inh, everyone, {"rule": "fixed_indegree", "indegree": net.k_inh}, {"weight": -net.g * net.J, "delay": net.delay})
wall, cpu, rates = nest_common.run(args, {"E": exc, "I": inh})
n = net.n_exc + net.n_inh
report("NEST", nest_common.version(), "brunel_2000 AI", args, n, n * (net.k_exc + net.k_inh), wall, cpu, rates)
