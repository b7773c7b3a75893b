"""What a report on logs is told with, as sentences: what is missing, what went wrong and between
whom, what the log shows that nobody asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from spark_cluster.core.units import count
from spark_cluster.core.words import sentence
from spark_cluster.rdma import nccl_releases
from spark_cluster.rdma.from_log import LogRank, Report, missing
from spark_cluster.rdma.nccl_events import Event, describe, gravest
from spark_cluster.rdma.owners import Owners, between

#: How many names a sentence lists.
_NAMES = 4

#: RoCE's largest payload in bytes: less means a small MTU on the interface.
_FULL_MTU = 4096

#: Variables in an image's nccl.conf that were seen to freeze SGLang's first collective.
_FROM_FILE = ("NCCL_IB_USE_INLINE", "NCCL_IB_PREPOST_RECEIVE_WORK_REQUESTS")

#: The two halves of a port: of the second domain of PCIe the device has P2 in its name.
_SECOND = re.compile(r"^roceP\d+p(\d+s\d+f\d+)$", re.ASCII)


def notes(report: Report, owners: Owners | None = None) -> tuple[str, ...]:
    """All sentences; with `owners` also whose the addresses are."""
    return tuple(dict.fromkeys(_notes(report, owners or {})))


def _notes(report: Report, owners: Owners) -> Iterator[str]:
    ranks = report.ranks
    yield from _files(report)
    yield from _missing(ranks)
    for rank in ranks:
        yield from _of_rank(rank, ranks, owners)
    yield from _releases(ranks)


def _files(report: Report) -> Iterator[str]:
    others = [name for name in report.silent if name not in report.of_ray]
    if report.of_ray and report.ranks:
        yield (
            f"{_listed(report.of_ray)}: Ray's own lines, which are never NCCL's. A rank's are in "
            "its container, in /tmp/ray/session_*/logs/worker-*.out, and copied, shortened, into "
            "the log of the head's."
        )
    if others and report.ranks:
        verb = "holds" if len(others) == 1 else "hold"
        yield f"{_listed(others)} {verb} no line of NCCL's."
    for name, starts in report.earlier.items():
        verb = "is" if starts == 1 else "are"
        yield f"{count(starts, 'earlier start')} in {name} {verb} left out."


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES
    if more <= 1:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMES])} and {more} more"


def _missing(ranks: Sequence[LogRank]) -> Iterator[str]:
    absent = missing(ranks)
    size = max((rank.witness.nranks or 0 for rank in ranks), default=0)
    if absent:
        yield (
            f"The logs show {size - len(absent)} of {size} ranks; rank "
            f"{', '.join(map(str, absent))} may say otherwise: give its log, too."
        )


def _across(ranks: Sequence[LogRank]) -> bool:
    """Whether the job spans hosts: several, or channels that leave one."""
    hosts = {rank.process.rpartition(":")[0] for rank in ranks}
    return len(hosts) > 1 or any(rank.witness.channels or rank.witness.plugin for rank in ranks)


def _of_rank(rank: LogRank, ranks: Sequence[LogRank], owners: Owners) -> Iterator[str]:
    witness = rank.witness
    yield from _troubles(rank, owners)
    if witness.fell_back:
        wanted = witness.env.get("NCCL_IB_HCA")
        asked = f" NCCL_IB_HCA was {wanted}." if wanted else ""
        yield (
            f"{rank.name}: NCCL found no usable RDMA device and fell back to sockets without an "
            f"error.{asked} With NCCL_NET=IB it would have ended instead."
        )
    elif witness.plugin:
        yield (
            f"{rank.name}: network {witness.plugin}, a plugin whose transport is not known here: "
            "the counters tell (`spark-cluster verify-rdma`)."
        )
    elif rank.kind == "unknown" and witness.network is None and not witness.retrying:
        yield f"{rank.name}: lists devices or a version, and not which network it chose."
    if not witness.failed:
        yield from _open(rank, ranks)
    for warning in witness.warnings:
        if not (witness.fell_back and "NET/IB" in warning):
            yield sentence(f"{rank.name}: {warning}")
    if not witness.failed:
        yield from _carriers(rank)
    yield from _settings(rank)


def _troubles(rank: LogRank, owners: Owners) -> Iterator[str]:
    """Why it ended, what the two ends are, and what was tried again with success."""
    witness = rank.witness
    if witness.failed:
        yield sentence(f"{rank.name}: {witness.failed}")
        first = gravest(witness.events)
        if first and (ends := between(first.local, first.remote, owners)):
            yield f"{rank.name}: {ends}"
    tried = [event for event in witness.events if event.kind.outcome == "retry"]
    if tried and not witness.failed and witness.retrying is None:
        yield (
            f"{rank.name}: {count(len(tried), 'attempt')} to connect failed and was tried again "
            f"with success: {_detail(tried[-1])}."
        )


def _detail(event: Event) -> str:
    return describe(event).partition(": ")[2]


def _open(rank: LogRank, ranks: Sequence[LogRank]) -> Iterator[str]:
    """Starts and connections of which the log does not say how they ended."""
    witness = rank.witness
    if witness.retrying is not None:
        yield (
            f"{rank.name}: still tried to connect when the log ended: {_detail(witness.retrying)}."
        )
    if witness.unfinished:
        done = [other.name for other in ranks if other.is_connected and other is not rank]
        beside = f", while {_listed(done)} did" if done else ""
        yield (
            f"{rank.name}: its communicator started (Init START) and never completed{beside}: the "
            "rank waits, or the log ends too early."
        )


def _carriers(rank: LogRank) -> Iterator[str]:
    """All channels on one of several devices that NCCL lists."""
    witness, used = rank.witness, rank.witness.carriers
    idle = [name for name in witness.devices if not any(name in key.split("+") for key in used)]
    if len(used) != 1 or not idle or witness.channels_ib < 2:
        return
    (device, channels), *_ = used.items()
    twin = _port(device)
    half = twin and any(_port(name) == twin for name in idle)
    rest = f"{', '.join(idle)} {'carries' if len(idle) == 1 else 'carry'} none"
    yield (
        f"{rank.name}: NCCL lists {', '.join(witness.devices)}, and all {channels} channels are on "
        f"{device}: {rest}" + ("; half of the port is idle." if half else ".")
    )


def _port(device: str) -> str:
    """The same for both halves of a port; empty if the name is no Spark's."""
    found = _SECOND.match(device) or re.match(r"^roce(p\d+s\d+f\d+)$", device, re.ASCII)
    return found[1].lstrip("p") if found else ""


