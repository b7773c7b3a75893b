"""`watch` as a verb: the action over fake hosts, and its command line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.actions import watch
from spark_cluster.actions.evidence import Collected
from spark_cluster.actions.operator import Operator
from spark_cluster.core.event import Event, Note
from spark_cluster.watch.detector import Condition
from spark_cluster.watch.responder import Remedies, Responder
from spark_cluster.watch.restarts import Attempt, Restarts
from spark_cluster.watch.watcher import pause_file
from spark_cluster.workload.launched import Launched
from tests.command_line import Cli, assert_told

from . import world
from .watchers import pair
from .world import INVENTORY, stage


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
