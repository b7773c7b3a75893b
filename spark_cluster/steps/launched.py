"""What was launched, read from the labels of the containers, also of those that are dead.

steps/served.py asks what serves now; this asks what somebody once started and wants back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spark_cluster.core.error import CheckFailed
from spark_cluster.facts.base import Facts
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.supervisor import SUPERVISOR


@dataclass(frozen=True)
class Launched:
    """A launch of a recipe: `group` are its hosts, the head first; `hosts` those on which a
    container of it was found, with the digest of that container's specification; `restarts`: they
    start their ranks again after a reboot."""

    recipe: str
    group: tuple[str, ...]
    profile: str | None
    options: tuple[str, ...]
    hosts: Mapping[str, str]
    restarts: bool = False


def launched(facts: Mapping[str, Facts]) -> list[Launched]:
    """Every launch of which these hosts hold a container, in the order of the hosts."""
    found: dict[tuple[str, tuple[str, ...]], Launched] = {}
    for host, readings in facts.items():
        for container in readings[CONTAINERS].containers:
            recipe = container.label("recipe")
            group = _words(container.label("group")) or (host,)
            known = found.get((recipe, group))
            supervisor = readings.get(SUPERVISOR)
            here = supervisor is not None and supervisor.recipe == recipe
            found[recipe, group] = Launched(
                recipe,
                group,
                container.label("profile") or None,
                _words(container.label("options")),
                {**(known.hosts if known else {}), host: container.label("spec")},
                here or (known is not None and known.restarts),
            )
    return list(found.values())


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def choose(found: list[Launched], recipe: str = "") -> Launched:
    """The launch of this recipe, or the only one. Raises CheckFailed if there is none or more."""
    meant = [each for each in found if not recipe or each.recipe == recipe]
    if len(meant) == 1:
        return meant[0]
    there = "; ".join(f"{each.recipe} on {', '.join(each.group)}" for each in found)
    if not meant:
        what = f"{recipe} is not launched" if recipe else "nothing of ours is launched"
        raise CheckFailed(
            f"{what}; there is {there}" if there else what,
            remedy=f"`spark-cluster launch {recipe or 'RECIPE'}` starts it.",
        )
    raise CheckFailed(
        f"more than one launch is meant: {there}",
        remedy="Name the recipe, or take one down: `spark-cluster teardown --hosts NAME`.",
    )


def others(found: list[Launched], recipe: str, hosts: tuple[str, ...]) -> list[str]:
    """Why these hosts are not free for the recipe: what else is launched there."""
    return [
        f"{host} holds {each.recipe}: `spark-cluster teardown {each.recipe}` frees it"
        for each in found
        if each.recipe != recipe
        for host in hosts
        if host in each.hosts
    ]
