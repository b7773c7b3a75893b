"""Servers that have ended inside a container that runs on, as Ray's head does: docker calls it
running, and nothing in it answers.

Believed only where docker lists the container's processes and none of them is a server, before and
after its log was read, and the log has a mark of ours (serving/starts.py): between Ray's start and
the server's there is no such process either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spark_cluster.core.framing import MARK, READ, blocks
from spark_cluster.core.labels import LABEL
from spark_cluster.core.ours import OURS
from spark_cluster.core.shell import ASK_DOCKER
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.docker import log_of_this_start
from spark_cluster.facts.lines import Lines
from spark_cluster.serving import milestones, starts

#: By their command lines; those that are started in a container that is there already.
TITLES = ("vllm serve", "trtllm-serve")

#: Where a mark is looked for at each reading: after the end of its server a container says little.
_TAIL = 2000

#: Enough for the tracebacks of an end.
_LINES = 400

_TITLE = "|".join(TITLES)
_MARK = f"^{LABEL}: ({_TITLE}) (begins|exited with [0-9]+)$"

#: awk's and grep's pattern of the mark at which a server begins (engines/spec.py).
BEGINS = f"^{LABEL}: ({_TITLE}) begins$"

#: awk: the last lines since the last server began, and before them that it was ready.
_LAST = f"""\
awk '
/{BEGINS}/ {{ n = 0; mark = $0; up = "" }}
/Application startup complete/ {{ up = $0 }}
{{ line[n++ % {_LINES}] = $0 }}
END {{
  if (mark && n > {_LINES}) print "| " mark
  if (up && n > {_LINES}) print "| " up
  for (i = n > {_LINES} ? n - {_LINES} : 0; i < n; i++) print "| " line[i % {_LINES}]
}}'"""


@dataclass(frozen=True)
class Ended:
    """A server that is no more. `status` is its exit status, None if the log does not have it;
    `was_ready`: it had come up; `ranks`: those that its log says died; `reason`: what else the log
    says, empty if nothing."""

    status: int | None = None
    was_ready: bool = False
    ranks: tuple[int, ...] = ()
    reason: str = ""

    def how(self, hosts: Sequence[str] = ()) -> str:
        """`has ended (exit status 0): rank 1 (spark-3) died`; `hosts` in the order of the ranks."""
        status = "unknown" if self.status is None else self.status
        why = "; ".join(_died(rank, hosts) for rank in self.ranks) or self.reason
        return f"has ended (exit status {status})" + (f": {why}" if why else "")


def _died(rank: int, hosts: Sequence[str]) -> str:
    where = f" ({hosts[rank]})" if rank < len(hosts) else ""
    return f"rank {rank}{where} died"


def _script(_: ProbeContext) -> str:
    name = f"{ASK_DOCKER} inspect --format '{{{{.Name}}}}'"
    tail, whole = (log_of_this_start('"$_c"', tail=tail, seconds=30) for tail in (_TAIL, None))
    return f"""\
{OURS}_gone() {{
  _ps=$({ASK_DOCKER} top "$1" -o pid,args 2>/dev/null | sed 1d)
  [ -n "$_ps" ] && ! printf '%s\\n' "$_ps" | grep -qE '{_TITLE}'
}}
[ -n "${{_docker_hangs:-}}" ] ||
for _c in $(_ours --filter label={LABEL}.role=head); do
  _gone "$_c" || continue
  _marks=$({tail} | grep -aE '{_MARK}') || continue
  _end=$({whole} | {_LAST})
  _gone "$_c" || continue
  printf '%s\\n' "{MARK}container $({name} "$_c" 2>/dev/null)" "$_end"
done
true
"""


#: As vLLM's executors say it: over Ray, and without.
_DIED = re.compile(
    r"RayWorkerProc rank=\[([\d, ]{1,200})\] died unexpectedly"
    r"|Worker proc VllmWorker-(\d{1,4}) died unexpectedly",
    re.ASCII,
)


def _ended(text: str) -> Ended | None:
    lines = milestones.clean_lines(text)
    last = starts.last_start(lines)
    status = starts.exit_status(lines)
    if len(last) == len(lines) and status is None:
        return None  # no mark
    ranks = {
        int(number)
        for line in last
        for found in _DIED.finditer(line)
        for number in re.findall(r"\d{1,4}", found[1] or found[2])
    }
    progress = milestones.read(text)
    return Ended(
        status,
        any(reached.key == "ready" for reached in progress.reached),
        tuple(sorted(ranks)),
        progress.failure.reason if progress.failure is not None else "",
    )


def parse(text: str) -> Mapping[str, Ended]:
    """By the container's name."""
    found = {
        name.strip().removeprefix("/"): _ended("\n".join(Lines(log).every("|")))
        for name, log in blocks(text, f"{READ}container")
    }
    return {name: ended for name, ended in found.items() if name and ended is not None}


#: By the name of the container that runs on.
SERVER_END = Fact("server-end", _script, parse)
