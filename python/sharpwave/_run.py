"""Runs from start to end, one or many."""

from __future__ import annotations

import contextvars
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from . import _sharpwave
from ._error import Error
from ._progress import Hears, shown
from ._results import Result
from ._scenario import Scenario, asked, count

T = TypeVar("T")

stop: contextvars.ContextVar[_sharpwave.Stop | None] = contextvars.ContextVar("stop", default=None)
"""What ends the work of this thread from another one."""


def run(
    scenario: Scenario,
    *,
    set: Mapping[str, Any] | None = None,
    variant: str | None = None,
    seed: int | None = None,
    duration: float | str | None = None,
    engine: str | None = None,
    threads: int | None = None,
    device: str | int | None = None,
    models: str | os.PathLike | Iterable[str | os.PathLike] = (),
    out: str | os.PathLike | None = None,
    force: bool = False,
    progress: bool | str | Hears | None = "auto",
) -> Result:
    """Runs a scenario as the command ``sharpwave run`` does, with the same spikes.

    :param scenario: a name (``"brunel_2000"``), a path, a text in TOML, or a :class:`Network`.
    :param set: values of the scenario to override, such as ``{"scale.n": 0.1}``.
    :param variant: named settings of the scenario.
    :param seed: seed of every random number.
    :param duration: ms, or a text such as ``"10 s"``.
    :param engine: ``"auto"``, ``"cpu"``, ``"gpu"`` or ``"event"``.
    :param threads: threads of the cpu engine; spikes do not depend on it.
    :param device: GPU, by number or part of its name.
    :param models: folders with own model files.
    :param out: file to record to; without one the recording is gone with the result (:meth:`Result.save` keeps it).
    :param force: whether to replace that file.
    :param progress: True, False, ``"auto"`` (where somebody watches), or a function of (part done, words).
    :raises Error: the scenario is refused, or the run fails. Ctrl-C ends the run with KeyboardInterrupt.
    """
    what = asked(
        scenario,
        set=set,
        variant=variant,
        seed=seed,
        duration=duration,
        engine=engine,
        threads=threads,
        device=device,
        models=models,
    )
    folder = tempfile.mkdtemp(prefix="sharpwave-") if out is None else None
    path = os.path.join(folder, "recording.h5") if folder else os.path.abspath(out)  # type: ignore[arg-type]
    try:
        with shown(progress) as hears:
            summary = _sharpwave.run(what, path, force, hears, stop.get())
        return Result(path, summary, folder)
    except BaseException:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def open(path: str | os.PathLike) -> Result:
    """A recording, or another simulator's file in SONATA's layout."""
    return Result(os.fspath(path))


def check(scenario: Scenario, **arguments: Any) -> dict[str, Any]:
    """Checks a scenario without simulating it: populations, projections, and the memory that it would need. Takes what :func:`run`
    takes of the scenario."""
    return json.loads(_sharpwave.check(asked(scenario, **arguments)))


def scenarios() -> dict[str, str]:
    """The scenarios that come along: their texts by name."""
    return dict(_sharpwave.scenarios())


def grid(values: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    """Every combination of values, as settings for :func:`map`: the last name changes fastest."""
    return [dict(zip(values, each)) for each in itertools.product(*values.values())]


def map(
    what: Callable[[Any], T] | Scenario,
    over: Iterable[Any],
    *,
    workers: int | None = None,
    progress: bool | str | Hears | None = "auto",
    **arguments: Any,
) -> list[T] | list[Result]:
    """Runs a scenario, or calls a function, for each of ``over``, as many at a time as there are cores; results in the same order.

    Of a scenario each of ``over`` is a seed or a dict of settings (see :func:`grid`); ``arguments`` are those of :func:`run`, with one
    thread a run where they do not say otherwise. A function gets each as it is; it may run what it wants, and other threads work
    while a simulation does. The first exception ends all.
    """
    each = list(over)
    function = what if callable(what) else _runs(what, arguments)
    if callable(what) and arguments:
        raise TypeError(f"a function takes its arguments from what it is mapped over, not {', '.join(arguments)}")
    workers = min(count("workers", os.cpu_count() or 1 if workers is None else workers), max(len(each), 1))
    if workers == 0:
        raise Error("0 workers do nothing", "give 1 or more, or leave it out")
    halt = _sharpwave.Stop()

    def one(item: Any) -> Any:
        stop.set(halt)
        return function(item)

    with ThreadPoolExecutor(workers, thread_name_prefix="sharpwave") as pool, shown(progress) as hears:
        futures = [pool.submit(contextvars.copy_context().run, one, item) for item in each]
        try:
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                if hears is not None and done:
                    hears(1 - len(waiting) / len(each), f"{len(each) - len(waiting)} of {len(each)}")
        except BaseException:
            halt.set()
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _runs(scenario: Scenario, arguments: dict[str, Any]) -> Callable[[Any], Result]:
    settings = dict(arguments.pop("set", None) or {})

    def one(item: Any) -> Result:
        if isinstance(item, Mapping):
            return run(scenario, **{"threads": 1, **arguments}, set={**settings, **item}, progress=False)
        return run(scenario, **{"threads": 1, **arguments}, set=settings, seed=count("a seed", item), progress=False)

    return one
