"""`lab up`, `down` and `status` where no machine is started."""

import os
import subprocess
from pathlib import Path

import pytest

from spark_cluster.core.error import InputError, LabError
from spark_cluster.lab import image, join, manage, process, snapshot, state
from spark_cluster.lab.accel import Way
from spark_cluster.lab.image import Base
from spark_cluster.lab.join import Image
from spark_cluster.lab.state import NodeState, State
from spark_cluster.lab.topology import topology


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARK_CLUSTER_LAB", raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    folder = state.folder()
    folder.mkdir(parents=True)
    return folder


def note(where: Path, alive: set[str], name: str = "pair") -> State:
    """A lab in which this very process stands for every node that is alive."""
    ticks = process.start_ticks(os.getpid())
    assert ticks is not None
    keys = where.parent / "keys"
    (keys / "keys").mkdir(parents=True, exist_ok=True)
    (keys / "keys" / "id_ed25519").write_text("k")
    for node in topology(name).nodes:
        (keys / "keys" / f"{node.name}.pub").write_text("ssh-ed25519 K c\n")
    nodes = {
        node.name: NodeState(os.getpid(), ticks if node.name in alive else -5, 1, 2, 3.0, True)
        for node in topology(name).nodes
    }
    made = State(name, "tcg", 2048, 9, str(where / "run"), str(keys), "/d", None, nodes)
    made.save(where)
    return made


ALL = {"spark-1", "spark-2", "spark-3"}


def test_up_leaves_running_nodes_alone(where: Path) -> None:
    note(where, ALL)
    said: list[str] = []
    manage.up(manage.Options(), said.append)
    assert said == ["all nodes are up already"]
    assert (where / "inventory.yaml").exists()


def test_up_starts_only_the_dead(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = note(where, ALL - {"spark-2"})
    started: list[set[str]] = []

    def start(where: Path, known: State, fresh: bool, names: set[str], say: object) -> State:
        started.append(names)
        return made

    monkeypatch.setattr(manage, "_start", start)
    manage.up(manage.Options(), lambda _: None)
    assert started == [{"spark-2"}]


def test_a_lab_of_which_nothing_runs_is_begun_anew(
    where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(where, set())
    (where / "run").mkdir()
    base = Base(where / "base-1")
    made = Image(base, where / "node-1" / "disk")
    for name in ("base-1", "node-1", "saved-1"):
        (where / name).mkdir()
    monkeypatch.setattr(manage, "_kernel_early", lambda *_: False)
    monkeypatch.setattr(image, "ensure_base", lambda *_: base)
    said: list[str] = []

    def slow(*_: object) -> Image:
        """Takes minutes: by then it is told how the nodes will be run."""
        assert said == ["nodes run by QEMU's emulation (no KVM)"]
        return made

    monkeypatch.setattr(join, "ensure", slow)
    monkeypatch.setattr(snapshot, "ensure_saved", lambda *_: snapshot.Saved(where / "saved-1"))
    monkeypatch.setattr("spark_cluster.lab.accel.choose", lambda *_: Way("tcg", "no KVM"))
    started: list[State] = []

    def start(where: Path, known: State, fresh: bool, names: set[str], say: object) -> State:
        started.append(known)
        assert names == ALL
        return known

    monkeypatch.setattr(manage, "_start", start)
    manage.up(manage.Options(mirror="http://m.example/"), said.append)
    assert started[0].base == str(where / "base-1")
    assert started[0].saved == str(where / "saved-1")
    assert (started[0].accel, started[0].why) == ("tcg", "no KVM")
    assert not (where / "run").exists()  # the last lab's sockets
    manage.down(lambda _: None)
    assert not list((where.parents[2] / "tmp").iterdir())


def test_another_topology_is_refused_while_one_is_up(where: Path) -> None:
    note(where, {"spark-1"})
    with pytest.raises(LabError) as error:
        manage.up(manage.Options(topology="ring"), lambda _: None)
    assert "down" in error.value.remedy


def test_a_topology_that_there_is_not_builds_nothing(
    where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []
    monkeypatch.setattr(manage, "build", lambda *given, **_: built.append(given))
    with pytest.raises(InputError, match="there is no topology foo"):
        manage.up(manage.Options(topology="foo"), lambda _: None)
    assert built == []


def test_reset_of_a_node_that_there_is_not(where: Path) -> None:
    note(where, ALL)
    with pytest.raises(InputError, match="there is no node spark-9"):
        manage.reset(["spark-9"], lambda _: None)


def test_status_tells_the_dead_from_the_living(where: Path) -> None:
    note(where, {"spark-3"})
    assert {node.name: node.up for node in manage.status()} == {
        "spark-1": False,
        "spark-2": False,
        "spark-3": True,
    }


def test_down_removes_everything_and_can_be_repeated(where: Path) -> None:
    note(where, set())
    said: list[str] = []
    manage.down(said.append)
    assert not where.exists()
    manage.down(said.append)
    assert said[-1] == "there is no lab"


def test_what_needs_a_lab_says_how_to_get_one(where: Path) -> None:
    with pytest.raises(LabError) as error:
        manage.must_be_up()
    assert error.value.remedy == "spark-cluster lab up"


def test_user_mode_nodes_without_their_network_are_started_anew(where: Path) -> None:
    made = note(where, set())
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    running = []
    for child in children:
        ticks = process.start_ticks(child.pid)
        assert ticks is not None
        running.append(process.Running(child.pid, ticks))
    made.accel, made.kernel = "uml", str(where / "kernel")
    made.nodes["spark-1"] = NodeState(running[0].pid, running[0].ticks, 1, 2, 3.0, False)
    made.switchboard = running[1]
    made.save(where)
    assert {node.name for node in manage.status() if node.up} == {"spark-1"}
    children[1].kill()
    children[1].wait()
    assert {node.name for node in manage.status() if node.up} == set()
    manage.down(lambda _: None)  # and what still runs of it is ended
    assert children[0].wait(10) < 0


def test_another_way_to_run_nodes_is_refused_while_a_lab_is_up(where: Path) -> None:
    note(where, {"spark-1"})
    with pytest.raises(LabError, match="QEMU's emulation"):
        manage.up(manage.Options(accel="kvm"), lambda _: None)
