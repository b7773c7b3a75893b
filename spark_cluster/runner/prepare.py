"""What a launch needs on its hosts and is not there: found, foretold, and brought part by part.

Each part is as its own verb makes it, and can be begun again: a download goes on inside its files,
a copy inside its own, and what is whole is no part any more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spark_cluster.core.error import Interrupted, SparkError
from spark_cluster.core.result import Result
from spark_cluster.core.secret import Secret
from spark_cluster.core.units import human_bytes
from spark_cluster.engines.spec import Deployment
from spark_cluster.facts.storage import DISK
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes.naming import NamedModel
from spark_cluster.runner.images import Images
from spark_cluster.runner.models import Models
from spark_cluster.runner.remote_program import diagnosed
from spark_cluster.runner.transfer import Transfer
from spark_cluster.transfer import plan
from spark_cluster.transfer.cache import CachedModel, holds
from spark_cluster.transfer.forecast import (
    COPY,
    DOWNLOAD,
    IMAGE,
    MODEL,
    UNPACKED,
    Expected,
    Experience,
    Part,
    expect,
    needed,
    off,
)

#: Files that a copy brings at once, as `model sync` does.
_STREAMS = 8


def models_of(deployment: Deployment) -> tuple[NamedModel, ...]:
    """The models that must lie in the hosts' caches, drafts last; none for an engine that keeps its
    own."""
    if not deployment.model_folder:
        return ()
    cache, image = deployment.model_cache, deployment.image
    return (
        NamedModel(deployment.model, cache, image, deployment.revision, deployment.asked),
        *(
            NamedModel(each.name, cache, image, each.revision, each.name)
            for each in deployment.drafts
        ),
    )


@dataclass
class Preparation:
    """A deployment's image and models on its `hosts`; other hosts of the session may have them.

    `unknown` says what could not be foretold, `done` what became of each part.
    """

    transfer: Transfer
    inventory: Inventory
    deployment: Deployment
    verb: str
    token: Secret
    unknown: list[str] = field(default_factory=list)
    done: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hosts = list(self.deployment.hosts)
        self.image = Images(self.transfer, self.inventory, self.verb, self.deployment.image)
        wanted = models_of(self.deployment)
        self.models = {one.name: self._models(one) for one in wanted}

    def _models(self, named: NamedModel) -> Models:
        return Models(self.transfer, self.inventory, self.verb, named)

    @property
    def endpoint(self) -> str:
        return os.environ.get("HF_ENDPOINT", "")

    # What is missing

    def missing(self) -> list[Part]:
        """The parts in the order in which they are brought. Raises SparkError for a host that does
        not answer, a model that its hub does not give, and copies of which none is the right one.
        """
        found = self._missing_image()
        for models in self.models.values():
            found += self._missing_model(models)
        return found

    def _missing_image(self) -> list[Part]:
        held = self.image.read(self.hosts)
        lacking = [host for host in self.hosts if held.get(host) is None]
        name = self.deployment.image
        if not lacking:
            return []
        if any(held.values()):
            own = {host: held[host] for host in self.hosts}
            source, image = self.image.source(own if any(own.values()) else held, None)
            return [Part(IMAGE, name, COPY, tuple(lacking), source, image.size)]
        first, *others = self.hosts
        said = self.image.missing_bytes(first)
        if isinstance(said, SparkError):  # docker, which may know a mirror, has the last word
            self.unknown.append(f"the size of {name}: {said.message}")
        size = None if isinstance(said, SparkError) else said
        parts = [Part(IMAGE, name, DOWNLOAD, (first,), bytes=size)]
        if others:
            unpacked = None if size is None else int(size * UNPACKED)
            parts.append(Part(IMAGE, name, COPY, tuple(others), first, unpacked))
        return parts

    def _missing_model(self, models: Models) -> list[Part]:
        held, revision, name = models.read(self.hosts), models.revision, models.name
        own = {host: held.get(host) for host in self.hosts}
        there = own if _complete(own, revision) else held
        if _complete(there, revision):
            sources, why = plan.source(there, revision, None)
            if not sources:
                raise diagnosed("MODEL002", f"{name} {revision} in {models.cache}: {why}")
            model = there[sources[0]]
            assert model is not None
            snapshot = model.snapshot(revision)
            lacking = tuple(
                host for host in self.hosts
                if host not in sources and not holds(own[host], model, revision)
            )  # fmt: skip
            size = snapshot.size if snapshot else None
            return [Part(MODEL, name, COPY, lacking, sources[0], size)] if lacking else []
        first = plan.downloader(held, self.hosts, None)
        said = models.missing_bytes(first, endpoint=self.endpoint, token=self.token)
        if isinstance(said, SparkError):  # the download would begin with the same question
            raise said
        missing, whole = said
        parts = [Part(MODEL, name, DOWNLOAD, (first,), bytes=missing)]
        if others := tuple(host for host in self.hosts if host != first):
            parts.append(Part(MODEL, name, COPY, others, first, whole))
        return parts

    # What it will take

    def foretell(self, parts: Sequence[Part], seen: Experience) -> list[Expected]:
        """Each part with its seconds."""
        return [expect(part, seen, self._wire) for part in parts]

    def _wire(self, source: str, sink: str) -> float | None:
        way = plan.route(self.inventory, source, sink)
        return self.transfer.wire(way) if way is not None else None

    def no_room(self, parts: Sequence[Part]) -> dict[str, str]:
        """The hosts on which this cannot fit, however their disks are divided, and why. The
        programs look again at the very disk before they write."""
        wanted = needed(parts)
        read = self.transfer.each(wanted, lambda host: host.read([DISK])[DISK])
        found = {}
        for host, disk in read.items():
            if isinstance(disk, SparkError) or not disk.free:
                continue
            free = sum(disk.free.values())
            if wanted[host] > free:
                found[host] = (
                    f"{human_bytes(wanted[host])} are needed and {human_bytes(free)} are free"
                )
        return found

    # Bringing it

    def bring(self, expected: Sequence[Expected]) -> list[Result]:
        """One part after the other; the first that fails ends it. Raises Interrupted."""
        results: list[Result] = []
        for one in expected:
            began = time.monotonic()
            downloads, copies = len(self.transfer.downloaded), len(self.transfer.copied)
            results += self._bring(one.part)
            moved = {
                "downloads": [got.as_data() for got in self.transfer.downloaded[downloads:]],
                "copies": [copied.as_data() for copied in self.transfer.copied[copies:]],
            }
            took = round(time.monotonic() - began, 1)
            row = {**one.as_data(), **moved, "took": took, "off": off(one.seconds, took)}
            self.done.append(row)
            if self.transfer.session.stop.requested:
                raise Interrupted(
                    f"stopped while {one.part.name} was brought",
                    remedy="Run the command again: it goes on from there.",
                )
            if not all(result.status.good for result in results):
                break
        return results

    def _bring(self, part: Part) -> list[Result]:
        host, hosts = part.hosts[0], list(part.hosts)
        if part.what == IMAGE:
            if part.way == DOWNLOAD:
                return [self.image.pull(host)]
            return self.image.bring(hosts, part.source)
        models = self.models[part.name]
        if part.way == DOWNLOAD:
            _, result = models.pull(
                hosts, host, image=models.model.image, endpoint=self.endpoint, token=self.token
            )
            return [result]
        return models.sync(hosts, part.source, streams=_STREAMS)


def _complete(held: Mapping[str, CachedModel | None], revision: str) -> bool:
    return any(model is not None and model.complete(revision) for model in held.values())
