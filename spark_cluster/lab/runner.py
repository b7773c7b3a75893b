"""The ways to run a node, as one: QEMU with KVM or emulation, and user-mode Linux."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from spark_cluster.lab import vm
from spark_cluster.lab.machine import Machine
from spark_cluster.lab.process import Running
from spark_cluster.lab.topology import Topology
from spark_cluster.lab.uml import run as uml


class Runner(Protocol):
    """What the lab does with a node. A module that has these functions is a way to run one."""

    def start(self, machine: Machine, log: Path) -> Running:
        """Start the node; its first words and complaints go to the log."""

    def connect(
        self, topology: Topology, machines: Iterable[Machine], started: set[str], segment: int
    ) -> None:
        """Plug the cables of the nodes in `started`, of all that run (`machines`)."""

    def stop(self, running: Running, machine: Machine) -> None:
        """Cut the node's power."""

    def set_link(self, machine: Machine, interface: str, up: bool) -> None:
        """Give an interface its carrier, or take it."""

    def remove_card(self, machine: Machine, interface: str) -> None:
        """Take an interface out of the running node."""

    def add_card(self, machine: Machine, interface: str) -> None:
        """Give it back, its cable plugged in if it has one."""

    def freeze(self, machine: Machine) -> None:
        """Stop the whole node where it is."""

    def thaw(self, machine: Machine) -> None:
        """Let it go on."""

    def power_cycle(self, machine: Machine) -> None:
        """Cut the power for a moment: the node boots from what is on its disk."""


def of(accel: str) -> Runner:
    return uml if accel == "uml" else vm
