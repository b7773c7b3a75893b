"""IPv6 is off on the rails: each IPv6 address takes GID slots and moves the RoCE v2 GID."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.core.shell import quote
from spark_cluster.core.step import Assessment, Change
from spark_cluster.facts.links import LINKS
from spark_cluster.facts.rdma import GIDS
from spark_cluster.steps.base import NoParams, step
from spark_cluster.steps.view import View


@step("ipv6", "Turn IPv6 off on the rails", NoParams, reads=(LINKS,), affects=(LINKS, GIDS))
def ipv6(view: View, _: NoParams) -> Assessment:
    return Assessment(changes=tuple(_changes(view)))


def _changes(view: View) -> Iterator[Change]:
    links = view.facts[LINKS].links
    for rail in view.host.rails:
        link = links.get(rail.interface)
        if link is None or (not link.ipv6 and link.ipv6_off is not False):
            continue
        key = f"/proc/sys/net/ipv6/conf/{rail.interface}/disable_ipv6"
        before = ", ".join(link.ipv6) or "on"
        yield Change(f"{rail.interface} IPv6", before, "off", f"echo 1 > {quote(key)}\n")
