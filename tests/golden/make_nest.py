"""Writes nest/<model>.json: what NEST 3.10.0 does with one neuron (or synapse) of each model on fixed drives.

    pip install nest-simulator==3.10.0 scipy
    python tests/golden/make_nest.py            # all files;  python tests/golden/make_nest.py alif  # some

Models that NEST lacks (diehl_cook, qif_psc_delta) are integrated here by scipy's DOP853 (rtol 1e-12) instead, step by step, with
the same schedule. Conventions, as in src/engine/mod.rs: a spike is stamped with the end of its step; a trace value at t is the
state at the end of (t - dt, t]; an input spike of time s arrives in the step that ends at s + delay; a current given for
(from, to] acts in the steps that end in it.
"""

import json
import random
import sys
from pathlib import Path

import numpy as np
from scipy.integrate import solve_ivp

OUT = Path(__file__).parent / "nest"

EXC = [10.0, 30.0, 35.0, 40.0, 60.0, 61.0, 62.0, 63.0, 64.0, 120.0, 121.0, 122.0, 150.0, 150.0, 150.0]
INH = [20.0, 58.0, 100.0, 105.0, 122.0]
# Status entries of NEST that are no parameters of the dynamics.
NO_PARAMETER = set("""Ca archiver_length available beta_Ca capacity element_type elementsize frozen global_id ignore_and_spike
ignore_and_spike_interval ignore_and_spike_offset instantiations local model model_id node_uses_wfr post_trace recordables
synaptic_elements t_spike tau_Ca tau_minus tau_minus_triplet thread thread_local_id type_id vp delay has_delay num_connections
receptor_type requires_symmetric sizeof synapse_model synapse_modelid weight weight_recorder has_connections n_receptors
n_synapses""".split())


def poisson_train(seed, rate, stop):
    """Times on the 0.1 ms grid from Python's own generator, so that the file says all there is to know."""
    r, t, times = random.Random(seed), 0.0, []
    while True:
        t += r.expovariate(rate / 1000.0)
        if t >= stop - 2.0:
            return times
        times.append(max(round(t, 1), 0.1))


def case(name, stop, params=None, dt=0.1, every=2.0, current=(), exc=0.0, inh=0.0, noise=None, settle=0.0):
    """exc, inh: weights of the reference trains; noise: (seed, rate exc, rate inh, weight exc, weight inh), Hz; settle: see run_nest."""
    inputs = []
    if exc:
        inputs.append({"weight": exc, "delay": 1.0, "times": EXC})
    if inh:
        inputs.append({"weight": inh, "delay": 1.0, "times": INH})
    if noise:
        seed, rate_ex, rate_in, w_ex, w_in = noise
        inputs.append({"weight": w_ex, "delay": 1.5, "times": poisson_train(seed, rate_ex, stop)})
        inputs.append({"weight": w_in, "delay": 0.5, "times": poisson_train(seed + 1, rate_in, stop)})
    return {"name": name, "dt": dt, "stop": stop, "params": params or {}, "current": [list(c) for c in current], "inputs": inputs,
            "every": every, "settle": settle}


def standard(weight_ex, weight_in, amp, noise, second, second_amp=None, common=None):
    """The protocols every model gets: constant current, step, spikes, a finer grid; and a second parameter set under current and
    under a barrage."""
    c = common or {}
    return [
        case("dc", 200.0, dict(c), current=[(0.0, 200.0, amp)]),
        case("step", 250.0, dict(c), current=[(50.0, 150.0, amp), (200.0, 220.0, -amp / 2)]),
        case("fine", 100.0, dict(c), dt=0.02, current=[(0.0, 100.0, amp)], exc=weight_ex),
        case("syn", 200.0, dict(c), exc=weight_ex, inh=weight_in),
        case("second", 200.0, {**c, **second}, current=[(0.0, 200.0, second_amp or amp)], exc=weight_ex / 2, inh=weight_in),
        case("noise", 400.0, {**c, **second}, noise=noise, every=4.0),
    ]


