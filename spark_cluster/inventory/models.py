"""The inventory as the user writes it. Every rule says which it is and why."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from spark_cluster.document import Document

#: Linux: IFNAMSIZ is 16 with the terminating zero (include/uapi/linux/if.h).
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")

#: Jumbo frames: RoCE's active MTU reaches 4096 bytes only when the Ethernet MTU is 4200 or more.
JUMBO = 9000


def _interface_name(value: str) -> str:
    if not _INTERFACE.fullmatch(value):
        raise ValueError(
            f"{value!r} is no interface name | Letters, digits, '.', '-' and '_', at most 15."
        )
    return value


def _address(value: str) -> str:
    """An IPv4 address with its prefix length, such as 192.168.100.10/24."""
    try:
        interface = IPv4Interface(value)
    except ValueError as error:
        raise ValueError(
            f"{value!r} is no IPv4 address | Write it with its prefix: 192.168.100.10/24."
        ) from error
    if "/" not in value:
        raise ValueError(f"{value!r} has no prefix length | Write {value}/24.")
    network = interface.network
    if network.prefixlen < 31 and interface.ip in (
        network.network_address,
        network.broadcast_address,
    ):
        raise ValueError(
            f"{interface.ip} is the network's own or broadcast address in {network} | "
            f"Choose a host address between {network[1]} and {network[-2]}."
        )
    return str(interface)


Interface = Annotated[str, AfterValidator(_interface_name)]
Address = Annotated[str, AfterValidator(_address)]


class Managed(Document):
    """An interface with its address."""

    interface: Interface
    address: Address

    @property
    def ip(self) -> str:
        return str(IPv4Interface(self.address).ip)

    @property
    def network(self) -> ipaddress.IPv4Network:
        return IPv4Interface(self.address).network


class Rail(Managed):
    """One half of a QSFP port: its netdev, its RDMA device, its address."""

    device: Interface
    mtu: int = Field(default=JUMBO, ge=1280, le=9978)


class Link(Managed):
    """Any other interface: the 10GbE port enP7s7. `mtu` None leaves it as it is.

    `managed` false: the address is there already, from DHCP or from another file; it is used and
    never set.
    """

    mtu: int | None = Field(default=None, ge=1280, le=9978)
    managed: bool = True

    @model_validator(mode="after")
    def _mtu_of_others(self) -> Link:
        if not self.managed and self.mtu is not None:
            raise ValueError(
                f"{self.interface} is not managed, so its MTU is not set either | "
                f"Remove `mtu`, or `managed: false`."
            )
        return self


class Host(Document):
    """A Spark.

    `address` is what ssh connects to, the host's name if absent. `api` is `address:port` at which
    clients reach the host's API port when it lies behind a port forward.
    """

    address: str = ""
    user: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    identity: str | None = None
    api: str | None = Field(default=None, pattern=r"^[^:\s]+:\d+$")
    rails: tuple[Rail, ...] = ()
    links: tuple[Link, ...] = ()
    _name: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        return self._name

    @model_validator(mode="after")
    def _rules(self) -> Host:
        seen: set[str] = set()
        for item in self.interfaces:
            if item.interface in seen:
                raise ValueError(
                    f"interface {item.interface} is listed twice | One entry per interface."
                )
            seen.add(item.interface)
        for number, rail in enumerate(self.rails):
            for other in self.rails[:number]:
                if rail.device == other.device:
                    raise ValueError(
                        f"device {rail.device} is listed twice | "
                        f"Each half has its own RDMA device; see `rdma link show`."
                    )
                if rail.network.overlaps(other.network):
                    raise ValueError(
                        f"{rail.interface} ({rail.address}) and {other.interface} "
                        f"({other.address}) are in one subnet | Give each half of a port its own "
                        f"subnet: with both in one, the kernel answers for either address on "
                        f"either half, and RDMA connections fail at random."
                    )
        return self

    @property
    def interfaces(self) -> tuple[Managed, ...]:
        return (*self.rails, *self.links)

    @property
    def configured(self) -> tuple[Rail | Link, ...]:
        """Those that this program sets up."""
        return (*self.rails, *(link for link in self.links if link.managed))


class SshOptions(Document):
    """Paths are relative to the inventory's folder; absent, OpenSSH's defaults apply."""

    config: str | None = None
    known_hosts: str | None = None
    connect_timeout: float = Field(default=10.0, gt=0, le=300)


class Inventory(Document):
    """Everything that the program knows about a cluster before it connects."""

    version: int = Field(default=1, ge=1, le=1)
    ssh: SshOptions = SshOptions()
    hosts: Mapping[str, Host] = Field(min_length=1)
    groups: Mapping[str, tuple[str, ...]] = {}
    recipes: Mapping[str, str] = {}
    _path: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _tell_names(self) -> Inventory:
        for name, host in self.hosts.items():
            host._name = name
        return self

    @property
    def path(self) -> Path:
        return self._path

    def reachable_address(self, name: str) -> str:
        """What ssh connects to."""
        return self.hosts[name].address or name

    def peers(self, name: str, rail: Rail) -> list[tuple[str, Rail]]:
        """The other hosts' rails in the same subnet: what `rail` must reach."""
        return [
            (other_name, other)
            for other_name, host in self.hosts.items()
            if other_name != name
            for other in host.rails
            if other.network == rail.network
        ]
