"""CUBA, 4,000 neurons, on NEST: python nest_cuba.py"""

import nest
import nest_common
from networks import Cuba as net
from networks import options, report

args = options()
nest_common.start(args)
params = {"C_m": net.C_m, "tau_m": net.tau_m, "tau_syn_ex": net.tau_ex, "tau_syn_in": net.tau_in, "t_ref": net.t_ref, "E_L": net.E_L,
          "V_th": net.V_th, "V_reset": net.V_reset, "V_m": nest.random.uniform(net.V_low, net.V_high)}
exc, inh = nest.Create("iaf_psc_exp", net.n_exc, params=params), nest.Create("iaf_psc_exp", net.n_inh, params=params)
for source, weight in ((exc, net.w_exc), (inh, net.w_inh)):
    nest.Connect(source, exc + inh, {"rule": "pairwise_bernoulli", "p": net.p, "allow_autapses": False},
                 {"weight": weight, "delay": net.delay})
synapses = nest.num_connections
wall, cpu, rates = nest_common.run(args, {"E": exc, "I": inh})
report("NEST", nest_common.version(), "vogels_abbott_cuba", args, net.n_exc + net.n_inh, synapses, wall, cpu, rates)
