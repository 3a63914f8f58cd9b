"""CUBA, 4,000 neurons times a size, on NEST: python nest_cuba.py [--size 10]"""

import nest
import nest_common
import numpy as np
from networks import Cuba, options, report

args = options(size=1)
net = Cuba(args.size)
nest_common.start(args)
params = {"C_m": net.C_m, "tau_m": net.tau_m, "tau_syn_ex": net.tau_ex, "tau_syn_in": net.tau_in, "t_ref": net.t_ref, "E_L": net.E_L,
          "V_th": net.V_th, "V_reset": net.V_reset, "V_m": nest.random.uniform(net.V_low, net.V_high)}
exc, inh = nest.Create("iaf_psc_exp", net.n_exc, params=params), nest.Create("iaf_psc_exp", net.n_inh, params=params)
synapses = nest_common.connect(net, np.random.default_rng(args.seed), exc, inh)
wall, cpu, rates = nest_common.run(args, {"E": exc, "I": inh})
report("NEST", nest_common.version(), f"vogels_abbott_cuba x {args.size}", args, net.n_exc + net.n_inh, synapses, wall, cpu, rates)
