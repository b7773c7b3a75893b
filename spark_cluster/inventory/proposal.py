"""Addresses that collide with nothing, and the inventory that `init` would write. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network

from spark_cluster.inventory import discovery
from spark_cluster.inventory.discovery import Network
from spark_cluster.inventory.sight import DEVICES, ETHERNET, HALVES, Port, Sight

#: The first /24 for halves and for the 10GbE segment: 192.168.100.0 and 192.168.102.0.
FIRST_RAIL, FIRST_LINK = 100, 102
#: The first host's last octet in a proposed network.
FIRST_HOST = 10

#: RFC 3927: addresses that a host gives itself; they change, so nothing can be built on them.
_LINK_LOCAL = IPv4Network("169.254.0.0/16")


@dataclass(frozen=True)
class Entry:
    """An interface of the inventory, and the lines that say why it is as it is."""

    host: str
    interface: str
    address: str
    device: str = ""
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """A host as the inventory names it; `address` is empty where the name is enough."""

    name: str
    address: str = ""
    user: str = ""


@dataclass(frozen=True)
class Proposal:
    """`notes` are per host: what was left out, and why."""

    topology: str
    entries: tuple[Entry, ...]
    groups: Mapping[str, tuple[str, ...]]
    notes: Mapping[str, tuple[str, ...]]


def propose(sights: Mapping[str, Sight], foreign: Iterable[IPv4Network] = ()) -> Proposal:
    """From the nodes' sights to an inventory; `foreign` is what the controller routes itself."""
    found = discovery.networks(discovery.segments(sights), sights)
    notes: dict[str, list[str]] = {host: [] for host in sights}
    taken = [*foreign, *(network for sight in sights.values() for network in sight.networks)]
    entries: list[Entry] = []
    kept: list[IPv4Network] = []
    fresh: list[Network] = []
    used: list[Network] = []
    for network in found:
        usable = network if network.is_rail else _free_of_uplinks(network, sights, notes)
        if usable is None:
            continue
        used.append(usable)
        there = _consistent(usable, sights, kept)
        if there is None:
            fresh.append(usable)
            continue
        kept.append(there[0].network)
        why = f"{there[0].network} is configured on both already: kept"
        entries += _entries(usable, [str(address) for address in there], why, sights)
    for network in fresh:
        subnet = _next(taken, FIRST_RAIL if network.is_rail else FIRST_LINK)
        taken.append(subnet)
        addresses = [f"{subnet[FIRST_HOST + place]}/24" for place in range(len(network.ends))]
        why = f"{subnet} is new: nothing that any of them or this machine routes overlaps it"
        entries += _entries(network, addresses, why, sights)
    _tell_unknown(sights, entries, notes)
    order = {(host, name): place for place, (host, name) in enumerate(_ends(sights))}
    entries.sort(key=lambda entry: order[(entry.host, entry.interface)])
    return Proposal(
        discovery.topology(used, list(sights)),
        tuple(entries),
        discovery.groups(used, list(sights)),
        {host: tuple(lines) for host, lines in notes.items()},
    )


def _ends(sights: Mapping[str, Sight]) -> list[tuple[str, str]]:
    return [(host, name) for host in sights for name in (*HALVES, ETHERNET)]


def _free_of_uplinks(
    network: Network, sights: Mapping[str, Sight], notes: dict[str, list[str]]
) -> Network | None:
    """The 10GbE ends that nobody else owns: not those that carry SSH, the default route or DHCP."""
    ends = []
    for host, name in network.ends:
        sight, there = sights[host], sights[host].ports[name]
        owner = ""
        if sight.management == name:
            owner = "SSH came in on it"
        elif sight.uplink == name:
            owner = "the default route uses it"
        elif there.dynamic:
            owner = f"DHCP gave it {there.dynamic[0]}"
        if owner:
            notes[host].append(f"{name} is left alone: {owner}.")
        else:
            ends.append((host, name))
    return Network(tuple(ends), network.proofs) if len(ends) > 1 else None


def _consistent(
    network: Network, sights: Mapping[str, Sight], kept: Sequence[IPv4Network]
) -> list[IPv4Interface] | None:
    """The addresses that are there already, if all ends agree on a subnet nothing else has."""
    given = [
        {
            address.network: address
            for text in sights[host].ports[name].ipv4
            if not (address := IPv4Interface(text)).network.overlaps(_LINK_LOCAL)
        }
        for host, name in network.ends
    ]
    common = [subnet for subnet in given[0] if all(subnet in addresses for addresses in given)]
    for subnet in common:
        addresses = [mine[subnet] for mine in given]
        elsewhere = any(subnet.overlaps(other) for other in kept) or any(
            IPv4Interface(text).network.overlaps(subnet)
            for host, name in network.ends
            for other, there in sights[host].ports.items() if other != name
            for text in there.ipv4
        )  # fmt: skip
        if not elsewhere and len({address.ip for address in addresses}) == len(addresses):
            return addresses
    return None


