"""What is launched on the hosts of an inventory, and which of them nobody can read."""

from __future__ import annotations

from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import DOCKER_REMEDY, read_hosts
from spark_cluster.core.error import SparkError, StateUnknown
from spark_cluster.facts.base import Facts
from spark_cluster.facts.docker import CONTAINERS, ContainersFact
from spark_cluster.facts.supervisor import SUPERVISOR
from spark_cluster.inventory.models import Inventory


def look(
    inventory: Inventory, operator: Operator
) -> tuple[dict[str, Facts], dict[str, SparkError]]:
    """The containers of each host, and the errors of those that are away."""
    read = read_hosts(inventory, list(inventory.hosts), (CONTAINERS, SUPERVISOR), operator)
    facts = {name: found for name, found in read.items() if not isinstance(found, SparkError)}
    away = {name: found for name, found in read.items() if isinstance(found, SparkError)}
    for name in [name for name, found in facts.items() if _unknown(found[CONTAINERS])]:
        what = "; ".join(facts.pop(name)[CONTAINERS].unread)
        away[name] = StateUnknown(f"{name}: {what}", host=name, remedy=DOCKER_REMEDY)
    return facts, away


def _unknown(fact: ContainersFact) -> bool:
    """Whether nothing of ours is known there, and something that nobody could read is."""
    return bool(fact.unread) and not fact.containers
