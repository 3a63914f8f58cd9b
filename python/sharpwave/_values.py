"""Values of Python as a scenario file writes them, each checked before it is written."""

from __future__ import annotations

import json
import math
import numbers
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._error import Error
from ._sharpwave import milliseconds

if TYPE_CHECKING:
    import numpy

BARE = re.compile(r"[A-Za-z0-9_-]+")


def key(name: object) -> str:
    """A key, in quotes where it needs them."""
    if not isinstance(name, str):
        raise TypeError(f"a name is a text, not {type(name).__name__}")
    return name if BARE.fullmatch(name) else text(name)


def text(value: str) -> str:
    """A string of TOML."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def array(what: str, value: Any, kinds: str = "iuf") -> numpy.ndarray:
    """One column of finite numbers; ``what`` names it in messages."""
    import numpy

    try:
        column = numpy.asarray(value)
    except ValueError:
        raise Error(f"{what} is no array: its rows are of different lengths", "give one number an element") from None
    if column.dtype.kind not in kinds:
        wanted = "numbers" if "f" in kinds else "whole numbers"
        raise Error(
            f"{what} holds {column.dtype}, not {wanted}", f"convert it, for instance with .astype({'float' if 'f' in kinds else 'int'})"
        )
    if column.ndim != 1:
        raise Error(f"{what} has the shape {column.shape}", "give one column of numbers, for instance with .ravel()")
    finite = numpy.isfinite(column)
    if not finite.all():
        at = int(numpy.argmin(finite))
        raise Error(f"{what} holds {column[at]} at {at}", "give finite numbers")
    return column


def is_array(given: Any) -> bool:
    """Whether it is an array of one number or more dimensions, as numpy's are."""
    return hasattr(given, "__array__") and bool(getattr(given, "shape", None))


def value(what: str, given: Any) -> str:
    """A value of TOML; ``what`` names it in messages."""
    if hasattr(given, "toml"):
        return given.toml(what)
    if isinstance(given, bool) or getattr(given, "shape", None) == () and given.dtype.kind == "b":
        return "true" if given else "false"
    if isinstance(given, str):
        return text(given)
    if isinstance(given, numbers.Integral):
        return str(int(given))
    if isinstance(given, numbers.Real):
        number = float(given)
        if not math.isfinite(number):
            raise Error(f"{what} is {number}", "give a finite number, or leave it out")
        return repr(number)
    if isinstance(given, os.PathLike):
        return text(os.path.abspath(given))
    if isinstance(given, Mapping):
        return "{ " + ", ".join(f"{key(k)} = {value(f'{what}.{k}', v)}" for k, v in given.items()) + " }"
    if hasattr(given, "__array__"):
        return "[" + ", ".join(map(repr, array(what, given).tolist())) + "]"
    if isinstance(given, (list, tuple, range)):
        return "[" + ", ".join(value(f"{what}[{i}]", v) for i, v in enumerate(given)) + "]"
    raise TypeError(f'{what} is {given!r}; give a number, a text such as "20 ms", an array, a distribution or a dict')


def table(entries: Mapping[str, Any]) -> str:
    """Lines of a table; what is None is left out."""
    return "".join(f"{key(k)} = {value(k, v)}\n" for k, v in entries.items() if v is not None)


def settings(given: Mapping[str, Any] | None) -> list[str]:
    """Overrides as the command line takes them with ``--set``: a text stands as it is."""
    if given is None:
        return []
    if not isinstance(given, Mapping):
        raise TypeError('settings are a dict such as {"scale.n": 0.1}')
    return [f"{k}={v if isinstance(v, str) else value(k, v)}" for k, v in given.items()]


def time(what: str, given: Any) -> float:
    """A time in ms: a number, or a text with its unit."""
    if isinstance(given, str):
        return milliseconds(what, given)
    if isinstance(given, numbers.Real) and not isinstance(given, bool):
        if not math.isfinite(given):
            raise Error(f"{what} is {given}", "give a finite time")
        return float(given)
    raise TypeError(f'{what} is {given!r}; give ms, or a text such as "10 s"')


def seconds(what: str, given: Any) -> float:
    """Wall time in s: a number, or a text such as "90 s", "10 min" or "8 h"."""
    if isinstance(given, str):
        parts = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*(s|m|min|h)\s*", given)
        try:
            return float(parts[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600}[parts[2]]  # type: ignore[index]
        except (TypeError, ValueError):
            raise Error(f"{what} is {given!r}", 'give seconds, or a text such as "90 s", "10 min" or "8 h"') from None
    return time(what, given)
