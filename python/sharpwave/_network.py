"""Networks piece by piece: what is given becomes the text of a scenario, whose checks and names are those of every other."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _values
from ._error import Error
from ._results import remove
from ._sharpwave import write_edges

SOURCES = ("poisson", "sinusoidal_poisson", "inhomogeneous_poisson", "spike_generator", "images")
"""Populations without dynamics; what is given for them are no parameters of a model."""


class Distribution:
    """A distribution that values are drawn from: one for each neuron or synapse."""

    def __init__(self, name: str, **numbers: Any) -> None:
        self.entries = {"distribution": name, **{k: v for k, v in numbers.items() if v is not None}}

    def toml(self, what: str) -> str:
        """As a scenario writes it."""
        return _values.value(what, self.entries)

    def __repr__(self) -> str:
        name, *rest = self.entries.values()
        return f"{name}({', '.join(map(str, rest))})"


Quantity = float | str
"""A number in the unit of where it stands, or a text with its own."""


def uniform(low: Quantity, high: Quantity) -> Distribution:
    """All values from ``low`` to ``high`` alike."""
    return Distribution("uniform", low=low, high=high)


def normal(
    mean: Quantity, std: Quantity, *, low: Quantity | None = None, high: Quantity | None = None, redraw: bool | None = None
) -> Distribution:
    """Gaussian; what lies outside of ``low`` and ``high`` is clipped, or drawn again where ``redraw`` is True."""
    return Distribution("normal", mean=mean, std=std, low=low, high=high, redraw=redraw)


def lognormal(
    mean: Quantity, std: Quantity, *, low: Quantity | None = None, high: Quantity | None = None, redraw: bool | None = None
) -> Distribution:
    """Lognormal of this mean and standard deviation (of the values, not of their logarithms)."""
    return Distribution("lognormal", mean=mean, std=std, low=low, high=high, redraw=redraw)


def exponential(mean: Quantity, *, low: Quantity | None = None, high: Quantity | None = None, redraw: bool | None = None) -> Distribution:
    """Exponential of this mean."""
    return Distribution("exponential", mean=mean, low=low, high=high, redraw=redraw)


@dataclass(frozen=True)
class Population:
    """A population of a network; its name does as well."""

    name: str
    n: int | None

    def toml(self, what: str) -> str:
        """As a scenario names it."""
        return _values.text(self.name)


@dataclass(frozen=True)
class Projection:
    """A projection of a network, by its name; None where the scenario gives it one (``"E->I"``)."""

    name: str | None
    index: int


Ends = Population | str | Sequence[Population | str]


class Network:
    """A network that is put together in a program.

    >>> net = Network(dt="0.1 ms", seed=1, duration="1 s")
    >>> E = net.population("E", 800, "iaf_psc_exp", tau_m="20 ms", V_m=uniform(-65, -50))
    >>> net.project(E, E, rule="fixed_indegree", indegree=80, weight=normal(20, 2), delay="1.5 ms")
    >>> net.drive(E, "poisson_generator", rate="8 kHz", weight=20)

    Names and words are those of scenario files. Nothing is checked but shapes and types until the network is run, checked or written.
    """

    def __init__(
        self,
        dt: Quantity = "0.1 ms",
        seed: int = 1,
        *,
        duration: Quantity | None = None,
        warmup: Quantity | None = None,
        title: str | None = None,
        variables: Mapping[str, Any] | None = None,
        engine: str | None = None,
    ) -> None:
        self._simulation = {"dt": dt, "duration": duration, "warmup": warmup, "seed": seed, "engine": engine}
        self._title, self._variables = title, dict(variables or {})
        self._populations: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._projections: list[dict[str, Any]] = []
        self._drives: list[dict[str, Any]] = []
        self._modulators: dict[str, dict[str, Any]] = {}
        self._homeostasis: list[dict[str, Any]] = []
        self._edges: dict[int, list[Any]] = {}
        self._folder: str | None = None

    def population(
        self,
        name: str,
        n: int | None = None,
        model: str = "iaf_psc_exp",
        *,
        positions: Mapping[str, Any] | None = None,
        record: Mapping[str, Any] | None = None,
        random: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> Population:
        """``n`` neurons of a model, or sources of spikes (``SOURCES``).

        A parameter or an initial value is a number, a text with a unit, one number a neuron, or a distribution.
        """
        if not isinstance(name, str):
            raise TypeError(f"the name of a population is a text, not {type(name).__name__}")
        if name in self._populations:
            raise Error(f"there is already a population {name!r}", "give it another name")
        # What changes in time has one value a time.
        changing = ("times", "rates") if model in SOURCES else ()
        for key, given in parameters.items():
            if key in changing:
                continue
            self._fits(f"{key} of {name}", given, n)
        table: dict[str, Any] = {"model": model, "n": n, "positions": positions, "random": random}
        if model in SOURCES:
            table.update(parameters)
        elif parameters:
            table["params"] = parameters
        self._populations[name] = (table, dict(record or {}))
        return Population(name, n)

    @staticmethod
    def _fits(what: str, given: Any, n: int | None) -> None:
        if _values.is_array(given):
            column = _values.array(what, given)
            if n is not None and len(column) != n:
                raise Error(f"{what} has {len(column)} values for {n} neurons", f"give {n} values, one a neuron, or one for all")

    def project(
        self,
        source: Ends,
        target: Ends,
        *,
        rule: str | None = None,
        weight: Any = None,
        delay: Any = None,
        synapse: str | Mapping[str, Any] | None = None,
        receptor: str | None = None,
        name: str | None = None,
        autapses: bool | None = None,
        multapses: bool | None = None,
        record: Mapping[str, Any] | None = None,
        edges: tuple[Any, Any] | None = None,
        **parameters: Any,
    ) -> Projection:
        """Synapses from one population to another, by a rule (``rule="fixed_indegree", indegree=100``) or as given: ``edges`` are arrays
        of sources and targets, and ``weight`` and ``delay`` may then be arrays as well, one number a synapse."""
        node: dict[str, Any] = {"name": name, "source": self._ends(source), "target": self._ends(target)}
        at = len(self._projections)
        if edges is None:
            if rule is None:
                raise Error("there is no rule", 'give one, such as rule="fixed_indegree", indegree=100, or edges=(sources, targets)')
            for what, given in (("weight", weight), ("delay", delay)):
                if _values.is_array(given):
                    raise Error(
                        f"{what} is an array, and rule {rule!r} draws its synapses",
                        "give edges=(sources, targets) with it, or one number or distribution",
                    )
            node["rule"] = {"name": rule, **parameters} if parameters else rule
            columns = None
        else:
            if rule not in (None, "explicit") or parameters:
                raise Error("edges are given, and a rule as well", "keep one of them")
            columns, weight, delay = self._columns(edges, weight, delay)
        node.update(weight=weight, delay=delay, synapse=synapse, receptor=receptor, autapses=autapses, multapses=multapses, record=record)
        if columns is not None:
            self._edges[at] = columns
        self._projections.append(node)
        return Projection(name, at)

    @staticmethod
    def _columns(edges: Any, weight: Any, delay: Any) -> tuple[list[Any], Any, Any]:
        """Columns of given edges, and weight and delay that are the same for all."""
        import numpy

        try:
            source, target = edges
        except (TypeError, ValueError):
            raise Error("edges are not two arrays", "give edges=(sources, targets)") from None
        columns: list[Any] = []
        for what, given in (("sources", source), ("targets", target)):
            column = _values.array(what, given, "iu")
            if len(column) and (column.min() < 0 or column.max() >= 1 << 32):
                raise Error(
                    f"{what} holds {column.min() if column.min() < 0 else column.max()}", "ids count from 0 within their population"
                )
            columns.append(numpy.ascontiguousarray(column, numpy.uint32))
        if len(columns[0]) != len(columns[1]):
            raise Error(f"there are {len(columns[0])} sources and {len(columns[1])} targets", "give one of each a synapse")
        left: list[Any] = []
        for what, given in (("weight", weight), ("delay", delay)):
            if _values.is_array(given) or isinstance(given, (list, tuple)):
                column = numpy.ascontiguousarray(_values.array(what, given), numpy.float64)
                if len(column) != len(columns[0]):
                    raise Error(f"{what} has {len(column)} values for {len(columns[0])} synapses", "give one a synapse, or one for all")
                columns.append(column)
                left.append(None)
            else:
                columns.append(None)
                left.append(given)
        return columns, *left

    @staticmethod
    def _ends(ends: Ends) -> Any:
        if isinstance(ends, (Population, str)):
            return ends
        if isinstance(ends, (list, tuple)) and all(isinstance(end, (Population, str)) for end in ends):
            return list(ends)
        raise TypeError(f"{ends!r} is no population; give what population() gave, a name, or a list of them")

    def drive(self, target: Ends, type: str, *, name: str | None = None, **parameters: Any) -> None:
        """Input without synapses: ``"poisson_generator"``, ``"dc_generator"``, ``"ac_generator"``, ``"step_current_generator"``,
        ``"noise_generator"``."""
        self._drives.append({"name": name, "target": self._ends(target), "type": type, **parameters})

    def record(self, what: Population | Projection | str, **wanted: Any) -> None:
        """What is recorded of a population (``spikes``, ``states``, ``neurons``, ``interval``, ``rate_bin``) or a projection
        (``weights=True``, ``interval``)."""
        if isinstance(what, Projection):
            node = self._projections[what.index]
            node["record"] = {**(node["record"] or {}), **wanted}
            return
        name = what.name if isinstance(what, Population) else what
        if name not in self._populations:
            raise Error(f"there is no population {name!r}", f"there are: {', '.join(self._populations)}")
        self._populations[name][1].update(wanted)

    def modulator(self, name: str, **parameters: Any) -> None:
        """A global signal that gates plasticity, such as dopamine: ``tau``, ``initial``, ``jumps``, ``spikes``."""
        self._modulators[name] = parameters

    def homeostasis(self, **parameters: Any) -> None:
        """What acts at stated times on all weights onto a target, as [[homeostasis]] of a scenario has it."""
        self._homeostasis.append(parameters)

    def to_toml(self, *, duration: Quantity | None = None, edges: str | os.PathLike | None = None) -> str:
        """The scenario as text. Edges that were given as arrays go to files in the folder ``edges``, which the text names.

        :raises Error: the network has such edges and no folder is named; a value is none.
        """
        simulation = {**self._simulation, **({} if duration is None else {"duration": duration})}
        text = _values.table({"title": self._title}) + "\n[simulation]\n" + _values.table(simulation)
        if self._variables:
            text += "\n[variables]\n" + _values.table(self._variables)
        for name, parameters in self._modulators.items():
            text += f"\n[modulators.{_values.key(name)}]\n" + _values.table(parameters)
        for name, (table, record) in self._populations.items():
            text += f"\n[populations.{_values.key(name)}]\n" + _values.table({**table, "record": record or None})
        for at, node in enumerate(self._projections):
            rule = {"rule": {"name": "explicit", "file": self._written(at, edges)}} if at in self._edges else {}
            text += "\n[[projections]]\n" + _values.table({**node, **rule})
        for node in self._homeostasis:
            text += "\n[[homeostasis]]\n" + _values.table(node)
        for node in self._drives:
            text += "\n[[drives]]\n" + _values.table(node)
        return text.lstrip("\n")

    def _written(self, at: int, folder: str | os.PathLike | None) -> str:
        """Writes the edges of a projection; their file's name."""
        if folder is None:
            raise Error(
                "edges that are arrays do not fit in a text", "save(path) writes them beside it, to_toml(edges=folder) where you want"
            )
        name = f"edges-{at}.h5"
        path = os.path.join(folder, name)
        if os.path.exists(path):
            os.remove(path)
        write_edges(path, *self._edges[at])
        return name

    def save(self, path: str | os.PathLike) -> None:
        """Writes the scenario to a file, and edges that were given as arrays beside it."""
        text = self.to_toml(edges=os.path.dirname(os.path.abspath(path)))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def folder(self) -> str | None:
        """Where the arrays of a run go, which is gone with the network; None where there are none."""
        if self._edges and self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="sharpwave-")
            weakref.finalize(self, remove, self._folder, os.getpid())
        return self._folder

    def __repr__(self) -> str:
        return f"<network of {len(self._populations)} populations and {len(self._projections)} projections>"
