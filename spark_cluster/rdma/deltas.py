"""What happened between two readings: traffic, errors, and whether the two compare at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypedDict

from spark_cluster.rdma.counter_names import (
    ERROR_COUNTERS,
    MLX5_HW_BITS,
    OCTETS_PER_UNIT,
    SATURATING_BITS,
    WIDE_BITS,
)
from spark_cluster.rdma.counters import (
    CounterReading,
    Driver,
    NetdevCounters,
    RdmaCounters,
    Source,
)


class Incomparable(Enum):
    """Why two readings of a device do not compare; the text goes on after the device's name."""

    NOT_READ_AFTER = "was not read the second time"
    NOT_READ_BEFORE = "was not read the first time"
    VANISHED = "vanished between the two readings"
    APPEARED = "appeared between the two readings"
    NO_COUNTERS = "has no traffic counters that this program knows"
    OTHER_COUNTERS = "changed its counters between the two readings"
    RESET = "was reset between the two readings: a counter fell"
    REBOOTED = "was reset: the host rebooted"

    @property
    def text(self) -> str:
        return self.value


@dataclass(frozen=True)
class RdmaDelta:
    """One device between two readings.

    `problem`: why the readings do not compare; the traffic is then None. `absent`:
    the device was there in neither reading, so it carried nothing. `errors` holds what grew;
    `at_least` names those among them that stand at their highest value; `full` names those that
    stood there before, so that their growth does not show.
    """

    device: str
    source: Source
    xmit_bytes: int | None = None
    rcv_bytes: int | None = None
    xmit_packets: int | None = None
    rcv_packets: int | None = None
    errors: dict[str, int] = field(default_factory=dict)
    at_least: frozenset[str] = frozenset()
    full: frozenset[str] = frozenset()
    problem: Incomparable | None = None
    absent: bool = False
    state: str = ""
    driver: Driver = "unknown"
    netdev: str | None = None


@dataclass(frozen=True)
class NetdevDelta:
    """A netdev between two readings; None where it does not compare. `mtu` in bytes."""

    netdev: str
    tx_bytes: int | None
    rx_bytes: int | None
    tx_packets: int | None
    rx_packets: int | None
    mtu: int | None = None


@dataclass(frozen=True)
class CounterDelta:
    """A host between two readings. `seconds` by the host's clock; None if it was not read.

    `rebooted`: the uptime went backwards, so that no counter compares.
    """

    seconds: float | None
    devices: dict[str, RdmaDelta]
    netdevs: dict[str, NetdevDelta]
    rebooted: bool = False


def growth(before: int, after: int, bits: int, *, saturating: bool = False) -> int | None:
    """How much a counter of `bits` bits grew; None if it was reset instead.

    A wrapping counter that fell has wrapped if that makes the growth less than half its range, and
    was reset otherwise: no counter of ours goes half way round between two readings. A saturating
    counter never wraps.
    """
    if after >= before:
        return after - before
    if saturating:
        return None
    wrapped = after + (1 << bits) - before
    return wrapped if 0 <= wrapped < 1 << (bits - 1) else None


def _width(key: str, driver: Driver) -> tuple[int, bool]:
    """Bits of a raw counter and whether it saturates."""
    folder, _, name = key.partition("/")
    if folder == "counters":
        if name in SATURATING_BITS:
            return SATURATING_BITS[name], True
        return WIDE_BITS, False
    return (MLX5_HW_BITS if driver == "mlx5" else WIDE_BITS), False


#: Traffic counters, the driver's name for each: sysfs key -> field of RdmaDelta.
_TRAFFIC = {
    "octets": {
        "counters/port_xmit_data": "xmit_bytes",
        "counters/port_rcv_data": "rcv_bytes",
        "counters/port_xmit_packets": "xmit_packets",
        "counters/port_rcv_packets": "rcv_packets",
    },
    "packets": {
        "hw_counters/sent_pkts": "xmit_packets",
        "hw_counters/rcvd_pkts": "rcv_packets",
    },
    "none": {},
}


def _traffic(before: RdmaCounters, after: RdmaCounters) -> dict[str, int] | None:
    """Bytes and packets by field name; None if any counter was reset."""
    grown: dict[str, int] = {}
    for key, name in _TRAFFIC[after.source].items():
        if key not in before.raw or key not in after.raw:
            continue
        more = growth(before.raw[key], after.raw[key], _width(key, after.driver)[0])
        if more is None:
            return None
        grown[name] = more * (OCTETS_PER_UNIT if name.endswith("bytes") else 1)
    return grown


