"""The host's operating system: programs, limits, logind, clocks."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.core.units import number
from spark_cluster.doctor.catalogue import find
from spark_cluster.doctor.cluster import Clock, Cluster, each_host
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.facts.base import Facts
from spark_cluster.facts.clock import CLOCK
from spark_cluster.facts.gpu_state import GPU_STATE
from spark_cluster.facts.host import HOST
from spark_cluster.facts.links import LINKS
from spark_cluster.facts.login import LOGIN
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.rdma import ACCESS
from spark_cluster.inventory.models import Host

#: Seconds between two hosts' clocks: logs of ranks no longer sort, tokens and certificates fail.
_SKEW = 2.0

_KEEP_IPC = "RemoveIPC=no in /etc/systemd/logind.conf, which holds from the next boot on"

#: The one program whose absence other findings name better.
_NAMED_ELSEWHERE = ("docker", "nvidia-smi")


def programs(_: Host, facts: Facts) -> Iterator[Finding]:
    missing = [name for name in facts[HOST].missing if name not in _NAMED_ELSEWHERE]
    if missing:
        yield find("HOST001", f"not installed: {', '.join(missing)}")


def readings(_: Host, facts: Facts) -> Iterator[Finding]:
    """What every Linux can say, and did not: then the rules above it are silent without cause."""
    if not facts[LINKS].links:
        yield find("HOST003", "`ip -j addr show` printed no interface")
    if not facts[MEMORY].total:
        yield find("HOST003", "/proc/meminfo has no MemTotal")


def memlock(host: Host, facts: Facts) -> Iterator[Finding]:
    if not host.rails or facts[LOGIN].memlock == "unlimited":
        return
    if "memlock unlimited" not in facts[ACCESS].limits_file:
        kib = number(facts[LOGIN].memlock)
        now = f"{kib} KiB" if kib is not None else "unknown"
        yield find("HOST013", f"locked memory at login is limited to {now}")


def remove_ipc(_: Host, facts: Facts) -> Iterator[Finding]:
    """It harms who runs as a person and does not linger: a rank on the GPU, whoever that is; else
    it is told of the SSH user, who may start one."""
    login = facts[LOGIN]
    user = facts[HOST].user
    held = {
        owner.uid: owner.pid
        for owner in reversed(facts[GPU_STATE].owners)
        if login.loses_ipc(owner.uid)
    }
    for uid, pid in held.items():
        who = user if uid == login.uid else f"uid {uid}"
        yield find(
            "HOST014",
            f"RemoveIPC is yes, and process {pid} on the GPU is {who}'s, who does not linger",
            severity=Severity.WARNING,
            fix=f"loginctl enable-linger {user if uid == login.uid else uid}; or {_KEEP_IPC}",
        )
    if not held and login.loses_ipc(login.uid):
        yield find(
            "HOST014",
            f"RemoveIPC is yes, and the SSH user {user} has uid {login.uid} and does not linger",
            fix=f"loginctl enable-linger {user}; or {_KEEP_IPC}",
        )


def clocks(cluster: Cluster) -> Iterator[Finding]:
    """A host's clock against the others', by way of the controller's. The exec took a while, so
    each difference is a range; only one that is surely too large is told."""
    ranges = {
        host.name: found
        for host, facts in cluster.hosts()
        if (clock := cluster.clocks.get(host.name)) is not None
        and (found := offset(facts, clock)) is not None
    }
    if not ranges:
        return
    middles = sorted(sum(found) / 2 for found in ranges.values())
    reference = middles[(len(middles) - 1) // 2]
    centre = next(name for name, found in ranges.items() if sum(found) / 2 == reference)
    for name, (low, high) in ranges.items():
        other_low, other_high = ranges[centre]
        # The smallest difference that both ranges allow.
        gap = max(low - other_high, other_low - high)
        if name != centre and gap > _SKEW:
            word = "ahead of" if low > other_high else "behind"
            yield find("HOST015", f"its clock is at least {gap:.1f} s {word} {centre}'s", host=name)


def offset(facts: Facts, clock: Clock) -> tuple[float, float] | None:
    """The least and the most that the host's clock is ahead of the controller's, in seconds.

    The host read its clock at the probe's end: after the probe had run for as long as its uptime
    grew, and before the answer was here.
    """
    end = facts[CLOCK]
    if end.epoch is None:
        return None
    started = _uptime(facts)
    ran = max(end.uptime - started, 0.0) if end.uptime and started is not None else 0.0
    earliest = min(clock.before + ran, clock.after)
    return end.epoch - clock.after, end.epoch - earliest


def _uptime(facts: Facts) -> float | None:
    try:
        return float(facts[HOST].uptime)
    except ValueError:
        return None


def synchronized(_: Host, facts: Facts) -> Iterator[Finding]:
    if facts[CLOCK].synchronized is False:
        yield find("HOST016", "NTPSynchronized is no")


RULES = (clocks, *each_host(programs, readings, memlock, remove_ipc, synchronized))
