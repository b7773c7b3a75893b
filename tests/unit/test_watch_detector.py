"""What the watcher makes of what it sees: cases as lists of observations, fifteen seconds apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.watch.detector import (
    Condition,
    EngineObservation,
    HostObservation,
    Observation,
    RankObservation,
    State,
    judge,
)
from spark_cluster.watch.power import work_watts
from spark_cluster.watch.restarts import Restarts
from spark_cluster.workload.served import DeadRank

STEP = 15.0

HOST = HostObservation("boot-1", 0.12, {"enp1s0f1np1": True})


def gone(host: str, rank: int) -> DeadRank:
    """What it says of itself is nobody's business here."""
    return DeadRank(host, rank, "gone")


def rank(number: int, **values: object) -> RankObservation:
    given = {"moved": False, "watts": 28.0, "utilization": 96.0, "gpu": "NVIDIA GB10", **values}
    return RankObservation(number, f"spark-{number + 2}", **given)  # type: ignore[arg-type]


#: Requests run, no token comes, and both ranks wait for each other.
STUCK = EngineObservation(
    "start-1", "spark-2", healthy=True, running=2.0, tokens=0, ranks=(rank(0), rank(1))
)
WORKS = replace(
    STUCK, tokens=512, ranks=(rank(0, moved=True, watts=60.0), rank(1, moved=True, watts=85.0))
)
IDLE = replace(STUCK, running=0.0)
STARTING = EngineObservation(
    "start-1",
    "spark-2",
    stage="profiling the vision encoder",
    ranks=(rank(0, watts=30.0), rank(1, watts=30.0)),
)


def saw(
    engine: EngineObservation | None = None, *, busy: bool = False, **hosts: HostObservation | None
) -> Callable[[float], Observation]:
    seen = {"spark-2": HOST, "spark-3": HOST}
    seen |= {name.replace("_", "-"): host for name, host in hosts.items()}  # type: ignore[misc]
    return lambda at: Observation(at, seen, engine, busy)


Phases = list[tuple[float, Callable[[float], Observation]]]


def told(phases: Phases) -> tuple[Condition, ...]:
    """What holds after the phases, each so many seconds long."""
    state, at = State(), 0.0
    found: tuple[Condition, ...] = ()
    for seconds, make in phases:
        for _ in range(max(1, round(seconds / STEP))):
            at += STEP
            state, found = judge(state, make(at))
    return found


HOUR = 3600.0
OLD = (HOUR + STEP, saw(WORKS))  # the engine has long been warm


@dataclass(frozen=True)
class Case:
    name: str
    phases: Phases
    expected: list[tuple[str, str, str]]  # kind, host, severity


