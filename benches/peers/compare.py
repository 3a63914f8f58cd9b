"""sharpwave, Brian2 (C++ standalone) and NEST on the same networks, one thread, in turn: python compare.py [--rounds 3] [--json FILE].

Prints the machine and the versions, then for each network the rates of every simulator's populations, a warning where they differ by more
than 10 % and 0.5 Hz, and in the end one table: processor seconds per second of model time (construction, compilation and warm-up left
out), medians over the rounds, and the ratio peer / sharpwave round by round as median and extremes, beside the goal. What fails is printed
and left out of further rounds of that network; the rest goes on, and the exit code is 1. Needs a release build of sharpwave and, in the Python that runs it, requirements.txt. Quote it from a
quiet machine only.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGES = {"brian2": "brian2", "nest": "nest-simulator"}
TITLES = {"sharpwave": "sharpwave", "brian2": "Brian2", "nest": "NEST"}
# sharpwave's arguments, the peers' script and its arguments, ms measured after ms of warm-up, and how many times faster we want to be.
Network = namedtuple("Network", "ours script theirs time warmup goals")
USUAL = {"brian2": 3, "nest": 15}
SIZE = ["--set", "variables.N_E=9016", "--set", "variables.N_I=2254"]
NETWORKS = {
    "pd14": Network(["potjans_diesmann_2014.toml", "--set", "scale.n=0.1", "--set", "scale.k=0.1"], "pd14", ["--scale", "0.1"], 1000, 100,
                    USUAL),
    "brunel": Network(["brunel_2000.toml", "--variant", "AI", *SIZE], "brunel", [], 300, 100, USUAL),
    "brunel_stdp": Network(["brunel_stdp.toml", *SIZE], "brunel", ["--plastic"], 300, 100, {"brian2": 5, "nest": 10}),
    "cuba": Network(["vogels_abbott_cuba.toml"], "cuba", [], 1000, 100, USUAL),
    "cuba_40k": Network(["vogels_abbott_cuba.toml", "--set", "variables.size=10"], "cuba", ["--size", "10"], 500, 100, USUAL),
    "coba": Network(["vogels_abbott_coba.toml"], "coba", [], 1000, 100, USUAL),
}


class Failed(Exception):
    pass


def last_json(command, **more):
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error
    start = done.stdout.find("{")
    if done.returncode != 0 or start < 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise Failed(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{said}")
    return json.JSONDecoder().raw_decode(done.stdout, start)[0]


def ours(binary, network, times):
    scenario, *more = network.ours
    run = last_json([binary, "run", ROOT / "models/scenarios" / scenario, *more, "--engine", "cpu", "--threads", "1", "--json", "--quiet",
                     "--seed", times["seed"], "--set", f"simulation.duration={times['time']} ms",
                     "--set", f"simulation.warmup={times['warmup']} ms"])
    rates = {p["name"]: round(p["rate"], 3) for p in run["statistics"]["populations"] if not p["source"]}
    return {"cpu_s_per_model_s": run["cpu_counted_s"] / times["time"] * 1e3, "rates_hz": rates, "synapses": run["synapses"],
            "bytes_per_synapse": run["synapse_bytes"] / max(run["synapses"], 1)}


def peer(name, network, times):
    # numpy's and the peers' own threads are kept to one.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    options = [x for key, value in times.items() for x in (f"--{key}", value)]
    return last_json([sys.executable, HERE / f"{name}_{network.script}.py", *network.theirs, *options], cwd=HERE, env=environment)


def installed(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    except OSError:
        model = platform.processor() or platform.machine()
    return {"cpu": model, "cores": os.cpu_count(), "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "load": [round(x, 2) for x in os.getloadavg()]}


def rates(runs):
    """Rates of each simulator, the mean over its rounds, and what differs too much."""
    mean = {s: {p: statistics.mean(r["rates_hz"][p] for r in rs) for p in rs[0]["rates_hz"]} for s, rs in runs.items() if rs}
    differ = []
    for population in dict.fromkeys(p for r in mean.values() for p in r):
        values = [r[population] for r in mean.values() if population in r]
        if max(values) - min(values) > max(0.5, 0.1 * max(values)):
            differ.append(population)
    return mean, differ


def spread(values):
    return f"{min(values):.3f} / {statistics.median(values):.3f} / {max(values):.3f}"


def cell(runs, goals, name):
    """Ratio to sharpwave of the rounds that both have, and whether its median meets the goal; None without such a round."""
    pairs = {r["round"]: [r["cpu_s_per_model_s"]] for r in runs["sharpwave"]}
    for r in runs.get(name, []):
        pairs.get(r["round"], []).append(r["cpu_s_per_model_s"])
    ratios = [p[1] / p[0] for p in pairs.values() if len(p) == 2]
    if not ratios:
        return None
    median = statistics.median(ratios)
    return {"median": median, "min": min(ratios), "max": max(ratios), "goal": goals[name], "met": median >= goals[name]}


def table(results, peers):
    head = ["network", "synapses", "sharpwave", *(TITLES[p] for p in peers)]
    head += [x for p in peers for x in (f"{TITLES[p]} / sharpwave", f"goal {TITLES[p]}")]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for network, runs in results.items():
        some = next((r[0] for r in runs.values() if r), None)
        row = [network, f"{some['synapses'] / 1e6:.2f} M" if some else "-"]
        row += [f"{statistics.median(r['cpu_s_per_model_s'] for r in runs[s]):.3f}" if runs.get(s) else "-" for s in ["sharpwave", *peers]]
        for p in peers:
            c = cell(runs, NETWORKS[network].goals, p)
            goal = NETWORKS[network].goals[p]
            row += [f"{c['median']:.1f} ({c['min']:.1f}-{c['max']:.1f})" if c else "-",
                    f"{goal}: {'met' if c['met'] else 'not met'}" if c else f"{goal}: -"]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--time", type=float, help="ms of model time in place of each network's own")
    parser.add_argument("--warmup", type=float, help="ms before them, likewise")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers", nargs="*", default=list(PACKAGES), choices=list(PACKAGES))
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--binary", default=str(ROOT / "target/release/sharpwave"))
    parser.add_argument("--json", help="write all runs to this file, after every network")
    args = parser.parse_args()
    failures, results, peers = [], {}, []

    def fail(text):
        failures.append(text)
        print(f"FAILED {text}", flush=True)

    about = machine()
    print(f"{about['cpu']}, {about['cores']} cores; {about['date']}; load {' '.join(map(str, about['load']))}")
    about["versions"] = {"python": platform.python_version(), **{p: installed(p) for p in ("numpy", *PACKAGES.values()) if installed(p)}}
    try:
        done = subprocess.run([args.binary, "--version"], capture_output=True, text=True, check=True)
        about["versions"]["sharpwave"] = done.stdout.split()[-1]
    except (OSError, subprocess.CalledProcessError):
        fail(f"{args.binary} does not run: cargo build --release")
    for name in args.peers:
        if installed(PACKAGES[name]):
            peers.append(name)
        else:
            fail(f"{TITLES[name]} is not installed: {Path(sys.executable).name} -m pip install -r benches/peers/requirements.txt")
    print(", ".join(f"{k} {v}" for k, v in about["versions"].items()), flush=True)
    for key in args.networks:
        network, began = NETWORKS[key], time.monotonic()
        times = {"time": args.time or network.time, "warmup": network.warmup if args.warmup is None else args.warmup, "seed": args.seed}
        runs = results[key] = {name: [] for name in ["sharpwave", *peers]}
        broken = set() if "sharpwave" in about["versions"] else {"sharpwave"}
        for n in range(args.rounds):
            for name in runs:
                if name in broken:
                    continue
                try:
                    run = ours(args.binary, network, times) if name == "sharpwave" else peer(name, network, times)
                    runs[name].append({**run, "simulator": name, "network": key, "round": n, "load": round(os.getloadavg()[0], 2), **times})
                except Failed as error:
                    broken.add(name)
                    fail(f"{key} on {TITLES[name]}: {error}")
        print(f"\n{key}: {times['time']:g} ms after {times['warmup']:g} ms; {time.monotonic() - began:.0f} s for {args.rounds} rounds;"
              " processor s per model s, least / median / greatest")
        mean, differ = rates(runs)
        for name, rs in runs.items():
            if rs:
                shown = ", ".join(f"{p} {v:.2f}" for p, v in mean[name].items())
                plastic = rs[-1].get("weights_mv")
                shown += f"; weights {plastic['mean']:.5f} mV, sd {plastic['sd']:.5f}" if plastic else ""
                print(f"  {name:10} {spread([r['cpu_s_per_model_s'] for r in rs])}; {rs[-1]['synapses']} synapses; Hz: {shown}")
        for population in differ:
            print(f"  WARNING: rates of {population} differ: " + ", ".join(f"{s} {r[population]:.2f}" for s, r in mean.items()
                                                                          if population in r))
        sys.stdout.flush()
        if args.json:
            goals = {k: {p: cell(r, NETWORKS[k].goals, p) for p in peers} for k, r in results.items()}
            every = [x for r in results.values() for rs in r.values() for x in rs]
            Path(args.json).write_text(json.dumps({**about, "ratios": goals, "failures": failures, "runs": every}, indent=1) + "\n")
    print(f"\nProcessor seconds per second of model time, medians of {args.rounds} rounds, and ratios, median (least-greatest):\n")
    print(table(results, peers))
    if failures:
        print("\n" + "\n".join(f"FAILED {f.splitlines()[0]}" for f in failures))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
