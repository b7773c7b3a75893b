"""The cables between user-mode nodes: veth pairs and bridges in a namespace of the lab's own.

Both ends of a cable are interfaces that a node's kernel opens as its own hardware, so that nothing
of this machine's network sees the frames. Pure data; `ip -batch` makes it real.
"""

from __future__ import annotations

from spark_cluster.lab.topology import INTERFACES, MANAGEMENT, Node, Topology

MTU = 9216
"""Above a Spark's 9000, as a ConnectX-7's own limit is."""

GATEWAY = "10.7.7.2"
"""Where the namespace itself is on the nodes' management network."""

_WIFI = "wifi"


def port(node: Node, interface: str) -> str:
    """The namespace's interface that a node opens as one of its own."""
    return f"n{node.number}i{INTERFACES.index(interface)}"


def links(topology: Topology) -> list[str]:
    """The lines for `ip -batch` that lay all cables of a topology."""
    segments = {number for node in topology.nodes for number in _segments(topology, node).values()}
    lines = [
        f"link add {_WIFI} type bridge mcast_snooping 0",
        f"addr add {GATEWAY}/24 dev {_WIFI}",
        f"link set {_WIFI} up",
        "link set lo up",
    ]
    for number in sorted(segments):
        lines += [
            f"link add segment{number} type bridge mcast_snooping 0",
            f"link set segment{number} up",
        ]
    for cable in topology.cables:
        left = port(topology.node(cable.left), cable.left_interface)
        right = port(topology.node(cable.right), cable.right_interface)
        lines += _pair(left, right)
    for node in topology.nodes:
        for interface in INTERFACES:
            if topology.cable_at(node.name, interface) is None:
                lines += _socket(topology, node, interface)
    return lines


def _segments(topology: Topology, node: Node) -> dict[str, int]:
    return topology.segments_of(node.name)


def _pair(left: str, right: str) -> list[str]:
    return [
        f"link add {left} mtu {MTU} type veth peer name {right} mtu {MTU}",
        f"link set {left} up",
        f"link set {right} up",
    ]


def _socket(topology: Topology, node: Node, interface: str) -> list[str]:
    """What an interface without a cable is plugged into: a bridge, or nothing."""
    mine = port(node, interface)
    far = f"{mine}x"
    number = _segments(topology, node).get(interface)
    lines = _pair(mine, far)
    if interface == MANAGEMENT:
        # Each sees the namespace alone, not the other nodes: a Wi-Fi is no way between Sparks.
        lines += [
            f"link set {far} master {_WIFI}",
            f"link set {far} type bridge_slave isolated on",
        ]
    elif number is not None:
        lines += [f"link set {far} master segment{number}"]
    return lines


def leases(topology: Topology) -> dict[str, str]:
    """The address that each node is given on the management network, by its MAC address."""
    return {node.mac(MANAGEMENT): node.wifi_address for node in topology.nodes}
