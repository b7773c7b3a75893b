"""The counters that RDMA drivers keep: what each means, how wide it is, and what its growth says.
The table is counters.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from spark_cluster.core.data_files import NO_OTHER_KEYS, DataTable, read_yaml


class Growth(StrEnum):
    """What growth during a run means.

    fail    packets were lost or a connection broke: the verdict is `degraded`
    warn    told; `degraded` only when it is frequent (see `Counter.loss`)
    benign  normal, above all while a job ends
    """

    FAIL = "fail"
    WARN = "warn"
    BENIGN = "benign"


@dataclass(frozen=True)
class Counter:
    """A counter that is no traffic. `loss`: it grows once per lost or repeated packet."""

    name: str
    severity: Growth
    meaning: str
    loss: bool = False


@dataclass(frozen=True)
class _File:
    __pydantic_config__ = NO_OTHER_KEYS
    fail: dict[str, str]
    warn: dict[str, str]
    benign: dict[str, str]
    loss: frozenset[str]
    saturating_bits: dict[str, int]


@cache
def _file() -> _File:
    return read_yaml(_File, "spark_cluster.rdma", "counters.yaml")


def _counters() -> dict[str, Counter]:
    file = _file()
    return {
        name: Counter(name, severity, meaning, loss=name in file.loss)
        for severity, meanings in zip(Growth, (file.fail, file.warn, file.benign), strict=True)
        for name, meaning in meanings.items()
    }


#: Every counter that is not traffic, by name. A name that is missing here is kept in `raw` only.
ERROR_COUNTERS: Mapping[str, Counter] = DataTable(_counters)

#: Bits of the counters in `counters/` that stop at their highest value instead of wrapping.
SATURATING_BITS: Mapping[str, int] = DataTable(lambda: _file().saturating_bits)

#: mlx5's hw_counters are 32-bit q-counters; rxe's are 64-bit (atomic64_t).
MLX5_HW_BITS = 32
WIDE_BITS = 64

#: `port_xmit_data` and `port_rcv_data` count units of four octets (IBTA PortCounters).
OCTETS_PER_UNIT = 4


def severity(name: str) -> Growth:
    """What growth of `name` means; an unknown counter is benign, since it may count anything."""
    counter = ERROR_COUNTERS.get(name)
    return counter.severity if counter else Growth.BENIGN


def meaning(name: str) -> str:
    """What `name` counts, in a few words; empty if it is not in the tables."""
    counter = ERROR_COUNTERS.get(name)
    return counter.meaning if counter else ""
