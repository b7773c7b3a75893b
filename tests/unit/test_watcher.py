"""The watcher over fake hosts: what it reads, tells and exposes, and what is done about it."""

from __future__ import annotations

import itertools
import json
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from spark_cluster.actions import restarting, watch, watch_service
from spark_cluster.actions.evidence import Collected
from spark_cluster.actions.operator import Operator
from spark_cluster.cli.views import watch as watch_view
from spark_cluster.core.error import StepFailed, Unreachable
from spark_cluster.core.event import Alarmed, Event, Note
from spark_cluster.facts.base import Facts
from spark_cluster.watch import readings
from spark_cluster.watch.detector import Condition
from spark_cluster.watch.responder import Remedies, Responder
from spark_cluster.watch.restarts import Attempt, Restarts, command
from spark_cluster.watch.watcher import Settings, Watcher, pause_file
from spark_cluster.workload.launched import Launched
from tests.command_line import Cli, assert_told

from . import world
from .test_status import page
from .world import INVENTORY, MARK, Spark, stage

LOW = "state,2100, 3003, 28.00, 96, 61, 0x0\n"
HIGH = "state,2400, 3003, 85.00, 96, 61, 0x0\n"


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def pair(**texts: str) -> list[Spark]:
    """The shipped recipe on its two hosts, with requests that run."""
    hosts = []
    for name in world.PAIR:
        pid = 4877 if name == "spark-2" else 4211
        gpu = world.healthy("gpu", name) + f"app,{pid}, python3, [N/A]\n"
        given = {"containers": world.running(name), "gpu-state": LOW, "gpu": gpu, **texts}
        hosts.append(Spark(name, given))
    hosts[0].texts["engine"] = page(1000)
    return hosts


class Stand:
    """A watcher whose clock goes fifteen seconds a turn; a response ends before the next turn."""

    def __init__(
        self, hosts: list[Spark], remedies: Remedies | None = None, policy: Restarts | None = None
    ) -> None:
        self.events: list[Event] = []
        self.collected = 0
        self.at = 0.0
        self.session = stage(hosts).session
        self.responder = Responder(
            remedies or Remedies(self.collect), self.events.append, policy or Restarts()
        )
        self.watcher = Watcher(
            self.session,
            world.inventory(),
            self.responder,
            self.events.append,
            Settings(interval=0.0),
            lambda: self.at,
        )

    def collect(self) -> str:
        self.collected += 1
        return "/evidence.tar.gz"

    def turns(self, count: int, each: Callable[[int], None] = lambda _: None) -> None:
        """So many turns, `each` called before every one with its number from 1."""
        done = 0
        take = self.watcher._take

        def counted(turn: Any) -> None:
            nonlocal done
            self.at += 15.0
            take(turn)
            self.responder.wait(10)
            done += 1
            each(done)
            if done == count:
                self.session.stop.request()

        self.watcher._take = counted  # type: ignore[method-assign]
        self.session.stop = type(self.session.stop)()
        self.watcher.run()
        self.watcher._take = take  # type: ignore[method-assign]

    def alarms(self) -> list[tuple[str, str, str]]:
        found = [event for event in self.events if isinstance(event, Alarmed)]
        return [(event.phase, event.condition, event.severity) for event in found]

    def notes(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Note)]


@pytest.fixture
def warm() -> Iterator[Callable[..., Stand]]:
    """A stand whose engine has worked for an hour."""
    made: list[Stand] = []

    def make(hosts: list[Spark], *rest: Any) -> Stand:
        stand = Stand(hosts, *rest)
        made.append(stand)

        def works(done: int) -> None:
            hosts[0].texts["engine"] = page(1000 + 100 * done)
            if done == 1:
                stand.at += 3600.0

        stand.turns(3, works)
        return stand

    yield make
    for stand in made:
        stand.session.close()


# Reading


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


