"""Where a benchmark runs: an endpoint alone, or a cluster of ours with its hosts beside."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spark_cluster.actions.launch import api_address
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import load_inventory, looking
from spark_cluster.bench import vllm_serve
from spark_cluster.bench.client import base_url
from spark_cluster.bench.host_samples import Sampler
from spark_cluster.bench.plan import Settings, Step
from spark_cluster.bench.results import Server
from spark_cluster.core.error import CheckFailed, InputError, SparkError, StepFailed
from spark_cluster.core.secret import Secret
from spark_cluster.facts.base import Fact, Facts
from spark_cluster.facts.docker import CONTAINERS, Container
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.host import HOST
from spark_cluster.inventory.loader import select
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes.choose import choose
from spark_cluster.recipes.models import Recipe
from spark_cluster.recipes.overrides import override
from spark_cluster.recipes.secret_names import masked
from spark_cluster.runner.remote_program import lose
from spark_cluster.runner.session import Session, tail
from spark_cluster.transport.protocol import Completed
from spark_cluster.workload.launched import overrides_of
from spark_cluster.workload.served import HostFacts, Served, ranks, running

#: What `vllm bench serve` may take for one level.
_LEVEL_SECONDS = 3600.0

_ABOUT = ("hostname", "kernel", "os", "arch", "boot_id")


@dataclass
class Place:
    """`sampler` is None where no host is known, or where one GPU serves alone: no rails to read."""

    base: str
    sampler: Sampler | None = None
    deployment: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    session: Session | None = None
    served: Served | None = None

    def abort(self) -> None:
        """The run was interrupted: end what runs on the hosts."""
        if self.session is not None:
            self.session.abort()

    def stop(self) -> None:
        """No more readings."""
        if self.sampler is not None:
            self.sampler.stop()

    def vllm_bench(
        self,
        server: Server,
        settings: Settings,
        planned: Sequence[Step],
        tell: Callable[[str], None],
    ) -> Completed:
        """What the script of all levels printed, run in one exec on the head."""
        assert self.session is not None
        assert self.served is not None
        head, seconds = self.served.host, len(planned) * _LEVEL_SECONDS
        script = vllm_serve.script(
            self.served.head.name, self.served.port, server, settings, planned
        )
        outcome = self.session.each(
            [head], lambda host: host.run(script, timeout=seconds, on_line=tell)
        )[head]
        if isinstance(outcome, SparkError):
            raise outcome
        return outcome

    def vllm_failed(self, missing: Iterable[Step], output: Completed) -> SparkError:
        """The error for levels that have no result."""
        assert self.served is not None
        return StepFailed(
            f"`vllm bench serve` gave no result for {', '.join(step.name for step in missing)}",
            host=self.served.host,
            stderr=tail(output.stderr) or None,
            remedy="Its last words stand above. Without --vllm the load comes from here.",
        )


def at_endpoint(endpoint: str) -> Place:
    """An API and nothing else."""
    note = "--endpoint knows no hosts: RDMA counters and power were not read"
    return Place(base_url(endpoint), notes=(note,))


@dataclass(frozen=True)
class Found:
    """What serves on the inventory's hosts. `wanted` is the recipe that was named, if one was."""

    inventory: Inventory
    session: Session
    served: Served
    facts: HostFacts
    wanted: Recipe | None

    def recipe(self) -> Recipe:
        """The recipe of what serves, without its choices. Raises InputError if nobody here knows
        it."""
        return self.wanted or _recipe(self.inventory, self.served.recipe)

    @property
    def base(self) -> str:
        """The address of the API."""
        return f"http://{api_address(self.inventory, self.served.host, self.served.port)}"


