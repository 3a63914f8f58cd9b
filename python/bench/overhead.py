"""What the Python package costs: seconds to import it, and `sw.run` beside the command on the same network.

    python python/bench/overhead.py [SCENARIO] [REPEATS]

Both record to a file, on one thread, in turn. Wall time says what a user waits, processor time what other programs on the machine cannot
change; medians of both are told. SHARPWAVE_PROGRAM names the program; without it the command of the package runs.
"""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import sharpwave as sw

SETTINGS = {"simulation.duration": "1 s"}


def measured(who: int, work):
    """What the work gave, with its wall and processor seconds."""
    used = lambda: sum(resource.getrusage(who)[:2])  # noqa: E731
    wall, cpu = time.perf_counter(), used()
    done = work()
    return done, (time.perf_counter() - wall, used() - cpu)


def main() -> None:
    scenario = sys.argv[1] if len(sys.argv) > 1 else str(pathlib.Path(__file__).parents[2] / "models/scenarios/vogels_abbott_cuba.toml")
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    program = os.environ.get("SHARPWAVE_PROGRAM")
    command = [program] if program else [sys.executable, "-m", "sharpwave"]
    code = "import time; t = time.perf_counter(); import sharpwave; print(time.perf_counter() - t)"
    imports = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) for _ in range(repeats)
    ]
    sw.run(scenario, set={"simulation.duration": "1 ms", "simulation.warmup": 0}, threads=1, progress=False)
    ours, theirs = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            words = [*command, "run", scenario, "--out", os.path.join(folder, "r.h5"), "--json", "--quiet", "--threads", "1"]
            words += [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
            call = lambda: subprocess.run(words, capture_output=True, text=True, check=True).stdout  # noqa: E731
            told, times = measured(resource.RUSAGE_CHILDREN, call)
            theirs.append(times)
            result, times = measured(resource.RUSAGE_SELF, lambda: sw.run(scenario, set=SETTINGS, threads=1, progress=False))
            ours.append(times)
            assert result.summary["spikes"] == json.loads(told)["spikes"]
    print(f"import sharpwave: {statistics.median(imports):.3f} s")
    for at, what in enumerate(("wall", "processor")):
        run, beside = (statistics.median(times[at] for times in all) for all in (ours, theirs))
        print(f"{what} time: sw.run {run:.3f} s, the command {beside:.3f} s: {100 * (run / beside - 1):+.1f} %")


if __name__ == "__main__":
    main()
