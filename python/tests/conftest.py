"""What several tests use: the repository's files, the program, small networks, and a memory that has learned."""

import os
import pathlib
import subprocess
import sys

import pytest

import sharpwave as sw

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCENARIOS = ROOT / "models" / "scenarios"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache of its own, for the program and the module."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def program():
    """The `sharpwave` program to compare with: SHARPWAVE_PROGRAM, else the command of the package."""
    named = os.environ.get("SHARPWAVE_PROGRAM")
    command = [named] if named else [sys.executable, "-m", "sharpwave"]

    def call(*arguments, folder=None):
        done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, cwd=folder, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


BALANCED = """
[simulation]
duration = "200 ms"
seed = 3
[variables]
g = 5.0
[populations.E]
model = "iaf_psc_exp"
n = 400
record = { states = "V_m", neurons = 2, interval = "1 ms", rate_bin = "10 ms" }
[populations.I]
model = "iaf_psc_exp"
n = 100
[[projections]]
source = "E"
target = ["E", "I"]
rule = { name = "fixed_indegree", indegree = 40 }
weight = "30 pA"
delay = "1.5 ms"
[[projections]]
source = "I"
target = ["E", "I"]
rule = { name = "fixed_indegree", indegree = 10 }
weight = "-g * 30 pA"
delay = "1 ms"
[[drives]]
target = ["E", "I"]
type = "poisson_generator"
rate = "8 kHz"
weight = "60 pA"
"""


@pytest.fixture(scope="session")
def balanced():
    """500 neurons, as text."""
    return BALANCED


@pytest.fixture
def net():
    """Poisson input onto 50 neurons by plastic synapses."""
    net = sw.Network(dt="0.1 ms", seed=2, duration="100 ms")
    pre = net.population("input", 20, "poisson", rate="40 Hz", record={"spikes": True})
    post = net.population("cells", 50, "iaf_psc_exp", I_e="500 pA", record={"states": ["V_m"], "neurons": 3, "interval": "1 ms"})
    net.project(
        pre, post, rule="all_to_all", weight="20 pA", delay="1 ms", synapse="stdp_synapse", name="plastic", record={"weights": True}
    )
    return net
