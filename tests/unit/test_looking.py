"""status, history and logs as actions: results and events, no output."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from spark_cluster.actions import history, logs
from spark_cluster.actions.status import refreshes, status
from spark_cluster.core.error import InputError
from spark_cluster.core.event import Event
from tests.fake_transport import failed
from tests.operators import Operators
from tests.operators import silent as silent_actions

from . import world
from .world import Spark, down, serving

PAIR = ("spark-2", "spark-3")
HEAD = "@@log 0 vllm-head 2026-11-21T03:15:02Z ready\n"
WORKER = "@@log 1 vllm-worker 2026-11-21T03:15:01Z joined\n"


silent = pytest.fixture(autouse=True)(silent_actions)


def test_a_host_that_is_away_is_unknown_in_the_status(over: Operators) -> None:
    operator, heard = over([serving("spark-2"), down("spark-3")])
    report = status(world.inventory(), PAIR, operator)
    up, away = report.hosts
    assert (up["state"], away["state"], away["remedy"]) == ("up", "unknown", "Is it on?")
    assert [container["rank"] for container in up["containers"]] == ["0"]
    assert (report.verdict, report.exit_code, heard) == (None, 3, [])


def test_a_refresh_is_a_report(over: Operators) -> None:
    operator, _ = over([serving("spark-2")])
    first = next(refreshes(world.inventory(), ["spark-2"], 0.0, operator))
    assert (first.kind, [row["state"] for row in first.hosts]) == ("status", ["up"])


def test_what_the_hosts_wrote_down_of_one_run(over: Operators) -> None:
    host = Spark("spark-2")
    host.texts["host-journal"] = "".join(
        f"2026-11-21T03:15:00+0000 spark-2 spark-cluster[7]: {run} locked\n" for run in ("a", "b")
    )
    operator, _ = over([host, down("spark-3")])
    found = history.of_hosts(world.inventory(), PAIR, operator, limit=20, only="b ")
    assert [line.text.endswith("b locked") for line in found.hosts["spark-2"]] == [True]
    assert (found.unknown, found.exit_code) == (("spark-3",), 3)


@pytest.mark.parametrize("follow", [False, True])
def test_lines_of_logs_are_told_by_time(over: Operators, follow: bool) -> None:
    hosts = [Spark("spark-2").on("docker logs", HEAD), Spark("spark-3").on("docker logs", WORKER)]
    operator, heard = over(hosts)
    shown = logs.logs(world.inventory(), PAIR, operator, follow=follow)
    assert [told.line.text for told in heard.of(logs.LogTold)] == ["joined", "ready"]
    assert shown == logs.Shown(any_line=True, away=False)


@pytest.mark.parametrize("follow", [False, True])
def test_only_lines_with_the_expression_are_told(over: Operators, follow: bool) -> None:
    hosts = [Spark("spark-2").on("docker logs", HEAD), Spark("spark-3").on("docker logs", WORKER)]
    operator, heard = over(hosts)
    shown = logs.logs(world.inventory(), PAIR, operator, follow=follow, grep="^rea.y$")
    assert [told.line.text for told in heard.of(logs.LogTold)] == ["ready"]
    logs.logs(world.inventory(), PAIR, operator, follow=follow, grep="never")
    assert len(heard.of(logs.LogTold)) == 1
    assert (shown.any_line, shown.exit_code) == (True, 0)


@pytest.mark.parametrize("follow", [False, True])
def test_no_line_of_ours_is_said(over: Operators, follow: bool) -> None:
    hosts = [Spark(name).on("docker logs", "") for name in PAIR]
    operator, heard = over(hosts)
    shown = logs.logs(world.inventory(), PAIR, operator, follow=follow)
    assert heard.of(logs.LogTold) == []
    assert shown == logs.Shown(any_line=False, away=False)


def test_logs_say_which_hosts_are_missing(over: Operators) -> None:
    refuses = Spark("spark-2").on("docker logs", failed(1, "permission denied\n"))
    operator, heard = over([refuses, down("spark-3")])
    shown = logs.logs(world.inventory(), PAIR, operator)
    assert [list(told.errors) for told in heard.of(logs.Incomplete)] == [["spark-3"], ["spark-2"]]
    assert shown == logs.Shown(any_line=False, away=True)


@pytest.mark.parametrize("wrong", [{"since": "yesterday"}, {"grep": "("}], ids=str)
def test_what_is_no_time_or_no_expression_asks_no_host(
    over: Operators, wrong: dict[str, str]
) -> None:
    host = Spark("spark-2")
    operator, _ = over([host])
    with pytest.raises(InputError):
        logs.logs(world.inventory(), ["spark-2"], operator, **wrong)  # type: ignore[arg-type]
    assert host.runs == []


def test_followed_logs_tell_one_event_at_a_time(over: Operators) -> None:
    """Also when hosts are lost at the same time, each in a thread of its own."""
    names = ("spark-1", *PAIR)
    operator, _ = over([Spark(name).on("docker logs", failed(1, "gone\n")) for name in names])
    met = threading.Barrier(2)
    heard = []

    def listen(event: Event) -> None:
        with pytest.raises(threading.BrokenBarrierError):
            met.wait(0.3)  # a second listener would meet the first
        met.reset()
        heard.append(event.kind)

    logs.logs(world.inventory(), names, replace(operator, listener=listen), follow=True)
    assert heard == ["incomplete"] * 3
