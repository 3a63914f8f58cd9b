"""Reference of if_soft_reset, which NEST lacks: its own recursion in exact fractions, on the grid's schedule (input that arrives in a step
jumps after integration, then the threshold). Writes tests/golden/nest/if_soft_reset.json; needs nothing but Python.

    python tests/golden/make_closed.py
"""

import json
import os
from fractions import Fraction as F

DEFAULTS = {"V_th": 1.0, "drive": 0.0, "V_m": 0.5, "C_m": 1.0}


def exact(x):
    return F(str(x))


def case(name, dt, stop, params, current, inputs, every):
    p = {k: exact(params.get(k, v)) for k, v in DEFAULTS.items()}
    step = exact(dt)
    arrivals = {}
    for i in inputs:
        for t in i["times"]:
            at = round((exact(t) + exact(i["delay"])) / step)
            arrivals[at] = arrivals.get(at, F(0)) + exact(i["weight"])
    v, spikes, trace = p["V_m"], [], []
    for n in range(1, round(exact(stop) / step) + 1):
        t = n * step
        amplitude = sum((exact(a) for a0, a1, a in current if exact(a0) < t <= exact(a1)), F(0))
        v += step * p["drive"] + step * amplitude / p["C_m"] + arrivals.get(n, F(0))
        # Single precision must not be able to decide otherwise.
        assert abs(v - p["V_th"]) > F(1, 10_000), (name, n, float(v))
        if v >= p["V_th"]:
            v -= p["V_th"]
            spikes.append(float(t))
        if n % round(exact(every) / step) == 0:
            trace.append(round(float(v), 9))
    return {"name": name, "dt": dt, "stop": stop, "params": params, "current": current, "inputs": inputs, "every": every,
            "spikes": spikes, "trace": {"V_m": trace}}


CASES = [
    case("drive", 0.1, 60.0, {"drive": 0.3137}, [], [], 1.0),
    case("threshold", 0.1, 60.0, {"drive": 1.7773, "V_th": 2.5, "V_m": -1.013}, [], [], 1.0),
    case("currents", 0.1, 80.0, {"C_m": 2.0}, [[5.0, 40.0, 0.9171], [50.0, 60.0, -0.3313], [62.0, 80.0, 2.3719]], [], 1.0),
    case("inputs", 0.1, 60.0, {"drive": 0.0717},
         [], [{"weight": 0.4319, "delay": 1.0, "times": [3.0, 4.0, 10.0, 20.0, 21.5, 30.0]},
              {"weight": -0.6123, "delay": 2.5, "times": [12.0, 33.0]}], 1.0),
]

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "nest", "if_soft_reset.json")
with open(path, "w") as f:
    json.dump({"model": "if_soft_reset", "kind": "neuron", "reference": "exact fractions (tests/golden/make_closed.py)",
               "defaults": DEFAULTS, "cases": CASES}, f)
    f.write("\n")
