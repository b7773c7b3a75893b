"""A real terminal (a pty) under a hostile cluster: only our colours, cursor and lines arrive."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spark_cluster import places
from tests.poison import harmless

pytestmark = pytest.mark.contract

_ROOT = str(Path(places.__file__).resolve().parents[1])

_PROGRAM = """\
from spark_cluster.actions import operator
from spark_cluster.cli import app
from spark_cluster.facts import probe
from spark_cluster.facts.base import Facts
from tests.fake_transport import FakeConnector
from tests.poison import poisoned
from tests.unit.world import Spark, torn
real = probe.parse
def parse(*arguments, **options):
    facts = real(*arguments, **options)
    return Facts({name: poisoned(value) for name, value in facts._values.items()})
probe.parse = parse
hosts = [Spark("spark-1"), torn("spark-2"), torn("spark-3")]
operator.connector = lambda: FakeConnector(hosts)
app.main()
"""

#: What rich itself writes on a terminal: colours, the cursor hidden and shown, a line cleared.
_OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[hl]|\x1b\[2K|\x1b\[1A|\r")


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """What arrives at a terminal of the program."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": _ROOT,
            "TERM": "xterm-256color",
            "COLUMNS": "4000",
        },
    )
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 65536):
            said += chunk
    except OSError:
        pass  # Linux says so when the other end is closed.
    finally:
        os.close(ours)
    process.wait(timeout=60)
    return said.decode("utf-8")


@pytest.mark.parametrize(
    "words", [["status"], ["doctor", "-v"], ["plan", "bootstrap"], ["teardown", "--dry-run"]]
)
def test_a_terminal_gets_our_own_sequences_only(words: list[str], tmp_path: Path) -> None:
    inventory = str(places.shipped("inventory") / "sparks.yaml")
    said = on_a_terminal(tmp_path, *words, "-i", inventory)
    assert "Traceback" not in said
    assert "owned" in said
    assert "\x1b[" in said
    harmless(_OURS.sub("", said))