def receptors(stop, params, weights, rates=(), dt=0.1, every=2.0, name="receptors", **more):
    """Trains through receptors 1 to 4, the reference's own or (rates, Hz) random ones; parameters of receptors are lists of four."""
    flat = {k: v for k, v in params.items() if not isinstance(v, tuple)}
    flat.update({f"{k}_{i + 1}": x for k, v in params.items() if isinstance(v, tuple) for i, x in enumerate(v)})
    own = [EXC, INH, [t + 0.3 for t in INH], [5.0, 90.0]]
    trains = [poisson_train(40 + i, rate, stop) for i, rate in enumerate(rates)] or [[t for t in train if t < stop - 2] for train in own]
    k = case(name, stop, flat, dt=dt, every=every, **more)
    k["inputs"] = [{"weight": w, "delay": 1.0 + 0.5 * i, "times": t, "receptor": i + 1}
                   for i, (w, t) in enumerate(zip(weights, trains)) if w]
    return k


def multisynapse(weights, noisy, amp, common, second, second_amp):
    """Every receptor with its own time constant, some close to the membrane's (NEST refuses equal ones)."""
    return [
        receptors(200.0, common, (), name="dc", current=[(0.0, 200.0, amp)]),
        receptors(200.0, common, weights),
        receptors(100.0, common, weights, dt=0.02, name="fine", current=[(0.0, 100.0, amp)]),
        receptors(200.0, second, weights, name="second", current=[(0.0, 200.0, second_amp)]),
        receptors(400.0, second, noisy, (900.0, 300.0, 200.0, 100.0), every=4.0, name="noise"),
    ]


