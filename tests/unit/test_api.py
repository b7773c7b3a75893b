"""`import spark_cluster` as a user's program has it: typed, silent, its events and results."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import spark_cluster
from spark_cluster import Cluster, SparkError, events
from spark_cluster.core.error import InputError, Unreachable
from spark_cluster.core.event import Event, RunFinished, RunStarted
from tests.fake_transport import FakeConnector
from tests.operators import Operators

from . import world
from .world import INVENTORY, Spark, bare, down, launching, serving, sparks, torn

PROGRAM = Path(__file__).parent / "data" / "api" / "program.py"
PAGE = Path(spark_cluster.__file__).parents[1] / "docs" / "api.md"


def reached(*hosts: Spark, on_event: Callable[[Event], None] = lambda _: None) -> Cluster:
    return Cluster(INVENTORY, on_event=on_event, connect=FakeConnector(hosts))


def test_a_users_program_is_typed(tmp_path: Path) -> None:
    """By the annotations that ship with the package, in a folder that knows nothing of ours."""
    (tmp_path / "program.py").write_text(PROGRAM.read_text())
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_shows_this_very_program() -> None:
    assert f"```python\n{PROGRAM.read_text()}```\n" in PAGE.read_text(encoding="utf-8")


def test_every_public_name_has_its_meaning() -> None:
    for name in spark_cluster.__all__:
        if name != "__version__":
            assert getattr(spark_cluster, name).__doc__, name
    for name, method in vars(Cluster).items():
        if not name.startswith("_"):
            assert method.__doc__, name
    with pytest.raises(AttributeError):
        getattr(spark_cluster, "no_such_name")  # noqa: B009


def test_nothing_heavy_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, spark_cluster; print([m for m in ('paramiko', 'typer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_its_whole_life_without_a_word(over: Operators, capfd: pytest.CaptureFixture[str]) -> None:
    over([])
    heard: list[Event] = []
    pair = launching("spark-2"), launching("spark-3")
    cluster = reached(*pair, on_event=heard.append)
    launched = cluster.launch("qwen3-vl-235b")
    assert launched.serving is not None
    assert launched.serving.endpoint == "http://192.168.102.11:8000/v1"
    assert launched.verdict is not None
    assert launched.verdict.kind == "rdma"
    assert isinstance(heard[0], RunStarted)
    assert isinstance(heard[-1], RunFinished)
    down_again = reached(Spark("spark-1"), torn("spark-2"), torn("spark-3")).teardown()
    assert down_again.exit_code == 0
    assert capfd.readouterr() == ("", "")


def test_plans_change_nothing(over: Operators) -> None:
    over([])
    hosts = [bare(name) for name in ("spark-1", "spark-2", "spark-3")]
    assert reached(*hosts).plan_bootstrap().change_count > 0
    assert reached(launching("spark-2"), launching("spark-3")).plan_launch("qwen3-vl-235b")
    assert [host.changes for host in hosts] == [[], [], []]


def test_a_host_that_is_away_is_an_error_or_a_finding(over: Operators) -> None:
    over([])
    cluster = reached(Spark("spark-1"), Spark("spark-2"), down("spark-3"))
    with pytest.raises(Unreachable) as away:
        cluster.bootstrap()
    assert away.value.remedy
    assert "HOST010" in {finding.code for finding in cluster.doctor()}


def test_status_has_a_row_for_each_host(over: Operators) -> None:
    over([])
    cluster = reached(serving("spark-2"), down("spark-3"))
    report = cluster.status(["spark-2", "spark-3"])
    assert [(row["host"], row["state"]) for row in report.hosts] == [
        ("spark-2", "up"),
        ("spark-3", "unknown"),
    ]
    assert (report.kind, report.exit_code) == ("status", 3)


def test_what_the_user_wrote_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("version: 1\nhosts: {spark-1: {adress: x}}\n")
    with pytest.raises(InputError) as bad:
        Cluster(path)
    assert str(path) in (bad.value.place or "")
    with pytest.raises(InputError):
        reached(*sparks("spark-1")).select(["spark-9"])
    assert reached().select(None) == ["spark-1", "spark-2", "spark-3"]


def test_events_one_by_one_and_then_the_result(over: Operators) -> None:
    over([])
    hosts = [Spark("spark-1"), torn("spark-2"), torn("spark-3")]
    found = events(lambda tell: reached(*hosts, on_event=tell).teardown())
    kinds = []
    while True:
        try:
            kinds.append(next(found).kind)
        except StopIteration as end:
            assert end.value.exit_code == 0
            break
    assert (kinds[0], kinds[-1]) == ("run_started", "run_finished")


def test_an_iteration_ends_with_the_error_of_its_action(over: Operators) -> None:
    over([])
    with pytest.raises(SparkError):
        list(
            events(lambda tell: reached(down("spark-1"), on_event=tell).teardown(hosts=["spark-1"]))
        )


def test_an_inventory_may_be_an_object() -> None:
    assert Cluster(world.inventory()).hosts == ("spark-1", "spark-2", "spark-3")