def seen(hosts: list[Spark]) -> readings.Look:
    session = stage(hosts).session

    def read() -> Any:
        return session.each(session.alive, lambda there: there.read(readings.FACTS))

    before, after = read(), read()
    session.close()
    return readings.look(
        before, after, after, world.inventory(), at=0.0, hosts=tuple(session.hosts)
    )


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
        look = readings.look({}, after, known, world.inventory(), at=0.0, hosts=tuple(known))
        assert look.served is not None
        assert look.served.host == "spark-2"
        assert look.observation.engine is not None
    # A newer one on a host that cannot be read does not hide the one that can.
    known = {**facts_of("spark-1", newer), **facts_of("spark-2", older)}
    after = {"spark-2": known["spark-2"]}
    look = readings.look({}, after, known, world.inventory(), at=0.0, hosts=tuple(known))
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
    look = readings.look({}, known, known, world.inventory(), at=0.0, hosts=tuple(known))
    assert look.served is not None
    return look.served.host


def launch_of(run: str, group: str, state: str = "running") -> dict[str, str]:
    """A head's `containers`, of this launch on these hosts."""
    head = world.running("spark-2", state=state)
    text = re.sub(r'"spark-cluster.run":"[^"]*"', f'"spark-cluster.run":"{run}"', head)
    return {"containers": re.sub(r'(cluster.group":)"[^"]*"', rf'\1"{group}"', text)}


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


# Telling and acting


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


def test_nothing_is_restarted_unasked(warm: Callable[..., Stand]) -> None:
    stand = warm(pair())
    stand.turns(60)
    assert stand.responder.restarts == ()


def test_restarts_have_a_pause_that_grows_and_a_cap(warm: Callable[..., Stand]) -> None:
    restarted: list[tuple[str, float]] = []
    box: list[Stand] = []

    def restart(found: Launched) -> Attempt:
        restarted.append((found.recipe, box[0].at))
        return Attempt("launch of it gave exit code 1")

    remedies = Remedies(lambda: "/e.tar.gz", restart=restart)
    box.append(warm(pair(), remedies, Restarts(cap=3, pause=60.0)))
    box[0].turns(80)
    assert [name for name, _ in restarted] == [world.RECIPE] * 3
    times = [at for _, at in restarted]
    assert [times[1] - times[0], times[2] - times[1]] == [60.0, 120.0]
    notes = box[0].notes()
    assert notes.count("evidence: /e.tar.gz") == 1
    assert notes.count("no more restarts: 3 within 6 h") == 1
    assert notes.index("evidence: /e.tar.gz") < notes.index(
        f"restarting {world.RECIPE} because of wedge"
    )


def test_what_mends_while_evidence_is_collected_is_not_restarted(
    warm: Callable[..., Stand],
) -> None:
    hosts = pair()
    restarted: list[str] = []

    def collect() -> str:
        hosts[0].texts["engine"] = page(5000)  # tokens come again
        return "/e.tar.gz"

    def restart(found: Launched) -> Attempt:
        restarted.append(found.recipe)
        return Attempt()

    stand = warm(hosts, Remedies(collect, restart=restart))
    stand.turns(40)
    assert stand.alarms() == [("began", "wedge", "critical"), ("ended", "wedge", "critical")]
    assert restarted == []
    assert stand.responder.restarts == ()


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


def test_a_rank_that_the_hosts_start_again_is_left_to_them(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    restarted: list[float] = []
    box: list[Stand] = []

    def restart(_: Launched) -> Attempt:
        restarted.append(box[0].at)
        return Attempt()

    box.append(warm(hosts, Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=1)))
    for host in hosts:
        host.texts["supervisor"] = "RECIPE qwen3-vl-235b\nActiveState=active\n"
    hosts[1].texts["containers"] = world.running("spark-3", state="exited", status=1)
    begun = box[0].at
    box[0].turns(40)
    assert "evidence: /e.tar.gz" in box[0].notes()
    assert restarted == []
    box[0].turns(60)
    assert len(restarted) == 1
    assert restarted[0] - begun > 1200.0


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


