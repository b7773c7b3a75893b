"""What the logs alone say of a job's transport, rank by rank: no cluster is asked.

A log can say which way NCCL chose. It cannot say that tokens went there: that takes the counters.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from spark_cluster.rdma.log_lines import Line, by_process, is_folded, once
from spark_cluster.rdma.log_starts import last_starts
from spark_cluster.rdma.nccl_events import Event, describe
from spark_cluster.rdma.nccl_log import NcclWitness, parse

Kind = Literal["rdma", "socket", "partial", "failed", "unknown"]

#: `ray start` in a container: the log of Ray, and not of what runs on it.
_RAY_ALONE = re.compile(r"Ray runtime started\.|Local node IP: ")

#: Before the name of a file, for the one process that is taken to have written it: no line in it
#: names one.
_UNNAMED = "\0"


@dataclass(frozen=True)
class LogRank:
    """One rank's log. `files` are those that hold lines of it, `process` is `host:pid`, empty if
    no line names it."""

    process: str
    files: tuple[str, ...]
    witness: NcclWitness

    @property
    def name(self) -> str:
        rank = "" if self.witness.rank is None else f"rank {self.witness.rank}, "
        return f"{rank}{self.process or self.files[0]}"

    @property
    def kind(self) -> Kind:
        """`partial`: it shows both transports. Devices without a choice are no transport, and a
        choice whose connections were never made is none that holds."""
        if self.witness.failed:
            return "failed"
        if self.witness.mixed:
            return "partial"
        if self.witness.network is None:
            return "unknown"
        if self.witness.network == "Socket":
            return "socket"
        return "rdma" if self.is_connected else "unknown"

    @property
    def is_connected(self) -> bool:
        """Whether no start of a communicator and no connection is left open."""
        return not (self.witness.unfinished or self.witness.retrying)

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
            "process": self.process or None,
            "files": list(self.files),
            "verdict": self.kind,
            "transport": witness.network,
            "plugin": witness.plugin or None,
            "devices": list(witness.devices),
            "channels": {"rdma": witness.channels_ib, "tcp": witness.channels_socket},
            "gdr": self.gdr,
            "gids": [
                {"device": use.device, "index": use.index, "address": use.address, "mtu": use.mtu}
                for use in witness.gids
            ],
            "nccl": witness.version,
            "build": witness.build or None,
            "carriers": dict(witness.carriers),
            "unfinished": witness.unfinished,
            "failed": witness.failed,
            "events": [_event(event) for event in dict.fromkeys(witness.events)],
            "warnings": list(witness.warnings),
            "env": witness.env,
        }


@dataclass(frozen=True)
class Report:
    """`ranks` by rank. `earlier`: starts that were left out, by file; `silent`: files without a
    line of NCCL's, of which `of_ray` are those that `ray start` wrote."""

    kind: Kind
    ranks: tuple[LogRank, ...]
    earlier: Mapping[str, int]
    silent: tuple[str, ...]
    of_ray: tuple[str, ...]

    def as_dict(self, notes: Sequence[str]) -> dict[str, object]:
        """As `--json` prints it; `notes` are log_notes.notes()."""
        return {
            "kind": "nccl_log",
            "verdict": self.kind,
            "ranks": [rank.as_dict() for rank in self.ranks],
            "notes": list(notes),
        }


def read(texts: Mapping[str, str]) -> Report:
    """The report on log files, by name. A rank whose lines are in several files is one rank: Ray
    copies the workers' lines into the server's log. Of a file that holds several starts of a rank
    the last counts. A file in which no line names its process is read as one of unknown rank. No
    rank at all: no line of NCCL's was found."""
    logs = {name: _lines(name, text) for name, text in texts.items()}
    found = {name: last_starts(lines) for name, lines in logs.items()}
    ranks = tuple(sorted(_ranks({name: lines for name, (lines, _) in found.items()}), key=_order))
    kind = _kind([rank.kind for rank in ranks])
    if kind == "rdma" and missing(ranks):
        kind = "unknown"  # rdma is said of all ranks or not at all
    earlier = {name: starts for name, (_, starts) in found.items() if starts}
    silent = tuple(name for name in texts if not any(name in rank.files for rank in ranks))
    of_ray = tuple(name for name in silent if _RAY_ALONE.search(texts[name]))
    return Report(kind, ranks, earlier, silent, of_ray)


def missing(ranks: Sequence[LogRank]) -> list[int]:
    """Ranks of the largest communicator of which there is no log."""
    size = max((rank.witness.nranks or 0 for rank in ranks), default=0)
    seen = {rank.witness.rank for rank in ranks}
    return [number for number in range(size) if number not in seen]


def _event(event: Event) -> dict[str, object]:
    told = {key: value for key, value in asdict(event).items() if key != "kind" and value}
    kind = event.kind
    return {"event": kind.name, "outcome": kind.outcome, "text": describe(event), **told}


def _lines(name: str, text: str) -> list[Line]:
    lines = list(by_process(text))
    if any(process is not None for process, _ in lines):
        return lines
    return [(_UNNAMED + name, line) for _, line in lines]


def _ranks(texts: Mapping[str, Sequence[Line]]) -> Iterator[LogRank]:
    files: dict[str, list[str]] = {}
    for name, found in texts.items():
        for process in dict.fromkeys(owner for owner, _ in found if owner is not None):
            files.setdefault(process, []).append(name)
    # Ray shows one line for several ranks: that the others are complete is then not seen.
    folded = any(
        is_folded(line) and ("Init COMPLETE" in line or "Connected all" in line)
        for lines in texts.values()
        for _, line in lines
    )
    for process, names in files.items():
        witness = parse("\n".join(_merged(process, [texts[name] for name in names])))
        if folded:
            witness = replace(witness, unfinished=False)
        named = not process.startswith(_UNNAMED)
        if witness.says_anything and (named or witness.says_more_than_its_release):
            yield LogRank(process if named else "", tuple(names), witness)


def _merged(process: str, logs: Sequence[Sequence[Line]]) -> list[str]:
    """What a process said, from several files: all of the fullest, then its lines that only others
    have. A line that one of them has cut short, or ended with how often it came, is not another
    one, and the rest of a line that was cut in two is nobody's."""
    fullest, *others = sorted(logs, key=lambda log: -sum(owner == process for owner, _ in log))
    merged = [once(line) for owner, line in fullest if owner in (process, None)]
    for log in others:
        known = sorted(set(merged))
        said = [once(line) for owner, line in log if owner == process]
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
