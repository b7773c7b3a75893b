"""All-reduces in a recipe's image, as its ranks time them: what the network gave, and whether that
is what its links give. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from spark_cluster.core.strangers_json import loads, mapping
from spark_cluster.core.units import human_bytes
from spark_cluster.rdma.bandwidth import Finding, Row, amount
from spark_cluster.rdma.evidence import Rank, Work
from spark_cluster.rdma.volume import Need

#: Begins the script's own lines (engines/files/allreduce.py).
MARK = "spark-cluster-collective"

KIB, MIB, GIB = 2**10, 2**20, 2**30

#: Bytes of an all-reduce: what a token of a large model needs, up to what fills the link. Never
#: more than 1 GiB: one of 16 GiB is reported to have frozen a Spark.
SIZES = (16 * KIB, 256 * KIB, 4 * MIB, 64 * MIB, GIB)

#: Of what the links give, below which the collective is called slow. NCCL reaches nine tenths of a
#: half (98 of 111 Gb/s, both halves 161 of 200, as users measured); a seventh is what they report
#: where it is not the links' fault (3 GB/s with everything set right; 21 GB/s that fell to 2.8).
SLOW = 0.5

#: Gb/s below which a link is software, whose collective the CPU limits.
_SOFTWARE = 1.0

#: Sizes below tell the latency, not the bandwidth.
_LARGE = 4 * MIB

_MOST = 1e15


@dataclass(frozen=True)
class Timed:
    """`calls` all-reduces of `bytes` each, `seconds` of one on the slowest rank. `bus_gbits`: bits
    that each rank's link must carry each way, by that time (10^9 bits; nccl-tests' busbw x 8).
    `right`: the sum was the ranks' sum."""

    bytes: int
    calls: int
    seconds: float
    bus_gbits: float
    right: bool


@dataclass(frozen=True)
class Said:
    """What a rank's script said. `moved` and `calls`: bytes of all its all-reduces and their
    number, None if it did not come to its end."""

    sizes: tuple[Timed, ...] = ()
    torch: str = ""
    ranks: int | None = None
    moved: int | None = None
    calls: int | None = None


def share(ranks: int) -> float:
    """Of an all-reduce's bytes, what each rank of a ring sends, and receives."""
    return 2 * (ranks - 1) / ranks


def parse(log: str, ranks: int) -> Said:
    """A rank's log; what is not the script's own is passed over."""
    found = [mapping(loads(line.split(" ", 1)[1])) for line in log.splitlines()
             if line.startswith(f"{MARK} ")]  # fmt: skip
    sizes = [timed for data in found if (timed := _timed(data, ranks)) is not None]
    begun = next((data for data in found if "torch" in data), {})
    ended = next((data for data in found if "moved" in data), {})
    return Said(
        tuple(sizes),
        str(begun.get("torch") or "")[:64],
        _count(begun.get("ranks")),
        _count(ended.get("moved")),
        _count(ended.get("total")),
    )


def _timed(data: Mapping[str, object], ranks: int) -> Timed | None:
    size, calls = _count(data.get("bytes")), _count(data.get("calls"))
    seconds = data.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not size or not calls:
        return None
    if not math.isfinite(seconds) or not 0 < seconds <= _MOST:
        return None
    rate = size * share(ranks) * 8 / 1e9 / seconds
    return Timed(size, calls, float(seconds), rate, data.get("right") is True)


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST
    return value if is_count and isinstance(value, int) else None


def peak(sizes: Sequence[Timed]) -> Timed | None:
    """The size with the most bandwidth."""
    return max(sizes, key=lambda timed: timed.bus_gbits, default=None)


def work(said: Said, seconds: float) -> Work:
    """What the counters are compared with: collectives, in place of tokens."""
    return Work(said.calls, seconds, noun="collective", made="made", needs="a ring needs")


def with_need(rank: Rank, said: Said, ranks: int) -> Rank:
    """The rank with what a collective makes it send and receive on average."""
    if not said.calls or not said.moved:
        return rank
    each = said.moved * share(ranks) / said.calls
    return Rank(rank.host, rank.rank, rank.rails, Need(each, each))


@dataclass(frozen=True)
class Link:
    """What `--probe` measured of the rails that two ranks share, the slower way. `state` is the
    row's (bandwidth.Row)."""

    hosts: tuple[str, str]
    rails: tuple[str, ...]
    gbits: float
    state: str
    software: bool = False


def slowest_link(rows: Sequence[Row], rails: Mapping[str, Collection[str]]) -> Link | None:
    """The slowest of the links that the ranks use; `rails` are each host's interfaces that its rank
    may use. None if one of them was not measured.

    Of the measurements between two hosts the one counts that has the most of their rails.
    """
    slowest: Link | None = None
    names = list(rails)
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            found = _link(rows, (one, other), rails)
            if found is None:
                return None
            if slowest is None or found.gbits < slowest.gbits:
                slowest = found
    return slowest


def _link(
    rows: Sequence[Row], hosts: tuple[str, str], rails: Mapping[str, Collection[str]]
) -> Link | None:
    between = [
        row
        for row in rows
        if {row.source, row.sink} == set(hosts)
        and set(row.rails) <= set(rails[row.source])
        and set(row.peer_rails) <= set(rails[row.sink])
    ]
    most = max((len(row.rails) for row in between), default=0)
    fitting = [row for row in between if len(row.rails) == most]
    if not fitting or any(row.gbits is None for row in fitting):
        return None
    row = min(fitting, key=lambda each: each.gbits or 0.0)
    software = row.expected is not None and row.expected.half < _SOFTWARE
    return Link(hosts, row.rails, row.gbits or 0.0, row.state, software)


def findings(said: Mapping[int, Said], link: Link | None, hosts: tuple[str, ...]) -> list[Finding]:
    """What is wrong with the collective itself; a link that is slow has a finding of its own."""
    first = said.get(0, Said())
    found = []
    wrong = [timed for timed in first.sizes if not timed.right]
    if wrong:
        what = f"the sum of an all-reduce of {human_bytes(wrong[0].bytes)} is wrong"
        found.append(Finding("RDMA024", what, hosts))
    best = peak([timed for timed in first.sizes if timed.bytes >= _LARGE])
    if best is None or link is None or link.software or link.state not in ("good", "low"):
        return found
    if best.bus_gbits < SLOW * link.gbits:
        what = (
            f"the links give {amount(link.gbits)} Gb/s ({' + '.join(link.rails)} between "
            f"{' and '.join(link.hosts)}), the collective {amount(best.bus_gbits)} Gb/s "
            f"({amount(best.bus_gbits / 8)} GB/s) at {human_bytes(best.bytes)}"
        )
        found.append(Finding("RDMA023", what, hosts))
    return found


def unfinished(failures: Mapping[str, str], hosts: tuple[str, ...]) -> list[Finding]:
    """Ranks that did not come to their end, by host, with their last words."""
    return [
        Finding("RDMA024", f"the all-reduce on {host} did not come to its end: {why}", hosts)
        for host, why in failures.items()
    ]


def last_words(log: str) -> str:
    """What a rank said last of a failure: the last line that names an error, else the last that is
    neither the script's nor NCCL's chatter; empty if there is none."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith(MARK) and " NCCL INFO " not in line]
    errors = [line for line in own if "Error" in line or " NCCL WARN " in line]
    return next(iter([*errors[-1:], *own[-1:]]), "")[:400]