def test_evidence_that_fails_keeps_nobody_from_a_restart(warm: Callable[..., Stand]) -> None:
    restarted: list[str] = []

    def collect() -> str:
        raise StepFailed("the disk is full", remedy="Make room.")

    def restart(found: Launched) -> Attempt:
        restarted.append(found.recipe)
        return Attempt()

    stand = warm(pair(), Remedies(collect, restart=restart), Restarts(cap=1))
    stand.turns(25)
    assert restarted == [world.RECIPE]
    assert "no evidence: the disk is full" in stand.notes()


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
    wedge = Condition("wedge", "spark-2", "", "RDMA015", "critical", "stuck", 0.0)
    responder.consider((wedge,), None, 1.0)
    assert entered.wait(20)
    assert responder.busy
    responder.consider((wedge,), None, 2.0)
    release.set()
    responder.wait(20)
    assert not responder.busy


def test_the_watchers_own_archives_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "state" / "spark-cluster" / "evidence"
    folder.mkdir(parents=True)
    names = [f"watch-spark-cluster-evidence-20990101-0000{n:02}.tar.gz" for n in range(25)]
    others = [
        "spark-cluster-evidence-20200101-000000.tar.gz",  # a person's
        "watch-spark-cluster-evidence-20200101-000000.tar.gz.part",
        "watch-spark-cluster-evidence-before-the-upgrade.tar.gz",
    ]
    for name in (*names, *others):
        (folder / name).touch()
    session = stage(pair()).session

    @contextmanager
    def looking(*_: object) -> Iterator[Any]:
        yield session

    def gather(_: object, __: object, path: Path, *, since: str) -> Collected:
        path.touch()
        return Collected(str(path), 0, 0, (), (), ())

    monkeypatch.setattr("spark_cluster.actions.watch.looking", looking)
    monkeypatch.setattr("spark_cluster.actions.watch.gather", gather)
    new = Path(watch._evidence(world.inventory(), session, Operator()))
    session.close()
    assert new.parent == folder
    # Also the one of a clock that was set back is kept: it is of just now.
    assert {path.name for path in folder.iterdir()} == {*names[-19:], *others, new.name}


# Restarts


class Restarter:
    """A remedies that ends as it is told, and remembers what it was called with."""

    def __init__(self, *attempts: Attempt, then: Callable[[], None] = lambda: None) -> None:
        self.attempts = list(attempts)
        self.then = then
        self.calls: list[Launched] = []

    def __call__(self, launch: Launched) -> Attempt:
        self.calls.append(launch)
        self.then()
        return self.attempts.pop(0) if len(self.attempts) > 1 else self.attempts[0]

    def commands(self) -> list[list[str]]:
        return [command(launch, world.inventory()) for launch in self.calls]


def torn_down(hosts: list[Spark]) -> Callable[[], None]:
    """What a relaunch leaves whose launch was refused."""

    def clear() -> None:
        for host in hosts:
            host.texts |= {"containers": "", "engine": ""}

    return clear


_FAILED = Attempt("relaunch of it gave exit code 1", process=("here", 71))


def test_what_a_restart_took_down_is_launched_again(warm: Callable[..., Stand]) -> None:
    hosts = pair(supervisor="RECIPE qwen3-vl-235b\n")
    restart = Restarter(_FAILED, then=torn_down(hosts))
    stand = warm(hosts, Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=3))
    stand.turns(60)
    launch = ["launch", world.RECIPE, "--anyway", "--group", "pair", "--restart-at-boot"]
    assert restart.commands() == [["relaunch", world.RECIPE], launch, launch]
    assert ("began", "down", "critical") in stand.alarms()
    assert ("ended", "down", "critical") not in stand.alarms()
    assert stand.notes().count("no more restarts: 3 within 6 h") == 1
    (down,) = [each for each in stand.watcher.conditions if each.kind == "down"]
    assert down.code == "MON006"
    assert down.what.endswith("does not serve: relaunch of it gave exit code 1")


