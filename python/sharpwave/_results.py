"""What was recorded: spikes, states, rates and weights by name, as numpy arrays that are read when they are asked for."""

from __future__ import annotations

import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._error import Error
from ._sharpwave import Recording

if TYPE_CHECKING:
    import numpy
    import pandas

T = TypeVar("T")


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise Error("pandas is not installed", "pip install pandas") from None
    return pandas


def suggest(what: str, name: object, names: list[str]) -> Error:
    """That there is no such name, and which there are."""
    import difflib

    near = difflib.get_close_matches(str(name), names, 1)
    remedy = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}" if names else "none were recorded"
    return Error(f"there is no {what} {name!r}", remedy)


class Named(Mapping[str, T], Generic[T]):
    """Things by name, each read once, when it is asked for."""

    def __init__(self, what: str, names: Mapping[str, Callable[[], T]]) -> None:
        self._what, self._read = what, dict(names)
        self._known: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._known:
            if name not in self._read:
                # Not a KeyError, which would hide the remedy in quotes; `in` and `get` answer without asking here.
                raise suggest(self._what, name, list(self._read))
            self._known[name] = self._read[name]()
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._read

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self._read else default

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)

    def __repr__(self) -> str:
        return f"<{self._what}s: {', '.join(self._read) or 'none'}>"

    def to_pandas(self) -> pandas.DataFrame:
        """All of them in one table, with their name in the first column."""
        pandas = _pandas()
        tables = {name: self[name].to_pandas() for name in self}  # type: ignore[attr-defined]
        if not tables:
            return pandas.DataFrame()
        table = pandas.concat(tables, names=[self._what]).reset_index(level=0)
        return table.reset_index(drop=table.index.name is None)


@dataclass(eq=False)
class Spikes:
    """Spikes of a population, in order of time."""

    name: str
    times: numpy.ndarray
    """ms, float64."""
    ids: numpy.ndarray
    """Neurons within the population, from 0; int64."""
    n: int
    """Neurons in the population."""

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        return f"<{len(self)} spikes of {self.name} ({self.n} neurons)>"

    def to_pandas(self) -> pandas.DataFrame:
        """Columns ``time`` (ms) and ``id``."""
        return _pandas().DataFrame({"time": self.times, "id": self.ids}, copy=False)


class _Array:
    """Numpy takes it as its values."""

    values: numpy.ndarray

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray:
        import numpy

        return numpy.array(self.values, dtype=dtype) if copy else numpy.asarray(self.values, dtype=dtype)


@dataclass(eq=False)
class States(_Array):
    """A state variable of some neurons of a population over time; numpy takes it as its values."""

    population: str
    variable: str
    unit: str
    times: numpy.ndarray
    """ms, float64."""
    ids: numpy.ndarray
    """Neurons within the population, one a column; int64."""
    values: numpy.ndarray
    """times x neurons, float32."""

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        return f"<{self.variable} of {len(self.ids)} neurons of {self.population} at {len(self)} times, in {self.unit or '1'}>"

    def to_pandas(self) -> pandas.DataFrame:
        """A row a time (ms), a column a neuron."""
        pandas = _pandas()
        index = pandas.Index(self.times, name="time")
        return pandas.DataFrame(self.values, index=index, columns=pandas.Index(self.ids, name="id"), copy=False)


@dataclass(eq=False)
class Rates(_Array):
    """Mean rate of a population over time; numpy takes it as its values."""

    population: str
    times: numpy.ndarray
    """ms at which the bins begin, float64."""
    values: numpy.ndarray
    """Hz, float64."""
    bin: float
    """Width of a bin, ms."""

    def __len__(self) -> int:
        return len(self.times)

    def to_pandas(self) -> pandas.DataFrame:
        """Columns ``time`` (ms) and ``rate`` (Hz)."""
        return _pandas().DataFrame({"time": self.times, "rate": self.values}, copy=False)


@dataclass(eq=False)
class Weights(_Array):
    """Weights of a projection's synapses at some times."""

    projection: str
    source: numpy.ndarray
    """Neurons of the source population, one a synapse; int64."""
    target: numpy.ndarray
    """Neurons of the target population, one a synapse; int64."""
    times: numpy.ndarray
    """ms, float64."""
    values: numpy.ndarray
    """times x synapses, float32."""
    unit: str

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:
        return f"<{len(self)} weights of {self.projection} at {len(self.times)} times, in {self.unit or '1'}>"

    def to_pandas(self) -> pandas.DataFrame:
        """A row a synapse: ``source``, ``target``, and a column a time (ms)."""
        pandas = _pandas()
        ends = pandas.DataFrame({"source": self.source, "target": self.target})
        return pandas.concat([ends, pandas.DataFrame(self.values.T, columns=self.times)], axis=1)


