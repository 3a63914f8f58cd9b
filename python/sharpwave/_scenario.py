"""What a run is asked for, as the library takes it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import _values
from ._error import Error
from ._network import Network

Scenario = str | os.PathLike | Network
"""A name, a path, a text in TOML, or a network."""


@dataclass
class Asked:
    """A scenario and what is to be different; the library reads these attributes."""

    scenario: str
    text: str | None = None
    folder: str | None = None
    settings: list[str] = field(default_factory=list)
    variant: str | None = None
    engine: str | None = None
    threads: int | None = None
    device: str | None = None
    models: list[str] = field(default_factory=list)
    network: Network | None = None


def asked(
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
) -> Asked:
    """What the arguments of a run say."""
    if sys.platform == "linux":
        # Mesa's drivers complain on standard error when this variable is missing, as it is on servers; they never use it here.
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    settings = _values.settings(set)
    if seed is not None:
        settings.append(f"simulation.seed={count('seed', seed)}")
    if threads is not None:
        threads = count("threads", threads)
    if isinstance(models, (str, os.PathLike)):
        models = [models]
    more: dict[str, Any] = {
        "variant": variant,
        "engine": engine,
        "threads": threads,
        "device": None if device is None else str(device),
        "models": [os.fspath(folder) for folder in models],
    }
    if isinstance(scenario, Network):
        folder = scenario.folder()
        text = scenario.to_toml(duration=duration, edges=folder)
        return Asked("network", text, folder, settings, network=scenario, **more)
    if duration is not None:
        settings += _values.settings({"simulation.duration": _values.time("duration", duration)})
    if isinstance(scenario, str) and "\n" in scenario:
        return Asked("scenario", scenario, None, settings, **more)
    if isinstance(scenario, (str, os.PathLike)):
        return Asked(os.fspath(scenario), None, None, settings, **more)
    raise TypeError(f"a scenario is a name, a path, a text in TOML or a Network, not {type(scenario).__name__}")


def count(what: str, given: Any) -> int:
    """A whole number, 0 or more."""
    try:
        number = given.__index__()
    except AttributeError:
        raise TypeError(f"{what} is {given!r}; give a whole number") from None
    if number < 0 or number >= 1 << 64:
        raise Error(f"{what} is {number}", "give a whole number, 0 or more")
    return number
