"""`watch` as a verb: the action over fake hosts, and its command line."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from spark_cluster import places
from spark_cluster.actions import watch
from spark_cluster.actions.evidence import Collected
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.restarting import RestartTold
from spark_cluster.actions.watch import Address, Paused, Watched, Watching, WatchRequest
from spark_cluster.cli.views import watch as watch_view
from spark_cluster.core.error import InputError
from spark_cluster.core.event import (
    Alarmed,
    Event,
    HostLost,
    Note,
    RunFinished,
    RunStarted,
    StepStarted,
    as_json,
)
from spark_cluster.core.finding import Severity
from spark_cluster.watch.detector import Condition, Thresholds
from spark_cluster.watch.responder import Remedies, Responder
from spark_cluster.watch.restarts import Attempt, Restarts
from spark_cluster.watch.watcher import pause_file
from spark_cluster.workload.launched import Launched
from tests.command_line import Cli, assert_told
from tests.operators import Heard, Operators

from . import world
from .test_evidence import packed
from .watchers import pair
from .world import INVENTORY, Spark, stage

#: As fast as the fake hosts answer, on a free port.
#: A rank that is dead is dead at first sight.
FAST = WatchRequest(0.01, listen=Address("127.0.0.1", 0), thresholds=Thresholds(dead=0.0))

# The action


def stop() -> None:
    """As Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def at_reading(number: int, host: Spark, do: Callable[[], None]) -> None:
    """Do it while the host is read for this time; a turn is two readings, or one more."""
    count = itertools.count(1)

    def probe(script: str) -> str:
        if next(count) == number:
            do()
        return host.probe(script)

    host.on(world.MARK, probe)


def watched(
    over: Operators,
    hosts: list[Spark],
    request: WatchRequest,
    ends: Callable[[Event], bool] = lambda _: False,
) -> tuple[Watched, Heard]:
    """Watch until a stop, at the latest at the first event that `ends`; events are told one at a
    time."""
    operator, heard = over(hosts)
    alone, ended = threading.Lock(), threading.Event()

    def listen(event: Event) -> None:
        assert alone.acquire(blocking=False)
        heard.append(event)
        if not ended.is_set() and ends(event):
            ended.set()
            stop()
        alone.release()

    names = [host.name for host in hosts]
    return watch.watch(world.inventory(), names, request, replace(operator, listener=listen)), heard


def wounded() -> list[Spark]:
    """The pair, whose second rank has ended."""
    hosts = pair()
    hosts[1].texts["containers"] = world.running("spark-3", state="exited", status=1)
    for host in hosts:
        host.on("spark-cluster-evidence", packed({"docker/ps.txt": b"vllm-head\n"}))
    return hosts


def test_a_watch_ends_with_the_conditions_that_held(
    over: Operators, capfd: pytest.CaptureFixture[str]
) -> None:
    ended, heard = watched(over, wounded(), FAST, lambda event: isinstance(event, Alarmed))
    assert [(each.kind, each.host) for each in ended.conditions] == [("dead-rank", "spark-2")]
    assert "spark-3 (rank 1)" in ended.conditions[0].what
    assert ended.exit_code == 4
    (started,), (watching,) = heard.of(RunStarted), heard.of(Watching)
    assert (started.verb, watching.hosts, watching.interval) == ("watch", world.PAIR, 0.01)
    (alarm,), (finished,) = heard.of(Alarmed), heard.of(RunFinished)
    assert (alarm.phase, alarm.condition) == ("began", "dead-rank")
    assert (finished.run, finished.exit_code) == (started.run, 4)
    assert heard.index(started) < heard.index(watching) < heard.index(alarm)
    assert capfd.readouterr() == ("", "")


def test_a_watch_of_what_is_well_ends_with_nothing(over: Operators) -> None:
    hosts = pair()
    at_reading(4, hosts[1], stop)
    ended, heard = watched(over, hosts, FAST)
    assert (ended, ended.exit_code) == (Watched(()), 0)
    assert (heard.of(Alarmed), heard.of(HostLost)) == ([], [])


def test_the_metrics_are_served_while_it_watches(over: Operators) -> None:
    hosts = pair()
    address = Address("127.0.0.1", free_port())
    pages: list[str] = []

    def fetch() -> None:
        """The first turn is over."""
        with urlopen(f"http://{address}/metrics", timeout=20) as page:
            pages.append(page.read().decode())
        stop()

    at_reading(3, hosts[0], fetch)
    _, heard = watched(over, hosts, replace(FAST, listen=address))
    assert [each.metrics for each in heard.of(Watching)] == [f"http://{address}/metrics"]
    assert 'spark_cluster_host_up{host="spark-2"} 1.0' in pages[0]
    with pytest.raises(OSError, match="refused"):
        urlopen(f"http://{address}/metrics", timeout=20)