SYN = {"tau_syn_ex": 2.0, "tau_syn_in": 5.0}
CLOPATH = {"gsl_error_tol": 1e-9, "delay_u_bars": 0.0}
NEURONS = {
    "iaf_psc_delta": ("iaf_psc_delta", standard(4.0, -3.0, 400.0, (1, 900.0, 300.0, 1.5, -1.5), {
        "tau_m": 20.0, "C_m": 200.0, "V_th": -52.0, "V_reset": -62.0, "t_ref": 0.5, "E_L": -65.0, "V_m": -64.0, "V_min": -66.0,
        "I_e": 20.0})),
    "iaf_psc_exp": ("iaf_psc_exp", standard(800.0, -200.0, 400.0, (2, 900.0, 300.0, 50.0, -400.0), {
        "tau_m": 20.0, "C_m": 200.0, "V_th": -52.0, "V_reset": -62.0, "t_ref": 0.5, "E_L": -65.0, "V_m": -64.0, "I_e": 20.0,
        "tau_syn_ex": 20.0, "tau_syn_in": 0.5})),
    "iaf_psc_alpha": ("iaf_psc_alpha", standard(400.0, -100.0, 400.0, (3, 900.0, 300.0, 20.0, -300.0), {
        "tau_m": 20.0, "C_m": 200.0, "V_th": -52.0, "V_reset": -62.0, "t_ref": 0.5, "E_L": -65.0, "V_m": -64.0, "I_e": 20.0,
        "tau_syn_ex": 20.0, "tau_syn_in": 0.5, "V_min": -67.0})),
    "iaf_cond_exp": ("iaf_cond_exp", standard(20.0, -15.0, 300.0, (4, 900.0, 300.0, 8.0, -8.0), {
        "C_m": 200.0, "g_L": 10.0, "V_th": -50.0, "V_reset": -65.0, "E_L": -66.0, "V_m": -64.0, "t_ref": 5.0, "E_in": -80.0,
        "E_ex": 5.0, "I_e": 20.0, "tau_syn_ex": 3.0, "tau_syn_in": 8.0})
        + [case("syn_slow", 200.0, dict(SYN), exc=20.0, inh=-15.0)]),
    "iaf_cond_alpha": ("iaf_cond_alpha", standard(20.0, -15.0, 300.0, (5, 900.0, 300.0, 4.0, -5.0), {
        "C_m": 200.0, "g_L": 10.0, "V_th": -50.0, "V_reset": -65.0, "E_L": -66.0, "V_m": -64.0, "t_ref": 5.0, "E_in": -80.0,
        "E_ex": 5.0, "I_e": 20.0, "tau_syn_ex": 3.0, "tau_syn_in": 8.0})
        + [case("syn_slow", 200.0, dict(SYN), exc=10.0, inh=-8.0)]),
    "aeif_cond_exp": ("aeif_cond_exp", standard(60.0, -15.0, 700.0, (6, 900.0, 300.0, 10.0, -8.0), {
        "C_m": 200.0, "g_L": 10.0, "E_L": -65.0, "V_m": -64.0, "V_th": -50.0, "V_reset": -58.0, "V_peak": -30.0, "Delta_T": 3.0,
        "a": 2.0, "b": 30.0, "tau_w": 80.0, "t_ref": 2.0, "E_in": -80.0, "tau_syn_ex": 3.0, "tau_syn_in": 8.0, "w": 10.0},
        second_amp=400.0, common={"gsl_error_tol": 1e-8})
        + [case("syn_slow", 200.0, {**SYN, "gsl_error_tol": 1e-8}, exc=30.0, inh=-15.0),
           case("no_upswing", 100.0, {"Delta_T": 0.0, "gsl_error_tol": 1e-8}, current=[(0.0, 100.0, 900.0)])]),
    **{f"aeif_{form}": (f"aeif_{form}", standard(weight_ex, weight_in, 700.0, noise, {
        "C_m": 200.0, "g_L": 10.0, "E_L": -65.0, "V_m": -64.0, "V_th": -50.0, "V_reset": -58.0, "V_peak": -30.0, "Delta_T": 3.0,
        "a": 2.0, "b": 30.0, "tau_w": 80.0, "t_ref": 2.0, "tau_syn_ex": 3.0, "tau_syn_in": 8.0, "w": 10.0, **more},
        second_amp=400.0, common={"gsl_error_tol": 1e-8})
        + [case("syn_slow", 200.0, {**SYN, "gsl_error_tol": 1e-8}, exc=weight_ex / 2, inh=weight_in),
           case("no_upswing", 100.0, {"Delta_T": 0.0, "gsl_error_tol": 1e-8}, current=[(0.0, 100.0, 900.0)])])
       for form, weight_ex, weight_in, noise, more in (
           ("psc_exp", 2500.0, -400.0, (13, 900.0, 300.0, 120.0, -100.0), {}),
           ("psc_alpha", 1500.0, -300.0, (14, 900.0, 300.0, 50.0, -40.0), {}),
           ("cond_alpha", 40.0, -15.0, (15, 900.0, 300.0, 4.0, -4.0), {"E_in": -80.0}))},
    "iaf_psc_exp_multisynapse": ("iaf_psc_exp_multisynapse", multisynapse(
        (800.0, -200.0, 150.0, -60.0), (60.0, -300.0, 20.0, -40.0), 400.0, {"tau_syn": (2.0, 9.0, 0.5, 30.0)}, {
            "tau_m": 20.0, "C_m": 200.0, "V_th": -52.0, "V_reset": -62.0, "t_ref": 0.5, "E_L": -65.0, "V_m": -64.0, "I_e": 20.0,
            "tau_syn": (19.0, 0.5, 100.0, 20.001)}, 400.0)),
    "iaf_psc_alpha_multisynapse": ("iaf_psc_alpha_multisynapse", multisynapse(
        (400.0, -100.0, 80.0, -30.0), (30.0, -150.0, 8.0, -20.0), 400.0, {"tau_syn": (2.0, 9.0, 0.5, 30.0)}, {
            "tau_m": 20.0, "C_m": 200.0, "V_th": -52.0, "V_reset": -62.0, "t_ref": 0.5, "E_L": -65.0, "V_m": -64.0, "I_e": 20.0,
            "V_min": -67.0, "tau_syn": (20.5, 0.5, 60.0, 3.0)}, 400.0)),
    "aeif_cond_alpha_multisynapse": ("aeif_cond_alpha_multisynapse", multisynapse(
        (25.0, 1.0, 5.0, 1.0), (4.0, 0.4, 3.0, 0.5), 700.0, {
            "E_rev": (0.0, 0.0, -70.0, -90.0), "tau_syn": (0.5, 50.0, 5.0, 100.0), "gsl_error_tol": 1e-8}, {
            "C_m": 200.0, "g_L": 10.0, "E_L": -65.0, "V_m": -64.0, "V_th": -50.0, "V_reset": -58.0, "V_peak": -30.0, "Delta_T": 3.0,
            "a": 2.0, "b": 30.0, "tau_w": 80.0, "t_ref": 2.0, "w": 10.0, "E_rev": (5.0, 0.0, -75.0, -95.0),
            "tau_syn": (2.0, 80.0, 8.0, 40.0), "gsl_error_tol": 1e-8}, 400.0)),
    # Currents alone: in NEST a spike that arrives acts after the first of the integrator's own steps.
    "aeif_psc_delta_clopath": ("aeif_psc_delta_clopath", [
        case("dc", 200.0, dict(CLOPATH), current=[(0.0, 200.0, 900.0)]),
        case("step", 250.0, dict(CLOPATH), current=[(50.0, 150.0, 1200.0), (200.0, 220.0, -500.0)]),
        case("fine", 100.0, dict(CLOPATH), dt=0.02, current=[(0.0, 100.0, 900.0)]),
        case("second", 200.0, {**CLOPATH, "C_m": 200.0, "g_L": 12.0, "E_L": -65.0, "V_m": -64.0, "V_th_rest": -50.0, "V_th_max": -20.0,
                               "V_reset": -58.0, "V_peak": 20.0, "V_clamp": 25.0, "Delta_T": 3.0, "a": 2.0, "b": 30.0, "tau_w": 80.0,
                               "t_ref": 1.0, "t_clamp": 1.0, "I_sp": 100.0, "tau_z": 20.0, "tau_V_th": 30.0, "tau_u_bar_plus": 5.0,
                               "tau_u_bar_minus": 15.0, "tau_u_bar_bar": 100.0}, current=[(0.0, 200.0, 500.0)], settle=1200.0)]),
    "izhikevich": ("izhikevich", standard(5.0, -5.0, 10.0, (7, 900.0, 300.0, 1.5, -1.5), {
        "a": 0.1, "b": 0.25, "c": -60.0, "d": 2.0, "V_m": -62.0, "U_m": -15.0, "V_min": -75.0, "V_th": 25.0, "I_e": 1.0})
        + [case("published_numerics", 200.0, {"consistent_integration": 0.0}, dt=1.0, current=[(0.0, 200.0, 10.0)], exc=5.0)]),
    "hh_psc_alpha": ("hh_psc_alpha", standard(1500.0, -300.0, 650.0, (8, 900.0, 300.0, 400.0, -100.0), {
        "C_m": 110.0, "g_Na": 11000.0, "g_K": 3000.0, "g_L": 25.0, "E_L": -56.0, "E_Na": 48.0, "E_K": -76.0, "t_ref": 3.0,
        "tau_syn_ex": 1.0, "tau_syn_in": 3.0, "I_e": 50.0, "V_m": -66.0, "Act_m": 0.06, "Inact_h": 0.55, "Act_n": 0.33})
        + [case("syn_slow", 200.0, dict(SYN), exc=250.0, inh=-100.0)]),
    "alif": ("eprop_iaf_adapt", standard(4.0, -3.0, 700.0, (9, 1500.0, 300.0, 1.8, -1.5), {
        "tau_m": 20.0, "C_m": 200.0, "V_th": -52.0, "t_ref": 0.5, "E_L": -65.0, "V_m": -64.0, "V_min": -66.0,
        "I_e": 20.0, "adapt_beta": 1.7, "adapt_tau": 120.0, "adaptation": 0.5}, second_amp=400.0)),
}

