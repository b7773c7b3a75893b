"""How fast a copy was, and what limited it: the disk, the CPU or the wire. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spark_cluster.core.units import count, human_bytes, human_seconds

#: Share of what it can do above which something counts as busy.
_BUSY = 0.8


def gbits(size: float, seconds: float) -> float:
    """Bytes in seconds as Gb/s (10^9 bits)."""
    return size * 8 / seconds / 1e9 if seconds > 0 else 0.0


@dataclass(frozen=True)
class Usage:
    """What a node's own side was busy with. `cpu`: cores; `disk`: share of the time in which the
    disk had work; `read` and `written`: bytes a second. None: not known."""

    cpu: float | None = None
    disk: float | None = None
    read: float | None = None
    written: float | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Usage:
        values = {name: said.get(name) for name in ("cpu", "disk", "read", "written")}
        return cls(**{k: float(v) for k, v in values.items() if isinstance(v, int | float)})


@dataclass(frozen=True)
class Copied:
    """One copy as both sides saw it.

    `received` and `there` are bytes over the wire and bytes that the sink had, `placed` the links
    and refs that were set. `spent` is how many seconds its streams received, hashed and wrote,
    added up. `wire` is the links' own speed and `iperf` what iperf3 reached, in Gb/s, None if not
    known.
    """

    source: str
    sink: str
    received: int
    there: int
    placed: int
    seconds: float
    streams: int
    spent: Mapping[str, float] = field(default_factory=dict)
    at_source: Usage = Usage()
    at_sink: Usage = Usage()
    wire: float | None = None
    iperf: float | None = None

    @property
    def gbits(self) -> float:
        return gbits(self.received, self.seconds)

    @property
    def limit(self) -> str:
        """What kept it from being faster, in words; empty if nothing was copied."""
        if not self.received:
            return ""
        known = [amount for amount in (self.iperf, self.wire) if amount]
        if known and self.gbits >= _BUSY * known[0]:
            return "the wire"
        most = max(self.spent, key=lambda name: self.spent[name], default="receive")
        if most == "write":
            return f"the disk of {self.sink} (writing)"
        if most == "hash":
            return f"the CPU of {self.sink} (hashing)"
        if (self.at_source.disk or 0) >= _BUSY:
            return f"the disk of {self.source} (reading)"
        if (self.at_source.cpu or 0) >= _BUSY * self.streams:
            return f"the CPU of {self.source} (sending)"
        return f"the wire, or {self.source}: {self.sink} waited for data"

    @property
    def summary(self) -> str:
        """`117 GiB in 62 s, 16.2 Gb/s (iperf3 98 Gb/s); limit: the disk of spark-3 (writing)`."""
        if not self.received:
            placed = f"; {count(self.placed, 'link')} set" if self.placed else ""
            return f"{human_bytes(self.there)} were there already{placed}"
        beside = []
        if self.iperf is not None:
            beside.append(f"iperf3 {self.iperf:.3g} Gb/s")
        if self.wire is not None:
            beside.append(f"link {self.wire:.3g} Gb/s")
        compared = f" ({', '.join(beside)})" if beside else ""
        return (
            f"{human_bytes(self.received)} in {human_seconds(self.seconds)}, "
            f"{self.gbits:.3g} Gb/s{compared}; limit: {self.limit}"
        )

    @property
    def details(self) -> tuple[str, ...]:
        """The numbers behind the limit, for a person."""
        total = sum(self.spent.values())
        parts = [
            f"{name} {100 * seconds / total:.0f} %" for name, seconds in self.spent.items() if total
        ]
        return (
            f"{self.sink}: its {self.streams} streams spent {', '.join(parts)} of their time; "
            f"{_usage(self.at_sink, 'written')}",
            f"{self.source}: {_usage(self.at_source, 'read')}",
        )

    def as_data(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "sink": self.sink,
            "received_bytes": self.received,
            "present_bytes": self.there,
            "links_set": self.placed,
            "seconds": round(self.seconds, 3),
            "gbits": round(self.gbits, 3),
            "streams": self.streams,
            "wire_gbits": self.wire,
            "iperf_gbits": self.iperf,
            "limit": self.limit,
            "spent_seconds": {name: round(value, 3) for name, value in self.spent.items()},
            "source_usage": vars(self.at_source),
            "sink_usage": vars(self.at_sink),
        }


@dataclass(frozen=True)
class Downloaded:
    """What a host got from a hub or a registry: bytes that came, in seconds with their checking."""

    host: str
    received: int
    seconds: float

    @property
    def summary(self) -> str:
        """`9.5 GiB in 15 min 02 s, 0.09 Gb/s`."""
        rate = gbits(self.received, self.seconds)
        size = human_bytes(self.received)
        return f"{size} in {human_seconds(self.seconds)}, {rate:.3g} Gb/s"

    def as_data(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "received_bytes": self.received,
            "seconds": round(self.seconds, 3),
        }


@dataclass
class Pace:
    """Turns what a program says of its progress into words; it remembers where a phase began."""

    _phase: str | None = None
    _bytes: int = 0
    _seconds: float = 0.0

    def text(self, said: Mapping[str, Any], seconds: float) -> str:
        """`verify 12 GiB of 117 GiB, 9.8 Gb/s, 1 min 05 s left`; `seconds` since it started."""
        done, total, phase = said.get("bytes"), said.get("total"), str(said.get("phase", ""))
        if not isinstance(done, int) or not isinstance(total, int):
            return "starting"
        if phase != self._phase:
            self._phase, self._bytes, self._seconds = phase, done, seconds
        text = f"{phase} {human_bytes(done)} of {human_bytes(total)}".strip()
        moved, spent = done - self._bytes, seconds - self._seconds
        if moved <= 0 or spent <= 0 or total <= done:
            return text
        left = human_seconds((total - done) * spent / moved)
        return f"{text}, {gbits(moved, spent):.3g} Gb/s, {left} left"


def _usage(usage: Usage, way: str) -> str:
    parts = [f"{usage.cpu:.1f} cores busy" if usage.cpu is not None else "CPU unknown"]
    moved = usage.written if way == "written" else usage.read
    if usage.disk is None or moved is None:
        parts.append("disk unknown")
    else:
        parts.append(f"disk busy {100 * usage.disk:.0f} %, {human_bytes(moved)}/s {way}")
    return ", ".join(parts)


def iperf_gbits(text: str) -> float | None:
    """The received rates of `iperf3 --json`, one line a client, added up in Gb/s; None if one of
    them gives none."""
    try:
        ends = [json.loads(line)["end"]["sum_received"] for line in text.strip().split("\n")]
        return sum(float(end["bits_per_second"]) for end in ends) / 1e9 if ends else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
