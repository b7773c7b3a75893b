"""The arguments of an engine's command line, as a recipe's `args` would have them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from spark_cluster.recipes.lint_versions import vllm

Value = str | bool | tuple[str, ...]

#: What vLLM makes of -O3, -O=3 and -O 3 (vllm/utils/argparse_utils.py); -O before anything else is
#: the older name of -cc.
LEVEL = "optimization-level"
_LEVELS = ("0", "1", "2", "3")


@dataclass(frozen=True)
class CommandLine:
    """`args` by name without the dashes, True for one without a value; the last one given
    counts, as it does for argparse; those that take a list have a tuple if it is longer than one.
    `rest` are words that belong to no argument, `several` other arguments that have more than one
    value or collect them when given again, `unknown` words with one dash that vLLM does not know.
    """

    args: Mapping[str, Value]
    rest: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def parse(words: Sequence[str]) -> CommandLine:
    """The words after the program's name."""
    args: dict[str, Value] = {}
    rest: list[str] = []
    several: list[str] = []
    unknown = [word for word in words if _is_name(word) and not _is_known(word)]
    open_name = ""
    for word in _with_level(words):
        if _is_name(word):
            name, equals, value = _name(word).partition("=")
            if name in args and (name in vllm().collected or name.endswith("+")):
                several.append(name)
            args[name] = value if equals else True
            open_name = "" if equals or _is_switch(name) else name
        elif not open_name:
            rest.append(word)
        elif args[open_name] is True:
            args[open_name] = word
        elif open_name in vllm().lists:
            args[open_name] = (*_listed(args[open_name]), word)
        else:
            several.append(open_name)
    return CommandLine(
        args, tuple(rest), tuple(dict.fromkeys(several)), tuple(dict.fromkeys(unknown))
    )


def _listed(value: Value) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (str(value),)


def _with_level(words: Sequence[str]) -> Iterator[str]:
    """The words, -O3 and its like in their long form."""
    for word, after in zip_longest(words, words[1:], fillvalue=""):
        if word.startswith("-O") and word != "-O" and not word.startswith("-O."):
            yield f"--{LEVEL}={word[2:].removeprefix('=')}"
        elif word == "-O" and after in _LEVELS:
            yield f"--{LEVEL}"
        else:
            yield word


def _is_known(word: str) -> bool:
    """Whether a word with one dash is one of vLLM's; any word with two may be."""
    head = word.partition("=")[0].partition(".")[0]
    return word.startswith("--") or head in vllm().short_names or head.startswith("-O")


def _is_name(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not word[1].isdigit()


def _name(word: str) -> str:
    """Without its dashes; `_` is as good as `-` to vLLM and the more usual to TensorRT-LLM."""
    head, equals, value = word.partition("=")
    name, dot, inside = head.partition(".")
    full = vllm().short_names.get(name) or name.lstrip("-").replace("_", "-")
    return full + dot + inside + equals + value


def _is_switch(name: str) -> bool:
    return name in vllm().switches or name.startswith(("enable-", "disable-", "no-", "skip-"))