class _Errors(TypedDict):
    errors: dict[str, int]
    at_least: frozenset[str]
    full: frozenset[str]


def _errors(before: RdmaCounters, after: RdmaCounters) -> _Errors:
    grown: dict[str, int] = {}
    at_top: dict[bool, set[str]] = {True: set(), False: set()}
    for key, value in after.raw.items():
        name = key.partition("/")[2]
        if name not in ERROR_COUNTERS or key not in before.raw:
            continue
        bits, saturating = _width(key, after.driver)
        more = growth(before.raw[key], value, bits, saturating=saturating)
        if more is None:  # reset by hand (`perfquery -R`): what stands there came since
            more = value
        if more:
            grown[name] = grown.get(name, 0) + more
        if saturating and value == (1 << bits) - 1:
            at_top[more > 0].add(name)
    return {
        "errors": grown,
        "at_least": frozenset(at_top[True]),
        "full": frozenset(at_top[False]),
    }


def _incomparable(before: RdmaCounters | None, after: RdmaCounters | None) -> Incomparable | None:
    if after is None:
        return Incomparable.NOT_READ_AFTER
    if before is None:
        return Incomparable.NOT_READ_BEFORE
    if before.present and not after.present:
        return Incomparable.VANISHED
    if after.present and not before.present:
        return Incomparable.APPEARED
    if after.present and (before.source == "none" or after.source == "none"):
        return Incomparable.NO_COUNTERS
    if before.source != after.source:
        return Incomparable.OTHER_COUNTERS
    return None


def device_delta(name: str, before: RdmaCounters | None, after: RdmaCounters | None) -> RdmaDelta:
    """One device between two readings; either may be missing."""
    found = RdmaDelta(name, "none")
    if after is not None:
        found = RdmaDelta(name, after.source, state=after.state, driver=after.driver)
    problem = _incomparable(before, after)
    if before is None or after is None or problem:
        return replace(found, problem=problem)
    if not after.present:
        return replace(found, absent=True)
    found = replace(found, netdev=after.netdev)
    traffic = _traffic(before, after)
    if traffic is None:
        return replace(found, problem=Incomparable.RESET)
    return replace(
        found,
        xmit_bytes=traffic.get("xmit_bytes"),
        rcv_bytes=traffic.get("rcv_bytes"),
        xmit_packets=traffic.get("xmit_packets"),
        rcv_packets=traffic.get("rcv_packets"),
        **_errors(before, after),
    )


def _more(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else growth(before, after, WIDE_BITS)


def netdev_delta(before: NetdevCounters, after: NetdevCounters) -> NetdevDelta:
    """A netdev between two readings. Its statistics are 64-bit (rtnl_link_stats64)."""
    return NetdevDelta(
        after.netdev,
        _more(before.tx_bytes, after.tx_bytes),
        _more(before.rx_bytes, after.rx_bytes),
        _more(before.tx_packets, after.tx_packets),
        _more(before.rx_packets, after.rx_packets),
        after.mtu,
    )


def _names(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    return list(dict.fromkeys([*before, *after]))


def delta(before: CounterReading, after: CounterReading) -> CounterDelta:
    """What the host's counters did between two readings.

    Two readings closer together than the driver's `lifespan` may show no growth although there was
    traffic; callers make traffic for far longer than its 12 ms.
    """
    seconds = None
    if before.uptime is not None and after.uptime is not None:
        seconds = after.uptime - before.uptime
    rebooted = seconds is not None and seconds < 0
    devices = {
        name: device_delta(name, before.devices.get(name), after.devices.get(name))
        for name in _names(before.devices, after.devices)
    }
    if rebooted:
        devices = {
            name: RdmaDelta(name, item.source, problem=Incomparable.REBOOTED)
            for name, item in devices.items()
        }
    netdevs = {
        name: netdev_delta(before.netdevs[name], after.netdevs[name])
        for name in after.netdevs
        if name in before.netdevs and not rebooted
    }
    return CounterDelta(None if rebooted else seconds, devices, netdevs, rebooted)
