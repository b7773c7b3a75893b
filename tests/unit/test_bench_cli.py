"""`bench` on the command line: its help costs nothing, its numbers are read with care."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from spark_cluster import places
from spark_cluster.actions.bench import numbers
from spark_cluster.actions.bench_place import launched
from spark_cluster.actions.bench_report import Written, write
from spark_cluster.bench.client import base_url
from spark_cluster.cli import app
from spark_cluster.facts.docker import Container
from spark_cluster.recipes.loader import load
from spark_cluster.recipes.models import Choice, Overlay
from spark_cluster.terminal.signals import as_ctrl_c

from . import world
from .cases import refused

_ROOT = Path(places.__file__).resolve().parents[1]
RECORDED = Path(__file__).parent / "data/bench/vllm-bench-0.32.json"
#: Without pydantic: typer itself (0.29) reads a verb's options with it.
HEAVY = ("httpx", "matplotlib", "paramiko", "asyncio", "rich.table")


@pytest.mark.parametrize("verb", ["sweep", "prefill", "image", "compare", "report"])
def test_every_verb_has_help(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert app.run(["bench", verb, "--help"]) == 0
    assert f"bench {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["bench", "--help"], ["bench", "sweep", "-h"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom spark_cluster.cli.app import run\n"
        f"code = run({arguments!r})\n"
        f"print('LOADED', code, *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True, cwd=_ROOT, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "LOADED 0", done.stderr


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("1,2,4", (1, 2, 4)),
        (" 8 , 64 ", (8, 64)),
        ("1K,64k", (1024, 65536)),
        ("4,4,1", (4, 1)),
        ("5,", (5,)),
    ],
)
def test_numbers(given: str, found: tuple[int, ...]) -> None:
    assert numbers("--levels", given, most=10**7) == found


@pytest.mark.parametrize("given", ["", ",", "0", "-1", "1.5", "1M", "x", "1;2", "99999999", "٣"])
def test_what_is_no_number(given: str) -> None:
    assert "--levels" in refused(lambda: numbers("--levels", given, most=4096)).message


# Its end


def test_a_lost_terminal_is_ctrl_c_and_under_nohup_nothing() -> None:
    def unheeded(*_: object) -> None:
        pytest.fail("the signal was not heeded")

    before = signal.signal(signal.SIGHUP, unheeded)
    try:
        with as_ctrl_c(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is unheeded
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with as_ctrl_c():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


# The recipe that ran


def head(**labels: str) -> Container:
    named = {f"spark-cluster.{name}": value for name, value in labels.items()}
    return Container("vllm-head", "running", 0, "", named)


def test_the_recipe_is_recorded_as_it_was_launched_without_its_secrets() -> None:
    choice = Choice(value="0.7")
    recipe = load(world.RECIPE, {}).model_copy(
        update={
            "args": {"gpu-memory-utilization": choice},
            "env": {"VLLM_API_KEY": Choice(value="sk-plain"), "A": Choice(value="1")},
            "profiles": {"long": Overlay(why="x", args={"max-model-len": 9, "tp": 1})},
            "options": {"pp": Overlay(why="x", args={"tp": 2}), "b": Overlay(why="", env={"A": 2})},
        }
    )
    found = launched(recipe, head(profile="long", options="pp,b"))
    assert {name: each["value"] for name, each in found["args"].items()} == {
        "gpu-memory-utilization": "0.7", "max-model-len": 9, "tp": 2,
    }  # fmt: skip
    assert {name: each["value"] for name, each in found["env"].items()} == {
        "VLLM_API_KEY": "***", "A": 2,
    }  # fmt: skip
    assert launched(recipe, head())["args"].keys() == {"gpu-memory-utilization"}
    assert "no option 'gone'" in refused(lambda: launched(recipe, head(options="gone"))).message


# Reports


def test_a_report_replaces_no_results(tmp_path: Path) -> None:
    result = tmp_path / "a.json"
    shutil.copy(RECORDED, result)
    odd = tmp_path / "b.md"
    shutil.copy(RECORDED, odd)
    cases: list[tuple[Path, Path | None]] = [(result, result), (odd, None), (RECORDED, result)]
    for given, output in cases:
        error = refused(partial(write, [given], output, None))
        assert "would replace the results" in error.message
        assert "--output" in error.remedy
    assert result.read_bytes() == odd.read_bytes() == RECORDED.read_bytes()
    written = Written((str(tmp_path / "a.md"),))
    assert write([result], None, None) == write([result], None, None) == written


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://h:8000", "http://h:8000"),
        ("http://h:8000/", "http://h:8000"),
        ("http://h:8000/v1", "http://h:8000"),
        ("h:8000/v1/", "http://h:8000"),
        ("192.168.102.11", "http://192.168.102.11"),
        ("https://h/spark/v1", "https://h/spark"),
        ("http://[fd00::1]:8000", "http://[fd00::1]:8000"),
    ],
)
def test_an_endpoint_is_taken_as_people_write_it(given: str, base: str) -> None:
    assert base_url(given) == base


@pytest.mark.parametrize(
    "given", ["", "http://", "ftp://h", "http://h:port", "http://u:secret@h", "http://h?x=1"]
)
def test_what_is_no_endpoint(given: str) -> None:
    error = refused(lambda: base_url(given))
    assert "--endpoint" in error.message
    assert "http://HOST:PORT" in error.remedy
