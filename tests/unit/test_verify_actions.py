"""The ways to verify RDMA as actions: verdicts and events, no output."""

from __future__ import annotations

import os
import signal

import pytest

from spark_cluster.actions.events import Judged
from spark_cluster.actions.verify import probe as probing
from spark_cluster.actions.verify import traffic
from spark_cluster.core.error import CheckFailed, InputError, Interrupted
from spark_cluster.core.event import RunFinished
from tests.operators import Operators
from tests.operators import silent as silent_actions

from . import world
from .ranks import GPU, UNITS, Rank, pair
from .test_bandwidth import Meter
from .world import PAIR, Spark, down

silent = pytest.fixture(autouse=True)(silent_actions)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_live_ends_with_the_verdict_that_it_tells(over: Operators) -> None:
    hosts = pair(units=UNITS, tokens=32)
    operator, heard = over(hosts)
    found = traffic.live(world.inventory(), PAIR, operator, seconds=0.5)
    (judged,) = heard.of(Judged)
    assert found.judged is judged
    assert (found.exit_code, judged.verdict.kind, judged.verdict.tokens) == (0, "rdma", 32)
    assert judged.served["recipe"] == world.RECIPE
    assert [told.seconds for told in heard.of(traffic.LookingOn)] == [0.5]
    assert found.data["verdict"] == heard.of(RunFinished)[0].data["verdict"]
    assert [host.changes for host in hosts] == [[], []]


def test_live_without_a_host_of_the_group_is_no_proof(over: Operators) -> None:
    operator, heard = over([Rank("spark-2", units=UNITS, tokens=32), down("spark-3")])
    found = traffic.live(world.inventory(), PAIR, operator, seconds=0.5)
    assert found.exit_code == 3
    assert heard.of(Judged)[0].verdict.kind != "rdma"


def test_live_where_nothing_runs_raises(over: Operators) -> None:
    operator, heard = over([Spark("spark-1")])
    with pytest.raises(CheckFailed) as error:
        traffic.live(world.inventory(), ["spark-1"], operator, seconds=0.5)
    assert error.value.code == "RDMA013"
    assert heard.of(Judged) == []


def test_watch_tells_an_interval_each_and_what_is_news(over: Operators) -> None:
    hosts = pair(units=UNITS, tokens=32)

    def dies() -> None:
        hosts[0].tokens = hosts[0].units = hosts[1].units = 0
        hosts[1].texts["gpu"] = GPU

    hosts[0].at = {4: dies, 6: interrupt}
    operator, heard = over(hosts)
    found = traffic.watch(world.inventory(), PAIR, operator, interval=0.5)
    told = [(each.verdict.kind, each.is_news) for each in heard.of(traffic.Interval)]
    assert told[0] == ("rdma", True)
    assert told[-1][0] == "idle"
    # Another cause is news, too; the same verdict again is none.
    assert [kind for kind, is_news in told if is_news][:2] == ["rdma", "idle"]
    assert ("rdma", False) in told
    assert found.judged is not None
    assert (found.exit_code, found.judged.verdict.code) == (4, "RDMA016")
    assert heard.of(Judged) == []  # its intervals have told it


def test_watch_that_is_stopped_at_once_has_no_verdict(over: Operators) -> None:
    hosts = pair(units=UNITS, tokens=32)
    hosts[0].at[1] = interrupt
    operator, _ = over(hosts)
    with pytest.raises(Interrupted):
        traffic.watch(world.inventory(), PAIR, operator, interval=0.5)


def test_a_probe_tells_rows_and_findings_that_its_outcome_keeps(over: Operators) -> None:
    operator, heard = over([Meter("spark-2", roceP2p1s0f1=12.9), Meter("spark-3")])
    outcome = probing.probe(world.inventory(), PAIR, operator, seconds=1)
    (begun,), (measured,) = heard.of(probing.Measuring), heard.of(probing.Measured)
    assert (begun.count, begun.seconds) == (len(measured.rows), 1)
    assert "RDMA020" in {finding.code for finding in measured.findings}
    assert (outcome.exit_code, len(outcome.data["bandwidth"])) == (4, len(measured.rows))
    again, heard = over([Meter("spark-2"), Meter("spark-3")])
    good = probing.probe(world.inventory(), PAIR, again, seconds=1, both=False)
    (measured,) = heard.of(probing.Measured)
    assert (good.exit_code, measured.findings) == (0, ())
    assert all(row.before is not None for row in measured.rows)  # the journal remembers the first


def test_a_probe_of_a_host_alone_measures_nothing(over: Operators) -> None:
    host = Meter("spark-2")
    operator, heard = over([host])
    with pytest.raises(InputError):
        probing.probe(world.inventory(), ["spark-2"], operator)
    assert (heard, host.connections) == ([], 0)
