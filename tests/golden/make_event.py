"""Spike times of single neurons to 30 digits, for the event engine: `python make_event.py > event.json` (needs mpmath).

Independent of the engine's closed forms: the linear models are integrated with matrix exponentials of their differential equations,
the quadratic one with mpmath's Taylor-series solver, and crossings are bracketed by stepping and bisected, all at 50 digits.
"""

import json
import random

from mpmath import exp, expm, matrix, mp, mpf, nstr, odefun

mp.dps = 50
DELAY = 1.5


class Linear:
    """dx/dt = A x with a constant 1 as last entry; threshold where row . x >= 0."""

    def __init__(self, free, held, row, reset, receive, refractory, step=mpf(1) / 32):
        self.free, self.held, self.row, self.reset, self.receive = free, held, row, reset, receive
        self.refractory, self.step = refractory, step
        self.stride = {}

    def flow(self, a, x, s):
        key = (id(a), s)
        if s != self.step:
            return expm(a * s, method="taylor") * x
        if key not in self.stride:
            self.stride[key] = expm(a * s, method="taylor")
        return self.stride[key] * x

    def f(self, x):
        return sum(self.row[i] * x[i] for i in range(len(self.row)))

    def slope(self, x):
        return self.f(self.free * x)

    def bisect(self, x, s, test):
        low, high = mpf(0), s
        for _ in range(130):
            mid = (low + high) / 2
            if test(self.flow(self.free, x, mid)):
                high = mid
            else:
                low = mid
        return high

    def crossing(self, x, s):
        """Time of the first crossing within s from x, or None; and the state at the end."""
        done = mpf(0)
        while done < s:
            h = min(self.step, s - done)
            y = self.flow(self.free, x, h)
            if self.f(y) >= 0:
                return done + self.bisect(x, h, lambda z: self.f(z) >= 0), None
            if self.slope(x) > 0 > self.slope(y):
                top = self.bisect(x, h, lambda z: self.slope(z) <= 0)
                if self.f(self.flow(self.free, x, top)) >= 0:
                    return done + self.bisect(x, top, lambda z: self.f(z) >= 0), None
            x, done = y, done + h
        return None, x

    def run(self, x, inputs, end):
        """inputs: (time, function of x) in order; every function is applied at its time."""
        t, until, spikes = mpf(0), mpf(0), []
        for time, change in inputs + [(mpf(end), None)]:
            while t < time:
                if t < until:
                    stop = min(until, time)
                    x = self.flow(self.held, x, stop - t)
                    t = stop
                    if t == until and self.f(x) >= 0:
                        spikes.append(t)
                        x, until = self.reset(x), t + self.refractory
                    continue
                found, y = self.crossing(x, time - t)
                if found is None:
                    x, t = y, time
                else:
                    t += found
                    x = self.flow(self.free, x, found)
                    spikes.append(t)
                    x, until = self.reset(x), t + self.refractory
            if change is not None:
                x = change(x, t < until)
                if t >= until and self.f(x) >= 0:
                    spikes.append(t)
                    x, until = self.reset(x), t + self.refractory
        return spikes


def setting(i, value):
    def change(x, held):
        x = x.copy()
        x[i] = value
        return x

    return change


def adding(i, value, lost_when_held=False):
    def change(x, held):
        x = x.copy()
        if not (held and lost_when_held):
            x[i] += value
        return x

    return change


def rows(n, entries):
    a = matrix(n, n)
    for (i, j), value in entries.items():
        a[i, j] = value
    return a


def psc_exp(p):
    c, m, ex, inh = (mpf(p[k]) for k in ("C_m", "tau_m", "tau_syn_ex", "tau_syn_in"))
    base = {(1, 1): -1 / ex, (2, 2): -1 / inh}
    free = rows(5, base | {(0, 0): -1 / m, (0, 1): 1 / c, (0, 2): 1 / c, (0, 3): 1 / c, (0, 4): mpf(p["I_e"]) / c})
    theta = mpf(p["V_th"]) - mpf(p["E_L"])
    reset = setting(0, mpf(p["V_reset"]) - mpf(p["E_L"]))
    ports = [lambda w: adding(1, w), lambda w: adding(2, w)]
    return Linear(free, rows(5, base), [1, 0, 0, 0, -theta], lambda x: reset(x, False), ports, mpf(p["t_ref"])), 3


