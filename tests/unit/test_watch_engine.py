"""What the watcher makes of an engine that starts, loses ranks, ends or answers no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spark_cluster.watch.observation import EngineObservation

from .observed import HOUR, IDLE, OLD, STARTING, STUCK, WORKS, Case, gone, saw, told

#: A server that ended in a container that runs on.
ENDED = replace(
    IDLE,
    healthy=False,
    running=None,
    tokens=None,
    ended="The server in vllm-head on spark-2 has ended (exit status 0): rank 1 (spark-3) died.",
)

CASES = [
    Case("an hour of encoder profiling", [(HOUR + 600, saw(STARTING))], []),
    Case(
        "a start that takes too long",
        [(6100, saw(STARTING))],
        [("start", "spark-2", "warning")],
    ),
    Case(
        "a start whose log speaks of a failure, and nothing followed",
        [(630, saw(replace(STARTING, failure="out of memory")))],
        [("start", "spark-2", "critical")],
    ),
    Case(
        "a start whose log speaks of a failure a moment ago",
        [(15, saw(replace(STARTING, failure="out of memory")))],
        [],
    ),
    Case(
        "a start that took too long before the watcher came",
        [(15, saw(replace(STARTING, age=7000.0)))],
        [("start", "spark-2", "warning")],
    ),
    Case("a start with requests waiting", [(HOUR, saw(replace(STUCK, healthy=False)))], []),
    Case(
        "somebody tears it down or launches",
        [OLD, (HOUR, saw(replace(STUCK, dead=(gone("spark-3", 1),)), busy=True))],
        [],
    ),
    Case(
        "a dead rank behind a green /health",
        [OLD, (45, saw(replace(IDLE, dead=(gone("spark-3", 1),))))],
        [("dead-rank", "spark-2", "critical")],
    ),
    Case(
        "dead in one reading only", [OLD, (15, saw(replace(IDLE, dead=(gone("spark-3", 1),))))], []
    ),
    Case(
        "a dead head whose host is late goes on being told",
        [
            OLD,
            (45, saw(replace(IDLE, dead=(gone("spark-2", 0),)))),
            (15, saw(spark_2=None)),
        ],
        [("dead-rank", "spark-2", "critical")],
    ),
    Case(
        "a dead rank whose host is late, too",
        [
            OLD,
            (45, saw(replace(IDLE, dead=(gone("spark-3", 1),)))),
            (15, saw(IDLE, spark_3=None)),
        ],
        [("dead-rank", "spark-2", "critical")],
    ),
    Case(
        "but not one that was seen alive",
        [
            OLD,
            (45, saw(replace(IDLE, dead=(gone("spark-3", 1),)))),
            (15, saw(IDLE, spark_2=None)),
            (15, saw(IDLE)),
        ],
        [],
    ),
    Case(
        "a canary that fails once",
        [OLD, (15, saw(replace(IDLE, canary="HTTP 500"))), (15, saw(IDLE))],
        [("no-token", "spark-2", "warning")],
    ),
    Case(
        "a canary that fails twice",
        [OLD, (30, saw(replace(IDLE, canary="HTTP 500"))), (300, saw(IDLE))],
        [("no-token", "spark-2", "critical")],
    ),
    Case(
        "a canary that comes through again",
        [
            OLD,
            (30, saw(replace(IDLE, canary="no answer"))),
            (15, saw(replace(IDLE, canary=""))),
        ],
        [],
    ),
    Case(
        "tokens of others prove as much",
        [OLD, (30, saw(replace(IDLE, canary="no answer"))), (15, saw(WORKS))],
        [],
    ),
    Case(
        "the server stops answering",
        [OLD, (90, saw(replace(IDLE, healthy=False, running=None, tokens=None)))],
        [("silent", "spark-2", "critical")],
    ),
    Case(
        "nobody could ask the server",
        [OLD, (HOUR, saw(replace(IDLE, healthy=None, running=None, tokens=None)))],
        [],
    ),
    Case(
        "it was ready before nobody could ask",
        [
            OLD,
            (90, saw(replace(IDLE, healthy=None, running=None, tokens=None))),
            (90, saw(replace(IDLE, healthy=False, running=None, tokens=None))),
        ],
        [("silent", "spark-2", "critical")],
    ),
    Case("it misses a beat", [OLD, (30, saw(replace(IDLE, healthy=False)))], []),
    Case("a server ended", [OLD, (30, saw(ENDED))], [("dead-rank", "spark-2", "critical")]),
    Case(
        "a server ended before the watcher came",
        [(30, saw(replace(ENDED, was_ready=True)))],
        [("dead-rank", "spark-2", "critical")],
    ),
    Case(
        "a server ended in its start-up",
        [(15, saw(STARTING)), (30, saw(ENDED))],
        [("start", "spark-2", "critical")],
    ),
    Case(
        "a server that was started again",
        [OLD, (30, saw(ENDED)), (30, saw(WORKS))],
        [],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_told(case: Case) -> None:
    assert case.found() == case.expected


def test_what_ended_is_named_with_the_rank_and_its_code() -> None:
    (found,) = told([OLD, (30, saw(ENDED))])
    assert (found.code, found.what, found.fatal) == ("SERVE015", ENDED.ended, True)


@pytest.mark.parametrize(
    ("sign", "kind"),
    [(replace(IDLE, healthy=False), "silent"), (replace(IDLE, canary="HTTP 500"), "no-token")],
)
def test_what_nobody_could_ask_again_is_told_and_not_acted_upon(
    sign: EngineObservation, kind: str
) -> None:
    (found,) = told([OLD, (90, saw(sign)), (15, saw(replace(IDLE, healthy=None)))])
    assert (found.kind, found.unseen, found.fatal) == (kind, True, False)


@pytest.mark.parametrize(
    ("lasts", "supervised", "attended"), [(45, True, True), (1230, True, False), (45, False, False)]
)
def test_a_rank_that_ended_is_left_to_the_hosts_supervisors_for_a_while(
    lasts: float, supervised: bool, attended: bool
) -> None:
    ended = replace(IDLE, dead=(gone("spark-3", 1),), supervised=supervised)
    (dead,) = told([OLD, (lasts, saw(ended))])
    assert (dead.fatal, dead.attended) == (True, attended)
