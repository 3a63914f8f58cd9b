"""What the Python package costs: seconds to import it, and `sw.run` beside the command on the same network.

    python python/bench/overhead.py [SCENARIO] [REPEATS]

Both record to a file; the command's own start and end are told apart by the wall time that its summary names. The pairs are run in turn,
and medians are told.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import sharpwave as sw

SETTINGS = {"simulation.duration": "1 s"}


def main() -> None:
    scenario = sys.argv[1] if len(sys.argv) > 1 else str(pathlib.Path(__file__).parents[2] / "models/scenarios/vogels_abbott_cuba.toml")
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    program = os.environ.get("SHARPWAVE_PROGRAM")
    command = [program] if program else [sys.executable, "-m", "sharpwave"]
    code = "import time; t = time.perf_counter(); import sharpwave; print(time.perf_counter() - t)"
    imports = [float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) for _ in range(repeats)]
    ours, theirs, wall = [], [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "r.h5")
            words = [*command, "run", scenario, "--out", out, "--json", "--quiet", "--threads", "1"]
            words += [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
            began = time.perf_counter()
            summary = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
            wall.append(time.perf_counter() - began)
            theirs.append(summary["build_s"] + summary["simulate_s"])
            began = time.perf_counter()
            result = sw.run(scenario, set=SETTINGS, threads=1, progress=False)
            ours.append(time.perf_counter() - began)
            assert result.summary["spikes"] == summary["spikes"]
    run, beside, whole = (statistics.median(times) for times in (ours, theirs, wall))
    print(f"import sharpwave: {statistics.median(imports):.3f} s")
    print(f"sw.run: {run:.3f} s; the command: {whole:.3f} s in all, {beside:.3f} s of them building and simulating")
    print(f"sw.run costs {100 * (run / whole - 1):+.1f} % beside the command, {100 * (run / beside - 1):+.1f} % beside what it simulates")


if __name__ == "__main__":
    main()
