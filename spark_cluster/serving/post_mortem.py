"""What logs alone say of a start or of a job: which rank failed first, why, and what followed.

Engines' logs and NCCL's, of any ranks, from files. Nothing is asked; what no log has is not known,
and a log that says nothing wrong is healthy as far as it goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from spark_cluster.rdma import from_log, log_lines, log_notes
from spark_cluster.rdma.nccl_events import describe
from spark_cluster.rdma.owners import Owners
from spark_cluster.serving import milestones, starts
from spark_cluster.serving.failures import Failure
from spark_cluster.serving.milestones import Progress
from spark_cluster.serving.signs import Grade

#: failed: a fault is named. standing: the log ends where this engine is known to stand still.
Verdict = Literal["healthy", "failed", "standing", "unreadable"]

_LOOK_IN = "Read the logs of all ranks to their ends: the one that says less than the others waits."

#: A year with a 29th of February, for the times that have none: vLLM's.
_YEAR = 2000

#: Times as NCCL's warnings and SGLang, and as vLLM print them.
_TIMES = (
    re.compile(r"\[\d{4}-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)", re.ASCII),
    re.compile(r"\b(?:INFO|WARNING|ERROR) (\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\b", re.ASCII),
)

#: How many lines above a failure's own its time is looked for: a traceback's.
_ABOVE = 80

#: Milestones that an engine reaches before its ranks are connected.
_BEFORE = frozenset(
    {"arguments", "model", "engine", "ranks", "arguments-sglang", "arguments-trtllm"}
)

_RANK = re.compile(
    r"rank (\d{1,4}) in world size \d+ is assigned|\bnode_rank=(\d{1,4})\b|\[rank(\d{1,4})\]:",
    re.ASCII,
)
_IN_NAME = re.compile(r"rank[-_]?(\d{1,4})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class RankLog:
    """One file. `rank` is None where nothing tells it, or where several wrote into it."""

    name: str
    rank: int | None
    progress: Progress
    lines: tuple[str, ...]

    @property
    def who(self) -> str:
        return self.name if self.rank is None else f"rank {self.rank} ({self.name})"


@dataclass(frozen=True)
class Fault:
    """What failed first. `line` is the log's own, `number` its place in the file's last start, from
    1; 0 if no single line says it. `grade`: anything but a cause is what another rank's end looks
    like. `timed`: first by the logs' times, and not only by what explains most."""

    who: str
    name: str
    reason: str
    remedy: str
    code: str
    line: str = ""
    number: int = 0
    grade: Grade = "cause"
    timed: bool = False


@dataclass(frozen=True)
class PostMortem:
    """`followed` is what the other ranks say, `notes` what else is worth knowing, `states` how far
    each log is."""

    verdict: Verdict
    first: Fault | None
    followed: tuple[str, ...]
    notes: tuple[str, ...]
    states: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """As `--json` prints it."""
        first = self.first
        return {
            "kind": "post_mortem",
            "verdict": self.verdict,
            "first": first
            and {
                "who": first.who,
                "file": first.name,
                "reason": first.reason,
                "remedy": first.remedy,
                "code": first.code,
                "grade": first.grade,
                "line": first.line,
                "number": first.number,
            },
            "followed": list(self.followed),
            "notes": list(self.notes),
            "ranks": list(self.states),
        }


def read(texts: Mapping[str, str], owners: Owners | None = None) -> PostMortem:
    """What the files say, by name; `owners` are the inventory's addresses."""
    report = from_log.read(texts)
    logs = [_log(name, text, report) for name, text in texts.items()]
    found = _first(logs, report)
    told = log_notes.notes(report, owners)
    states = tuple(f"{log.who}: {_state(log, report)}" for log in logs)
    if found is None:
        known = report.ranks or any(log.progress.reached for log in logs)
        verdict: Verdict = "healthy" if known else "unreadable"
        return PostMortem(verdict, None, (), (*_warned(logs), *told), states)
    verdict, first = found
    followed = tuple(dict.fromkeys(_followed(logs, first)))
    said = [first.reason, *(log.progress.failure.reason for log in logs if log.progress.failure)]
    notes = [note for note in told if not any(reason in note for reason in said)]
    return PostMortem(verdict, first, followed, (*_warned(logs), *notes), states)


def _log(name: str, text: str, report: from_log.Report) -> RankLog:
    # A progress bar's steps are lines, too.
    cleaned = "\n".join(log_lines.clean(line) for line in re.split(r"[\r\n]+", text))
    lines = tuple(starts.last_start(milestones.clean_lines(cleaned)))
    progress = milestones.read(cleaned)
    return RankLog(name, _rank(name, lines, report), progress, lines)