DIEHL_COOK = {  # Diehl & Cook 2015, doi 10.3389/fncom.2015.00099; facts from the published code (Diehl&Cook_spiking_MNIST.py)
    "C_m": 100.0, "g_L": 1.0, "E_L": -65.0, "V_m": -105.0, "V_th": -52.0, "V_reset": -65.0, "t_ref": 5.0, "E_ex": 0.0, "E_in": -100.0,
    "tau_syn_ex": 1.0, "tau_syn_in": 2.0, "g_ex": 0.0, "g_in": 0.0, "theta": 20.0, "theta_offset": 20.0, "theta_plus": 0.05,
    "tau_theta": 1e7, "I_e": 0.0}
DIEHL_COOK_INHIBITORY = {"C_m": 10.0, "E_L": -60.0, "V_m": -100.0, "V_th": -40.0, "V_reset": -45.0, "t_ref": 2.0, "E_in": -85.0,
                         "theta": 0.0, "theta_offset": 0.0, "theta_plus": 0.0}
QIF = {  # C dV/dt = k (V - E_L)(V - V_c) + I: Izhikevich 2007, section 8.1.4, without recovery; numbers of its regular spiking cell
    "C_m": 100.0, "k": 0.7, "E_L": -60.0, "V_c": -40.0, "V_m": -60.0, "V_th": 35.0, "V_reset": -50.0, "t_ref": 0.0, "I_e": 0.0}

