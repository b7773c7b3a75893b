"""The watcher over fake hosts: what it tells and exposes, and what is done about it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from spark_cluster.core.error import Unreachable
from spark_cluster.core.event import Alarmed
from spark_cluster.core.finding import Severity
from spark_cluster.watch.detector import Condition
from spark_cluster.watch.responder import Remedies, Responder
from spark_cluster.watch.restarts import Attempt, Restarts
from spark_cluster.watch.watcher import pause_file

from . import world
from .test_status import page
from .watchers import HIGH, Restarter, Stand, launch_of, pair
from .world import MARK, Spark

pytestmark = pytest.mark.usefixtures("own_state")


def test_a_launch_that_is_not_watched_is_named(warm: Callable[..., Stand]) -> None:
    """The older of two groups is wedged; the newer works, and is what is judged."""
    first = newer_head()
    serves = dict(first.texts)
    stand = warm([first, *pair()])
    note = (
        f"also launched and not watched: {world.RECIPE} on spark-2, spark-3; run "
        "`spark-cluster watch --hosts spark-2,spark-3 --listen 127.0.0.1:9471` for it"
    )
    stand.turns(5, lambda done: first.texts.update(engine=page(5000 + 100 * done)))
    assert stand.notes() == [note]
    assert stand.alarms() == []
    assert 'spark_cluster_launch_watched{host="spark-1",hosts="spark-1,spark-4"' in exposed(stand)
    left = f'{{host="spark-2",hosts="spark-2,spark-3",recipe="{world.RECIPE}"}} 0.0'
    assert f"spark_cluster_launch_watched{left}" in exposed(stand)
    # The watched one is taken down and comes back: the set has changed again.
    first.texts["containers"] = ""
    stand.turns(1)
    assert f"spark_cluster_launch_watched{left.replace('0.0', '1.0')}" in exposed(stand)
    first.texts |= serves
    stand.turns(1)
    assert stand.notes() == [note, note]


def test_a_launch_whose_host_was_away_is_not_named_again(warm: Callable[..., Stand]) -> None:
    hosts = [newer_head(), *pair()]
    stand = warm(hosts)
    assert len(stand.notes()) == 1
    hosts[1].on(MARK, [Unreachable("no route", remedy="Is it on?"), hosts[1].probe])
    stand.turns(30, lambda done: hosts[0].texts.update(engine=page(5000 + 100 * done)))
    assert stand.notes()[1:] == ["answers again"]


def newer_head() -> Spark:
    """A host that serves for itself and one that is not in the inventory, since yesterday."""
    texts = launch_of("20261122-031500-9f3a", "spark-1,spark-4")
    gpu = world.healthy("gpu", "spark-1") + "app,4877, python3, [N/A]\n"
    return Spark("spark-1", {**texts, "gpu-state": HIGH, "gpu": gpu, "engine": page(1000)})


def test_a_wedge_is_told_and_its_evidence_collected_once(warm: Callable[..., Stand]) -> None:
    stand = warm(pair())
    stand.turns(30)
    assert stand.alarms() == [("began", "wedge", "critical")]
    assert stand.collected == 1
    assert stand.notes() == ["evidence: /evidence.tar.gz"]


def test_a_wedge_that_ends_is_told(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    stand = warm(hosts)
    stand.turns(25)

    def works(done: int) -> None:
        hosts[0].texts["engine"] = page(5000 + done)

    stand.turns(2, works)
    assert stand.alarms() == [("began", "wedge", "critical"), ("ended", "wedge", "critical")]


def test_one_exec_a_host_and_turn(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    stand = warm(hosts)
    before = [host.execs for host in hosts]
    stand.turns(5)
    # the first of a run begins with a reading of its own
    assert [host.execs - n for host, n in zip(hosts, before, strict=True)] == [6, 6]


def test_a_docker_that_hangs_restarts_nothing(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    restart = Restarter(Attempt())
    stand = warm(hosts, Remedies(lambda: "/e.tar.gz", restart=restart))
    hung = "@@error docker ps gave no answer within 20 s\n" + world.running("spark-2")
    hosts[0].texts |= {"containers": hung, "engine": "", "progress": ""}
    stand.turns(30)
    assert stand.alarms() == [("began", "docker", "warning")]
    assert (restart.calls, stand.collected) == ([], 0)
    (docker,) = stand.watcher.conditions
    assert docker.what == "docker says: docker ps gave no answer within 20 s"
    assert (docker.code, docker.host) == ("DOCKER001", "spark-2")


def test_a_host_that_is_lost_says_why(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    stand = warm(hosts)
    hosts[1].down = Unreachable("spark-3: no route to host", host="spark-3", remedy="Is it on?")
    hosts[1].on(MARK, hosts[1].down)
    stand.turns(6)
    (away,) = [each for each in stand.watcher.conditions if each.kind == "away"]
    assert away.what == "no route to host"


def test_paused_it_looks_and_does_nothing(warm: Callable[..., Stand]) -> None:
    stand = warm(pair())
    pause_file().parent.mkdir(parents=True, exist_ok=True)
    pause_file().touch()
    stand.turns(30)
    assert stand.alarms() == [("began", "wedge", "critical")]
    assert stand.collected == 0
    pause_file().unlink()
    stand.turns(2)
    assert stand.collected == 1
    assert stand.notes()[0].startswith("paused")


def test_the_users_command_hears_what_happened(warm: Callable[..., Stand], tmp_path: Path) -> None:
    out = tmp_path / "heard"
    command = f'echo "$SPARK_CLUSTER_CONDITION $SPARK_CLUSTER_HOST $SPARK_CLUSTER_CODE ' \
        f'$SPARK_CLUSTER_EVIDENCE" >>{out}; exit 3'  # fmt: skip
    stand = warm(pair(), Remedies(lambda: "/e.tar.gz", command))
    stand.turns(40)
    assert out.read_text() == "wedge spark-2 RDMA015 /e.tar.gz\n"
    assert stand.notes()[-1].endswith("ended with status 3")


def test_the_watching_goes_on_while_something_is_done() -> None:
    release, entered = threading.Event(), threading.Event()

    def collect() -> str:
        entered.set()
        release.wait(20)
        return "/e"

    responder = Responder(Remedies(collect), lambda _: None, Restarts())
    wedge = Condition("wedge", "spark-2", "", "RDMA015", Severity.CRITICAL, "stuck", 0.0)
    responder.consider((wedge,), None, 1.0)
    assert entered.wait(20)
    assert responder.busy
    responder.consider((wedge,), None, 2.0)
    release.set()
    responder.wait(20)
    assert not responder.busy


_IDLE = page(1000).replace('running{engine="0"} 3.0', 'running{engine="0"} 0.0')


def test_an_idle_engine_is_asked_for_a_token(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    stand = warm(hosts)
    hosts[0].texts["engine"] = _IDLE
    for turns, times in ((10, 1), (9, 1), (3, 2)):  # the second after five minutes
        stand.turns(turns)
        asked = [ran for ran in hosts[0].ran if "/v1/completions" in ran.script]
        assert len(asked) == times
        assert not asked[0].root
    assert stand.alarms() == []


def test_no_token_behind_a_green_health(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    stand = warm(hosts)
    hosts[0].texts["engine"] = _IDLE
    hosts[0].on("/v1/completions", "\n@@http 000 60 s Operation timed out\n")
    stand.turns(30)
    assert stand.alarms() == [("began", "no-token", "warning"), ("worse", "no-token", "critical")]
    assert stand.collected == 1


def test_an_engine_with_a_dead_rank_is_not_asked(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    stand = warm(hosts)
    hosts[0].texts["engine"] = _IDLE
    hosts[1].texts["containers"] = world.running("spark-3", state="exited", status=1)
    stand.turns(30)
    assert not [ran for ran in hosts[0].ran if "/v1/completions" in ran.script]
    assert stand.alarms() == [("began", "dead-rank", "critical")]


def test_a_server_that_ended_is_told_with_the_rank_that_died(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    stand = warm(hosts)
    end = "| RayWorkerProc rank=[1] died unexpectedly\n| spark-cluster: vllm serve exited with 0\n"
    hosts[0].texts |= {
        "containers": world.running("spark-2", serving=False),
        "engine": "\n@@http 000 0.0 s Connection refused\n" * 2,
        "server-end": f"@@container vllm-head\n{end}",
    }
    stand.turns(3)
    (told,) = [event for event in stand.events if isinstance(event, Alarmed)]
    assert (told.condition, told.code) == ("dead-rank", "SERVE015")
    assert told.what.endswith("has ended (exit status 0): rank 1 (spark-3) died.")
    assert not [ran for ran in hosts[0].ran if "/v1/completions" in ran.script]


def exposed(stand: Stand) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(stand.watcher.snapshots)
    registry.register(stand.watcher.findings)
    return generate_latest(registry).decode()


def test_everything_is_exposed(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    hosts[0].texts["counters"] += (
        "/sys/class/infiniband/rocep1s0f1/ports/1/hw_counters/out_of_sequence:41\n"
    )
    stand = warm(hosts)
    hosts[1].on(MARK, Unreachable("no route", remedy="Is it on?"))
    hosts[1].down = Unreachable("no route", remedy="Is it on?")
    stand.turns(5)
    text = exposed(stand)
    for line in (
        'spark_cluster_host_up{host="spark-2"} 1.0',
        'spark_cluster_host_up{host="spark-3"} 0.0',
        "spark_cluster_restarts_total 0.0",
        "spark_cluster_watch_paused 0.0",
        'spark_cluster_gpu_power_watts{host="spark-2"} 28.0',
    ):
        assert line in text
    assert re.search(r'rdma_counter_total\{counter="out_of_sequence".*\} 41.0', text)
    assert re.search(r'spark_cluster_condition\{code="HOST010",condition="away".*\} 1.0', text)