def test_a_launch_that_comes_up_ends_it(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    clear = torn_down(hosts)

    def change() -> None:
        if len(restart.calls) == 1:
            clear()
        else:
            for host in hosts:
                host.texts["containers"] = world.running(host.name)
            hosts[0].texts["engine"] = page(9000)

    restart = Restarter(_FAILED, Attempt(), then=change)
    stand = warm(hosts, Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=3))
    stand.turns(40)
    assert stand.alarms()[-1] == ("ended", "down", "critical")
    assert len(restart.calls) == 2


def test_what_is_left_of_it_is_relaunched(warm: Callable[..., Stand]) -> None:
    hosts = pair()

    def change() -> None:
        hosts[0].texts |= {"containers": "", "engine": ""}

    restart = Restarter(_FAILED, then=change)
    stand = warm(hosts, Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=2))
    stand.turns(40)
    assert restart.commands() == [["relaunch", world.RECIPE]] * 2


def test_what_somebody_else_works_on_is_left_to_them(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    clear = torn_down(hosts)

    def change() -> None:
        clear()
        hosts[1].texts["lock"] = "last launch by me@here (pid 71) since 2999-01-01 00:00:00 UTC\n"

    restart = Restarter(_FAILED, then=change)
    stand = warm(hosts, Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=9, pause=600))
    stand.turns(30)
    assert [each.kind for each in stand.watcher.conditions] == ["down"]
    hosts[1].texts["lock"] = "last teardown by ada@there (pid 9) since 2999-01-01 00:00:01 UTC\n"
    stand.turns(60)
    assert stand.alarms()[-1] == ("ended", "down", "critical")
    assert len(restart.calls) == 1


def test_refused_restarts_do_not_use_up_the_cap(warm: Callable[..., Stand]) -> None:
    times: list[float] = []
    refused = Attempt("relaunch of it gave exit code 3, nothing was changed", changed=False)
    restart = Restarter(*[refused] * 5, Attempt(), then=lambda: times.append(box[0].at))
    box = [warm(pair(), Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=1))]
    box[0].turns(150)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps == [60.0, 120.0, 240.0, 480.0, 900.0]
    assert len(box[0].responder.restarts) == 1


def test_a_head_that_ended_before_the_watcher_came_is_restarted() -> None:
    hosts = pair()
    ended = world.running("spark-2", state="exited", status=137)
    hosts[0].texts |= {"containers": ended, "engine": ""}
    restart = Restarter(Attempt("it failed"))
    stand = Stand(hosts, Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=1))
    stand.turns(8)
    stand.session.close()
    assert restart.commands() == [["relaunch", world.RECIPE]]


def test_a_recipe_that_cannot_be_loaded_is_told_at_first_sight() -> None:
    hosts = pair()
    remedies = Remedies(
        lambda: "/e.tar.gz", restart=Restarter(Attempt()), lacks=lambda name: f"no recipe {name}"
    )
    stand = Stand(hosts, remedies)
    stand.turns(3)
    stand.session.close()
    assert stand.notes() == [f"{world.RECIPE} could not be restarted: no recipe {world.RECIPE}"]


def test_what_a_recipe_lacks() -> None:
    lack = restarting.lacks(world.inventory())
    assert lack(world.RECIPE) == ""
    assert lack("from-a-file").startswith("there is no recipe 'from-a-file'. Name its file under")


@pytest.mark.parametrize(
    ("launch", "words"),
    [
        (Launched("r", ("spark-2", "spark-3"), None, (), {"spark-2": "x"}), "relaunch r"),
        (
            Launched("r", ("spark-2", "spark-3"), "small", ("pp", "debug"), {}, True),
            "launch r --anyway --group pair --profile small --with pp,debug --restart-at-boot",
        ),
        (
            Launched("r", ("spark-1", "spark-3"), None, (), {}),
            "launch r --anyway --group spark-1,spark-3",
        ),
        (Launched("r", ("spark-1",), None, (), {}), "launch r --anyway --group spark-1"),
    ],
)
def test_the_command_of_a_restart(launch: Launched, words: str) -> None:
    assert " ".join(command(launch, world.inventory())) == words


