"""Ask nodes what they are and what they see, without changing anything on them.

What a node does for it: reads /sys and `ip`, pings the IPv6 all-nodes group on each cluster
interface, and for a few seconds sends and hears Ethernet frames of a type reserved for local
experiments (IEEE 802, 0x88B5). The kernel's table of neighbours is the only thing that remembers.
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address

from spark_cluster.core.error import HostKeyRejected, InputError, SparkError
from spark_cluster.core.event import Listener
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.inventory import sight
from spark_cluster.inventory.draft import Node
from spark_cluster.inventory.models import HOST_NAME, Host, Inventory
from spark_cluster.inventory.sight import ETHERNET, HALVES, INTERFACES, Sight
from spark_cluster.runner.session import HostSession, Session
from spark_cluster.transport.protocol import Become, Connector, Target

#: Seconds for which every node sends and listens; all begin within a second or two of each other.
LISTEN = 6

#: Sends a frame on each interface five times a second and names the senders of those it hears.
_FRAMES = """\
import select, socket, sys, time
end, kind, magic = time.monotonic() + float(sys.argv[1]), 0x88B5, b"spark-cluster init"
sockets, heard = {}, set()
for name in sys.argv[2:]:
    try:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        raw.bind((name, kind))
        sockets[raw] = name
    except OSError:
        pass
due = 0
while sockets and time.monotonic() < end:
    if time.monotonic() >= due:
        due = time.monotonic() + 0.2
        for raw in sockets:
            frame = bytes([255] * 6) + raw.getsockname()[4] + kind.to_bytes(2, "big") + magic
            try:
                raw.send(frame.ljust(60, bytes(1)))
            except OSError:
                pass
    for raw in select.select(list(sockets), [], [], 0.1)[0]:
        try:
            frame, source = raw.recvfrom(2048)
        except OSError:
            continue
        if source[2] != 4 and frame[14:].startswith(magic):
            heard.add((sockets[raw], frame[6:12].hex(":")))
for name, mac in sorted(heard):
    print("frame", name, mac)
"""


def script(_: ProbeContext | None = None) -> str:
    """POSIX sh that only reads, pings and listens. Each line it prints has a word to tell what."""
    asked = " ".join((*HALVES, ETHERNET))
    return f"""\
echo "hostname $(uname -n)"
_local=$(echo "${{SSH_CONNECTION:-}}" | cut -d' ' -f3)
[ -z "$_local" ] || echo "management $(ip -o addr show | grep -F " $_local/" | cut -d' ' -f2)"
_there=
for _i in {" ".join(INTERFACES)}; do
  _n=/sys/class/net/$_i
  [ -e $_n ] || continue
  _c=$(cat $_n/carrier 2>/dev/null)
  echo "port $_i $(cat $_n/address) ${{_c:-0}}"
  echo "ipv6-off $_i $(cat /proc/sys/net/ipv6/conf/$_i/disable_ipv6 2>/dev/null)"
  case " {asked} " in *" $_i "*) [ "${{_c:-0}}" = 1 ] && _there="$_there $_i" ;; esac
done
for _d in /sys/class/infiniband/*; do
  [ -d $_d ] || continue
  _i=$(cat $_d/parent 2>/dev/null || ls $_d/device/net 2>/dev/null | head -n 1)
  echo "device ${{_d##*/}} $_i"
done
for _i in $_there; do
  ping -6 -n -c 3 -i 0.5 -w 4 ff02::1%$_i 2>/dev/null |
    sed -n "s/^[0-9]* bytes from \\([^ ]*\\) .*/answer $_i \\1/p" | sort -u &
done
if [ -n "$_there" ] && command -v python3 >/dev/null; then
  timeout -k 2 {LISTEN + 10} python3 - {LISTEN} $_there <<'PYTHON' 2>/dev/null &
{_FRAMES}PYTHON
elif [ -n "$_there" ]; then
  for _i in $_there; do
    command -v tcpdump >/dev/null && timeout -k 2 {LISTEN} tcpdump -plnei $_i \\
      'ether proto 0x88b5 or arp' 2>/dev/null |
      sed -n "s/^[^ ]* \\([0-9a-f:]\\{{17\\}}\\) > .*/frame $_i \\1/p" | sort -u &
    command -v arping >/dev/null &&
      timeout -k 2 {LISTEN} arping -q -b -D -I $_i 192.0.2.1 >/dev/null 2>&1 &
  done
fi
wait
for _i in $_there; do
  echo "neighbours $_i $(ip -j neigh show dev $_i 2>/dev/null)"
