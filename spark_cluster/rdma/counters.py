"""Readings of the RDMA counters of a host: the script that prints them and its parser.

The script starts one process (`grep`) however many devices there are; the rest is the shell's own.
Its lines are `path:value`, as `grep -H .` prints them, besides a few that start with `rdma:`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from spark_cluster.core.shell import quote
from spark_cluster.core.units import decimal, number
from spark_cluster.rdma.counter_names import ERROR_COUNTERS, OCTETS_PER_UNIT

Source = Literal["octets", "packets", "none"]
Driver = Literal["mlx5", "rxe", "unknown"]

#: The statistics that are read of a netdev.
NETDEV_STATISTICS = ("tx_bytes", "rx_bytes", "tx_packets", "rx_packets")


@dataclass(frozen=True)
class RdmaCounters:
    """One device, port 1.

    `state` is sysfs's word without its number, such as `ACTIVE`; empty if unknown. Bytes and
    packets are None where the driver does not count them; `source` says what the proof can rest
    on. `errors` holds the counters that `counter_names` knows and that are not traffic; `raw` holds
    everything, keyed `counters/NAME` or `hw_counters/NAME`.
    """

    device: str
    present: bool
    state: str = ""
    xmit_bytes: int | None = None
    rcv_bytes: int | None = None
    xmit_packets: int | None = None
    rcv_packets: int | None = None
    errors: dict[str, int] = field(default_factory=dict)
    raw: dict[str, int] = field(default_factory=dict)
    source: Source = "none"
    driver: Driver = "unknown"
    netdev: str | None = None
    rate: str = ""


@dataclass(frozen=True)
class NetdevCounters:
    """A netdev's own statistics; None where one could not be read. `mtu` in bytes."""

    netdev: str
    present: bool
    tx_bytes: int | None = None
    rx_bytes: int | None = None
    tx_packets: int | None = None
    rx_packets: int | None = None
    mtu: int | None = None


@dataclass(frozen=True)
class CounterReading:
    """A host's counters at one moment. `uptime` in seconds since boot: the host's own clock."""

    uptime: float | None
    devices: dict[str, RdmaCounters]
    netdevs: dict[str, NetdevCounters]


def _device_globs(sys: str, device: str) -> str:
    base = f"{sys}/class/infiniband/{quote(device)}"
    port = f"{base}/ports/1"
    return (
        f"{port}/state {port}/rate {port}/counters/* {port}/hw_counters/* "
        f"{base}/parent {base}/device/uevent {base}/device/net/*/ifindex"
    )


def _netdev_globs(sys: str, netdev: str) -> str:
    base = f"{sys}/class/net/{quote(netdev)}"
    statistics = " ".join(f"{base}/statistics/{name}" for name in NETDEV_STATISTICS)
    return f"{statistics} {base}/mtu"


def probe_script(
    devices: Sequence[str],
    netdevs: Sequence[str],
    *,
    sys: str = "/sys",
    uptime: str = "/proc/uptime",
) -> str:
    """Shell that prints the counters of `devices` (port 1) and `netdevs`, and the uptime.

    It always ends well: what is not there is stated or left out. `sys` and `uptime` are for tests.
    """
    lines = [f"if read -r _up _idle <{quote(uptime)}; then echo rdma:uptime:$_up; fi"]
    for kind, folder, names in (
        ("device", "infiniband", devices),
        ("netdev", "net", netdevs),
    ):
        for name in names:
            path = f"{sys}/class/{folder}/{quote(name)}"
            lines.append(
                f"if [ -e {path} ]; then echo rdma:present-{kind}:{quote(name)}; "
                f"else echo rdma:missing-{kind}:{quote(name)}; fi"
            )
    globs = [_device_globs(sys, device) for device in devices]
    globs += [_netdev_globs(sys, netdev) for netdev in netdevs]
    if globs:
        files = " \\\n  ".join(globs)
        lines.append(f"grep -sH . \\\n  {files} </dev/null || :")
    return "\n".join(lines) + "\n"


_PORT_LINE = re.compile(r"/class/infiniband/([^/]+)/ports/1/((?:hw_)?counters)/([^/:]+):(.*)$")
_PORT_WORD = re.compile(r"/class/infiniband/([^/]+)/ports/1/(state|rate):(.*)$")
_DEVICE_NET = re.compile(r"/class/infiniband/([^/]+)/device/net/([^/]+)/ifindex:")
_DEVICE_FILE = re.compile(r"/class/infiniband/([^/]+)/(parent|device/uevent):(.*)$")
_NET_LINE = re.compile(
    rf"/class/net/([^/]+)/(?:statistics/({'|'.join(NETDEV_STATISTICS)})|(mtu)):(.*)$"
)
_OWN_LINE = re.compile(r"^rdma:(uptime|(?:present|missing)-(?:device|netdev)):(.*)$")


