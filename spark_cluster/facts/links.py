"""Network interfaces: MTU, carrier, addresses, IPv6, and whether jumbo frames reach the peers."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.shell import quote
from spark_cluster.core.strangers_json import loads, objects
from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, ProbeContext

#: IPv4 header 20 bytes + ICMP header 8 bytes (RFC 791, RFC 792).
PING_OVERHEAD = 28


@dataclass(frozen=True)
class Link:
    """`ipv4` and `ipv6` are `address/prefix`; `ipv6_off` is the kernel's disable_ipv6."""

    name: str
    mtu: int
    up: bool
    carrier: bool
    ipv4: tuple[str, ...] = ()
    ipv6: tuple[str, ...] = ()
    ipv6_off: bool | None = None


@dataclass(frozen=True)
class LinksFact:
    links: dict[str, Link] = field(default_factory=dict)


def _script(context: ProbeContext) -> str:
    names = " ".join(quote(item.interface) for item in context.host.interfaces)
    return f"""\
ip -j addr show
echo
for _i in {names or "lo"}; do
  [ -r /proc/sys/net/ipv6/conf/$_i/disable_ipv6 ] &&
    echo "$_i $(cat /proc/sys/net/ipv6/conf/$_i/disable_ipv6)"
done
true
"""


def parse(text: str) -> LinksFact:
    first, _, rest = text.partition("\n")
    off = {
        words[0]: words[1] == "1" for line in rest.split("\n") if len(words := line.split()) == 2
    }
    links: dict[str, Link] = {}
    for entry in objects(loads(first)):
        if "ifname" not in entry:
            continue
        name = str(entry["ifname"])
        flags = entry.get("flags")
        flags = flags if isinstance(flags, list) else []
        links[name] = Link(
            name=name,
            mtu=number(str(entry.get("mtu"))) or 0,
            up="UP" in flags,
            carrier="LOWER_UP" in flags,
            ipv4=_addresses(entry, "inet"),
            ipv6=_addresses(entry, "inet6"),
            ipv6_off=off.get(name),
        )
    return LinksFact(links)


def _addresses(entry: dict[str, object], family: str) -> tuple[str, ...]:
    return tuple(
        f"{info['local']}/{info['prefixlen']}"
        for info in objects(entry, "addr_info")
        if info.get("family") == family and "local" in info and "prefixlen" in info
    )


LINKS = Fact("links", _script, parse)


@dataclass(frozen=True)
class Ping:
    """One peer asked from one rail: did a frame of the full MTU come back unfragmented?"""

    interface: str
    peer: str
    size: int
    answered: bool


@dataclass(frozen=True)
class PingFact:
    pings: tuple[Ping, ...] = ()


def _ping_script(context: ProbeContext) -> str:
    lines = []
    for rail in context.host.rails:
        size = rail.mtu - PING_OVERHEAD
        for _, peer in context.inventory.peers(context.host.name, rail):
            label = f"{rail.interface} {peer.ip} {size}"
            lines.append(
                f"{{ ping -q -n -M do -c 2 -i 0.3 -w 3 -s {size} -I {quote(rail.interface)} "
                f"{peer.ip} >/dev/null 2>&1 && echo {quote(label + ' yes')} "
                f"|| echo {quote(label + ' no')}; }} &"
            )
    return "\n".join([*lines, "wait"])


def parse_pings(text: str) -> PingFact:
    pings = []
    for line in text.split("\n"):
        words = line.split()
        size = number(words[2]) if len(words) == 4 else None
        if size is not None and words[3] in ("yes", "no"):
            pings.append(Ping(words[0], words[1], size, words[3] == "yes"))
    return PingFact(tuple(sorted(pings, key=lambda ping: (ping.interface, ping.peer))))


PING = Fact("ping", _ping_script, parse_pings, across=True)
