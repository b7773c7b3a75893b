"""What is missing before a launch, and how long it will take to bring by what was seen. Pure.

The seconds come from earlier downloads and copies of the same kind, as the journals tell them; for
a first copy from the links' speed, as it was measured or as the NICs say it, and from what a host
can take in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from spark_cluster.core.strangers_json import objects
from spark_cluster.core.units import count

IMAGE, MODEL = "image", "model"
DOWNLOAD, COPY = "download", "copy"

#: Bytes of a container image with CUDA for each byte that is downloaded: gzip, by our guess.
UNPACKED = 2.2
#: Bytes a second that a host can take in when nothing was copied to it yet, by our guess: a model
#: is hashed and written in several streams, an image unpacked by docker in one.
_INTAKE = {MODEL: 1.5e9, IMAGE: 0.3e9}
#: So many of the newest moves count, and none that is so small that its start is most of it.
_NEWEST, _LEAST = 5, 1_000_000


@dataclass(frozen=True)
class Part:
    """Something that is missing: an `image` or a `model`, to be had by a `download` on a host, or
    by a `copy` from `source` to all `hosts` at once. `bytes`: to each host; None: not known."""

    what: str
    name: str
    way: str
    hosts: tuple[str, ...]
    source: str = ""
    bytes: int | None = None

    @property
    def total(self) -> int | None:
        return None if self.bytes is None else self.bytes * len(self.hosts)


@dataclass(frozen=True)
class Expected:
    """A part and how long it will take; `basis` says by what. None: there is nothing to go by."""

    part: Part
    seconds: float | None
    basis: str

    def as_data(self) -> dict[str, Any]:
        return {
            "what": self.part.what,
            "name": self.part.name,
            "way": self.part.way,
            "source": self.part.source,
            "hosts": list(self.part.hosts),
            "bytes": self.part.bytes,
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "basis": self.basis,
        }


@dataclass(frozen=True)
class Moved:
    """A download or a copy of an earlier run."""

    what: str
    way: str
    source: str
    host: str
    received: int
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.received / self.seconds


@dataclass(frozen=True)
class Experience:
    """What earlier runs tell: their `moves`, the newest first, and the Gb/s that were measured from
    host to host."""

    moves: tuple[Moved, ...] = ()
    links: Mapping[tuple[str, str], float] = field(default_factory=dict)


def experience(ends: Iterable[Mapping[str, Any]]) -> Experience:
    """From the `data` of earlier runs' ends, the newest first: those of `model`, `image`,
    `launch --prepare` and `verify-rdma --probe`. What cannot be read is passed over."""
    moves: list[Moved] = []
    links: dict[tuple[str, str], float] = {}
    for data in ends:
        for what in (IMAGE, MODEL):
            if isinstance(data.get(what), str):
                moves += _moves(what, data)
        for part in objects(data, "parts"):
            moves += _moves(str(part.get("what")), part)
        for pair, speed in _measured(data):
            links.setdefault(pair, speed)
    return Experience(tuple(moves), links)


def _moves(what: str, data: Mapping[str, Any]) -> Iterable[Moved]:
    """`took` of a preparation's part goes before a move's own seconds: it has the checking, too."""
    took = _amount(data.get("took"))
    for way, key, host in ((DOWNLOAD, "downloads", "host"), (COPY, "copies", "sink")):
        for row in objects(data, key):
            size, seconds = _amount(row.get("received_bytes")), _amount(row.get("seconds"))
            seconds = took or seconds
            if size >= _LEAST and seconds > 0:
                source = str(row.get("source", ""))
                yield Moved(what, way, source, str(row.get(host)), int(size), seconds)


def _measured(data: Mapping[str, Any]) -> Iterable[tuple[tuple[str, str], float]]:
    for row in objects(data, "copies"):
        if speed := _amount(row.get("iperf_gbits")):
            yield (str(row.get("source")), str(row.get("sink"))), speed
    found: dict[tuple[str, str], float] = {}
    for row in objects(data, "bandwidth"):  # each half, then both at once
        pair = (str(row.get("from")), str(row.get("to")))
        found[pair] = max(found.get(pair, 0.0), _amount(row.get("gbits")))
    yield from ((pair, speed) for pair, speed in found.items() if speed)


def _amount(value: object) -> float:
    """A number that can be one of ours, else 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if 0 < value < 1e18 else 0.0


def expect(part: Part, seen: Experience, wire: Callable[[str, str], float | None]) -> Expected:
    """How long a part will take. `wire`: Gb/s from host to host, as the NICs say, None: unknown."""
    rates = [_pace(part, host, seen, wire) for host in part.hosts]
    slowest, basis = min(rates, key=lambda rate: rate[0] or 0.0)
    if slowest is None:
        return Expected(part, None, basis)
    if part.bytes is None:
        return Expected(part, None, "its size is not known")
    return Expected(part, part.bytes / slowest, basis)


def _pace(
    part: Part, host: str, seen: Experience, wire: Callable[[str, str], float | None]
) -> tuple[float | None, str]:
    """Bytes a second to a host, and by what."""
    alike = [one for one in seen.moves if (one.what, one.way) == (part.what, part.way)]
    same = [one for one in alike if (one.source, one.host) == (part.source, host)]
    any_download = [one for one in seen.moves if one.way == part.way == DOWNLOAD]
    for moves in (same, alike, any_download):
        if newest := moves[:_NEWEST]:
            return median(one.rate for one in newest), f"from {count(len(newest), 'earlier move')}"
    if part.way == DOWNLOAD:
        return None, "nothing was downloaded from here before"
    intake = _INTAKE[part.what]
    measured, said = seen.links.get((part.source, host)), wire(part.source, host)
    link = measured or said
    if link is None:
        return intake, "a guess: nothing was copied from here before"
    how = "measured" if measured else "by its NICs"
    rate = min(intake, link * 1e9 / 8)
    limit = "its link" if rate < intake else "a guess of what the host takes in"
    return rate, f"{limit}; link {link:.3g} Gb/s {how}"


def total(parts: Sequence[Expected]) -> tuple[int | None, float | None]:
    """Bytes that travel, and seconds, of all parts one after the other; None if not known."""
    sizes = [one.part.total for one in parts]
    times = [one.seconds for one in parts]
    return (
        None if None in sizes else sum(size or 0 for size in sizes),
        None if None in times else sum(time or 0.0 for time in times),
    )


def needed(parts: Iterable[Part]) -> dict[str, int]:
    """Bytes that each host's disks must have free for what is known of the parts. docker has the
    packed layers and what they unpack to at once."""
    found: dict[str, int] = {}
    for part in parts:
        for host in part.hosts:
            size = part.bytes or 0
            if part.what == IMAGE and part.way == DOWNLOAD:
                size = int(size * (1 + UNPACKED))
            found[host] = found.get(host, 0) + size
    return found


def off(expected: float | None, took: float) -> float | None:
    """How far off a forecast was: 0.25 if it took a quarter longer. None if there was none."""
    return None if not expected else round(took / expected - 1, 3)
