"""Networks in a program: what they write is what a scenario file says, and wrong values are refused before."""

import numpy as np
import pytest

import sharpwave as sw


def test_a_network_is_a_scenario(tmp_path, program):
    net = sw.Network(dt="0.1 ms", seed=1, duration="100 ms", title='Two "kinds"', variables={"g": 5.0})
    E = net.population("E", 80, "iaf_psc_exp", tau_m="20 ms", V_m=sw.uniform(-65, -50), I_e=np.linspace(0, 400, 80))
    net.population("L23 I", 20, record={"rate_bin": "10 ms"})
    every = net.project(E, E, rule="fixed_indegree", indegree=8, weight=sw.normal(20, 2, low=0), delay="1.5 ms", autapses=False)
    net.project("L23 I", [E, "L23 I"], rule="pairwise_bernoulli", p=0.1, weight="-g * 20 pA", delay=1)
    net.drive([E, "L23 I"], "poisson_generator", rate="8 kHz", weight=40)
    net.record(E, states=["V_m"], neurons=[0, 3], interval="1 ms")
    net.record(every, weights=True)
    path = tmp_path / "net.toml"
    net.save(path)
    assert path.read_text() == net.to_toml()
    ours, read = sw.run(net), sw.run(path)
    out = tmp_path / "out.h5"
    program("run", path, "--out", out)
    for other in (read, sw.open(out)):
        for name in ours.spikes:
            assert ours.spikes[name].times.tobytes() == other.spikes[name].times.tobytes()
    assert len(ours.spikes["E"]) > 50 and ours.info["title"] == 'Two "kinds"'
    assert ours.states["E"]["V_m"].values.shape == (100, 2) and list(ours.states["E"]["V_m"].ids) == [0, 3]
    assert ours.weights["E->E"].values.shape == (2, 640)
    assert repr(E.name) == "'E'" and "2 populations" in repr(net)


def test_edges_are_arrays(tmp_path, program):
    source, target = np.array([0, 1, 2, 2]), np.array([1, 0, 0, 1], np.int32)
    net = sw.Network(duration="20 ms")
    pre = net.population("pre", 3, "spike_generator", times=[[1.0], [2.0], [3.0]])
    post = net.population("post", 2, "iaf_psc_delta", record={"states": "V_m", "interval": "0.1 ms"})
    net.project(
        pre,
        post,
        edges=(source, target),
        weight=np.array([1.0, 2.0, 4.0, 8.0]),
        delay=np.array([1, 1.5, 1, 2]),
        name="given",
        record={"weights": True},
    )
    r = sw.run(net)
    got = r.weights["given"]
    assert sorted(zip(got.source, got.target, got.values[0])) == [(0, 1, 1.0), (1, 0, 2.0), (2, 0, 4.0), (2, 1, 8.0)]
    steps = np.diff(np.asarray(r.states["post"]["V_m"]), axis=0)
    at = {(int(i), round(float(r.states["post"]["V_m"].times[k + 1]), 1)) for k, i in zip(*np.nonzero(steps > 0.5))}
    assert at == {(1, 2.0), (0, 3.5), (0, 4.0), (1, 5.0)}
    with pytest.raises(sw.Error, match="do not fit in a text"):
        net.to_toml()
    net.save(tmp_path / "net.toml")
    program("run", tmp_path / "net.toml", "--out", tmp_path / "r.h5")
    assert np.array_equal(sw.open(tmp_path / "r.h5").states["post"]["V_m"].values, r.states["post"]["V_m"].values)
    folder = net.folder()
    del net
    import pathlib

    assert not pathlib.Path(folder).exists()


@pytest.mark.parametrize(
    "given, message",
    [
        (np.array([1.0, np.nan, 3.0]), "nan at 1"),
        (np.array([1.0, 2.0]), "2 values for 3"),
        (np.ones((3, 1)), r"shape \(3, 1\)"),
        (np.array(["a", "b", "c"]), "holds <U1, not numbers"),
        (np.array([1j, 2, 3]), "complex128"),
        (np.array([True, False, True]), "bool"),
        (float("inf"), "is inf"),
    ],
)
def test_wrong_values_of_neurons(given, message):
    with pytest.raises(sw.Error, match=message) as caught:
        net = sw.Network(duration=10)
        net.population("E", 3, I_e=given)
        net.to_toml()
    assert caught.value.remedy


@pytest.mark.parametrize(
    "edges, more, message",
    [
        (([0, 1], [0]), {}, "2 sources and 1 targets"),
        (([0.5], [0]), {}, "not whole numbers"),
        (([-1], [0]), {}, "holds -1"),
        (([0], [0]), {"weight": np.ones(2)}, "2 values for 1"),
        (([0], [0]), {"delay": np.array([np.nan])}, "nan at 0"),
        (([0], [0]), {"rule": "all_to_all"}, "a rule as well"),
        (7, {}, "two arrays"),
        (None, {"rule": "all_to_all", "weight": np.ones(3)}, "draws its synapses"),
        (None, {}, "no rule"),
    ],
)
def test_wrong_edges(edges, more, message):
    net = sw.Network(duration=10)
    E = net.population("E", 3)
    with pytest.raises(sw.Error, match=message):
        net.project(E, E, edges=edges, **more)


def test_what_the_scenario_refuses_is_said_in_its_words():
    net = sw.Network(duration=10)
    E = net.population("E", 3, tau_m="20 mV")
    with pytest.raises(sw.Error, match="mV") as caught:
        sw.run(net)
    assert caught.value.file == "network" and "tau_m" in net.to_toml().splitlines()[caught.value.line - 1]
    net = sw.Network(duration=10)
    E = net.population("E", 3)
    net.project(E, E, rule="fixed_indegre", indegree=1)
    with pytest.raises(sw.Error, match="did you mean `fixed_indegree`"):
        sw.check(net)
    net = sw.Network(duration=10)
    E = net.population("E", 3)
    net.project(E, E, edges=([0, 7], [1, 2]), weight=1, delay=1)
    with pytest.raises(sw.Error, match="source 7 is out of range"):
        sw.run(net)
    with pytest.raises(sw.Error, match="already a population"):
        net.population("E", 1)
    with pytest.raises(sw.Error, match="no population"):
        net.record("F", states="V_m")
    with pytest.raises(TypeError):
        net.project(3, E, rule="all_to_all")
    with pytest.raises(TypeError):
        net.population("G", 1, tau_m=object()) and net.to_toml()


def test_distributions_are_written_as_they_are_given():
    net = sw.Network(duration=10)
    net.population(
        "E", 10, V_m=sw.normal("-60 mV", "2 mV", low=-70, redraw=True), tau_m=sw.lognormal(20, 1), C_m=sw.exponential(100, low=50), E_L=-65
    )
    text = net.to_toml()
    assert 'V_m = { distribution = "normal", mean = "-60 mV", std = "2 mV", low = -70, redraw = true }' in text
    assert sw.check(net)["neurons"] == 10
