"""Which nodes there are, which interfaces they have, and which cables join them. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.error import InputError

MANAGEMENT = "wlP9s9"
"""The interface that SSH comes in on: the Wi-Fi of a real Spark, a user-mode NIC here."""

ETHERNET = "enP7s7"
"""The 10GbE port, on one segment with those of the other nodes."""

HALVES = ("enp1s0f0np0", "enP2p1s0f0np0", "enp1s0f1np1", "enP2p1s0f1np1")
"""The two halves of QSFP port 0, then those of port 1."""

PORTS = (HALVES[0:2], HALVES[2:4])

DEVICES = dict(
    zip(HALVES, ("rocep1s0f0", "roceP2p1s0f0", "rocep1s0f1", "roceP2p1s0f1"), strict=True)
)
"""The RDMA device of each half."""

INTERFACES = (MANAGEMENT, ETHERNET, *HALVES)

MAX_NODES = 8


@dataclass(frozen=True)
class Node:
    """One virtual Spark. Number 0 is the throw-away node that bakes the image."""

    number: int

    @property
    def name(self) -> str:
        return f"spark-{self.number}"

    def mac(self, interface: str) -> str:
        return mac(self.number, interface)

    @property
    def machine_id(self) -> str:
        return f"5bac1a5bac1a5bac1a5bac1a5bac1a{self.number:02x}"

    @property
    def wifi_address(self) -> str:
        return f"10.7.7.{10 + self.number}"

    @property
    def last_octet(self) -> int:
        """spark-1 is .10 on every cluster subnet, spark-2 .11, and so on."""
        return 9 + self.number


def mac(number: int, interface: str) -> str:
    """A node's own address: rxe loops packets back to the sender where two are equal."""
    return f"52:54:00:5a:{number:02x}:{INTERFACES.index(interface) + 1:02x}"


@dataclass(frozen=True)
class Cable:
    """One half of a QSFP cable between two nodes."""

    left: str
    left_interface: str
    right: str
    right_interface: str

    @property
    def ident(self) -> str:
        return f"{self.left}.{self.left_interface}-{self.right}.{self.right_interface}"

    def end(self, node: str) -> str | None:
        """The interface of `node` that this cable is plugged into."""
        if node == self.left:
            return self.left_interface
        if node == self.right:
            return self.right_interface
        return None

    def other(self, node: str) -> tuple[str, str]:
        if node == self.left:
            return self.right, self.right_interface
        return self.left, self.left_interface


@dataclass(frozen=True)
class Topology:
    name: str
    nodes: tuple[Node, ...]
    cables: tuple[Cable, ...]
    rails: dict[str, dict[str, str]]
    """Per node: the address of each half that the lab's inventory names."""
    groups: dict[str, tuple[str, ...]]
    switched: tuple[tuple[tuple[str, str], ...], ...] = ()
    """Nodes and halves that a switch joins: all of one network, then all of the next."""

    def node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise InputError(f"there is no node {name} in the lab", remedy=f"the nodes are {names}")

    def cable_at(self, node: str, interface: str) -> Cable | None:
        for cable in self.cables:
            if cable.end(node) == interface:
                return cable
        return None

    def carrier(self, node: str, interface: str) -> bool:
        """Whether the interface has a cable; the Wi-Fi and the 10GbE segment always have."""
        if interface not in HALVES or self.cable_at(node, interface) is not None:
            return True
        return any((node, interface) in network for network in self.switched)

    def segments_of(self, node: str) -> dict[str, int]:
        """The interfaces that share a segment with others, and its number: 0 is the 10GbE one."""
        found = {ETHERNET: 0}
        for number, network in enumerate(self.switched, 1):
            found |= {interface: number for name, interface in network if name == node}
        return found


def _pair() -> Topology:
    """spark-2 and spark-3 joined by port 1; spark-1 beside them on the 10GbE segment only."""
    nodes = tuple(Node(number) for number in (1, 2, 3))
    cables = tuple(Cable("spark-2", half, "spark-3", half) for half in PORTS[1])
    rails = {
        name: {half: f"192.168.{100 + i}.{octet}/24" for i, half in enumerate(PORTS[1])}
        for name, octet in (("spark-2", 10), ("spark-3", 11))
    }
    return Topology("pair", nodes, cables, rails, {"pair": ("spark-2", "spark-3")})


def _ring() -> Topology:
    """Three nodes, port 0 of each to port 1 of the next, six subnets."""
    nodes = tuple(Node(number) for number in (1, 2, 3))
    names = [node.name for node in nodes]
    cables: list[Cable] = []
    rails: dict[str, dict[str, str]] = {name: {} for name in names}
    for i, name in enumerate(names):
        right = names[(i + 1) % len(names)]
        for j, (out, back) in enumerate(zip(*PORTS, strict=True)):
            cables.append(Cable(name, out, right, back))
            subnet = 110 + 2 * i + j
            rails[name][out] = f"192.168.{subnet}.10/24"
            rails[right][back] = f"192.168.{subnet}.11/24"
    return Topology("ring", nodes, tuple(cables), rails, {"ring": tuple(names)})


def _both() -> Topology:
    """spark-2 and spark-3 joined by both ports, four subnets; no spark-1."""
    nodes = tuple(Node(number) for number in (2, 3))
    cables = tuple(Cable("spark-2", half, "spark-3", half) for half in HALVES)
    rails = {
        name: {half: f"192.168.{120 + i}.{octet}/24" for i, half in enumerate(HALVES)}
        for name, octet in (("spark-2", 10), ("spark-3", 11))
    }
    return Topology("both", nodes, cables, rails, {"pair": ("spark-2", "spark-3")})


def _switch() -> Topology:
    """Three nodes on a switch by port 0, but spark-3 by port 1; a subnet for each half."""
    nodes = tuple(Node(number) for number in (1, 2, 3))
    ports = {"spark-1": PORTS[0], "spark-2": PORTS[0], "spark-3": PORTS[1]}
    rails = {
        node.name: {
            half: f"192.168.{130 + i}.{node.last_octet}/24"
            for i, half in enumerate(ports[node.name])
        }
        for node in nodes
    }
    switched = tuple(tuple((name, port[i]) for name, port in ports.items()) for i in (0, 1))
    return Topology("switch", nodes, (), rails, {"all": tuple(ports)}, switched)


TOPOLOGIES = {"pair": _pair, "ring": _ring, "both": _both, "switch": _switch}


def topology(name: str) -> Topology:
    try:
        return TOPOLOGIES[name]()
    except KeyError:
        known = ", ".join(sorted(TOPOLOGIES))
        raise InputError(f"there is no topology {name}", remedy=f"use one of: {known}") from None
