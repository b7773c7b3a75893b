"""Models and images on the hosts: who has what, and bringing it where it is needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from spark_cluster.actions.deploying import handed_on
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import DOCKER_REMEDY, Active, Outcome, activate, read_hosts
from spark_cluster.core.error import InputError, SparkError
from spark_cluster.core.event import Event, Note
from spark_cluster.core.result import Result
from spark_cluster.core.secret import Secret
from spark_cluster.facts.models import IMAGES, models
from spark_cluster.inventory.loader import select
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes.caches import all_caches, cache_of
from spark_cluster.recipes.loader import own_recipes
from spark_cluster.recipes.naming import NamedModel, image_of, model_of
from spark_cluster.runner.images import Images
from spark_cluster.runner.models import Models
from spark_cluster.runner.request import RunRequest
from spark_cluster.runner.transfer import Transfer
from spark_cluster.transfer.cache import MAIN, CachedModel, skew
from spark_cluster.transfer.plan import targets


@dataclass(frozen=True)
class Held(Event):
    """What a list could not know: hosts of which nothing is known, and what to do next there."""

    kind: str = field(default="held", init=False)
    inventory: str
    unknown: dict[str, str]
    remedies: dict[str, str]

    @property
    def exit_code(self) -> int:
        """3 if a host is unknown."""
        return 3 if self.unknown else 0


@dataclass(frozen=True)
class HeldModel:
    """A model in a host's cache."""

    model: str
    host: str
    cache: str
    complete: bool
    faults: tuple[str, ...]
    revision: str
    unfinished: tuple[str, ...]
    refs: dict[str, str]
    size_bytes: int
    foreign_entries: int
    path: str


@dataclass(frozen=True)
class HeldModels(Held):
    """Models by name, folder and host. `caches` are the folders that were read; `skew` says of a
    model how its copies differ."""

    kind: str = field(default="models", init=False)
    model: str | None
    caches: tuple[str, ...]
    models: tuple[HeldModel, ...]
    skew: dict[str, str]


@dataclass(frozen=True)
class HeldImage:
    """An image in a host's docker."""

    image: str
    host: str
    id: str
    size_bytes: int


@dataclass(frozen=True)
class HeldImages(Held):
    """Images by name and host; `skew` names those that differ, with their ID on each host."""

    kind: str = field(default="images", init=False)
    images: tuple[HeldImage, ...]
    skew: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Way:
    """How files travel: `encrypt` through SSH between the nodes, `iperf`: the route is measured
    first, `streams`: so many files at once."""

    encrypt: bool = False
    iperf: bool = False
    streams: int = 8


def named_model(
    inventory: Inventory, given: str, cache: str | None = None, revision: str | None = None
) -> NamedModel:
    """The model of the hub, or of a recipe. Raises InputError, also for a model of the hub that
    recipes keep in several folders."""
    own = own_recipes(inventory.path, inventory.recipes)
    named = model_of(given, own, cache)
    if cache is None and named.name == given:
        named = replace(named, cache=cache_of(given, own))
    return replace(named, revision=revision or named.revision)


def list_models(
    inventory: Inventory,
    hosts: Sequence[str],
    operator: Operator,
    *,
    model: str | None = None,
    cache: str | None = None,
) -> HeldModels:
    """The models in the hosts' caches: the default one and those of all recipes, or the one that is
    named. One exec a host."""
    own = own_recipes(inventory.path, inventory.recipes)
    wanted = model_of(model, own, cache) if model else None
    folder = wanted.cache if wanted and wanted.name != model else cache  # a recipe's, or --cache
    caches = [folder.rstrip("/")] if folder else all_caches(own)
    fact = models(*caches)
    revision = wanted.revision if wanted else MAIN
    unknown, nexts = {}, {}
    held: dict[str, dict[str, dict[str, CachedModel]]] = {}
    for host, outcome in read_hosts(inventory, hosts, [fact], operator).items():
        if isinstance(outcome, SparkError):
            unknown[host], nexts[host] = outcome.message, outcome.remedy
        elif outcome[fact].error:
            unknown[host] = outcome[fact].error
            nexts[host] = "Mend on the host what this names, and run it again."
        else:
            for found in outcome[fact].found:
                if wanted is None or found.name == wanted.name:
                    held.setdefault(found.name, {}).setdefault(found.cache, {})[host] = found
    rows = [
        _row(host, found, revision)
        for places in held.values()
        for copies in places.values()
        for host, found in copies.items()
    ]
    differ = {name: said for name, places in held.items() if (said := _skew(places, revision))}
    return HeldModels(
        str(inventory.path), unknown, nexts,
        wanted.name if wanted else None, tuple(caches), tuple(rows), differ,
    )  # fmt: skip


