"""Runs: what they give is what the program gives, and every mistake is an exception that says what to do."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import sharpwave as sw
from conftest import SCENARIOS


def test_spikes_are_those_of_the_program_byte_for_byte(program, tmp_path):
    scenario = SCENARIOS / "vogels_abbott_cuba.toml"
    settings = {"simulation.duration": "150 ms", "simulation.seed": 5}
    ours = sw.run(scenario, set=settings, threads=2)
    file = tmp_path / "program.h5"
    told = program(
        "run", scenario, "--set", "simulation.duration=150 ms", "--set", "simulation.seed=5", "--threads", 1, "--out", file, "--json"
    )
    theirs = sw.open(file)
    assert list(ours.spikes) == list(theirs.spikes) == list(ours.populations)
    for name in ours.spikes:
        assert len(ours.spikes[name]) > 100
        assert ours.spikes[name].times.tobytes() == theirs.spikes[name].times.tobytes()
        assert ours.spikes[name].ids.tobytes() == theirs.spikes[name].ids.tobytes()
    assert ours.summary["statistics"] == json.loads(told)["statistics"]
    assert ours.summary["spikes"] == sum(map(len, ours.spikes.values()))


def test_results_have_the_documented_shapes(balanced):
    r = sw.run(balanced)
    spikes = r.spikes["E"]
    assert (spikes.times.dtype, spikes.ids.dtype, spikes.n) == (np.float64, np.int64, 400)
    assert spikes.times.base is not None or spikes.times.flags.owndata
    assert np.all(np.diff(spikes.times) >= 0) and 0 < spikes.times[0] and spikes.times[-1] <= 200
    assert set(np.unique(spikes.ids)) <= set(range(400))
    trace = r.states["E"]["V_m"]
    assert trace.values.shape == (200, 2) == np.asarray(trace).shape and trace.values.dtype == np.float32
    assert trace.unit == "mV" and trace.times[1] - trace.times[0] == 1.0 and list(trace.ids) == [0, 1]
    rate = r.rates["E"]
    assert len(rate) == 20 and rate.bin == 10
    counted = np.histogram(spikes.times, 20, (0.05, 200.05))[0] / 400 / 10e-3
    np.testing.assert_allclose(np.asarray(rate), counted)
    assert "E" in r.spikes and "X" not in r.spikes and r.spikes.get("X") is None
    with pytest.raises(sw.Error, match="did you mean 'V_m'"):
        r.states["E"]["Vm"]


def test_tables_of_pandas(balanced, net):
    pandas = pytest.importorskip("pandas")
    r = sw.run(balanced)
    table = r.spikes.to_pandas()
    assert list(table.columns) == ["population", "time", "id"]
    assert table.groupby("population").size().to_dict() == {name: len(s) for name, s in r.spikes.items()}
    trace = r.states["E"]["V_m"]
    assert trace.to_pandas().shape == (200, 2) and list(trace.to_pandas().index[:2]) == [1.0, 2.0]
    states = r.states.to_pandas()
    assert list(states.columns) == ["population", "time", "state", 0, 1] and states[1].to_numpy().tolist() == trace.values[:, 1].tolist()
    assert list(r.rates["E"].to_pandas().columns) == ["time", "rate"]
    weights = sw.run(net).weights["plastic"]
    assert isinstance(weights.to_pandas(), pandas.DataFrame) and weights.to_pandas().shape == (1000, 4)


def test_a_result_outlives_its_file_only_when_it_is_saved(balanced, tmp_path):
    r = sw.run(balanced)
    hidden = pathlib.Path(r._path)
    kept = r.save(tmp_path / "kept" / "r.h5")
    with pytest.raises(sw.Error, match="exists"):
        r.save(kept)
    r.save(kept, force=True)
    again = sw.open(kept)
    assert again.spikes["E"].times.tobytes() == r.spikes["E"].times.tobytes()
    assert again.info["seed"] == 3 and again.summary["complete"]
    assert hidden.exists()
    del r
    assert not hidden.parent.exists()
    assert len(again.spikes["I"]) > 0


def test_settings_override_the_scenario(balanced):
    r = sw.run(balanced, set={"variables.g": 4, "populations.I.n": np.int64(50)}, seed=9, duration="50 ms", engine="cpu")
    assert r.info["overrides"] == ["variables.g=4", "populations.I.n=50", "simulation.seed=9", "simulation.duration=50.0"]
    assert (r.info["seed"], r.info["until_ms"], r.populations["I"]) == (9, 50.0, 50)
    other = sw.run(balanced, seed=10, duration=50)
    assert not np.array_equal(other.spikes["E"].times, sw.run(balanced, seed=9, duration=50).spikes["E"].times)


def test_a_scenario_that_comes_along_has_a_name():
    assert "brunel_2000" in sw.scenarios()
    small = {"variables.N_E": 400, "variables.N_I": 100, "simulation.warmup": 0}
    named = sw.run("brunel_2000", set=small, duration=50, variant="SR")
    text = sw.run(sw.scenarios()["brunel_2000"], set=small, duration=50, variant="SR")
    assert named.info["title"].startswith("Brunel 2000") and len(named.spikes["E"]) > 100
    assert named.spikes["E"].times.tobytes() == text.spikes["E"].times.tobytes()
    with pytest.raises(sw.Error, match="brunel_2000"):
        sw.run("brunel_200")


def test_check_says_what_there_is(balanced):
    found = sw.check(balanced)
    assert found["populations"] == {"E": 400, "I": 100} and found["synapses"] == 25_000
    assert found["projections"] == ["E->E", "E->I", "I->E", "I->I"]


@pytest.mark.parametrize(
    "scenario, arguments, message",
    [
        ("[simulation]\nduration = 1\n", {}, "no `populations`"),
        ("[simulation]\nduration = \n", {}, "TOML"),
        ("no_such_scenario.toml", {}, "no such file"),
        ("", {}, "no such file"),
        (None, {"engine": "quantum"}, "unknown engine"),
        (None, {"set": {"variables.gg": 1}}, "did you mean `g`"),
        (None, {"set": {"simulation.duration": float("nan")}}, "is nan"),
        (None, {"threads": 0}, "0 threads"),
        (None, {"variant": "AI"}, "no variant"),
        (None, {"seed": -1}, "seed is -1"),
        (None, {"duration": "5 mV"}, "mV"),
        (None, {"duration": float("inf")}, "finite"),
        (None, {"models": "no/such/folder"}, "no/such/folder"),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(balanced, scenario, arguments, message):
    with pytest.raises(sw.Error, match=message) as caught:
        sw.run(balanced if scenario is None else scenario, **arguments)
    assert caught.value.remedy and caught.value.message and str(caught.value.remedy) in str(caught.value)


@pytest.mark.parametrize(
    "scenario, arguments",
    [
        (7, {}),
        (b"x", {}),
        (None, {"set": [1]}),
        (None, {"seed": 1.5}),
        (None, {"set": {"variables.g": object()}}),
        (None, {"progress": "loud"}),
    ],
)
def test_wrong_types_are_type_errors(balanced, scenario, arguments):
    with pytest.raises(TypeError):
        sw.run(balanced if scenario is None else scenario, **arguments)


def test_an_error_knows_its_place(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text('[simulation]\nduration = "1 s"\n[populations.E]\nmodel = "iaf_psc_expp"\nn = 3\n')
    with pytest.raises(sw.Error) as caught:
        sw.run(file)
    error = caught.value
    assert (error.file, error.line, error.column) == (str(file), 4, 9)
    assert error.message == "unknown model `iaf_psc_expp`" and error.remedy == "did you mean `iaf_psc_exp`?"
    assert str(error) == f"{file}:4:9: {error.message} ({error.remedy})"
    import pickle

    assert pickle.loads(pickle.dumps(error)).line == 4


def test_a_file_that_is_there_is_kept(balanced, tmp_path):
    out = tmp_path / "r.h5"
    sw.run(balanced, duration=10, out=out)
    with pytest.raises(sw.Error, match="exists"):
        sw.run(balanced, duration=10, out=out)
    assert sw.run(balanced, duration=20, out=out, force=True).info["until_ms"] == 20
    with pytest.raises(sw.Error, match="not an HDF5 file"):
        (tmp_path / "text").write_text("hello")
        sw.open(tmp_path / "text")
    with pytest.raises(sw.Error):
        sw.open(tmp_path / "nothing.h5")


def test_progress_is_told_on_the_callers_thread_and_what_it_raises_ends_the_run(balanced):
    heard = []

    def hear(done, text):
        assert threading.current_thread() is threading.main_thread()
        heard.append(done)

    sw.run(balanced, set={"populations.E.n": 4000}, duration="3 s", progress=hear)
    assert heard and all(0 <= done <= 1 for done in heard)

    class Enough(Exception):
        pass

    def enough(done, text):
        raise Enough

    began = time.monotonic()
    with pytest.raises(Enough):
        sw.run(balanced, duration="1000 s", progress=enough)
    assert time.monotonic() - began < 20


INTERRUPTED = """
import os, signal, sys, threading, time
import sharpwave as sw
threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
began = time.monotonic()
try:
    {work}
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - began < 15)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    "work",
    [
        # Within the callback itself.
        "sw.run(sys.argv[1], duration='10000 s', progress=lambda done, text: time.sleep(30))",
        "sw.run(sys.argv[1], duration='10000 s')",
        "sw.map(sys.argv[1], [1, 2, 3], duration='10000 s', workers=2)",
        "sw.map(lambda seed: sw.run(sys.argv[1], seed=seed, duration='10000 s'), [1, 2])",
        "sw.Simulation(sys.argv[1]).advance('10000 s')",
    ],
)
def test_ctrl_c_ends_work(balanced, work):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED.format(work=work), balanced], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "interrupted True", done.stderr