OWN = {
    "diehl_cook": (DIEHL_COOK, [
        case("dc", 300.0, {"V_m": -65.0}, current=[(0.0, 300.0, 25.0)]),
        case("step", 250.0, {"V_m": -65.0}, current=[(50.0, 150.0, 30.0), (200.0, 220.0, -10.0)]),
        case("syn", 200.0, exc=20.0, inh=-5.0),
        case("adapting", 300.0, {"V_m": -65.0, "theta_plus": 1.0, "tau_theta": 100.0, "g_ex": 3.0, "g_in": 1.0},
             current=[(0.0, 300.0, 30.0)], exc=2.0, inh=-2.0),
        case("inhibitory", 200.0, dict(DIEHL_COOK_INHIBITORY), exc=10.0, inh=-5.0),
        case("noise", 400.0, {"V_m": -65.0}, noise=(10, 900.0, 300.0, 1.0, -0.3), every=4.0),
        case("inhibitory_noise", 400.0, dict(DIEHL_COOK_INHIBITORY), noise=(11, 900.0, 300.0, 0.8, -0.3), every=4.0),
        case("published_step", 300.0, {"V_m": -65.0}, dt=0.5, current=[(0.0, 300.0, 15.0)], exc=5.0)]),
    "qif_psc_delta": (QIF, [
        case("dc", 200.0, current=[(0.0, 200.0, 100.0)]),
        case("step", 250.0, current=[(50.0, 150.0, 80.0), (200.0, 220.0, -40.0)]),
        case("rheobase", 200.0, current=[(0.0, 200.0, 70.0)], exc=4.0),
        case("fine", 100.0, dt=0.02, current=[(0.0, 100.0, 100.0)], exc=5.0),
        case("syn", 200.0, exc=8.0, inh=-5.0),
        case("strong", 50.0, dt=1.0, current=[(0.0, 50.0, 20000.0)], every=1.0),
        case("second", 200.0, {"C_m": 50.0, "k": 1.5, "E_L": -58.0, "V_c": -45.0, "V_m": -59.0, "V_th": 10.0, "V_reset": -65.0,
                               "t_ref": 2.0, "I_e": 20.0}, current=[(0.0, 200.0, 60.0)], exc=2.0, inh=-3.0),
        case("noise", 400.0, {"t_ref": 1.0}, noise=(12, 900.0, 300.0, 2.0, -2.0), every=4.0)]),
}


def number(x, digits=9):
    return float(f"{x:.{digits}g}")


def run_nest(model, record, k):
    import nest

    nest.set_verbosity("M_ERROR")
    nest.ResetKernel()
    nest.resolution = k["dt"]
    params = dict(k["params"])
    # Parameters of receptors are arrays in NEST.
    for name in ("tau_syn", "E_rev"):
        own = [params.pop(f"{name}_{i}") for i in range(1, 5) if f"{name}_{i}" in params]
        if own:
            params[name] = own
    if "consistent_integration" in params:
        params["consistent_integration"] = bool(params["consistent_integration"])
    neuron = nest.Create(model, params=params)
    meter = nest.Create("multimeter", params={"record_from": record, "interval": k["every"]})
    spikes = nest.Create("spike_recorder")
    nest.Connect(meter, neuron, syn_spec={"delay": k["dt"]})
    nest.Connect(neuron, spikes)
    for drive in k["inputs"]:
        source = nest.Create("spike_generator", params={"spike_times": sorted(drive["times"])})
        port = {"receptor_type": drive["receptor"]} if "receptor" in drive else {}
        nest.Connect(source, neuron, syn_spec={"weight": drive["weight"], "delay": drive["delay"], **port})
    # NEST sets states when it creates a neuron, from the model's defaults, not from `params`: Clopath's V_th starts at the default of
    # V_th_rest, and cannot be set. Where that matters, leave the neuron at rest so long (ms, a multiple of `every`) that V_th is
    # where it rests, then set the states that can be set to the start that the parameters say.
    settle = k.pop("settle")
    if settle:
        nest.Simulate(settle)
        at_rest = {u: params["E_L"] for u in ("V_m", "u_bar_plus", "u_bar_minus", "u_bar_bar")}
        neuron.set({**at_rest, "w": 0.0, **{s: x for s, x in params.items() if s in (*at_rest, "w")}})
    base = neuron.get("I_e")
    edges = sorted({0.0, k["stop"]} | {c[0] for c in k["current"]} | {c[1] for c in k["current"]})
    with nest.RunManager():
        for a, b in zip(edges, edges[1:]):
            neuron.set(I_e=base + sum(i for start, stop, i in k["current"] if start <= a and b <= stop))
            nest.Run(b - a)
        nest.Run(2 * k["dt"])  # the meter hands over its last sample one step later
    if model.startswith("eprop"):  # there a current acts one step late: say so in the drive, as we keep to the schedule
        k["current"] = [[a + k["dt"], b + k["dt"], i] for a, b, i in k["current"]] + ([[0.0, k["dt"], -base]] if base else [])
    events = meter.events
    n = int(round(k["stop"] / k["every"]))
    keep = [i for i, t in enumerate(events["times"]) if settle < t <= settle + k["stop"] + 1e-6][:n]
    assert len(keep) == n
    times = [t - settle for t in spikes.events["times"] if t <= settle + k["stop"] + 1e-6]
    return [number(t, 8) for t in times], {r: [number(events[r][i]) for i in keep] for r in record}