def _skew(places: Mapping[str, Mapping[str, CachedModel]], revision: str) -> str:
    said = {cache: skew(copies, revision) for cache, copies in places.items()}
    parts = [
        f"in {cache}: {text}" if len(said) > 1 else text for cache, text in said.items() if text
    ]
    return "; ".join(parts)


def _row(host: str, model: CachedModel, revision: str) -> HeldModel:
    return HeldModel(
        model=model.name,
        host=host,
        cache=model.cache,
        complete=model.complete(revision),
        faults=tuple(model.faults(revision)),
        revision=model.commit(revision),
        unfinished=tuple(model.unfinished),
        refs=dict(model.refs),
        size_bytes=model.size,
        foreign_entries=model.foreign,
        path=model.path,
    )


def list_images(
    inventory: Inventory, hosts: Sequence[str], operator: Operator, *, image: str | None = None
) -> HeldImages:
    """The images of the hosts' dockers. One exec a host."""
    only = image_of(image, own_recipes(inventory.path, inventory.recipes)) if image else None
    unknown, nexts = {}, {}
    rows: list[HeldImage] = []
    for host, outcome in read_hosts(inventory, hosts, [IMAGES], operator).items():
        if isinstance(outcome, SparkError):
            unknown[host], nexts[host] = outcome.message, outcome.remedy
        elif outcome[IMAGES].error:
            unknown[host] = f"docker says: {outcome[IMAGES].error}"
            nexts[host] = DOCKER_REMEDY
        else:
            rows += [
                HeldImage(name, host, found.id, found.size)
                for found in outcome[IMAGES].images
                if only is None or found is outcome[IMAGES].named(only)
                for name in [name for name in found.names if "@" not in name] or found.names
            ]
    rows.sort(key=lambda row: row.image)
    ids: dict[str, dict[str, str]] = {}
    for row in rows:
        if "@" not in row.image:  # a digest is the same image, whatever ID its store gives it
            ids.setdefault(row.image, {})[row.host] = row.id
    differing = {name: found for name, found in ids.items() if len(set(found.values())) > 1}
    return HeldImages(str(inventory.path), unknown, nexts, tuple(rows), differing)


def pull_model(
    inventory: Inventory,
    named: NamedModel,
    operator: Operator,
    *,
    to: Sequence[str] | None = None,
    on: str | None = None,
    image: str | None = None,
    way: Way = Way(),
) -> Outcome:
    """Download a model once, on the host `on` or the one that has most of it, and copy it to the
    others. $HF_TOKEN and $HF_ENDPOINT are handed on."""
    token = handed_on({"HF_TOKEN"}, os.environ).get("HF_TOKEN", Secret(""))
    wanted = targets(inventory, None if to is None else list(to))
    host = select(inventory, [on])[0] if on else None
    hosts = select(inventory, [*wanted, *([host] if host else [])])
    note = f"{_where(named)} to {', '.join(wanted)}"
    request = RunRequest("model pull", "", hosts, inventory, note=note)
    with activate(request, operator) as active:
        results: list[Result] = []
        transfer = _transfer(active, way)
        for each in (named, *named.drafts):
            held = _models(active, each, transfer)
            source, pulled = held.pull(
                wanted,
                host,
                image=image or each.image,
                endpoint=os.environ.get("HF_ENDPOINT", ""),
                token=token,
            )
            results.append(pulled)
            others = [name for name in wanted if name != source]
            if pulled.status.good and others:
                results += held.sync(others, source, streams=way.streams)
        return _finish(active, results, transfer, {"model": named.name})


def sync_model(
    inventory: Inventory,
    named: NamedModel,
    operator: Operator,
    *,
    to: Sequence[str] | None = None,
    source: str | None = None,
    deep: bool = False,
    way: Way = Way(),
) -> Outcome:
    """Copy a model from a host that has it to the others; `deep`: also what they have is hashed."""
    request, wanted, preferred = _copy("model sync", inventory, _where(named), to, source)
    with activate(request, operator) as active:
        results: list[Result] = []
        transfer = _transfer(active, way)
        for each in (named, *named.drafts):
            held = _models(active, each, transfer)
            results += held.sync(wanted, preferred, streams=way.streams, deep=deep)
        return _finish(active, results, transfer, {"model": named.name})


def verify_model(
    inventory: Inventory, named: NamedModel, hosts: Sequence[str], operator: Operator
) -> Outcome:
    """Hash a model's files on these hosts. Exit code 4 if one differs."""
    request = RunRequest(
        "model verify", "", hosts, inventory, note=_where(named), all_hosts_needed=False
    )
    with activate(request, operator) as active:
        held = _models(active, named, _transfer(active, Way()))
        return _finish(active, held.verify(), held.transfer, {"model": named.name})


