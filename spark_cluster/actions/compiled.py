"""What engines compiled and hosts keep: listed, and removed where nothing runs with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from spark_cluster.actions.copies import Held
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Outcome, activate, read_hosts
from spark_cluster.core.error import SparkError, StepFailed
from spark_cluster.core.result import Result
from spark_cluster.core.shell import quote
from spark_cluster.core.units import count, human_bytes
from spark_cluster.facts.base import Facts
from spark_cluster.facts.compiled import COMPILED_FACT, Compiled
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.models import IMAGES
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner.request import RunRequest
from spark_cluster.runner.session import HostSession
from spark_cluster.runner.transfer import Transfer

_STEP = "cache-remove"


@dataclass(frozen=True)
class HeldCache:
    """What one image compiled for a rank of a recipe. `state`: used by what runs there, kept for
    the next launch, stale (docker has the image no more), or unknown."""

    recipe: str
    host: str
    rank: int
    image: str
    size_bytes: int
    state: str


@dataclass(frozen=True)
class HeldCaches(Held):
    """Compile caches by recipe and host."""

    kind: str = field(default="caches", init=False)
    caches: tuple[HeldCache, ...]


def list_caches(
    inventory: Inventory, hosts: Sequence[str], operator: Operator, *, recipe: str | None = None
) -> HeldCaches:
    """What the hosts keep, of one recipe or of all. One exec a host."""
    unknown, nexts = {}, {}
    rows: list[HeldCache] = []
    wanted = (COMPILED_FACT, IMAGES, CONTAINERS)
    for host, facts in read_hosts(inventory, hosts, wanted, operator).items():
        if isinstance(facts, SparkError):
            unknown[host], nexts[host] = facts.message, facts.remedy
            continue
        rows += [
            HeldCache(each.recipe, host, each.rank, each.image, each.size, _state(each, facts))
            for each in facts[COMPILED_FACT]
            if recipe in (None, each.recipe)
        ]
    rows.sort(key=lambda row: (row.recipe, row.rank, row.host))
    return HeldCaches(str(inventory.path), unknown, nexts, tuple(rows))


def remove_caches(
    inventory: Inventory,
    hosts: Sequence[str],
    operator: Operator,
    *,
    recipe: str | None = None,
    stale: bool = False,
) -> Outcome:
    """Remove what the hosts keep, of one recipe or of all; `stale`: only what no image uses any
    more. What runs keeps its own. The next launch compiles again."""
    note = f"what {recipe or 'every recipe'} compiled{', stale' if stale else ''}"
    request = RunRequest("cache rm", "", list(hosts), inventory, note=note, all_hosts_needed=False)
    with activate(request, operator) as active:
        transfer = Transfer(active.session, active.listener)
        with transfer.locked(list(active.session.alive), request.verb):
            remove = partial(_remove, recipe=recipe, stale=stale)
            done = active.session.each(list(active.session.alive), remove)
        return active.finish([_result(transfer, host, outcome) for host, outcome in done.items()])


@dataclass(frozen=True)
class _Removed:
    gone: tuple[Compiled, ...]
    used: tuple[Compiled, ...]


def _remove(host: HostSession, *, recipe: str | None, stale: bool) -> _Removed:
    """Raises StepFailed if one is still there."""
    wanted = (COMPILED_FACT, IMAGES, CONTAINERS)
    facts = host.read(wanted)
    states: Mapping[Compiled, str] = {
        each: _state(each, facts) for each in facts[COMPILED_FACT] if recipe in (None, each.recipe)
    }
    doomed = tuple(each for each, state in states.items()
                   if state == "stale" or (not stale and state in ("kept", "unknown")))  # fmt: skip
    if doomed:
        host.run("".join(f"rm -rf -- {quote(each.path)}\n" for each in doomed), timeout=600)
        left = set(host.read((COMPILED_FACT,))[COMPILED_FACT])
        if left & set(doomed):
            raise StepFailed(
                f"{count(len(left & set(doomed)), 'folder')} could not be removed",
                host=host.name, remedy="Run the command again with -v.",
            )  # fmt: skip
    return _Removed(doomed, tuple(each for each, state in states.items() if state == "used"))


def _state(cache: Compiled, facts: Facts) -> str:
    containers, images = facts[CONTAINERS], facts[IMAGES]
    if containers.error or images.error:
        return "unknown"
    runs = any(
        each.running
        and (each.label("recipe"), each.label("rank")) == (cache.recipe, str(cache.rank))
        for each in containers.containers
    )
    if not any(image.id[7:19] == cache.image for image in images.images):
        return "stale"
    return "used" if runs else "kept"


def _result(transfer: Transfer, host: str, outcome: _Removed | SparkError) -> Result:
    title = "Remove what engines compiled"
    if isinstance(outcome, SparkError):
        return transfer.finish(host, _STEP, title, error=outcome)
    size = sum(each.size for each in outcome.gone)
    said = f"{count(len(outcome.gone), 'folder')}, {human_bytes(size)} freed"
    if outcome.used:
        names = ", ".join(f"{each.recipe} rank {each.rank}" for each in outcome.used)
        said += f"; left: {names}, which runs"
    return transfer.finish(host, _STEP, title, said, changed=bool(outcome.gone))