def run_own(model, record, k, defaults):
    """The same schedule; between grid points an adaptive 8th-order Runge-Kutta on the differential equations as written."""
    p = {**defaults, **k["params"]}
    dt = k["dt"]
    k.pop("settle")
    steps = int(round(k["stop"] / dt))
    arrivals = {}
    for drive in k["inputs"]:
        for t in drive["times"]:
            arrivals.setdefault(round((t + drive["delay"]) / dt), []).append(drive["weight"])
    refractory, left, times = round(p["t_ref"] / dt), 0, []
    trace = {r: [] for r in record}
    every = round(k["every"] / dt)
    v = p["V_m"]
    g_ex, g_in, theta = p.get("g_ex", 0.0), p.get("g_in", 0.0), p.get("theta", 0.0)
    tight = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12}
    for n in range(1, steps + 1):
        t = n * dt
        current = p["I_e"] + sum(i for a, b, i in k["current"] if a + 1e-9 < t <= b + 1e-9)
        jump = arrivals.get(n, [])
        if model == "diehl_cook":
            g_e, g_i = g_ex, g_in

            def flow(s, y):
                return [(p["g_L"] * (p["E_L"] - y[0]) + g_e * np.exp(-s / p["tau_syn_ex"]) * (p["E_ex"] - y[0])
                         + g_i * np.exp(-s / p["tau_syn_in"]) * (p["E_in"] - y[0]) + current) / p["C_m"]]

            if left == 0:
                v = solve_ivp(flow, (0.0, dt), [v], **tight).y[0, -1]
            else:
                left -= 1
            g_ex = g_ex * np.exp(-dt / p["tau_syn_ex"]) + sum(w for w in jump if w > 0)
            g_in = g_in * np.exp(-dt / p["tau_syn_in"]) - sum(w for w in jump if w < 0)
            theta *= np.exp(-dt / p["tau_theta"])
            if v > p["V_th"] + theta - p["theta_offset"]:
                times.append(t)
                v, left = p["V_reset"], refractory
                theta += p["theta_plus"]
            values = {"V_m": v, "g_ex": g_ex, "g_in": g_in, "theta": theta}
        else:
            if left == 0:
                def flow(s, y):
                    return [(p["k"] * (y[0] - p["E_L"]) * (y[0] - p["V_c"]) + current) / p["C_m"]]

                def peak(s, y):
                    return y[0] - p["V_th"]

                peak.terminal = True
                run = solve_ivp(flow, (0.0, dt), [v], events=peak, **tight)
                v = p["V_th"] if run.t_events[0].size else run.y[0, -1] + sum(jump)
            else:
                left -= 1
            if v >= p["V_th"]:
                times.append(t)
                v, left = p["V_reset"], refractory
            values = {"V_m": v}
        if n % every == 0:
            for r in record:
                trace[r].append(number(values[r]))
    return [number(t, 8) for t in times], trace


RECORD = {
    "iaf_psc_delta": ["V_m"], "iaf_psc_exp": ["V_m", "I_syn_ex", "I_syn_in"], "iaf_psc_alpha": ["V_m", "I_syn_ex", "I_syn_in"],
    "iaf_cond_exp": ["V_m", "g_ex", "g_in"], "iaf_cond_alpha": ["V_m", "g_ex", "g_in"], "aeif_cond_exp": ["V_m", "w", "g_ex", "g_in"],
    "aeif_psc_exp": ["V_m", "w", "I_syn_ex", "I_syn_in"], "aeif_psc_alpha": ["V_m", "w", "I_syn_ex", "I_syn_in"],
    "aeif_cond_alpha": ["V_m", "w", "g_ex", "g_in"],
    **{f"iaf_psc_{form}_multisynapse": ["V_m", *(f"I_syn_{i}" for i in range(1, 5))] for form in ("exp", "alpha")},
    "aeif_cond_alpha_multisynapse": ["V_m", "w", *(f"g_{i}" for i in range(1, 5))],
    "aeif_psc_delta_clopath": ["V_m", "w", "z", "V_th", "u_bar_plus", "u_bar_minus", "u_bar_bar"],
    "izhikevich": ["V_m", "U_m"], "hh_psc_alpha": ["V_m", "Act_m", "Inact_h", "Act_n", "I_syn_ex", "I_syn_in"],
    "alif": ["V_m", "V_th_adapt", "adaptation"], "diehl_cook": ["V_m", "g_ex", "g_in", "theta"], "qif_psc_delta": ["V_m"],
}


