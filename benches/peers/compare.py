"""sharpwave, Brian2 (C++ standalone) and NEST on the same networks, one thread, in turn: python compare.py [--rounds 3] [--nest].

Prints for each network the processor seconds per second of model time (construction and compilation left out) as
minimum, median and maximum over the rounds (sharpwave: over warm-up and measured time), and the ratio peer / sharpwave round by round. Needs a release build of sharpwave;
`pip install brian2 "numpy<2.3"` and, for --nest, `pip install nest-simulator`. Quote it from a quiet machine only.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OURS = {
    "pd14": ["potjans_diesmann_2014.toml", "--set", "scale.n=0.1", "--set", "scale.k=0.1"],
    "brunel": ["brunel_2000.toml", "--variant", "AI", "--set", "variables.N_E=9016", "--set", "variables.N_I=2254",
               "--set", "projections.0.rule.indegree=901", "--set", "projections.1.rule.indegree=225"],
    "cuba": ["vogels_abbott_cuba.toml"],
}


def last_json(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout[done.stdout.index("{"):])


def ours(binary, network, args):
    scenario, *more = OURS[network]
    run = last_json([binary, "run", ROOT / "models/scenarios" / scenario, *more, "--engine", "cpu", "--threads", "1", "--json", "--quiet",
                     "--seed", str(args.seed), "--set", f"simulation.duration={args.time} ms", "--set", f"simulation.warmup={args.warmup} ms"])
    rates = {p["name"]: round(p["rate"], 3) for p in run["statistics"]["populations"]}
    return {"simulator": "sharpwave", "cpu_s_per_model_s": run["cpu_s"] / run["simulated_ms"] * 1e3, "rates_hz": rates,
            "synapses": run["synapses"], "bytes_per_synapse": run["synapse_bytes"] / max(run["synapses"], 1)}


def peer(name, network, args):
    # numpy's and the peers' own threads are kept to one.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return last_json([sys.executable, HERE / f"{name}_{network}.py", "--time", str(args.time), "--warmup", str(args.warmup),
                      "--seed", str(args.seed)], cwd=HERE, env=environment)


def spread(values):
    return f"{min(values):8.3f} {statistics.median(values):8.3f} {max(values):8.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--time", type=float, default=1000.0, help="ms of model time")
    parser.add_argument("--warmup", type=float, default=100.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nest", action="store_true", help="NEST as well")
    parser.add_argument("--networks", nargs="+", default=list(OURS), choices=list(OURS))
    parser.add_argument("--binary", default=str(ROOT / "target/release/sharpwave"))
    args = parser.parse_args()
    peers = ["brian2"] + ["nest"] * args.nest
    for network in args.networks:
        runs = {name: [] for name in ["sharpwave", *peers]}
        for _ in range(args.rounds):
            runs["sharpwave"].append(ours(args.binary, network, args))
            for name in peers:
                runs[name].append(peer(name, network, args))
        print(f"\n{network}: processor s per model s (min, median, max over {args.rounds} rounds); ratio to sharpwave")
        base = [r["cpu_s_per_model_s"] for r in runs["sharpwave"]]
        for name, results in runs.items():
            cpu = [r["cpu_s_per_model_s"] for r in results]
            ratio = "" if name == "sharpwave" else "   x" + spread([c / b for c, b in zip(cpu, base)])
            print(f"  {name:10} {spread(cpu)}{ratio}")
        for name, results in runs.items():
            rates = {k: v for k, v in results[-1]["rates_hz"].items()}
            print(f"  {name:10} {results[-1]['synapses']} synapses, rates {rates}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
