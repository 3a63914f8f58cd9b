"""A network that is advanced step by step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from . import _sharpwave, _values
from ._error import Error
from ._network import Population, Projection
from ._progress import Hears, shown
from ._results import Named, Spikes, States, Weights, of_states
from ._run import stop
from ._scenario import Asked, Scenario, asked


class Stretch:
    """What happened in one stretch of a simulation."""

    def __init__(self, start: float, stop: float, spikes: Named[Spikes], states: Named[Named[States]]) -> None:
        self.start, self.stop = start, stop
        self.spikes, self.states = spikes, states

    def __repr__(self) -> str:
        return f"<{sum(len(s) for s in self.spikes.values())} spikes from {self.start:g} to {self.stop:g} ms>"


class Simulation:
    """A network in motion: what a scenario says of it is built once and advanced as far as you say; between two stretches rates, signals and
    learning may change, and weights be read.

    >>> with Simulation(net) as sim:
    ...     first = sim.advance("100 ms")
    ...     sim.set_rates("input", 20.0)
    ...     second = sim.advance("100 ms")

    The scenario's duration has no meaning here. Spikes and states are those that the scenario records; rates in bins and weights over
    time are for :func:`run`. A Ctrl-C during :meth:`advance` leaves the simulation where it came to, and what happened on the way comes
    with the next stretch.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        set: Mapping[str, Any] | None = None,
        variant: str | None = None,
        seed: int | None = None,
        engine: str | None = None,
        threads: int | None = None,
        device: str | int | None = None,
        models: str | os.PathLike | Iterable[str | os.PathLike] = (),
        progress: bool | str | Hears | None = "auto",
    ) -> None:
        what = asked(
            scenario,
            set=set,
            variant=variant,
            seed=seed,
            duration=1e3 if hasattr(scenario, "to_toml") else None,
            engine=engine,
            threads=threads,
            device=device,
            models=models,
        )
        self._open(what, None, progress)

    def _open(self, what: Asked, checkpoint: str | None, progress: bool | str | Hears | None) -> None:
        self._progress = progress
        # The network's files are looked at again by nobody, and go with it.
        self._asked = what
        with shown(progress) as hears:
            self._inner = _sharpwave.Simulation(what, checkpoint, hears, stop.get())
        populations, self._projections = self._inner.names()
        self._populations = dict(populations)

    @classmethod
    def resume(
        cls,
        checkpoint: str | os.PathLike,
        scenario: Scenario | None = None,
        *,
        seed: int | None = None,
        set: Mapping[str, Any] | None = None,
        variant: str | None = None,
        engine: str | None = None,
        threads: int | None = None,
        device: str | int | None = None,
        models: str | os.PathLike | Iterable[str | os.PathLike] = (),
        progress: bool | str | Hears | None = "auto",
    ) -> Simulation:
        """Goes on from a checkpoint, of :meth:`checkpoint` or of the command line. With another ``seed`` or ``set`` it is a branch: the same
        network under other input.

        The scenario is the checkpoint's own unless one is given, as it must be where its network was made from arrays of edges; a variant
        that was chosen has to be named again.
        """
        path = os.fspath(checkpoint)
        name, text, overrides = _sharpwave.origin(path)
        more: dict[str, Any] = {"variant": variant, "engine": engine, "threads": threads, "device": device, "models": models}
        if scenario is None:
            what = asked(name, set=set, seed=seed, **more)
            what.text, what.folder = text, os.path.dirname(name) or None
            what.settings = overrides + what.settings
        else:
            what = asked(scenario, set=set, seed=seed, duration=1e3 if hasattr(scenario, "to_toml") else None, **more)
            what.settings = overrides + what.settings
        self = cls.__new__(cls)
        self._open(what, path, progress)
        return self

    def advance(self, duration: float | str) -> Stretch:
        """Goes on by so many ms (or ``"1 s"``), a whole number of steps; what happened."""
        ms = _values.time("duration", duration)
        with shown(self._progress) as hears:
            start, end, spikes, states = self._inner.advance(ms, hears, stop.get())
        made = {name: (lambda n=name, t=times, i=ids: Spikes(n, t, i, self._populations[n])) for name, (times, ids) in spikes.items()}
        return Stretch(start, end, Named("population", made), of_states(states))

    @property
    def time(self) -> float:
        """ms of model time until now."""
        return self._inner.now()[0]

    @property
    def dt(self) -> float:
        """ms of a step."""
        return self._inner.now()[1]

    @property
    def engine(self) -> str:
        """The engine, and what it runs on."""
        return self._inner.now()[2]

    @property
    def populations(self) -> dict[str, int]:
        """Neurons of every population."""
        return dict(self._populations)

    @property
    def projections(self) -> list[str]:
        """Names of the projections."""
        return list(self._projections)

    def weights(self, projection: Projection | str) -> Weights:
        """Weights of a projection as they stand now."""
        import numpy

        name = self._name(projection)
        source, target, weight, unit = self._inner.weights(name)
        return Weights(name, source, target, numpy.array([self.time]), weight[None, :], unit)

    def _name(self, projection: Projection | str) -> str:
        if isinstance(projection, Projection):
            return projection.name or self._projections[projection.index]
        return projection

    def set_rates(self, population: Population | str, rates: Any) -> None:
        """Rates (Hz) of a population of Poisson sources from now on: one for all, or one a source."""
        import numpy

        name = population.name if isinstance(population, Population) else population
        if numpy.ndim(rates) == 0:
            rates = numpy.full(self._populations.get(name, 1), rates)
        column = numpy.ascontiguousarray(_values.array("rates", rates), numpy.float64)
        self._inner.set_rates(name, column)

    def jump(self, modulator: str, amount: float) -> None:
        """Lets a signal jump now: spikes from the next step on see it."""
        if amount != amount:
            raise Error("amount is nan", "give a finite number")
        self._inner.jump(modulator, amount)

    def set_learning(self, projection: Projection | str, on: bool) -> None:
        """Whether the plastic weights of a projection change from now on."""
        self._inner.set_learning(self._name(projection), on)

    def checkpoint(self, path: str | os.PathLike, force: bool = False) -> None:
        """Writes the state of now to a file, from which :meth:`resume` and ``sharpwave run --resume`` go on bit for bit."""
        self._inner.checkpoint(os.fspath(path), force)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._inner.closed

    def close(self) -> None:
        """Frees network and engine; everything but this raises :class:`Error` afterwards."""
        self._inner.close()

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "<closed simulation>" if self.closed else f"<simulation at {self.time:g} ms on {self.engine}>"
