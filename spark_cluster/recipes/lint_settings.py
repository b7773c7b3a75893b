"""Single settings that are wrong: the rows of lint.yaml, as rules of lint.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Literal

from packaging.version import Version

from spark_cluster.core.data_files import read_yaml
from spark_cluster.document import Document
from spark_cluster.recipes.lint_finding import Finding, value_of
from spark_cluster.recipes.lint_versions import release
from spark_cluster.recipes.models import Choice, Recipe

Rule = Callable[[Recipe], Iterator[Finding]]


class Setting(Document):
    """A variable or an argument with a value that is wrong; lint.yaml says what the fields mean."""

    field: Literal["args", "env"]
    names: tuple[str, ...]
    right: tuple[str | None, ...] = (None,)
    wrong: tuple[str | None, ...] | None = None
    holds: re.Pattern[str] | None = None
    engines: tuple[str, ...] = ("",)
    nodes: int = 1
    since: str | None = None
    beside: Mapping[str, str] = {}
    severity: Literal["error", "warning"] = "error"
    code: str
    what: str
    remedy: str
    source: str = ""

    def found_in(self, recipe: Recipe) -> Iterator[Finding]:
        version = release(recipe.engine_version)
        is_old = self.since is None or (version is not None and version < Version(self.since))
        is_meant = recipe.engine.startswith(self.engines) and recipe.nodes >= self.nodes and is_old
        choices = recipe.args if self.field == "args" else recipe.env
        others = (name in choices and _given(choices[name]) != value
                  for name, value in self.beside.items())  # fmt: skip
        if not is_meant or any(others):
            return
        for name in self.names:
            if name in choices and self._is_wrong(given := self._read(choices[name])):
                value = "left out" if given is None else given
                what = self.what.format(name=name, value=value, version=version)
                loc = (self.field, name)
                yield Finding(self.code, what, self.severity, loc, self.remedy, self.source)

    def _read(self, choice: Choice) -> str | None:
        """The value that the engine gets; an argument that is false is left out."""
        return value_of(choice) if self.field == "args" else _given(choice)

    def _is_wrong(self, given: str | None) -> bool:
        if self.holds is not None and not self.holds.search(given or ""):
            return False
        return given in self.wrong if self.wrong is not None else given not in self.right


def _given(choice: Choice) -> str | None:
    return None if choice.value is None else choice.text


class Settings(Document):
    """The file."""

    given_by_us: Mapping[str, str]
    settings: Mapping[str, tuple[Setting, ...]]


@cache
def table() -> Settings:
    """The file."""
    return read_yaml(Settings, "spark_cluster.recipes", "lint.yaml")


def given_by_us() -> Mapping[str, str]:
    """What to do about each argument that the engines give the ranks themselves."""
    return table().given_by_us


def settings(group: str) -> Rule:
    """The rule that the rows of a group of lint.yaml are together."""

    def rule(recipe: Recipe) -> Iterator[Finding]:
        for setting in table().settings[group]:
            yield from setting.found_in(recipe)

    return rule
