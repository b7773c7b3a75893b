"""What the engine's logs say, without a cluster: NCCL's choice, and a failure's first rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict

from spark_cluster import places
from spark_cluster.core.error import InputError
from spark_cluster.core.event import Event
from spark_cluster.inventory import loader
from spark_cluster.inventory.owners import owners
from spark_cluster.rdma import from_log
from spark_cluster.rdma.from_log import Report
from spark_cluster.rdma.log_notes import notes
from spark_cluster.rdma.owners import Owners
from spark_cluster.serving import post_mortem
from spark_cluster.serving.post_mortem import PostMortem


class LogVerdictJson(TypedDict):
    """The verdict on all ranks, and each rank's (rdma/from_log.py)."""

    verdict: str
    ranks: list[dict[str, Any]]
    notes: list[str]


class FirstFailure(TypedDict):
    """Who failed first, by which line of which file, why, and what to do."""

    who: str
    file: str
    reason: str
    remedy: str
    code: str
    grade: str
    line: str
    number: int


class ExplainedJson(TypedDict):
    """`verdict` is healthy, standing or failed; `ranks` says where each log stands."""

    verdict: str
    first: FirstFailure | None
    followed: list[str]
    notes: list[str]
    ranks: list[str]


@dataclass(frozen=True)
class LogVerdict(Event):
    """What NCCL chose, by its own lines. Exit code 0 if every rank chose RDMA, else 4."""

    kind: str = field(default="nccl_log", init=False)
    json_of: ClassVar[tuple[type, ...]] = (LogVerdictJson,)
    report: Report
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return 0 if self.report.kind == "rdma" else 4

    def as_dict(self) -> dict[str, Any]:
        return self.report.as_dict(self.notes)


@dataclass(frozen=True)
class Explained(Event):
    """Which rank failed first, why, and what to do. Exit code 0 if the logs are healthy as far as
    they go, 4 if a fault is named."""

    kind: str = field(default="post_mortem", init=False)
    json_of: ClassVar[tuple[type, ...]] = (ExplainedJson,)
    found: PostMortem

    @property
    def exit_code(self) -> int:
        return 0 if self.found.verdict == "healthy" else 4

    def as_dict(self) -> dict[str, Any]:
        return self.found.as_dict()


def judge(texts: Mapping[str, str], known: Owners) -> LogVerdict:
    """The verdict on logs, by name; addresses are told with their hosts if they are `known`.

    Raises InputError when no log holds a line of NCCL's.
    """
    report = from_log.read(texts)
    if not report.ranks:
        raise InputError(
            "no rank of NCCL's in this log" if len(texts) == 1 else "no rank of NCCL's in the logs",
            place=", ".join(texts),
            remedy="Start the engine with NCCL_DEBUG=INFO (NCCL_DEBUG_SUBSYS=INIT,NET,ENV is "
            "enough) and take the whole log of this start: `docker logs --since "
            "\"$(docker inspect -f '{{.State.StartedAt}}' NAME)\" NAME > FILE 2>&1`.",
        )
    return LogVerdict(report, tuple(notes(report, known)))


def explain(texts: Mapping[str, str], known: Owners) -> Explained:
    """What logs of any ranks tell of a failure. Raises InputError for logs that hold nothing that
    is known."""
    found = post_mortem.read(texts, known)
    if found.verdict == "unreadable":
        raise InputError(
            "holds no line of an engine's or of NCCL's that is known here",
            place=", ".join(texts),
            remedy="Give what `docker logs NAME` prints of each rank's container, all of it: "
            "`docker logs NAME > FILE 2>&1`. `spark-cluster explain` without a file lists the "
            "codes.",
        )
    return Explained(found)


def known_owners(inventory: str | None) -> Owners:
    """The rails of the inventory that is given, or of the user's own; none if there is no such file
    or if it cannot be read: logs are read without it. The one that ships is nobody's, and its
    addresses are everybody's."""
    try:
        path = loader.find(inventory)
        if inventory is None and path.parent == places.shipped("inventory"):
            return {}
        return owners(loader.load(path))
    except InputError:
        if inventory is not None:
            raise
        return {}
