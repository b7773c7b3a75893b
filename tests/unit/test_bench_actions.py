"""bench as an action, against a small real server: its result, its file and its events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_cluster.actions.bench import Ask, measure, settings
from spark_cluster.actions.bench_kept import Begun, Finished, LevelEnded
from spark_cluster.bench import files
from spark_cluster.core.error import CheckFailed, InputError, Interrupted
from tests.contract.bench_server import MODEL, BenchServer
from tests.operators import Operators
from tests.operators import silent as silent_actions

from . import world
from .world import Spark

silent = pytest.fixture(autouse=True)(silent_actions)


@pytest.fixture
def server() -> Iterator[BenchServer]:
    server = BenchServer()
    yield server
    server.close()


def asked(folder: Path, endpoint: str | None, *levels: int, recipe: str | None = None) -> Ask:
    chosen = settings(
        "sweep", levels, input_tokens=8, output_tokens=4, requests=4, seconds=None, warm_up=0
    )
    return Ask(
        chosen, recipe, endpoint, inventory=world.INVENTORY, hosts=["spark-1"], output=folder
    )


def test_a_run_is_told_level_by_level_and_kept_in_its_file(
    over: Operators, server: BenchServer, tmp_path: Path
) -> None:
    operator, heard = over([])
    ended = measure(asked(tmp_path / "out", server.url, 1, 2), operator)
    (begun,) = heard.of(Begun)
    assert (begun.server.model, begun.levels, begun.beside) == (MODEL, ("c=1", "c=2"), False)
    told = [event.level for event in heard.of(LevelEnded)]
    assert [(level.name, level.summary.ok) for level in told] == [("c=1", 4), ("c=2", 4)]
    assert heard.of(Finished) == [ended] == heard[-1:]
    assert (ended.exit_code, ended.interrupted, ended.has_failures) == (0, False, False)
    kept = files.load(Path(ended.file))
    assert kept.levels == tuple(told)
    assert kept.arguments["salt"] == kept.run


def test_a_request_that_fails_makes_the_exit_code_1(over: Operators, tmp_path: Path) -> None:
    server = BenchServer(refuse_every=2)
    try:
        operator, heard = over([])
        ended = measure(asked(tmp_path / "out", server.url, 1), operator)
    finally:
        server.close()
    assert (ended.exit_code, ended.has_failures) == (1, True)
    assert heard.of(LevelEnded)[0].level.summary.failed == 2


def test_an_interrupt_keeps_the_levels_that_were_over(
    over: Operators, server: BenchServer, tmp_path: Path
) -> None:
    operator, heard = over([])

    def stop(event: object) -> None:
        heard.append(event)  # type: ignore[arg-type]
        if isinstance(event, LevelEnded):
            raise KeyboardInterrupt

    folder = tmp_path / "out"
    with pytest.raises(Interrupted) as error:
        measure(asked(folder, server.url, 1, 2), type(operator)(stop, connect=operator.connect))
    (path,) = folder.glob("*.json")
    assert str(path) in error.value.remedy
    kept = files.load(path)
    assert ([level.name for level in kept.levels], kept.interrupted) == (["c=1"], True)
    assert heard.of(Finished)[0].exit_code == Interrupted.exit_code


def test_what_does_not_go_together_and_what_does_not_run(over: Operators, tmp_path: Path) -> None:
    host = Spark("spark-1")
    operator, heard = over([host])
    with pytest.raises(InputError):
        measure(asked(tmp_path, "http://127.0.0.1:9", 1, recipe=world.RECIPE), operator)
    assert host.connections == 0
    with pytest.raises(CheckFailed):
        measure(asked(tmp_path, None, 1), operator)
    assert (heard, host.changes) == ([], [])
