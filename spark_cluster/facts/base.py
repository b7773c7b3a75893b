"""What a fact is, and the readings of one host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from spark_cluster.engines.spec import Deployment
from spark_cluster.inventory.models import Host, Inventory

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class ProbeContext:
    """What the shell fragments may depend on. `teardown` and `status` know no deployment."""

    host: Host
    inventory: Inventory
    deployment: Deployment | None = None


def always(script: str) -> Callable[[ProbeContext], str]:
    """The script of a fact that depends on nothing."""
    return lambda _: script


@dataclass(frozen=True)
class Fact(Generic[T_co]):
    """A reading of one subject.

    `script` gives POSIX sh that prints to standard output and never fails the probe; `parse` is
    pure and takes whatever came, also nothing. `across`: it also depends on the other hosts, so
    that a change on one of them makes it stale here.
    """

    name: str
    script: Callable[[ProbeContext], str]
    parse: Callable[[str], T_co]
    across: bool = False


class UndeclaredFact(LookupError):
    """A step looked at a fact that its `reads` do not name: nobody would read it anew for it."""

    def __init__(self, step: str, fact: str) -> None:
        super().__init__(f"the step {step} looks at the fact {fact}, which its `reads` do not name")
        self.step = step
        self.fact = fact


class Facts:
    """The readings of one host. `facts[SWAP]` has the type that SWAP's parser returns."""

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        self._values: dict[str, Any] = dict(values or {})
        self._reader: tuple[str, Collection[str]] | None = None

    def __getitem__(self, fact: Fact[T]) -> T:
        self._check(fact)
        value: T = self._values[fact.name]
        return value

    def get(self, fact: Fact[T]) -> T | None:
        """The reading; None if the fact was not read."""
        self._check(fact)
        value: T | None = self._values.get(fact.name)
        return value

    def __contains__(self, fact: Fact[object]) -> bool:
        self._check(fact)
        return fact.name in self._values

    def _check(self, fact: Fact[object]) -> None:
        if self._reader is not None and fact.name not in self._reader[1]:
            raise UndeclaredFact(self._reader[0], fact.name)

    def only(self, step: str, names: Collection[str]) -> Facts:
        """These readings as `step` may see them: another fact than `names` is UndeclaredFact."""
        seen = Facts()
        seen._values = self._values
        seen._reader = (step, names)
        return seen

    def updated(self, newer: Facts) -> Facts:
        """These readings with the newer ones over them."""
        return Facts({**self._values, **newer._values})

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._values)