CASES = [
    Case("all is well", [(HOUR, saw(WORKS))], []),
    Case("idle with the GPUs polling", [OLD, (HOUR, saw(IDLE))], []),
    Case("nothing of ours runs", [(HOUR, saw())], []),
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
    Case("a start with requests waiting", [(HOUR, saw(replace(STUCK, healthy=False)))], []),
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
    Case(
        "docker hangs",
        [OLD, (60, saw(WORKS, spark_3=replace(HOST, docker="no answer")))],
        [("docker", "spark-3", "warning")],
    ),
    Case(
        "docker is slow once",
        [OLD, (15, saw(WORKS, spark_3=replace(HOST, docker="x")))],
        [],
    ),
    Case("it misses a beat", [OLD, (30, saw(replace(IDLE, healthy=False)))], []),
    Case(
        "little memory",
        [(15, saw(spark_3=replace(HOST, available=0.04)))],
        [("memory", "spark-3", "warning")],
    ),
    Case(
        "at the cliff",
        [(15, saw(spark_3=replace(HOST, available=0.02)))],
        [("memory", "spark-3", "critical")],
    ),
    Case(
        "a rail is down",
        [(30, saw(spark_3=replace(HOST, rails={"enp1s0f1np1": False})))],
        [("rail", "spark-3", "critical")],
    ),
    Case(
        "errors are told for ten minutes",
        [
            (15, saw(spark_2=replace(HOST, grown={"rocep1s0f1 packet_seq_err": 3}))),
            (570, saw()),
        ],
        [("errors", "spark-2", "warning")],
    ),
    Case(
        "PCIe errors grow",
        [(15, saw(spark_2=replace(HOST, pcie={"0000:00:00.0": 3, "0000:01:00.0": 1})))],
        [("errors", "spark-2", "warning"), ("errors", "spark-2", "warning")],
    ),
    Case(
        "less than 4 GiB of a host where that is more than its share",
        [(15, saw(spark_2=replace(HOST, available=0.06, short=True)))],
        [("memory", "spark-2", "critical")],
    ),
    Case(
        "and no longer",
        [
            (15, saw(spark_2=replace(HOST, grown={"rocep1s0f1 packet_seq_err": 3}))),
            (630, saw()),
        ],
        [],
    ),
    Case(
        "a reboot",
        [
            (60, saw()),
            (60, saw(spark_3=None)),
            (60, saw(spark_3=replace(HOST, boot_id="b"))),
        ],
        [("reboot", "spark-3", "warning")],
    ),
    Case("a host away", [(60, saw(spark_3=None))], [("away", "spark-3", "critical")]),
    Case("a host away for a moment", [(15, saw(spark_3=None))], []),
    Case(
        "the head's host is away: nothing is known of the engine",
        [OLD, (300, saw(spark_2=None))],
        [("away", "spark-2", "critical")],
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
        "a start that took too long before the watcher came",
        [(15, saw(replace(STARTING, age=7000.0)))],
        [("start", "spark-2", "warning")],
    ),
    Case(
        "a torn-down engine is nobody's fault",
        [OLD, (400, saw(STUCK)), (15, saw())],
        [],
    ),
]


# Recorded on two H200s: 79 to 81 W without a model; with one 121 to 125 W, idle and stuck alike.


def h200(*watts: float | None, name: str = "NVIDIA H200") -> EngineObservation:
    ranks = tuple(rank(n, watts=w, utilization=100.0, gpu=name) for n, w in enumerate(watts))
    return replace(STUCK, ranks=ranks)


UNKNOWN = "NVIDIA B999"
RESTS = replace(h200(124.0, 121.0, name=UNKNOWN), running=0.0)
WEDGE = [("wedge", "spark-2", "critical")]


def blind(engine: EngineObservation) -> EngineObservation:
    """Of its rails nothing is known: the GPUs alone can tell."""
    return replace(engine, ranks=tuple(replace(each, moved=None) for each in engine.ranks))


