"""Which interfaces `init` would write, with addresses that collide with nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network

from spark_cluster.inventory import discovery
from spark_cluster.inventory.discovery import Network
from spark_cluster.inventory.sight import DEVICES, ETHERNET, HALVES, Port, Sight, port

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
    managed: bool = True


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
    meeting = discovery.lacks_a_common_rail(found, list(sights))
    for network in found:
        if not network.is_rail and meeting and meeting <= set(network.hosts):
            lent = _lent(network, sights, kept)
            if lent:
                used.append(network)
                entries += lent
                continue
        usable = network if network.is_rail else _free_of_uplinks(network, sights, notes)
        if usable is None:
            continue
        used.append(usable)
        there = _consistent(usable, sights, kept)
        if there is None:
            fresh.append(usable)
            continue
        kept.append(there[0].network)
        why = f"{there[0].network} is kept"
        entries += _entries(usable, [str(address) for address in there], why, sights)
    for network in fresh:
        subnet = _next(taken, FIRST_RAIL if network.is_rail else FIRST_LINK)
        taken.append(subnet)
        addresses = [f"{subnet[FIRST_HOST + place]}/24" for place in range(len(network.ends))]
        why = f"{subnet} is new"
        entries += _entries(network, addresses, why, sights)
    _tell_plugs(used, notes)
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


def _owner(sight: Sight, name: str) -> str:
    """Who needs this interface as it is; empty if nobody does."""
    there = sight.ports[name]
    if sight.management == name:
        return "SSH came in on it"
    if sight.uplink == name:
        return "the default route uses it"
    return f"DHCP gave it {there.dynamic[0]}" if there.dynamic else ""


def _free_of_uplinks(
    network: Network, sights: Mapping[str, Sight], notes: dict[str, list[str]]
) -> Network | None:
    """The 10GbE ends that nobody else owns: not those that carry SSH, the default route or DHCP."""
    ends = []
    for host, name in network.ends:
        owner = _owner(sights[host], name)
        if owner:
            notes[host].append(f"{name} is left alone: {owner}.")
        else:
            ends.append((host, name))
    return Network(tuple(ends), network.proofs) if len(ends) > 1 else None


def _lent(
    network: Network, sights: Mapping[str, Sight], kept: Sequence[IPv4Network]
) -> list[Entry]:
    """The 10GbE ends as they are, where somebody else owns them and a ring needs them to meet."""
    owners = [_owner(sights[host], name) for host, name in network.ends]
    there = _consistent(network, sights, kept) if any(owners) else None
    if there is None:
        return []
    found = []
    for (host, name), address, owner in zip(network.ends, there, owners, strict=True):
        why = (
            f"{owner or 'the others need it as it is'}: it is used and never set. Without it the",
            "ring's hosts share no network. Reserve the address, so that it stays.",
        )
        found.append(Entry(host, name, str(address), why=why, managed=False))
    return found


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
        lines = [f"{_faces(network, host)}; {why}"]
        there = sights[host].ports[name]
        if not any(text == address for text in there.ipv4):
            strange = [text for text in there.ipv4 if IPv4Interface(text).network != _LINK_LOCAL]
            lines += [f"it has {text} now" for text in strange]
        device = (there.device or DEVICES[name]) if name in DEVICES else ""
        found.append(Entry(host, name, address, device, tuple(lines)))
    return found


def _faces(network: Network, host: str) -> str:
    seen = "not seen itself; the other half of this cable was"
    if not network.inferred:
        seen = f"seen by {network.proofs[0]}"
    others = [(peer, name) for peer, name in network.ends if peer != host]
    if len(others) > 1:
        return f"on one segment with {', '.join(peer for peer, _ in others)}, {seen}"
    return f"faces {others[0][0]} {others[0][1]}, {seen}"


def _tell_plugs(used: Sequence[Network], notes: dict[str, list[str]]) -> None:
    """Cables that work as Ethernet and are known to fail above it."""
    cables = [network for network in used if network.is_rail and len(network.ends) == 2]
    pairs = {frozenset(network.hosts) for network in cables}
    for network in cables:
        (host, name), (peer, other) = network.ends
        same = port(name) == port(other)
        if len(pairs) > 1 and same:
            why = "a ring goes port 0 to port 1 on every cable; with others NCCL ended with "
            why += "`ibv_modify_qp` 110"
        elif len(pairs) == 1 and not same:
            why = "pairs with a crossed cable have failed: plug it into the same port of both"
        else:
            continue
        notes[host].append(f"{name} faces {peer} {other}: {why}.")


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
