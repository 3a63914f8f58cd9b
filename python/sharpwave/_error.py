"""The one exception of the package."""

from __future__ import annotations


class Error(Exception):
    """What was refused or failed, with what to do about it.

    ``message`` says what is wrong, ``remedy`` what to do (None where that is not known); ``file``, ``line`` and ``column`` say where
    (None where the input is no text).
    """

    def __init__(
        self,
        message: str,
        remedy: str | None = None,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message, remedy, file, line, column)
        self.message = message
        self.remedy = remedy
        self.file = file
        self.line = line
        self.column = column

    def __str__(self) -> str:
        place = [str(part) for part in (self.file, self.line, self.column) if part is not None]
        text = f"{':'.join(place)}: {self.message}" if place else self.message
        return f"{text} ({self.remedy})" if self.remedy else text
