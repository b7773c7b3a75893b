"""Releases of NCCL that are reported to fail between Sparks: which, when, what helps, who says so.

Reports and not proofs: a release that is listed may run for weeks, so each is told with its
condition, and not where a log shows a job that ended well.
"""

from __future__ import annotations

from dataclasses import dataclass

#: What advice names: reported clean over dozens of starts (NCCL #2167), and in no range below.
CLEAN = "2.29.7"

Release = tuple[int, ...]


@dataclass(frozen=True)
class Reported:
    """`releases` are ranges, both ends included. `least_ranks`: the smallest job it was seen in.
    `doubtful`: NCCL's own sources speak against it."""

    releases: tuple[tuple[str, str], ...]
    what: str
    helps: str
    source: str
    least_ranks: int = 2
    doubtful: bool = False

    def holds(self, version: str, ranks: int) -> bool:
        """Whether it is said of this release in a job of so many ranks."""
        release = parse(version)
        return ranks >= self.least_ranks and any(
            parse(first) <= release <= parse(last) for first, last in self.releases
        )


REPORTED: tuple[Reported, ...] = (
    Reported(
        (("2.28.9", "2.29.2"),),
        "can lose operations of its proxy on ARM and then hangs under load without an error, if "
        "its library was built with a GCC before 10, as PyPI's is (219 MB); the package of DGX OS "
        "(190 MB) is another build of 2.28.9 and ran clean",
        f"2.29.3 mends it, {CLEAN} is reported clean; `ls -lL` of libnccl.so.2 in the container "
        "tells the builds apart",
        "NCCL's notes of 2.29.3 and proxy.cc, NCCL #2353, vLLM #41725",
    ),
    Reported(
        (("2.27.0", "2.28.8"),),  # older ones do not know a Spark's GPU
        "is older than 2.29.3, which mends a hang on ARM (compare-and-swap in the proxy); in the "
        "sources the fault is in 2.28.9 to 2.29.2 only, others report it of all before 2.29.3",
        f"if it hangs without an error, take {CLEAN}",
        "NCCL's notes of 2.29.3, marin #8038",
        doubtful=True,
    ),
    Reported(
        (("2.30.4", "2.30.4"),),
        "hung while a large MoE model loaded on eight Sparks, in two of three starts",
        f"{CLEAN} did not there. NCCL_NVLS_ENABLE=0 was named as a cure, which its reporter took "
        "back: a Spark has no NVLS",
        "NCCL #2167, vLLM #40969",
    ),
    Reported(
        (("2.28.9", "2.28.9"), ("2.30.4", "2.30.4"), ("2.30.7", "2.30.7")),
        "is reported to stop under load on four Sparks, with completions for requests that are no "
        "longer in use",
        f"none is known to cure it; {CLEAN} is not among those reported",
        "NCCL #2334",
        least_ranks=4,
    ),
)


def parse(version: str) -> Release:
    """The numbers of `2.28.9` or `2.28.9+cuda13.0`, to compare; empty if there are none."""
    numbers = version.partition("+")[0].split(".")
    return tuple(int(part) for part in numbers) if all(p.isdigit() for p in numbers) else ()


def told(version: str | None, ranks: int, build: str = "", *, doubtful: bool = True) -> list[str]:
    """What is reported of a release in a job of so many ranks, as sentences; with `doubtful` also
    that which NCCL's sources speak against."""
    if not version:
        return []
    named = f"NCCL {version}{build if build.startswith('+') else ''}"
    return [
        f"{named} {entry.what}. {entry.helps[0].upper()}{entry.helps[1:]}. Source: {entry.source}."
        for entry in REPORTED
        if entry.holds(version, ranks) and (doubtful or not entry.doubtful)
    ]
