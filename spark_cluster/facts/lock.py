"""Who works on the host: the holders of our locks (runner/lock.py takes them)."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.facts.base import Fact, ProbeContext

#: Held by a run that may change the host.
RUN_LOCK = "/run/spark-cluster.lock"

#: How a holder says since when (UTC).
TIME = "%Y-%m-%d %H:%M:%S UTC"

#: Held by what writes models and images, beside the run's own lock: a download of hours does not
#: keep anybody from serving another model.
FILES_LOCK = "/run/spark-cluster-files.lock"


@dataclass(frozen=True)
class LockFact:
    """`verb by user@machine (pid N) since TIME` of each holder; empty where nobody holds it. `last`
    is who held the run's lock last since the boot, and may hold it still."""

    run: str = ""
    files: str = ""
    last: str = ""


def _script(_: ProbeContext) -> str:
    # Not by trying to take it: that would be in somebody's way for a moment. The files outlive
    # their holder: only a process that has the lock open holds it.
    return f"""\
for _l in {RUN_LOCK} {FILES_LOCK}; do
  [ -r "$_l.pid" ] && read -r _pid <"$_l.pid" || continue
  [ "$(readlink "/proc/$_pid/fd/9")" = "$_l" ] && echo "$_l $(cat "$_l.holder")"
done
[ -r {RUN_LOCK}.holder ] && echo "last $(cat {RUN_LOCK}.holder)"
true
"""


def parse(text: str) -> LockFact:
    holders = dict(line.partition(" ")[::2] for line in text.split("\n"))
    return LockFact(*(holders.get(key, "").strip() for key in (RUN_LOCK, FILES_LOCK, "last")))


LOCK = Fact("lock", _script, parse)
