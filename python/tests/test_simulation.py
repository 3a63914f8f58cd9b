"""Simulations step by step."""

import os

import numpy as np
import pytest

import sharpwave as sw


def test_stretches_are_a_run_in_pieces(balanced):
    whole = sw.run(balanced)
    with sw.Simulation(balanced) as sim:
        assert (sim.time, sim.dt) == (0.0, 0.1) and sim.populations == {"E": 400, "I": 100}
        pieces = [sim.advance("30 ms"), sim.advance(70), sim.advance("0.1 s")]
        assert sim.time == 200.0 and [(p.start, p.stop) for p in pieces] == [(0, 30), (30, 100), (100, 200)]
    for name in whole.spikes:
        assert np.concatenate([p.spikes[name].times for p in pieces]).tobytes() == whole.spikes[name].times.tobytes()
        assert np.concatenate([p.spikes[name].ids for p in pieces]).tobytes() == whole.spikes[name].ids.tobytes()
    together = np.concatenate([np.asarray(p.states["E"]["V_m"]) for p in pieces])
    assert np.array_equal(together, whole.states["E"]["V_m"].values)
    np.testing.assert_allclose(np.concatenate([p.states["E"]["V_m"].times for p in pieces]), whole.states["E"]["V_m"].times)


def test_a_checkpoint_goes_on_bit_for_bit_and_branches(balanced, net, tmp_path):
    with sw.Simulation(balanced) as sim:
        sim.advance(50)
        sim.checkpoint(tmp_path / "c")
        with pytest.raises(sw.Error, match="exists"):
            sim.checkpoint(tmp_path / "c")
        sim.checkpoint(tmp_path / "c", force=True)
        on = sim.advance(50)
    with sw.Simulation.resume(tmp_path / "c") as again, sw.Simulation.resume(tmp_path / "c", seed=8) as branch:
        assert again.time == branch.time == 50.0
        same, other = again.advance(50), branch.advance(50)
    assert same.spikes["E"].times.tobytes() == on.spikes["E"].times.tobytes()
    assert same.spikes["E"].times.tobytes() != other.spikes["E"].times.tobytes()
    with pytest.raises(sw.Error, match="not a checkpoint|not an HDF5"):
        (tmp_path / "text").write_text("no")
        sw.Simulation.resume(tmp_path / "text")
    with pytest.raises(sw.Error):
        sw.Simulation.resume(tmp_path / "c", scenario=net)


def test_rates_weights_and_learning(net):
    with sw.Simulation(net) as sim:
        before = sim.weights("plastic")
        assert before.values.shape == (1, 1000) and np.all(before.values == 20)
        assert before.source.max() == 19 and before.target.max() == 49
        sim.set_rates("input", 0.0)
        assert len(sim.advance(100).spikes["input"]) <= 20
        sim.set_rates("input", np.r_[np.zeros(19), 500.0])
        assert set(sim.advance(100).spikes["input"].ids) == {19}
        learned = sim.weights("plastic").values
        assert not np.array_equal(learned, before.values)
        sim.set_learning("plastic", False)
        sim.advance(50)
        held = sim.weights("plastic").values
        sim.advance(50)
        assert np.array_equal(sim.weights("plastic").values, held)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda sim: sim.advance(0.05), "cannot advance by 0.05"),
        (lambda sim: sim.advance(-1), "cannot advance"),
        (lambda sim: sim.advance(float("nan")), "nan"),
        (lambda sim: sim.advance("1 mV"), "mV"),
        (lambda sim: sim.weights("plastik"), "did you mean `plastic`"),
        (lambda sim: sim.set_rates("inputs", 1.0), "did you mean `input`"),
        (lambda sim: sim.set_rates("cells", 1.0), "cells"),
        (lambda sim: sim.set_rates("input", np.ones(3)), "3"),
        (lambda sim: sim.set_rates("input", np.full(20, -1.0)), "-1"),
        (lambda sim: sim.set_rates("input", np.full(20, np.nan)), "nan"),
        (lambda sim: sim.set_rates("input", np.ones((20, 1))), "shape"),
        (lambda sim: sim.set_rates("input", np.array(["a"] * 20)), "not numbers"),
        (lambda sim: sim.jump("dopamine", 1.0), "no modulator"),
        (lambda sim: sim.checkpoint("/dev/null/c"), "dev/null"),
    ],
)
def test_wrong_calls_change_nothing(net, call, message):
    with sw.Simulation(net) as sim:
        with pytest.raises(sw.Error, match=message):
            call(sim)
        assert sim.time == 0 and len(sim.advance(10).spikes) == 2


def test_a_closed_simulation_says_so(net):
    sim = sw.Simulation(net)
    assert not sim.closed
    sim.close()
    sim.close()
    assert sim.closed and "closed" in repr(sim)
    for call in (lambda: sim.advance(1), lambda: sim.weights("plastic"), lambda: sim.time, lambda: sim.checkpoint("x")):
        with pytest.raises(sw.Error, match="closed"):
            call()


def test_what_a_callback_raises_leaves_a_usable_simulation(balanced):
    calls, sims = [], []

    def hear(done, text):
        if sims and not calls:
            calls.append(done)
            with pytest.raises(sw.Error, match="at work"):
                sims[0].advance(1)
            raise RuntimeError("enough")

    sim = sw.Simulation(balanced, set={"populations.E.n": 4000}, progress=hear, threads=1)
    sims.append(sim)
    with pytest.raises(RuntimeError, match="enough"):
        sim.advance("100 s")
    came_to = sim.time
    assert 0 < came_to < 100_000
    rest = sim.advance(10)
    assert (rest.start, rest.stop) == (0.0, came_to + 10)
    whole = sw.run(balanced, set={"populations.E.n": 4000}, duration=came_to + 10)
    assert rest.spikes["E"].times.tobytes() == whole.spikes["E"].times.tobytes()
    sim.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_simulation_stays_in_its_process(net):
    sim = sw.Simulation(net)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            sim.advance(10)
            said = "advanced"
        except BaseException as error:
            said = str(error)
        try:
            del sim
        finally:
            os.write(write, said.encode())
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0 and "forked" in os.read(read, 1000).decode()
    assert sim.advance(10).stop == 10
