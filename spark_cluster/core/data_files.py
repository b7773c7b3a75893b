"""The data files that the package carries, read when they are first asked for. What reads them is
imported then, too: every command imports this module, and most read no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar

T = TypeVar("T")
EntryT = TypeVar("EntryT")

#: `__pydantic_config__` of a dataclass that `read_yaml` reads: a key that it has not is a fault.
NO_OTHER_KEYS = {"extra": "forbid"}


def read_text(package: str, *path: str) -> str:
    """The file at `path` below the folder of `package`: `read_text("spark_cluster.core", "x")`."""
    from importlib import resources

    return resources.files(package).joinpath(*path).read_text(encoding="utf-8")


def parse_yaml(text: str) -> Any:
    """The value of a YAML file of ours; bounded_yaml is for everybody else's.

    Of a key given twice the last one wins: the tests refuse such a file.
    """
    import yaml

    # libyaml's parser, where PyYAML was built with it, is six times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(text, loader)


def read_yaml(shape: type[T], package: str, *path: str) -> T:
    """A YAML file of ours (see `read_text`) as `shape`: a dataclass, or whatever else pydantic
    checks. Raises pydantic's ValidationError for one that has not this shape."""
    from pydantic import TypeAdapter

    return TypeAdapter(shape).validate_python(parse_yaml(read_text(package, *path)))


class DataTable(Mapping[str, EntryT], Generic[EntryT]):
    """What `read` returns, by name: read once, at the first look into it."""

    def __init__(self, read: Callable[[], dict[str, EntryT]]) -> None:
        self._read = read

    @cached_property
    def _entries(self) -> dict[str, EntryT]:
        return self._read()

    def __getitem__(self, name: str) -> EntryT:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