SERVES = '{"kind": "step_finished", "step": "canary", "host": "spark-2", "status": "ok"}'


@pytest.mark.parametrize(
    ("events", "code", "changed"),
    [
        (['{"kind": "step_started", "step": "gone"}', SERVES], 4, True),
        (['{"kind": "error", "error": {"message": "away", "remedy": "wait"}}'], 3, False),
        (['{"kind": "run_started"}', '{"kind": "step_started", "step": "gone"}'], 1, True),
        (['{"kind": "step_started", "step": "gone"}', "[] no event"], 0, True),
    ],
)
def test_a_restart_is_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: list[str], code: int, changed: bool
) -> None:
    program = tmp_path / "python"
    said = "".join(f"echo '{line}'\n" for line in events)
    session = 'cut -d" " -f6 /proc/$$/stat\n'
    program.write_text(f'#!/bin/sh\necho "$*"\n{session}{said}exit {code}\n')
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    lines: list[str] = []
    launch = Launched(world.RECIPE, world.PAIR, None, (), {"spark-2": "x"})
    attempt = restarting.restarter(world.inventory(), lines.append)(launch)
    assert lines[0] == f"-m spark_cluster relaunch {world.RECIPE} --inventory {INVENTORY} --json"
    assert lines[2:] == events
    assert attempt.process == (socket.gethostname(), int(lines[1]))  # the leader of its session
    assert attempt.changed is changed
    unchanged = "" if changed else ", nothing was changed"
    failed = code and SERVES not in events  # a verdict of socket is no launch that failed
    expected = f"relaunch of {world.RECIPE} gave exit code {code}{unchanged}" if failed else ""
    assert attempt.problem == expected


def test_what_a_refused_relaunch_says_is_read(cli: Cli) -> None:
    """The sign of an attempt that changed nothing, by the true command."""
    said = cli("relaunch", "-i", INVENTORY, "--json", hosts=[world.serving("spark-2")])
    assert said.code in (3, 4)
    assert [each for each in said.lines if each["kind"] == "step_started"] == []


def test_the_lines_of_a_restart_for_a_person() -> None:
    lines = [
        {"kind": "run_started", "verb": "launch", "hosts": ["spark-2"], "run": "r1"},
        {"kind": "step_finished", "status": "ok", "host": "spark-2"},
        {"kind": "step_finished", "status": "failed", "host": "spark-2", "title": "Ready",
         "details": [], "summary": "no answer"},
        {"kind": "error", "error": {"message": "spark-3 is away", "remedy": "Is it on?"}},
        {"kind": "run_finished", "verb": "launch", "exit_code": 4},
    ]  # fmt: skip
    assert [watch_view.told(json.dumps(line)) for line in lines] == [
        "launch on spark-2, run r1",
        "",
        "spark-2: Ready: failed: no answer",
        "error: spark-3 is away; next: Is it on?",
        "launch ended with exit code 4",
    ]


def test_a_watcher_that_ends_says_which_restart_goes_on() -> None:
    release, entered = threading.Event(), threading.Event()

    def restart(_: Launched) -> Attempt:
        entered.set()
        release.wait(20)
        return Attempt()

    events: list[Event] = []
    responder = Responder(Remedies(lambda: "/e", restart=restart), events.append, Restarts())
    wedge = Condition("wedge", "spark-2", "", "RDMA015", "critical", "stuck", 0.0)
    responder.consider((wedge,), None, 1.0)
    responder.wait(20)
    responder.consider((wedge,), Launched("r", ("spark-2",), None, (), {}), 2.0)
    assert entered.wait(20)
    watch._say_what_goes_on(responder, events.append)
    said = "the restart of r goes on without the watcher; `spark-cluster history` shows how it ends"
    assert isinstance(events[-1], Note)
    assert events[-1].message == said
    release.set()
    responder.wait(20)
    count = len(events)
    watch._say_what_goes_on(responder, events.append)
    assert len(events) == count


# The canary

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


