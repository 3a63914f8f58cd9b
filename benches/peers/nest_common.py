"""NEST on one thread, and the clock around its simulation. Neurons exchange spikes once per shortest delay of the network, and the
connection to a recorder counts among the delays: it gets the shortest of the network, so that it costs NEST nothing."""

import time

import nest
import numpy as np


def start(args):
    nest.verbosity = nest.VerbosityLevel.ERROR
    nest.ResetKernel()
    nest.set(resolution=0.1, rng_seed=args.seed, local_num_threads=1, print_time=False)


def connect(net, rng, exc, inh):
    """The synapses of a Vogels & Abbott network, drawn as for Brian2: NEST's own rule asks every pair, which takes minutes at 40,000
    neurons. Their number."""
    source, target = net.pairs(rng)
    ids = np.array((exc + inh).tolist())
    for chosen, weight in ((source < net.n_exc, net.w_exc), (source >= net.n_exc, net.w_inh)):
        n = int(chosen.sum())
        nest.Connect(ids[source[chosen]], ids[target[chosen]], "one_to_one", {"weight": np.full(n, weight), "delay": np.full(n, net.delay)})
    return len(source)


def run(args, populations):
    """Simulate; wall s, CPU s and rates (Hz) of the named populations."""
    recorders = {}
    delay = nest.min_delay
    for name, neurons in populations.items():
        recorders[name] = nest.Create("spike_recorder", params={"start": args.warmup, "record_to": "memory"})
        nest.Connect(neurons, recorders[name], syn_spec={"delay": delay})
    with nest.RunManager():
        nest.Run(args.warmup)
        wall, cpu = time.perf_counter(), time.process_time()
        nest.Run(args.time)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rates = {k: recorders[k].n_events / len(populations[k]) / args.time * 1000.0 for k in populations}
    return wall, cpu, rates


def version():
    return nest.__version__