def _next(taken: Sequence[IPv4Network], first: int) -> IPv4Network:
    """The first free /24 from 192.168.FIRST.0 on, then in 10.100.0.0/16."""
    candidates = [f"192.168.{octet}.0/24" for octet in (*range(first, 256), *range(first))]
    candidates += [f"10.100.{octet}.0/24" for octet in range(256)]
    for text in candidates:
        network = IPv4Network(text)
        if not any(network.overlaps(other) for other in taken):
            return network
    raise ValueError("every network of 192.168.0.0/16 and 10.100.0.0/16 is in use")


def _entries(
    network: Network, addresses: Sequence[str], why: str, sights: Mapping[str, Sight]
) -> list[Entry]:
    found = []
    for (host, name), address in zip(network.ends, addresses, strict=True):
        others = ", ".join(f"{peer} {port}" for peer, port in network.ends if peer != host)
        seen = f"seen by {', '.join(network.proofs)}"
        if network.inferred:
            seen = "not seen itself; the other half of this cable was"
        lines = [f"faces {others} ({seen})", why]
        there = sights[host].ports[name]
        if not any(text == address for text in there.ipv4):
            strange = [text for text in there.ipv4 if IPv4Interface(text).network != _LINK_LOCAL]
            lines += [f"it has {text} now" for text in strange]
        if network.is_rail and len(network.ends) == 2:
            lines += _crossed(network)
        device = (there.device or DEVICES[name]) if name in DEVICES else ""
        found.append(Entry(host, name, address, device, tuple(lines)))
    return found


def _crossed(network: Network) -> list[str]:
    ports = {discovery.port(name) for _, name in network.ends}
    return [] if len(ports) == 1 else ["port 0 to port 1, as in a ring"]


def _tell_unknown(
    sights: Mapping[str, Sight], entries: Sequence[Entry], notes: dict[str, list[str]]
) -> None:
    """Halves that have a cable of which nothing was seen, and ports that are down."""
    known = {(entry.host, entry.interface) for entry in entries}
    for host, sight in sights.items():
        for name in HALVES:
            there = sight.ports.get(name)
            if there is not None and there.carrier and (host, name) not in known:
                notes[host] += _unknown(name, there)
        if not any((host, name) in known for name in HALVES):
            notes[host] += _no_cable(sight)


def _unknown(name: str, there: Port) -> list[str]:
    device = there.device or DEVICES[name]
    return [
        f"{name} has a link. unknown: cable not seen. If you know what it faces, add to rails on",
        "both hosts, with a subnet of its own for each half:",
        f"  - {{interface: {name}, device: {device}, address: 192.168.N.M/24}}",
    ]


def _no_cable(sight: Sight) -> list[str]:
    halves = [name for name in HALVES if name in sight.ports]
    if not halves:
        return ["It has no QSFP interface now: the kernel removes them while no cable is plugged."]
    if not any(sight.ports[name].carrier for name in halves):
        if not any(sight.ports[name].up for name in halves):
            return ["All QSFP halves are set down; init sets none up, so no cable could be seen."]
        return ["No QSFP half has a link: cable not seen."]
    return []


# Writing


def render(
    nodes: Sequence[Node],
    proposal: Proposal,
    *,
    head: Sequence[str] = (),
    ssh: Mapping[str, str] | None = None,
) -> str:
    """The inventory's text. Comments give the reason of each choice."""
    lines = [f"# {text}" for text in (*head, f"Topology: {proposal.topology}.")]
    lines += ["version: 1", ""]
    if ssh:
        lines += ["ssh:", *(f"  {key}: {value}" for key, value in ssh.items()), ""]
    lines.append("hosts:")
    for place, node in enumerate(nodes):
        lines += [""] if place else []
        lines += _host(node, proposal)
    if proposal.groups:
        lines += ["", "# Hosts that serve together, the head first.", "groups:"]
        lines += [f"  {name}: [{', '.join(them)}]" for name, them in proposal.groups.items()]
    return "\n".join(lines) + "\n"


def _host(node: Node, proposal: Proposal) -> list[str]:
    mine = [entry for entry in proposal.entries if entry.host == node.name]
    body = [f"    # {text}" for text in proposal.notes.get(node.name, ())]
    if node.address:
        body.append(f"    address: {node.address}")
    if node.user:
        body.append(f"    user: {node.user}")
    for kind, wanted in (("rails", True), ("links", False)):
        chosen = [entry for entry in mine if bool(entry.device) is wanted]
        if chosen:
            body.append(f"    {kind}:")
        for entry in chosen:
            body += [f"      # {text}" for text in entry.why]
            device = f"device: {entry.device}, " if entry.device else ""
            body.append(
                f"      - {{interface: {entry.interface}, {device}address: {entry.address}}}"
            )
    filled = any(not line.lstrip().startswith("#") for line in body)
    return [f"  {node.name}:" + ("" if filled else " {}"), *body]
