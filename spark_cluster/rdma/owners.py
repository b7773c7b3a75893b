"""Whose an address in a log is, by the inventory, and whether a cable joins two of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

#: Bits of a network that two rails are compared by where no inventory is at hand: NCCL's own
#: default (NCCL_IB_SUBNET_PREFIX_LEN) and the usual size of a rail's network.
_PREFIX = 24


@dataclass(frozen=True)
class Owner:
    """A rail of a host. Rails in one `network` are joined by a cable or a switch."""

    host: str
    interface: str
    device: str
    network: str

    def __str__(self) -> str:
        return f"{self.host} {self.interface} ({self.device})"


#: By address.
Owners = Mapping[str, Owner]


def between(local: str, remote: str, known: Owners) -> str:
    """A sentence on the two ends of a connection that failed; empty if nothing is known of them."""
    ends = [(address, known.get(address)) for address in (local, remote) if address]
    if len(ends) < 2:
        return ""
    told = "; ".join(f"{address} is {owner}" for address, owner in ends if owner)
    (_, here), (_, there) = ends
    if here and there:
        if here.host == there.host:
            return f"{told}: two ports of one host."
        if here.network == there.network:
            return f"{told}: one cable or switch joins them."
        return f"{told}: no cable joins them, they are in {here.network} and {there.network}."
    apart = _apart(local, remote)
    return f"{told}{': ' if told and apart else ''}{apart}" if apart else told and f"{told}."


def _apart(local: str, remote: str) -> str:
    try:
        networks = [ipaddress.IPv4Interface(f"{end}/{_PREFIX}").network for end in (local, remote)]
    except ValueError:
        return ""
    if networks[0] == networks[1]:
        return ""
    return (
        f"{networks[0]} and {networks[1]} are different subnets: two ports that share no cable "
        "were paired."
    )
