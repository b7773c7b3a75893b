"""The kernel's MTU is the inventory's, whatever the files say."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.core.shell import quote
from spark_cluster.core.step import Assessment, Change
from spark_cluster.facts.links import LINKS, PING
from spark_cluster.facts.rdma import GIDS
from spark_cluster.steps.base import NoParams, step
from spark_cluster.steps.view import View


@step("mtu", "Set the MTU in the kernel", NoParams, reads=(LINKS,), affects=(LINKS, GIDS, PING))
def mtu(view: View, _: NoParams) -> Assessment:
    return Assessment(changes=tuple(_changes(view)))


def _changes(view: View) -> Iterator[Change]:
    links = view.facts[LINKS].links
    for item in view.host.configured:
        link = links.get(item.interface)
        if link is None or item.mtu is None or link.mtu == item.mtu:
            continue
        yield Change(
            f"{item.interface} MTU",
            str(link.mtu),
            str(item.mtu),
            f"ip link set dev {quote(item.interface)} mtu {item.mtu}\n",
        )
