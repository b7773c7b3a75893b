"""What a recipe's arguments ask of the memory of each rank, whichever engine they are for. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from spark_cluster.recipes.command_line import Value
from spark_cluster.recipes.models import Choice, Recipe

#: The engines' names for the same thing, vLLM's first (it is the one that remedies speak of).
NAMES = {
    "tensor": ("tensor-parallel-size", "tp", "tp-size"),
    "pipeline": ("pipeline-parallel-size", "pp", "pp-size"),
    "fraction": ("gpu-memory-utilization", "mem-fraction-static"),
    "kv_dtype": ("kv-cache-dtype",),
    "kv_bytes": ("kv-cache-memory-bytes",),
    "context": ("max-model-len", "context-length", "max-seq-len"),
    "sequences": ("max-num-seqs", "max-running-requests", "max-batch-size"),
    "batched": ("max-num-batched-tokens",),
}

#: vllm/config/cache.py: what vLLM takes if the argument is absent.
VLLM_FRACTION = 0.9

#: vllm/engine/arg_utils.py: the API server's default on a GPU of 70 GB or more.
VLLM_BATCHED_TOKENS = 8192

#: vllm/config/model.py: lets a max-model-len pass that is longer than the model's own.
ALLOW_LONG = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"

#: Arguments of vLLM that stretch the model's own; rope-scaling is that of older releases.
_STRETCHING = ("hf-overrides", "rope-scaling")

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT]?)")
_SUFFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

T = TypeVar("T")


@dataclass(frozen=True)
class Demand:
    """`fraction` of the host's memory that the engine may use, None if it chooses itself;
    `kv_bytes` a KV cache of fixed size, in bytes; `context` tokens of the longest sequence, None
    for the model's own; `sequences` at once, None for the engine's default. `stretched_by` is what
    allows vLLM more than the model's own context, empty if nothing does, None if the variables are
    not known."""

    engine: str
    tensor: int = 1
    pipeline: int = 1
    fraction: float | None = None
    kv_dtype: str = "auto"
    kv_bytes: int | None = None
    context: int | None = None
    sequences: int | None = None
    batched_tokens: int = VLLM_BATCHED_TOKENS
    stretched_by: str | None = None

    @property
    def ranks(self) -> int:
        return self.tensor * self.pipeline

    @property
    def is_vllm(self) -> bool:
        return self.engine.startswith("vllm")


class BadArgument(ValueError):
    """An argument's value cannot be what the engine expects: `what` is wrong with `name`."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name}: {what}")
        self.name = name
        self.what = what


def plain(args: Mapping[str, Choice]) -> dict[str, Value]:
    """A recipe's arguments as its engine will get them."""
    return {
        key: True if choice.value is True else choice.text
        for key, choice in args.items()
        if choice.value is not None and choice.value is not False
    }


def of_recipe(recipe: Recipe) -> Demand:
    """Raises BadArgument."""
    env = {name: choice.text for name, choice in recipe.env.items() if choice.value is not None}
    return of_arguments(recipe.engine, plain(recipe.args), env)


def of_arguments(
    engine: str, args: Mapping[str, Value], env: Mapping[str, str] | None = None
) -> Demand:
    """`env` are the engine's variables, None if they are not known. Raises BadArgument."""
    given = {key.replace("_", "-"): value for key, value in args.items()}
    is_vllm = engine.startswith("vllm")
    return Demand(
        engine=engine,
        tensor=_pick(given, "tensor", _count) or 1,
        pipeline=_pick(given, "pipeline", _count) or 1,
        fraction=_pick(given, "fraction", _fraction) or (VLLM_FRACTION if is_vllm else None),
        kv_dtype=_pick(given, "kv_dtype", _word) or "auto",
        kv_bytes=_pick(given, "kv_bytes", _size),
        context=_pick(given, "context", _length),
        sequences=_pick(given, "sequences", _count),
        batched_tokens=_pick(given, "batched", _size) or VLLM_BATCHED_TOKENS,
        stretched_by=None if env is None else _stretched_by(given, env),
    )


def _stretched_by(given: Mapping[str, Value], env: Mapping[str, str]) -> str:
    if env.get(ALLOW_LONG, "").strip().lower() in ("1", "true"):
        return ALLOW_LONG
    names = {name.partition(".")[0] for name in given}
    return next((name for name in _STRETCHING if name in names), "")


def _pick(given: Mapping[str, Value], what: str, read: Callable[[str, Value], T]) -> T | None:
    name = next((name for name in NAMES[what] if name in given), None)
    return None if name is None else read(name, given[name])


def _count(name: str, value: Value) -> int:
    if not str(value).isdecimal() or int(str(value)) < 1:
        raise BadArgument(name, f"{value!r} is no count")
    return int(str(value))


def _word(_: str, value: Value) -> str:
    return str(value)


def _fraction(name: str, value: Value) -> float:
    try:
        fraction = float(str(value))
    except ValueError:
        fraction = 0.0
    if isinstance(value, bool) or not 0 < fraction <= 1:
        raise BadArgument(name, f"{value!r} is no share of the memory between 0 and 1")
    return fraction


def _size(name: str, value: Value) -> int:
    """vLLM's way: 25.6k is 25600, 1K is 1024."""
    match = _SIZE.fullmatch(str(value))
    if match is None:
        raise BadArgument(name, f"{value!r} is no number such as 4096, 32k or 32K")
    number, suffix = match.groups()
    base = 1024 if suffix.isupper() else 1000
    return int(float(number) * base ** _SUFFIXES[suffix.lower()])


def _length(name: str, value: Value) -> int | None:
    """None where the engine takes the longest that fits or that the model allows."""
    return None if str(value) in ("auto", "-1") else _size(name, value)
