"""What a login means on the host: limits, and what logind does when it ends."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.rdma.counters import number


@dataclass(frozen=True)
class LoginFact:
    """`remove_ipc` is logind's RemoveIPC (yes if no file says otherwise, logind.conf(5)); `uid` is
    the SSH user's; `linger`: the user's services go on after logout, and with them the IPC
    objects. `memlock` is `unlimited` or a number of KiB, empty if unknown."""

    remove_ipc: bool = True
    uid: int | None = None
    linger: bool = False
    memlock: str = ""


def _script(_: ProbeContext) -> str:
    # The folders in systemd's order of precedence, the last one read wins.
    return """\
grep -shE '^[[:space:]]*RemoveIPC' /usr/lib/systemd/logind.conf /etc/systemd/logind.conf \\
  /usr/lib/systemd/logind.conf.d/*.conf /run/systemd/logind.conf.d/*.conf \\
  /etc/systemd/logind.conf.d/*.conf
echo "uid=$(id -u "$SPARK_USER")"
echo "memlock=$(ulimit -l 2>/dev/null)"
[ -e "/var/lib/systemd/linger/$SPARK_USER" ] && echo linger=yes
true
"""


def parse(text: str) -> LoginFact:
    values = {
        key.strip(): value.strip()
        for key, equals, value in (line.partition("=") for line in text.split("\n"))
        if equals
    }
    remove = values.get("RemoveIPC", "yes").lower()
    return LoginFact(
        remove_ipc=remove not in ("no", "false", "off", "0", "n", "f"),
        uid=number(values.get("uid", "")),
        linger=values.get("linger") == "yes",
        memlock=values.get("memlock", ""),
    )


LOGIN = Fact("login", _script, parse)
