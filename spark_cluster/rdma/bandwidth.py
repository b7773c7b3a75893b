"""What bandwidth a link should have, what it has, what it had: the judgement of a probe. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from spark_cluster.core import finding as core
from spark_cluster.core.strangers_json import loads, mapping, objects


@dataclass(frozen=True)
class Expectation:
    """Gb/s. `half` and `both` are what good hardware reaches; below a `floor` it is a finding.

    `spread`: the factor by which the halves between two hosts may differ; None: not judged.
    """

    half: float
    both: float
    half_floor: float
    both_floor: float
    spread: float | None = None


#: Gb/s of a link whose two halves were measured: 92 to 112 a half, 161 to 212 both.
_FULL_LINK = 200.0


def expectation(driver: str, link: float | None) -> Expectation | None:
    """For a kernel driver and the link's speed in Gb/s; None for hardware that we do not know.

    mlx5 at 200 Gb/s: each half is PCIe Gen5 x4, 92 to 112 Gb/s were seen, 12.9 to 13.2 on a bad
    unit. rxe is software: there only a standstill, and unequal halves, mean something, and both
    halves share the CPU.
    """
    if driver == "rxe":
        return Expectation(0.01, 0.005, 0.01, 0.005, spread=4.0)
    if driver.startswith("mlx5"):
        scale = min(1.0, (link or _FULL_LINK) / _FULL_LINK)
        return Expectation(85 * scale, 170 * scale, 42.5 * scale, 119 * scale)
    return None


@dataclass(frozen=True)
class Earlier:
    """What an earlier run measured; `when` is its ISO time in UTC."""

    gbits: float
    when: str

    def __str__(self) -> str:
        return f"{amount(self.gbits)} Gb/s on {self.when[:10]}"


@dataclass(frozen=True)
class Row:
    """One measurement: `source` writes to `sink`. `parts` are the Gb/s of each rail; `rails` are
    the source's interfaces, `peer_rails` the sink's.

    `state` is good, low (under what is expected, no finding), bad, failed or unknown.
    """

    source: str
    sink: str
    rails: tuple[str, ...]
    parts: tuple[float, ...] = ()
    expected: Expectation | None = None
    before: Earlier | None = None
    notes: tuple[str, ...] = ()
    state: str = "unknown"
    peer_rails: tuple[str, ...] = ()

    @property
    def gbits(self) -> float | None:
        return sum(self.parts) if self.parts else None

    @property
    def is_both(self) -> bool:
        return len(self.rails) > 1

    @property
    def wanted(self) -> float | None:
        if self.expected is None:
            return None
        return self.expected.both if self.is_both else self.expected.half

    @property
    def name(self) -> str:
        return f"{self.source} to {self.sink} over {' + '.join(self.rails)}"


@dataclass(frozen=True)
class Finding(core.Finding):
    """What is wrong between two hosts."""

    hosts: tuple[str, ...]


def amount(gbits: float) -> str:
    """`111`, `12.9`, `0.55`: as many digits as mean something."""
    return f"{gbits:.0f}" if gbits >= 100 else f"{gbits:.3g}"


def judge(rows: Sequence[Row]) -> tuple[list[Row], list[Finding]]:
    """The rows with their states, and what is wrong with the link."""
    judged = [replace(row, state=_state(row, rows)) for row in rows]
    return judged, [found for row in judged if (found := _finding(row)) is not None]


def _state(row: Row, rows: Sequence[Row]) -> str:
    if row.gbits is None:
        return "failed"
    if row.expected is None or row.wanted is None:
        return "unknown"
    floor = row.expected.both_floor if row.is_both else row.expected.half_floor
    if row.gbits < floor or _lags(row, rows):
        return "bad"
    return "good" if row.gbits >= row.wanted else "low"


def _lags(row: Row, rows: Sequence[Row]) -> bool:
    """Whether this half, at its better direction, is behind another of the same two hosts by more
    than the spread. One direction alone says little where software and emulation share a CPU."""
    spread = row.expected.spread if row.expected else None
    if spread is None or row.is_both or row.gbits is None:
        return False
    best: dict[frozenset[tuple[str, str]], float] = {}
    mine: frozenset[tuple[str, str]] = frozenset()
    for other in rows:
        if {other.source, other.sink} == {row.source, row.sink} and other.gbits is not None:
            half = _half(other)
            mine = half if other is row else mine
            if not other.is_both:
                best[half] = max(best.get(half, 0.0), other.gbits)
    return max(best.values()) > best[mine] * spread


def _half(row: Row) -> frozenset[tuple[str, str]]:
    """Both ends of a half, whichever way it was measured."""
    here = zip((row.source,) * len(row.rails), row.rails, strict=True)
    there = zip((row.sink,) * len(row.peer_rails), row.peer_rails, strict=True)
    return frozenset((*here, *there))


def _finding(row: Row) -> Finding | None:
    hosts = (row.source, row.sink)
    if row.state == "failed":
        why = "; ".join(row.notes) or "no result"
        return Finding("RDMA021", f"{row.name}: not measured: {why}", hosts)
    if row.state != "bad" or row.gbits is None or row.wanted is None:
        return None
    what = f"{row.name}: {amount(row.gbits)} Gb/s, at least {amount(row.wanted)} expected"
    if row.gbits >= row.wanted:
        what = f"{row.name}: {amount(row.gbits)} Gb/s, far less than the other halves"
    if row.before is not None:
        rest = what.partition(" Gb/s")[2]
        what = f"{row.name}: was {row.before}, is {amount(row.gbits)} Gb/s{rest}"
    return Finding("RDMA022" if row.is_both else "RDMA020", what, hosts)


# Remembering

#: From, to, rails: what a measurement is known by in later runs.
Key = tuple[str, str, tuple[str, ...]]


def as_data(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as the journal keeps them and `--json` prints them. Gb/s."""
    return [
        {
            "from": row.source,
            "to": row.sink,
            "rails": list(row.rails),
            "gbits": round(row.gbits, 4) if row.gbits is not None else None,
            "parts": [round(part, 4) for part in row.parts],
            "expected": row.wanted,
            "state": row.state,
            "before": {"gbits": row.before.gbits, "when": row.before.when} if row.before else None,
            "notes": list(row.notes),
        }
        for row in rows
    ]


def earlier(journals: Iterable[str], inventory: str, verb: str) -> dict[Key, Earlier]:
    """The newest measurement of each kind in earlier runs of `verb` on this inventory.

    `journals` are the texts of journal files, newest first. What cannot be read is passed over.
    """
    found: dict[Key, Earlier] = {}
    for text in journals:
        entries = [mapping(loads(line)) for line in text.split("\n")]
        begun = next((entry for entry in entries if entry.get("kind") == "run_started"), {})
        if begun.get("inventory") != inventory:
            continue
        for entry in entries:
            if entry.get("kind") == "run_finished" and entry.get("verb") == verb:
                for key, value in _measured(entry):
                    found.setdefault(key, value)
    return found


def _measured(entry: Mapping[str, Any]) -> list[tuple[Key, Earlier]]:
    found: list[tuple[Key, Earlier]] = []
    for row in objects(mapping(entry, "data"), "bandwidth"):
        rails, gbits = row.get("rails"), row.get("gbits")
        if not isinstance(rails, list) or isinstance(gbits, bool):
            continue
        if isinstance(gbits, int | float):
            key = (str(row.get("from")), str(row.get("to")), tuple(map(str, rails)))
            found.append((key, Earlier(float(gbits), str(entry.get("time", "")))))
    return found