def psc_delta(p):
    c, m = mpf(p["C_m"]), mpf(p["tau_m"])
    free = rows(3, {(0, 0): -1 / m, (0, 1): 1 / c, (0, 2): mpf(p["I_e"]) / c})
    theta = mpf(p["V_th"]) - mpf(p["E_L"])
    reset = setting(0, mpf(p["V_reset"]) - mpf(p["E_L"]))
    return Linear(free, rows(3, {}), [1, 0, -theta], lambda x: reset(x, False), [lambda w: adding(0, w, True)], mpf(p["t_ref"])), 1


def psc_alpha(p):
    c, m, ex, inh = (mpf(p[k]) for k in ("C_m", "tau_m", "tau_syn_ex", "tau_syn_in"))
    base = {(1, 1): -1 / ex, (1, 2): 1, (2, 2): -1 / ex, (3, 3): -1 / inh, (3, 4): 1, (4, 4): -1 / inh}
    free = rows(7, base | {(0, 0): -1 / m, (0, 1): 1 / c, (0, 3): 1 / c, (0, 5): 1 / c, (0, 6): mpf(p["I_e"]) / c})
    theta = mpf(p["V_th"]) - mpf(p["E_L"])
    reset = setting(0, mpf(p["V_reset"]) - mpf(p["E_L"]))
    ports = [lambda w: adding(2, w * exp(1) / ex), lambda w: adding(4, w * exp(1) / inh)]
    return Linear(free, rows(7, base), [1, 0, 0, 0, 0, 0, -theta], lambda x: reset(x, False), ports, mpf(p["t_ref"])), 5


def alif(p):
    c, m, a = mpf(p["C_m"]), mpf(p["tau_m"]), mpf(p["adapt_tau"])
    free = rows(4, {(0, 0): -1 / m, (0, 2): 1 / c, (0, 3): mpf(p["I_e"]) / c, (1, 1): -1 / a})
    theta = mpf(p["V_th"]) - mpf(p["E_L"])

    def reset(x):
        x = x.copy()
        x[0] -= theta
        x[1] += 1
        return x

    return Linear(free, free, [1, -mpf(p["adapt_beta"]), 0, -theta], reset, [lambda w: adding(0, w)], mpf(p["t_ref"])), 2


class Quadratic:
    """C dV/dt = k (V - E_L)(V - V_c) + I, by Taylor series."""

    def __init__(self, p):
        self.p = {k: mpf(v) for k, v in p.items()}
        self.receive = [lambda w: ("jump", w)]

    def run(self, x, inputs, end):
        p, t, v, current, until, spikes = self.p, mpf(0), self.p["E_L"], mpf(0), mpf(0), []
        for time, change in inputs + [(mpf(end), None)]:
            while t < time:
                if t < until:
                    t = min(until, time)
                    continue
                drive = current + p["I_e"]
                right = lambda s, y: [(p["k"] * (y[0] - p["E_L"]) * (y[0] - p["V_c"]) + drive) / p["C_m"]]
                # A solver covers 0.25 ms at a time, well within the distance to the pole once below the peak.
                h = min(mpf(1) / 4, time - t)
                slope = abs(right(0, [v])[0])
                h = min(h, mpf(5) / (1 + slope))
                solution = odefun(right, 0, [v], tol=mpf(10) ** -40)
                after = solution(h)[0]
                if after >= p["V_th"]:
                    low, high = mpf(0), h
                    for _ in range(120):
                        mid = (low + high) / 2
                        if solution(mid)[0] >= p["V_th"]:
                            high = mid
                        else:
                            low = mid
                    t += high
                    spikes.append(t)
                    v, until = p["V_reset"], t + p["t_ref"]
                else:
                    t, v = t + h, after
            if change is not None:
                kind, value = change
                if kind == "current":
                    current = value
                elif t >= until:
                    v += value
                    if v >= p["V_th"]:
                        spikes.append(t)
                        v, until = p["V_reset"], t + p["t_ref"]
        return spikes


