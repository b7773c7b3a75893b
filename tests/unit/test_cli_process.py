"""The program in a process of its own: pipes, what it imports, completion."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spark_cluster import places
from tests.command_line import Cli

from .world import INVENTORY, Spark, healthy, swapped
from .world import journal as written

# Plain text


ESCAPE = "\x1b"


def program(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own."""
    code = "from spark_cluster.cli.app import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        text=True,
        capture_output=True,
        cwd=cwd,
        timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONPATH": _ROOT, **environment},
    )


_ROOT = str(Path(places.__file__).resolve().parents[1])


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1", "TERM": "xterm-256color"}])
@pytest.mark.parametrize("arguments", [["--help"], ["explain", "NET004"], ["launch", "nothing"]])
def test_pipes_get_no_escape_codes(
    tmp_path: Path, arguments: list[str], environment: dict[str, str]
) -> None:
    done = program(*arguments, cwd=tmp_path, **environment)
    assert ESCAPE not in done.stdout + done.stderr
    assert done.stdout + done.stderr


def test_a_run_on_a_pipe_has_no_escape_codes_and_whole_lines(cli: Cli) -> None:
    hosts = [Spark("spark-1"), swapped("spark-2"), Spark("spark-3", {"gpu": "no GPU\n"})]
    hosts[2].texts["host"] = healthy("host", "spark-3") + "missing=flock\nmissing=netplan\n"
    said = cli("bootstrap", "-v", "-i", INVENTORY, hosts=hosts)
    assert ESCAPE not in said.out + said.err
    assert "flock is not installed" in said.out


# A reader that goes away


