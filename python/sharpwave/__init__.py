"""sharpwave: an event-driven spiking-network simulator that learns for transformers.

>>> import sharpwave as sw
>>> r = sw.run("brunel_2000", set={"simulation.duration": "200 ms"})
>>> r.spikes["E"].times, r.spikes["E"].ids

A scenario is a name (of those that come along), a path, a text in TOML, or a :class:`Network`. The words are those of scenario files;
quantities are numbers in ms, mV, pA, pF, nS and Hz, or texts such as ``"20 ms"``.
"""

from ._error import Error
from ._memory import Adapter, Answer, Experience, LowRank, Memory
from ._network import Distribution, Network, Population, Projection, exponential, lognormal, normal, uniform
from ._run import check, grid, map, open, run, scenarios
from ._results import Rates, Result, Spikes, States, Weights
from ._sharpwave import __version__
from ._simulation import Simulation, Stretch

__all__ = [
    "Adapter",
    "Answer",
    "Distribution",
    "Error",
    "Experience",
    "LowRank",
    "Memory",
    "Network",
    "Population",
    "Projection",
    "Rates",
    "Result",
    "Simulation",
    "Spikes",
    "States",
    "Stretch",
    "Weights",
    "__version__",
    "check",
    "exponential",
    "grid",
    "lognormal",
    "map",
    "normal",
    "open",
    "run",
    "scenarios",
    "uniform",
]
