"""Who copies to whom, over which addresses, and where a download runs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spark_cluster.core.error import InputError
from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.models import Inventory, Managed
from spark_cluster.transfer.cache import CachedModel, differing, holds


@dataclass(frozen=True)
class Route:
    """From `source` to `sink` over these interfaces; each is (source's, sink's)."""

    source: str
    sink: str
    ways: tuple[tuple[Managed, Managed], ...]

    @property
    def addresses(self) -> tuple[str, ...]:
        """The source's, at which it serves."""
        return tuple(source.ip for source, _ in self.ways)


def route(inventory: Inventory, source: str, sink: str) -> Route | None:
    """Over all rails that both have; else over a link; None if they share no network."""
    one, other = inventory.hosts[source], inventory.hosts[sink]
    kinds: tuple[tuple[Sequence[Managed], Sequence[Managed]], ...]
    kinds = ((one.rails, other.rails), (one.links, other.links))
    for ours, theirs in kinds:
        ways = tuple((a, b) for a in ours for b in theirs if a.network == b.network)
        if ways:
            return Route(source, sink, ways)
    return None


def waves(
    inventory: Inventory, sources: Sequence[str], sinks: Iterable[str]
) -> tuple[list[list[Route]], list[str]]:
    """Copies that can run at once, wave after wave, and the sinks that nothing leads to.

    In a wave each sink has the best connected source: rails before links, more before fewer, then
    the one with the least to do. A sink is a source in the next wave: so a node that shares no
    network with the first source is reached through one that does.
    """
    have = list(sources)
    left = [name for name in sinks if name not in have]
    found: list[list[Route]] = []
    while left:
        wave: list[Route] = []
        for sink in left:
            routes = [r for source in have if (r := route(inventory, source, sink)) is not None]
            if routes:
                busy = [one.source for one in wave]
                wave.append(min(routes, key=lambda r: (_cost(inventory, r), busy.count(r.source))))
        if not wave:
            break
        found.append(wave)
        have += [one.sink for one in wave]
        left = [name for name in left if name not in have]
    return found, left


def _cost(inventory: Inventory, way: Route) -> tuple[bool, int]:
    rails = inventory.hosts[way.source].rails
    return way.ways[0][0] not in rails, -len(way.ways)


def targets(inventory: Inventory, named: list[str] | None) -> list[str]:
    """Which hosts are to have it: the named hosts and groups; else the only group; else all.

    Raises InputError when there are several groups and none is named.
    """
    if named:
        return inventories.select(inventory, named)
    if not inventory.groups:
        return list(inventory.hosts)
    if len(inventory.groups) > 1:
        raise InputError(
            f"the inventory has {len(inventory.groups)} groups; which hosts should have it?",
            place=str(inventory.path),
            remedy=f"Name hosts or a group with --to: {', '.join(inventory.groups)}.",
        )
    return list(inventories.group(inventory, None)[1])


def source(
    models: Mapping[str, CachedModel | None], revision: str, preferred: str | None
) -> tuple[list[str], str]:
    """The hosts to copy from, all with the same files, and why there is none if there is none.

    `models` is what each host holds of the model. Of copies of one commit those that have all
    files of the others; where they differ otherwise, only `preferred` tells which is right.
    """
    if preferred is not None:
        model = models.get(preferred)
        faults = model.faults(revision) if model else ("it is not there",)
        return ([], f"{preferred}: {'; '.join(faults)}") if faults else ([preferred], "")
    complete = {name: m for name, m in models.items() if m and m.complete(revision)}
    if not complete:
        why = [f"{name}: {'; '.join(m.faults(revision)) if m else 'it is not there'}"
               for name, m in models.items()]  # fmt: skip
        return [], "no host has it complete. " + ". ".join(why)
    fullest = [name for name, model in complete.items()
               if all(holds(model, other, revision) for other in complete.values())]  # fmt: skip
    if fullest:
        return fullest, ""
    commits = {model.commit(revision) for model in complete.values()}
    if len(commits) == 1:
        what = f"of {commits.pop()[:12]} differ: {differing(complete, revision)}"
    else:
        parts = [f"{m.commit(revision)[:12]} on {name}" for name, m in complete.items()]
        what = f"differ: {', '.join(parts)}"
    return [], f"the complete copies {what}"


def downloader(
    models: Mapping[str, CachedModel | None], wanted: Sequence[str], on: str | None
) -> str:
    """The host to download on: the named one, else the one that has most of it, so that a
    download that was broken off goes on where it is."""
    if on is not None:
        return on
    return max(wanted, key=lambda name: model.size if (model := models.get(name)) else 0)
