"""What was launched, read from the labels of the containers, also of those that are dead.

workload/served.py asks what serves now; this asks what somebody once started and wants back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from spark_cluster.core.error import CheckFailed
from spark_cluster.core.labels import RESTARTS
from spark_cluster.facts.base import Facts
from spark_cluster.facts.docker import CONTAINERS, Container
from spark_cluster.facts.supervisor import SUPERVISOR
from spark_cluster.recipes.overrides import UNCHANGED, Overrides


@dataclass(frozen=True)
class Launched:
    """A launch of a recipe: `group` are its hosts, the head first; `hosts` those on which a
    container of it was found, with the digest of that container's specification; `restarts`: they
    start their ranks again after a reboot, or were to do so once a token had come. `run` is the
    launch's name, which sorts by time; `running`: one of its containers runs."""

    recipe: str
    group: tuple[str, ...]
    profile: str | None
    options: tuple[str, ...]
    hosts: Mapping[str, str]
    restarts: bool = False
    run: str = ""
    running: bool = False
    overrides: Overrides = UNCHANGED

    def meets(self, hosts: Collection[str]) -> bool:
        return not set(self.group).isdisjoint(hosts)


def launched(facts: Mapping[str, Facts]) -> list[Launched]:
    """Every launch of which these hosts hold a container, in the order of the hosts."""
    found: dict[tuple[str, tuple[str, ...]], Launched] = {}
    for host, readings in facts.items():
        for container in readings[CONTAINERS].containers:
            recipe = container.label("recipe")
            group = _words(container.label("group")) or (host,)
            known = found.get((recipe, group))
            found[recipe, group] = Launched(
                recipe,
                group,
                container.label("profile") or None,
                _words(container.label("options")),
                {**(known.hosts if known else {}), host: container.label("spec")},
                _restarts(container, readings) or (known is not None and known.restarts),
                max(container.label("run"), known.run if known else ""),
                container.running or (known is not None and known.running),
                overrides_of(container),
            )
    return list(found.values())


def overrides_of(container: Container) -> Overrides:
    """What the launch changed in its recipe."""
    return Overrides.of_label(container.label("overrides")) or UNCHANGED


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _restarts(container: Container, readings: Facts) -> bool:
    """Whether its supervisor is there, or was asked for and is not there yet: it is installed when
    a token has come. A later launch may have taken that back."""
    supervisor = readings.get(SUPERVISOR)
    if supervisor is not None and supervisor.recipe == container.label("recipe"):
        return True
    taken_back = supervisor.declined if supervisor is not None else ""
    return container.labels.get(RESTARTS) == "on" and taken_back != container.label("run")


def choose(found: list[Launched], recipe: str = "") -> Launched:
    """The launch of this recipe, or the only one. Raises CheckFailed if there is none or more.

    What an earlier launch of the recipe left behind does not count.
    """
    meant = [each for each in found if not recipe or each.recipe == recipe]
    last = [each for each in meant if not any(_replaces(other, each) for other in meant)]
    if len(last) == 1:
        return last[0]
    there = "; ".join(f"{each.recipe} on {', '.join(each.group)}" for each in found)
    if not meant:
        what = f"{recipe} is not launched" if recipe else "nothing of ours is launched"
        raise CheckFailed(
            f"{what}; there is {there}" if there else what,
            remedy=f"`spark-cluster launch {recipe or 'RECIPE'}` starts it.",
        )
    one_recipe = len({each.recipe for each in last}) == 1
    hosts = ",".join(last[-1].group)
    take_down = f"`spark-cluster teardown {last[-1].recipe} --hosts {hosts}`"
    raise CheckFailed(
        f"more than one launch is meant: {there}",
        remedy=f"Take one down: {take_down}." if one_recipe else "Name the recipe.",
    )


def _replaces(newer: Launched, older: Launched) -> bool:
    """Two launches of one recipe that cannot both be wanted: they share a host, or one is dead."""
    if newer.recipe != older.recipe or newer.run <= older.run:
        return False
    return newer.meets(older.group) or not (newer.running and older.running)


def to_take_down(found: list[Launched], recipe: str, avoided: Collection[str]) -> list[Launched]:
    """The launches that a failover ends, the newest first: those on a host to do without, and what
    is left of earlier ones. One that runs on other hosts goes on."""
    own = sorted(
        (each for each in found if each.recipe == recipe), key=lambda each: each.run, reverse=True
    )
    return [
        each
        for each in own
        if each.meets(avoided)
        or (
            not each.running
            and any(other.run > each.run and other.meets(each.group) for other in own)
        )
    ]


def others(
    found: list[Launched], ended: list[Launched], recipe: str, hosts: tuple[str, ...]
) -> list[str]:
    """Why these hosts are not free for the recipe when `ended` are taken down: what else is
    launched there."""
    return [
        f"{host} {_holds(each, recipe)}"
        for each in found
        if each not in ended
        for host in hosts
        if host in each.hosts
    ]


def _holds(other: Launched, recipe: str) -> str:
    if other.recipe != recipe:
        return f"holds {other.recipe}: `spark-cluster teardown {other.recipe}` frees it"
    return (
        f"holds {recipe} already, launched on {', '.join(other.group)}: `spark-cluster teardown "
        f"{recipe} --hosts {','.join(other.hosts)}` frees it"
    )
