"""What a run will do: its settings, its levels, the requests of each. Pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spark_cluster.bench import images
from spark_cluster.bench.prompts import Calibration, prompt
from spark_cluster.bench.results import Kind

#: A level's warm-up: as many requests as run at once, at most this many.
WARM_UP = 8

#: Four times what runs at once: a level is four waves, and their scatter shows.
WAVES = 4

_FEWEST = {"sweep": 8, "prefill": 5, "image": 8}

_LOOK = "Describe this picture in detail."


@dataclass(frozen=True)
class Settings:
    """What the user asked for. `levels` are concurrencies, prompt lengths in tokens, or edges of a
    picture in pixels; `concurrency` is that of prefill and image. Of `requests` and `seconds`, for
    each level, at most one is given. `salt` makes the prompts new for every run; with the same seed
    and salt they are the same."""

    kind: Kind
    levels: tuple[int, ...]
    input_tokens: int
    output_tokens: int
    salt: str
    concurrency: int = 1
    requests: int | None = None
    seconds: float | None = None
    warm_up: int | None = None
    seed: int = 0
    stall: float = 600.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Step:
    """One level to come. `requests` is None for a level that lasts `seconds`; `asked` is what
    --requests said, if it was less than one for each at once."""

    name: str
    value: int
    concurrency: int
    requests: int | None
    seconds: float | None
    warm_up: int
    input_tokens: int
    output_tokens: int
    edge: int = 0
    asked: int | None = None


def steps(settings: Settings) -> list[Step]:
    """The levels, in the order given."""
    return [_step(settings, value) for value in settings.levels]


def _step(settings: Settings, value: int) -> Step:
    kind = settings.kind
    concurrency = value if kind == "sweep" else settings.concurrency
    names = {"sweep": f"c={value}", "prefill": f"{value} tokens", "image": f"{value}x{value}"}
    requests = settings.requests or max(_FEWEST[kind], WAVES * concurrency)
    warm_up = min(concurrency, WARM_UP) if settings.warm_up is None else settings.warm_up
    return Step(
        name=names[kind],
        value=value,
        concurrency=concurrency,
        requests=None if settings.seconds else max(requests, concurrency),
        seconds=settings.seconds,
        warm_up=warm_up,
        input_tokens=value if kind == "prefill" else settings.input_tokens,
        output_tokens=settings.output_tokens,
        edge=value if kind == "image" else 0,
        asked=settings.requests if (settings.requests or concurrency) < concurrency else None,
    )


def fitting(planned: Sequence[Step], max_model_len: int | None) -> tuple[list[Step], list[str]]:
    """The levels that the server's context has room for, and a word on each of the others."""
    kept, notes = [], []
    for step in planned:
        needed = step.input_tokens + step.output_tokens
        if max_model_len is not None and needed > max_model_len:
            notes.append(
                f"{step.name} left out: {step.input_tokens} + {step.output_tokens} tokens are more "
                f"than the server's context of {max_model_len}"
            )
        else:
            kept.append(step)
    return kept, notes


@dataclass(frozen=True)
class Query:
    """A request, ready to be sent."""

    path: str
    body: bytes


def queries(
    step: Step, settings: Settings, calibration: Calibration, model: str, *, warm_up: bool = False
) -> Iterator[Query]:
    """The level's requests, without end. Those of its warm-up are others.

    Each for exactly so many tokens, streamed, from an engine that knows `ignore_eos`.
    """
    streamed = {
        "max_tokens": step.output_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    asked: dict[str, Any]
    part = "warm-up" if warm_up else "measured"
    for number in itertools.count():
        key = (settings.seed, settings.salt, step.name, part, number)
        text = prompt(calibration, step.input_tokens, *key)
        if step.edge:
            picture = images.data_url(images.png(step.edge, step.edge, *key))
            content = [
                {"type": "image_url", "image_url": {"url": picture}},
                {"type": "text", "text": f"{text} {_LOOK}"},
            ]
            asked = {"messages": [{"role": "user", "content": content}]}
        else:
            asked = {"prompt": text}
        path = "/v1/chat/completions" if step.edge else "/v1/completions"
        yield Query(path, json.dumps({"model": model, **asked, **streamed}).encode())