# Exposing


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


# The command line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--pause", "--unpause"], "--pause and --unpause do not go together"),
        (["--listen", "9470"], "--listen 9470"),
        (["--interval", "0"], "'--interval'"),
        (["-i", "/no/such.yaml"], "/no/such.yaml"),
    ],
)
def test_what_a_user_may_get_wrong(cli: Cli, arguments: list[str], says: str) -> None:
    said = cli("watch", *arguments)
    assert said.code == 2
    assert says in said.err


def test_pause_and_resume(cli: Cli) -> None:
    assert cli("watch", "--pause").code == 0
    assert pause_file().exists()
    assert cli("watch", "--unpause").code == 0
    assert not pause_file().exists()


def test_a_pause_names_whom_it_holds(cli: Cli) -> None:
    import getpass
    import socket

    whom = f"watchers of {getpass.getuser()} on {socket.gethostname()}"
    assert cli("watch", "--pause").out.startswith(f"{whom} look on")
    assert cli("watch", "--unpause").out == f"{whom} act again\n"


@pytest.mark.parametrize("option", ["--pause", "--unpause"])
def test_a_pause_that_cannot_be_written_down(cli: Cli, option: str) -> None:
    Path.home().mkdir()
    (Path.home() / ".local").write_text("a file")
    assert_told(cli("watch", option), str(pause_file()), "Not a directory", "$XDG_STATE_HOME")


def test_a_port_in_use_is_told(cli: Cli) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = cli("watch", "-i", INVENTORY, "--listen", f"127.0.0.1:{port}", hosts=pair())
    assert said.code == 2
    assert "a watcher may run already" in said.err


def test_the_unit() -> None:
    text = watch_service.unit(["--on-wedge", 'echo "100%" $HOME'], user=True)
    assert "KillMode=process" in text  # what it began goes on
    assert '"-m" "spark_cluster" "watch" "--on-wedge" "echo \\"100%%\\" $$HOME"' in text
    assert "WantedBy=default.target" in text
    assert "WantedBy=multi-user.target" in watch_service.unit([], user=False)


def test_install_and_uninstall(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "units" / watch_service.NAME
    ran: list[list[str]] = []
    monkeypatch.setattr(watch_service, "_place", lambda: (path, ["systemctl"]))
    monkeypatch.setattr(watch_service, "_run", ran.append)
    monkeypatch.setattr(watch_service, "_state", lambda _: "active")
    monkeypatch.setattr(watch_service, "_STEADY", 0.01)
    said = cli("watch", "--install", "--restart", "--interval", "20", "-i", INVENTORY)
    assert said.code == 0
    text = path.read_text()
    assert '"--interval" "20s"' in text
    assert f'"--inventory" "{INVENTORY}"' in text
    assert '"--restart" "--cap" "3"' in text
    assert [words[1] for words in ran] == ["--version", "daemon-reload", "enable", "restart"]
    assert cli("watch", "--uninstall").code == 0
    assert not path.exists()
    assert "nothing to remove" in cli("watch", "--uninstall").out


@pytest.mark.parametrize(
    ("systemctl", "states", "says"),
    [
        (["systemctl", "--user"], ["failed"], "`journalctl --user -n 20 -u spark-cluster-watch"),
        (["systemctl"], ["active", "activating"], "`journalctl -n 20 -u spark-cluster-watch"),
    ],
)
def test_an_installed_watcher_that_ends_at_once_is_told(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    systemctl: list[str],
    states: list[str],
    says: str,
) -> None:
    left = list(states)
    monkeypatch.setattr(watch_service, "_place", lambda: (tmp_path / "unit", systemctl))
    monkeypatch.setattr(watch_service, "_run", lambda _: None)
    monkeypatch.setattr(watch_service, "_state", lambda _: left.pop(0))
    said = cli("watch", "--install", "-i", INVENTORY)
    assert said.code == 1
    assert "started" not in said.out
    assert f"its watcher has ended: {states[-1]}" in said.err
    assert says in said.err
