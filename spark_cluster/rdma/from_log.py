"""What the logs alone say of a job's transport, rank by rank: no cluster is asked.

A log can say which way NCCL chose. It cannot say that tokens went there: that takes the counters.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from spark_cluster.core.units import count
from spark_cluster.core.words import sentence
from spark_cluster.rdma.log_starts import Line, last_starts
from spark_cluster.rdma.nccl_log import KNOWN_BAD, NcclWitness, by_process, parse

Kind = Literal["rdma", "socket", "partial", "failed", "unknown"]

#: What Ray puts at the end of a line that it shows once for several.
_REPEATED = re.compile(r"\s*\[repeated \d+x across cluster\].*$", re.ASCII)

#: `ray start` in a container: the log of Ray, and not of what runs on it.
_RAY_ALONE = re.compile(r"Ray runtime started\.|Local node IP: ")

#: How many names a sentence lists.
_NAMES = 4

#: RoCE's largest payload in bytes: less means a small MTU on the interface.
_FULL_MTU = 4096


@dataclass(frozen=True)
class LogRank:
    """One rank's log. `files` are those that hold lines of it, `process` is `host:pid`."""

    process: str
    files: tuple[str, ...]
    witness: NcclWitness

    @property
    def name(self) -> str:
        rank = "" if self.witness.rank is None else f"rank {self.witness.rank}, "
        return f"{rank}{self.process}"

    @property
    def kind(self) -> Kind:
        """`partial`: it shows both transports. Devices without a choice are no transport."""
        if self.witness.failed:
            return "failed"
        if self.witness.mixed:
            return "partial"
        if self.witness.network is None:
            return "unknown"
        return "rdma" if self.witness.network == "IB" else "socket"

    @property
    def gdr(self) -> bool | None:
        """GPUDirect RDMA; None where the log shows no channel to another host."""
        return self.witness.gdr if self.witness.channels or self.witness.gdr else None

    def as_dict(self) -> dict[str, object]:
        """As `--json` prints it."""
        witness = self.witness
        return {
            "rank": witness.rank,
            "ranks": witness.nranks,
            "process": self.process,
            "files": list(self.files),
            "verdict": self.kind,
            "transport": witness.network,
            "devices": list(witness.devices),
            "channels": {"rdma": witness.channels_ib, "tcp": witness.channels_socket},
            "gdr": self.gdr,
            "gids": [
                {"device": use.device, "index": use.index, "address": use.address, "mtu": use.mtu}
                for use in witness.gids
            ],
            "nccl": witness.version,
            "failed": witness.failed,
            "warnings": list(witness.warnings),
            "env": witness.env,
        }


