"""The logs of all ranks as one: the script that reads them on a host, and the merge by time."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from spark_cluster.core.error import InputError
from spark_cluster.core.framing import MARK, READ
from spark_cluster.core.labels import LABEL
from spark_cluster.core.ours import LABELS, WHOSE
from spark_cluster.core.shell import ANSWER_SECONDS, ASK_DOCKER, quote

#: Seconds for which a line that was followed waits for an older one of another host.
WINDOW = 0.5

#: docker(1): a duration as Go writes it, or a date, RFC 3339 or a part of it.
_SINCE = re.compile(
    r"(\d+(\.\d+)?(ns|us|ms|s|m|h))+|\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?Z?)?"
)

#: docker's time of a line (RFC 3339 in UTC, nanoseconds), and a container's name as docker has it.
_LINE = re.compile(
    rf"{READ}log ([0-9]{{1,3}}) ([A-Za-z0-9][A-Za-z0-9_.-]*) "
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d))(?: (.*))?",
    re.ASCII | re.DOTALL,
)

#: Why a container's log, or a part of it, is not there.
_MISSING = re.compile(rf"{READ}unread (.*)", re.ASCII | re.DOTALL)


@dataclass(frozen=True, order=True)
class LogLine:
    """`time` is docker's, RFC 3339 in UTC with nanoseconds: it sorts as text."""

    time: str
    rank: int
    host: str
    container: str
    text: str


def check_since(value: str) -> str:
    """Raises InputError for what docker would not take."""
    if not _SINCE.fullmatch(value):
        raise InputError(
            f"--since {value} is no time", remedy="For example 10m, 2h or 2026-11-21T03:15:00."
        )
    return value


def script(ranks: Sequence[int], *, since: str = "", tail: int | None = None, follow: bool) -> str:
    """Print `log RANK NAME LINE` for each line of our containers' logs on the host, and
    `unread WHY` for a container whose log could not be read.

    `ranks` empty: all. The host's containers are read side by side; it ends with the last one, or
    with 1 and docker's own words if docker does not list them.
    """
    options = ["--timestamps"]
    options += ["--since", quote(since)] if since else []
    options += ["--tail", str(tail)] if tail is not None else []
    options += ["--follow"] if follow else []
    wanted = "|".join(str(rank) for rank in ranks) or "*"
    form = "{{.Name}} {{json .Config.Labels}}"
    return f"""\
{WHOSE}{LABELS}_list=$({ASK_DOCKER} ps --all --quiet --no-trunc --filter label={LABEL}.recipe) || {{
  case $? in 124 | 137) echo "docker ps gave no answer within {ANSWER_SECONDS} s" >&2 ;; esac
  exit 1
}}
_unread() {{ echo "{MARK}unread $1"; }}
for _id in $_list; do
  _whose "$_id"
  [ $_is != theirs ] || continue
  _labels=$({ASK_DOCKER} inspect --format {quote(form)} "$_id" 2>/dev/null) || _labels=
  _name=${{_labels%% *}} _rank=$(_label rank)
  _name=${{_name#/}}
  case $_is/$_name in
    unclear/*)
      _unread "docker does not tell whether container $_id is ours"
      continue
      ;;
    */ | */[!A-Za-z0-9]* | */*[!A-Za-z0-9_.-]*)
      _unread "container $_id is not readable"
      continue
      ;;
  esac
  case $_rank in
    '' | *[!0-9]* | ????*)
      _unread "container $_name does not say its rank"
      continue
      ;;
    {wanted}) ;;
    *) continue ;;
  esac
  {{
    docker logs {" ".join(options)} "$_name" 2>&1 || _unread "docker logs $_name ended with $?"
  }} | stdbuf -oL sed "/^{MARK}/!s/^/{MARK}log $_rank $_name /" &
done
wait
"""


def parse(host: str, line: str) -> LogLine | None:
    """One line of the script's output; None if it is none."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    return LogLine(found[3], int(found[1]), host, found[2], (found[4] or "").rstrip("\r"))


def unread(line: str) -> str:
    """Why a container's log is not there; empty for any other line."""
    found = _MISSING.fullmatch(line)
    return found[1].strip() if found else ""


def merge(logs: Iterable[Sequence[LogLine]]) -> Iterator[LogLine]:
    """All lines by time; those of one rank keep their order."""
    return heapq.merge(*logs, key=lambda line: line.time)


class Window:
    """Puts lines that are followed in order, as far as they arrive within WINDOW seconds."""

    def __init__(self) -> None:
        self._held: list[tuple[float, LogLine]] = []

    def add(self, line: LogLine, now: float) -> None:
        """`now` is monotonic time."""
        self._held.append((now, line))

    def ripe(self, now: float) -> list[LogLine]:
        """The lines that have waited long enough, and those that are older than one of them."""
        limit = max((line.time for at, line in self._held if now - at >= WINDOW), default="")
        out = [line for _, line in self._held if line.time <= limit]
        self._held = [(at, line) for at, line in self._held if line.time > limit]
        return sorted(out, key=lambda line: line.time)

    def rest(self) -> list[LogLine]:
        """All that is left, in order."""
        held, self._held = self._held, []
        return sorted((line for _, line in held), key=lambda line: line.time)
