"""Who works on the host: the holders of our locks (runner/lock.py takes them)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_cluster.facts.base import Fact, always

#: Held by a run that may change the host.
RUN_LOCK = "/run/spark-cluster.lock"

#: How a holder says since when (UTC).
TIME = "%Y-%m-%d %H:%M:%S UTC"

#: Held by what writes models and images, beside the run's own lock: a download of hours does not
#: keep anybody from serving another model.
FILES_LOCK = "/run/spark-cluster-files.lock"


_WHO = re.compile(
    r"\S{1,64}@(\S{1,255}) \(pid (\d{1,10})\) "
    r"since (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC)",
    re.ASCII,
)
_VERB = re.compile(r"[a-z][a-z -]{0,60}", re.ASCII)


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: `verb by user@machine (pid N) since TIME`. What a host says in another form
    has no verb, and its words are all in `who`."""

    verb: str
    who: str

    @classmethod
    def of(cls, text: str) -> Holder:
        """Of a host's line."""
        verb, by, who = text.partition(" by ")
        return cls(verb, who) if by and _VERB.fullmatch(verb) else cls("", text)

    @property
    def process(self) -> tuple[str, int] | None:
        """The controller's machine and process."""
        found = _WHO.fullmatch(self.who)
        return (found[1], int(found[2])) if found else None

    @property
    def since(self) -> str:
        """When it took it, in TIME's form, which sorts; empty if it does not say."""
        found = _WHO.fullmatch(self.who)
        return found[3] if found else ""

    def __str__(self) -> str:
        return f"{self.verb} by {self.who}" if self.verb else self.who


@dataclass(frozen=True)
class LockFact:
    """`verb by user@machine (pid N) since TIME` of each holder; empty where nobody holds it. `last`
    is who held the run's lock last since the boot, and may hold it still."""

    run: str = ""
    files: str = ""
    last: str = ""


# Not by trying to take it: that would be in somebody's way for a moment. The files outlive
# their holder: only a process that has the lock open holds it.
_SCRIPT = f"""\
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


LOCK = Fact("lock", always(_SCRIPT), parse)