def test_other_threads_run_while_a_simulation_does(balanced):
    ticks, over = [], threading.Event()

    def tick():
        while not over.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.01)

    thread = threading.Thread(target=tick)
    thread.start()
    began = time.monotonic()
    sw.run(balanced, set={"populations.E.n": 4000}, duration="2 s", threads=1, progress=False)
    took = time.monotonic() - began
    over.set()
    thread.join()
    assert took > 0.2 and np.max(np.diff(ticks)) < max(0.3, took / 4)


def test_a_map_is_in_order_and_equal_to_single_runs(balanced):
    seeds = [4, 1, 3]
    many = sw.map(balanced, seeds, duration="50 ms")
    assert [r.info["seed"] for r in many] == seeds
    one = sw.run(balanced, seed=1, duration="50 ms")
    assert many[1].spikes["E"].times.tobytes() == one.spikes["E"].times.tobytes()
    sweep = sw.grid({"variables.g": [3.0, 6.0], "populations.I.n": [50, 100]})
    assert len(sweep) == 4 and sweep[1] == {"variables.g": 3.0, "populations.I.n": 100}
    swept = sw.map(balanced, sweep, duration="50 ms", set={"simulation.seed": 2})
    assert [r.populations["I"] for r in swept] == [50, 100, 50, 100] and {r.info["seed"] for r in swept} == {2}
    assert sw.map(lambda x: x * x, range(5)) == [0, 1, 4, 9, 16] and sw.map(balanced, []) == []
    with pytest.raises(sw.Error, match="did you mean"):
        sw.map(balanced, [{"variables.gg": 1}])
    with pytest.raises(ZeroDivisionError):
        sw.map(lambda x: 1 / x, [1, 0])
    with pytest.raises(TypeError):
        sw.map(balanced, ["one"])
    with pytest.raises(TypeError):
        sw.map(lambda x: x, [1], seed=1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_is_told_what_to_do(balanced):
    r = sw.run(balanced, duration=10)
    hidden = pathlib.Path(r._path)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            sw.run(balanced, duration=10, progress=False)
            said = "ran"
        except sw.Error as error:
            said = error.remedy
        except BaseException as error:
            said = repr(error)
        del r
        os.write(write, said.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert "spawn" in os.read(read, 1000).decode()
    assert hidden.exists() and len(r.spikes["E"]) >= 0


def test_the_command_comes_along(tmp_path, balanced):
    file = tmp_path / "net.toml"
    file.write_text(balanced)

    def call(*arguments):
        return subprocess.run([sys.executable, "-m", "sharpwave", *map(str, arguments)], capture_output=True, text=True, timeout=300)

    assert call("--version").stdout.split() == ["sharpwave", sw.__version__]
    done = call("run", file, "--out", tmp_path / "r.h5", "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    ours = sw.run(file)
    assert sw.open(tmp_path / "r.h5").spikes["E"].times.tobytes() == ours.spikes["E"].times.tobytes()
    refused = call("run", tmp_path / "none.toml")
    assert refused.returncode == 1 and "none.toml" in refused.stderr
    assert call("run", file, "--out", tmp_path / "r.h5").returncode == 2
