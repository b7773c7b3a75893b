"""What the watcher makes of the hosts, in which order it tells, and what a missed reading does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.watch.observation import EngineObservation, Observation

from .observed import HOST, HOUR, IDLE, OLD, STUCK, WORKS, Case, gone, saw, told
from .test_watch_engine import CASES as ENGINE
from .test_watch_wedge import CASES as WEDGE

CASES = [
    Case("all is well", [(HOUR, saw(WORKS))], []),
    Case("nothing of ours runs", [(HOUR, saw())], []),
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
        "less than 4 GiB of a host where that is more than its share",
        [(15, saw(spark_2=replace(HOST, available=0.06, short=True)))],
        [("memory", "spark-2", "critical")],
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
        "and no longer",
        [
            (15, saw(spark_2=replace(HOST, grown={"rocep1s0f1 packet_seq_err": 3}))),
            (630, saw()),
        ],
        [],
    ),
    Case(
        "PCIe errors grow",
        [(15, saw(spark_2=replace(HOST, pcie={"0000:00:00.0": 3, "0000:01:00.0": 1})))],
        [("errors", "spark-2", "warning"), ("errors", "spark-2", "warning")],
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
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_told(case: Case) -> None:
    assert case.found() == case.expected


def test_every_code_can_be_explained() -> None:
    codes = {each.code for case in (*CASES, *ENGINE, *WEDGE) for each in told(case.phases)}
    assert len(codes) >= 8
    assert codes <= set(DIAGNOSES)


def test_a_host_that_is_away_by_the_sessions_own_words() -> None:
    def away(at: float) -> Observation:
        why = {"spark-3": "the probe did not finish within 90 s"}
        return replace(saw(spark_3=None)(at), lost=why)

    (found,) = told([(60, away)])
    assert found.what == "the probe did not finish within 90 s"
    (found,) = told([(60, saw(spark_3=None))])
    assert found.what == "the host does not answer"


def test_the_gravest_comes_first() -> None:
    worse = replace(HOST, available=0.02, grown={"rocep1s0f1 packet_seq_err": 3})
    found = told([(15, saw(spark_2=replace(HOST, available=0.04), spark_3=worse))])
    assert [each.severity for each in found] == ["critical", "warning", "warning"]


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
