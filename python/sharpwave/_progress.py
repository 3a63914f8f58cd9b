"""How far work is, shown where somebody watches: a bar of tqdm where that is installed, else one line of text."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Hears = Callable[[float, str], object]
"""Told of progress: the part that is done, 0 to 1, and words."""

PATIENCE = 0.5
"""Seconds of work before anything is shown."""


class _Line:
    """One line on standard error that is written anew."""

    def __init__(self) -> None:
        self.length = 0

    def show(self, done: float, text: str) -> None:
        line = f"{100 * done:3.0f} % {text}"
        sys.stderr.write("\r" + line.ljust(self.length))
        sys.stderr.flush()
        self.length = len(line)

    def close(self) -> None:
        sys.stderr.write("\r" + " " * self.length + "\r")
        sys.stderr.flush()


class _Tqdm:
    """A bar of tqdm."""

    def __init__(self, tqdm: type) -> None:
        self.bar = tqdm(total=100, leave=False, bar_format="{l_bar}{bar}| {elapsed}<{remaining}")

    def show(self, done: float, text: str) -> None:
        self.bar.set_description(text, refresh=False)
        self.bar.n = round(100 * done, 1)
        self.bar.refresh()

    def close(self) -> None:
        self.bar.close()


def _watched() -> bool:
    return "ipykernel" in sys.modules or sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def shown(progress: bool | str | Hears | None) -> Iterator[Hears | None]:
    """Whom to tell: the function that was given, a display (True; "auto": where somebody watches), or nobody."""
    if callable(progress):
        yield progress
        return
    if progress not in (True, False, None, "auto"):
        raise TypeError(f'progress is {progress!r}; give True, False, "auto" or a function of (done, text)')
    if not progress or progress == "auto" and not _watched():
        yield None
        return
    began = time.monotonic()
    display: _Line | _Tqdm | None = None

    def hear(done: float, text: str) -> None:
        nonlocal display
        if display is None:
            if time.monotonic() - began < PATIENCE:
                return
            try:
                from tqdm import tqdm

                display = _Tqdm(tqdm)
            except ImportError:
                display = _Line()
        display.show(min(max(done, 0.0), 1.0), text)

    try:
        yield hear
    finally:
        if display is not None:
            display.close()
