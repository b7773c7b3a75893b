"""docs/json.md: the kinds of --json lines and their fields, from the classes.

`python -m tests.json_page` renews it.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import spark_cluster
from spark_cluster.core.error import SparkError
from spark_cluster.core.event import Event
from spark_cluster.core.reason import Reason
from spark_cluster.core.secret import Secret

PAGE = Path(spark_cluster.__file__).parents[1] / "docs" / "json.md"

_HEAD = """# What --json prints

Generated from the classes by `python -m tests.json_page`; a test holds it against what the verbs
print.

Every line is one object in printable ASCII, with its `kind`. A run tells its events as they happen:
`run_started`, `host_connected`, `step_started`, `step_finished`, …, and `run_finished` at its end,
whose `data` is what the verb has to say itself. A verb that only looks prints one report. An error
that ends a command is the last line, on standard output. NaN and infinity are null; fields may be
added, none is renamed or dropped within a release.

`null` stands for what is not known. A type in italics has its own table under *Parts*.
"""

_ERROR = (
    "error: a message, where it happened (host, step, place, command, stderr), code, remedy, "
    "exit_code; only the fields that are known"
)


def kinds() -> dict[str, type[Event]]:
    """Every kind that --json may print, and its class."""
    for module in pkgutil.walk_packages(spark_cluster.__path__, "spark_cluster."):
        if module.name.startswith(("spark_cluster.actions", "spark_cluster.lab.reports")):
            importlib.import_module(module.name)
    found = {}
    for event in _below(Event):
        kind = next(each.default for each in dataclasses.fields(event) if each.name == "kind")
        if not event.passing and kind not in ("held", "restart_told"):
            found[str(kind)] = event
    return dict(sorted(found.items()))


def _below(root: type[Event]) -> Iterator[type[Event]]:
    for each in root.__subclasses__():
        yield each
        yield from _below(each)


def fields_of(event: type[Any]) -> dict[str, Any]:
    """The fields that stand in its JSON, and their types."""
    of = getattr(event, "json_of", ())
    if of:
        return {name: hint for each in of for name, hint in fields_of(each).items()}
    if issubclass(event, BaseModel):
        return {name: each.annotation for name, each in event.model_fields.items()}
    hints = typing.get_type_hints(event)
    if dataclasses.is_dataclass(event):
        names = [each.name for each in dataclasses.fields(event)]
        return {name: hints[name] for name in names if name != "kind" or event is _verdict()}
    return hints


def _verdict() -> type:
    from spark_cluster.rdma.verdict import Verdict

    return Verdict


def _meaning(cls: type) -> str:
    text = inspect.getdoc(cls) or ""
    return "" if text.startswith(f"{cls.__name__}(") else " ".join(text.split())


class Page:
    """Writes the page; remembers the nested types that it meets."""

    def __init__(self) -> None:
        self.parts: dict[str, type] = {}

    def text(self) -> str:
        lines = [_HEAD]
        for kind, event in kinds().items():
            lines += [f"## `{kind}`", "", _meaning(event), "", *self._table(event), ""]
        lines += ["## Parts", ""]
        done: set[str] = set()
        while rest := sorted(set(self.parts) - done):
            for name in rest:
                done.add(name)
                part = self.parts[name]
                lines += [f"### {name}", "", _meaning(part), "", *self._table(part), ""]
        return "\n".join(lines).rstrip() + "\n"

    def _table(self, cls: type) -> list[str]:
        rows = [f"| `{name}` | {self._type(hint)} |" for name, hint in fields_of(cls).items()]
        return ["| field | type |", "|---|---|", *rows] if rows else []

    def _type(self, hint: Any) -> str:
        origin, args = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Required, typing.NotRequired, typing.Annotated):
            return self._type(args[0])
        if origin in (typing.Union, types.UnionType):
            return " or ".join(dict.fromkeys(self._type(each) for each in args))
        if origin is typing.Literal:
            return " or ".join(f"`{each}`" for each in args)
        if hint is type(None):
            return "null"
        if isinstance(hint, type) and issubclass(hint, SparkError):
            return _ERROR
        if hint is Reason:
            return "text"
        if hint in (str, int, float, bool):
            return {str: "text", int: "whole number", float: "number", bool: "true or false"}[hint]
        return self._compound(hint, origin, args)

    def _compound(self, hint: Any, origin: Any, args: tuple[Any, ...]) -> str:
        if isinstance(origin, type) and issubclass(origin, dict | typing.Mapping):
            return f"object: {self._type(args[1])} by name"
        if isinstance(origin, type) and origin in (list, tuple, set, frozenset):
            return f"list of {self._type(args[0])}"
        if isinstance(hint, type):
            if hint is Secret:
                return "`***`"
            if dataclasses.is_dataclass(hint) or issubclass(hint, BaseModel) or _is_typed(hint):
                return f"*{self._part(hint)}*"
            if issubclass(hint, Enum):
                return " or ".join(f"`{each.value}`" for each in hint)
        return "text" if hint is not Any else "any"

    def _part(self, hint: type) -> str:
        """Its name; with its module's where another has the same."""
        name = hint.__name__
        if self.parts.setdefault(name, hint) is not hint:
            name = f"{hint.__module__.rpartition('.')[2]}.{name}"
            self.parts[name] = hint
        return name


def _is_typed(hint: type) -> bool:
    return typing.is_typeddict(hint)


if __name__ == "__main__":
    PAGE.write_text(Page().text(), encoding="utf-8")
