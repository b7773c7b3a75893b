"""Where packets leave: IPv4 routes, forwarding, and NetworkManager's active connections."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from spark_cluster.facts.base import Fact, always
from spark_cluster.facts.lines import Lines


@dataclass(frozen=True)
class Route:
    """`destination` is `default` or a network; `via` is empty for a network on the link."""

    destination: str
    device: str
    via: str = ""


@dataclass(frozen=True)
class Profile:
    """An active NetworkManager connection. netplan's own are called `netplan-…`."""

    device: str
    name: str

    @property
    def of_netplan(self) -> bool:
        return self.name.startswith("netplan-")


@dataclass(frozen=True)
class RoutesFact:
    """`forwarding` is net.ipv4.ip_forward; None if it could not be read."""

    routes: tuple[Route, ...] = ()
    profiles: tuple[Profile, ...] = ()
    forwarding: bool | None = None

    @property
    def default_devices(self) -> tuple[str, ...]:
        return tuple(r.device for r in self.routes if r.destination == "default")


# The format of `ip route` without -j is the same in every iproute2 (ip-route(8)).
# A sysctl gives its value to the first read(2) only: dash gets the digit and an early end.
_SCRIPT = """\
read -r _v </proc/sys/net/ipv4/ip_forward; echo "forwarding $_v"
ip -4 route show 2>/dev/null | sed 's/^/route /'
nmcli -t -f DEVICE,NAME connection show --active 2>/dev/null | sed 's/^/profile /'
"""


def _route(words: list[str]) -> Route | None:
    named = dict(pairwise(words[1:]))
    if not words or "dev" not in named:
        return None
    return Route(words[0], named["dev"], named.get("via", ""))


def parse(text: str) -> RoutesFact:
    lines = Lines(text)
    routes = (_route(rest.split()) for rest in lines.every("route"))
    # nmcli -t writes a backslash before each colon of a value (nmcli(1)).
    profiles = (rest.partition(":") for rest in lines.every("profile"))
    return RoutesFact(
        tuple(route for route in routes if route is not None),
        tuple(
            Profile(device, name.replace("\\:", ":").strip())
            for device, _, name in profiles
            if device and name
        ),
        {"0": False, "1": True, "2": True}.get(lines.last("forwarding")),
    )


ROUTES = Fact("routes", always(_SCRIPT), parse)