def remove_model(
    inventory: Inventory,
    named: NamedModel,
    hosts: Sequence[str],
    operator: Operator,
    *,
    agree: Callable[[Mapping[str, int]], None],
    all_needed: bool = False,
) -> Outcome:
    """Remove a model from these hosts' caches, unless it is served. `agree` is told the bytes on
    each host that has it, and raises to keep them."""
    request = RunRequest(
        "model rm", "", hosts, inventory, note=_where(named), all_hosts_needed=all_needed
    )
    with activate(request, operator) as active:
        held = _models(active, named, _transfer(active, Way()))
        found = {host: model for host, model in held.read().items() if model is not None}
        held.refuse_if_used()
        if found:
            agree({host: model.size for host, model in found.items()})
        else:
            active.listener(Note(held.nowhere(list(active.session.alive))))
        results = held.remove(list(found)) if found else []
        return _finish(active, results, held.transfer, {"model": named.name})


def pull_image(
    inventory: Inventory,
    image: str,
    operator: Operator,
    *,
    to: Sequence[str] | None = None,
    on: str | None = None,
    way: Way = Way(),
) -> Outcome:
    """Pull an image, or a recipe's, once, on the host `on` or one that has it, and copy it to the
    others. It is what the registry has now, also where it was there before."""
    name = image_of(image, own_recipes(inventory.path, inventory.recipes))
    wanted = targets(inventory, None if to is None else list(to))
    host = select(inventory, [on])[0] if on else None
    hosts = select(inventory, [*wanted, *([host] if host else [])])
    request = RunRequest("image pull", "", hosts, inventory, note=f"{name} to {', '.join(wanted)}")
    with activate(request, operator) as active:
        transfer = Transfer(active.session, active.listener, way.encrypt, way.iperf)
        images = Images(transfer, inventory, request.verb, name)
        source = host or images.puller(wanted)
        results = [images.pull(source)]
        others = [name for name in wanted if name != source]
        if results[0].status.good and others:
            results += images.bring(others, source)
        return _finish(active, results, transfer, {"image": name})


def sync_image(
    inventory: Inventory,
    image: str,
    operator: Operator,
    *,
    to: Sequence[str] | None = None,
    source: str | None = None,
    way: Way = Way(),
) -> Outcome:
    """Copy an image, or a recipe's, from one host to the others. Raises InputError for a digest."""
    name = image_of(image, own_recipes(inventory.path, inventory.recipes))
    if "@" in name:
        raise InputError(
            f"{name} cannot be copied: docker keeps no digest when it saves and loads an image",
            remedy=f"`spark-cluster image pull {name}` brings it to the hosts, and names it there. "
            f"By hand, on each host: docker pull {name}",
        )
    request, wanted, preferred = _copy("image sync", inventory, name, to, source)
    with activate(request, operator) as active:
        transfer = _transfer(active, way)
        results = Images(transfer, inventory, request.verb, name).sync(wanted, preferred)
        return _finish(active, results, transfer, {"image": name})


def _copy(
    verb: str, inventory: Inventory, what: str, to: Sequence[str] | None, source: str | None
) -> tuple[RunRequest, list[str], str | None]:
    """The run, the hosts that should have `what`, and the one to copy from if it was named.

    Raises InputError for a host that the inventory does not have.
    """
    wanted = targets(inventory, None if to is None else list(to))
    preferred = select(inventory, [source])[0] if source else None
    hosts = select(inventory, [*wanted, preferred]) if preferred else list(inventory.hosts)
    note = f"{what} to {', '.join(wanted)}"
    request = RunRequest(verb, "", hosts, inventory, note=note, all_hosts_needed=False)
    return request, wanted, preferred


def _where(named: NamedModel) -> str:
    return f"{named.name} in {named.cache}"


def _transfer(active: Active, way: Way) -> Transfer:
    return Transfer(active.session, active.listener, way.encrypt, way.iperf)


def _models(active: Active, named: NamedModel, transfer: Transfer) -> Models:
    return Models(transfer, active.request.inventory, active.request.verb, named)


def _finish(
    active: Active, results: Sequence[Result], transfer: Transfer, data: dict[str, Any]
) -> Outcome:
    """The end of a verb, with the numbers of its copies."""
    moved = {
        "downloads": [got.as_data() for got in transfer.downloaded],
        "copies": [copied.as_data() for copied in transfer.copied],
    }
    return active.finish(results, data={**data, **{k: v for k, v in moved.items() if v}})
