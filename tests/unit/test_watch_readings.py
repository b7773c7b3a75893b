"""What the watcher makes of two readings of the hosts."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from typing import Any

import pytest

from spark_cluster.facts.base import Facts
from spark_cluster.watch import readings
from spark_cluster.watch.turns import HostFacts, Turn

from . import world
from .test_status import page
from .watchers import HIGH, LOW, launch_of, pair
from .world import MARK, Spark, stage


def test_what_is_read_of_a_wedge() -> None:
    hosts = pair()
    look = seen(hosts)
    engine = look.observation.engine
    assert engine is not None
    assert (engine.healthy, engine.running, engine.tokens, engine.dead) == (True, 3.0, 0, ())
    assert [(r.host, r.moved, r.watts, r.compiles) for r in engine.ranks] == [
        ("spark-2", False, 28.0, False),
        ("spark-3", False, 28.0, False),
    ]
    host = look.observation.hosts["spark-2"]
    assert host is not None
    assert host.rails == {"enp1s0f1np1": True, "enP2p1s0f1np1": True}
    assert host.boot_id
    assert not look.idle


def look_at(before: HostFacts, after: HostFacts, known: HostFacts) -> readings.Look:
    turn = Turn(before, after, known, 15.0)
    return readings.look(turn, world.inventory(), at=0.0, hosts=tuple(known))


def seen(hosts: list[Spark]) -> readings.Look:
    session = stage(hosts).session

    def read() -> Any:
        return session.each(session.alive, lambda there: there.read(readings.FACTS))

    before, after = read(), read()
    session.close()
    return look_at(before, after, after)


def test_traffic_is_seen() -> None:
    hosts = pair()
    for host in hosts:
        host.carries = 100_000
    engine = seen(hosts).observation.engine
    assert engine is not None
    assert [rank.moved for rank in engine.ranks] == [True, True]


@pytest.mark.parametrize(
    ("process", "compiles"),
    [
        ("/usr/local/cuda/bin/cicc --c++17 kernel.cu", True),
        ("ptxas -v --gpu-name=sm_121a a.ptx", True),
        ("ninja -v -j 16", True),
        ("/usr/bin/python3 -m vllm.entrypoints --served-model-name ninja", False),
    ],
)
def test_a_compiler_in_a_ranks_container(process: str, compiles: bool) -> None:
    hosts = pair()
    hosts[1].texts["containers"] += f"p 5000    {process}\n"
    engine = seen(hosts).observation.engine
    assert engine is not None
    assert [rank.compiles for rank in engine.ranks] == [False, compiles]


def test_a_head_that_ended_is_seen() -> None:
    hosts = pair()
    ended = world.running("spark-2", state="exited", status=137)
    hosts[0].texts |= {"containers": ended, "engine": ""}
    engine = seen(hosts).observation.engine
    assert engine is not None
    (gone,) = engine.dead
    assert (gone.host, gone.rank) == ("spark-2", 0)
    assert gone.what == "spark-2 (rank 0) is dead: vllm-head is exited, exit code 137."


def test_the_newest_launch_is_watched_and_not_a_dead_hosts_last_reading() -> None:
    """After a failover from spark-1 and spark-3 to spark-2 and spark-3."""
    newer = launch_of("20261121-031500-9f3a", "spark-2,spark-3")
    older = launch_of("20261120-031500-9f3a", "spark-1,spark-3")
    known = {**facts_of("spark-1", older), **facts_of("spark-2", newer)}
    for after in (known, {"spark-2": known["spark-2"]}):
        look = look_at({}, after, known)
        assert look.served is not None
        assert look.served.host == "spark-2"
        assert look.observation.engine is not None
    # A newer one on a host that cannot be read does not hide the one that can.
    known = {**facts_of("spark-1", newer), **facts_of("spark-2", older)}
    after = {"spark-2": known["spark-2"]}
    look = look_at({}, after, known)
    assert look.served is not None
    assert look.served.host == "spark-2"


@pytest.mark.parametrize("state", ["running", "exited"])
def test_a_later_server_on_one_host_does_not_hide_the_group(state: str) -> None:
    """Nor that the group has ended: what was launched is watched until it is taken down."""
    group = launch_of("20261121-031500-9f3a", "spark-2,spark-3", state)
    alone = launch_of("20261122-031500-9f3a", "spark-1")
    assert watched_of({"spark-1": alone, "spark-2": group}) == "spark-2"
    assert watched_of({"spark-1": alone, "spark-2": {"containers": ""}}) == "spark-1"


def test_a_group_that_ended_and_whose_host_serves_again_is_over() -> None:
    ended = launch_of("20261121-031500-9f3a", "spark-2,spark-3", "exited")
    alone = launch_of("20261122-031500-9f3a", "spark-3")
    assert watched_of({"spark-2": ended, "spark-3": alone}) == "spark-3"
    older = launch_of("20261120-031500-9f3a", "spark-3")  # the group came after it, and ended
    assert watched_of({"spark-2": ended, "spark-3": older}) == "spark-2"
    ended_alone = launch_of("20261120-031500-9f3a", "spark-2", "exited")
    assert watched_of({"spark-2": ended_alone, "spark-3": alone}) == "spark-3"


def watched_of(texts: dict[str, dict[str, str]]) -> str:
    """The head's host of what is watched, where these hosts say this."""
    known = {
        name: facts for host, said in texts.items() for name, facts in facts_of(host, said).items()
    }
    look = look_at({}, known, known)
    assert look.served is not None
    return look.served.host