@dataclass
class _Device:
    """What the lines say of one device, before it is understood."""

    present: bool = True
    values: dict[str, int] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    driver: Driver = "unknown"
    netdev: str | None = None


@dataclass
class _Lines:
    uptime: float | None = None
    devices: dict[str, _Device] = field(default_factory=dict)
    netdevs: dict[str, dict[str, int]] = field(default_factory=dict)
    missing_netdevs: set[str] = field(default_factory=set)

    def device(self, name: str) -> _Device:
        return self.devices.setdefault(name, _Device())


def _own_line(lines: _Lines, word: str, value: str) -> None:
    value = value.strip()
    if word == "uptime":
        lines.uptime = decimal(value)
    elif word.endswith("device"):
        lines.device(value).present = word == "present-device"
    elif word == "present-netdev":
        lines.netdevs.setdefault(value, {})
    else:
        lines.missing_netdevs.add(value)


def _device_file(device: _Device, name: str, value: str) -> None:
    """`parent` is rxe's own and names the netdev; a PCI device's uevent names its driver."""
    if name == "parent":
        device.driver, device.netdev = "rxe", value.strip() or None
    elif value.startswith("DRIVER=mlx5"):
        device.driver = "mlx5"


def _read_line(lines: _Lines, line: str) -> None:
    if own := _OWN_LINE.match(line):
        _own_line(lines, own[1], own[2])
    elif found := _PORT_LINE.search(line):
        value = number(found[4])
        if value is not None:
            lines.device(found[1]).values[f"{found[2]}/{found[3]}"] = value
    elif found := _PORT_WORD.search(line):
        lines.device(found[1]).words[found[2]] = found[3].strip()
    elif found := _DEVICE_NET.search(line):
        device = lines.device(found[1])
        device.netdev = device.netdev or found[2]
    elif found := _DEVICE_FILE.search(line):
        _device_file(lines.device(found[1]), found[2], found[3])
    elif found := _NET_LINE.search(line):
        value = number(found[4])
        if value is not None:
            lines.netdevs.setdefault(found[1], {})[found[2] or found[3]] = value


def _octets(units: int | None) -> int | None:
    return None if units is None else units * OCTETS_PER_UNIT


def _source(values: Mapping[str, int]) -> Source:
    if "counters/port_xmit_data" in values and "counters/port_rcv_data" in values:
        return "octets"
    if "hw_counters/sent_pkts" in values and "hw_counters/rcvd_pkts" in values:
        return "packets"
    return "none"


def _driver(device: _Device) -> Driver:
    if device.driver == "unknown" and "hw_counters/sent_pkts" in device.values:
        return "rxe"
    return device.driver


def _errors(values: Mapping[str, int]) -> dict[str, int]:
    """The known counters by bare name. Where both folders have one, hw_counters' is added."""
    errors: dict[str, int] = {}
    for key, value in values.items():
        name = key.partition("/")[2]
        if name in ERROR_COUNTERS:
            errors[name] = errors.get(name, 0) + value
    return errors


def _rdma_counters(name: str, device: _Device) -> RdmaCounters:
    if not device.present:
        return RdmaCounters(name, present=False)
    get = device.values.get
    source = _source(device.values)
    packets = ("counters/port_xmit_packets", "counters/port_rcv_packets")
    if source == "packets":
        packets = ("hw_counters/sent_pkts", "hw_counters/rcvd_pkts")
    return RdmaCounters(
        device=name,
        present=True,
        state=device.words.get("state", "").rpartition(":")[2].strip(),
        xmit_bytes=_octets(get("counters/port_xmit_data")),
        rcv_bytes=_octets(get("counters/port_rcv_data")),
        xmit_packets=get(packets[0]),
        rcv_packets=get(packets[1]),
        errors=_errors(device.values),
        raw=dict(device.values),
        source=source,
        driver=_driver(device),
        netdev=device.netdev,
        rate=device.words.get("rate", ""),
    )


def parse(text: str) -> CounterReading:
    """What `probe_script` printed. Lines that are not understood are passed over."""
    lines = _Lines()
    for line in text.split("\n"):
        _read_line(lines, line)
    netdevs = {
        name: NetdevCounters(name, present=True, **values) for name, values in lines.netdevs.items()
    }
    for name in lines.missing_netdevs - set(netdevs):
        netdevs[name] = NetdevCounters(name, present=False)
    devices = {name: _rdma_counters(name, device) for name, device in lines.devices.items()}
    return CounterReading(lines.uptime, devices, netdevs)
