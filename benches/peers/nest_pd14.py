"""Potjans & Diesmann 2014 on NEST: python nest_pd14.py --scale 0.1"""

import nest
import nest_common
from networks import PD14, POPULATIONS, options, report

args = options(scale=0.1)
net = PD14(args.scale, args.scale)
nest_common.start(args)
cells = []
for i in range(8):
    mean, std = net.initial[i]
    cells.append(nest.Create("iaf_psc_exp", net.n[i], params={
        "C_m": net.C_m, "tau_m": net.tau_m, "tau_syn_ex": net.tau_syn, "tau_syn_in": net.tau_syn, "E_L": net.E_L, "V_th": net.V_th,
        "V_reset": net.V_reset, "t_ref": net.t_ref, "I_e": net.dc[i], "V_m": nest.random.normal(mean, std)}))
    source = nest.Create("poisson_generator", params={"rate": net.rate_ext * net.k_ext[i]})
    nest.Connect(source, cells[i], syn_spec={"weight": net.w_ext, "delay": 0.1})
for t in range(8):
    for s in range(8):
        if net.synapses[t][s]:
            w, d = net.w[t][s], net.delay[s % 2]
            low, high = (0.0, float("inf")) if w > 0 else (-float("inf"), 0.0)
            nest.Connect(cells[s], cells[t], {"rule": "fixed_total_number", "N": net.synapses[t][s]}, {
                "weight": nest.math.redraw(nest.random.normal(w, abs(w) * net.weight_std), low, high),
                "delay": nest.math.redraw(nest.random.normal(d, d * net.delay_std), 0.05, float("inf"))})
wall, cpu, rates = nest_common.run(args, dict(zip(POPULATIONS, cells)))
report("NEST", nest_common.version(), f"potjans_diesmann_2014 x {args.scale}", args, sum(net.n), sum(map(sum, net.synapses)), wall, cpu, rates)
