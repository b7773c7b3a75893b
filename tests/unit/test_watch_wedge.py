"""What the watcher takes for a wedge, and what only looks like one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spark_cluster.watch.observation import EngineObservation
from spark_cluster.watch.power import work_watts

from .observed import HOUR, IDLE, OLD, STARTING, STUCK, WORKS, Case, rank, saw, told


#: Recorded on two H200s: 79 to 81 W without a model; with one 121 to 125 W, idle and stuck alike.
def h200(*watts: float | None, name: str = "NVIDIA H200") -> EngineObservation:
    ranks = tuple(rank(n, watts=w, utilization=100.0, gpu=name) for n, w in enumerate(watts))
    return replace(STUCK, ranks=ranks)


UNKNOWN = "NVIDIA B999"
RESTS = replace(h200(124.0, 121.0, name=UNKNOWN), running=0.0)
WEDGE = [("wedge", "spark-2", "critical")]


def blind(engine: EngineObservation) -> EngineObservation:
    """Of its rails nothing is known: the GPUs alone can tell."""
    return replace(engine, ranks=tuple(replace(each, moved=None) for each in engine.ranks))


CASES = [
    Case("idle with the GPUs polling", [OLD, (HOUR, saw(IDLE))], []),
    Case("a wedge", [OLD, (330, saw(STUCK))], [("wedge", "spark-2", "critical")]),
    Case("not yet a wedge", [OLD, (240, saw(STUCK))], []),
    Case(
        "a wedge of which one rank cannot be read",
        [OLD, (330, saw(replace(STUCK, ranks=(rank(0), rank(1, moved=None, watts=None)))))],
        [("wedge", "spark-2", "critical")],
    ),
    Case(
        "stuck, and no rank can say anything",
        [OLD, (HOUR, saw(replace(STUCK, ranks=(rank(0, moved=None, watts=None),))))],
        [],
    ),
    Case(
        "the metrics fail for a moment of a wedge",
        [
            OLD,
            (200, saw(STUCK)),
            (15, saw(replace(STUCK, tokens=None))),
            (120, saw(STUCK)),
        ],
        [("wedge", "spark-2", "critical")],
    ),
    Case("a token ends it", [OLD, (400, saw(STUCK)), (15, saw(WORKS))], []),
    Case(
        "a token begins the patience anew",
        [OLD, (290, saw(STUCK)), (15, saw(WORKS)), (290, saw(STUCK))],
        [],
    ),
    Case(
        "a long prompt: RDMA carries it",
        [OLD, (HOUR, saw(replace(STUCK, ranks=(rank(0, moved=True), rank(1)))))],
        [],
    ),
    Case(
        "a long prompt: a GPU computes",
        [OLD, (HOUR, saw(replace(STUCK, ranks=(rank(0), rank(1, watts=85.0)))))],
        [],
    ),
    Case(
        "a compiler runs beside a rank for 40 minutes",
        [OLD, (2400, saw(replace(STUCK, ranks=(rank(0), rank(1, compiles=True)))))],
        [],
    ),
    Case(
        "a young engine may be compiling in its process",
        [(60, saw(WORKS)), (2400, saw(STUCK))],
        [("wedge", "spark-2", "warning")],
    ),
    Case(
        "but not for ever",
        [(60, saw(WORKS)), (2800, saw(STUCK))],
        [("wedge", "spark-2", "critical")],
    ),
    Case(
        "an engine that is older than the watcher does not compile",
        [(330, saw(replace(STUCK, age=86400.0)))],
        [("wedge", "spark-2", "critical")],
    ),
    Case(
        "a young one that the watcher meets may",
        [(330, saw(replace(STUCK, age=600.0)))],
        [("wedge", "spark-2", "warning")],
    ),
    Case(
        "a new start forgets the wedge of the last one",
        [OLD, (400, saw(STUCK)), (HOUR, saw(replace(STARTING, start="start-2")))],
        [],
    ),
    Case(
        "and has its patience again",
        [
            OLD,
            (400, saw(STUCK)),
            (600, saw(replace(STARTING, start="start-2"))),
            (120, saw(replace(STUCK, start="start-2"))),
        ],
        [],
    ),
    Case(
        "a torn-down engine is nobody's fault",
        [OLD, (400, saw(STUCK)), (15, saw())],
        [],
    ),
    Case("an H200 in a wedge", [OLD, (330, saw(h200(125.0, 121.0)))], WEDGE),
    Case("an H200 at work", [OLD, (HOUR, saw(h200(125.0, 390.0)))], []),
    Case(
        "an unknown GPU in a wedge",
        [OLD, (330, saw(h200(125.0, 121.0, name=UNKNOWN)))],
        WEDGE,
    ),
    Case(
        "an unknown GPU, and nothing else to tell by",
        [OLD, (HOUR, saw(blind(h200(125.0, 121.0, name=UNKNOWN))))],
        [],
    ),
    Case(
        "a GPU that was seen idle",
        [
            OLD,
            (90, saw(RESTS)),
            (330, saw(blind(h200(125.0, 121.0, name=UNKNOWN)))),
        ],
        WEDGE,
    ),
    Case(
        "a GPU that was seen idle works",
        [OLD, (90, saw(RESTS)), (HOUR, saw(h200(125.0, 390.0, name=UNKNOWN)))],
        [],
    ),
    Case(
        "what was learned outlives the engine's restart",
        [
            OLD,
            (90, saw(RESTS)),
            (15, saw(replace(WORKS, start="start-2"))),
            (HOUR, saw(replace(WORKS, start="start-2"))),
            (330, saw(replace(blind(h200(125.0, 121.0, name=UNKNOWN)), start="start-2"))),
        ],
        WEDGE,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_told(case: Case) -> None:
    assert case.found() == case.expected


@pytest.mark.parametrize(
    ("gpu", "idle", "watts"),
    [
        ("NVIDIA GB10", (), 40.0),
        ("NVIDIA GB10", (11.0,) * 9, 40.0),
        ("NVIDIA H200", (), 160.0),
        ("NVIDIA H200", (124.0, 121.0, 125.0, 124.0, 390.0), 1.4 * 124.0),
        ("NVIDIA B999", (), None),
        ("NVIDIA B999", (80.0,) * 4, None),
        ("NVIDIA B999", (80.0,) * 5, 1.4 * 80.0),
    ],
)
def test_from_how_many_watts_on_a_gpu_works(
    gpu: str, idle: tuple[float, ...], watts: float | None
) -> None:
    assert work_watts(gpu, idle) == watts


def test_the_words_of_a_wedge_name_both_ranks() -> None:
    (wedge,) = told([OLD, (330, saw(STUCK))])
    assert wedge.what == (
        "2 requests run and no token comes; rank 0: RDMA still, GPU 96 % at 28 W (works above "
        "40 W); rank 1: RDMA still, GPU 96 % at 28 W (works above 40 W)"
    )
    assert wedge.fatal


def test_a_warning_is_not_fatal_and_keeps_its_since() -> None:
    (young,) = told([(60, saw(WORKS)), (600, saw(STUCK))])
    assert not young.fatal
    (old,) = told([(60, saw(WORKS)), (2800, saw(STUCK))])
    assert old.fatal
    assert (old.key, old.since) == (young.key, young.since)


def test_a_wedge_is_nothing_that_supervisors_see() -> None:
    (wedge,) = told([OLD, (330, saw(replace(STUCK, supervised=True)))])
    assert not wedge.attended
