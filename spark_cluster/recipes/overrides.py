"""What one launch changes in its recipe: typed with it, kept in a label of its containers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from spark_cluster.core.data_files import NO_OTHER_KEYS
from spark_cluster.core.error import InputError
from spark_cluster.recipes.models import Choice, Recipe, image_name, spell
from spark_cluster.recipes.secret_names import is_secret_argument, is_secret_variable

Value = str | bool | int | float | None

#: Characters of the label: what more is typed belongs into a recipe.
LONGEST = 2048

#: The argument that limits a sequence's tokens.
_CONTEXT = {"sglang": "context-length", "trtllm": "max_seq_len"}

_NAMES = {
    "--arg": re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}", re.ASCII),
    "--env": re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII),
}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)
_FLOAT = re.compile(r"-?[0-9]{1,17}\.[0-9]{1,17}", re.ASCII)


@dataclass(frozen=True)
class Overrides:
    """`context`: tokens of the longest sequence. In `args` and `env` a null takes the recipe's own
    out. An empty one changes nothing."""

    __pydantic_config__ = NO_OTHER_KEYS

    port: int | None = None
    image: str = ""
    context: int | None = None
    args: Mapping[str, Value] = field(default_factory=dict)
    env: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def typed(
        cls,
        *,
        port: int | None = None,
        image: str = "",
        context: int | None = None,
        args: Sequence[str] = (),
        env: Sequence[str] = (),
    ) -> Overrides:
        """Of the options' words: `NAME=VALUE`, `NAME` for a switch, `NAME=` to take it out.

        Raises InputError.
        """
        try:
            image = image_name(image) if image else ""
        except ValueError as error:
            what, _, remedy = str(error).partition(" | ")
            raise InputError(f"--image: {what}", remedy=remedy) from error
        found = cls(port, image, context, _pairs("--arg", args), _pairs("--env", env))
        for option, pairs, is_secret in (
            ("--arg", found.args, is_secret_argument), ("--env", found.env, is_secret_variable),
        ):  # fmt: skip
            for name, value in pairs.items():
                if value is not None and is_secret(name):
                    raise InputError(
                        f"{option} {name} would stand in the containers' labels for all to read",
                        remedy=f"Name {name} under `secrets:` in a recipe that extends this one.",
                    )
        if len(found.label) > LONGEST:
            raise InputError(
                f"--arg and --env have {len(found.label)} characters, more than {LONGEST}",
                remedy="Write a recipe that `extends:` this one.",
            )
        return found

    @property
    def label(self) -> str:
        """As a label keeps it: JSON on one line; empty if nothing is changed."""
        given = {name: value for name, value in self._given().items() if value}
        return json.dumps(given, separators=(",", ":")) if given else ""

    @classmethod
    def of_label(cls, text: str) -> Overrides | None:
        """What `label` made; None for anything else: a label is text from a stranger."""
        try:
            found = TypeAdapter(cls).validate_json(text, strict=True) if text else cls()
        except ValidationError:
            return None
        is_named = all(_NAMES["--arg"].fullmatch(name) for name in found.args) and all(
            _NAMES["--env"].fullmatch(name) for name in found.env
        )
        return found if is_named and found.label == text else None

    def words(self) -> Iterator[str]:
        """The options that ask for the same."""
        if self.port is not None:
            yield from ("--port", str(self.port))
        if self.image:
            yield from ("--image", self.image)
        if self.context is not None:
            yield from ("--context", str(self.context))
        for option, pairs in (("--arg", self.args), ("--env", self.env)):
            for name, value in pairs.items():
                yield from (option, f"{name}={_text(value)}")

    def _given(self) -> dict[str, Any]:
        return {
            "port": self.port,
            "image": self.image,
            "context": self.context,
            "args": dict(self.args),
            "env": dict(self.env),
        }


UNCHANGED = Overrides()


def override(recipe: Recipe, overrides: Overrides) -> Recipe:
    """The recipe with them over it, and over its profile and options. Raises InputError."""
    if not overrides.label:
        return recipe
    changes: dict[str, Any] = {}
    typed: dict[tuple[str | int, ...], str] = {}
    args = spell(overrides.args, "_" if recipe.engine == "trtllm" else "-")
    for option, name, pairs in (("--arg", "args", args), ("--env", "env", overrides.env)):
        there = getattr(recipe, name)
        absent = [each for each, value in pairs.items() if value is None and each not in there]
        if absent:
            raise InputError(
                f"{option} {absent[0]}= takes out what {recipe.name} has not",
                remedy=f"`spark-cluster recipes show {recipe.asked}` shows what it has.",
            )
        changes[name] = {**there, **{k: Choice(value=v, why=option) for k, v in pairs.items()}}
        typed |= {(name, each): f"{option} {each}" for each in pairs}
    if overrides.context is not None:
        if recipe.engine == "ollama":
            raise InputError(
                "ollama takes its context from its model's file",
                remedy="--env OLLAMA_CONTEXT_LENGTH=N sets it for all models.",
            )
        name = _CONTEXT.get(recipe.engine, "max-model-len")
        changes["args"][name] = Choice(value=overrides.context, why="--context")
        typed["args", name] = "--context"
    for name, value in (("port", overrides.port), ("image", overrides.image)):
        if value:
            changes[name], typed[name,] = value, f"--{name}"
    return recipe.model_copy(update=changes).typed_as(typed)


def _pairs(option: str, words: Sequence[str]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not _NAMES[option].fullmatch(name):
            raise InputError(
                f"{option} {word!r} does not begin with a name",
                remedy=f"{option} NAME=VALUE sets it, {option} NAME= takes it out.",
            )
        if not equals and option == "--env":
            raise InputError(
                f"{option} {word!r} has no value",
                remedy=f"{option} {name}=VALUE sets it, {option} {name}= takes it out.",
            )
        found[name] = _scalar(value) if value else (None if equals else True)
    return found


def _scalar(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _text(value: Value) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