@contextlib.contextmanager
def find(
    loaded: Inventory, recipe: str | None, hosts: Sequence[str] | None, operator: Operator
) -> Iterator[Found]:
    """What runs on these hosts of the inventory: the recipe that is named, else the newest launch.

    Raises InputError for an unknown recipe, CheckFailed if nothing runs, or another recipe.
    """
    wanted = _recipe(loaded, recipe) if recipe is not None else None
    names = select(loaded, None if hosts is None else list(hosts))
    with looking(loaded, names, operator) as session:
        facts = _read(session)((CONTAINERS, HOST, GPU))
        there = running(facts)
        meant = [each for each in there if wanted and each.recipe == wanted.name]
        found = next(iter([*meant, *there]), None)
        if found is None:
            raise _nothing(session, recipe)
        if wanted and wanted.name != found.recipe:
            raise CheckFailed(
                f"{found.host} serves {found.recipe}, not {wanted.name}",
                remedy=f"Name {found.recipe} or no recipe, or `spark-cluster launch {recipe}`.",
            )
        yield Found(loaded, session, found, facts, wanted)


@contextlib.contextmanager
def on_cluster(
    recipe: str | None,
    inventory: str | None,
    hosts: Sequence[str] | None,
    interval: float,
    operator: Operator,
) -> Iterator[Place]:
    """What runs on the inventory's hosts, with their readings beside it. Raises as `find` does."""
    with find(load_inventory(inventory), recipe, hosts, operator) as found:
        yield _place(found, interval)


def _place(found: Found, interval: float) -> Place:
    served, facts, session = found.served, found.facts, found.session
    away = [name for name in served.hosts if name not in facts]
    there = ranks(served, facts, found.inventory)
    sampler = Sampler(_read(session, served.hosts), there, interval)
    notes = [f"{name} is away: its counters and power are not read" for name in away]
    recipe: Mapping[str, Any] = {}
    try:
        recipe = launched(found.recipe(), served.head)
    except InputError as error:
        notes.append(f"the recipe that was launched is not known here: {error.message}")
    return Place(
        found.base,
        sampler,
        {**served.as_dict(), "labels": served.head.labels, "started": served.head.started},
        recipe,
        {name: _about(facts[name]) for name in served.hosts if name in facts},
        tuple(notes),
        session,
        served,
    )


def _read(
    session: Session, names: Sequence[str] | None = None
) -> Callable[[Sequence[Fact[object]]], HostFacts]:
    """Reads facts of the hosts that answer; one whose connection dies is left out from then on."""

    def read(facts: Sequence[Fact[object]]) -> HostFacts:
        alive = [name for name in session.alive if names is None or name in names]
        outcomes = session.each(alive, lambda host: host.read(facts))
        lose(session, lambda _: None, outcomes)
        return {name: read for name, read in outcomes.items() if isinstance(read, Facts)}

    return read


def _recipe(inventory: Inventory, name: str) -> Recipe:
    from spark_cluster.recipes.loader import load, own_recipes

    return load(name, own_recipes(inventory.path, inventory.recipes))


def as_launched(recipe: Recipe, head: Container) -> Recipe:
    """The recipe with the profile and the options of the launch.

    Raises InputError for one of them that it has no more.
    """
    options = [name for name in head.label("options").split(",") if name]
    chosen = choose(recipe, head.label("profile") or None, options)
    return override(chosen, overrides_of(head))


def launched(recipe: Recipe, head: Container) -> Mapping[str, Any]:
    """`as_launched`, its secrets blacked out."""
    return masked(as_launched(recipe, head)).model_dump(mode="json")


def key_in(variable: str | None) -> Secret | None:
    """The API key in a variable of the environment. Raises InputError for one that is not set."""
    if variable is None:
        return None
    value = os.environ.get(variable)
    if not value:
        raise InputError(
            f"--api-key-env {variable}: the variable is not set", remedy=f"export {variable}=…"
        )
    return Secret(value)


def _about(facts: Facts) -> dict[str, Any]:
    host, gpu = facts[HOST], facts[GPU]
    known = {name: host.values[name] for name in _ABOUT if name in host.values}
    return {**known, "gpu": list(gpu.names), "driver": gpu.driver}


def _nothing(session: Session, recipe: str | None) -> SparkError:
    lost = session.lost
    if lost:
        return next(iter(lost.values()))
    return CheckFailed(
        f"no server of ours runs on {', '.join(session.alive)}",
        remedy=f"`spark-cluster launch {recipe or 'RECIPE'}`, or give the address of another "
        "server with --endpoint.",
    )
