"""COBA, 4,000 neurons times a size, on NEST (iaf_cond_exp, adaptive Runge-Kutta-Fehlberg steps): python nest_coba.py [--size 1]"""

import nest
import nest_common
import numpy as np
from networks import Coba, options, report

args = options(size=1)
net = Coba(args.size)
nest_common.start(args)
params = {"C_m": net.C_m, "g_L": net.g_L, "tau_syn_ex": net.tau_ex, "tau_syn_in": net.tau_in, "t_ref": net.t_ref, "E_L": net.E_L,
          "E_ex": net.E_ex, "E_in": net.E_in, "V_th": net.V_th, "V_reset": net.V_reset, "V_m": nest.random.uniform(net.V_low, net.V_high)}
exc, inh = nest.Create("iaf_cond_exp", net.n_exc, params=params), nest.Create("iaf_cond_exp", net.n_inh, params=params)
synapses = nest_common.connect(net, np.random.default_rng(args.seed), exc, inh)
stimulus = nest.Create("poisson_generator", params={"rate": net.rate_stimulus, "start": net.start, "stop": net.stop})
nest.Connect(stimulus, exc, {"rule": "fixed_outdegree", "outdegree": net.n_stimulus}, {"weight": net.w_exc, "delay": net.delay})
wall, cpu, rates = nest_common.run(args, {"E": exc, "I": inh})
report("NEST", nest_common.version(), f"vogels_abbott_coba x {args.size}", args, net.n_exc + net.n_inh, synapses, wall, cpu, rates)
