"""What the rules look at: the inventory and every host's readings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from spark_cluster.doctor.finding import Finding
from spark_cluster.facts.base import Facts
from spark_cluster.facts.cache import CACHE
from spark_cluster.facts.clock import CLOCK
from spark_cluster.facts.connectx import CONNECTX
from spark_cluster.facts.docker import CONTAINERS, DOCKER
from spark_cluster.facts.ended import SERVER_END
from spark_cluster.facts.engine import ENGINE
from spark_cluster.facts.firewall import FIREWALL
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.gpu_state import GPU_STATE
from spark_cluster.facts.hardware import HARDWARE
from spark_cluster.facts.host import HOST
from spark_cluster.facts.kernel_log import KERNEL_LOG
from spark_cluster.facts.limits import LIMITS
from spark_cluster.facts.links import LINKS, PING, Link
from spark_cluster.facts.login import LOGIN
from spark_cluster.facts.memory import MEMORY, SWAP
from spark_cluster.facts.memory_pressure import MEMORY_PRESSURE
from spark_cluster.facts.netplan import NETPLAN
from spark_cluster.facts.rdma import ACCESS, COUNTERS, GIDS, NCCL
from spark_cluster.facts.routes import ROUTES
from spark_cluster.facts.software import SOFTWARE
from spark_cluster.facts.storage import PORTS
from spark_cluster.inventory.models import Host, Inventory, Rail

#: What the doctor reads, in one exec per host: HOST first and CLOCK last, for both tell a time.
FACTS = (
    HOST, LINKS, HARDWARE, NETPLAN, ROUTES, FIREWALL, GIDS, ACCESS, COUNTERS, PING, MEMORY, SWAP,
    MEMORY_PRESSURE, LOGIN, CACHE, DOCKER, SOFTWARE, CONTAINERS, SERVER_END, ENGINE, NCCL, PORTS,
    GPU, GPU_STATE, CONNECTX, KERNEL_LOG, LIMITS, CLOCK,
)  # fmt: skip


@dataclass(frozen=True)
class Clock:
    """The controller's clock around a host's probe, in seconds since 1970."""

    before: float
    after: float


@dataclass(frozen=True)
class Cluster:
    """`facts` of the hosts that answered; `away` says why the others did not. `images` are those
    that the known recipes use: only these must be the same on every host."""

    inventory: Inventory
    facts: Mapping[str, Facts]
    away: Mapping[str, str] = field(default_factory=dict)
    clocks: Mapping[str, Clock] = field(default_factory=dict)
    images: frozenset[str] = frozenset()

    def hosts(self) -> Iterator[tuple[Host, Facts]]:
        """The hosts that answered, in the inventory's order."""
        for name, host in self.inventory.hosts.items():
            if name in self.facts:
                yield host, self.facts[name]

    def link(self, host: str, interface: str) -> Link | None:
        """The interface as the kernel has it; None if it is not there or the host is away."""
        facts = self.facts.get(host)
        return facts[LINKS].links.get(interface) if facts else None

    def peers(self, host: str, rail: Rail) -> list[tuple[str, Rail]]:
        """The rails that `rail` must reach on hosts that answered."""
        return [
            (name, peer) for name, peer in self.inventory.peers(host, rail) if name in self.facts
        ]


Rule = Callable[[Cluster], Iterator[Finding]]
HostRule = Callable[[Host, Facts], Iterator[Finding]]


def each_host(*rules: HostRule) -> tuple[Rule, ...]:
    """Rules that look at one host at a time, as rules of the cluster: what they find gets the
    host's name."""

    def asked(rule: HostRule, cluster: Cluster) -> Iterator[Finding]:
        for host, facts in cluster.hosts():
            for finding in rule(host, facts):
                yield replace(finding, host=host.name)

    return tuple(partial(asked, rule) for rule in rules)