def nest_defaults(model):
    import nest

    nest.ResetKernel()
    table = {}
    for key, value in nest.GetDefaults(model).items():
        if key not in NO_PARAMETER and isinstance(value, (bool, int, float)):
            value = float(value)
            table[key] = value if abs(value) < 1e300 else ("inf" if value > 0 else "-inf")
        elif key in ("tau_syn", "E_rev"):  # an array with one value; ours have four receptors
            table.update({f"{key}_{i}": float(value[0]) for i in range(1, 5)})
    return table


def write(name, document):
    def compact(x):
        return json.dumps(x, separators=(",", ":"))

    lines = [f" {json.dumps(k)}: {compact(v)}" for k, v in document.items() if k != "cases"]
    cases = ",\n".join("  " + compact(c) for c in document["cases"])
    text = "{\n" + ",\n".join(lines) + ',\n "cases": [\n' + cases + "\n ]\n}\n"
    (OUT / f"{name}.json").write_text(text)
    spikes = [f"{c['name']} {len(c['spikes'])}" if "spikes" in c else c["name"] for c in document["cases"]]
    print(f"{name}: {len(text)} bytes; spikes: {', '.join(spikes)}")


def neuron(name):
    if name in NEURONS:
        import nest

        model, cases = NEURONS[name]
        reference, defaults = f"NEST {nest.__version__} {model}", nest_defaults(model)
        results = [run_nest(model, RECORD[name], k) for k in cases]
    else:
        defaults, cases = OWN[name]
        reference = "scipy DOP853, rtol 1e-12, on the grid's schedule (tests/golden/make_nest.py)"
        results = [run_own(name, RECORD[name], k, defaults) for k in cases]
    for k, (spikes, trace) in zip(cases, results):
        for key in ("gsl_error_tol", "delay_u_bars"):
            k["params"].pop(key, None)
        k["spikes"], k["trace"] = spikes, trace
    write(name, {"model": name, "kind": "neuron", "reference": reference, "defaults": defaults, "cases": cases})


def transmitted(model, train_name, times, set_name, params, started=None):
    """Weights that a synapse transmits at each presynaptic spike, read by NEST's weight_recorder. `started`: `params` as the case is to
    have them, where they differ from what NEST starts with at time 0."""
    import nest

    nest.ResetKernel()
    nest.resolution = 0.1
    recorder = nest.Create("weight_recorder")
    nest.CopyModel(model, "recorded", {"weight_recorder": recorder})
    source = nest.Create("spike_generator", params={"spike_times": times})
    parrot, target = nest.Create("parrot_neuron"), nest.Create("iaf_psc_exp")
    nest.Connect(source, parrot, syn_spec={"delay": 0.1})
    nest.Connect(parrot, target, syn_spec={"synapse_model": "recorded", "weight": 250.0, "delay": 1.0, **params})
    nest.Simulate(times[-1] + 10.0)
    return {"name": f"{train_name}/{set_name}", "params": started or params, "weight": 250.0, "times": times,
            "psc": [number(w, 12) for w in recorder.events["weights"]]}


TRAINS = (("regular", [100.0 + 50.0 * i for i in range(10)] + [1100.0, 1150.0, 2500.0]),
          ("irregular", sorted(set(poisson_train(21, 40.0, 2000.0)))))


def short_term(model, sets, started=lambda params, first: params):
    import nest

    nest.set_verbosity("M_ERROR")
    cases = [transmitted(model, train_name, times, set_name, params, started(params, times[0] + 0.1))
             for train_name, times in TRAINS for set_name, params in sets.items()]
    write(model, {"model": model, "kind": "synapse", "reference": f"NEST {nest.__version__} {model}",
                  "defaults": nest_defaults(model), "cases": cases})