CASES += [
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

# A server that ended in a container that runs on

ENDED = replace(
    IDLE,
    healthy=False,
    running=None,
    tokens=None,
    ended="The server in vllm-head on spark-2 has ended (exit status 0): rank 1 (spark-3) died.",
)
CASES += [
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


def test_what_ended_is_named_with_the_rank_and_its_code() -> None:
    (found,) = told([OLD, (30, saw(ENDED))])
    assert (found.code, found.what, found.fatal) == ("SERVE015", ENDED.ended, True)


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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_told(case: Case) -> None:
    found = [(each.kind, each.host, each.severity) for each in told(case.phases)]
    assert found == case.expected


def test_every_code_can_be_explained() -> None:
    codes = {each.code for case in CASES for each in told(case.phases)}
    assert len(codes) >= 8
    assert codes <= set(DIAGNOSES)


def test_the_words_of_a_wedge_name_both_ranks() -> None:
    (wedge,) = told([OLD, (330, saw(STUCK))])
    assert wedge.what == (
        "2 requests run and no token comes; rank 0: RDMA still, GPU 96 % at 28 W (works above "
        "40 W); rank 1: RDMA still, GPU 96 % at 28 W (works above 40 W)"
    )
    assert wedge.fatal


@pytest.mark.parametrize(
    ("sign", "kind"),
    [(replace(IDLE, healthy=False), "silent"), (replace(IDLE, canary="HTTP 500"), "no-token")],
)
def test_what_nobody_could_ask_again_is_told_and_not_acted_upon(
    sign: EngineObservation, kind: str
) -> None:
    (found,) = told([OLD, (90, saw(sign)), (15, saw(replace(IDLE, healthy=None)))])
    assert (found.kind, found.unseen, found.fatal) == (kind, True, False)


def test_a_host_that_is_away_by_the_sessions_own_words() -> None:
    def away(at: float) -> Observation:
        why = {"spark-3": "the probe did not finish within 90 s"}
        return replace(saw(spark_3=None)(at), lost=why)

    (found,) = told([(60, away)])
    assert found.what == "the probe did not finish within 90 s"
    (found,) = told([(60, saw(spark_3=None))])
    assert found.what == "the host does not answer"


def test_a_warning_is_not_fatal_and_keeps_its_since() -> None:
    (young,) = told([(60, saw(WORKS)), (600, saw(STUCK))])
    assert not young.fatal
    (old,) = told([(60, saw(WORKS)), (2800, saw(STUCK))])
    assert old.fatal
    assert (old.key, old.since) == (young.key, young.since)


@pytest.mark.parametrize(
    ("lasts", "supervised", "attended"), [(45, True, True), (1230, True, False), (45, False, False)]
)
def test_a_rank_that_ended_is_left_to_the_hosts_supervisors_for_a_while(
    lasts: float, supervised: bool, attended: bool
) -> None:
    ended = replace(IDLE, dead=(gone("spark-3", 1),), supervised=supervised)
    (dead,) = told([OLD, (lasts, saw(ended))])
    assert (dead.fatal, dead.attended) == (True, attended)


@pytest.mark.parametrize(
    ("sign", "patience"),
    [
        (STUCK, 330),
        (replace(IDLE, dead=(gone("spark-2", 0),)), 45),
        (replace(IDLE, canary="HTTP 500"), 45),
        (replace(IDLE, healthy=False), 90),
    ],
    ids=["wedge", "dead-rank", "no-token", "silent"],
)
def test_one_missed_reading_ends_and_renews_nothing(
    sign: EngineObservation, patience: float
) -> None:
    before = [OLD, (patience, saw(sign))]
    (first,) = told(before)
    (late,) = told([*before, (15, saw(spark_2=None))])
    assert (late.key, late.since, late.severity) == (first.key, first.since, "critical")
    assert first.fatal
    assert not late.fatal  # nothing is done about what nobody saw
    (again,) = told([*before, (15, saw(spark_2=None)), (15, saw(sign))])
    assert again.fatal
    assert again.since == first.since


def test_a_wedge_is_nothing_that_supervisors_see() -> None:
    (wedge,) = told([OLD, (330, saw(replace(STUCK, supervised=True)))])
    assert not wedge.attended


def test_the_gravest_comes_first() -> None:
    worse = replace(HOST, available=0.02, grown={"rocep1s0f1 packet_seq_err": 3})
    found = told([(15, saw(spark_2=replace(HOST, available=0.04), spark_3=worse))])
    assert [each.severity for each in found] == ["critical", "warning", "warning"]


@pytest.mark.parametrize(
    ("done", "now", "expected"),
    [
        ((), 0.0, 0.0),
        ((100.0,), 100.0, 60.0),
        ((100.0,), 170.0, 0.0),
        ((100.0, 170.0), 170.0, 120.0),
        ((100.0, 170.0, 300.0), 900.0, None),
        ((100.0, 170.0, 300.0), 100.0 + 6 * HOUR, 0.0),
    ],
)
def test_restarts_are_capped_and_their_pause_grows(
    done: tuple[float, ...], now: float, expected: float | None
) -> None:
    assert Restarts(cap=3, pause=60.0).wait(done, now) == expected


@pytest.mark.parametrize(
    ("done", "refused", "now", "expected"),
    [
        ((), (0.0,), 0.0, 60.0),
        ((), (0.0, 60.0), 60.0, 120.0),
        ((), tuple(60.0 * n for n in range(20)), 1140.0, 900.0),  # it grows no longer
        ((), (0.0, 60.0, 180.0, 420.0), 1320.0, 0.0),  # and they do not use up the cap
        ((100.0, 170.0), (400.0,), 400.0, 60.0),
        ((100.0, 170.0, 300.0), (), 900.0, None),
    ],
)
def test_refused_restarts_have_a_pause_and_no_cap(
    done: tuple[float, ...], refused: tuple[float, ...], now: float, expected: float | None
) -> None:
    assert Restarts(cap=3, pause=60.0).wait(done, now, refused) == expected