done
command -v lldpctl >/dev/null && echo "lldp $(lldpctl -f json 2>/dev/null | tr '\\n' ' ')"
echo "addresses $(ip -j addr show 2>/dev/null)"
echo "routes $(ip -j -4 route show table all 2>/dev/null)"
true
"""


SIGHT = Fact("sight", script, sight.parse)


@dataclass(frozen=True)
class Candidate:
    """A name to ask, and why we think that a Spark is there."""

    name: str
    why: str


@dataclass(frozen=True)
class Answer:
    """A node that answered: as what the inventory will know it, and what it saw."""

    node: Node
    sight: Sight


def ask(
    names: Sequence[str],
    connector: Connector,
    become: Become,
    listener: Listener,
    *,
    ssh_config: str | None = None,
) -> tuple[list[Answer], dict[str, SparkError]]:
    """One connection and one exec per node, all at once; those that failed, with their errors."""
    inventory = Inventory(hosts={"spark": Host()})
    hosts = [
        HostSession(
            _target(name, ssh_config), ProbeContext(inventory.hosts["spark"], inventory)
        )
        for name in names
    ]  # fmt: skip
    session = Session(hosts, connector, become)
    try:
        session.connect(listener)
        outcomes = session.each(session.alive, lambda host: host.read([SIGHT])[SIGHT])
    finally:
        session.close()
    failed = {name: _helped(name, error) for name, error in session.lost.items()}
    seen: dict[str, Sight] = {}
    for name, outcome in outcomes.items():
        if isinstance(outcome, SparkError):
            failed[name] = outcome
        else:
            seen[name] = outcome
    return _named(seen), failed


def _target(name: str, ssh_config: str | None) -> Target:
    user, at, address = name.rpartition("@")
    return Target(name, address, user=user if at else None, ssh_config=ssh_config)


def _helped(name: str, error: SparkError) -> SparkError:
    if isinstance(error, HostKeyRejected):
        error.remedy = f"`ssh {name}` once and compare the fingerprint, then run init again."
    return error


def _named(seen: Mapping[str, Sight]) -> list[Answer]:
    """The names that the inventory will use: what was given where that is a host name."""
    answers: list[Answer] = []
    used: set[str] = set()
    for given, what in seen.items():
        user, _, address = given.rpartition("@")
        name = address if HOST_NAME.fullmatch(address) and not _is_ip(address) else ""
        own = what.hostname.partition(".")[0]
        name = name or (own if HOST_NAME.fullmatch(own) else "spark")
        wanted, number = name, 2
        while name in used:
            name, number = f"{wanted}-{number}", number + 1
        used.add(name)
        answers.append(Answer(Node(name, "" if name == address else address, user), what))
    return answers


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


# Who might be there


def from_ssh_config(text: str, pattern: str = "spark*") -> list[Candidate]:
    """The plain names of `Host` lines that match; patterns are no hosts."""
    found = []
    for line in text.split("\n"):
        words = line.replace("=", " ").split()
        for name in words[1:] if words and words[0].lower() == "host" else []:
            if not re.search(r"[*?!]", name) and fnmatch.fnmatch(name.lower(), pattern):
                found.append(Candidate(name, "named in ssh_config"))
    return list(dict.fromkeys(found))


def from_avahi(text: str, pattern: str = "spark*") -> list[Candidate]:
    """`avahi-browse -rtpk _ssh._tcp`: `=;eth0;IPv4;spark-1;_ssh._tcp;local;spark-1.local;…`."""
    found = []
    for line in text.split("\n"):
        parts = line.split(";")
        if len(parts) > 7 and parts[0] == "=" and fnmatch.fnmatch(parts[6].lower(), pattern):
            found.append(Candidate(parts[6], f"mDNS says so ({parts[7]} on {parts[1]})"))
    return list({candidate.name: candidate for candidate in found}.values())


def candidates(ssh_config: str | None) -> list[Candidate]:
    """Names from ssh_config and from mDNS, if avahi-browse is installed on this machine."""
    from spark_cluster.transport.ssh_config import USUAL, text_of

    found = from_ssh_config(text_of([ssh_config] if ssh_config else USUAL))
    if shutil.which("avahi-browse"):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(
                ["avahi-browse", "-rtpk", "_ssh._tcp"],
                capture_output=True, text=True, timeout=10, check=False,
            )  # fmt: skip
            names = {candidate.name.partition(".")[0] for candidate in found}
            found += [c for c in from_avahi(done.stdout) if c.name.partition(".")[0] not in names]
    return found


def own_networks() -> list[IPv4Network]:
    """What this machine routes and has; nothing where the kernel is not Linux."""
    found: list[IPv4Network] = []
    for message in _netlink("get_routes"):
        dst = dict(message["attrs"]).get("RTA_DST")
        if dst is not None:
            with contextlib.suppress(ValueError):
                found.append(IPv4Network(f"{dst}/{message['dst_len']}", strict=False))
    return [network for network in dict.fromkeys(found) if network.prefixlen > 0]


def own_neighbours() -> list[str]:
    """IPv4 addresses that this machine has heard of lately: hints for whoever names no host."""
    found = [dict(message["attrs"]).get("NDA_DST") for message in _netlink("get_neighbours")]
    return sorted({str(address) for address in found if address})


def _netlink(method: str) -> list[dict[str, list[tuple[str, str]]]]:
    if not sys.platform.startswith("linux"):
        return []
    import socket

    try:
        from pyroute2 import IPRoute

        with IPRoute() as netlink:
            return list(getattr(netlink, method)(family=socket.AF_INET))
    except (ImportError, OSError):
        return []


def nobody(neighbours: Sequence[str]) -> InputError:
    """No host was named and none was found."""
    heard = f" This machine has heard of: {', '.join(neighbours[:12])}." if neighbours else ""
    return InputError(
        "no Spark was found: ssh_config names none and mDNS shows none",
        remedy=f"Name them: `spark-cluster init spark-1 spark-2`, or their addresses.{heard}",
    )