def _rank(name: str, lines: Sequence[str], report: from_log.Report) -> int | None:
    """By NCCL's lines, by the engine's, by the file's name: the first that names one rank only."""
    of_nccl = {rank.witness.rank for rank in report.ranks if name in rank.files}
    of_engine = {
        int(next(number for number in found.groups() if number))
        for line in lines
        for found in _RANK.finditer(line)
    }
    for ranks in (of_nccl - {None}, of_engine):
        if len(ranks) == 1:
            return next(iter(ranks))
        if ranks:
            return None
    named = _IN_NAME.search(name)
    return int(named[1]) if named else None


def _time(log: RankLog, failure: Failure) -> float | None:
    """When the failure's line was written: docker's time, or the one in the line or nearest above,
    as seconds of a year."""
    if failure.time is not None:
        at = datetime.fromtimestamp(failure.time, UTC)
        return at.replace(year=_YEAR).timestamp()
    for number in range(failure.line, max(-1, failure.line - _ABOVE), -1):
        for pattern in _TIMES:
            if found := pattern.search(log.lines[number]):
                return _seconds([int(part) for part in found.groups()])
    return None


def _seconds(parts: Sequence[int]) -> float | None:
    month, day, hour, minute, second = parts
    try:
        return datetime(_YEAR, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _first(logs: Sequence[RankLog], report: from_log.Report) -> tuple[Verdict, Fault] | None:
    """The first failure of all logs; without one, a rank that stands or never completed."""
    timed = {log.name: _timed(log) for log in logs}
    times = [item.failure.time for item in timed.values() if item.failure is not None]
    latest = max((time for time in times if time is not None), default=None)
    culprit = milestones.culprit(timed, dict.fromkeys(timed, latest))
    by_name = {log.name: log for log in logs}
    if culprit is not None:
        name, failure = culprit
        log = _about(failure, by_name[name], logs, report)
        return "failed", _fault(log, by_name[name], failure, timed=None not in times)
    for log in logs:
        if log.progress.standing is not None:
            return "standing", _fault(log, log, log.progress.standing, timed=False)
    for rank in report.ranks:
        if not rank.is_connected and not any(_went_on(by_name[name]) for name in rank.files):
            return "failed", _unconnected(rank, report)
    return None


def _went_on(log: RankLog) -> bool:
    """Whether the engine went on after its ranks had found each other."""
    return any(item.key not in _BEFORE for item in log.progress.reached)


def _timed(log: RankLog) -> Progress:
    failure = log.progress.failure
    if failure is None:
        return log.progress
    return replace(log.progress, failure=replace(failure, time=_time(log, failure)))


def _about(
    failure: Failure, own: RankLog, logs: Sequence[RankLog], report: from_log.Report
) -> RankLog:
    """The log of the rank that a line names, by its number or its address; else its own."""
    rank = failure.rank
    if rank is None and failure.address:
        found = [
            item.witness.rank
            for item in report.ranks
            if failure.address == (item.witness.oob or "").partition(":")[2]
        ]
        rank = found[0] if found else None
    return next((log for log in logs if rank is not None and log.rank == rank), own)


def _fault(log: RankLog, said_by: RankLog, failure: Failure, *, timed: bool) -> Fault:
    line = said_by.lines[failure.line] if failure.line >= 0 else ""
    return Fault(
        log.who,
        said_by.name,
        failure.reason,
        failure.remedy,
        failure.code,
        line.strip()[:400],
        failure.line + 1,
        failure.grade,
        timed,
    )


def _unconnected(rank: from_log.LogRank, report: from_log.Report) -> Fault:
    witness = rank.witness
    if witness.retrying is not None:
        reason = f"it still tried to connect: {describe(witness.retrying).partition(': ')[2]}"
        return Fault(rank.name, rank.files[0], reason, _LOOK_IN, "RDMA030")
    through = [other.name for other in report.ranks if other.is_connected]
    others = f", while {', '.join(through)} is through" if through else ""
    reason = f"a communicator of NCCL started and never completed{others}"
    return Fault(rank.name, rank.files[0], reason, _LOOK_IN, "RDMA034")


def _followed(logs: Sequence[RankLog], first: Fault) -> Iterator[str]:
    for log in logs:
        failure = log.progress.failure
        if failure is not None and failure.reason != first.reason:
            yield f"{log.who}: {failure.reason}"


def _warned(logs: Sequence[RankLog]) -> tuple[str, ...]:
    return tuple(f"{log.who}: {text}" for log in logs for text in log.progress.warnings)


def _state(log: RankLog, report: from_log.Report) -> str:
    """How far a log is, in a word."""
    if log.progress.failure is not None:
        return "failed"
    if log.progress.reached:
        return log.progress.current
    kinds = [rank.kind for rank in report.ranks if log.name in rank.files]
    return f"NCCL: {', '.join(dict.fromkeys(kinds))}" if kinds else "nothing that is known here"
