"""The script of a change, by a real shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

from spark_cluster.runner.outcome import change_script

from .cases import write


def run_change(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = write(folder / "bin" / "logger", '#!/bin/sh\necho "$@" >> "$LOG"\n')
    program.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", "-s"],
        input=change_script("RUN", "swap", commands) + "echo went on\n",
        text=True,
        capture_output=True,
        cwd=folder,
        env={"PATH": f"{folder}/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LOG": str(folder / "log")},
    )


def test_a_change_that_works_is_logged_and_the_probe_follows(tmp_path: Path) -> None:
    done = run_change("touch made\n", tmp_path)
    assert (done.returncode, done.stdout) == (0, "went on\n")
    assert (tmp_path / "made").exists()
    assert (tmp_path / "log").read_text() == "-t spark-cluster run RUN: swap changed\n"


def test_a_change_whose_last_command_fails_ends_the_script(tmp_path: Path) -> None:
    done = run_change("touch made\nsh -c 'exit 7'\n", tmp_path)
    assert (done.returncode, done.stdout) == (7, "")
    assert "failed with status 7" in (tmp_path / "log").read_text()


def test_nothing_runs_after_a_command_that_failed(tmp_path: Path) -> None:
    done = run_change("sh -c 'exit 7'\ntouch on\n", tmp_path)
    assert not (tmp_path / "on").exists()
    assert done.returncode == 7


def test_an_unset_variable_ends_the_script(tmp_path: Path) -> None:
    done = run_change('echo "$NO_SUCH_THING" > on\n', tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""
