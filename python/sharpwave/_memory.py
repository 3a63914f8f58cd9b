"""What a language model learns from single experiences."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _sharpwave, _values
from ._error import Error
from ._progress import Hears, shown
from ._run import stop

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True)
class Experience:
    """An experience in a memory, and what became of it."""

    id: str
    status: str
    """What came of it now: ``"learned"``, ``"known before"``, ``"refused"``; of a list, its stage."""
    stage: str
    """``"awake"``, ``"asleep"``, ``"superseded"``, ``"refused"``, ``"forgotten"`` or ``"pending"``."""
    reason: str | None
    """Why it was not learned."""
    note: str | None
    """What is worth telling about it."""
    surprise: float
    """-log p(answer | prompt) when it arrived, nats."""
    fields: dict[str, Any]
    """As it was told: ``prompt`` or ``messages``, ``answer``, ``outcome``, ``subject``, ``time``, ``tags``, ``user``."""

    @property
    def learned(self) -> bool:
        """Whether it is in effect."""
        return self.stage in ("awake", "asleep")


@dataclass(frozen=True)
class Answer:
    """What a memory's model said."""

    text: str
    ending: str
    """Why it ended: ``"token"`` (the model said so), ``"length"``, ``"context"`` or ``"caller"``."""
    experiences: dict[str, float]
    """The experiences that spoke, and the part of each one's prompt that the request covers."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, eq=False)
class LowRank:
    """A change of one linear layer: ``scale * B @ A`` is added to its weights (outputs x inputs)."""

    A: numpy.ndarray
    """rank x inputs, float32."""
    B: numpy.ndarray
    """outputs x rank, float32."""
    scale: float


@dataclass(frozen=True, eq=False)
class Adapter:
    """The one adapter of a memory."""

    layers: dict[str, LowRank]
    """By layer, such as ``"layers.3.down_proj"``."""
    left_out: list[str]
    """Experiences that it does not hold, because other texts would suffer."""


def _experience(text: str | dict[str, Any]) -> Experience:
    entry = json.loads(text) if isinstance(text, str) else text
    fields = entry["experience"]
    return Experience(
        fields["id"],
        entry["status"],
        entry["stage"],
        entry["reason"],
        entry["note"],
        entry["surprise"],
        {k: v for k, v in fields.items() if k != "id"},
    )


class Memory:
    """A memory folder: what one user taught one model, which itself is never changed.

    >>> with Memory("stories260k", "me") as m:
    ...     m.observe("The name of the dog was", "Max", subject="the dog")
    ...     m.answer("The name of the dog was").text
    ' Max'

    :param model: a folder as Hugging Face has them, a GGUF file, a name that ``sharpwave model pull`` got, or ``"stories260k"``, which is
        built in. A folder that is there knows its model.
    :param folder: made where there is none. Without one the memory is gone when it is closed.
    :param settings: of a new memory, such as ``{"coding": "exact", "sleep.steps": 40}``.
    :param protect: of a new memory, a file of prompts to protect, in the place of the built-in ones.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        folder: str | os.PathLike | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        protect: str | os.PathLike | None = None,
        progress: bool | str | Hears | None = "auto",
    ) -> None:
        self._progress = progress
        with self._shown() as hears:
            self._inner = _sharpwave.Memory(
                None if model is None else os.fspath(model),
                None if folder is None else os.fspath(folder),
                _values.settings(settings),
                None if protect is None else os.fspath(protect),
                hears,
            )

    def _shown(self) -> contextlib.AbstractContextManager[Hears | None]:
        return shown(self._progress)

    def observe(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        answer: str,
        outcome: str | float = "success",
        *,
        subject: str | None = None,
        id: str | None = None,
        user: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        join: str | None = None,
        time: str | None = None,
        tags: Sequence[str] | None = None,
        supersedes: str | None = None,
    ) -> Experience:
        """Takes an experience in: ``answer`` followed a prompt, or messages in OpenAI's form, and it was a ``"success"``, a ``"failure"``, or
        between (-1 to 1). What came of it: learned, known before, or refused with the reason; all is kept when this returns.

        :param subject: what it is about, copied from what was said; sleep needs it.
        """
        given = {
            "id": id,
            "user": user,
            "answer": answer,
            "outcome": outcome,
            "subject": subject,
            "tools": tools,
            "join": join,
            "time": time,
            "tags": tags,
            "supersedes": supersedes,
        }
        given["prompt" if isinstance(prompt, str) else "messages"] = prompt
        return self._observe(given)

    learn = observe

    def _observe(self, given: Mapping[str, Any]) -> Experience:
        line = _json("experience", {k: v for k, v in given.items() if v is not None})
        with self._shown() as hears:
            return _experience(self._inner.observe(line, hears))

    def observe_all(self, experiences: Iterable[Mapping[str, Any]]) -> list[Experience]:
        """The same of many, each a dict with the keys of files of experiences."""
        return [self._observe(experience) for experience in experiences]

    def answer(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        limit: int = 64,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        temperature: float = 0.0,
        seed: int = 1,
        said: Callable[[str], object] | None = None,
    ) -> Answer:
        """What the model says to a text that it continues, or to messages, with the experiences composed that the request asks for; up to
        ``limit`` tokens. ``said`` hears the text as it comes, and may return False when it has enough."""
        text, messages = (prompt, None) if isinstance(prompt, str) else (None, _json("messages", prompt))
        told = json.loads(
            self._inner.answer(text, messages, None if tools is None else _json("tools", tools), limit, temperature, seed, said, stop.get())
        )
        return Answer(told["text"], told["ending"], {part["id"]: part["coverage"] for part in told["parts"]})

    generate = answer

    def supersede(self, id: str, answer: str, new_id: str | None = None) -> Experience:
        """Another answer in the place of what an experience taught."""
        with self._shown() as hears:
            return _experience(self._inner.supersede(id, answer, new_id, hears))

    def forget(self, *ids: str) -> list[str]:
        """Forgets experiences, as if they had never been; all of them or, where one is unknown, none. The layers that they had changed."""
        if not ids:
            raise Error("nothing is to be forgotten", "name ids")
        return sorted({site for _, _, sites in self._inner.forget(list(ids)) for site in sites})

    def sleep(self, budget: float | str | None = None, *, told: Callable[[dict[str, Any]], object] | None = None) -> int:
        """Replays what was learned awake and moves it to an earlier layer, for so many seconds of wall time at most (or ``"10 min"``); how
        many moved. ``told`` hears of each: its id, stage, note, probability of the answer, and seconds; it may return False to wake up."""
        if budget is not None:
            budget = _values.seconds("budget", budget)
        said = None if told is None else lambda line: told(json.loads(line))
        with self._shown() as hears:
            return self._inner.sleep(budget, hears, said)

    @property
    def experiences(self) -> list[Experience]:
        """All of them, in order of arrival."""
        return [_experience(entry) for entry in json.loads(self._inner.entries())]

    def history(self, id: str) -> list[Experience]:
        """What was told about the same question as an experience, in order of time."""
        return [_experience(entry) for entry in json.loads(self._inner.history(id))]

    def capacity(self) -> dict[str, Any]:
        """How full it is: experiences that stand, those in the one adapter, directions taken, and what it does to other texts."""
        return json.loads(self._inner.capacity())

    def check(self) -> dict[str, Any]:
        """Asks for everything that stands, and makes the one adapter anew."""
        with self._shown() as hears:
            return json.loads(self._inner.check(hears))

    def adapter(self, *, damage: float | None = None) -> Adapter:
        """The one adapter of all experiences that fit together; ``damage`` lets it change other texts by so many nats in the mean."""
        self._damage(damage)
        layers, left_out = self._inner.adapter()
        return Adapter({site: LowRank(*term) for site, term in layers.items()}, left_out)

    def _damage(self, nats: float | None) -> None:
        if nats is not None:
            self._inner.set_damage(nats)

    def export(
        self,
        path: str | os.PathLike,
        format: str = "peft",
        *,
        rank: int | str | Mapping[str, int | str] = "all",
        damage: float | None = None,
        force: bool = False,
        lossy: bool = False,
    ) -> dict[str, Any]:
        """Writes the one adapter for another program: ``"peft"``, ``"gguf"``, ``"mlx"`` or ``"vllm-dir"``. What was written is read again and
        compared before it gets its name; what was written, and what it leaves out.

        :param rank: terms of each layer: a number, ``"all"``, ``"enough"`` (as few as lose no fact), or by layer.
        :param lossy: write although facts are lost at this rank.
        """
        self._damage(damage)
        words = [f"{k}={v}" for k, v in rank.items()] if isinstance(rank, Mapping) else [str(rank)]
        return json.loads(self._inner.export(os.path.abspath(path), format, words, force, lossy))

    def apply(self, model: Any, name: str = "sharpwave", *, damage: float | None = None) -> Any:
        """Puts the one adapter on a live model, as its adapter ``name``, in the place of one of that name: a ``PeftModel``, which is given back,
        or a model of transformers, around which one is made."""
        try:
            import peft
        except ImportError:
            raise Error("peft is not installed", "pip install peft, or write the adapter with export(path)") from None
        if not hasattr(model, "named_modules"):
            raise TypeError(f"{type(model).__name__} takes no adapters; give a PeftModel or a model of transformers")
        with tempfile.TemporaryDirectory(prefix="sharpwave-") as folder:
            path = os.path.join(folder, "adapter")
            self.export(path, "peft", damage=damage)
            if not isinstance(model, peft.PeftModel):
                return peft.PeftModel.from_pretrained(model, path, adapter_name=name)
            if name in model.peft_config:
                model.delete_adapter(name)
            model.load_adapter(path, adapter_name=name)
        model.set_adapter(name)
        return model

    @property
    def model(self) -> str:
        """The model's name or path."""
        return self._inner.model

    @property
    def settings(self) -> dict[str, Any]:
        """How it learns."""
        return json.loads(self._inner.settings())

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._inner.closed

    def close(self) -> None:
        """Frees the model, and lets other processes write the folder."""
        self._inner.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.experiences)

    def __repr__(self) -> str:
        return "<closed memory>" if self.closed else f"<memory of {self.model}: {len(self)} experiences>"


def _json(what: str, value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} cannot be written as JSON: {error}") from None
