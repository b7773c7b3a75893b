"""What the logs alone say of a job's transport, rank by rank: no cluster is asked.

A log can say which way NCCL chose. It cannot say that tokens went there: that takes the counters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from spark_cluster.core.units import count
from spark_cluster.rdma.log_starts import Line, last_starts
from spark_cluster.rdma.nccl_log import KNOWN_BAD, NcclWitness, by_process, parse

Kind = Literal["rdma", "socket", "partial", "failed", "unknown"]

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
    repeats the workers' lines in the driver's log. Of a file that holds several starts of a rank
    the last counts. No rank at all: no line of NCCL's was found."""
    found = {name: last_starts(list(by_process(text))) for name, text in texts.items()}
    ranks = tuple(sorted(_ranks({name: lines for name, (lines, _) in found.items()}), key=_order))
    kind = _kind([rank.kind for rank in ranks])
    if kind == "rdma" and any(_missing(ranks)):
        kind = "unknown"  # rdma is said of all ranks or not at all
    left_out = {name: starts for name, (_, starts) in found.items()}
    return Report(kind, ranks, tuple(_notes(left_out, ranks)))


def _ranks(texts: Mapping[str, Sequence[Line]]) -> Iterator[LogRank]:
    lines: dict[str, list[str]] = {}
    files: dict[str, list[str]] = {}
    for name, found in texts.items():
        for process in dict.fromkeys(owner for owner, _ in found if owner):
            known = set(lines.get(process, ()))
            fresh = [line for owner, line in found if owner in (process, None)]
            lines.setdefault(process, []).extend(line for line in fresh if line not in known)
            files.setdefault(process, []).append(name)
    for process, said in lines.items():
        witness = parse("\n".join(said))
        if witness.says_anything:
            yield LogRank(process, tuple(files[process]), witness)


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


def _notes(left_out: Mapping[str, int], ranks: Sequence[LogRank]) -> Iterator[str]:
    """`left_out`: each file's earlier starts."""
    silent = [name for name in left_out if not any(name in rank.files for rank in ranks)]
    for name in silent if ranks else ():
        yield f"{name} holds no line of NCCL's."
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
        yield f"{rank.name}: {witness.failed}."
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
            yield f"{rank.name}: {warning}."
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
