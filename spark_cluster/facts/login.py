"""What a login means on the host: limits, and what logind does when it ends."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.facts.base import Fact, always
from spark_cluster.facts.lines import Lines

#: Uids of people begin here (SYS_UID_MAX 999 in login.defs(5)); logind spares those below.
PEOPLE = 1000


@dataclass(frozen=True)
class LoginFact:
    """`remove_ipc` is logind's RemoveIPC (yes if no file says otherwise, logind.conf(5)); `uid` is
    the SSH user's; `lingering` are the uids of the users whose services go on after logout, and
    with them their IPC objects. `memlock` is `unlimited` or a number of KiB, empty if unknown."""

    remove_ipc: bool = True
    uid: int | None = None
    lingering: frozenset[int] = field(default_factory=frozenset)
    memlock: str = ""

    def loses_ipc(self, uid: int | None) -> bool:
        """Whether logind deletes that user's IPC objects at the end of the last session."""
        return self.remove_ipc and uid is not None and uid >= PEOPLE and uid not in self.lingering


# The folders in systemd's order of precedence, the last one read wins.
_SCRIPT = """\
grep -shE '^[[:space:]]*RemoveIPC' /usr/lib/systemd/logind.conf /etc/systemd/logind.conf \\
  /usr/lib/systemd/logind.conf.d/*.conf /run/systemd/logind.conf.d/*.conf \\
  /etc/systemd/logind.conf.d/*.conf
echo "uid=$(id -u "$SPARK_USER")"
echo "memlock=$(ulimit -l 2>/dev/null)"
for _f in /var/lib/systemd/linger/*; do
  [ ! -e "$_f" ] || echo "lingers=$(id -u "${_f##*/}" 2>/dev/null)"
done
true
"""


def parse(text: str) -> LoginFact:
    lines = Lines(text, "=")
    remove = lines.last("RemoveIPC").lower()
    return LoginFact(
        remove_ipc=remove not in ("no", "false", "off", "0", "n", "f"),
        uid=lines.number("uid"),
        lingering=frozenset(lines.numbers("lingers")),
        memlock=lines.last("memlock"),
    )


LOGIN = Fact("login", always(_SCRIPT), parse)