def _settings(rank: LogRank) -> Iterator[str]:
    witness = rank.witness
    if pinned := witness.env.get("NCCL_IB_GID_INDEX"):
        yield (
            f"{rank.name}: NCCL_IB_GID_INDEX is pinned to {pinned}: the index differs between "
            "hosts and moves when addresses come and go."
        )
    if left := [name for name in _FROM_FILE if witness.env.get(name, "0") not in ("", "0")]:
        yield (
            f"{rank.name}: {' and '.join(left)} "
            f"{'is' if len(left) == 1 else 'are'} set, which was seen to freeze SGLang's first "
            "collective. If the recipe does not set it, /etc/nccl.conf or ~/.nccl.conf of the "
            "image does: set it to 0 in the environment, which wins."
        )
    for use in witness.gids:
        if use.address.startswith("fe80"):
            yield (
                f"{rank.name}: GID {use.index} is a link-local address ({use.address}), not the "
                "rail's IPv4 address."
            )
        if use.mtu is not None and use.mtu < _FULL_MTU:
            yield (
                f"{rank.name}: RoCE's MTU is {use.mtu} bytes and not {_FULL_MTU}: the interface's "
                "MTU is small."
            )


def _releases(ranks: Sequence[LogRank]) -> Iterator[str]:
    """Ranks whose NCCL differs, and what is reported of the releases."""
    known = [rank for rank in ranks if rank.witness.version]
    versions = {rank.witness.version for rank in known}
    builds = {rank.witness.build for rank in known if rank.witness.build}
    if len(versions) > 1 or len(builds) > 1:
        yield _differ(known, "releases" if len(versions) > 1 else "builds of one release")
    size = max((rank.witness.nranks or 0 for rank in ranks), default=0)
    well = all(rank.witness.ended_well for rank in ranks)
    if not well and _across(ranks):
        for rank in known:
            witness = rank.witness
            yield from nccl_releases.told(witness.version, max(size, len(ranks)), witness.build)


def _differ(ranks: Sequence[LogRank], what: str) -> str:
    names = []
    for rank in ranks:
        build = rank.witness.build
        more = build if build.startswith("+") else build and f" ({build})"
        names.append(f"{rank.name}: {rank.witness.version}{more}")
    return f"The ranks run different {what} of NCCL ({'; '.join(names)}): use one image on all."