@dataclass(frozen=True)
class Report:
    """`ranks` by rank; `notes` are sentences for a person."""

    kind: Kind
    ranks: tuple[LogRank, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {
            "kind": "nccl_log",
            "verdict": self.kind,
            "ranks": [rank.as_dict() for rank in self.ranks],
            "notes": list(self.notes),
        }


def read(texts: Mapping[str, str]) -> Report:
    """The report on log files, by name. A rank whose lines are in several files is one rank: Ray
    copies the workers' lines into the server's log. Of a file that holds several starts of a rank
    the last counts. No rank at all: no line of NCCL's was found."""
    found = {name: last_starts(list(by_process(text))) for name, text in texts.items()}
    ranks = tuple(sorted(_ranks({name: lines for name, (lines, _) in found.items()}), key=_order))
    kind = _kind([rank.kind for rank in ranks])
    if kind == "rdma" and any(_missing(ranks)):
        kind = "unknown"  # rdma is said of all ranks or not at all
    left_out = {name: starts for name, (_, starts) in found.items()}
    of_ray = frozenset(name for name, text in texts.items() if _RAY_ALONE.search(text))
    return Report(kind, ranks, tuple(_notes(left_out, of_ray, ranks)))


def _ranks(texts: Mapping[str, Sequence[Line]]) -> Iterator[LogRank]:
    files: dict[str, list[str]] = {}
    for name, found in texts.items():
        for process in dict.fromkeys(owner for owner, _ in found if owner):
            files.setdefault(process, []).append(name)
    for process, names in files.items():
        witness = parse("\n".join(_merged(process, [texts[name] for name in names])))
        if witness.says_anything:
            yield LogRank(process, tuple(names), witness)


def _merged(process: str, logs: Sequence[Sequence[Line]]) -> list[str]:
    """What a process said, from several files: all of the fullest, then its lines that only others
    have. A line that one of them has cut short, or ended with how often it came, is not another
    one, and the rest of a line that was cut in two is nobody's."""
    fullest, *others = sorted(logs, key=lambda log: -sum(owner == process for owner, _ in log))
    merged = [_REPEATED.sub("", line) for owner, line in fullest if owner in (process, None)]
    for log in others:
        known = sorted(set(merged))
        said = [_REPEATED.sub("", line) for owner, line in log if owner == process]
        merged += [line for line in said if not _begins_one(line, known)]
    return merged


def _begins_one(line: str, known: Sequence[str]) -> bool:
    """Whether a line is among these, which are sorted, or the beginning of one of them."""
    place = bisect_left(known, line)
    return place < len(known) and known[place].startswith(line)


def _order(rank: LogRank) -> tuple[float, str]:
    number = rank.witness.rank
    return (float("inf") if number is None else number), rank.process


def _kind(kinds: Sequence[Kind]) -> Kind:
    """Of all ranks: one that failed, differs or says nothing speaks for all."""
    if "failed" in kinds:
        return "failed"
    if {"rdma", "socket"} <= set(kinds) or "partial" in kinds:
        return "partial"
    for kind in ("socket", "unknown"):
        if kind in kinds:
            return kind
    return "rdma" if kinds else "unknown"


def _notes(
    left_out: Mapping[str, int], of_ray: frozenset[str], ranks: Sequence[LogRank]
) -> Iterator[str]:
    """`left_out`: each file's earlier starts; `of_ray`: the files that `ray start` wrote."""
    silent = [name for name in left_out if not any(name in rank.files for rank in ranks)]
    of_workers = [name for name in silent if name in of_ray]
    others = [name for name in silent if name not in of_ray]
    if of_workers and ranks:
        yield (
            f"{_listed(of_workers)}: Ray's own lines, which are never NCCL's. A rank's are in its "
            "container, in /tmp/ray/session_*/logs/worker-*.out, and copied, shortened, into the "
            "log of the head's."
        )
    if others and ranks:
        verb = "holds" if len(others) == 1 else "hold"
        yield f"{_listed(others)} {verb} no line of NCCL's."
    for name, starts in left_out.items():
        if starts:
            verb = "is" if starts == 1 else "are"
            yield f"{count(starts, 'earlier start')} in {name} {verb} left out."
    yield from _missing(ranks)
    for rank in ranks:
        yield from _of_rank(rank)
    for version in dict.fromkeys(rank.witness.version for rank in ranks):
        if version in KNOWN_BAD and _across(ranks):
            yield f"NCCL {version} is {KNOWN_BAD[version]}."


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES
    if more <= 1:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMES])} and {more} more"


def _missing(ranks: Sequence[LogRank]) -> Iterator[str]:
    size = max((rank.witness.nranks or 0 for rank in ranks), default=0)
    seen = {rank.witness.rank for rank in ranks}
    missing = [str(number) for number in range(size) if number not in seen]
    if size and missing:
        yield (
            f"The logs show {size - len(missing)} of {size} ranks; rank {', '.join(missing)} may "
            "say otherwise: give its log, too."
        )


def _across(ranks: Sequence[LogRank]) -> bool:
    """Whether the job spans hosts: several, or channels that leave one."""
    hosts = {rank.process.rpartition(":")[0] for rank in ranks}
    return len(hosts) > 1 or any(rank.witness.channels for rank in ranks)


def _of_rank(rank: LogRank) -> Iterator[str]:
    witness = rank.witness
    if witness.failed:
        yield sentence(f"{rank.name}: {witness.failed}")
    if witness.fell_back:
        wanted = witness.env.get("NCCL_IB_HCA")
        asked = f" NCCL_IB_HCA was {wanted}." if wanted else ""
        yield (
            f"{rank.name}: NCCL found no usable RDMA device and fell back to sockets without an "
            f"error.{asked} With NCCL_NET=IB it would have ended instead."
        )
    elif rank.kind == "unknown":
        yield f"{rank.name}: lists devices or a version, and not which network it chose."
    for warning in witness.warnings:
        if not (witness.fell_back and "NET/IB" in warning):
            yield sentence(f"{rank.name}: {warning}")
    if pinned := witness.env.get("NCCL_IB_GID_INDEX"):
        yield (
            f"{rank.name}: NCCL_IB_GID_INDEX is pinned to {pinned}: the index differs between "
            "hosts and moves when addresses come and go."
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