def facts_of(host: str, texts: dict[str, str]) -> dict[str, Facts]:
    session = stage([Spark(host, texts)]).session
    found = session.each([host], lambda there: there.read(readings.FACTS))
    session.close()
    return found  # type: ignore[return-value]


_HEAD = world.running("spark-2")


def test_how_old_the_engine_is() -> None:
    epoch = datetime(2026, 11, 23, 3, 15, 42, tzinfo=UTC).timestamp()
    engine = seen(pair(clock=f"epoch={epoch}\n")).observation.engine
    assert engine is not None
    assert engine.age == 2 * 86400.0


def ollama(**texts: str) -> list[Spark]:
    """An Ollama without metrics on one host, no model loaded."""
    containers = _HEAD.replace(
        '"spark-cluster.run"', '"spark-cluster.api":"ollama","spark-cluster.run"'
    )
    containers = re.sub(r'(cluster.group":)"[^"]*"', r'\1"spark-2"', containers)
    engine = "{}\n@@http 200 0.0 s \n404\n@@http 404 0.0 s \n"
    given = {"containers": containers, "gpu": world.healthy("gpu", "spark-2"), "gpu-state": LOW}
    return [Spark("spark-2", {**given, "engine": engine, **texts})]


def test_an_ollama_without_a_model_in_memory_is_not_dead() -> None:
    look = seen(ollama())
    assert look.observation.engine is not None
    assert (look.observation.engine.healthy, look.observation.engine.dead) == (True, ())
    assert not look.idle  # a canary would wait until the model is loaded


@pytest.mark.parametrize(("state", "idle"), [(LOW, True), (HIGH, False), ("", False)])
def test_without_metrics_the_gpu_tells_who_is_idle(state: str, idle: bool) -> None:
    gpu = world.healthy("gpu", "spark-2") + "app,4877, ollama, [N/A]\n"
    look = seen(ollama(**{"gpu-state": state, "gpu": gpu}))
    assert look.observation.engine is not None
    assert look.observation.engine.running is None
    assert look.idle is idle


def test_without_docker_a_server_with_a_key_is_not_asked_for_a_token() -> None:
    """Docker tells the key: without it the answer would be a refusal."""
    hung = "@@error docker ps gave no answer within 20 s\n"
    idle = {"engine": page(1000).replace('running{engine="0"} 3.0', 'running{engine="0"} 0.0')}
    with_key = _HEAD.replace('"spark-cluster.run"', '"spark-cluster.key":"1","spark-cluster.run"')
    for containers, expected in ((_HEAD, True), (hung + _HEAD, True), (with_key, True),
                                 (hung + with_key, False)):  # fmt: skip
        hosts = pair()
        hosts[0].texts |= {**idle, "containers": containers}
        assert seen(hosts).idle is expected


def test_errors_grow_and_a_lock_is_held() -> None:
    hosts = pair()
    base = "/sys/class/infiniband/rocep1s0f1/ports/1/hw_counters"
    hosts[0].texts["lock"] = "/run/spark-cluster.lock launch by ada\n"
    text = hosts[1].texts["counters"]
    values = iter((7, 9))

    def probe(script: str) -> str:
        hosts[1].texts["counters"] = (
            text + f"{base}/packet_seq_err:{next(values)}\n{base}/out_of_sequence:{len(script)}\n"
        )
        return hosts[1].probe(script)

    hosts[1].on(MARK, probe)
    look = seen(hosts)
    host = look.observation.hosts["spark-3"]
    assert host is not None
    assert host.grown == {"rocep1s0f1 packet_seq_err": 2}
    assert look.observation.busy


@pytest.mark.parametrize(
    ("first", "second", "grown"),
    [(2, 5, {"0000:01:00.0": 3}), (5, 5, {}), (5, 0, {}), (None, 5, {}), (5, None, {})],
)
def test_pcie_errors_grow(first: int | None, second: int | None, grown: dict[str, int]) -> None:
    """A counter that is new, gone or smaller says nothing: the device was added again."""
    hosts = pair()
    at = "/sys/devices/pci0000:00/0000:00:00.0/0000:01:00.0/aer_dev_nonfatal:TOTAL_ERR_NONFATAL"
    values = iter((first, second))

    def probe(script: str) -> str:
        value = next(values)
        hosts[1].texts["connectx"] = "" if value is None else f"{at} {value}\n"
        return hosts[1].probe(script)

    hosts[1].on(MARK, probe)
    host = seen(hosts).observation.hosts["spark-3"]
    assert host is not None
    assert host.pcie == grown


def test_a_large_host_with_less_than_4_gib_is_short() -> None:
    hosts = pair()
    hosts[1].texts["memory"] = "MemTotal: 125513676 kB\nMemAvailable: 4100000 kB\n"
    looked = seen(hosts).observation.hosts
    assert {name: host.short for name, host in looked.items() if host} == {
        "spark-2": False,
        "spark-3": True,
    }


def test_how_far_a_start_is() -> None:
    hosts = pair(engine="")
    hosts[0].texts["progress"] = (
        "Encoder cache will be initialized with a budget of 114688 tokens, and profiled\n"
    )
    hosts[0].texts["engine"] = "\n@@http 000 0.0 s Connection refused\n" * 2
    engine = seen(hosts).observation.engine
    assert engine is not None
    assert not engine.healthy
    assert engine.stage.startswith("profiling the vision encoder")


def test_the_shell_is_sound() -> None:
    subprocess.run(
        ["sh", "-n"], input=readings.PROGRESS.script(None), text=True, check=True  # type: ignore[arg-type]
    )  # fmt: skip