def test_a_port_in_use_is_told_before_hosts_are_asked(over: Operators) -> None:
    hosts = pair()
    operator, heard = over(hosts)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        request = replace(FAST, listen=Address(*taken.getsockname()))
        with pytest.raises(InputError, match=r"--listen 127\.0\.0\.1:\d+: "):
            watch.watch(world.inventory(), world.PAIR, request, operator)
    assert (heard, [host.connections for host in hosts]) == ([], [0, 0])


def test_evidence_first_and_then_a_restart_whose_events_are_told(
    over: Operators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stand in its own journal, not in the watcher's."""
    said = [StepStarted("gone", "Take down", world.PAIR), RunFinished("relaunch", "r2", 1, {}, 2.0)]
    program = tmp_path / "python"
    lines = "".join(f"echo '{json.dumps(as_json(event))}'\n" for event in said)
    program.write_text(f"#!/bin/sh\n{lines}exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    request = replace(FAST, cap=1)
    _, heard = watched(
        over, wounded(), request,
        lambda event: isinstance(event, Alarmed) and event.condition == "down",
    )  # fmt: skip
    assert [told.event for told in heard.of(RestartTold)] == said
    (archive,) = (places.state_dir() / "evidence").iterdir()
    assert tarfile.is_tarfile(archive)
    (note,) = [each for each in heard.of(Note) if str(archive) in each.message]
    assert heard.index(note) < heard.index(heard.of(RestartTold)[0])
    (journal,) = (places.state_dir() / "journal").glob("*-watch.jsonl")
    kinds = [json.loads(line)["kind"] for line in journal.read_text().splitlines()]
    assert (kinds[0], kinds[-1]) == ("run_started", "run_finished")
    assert "step_started" not in kinds


def test_a_pause_as_an_action(over: Operators) -> None:
    over([])
    assert watch.pause(True).paused
    assert pause_file().exists()
    ours = watch.pause(False)
    assert ours == Paused(ours.user, socket.gethostname(), paused=False)
    assert not pause_file().exists()


@pytest.mark.usefixtures("own_state")
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


def test_a_watcher_that_ends_says_which_restart_goes_on() -> None:
    release, entered = threading.Event(), threading.Event()

    def restart(_: Launched) -> Attempt:
        entered.set()
        release.wait(20)
        return Attempt()

    events: list[Event] = []
    responder = Responder(Remedies(lambda: "/e", restart=restart), events.append, Restarts())
    wedge = Condition("wedge", "spark-2", "", "RDMA015", Severity.CRITICAL, "stuck", 0.0)
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

    whom = f"watchers of {getpass.getuser()} on {socket.gethostname()}"
    assert cli("watch", "--pause").out.startswith(f"{whom} look on")
    assert cli("watch", "--unpause").out == f"{whom} act again\n"


@pytest.mark.parametrize("option", ["--pause", "--unpause"])
def test_a_pause_that_cannot_be_written_down(cli: Cli, option: str) -> None:
    Path.home().mkdir()
    (Path.home() / ".local").write_text("a file")
    assert_told(cli("watch", option), str(pause_file()), "Not a directory", "$XDG_STATE_HOME")


def test_a_port_in_use_is_told(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = cli("watch", "-i", INVENTORY, "--listen", f"127.0.0.1:{port}", hosts=pair())
    assert said.code == 2
    assert "a watcher may run already" in said.err


def test_what_a_person_sees(cli: Cli) -> None:
    hosts = pair()
    at_reading(1, hosts[0], stop)
    address = f"127.0.0.1:{free_port()}"
    words = ("watch", "-i", INVENTORY, "--hosts", "pair", "--interval", "2s")
    said = cli(*words, "--listen", address, hosts=hosts)
    watching, stopping = said.out.splitlines()
    assert said.code == 0
    assert watching == (
        f"watching spark-2, spark-3 every 2 s; metrics on http://{address}/metrics; Ctrl-C ends"
    )
    assert re.match(r"\d\d:\d\d:\d\d  stopping: ", stopping)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            Alarmed("t", "began", "dead-rank", "spark-3", "SERVE013", "critical", "it ended"),
            "began critical dead-rank SERVE013: spark-3: it ended",
        ),
        (HostLost("spark-3", InputError("away", remedy="wait")), "spark-3 is lost: away"),
        (Note("answers again", "spark-3"), "spark-3: answers again"),
        (Note("acts again"), "acts again"),
        (RunFinished("watch", "r1", 4, {}, 2.0), ""),
    ],
)
def test_the_line_of_an_event(event: Event, line: str) -> None:
    assert watch_view.line(event) == line


def test_a_pause_as_json(cli: Cli) -> None:
    (line,) = cli("watch", "--pause", "--json").lines
    assert (line["kind"], line["paused"]) == ("watch_paused", True)
