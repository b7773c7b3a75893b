"""`bench` on the command line: its help costs nothing, its numbers are read with care."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spark_cluster import places
from spark_cluster.bench.client import base_url
from spark_cluster.cli import app
from spark_cluster.cli.benching import numbers

from .cases import refused

_ROOT = Path(places.__file__).resolve().parents[1]
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
