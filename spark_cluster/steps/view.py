"""What a step sees: this host, the others, and what is to be deployed. Nothing in it does I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from spark_cluster.engines.spec import ContainerSpec, Deployment
from spark_cluster.facts.base import Facts
from spark_cluster.facts.docker import CONTAINERS, Container, ContainersFact
from spark_cluster.inventory.models import Host, Inventory, Rail


@dataclass(frozen=True)
class Options:
    """Choices of the command line that several steps heed. `recipe`: only its containers are
    taken down; empty for all of ours."""

    allow_management: bool = False
    force: bool = False
    recipe: str = ""


@dataclass(frozen=True)
class View:
    """`facts` are this host's newest readings, `all_facts` those of every host of the run, `first`
    those of the run's beginning. `before` and `output` are there after the traffic."""

    host: Host
    inventory: Inventory
    facts: Facts
    all_facts: Mapping[str, Facts]
    first: Facts
    deployment: Deployment | None = None
    templates: Mapping[str, str] = field(default_factory=dict)
    options: Options = Options()
    before: Mapping[str, Facts] | None = None
    output: str | None = None

    def seen_by(self, step: str, reads: Collection[str]) -> View:
        """The same, with no other facts than those that the step declares."""

        def every(facts: Mapping[str, Facts]) -> Mapping[str, Facts]:
            return {name: each.only(step, reads) for name, each in facts.items()}

        return replace(
            self,
            facts=self.facts.only(step, reads),
            all_facts=every(self.all_facts),
            first=self.first.only(step, reads),
            before=None if self.before is None else every(self.before),
        )

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def serving(self) -> Deployment:
        """The deployment; only for steps of launch."""
        if self.deployment is None:
            raise ValueError("this step needs a recipe")
        return self.deployment

    @property
    def is_head(self) -> bool:
        return self.serving.head == self.name

    @property
    def spec(self) -> ContainerSpec:
        return self.serving.container(self.name)

    def rails(self, host: str) -> tuple[Rail, ...]:
        """The rails of a host that the deployment uses; without a deployment all of them."""
        rails = self.inventory.hosts[host].rails
        if self.deployment is None:
            return tuple(rails)
        return tuple(rail for rail in rails if rail.device in self.deployment.devices[host])

    def meant(self, fact: ContainersFact) -> tuple[Container, ...]:
        """The containers that a teardown is about: all of ours, or those of one recipe."""
        recipe = self.options.recipe
        return tuple(c for c in fact.containers if not recipe or c.label("recipe") == recipe)

    def own_container(self) -> Container | None:
        """The running container of exactly this host's spec, if it is there."""
        container = self.facts[CONTAINERS].named(self.spec.name)
        if container is None or not container.running:
            return None
        return container if container.label("spec") == self.spec.digest else None