def unread(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """The program over three fake hosts that serve, its output into a pipe that nobody reads: its
    exit code and what it said on standard error."""
    code = (
        "from spark_cluster.actions import operator\n"
        "from spark_cluster.cli import app\n"
        "from tests.fake_transport import FakeConnector\n"
        "from tests.unit.world import Spark, torn\n"
        "hosts = [Spark('spark-1'), torn('spark-2'), torn('spark-3')]\n"
        "operator.connector = lambda: FakeConnector(hosts)\n"
        "app.main()\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            text=True,
            stdout=writer,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            timeout=60,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "PYTHONPATH": _ROOT},
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize("options", [["--json"], []])
@pytest.mark.parametrize(
    ("recipe", "ends"),
    [("qwen3-vl-235b", 0), ("no-such-recipe", 2)],
)
def test_a_teardown_that_nobody_reads_comes_to_its_own_end(
    tmp_path: Path, options: list[str], recipe: str, ends: int
) -> None:
    code, told = unread(tmp_path, "teardown", recipe, *options, "-i", INVENTORY)
    assert code == ends, told
    assert "Traceback" not in told
    assert "Exception ignored" not in told
    (journal,) = written(tmp_path)
    last = json.loads(journal.read_text().splitlines()[-1])
    assert last["kind"] == ("run_failed" if ends else "run_finished")


def test_a_list_that_nobody_reads_ends_quietly(tmp_path: Path) -> None:
    assert unread(tmp_path, "explain", "NET004", "--json") == (1, "")


# A standard output that is full, closed or ASCII


TORN = """\
from spark_cluster.actions import operator
from spark_cluster.cli import app
from tests.fake_transport import FakeConnector
from tests.unit.world import Spark, torn
hosts = [Spark('spark-1'), torn('spark-2'), torn('spark-3')]
operator.connector = lambda: FakeConnector(hosts)
app.main()
"""


def redirected(
    tmp_path: Path, arguments: str, into: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The program over three fake hosts that serve, started by a shell with these redirections."""
    return subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {arguments} {into}', sys.executable, TORN],
        text=True,
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "PYTHONPATH": _ROOT,
             **environment},
    )  # fmt: skip


SHOWN = ["explain", "--help", "recipes", f"status -i {INVENTORY}", f"doctor -i {INVENTORY} --json"]


@pytest.mark.parametrize("into", [">/dev/full", ">&-", ">&- 2>&-", "<&- >&-"])
@pytest.mark.parametrize("arguments", [*SHOWN, f"teardown -i {INVENTORY}"])
def test_what_cannot_be_written_is_a_failure_and_no_traceback(
    tmp_path: Path, arguments: str, into: str
) -> None:
    done = redirected(tmp_path, arguments, into)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == 1
    if "2>&-" not in into:
        assert "standard output could not be written: " in done.stderr
        assert "\n  next: " in done.stderr


@pytest.mark.parametrize("options", ["", "--json"])
@pytest.mark.parametrize("into", [">/dev/full", ">&-"])
def test_a_teardown_into_a_full_disk_comes_to_its_end_and_fails(
    tmp_path: Path, options: str, into: str
) -> None:
    done = redirected(tmp_path, f"teardown -i {INVENTORY} {options}", into)
    assert done.returncode == 1
    (journal,) = written(tmp_path)
    last = json.loads(journal.read_text().splitlines()[-1])
    assert (last["kind"], last["exit_code"]) == ("run_finished", 0)


@pytest.mark.parametrize("into", ["2>/dev/full", "2>&-"])
def test_an_error_that_cannot_be_written_keeps_its_code(tmp_path: Path, into: str) -> None:
    done = redirected(tmp_path, "recipes show no-such-recipe", into)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
@pytest.mark.parametrize("arguments", [*SHOWN, f"recipes show 'ü\u2013\U0001f600' -i {INVENTORY}"])
def test_an_ascii_terminal_gets_ascii(
    tmp_path: Path, arguments: str, environment: dict[str, str]
) -> None:
    done = redirected(tmp_path, arguments, "", **environment)
    assert "Traceback" not in done.stderr
    assert done.returncode == (2 if "show" in arguments else 4 if "doctor" in arguments else 0)


def test_a_closed_standard_output_is_not_given_to_a_connection(tmp_path: Path) -> None:
    code = (
        "import os\nfrom spark_cluster.terminal.streams import streams_kept\n"
        "with streams_kept():\n"
        "    taken = os.open('/dev/zero', os.O_RDONLY)\n"
        "    os._exit(0 if taken > 2 else 9)"
    )
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": _ROOT},
    )
    assert done.returncode == 0


# What is imported


#: yaml: the diagnoses are read by whoever needs a text of theirs.
HEAVY = (
    "paramiko", "fabric", "jinja2", "pyroute2", "rich.console", "rich.markdown", "yaml", "pydantic",
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], HEAVY),
        (["--version"], HEAVY),
        # typer itself (0.29) reads a verb's options with pydantic.
        (["bootstrap", "--help"], HEAVY[:-1]),
    ],
)
def test_help_and_version_import_nothing_heavy(
    tmp_path: Path, arguments: list[str], heavy: tuple[str, ...]
) -> None:
    code = (
        "import sys\nfrom spark_cluster.cli.app import run\n"
        f"code = run({arguments!r})\n"
        f"print('LOADED', code, *[name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": _ROOT},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED 0"


# Completion


def completion(tmp_path: Path, **environment: str) -> str:
    script = Path(sys.executable).parent / "spark-cluster"
    if not script.exists():
        pytest.skip("the console script is not installed beside this Python")
    done = subprocess.run(
        [str(script)],
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_completion_for_bash_is_sound_bash(tmp_path: Path) -> None:
    text = completion(tmp_path, _SPARK_CLUSTER_COMPLETE="source_bash")
    assert "complete " in text
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash on this machine")
    done = subprocess.run([bash, "-n"], input=text, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "position", "offered"),
    [
        ("spark-cluster ver", "1", {"verify-rdma"}),
        ("spark-cluster t", "1", {"teardown", "trust"}),
        ("spark-cluster bootstrap --dry", "2", {"--dry-run"}),
    ],
)
def test_bash_is_offered_what_fits(
    tmp_path: Path, words: str, position: str, offered: set[str]
) -> None:
    text = completion(
        tmp_path,
        _SPARK_CLUSTER_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=position,
    )
    assert set(text.split()) == offered