LIF = dict(E_L=-70.0, C_m=250.0, tau_m=10.0, t_ref=2.0, V_th=-55.0, V_reset=-70.0, I_e=0.0)


def trains(seed, end, kinds):
    """(time, port, weight): for each (port, mean, spread, how many)."""
    draw = random.Random(seed)
    spikes = []
    for port, mean, spread, n in kinds:
        for _ in range(n):
            time, weight = draw.uniform(0.5, end - DELAY - 1), draw.gauss(mean, spread)
            # Currents keep their sign; jumps of the potential may have either.
            spikes.append([time, port, weight if abs(mean) < 10 else abs(weight) * (1 if mean > 0 else -1)])
    return sorted(spikes)


CASES = [
    ("two synaptic time constants", "iaf_psc_exp", psc_exp, LIF | dict(tau_syn_ex=2.0, tau_syn_in=5.0, I_e=350.0),
     trains(1, 300, [(0, 300.0, 80.0, 90), (1, -200.0, 60.0, 50)]), [], 300.0),
    ("excitation as slow as the membrane", "iaf_psc_exp", psc_exp, LIF | dict(tau_syn_ex=10.0, tau_syn_in=1.5, V_reset=-63.0),
     trains(2, 200, [(0, 150.0, 40.0, 60), (1, -300.0, 60.0, 40)]), [[50.0, 100.0], [120.3, 0.0]], 200.0),
    ("inhibition that outlasts", "iaf_psc_exp", psc_exp, LIF | dict(tau_syn_ex=0.3, tau_syn_in=30.0, I_e=700.0, t_ref=0.5),
     trains(3, 200, [(0, 1200.0, 200.0, 60), (1, -40.0, 10.0, 30)]), [], 200.0),
    ("jumps", "iaf_psc_delta", psc_delta, LIF | dict(I_e=350.0),
     trains(4, 300, [(0, 1.5, 6.0, 150)]), [[100.0, 80.0], [200.0, -400.0]], 300.0),
    ("alpha functions", "iaf_psc_alpha", psc_alpha, LIF | dict(tau_syn_ex=2.0, tau_syn_in=4.0, I_e=250.0),
     trains(5, 250, [(0, 200.0, 60.0, 80), (1, -120.0, 40.0, 50)]), [], 250.0),
    ("alpha function as slow as the membrane", "iaf_psc_alpha", psc_alpha, LIF | dict(tau_syn_ex=10.0, tau_syn_in=1.0),
     trains(6, 150, [(0, 60.0, 20.0, 50), (1, -120.0, 40.0, 30)]), [], 150.0),
    ("moving threshold", "alif", alif, {k: v for k, v in LIF.items() if k != "V_reset"} | dict(adapt_beta=3.0, adapt_tau=150.0, I_e=450.0),
     trains(7, 300, [(0, 4.0, 3.0, 60)]), [[150.0, 200.0]], 300.0),
    ("quadratic", "qif_psc_delta", Quadratic,
     dict(E_L=-60.0, V_c=-40.0, C_m=100.0, k=0.7, t_ref=0.0, V_th=35.0, V_reset=-50.0, I_e=40.0),
     trains(8, 200, [(0, 4.0, 4.0, 50)]), [[60.0, 30.0], [100.0, 50.0], [150.0, -20.0]], 200.0),
]


def main():
    out = []
    for name, model, make, params, spikes, steps, end in CASES:
        if make is Quadratic:
            neuron, current, x = Quadratic(params), None, None
        else:
            neuron, current = make(params)
            n = neuron.free.rows
            x = matrix(n, 1)
            x[n - 1] = 1
        inputs = [(mpf(t) + mpf(DELAY), neuron.receive[port](mpf(w))) for t, port, w in spikes]
        for t, amplitude in steps:
            change = ("current", mpf(amplitude)) if current is None else setting(current, mpf(amplitude))
            inputs.append((mpf(t), change))
        inputs.sort(key=lambda item: item[0])
        found = neuron.run(x, inputs, end)
        out.append(dict(name=name, model=model, params=params, delay=DELAY, spikes=spikes, steps=steps, duration=end,
                        expected=[nstr(t, 30) for t in found]))
    print(json.dumps(dict(cases=out), indent=0))


main()
