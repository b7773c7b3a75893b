"""Which lines of engines' logs mean a failure, in the order of how much they explain: signs.yaml.

NCCL's rows are made from its own table (rdma/nccl_events.py), so that launch and `verify-rdma
--from-log` read a line alike.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from spark_cluster.core.data_files import read_yaml
from spark_cluster.document import Document
from spark_cluster.rdma import nccl_events
from spark_cluster.serving.pattern import Pattern

#: cause: it says why. symptom: the same is seen where another rank died. consequence: it tells only
#: that something else has failed, here or on another rank.
Grade = Literal["cause", "symptom", "consequence"]

#: The diagnosis of a failure that has none of its own.
ENGINE = "SERVE007"


class Sign(Document):
    """A line that means a failure: one that `pattern` finds, or that tells of NCCL's event `event`.
    `reason` is filled with the pattern's groups; those named `rank` and `address` say whom it is
    about. Without a reason it is the exception that a traceback ends with.

    `final`: nothing can go on after it, wherever it stands; otherwise it counts only if no
    milestone follows.
    """

    pattern: Pattern | None = None
    reason: str = ""
    remedy: str = ""
    final: bool = True
    grade: Grade = "cause"
    code: str = ENGINE
    event: str = ""

    def holds(self, line: str) -> bool:
        """Whether the line is one of it."""
        if self.pattern is not None:
            return self.pattern.search(line) is not None
        found = nccl_events.read(line)
        return found is not None and found.kind.name == self.event

    def told(self, line: str) -> tuple[str, dict[str, str]]:
        """The reason that a line of it gives, and whom it names."""
        if self.pattern is None:
            found = nccl_events.read(line)
            assert found is not None
            peer = found.peer if found.kind.name == "lost-peer" else ""
            return nccl_events.describe(found), {"address": peer}
        match = self.pattern.search(line)
        assert match is not None
        named = {key: value for key, value in match.groupdict().items() if value}
        return self.reason.format(*(group or "" for group in match.groups())).strip(), named


class Signs(Document):
    """The file's groups. `standstills` are where an engine is known to stand still, `warnings` what
    it survives."""

    causes: tuple[Sign, ...]
    less_certain: tuple[Sign, ...]
    consequences: tuple[Sign, ...]
    standstills: tuple[Sign, ...]
    warnings: tuple[Sign, ...]


@cache
def table() -> Signs:
    """The file as it is, without what is NCCL's."""
    return read_yaml(Signs, "spark_cluster.serving", "signs.yaml")


@cache
def signs() -> tuple[Sign, ...]:
    """Of several signs in a log the first of these gives the failure."""
    own = table()
    return (
        *own.causes,
        *_of_nccl("cause"),
        *_of_nccl("symptom"),
        *own.less_certain,
        *own.consequences,
        *_of_nccl("consequence"),
    )


def _of_nccl(grade: Grade) -> tuple[Sign, ...]:
    return tuple(
        Sign(reason=kind.text, remedy=kind.remedy, grade=grade, code=kind.code, event=kind.name)
        for kind in nccl_events.KINDS
        if kind.outcome == grade
    )
