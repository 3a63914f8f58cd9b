"""NEST on one thread, and the clock around its simulation."""

import time

import nest


def start(args):
    nest.set_verbosity("M_ERROR")
    nest.ResetKernel()
    nest.set(resolution=0.1, rng_seed=args.seed, local_num_threads=1, print_time=False)


def run(args, populations):
    """Simulate; wall s, CPU s and rates (Hz) of the named populations."""
    recorders = {}
    for name, neurons in populations.items():
        recorders[name] = nest.Create("spike_recorder", params={"start": args.warmup, "record_to": "memory"})
        nest.Connect(neurons, recorders[name], syn_spec={"delay": 0.1})
    with nest.RunManager():
        nest.Run(args.warmup)
        wall, cpu = time.perf_counter(), time.process_time()
        nest.Run(args.time)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rates = {k: recorders[k].n_events / len(populations[k]) / args.time * 1000.0 for k in populations}
    return wall, cpu, rates


def version():
    return nest.__version__
