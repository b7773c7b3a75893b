"""Parse `vllm serve …` as vLLM's FlexibleArgumentParser does."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

from .release import at_least, version
from .tables import read_rows

Kwargs = dict[str, Any]

USAGE = "vllm serve [model_tag] [options]"


def _size(text: str) -> int:
    """Human-readable integers: 1k is 1000, 1K is 1024."""
    factors = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}
    factor = factors.get(text[-1:], 0)
    try:
        return int(float(text[:-1]) * factor) if factor else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid int value: {text!r}") from None


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"Value {text} cannot be converted to JSON.") from None


def _optional(convert: Callable[[str], object]) -> Callable[[str], object]:
    def parse(text: str) -> object:
        return None if text in ("", "None") else convert(text)

    parse.__name__ = getattr(convert, "__name__", "value")
    return parse


_KINDS: dict[str, Kwargs] = {
    "bool": {"action": argparse.BooleanOptionalAction},
    "flag": {"action": "store_true"},
    "maybe": {"nargs": "?", "const": True},
    "list": {"nargs": "+"},
    "ints": {"nargs": "+", "type": int},
    "int": {"type": int},
    "float": {"type": float},
    "size": {"type": _size},
    "json": {"type": _optional(_json)},
    "str": {},
}


def _flags() -> list[list[str]]:
    """The table of this container's release: names, kind, and choices where there are any."""
    rows = read_rows("vllm_flags.txt")
    return [row for row in rows if all(map(_holds, row))]


def _holds(word: str) -> bool:
    """Whether a word of the table, `>=0.13.0` or `<0.17.1`, lets its flag into this release."""
    if word.startswith("<"):
        return not at_least(word[1:])
    return not word.startswith(">=") or at_least(word[2:])


def build() -> argparse.ArgumentParser:
    """The parser of the command `vllm`, with the sub-command `serve`."""
    parser = argparse.ArgumentParser(prog="vllm", description="vLLM CLI")
    parser.add_argument("-v", "--version", action="version", version=f"{version()}+spark.lab")
    verbs = parser.add_subparsers(required=False, dest="subparser")
    serve = verbs.add_parser("serve", usage=USAGE)
    serve.add_argument("model_tag", nargs="?", help="The model tag to serve.")
    for names, kind, *rest in _flags():
        kwargs = dict(_KINDS[kind])
        for choices in (word.split("|") for word in rest if word[0] not in "<>"):
            kwargs["choices"] = [int(c) for c in choices] if kind == "int" else choices
        serve.add_argument(*names.split(","), default=None, **kwargs)
    for name in ("chat", "complete", "bench", "collect-env", "run-batch"):
        verbs.add_parser(name)
    return parser


def _dashes(argument: str) -> str:
    """`--tensor_parallel_size=2` is `--tensor-parallel-size=2`."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    head, dot, tail = name.partition(".")
    return head.replace("_", "-") + dot + tail + equals + value


def _fold(argv: Sequence[str]) -> list[str]:
    """`--json-arg.key value` and `-O3` become one JSON argument each."""
    plain: list[str] = []
    folded: dict[str, Kwargs] = {}
    rest = [_dashes(item) for item in argv]
    while rest:
        item = rest.pop(0)
        name, equals, value = item.partition("=")
        if item.startswith("-O") and len(item) > 2 and item[2] != ".":
            folded.setdefault("-O", {})["level"] = item[2:].lstrip("=")
        elif name.startswith("-") and "." in name and not _is_number(name):
            if not equals and rest:
                value = rest.pop(0)
            key, *path = name.split(".")
            target = folded.setdefault(key, {})
            for part in path[:-1]:
                target = target.setdefault(part, {})
            target[path[-1]] = value
        else:
            plain.append(item)
    for key, values in folded.items():
        plain += [key, json.dumps(values)]
    return plain


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class ServeArgs:
    """The arguments of `vllm serve`, with vLLM's defaults for those used here."""

    DEFAULTS: Kwargs = {  # noqa: RUF012 - read only
        "model_tag": "Qwen/Qwen3-0.6B",
        "port": 8000,
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "gpu_memory_utilization": 0.9,
        "kv_cache_dtype": "auto",
        "scheduling_policy": "fcfs",
        "max_num_seqs": 256,
        "max_num_batched_tokens": 2048,
        "load_format": "auto",
        "nnodes": 1,
        "node_rank": 0,
        "master_addr": "127.0.0.1",
        "master_port": 29501,
    }

    def __init__(self, given: Kwargs) -> None:
        self.given = {key: value for key, value in given.items() if value is not None}

    def get(self, name: str) -> Any:
        """The value, or vLLM's default."""
        return self.given.get(name, self.DEFAULTS.get(name))

    @property
    def model(self) -> str:
        """The model's name or folder."""
        return str(self.get("model_tag"))

    @property
    def names(self) -> list[str]:
        """The names under which the model is served; the first is in the answers."""
        names = self.get("served_model_name")
        return list(names) if names else [self.model]


def parse(argv: Sequence[str]) -> ServeArgs:
    """Parse, or exit with argparse's message and status 2."""
    if argv[:1] == ["serve"] and "--model" in argv:
        raise SystemExit(
            "ValueError: With `vllm serve`, you should provide the model as a positional argument "
            "or in a config file instead of via the `--model` option."
        )
    parser = build()
    space = vars(parser.parse_args(_fold(argv)))
    if space.pop("subparser") != "serve":
        parser.error("the lab's stand-in has `vllm serve` only")
    return ServeArgs(space)
