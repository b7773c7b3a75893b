"""A node for the contract tests of transfer/: this machine, with a model cache of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from spark_cluster.facts.base import ProbeContext
from spark_cluster.facts.models import ModelsFact, models
from spark_cluster.facts.storage import MODEL as LAUNCH_MODEL
from spark_cluster.facts.storage import ModelFact
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner.remote_program import follow
from spark_cluster.runner.session import HostSession
from spark_cluster.transfer.cache import CachedModel
from spark_cluster.transfer.payload import Order
from spark_cluster.transport import local
from spark_cluster.transport.protocol import Become, Target
from tests.hub_cache import MODEL
from tests.unit import world
from tests.unit.shell import sh


class Place:
    """A node's cache below a folder, and a host to the node, which is this machine."""

    def __init__(self, folder: Path, name: str) -> None:
        inventory = Inventory.model_validate({"hosts": {name: {}}})
        self.host = HostSession(
            Target(name, "local"), ProbeContext(inventory.hosts[name], inventory)
        )
        self.host.connection = local.connect(self.host.target, Become())
        self.cache = folder / name
        self.hub = self.cache / "hub"
        self.folder = self.hub / f"models--{MODEL.replace('/', '--')}"
        self.events: list[Any] = []

    def read(self) -> ModelsFact:
        fact = models(str(self.cache))
        return self.host.read([fact])[fact]

    @property
    def model(self) -> CachedModel:
        return self.read().models[MODEL]

    def launch_reads(self, revision: str = "main") -> ModelFact:
        """What launch's own check sees of the model."""
        made = replace(world.deployment(), model_folder=str(self.folder), revision=revision)
        context = replace(self.host.context, deployment=made)
        return LAUNCH_MODEL.parse(sh(LAUNCH_MODEL.script(context)))

    def follow(
        self, order: Order, stop: Callable[[float], bool] | None = None
    ) -> Mapping[str, Any]:
        def wait(_: float) -> bool:
            time.sleep(0.05)
            return False

        return follow(self.host, order, self.events.append, lambda *_: None, stop or wait)