def tsodyks2():
    short_term("tsodyks2_synapse", {
        "default": {}, "depressing": {"U": 0.5, "u": 0.5, "tau_rec": 800.0, "tau_fac": 0.0},
        "facilitating": {"U": 0.05, "u": 0.05, "tau_rec": 130.0, "tau_fac": 530.0},
        "mixed": {"U": 0.25, "u": 0.25, "tau_rec": 500.0, "tau_fac": 200.0},
        "started": {"U": 0.3, "u": 0.6, "x": 0.4, "tau_rec": 200.0, "tau_fac": 50.0}})


def tsodyks():
    """In NEST u, x and y are those of time 0; ours are those just before the first spike, the reference's own solution later (with
    tau_psc far from tau_rec, by the formula for x of Tsodyks, Uziel & Markram 2000, eq. 3, integrated by hand)."""
    def started(params, first):
        if "x" not in params:
            return params
        p = {"tau_psc": 3.0, "tau_rec": 800.0, "tau_fac": 0.0, "u": 0.0, "y": 0.0, **params}
        z = 1.0 - p["x"] - p["y"]
        kept, left = np.exp(-first / p["tau_rec"]), np.exp(-first / p["tau_psc"])
        back = 1.0 - (p["tau_rec"] * kept - p["tau_psc"] * left) / (p["tau_rec"] - p["tau_psc"])
        return {**params, "u": p["u"] * float(np.exp(-first / p["tau_fac"])),
                "x": float(p["x"] + back * p["y"] + (1.0 - kept) * z), "y": float(p["y"] * left)}

    short_term("tsodyks_synapse", {
        "default": {}, "depressing": {"U": 0.5, "tau_rec": 800.0, "tau_psc": 3.0},
        "facilitating": {"U": 0.05, "tau_rec": 130.0, "tau_fac": 530.0, "tau_psc": 1.5},
        "slow_currents": {"U": 0.4, "tau_rec": 300.0, "tau_fac": 100.0, "tau_psc": 60.0},
        "nearly_equal": {"U": 0.4, "tau_rec": 100.0, "tau_psc": 97.0},
        "far_enough": {"U": 0.4, "tau_rec": 100.0, "tau_psc": 89.0},
        "started": {"U": 0.3, "u": 0.6, "x": 0.3, "y": 0.2, "tau_rec": 900.0, "tau_fac": 500.0, "tau_psc": 40.0}}, started)


def parrot():
    """Every spike that arrives, whatever its weight; several of one step are several."""
    import nest

    nest.set_verbosity("M_ERROR")
    cases = []
    for name, dt, inputs in (("trains", 0.1, ((3.0, 1.0, EXC), (-2.0, 1.0, INH), (0.0, 2.0, EXC))), ("coarse", 1.0, ((1.0, 3.0, EXC),))):
        nest.ResetKernel()
        nest.resolution = dt
        parrot, recorder = nest.Create("parrot_neuron"), nest.Create("spike_recorder")
        nest.Connect(parrot, recorder, syn_spec={"delay": dt})
        for weight, delay, times in inputs:
            source = nest.Create("spike_generator", params={"spike_times": times})
            nest.Connect(source, parrot, syn_spec={"weight": weight, "delay": delay})
        nest.Simulate(200.0)
        cases.append({"name": name, "dt": dt, "stop": 200.0, "params": {}, "current": [], "every": 100.0,
                      "inputs": [{"weight": w, "delay": d, "times": t} for w, d, t in inputs],
                      "spikes": [number(t, 8) for t in recorder.events["times"]], "trace": {}})
    write("parrot_neuron", {"model": "parrot_neuron", "kind": "neuron", "reference": f"NEST {nest.__version__} parrot_neuron",
                            "defaults": {}, "cases": cases})


def static():
    """static_synapse transmits its weight; kept so that every model file has a reference."""
    times, weight = [1.0, 2.0, 10.0], 250.0
    write("static_synapse", {"model": "static_synapse", "kind": "synapse", "reference": "definition", "defaults": {}, "cases": [
        {"name": "any", "params": {}, "weight": weight, "times": times, "psc": [weight] * 3}]})


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    chosen = sys.argv[1:] or [*NEURONS, *OWN, "parrot_neuron", "tsodyks_synapse", "tsodyks2_synapse", "static_synapse"]
    for name in chosen:
        {"parrot_neuron": parrot, "tsodyks_synapse": tsodyks, "tsodyks2_synapse": tsodyks2, "static_synapse": static}.get(
            name, lambda name=name: neuron(name))()
