"""Disks and the model cache: space, speed, and whose files they are."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.core.shell import quote
from spark_cluster.core.units import GIB, human_bytes
from spark_cluster.doctor.catalogue import find
from spark_cluster.doctor.cluster import each_host
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.facts.base import Facts
from spark_cluster.facts.cache import CACHE, Cache
from spark_cluster.facts.host import HOST
from spark_cluster.inventory.models import Host

#: Free space below a share of the disk, or below an amount on a large one: an engine's image takes
#: about 20 GiB twice while it is unpacked, and a download needs room for its largest files.
_LITTLE_SHARE, _LITTLE = 0.10, 50 * GIB
_ALARM_SHARE, _ALARM = 0.02, 5 * GIB

#: KiB that the kernel reads ahead; its default is 128. Loading weights is one long sequential read,
#: which an NVMe disk serves several times faster in large pieces.
READ_AHEAD = 8192

#: Disks of a virtual machine: what they say of themselves means nothing.
_VIRTUAL = ("vd", "xvd", "loop", "zram")


def space(_: Host, facts: Facts) -> Iterator[Finding]:
    for disk in facts[CACHE].spaces:
        if disk.free >= min(_LITTLE_SHARE * disk.size, _LITTLE):
            continue
        alarm = disk.free < min(_ALARM_SHARE * disk.size, _ALARM)
        yield find(
            "HOST018",
            f"{human_bytes(disk.free)} of {human_bytes(disk.size)} free on {disk.target}",
            severity=Severity.CRITICAL if alarm else None,
        )


def cache(_: Host, facts: Facts) -> Iterator[Finding]:
    for found in facts[CACHE].caches:
        slow = _slow(found)
        if slow:
            yield find("HOST017", f"{found.path} lies on {slow}")
        elif _below(found):
            yield find(
                "HOST023",
                f"{found.disk} reads {found.read_ahead} KiB ahead, the model cache loads "
                f"faster with {READ_AHEAD} KiB",
                fix=f"echo {READ_AHEAD} > /sys/block/{found.disk}/queue/read_ahead_kb "
                f"(until the next boot)",
            )
        if found.foreign:
            user = facts[HOST].user
            more = " or more" if found.foreign >= 200 else ""
            yield find(
                "HOST019",
                f"{found.foreign}{more} entries in {found.path}/hub are not {user}'s but "
                f"{found.owner}'s",
                fix=f"chown -R {user}: {quote(found.path)}",
            )


def _slow(cache: Cache) -> str:
    if cache.kind in ("overlay", "nfs", "nfs4", "cifs", "fuse.sshfs"):
        return f"{cache.kind} ({cache.source})"
    if cache.rotational and not cache.disk.startswith(_VIRTUAL):
        return f"a rotating disk ({cache.disk})"
    return ""


def _below(cache: Cache) -> bool:
    known = cache.read_ahead is not None and not cache.disk.startswith(_VIRTUAL)
    return known and (cache.read_ahead or 0) < READ_AHEAD


RULES = each_host(space, cache)