def of_states(pieces: Mapping[str, list[tuple]]) -> Named[Named[States]]:
    """States by population and variable, of (variable, unit, ids, times, rows)."""

    def variables(population: str, all: list[tuple]) -> Callable[[], Named[States]]:
        made = {v: (lambda v=v, u=u, i=i, t=t, x=x: States(population, v, u, t, i, x)) for v, u, i, t, x in all}
        return lambda: Named("state", made)

    return Named("population", {name: variables(name, all) for name, all in pieces.items()})


def remove(folder: str, process: int) -> None:
    """Removes a folder, unless this process is a fork of the one that made it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


class Result:
    """What a run recorded."""

    def __init__(self, path: str, summary: str | None = None, scratch: str | None = None) -> None:
        self._recording = Recording(path)
        self._path = path
        self._summary = summary
        if scratch is not None:
            # With the recording, which what was read here may outlive.
            weakref.finalize(self._recording, remove, scratch, os.getpid())

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the run was made from, and how far it came."""
        return json.loads(self._recording.info())

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the run gave: rates, irregularity, correlation and synchrony of every population under ``statistics``, counts, times.
        Of a file that was opened, what it says of its run (:attr:`info`)."""
        return self.info if self._summary is None else json.loads(self._summary)

    @cached_property
    def populations(self) -> dict[str, int]:
        """Neurons of every population."""
        return {name: n for name, n, _, _ in self._recording.populations()}

    @cached_property
    def spikes(self) -> Named[Spikes]:
        """Spikes of every population that was recorded."""
        recording = self._recording

        def read(name: str, n: int) -> Callable[[], Spikes]:
            return lambda: Spikes(name, *recording.spikes(name), n)

        return Named("population", {name: read(name, n) for name, n, kept, _ in recording.populations() if kept is not None})

    @cached_property
    def states(self) -> Named[Named[States]]:
        """States that were recorded, by population and variable."""
        import numpy

        recording = self._recording
        all: dict[str, dict[str, Callable[[], States]]] = {}
        for at, (population, variable, unit, ids, start, interval, rows) in enumerate(recording.reports()):

            def read(p=population, v=variable, u=unit, i=ids, s=start, d=interval, n=rows, at=at) -> States:
                return States(p, v, u, s + d * numpy.arange(n), i, recording.report(at))

            all.setdefault(population, {})[variable] = read

        def variables(read: dict[str, Callable[[], States]]) -> Callable[[], Named[States]]:
            return lambda: Named("state", read)

        return Named("population", {population: variables(read) for population, read in all.items()})

    @cached_property
    def rates(self) -> Named[Rates]:
        """Rates that were recorded."""
        import numpy

        def read(population: str, start: float, bin: float, rate: numpy.ndarray) -> Callable[[], Rates]:
            return lambda: Rates(population, start + bin * numpy.arange(len(rate)), rate, bin)

        return Named("population", {series[0]: read(*series) for series in self._recording.rates()})

    @cached_property
    def weights(self) -> Named[Weights]:
        """Weights that were recorded, by projection."""
        recording = self._recording

        def read(at: int, projection: str, unit: str, times: numpy.ndarray) -> Callable[[], Weights]:
            return lambda: Weights(projection, *recording.edges(at), times, recording.weight(at), unit)

        series = enumerate(recording.weights())
        return Named("projection", {name: read(at, name, unit, times) for at, (name, _, _, unit, times, _) in series})

    def stimulus(self, population: str) -> tuple[numpy.ndarray, numpy.ndarray] | None:
        """Onsets (ms) and labels of what a population presented; None where it presented nothing."""
        return self._recording.stimulus(population)

    def save(self, path: str | os.PathLike, force: bool = False) -> str:
        """Keeps the recording as an HDF5 file in SONATA's layout, which :func:`open` reads; where it is."""
        path = os.path.abspath(path)
        if os.path.exists(path) and not force:
            raise Error(f"{path} exists", "name another file, or pass force=True to replace it")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.copyfile(self._path, path)
        except OSError as error:
            raise Error(f"the recording cannot be kept: {error}", "name another file", path) from error
        return path

    def __repr__(self) -> str:
        kept = ", ".join(f"{name} ({n})" for name, n in self.populations.items())
        return f"<result of {self.info['title'] or self.info['scenario']!r}: {kept}>"
