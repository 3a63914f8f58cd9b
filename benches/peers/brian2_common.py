"""Brian2 as C++ standalone on one thread. The binary itself writes the CPU and wall clock before and after the measured run, so
that construction and compilation do not count. NEST's refractory period of n steps is Brian2's of n + 1: the scripts add a step."""

import atexit
import shutil
import tempfile
from pathlib import Path

import brian2
from brian2 import Network, Synapses, defaultclock, device, ms, prefs, set_device

CLOCKS = r"""
{ struct timespec c, w; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &c); clock_gettime(CLOCK_MONOTONIC, &w);
  FILE *f = fopen("clocks.txt", "a"); fprintf(f, "%.9f %.9f\n", c.tv_sec + 1e-9*c.tv_nsec, w.tv_sec + 1e-9*w.tv_nsec); fclose(f); }
"""


def start(args):
    directory = Path(tempfile.mkdtemp(prefix="brian2_"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    set_device("cpp_standalone", directory=str(directory), build_on_run=False)
    prefs.devices.cpp_standalone.openmp_threads = 0
    prefs.devices.cpp_standalone.extra_make_args_unix = ["-j2"]
    prefs.codegen.cpp.headers += ["<ctime>", "<cstdio>"]
    defaultclock.dt = 0.1 * ms
    brian2.seed(args.seed)
    return directory


def connect(cells, net, source, target, effects, namespace):
    """Two groups of synapses, from the first n_exc cells and from the others, with what a spike does in each."""
    groups = []
    for chosen, effect in zip((source < net.n_exc, source >= net.n_exc), effects):
        s = Synapses(cells, cells, on_pre=effect, delay=net.delay * ms, namespace=namespace)
        s.connect(i=source[chosen], j=target[chosen])
        groups.append(s)
    return groups


def simulate(args, directory, objects, monitor, populations):
    """Run warm-up and measured time; wall s, CPU s and rates (Hz) of the populations {name: (first, n)} of the monitored group."""
    network = Network(*objects, monitor)
    network.run(args.warmup * ms)
    device.insert_code("main", CLOCKS)
    network.run(args.time * ms)
    device.insert_code("main", CLOCKS)
    device.build(compile=True, run=False, directory=str(directory))
    device.run(directory=str(directory), with_output=False)
    lines = [[float(x) for x in line.split()] for path in directory.glob("**/clocks.txt") for line in path.read_text().splitlines()]
    (cpu0, wall0), (cpu1, wall1) = lines
    late = monitor.i[monitor.t >= args.warmup * ms]
    rates = {k: ((late >= a) & (late < a + n)).sum() / n / args.time * 1000.0 for k, (a, n) in populations.items()}
    return wall1 - wall0, cpu1 - cpu0, rates


def version():
    return brian2.__version__
